/* Signed batches: verified before anything in them is used, and remembered, so that the same bytes are verified only once.
 * Records in a node's name must be signed with that node's key (Baumgart and Mies 2007, 4.2: signed messages; ids are hashes of
 * keys). */
#ifndef DHT_VERIFY_H
#define DHT_VERIFY_H

#include "bounded/lru.h"
#include "bounded/slab.h"
#include "dht/dht.h"
#include "wire/kad.h"

#define VERIFY_CACHE 4096 /* verified batches that are remembered */

struct verifier {
  struct slab entries;
  struct dht_crypto crypto;
  struct slice realm; /* view */
  struct lru seen;
  uint64_t seeds[2][2];
  uint64_t refused, hits, done; /* done: signatures computed */
};

void verifier_init(struct verifier *v, struct mem *mem, struct rng rng, const struct dht_crypto *crypto, struct slice realm);
void verifier_done(struct verifier *v);
/* Verifies a signed batch, and returns its contents and its publisher. MACULA_BAD_FRAME, MACULA_REALM_MISMATCH,
 * MACULA_BAD_SIGNATURE; all counted. */
int verify_batch(struct verifier *v, const struct kad_signed *s, struct kad_batch *ret_batch, struct id *ret_publisher);
/* Signs an encoded batch. */
int sign_record(const struct verifier *v, struct slice record, uint8_t *ret_sig, size_t *ret_len);

/* The block of verifier.entries that belongs to l. */
const void *verified_block(const struct lru_link *l);

#endif
