/* Which nodes serve a procedure: lookups in the DHT for the router of calls, and the records there of what is served here.
 *
 * At most one lookup runs for a key: calls that need it meanwhile wait in the router's discovery cache. One record is published
 * for a procedure as long as at least one provider of it is connected here. A provider's renewal publishes it again, which also
 * makes up for a record that could not be published before. */
#include "node/calls/providers.h"

#include "base/check.h"
#include "base/err.h"
#include "node/keys.h"

#define BEGUN_A_TURN 32 /* lookups that were put off: well below a millisecond */

struct lookup {
  struct hlink h;      /* node.lookups, by key */
  struct list put_off; /* rpc.put_off */
  struct id key;
  uint64_t number; /* tells this lookup's result from that of an earlier one that was given up */
  uint64_t of_dht;
  uint8_t len;
  char name[]; /* of the procedure */
};

static bool eq(const struct hlink *h, const void *key, size_t len) {
  (void)len;
  return id_eq(&container_of(h, struct lookup, h)->key, key);
}

static struct lookup *find(const struct node *n, const struct id *key) {
  struct hlink *h = htab_find(&n->rpc.lookups, key, sizeof *key);
  return h ? container_of(h, struct lookup, h) : NULL;
}

static void drop(struct node *n, struct lookup *l) {
  htab_remove(&n->rpc.lookups, &l->h);
  list_remove(&l->put_off);
  mem_free(&n->rows.mem[ROW_DISCOVERY], l);
}

void providers_init(struct node *n) {
  htab_init(&n->rpc.lookups, &n->rows.mem[ROW_DISCOVERY], n->rng, UINT32_MAX, eq);
  list_init(&n->rpc.put_off);
}

void providers_done(struct node *n) {
  for (struct hlink *h; (h = htab_next(&n->rpc.lookups, NULL));) drop(n, container_of(h, struct lookup, h));
}

/* ---- lookups ---------------------------------------------------------------------------------------------------------------
 */
/* A member that nobody can dial is no contact, and yet has its records here when this is its gateway. */
static bool alone(const struct node *n) {
  struct membership_stats members = {0};
  struct dht_stats s;
  dht_stats(n->records.dht, &s);
  if (s.contacts) return false;
  if (n->mesh.membership) membership_stats(n->mesh.membership, &members);
  return !members.alive;
}

static int begin(struct node *n, struct lookup *l) {
  if (alone(n)) return MACULA_NO_SUCH_PROCEDURE;
  n->mesh.due = true;
  return dht_lookup(n->records.dht, &l->key, DHT_SERVICE, l->number, n->now, &l->of_dht);
}

int providers_discover(void *ctx, struct slice procedure) {
  struct node *n = ctx;
  struct id key;
  if (!n->records.dht || n->left) return MACULA_SHUTTING_DOWN;
  if (alone(n) && !n->mesh.starting) return MACULA_NO_SUCH_PROCEDURE;
  realm_key(n, DHT_SERVICE, procedure, &key);
  struct lookup *l = mem_calloc(&n->rows.mem[ROW_DISCOVERY], 1, sizeof *l + procedure.n);
  if (!l) return MACULA_ENOMEM;
  l->key = key;
  l->number = (uint64_t)LOOKUP_FOR_CALLS << LOOKUP_FOR_SHIFT | ++n->rpc.lookup_number;
  l->len = (uint8_t)procedure.n;
  memcpy(l->name, procedure.p, procedure.n);
  list_init(&l->put_off);
  int err = htab_insert(&n->rpc.lookups, &l->h, &key, sizeof key);
  if (err) {
    mem_free(&n->rows.mem[ROW_DISCOVERY], l);
    return err;
  }
  if (n->mesh.starting)
    list_append(&n->rpc.put_off, &l->put_off);
  else if ((err = begin(n, l)) != 0)
    drop(n, l);
  return err;
}

static void answer(struct node *n, struct lookup *l, int err, const struct remote_node *v, size_t count) {
  char name[UINT8_MAX];
  uint8_t len = l->len;
  memcpy(name, l->name, len);
  drop(n, l);
  router_discovered(n->rpc.router, slice_of(name, len), err, v, count, n->now);
}

