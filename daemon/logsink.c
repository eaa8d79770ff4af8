#include "logsink.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/io.h"

#define LINES_A_SECOND 20.0
#define LINES_AT_ONCE 2000.0
#define LINE_MAX_LEN 2600 /* 1,024 bytes of fields as JSON; less than PIPE_BUF, so a writable pipe takes it whole */

void logsink_init(struct logsink *s, bool json) {
  struct stat st;
  unsigned long long dev, ino;
  const char *journal = getenv("JOURNAL_STREAM");
  /* systemd.exec(5): the device and inode numbers of the journal's socket. */
  *s = (struct logsink){.json = json,
                        .journal = journal && sscanf(journal, "%llu:%llu", &dev, &ino) == 2 && !fstat(STDERR_FILENO, &st) &&
                                   st.st_dev == dev && st.st_ino == ino};
}

struct out {
  char *p;
  size_t n, cap;
};

static void put(struct out *o, const char *s, size_t n) {
  if (n > o->cap - o->n) n = o->cap - o->n;
  memcpy(o->p + o->n, s, n);
  o->n += n;
}
static void puts_(struct out *o, const char *s) { put(o, s, strlen(s)); }

/* key=value key="quoted value" becomes ,"key":"value",...: their escapes are JSON's. */
static void put_json_fields(struct out *o, const char *f) {
  while (*f) {
    size_t key = strcspn(f, "= ");
    if (f[key] != '=') {
      f += key + (f[key] == ' ');
      continue;
    }
    const char *value = f + key + 1, *end;
    bool quoted = *value == '"';
    value += quoted;
    for (end = value; *end && *end != (quoted ? '"' : ' '); end++) end += *end == '\\' && end[1];
    put(o, ",\"", 2);
    put(o, f, key);
    put(o, "\":\"", 3);
    put(o, value, (size_t)(end - value));
    put(o, "\"", 1);
    f = end + (quoted && *end);
    while (*f == ' ') f++;
  }
}

size_t logsink_format(const struct logsink *s, enum log_level level, const char *event, const char *fields, uint64_t unix_ms,
                      char *ret, size_t cap) {
  static const char *const names[] = {"error", "warn", "info", "debug"};
  static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};
  struct out o = {ret, 0, cap - 3}; /* room for the line's end */
  char stamp[40];
  struct tm tm;
  time_t seconds = (time_t)(unix_ms / 1000);
  gmtime_r(&seconds, &tm);
  size_t n = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
  snprintf(stamp + n, sizeof stamp - n, ".%03uZ", (unsigned)(unix_ms % 1000));
  if (s->journal) puts_(&o, priorities[level]);
  if (s->json) {
    puts_(&o, "{\"time\":\"");
    puts_(&o, stamp);
    puts_(&o, "\",\"level\":\"");
    puts_(&o, names[level]);
    puts_(&o, "\",\"event\":\"");
    puts_(&o, event);
    puts_(&o, "\"");
    put_json_fields(&o, fields);
    o.cap += 1;
    puts_(&o, "}");
  } else {
    if (!s->journal) {
      puts_(&o, "time=");
      puts_(&o, stamp);
      puts_(&o, " ");
    }
    puts_(&o, "level=");
    puts_(&o, names[level]);
    puts_(&o, " event=");
    puts_(&o, event);
    puts_(&o, *fields ? " " : "");
    puts_(&o, fields);
  }
  ret[o.n++] = '\n';
  ret[o.n] = 0;
  return o.n;
}

/* A reader that stopped must not stop the node: what does not fit is dropped and counted. */
static bool write_line(const char *line, size_t n) {
  struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
  return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) && write(STDERR_FILENO, line, n) >= 0;
}

bool logsink_may(struct logsink *s, enum log_level level, nanotime now) {
  struct log_rate *r = level == LOG_WARN ? &s->warn : &s->info;
  if (level == LOG_ERROR || level == LOG_DEBUG) return true; /* ours alone; asked for */
  r->lines = r->last ? r->lines + (double)time_since(now, r->last) / (double)NS_SEC * LINES_A_SECOND : LINES_AT_ONCE;
  if (r->lines > LINES_AT_ONCE) r->lines = LINES_AT_ONCE;
  r->last = now ? now : 1;
  if (r->lines < 1) return false;
  r->lines -= 1;
  return true;
}

void logsink_write(void *ctx, enum log_level level, const char *event, const char *fields) {
  struct logsink *s = ctx;
  char line[LINE_MAX_LEN], count[40];
  uint64_t now = io_unix_ms();
  if (!logsink_may(s, level, io_now())) {
    s->dropped++;
    return;
  }
  if (s->dropped) {
    snprintf(count, sizeof count, "lines=%llu", (unsigned long long)s->dropped);
    size_t n = logsink_format(s, LOG_WARN, "log_dropped", count, now, line, sizeof line);
    if (write_line(line, n)) s->dropped = 0;
  }
  size_t n = logsink_format(s, level, event, fields, now, line, sizeof line);
  if (!write_line(line, n)) s->dropped++;
}
