/* macula pass: what a realm grants to the holder of a key. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/sha256.h"
#include "io/io.h"
#include "pass/command.h"
#include "pass/files.h"

#define EARLY 300 /* seconds before now from which on a pass is valid: other clocks may be late */
#define DEFAULT_FOR (30 * 86400u)

struct pass_options {
  const char *key, *id, *role, *list;
  struct option_list patterns[RIGHTS], quotas, realm_keys;
  uint64_t for_ms, delegate;
};
#define AT(member) offsetof(struct pass_options, member)
static const struct option_def options[] = {
    {"key", 0, OPTION_TEXT, AT(key), .values = "file", .words = "new narrow revoke"},
    {"id", 0, OPTION_TEXT, AT(id), .words = "new narrow"},
    {"role", 0, OPTION_TEXT, AT(role), .values = "client node operator", .words = "new narrow"},
    {"pub", 0, OPTION_LIST, AT(patterns[RIGHT_PUB]), .words = "new narrow"},
    {"sub", 0, OPTION_LIST, AT(patterns[RIGHT_SUB]), .words = "new narrow"},
    {"call", 0, OPTION_LIST, AT(patterns[RIGHT_CALL]), .words = "new narrow"},
    {"serve", 0, OPTION_LIST, AT(patterns[RIGHT_SERVE]), .words = "new narrow"},
    {"quota", 0, OPTION_LIST, AT(quotas), .words = "new narrow"},
    {"for", 0, OPTION_TIME, AT(for_ms), 1000, UINT64_MAX / 2, .words = "new narrow"},
    {"delegate", 0, OPTION_NUMBER, AT(delegate), 0, 1, .words = "new narrow"},
    {"realm-keys", 0, OPTION_LIST, AT(realm_keys), .words = "check"},
    {"list", 0, OPTION_TEXT, AT(list), .values = "file", .words = "check revoke"},
    {0},
};

/* ---- what is granted, from options ----------------------------------------------------------------------------------------
 */
struct draft {
  struct pass_claims claims;
  char stored[PASS_MAX_PATTERNS][NAME_MAX_LEN + 1];
};

static int take_patterns(const struct pass_options *o, struct draft *d) {
  struct pass_claims *c = &d->claims;
  char why[NAME_WHY_LEN];
  for (enum right r = 0; r < RIGHTS; r++)
    for (unsigned i = 0; i < o->patterns[r].count; i++) {
      struct slice text = slice_str(o->patterns[r].at[i]);
      size_t n;
      if (c->count == PASS_MAX_PATTERNS) {
        cli_error("invalid_argument", "a pass has at most %d patterns: use wildcards, or make two passes", PASS_MAX_PATTERNS);
        return EXIT_USAGE;
      }
      int err = name_template(text, d->stored[c->count], &n);
      if (err) {
        cli_error(macula_err_name(err), "--%s '%.200s': %s", right_name(r), text.p,
                  name_why(err, NAME_TEMPLATE, text, why) ? why : "it cannot be read");
        return EXIT_USAGE;
      }
      c->rules[c->count] = (struct grant_rule){r, 0, slice_of(d->stored[c->count], n)};
      c->count++;
    }
  return 0;
}

static int take_quotas(const struct option_list *list, uint32_t quotas[QUOTAS]) {
  for (unsigned i = 0; i < list->count; i++) {
    const char *equal = strchr(list->at[i], '=');
    int q = equal ? quota_find(slice_of(list->at[i], (size_t)(equal - list->at[i]))) : -1;
    char *end = NULL;
    unsigned long long n = equal ? strtoull(equal + 1, &end, 10) : 0;
    if (q < 0 || end == equal + 1 || *end || equal[1] == '-' || n >= QUOTA_NONE) {
      cli_error("invalid_argument",
                "--quota takes NAME=N, as messages=100; names are connections, subscriptions, services, calls, "
                "retained and messages, not '%.80s'",
                list->at[i]);
      return EXIT_USAGE;
    }
    quotas[q] = (uint32_t)n;
  }
  return 0;
}

