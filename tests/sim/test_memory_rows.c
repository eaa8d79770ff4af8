/* What an entry of each row costs, measured on a node with real connections and entries at their largest: the plan's bytes an
 * entry (node/plan.h) must not be less. Prints the figures that docs/memory.md quotes: build/tests/t_sim_memory_rows */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/calls/providers.h"
#include "node/peers/link.h"
#include "node/peers/peer.h"
#include "node/state.h"
#include "node_rig.h"
#include "wire/names.h"

#define CLIENTS 32
#define MANY 2000 /* twice fits what the rig keeps of a client */

struct figures {
  json_int_t entries, bytes, peak;
};

static struct figures look(struct rig *r, const char *name) {
  struct figures row = {-1, -1, -1};
  char *text;
  size_t i;
  json_t *each;
  assert_int_equal(node_render(r->node, "memory", 0, 0, sim_net_now(r->net), &text), 0);
  json_t *j = json_loads(text, 0, NULL);
  json_array_foreach(json_object_get(j, "rows"), i, each) {
    const char *is;
    assert_int_equal(json_unpack(each, "{s:s}", "name", &is), 0);
    if (!strcmp(is, name))
      assert_int_equal(
          json_unpack(each, "{s:I, s:I, s:I}", "entries", &row.entries, "bytes", &row.bytes, "peak_bytes", &row.peak), 0);
  }
  json_decref(j);
  node_text_free(text);
  assert_true(row.bytes >= 0);
  return row;
}

static void report(const char *what, json_int_t bytes, json_int_t most) {
  printf("measured %-58s %7lld bytes", what, (long long)bytes);
  if (most) printf(" of %lld planned", (long long)most);
  putchar('\n');
  if (most) assert_in_range(bytes, 1, most);
}

/* "prefix.NNNNNN.xxx...": a name of 255 bytes in few segments. */
static const char *long_name(char buf[NAME_MAX_LEN + 1], const char *prefix, int i) {
  int n = sprintf(buf, "%s.%06d.", prefix, i);
  memset(buf + n, 'x', NAME_MAX_LEN - (size_t)n);
  buf[NAME_MAX_LEN] = 0;
  return buf;
}

/* 32 segments, none shared with another's: the most nodes of the trie that a pattern can cost. */
static const char *deep_name(char buf[NAME_MAX_LEN + 1], int i) {
  int n = sprintf(buf, "%06d", i);
  for (int k = 1; k < 32; k++) n += sprintf(buf + n, ".%06d", k);
  return buf;
}

static struct figures grown(struct rig *r, const char *name, struct figures before) {
  struct figures now = look(r, name);
  return (struct figures){now.entries - before.entries, now.bytes - before.bytes, now.peak};
}

static void test_connections(void **state) {
  struct rig r;
  struct rig_client *c[CLIENTS];
  char payload[512];
  (void)state;
  rig_start(&r, NULL);
  struct figures none = look(&r, "connections");
  c[0] = rig_join(&r, 0, NULL, RIG_EXT);
  /* with the datagram of it that waits for its turn, which all have QUIC_LATER_BYTES for */
  report("connection in its handshake, at its peak", look(&r, "connections").peak - none.bytes,
         QUIC_CONN_MEMORY + QUIC_CONN_OWN + 2048);
  for (int i = 1; i < CLIENTS; i++) c[i] = rig_join(&r, 0, NULL, RIG_EXT);
  rig_run(&r, NS_SEC);
  struct figures idle = grown(&r, "connections", none);
  assert_int_equal(idle.entries, CLIENTS);
  report("idle client: connection", idle.bytes / CLIENTS, QUIC_CONN_MEMORY + QUIC_CONN_OWN);
  struct figures sessions = look(&r, "sessions");
  report("client: session", sessions.bytes / sessions.entries, 0);
  memset(payload, 'x', sizeof payload);
  for (int i = 0; i < CLIENTS; i++) assert_int_equal(rig_subscribe(c[i], "t"), 0);
  for (int k = 0; k < 20; k++) {
    rig_publish_only(c[k], "t", slice_of(payload, sizeof payload), 0);
    rig_run(&r, 10 * NS_MS);
  }
  rig_run(&r, NS_SEC);
  report("client that had a message now and then: connection", grown(&r, "connections", none).bytes / CLIENTS,
         QUIC_CONN_MEMORY + QUIC_CONN_OWN);
  for (int k = 0; k < 3000; k++) {
    rig_publish_only(c[k % CLIENTS], "t", slice_of(payload, k % 2 ? 16 : sizeof payload), 0);
    if (k % 20 == 19) rig_run(&r, NS_MS);
  }
  rig_run(&r, NS_SEC);
  report("client that had bursts of hundreds of messages: connection", grown(&r, "connections", none).bytes / CLIENTS, 0);
  rig_stop(&r);
}

