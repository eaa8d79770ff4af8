/* A model of calls: callers, providers and nodes on the real client library, QUIC and mesh, with loss. Providers and a node are
 * killed and come back, providers and nodes stand still. Of each call it is known how often its handler ran and how it ended:
 *
 *   - it ends once, in time;
 *   - its handler ran at most once, unless it or the service is idempotent, or (not with `once`) its provider, or the
 * provider's node, was killed so shortly after the handler began that nothing of it was acknowledged;
 *   - an error that says that it has not run tells the truth, then and later, with the same exception;
 *   - where a provider is always there and can be reached, the call is answered, or may have run. */
#include "client/client.h"
#include "mesh_calls_rig.h"

#define NODES_HERE 3
#define HUBS_HERE 9 /* a caller and two providers a node */
#define CALLS 8192
#define UNACKED (300 * NS_MS) /* how long it may take, with losses, until what a provider has got is acknowledged */

struct place {
  struct model *m;
  unsigned node;
  bool caller;
  struct hub *hub;
  struct endpoint ep;
  struct mem mem;
  struct addr at;
  struct quic_identity *identity;
  struct client *c;
  nanotime killed, stopped_till; /* of its own; 0: not yet */
};
enum kind { PLAIN, ONCE, IDEMPOTENT, SERVICE, KINDS };
struct run {
  nanotime at;
  unsigned place;
};
struct made { /* a call */
  enum kind kind;
  unsigned place;
  nanotime began, until;
  unsigned runs, ends;
  struct run first;
  bool denied; /* it ended with an error that says that it has not run */
};
struct open_request { /* a request that is answered later */
  unsigned place;
  uint64_t client;
  macula_request_id request;
  nanotime at;
};
struct model {
  struct mesh mesh;
  struct sim_net *net;
  struct rng_seeded seeded;
  struct place place[HUBS_HERE];
  nanotime node_killed[NODES_HERE], node_back[NODES_HERE], node_stopped_till[NODES_HERE];
  struct made call[CALLS];
  unsigned calls;
  struct open_request held[4096];
  unsigned held_count;
  nanotime whole; /* from then on all is whole, and all calls are answered */
  unsigned answered, failed, repeated, excused;
};

static uint64_t dice(struct model *m, uint64_t n) { return rng_below(rng_seeded_view(&m->seeded), n); }
static nanotime time_of(const struct model *m) { return sim_net_now(m->net); }

/* Whether the provider of this run, or its node, was killed before it can have been heard that it had the call. */
static bool died_at_once(const struct model *m, const struct run *r) {
  nanotime own = m->place[r->place].killed, node = m->node_killed[m->place[r->place].node];
  return (own >= r->at && own <= r->at + UNACKED) || (node >= r->at && node <= r->at + UNACKED);
}

static void on_request(void *ctx, macula_client client, const macula_request *r) {
  struct place *p = ctx;
  struct model *m = p->m;
  unsigned n = (unsigned)strtoul(r->args, NULL, 10);
  assert_true(n < m->calls);
  struct made *c = &m->call[n];
  bool excused = c->kind != ONCE && c->runs && died_at_once(m, &c->first);
  if (c->runs && c->kind <= ONCE && !excused)
    fail_msg("call %u of kind %d ran twice: at %u after %u us, and at %u after %u us", n, c->kind, c->first.place,
             (unsigned)((c->first.at - c->began) / 1000), (unsigned)(p - m->place), (unsigned)((time_of(m) - c->began) / 1000));
  m->excused += c->runs && c->kind <= ONCE;
  m->repeated += c->runs && c->kind > ONCE;
  struct run run = {time_of(m), (unsigned)(p - m->place)};
  if (!c->runs++) c->first = run;
  if (c->denied && !(c->kind != ONCE && died_at_once(m, &run))) fail_msg("call %u ran after it was said that it has not", n);
  if (dice(m, 10) < 7) {
    assert_int_equal(client_reply(p->c, r->id, slice_of(r->args, r->len)), 0);
  } else if (m->held_count < sizeof m->held / sizeof m->held[0]) {
    m->held[m->held_count++] =
        (struct open_request){(unsigned)(p - m->place), client.id, r->id, time_of(m) + dice(m, 600 * NS_MS)};
  }
}

