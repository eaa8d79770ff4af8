#include "node_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "access_text.h"
#include "node/check.h"
#include "node/state.h"
#include "trust/token.h"

/* ---- the node on the network -----------------------------------------------------------------------------------------------
 */
/* After each turn all that must hold is looked at (node/check.h). A node that holds much is looked at less often, by the seed:
 * a check takes as long as all of it, a turn only as long as what came. */
static void check(struct rig *r) {
  uint64_t blocks = 0;
  for (int i = 0; i < ROW_COUNT; i++) blocks += r->node->rows.mem[i].blocks;
  r->dice = r->dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  if ((r->dice >> 33) % ((1 + blocks / RIG_CHEAP) * (1 + r->rarely))) return;
  r->checks++;
  const char *broken = node_check(r->node);
  if (broken) fail_msg("%s (seed %llu)", broken, (unsigned long long)r->seed);
}

static struct endpoint of_node(const struct rig *r) { return node_endpoint(r->node); }

static void ep_node_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  of_node(ctx).recv(((struct rig *)ctx)->node, l, r, d, ecn, now);
  check(ctx);
}
static void ep_node_icmp(void *ctx, const struct addr *r, struct slice quoted, bool port, nanotime now) {
  of_node(ctx).icmp(((struct rig *)ctx)->node, r, quoted, port, now);
  check(ctx);
}
static void ep_node_stood(void *ctx, uint64_t ns, nanotime now) {
  of_node(ctx).stood(((struct rig *)ctx)->node, ns, now);
  check(ctx);
}
static nanotime ep_node_deadline(void *ctx) { return of_node(ctx).deadline(((struct rig *)ctx)->node); }
static void ep_node_tick(void *ctx, nanotime now) {
  of_node(ctx).tick(((struct rig *)ctx)->node, now);
  check(ctx);
}
static bool ep_node_late(void *ctx, nanotime now) {
  bool read = of_node(ctx).late(((struct rig *)ctx)->node, now);
  if (read) check(ctx);
  return read;
}
static size_t ep_node_send(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_out, nanotime now) {
  size_t n = of_node(ctx).send(((struct rig *)ctx)->node, buf, cap, ret_out, now);
  check(ctx);
  return n;
}

void rig_start(struct rig *r, const struct rig_options *o) {
  static const struct sim_link link = {.delay = 100 * NS_US};
  struct rig_options d = o ? *o : (struct rig_options){0};
  char at[ADDR_TEXT_LEN];
  *r = (struct rig){.seed = d.seed ? d.seed : d.beside ? d.beside->seed : 1, .shared = d.beside != NULL, .index = d.index};
  r->dice = r->seed + d.index;
  r->net = d.beside ? d.beside->net : sim_net_new(r->seed, d.link ? d.link : &link);
  if (!d.beside) sim_net_icmp(r->net, false);
  assert_int_equal(quic_identity_generate(&r->identity), 0);
  snprintf(at, sizeof at, "10.0.0.%u:9443", 1 + d.index);
  assert_int_equal(addr_parse(at, 0, &r->addr), 0);
  d.node.rng = sim_net_rng(r->net);
  d.node.identity = r->identity;
  d.node.unix_base_ms = UINT64_C(1790000000000);
  if (!d.node.name) d.node.name = "node";
  if (!d.node.realm) d.node.realm = "test";
  if (d.pass_of) d.node.pass = d.pass_of(quic_identity_id(r->identity));
  if (d.access) d.node.access = access_text(d.access);
  r->config = d.node;
  rig_node_start(r);
}

void rig_node_start(struct rig *r) {
  assert_int_equal(node_new(&r->config, sim_net_now(r->net), &r->node), 0);
  node_set_sockets(r->node, &r->addr, 1);
  struct endpoint ep = {ep_node_recv,  ep_node_icmp, ep_node_deadline, ep_node_tick, ep_node_send, r,
                        ep_node_stood, ep_node_late};
  sim_net_attach(r->net, &r->addr, &ep);
}

void rig_node_kill(struct rig *r) {
  sim_net_detach(r->net, &r->addr);
  node_free(r->node);
  r->node = NULL;
}

void rig_until(struct rig *r, nanotime for_ns, bool (*done)(void *ctx), void *ctx, const char *what) {
  if (!sim_net_run(r->net, sim_net_now(r->net) + for_ns, done, ctx))
    fail_msg("not in time: %s (seed %llu)", what, (unsigned long long)r->seed);
}

uint64_t rig_metric(struct rig *r, const char *name) {
  char *text, key[96];
  assert_int_equal(node_metrics(r->node, sim_net_now(r->net), &text), 0);
  snprintf(key, sizeof key, "\nmacula_%s ", name);
  const char *p = strstr(text, key);
  if (!p) fail_msg("no metric %s", name);
  uint64_t v = strtoull(p + strlen(key), NULL, 10);
  free(text);
  return v;
}

