#include "base/sha256.h"

#include <nettle/sha2.h>

void sha256_of(struct slice data, uint8_t ret_hash[SHA256_LEN]) {
  struct sha256_ctx c;
  sha256_init(&c);
  if (data.n) sha256_update(&c, data.n, data.p);
  sha256_digest(&c, SHA256_LEN, ret_hash);
}
