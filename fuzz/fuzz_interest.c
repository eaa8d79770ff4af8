/* What nodes tell each other about subscriptions, and about envelopes: whatever decodes must survive encoding and decoding, and
 * leave a node's table of interest whole. Input: the type's byte, then the payload. */
#include <stdlib.h>

#include "base/err.h"
#include "pubsub/interest.h"
#include "wire/agree.h"
#include "wire/frame.h"
#include "wire/interest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok) {
  if (!ok) abort();
}

/* Bytes of the payload encoded anew, 0 for what does not decode. */
static size_t again(uint8_t type, struct slice in, uint8_t *buf, size_t cap) {
  struct wire_interest page;
  struct wire_have have;
  struct wire_retained_get get;
  struct wire_retained_moved moved;
  struct wire_agree agree;
  struct wire_not_routed not_routed;
  if (type == MSG_INTEREST && wire_interest_decode(in, &page) == 0) return wire_interest_encode(&page, buf, cap);
  if (type == MSG_INTEREST_HAVE && wire_have_decode(in, &have) == 0) return wire_have_encode(&have, buf, cap);
  if (type == MSG_RETAINED_GET && wire_retained_get_decode(in, &get) == 0) return wire_retained_get_encode(&get, buf, cap);
  if (type == MSG_RETAINED_MOVED && wire_retained_moved_decode(in, &moved) == 0)
    return wire_retained_moved_encode(&moved, buf, cap);
  if (type == MSG_AGREE && wire_agree_decode(in, &agree) == 0) return wire_agree_encode(&agree, buf, cap);
  if (type == MSG_NOT_ROUTED && wire_not_routed_decode(in, &not_routed) == 0)
    return wire_not_routed_encode(&not_routed, buf, cap);
  return 0;
}

static void feed(uint8_t type, struct slice in) {
  struct mem mem = MEM_INIT("fuzz", 0);
  struct rng_seeded seed;
  rng_seeded_init(&seed, 1);
  struct interest_config cfg = {&mem, &mem, rng_seeded_view(&seed), 10, 2, 10, 10};
  struct interest *i;
  struct interest_peer p;
  struct slice out;
  if (interest_new(&cfg, &i) != 0) return;
  interest_peer_init(i, &p, &(struct id){{1}}, NULL);
  interest_link(&p, true, true);
  require(interest_add(i, slice_str("a.*")) == 0);
  for (int k = 0; k < 2; k++) {
    int err = interest_recv(i, &p, type, in);
    require(err == 0 || err == MACULA_BAD_FRAME || err == MACULA_EFULL || err == MACULA_UNKNOWN_TYPE);
    int frames = 0;
    while (interest_next(i, &p, 1024, &type, &out)) require(++frames < 5);
    interest_check(&p);
  }
  require(p.topics.count <= 10);
  interest_peer_done(i, &p);
  interest_free(i);
  require(mem.bytes == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1 || size > FRAME_MAX_PAYLOAD) return 0;
  struct slice in = slice_of(data + 1, size - 1);
  size_t n = again(data[0], in, NULL, 0);
  if (n) {
    uint8_t *a = malloc(n), *b = malloc(n);
    require(a && b && again(data[0], in, a, n) == n);
    require(again(data[0], slice_of(a, n), b, n) == n && memcmp(a, b, n) == 0);
    free(a);
    free(b);
  }
  feed(data[0], in);
  return 0;
}
