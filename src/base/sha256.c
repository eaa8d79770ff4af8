#include "base/sha256.h"

#include <nettle/sha2.h>

void sha256_of_two(struct slice first, struct slice second, uint8_t ret_hash[SHA256_LEN]) {
  struct sha256_ctx c;
  sha256_init(&c);
  if (first.n) sha256_update(&c, first.n, first.p);
  if (second.n) sha256_update(&c, second.n, second.p);
  sha256_digest(&c, SHA256_LEN, ret_hash);
}

void sha256_of(struct slice data, uint8_t ret_hash[SHA256_LEN]) { sha256_of_two(data, SLICE_NONE, ret_hash); }
