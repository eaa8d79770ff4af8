#include "node/peers/silent.h"

#include "base/check.h"
#include "base/err.h"

#define WAIT_PORT (2 * NS_SEC) /* after the first dial; twice as long after each further one */
#define WAIT_IP (1 * NS_SEC)   /* likewise, after more dials than these, since many nodes may share an IP address: */
#define IP_FREE 8u
#define WAIT_MOST (600 * NS_SEC)

#define ADDR(link) container_of(link, struct silent_addr, l)

static bool eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(ADDR(container_of(h, struct lru_link, h))->key, key, len) == 0;
}

/* Family, IP address and port; of an IP address port 0, and of IPv6 its network. */
static void key_of(const struct addr *a, bool port, uint8_t ret[SILENT_KEY]) {
  bool v6 = a->sa.sa_family == AF_INET6;
  memset(ret, 0, SILENT_KEY);
  ret[0] = v6;
  memcpy(ret + 1, v6 ? (const void *)&a->v6.sin6_addr : (const void *)&a->v4.sin_addr, v6 ? (port ? 16 : 8) : 4);
  if (!port) return;
  ret[17] = (uint8_t)(addr_port(a) >> 8);
  ret[18] = (uint8_t)addr_port(a);
}

static struct silent_addr *find(const struct node *n, const struct addr *a, bool port) {
  uint8_t key[SILENT_KEY];
  key_of(a, port, key);
  struct lru_link *l = lru_find(&n->silent.seen, key, sizeof key);
  return l ? ADDR(l) : NULL;
}

static void forget(struct node *n, struct silent_addr *s) { mem_free(&n->rows.mem[ROW_SILENT], s); }

/* Its row, made if need be: then the one that was dialled longest ago makes room. NULL: no memory. */
static struct silent_addr *get(struct node *n, const struct addr *a, bool port) {
  struct silent_addr *s = find(n, a, port);
  struct lru_link *out = NULL;
  if (s) lru_touch(&n->silent.seen, &s->l);
  if (s || !(s = mem_calloc(&n->rows.mem[ROW_SILENT], 1, sizeof *s))) return s;
  key_of(a, port, s->key);
  int err = lru_insert(&n->silent.seen, &s->l, s->key, sizeof s->key, &out);
  if (out) forget(n, ADDR(out));
  if (!err) return s;
  forget(n, s);
  return NULL;
}

void silent_init(struct node *n) { lru_init(&n->silent.seen, &n->rows.mem[ROW_SILENT], n->rng, SILENT_MAX, eq); }

void silent_done(struct node *n) {
  for (struct lru_link *l; n->silent.seen.order.next && (l = lru_oldest(&n->silent.seen));) {
    lru_remove(&n->silent.seen, l);
    forget(n, ADDR(l));
  }
  lru_done(&n->silent.seen);
}

int silent_may(const struct node *n, const struct addr *to) {
  const struct silent_addr *port = find(n, to, true), *ip = find(n, to, false);
  bool may = (!port || n->now >= port->next) && (!ip || ip->answered || n->now >= ip->next);
  return may ? 0 : MACULA_RATE_LIMITED;
}

static void count(struct node *n, struct silent_addr *s, uint64_t wait, uint32_t free) {
  if (!s || s->answered) return;
  uint32_t more = s->dials++ < free ? 0 : s->dials - free;
  if (!more) return;
  wait <<= more < 20 ? more - 1 : 19;
  s->next = time_add(n->now, wait < WAIT_MOST ? wait : WAIT_MOST);
}

void silent_dialled(struct node *n, const struct addr *to) {
  count(n, get(n, to, true), WAIT_PORT, 0);
  count(n, get(n, to, false), WAIT_IP, IP_FREE);
}

void silent_answered(struct node *n, const struct addr *from) {
  struct silent_addr *port = find(n, from, true), *ip = get(n, from, false);
  if (ip) ip->answered = true;
  if (!port) return;
  lru_remove(&n->silent.seen, &port->l);
  forget(n, port);
}

const char *silent_check(const struct node *n) {
  CHECK_PART(lru_check(&n->silent.seen));
  list_for(it, &n->silent.seen.order) {
    const struct silent_addr *s = container_of(it, const struct silent_addr, l.age);
    CHECK(s->dials || s->answered, "silent: an address is known that was neither dialled nor has answered");
  }
  return NULL;
}

size_t silent_owned(const struct node *n) {
  size_t sum = htab_owned(&n->silent.seen.tab);
  list_for(it, &n->silent.seen.order) sum += mem_cost(container_of(it, const struct silent_addr, l.age));
  return sum;
}