static void test_entries(void **state) {
  struct rig r;
  struct rig_options o = {
      .node = {.limits = {.client_services = MANY, .client_calls = MANY, .client_subscriptions = 4 * MANY}}};
  char name[NAME_MAX_LEN + 1];
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT),
                    *d = rig_join(&r, 0, NULL, RIG_EXT), *e = rig_join(&r, 0, NULL, RIG_EXT);

  struct figures before = look(&r, "services");
  for (int i = 0; i < MANY; i++) assert_int_equal(rig_register(b, long_name(name, "s", i)), 0);
  struct figures now = grown(&r, "services", before);
  assert_int_equal(now.entries, MANY);
  report("service, name of 255 bytes", now.bytes / MANY, PLAN_SERVICE);

  before = look(&r, "calls");
  for (int i = 0; i < MANY; i++) rig_call(a, long_name(name, "s", i), "1", (uint64_t)i + 1, 60000);
  rig_run(&r, 100 * NS_MS);
  now = grown(&r, "calls", before);
  assert_int_equal(now.entries, MANY);
  report("pending call, procedure of 255 bytes", now.bytes / MANY, PLAN_CALL);

  before = look(&r, "subscriptions");
  for (int i = 0; i < MANY; i++) {
    sprintf(name, "site.%d.device.%d.state", i % 7, i);
    assert_int_equal(rig_subscribe(d, name), 0);
  }
  now = grown(&r, "subscriptions", before);
  report("subscription, 'site.3.device.1234.state'", now.bytes / MANY, 0);
  before = look(&r, "subscriptions");
  for (int i = 0; i < MANY; i++) assert_int_equal(rig_subscribe(d, deep_name(name, i)), 0);
  now = grown(&r, "subscriptions", before);
  report("subscription, 32 segments of its own", now.bytes / MANY, 0);

  before = look(&r, "retained");
  struct figures ids = look(&r, "dedup");
  for (int i = 0; i < MANY; i++) assert_int_equal(rig_publish(e, long_name(name, "r", i), "1", 1, true, (uint64_t)i + 1), 0);
  now = grown(&r, "retained", before);
  report("retained message, beside topic and payload", now.bytes / MANY - NAME_MAX_LEN - 1, PLAN_RETAINED);
  before = look(&r, "retained");
  for (int i = 0; i < MANY; i++) {
    static const uint8_t id[CALL_ID_LEN];
    struct slice header[] = {slice_str("n"), slice_str("v")};
    struct msg m = {.type = MSG_PUBLISH,
                    .publish = {.topic = slice_str(long_name(name, "h", i)),
                                .payload = slice_str("1"),
                                .retain = true,
                                .message_id = slice_of(id, sizeof id),
                                .headers = {.count = 2, .items = header},
                                .expires_ms = 3600000,
                                .has_ref = true}};
    rig_send(e, &m);
    assert_null(rig_expect(e, MSG_ACK).ack.code.p);
  }
  now = grown(&r, "retained", before);
  report("the same with headers that are short, and a time to live", now.bytes / MANY - NAME_MAX_LEN - 1 - 6, PLAN_RETAINED);
  struct figures accounts = look(&r, "accounts");
  report("what an identity uses", accounts.bytes / accounts.entries, PLAN_ACCOUNT);
  now = grown(&r, "dedup", ids);
  assert_int_equal(now.entries, MANY);
  report("id of a QoS 1 message", now.bytes / MANY, PLAN_DEDUP);
  rig_stop(&r);
}

