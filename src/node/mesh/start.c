#include "node/mesh/start.h"

#include "node/peers/join.h"
#include "node/peers/peer.h"

/* Whether all is known of a node that can be: what its clients listen to, unless there is no place for that, or it answers
 * nothing. */
static bool is_known(const struct peer *p) {
  return p->spread.interest.whole || !p->spread.on || p->spread.silent || p->unreachable;
}

/* Every address of the configuration leads to a node that was heard, or to none that answers; and one node at least, that we
 * join or that was faster to find us, has told all members that it knows. */
static bool joined(const struct node *n) {
  list_for(it, &n->join.seeds) {
    const struct seed *d = container_of(it, const struct seed, all);
    const struct peer *p = d->has_id ? peer_find(n, &d->id) : NULL;
    bool heard = p && p->link && is_known(p);
    if (d->keep && !heard && !d->self && !d->failures) return false;
  }
  list_for(it, &n->spread.peers) {
    const struct peer *p = container_of(it, const struct peer, spread.of_node);
    if (p->link && is_known(p) && membership_has_list(n->mesh.membership, &p->id)) return true;
  }
  return false;
}

static bool is_awaited(const struct node *n, const struct peer *p) {
  const struct member *m = p->member ? membership_find(n->mesh.membership, &p->id) : NULL;
  return m && m->state == MEMBER_ALIVE && !is_known(p);
}

/* Members that are alive, as others say, and were not heard yet. */
static uint32_t unheard(const struct node *n) {
  uint32_t count = 0;
  list_for(it, &n->spread.peers) count += is_awaited(n, container_of(it, const struct peer, spread.of_node));
  return count;
}

/* Those, and the nodes at addresses of the configuration or of the last run that were not heard. */
static uint32_t missing(const struct node *n) {
  uint32_t count = unheard(n);
  list_for(it, &n->join.seeds) {
    const struct seed *d = container_of(it, const struct seed, all);
    const struct peer *p = d->has_id ? peer_find(n, &d->id) : NULL;
    bool counted = p && (is_awaited(n, p) || (p->link && is_known(p)));
    count += !d->self && !counted;
  }
  return count;
}

static void say_partly(const struct node *n) {
  uint32_t count = missing(n);
  log_warn(
      n->log, "joined_partly",
      "unheard=%u text=\"%s in %u s: messages and calls of clients are taken from now on, and may not reach the clients of "
      "%s\"",
      count, count ? "not all nodes of the mesh were heard" : "no node has told which others there are",
      (unsigned)(NODE_START_TIME / NS_SEC), count ? "those" : "other nodes");
}

void start_await(struct node *n) { n->mesh.starting = true; }

nanotime start_deadline(const struct node *n) { return n->mesh.starting ? time_add(n->started, NODE_START_TIME) : TIME_NEVER; }

bool start_is_over(struct node *n) {
  bool late = n->now >= start_deadline(n);
  bool all = joined(n) && !unheard(n);
  if (!late && !all) return false;
  n->mesh.starting = false;
  if (all)
    log_info(n->log, "joined", "peers=%u after_ms=%llu", n->spread.count,
             (unsigned long long)(time_since(n->now, n->started) / NS_MS));
  else
    say_partly(n);
  return true;
}
