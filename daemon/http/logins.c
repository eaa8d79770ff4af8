#include "daemon/http/logins.h"

#include <string.h>

#include "trust/crypto.h"

static void end(struct logins_entry *e) { crypto_wipe(e, sizeof *e); }

static void expire(struct logins *l, nanotime now) {
  for (struct logins_entry *e = l->links; e < l->links + LOGINS_LINKS; e++)
    if (e->on && time_since(now, e->since) >= LOGINS_LINK_TIME) end(e);
  for (struct logins_entry *e = l->sessions; e < l->sessions + LOGINS_SESSIONS; e++)
    if (e->on && (time_since(now, e->used) >= LOGINS_IDLE_TIME || time_since(now, e->since) >= LOGINS_TIME)) end(e);
}

/* All are looked at, so that the time tells nothing of the word. */
static struct logins_entry *find(struct logins_entry *all, unsigned count, struct slice word) {
  struct logins_entry *found = NULL;
  uint8_t digest[SHA256_LEN];
  sha256_of(word, digest);
  for (unsigned i = 0; i < count; i++)
    if (crypto_equal(all[i].digest, digest, sizeof digest) && all[i].on) found = &all[i];
  return found;
}

static bool is_same(const struct login *a, const struct login *b) {
  return a->by_link == b->by_link && !strcmp(a->user, b->user) && !strcmp(a->grant, b->grant) &&
         id_eq(&a->pass.holder, &b->pass.holder);
}

/* How many of all are of the same one. */
static unsigned share_of(const struct logins_entry *all, unsigned count, const struct login *who) {
  unsigned n = 0;
  for (unsigned i = 0; i < count; i++) n += all[i].on && is_same(&all[i].who, who);
  return n;
}

/* A free one, or the one unused for longest of whoever has most, the new one counted: nobody logs out others who have less. */
static struct logins_entry *room(struct logins_entry *all, unsigned count, const struct login *who) {
  struct logins_entry *e = NULL;
  unsigned most = 0;
  for (unsigned i = 0; i < count; i++) {
    if (!all[i].on) return &all[i];
    unsigned n = share_of(all, count, &all[i].who) + is_same(&all[i].who, who);
    if (e && (n < most || (n == most && all[i].used >= e->used))) continue;
    e = &all[i];
    most = n;
  }
  return e;
}

static void add(struct logins *l, struct logins_entry *all, unsigned count, const struct login *who, struct rng rng,
                nanotime now, char ret_word[LOGINS_WORD_LEN + 1]) {
  uint8_t bytes[LOGINS_WORD_LEN / 2];
  expire(l, now);
  struct logins_entry *e = room(all, count, who);
  l->evicted += e->on;
  rng_fill(rng, bytes, sizeof bytes);
  hex_encode(bytes, sizeof bytes, ret_word);
  *e = (struct logins_entry){.since = now, .used = now, .on = true, .who = *who};
  sha256_of(slice_of(ret_word, LOGINS_WORD_LEN), e->digest);
  crypto_wipe(bytes, sizeof bytes);
}

void logins_invite(struct logins *l, const struct login *who, struct rng rng, nanotime now,
                   char ret_word[LOGINS_WORD_LEN + 1]) {
  add(l, l->links, LOGINS_LINKS, who, rng, now, ret_word);
}

bool logins_redeem(struct logins *l, struct slice word, nanotime now, struct login *ret_who) {
  expire(l, now);
  struct logins_entry *e = find(l->links, LOGINS_LINKS, word);
  if (!e) {
    l->refused++;
    return false;
  }
  *ret_who = e->who;
  end(e);
  return true;
}

void logins_open(struct logins *l, const struct login *who, struct rng rng, nanotime now, char ret_word[LOGINS_WORD_LEN + 1]) {
  add(l, l->sessions, LOGINS_SESSIONS, who, rng, now, ret_word);
  l->made++;
}

const struct login *logins_find(struct logins *l, struct slice word, nanotime now) {
  expire(l, now);
  struct logins_entry *e = word.n == LOGINS_WORD_LEN ? find(l->sessions, LOGINS_SESSIONS, word) : NULL;
  if (!e) return NULL;
  e->used = now;
  return &e->who;
}

void logins_close(struct logins *l, struct slice word) {
  struct logins_entry *e = find(l->sessions, LOGINS_SESSIONS, word);
  if (e) end(e);
}

void logins_judge(struct logins *l, bool (*counts)(void *ctx, const struct login *who), void *ctx) {
  for (struct logins_entry *e = l->links; e < l->links + LOGINS_LINKS; e++)
    if (e->on && !counts(ctx, &e->who)) end(e);
  for (struct logins_entry *e = l->sessions; e < l->sessions + LOGINS_SESSIONS; e++)
    if (e->on && !counts(ctx, &e->who)) end(e);
}
