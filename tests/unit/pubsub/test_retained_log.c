/* Retained messages on disk, on a disk that is an array: which may stop at any byte, fail, and be damaged anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "pubsub/retained_log.h"

#define SIZE (RETAINED_RECORDS_AT + 2 * RETAINED_SLOT) /* two halves of 4 KiB */
#define TOPICS 8
#define ROUND 10 /* messages, after which all is on disk */

static struct rng_seeded seeded;
static struct mem payloads = MEM_INIT("payloads", 0);

struct disk {
  uint8_t bytes[SIZE];
  uint64_t most, written; /* what is written after so many bytes does not get there */
};

struct rig {
  struct mem mem, waits;
  struct retained r;
  struct retained_log log;
  struct disk *disk;
  unsigned woken;
};

static void on_wake(void *ctx) { ((struct rig *)ctx)->woken++; }

static struct rig *rig_new(struct disk *disk) {
  struct rig *g = calloc(1, sizeof *g);
  g->mem = MEM_INIT("retained", 0);
  g->waits = MEM_INIT("waits", 0);
  g->disk = disk;
  retained_init(&g->r, &g->mem, rng_seeded_view(&seeded), TOPICS, 100000);
  retained_log_init(&g->log, &g->r, &g->waits, rng_seeded_view(&seeded), SIZE);
  g->log.wake = on_wake;
  g->log.ctx = g;
  return g;
}

static void rig_free(struct rig *g) {
  assert_null(retained_log_check(&g->log));
  assert_null(retained_check(&g->r));
  retained_log_done(&g->log);
  retained_done(&g->r);
  assert_int_equal(g->mem.bytes, 0);
  assert_int_equal(g->waits.bytes, 0);
  free(g);
  assert_int_equal(payloads.bytes, 0);
}

/* One in seven is so large that it is referred to. */
static size_t len_of(unsigned value) { return value % 7 == 3 ? 600 : 2 + value * 37 % 90; }

/* Topic number t says so much; value 0 clears it. The first two bytes of a payload are the value, its length depends on it. */
static void set(struct rig *g, unsigned t, unsigned value) {
  char topic[32];
  snprintf(topic, sizeof topic, "topic.%u", t);
  struct shbuf *b = value ? shbuf_new(&payloads, len_of(value)) : NULL;
  if (b) memset(b->data, (int)value, b->len);
  if (b) memcpy(b->data, &(uint16_t){(uint16_t)value}, 2);
  assert_int_equal(
      retained_set(
          &g->r,
          &(struct retained_message){
              .topic = slice_str(topic), .payload = b, .ms = value, .now = value, .slashes = 1, .qos = 1, .restored = true}),
      0);
  shbuf_unref(b);
}

static unsigned value_of(const struct rig *g, unsigned t) {
  char topic[32];
  snprintf(topic, sizeof topic, "topic.%u", t);
  const struct retained_entry *e = retained_find(&g->r, slice_str(topic));
  uint16_t v = 0;
  if (!e) return 0;
  memcpy(&v, e->payload->data, 2);
  assert_int_equal(e->payload->len, len_of(v));
  assert_int_equal(e->ms, v);
  assert_int_equal(e->qos, 1);
  assert_int_equal(e->slashes, 1);
  return v;
}

static void disk_write(struct disk *d, uint64_t at, const uint8_t *p, size_t n) {
  uint64_t room = d->most > d->written ? d->most - d->written : 0;
  assert_true(at + n <= SIZE);
  if (n) memcpy(d->bytes + at, p, n < room ? n : room);
  d->written += n;
}

/* Does one job; false: there is none. */
static bool job(struct rig *g, bool ok) {
  uint8_t buf[RETAINED_JOB_LEAST];
  struct retained_job j;
  if (!retained_log_next(&g->log, buf, sizeof buf, &j)) return false;
  retained_log_seal(buf, &j);
  uint64_t half = retained_half_at(SIZE, g->log.half);
  assert_true(j.at >= half && j.at + j.len + j.payload.n <= half + retained_half_len(SIZE));
  if (ok || g->log.failures % 2) {
    disk_write(g->disk, j.at, buf, j.len);
    disk_write(g->disk, j.at + j.len, j.payload.p, j.payload.n);
  }
  if (ok && j.switches) disk_write(g->disk, j.head_at, j.head, sizeof j.head);
  retained_log_written(&g->log, ok);
  assert_null(retained_log_check(&g->log));
  return true;
}