/* Lowered limits throw nobody out, raised ones let more in, and accounts follow. What is only remembered goes at once. */
static void test_reload(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.max_clients = 2, .max_half_open = 4, .max_calls = 100}}};
  struct node_limits l = o.node.limits;
  struct node_reload change = {.limits = &l};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
  l.max_clients = 40;
  assert_int_equal(node_reload(r.node, &change), 0);
  for (int i = 2; i < 40; i++) (void)rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(look(&r, "clients").entries, 40);
  for (int i = 0; i < 1500; i++) assert_int_equal(rig_publish(a, "t", "x", 1, false, (uint64_t)i + 1), 0);
  struct discovery *d = (struct discovery *)router_discovery(r.node->rpc.router);
  struct discovery_entry *e;
  for (int i = 0; i < 50; i++) {
    char name[8];
    sprintf(name, "g%d", i);
    assert_int_equal(rig_subscribe(a, name), 0);
    assert_int_equal(discovery_look(d, slice_str(name), sim_net_now(r.net), &e), 0);
    assert_int_equal(discovery_found(d, e, NULL, 0, sim_net_now(r.net)), 0);
  }
  assert_int_equal(look(&r, "gets").entries, 50);
  assert_int_equal(look(&r, "discovery").entries, 50);
  l.max_gets = 5;
  l.max_discovered = 7;
  l.dedup_ids = 10;
  l.max_clients = 1;
  assert_int_equal(node_reload(r.node, &change), 0);
  assert_int_equal(look(&r, "gets").entries, 5);
  assert_int_equal(look(&r, "discovery").entries, 7);
  assert_int_equal(look(&r, "dedup").entries, 10);
  assert_int_equal(rig_publish(b, "t", "x", 1, false, 1), 0);
  assert_int_equal(look(&r, "dedup").entries, 10);
  assert_int_equal(look(&r, "clients").entries, 40);
  rig_run(&r, 5 * NS_SEC);
  for (int i = 0; i < 200; i++) assert_int_equal(rig_publish(b, "t", "x", 1, false, (uint64_t)i + 10), 0);
  assert_int_equal(look(&r, "clients").entries, 40);
  rig_stop(&r);
}

/* Limits that more than one table keeps: services are announced in the DHT, too, and streams are granted by QUIC. */
static void test_reload_raises(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.max_services = 1, .client_streams = 2}}};
  struct node_limits l = o.node.limits;
  struct node_reload change = {.limits = &l};
  struct dht_stats dht;
  int64_t stream;
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(a, "a"), 0);
  assert_int_equal(rig_register(a, "b"), MACULA_MAX_SERVICES_REACHED);
  l.max_services = l.client_streams = 10;
  assert_int_equal(node_reload(r.node, &change), 0);
  for (char name[2] = "b"; name[0] < 'k'; name[0]++) assert_int_equal(rig_register(a, name), 0);
  dht_stats(r.node->records.dht, &dht);
  assert_int_equal(dht.own, 11);
  struct rig_client *b = rig_join(&r, 0, NULL, RIG_EXT); /* who was there keeps what it was granted */
  for (int i = 1; i < 10; i++) assert_int_equal(quic_stream_open(b->conn, &stream), 0);
  assert_int_equal(quic_stream_open(a->conn, &stream), 0);
  assert_int_not_equal(quic_stream_open(a->conn, &stream), 0);
  rig_stop(&r);
}

/* As full as it can be: the longest names, 32 nodes each, all being looked up again. */
static void test_discovery(void **state) {
  struct rig r;
  char name[NAME_MAX_LEN + 1];
  struct remote_node v[DISCOVERY_NODES] = {0};
  (void)state;
  rig_start(&r, NULL);
  struct discovery *d = (struct discovery *)router_discovery(r.node->rpc.router);
  struct figures before = look(&r, "discovery");
  struct discovery_entry *e;
  uint32_t most = r.node->limits.max_discovered;
  dht_seen(r.node->records.dht, &(struct dht_contact){.id = {{1}}, .addr = r.addr}, sim_net_now(r.net)); /* somebody to ask */
  for (uint32_t i = 0; i < 2 * most; i++) {
    struct slice s = slice_str(long_name(name, "d", (int)i));
    assert_int_equal(discovery_look(d, s, sim_net_now(r.net), &e), 0);
    assert_int_equal(discovery_found(d, e, v, DISCOVERY_NODES, sim_net_now(r.net)), 0);
  }
  struct figures now = grown(&r, "discovery", before);
  assert_int_equal(now.entries, most);
  for (uint32_t i = most; i < 2 * most; i++) {
    struct slice s = slice_str(long_name(name, "d", (int)i));
    assert_int_equal(providers_discover(r.node, s), 0);
    assert_int_equal(discovery_look(d, s, sim_net_now(r.net), &e), 0);
  }
  now = grown(&r, "discovery", before);
  report("procedure found at 32 nodes, being looked up again", now.bytes / now.entries, PLAN_DISCOVERED);
  rig_stop(&r);
}

