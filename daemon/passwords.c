#include "passwords.h"

#include <string.h>

#include "base/err.h"
#include "base/list.h"
#include "bounded/lru.h"
#include "trust/crypto.h"
#include "trust/password.h"

struct known {
  struct lru_link link;
  uint8_t mac[CRYPTO_HASH_LEN];
  nanotime until;
};

struct check {
  struct list all;
  uint8_t mac[CRYPTO_HASH_LEN];
  void (*done)(void *ctx, bool good);
  void *ctx;
  bool good;
  size_t hash_len, password_len;
  uint8_t text[]; /* hash, password */
};

struct passwords {
  uv_loop_t *uv;
  struct mem *mem;
  uv_work_t work;
  bool working, freed;
  nanotime now;
  uint8_t key[CRYPTO_HASH_LEN];
  struct list waiting; /* check.all, the first one under way */
  size_t count;
  struct lru known;
};

static bool known_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(container_of(h, struct known, link.h)->mac, key, len) == 0;
}

int passwords_new(uv_loop_t *uv, struct mem *mem, struct rng rng, struct passwords **ret_passwords) {
  struct passwords *p = mem_calloc(mem, 1, sizeof *p);
  if (!p) return MACULA_ENOMEM;
  p->uv = uv;
  p->mem = mem;
  rng_fill(rng, p->key, sizeof p->key);
  list_init(&p->waiting);
  lru_init(&p->known, mem, rng, PASSWORDS_KNOWN, known_eq);
  *ret_passwords = p;
  return 0;
}

static void drop(struct passwords *p, struct check *c) {
  list_remove(&c->all);
  p->count--;
  crypto_wipe(c->text, c->hash_len + c->password_len);
  mem_free(p->mem, c);
}

static void forget(struct passwords *p, struct known *k) {
  lru_remove(&p->known, &k->link);
  mem_free(p->mem, k);
}

static void free_all(struct passwords *p) {
  struct lru_link *l;
  list_for_safe(it, &p->waiting) drop(p, container_of(it, struct check, all));
  while ((l = lru_oldest(&p->known))) forget(p, container_of(l, struct known, link));
  lru_done(&p->known);
  crypto_wipe(p->key, sizeof p->key);
  mem_free(p->mem, p);
}

void passwords_free(struct passwords *p) {
  if (!p) return;
  p->freed = true;
  if (!p->working) free_all(p);
}

static void remember(struct passwords *p, const struct check *c) {
  struct known *k = mem_calloc(p->mem, 1, sizeof *k);
  struct lru_link *oldest;
  if (!k) return; /* it is computed again next time */
  memcpy(k->mac, c->mac, sizeof k->mac);
  k->until = time_add(p->now, PASSWORDS_KNOWN_FOR);
  if (lru_insert(&p->known, &k->link, k->mac, sizeof k->mac, &oldest)) mem_free(p->mem, k);
  if (oldest) mem_free(p->mem, container_of(oldest, struct known, link));
}

static bool is_known(struct passwords *p, const uint8_t mac[CRYPTO_HASH_LEN]) {
  struct lru_link *l = lru_find(&p->known, mac, CRYPTO_HASH_LEN);
  if (!l) return false;
  struct known *k = container_of(l, struct known, link);
  if (p->now < k->until) return true;
  forget(p, k);
  return false;
}

static void compute(uv_work_t *w) { /* on a thread of the pool */
  struct passwords *p = w->data;
  struct check *c = container_of(p->waiting.next, struct check, all);
  c->good = password_check(slice_of(c->text, c->hash_len), slice_of(c->text + c->hash_len, c->password_len));
}

static void computed(uv_work_t *w, int status);

static void next(struct passwords *p) {
  if (p->working || list_empty(&p->waiting)) return;
  p->work.data = p;
  p->working = uv_queue_work(p->uv, &p->work, compute, computed) == 0;
}

static void computed(uv_work_t *w, int status) {
  struct passwords *p = w->data;
  struct check *c = container_of(p->waiting.next, struct check, all);
  void (*done)(void *ctx, bool good) = c->done;
  void *ctx = c->ctx;
  bool good = !status && c->good;
  p->working = false;
  if (p->freed) {
    free_all(p);
    return;
  }
  if (good && !is_known(p, c->mac)) remember(p, c);
  drop(p, c);
  next(p);
  done(ctx, good);
}

int passwords_check(struct passwords *p, struct slice hash, struct slice password, nanotime now,
                    void (*done)(void *ctx, bool good), void *ctx) {
  if (password.n > PASSWORD_MAX_LEN || hash.n > PASSWORD_HASH_LEN) return MACULA_EINVAL;
  struct check *c = mem_calloc(p->mem, 1, sizeof *c + hash.n + password.n);
  if (!c) return MACULA_ENOMEM;
  *c = (struct check){.done = done, .ctx = ctx, .hash_len = hash.n, .password_len = password.n};
  memcpy(c->text, hash.p, hash.n);
  if (password.n) memcpy(c->text + hash.n, password.p, password.n);
  const struct slice parts[] = {hash, slice_of("", 1), password};
  crypto_mac(p->key, parts, 3, c->mac, sizeof c->mac);
  p->now = now;
  bool known = is_known(p, c->mac);
  if (known || p->count == PASSWORDS_WAITING) {
    crypto_wipe(c->text, hash.n + password.n);
    mem_free(p->mem, c);
    if (!known) return MACULA_RATE_LIMITED;
    done(ctx, true);
    return 0;
  }
  list_append(&p->waiting, &c->all);
  p->count++;
  next(p);
  return 0;
}
