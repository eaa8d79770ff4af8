/* What a node logs, for tests: set rig.node->log to &kept.log. */
#ifndef SIM_LOG_RIG_H
#define SIM_LOG_RIG_H

#include "base/log.h"
#include "mesh_rig.h"

struct kept_log {
  struct log log;
  size_t len;
  char text[64 << 10]; /* a line is "level event fields" */
};

static inline void kept_line(void *ctx, enum log_level level, const char *event, const char *fields) {
  struct kept_log *k = ctx;
  int n = snprintf(k->text + k->len, sizeof k->text - k->len, "%d %s %s\n", (int)level, event, fields);
  assert_true(n > 0 && k->len + (size_t)n < sizeof k->text);
  k->len += (size_t)n;
}

static inline void log_keep(struct kept_log *k, struct mesh *m, unsigned node) {
  *k = (struct kept_log){.log = {.level = LOG_INFO, .sink = kept_line, .ctx = k}};
  m->rig[node].node->log = &k->log;
}

/* Lines with this text, and the first of them. */
static inline unsigned log_count(const struct kept_log *k, const char *text) {
  unsigned n = 0;
  for (const char *p = k->text; (p = strstr(p, text)); p += strlen(text)) n++;
  return n;
}

static inline bool log_line_has(const struct kept_log *k, const char *event, const char *text) {
  const char *p = strstr(k->text, event), *end = p ? strchr(p, '\n') : NULL, *found = p ? strstr(p, text) : NULL;
  return found && found < end;
}

#endif
