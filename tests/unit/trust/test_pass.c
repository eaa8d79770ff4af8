/* Passes: issued, narrowed, judged; what was changed, made up, or signs on more than its holder has, never counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "trust/revoked.h"
#include "unit/trust/passes.h"
#include "wire/cursor.h"

static struct mem mem = MEM_INIT("passes", 0);
static struct crypto_key *realm, *alice, *bob, *carol; /* carol's is P-256 */
static struct rng_seeded seeded;

static struct rng rng(void) { return rng_seeded_view(&seeded); }

struct bytes {
  uint8_t b[PASS_MAX];
  size_t n;
};
static struct slice view(const struct bytes *b) { return slice_of(b->b, b->n); }

static int keys(void **state) {
  (void)state;
  rng_seeded_init(&seeded, 7);
  return crypto_key_new(&realm) || crypto_key_new(&alice) || crypto_key_new(&bob) ||
         crypto_key_parse(slice_str(p256_pem), &carol);
}

static int free_keys(void **state) {
  (void)state;
  crypto_key_free(realm);
  crypto_key_free(alice);
  crypto_key_free(bob);
  crypto_key_free(carol);
  return 0;
}

static struct bytes issue(const struct pass_claims *c) {
  struct bytes b;
  char why[PASS_WHY_LEN];
  if (pass_issue(realm, c, b.b, &b.n, why)) fail_msg("%s", why);
  return b;
}

static enum pass_verdict judge_at(struct slice bytes, const struct crypto_key *holder, uint64_t now, struct pass *p,
                                  char *why) {
  struct pass_trust t = {.realms = crypto_key_id(realm), .realm_count = 1, .holder = crypto_key_id(holder), .now = now};
  return pass_verify(bytes, &t, p, why);
}

static void judged(const struct bytes *b, const struct crypto_key *holder, uint64_t now, enum pass_verdict want,
                   const char *text) {
  struct pass p;
  char why[PASS_WHY_LEN];
  enum pass_verdict v = judge_at(view(b), holder, now, &p, why);
  if (v != want) fail_msg("%s, not %s: %s", pass_verdict_name(v), pass_verdict_name(want), why);
  if (want && !strstr(why, text)) fail_msg("'%s' says nothing of '%s'", why, text);
}

static struct pass_claims for_alice(void) {
  struct pass_claims c = claims_for(crypto_key_id(alice), 1);
  claims_add(&c, RIGHT_PUB, "plant.${id}.**");
  claims_add(&c, RIGHT_SUB, "cmd.**");
  claims_add(&c, RIGHT_CALL, "math.*");
  c.quotas[QUOTA_MESSAGES] = 100;
  c.delegate = 1;
  return c;
}

static struct pass_claims for_bob(const struct crypto_key *key) {
  struct pass_claims c = claims_for(crypto_key_id(key), 2);
  claims_add(&c, RIGHT_SUB, "cmd.door");
  c.quotas[QUOTA_MESSAGES] = 10;
  return c;
}

static void issued_and_judged(void **state) {
  (void)state;
  struct pass_claims c = for_alice();
  struct bytes b = issue(&c), same = issue(&c);
  struct pass p;
  char why[PASS_WHY_LEN], topic[NAME_MAX_LEN + 1], hex[ID_HEX_LEN + 1];
  struct grant *g;
  assert_true(slice_eq(view(&b), view(&same)));
  assert_int_equal(judge_at(view(&b), alice, NOW, &p, why), PASS_GOOD);
  assert_true(id_eq(&p.realm, crypto_key_id(realm)));
  assert_int_equal(pass_grant(&mem, &p, &g), 0);
  id_hex(crypto_key_id(alice), hex);
  struct name_values who = {.id = slice_str(hex)};
  snprintf(topic, sizeof topic, "plant.%s.temp", hex);
  assert_true(grant_allows(g, RIGHT_PUB, &who, slice_str(topic), NULL));
  assert_false(grant_allows(g, RIGHT_PUB, &who, slice_str("plant.x.temp"), NULL));
  assert_int_equal(grant_quota(g, QUOTA_MESSAGES), 100);
  assert_int_equal(grant_quota(g, QUOTA_CALLS), QUOTA_NONE);
  grant_unref(g);
  judged(&b, alice, NOW + 86400, PASS_GOOD, "");
  judged(&b, alice, NOW + 86401, PASS_EXPIRED, "ended 1 s ago");
  judged(&b, alice, NOW - 1, PASS_EARLY, "begins in 1 s");
  judged(&b, bob, NOW, PASS_OTHERS, hex);
  assert_int_equal(mem.bytes, 0);
}

