/* macula call: one call, its result on stdout. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct call_options {
  uint64_t timeout;
  const char *strategy;
  bool idempotent;
};

static const struct option_def options[] = {
    {"timeout", 't', OPTION_TIME, offsetof(struct call_options, timeout), 1},
    {"strategy", 0, OPTION_TEXT, offsetof(struct call_options, strategy)},
    {"idempotent", 0, OPTION_FLAG, offsetof(struct call_options, idempotent)},
    {0},
};

struct answer {
  struct cli *cli;
  bool ended; /* under the lock, as is what follows */
  int err;
  char code[64], text[1024];
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
    snprintf(a->text, sizeof a->text, "%s%s%s%s", r->text[0] ? r->text : macula_err_text(r->err),
             r->may_have_run && r->err != MACULA_HANDLER_ERROR ? "; the handler may have run" : "",
             r->attempts[0] ? "; attempts: " : "", r->attempts);
  } else if ((a->data = malloc(r->len + 1))) {
    memcpy(a->data, r->len ? r->data : "", r->len);
    a->len = r->len;
  } else {
    a->err = MACULA_ENOMEM;
  }
  pthread_mutex_unlock(&a->cli->lock);
  cli_wake(a->cli);
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
    if (a->err) return cli_failed(a->err, a->code, a->text);
    text_put_payload(stdout, a->data, a->len);
    putchar('\n');
    return fflush(stdout) ? cli_failed(MACULA_EIO, NULL, "standard output cannot be written") : 0;
  }
}

static int check_strategy(const char *strategy) {
  static const char *const known[] = {"random", "first", "round_robin", "closest", "least_pending"};
  for (size_t i = 0; strategy && i < sizeof known / sizeof known[0]; i++)
    if (strcmp(strategy, known[i]) == 0) return 0;
  return strategy ? cli_invalid(MACULA_EINVAL, "--strategy is random, first, round_robin, closest or least_pending") : 0;
}

static int run(struct cli *cli, void *options_set) {
  const struct call_options *o = options_set;
  struct answer a = {.cli = cli};
  char *args;
  size_t len;
  int err = macula_check_procedure(cli->argv[0]), code;
  if (err) return cli_bad_name(err, cli->argv[0]);
  if ((code = check_strategy(o->strategy)) || (code = text_read(cli->argc > 1 ? cli->argv[1] : NULL, "{}", &args, &len)))
    return code;
  code = text_check_json("the argument", args, len);
  if (!code) code = cli_connect(cli, false);
  if (!code) {
    macula_call_options how = {MACULA_INIT(macula_call_options), .timeout_ms = o->timeout, .strategy = o->strategy,
                               .idempotent = o->idempotent};
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
    "call PROC [JSON|-] [--timeout T] [--strategy S] [--idempotent]",
    "call a procedure, print its result",
    "Calls PROC with JSON ({} if none is given; standard input for '-') and prints\n"
    "the result.\n\n"
    "  --timeout T     of the whole call, such as 500ms or 10s (default 5s)\n"
    "  --strategy S    which provider: random, first, round_robin, closest,\n"
    "                  least_pending\n"
    "  --idempotent    another provider may be tried after a timeout\n\n"
    "Example: macula call math.add '{\"a\":2,\"b\":3}'\n",
    options,
    sizeof(struct call_options),
    1,
    2,
    run,
};
