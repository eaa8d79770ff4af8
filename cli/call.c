/* macula call: one call, its result on stdout. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct call_options {
  uint64_t timeout;
  const char *strategy;
  bool idempotent, once, raw;
};

static const struct option_def options[] = {
    {"timeout", 't', OPTION_TIME, offsetof(struct call_options, timeout), 1},
    {"strategy", 0, OPTION_TEXT, offsetof(struct call_options, strategy),
     .values = "random first round_robin closest least_pending"},
    {"idempotent", 0, OPTION_FLAG, offsetof(struct call_options, idempotent)},
    {"raw", 0, OPTION_FLAG, offsetof(struct call_options, raw)},
    {"once", 0, OPTION_FLAG, offsetof(struct call_options, once)},
    {0},
};

struct answer {
  struct cli *cli;
  bool raw;
  bool ended; /* under the lock, as is what follows */
  int err;
  bool may_have_run;
  char code[64], text[1024], attempts[2048];
  char *data;
  size_t len;
};

static void on_result(void *ctx, macula_client client, const macula_result *r) {
  struct answer *a = ctx;
  (void)client;
  pthread_mutex_lock(&a->cli->lock);
  a->ended = true;
  a->err = r->err;
  if (r->err) {
    snprintf(a->code, sizeof a->code, "%s", r->code);
    a->may_have_run = r->may_have_run;
    snprintf(a->text, sizeof a->text, "%s", r->text[0] ? r->text : macula_err_text(r->err));
    snprintf(a->attempts, sizeof a->attempts, "%s", r->attempts);
  } else if ((a->data = malloc(r->len + 1))) {
    memcpy(a->data, r->len ? r->data : "", r->len);
    a->len = r->len;
  } else {
    a->err = MACULA_ENOMEM;
  }
  pthread_mutex_unlock(&a->cli->lock);
  cli_wake(a->cli);
}

/* For scripts: one line of JSON on stdout, beside the line for people on stderr. */
static int put_error(const struct answer *a) {
  json_t *attempts = json_array();
  for (const char *p = a->attempts, *end; *p && (end = strchrnul(p, '\n')); p = end + (*end == '\n'))
    json_array_append_new(attempts, json_stringn(p, (size_t)(end - p)));
  json_t *j = json_pack("{s:{s:s, s:s, s:b, s:o}}", "error", "code", a->code, "message", a->text, "may_have_run",
                        a->may_have_run, "attempts", attempts);
  return j && text_put_json(j) ? 0 : EXIT_FAILED;
}

static int failed(const struct cli *cli, const struct answer *a) {
  char text[4096];
  if (cli->json && put_error(a)) return cli_failed(MACULA_EIO, NULL, "standard output cannot be written");
  snprintf(text, sizeof text, "%s%s%s%s", a->text,
           a->may_have_run && a->err != MACULA_HANDLER_ERROR ? "; the handler may have run" : "",
           a->attempts[0] ? "; attempts: " : "", a->attempts);
  return cli_failed(a->err, a->code, text);
}

static int wait_answer(struct cli *cli, struct answer *a) {
  for (;;) {
    pthread_mutex_lock(&cli->lock);
    bool ended = a->ended;
    pthread_mutex_unlock(&cli->lock);
    if (!ended) {
      if (cli_wait(cli, CLI_NEVER) == CLI_SIGNALLED) return cli_interrupted(); /* the goodbye cancels the call */
      continue;
    }
    if (a->err) return failed(cli, a);
    text_put_payload(stdout, a->data, a->len);
    if (!a->raw) putchar('\n');
    return fflush(stdout) ? cli_failed(MACULA_EIO, NULL, "standard output cannot be written") : 0;
  }
}

static int run(struct cli *cli, void *options_set) {
  const struct call_options *o = options_set;
  struct answer a = {.cli = cli, .raw = o->raw};
  char *args;
  size_t len;
  int err = macula_check_procedure(cli->argv[0]), code;
  if (err) return cli_bad_name(err, cli->argv[0]);
  if (o->idempotent && o->once) return cli_invalid(MACULA_EINVAL, "--once and --idempotent say the contrary: give one of them");
  if ((code = text_read(cli->argc > 1 ? cli->argv[1] : NULL, "{}", &args, &len))) return code;
  code = o->raw ? 0 : text_check_json("the argument", args, len);
  if (!code) code = cli_connect(cli, false);
  if (!code) {
    macula_call_options how = {MACULA_INIT(macula_call_options), .timeout_ms = o->timeout, .strategy = o->strategy,
                               .idempotent = o->idempotent, .once = o->once};
    err = macula_call(cli->link.client, cli->argv[0], args, len, &how, on_result, &a, NULL);
    code = err == MACULA_PAYLOAD_TOO_LARGE ? cli_invalid(err, macula_last_error())
           : err                           ? cli_failed(err, NULL, macula_last_error())
                                           : wait_answer(cli, &a);
  }
  cli_end(cli, code); /* ends the callbacks that use a */
  free(a.data);
  free(args);
  return code;
}

const struct command command_call = {
    "call",
    "call PROC [JSON|-] [OPTION]...",
    "call a procedure, print its result",
    "Calls PROC with JSON and prints the result. For '-', and where none is given\n"
    "and standard input is a pipe or a file, that is read instead; else it is {}.\n\n"
    "  --timeout T     of the whole call, such as 500ms or 10s (default 5s)\n"
    "  --strategy S    which provider: random, first, round_robin, closest,\n"
    "                  least_pending\n"
    "  --idempotent    it may run more than once: another provider is tried when one\n"
    "                  falls silent, is lost, or takes longer than its share of time\n"
    "  --once          it never runs twice, not even when its provider died just\n"
    "                  after it began\n\n"
    "  --raw           any bytes instead of JSON, and the result without a newline\n\n"
    "The error says whether the handler may have run; with --json also as a line of\n"
    "JSON: {\"error\": {\"code\", \"message\", \"may_have_run\", \"attempts\"}}.\n\n"
    "Example: macula call math.add '{\"a\":2,\"b\":3}'\n"
    "Example: echo '{\"a\":2,\"b\":3}' | macula call math.add\n",
    options,
    sizeof(struct call_options),
    1,
    2,
    run,
};
