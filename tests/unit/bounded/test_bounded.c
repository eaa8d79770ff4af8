#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "bounded/bucket.h"
#include "bounded/heap.h"
#include "bounded/htab.h"
#include "bounded/lru.h"
#include "bounded/serial.h"
#include "bounded/slab.h"
#include "unit/broken.h"

static struct rng_seeded seeded;
static struct rng rng(void) {
  rng_seeded_init(&seeded, 1);
  return rng_seeded_view(&seeded);
}

struct entry {
  union {
    struct hlink h;
    struct lru_link lru;
  };
  uint32_t key;
};

static bool key_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(&container_of(h, struct entry, h)->key, key, len) == 0;
}

#define N 2000

static void table_finds_what_is_in_it(void **state) {
  (void)state;
  struct mem m = MEM_INIT("test", 0);
  struct htab t;
  htab_init(&t, &m, rng(), N, key_eq);
  static struct entry e[N + 1];
  for (uint32_t i = 0; i < N; i++) {
    e[i].key = i;
    assert_null(htab_find(&t, &i, 4));
    assert_int_equal(htab_insert(&t, &e[i].h, &i, 4), 0);
  }
  e[N].key = N;
  assert_int_equal(htab_insert(&t, &e[N].h, &e[N].key, 4), MACULA_EFULL);
  assert_int_equal(t.refused, 1);
  uint32_t seen = 0;
  for (struct hlink *h = NULL; (h = htab_next(&t, h));) seen++;
  assert_int_equal(seen, N);
  size_t full = m.bytes;
  for (uint32_t i = 0; i < N; i++) {
    assert_ptr_equal(htab_find(&t, &i, 4), &e[i].h);
    htab_remove(&t, &e[i].h);
    assert_null(htab_find(&t, &i, 4));
    if (i == N - 10) assert_true(m.bytes < full / 8); /* slots are given back */
    if (i % 16 == 0) HOLDS(htab_check(&t));
  }
  assert_int_equal(m.bytes, 0);
  htab_done(&t);
}

static void table_survives_refused_memory(void **state) {
  (void)state;
  struct mem_fail f = {.countdown = 1};
  struct mem m = {.name = "test", .fail = &f};
  struct htab t;
  htab_init(&t, &m, rng(), N, key_eq);
  static struct entry e[100];
  assert_int_equal(htab_insert(&t, &e[0].h, &e[0].key, 4), MACULA_ENOMEM);
  assert_int_equal(htab_insert(&t, &e[0].h, &e[0].key, 4), 0);
  m.limit = m.bytes; /* it cannot grow: slower, not broken */
  for (uint32_t i = 1; i < 100; i++) {
    e[i].key = i;
    assert_int_equal(htab_insert(&t, &e[i].h, &i, 4), 0);
  }
  for (uint32_t i = 0; i < 100; i++) assert_ptr_equal(htab_find(&t, &i, 4), &e[i].h);
  htab_done(&t);
  assert_int_equal(m.bytes, 0);
}

static void heap_gives_the_earliest_first(void **state) {
  (void)state;
  struct mem m = MEM_INIT("test", 0);
  struct heap h;
  heap_init(&h, &m, N);
  static struct heap_link e[N + 1];
  struct rng r = rng();
  assert_true(heap_deadline(&h) == TIME_NEVER);
  for (uint32_t i = 0; i < N; i++) assert_int_equal(heap_set(&h, &e[i], 1 + rng_below(r, 1000)), 0);
  assert_int_equal(heap_set(&h, &e[N], 1), MACULA_EFULL);
  for (uint32_t i = 0; i < N; i += 3) heap_remove(&h, &e[i]);
  for (uint32_t i = 1; i < N; i += 3) assert_int_equal(heap_set(&h, &e[i], 1 + rng_below(r, 1000)), 0);
  heap_remove(&h, &e[0]);
  assert_null(heap_pop_due(&h, 0));
  nanotime last = 0;
  uint32_t count = 0;
  for (struct heap_link *l; (l = heap_pop_due(&h, 2000)); count++) {
    assert_true(l->at >= last);
    assert_int_equal(l->pos, 0);
    last = l->at;
  }
  assert_int_equal(count, N - (N + 2) / 3);
  heap_done(&h);
  assert_int_equal(m.bytes, 0);
}

static void heap_survives_refused_memory(void **state) {
  (void)state;
  struct mem_fail f = {.countdown = 1};
  struct mem m = {.name = "test", .fail = &f};
  struct heap h;
  struct heap_link e = {0};
  heap_init(&h, &m, N);
  assert_int_equal(heap_set(&h, &e, 1), MACULA_ENOMEM);
  assert_int_equal(e.pos, 0);
  assert_int_equal(heap_set(&h, &e, 1), 0);
  heap_done(&h);
}

