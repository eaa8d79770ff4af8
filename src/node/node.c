/* The node's life: its tables, what it is told of its surroundings, and its end. turn.c is what it does, change.c what changes.
 */
#include "node/node.h"

#include <stdio.h>

#include "base/err.h"
#include "base/utf8.h"
#include "node/calls/providers.h"
#include "node/calls/rpc.h"
#include "node/doors/http.h"
#include "node/doors/mqtt.h"
#include "node/doors/quic.h"
#include "node/ends.h"
#include "node/memory/lend.h"
#include "node/mesh/member.h"
#include "node/mesh/records.h"
#include "node/mesh/start.h"
#include "node/messages/deliver.h"
#include "node/messages/disk.h"
#include "node/messages/groups.h"
#include "node/messages/own.h"
#include "node/messages/pace.h"
#include "node/messages/spread.h"
#include "node/peers/join.h"
#include "node/peers/link.h"
#include "node/peers/peer.h"
#include "node/peers/seal.h"
#include "node/receive.h"
#include "node/session/lane.h"
#include "node/session/origin.h"
#include "node/session/session.h"
#include "node/session/tally.h"
#include "node/session/topics.h"
#include "node/trust/account.h"
#include "node/trust/judge.h"
#include "node/turn.h"
#include "node/view/ask.h"
#include "node/view/recent.h"
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
  lend_start(n);
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
  tally_init(n);
  peers_init(n);
  providers_init(n);
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
                            .party_lookups = limits_party_lookups(l),
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
  n->swept = NODE_SWEEPS;
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
  http_door_free(n);
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
  tally_done(n);
  origins_done(n);
  clients_done(&n->sessions.clients);
  trust_done(n);
  ask_done(n);
  mem_free(&n->rows.mem[ROW_HISTORY], n->history);
  peers_done(n);
  mesh_free(n);
  records_free(n);
  quic_identity_unref(n->identity);
  recent_done(n);
  struct mem own = n->rows.mem[ROW_NODE];
  mem_free(&own, n->name);
  mem_free(&own, n->realm);
  mem_free(&own, (void *)n->trust.pass.p);
  mem_free(&own, n);
}

/* ---- surroundings -----------------------------------------------------------------------------------------------------------
 */
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

void node_will_join(struct node *n) { start_await(n); }

double node_uptime_s(const struct node *n, nanotime now) { return (double)time_since(now, n->started) / (double)NS_SEC; }
const struct id *node_id(const struct node *n) { return &n->id; }
const char *node_name(const struct node *n) { return n->name; }
