#include "membership/membership.h"

#include "base/err.h"
#include "membership/internal.h"
#include "wire/msg.h"

static bool id_of(const struct hlink *h, const void *key, size_t len) {
  return memcmp(ENTRY(h, h)->m.info.id.b, key, len) == 0;
}

int membership_new(const struct membership_config *cfg, nanotime now, struct membership **ret_m) {
  struct membership *m = mem_calloc(cfg->mem, 1, sizeof *m);
  if (!m) return MACULA_ENOMEM;
  m->cfg = *cfg;
  m->mem = cfg->mem;
  if (!m->cfg.max_members) m->cfg.max_members = 10000;
  if (!m->cfg.period) m->cfg.period = NS_SEC;
  if (!m->cfg.suspicion) m->cfg.suspicion = 5 * NS_SEC;
  if (!m->cfg.keep_dead) m->cfg.keep_dead = 60 * NS_SEC;
  if (!m->cfg.indirect) m->cfg.indirect = 3;
  if (m->cfg.indirect > INDIRECT_MAX) m->cfg.indirect = INDIRECT_MAX;
  if (!m->cfg.rotating) m->cfg.rotating = 32;
  if (m->cfg.datagram < 768) m->cfg.datagram = m->cfg.datagram ? 768 : 1200;
  if (!m->cfg.verify_turn) m->cfg.verify_turn = 16;
  if (!m->cfg.verify_rate) m->cfg.verify_rate = 250;
  struct list *heads[] = {&m->all,      &m->events,      &m->gone,     &m->accused,    &m->dead,
                          &m->sessions, &m->self.gossip, &m->self.all, &m->self.event, &m->self.group};
  for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) list_init(heads[i]);
  for (size_t i = 0; i < SENDS_MAX; i++) list_init(&m->queue[i]);
  htab_init(&m->tab, m->mem, cfg->rng, m->cfg.max_members, id_of);
  heap_init(&m->due, m->mem, m->cfg.max_members);
  m->self.m.info = cfg->self;
  info_clean(&m->self.m.info);
  m->frame = mem_alloc(m->mem, m->cfg.datagram);
  m->relays = mem_alloc(m->mem, RELAYS_MAX * sizeof(*m->relays));
  m->rot = mem_alloc(m->mem, m->cfg.rotating * sizeof(*m->rot));
  m->self.m.incarnation = cfg->incarnation;
  m->unsigned_self = true;
  int err = m->frame && m->relays && m->rot ? self_sign(m) : MACULA_ENOMEM;
  if (err) {
    membership_free(m);
    return err;
  }
  m->seq = rng_u64(cfg->rng) >> 1;
  /* at random, so that nodes that start at the same time do not probe at the same time */
  m->next_period = time_add(now, rng_below(cfg->rng, m->cfg.period));
  m->next_sync = time_add(now, SYNC_EVERY / 2 + rng_below(cfg->rng, SYNC_EVERY));
  gossip_add(m, &m->self, true);
  *ret_m = m;
  return 0;
}

void membership_free(struct membership *m) {
  if (!m) return;
  sync_done(m);
  while (!list_empty(&m->all)) table_remove(m, ENTRY(m->all.next, all));
  while (!list_empty(&m->gone)) table_free(m, ENTRY(m->gone.next, event));
  htab_done(&m->tab);
  heap_done(&m->due);
  mem_free(m->mem, m->v);
  mem_free(m->mem, m->ring);
  mem_free(m->mem, m->rot);
  mem_free(m->mem, m->relays);
  mem_free(m->mem, m->out);
  mem_free(m->mem, m->frame);
  mem_free(m->mem, m->self.record);
  mem_free(m->mem, m);
}

nanotime membership_deadline(const struct membership *m) {
  if (m->leaving) return TIME_NEVER;
  nanotime at = time_min(probe_deadline(m), sync_deadline(m));
  at = time_min(at, heap_deadline(&m->due));
  if (!list_empty(&m->dead)) at = time_min(at, time_add(ENTRY(m->dead.next, group)->m.since, m->cfg.keep_dead));
  return at;
}

