/* What must hold of other nodes' records, and of addresses to join by. */
#include "base/check.h"
#include "node/peers/join.h"
#include "node/peers/peer.h"
#include "node/peers/seal.h"
#include "node/session/session.h"

struct sums {
  uint32_t slots, sessions, waiting, leaving, vias, behind, unreachable;
  size_t held;
  bool gateway;
};

/* A link is up or on its way: our dial is running or waits for a slot, or the other node's dial is expected. (A sweep later
 * than p->expect, since only the sweep then gives up what waited for that dial.) */
static bool may_have_link(const struct peer *p) {
  bool is_swept = p->node->now < p->node->sweep_at; /* not when the node has just stood still */
  return p->link || p->dial || !list_empty(&p->waits) || !is_swept || p->node->now < time_add(p->expect, 2 * SWEEP_EVERY);
}

static const char *connection_check(const struct peer *p) {
  CHECK(!p->link || (p->link->peer == p && p->link->state >= SESSION_IN && !p->link->ended), "peer: its link is none");
  CHECK(!p->dial || (p->dial->peer == p && p->dial->dialled && p->dial->state != SESSION_IN && !p->dial->ended),
        "peer: its dial is none");
  CHECK(!p->link || !p->dial, "peer: it is dialled though its link stands");
  CHECK(p->slot.in == (p->link || p->dial), "peer: it has a slot without a connection, or the reverse");
  CHECK(!p->link || list_empty(&p->waits), "peer: it waits for a slot though its link stands");
  CHECK(p->slot.in || list_empty(&p->leaving), "peer: it leaves without a slot");
  CHECK(!p->unreachable || !p->link, "peer: it is out of reach though its link stands");
  CHECK(p->via || may_have_link(p) || seal_busy(p) || list_empty(&p->held), "peer: frames wait for a link that nobody makes");
  CHECK(p->via || may_have_link(p) || seal_busy(p) || list_empty(&p->rpc.calls.taken),
        "peer: it has calls under way without a link");
  return NULL;
}

static const char *held_check(const struct peer *p) {
  size_t bytes = 0;
  CHECK(list_holds(&p->held), "peer: the list of its frames is broken");
  list_for(it, &p->held) bytes += container_of(it, const struct held, of_peer)->frame->len;
  CHECK(bytes == p->held_bytes, "peer: its frames that wait are not as many bytes as counted");
  return NULL;
}

static const char *via_check(const struct peer *p, struct sums *sums) {
  CHECK(p->via != p && !p->via == list_empty(&p->of_via), "peer: it is behind a gateway that does not know it");
  CHECK(!p->via || !p->link || !p->addr.sa.sa_family, "peer: it is behind a relay though its link stands");
  CHECK(list_holds(&p->vias), "peer: the list of those behind it is broken");
  list_for(it, &p->vias) {
    CHECK(container_of(it, const struct peer, of_via)->via == p, "peer: one behind it is behind another");
    sums->behind++;
  }
  sums->vias += p->via != NULL;
  return NULL;
}

static const char *peer_is(const struct node *n, const struct peer *p, struct sums *sums) {
  CHECK(p->node == n && htab_has(&n->peers.tab, &p->h, &p->id, sizeof p->id) && !id_eq(&p->id, &n->id),
        "peer: it is not found by its id");
  CHECK(id_eq(&p->id, &p->slot.id), "peer: its slot is another's");
  CHECK(p->rpc.owner.user == p && p->rpc.node, "peer: its calls are another's");
  CHECK_PART(connection_check(p));
  CHECK_PART(held_check(p));
  CHECK_PART(via_check(p, sums));
  sums->slots += p->slot.in;
  sums->sessions += (p->link != NULL) + (p->dial != NULL);
  sums->waiting += !list_empty(&p->waits);
  sums->leaving += !list_empty(&p->leaving);
  sums->unreachable += p->unreachable;
  sums->held += p->held_bytes;
  sums->gateway |= p == n->mesh.gateway && p->link;
  return NULL;
}

static uint32_t sessions_of_peers(const struct node *n) {
  uint32_t count = 0;
  list_for(it, &n->sessions.all) count += container_of(it, const struct session, all)->peer != NULL;
  return count;
}

const char *peers_check(const struct node *n) {
  const struct peers *ps = &n->peers;
  struct sums sums = {.gateway = !n->mesh.gateway};
  CHECK_PART(htab_check(&ps->tab));
  CHECK_PART(pool_check(&ps->pool));
  CHECK(list_has(&ps->all, ps->tab.count), "peer: they are not as many as counted");
  list_for(it, &ps->all) CHECK_PART(peer_is(n, container_of(it, const struct peer, all), &sums));
  CHECK(sums.slots == pool_count(&ps->pool), "peer: a slot of the pool is nobody's");
  CHECK(sums.sessions == sessions_of_peers(n), "peer: a connection is of a peer that has another");
  CHECK(list_has(&ps->waiting, sums.waiting), "peer: those that wait for a slot are not as many as say so");
  CHECK(list_has(&ps->leaving, sums.leaving), "peer: those that leave are not as many as say so");
  CHECK(sums.vias == sums.behind, "peer: one is behind a gateway that does not know it");
  CHECK(sums.unreachable == ps->unreachable, "peer: those out of reach are not as many as counted");
  CHECK(sums.held == ps->held_bytes, "peer: the frames that wait are not as many bytes as counted");
  CHECK(sums.gateway, "peer: our gateway has no link");
  return seals_check(n);
}

const char *join_check(const struct node *n) {
  uint32_t dials = 0, dialled = 0;
  CHECK(list_has(&n->join.seeds, n->join.count), "join: the addresses are not as many as counted");
  list_for(it, &n->join.seeds) {
    const struct seed *d = container_of(it, const struct seed, all);
    CHECK(!d->pinned || d->has_id, "join: an id is expected that is not known");
    CHECK(!d->dial || (d->dial->native->seed == d && d->dial->dialled), "join: the dial of an address is another's");
    dials += d->dial != NULL;
  }
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, const struct session, all);
    dialled += s->native && s->native->seed;
  }
  CHECK(dials == dialled, "join: a dial is for an address that has another");
  return NULL;
}

size_t peers_owned(const struct node *n) {
  size_t sum = htab_owned(&n->peers.tab) + htab_owned(&n->peers.pool.lru.tab);
  list_for(it, &n->peers.all) sum += mem_cost(container_of(it, const struct peer, all));
  list_for(it, &n->join.seeds) sum += mem_cost(container_of(it, const struct seed, all));
  return sum;
}

size_t held_owned(const struct node *n) {
  size_t sum = 0;
  list_for(p, &n->peers.all) list_for(it, &container_of(p, const struct peer, all)->held) {
    const struct held *h = container_of(it, const struct held, of_peer);
    sum += mem_cost(h) + mem_cost(h->frame);
  }
  return sum;
}
