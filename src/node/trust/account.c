#include "node/trust/account.h"

#include <assert.h>
#include <stdio.h>

#include "base/check.h"
#include "base/err.h"
#include "base/sha256.h"
#include "node/session/session.h"
#include "node/trust/users.h"
#include "wire/msg.h"

#define SHARE 4u       /* of the node's limits one identity may hold a quarter, where its grant says nothing, */
#define SHARE_LEAST 4u /* but always so many */
#define MESSAGES 1000u /* a second, likewise */
#define TURN_MOST 16.0 /* tokens that an identity may spend in one turn */
#define BYTES_A_TOKEN 1024u
#define NAMES_A_TOKEN 64u /* bytes of names to be kept: a pattern of 32 segments takes as long as four messages */
#define WAIT (10 * NS_MS) /* tokens are saved up so long before the sessions are read on, as each reading has its cost */
#define SWEPT 1000u       /* accounts looked at in one turn */
#define SAY_AGAIN (60 * NS_SEC)
/* A session that is over within a minute was made for nothing. Its connection took some 0.5 ms of the loop. */
#define BRIEF (60 * NS_SEC)
#define BRIEF_A_SECOND 10.0
#define BRIEF_AT_ONCE 100.0

/* ---- the table -------------------------------------------------------------------------------------------------------------
 */
static bool key_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(container_of(h, struct account, h)->key, key, len) == 0;
}

static void key_of(const struct session *s, uint8_t ret_key[ACCOUNT_KEY_LEN]) {
  const struct id *id = door_id(&s->door);
  const struct addr *a = door_remote(&s->door);
  memset(ret_key, 0, ACCOUNT_KEY_LEN);
  if (s->rights.by_user) {
    ret_key[0] = 2;
    sha256_of(session_user(s), ret_key + 1);
    return;
  }
  ret_key[0] = id ? 1 : a->sa.sa_family == AF_INET ? 4 : 6;
  if (id)
    memcpy(ret_key + 1, id->b, ID_LEN);
  else
    memcpy(ret_key + 1, ret_key[0] == 4 ? (const void *)&a->v4.sin_addr : (const void *)&a->v6.sin6_addr,
           ret_key[0] == 4 ? 4 : 8);
}

void account_init(struct node *n) {
  struct accounts *t = &n->trust.accounts;
  htab_init(&t->tab, &n->rows.mem[ROW_ACCOUNTS], n->rng, UINT32_MAX, key_eq);
  heap_init(&t->due, &n->rows.mem[ROW_ACCOUNTS], UINT32_MAX);
  list_init(&t->idle);
}

static bool in_use(const struct account *a) { return a->used[QUOTA_CONNECTIONS] || a->retained.count; }

static void account_free(struct node *n, struct account *a) {
  struct accounts *t = &n->trust.accounts;
  htab_remove(&t->tab, &a->h);
  heap_remove(&t->due, &a->due);
  list_remove(&a->idle);
  mem_free(&n->rows.mem[ROW_ACCOUNTS], a);
}

void account_done(struct node *n) {
  struct accounts *t = &n->trust.accounts;
  for (struct hlink *h; (h = htab_next(&t->tab, NULL));) account_free(n, container_of(h, struct account, h));
  htab_done(&t->tab);
  heap_done(&t->due);
}

/* Looks at the accounts without sessions, those first that have had none for longest, and frees those that had none before
 * `since`; one that still owns retained messages has its turn again later. False: none was freed. */
static bool free_idle(struct node *n, nanotime since, uint32_t looks, uint32_t most) {
  struct accounts *t = &n->trust.accounts;
  uint32_t freed = 0;
  while (looks-- && freed < most && !list_empty(&t->idle)) {
    struct account *a = container_of(t->idle.next, struct account, idle);
    if (a->idle_at > since) break;
    if (!in_use(a)) {
      account_free(n, a);
      freed++;
      continue;
    }
    a->idle_at = n->now;
    list_remove(&a->idle);
    list_append(&t->idle, &a->idle);
  }
  return freed > 0;
}

