/* Proofs of tokens and hashes of passwords; what they should be was computed with Python's hashlib and hmac. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "trust/crypto.h"
#include "trust/password.h"
#include "trust/token.h"

static struct rng_seeded seeded;
static struct rng rng(void) { return rng_seeded_view(&seeded); }

static struct token_session session(void) {
  struct token_session s;
  memset(s.client.b, 1, ID_LEN);
  memset(s.node.b, 2, ID_LEN);
  for (int i = 0; i < TOKEN_EXPORTER_LEN; i++) s.exporter[i] = (uint8_t)i;
  return s;
}

static void proofs_are_what_they_should_be(void **state) {
  (void)state;
  struct token_session s = session();
  struct slice token = slice_str("0123456789abcdef");
  uint8_t proof[TOKEN_PROOF_LEN];
  char hex[2 * TOKEN_PROOF_LEN + 1];
  token_prove(token, TOKEN_OF_CLIENT, &s, proof);
  hex_encode(proof, sizeof proof, hex);
  assert_string_equal(hex, "6749d8f7be73b2f0763c9d646778b2413d6766ee8463bf98d3132d5f0fb62c7b");
  token_prove(token, TOKEN_OF_NODE, &s, proof);
  hex_encode(proof, sizeof proof, hex);
  assert_string_equal(hex, "d76062343133db8dce29712c515c9dd84ce423c259e5d09c4df83d5cd62b79e2");
}

/* One of another session, direction, end or token is none. */
static void a_proof_is_of_one_session(void **state) {
  (void)state;
  struct token_session s = session(), other;
  struct slice tokens[] = {slice_str("old token of 2026"), slice_str("the next token of it"),
                           slice_str("the next token of it!")};
  uint8_t proof[TOKEN_PROOF_LEN];
  for (int i = 0; i < 3; i++) {
    token_prove(tokens[i], TOKEN_OF_CLIENT, &s, proof);
    struct slice p = slice_of(proof, sizeof proof);
    assert_int_equal(token_find(tokens, 3, TOKEN_OF_CLIENT, &s, p), i);
    assert_int_equal(token_find(tokens, (size_t)i, TOKEN_OF_CLIENT, &s, p), -1);
    assert_int_equal(token_find(tokens, 3, TOKEN_OF_NODE, &s, p), -1); /* sent back */
    other = s, other.exporter[31] ^= 1;
    assert_int_equal(token_find(tokens, 3, TOKEN_OF_CLIENT, &other, p), -1);
    other = s, other.node.b[0] ^= 1;
    assert_int_equal(token_find(tokens, 3, TOKEN_OF_CLIENT, &other, p), -1);
    other = s, other.client = s.node, other.node = s.client;
    assert_int_equal(token_find(tokens, 3, TOKEN_OF_CLIENT, &other, p), -1);
    assert_int_equal(token_find(tokens, 3, TOKEN_OF_CLIENT, &s, slice_of(proof, sizeof proof - 1)), -1);
    assert_int_equal(token_find(tokens, 3, TOKEN_OF_CLIENT, &s, SLICE_NONE), -1);
    proof[0] ^= 0x80;
    assert_int_equal(token_find(tokens, 3, TOKEN_OF_CLIENT, &s, p), -1);
  }
}

static void tokens_that_could_be_guessed_are_refused(void **state) {
  (void)state;
  static char longest[TOKEN_MAX_LEN + 2];
  char made[TOKEN_NEW_LEN + 1], again[TOKEN_NEW_LEN + 1];
  memset(longest, 'x', TOKEN_MAX_LEN + 1);
  assert_non_null(strstr(token_wrong(slice_str("0123456789abcde")), "at least 16 bytes"));
  assert_non_null(token_wrong(SLICE_NONE));
  assert_non_null(token_wrong(slice_str("0123456789abcdef\n")));
  assert_non_null(token_wrong(slice_str("0123456789abcdef\xff")));
  assert_non_null(token_wrong(slice_str(longest)));
  assert_null(token_wrong(slice_of(longest, TOKEN_MAX_LEN)));
  assert_null(token_wrong(slice_str("0123456789abcdef")));
  token_new(rng(), made);
  token_new(rng(), again);
  assert_int_equal(strlen(made), TOKEN_NEW_LEN);
  assert_null(token_wrong(slice_str(made)));
  assert_string_not_equal(made, again);
}

