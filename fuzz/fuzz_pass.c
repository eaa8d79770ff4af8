/* Any bytes as a pass, and as a list of what was revoked. What is taken has one spelling, which is these bytes; what is judged
 * good was signed by the realm, and what a holder signed on is within what it has. Input: 'p' or 'l', then the bytes. */
#include <stdlib.h>

#include "base/err.h"
#include "base/sha256.h"
#include "trust/revoked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok) {
  if (!ok) abort();
}

static void as_pass(struct slice bytes) {
  struct pass p, q;
  char why[PASS_WHY_LEN];
  enum pass_verdict v = pass_decode(bytes, &p, why);
  require(v == PASS_GOOD ? why[0] == 0 : v == PASS_MALFORMED && why[0]);
  if (v) return;
  const struct pass_claims *c = pass_effective(&p);
  struct pass_trust t = {.realms = &p.realm, .realm_count = 1, .holder = &c->holder, .now = c->not_before};
  v = pass_verify(bytes, &t, &q, why);
  require(v == PASS_GOOD ? why[0] == 0 : why[0] != 0);
  require(v == PASS_GOOD || v == PASS_FORGED || v == PASS_WIDER);
  if (v == PASS_GOOD && p.links > 1) require(pass_within(&p.link[0].claims, c, why));
  struct mem mem = MEM_INIT("fuzz", 0);
  struct grant *g;
  require(pass_grant(&mem, &p, &g) == 0);
  for (size_t i = 0; i < c->count; i++)
    (void)grant_allows(g, c->rules[i].right, &(struct name_values){0}, c->rules[i].pattern, NULL);
  grant_unref(g);
  require(mem.bytes == 0);
}

static void as_list(struct slice bytes) {
  struct mem mem = MEM_INIT("fuzz", 0);
  char why[PASS_WHY_LEN];
  struct revoked *r;
  struct id realm = {{0}};
  /* Behind the heads of the list and of a key of Ed25519. */
  if (bytes.n > 47) sha256_of(slice_of(bytes.p + 3, 44), realm.b);
  int err = revoked_parse(&mem, bytes, &realm, 1, &r, why);
  if (err) {
    require(why[0] != 0 && mem.bytes == 0);
    return;
  }
  require(slice_eq(revoked_bytes(r), bytes) && revoked_count(r) <= REVOKED_MAX);
  for (size_t i = 0; i < revoked_count(r); i++) require(revoked_has(r, revoked_at(r, i).serial));
  revoked_unref(r);
  require(mem.bytes == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  struct slice bytes = slice_of(data + 1, size - 1);
  if (data[0] == 'p') as_pass(bytes);
  if (data[0] == 'l') as_list(bytes);
  return 0;
}
