/* The CPU time of the node, when it runs on this machine: of the process whose UDP socket is bound to the node's port. */
#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

static unsigned long socket_inode(const char *table, unsigned port) {
  char line[512];
  unsigned local;
  unsigned long inode, found = 0;
  FILE *f = fopen(table, "re");
  while (f && !found && fgets(line, sizeof line, f))
    if (sscanf(line, " %*d: %*[0-9A-F]:%x %*s %*s %*s %*s %*s %*s %*s %lu", &local, &inode) == 2 && local == port)
      found = inode;
  if (f) fclose(f);
  return found;
}

static bool holds(const char *pid, const char *link) {
  char path[320], to[64];
  bool found = false;
  snprintf(path, sizeof path, "/proc/%s/fd", pid);
  DIR *d = opendir(path); /* fails for other users' processes: then the figure is left out */
  for (struct dirent *e; d && !found && (e = readdir(d));) {
    ssize_t n = readlinkat(dirfd(d), e->d_name, to, sizeof to - 1);
    to[n > 0 ? n : 0] = 0;
    found = strcmp(to, link) == 0;
  }
  if (d) closedir(d);
  return found;
}

static double process_cpu(long pid) {
  char path[64];
  unsigned long long user, system;
  snprintf(path, sizeof path, "/proc/%ld/stat", pid);
  FILE *f = fopen(path, "re");
  bool ok = f && fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) == 2;
  if (f) fclose(f);
  return ok ? (double)(user + system) / (double)sysconf(_SC_CLK_TCK) : -1;
}

double bench_node_cpu(struct bench *b) {
  const char *host = strchr(b->server, '@') + 1, *colon = strrchr(host, ':');
  char link[64];
  if (strncmp(host, "127.", 4) != 0 && strncmp(host, "localhost", 9) != 0 && strncmp(host, "[::1]", 5) != 0) return -1;
  unsigned port = colon && isdigit((unsigned char)colon[1]) ? (unsigned)atoi(colon + 1) : 9443;
  if (!b->node_pid) {
    unsigned long inode = socket_inode("/proc/net/udp", port);
    if (!inode) inode = socket_inode("/proc/net/udp6", port);
    snprintf(link, sizeof link, "socket:[%lu]", inode);
    DIR *d = inode ? opendir("/proc") : NULL;
    for (struct dirent *e; d && !b->node_pid && (e = readdir(d));)
      if (isdigit((unsigned char)e->d_name[0]) && holds(e->d_name, link)) b->node_pid = atol(e->d_name);
    if (d) closedir(d);
  }
  return b->node_pid ? process_cpu(b->node_pid) : -1;
}
