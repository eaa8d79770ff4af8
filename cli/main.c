/* Global options, then a command's own, from its table. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "screen.h"

#define WATCHED "status peers clients services subs"

static int run_version(struct cli *cli, void *options) {
  (void)options;
  if (cli->json) return text_put_json(json_pack("{s:s}", "version", macula_version())) ? 0 : EXIT_FAILED;
  printf("macula %s\n", macula_version());
  return 0;
}
const struct command command_version = {"version",
                                        "version",
                                        "print the version",
                                        "Prints the version of this program and of libmacula.\n\n"
                                        "Example: macula version\n",
                                        NULL,
                                        0,
                                        0,
                                        0,
                                        run_version,
                                        .is_local = true};

static const char global_help[] = "Global options, before or after the command:\n"
                                  "  -s, --server ADDR   node: HOST, HOST:PORT or macula://ID@HOST:PORT\n"
                                  "                      (default: $MACULA_SERVER, else 127.0.0.1:9443)\n"
                                  "  -r, --realm REALM   the node's realm (default: default)\n"
                                  "  --context NAME      settings kept under this name (`macula context`); none: no\n"
                                  "                      settings\n"
                                  "  --name TEXT         what the node's list of clients calls this one (default:\n"
                                  "                      macula)\n"
                                  "  --identity FILE     key and certificate (default: your own, made on first use)\n"
                                  "  --token-file FILE   access token\n"
                                  "  --pass FILE         pass for this identity\n"
                                  "  --ca FILE           the node's certificate must be issued by it (PEM)\n"
                                  "  --realm-key ID      nodes must show a pass of this realm key (default: the\n"
                                  "                      pass's own)\n"
                                  "  --insecure          accept any node identity\n"
                                  "  --json              print JSON\n"
                                  "  --watch             again each second (status, peers, clients, services, subs)\n"
                                  "  -h, --help          this help; after a command, the command's\n"
                                  "  -V, --version       print the version\n"
                                  "What no option says, the variables MACULA_CONTEXT, MACULA_SERVER, MACULA_REALM,\n"
                                  "MACULA_NAME, MACULA_IDENTITY, MACULA_TOKEN_FILE, MACULA_PASS, MACULA_CA and\n"
                                  "MACULA_REALM_KEY say, and what these do not, the context in use.\n";

static void help_of(const struct command *c) { printf("Usage: macula %s\n\n%s\n%s", c->usage, c->help, global_help); }

static int help(const struct cli *cli) {
  puts("Usage: macula [OPTION]... COMMAND [ARGUMENT]...\n\nPublishes, subscribes, serves and calls through a Macula node.\n\n"
       "Commands:");
  for (const struct command *const *c = cli->program->commands; *c; c++) printf("  %-11s %s\n", (*c)->name, (*c)->summary);
  printf("\n`macula help COMMAND` says more of one, `macula cheat` shows commands by task.\n"
         "\n%s\nExample: macula sub 'sensor.**' & macula pub sensor.kitchen.temp 21.5\n\n"
         "Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 not connected or not\nlet in, 4 timed out, 5 messages for "
         "sub were dropped.\n",
         global_help);
  return 0;
}

/* The command's first argument is none of those that it takes, and near to one. What is near to none it says itself. */
static int check_word(const struct cli *cli, const struct command *c) {
  char near[NEAR_LEN];
  if (!c->words || c->wrong_usage || !cli->argc || near_has(c->words, cli->argv[0]))
    return 0; /* a monitor reads a line of its own */
  if (!near_find(cli, cli->argv[0], near_next_word, c->words, near)) return 0;
  cli_error("invalid_argument", "there is no `macula %s %s`; did you mean `macula %s %s`?", c->name, cli->argv[0], c->name,
            near);
  return EXIT_USAGE;
}

/* The command's table again each second, until it is interrupted. */
static int watch(struct cli *cli, const struct command *c, void *options) {
  struct screen screen;
  int code = cli_connect(cli, true);
  uint64_t next = cli_now();
  cli->prints = true;
  while (!code) {
    if (!screen_begin(&screen)) return cli_failed(MACULA_ENOMEM, NULL, NULL);
    code = c->run(cli, options);
    if (!screen_end(&screen) && !code) code = EXIT_FAILED;
    int waited = code ? code : screen_wait(cli, &next, 1000);
    if (waited >= 0) return waited;
  }
  return code;
}

static int do_work(struct cli *cli, const struct command *c, void *options) {
  if (!cli->watch) return c->run(cli, options);
  if (near_has(WATCHED, c->name) && !cli->argc) return watch(cli, c, options);
  return cli_invalid(MACULA_EINVAL,
                     "--watch goes with status, peers, clients, services and subs; `macula top` watches the node");
}

