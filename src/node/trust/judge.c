#include "node/trust/judge.h"

#include <assert.h>
#include <stdio.h>

#include "base/check.h"
#include "base/err.h"
#include "base/sha256.h"
#include "node/session/session.h"
#include "node/trust/account.h"
#include "node/trust/users.h"
#include "trust/crypto.h"
#include "wire/group.h"

/* What one turn may cost, in units of some 50 ns: a token that a proof is compared with, a pattern of a grant that a
 * subscription is compared with. */
#define UNITS_A_TURN 20000u
#define UNITS_A_TOKEN 40u
#define COSTS_A_UNIT 25u    /* trust.cost in a unit */
#define UNITS_A_SESSION 10u /* its memory is cold; its pass is looked up in every list */
/* What comparing the patterns of one request with those of a grant may cost, in units of some 2 ns; and beyond that, a second
 * and at once, all clients together. A pass may have patterns that take a microsecond each. */
#define COST_FREE 200000u
#define COST_RATE 20e6
#define COST_BURST 1e6

static uint64_t unix_now(const struct node *n) { return node_wall_ms(n) / 1000; }

/* ---- passes ----------------------------------------------------------------------------------------------------------------
 */
static bool pass_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(container_of(h, struct trust_pass, link.h)->digest, key, len) == 0;
}

static void pass_free(struct node *n, struct trust_pass *p) {
  lru_remove(&n->trust.passes, &p->link);
  grant_unref(p->grant);
  mem_free(&n->rows.mem[ROW_PASSES], p);
}

/* Frees the oldest that nobody uses. False: all are in use. */
static bool make_room(struct node *n) {
  list_for(it, &n->trust.passes.order) {
    struct trust_pass *p = container_of(it, struct trust_pass, link.age);
    if (p->users) continue;
    n->trust.passes.evicted++;
    pass_free(n, p);
    return true;
  }
  return false;
}

static struct trust_pass *pass_keep(struct node *n, const struct pass *p, const uint8_t digest[CRYPTO_HASH_LEN]) {
  struct mem *mem = &n->rows.mem[ROW_PASSES];
  const struct pass_claims *c = pass_effective(p);
  struct trust_pass *e = NULL;
  struct lru_link *evicted;
  do {
    if ((e = mem_calloc(mem, 1, sizeof *e)) && !pass_grant(mem, p, &e->grant)) break;
    mem_free(mem, e);
    e = NULL;
  } while (make_room(n));
  if (!e) return NULL;
  memcpy(e->digest, digest, sizeof e->digest);
  struct pass_kept *k = &e->kept;
  *k = (struct pass_kept){.realm = p->realm, .holder = c->holder, .links = p->links, .until = UINT64_MAX};
  for (size_t i = 0; i < p->links; i++) {
    memcpy(k->serial[i], p->link[i].claims.serial, PASS_SERIAL_LEN);
    if (p->link[i].claims.not_before > k->from) k->from = p->link[i].claims.not_before;
    if (p->link[i].claims.not_after < k->until) k->until = p->link[i].claims.not_after;
  }
  if (n->trust.passes.tab.count < n->trust.passes.tab.max &&
      !lru_insert(&n->trust.passes, &e->link, digest, CRYPTO_HASH_LEN, &evicted))
    return e;
  grant_unref(e->grant);
  mem_free(mem, e);
  return NULL;
}

static size_t lists_of(const struct node *n, const struct revoked *ret[ACCESS_MAX_REALMS]) {
  size_t count = 0;
  for (size_t i = 0; i < ACCESS_MAX_REALMS; i++)
    if (n->trust.revoked[i]) ret[count++] = n->trust.revoked[i];
  return count;
}

static int code_of(enum pass_verdict v) {
  return v == PASS_GOOD        ? 0
         : v == PASS_EXPIRED   ? MACULA_PASS_EXPIRED
         : v == PASS_REVOKED   ? MACULA_PASS_REVOKED
         : v == PASS_NO_MEMORY ? MACULA_ENOMEM
                               : MACULA_PASS_INVALID;
}

