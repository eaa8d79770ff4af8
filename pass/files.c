#include "pass/files.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "io/io.h"

#define MAX_KEY (64 << 10)

struct mem files_mem = MEM_INIT("command", 0);

uint64_t files_now(void) { return io_unix_ms() / 1000; }

const char *files_time(uint64_t unix_seconds, char ret_text[FILES_TIME_LEN]) {
  time_t t = (time_t)unix_seconds;
  struct tm tm;
  if (unix_seconds > INT32_MAX * UINT64_C(100) || !gmtime_r(&t, &tm) ||
      !strftime(ret_text, FILES_TIME_LEN, "%Y-%m-%dT%H:%M:%SZ", &tm))
    snprintf(ret_text, FILES_TIME_LEN, "%llu", (unsigned long long)unix_seconds);
  return ret_text;
}

int files_key(const char *path, struct crypto_key **ret_key) {
  char *text, why[512];
  size_t n;
  int err = io_key_read(path, MAX_KEY, &text, &n, why);
  if (err) return cli_invalid(err, why);
  err = crypto_key_parse(slice_of(text, n), ret_key);
  crypto_wipe(text, n);
  free(text);
  if (!err) return 0;
  snprintf(why, sizeof why, "%.200s holds no key of Ed25519 or P-256 that can be read: 'macula realm new' makes a realm's",
           path);
  return cli_invalid(err, why);
}

int files_identity(struct cli *cli, struct crypto_key **ret_key) {
  char *folder = NULL, *path = NULL;
  int code = cli_load_identity(cli, false); /* made if there is none */
  if (code) return code;
  if (cli->identity_path) return files_key(cli->identity_path, ret_key);
  int err = macula_user_folder(&folder);
  if (err) return cli_invalid(err, macula_last_error());
  if (asprintf(&path, "%s/identity.pem", folder) < 0) path = NULL;
  free(folder);
  if (!path) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  code = files_key(path, ret_key);
  free(path);
  return code;
}

int files_id(const char *option, const char *text, struct id *ret_id) {
  if (text && !id_parse(slice_str(text), ret_id)) return 0;
  cli_error("invalid_argument", "--%s takes an id of 64 hexadecimal digits, as 'macula %s' prints it", option,
            strcmp(option, "realm-keys") ? "id" : "realm show");
  return EXIT_USAGE;
}

static int read_text(const char *path, size_t max, char **ret_text, size_t *ret_len) {
  char why[256];
  int err = io_text_read(strcmp(path, "-") ? path : "/dev/stdin", max, ret_text, ret_len, why);
  return err ? cli_invalid(err, why) : 0;
}

int files_pass(const char *path, uint8_t ret_bytes[PASS_MAX], size_t *ret_len) {
  char *text;
  size_t n;
  int code = read_text(path, 4 * PASS_MAX, &text, &n);
  if (code) return code;
  int err = crypto_unarmor(PASS_LABEL, slice_of(text, n), ret_bytes, PASS_MAX, ret_len);
  free(text);
  if (!err) return 0;
  cli_error("invalid_argument",
            "%s holds no pass: it begins with -----BEGIN " PASS_LABEL "-----, and 'macula pass new' makes one", path);
  return EXIT_USAGE;
}

int files_revoked(const char *path, bool may_miss, const struct id *realms, size_t realm_count, struct revoked **ret_list) {
  char *text, why[PASS_WHY_LEN];
  size_t n, len = 0;
  uint8_t *bytes;
  int err = io_text_read(path, 2 * REVOKED_MAX_BYTES, &text, &n, why);
  *ret_list = NULL;
  if (err == MACULA_ENOTFOUND && may_miss) return 0;
  if (err) return cli_invalid(err, why);
  if (!(bytes = malloc(REVOKED_MAX_BYTES))) {
    free(text);
    return cli_failed(MACULA_ENOMEM, NULL, NULL);
  }
  err = crypto_unarmor(REVOKED_LABEL, slice_of(text, n), bytes, REVOKED_MAX_BYTES, &len);
  if (err)
    snprintf(why, sizeof why, "%.200s holds no list of revoked passes: name another file, which 'macula pass revoke' makes",
             path);
  else
    err = revoked_parse(&files_mem, slice_of(bytes, len), realms, realm_count, ret_list, why);
  if (err == MACULA_NOT_AUTHORIZED && may_miss) /* the one that is to be changed */
    snprintf(why, sizeof why, "%.200s is the list of another realm than that of --key: name its own key, or another file",
             path);
  free(text);
  free(bytes);
  return err ? cli_invalid(err, why) : 0;
}

static int read_token(void *ctx, const char *path, char **ret_token, char why[256]) {
  (void)ctx;
  return io_token_read(path, ret_token, why);
}

void files_read_token_of(struct access_files *ret_files) { *ret_files = (struct access_files){read_token, NULL}; }

int files_access(const char *path, struct access **ret_access) {
  char *text, why[ACCESS_WHY_LEN];
  size_t n;
  struct access_files files;
  int code = read_text(path, ACCESS_MAX_FILE, &text, &n);
  if (code) return code;
  files_read_token_of(&files);
  int err = access_parse(&files_mem, path, slice_of(text, n), &files, ret_access, why);
  crypto_wipe(text, n);
  free(text);
  return err ? cli_invalid(err, why) : 0;
}

int files_question(const char *right, const char *what, struct question *q) {
  int r = right_find(slice_str(right));
  size_t n;
  if (r < 0) {
    cli_error("invalid_argument", "'%.40s' is no right: pub, sub, call and serve are", right);
    return EXIT_USAGE;
  }
  q->right = (enum right)r;
  bool pattern = r == RIGHT_SUB, topic = r == RIGHT_PUB;
  int err = pattern ? name_pattern(slice_str(what), q->what, &n)
            : topic ? name_topic(slice_str(what), q->what, &n)
                    : name_procedure(slice_str(what), q->what, &n);
  char why[NAME_WHY_LEN];
  if (!err) return 0;
  name_why(err, pattern ? NAME_PATTERN : topic ? NAME_TOPIC : NAME_PROCEDURE, slice_str(what), why);
  cli_error(macula_err_name(err), "'%.300s': %s", what, why);
  return EXIT_USAGE;
}

int files_answer(const struct cli *cli, const struct grant *g, const struct name_values *who, const struct question *q,
                 const char *of) {
  struct grant_rule rule;
  bool yes = grant_allows(g, q->right, who, slice_str(q->what), &rule);
  const char *right = right_name(q->right);
  if (cli->json) {
    json_t *j = json_pack("{s:b, s:s, s:s}", "allowed", yes, "right", right, "what", q->what);
    if (yes) json_object_set_new(j, "pattern", json_stringn((const char *)rule.pattern.p, rule.pattern.n));
    if (yes && rule.line) json_object_set_new(j, "line", json_integer(rule.line));
    return !text_put_json(j) || !yes ? EXIT_FAILED : EXIT_DONE;
  }
  char line[24] = "";
  if (yes && rule.line) snprintf(line, sizeof line, ":%u", rule.line);
  if (yes)
    printf("yes: %s%s: %s '%.*s' allows %s\n", of, line, right, (int)rule.pattern.n, (const char *)rule.pattern.p, q->what);
  else
    printf("no: %s: no pattern of %s %s %s\n", of, right, q->right == RIGHT_SUB ? "contains" : "matches", q->what);
  return yes ? EXIT_DONE : EXIT_FAILED;
}
