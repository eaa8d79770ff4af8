/* The node's life, its driver's functions, and what is done once a turn. */
#include "node/node.h"
#include "node/claims.h"

#include <stdio.h>

#include "base/err.h"
#include "base/utf8.h"
#include "node/calls/providers.h"
#include "node/calls/remote.h"
#include "node/calls/rpc.h"
#include "node/doors/mqtt.h"
#include "node/doors/quic.h"
#include "node/ends.h"
#include "node/mesh/member.h"
#include "node/mesh/records.h"
#include "node/mesh/start.h"
#include "node/messages/deliver.h"
#include "node/messages/disk.h"
#include "node/messages/groups.h"
#include "node/messages/hold.h"
#include "node/messages/own.h"
#include "node/messages/pace.h"
#include "node/messages/recall.h"
#include "node/messages/replay.h"
#include "node/messages/spread.h"
#include "node/peers/join.h"
#include "node/peers/link.h"
#include "node/peers/peer.h"
#include "node/peers/revoked.h"
#include "node/peers/seal.h"
#include "node/receive.h"
#include "node/session/lane.h"
#include "node/session/origin.h"
#include "node/session/session.h"
#include "node/session/topics.h"
#include "node/trust/account.h"
#include "node/trust/judge.h"
#include "node/trust/users.h"
#include "node/view/ask.h"
#include "quic/quic.h"
#include "trust/crypto.h"
#include "wire/names.h"

/* ---- handler of the endpoint ------------------------------------------------------------------------------------------------
 */
static void on_open(void *ctx, struct quic_conn *c) {
  struct session *s = quic_conn_user(c);
  struct door d = door_quic(c);
  if (s)
    link_opened(s);
  else
    (void)session_open(ctx, &d);
}
static void on_closed(void *ctx, struct quic_conn *c, const struct quic_close *why) {
  struct session *s = quic_conn_user(c);
  struct door_end end = {.err = why->err, .by_peer = why->reason == QUIC_CLOSE_PEER, .text = why->text};
  (void)ctx;
  if (s) session_closed(s, &end);
}
static void on_refused(void *ctx, const struct addr *remote, const struct id *id, int err, struct slice text) {
  session_refused(ctx, remote, id, err, text);
}
static void on_data(void *ctx, struct quic_conn *c, int64_t stream, struct slice data, bool fin) {
  struct session *s = quic_conn_user(c);
  (void)ctx;
  if (s)
    receive_data(s, stream, data, fin);
  else
    quic_consume(c, stream, data.n);
}
static void on_stream_closed(void *ctx, struct quic_conn *c, int64_t stream, uint64_t app_error) {
  struct session *s = quic_conn_user(c);
  (void)ctx, (void)app_error;
  if (s) receive_closed(s, stream);
}
static void on_drained(void *ctx, struct quic_conn *c) {
  struct session *s = quic_conn_user(c);
  (void)ctx;
  if (s) session_drained(s);
}
static void on_silent(void *ctx, struct quic_conn *c) {
  struct session *s = quic_conn_user(c);
  (void)ctx;
  if (s) session_silent(s);
}

static void on_limited(void *ctx, struct quic_conn *c) {
  struct session *s = quic_conn_user(c);
  (void)ctx;
  if (s) account_limited(s);
}

static void on_heard(void *ctx, struct quic_conn *c) {
  struct session *s = quic_conn_user(c);
  (void)ctx;
  if (s) session_heard(s);
}

#define RENEW "renew it and send SIGHUP"
#define SWEEPS 10        /* parts of what is done every SWEEP_EVERY */
#define CLOCK_SAID 60000 /* ms */
#define STOOD_SAID NS_SEC
#define PASS_SOON (7 * 86400u) /* s */

/* ---- life ------------------------------------------------------------------------------------------------------------------
 */
static void init_rows(struct node *n, const struct node_config *cfg) {
  static const char *const names[ROW_COUNT] = {
#define ROW_NAME(id, rank, name, ...) name,
      NODE_ROWS(ROW_NAME)
#undef ROW_NAME
  };
  for (int i = 0; i < ROW_COUNT; i++) {
    if (i != ROW_NODE) n->rows.mem[i] = MEM_INIT(names[i], 0);
    n->rows.mem[i].fail = cfg->fail;
    n->rows.account[i] = &n->rows.mem[i];
  }
  if (cfg->tls_mem) n->rows.account[ROW_TLS] = cfg->tls_mem;
  if (cfg->access_mem) n->rows.account[ROW_ACCESS] = cfg->access_mem;
  if (cfg->passwords_mem) n->rows.account[ROW_PASSWORDS] = cfg->passwords_mem;
  if (cfg->json_mem) n->rows.account[ROW_ADMIN] = cfg->json_mem;
  rows_set_limits(n);
}

