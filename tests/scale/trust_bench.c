/* What judging, verifying and proving cost: docs/benchmarks.md. Prints a line each: what, and nanoseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "quic/identity.h"
#include "trust/agree.h"
#include "trust/password.h"
#include "trust/revoked.h"
#include "trust/token.h"
#include "unit/trust/passes.h"

static struct mem mem = MEM_INIT("bench", 0);
static volatile unsigned sink;

static uint64_t now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void require(int ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "%s\n", what);
  exit(1);
}

#define MEASURE(what, times, call)                                                                                             \
  do {                                                                                                                         \
    uint64_t start_ = now_ns();                                                                                                \
    for (unsigned i_ = 0; i_ < (times); i_++) sink += (unsigned)(call);                                                        \
    printf("%-52s %10.0f ns\n", what, (double)(now_ns() - start_) / (times));                                                  \
  } while (0)

static struct grant *grant_of(const struct grant_rule *rules, size_t n) {
  struct grant *g = NULL;
  require(grant_new(&mem, &(struct grant_spec){.rules = rules, .count = n}, &g) == 0, "grant");
  return g;
}

static void judge(void) {
  static char text[GRANT_MAX_RULES][32];
  static struct grant_rule rules[GRANT_MAX_RULES];
  char hex[ID_HEX_LEN + 1], topic[NAME_MAX_LEN + 1], what[64];
  id_hex(&(struct id){{7}}, hex);
  struct name_values who = {.id = slice_str(hex)};
  struct grant_rule own[] = {{RIGHT_PUB, 0, slice_str("plant.${id}.**")}, {RIGHT_SUB, 0, slice_str("plant.**")}};
  struct grant *g = grant_of(own, 2);
  snprintf(topic, sizeof topic, "plant.%s.line.7.temp", hex);
  MEASURE("publish by plant.${id}.**", 2000000, grant_allows(g, RIGHT_PUB, &who, slice_str(topic), NULL));
  MEASURE("subscribe within plant.**", 2000000, grant_allows(g, RIGHT_SUB, &who, slice_str("plant.*.temp"), NULL));
  grant_unref(g);
  for (size_t n = 1; n <= GRANT_MAX_RULES; n *= 4) {
    for (size_t i = 0; i < n; i++) {
      snprintf(text[i], sizeof text[i], "plant.area%zu.**", i);
      rules[i] = (struct grant_rule){RIGHT_PUB, 0, slice_str(text[i])};
    }
    g = grant_of(rules, n);
    snprintf(topic, sizeof topic, "plant.area%zu.line.7.temp", n - 1);
    snprintf(what, sizeof what, "publish by the last of %zu patterns", n);
    MEASURE(what, 2000000, grant_allows(g, RIGHT_PUB, &who, slice_str(topic), NULL));
    grant_unref(g);
    for (size_t i = 0; i < n; i++) {
      snprintf(text[i], sizeof text[i], "plant.*.line%zu.*", i);
      rules[i].pattern = slice_str(text[i]);
    }
    g = grant_of(rules, n);
    snprintf(topic, sizeof topic, "plant.area.line%zu.temp", n - 1);
    snprintf(what, sizeof what, "publish by the last of %zu with * within", n);
    MEASURE(what, 200000, grant_allows(g, RIGHT_PUB, &who, slice_str(topic), NULL));
    grant_unref(g);
  }
}

static void verify(void) {
  struct crypto_key *realm, *alice = NULL, *p256 = NULL;
  uint8_t one[PASS_MAX], two[PASS_MAX];
  size_t one_len, two_len;
  struct pass p;
  char why[PASS_WHY_LEN];
  require(!crypto_key_new(&realm) && !crypto_key_new(&alice) && !crypto_key_parse(slice_str(p256_pem), &p256), "keys");
  struct pass_trust t = {crypto_key_id(realm), 1, NULL, NOW, NULL, 0};
  const struct crypto_key *holders[] = {alice, p256};
  for (int h = 0; h < 2; h++) {
    struct pass_claims c = claims_for(crypto_key_id(holders[h]), 1), n = claims_for(crypto_key_id(realm), 2);
    claims_add(&c, RIGHT_PUB, "plant.${id}.**");
    claims_add(&c, RIGHT_SUB, "cmd.**");
    claims_add(&n, RIGHT_SUB, "cmd.door");
    c.delegate = 1;
    require(!pass_issue(realm, &c, one, &one_len, why) &&
                !pass_narrow(slice_of(one, one_len), holders[h], &n, two, &two_len, why),
            why);
    if (!h) MEASURE("verify a pass", 2000, pass_verify(slice_of(one, one_len), &t, &p, why));
    MEASURE(h ? "verify one that P-256 narrowed" : "verify one that Ed25519 narrowed", 2000,
            pass_verify(slice_of(two, two_len), &t, &p, why));
  }
  /* As many comparisons as fit: short segments, every pattern within the last of the others' alone. */
  struct pass_claims c = claims_for(crypto_key_id(alice), 1), n = claims_for(crypto_key_id(realm), 2);
  for (int i = 0; i < 63; i++) claims_add(&c, RIGHT_PUB, "*.a.**.a.**.a.**.a.b");
  claims_add(&c, RIGHT_PUB, "**");
  while (n.count < PASS_MAX_PATTERNS) claims_add(&n, RIGHT_PUB, "a.**.a.a.**.a.a.**.a.a.a");
  c.delegate = 1;
  require(!pass_issue(realm, &c, one, &one_len, why), why);
  require(!pass_narrow(slice_of(one, one_len), alice, &n, two, &two_len, why), why);
  MEASURE("verify 64 hard patterns within 64", 20, pass_verify(slice_of(two, two_len), &t, &p, why));
  crypto_key_free(realm);
  crypto_key_free(alice);
  crypto_key_free(p256);
}