static uint64_t damaged;

/* What a new process finds on the disk, handed to it in pieces of `piece` bytes. */
static struct rig *restart(struct disk *d, size_t piece) {
  struct rig *g = rig_new(d);
  struct retained_scan s = {0};
  struct retained_record m;
  bool heads;
  struct retained_head h = retained_head_choose(d->bytes, d->bytes + RETAINED_SLOT, &heads);
  if (h.generation) {
    assert_int_equal(h.size, SIZE);
    const uint8_t *half = d->bytes + retained_half_at(SIZE, h.half);
    uint64_t len = retained_half_len(SIZE), window = piece;
    retained_scan_init(&s, &h);
    for (bool last = false; !last;) {
      uint64_t n = window < len - s.at ? window : len - s.at, before = s.at;
      last = s.at + n == len;
      while (retained_scan_next(&s, slice_of(half + s.at, before + n - s.at), last, &m)) {
        struct shbuf *b = m.payload.n ? shbuf_dup(&payloads, m.payload) : NULL;
        int err = retained_set(
            &g->r,
            &(struct retained_message){
                .topic = m.topic, .payload = b, .ms = m.ms, .now = m.ms, .slashes = m.slashes, .qos = m.qos, .restored = true});
        assert_int_equal(err, 0);
        shbuf_unref(b);
      }
      window = s.at == before ? window + piece : piece; /* a record is larger than a piece */
    }
    assert_int_equal(s.at, len);
  }
  damaged = retained_scan_damaged(&s) + heads;
  retained_sort(&g->r);
  retained_log_restored(&g->log, &h);
  g->woken = 0;
  return g;
}

static void expect(const struct rig *g, const unsigned want[TOPICS]) {
  for (unsigned t = 0; t < TOPICS; t++) assert_int_equal(value_of(g, t), want[t]);
}

/* What is written is there after a restart, as is what was replaced and cleared, over many fillings of the halves. */
static void test_kept(void **state) {
  (void)state;
  struct disk *d = calloc(1, sizeof *d);
  struct rig *g = NULL;
  unsigned now[TOPICS] = {0};
  d->most = UINT64_MAX;
  g = restart(d, SIZE);
  for (unsigned i = 1; i <= 2000; i++) {
    unsigned t = (unsigned)rng_below(rng_seeded_view(&seeded), TOPICS), v = i % 5 ? i : 0;
    set(g, t, v);
    now[t] = v;
    if (i % 3 == 0) {
      while (job(g, true)) {
      }
      assert_int_equal(retained_log_unsaved(&g->log), 0);
    }
    if (i % 21) continue;
    while (job(g, true)) {
    }
    uint64_t rewrites = g->log.rewrites;
    rig_free(g);
    g = restart(d, i % 2 ? SIZE : 100);
    assert_int_equal(damaged, 0);
    expect(g, now);
    assert_false(job(g, true)); /* nothing has changed */
    assert_true(i < 100 || rewrites);
  }
  rig_free(g);
  free(d);
}

static void test_woken(void **state) {
  (void)state;
  struct disk *d = calloc(1, sizeof *d);
  d->most = UINT64_MAX;
  struct rig *g = restart(d, SIZE);
  set(g, 0, 0);
  assert_int_equal(g->woken, 0); /* there was nothing to clear */
  set(g, 0, 1);
  set(g, 1, 1);
  assert_int_equal(g->woken, 1);
  while (job(g, true)) {
  }
  set(g, 1, 0);
  assert_int_equal(g->woken, 2);
  while (job(g, true)) {
  }
  rig_free(g);
  free(d);
}

/* The disk stops at every byte of a run that fills the halves several times: what is there then is for each topic the value
 * that was written last by a job that was done, or a later one. */