static struct account *make(struct node *n, const uint8_t key[ACCOUNT_KEY_LEN]) {
  struct accounts *t = &n->trust.accounts;
  struct account *a = NULL;
  while (t->tab.count >= limits_accounts(&n->limits) || !(a = mem_calloc(&n->rows.mem[ROW_ACCOUNTS], 1, sizeof *a))) {
    if (!free_idle(n, n->now, t->tab.count, 1)) break;
    t->evicted++;
  }
  if (!a) return t->refused++, NULL;
  memcpy(a->key, key, sizeof a->key);
  a->retained.id = slice_of(a->key, sizeof a->key);
  list_init(&a->idle);
  list_init(&a->waiting);
  if (!htab_insert(&t->tab, &a->h, key, ACCOUNT_KEY_LEN)) return a;
  mem_free(&n->rows.mem[ROW_ACCOUNTS], a);
  return t->refused++, NULL;
}

static struct account *find(struct node *n, const uint8_t key[ACCOUNT_KEY_LEN]) {
  struct hlink *h = htab_find(&n->trust.accounts.tab, key, ACCOUNT_KEY_LEN);
  return h ? container_of(h, struct account, h) : NULL;
}

struct retained_owner *account_owner(struct node *n, struct slice id) {
  struct account *a;
  if (id.n != ACCOUNT_KEY_LEN) return NULL;
  if ((a = find(n, id.p)) != NULL || (a = make(n, id.p)) == NULL) return a ? &a->retained : NULL;
  a->idle_at = n->now;
  list_append(&n->trust.accounts.idle, &a->idle);
  return &a->retained;
}

int account_join(struct session *s) {
  struct node *n = s->node;
  uint8_t key[ACCOUNT_KEY_LEN];
  key_of(s, key);
  struct account *a = find(n, key);
  if (!a && !(a = make(n, key))) return MACULA_ENOMEM;
  list_remove(&a->idle);
  s->account = a;
  door_pays(&s->door, &a->units);
  a->used[QUOTA_CONNECTIONS]++;
  s->topics.shared = &a->used[QUOTA_SUBSCRIPTIONS];
  if (!s->native) return 0;
  s->native->rpc.owner.shared = &a->used[QUOTA_SERVICES];
  s->native->rpc.calls.shared = &a->used[QUOTA_CALLS];
  return 0;
}

void account_leave(struct session *s) {
  struct accounts *t = &s->node->trust.accounts;
  struct account *a = s->account;
  if (!a) return;
  door_pays(&s->door, NULL);
  s->account = NULL;
  s->topics.shared = NULL;
  if (s->native) s->native->rpc.owner.shared = s->native->rpc.calls.shared = NULL;
  list_remove(&s->waits);
  assert(a->used[QUOTA_CONNECTIONS] > 0);
  if (--a->used[QUOTA_CONNECTIONS]) return;
  a->idle_at = s->node->now;
  list_append(&t->idle, &a->idle);
}

/* ---- quotas ----------------------------------------------------------------------------------------------------------------
 */
static uint32_t default_quota(const struct node_limits *l, enum quota q) {
  uint32_t of = 0;
  switch (q) {
  case QUOTA_CONNECTIONS:
    of = l->max_clients;
    break;
  case QUOTA_SUBSCRIPTIONS:
    of = l->max_subscriptions;
    break;
  case QUOTA_SERVICES:
    of = l->max_services;
    break;
  case QUOTA_CALLS:
    of = l->max_calls;
    break;
  case QUOTA_MESSAGES:
    return MESSAGES;
  case QUOTA_RETAINED: /* only the share that pubsub/retained.h leaves to each */
  case QUOTAS:
    return QUOTA_NONE;
  }
  return of / SHARE > SHARE_LEAST ? of / SHARE : SHARE_LEAST;
}

uint32_t account_quota(const struct session *s, enum quota q) {
  const struct grant *g = s->rights.grant;
  uint32_t own = g ? grant_quota(g, q) : QUOTA_NONE;
  if (!g || own != QUOTA_NONE || grant_role(g) == ROLE_OPERATOR) return own;
  return default_quota(&s->node->limits, q);
}