static bool spent(void *ctx) { return node_spent(ctx); }

static void init_tables(struct node *n) { /* tables that allocate nothing at their creation */
  const struct node_limits *l = &n->limits;
  n->spent = (struct spent){spent, n};
  clients_init(&n->sessions.clients, &n->rows.mem[ROW_CLIENTS], n->rng, l->max_clients, l->max_operators);
  retained_init(&n->messages.retained, &n->rows.mem[ROW_RETAINED], n->rng, l->retained_count, l->retained_bytes);
  disk_init(n);
  dedup_init(&n->messages.dedup, &n->rows.mem[ROW_DEDUP], n->rng, l->dedup_ids, l->dedup_ns);
  n->messages.dedup.spent = &n->spent;
  list_init(&n->sessions.all);
  list_init(&n->sessions.fresh);
  list_init(&n->sessions.doomed);
  list_init(&n->sessions.paused);
  list_init(&n->sessions.watched);
  list_init(&n->sessions.filled);
  list_init(&n->sessions.noticed);
  list_init(&n->sessions.judged);
  list_init(&n->sessions.verdicts);
  list_init(&n->sessions.leaving);
  list_init(&n->receive.partials);
  list_init(&n->flow.readers);
  list_init(&n->flow.released);
  n->flow.clock = n->flow.last = n->now;
  n->flow.look_at = TIME_NEVER;
  pace_init(n);
  for (int i = 0; i < LATERS; i++) list_init(&n->receive.later[i]);
  list_init(&n->replays.all);
  groups_init(n);
  own_init(n);
  list_init(&n->join.seeds);
  list_init(&n->asks.all);
  origins_init(n);
  topics_init(n);
  peers_init(n);
  providers_init(n);
}

/* The rate of lookups for one client: capped so that a client that starts lookups at this rate, each lasting as long as a
 * lookup can, leaves most of max_lookups to others. */
static uint32_t party_lookups(const struct node_limits *l) {
  uint32_t most = l->max_lookups > 16 ? l->max_lookups / 16 : 1;
  return l->client_lookups < most ? l->client_lookups : most;
}

static int make_tables(struct node *n) {
  const struct node_limits *l = &n->limits;
  int err =
      topic_index_new(&n->rows.mem[ROW_TOPICS], n->rng, l->max_subscriptions, l->client_subscriptions, &n->messages.topics);
  if (!err) err = spread_init(n);
  if (err) return err;
  topic_index_on_gone(n->messages.topics, spread_pattern_gone, n);
  struct router_config r = {.services_mem = &n->rows.mem[ROW_SERVICES],
                            .calls_mem = &n->rows.mem[ROW_CALLS],
                            .discovery_mem = &n->rows.mem[ROW_DISCOVERY],
                            .rng = n->rng,
                            .max_services = l->max_services,
                            .party_services = l->client_services,
                            .max_calls = l->max_calls,
                            .party_calls = l->client_calls,
                            .max_args_bytes = l->call_bytes,
                            .max_discovered = l->max_discovered,
                            .discovery_ttl = 60 * NS_SEC,
                            .negative_ttl = NS_SEC,
                            .look_again = 500 * NS_MS,
                            .party_lookups = party_lookups(l),
                            .default_timeout = 5 * NS_SEC,
                            .max_timeout = 3600 * NS_SEC,
                            .out = rpc_out(n),
                            .spent = &n->spent};
  if ((err = router_new(&r, &n->rpc.router)) != 0) return err;
  services_watch(router_services(n->rpc.router), providers_served, n);
  return 0;
}

