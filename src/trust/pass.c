#include "trust/pass.h"

#include <stdio.h>

#include "base/err.h"
#include "base/sha256.h"
#include "trust/revoked.h"
#include "wire/cursor.h"
#include "wire/pattern.h"

#define VERSION 1
#define CLAIMS 12 /* elements */

/* They precede the signed bytes, with their NUL, so that a signature of one kind is not valid for another. */
static const char issue_label[] = "macula pass 1", narrow_label[] = "macula narrowed pass 1";
#define MAX_SIGNED (sizeof narrow_label + CRYPTO_HASH_LEN + PASS_MAX)

static const char *const verdicts[] = {
#define VERDICT_NAME(id, name) name,
    PASS_VERDICTS(VERDICT_NAME)
#undef VERDICT_NAME
};
const char *pass_verdict_name(enum pass_verdict v) { return verdicts[v]; }

#define WHY(...) snprintf(ret_why, PASS_WHY_LEN, __VA_ARGS__)

/* ---- encoding -------------------------------------------------------------------------------------------------------------
 */
static void write_quotas(struct writer *w, const uint32_t quotas[QUOTAS]) {
  uint32_t n = 0;
  for (int q = 0; q < QUOTAS; q++) n += quotas[q] != QUOTA_NONE;
  writer_map(w, n);
  for (unsigned q = 0; q < QUOTAS; q++) {
    if (quotas[q] == QUOTA_NONE) continue;
    writer_uint(w, q);
    writer_uint(w, quotas[q]);
  }
}

static void write_rules(struct writer *w, const struct pass_claims *c, enum right right) {
  uint32_t n = 0;
  for (size_t i = 0; i < c->count; i++) n += c->rules[i].right == right;
  writer_array(w, n);
  for (size_t i = 0; i < c->count; i++)
    if (c->rules[i].right == right) writer_bin(w, c->rules[i].pattern);
}

static void write_claims(struct writer *w, const struct pass_claims *c) {
  writer_array(w, CLAIMS);
  writer_uint(w, VERSION);
  writer_bin(w, slice_of(c->serial, sizeof c->serial));
  writer_bin(w, slice_of(c->holder.b, ID_LEN));
  writer_uint(w, c->role);
  writer_uint(w, c->not_before);
  writer_uint(w, c->not_after);
  writer_uint(w, c->delegate);
  write_quotas(w, c->quotas);
  for (enum right r = 0; r < RIGHTS; r++) write_rules(w, c, r);
}

static void write_link(struct writer *w, const struct pass_link *l) {
  writer_array(w, 3);
  writer_bin(w, l->key);
  writer_bin(w, l->claims_bytes);
  writer_bin(w, l->signature);
}

static void write_pass(struct writer *w, const struct pass *p) {
  writer_array(w, (uint32_t)p->links);
  for (size_t i = 0; i < p->links; i++) write_link(w, &p->link[i]);
}

/* ---- decoding -------------------------------------------------------------------------------------------------------------
 */
static void read_exactly(struct reader *r, uint8_t *ret, size_t n) {
  struct slice s = reader_text(r);
  if (s.n == n)
    memcpy(ret, s.p, n);
  else
    r->bad = true;
}

static void read_quotas(struct reader *r, uint32_t ret[QUOTAS]) {
  for (int q = 0; q < QUOTAS; q++) ret[q] = QUOTA_NONE;
  for (uint32_t n = reader_map(r); n && !r->bad; n--) {
    uint64_t q = reader_uint(r), v = reader_uint(r);
    if (q >= QUOTAS || v >= QUOTA_NONE)
      r->bad = true;
    else
      ret[q] = (uint32_t)v;
  }
}

static bool is_stored(struct slice pattern) {
  char stored[NAME_MAX_LEN + 1];
  size_t n;
  return !name_template(pattern, stored, &n) && slice_eq(pattern, slice_of(stored, n));
}

static void read_rules(struct reader *r, enum right right, struct pass_claims *c) {
  for (uint32_t n = reader_array(r); n && !r->bad; n--) {
    struct slice pattern = reader_text(r);
    if (r->bad || c->count == PASS_MAX_PATTERNS || !is_stored(pattern))
      r->bad = true;
    else
      c->rules[c->count++] = (struct grant_rule){right, 0, pattern};
  }
}

