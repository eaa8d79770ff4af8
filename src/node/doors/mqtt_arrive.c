/* Who may connect: a share of the places for each address, and a budget for connections that lead to nothing.
 *
 * A connection is fresh until its session is let in. One that ends before that, or whose session is over soon (door_brief),
 * costs its address a token; so does a handshake of TLS that fails. An address without tokens is refused before anything is
 * done for it. That many are fresh at once costs nothing: a thousand devices may come back together.
 *
 * What clients have sent in part, and their wills, lie in mqtt_pool for as long as they like. So each address, and from the
 * time that a session is let in each key and user instead, has a share of that: as much as the others have left. */
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
/* And what connections and wills hold together: the rest is for messages. */
#define HELD_PART 2

struct mqtt_address {
  struct hlink h;
  struct list idle; /* mqtt_rooms.idle_addresses while it has no connection, and no session */
  uint32_t links, fresh;
  uint32_t sessions; /* that it pays for */
  size_t held;       /* bytes of what it pays for */
  struct bucket vain;
  uint8_t key[MQTT_ADDRESS_KEY]; /* the family, then an IPv4 address or an IPv6 /64 prefix; PROVED, then what was proved */
};
#define PROVED 1

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

static struct mqtt_address *found(struct node *n, const uint8_t key[MQTT_ADDRESS_KEY]) {
  struct hlink *h = htab_find(&n->mqtt->addresses, key, MQTT_ADDRESS_KEY);
  return h ? container_of(h, struct mqtt_address, h) : make(n, key);
}

static void used(struct node *n, struct mqtt_address *a) {
  if (a->links || a->sessions) return;
  list_remove(&a->idle);
  n->mqtt->idle_count--;
}

static void unused(struct node *n, struct mqtt_address *a) {
  if (a->links || a->sessions) return;
  if (a->key[0] == PROVED) { /* nothing is to be remembered of it */
    assert(!a->held);
    drop(n, a);
    return;
  }
  list_append(&n->mqtt->idle_addresses, &a->idle);
  if (++n->mqtt->idle_count > IDLE_MOST) drop(n, container_of(n->mqtt->idle_addresses.next, struct mqtt_address, idle));
}

static struct mqtt_address *address_of(struct node *n, const struct addr *remote) {
  uint8_t key[MQTT_ADDRESS_KEY] = {remote->sa.sa_family == AF_INET ? 4 : 6};
  memcpy(key + 1, key[0] == 4 ? (const void *)&remote->v4.sin_addr : (const void *)&remote->v6.sin6_addr, key[0] == 4 ? 4 : 8);
  return found(n, key);
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
  used(n, a);
  a->links++;
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
  r->fresh_bytes -= l->held;
  if (in_vain) charge(l->n, l->address);
}

void mqtt_link_leaves(struct mqtt_link *l) {
  struct mqtt_address *a = l->address;
  if (!a) return;
  mqtt_link_settled(l, true);
  mqtt_link_parted(l);
  l->address = NULL;
  a->links--;
  unused(l->n, a);
}

/* ---- what they hold --------------------------------------------------------------------------------------------------------
 * Half a CONNECT and half a handshake are kept; when all of them together are too much, the one that holds the most ends. */
static struct mqtt_address *payer_of(const struct mqtt_link *l) {
  return l->client && l->client->payer ? l->client->payer : l->address;
}

static void hold(struct mqtt_link *l, size_t now) {
  struct mqtt_rooms *r = l->n->mqtt;
  if (!list_empty(&l->fresh)) r->fresh_bytes += now - l->held;
  r->held += now - l->held;
  payer_of(l)->held += now - l->held;
  l->held = now;
}

/* One alone may have half of it, one beside it a third. */
static bool is_over(const struct node *n, const struct mqtt_address *a, size_t more) {
  return a->held + n->mqtt->held + 2 * more > n->limits.mqtt_pool / HELD_PART;
}

/* Of those that `of` pays for, or (NULL) that are fresh, the one that holds the most. */
static void end_largest(struct mqtt_link *most, const struct mqtt_address *of, const char *why) {
  struct node *n = most->n;
  list_for(it, &n->mqtt->links) {
    struct mqtt_link *other = container_of(it, struct mqtt_link, all);
    if (other->closing || other->held <= most->held) continue;
    if (of ? payer_of(other) == of : !list_empty(&other->fresh)) most = other;
  }
  mqtt_conn_close(most->conn, MQTT_QUOTA, why, n->now);
  mqtt_link_settled(most, true);
}

