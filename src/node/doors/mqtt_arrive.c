/* Who may connect: a share of the places for each address, and a budget for connections that lead to nothing.
 *
 * A connection is fresh until its session is let in. One that ends before that, or whose session is over soon (door_brief),
 * costs its address a token; so does a handshake of TLS that fails. An address without tokens is refused before anything is
 * done for it. That many are fresh at once costs nothing: a thousand devices may come back together. */
#include "base/check.h"
#include "base/err.h"
#include "node/doors/mqtt_state.h"

#define VAIN 250.0 /* connections of an address that may lead to nothing at once, and in 10 s; as quic.h: vain */
/* Of all addresses: so many times what one has. Then only an address comes in that has used less than half of its own, and of
 * these so many times that. */
#define OF_ALL 8.0
#define RESERVE 2.0
#define IDLE_MOST 4096u /* addresses without a connection that are remembered; the oldest makes room */
/* An address may have so many times as many connections as there are places left: alone three quarters of all. Loopback has no
 * such share, as who forwards for others (a proxy) comes from there. */
#define OF_FREE 3u
#define ALWAYS 4u
/* Of mqtt_pool, what fresh connections may have sent in part. */
#define FRESH_PART 4

struct mqtt_address {
  struct hlink h;
  struct list idle; /* mqtt_rooms.idle_addresses while it has no connection */
  uint32_t links, fresh;
  struct bucket vain;
  uint8_t key[MQTT_ADDRESS_KEY]; /* the family, then an IPv4 address or an IPv6 /64 prefix */
};

static bool key_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(container_of(h, struct mqtt_address, h)->key, key, len) == 0;
}

void mqtt_addresses_init(struct node *n) {
  struct mqtt_rooms *r = n->mqtt;
  htab_init(&r->addresses, mqtt_mem(n), n->rng, UINT32_MAX, key_eq);
  list_init(&r->idle_addresses);
  list_init(&r->fresh);
}

static void drop(struct node *n, struct mqtt_address *a) {
  htab_remove(&n->mqtt->addresses, &a->h);
  if (!list_empty(&a->idle)) n->mqtt->idle_count--;
  list_remove(&a->idle);
  mem_free(mqtt_mem(n), a);
}

void mqtt_addresses_done(struct node *n) {
  struct htab *t = &n->mqtt->addresses;
  for (struct hlink *h; (h = htab_next(t, NULL));) drop(n, container_of(h, struct mqtt_address, h));
  htab_done(t);
}

/* Of an address that is not known; NULL: there is no memory. It is idle. */
static struct mqtt_address *make(struct node *n, const uint8_t key[MQTT_ADDRESS_KEY]) {
  struct mqtt_rooms *r = n->mqtt;
  if (r->idle_count >= IDLE_MOST) drop(n, container_of(r->idle_addresses.next, struct mqtt_address, idle));
  struct mqtt_address *a = mem_calloc(mqtt_mem(n), 1, sizeof *a);
  if (!a) return NULL;
  list_init(&a->idle);
  memcpy(a->key, key, sizeof a->key);
  if (htab_insert(&r->addresses, &a->h, key, MQTT_ADDRESS_KEY)) {
    mem_free(mqtt_mem(n), a);
    return NULL;
  }
  list_append(&r->idle_addresses, &a->idle);
  r->idle_count++;
  return a;
}

static struct mqtt_address *address_of(struct node *n, const struct addr *remote) {
  uint8_t key[MQTT_ADDRESS_KEY] = {remote->sa.sa_family == AF_INET ? 4 : 6};
  memcpy(key + 1, key[0] == 4 ? (const void *)&remote->v4.sin_addr : (const void *)&remote->v6.sin6_addr, key[0] == 4 ? 4 : 8);
  struct hlink *h = htab_find(&n->mqtt->addresses, key, sizeof key);
  return h ? container_of(h, struct mqtt_address, h) : make(n, key);
}

/* ---- what leads to nothing -------------------------------------------------------------------------------------------------
 */
static double left_of(struct node *n, struct mqtt_address *a) { return bucket_level(&a->vain, VAIN / 10, VAIN, n->now); }
static double left_of_all(struct node *n) { return bucket_level(&n->mqtt->vain, VAIN / 10 * OF_ALL, VAIN * OF_ALL, n->now); }

static bool has_nothing_left(struct node *n, struct mqtt_address *a) {
  double own = left_of(n, a);
  return own < 1 || left_of_all(n) < (own > VAIN / 2 ? 1 - VAIN * RESERVE : 1);
}

static void charge(struct node *n, struct mqtt_address *a) {
  if (left_of(n, a) >= 1) a->vain.tokens -= 1;
  if (left_of_all(n) >= 1 - VAIN * RESERVE) n->mqtt->vain.tokens -= 1;
}

void mqtt_arrival_in_vain(struct node *n, const struct addr *remote) {
  struct mqtt_address *a = address_of(n, remote);
  if (a) charge(n, a);
}

/* ---- arrivals --------------------------------------------------------------------------------------------------------------
 */
static const char no_memory[] = "there is no memory for it";

static const char *judge(struct node *n, struct mqtt_address *a) {
  if (n->draining) return "the node ends";
  if (!a) return no_memory;
  if (has_nothing_left(n, a)) return "this address makes connections without end that lead to nothing";
  return NULL;
}

