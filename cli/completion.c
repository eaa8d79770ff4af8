/* macula completion: scripts for both programs, made from the tables of commands and options. Each shell has a function of its
 * own around what both understand alike: one that puts into `list` what can stand after the words so far. */
#include <string.h>

#include "cli.h"

#define CONTEXTS "list=($(macula context list 2>/dev/null | cut -d' ' -f1)"

static void put_options(const struct option_def *defs) {
  for (; defs && defs->name; defs++)
    if (!defs->hidden) printf(" --%s", defs->name);
}

/* What follows an option; a list that is empty leaves the word to the shell's files. */
static void put_values(const char *command, const struct option_def *defs) {
  for (; defs && defs->name; defs++) {
    if (defs->hidden || defs->kind == OPTION_FLAG) continue;
    printf("  %s' --%s'", command, defs->name);
    if (defs->letter) printf("|%s' -%c'", command, defs->letter);
    if (!defs->values || strcmp(defs->values, "file") == 0)
      puts(") return ;;");
    else if (strcmp(defs->values, "context") == 0)
      puts(") " CONTEXTS " none); return ;;");
    else
      printf(") list=(%s); return ;;\n", defs->values);
  }
}

static void put_names(const struct command *const *commands, const char *between) {
  for (const struct command *const *c = commands; *c; c++) printf("%s%s", c == commands ? "" : between, (*c)->name);
}

static void put_macula(const struct command *const *commands) {
  fputs("_macula_words() {\n  local word command= previous=$1\n  shift\n  list=()\n  for word in \"$@\"; do\n    case $word "
        "in\n    ",
        stdout);
  put_names(commands, "|");
  fputs(") command=$word; break ;;\n    esac\n  done\n  case \"$command $previous\" in\n"
        "  'context use'|'context show'|'context rm') " CONTEXTS "); return ;;\n",
        stdout);
  put_values("*", global_options);
  for (const struct command *const *c = commands; *c; c++) put_values((*c)->name, (*c)->options);
  fputs("  esac\n  case $command in\n  '') list=(", stdout);
  put_names(commands, " ");
  fputs(") ;;\n", stdout);
  for (const struct command *const *c = commands; *c; c++) {
    bool of_help = *c == &command_help;
    if (!(*c)->options && !(*c)->words && !of_help) continue;
    printf("  %s) list=(%s%s", (*c)->name, (*c)->words ? " " : "", (*c)->words ? (*c)->words : "");
    if (of_help) put_names(commands, " ");
    put_options((*c)->options);
    fputs(" ) ;;\n", stdout);
  }
  fputs("  esac\n  list+=(", stdout);
  put_options(global_options);
  fputs(" )\n}\n", stdout);
}

static void put_flag(const char *key) {
  fputs("--", stdout);
  for (; *key; key++) putchar(*key == '_' ? '-' : *key);
}

/* Of "open|FILE" the words that are meant as they stand. */
static void put_words(const char *arg) {
  static const char small[] = "abcdefghijklmnopqrstuvwxyz";
  for (size_t n; *arg; arg += n + (arg[n] == '|')) {
    n = strcspn(arg, "|");
    if (strspn(arg, small) >= n) printf(" %.*s", (int)n, arg);
  }
}

static void put_maculad(struct daemon_option (*option)(size_t i)) {
  struct daemon_option o;
  fputs("_maculad_words() {\n  list=()\n  case $1 in\n  -c|--config) return ;;\n", stdout);
  for (size_t i = 0; (o = option(i)).key; i++) {
    if (!o.arg) continue;
    fputs("  ", stdout);
    put_flag(o.key);
    fputs(") list=(", stdout);
    put_words(o.arg);
    fputs(" ); return ;;\n", stdout);
  }
  fputs("  esac\n  list=(--config --check --plan --json --help --version", stdout);
  for (size_t i = 0; (o = option(i)).key; i++) {
    putchar(' ');
    put_flag(o.key);
  }
  fputs(")\n}\n", stdout);
}

static const char bash[] = "_macula() {\n"
                           "  local -a list\n"
                           "  _macula_words \"${COMP_WORDS[COMP_CWORD-1]}\" \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"\n"
                           "  COMPREPLY=($(compgen -W \"${list[*]}\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
                           "_maculad() {\n"
                           "  local -a list\n"
                           "  _maculad_words \"${COMP_WORDS[COMP_CWORD-1]}\"\n"
                           "  COMPREPLY=($(compgen -W \"${list[*]}\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
                           "complete -o default -F _macula macula\n"
                           "complete -o default -F _maculad maculad\n";

/* To be sourced, or as a file _macula in a folder of fpath, which is read when the function is called first. */
static const char zsh[] = "_macula() {\n"
                          "  local -a list\n"
                          "  if [[ $service = maculad ]]; then _maculad_words \"${words[CURRENT-1]}\"\n"
                          "  else _macula_words \"${words[CURRENT-1]}\" \"${(@)words[2,CURRENT-1]}\"; fi\n"
                          "  compadd -a list || _files\n}\n"
                          "if [[ ${funcstack[1]} = _macula ]]; then _macula \"$@\"; else compdef _macula macula maculad; fi\n";

static int run(struct cli *cli, void *options) {
  bool is_zsh = strcmp(cli->argv[0], "zsh") == 0;
  (void)options;
  if (!is_zsh && strcmp(cli->argv[0], "bash") != 0)
    return cli_invalid(MACULA_EINVAL, "it is `completion bash` or `completion zsh`");
  if (is_zsh) puts("#compdef macula maculad");
  put_macula(cli->program->commands);
  put_maculad(cli->program->daemon_option);
  fputs(is_zsh ? zsh : bash, stdout);
  return 0;
}

const struct command command_completion = {
    "completion",
    "completion bash|zsh",
    "print a completion script",
    "Prints a script that completes commands, options, what they take, and names of\n"
    "contexts, for macula and maculad. In zsh it is for after compinit, or a file\n"
    "_macula in fpath.\n\n"
    "Example: source <(macula completion bash)\n",
    NULL,
    0,
    1,
    1,
    run,
    "bash zsh",
    .is_local = true,
};