static bool was_steady(const struct model *m, const struct made *c) { return m->place[c->place].node == 0; }

struct asked {
  struct model *m;
  unsigned n;
};
static struct asked asked[CALLS];

static void on_end(void *ctx, macula_client client, const macula_result *r) {
  struct asked *a = ctx;
  struct model *m = a->m;
  struct made *c = &m->call[a->n];
  (void)client;
  assert_int_equal(c->ends++, 0);
  assert_true(time_of(m) <= c->until);
  if (!r->err) {
    assert_true(c->runs > 0);
    m->answered++;
    return;
  }
  m->failed++;
  if (m->whole && c->began >= m->whole)
    fail_msg("call %u failed in a whole mesh: %s, %s; %s", a->n, r->code, r->text, r->attempts);
  if (r->may_have_run) return;
  c->denied = true;
  if (c->runs && !(c->kind != ONCE && died_at_once(m, &c->first)))
    fail_msg("call %u has run, and its end says that it has not: %s %s", a->n, r->code, r->attempts);
  if (was_steady(m, c)) fail_msg("call %u was not answered although a provider was there: %s %s", a->n, r->code, r->attempts);
}

static void p_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  struct place *p = ctx;
  p->ep.recv(p->ep.ctx, l, r, d, ecn, now);
}
static void p_icmp(void *ctx, const struct addr *r, struct slice quoted, bool port, nanotime now) {
  struct place *p = ctx;
  p->ep.icmp(p->ep.ctx, r, quoted, port, now);
}
static nanotime p_deadline(void *ctx) { return ((struct place *)ctx)->ep.deadline(((struct place *)ctx)->ep.ctx); }
static void p_tick(void *ctx, nanotime now) { ((struct place *)ctx)->ep.tick(((struct place *)ctx)->ep.ctx, now); }
static size_t p_send(void *ctx, uint8_t *buf, size_t cap, struct burst *o, nanotime now) {
  struct place *p = ctx;
  return p->ep.send(p->ep.ctx, buf, cap, o, now);
}
static void p_stood(void *ctx, uint64_t ns, nanotime now) {
  struct place *p = ctx;
  p->ep.stood(p->ep.ctx, ns, now);
}
static void p_dial(void *ctx, struct client *c) {
  struct place *p = ctx;
  client_dial(c, &(struct client_target){.addrs = {p->m->mesh.rig[p->node].addr}, .count = 1, .insecure = true});
}
static int p_local(void *ctx, int family, struct addr *ret_local) {
  (void)family;
  *ret_local = ((struct place *)ctx)->at;
  return 0;
}

static void open_place(struct place *p) {
  struct model *m = p->m;
  p->mem = MEM_INIT("hub", 0);
  struct hub_config cfg = {.mem = &p->mem,
                           .rng = sim_net_rng(m->net),
                           .unix_base_s = 1790000000,
                           .idle_timeout = 30 * NS_SEC,
                           .ctx = p,
                           .dial = p_dial,
                           .local = p_local};
  assert_int_equal(hub_new(&cfg, time_of(m), &p->hub), 0);
  p->ep = hub_endpoint(p->hub);
  sim_net_attach(m->net, &p->at, &(struct endpoint){p_recv, p_icmp, p_deadline, p_tick, p_send, p, p_stood});
  struct client_options o = {.realm = "test", .identity = p->identity, .backoff_max = NS_SEC, .max_calls = 4096};
  assert_int_equal(client_new(p->hub, &o, &p->c), 0);
  if (p->caller) return;
  assert_int_equal(client_serve(p->c, "plain", NULL, on_request, NULL, NULL, NULL, p, NULL), 0);
  macula_serve_options same = {MACULA_INIT(macula_serve_options), .idempotent = true};
  assert_int_equal(client_serve(p->c, "same", &same, on_request, NULL, NULL, NULL, p, NULL), 0);
}

