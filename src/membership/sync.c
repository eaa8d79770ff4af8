/* SWIM_SYNC: the whole list in pages, both ways, with a peer just met and now and then with any: what gossip missed, and how
 * partitions heal. Pages are written when they are taken and spaced in time; a list that changes meanwhile may be sent with or
 * without the change. */
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
  list_remove(&s->of);
  m->session_count--;
  mem_free(m->mem, s);
}

static void queue_page(struct membership *m, struct session *s) {
  s->queued = true;
  out_push(m, &s->to, MSG_SWIM_SYNC, 0, NULL, false);
}

void sync_start(struct membership *m, struct entry *e, bool request, nanotime now) {
  struct session *s = find(m, &e->m.info.id);
  if (s || (e->synced && time_since(now, e->synced) < SYNC_SAME)) return;
  if (m->session_count >= SESSIONS_MAX) {
    m->stats.dropped++;
    return;
  }
  if (!m->page && !(m->page = mem_alloc(m->mem, SWIM_PAGE_LEN))) return;
  s = mem_calloc(m->mem, 1, sizeof *s);
  if (!s) return;
  s->to = e->m.info.id;
  s->request = request;
  s->cursor = list_empty(&m->all) ? NULL : ENTRY(m->all.next, all);
  list_append(&m->sessions, &s->of);
  m->session_count++;
  e->synced = now ? now : 1;
  if (m->session_count == 1) m->next_page = time_add(now, SYNC_PAGE);
  queue_page(m, s);
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
    uint64_t every = SYNC_EVERY * (1 + m->count / 1000);
    m->next_sync = time_add(now, every + rng_below(m->cfg.rng, every / 4));
    struct entry *e = ring_random(m, NULL);
    if (e) sync_start(m, e, true, now);
  }
}

nanotime sync_deadline(const struct membership *m) {
  return m->session_count ? time_min(m->next_page, m->next_sync) : m->next_sync;
}

struct slice sync_page(struct membership *m, const struct id *to) {
  struct session *s = find(m, to);
  if (!s || !m->page) return SLICE_NONE;
  struct swim_msg msg = {.request = s->request && !s->begun};
  struct swim_encoder enc;
  struct swim_update u;
  s->queued = false;
  s->begun = true;
  update_of(&m->self, true, &msg.me);
  swim_encode_begin(&enc, m->page, SWIM_PAGE_LEN, MSG_SWIM_SYNC, &msg);
  while (s->cursor) {
    struct entry *e = s->cursor;
    update_of(e, true, &u);
    if (!swim_encode_update(&enc, &u)) return swim_encode_end(&enc);
    s->cursor = e->all.next == &m->all ? NULL : ENTRY(e->all.next, all);
  }
  end(m, s);
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