static void hashes_of_all_kinds_are_checked(void **state) {
  (void)state;
  static const char *const hashes[] = {
      "$7$101$AAECAwQFBgcICQoL$Xr99N9ym9ys8TWxis5ajETJq6EVYzmc6nb8t3pUYnPBbCAbICS4xejTltonXWCtJNBvA+By+TXUqU6qCblO00w==",
      "$6$AAECAwQFBgcICQoL$JqsxEv/ucyxjA5DKsQ+Y8CDWaQDNQI9FpAkmfwAqWfwZLk/JEGgM0EpylrJHAZKKyFQjJeZ3nFaHjPzOzPPmPw==",
      "$pbkdf2-sha256$1000$AAECAwQFBgcICQoLDA0ODw==$Tvsru20utY6o3q7VRBeuL9h/1QqKhWhwk2PaYNRWBgY="};
  for (size_t i = 0; i < 3; i++) {
    struct slice hash = slice_str(hashes[i]);
    assert_null(password_hash_wrong(hash));
    assert_true(password_check(hash, slice_str("secret")));
    assert_false(password_check(hash, slice_str("Secret")));
    assert_false(password_check(hash, SLICE_NONE));
    for (size_t n = 0; n < hash.n; n++) { /* every beginning of it is none */
      assert_non_null(password_hash_wrong(slice_of(hash.p, n)));
      assert_false(password_check(slice_of(hash.p, n), slice_str("secret")));
    }
  }
}

static void hashes_that_cannot_be_checked(void **state) {
  (void)state;
  static const char *const bad[] = {"secret",
                                    "$7$0$AAEC$AAEC",
                                    "$7$2000001$AAEC$AAEC",
                                    "$7$x$AAEC$AAEC",
                                    "$7$101$$AAEC",
                                    "$7$101$AAEC$AAEC",
                                    "$6$A$AAEC",
                                    "$2b$12$abc",
                                    "$7$99999999999$AAEC$AAEC",
                                    "$6$",
                                    "$"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    assert_non_null(password_hash_wrong(slice_str(bad[i])));
    assert_false(password_check(slice_str(bad[i]), slice_str("secret")));
  }
}

static void a_new_hash(void **state) {
  (void)state;
  static char longest[PASSWORD_MAX_LEN + 1];
  char hash[PASSWORD_HASH_LEN], again[PASSWORD_HASH_LEN];
  assert_int_equal(password_hash(slice_str("p\xc3\xa4ss"), rng(), hash), 0);
  assert_int_equal(password_hash(slice_str("p\xc3\xa4ss"), rng(), again), 0);
  assert_string_not_equal(hash, again); /* another salt */
  assert_null(password_hash_wrong(slice_str(hash)));
  assert_true(password_check(slice_str(hash), slice_str("p\xc3\xa4ss")));
  assert_false(password_check(slice_str(hash), slice_str("pass")));
  assert_int_equal(password_hash(SLICE_NONE, rng(), hash), MACULA_EINVAL);
  assert_int_equal(password_hash(slice_of(longest, sizeof longest), rng(), hash), MACULA_EINVAL);
}

static void base64_has_one_spelling(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int len;
  } v[] = {{"", 0},      {"QQ==", 1},  {"QUI=", 2},  {"QUJD", 3},  {"QUJDRA==", 4},  {"QR==", -1}, {"QUJ=", -1},    {"QQ", -1},
           {"Q===", -1}, {"=QQ=", -1}, {"QQ=A", -1}, {"Q*JD", -1}, {"QUJD====", -1}, {"====", -1}, {"QQ==QUJD", -1}};
  for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
    uint8_t b[64];
    char again[CRYPTO_BASE64_LEN];
    size_t n = 0;
    int err = crypto_unbase64(slice_str(v[i].text), b, &n);
    if (err != (v[i].len < 0 ? MACULA_EINVAL : 0)) fail_msg("'%s': %d", v[i].text, err);
    if (err) continue;
    assert_int_equal(n, v[i].len);
    crypto_base64(slice_of(b, n), again);
    assert_string_equal(again, v[i].text);
  }
}

int main(void) {
  rng_seeded_init(&seeded, 11);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(proofs_are_what_they_should_be),
      cmocka_unit_test(a_proof_is_of_one_session),
      cmocka_unit_test(tokens_that_could_be_guessed_are_refused),
      cmocka_unit_test(hashes_of_all_kinds_are_checked),
      cmocka_unit_test(hashes_that_cannot_be_checked),
      cmocka_unit_test(a_new_hash),
      cmocka_unit_test(base64_has_one_spelling),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