static void kill_place(struct place *p) {
  if (!p->hub) return;
  sim_net_detach(p->m->net, &p->at);
  hub_free(p->hub);
  p->hub = NULL;
  p->c = NULL;
  p->killed = time_of(p->m);
}

static void ask(struct model *m, struct place *p) {
  char args[16];
  if (!p->c || client_state(p->c) != MACULA_CONNECTED || m->calls == CALLS) return;
  unsigned n = m->calls++;
  struct made *c = &m->call[n];
  uint64_t timeout = 1000 + dice(m, 7000);
  *c = (struct made){.kind = (enum kind)dice(m, KINDS), .place = (unsigned)(p - m->place), .began = time_of(m)};
  c->until = c->began + (timeout + 110) * NS_MS;
  asked[n] = (struct asked){m, n};
  snprintf(args, sizeof args, "%u", n);
  macula_call_options o = {MACULA_INIT(macula_call_options), .timeout_ms = timeout, .once = c->kind == ONCE,
                           .idempotent = c->kind == IDEMPOTENT};
  hub_set_now(p->hub, time_of(m));
  int err = client_call(p->c, c->kind == SERVICE ? "same" : "plain", slice_str(args), &o, on_end, &asked[n], NULL);
  if (err) c->ends = 1;
}

static void answer_held(struct model *m) {
  for (unsigned i = 0; i < m->held_count;) {
    struct open_request *h = &m->held[i];
    struct place *p = &m->place[h->place];
    if (h->at > time_of(m) || time_of(m) < p->stopped_till) {
      i++;
      continue;
    }
    if (p->c && client_handle(p->c).id == h->client) {
      hub_set_now(p->hub, time_of(m));
      (void)client_reply(p->c, h->request, slice_str("1"));
    }
    *h = m->held[--m->held_count];
  }
}

/* The first provider, at node 0, is always there; node 0 is never touched. */
static void trouble(struct model *m) {
  unsigned i = 2 + (unsigned)dice(m, HUBS_HERE - 2);
  struct place *p = &m->place[i];
  nanotime now_ns = time_of(m);
  unsigned node = 1 + (unsigned)dice(m, 2);
  if (p->caller) return;
  switch (dice(m, 10)) {
  case 0:
  case 1:
  case 2:
    kill_place(p);
    break;
  case 3:
  case 4:
  case 5:
    if (!p->hub || p->stopped_till > now_ns) break;
    sim_net_stop(m->net, &p->at, true);
    p->stopped_till = now_ns + dice(m, dice(m, 4) ? NS_SEC : 13 * NS_SEC);
    break;
  case 6:
  case 7:
    if (!m->mesh.rig[node].node || m->node_stopped_till[node] > now_ns) break;
    sim_net_stop(m->net, &m->mesh.rig[node].addr, true);
    m->node_stopped_till[node] = now_ns + dice(m, dice(m, 3) ? NS_SEC : 12 * NS_SEC);
    break;
  case 8:
    if (node != 2 || !m->mesh.rig[2].node || m->node_stopped_till[2] > now_ns) break;
    rig_node_kill(&m->mesh.rig[2]);
    m->node_killed[2] = now_ns;
    m->node_back[2] = now_ns + dice(m, 4 * NS_SEC);
    break;
  default:
    break;
  }
}