static void another_realm_is_not_trusted(void **state) {
  (void)state;
  struct pass_claims c = for_alice();
  struct bytes b;
  struct pass p;
  char why[PASS_WHY_LEN];
  assert_int_equal(pass_issue(bob, &c, b.b, &b.n, why), 0);
  judged(&b, alice, NOW, PASS_FOREIGN, "not trusted here");
  assert_int_equal(pass_issue(carol, &c, b.b, &b.n, why), MACULA_EINVAL); /* a realm's key is Ed25519 */
  struct pass_trust none = {.now = NOW};
  b = issue(&c);
  assert_int_equal(pass_verify(view(&b), &none, &p, why), PASS_FOREIGN);
}

static void no_byte_can_be_changed(void **state) {
  (void)state;
  struct pass_claims c = for_alice(), n = for_bob(carol);
  struct bytes first = issue(&c), b;
  char why[PASS_WHY_LEN];
  struct pass p;
  assert_int_equal(pass_narrow(view(&first), alice, &n, b.b, &b.n, why), 0);
  judged(&b, carol, NOW, PASS_GOOD, "");
  for (size_t i = 0; i < b.n; i++)
    for (int bit = 0; bit < 8; bit++) {
      struct bytes bad = b;
      bad.b[i] ^= (uint8_t)(1 << bit);
      if (judge_at(view(&bad), carol, NOW, &p, why) == PASS_GOOD) fail_msg("byte %zu, bit %d", i, bit);
      if (!why[0]) fail_msg("byte %zu, bit %d: nothing is said", i, bit);
    }
  for (size_t i = 0; i < b.n; i++) assert_int_equal(judge_at(slice_of(b.b, i), carol, NOW, &p, why), PASS_MALFORMED);
  b.b[b.n++] = 0;
  assert_int_equal(judge_at(view(&b), carol, NOW, &p, why), PASS_MALFORMED);
}

static void narrowed_once_for_another_key(void **state) {
  (void)state;
  struct pass_claims c = for_alice(), n = for_bob(bob);
  struct bytes first = issue(&c), b, more;
  char why[PASS_WHY_LEN];
  struct pass p;
  struct grant *g;
  assert_int_equal(pass_narrow(view(&first), alice, &n, b.b, &b.n, why), 0);
  judged(&b, bob, NOW, PASS_GOOD, "");
  judged(&b, alice, NOW, PASS_OTHERS, "for the key");
  assert_int_equal(judge_at(view(&b), bob, NOW, &p, why), PASS_GOOD);
  assert_int_equal(pass_grant(&mem, &p, &g), 0);
  assert_true(grant_allows(g, RIGHT_SUB, &(struct name_values){0}, slice_str("cmd.door"), NULL));
  assert_false(grant_allows(g, RIGHT_SUB, &(struct name_values){0}, slice_str("cmd.x"), NULL));
  assert_int_equal(grant_quota(g, QUOTA_MESSAGES), 10);
  grant_unref(g);
  n = for_bob(carol);
  assert_int_equal(pass_narrow(view(&b), bob, &n, more.b, &more.n, why), MACULA_EINVAL);
  assert_non_null(strstr(why, "narrowed already"));
  c.delegate = 0;
  first = issue(&c);
  assert_int_equal(pass_narrow(view(&first), alice, &n, more.b, &more.n, why), MACULA_EINVAL);
  assert_non_null(strstr(why, "may not be narrowed"));
}