static bool claims_fit(const struct pass_claims *c, char ret_why[PASS_WHY_LEN]) {
  if (c->role >= ROLES || c->delegate > 1 || id_is_zero(&c->holder))
    return WHY("the pass names no role, no holder, or more delegation than once"), false;
  if (c->not_before >= c->not_after) return WHY("the pass ends before it begins"), false;
  if (c->not_after - c->not_before > PASS_MAX_SECONDS)
    return WHY("the pass is for more than %u days, the most that a pass may be for", PASS_MAX_SECONDS / 86400), false;
  return true;
}

static bool read_claims(struct slice bytes, struct pass_claims *c, char ret_why[PASS_WHY_LEN]) {
  struct reader r = reader_of(bytes);
  uint8_t again[PASS_MAX];
  struct writer w = {again, sizeof again, 0};
  uint32_t n = reader_array(&r);
  uint64_t version = reader_uint(&r), role, delegate;
  if (!r.bad && version != VERSION) return WHY("a pass of version %llu: update this side", (unsigned long long)version), false;
  memset(c, 0, sizeof *c);
  read_exactly(&r, c->serial, sizeof c->serial);
  read_exactly(&r, c->holder.b, ID_LEN);
  role = reader_uint(&r);
  c->not_before = reader_uint(&r);
  c->not_after = reader_uint(&r);
  delegate = reader_uint(&r);
  read_quotas(&r, c->quotas);
  for (enum right right = 0; right < RIGHTS; right++) read_rules(&r, right, c);
  if (r.bad || n != CLAIMS || r.p != r.end) return WHY("what the pass says cannot be read: it is damaged, or no pass"), false;
  c->role = role < ROLES ? (enum role)role : ROLES;
  c->delegate = delegate < 2 ? (unsigned)delegate : 2;
  if (!claims_fit(c, ret_why)) return false;
  write_claims(&w, c);
  if (!slice_eq(slice_of(again, w.len), bytes)) return WHY("the pass is not written in the one way there is"), false;
  return true;
}

static bool read_link(struct reader *r, struct pass_link *l) {
  if (reader_array(r) != 3) r->bad = true;
  l->key = reader_text(r);
  l->claims_bytes = reader_text(r);
  l->signature = reader_text(r);
  if (l->signature.n != CRYPTO_SIGNATURE_LEN || l->key.n > CRYPTO_MAX_SPKI) r->bad = true;
  return !r->bad;
}

enum pass_verdict pass_decode(struct slice bytes, struct pass *ret_pass, char ret_why[PASS_WHY_LEN]) {
  struct reader r = reader_of(bytes);
  struct pass p = {0};
  uint8_t again[PASS_MAX];
  struct writer w = {again, sizeof again, 0};
  ret_why[0] = 0;
  if (bytes.n > PASS_MAX) return WHY("a pass has at most %d bytes, this has %zu", PASS_MAX, bytes.n), PASS_MALFORMED;
  uint32_t links = reader_array(&r);
  if (r.bad || links < 1 || links > PASS_MAX_LINKS) return WHY("this is no pass"), PASS_MALFORMED;
  for (; p.links < links; p.links++)
    if (!read_link(&r, &p.link[p.links])) return WHY("this is no pass, or it is damaged"), PASS_MALFORMED;
  write_pass(&w, &p);
  if (r.p != r.end || !slice_eq(slice_of(again, w.len), bytes))
    return WHY("the pass is not written in the one way there is"), PASS_MALFORMED;
  for (size_t i = 0; i < p.links; i++)
    if (!read_claims(p.link[i].claims_bytes, &p.link[i].claims, ret_why)) return PASS_MALFORMED;
  sha256_of(p.link[0].key, p.realm.b);
  *ret_pass = p;
  return PASS_GOOD;
}

/* ---- narrowing ------------------------------------------------------------------------------------------------------------
 */
/* Replaces ${id} by the holder's id; the other variables stay, since they mean the same in both links. */
static bool fill(struct slice pattern, const struct id *holder, char ret[NAME_MAX_LEN + 1], size_t *ret_len) {
  char hex[ID_HEX_LEN + 1];
  id_hex(holder, hex);
  struct name_values values = {slice_of(hex, ID_HEX_LEN), slice_str("${user}"), slice_str("${client}")};
  return !name_template_fill(pattern, &values, ret, ret_len);
}

