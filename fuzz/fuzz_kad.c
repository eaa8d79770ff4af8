/* Payloads of the DHT: decode, encode, decode and encode again must agree. Input: the type's byte (00: a signed batch), then
 * the payload. */
#include <stdlib.h>

#include "wire/cursor.h"
#include "wire/frame.h"
#include "wire/kad.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok) {
  if (!ok) abort();
}

static void batch(struct slice in) {
  struct kad_batch first, second;
  uint8_t a[KAD_MAX_RECORD], b[KAD_MAX_RECORD];
  if (kad_batch_decode(in, &first)) return;
  size_t n = kad_batch_encode(&first, a, sizeof a);
  require(n == kad_batch_encode(&first, NULL, 0) && n <= sizeof a);
  require(kad_batch_decode(slice_of(a, n), &second) == 0);
  require(kad_batch_encode(&second, b, sizeof b) == n && memcmp(a, b, n) == 0);
}

static void message(uint8_t type, struct slice in) {
  struct kad_msg first, second, list;
  struct kad_contact c;
  struct kad_signed s;
  if (kad_decode(type, in, &first)) return;
  uint32_t nodes = 0, batches = 0;
  list = first;
  while (kad_node_next(&list, &c)) nodes++;
  while (kad_batch_next(&list, &s)) batches++;
  require(nodes <= first.node_count && batches == first.batch_count);
  size_t n = kad_encode(type, &first, NULL, 0);
  uint8_t *a = malloc(n), *b = malloc(n);
  if (a && b) {
    require(kad_encode(type, &first, a, n) == n);
    /* Encoding writes fields that were absent, so a payload near the limit of elements may pass it. */
    if (kad_decode(type, slice_of(a, n), &second) == 0)
      require(kad_encode(type, &second, b, n) == n && memcmp(a, b, n) == 0);
    else
      require(in.n > CURSOR_MAX_ELEMENTS / 2);
  }
  free(a);
  free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1 || size > FRAME_MAX_PAYLOAD) return 0;
  if (data[0] == 0)
    batch(slice_of(data + 1, size - 1));
  else
    message(data[0], slice_of(data + 1, size - 1));
  return 0;
}
