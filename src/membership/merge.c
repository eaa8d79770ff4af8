/* Which claims about members are believed: the merge rules of SWIM (Das, Gupta, Motivala 2002, section 4.2), and in addition
 * that a dead member is alive again with a higher incarnation. */
#include "base/utf8.h"
#include "membership/internal.h"

void info_clean(struct member_info *info) {
  struct addr a = {0};
  if (info->addr.sa.sa_family == AF_INET) {
    a.v4.sin_family = AF_INET;
    a.v4.sin_addr = info->addr.v4.sin_addr;
    a.v4.sin_port = info->addr.v4.sin_port;
  } else if (info->addr.sa.sa_family == AF_INET6) {
    a.v6.sin6_family = AF_INET6;
    a.v6.sin6_addr = info->addr.v6.sin6_addr;
    a.v6.sin6_port = info->addr.v6.sin6_port;
  }
  info->addr = a;
  info->name[MEMBER_NAME_LEN] = 0;
  size_t n = utf8_label(slice_str(info->name), info->name, MEMBER_NAME_LEN);
  memset(info->name + n, 0, sizeof info->name - n);
}

bool info_eq(const struct member_info *a, const struct member_info *b) {
  return memcmp(&a->addr, &b->addr, sizeof a->addr) == 0 && id_eq(&a->gateway, &b->gateway) && strcmp(a->name, b->name) == 0;
}

static void info_of(const struct id *id, const struct swim_update *u, struct member_info *ret_info) {
  *ret_info = (struct member_info){.id = *id, .addr = u->addr, .gateway = u->gateway};
  if (u->name.n) memcpy(ret_info->name, u->name.p, u->name.n);
  info_clean(ret_info);
}

static bool plausible(struct membership *m, uint64_t known, uint64_t claimed) {
  if (claimed <= INCARNATION_MAX && (claimed <= known || claimed - known <= INCARNATION_JUMP)) return true;
  m->stats.implausible++;
  return false;
}

/* How long a suspicion lasts. Our own of a connected peer (near) is the shortest, as we ask the suspect itself meanwhile; by
 * Lifeguard it is longer the less healthy we are. In all other cases the accusation must reach the suspect, and its answer all
 * members, which takes a time that grows with the logarithm of their number. */
static uint64_t suspicion_time(const struct membership *m, bool near) {
  uint64_t t = m->cfg.suspicion;
  return near ? t + t / 4 * m->stats.health : t + t / 4 * gossip_limit(m);
}

static void set_alive(struct membership *m, struct entry *e, uint64_t incarnation, const struct member_info *info,
                      nanotime now) {
  digest_out(m, e);
  if (e->m.state == MEMBER_SUSPECT) m->stats.refutations++;
  if (e->m.state != MEMBER_ALIVE) table_state(m, e, MEMBER_ALIVE, now);
  e->left = e->tell = false;
  e->m.incarnation = incarnation;
  digest_in(m, e);
  if (!info_eq(&e->m.info, info)) {
    e->m.info = *info;
    e->changed = true;
  }
  ring_update(m, e);
  gossip_add(m, e, true);
  event_raise(m, e);
}

static void set_suspect(struct membership *m, struct entry *e, uint64_t incarnation, bool own, bool near, nanotime now) {
  nanotime end = time_add(now, suspicion_time(m, near));
  if (own && e->m.state == MEMBER_SUSPECT) end = time_min(end, e->due.at);
  if (heap_set(&m->due, &e->due, end) != 0) return; /* no memory: the claim is ignored */
  digest_out(m, e);
  bool news = e->m.state != MEMBER_SUSPECT || incarnation > e->m.incarnation;
  if (e->m.state != MEMBER_SUSPECT) {
    m->stats.suspicions++;
    table_state(m, e, MEMBER_SUSPECT, now);
  }
  if (own && list_empty(&e->group)) list_append(&m->accused, &e->group);
  /* another node suspects it with a newer incarnation, after it had answered our accusation */
  if (!own && news) list_remove(&e->group);
  e->m.incarnation = incarnation;
  digest_in(m, e);
  if (news) gossip_add(m, e, true);
  event_raise(m, e);
}