static void recover(struct model *m, bool all) {
  for (unsigned i = 0; i < HUBS_HERE; i++) {
    struct place *p = &m->place[i];
    if (p->stopped_till && (all || p->stopped_till <= time_of(m))) {
      if (p->hub) sim_net_stop(m->net, &p->at, false);
      p->stopped_till = 0;
    }
    if (!p->hub && (all || dice(m, 40) == 0)) open_place(p);
  }
  for (unsigned i = 1; i < NODES_HERE; i++) {
    if (m->node_stopped_till[i] && (all || m->node_stopped_till[i] <= time_of(m))) {
      if (m->mesh.rig[i].node) sim_net_stop(m->net, &m->mesh.rig[i].addr, false);
      m->node_stopped_till[i] = 0;
    }
    if (m->mesh.rig[i].node || (!all && time_of(m) < m->node_back[i])) continue;
    rig_node_start(&m->mesh.rig[i]);
    for (unsigned k = 0; k < NODES_HERE; k++)
      if (k != i) mesh_join(&m->mesh, i, k);
  }
}

static void model_of_calls(uint64_t seed) {
  struct model *m = calloc(1, sizeof *m);
  struct rig_options o = {.seed = seed, .link = &(struct sim_link){.delay = 500 * NS_US, .jitter = 300 * NS_US, .loss = 0.01}};
  char at[32];
  assert_non_null(m);
  rng_seeded_init(&m->seeded, seed);
  mesh_start_joined(&m->mesh, NODES_HERE, &o);
  m->net = m->mesh.rig[0].net;
  sim_net_icmp(m->net, true);
  mesh_settle(&m->mesh);
  for (unsigned i = 0; i < HUBS_HERE; i++) {
    struct place *p = &m->place[i];
    *p = (struct place){.m = m, .node = i / 3, .caller = i % 3 == 0};
    snprintf(at, sizeof at, "10.0.2.%u:1000", i + 1);
    assert_int_equal(addr_parse(at, 0, &p->at), 0);
    assert_int_equal(quic_identity_generate(&p->identity), 0);
    open_place(p);
  }
  rig_run(&m->mesh.rig[0], 3 * NS_SEC);
  for (unsigned step = 0; step < 1500; step++) { /* 30 s of trouble, and 20 s after which all is whole again */
    if (step == 1000) recover(m, true);
    for (unsigned i = 0; i < HUBS_HERE; i += 3)
      if (step < 1000 || step % 10 == 0) ask(m, &m->place[i]);
    if (step < 1000 && step % 4 == 0) trouble(m);
    if (step < 1000) recover(m, false);
    rig_run(&m->mesh.rig[0], 30 * NS_MS);
    answer_held(m);
  }
  m->whole = time_of(m);
  for (unsigned i = 0; i < 30; i++) { /* a whole mesh answers everything */
    for (unsigned k = 0; k < HUBS_HERE; k += 3) ask(m, &m->place[k]);
    rig_run(&m->mesh.rig[0], 100 * NS_MS);
    answer_held(m);
  }
  for (unsigned i = 0; i < 400 && m->answered + m->failed < m->calls; i++) {
    rig_run(&m->mesh.rig[0], 30 * NS_MS);
    answer_held(m);
  }
  for (unsigned i = 0; i < m->calls; i++)
    if (m->call[i].ends != 1) fail_msg("call %u has not ended", i);
  printf("calls %u, answered %u, failed %u; ran again: %u that may, %u shortly before a death\n", m->calls, m->answered,
         m->failed, m->repeated, m->excused);
  assert_true(m->answered > m->calls / 2 && m->repeated > 0);
  for (unsigned i = 0; i < HUBS_HERE; i++) {
    kill_place(&m->place[i]);
    quic_identity_unref(m->place[i].identity);
  }
  mesh_stop(&m->mesh);
  free(m);
}

static void test_model(void **state) {
  (void)state;
  const char *seed = getenv("SIM_SEED");
  for (uint64_t s = seed ? strtoull(seed, NULL, 0) : 1; s <= (seed ? strtoull(seed, NULL, 0) : 3); s++) {
    printf("seed %llu\n", (unsigned long long)s);
    model_of_calls(s);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
