/* Where things are: the node's part in the DHT. Its frames travel over links that are dialled as upkeep, so that they neither
 * renew a link's age in the pool nor evict another link. Only nodes that can be dialled hold records; one that cannot asks and
 * publishes all the same. */
#include "node/mesh/records.h"

#include "base/err.h"
#include "node/calls/providers.h"
#include "node/keys.h"
#include "node/peers/peer.h"
#include "node/session/session.h"
#include "node/view/ask.h"

#define NODE_TTL DHT_MAX_TTL

static int sign(void *ctx, struct slice data, uint8_t *ret_sig, size_t *ret_len) {
  return quic_identity_sign(((struct node *)ctx)->identity, data, ret_sig, ret_len);
}
static int verify(void *ctx, struct slice spki, struct slice data, struct slice sig, struct id *ret_id) {
  (void)ctx;
  return quic_verify(spki, data, sig, ret_id);
}

static uint32_t max_own(const struct node *n) { return n->limits.max_services + 1; } /* the node itself is one */

static struct dht_contact self(const struct node *n) {
  struct dht_contact c = {.id = n->id, .addr = n->mesh.self};
  if (n->mesh.gateway) c.gateway = n->mesh.gateway->id;
  return c;
}

int records_new(struct node *n, uint64_t last_seq) {
  struct dht_config c = {.records_mem = &n->rows.mem[ROW_RECORDS],
                         .table_mem = &n->rows.mem[ROW_CONTACTS],
                         .lookups_mem = &n->rows.mem[ROW_LOOKUPS],
                         .rng = n->rng,
                         .log = n->log,
                         .self = self(n),
                         .realm = slice_str(n->realm),
                         .crypto = {quic_identity_spki(n->identity), sign, verify, n},
                         .spent = &n->spent,
                         .unix_base_ms = n->unix_base_ms,
                         .last_seq = last_seq,
                         .max_records = n->limits.max_records,
                         .max_publisher = n->limits.max_records / 4,
                         .max_key_service = 32,
                         .max_key_subscription = 1024,
                         .max_own = max_own(n),
                         .max_lookups = n->limits.max_lookups,
                         .max_tombstones = n->limits.max_records / 5,
                         .per_address = 8};
  int err = dht_new(&c, n->now, &n->records.dht);
  if (!err) (void)dht_publish(n->records.dht, &n->id, DHT_NODE, NODE_TTL, n->now);
  return err;
}

void records_free(struct node *n) {
  dht_free(n->records.dht);
  n->records.dht = NULL;
}

void records_set_limits(struct node *n) { dht_set_max_own(n->records.dht, max_own(n)); }

void records_self_changed(struct node *n) {
  struct dht_contact c = self(n);
  if (n->records.dht) dht_set_self(n->records.dht, &c, n->now);
}

void records_link_up(struct peer *p) {
  struct node *n = p->node;
  struct dht_contact c = {.id = p->id, .addr = p->addr};
  if (!addr_is_set(&c.addr)) return;
  dht_seen(n->records.dht, &c, n->now);
  if (n->records.found_us) return;
  n->records.found_us = true;
  dht_join(n->records.dht, n->now);
}

void records_gone(struct node *n, const struct id *id) { dht_gone(n->records.dht, id, n->now); }

void records_frame(struct peer *p, uint8_t type, struct slice payload) {
  struct node *n = p->node;
  struct dht_contact c = {.id = p->id, .addr = p->addr};
  if (!addr_is_set(&c.addr) && p->via) c.gateway = p->via->id;
  int err = dht_recv(n->records.dht, &c, type, payload, n->now);
  if (err == MACULA_BAD_FRAME && p->link) session_close(p->link, err, NULL);
}

static void send_one(struct node *n, const struct dht_out *o) {
  struct id to = o->to.id;
  uint64_t query = o->query;
  struct peer *p = peer_get(n, &to);
  /* Where a member is, is known from membership and newer than what the DHT's contact says. */
  if (p && !p->link && !p->member && !addr_is_set(&p->addr)) peer_where(p, &o->to.addr, &o->to.gateway);
  int err = p ? peer_upkeep_raw(p, o->type, o->payload, query) : MACULA_ENOMEM;
  if (err && query) dht_unsent(n->records.dht, &to, query, n->now);
}

void records_step(struct node *n) {
  struct dht_out out;
  struct dht_result r;
  if (!n->records.dht) return;
  for (bool more = true; more;) {
    more = false;
    while (dht_next_result(n->records.dht, &r)) {
      more = true;
      switch ((enum lookup_for)(r.user >> LOOKUP_FOR_SHIFT)) {
      case LOOKUP_FOR_CALLS:
        providers_found(n, &r);
        break;
      case LOOKUP_FOR_ASKS:
        ask_found(n, &r);
        break;
      }
    }
    while (dht_next(n->records.dht, &out)) {
      more = true;
      send_one(n, &out);
    }
  }
}

void records_tick(struct node *n) {
  if (!n->records.dht) return;
  dht_tick(n->records.dht, n->now);
  records_step(n);
}

nanotime records_deadline(const struct node *n) { return n->records.dht ? dht_deadline(n->records.dht) : TIME_NEVER; }

uint64_t node_last_seq(const struct node *n) { return dht_last_seq(n->records.dht); }
