/* Publishers whose readers are at other nodes: they wait at their own node, for as long as a reader there keeps up, and learn
 * who was cut there. */
#include "flow_rig.h"
#include "mesh_rig.h"
#include "node/session/room.h"
#include "node/session/session.h"

struct flow_mesh {
  struct mesh mesh;
  struct readers flow;
};

static void start(struct flow_mesh *f, unsigned nodes, const struct node_limits *limits, uint64_t delay) {
  struct sim_link link = {.delay = delay};
  struct rig_options o = {.link = &link};
  if (limits) o.node.limits = *limits;
  mesh_start_joined(&f->mesh, nodes, &o);
  flow_init(&f->flow, f->mesh.rig[0].net);
  for (unsigned i = 0; i < nodes; i++) f->mesh.rig[i].rarely = 63;
}

static struct rig_client *client(struct flow_mesh *f, unsigned node) { return rig_join(&f->mesh.rig[node], 0, NULL, STREAMS); }

static struct rig_client *reader(struct flow_mesh *f, unsigned node, const char *topic) {
  struct rig_client *c = client(f, node);
  assert_int_equal(rig_subscribe(c, topic), 0);
  return c;
}

static uint64_t sum(struct flow_mesh *f, const char *metric) {
  uint64_t all = 0;
  for (unsigned i = 0; i < f->mesh.count; i++) all += rig_metric(&f->mesh.rig[i], metric);
  return all;
}

static void no_loss(struct flow_mesh *f) {
  assert_int_equal(sum(f, "messages_dropped_total"), 0);
  assert_int_equal(sum(f, "mesh_messages_dropped_total"), 0);
}

/* ---- who was cut -----------------------------------------------------------------------------------------------------------
 */
/* Stopped readers here and there: the publisher is told of all. */
static void test_cut_everywhere(void **state) {
  struct flow_mesh f;
  struct rig_client *bad[4];
  (void)state;
  start(&f, 3, &(struct node_limits){.client_queue = 64 << 10, .send_pool = 16 << 20}, NS_MS);
  struct rig_client *p = client(&f, 0), *good = reader(&f, 1, "t");
  static const unsigned at[] = {0, 1, 1, 2};
  for (int i = 0; i < 4; i++) (void)slow_down(&f.flow, bad[i] = reader(&f, at[i], "t"), 0);
  mesh_settle(&f.mesh);
  for (uint64_t i = 1; i <= 3000; i++) {
    publish(p, "t", f.flow.text, 1, i);
    if (i % 30 == 0) (void)run(&f.flow, 50 * NS_MS, NULL, NULL);
  }
  (void)until(&f.flow, p, MSG_ACK, 3000, 100 * NS_SEC);
  (void)until(&f.flow, good, MSG_PUBLISH, 3000, NS_SEC);
  for (int i = 0; i < 4; i++) assert_true(bad[i]->closed);
  assert_int_equal(cut_of(p), 4);
  mesh_stop(&f.mesh);
}

/* ---- between ends that keep up
 * -----------------------------------------------------------------------------------------------
 */
#define COUNT 20000
static void flat_out(uint64_t delay, double rate) {
  struct flow_mesh f;
  start(&f, 2, NULL, delay);
  struct rig_client *p = client(&f, 0), *a = reader(&f, 1, "t"), *q = client(&f, 0), *b = reader(&f, 1, "u");
  mesh_settle(&f.mesh);
  if (rate > 0) (void)slow_down(&f.flow, a, rate);
  flood(&f.flow, p, "t", COUNT);
  (void)run(&f.flow, NS_SEC, NULL, NULL);
  flood(&f.flow, q, "u", 4000); /* by the same link */
  nanotime other = until(&f.flow, b, MSG_PUBLISH, 4000, 60 * NS_SEC),
           took = until(&f.flow, a, MSG_PUBLISH, COUNT, 100 * NS_SEC);
  printf("delay %.1f ms, %.1f MB/s: %.2f s, the other %.2f s, said %llu, held %llu, peak %llu\n", (double)delay / 1e6,
         rate / 1e6, (double)took / 1e9, (double)other / 1e9, (unsigned long long)sum(&f, "paces_said_total"),
         (unsigned long long)sum(&f, "publishers_held_total"),
         (unsigned long long)rig_metric(&f.mesh.rig[1], "memory_peak_bytes{table=\"send_queues\"}"));
  no_loss(&f);
  (void)run(&f.flow, 3 * NS_SEC, NULL, NULL);
  assert_int_equal(sum(&f, "publishers_waiting"), 0);
  assert_int_equal(sum(&f, "memory_bytes{table=\"flow\"}"), 0);
  mesh_stop(&f.mesh);
}

