#include "passwords.h"

#include <string.h>

#include "base/err.h"
#include "base/list.h"
#include "bounded/lru.h"
#include "trust/crypto.h"
#include "trust/password.h"

struct known {
  struct lru_link link;
  uint8_t key[PASSWORD_KEY_LEN];
  nanotime until;
};

struct check {
  struct list all;
  uint8_t key[PASSWORD_KEY_LEN];
  bool good;
  size_t hash_len, password_len;
  uint8_t text[]; /* hash, password */
};

struct passwords {
  uv_loop_t *uv;
  struct mem *mem;
  uv_work_t work;
  bool working, stopped;
  passwords_done done;
  void *ctx;
  nanotime now;
  uint8_t secret[CRYPTO_HASH_LEN]; /* of this run */
  struct list waiting;             /* check.all, the first one under way */
  size_t count;
  struct lru known;
};

static bool known_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(container_of(h, struct known, link.h)->key, key, len) == 0;
}

int passwords_new(uv_loop_t *uv, struct mem *mem, struct rng rng, passwords_done done, void *ctx,
                  struct passwords **ret_passwords) {
  struct passwords *p = mem_calloc(mem, 1, sizeof *p);
  if (!p) return MACULA_ENOMEM;
  p->uv = uv;
  p->mem = mem;
  p->done = done;
  p->ctx = ctx;
  rng_fill(rng, p->secret, sizeof p->secret);
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

void passwords_free(struct passwords *p) {
  struct lru_link *l;
  if (!p) return;
  p->stopped = true;
  while (p->working) uv_run(p->uv, UV_RUN_ONCE);
  list_for_safe(it, &p->waiting) drop(p, container_of(it, struct check, all));
  while ((l = lru_oldest(&p->known))) forget(p, container_of(l, struct known, link));
  lru_done(&p->known);
  crypto_wipe(p->secret, sizeof p->secret);
  mem_free(p->mem, p);
}

static void remember(struct passwords *p, const struct check *c) {
  struct known *k = mem_calloc(p->mem, 1, sizeof *k);
  struct lru_link *oldest;
  if (!k) return; /* it is computed again next time */
  memcpy(k->key, c->key, sizeof k->key);
  k->until = time_add(p->now, PASSWORDS_KNOWN_FOR);
  if (lru_insert(&p->known, &k->link, k->key, sizeof k->key, &oldest)) mem_free(p->mem, k);
  if (oldest) mem_free(p->mem, container_of(oldest, struct known, link));
}

static bool is_known(struct passwords *p, const uint8_t key[PASSWORD_KEY_LEN]) {
  struct lru_link *l = lru_find(&p->known, key, PASSWORD_KEY_LEN);
  if (!l) return false;
  struct known *k = container_of(l, struct known, link);
  if (p->now >= k->until) {
    forget(p, k);
    return false;
  }
  lru_touch(&p->known, l);
  return true;
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
  uint8_t key[PASSWORD_KEY_LEN];
  bool good = !status && c->good;
  p->working = false;
  if (p->stopped) return;
  memcpy(key, c->key, sizeof key);
  if (good && !is_known(p, key)) remember(p, c);
  drop(p, c);
  next(p);
  p->done(p->ctx, key, good);
}

static bool is_waiting(const struct passwords *p, const uint8_t key[PASSWORD_KEY_LEN]) {
  list_for(it, &p->waiting) if (!memcmp(container_of(it, struct check, all)->key, key, PASSWORD_KEY_LEN)) return true;
  return false;
}

int passwords_check(struct passwords *p, struct slice hash, struct slice password, nanotime now, bool may_wait,
                    uint8_t ret_key[PASSWORD_KEY_LEN], bool *ret_known) {
  const struct slice parts[] = {hash, slice_of("", 1), password};
  *ret_known = false;
  if (password.n > PASSWORD_MAX_LEN || hash.n > PASSWORD_HASH_LEN) return MACULA_EINVAL;
  crypto_mac(p->secret, parts, 3, ret_key, PASSWORD_KEY_LEN);
  p->now = now;
  if ((*ret_known = is_known(p, ret_key)) || is_waiting(p, ret_key)) return 0;
  if (!may_wait || p->count == PASSWORDS_WAITING) return MACULA_RATE_LIMITED;
  struct check *c = mem_calloc(p->mem, 1, sizeof *c + hash.n + password.n);
  if (!c) return MACULA_ENOMEM;
  *c = (struct check){.hash_len = hash.n, .password_len = password.n};
  memcpy(c->key, ret_key, sizeof c->key);
  memcpy(c->text, hash.p, hash.n);
  if (password.n) memcpy(c->text + hash.n, password.p, password.n);
  list_init(&c->all);
  list_append(&p->waiting, &c->all);
  p->count++;
  next(p);
  return 0;
}
