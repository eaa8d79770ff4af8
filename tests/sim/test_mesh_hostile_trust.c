/* Attacks on what a member's own signed word is there for: forged deaths, gateways and addresses, old records played again, and
 * members invented to have datagrams sent to somebody else. Nothing comes of them, with loss and without. */
#include "mesh_hostile_rig.h"

static const struct sim_link lossy = {.loss = 0.05, .dup = 0.02, .reorder = 0.05, .delay = 5 * NS_MS, .jitter = 3 * NS_MS};

static struct membership *members(struct honest *h, unsigned i) { return node_of(h, i)->mesh.membership; }
static const struct id *id_at(struct honest *h, unsigned i) { return quic_identity_id(h->m.rig[i].identity); }
static uint64_t incarnation(struct honest *h, unsigned of) { return membership_incarnation(members(h, of)); }

static bool linked(struct honest *h) {
  const struct peer *p = mesh_peer(&h->m, 0, 1), *q = mesh_peer(&h->m, 1, 0);
  return p && p->link && q && q->link;
}

static void nobody_dies(struct honest *h) {
  for (unsigned i = 0; i < 2; i++) {
    const struct member *m = membership_find(members(h, i), id_at(h, 1 - i));
    assert_true(m && m->state != MEMBER_DEAD);
  }
}

/* To each node, of the other, with all incarnations that may be its present one. */
static void accuse_both(struct honest *h, struct rig_client *liars[2], enum swim_state state) {
  for (unsigned i = 0; i < 2; i++) {
    struct swim_record me = {.incarnation = 1, .gateway = *id_at(h, i), .name = slice_str("liar")};
    struct swim_update u[4];
    for (unsigned k = 0; k < 4; k++)
      u[k] = (struct swim_update){.state = state, .id = *id_at(h, 1 - i), .incarnation = incarnation(h, 1 - i) + k};
    send_swim(liars[i], MSG_SWIM_PING, &me, u, 4);
    pong_swim(liars[i], &me);
  }
}

/* Ten forged deaths a second over a link that stands: each of 300 messages arrives, 50 of QoS 1 that were acknowledged do, and
 * no call is run twice. */
static void forged_deaths(const struct sim_link *link) {
  struct honest h;
  char text[16];
  honest_start(&h, NULL);
  struct rig_client *liars[2] = {liar(&h.m.rig[0], ""), liar(&h.m.rig[1], "")};
  go(&h, NS_SEC); /* that nobody listens behind them is known */
  if (link) sim_net_set_link(h.m.rig[0].net, link);
  uint64_t before = h.sub->counts[MSG_PUBLISH], serial = mesh_peer(&h.m, 0, 1)->link->serial;
  for (unsigned k = 0; k < 300; k++) {
    accuse_both(&h, liars, k % 3 == 0 ? SWIM_LEFT : k % 3 == 1 ? SWIM_DEAD : SWIM_SUSPECT);
    snprintf(text, sizeof text, "%u", k);
    assert_int_equal(rig_publish(h.pub, "honest.flood", text, 0, false, 1 + k), 0);
    if (k % 6 == 0) assert_int_equal(rig_publish(h.pub, "honest.sure", text, 1, false, 1000 + k), 0);
    go(&h, 100 * NS_MS);
    nobody_dies(&h);
    if (k % 30 == 0) {
      h.sub->read = h.sub->kept_count;
      uint64_t calls = h.sub->counts[MSG_CALL];
      served(&h);
      assert_int_equal(h.sub->counts[MSG_CALL], calls + 1);
    }
  }
  go(&h, 2 * NS_SEC);
  assert_int_equal(h.sub->counts[MSG_PUBLISH] - before, 300 + 50 + 10);
  assert_true(linked(&h) && mesh_peer(&h.m, 0, 1)->link->serial == serial);
  h.sub->read = h.sub->kept_count;
  bye(liars[0]);
  leaves(&h, liars[1]);
}

static void test_forged_deaths(void **state) {
  (void)state;
  forged_deaths(NULL);
}
static void test_forged_deaths_with_loss(void **state) {
  (void)state;
  forged_deaths(&lossy);
}

