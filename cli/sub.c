/* macula sub: prints what arrives, one line a message. The loop's thread writes as much as standard output takes without
 * blocking. When that is full, deliveries are held (macula_hold), and the main thread writes the rest when it can: a slow
 * reader neither grows this process nor keeps it from what the connection needs. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>
#include <time.h>

#include "cli.h"
#include "json_line.h"

struct sub_options {
  uint64_t count, timeout, qos; /* qos: nothing asks for it; whoever gives it means what is done in any case */
  const char *group, *will;
  bool raw, timestamps, payload_only;
};

static const struct option_def options[] = {
    {"count", 'n', OPTION_NUMBER, offsetof(struct sub_options, count), 1, UINT32_MAX},
    {"timeout", 't', OPTION_TIME, offsetof(struct sub_options, timeout), 1},
    {"qos", 'q', OPTION_NUMBER, offsetof(struct sub_options, qos), 0, 2, .values = "0 1 2"},
    {"will", 0, OPTION_TEXT, offsetof(struct sub_options, will)},
    {"group", 0, OPTION_TEXT, offsetof(struct sub_options, group)},
    {"raw", 0, OPTION_FLAG, offsetof(struct sub_options, raw)},
    {"timestamps", 0, OPTION_FLAG, offsetof(struct sub_options, timestamps)},
    {"payload-only", 0, OPTION_FLAG, offsetof(struct sub_options, payload_only)},
    {0},
};

struct subscriber {
  struct cli *cli;
  const struct sub_options *o;
  uint64_t got;    /* under the lock, as is what follows */
  int write_error; /* errno of stdout */
  FILE *out;       /* a file in memory: lines that stdout has not taken yet, */
  char *text;      /* its bytes, */
  size_t at, len;  /* of which these are left */
  size_t most;     /* bytes that one write takes without blocking after poll said so */
  uint8_t last_id[MACULA_MESSAGE_ID_LEN];
  const struct pattern *last_from;
  uint64_t said, said_at; /* how many messages were dropped, as the last line about it had it, and when that was */
};

struct pattern {
  struct cli_done done; /* first: both callbacks of a subscription get one context */
  struct subscriber *s;
};

/* Writes what stdout takes now. True: nothing is left, or never will be. */
static bool flush(struct subscriber *s) {
  struct pollfd fd = {1, POLLOUT, 0};
  while (s->at < s->len && !s->write_error) {
    size_t n = s->len - s->at < s->most ? s->len - s->at : s->most;
    if (poll(&fd, 1, 0) == 0) return false;
    ssize_t took = write(1, s->text + s->at, n);
    if (took < 0 && errno != EINTR) s->write_error = errno == EAGAIN ? 0 : errno;
    if (took < 0 && errno == EAGAIN) return false;
    if (took > 0) s->at += (size_t)took;
  }
  return true;
}

/* As flush; holds deliveries until all is written. */
static void flush_or_hold(struct subscriber *s) {
  bool full = !flush(s);
  if (full && !s->cli->is_full) {
    (void)macula_hold(s->cli->link.client);
    cli_wake(s->cli);
  }
  if (!full && s->cli->is_full) (void)macula_resume(s->cli->link.client);
  s->cli->is_full = full;
}

static json_t *json_headers(const macula_message *m) {
  json_t *all = m->header_count ? json_array() : NULL;
  for (size_t i = 0; i < m->header_count; i++) {
    const char *key;
    json_t *value = text_json_payload(m->headers[i].value, m->headers[i].len, &key);
    bool is_text = strcmp(key, "payload") == 0;
    if (json_array_append_new(all,
                              json_pack("{s:s,s:o}", "name", m->headers[i].name, is_text ? "value" : "value_base64", value)))
      break;
  }
  return all;
}

