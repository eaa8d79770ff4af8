#include "access/access.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "access/yaml.h"
#include "base/err.h"
#include "base/sha256.h"
#include "trust/crypto.h"
#include "trust/password.h"

#define MAX_NESTING 6

struct key_grant {
  struct id id;
  struct grant *grant;
};

struct access {
  struct mem *mem;
  uint32_t refs;
  struct grant **grants; /* in their order */
  struct slice *tokens;  /* those that are proved first, then, from the end, those that are sent over HTTP */
  struct grant **token_grants;
  unsigned *token_lines;
  uint8_t (*token_digests)[SHA256_LEN];
  size_t token_room, bearer_count; /* places; of them those at the end */
  struct access_user *users;       /* ordered by name */
  struct key_grant *keys;          /* ordered by id */
  struct id realms[ACCESS_MAX_REALMS];
  size_t grant_count, token_count, user_count, key_count, realm_count;
  struct grant *anonymous, *fallback;
  bool secrets; /* tokens stand in the file itself */
};

/* ---- what is read ---------------------------------------------------------------------------------------------------------
 */
struct file {
  const char *name;
  yaml_document_t doc;
  const struct access_files *files;
  struct access *a;
  char *why;
};

static unsigned line_of(const yaml_node_t *n) { return (unsigned)n->start_mark.line + 1; }

static int fail(struct file *f, const yaml_node_t *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fail(struct file *f, const yaml_node_t *at, const char *fmt, ...) {
  va_list ap;
  int n = snprintf(f->why, ACCESS_WHY_LEN, "%.200s:%u: ", f->name, at ? line_of(at) : 1);
  va_start(ap, fmt);
  vsnprintf(f->why + n, ACCESS_WHY_LEN - (size_t)n, fmt, ap);
  va_end(ap);
  return MACULA_EINVAL;
}

static int no_memory(struct file *f) {
  snprintf(f->why, ACCESS_WHY_LEN, "%.200s: no memory for what it says", f->name);
  return MACULA_ENOMEM;
}

static struct slice text_of(const yaml_node_t *n) {
  return n->type == YAML_SCALAR_NODE ? slice_of(n->data.scalar.value, n->data.scalar.length) : SLICE_NONE;
}

static yaml_node_t *node_at(struct file *f, int index) { return yaml_document_get_node(&f->doc, index); }

static size_t pairs_of(const yaml_node_t *n) { return (size_t)(n->data.mapping.pairs.top - n->data.mapping.pairs.start); }
static size_t items_of(const yaml_node_t *n) { return (size_t)(n->data.sequence.items.top - n->data.sequence.items.start); }

/* What may stand in a mapping; found: the values. */
struct field {
  const char *key;
  yaml_node_t *found;
};

static int take_field(struct file *f, yaml_node_t *key, yaml_node_t *value, struct field *fields, size_t count) {
  char all[256] = "";
  for (size_t i = 0; i < count; i++) {
    size_t n = strlen(all);
    if (!slice_is(text_of(key), fields[i].key)) {
      snprintf(all + n, sizeof all - n, "%s%s", n ? ", " : "", fields[i].key);
      continue;
    }
    if (fields[i].found)
      return fail(f, key, "%s: stands already, with its value in line %u: put both together", fields[i].key,
                  line_of(fields[i].found));
    fields[i].found = value;
    return 0;
  }
  return fail(f, key, "unknown key '%.64s': here stand %s", key->type == YAML_SCALAR_NODE ? (char *)key->data.scalar.value : "",
              all);
}

/* what: of which it is the mapping. */
static int take_fields(struct file *f, yaml_node_t *map, const char *what, struct field *fields, size_t count) {
  if (map->type != YAML_MAPPING_NODE) return fail(f, map, "%s: 'key: value' lines are expected here", what);
  for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
    int err = take_field(f, node_at(f, p->key), node_at(f, p->value), fields, count);
    if (err) return err;
  }
  return 0;
}

/* Whether a value is empty, as in `users:` with nothing behind it. */
static bool is_empty(const yaml_node_t *n) {
  return !n || (n->type == YAML_SCALAR_NODE && (n->data.scalar.length == 0 || slice_is(text_of(n), "~")) &&
                n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE);
}

static int need_map(struct file *f, yaml_node_t *n, const char *what, size_t most) {
  if (n->type != YAML_MAPPING_NODE) return fail(f, n, "%s: a mapping is expected, 'NAME: ...' a line", what);
  return pairs_of(n) > most ? fail(f, n, "%s: at most %zu are allowed, here are %zu", what, most, pairs_of(n)) : 0;
}