static void test_flat_out(void **state) {
  (void)state;
  flat_out(100 * NS_US, 0);
  flat_out(20 * NS_MS, 0);
}

static void test_alone(void **state) {
  (void)state;
  flat_out(100 * NS_US, 1 << 20);
  flat_out(100 * NS_US, 10 << 20);
  flat_out(40 * NS_MS, 1 << 20);
}

struct level {
  struct flow_mesh *f;
  struct goal goal;
  size_t lowest; /* bytes that a link had to send while a publisher waited for it */
};

static bool note_level(void *ctx) {
  struct level *l = ctx;
  list_for(it, &l->f->mesh.rig[0].node->flow.readers) {
    const struct flow_awaited *r = container_of(it, const struct flow_awaited, all);
    if (list_empty(&r->holders) || r->far || !r->s->peer) continue;
    size_t queued = session_queued(r->s);
    if (queued < l->lowest) l->lowest = queued;
  }
  return got_all(&l->goal);
}

/* A path that loses keeps the link's congestion window small, so that no more than 128 KiB wait at it. A publisher that waits
 * for it goes on when a part of that is free (room_more), not when it has run dry, or a second later. */
static void test_small_window(void **state) {
  struct flow_mesh f;
  (void)state;
  start(&f, 2, NULL, 100 * NS_US);
  struct rig_client *p = client(&f, 0), *a = reader(&f, 1, "t");
  mesh_settle(&f.mesh);
  sim_net_set_link(f.mesh.rig[0].net, &(struct sim_link){.delay = 100 * NS_US, .loss = 0.05});
  flood(&f.flow, p, "t", COUNT);
  struct level level = {&f, {a, MSG_PUBLISH, COUNT}, SIZE_MAX};
  nanotime took = run(&f.flow, 200 * NS_SEC, note_level, &level);
  printf("a small window: %.2f s, held %llu, lowest %zu\n", (double)took / 1e9,
         (unsigned long long)sum(&f, "publishers_held_total"), level.lowest);
  assert_int_equal(a->counts[MSG_PUBLISH], COUNT);
  assert_in_range(level.lowest, 48 << 10, 128 << 10);
  no_loss(&f);
  mesh_stop(&f.mesh);
}

/* ---- beside others
 * -----------------------------------------------------------------------------------------------------------
 */
/* How long a healthy reader at node `good_at` takes, beside a slow one at node 1. */
static nanotime beside(unsigned good_at, bool slow, uint64_t *ret_lost) {
  struct flow_mesh f;
  start(&f, 3, &(struct node_limits){.send_pool = 32 << 20}, 100 * NS_US);
  struct rig_client *p = client(&f, 0), *good = reader(&f, good_at, "t"), *bad = slow ? reader(&f, 1, "t") : NULL;
  mesh_settle(&f.mesh);
  (void)slow_down(&f.flow, good, 4 << 20);
  if (slow) (void)slow_down(&f.flow, bad, 600 << 10);
  flood(&f.flow, p, "t", 20000);
  nanotime took = until(&f.flow, good, MSG_PUBLISH, 20000, 100 * NS_SEC);
  *ret_lost = sum(&f, "messages_dropped_total") + sum(&f, "mesh_messages_dropped_total");
  mesh_stop(&f.mesh);
  return took;
}

static void test_beside(void **state) {
  (void)state;
  for (unsigned at = 0; at < 3; at++) {
    uint64_t lost;
    nanotime alone = beside(at, false, &lost);
    assert_int_equal(lost, 0);
    nanotime with = beside(at, true, &lost);
    printf("reader at node %u: alone %.2f s, beside a slow one at node 1 %.2f s, which lost %llu\n", at, (double)alone / 1e9,
           (double)with / 1e9, (unsigned long long)lost);
    assert_true(lost > 0);
    assert_true(with <= (alone + NS_SEC) / 9 * 10 + 100 * NS_MS); /* a tenth of the time, and a second */
  }
}

/* ---- a node that lies
 * --------------------------------------------------------------------------------------------------------
 */
