/* Two QUIC endpoints and what they told, over the simulated network. Included by the tests of this folder and of tests/sim. */
#ifndef TEST_QUIC_PAIR_H
#define TEST_QUIC_PAIR_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <stdio.h>
#include <stdlib.h>

#include "../../sim/net.h"
#include "base/err.h"
#include "quic/quic.h"
#include "unit/broken.h"

#define UNIX_BASE 1800000000u

struct side { /* an endpoint and what its handler saw */
  struct quic *q;
  struct sim_net *net;
  struct mem mem, send_mem;
  struct addr at;
  struct quic_conn *conn; /* the newest that opened or was made */
  int opened, closed, silent, heard, stream_closed, acked;
  struct quic_close why;
  char text[512];
  bool peer_known, resumed, knew;
  struct quic_offsets ended; /* of stream 0, as known (`knew`) when the end was told */
  struct id peer;
  uint64_t stream_error;
  int64_t stream;
  uint8_t *in;
  size_t in_len, in_cap;
  int fins;
  bool echo, hold; /* hold: bytes are not consumed */
};

static inline void side_open(void *ctx, struct quic_conn *c) {
  struct side *s = ctx;
  s->opened++;
  s->conn = c;
  s->resumed = quic_conn_resumed(c);
  const struct id *id = quic_conn_peer_id(c);
  s->peer_known = id != NULL;
  if (id) s->peer = *id;
}
static inline void side_closed(void *ctx, struct quic_conn *c, const struct quic_close *why) {
  struct side *s = ctx;
  s->closed++;
  s->knew = quic_stream_offsets(c, 0, &s->ended);
  s->why = *why;
  snprintf(s->text, sizeof s->text, "%.*s", (int)why->text.n, why->text.n ? (const char *)why->text.p : "");
  if (s->conn == c) s->conn = NULL;
}
static inline void side_data(void *ctx, struct quic_conn *c, int64_t stream, struct slice data, bool fin) {
  struct side *s = ctx;
  s->stream = stream;
  if (s->in_len + data.n > s->in_cap) {
    s->in_cap = (s->in_len + data.n) * 2;
    s->in = realloc(s->in, s->in_cap);
    assert_non_null(s->in);
  }
  if (data.n) memcpy(s->in + s->in_len, data.p, data.n);
  s->in_len += data.n;
  s->fins += fin;
  if (!s->hold) quic_consume(c, stream, data.n);
  if (s->echo) {
    (void)quic_stream_write(c, stream, data);
    if (fin) quic_stream_finish(c, stream);
  }
}
static inline void side_stream_closed(void *ctx, struct quic_conn *c, int64_t stream, uint64_t app_error) {
  (void)c, (void)stream;
  struct side *s = ctx;
  s->stream_closed++;
  s->stream_error = app_error;
}
static inline void side_acked(void *ctx, struct quic_conn *c) {
  (void)c;
  ((struct side *)ctx)->acked++;
}
static inline void side_heard(void *ctx, struct quic_conn *c) {
  (void)c;
  ((struct side *)ctx)->heard++;
}
static inline void side_silent(void *ctx, struct quic_conn *c) {
  (void)c;
  ((struct side *)ctx)->silent++;
}

/* With many connections or streams it takes longer than what a datagram does. */
static inline void ep_check(struct quic *q) {
  static uint32_t turn;
  struct quic_stats s;
  quic_stats(q, &s);
  if (s.total + s.streams < 32 || ++turn % 256 == 0) HOLDS(quic_check(q));
}
static inline void ep_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  quic_recv(ctx, l, r, d, ecn, now);
  ep_check(ctx);
}
static inline void ep_icmp(void *ctx, const struct addr *r, struct slice quoted, bool port, nanotime now) {
  quic_icmp(ctx, r, quoted, port, now);
}
static inline nanotime ep_deadline(void *ctx) { return quic_deadline(ctx); }
static inline void ep_tick(void *ctx, nanotime now) {
  quic_tick(ctx, now);
  ep_check(ctx);
}
static inline size_t ep_send(void *ctx, uint8_t *buf, size_t cap, struct burst *o, nanotime now) {
  size_t n = quic_send(ctx, buf, cap, o, now);
  ep_check(ctx);
  return n;
}

