/* Keys for envelopes: the exchange between two nodes, whatever is lost, repeated or forged on the way; seals; and the same made
 * by another implementation (tests/conformance/agree.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "quic/identity.h"
#include "trust/agree.h"

/* ---- two nodes -------------------------------------------------------------------------------------------------------------
 */
struct side {
  struct crypto_key *key;
  struct agree_self me;
  uint8_t run[INSTANCE_LEN];
  struct agree agree; /* with the other */
  uint64_t number;
};

struct sent {
  uint8_t b[WIRE_AGREE_MAX];
  size_t n;
};

static struct rng_seeded dice;
static nanotime now = 1000 * NS_SEC;

static int sign(void *ctx, struct slice data, uint8_t *ret_sig, size_t *ret_len) {
  *ret_len = CRYPTO_SIGNATURE_LEN;
  return crypto_sign(ctx, data, ret_sig);
}

static void side_of(struct side *s, struct crypto_key *key, const char *run) {
  *s = (struct side){.key = key};
  memcpy(s->run, run, sizeof s->run);
  s->me = (struct agree_self){.id = *crypto_key_id(key),
                              .realm = slice_str("default"),
                              .instance = slice_of(s->run, sizeof s->run),
                              .spki = crypto_key_spki(key),
                              .sign = sign,
                              .verify = quic_verify,
                              .ctx = key};
}

static void two(struct side *a, struct side *b) {
  struct crypto_key *k[2];
  for (int i = 0; i < 2; i++) assert_int_equal(crypto_key_new(&k[i]), 0);
  bool first = memcmp(crypto_key_id(k[0])->b, crypto_key_id(k[1])->b, ID_LEN) < 0;
  side_of(a, k[!first], "run 1 of side a.");
  side_of(b, k[first], "run 1 of side b.");
}

static void gone(struct side *a, struct side *b) {
  crypto_key_free(a->key);
  crypto_key_free(b->key);
}

static struct rng rng(void) { return rng_seeded_view(&dice); }

static struct sent offer(struct side *s, const struct side *to) {
  struct sent o;
  assert_int_equal(agree_offer(&s->agree, &s->me, &to->me.id, o.b, &o.n), 0);
  return o;
}

static struct sent begin(struct side *s, const struct side *to) {
  agree_begin(&s->agree, &s->me, &to->me.id, ++s->number, rng());
  return offer(s, to);
}

static enum agree_heard hear(struct side *s, const struct side *from, const struct sent *m, struct sent *ret, bool *anew) {
  struct wire_agree w;
  struct sent none;
  bool is;
  assert_int_equal(wire_agree_decode(slice_of(m->b, m->n), &w), 0);
  if (!ret) ret = &none;
  enum agree_heard r = agree_receive(&s->agree, &s->me, &from->me.id, &w, rng(), now, ret->b, &ret->n, anew ? anew : &is);
  if (agree_check(&s->agree)) fail_msg("%s", agree_check(&s->agree));
  return r;
}

struct letter {
  struct agree_envelope e;
  uint8_t seal[AGREE_SEAL_LEN];
};

static struct letter letter(struct side *s, const struct side *to, enum agree_space space) {
  struct letter l = {
      .e = {.destination = to->me.id, .source = s->me.id, .type = MSG_CALL, .payload = slice_str("what is said")}};
  assert_true(agree_can_seal(&s->agree, now));
  agree_seal(&s->agree, space, &l.e, l.seal);
  return l;
}

static enum agree_verdict open_letter(struct side *s, const struct letter *l) {
  enum agree_verdict v = agree_open(&s->agree, &l->e, slice_of(l->seal, sizeof l->seal), now);
  if (agree_check(&s->agree)) fail_msg("%s", agree_check(&s->agree));
  return v;
}

static enum agree_verdict says(struct side *s, struct side *to) {
  struct letter l = letter(s, to, AGREE_CALLS);
  return open_letter(to, &l);
}

/* a offers, and all comes through. */
static void exchange(struct side *a, struct side *b) {
  struct sent o = begin(a, b), answer;
  assert_int_equal(hear(b, a, &o, &answer, NULL), AGREE_REPLY);
  assert_int_equal(hear(a, b, &answer, NULL, NULL), AGREE_MADE);
  assert_int_equal(says(a, b), AGREE_CONFIRMED);
  assert_int_equal(says(b, a), AGREE_GOOD);
}