static void lru_evicts_the_least_recently_used(void **state) {
  (void)state;
  struct mem m = MEM_INIT("test", 0);
  struct lru l;
  lru_init(&l, &m, rng(), 2, key_eq);
  struct entry e[3] = {{.key = 0}, {.key = 1}, {.key = 2}};
  struct lru_link *out;
  assert_int_equal(lru_insert(&l, &e[0].lru, &e[0].key, 4, &out), 0);
  assert_int_equal(lru_insert(&l, &e[1].lru, &e[1].key, 4, &out), 0);
  assert_null(out);
  lru_touch(&l, lru_find(&l, &e[0].key, 4));
  assert_int_equal(lru_insert(&l, &e[2].lru, &e[2].key, 4, &out), 0);
  assert_ptr_equal(out, &e[1].lru);
  assert_int_equal(l.evicted, 1);
  assert_null(lru_find(&l, &e[1].key, 4));
  assert_ptr_equal(lru_oldest(&l), &e[0].lru);
  lru_remove(&l, &e[0].lru);
  lru_remove(&l, &e[2].lru);
  assert_null(lru_oldest(&l));
  lru_done(&l);
  assert_int_equal(m.bytes, 0);
}

static void bucket_refills_with_time(void **state) {
  (void)state;
  struct bucket b = {0};
  for (int i = 0; i < 5; i++) assert_true(bucket_take(&b, 10, 5, 1));
  assert_false(bucket_take(&b, 10, 5, 1));
  assert_true(bucket_take(&b, 10, 5, 1 + 110 * NS_MS));
  assert_false(bucket_take(&b, 10, 5, 1 + 110 * NS_MS));
  for (int i = 0; i < 5; i++) assert_true(bucket_take(&b, 10, 5, 100 * NS_SEC)); /* never more than the burst */
  assert_false(bucket_take(&b, 10, 5, 100 * NS_SEC));
}

/* Blocks given back in any order are handed out again, zeroed, and the last of a chunk frees it. */
static void slabs_return_what_they_took(void **state) {
  (void)state;
  enum { BLOCKS = 3000, SIZE = 100 };
  static uint8_t *v[BLOCKS];
  struct mem m = MEM_INIT("test", 0);
  struct slab s;
  slab_init(&s, &m, SIZE);
  slab_free(&s, NULL);
  assert_int_equal(m.bytes, 0);
  struct rng r = rng();
  size_t taken = 0, most = 0;
  for (int step = 0; step < 100000; step++) {
    size_t i = rng_below(r, BLOCKS);
    if (v[i]) {
      for (int k = 0; k < SIZE; k++) assert_int_equal(v[i][k], i & 0xff);
      slab_free(&s, v[i]);
      v[i] = NULL;
      taken--;
    } else {
      v[i] = slab_alloc(&s);
      assert_non_null(v[i]);
      assert_int_equal((uintptr_t)v[i] % sizeof(uint64_t), 0);
      for (int k = 0; k < SIZE; k++) assert_int_equal(v[i][k], 0);
      memset(v[i], (int)(i & 0xff), SIZE);
      taken++;
    }
    if (taken > most) most = taken;
    if (step % 64 == 0) HOLDS(slabs_check(&s, 1)); /* walks all that is free */
  }
  assert_true(m.peak <= most * (SIZE + 32) + SLAB_CHUNK);
  for (int i = 0; i < BLOCKS; i++) slab_free(&s, v[i]);
  assert_int_equal(m.bytes, 0);
  assert_int_equal(m.mapped, 0);
  assert_int_equal(m.blocks, 0);
}

/* Whichever allocation fails, what was taken before stays, and a chunk that could not be had is asked for again. */
static void slabs_survive_refused_memory(void **state) {
  (void)state;
  for (uint64_t n = 1; n <= 8; n++) {
    struct mem_fail fail = {.countdown = n};
    struct mem m = MEM_INIT("test", 0);
    struct slab s;
    void *v[60];
    m.fail = &fail;
    slab_init(&s, &m, SLAB_CHUNK / 2 - 64); /* the largest */
    for (int i = 0; i < 60; i++)
      if (!(v[i] = slab_alloc(&s))) v[i] = slab_alloc(&s);
    assert_true(fail.seen > n);
    assert_int_equal(m.refused, 1);
    for (int i = 0; i < 60; i++) {
      assert_non_null(v[i]);
      memset(v[i], 1, SLAB_CHUNK / 2 - 64);
    }
    for (int i = 0; i < 60; i++) slab_free(&s, v[(i * 7) % 60]);
    assert_int_equal(m.bytes, 0);
  }
}

