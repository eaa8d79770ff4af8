#include "dht/verify.h"

#include "base/err.h"

/* Precedes the bytes that are signed, so that a record's signature is not valid for anything else signed with this key. */
#define DOMAIN "macula dht record 1"

struct verified {
  struct lru_link l;
  uint64_t key[6];
  struct id publisher;
};

static bool verified_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(container_of(container_of(h, struct lru_link, h), struct verified, l)->key, key, len) == 0;
}

void verifier_init(struct verifier *v, struct mem *mem, struct rng rng, const struct dht_crypto *crypto, struct slice realm) {
  *v = (struct verifier){.crypto = *crypto, .realm = realm};
  slab_init(&v->entries, mem, sizeof(struct verified));
  rng_fill(rng, v->seeds, sizeof v->seeds);
  lru_init(&v->seen, mem, rng, VERIFY_CACHE, verified_eq);
}

const void *verified_block(const struct lru_link *l) { return container_of(l, const struct verified, l); }

static void forget(struct verifier *v, struct lru_link *l) { slab_free(&v->entries, container_of(l, struct verified, l)); }

void verifier_done(struct verifier *v) {
  for (struct lru_link *l; (l = lru_oldest(&v->seen));) {
    lru_remove(&v->seen, l);
    forget(v, l);
  }
  lru_done(&v->seen);
}

/* Two hashes of each part with secret seeds: without knowing these, nobody can make another batch pass for a verified one. */
static void hash_parts(const struct verifier *v, const struct kad_signed *s, uint64_t ret[6]) {
  const struct slice parts[3] = {s->record, s->signature, s->spki};
  for (int i = 0; i < 6; i++) ret[i] = siphash13(v->seeds[i & 1], parts[i / 2].p, parts[i / 2].n);
}

static size_t with_domain(struct slice record, uint8_t ret[sizeof DOMAIN + KAD_MAX_RECORD]) {
  memcpy(ret, DOMAIN, sizeof DOMAIN); /* with its NUL */
  memcpy(ret + sizeof DOMAIN, record.p, record.n);
  return sizeof DOMAIN + record.n;
}

static void keep(struct verifier *v, const uint64_t key[6], const struct id *publisher) {
  struct verified *e = slab_alloc(&v->entries);
  struct lru_link *out = NULL;
  if (!e) return; /* without memory the batch is verified again next time */
  memcpy(e->key, key, sizeof e->key);
  e->publisher = *publisher;
  if (lru_insert(&v->seen, &e->l, e->key, sizeof e->key, &out)) slab_free(&v->entries, e);
  if (out) forget(v, out);
}

int verify_batch(struct verifier *v, const struct kad_signed *s, struct kad_batch *ret_batch, struct id *ret_publisher) {
  uint8_t signed_bytes[sizeof DOMAIN + KAD_MAX_RECORD];
  uint64_t key[6];
  int err = kad_batch_decode(s->record, ret_batch);
  if (!err && !slice_eq(ret_batch->realm, v->realm)) err = MACULA_REALM_MISMATCH;
  if (err) goto refuse;
  hash_parts(v, s, key);
  struct lru_link *l = lru_find(&v->seen, key, sizeof key);
  if (l) {
    lru_touch(&v->seen, l);
    v->hits++;
    *ret_publisher = container_of(l, struct verified, l)->publisher;
    return 0;
  }
  size_t n = with_domain(s->record, signed_bytes);
  v->done++;
  err = v->crypto.verify(v->crypto.ctx, s->spki, slice_of(signed_bytes, n), s->signature, ret_publisher);
  if (err) {
    err = MACULA_BAD_SIGNATURE;
    goto refuse;
  }
  keep(v, key, ret_publisher);
  return 0;
refuse:
  v->refused++;
  return err;
}

int sign_record(const struct verifier *v, struct slice record, uint8_t *ret_sig, size_t *ret_len) {
  uint8_t signed_bytes[sizeof DOMAIN + KAD_MAX_RECORD];
  if (record.n > KAD_MAX_RECORD) return MACULA_EINVAL;
  return v->crypto.sign(v->crypto.ctx, slice_of(signed_bytes, with_domain(record, signed_bytes)), ret_sig, ret_len);
}