/* within: the pass that is narrowed, whose role, quotas and times hold where nothing else is said; NULL: a new one. */
static int take_claims(const struct pass_options *o, const struct pass_claims *within, struct draft *d) {
  struct pass_claims *c = &d->claims;
  uint64_t now = files_now(), seconds = o->for_ms / 1000;
  *c = (struct pass_claims){.role = ROLE_CLIENT, .delegate = (unsigned)o->delegate};
  rng_fill(io_rng(), c->serial, sizeof c->serial);
  int code = files_id("id", o->id, &c->holder);
  if (code) return code;
  if (seconds > PASS_MAX_SECONDS) return cli_invalid(MACULA_EINVAL, "a pass is for at most 90 days: --for 90d");
  int role = o->role ? role_find(slice_str(o->role)) : ROLE_CLIENT;
  if (role < 0) return cli_invalid(MACULA_EINVAL, "--role takes client, node or operator");
  c->role = (enum role)role;
  for (int q = 0; q < QUOTAS; q++) c->quotas[q] = within ? within->quotas[q] : QUOTA_NONE;
  c->not_before = now - EARLY;
  c->not_after = now + (seconds ? seconds : DEFAULT_FOR);
  if (c->not_after - c->not_before > PASS_MAX_SECONDS) c->not_before = c->not_after - PASS_MAX_SECONDS;
  if (within && c->not_before < within->not_before) c->not_before = within->not_before;
  if (within && (!seconds || c->not_after > within->not_after)) c->not_after = within->not_after;
  if ((code = take_quotas(&o->quotas, c->quotas))) return code;
  return take_patterns(o, d);
}

/* ---- what is printed ------------------------------------------------------------------------------------------------------
 */
struct shown {
  char serial[2 * PASS_SERIAL_LEN + 1], holder[ID_HEX_LEN + 1], begin[FILES_TIME_LEN], end[FILES_TIME_LEN];
};

static struct shown show_of(const struct pass_claims *c) {
  struct shown s;
  hex_encode(c->serial, PASS_SERIAL_LEN, s.serial);
  id_hex(&c->holder, s.holder);
  files_time(c->not_before, s.begin);
  files_time(c->not_after, s.end);
  return s;
}

static json_t *json_of(const struct pass_claims *c) {
  struct shown s = show_of(c);
  json_t *quotas = json_object(), *lists[RIGHTS];
  json_t *j =
      json_pack("{s:s, s:s, s:s, s:I, s:I, s:i}", "serial", s.serial, "id", s.holder, "role", role_name(c->role), "not_before",
                (json_int_t)c->not_before, "not_after", (json_int_t)c->not_after, "delegate", c->delegate);
  for (enum right r = 0; r < RIGHTS; r++) json_object_set_new(j, right_name(r), lists[r] = json_array());
  for (size_t i = 0; i < c->count; i++)
    json_array_append_new(lists[c->rules[i].right], json_stringn((const char *)c->rules[i].pattern.p, c->rules[i].pattern.n));
  for (enum quota q = 0; q < QUOTAS; q++)
    if (c->quotas[q] != QUOTA_NONE) json_object_set_new(quotas, quota_name(q), json_integer(c->quotas[q]));
  json_object_set_new(j, "quotas", quotas);
  return j;
}

/* With a comment that says what it is. */
static int put_pass(const struct cli *cli, struct slice bytes) {
  struct pass p;
  char why[PASS_WHY_LEN], *text = NULL;
  if (pass_decode(bytes, &p, why) || crypto_armor(PASS_LABEL, bytes, &text)) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  const struct pass_claims *c = pass_effective(&p);
  struct shown s = show_of(c);
  bool ok = true;
  if (!c->count && c->role == ROLE_CLIENT)
    fputs("macula: note: it grants nothing: --pub, --sub, --call and --serve say what\n", stderr);
  if (cli->json) {
    json_t *j = json_of(c);
    json_object_set_new(j, "pass", json_string(text));
    ok = text_put_json(j);
  } else {
    printf("# A pass of Macula: role %s, until %s, serial %s,\n# for the key %s, without which it is worth nothing.\n%s",
           role_name(c->role), s.end, s.serial, s.holder, text);
  }
  free(text);
  return ok ? EXIT_DONE : EXIT_FAILED;
}

