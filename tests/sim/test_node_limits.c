/* A limit that SIGHUP changes reaches whatever keeps it, for every row of NODE_LIMITS; one that it does not change stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "node/memory/plan.h"
#include "node/memory/rows.h"
#include "node/peers/peer.h"
#include "node/state.h"
#include "node_rig.h"
#include "quic/internal.h"
#include "rpc/internal.h"

#define SMALL 10000 /* such values stand in counters, too */

enum limit {
#define LIMIT_ID(id, ...) LIMIT_##id,
  NODE_LIMITS(LIMIT_ID)
#undef LIMIT_ID
      LIMITS
};
struct limit_row {
  const char *key;
  size_t offset, size;
  bool reloaded;
};
static const struct limit_row rows[LIMITS] = {
#define LIMIT_ROW(id, key, field, kind, value, least, most, scaled, reload, ...)                                               \
  {#key, offsetof(struct node_limits, field), sizeof(((struct node_limits *)0)->field), reload == LIMIT_RELOADED},
    NODE_LIMITS(LIMIT_ROW)
#undef LIMIT_ROW
};

static uint64_t get(const struct node_limits *l, const struct limit_row *r) {
  const char *at = (const char *)l + r->offset;
  return r->size == sizeof(uint32_t) ? *(const uint32_t *)at : *(const uint64_t *)at;
}

static void set(struct node_limits *l, const struct limit_row *r, uint64_t v) {
  char *at = (char *)l + r->offset;
  if (r->size == sizeof(uint32_t))
    *(uint32_t *)at = (uint32_t)v;
  else
    *(uint64_t *)at = v;
}

/* What a client may subscribe to, found out by doing it. */
static uint32_t subscriptions_of_one(struct node *n) {
  struct topic_subscriber s;
  uint32_t count = 0;
  bool is_new;
  char name[16];
  topic_subscriber_init(&s, 1, NULL);
  do {
    snprintf(name, sizeof name, "t%u", count);
  } while (!topic_index_subscribe(n->messages.topics, &s, slice_str(name), 0, &is_new) && ++count);
  topic_index_drop(n->messages.topics, &s);
  return count;
}

static uint64_t subscriptions(const struct node *n) {
  struct topic_index_stats t;
  struct interest_stats i;
  topic_index_stats(n->messages.topics, &t);
  interest_stats(n->spread.interest, &i);
  return t.max == i.max_own && t.max == i.max_patterns ? t.max : 0;
}

/* What the row's account may hold comes from the limit. */
static uint64_t by_account(const struct node *n, enum row row, uint64_t limit) {
  return n->rows.account[row]->limit == plan_row_of(&n->limits, row).bytes ? limit : 0;
}

/* As the table has it; what nothing copies is read from the node's limits wherever it counts. */
static uint64_t in_force(struct node *n, const struct peer *p, enum limit id) {
  const struct router *r = n->rpc.router;
  switch (id) {
  case LIMIT_MAX_CLIENTS:
    return n->sessions.clients.max;
  case LIMIT_MAX_OPERATORS:
    return n->sessions.clients.max_ops;
  case LIMIT_MAX_SERVICES:
    return r->services.max;
  case LIMIT_MAX_SUBSCRIPTIONS:
    return subscriptions(n);
  case LIMIT_MAX_CALLS:
    return r->calls.max;
  case LIMIT_MAX_DISCOVERED:
    return r->discovery.tab.max;
  case LIMIT_MAX_HALF_OPEN:
    return n->quic->cfg.max_half_open;
  case LIMIT_MAX_PEERS:
    return n->peers.pool.max;
  case LIMIT_INTEREST_BYTES:
    return by_account(n, ROW_INTEREST, n->limits.interest_bytes);
  case LIMIT_MAX_INFLIGHT:
    return n->spread.inflight.tab.max == n->spread.inflight.max_parts ? n->spread.inflight.max_parts : 0;
  case LIMIT_MAX_GETS:
    return n->spread.gets.tab.max;
  case LIMIT_CLIENT_STREAMS:
    return n->quic->cfg.max_streams;
  case LIMIT_CLIENT_SUBSCRIPTIONS:
    return subscriptions_of_one(n);
  case LIMIT_CLIENT_SERVICES:
    return r->services.per_owner;
  case LIMIT_CLIENT_CALLS:
    return r->calls.per_caller;
  case LIMIT_CLIENT_LOOKUPS:
    return r->party_lookups;
  case LIMIT_PEER_CALLS:
    return p->rpc.calls.max;
  case LIMIT_SEND_POOL:
    return by_account(n, ROW_SEND, n->limits.send_pool);
  case LIMIT_MQTT_POOL:
    return by_account(n, ROW_MQTT, n->limits.mqtt_pool);
  case LIMIT_MQTT_OFFLINE:
    return n->limits.mqtt_offline;
  case LIMIT_HTTP_POOL:
    return by_account(n, ROW_HTTP, n->limits.http_pool);
  case LIMIT_RECEIVE_POOL:
    return by_account(n, ROW_RECEIVE, n->limits.receive_pool);
  case LIMIT_CONNECTION_POOL:
    return n->quic->cfg.conn_pool;
  case LIMIT_SUBSCRIPTION_BYTES:
    return by_account(n, ROW_TOPICS, n->limits.subscription_bytes);
  case LIMIT_CALL_BYTES:
    return r->calls.max_args_bytes;
  case LIMIT_ACCESS_BYTES:
    return by_account(n, ROW_ACCESS, n->limits.access_bytes);
  case LIMIT_PASS_BYTES:
    return by_account(n, ROW_PASSES, n->limits.pass_bytes);
  case LIMIT_ADMIN_BYTES:
    return by_account(n, ROW_ADMIN, n->limits.admin_bytes);
  case LIMIT_RETAINED_COUNT:
    return n->messages.retained.tab.max;
  case LIMIT_RETAINED_BYTES:
    return n->messages.retained.max_bytes;
  case LIMIT_DEDUP_IDS:
    return n->messages.dedup.lru.tab.max;
  case LIMIT_DEDUP_TIME:
    return n->messages.dedup.window;
  case LIMIT_ORIGIN_BYTES:
    return by_account(n, ROW_ORIGINS, n->limits.origin_bytes);
  case LIMIT_HELD_POOL:
    return by_account(n, ROW_HELD, n->limits.held_pool);
  case LIMIT_MAX_MEMBERS: /* fixed */
  case LIMIT_MAX_RECORDS:
  case LIMIT_RECORD_BYTES:
  case LIMIT_MAX_LOOKUPS:
  case LIMIT_RETAINED_DISK:
  case LIMIT_HTTP_CONNECTIONS:
  case LIMIT_HTTP_SHARE:  /* told to HTTP, which is none of the node's */
  case LIMIT_MAX_REPLAYS: /* read in place */
  case LIMIT_RETAINED_TTL:
  case LIMIT_PEER_QUEUE:
  case LIMIT_MAX_INTERESTED:
  case LIMIT_MAX_FRAME:
  case LIMIT_CLIENT_QUEUE:
  case LIMIT_SERVICE_TTL:
  case LIMIT_CONNECT_TIMEOUT:
  case LIMIT_DRAIN_TIMEOUT:
    return get(&n->limits, &rows[id]);
  case LIMITS:
    break;
  }
  return 0;
}

/* How often a value stands in what the node and its tables keep, in words as wide as the limit is. */
static size_t copies(const void *of, size_t len, uint64_t v, size_t width) {
  size_t found = 0;
  for (size_t at = 0; at + width <= len; at += width) {
    const char *p = (const char *)of + at;
    found += width == sizeof(uint32_t) ? *(const uint32_t *)p == v : *(const uint64_t *)p == v;
  }
  return found;
}

static size_t all_copies(const struct node *n, uint64_t v, size_t width) {
  return copies(n, sizeof *n, v, width) + copies(n->rpc.router, sizeof *n->rpc.router, v, width) +
         copies(&n->quic->cfg, sizeof n->quic->cfg, v, width);
}

static void test_reload_reaches_tables(void **state) {
  struct rig r;
  struct rig_options o = {0};
  struct node_limits was, l;
  struct node_reload change = {.limits = &l};
  struct id other = {{1, 2, 3}};
  (void)state;
  /* An odd number for each, so that no other holds the same; client_lookups is held below a sixteenth of max_lookups. */
  node_limits_default(&was);
  for (int i = 0; i < LIMITS; i++) set(&was, &rows[i], get(&was, &rows[i]) / 3 * 2 + (uint64_t)i * 2 + 1);
  was.client_lookups = 41;
  o.node.limits = was;
  rig_start(&r, &o);
  struct node *n = r.node;
  struct peer *p = peer_get(n, &other);
  assert_non_null(p);
  for (int i = 0; i < LIMITS; i++) {
    uint64_t old = get(&was, &rows[i]), wanted = old - 1;
    if (in_force(n, p, (enum limit)i) != old) fail_msg("%s is not in force from the start", rows[i].key);
    l = was;
    set(&l, &rows[i], wanted);
    assert_int_equal(node_reload(n, &change), 0);
    for (int k = 0; k < LIMITS; k++) {
      uint64_t now = k == i && rows[k].reloaded ? wanted : get(&was, &rows[k]);
      if (in_force(n, p, (enum limit)k) != now) fail_msg("%s: %s is not what it should be", rows[i].key, rows[k].key);
    }
    if (rows[i].reloaded && old > SMALL && all_copies(n, old, rows[i].size))
      fail_msg("%s: a copy of the old value is left", rows[i].key);
    l = was;
    assert_int_equal(node_reload(n, &change), 0);
  }
  rig_stop(&r);
}

/* Sends so many calls at once; how many of them were answered, and how many refused with rate_limited. */
static unsigned asked(struct rig_client *c, const char *procedure, const char *args, unsigned count, unsigned *ret_refused) {
  unsigned answered = 0;
  *ret_refused = 0;
  for (unsigned i = 0; i < count; i++) rig_call(c, procedure, args, 9000 + i, 0);
  for (unsigned i = 0; i < count; i++) {
    struct msg_reply reply = rig_expect(c, MSG_REPLY).reply;
    if (!reply.is_error)
      answered++;
    else if (slice_is(reply.error.code, "rate_limited"))
      ++*ret_refused;
    else
      fail_msg("%.*s", (int)reply.error.message.n, (const char *)reply.error.message.p);
  }
  return answered;
}

/* Whoever asks for what costs much gets a share, and leaves operators theirs. */
static void test_what_questions_cost(void **state) {
  static char much[70000];
  struct rig r;
  unsigned refused;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT),
                    *op = rig_join(&r, RIG_LOOPBACK, NULL, RIG_EXT);
  rig_run(&r, 5 * NS_SEC);
  assert_in_range(asked(a, "com.macula.node.status", "{}", 1000, &refused), 1, 20);
  assert_true(refused > 900);
  rig_run(&r, NS_SEC);
  assert_in_range(asked(b, "com.macula.node.memory", "{}", 1000, &refused), 1, 20);
  assert_int_equal(asked(op, "com.macula.node.status", "{}", 4, &refused), 4);
  rig_run(&r, 5 * NS_SEC);
  assert_in_range(asked(op, "com.macula.node.clients", "{}", 1000, &refused), 1, 100);
  assert_true(refused > 900);
  rig_run(&r, 5 * NS_SEC);
  assert_int_equal(asked(a, "com.macula.node.status", "{}", 3, &refused), 3);
  assert_true(rig_metric(&r, "questions_refused_total") > 2700);
  memset(much, 'x', sizeof much - 1);
  assert_true(slice_is(rig_ask(a, "com.macula.diagnostics.echo", much).error.code, "invalid_argument"));
  much[ECHO_MAX] = 0;
  rig_run(&r, 5 * NS_SEC);
  assert_in_range(asked(a, "com.macula.diagnostics.echo", much, 40, &refused), 1, 2);
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_reload_reaches_tables), cmocka_unit_test(test_what_questions_cost)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
