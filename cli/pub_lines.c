/* macula pub -l: a message a line of standard input. Lines are read as the node takes them: at most PUB_WINDOW are on their
 * way, and while a reader is waited for, or the node is away, nothing is read. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json_line.h"
#include "pub.h"

#define LINE_MOST (6 * MAX_PAYLOAD + 4096) /* bytes: as JSON a byte may take six */
#define SHOWN 10                           /* errors; all are counted */
#define HEADERS_MOST 64

struct lines;
struct slot { /* a message that is on its way */
  struct lines *l;
  struct slot *next; /* of those that are free */
  uint64_t line;
};

struct lines {
  struct cli *cli;
  const char *topic;
  const macula_publish_options *how;
  char *text;                /* LINE_MOST bytes, of which: */
  size_t at, len;            /* what is read and not taken */
  uint64_t line;             /* the number of the line taken last */
  bool ended, long_line;     /* of the input; the rest of the line is left out */
  bool held;                 /* the line taken last waits for room in the queue */
  char *own_topic, *payload; /* of a line of JSON, for free */
  size_t payload_len;
  macula_publish_options own; /* how the line is published: as all are, and as it says itself */
  macula_header headers[HEADERS_MOST];
  json_t *texts;  /* of the headers; NULL: the line has none */
  char *bytes;    /* of those in base64 */
  uint64_t bad;   /* lines that are none */
  uint64_t shown; /* errors; under the lock, as is what follows */
  uint64_t sent, taken, refused;
  uint64_t unknown; /* of the refused: no confirmation, so that the message may have been delivered */
  struct slot slots[PUB_WINDOW], *free;
};

/* ---- errors ----------------------------------------------------------------------------------------------------------------
 */
/* Under the lock. */
static void show(struct lines *l, int err, uint64_t line, const char *text) {
  if (l->shown++ >= SHOWN) return;
  cli_error(macula_err_name(err), "line %llu: %s", (unsigned long long)line, text && text[0] ? text : macula_err_text(err));
}

static bool bad(struct lines *l, int err, const char *text) {
  pthread_mutex_lock(&l->cli->lock);
  l->bad++;
  show(l, err, l->line, text);
  pthread_mutex_unlock(&l->cli->lock);
  return false;
}

/* ---- lines -----------------------------------------------------------------------------------------------------------------
 */
static void read_more(struct lines *l) {
  if (l->at) memmove(l->text, l->text + l->at, l->len - l->at);
  l->len -= l->at;
  l->at = 0;
  ssize_t n = read(0, l->text + l->len, LINE_MOST - l->len);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  l->ended = n <= 0;
  if (n > 0) l->len += (size_t)n;
  if (n < 0) bad(l, MACULA_EIO, "standard input cannot be read");
}

/* The next whole line, or what is left at the end; false: there is none yet. */
static bool next_line(struct lines *l, const char **ret_line, size_t *ret_len) {
  while (l->at < l->len) {
    char *p = l->text + l->at, *end = memchr(p, '\n', l->len - l->at);
    size_t n = end ? (size_t)(end - p) : l->len - l->at;
    bool is_full = !end && !l->at && l->len == LINE_MOST;
    if (!end && !l->ended && !is_full) return false;
    l->at += n + (end ? 1 : 0);
    bool rest = l->long_line;
    l->long_line = is_full;
    if (rest) continue;
    l->line++;
    if (is_full) {
      bad(l, MACULA_PAYLOAD_TOO_LARGE, NULL);
      continue;
    }
    *ret_line = p;
    *ret_len = n;
    return true;
  }
  return false;
}