static void print_link(const struct pass *p, size_t i) {
  const struct pass_claims *c = &p->link[i].claims;
  struct shown s = show_of(c);
  char signer[ID_HEX_LEN + 1];
  struct id id;
  sha256_of(p->link[i].key, id.b);
  id_hex(&id, signer);
  printf("%sserial      %s\n%s %s\nfor key     %s\nrole        %s\nvalid       %s to %s\n",
         i ? "\nnarrowed, of which this holds:\n" : "", s.serial, i ? "signed by  " : "realm key  ", signer, s.holder,
         role_name(c->role), s.begin, s.end);
  if (files_now() > c->not_after) puts("            it has ended");
  if (c->delegate) puts("delegate    its holder may narrow it, once");
  for (size_t k = 0; k < c->count; k++)
    printf("%-11s %.*s\n", right_name(c->rules[k].right), (int)c->rules[k].pattern.n, (const char *)c->rules[k].pattern.p);
  for (enum quota q = 0; q < QUOTAS; q++)
    if (c->quotas[q] != QUOTA_NONE) printf("quota       %s=%u\n", quota_name(q), c->quotas[q]);
}

/* ---- new, narrow, show ----------------------------------------------------------------------------------------------------
 */
static int need(const struct cli *cli, unsigned least, unsigned most, const char *usage) {
  if (cli->argc - 1 >= least && cli->argc - 1 <= most) return 0;
  cli_error("invalid_argument", "%s arguments; usage: macula %s", cli->argc - 1 < least ? "missing" : "too many", usage);
  return EXIT_USAGE;
}

static int run_new(struct cli *cli, const struct pass_options *o) {
  struct draft *d = calloc(1, sizeof *d);
  struct crypto_key *key = NULL;
  uint8_t bytes[PASS_MAX];
  size_t n;
  char why[PASS_WHY_LEN];
  int code = need(cli, 0, 0, "pass new --key FILE --id ID [OPTION]...");
  if (!code && !o->key)
    code = cli_invalid(MACULA_EINVAL, "--key FILE is missing: the realm's key, as 'macula realm new' makes it");
  if (!code && !d) code = cli_failed(MACULA_ENOMEM, NULL, NULL);
  if (!code) code = take_claims(o, NULL, d);
  if (!code) code = files_key(o->key, &key);
  int err = code ? 0 : pass_issue(key, &d->claims, bytes, &n, why);
  if (err) code = cli_invalid(err, why);
  if (!code) code = put_pass(cli, slice_of(bytes, n));
  crypto_key_free(key);
  free(d);
  return code;
}

static int is_holder(const char *path, const struct pass *p, const struct id *id) {
  char holder[ID_HEX_LEN + 1], hex[ID_HEX_LEN + 1];
  if (p->links > 1 || id_eq(id, &pass_effective(p)->holder)) return 0; /* narrowed already: pass_narrow says so */
  id_hex(&pass_effective(p)->holder, holder);
  id_hex(id, hex);
  cli_error("invalid_argument", "%s is for the identity %s, and this one is %s: its holder narrows it, with --identity", path,
            holder, hex);
  return EXIT_USAGE;
}