/* When it came here: 2026-11-30T14:50:12.123Z. */
static const char *time_text(char ret_text[40]) {
  struct timespec now;
  struct tm tm;
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &tm);
  size_t n = strftime(ret_text, 30, "%Y-%m-%dT%H:%M:%S", &tm);
  snprintf(ret_text + n, 40 - n, ".%03ldZ", now.tv_nsec / 1000000);
  return ret_text;
}

/* Shown as the JSON that it is. A text in quotes is not, since a payload of the same text without them would look alike. */
static bool is_json(const macula_message *m) {
  const char *p = m->payload;
  size_t i = 0;
  while (i < m->len && strchr(" \t\r\n", p[i]) && p[i]) i++;
  return i < m->len && p[i] != '"' && macula_check_json(p, m->len) == 0;
}

static json_t *json_fields(const struct subscriber *s, const macula_message *m) {
  char id[2 * MACULA_MESSAGE_ID_LEN + 1], now[40];
  for (int i = 0; i < MACULA_MESSAGE_ID_LEN; i++) snprintf(id + 2 * i, 3, "%02x", m->message_id[i]);
  return json_pack("{s:i,s:b,s:s,s:o,s:o*,s:o*,s:o*}", "qos", m->qos, "retain", (int)m->retain, "message_id", id, "publisher",
                   text_json_principal(m->publisher), "headers", json_headers(m), "expires_ms",
                   m->expires_ms ? json_integer((json_int_t)m->expires_ms) : NULL, "time",
                   s->o->timestamps ? json_string(time_text(now)) : NULL);
}

/* The payload's bytes stand between what jansson makes: it would not keep numbers of any length. */
static char *json_line(const struct subscriber *s, const macula_message *m, size_t *ret_len) {
  const char *key = "payload";
  bool as_it_is = is_json(m);
  json_t *head = json_pack("{s:s}", "topic", m->topic), *fields = json_fields(s, m);
  if (!as_it_is) {
    json_t *payload = text_json_payload(m->payload, m->len, &key);
    json_object_set_new(head, key, payload);
  }
  char *before = json_dumps(head, JSON_COMPACT), *after = json_dumps(fields, JSON_COMPACT), *line = NULL;
  FILE *f = before && after ? open_memstream(&line, ret_len) : NULL;
  if (f) {
    fwrite_unlocked(before, 1, strlen(before) - 1, f); /* without the brace */
    if (as_it_is) {
      fputs_unlocked(",\"payload\":", f);
      json_line_compact(f, m->payload, m->len);
    }
    putc_unlocked(',', f);
    fputs_unlocked(after + 1, f);
    if (fclose(f)) free(line), line = NULL;
  }
  json_decref(head);
  json_decref(fields);
  free(before);
  free(after);
  return line;
}

static bool print_json(const struct subscriber *s, FILE *f, const macula_message *m) {
  size_t len;
  char *line = json_line(s, m, &len);
  if (!line) return false;
  text_put_payload(f, line, len); /* DEL and C1 are in it as they are */
  free(line);
  return true;
}

static bool print_to(const struct subscriber *s, FILE *f, const macula_message *m) {
  char now[40];
  bool alone = s->o->payload_only, ok = true;
  if (s->o->timestamps && !s->cli->json) fprintf(f, "%s ", time_text(now));
  if (s->cli->json) {
    ok = print_json(s, f, m);
  } else {
    if (!alone) text_put_word(f, m->topic);
    if (!alone) putc_unlocked(' ', f);
    (s->o->raw ? text_put_payload : text_put_escaped)(f, m->payload, m->len);
  }
  if (!alone || !s->o->raw) putc_unlocked('\n', f);
  return ok && fflush_unlocked(f) == 0 && !ferror_unlocked(f);
}

/* Adds the line to what is left. */
static bool print(struct subscriber *s, const macula_message *m) {
  if (s->at == s->len) {
    rewind(s->out);
    s->at = s->len = 0;
  }
  if (!print_to(s, s->out, m)) return false;
  s->len = (size_t)ftell(s->out);
  return true;
}