/* The pass of these bytes, shown by `holder`: verified now, or earlier. */
static int pass_take(struct node *n, struct slice bytes, const struct id *holder, struct trust_pass **ret_pass) {
  uint8_t digest[CRYPTO_HASH_LEN];
  struct lru_link *known;
  struct pass p;
  sha256_of(bytes, digest);
  if ((known = lru_find(&n->trust.passes, digest, sizeof digest))) {
    lru_touch(&n->trust.passes, known);
    *ret_pass = container_of(known, struct trust_pass, link);
    return 0;
  }
  const struct revoked *lists[ACCESS_MAX_REALMS];
  struct pass_trust trust = {.holder = holder, .now = unix_now(n), .revoked = lists, .revoked_count = lists_of(n, lists)};
  trust.realms = access_realms(n->trust.access, &trust.realm_count);
  int err = code_of(pass_verify(bytes, &trust, &p, n->trust.why));
  if (err) return err;
  if ((*ret_pass = pass_keep(n, &p, digest))) return 0;
  n->trust.passes_refused++;
  snprintf(n->trust.why, sizeof n->trust.why, "the node has no room for another pass: raise pass_bytes");
  return MACULA_ENOMEM;
}

#define WHY(...) snprintf(n->trust.why, sizeof n->trust.why, __VA_ARGS__)

/* Whether a pass that was verified once counts now, and for this holder. */
static int pass_counts(struct node *n, const struct pass_kept *p, const struct id *holder) {
  const struct revoked *lists[ACCESS_MAX_REALMS];
  size_t realms, count = lists_of(n, lists);
  const struct id *realm = access_realms(n->trust.access, &realms);
  uint64_t now = unix_now(n);
  char hex[ID_HEX_LEN + 1];
  while (realms && !id_eq(realm, &p->realm)) realm++, realms--;
  if (!realms) {
    id_hex(&p->realm, hex);
    return WHY("the pass is signed by the realm key %s, which is not trusted here: realm_keys says which are", hex),
           MACULA_PASS_INVALID;
  }
  if (!id_eq(holder, &p->holder)) {
    id_hex(&p->holder, hex);
    return WHY("the pass is for the key %s: show it with that identity", hex), MACULA_PASS_INVALID;
  }
  if (now < p->from)
    return WHY("the pass begins in %llu s: is the clock right?", (unsigned long long)(p->from - now)), MACULA_PASS_INVALID;
  if (now > p->until)
    return WHY("the pass ended %llu s ago: ask for another", (unsigned long long)(now - p->until)), MACULA_PASS_EXPIRED;
  for (size_t i = 0; i < count; i++)
    for (size_t k = 0; k < p->links && id_eq(revoked_realm(lists[i]), &p->realm); k++)
      if (revoked_has(lists[i], p->serial[k])) return WHY("the pass was revoked: ask for another"), MACULA_PASS_REVOKED;
  return 0;
}

bool node_pass_counts(struct node *n, const struct pass_kept *p) { return !n->trust.access || !pass_counts(n, p, &p->holder); }

static void set_pass(struct session *s, struct trust_pass *p) {
  if (p) p->users++;
  if (s->rights.pass) {
    assert(s->rights.pass->users > 0);
    s->rights.pass->users--;
  }
  s->rights.pass = p;
}

/* ---- the grant of a session ------------------------------------------------------------------------------------------------
 */
/* Of a token that was sent. */
static int token_grant(struct node *n, const uint8_t *digest, struct grant **ret_grant) {
  bool native;
  if ((*ret_grant = access_bearer(n->trust.access, digest, &native))) return 0;
  if (native)
    return WHY("this token is proved and never sent: give another with door: http, and change this one, as it was sent"),
           MACULA_NOT_AUTHORIZED;
  return WHY("the access token is wrong: one with door: http in the access file is sent here"), MACULA_NOT_AUTHORIZED;
}

/* By what the session has proved: a user's password, its key, its pass, a token, having a key at all, nothing. What was shown
 * and does not count is refused, so that nobody is let in with less than it asked for without being told. */
