/* The nodes, their load and what is measured of them. */
#include "sim/mesh_scale.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/err.h"
#include "bounded/htab.h"
#include "sim/mesh_priv.h"

#define JUDGE (60 * NS_SEC) /* after a crash, who does not know of it is counted */
#define TTL (300 * NS_SEC)

void mesh_defaults(struct mesh_config *cfg, uint32_t nodes) {
  *cfg = (struct mesh_config){.seed = 1,
                              .nodes = nodes,
                              .membership = true,
                              .dht = true,
                              .loss = 0.05,
                              .churn = 0.2,
                              .links = 64,
                              .warm = 300 * NS_SEC,
                              .measure = 600 * NS_SEC,
                              .lookups = 1.0 / 60};
}

double mesh_uniform(struct mesh *s) { return (double)(rng_u64(s->rng) >> 11) / 9007199254740992.0; }
double mesh_exponential(struct mesh *s, double mean) { return -mean * log(1 - mesh_uniform(s)); }

/* ---- identities: random, with slot and run at the end, so that the simulator finds a node without a table ---- */

static void make_id(struct mesh *s, struct mesh_node *v) {
  rng_fill(s->rng, v->id.b, ID_LEN);
  memcpy(v->id.b + 24, &v->slot, 4);
  memcpy(v->id.b + 28, &v->run, 4);
}

struct mesh_node *mesh_node_of(struct mesh *s, const struct id *id) {
  uint32_t slot;
  memcpy(&slot, id->b + 24, 4);
  return slot < s->cfg.nodes && id_eq(&s->nodes[slot].id, id) ? &s->nodes[slot] : NULL;
}

static struct addr address(const struct mesh_node *v) {
  struct addr a = {0};
  a.v4.sin_family = AF_INET;
  a.v4.sin_addr.s_addr = htonl(0x0a000000u | v->slot);
  a.v4.sin_port = htons(9443);
  return a;
}

struct member_info mesh_info(const struct mesh_node *v) {
  struct member_info i = {.id = v->id, .addr = address(v)};
  snprintf(i.name, sizeof i.name, "node%u", v->slot);
  return i;
}

void mesh_contact(const struct mesh_node *v, struct dht_contact *ret_contact) {
  *ret_contact = (struct dht_contact){.id = v->id, .addr = address(v)};
}

/* Fake signatures: a checksum; the id stands in the key itself. */
static int fake_sign(void *ctx, struct slice data, uint8_t *ret_sig, size_t *ret_len) {
  (void)ctx;
  static const uint64_t key[2] = {1, 2};
  uint64_t h = siphash13(key, data.p, data.n);
  memset(ret_sig, 0, 64); /* as long as Ed25519's */
  memcpy(ret_sig, &h, sizeof h);
  *ret_len = 64;
  return 0;
}

static int fake_verify(void *ctx, struct slice spki, struct slice data, struct slice sig, struct id *ret_id) {
  uint8_t want[64];
  size_t n;
  (void)fake_sign(ctx, data, want, &n);
  if (spki.n != ID_LEN || sig.n != n || memcmp(sig.p, want, n) != 0) return MACULA_BAD_SIGNATURE;
  memcpy(ret_id->b, spki.p, ID_LEN);
  return 0;
}

static int sign_member(void *ctx, struct slice text, uint8_t ret_sig[64]) {
  size_t n;
  return fake_sign(ctx, text, ret_sig, &n);
}

static void id_of_key(void *ctx, struct slice key, struct id *ret_id) {
  (void)ctx;
  memset(ret_id, 0, sizeof *ret_id);
  memcpy(ret_id->b, key.p, key.n < ID_LEN ? key.n : ID_LEN);
}

static int verify_member(void *ctx, struct slice key, struct slice text, struct slice sig, struct id *ret_id) {
  return fake_verify(ctx, slice_of(key.p, ID_LEN), text, sig, ret_id);
}

/* ---- nodes ---- */

