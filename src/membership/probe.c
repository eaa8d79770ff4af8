/* Failure detection: one probe a period, direct, then through others, and Lifeguard's local health, which lengthens the period.
 */
#include "membership/internal.h"
#include "wire/msg.h"

void health_add(struct membership *m, int delta) {
  int h = (int)m->stats.health + delta;
  m->stats.health = h < 0 ? 0 : h > HEALTH_MAX ? HEALTH_MAX : (uint32_t)h;
}

void probe_cancel(struct membership *m, const struct id *target) {
  if (m->probe.active && id_eq(&m->probe.target, target)) m->probe.active = false;
}

/* No answer, neither straight nor through others. */
static void fail(struct membership *m, nanotime now) {
  struct probe *p = &m->probe;
  struct entry *e = table_find(m, &p->target);
  p->active = false;
  m->stats.probes_failed++;
  if (e) accuse(m, e, now);
  /* Relays that said no are healthy connections: then it is not us. */
  health_add(m, p->relays == 0 ? 1 : (int)(p->relays - p->nacks));
}

static void go_indirect(struct membership *m) {
  struct probe *p = &m->probe;
  p->indirect = true;
  out_push(m, &p->target, MSG_SWIM_PING, p->seq, NULL, false); /* once more: one lost datagram shall not start a rumour */
  for (uint32_t tries = 0; tries < 2 * m->cfg.indirect && p->relays < m->cfg.indirect; tries++) {
    struct entry *e = ring_random(m, &p->target);
    bool known = !e;
    for (uint32_t i = 0; e && i < p->relays; i++) known |= id_eq(&p->relay[i], &e->m.info.id);
    if (known) continue;
    p->relay[p->relays++] = e->m.info.id;
    out_push(m, &e->m.info.id, MSG_SWIM_PING_REQ, p->seq, &p->target, false);
  }
}

static void start(struct membership *m, nanotime now) {
  if (m->ring_next >= m->ring_count) ring_shuffle(m);
  if (m->ring_count == 0) {
    health_add(m, -1); /* nobody to judge us by */
    return;
  }
  struct entry *e = m->ring[m->ring_next++];
  uint64_t wait = m->cfg.period * (1 + m->stats.health);
  /* Whoever is not connected is dialled first. */
  m->probe = (struct probe){.active = true,
                            .target = e->m.info.id,
                            .seq = ++m->seq,
                            .direct_end = time_add(now, e->m.connected ? wait / 4 : wait / 2),
                            .end = time_add(now, wait)};
  out_push(m, &e->m.info.id, MSG_SWIM_PING, m->probe.seq, NULL, false);
}

/* Those whom we accuse hear it again, for their answer may have been lost. */
static void ask_accused(struct membership *m) {
  struct list *last = m->accused.prev;
  for (int i = 0; i < BUDDY_PINGS && !list_empty(&m->accused); i++) {
    struct list *l = m->accused.next;
    out_push(m, &ENTRY(l, group)->m.info.id, MSG_SWIM_PING, ++m->seq, NULL, false);
    list_remove(l);
    list_append(&m->accused, l);
    if (l == last) return;
  }
}

/* A partition makes each side dead for the other: one of them is asked now and then, and hears from us what we think. */
static void ask_dead(struct membership *m) {
  if (m->dead_count == 0) return;
  struct entry *e = m->v[m->alive + rng_below(m->cfg.rng, m->count - m->alive)];
  if (e->m.state == MEMBER_DEAD && !e->left) out_push(m, &e->m.info.id, MSG_SWIM_PING, ++m->seq, NULL, false);
}

void probe_period(struct membership *m, nanotime now) {
  if (m->probe.active) fail(m, now);
  m->refuted = false;
  bool rotate = m->until_rotate == 0;
  m->until_rotate = rotate ? ROTATE_PERIODS - 1 : m->until_rotate - 1;
  ring_rotate(m, rotate);
  if (rotate) ask_dead(m);
  ask_accused(m);
  start(m, now);
  m->next_period = time_add(now, m->cfg.period * (1 + m->stats.health));
}

void probe_step(struct membership *m, nanotime now) {
  uint32_t n = 0;
  while (n < m->relay_count && m->relays[n].end <= now) {
    out_push(m, &m->relays[n].requester, MSG_SWIM_ACK, m->relays[n].their_seq, NULL, true);
    n++;
  }
  if (n) {
    m->relay_count -= n;
    memmove(m->relays, m->relays + n, m->relay_count * sizeof(*m->relays));
  }
  if (m->probe.active && !m->probe.indirect && m->probe.direct_end <= now) go_indirect(m);
  if (m->probe.active && m->probe.end <= now) fail(m, now);
  if (m->next_period <= now) probe_period(m, now);
}

nanotime probe_deadline(const struct membership *m) {
  nanotime at = m->next_period;
  if (m->probe.active) at = time_min(at, m->probe.indirect ? m->probe.end : m->probe.direct_end);
  if (m->relay_count) at = time_min(at, m->relays[0].end);
  return at;
}

void probe_ack(struct membership *m, const struct id *from, const struct swim_msg *msg) {
  struct probe *p = &m->probe;
  if (p->active && msg->seq == p->seq) {
    bool direct = id_eq(from, &p->target), asked = direct;
    for (uint32_t i = 0; i < p->relays; i++) asked |= id_eq(from, &p->relay[i]);
    if (!asked) return;
    if (msg->nack && !direct) {
      if (p->nacks < p->relays) p->nacks++;
      return;
    }
    if (!direct) m->stats.indirect_acks++;
    p->active = false;
    health_add(m, -1);
    return;
  }
  for (uint32_t i = 0; i < m->relay_count; i++) {
    struct relay *r = &m->relays[i];
    if (r->seq != msg->seq || !id_eq(from, &r->target)) continue;
    out_push(m, &r->requester, MSG_SWIM_ACK, r->their_seq, NULL, false);
    m->relay_count--;
    memmove(r, r + 1, (m->relay_count - i) * sizeof(*r));
    return;
  }
}

void probe_request(struct membership *m, const struct id *from, const struct swim_msg *msg, nanotime now) {
  if (id_eq(&msg->target, &m->self.m.info.id)) {
    out_push(m, from, MSG_SWIM_ACK, msg->seq, NULL, false);
    return;
  }
  if (!table_find(m, &msg->target) || m->relay_count >= RELAYS_MAX) {
    out_push(m, from, MSG_SWIM_ACK, msg->seq, NULL, true);
    return;
  }
  m->relays[m->relay_count++] = (struct relay){.requester = *from,
                                               .target = msg->target,
                                               .seq = ++m->seq,
                                               .their_seq = msg->seq,
                                               .end = time_add(now, m->cfg.period / 2)};
  out_push(m, &msg->target, MSG_SWIM_PING, m->seq, NULL, false);
}