static void client_free(struct rig_client *c) {
  if (c->quic) quic_free(c->quic);
  framer_done(&c->framer);
  framer_done(&c->one_way);
  for (size_t i = 0; i < c->kept_count; i++) free(c->kept[i].payload);
  quic_identity_unref(c->identity);
  free(c);
}

void rig_stop(struct rig *r) {
  for (size_t i = 0; i < r->client_count; i++) client_free(r->clients[i]);
  node_free(r->node);
  access_unref(r->config.access);
  quic_identity_unref(r->identity);
  if (!r->shared) sim_net_free(r->net);
}

/* ---- a client --------------------------------------------------------------------------------------------------------------
 */
static void on_open(void *ctx, struct quic_conn *conn) {
  struct rig_client *c = ctx;
  c->open = true;
  assert_int_equal(quic_stream_open(conn, &c->stream), 0);
}
static void on_closed(void *ctx, struct quic_conn *conn, const struct quic_close *why) {
  struct rig_client *c = ctx;
  (void)conn;
  c->closed = true;
  c->why = *why;
  snprintf(c->why_text, sizeof c->why_text, "%.*s", (int)why->text.n, why->text.p ? (const char *)why->text.p : "");
  c->conn = NULL;
}
static void on_data(void *ctx, struct quic_conn *conn, int64_t stream, struct slice data, bool fin) {
  struct rig_client *c = ctx;
  struct frame f;
  size_t n = data.n;
  int err;
  (void)fin;
  if (c->mute) return;
  bool one_way = quic_stream_is_one_way(stream);
  if (stream == c->stream || one_way) {
    while ((err = framer_next(one_way ? &c->one_way : &c->framer, &data, &f)) > 0) {
      c->counts[f.type]++;
      c->by_one_way += one_way;
      if ((c->heard && c->heard(c->heard_ctx, &f)) || c->kept_count == RIG_KEPT) continue;
      struct rig_frame *k = &c->kept[c->kept_count++];
      *k = (struct rig_frame){f.type, f.payload.n, malloc(f.payload.n + 1)};
      memcpy(k->payload, f.payload.p, f.payload.n);
    }
    assert_int_equal(err, 0);
  }
  if (c->holds && one_way) {
    c->owed_one_way += n;
    quic_consume_conn(conn, n);
  } else if (c->stopped) {
    c->owed += n;
  } else {
    quic_consume(conn, stream, n);
  }
}

void rig_stop_reading(struct rig_client *c) { c->stopped = true; }

void rig_read_on(struct rig_client *c) {
  c->stopped = false;
  if (c->conn) quic_consume(c->conn, c->stream, c->owed);
  c->owed = 0;
}

static void on_stream_closed(void *ctx, struct quic_conn *conn, int64_t stream, uint64_t app_error) {
  (void)ctx, (void)conn, (void)stream, (void)app_error;
}

static void ep_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  quic_recv(((struct rig_client *)ctx)->quic, l, r, d, ecn, now);
}
static nanotime ep_deadline(void *ctx) { return quic_deadline(((struct rig_client *)ctx)->quic); }
static void ep_tick(void *ctx, nanotime now) {
  quic_tick(((struct rig_client *)ctx)->quic, now);
  quic_flush_events(((struct rig_client *)ctx)->quic, now);
}
static size_t ep_send(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
  return quic_send(((struct rig_client *)ctx)->quic, buf, cap, ret_burst, now);
}

struct rig_client *rig_client(struct rig *r, unsigned flags, struct quic_identity *identity) {
  struct rig_client *c = calloc(1, sizeof *c);
  char text[ADDR_TEXT_LEN];
  assert_true(r->client_count < RIG_CLIENTS);
  snprintf(text, sizeof text, "%s.%u:%u", flags & RIG_LOOPBACK ? "127.0.0" : "10.0.1", 2 + r->index,
           1000 + (unsigned)r->client_count);
  assert_int_equal(addr_parse(text, 0, &c->addr), 0);
  c->rig = r;
  c->mem = MEM_INIT("client", 0);
  c->send_mem = MEM_INIT("client send", 0);
  if (identity)
    c->identity = quic_identity_ref(identity);
  else
    assert_int_equal(quic_identity_generate(&c->identity), 0);
  framer_init(&c->framer, &c->mem, FRAME_MAX_PAYLOAD);
  framer_init(&c->one_way, &c->mem, FRAME_MAX_PAYLOAD);
  rng_fill(sim_net_rng(r->net), c->instance, sizeof c->instance);
  struct quic_config q = {
      .mem = &c->mem,
      .send_mem = &c->send_mem,
      .rng = sim_net_rng(r->net),
      .handler = {.conn_open = on_open, .conn_closed = on_closed, .stream_data = on_data, .stream_closed = on_stream_closed},
      .ctx = c,
      .identity = c->identity,
      .max_conns = 4,
      .max_half_open = 4,
      .keep_alive = 10 * NS_SEC,
      .stream_window = 256 << 10,
      .conn_window = 256 << 10,
      .max_streams = 4,
      .one_way_streams = 1,
      .one_way_window = 256 << 10,
      .unix_base_s = 1790000000};
  assert_int_equal(quic_new(&q, sim_net_now(r->net), &c->quic), 0);
  struct endpoint ep = {ep_recv, NULL, ep_deadline, ep_tick, ep_send, c};
  sim_net_attach(r->net, &c->addr, &ep);
  struct quic_connect o = {
      .local = c->addr, .remote = r->addr, .expect = quic_identity_id(r->identity), .no_cert = flags & RIG_NO_CERT};
  assert_int_equal(quic_connect(c->quic, &o, sim_net_now(r->net), &c->conn), 0);
  r->clients[r->client_count++] = c;
  return c;
}