static int make_quic(struct node *n, const struct node_config *cfg, nanotime now) {
  const struct node_limits *l = &n->limits;
  struct quic_config q = {
      .mem = &n->rows.mem[ROW_QUIC],
      .send_mem = &n->rows.mem[ROW_SEND],
      .rng = n->rng,
      .log = n->log,
      .handler = {.conn_open = on_open,
                  .conn_closed = on_closed,
                  .stream_data = on_data,
                  .stream_closed = on_stream_closed,
                  .drained = on_drained,
                  .silent = on_silent,
                  .limited = on_limited,
                  .heard = on_heard,
                  .refused = on_refused},
      .ctx = n,
      .spent = &n->spent,
      .identity = cfg->identity,
      .ca_pem = cfg->ca_pem,
      .server = true,
      /* No certificate is required in the handshake: a peer without one gets not_authorized instead of a TLS alert. */
      .require_cert = false,
      .later = true,
      .conn_pool = l->connection_pool,
      .max_conns = limits_connections(l),
      .max_half_open = l->max_half_open,
      .retry_half_open = l->max_half_open / 4,
      .retry_rate = 50,
      .idle_timeout = cfg->idle_timeout,
      .stream_window = STREAM_WINDOW,
      .conn_window = STREAM_WINDOW,
      .max_streams = l->client_streams,
      .one_way_streams = 1,
      .one_way_window = ONE_WAY_WINDOW,
      .unix_base_s = (cfg->unix_base_ms + now / NS_MS) / 1000 - now / NS_SEC}; /* modulo 2^64 */
  return quic_new(&q, now, &n->quic);
}

static char *copy_text(struct node *n, const char *text) { return mem_dup(&n->rows.mem[ROW_NODE], text, strlen(text)); }

_Static_assert(NODE_WHY_LEN >= NAME_WHY_LEN, "a rule's text fits");

int node_check_realm(const char *realm, char ret_why[NODE_WHY_LEN]) {
  char stored[NAME_MAX_LEN + 1];
  size_t len;
  int err = name_realm(slice_str(realm), stored, &len);
  (void)name_why(err, NAME_REALM, slice_str(realm), ret_why);
  return err;
}

int node_check_identity(const struct quic_identity *identity, const char **ret_why) {
  struct slice spki = quic_identity_spki(identity);
  bool fits = crypto_spki_is_ed25519(spki) || crypto_spki_is_p256(spki);
  *ret_why = fits ? ""
                  : LINK_KEY_WHY
                 "; make one with: openssl req -x509 -newkey ed25519 -nodes -subj /CN=node -keyout node.key -out node.crt";
  return fits ? 0 : MACULA_CERTIFICATE_INVALID;
}

/* An instance begins with the start time, so that of two runs with one identity the smaller instance is the earlier run
 * (link.c). */
static void make_instance(struct node *n) {
  uint64_t ms = node_wall_ms(n);
  rng_fill(n->rng, n->instance, sizeof n->instance);
  for (int i = 0; i < 8; i++) n->instance[i] = (uint8_t)(ms >> (56 - 8 * i));
}

int node_new(const struct node_config *cfg, nanotime now, struct node **ret_node) {
  struct mem own = MEM_INIT("node", 0);
  char realm[NAME_MAX_LEN + 1], name[NAME_KEPT + 1];
  size_t realm_len;
  int err = MACULA_ENOMEM;
  if (!cfg->identity) return MACULA_EINVAL;
  const char *why;
  if (name_realm(slice_str(cfg->realm ? cfg->realm : "default"), realm, &realm_len)) return MACULA_INVALID_REALM;
  if (node_check_identity(cfg->identity, &why)) return MACULA_CERTIFICATE_INVALID;
  own.fail = cfg->fail;
  struct node *n = mem_calloc(&own, 1, sizeof *n);
  if (!n) return MACULA_ENOMEM;
  n->rows.mem[ROW_NODE] = own;
  n->rng = cfg->rng;
  n->log = cfg->log;
  n->limits = cfg->limits;
  node_limits_fill(&n->limits);
  init_rows(n, cfg);
  n->now = n->started = now;
  n->unix_base_ms = n->wall_base_ms = cfg->unix_base_ms;
  n->keep_alive = cfg->keep_alive ? cfg->keep_alive : 10 * NS_SEC;
  n->identity = quic_identity_ref(cfg->identity);
  n->id = *quic_identity_id(cfg->identity);
  n->cert_end = quic_identity_end(cfg->identity);
  n->allow_unverified = cfg->allow_unverified;
  n->rows.process = cfg->process;
  init_tables(n);
  trust_init(n, cfg);
  n->sweep_at = n->drain_at = TIME_NEVER;
  n->swept = SWEEPS;
  serial_init(&n->messages.made, n->rng);
  make_instance(n);
  n->mesh.advertise = cfg->advertise;
  n->mesh.hidden = cfg->hidden;
  n->mqtt_drops_oldest = cfg->mqtt_drops_oldest;
  n->mesh.no_upkeep = cfg->no_upkeep;
  utf8_label(slice_str(cfg->name), name, NAME_KEPT);
  if (!(n->name = copy_text(n, name))) goto fail;
  if (!(n->realm = copy_text(n, realm))) goto fail;
  uint8_t *pass = cfg->pass.n ? mem_dup(&n->rows.mem[ROW_NODE], cfg->pass.p, cfg->pass.n) : NULL;
  if (cfg->pass.n && !pass) goto fail;
  trust_take_pass(n, pass, cfg->pass.n);
  if ((err = make_tables(n)) != 0) goto fail;
  if ((err = make_quic(n, cfg, now)) != 0) goto fail;
  if ((err = mesh_new(n)) != 0 || (err = records_new(n, cfg->last_seq)) != 0) goto fail;
  rows_watch(n);
  *ret_node = n;
  return 0;
fail:
  node_free(n);
  return err;
}