static int need_list(struct file *f, yaml_node_t *n, const char *what, size_t most) {
  if (n->type != YAML_SEQUENCE_NODE) return fail(f, n, "%s: a list is expected here, as [a, b]", what);
  return items_of(n) > most ? fail(f, n, "%s: at most %zu are allowed, here are %zu", what, most, items_of(n)) : 0;
}

/* ---- grants ---------------------------------------------------------------------------------------------------------------
 */
struct draft { /* of one grant */
  struct grant_spec spec;
  struct grant_rule rules[GRANT_MAX_RULES];
  char stored[GRANT_MAX_RULES][NAME_MAX_LEN + 1];
};

static int take_role(struct file *f, yaml_node_t *n, enum role *ret_role) {
  int r = role_find(text_of(n));
  if (r < 0) return fail(f, n, "role: it is client, node or operator, not '%.64s'", text_of(n).p ? (char *)text_of(n).p : "");
  *ret_role = (enum role)r;
  return 0;
}

static int take_pattern(struct file *f, yaml_node_t *n, enum right right, struct draft *d) {
  char why[NAME_WHY_LEN];
  struct slice text = text_of(n);
  size_t i = d->spec.count, len;
  if (i == GRANT_MAX_RULES) return fail(f, n, "a grant has at most %d patterns: make two of it", GRANT_MAX_RULES);
  if (!text.p) return fail(f, n, "%s: a pattern is expected here, as 'plant.${id}.**'", right_name(right));
  int err = name_template(text, d->stored[i], &len);
  if (err)
    return fail(f, n, "%s: '%.100s' is no pattern: %s", right_name(right), text.p,
                name_why(err, NAME_TEMPLATE, text, why) ? why : "it cannot be read");
  d->rules[i] = (struct grant_rule){right, line_of(n), slice_of(d->stored[i], len)};
  d->spec.count++;
  return 0;
}

static int take_patterns(struct file *f, yaml_node_t *list, enum right right, struct draft *d) {
  if (is_empty(list)) return 0;
  int err = need_list(f, list, right_name(right), GRANT_MAX_RULES);
  for (size_t i = 0; !err && i < items_of(list); i++)
    err = take_pattern(f, node_at(f, list->data.sequence.items.start[i]), right, d);
  return err;
}

static int take_number(struct file *f, yaml_node_t *n, const char *what, uint32_t *ret) {
  struct slice t = text_of(n);
  uint64_t v = 0;
  bool ok = t.n > 0 && t.n <= 10;
  for (size_t i = 0; i < t.n && ok; i++) {
    ok = t.p[i] >= '0' && t.p[i] <= '9';
    v = v * 10 + (uint64_t)(t.p[i] - '0');
  }
  if (!ok || v >= QUOTA_NONE)
    return fail(f, n, "%s: a number from 0 to %u is expected; leave it out for no quota", what, QUOTA_NONE - 1);
  *ret = (uint32_t)v;
  return 0;
}

static int take_quotas(struct file *f, yaml_node_t *map, uint32_t quotas[QUOTAS]) {
  struct field fields[QUOTAS] = {0};
  for (enum quota q = 0; q < QUOTAS; q++) {
    quotas[q] = QUOTA_NONE;
    fields[q].key = quota_name(q);
  }
  if (is_empty(map)) return 0;
  int err = take_fields(f, map, "quotas", fields, QUOTAS);
  for (enum quota q = 0; q < QUOTAS && !err; q++)
    if (fields[q].found) err = take_number(f, fields[q].found, fields[q].key, &quotas[q]);
  return err;
}

static int draft_grant(struct file *f, yaml_node_t *name, yaml_node_t *value, struct draft *d) {
  struct field fields[] = {{"role", NULL}, {"pub", NULL}, {"sub", NULL}, {"call", NULL}, {"serve", NULL}, {"quotas", NULL}};
  d->spec = (struct grant_spec){.name = text_of(name), .rules = d->rules};
  if (!d->spec.name.n || d->spec.name.n > GRANT_MAX_NAME)
    return fail(f, name, "a grant's name has 1 to %d bytes", GRANT_MAX_NAME);
  int err = is_empty(value) ? 0 : take_fields(f, value, (const char *)d->spec.name.p, fields, 6);
  if (!err && fields[0].found) err = take_role(f, fields[0].found, &d->spec.role);
  for (enum right r = 0; r < RIGHTS && !err; r++) err = take_patterns(f, fields[1 + r].found, r, d);
  return err ? err : take_quotas(f, fields[5].found, d->spec.quotas);
}

