#include "trust/password.h"

#include <stdio.h>

#include "base/err.h"
#include "trust/crypto.h"

#define OUR_SALT 16
#define OUR_HASH 32

struct parsed {
  enum crypto_derivation how;
  uint32_t iterations;
  uint8_t salt[64], hash[64];
  size_t salt_len, hash_len;
};

static const struct kind {
  const char *begin;
  enum crypto_derivation how;
  size_t hash_len;
} kinds[] = {
    {"$pbkdf2-sha256$", CRYPTO_PBKDF2_SHA256, OUR_HASH}, {"$7$", CRYPTO_PBKDF2_SHA512, 64}, {"$6$", CRYPTO_SHA512_SALTED, 64}};

/* The text up to the next $; *s goes on behind it. */
static struct slice field(struct slice *s) {
  const uint8_t *dollar = s->n ? memchr(s->p, '$', s->n) : NULL;
  struct slice f = {s->p, dollar ? (size_t)(dollar - s->p) : s->n};
  *s = dollar ? slice_of(dollar + 1, s->n - f.n - 1) : SLICE_NONE;
  return f;
}

static bool read_iterations(struct slice text, uint32_t *ret) {
  uint32_t n = 0;
  if (!text.n || text.n > 7 || text.p[0] == '0') return false;
  for (size_t i = 0; i < text.n; i++) {
    if (text.p[i] < '0' || text.p[i] > '9') return false;
    n = n * 10 + (uint32_t)(text.p[i] - '0');
  }
  *ret = n;
  return n <= PASSWORD_MAX_ITERATIONS;
}

static const char *parse(struct slice hash, struct parsed *ret) {
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    size_t n = strlen(kinds[i].begin);
    if (hash.n < n || memcmp(hash.p, kinds[i].begin, n) != 0) continue;
    struct slice rest = slice_of(hash.p + n, hash.n - n);
    ret->how = kinds[i].how;
    if (ret->how != CRYPTO_SHA512_SALTED && !read_iterations(field(&rest), &ret->iterations))
      return "the hash's iterations are no number from 1 to 2000000";
    if (crypto_unbase64(field(&rest), ret->salt, &ret->salt_len) || !ret->salt_len) return "the hash's salt is not in Base64";
    if (crypto_unbase64(rest, ret->hash, &ret->hash_len) || ret->hash_len != kinds[i].hash_len)
      return "the hash has another length than its kind, or is not in Base64";
    return NULL;
  }
  return "no hash of a password: 'macula user add' makes one; those of mosquitto that begin with $6$ or $7$ are taken, too";
}

const char *password_hash_wrong(struct slice hash) {
  struct parsed p;
  return parse(hash, &p);
}

int password_hash(struct slice password, struct rng rng, char ret_hash[PASSWORD_HASH_LEN]) {
  uint8_t salt[OUR_SALT], hash[OUR_HASH];
  char salt_text[CRYPTO_BASE64_LEN], hash_text[CRYPTO_BASE64_LEN];
  if (!password.n || password.n > PASSWORD_MAX_LEN) return MACULA_EINVAL;
  rng_fill(rng, salt, sizeof salt);
  int err = crypto_derive(CRYPTO_PBKDF2_SHA256, password, slice_of(salt, sizeof salt), PASSWORD_ITERATIONS, hash, sizeof hash);
  if (err) return err;
  crypto_base64(slice_of(salt, sizeof salt), salt_text);
  crypto_base64(slice_of(hash, sizeof hash), hash_text);
  snprintf(ret_hash, PASSWORD_HASH_LEN, "%s%d$%s$%s", kinds[0].begin, PASSWORD_ITERATIONS, salt_text, hash_text);
  return 0;
}

bool password_check(struct slice hash, struct slice password) {
  struct parsed p;
  uint8_t got[64];
  if (password.n > PASSWORD_MAX_LEN || parse(hash, &p)) return false;
  if (crypto_derive(p.how, password, slice_of(p.salt, p.salt_len), p.iterations, got, p.hash_len)) return false;
  bool same = crypto_equal(got, p.hash, p.hash_len);
  crypto_wipe(got, sizeof got);
  return same;
}