/* Whoever says so, that a node is behind the liar, elsewhere or has another name; in every form that a frame allows. */
static void forged_words(const struct sim_link *link) {
  struct honest h;
  honest_start(&h, NULL);
  if (link) sim_net_set_link(h.m.rig[0].net, link);
  struct rig_client *c = liar(&h.m.rig[0], "");
  struct swim_record me = {.incarnation = 1, .name = slice_str("liar")};
  struct swim_record lie = {.incarnation = incarnation(&h, 1) + 5, .gateway = *id_of(c), .name = slice_str("mine")};
  struct swim_update u[3] = {{.state = SWIM_ALIVE, .id = *id_at(&h, 1), .incarnation = incarnation(&h, 1) + 5}};
  const struct member was = *membership_find(members(&h, 0), id_at(&h, 1));
  uint8_t forged[2][SWIM_RECORD_MAX];
  for (unsigned k = 0; k < 40; k++) {
    if (k == 20) lie.addr = addr_of("10.9.9.9:9443");
    lie.left = k % 4 == 3;
    for (unsigned i = 0; i < 2; i++) { /* its key and our signature; and with a signature that it made for something else */
      lie.key = quic_identity_spki(h.m.rig[1].identity);
      size_t n = swim_body_encode(&lie, forged[i]);
      struct slice other = signed_record(i ? me : lie, i ? h.m.rig[1].identity : c->identity, NULL).bytes;
      memcpy(forged[i] + n, other.p + other.n - SWIM_SIGNATURE_LEN, SWIM_SIGNATURE_LEN);
      u[1 + i].state = lie.left ? SWIM_LEFT : SWIM_ALIVE;
      assert_int_equal(swim_record_decode(slice_of(forged[i], n + SWIM_SIGNATURE_LEN), &u[1 + i].record), 0);
    }
    send_swim(c, k % 2 ? MSG_SWIM_SYNC : MSG_SWIM_ACK, &me, u, 3);
    go(&h, 200 * NS_MS);
    nobody_dies(&h);
  }
  const struct member *is = membership_find(members(&h, 0), id_at(&h, 1));
  assert_memory_equal(&is->info, &was.info, sizeof was.info);
  assert_int_equal(is->incarnation, was.incarnation);
  struct membership_stats s;
  membership_stats(members(&h, 0), &s);
  assert_true(s.bad_signatures > 0);
  struct peer *p = mesh_peer(&h.m, 0, 1);
  assert_true(p->link && !p->via && addr_eq(&p->addr, &h.m.rig[1].addr));
  served(&h);
  leaves(&h, c);
}

static void test_forged_words(void **state) {
  (void)state;
  forged_words(NULL);
}
static void test_forged_words_with_loss(void **state) {
  (void)state;
  forged_words(&lossy);
}

/* A node's true words of an earlier run: where it was, and that it left. It has started again since. */
static void old_words(const struct sim_link *link) {
  struct honest h;
  honest_start(&h, NULL);
  if (link) sim_net_set_link(h.m.rig[0].net, link);
  uint64_t old = incarnation(&h, 1);
  h.sub = NULL;
  rig_node_kill(&h.m.rig[1]);
  go(&h, 3 * NS_SEC);
  rig_node_start(&h.m.rig[1]);
  mesh_settle(&h.m);
  assert_true(incarnation(&h, 1) > old + 1); /* whether the others remembered it or not */
  struct rig_client *c = liar(&h.m.rig[0], "");
  struct swim_record me = {.incarnation = 1, .name = slice_str("liar")}, r = {.incarnation = old, .name = slice_str("node1")};
  uint64_t serial = mesh_peer(&h.m, 0, 1)->link->serial;
  for (unsigned k = 0; k < 60; k++) {
    r.left = k % 2;
    r.incarnation = old + r.left;
    r.addr = addr_of("10.9.9.9:9443");
    struct swim_update u = {.state = r.left ? SWIM_LEFT : SWIM_ALIVE, .record = signed_record(r, h.m.rig[1].identity, NULL)};
    send_swim(c, k % 3 ? MSG_SWIM_SYNC : MSG_SWIM_PING, &me, &u, 1);
    go(&h, 200 * NS_MS);
    assert_true(linked(&h) && mesh_peer(&h.m, 0, 1)->link->serial == serial);
  }
  const struct member *m = membership_find(members(&h, 0), id_at(&h, 1));
  assert_true(m->state == MEMBER_ALIVE && addr_eq(&m->info.addr, &h.m.rig[1].addr));
  bye(c);
  honest_stop(&h);
}

static void test_old_words(void **state) {
  (void)state;
  old_words(NULL);
}
static void test_old_words_with_loss(void **state) {
  (void)state;
  old_words(&lossy);
}

/* ---- datagrams for somebody else -------------------------------------------------------------------------------------------
 */
struct victim {
  struct addr at;
  uint64_t datagrams, bytes;
};

static bool sees(void *ctx, const struct addr *from, const struct addr *to, uint8_t *p, size_t len) {
  struct victim *v = ctx;
  (void)from;
  (void)p;
  if (to->v4.sin_addr.s_addr != v->at.v4.sin_addr.s_addr) return true;
  v->datagrams++;
  v->bytes += len;
  return true;
}

#define FALSE_MEMBERS 480u
/* How long the last one of them lives at most, when nobody keeps them alive any more. A node dials one at a time, whom it
 * probes, for three periods of a second, and begins with the next one in the next period (membership/probe.c). Who did not
 * answer is suspect for 5 s and a quarter of that for each sending of a rumour, which are 2 for each binary digit of the
 * members' number, and 2 more, and is remembered as dead for 60 s. Most often it is over in a fifth of that time: both nodes
 * search, and what one has found is a suspicion at the other; where an address is known to be silent, nobody waits for it. */