#ifdef MACULA_TEST_UNBOUNDED
void node_unbound(struct node *n, unsigned which) {
  n->unbounded = which;
  if (IS_UNBOUNDED(n, POOL)) pool_set_max(&n->peers.pool, UINT32_MAX);
  if (IS_UNBOUNDED(n, CLIENTS)) clients_set_max(&n->sessions.clients, UINT32_MAX, n->limits.max_operators);
}
#endif

void node_free(struct node *n) {
  if (!n) return;
  rows_unwatch(n);
  mqtt_door_free(n);
  n->draining = n->left = true; /* calls that fail now dial nobody */
  n->spread.gets.left = NULL;   /* the nodes that answer them have no connection any more */
  if (n->quic) quic_free(n->quic);
  list_for(it, &n->sessions.all) { /* nothing is sent any more */
    struct session *s = container_of(it, struct session, all);
    s->state = SESSION_OVER;
    s->door.conn = NULL;
  }
  join_done(n);
  list_for_safe(it, &n->sessions.all) session_closed(container_of(it, struct session, all), NULL);
  deliver_done(n);
  groups_done(n);
  own_done(n);
  lanes_done(n);
  spread_done(n);
  router_free(n->rpc.router);
  providers_done(n);
  topic_index_free(n->messages.topics);
  disk_done(n);
  retained_done(&n->messages.retained);
  dedup_done(&n->messages.dedup);
  pace_done(n);
  topics_done(n);
  origins_done(n);
  clients_done(&n->sessions.clients);
  trust_done(n);
  ask_done(n);
  peers_done(n);
  mesh_free(n);
  records_free(n);
  quic_identity_unref(n->identity);
  struct mem own = n->rows.mem[ROW_NODE];
  mem_free(&own, n->name);
  mem_free(&own, n->realm);
  mem_free(&own, (void *)n->trust.pass.p);
  mem_free(&own, n);
}

/* ---- driver ----------------------------------------------------------------------------------------------------------------
 */
/* One in any case: many may end at once. */
static void end_doomed(struct node *n) {
  while (!list_empty(&n->sessions.doomed)) {
    session_end(container_of(n->sessions.doomed.next, struct session, doomed));
    if (node_spent(n)) return;
  }
}

/* Ends the doomed sessions and lets paused publishers go on when the pool has room. Must be called only when no list is being
 * walked, as sessions are removed from lists. */
static void settle(struct node *n) {
  end_doomed(n);
  receive_resume(n);
  end_doomed(n);
}

static void set_now(struct node *n, nanotime now) {
  if (now > n->now) n->now = now;
}

static void was_read(struct node *n) {
  if (n->mesh.due) {
    n->mesh.due = false;
    mesh_step(n);
  }
  if (!list_empty(&n->sessions.doomed)) settle(n);
}

static void on_recv(void *ctx, const struct addr *local, const struct addr *remote, struct slice datagram, uint8_t ecn,
                    nanotime now) {
  struct node *n = ctx;
  set_now(n, now);
  quic_recv(n->quic, local, remote, datagram, ecn, n->now);
  was_read(n);
}

static bool on_late(void *ctx, nanotime now) {
  struct node *n = ctx;
  if (!quic_has_later(n->quic)) return false;
  set_now(n, now);
  quic_read_later(n->quic, n->now);
  was_read(n);
  return true;
}

static void on_icmp(void *ctx, const struct addr *remote, struct slice quoted, bool port, nanotime now) {
  struct node *n = ctx;
  set_now(n, now);
  quic_icmp(n->quic, remote, quoted, port, n->now);
}