static void say(struct session *s, const char *event, const char *what, uint32_t quota) {
  struct node *n = s->node;
  char at[ADDR_TEXT_LEN], who[ID_HEX_LEN + 1] = "none";
  struct slice name = s->rights.grant ? grant_name(s->rights.grant) : SLICE_NONE;
  if (!bucket_take(&n->trust.lines, TRUST_LINES_A_SECOND, TRUST_LINES_AT_ONCE, n->now)) {
    n->trust.lines_left_out++;
    return;
  }
  addr_text(door_remote(&s->door), at);
  if (door_id(&s->door)) id_hex(door_id(&s->door), who);
  log_warn(n->log, event, "name=\"%s\" id=%s address=%s quota=%s most=%u grant=\"%.*s\" left_out=%llu", s->name ? s->name : "",
           who, at, what, quota, (int)name.n, (const char *)name.p, (unsigned long long)n->trust.lines_left_out);
  n->trust.lines_left_out = 0;
}

#define WHY(...) snprintf(n->trust.why, sizeof n->trust.why, __VA_ARGS__)

int account_has_room(struct session *s, enum quota q, uint32_t beside, const char **ret_text) {
  struct node *n = s->node;
  const struct account *a = s->account;
  uint32_t most = account_quota(s, q);
  if (!a || most == QUOTA_NONE) return 0;
  uint32_t used = q == QUOTA_RETAINED ? a->retained.count : a->used[q];
  if (used < (uint64_t)most + beside) return 0;
  struct slice name = grant_name(s->rights.grant);
  bool own = grant_quota(s->rights.grant, q) != QUOTA_NONE;
  WHY("the quota of %u %s is reached, which %s%s%.*s %s", most, q == QUOTA_RETAINED ? "retained messages" : quota_name(q),
      own ? "the grant" : "the node sets where the grant", name.n ? " " : "", (int)name.n, (const char *)name.p,
      own ? "sets" : "sets none");
  *ret_text = n->trust.why;
  n->trust.accounts.over++;
  say(s, "quota_reached", quota_name(q), most);
  return MACULA_QUOTA_REACHED;
}

void account_full(struct session *s, const char **ret_text) {
  struct node *n = s->node;
  WHY("one identity may hold at most as much of retained_count and retained_bytes as is left for the others: %u messages of "
      "%zu bytes are this one's",
      s->account->retained.count, s->account->retained.bytes);
  *ret_text = n->trust.why;
  n->trust.accounts.over++;
  say(s, "quota_reached", quota_name(QUOTA_RETAINED), s->account->retained.count);
}

/* ---- arrivals --------------------------------------------------------------------------------------------------------------
 */
int account_may_come(struct session *s, const char **ret_text) {
  struct node *n = s->node;
  uint8_t key[ACCOUNT_KEY_LEN];
  key_of(s, key);
  struct account *a = find(n, key);
  if (!a || bucket_level(&a->brief, BRIEF_A_SECOND, BRIEF_AT_ONCE, n->now) >= 1) return 0;
  n->trust.accounts.hasty++;
  *ret_text = "this identity makes connections without end that are over within a minute; keep one open";
  return MACULA_RATE_LIMITED;
}

/* Where all is open, nobody's connections are counted, as with quotas. */
void account_ends(struct session *s) {
  const struct rights *r = &s->rights;
  struct node *n = s->node;
  struct account *a = s->account;
  if (!a || !r->grant || n->draining || time_since(n->now, s->since) >= BRIEF || grant_role(r->grant) == ROLE_OPERATOR) return;
  (void)bucket_level(&a->brief, BRIEF_A_SECOND, BRIEF_AT_ONCE, n->now);
  a->brief.tokens -= 1;
  if (!r->pass && !r->by_user && !(door_id(&s->door) && access_key(n->trust.access, door_id(&s->door)))) door_brief(&s->door);
}

void account_limited(struct session *s) {
  if (s->state != SESSION_IN || !s->account) return;
  say(s, "packets_not_read", "idle_packets", QUIC_IDLE_UNITS);
  session_notice(s, MACULA_RATE_LIMITED, "packets that bring nothing come too fast: some are not read");
}

/* ---- pace ------------------------------------------------------------------------------------------------------------------
 */
/* Answers and what ends something never wait on their own account. */
static double cost_of(const struct frame *f) {
  switch (f->type) {
  case MSG_PUBLISH:
  case MSG_ANNOUNCE:
  case MSG_CALL:
  case MSG_CAST:
    return 1.0 + (double)(f->payload.n / BYTES_A_TOKEN);
  case MSG_SUBSCRIBE:
  case MSG_UNSUBSCRIBE:
  case MSG_REGISTER:
  case MSG_UNREGISTER:
    return 1.0 + (double)(f->payload.n / NAMES_A_TOKEN);
  default:
    return 0;
  }
}

