/* macula user: names and passwords for access files. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "access/mosquitto.h"
#include "base/err.h"
#include "base/utf8.h"
#include "io/io.h"
#include "pass/command.h"
#include "pass/files.h"
#include "trust/password.h"

struct user_options {
  const char *access, *grant;
};
#define AT(member) offsetof(struct user_options, member)
static const struct option_def options[] = {{"access", 0, OPTION_TEXT, AT(access)}, {"grant", 0, OPTION_TEXT, AT(grant)}, {0}};

/* A line without its end, at most PASSWORD_MAX_LEN + 1 bytes of it: what is longer is too long. False: there is none. */
static bool read_line(uint8_t *ret, size_t *ret_len) {
  size_t n = 0;
  int c, first = getchar();
  for (c = first; c != EOF && c != '\n'; c = getchar())
    if (n <= PASSWORD_MAX_LEN) ret[n++] = (uint8_t)c;
  *ret_len = n && ret[n - 1] == '\r' ? n - 1 : n;
  return first != EOF;
}

static volatile sig_atomic_t caught;
static void on_signal(int number) { caught = number; }

/* One line of standard input; from a terminal it is asked for, and not shown: a signal waits until it shows again. */
static int read_password(uint8_t ret[PASSWORD_MAX_LEN + 1], size_t *ret_len) {
  static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  struct termios was, quiet;
  struct sigaction old[4], action = {.sa_handler = on_signal};
  bool terminal = isatty(0) && tcgetattr(0, &was) == 0;
  if (terminal) {
    quiet = was;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    for (int i = 0; i < 4; i++) sigaction(signals[i], &action, &old[i]);
    fputs("Password: ", stderr);
    tcsetattr(0, TCSAFLUSH, &quiet);
  }
  bool got = read_line(ret, ret_len);
  if (terminal) {
    tcsetattr(0, TCSAFLUSH, &was);
    fputc('\n', stderr);
    for (int i = 0; i < 4; i++) sigaction(signals[i], &old[i], NULL);
    if (caught) raise(caught);
  }
  if (!got) return cli_invalid(MACULA_EINVAL, "a password is expected on standard input, as one line");
  return 0;
}

/* In one line of YAML, between quotes; *ret_text is to be freed, NULL: no memory. */
static int quote(const char *what, const char *text, char **ret_text) {
  size_t quotes = 0, n = 0, len = strlen(text);
  const uint8_t *p = (const uint8_t *)text;
  for (size_t i = 0, k; i < len; i += k)
    if (!(k = utf8_len(p + i, len - i)) || utf8_is_control(p + i, k)) len = 0;
  if (!len || len > ACCESS_MAX_NAME) {
    cli_error("invalid_argument", "%s is UTF-8 text of 1 to %d bytes, without control characters", what, ACCESS_MAX_NAME);
    return EXIT_USAGE;
  }
  for (size_t i = 0; i < len; i++) quotes += text[i] == '\'';
  if (!(*ret_text = malloc(len + quotes + 1))) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  for (size_t i = 0; i < len; i++) {
    if (text[i] == '\'') (*ret_text)[n++] = '\'';
    (*ret_text)[n++] = text[i];
  }
  (*ret_text)[n] = 0;
  return 0;
}

/* As a line below users:, with the blanks before it. */
static int make_line(const char *name, const char *hash, const char *grant, char **ret_line) {
  char *who = NULL, *what = NULL;
  int code = quote("a user's name", name, &who);
  if (!code) code = quote("a grant's name", grant, &what);
  if (!code && asprintf(ret_line, "  '%s': {password: '%s', grant: '%s'}\n", who, hash, what) < 0)
    code = cli_failed(MACULA_ENOMEM, NULL, NULL);
  free(who);
  free(what);
  return code;
}

/* The file with the line where users: begins, or with users: at its end. */
static char *insert(const char *text, const char *line) {
  const char *at = !strncmp(text, "users:", 6) ? text : strstr(text, "\nusers:");
  char *out = NULL;
  if (!at) {
    size_t n = strlen(text);
    return asprintf(&out, "%s%susers:\n%s", text, n && text[n - 1] != '\n' ? "\n" : "", line) < 0 ? NULL : out;
  }
  const char *end = strchr(*at == '\n' ? at + 1 : at, '\n');
  int before = end ? (int)(end + 1 - text) : (int)strlen(text);
  return asprintf(&out, "%.*s%s%s%s", before, text, end ? "" : "\n", line, text + before) < 0 ? NULL : out;
}