/* After the process was stopped for more than a period (SIGSTOP, a suspended machine) it must not accuse members whom it could
 * not hear meanwhile: suspicions get the missed time back, probes under way are dropped, and the member lists are exchanged
 * soon. */
static void wake(struct membership *m, nanotime now) {
  nanotime due = time_min(m->next_period, heap_deadline(&m->due));
  if (due > now || now - due <= m->cfg.period) return;
  for (uint32_t i = 0; i < m->due.count; i++) m->due.v[i]->at = time_add(m->due.v[i]->at, now - due); /* keeps their order */
  m->probes[0].active = m->probes[1].active = false;
  m->relay_count = 0;
  m->next_period = time_add(now, m->cfg.period); /* first handles the frames that have arrived */
  m->next_sync = time_min(m->next_sync, m->next_period);
  m->stats.wakes++;
  health_add(m, 1);
}

void membership_tick(struct membership *m, nanotime now) {
  if (m->leaving) return;
  wake(m, now);
  probe_step(m, now);
  for (struct heap_link *l; (l = heap_pop_due(&m->due, now));) expire(m, ENTRY(l, due), now);
  while (!list_empty(&m->dead) && m->gone_count < GONE_MAX) {
    struct entry *e = ENTRY(m->dead.next, group);
    if (time_add(e->m.since, m->cfg.keep_dead) > now) break;
    table_remove(m, e);
  }
  sync_step(m, now);
}

void membership_set_self(struct membership *m, const struct member_info *self) {
  struct member_info info = *self;
  info.id = m->self.m.info.id;
  info_clean(&info);
  if (m->leaving || info_eq(&info, &m->self.m.info)) return;
  m->self.m.info = info;
  self_renew(m, m->self.m.incarnation);
}

int membership_met(struct membership *m, const struct member_info *info, nanotime now) {
  struct member_info clean = *info;
  info_clean(&clean);
  if (m->leaving) return 0;
  if (id_eq(&info->id, &m->self.m.info.id)) return MACULA_EINVAL;
  struct entry *e = table_find(m, &info->id);
  bool sync = !e || e->m.state == MEMBER_DEAD;
  if (!e) {
    int err = table_add(m, &clean, 0, true, now, &e);
    if (err) return err;
    event_raise(m, e);
  } else if (!e->record && e->m.state == MEMBER_ALIVE) { /* the link's word is all we have */
    e->changed |= !info_eq(&clean, &e->m.info);
    e->m.info = clean;
    event_raise(m, e);
  } else if (e->m.state != MEMBER_ALIVE || !info_eq(&clean, &e->m.info)) {
    e->tell = true; /* ask it: it answers with a higher incarnation, which all other nodes accept as well */
    out_push(m, &info->id, MSG_SWIM_PING, ++m->seq, NULL, false);
  }
  e->own = true;
  if (sync) sync_open(m, e, now);
  return 0;
}

void membership_anew(struct membership *m, const struct id *id) {
  struct entry *e = table_find(m, id);
  if (e) e->listed = 0;
}

void membership_connected(struct membership *m, const struct id *id, bool connected) {
  struct entry *e = table_find(m, id);
  if (!e) return;
  e->m.connected = connected;
  ring_update(m, e);
}

void membership_unreachable(struct membership *m, const struct id *id, nanotime now) {
  struct entry *e = table_find(m, id);
  if (!e || m->leaving) return;
  probe_cancel(m, id);
  accuse(m, e, true, now);
}

void membership_unsent(struct membership *m, const struct id *id) { probe_cancel(m, id); }

