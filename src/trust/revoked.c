#include "trust/revoked.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/sha256.h"
#include "wire/cursor.h"

#define VERSION 1

static const char label[] = "macula revoked 1"; /* signed with its NUL */

struct revoked {
  struct mem *mem;
  uint32_t refs;
  struct id realm;
  uint64_t number;
  size_t entries; /* where they begin in bytes */
  size_t count, len;
  uint8_t bytes[];
};

#define WHY(...) snprintf(ret_why, PASS_WHY_LEN, __VA_ARGS__)

struct parts {
  struct slice key, content, signature, entries;
  uint64_t number;
};

static void write_content(struct writer *w, const struct parts *p) {
  writer_array(w, 3);
  writer_uint(w, VERSION);
  writer_uint(w, p->number);
  writer_bin(w, p->entries);
}

static void write_list(struct writer *w, const struct parts *p) {
  writer_array(w, 3);
  writer_bin(w, p->key);
  writer_bin(w, p->content);
  writer_bin(w, p->signature);
}

static bool rising(struct slice entries) {
  for (size_t at = REVOKED_ENTRY_LEN; at < entries.n; at += REVOKED_ENTRY_LEN)
    if (memcmp(entries.p + at - REVOKED_ENTRY_LEN, entries.p + at, PASS_SERIAL_LEN) >= 0) return false;
  return true;
}

static bool read_list(struct slice bytes, struct parts *p) {
  struct reader r = reader_of(bytes), c;
  if (reader_array(&r) != 3) return false;
  p->key = reader_text(&r);
  p->content = reader_text(&r);
  p->signature = reader_text(&r);
  if (r.bad || r.p != r.end) return false;
  c = reader_of(p->content);
  if (reader_array(&c) != 3 || reader_uint(&c) != VERSION) return false;
  p->number = reader_uint(&c);
  p->entries = reader_text(&c);
  return !c.bad && c.p == c.end && p->entries.n % REVOKED_ENTRY_LEN == 0 && p->entries.n <= REVOKED_MAX * REVOKED_ENTRY_LEN &&
         rising(p->entries);
}

/* Whether the list is encoded exactly as write_list encodes it. */
static bool one_way(struct slice bytes, const struct parts *p) {
  uint8_t *again = malloc(bytes.n + p->content.n);
  struct writer list = {again, bytes.n, 0}, content = {again ? again + bytes.n : NULL, p->content.n, 0};
  write_list(&list, p);
  write_content(&content, p);
  bool same = again && list.len == bytes.n && content.len == p->content.n && !memcmp(again, bytes.p, bytes.n) &&
              !memcmp(again + bytes.n, p->content.p, p->content.n);
  free(again);
  return same;
}

static int verify(const struct parts *p, struct id *ret_realm) {
  size_t n = sizeof label + p->content.n;
  uint8_t *data = malloc(n);
  if (!data) return MACULA_ENOMEM;
  memcpy(data, label, sizeof label);
  memcpy(data + sizeof label, p->content.p, p->content.n);
  int err = crypto_verify(p->key, slice_of(data, n), p->signature, ret_realm);
  free(data);
  return err;
}

int revoked_parse(struct mem *mem, struct slice bytes, const struct id *realms, size_t realm_count, struct revoked **ret_list,
                  char ret_why[PASS_WHY_LEN]) {
  struct parts p;
  struct id realm, again;
  char hex[ID_HEX_LEN + 1];
  bool known = false;
  if (bytes.n > REVOKED_MAX_BYTES || !read_list(bytes, &p) || !one_way(bytes, &p))
    return WHY("this is no list of revoked passes of version %d with at most %d entries, or it is damaged", VERSION,
               REVOKED_MAX),
           MACULA_EINVAL;
  if (!p.number) return WHY("the list has number 0, which replaces none: the first one has 1"), MACULA_EINVAL;
  sha256_of(p.key, realm.b);
  id_hex(&realm, hex);
  for (size_t i = 0; i < realm_count; i++) known |= id_eq(&realm, &realms[i]);
  if (!known) return WHY("the list is signed by the realm key %s, which is not trusted here", hex), MACULA_NOT_AUTHORIZED;
  int err = crypto_spki_is_ed25519(p.key) ? verify(&p, &again) : MACULA_BAD_SIGNATURE;
  if (err) return WHY("the list's signature is not the realm key's: it was changed or made up"), err;
  struct revoked *r = mem_alloc(mem, sizeof *r + bytes.n);
  if (!r) return WHY("no memory for the list of revoked passes"), MACULA_ENOMEM;
  *r = (struct revoked){.mem = mem,
                        .refs = 1,
                        .realm = realm,
                        .number = p.number,
                        .entries = (size_t)(p.entries.p - bytes.p),
                        .count = p.entries.n / REVOKED_ENTRY_LEN,
                        .len = bytes.n};
  memcpy(r->bytes, bytes.p, bytes.n);
  *ret_list = r;
  return 0;
}

