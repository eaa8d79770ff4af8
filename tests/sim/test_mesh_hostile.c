/* Nodes that lie: raw QUIC clients with the capability `node` that say whatever they like to a node of a small mesh. Whatever
 * it is, the honest are served meanwhile and afterwards, no table grows beyond its limit, and what the liar caused goes after
 * it. */
#include "mesh_rig.h"
#include "wire/interest.h"
#include "wire/kad.h"
#include "wire/swim.h"

/* ---- two honest nodes, each with a client ----------------------------------------------------------------------------------
 */
struct honest {
  struct mesh m;
  struct rig_client *pub, *sub; /* of node 0 and of node 1 */
  struct row_now start[2][ROWS_SHOWN];
  uint64_t messages;
};

static struct node *node_of(struct honest *h, unsigned i) { return h->m.rig[i].node; }

static void honest_start(struct honest *h, const struct rig_options *o) {
  memset(h, 0, sizeof *h);
  mesh_start(&h->m, 2, o);
  mesh_join_all(&h->m);
  h->pub = rig_join(&h->m.rig[0], 0, NULL, RIG_EXT);
  h->sub = rig_join(&h->m.rig[1], 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(h->sub, "honest.*"), 0);
  assert_int_equal(rig_register(h->sub, "honest.service"), 0);
  mesh_settle(&h->m);
  rig_run(&h->m.rig[0], 10 * NS_SEC);
  for (unsigned i = 0; i < 2; i++) rows_now(node_of(h, i), h->start[i]);
}

static void honest_stop(struct honest *h) { mesh_stop(&h->m); }

/* No row is beyond its limit. */
static void within(struct honest *h) {
  struct row_now rows[ROWS_SHOWN];
  for (unsigned i = 0; i < 2; i++) {
    rows_now(node_of(h, i), rows);
    for (int k = 0; k < ROWS_SHOWN; k++) {
      if (rows[k].limit && rows[k].entries > rows[k].limit)
        fail_msg("node %u: %s holds %llu of %llu", i, rows[k].name, (unsigned long long)rows[k].entries,
                 (unsigned long long)rows[k].limit);
      if (rows[k].limit_bytes && rows[k].peak > rows[k].limit_bytes + 64) /* the last allocation's rounding */
        fail_msg("node %u: %s has used %llu octets of %llu", i, rows[k].name, (unsigned long long)rows[k].peak,
                 (unsigned long long)rows[k].limit_bytes);
    }
  }
}

/* A publish and a call of one node's client reach the other's. */
static void served(struct honest *h) {
  char text[32];
  snprintf(text, sizeof text, "%llu", (unsigned long long)++h->messages);
  assert_int_equal(rig_publish(h->pub, "honest.news", text, 1, false, 100000 + h->messages), 0);
  struct msg m = rig_expect(h->sub, MSG_PUBLISH);
  assert_true(slice_is(m.publish.payload, text));
  assert_int_equal(rig_register(h->sub, "honest.service"), 0); /* renewed */
  rig_call(h->pub, "honest.service", "{}", 200000 + h->messages, 0);
  struct msg call = rig_expect(h->sub, MSG_CALL);
  rig_reply(h->sub, call.call.call_id, text);
  struct msg reply = rig_expect(h->pub, MSG_REPLY);
  assert_false(reply.reply.is_error);
  assert_true(slice_is(reply.reply.result, text));
  within(h);
}

/* What the liar caused is gone. The rows that honest traffic moves are left out. */
static bool as_at_start(void *ctx) {
  static const enum row rows_of_peers[] = {ROW_SESSIONS, ROW_PEERS,    ROW_MEMBERS, ROW_CALLS,
                                           ROW_LOOKUPS,  ROW_INTEREST, ROW_REPLAYS};
  struct honest *h = ctx;
  struct row_now now[ROWS_SHOWN];
  for (unsigned i = 0; i < 2; i++) {
    rows_now(node_of(h, i), now);
    for (size_t k = 0; k < sizeof rows_of_peers / sizeof rows_of_peers[0]; k++)
      if (now[rows_of_peers[k]].entries > h->start[i][rows_of_peers[k]].entries) return false;
    if (node_of(h, i)->mem[ROW_HELD].bytes) return false;
  }
  return true;
}

static void recovers(struct honest *h, nanotime in) {
  struct row_now now[ROWS_SHOWN];
  if (!sim_net_run(h->m.rig[0].net, sim_net_now(h->m.rig[0].net) + in, as_at_start, h)) {
    for (unsigned i = 0; i < 2; i++) {
      rows_now(node_of(h, i), now);
      for (int k = 0; k < ROW_COUNT; k++)
        if (now[k].entries > h->start[i][k].entries)
          print_error("node %u: %s %llu, at the start %llu\n", i, now[k].name, (unsigned long long)now[k].entries,
                      (unsigned long long)h->start[i][k].entries);
    }
    for (unsigned i = 0; i < 2; i++) list_for(it, &node_of(h, i)->peers.all) {
        const struct peer *p = container_of(it, struct peer, all);
        print_error("node %u: peer %02x%02x member %d link %d dial %d via %d behind %d held %d unacked %u\n", i, p->id.b[0],
                    p->id.b[1], p->member, p->link != NULL, p->dial != NULL, p->via != NULL, !list_empty(&p->vias),
                    !list_empty(&p->held), p->spread.unacked.count);
      }
    fail_msg("what the liar caused stays (seed %llu)", (unsigned long long)h->m.rig[0].seed);
  }
  served(h);
}

/* ---- the liar --------------------------------------------------------------------------------------------------------------
 */
static const struct id *id_of(const struct rig_client *c) { return quic_identity_id(c->identity); }

static struct id invented(uint64_t k) {
  struct id id = {{0}};
  for (int i = 0; i < 8; i++) id.b[i] = (uint8_t)(k * UINT64_C(0x9e3779b97f4a7c15) >> 8 * i);
  memcpy(id.b + 8, &k, sizeof k);
  id.b[31] = 0xee;
  return id;
}

static void connect_as_node(struct rig_client *c, const char *endpoint) {
  struct msg m = {.type = MSG_CONNECT,
                  .connect = {.version = slice_str("1.0"),
                              .node_id = slice_of(id_of(c)->b, ID_LEN),
                              .realm_id = slice_str("test"),
                              .caps = RIG_EXT | CAP_NODE,
                              .instance = slice_of(c->instance, sizeof c->instance),
                              .endpoint = slice_str(endpoint),
                              .name = slice_str("liar")}};
  rig_send(c, &m);
}

static void bye(struct rig_client *c) {
  if (c->conn) quic_conn_close(c->conn, 0, "");
}

