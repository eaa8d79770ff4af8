/* Clients of src/client and nodes of src/node on the in-memory network. Included by the client's tests of this folder. */
#ifndef SIM_CLIENT_RIG_H
#define SIM_CLIENT_RIG_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <stdio.h>
#include <stdlib.h>

#include "access_text.h"
#include "base/err.h"
#include "client/client.h"
#include "net.h"
#include "node/node.h"
#include "unit/broken.h"

#define UNIX_BASE 1800000000u
#define HUBS 3

struct world;
struct side { /* a hub on an address of its own */
  struct world *w;
  struct hub *hub;
  struct endpoint ep; /* the hub's */
  struct mem mem;
  struct mem_fail fail;
  struct addr at;
};
struct world {
  struct sim_net *net;
  struct node *node;
  struct addr node_at, before[8]; /* before: tried first, as a name's other addresses */
  size_t before_count;
  bool no_name; /* it cannot be looked up */
  struct quic_identity *node_id, *ids[HUBS];
  struct side hubs[HUBS];
  struct node_config cfg;
  const char *access; /* an access file's text; NULL: open */
  const struct id *expect;
  const char *mismatch;
  uint64_t seed, goodbye_timeout; /* of the hubs, ns */
};
struct user { /* what a client told */
  struct client *c;
  macula_state state;
  int states[4];
  int err;
  char text[512];
  bool close_when_told; /* macula_disconnect within on_state */
  int rooms;            /* calls of on_room */
  void (*when_room)(struct user *u);
  uint64_t published, goal;
  int qos;
  void *more; /* a test's own */
};
struct tally { /* what callbacks told */
  int done, err;
  uint64_t count, sum;
  char last[256];
  struct client *c;
  macula_request_id request, cancelled; /* the last of each */
  int cancels;
  bool hold; /* do not answer */
};

static inline void h_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  struct side *s = ctx;
  s->ep.recv(s->ep.ctx, l, r, d, ecn, now);
  HOLDS(hub_check(s->hub));
}
static inline void h_icmp(void *ctx, const struct addr *r, struct slice quoted, bool port, nanotime now) {
  struct side *s = ctx;
  s->ep.icmp(s->ep.ctx, r, quoted, port, now);
}
static inline void h_stood(void *ctx, uint64_t ns, nanotime now) {
  struct side *s = ctx;
  s->ep.stood(s->ep.ctx, ns, now);
}
static inline nanotime h_deadline(void *ctx) {
  struct side *s = ctx;
  return s->ep.deadline(s->ep.ctx);
}
static inline void h_tick(void *ctx, nanotime now) {
  struct side *s = ctx;
  s->ep.tick(s->ep.ctx, now);
  HOLDS(hub_check(s->hub));
}
static inline size_t h_send(void *ctx, uint8_t *buf, size_t cap, struct burst *o, nanotime now) {
  struct side *s = ctx;
  return s->ep.send(s->ep.ctx, buf, cap, o, now);
}
static inline void h_dial(void *ctx, struct client *c) {
  struct side *s = ctx;
  size_t n = s->w->before_count;
  if (s->w->no_name) {
    if (!client_dial_again(c)) client_dial_failed(c, MACULA_NOT_CONNECTED, "no such name");
    return;
  }
  struct client_target t = {.count = n + 1, .expect = s->w->expect, .mismatch = s->w->mismatch};
  memcpy(t.addrs, s->w->before, n * sizeof t.addrs[0]);
  t.addrs[n] = s->w->node_at;
  client_dial(c, &t);
}
static inline int h_local(void *ctx, int family, struct addr *ret_local) {
  (void)family;
  *ret_local = ((struct side *)ctx)->at;
  return 0;
}