/* ---- tests -----------------------------------------------------------------------------------------------------------------
 */
static void test_both_ways(void **state) {
  struct side a, b;
  (void)state;
  two(&a, &b);
  exchange(&a, &b);
  now += AGREE_TOGETHER;
  exchange(&b, &a);
  struct letter l = letter(&a, &b, AGREE_CALLS), m = l;
  assert_int_equal(open_letter(&a, &l), AGREE_ALTERED); /* sent back */
  m.e.type = MSG_CAST;
  assert_int_equal(open_letter(&b, &m), AGREE_ALTERED);
  m = l;
  m.e.payload = slice_str("what is said!");
  assert_int_equal(open_letter(&b, &m), AGREE_ALTERED);
  m = l;
  m.e.source.b[0] ^= 1;
  assert_int_equal(open_letter(&b, &m), AGREE_ALTERED);
  for (size_t i = 0; i < sizeof l.seal; i++) {
    m = l;
    m.seal[i] ^= 0x10;
    assert_int_equal(open_letter(&b, &m), i < AGREE_NAME_LEN ? AGREE_UNKNOWN : AGREE_ALTERED);
  }
  assert_int_equal(agree_open(&b.agree, &l.e, slice_of(l.seal, sizeof l.seal - 1), now), AGREE_ALTERED);
  assert_int_equal(open_letter(&b, &l), AGREE_GOOD);
  assert_int_equal(open_letter(&b, &l), AGREE_REPLAYED);
  gone(&a, &b);
}

/* Both offer at once: whichever comes first, both end up with the same key, and none of what was sealed meanwhile is lost. */
static void test_at_once(void **state) {
  (void)state;
  for (int order = 0; order < 8; order++) {
    struct side s[2];
    struct sent o[2], answer[2];
    two(&s[0], &s[1]);
    for (int i = 0; i < 2; i++) o[i] = begin(&s[i], &s[!i]);
    for (int i = 0; i < 2; i++) {
      int k = i ^ (order & 1);
      assert_int_equal(hear(&s[!k], &s[k], &o[k], &answer[k], NULL), AGREE_REPLY);
    }
    struct letter l[2];
    bool made[2] = {false, false};
    for (int i = 0; i < 2; i++) {
      int k = i ^ (order >> 1 & 1);
      made[k] = hear(&s[k], &s[!k], &answer[k], NULL, NULL) == AGREE_MADE;
      if (made[k]) l[k] = letter(&s[k], &s[!k], AGREE_CALLS);
      if (made[k] && order & 4) assert_int_equal(open_letter(&s[!k], &l[k]), AGREE_CONFIRMED);
    }
    for (int k = 0; k < 2; k++)
      if (made[k] && !(order & 4)) assert_int_equal(open_letter(&s[!k], &l[k]), AGREE_CONFIRMED);
    for (int i = 0; i < 2; i++) {
      assert_int_equal(says(&s[0], &s[1]), AGREE_GOOD);
      assert_int_equal(says(&s[1], &s[0]), AGREE_GOOD);
    }
    assert_memory_equal(s[0].agree.now.name, s[1].agree.now.name, AGREE_NAME_LEN);
    assert_false(s[0].agree.offering || s[1].agree.offering);
    gone(&s[0], &s[1]);
  }
}

static void test_lost_and_repeated(void **state) {
  struct side a, b;
  struct sent answer, again;
  (void)state;
  two(&a, &b);
  struct sent o = begin(&a, &b), p = offer(&a, &b);
  assert_memory_equal(o.b, p.b, o.n);
  assert_int_equal(hear(&b, &a, &o, &answer, NULL), AGREE_REPLY); /* lost */
  assert_false(agree_can_seal(&b.agree, now));                    /* who knows who offered */
  assert_int_equal(hear(&b, &a, &p, &again, NULL), AGREE_REPLY);
  assert_memory_equal(answer.b, again.b, answer.n);
  assert_int_equal(hear(&a, &b, &again, NULL, NULL), AGREE_MADE);
  assert_int_equal(hear(&a, &b, &answer, NULL, NULL), AGREE_NOTHING);
  struct letter lost = letter(&a, &b, AGREE_CALLS);
  (void)lost;
  assert_int_equal(says(&a, &b), AGREE_CONFIRMED);
  assert_int_equal(hear(&b, &a, &o, NULL, NULL), AGREE_NOTHING); /* replayed */
  assert_int_equal(says(&b, &a), AGREE_GOOD);
  gone(&a, &b);
}