static int take_grants(struct file *f, yaml_node_t *map) {
  struct access *a = f->a;
  int err = need_map(f, map, "grants", ACCESS_MAX_GRANTS);
  if (err || !pairs_of(map)) return err;
  struct draft *d = mem_alloc(a->mem, sizeof *d);
  a->grants = mem_calloc(a->mem, pairs_of(map), sizeof *a->grants);
  if (!d || !a->grants) err = no_memory(f);
  for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top && !err; p++) {
    yaml_node_t *name = node_at(f, p->key);
    err = draft_grant(f, name, node_at(f, p->value), d);
    if (!err && access_grant(a, d->spec.name))
      err = fail(f, name, "a second grant '%.64s': give it another name", d->spec.name.p);
    if (!err && grant_new(a->mem, &d->spec, &a->grants[a->grant_count])) err = no_memory(f);
    if (!err) a->grant_count++;
  }
  mem_free(a->mem, d);
  return err;
}

/* Resolves a grant that is named for a token, user or key, in the grant's own role or in another one. */
static int give(struct file *f, yaml_node_t *who, yaml_node_t *name, yaml_node_t *role, struct grant **ret_grant) {
  if (is_empty(name)) return fail(f, who, "a grant is missing: 'grant: NAME', with a name that stands under grants");
  struct grant *g = access_grant(f->a, text_of(name));
  if (!g)
    return fail(f, name, "there is no grant '%.64s': one of the names under grants is expected",
                name->type == YAML_SCALAR_NODE ? (char *)name->data.scalar.value : "");
  enum role r = grant_role(g);
  int err = role ? take_role(f, role, &r) : 0;
  if (!err && grant_as(g, r, ret_grant)) err = no_memory(f);
  return err;
}

/* ---- those who are given them ---------------------------------------------------------------------------------------------
 */
static int keep_text(struct file *f, struct slice text, struct slice *ret) {
  void *p = mem_dup(f->a->mem, text.p, text.n);
  if (!p) return no_memory(f);
  *ret = slice_of(p, text.n);
  return 0;
}

/* The token itself, or what is in its file. */
static int take_token_text(struct file *f, yaml_node_t *at, yaml_node_t *token, yaml_node_t *path, struct slice *ret) {
  char *text = NULL, why[256] = "";
  if (!token == !path) return fail(f, at, "a token has either 'file: PATH' or 'token: TEXT'");
  if (path && !text_of(path).p) return fail(f, path, "file: the path of a file is expected");
  if (path && !f->files) return fail(f, path, "file: files are not read here");
  if (path) {
    int err = f->files->read_token(f->files->ctx, (const char *)text_of(path).p, &text, why);
    if (err) return fail(f, path, "%.255s", why), err;
  }
  struct slice t = path ? slice_str(text) : text_of(token);
  const char *wrong = token_wrong(t);
  int err = wrong && path ? fail(f, path, "%.120s: %s", (const char *)text_of(path).p, wrong)
            : wrong       ? fail(f, token, "%s", wrong)
                          : keep_text(f, t, ret);
  if (text) crypto_wipe(text, t.n);
  free(text);
  f->a->secrets |= !path;
  return err;
}

static int take_token(struct file *f, yaml_node_t *n) {
  struct access *a = f->a;
  struct field fields[] = {{"token", NULL}, {"file", NULL}, {"grant", NULL}, {"role", NULL}, {"door", NULL}};
  struct slice text = SLICE_NONE;
  int err = take_fields(f, n, "a token", fields, 5);
  yaml_node_t *door = err ? NULL : fields[4].found;
  if (door && !slice_is(text_of(door), "http"))
    return fail(f, door, "door: only 'http' can stand here, for a token that is sent; one that is proved has no door");
  if (!err) err = take_token_text(f, n, fields[0].found, fields[1].found, &text);
  if (err) return err;
  size_t i = door ? a->token_room - ++a->bearer_count : a->token_count++;
  a->tokens[i] = text;
  a->token_lines[i] = line_of(n);
  sha256_of(text, a->token_digests[i]);
  for (size_t k = 0; k < a->token_room; k++)
    if (k != i && slice_eq(a->tokens[k], text))
      return fail(f, n, "the same token stands in line %u: it can have one grant, and one that is sent proves nothing",
                  a->token_lines[k]);
  return give(f, n, fields[2].found, fields[3].found, &a->token_grants[i]);
}

