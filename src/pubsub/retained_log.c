#include "pubsub/retained_log.h"

#include <assert.h>

#include "base/check.h"
#include "base/sha256.h"

#define DIGEST 8u             /* bytes of a SHA-256 */
#define EPOCH_AT DIGEST       /* in a record: its digest, the epoch, */
#define LEN_AT (EPOCH_AT + 8) /* its length, ... */
#define BODY_AT (LEN_AT + 4)
#define GAP_MOST (4u * RETAINED_RECORD_MAX) /* bytes without a record, behind which none is looked for */

static const char magic[8] = "maculaR1";

/* ---- numbers ---------------------------------------------------------------------------------------------------------------
 */
static void put(uint8_t *p, uint64_t v, size_t n) {
  for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}
static uint64_t get(const uint8_t *p, size_t n) {
  uint64_t v = 0;
  for (size_t i = 0; i < n; i++) v = v << 8 | p[i];
  return v;
}

static void digest(const uint8_t *p, size_t n, struct slice more, uint8_t ret[DIGEST]) {
  uint8_t hash[SHA256_LEN];
  sha256_of_two(slice_of(p, n), more, hash);
  memcpy(ret, hash, DIGEST);
}
static bool is_right(const uint8_t *p, size_t n) { /* of what begins with its digest */
  uint8_t d[DIGEST];
  digest(p + DIGEST, n - DIGEST, SLICE_NONE, d);
  return memcmp(d, p, DIGEST) == 0;
}

/* ---- heads -----------------------------------------------------------------------------------------------------------------
 * digest 8, magic 8, generation 8, epoch 8, size 8, sealed 8, half 8, zeros 8 */
void retained_head_write(const struct retained_head *h, uint8_t ret[RETAINED_HEAD_LEN]) {
  const uint64_t fields[] = {h->generation, h->epoch, h->size, h->sealed, h->half};
  memset(ret, 0, RETAINED_HEAD_LEN);
  memcpy(ret + DIGEST, magic, sizeof magic);
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) put(ret + DIGEST + sizeof magic + 8 * i, fields[i], 8);
  digest(ret + DIGEST, RETAINED_HEAD_LEN - DIGEST, SLICE_NONE, ret);
}

static bool read_head(const uint8_t p[RETAINED_HEAD_LEN], struct retained_head *ret) {
  const uint8_t *f = p + DIGEST + sizeof magic;
  if (memcmp(p + DIGEST, magic, sizeof magic) != 0 || !is_right(p, RETAINED_HEAD_LEN)) return false;
  struct retained_head h = {.generation = get(f, 8), .epoch = get(f + 8, 8), .size = get(f + 16, 8), .sealed = get(f + 24, 8)};
  uint64_t half = get(f + 32, 8);
  h.half = half == 1;
  if (!h.generation || half > 1 || h.sealed > retained_half_len(h.size) || h.size > UINT64_MAX / 4) return false;
  *ret = h;
  return true;
}

static bool is_empty(const uint8_t p[RETAINED_HEAD_LEN]) {
  static const uint8_t zeros[RETAINED_HEAD_LEN];
  return memcmp(p, zeros, sizeof zeros) == 0;
}

struct retained_head retained_head_choose(const uint8_t first[RETAINED_HEAD_LEN], const uint8_t second[RETAINED_HEAD_LEN],
                                          bool *ret_damaged) {
  struct retained_head a = {0}, b = {0};
  bool has_a = read_head(first, &a), has_b = read_head(second, &b);
  *ret_damaged = (!has_a && !is_empty(first)) || (!has_b && !is_empty(second));
  return a.generation > b.generation ? a : b;
}

uint64_t retained_log_size(uint64_t count, uint64_t bytes) {
  if (count > UINT32_MAX) count = UINT32_MAX;
  if (bytes > UINT64_C(1) << 48) bytes = UINT64_C(1) << 48;
  uint64_t live = bytes + count * RETAINED_BESIDE + FRAME_MAX_PAYLOAD, half = live + live / 2;
  half = (half + (1 << 20) - 1) >> 20 << 20;
  return RETAINED_RECORDS_AT + 2 * half;
}

