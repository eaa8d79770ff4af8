#include "node/keys.h"

#include "base/sha256.h"
#include "wire/names.h"

/* A key is a hash over kind, realm and name, so that a topic and a procedure of the same name have different keys, and so have
 * the same names in two realms. */
void realm_key(const struct node *n, enum dht_kind kind, struct slice name, struct id *ret_key) {
  uint8_t buf[1 + 2 * (NAME_MAX_LEN + 1)];
  size_t realm = strlen(n->realm);
  buf[0] = (uint8_t)kind;
  memcpy(buf + 1, n->realm, realm + 1);
  memcpy(buf + 2 + realm, name.p, name.n);
  sha256_of(slice_of(buf, 2 + realm + name.n), ret_key->b);
}