void mesh_dirty(struct mesh *s, struct mesh_node *v) {
  if (v->dirty || !v->alive) return;
  v->dirty = true;
  if (heap_set(&s->timers, &v->timer, s->now) != 0) abort();
}

/* NULL only if there is none. */
static struct mesh_node *random_living(struct mesh *s, const struct mesh_node *but) {
  for (uint32_t i = 0; i < 64; i++) {
    struct mesh_node *v = &s->nodes[rng_below(s->rng, s->cfg.nodes)];
    if (v->alive && v != but) return v;
  }
  uint32_t from = (uint32_t)rng_below(s->rng, s->cfg.nodes); /* few live */
  for (uint32_t i = 0; i < s->cfg.nodes; i++) {
    struct mesh_node *v = &s->nodes[(from + i) % s->cfg.nodes];
    if (v->alive && v != but) return v;
  }
  return NULL;
}

static void start(struct mesh *s, struct mesh_node *v, bool same_id) {
  if (!same_id || v->run == 0) {
    v->run++;
    make_id(s, v);
    rng_fill(s->rng, v->key.b, ID_LEN);
  }
  v->m_mem = MEM_INIT("membership", 0);
  v->d_mem = MEM_INIT("dht", 0);
  v->alive = true;
  v->born = s->now;
  v->called_dead = v->published = 0;
  v->link_count = 0;
  memset(v->cache, 0, CACHE * sizeof *v->cache);
  if (s->cfg.membership) {
    memcpy(v->member_key, v->id.b, ID_LEN);
    struct membership_config c = {
        .mem = &v->m_mem,
        .rng = s->rng,
        .self = mesh_info(v),
        .crypto = {slice_of(v->member_key, sizeof v->member_key), sign_member, verify_member, id_of_key, NULL},
        .realm = slice_str("default"),
        .max_members = 10000};
    if (membership_new(&c, s->now, &v->m) != 0) abort();
  }
  if (s->cfg.dht) {
    struct dht_config c = {.records_mem = &v->d_mem,
                           .table_mem = &v->d_mem,
                           .lookups_mem = &v->d_mem,
                           .rng = s->rng,
                           .realm = slice_str("default"),
                           .crypto = {.spki = slice_of(v->id.b, ID_LEN), .sign = fake_sign, .verify = fake_verify},
                           .unix_base_ms = UINT64_C(1700000000000),
                           .last_seq = same_id ? v->last_seq : 0,
                           .max_records = 100000,
                           .max_publisher = 25000,
                           .max_key_service = 32,
                           .max_key_subscription = 1024,
                           .max_own = 20000,
                           .max_lookups = 1024,
                           .max_tombstones = 20000};
    mesh_contact(v, &c.self);
    if (dht_new(&c, s->now, &v->d) != 0) abort();
  }
  s->living++;
  struct mesh_node *first = random_living(s, v); /* of the addresses given to it, one that has room */
  for (int i = 0; first && first->link_count >= 2 * s->cfg.links && i < 1000; i++) first = random_living(s, v);
  if (first) mesh_link(s, v, first);
  if (s->cfg.dht) {
    if (first) dht_join(v->d, s->now);
    if (dht_publish(v->d, &v->key, DHT_SERVICE, TTL, s->now) != 0) abort();
    v->published = s->now;
  }
  mesh_dirty(s, v);
}

static void release(struct mesh *s, struct mesh_node *v) {
  if (v->d) v->last_seq = dht_last_seq(v->d); /* the state folder */
  membership_free(v->m);
  dht_free(v->d);
  v->m = NULL;
  v->d = NULL;
  if (v->m_mem.bytes || v->d_mem.bytes) abort();
  v->alive = v->dirty = false;
  v->died = s->now;
  heap_remove(&s->timers, &v->timer);
  s->living--;
}

static void bin(uint64_t *bins, nanotime t, nanotime width) { bins[t / width < MESH_BINS ? t / width : MESH_BINS - 1]++; }