/* Something was left for the next turn. Publishers that wait only until more was sent are no reason for one. */
bool node_busy(const struct node *n) {
  bool later = !list_empty(&n->receive.later[LATER_CLIENTS]) || !list_empty(&n->receive.later[LATER_LINKS]) ||
               (n->flow.ready && n->flow.held_count);
  return n->put_off || n->messages.rest || quic_has_later(n->quic) || (later && !n->unsent) ||
         !list_empty(&n->receive.later[LATER_OTHERS]);
}

/* First of all the calls end whose time has passed meanwhile: nothing that has come is to wake them. */
static void on_stood(void *ctx, uint64_t ns, nanotime now) {
  struct node *n = ctx;
  set_now(n, now);
  if (ns >= STOOD_SAID && n->now >= n->rpc.stood_say_at) { /* a busy machine makes shorter ones without end */
    n->rpc.stood_say_at = time_add(n->now, STOOD_SAID);
    log_info(n->log, "stood_still", "ms=%llu", (unsigned long long)(ns / NS_MS));
  }
  hold_stood(n, ns);
  n->rpc.stood_next = ns;
  if (ns || !node_busy(n)) n->rpc.stood = ns;
  if (ns) router_tick(n->rpc.router, n->now);
}

static nanotime deadline(void *ctx) {
  struct node *n = ctx;
  nanotime at = time_min(quic_deadline(n->quic), time_min(router_deadline(n->rpc.router), dedup_deadline(&n->messages.dedup)));
  if (node_busy(n)) return n->now;
  if (groups_are_due(n) || own_is_due(n)) return n->now;
  if (!list_empty(&n->sessions.doomed) || !list_empty(&n->sessions.verdicts) || replay_is_due(n) || lanes_are_due(n) ||
      spread_is_due(n))
    return n->now;
  if (!list_empty(&n->sessions.fresh))
    at = time_min(at, time_add(container_of(n->sessions.fresh.next, struct session, fresh)->since, n->limits.connect_timeout));
  if (!list_empty(&n->sessions.watched) || !list_empty(&n->sessions.paused) || !list_empty(&n->receive.partials) ||
      n->draining || n->peers.tab.count)
    at = time_min(at, n->sweep_at);
  at = time_min(at, time_min(mesh_deadline(n), time_min(time_min(link_deadline(n), ask_deadline(n)), join_deadline(n))));
  at = time_min(at, time_min(spread_deadline(n), time_min(trust_deadline(n), seals_deadline(n))));
  at = time_min(at, time_min(receive_deadline(n), time_min(hold_deadline(n), pace_deadline(n))));
  at = time_min(at, time_min(notices_deadline(n), mqtt_door_deadline(n)));
  at = time_min(at, time_min(start_deadline(n), providers_deadline(n)));
  at = time_min(at, time_min(account_deadline(n), disk_deadline(n)));
  return n->draining ? time_min(at, n->drain_at) : at;
}

/* False: it goes on in the next turn. */
static bool close_all(struct node *n, bool links, bool (*spare)(const struct session *s)) {
  list_for_safe(it, &n->sessions.all) {
    struct session *s = container_of(it, struct session, all);
    bool is_link = s->peer || s->dialled;
    if (s->state == SESSION_OVER || is_link != links || (spare && spare(s))) continue;
    session_close(s, MACULA_SHUTTING_DOWN, NULL);
    if (node_spent(n)) return false;
  }
  return true;
}

/* Whether a client waits for an answer or owes one; the other party may be at another node. */
static bool is_awaited(const struct session *s) { return session_has_calls(s) || s->unacked.count; }

static bool any_awaited(const struct node *n) {
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, struct session, all);
    if (s->state != SESSION_OVER && s->client.session && is_awaited(s)) return true;
  }
  return false;
}

/* Ends clients' sessions as they become idle. Links end last, since answers still travel over them, and only after the other
 * nodes were told that we leave. */
static void drain_step(struct node *n) {
  bool late = n->now >= n->drain_at;
  if (n->messages.rest && !late) return;
  if (!close_all(n, false, late ? NULL : is_awaited)) return;
  if (!late && any_awaited(n)) return;
  mesh_leave(n);
  if (!close_all(n, true, NULL)) return;
  if (late) n->drain_at = TIME_NEVER;
}