static bool covers(const struct pass_claims *outer, const struct grant_rule *rule, const struct id *holder) {
  char inner[NAME_MAX_LEN + 1], filled[NAME_MAX_LEN + 1];
  size_t inner_len, n;
  if (!fill(rule->pattern, holder, inner, &inner_len)) return false;
  for (size_t i = 0; i < outer->count; i++)
    if (outer->rules[i].right == rule->right && fill(outer->rules[i].pattern, &outer->holder, filled, &n) &&
        name_pattern_contains(slice_of(filled, n), slice_of(inner, inner_len)))
      return true;
  return false;
}

bool pass_within(const struct pass_claims *outer, const struct pass_claims *inner, char ret_why[PASS_WHY_LEN]) {
  if (outer->delegate <= inner->delegate)
    return outer->delegate ? WHY("a narrowed pass cannot be narrowed again: --delegate 0")
                           : WHY("the pass may not be narrowed: ask for one made with --delegate 1"),
           false;
  if (!role_covers(outer->role, inner->role))
    return WHY("the narrowed pass has the role %s, the pass itself %s", role_name(inner->role), role_name(outer->role)), false;
  if (inner->not_before < outer->not_before || inner->not_after > outer->not_after)
    return WHY("the narrowed pass is for a time that the pass itself is not for"), false;
  for (enum quota q = 0; q < QUOTAS; q++)
    if (inner->quotas[q] > outer->quotas[q])
      return WHY("the narrowed pass has a larger quota of %s than the pass itself, %u", quota_name(q), outer->quotas[q]), false;
  for (size_t i = 0; i < inner->count; i++)
    if (!covers(outer, &inner->rules[i], &inner->holder))
      return WHY("the narrowed pass grants %s '%.*s', which no pattern of the pass itself contains",
                 right_name(inner->rules[i].right), (int)inner->rules[i].pattern.n, (const char *)inner->rules[i].pattern.p),
             false;
  return true;
}

/* ---- signatures -----------------------------------------------------------------------------------------------------------
 */
/* What the signature of link i is over. */
static struct slice signed_bytes(const struct pass *p, size_t i, uint8_t buf[MAX_SIGNED]) {
  struct slice label = i ? slice_of(narrow_label, sizeof narrow_label) : slice_of(issue_label, sizeof issue_label);
  struct writer w = {buf, MAX_SIGNED, 0};
  writer_raw(&w, label);
  if (i) {
    uint8_t first[PASS_MAX], hash[CRYPTO_HASH_LEN];
    struct writer f = {first, sizeof first, 0};
    write_link(&f, &p->link[i - 1]);
    sha256_of(slice_of(first, f.len), hash);
    writer_raw(&w, slice_of(hash, sizeof hash));
  }
  writer_raw(&w, p->link[i].claims_bytes);
  return slice_of(buf, w.len);
}

static enum pass_verdict check_link(const struct pass *p, size_t i, char ret_why[PASS_WHY_LEN]) {
  const struct pass_link *l = &p->link[i];
  uint8_t buf[MAX_SIGNED];
  struct id id;
  if (i == 0 && !crypto_spki_is_ed25519(l->key)) return WHY("the pass is not signed by an Ed25519 key"), PASS_FORGED;
  if (i) {
    sha256_of(l->key, id.b);
    if (!id_eq(&id, &l[-1].claims.holder)) return WHY("the pass was narrowed by another key than its holder's"), PASS_FORGED;
  }
  int err = crypto_verify(l->key, signed_bytes(p, i, buf), l->signature, &id);
  if (err == MACULA_ENOMEM) return WHY("no memory to verify a signature"), PASS_NO_MEMORY;
  if (err) return WHY("the pass's signature is not its signer's: it was changed or made up"), PASS_FORGED;
  /* Checked last, as it may take milliseconds: only a holder with valid signatures can make us do it. */
  return i && !pass_within(&l[-1].claims, &l->claims, ret_why) ? PASS_WIDER : PASS_GOOD;
}

static bool is_one_of(const struct id *id, const struct id *ids, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (id_eq(id, &ids[i])) return true;
  return false;
}

