/* Replays one fuzzer's committed corpus without clang. */
#ifndef FUZZ_REPLAY_H
#define FUZZ_REPLAY_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Runs each file of the folder and every beginning of it; returns the number of files, 0 when the folder cannot be read. */
static int replay(const char *folder) {
  DIR *d = opendir(folder);
  int count = 0;
  for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
    char path[4096];
    uint8_t data[8192];
    if (e->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    FILE *f = fopen(path, "rb");
    if (!f) continue;
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    for (size_t k = 0; k <= n; k++) LLVMFuzzerTestOneInput(data, k);
    count++;
  }
  if (d) closedir(d);
  return count;
}

#endif