/* Resident memory near the plan though no row is full, as a heap in pieces has it: what stores gives way first, then what
 * carries; idle heap is given back before, and all is taken again once there is room. */
static uint64_t resident;
static int given_back;
static uint64_t fake_rss(void *ctx) {
  (void)ctx;
  return resident;
}
static void fake_give_back(void *ctx) {
  (void)ctx;
  given_back++;
}
/* Enough for several looks. */
static int publish_much(struct rig_client *c, char letter) {
  static uint8_t payload[60000];
  int err = 0;
  for (int i = 0; i < 60 && !err; i++) {
    char topic[16];
    sprintf(topic, "r.%c%d", letter, i);
    struct msg m = {.type = MSG_PUBLISH,
                    .publish = {.topic = slice_str(topic),
                                .payload = slice_of(payload, sizeof payload),
                                .retain = true,
                                .ref = 1000 + (uint64_t)i,
                                .has_ref = true}};
    rig_send(c, &m);
    struct msg a = rig_expect(c, MSG_ACK);
    err = a.ack.code.n ? err_from_name((const char *)a.ack.code.p, a.ack.code.n) : 0;
  }
  return err;
}
static void test_resident(void **state) {
  struct rig r;
  struct plan plan;
  (void)state;
  resident = 0;
  rig_start(&r, &(struct rig_options){.node = {.process = {.rss_bytes = fake_rss, .give_back = fake_give_back}}});
  node_plan(&r.config.limits, &plan);
  struct rig_client *c = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(publish_much(c, 'a'), 0);
  assert_int_equal(given_back, 0);
  uint64_t first = 0; /* what must never give way */
  for (int i = 0; i < ROW_COUNT; i++) first += r.node->rows.account[i]->rank == 0 ? r.node->rows.account[i]->limit : 0;
  resident = plan.total - first - (32 << 20);
  assert_true(publish_much(c, 'b') != 0);
  assert_int_equal(given_back, 1);
  assert_int_equal(r.node->rows.gauge.closed, 2);
  struct rig_client *d = rig_join(&r, 0, NULL, RIG_EXT); /* who connects is served */
  assert_true(rig_subscribe(c, "r.none") != 0);
  assert_string_equal(rig_ask(d, "com.macula.diagnostics.echo", "1").is_error ? "refused" : "answered", "answered");
  resident = 0;
  for (int i = 0; r.node->rows.gauge.closed && i < 100; i++) (void)publish_much(d, 'c'); /* until it is looked at again */
  assert_int_equal(publish_much(d, 'c'), 0);
  rig_stop(&r);
}

static uint64_t heap;
static uint64_t fake_heap(void *ctx) {
  (void)ctx;
  return heap;
}

/* Pages beside the heap are not taken for a part of it: else they would hide as much that no account knows. */
static void test_unaccounted(void **state) {
  struct rig r;
  (void)state;
  heap = 0;
  rig_start(&r, &(struct rig_options){.node = {.process = {.heap_bytes = fake_heap}}});
  size_t mapped = 0;
  for (int i = 0; i < ROW_COUNT; i++) mapped += r.node->rows.account[i]->mapped;
  heap = rows_accounted(r.node) - mapped + 100;
  assert_int_equal(look(&r, "unaccounted").bytes, 100);
  void *p = mem_map(r.node->rows.account[ROW_RECORDS], 1 << 20);
  assert_int_equal(look(&r, "unaccounted").bytes, 100);
  mem_unmap(r.node->rows.account[ROW_RECORDS], p, 1 << 20);
  assert_int_equal(look(&r, "unaccounted").bytes, 100);
  heap = 0; /* not measured: as it was */
  p = mem_alloc(r.node->rows.account[ROW_RECORDS], 1 << 20);
  assert_int_equal(look(&r, "unaccounted").bytes, 100);
  assert_int_equal(node_used_bytes(r.node), rows_accounted(r.node) + 100);
  mem_free(r.node->rows.account[ROW_RECORDS], p);
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_connections),   cmocka_unit_test(test_entries),
                                     cmocka_unit_test(test_discovery),     cmocka_unit_test(test_reload),
                                     cmocka_unit_test(test_reload_raises), cmocka_unit_test(test_resident),
                                     cmocka_unit_test(test_unaccounted)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
