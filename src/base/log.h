/* Log lines: an event name and key=value pairs. Library code never prints; the owner supplies the sink. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR = 0, LOG_WARN = 1, LOG_INFO = 2, LOG_DEBUG = 3 };

struct log {
  enum log_level level; /* lines above it are not made */
  /* event: static text; fields: `key=value key="quoted value"` in UTF-8, with the escapes of JSON in values: \" \\ and \uxxxx
   * for controls (utf8_is_control; and \u0020 for a blank in a value without quotes); NUL-terminated, valid during the call. */
  void (*sink)(void *ctx, enum log_level level, const char *event, const char *fields);
  void *ctx;
};

static inline bool log_on(const struct log *l, enum log_level level) { return l && l->sink && level <= l->level; }
/* What fmt's %s and %.*s bring is escaped, and cut at 400 bytes: it can neither split a line nor add a field. The other
 * conversions: d i u x f, with their flags, l, ll and z. */
void log_line(const struct log *l, enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#define log_error(l, ...) (log_on(l, LOG_ERROR) ? log_line(l, LOG_ERROR, __VA_ARGS__) : (void)0)
#define log_warn(l, ...) (log_on(l, LOG_WARN) ? log_line(l, LOG_WARN, __VA_ARGS__) : (void)0)
#define log_info(l, ...) (log_on(l, LOG_INFO) ? log_line(l, LOG_INFO, __VA_ARGS__) : (void)0)
#define log_debug(l, ...) (log_on(l, LOG_DEBUG) ? log_line(l, LOG_DEBUG, __VA_ARGS__) : (void)0)

#endif