static void on_dead(struct mesh *s, struct mesh_node *by, const struct id *id) {
  struct mesh_node *v = mesh_node_of(s, id);
  if (!v) return;
  mesh_unlink(by, v);
  if (by->d) dht_gone(by->d, id, s->now);
  if (v->alive) {
    if (time_since(s->now, v->born) < JUDGE) return; /* its last run's death, most likely */
    if (!mesh_measuring(s)) return;
    s->f->false_death_pairs++;
    if (time_since(s->now, v->called_dead) > JUDGE) s->f->false_deaths++;
    v->called_dead = s->now;
  } else if (v->crashed && v->died >= s->begin) {
    bin(s->f->known, s->now - v->died, NS_SEC / 10);
    v->last_heard = s->now;
  }
}

static void on_result(struct mesh *s, const struct dht_result *r) {
  if (r->kind == 0) return;
  struct mesh_node *v = &s->nodes[r->user & UINT32_MAX];
  if (v->run != r->user >> 32 || !v->alive || !id_eq(&v->key, &r->key)) return; /* its publisher has gone meanwhile */
  s->f->lookups++;
  s->f->queries += r->queries;
  for (size_t i = 0; i < r->provider_count; i++)
    if (id_eq(&r->providers[i].contact.id, &v->id)) {
      s->f->found++;
      s->f->hops_sum += r->hops;
      s->f->hops[r->hops < MESH_HOPS ? r->hops : MESH_HOPS - 1]++;
      bin(s->f->took, r->took, 10 * NS_MS);
      return;
    }
}

static void take_outputs(struct mesh *s, struct mesh_node *v) {
  struct membership_out mo;
  struct membership_event ev;
  struct dht_out d;
  struct dht_result res;
  while (v->m && membership_next(v->m, &mo)) mesh_send_swim(s, v, &mo);
  while (v->m && membership_next_event(v->m, &ev))
    if (ev.type == MEMBER_EV_DEAD) on_dead(s, v, &ev.info.id);
  while (v->d && dht_next(v->d, &d)) mesh_send_dht(s, v, &d);
  while (v->d && dht_next_result(v->d, &res)) on_result(s, &res);
}

static void run_node(struct mesh *s, struct mesh_node *v) {
  v->dirty = false;
  if (v->m && membership_deadline(v->m) <= s->now) membership_tick(v->m, s->now);
  if (v->d && dht_deadline(v->d) <= s->now) dht_tick(v->d, s->now);
  take_outputs(s, v);
  nanotime at = TIME_NEVER;
  if (v->m) at = time_min(at, membership_deadline(v->m));
  if (v->d) at = time_min(at, dht_deadline(v->d));
  if (v->dirty) at = s->now;
  if (at != TIME_NEVER && heap_set(&s->timers, &v->timer, at < s->now ? s->now : at) != 0) abort();
}

/* ---- load ---- */

static void count_refuted(struct mesh *s, const struct mesh_node *v, int sign) {
  struct membership_stats st;
  if (!v->m) return;
  membership_stats(v->m, &st);
  s->f->refuted += (uint64_t)sign * st.accused;
}

static void stop_one(struct mesh *s) {
  struct mesh_node *v = random_living(s, NULL);
  if (!v) return;
  bool crash = rng_below(s->rng, 2);
  if (mesh_measuring(s)) {
    *(crash ? &s->f->crashes : &s->f->leaves) += 1;
    s->f->node_seconds += (double)(s->now - (v->born > s->begin ? v->born : s->begin)) / (double)NS_SEC;
    count_refuted(s, v, 1);
  }
  if (!crash) {
    if (v->m) membership_leave(v->m);
    if (v->d) dht_withdraw_all(v->d, s->now);
    take_outputs(s, v);
    mesh_unlink_all(s, v);
  }
  release(s, v);
  v->crashed = crash;
  v->last_heard = 0;
  if (crash && mesh_measuring(s)) s->crashed[s->crashed_count++] = v->slot;
}

