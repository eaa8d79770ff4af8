/* What must hold of publishes across nodes (base/check.h). */
#include "base/check.h"
#include "node/messages/recall.h"
#include "node/messages/spread.h"
#include "node/peers/peer.h"
#include "wire/names.h"

static void sum_up(const struct topic_subscriber *s, struct interest_sum *sum) {
  char pattern[NAME_MAX_LEN + 1];
  for (const struct topic_sub *sub = NULL; (sub = topic_sub_next(s, sub));)
    interest_sum_add(sum, slice_of(pattern, topic_sub_pattern(sub, pattern)));
}

/* Interest has counted exactly the patterns that our clients hold, each as often as it is held; those that are to be removed
 * still count. */
static const char *own_check(const struct node *n) {
  struct interest_sum ours = {0}, counted = interest_own_sum(n->spread.interest);
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, const struct session, all);
    if (s->client.session) sum_up(&s->topics, &ours);
  }
  for (const struct topic_subscriber *s = NULL; (s = topic_index_left(n->messages.topics, s));) sum_up(s, &ours);
  CHECK(ours.held == counted.held && ours.weight == counted.weight,
        "spread: the interest counted is not what our clients subscribe to");
  return NULL;
}

static const char *peer_check(const struct peer *p) {
  const struct spread_peer *s = &p->spread;
  CHECK(s->on == !list_empty(&s->of_node), "spread: a node is told of subscriptions and is not in the list, or the reverse");
  CHECK(s->on || (!s->path && list_empty(&s->replays)), "spread: a node that is told nothing has a path, or is sent messages");
  CHECK(!s->on || s->interest.linked == (s->path != 0), "spread: a node is told of subscriptions without a path");
  CHECK(!s->on || (s->interest.topics.user == p && id_eq(&s->interest.id, &p->id)), "spread: a node's patterns are another's");
  CHECK(!s->outside || (!s->on && !s->dead), "spread: a node is said to have no place, and has one or needs none");
  CHECK(s->unacked.user == p && s->answers.user == p, "spread: what a node is to answer is another's");
  CHECK(list_has(&s->replays, s->replay_count), "spread: what a node is sent is not as much as counted");
  return NULL;
}

const char *spread_check(const struct node *n) {
  const struct spread *sp = &n->spread;
  uint32_t on = 0, outside = 0, silent = 0, both = 0;
  CHECK_PART(interest_tables_check(sp->interest));
  CHECK_PART(inflight_check(&sp->inflight));
  CHECK_PART(gets_check(&sp->gets));
  CHECK_PART(own_check(n));
  list_for(it, &n->peers.all) {
    const struct peer *p = container_of(it, const struct peer, all);
    CHECK_PART(peer_check(p));
    on += p->spread.on;
    outside += p->spread.outside;
    silent += p->spread.silent;
    both += p->spread.outside && p->spread.silent;
  }
  CHECK(outside == sp->outside && silent == sp->silent && both == sp->outside_silent,
        "spread: nodes without a place, or silent, are not as many as counted");
  CHECK(on == sp->count && list_has(&sp->peers, sp->count), "spread: the nodes are not as many as counted");
  return recall_check(n);
}
