/* What changes while a node runs: the clock, its identity, limits, access and passes; and what it says of that beforehand. */
#include <stdio.h>

#include "base/err.h"
#include "node/doors/mqtt.h"
#include "node/limits.h"
#include "node/mesh/member.h"
#include "node/mesh/records.h"
#include "node/mesh/start.h"
#include "node/messages/deliver.h"
#include "node/messages/spread.h"
#include "node/peers/link.h"
#include "node/peers/peer.h"
#include "node/peers/revoked.h"
#include "node/peers/seal.h"
#include "node/session/lane.h"
#include "node/session/origin.h"
#include "node/session/session.h"
#include "node/trust/account.h"
#include "node/trust/judge.h"
#include "node/turn.h"
#include "quic/quic.h"
#include "trust/crypto.h"

#define RENEW "renew it and send SIGHUP"
#define CLOCK_SAID 60000       /* ms */
#define PASS_SOON (7 * 86400u) /* s */

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
  node_set_now(n, now);
  int64_t by = (int64_t)(unix_ms - node_wall_ms(n));
  if (by > CLOCK_SAID || by < -CLOCK_SAID) log_warn(n->log, "clock_set", "by_s=%lld", (long long)by / 1000);
  n->wall_base_ms += (uint64_t)by;
  quic_set_clock(n->quic, unix_ms / 1000, n->now);
  watch_certificate(n);
  watch_ca(n);
  watch_pass(n);
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
                                                             .party_lookups = limits_party_lookups(&l),
                                                             .max_args_bytes = l.call_bytes});
    mqtt_door_set_limits(n);
    records_set_limits(n);
    peers_set_limits(n);
    node_settle(n);
    rows_set_limits(n); /* accounts that have shrunk can take their lowered limits now */
  }
  return 0;
}

int node_revoke(struct node *n, struct slice list, nanotime now, char ret_why[PASS_WHY_LEN]) {
  node_set_now(n, now);
  int err = revoked_take(n, list);
  memcpy(ret_why, n->trust.why, PASS_WHY_LEN);
  return err;
}

const struct revoked *node_revoked(const struct node *n, size_t i) {
  for (size_t k = 0; k < ACCESS_MAX_REALMS; k++)
    if (n->trust.revoked[k] && i-- == 0) return n->trust.revoked[k];
  return NULL;
}