static void start_one(struct mesh *s) {
  for (int i = 0; i < 1000; i++) {
    struct mesh_node *v = &s->nodes[rng_below(s->rng, s->cfg.nodes)];
    if (v->alive || time_since(s->now, v->died) < JUDGE + NS_SEC) continue;
    if (mesh_measuring(s)) s->f->joins++;
    start(s, v, rng_below(s->rng, 2));
    return;
  }
}

static void judge(struct mesh *s) {
  struct mesh_node *v = &s->nodes[s->crashed[0]];
  memmove(s->crashed, s->crashed + 1, --s->crashed_count * sizeof *s->crashed);
  s->f->crashes_judged++;
  bin(s->f->known_to_all, v->last_heard > v->died ? v->last_heard - v->died : 0, NS_SEC / 10);
  for (uint32_t i = 0; s->cfg.membership && i < s->cfg.nodes; i++) {
    struct mesh_node *w = &s->nodes[i];
    const struct member *seen = w->alive && w->born < v->died ? membership_find(w->m, &v->id) : NULL;
    if (seen && seen->state != MEMBER_DEAD) s->f->unaware++;
  }
}

static void look_up(struct mesh *s) {
  uint64_t lookup;
  struct mesh_node *v = random_living(s, NULL), *of = random_living(s, v);
  if (!v || !of || time_since(s->now, of->published) < 10 * NS_SEC || time_since(s->now, v->born) < 10 * NS_SEC) return;
  uint64_t user = (uint64_t)of->run << 32 | of->slot;
  if (dht_lookup(v->d, &of->key, DHT_SERVICE, user, s->now, &lookup) != 0) abort();
  mesh_dirty(s, v);
}

/* ---- time ---- */

static nanotime after(struct mesh *s, double per_second) { /* of a Poisson process */
  if (per_second <= 0) return TIME_NEVER;
  return s->now + (nanotime)(mesh_exponential(s, 1 / per_second) * (double)NS_SEC);
}

static void begin(struct mesh *s) {
  for (uint32_t i = 0; i < s->cfg.nodes; i++)
    if (s->nodes[i].alive) count_refuted(s, &s->nodes[i], -1);
}

static void finish(struct mesh *s) {
  struct mesh_figures *f = s->f;
  for (uint32_t i = 0; i < s->cfg.nodes; i++) {
    struct mesh_node *v = &s->nodes[i];
    if (!v->alive) continue;
    f->node_seconds += (double)(s->now - (v->born > s->begin ? v->born : s->begin)) / (double)NS_SEC;
    count_refuted(s, v, 1);
    f->member_bytes += (double)v->m_mem.bytes / s->living;
    f->dht_bytes_held += (double)v->d_mem.bytes / s->living;
    if (v->m_mem.bytes > f->member_bytes_max) f->member_bytes_max = (double)v->m_mem.bytes;
    if (v->d_mem.bytes > f->dht_bytes_max) f->dht_bytes_max = (double)v->d_mem.bytes;
    if (v->d) {
      struct dht_stats st;
      dht_stats(v->d, &st);
      f->contacts += st.contacts;
      f->records += st.records;
    }
    for (uint32_t k = 0; v->m && k < s->cfg.nodes; k++) {
      const struct mesh_node *w = &s->nodes[k];
      if (w == v || !w->alive || time_since(s->now, w->born) < JUDGE || time_since(s->now, v->born) < JUDGE) continue;
      const struct member *seen = membership_find(v->m, &w->id);
      if (!seen || seen->state == MEMBER_DEAD) f->missing++;
    }
  }
  f->living = s->living;
}

