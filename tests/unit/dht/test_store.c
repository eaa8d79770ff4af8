/* Records held for the mesh, without a mesh around them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "dht/store.h"

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

/* A record with a key of its own, in a batch of `len` octets and the rest. */
static int put(uint8_t publisher, size_t len, uint32_t ttl, nanotime now) {
  static const uint8_t octets[KAD_MAX_RECORD];
  struct kad_batch b = {.count = 1, .seq = ++seq, .entries = {{.kind = DHT_SERVICE, .ttl = ttl}}};
  struct kad_signed o = {slice_of(octets, len), slice_of(octets, 64), slice_of(octets, 44), 0};
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
  }
  for (int i = 0; i < 1000; i++) assert_int_equal(put(2, 1000, 60, now), 0);
  store_done(&s);
  assert_int_equal(m.bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_few_batches_keep_little)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