/* What was recorded is sent again, at any time, and what another signs: nothing changes for the two. */
static void test_replayed_and_forged(void **state) {
  struct side a, b, c;
  struct sent old[8], answer;
  (void)state;
  two(&a, &b);
  struct crypto_key *k;
  assert_int_equal(crypto_key_new(&k), 0);
  side_of(&c, k, "run 9 of side c.");
  for (int i = 0; i < 8; i++) {
    old[i] = begin(&a, &b);
    assert_int_equal(hear(&b, &a, &old[i], &answer, NULL), AGREE_REPLY);
    assert_int_equal(hear(&a, &b, &answer, NULL, NULL), AGREE_MADE);
    assert_int_equal(says(&a, &b), AGREE_CONFIRMED);
    now += AGREE_FRESH;
  }
  for (int i = 0; i < 8; i++) {
    assert_int_equal(hear(&b, &a, &old[i], NULL, NULL), AGREE_NOTHING);
    assert_int_equal(hear(&a, &b, &old[i], NULL, NULL), AGREE_FORGED); /* back at who said it */
    assert_int_equal(says(&a, &b), AGREE_GOOD);
    assert_int_equal(says(&b, &a), AGREE_GOOD);
  }
  /* b has forgotten all: what was recorded makes b answer, and no more. */
  agree_done(&b.agree);
  for (int i = 0; i < 8; i++) {
    assert_int_equal(hear(&b, &a, &old[i], &answer, NULL), AGREE_REPLY);
    assert_int_equal(hear(&a, &b, &answer, NULL, NULL), AGREE_NOTHING);
    assert_false(agree_can_seal(&b.agree, now));
  }
  struct sent o = begin(&a, &b);
  assert_int_equal(hear(&b, &a, &o, &answer, NULL), AGREE_REPLY);
  for (int i = 0; i < 8; i++) assert_int_equal(hear(&b, &a, &old[i], NULL, NULL), AGREE_NOTHING);
  /* In another's name: an offer, and an answer to one that was seen. */
  struct sent mine = begin(&c, &b);
  assert_int_equal(hear(&b, &a, &mine, NULL, NULL), AGREE_FORGED);
  struct sent his;
  assert_int_equal(hear(&c, &a, &o, &his, NULL), AGREE_FORGED); /* it was not for c */
  struct wire_agree w;
  assert_int_equal(wire_agree_decode(slice_of(answer.b, answer.n), &w), 0);
  w.value = slice_of(c.me.id.b, ID_LEN);
  his.n = wire_agree_encode(&w, his.b, sizeof his.b);
  assert_int_equal(hear(&a, &b, &his, NULL, NULL), AGREE_FORGED);
  assert_int_equal(hear(&a, &b, &answer, NULL, NULL), AGREE_MADE);
  assert_int_equal(says(&a, &b), AGREE_CONFIRMED);
  gone(&a, &b);
  crypto_key_free(c.key);
}

/* Hourly, and no letter between is refused: also those that were sealed before and come later. */
static void test_renewed_without_a_gap(void **state) {
  struct side a, b;
  struct sent answer;
  (void)state;
  two(&a, &b);
  exchange(&a, &b);
  for (int hour = 0; hour < 5; hour++) {
    nanotime made = a.agree.now.made;
    while (!agree_is_due(&a.agree, now)) {
      now += 60 * NS_SEC;
      assert_int_equal(says(&a, &b), AGREE_GOOD);
      assert_int_equal(says(&b, &a), AGREE_GOOD);
    }
    assert_true(now - made >= AGREE_FRESH && now - made < AGREE_FRESH + 60 * NS_SEC);
    assert_false(agree_is_due(&b.agree, now)); /* only one of the two begins */
    struct letter late = letter(&b, &a, AGREE_PUBLISHES), later = letter(&a, &b, AGREE_PUBLISHES);
    struct sent o = begin(&a, &b);
    assert_int_equal(says(&a, &b), AGREE_GOOD);
    assert_int_equal(hear(&b, &a, &o, &answer, NULL), AGREE_REPLY);
    assert_int_equal(says(&b, &a), AGREE_GOOD);
    assert_int_equal(hear(&a, &b, &answer, NULL, NULL), AGREE_MADE);
    assert_int_equal(says(&b, &a), AGREE_GOOD);
    assert_int_equal(says(&a, &b), AGREE_CONFIRMED);
    now += 600 * NS_SEC;
    assert_int_equal(open_letter(&a, &late), AGREE_GOOD);
    assert_int_equal(open_letter(&b, &later), AGREE_GOOD);
  }
  now += AGREE_LATE;
  assert_true(agree_is_due(&b.agree, now));
  struct letter old = letter(&a, &b, AGREE_CALLS);
  now += AGREE_OVER;
  assert_false(agree_can_seal(&a.agree, now));
  assert_int_equal(open_letter(&b, &old), AGREE_UNKNOWN);
  gone(&a, &b);
}

