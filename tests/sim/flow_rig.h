/* Publishers that are faster than those who read: clients that take so many bytes a second, on one node or several. */
#ifndef SIM_FLOW_RIG_H
#define SIM_FLOW_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node_rig.h"

#define STREAMS (RIG_EXT | CAP_STREAMS | CAP_NOTICE)
#define TEXT 1000 /* bytes of a payload */
#define MOST 12   /* slow readers */
#define STEP (5 * NS_MS)

struct slow {
  struct rig_client *c;
  double rate, credit; /* bytes a second, 0: it has stopped; bytes that it may give back now */
};

struct readers {
  struct sim_net *net;
  struct slow slow[MOST];
  int slow_count;
  bool whole; /* slow ones read nothing of their connection, else none of their publishes, as by macula_hold */
  char text[TEXT + 1];
};

static inline void flow_init(struct readers *f, struct sim_net *net) {
  *f = (struct readers){.net = net};
  memset(f->text, 'x', TEXT);
}

static inline void publish(struct rig_client *c, const char *topic, const char *text, int qos, uint64_t ref) {
  uint8_t id[CALL_ID_LEN] = {0};
  memcpy(id, &ref, sizeof ref);
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str(topic),
                              .payload = slice_str(text),
                              .qos = (uint64_t)qos,
                              .message_id = slice_of(id, sizeof id),
                              .ref = ref,
                              .has_ref = qos > 0}};
  rig_send_by_one_way(c, &m);
}

static inline void flood(struct readers *f, struct rig_client *c, const char *topic, int count) {
  for (int i = 0; i < count; i++) publish(c, topic, f->text, 0, 0);
}

/* It takes so many bytes a second from now on. */
static inline struct slow *slow_down(struct readers *f, struct rig_client *c, double rate) {
  assert_true(f->slow_count < MOST);
  c->stopped = f->whole;
  c->holds = !f->whole;
  f->slow[f->slow_count] = (struct slow){c, rate, 0};
  return &f->slow[f->slow_count++];
}

static inline void give(struct slow *s, double seconds) {
  struct rig_client *c = s->c;
  size_t *owed = c->stopped ? &c->owed : &c->owed_one_way;
  s->credit += s->rate * seconds;
  if (s->credit > (double)*owed) s->credit = (double)*owed;
  size_t n = (size_t)s->credit;
  if (!c->conn || n < (c->stopped ? 1200u : 1u)) return;
  if (c->stopped) quic_consume_conn(c->conn, n);
  quic_consume_stream(c->conn, 3, n);
  *owed -= n;
  s->credit -= (double)n;
}

/* Runs until done says so; returns how long that took, ns. */
static inline nanotime run(struct readers *f, nanotime most, bool (*done)(void *ctx), void *ctx) {
  nanotime began = sim_net_now(f->net);
  while (!done || !done(ctx)) {
    nanotime now = sim_net_now(f->net);
    if (time_since(now, began) >= most) break;
    (void)sim_net_run(f->net, time_add(now, STEP), done, ctx);
    double seconds = (double)time_since(sim_net_now(f->net), now) / (double)NS_SEC;
    for (int i = 0; i < f->slow_count; i++) give(&f->slow[i], seconds);
  }
  return time_since(sim_net_now(f->net), began);
}

struct goal {
  struct rig_client *c;
  uint8_t type;
  uint64_t count;
};
static inline bool got_all(void *ctx) {
  const struct goal *g = ctx;
  return g->c->counts[g->type] >= g->count || g->c->closed;
}
static inline nanotime until(struct readers *f, struct rig_client *c, uint8_t type, uint64_t count, nanotime most) {
  struct goal g = {c, type, count};
  nanotime took = run(f, most, got_all, &g);
  assert_false(c->closed);
  assert_int_equal(c->counts[type], count);
  return took;
}

/* How many subscribers were cut, as the acknowledgements of a publisher say. */
static inline uint64_t cut_of(struct rig_client *p) {
  struct msg m;
  uint64_t cut = 0;
  for (size_t i = 0; i < p->kept_count; i++)
    if (p->kept[i].type == MSG_ACK && !msg_decode(MSG_ACK, slice_of(p->kept[i].payload, p->kept[i].len), &m))
      cut += m.ack.partly.cut;
  return cut;
}

#endif
