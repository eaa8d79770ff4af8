/* Contexts: where a user's nodes are and what is shown to them, each under a name in a file of its own, so that no command line
 * repeats it. A file is a JSON object of texts in the user's folder contexts/; beside it the file `context` has the name of the
 * one in use. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

#define NAME_MOST 64 /* bytes */
#define NONE "none"

struct context_options {
  bool use;
};

static const struct option_def options[] = {
    {"use", 0, OPTION_FLAG, offsetof(struct context_options, use), .words = "add"},
    {0},
};

enum kind { PLAIN, THERE, LATER }; /* a file that must be there; one that may be made later */
static const struct setting {
  const char *key, *variables[2];
  size_t offset;
  enum kind kind;
} settings[] = {
    {"server", {"MACULA_SERVER"}, offsetof(struct cli, server), PLAIN},
    {"realm", {"MACULA_REALM"}, offsetof(struct cli, realm), PLAIN},
    {"name", {"MACULA_NAME"}, offsetof(struct cli, name), PLAIN},
    {"identity", {"MACULA_IDENTITY"}, offsetof(struct cli, identity_path), LATER},
    {"token_file", {"MACULA_TOKEN_FILE"}, offsetof(struct cli, token_file), THERE},
    /* Where maculad has a pass of its own in MACULA_PASS, the first is for this program alone. */
    {"pass", {"MACULA_PASS_FILE", "MACULA_PASS"}, offsetof(struct cli, pass_file), THERE},
    {"ca", {"MACULA_CA"}, offsetof(struct cli, ca_file), THERE},
    {"realm_key", {"MACULA_REALM_KEY"}, offsetof(struct cli, realm_key), PLAIN},
};
#define SETTINGS (sizeof settings / sizeof settings[0])
_Static_assert(SETTINGS == CONTEXT_SETTINGS, "struct cli has a variable for each");
#define KEYS "server realm name identity token_file pass ca realm_key"

static const char **at(struct cli *cli, const struct setting *s) { return (const char **)((char *)cli + s->offset); }

/* ---- files -----------------------------------------------------------------------------------------------------------------
 */
/* A path in the user's folder, for free. Returns an exit code, its error printed. */
static int path_of(const char *folder, const char *name, const char *end, char **ret_path) {
  char *user;
  if (macula_user_folder(&user)) return cli_invalid(MACULA_EIO, macula_last_error());
  int n = asprintf(ret_path, "%s/%s%s%s", user, folder, name, end);
  macula_free(user);
  if (n >= 0) return 0;
  *ret_path = NULL;
  return cli_failed(MACULA_ENOMEM, NULL, NULL);
}

static int context_path(const char *name, char **ret_path) { return path_of("contexts/", name, ".json", ret_path); }

static int failed_at(const char *what, const char *path) {
  cli_error(macula_err_name(MACULA_EIO), "cannot %s %s: %s", what, path, strerror(errno));
  return EXIT_FAILED;
}

static int check_name(const char *name) {
  size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
  if (n && !name[n] && n <= NAME_MOST && name[0] != '.' && name[0] != '-' && strcmp(name, NONE) != 0) return 0;
  cli_error("invalid_argument", "'%.100s' is no name of a context: letters, digits, . _ and -, at most %d, and not " NONE, name,
            NAME_MOST);
  return EXIT_USAGE;
}

/* With mode 0600, whole or not at all; with `create` only where none is. */
static int write_file(const char *path, const char *text, bool create) {
  char *temp;
  if (asprintf(&temp, "%s.XXXXXX", path) < 0) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  int fd = mkstemp(temp), code = 0; /* 0600 */
  FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
  bool ok = f && fputs(text, f) >= 0 && fflush(f) == 0 && fsync(fd) == 0;
  if (f)
    fclose(f);
  else if (fd >= 0)
    close(fd);
  if (!ok || (create ? link(temp, path) : rename(temp, path)) != 0) code = failed_at("write", path);
  if (fd >= 0 && (create || code)) unlink(temp);
  free(temp);
  return code;
}

/* Names of all contexts in their order, for free with each. */
static int by_name(const void *a, const void *b) {
  struct dirent *const *x = a, *const *y = b;
  return strcmp((*x)->d_name, (*y)->d_name);
}
static int is_context(const struct dirent *e) {
  size_t n = strlen(e->d_name);
  return e->d_name[0] != '.' && n > 5 && n <= NAME_MOST + 5 && strcmp(e->d_name + n - 5, ".json") == 0;
}