/* ---- records ---------------------------------------------------------------------------------------------------------------
 * digest 8 (of all that follows), epoch 8, length 4 (of all), ms 8, slashes 4, qos 1, lengths of topic 1, owner 1 and origin 1,
 * end 8, headers 2, their length 4; owner; node and origin, if there is one; topic; headers; payload */
static size_t record_len(const struct retained_record *m) {
  return RETAINED_FIXED + m->owner.n + (m->origin.n ? ID_LEN + m->origin.n : 0) + m->topic.n + m->headers.n + m->payload.n;
}

static uint8_t *copy(uint8_t *p, struct slice s) {
  if (s.n) memcpy(p, s.p, s.n);
  return p + s.n;
}

/* All but the payload. */
static void put_record(uint8_t *p, uint64_t epoch, const struct retained_record *m) {
  uint8_t *f = p + BODY_AT;
  put(p + EPOCH_AT, epoch, 8);
  put(p + LEN_AT, record_len(m), 4);
  put(f, m->ms, 8);
  put(f + 8, m->slashes, 4);
  f[12] = m->qos;
  f[13] = (uint8_t)m->topic.n;
  f[14] = (uint8_t)m->owner.n;
  f[15] = (uint8_t)m->origin.n;
  put(f + 16, m->expires_ms, 8);
  put(f + 24, m->header_count, 2);
  put(f + 26, m->headers.n, 4);
  f = copy(f + 30, m->owner);
  if (m->origin.n) f = copy(copy(f, m->node), m->origin);
  (void)copy(copy(f, m->topic), m->headers);
}

void retained_log_seal(uint8_t *buf, const struct retained_job *job) {
  size_t all = job->len + job->payload.n;
  for (size_t at = 0, n; at < job->len; at += n) {
    n = (size_t)get(buf + at + LEN_AT, 4);
    assert(n >= RETAINED_FIXED && n <= all - at);
    if (n <= job->len - at)
      digest(buf + at + DIGEST, n - DIGEST, SLICE_NONE, buf + at);
    else
      digest(buf + at + DIGEST, job->len - at - DIGEST, job->payload, buf + at);
  }
}

/* The length that a record claims; 0: it is none. */
static size_t claimed(const uint8_t *p, uint64_t epoch) {
  uint64_t n = get(p + LEN_AT, 4);
  return get(p + EPOCH_AT, 8) == epoch && n >= RETAINED_FIXED && n <= RETAINED_RECORD_MAX ? (size_t)n : 0;
}

static bool take(const uint8_t **p, size_t *left, size_t n, struct slice *ret) {
  if (n > *left) return false;
  *ret = slice_of(*p, n);
  *p += n;
  *left -= n;
  return true;
}

