/* Records held for the mesh, without a mesh around them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "dht/store.h"
#include "unit/broken.h"

static struct store s;
static struct mem m;
static struct rng_seeded seed;
static uint64_t seq;

static void start(size_t limit) {
  rng_seeded_init(&seed, 1);
  m = MEM_INIT("records", limit);
  struct dht_config cfg = {.records_mem = &m,
                           .rng = rng_seeded_view(&seed),
                           .max_records = 100000,
                           .max_publisher = 25000,
                           .max_key_service = 32,
                           .max_key_subscription = 1024,
                           .max_tombstones = 1000};
  store_init(&s, &cfg);
}

/* A record with a key of its own, in a batch of `len` bytes and the rest. */
static int put(uint8_t publisher, size_t len, uint32_t ttl, nanotime now) {
  static const uint8_t data[KAD_MAX_RECORD];
  struct kad_batch b = {.count = 1, .seq = ++seq, .entries = {{.kind = DHT_SERVICE, .ttl = ttl}}};
  struct kad_signed o = {slice_of(data, len), slice_of(data, 64), slice_of(data, 44), 0};
  struct id id = {.b = {publisher}};
  struct store_put ret;
  memcpy(b.entries[0].key.b, &seq, sizeof seq);
  return store_put(&s, &o, &b, &id, now, &ret);
}

/* One that keeps a batch of each chunk, size after size, leaves the others their part of the account. */
static void test_few_batches_keep_little(void **state) {
  (void)state;
  nanotime now = NS_SEC;
  start(8 << 20);
  for (size_t size = 0; size < 20; size++) {
    size_t len = 300 + size * SLAB_STEP, block = sizeof(struct store_batch) + len + 64 + 44;
    size_t each = SLAB_CHUNK / ((block + SLAB_STEP - 1) / SLAB_STEP * SLAB_STEP + 8);
    for (size_t i = 0; i < 3000; i++) (void)put(1, len, i % each ? 60 : 3600, now);
    now += 70 * NS_SEC;
    store_expire(&s, now);
    HOLDS(store_check(&s));
    assert_int_equal(store_owned(&s), m.bytes);
  }
  for (int i = 0; i < 1000; i++) assert_int_equal(put(2, 1000, 60, now), 0);
  store_done(&s);
  assert_int_equal(m.bytes, 0);
}

/* The newest and the oldest word of many publishers about few keys, tombstones, limits and time. */
static void test_any_history_holds(void **state) {
  (void)state;
  static const uint8_t data[KAD_MAX_RECORD];
  nanotime now = NS_SEC;
  start(60000);
  s.max_publisher = 12;
  s.max_tombstones = 10;
  s.max_key_service = 5;
  s.max_records = 40;
  for (int step = 0; step < 20000; step++) {
    struct rng r = rng_seeded_view(&seed);
    struct kad_batch b = {.count = 1 + (uint32_t)rng_below(r, 16), .seq = 1 + rng_below(r, 20000)};
    struct kad_signed o = {slice_of(data, rng_below(r, KAD_MAX_RECORD)), slice_of(data, 64), slice_of(data, 44), 0};
    struct id id = {.b = {(uint8_t)rng_below(r, 8)}}, key = {.b = {(uint8_t)rng_below(r, 10)}};
    struct store_put ret;
    for (uint32_t i = 0; i < b.count; i++) {
      b.entries[i] = (struct kad_entry){.kind = DHT_SERVICE, .ttl = rng_below(r, 3) ? 1 + (uint32_t)rng_below(r, 50) : 0};
      b.entries[i].key.b[0] = (uint8_t)rng_below(r, 10);
    }
    if (rng_below(r, 3) == 0) now += rng_below(r, 3 * NS_SEC);
    if (rng_below(r, 10) == 0) store_expire(&s, now);
    if (rng_below(r, 20) == 0) store_drop(&s, &key, DHT_SERVICE, &id);
    (void)store_put(&s, &o, &b, &id, now, &ret);
    HOLDS(store_check(&s));
    assert_int_equal(store_owned(&s), m.bytes);
  }
  assert_true(s.refused_full && s.refused_old && s.expired && s.dropped_tombstones);
  store_done(&s);
  assert_int_equal(m.bytes, 0);
}

