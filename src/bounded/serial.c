#include "bounded/serial.h"

#include <string.h>

#include "bounded/htab.h"

static uint64_t round_of(const struct serial *s, int i, uint64_t v) { return siphash13(s->key[i], &v, sizeof v); }

void serial_init(struct serial *s, struct rng rng) {
  rng_fill(rng, s->key, sizeof s->key);
  s->last = 0;
}

struct slice serial_next(struct serial *s, uint8_t ret_id[CALL_ID_LEN]) {
  uint64_t half[2];
  half[0] = round_of(s, 0, ++s->last);
  half[1] = s->last ^ round_of(s, 1, half[0]);
  memcpy(ret_id, half, sizeof half);
  return slice_of(ret_id, CALL_ID_LEN);
}

bool serial_gave(const struct serial *s, struct slice id) {
  uint64_t half[2];
  if (!s->last || id.n != sizeof half) return false;
  memcpy(half, id.p, sizeof half);
  uint64_t count = half[1] ^ round_of(s, 1, half[0]);
  return count && count <= s->last && round_of(s, 0, count) == half[0];
}
