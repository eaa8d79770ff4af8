#include "trust/agree.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"
#include "base/sha256.h"

static const char offer_label[] = "macula offer 1", answer_label[] = "macula answer 1"; /* each with its NUL */
static const char key_label[] = "macula envelope 1", name_label[] = "macula envelope name 1", seal_label[] = "macula seal 1";

/* ---- what is signed --------------------------------------------------------------------------------------------------------
 */
#define MOST_SIGNED (sizeof answer_label + 2 * ID_LEN + INSTANCE_LEN + CRYPTO_HASH_LEN + CRYPTO_X25519_LEN + 256)

struct text {
  uint8_t b[MOST_SIGNED];
  size_t n;
};

static void add(struct text *t, const void *p, size_t n) {
  assert(t->n + n <= sizeof t->b);
  memcpy(t->b + t->n, p, n);
  t->n += n;
}

static void put64(uint64_t v, uint8_t ret[8]) {
  for (int i = 0; i < 8; i++) ret[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get64(const uint8_t *p) {
  uint64_t v = 0;
  for (int i = 0; i < 8; i++) v = v << 8 | p[i];
  return v;
}

/* middle: the offer's number, or the hash of what the offer signed. */
static struct text to_sign(struct slice label, const struct id *from, const struct id *to, const uint8_t *instance,
                           struct slice middle, const uint8_t *value, struct slice realm) {
  struct text t = {.n = 0};
  add(&t, label.p, label.n);
  add(&t, from->b, ID_LEN);
  add(&t, to->b, ID_LEN);
  add(&t, instance, INSTANCE_LEN);
  add(&t, middle.p, middle.n);
  add(&t, value, CRYPTO_X25519_LEN);
  add(&t, realm.p, realm.n);
  return t;
}

static struct text offer_text(const struct id *from, const struct id *to, const uint8_t *instance, uint64_t number,
                              const uint8_t *value, struct slice realm) {
  uint8_t n[8];
  put64(number, n);
  return to_sign(slice_of(offer_label, sizeof offer_label), from, to, instance, slice_of(n, sizeof n), value, realm);
}

static struct text answer_text(const struct id *from, const struct id *to, const uint8_t *instance, const uint8_t *of,
                               const uint8_t *value, struct slice realm) {
  return to_sign(slice_of(answer_label, sizeof answer_label), from, to, instance, slice_of(of, CRYPTO_HASH_LEN), value, realm);
}

static void hash(const struct text *t, uint8_t ret[CRYPTO_HASH_LEN]) { sha256_of(slice_of(t->b, t->n), ret); }

static bool is_signed(const struct agree_self *me, const struct id *by, const struct text *t, const struct wire_agree *m) {
  struct id id;
  if (!crypto_spki_is_ed25519(m->key) && !crypto_spki_is_p256(m->key)) return false;
  return me->verify(m->key, slice_of(t->b, t->n), m->signature, &id) == 0 && id_eq(&id, by);
}

static int sign(const struct agree_self *me, const struct text *t, struct wire_agree *m, uint8_t ret_buf[WIRE_AGREE_MAX],
                size_t *ret_len) {
  uint8_t sig[512];
  size_t n;
  int err = me->sign(me->ctx, slice_of(t->b, t->n), sig, &n);
  if (err) return err;
  m->instance = me->instance;
  m->key = me->spki;
  m->signature = slice_of(sig, n);
  n = wire_agree_encode(m, ret_buf, WIRE_AGREE_MAX);
  if (n > WIRE_AGREE_MAX) return MACULA_EINVAL;
  *ret_len = n;
  return 0;
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------
 */
/* HKDF-Expand for at most one hash. */
static void expand(const uint8_t prk[CRYPTO_HASH_LEN], struct slice label, const struct id *a, const struct id *b,
                   uint8_t *ret_key, size_t n) {
  static const uint8_t one = 1;
  struct slice parts[] = {label, slice_of(a ? a->b : NULL, a ? ID_LEN : 0), slice_of(b ? b->b : NULL, b ? ID_LEN : 0),
                          slice_of(&one, 1)};
  crypto_mac(prk, parts, 4, ret_key, n);
}

/* The keys of an exchange. answered: hash of what the answer signed. False: the other's value makes a secret that everybody
 * knows. */
static bool derive(struct agree_key *k, const struct id *me, const struct id *peer, const uint8_t *secret,
                   const uint8_t *theirs, const uint8_t answered[CRYPTO_HASH_LEN]) {
  uint8_t shared[CRYPTO_X25519_LEN], prk[CRYPTO_HASH_LEN];
  struct slice label = slice_of(key_label, sizeof key_label), input = slice_of(shared, sizeof shared);
  bool good = crypto_x25519(secret, theirs, shared) == 0;
  if (good) {
    crypto_mac(answered, &input, 1, prk, sizeof prk);
    expand(prk, label, me, peer, k->out, sizeof k->out);
    expand(prk, label, peer, me, k->in, sizeof k->in);
    expand(prk, slice_of(name_label, sizeof name_label), NULL, NULL, k->name, sizeof k->name);
    k->set = true;
  }
  crypto_wipe(shared, sizeof shared);
  crypto_wipe(prk, sizeof prk);
  return good;
}

static void wipe(struct agree_key *k) { crypto_wipe(k, sizeof *k); }

static bool lives(const struct agree_key *k, nanotime now) { return k->set && time_since(now, k->made) < AGREE_OVER; }

/* Whether `first`, which both sides have, goes before `k`: they were made at the same time, as each side offered, and both
 * sides are to use the same one. */
static bool goes_before(const struct agree_key *first, const struct agree_key *k, const struct id *me, const struct id *peer) {
  bool mine_first = memcmp(me->b, peer->b, ID_LEN) < 0;
  if (!first->set || !first->proved || first->gone || first->ours == k->ours || first->ours != mine_first) return false;
  return time_since(k->made, first->made) < AGREE_TOGETHER && time_since(first->made, k->made) < AGREE_TOGETHER;
}

/* Takes a key that both sides have. True: the other side runs anew. */
static bool adopt(struct agree *a, const struct agree_key *k, const struct id *me, const struct id *peer) {
  struct agree_key key = *k;
  bool had = a->now.set, anew = had && memcmp(a->now.instance, key.instance, INSTANCE_LEN) != 0;
  if (anew) {
    wipe(&a->now);
    wipe(&a->before[0]);
    wipe(&a->before[1]);
  }
  a->before[1] = a->before[0];
  if (goes_before(&a->now, &key, me, peer)) {
    a->before[0] = key;
  } else {
    a->before[0] = a->now;
    a->now = key;
  }
  crypto_wipe(&key, sizeof key);
  return anew;
}

/* The other has sealed with the earlier key k: perhaps it is the one to use. */
static void prefer(struct agree *a, struct agree_key *k, const struct id *me, const struct id *peer) {
  if (k == &a->now || !goes_before(k, &a->now, me, peer)) return;
  struct agree_key key = a->now;
  a->now = *k;
  *k = key;
  wipe(&key);
}

void agree_done(struct agree *a) { crypto_wipe(a, sizeof *a); }

bool agree_can_seal(const struct agree *a, nanotime now) { return lives(&a->now, now); }

bool agree_is_due(const struct agree *a, nanotime now) {
  return a->now.set && !a->offering && time_since(now, a->now.made) >= (a->now.ours ? AGREE_FRESH : AGREE_LATE);
}

/* ---- the exchange ----------------------------------------------------------------------------------------------------------
 */
void agree_begin(struct agree *a, const struct agree_self *me, const struct id *peer, uint64_t number, struct rng rng) {
  uint8_t value[CRYPTO_X25519_LEN];
  a->offering = true;
  a->number = number;
  rng_fill(rng, a->secret, sizeof a->secret);
  crypto_x25519_public(a->secret, value);
  struct text t = offer_text(&me->id, peer, me->instance.p, number, value, me->realm);
  hash(&t, a->offered);
}

void agree_give_up(struct agree *a) {
  a->offering = false;
  crypto_wipe(a->secret, sizeof a->secret);
}

int agree_offer(const struct agree *a, const struct agree_self *me, const struct id *peer, uint8_t ret_buf[WIRE_AGREE_MAX],
                size_t *ret_len) {
  uint8_t value[CRYPTO_X25519_LEN];
  if (!a->offering) return MACULA_EINVAL;
  crypto_x25519_public(a->secret, value);
  struct text t = offer_text(&me->id, peer, me->instance.p, a->number, value, me->realm);
  struct wire_agree m = {.step = AGREE_OFFER, .number = a->number, .value = slice_of(value, sizeof value)};
  return sign(me, &t, &m, ret_buf, ret_len);
}

static bool is_known_run(const struct agree *a, const struct wire_agree *m) {
  return a->heard && memcmp(m->instance.p, a->heard_instance, INSTANCE_LEN) == 0;
}

static bool is_answer(const struct agree *a, const struct wire_agree *m) {
  return a->offering && crypto_equal(m->of.p, a->offered, sizeof a->offered);
}

bool agree_costs(const struct agree *a, const struct wire_agree *m) {
  if (m->step == AGREE_ANSWER) return is_answer(a, m);
  if (m->step != AGREE_OFFER) return false;
  return !is_known_run(a, m) || m->number > a->heard_number || (m->number == a->heard_number && a->next.set);
}

/* Writes the answer to the offer that was heard last. */
static enum agree_heard answer(const struct agree *a, const struct agree_self *me, const struct id *peer,
                               uint8_t ret_buf[WIRE_AGREE_MAX], size_t *ret_len) {
  struct text t = answer_text(&me->id, peer, me->instance.p, a->heard_hash, a->answer_value, me->realm);
  struct wire_agree m = {.step = AGREE_ANSWER,
                         .of = slice_of(a->heard_hash, sizeof a->heard_hash),
                         .value = slice_of(a->answer_value, sizeof a->answer_value)};
  return sign(me, &t, &m, ret_buf, ret_len) == 0 ? AGREE_REPLY : AGREE_NOTHING;
}

static enum agree_heard new_offer(struct agree *a, const struct agree_self *me, const struct id *peer,
                                  const struct wire_agree *m, const struct text *signed_text, struct rng rng, nanotime now) {
  uint8_t secret[CRYPTO_X25519_LEN], value[CRYPTO_X25519_LEN], offered[CRYPTO_HASH_LEN], answered[CRYPTO_HASH_LEN];
  struct agree_key k = {.made = now};
  rng_fill(rng, secret, sizeof secret);
  crypto_x25519_public(secret, value);
  hash(signed_text, offered);
  struct text t = answer_text(&me->id, peer, me->instance.p, offered, value, me->realm);
  hash(&t, answered);
  bool good = derive(&k, &me->id, peer, secret, m->value.p, answered);
  crypto_wipe(secret, sizeof secret);
  if (!good) return AGREE_FORGED;
  memcpy(k.instance, m->instance.p, INSTANCE_LEN);
  a->next = k;
  crypto_wipe(&k, sizeof k);
  a->heard = true;
  memcpy(a->heard_instance, m->instance.p, INSTANCE_LEN);
  a->heard_number = m->number;
  memcpy(a->heard_hash, offered, sizeof offered);
  memcpy(a->answer_value, value, sizeof value);
  return AGREE_REPLY;
}

static enum agree_heard hear_offer(struct agree *a, const struct agree_self *me, const struct id *peer,
                                   const struct wire_agree *m, struct rng rng, nanotime now, uint8_t ret_buf[WIRE_AGREE_MAX],
                                   size_t *ret_len) {
  struct text t = offer_text(peer, &me->id, m->instance.p, m->number, m->value.p, me->realm);
  uint8_t offered[CRYPTO_HASH_LEN];
  bool known = is_known_run(a, m);
  hash(&t, offered);
  if (known && m->number < a->heard_number) return AGREE_NOTHING;
  if (known && m->number == a->heard_number) { /* again; without `next` it was confirmed already */
    bool same = a->next.set && crypto_equal(offered, a->heard_hash, sizeof offered);
    return same ? answer(a, me, peer, ret_buf, ret_len) : AGREE_NOTHING;
  }
  if (!is_signed(me, peer, &t, m)) return AGREE_FORGED;
  enum agree_heard r = new_offer(a, me, peer, m, &t, rng, now);
  return r == AGREE_REPLY ? answer(a, me, peer, ret_buf, ret_len) : r;
}

static enum agree_heard hear_answer(struct agree *a, const struct agree_self *me, const struct id *peer,
                                    const struct wire_agree *m, nanotime now, bool *ret_new_run) {
  struct text t = answer_text(peer, &me->id, m->instance.p, a->offered, m->value.p, me->realm);
  struct agree_key k = {.made = now, .ours = true};
  uint8_t answered[CRYPTO_HASH_LEN];
  if (!is_answer(a, m)) return AGREE_NOTHING;
  hash(&t, answered);
  if (!is_signed(me, peer, &t, m) || !derive(&k, &me->id, peer, a->secret, m->value.p, answered)) return AGREE_FORGED;
  memcpy(k.instance, m->instance.p, INSTANCE_LEN);
  *ret_new_run = adopt(a, &k, &me->id, peer);
  wipe(&k);
  agree_give_up(a);
  if (!is_known_run(a, m)) { /* it is the living one, as it has answered us */
    a->heard = true;
    memcpy(a->heard_instance, m->instance.p, INSTANCE_LEN);
    a->heard_number = 0;
    wipe(&a->next);
  }
  return AGREE_MADE;
}

enum agree_heard agree_receive(struct agree *a, const struct agree_self *me, const struct id *peer, const struct wire_agree *m,
                               struct rng rng, nanotime now, uint8_t ret_buf[WIRE_AGREE_MAX], size_t *ret_len,
                               bool *ret_new_run) {
  *ret_new_run = false;
  if (m->step == AGREE_OFFER) return hear_offer(a, me, peer, m, rng, now, ret_buf, ret_len);
  if (m->step == AGREE_ANSWER) return hear_answer(a, me, peer, m, now, ret_new_run);
  return AGREE_NOTHING;
}

/* ---- seals -----------------------------------------------------------------------------------------------------------------
 */
static void mac(const uint8_t key[CRYPTO_HASH_LEN], const struct agree_envelope *e, const uint8_t number[8],
                uint8_t ret[AGREE_MAC_LEN]) {
  struct slice parts[] = {slice_of(seal_label, sizeof seal_label),
                          slice_of(e->destination.b, ID_LEN),
                          slice_of(e->source.b, ID_LEN),
                          slice_of(number, 8),
                          slice_of(&e->type, 1),
                          e->payload};
  crypto_mac(key, parts, sizeof parts / sizeof parts[0], ret, AGREE_MAC_LEN);
}

#define SPACE_SHIFT 61

static int place_of(uint64_t space) {
  switch ((enum agree_space)space) {
  case AGREE_CALLS:
    return 0;
  case AGREE_PUBLISHES:
    return 1;
  case AGREE_ANSWERS:
    return 2;
  case AGREE_LARGE_CALLS:
    return 3;
  case AGREE_LARGE_ANSWERS:
    return 4;
  }
  return -1;
}

bool agree_is_large(struct slice seal) {
  if (seal.n != AGREE_SEAL_LEN) return false;
  uint64_t space = get64(seal.p + AGREE_NAME_LEN) >> SPACE_SHIFT;
  return space == AGREE_LARGE_CALLS || space == AGREE_LARGE_ANSWERS;
}

void agree_seal(struct agree *a, enum agree_space space, const struct agree_envelope *e, uint8_t ret_seal[AGREE_SEAL_LEN]) {
  assert(a->now.set && place_of(space) >= 0);
  memcpy(ret_seal, a->now.name, AGREE_NAME_LEN);
  put64((uint64_t)space << SPACE_SHIFT | ++a->now.sent[place_of(space)], ret_seal + AGREE_NAME_LEN);
  mac(a->now.out, e, ret_seal + AGREE_NAME_LEN, ret_seal + AGREE_NAME_LEN + 8);
}

static bool window_has(const struct agree_window *w, uint64_t number) {
  if (number > w->top) return false;
  return w->top - number >= AGREE_WINDOW || w->seen >> (w->top - number) & 1;
}

static void window_take(struct agree_window *w, uint64_t number) {
  if (number > w->top) {
    uint64_t by = number - w->top;
    w->seen = by < AGREE_WINDOW ? w->seen << by : 0;
    w->top = number;
  }
  w->seen |= UINT64_C(1) << (w->top - number);
}

static struct agree_key *find(struct agree *a, const uint8_t *name, nanotime now) {
  struct agree_key *keys[] = {&a->now, &a->next, &a->before[0], &a->before[1]};
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
    if (lives(keys[i], now) && memcmp(keys[i]->name, name, AGREE_NAME_LEN) == 0) return keys[i];
  return NULL;
}

enum agree_verdict agree_open(struct agree *a, const struct agree_envelope *e, struct slice seal, nanotime now) {
  uint8_t want[AGREE_MAC_LEN];
  if (seal.n != AGREE_SEAL_LEN) return AGREE_ALTERED;
  struct agree_key *k = find(a, seal.p, now);
  if (!k) return AGREE_UNKNOWN;
  uint64_t number = get64(seal.p + AGREE_NAME_LEN);
  int place = place_of(number >> SPACE_SHIFT);
  number &= (UINT64_C(1) << SPACE_SHIFT) - 1;
  mac(k->in, e, seal.p + AGREE_NAME_LEN, want);
  if (!crypto_equal(want, seal.p + AGREE_NAME_LEN + 8, sizeof want)) return AGREE_ALTERED;
  struct agree_window *w = &k->got[place < 0 ? 0 : place];
  if (place < 0 || !number || window_has(w, number)) return AGREE_REPLAYED;
  window_take(w, number);
  k->proved = true;
  if (k != &a->next) {
    prefer(a, k, &e->destination, &e->source);
    return AGREE_GOOD;
  }
  bool anew = adopt(a, k, &e->destination, &e->source);
  wipe(&a->next);
  agree_give_up(a);
  return anew ? AGREE_NEW_RUN : AGREE_CONFIRMED;
}

/* ---- what was forgotten ----------------------------------------------------------------------------------------------------
 */
struct agree_mark agree_last(const struct agree *a, enum agree_space space) {
  return (struct agree_mark){.key = get64(a->now.name),
                             .number = (uint64_t)space << SPACE_SHIFT | a->now.sent[place_of(space)]};
}

static bool is_named(const struct agree_key *k, const uint8_t *name) {
  return k->set && memcmp(k->name, name, AGREE_NAME_LEN) == 0;
}

static const struct agree_key *named(const struct agree *a, const uint8_t *name) {
  const struct agree_key *keys[AGREE_KEYS] = {&a->now, &a->next, &a->before[0], &a->before[1]};
  for (size_t i = 0; i < AGREE_KEYS; i++)
    if (is_named(keys[i], name)) return keys[i];
  return NULL;
}

bool agree_seals_with(const struct agree *a, struct slice name) { return is_named(&a->now, name.p); }

size_t agree_forgotten(const struct agree *before, const struct agree *after, struct agree_past ret[AGREE_KEYS]) {
  const struct agree_key *keys[AGREE_KEYS] = {&before->next, &before->now, &before->before[0], &before->before[1]};
  size_t n = 0;
  for (size_t i = 0; i < AGREE_KEYS; i++) {
    if (!keys[i]->set || (after && named(after, keys[i]->name))) continue;
    memcpy(ret[n].name, keys[i]->name, AGREE_NAME_LEN);
    memcpy(ret[n++].got, keys[i]->got, sizeof ret->got);
  }
  return n;
}

size_t agree_names(const struct agree *a, uint8_t ret[AGREE_KEYS * AGREE_NAME_LEN]) {
  const struct agree_key *keys[AGREE_KEYS] = {&a->now, &a->next, &a->before[0], &a->before[1]};
  size_t n = 0;
  for (size_t i = 0; i < AGREE_KEYS; i++) {
    if (!keys[i]->set) continue;
    memcpy(ret + n, keys[i]->name, AGREE_NAME_LEN);
    n += AGREE_NAME_LEN;
  }
  return n;
}

void agree_past_write(const struct agree_past *p, uint8_t ret[AGREE_PAST_LEN]) {
  memcpy(ret, p->name, AGREE_NAME_LEN);
  for (size_t i = 0; i < AGREE_SPACES; i++) {
    put64(p->got[i].top, ret + AGREE_NAME_LEN + 16 * i);
    put64(p->got[i].seen, ret + AGREE_NAME_LEN + 16 * i + 8);
  }
}

void agree_past_read(const uint8_t from[AGREE_PAST_LEN], struct agree_past *ret) {
  memcpy(ret->name, from, AGREE_NAME_LEN);
  for (size_t i = 0; i < AGREE_SPACES; i++)
    ret->got[i] =
        (struct agree_window){.top = get64(from + AGREE_NAME_LEN + 16 * i), .seen = get64(from + AGREE_NAME_LEN + 16 * i + 8)};
}

/* False: nothing is said of that key. */
static bool past_of(const struct agree_told *t, const uint8_t *name, struct agree_past *ret) {
  for (size_t at = 0; at + AGREE_PAST_LEN <= t->past.n; at += AGREE_PAST_LEN) {
    if (memcmp(t->past.p + at, name, AGREE_NAME_LEN) != 0) continue;
    agree_past_read(t->past.p + at, ret);
    return true;
  }
  return false;
}

/* Whether the other had that key when it said so, or has got it since. */
static bool other_has(const struct agree *a, const struct agree_told *t, const uint8_t *name) {
  const struct agree_key *k = named(a, name), *under = named(a, t->under.p);
  if (memcmp(t->under.p, name, AGREE_NAME_LEN) == 0 || (k && under && k->made > under->made)) return true;
  for (size_t at = 0; at + AGREE_NAME_LEN <= t->has.n; at += AGREE_NAME_LEN)
    if (memcmp(t->has.p + at, name, AGREE_NAME_LEN) == 0) return true;
  return false;
}

enum agree_lost agree_fate(const struct agree *a, const struct agree_told *t, const struct agree_mark *mark) {
  uint8_t name[AGREE_NAME_LEN];
  struct agree_past past;
  int place = place_of(mark->number >> SPACE_SHIFT);
  put64(mark->key, name);
  if (!mark->key || place < 0 || other_has(a, t, name)) return AGREE_NOT_LOST;
  if (!past_of(t, name, &past)) return AGREE_MAYBE_LOST;
  return window_has(&past.got[place], mark->number & ((UINT64_C(1) << SPACE_SHIFT) - 1)) ? AGREE_NOT_LOST : AGREE_NEVER;
}

void agree_heard_told(struct agree *a, const struct agree_told *t, uint64_t ret_lost[AGREE_SPACES]) {
  struct agree_key *keys[] = {&a->now, &a->before[0], &a->before[1]};
  struct agree_past past;
  memset(ret_lost, 0, AGREE_SPACES * sizeof *ret_lost);
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    struct agree_key *k = keys[i];
    if (!k->set || k->gone || other_has(a, t, k->name)) continue;
    k->gone = true;
    if (!past_of(t, k->name, &past)) continue;
    for (size_t s = 0; s < AGREE_SPACES; s++)
      if (k->sent[s] > past.got[s].top) ret_lost[s] += k->sent[s] - past.got[s].top;
  }
  for (size_t i = 1; i < sizeof keys / sizeof keys[0] && a->now.gone; i++) {
    if (!keys[i]->set || keys[i]->gone) continue;
    struct agree_key key = *keys[i];
    *keys[i] = a->now;
    a->now = key;
    wipe(&key);
  }
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
static const char *key_check(const struct agree_key *k) {
  for (unsigned i = 0; k->set && i < AGREE_SPACES; i++)
    CHECK(!k->got[i].top || k->got[i].seen & 1, "agree: the highest number that came is not marked");
  return NULL;
}

const char *agree_check(const struct agree *a) {
  CHECK_PART(key_check(&a->next));
  CHECK_PART(key_check(&a->now));
  CHECK_PART(key_check(&a->before[0]));
  CHECK_PART(key_check(&a->before[1]));
  CHECK(a->now.set || !a->before[0].set, "agree: there is an earlier key and none in use");
  CHECK(!a->next.set || a->heard, "agree: a key waits for its first seal, and nothing was offered");
  CHECK(a->heard || !a->heard_number, "agree: nothing was offered, and it has a number");
  return NULL;
}