static void late_for_connect(struct node *n) {
  while (!list_empty(&n->sessions.fresh)) {
    struct session *s = container_of(n->sessions.fresh.next, struct session, fresh);
    if (time_since(n->now, s->since) < n->limits.connect_timeout) break;
    if (s->state == SESSION_JUDGING)
      session_close(s, MACULA_TIMEOUT, "the node came to no verdict on CONNECT in time");
    else
      session_close(s, MACULA_CONNECT_REQUIRED, NULL);
  }
}

static void lower_rows(struct node *n) {
  if (n->rows.over) rows_set_limits(n);
}

/* Every SWEEP_EVERY each of these, one in a turn, as some walk over all that there is. */
static void (*const sweeps[])(struct node *n) = {watches_sweep, sessions_shed, lower_rows,    mesh_sweep,    spread_sweep,
                                                 seals_sweep,   peers_sweep,   revoked_sweep, receive_sweep, groups_sweep};
_Static_assert(sizeof sweeps / sizeof sweeps[0] == SWEEPS, "as many as counted");

static void sweep(struct node *n) {
  if (n->swept == SWEEPS && (n->sweep_at == TIME_NEVER || n->now >= n->sweep_at)) {
    n->sweep_at = time_add(n->now, SWEEP_EVERY);
    n->swept = 0;
  }
  do {
    if (n->swept < SWEEPS) sweeps[n->swept++](n);
  } while (n->swept < SWEEPS && !node_spent(n));
}

static void connections(struct node *n) { quic_tick(n->quic, n->now); }
static void calls(struct node *n) {
  if (!node_busy(n)) n->rpc.stood = n->rpc.stood_next;
  router_tick(n->rpc.router, n->now);
}
static void events(struct node *n) { quic_flush_events(n->quic, n->now); }

static void old_ids(struct node *n) { dedup_expire(&n->messages.dedup, n->now); }
static void drain(struct node *n) {
  if (n->draining) drain_step(n);
}

static void start_step(struct node *n) {
  if (n->mesh.starting && start_is_over(n)) n->sessions.paused_at = n->now;
}

/* In this order; what a long turn is said to have done is the name. */
static const struct step {
  const char *name;
  void (*fn)(struct node *n);
} steps[] = {{"accounts", account_tick},
             {"frames", receive_others},
             {"mqtt", mqtt_door_step},
             {"delivery", deliver_step},
             {"groups", groups_step},
             {"own", own_step},
             {"publishers", receive_go_on},
             {"readers", hold_tick},
             {"paces", pace_tick},
             {"publishers", receive_held},
             {"connections", connections},
             {"calls", calls},
             {"ids", old_ids},
             {"connect", late_for_connect},
             {"sweep", sweep},
             {"trust", trust_tick},
             {"passwords", users_tick},
             {"paced", receive_paced},
             {"paused", receive_tick},
             {"retained", recall_tick},
             {"links", link_tick},
             {"seals", seals_tick},
             {"asks", ask_tick},
             {"joins", join_tick},
             {"mesh", mesh_tick},
             {"drain", drain},
             {"queues", lanes_tick},
             {"notices", notices_tick},
             {"replay", replay_step},
             {"acknowledgements", spread_tick},
             {"ends", settle},
             {"peers", peers_step},
             {"mesh", mesh_step},
             {"ends", settle},
             {"interest", spread_step},
             {"mqtt", mqtt_door_step},
             {"claims", claims_step},
             {"start", start_step},
             {"calls", providers_step},
             {"ends", settle},
             {"connections", events},
             {"ends", settle}};

static void on_tick(void *ctx, nanotime now) {
  struct node *n = ctx;
  set_now(n, now);
  n->put_off = false;
  for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
    steps[i].fn(n);
    node_did(n, steps[i].name);
  }
}

static size_t on_send(void *ctx, uint8_t *buf, size_t cap, struct burst *ret_burst, nanotime now) {
  struct node *n = ctx;
  set_now(n, now);
  size_t len = quic_send(n->quic, buf, cap, ret_burst, n->now);
  n->unsent = quic_unsent(n->quic);
  return len;
}

struct endpoint node_endpoint(struct node *n) {
  return (struct endpoint){on_recv, on_icmp, deadline, on_tick, on_send, n, on_stood, on_late};
}

