/* Which claims about members are believed: the merge rules of SWIM (Das, Gupta, Motivala 2002, section 4.2), and in addition
 * that a dead member is alive again with a higher incarnation. Unlike there, a member's own word must be signed by it, and
 * others' word that it is dead is a suspicion. */
#include "base/err.h"
#include "base/utf8.h"
#include "membership/internal.h"
#include "wire/msg.h"

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

static void info_of(const struct id *id, const struct swim_record *r, struct member_info *ret_info) {
  *ret_info = (struct member_info){.id = *id, .addr = r->addr, .gateway = r->gateway};
  if (r->name.n) memcpy(ret_info->name, r->name.p, r->name.n);
  info_clean(ret_info);
}

/* How long a suspicion lasts. Our own of a connected peer (near) is the shortest, as we ask the suspect itself meanwhile; by
 * Lifeguard it is longer the less healthy we are. In all other cases the accusation must reach the suspect, and its answer all
 * members, which takes a time that grows with the logarithm of their number. */
static uint64_t suspicion_time(const struct membership *m, bool near) {
  uint64_t t = m->cfg.suspicion;
  return near ? t + t / 4 * m->stats.health : t + t / 4 * gossip_limit(m);
}

static void set_alive(struct membership *m, struct entry *e, const struct member_info *info, nanotime now) {
  digest_out(m, e);
  if (e->m.state == MEMBER_SUSPECT) m->stats.refutations++;
  if (e->m.state != MEMBER_ALIVE) table_state(m, e, MEMBER_ALIVE, now);
  e->left = e->tell = false;
  digest_in(m, e);
  if (!info_eq(&e->m.info, info)) {
    e->m.info = *info;
    e->changed = true;
  }
  ring_update(m, e);
  gossip_add(m, e, true);
  event_raise(m, e);
}

/* Asks a member that we are connected to whether it lives; a link that stands wins over what others say. */
static void ask(struct membership *m, struct entry *e, nanotime now) {
  e->asked = now;
  if (list_empty(&e->group)) list_append(&m->accused, &e->group);
  out_push(m, &e->m.info.id, MSG_SWIM_PING, ++m->seq, NULL, false);
}

static void set_suspect(struct membership *m, struct entry *e, bool own, bool near, nanotime now) {
  nanotime end = time_add(now, suspicion_time(m, near));
  bool news = e->m.state != MEMBER_SUSPECT;
  if (!news) end = time_min(end, e->due.at);
  if (heap_set(&m->due, &e->due, end) != 0) return; /* no memory: the claim is ignored */
  if (news) {
    m->stats.suspicions++;
    table_state(m, e, MEMBER_SUSPECT, now);
    e->sayer_count = 0;
  }
  e->asked = now;
  if (own && list_empty(&e->group)) list_append(&m->accused, &e->group);
  if (!own && e->m.connected) ask(m, e, now);
  if (news) gossip_add(m, e, true);
  event_raise(m, e);
}

/* A peer says that a suspect is dead, as its own suspicion ended so. Nobody passes that on unless its own did, so when several
 * peers say it ours need not last until accusation and answer have gone around once more. */
static void called_dead(struct membership *m, struct entry *e, const struct id *from, nanotime now) {
  uint32_t sayer;
  memcpy(&sayer, from->b, sizeof sayer);
  for (uint8_t i = 0; i < e->sayer_count; i++)
    if (e->sayers[i] == sayer) return;
  if (e->sayer_count == DEAD_SAYERS) return;
  e->sayers[e->sayer_count++] = sayer;
  if (e->sayer_count == DEAD_SAYERS)
    (void)heap_set(&m->due, &e->due, time_min(e->due.at, time_add(now, suspicion_time(m, true))));
}

static void set_dead(struct membership *m, struct entry *e, bool left, nanotime now) {
  m->stats.deaths++;
  digest_out(m, e);
  table_state(m, e, MEMBER_DEAD, now);
  e->left = left;
  ring_update(m, e);
  gossip_add(m, e, true);
  event_raise(m, e);
}

void accuse(struct membership *m, struct entry *e, bool near, nanotime now) {
  if (e->m.state != MEMBER_DEAD) set_suspect(m, e, true, near, now);
}

void expire(struct membership *m, struct entry *e, nanotime now) {
  if (e->m.connected && e->heard > e->asked && heap_set(&m->due, &e->due, time_add(now, suspicion_time(m, true))) == 0)
    ask(m, e, now); /* it answers, though it has not refuted the suspicion yet */
  else
    set_dead(m, e, false, now);
}

void self_renew(struct membership *m, uint64_t above) {
  digest_out(m, &m->self);
  m->self.m.incarnation = above + 1;
  m->unsigned_self = true;
  digest_in(m, &m->self);
  gossip_add(m, &m->self, true);
}