struct revoked *revoked_ref(struct revoked *r) {
  assert(r->refs > 0);
  r->refs++;
  return r;
}

void revoked_unref(struct revoked *r) {
  if (!r) return;
  assert(r->refs > 0);
  if (--r->refs == 0) mem_free(r->mem, r);
}

const struct id *revoked_realm(const struct revoked *r) { return &r->realm; }
uint64_t revoked_number(const struct revoked *r) { return r->number; }
size_t revoked_count(const struct revoked *r) { return r->count; }
struct slice revoked_bytes(const struct revoked *r) {
  return slice_of(r->bytes, r->len);
}

static const uint8_t *entry(const struct revoked *r, size_t i) { return r->bytes + r->entries + i * REVOKED_ENTRY_LEN; }

struct revoked_entry revoked_at(const struct revoked *r, size_t i) {
  struct revoked_entry e = {.until = 0};
  memcpy(e.serial, entry(r, i), PASS_SERIAL_LEN);
  for (int k = 0; k < 8; k++) e.until = e.until << 8 | entry(r, i)[PASS_SERIAL_LEN + k];
  return e;
}

bool revoked_has(const struct revoked *r, const uint8_t serial[PASS_SERIAL_LEN]) {
  size_t low = 0, high = r->count;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    int d = memcmp(serial, entry(r, mid), PASS_SERIAL_LEN);
    if (d == 0) return true;
    if (d < 0)
      high = mid;
    else
      low = mid + 1;
  }
  return false;
}

bool revoked_replaces(const struct revoked *newer, const struct revoked *old) {
  return !old || (id_eq(&newer->realm, &old->realm) && newer->number > old->number);
}

/* ---- making one -----------------------------------------------------------------------------------------------------------
 */
static int by_serial(const void *a, const void *b) {
  const struct revoked_entry *x = a, *y = b;
  int d = memcmp(x->serial, y->serial, PASS_SERIAL_LEN);
  return d ? d : x->until < y->until ? 1 : x->until > y->until ? -1 : 0; /* the last end first */
}

static size_t pack(struct revoked_entry *entries, size_t count, uint8_t *to) {
  size_t n = 0;
  if (count) qsort(entries, count, sizeof *entries, by_serial);
  for (size_t i = 0; i < count; i++) {
    if (i && !memcmp(entries[i].serial, entries[i - 1].serial, PASS_SERIAL_LEN)) continue;
    memcpy(to + n, entries[i].serial, PASS_SERIAL_LEN);
    n += PASS_SERIAL_LEN;
    for (int k = 7; k >= 0; k--) to[n++] = (uint8_t)(entries[i].until >> 8 * k);
  }
  return n;
}

int revoked_issue(const struct crypto_key *realm, uint64_t number, struct revoked_entry *entries, size_t count,
                  uint8_t **ret_bytes, size_t *ret_len, char ret_why[PASS_WHY_LEN]) {
  uint8_t signature[CRYPTO_SIGNATURE_LEN];
  if (count > REVOKED_MAX)
    return WHY("a list has at most %d entries: let passes end sooner, or begin a new realm key", REVOKED_MAX), MACULA_EINVAL;
  if (!number) return WHY("the first list of a realm has number 1, not 0"), MACULA_EINVAL;
  uint8_t *packed = malloc(REVOKED_MAX_BYTES), *data = malloc(REVOKED_MAX_BYTES), *out = malloc(REVOKED_MAX_BYTES);
  int err = packed && data && out ? 0 : MACULA_ENOMEM;
  if (!err) {
    struct parts p = {.key = crypto_key_spki(realm), .number = number};
    struct writer w = {data, REVOKED_MAX_BYTES, 0}, list = {out, REVOKED_MAX_BYTES, 0};
    p.entries = slice_of(packed, pack(entries, count, packed));
    writer_raw(&w, slice_of(label, sizeof label));
    write_content(&w, &p);
    err = crypto_sign(realm, slice_of(data, w.len), signature);
    p.content = slice_of(data + sizeof label, w.len - sizeof label);
    p.signature = slice_of(signature, sizeof signature);
    write_list(&list, &p);
    *ret_len = list.len;
  }
  free(packed);
  free(data);
  if (err) {
    free(out);
    return WHY("%s", macula_err_text(err)), err;
  }
  *ret_bytes = out;
  return 0;
}
