#include "net.h"

#include <stdlib.h>

#include "base/list.h"

#define BUF_LEN 65536
#define MAX_CUTS 64

struct packet {
  nanotime at;
  uint64_t order; /* among those of one moment */
  struct addr from, to;
  uint8_t ecn;
  bool icmp, port;     /* port: nobody listens there, says the error */
  struct packet *next; /* of those that wait for an endpoint that stands still */
  size_t len;
  uint8_t data[];
};
struct node {
  struct list link;
  struct addr at, outside;
  bool has_outside, stopped, stood;
  nanotime since; /* when it was stopped */
  nanotime busy;  /* its line, until then */
  struct packet *waiting, **last;
  struct endpoint ep;
};
struct sim_net {
  nanotime now;
  struct rng_seeded seeded, ids;
  struct sim_link link;
  struct sim_stats stats;
  struct list nodes;
  struct packet **heap; /* by time */
  size_t count, cap;
  uint64_t order;
  struct {
    struct addr a, b;
    bool all;
  } cuts[MAX_CUTS];
  size_t cut_count;
  bool icmp, no_route;
  bool (*filter)(void *, const struct addr *, const struct addr *, uint8_t *, size_t);
  void *filter_ctx;
  uint8_t buf[BUF_LEN];
};

static void *need(void *p) {
  if (!p) abort();
  return p;
}

struct sim_net *sim_net_new(uint64_t seed, const struct sim_link *link) {
  struct sim_net *n = need(calloc(1, sizeof *n));
  n->now = NS_SEC;
  n->link = *link;
  n->icmp = true;
  rng_seeded_init(&n->seeded, seed);
  rng_seeded_init(&n->ids, seed ^ UINT64_C(0x5eed));
  list_init(&n->nodes);
  return n;
}

static void drop(struct node *d) {
  for (struct packet *p = d->waiting, *next; p; p = next) {
    next = p->next;
    free(p);
  }
  list_remove(&d->link);
  free(d);
}

void sim_net_free(struct sim_net *n) {
  if (!n) return;
  while (!list_empty(&n->nodes)) drop(container_of(n->nodes.next, struct node, link));
  for (size_t i = 0; i < n->count; i++) free(n->heap[i]);
  free(n->heap);
  free(n);
}

nanotime sim_net_now(const struct sim_net *n) { return n->now; }
struct rng sim_net_rng(struct sim_net *n) {
  return rng_seeded_view(&n->ids);
}
void sim_net_set_link(struct sim_net *n, const struct sim_link *link) { n->link = *link; }
void sim_net_icmp(struct sim_net *n, bool on) { n->icmp = on; }
void sim_net_no_route(struct sim_net *n, bool on) { n->no_route = on; }
void sim_net_stats(const struct sim_net *n, struct sim_stats *ret_stats) { *ret_stats = n->stats; }

void sim_net_filter(struct sim_net *n, bool (*fn)(void *, const struct addr *, const struct addr *, uint8_t *, size_t),
                    void *ctx) {
  n->filter = fn;
  n->filter_ctx = ctx;
}

static struct node *find(struct sim_net *n, const struct addr *at, bool inside) {
  list_for(it, &n->nodes) {
    struct node *d = container_of(it, struct node, link);
    if (addr_eq(inside || !d->has_outside ? &d->at : &d->outside, at)) return d;
  }
  return NULL;
}

void sim_net_attach(struct sim_net *n, const struct addr *at, const struct endpoint *ep) {
  struct node *d = need(calloc(1, sizeof *d));
  d->at = *at;
  d->ep = *ep;
  d->last = &d->waiting;
  list_append(&n->nodes, &d->link);
}

void sim_net_detach(struct sim_net *n, const struct addr *at) {
  struct node *d = find(n, at, true);
  if (d) drop(d);
}

static void hand_over(struct sim_net *n, struct node *d, struct packet *p) {
  if (p->icmp) {
    if (d->ep.icmp) d->ep.icmp(d->ep.ctx, &p->from, slice_of(p->data, p->len), p->port, n->now);
    return;
  }
  n->stats.delivered++;
  d->ep.recv(d->ep.ctx, &d->at, &p->from, slice_of(p->data, p->len), p->ecn, n->now);
}

