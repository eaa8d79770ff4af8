/* Nodes that lie: raw QUIC clients with the capability `node` that say whatever they like to a node of a small mesh. Whatever
 * it is, the honest are served meanwhile and afterwards, no table grows beyond its limit, and what the liar caused goes after
 * it. The programs: test_mesh_hostile_*.c, by what is lied to. */
#ifndef SIM_MESH_HOSTILE_RIG_H
#define SIM_MESH_HOSTILE_RIG_H

#include "mesh_rig.h"
#include "trust/crypto.h"
#include "wire/interest.h"
#include "wire/swim.h"

#define FEW_MEMBERS 400

/* ---- two honest nodes, each with a client ----------------------------------------------------------------------------------
 */
struct honest {
  struct mesh m;
  struct rig_client *pub, *sub; /* of node 0 and of node 1 */
  struct row_now start[2][ROWS_SHOWN];
  uint64_t messages;
};

static inline struct node *node_of(struct honest *h, unsigned i) { return h->m.rig[i].node; }

static inline void honest_start(struct honest *h, const struct rig_options *o) {
  memset(h, 0, sizeof *h);
  mesh_start_joined(&h->m, 2, o);
  h->pub = rig_join(&h->m.rig[0], 0, NULL, RIG_EXT);
  h->sub = rig_join(&h->m.rig[1], 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(h->sub, "honest.*"), 0);
  assert_int_equal(rig_register(h->sub, "honest.service"), 0);
  mesh_settle(&h->m);
  rig_run(&h->m.rig[0], 10 * NS_SEC);
  for (unsigned i = 0; i < 2; i++) rows_now(node_of(h, i), h->start[i]);
}

static inline void honest_stop(struct honest *h) { mesh_stop(&h->m); }

/* No row is beyond its limit. */
static inline void within(struct honest *h) {
  struct row_now rows[ROWS_SHOWN];
  for (unsigned i = 0; i < 2; i++) {
    rows_now(node_of(h, i), rows);
    for (int k = 0; k < ROWS_SHOWN; k++) {
      if (rows[k].limit && rows[k].entries > rows[k].limit)
        fail_msg("node %u: %s holds %llu of %llu", i, rows[k].name, (unsigned long long)rows[k].entries,
                 (unsigned long long)rows[k].limit);
      if (rows[k].limit_bytes && rows[k].peak > rows[k].limit_bytes + 64) /* the last allocation's rounding */
        fail_msg("node %u: %s has used %llu bytes of %llu", i, rows[k].name, (unsigned long long)rows[k].peak,
                 (unsigned long long)rows[k].limit_bytes);
    }
  }
}

/* While a node that has just come says nothing, or goes, a publish reaches all others and is not said to be done. */
static inline int publish_until_done(struct rig_client *c, const char *topic, const char *payload, uint64_t id) {
  int err = rig_publish(c, topic, payload, 1, false, id);
  for (int i = 0; i < 20 && (err == MACULA_LISTENERS_UNKNOWN || err == MACULA_NO_ROUTE); i++, rig_run(c->rig, 5 * NS_SEC))
    err = rig_publish(c, topic, payload, 1, false, id);
  return err;
}