static int run_narrow(struct cli *cli, const struct pass_options *o) {
  struct draft *d = calloc(1, sizeof *d);
  struct crypto_key *key = NULL;
  struct pass p;
  uint8_t first[PASS_MAX], bytes[PASS_MAX];
  size_t first_len, n;
  char why[PASS_WHY_LEN];
  int code = need(cli, 1, 1, "pass narrow FILE --id ID [OPTION]...");
  if (!code && !d) code = cli_failed(MACULA_ENOMEM, NULL, NULL);
  if (!code) code = files_pass(cli->argv[1], first, &first_len);
  if (!code && pass_decode(slice_of(first, first_len), &p, why)) code = cli_invalid(MACULA_EINVAL, why);
  if (!code) code = take_claims(o, pass_effective(&p), d);
  if (!code && o->key) code = cli_invalid(MACULA_EINVAL, "--key is for new: a pass is narrowed by its holder, with --identity");
  if (!code) code = files_identity(cli, &key);
  if (!code) code = is_holder(cli->argv[1], &p, crypto_key_id(key));
  int err = code ? 0 : pass_narrow(slice_of(first, first_len), key, &d->claims, bytes, &n, why);
  if (err) code = cli_invalid(err, why);
  if (!code) code = put_pass(cli, slice_of(bytes, n));
  crypto_key_free(key);
  free(d);
  return code;
}

static int run_show(struct cli *cli) {
  struct pass p;
  uint8_t bytes[PASS_MAX];
  size_t n;
  char why[PASS_WHY_LEN], realm[ID_HEX_LEN + 1];
  int code = need(cli, 1, 1, "pass show FILE");
  if (!code) code = files_pass(cli->argv[1], bytes, &n);
  if (code) return code;
  if (pass_decode(slice_of(bytes, n), &p, why)) return cli_invalid(MACULA_EINVAL, why);
  if (!cli->json) {
    for (size_t i = 0; i < p.links; i++) print_link(&p, i);
    return EXIT_DONE;
  }
  id_hex(&p.realm, realm);
  json_t *links = json_array();
  for (size_t i = 0; i < p.links; i++) json_array_append_new(links, json_of(&p.link[i].claims));
  return text_put_json(json_pack("{s:s, s:o}", "realm", realm, "links", links)) ? EXIT_DONE : EXIT_FAILED;
}

/* ---- check ----------------------------------------------------------------------------------------------------------------
 */
/* Of which realms passes are taken: those given, else the one that signed this pass, which is said. */
static int take_realms(const struct cli *cli, const struct pass_options *o, const struct pass *p, struct id *realms,
                       size_t *ret_count) {
  char hex[ID_HEX_LEN + 1];
  for (unsigned i = 0; i < o->realm_keys.count; i++) {
    int code = files_id("realm-keys", o->realm_keys.at[i], &realms[i]);
    if (code) return code;
  }
  *ret_count = o->realm_keys.count;
  if (*ret_count) return 0;
  realms[(*ret_count)++] = p->realm;
  id_hex(&p->realm, hex);
  if (!cli->json) fprintf(stderr, "macula: note: of the realm key %s; --realm-keys says which are trusted\n", hex);
  return 0;
}

static int put_verdict(const struct cli *cli, enum pass_verdict v, const char *why, const struct pass *p) {
  char end[FILES_TIME_LEN];
  if (cli->json)
    return text_put_json(
               json_pack("{s:b, s:s, s:s}", "allowed", v == PASS_GOOD, "verdict", pass_verdict_name(v), "why", why)) &&
                   !v
               ? EXIT_DONE
               : EXIT_FAILED;
  if (v)
    printf("no: %s\n", why);
  else
    printf("yes: the pass is good until %s\n", files_time(pass_effective(p)->not_after, end));
  return v ? EXIT_FAILED : EXIT_DONE;
}

static int judge(struct cli *cli, const struct pass_trust *t, struct slice bytes, const struct question *q) {
  struct pass p;
  struct grant *g;
  char why[PASS_WHY_LEN], hex[ID_HEX_LEN + 1];
  enum pass_verdict v = pass_verify(bytes, t, &p, why);
  if (v || !q) return put_verdict(cli, v, why, &p);
  if (pass_grant(&files_mem, &p, &g)) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  id_hex(&pass_effective(&p)->holder, hex);
  struct name_values who = {.id = slice_str(hex)};
  int code = files_answer(cli, g, &who, q, cli->argv[1]);
  grant_unref(g);
  return code;
}