/* One of the two begins anew, whatever its clock says: the other's keys of the earlier run go once the new run is proved, and
 * not before. */
static void test_restarted(void **state) {
  (void)state;
  for (int back = 0; back < 2; back++) {
    struct side a, b;
    struct sent answer;
    bool anew;
    two(&a, &b);
    exchange(&a, &b);
    struct sent recorded = begin(&b, &a);
    agree_done(&b.agree);
    memcpy(b.run, back ? "run 0 of side b." : "run 2 of side b.", sizeof b.run);
    b.number = 0;
    struct sent o = begin(&b, &a);
    assert_int_equal(hear(&a, &b, &o, &answer, NULL), AGREE_REPLY);
    assert_true(agree_can_seal(&a.agree, now));
    assert_int_equal(hear(&b, &a, &answer, NULL, &anew), AGREE_MADE);
    assert_int_equal(says(&a, &b), AGREE_UNKNOWN);
    if (back) { /* a replayed offer of the earlier run comes between */
      assert_int_equal(hear(&a, &b, &recorded, NULL, NULL), AGREE_REPLY);
      assert_int_equal(says(&b, &a), AGREE_UNKNOWN);
      struct sent mine = begin(&a, &b);
      assert_int_equal(hear(&b, &a, &mine, &answer, NULL), AGREE_REPLY);
      assert_int_equal(hear(&a, &b, &recorded, NULL, NULL), AGREE_REPLY);
      assert_int_equal(hear(&a, &b, &answer, NULL, &anew), AGREE_MADE);
      assert_true(anew);
      assert_int_equal(says(&a, &b), AGREE_CONFIRMED);
      assert_int_equal(says(&b, &a), AGREE_GOOD);
    } else {
      assert_int_equal(says(&b, &a), AGREE_NEW_RUN);
    }
    assert_int_equal(says(&a, &b), AGREE_GOOD);
    assert_int_equal(hear(&a, &b, &recorded, NULL, NULL), AGREE_REPLY);
    assert_int_equal(says(&b, &a), AGREE_GOOD);
    assert_int_equal(says(&a, &b), AGREE_GOOD);
    now += AGREE_FRESH;
    exchange(&b, &a); /* its offers count from now on */
    gone(&a, &b);
  }
}

/* The other has forgotten a key before it was confirmed: its own offer brings both to one that both have. */
static void test_forgotten(void **state) {
  (void)state;
  for (int who = 0; who < 2; who++) {
    struct side s[2];
    struct sent answer;
    two(&s[0], &s[1]);
    struct sent o = begin(&s[who], &s[!who]);
    assert_int_equal(hear(&s[!who], &s[who], &o, &answer, NULL), AGREE_REPLY);
    assert_int_equal(hear(&s[who], &s[!who], &answer, NULL, NULL), AGREE_MADE);
    agree_done(&s[!who].agree);
    assert_int_equal(says(&s[who], &s[!who]), AGREE_UNKNOWN);
    exchange(&s[!who], &s[who]);
    gone(&s[0], &s[1]);
  }
}

/* What becomes of what was sealed under a key that the other has forgotten, by the other's word; and that key is not used on,
 * whoever's offer the new one came of. */