void mqtt_link_weigh(struct mqtt_link *l) {
  struct node *n = l->n;
  struct mqtt_rooms *r = n->mqtt;
  size_t now = mqtt_conn_held(l->conn) + mqtt_web_held(l);
  if (!l->address || now == l->held) return;
  bool more = now > l->held;
  hold(l, now);
  if (!list_empty(&l->fresh) && r->fresh_bytes > n->limits.mqtt_pool / FRESH_PART)
    end_largest(l, NULL, "connections that are not let in have sent too much");
  else if (more && is_over(n, payer_of(l), 0))
    end_largest(l, payer_of(l),
                "its address, key or user holds its share of mqtt_pool: packets that are sent in part, and wills");
}

void mqtt_link_parted(struct mqtt_link *l) {
  if (l->address && l->held) hold(l, 0);
}

const char *mqtt_client_pays(struct mqtt_client *c) {
  struct node *n = c->n;
  struct mqtt_link *l = c->link;
  uint8_t key[MQTT_ADDRESS_KEY] = {PROVED};
  if (c->who) memcpy(key + 1, c->who->principal.b, sizeof key - 1);
  struct mqtt_address *a = c->who ? found(n, key) : l->address;
  if (!a) return no_memory;
  mqtt_link_parted(l); /* its CONNECT is done with */
  used(n, a);
  a->sessions++;
  c->payer = a;
  size_t will = c->will_bytes;
  c->will_bytes = 0;
  if (will && is_over(n, a, will))
    return "its address, key or user holds its share of mqtt_pool: there is no room for this will";
  c->will_bytes = (uint32_t)will;
  a->held += will;
  n->mqtt->held += will;
  return NULL;
}

void mqtt_will_gone(struct mqtt_client *c) {
  if (!c->payer) return;
  c->payer->held -= c->will_bytes;
  c->n->mqtt->held -= c->will_bytes;
  c->will_bytes = 0;
}

void mqtt_will_adopt(struct mqtt_client *c, struct mqtt_client *old, bool is_there) {
  uint32_t bytes = is_there && c->payer ? old->will_bytes : 0;
  mqtt_will_gone(old);
  if (!bytes) return;
  mqtt_will_gone(c);
  c->will_bytes = bytes;
  c->payer->held += bytes;
  c->n->mqtt->held += bytes;
}

void mqtt_client_leaves(struct mqtt_client *c) {
  struct mqtt_address *a = c->payer;
  if (!a) return;
  mqtt_will_gone(c);
  c->payer = NULL;
  a->sessions--;
  unused(c->n, a);
}

const char *mqtt_addresses_check(const struct node *n) {
  const struct mqtt_rooms *r = n->mqtt;
  uint64_t links = 0, fresh = 0, bytes = 0, held = 0, paid = 0, sessions = 0;
  CHECK_PART(htab_check(&r->addresses));
  CHECK(list_has(&r->idle_addresses, r->idle_count) && r->idle_count <= IDLE_MOST, "mqtt: the idle addresses are miscounted");
  CHECK(list_has(&r->fresh, r->fresh_count), "mqtt: the fresh connections are not as many as counted");
  for (const struct hlink *h = htab_next(&r->addresses, NULL); h; h = htab_next(&r->addresses, h)) {
    const struct mqtt_address *a = container_of(h, const struct mqtt_address, h);
    CHECK(htab_has(&r->addresses, h, a->key, sizeof a->key), "mqtt: an address is not found by its key");
    CHECK(list_empty(&a->idle) == (a->links || a->sessions),
          "mqtt: an address with connections is idle, or one without is not");
    CHECK(!list_empty(&a->idle) <= !a->held, "mqtt: an address without connections holds something");
    paid += a->held;
    sessions += a->sessions;
    links += a->links;
    fresh += a->fresh;
  }
  list_for(it, &r->fresh) bytes += container_of(it, const struct mqtt_link, fresh)->held;
  list_for(it, &r->links) held += container_of(it, const struct mqtt_link, all)->held;
  list_for(it, &r->clients) {
    const struct mqtt_client *c = container_of(it, const struct mqtt_client, all);
    held += c->payer ? c->will_bytes : 0;
    sessions -= c->payer != NULL;
  }
  CHECK(links == r->link_count, "mqtt: the addresses have more or fewer connections than there are");
  CHECK(fresh == r->fresh_count && bytes == r->fresh_bytes, "mqtt: what fresh connections hold is miscounted");
  CHECK(held == r->held && paid == held && !sessions, "mqtt: what connections and wills hold is miscounted");
  return NULL;
}