static int find_grant(struct session *s, struct grant **ret_grant) {
  struct node *n = s->node;
  const struct access *a = n->trust.access;
  const struct id *peer = door_id(&s->door);
  struct rights *r = &s->rights;
  struct token_session ends;
  int err;
  struct door_shown shown = door_shown(&s->door);
  if (r->by_user) return users_grant(s, ret_grant);
  if (shown.token) return token_grant(n, shown.token, ret_grant);
  if (shown.grant.n) {
    if ((*ret_grant = access_grant(a, shown.grant))) return 0;
    return WHY("the grant '%.*s' is not in the access file any more", (int)shown.grant.n, (const char *)shown.grant.p),
           MACULA_NOT_AUTHORIZED;
  }
  if (peer && (*ret_grant = access_key(a, peer))) return 0;
  if (r->pass) {
    if (!peer) return WHY("a pass counts with the certificate of its holder's key only"), MACULA_PASS_INVALID;
    if ((err = pass_counts(n, &r->pass->kept, peer))) return err;
    *ret_grant = r->pass->grant;
    return 0;
  }
  if (r->proved) {
    session_proved(s, &ends);
    if (door_exporter(&s->door) && (*ret_grant = access_token(a, s->dialled ? TOKEN_OF_NODE : TOKEN_OF_CLIENT, &ends,
                                                              slice_of(r->proof, TOKEN_PROOF_LEN), NULL)))
      return 0;
    return WHY(s->dialled ? "the node proved no token that is known here" : "the access token is wrong"), MACULA_NOT_AUTHORIZED;
  }
  if ((*ret_grant = s->dialled ? NULL : peer ? access_default(a) : access_anonymous(a))) return 0;
  if (s->dialled)
    return WHY("nothing proves that it is a node: no key in the access file, no pass, no token"), MACULA_NOT_AUTHORIZED;
  size_t tokens, realms;
  (void)access_tokens(a, &tokens);
  (void)access_realms(a, &realms);
  return WHY("%s is needed here: this one showed %s",
             s->door.ops->login ? access_has_users(a) ? "a user name with its password"
                                                      : "a key that the node knows (the access file has no users)"
             : realms && tokens ? "an access token or a pass"
             : tokens           ? "an access token"
             : realms           ? "a pass"
                                : "a key that the node knows",
             peer ? "only a key that has no grant" : "nothing"),
         MACULA_NOT_AUTHORIZED;
}

/* How a person calls it. */
static const char *grant_words(const struct session *s, const struct grant *g, char ret[16 + GRANT_MAX_NAME]) {
  struct slice name = grant_name(g);
  if (s->rights.pass && s->rights.pass->grant == g)
    snprintf(ret, 16 + GRANT_MAX_NAME, "the pass");
  else
    snprintf(ret, 16 + GRANT_MAX_NAME, "the grant%s%.*s", name.n ? " " : "", (int)name.n, (const char *)name.p);
  return ret;
}

static int find_grant_as(struct session *s, enum role role, struct grant **ret_grant) {
  struct node *n = s->node;
  int err = find_grant(s, ret_grant);
  if (err || role_covers(grant_role(*ret_grant), role)) return err;
  char words[16 + GRANT_MAX_NAME];
  return WHY("it asks for the role %s, and %s has the role %s", role_name(role), grant_words(s, *ret_grant, words),
             role_name(grant_role(*ret_grant))),
         MACULA_NOT_AUTHORIZED;
}

static void set_grant(struct session *s, struct grant *g) {
  struct grant *old = s->rights.grant;
  s->rights.grant = grant_ref(g);
  s->rights.last_len = 0;
  s->rights.changes++;
  grant_unref(old);
}

static int judge(struct session *s, enum role role, struct slice proof, struct slice pass, const char **ret_text) {
  struct node *n = s->node;
  const struct id *peer = door_id(&s->door);
  struct rights *r = &s->rights;
  struct trust_pass *shown = NULL;
  struct grant *g;
  int err = 0;
  *ret_text = n->trust.why;
  n->trust.why[0] = 0;
  r->role = role;
  r->round = n->trust.round;
  if (!r->changes) r->changes = 1;
  r->proved = proof.n == TOKEN_PROOF_LEN; /* kept also where all is open: a reload may close it */
  if (r->proved && !rights_proof(s)) return MACULA_ENOMEM;
  if (r->proved) memcpy(r->proof, proof.p, TOKEN_PROOF_LEN);
  users_begin(s);
  if (!n->trust.access) return 0;
  if (proof.n && !r->proved) return WHY("a proof has %d bytes", TOKEN_PROOF_LEN), MACULA_NOT_AUTHORIZED;
  if (pass.n && !(peer && access_key(n->trust.access, peer))) err = pass_take(n, pass, peer, &shown);
  if (!err) set_pass(s, shown);
  if (!err) err = find_grant_as(s, role, &g);
  if (!err) set_grant(s, g);
  return err;
}