bool node_mqtt_may_come(struct node *n, const struct addr *remote, nanotime now) {
  if (now > n->now) n->now = now;
  const char *why = judge(n, address_of(n, remote));
  if (!why) return true;
  n->mqtt->refused++;
  mqtt_say(n, remote, "mqtt_refused", why);
  return false;
}

/* Ends the oldest fresh connection if its address has more of them than this one: who sends nothing keeps out only those of its
 * own address. */
static bool oldest_makes_room(struct node *n, const struct mqtt_address *a) {
  struct mqtt_link *l = container_of(n->mqtt->fresh.next, struct mqtt_link, fresh);
  if (l->address->fresh <= a->fresh) return false;
  mqtt_conn_close(l->conn, MQTT_QUOTA, "too many connections of one address send no CONNECT", n->now);
  mqtt_link_settled(l, true);
  return true;
}

const char *mqtt_link_arrives(struct mqtt_link *l) {
  struct node *n = l->n;
  struct mqtt_rooms *r = n->mqtt;
  uint32_t most = n->limits.max_clients + n->limits.max_half_open, left = most > r->link_count ? most - r->link_count : 0;
  struct mqtt_address *a = address_of(n, &l->stream->remote);
  const char *why = judge(n, a);
  if (why) return why;
  if (!left) return "there are too many connections";
  if (a->links >= ALWAYS && a->links / OF_FREE >= left && !addr_is_loopback(&l->stream->remote))
    return "its address has too many connections, as few places are left";
  if (r->fresh_count >= n->limits.max_half_open && !oldest_makes_room(n, a)) return "too many connections send no CONNECT";
  if (!a->links++) {
    list_remove(&a->idle);
    r->idle_count--;
  }
  a->fresh++;
  l->address = a;
  list_append(&r->fresh, &l->fresh);
  r->fresh_count++;
  return NULL;
}

void mqtt_link_settled(struct mqtt_link *l, bool in_vain) {
  struct mqtt_rooms *r = l->n->mqtt;
  if (list_empty(&l->fresh)) return;
  list_remove(&l->fresh);
  r->fresh_count--;
  l->address->fresh--;
  r->fresh_bytes -= l->fresh_bytes;
  l->fresh_bytes = 0;
  if (in_vain) charge(l->n, l->address);
}

void mqtt_link_leaves(struct mqtt_link *l) {
  struct mqtt_rooms *r = l->n->mqtt;
  struct mqtt_address *a = l->address;
  if (!a) return;
  mqtt_link_settled(l, true);
  l->address = NULL;
  if (--a->links) return;
  list_append(&r->idle_addresses, &a->idle);
  if (++r->idle_count > IDLE_MOST) drop(l->n, container_of(r->idle_addresses.next, struct mqtt_address, idle));
}

/* ---- what fresh connections hold -------------------------------------------------------------------------------------------
 * Half a CONNECT and half a handshake are kept; when all of them together are too much, the one that holds the most ends. */
void mqtt_link_weigh(struct mqtt_link *l) {
  struct node *n = l->n;
  struct mqtt_rooms *r = n->mqtt;
  if (list_empty(&l->fresh)) return;
  size_t now = mqtt_conn_held(l->conn) + mqtt_web_held(l);
  r->fresh_bytes += now - l->fresh_bytes;
  l->fresh_bytes = now;
  if (r->fresh_bytes <= n->limits.mqtt_pool / FRESH_PART) return;
  struct mqtt_link *most = l;
  list_for(it, &r->fresh) {
    struct mqtt_link *other = container_of(it, struct mqtt_link, fresh);
    if (other->fresh_bytes > most->fresh_bytes) most = other;
  }
  mqtt_conn_close(most->conn, MQTT_QUOTA, "connections that are not let in have sent too much", n->now);
  mqtt_link_settled(most, true);
}

const char *mqtt_addresses_check(const struct node *n) {
  const struct mqtt_rooms *r = n->mqtt;
  uint64_t links = 0, fresh = 0, bytes = 0;
  CHECK_PART(htab_check(&r->addresses));
  CHECK(list_has(&r->idle_addresses, r->idle_count) && r->idle_count <= IDLE_MOST, "mqtt: the idle addresses are miscounted");
  CHECK(list_has(&r->fresh, r->fresh_count), "mqtt: the fresh connections are not as many as counted");
  for (const struct hlink *h = htab_next(&r->addresses, NULL); h; h = htab_next(&r->addresses, h)) {
    const struct mqtt_address *a = container_of(h, const struct mqtt_address, h);
    CHECK(htab_has(&r->addresses, h, a->key, sizeof a->key), "mqtt: an address is not found by its key");
    CHECK(list_empty(&a->idle) == (a->links > 0), "mqtt: an address with connections is idle, or one without is not");
    links += a->links;
    fresh += a->fresh;
  }
  list_for(it, &r->fresh) bytes += container_of(it, const struct mqtt_link, fresh)->fresh_bytes;
  CHECK(links == r->link_count, "mqtt: the addresses have more or fewer connections than there are");
  CHECK(fresh == r->fresh_count && bytes == r->fresh_bytes, "mqtt: what fresh connections hold is miscounted");
  return NULL;
}
