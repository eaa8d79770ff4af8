/* Global options, then a command's own, from its table. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

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
                                        run_version};

static const char global_help[] = "Global options, before or after the command:\n"
                                  "  -s, --server ADDR   node: HOST, HOST:PORT or macula://ID@HOST:PORT\n"
                                  "                      (default: $MACULA_SERVER, else 127.0.0.1:9443)\n"
                                  "  -r, --realm REALM   the node's realm (default: default)\n"
                                  "  --name TEXT         what the node's list of clients calls this one (default:\n"
                                  "                      macula)\n"
                                  "  --identity FILE     key and certificate (default: your own, made on first use)\n"
                                  "  --token-file FILE   access token\n"
                                  "  --pass FILE         pass for this identity (default: $MACULA_PASS_FILE)\n"
                                  "  --realm-key ID      nodes must show a pass of this realm key (default: the\n"
                                  "                      pass's own)\n"
                                  "  --insecure          accept any node identity\n"
                                  "  --json              print JSON\n"
                                  "  -h, --help          this help; after a command, the command's\n"
                                  "  -V, --version       print the version\n";

static int help(const struct cli *cli) {
  puts("Usage: macula [OPTION]... COMMAND [ARGUMENT]...\n\nPublishes, subscribes, serves and calls through a Macula node.\n\n"
       "Commands:");
  for (const struct command *const *c = cli->commands; *c; c++) printf("  %-11s %s\n", (*c)->name, (*c)->summary);
  printf("\n%s\nExample: macula sub 'sensor.**' & macula pub sensor.kitchen.temp 21.5\n\n"
         "Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 not connected or not\nlet in, 4 timed out, 5 messages for "
         "sub were dropped.\n",
         global_help);
  return 0;
}

static int run(struct cli *cli, const struct command *c, int argc, char **argv) {
  void *options = calloc(1, c->options_size ? c->options_size : 1);
  if (!options) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  int code = options_parse(cli, argc, argv, false, c->options, options, NULL);
  if (!code && cli->help) {
    printf("Usage: macula %s\n\n%s\n%s", c->usage, c->help, global_help);
  } else if (!code && cli->version) {
    code = run_version(cli, NULL);
  } else if (!code && (cli->argc < c->min_args || cli->argc > c->max_args)) {
    cli_error("invalid_argument", "%s arguments; usage: macula %s", cli->argc < c->min_args ? "missing" : "too many", c->usage);
    code = EXIT_USAGE;
  } else if (!code && !(code = options_belong(cli, c))) {
    if (cli->begin) cli->begin();
    code = c->run(cli, options);
    free(options);
    return code;
  }
  free(options);
  return code == EXIT_USAGE && c->wrong_usage ? c->wrong_usage : code;
}

int cli_main(int argc, char **argv, const struct command *const *commands, void (*begin)(void)) {
  struct cli cli = {.commands = commands, .begin = begin, .lock = PTHREAD_MUTEX_INITIALIZER, .wake_fd = -1, .signal_fd = -1};
  const struct command *found = NULL;
  int used = 0, code = EXIT_USAGE;
  if (!(cli.argv = calloc((size_t)argc + 1, sizeof *cli.argv))) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  code = options_parse(&cli, argc - 1, argv + 1, true, NULL, NULL, &used);
  char *name = used < argc - 1 ? argv[1 + used] : NULL;
  for (const struct command *const *c = commands; !code && name && *c; c++)
    if (strcmp((*c)->name, name) == 0) found = *c;
  if (!code && found) {
    code = run(&cli, found, argc - 2 - used, argv + 2 + used);
  } else if (!code && cli.help) {
    code = help(&cli);
  } else if (!code && cli.version) {
    code = run_version(&cli, NULL);
  } else if (!code) {
    if (name)
      cli_error("invalid_argument", "there is no command '%s'; macula --help lists them", name);
    else
      cli_error("invalid_argument", "a command is missing; macula --help lists them");
    code = EXIT_USAGE;
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
  free(cli.argv);
  return code;
}