static inline void world_node(struct world *w) {
  w->cfg.rng = sim_net_rng(w->net);
  w->cfg.identity = w->node_id;
  w->cfg.name = "n";
  if (w->access) w->cfg.access = access_text(w->access);
  if (!w->cfg.realm) w->cfg.realm = "test";
  w->cfg.unix_base_ms = UNIX_BASE * 1000ull;
  assert_int_equal(node_new(&w->cfg, sim_net_now(w->net), &w->node), 0);
  access_unref(w->cfg.access); /* the node has a reference of its own */
  w->cfg.access = NULL;
  struct endpoint ep = node_endpoint(w->node);
  sim_net_attach(w->net, &w->node_at, &ep);
}
static inline void world_node_kill(struct world *w) {
  sim_net_detach(w->net, &w->node_at);
  node_free(w->node);
  w->node = NULL;
}
static inline int world_hub(struct world *w, int i) {
  struct side *s = &w->hubs[i];
  char at[32];
  s->w = w;
  s->mem = MEM_INIT("hub", 0);
  s->mem.fail = &s->fail;
  snprintf(at, sizeof at, "10.0.1.%d:1000", i + 1);
  assert_int_equal(addr_parse(at, 0, &s->at), 0);
  struct hub_config cfg = {.mem = &s->mem,
                           .rng = sim_net_rng(w->net),
                           .unix_base_s = UNIX_BASE,
                           .ctx = s,
                           .dial = h_dial,
                           .local = h_local,
                           .goodbye_timeout = w->goodbye_timeout};
  int err = hub_new(&cfg, sim_net_now(w->net), &s->hub);
  s->ep = hub_endpoint(s->hub);
  if (!err) sim_net_attach(w->net, &s->at, &(struct endpoint){h_recv, h_icmp, h_deadline, h_tick, h_send, s, h_stood});
  return err;
}
/* As SIGKILL; everything must be given back. */
static inline void world_hub_kill(struct world *w, int i) {
  struct side *s = &w->hubs[i];
  if (s->hub) {
    sim_net_detach(w->net, &s->at);
    hub_free(s->hub);
  }
  s->hub = NULL;
  assert_int_equal(s->mem.bytes, 0);
  s->fail = (struct mem_fail){0};
}
/* Of what *w holds, cfg, access, seed and goodbye_timeout count; SIM_SEED replays a printed schedule. */
static inline void world_init(struct world *w, const struct sim_link *link) {
  static const struct sim_link quiet = {.delay = NS_MS};
  const char *seed = getenv("SIM_SEED");
  struct world fresh = {.cfg = w->cfg,
                        .access = w->access,
                        .goodbye_timeout = w->goodbye_timeout,
                        .seed = seed      ? strtoull(seed, NULL, 0)
                                : w->seed ? w->seed
                                          : 1};
  *w = fresh;
  w->net = sim_net_new(w->seed, link ? link : &quiet);
  assert_int_equal(addr_parse("10.0.0.1:9443", 0, &w->node_at), 0);
  assert_int_equal(quic_identity_generate(&w->node_id), 0);
  for (int i = 0; i < HUBS; i++) assert_int_equal(quic_identity_generate(&w->ids[i]), 0);
  world_node(w);
  for (int i = 0; i < HUBS; i++) assert_int_equal(world_hub(w, i), 0);
}
static inline void world_done(struct world *w) {
  for (int i = 0; i < HUBS; i++) world_hub_kill(w, i);
  if (w->node) world_node_kill(w);
  for (int i = 0; i < HUBS; i++) quic_identity_unref(w->ids[i]);
  quic_identity_unref(w->node_id);
  sim_net_free(w->net);
}
static inline void world_run(struct world *w, nanotime t) { sim_net_run(w->net, sim_net_now(w->net) + t, NULL, NULL); }
static inline bool int_done(void *ctx) { return *(int *)ctx != 0; }
/* Runs until *flag is not 0; false when that did not come within t. */
static inline bool world_until(struct world *w, int *flag, nanotime t) {
  return *flag || sim_net_run(w->net, sim_net_now(w->net) + t, int_done, flag);
}
static inline void world_now(struct world *w) {
  for (int i = 0; i < HUBS; i++)
    if (w->hubs[i].hub) hub_set_now(w->hubs[i].hub, sim_net_now(w->net));
}

/* The one that a callback was given. */
static inline struct client *client_of(macula_client c) {
  struct side *s = (struct side *)(void *)c.loop; /* hub_config.ctx */
  return client_find(s->hub, c.id);
}