static void test_told(void **state) {
  (void)state;
  for (int who = 0; who < 2; who++) {
    struct side s[2], *a = &s[who], *b = &s[!who];
    struct agree_past past[AGREE_KEYS], none_left[AGREE_KEYS], read;
    uint8_t has[AGREE_KEYS * AGREE_NAME_LEN], told[AGREE_PAST_LEN];
    uint64_t lost[AGREE_SPACES];
    two(&s[0], &s[1]);
    exchange(a, b);
    struct letter came = letter(a, b, AGREE_CALLS), news = letter(a, b, AGREE_PUBLISHES), not_yet = letter(a, b, AGREE_CALLS);
    struct agree_mark m[3] = {agree_last(&a->agree, AGREE_CALLS), agree_last(&a->agree, AGREE_PUBLISHES), {0}};
    m[2] = m[0];
    m[0].number--;
    assert_int_equal(open_letter(b, &came), AGREE_GOOD);
    struct agree before = b->agree;
    agree_done(&b->agree);
    assert_int_equal(agree_forgotten(&before, &b->agree, past), 1);
    assert_int_equal(agree_forgotten(&before, &before, none_left), 0);
    agree_past_write(&past[0], told);
    agree_past_read(told, &read);
    assert_memory_equal(&read, &past[0], sizeof read);
    struct sent o = begin(b, a), answer;
    assert_int_equal(hear(a, b, &o, &answer, NULL), AGREE_REPLY);
    assert_int_equal(hear(b, a, &answer, NULL, NULL), AGREE_MADE);
    struct letter word = letter(b, a, AGREE_CALLS);
    assert_int_equal(open_letter(a, &word), AGREE_CONFIRMED);
    struct agree_told t = {.under = slice_of(word.seal, AGREE_NAME_LEN),
                           .has = slice_of(has, agree_names(&b->agree, has)),
                           .past = slice_of(told, sizeof told)};
    assert_int_equal(t.has.n, AGREE_NAME_LEN);
    static const enum agree_lost by_word[] = {AGREE_NOT_LOST, AGREE_NEVER, AGREE_NEVER};
    for (int i = 0; i < 3; i++) assert_int_equal(agree_fate(&a->agree, &t, &m[i]), by_word[i]);
    agree_heard_told(&a->agree, &t, lost);
    assert_int_equal(lost[0], 1);
    assert_int_equal(lost[AGREE_PLACE_PUBLISHES], 1);
    for (int i = 0; i < 3; i++) assert_int_equal(agree_fate(&a->agree, &t, &m[i]), by_word[i]);
    agree_heard_told(&a->agree, &t, lost); /* once is enough */
    assert_int_equal(lost[0], 0);
    assert_int_equal(says(a, b), AGREE_GOOD);
    assert_int_equal(open_letter(b, &not_yet), AGREE_UNKNOWN);
    assert_int_equal(open_letter(b, &news), AGREE_UNKNOWN);
    struct agree_mark new = agree_last(&a->agree, AGREE_CALLS), none = {0};
    assert_int_equal(agree_fate(&a->agree, &t, &new), AGREE_NOT_LOST);
    assert_int_equal(agree_fate(&a->agree, &t, &none), AGREE_NOT_LOST);
    t.past = SLICE_NONE;
    for (int i = 0; i < 3; i++) assert_int_equal(agree_fate(&a->agree, &t, &m[i]), AGREE_MAYBE_LOST);
    now += AGREE_TOGETHER;
    exchange(a, b); /* what was made after that word is not judged by it */
    new = agree_last(&a->agree, AGREE_CALLS);
    assert_int_equal(agree_fate(&a->agree, &t, &new), AGREE_NOT_LOST);
    gone(&s[0], &s[1]);
  }
}

/* Values that make a secret which everybody knows (RFC 7748, 6.1), signed as they should be. */
static void test_known_secrets(void **state) {
  struct side a, b;
  uint8_t sig[CRYPTO_SIGNATURE_LEN], text[512];
  (void)state;
  two(&a, &b);
  for (uint8_t v = 0; v < 2; v++) {
    uint8_t value[CRYPTO_X25519_LEN] = {v};
    size_t n = 0;
    memcpy(text, "macula offer 1", 15), n += 15;
    memcpy(text + n, a.me.id.b, ID_LEN), n += ID_LEN;
    memcpy(text + n, b.me.id.b, ID_LEN), n += ID_LEN;
    memcpy(text + n, a.run, INSTANCE_LEN), n += INSTANCE_LEN;
    memcpy(text + n, "\0\0\0\0\0\0\0\1", 8), n += 8;
    memcpy(text + n, value, sizeof value), n += sizeof value;
    memcpy(text + n, "default", 7), n += 7;
    assert_int_equal(crypto_sign(a.key, slice_of(text, n), sig), 0);
    struct wire_agree m = {.step = AGREE_OFFER,
                           .number = 1,
                           .instance = a.me.instance,
                           .key = a.me.spki,
                           .value = slice_of(value, sizeof value),
                           .signature = slice_of(sig, sizeof sig)};
    struct sent s;
    s.n = wire_agree_encode(&m, s.b, sizeof s.b);
    assert_int_equal(hear(&b, &a, &s, NULL, NULL), AGREE_FORGED);
  }
  gone(&a, &b);
}