static void stood(struct sim_net *n, struct node *d, uint64_t ns) {
  d->stood = ns > 0;
  if (d->ep.stood) d->ep.stood(d->ep.ctx, ns, n->now);
}

void sim_net_stop(struct sim_net *n, const struct addr *at, bool stop) {
  struct node *d = find(n, at, true);
  if (!d || d->stopped == stop) return;
  d->stopped = stop;
  if (stop) {
    d->since = n->now;
    return;
  }
  if (d->waiting) stood(n, d, n->now - d->since);
  for (struct packet *p = d->waiting, *next; p; p = next) {
    next = p->next;
    hand_over(n, d, p);
    free(p);
  }
  d->waiting = NULL;
  d->last = &d->waiting;
}

void sim_net_nat(struct sim_net *n, const struct addr *inside, const struct addr *outside) {
  struct node *d = find(n, inside, true);
  if (!d) return;
  d->has_outside = outside != NULL;
  if (outside) d->outside = *outside;
}

void sim_net_cut(struct sim_net *n, const struct addr *a, const struct addr *b, bool cut) {
  for (size_t i = 0; i < n->cut_count;)
    if (addr_eq(&n->cuts[i].a, a) && n->cuts[i].all == !b && (!b || addr_eq(&n->cuts[i].b, b)))
      n->cuts[i] = n->cuts[--n->cut_count];
    else
      i++;
  if (!cut) return;
  if (n->cut_count == MAX_CUTS) abort();
  n->cuts[n->cut_count].a = *a;
  n->cuts[n->cut_count].all = !b;
  if (b) n->cuts[n->cut_count].b = *b;
  n->cut_count++;
}

static bool is_cut(const struct sim_net *n, const struct addr *a, const struct addr *b) {
  for (size_t i = 0; i < n->cut_count; i++) {
    if (n->cuts[i].all && (addr_eq(&n->cuts[i].a, a) || addr_eq(&n->cuts[i].a, b))) return true;
    if (n->cuts[i].all) continue;
    if ((addr_eq(&n->cuts[i].a, a) && addr_eq(&n->cuts[i].b, b)) || (addr_eq(&n->cuts[i].a, b) && addr_eq(&n->cuts[i].b, a)))
      return true;
  }
  return false;
}

