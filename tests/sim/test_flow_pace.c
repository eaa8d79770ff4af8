/* PACE: as many as there is room for, and through gateways. */
#include "flow_rig.h"
#include "mesh_rig.h"
#include "node/check.h"
#include "node/messages/deliver.h"
#include "node/messages/pace.h"
#include "node/session/session.h"
#include "unit/broken.h"

struct flow_mesh {
  struct mesh mesh;
  struct readers flow;
};

static void begin(struct flow_mesh *f) {
  flow_init(&f->flow, f->mesh.rig[0].net);
  for (unsigned i = 0; i < f->mesh.count; i++) f->mesh.rig[i].rarely = 63;
}

static struct rig_client *client(struct flow_mesh *f, unsigned node) { return rig_join(&f->mesh.rig[node], 0, NULL, STREAMS); }

static struct rig_client *reader(struct flow_mesh *f, unsigned node, const char *topic) {
  struct rig_client *c = client(f, node);
  assert_int_equal(rig_subscribe(c, topic), 0);
  return c;
}

static uint64_t metric(struct flow_mesh *f, unsigned node, const char *name) { return rig_metric(&f->mesh.rig[node], name); }
static uint64_t sum(struct flow_mesh *f, const char *name) {
  uint64_t all = 0;
  for (unsigned i = 0; i < f->mesh.count; i++) all += metric(f, i, name);
  return all;
}

static void no_loss(struct flow_mesh *f) {
  assert_int_equal(sum(f, "messages_dropped_total"), 0);
  assert_int_equal(sum(f, "mesh_messages_dropped_total"), 0);
  assert_int_equal(sum(f, "routes_failed_total"), 0);
}

/* ---- the table -------------------------------------------------------------------------------------------------------------
 */
#define OF_A_KIND (PACE_MOST / 4 * 3)

static bool is_pacing(void *ctx) { return metric(ctx, 1, "publishers_pacing") > 0; }

/* So many connections of another node publish to the reader. */
static void many_publish(struct flow_mesh *f, unsigned node, uint64_t count) {
  struct topic_subscriber *hit;
  for (uint64_t i = 1; i <= count; i++) {
    struct msg_publish m = {.topic = slice_str("t"), .payload = slice_str("x"), .connection = UINT64_C(1) << 40 | i};
    assert_int_equal(deliver_match(f->mesh.rig[1].node, NULL, m.topic, &hit), 0);
    pace_publish(mesh_peer(&f->mesh, 1, node), &m, hit);
  }
}

static uint32_t places(struct flow_mesh *f, unsigned node, int kind) {
  return mesh_peer(&f->mesh, 1, node)->spread.paces[kind];
}

static uint32_t entries(const struct node *n) { return n->flow.paced.count + n->flow.pacing.tab.count; }

/* So many connections of another node publish to one reader; others, of this node, are told to wait. A node that comes last has
 * its share all the same. */
static void test_full(void **state) {
  struct flow_mesh f;
  (void)state;
  mesh_start_joined(&f.mesh, 5, &(struct rig_options){.node = {.limits = {.send_pool = 16 << 20}}});
  begin(&f);
  struct node *n = f.mesh.rig[1].node;
  struct rig_client *p = client(&f, 0), *a = reader(&f, 1, "t");
  mesh_settle(&f.mesh);
  for (unsigned i = 0; i < PACE_MOST / 4 / 4 + 1; i++) (void)client(&f, 1);
  (void)slow_down(&f.flow, a, 1 << 20);
  flood(&f.flow, p, "t", 5000);
  (void)run(&f.flow, 10 * NS_SEC, is_pacing, &f);
  assert_true(is_pacing(&f));
  many_publish(&f, 0, OF_A_KIND + 10);
  assert_int_equal(n->flow.pacing.tab.count, OF_A_KIND);
  assert_in_range(n->flow.pacing.refused, 10, 11);
  HOLDS(node_check(n));
  many_publish(&f, 2, OF_A_KIND);
  assert_int_equal(n->flow.pacing.tab.count, OF_A_KIND);
  assert_int_equal(places(&f, 0, 1), OF_A_KIND / 2);
  assert_int_equal(places(&f, 2, 1), OF_A_KIND / 2);
  assert_int_equal(metric(&f, 1, "paces_displaced_total"), OF_A_KIND / 2);
  uint64_t ignored = n->flow.paced.ignored;
  for (unsigned i = 0; i < f.mesh.count; i++) {
    struct peer *peer = i == 1 ? NULL : mesh_peer(&f.mesh, 1, i);
    list_for(it, &n->sessions.all) {
      const struct session *s = container_of(it, struct session, all);
      if (peer && s->client.session && !s->peer)
        pace_heard(peer, &(struct msg_pace){.connection = s->serial, .ms = PACE_LONGEST});
    }
  }
  assert_int_equal(entries(n), PACE_MOST);
  assert_true(n->flow.paced.ignored > ignored);
  for (unsigned i = 0; i < f.mesh.count; i++)
    if (i != 1) assert_in_range(places(&f, i, 0), PACE_MOST / 4 / 4, PACE_MOST / 4 / 4 + 2);
  assert_true(n->rows.mem[ROW_PACE].bytes <= (size_t)PACE_MOST * PLAN_PACE + PLAN_TABLE);
  assert_int_equal(metric(&f, 1, "table_entries{table=\"pace\"}"), PACE_MOST);
  HOLDS(node_check(n));
  (void)run(&f.flow, 30 * NS_SEC, NULL, NULL); /* they lapse, as its queue becomes short */
  assert_int_equal(entries(n), 0);
  mesh_stop(&f.mesh);
}