/* The window against a model that remembers all. */
static void test_window(void **state) {
  struct side a, b;
  (void)state;
  two(&a, &b);
  exchange(&a, &b);
  enum { LETTERS = 2000 };
  static struct letter l[LETTERS];
  static bool came[LETTERS];
  memset(came, 0, sizeof came);
  for (int i = 0; i < LETTERS; i++) l[i] = letter(&a, &b, AGREE_LARGE_CALLS);
  int top = -1;
  for (int step = 0; step < 20000; step++) {
    int i = (int)(step / 10 + rng_below(rng(), 160)) % LETTERS;
    bool good = i > top || (!came[i] && top - i < AGREE_WINDOW);
    enum agree_verdict v = open_letter(&b, &l[i]);
    if (v != (good ? AGREE_GOOD : AGREE_REPLAYED)) fail_msg("letter %d of %d: %d", i, top, v);
    came[i] |= good;
    if (good && i > top) top = i;
  }
  gone(&a, &b);
}

/* Frames between the two are lost, repeated and come late, and both forget at times: whenever both can be heard again, what
 * they say to each other arrives. */
static void test_at_random(void **state) {
  enum { KEPT = 32 };
  (void)state;
  for (uint64_t seed = 1; seed <= 60; seed++) {
    struct side s[2];
    struct sent kept[KEPT], answer;
    int from[KEPT], count = 0;
    rng_seeded_init(&dice, seed);
    two(&s[0], &s[1]);
    for (int step = 0; step < 400; step++) {
      int k = (int)rng_below(rng(), 2);
      uint64_t what = rng_below(rng(), 100);
      if (what < 15) {
        kept[count % KEPT] = s[k].agree.offering && rng_below(rng(), 2) ? offer(&s[k], &s[!k]) : begin(&s[k], &s[!k]);
        from[count++ % KEPT] = k;
      } else if (what < 75 && count) {
        int i = (int)rng_below(rng(), count < KEPT ? (uint64_t)count : KEPT);
        enum agree_heard h = hear(&s[!from[i]], &s[from[i]], &kept[i], &answer, NULL);
        if (h == AGREE_REPLY) {
          int by = !from[i];
          kept[count % KEPT] = answer;
          from[count++ % KEPT] = by;
        }
      } else if (what < 95) {
        if (agree_can_seal(&s[k].agree, now)) (void)says(&s[k], &s[!k]);
      } else if (what < 97) {
        agree_done(&s[k].agree);
        s[k].run[4]++; /* a later run */
        s[k].number = 0;
      }
      now += rng_below(rng(), 300) * NS_SEC;
    }
    for (int i = 0; i < 2; i++) {
      struct sent o = begin(&s[i], &s[!i]);
      enum agree_heard h = hear(&s[!i], &s[i], &o, &answer, NULL);
      if (h != AGREE_REPLY) fail_msg("seed %d: %d", (int)seed, h);
      assert_int_equal(hear(&s[i], &s[!i], &answer, NULL, NULL), AGREE_MADE);
      enum agree_verdict v = says(&s[i], &s[!i]);
      assert_true(v == AGREE_GOOD || v == AGREE_CONFIRMED || v == AGREE_NEW_RUN);
      v = says(&s[!i], &s[i]);
      assert_true(v == AGREE_GOOD || v == AGREE_CONFIRMED || v == AGREE_NEW_RUN);
    }
    gone(&s[0], &s[1]);
  }
  rng_seeded_init(&dice, 1);
}

/* ---- made elsewhere --------------------------------------------------------------------------------------------------------
 */
static size_t from_hex(const char *hex, uint8_t *ret, size_t cap) {
  size_t n = 0;
  unsigned byte;
  for (; n < cap && sscanf(hex + 2 * n, "%2x", &byte) == 1; n++) ret[n] = (uint8_t)byte;
  return n;
}

static struct crypto_key *key_of(const char *hex) {
  uint8_t pem[1024];
  struct crypto_key *k;
  assert_int_equal(crypto_key_parse(slice_of(pem, from_hex(hex, pem, sizeof pem)), &k), 0);
  return k;
}

static void fill_secret(void *ctx, void *ret, size_t n) { memcpy(ret, ctx, n); }