static double level(struct node *n, struct account *a) {
  return bucket_level(&a->messages, (double)a->rate, (double)(a->rate ? a->rate : 1), n->now);
}

/* The session that sends decides how fast the account's bucket fills. */
static bool is_paced(struct session *s) {
  uint32_t rate = s->account ? account_quota(s, QUOTA_MESSAGES) : QUOTA_NONE;
  if (rate == QUOTA_NONE) return false;
  s->account->rate = rate;
  return true;
}

static bool had_its_turn(const struct node *n, const struct account *a) {
  return a->turn == n->trust.accounts.turn && a->spent >= TURN_MOST;
}

bool account_may_go_on(struct node *n, struct account *a) { return level(n, a) >= 1 && !had_its_turn(n, a); }

static void say_paced(struct session *s) {
  struct account *a = s->account;
  a->paced++;
  s->node->trust.accounts.paced++;
  if (a->say_at > s->node->now) return;
  a->say_at = time_add(s->node->now, SAY_AGAIN);
  say(s, "paced", quota_name(QUOTA_MESSAGES), a->rate);
}

bool account_holds_back(struct session *s, const struct frame *f) {
  struct node *n = s->node;
  struct account *a = s->account;
  if (s->state != SESSION_IN || s->peer || !is_paced(s)) return false;
  double cost = cost_of(f);
  if (!cost) return false;
  if (a->turn != n->trust.accounts.turn) a->spent = 0;
  a->turn = n->trust.accounts.turn;
  if (level(n, a) < 1) return say_paced(s), true;
  if (had_its_turn(n, a)) return true;
  a->messages.tokens -= cost;
  a->spent += cost;
  return false;
}

/* Clients that have shown no key share an account, and may be as many devices behind one address: a slow one is not to use up
 * what the others may make their publishers wait. */
struct own_flow *account_own(struct session *s) {
  if (!s->own) s->own = mem_calloc(&s->node->rows.mem[ROW_SESSIONS], 1, sizeof *s->own);
  return s->own;
}
static struct budget *waits_of(struct session *s) {
  if (!s->account || door_id(&s->door)) return s->account ? &s->account->waits : NULL;
  return account_own(s) ? &s->own->waits : NULL;
}
static struct budget *slow_of(struct session *s) {
  if (!s->account || door_id(&s->door)) return s->account ? &s->account->slow : NULL;
  return account_own(s) ? &s->own->slow : NULL;
}

double account_may_wait(struct session *from, struct session *reader, enum budget_kind kind, bool kept) {
  nanotime now = reader->node->now;
  struct budget *waits = from ? waits_of(from) : NULL, *slow = slow_of(reader);
  if (!from) return slow ? budget_left(slow, kind, kept, now) : 0;
  double own = waits ? budget_left(waits, kind, kept, now) : 0;
  double its = slow ? budget_left(slow, kind, kept, now) : own;
  return its < own ? its : own;
}

void account_waited(struct session *from, struct session *reader, enum budget_kind kind, nanotime since) {
  nanotime now = reader->node->now;
  struct budget *waits = from ? waits_of(from) : NULL, *slow = slow_of(reader);
  if (waits) budget_charge(waits, kind, since, now);
  if (slow) budget_charge(slow, kind, since, now);
}

void account_unpaid(struct session *s, const struct frame *f) {
  if (s->state == SESSION_IN && s->account && is_paced(s)) account_charge(s, -cost_of(f));
}

void account_charge(struct session *s, double tokens) {
  struct account *a = s->account;
  if (!a || !is_paced(s)) return;
  (void)level(s->node, a);
  a->messages.tokens -= tokens;
  a->spent += tokens;
}

bool account_owes(struct session *s, double tokens) {
  account_charge(s, tokens);
  if (!s->account || !is_paced(s) || account_may_go_on(s->node, s->account)) return false;
  if (level(s->node, s->account) < 1) say_paced(s);
  return true;
}