static int run_check(struct cli *cli, const struct pass_options *o) {
  static struct id realms[OPTION_LIST_MAX];
  struct pass p;
  struct question q;
  struct revoked *list = NULL;
  uint8_t bytes[PASS_MAX];
  size_t n, count = 0;
  char why[PASS_WHY_LEN];
  int code = need(cli, 1, 3, "pass check FILE [pub|sub|call|serve NAME]");
  if (!code && cli->argc == 3)
    code = cli_invalid(MACULA_EINVAL, "a right and what it is about: pass check FILE pub plant.temp");
  if (!code && cli->argc == 4) code = files_question(cli->argv[2], cli->argv[3], &q);
  if (!code) code = files_pass(cli->argv[1], bytes, &n);
  if (code) return code;
  if (pass_decode(slice_of(bytes, n), &p, why)) return put_verdict(cli, PASS_MALFORMED, why, &p);
  code = take_realms(cli, o, &p, realms, &count);
  if (!code && o->list) code = files_revoked(o->list, false, realms, count, &list);
  if (code) return code;
  const struct revoked *lists[] = {list};
  struct pass_trust t = {realms, count, NULL, files_now(), lists, list != NULL};
  code = judge(cli, &t, slice_of(bytes, n), cli->argc == 4 ? &q : NULL);
  revoked_unref(list);
  return code;
}

/* ---- revoke ---------------------------------------------------------------------------------------------------------------
 */
static bool read_serial(const char *text, uint8_t ret[PASS_SERIAL_LEN]) {
  if (strlen(text) != 2 * PASS_SERIAL_LEN || strspn(text, "0123456789abcdefABCDEF") != 2 * PASS_SERIAL_LEN) return false;
  for (int i = 0; i < PASS_SERIAL_LEN; i++) {
    char two[3] = {text[2 * i], text[2 * i + 1], 0};
    ret[i] = (uint8_t)strtoul(two, NULL, 16);
  }
  return true;
}

/* What is revoked already and still matters, then what is given. */
static int gather(const struct cli *cli, const struct revoked *old, uint64_t now, struct revoked_entry *entries,
                  size_t *ret_count) {
  size_t n = 0;
  for (size_t i = 0; old && i < revoked_count(old); i++) {
    entries[n] = revoked_at(old, i);
    n += entries[n].until >= now;
  }
  for (unsigned i = 1; i < cli->argc; i++) {
    size_t at = 0;
    if (!read_serial(cli->argv[i], entries[n].serial)) {
      cli_error("invalid_argument", "'%.60s' is no serial of 32 hexadecimal digits, as 'macula pass show' prints it",
                cli->argv[i]);
      return EXIT_USAGE;
    }
    while (memcmp(entries[at].serial, entries[n].serial, PASS_SERIAL_LEN) != 0) at++; /* n itself at the latest */
    entries[at].until = now + PASS_MAX_SECONDS; /* no pass that is signed now lasts longer */
    n += at == n;
  }
  *ret_count = n;
  return 0;
}

static int write_list(const struct cli *cli, const char *path, struct slice bytes, uint64_t number, size_t count) {
  char *armor = NULL, *text = NULL, why[256] = "";
  int err = crypto_armor(REVOKED_LABEL, bytes, &armor);
  if (!err && asprintf(&text, "# Passes that a realm of Macula has revoked: number %llu, %zu of them.\n%s",
                       (unsigned long long)number, count, armor) < 0) {
    text = NULL;
    err = MACULA_ENOMEM;
  }
  if (!err) err = io_file_change(path, slice_str(text), 0644, why);
  free(armor);
  free(text);
  if (err) return cli_failed(err, NULL, why);
  if (cli->json)
    return text_put_json(json_pack("{s:I, s:I}", "number", (json_int_t)number, "revoked", (json_int_t)count)) ? EXIT_DONE
                                                                                                              : EXIT_FAILED;
  printf("%s: number %llu, %zu revoked\n", path, (unsigned long long)number, count);
  return EXIT_DONE;
}

