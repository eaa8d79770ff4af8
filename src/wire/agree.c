#include "wire/agree.h"

#include "base/err.h"
#include "wire/cursor.h"

#define KEY(s) slice_is(key, s)

static void agree_field(struct reader *r, struct slice key, struct wire_agree *m) {
  if (KEY("step"))
    m->step = reader_uint(r);
  else if (KEY("number"))
    m->number = reader_uint(r);
  else if (KEY("instance"))
    m->instance = reader_text(r);
  else if (KEY("key"))
    m->key = reader_text(r);
  else if (KEY("value"))
    m->value = reader_text(r);
  else if (KEY("of"))
    m->of = reader_text(r);
  else if (KEY("signature"))
    m->signature = reader_text(r);
  else if (KEY("has"))
    m->has = reader_text(r);
  else if (KEY("lacks"))
    m->lacks = reader_text(r);
  else if (KEY("past"))
    m->past = reader_text(r);
  else
    (void)reader_raw(r, 1);
}

static bool agree_complete(const struct wire_agree *m) {
  if (m->step == AGREE_CONFIRM)
    return m->has.n % WIRE_AGREE_NAME_LEN == 0 && m->has.n <= WIRE_AGREE_PASTS * WIRE_AGREE_NAME_LEN &&
           m->past.n % WIRE_AGREE_PAST_LEN == 0 && m->past.n <= WIRE_AGREE_PASTS * WIRE_AGREE_PAST_LEN;
  if (m->step == AGREE_LACKS) return m->lacks.n == WIRE_AGREE_NAME_LEN;
  if (m->step != AGREE_OFFER && m->step != AGREE_ANSWER) return false;
  if (m->instance.n != INSTANCE_LEN || m->value.n != WIRE_AGREE_KEY_LEN || !m->key.n || !m->signature.n) return false;
  return m->step == AGREE_OFFER ? m->number > 0 : m->of.n == WIRE_AGREE_KEY_LEN;
}

int wire_agree_decode(struct slice payload, struct wire_agree *ret) {
  struct wire_agree m = {0};
  struct reader r = reader_of(payload);
  for (uint32_t left = reader_map(&r); left && !r.bad; left--) {
    struct slice key = reader_text(&r);
    if (!r.bad) agree_field(&r, key, &m);
  }
  if (r.bad || r.p != r.end || !agree_complete(&m)) return MACULA_BAD_FRAME;
  *ret = m;
  return 0;
}

int wire_not_routed_decode(struct slice payload, struct wire_not_routed *ret) {
  struct wire_not_routed m = {0};
  struct reader r = reader_of(payload);
  for (uint32_t left = reader_map(&r); left && !r.bad; left--) {
    struct slice key = reader_text(&r);
    if (r.bad) break;
    if (KEY("destination"))
      m.destination = reader_text(&r);
    else if (KEY("call_id"))
      m.call_id = reader_text(&r);
    else if (KEY("code"))
      m.code = reader_text(&r);
    else
      (void)reader_raw(&r, 1);
  }
  if (r.bad || r.p != r.end || m.destination.n != ID_LEN || !m.code.n || (m.call_id.n && m.call_id.n != CALL_ID_LEN))
    return MACULA_BAD_FRAME;
  *ret = m;
  return 0;
}

static void put(struct writer *w, const char *key, struct slice value) {
  writer_bin(w, slice_str(key));
  writer_bin(w, value);
}

static void put_uint(struct writer *w, const char *key, uint64_t value) {
  writer_bin(w, slice_str(key));
  writer_uint(w, value);
}

/* Without a signature. */
static size_t encode_short(const struct wire_agree *m, struct writer *w) {
  bool confirms = m->step == AGREE_CONFIRM, has = confirms && m->has.n, past = confirms && m->past.n;
  writer_map(w, confirms ? 1u + has + past : 2u);
  put_uint(w, "step", m->step);
  if (has) put(w, "has", m->has);
  if (past) put(w, "past", m->past);
  if (!confirms) put(w, "lacks", m->lacks);
  return w->len;
}

size_t wire_agree_encode(const struct wire_agree *m, uint8_t *buf, size_t cap) {
  struct writer w = {buf, cap, 0};
  if (m->step == AGREE_CONFIRM || m->step == AGREE_LACKS) return encode_short(m, &w);
  writer_map(&w, 6);
  put_uint(&w, "step", m->step);
  if (m->step == AGREE_OFFER)
    put_uint(&w, "number", m->number);
  else
    put(&w, "of", m->of);
  put(&w, "instance", m->instance);
  put(&w, "key", m->key);
  put(&w, "value", m->value);
  put(&w, "signature", m->signature);
  return w.len;
}

size_t wire_not_routed_encode(const struct wire_not_routed *m, uint8_t *buf, size_t cap) {
  struct writer w = {buf, cap, 0};
  writer_map(&w, 2 + (m->call_id.n > 0));
  put(&w, "destination", m->destination);
  if (m->call_id.n) put(&w, "call_id", m->call_id);
  put(&w, "code", m->code);
  return w.len;
}
