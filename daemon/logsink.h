/* Where maculad's log lines go: standard error, as key=value or JSON, never waiting for a reader. */
#ifndef DAEMON_LOGSINK_H
#define DAEMON_LOGSINK_H

#include "base/log.h"

#include <stddef.h>
#include <stdint.h>

struct logsink {
  bool json;
  bool journal;     /* stderr is the journal's: it adds the time itself and wants <N> in front of a line */
  uint64_t dropped; /* lines that a full pipe cost, not told yet */
};

void logsink_init(struct logsink *s, bool json);
/* The sink of a struct log whose ctx is a struct logsink. */
void logsink_write(void *ctx, enum log_level level, const char *event, const char *fields);
/* One line of text for a line of `key=value key="quoted value"` fields, with a newline; time in Unix milliseconds. Returns its
 * length, cut to cap - 1. */
size_t logsink_format(const struct logsink *s, enum log_level level, const char *event, const char *fields, uint64_t unix_ms,
                      char *ret, size_t cap);

#endif
