/* How a node finds the mesh, and finds it again: an address to join by is dialled until there is a link to the node there, and
 * again whenever that link is gone. Nodes that were declared dead are dialled for a while, too, so that a mesh that was cut in
 * two can heal from either side. */
#include "node/peers/join.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "node/peers/link.h"
#include "node/peers/peer.h"

#define MAX_LOST 256u
#define RETRY_MIN (500 * NS_MS)
#define RETRY_MAX (15 * NS_SEC)
#define LOOK_EVERY (5 * NS_SEC)   /* between two looks at an address whose node is connected */
#define SELF_AGAIN (600 * NS_SEC) /* until an address that was our own is tried again: by then another node may have it */
#define LOST_KEPT (3600 * NS_SEC)
#define MAX_KNOWN 256

static struct seed *find(const struct node *n, const struct addr *at) {
  list_for(it, &n->join.seeds) {
    struct seed *d = container_of(it, struct seed, all);
    if (addr_eq(&d->addr, at)) return d;
  }
  return NULL;
}

static void drop(struct node *n, struct seed *d) {
  if (d->dial) d->dial->native->seed = NULL;
  assert(n->join.count > 0);
  list_remove(&d->all);
  n->join.count--;
  mem_free(&n->rows.mem[ROW_PEERS], d);
}

void join_done(struct node *n) {
  while (n->join.seeds.next && !list_empty(&n->join.seeds)) drop(n, container_of(n->join.seeds.next, struct seed, all));
}

static int add(struct node *n, const struct addr *to, const struct id *id, bool pinned, bool keep, bool met) {
  struct seed *d = find(n, to);
  if (d) d->met |= met;
  if (d) {
    /* the id was only what a node there had claimed, or membership had told: find out anew */
    if (keep && !d->keep) d->has_id = false;
    d->keep |= keep;
    if (id && (pinned || !d->keep)) {
      d->id = *id;
      d->has_id = true;
      d->pinned |= pinned;
    }
    return 0;
  }
  if (n->join.count >= (keep ? MAX_SEEDS + MAX_LOST : MAX_LOST)) {
    struct seed *oldest = NULL;
    list_for(it, &n->join.seeds) {
      struct seed *e = container_of(it, struct seed, all);
      if (!e->keep && !e->dial && (!oldest || e->since < oldest->since)) oldest = e;
    }
    if (!oldest) return MACULA_EFULL;
    drop(n, oldest);
  }
  if (!(d = mem_calloc(&n->rows.mem[ROW_PEERS], 1, sizeof *d))) return MACULA_ENOMEM;
  d->addr = *to;
  d->keep = keep;
  d->met = met;
  d->at = d->since = n->now;
  if (id) {
    d->id = *id;
    d->has_id = true;
    d->pinned = pinned;
  }
  list_append(&n->join.seeds, &d->all);
  n->join.count++;
  return 0;
}

int node_join(struct node *n, const struct addr *to, const struct id *id, bool keep, nanotime now) {
  if (now > n->now) n->now = now;
  if (id && id_eq(id, &n->id)) return 0;
  return add(n, to, id, id != NULL && keep, keep, false);
}

bool node_joined(const struct node *n, const struct addr *to) {
  const struct seed *d = find(n, to);
  const struct peer *p = d && d->has_id ? peer_find(n, &d->id) : NULL;
  return (d && d->self) || (p && p->link);
}

/* The address is no longer kept for ever. If we have met its node, it stays for a while like that of a lost node, which may
 * come back. */
void node_unjoin(struct node *n, const struct addr *to) {
  struct seed *d = find(n, to);
  if (!d || !d->keep) return;
  d->keep = d->pinned = false;
  d->since = n->now;
  if (d->self || !d->has_id) drop(n, d);
}

bool join_is_configured(const struct node *n, const struct id *id) {
  list_for(it, &n->join.seeds) {
    const struct seed *d = container_of(it, struct seed, all);
    if (d->keep && d->has_id && id_eq(&d->id, id)) return true;
  }
  return false;
}

uint32_t join_missing(const struct node *n) {
  uint32_t count = 0;
  list_for(it, &n->join.seeds) {
    const struct seed *d = container_of(it, struct seed, all);
    const struct peer *p = d->keep && d->has_id ? peer_find(n, &d->id) : NULL;
    count += d->keep && !d->self && (!p || !p->slot.in);
  }
  return count;
}

bool node_is_alone(const struct node *n) { return pool_count(&n->peers.pool) == 0; }