int trust_judge(struct session *s, const struct msg_connect *m, const char **ret_text) {
  enum role role = m->caps & CAP_NODE ? ROLE_NODE : m->caps & CAP_OPERATOR ? ROLE_OPERATOR : ROLE_CLIENT;
  if (role == ROLE_OPERATOR && !s->node->trust.access && !addr_is_loopback(door_remote(&s->door))) role = ROLE_CLIENT;
  int err = judge(s, role, m->proof, m->pass, ret_text);
  /* Where everything is open, whoever connects over loopback is an operator. */
  s->trusted = s->rights.grant ? grant_role(s->rights.grant) == ROLE_OPERATOR : addr_is_loopback(door_remote(&s->door));
  return err;
}

int trust_judge_node(struct session *s, const struct msg_pong *m, const char **ret_text) {
  return judge(s, ROLE_NODE, m->proof, m->pass, ret_text);
}

bool trust_prove(const struct session *s, uint8_t ret_proof[TOKEN_PROOF_LEN]) {
  const struct access *a = s->node->trust.access;
  struct token_session ends;
  size_t count = 0, i = 0;
  const struct slice *tokens = a ? access_tokens(a, &count) : NULL;
  if (!count || !door_exporter(&s->door)) return false;
  session_proved(s, &ends);
  if (s->dialled) {
    while (i < count && grant_role(access_token_grant(a, i)) != ROLE_NODE) i++;
    if (i == count) return false;
  } else {
    int found =
        s->rights.proved ? token_find(tokens, count, TOKEN_OF_CLIENT, &ends, slice_of(s->rights.proof, TOKEN_PROOF_LEN)) : -1;
    if (found < 0) return false;
    i = (size_t)found;
  }
  token_prove(tokens[i], s->dialled ? TOKEN_OF_CLIENT : TOKEN_OF_NODE, &ends, ret_proof);
  return true;
}

/* ---- what it may do --------------------------------------------------------------------------------------------------------
 */
static struct name_values values_of(const struct session *s, char hex[ID_HEX_LEN + 1]) {
  const struct id *id = door_id(&s->door);
  if (id) id_hex(id, hex);
  return (struct name_values){.id = id ? slice_of(hex, ID_HEX_LEN) : SLICE_NONE,
                              .user = session_user(s),
                              .client = s->name ? slice_str(s->name) : SLICE_NONE};
}

static void say_forbidden(struct session *s, enum right right, struct slice what) {
  struct node *n = s->node;
  char at[ADDR_TEXT_LEN], who[ID_HEX_LEN + 1] = "none";
  struct slice name = grant_name(s->rights.grant), user = session_user(s);
  n->trust.forbidden++;
  if (!bucket_take(&n->trust.lines, TRUST_LINES_A_SECOND, TRUST_LINES_AT_ONCE, n->now)) {
    n->trust.lines_left_out++;
    return;
  }
  addr_text(door_remote(&s->door), at);
  if (door_id(&s->door)) id_hex(door_id(&s->door), who);
  log_warn(n->log, "forbidden",
           "name=\"%s\" user=\"%.*s\" id=%s address=%s right=%s what=\"%.*s\" grant=\"%.*s\" left_out=%llu",
           s->name ? s->name : "", (int)user.n, (const char *)user.p, who, at, right_name(right), (int)what.n,
           (const char *)what.p, (int)name.n, (const char *)name.p, (unsigned long long)n->trust.lines_left_out);
  n->trust.lines_left_out = 0;
}