/* A node that nobody can dial, if it has no endpoint. */
static struct rig_client *liar(struct rig *r, const char *endpoint) {
  struct rig_client *c = rig_client(r, 0, NULL);
  rig_opened(c);
  connect_as_node(c, endpoint ? endpoint : "");
  (void)rig_expect(c, MSG_PONG);
  return c;
}

static void send_payload(struct rig_client *c, uint8_t type, const void *p, size_t n) {
  uint8_t *buf = malloc(FRAME_HEADER_LEN + n);
  frame_header(buf, type, (uint32_t)n);
  memcpy(buf + FRAME_HEADER_LEN, p, n);
  if (c->conn) (void)quic_stream_write(c->conn, c->stream, slice_of(buf, FRAME_HEADER_LEN + n));
  free(buf);
}

static void go(struct honest *h, nanotime for_ns) { rig_run(&h->m.rig[0], for_ns); }

static size_t swim_payload(uint8_t *buf, size_t cap, uint8_t type, uint64_t seq, const struct swim_update *me,
                           const struct swim_update *updates, size_t count) {
  struct swim_msg m = {.seq = type == MSG_SWIM_SYNC ? 0 : seq, .me = *me};
  struct swim_encoder e;
  m.me.has_info = true;
  swim_encode_begin(&e, buf, cap, type, &m);
  for (size_t i = 0; i < count; i++) (void)swim_encode_update(&e, &updates[i]);
  return swim_encode_end(&e).n;
}

static void send_swim(struct rig_client *c, uint8_t type, const struct swim_update *me, const struct swim_update *updates,
                      size_t count) {
  static uint8_t buf[SWIM_PAGE_LEN];
  send_payload(c, type, buf, swim_payload(buf, sizeof buf, type, 1, me, updates, count));
}

/* Probes are answered, so that it passes for alive. */
static void pong_swim(struct rig_client *c, const struct swim_update *me) {
  uint8_t buf[256];
  for (; c->read < c->kept_count; c->read++) {
    const struct rig_frame *f = &c->kept[c->read];
    struct swim_msg m;
    if (f->type != MSG_SWIM_PING || swim_decode(f->type, slice_of(f->payload, f->len), &m)) continue;
    send_payload(c, MSG_SWIM_ACK, buf, swim_payload(buf, sizeof buf, MSG_SWIM_ACK, m.seq, me, NULL, 0));
  }
}

/* ---- members ---------------------------------------------------------------------------------------------------------------
 */
