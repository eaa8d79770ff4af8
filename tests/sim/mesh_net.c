#include <math.h>
#include <stdlib.h>

#include "sim/mesh_priv.h"
#include "wire/msg.h"

static nanotime one_way(struct mesh *s, const struct mesh_node *a, const struct mesh_node *b) {
  double d = hypot((double)(a->x - b->x), (double)(a->y - b->y));
  return (nanotime)((2 + 60 * d + mesh_exponential(s, 3)) * (double)NS_MS);
}

static bool lost(struct mesh *s) { return mesh_uniform(s) < s->cfg.loss; }

/* A stream's packet: each loss costs a probe timeout of 1.5 round trips and 25 ms, growing. */
static nanotime reliable(struct mesh *s, const struct mesh_node *a, const struct mesh_node *b) {
  nanotime t = one_way(s, a, b), pto = 3 * t + 25 * NS_MS;
  for (; lost(s); pto *= 2) t += pto;
  return t;
}

/* A handshake's round trip. Without a measured round-trip time the first timeout is 1 s (RFC 9002, section 6.2.2). */
static nanotime handshake(struct mesh *s, const struct mesh_node *a, const struct mesh_node *b) {
  nanotime t = 2 * one_way(s, a, b), pto = NS_SEC;
  for (; lost(s); pto *= 2) t += pto;
  return t;
}

static struct frame *frame_new(struct mesh *s, const struct mesh_node *from, const struct mesh_node *to, enum frame_kind kind,
                               uint8_t type, struct slice payload) {
  struct frame *f = mem_alloc(&s->mem, sizeof *f + payload.n);
  if (!f) abort();
  *f = (struct frame){.from = from->slot,
                      .from_run = from->run,
                      .to = to->slot,
                      .to_run = to->run,
                      .kind = kind,
                      .type = type,
                      .len = (uint32_t)payload.n};
  if (payload.n) memcpy(f->data, payload.p, payload.n);
  return f;
}

static void post(struct mesh *s, struct frame *f, nanotime delay) {
  if (heap_set(&s->frames, &f->due, s->now + delay) != 0) abort();
}

static bool linked(const struct mesh_node *a, const struct mesh_node *b) {
  for (uint32_t i = 0; i < a->link_count; i++)
    if (a->links[i] == mesh_link_of(b)) return true;
  return false;
}

void mesh_send_swim(struct mesh *s, struct mesh_node *from, const struct membership_out *o) {
  struct mesh_node *to = mesh_node_of(s, &o->to);
  if (!to) return; /* an earlier run of that slot */
  nanotime wait = 0;
  if (!linked(from, to)) {
    if (from->link_count >= s->cfg.links) {
      membership_unsent(from->m, &o->to);
      return;
    }
    if (!to->alive) return;                   /* the dial finds nobody */
    if (to->link_count >= 2 * s->cfg.links) { /* refused */
      membership_unsent(from->m, &o->to);
      return;
    }
    wait = handshake(s, from, to);
    post(s, frame_new(s, from, to, FRAME_LINK, 0, SLICE_NONE), wait);
  }
  bool page = o->type == MSG_SWIM_SYNC;
  if (mesh_measuring(s)) {
    *(page ? &s->f->sync_frames : &s->f->swim_frames) += 1;
    *(page ? &s->f->sync_bytes : &s->f->swim_bytes) += o->payload.n;
  }
  if (!to->alive || (!page && lost(s))) return;
  post(s, frame_new(s, from, to, FRAME_SWIM, o->type, o->payload),
       wait + (page ? reliable(s, from, to) : one_way(s, from, to)));
}

static bool cached(struct mesh_node *a, struct mesh_node *b) {
  uint32_t *ab = &a->cache[b->slot * 2654435761u >> 22], *ba = &b->cache[a->slot * 2654435761u >> 22];
  bool hit = *ab == b->slot + 1 && *ba == a->slot + 1;
  *ab = b->slot + 1;
  *ba = a->slot + 1;
  return hit;
}

void mesh_send_dht(struct mesh *s, struct mesh_node *from, const struct dht_out *o) {
  if (mesh_measuring(s)) {
    s->f->dht_frames++;
    s->f->dht_types[o->type & 7]++;
    s->f->dht_bytes += o->payload.n;
  }
  struct mesh_node *to = mesh_node_of(s, &o->to.id);
  if (!to || !to->alive) return; /* silence; the query times out */
  nanotime wait = cached(from, to) ? 0 : handshake(s, from, to);
  post(s, frame_new(s, from, to, FRAME_DHT, o->type, o->payload), wait + reliable(s, from, to));
}

void mesh_link(struct mesh *s, struct mesh_node *a, struct mesh_node *b) {
  struct mesh_node *ends[2] = {a, b};
  if (a == b || linked(a, b) || !a->alive || !b->alive) return;
  if (a->link_count > 2 * s->cfg.links || b->link_count > 2 * s->cfg.links) return; /* both or neither */
  for (int i = 0; i < 2; i++) {
    struct mesh_node *v = ends[i], *w = ends[1 - i];
    struct member_info info = mesh_info(w);
    struct dht_contact c;
    mesh_contact(w, &c);
    if (!linked(v, w)) v->links[v->link_count++] = mesh_link_of(w);
    if (v->m && membership_met(v->m, &info, s->now) == 0) membership_connected(v->m, &info.id, true);
    if (v->d) dht_seen(v->d, &c, s->now);
    mesh_dirty(s, v);
  }
}

static void unlink_end(struct mesh_node *a, struct mesh_node *b) {
  for (uint32_t i = 0; i < a->link_count; i++)
    if (a->links[i] == mesh_link_of(b)) {
      a->links[i] = a->links[--a->link_count];
      break;
    }
  if (a->alive && a->m) membership_connected(a->m, &b->id, false);
}

void mesh_unlink(struct mesh_node *a, struct mesh_node *b) {
  unlink_end(a, b);
  unlink_end(b, a);
}

void mesh_unlink_all(struct mesh *s, struct mesh_node *a) {
  while (a->link_count) {
    struct mesh_node *b = &s->nodes[a->links[a->link_count - 1] >> 32];
    if (mesh_link_of(b) == a->links[a->link_count - 1]) unlink_end(b, a);
    a->link_count--;
  }
}

void mesh_deliver(struct mesh *s, struct frame *f) {
  struct mesh_node *from = &s->nodes[f->from], *to = &s->nodes[f->to];
  if (to->alive && to->run == f->to_run && from->run == f->from_run) {
    struct slice p = slice_of(f->data, f->len);
    struct dht_contact c;
    switch (f->kind) {
    case FRAME_SWIM:
      if (membership_recv(to->m, &from->id, f->type, p, s->now) != 0) abort();
      break;
    case FRAME_DHT:
      mesh_contact(from, &c);
      (void)dht_recv(to->d, &c, f->type, p, s->now); /* may be refused for its rate */
      break;
    case FRAME_LINK:
      mesh_link(s, from, to);
      break;
    }
    mesh_dirty(s, to);
  }
  mem_free(&s->mem, f);
}