int trust_allows(struct session *s, enum right right, struct slice what, const char **ret_text) {
  struct node *n = s->node;
  struct name_values who;
  char hex[ID_HEX_LEN + 1];
  struct rights *r = &s->rights;
  if (!r->grant) return 0;
  if (right == RIGHT_PUB && what.n && what.n == r->last_len && !memcmp(what.p, r->last, what.n)) return 0;
  who = values_of(s, hex);
  if (grant_allows_for(r->grant, right, &who, what, NULL, &n->trust.cost)) {
    if (right != RIGHT_PUB || what.n > NAME_MAX_LEN) return 0;
    if (!r->last && !(r->last = mem_alloc(&s->node->rows.mem[ROW_SESSIONS], NAME_MAX_LEN))) return 0;
    memcpy(r->last, what.p, what.n);
    r->last_len = (uint8_t)what.n;
    return 0;
  }
  char words[16 + GRANT_MAX_NAME];
  WHY("%s '%.*s' is not allowed: no %s pattern of %s covers it", right_name(right), (int)what.n, (const char *)what.p,
      right_name(right), grant_words(s, r->grant, words));
  *ret_text = n->trust.why;
  say_forbidden(s, right, what);
  return MACULA_FORBIDDEN;
}

bool trust_afford(struct node *n) {
  if (n->trust.cost <= COST_FREE) return true;
  double beyond = n->trust.cost - COST_FREE;
  if (beyond > bucket_level(&n->trust.comparing, COST_RATE, COST_BURST, n->now)) return false;
  n->trust.comparing.tokens -= beyond;
  n->trust.cost = COST_FREE;
  return true;
}

/* ---- anew ------------------------------------------------------------------------------------------------------------------
 */
void trust_judge_all(struct node *n) { n->trust.round++; }

void trust_set_access(struct node *n, struct access *a) {
  struct access *old = n->trust.access;
  n->trust.access = a ? access_ref(a) : NULL;
  access_unref(old);
  trust_judge_all(n);
}

void trust_take_pass(struct node *n, uint8_t *pass, size_t len) {
  mem_free(&n->rows.mem[ROW_NODE], (void *)n->trust.pass.p);
  struct pass p;
  char why[PASS_WHY_LEN];
  n->trust.pass = pass ? slice_of(pass, len) : SLICE_NONE;
  n->trust.pass_end = pass && !pass_decode(n->trust.pass, &p, why) ? pass_effective(&p)->not_after : 0;
  n->trust.pass_say_at = 0;
}

/* A new grant for what it has: up to 1,000 subscriptions against 256 patterns that take long to compare are more than one
 * turn's work. Those that were compared go to the ends of their lists, where new ones are put too, which were judged by the new
 * grant. */
static void compare_all(struct session *s) {
  s->rights.subs_left = s->client.in ? s->topics.count : 0;
  s->rights.services_left = s->client.in && s->native ? s->native->rpc.owner.count : 0;
}

static int still_allows(struct session *s, enum right right, struct slice what, uint32_t *units, const char **ret_text) {
  struct node *n = s->node;
  n->trust.cost = 0;
  int err = trust_allows(s, right, what, ret_text);
  *units += 1 + (uint32_t)grant_count(s->rights.grant) + n->trust.cost / COSTS_A_UNIT;
  return err;
}

/* Whether all that a client subscribes to and serves is still allowed to it, as far as this turn comes. */
static int still_allowed(struct session *s, uint32_t *units, const char **ret_text) {
  char pattern[NAME_MAX_LEN + 1];
  struct rights *r = &s->rights;
  int err = 0;
  if (r->subs_left > s->topics.count) r->subs_left = s->topics.count;
  struct service_owner *owner = s->native ? &s->native->rpc.owner : NULL;
  if (owner && r->services_left > owner->count) r->services_left = owner->count;
  for (; r->subs_left && !err && *units < UNITS_A_TURN; r->subs_left--) {
    size_t len = topic_sub_pattern(topic_sub_next(&s->topics, NULL), pattern);
    err = still_allows(s, RIGHT_SUB, group_pattern(slice_of(pattern, len)), units, ret_text);
    topic_sub_rotate(&s->topics);
  }
  for (; r->services_left && !err && *units < UNITS_A_TURN; r->services_left--) {
    struct provider *p = container_of(owner->own.next, struct provider, of_owner);
    err = still_allows(s, RIGHT_SERVE, slice_of(p->service->name, p->service->len), units, ret_text);
    list_remove(&p->of_owner);
    list_append(&owner->own, &p->of_owner);
  }
  return err;
}

