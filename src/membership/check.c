/* Invariants of the members, and of the frames and lists that are under way to them. */
#include "base/check.h"
#include "membership/internal.h"
#include "wire/msg.h"

struct sums {
  uint32_t alive, suspect, dead, in_ring, rotating, gossiped, accused, events;
};

static const char *entry_check(const struct membership *m, const struct entry *e, struct sums *sums) {
  bool dead = e->m.state == MEMBER_DEAD, suspect = e->m.state == MEMBER_SUSPECT, alive = e->m.state == MEMBER_ALIVE;
  CHECK(table_find(m, &e->m.info.id) == e, "membership: a member is not found");
  CHECK(e->at < m->count && m->v[e->at] == e, "membership: a member is not at its place");
  CHECK(alive == (e->at < m->alive), "membership: the alive are not in front");
  CHECK(suspect ? heap_has(&m->due, &e->due) : !e->due.pos, "membership: a suspicion has no end, or an end no suspicion");
  CHECK(list_empty(&e->group) ? !dead : !alive, "membership: a dead member is not among the dead, or one alive is accused");
  CHECK(!!e->ring == ((e->m.connected || e->rotating) && !dead), "membership: one that is to be probed is not, or the reverse");
  CHECK(!e->ring || (e->ring <= m->ring_count && m->ring[e->ring - 1] == e),
        "membership: a member is not at its place in the ring");
  CHECK(!e->rotating || (!dead && !e->m.connected), "membership: one rotates that need not");
  CHECK(e->digested == (!dead && e->record), "membership: a member is not in the digest, or a dead one is");
  CHECK(!e->record == !e->record_len, "membership: a record without a length, or the reverse");
  CHECK(e->record || list_empty(&e->gossip), "membership: news of one that has signed nothing");
  CHECK(e->m.incarnation <= INCARNATION_MAX, "membership: an incarnation that nobody can have");
  sums->alive += alive;
  sums->suspect += suspect;
  sums->dead += dead;
  sums->accused += suspect && !list_empty(&e->group);
  sums->in_ring += e->ring != 0;
  sums->rotating += e->rotating;
  sums->gossiped += !list_empty(&e->gossip);
  sums->events += !list_empty(&e->event);
  return NULL;
}

static const char *gossip_check(const struct membership *m, uint32_t gossiped) {
  uint32_t queued = 0;
  for (uint32_t k = 0; k < SENDS_MAX; k++) {
    CHECK(list_holds(&m->queue[k]), "membership: a queue of updates is broken");
    list_for(it, &m->queue[k]) {
      CHECK(ENTRY(it, gossip)->sends == k, "membership: an update is in the queue of another number of sends");
      queued++;
    }
  }
  CHECK(queued == m->queued && queued == gossiped, "membership: the updates are not as many as counted");
  return NULL;
}

static const char *sessions_check(const struct membership *m) {
  uint32_t queued = 0, pages = 0;
  CHECK(list_has(&m->sessions, m->session_count) && m->session_count <= SESSIONS_MAX,
        "membership: the lists on their way are not as many as counted");
  CHECK(!m->session_count || m->page, "membership: no page for the lists on their way");
  list_for(it, &m->sessions) {
    const struct session *s = container_of(it, const struct session, of);
    CHECK(table_find(m, &s->to), "membership: a list is on its way to nobody");
    CHECK(!s->cursor || (s->cursor->at < m->count && m->v[s->cursor->at] == s->cursor),
          "membership: a list goes on with nobody");
    queued += s->queued;
  }
  for (uint32_t i = 0; i < m->out_count; i++) pages += m->out[(m->out_head + i) % m->out_cap].type == MSG_SWIM_SYNC;
  CHECK(queued <= pages, "membership: a page of a list is said to be queued and is not");
  return NULL;
}

static const char *probes_check(const struct membership *m) {
  for (const struct probe *p = m->probes; p < m->probes + 2; p++) {
    CHECK(!p->active || table_find(m, &p->target), "membership: nobody is probed");
    CHECK(p->relays <= INDIRECT_MAX && p->nacks <= p->relays, "membership: more relays of a probe, or answers, than there are");
  }
  CHECK(m->relay_count <= RELAYS_MAX, "membership: more probes for others than may be");
  for (uint32_t i = 1; i < m->relay_count; i++)
    CHECK(m->relays[i - 1].end <= m->relays[i].end, "membership: the probes for others are not in order");
  CHECK(m->out_count <= m->out_cap && m->out_cap <= OUT_MAX && (!m->out_cap || m->out_head < m->out_cap),
        "membership: more frames wait than have room");
  CHECK(m->stats.health <= HEALTH_MAX, "membership: worse than the worst health");
  return NULL;
}

const char *membership_check(const struct membership *m) {
  struct sums sums = {.gossiped = !list_empty(&m->self.gossip)};
  CHECK_PART(htab_check(&m->tab));
  CHECK_PART(heap_check(&m->due));
  CHECK(list_has(&m->all, m->count) && m->tab.count == m->count, "membership: the members are not as many as counted");
  CHECK(m->count <= m->cap && m->count <= m->cfg.max_members, "membership: more members than may be");
  CHECK(!table_find(m, &m->self.m.info.id), "membership: we are among the others");
  list_for(it, &m->all) CHECK_PART(entry_check(m, ENTRY(it, all), &sums));
  CHECK(sums.alive == m->alive && sums.suspect == m->suspect && sums.dead == m->dead_count,
        "membership: the members of a state are not as many as counted");
  CHECK(m->due.count == m->suspect, "membership: the ends are not as many as the suspicions");
  CHECK(list_has(&m->dead, m->dead_count), "membership: the list of the dead is another");
  CHECK(list_has(&m->accused, sums.accused), "membership: the list of the accused is another");
  CHECK(sums.in_ring == m->ring_count && m->ring_next <= m->ring_count, "membership: the ring is not as long as counted");
  CHECK(sums.rotating == m->rot_count && m->rot_count <= m->cfg.rotating,
        "membership: those that rotate are not as many as counted");
  CHECK(list_has(&m->events, sums.events), "membership: the list of events is another");
  CHECK(list_has(&m->gone, m->gone_count), "membership: the forgotten are not as many as counted");
  list_for(it, &m->gone) CHECK(ENTRY(it, event)->told != TOLD_NOTHING, "membership: one is forgotten of whom nobody was told");
  CHECK(digest_holds(m), "membership: the digest is not that of the members");
  CHECK_PART(gossip_check(m, sums.gossiped));
  CHECK_PART(sessions_check(m));
  CHECK_PART(probes_check(m));
  return NULL;
}

size_t membership_owned(const struct membership *m) {
  size_t sum = mem_cost(m) + htab_owned(&m->tab) + heap_owned(&m->due) + mem_cost(m->v) + mem_cost(m->ring) + mem_cost(m->rot) +
               mem_cost(m->out) + mem_cost(m->relays) + mem_cost(m->frame) + mem_cost(m->page);
  sum += mem_cost(m->self.record);
  list_for(it, &m->all) sum += mem_cost(ENTRY(it, all)) + mem_cost(ENTRY(it, all)->record);
  list_for(it, &m->gone) sum += mem_cost(ENTRY(it, event));
  list_for(it, &m->sessions) sum += mem_cost(container_of(it, struct session, of));
  return sum;
}
