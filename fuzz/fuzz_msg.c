/* Decoding any bytes: decode, encode, decode and encode again must agree, and what we accept msgpack-c accepts too.
 * Input: the type's byte, then the payload. */
#include <msgpack.h>
#include <stdlib.h>

#include "wire/cursor.h"
#include "wire/frame.h"
#include "wire/msg.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1 || size > FRAME_MAX_PAYLOAD) return 0;
  struct msg first, second;
  if (msg_decode(data[0], slice_of(data + 1, size - 1), &first) != 0) return 0;
  require(oracle_accepts(data + 1, size - 1));
  size_t n = msg_size(&first);
  uint8_t *a = malloc(n), *b = malloc(n);
  if (a && b && n - FRAME_HEADER_LEN <= FRAME_MAX_PAYLOAD) {
    require(msg_encode(&first, a, n) == (ptrdiff_t)n);
    require(oracle_accepts(a + FRAME_HEADER_LEN, n - FRAME_HEADER_LEN));
    /* Encoding writes fields that were absent, so a payload near the limit of elements may pass it. */
    if (msg_decode(a[1], slice_of(a + FRAME_HEADER_LEN, n - FRAME_HEADER_LEN), &second) == 0) {
      require(msg_size(&second) == n);
      require(msg_encode(&second, b, n) == (ptrdiff_t)n);
      require(memcmp(a, b, n) == 0);
    } else {
      require(size > CURSOR_MAX_ELEMENTS / 2);
    }
  }
  free(a);
  free(b);
  return 0;
}