static void tell(struct flow_mesh *f, uint64_t connection, bool beside) {
  struct msg m = {.type = MSG_PACE, .pace = {.connection = connection, .ms = UINT64_MAX, .room = 1, .beside = beside}};
  struct peer *p = mesh_peer(&f->mesh, 1, 0);
  assert_int_equal(session_send(p->link, &m, false), 0);
}

static uint64_t number_of(struct flow_mesh *f, struct rig_client *c) {
  list_for(it, &f->mesh.rig[0].node->sessions.all) {
    const struct session *s = container_of(it, const struct session, all);
    if (s->client.session && memcmp(s->client.instance, c->instance, INSTANCE_LEN) == 0) return s->serial;
  }
  fail();
  return 0;
}

/* It says PACE of a connection all the time, and takes whatever comes: another reader waits no longer than for a slow one. A
 * client that says so is not heard. */
static void test_liar(void **state) {
  (void)state;
  for (int beside = 0; beside < 2; beside++) {
    struct flow_mesh f;
    start(&f, 2, NULL, NS_MS);
    struct rig_client *p = client(&f, 0), *good = reader(&f, 0, "t"), *far = reader(&f, 1, "t");
    mesh_settle(&f.mesh);
    struct msg m = {.type = MSG_PACE, .pace = {.connection = number_of(&f, p), .ms = PACE_LONGEST}};
    rig_send(good, &m);
    tell(&f, 12345678, false); /* nobody */
    (void)run(&f.flow, 100 * NS_MS, NULL, NULL);
    assert_int_equal(sum(&f, "publishers_paced"), 0);
    assert_int_equal(sum(&f, "paces_ignored_total"), 1);
    struct goal g = {good, MSG_PUBLISH, COUNT};
    nanotime took = 0;
    for (int i = 0; !got_all(&g) && took < 100 * NS_SEC; i++) {
      tell(&f, m.pace.connection, beside);
      if (i < 50) flood(&f.flow, p, "t", COUNT / 50);
      took += run(&f.flow, 100 * NS_MS, got_all, &g);
    }
    printf("beside a liar %.2f s\n", (double)took / 1e9);
    assert_int_equal(good->counts[MSG_PUBLISH], COUNT);
    assert_true(took <= (6 * NS_SEC) / 9 * 10 + 500 * NS_MS); /* 5 s alone */
    (void)until(&f.flow, far, MSG_PUBLISH, COUNT, 30 * NS_SEC);
    no_loss(&f);
    mesh_stop(&f.mesh);
  }
}

/* ---- what ends while it is waited for
 * ----------------------------------------------------------------------------------------
 */
static bool somebody_waits(void *ctx) { return rig_metric(&((struct mesh *)ctx)->rig[0], "publishers_waiting") > 0; }

/* The reader, its link, or the publisher ends; what the publisher sends to others goes on. */
static void test_ends(void **state) {
  (void)state;
  for (int what = 0; what < 3; what++) {
    struct flow_mesh f;
    start(&f, 2, &(struct node_limits){.send_pool = 16 << 20}, NS_MS);
    struct rig_client *p = client(&f, 0), *a = reader(&f, 1, "t"), *here = reader(&f, 0, "end");
    mesh_settle(&f.mesh);
    (void)slow_down(&f.flow, a, 400 << 10);
    flood(&f.flow, p, "t", 3000);
    publish(p, "end", "end", 0, 0);
    (void)run(&f.flow, 20 * NS_SEC, somebody_waits, &f.mesh);
    assert_true(somebody_waits(&f.mesh));
    if (what == 0) rig_kill(a);
    if (what == 0) f.flow.slow_count = 0;
    if (what == 1) mesh_cut(&f.mesh, 0, 1, true);
    if (what == 2) rig_kill(p);
    if (what < 2) (void)until(&f.flow, here, MSG_PUBLISH, 1, 60 * NS_SEC);
    (void)run(&f.flow, 40 * NS_SEC, NULL, NULL);
    assert_int_equal(sum(&f, "publishers_waiting"), 0);
    assert_int_equal(sum(&f, "publishers_paced") + sum(&f, "publishers_pacing"), 0);
    assert_int_equal(sum(&f, "memory_bytes{table=\"flow\"}"), 0);
    mesh_stop(&f.mesh);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cut_everywhere),
                                     cmocka_unit_test(test_flat_out),
                                     cmocka_unit_test(test_alone),
                                     cmocka_unit_test(test_small_window),
                                     cmocka_unit_test(test_beside),
                                     cmocka_unit_test(test_liar),
                                     cmocka_unit_test(test_ends)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
