/* Decoding any bytes as a SWIM payload: decode, encode, decode and encode again must agree, and what we accept msgpack-c
 * accepts too. Input: the type's byte, then the payload. */
#include <msgpack.h>
#include <stdlib.h>

#include "wire/swim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok) {
  if (!ok) abort();
}

/* One whole map for msgpack-c, with nothing behind it. */
static int oracle_accepts(const uint8_t *p, size_t n) {
  msgpack_unpacked u;
  size_t off = 0;
  msgpack_unpacked_init(&u);
  int ok = msgpack_unpack_next(&u, (const char *)p, n, &off) == MSGPACK_UNPACK_SUCCESS && off == n &&
           u.data.type == MSGPACK_OBJECT_MAP;
  msgpack_unpacked_destroy(&u);
  return ok;
}

/* false: a limit of elements that what was read did not reach. */
static int encode(uint8_t type, const struct swim_msg *m, uint8_t *buf, size_t cap, struct slice *ret_payload) {
  struct swim_encoder e;
  struct swim_update u;
  struct swim_msg rest = *m;
  swim_encode_begin(&e, buf, cap, type, m);
  while (swim_update_next(&rest, &u))
    if (!swim_encode_update(&e, &u)) return 0;
  require(rest.update_count == 0);
  *ret_payload = swim_encode_end(&e);
  return ret_payload->n > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1 || size > (1 << 20)) return 0;
  struct swim_msg first, second;
  struct slice pa, pb;
  if (swim_decode(data[0], slice_of(data + 1, size - 1), &first) != 0) return 0;
  require(oracle_accepts(data + 1, size - 1));
  size_t cap = 2 * size + 512;
  uint8_t *a = malloc(cap), *b = malloc(cap);
  if (a && b && encode(data[0], &first, a, cap, &pa)) {
    require(oracle_accepts(pa.p, pa.n));
    require(swim_decode(data[0], pa, &second) == 0);
    require(second.update_count == first.update_count);
    require(encode(data[0], &second, b, cap, &pb));
    require(slice_eq(pa, pb));
  }
  free(a);
  free(b);
  return 0;
}