static bool read_record(const uint8_t *p, size_t n, struct retained_record *ret) {
  const uint8_t *f = p + BODY_AT, *at = f + 30;
  struct retained_record m = {.ms = get(f, 8), .slashes = (uint32_t)get(f + 8, 4), .qos = f[12]};
  size_t topic = f[13], owner = f[14], origin = f[15], headers = (size_t)get(f + 26, 4), left = n - RETAINED_FIXED;
  m.expires_ms = get(f + 16, 8);
  m.header_count = (uint16_t)get(f + 24, 2);
  if (!is_right(p, n) || owner > RETAINED_OWNER_MAX || origin > PRINCIPAL_LEN_MAX || !topic) return false;
  if (!take(&at, &left, owner, &m.owner) || !take(&at, &left, origin ? ID_LEN : 0, &m.node)) return false;
  if (!take(&at, &left, origin, &m.origin) || !take(&at, &left, topic, &m.topic) || !take(&at, &left, headers, &m.headers))
    return false;
  m.payload = slice_of(at, left);
  *ret = m;
  return true;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------
 */
void retained_scan_init(struct retained_scan *s, const struct retained_head *h) {
  *s = (struct retained_scan){.epoch = h->epoch, .sealed = h->sealed};
}

bool retained_scan_over(const struct retained_scan *s) { return s->at >= s->sealed && s->at - s->end > GAP_MOST; }

/* Bytes to the next place, behind the first byte, where a record may begin. */
static size_t next_place(const uint8_t *p, size_t n, uint64_t epoch) {
  uint8_t mark[8];
  put(mark, epoch, 8);
  const uint8_t *from = p + 1 + EPOCH_AT, *hit = n > 1 + EPOCH_AT ? memmem(from, n - 1 - EPOCH_AT, mark, sizeof mark) : NULL;
  if (hit) return (size_t)(hit - EPOCH_AT - p);
  return n > EPOCH_AT + 7 ? n - EPOCH_AT - 7 : 1; /* the mark may begin in the last 7 bytes */
}

bool retained_scan_next(struct retained_scan *s, struct slice bytes, bool last, struct retained_record *ret_record) {
  const uint8_t *p = bytes.p;
  size_t left = bytes.n;
  while (left >= RETAINED_FIXED) {
    size_t n = claimed(p, s->epoch);
    if (n > left && !last) return false;
    if (n && n <= left && read_record(p, n, ret_record)) {
      s->damaged += s->at > s->end;
      s->records++;
      s->at += n;
      s->end = s->at;
      return true;
    }
    size_t skipped = next_place(p, left, s->epoch);
    if (skipped > left) skipped = left;
    p += skipped;
    left -= skipped;
    s->at += skipped;
  }
  if (last) s->at += left;
  return false;
}

uint64_t retained_scan_damaged(const struct retained_scan *s) { return s->damaged + (s->end < s->sealed); }

/* ---- what waits ------------------------------------------------------------------------------------------------------------
 */
struct gone {
  struct list all; /* retained_log.gone */
  uint64_t ms;
  uint8_t len;
  char topic[];
};

static void gone_free(struct retained_log *l, struct gone *g) {
  list_remove(&g->all);
  assert(l->gone_count > 0);
  l->gone_count--;
  mem_free(l->mem, g);
}

static void forget_gone(struct retained_log *l) {
  list_for_safe(it, &l->gone) gone_free(l, container_of(it, struct gone, all));
}

static void on_changed(void *ctx) {
  struct retained_log *l = ctx;
  if (l->changed) return;
  l->changed = true;
  if (l->wake) l->wake(l->ctx);
}

static void on_gone(void *ctx, const struct retained_entry *e) {
  struct retained_log *l = ctx;
  if (!l->whole && e->round == l->round) { /* else the file does not have it, or not any more */
    struct gone *g = l->gone_count < RETAINED_GONE_MOST ? mem_alloc(l->mem, sizeof *g + e->len) : NULL;
    if (g) {
      g->ms = e->ms;
      g->len = e->len;
      memcpy(g->topic, e->topic, e->len);
      list_append(&l->gone, &g->all);
      l->gone_count++;
    } else {
      l->whole = true;
      forget_gone(l);
    }
  }
  on_changed(l);
}

void retained_log_init(struct retained_log *l, struct retained *r, struct mem *mem, struct rng rng, uint64_t size) {
  *l = (struct retained_log){.r = r, .mem = mem, .rng = rng, .size = size, .whole = true, .round = 1};
  list_init(&l->gone);
  list_init(&l->mark);
  if (!size) return;
  r->watch = (struct retained_watch){on_changed, on_gone, l};
  l->changed = retained_count(r) > 0;
}

void retained_log_done(struct retained_log *l) {
  if (!l->r) return;
  l->r->watch = (struct retained_watch){0};
  list_remove(&l->mark);
  forget_gone(l);
  shbuf_unref(l->large);
  l->large = NULL;
}

void retained_log_restored(struct retained_log *l, const struct retained_head *head) {
  l->head = *head;
  l->changed = head->generation == 0 && retained_count(l->r) > 0;
  while (!l->changed && !list_empty(&l->r->unsaved))
    retained_save(l->r, container_of(l->r->unsaved.next, struct retained_entry, disk));
}

uint32_t retained_log_unsaved(const struct retained_log *l) { return l->size ? l->gone_count + l->r->unsaved_count : 0; }

/* ---- writing ---------------------------------------------------------------------------------------------------------------
 */
static struct retained_record record_of(const struct retained_entry *e) {
  struct retained_record m = {.topic = slice_of(e->topic, e->len),
                              .payload = shbuf_view(e->payload),
                              .owner = e->owner ? e->owner->id : SLICE_NONE,
                              .ms = e->ms,
                              .slashes = e->slashes,
                              .qos = e->qos};
  if (e->headers) m.headers = shbuf_view(e->headers);
  m.header_count = (uint16_t)e->header_count;
  if (e->ends.pos) m.expires_ms = e->ends.at / NS_MS;
  if (e->origin) {
    m.node = slice_of(e->origin->node.b, ID_LEN);
    m.origin = principal_bytes(e->origin);
  }
  return m;
}

static struct retained_entry *first_unsaved(const struct retained_log *l) {
  struct list *it = l->r->unsaved.next;
  if (it == &l->mark) it = it->next;
  return it == &l->r->unsaved ? NULL : container_of(it, struct retained_entry, disk);
}

static void begin(struct retained_log *l) {
  forget_gone(l);
  l->whole = false;
  l->rewriting = true;
  rng_fill(l->rng, &l->epoch, sizeof l->epoch);
  l->half = l->head.generation ? !l->head.half : 0;
  l->at = 0;
  if (++l->round == 0) l->round = 1;
  list_remove(&l->mark);
  retained_unsave(l->r);
  list_append(&l->r->unsaved, &l->mark);
}

struct fill {
  struct retained_log *l;
  uint8_t *buf;
  size_t cap, used;
  unsigned records;
  struct shbuf *large; /* referred to; nothing stands behind it */
};
enum fit { FITS, NO_BUFFER, NO_HALF };

static enum fit add(struct fill *f, const struct retained_record *m, struct shbuf *payload) {
  struct retained_log *l = f->l;
  size_t n = record_len(m), copied = n;
  bool refer = m->payload.n > f->cap / 4;
  if (refer) copied -= m->payload.n;
  if (l->at + f->used + n > retained_half_len(l->size)) return NO_HALF;
  if (f->large || f->used + copied > f->cap || f->records == RETAINED_AT_ONCE) return NO_BUFFER;
  put_record(f->buf + f->used, l->epoch, m);
  f->used += copied;
  if (refer)
    f->large = payload;
  else
    (void)copy(f->buf + f->used - m->payload.n, m->payload);
  f->records++;
  return FITS;
}

/* Clearings stand before what was published after them. */
static enum fit add_gone(struct fill *f) {
  list_for_safe(it, &f->l->gone) {
    struct gone *g = container_of(it, struct gone, all);
    enum fit fit = add(f, &(struct retained_record){.topic = slice_of(g->topic, g->len), .ms = g->ms}, NULL);
    if (fit != FITS) return fit;
    gone_free(f->l, g);
  }
  return FITS;
}

/* *ret_switches: all that there was when the half was begun is in it. */
static enum fit add_entries(struct fill *f, bool *ret_switches) {
  struct retained_log *l = f->l;
  struct list *unsaved = &l->r->unsaved;
  while (!list_empty(unsaved)) {
    if (unsaved->next == &l->mark) {
      list_remove(&l->mark);
      *ret_switches = true;
      return FITS;
    }
    struct retained_entry *e = container_of(unsaved->next, struct retained_entry, disk);
    struct retained_record m = record_of(e);
    enum fit fit = add(f, &m, e->payload);
    if (fit == NO_BUFFER || (fit == NO_HALF && !l->rewriting)) return fit;
    e->round = fit == FITS ? l->round : 0;
    l->left_out += fit == NO_HALF; /* the limits were raised beyond what the file is for */
    retained_save(l->r, e);
  }
  return FITS;
}

static enum fit fill(struct fill *f, bool *ret_switches) {
  enum fit fit = add_gone(f);
  return fit == FITS ? add_entries(f, ret_switches) : fit;
}

bool retained_log_next(struct retained_log *l, uint8_t *buf, size_t cap, struct retained_job *ret_job) {
  struct fill f = {.l = l, .buf = buf, .cap = cap};
  bool switches = false;
  assert(!l->busy && cap >= RETAINED_JOB_LEAST);
  if (!l->size || !l->changed) return false;
  if (l->whole) begin(l);
  enum fit fit = fill(&f, &switches);
  if (fit == NO_HALF && !f.used) { /* when something was added, the next job finds no room */
    begin(l);
    fit = fill(&f, &switches);
  }
  l->more = fit != FITS;
  if (!f.used && !switches && !first_unsaved(l) && !l->gone_count) return l->changed = false;
  *ret_job = (struct retained_job){.at = retained_half_at(l->size, l->half) + l->at, .len = f.used, .switches = switches};
  if ((l->large = f.large) != NULL) ret_job->payload = shbuf_view(shbuf_ref(l->large));
  l->job_len = f.used + ret_job->payload.n;
  l->busy = true;
  l->next = (struct retained_head){0};
  if (!switches) return true;
  l->next = (struct retained_head){l->head.generation + 1, l->epoch, l->size, l->at + l->job_len, l->half};
  ret_job->head_at = l->next.generation % 2 * RETAINED_SLOT;
  retained_head_write(&l->next, ret_job->head);
  return true;
}

void retained_log_again(struct retained_log *l) {
  assert(!l->busy);
  l->failures++;
  l->whole = l->changed = true;
  l->rewriting = false;
  list_remove(&l->mark);
  forget_gone(l);
}

void retained_log_written(struct retained_log *l, bool ok) {
  assert(l->busy);
  l->busy = false;
  shbuf_unref(l->large);
  l->large = NULL;
  if (!ok) {
    retained_log_again(l);
    return;
  }
  l->at += l->job_len;
  l->written += l->job_len;
  if (!l->next.generation) return;
  l->head = l->next;
  l->rewriting = false;
  l->rewrites++;
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *retained_log_check(const struct retained_log *l) {
  if (!l->r || !l->size) return NULL;
  CHECK(list_has(&l->gone, l->gone_count) && l->gone_count <= RETAINED_GONE_MOST,
        "retained log: the topics cleared are not as many as counted, or too many");
  CHECK(l->at <= retained_half_len(l->size), "retained log: more was written than the half holds");
  CHECK(l->changed || (!l->gone_count && !first_unsaved(l)), "retained log: something waits, and nobody was told");
  CHECK(l->rewriting == !list_empty(&l->mark) || l->busy || l->whole, "retained log: the place up to which is written is lost");
  uint32_t saved = list_count(&l->r->saved), unsaved = list_count(&l->r->unsaved) - !list_empty(&l->mark), kept = 0;
  list_for(it, &l->r->all) kept += container_of(it, const struct retained_entry, all)->kept == l->r->keeping;
  CHECK(kept == saved, "retained log: a message is not in the list that it says");
  CHECK(unsaved == l->r->unsaved_count, "retained log: what waits is not as much as counted");
  CHECK(saved + unsaved == retained_count(l->r), "retained log: a message is in neither list");
  return NULL;
}

size_t retained_log_owned(const struct retained_log *l) {
  size_t sum = 0;
  if (!l->r) return 0;
  list_for(it, &l->gone) sum += mem_cost(container_of(it, const struct gone, all));
  return sum;
}
