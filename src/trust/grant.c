/* One block holds a grant: its rules, ordered by right, then their texts and its name. A rule knows the bytes before its first
 * wildcard or variable: most rules are decided by comparing these, and only the others are matched segment by segment. */
#include "trust/grant.h"

#include <assert.h>

#include "base/err.h"
#include "wire/pattern.h"

enum shape {
  SHAPE_PLAIN, /* no wildcard */
  SHAPE_TAIL,  /* the one wildcard is `**` at the end */
  SHAPE_WILD
};

struct rule {
  uint32_t text; /* where its pattern begins */
  uint32_t line;
  uint16_t len;
  uint16_t head; /* bytes before the first wildcard or variable, without the dot */
  uint8_t shape;
  bool varies; /* has variables */
};

struct grant {
  struct mem *mem;
  uint32_t refs;
  enum role role;
  uint32_t quotas[QUOTAS];
  uint16_t first[RIGHTS + 1]; /* of each right's rules */
  uint16_t name_len;
  uint32_t name, text_len;
  struct rule rules[];
};

#define NAME_ROW(id, name) name,
static const char *const roles[] = {GRANT_ROLES(NAME_ROW)};
static const char *const rights[] = {GRANT_RIGHTS(NAME_ROW)};
static const char *const quotas[] = {GRANT_QUOTAS(NAME_ROW)};
#undef NAME_ROW

const char *role_name(enum role r) { return roles[r]; }
const char *right_name(enum right r) { return rights[r]; }
const char *quota_name(enum quota q) { return quotas[q]; }

static int find(const char *const *names, int n, struct slice name) {
  for (int i = 0; i < n; i++)
    if (slice_is(name, names[i])) return i;
  return -1;
}

int role_find(struct slice name) { return find(roles, ROLES, name); }
int right_find(struct slice name) { return find(rights, RIGHTS, name); }
int quota_find(struct slice name) { return find(quotas, QUOTAS, name); }

bool role_covers(enum role outer, enum role inner) { return outer == inner || inner == ROLE_CLIENT; }

/* ---- compiling ------------------------------------------------------------------------------------------------------------
 */
static const uint8_t *texts(const struct grant *g) { return (const uint8_t *)&g->rules[g->first[RIGHTS]]; }

static struct slice pattern_of(const struct grant *g, const struct rule *r) { return slice_of(texts(g) + r->text, r->len); }

static struct rule compile(struct slice pattern) {
  struct rule r = {.len = (uint16_t)pattern.n, .head = (uint16_t)pattern.n};
  bool open = false; /* the head has ended */
  for (struct slice rest = pattern; rest.p;) {
    struct slice seg = name_next_segment(&rest);
    bool star = seg.p[0] == '*', variable = seg.n > 2 && seg.p[0] == '$' && seg.p[1] == '{';
    if (!star && !variable) continue;
    if (!open) r.head = (uint16_t)(seg.p == pattern.p ? 0 : seg.p - pattern.p - 1);
    open = true;
    r.varies |= variable;
    if (star) r.shape = r.shape == SHAPE_PLAIN && seg.n == 2 && !rest.p ? SHAPE_TAIL : SHAPE_WILD;
  }
  return r;
}

static bool is_stored(struct slice pattern) {
  char stored[NAME_MAX_LEN + 1];
  size_t n;
  return !name_template(pattern, stored, &n) && slice_eq(pattern, slice_of(stored, n));
}

static int spec_fits(const struct grant_spec *s, size_t *ret_text) {
  size_t text = s->name.n;
  if (s->count > GRANT_MAX_RULES || s->name.n > GRANT_MAX_NAME || s->role >= ROLES) return MACULA_EINVAL;
  for (size_t i = 0; i < s->count; i++) {
    if (s->rules[i].right >= RIGHTS) return MACULA_EINVAL;
    if (!is_stored(s->rules[i].pattern)) return MACULA_INVALID_TOPIC;
    text += s->rules[i].pattern.n;
  }
  *ret_text = text;
  return 0;
}

int grant_new(struct mem *mem, const struct grant_spec *spec, struct grant **ret_grant) {
  size_t text;
  int err = spec_fits(spec, &text);
  if (err) return err;
  struct grant *g = mem_alloc(mem, sizeof *g + spec->count * sizeof g->rules[0] + text);
  if (!g) return MACULA_ENOMEM;
  *g = (struct grant){.mem = mem, .refs = 1, .role = spec->role, .name_len = (uint16_t)spec->name.n};
  memcpy(g->quotas, spec->quotas, sizeof g->quotas);
  g->first[RIGHTS] = (uint16_t)spec->count;
  uint8_t *to = (uint8_t *)texts(g);
  uint16_t at = 0;
  for (enum right right = 0; right < RIGHTS; right++) {
    g->first[right] = at;
    for (size_t i = 0; i < spec->count; i++) {
      struct slice pattern = spec->rules[i].pattern;
      if (spec->rules[i].right != right) continue;
      struct rule r = compile(pattern);
      r.line = spec->rules[i].line;
      r.text = g->text_len;
      memcpy(to + g->text_len, pattern.p, pattern.n);
      g->text_len += r.len;
      g->rules[at++] = r;
    }
  }
  assert(at == spec->count);
  g->name = g->text_len;
  if (spec->name.n) memcpy(to + g->text_len, spec->name.p, spec->name.n);
  g->text_len += g->name_len;
  *ret_grant = g;
  return 0;
}

