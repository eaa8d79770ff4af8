/* maculad's configuration: a file, one flag and one variable of any bytes are taken, or refused with a text that says why; what
 * is taken is within the table of limits. Input: a flag, a variable and the file, separated by NUL bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok) {
  if (!ok) abort();
}

/* The text up to the next NUL byte, which *in is moved behind; never NULL. */
static char *next_text(struct slice *in) {
  const uint8_t *nul = memchr(in->p, 0, in->n);
  size_t n = nul ? (size_t)(nul - in->p) : in->n;
  char *text = strndup((const char *)in->p, n);
  require(text != NULL);
  *in = slice_of(in->p + n + (nul != NULL), in->n - n - (nul != NULL));
  return text;
}

static void within(const struct node_limits *l) {
#define WITHIN(id, key, field, kind, value, least, most, ...)                                                                  \
  require((uint64_t)l->field >= (uint64_t)(least) && (uint64_t)l->field <= (uint64_t)(most));
  NODE_LIMITS(WITHIN)
#undef WITHIN
}

static void load(const char *path, const char *flag, const char *variable) {
  const char *argv[] = {"maculad", "--config", path, flag, NULL}, *env[] = {"HOME=/nonexistent", variable, NULL};
  char why[CONFIG_WHY_LEN];
  struct config c;
  int err = config_load(flag[0] ? 4 : 3, argv, env, &c, why);
  require(err ? why[0] != 0 : why[0] == 0);
  require(strlen(why) < sizeof why);
  if (!err && c.mode != CONFIG_HELP && c.mode != CONFIG_VERSION) within(&c.node.limits);
  config_done(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char path[64];
  struct slice in = slice_of(data, size);
  if (size > 65536) return 0;
  if (!path[0]) snprintf(path, sizeof path, "/tmp/macula-fuzz-%ld.yaml", (long)getpid());
  char *flag = next_text(&in), *variable = next_text(&in);
  FILE *f = fopen(path, "wb");
  require(f != NULL);
  require(fwrite(in.p, 1, in.n, f) == in.n);
  require(fclose(f) == 0);
  /* Flags that name files would read, or wait for, whatever a name leads to. */
  if (!strstr(flag, "config") && strncmp(variable, "MACULA_CONFIG", 13)) load(path, flag, variable);
  unlink(path);
  free(flag);
  free(variable);
  return 0;
}
