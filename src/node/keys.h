/* Keys of the DHT, and whose a lookup in it is. */
#ifndef NODE_KEYS_H
#define NODE_KEYS_H

#include "node/state.h"

enum lookup_for { LOOKUP_FOR_CALLS = 1, LOOKUP_FOR_ASKS = 2 };
#define LOOKUP_FOR_SHIFT 56 /* a lookup's `user`: what it is for, above this bit; the caller's bits below */
void realm_key(const struct node *n, enum dht_kind kind, struct slice name, struct id *ret_key);

#endif