static void on_message(void *ctx, macula_client client, const macula_message *m) {
  const struct pattern *from = ctx;
  struct subscriber *s = from->s;
  (void)client;
  pthread_mutex_lock(&s->cli->lock);
  bool full = s->write_error || (s->o->count && s->got >= s->o->count);
  /* several of our patterns match: it is one message all the same */
  bool again = s->last_from && s->last_from != from && memcmp(s->last_id, m->message_id, sizeof s->last_id) == 0;
  if (!full && !again) {
    if (print(s, m))
      s->got++;
    else
      s->write_error = ENOMEM;
    flush_or_hold(s);
    s->last_from = from;
    memcpy(s->last_id, m->message_id, sizeof s->last_id);
    if (s->write_error || (s->o->count && s->got >= s->o->count)) cli_wake(s->cli);
  }
  pthread_mutex_unlock(&s->cli->lock);
}

/* One line a second at most, with all that were dropped so far. Returns when the next one is due. */
static uint64_t say_dropped(struct subscriber *s, bool last) {
  char count[32];
  pthread_mutex_lock(&s->cli->lock);
  uint64_t dropped = s->cli->link.dropped;
  pthread_mutex_unlock(&s->cli->lock);
  if (dropped == s->said) return CLI_NEVER;
  uint64_t now = cli_now(), due = s->said ? s->said_at + CLI_SEC : now;
  if (!last && now < due) return due;
  fprintf(stderr, "macula: %s messages dropped: read too slowly\n", text_number(dropped, count));
  s->said = dropped;
  s->said_at = now;
  return CLI_NEVER;
}

static int listen_on(struct cli *cli, struct subscriber *s, uint64_t until) {
  cli->prints = true;
  for (;;) {
    uint64_t due = say_dropped(s, false);
    pthread_mutex_lock(&cli->lock);
    if (cli->is_full) flush_or_hold(s);
    uint64_t got = cli->is_full ? 0 : s->got; /* the last one is to be written before the end */
    int write_error = s->write_error;
    pthread_mutex_unlock(&cli->lock);
    if (write_error == EPIPE) return 0; /* the reader has what it wanted */
    if (write_error) return cli_failed(MACULA_EIO, NULL, strerror(write_error));
    if (s->o->count && got >= s->o->count) return 0;
    int code = cli_check_link(cli);
    if (code >= 0) return code;
    switch (cli_wait(cli, due < until ? due : until)) {
    case CLI_WOKEN:
    case CLI_READABLE:
      break;
    case CLI_SIGNALLED:
    case CLI_UNREAD: /* the reader has what it wanted */
      return 0;
    case CLI_TIMED_OUT:
      if (due < until) break;
      pthread_mutex_lock(&cli->lock);
      got = s->got; /* what came wakes nobody before the last one */
      pthread_mutex_unlock(&cli->lock);
      if (got && !s->o->count) return 0;
      cli_error(macula_err_name(MACULA_TIMEOUT), "%llu of %llu messages came in time; raise --timeout or check the publisher",
                (unsigned long long)got, (unsigned long long)(s->o->count ? s->o->count : 1));
      return EXIT_TIMED_OUT;
    }
  }
}

