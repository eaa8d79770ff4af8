/* Whoever answers where a node is expected: a QUIC server that says what its test wants in answer to CONNECT, and counts what
 * else it hears. */
#ifndef SIM_IMPOSTOR_H
#define SIM_IMPOSTOR_H

#include "client_rig.h"
#include "trust/token.h"
#include "unit/trust/passes.h"
#include "wire/frame.h"
#include "wire/msg.h"

#define TOKEN ACCESS_TOKEN

enum answer { SILENT, NO_PROOF, REFLECTED, OLD_PROOF, GUESSED, PROVED };

struct impostor {
  struct world *w;
  struct quic *quic;
  struct mem mem;
  enum answer answer;
  struct slice pass;
  uint8_t old[TOKEN_PROOF_LEN]; /* good for the connection before */
  struct quic_identity *identity;
  struct addr at;
  struct framer framer;
  int connects, goodbyes, others; /* frames heard */
};

static inline void make_proof(const struct impostor *v, struct quic_conn *conn, const char *token,
                              uint8_t ret[TOKEN_PROOF_LEN]) {
  struct token_session ends = {.client = *quic_conn_peer_id(conn), .node = *quic_identity_id(v->identity)};
  memcpy(ends.exporter, quic_conn_exporter(conn), sizeof ends.exporter);
  token_prove(slice_str(token), TOKEN_OF_NODE, &ends, ret);
}

static inline void answer(struct impostor *v, struct quic_conn *conn, int64_t stream, const struct msg_connect *m) {
  uint8_t buf[PASS_MAX + 1024], proof[TOKEN_PROOF_LEN];
  struct msg pong = {.type = MSG_PONG, .pong = {.has_caps = true, .caps = m->caps, .pass = v->pass}};
  if (m->caps & CAP_NODE) pong.pong.instance = slice_of(quic_identity_id(v->identity)->b, INSTANCE_LEN);
  switch (v->answer) {
  case SILENT:
    return;
  case NO_PROOF:
    break;
  case REFLECTED:
    pong.pong.proof = m->proof;
    break;
  case OLD_PROOF:
    pong.pong.proof = slice_of(v->old, sizeof v->old);
    break;
  case GUESSED:
  case PROVED:
    make_proof(v, conn, v->answer == PROVED ? TOKEN : "0123456789abcdeg", proof);
    pong.pong.proof = slice_of(proof, sizeof proof);
    break;
  }
  ptrdiff_t n = msg_encode(&pong, buf, sizeof buf);
  assert_true(n > 0);
  assert_int_equal(quic_stream_write(conn, stream, slice_of(buf, (size_t)n)), 0);
}

static inline void v_open(void *ctx, struct quic_conn *conn) {
  struct impostor *v = ctx;
  framer_done(&v->framer);
  framer_init(&v->framer, &v->mem, FRAME_MAX_PAYLOAD);
  quic_conn_admit(conn);
}
static inline void v_closed(void *ctx, struct quic_conn *conn, const struct quic_close *why) {
  struct impostor *v = ctx;
  (void)why;
  if (quic_conn_exporter(conn)) make_proof(v, conn, TOKEN, v->old);
}
static inline void v_stream_closed(void *ctx, struct quic_conn *conn, int64_t stream, uint64_t e) {
  (void)ctx, (void)conn, (void)stream, (void)e;
}
static inline void v_data(void *ctx, struct quic_conn *conn, int64_t stream, struct slice data, bool fin) {
  struct impostor *v = ctx;
  struct frame f;
  struct msg m;
  (void)fin;
  quic_consume(conn, stream, data.n);
  while (framer_next(&v->framer, &data, &f) > 0) {
    v->connects += f.type == MSG_CONNECT;
    v->goodbyes += f.type == MSG_DISCONNECT;
    v->others += f.type != MSG_CONNECT && f.type != MSG_DISCONNECT;
    if (f.type == MSG_CONNECT && !msg_decode(f.type, f.payload, &m)) answer(v, conn, stream, &m.connect);
  }
}
static inline void v_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  quic_recv(((struct impostor *)ctx)->quic, l, r, d, ecn, now);
}
static inline nanotime v_deadline(void *ctx) { return quic_deadline(((struct impostor *)ctx)->quic); }
static inline void v_tick(void *ctx, nanotime now) {
  quic_tick(((struct impostor *)ctx)->quic, now);
  quic_flush_events(((struct impostor *)ctx)->quic, now);
}
static inline size_t v_send(void *ctx, uint8_t *buf, size_t cap, struct burst *o, nanotime now) {
  return quic_send(((struct impostor *)ctx)->quic, buf, cap, o, now);
}

static inline void impostor_start(struct impostor *v, struct world *w, const struct addr *at, struct quic_identity *identity) {
  *v = (struct impostor){.w = w, .at = *at, .identity = identity};
  v->mem = MEM_INIT("impostor", 0);
  framer_init(&v->framer, &v->mem, FRAME_MAX_PAYLOAD);
  struct quic_config cfg = {.mem = &v->mem,
                            .send_mem = &v->mem,
                            .rng = sim_net_rng(w->net),
                            .handler = {v_open, v_closed, v_data, v_stream_closed, NULL, NULL},
                            .ctx = v,
                            .identity = identity,
                            .server = true,
                            .max_conns = 100,
                            .max_half_open = 100,
                            .stream_window = 1 << 20,
                            .conn_window = 1 << 20,
                            .max_streams = 100,
                            .unix_base_s = UNIX_BASE};
  assert_int_equal(quic_new(&cfg, sim_net_now(w->net), &v->quic), 0);
  sim_net_attach(w->net, at, &(struct endpoint){v_recv, NULL, v_deadline, v_tick, v_send, v});
}

static inline void impostor_stop(struct impostor *v) {
  sim_net_detach(v->w->net, &v->at);
  quic_free(v->quic);
  framer_done(&v->framer);
  assert_int_equal(v->mem.bytes, 0);
}

#endif
