/* A realm's key for simulated nodes and clients: passes, lists of what was revoked. */
#ifndef TESTS_REALM_H
#define TESTS_REALM_H

#include <stdio.h>

#include "trust/crypto.h"
#include "trust/pass.h"
#include "trust/revoked.h"

struct realm {
  struct crypto_key *key;
  char yaml[128]; /* an access file that trusts it alone */
};

static inline void realm_init(struct realm *m) {
  char hex[ID_HEX_LEN + 1];
  assert_int_equal(crypto_key_new(&m->key), 0);
  id_hex(crypto_key_id(m->key), hex);
  snprintf(m->yaml, sizeof m->yaml, "realm_keys: [%s]\n", hex);
}

#define UNIX_NOW 1790000000u /* node_rig.c */

/* A pass of this serial that ends in so many seconds: for a node, or for a client that publishes plant.${id}.** and
 * subscribes to cmd.**. */
static inline size_t realm_pass(const struct realm *m, const struct id *holder, enum role role, uint8_t serial,
                                uint64_t seconds, uint8_t ret[PASS_MAX]) {
  struct pass_claims c = {
      .serial = {serial}, .holder = *holder, .role = role, .not_before = UNIX_NOW - 10, .not_after = UNIX_NOW + seconds};
  char why[PASS_WHY_LEN];
  size_t n;
  for (int q = 0; q < QUOTAS; q++) c.quotas[q] = QUOTA_NONE;
  c.rules[c.count++] = (struct grant_rule){RIGHT_PUB, 0, slice_str("plant.${id}.**")};
  c.rules[c.count++] = (struct grant_rule){RIGHT_SUB, 0, slice_str("cmd.**")};
  if (pass_issue(m->key, &c, ret, &n, why)) fail_msg("%s", why);
  return n;
}

/* Signs the list with these serials; of malloc. */
static inline struct slice realm_revoke(const struct realm *m, uint64_t number, const uint8_t *serials, size_t count) {
  struct revoked_entry e[16] = {0};
  char why[PASS_WHY_LEN];
  uint8_t *list;
  size_t n;
  for (size_t i = 0; i < count; i++) e[i] = (struct revoked_entry){.serial = {serials[i]}, .until = UNIX_NOW + 86400};
  if (revoked_issue(m->key, number, e, count, &list, &n, why)) fail_msg("%s", why);
  return slice_of(list, n);
}

#endif