void providers_step(struct node *n) {
  for (int i = 0; i < BEGUN_A_TURN && !n->mesh.starting && !list_empty(&n->rpc.put_off); i++) {
    struct lookup *l = container_of(n->rpc.put_off.next, struct lookup, put_off);
    list_remove(&l->put_off);
    int err = begin(n, l);
    if (err) answer(n, l, err, NULL, 0);
  }
}

nanotime providers_deadline(const struct node *n) {
  return n->mesh.starting || list_empty(&n->rpc.put_off) ? TIME_NEVER : n->now;
}

void providers_undiscover(void *ctx, struct slice procedure) {
  struct node *n = ctx;
  struct id key;
  realm_key(n, DHT_SERVICE, procedure, &key);
  struct lookup *l = find(n, &key);
  if (!l) return;
  if (n->records.dht) dht_cancel(n->records.dht, l->of_dht);
  drop(n, l);
}

/* Membership hears of a node's death earlier than its records expire, so membership decides. */
static bool is_dead(const struct node *n, const struct id *id) {
  const struct member *m = n->mesh.membership ? membership_find(n->mesh.membership, id) : NULL;
  return m && m->state == MEMBER_DEAD;
}

void providers_found(struct node *n, const struct dht_result *r) {
  struct lookup *l = find(n, &r->key);
  struct remote_node v[DISCOVERY_NODES];
  size_t count = 0;
  if (!l || l->number != r->user) return;
  for (size_t i = 0; i < r->provider_count && count < DISCOVERY_NODES; i++) {
    const struct dht_provider *p = &r->providers[i];
    if (id_eq(&p->contact.id, &n->id) || is_dead(n, &p->contact.id)) continue;
    v[count++] =
        (struct remote_node){.id = p->contact.id, .addr = p->contact.addr, .gateway = p->contact.gateway, .seq = p->seq};
  }
  answer(n, l, r->err, v, count);
}

/* ---- records of our own ----------------------------------------------------------------------------------------------------
 */
void providers_publish(struct node *n, struct slice procedure) {
  struct id key;
  uint64_t ttl = n->limits.service_ttl;
  if (!n->records.dht) return;
  realm_key(n, DHT_SERVICE, procedure, &key);
  int err = dht_publish(n->records.dht, &key, DHT_SERVICE,
                        ttl < NS_SEC        ? NS_SEC
                        : ttl > DHT_MAX_TTL ? DHT_MAX_TTL
                                            : ttl,
                        n->now);
  if (err)
    log_warn(n->log, "not_published", "procedure=\"%.*s\" code=%s", (int)procedure.n, (const char *)procedure.p,
             macula_err_name(err));
  n->mesh.due = true;
}

void providers_served(void *ctx, struct slice procedure, bool served) {
  struct node *n = ctx;
  struct id key;
  if (served || !n->records.dht) return;
  realm_key(n, DHT_SERVICE, procedure, &key);
  (void)dht_withdraw(n->records.dht, &key, DHT_SERVICE, n->now);
  n->mesh.due = true;
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *providers_check(const struct node *n) {
  CHECK_PART(htab_check(&n->rpc.lookups));
  CHECK(list_holds(&n->rpc.put_off), "providers: the list of lookups that were put off is broken");
  for (struct hlink *h = NULL; (h = htab_next(&n->rpc.lookups, h));) {
    const struct lookup *l = container_of(h, const struct lookup, h);
    CHECK(htab_has(&n->rpc.lookups, h, &l->key, sizeof l->key), "providers: a lookup is not found by its key");
    CHECK(l->number >> LOOKUP_FOR_SHIFT == LOOKUP_FOR_CALLS &&
              (l->number & ((UINT64_C(1) << LOOKUP_FOR_SHIFT) - 1)) <= n->rpc.lookup_number,
          "providers: a lookup has a number that was not given");
  }
  return NULL;
}

size_t providers_owned(const struct node *n) {
  size_t sum = htab_owned(&n->rpc.lookups);
  for (struct hlink *h = NULL; (h = htab_next(&n->rpc.lookups, h));) sum += mem_cost(container_of(h, const struct lookup, h));
  return sum;
}