/* ---- through a gateway -----------------------------------------------------------------------------------------------------
 */
static bool is_behind(void *ctx) {
  struct mesh *m = ctx;
  struct peer *p = mesh_peer(m, 1, 2), *q = mesh_peer(m, 0, 1);
  return p && p->link && q && q->link;
}

struct known {
  struct mesh *mesh;
  unsigned at, of;
};
static bool is_known(void *ctx) {
  const struct known *k = ctx;
  struct peer *p = mesh_peer(k->mesh, k->at, k->of);
  return p && peer_is_up(p) && p->spread.interest.topics.count == 1;
}

/* Nobody can dial 2, which is heard through 1. */
static void start_hidden(struct flow_mesh *f, uint64_t delay, size_t send_pool) {
  struct sim_link link = {.delay = delay};
  struct rig_options o = {.link = &link, .node = {.limits = {.send_pool = send_pool}}};
  mesh_start(&f->mesh, 3, &o);
  mesh_cut(&f->mesh, 0, 2, true);
  f->mesh.rig[2].node->mesh.hidden = true;
  f->mesh.rig[2].node->mesh.self = (struct addr){0};
  mesh_join(&f->mesh, 2, 1);
  mesh_join(&f->mesh, 0, 1);
  rig_until(&f->mesh.rig[0], 5 * NS_SEC, is_behind, &f->mesh, "the hidden node's link");
  begin(f);
}

static struct rig_client *far_reader(struct flow_mesh *f, unsigned at, unsigned of) {
  struct rig_client *c = reader(f, at, "t");
  struct known k = {&f->mesh, of, at};
  rig_until(&f->mesh.rig[0], 60 * NS_SEC, is_known, &k, "its subscription is known");
  return c;
}

#define COUNT 15000
/* A reader that is slower than its publisher, which waits for it; one that is not gets all as well. */
static void through(unsigned from, unsigned to, uint64_t delay, double rate) {
  struct flow_mesh f;
  start_hidden(&f, delay, 0);
  struct rig_client *p = client(&f, from), *a = far_reader(&f, to, from);
  if (rate > 0) (void)slow_down(&f.flow, a, rate);
  flood(&f.flow, p, "t", COUNT);
  nanotime took = until(&f.flow, a, MSG_PUBLISH, COUNT, 200 * NS_SEC);
  printf("from %u to %u, delay %.1f ms, %.1f MB/s: %.2f s, said %llu, held %llu\n", from, to, (double)delay / 1e6, rate / 1e6,
         (double)took / 1e9, (unsigned long long)sum(&f, "paces_said_total"),
         (unsigned long long)sum(&f, "publishers_held_total"));
  no_loss(&f);
  if (rate > 0) {
    assert_true(metric(&f, to, "paces_said_total") > 0);
    assert_true(metric(&f, from, "publishers_held_total") > 0);
  }
  (void)run(&f.flow, 3 * NS_SEC, NULL, NULL);
  assert_int_equal(sum(&f, "publishers_waiting"), 0);
  assert_int_equal(sum(&f, "publishers_paced") + sum(&f, "publishers_pacing"), 0);
  mesh_stop(&f.mesh);
}

static void test_through_a_gateway(void **state) {
  (void)state;
  through(0, 2, 100 * NS_US, 0);
  through(0, 2, 100 * NS_US, 1 << 20);
  through(2, 0, 100 * NS_US, 1 << 20);
  through(0, 2, 20 * NS_MS, 1 << 20);
}

static bool somebody_waits(void *ctx) { return metric(ctx, 0, "publishers_waiting") > 0; }

/* The gateway's link ends while a publisher waits: it goes on, and nothing is left. */
static void test_gateway_ends(void **state) {
  struct flow_mesh f;
  (void)state;
  start_hidden(&f, NS_MS, 32 << 20);
  struct rig_client *p = client(&f, 0), *a = far_reader(&f, 2, 0), *here = reader(&f, 0, "end");
  (void)slow_down(&f.flow, a, 200 << 10);
  flood(&f.flow, p, "t", 5000);
  publish(p, "end", "end", 0, 0);
  (void)run(&f.flow, 20 * NS_SEC, somebody_waits, &f);
  assert_true(somebody_waits(&f));
  mesh_cut(&f.mesh, 0, 1, true);
  (void)until(&f.flow, here, MSG_PUBLISH, 1, 60 * NS_SEC);
  (void)run(&f.flow, 40 * NS_SEC, NULL, NULL);
  assert_int_equal(sum(&f, "publishers_waiting"), 0);
  assert_int_equal(sum(&f, "publishers_paced") + sum(&f, "publishers_pacing"), 0);
  mesh_stop(&f.mesh);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_full), cmocka_unit_test(test_through_a_gateway),
                                     cmocka_unit_test(test_gateway_ends)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