struct names {
  struct dirent **at;
  int count;
};

static int list_names(struct names *ret_names) {
  char *folder;
  int code = path_of("contexts", "", "", &folder);
  if (code) return code;
  ret_names->count = scandir(folder, &ret_names->at, is_context, NULL);
  if (ret_names->count < 0 && errno != ENOENT) code = failed_at("read", folder);
  if (ret_names->count < 0) ret_names->count = 0;
  for (int i = 0; i < ret_names->count; i++) ret_names->at[i]->d_name[strlen(ret_names->at[i]->d_name) - 5] = 0;
  if (ret_names->count) qsort(ret_names->at, (size_t)ret_names->count, sizeof ret_names->at[0], by_name);
  free(folder);
  return code;
}

static void names_free(struct names *n) {
  for (int i = 0; i < n->count; i++) free(n->at[i]);
  free(n->at);
}

static bool next_name(const void *names, size_t i, char ret[NEAR_LEN]) {
  const struct names *n = names;
  if (i >= (size_t)n->count) return false;
  snprintf(ret, NEAR_LEN, "%.80s", n->at[i]->d_name);
  return true;
}

static int no_such(const struct cli *cli, const char *name) {
  char near[NEAR_LEN];
  struct names all = {0};
  if (list_names(&all) == 0 && near_find(cli, name, next_name, &all, near) &&
      strcmp(near, name) != 0) /* else a link to nothing */
    cli_error("not_found", "there is no context '%s'; did you mean '%s'?", name, near);
  else
    cli_error("not_found", "there is no context '%s'; `macula context list` shows those that there are", name);
  names_free(&all);
  return EXIT_USAGE;
}

static int check_keys(const struct cli *cli, const char *path, json_t *j) {
  char near[NEAR_LEN];
  const char *key;
  json_t *v;
  json_object_foreach(j, key, v) {
    if (!near_has(KEYS, key)) {
      bool is_near = near_find(cli, key, near_next_word, KEYS, near);
      cli_error("invalid_argument", "%s: unknown key '%s'%s%s%s", path, key, is_near ? "; did you mean '" : "",
                is_near ? near : "", is_near ? "'?" : "");
      return EXIT_USAGE;
    }
    if (!json_is_string(v)) {
      cli_error("invalid_argument", "%s: %s is to be a text", path, key);
      return EXIT_USAGE;
    }
  }
  return 0;
}

/* Who may write it decides whom this user talks to. */
static int check_owner(const char *path, FILE *f) {
  struct stat st;
  if (fstat(fileno(f), &st) != 0) return failed_at("read", path);
  if (!S_ISREG(st.st_mode)) {
    cli_error("invalid_argument", "%s is no file", path);
    return EXIT_USAGE;
  }
  if ((st.st_uid == geteuid() || st.st_uid == 0) && !(st.st_mode & 077)) return 0;
  bool mode = st.st_uid == geteuid();
  cli_error(macula_err_name(MACULA_NOT_AUTHORIZED), "%s %s%s", path,
            mode ? "is open to others: run 'chmod 600 " : "is another user's",
            mode ? "FILE' on it" : ": make your own with `macula context add`");
  return EXIT_USAGE;
}

static int read_context(const struct cli *cli, const char *name, json_t **ret_json) {
  char *path;
  json_error_t why;
  int code = check_name(name);
  if (code || (code = context_path(name, &path))) return code;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would be waited for */
  FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
  if (!f) {
    code = errno == ENOENT ? no_such(cli, name) : failed_at("read", path);
  } else if (!(code = check_owner(path, f))) {
    json_t *j = json_loadf(f, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(j)) {
      cli_error("invalid_argument", "%s:%d: %s", path, j ? 1 : why.line, j ? "an object is expected" : why.text);
      code = EXIT_USAGE;
    } else {
      code = check_keys(cli, path, j);
    }
    if (code)
      json_decref(j);
    else
      *ret_json = j;
  }
  if (f) fclose(f);
  free(path);
  return code;
}