/* A block of each chunk of one size stays: when that is enough, other sizes are of the heap. */
static void slabs_share_what_they_leave_unused(void **state) {
  (void)state;
  enum { SIZES = 8, BLOCKS = 400 };
  struct mem m = MEM_INIT("test", 0);
  struct slab_room room = {.most = 4 * SLAB_CHUNK};
  struct slab s[SIZES];
  static void *v[SIZES][BLOCKS];
  size_t kept = 0;
  for (int k = 0; k < SIZES; k++) {
    size_t size = (size_t)(k + 1) * 128, each = SLAB_CHUNK / (size + 8);
    slab_init(&s[k], &m, size);
    s[k].room = &room;
    for (int i = 0; i < BLOCKS; i++) {
      assert_non_null(v[k][i] = slab_alloc(&s[k]));
      for (size_t at = 0; at < size; at++) assert_int_equal(((uint8_t *)v[k][i])[at], 0);
      memset(v[k][i], 1, size);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
      if (i % each == 0) {
        kept += size + 32;
        continue;
      }
      slab_free(&s[k], v[k][i]);
      v[k][i] = NULL;
    }
  }
  size_t one_size = BLOCKS * (SIZES * 128 + 8) + SLAB_CHUNK; /* it comes to more than may be unused once */
  assert_true(m.bytes < kept + room.most + one_size);
  for (int k = 0; k < SIZES; k++)
    for (int i = 0; i < BLOCKS; i++) slab_free(&s[k], v[k][i]);
  assert_int_equal(room.unused, 0);
  assert_int_equal(m.mapped, 0);
  assert_int_equal(m.bytes, 0);
}

static void a_slab_keeps_to_its_account(void **state) {
  (void)state;
  struct mem m = MEM_INIT("test", 2 * SLAB_CHUNK);
  struct slab s;
  void *first = NULL;
  size_t count = 0;
  slab_init(&s, &m, 1000);
  for (void *p; (p = slab_alloc(&s)); first = p) {
    count++;
    if (first) *(void **)p = first;
  }
  assert_true(count >= 2 * (SLAB_CHUNK / 1016 - 1) && m.bytes <= m.limit && m.refused == 1);
  while (first) {
    void *next = *(void **)first;
    slab_free(&s, first);
    first = next;
  }
  assert_int_equal(m.bytes, 0);
}

/* ---- broken invariants are noticed -----------------------------------------------------------------------------------------
 */
static void a_broken_list_is_noticed(void **state) {
  (void)state;
  struct list head, v[3];
  list_init(&head);
  assert_true(list_has(&head, 0));
  for (int i = 0; i < 3; i++) list_append(&head, &v[i]);
  assert_true(list_has(&head, 3));
  assert_false(list_has(&head, 2));
  v[1].prev = &v[2];
  assert_false(list_holds(&head));
  v[1].prev = &v[0];
  v[2].next = &v[0]; /* round in a circle without the head */
  assert_false(list_holds(&head));
  v[2].next = NULL;
  assert_false(list_holds(&head));
}

static void a_broken_table_is_noticed(void **state) {
  (void)state;
  enum { FEW = 40 };
  struct mem m = MEM_INIT("test", 0);
  struct htab t;
  static struct entry e[FEW];
  htab_init(&t, &m, rng(), N, key_eq);
  HOLDS(htab_check(&t));
  BREAKS(t.count, 1, htab_check(&t), "htab: the slots are no power of two");
  for (uint32_t i = 0; i < FEW; i++) {
    e[i].key = i;
    assert_int_equal(htab_insert(&t, &e[i].h, &i, 4), 0);
    HOLDS(htab_check(&t));
  }
  BREAKS(t.count, FEW + 1, htab_check(&t), "htab: fewer entries than counted");
  BREAKS(t.count, FEW - 1, htab_check(&t), "htab: more entries than counted");
  BREAKS(t.mask, t.mask - 1, htab_check(&t), "htab: the slots are no power of two");
  BREAKS(e[5].h.hash, e[5].h.hash + 1, htab_check(&t), "htab: an entry is in another chain than its hash says");
  assert_true(htab_has(&t, &e[5].h, &e[5].key, 4));
  assert_false(htab_has(&t, &e[5].h, &e[6].key, 4));
  struct hlink **first = t.slots;
  while (!*first) first++;
  BREAKS((*first)->next, *first, htab_check(&t), "htab: more entries than counted");
  for (uint32_t i = 0; i < FEW; i++) htab_remove(&t, &e[i].h);
  HOLDS(htab_check(&t));
}