static void test_stopped_anywhere(void **state) {
  (void)state;
  struct disk *d = calloc(1, sizeof *d);
  uint64_t total = UINT64_MAX;
  for (uint64_t most = 0; most < total; most++) {
    unsigned now[TOPICS] = {0}, sure[TOPICS] = {0}, since[TOPICS][ROUND] = {{0}};
    rng_seeded_init(&seeded, 7);
    memset(d, 0, sizeof *d);
    d->most = most;
    struct rig *g = restart(d, SIZE);
    for (unsigned i = 1; i <= 100 && d->written <= most; i++) {
      unsigned t = (unsigned)rng_below(rng_seeded_view(&seeded), TOPICS), v = i % 6 ? i : 0;
      set(g, t, v);
      now[t] = since[t][i % ROUND] = v;
      (void)job(g, true); /* one, so that some of what follows comes while all is written anew */
      while (i % ROUND == 0 && d->written <= most && job(g, true)) {
      }
      if (i % ROUND || d->written > most) continue;
      memcpy(sure, now, sizeof now);
      for (unsigned k = 0; k < TOPICS; k++)
        for (unsigned n = 0; n < ROUND; n++) since[k][n] = now[k];
    }
    if (d->written <= most) total = most; /* that was all */
    rig_free(g);
    g = restart(d, SIZE);
    for (unsigned t = 0; t < TOPICS; t++) {
      unsigned v = value_of(g, t);
      bool right = v == sure[t];
      for (unsigned k = 0; k < ROUND; k++) right |= v == since[t][k];
      assert_true(right);
    }
    /* and it goes on from there */
    d->most = UINT64_MAX;
    for (unsigned t = 0; t < TOPICS; t++) set(g, t, 100 + t);
    while (job(g, true)) {
    }
    rig_free(g);
    g = restart(d, SIZE);
    for (unsigned t = 0; t < TOPICS; t++) assert_int_equal(value_of(g, t), 100 + t);
    rig_free(g);
  }
  assert_true(total > 9000); /* more than two halves */
  free(d);
}

/* Any byte is damaged: no message has another content, those of other records are there, and it is noticed where there was a
 * record. */
static void test_damaged_anywhere(void **state) {
  (void)state;
  struct disk *d = calloc(1, sizeof *d), *bad = calloc(1, sizeof *bad);
  unsigned now[TOPICS] = {0};
  d->most = bad->most = UINT64_MAX;
  struct rig *g = restart(d, SIZE);
  for (unsigned t = 0; t < TOPICS; t++) set(g, t, now[t] = 40 + t);
  while (job(g, true)) {
  }
  set(g, 3, now[3] = 90);
  set(g, 4, now[4] = 0);
  while (job(g, true)) {
  }
  uint64_t used = g->log.at, sealed = g->log.head.sealed, half = retained_half_at(SIZE, g->log.head.half);
  rig_free(g);
  for (uint64_t at = 0; at < SIZE; at++) {
    memcpy(bad->bytes, d->bytes, SIZE);
    bad->bytes[at] ^= 1 + (uint8_t)(at % 255);
    g = restart(bad, SIZE);
    unsigned wrong = 0;
    for (unsigned t = 0; t < TOPICS; t++) {
      unsigned v = value_of(g, t);
      wrong += v != now[t];
      assert_true(v == now[t] || v == 40 + t || v == 0);
    }
    bool in_head = at >= RETAINED_SLOT && at < RETAINED_SLOT + RETAINED_HEAD_LEN; /* generation 1 stands in the second one */
    if (in_head) {
      assert_int_equal(retained_count(&g->r), 0);
      assert_int_equal(damaged, 1);
    } else if (at >= half && at < half + sealed) {
      assert_true(damaged);
      assert_true(wrong <= 1);
    } else {
      assert_true(wrong <= (at >= half && at < half + used));
    }
    rig_free(g);
  }
  free(bad);
  free(d);
}

/* A disk that fails takes nothing from memory; when it works again all is written, wherever the failure was. */
static void test_failing(void **state) {
  (void)state;
  for (unsigned fail = 1; fail < 60; fail++) {
    struct disk *d = calloc(1, sizeof *d);
    unsigned now[TOPICS] = {0}, jobs = 0;
    d->most = UINT64_MAX;
    struct rig *g = restart(d, SIZE);
    for (unsigned i = 1; i <= 200; i++) {
      unsigned t = (unsigned)rng_below(rng_seeded_view(&seeded), TOPICS), v = i % 4 ? i : 0;
      set(g, t, v);
      now[t] = v;
      if (jobs < fail + 3) jobs += job(g, jobs < fail);
      expect(g, now);
    }
    assert_true(g->log.failures > 0);
    while (job(g, true)) {
    }
    expect(g, now);
    rig_free(g);
    g = restart(d, SIZE);
    assert_int_equal(damaged, 0);
    expect(g, now);
    rig_free(g);
    free(d);
  }
}

