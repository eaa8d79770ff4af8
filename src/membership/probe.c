/* Failure detection: one probe a period, first direct, then through other members; and Lifeguard's local health, which
 * lengthens the period.
 */
#include "membership/internal.h"
#include "wire/msg.h"

void health_add(struct membership *m, int delta) {
  int h = (int)m->stats.health + delta;
  m->stats.health = h < 0 ? 0 : h > HEALTH_MAX ? HEALTH_MAX : (uint32_t)h;
}

void probe_cancel(struct membership *m, const struct id *target) {
  for (int i = 0; i < 2; i++)
    if (m->probes[i].active && id_eq(&m->probes[i].target, target)) m->probes[i].active = false;
}

/* The probe got no answer, neither directly nor through other members. */
static void fail(struct membership *m, struct probe *p, nanotime now) {
  struct entry *e = table_find(m, &p->target);
  p->active = false;
  m->stats.probes_failed++;
  if (e) accuse(m, e, e->m.connected, now);
  /* A relay that sent a nack can be reached, so our own connection is not at fault; only relays that said nothing count against
   * us. */
  health_add(m, p->relays == 0 ? 1 : (int)(p->relays - p->nacks));
}

/* A part of the probe's time has passed without an answer. Pings directly once more, as a few lost datagrams should not cause a
 * suspicion and other members may not reach the target any better; after the first part also asks other members to ping it. */
static void go_on(struct membership *m, struct probe *p) {
  bool first = p->next + p->every * (PROBE_PARTS - 1) == p->end;
  p->next += p->every;
  out_push(m, &p->target, MSG_SWIM_PING, p->seq, NULL, false);
  if (!first) return;
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
  struct entry *e = NULL;
  if (m->ring_count == 0) health_add(m, -1); /* with nobody to probe our health recovers */
  for (uint32_t i = 0; i < m->ring_count && !e; i++) {
    if (m->ring_next >= m->ring_count) ring_shuffle(m);
    e = m->ring[m->ring_next++];
    if (!e->m.connected && m->probes[1].active) e = NULL; /* one dial at a time */
  }
  if (!e) return;
  uint64_t every = m->cfg.period * (1 + m->stats.health) / PROBE_PARTS * (e->m.connected ? 1 : DIAL_PERIODS);
  struct probe *p = &m->probes[!e->m.connected];
  *p = (struct probe){.active = true,
                      .target = e->m.info.id,
                      .seq = ++m->seq,
                      .every = every,
                      .next = time_add(now, every),
                      .end = time_add(now, every * PROBE_PARTS)};
  out_push(m, &e->m.info.id, MSG_SWIM_PING, p->seq, NULL, false);
}

/* Pings members that we accused once more, since their refutation may have been lost. */
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

/* After a partition each side takes the other one for dead. So now and then a random dead member is pinged; the ping tells it
 * that we take it for dead, and it can refute that. */
static void ask_dead(struct membership *m) {
  if (m->dead_count == 0) return;
  struct entry *e = m->v[m->alive + rng_below(m->cfg.rng, m->count - m->alive)];
  if (e->m.state == MEMBER_DEAD && !e->left) out_push(m, &e->m.info.id, MSG_SWIM_PING, ++m->seq, NULL, false);
}

void probe_period(struct membership *m, nanotime now) {
  if (m->probes[0].active) fail(m, &m->probes[0], now);
  m->refuted = false;
  m->period_count++;
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
  for (struct probe *p = m->probes; p < m->probes + 2; p++) {
    if (p->active && p->end <= now) fail(m, p, now);
    if (p->active && p->next <= now) go_on(m, p);
  }
  if (m->next_period <= now) probe_period(m, now);
}

nanotime probe_deadline(const struct membership *m) {
  nanotime at = m->next_period;
  for (const struct probe *p = m->probes; p < m->probes + 2; p++)
    if (p->active) at = time_min(at, p->next);
  if (m->relay_count) at = time_min(at, m->relays[0].end);
  return at;
}

static void answer(struct membership *m, struct probe *p, const struct id *from, bool nack) {
  bool direct = id_eq(from, &p->target), asked = direct;
  for (uint32_t i = 0; i < p->relays; i++) asked |= id_eq(from, &p->relay[i]);
  if (!asked) return;
  if (nack && !direct) {
    if (p->nacks < p->relays) p->nacks++;
    return;
  }
  if (!direct) m->stats.indirect_acks++;
  p->active = false;
  health_add(m, -1);
}

void probe_ack(struct membership *m, const struct id *from, const struct swim_msg *msg) {
  for (struct probe *p = m->probes; p < m->probes + 2; p++)
    if (p->active && msg->seq == p->seq) {
      answer(m, p, from, msg->nack);
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
