/* Where maculad's log lines go: standard error, as key=value or JSON, never waiting for a reader. */
#ifndef DAEMON_LOGSINK_H
#define DAEMON_LOGSINK_H

#include "base/log.h"
#include "base/time.h"

#include <stddef.h>
#include <stdint.h>

struct log_rate {
  double lines; /* that may be written at once */
  nanotime last;
};

struct logsink {
  bool json;
  bool journal;     /* stderr is the journal's: it adds the time itself and wants <N> in front of a line */
  uint64_t dropped; /* lines that a full pipe or their rate cost, not told yet */
  struct log_rate warn, info;
};

void logsink_init(struct logsink *s, bool json);
/* The sink of a struct log whose ctx is a struct logsink. */
void logsink_write(void *ctx, enum log_level level, const char *event, const char *fields);
/* Whether a line of this level may be written now. Other nodes and clients can cause lines of level warn and info at any rate,
 * which must not fill the disk: 2,000 lines of each level at once, and 20 a second. What is dropped is counted and told. */
bool logsink_may(struct logsink *s, enum log_level level, nanotime now);
/* One line of text for a line of `key=value key="quoted value"` fields, with a newline; time in Unix milliseconds. Returns its
 * length, cut to cap - 1. */
size_t logsink_format(const struct logsink *s, enum log_level level, const char *event, const char *fields, uint64_t unix_ms,
                      char *ret, size_t cap);

#endif
