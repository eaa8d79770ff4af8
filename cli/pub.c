/* macula pub: publishes and ends when the node has taken everything. */
#include <stdlib.h>
#include <string.h>

#include "pub.h"

#define HEADERS_MOST 64

struct pub_options {
  uint64_t qos, count, interval, expires;
  bool retain, wait, lines;
  struct option_list headers;
};

static const struct option_def options[] = {
    {"qos", 'q', OPTION_NUMBER, offsetof(struct pub_options, qos), 0, 2, .values = "0 1 2"},
    {"lines", 'l', OPTION_FLAG, offsetof(struct pub_options, lines)},
    {"retain", 0, OPTION_FLAG, offsetof(struct pub_options, retain)},
    {"wait", 0, OPTION_FLAG, offsetof(struct pub_options, wait)},
    {"header", 0, OPTION_LIST, offsetof(struct pub_options, headers)},
    {"expires", 0, OPTION_TIME, offsetof(struct pub_options, expires), 1},
    {"count", 'n', OPTION_NUMBER, offsetof(struct pub_options, count), 1, UINT32_MAX},
    {"interval", 'i', OPTION_TIME, offsetof(struct pub_options, interval)},
    {0},
};

struct pub {
  struct cli *cli;
  uint64_t sent, taken; /* under the lock, as is what follows */
  int err;
  char text[512];
  struct pub_partly partly;
  macula_header headers[HEADERS_MOST]; /* of each message */
  size_t header_count;
};

static void on_partly(void *ctx, macula_client client, const macula_partly *partly) {
  struct pub_partly *p = ctx;
  (void)client;
  pthread_mutex_lock(&p->cli->lock);
  p->messages++;
  if (partly->cut > p->most.cut) p->most.cut = partly->cut;
  if (partly->silent > p->most.silent) p->most.silent = partly->silent;
  if (partly->unknown > p->most.unknown) p->most.unknown = partly->unknown;
  pthread_mutex_unlock(&p->cli->lock);
}

/* It went out, and not all who listen are sure to have it. */
void pub_say_partly(const struct pub_partly *p, uint64_t taken) {
  if (!p->messages) return;
  fprintf(stderr, "macula: %llu of %llu messages confirmed in part:", (unsigned long long)p->messages,
          (unsigned long long)taken);
  if (p->most.cut) fprintf(stderr, " %llu slow subscribers were cut, or have lost a message;", (unsigned long long)p->most.cut);
  if (p->most.silent) fprintf(stderr, " %llu nodes with subscribers do not answer;", (unsigned long long)p->most.silent);
  if (p->most.unknown) fprintf(stderr, " of %llu nodes it is not known who listens;", (unsigned long long)p->most.unknown);
  fputs(" all others have it\n", stderr);
}

json_t *pub_partly_json(const struct pub_partly *p) {
  if (!p->messages) return NULL;
  return json_pack("{s:I,s:I,s:I,s:I}", "messages", (json_int_t)p->messages, "cut", (json_int_t)p->most.cut, "silent",
                   (json_int_t)p->most.silent, "unknown", (json_int_t)p->most.unknown);
}

static void on_taken(void *ctx, macula_client client, int err, const char *text) {
  struct pub *p = ctx;
  (void)client;
  pthread_mutex_lock(&p->cli->lock);
  p->taken++;
  if (err && !p->err) {
    p->err = err;
    snprintf(p->text, sizeof p->text, "%s", text);
  }
  pthread_mutex_unlock(&p->cli->lock);
  cli_wake(p->cli);
}

static int publish_all(struct cli *cli, const struct pub_options *o, struct pub *p, const macula_publish_options *how,
                       const char *payload, size_t len) {
  uint64_t count = o->count ? o->count : 1, next = cli_now();
  for (;;) {
    pthread_mutex_lock(&cli->lock);
    uint64_t waiting = p->sent - p->taken, now = cli_now();
    int err = p->err;
    pthread_mutex_unlock(&cli->lock);
    if (err) return cli_failed(err, NULL, p->text);
    if (p->sent == count && !waiting) return 0;
    if (p->sent < count && waiting < PUB_WINDOW && now >= next) {
      err = macula_publish(cli->link.client, cli->argv[0], payload, len, how, on_taken, p);
      if (!err) {
        pthread_mutex_lock(&cli->lock);
        p->sent++;
        pthread_mutex_unlock(&cli->lock);
        next += o->interval * CLI_MS;
        continue;
      }
      if (err == MACULA_PAYLOAD_TOO_LARGE) return cli_invalid(err, macula_last_error());
      if (err != MACULA_EFULL)
        return cli_failed(err, NULL, macula_last_error()); /* else the link wakes us when there is room */
    }
    bool paced = p->sent < count && waiting < PUB_WINDOW && now < next;
    if (cli_wait(cli, paced ? next : CLI_NEVER) == CLI_SIGNALLED) return cli_interrupted();
  }
}