void rig_kill(struct rig_client *c) {
  sim_net_detach(c->rig->net, &c->addr);
  quic_free(c->quic);
  c->quic = NULL;
  c->conn = NULL;
  c->closed = true;
}

static bool is_open(void *ctx) {
  struct rig_client *c = ctx;
  return c->open || c->closed;
}
static bool is_closed(void *ctx) { return ((struct rig_client *)ctx)->closed; }

void rig_run(struct rig *r, nanotime for_ns) { sim_net_run(r->net, sim_net_now(r->net) + for_ns, NULL, NULL); }

void rig_opened(struct rig_client *c) {
  sim_net_run(c->rig->net, sim_net_now(c->rig->net) + 20 * NS_SEC, is_open, c);
  if (!c->open) fail_msg("no connection (seed %llu): %s", (unsigned long long)c->rig->seed, c->why_text);
}

void rig_send_raw(struct rig_client *c, struct slice bytes) {
  if (!c->conn) fail_msg("its connection has ended (seed %llu): %s", (unsigned long long)c->rig->seed, c->why_text);
  assert_int_equal(quic_stream_write(c->conn, c->stream, bytes), 0);
}

void rig_send(struct rig_client *c, const struct msg *m) {
  size_t n = msg_size(m);
  uint8_t *buf = malloc(n);
  assert_int_equal(msg_encode(m, buf, n), n);
  rig_send_raw(c, slice_of(buf, n));
  free(buf);
}

void rig_send_by_one_way(struct rig_client *c, const struct msg *m) {
  size_t n = msg_size(m);
  uint8_t *buf = malloc(n);
  assert_int_equal(msg_encode(m, buf, n), n);
  if (!c->publishes) assert_int_equal(quic_stream_open_one_way(c->conn, &c->publishes), 0);
  assert_int_equal(quic_stream_write(c->conn, c->publishes, slice_of(buf, n)), 0);
  free(buf);
}

void rig_connect(struct rig_client *c, uint32_t caps, const char *realm, const char *token) {
  uint8_t proof[TOKEN_PROOF_LEN];
  struct msg m = {.type = MSG_CONNECT,
                  .connect = {.version = slice_str("1.0"),
                              .node_id = slice_of(quic_identity_id(c->identity)->b, ID_LEN),
                              .realm_id = slice_str(realm),
                              .caps = caps}};
  if (caps & CAP_EXTENSIONS) {
    m.connect.instance = slice_of(c->instance, sizeof c->instance);
    m.connect.name = slice_str("rig");
    if (token) {
      struct token_session ends = {.client = *quic_identity_id(c->identity), .node = *quic_conn_peer_id(c->conn)};
      memcpy(ends.exporter, quic_conn_exporter(c->conn), sizeof ends.exporter);
      token_prove(slice_str(token), TOKEN_OF_CLIENT, &ends, proof);
      m.connect.proof = slice_of(proof, sizeof proof);
    }
  }
  rig_send(c, &m);
}

void rig_show(struct rig_client *c, struct slice pass) {
  struct msg m = {.type = MSG_CONNECT,
                  .connect = {.version = slice_str("1.0"),
                              .node_id = slice_of(quic_identity_id(c->identity)->b, ID_LEN),
                              .realm_id = slice_str("test"),
                              .caps = RIG_EXT,
                              .pass = pass,
                              .instance = slice_of(c->instance, sizeof c->instance)}};
  rig_send(c, &m);
}

struct rig_client *rig_join(struct rig *r, unsigned flags, struct quic_identity *identity, uint32_t caps) {
  struct rig_client *c = rig_client(r, flags, identity);
  rig_opened(c);
  if (!caps) return c;
  rig_connect(c, caps, "test", NULL);
  (void)rig_expect(c, MSG_PONG);
  return c;
}