static int take_tokens(struct file *f, yaml_node_t *list) {
  struct access *a = f->a;
  int err = need_list(f, list, "tokens", ACCESS_MAX_TOKENS);
  if (err || !items_of(list)) return err;
  a->tokens = mem_calloc(a->mem, items_of(list), sizeof *a->tokens);
  a->token_grants = mem_calloc(a->mem, items_of(list), sizeof *a->token_grants);
  a->token_lines = mem_calloc(a->mem, items_of(list), sizeof *a->token_lines);
  a->token_digests = mem_calloc(a->mem, items_of(list), sizeof *a->token_digests);
  if (!a->tokens || !a->token_grants || !a->token_lines || !a->token_digests) return no_memory(f);
  a->token_room = items_of(list);
  for (size_t i = 0; !err && i < items_of(list); i++) err = take_token(f, node_at(f, list->data.sequence.items.start[i]));
  return err;
}

static int by_name(const void *a, const void *b) {
  const struct access_user *x = a, *y = b;
  size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
  int d = memcmp(x->name.p, y->name.p, n);
  return d ? d : x->name.n < y->name.n ? -1 : x->name.n > y->name.n;
}

static int take_user(struct file *f, yaml_node_t *name, yaml_node_t *value) {
  struct access_user *u = &f->a->users[f->a->user_count];
  struct field fields[] = {{"password", NULL}, {"grant", NULL}, {"role", NULL}};
  struct slice n = text_of(name);
  if (!n.n || n.n > ACCESS_MAX_NAME) return fail(f, name, "a user's name has 1 to %d bytes", ACCESS_MAX_NAME);
  int err = take_fields(f, value, (const char *)n.p, fields, 3);
  if (err) return err;
  if (is_empty(fields[0].found))
    return fail(f, name, "user %.64s: 'password: HASH' is missing: 'macula user add' makes it", n.p);
  const char *wrong = password_hash_wrong(text_of(fields[0].found));
  if (wrong) return fail(f, fields[0].found, "password: %s", wrong);
  *u = (struct access_user){.line = line_of(name)};
  f->a->user_count++;
  if ((err = keep_text(f, n, &u->name)) || (err = keep_text(f, text_of(fields[0].found), &u->hash))) return err;
  return give(f, name, fields[1].found, fields[2].found, &u->grant);
}

static int take_users(struct file *f, yaml_node_t *map) {
  struct access *a = f->a;
  int err = need_map(f, map, "users", ACCESS_MAX_USERS);
  if (err || !pairs_of(map)) return err;
  if (!(a->users = mem_calloc(a->mem, pairs_of(map), sizeof *a->users))) return no_memory(f);
  for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top && !err; p++)
    err = take_user(f, node_at(f, p->key), node_at(f, p->value));
  if (err) return err;
  qsort(a->users, a->user_count, sizeof *a->users, by_name);
  for (size_t i = 1; i < a->user_count; i++)
    if (slice_eq(a->users[i - 1].name, a->users[i].name))
      return fail(f, map, "users: '%.64s' stands in lines %u and %u: a user stands once", a->users[i].name.p,
                  a->users[i - 1].line, a->users[i].line);
  return 0;
}

static int take_id(struct file *f, yaml_node_t *n, const char *what, struct id *ret_id) {
  if (text_of(n).p && !id_parse(text_of(n), ret_id)) return 0;
  return fail(f, n, "%s: an id of 64 hexadecimal digits is expected, as '%s' prints it", what,
              what[0] == 'k' ? "macula id" : "macula realm new");
}

static int by_id(const void *a, const void *b) {
  return memcmp(((const struct key_grant *)a)->id.b, ((const struct key_grant *)b)->id.b, ID_LEN);
}

static int take_key(struct file *f, yaml_node_t *id, yaml_node_t *value) {
  struct key_grant *k = &f->a->keys[f->a->key_count];
  struct field fields[] = {{"grant", NULL}, {"role", NULL}};
  int err = take_id(f, id, "keys", &k->id);
  if (!err && value->type == YAML_SCALAR_NODE)
    fields[0].found = value;
  else if (!err)
    err = take_fields(f, value, "a key", fields, 2);
  if (err) return err;
  f->a->key_count++;
  return give(f, id, fields[0].found, fields[1].found, &k->grant);
}