static bool before(const struct packet *a, const struct packet *b) {
  return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void push(struct sim_net *n, struct packet *p) {
  if (n->count == n->cap) {
    n->cap = n->cap ? n->cap * 2 : 64;
    n->heap = need(realloc(n->heap, n->cap * sizeof(*n->heap)));
  }
  p->order = n->order++;
  size_t i = n->count++;
  for (; i > 0 && before(p, n->heap[(i - 1) / 2]); i = (i - 1) / 2) n->heap[i] = n->heap[(i - 1) / 2];
  n->heap[i] = p;
}

static struct packet *pop(struct sim_net *n) {
  struct packet *top = n->heap[0], *last = n->heap[--n->count];
  size_t i = 0;
  for (size_t c; (c = 2 * i + 1) < n->count; i = c) {
    if (c + 1 < n->count && before(n->heap[c + 1], n->heap[c])) c++;
    if (!before(n->heap[c], last)) break;
    n->heap[i] = n->heap[c];
  }
  n->heap[i] = last;
  return top;
}

static void queue(struct sim_net *n, const struct addr *from, const struct addr *to, const uint8_t *p, size_t len, uint8_t ecn,
                  nanotime at) {
  struct packet *k = need(malloc(sizeof *k + len));
  *k = (struct packet){.at = at, .from = *from, .to = *to, .ecn = ecn, .len = len};
  memcpy(k->data, p, len);
  push(n, k);
}

static nanotime travel(struct sim_net *n) {
  nanotime t = n->link.delay;
  if (n->link.jitter) t += rng_below(rng_seeded_view(&n->seeded), n->link.jitter);
  return t;
}

/* An ICMP error for its sender. */
static void bounce(struct sim_net *n, const struct addr *from, const struct addr *to, const uint8_t *p, size_t len, bool port) {
  if (len > 512) len = 512;
  struct packet *k = need(malloc(sizeof *k + len));
  *k = (struct packet){.at = n->now + travel(n), .from = *to, .to = *from, .icmp = true, .port = port, .len = len};
  memcpy(k->data, p, len);
  push(n, k);
}

void sim_net_inject(struct sim_net *n, const struct addr *from, const struct addr *to, struct slice dg) {
  queue(n, from, to, dg.p, dg.n, 0, n->now);
}

static bool chance(struct sim_net *n, double p) {
  return p > 0 && (double)(rng_u64(rng_seeded_view(&n->seeded)) >> 11) * 0x1p-53 < p;
}

/* How long a datagram waits for its sender's line, and passes through it. False: there is no room for it. */
static bool line(struct sim_net *n, struct node *d, size_t len, nanotime *ret) {
  *ret = 0;
  if (!n->link.rate) return true;
  nanotime from = d->busy > n->now ? d->busy : n->now;
  if (from - n->now > n->link.queue) return false;
  d->busy = from + len * NS_SEC / n->link.rate;
  *ret = d->busy - n->now;
  return true;
}

static void transmit(struct sim_net *n, struct node *d, const struct addr *to, uint8_t *p, size_t len, uint8_t ecn) {
  const struct addr *from = d->has_outside ? &d->outside : &d->at;
  nanotime waits;
  n->stats.sent++;
  if (n->filter && !n->filter(n->filter_ctx, from, to, p, len)) return;
  if (n->no_route) {
    n->stats.unreachable++;
    bounce(n, from, to, p, len, false);
    return;
  }
  if (is_cut(n, from, to)) {
    n->stats.cut++;
    return;
  }
  if (!line(n, d, len, &waits) || chance(n, n->link.loss)) {
    n->stats.lost++;
    return;
  }
  nanotime t = waits + travel(n);
  if (chance(n, n->link.reorder)) {
    t += rng_below(rng_seeded_view(&n->seeded), 4 * n->link.delay + 1);
    n->stats.reordered++;
  }
  queue(n, from, to, p, len, ecn, n->now + t);
  if (chance(n, n->link.dup)) {
    queue(n, from, to, p, len, ecn, n->now + t + travel(n));
    n->stats.duplicated++;
  }
}

static void drain(struct sim_net *n, struct node *d) {
  struct burst out = {0};
  for (size_t len; (len = d->ep.send(d->ep.ctx, n->buf, sizeof n->buf, &out, n->now)) > 0;)
    for (size_t at = 0; at < len; at += out.segment) {
      size_t part = len - at < out.segment ? len - at : out.segment;
      transmit(n, d, &out.remote, n->buf + at, part, out.ecn);
    }
}

/* Returns whether the packet is kept. */
static bool deliver(struct sim_net *n, struct packet *p) {
  struct node *d = find(n, &p->to, false);
  if (d && d->stopped) {
    p->next = NULL;
    *d->last = p;
    d->last = &p->next;
    return true;
  }
  if (d) {
    if (d->stood) stood(n, d, 0);
    hand_over(n, d, p);
  } else if (!p->icmp) {
    n->stats.unreachable++;
    if (n->icmp) bounce(n, &p->from, &p->to, p->data, p->len, true);
  }
  return false;
}

bool sim_net_run(struct sim_net *n, nanotime until, bool (*done)(void *ctx), void *ctx) {
  for (;;) {
    while (n->count && n->heap[0]->at <= n->now) {
      struct packet *p = pop(n);
      if (!deliver(n, p)) free(p);
    }
    list_for_safe(it, &n->nodes) {
      struct node *d = container_of(it, struct node, link);
      if (d->stopped) continue;
      d->ep.tick(d->ep.ctx, n->now);
      drain(n, d);
      if (d->ep.late && d->ep.late(d->ep.ctx, n->now)) {
        d->ep.tick(d->ep.ctx, n->now);
        drain(n, d);
      }
    }
    if (done && done(ctx)) return true;
    nanotime next = n->count ? n->heap[0]->at : TIME_NEVER;
    list_for(it, &n->nodes) {
      struct node *d = container_of(it, struct node, link);
      if (!d->stopped) next = time_min(next, d->ep.deadline(d->ep.ctx));
    }
    if (next > until || (next == TIME_NEVER && until == TIME_NEVER)) {
      if (until != TIME_NEVER && until > n->now) n->now = until;
      return false;
    }
    if (next > n->now) n->now = next;
  }
}