void set_dead(struct membership *m, struct entry *e, uint64_t incarnation, bool left, nanotime now) {
  m->stats.deaths++;
  digest_out(m, e);
  table_state(m, e, MEMBER_DEAD, now);
  e->m.incarnation = incarnation;
  e->left = left;
  ring_update(m, e);
  gossip_add(m, e, true);
  event_raise(m, e);
}

void accuse(struct membership *m, struct entry *e, bool near, nanotime now) {
  if (e->m.state == MEMBER_ALIVE || (e->m.state == MEMBER_SUSPECT && list_empty(&e->group)))
    set_suspect(m, e, e->m.incarnation, true, near, now);
}

void self_renew(struct membership *m, uint64_t above) {
  digest_out(m, &m->self);
  m->self.m.incarnation = above + 1;
  digest_in(m, &m->self);
  gossip_add(m, &m->self, true);
}

static void about_self(struct membership *m, const struct swim_update *u) {
  uint64_t mine = m->self.m.incarnation;
  if (u->incarnation < mine || !plausible(m, mine, u->incarnation)) return;
  if (u->state == SWIM_ALIVE) {
    struct member_info info;
    info_of(&m->self.m.info.id, u, &info);
    if (u->incarnation == mine && (!u->has_info || info_eq(&info, &m->self.m.info))) return;
  } else {
    m->stats.accused++;
    if (!m->refuted) health_add(m, 1); /* perhaps we are slow ourselves; only once a period, since anybody can make claims */
    m->refuted = true;
  }
  self_renew(m, u->incarnation);
}

static void learn(struct membership *m, const struct swim_update *u, bool sync, nanotime now) {
  struct member_info info;
  struct entry *e;
  if (!u->has_info || u->state == SWIM_DEAD || u->state == SWIM_LEFT || u->incarnation > INCARNATION_MAX) return;
  info_of(&u->id, u, &info);
  if (table_add(m, &info, u->incarnation, false, now, &e) != 0) return;
  event_raise(m, e);
  /* What comes in a list is mostly known to the other members: gossip it only while few updates wait. */
  if (!sync)
    gossip_add(m, e, true);
  else if (m->queued < 64)
    gossip_add(m, e, false);
  if (u->state == SWIM_SUSPECT) set_suspect(m, e, u->incarnation, false, false, now);
}

void merge(struct membership *m, const struct swim_update *u, bool sync, nanotime now) {
  if (id_eq(&u->id, &m->self.m.info.id)) {
    about_self(m, u);
    return;
  }
  struct entry *e = table_find(m, &u->id);
  if (!e) {
    learn(m, u, sync, now);
    return;
  }
  uint64_t i = e->m.incarnation, j = u->incarnation;
  if (!plausible(m, i, j)) return;
  enum swim_state state = u->state;
  /* perhaps a partition separated it from that peer: as a suspect it has time to refute */
  if (sync && state == SWIM_DEAD) state = SWIM_SUSPECT;
  switch (state) {
  case SWIM_ALIVE:
    if (j > i && u->has_info) {
      struct member_info info;
      info_of(&u->id, u, &info);
      set_alive(m, e, j, &info, now);
    }
    return;
  case SWIM_SUSPECT:
    if ((e->m.state == MEMBER_ALIVE && j >= i) || (e->m.state == MEMBER_SUSPECT && j > i))
      set_suspect(m, e, j, false, false, now);
    return;
  case SWIM_DEAD:
  case SWIM_LEFT:
    if (e->m.state != MEMBER_DEAD && j >= i) set_dead(m, e, j, state == SWIM_LEFT, now);
    return;
  }
}

void merge_own(struct membership *m, const struct id *from, const struct swim_update *me, nanotime now) {
  struct member_info info;
  info_of(from, me, &info);
  struct entry *e = table_find(m, from);
  if (me->incarnation > INCARNATION_MAX) {
    m->stats.implausible++;
    return;
  }
  if (!e) {
    if (table_add(m, &info, me->incarnation, true, now, &e) != 0) return;
    gossip_add(m, e, true);
    event_raise(m, e);
    return;
  }
  uint64_t i = e->m.incarnation, j = me->incarnation;
  e->own = true;
  if (j > i || i - j > INCARNATION_JUMP)
    set_alive(m, e, j, &info, now);
  else
    e->tell = j < i || !info_eq(&info, &e->m.info);
}