static int take_keys(struct file *f, yaml_node_t *map) {
  struct access *a = f->a;
  char hex[ID_HEX_LEN + 1];
  int err = need_map(f, map, "keys", ACCESS_MAX_KEYS);
  if (err || !pairs_of(map)) return err;
  if (!(a->keys = mem_calloc(a->mem, pairs_of(map), sizeof *a->keys))) return no_memory(f);
  for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top && !err; p++)
    err = take_key(f, node_at(f, p->key), node_at(f, p->value));
  if (err) return err;
  qsort(a->keys, a->key_count, sizeof *a->keys, by_id);
  for (size_t i = 1; i < a->key_count; i++)
    if (id_eq(&a->keys[i - 1].id, &a->keys[i].id))
      return id_hex(&a->keys[i].id, hex), fail(f, map, "keys: %s stands twice: a key stands once", hex);
  return 0;
}

static int take_realms(struct file *f, yaml_node_t *list) {
  int err = need_list(f, list, "realm_keys", ACCESS_MAX_REALMS);
  for (size_t i = 0; !err && i < items_of(list); i++)
    if (!(err = take_id(f, node_at(f, list->data.sequence.items.start[i]), "realm_keys", &f->a->realms[i])))
      f->a->realm_count++;
  return err;
}

/* ---- the file -------------------------------------------------------------------------------------------------------------
 */
static int take_all(struct file *f) {
  struct field v[] = {{"grants", NULL},     {"tokens", NULL},    {"users", NULL},  {"keys", NULL},
                      {"realm_keys", NULL}, {"anonymous", NULL}, {"default", NULL}};
  static int (*const takes[])(struct file *, yaml_node_t *) = {take_grants, take_tokens, take_users, take_keys, take_realms};
  yaml_node_t *root = yaml_document_get_root_node(&f->doc);
  int err = is_empty(root) ? 0 : take_fields(f, root, "the file", v, 7);
  for (size_t i = 0; i < 5 && !err; i++)
    if (!is_empty(v[i].found)) err = takes[i](f, v[i].found);
  if (!err && !is_empty(v[5].found)) err = give(f, v[5].found, v[5].found, NULL, &f->a->anonymous);
  if (!err && !is_empty(v[6].found)) err = give(f, v[6].found, v[6].found, NULL, &f->a->fallback);
  return err;
}

int access_parse(struct mem *mem, const char *name, struct slice text, const struct access_files *files,
                 struct access **ret_access, char ret_why[ACCESS_WHY_LEN]) {
  struct file f = {.name = name, .files = files, .why = ret_why};
  yaml_parser_t parser;
  ret_why[0] = 0;
  if (text.n > ACCESS_MAX_FILE)
    return fail(&f, NULL, "an access file has at most %d bytes, this has %zu", ACCESS_MAX_FILE, text.n);
  int err = yaml_check_shape(name, text, MAX_NESTING, ret_why);
  if (err) return err == MACULA_ENOMEM ? no_memory(&f) : err;
  if (!yaml_parser_initialize(&parser)) return no_memory(&f);
  yaml_parser_set_input_string(&parser, text.p, text.n);
  if (!yaml_parser_load(&parser, &f.doc)) {
    bool alias = parser.context && strstr(parser.context, "alias");
    bool begins_nothing = parser.problem && strstr(parser.problem, "cannot start any token");
    bool in_list = parser.problem && strstr(parser.problem, "expected ',' or ']'");
    snprintf(ret_why, ACCESS_WHY_LEN, "%.200s:%zu: not YAML: %s", name, parser.problem_mark.line + 1,
             alias            ? "put patterns in quotes: '**'"
             : begins_nothing ? "a tab, or a text that needs quotes: indent with blanks, write '@x'"
             : in_list        ? "',' or ']' is expected: a text with ${id} in a list needs quotes"
             : parser.problem ? parser.problem
                              : "it cannot be read");
    yaml_parser_delete(&parser);
    return MACULA_EINVAL;
  }
  f.a = mem_calloc(mem, 1, sizeof *f.a);
  if (f.a) *f.a = (struct access){.mem = mem, .refs = 1};
  err = f.a ? take_all(&f) : no_memory(&f);
  yaml_document_delete(&f.doc);
  yaml_parser_delete(&parser);
  if (err) {
    access_unref(f.a);
    return err;
  }
  *ret_access = f.a;
  return 0;
}