/* When the account can go on: in the next turn, or when its bucket has filled. */
static nanotime ready_at(struct node *n, struct account *a) {
  double missing = 1 - level(n, a);
  if (missing <= 0) return n->now + 1;
  nanotime fills = a->rate ? (nanotime)(missing / (double)a->rate * (double)NS_SEC) + 1 : NS_SEC;
  return time_add(n->now, fills > WAIT ? fills : WAIT);
}

int account_wait(struct session *s) {
  struct node *n = s->node;
  struct account *a = s->account;
  if (!list_empty(&s->waits)) return 0;
  if (!a->due.pos && heap_set(&n->trust.accounts.due, &a->due, ready_at(n, a))) return MACULA_ENOMEM;
  list_append(&a->waiting, &s->waits);
  return 0;
}

struct account *account_due(struct node *n) {
  struct heap_link *l = heap_pop_due(&n->trust.accounts.due, n->now);
  return l ? container_of(l, struct account, due) : NULL;
}

/* There is room in the heap, as the account has just been taken out of it. */
void account_waits(struct node *n, struct account *a) {
  if (list_empty(&a->waiting) || a->due.pos) return;
  (void)heap_set(&n->trust.accounts.due, &a->due, ready_at(n, a));
}

nanotime account_deadline(const struct node *n) {
  const struct accounts *t = &n->trust.accounts;
  nanotime at = heap_deadline(&t->due);
  if (list_empty(&t->idle)) return at;
  return time_min(at, time_add(container_of(t->idle.next, const struct account, idle)->idle_at, ACCOUNT_KEPT));
}

void account_tick(struct node *n) {
  n->trust.accounts.turn++;
  if (n->now >= ACCOUNT_KEPT) (void)free_idle(n, n->now - ACCOUNT_KEPT, SWEPT, SWEPT);
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
struct sum {
  uint64_t used[QUOTAS], bytes;
};

static const char *sums_check(const struct node *n, const struct sum *is) {
  const struct accounts *t = &n->trust.accounts;
  struct sum all = {0};
  for (const struct hlink *h = htab_next(&t->tab, NULL); h; h = htab_next(&t->tab, h)) {
    const struct account *a = container_of(h, const struct account, h);
    CHECK(htab_has(&t->tab, h, a->key, sizeof a->key), "account: one is not found by its key");
    CHECK(list_empty(&a->idle) == (a->used[QUOTA_CONNECTIONS] > 0),
          "account: one with sessions is idle, or one without is not");
    CHECK(list_empty(&a->waiting) || heap_has(&t->due, &a->due), "account: sessions wait for nothing");
    CHECK(a->messages.tokens <= (double)UINT32_MAX, "account: more tokens than a bucket holds");
    for (int q = 0; q < QUOTAS; q++) all.used[q] += a->used[q];
    all.used[QUOTA_RETAINED] += a->retained.count;
    all.bytes += a->retained.bytes;
  }
  CHECK(memcmp(&all, is, sizeof all) == 0, "account: the counts are not what sessions and retained messages are");
  return NULL;
}

const char *account_check(const struct node *n) {
  struct sum is = {0};
  CHECK_PART(htab_check(&n->trust.accounts.tab));
  CHECK_PART(heap_check(&n->trust.accounts.due));
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, struct session, all);
    CHECK(s->account || list_empty(&s->waits), "account: a session without one waits for it");
    if (!s->account) continue;
    is.used[QUOTA_CONNECTIONS]++;
    is.used[QUOTA_SUBSCRIPTIONS] += s->topics.count;
    if (!s->native) continue;
    is.used[QUOTA_SERVICES] += s->native->rpc.owner.count;
    is.used[QUOTA_CALLS] += s->native->rpc.calls.made_count;
  }
  list_for(it, &n->messages.retained.all) {
    const struct retained_entry *e = container_of(it, struct retained_entry, all);
    if (!e->owner) continue;
    is.used[QUOTA_RETAINED]++;
    is.bytes += retained_size(e);
  }
  return sums_check(n, &is);
}

size_t accounts_owned(const struct node *n) {
  const struct accounts *t = &n->trust.accounts;
  size_t sum = htab_owned(&t->tab) + heap_owned(&t->due);
  for (const struct hlink *h = htab_next(&t->tab, NULL); h; h = htab_next(&t->tab, h))
    sum += mem_cost(container_of(h, const struct account, h));
  return sum;
}