#define DIALS (FALSE_MEMBERS * 4u)
#define SUSPECT (5u + 5u * (2u * 9u + 2u) / 4u)
#define REMEMBERED 60u
#define LIFE ((DIALS + SUSPECT + REMEMBERED) * NS_SEC)

/* Hundreds of members with keys of their own, all at one IP address where nobody is, each at a port of its own or all at one,
 * and moving about. What two nodes send there in two minutes is less than the liar sent. */
static void reflected(bool ports, bool icmp) {
  struct honest h;
  struct victim v = {.at = addr_of("10.9.9.9:1000")};
  uint64_t told = 0;
  honest_start(&h, NULL);
  sim_net_icmp(h.m.rig[0].net, icmp);
  sim_net_filter(h.m.rig[0].net, sees, &v);
  struct rig_client *c = liar(&h.m.rig[0], "");
  struct swim_record me = {.incarnation = 1, .name = slice_str("liar")};
  struct swim_update u[12];
  for (unsigned k = 0; k < 600; k++) {
    unsigned n = k * 12 % FALSE_MEMBERS;
    for (unsigned i = 0; i < 12; i++) {
      struct swim_record r = {.incarnation = 1 + k / 40, .addr = v.at, .name = slice_str("invented")};
      addr_set_port(&r.addr, (uint16_t)(ports ? 1000 + n + i + 7 * (k / 40) : 1000));
      u[i] = says(n + i, r);
      told += u[i].record.bytes.n;
    }
    send_swim(c, MSG_SWIM_SYNC, &me, u, 12);
    pong_swim(c, &me);
    go(&h, 200 * NS_MS);
  }
  print_message("told %llu bytes: sent %llu datagrams, %llu bytes\n", (unsigned long long)told, (unsigned long long)v.datagrams,
                (unsigned long long)v.bytes);
  assert_true(v.datagrams < 300);
  assert_true(v.bytes < told);
  assert_true(node_of(&h, 0)->silent.refused > 100);
  assert_int_equal(rig_publish(h.pub, "honest.news", "here", 0, false, 1), 0);
  assert_true(slice_is(rig_expect(h.sub, MSG_PUBLISH).publish.payload, "here"));
  sim_net_icmp(h.m.rig[0].net, true);
  sim_net_filter(h.m.rig[0].net, NULL, NULL);
  bye(c);
  h.start[0][ROW_SILENT].entries = h.start[1][ROW_SILENT].entries = SILENT_MAX;
  nanotime began = sim_net_now(h.m.rig[0].net);
  recovers(&h, LIFE);
  print_message("the last one lived for %.0f s of %.0f\n", (double)time_since(sim_net_now(h.m.rig[0].net), began) / 1e9,
                (double)LIFE / 1e9);
  honest_stop(&h);
}

static void test_reflected_to_ports(void **state) {
  (void)state;
  reflected(true, true);
}
static void test_reflected_in_silence(void **state) {
  (void)state;
  reflected(true, false);
}
static void test_reflected_to_one_port(void **state) {
  (void)state;
  reflected(false, false);
}

/* Liars that were linked and say that they are at the victim's ports go, and are looked for there as lost ones are. */
static void test_lost_elsewhere(void **state) {
  struct honest h;
  struct victim v = {.at = addr_of("10.9.9.9:1000")};
  char endpoint[32];
  (void)state;
  honest_start(&h, NULL);
  sim_net_icmp(h.m.rig[0].net, false);
  sim_net_filter(h.m.rig[0].net, sees, &v);
  for (unsigned k = 0; k < 40; k++) {
    snprintf(endpoint, sizeof endpoint, "10.9.9.9:%u", 1000 + k);
    struct rig_client *c = liar(&h.m.rig[0], endpoint);
    go(&h, 500 * NS_MS);
    rig_kill(c);
  }
  go(&h, 300 * NS_SEC);
  print_message("40 lost: sent %llu datagrams, %llu bytes\n", (unsigned long long)v.datagrams, (unsigned long long)v.bytes);
  assert_true(v.datagrams < 300);
  served(&h);
  sim_net_filter(h.m.rig[0].net, NULL, NULL);
  honest_stop(&h);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_forged_deaths),
      cmocka_unit_test(test_forged_deaths_with_loss),
      cmocka_unit_test(test_forged_words),
      cmocka_unit_test(test_forged_words_with_loss),
      cmocka_unit_test(test_old_words),
      cmocka_unit_test(test_old_words_with_loss),
      cmocka_unit_test(test_reflected_to_ports),
      cmocka_unit_test(test_reflected_in_silence),
      cmocka_unit_test(test_reflected_to_one_port),
      cmocka_unit_test(test_lost_elsewhere),
  };
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