static inline struct quic_config side_config(struct side *s, struct sim_net *net, struct quic_identity *i, bool server) {
  return (struct quic_config){
      .mem = &s->mem,
      .send_mem = &s->send_mem,
      .rng = sim_net_rng(net),
      .handler = {side_open, side_closed, side_data, side_stream_closed, side_acked, side_silent, side_heard},
      .ctx = s,
      .identity = i,
      .server = server,
      .loop_id = 7,
      .max_conns = 100,
      .max_half_open = 100,
      .retry_half_open = 50,
      .retry_rate = 50,
      .keep_alive = server ? 0 : 10 * NS_SEC,
      .stream_window = 65536,
      .conn_window = 65536,
      .max_streams = 10,
      .unix_base_s = UNIX_BASE,
  };
}
static inline void side_start(struct side *s, struct sim_net *net, const char *at, const struct quic_config *cfg) {
  s->net = net;
  if (!s->mem.name) {
    s->mem = MEM_INIT("quic", 0);
    s->send_mem = MEM_INIT("send", 0);
  }
  assert_int_equal(addr_parse(at, 0, &s->at), 0);
  assert_int_equal(quic_new(cfg, sim_net_now(net), &s->q), 0);
  sim_net_attach(net, &s->at, &(struct endpoint){ep_recv, ep_icmp, ep_deadline, ep_tick, ep_send, s->q});
}
/* Drops the endpoint; everything must be given back. */
static inline void side_stop(struct side *s) {
  if (s->q) {
    sim_net_detach(s->net, &s->at);
    quic_free(s->q);
  }
  s->q = NULL;
  free(s->in);
  s->in = NULL;
  s->in_len = s->in_cap = 0;
  assert_int_equal(s->mem.bytes, 0);
  assert_int_equal(s->send_mem.bytes, 0);
}

struct pair {
  struct sim_net *net;
  struct side a, b; /* client, server */
  struct quic_identity *ia, *ib;
  struct quic_config ca, cb;
};
static const struct sim_link quiet_link = {.delay = NS_MS};

static inline void pair_init(struct pair *p, uint64_t seed, const struct sim_link *link) {
  memset(p, 0, sizeof *p);
  p->net = sim_net_new(seed, link ? link : &quiet_link);
  assert_int_equal(quic_identity_generate(&p->ia), 0);
  assert_int_equal(quic_identity_generate(&p->ib), 0);
  p->ca = side_config(&p->a, p->net, p->ia, false);
  p->cb = side_config(&p->b, p->net, p->ib, true);
}
static inline void pair_start(struct pair *p) {
  side_start(&p->a, p->net, "10.0.0.1:1000", &p->ca);
  side_start(&p->b, p->net, "10.0.0.2:9443", &p->cb);
}
static inline void pair_done(struct pair *p) {
  side_stop(&p->a);
  side_stop(&p->b);
  quic_identity_unref(p->ia);
  quic_identity_unref(p->ib);
  sim_net_free(p->net);
}
static inline int pair_connect_with(struct pair *p, struct quic_connect o) {
  o.local = p->a.at;
  o.remote = p->b.at;
  return quic_connect(p->a.q, &o, sim_net_now(p->net), &p->a.conn);
}
static inline void pair_run(struct pair *p, nanotime t) { sim_net_run(p->net, sim_net_now(p->net) + t, NULL, NULL); }
static inline bool pair_open_done(void *ctx) {
  struct pair *p = ctx;
  return p->a.opened && p->b.opened;
}
/* Connects and waits until both sides are open. */
static inline void pair_connect(struct pair *p) {
  assert_int_equal(pair_connect_with(p, (struct quic_connect){0}), 0);
  assert_true(sim_net_run(p->net, sim_net_now(p->net) + 10 * NS_SEC, pair_open_done, p));
}
static inline void pair_connect_again(struct pair *p) {
  p->a.opened = p->b.opened = 0;
  pair_connect(p);
}

#endif