/* More clearings than may wait, and no memory for any: all is written anew instead. */
static void test_clearings(void **state) {
  (void)state;
  for (int refused = 0; refused < 2; refused++) {
    struct disk *d = calloc(1, sizeof *d);
    d->most = UINT64_MAX;
    struct rig *g = restart(d, SIZE);
    for (unsigned t = 0; t < TOPICS; t++) set(g, t, 5);
    while (job(g, true)) {
    }
    struct mem_fail fail = {.countdown = 3};
    if (refused) g->waits.fail = &fail;
    for (unsigned t = 0; t < 5; t++) set(g, t, 0);
    assert_true(retained_log_unsaved(&g->log) <= 5);
    assert_int_equal(g->log.whole, refused);
    g->waits.fail = NULL;
    while (job(g, true)) {
    }
    rig_free(g);
    g = restart(d, SIZE);
    for (unsigned t = 0; t < TOPICS; t++) assert_int_equal(value_of(g, t), t < 5 ? 0 : 5);
    rig_free(g);
    free(d);
  }
}

/* What the file has no room for is in memory only, and counted. */
static void test_too_much(void **state) {
  (void)state;
  struct disk *d = calloc(1, sizeof *d);
  d->most = UINT64_MAX;
  struct rig *g = restart(d, SIZE);
  for (unsigned t = 0; t < TOPICS; t++) {
    char topic[32];
    snprintf(topic, sizeof topic, "large.%u", t);
    struct shbuf *b = shbuf_new(&payloads, 900);
    memset(b->data, 'x', 900);
    assert_int_equal(retained_set(&g->r, &(struct retained_message){.topic = slice_str(topic), .payload = b}), 0);
    shbuf_unref(b);
  }
  for (int i = 0; i < 100 && job(g, true); i++) {
  }
  assert_false(job(g, true));
  assert_true(g->log.left_out > 0);
  assert_int_equal(retained_count(&g->r), TOPICS);
  rig_free(g);
  free(d);
}

static void test_owner_and_origin(void **state) {
  (void)state;
  struct disk *d = calloc(1, sizeof *d);
  uint8_t id[33] = {4, 127, 0, 0, 1}, buf[4096];
  struct retained_owner o = {.id = slice_of(id, sizeof id)};
  struct mem mem = MEM_INIT("principals", 4096);
  struct principals all;
  struct id self = {{9}};
  struct retained_job j;
  struct retained_scan s;
  struct retained_record m;
  principals_init(&all, &mem, rng_seeded_view(&seeded), &self);
  struct principal *p = principals_get(&all, &(struct principal_name){PRINCIPAL_USER, slice_str("eva")}, &self);
  struct rig *g = restart(d, SIZE);
  struct shbuf *b = shbuf_dup(&payloads, slice_str("21.5"));
  assert_int_equal(retained_set(&g->r, &(struct retained_message){.topic = slice_str("a.b"), .payload = b, .owner = &o}), 0);
  shbuf_unref(b);
  retained_set_origin(&g->r, slice_str("a.b"), p);
  assert_true(retained_log_next(&g->log, buf, sizeof buf, &j));
  retained_log_seal(buf, &j);
  assert_true(j.switches);
  retained_scan_init(&s, &g->log.next);
  assert_true(retained_scan_next(&s, slice_of(buf, j.len), true, &m));
  assert_true(slice_eq(m.owner, o.id) && slice_eq(m.origin, principal_bytes(p)) && slice_eq(m.node, slice_of(self.b, ID_LEN)));
  assert_true(slice_is(m.topic, "a.b") && slice_is(m.payload, "21.5"));
  retained_log_written(&g->log, true);
  principal_unref(p);
  rig_free(g);
  principals_done(&all);
  free(d);
}

static int setup(void **state) {
  (void)state;
  rng_seeded_init(&seeded, 1);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_kept, setup),
                                     cmocka_unit_test_setup(test_woken, setup),
                                     cmocka_unit_test_setup(test_stopped_anywhere, setup),
                                     cmocka_unit_test_setup(test_damaged_anywhere, setup),
                                     cmocka_unit_test_setup(test_failing, setup),
                                     cmocka_unit_test_setup(test_clearings, setup),
                                     cmocka_unit_test_setup(test_too_much, setup),
                                     cmocka_unit_test_setup(test_owner_and_origin, setup)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