/* A holder of P-256 signs, too; its signature has one spelling. */
static void narrowed_by_a_key_of_p256(void **state) {
  (void)state;
  struct pass_claims c = for_alice(), n = for_bob(bob);
  c.holder = *crypto_key_id(carol);
  struct bytes first = issue(&c), b;
  char why[PASS_WHY_LEN];
  for (int i = 0; i < 20; i++) {
    assert_int_equal(pass_narrow(view(&first), carol, &n, b.b, &b.n, why), 0);
    judged(&b, bob, NOW, PASS_GOOD, "");
  }
  static const uint8_t order[] = {0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,    0xff, 0xff, 0xff,
                                  0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
                                  0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
  uint8_t *s = b.b + b.n - 32;
  int borrow = 0;
  for (int i = 31; i >= 0; i--) {
    int d = order[i] - s[i] - borrow;
    borrow = d < 0;
    s[i] = (uint8_t)d;
  }
  judged(&b, bob, NOW, PASS_FORGED, "signature");
}

/* A second link whatever it says, signed as a holder that lies would sign it: src/trust/pass.h says over what. */
static struct bytes lie(const struct bytes *first, const struct crypto_key *key, const struct pass_claims *c) {
  static const char label[] = "macula narrowed pass 1";
  struct pass_claims all = claims_for(crypto_key_id(key), 9);
  struct bytes honest, b;
  struct pass p;
  char why[PASS_WHY_LEN];
  uint8_t data[sizeof label + CRYPTO_HASH_LEN + PASS_MAX], signature[CRYPTO_SIGNATURE_LEN];
  all.delegate = 1;
  all.role = c->role;
  all.not_before = c->not_before;
  all.not_after = c->not_after;
  for (int r = 0; r < RIGHTS; r++) claims_add(&all, (enum right)r, "**");
  honest = issue(&all);
  if (pass_narrow(view(&honest), key, c, b.b, &b.n, why)) fail_msg("%s", why);
  assert_int_equal(pass_decode(view(&b), &p, why), PASS_GOOD);
  struct slice claims = p.link[1].claims_bytes;
  struct writer d = {data, sizeof data, 0}, w;
  uint8_t hash[CRYPTO_HASH_LEN];
  sha256_of(slice_of(first->b + 1, first->n - 1), hash); /* behind the array's head */
  writer_raw(&d, slice_of(label, sizeof label));
  writer_raw(&d, slice_of(hash, sizeof hash));
  writer_raw(&d, claims);
  assert_int_equal(crypto_sign(key, slice_of(data, d.len), signature), 0);
  struct bytes out;
  w = (struct writer){out.b, sizeof out.b, 0};
  writer_array(&w, 2);
  writer_raw(&w, slice_of(first->b + 1, first->n - 1));
  writer_array(&w, 3);
  writer_bin(&w, crypto_key_spki(key));
  writer_bin(&w, claims);
  writer_bin(&w, slice_of(signature, sizeof signature));
  out.n = w.len;
  return out;
}

static void a_holder_cannot_sign_more_than_it_has(void **state) {
  (void)state;
  struct pass_claims c = for_alice(), n;
  struct bytes first = issue(&c), b;
  n = for_bob(bob);
  b = lie(&first, alice, &n);
  judged(&b, bob, NOW, PASS_GOOD, "");
  b = lie(&first, bob, &n);
  judged(&b, bob, NOW, PASS_FORGED, "another key than its holder's");
  n = for_bob(bob), claims_add(&n, RIGHT_SUB, "**");
  b = lie(&first, alice, &n);
  judged(&b, bob, NOW, PASS_WIDER, "sub '**'");
  n = for_bob(bob), claims_add(&n, RIGHT_PUB, "plant.${id}.temp"); /* the first ${id} is another's */
  b = lie(&first, alice, &n);
  judged(&b, bob, NOW, PASS_WIDER, "pub 'plant.${id}.temp'");
  n = for_bob(bob), claims_add(&n, RIGHT_SERVE, "math.add");
  b = lie(&first, alice, &n);
  judged(&b, bob, NOW, PASS_WIDER, "serve 'math.add'");
  n = for_bob(bob), n.quotas[QUOTA_MESSAGES] = QUOTA_NONE;
  b = lie(&first, alice, &n);
  judged(&b, bob, NOW, PASS_WIDER, "quota of messages");
  n = for_bob(bob), n.not_after++;
  b = lie(&first, alice, &n);
  judged(&b, bob, NOW, PASS_WIDER, "for a time");
  n = for_bob(bob), n.not_before--;
  b = lie(&first, alice, &n);
  judged(&b, bob, NOW, PASS_WIDER, "for a time");
  n = for_bob(bob), n.role = ROLE_NODE;
  b = lie(&first, alice, &n);
  judged(&b, bob, NOW, PASS_WIDER, "the role node");
}

/* A link that was signed for one pass counts beside no other. */
static void a_link_belongs_to_one_pass(void **state) {
  (void)state;
  struct pass_claims c = for_alice(), n = for_bob(bob);
  struct bytes first = issue(&c), b, other;
  char why[PASS_WHY_LEN];
  assert_int_equal(pass_narrow(view(&first), alice, &n, b.b, &b.n, why), 0);
  c.serial[0] ^= 1;
  other = issue(&c);
  assert_int_equal(other.n, first.n);
  memcpy(b.b + 1, other.b + 1, other.n - 1);
  judged(&b, bob, NOW, PASS_FORGED, "signature");
}

static void what_is_no_pass_is_not_issued(void **state) {
  (void)state;
  struct pass_claims c;
  struct bytes b;
  char why[PASS_WHY_LEN];
  c = for_alice(), c.not_after = c.not_before;
  assert_int_equal(pass_issue(realm, &c, b.b, &b.n, why), MACULA_EINVAL);
  c = for_alice(), c.not_after = c.not_before + PASS_MAX_SECONDS;
  assert_int_equal(pass_issue(realm, &c, b.b, &b.n, why), 0);
  c.not_after++;
  assert_int_equal(pass_issue(realm, &c, b.b, &b.n, why), MACULA_EINVAL);
  assert_non_null(strstr(why, "90 days"));
  c = for_alice(), c.delegate = 2;
  assert_int_equal(pass_issue(realm, &c, b.b, &b.n, why), MACULA_EINVAL);
  c = for_alice(), c.rules[0].pattern = slice_str("a/b");
  assert_int_equal(pass_issue(realm, &c, b.b, &b.n, why), MACULA_EINVAL);
  c = for_alice();
  char longest[NAME_MAX_LEN + 1];
  memset(longest, 'x', NAME_MAX_LEN);
  longest[NAME_MAX_LEN] = 0;
  while (c.count < PASS_MAX_PATTERNS) claims_add(&c, RIGHT_SERVE, longest);
  assert_int_equal(pass_issue(realm, &c, b.b, &b.n, why), MACULA_EINVAL);
  assert_non_null(strstr(why, "more than 4096 bytes"));
}

/* ---- a chain never grants more than its root
 * ----------------------------------------------------------------------------------
 */
static char letter[4][ID_HEX_LEN + 1];
#define TOPICS (4 + 16 + 64 + 256)
static char topics[TOPICS][4 * (ID_HEX_LEN + 1) + 1];

static void make_topics(void) {
  strcpy(letter[0], "a");
  strcpy(letter[1], "c");
  id_hex(crypto_key_id(alice), letter[2]);
  id_hex(crypto_key_id(bob), letter[3]);
  for (int len = 1, count = 4, n = 0; len <= 4; len++, count *= 4)
    for (int i = 0; i < count; i++, n++)
      for (int k = 0, left = i; k < len; k++, left /= 4) {
        strcat(topics[n], k ? "." : "");
        strcat(topics[n], letter[left % 4]);
      }
}

static struct pass_claims random_claims(const struct crypto_key *key, char (*texts)[NAME_MAX_LEN + 1]) {
  static const char *const words[] = {"a", "*", "**", "a", "**", "${id}", "${user}"};
  struct pass_claims c = claims_for(crypto_key_id(key), 3);
  for (int i = 0; i < 3; i++) {
    char text[64] = "";
    size_t n;
    for (uint64_t k = 0, count = 1 + rng_below(rng(), 3); k < count; k++) {
      strcat(text, k ? "." : "");
      strcat(text, words[rng_below(rng(), 7)]);
    }
    assert_int_equal(name_template(slice_str(text), texts[i], &n), 0);
    c.rules[c.count++] = (struct grant_rule){i == 2 ? RIGHT_SUB : RIGHT_PUB, 0, slice_str(texts[i])};
  }
  c.role = (enum role)rng_below(rng(), ROLES);
  c.quotas[QUOTA_CALLS] = rng_below(rng(), 2) ? QUOTA_NONE : (uint32_t)rng_below(rng(), 3);
  c.not_before += rng_below(rng(), 2);
  c.not_after -= rng_below(rng(), 2);
  return c;
}

static bool allows(const struct pass_claims *c, const char *hex, enum right right, const char *what) {
  struct grant_spec spec = {.role = c->role, .rules = c->rules, .count = c->count};
  struct name_values who = {.id = slice_str(hex), .user = slice_str("a")};
  struct grant *g;
  assert_int_equal(grant_new(&mem, &spec, &g), 0);
  bool yes = grant_allows(g, right, &who, slice_str(what), NULL);
  grant_unref(g);
  return yes;
}

static void chains_never_grant_more_than_their_root(void **state) {
  (void)state;
  int good = 0, wider = 0;
  make_topics();
  for (int round = 0; round < 1500; round++) {
    char outer[3][NAME_MAX_LEN + 1], inner[3][NAME_MAX_LEN + 1], why[PASS_WHY_LEN];
    struct pass_claims root = random_claims(alice, outer), part = random_claims(bob, inner);
    root.delegate = 1;
    if (round % 3 == 0)
      part.role = root.role, part.quotas[QUOTA_CALLS] = 0, part.not_before = NOW + 1, part.not_after = NOW + 9;
    if (round % 3 == 0) part.rules[0].pattern = root.rules[0].pattern, part.rules[2].pattern = root.rules[2].pattern;
    struct bytes first = issue(&root), b = lie(&first, alice, &part);
    struct pass p;
    enum pass_verdict v = judge_at(view(&b), bob, NOW + 2, &p, why);
    assert_true(v == PASS_GOOD || v == PASS_WIDER);
    good += v == PASS_GOOD;
    wider += v == PASS_WIDER;
    if (v) continue;
    const struct pass_claims *has = pass_effective(&p);
    assert_true(role_covers(root.role, has->role) && has->quotas[QUOTA_CALLS] <= root.quotas[QUOTA_CALLS]);
    assert_true(has->not_before >= root.not_before && has->not_after <= root.not_after && has->delegate == 0);
    for (int i = 0; i < TOPICS; i++)
      for (enum right r = RIGHT_PUB; r <= RIGHT_SUB; r++)
        if (allows(has, letter[3], r, topics[i]) && !allows(&root, letter[2], r, topics[i]))
          fail_msg("round %d: %s %s", round, right_name(r), topics[i]);
  }
  if (good < 100 || wider < 100) fail_msg("%d good, %d wider", good, wider);
  assert_int_equal(mem.bytes, 0);
}

/* ---- lists of what was revoked
 * ------------------------------------------------------------------------------------------------
 */
static struct revoked *list_of(const struct crypto_key *key, uint64_t number, struct revoked_entry *entries, size_t count) {
  uint8_t *bytes;
  size_t n;
  char why[PASS_WHY_LEN];
  struct revoked *r;
  if (revoked_issue(key, number, entries, count, &bytes, &n, why)) fail_msg("%s", why);
  if (revoked_parse(&mem, slice_of(bytes, n), crypto_key_id(key), 1, &r, why)) fail_msg("%s", why);
  assert_true(slice_eq(slice_of(bytes, n), revoked_bytes(r)));
  free(bytes);
  return r;
}

static struct revoked_entry entry(uint8_t serial, uint64_t until) {
  struct revoked_entry e = {.until = until};
  memset(e.serial, serial, sizeof e.serial);
  return e;
}

static void revoked_with_what_was_narrowed_from_it(void **state) {
  (void)state;
  struct pass_claims c = for_alice(), n = for_bob(bob);
  struct bytes first = issue(&c), b;
  char why[PASS_WHY_LEN];
  struct pass p;
  assert_int_equal(pass_narrow(view(&first), alice, &n, b.b, &b.n, why), 0);
  for (int which = 0; which < 4; which++) {
    struct revoked_entry e = entry((uint8_t)which, NOW);
    struct revoked *r = list_of(which == 3 ? bob : realm, 1, &e, 1);
    const struct revoked *lists[] = {r};
    struct pass_trust t = {crypto_key_id(realm), 1, NULL, NOW, lists, 1};
    assert_int_equal(pass_verify(view(&first), &t, &p, why), which == 1 ? PASS_REVOKED : PASS_GOOD);
    assert_int_equal(pass_verify(view(&b), &t, &p, why), which == 1 || which == 2 ? PASS_REVOKED : PASS_GOOD);
    if (which == 1) assert_non_null(strstr(why, "of which this one is a part"));
    revoked_unref(r);
  }
}

/* Nobody would ask for it: 0 is what those say who have none. */
static void no_list_has_number_0(void **state) {
  struct revoked_entry e[] = {entry(1, NOW)};
  char why[PASS_WHY_LEN];
  uint8_t *bytes;
  size_t n, at = 0;
  struct revoked *r;
  (void)state;
  assert_int_equal(revoked_issue(realm, 0, e, 1, &bytes, &n, why), MACULA_EINVAL);
  assert_non_null(strstr(why, "number 1"));
  assert_int_equal(revoked_issue(realm, 1, e, 1, &bytes, &n, why), 0);
  while (at + 3 < n && memcmp(bytes + at, "\x93\x01\x01", 3) != 0) at++;
  bytes[at + 2] = 0;
  assert_int_equal(revoked_parse(&mem, slice_of(bytes, n), crypto_key_id(realm), 1, &r, why), MACULA_EINVAL);
  assert_non_null(strstr(why, "number 0"));
  free(bytes);
}

static void a_list_holds_what_was_given(void **state) {
  (void)state;
  static struct revoked_entry e[REVOKED_MAX + 1], kept[REVOKED_MAX + 1];
  uint8_t *bytes, serial[PASS_SERIAL_LEN];
  size_t n;
  char why[PASS_WHY_LEN];
  for (size_t i = 0; i <= REVOKED_MAX; i++) {
    rng_fill(rng(), e[i].serial, sizeof e[i].serial);
    e[i].until = NOW + i;
  }
  memcpy(kept, e, sizeof e);
  assert_int_equal(revoked_issue(realm, 1, e, REVOKED_MAX + 1, &bytes, &n, why), MACULA_EINVAL);
  assert_non_null(strstr(why, "at most 4096"));
  struct revoked *r = list_of(realm, 5, e, REVOKED_MAX), *none = list_of(realm, 6, NULL, 0);
  assert_true(revoked_bytes(r).n <= REVOKED_MAX_BYTES);
  assert_int_equal(revoked_count(r), REVOKED_MAX);
  assert_int_equal(revoked_number(r), 5);
  for (size_t i = 0; i < REVOKED_MAX; i++) assert_true(revoked_has(r, kept[i].serial));
  assert_false(revoked_has(r, kept[REVOKED_MAX].serial));
  rng_fill(rng(), serial, sizeof serial);
  assert_false(revoked_has(r, serial) || revoked_has(none, serial));
  for (size_t i = 1; i < REVOKED_MAX; i++)
    assert_true(memcmp(revoked_at(r, i - 1).serial, revoked_at(r, i).serial, PASS_SERIAL_LEN) < 0);
  revoked_unref(r);
  revoked_unref(none);
  struct revoked_entry twice[] = {entry(1, NOW), entry(2, NOW), entry(1, NOW + 5)};
  r = list_of(realm, 7, twice, 3);
  assert_int_equal(revoked_count(r), 2);
  assert_int_equal(revoked_at(r, 0).until, NOW + 5);
  revoked_unref(r);
  assert_int_equal(mem.bytes, 0);
}

static void only_a_higher_number_replaces(void **state) {
  (void)state;
  struct revoked *five = list_of(realm, 5, NULL, 0), *six = list_of(realm, 6, NULL, 0), *other = list_of(bob, 7, NULL, 0);
  assert_true(revoked_replaces(five, NULL) && revoked_replaces(six, five));
  assert_false(revoked_replaces(five, six) || revoked_replaces(five, five) || revoked_replaces(other, six));
  revoked_unref(five);
  revoked_unref(six);
  revoked_unref(other);
}

static void no_byte_of_a_list_can_be_changed(void **state) {
  (void)state;
  struct revoked_entry e[] = {entry(1, NOW), entry(2, NOW), entry(3, NOW)};
  uint8_t *bytes;
  size_t n;
  char why[PASS_WHY_LEN];
  struct revoked *r;
  struct id realms[] = {*crypto_key_id(bob), *crypto_key_id(realm)};
  assert_int_equal(revoked_issue(realm, 300, e, 3, &bytes, &n, why), 0);
  for (size_t i = 0; i < n; i++)
    for (int bit = 0; bit < 8; bit++) {
      bytes[i] ^= (uint8_t)(1 << bit);
      if (!revoked_parse(&mem, slice_of(bytes, n), realms, 2, &r, why)) fail_msg("byte %zu, bit %d", i, bit);
      bytes[i] ^= (uint8_t)(1 << bit);
    }
  for (size_t i = 0; i < n; i++) assert_int_equal(revoked_parse(&mem, slice_of(bytes, i), realms, 2, &r, why), MACULA_EINVAL);
  assert_int_equal(revoked_parse(&mem, slice_of(bytes, n), realms, 1, &r, why), MACULA_NOT_AUTHORIZED);
  assert_int_equal(revoked_parse(&mem, slice_of(bytes, n), realms, 2, &r, why), 0);
  revoked_unref(r);
  free(bytes);
  assert_int_equal(mem.bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(issued_and_judged),
      cmocka_unit_test(another_realm_is_not_trusted),
      cmocka_unit_test(no_byte_can_be_changed),
      cmocka_unit_test(narrowed_once_for_another_key),
      cmocka_unit_test(narrowed_by_a_key_of_p256),
      cmocka_unit_test(a_holder_cannot_sign_more_than_it_has),
      cmocka_unit_test(a_link_belongs_to_one_pass),
      cmocka_unit_test(what_is_no_pass_is_not_issued),
      cmocka_unit_test(chains_never_grant_more_than_their_root),
      cmocka_unit_test(revoked_with_what_was_narrowed_from_it),
      cmocka_unit_test(a_list_holds_what_was_given),
      cmocka_unit_test(no_list_has_number_0),
      cmocka_unit_test(only_a_higher_number_replaces),
      cmocka_unit_test(no_byte_of_a_list_can_be_changed),
  };
  return cmocka_run_group_tests(tests, keys, free_keys);
}