/* A node that we never had a link to may not exist: its address is not tried. */
void join_lost(struct node *n, const struct peer *p) {
  if (p->since && addr_is_set(&p->addr) && !n->draining && !n->mesh.no_upkeep)
    (void)add(n, &p->addr, &p->id, false, false, addr_eq(&p->addr, &p->run_at));
}

static void later(struct node *n, struct seed *d, uint64_t wait) {
  d->at = time_add(n->now, wait / 2 + rng_below(n->rng, wait / 2 + 1));
}

void join_met(struct node *n, struct session *s) {
  struct seed *d = s->native->seed;
  assert(d->dial == s);
  s->native->seed = NULL;
  d->dial = NULL;
  d->id = s->peer->id;
  d->has_id = true;
  d->failures = 0;
  d->said = d->self = false;
  d->met = true;
  d->since = n->now;
  later(n, d, LOOK_EVERY);
}

void join_failed(struct node *n, struct session *s, int err, struct slice text) {
  struct seed *d = s->native->seed;
  const struct id *id = s->door.ops ? door_id(&s->door) : NULL;
  char at[ADDR_TEXT_LEN];
  assert(d->dial == s);
  s->native->seed = NULL;
  d->dial = NULL;
  if (err == MACULA_DUPLICATE && id) { /* another connection to that node is up or on its way */
    d->id = *id;
    d->has_id = true;
    later(n, d, LOOK_EVERY);
    return;
  }
  addr_text(&d->addr, at);
  if (id && id_eq(id, &n->id)) {
    if (d->keep && !d->self)
      log_info(n->log, "join_self", "address=%s text=\"this is the node itself: the address is left out\"", at);
    d->self = true;
    if (!d->keep)
      drop(n, d);
    else
      later(n, d, SELF_AGAIN);
    return;
  }
  if (!d->said && d->keep)
    log_warn(n->log, "join_failed", "address=%s code=%s text=\"%.*s; it is tried again\"", at, macula_err_name(err),
             text.n ? (int)text.n : (int)strlen(macula_err_text(err)), text.n ? (const char *)text.p : macula_err_text(err));
  d->said = true;
  uint64_t wait = RETRY_MIN << (d->failures < 5 ? d->failures : 5);
  d->failures++;
  if (wait > RETRY_MAX) wait = RETRY_MAX;
  later(n, d, err == MACULA_IDENTITY_IN_USE ? IN_USE_AGAIN : wait);
}

nanotime join_deadline(const struct node *n) {
  nanotime at = TIME_NEVER;
  if (n->draining) return at;
  list_for(it, &n->join.seeds) {
    const struct seed *d = container_of(it, struct seed, all);
    if (!d->dial) at = time_min(at, d->at);
  }
  return at;
}

void join_tick(struct node *n) {
  if (n->draining) return;
  list_for_safe(it, &n->join.seeds) {
    struct seed *d = container_of(it, struct seed, all);
    if (d->dial || n->now < d->at) continue;
    struct peer *p = d->has_id ? peer_find(n, &d->id) : NULL;
    if (p && n->now < p->in_use_until) {
      d->at = p->in_use_until;
      continue;
    }
    if (p && (p->link || p->dial)) {
      d->since = n->now;
      if (!d->keep && p->link) {
        drop(n, d);
        continue;
      }
      later(n, d, LOOK_EVERY);
      continue;
    }
    if (!d->keep && time_since(n->now, d->since) > LOST_KEPT) {
      drop(n, d);
      continue;
    }
    int err = link_dial(n, &d->addr, d->pinned ? &d->id : NULL, NULL, d);
    if (err) {
      d->failures++;
      later(n, d, RETRY_MAX);
    }
  }
}

int node_known_peers(const struct node *n, char **ret_text) {
  char *text = NULL, hex[ID_HEX_LEN + 1], at[ADDR_TEXT_LEN];
  size_t len, count = 0;
  FILE *f = open_memstream(&text, &len);
  if (!f) return MACULA_ENOMEM;
  for (int linked = 1; linked >= 0; linked--) list_for(it, &n->peers.all) {
      const struct peer *p = container_of(it, struct peer, all);
      if (!addr_is_set(&p->addr) || (p->link != NULL) != linked || (!linked && (!p->member || !p->since)) || count == MAX_KNOWN)
        continue;
      id_hex(&p->id, hex);
      addr_text(&p->addr, at);
      fprintf(f, "macula://%s@%s\n", hex, at);
      count++;
    }
  if (fclose(f)) {
    free(text);
    return MACULA_ENOMEM;
  }
  *ret_text = text;
  return 0;
}