enum pass_verdict pass_now(const struct pass *p, const struct pass_trust *t, char ret_why[PASS_WHY_LEN]) {
  const struct pass_claims *c = pass_effective(p);
  char hex[ID_HEX_LEN + 1], serial[2 * PASS_SERIAL_LEN + 1];
  id_hex(&c->holder, hex);
  if (t->holder && !id_eq(t->holder, &c->holder))
    return WHY("the pass is for the key %s: show it with that identity", hex), PASS_OTHERS;
  if (t->now < c->not_before)
    return WHY("the pass begins in %llu s: is the clock right?", (unsigned long long)(c->not_before - t->now)), PASS_EARLY;
  if (t->now > c->not_after)
    return WHY("the pass ended %llu s ago: ask for another", (unsigned long long)(t->now - c->not_after)), PASS_EXPIRED;
  for (size_t i = 0; i < p->links; i++) {
    bool gone = false;
    for (size_t k = 0; k < t->revoked_count; k++)
      gone |= id_eq(revoked_realm(t->revoked[k]), &p->realm) && revoked_has(t->revoked[k], p->link[i].claims.serial);
    if (!gone) continue;
    hex_encode(p->link[i].claims.serial, PASS_SERIAL_LEN, serial);
    return WHY("the pass %s%s was revoked: ask for another", serial, i + 1 < p->links ? ", of which this one is a part," : ""),
           PASS_REVOKED;
  }
  return PASS_GOOD;
}

enum pass_verdict pass_verify(struct slice bytes, const struct pass_trust *t, struct pass *ret_pass,
                              char ret_why[PASS_WHY_LEN]) {
  char hex[ID_HEX_LEN + 1];
  enum pass_verdict v = pass_decode(bytes, ret_pass, ret_why);
  if (v) return v;
  id_hex(&ret_pass->realm, hex);
  if (!is_one_of(&ret_pass->realm, t->realms, t->realm_count))
    return WHY("the pass is signed by the realm key %s, which is not trusted here: realm_keys says which are", hex),
           PASS_FOREIGN;
  if ((v = pass_now(ret_pass, t, ret_why))) return v; /* costs less than a signature */
  for (size_t i = 0; i < ret_pass->links && !v; i++) v = check_link(ret_pass, i, ret_why);
  return v;
}

int pass_grant(struct mem *mem, const struct pass *p, struct grant **ret_grant) {
  const struct pass_claims *c = pass_effective(p);
  struct grant_spec spec = {.name = slice_str("pass"), .role = c->role, .rules = c->rules, .count = c->count};
  memcpy(spec.quotas, c->quotas, sizeof spec.quotas);
  return grant_new(mem, &spec, ret_grant);
}

/* ---- making them ----------------------------------------------------------------------------------------------------------
 */
/* Adds a link to p, whose others it has already. */
static int add_link(struct pass *p, const struct crypto_key *key, const struct pass_claims *claims, uint8_t ret_bytes[PASS_MAX],
                    size_t *ret_len, char ret_why[PASS_WHY_LEN]) {
  uint8_t raw[PASS_MAX], buf[MAX_SIGNED], signature[CRYPTO_SIGNATURE_LEN];
  struct writer w = {raw, sizeof raw, 0}, out = {ret_bytes, PASS_MAX, 0};
  struct pass_link *l = &p->link[p->links++];
  struct pass again;
  write_claims(&w, claims);
  if (w.len <= sizeof raw) {
    *l = (struct pass_link){crypto_key_spki(key), slice_of(raw, w.len), slice_of(signature, sizeof signature), *claims};
    if (crypto_sign(key, signed_bytes(p, p->links - 1, buf), signature)) return WHY("signing failed"), MACULA_EINTERNAL;
    write_pass(&out, p);
  }
  if (w.len > sizeof raw || out.len > PASS_MAX)
    return WHY("the pass would have more than %d bytes: give fewer or shorter patterns", PASS_MAX), MACULA_EINVAL;
  if (pass_decode(slice_of(ret_bytes, out.len), &again, ret_why)) return MACULA_EINVAL;
  if (check_link(&again, again.links - 1, ret_why)) return MACULA_EINVAL;
  *ret_len = out.len;
  return 0;
}

int pass_issue(const struct crypto_key *realm, const struct pass_claims *claims, uint8_t ret_bytes[PASS_MAX], size_t *ret_len,
               char ret_why[PASS_WHY_LEN]) {
  struct pass p = {0};
  return add_link(&p, realm, claims, ret_bytes, ret_len, ret_why);
}

int pass_narrow(struct slice pass, const struct crypto_key *holder, const struct pass_claims *claims,
                uint8_t ret_bytes[PASS_MAX], size_t *ret_len, char ret_why[PASS_WHY_LEN]) {
  struct pass p;
  if (pass_decode(pass, &p, ret_why)) return MACULA_EINVAL;
  if (p.links == PASS_MAX_LINKS) return WHY("the pass was narrowed already, which can be done once"), MACULA_EINVAL;
  return add_link(&p, holder, claims, ret_bytes, ret_len, ret_why);
}