void node_set_sockets(struct node *n, const struct addr *sockets, size_t count) {
  n->mesh.socket_count = count < NODE_MAX_SOCKETS ? count : NODE_MAX_SOCKETS;
  memcpy(n->mesh.sockets, sockets, n->mesh.socket_count * sizeof *sockets);
  bool reached = !count || addr_is_set(&n->mesh.advertise);
  for (size_t i = 0; i < n->mesh.socket_count; i++) reached |= !addr_is_link_local(&n->mesh.sockets[i]);
  n->mesh.hidden |= !reached; /* peers beyond the local link cannot dial us: they come through a gateway */
  mesh_find_self(n);
}

bool node_set_advertise(struct node *n, const struct addr *addrs, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (addr_eq(&addrs[i], &n->mesh.advertise)) return false;
  if (!count) return false;
  n->mesh.advertise = addrs[0];
  mesh_find_self(n);
  return true;
}

struct quic *node_quic(struct node *n) {
  return n->quic;
}

/* Warns once a day before the certificate ends, and once when it has ended: clients refuse such a node, and nothing else here
 * would show why they stay away. */
static void watch_certificate(struct node *n) {
  char text[QUIC_END_TEXT_LEN];
  uint64_t unix_s = node_wall_ms(n) / 1000;
  bool over = unix_s > n->cert_end;
  const char *when = quic_end_text(n->cert_end, unix_s, text);
  if (!when || (n->now < n->cert_say_at && over == n->cert_over)) return;
  n->cert_over = over;
  n->cert_say_at = time_add(n->now, 86400 * NS_SEC);
  if (over)
    log_error(n->log, "certificate_ended", "text=\"this node's certificate %s: " RENEW "\"", when);
  else
    log_warn(n->log, "certificate_ends", "text=\"this node's certificate %s: " RENEW "\"", when);
}

/* The same for the CA: whoever a certificate of it vouches for is let in no more when that has ended. */
static void watch_ca(struct node *n) {
  char text[QUIC_END_TEXT_LEN];
  const char *when = quic_end_text(quic_ca_end(n->quic), node_wall_ms(n) / 1000, text);
  if (!when || n->now < n->ca_say_at) return;
  n->ca_say_at = time_add(n->now, 86400 * NS_SEC);
  log_warn(n->log, "ca_ends", "text=\"a certificate of the CA %s: add the next one to its file and send SIGHUP\"", when);
}

/* The same for the node's pass, in its last week. */
static void watch_pass(struct node *n) {
  char text[QUIC_END_TEXT_LEN];
  uint64_t unix_s = node_wall_ms(n) / 1000, end = n->trust.pass_end;
  if (!end || unix_s + PASS_SOON < end || n->now < n->trust.pass_say_at) return;
  const char *when = quic_end_text(end, unix_s, text);
  n->trust.pass_say_at = time_add(n->now, 86400 * NS_SEC);
  if (unix_s > end)
    log_error(n->log, "pass_ended", "text=\"this node's pass %s, and other nodes let it in no more: " RENEW "\"", when);
  else
    log_warn(n->log, "pass_ends", "text=\"this node's pass %s: " RENEW "\"", when ? when : "ends soon");
}

bool node_ready(const struct node *n, nanotime now, char ret_note[NODE_WHY_LEN]) {
  char text[QUIC_END_TEXT_LEN];
  uint64_t unix_s = (n->wall_base_ms + now / NS_MS) / 1000;
  const char *when = quic_end_text(n->cert_end, unix_s, text);
  ret_note[0] = 0;
  if (when)
    snprintf(ret_note, NODE_WHY_LEN, "this node's certificate %s: " RENEW, when);
  else if (n->mesh.starting && !n->draining)
    snprintf(ret_note, NODE_WHY_LEN, "the other nodes are not heard yet");
  return !n->draining && !n->mesh.starting && unix_s <= n->cert_end;
}

void node_set_clock(struct node *n, uint64_t unix_ms, nanotime now) {
  set_now(n, now);
  int64_t by = (int64_t)(unix_ms - node_wall_ms(n));
  if (by > CLOCK_SAID || by < -CLOCK_SAID) log_warn(n->log, "clock_set", "by_s=%lld", (long long)by / 1000);
  n->wall_base_ms += (uint64_t)by;
  quic_set_clock(n->quic, unix_ms / 1000, n->now);
  watch_certificate(n);
  watch_ca(n);
  watch_pass(n);
}

