/* The corpus of fuzz_mqtt_websocket, replayed; the fuzzer aborts on a disagreement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"

#include "../../../fuzz/fuzz_mqtt_websocket.c"
#include "../../../fuzz/replay.h"

static void test_corpus(void **state) {
  (void)state;
  assert_true(replay(TEST_SOURCE_DIR "/fuzz/corpus/mqtt_websocket") > 0);
}

/* Frames that are mostly right, so that a fault is found behind others. */
static size_t random_frame(struct rng rng, uint8_t *out) {
  static const uint8_t firsts[] = {0x82, 0x82, 0x02, 0x00, 0x80, 0x80, 0x89, 0x8a, 0x88, 0x09, 0x81, 0xc2, 0x83, 0x8b};
  uint64_t dice = rng_u64(rng);
  size_t few = dice >> 8 & 15, n = few < 12 ? few : few < 14 ? 100 + (dice >> 16 & 63) : dice >> 16 & 1023;
  uint8_t first = firsts[(dice & 255) % (dice & 0x1000000 ? 9 : sizeof firsts)];
  if (first & 8 && !(dice & 0x40000000)) n %= 126;
  size_t h = ws_header(WS_BINARY, n, out);
  out[0] = first;
  if (dice >> 32 & 63) out[1] |= 0x80;
  rng_fill(rng, out + h, n + 4);
  if (first == 0x88 && n >= 2) { /* a code that often may be sent */
    uint16_t code = (uint16_t)(dice >> 40 & 1 ? 1000 : 990 + (dice >> 41 & 31));
    out[h + 4] = out[h] ^ (uint8_t)(code >> 8);
    out[h + 5] = out[h + 1] ^ (uint8_t)code;
    for (size_t i = 2; i < n; i++) out[h + 4 + i] = out[h + (i & 3)] ^ (dice >> 50 & 7 ? 'a' : out[h + 4 + i]);
  }
  return h + 4 + n;
}

static void test_random(void **state) {
  static uint8_t in[1 + 12 * 1100];
  struct rng_seeded seeded;
  (void)state;
  rng_seeded_init(&seeded, 1);
  struct rng rng = rng_seeded_view(&seeded);
  for (int round = 0; round < 20000; round++) {
    uint64_t dice = rng_u64(rng);
    size_t n = 1;
    in[0] = 0x80 | (uint8_t)dice;
    for (unsigned i = 0; i < 1 + (dice >> 8) % 12; i++) n += random_frame(rng, in + n);
    if (!(dice >> 16 & 7)) in[1 + (dice >> 20) % (n - 1)] ^= (uint8_t)(1u << (dice >> 60 & 7));
    LLVMFuzzerTestOneInput(in, n - ((dice >> 56 & 3) ? 0 : (dice >> 40) % n));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_corpus), cmocka_unit_test(test_random)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