/* What is typed, up to where the command's work begins. Returns an exit code, its error printed. */
static int prepare(struct cli *cli, const struct command *c, int argc, char **argv, void *options) {
  int code = options_parse(cli, argc, argv, false, c->options, options, NULL);
  if (code || cli->help || cli->version) return code;
  if (cli->argc < c->min_args || cli->argc > c->max_args) {
    cli_error("invalid_argument", "%s arguments; usage: macula %s", cli->argc < c->min_args ? "missing" : "too many", c->usage);
    return EXIT_USAGE;
  }
  if ((code = check_word(cli, c)) || (code = options_belong(cli, c))) return code;
  cli->program->begin();
  return c->is_local ? 0 : context_apply(cli);
}

/* The same, its errors on standard output, too, where the command wants that. */
static int prepare_aloud(struct cli *cli, const struct command *c, int argc, char **argv, void *options) {
  char *errors = NULL;
  size_t len;
  FILE *to = stderr, *kept = c->say_wrong ? open_memstream(&errors, &len) : NULL;
  if (kept) stderr = kept;
  int code = prepare(cli, c, argc, argv, options);
  stderr = to;
  if (kept) fclose(kept);
  if (errors) fputs(errors, stderr);
  if (code && errors) c->say_wrong(cli, errors);
  free(errors);
  return code;
}

static int run(struct cli *cli, const struct command *c, int argc, char **argv) {
  void *options = calloc(1, c->options_size ? c->options_size : 1);
  if (!options) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  int code = prepare_aloud(cli, c, argc, argv, options);
  if (code)
    code = code == EXIT_USAGE && c->wrong_usage ? c->wrong_usage : code;
  else if (cli->help)
    help_of(c);
  else if (cli->version)
    code = run_version(cli, NULL);
  else
    code = do_work(cli, c, options);
  free(options);
  return code;
}

static bool next_command(const void *program, size_t i, char ret[NEAR_LEN]) {
  const struct command *c = ((const struct program *)program)->commands[i];
  if (c) snprintf(ret, NEAR_LEN, "%s", c->name);
  return c;
}

static int no_command(const struct cli *cli, const char *name) {
  char near[NEAR_LEN];
  if (!name)
    cli_error("invalid_argument", "a command is missing; macula --help lists them");
  else if (near_find(cli, name, next_command, cli->program, near))
    cli_error("invalid_argument", "there is no command '%s'; did you mean '%s'?", name, near);
  else
    cli_error("invalid_argument", "there is no command '%s'; macula --help lists them", name);
  return EXIT_USAGE;
}

static const struct command *find_command(const struct program *program, const char *name) {
  for (const struct command *const *c = program->commands; name && *c; c++)
    if (strcmp((*c)->name, name) == 0) return *c;
  return NULL;
}

static int run_help(struct cli *cli, void *options) {
  (void)options;
  if (!cli->argc) return help(cli);
  const struct command *c = find_command(cli->program, cli->argv[0]);
  if (!c) return no_command(cli, cli->argv[0]);
  help_of(c);
  return 0;
}
const struct command command_help = {"help",
                                     "help [COMMAND]",
                                     "show this, or the help of a command",
                                     "Shows what `macula COMMAND --help` does.\n\n"
                                     "Example: macula help pub\n",
                                     NULL,
                                     0,
                                     0,
                                     1,
                                     run_help,
                                     .is_local = true};

int cli_main(int argc, char **argv, const struct program *program) {
  struct cli cli = {.program = program, .lock = PTHREAD_MUTEX_INITIALIZER, .wake_fd = -1, .signal_fd = -1};
  const struct command *found = NULL;
  int used = 0, code = EXIT_USAGE;
  if (!(cli.argv = calloc((size_t)argc + 1, sizeof *cli.argv))) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  code = options_parse(&cli, argc - 1, argv + 1, true, NULL, NULL, &used);
  char *name = used < argc - 1 ? argv[1 + used] : NULL;
  if (!code && (found = find_command(program, name))) {
    code = run(&cli, found, argc - 2 - used, argv + 2 + used);
  } else if (!code && cli.help) {
    code = help(&cli);
  } else if (!code && cli.version) {
    code = run_version(&cli, NULL);
  } else if (!code) {
    code = no_command(&cli, name);
  }
  errno = 0;
  if ((fflush(stdout) || ferror(stdout)) && !code) {
    code = EXIT_FAILED;
    if (errno != EPIPE)
      cli_error("io_error", "not all of the output could be written%s%s", errno ? ": " : "", errno ? strerror(errno) : "");
  }
  cli_end(&cli, code);
  macula_identity_free(cli.identity);
  macula_free(cli.token);
  json_decref(cli.chosen);
  free(cli.argv);
  return code;
}
