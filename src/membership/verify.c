/* Signed records: each is verified before it is believed, and kept as it came, so that the same bytes are verified only once
 * and passed on as they are. Verifying takes some 0.1 ms, so it has a budget of each peer, of all, and of a turn. */
#include "base/err.h"
#include "membership/internal.h"

struct slice record_of(const struct entry *e) {
  return e->record ? slice_of(e->record, e->record_len) : SLICE_NONE;
}

/* Of what all peers have, a part is kept for what they say of themselves: that is needed first. */
static bool afford(struct membership *m, const struct id *from, bool own, nanotime now) {
  struct entry *e = table_find(m, from);
  struct bucket *of_peer = e ? &e->budget : &m->strangers;
  double rate = m->cfg.verify_rate, burst = rate * VERIFY_BURST;
  if (m->turn != now) m->in_turn = 0;
  m->turn = now;
  bool may = m->in_turn < m->cfg.verify_turn && bucket_level(of_peer, rate, burst, now) >= 1 &&
             bucket_level(&m->verifying, 4 * rate, 4 * burst, now) >= (own ? 1 : burst / 2);
  if (!may) {
    m->stats.unverified++;
    return false;
  }
  m->in_turn++;
  of_peer->tokens -= 1;
  m->verifying.tokens -= 1;
  return true;
}

int record_verify(struct membership *m, const struct id *from, const struct id *subject, const struct swim_record *r,
                  nanotime now) {
  uint8_t text[SWIM_TEXT_MAX];
  struct id signer;
  if (!afford(m, from, id_eq(from, subject), now)) return MACULA_RATE_LIMITED;
  m->stats.verified++;
  int err = m->cfg.crypto.verify(m->cfg.crypto.ctx, r->key, slice_of(text, swim_signed_text(m->cfg.realm, r->body, text)),
                                 r->signature, &signer);
  if (!err && !id_eq(&signer, subject)) err = MACULA_BAD_SIGNATURE;
  if (err != MACULA_BAD_SIGNATURE) return err;
  struct entry *e = table_find(m, from);
  (e ? &e->budget : &m->strangers)->tokens -= BAD_SIGNATURE_COST;
  m->stats.bad_signatures++;
  return err;
}

int record_keep(struct membership *m, struct entry *e, const struct swim_record *r) {
  uint8_t *copy = mem_alloc(m->mem, r->bytes.n);
  if (!copy) return MACULA_ENOMEM;
  memcpy(copy, r->bytes.p, r->bytes.n);
  digest_out(m, e);
  mem_free(m->mem, e->record);
  e->record = copy;
  e->record_len = (uint16_t)r->bytes.n;
  e->m.incarnation = r->incarnation;
  digest_in(m, e);
  return 0;
}

int self_sign(struct membership *m) {
  const struct member *v = &m->self.m;
  uint8_t bytes[SWIM_RECORD_MAX], text[SWIM_TEXT_MAX];
  struct swim_record r = {.key = m->cfg.crypto.key,
                          .incarnation = v->incarnation,
                          .addr = v->info.addr,
                          .gateway = v->info.gateway,
                          .name = slice_str(v->info.name),
                          .left = m->self.left};
  if (!m->unsigned_self) return 0;
  size_t n = swim_body_encode(&r, bytes);
  struct slice signed_text = slice_of(text, swim_signed_text(m->cfg.realm, slice_of(bytes, n), text));
  int err = m->cfg.crypto.sign(m->cfg.crypto.ctx, signed_text, bytes + n);
  r.bytes = slice_of(bytes, n + SWIM_SIGNATURE_LEN);
  if (!err) err = record_keep(m, &m->self, &r);
  if (!err) m->unsigned_self = false;
  return err;
}