int membership_recv(struct membership *m, const struct id *from, uint8_t type, struct slice payload, nanotime now) {
  struct swim_msg msg;
  struct swim_update u;
  if (type > MSG_SWIM_SYNC || swim_decode(type, payload, &msg) != 0) {
    m->stats.bad_frames++;
    return MACULA_BAD_FRAME;
  }
  if (m->leaving || id_eq(from, &m->self.m.info.id)) return 0;
  wake(m, now);
  int err = merge_own(m, from, &msg.me, now);
  if (err) return err;
  uint32_t updates = 0;
  for (; swim_update_next(&msg, &u); updates++) merge(m, from, &u, type == MSG_SWIM_SYNC, now);
  if (type == MSG_SWIM_PING) {
    out_push(m, from, MSG_SWIM_ACK, msg.seq, NULL, false);
  } else if (type == MSG_SWIM_ACK) {
    probe_ack(m, from, &msg);
  } else if (type == MSG_SWIM_PING_REQ) {
    probe_request(m, from, &msg, now);
  } else {
    struct entry *e = table_find(m, from); /* looked up again: an update in the frame may have evicted it to make room */
    if (e) sync_recv(m, e, &msg, updates, now);
  }
  return 0;
}

void membership_leave(struct membership *m) {
  if (m->leaving) return;
  sync_done(m);
  m->out_count = 0;
  m->leaving = true;
  m->self.left = true;
  self_renew(m, m->self.m.incarnation);
  m->self.m.state = MEMBER_DEAD;
  gossip_remove(m, &m->self);
  ring_shuffle(m);
  uint32_t n = gossip_limit(m);
  for (uint32_t i = 0; i < m->ring_count && n; i++) {
    struct entry *e = m->ring[i];
    if (!e->m.connected) continue;
    out_push(m, &e->m.info.id, MSG_SWIM_PING, ++m->seq, NULL, false);
    n--;
  }
}

/* Finds the next event that leads the owner from the state that it was told to the present one. False: they agree. */
static bool step_event(struct entry *e, enum membership_event_type *ret_type) {
  bool up = e->told == TOLD_NOTHING || e->told == TOLD_DEAD, changed = e->changed;
  e->changed = false;
  switch (e->m.state) {
  case MEMBER_ALIVE:
    if (!up && e->told == TOLD_ALIVE && !changed) return false;
    *ret_type = up ? MEMBER_EV_UP : e->told == TOLD_SUSPECT ? MEMBER_EV_REFUTED : MEMBER_EV_CHANGED;
    e->changed = changed && e->told == TOLD_SUSPECT;
    e->told = TOLD_ALIVE;
    return true;
  case MEMBER_SUSPECT:
    if (e->told == TOLD_SUSPECT && !changed) return false;
    *ret_type = up ? MEMBER_EV_UP : changed ? MEMBER_EV_CHANGED : MEMBER_EV_SUSPECT;
    if (!(changed && !up)) e->told = up ? TOLD_ALIVE : TOLD_SUSPECT;
    return true;
  case MEMBER_DEAD:
    if (up) return false;
    *ret_type = MEMBER_EV_DEAD;
    e->told = TOLD_DEAD;
    return true;
  }
  return false;
}

bool membership_next_event(struct membership *m, struct membership_event *ret_event) {
  while (!list_empty(&m->events)) {
    struct entry *e = ENTRY(m->events.next, event);
    if (step_event(e, &ret_event->type)) {
      ret_event->info = e->m.info;
      return true;
    }
    list_remove(&e->event);
  }
  if (list_empty(&m->gone)) return false;
  struct entry *e = ENTRY(m->gone.next, event);
  *ret_event = (struct membership_event){.type = MEMBER_EV_FORGOTTEN, .info = e->m.info};
  table_free(m, e);
  return true;
}

uint32_t membership_forgotten(const struct membership *m) { return list_count(&m->gone); }

uint64_t membership_incarnation(const struct membership *m) { return m->self.m.incarnation; }

void membership_stats(const struct membership *m, struct membership_stats *ret_stats) {
  *ret_stats = m->stats;
  ret_stats->alive = m->alive;
  ret_stats->suspect = m->suspect;
  ret_stats->dead = m->dead_count;
  ret_stats->max = m->cfg.max_members;
}
