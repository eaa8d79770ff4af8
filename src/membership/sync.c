/* SWIM_SYNC compares the member lists with a peer just met, and now and then with any other. It repairs what gossip missed and
 * heals partitions. A sends digests of its list by buckets; B sends its members in the buckets that differ and asks for A's
 * members of the same buckets. Mostly no bucket differs. The last page of a list is one that is not full. Pages are encoded
 * when the owner takes them, with pauses between them; a change of the list meanwhile may or may not be included. */
#include <assert.h>

#include "membership/internal.h"
#include "wire/msg.h"

static struct session *find(const struct membership *m, const struct id *to) {
  list_for(l, &m->sessions) {
    struct session *s = container_of(l, struct session, of);
    if (id_eq(&s->to, to)) return s;
  }
  return NULL;
}

static void end(struct membership *m, struct session *s) {
  assert(m->session_count > 0);
  list_remove(&s->of);
  m->session_count--;
  mem_free(m->mem, s);
}

static void queue_page(struct membership *m, struct session *s) {
  s->queued = true;
  out_push(m, &s->to, MSG_SWIM_SYNC, 0, NULL, false);
}

static uint64_t
hash(const struct entry *e) { /* splitmix64; made-up collisions only hide differences in the buckets of their maker's own ids */
  uint64_t z = 0;
  for (int i = 0; i < 8; i++) z |= (uint64_t)e->m.info.id.b[8 + i] << 8 * i;
  z += e->m.incarnation * UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

void digest_out(struct membership *m, struct entry *e) {
  if (e->digested) m->digest[e->m.info.id.b[0]] ^= hash(e);
  e->digested = false;
}

void digest_in(struct membership *m, struct entry *e) {
  e->digested = e->m.state != MEMBER_DEAD && (e->record || e == &m->self);
  if (e->digested) m->digest[e->m.info.id.b[0]] ^= hash(e);
}

bool digest_holds(const struct membership *m) {
  uint64_t sum[SWIM_BUCKETS_MAX] = {0};
  if (m->self.digested) sum[m->self.m.info.id.b[0]] ^= hash(&m->self);
  list_for(it, &m->all) {
    const struct entry *e = ENTRY(it, all);
    if (e->digested) sum[e->m.info.id.b[0]] ^= hash(e);
  }
  return memcmp(sum, m->digest, sizeof sum) == 0;
}

/* Writes our digest, 8 bytes for each of so many buckets. */
static void digest_write(const struct membership *m, uint32_t buckets, uint8_t *ret_digest) {
  for (uint32_t i = 0; i < buckets; i++) {
    uint64_t v = 0;
    for (uint32_t k = i * (SWIM_BUCKETS_MAX / buckets); k < (i + 1) * (SWIM_BUCKETS_MAX / buckets); k++) v ^= m->digest[k];
    for (int b = 0; b < 8; b++) ret_digest[8 * i + b] = (uint8_t)(v >> 8 * b);
  }
}

static bool masked(const struct session *s, const struct entry *e) {
  uint32_t i = e->m.info.id.b[0] / (SWIM_BUCKETS_MAX / s->buckets);
  return s->mask[i / 8] >> i % 8 & 1;
}

static struct session *session_new(struct membership *m, const struct entry *e, nanotime now) {
  if (find(m, &e->m.info.id)) return NULL;
  if (m->session_count >= SESSIONS_MAX) {
    m->stats.dropped++;
    return NULL;
  }
  if (!m->page && !(m->page = mem_alloc(m->mem, SWIM_PAGE_LEN))) return NULL;
  struct session *s = mem_calloc(m->mem, 1, sizeof *s);
  if (!s) return NULL;
  s->to = e->m.info.id;
  list_append(&m->sessions, &s->of);
  if (m->session_count++ == 0) m->next_page = time_add(now, SYNC_PAGE);
  return s;
}

void sync_open(struct membership *m, struct entry *e, nanotime now) {
  if (e->synced && time_since(now, e->synced) < SYNC_SAME) return;
  struct session *s = session_new(m, e, now);
  if (!s) return;
  e->synced = now ? now : 1;
  queue_page(m, s);
}

static void list_start(struct membership *m, struct entry *e, const uint8_t *mask, uint32_t buckets, bool want, nanotime now) {
  if (e->listed && time_since(now, e->listed) < SYNC_SAME) return;
  struct session *s = session_new(m, e, now);
  if (!s) return;
  memcpy(s->mask, mask, buckets / 8);
  s->buckets = buckets;
  s->want = want;
  s->cursor = list_empty(&m->all) ? NULL : ENTRY(m->all.next, all);
  e->listed = now ? now : 1;
  queue_page(m, s);
}

void sync_recv(struct membership *m, struct entry *e, const struct swim_msg *msg, uint32_t updates, nanotime now) {
  if (msg->want.n) list_start(m, e, msg->want.p, (uint32_t)msg->want.n * 8, false, now);
  if (msg->digest.n == 0) {
    e->told_all |= updates < PAGE_UPDATES; /* the last page of its list */
    return;
  }
  uint8_t ours[8 * SWIM_BUCKETS_MAX], mask[SWIM_BUCKETS_MAX / 8] = {0};
  uint32_t buckets = (uint32_t)msg->digest.n / 8;
  bool differ = false;
  digest_write(m, buckets, ours);
  for (uint32_t i = 0; i < buckets; i++)
    if (memcmp(ours + 8 * i, msg->digest.p + 8 * i, 8) != 0) {
      mask[i / 8] |= (uint8_t)(1 << i % 8);
      differ = true;
    }
  e->told_all |= !differ;
  /* an empty page for one that is new here, so that it knows that it lacks nobody */
  if (differ || !e->listed) list_start(m, e, mask, buckets, differ, now);
}

void sync_step(struct membership *m, nanotime now) {
  if (m->session_count == 0 && m->page) {
    mem_free(m->mem, m->page);
    m->page = NULL;
  }
  if (m->session_count && m->next_page <= now) {
    m->next_page = time_add(now, SYNC_PAGE);
    struct session *s = container_of(m->sessions.next, struct session, of);
    list_remove(&s->of);
    list_append(&m->sessions, &s->of);
    if (!s->queued) queue_page(m, s);
  }
  if (m->next_sync <= now) {
    m->next_sync = time_add(now, SYNC_EVERY + rng_below(m->cfg.rng, SYNC_EVERY / 4));
    struct entry *e = ring_random(m, NULL);
    if (e) sync_open(m, e, now);
  }
}

nanotime sync_deadline(const struct membership *m) {
  return m->session_count ? time_min(m->next_page, m->next_sync) : m->next_sync;
}

struct slice sync_page(struct membership *m, const struct id *to) {
  struct session *s = find(m, to);
  if (!s || !m->page) return SLICE_NONE;
  struct swim_msg msg = {0};
  struct swim_encoder enc;
  struct swim_update u;
  uint8_t digest[8 * SWIM_BUCKETS_MAX];
  s->queued = false;
  (void)self_sign(m);
  msg.me.bytes = record_of(&m->self);
  if (s->buckets == 0) { /* chooses their number so that a bucket has some 8 members */
    uint32_t buckets = SWIM_BUCKETS_MIN;
    while (buckets < SWIM_BUCKETS_MAX && buckets < m->count / 8) buckets *= 2;
    digest_write(m, buckets, digest);
    msg.digest = slice_of(digest, 8 * buckets);
  }
  if (s->want) msg.want = slice_of(s->mask, s->buckets / 8);
  s->want = false;
  swim_encode_begin(&enc, m->page, SWIM_PAGE_LEN, MSG_SWIM_SYNC, &msg);
  while (s->cursor) {
    struct entry *e = s->cursor;
    if (masked(s, e) && e->record) {
      update_of(e, e->m.state == MEMBER_SUSPECT, &u);
      if (enc.count == PAGE_UPDATES || !swim_encode_update(&enc, &u)) return swim_encode_end(&enc);
    }
    s->cursor = e->all.next == &m->all ? NULL : ENTRY(e->all.next, all);
  }
  if (enc.count < PAGE_UPDATES) end(m, s); /* the receiver knows the last page by that it is not full */
  return swim_encode_end(&enc);
}

void sync_dropped(struct membership *m, const struct id *to) {
  struct session *s = find(m, to);
  if (s) s->queued = false;
}

void sync_gone(struct membership *m, struct entry *e) {
  list_for_safe(l, &m->sessions) {
    struct session *s = container_of(l, struct session, of);
    if (s->cursor == e) s->cursor = e->all.next == &m->all ? NULL : ENTRY(e->all.next, all);
    if (id_eq(&s->to, &e->m.info.id)) end(m, s);
  }
}

void sync_done(struct membership *m) {
  while (!list_empty(&m->sessions)) end(m, container_of(m->sessions.next, struct session, of));
  mem_free(m->mem, m->page);
  m->page = NULL;
}