/* NAME=VALUE: the name is copied, into `names`. */
static int take_headers(const struct option_list *given, struct pub *p, char **ret_names) {
  size_t size = 1;
  for (unsigned i = 0; i < given->count; i++) size += strlen(given->at[i]) + 1;
  char *at = *ret_names = calloc(1, size);
  if (!at) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  for (unsigned i = 0; i < given->count; i++) {
    const char *value = strchr(given->at[i], '=');
    if (!value || value == given->at[i]) return cli_invalid(MACULA_EINVAL, "--header is NAME=VALUE, such as --header unit=C");
    size_t len = (size_t)(value - given->at[i]);
    memcpy(at, given->at[i], len);
    p->headers[p->header_count++] = (macula_header){at, value + 1, strlen(value + 1)};
    at += len + 1;
  }
  return 0;
}

static int publish_one(struct cli *cli, const struct pub_options *o, struct pub *p, const macula_publish_options *how) {
  char *payload;
  size_t len;
  int code = text_read(cli->argc > 1 ? cli->argv[1] : NULL, "", &payload, &len);
  if (code) return code;
  code = cli_connect(cli, false);
  if (!code) code = publish_all(cli, o, p, how, payload, len);
  if (!code && cli->json &&
      !text_put_json(json_pack("{s:s,s:I,s:o*}", "topic", cli->argv[0], "published", (json_int_t)p->sent, "partly",
                               pub_partly_json(&p->partly))))
    code = EXIT_FAILED;
  if (!cli->json) pub_say_partly(&p->partly, p->taken);
  cli_end(cli, code); /* ends the callbacks that use p */
  free(payload);
  return code;
}

static int check_lines(const struct cli *cli, const struct pub_options *o) {
  if (!o->lines) return cli->argc ? 0 : cli_invalid(MACULA_EINVAL, "say to which topic: macula pub TOPIC [PAYLOAD|-]");
  if (cli->argc > 1 || o->count || o->interval)
    return cli_invalid(MACULA_EINVAL,
                       "--lines reads what is published from standard input: without PAYLOAD, --count and --interval");
  if (!cli->argc && !cli->json)
    return cli_invalid(MACULA_EINVAL, "say to which topic: macula pub -l TOPIC; with --json lines say it");
  return 0;
}

static int run(struct cli *cli, void *options_set) {
  const struct pub_options *o = options_set;
  struct pub p = {.cli = cli, .partly.cli = cli};
  char *names = NULL;
  int code = check_lines(cli, o), err = !code && cli->argc ? macula_check_topic(cli->argv[0]) : 0;
  if (code) return code;
  if (err) return cli_bad_name(err, cli->argv[0]);
  if (o->wait && o->qos) return cli_invalid(MACULA_EINVAL, "--wait goes with --qos 0: QoS 1 waits by itself");
  if (!(code = take_headers(&o->headers, &p, &names))) {
    macula_publish_options how = {
        MACULA_INIT(macula_publish_options), .qos = (int)o->qos,      .retain = o->retain,     .confirm = true,
        .wait_for_readers = o->wait,         .on_partly = on_partly,  .partly_ctx = &p.partly, .headers = p.headers,
        .header_count = p.header_count,      .expires_ms = o->expires};
    code = o->lines ? pub_lines(cli, cli->argc ? cli->argv[0] : NULL, &how, &p.partly) : publish_one(cli, o, &p, &how);
  }
  free(names);
  return code;
}

const struct command command_pub = {
    "pub",
    "pub TOPIC [PAYLOAD|-] [OPTION]... | pub -l [TOPIC] [OPTION]...",
    "publish a message, or one a line",
    "Publishes PAYLOAD, and ends when the node has taken it. For '-', and where none\n"
    "is given and standard input is a pipe or a file, that is read instead, whole.\n\n"
    "  -l, --lines     a message a line of standard input; at most 256 wait for the\n"
    "                  node. With --json a line is {\"topic\":...,\"payload\":...}, as\n"
    "                  `macula sub --json` prints it, with qos, retain, headers and\n"
    "                  expires_ms. A line that is wrong is told with its number, and\n"
    "                  the exit code is 2 (1: the node refused)\n"
    "  --qos 0|1|2     1: at least once to every subscriber connected now; 2: the\n"
    "                  same, and exactly once to those of MQTT that ask (default 0)\n"
    "  --wait          be held for half of the time rather than have slow subscribers\n"
    "                  lose it (QoS 0)\n"
    "  --retain        keep it for later subscribers; an empty payload clears\n"
    "  --header K=V    beside the payload; may be repeated\n"
    "  --expires T     worth nothing after T, such as 30s: not delivered any more\n"
    "  --count N       publish it N times\n"
    "  --interval T    time between two, such as 500ms or 2s\n\n"
    "Example: macula pub sensor.kitchen.temp 21.5\n"
    "Example: seq 3 | macula pub -l log.host1\n"
    "Example: echo '{\"topic\":\"a.b\",\"payload\":[1,2]}' | macula pub -l --json\n",
    options,
    sizeof(struct pub_options),
    0,
    2,
    run,
};