static int add_to_list(struct cli *cli, const struct pass_options *o, const struct crypto_key *key) {
  struct revoked *old = NULL;
  struct revoked_entry *entries = NULL;
  uint8_t *bytes = NULL;
  size_t count = 0, n;
  char why[PASS_WHY_LEN];
  int code = files_revoked(o->list, true, crypto_key_id(key), 1, &old);
  if (code) return code;
  uint64_t number = old ? revoked_number(old) + 1 : 1;
  entries = calloc((old ? revoked_count(old) : 0) + cli->argc, sizeof *entries);
  code = entries ? gather(cli, old, files_now(), entries, &count) : cli_failed(MACULA_ENOMEM, NULL, NULL);
  int err = code ? 0 : revoked_issue(key, number, entries, count, &bytes, &n, why);
  if (err) code = cli_invalid(err, why);
  if (!code) code = write_list(cli, o->list, slice_of(bytes, n), number, count);
  free(bytes);
  free(entries);
  revoked_unref(old);
  return code;
}

static int run_revoke(struct cli *cli, const struct pass_options *o) {
  struct crypto_key *key = NULL;
  char why[256];
  int lock = -1;
  if (cli->argc < 2 || !o->key || !o->list)
    return cli_invalid(MACULA_EINVAL,
                       "it is `pass revoke --key FILE --list FILE SERIAL...`, with the realm's key and its list");
  int code = files_key(o->key, &key);
  /* Of the key, for the list may not be there yet: no two lists of it have one number. */
  int err = code ? 0 : io_file_lock(o->key, false, &lock, why);
  if (err) code = cli_invalid(err, why);
  if (!code && !crypto_key_is_ed25519(key)) code = cli_invalid(MACULA_CERTIFICATE_INVALID, "a realm's key is of Ed25519");
  if (!code) code = add_to_list(cli, o, key);
  if (lock >= 0) close(lock);
  crypto_key_free(key);
  return code;
}

static int run(struct cli *cli, void *values) {
  const struct pass_options *o = values;
  const char *what = cli->argv[0];
  if (!strcmp(what, "new")) return run_new(cli, o);
  if (!strcmp(what, "show")) return run_show(cli);
  if (!strcmp(what, "check")) return run_check(cli, o);
  if (!strcmp(what, "narrow")) return run_narrow(cli, o);
  if (!strcmp(what, "revoke")) return run_revoke(cli, o);
  return cli_invalid(MACULA_EINVAL, "it is `pass new`, `show`, `check`, `narrow` or `revoke`");
}

const struct command command_pass = {
    "pass",
    "pass new|show|check|narrow|revoke [FILE] [OPTION]...",
    "sign, show, judge, narrow and revoke passes",
    "A pass grants what a realm's key signed to the holder of another key; nobody\n"
    "else can use it. macula --pass FILE shows it to a node.\n\n"
    "  new             print a pass, signed with --key\n"
    "  show FILE       what it says\n"
    "  check FILE      whether it counts now; with pub, sub, call or serve and NAME\n"
    "                  behind it: whether it allows that, and by which pattern (exit\n"
    "                  code 1: no)\n"
    "  narrow FILE     print a smaller one for another key, signed with your\n"
    "                  identity; only where new said --delegate 1, and once\n"
    "  revoke SERIAL   add to the signed list that --list names; several at once\n\n"
    "  --key FILE      the realm's key, as 'macula realm new' makes it\n"
    "  --id ID         of the holder's key, as 'macula id' prints it\n"
    "  --role ROLE     client (if not given), node or operator\n"
    "  --pub, --sub, --call, --serve PATTERN\n"
    "                  what is granted, each several times; ${id} is the holder's id\n"
    "  --quota NAME=N  connections, subscriptions, services, calls, retained,\n"
    "                  messages (a second); several times\n"
    "  --for T         how long: 1h, 30d (30d if not given; at most 90d)\n"
    "  --delegate 0|1  whether its holder may narrow it\n"
    "  --realm-keys ID of check: whose passes are taken; several times\n"
    "  --list FILE     of check and revoke: what was revoked\n\n"
    "Example: macula pass new --key realm.key --id $(macula id) --pub 'plant.**'\n",
    options,
    sizeof(struct pass_options),
    1,
    64,
    run,
    "new show check narrow revoke",
};