/* Two that nobody can dial, each behind the other. */
static void test_gateways_in_a_circle(void **state) {
  struct honest h;
  (void)state;
  honest_start(&h, NULL);
  struct rig_client *c = liar(&h.m.rig[0], NULL);
  struct id x = invented(1), y = invented(2);
  struct swim_update me = {.incarnation = 5, .gateway = x, .name = slice_str("liar")};
  struct swim_update u[2] = {
      {.id = x, .incarnation = 1, .has_info = true, .gateway = y, .name = slice_str("x")},
      {.id = y, .incarnation = 1, .has_info = true, .gateway = *id_of(c), .name = slice_str("y")},
  };
  send_swim(c, MSG_SWIM_PING, &me, u, 2);
  go(&h, NS_SEC);
  u[0].gateway = *id_of(c);
  u[0].incarnation = u[1].incarnation = 2;
  u[1].gateway = x;
  send_swim(c, MSG_SWIM_PING, &me, u, 2);
  go(&h, NS_SEC);
  bye(c);
  go(&h, NS_SEC);
  served(&h);
  struct rig_client *d = liar(&h.m.rig[0], NULL);
  me.gateway = y;
  send_swim(d, MSG_SWIM_PING, &me, u, 2);
  go(&h, NS_SEC);
  rig_kill(d);
  go(&h, 40 * NS_SEC);
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

static unsigned visited;
static void moves_all(struct peer *q) {
  struct id other = invented(99);
  visited++;
  for (uint64_t k = 0; k < 5; k++) {
    struct id id = invented(20 + k);
    struct peer *p = peer_find(q->node, &id);
    if (p != q) peer_where(p, NULL, &other);
  }
}

/* What is done to one that is behind a gateway gives all others another gateway, while those behind it are gone through. */
static void test_moved_while_gone_through(void **state) {
  struct honest h;
  (void)state;
  honest_start(&h, NULL);
  struct id gateway = invented(98);
  for (uint64_t k = 0; k < 5; k++) {
    struct id id = invented(20 + k);
    peer_where(peer_get(node_of(&h, 0), &id), NULL, &gateway);
  }
  visited = 0;
  peers_behind(peer_find(node_of(&h, 0), &gateway), moves_all);
  assert_in_range(visited, 1, 5);
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

static void test_accuses_everybody(void **state) {
  struct honest h;
  (void)state;
  honest_start(&h, NULL);
  struct rig_client *c = liar(&h.m.rig[0], NULL);
  struct swim_update me = {.incarnation = 1, .name = slice_str("liar")};
  for (uint64_t k = 0; k < 60; k++) {
    struct swim_update u[2];
    for (unsigned i = 0; i < 2; i++)
      u[i] = (struct swim_update){.state = k % 3 == 0   ? SWIM_SUSPECT
                                           : k % 3 == 1 ? SWIM_DEAD
                                                        : SWIM_LEFT,
                                  .id = *quic_identity_id(h.m.rig[i].identity),
                                  .incarnation =
                                      k % 5 == 4 ? UINT64_MAX : membership_incarnation(node_of(&h, i)->membership) + k % 2};
    send_swim(c, k % 2 ? MSG_SWIM_PING : MSG_SWIM_SYNC, &me, u, 2);
    pong_swim(c, &me);
    go(&h, 200 * NS_MS);
  }
  within(&h);
  bye(c);
  mesh_settle(&h.m);
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

#define FEW_MEMBERS 400

static void invent_members(struct honest *h, struct rig_client *c, uint64_t count, bool dialled) {
  struct swim_update me = {.incarnation = 1, .name = slice_str("liar")}, u[64];
  for (uint64_t k = 0; k < count; k += 64) {
    for (uint64_t i = 0; i < 64; i++) {
      u[i] =
          (struct swim_update){.id = invented(10 + k + i), .incarnation = 1, .has_info = true, .name = slice_str("invented")};
      if (dialled)
        assert_int_equal(addr_parse("10.9.9.9:1000", 0, &u[i].addr), 0);
      else
        u[i].gateway = k % 128 ? *id_of(c) : invented(1000000 + k + i); /* each its own, which is not there */
      if (dialled) addr_set_port(&u[i].addr, (uint16_t)(1000 + k + i));
    }
    send_swim(c, MSG_SWIM_SYNC, &me, u, 64);
    pong_swim(c, &me);
    go(h, 20 * NS_MS);
  }
}

/* Ten times as many members as there is room for. Others can join meanwhile, and hear publishes. */
static void invented_members(bool dialled) {
  struct rig_options o = {.node = {.limits = {.max_members = FEW_MEMBERS, .max_peers = 50, .max_interested = 20}}};
  struct honest h;
  honest_start(&h, &o);
  struct rig_client *c = liar(&h.m.rig[0], NULL);
  invent_members(&h, c, 10 * FEW_MEMBERS, dialled);
  struct membership_stats s;
  membership_stats(node_of(&h, 0)->membership, &s);
  assert_int_equal(s.alive + s.suspect + s.dead, FEW_MEMBERS);
  assert_true(s.refused > 0);
  served(&h);
  struct rig third;
  struct rig_options t = {.beside = &h.m.rig[0], .index = 5, .node = {.name = "third", .limits = o.node.limits}};
  rig_start(&third, &t);
  assert_int_equal(node_join(third.node, &h.m.rig[0].addr, NULL, true, sim_net_now(h.m.rig[0].net)), 0);
  struct rig_client *late = rig_join(&third, 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(late, "late.*"), 0);
  go(&h, 20 * NS_SEC);
  const struct peer *p = peer_find(node_of(&h, 0), quic_identity_id(third.identity));
  assert_true(p && p->link);
  assert_int_equal(rig_publish(h.pub, "late.x", "1", 1, false, 1), 0);
  assert_true(slice_is(rig_expect(late, MSG_PUBLISH).publish.payload, "1"));
  within(&h);
  assert_true(node_of(&h, 0)->seed_count <= 3); /* whoever was never met is not looked for when he "dies" */
  char *known;
  assert_int_equal(node_known_peers(node_of(&h, 0), &known), 0);
  assert_null(strstr(known, "10.9.9.9"));
  free(known);
  bye(c);
  go(&h, NS_SEC);
  rig_kill(late);
  sim_net_detach(third.net, &third.addr);
  rig_stop(&third);
  recovers(&h, 600 * NS_SEC);
  honest_stop(&h);
}

static void test_invented_members(void **state) {
  (void)state;
  invented_members(true);
}

static void test_invented_members_behind_gateways(void **state) {
  (void)state;
  invented_members(false);
}

/* ---- who it is -------------------------------------------------------------------------------------------------------------
 */
static void test_many_identities(void **state) {
  struct rig_options o = {.node = {.limits = {.max_members = FEW_MEMBERS, .max_peers = 20, .max_half_open = 64}}};
  struct honest h;
  (void)state;
  honest_start(&h, &o);
  struct rig *r = &h.m.rig[0];
  struct rig_client *open[8] = {0};
  for (unsigned k = 0; k < 1000; k++) {
    char endpoint[32];
    struct rig_client **c = &open[k % 8];
    if (*c && (*c)->conn && k % 3) quic_conn_close((*c)->conn, 0, "");
    if (*c && (*c)->conn && k % 3 == 0) rig_kill(*c);
    snprintf(endpoint, sizeof endpoint, "10.8.8.8:%u", 1000 + k);
    *c = rig_client(r, 0, NULL);
    rig_opened(*c);
    connect_as_node(*c, k % 2 ? endpoint : "");
    if (k % 4) go(&h, NS_MS);
    if (k % 100 == 0) within(&h);
  }
  go(&h, 5 * NS_SEC);
  mesh_settle(&h.m);
  served(&h);
  for (int i = 0; i < 8; i++)
    if (open[i]->conn) quic_conn_close(open[i]->conn, 0, "");
  for (unsigned i = 0; i < 2; i++) { /* who had been met is looked for for an hour */
    assert_true(node_of(&h, i)->seed_count <= 256 + 64);
    h.start[i][ROW_SESSIONS].entries += 256;
  }
  recovers(&h, 600 * NS_SEC);
  honest_stop(&h);
}

/* ---- nodes that the user named ---------------------------------------------------------------------------------------------
 */
static bool is_linked(void *ctx) {
  struct peer *p = mesh_peer(&((struct honest *)ctx)->m, 0, 1);
  return p && p->link;
}
static bool is_unlinked(void *ctx) { return !is_linked(ctx); }

/* Whoever comes in any number of identities, the link to a node that the user named stands, and comes back. */
static void test_many_identities_beside_a_named_node(void **state) {
  struct rig_options o = {.node = {.limits = {.max_members = FEW_MEMBERS, .max_peers = 4}}};
  struct honest h;
  (void)state;
  honest_start(&h, &o);
  mesh_join(&h.m, 0, 1);
  go(&h, 20 * NS_SEC); /* it is known whose address that is */
  uint64_t serial = mesh_peer(&h.m, 0, 1)->link->serial;
  for (unsigned k = 0; k < 40; k++) {
    (void)liar(&h.m.rig[0], "10.8.8.8:1");
    go(&h, 100 * NS_MS);
    if (!is_linked(&h) || mesh_peer(&h.m, 0, 1)->link->serial != serial) fail_msg("gone after %u", k);
  }
  assert_int_equal(pool_count(&node_of(&h, 0)->peers.pool), 4);
  served(&h);
  rig_node_kill(&h.m.rig[1]);
  rig_until(&h.m.rig[0], 60 * NS_SEC, is_unlinked, &h, "its end");
  for (unsigned k = 0; k < 10; k++) (void)liar(&h.m.rig[0], "10.8.8.8:1");
  assert_int_equal(pool_count(&node_of(&h, 0)->peers.pool), 4);
  rig_node_start(&h.m.rig[1]);
  rig_until(&h.m.rig[0], 60 * NS_SEC, is_linked, &h, "the link to the named node");
  within(&h);
  honest_stop(&h);
}

static bool all_dialled(void *ctx) {
  struct node *n = node_of(ctx, 0);
  uint32_t dials = 0;
  list_for(it, &n->peers.all) dials += container_of(it, struct peer, all)->dial != NULL;
  return dials >= n->peers.pool.max;
}

/* Many that were here are gone without a word and are dialled again where nobody is: who comes meanwhile gets a slot. */
static void test_a_comer_among_dials_to_nowhere(void **state) {
  struct rig_options o = {.node = {.limits = {.max_members = FEW_MEMBERS, .max_peers = 4}}};
  struct honest h;
  struct rig_client *liars[12];
  (void)state;
  honest_start(&h, &o);
  for (size_t k = 0; k < 12; k++) {
    liars[k] = liar(&h.m.rig[0], "10.8.8.8:1");
    go(&h, 100 * NS_MS);
  }
  for (size_t k = 0; k < 12; k++) rig_kill(liars[k]);
  rig_node_kill(&h.m.rig[1]);
  rig_until(&h.m.rig[0], 120 * NS_SEC, all_dialled, &h, "dials to those who are gone");
  (void)liar(&h.m.rig[0], "");
  rig_node_start(&h.m.rig[1]);
  rig_until(&h.m.rig[0], 60 * NS_SEC, is_linked, &h, "the link to the named node");
  within(&h);
  honest_stop(&h);
}

/* Those who come keep their links busy: some slots are not for them. */
static void test_busy_identities_beside_a_named_node(void **state) {
  struct rig_options o = {.node = {.limits = {.max_members = FEW_MEMBERS, .max_peers = 16}}};
  struct honest h;
  uint8_t call_id[CALL_ID_LEN] = {1};
  struct msg call = {.type = MSG_CALL,
                     .call = {.procedure = slice_str("slow.service"),
                              .args = slice_str("1"),
                              .call_id = slice_of(call_id, sizeof call_id),
                              .timeout = 3600000}};
  (void)state;
  honest_start(&h, &o);
  mesh_join(&h.m, 0, 1);
  go(&h, 20 * NS_SEC);
  assert_int_equal(rig_register(h.pub, "slow.service"), 0);
  rig_node_kill(&h.m.rig[1]);
  rig_until(&h.m.rig[0], 60 * NS_SEC, is_unlinked, &h, "its end");
  for (unsigned k = 0; k < 60; k++) {
    struct rig_client *c = rig_client(&h.m.rig[0], 0, NULL);
    rig_opened(c);
    connect_as_node(c, "10.8.8.8:1");
    if (c->conn) rig_send(c, &call);
    go(&h, 500 * NS_MS);
  }
  struct peer *named = mesh_peer(&h.m, 0, 1); /* a dial to it may be under way */
  assert_int_equal(pool_count(&node_of(&h, 0)->peers.pool) - (named && named->slot.in), 15);
  rig_node_start(&h.m.rig[1]);
  rig_until(&h.m.rig[0], 60 * NS_SEC, is_linked, &h, "the link to the named node");
  honest_stop(&h);
}

/* Node 0 with eight slots, all busy; node 1 is there and has no link. */
static void all_busy(struct honest *h) {
  struct rig_options o = {.node = {.limits = {.max_members = FEW_MEMBERS, .max_peers = 8}}};
  uint8_t call_id[CALL_ID_LEN] = {1};
  struct msg call = {.type = MSG_CALL,
                     .call = {.procedure = slice_str("slow.service"),
                              .args = slice_str("1"),
                              .call_id = slice_of(call_id, sizeof call_id),
                              .timeout = 3600000}};
  honest_start(h, &o);
  assert_int_equal(rig_register(h->pub, "slow.service"), 0);
  rig_node_kill(&h->m.rig[1]);
  rig_until(&h->m.rig[0], 60 * NS_SEC, is_unlinked, h, "its end");
  for (unsigned k = 0; k < 20; k++) {
    struct rig_client *c = rig_client(&h->m.rig[0], 0, NULL);
    rig_opened(c);
    connect_as_node(c, "");
    if (c->conn) rig_send(c, &call);
    go(h, 500 * NS_MS);
  }
  assert_int_equal(pool_count(&node_of(h, 0)->peers.pool), 8);
  rig_node_start(&h->m.rig[1]);
}

static void want_named(struct honest *h) {
  struct peer *p = peer_get(node_of(h, 0), quic_identity_id(h->m.rig[1].identity));
  peer_where(p, &h->m.rig[1].addr, NULL);
  p->dial_at = p->expect = 0;
  assert_int_equal(peer_want(p, WANT_USE), MACULA_EBUSY);
}

/* All slots are busy when it is heard of one more address to join by: a call still gets the slot of the one that leaves. */
static void test_a_call_among_busy_identities(void **state) {
  struct honest h;
  struct addr nowhere;
  (void)state;
  all_busy(&h);
  assert_int_equal(addr_parse("10.9.9.9:1", 0, &nowhere), 0);
  assert_int_equal(node_join(node_of(&h, 0), &nowhere, NULL, true, 0), 0);
  want_named(&h);
  rig_until(&h.m.rig[0], 5 * NS_SEC, is_linked, &h, "the link that the call is for");
  honest_stop(&h);
}

/* The one that is to leave next ends by itself, and somebody else, whom a frame waits for, has its slot. */
static void slot_is_taken(struct honest *h, unsigned k) {
  struct node *n = node_of(h, 0);
  struct id other = invented(k);
  struct msg ping = {.type = MSG_PING};
  struct addr nowhere;
  assert_false(list_empty(&n->peers.leaving));
  link_close(container_of(n->peers.leaving.next, struct peer, leaving), MACULA_ECLOSED);
  struct peer *comer = peer_get(n, &other);
  assert_int_equal(addr_parse("10.8.8.8:1", 0, &nowhere), 0);
  peer_where(comer, &nowhere, NULL);
  comer->expect = time_add(n->now, 3600 * NS_SEC);
  assert_int_equal(peer_post(comer, &ping, WANT_UPKEEP, 0), 0);
  assert_int_equal(pool_add(&n->peers.pool, &comer->slot, n->now), 0);
}

/* Another leaves then. */
static void test_a_call_whose_slot_was_taken(void **state) {
  struct honest h;
  (void)state;
  all_busy(&h);
  want_named(&h);
  slot_is_taken(&h, 1);
  rig_until(&h.m.rig[0], 5 * NS_SEC, is_linked, &h, "the link that the call is for");
  honest_stop(&h);
}

static bool nobody_waits(void *ctx) { return list_empty(&node_of(ctx, 0)->peers.waiting); }

/* And for each of several, side by side: calls that wait one after another would come to their deadlines. */
static void test_calls_whose_slots_were_taken(void **state) {
  struct honest h;
  struct addr nowhere;
  struct msg ping = {.type = MSG_PING};
  (void)state;
  all_busy(&h);
  struct node *n = node_of(&h, 0);
  assert_int_equal(addr_parse("10.9.9.9:1", 0, &nowhere), 0);
  for (unsigned k = 10; k < 13; k++) {
    struct id id = invented(k);
    struct peer *p = peer_get(n, &id);
    peer_where(p, &nowhere, NULL);
    assert_int_equal(peer_post(p, &ping, WANT_USE, 0), 0);
    assert_false(list_empty(&p->waits));
  }
  for (unsigned k = 1; k < 4; k++) slot_is_taken(&h, k);
  assert_true(list_empty(&n->peers.leaving));
  rig_until(&h.m.rig[0], 3 * NS_SEC, nobody_waits, &h, "slots for all who wait");
  honest_stop(&h);
}

static void test_records_for_named_nodes(void **state) {
  struct rig_options o = {.node = {.limits = {.max_members = FEW_MEMBERS, .max_peers = 16}}};
  struct honest h;
  struct addr at;
  (void)state;
  honest_start(&h, &o);
  struct node *n = node_of(&h, 0);
  struct id named[MAX_SEEDS], last;
  assert_int_equal(addr_parse("10.9.9.9:1", 0, &at), 0);
  for (unsigned k = 0; k < MAX_SEEDS; k++) {
    named[k] = invented(k);
    addr_set_port(&at, (uint16_t)(k + 1));
    assert_int_equal(node_join(n, &at, &named[k], true, 0), 0);
  }
  for (unsigned k = 0; k < 2 * 256; k++) { /* nodes that were lost take the place of such, not of these */
    struct peer lost = {.node = n, .id = invented(1000 + k), .since = 1};
    addr_set_port(&at, (uint16_t)(1000 + k));
    lost.addr = at;
    join_lost(n, &lost);
  }
  assert_true(n->seed_count <= 256 + MAX_SEEDS);
  for (unsigned k = 0; k < MAX_SEEDS; k++) assert_true(join_is_configured(n, &named[k]));
  /* Where a node says that it is, is not whose address that is. */
  struct peer liar = {.node = n, .id = invented(999), .since = 1};
  for (int i = 0; i < 2; i++) {
    addr_set_port(&at, i ? 1 : 999); /* one of the named nodes', and one whose node is not known */
    if (!i) assert_int_equal(node_join(n, &at, NULL, true, 0), 0);
    liar.addr = at;
    join_lost(n, &liar);
    assert_false(join_is_configured(n, &liar.id));
  }
  assert_true(join_is_configured(n, &named[0]));
  assert_int_equal(node_join(n, &at, &liar.id, false, 0), 0); /* nor what was written down of it */
  addr_set_port(&at, 998);
  assert_int_equal(node_join(n, &at, &liar.id, false, 0), 0);
  assert_int_equal(node_join(n, &at, NULL, true, 0), 0);
  assert_false(join_is_configured(n, &liar.id));
  uint64_t k = 10000;
  do last = invented(k++);
  while (peer_get(n, &last));
  for (unsigned i = 0; i < MAX_SEEDS; i++) assert_non_null(peer_get(n, &named[i]));
  assert_null(peer_get(n, &last));
  go(&h, 5 * NS_SEC);
  assert_non_null(peer_get(n, &last)); /* there was nothing about all these */
  honest_stop(&h);
}

/* Endpoints where no node can be, and where another is. */
static void test_endpoints(void **state) {
  static const char *const at[] = {"0.0.0.0:9443", "255.255.255.255:9443", "224.0.0.1:9443", "[::]:9443", "[ff02::1]:9443",
                                   "10.0.0.9:0",   "10.0.0.2:9443",        "10.0.0.1:9443",  "nonsense"};
  struct honest h;
  (void)state;
  honest_start(&h, NULL);
  for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
    struct rig_client *c = liar(&h.m.rig[0], at[i]);
    const struct peer *p = peer_find(node_of(&h, 0), id_of(c));
    assert_non_null(p);
    if (i < 6) assert_int_equal(p->addr.sa.sa_family, 0);
    go(&h, NS_SEC);
    served(&h);
    bye(c);
    go(&h, 2 * NS_SEC);
  }
  /* nor does a node believe that it is there itself */
  struct addr self = node_of(&h, 0)->self, seen, local = h.m.rig[0].addr;
  assert_int_equal(addr_parse("0.0.0.0:9443", 0, &local), 0);
  node_of(&h, 0)->sockets[0] = local;
  for (size_t i = 0; i < 5; i++)
    if (addr_parse(at[i], 0, &seen) == 0) mesh_observed(node_of(&h, 0), &seen, &local);
  assert_int_equal(addr_parse("127.0.0.1:9443", 0, &seen), 0);
  mesh_observed(node_of(&h, 0), &seen, &local);
  assert_true(addr_eq(&self, &node_of(&h, 0)->self));
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

/* ---- envelopes -------------------------------------------------------------------------------------------------------------
 */
static void send_envelope(struct rig_client *c, const struct id *to, const struct id *from, const char *type,
                          struct slice payload, const struct id *path, uint32_t n, uint64_t hops) {
  struct slice items[40];
  for (uint32_t i = 0; i < n; i++) items[i] = slice_of(path[i].b, ID_LEN);
  struct msg m = {.type = strcmp(type, "publish") == 0 ? MSG_PUBSUB_ROUTE : MSG_RPC_ROUTE,
                  .route = {.destination = slice_of(to->b, ID_LEN),
                            .source = slice_of(from->b, ID_LEN),
                            .hop_count = hops,
                            .max_hops = 10,
                            .payload_type = slice_str(type),
                            .topic = slice_of("", 0),
                            .payload = payload,
                            .path = {.count = n, .items = items}}};
  rig_send(c, &m);
}

static struct slice payload_of(const struct msg *m, uint8_t *buf, size_t cap) {
  ptrdiff_t n = msg_encode(m, buf, cap);
  assert_true(n > 0);
  return slice_of(buf + FRAME_HEADER_LEN, (size_t)n - FRAME_HEADER_LEN);
}

static void test_envelopes(void **state) {
  struct honest h;
  uint8_t buf[4096], id[CALL_ID_LEN] = {1};
  (void)state;
  honest_start(&h, NULL);
  struct node *n = node_of(&h, 0);
  struct rig_client *c = liar(&h.m.rig[0], NULL);
  const struct id *a = quic_identity_id(h.m.rig[0].identity), *b = quic_identity_id(h.m.rig[1].identity), *me = id_of(c);
  struct msg call = {
      .type = MSG_CALL,
      .call = {.procedure = slice_str("honest.service"), .args = slice_str("{}"), .call_id = slice_of(id, sizeof id)}};
  struct slice p = payload_of(&call, buf, sizeof buf);
  uint64_t failed = n->stats.routes_failed;
  struct id path[40];
  for (int i = 0; i < 40; i++) path[i] = invented((uint64_t)i);
  path[9] = path[39] = *me;
  send_envelope(c, b, me, "call", p, path + 30, 10, 10); /* at the limit */
  send_envelope(c, b, me, "call", p, path, 40, 0);
  send_envelope(c, b, me, "call", p, me, 1, UINT64_MAX);
  send_envelope(c, b, me, "call", p, a, 1, 0);                      /* the last on its way is not the sender */
  send_envelope(c, b, me, "call", p, (struct id[]){*a, *me}, 2, 0); /* it was here */
  send_envelope(c, b, me, "call", p, (struct id[]){*b, *me}, 2, 0); /* it was there */
  send_envelope(c, me, b, "call", p, me, 1, 0);                     /* back to the sender */
  send_envelope(c, a, me, "rpc_route", p, me, 1, 0);                /* an envelope in an envelope */
  send_envelope(c, a, a, "call", p, me, 1, 0);                      /* from ourselves */
  send_envelope(c, &path[0], me, "call", p, me, 1, 0);              /* for nobody */
  send_envelope(c, a, me, "nonsense", p, me, 1, 0);
  send_envelope(c, a, me, "reply", p, me, 1, 0); /* not what it says */
  go(&h, NS_SEC);
  assert_true(n->stats.routes_failed >= failed + 10);
  served(&h);
  /* In the name of another, which is linked: its subscriptions cannot be taken away so, nor can its calls be used up. */
  struct wire_interest none = {.epoch = 77, .from = 0, .version = 1, .reset = true};
  uint8_t page[256];
  size_t len = wire_interest_encode(&none, page, sizeof page);
  send_envelope(c, a, b, msg_type_name(MSG_INTEREST), slice_of(page, len), me, 1, 0);
  struct swim_update left = {.incarnation = 1000, .name = slice_str("b"), .gateway = *me};
  len = swim_payload(buf, sizeof buf, MSG_SWIM_PING, 1, &left, NULL, 0);
  send_envelope(c, a, b, msg_type_name(MSG_SWIM_PING), slice_of(buf, len), me, 1, 0);
  go(&h, NS_SEC);
  served(&h);
  call.call.procedure = slice_str("not.there");
  for (uint64_t k = 0; k < 200; k++) {
    memcpy(id, &k, sizeof k);
    p = payload_of(&call, buf, sizeof buf);
    send_envelope(c, a, b, "call", p, me, 1, 0);
  }
  uint32_t before = n->peers.tab.count;
  for (uint64_t k = 0; k < 3000; k++) { /* from whoever comes to mind */
    struct id from = invented(5000 + k);
    send_envelope(c, a, &from, "cast", p, me, 1, 0);
    if (k % 100 == 0) go(&h, NS_MS);
  }
  assert_true(n->peers.tab.count <= before + 1000 + 512);
  go(&h, 2 * NS_SEC);
  served(&h);
  bye(c);
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

/* ---- calls and messages ----------------------------------------------------------------------------------------------------
 */
static void test_calls_of_others(void **state) {
  struct rig_options o = {.node = {.limits = {.peer_calls = 50}}};
  struct honest h;
  uint8_t id[CALL_ID_LEN] = {0};
  (void)state;
  honest_start(&h, &o);
  struct rig_client *c = liar(&h.m.rig[0], NULL), *local = rig_join(&h.m.rig[0], 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(local, "slow.service"), 0);
  for (uint64_t k = 0; k < 300; k++) {
    memcpy(id, &k, sizeof k);
    struct msg m[] = {
        {.type = MSG_REPLY, .reply = {.call_id = slice_of(id, sizeof id), .result = slice_str("forged")}},
        {.type = MSG_ACK, .ack = {.ref = k}},
        {.type = MSG_CANCEL, .cancel = {.call_id = slice_of(id, sizeof id)}},
        {.type = MSG_PONG, .pong = {.timestamp = k, .server_time = k}},
        {.type = MSG_PUBLISH,
         .publish = {.topic = slice_str("honest.forged"),
                     .payload = slice_str("x"),
                     .qos = 1,
                     .message_id = slice_of(id, sizeof id),
                     .publisher = slice_of(id_of(h.pub)->b, ID_LEN),
                     .instance = slice_of(h.pub->instance, INSTANCE_LEN),
                     .ref = k,
                     .has_ref = true}},
        {.type = MSG_CALL,
         .call = {.procedure = slice_str("slow.service"),
                  .args = slice_str("{}"),
                  .call_id = slice_of(id, sizeof id),
                  .timeout = 3600000}},
    };
    for (size_t i = 0; i < sizeof m / sizeof m[0]; i++) rig_send(c, &m[i]);
    if (k % 20 == 0) go(&h, NS_MS);
  }
  connect_as_node(c, ""); /* twice */
  go(&h, NS_SEC);
  if (c->closed) fail_msg("closed: %s", c->why_text);
  assert_int_equal(calls_count(router_calls(node_of(&h, 0)->router)), 50);
  assert_int_equal(c->counts[MSG_REPLY], 250); /* too_many_calls */
  served(&h);
  assert_int_equal(local->counts[MSG_CALL], 50);
  bye(c);
  (void)rig_expect(local, MSG_CANCEL);
  go(&h, NS_SEC);
  assert_int_equal(local->counts[MSG_CANCEL], 50);
  assert_int_equal(calls_count(router_calls(node_of(&h, 0)->router)), 0);
  bye(local);
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

/* Several that leave nothing of the calls to anybody else: own clients still have theirs. */
static void test_calls_of_many(void **state) {
  struct rig_options o = {.node = {.limits = {.max_calls = 80}}};
  struct honest h;
  uint8_t id[CALL_ID_LEN] = {0};
  struct rig_client *c[4], *local;
  (void)state;
  honest_start(&h, &o);
  local = rig_join(&h.m.rig[0], 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(local, "slow.service"), 0);
  for (int i = 0; i < 4; i++) {
    c[i] = liar(&h.m.rig[0], NULL);
    for (uint64_t k = 0; k < 100; k++) {
      memcpy(id, &k, sizeof k);
      struct msg m = {.type = MSG_CALL,
                      .call = {.procedure = slice_str("slow.service"), .call_id = slice_of(id, sizeof id), .timeout = 3600000}};
      rig_send(c[i], &m);
    }
    go(&h, 100 * NS_MS);
  }
  assert_int_equal(calls_count(router_calls(node_of(&h, 0)->router)), 60);
  served(&h);
  for (int i = 0; i < 4; i++) bye(c[i]);
  bye(local);
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

/* ---- floods ----------------------------------------------------------------------------------------------------------------
 */
static void test_interest_flood(void **state) {
  struct rig_options o = {.node = {.limits = {.max_subscriptions = 5000, .max_replays = 64, .interest_bytes = 1 << 20}}};
  struct honest h;
  static uint8_t buf[64 << 10];
  static struct slice items[400];
  static char names[400][24];
  (void)state;
  honest_start(&h, &o);
  struct rig_client *c = liar(&h.m.rig[0], NULL);
  for (uint64_t k = 0; k < 2500; k++) { /* a million patterns */
    struct wire_interest m = {
        .epoch = 9, .from = k, .version = k + 1, .more = k % 100 != 99, .retained = k % 7, .reset = k % 1000 == 0};
    if (m.reset) m.from = 0;
    for (int i = 0; i < 400; i++) {
      snprintf(names[i], sizeof names[i], "x%llu.%d.*", (unsigned long long)k, i);
      items[i] = slice_str(names[i]);
    }
    m.adds = (struct msg_list){.count = 400, .items = items};
    send_payload(c, MSG_INTEREST, buf, wire_interest_encode(&m, buf, sizeof buf));
    if (k % 10 == 0) go(&h, 5 * NS_MS);
    if (k % 500 == 0) within(&h);
  }
  served(&h);
  assert_int_equal(rig_publish(h.pub, "kept.a", "1", 0, true, 1), 0);
  for (uint64_t k = 1; k < 3000; k++) {
    struct wire_retained_get g = {k, slice_str(k % 2 ? "**" : "kept.*"), k % 3 ? 0 : UINT64_MAX, k % 5 == 0};
    struct wire_have have = {k, k, k};
    send_payload(c, MSG_RETAINED_GET, buf, wire_retained_get_encode(&g, buf, sizeof buf));
    send_payload(c, MSG_INTEREST_HAVE, buf, wire_have_encode(&have, buf, sizeof buf));
    if (k % 20 == 0) go(&h, NS_MS);
  }
  served(&h);
  bye(c);
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

static void test_dht_flood(void **state) {
  struct rig_options o = {.node = {.limits = {.max_records = 200, .record_bytes = 256 << 10, .max_members = FEW_MEMBERS}}};
  struct honest h;
  uint8_t record[KAD_MAX_RECORD], sig[KAD_MAX_SIGNATURE], octets[KAD_MAX_RECORD + 64], buf[KAD_MAX_STORE];
  size_t sig_len;
  (void)state;
  honest_start(&h, &o);
  struct rig_client *c = liar(&h.m.rig[0], NULL);
  static const char domain[] = "macula dht record 1";
  for (uint64_t k = 0; k < 3000; k++) {
    struct kad_batch b = {.realm = slice_str("test"), .seq = k + 1, .count = 16, .gateway = *id_of(c)};
    for (uint32_t i = 0; i < 16; i++)
      b.entries[i] = (struct kad_entry){.key = invented(k * 16 + i), .kind = 1 + i % 3, .ttl = k % 3 ? 315360000 : 0};
    size_t n = kad_batch_encode(&b, record, sizeof record);
    memcpy(octets, domain, sizeof domain);
    memcpy(octets + sizeof domain, record, n);
    sig_len = sizeof sig;
    assert_int_equal(quic_identity_sign(c->identity, slice_of(octets, sizeof domain + n), sig, &sig_len), 0);
    if (k % 10 == 9) sig[3] ^= 1;
    struct kad_msg store = {.query = k + 1,
                            .batch = {slice_of(record, n), slice_of(sig, sig_len), quic_identity_spki(c->identity), 0}};
    struct kad_msg find = {.query = k + 1, .key = invented(k), .kind = 1};
    if (k < 600) send_payload(c, MSG_STORE, buf, kad_encode(MSG_STORE, &store, buf, sizeof buf));
    send_payload(c, k % 2 ? MSG_FIND_NODE : MSG_FIND_VALUE, buf,
                 kad_encode(k % 2 ? MSG_FIND_NODE : MSG_FIND_VALUE, &find, buf, sizeof buf));
    struct kad_contact nodes[20];
    for (uint64_t i = 0; i < 20; i++) nodes[i] = (struct kad_contact){.id = invented(k * 20 + i), .gateway = *id_of(c)};
    struct kad_msg reply = {.query = k + 1, .nodes = nodes, .node_count = 20};
    send_payload(c, MSG_FIND_NODE_REPLY, buf, kad_encode(MSG_FIND_NODE_REPLY, &reply, buf, sizeof buf));
    if (k % 20 == 0) go(&h, 2 * NS_MS);
  }
  go(&h, NS_SEC);
  struct dht_stats s;
  dht_stats(node_of(&h, 0)->dht, &s);
  if (c->closed) fail_msg("closed: %s", c->why_text);
  assert_true(s.refused_full > 0 && s.refused_rate > 0 && s.refused_bad > 0);
  served(&h);
  bye(c);
  recovers(&h, 200 * NS_SEC);
  honest_stop(&h);
}

/* ---- nonsense --------------------------------------------------------------------------------------------------------------
 */
static const uint8_t node_types[] = {MSG_PING,          MSG_PONG,           MSG_ACK,        MSG_PUBLISH,
                                     MSG_PUBSUB_ROUTE,  MSG_CALL,           MSG_REPLY,      MSG_CAST,
                                     MSG_RPC_ROUTE,     MSG_CANCEL,         MSG_SWIM_PING,  MSG_SWIM_ACK,
                                     MSG_SWIM_PING_REQ, MSG_SWIM_SYNC,      MSG_INTEREST,   MSG_INTEREST_HAVE,
                                     MSG_RETAINED_GET,  MSG_RETAINED_MOVED, MSG_FIND_NODE,  MSG_FIND_NODE_REPLY,
                                     MSG_STORE,         MSG_STORE_REPLY,    MSG_FIND_VALUE, MSG_FIND_VALUE_REPLY};

/* A well-formed frame of the type, as far as that can be drawn at random. */
static size_t some_frame(struct honest *h, const struct rig_client *c, struct rng rng, uint8_t type, uint8_t *buf, size_t cap) {
  struct id ids[4] = {*id_of(c), *quic_identity_id(h->m.rig[0].identity), *quic_identity_id(h->m.rig[1].identity),
                      invented(rng_below(rng, 30))};
  struct swim_update me = {.incarnation = rng_below(rng, 10), .gateway = ids[rng_below(rng, 4)], .name = slice_str("x")}, u[3];
  uint8_t id[CALL_ID_LEN] = {(uint8_t)rng_below(rng, 4)};
  struct slice topic = slice_str(rng_below(rng, 2) ? "honest.x" : "other.y"), items[2] = {slice_str("a.*"), slice_str("**")};
  struct slice path[2] = {slice_of(ids[rng_below(rng, 4)].b, ID_LEN), slice_of(ids[rng_below(rng, 2)].b, ID_LEN)};
  struct kad_contact near[2] = {{.id = invented(3), .gateway = ids[0]}, {.id = invented(4), .gateway = ids[3]}};
  struct kad_msg kad = {.query = rng_below(rng, 9), .key = ids[rng_below(rng, 4)], .kind = 1, .nodes = near, .node_count = 2};
  kad.batch = (struct kad_signed){slice_of(ids[0].b, 32), slice_of(ids[1].b, 32), slice_of(ids[2].b, 32), 0};
  struct wire_interest page = {.epoch = 1 + rng_below(rng, 2), .from = rng_below(rng, 3), .reset = rng_below(rng, 2)};
  page.version = page.from + rng_below(rng, 3) + 1;
  if (page.reset) page.from = 0;
  page.more = rng_below(rng, 2);
  page.retained = rng_below(rng, 2);
  *(rng_below(rng, 2) ? &page.adds : &page.removes) = (struct msg_list){.count = 2, .items = items};
  struct wire_have have = {rng_below(rng, 2), rng_below(rng, 4), rng_below(rng, 2)};
  struct wire_retained_get get = {1 + rng_below(rng, 5), slice_str("**"), rng_below(rng, 1000), rng_below(rng, 2)};
  struct wire_retained_moved moved = {topic, rng_below(rng, 2) * UINT64_C(1790000005000),
                                      rng_below(rng, 2) * UINT64_C(1790000005000)};
  static const enum swim_state states[] = {SWIM_ALIVE, SWIM_SUSPECT, SWIM_DEAD, SWIM_LEFT};
  for (int i = 0; i < 3; i++)
    u[i] = (struct swim_update){.state = states[rng_below(rng, 4)],
                                .id = ids[rng_below(rng, 4)],
                                .incarnation = rng_below(rng, 20),
                                .has_info = true,
                                .gateway = ids[rng_below(rng, 4)],
                                .name = slice_str("y")};
  struct msg m = {.type = (enum msg_type)type};
  uint8_t raw[8192];
  if (type >= MSG_SWIM_PING && type <= MSG_SWIM_SYNC)
    m.raw = slice_of(raw, swim_payload(raw, sizeof raw, type, rng_below(rng, 5), &me, u, rng_below(rng, 4)));
  else if (type >= MSG_FIND_NODE && type <= MSG_STORE_REPLY)
    m.raw = slice_of(raw, kad_encode(type, &kad, raw, sizeof raw));
  else if (type == MSG_INTEREST)
    m.raw = slice_of(raw, wire_interest_encode(&page, raw, sizeof raw));
  else if (type == MSG_INTEREST_HAVE)
    m.raw = slice_of(raw, wire_have_encode(&have, raw, sizeof raw));
  else if (type == MSG_RETAINED_GET)
    m.raw = slice_of(raw, wire_retained_get_encode(&get, raw, sizeof raw));
  else if (type == MSG_RETAINED_MOVED)
    m.raw = slice_of(raw, wire_retained_moved_encode(&moved, raw, sizeof raw));
  if (m.raw.n) {
    frame_header(buf, type, (uint32_t)m.raw.n);
    memcpy(buf + FRAME_HEADER_LEN, m.raw.p, m.raw.n);
    return FRAME_HEADER_LEN + m.raw.n;
  }
  switch (type) {
  case MSG_PUBLISH:
    m.publish = (struct msg_publish){.topic = topic,
                                     .payload = slice_str("lie"),
                                     .qos = rng_below(rng, 2),
                                     .retain = rng_below(rng, 2),
                                     .message_id = slice_of(id, sizeof id),
                                     .publisher = slice_of(ids[3].b, ID_LEN),
                                     .instance = slice_of(ids[3].b, INSTANCE_LEN),
                                     .ref = 1,
                                     .has_ref = rng_below(rng, 2),
                                     .replay = rng_below(rng, 3)};
    break;
  case MSG_CALL:
  case MSG_CAST:
    m.call = (struct msg_call){
        .procedure = slice_str("honest.service"), .args = slice_str("1"), .call_id = slice_of(id, sizeof id), .timeout = 50};
    break;
  case MSG_REPLY:
    m.reply = (struct msg_reply){.call_id = slice_of(id, sizeof id), .result = slice_str("1")};
    break;
  case MSG_CANCEL:
    m.cancel = (struct msg_cancel){.call_id = slice_of(id, sizeof id)};
    break;
  case MSG_RPC_ROUTE:
  case MSG_PUBSUB_ROUTE:
    m.route = (struct msg_route){.destination = slice_of(ids[rng_below(rng, 4)].b, ID_LEN),
                                 .source = slice_of(ids[rng_below(rng, 4)].b, ID_LEN),
                                 .hop_count = rng_below(rng, 12),
                                 .max_hops = 10,
                                 .payload_type = slice_str(msg_type_name(node_types[rng_below(rng, sizeof node_types)])),
                                 .topic = slice_of("", 0),
                                 .path = {.count = 1 + (uint32_t)rng_below(rng, 2), .items = path}};
    size_t inner = some_frame(h, c, rng, MSG_SWIM_PING, raw, sizeof raw);
    m.route.payload = slice_of(raw + FRAME_HEADER_LEN, inner - FRAME_HEADER_LEN);
    break;
  default:
    m.ack.ref = rng_below(rng, 5);
  }
  ptrdiff_t n = msg_encode(&m, buf, cap);
  return n > 0 ? (size_t)n : 0;
}

static void test_nonsense(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 6; seed++) {
    struct honest h;
    struct rig_options o = {.seed = seed, .node = {.limits = {.max_members = FEW_MEMBERS, .max_peers = 40}}};
    static uint8_t buf[16384];
    honest_start(&h, &o);
    struct rng rng = sim_net_rng(h.m.rig[0].net);
    for (int k = 0; k < 30; k++) {
      struct rig_client *c = liar(&h.m.rig[rng_below(rng, 2)], rng_below(rng, 2) ? "10.8.8.8:1" : NULL);
      for (int f = 0; f < 60 && c->conn; f++) {
        size_t n = some_frame(&h, c, rng, node_types[rng_below(rng, sizeof node_types)], buf, sizeof buf);
        if (n && rng_below(rng, 4) == 0) buf[rng_below(rng, n)] = (uint8_t)rng_below(rng, 256);
        if (n && rng_below(rng, 40) == 0) n = rng_below(rng, n) + 1; /* what follows belongs to this one now */
        if (n) (void)quic_stream_write(c->conn, c->stream, slice_of(buf, n));
        if (rng_below(rng, 3) == 0) go(&h, rng_below(rng, 200) * NS_MS);
      }
      if (k % 2 && c->conn) quic_conn_close(c->conn, 0, "");
      if (!(k % 2) && c->conn) rig_kill(c);
      go(&h, NS_MS);
      within(&h);
    }
    mesh_settle(&h.m);
    h.sub->read = h.sub->kept_count; /* what liars published */
    recovers(&h, 600 * NS_SEC);
    honest_stop(&h);
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_gateways_in_a_circle),
      cmocka_unit_test(test_moved_while_gone_through),
      cmocka_unit_test(test_accuses_everybody),
      cmocka_unit_test(test_invented_members),
      cmocka_unit_test(test_invented_members_behind_gateways),
      cmocka_unit_test(test_many_identities),
      cmocka_unit_test(test_many_identities_beside_a_named_node),
      cmocka_unit_test(test_a_comer_among_dials_to_nowhere),
      cmocka_unit_test(test_busy_identities_beside_a_named_node),
      cmocka_unit_test(test_a_call_among_busy_identities),
      cmocka_unit_test(test_a_call_whose_slot_was_taken),
      cmocka_unit_test(test_calls_whose_slots_were_taken),
      cmocka_unit_test(test_records_for_named_nodes),
      cmocka_unit_test(test_endpoints),
      cmocka_unit_test(test_envelopes),
      cmocka_unit_test(test_calls_of_others),
      cmocka_unit_test(test_calls_of_many),
      cmocka_unit_test(test_interest_flood),
      cmocka_unit_test(test_dht_flood),
      cmocka_unit_test(test_nonsense),
  };
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
