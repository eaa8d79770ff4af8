/* Ids of messages: each is given once, and whoever has seen any number of them cannot guess another. An id is a counter under
 * a secret key, in two rounds of a Feistel network: F1(c), c ^ F2(F1(c)), F being SipHash-1-3. So nothing is kept of those
 * that were given, and their maker knows its own. */
#ifndef BOUNDED_SERIAL_H
#define BOUNDED_SERIAL_H

#include <stdbool.h>

#include "base/rng.h"
#include "base/slice.h"

struct serial {
  uint64_t key[2][2];
  uint64_t last;
};

void serial_init(struct serial *s, struct rng rng);
struct slice serial_next(struct serial *s, uint8_t ret_id[CALL_ID_LEN]); /* a view of ret_id */
bool serial_gave(const struct serial *s, struct slice id);               /* whether it is one of those given */

#endif
