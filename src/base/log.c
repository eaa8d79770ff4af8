#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void log_line(const struct log *l, enum log_level level, const char *event, const char *fmt, ...) {
  char fields[1024];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(fields, sizeof fields, fmt, ap);
  va_end(ap);
  if (n < 0) fields[0] = 0;
  for (char *c = fields; *c; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?'; /* a peer's bytes never forge a line */
  l->sink(l->ctx, level, event, fields);
}