static int anew(struct session *s, uint32_t *units, const char **ret_text) {
  struct node *n = s->node;
  struct grant *g;
  size_t tokens = 0;
  *ret_text = NULL;
  *units += UNITS_A_SESSION;
  if (door_id(&s->door) && unix_now(n) >= door_id_end(&s->door)) return MACULA_CERTIFICATE_EXPIRED;
  *ret_text = n->trust.why;
  if (!n->trust.access) { /* a reload never opens what was closed */
    assert(!s->rights.grant);
    return 0;
  }
  if (s->rights.proved) (void)access_tokens(n->trust.access, &tokens);
  *units += (uint32_t)tokens * UNITS_A_TOKEN;
  int err = find_grant_as(s, s->rights.role, &g);
  if (err || g == s->rights.grant) return err;
  set_grant(s, g);
  if (!s->peer && !s->dialled) s->trusted = grant_role(g) == ROLE_OPERATOR;
  compare_all(s);
  return 0;
}

static void say_link_ended(const struct session *s, int err, const char *text) {
  char at[ADDR_TEXT_LEN], who[ID_HEX_LEN + 1];
  addr_text(door_remote(&s->door), at);
  id_hex(&s->peer->id, who);
  log_warn(s->node->log, "node_ended", "id=%s address=%s code=%s text=\"%s\"", who, at, macula_err_name(err),
           text ? text : macula_err_text(err));
}

static void end(struct session *s, int err, const char *text) {
  s->node->trust.ended++;
  if (s->peer) say_link_ended(s, err, text);
  s->end_err = err;
  session_close(s, err, text);
}

static bool is_judged(const struct session *s) {
  return s->rights.round == s->node->trust.round && !s->rights.subs_left && !s->rights.services_left;
}

static void judge_anew(struct session *s, bool begin, uint32_t *units) {
  struct rights *r = &s->rights;
  const char *text = NULL;
  int err = 0;
  r->round = s->node->trust.round;
  /* Others are judged by a CONNECT or PONG to come, or gone. One that waits for its verdict was judged by what counted before.
   */
  bool judged = s->state == SESSION_IN || s->state == SESSION_JUDGING;
  if (judged && begin) err = anew(s, units, &text);
  if (judged && !err) err = still_allowed(s, units, &text);
  if (err) end(s, err, text);
  if (!judged || err) r->subs_left = r->services_left = 0;
}

/* Whoever was judged goes to the end of the list, so those that were not, or not to the end, stand at its front. */
static void judge_next(struct session *s, bool begin, uint32_t *units) {
  struct list *all = &s->node->sessions.all;
  judge_anew(s, begin, units);
  list_remove(&s->all);
  if (is_judged(s))
    list_append(all, &s->all);
  else
    list_prepend(all, &s->all);
}

/* A pass that has ended counts no more: the session goes on by something else. */
void trust_let_in(struct session *s) {
  struct node *n = s->node;
  const struct trust_pass *p = s->rights.pass;
  uint64_t end = door_id(&s->door) ? door_id_end(&s->door) : UINT64_MAX;
  int err = 0;
  if (p && p->kept.until < end && p->kept.until >= unix_now(n)) end = p->kept.until + 1;
  if (end == UINT64_MAX) return;
  do err = heap_set(&n->trust.ends, &s->rights.end, end);
  while (err && make_room(n));
  if (err) session_close(s, err, NULL);
}

int trust_renew(struct session *s, struct slice bytes) {
  struct node *n = s->node;
  const struct id *peer = door_id(&s->door);
  struct trust_pass *shown;
  if (!n->trust.access || access_key(n->trust.access, peer)) return 0; /* it is let in by something else */
  int err = pass_take(n, bytes, peer, &shown);
  if (!err) err = pass_counts(n, &shown->kept, peer);
  if (err) return err;
  if (!role_covers(grant_role(shown->grant), s->rights.role))
    return WHY("it is for the role %s, and the link is a node's", role_name(grant_role(shown->grant))), MACULA_NOT_AUTHORIZED;
  set_pass(s, shown);
  set_grant(s, shown->grant);
  trust_let_in(s);
  return 0;
}