static bool plausible(struct membership *m, uint64_t incarnation) {
  if (incarnation <= INCARNATION_MAX) return true;
  m->stats.implausible++;
  return false;
}

/* A record of ours that this run has not signed is an earlier run's: we must be above it. */
static void about_self(struct membership *m, const struct id *from, const struct swim_update *u, nanotime now) {
  uint64_t mine = m->self.m.incarnation;
  bool accused = u->state == SWIM_SUSPECT || u->state == SWIM_DEAD;
  bool other = u->record.bytes.n && u->incarnation >= mine && !slice_eq(u->record.bytes, record_of(&m->self));
  if (!other && !(accused && u->incarnation == mine)) return;
  if (!plausible(m, u->incarnation) || (other && record_verify(m, from, &m->self.m.info.id, &u->record, now) != 0)) return;
  if (!bucket_take(&m->refuting, REFUTE_RATE, REFUTE_BURST, now)) return;
  if (accused) {
    m->stats.accused++;
    if (!m->refuted) health_add(m, 1); /* perhaps we are slow ourselves; only once a period, since anybody can make claims */
    m->refuted = true;
  }
  self_renew(m, u->incarnation);
}

/* A member's own word, which is verified, is believed. */
static void believe(struct membership *m, struct entry *e, const struct swim_record *r, nanotime now) {
  struct member_info info;
  info_of(&e->m.info.id, r, &info);
  if (record_keep(m, e, r) != 0) return;
  if (!r->left)
    set_alive(m, e, &info, now);
  else if (e->m.state != MEMBER_DEAD)
    set_dead(m, e, true, now);
}

/* Somebody new. NULL: no room. */
static struct entry *learn(struct membership *m, const struct id *id, const struct swim_record *r, bool met, nanotime now) {
  struct member_info info;
  struct entry *e;
  info_of(id, r, &info);
  if (table_add(m, &info, r->incarnation, met, now, &e) != 0) return NULL;
  if (record_keep(m, e, r) != 0) {
    table_remove(m, e);
    return NULL;
  }
  event_raise(m, e);
  return e;
}

/* What somebody passes on of another member, in its own words. */
static struct entry *pass_on(struct membership *m, const struct id *from, const struct id *id, struct entry *e,
                             const struct swim_update *u, bool sync, nanotime now) {
  const struct swim_record *r = &u->record;
  bool news = e ? !e->record || r->incarnation > e->m.incarnation : u->state != SWIM_DEAD && !r->left;
  if (!news || !plausible(m, r->incarnation)) return e;
  int err = record_verify(m, from, id, r, now);
  if (err == MACULA_RATE_LIMITED && sync) m->next_sync = time_min(m->next_sync, time_add(now, SYNC_SAME));
  if (err) return e;
  if (e) {
    believe(m, e, r, now);
    return e;
  }
  if (!(e = learn(m, id, r, false, now))) return NULL;
  /* What comes in a list is mostly known to the other members: gossip it only while few updates wait. */
  if (!sync)
    gossip_add(m, e, true);
  else if (m->queued < 64)
    gossip_add(m, e, false);
  return e;
}

void merge(struct membership *m, const struct id *from, const struct swim_update *u, bool sync, nanotime now) {
  struct id id = u->id;
  if (u->record.bytes.n) m->cfg.crypto.id_of(m->cfg.crypto.ctx, u->record.key, &id);
  if (id_eq(&id, &m->self.m.info.id)) {
    about_self(m, from, u, now);
    return;
  }
  struct entry *e = table_find(m, &id);
  if (u->record.bytes.n) e = pass_on(m, from, &id, e, u, sync, now);
  bool accused = u->state == SWIM_SUSPECT || u->state == SWIM_DEAD;
  if (!e || !e->record || !accused || u->incarnation < e->m.incarnation) return;
  if (e->m.state == MEMBER_ALIVE) set_suspect(m, e, false, e->m.connected, now); /* connected: we ask it ourselves */
  if (e->m.state == MEMBER_SUSPECT && u->state == SWIM_DEAD) called_dead(m, e, from, now);
}

int merge_own(struct membership *m, const struct id *from, const struct swim_record *me, nanotime now) {
  struct entry *e = table_find(m, from);
  bool known = e && e->record && me->incarnation <= e->m.incarnation;
  if (e) {
    e->own = true;
    e->heard = now;
  }
  if (known) { /* it may have started again, and know less than we do */
    e->tell = !slice_eq(me->bytes, record_of(e));
    return 0;
  }
  if (!plausible(m, me->incarnation)) return 0;
  int err = record_verify(m, from, from, me, now);
  if (err) return err == MACULA_BAD_SIGNATURE ? err : 0;
  if (e)
    believe(m, e, me, now);
  else if (!me->left && (e = learn(m, from, me, true, now)))
    gossip_add(m, e, true);
  return 0;
}