void node_drain(struct node *n, nanotime now) {
  set_now(n, now);
  if (n->draining) return;
  n->draining = true;
  n->drain_at = time_add(n->now, n->limits.drain_timeout);
  n->sweep_at = time_min(n->sweep_at, time_add(n->now, SWEEP_EVERY));
  mesh_withdraw(n);
  quic_stop_accepting(n->quic, MACULA_SHUTTING_DOWN);
  drain_step(n);
  settle(n);
}

bool node_draining(const struct node *n) { return n->draining; }

bool node_drained(const struct node *n, nanotime now) {
  return n->draining && (list_empty(&n->sessions.all) || (n->drain_at == TIME_NEVER ? true : now >= n->drain_at));
}

static int reload_identity(struct node *n, const struct node_reload *r) {
  const char *why;
  if (r->identity && node_check_identity(r->identity, &why)) return MACULA_CERTIFICATE_INVALID;
  /* Other nodes know this one by its key: once there are any, a reload may change the certificate but not the key. */
  if (r->identity && !id_eq(quic_identity_id(r->identity), &n->id) && n->peers.tab.count) return MACULA_IDENTITY_MISMATCH;
  if (r->identity || r->ca_pem) {
    int err = quic_set_identity(n->quic, r->identity, r->ca_pem);
    if (!err && r->identity && !id_eq(quic_identity_id(r->identity), &n->id)) err = mesh_become(n, r->identity);
    if (err) {
      (void)quic_set_identity(n->quic, n->identity, NULL);
      return err;
    }
    if (r->identity) {
      /* the certificate may be new although the key, and so n->identity, is the same */
      n->cert_end = quic_identity_end(r->identity);
      n->cert_say_at = 0;
      watch_certificate(n);
    }
  }
  return 0;
}

int node_reload(struct node *n, const struct node_reload *r) {
  uint8_t *pass = NULL;
  if (r->pass && r->pass->n && !(pass = mem_dup(&n->rows.mem[ROW_NODE], r->pass->p, r->pass->n))) return MACULA_ENOMEM;
  int err = reload_identity(n, r);
  if (err) {
    mem_free(&n->rows.mem[ROW_NODE], pass);
    return err;
  }
  if (r->pass) {
    bool renewed = !slice_eq(n->trust.pass, *r->pass);
    trust_take_pass(n, pass, r->pass->n);
    if (renewed) links_show_pass(n);
  }
  if (r->access) {
    trust_set_access(n, r->access);
    revoked_realms_changed(n);
  }
  if (r->limits) {
    node_limits_reload(&n->limits, r->limits);
    struct node_limits l = n->limits;
    quic_set_limits(n->quic, &(struct quic_limits){.max_conns = limits_connections(&l),
                                                   .max_half_open = l.max_half_open,
                                                   .max_streams = l.client_streams,
                                                   .conn_pool = l.connection_pool});
    dedup_set_max(&n->messages.dedup, l.dedup_ids, l.dedup_ns);
    clients_set_max(&n->sessions.clients, l.max_clients, l.max_operators);
    topic_index_set_max(n->messages.topics, l.max_subscriptions, l.client_subscriptions);
    spread_set_limits(n);
    retained_set_max(&n->messages.retained, l.retained_count, l.retained_bytes);
    router_set_limits(n->rpc.router, &(struct router_limits){.max_services = l.max_services,
                                                             .party_services = l.client_services,
                                                             .max_calls = l.max_calls,
                                                             .party_calls = l.client_calls,
                                                             .max_discovered = l.max_discovered,
                                                             .party_lookups = party_lookups(&l),
                                                             .max_args_bytes = l.call_bytes});
    mqtt_door_set_limits(n);
    records_set_limits(n);
    peers_set_limits(n);
    settle(n);
    rows_set_limits(n); /* accounts that have shrunk can take their lowered limits now */
  }
  return 0;
}

void node_will_join(struct node *n) { start_await(n); }

double node_uptime_s(const struct node *n, nanotime now) { return (double)time_since(now, n->started) / (double)NS_SEC; }
const struct id *node_id(const struct node *n) { return &n->id; }

int node_revoke(struct node *n, struct slice list, nanotime now, char ret_why[PASS_WHY_LEN]) {
  set_now(n, now);
  int err = revoked_take(n, list);
  memcpy(ret_why, n->trust.why, PASS_WHY_LEN);
  return err;
}

const struct revoked *node_revoked(const struct node *n, size_t i) {
  for (size_t k = 0; k < ACCESS_MAX_REALMS; k++)
    if (n->trust.revoked[k] && i-- == 0) return n->trust.revoked[k];
  return NULL;
}