/* While slots become more or fewer, each entry is found, and met once by whoever walks over all of them. */
static void a_table_grows_by_little(void **state) {
  (void)state;
  enum { MANY = 3000 };
  struct mem m = MEM_INIT("test", 0);
  struct htab t;
  static struct entry e[MANY];
  uint32_t halfway = 0;
  htab_init(&t, &m, rng(), MANY, key_eq);
  for (uint32_t step = 0; step < 2 * MANY; step++) {
    uint32_t i = step % MANY, n = 0;
    e[i].key = i;
    if (step < MANY)
      assert_int_equal(htab_insert(&t, &e[i].h, &i, 4), 0);
    else
      htab_remove(&t, &e[i].h);
    if (!t.old || step % 3) continue;
    halfway++;
    HOLDS(htab_check(&t));
    for (struct hlink *h = NULL; (h = htab_next(&t, h)); n++)
      assert_true(htab_has(&t, h, &container_of(h, struct entry, h)->key, 4));
    assert_int_equal(n, t.count);
  }
  assert_true(halfway > 50);
  assert_int_equal(m.bytes, 0);
}

static void a_broken_heap_is_noticed(void **state) {
  (void)state;
  enum { FEW = 20 };
  struct mem m = MEM_INIT("test", 0);
  struct heap h;
  struct heap_link e[FEW] = {0};
  struct rng r = rng();
  heap_init(&h, &m, FEW);
  for (int step = 0; step < 2000; step++) {
    struct heap_link *l = &e[rng_below(r, FEW)];
    if (rng_below(r, 3))
      assert_int_equal(heap_set(&h, l, 1 + rng_below(r, 50)), 0);
    else
      heap_remove(&h, l);
    HOLDS(heap_check(&h));
  }
  for (int i = 0; i < FEW; i++) assert_int_equal(heap_set(&h, &e[i], 10), 0);
  BREAKS(h.v[7]->pos, 7, heap_check(&h), "heap: an entry does not know its place");
  BREAKS(h.v[7]->at, 9, heap_check(&h), "heap: an entry is due before the one above it");
  BREAKS(h.count, h.cap + 1, heap_check(&h), "heap: more entries than room");
  heap_done(&h);
}

static void a_broken_lru_is_noticed(void **state) {
  (void)state;
  enum { FEW = 20 };
  struct mem m = MEM_INIT("test", 0);
  struct lru l;
  struct lru_link *out;
  static struct entry e[FEW + 1];
  lru_init(&l, &m, rng(), FEW, key_eq);
  for (uint32_t i = 0; i <= FEW; i++) {
    e[i].key = i;
    assert_int_equal(lru_insert(&l, &e[i].lru, &i, 4, &out), 0);
    HOLDS(lru_check(&l));
  }
  lru_touch(&l, &e[7].lru);
  HOLDS(lru_check(&l));
  BREAKS(l.tab.count, FEW - 1, lru_check(&l), "htab: more entries than counted");
  BREAKS(l.tab.max, FEW - 1, lru_check(&l), "lru: more entries than may be");
  list_remove(&e[3].lru.age);
  assert_string_equal(lru_check(&l), "lru: the order does not hold what the table holds");
  list_append(&l.order, &e[0].lru.age); /* it made room for the last */
  assert_string_equal(lru_check(&l), "lru: an entry of the order is not in the table");
  list_remove(&e[0].lru.age);
  list_append(&l.order, &e[3].lru.age);
  HOLDS(lru_check(&l));
  while ((out = lru_oldest(&l))) lru_remove(&l, out);
}

static void a_broken_bucket_is_noticed(void **state) {
  (void)state;
  struct bucket b = {0};
  assert_true(bucket_take(&b, 10, 5, 1));
  assert_true(bucket_holds(&b, 5));
  b.tokens = 6;
  assert_false(bucket_holds(&b, 5));
  b.tokens = __builtin_nan("");
  assert_false(bucket_holds(&b, 5));
}

