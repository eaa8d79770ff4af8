/* Passes for tests: keys, claims from words. */
#ifndef UNIT_TRUST_PASSES_H
#define UNIT_TRUST_PASSES_H

#include <string.h>

#include "trust/pass.h"

#define NOW UINT64_C(1800000000)

/* P-256, as `openssl ecparam -name prime256v1 -genkey` makes one. */
static const char p256_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                               "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQghaXlm6u+gTEQLk0/\n"
                               "aPOGQIzQK09ZsDV/aKBWkCl2tOmhRANCAASJ7QTbf2PYrHBpYfsMgSAWkNCmWZCd\n"
                               "E232i+bdaB/YERCsC14KSI5xaRmkIzmVWdXxzZ4PbuJqnBYvAGtJ7Nz7\n"
                               "-----END PRIVATE KEY-----\n";

static inline struct pass_claims claims_for(const struct id *holder, uint8_t serial) {
  struct pass_claims c = {.holder = *holder, .not_before = NOW, .not_after = NOW + 86400};
  memset(c.serial, serial, sizeof c.serial);
  for (int q = 0; q < QUOTAS; q++) c.quotas[q] = QUOTA_NONE;
  return c;
}

static inline void claims_add(struct pass_claims *c, enum right right, const char *pattern) {
  c->rules[c->count++] = (struct grant_rule){right, 0, slice_str(pattern)};
}

#endif