static void run(struct mesh *s) {
  nanotime end = s->begin + s->cfg.measure, joins = s->cfg.warm / 2, report = 0;
  double churn = s->cfg.churn * s->cfg.nodes / 3600;
  nanotime next_stop = joins + after(s, churn), next_start = joins + JUDGE + after(s, churn);
  nanotime next_lookup = s->cfg.dht ? s->begin : TIME_NEVER;
  uint32_t joined = 0;
  bool begun = false;
  /* Everybody joins in the first half of the warm-up; churn begins in the second. */
  for (;;) {
    nanotime next_join = joined < s->cfg.nodes ? joins / s->cfg.nodes * joined : TIME_NEVER;
    nanotime judged = s->crashed_count ? s->nodes[s->crashed[0]].died + JUDGE : TIME_NEVER;
    nanotime at = time_min(time_min(heap_deadline(&s->timers), heap_deadline(&s->frames)), time_min(next_join, judged));
    at = time_min(at, time_min(next_lookup, time_min(next_stop, next_start)));
    if (at >= end) break;
    if (at > s->now) s->now = at;
    if (!begun && mesh_measuring(s)) {
      begun = true;
      begin(s);
    }
    if (s->cfg.progress && s->now >= report) {
      fprintf(stderr, "t=%.0f s, %u living, cpu %.0f s\n", (double)s->now / (double)NS_SEC, s->living,
              (double)clock() / CLOCKS_PER_SEC);
      report = s->now + 30 * NS_SEC;
    }
    if (judged <= at) {
      judge(s);
    } else if (next_join <= at) {
      start(s, &s->nodes[joined++], false);
    } else if (next_stop <= at) {
      stop_one(s);
      next_stop = after(s, churn);
    } else if (next_start <= at) {
      start_one(s);
      next_start = after(s, churn);
    } else if (next_lookup <= at) {
      look_up(s);
      next_lookup = after(s, s->cfg.lookups * s->living);
    } else {
      struct heap_link *l = heap_pop_due(&s->frames, s->now);
      if (l)
        mesh_deliver(s, container_of(l, struct frame, due));
      else if ((l = heap_pop_due(&s->timers, s->now)))
        run_node(s, container_of(l, struct mesh_node, timer));
    }
  }
  s->now = end;
}

void mesh_run(const struct mesh_config *cfg, struct mesh_figures *ret_f) {
  struct mesh s = {.cfg = *cfg, .f = ret_f, .mem = MEM_INIT("simulator", 0), .now = NS_SEC, .begin = cfg->warm + NS_SEC};
  clock_t cpu = clock();
  *ret_f = (struct mesh_figures){.nodes = cfg->nodes, .seconds = (double)cfg->measure / (double)NS_SEC};
  rng_seeded_init(&s.seed, cfg->seed);
  s.rng = rng_seeded_view(&s.seed);
  heap_init(&s.timers, &s.mem, UINT32_MAX);
  heap_init(&s.frames, &s.mem, UINT32_MAX);
  s.nodes = calloc(cfg->nodes, sizeof *s.nodes);
  s.crashed = calloc(cfg->nodes + 1, sizeof *s.crashed);
  uint32_t *cache = calloc((size_t)cfg->nodes * CACHE, sizeof *cache);
  uint64_t *links = calloc((size_t)cfg->nodes * (2 * cfg->links + 2), sizeof *links);
  if (!s.nodes || !s.crashed || !cache || !links) abort();
  for (uint32_t i = 0; i < cfg->nodes; i++)
    s.nodes[i] = (struct mesh_node){.slot = i,
                                    .x = (float)mesh_uniform(&s),
                                    .y = (float)mesh_uniform(&s),
                                    .cache = cache + (size_t)i * CACHE,
                                    .links = links + (size_t)i * (2 * cfg->links + 2)};
  run(&s);
  finish(&s);
  ret_f->cpu = (double)(clock() - cpu) / CLOCKS_PER_SEC;
  while (s.frames.count) {
    struct frame *f = container_of(s.frames.v[0], struct frame, due);
    heap_remove(&s.frames, &f->due);
    mem_free(&s.mem, f);
  }
  for (uint32_t i = 0; i < cfg->nodes; i++)
    if (s.nodes[i].alive) release(&s, &s.nodes[i]);
  heap_done(&s.frames);
  heap_done(&s.timers);
  free(s.nodes);
  free(s.crashed);
  free(cache);
  free(links);
}