static void test_broken_ones_are_noticed(void **state) {
  (void)state;
  start(8 << 20);
  for (int i = 0; i < 3; i++) assert_int_equal(put(1, 300, 60, NS_SEC), 0);
  assert_int_equal(put(2, 300, 60, NS_SEC), 0);
  assert_int_equal(put(2, 300, 0, NS_SEC), 0); /* a tombstone */
  struct store_record *r = container_of(s.live.v[0], struct store_record, due);
  struct store_record *gone = container_of(s.dead.v[0], struct store_record, due);
  struct store_key *k = r->key;
  struct store_publisher *p = r->batch->publisher;
  const char *counts = "store: a publisher's records are not as many as counted";
  const char *batches = "store: a publisher's batches are not as many, or as large, as counted";
  BREAKS(p->records, p->records + 1, store_check(&s), counts);
  BREAKS(gone->batch->publisher->tombstones, 0, store_check(&s), counts);
  BREAKS(p->batches, p->batches + 1, store_check(&s), batches);
  BREAKS(p->bytes, p->bytes - 1, store_check(&s), batches);
  BREAKS(p->bytes, s.max_publisher_bytes + 1, store_check(&s), "store: a publisher has more than its share");
  BREAKS(p->id.b[1], 1, store_check(&s), "store: a batch is of another publisher");
  BREAKS(r->batch->refs, 2, store_check(&s), batches);
  BREAKS(r->batch->refs, 0, store_check(&s), "store: a batch is held by more records than it can have, or by none");
  BREAKS(r->batch->publisher, gone->batch->publisher, store_check(&s), "store: a batch is of another publisher");
  BREAKS(r->tombstone, true, store_check(&s), "store: a record is in another list");
  BREAKS(r->due.pos, 0, store_check(&s), "heap: an entry does not know its place");
  BREAKS(k->live_count, 2, store_check(&s), "store: the records of a key are not as many as counted");
  BREAKS(k->k.key.b[20], 1, store_check(&s), "store: a key is not found");
  BREAKS(s.max_key_service, 0, store_check(&s), "store: a key has more records than it may");
  BREAKS(s.max_records, 1, store_check(&s), "store: more records than may be");
  BREAKS(s.room.unused, s.room.unused + 1, store_check(&s), "slab: the blocks unused are not what their room says");
  struct heap_link *last = s.dead.v[0];
  s.dead.count = 0;
  last->pos = 0;
  assert_string_equal(store_check(&s), "store: a record has no end");
  s.dead.count = last->pos = 1;
  struct heap_link stray = {0};
  assert_int_equal(heap_set(&s.live, &stray, TIME_NEVER), 0);
  assert_string_equal(store_check(&s), "store: the ends are not as many as the records");
  heap_remove(&s.live, &stray);
  list_remove(&gone->of_key);
  gone->key->dead_count--;
  assert_string_equal(store_check(&s), "store: a key without records");
  gone->key->dead_count++;
  list_append(&gone->key->dead, &gone->of_key);
  HOLDS(store_check(&s));
  struct store_publisher none = {.id = {{9}}};
  assert_int_equal(htab_insert(&s.publishers, &none.h, &none.id, sizeof none.id), 0);
  assert_string_equal(store_check(&s), "store: a publisher without batches");
  htab_remove(&s.publishers, &none.h);
  store_done(&s);
  assert_int_equal(m.bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_few_batches_keep_little), cmocka_unit_test(test_any_history_holds),
                                     cmocka_unit_test(test_broken_ones_are_noticed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