/* Of --context, else MACULA_CONTEXT, else the file: "" when none is in use. */
static int current(const struct cli *cli, char ret_name[NAME_MOST + 1]) {
  const char *name = cli->context, *of_all = getenv("MACULA_CONTEXT");
  char *path = NULL, line[NAME_MOST + 2] = "";
  ret_name[0] = 0;
  if (!name && of_all && of_all[0]) name = of_all;
  if (!name && macula_user_folder(&path) == 0) { /* without a folder there is no context */
    macula_free(path);
    if (path_of("context", "", "", &path)) return EXIT_FAILED;
    FILE *f = fopen(path, "re");
    if (f && fgets(line, sizeof line, f)) line[strcspn(line, "\n")] = 0;
    if (f) fclose(f);
    free(path);
    name = line;
  }
  if (!name || !name[0] || strcmp(name, NONE) == 0) return 0;
  int code = check_name(name);
  if (!code) snprintf(ret_name, NAME_MOST + 1, "%.*s", NAME_MOST, name);
  return code;
}

int context_apply(struct cli *cli) {
  char name[NAME_MOST + 1];
  for (size_t i = 0; i < SETTINGS; i++)
    for (size_t k = 0; k < 2 && settings[i].variables[k]; k++) {
      const char **to = at(cli, &settings[i]), *value = getenv(settings[i].variables[k]);
      if (!*to && value && value[0]) {
        *to = value;
        cli->variables[i] = settings[i].variables[k];
      }
    }
  int code = current(cli, name);
  if (code || !name[0] || (code = read_context(cli, name, &cli->chosen))) return code;
  snprintf(cli->chosen_name, sizeof cli->chosen_name, "%s", name);
  for (size_t i = 0; i < SETTINGS; i++) {
    const char **to = at(cli, &settings[i]);
    if (!*to) *to = json_string_value(json_object_get(cli->chosen, settings[i].key));
  }
  return 0;
}

const char *context_source(const struct cli *cli, const char *value, char ret_text[CONTEXT_SOURCE_LEN]) {
  ret_text[0] = 0;
  for (size_t i = 0; i < SETTINGS && value; i++) {
    if (*at((struct cli *)cli, &settings[i]) != value) continue;
    if (cli->variables[i] && value == getenv(cli->variables[i]))
      snprintf(ret_text, CONTEXT_SOURCE_LEN, " (%s of the variable %s)", settings[i].key, cli->variables[i]);
    else if (value == json_string_value(json_object_get(cli->chosen, settings[i].key)))
      snprintf(ret_text, CONTEXT_SOURCE_LEN, " (%s of the context '%s')", settings[i].key, cli->chosen_name);
  }
  return ret_text;
}

/* ---- the command -----------------------------------------------------------------------------------------------------------
 */
static int use(const char *name) {
  char *path;
  int code = path_of("context", "", "", &path);
  if (code) return code;
  if (name)
    code = write_file(path, name, false);
  else if (unlink(path) != 0 && errno != ENOENT)
    code = failed_at("remove", path);
  free(path);
  return code;
}

/* Also from another folder it is the same file. */
static int add_setting(json_t *j, const struct setting *s, const char *value) {
  char *path = NULL, *here = NULL;
  if (s->kind == THERE && !(path = realpath(value, NULL))) return failed_at("read", value);
  if (s->kind == LATER && value[0] != '/' && (!(here = getcwd(NULL, 0)) || asprintf(&path, "%s/%s", here, value) < 0))
    path = NULL;
  free(here);
  int err = json_object_set_new(j, s->key, json_string(path ? path : value));
  free(path);
  if (!err) return 0;
  cli_error("invalid_argument", "--%s is not UTF-8", s->key);
  return EXIT_USAGE;
}

static int add(struct cli *cli, const char *name, bool to_use) {
  char *path = NULL, *text = NULL, *folder = NULL;
  int err = cli->realm ? macula_check_realm(cli->realm) : 0, code = check_name(name);
  if (!code && err) code = cli_bad_name(err, cli->realm);
  if (!code && !cli->server) code = cli_invalid(MACULA_EINVAL, "say which node: --server HOST:PORT or macula://ID@HOST:PORT");
  json_t *j = json_object();
  for (size_t i = 0; i < SETTINGS && !code; i++)
    if (*at(cli, &settings[i])) code = add_setting(j, &settings[i], *at(cli, &settings[i]));
  if (!code) code = path_of("contexts", "", "", &folder);
  if (!code) code = context_path(name, &path);
  if (!code && mkdir(folder, 0700) != 0 && errno != EEXIST) code = failed_at("make", folder);
  if (!code && access(path, F_OK) == 0) {
    cli_error(macula_err_name(MACULA_EBUSY), "there is a context '%s' already; `macula context rm %s` removes it", name, name);
    code = EXIT_USAGE;
  }
  if (!code && !(text = json_dumps(j, JSON_INDENT(2)))) code = cli_failed(MACULA_ENOMEM, NULL, NULL);
  if (!code) code = write_file(path, text, true);
  if (!code && to_use) code = use(name);
  json_decref(j);
  free(text);
  free(folder);
  free(path);
  return code;
}