struct access *access_ref(struct access *a) {
  assert(a->refs > 0);
  a->refs++;
  return a;
}

void access_move(struct access *a, struct mem *to) {
  for (size_t i = 0; i < a->grant_count; i++) grant_move(a->grants[i], to);
  for (size_t i = 0; i < a->token_room; i++)
    if (a->token_grants[i]) grant_move(a->token_grants[i], to);
  for (size_t i = 0; i < a->user_count; i++) grant_move(a->users[i].grant, to);
  for (size_t i = 0; i < a->key_count; i++) grant_move(a->keys[i].grant, to);
  mem_move(a->mem, to);
  a->mem = to;
}

static void wipe_text(struct access *a, struct slice s) {
  if (s.p) crypto_wipe((void *)s.p, s.n);
  mem_free(a->mem, (void *)s.p);
}

void access_unref(struct access *a) {
  if (!a) return;
  assert(a->refs > 0);
  if (--a->refs) return;
  for (size_t i = 0; i < a->token_room; i++) {
    wipe_text(a, a->tokens[i]);
    grant_unref(a->token_grants[i]);
  }
  for (size_t i = 0; i < a->user_count; i++) {
    wipe_text(a, a->users[i].name);
    wipe_text(a, a->users[i].hash);
    grant_unref(a->users[i].grant);
  }
  for (size_t i = 0; i < a->key_count; i++) grant_unref(a->keys[i].grant);
  for (size_t i = 0; i < a->grant_count; i++) grant_unref(a->grants[i]);
  grant_unref(a->anonymous);
  grant_unref(a->fallback);
  mem_free(a->mem, a->grants);
  mem_free(a->mem, a->tokens);
  mem_free(a->mem, a->token_grants);
  mem_free(a->mem, a->token_lines);
  mem_free(a->mem, a->token_digests);
  mem_free(a->mem, a->users);
  mem_free(a->mem, a->keys);
  mem_free(a->mem, a);
}

/* ---- asking it ------------------------------------------------------------------------------------------------------------
 */
bool access_has_secrets(const struct access *a) { return a->secrets || a->user_count; }
bool access_has_users(const struct access *a) { return a->user_count > 0; }

bool access_is_empty(const struct access *a) {
  return !a->token_count && !a->bearer_count && !a->user_count && !a->key_count && !a->realm_count && !a->anonymous &&
         !a->fallback;
}

struct grant *access_grant(const struct access *a, struct slice name) {
  for (size_t i = 0; i < a->grant_count; i++)
    if (slice_eq(grant_name(a->grants[i]), name)) return a->grants[i];
  return NULL;
}

struct grant *access_key(const struct access *a, const struct id *id) {
  struct key_grant want = {.id = *id};
  struct key_grant *k = a->key_count ? bsearch(&want, a->keys, a->key_count, sizeof want, by_id) : NULL;
  return k ? k->grant : NULL;
}

const struct access_user *access_user(const struct access *a, struct slice name) {
  struct access_user want = {.name = name};
  return a->user_count && name.n ? bsearch(&want, a->users, a->user_count, sizeof want, by_name) : NULL;
}

struct grant *access_anonymous(const struct access *a) {
  return a->anonymous;
}
struct grant *access_default(const struct access *a) {
  return a->fallback;
}

struct grant *access_token(const struct access *a, enum token_side side, const struct token_session *s, struct slice proof,
                           unsigned *ret_line) {
  int i = token_find(a->tokens, a->token_count, side, s, proof);
  if (i < 0) return NULL;
  if (ret_line) *ret_line = a->token_lines[i];
  return a->token_grants[i];
}

const struct slice *access_tokens(const struct access *a, size_t *ret_count) {
  *ret_count = a->token_count;
  return a->tokens;
}

struct grant *access_bearer(const struct access *a, const uint8_t digest[32], bool *ret_native) {
  struct grant *found = NULL;
  *ret_native = false;
  for (size_t i = 0; i < a->token_room; i++) {
    if (!a->tokens[i].n || !crypto_equal(a->token_digests[i], digest, SHA256_LEN)) continue;
    *ret_native = i < a->token_count;
    found = *ret_native ? NULL : a->token_grants[i];
  }
  return found;
}

struct grant *access_token_grant(const struct access *a, size_t i) {
  assert(i < a->token_count);
  return a->token_grants[i];
}

const struct id *access_realms(const struct access *a, size_t *ret_count) {
  *ret_count = a->realm_count;
  return a->realms;
}