static void a_broken_slab_is_noticed(void **state) {
  (void)state;
  enum { BLOCKS = 60 };
  struct mem m = MEM_INIT("test", 0);
  struct slab_room room = {.most = SIZE_MAX};
  struct slab s[2];
  void *v[BLOCKS];
  slabs_init(s, 2, &m, &room);
  for (int i = 0; i < BLOCKS; i++) {
    assert_non_null(v[i] = slab_alloc(&s[1]));
    HOLDS(slabs_check(s, 2));
  }
  for (int i = 0; i < BLOCKS; i += 3) slab_free(&s[1], v[i]);
  BREAKS(room.unused, room.unused + 1, slabs_check(s, 2), "slab: the blocks unused are not what their room says");
  if (!list_empty(&s[1].open)) { /* with AddressSanitizer there are no chunks */
    struct chunk {
      struct list in;
      void *free;
      uint32_t used, cut;
    } *c = (void *)s[1].open.next;
    BREAKS(c->used, c->used - 1, slabs_check(s, 2), "slab: a block is neither in use nor free");
    BREAKS(c->used, c->cut + 1, slabs_check(s, 2), "slab: a chunk has other blocks than were cut of it");
    BREAKS(c->free, (void *)s, slabs_check(s, 2), "slab: a free block is of another chunk");
    BREAKS(*(void **)c->free, c->free, slabs_check(s, 2), "slab: the free blocks of a chunk go round in circles");
    list_remove(&c->in);
    list_append(&s[1].closed, &c->in);
    assert_string_equal(slabs_check(s, 2), "slab: a chunk is in the wrong list");
    list_remove(&c->in);
    list_append(&s[1].open, &c->in);
  }
  for (int i = 0; i < BLOCKS; i++)
    if (i % 3) slab_free(&s[1], v[i]);
  HOLDS(slabs_check(s, 2));
  assert_int_equal(m.bytes, 0);
}

/* Each id is given once, is known to whoever gave it, and says nothing of the next one. */
static void serials_are_not_guessed(void **state) {
  (void)state;
  enum { MANY = 1000 };
  static uint8_t id[MANY][CALL_ID_LEN];
  struct serial s, other;
  struct rng r = rng();
  serial_init(&s, r);
  serial_init(&other, r);
  uint8_t later[CALL_ID_LEN], foreign[CALL_ID_LEN];
  struct serial ahead = s;
  for (int i = 0; i < MANY; i++) (void)serial_next(&s, id[i]);
  for (int i = 0; i <= MANY; i++) (void)serial_next(&ahead, later);
  assert_false(serial_gave(&s, slice_of(later, CALL_ID_LEN)));
  assert_false(serial_gave(&s, serial_next(&other, foreign)));
  assert_false(serial_gave(&s, slice_of(id[0], CALL_ID_LEN - 1)) || serial_gave(&s, SLICE_NONE));
  unsigned changed = 0;
  for (int i = 0; i < MANY; i++) {
    assert_true(serial_gave(&s, slice_of(id[i], CALL_ID_LEN)));
    for (int k = 0; k < i; k++) assert_memory_not_equal(id[i], id[k], CALL_ID_LEN / 2);
    for (int k = 0; i && k < CALL_ID_LEN; k++) changed += (unsigned)__builtin_popcount(id[i][k] ^ id[i - 1][k]);
    id[i][i % CALL_ID_LEN] ^= 1;
    assert_false(serial_gave(&s, slice_of(id[i], CALL_ID_LEN)));
    id[i][i % CALL_ID_LEN] ^= 1;
  }
  assert_in_range(changed, (MANY - 1) * 60, (MANY - 1) * 68); /* of 128 bits half */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(table_finds_what_is_in_it),
                                     cmocka_unit_test(table_survives_refused_memory),
                                     cmocka_unit_test(heap_gives_the_earliest_first),
                                     cmocka_unit_test(heap_survives_refused_memory),
                                     cmocka_unit_test(lru_evicts_the_least_recently_used),
                                     cmocka_unit_test(bucket_refills_with_time),
                                     cmocka_unit_test(slabs_return_what_they_took),
                                     cmocka_unit_test(slabs_survive_refused_memory),
                                     cmocka_unit_test(slabs_share_what_they_leave_unused),
                                     cmocka_unit_test(a_slab_keeps_to_its_account),
                                     cmocka_unit_test(a_broken_list_is_noticed),
                                     cmocka_unit_test(a_broken_table_is_noticed),
                                     cmocka_unit_test(a_table_grows_by_little),
                                     cmocka_unit_test(a_broken_heap_is_noticed),
                                     cmocka_unit_test(a_broken_lru_is_noticed),
                                     cmocka_unit_test(a_broken_bucket_is_noticed),
                                     cmocka_unit_test(a_broken_slab_is_noticed),
                                     cmocka_unit_test(serials_are_not_guessed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
