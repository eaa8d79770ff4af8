/* macula completion: scripts made from the tables of commands and options. */
#include <string.h>

#include "cli.h"

static void put_options(const struct option_def *defs) {
  for (; defs && defs->name; defs++)
    if (!defs->hidden) printf(" --%s", defs->name);
}

static const char *words_of(const char *command) {
  return strcmp(command, "bench") == 0        ? " pubsub fanout rpc connect idle"
         : strcmp(command, "load") == 0       ? " pool clients services streams callers all soak"
         : strcmp(command, "id") == 0         ? " new show"
         : strcmp(command, "dht") == 0        ? " get lookup"
         : strcmp(command, "completion") == 0 ? " bash zsh"
                                              : "";
}

/* What both shells understand alike: from `command`, the first word that names one, to `list`, what can follow. */
static void put_cases(void) {
  const struct command *c;
  fputs("  case $command in\n  '') list=(", stdout);
  for (size_t i = 0; (c = command_at(i)); i++) printf("%s%s", i ? " " : "", c->name);
  fputs(") ;;\n", stdout);
  for (size_t i = 0; (c = command_at(i)); i++) {
    if (!c->options && !*words_of(c->name)) continue;
    printf("  %s) list=(%s", c->name, words_of(c->name));
    put_options(c->options);
    fputs(" ) ;;\n", stdout);
  }
  fputs("  esac\n  list+=(", stdout);
  put_options(global_options);
  fputs(" )\n", stdout);
}

static void put_function(const char *words_before) {
  const struct command *c;
  printf("_macula() {\n  local word command=\n  local -a list\n  for word in %s; do\n    case $word in\n    ", words_before);
  for (size_t i = 0; (c = command_at(i)); i++) printf("%s%s", i ? "|" : "", c->name);
  fputs(") command=$word; break ;;\n    esac\n  done\n", stdout);
  put_cases();
}

static void put_bash(void) {
  put_function("\"${COMP_WORDS[@]:1:COMP_CWORD-1}\"");
  fputs("  COMPREPLY=($(compgen -W \"${list[*]}\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
        "complete -o default -F _macula macula\n",
        stdout);
}

/* To be sourced, or as a file _macula in a folder of fpath, which is read when the function is called first. */
static void put_zsh(void) {
  fputs("#compdef macula\n", stdout);
  put_function("${words[2,CURRENT-1]}");
  fputs("  compadd -a list || _files\n}\n"
        "if [[ ${funcstack[1]} = _macula ]]; then _macula \"$@\"; else compdef _macula macula; fi\n",
        stdout);
}

static int run(struct cli *cli, void *options) {
  (void)options;
  if (strcmp(cli->argv[0], "bash") == 0)
    put_bash();
  else if (strcmp(cli->argv[0], "zsh") == 0)
    put_zsh();
  else
    return cli_invalid(MACULA_EINVAL, "it is `completion bash` or `completion zsh`");
  return 0;
}

const struct command command_completion = {
    "completion",
    "completion bash|zsh",
    "print a completion script",
    "Prints a script that completes commands and options. In zsh it is for after compinit, or a file _macula in fpath.\n\n"
    "Example: source <(macula completion bash)\n",
    NULL,
    0,
    1,
    1,
    run,
};