/* A publish and a call of one node's client reach the other's. */
static inline void served(struct honest *h) {
  char text[32];
  snprintf(text, sizeof text, "%llu", (unsigned long long)++h->messages);
  assert_int_equal(publish_until_done(h->pub, "honest.news", text, 100000 + h->messages), 0);
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
static inline bool as_at_start(void *ctx) {
  static const enum row rows_of_peers[] = {ROW_SESSIONS, ROW_PEERS,    ROW_MEMBERS, ROW_CALLS,
                                           ROW_LOOKUPS,  ROW_INTEREST, ROW_REPLAYS};
  struct honest *h = ctx;
  struct row_now now[ROWS_SHOWN];
  for (unsigned i = 0; i < 2; i++) {
    rows_now(node_of(h, i), now);
    for (size_t k = 0; k < sizeof rows_of_peers / sizeof rows_of_peers[0]; k++)
      if (now[rows_of_peers[k]].entries > h->start[i][rows_of_peers[k]].entries) return false;
    if (node_of(h, i)->rows.mem[ROW_HELD].bytes) return false;
  }
  return true;
}

static inline void recovers(struct honest *h, nanotime in) {
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
static inline const struct id *id_of(const struct rig_client *c) { return quic_identity_id(c->identity); }

static inline struct id invented(uint64_t k) {
  struct id id = {{0}};
  for (int i = 0; i < 8; i++) id.b[i] = (uint8_t)(k * UINT64_C(0x9e3779b97f4a7c15) >> 8 * i);
  memcpy(id.b + 8, &k, sizeof k);
  id.b[31] = 0xee;
  return id;
}

static inline void connect_as_node(struct rig_client *c, const char *endpoint) {
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

static inline void bye(struct rig_client *c) {
  if (c->conn) quic_conn_close(c->conn, 0, "");
}

/* A node that nobody can dial, if its endpoint is empty. It may be refused. */
static inline struct rig_client *comer(struct rig *r, const char *endpoint) {
  struct rig_client *c = rig_client(r, 0, NULL);
  rig_opened(c);
  connect_as_node(c, endpoint);
  return c;
}

static inline void send_payload(struct rig_client *c, uint8_t type, const void *p, size_t n) {
  uint8_t *buf = malloc(FRAME_HEADER_LEN + n);
  frame_header(buf, type, (uint32_t)n);
  memcpy(buf + FRAME_HEADER_LEN, p, n);
  if (c->conn) (void)quic_stream_write(c->conn, c->stream, slice_of(buf, FRAME_HEADER_LEN + n));
  free(buf);
}

/* It is let in, and does not say what its clients listen to. */
static inline struct rig_client *mute(struct rig *r, const char *endpoint) {
  struct rig_client *c = comer(r, endpoint);
  (void)rig_expect(c, MSG_PONG);
  return c;
}

/* It is let in, and says that nobody listens. */
static inline struct rig_client *liar(struct rig *r, const char *endpoint) {
  struct rig_client *c = mute(r, endpoint);
  struct wire_interest m = {.epoch = 9, .version = 1, .reset = true};
  uint8_t buf[512];
  send_payload(c, MSG_INTEREST, buf, wire_interest_encode(&m, buf, sizeof buf));
  return c;
}

/* The last that is not honest goes, and nothing of it stays. */
static inline void leaves(struct honest *h, struct rig_client *c) {
  bye(c);
  recovers(h, 200 * NS_SEC);
  honest_stop(h);
}

/* A call that nobody answers before the test is over. */
static inline struct msg slow_call(const uint8_t call_id[CALL_ID_LEN]) {
  return (struct msg){.type = MSG_CALL,
                      .call = {.procedure = slice_str("slow.service"),
                               .args = slice_str("{}"),
                               .call_id = slice_of(call_id, CALL_ID_LEN),
                               .timeout = 3600000}};
}

static inline struct addr addr_of(const char *text) {
  struct addr a;
  assert_int_equal(addr_parse(text, 0, &a), 0);
  return a;
}

static inline void go(struct honest *h, nanotime for_ns) { rig_run(&h->m.rig[0], for_ns); }

/* What somebody says of himself, signed; a view until 256 more are made. */
static inline struct swim_record signed_record(struct swim_record r, const struct quic_identity *i,
                                               const struct crypto_key *k) {
  static uint8_t kept[256][SWIM_RECORD_MAX];
  static unsigned next;
  uint8_t *b = kept[next++ % 256], text[SWIM_TEXT_MAX], sig[QUIC_SIGNATURE_MAX];
  size_t len;
  r.key = i ? quic_identity_spki(i) : crypto_key_spki(k);
  size_t n = swim_body_encode(&r, b);
  struct slice t = slice_of(text, swim_signed_text(slice_str("test"), slice_of(b, n), text));
  if (!i) {
    assert_int_equal(crypto_sign(k, t, b + n), 0);
  } else {
    assert_int_equal(quic_identity_sign(i, t, sig, &len), 0);
    assert_int_equal(crypto_flatten(r.key, slice_of(sig, len), b + n), 0);
  }
  assert_int_equal(swim_record_decode(slice_of(b, n + SWIM_SIGNATURE_LEN), &r), 0);
  return r;
}

/* Somebody who is nowhere, but has a key; the same for the same k, below 4,096. */
static inline const struct crypto_key *key_of(uint64_t k) {
  static struct crypto_key *keys[4096];
  if (!keys[k]) assert_int_equal(crypto_key_new(&keys[k]), 0);
  return keys[k];
}

static inline struct swim_update says(uint64_t k, struct swim_record r) {
  return (struct swim_update){.state = r.left ? SWIM_LEFT : SWIM_ALIVE, .record = signed_record(r, NULL, key_of(k))};
}

static inline size_t swim_payload(uint8_t *buf, size_t cap, uint8_t type, uint64_t seq, const struct quic_identity *who,
                                  const struct swim_record *me, const struct swim_update *updates, size_t count) {
  struct swim_msg m = {.seq = type == MSG_SWIM_SYNC ? 0 : seq, .me = signed_record(*me, who, NULL)};
  struct swim_encoder e;
  swim_encode_begin(&e, buf, cap, type, &m);
  for (size_t i = 0; i < count; i++) (void)swim_encode_update(&e, &updates[i]);
  return swim_encode_end(&e).n;
}

static inline void send_swim(struct rig_client *c, uint8_t type, const struct swim_record *me,
                             const struct swim_update *updates, size_t count) {
  static uint8_t buf[SWIM_PAGE_LEN];
  send_payload(c, type, buf, swim_payload(buf, sizeof buf, type, 1, c->identity, me, updates, count));
}

/* Probes are answered, so that it passes for alive. */
static inline void pong_swim(struct rig_client *c, const struct swim_record *me) {
  uint8_t buf[512];
  for (; c->read < c->kept_count; c->read++) {
    const struct rig_frame *f = &c->kept[c->read];
    struct swim_msg m;
    if (f->type != MSG_SWIM_PING || swim_decode(f->type, slice_of(f->payload, f->len), &m)) continue;
    send_payload(c, MSG_SWIM_ACK, buf, swim_payload(buf, sizeof buf, MSG_SWIM_ACK, m.seq, c->identity, me, NULL, 0));
  }
}

#endif