static void others(void) {
  static struct revoked_entry e[REVOKED_MAX];
  struct crypto_key *realm;
  struct revoked *r = NULL;
  uint8_t *bytes, serial[PASS_SERIAL_LEN] = {9}, proof[TOKEN_PROOF_LEN];
  size_t n;
  char why[PASS_WHY_LEN], hash[PASSWORD_HASH_LEN];
  struct rng_seeded seeded;
  rng_seeded_init(&seeded, 1);
  struct rng rng = rng_seeded_view(&seeded);
  require(!crypto_key_new(&realm), "key");
  for (size_t i = 0; i < REVOKED_MAX; i++) rng_fill(rng, e[i].serial, sizeof e[i].serial);
  require(!revoked_issue(realm, 1, e, REVOKED_MAX, &bytes, &n, why), why);
  MEASURE("read and verify a list of 4096 revoked", 200,
          (revoked_unref(r), revoked_parse(&mem, slice_of(bytes, n), crypto_key_id(realm), 1, &r, why)));
  MEASURE("look into it", 2000000, revoked_has(r, serial));
  struct token_session s = {{{1}}, {{2}}, {3}};
  MEASURE("prove a token", 100000, (token_prove(slice_str("0123456789abcdef"), TOKEN_OF_CLIENT, &s, proof), proof[0]));
  MEASURE("hash a password", 3, password_hash(slice_str("secret"), rng, hash));
  revoked_unref(r);
  free(bytes);
  crypto_key_free(realm);
}

/* ---- envelopes -------------------------------------------------------------------------------------------------------------
 */
struct end {
  struct agree_self me;
  struct agree agree;
  uint8_t run[INSTANCE_LEN];
};

static int sign(void *ctx, struct slice data, uint8_t *ret_sig, size_t *ret_len) {
  *ret_len = CRYPTO_SIGNATURE_LEN;
  return crypto_sign(ctx, data, ret_sig);
}

static void end_of(struct end *e, struct crypto_key *key) {
  *e = (struct end){.me = {.id = *crypto_key_id(key),
                           .realm = slice_str("default"),
                           .spki = crypto_key_spki(key),
                           .sign = sign,
                           .verify = quic_verify,
                           .ctx = key}};
  e->me.instance = slice_of(e->run, sizeof e->run);
}

static void hear(struct end *e, const struct end *from, uint8_t *buf, size_t *len, struct rng rng) {
  struct wire_agree m;
  uint8_t answer[WIRE_AGREE_MAX];
  bool anew;
  require(wire_agree_decode(slice_of(buf, *len), &m) == 0, "agree");
  size_t n = 0;
  (void)agree_receive(&e->agree, &e->me, &from->me.id, &m, rng, 1, answer, &n, &anew);
  memcpy(buf, answer, n);
  *len = n;
}

static unsigned exchange(struct end *a, struct end *b, uint64_t number, struct rng rng) {
  uint8_t buf[WIRE_AGREE_MAX];
  size_t len;
  agree_begin(&a->agree, &a->me, &b->me.id, number, rng);
  require(agree_offer(&a->agree, &a->me, &b->me.id, buf, &len) == 0, "offer");
  hear(b, a, buf, &len, rng);
  hear(a, b, buf, &len, rng);
  return a->agree.now.set;
}

static unsigned seal_and_open(struct end *a, struct end *b, const struct agree_envelope *e) {
  uint8_t seal[AGREE_SEAL_LEN];
  agree_seal(&a->agree, 0, e, seal);
  return agree_open(&b->agree, e, slice_of(seal, sizeof seal), 1);
}

static void envelopes(void) {
  static uint8_t payload[4096];
  struct crypto_key *key[2];
  struct rng_seeded seeded;
  struct end a, b;
  uint64_t number = 0;
  rng_seeded_init(&seeded, 1);
  require(!crypto_key_new(&key[0]) && !crypto_key_new(&key[1]), "keys");
  end_of(&a, key[0]);
  end_of(&b, key[1]);
  MEASURE("agree on keys, both sides", 500, exchange(&a, &b, ++number, rng_seeded_view(&seeded)));
  struct agree_envelope e = {.destination = b.me.id, .source = a.me.id, .type = MSG_CALL};
  for (size_t n = 64; n <= sizeof payload; n *= 8) {
    char what[64];
    e.payload = slice_of(payload, n);
    snprintf(what, sizeof what, "seal and open an envelope of %zu bytes", n);
    MEASURE(what, 200000, seal_and_open(&a, &b, &e));
  }
  uint8_t sig[CRYPTO_SIGNATURE_LEN];
  struct id id;
  e.payload = slice_of(payload, 64);
  MEASURE("sign and verify 64 bytes instead", 1000,
          crypto_sign(key[0], e.payload, sig) + quic_verify(a.me.spki, e.payload, slice_of(sig, sizeof sig), &id));
  crypto_key_free(key[0]);
  crypto_key_free(key[1]);
}

int main(void) {
  judge();
  verify();
  envelopes();
  others();
  return 0;
}
