/* Which nodes serve a procedure: lookups in the DHT for the router of calls, and the records there of what is served here.
 *
 * One lookup a key at a time: who asks while one runs waits in the router's discovery cache. A record stays published as long
 * as a provider is connected here, however many there are and however often they renew; renewing also repairs a record that
 * could not be made. */
#include "node/internal.h"

struct lookup {
  struct hlink h; /* node.lookups, by key */
  struct id key;
  uint64_t number; /* a result of one that was given up is not taken for a later one's */
  uint64_t of_dht;
  uint8_t len;
  char name[]; /* of the procedure */
};

static bool eq(const struct hlink *h, const void *key, size_t len) {
  (void)len;
  return id_eq(&container_of(h, struct lookup, h)->key, key);
}

static struct lookup *find(const struct node *n, const struct id *key) {
  struct hlink *h = htab_find(&n->lookups, key, sizeof *key);
  return h ? container_of(h, struct lookup, h) : NULL;
}

static void drop(struct node *n, struct lookup *l) {
  htab_remove(&n->lookups, &l->h);
  mem_free(&n->mem[ROW_DISCOVERY], l);
}

void lookups_init(struct node *n) { htab_init(&n->lookups, &n->mem[ROW_DISCOVERY], n->rng, UINT32_MAX, eq); }

void lookups_done(struct node *n) {
  for (struct hlink *h; (h = htab_next(&n->lookups, NULL));) drop(n, container_of(h, struct lookup, h));
}

/* ---- lookups ---------------------------------------------------------------------------------------------------------------
 */
static bool alone(const struct node *n) {
  struct dht_stats s;
  dht_stats(n->dht, &s);
  return s.contacts == 0;
}

int remote_discover(void *ctx, struct slice procedure) {
  struct node *n = ctx;
  struct id key;
  if (!n->dht || n->left) return MACULA_SHUTTING_DOWN;
  if (alone(n)) return MACULA_NO_SUCH_PROCEDURE;
  find_key(n, DHT_SERVICE, procedure, &key);
  struct lookup *l = mem_calloc(&n->mem[ROW_DISCOVERY], 1, sizeof *l + procedure.n);
  if (!l) return MACULA_ENOMEM;
  l->key = key;
  l->number = (uint64_t)FIND_FOR_CALLS << FIND_FOR_SHIFT | ++n->lookup_number;
  l->len = (uint8_t)procedure.n;
  memcpy(l->name, procedure.p, procedure.n);
  int err = htab_insert(&n->lookups, &l->h, &key, sizeof key);
  if (err) {
    mem_free(&n->mem[ROW_DISCOVERY], l);
    return err;
  }
  err = dht_lookup(n->dht, &key, DHT_SERVICE, l->number, n->now, &l->of_dht);
  if (err) drop(n, l);
  n->mesh_due = true;
  return err;
}

void remote_undiscover(void *ctx, struct slice procedure) {
  struct node *n = ctx;
  struct id key;
  find_key(n, DHT_SERVICE, procedure, &key);
  struct lookup *l = find(n, &key);
  if (!l) return;
  if (n->dht) dht_cancel(n->dht, l->of_dht);
  drop(n, l);
}

/* What the records say is older than what membership knows of the dead. */
static bool is_dead(const struct node *n, const struct id *id) {
  const struct member *m = n->membership ? membership_find(n->membership, id) : NULL;
  return m && m->state == MEMBER_DEAD;
}

void remote_found(struct node *n, const struct dht_result *r) {
  struct lookup *l = find(n, &r->key);
  struct remote_node v[DISCOVERY_NODES];
  char name[UINT8_MAX];
  size_t count = 0;
  if (!l || l->number != r->user) return;
  for (size_t i = 0; i < r->provider_count && count < DISCOVERY_NODES; i++) {
    const struct dht_provider *p = &r->providers[i];
    if (id_eq(&p->contact.id, &n->id) || is_dead(n, &p->contact.id)) continue;
    v[count++] =
        (struct remote_node){.id = p->contact.id, .addr = p->contact.addr, .gateway = p->contact.gateway, .seq = p->seq};
  }
  struct slice procedure = slice_of(name, l->len);
  memcpy(name, l->name, l->len);
  drop(n, l);
  router_discovered(n->router, procedure, r->err, v, count, n->now);
}

/* ---- records of our own ----------------------------------------------------------------------------------------------------
 */
void remote_publish(struct node *n, struct slice procedure) {
  struct id key;
  uint64_t ttl = n->limits.service_ttl;
  if (!n->dht) return;
  find_key(n, DHT_SERVICE, procedure, &key);
  int err = dht_publish(n->dht, &key, DHT_SERVICE, ttl < NS_SEC ? NS_SEC : ttl > DHT_MAX_TTL ? DHT_MAX_TTL : ttl, n->now);
  if (err)
    log_warn(n->log, "not_published", "procedure=\"%.*s\" code=%s", (int)procedure.n, (const char *)procedure.p,
             macula_err_name(err));
  n->mesh_due = true;
}

void remote_served(void *ctx, struct slice procedure, bool served) {
  struct node *n = ctx;
  struct id key;
  if (served || !n->dht) return;
  find_key(n, DHT_SERVICE, procedure, &key);
  (void)dht_withdraw(n->dht, &key, DHT_SERVICE, n->now);
  n->mesh_due = true;
}
