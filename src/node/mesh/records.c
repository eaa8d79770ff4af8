/* Where things are: the node's part in the DHT. Its frames travel over links, dialled as upkeep, so that they neither renew a
 * link's age nor evict one. Only nodes that can be dialled hold records; one that cannot asks and publishes all the same. */
#include "base/err.h"
#include "node/internal.h"

#define NODE_TTL DHT_MAX_TTL

/* Keys are hashes over kind, realm and name: a topic and a procedure of one name never collide, nor do two realms. */
void find_key(const struct node *n, enum dht_kind kind, struct slice name, struct id *ret_key) {
  uint8_t buf[1 + 2 * (NAME_MAX_LEN + 1)];
  size_t realm = strlen(n->realm);
  buf[0] = (uint8_t)kind;
  memcpy(buf + 1, n->realm, realm + 1);
  memcpy(buf + 2 + realm, name.p, name.n);
  quic_sha256(slice_of(buf, 2 + realm + name.n), ret_key);
}

static int sign(void *ctx, struct slice data, uint8_t *ret_sig, size_t *ret_len) {
  return quic_identity_sign(((struct node *)ctx)->identity, data, ret_sig, ret_len);
}
static int verify(void *ctx, struct slice spki, struct slice data, struct slice sig, struct id *ret_id) {
  (void)ctx;
  return quic_verify(spki, data, sig, ret_id);
}

static uint32_t max_own(const struct node *n) { return n->limits.max_services + 1; } /* the node itself is one */

static struct dht_contact self(const struct node *n) {
  struct dht_contact c = {.id = n->id, .addr = n->self};
  if (n->gateway) c.gateway = n->gateway->id;
  return c;
}

int find_new(struct node *n, uint64_t last_seq) {
  struct dht_config c = {.records_mem = &n->mem[ROW_RECORDS],
                         .table_mem = &n->mem[ROW_CONTACTS],
                         .lookups_mem = &n->mem[ROW_LOOKUPS],
                         .rng = n->rng,
                         .log = n->log,
                         .self = self(n),
                         .realm = slice_str(n->realm),
                         .crypto = {quic_identity_spki(n->identity), sign, verify, n},
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
  int err = dht_new(&c, n->now, &n->dht);
  if (!err) (void)dht_publish(n->dht, &n->id, DHT_NODE, NODE_TTL, n->now);
  return err;
}

void find_free(struct node *n) {
  dht_free(n->dht);
  n->dht = NULL;
}

void find_set_limits(struct node *n) { dht_set_max_own(n->dht, max_own(n)); }

void find_self_changed(struct node *n) {
  struct dht_contact c = self(n);
  if (n->dht) dht_set_self(n->dht, &c, n->now);
}

void find_link_up(struct peer *p) {
  struct node *n = p->node;
  struct dht_contact c = {.id = p->id, .addr = p->addr};
  if (!c.addr.sa.sa_family) return;
  dht_seen(n->dht, &c, n->now);
  if (n->found_us) return;
  n->found_us = true;
  dht_join(n->dht, n->now);
}

void find_gone(struct node *n, const struct id *id) { dht_gone(n->dht, id, n->now); }

void find_frame(struct peer *p, uint8_t type, struct slice payload) {
  struct node *n = p->node;
  struct dht_contact c = {.id = p->id, .addr = p->addr};
  if (!c.addr.sa.sa_family && p->via) c.gateway = p->via->id;
  int err = dht_recv(n->dht, &c, type, payload, n->now);
  if (err == MACULA_BAD_FRAME && p->link) session_close(p->link, err, NULL);
}

static void send_one(struct node *n, const struct dht_out *o) {
  struct id to = o->to.id;
  uint64_t query = o->query;
  struct peer *p = peer_get(n, &to);
  /* Of members we know more than an old contact does. */
  if (p && !p->link && !p->member && !p->addr.sa.sa_family) peer_where(p, &o->to.addr, &o->to.gateway);
  int err = p ? peer_upkeep_raw(p, o->type, o->payload, query) : MACULA_ENOMEM;
  if (err && query) dht_unsent(n->dht, &to, query, n->now);
}

void find_step(struct node *n) {
  struct dht_out out;
  struct dht_result r;
  if (!n->dht) return;
  for (bool more = true; more;) {
    more = false;
    while (dht_next_result(n->dht, &r)) {
      more = true;
      switch ((enum find_for)(r.user >> FIND_FOR_SHIFT)) {
      case FIND_FOR_CALLS:
        remote_found(n, &r);
        break;
      case FIND_FOR_ASKS:
        ask_found(n, &r);
        break;
      }
    }
    while (dht_next(n->dht, &out)) {
      more = true;
      send_one(n, &out);
    }
  }
}

void find_tick(struct node *n) {
  if (!n->dht) return;
  dht_tick(n->dht, n->now);
  find_step(n);
}

nanotime find_deadline(const struct node *n) { return n->dht ? dht_deadline(n->dht) : TIME_NEVER; }

uint64_t node_last_seq(const struct node *n) { return dht_last_seq(n->dht); }
