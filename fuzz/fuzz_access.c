/* Any bytes as an access file: taken, or refused with a text that says why and in which line; nothing is kept of what is
 * refused. */
#include <stdlib.h>

#include "access/access.h"
#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok) {
  if (!ok) abort();
}

static int read_token(void *ctx, const char *path, char **ret_token, char why[256]) {
  (void)ctx;
  (void)path;
  (void)why;
  *ret_token = strdup("what is in the file");
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const struct access_files files = {read_token, NULL};
  struct mem mem = MEM_INIT("fuzz", 0);
  char why[ACCESS_WHY_LEN];
  struct access *a;
  if (size > 65536) return 0;
  int err = access_parse(&mem, "access.yaml", slice_of(data, size), &files, &a, why);
  require(err ? !strncmp(why, "access.yaml:", 12) && mem.bytes == 0 : why[0] == 0);
  if (err) return 0;
  struct grant *g = access_anonymous(a);
  for (size_t i = 0; g && i < grant_count(g); i++) {
    struct grant_rule r = grant_rule_at(g, i);
    (void)grant_allows(g, r.right, &(struct name_values){.user = slice_str("**")}, r.pattern, NULL);
  }
  access_unref(a);
  require(mem.bytes == 0);
  return 0;
}
