/* macula completion: scripts made from the tables of commands and options. */
#include <string.h>

#include "cli.h"

static const char *const bench_kinds = "pubsub fanout rpc connect idle";

static void put_options(const struct option_def *defs) {
  for (; defs && defs->name; defs++) printf("--%s ", defs->name);
}

static const char *words_of(const char *command) {
  return strcmp(command, "bench") == 0        ? bench_kinds
         : strcmp(command, "id") == 0         ? "new show"
         : strcmp(command, "dht") == 0        ? "get lookup"
         : strcmp(command, "completion") == 0 ? "bash zsh"
                                              : "";
}

static int run(struct cli *cli, void *options) {
  const struct command *c;
  bool zsh = strcmp(cli->argv[0], "zsh") == 0;
  (void)options;
  if (!zsh && strcmp(cli->argv[0], "bash") != 0)
    return cli_invalid(MACULA_EINVAL, "it is `completion bash` or `completion zsh`");
  if (zsh) fputs("#compdef macula\nautoload -U +X bashcompinit && bashcompinit\n", stdout);
  fputs("_macula() {\n  local cur=${COMP_WORDS[COMP_CWORD]} word command= words\n"
        "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n    case $word in\n    ",
        stdout);
  for (size_t i = 0; (c = command_at(i)); i++) printf("%s%s", i ? "|" : "", c->name);
  fputs(") command=$word; break;;\n    esac\n  done\n  case $command in\n  '') words='", stdout);
  for (size_t i = 0; (c = command_at(i)); i++) printf("%s ", c->name);
  fputs("';;\n", stdout);
  for (size_t i = 0; (c = command_at(i)); i++) {
    printf("  %s) words='%s ", c->name, words_of(c->name));
    put_options(c->options);
    fputs("';;\n", stdout);
  }
  fputs("  esac\n  words+=' ", stdout);
  put_options(global_options);
  fputs("'\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -o default -F _macula macula\n", stdout);
  return 0;
}

const struct command command_completion = {
    "completion",
    "completion bash|zsh",
    "print a completion script",
    "Prints a script that completes commands and options.\n\nExample: source <(macula completion bash)\n",
    NULL,
    0,
    1,
    1,
    run,
};