/* What both sides make of the same secrets is what the other implementation made. */
static void vector_exchange(char **w, struct side *a, struct side *b) {
  static uint8_t realm[64], secret[2][CRYPTO_X25519_LEN];
  struct sent want[2], got, none;
  struct wire_agree m;
  bool anew;
  side_of(a, key_of(w[4]), "................");
  side_of(b, key_of(w[5]), "................");
  a->me.realm = b->me.realm = slice_of(realm, from_hex(w[3], realm, sizeof realm));
  from_hex(w[6], a->run, sizeof a->run);
  from_hex(w[7], b->run, sizeof b->run);
  from_hex(w[9], secret[0], sizeof secret[0]);
  from_hex(w[10], secret[1], sizeof secret[1]);
  for (int i = 0; i < 2; i++) want[i].n = from_hex(w[11 + i], want[i].b, sizeof want[i].b);
  struct rng ra = {fill_secret, secret[0]}, rb = {fill_secret, secret[1]};
  assert_int_equal(wire_agree_decode(slice_of(want[0].b, want[0].n), &m), 0);
  enum agree_heard h = agree_receive(&b->agree, &b->me, &a->me.id, &m, rb, now, got.b, &got.n, &anew);
  if (h != (strcmp(w[2], "good") ? AGREE_FORGED : AGREE_REPLY)) fail_msg("%s: %d", w[1], h);
  if (h != AGREE_REPLY) return;
  assert_int_equal(got.n, want[1].n);
  assert_memory_equal(got.b, want[1].b, got.n);
  agree_begin(&a->agree, &a->me, &b->me.id, strtoull(w[8], NULL, 10), ra);
  if (crypto_key_is_ed25519(a->key)) {
    got = offer(a, b);
    assert_int_equal(got.n, want[0].n);
    assert_memory_equal(got.b, want[0].b, got.n);
  }
  assert_int_equal(hear(a, b, &want[1], &none, NULL), AGREE_MADE);
}

static void vector_seal(char **w, struct side *a, struct side *b) {
  static const char *const names[] = {"good", "confirmed", "new_run", "unknown", "altered", "replayed"};
  uint8_t payload[256], seal[64], mine[AGREE_SEAL_LEN];
  struct agree_envelope e = {.destination = b->me.id, .source = a->me.id, .type = (uint8_t)atoi(w[2])};
  e.payload = slice_of(payload, from_hex(w[3], payload, sizeof payload));
  size_t n = from_hex(w[4], seal, sizeof seal);
  const char *got = names[agree_open(&b->agree, &e, slice_of(seal, n), now)];
  if (strcmp(got, w[1])) fail_msg("%s, not %s", got, w[1]);
  if (strcmp(got, "confirmed")) return;
  agree_seal(&a->agree, (enum agree_space)(seal[AGREE_NAME_LEN] >> 5), &e, mine);
  assert_memory_equal(mine, seal, sizeof mine);
}

static void test_made_elsewhere(void **state) {
  static char line[16384];
  struct side a = {0}, b = {0};
  int lines = 0;
  (void)state;
  FILE *f = fopen(TEST_SOURCE_DIR "/tests/conformance/vectors/agree.txt", "r");
  assert_non_null(f);
  for (; fgets(line, sizeof line, f); lines++) {
    char *words[13] = {0};
    int n = 0;
    for (char *w = strtok(line, " \n"); w && n < 13; w = strtok(NULL, " \n")) words[n++] = w;
    if (!strcmp(words[0], "exchange")) {
      gone(&a, &b);
      assert_int_equal(n, 13);
      vector_exchange(words, &a, &b);
    } else {
      assert_int_equal(n, 5);
      vector_seal(words, &a, &b);
    }
  }
  gone(&a, &b);
  fclose(f);
  assert_true(lines > 20);
}

int main(void) {
  rng_seeded_init(&dice, 1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_both_ways),
      cmocka_unit_test(test_at_once),
      cmocka_unit_test(test_lost_and_repeated),
      cmocka_unit_test(test_replayed_and_forged),
      cmocka_unit_test(test_renewed_without_a_gap),
      cmocka_unit_test(test_restarted),
      cmocka_unit_test(test_forgotten),
      cmocka_unit_test(test_told),
      cmocka_unit_test(test_known_secrets),
      cmocka_unit_test(test_window),
      cmocka_unit_test(test_at_random),
      cmocka_unit_test(test_made_elsewhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