/* ---- waiting ---------------------------------------------------------------------------------------------------------------
 */
struct wait {
  struct rig_client *c;
  uint8_t type;
};
static bool has_frame(void *ctx) {
  struct wait *w = ctx;
  struct rig_client *c = w->c;
  while (c->read < c->kept_count && c->kept[c->read].type != w->type) c->read++;
  return c->read < c->kept_count || c->closed;
}

struct msg rig_expect(struct rig_client *c, uint8_t type) {
  struct wait w = {c, type};
  struct msg m;
  sim_net_run(c->rig->net, sim_net_now(c->rig->net) + 20 * NS_SEC, has_frame, &w);
  if (c->read >= c->kept_count)
    fail_msg("no %s came (seed %llu); closed: %d %s", msg_type_name(type), (unsigned long long)c->rig->seed, c->closed,
             c->why_text);
  struct rig_frame *f = &c->kept[c->read++];
  assert_int_equal(msg_decode(f->type, slice_of(f->payload, f->len), &m), 0);
  return m;
}

bool rig_quiet(struct rig_client *c, uint8_t type, nanotime for_ns) {
  struct wait w = {c, type};
  rig_run(c->rig, for_ns);
  for (size_t i = c->read; i < c->kept_count; i++)
    if (c->kept[i].type == w.type) return false;
  return true;
}

int rig_closed(struct rig_client *c) {
  sim_net_run(c->rig->net, sim_net_now(c->rig->net) + 70 * NS_SEC, is_closed, c);
  assert_true(c->closed);
  return c->why.is_app ? -(int)c->why.app_error : c->why.err;
}

/* ---- requests --------------------------------------------------------------------------------------------------------------
 */
static int ack_code(struct rig_client *c, uint64_t ref) {
  struct msg m = rig_expect(c, MSG_ACK);
  assert_int_equal(m.ack.ref, ref);
  return m.ack.code.n ? err_from_name((const char *)m.ack.code.p, m.ack.code.n) : 0;
}

int rig_subscribe(struct rig_client *c, const char *pattern) {
  struct slice topic = slice_str(pattern);
  struct msg m = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &topic}, .ref = 7, .has_ref = true}};
  rig_send(c, &m);
  return ack_code(c, 7);
}

int rig_register(struct rig_client *c, const char *procedure) {
  struct msg m = {.type = MSG_REGISTER, .reg = {.procedure = slice_str(procedure), .ref = 8, .has_ref = true}};
  rig_send(c, &m);
  return ack_code(c, 8);
}

static struct msg publish(const char *topic, struct slice payload, int qos, uint8_t id[CALL_ID_LEN]) {
  return (struct msg){
      .type = MSG_PUBLISH,
      .publish = {
          .topic = slice_str(topic), .payload = payload, .qos = (uint64_t)qos, .message_id = slice_of(id, CALL_ID_LEN)}};
}

int rig_publish(struct rig_client *c, const char *topic, const char *payload, int qos, bool retain, uint64_t id) {
  uint8_t message_id[CALL_ID_LEN] = {0};
  memcpy(message_id, &id, sizeof id);
  struct msg m = publish(topic, slice_str(payload), qos, message_id);
  m.publish.retain = retain;
  m.publish.ref = 9;
  m.publish.has_ref = true;
  rig_send(c, &m);
  return ack_code(c, 9);
}

void rig_publish_only(struct rig_client *c, const char *topic, struct slice payload, int qos) {
  uint8_t message_id[CALL_ID_LEN];
  rng_fill(sim_net_rng(c->rig->net), message_id, sizeof message_id);
  struct msg m = publish(topic, payload, qos, message_id);
  rig_send(c, &m);
}

void rig_call(struct rig_client *c, const char *procedure, const char *args, uint64_t id, uint64_t timeout_ms) {
  uint8_t call_id[CALL_ID_LEN] = {0};
  memcpy(call_id, &id, sizeof id);
  struct msg m = {.type = MSG_CALL,
                  .call = {.procedure = slice_str(procedure),
                           .args = slice_str(args),
                           .call_id = slice_of(call_id, sizeof call_id),
                           .timeout = timeout_ms}};
  rig_send(c, &m);
}

struct msg_reply rig_ask(struct rig_client *c, const char *procedure, const char *args) {
  rig_call(c, procedure, args, 4711, 0);
  return rig_expect(c, MSG_REPLY).reply;
}

void rig_reply(struct rig_client *c, struct slice call_id, const char *result) {
  struct msg m = {.type = MSG_REPLY, .reply = {.call_id = call_id, .result = slice_str(result)}};
  rig_send(c, &m);
}