/* A text of JSON, for free; NULL: it is none, or there is no memory. */
static char *text_of(const char *json, size_t len, size_t *ret_len) {
  json_t *j = json_loadb(json, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
  size_t n = json_string_length(j);
  char *text = json_is_string(j) ? malloc(n + 1) : NULL;
  if (text) {
    memcpy(text, json_string_value(j), n + 1);
    *ret_len = n;
  }
  json_decref(j);
  return text;
}

/* [{"name": TEXT, "value": TEXT or "value_base64": TEXT}]: behind those that all lines have. */
static bool take_headers(struct lines *l) {
  size_t i, n = l->how->header_count, used = 0, size = 1;
  json_t *row;
  json_array_foreach(l->texts, i, row) size += json_string_length(json_object_get(row, "value_base64")) + 1;
  if (!json_is_array(l->texts) || n + json_array_size(l->texts) > HEADERS_MOST || !(l->bytes = malloc(size)))
    return bad(l, MACULA_EINVAL, "its headers are no list of at most 64");
  for (i = 0; i < n; i++) l->headers[i] = l->how->headers[i];
  json_array_foreach(l->texts, i, row) {
    json_t *name = json_object_get(row, "name"), *text = json_object_get(row, "value"), *coded = NULL;
    if (!text) text = coded = json_object_get(row, "value_base64");
    size_t len = json_string_length(text);
    const char *value = json_string_value(text);
    if (coded && value) {
      value = memcpy(l->bytes + used, value, len + 1);
      used += len + 1;
    }
    if (!json_is_string(name) || !value || (coded && !json_line_unbase64(l->bytes + used - len - 1, &len)))
      return bad(l, MACULA_EINVAL, "its headers cannot be read: {\"name\": TEXT, \"value\": TEXT} is expected");
    l->headers[n++] = (macula_header){.name = json_string_value(name), .value = value, .len = len};
  }
  l->own.headers = l->headers;
  l->own.header_count = n;
  return true;
}

/* "qos", "retain", "headers" and "expires_ms", as sub --json prints them. The options hold for all lines: of two QoS the higher
 * one counts. */
static bool take_how(struct lines *l, const char *line, size_t len) {
  const char *v;
  size_t n;
  if (json_line_member(line, len, "qos", &v, &n)) {
    if (n != 1 || v[0] < '0' || v[0] > '2') return bad(l, MACULA_EINVAL, "its qos is not 0, 1 or 2");
    if (v[0] - '0' > l->own.qos) l->own.qos = v[0] - '0';
    if (l->own.qos) l->own.wait_for_readers = false;
  }
  if (json_line_member(line, len, "retain", &v, &n)) {
    bool is_true = n == 4 && memcmp(v, "true", 4) == 0;
    if (!is_true && (n != 5 || memcmp(v, "false", 5) != 0)) return bad(l, MACULA_EINVAL, "its retain is not true or false");
    l->own.retain |= is_true;
  }
  if (!l->own.expires_ms && json_line_member(line, len, "expires_ms", &v, &n)) {
    json_t *j = json_loadb(v, n, JSON_DECODE_ANY, NULL);
    json_int_t ms = json_integer_value(j);
    json_decref(j);
    if (ms <= 0) return bad(l, MACULA_EINVAL, "its expires_ms is no number of milliseconds above 0");
    l->own.expires_ms = (uint64_t)ms;
  }
  if (!json_line_member(line, len, "headers", &v, &n)) return true;
  l->texts = json_loadb(v, n, JSON_ALLOW_NUL, NULL);
  return take_headers(l);
}

/* {"topic": TEXT, "payload": any JSON}, or "payload_base64". A text is published without its quotes. */
static bool take_json(struct lines *l, const char *line, size_t len) {
  const char *v;
  size_t n, topic_len = 0;
  bool in_base64 = false;
  if (macula_check_json(line, len)) {
    char why[300];
    snprintf(why, sizeof why, "it is not JSON (%.250s)", macula_last_error());
    return bad(l, MACULA_INVALID_JSON, why);
  }
  if (json_line_member(line, len, "topic", &v, &n) && !(l->own_topic = text_of(v, n, &topic_len)))
    return bad(l, MACULA_EINVAL, "its topic is no text");
  if (l->own_topic && strlen(l->own_topic) != topic_len) return bad(l, MACULA_INVALID_TOPIC, "its topic has a NUL");
  if (!l->own_topic && !l->topic)
    return bad(l, MACULA_EINVAL, "it has no topic: {\"topic\": TEXT, \"payload\": ...} is expected");
  if (!take_how(l, line, len)) return false;
  if (!json_line_member(line, len, "payload", &v, &n) && !(in_base64 = json_line_member(line, len, "payload_base64", &v, &n)))
    return bad(l, MACULA_EINVAL, "it has no payload: {\"topic\": TEXT, \"payload\": ...} is expected");
  if (in_base64 || v[0] == '"') {
    l->payload = text_of(v, n, &l->payload_len);
    if (!l->payload || (in_base64 && !json_line_unbase64(l->payload, &l->payload_len)))
      return bad(l, MACULA_EINVAL, "its payload cannot be read");
    return true;
  }
  if (!(l->payload = malloc(n + 1))) return bad(l, MACULA_ENOMEM, NULL);
  memcpy(l->payload, v, n);
  l->payload_len = n;
  return true;
}

static bool take_plain(struct lines *l, const char *line, size_t len) {
  if (!(l->payload = malloc(len + 1))) return bad(l, MACULA_ENOMEM, NULL);
  memcpy(l->payload, line, len);
  l->payload_len = len;
  return true;
}

static void forget(struct lines *l) {
  free(l->own_topic);
  free(l->payload);
  free(l->bytes);
  json_decref(l->texts);
  l->own_topic = l->payload = l->bytes = NULL;
  l->texts = NULL;
  l->own = *l->how;
  l->held = false;
}

/* ---- publishing ------------------------------------------------------------------------------------------------------------
 */
static void on_taken(void *ctx, macula_client client, int err, const char *text) {
  struct slot *s = ctx;
  struct lines *l = s->l;
  (void)client;
  pthread_mutex_lock(&l->cli->lock);
  l->taken++;
  if (err) {
    l->refused++;
    l->unknown += err == MACULA_TIMEOUT || err == MACULA_ECLOSED;
    show(l, err, s->line, text);
  }
  s->next = l->free;
  l->free = s;
  pthread_mutex_unlock(&l->cli->lock);
  cli_wake(l->cli);
}

static struct slot *take_slot(struct lines *l) {
  pthread_mutex_lock(&l->cli->lock);
  struct slot *s = l->cli->link.state == MACULA_CONNECTED ? l->free : NULL;
  if (s) l->free = s->next;
  pthread_mutex_unlock(&l->cli->lock);
  return s;
}

/* Returns false when the line is to wait. */
static bool publish(struct lines *l) {
  struct slot *s = take_slot(l);
  if (!s) return false;
  const char *topic = l->own_topic ? l->own_topic : l->topic;
  s->line = l->line;
  int err = macula_publish(l->cli->link.client, topic, l->payload, l->payload_len, &l->own, on_taken, s);
  pthread_mutex_lock(&l->cli->lock);
  l->sent += !err;
  if (err) {
    s->next = l->free;
    l->free = s;
  }
  pthread_mutex_unlock(&l->cli->lock);
  if (err == MACULA_EFULL) return false; /* the link wakes us when there is room */
  if (err) bad(l, err, macula_last_error());
  return true;
}

/* As many lines as may go out now. Whether more is to be read. */
static bool work(struct lines *l) {
  const char *line;
  size_t len;
  for (;;) {
    if (l->held && !publish(l)) return false;
    forget(l);
    if (!next_line(l, &line, &len)) return !l->ended;
    l->held = (l->cli->json ? take_json : take_plain)(l, line, len);
    if (!l->held) forget(l);
  }
}

static int run_lines(struct lines *l) {
  struct cli *cli = l->cli;
  for (;;) {
    cli->reads = work(l);
    pthread_mutex_lock(&cli->lock);
    bool all = l->ended && !l->held && l->at == l->len && l->sent == l->taken;
    pthread_mutex_unlock(&cli->lock);
    if (all) return 0;
    int code = cli_check_link(cli);
    if (code >= 0) return code;
    switch (cli_wait(cli, CLI_NEVER)) {
    case CLI_READABLE:
      read_more(l);
      break;
    case CLI_SIGNALLED:
      return cli_interrupted();
    case CLI_WOKEN:
    case CLI_TIMED_OUT:
    case CLI_UNREAD:
      break;
    }
  }
}

/* After the last callback. */
static int sum_up(struct lines *l, int code, const struct pub_partly *partly) {
  uint64_t published = l->taken - l->refused, lost = l->bad + l->refused - l->unknown, all = published + l->bad + l->refused;
  if (l->cli->json &&
      !text_put_json(json_pack("{s:I,s:I,s:I,s:o*}", "published", (json_int_t)published, "bad", (json_int_t)l->bad, "refused",
                               (json_int_t)l->refused, "partly", pub_partly_json(partly))))
    return EXIT_FAILED;
  if (!l->cli->json) pub_say_partly(partly, l->taken);
  if (lost)
    fprintf(stderr, "macula: %llu of %llu lines were not published\n", (unsigned long long)lost, (unsigned long long)all);
  if (l->unknown)
    fprintf(stderr, "macula: %llu of %llu lines were not confirmed, and may have been published\n",
            (unsigned long long)l->unknown, (unsigned long long)all);
  if (code) return code;
  return l->refused ? EXIT_FAILED : l->bad ? EXIT_USAGE : 0;
}

int pub_lines(struct cli *cli, const char *topic, const macula_publish_options *how, const struct pub_partly *partly) {
  struct lines *l = calloc(1, sizeof *l);
  if (l) *l = (struct lines){.cli = cli, .topic = topic, .how = how, .own = *how, .text = malloc(LINE_MOST)};
  if (!l || !l->text) {
    free(l);
    return cli_failed(MACULA_ENOMEM, NULL, NULL);
  }
  for (size_t i = 0; i < PUB_WINDOW; i++) {
    l->slots[i] = (struct slot){.l = l, .next = l->free};
    l->free = &l->slots[i];
  }
  int code = cli_connect(cli, false);
  if (!code) {
    code = run_lines(l);
    cli_end(cli, code); /* ends the callbacks that use l */
    code = sum_up(l, code, partly);
  }
  cli_end(cli, code);
  forget(l);
  free(l->text);
  free(l);
  return code;
}
