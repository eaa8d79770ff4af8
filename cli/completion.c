/* macula completion: scripts made from the tables of commands and options. */
#include <string.h>

#include "cli.h"

static void put_options(const struct option_def *defs) {
  for (; defs && defs->name; defs++)
    if (!defs->hidden) printf(" --%s", defs->name);
}

/* What both shells understand alike: from `command`, the first word that names one, to `list`, what can follow. */
static void put_cases(const struct command *const *commands) {
  fputs("  case $command in\n  '') list=(", stdout);
  for (const struct command *const *c = commands; *c; c++) printf("%s%s", c == commands ? "" : " ", (*c)->name);
  fputs(") ;;\n", stdout);
  for (const struct command *const *c = commands; *c; c++) {
    if (!(*c)->options && !(*c)->words) continue;
    printf("  %s) list=(%s%s", (*c)->name, (*c)->words ? " " : "", (*c)->words ? (*c)->words : "");
    put_options((*c)->options);
    fputs(" ) ;;\n", stdout);
  }
  fputs("  esac\n  list+=(", stdout);
  put_options(global_options);
  fputs(" )\n", stdout);
}

static void put_function(const struct command *const *commands, const char *words_before) {
  printf("_macula() {\n  local word command=\n  local -a list\n  for word in %s; do\n    case $word in\n    ", words_before);
  for (const struct command *const *c = commands; *c; c++) printf("%s%s", c == commands ? "" : "|", (*c)->name);
  fputs(") command=$word; break ;;\n    esac\n  done\n", stdout);
  put_cases(commands);
}

static void put_bash(const struct command *const *commands) {
  put_function(commands, "\"${COMP_WORDS[@]:1:COMP_CWORD-1}\"");
  fputs("  COMPREPLY=($(compgen -W \"${list[*]}\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
        "complete -o default -F _macula macula\n",
        stdout);
}

/* To be sourced, or as a file _macula in a folder of fpath, which is read when the function is called first. */
static void put_zsh(const struct command *const *commands) {
  fputs("#compdef macula\n", stdout);
  put_function(commands, "${words[2,CURRENT-1]}");
  fputs("  compadd -a list || _files\n}\n"
        "if [[ ${funcstack[1]} = _macula ]]; then _macula \"$@\"; else compdef _macula macula; fi\n",
        stdout);
}

static int run(struct cli *cli, void *options) {
  (void)options;
  if (strcmp(cli->argv[0], "bash") == 0)
    put_bash(cli->commands);
  else if (strcmp(cli->argv[0], "zsh") == 0)
    put_zsh(cli->commands);
  else
    return cli_invalid(MACULA_EINVAL, "it is `completion bash` or `completion zsh`");
  return 0;
}

const struct command command_completion = {
    "completion",
    "completion bash|zsh",
    "print a completion script",
    "Prints a script that completes commands and options. In zsh it is for after\n"
    "compinit, or a file _macula in fpath.\n\n"
    "Example: source <(macula completion bash)\n",
    NULL,
    0,
    1,
    1,
    run,
    "bash zsh",
};