nanotime trust_deadline(const struct node *n) {
  const struct list *first = n->sessions.all.next;
  if (first != &n->sessions.all && !is_judged(container_of(first, struct session, all))) return n->now;
  uint64_t end = heap_deadline(&n->trust.ends), now = unix_now(n);
  if (end == TIME_NEVER) return TIME_NEVER;
  return end <= now ? n->now : time_add(n->now, end - now > 3600 ? 3600 * NS_SEC : (end - now) * NS_SEC);
}

void trust_tick(struct node *n) {
  struct heap_link *due;
  uint32_t units = 0;
  while (units < UNITS_A_TURN && (due = heap_pop_due(&n->trust.ends, unix_now(n)))) {
    struct session *s = container_of(due, struct session, rights.end);
    judge_next(s, true, &units);
    if (s->state == SESSION_IN) trust_let_in(s);
  }
  while (units < UNITS_A_TURN && !list_empty(&n->sessions.all)) {
    struct session *s = container_of(n->sessions.all.next, struct session, all);
    if (is_judged(s)) break;
    judge_next(s, s->rights.round != n->trust.round, &units);
  }
}

/* ---- life ------------------------------------------------------------------------------------------------------------------
 */
void trust_init(struct node *n, const struct node_config *cfg) {
  lru_init(&n->trust.passes, &n->rows.mem[ROW_PASSES], n->rng, UINT32_MAX, pass_eq);
  heap_init(&n->trust.ends, &n->rows.mem[ROW_PASSES], UINT32_MAX);
  account_init(n);
  n->sessions.judge = users_judge;
  n->trust.access = cfg->access ? access_ref(cfg->access) : NULL;
}

void trust_session_end(struct session *s) {
  account_ends(s);
  heap_remove(&s->node->trust.ends, &s->rights.end);
  set_pass(s, NULL);
  grant_unref(s->rights.grant);
  s->rights.grant = NULL;
  mem_free(&s->node->rows.mem[ROW_SESSIONS], s->rights.last);
  s->rights.last = NULL;
  s->rights.last_len = 0;
}

void trust_done(struct node *n) {
  while (make_room(n)) {
  }
  account_done(n);
  lru_done(&n->trust.passes);
  heap_done(&n->trust.ends);
  access_unref(n->trust.access);
  for (size_t i = 0; i < ACCESS_MAX_REALMS; i++) revoked_unref(n->trust.revoked[i]);
}

const char *trust_check(const struct node *n) {
  uint64_t users = 0, used = 0;
  CHECK_PART(lru_check(&n->trust.passes));
  CHECK_PART(heap_check(&n->trust.ends));
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, struct session, all);
    users += s->rights.pass != NULL;
    CHECK(s->state != SESSION_IN || s->rights.round != n->trust.round || (s->rights.grant != NULL) == (n->trust.access != NULL),
          "trust: a session has a grant where all is open, or none where nothing is");
    CHECK(!s->ended || (!s->rights.grant && !s->rights.pass && !s->rights.end.pos),
          "trust: a session that has ended holds a grant");
    CHECK(!s->rights.end.pos || heap_has(&n->trust.ends, &s->rights.end), "trust: a session's end is not where it should be");
  }
  list_for(it, &n->trust.passes.order) used += container_of(it, const struct trust_pass, link.age)->users;
  CHECK(users == used, "trust: a pass is not used by as many sessions as it says");
  return account_check(n);
}

size_t trust_passes_owned(const struct node *n) {
  size_t sum = htab_owned(&n->trust.passes.tab) + heap_owned(&n->trust.ends);
  list_for(it, &n->trust.passes.order) {
    const struct trust_pass *p = container_of(it, const struct trust_pass, link.age);
    sum += mem_cost(p) + mem_cost(p->grant);
  }
  return sum;
}