static int run(struct cli *cli, void *options_set) {
  struct subscriber s = {.cli = cli, .o = options_set};
  for (unsigned i = 0; i < cli->argc; i++) {
    int err = macula_check_pattern(cli->argv[i]);
    if (err) return cli_bad_name(err, cli->argv[i]);
  }
  if (s.o->payload_only && (cli->json || s.o->timestamps))
    return cli_invalid(MACULA_EINVAL, "--payload-only prints nothing beside the payload: leave out --json and --timestamps");
  struct stat out;
  size_t size;
  macula_will will = {MACULA_INIT(macula_will)};
  char topic[256] = "";
  if (s.o->will) {
    const char *text = strchr(s.o->will, '=');
    if (!text || (size_t)(text - s.o->will) >= sizeof topic)
      return cli_invalid(MACULA_EINVAL, "--will is TOPIC=TEXT, such as --will state.me=gone");
    memcpy(topic, s.o->will, (size_t)(text - s.o->will));
    will.topic = topic;
    will.payload = text + 1;
    will.len = strlen(text + 1);
    int err = macula_check_topic(topic);
    if (err) return cli_bad_name(err, topic);
    cli->will = &will;
  }
  struct pattern *patterns = calloc(cli->argc, sizeof *patterns);
  s.out = patterns ? open_memstream(&s.text, &size) : NULL;
  if (!s.out) {
    free(patterns);
    return cli_failed(MACULA_ENOMEM, NULL, NULL);
  }
  s.most = fstat(1, &out) == 0 && S_ISREG(out.st_mode) ? SIZE_MAX : PIPE_BUF;
  int code = cli_connect(cli, false);
  uint64_t now = cli_now(), until = s.o->timeout ? now + s.o->timeout * CLI_MS : CLI_NEVER;
  for (unsigned i = 0; !code && i < cli->argc; i++) {
    patterns[i] = (struct pattern){.done.cli = cli, .s = &s};
    macula_subscribe_options how = {MACULA_INIT(macula_subscribe_options), .group = s.o->group};
    int err = macula_subscribe(cli->link.client, cli->argv[i], &how, on_message, cli_on_done, &patterns[i], NULL);
    if (err) code = cli_failed(err, NULL, macula_last_error());
  }
  for (unsigned i = 0; !code && i < cli->argc; i++) {
    code = cli_wait_done(&patterns[i].done, now + 10 * CLI_SEC);
    if (!code) fprintf(stderr, "subscribed %s\n", cli->argv[i]);
  }
  if (!code) code = listen_on(cli, &s, until);
  cli_end(cli, code); /* ends the callbacks that use s */
  (void)say_dropped(&s, true);
  if ((s.said || cli->link.cut) && (!code || code == EXIT_TIMED_OUT)) code = EXIT_DROPPED;
  fclose(s.out);
  free(s.text);
  free(patterns);
  return code;
}

const struct command command_sub = {
    "sub",
    "sub PATTERN... [OPTION]...",
    "print messages as they arrive",
    "Prints `topic payload`, one line a message; a blank within the topic is written\n"
    "\\x20. * (or +) stands for one segment, ** (or #) for any number. Prints\n"
    "`subscribed PATTERN` to standard error when the node has confirmed. Subscribes\n"
    "again after a loss. What the node dropped since this was read too slowly is\n"
    "counted there, and the exit code is 5.\n\n"
    "  --qos 0|1|2     changes nothing: a message comes with the QoS that it was\n"
    "                  published with\n"
    "  --group NAME    as a member of this group: each message goes to one of its\n"
    "                  members, at any node\n"
    "  --will TOPIC=TEXT  what the node publishes if this ends without goodbye\n"
    "  --count N       end after N messages\n"
    "  --timeout T     end after T; exit code 4 if fewer than N messages, or none,\n"
    "                  came (5 if some were dropped)\n"
    "  --raw           payloads as they are (but to a terminal, what would drive it\n"
    "                  is escaped); else newlines, backslashes and binary are escaped\n"
    "                  (\\n, \\\\, \\x00)\n"
    "  --payload-only  without the topic; with --raw without a newline, too\n"
    "  --timestamps    when it came here, in UTC, before it; with --json as time\n"
    "  --json          a line of JSON each: topic, payload (as it is if it is JSON,\n"
    "                  else as a text), qos, retain, publisher, headers\n\n"
    "Example: macula sub 'sensor.**'\n"
    "Example: macula sub 'sensor.**' --timestamps\n",
    options,
    sizeof(struct sub_options),
    1,
    64,
    run,
};
