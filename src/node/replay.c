/* What the node retains, sent to a new subscriber after its ACK: as fast as its queue has room, and so that no crowd of
 * subscribers holds up the turn of the loop. What is published meanwhile does not wait for it. */
#include "node/internal.h"

#define VISITS_A_TURN 20000 /* about a millisecond */

struct replay {
  struct list of_session, of_node;
  struct session *s;
  uint64_t after, last; /* retained_entry.seq: done up to, and newest at subscription: later ones were sent as they came */
  size_t len;
  char pattern[];
};

static void end(struct replay *r) {
  list_remove(&r->of_session);
  list_remove(&r->of_node);
  struct node *n = r->s->node;
  n->replay_count--;
  mem_free(&n->mem[ROW_REPLAYS], r);
}

/* Sends what follows `after`, which it moves. Returns whether that is all. */
static bool run(struct session *s, struct slice pattern, uint64_t last, uint64_t *after) {
  struct node *n = s->node;
  const struct retained_entry *e = NULL;
  if (pattern_is_wild(pattern)) {
    n->replay_visits += retained_count(&n->retained);
    list_for(it, &n->retained.all) {
      const struct retained_entry *at = container_of(it, struct retained_entry, all);
      if (at->seq > *after) break;
      e = at;
    }
  }
  for (n->replay_visits++; (e = retained_next(&n->retained, pattern, e)) && e->seq <= last; *after = e->seq)
    if (e->seq > *after && publish_retained(s, e) == MACULA_EFULL) return false;
  return true;
}

void replay_start(struct session *s, struct slice pattern) {
  struct node *n = s->node;
  uint64_t after = 0;
  if (s->state != SESSION_IN || !retained_count(&n->retained)) return;
  if (list_empty(&s->replays) && n->replay_visits < VISITS_A_TURN && run(s, pattern, n->retained.last_seq, &after)) return;
  struct replay *r = n->replay_count < n->limits.max_replays ? mem_alloc(&n->mem[ROW_REPLAYS], sizeof *r + pattern.n) : NULL;
  if (!r) {
    n->stats.replays_refused++;
    n->stats.dropped++; /* at least one */
    return;
  }
  *r = (struct replay){.s = s, .after = after, .last = n->retained.last_seq, .len = pattern.n};
  memcpy(r->pattern, pattern.p, pattern.n);
  list_append(&s->replays, &r->of_session);
  list_append(&n->replays, &r->of_node);
  n->replay_count++;
}

void replay_stop(struct session *s, struct slice pattern) {
  list_for_safe(it, &s->replays) {
    struct replay *r = container_of(it, struct replay, of_session);
    if (slice_eq(slice_of(r->pattern, r->len), pattern)) end(r);
  }
}

void replay_end(struct session *s) { list_for_safe(it, &s->replays) end(container_of(it, struct replay, of_session)); }

void replay_step(struct node *n) {
  n->replay_visits = 0;
  struct list done; /* those that have had their turn stand behind this mark */
  list_append(&n->replays, &done);
  while (n->replays.next != &done && n->replay_visits < VISITS_A_TURN) {
    struct replay *r = container_of(n->replays.next, struct replay, of_node);
    list_remove(&r->of_node);
    list_append(&n->replays, &r->of_node);
    n->replay_visits++;
    if (quic_queued(r->s->conn) > n->limits.client_queue / 2) continue; /* not before there is room for a good piece */
    if (r->s->state != SESSION_IN || run(r->s, slice_of(r->pattern, r->len), r->last, &r->after)) end(r);
  }
  list_remove(&done);
}

bool replay_is_due(const struct node *n) { return n->replay_visits >= VISITS_A_TURN && !list_empty(&n->replays); }