static int list(const struct cli *cli) {
  struct names all = {0};
  char in_use[NAME_MOST + 1] = "";
  json_t *j, *rows = json_array();
  int code = list_names(&all), unread = 0;
  if (!code) code = current(cli, in_use);
  for (int i = 0; i < all.count && !code; i++) {
    const char *name = all.at[i]->d_name;
    if (read_context(cli, name, &j)) {
      unread = EXIT_USAGE;
      continue;
    }
    bool used = strcmp(name, in_use) == 0;
    const char *server = json_string_value(json_object_get(j, "server"));
    if (cli->json)
      json_array_append_new(rows, json_pack("{s:s,s:b,s:o}", "name", name, "in_use", used, "settings", json_incref(j)));
    else
      printf("%s  %s%s\n", name, server ? server : "-", used ? "  (in use)" : "");
    json_decref(j);
  }
  if (!code && cli->json) return names_free(&all), text_put_json(rows) ? unread : EXIT_FAILED;
  if (!code && !all.count) fputs("no contexts; `macula context add NAME --server ADDR` makes one\n", stderr);
  json_decref(rows);
  names_free(&all);
  return code ? code : unread;
}

static int show(const struct cli *cli, const char *name) {
  char in_use[NAME_MOST + 1];
  const char *key;
  json_t *j, *v;
  int code = name ? 0 : current(cli, in_use);
  if (!code && !name && !in_use[0])
    code = cli_invalid(MACULA_ENOTFOUND, "no context is in use; name one: `macula context show NAME`");
  if (code || (code = read_context(cli, name ? name : in_use, &j))) return code;
  if (cli->json) return text_put_json(j) ? 0 : EXIT_FAILED;
  json_object_foreach(j, key, v) {
    printf("%-11s ", key);
    text_put_escaped(stdout, json_string_value(v), json_string_length(v));
    putchar('\n');
  }
  json_decref(j);
  return 0;
}

static int rm(const struct cli *cli, const char *name) {
  char in_use[NAME_MOST + 1], *path;
  struct cli plain = {.program = cli->program};
  int code = check_name(name);
  if (code || (code = context_path(name, &path))) return code;
  if (unlink(path) != 0) code = errno == ENOENT ? no_such(cli, name) : failed_at("remove", path);
  free(path);
  if (!code && !current(&plain, in_use) && strcmp(in_use, name) == 0) code = use(NULL);
  return code;
}

static int run(struct cli *cli, void *options_set) {
  const struct context_options *o = options_set;
  const char *what = cli->argv[0], *name = cli->argc > 1 ? cli->argv[1] : NULL;
  json_t *j;
  if (strcmp(what, "list") == 0 && !name) return list(cli);
  if (strcmp(what, "show") == 0) return show(cli, name);
  if (strcmp(what, "add") == 0 && name) return add(cli, name, o->use);
  if (strcmp(what, "rm") == 0 && name) return rm(cli, name);
  if (strcmp(what, "use") == 0 && name && strcmp(name, NONE) == 0) return use(NULL);
  if (strcmp(what, "use") == 0 && name) {
    int code = read_context(cli, name, &j); /* one that cannot be read would fail each command */
    if (code) return code;
    json_decref(j);
    return use(name);
  }
  return cli_invalid(MACULA_EINVAL, "it is `context add NAME`, `list`, `show [NAME]`, `use NAME|none` or `rm NAME`");
}

const struct command command_context = {
    "context",
    "context add NAME --server ADDR [--use] [OPTION]...\n"
    "       macula context list | show [NAME] | use NAME|none | rm NAME",
    "keep where nodes are, and what is shown to them",
    "add keeps the global options that are given (server, realm, name, identity,\n"
    "token-file, pass, ca, realm-key) under NAME. The context in use gives what\n"
    "neither an option nor a variable does; --context or MACULA_CONTEXT name another\n"
    "one for a single command. Files are named, not copied. Each context is a file\n"
    "of mode 0600 in $XDG_CONFIG_HOME/macula/contexts (or ~/.config/macula/contexts).\n\n"
    "  --use           use it from now on\n\n"
    "Example: macula context add plant --server 127.0.0.1:9443 --use\n",
    options,
    sizeof(struct context_options),
    1,
    2,
    run,
    "add list show use rm",
    .is_local = true,
};