int grant_as(struct grant *g, enum role role, struct grant **ret_grant) {
  size_t size = sizeof *g + g->first[RIGHTS] * sizeof g->rules[0] + g->text_len;
  if (role == g->role) return *ret_grant = grant_ref(g), 0;
  struct grant *other = mem_alloc(g->mem, size);
  if (!other) return MACULA_ENOMEM;
  memcpy(other, g, size);
  other->refs = 1;
  other->role = role;
  *ret_grant = other;
  return 0;
}

struct grant *grant_ref(struct grant *g) {
  assert(g->refs > 0);
  g->refs++;
  return g;
}

void grant_move(struct grant *g, struct mem *to) { g->mem = to; }

void grant_unref(struct grant *g) {
  if (!g) return;
  assert(g->refs > 0);
  if (--g->refs == 0) mem_free(g->mem, g);
}

enum role grant_role(const struct grant *g) { return g->role; }
uint32_t grant_quota(const struct grant *g, enum quota q) { return g->quotas[q]; }
struct slice grant_name(const struct grant *g) {
  return slice_of(texts(g) + g->name, g->name_len);
}
size_t grant_count(const struct grant *g) { return g->first[RIGHTS]; }

struct grant_rule grant_rule_at(const struct grant *g, size_t i) {
  enum right right = 0;
  while (i >= g->first[right + 1]) right++;
  return (struct grant_rule){right, g->rules[i].line, pattern_of(g, &g->rules[i])};
}

/* ---- judging --------------------------------------------------------------------------------------------------------------
 */
/* Whether `what` is `head` or begins with `head` and a dot; true if head is empty. */
static inline bool below(struct slice head, struct slice what) {
  return what.n >= head.n && (head.n == 0 || what.n == head.n || what.p[head.n] == '.') &&
         (head.n == 0 || memcmp(what.p, head.p, head.n) == 0);
}

static bool matches(enum shape shape, struct slice pattern, struct slice topic) {
  switch (shape) {
  case SHAPE_PLAIN:
    return slice_eq(pattern, topic);
  case SHAPE_TAIL:
    return below(slice_of(pattern.p, pattern.n > 2 ? pattern.n - 3 : 0), topic);
  case SHAPE_WILD:
    break;
  }
  return pattern_match(pattern, topic);
}

/* Whether seg is the segment for the value of this variable. A segment without escapes is the value itself. */
static bool is_value(struct slice variable, const struct name_values *who, struct slice seg) {
  struct slice value = variable.p[2] == 'i' ? who->id : variable.p[2] == 'u' ? who->user : who->client;
  char put[NAME_MAX_LEN + 1];
  size_t n;
  if (!value.p) return false;
  if (!memchr(seg.p, '%', seg.n)) return slice_eq(seg, value);
  return !name_segment_from(value, put, &n) && slice_eq(seg, slice_of(put, n));
}

/* Matches a rule with variables and no wildcard except a `**` at the end, whose head matches: segment by segment, without
 * writing the values into the pattern.
 */
static bool follows(struct slice pattern, size_t head, const struct name_values *who, struct slice topic) {
  size_t skip = head ? head + 1 : 0;
  pattern = slice_of(pattern.p + skip, pattern.n - skip);
  topic = topic.n > skip ? slice_of(topic.p + skip, topic.n - skip) : SLICE_NONE;
  while (pattern.p) {
    struct slice want = name_next_segment(&pattern);
    if (slice_is(want, "**")) return true;
    if (!topic.p) return false;
    struct slice got = name_next_segment(&topic);
    bool variable = want.n > 2 && want.p[0] == '$' && want.p[1] == '{';
    if (!(variable ? is_value(want, who, got) : slice_eq(want, got))) return false;
  }
  return !topic.p;
}

static bool rule_allows(const struct grant *g, const struct rule *r, bool contain, const struct name_values *who,
                        struct slice what, uint32_t *cost) {
  char filled[NAME_MAX_LEN + 1];
  struct slice pattern = pattern_of(g, r);
  if (!below(slice_of(pattern.p, r->head), what)) return false;
  if (r->varies && !contain && r->shape != SHAPE_WILD) return follows(pattern, r->head, who, what);
  if (r->varies) {
    size_t n;
    if (name_template_fill(pattern, who, filled, &n)) return false;
    pattern = slice_of(filled, n);
  }
  *cost += 50 + (uint32_t)(pattern.n * what.n) / 4;
  return contain ? name_pattern_contains(pattern, what) : matches(r->shape, pattern, what);
}

bool grant_allows(const struct grant *g, enum right right, const struct name_values *who, struct slice what,
                  struct grant_rule *ret_rule) {
  uint32_t cost = 0;
  return grant_allows_for(g, right, who, what, ret_rule, &cost);
}

bool grant_allows_for(const struct grant *g, enum right right, const struct name_values *who, struct slice what,
                      struct grant_rule *ret_rule, uint32_t *cost) {
  for (size_t i = g->first[right]; i < g->first[right + 1]; i++) {
    if (!rule_allows(g, &g->rules[i], right == RIGHT_SUB, who, what, cost)) continue;
    if (ret_rule) *ret_rule = (struct grant_rule){right, g->rules[i].line, pattern_of(g, &g->rules[i])};
    return true;
  }
  return false;
}