/* The file is written only if it is good with the line in it. */
static int add_to_file(const char *path, const char *name, const char *line) {
  char *text = NULL, *next = NULL, why[ACCESS_WHY_LEN];
  size_t n;
  struct access *a;
  struct access_files files;
  int lock = -1, err = io_file_lock(path, false, &lock, why);
  if (!err) err = io_text_read(path, ACCESS_MAX_FILE, &text, &n, why);
  if (err == MACULA_ENOTFOUND) snprintf(why, sizeof why, "there is no %.200s: write it first, with its grants", path);
  files_read_token_of(&files);
  if (!err && !access_parse(&files_mem, path, slice_str(text), &files, &a, why)) {
    const struct access_user *u = access_user(a, slice_str(name));
    if (u) snprintf(why, sizeof why, "%.200s:%u: '%.64s' is there: take this line out first", path, u->line, name);
    if (u) err = MACULA_EBUSY;
    access_unref(a);
  }
  if (!err && !(next = insert(text, line))) {
    err = MACULA_ENOMEM;
    snprintf(why, sizeof why, "%s", macula_err_text(err));
  }
  if (!err && !(err = access_parse(&files_mem, path, slice_str(next), &files, &a, why))) {
    access_unref(a);
    err = io_file_change(path, slice_str(next), 0600, why);
  }
  if (lock >= 0) close(lock);
  free(text);
  free(next);
  return err ? cli_invalid(err, why) : 0;
}

/* A hash is no secret to be read by others: maculad refuses such a file. */
static int check_file(const char *path) {
  char why[256];
  int err = access(path, F_OK) ? 0 : io_private_check(path, why); /* that there is none is said later */
  return err ? cli_invalid(err, why) : 0;
}

static int add(struct cli *cli, const struct user_options *o) {
  uint8_t password[PASSWORD_MAX_LEN + 1];
  char hash[PASSWORD_HASH_LEN], *line = NULL;
  size_t n;
  const char *name = cli->argv[1], *grant = o->grant ? o->grant : "GRANT";
  if (cli->argc != 2 || !name[0]) return cli_invalid(MACULA_EINVAL, "it is `user add NAME [--access FILE --grant NAME]`");
  if (o->access && !o->grant) return cli_invalid(MACULA_EINVAL, "--grant NAME is missing: a grant that stands in the file");
  int code = o->access ? check_file(o->access) : 0;
  if (!code) code = read_password(password, &n);
  if (code) return code;
  int err = password_hash(slice_of(password, n), io_rng(), hash);
  crypto_wipe(password, sizeof password);
  if (err) return cli_invalid(err, "a password has 1 to 1024 bytes");
  code = make_line(name, hash, grant, &line);
  if (!code && o->access)
    code = add_to_file(o->access, name, line);
  else if (!code && cli->json)
    code = text_put_json(json_pack("{s:s, s:s}", "user", name, "password", hash)) ? EXIT_DONE : EXIT_FAILED;
  else if (!code)
    fputs(line, stdout);
  free(line);
  return code;
}

static int read_file(const char *path, struct mosquitto_file *ret_file, char **ret_text) {
  char why[256];
  size_t n;
  int err = io_text_read(path, ACCESS_MAX_FILE, ret_text, &n, why);
  if (err) return cli_invalid(err, why);
  *ret_file = (struct mosquitto_file){path, slice_of(*ret_text, n)};
  return 0;
}

static int import(struct cli *cli) {
  struct mosquitto_file passwords, acl = {0};
  char *passwords_text = NULL, *acl_text = NULL, *yaml = NULL, why[MOSQUITTO_WHY_LEN];
  if (cli->argc < 2) return cli_invalid(MACULA_EINVAL, "it is `user import PASSWORDS [ACL]`, with mosquitto's files");
  int code = read_file(cli->argv[1], &passwords, &passwords_text);
  if (!code && cli->argc > 2) code = read_file(cli->argv[2], &acl, &acl_text);
  int err = code ? 0 : mosquitto_import(&passwords, &acl, &yaml, why);
  if (err) code = cli_invalid(err, why);
  if (!code) fputs(yaml, stdout);
  free(yaml);
  free(passwords_text);
  free(acl_text);
  return code;
}

static int run(struct cli *cli, void *values) {
  if (!strcmp(cli->argv[0], "add")) return add(cli, values);
  if (!strcmp(cli->argv[0], "import")) return import(cli);
  return cli_invalid(MACULA_EINVAL, "it is `user add NAME` or `user import PASSWORDS [ACL]`");
}

const struct command command_user = {
    "user",
    "user add NAME | user import PASSWORDS [ACL]",
    "make users of an access file",
    "add reads a password from standard input, one line, which a terminal does not\n"
    "show, and prints the user's line for an access file; with --access it writes the\n"
    "line into that file. import prints an access file made of mosquitto's password\n"
    "file and ACL file; passwords stay as they are.\n\n"
    "  --access FILE   the file to write to\n"
    "  --grant NAME    the user's grant\n\n"
    "Example: echo pa55 | macula user add alice --access access.yaml --grant sensors\n",
    options,
    sizeof(struct user_options),
    1,
    3,
    run,
    "add import",
    .is_local = true,
};