static inline void on_state(void *ctx, macula_client c, macula_state state, int err, const char *text) {
  struct user *u = ctx;
  assert_int_equal(c.id, client_handle(u->c).id);
  u->state = state;
  u->states[state]++;
  u->err = err;
  snprintf(u->text, sizeof u->text, "%s", text);
  if (u->close_when_told && state == MACULA_DISCONNECTED) client_close(u->c, false);
}
static inline void on_room(void *ctx, macula_client c) {
  struct user *u = ctx;
  assert_int_equal(c.id, client_handle(u->c).id);
  u->rooms++;
  if (u->when_room) u->when_room(u);
}
static inline int user_start(struct world *w, int i, struct user *u, struct client_options o) {
  if (!o.realm) o.realm = "test";
  if (!o.identity && !o.base_only) o.identity = w->ids[i];
  o.on_state = on_state;
  o.on_room = on_room;
  o.ctx = u;
  u->state = MACULA_CONNECTING;
  world_now(w);
  return client_new(w->hubs[i].hub, &o, &u->c);
}
static inline void user_join(struct world *w, int i, struct user *u, struct client_options o) {
  assert_int_equal(user_start(w, i, u, o), 0);
  assert_true(world_until(w, &u->states[MACULA_CONNECTED], 10 * NS_SEC));
}

static inline void on_done(void *ctx, macula_client client, int err, const char *text) {
  struct tally *t = ctx;
  assert_true(client.loop && client.id);
  assert_non_null(text);
  t->done++;
  t->err = err;
}
static inline void on_message(void *ctx, macula_client client, const macula_message *m) {
  struct tally *t = ctx;
  assert_true(client.loop && client.id);
  t->count++;
  snprintf(t->last, sizeof t->last, "%s %.*s", m->topic, (int)m->len, (const char *)m->payload);
  t->sum += strtoull(strchr(t->last, ' '), NULL, 10);
}
static inline void on_result(void *ctx, macula_client client, const macula_result *r) {
  struct tally *t = ctx;
  assert_true(client.loop && client.id);
  t->done++;
  t->err = r->err;
  snprintf(t->last, sizeof t->last, "%.*s", r->err ? (int)strlen(r->text) : (int)r->len, r->err ? r->text : (char *)r->data);
}
static inline void on_request(void *ctx, macula_client c, const macula_request *r) {
  struct tally *t = ctx;
  t->count++;
  t->c = client_of(c);
  t->request = r->id;
  if (!t->hold && !r->is_cast) assert_int_equal(client_reply(t->c, r->id, slice_of(r->args, r->len)), 0);
}
static inline void on_cancel(void *ctx, macula_client c, macula_request_id request) {
  struct tally *t = ctx;
  (void)c;
  t->cancels++;
  t->cancelled = request;
}

static inline macula_sub sub_now(struct world *w, struct user *u, const char *pattern, bool own, struct tally *t) {
  struct tally done = {0};
  macula_sub sub = {0};
  world_now(w);
  assert_int_equal(client_subscribe(u->c, pattern, own, on_message, on_done, &done, t, &sub), 0);
  assert_true(world_until(w, &done.done, 5 * NS_SEC));
  assert_int_equal(done.err, 0);
  assert_int_equal(done.done, 1);
  return sub;
}
static inline macula_service serve_now(struct world *w, struct user *u, const char *name, uint64_t ttl_ms, struct tally *t) {
  struct tally done = {0};
  macula_service s = {0};
  world_now(w);
  assert_int_equal(
      client_serve(u->c, name, &(macula_serve_options){.ttl_ms = ttl_ms}, on_request, on_cancel, on_done, &done, t, &s), 0);
  assert_true(world_until(w, &done.done, 5 * NS_SEC));
  assert_int_equal(done.err, 0);
  return s;
}
/* The code the node took it with. */
static inline int publish_now(struct world *w, struct user *u, const char *topic, const char *text, int qos) {
  struct tally done = {0};
  macula_publish_options o = {.qos = qos, .confirm = true};
  world_now(w);
  int err = client_publish(u->c, topic, slice_str(text), &o, on_done, &done);
  if (err) return err;
  assert_true(world_until(w, &done.done, 6 * NS_SEC));
  assert_int_equal(done.done, 1);
  return done.err;
}
static inline int call_now(struct world *w, struct user *u, const char *name, const char *args, struct tally *t) {
  world_now(w);
  t->done = 0;
  int err = client_call(u->c, name, slice_str(args), NULL, on_result, t, NULL);
  if (err) return err;
  assert_true(world_until(w, &t->done, 6 * NS_SEC));
  assert_int_equal(t->done, 1);
  return t->err;
}

#endif
