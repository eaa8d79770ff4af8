#include "wire/swim.h"

#include "base/err.h"
#include "wire/msg.h"

#define KEY(s) (key.n == sizeof(s) - 1 && memcmp(key.p, s, sizeof(s) - 1) == 0)

static void read_addr(struct reader *r, struct addr *a) {
  struct slice s = reader_text(r);
  memset(a, 0, sizeof *a);
  if (r->bad || s.n == 0) return;
  if (s.n == 6) {
    a->v4.sin_family = AF_INET;
    memcpy(&a->v4.sin_addr, s.p, 4);
    memcpy(&a->v4.sin_port, s.p + 4, 2);
  } else if (s.n == 18) {
    a->v6.sin6_family = AF_INET6;
    memcpy(&a->v6.sin6_addr, s.p, 16);
    memcpy(&a->v6.sin6_port, s.p + 16, 2);
  } else {
    r->bad = true;
  }
}

static void write_addr(struct writer *w, const struct addr *a) {
  uint8_t b[18];
  if (a->sa.sa_family == AF_INET) {
    memcpy(b, &a->v4.sin_addr, 4);
    memcpy(b + 4, &a->v4.sin_port, 2);
    writer_bin(w, slice_of(b, 6));
  } else if (a->sa.sa_family == AF_INET6) {
    memcpy(b, &a->v6.sin6_addr, 16);
    memcpy(b + 16, &a->v6.sin6_port, 2);
    writer_bin(w, slice_of(b, 18));
  } else {
    writer_bin(w, SLICE_NONE);
  }
}

static void read_id(struct reader *r, bool may_be_empty, struct id *ret_id) {
  struct slice s = reader_text(r);
  if (r->bad) return;
  if (s.n == ID_LEN)
    memcpy(ret_id->b, s.p, ID_LEN);
  else if (s.n == 0 && may_be_empty)
    memset(ret_id, 0, sizeof *ret_id);
  else
    r->bad = true;
}

int swim_record_decode(struct slice bytes, struct swim_record *ret_record) {
  if (bytes.n <= SWIM_SIGNATURE_LEN || bytes.n > SWIM_RECORD_MAX) return MACULA_BAD_FRAME;
  struct swim_record v = {.bytes = bytes,
                          .body = slice_of(bytes.p, bytes.n - SWIM_SIGNATURE_LEN),
                          .signature = slice_of(bytes.p + bytes.n - SWIM_SIGNATURE_LEN, SWIM_SIGNATURE_LEN)};
  struct reader r = reader_of(v.body);
  uint32_t n = reader_array(&r);
  if (n < 6) r.bad = true;
  v.key = reader_text(&r);
  v.incarnation = reader_uint(&r);
  if (!r.bad) read_addr(&r, &v.addr);
  read_id(&r, true, &v.gateway);
  v.name = reader_text(&r);
  v.left = reader_bool(&r);
  for (uint32_t i = 6; i < n && !r.bad; i++) (void)reader_raw(&r, 1);
  if (r.bad || r.p != r.end || v.key.n == 0 || v.key.n > SWIM_KEY_MAX || v.name.n > SWIM_NAME_LEN) return MACULA_BAD_FRAME;
  *ret_record = v;
  return 0;
}

size_t swim_body_encode(const struct swim_record *r, uint8_t ret_body[SWIM_BODY_MAX]) {
  struct writer w = {.p = ret_body, .cap = SWIM_BODY_MAX};
  writer_array(&w, 6);
  writer_bin(&w, r->key);
  writer_uint(&w, r->incarnation);
  write_addr(&w, &r->addr);
  writer_bin(&w, id_is_zero(&r->gateway) ? SLICE_NONE : slice_of(r->gateway.b, ID_LEN));
  writer_bin(&w, r->name);
  writer_bool(&w, r->left);
  return w.len;
}

size_t swim_signed_text(struct slice realm, struct slice body, uint8_t ret_text[SWIM_TEXT_MAX]) {
  static const char domain[] = "macula member 1"; /* signed with its NUL, as no other signature of this key begins */
  size_t n = sizeof domain;
  memcpy(ret_text, domain, n);
  ret_text[n++] = (uint8_t)realm.n;
  memcpy(ret_text + n, realm.p, (uint8_t)realm.n);
  n += (uint8_t)realm.n;
  memcpy(ret_text + n, body.p, body.n);
  return n + body.n;
}

static void read_record(struct reader *r, struct slice bytes, struct swim_record *ret_record) {
  if (!r->bad && swim_record_decode(bytes, ret_record) != 0) r->bad = true;
}

static void read_update(struct reader *r, struct swim_update *u) {
  *u = (struct swim_update){0};
  uint32_t n = reader_array(r), read = 2;
  if (n < 2) r->bad = true;
  uint64_t state = reader_uint(r);
  if (state > SWIM_LEFT) r->bad = true;
  u->state = (enum swim_state)state;
  struct slice who = reader_text(r);
  if (r->bad) return;
  if (who.n == ID_LEN) {
    memcpy(u->id.b, who.p, ID_LEN);
    u->incarnation = reader_uint(r);
    read = 3;
  } else {
    read_record(r, who, &u->record);
    u->incarnation = u->record.incarnation;
  }
  if (n < read) r->bad = true;
  for (uint32_t i = read; i < n && !r->bad; i++) (void)reader_raw(r, 3);
}

/* size: bytes of 8 buckets. */
static struct slice read_buckets(struct reader *r, size_t size) {
  struct slice s = reader_text(r);
  size_t eights = s.n / size;
  if (s.n % size || eights < SWIM_BUCKETS_MIN / 8 || eights > SWIM_BUCKETS_MAX / 8 || (eights & (eights - 1))) r->bad = true;
  return s;
}

int swim_decode(uint8_t type, struct slice payload, struct swim_msg *ret_msg) {
  if (type < MSG_SWIM_PING || type > MSG_SWIM_SYNC) return MACULA_UNKNOWN_TYPE;
  struct swim_msg m = {0};
  struct reader r = reader_of(payload);
  bool seq = false;
  uint32_t n = reader_map(&r);
  for (uint32_t i = 0; i < n && !r.bad; i++) {
    struct slice key = reader_text(&r);
    if (r.bad) break;
    if (KEY("seq")) {
      m.seq = reader_uint(&r);
      seq = true;
    } else if (KEY("me")) {
      read_record(&r, reader_text(&r), &m.me);
    } else if (KEY("target")) {
      read_id(&r, false, &m.target);
      m.has_target = true;
    } else if (KEY("nack")) {
      m.nack = reader_bool(&r);
    } else if (KEY("digest")) {
      m.digest = read_buckets(&r, 64);
    } else if (KEY("want")) {
      m.want = read_buckets(&r, 1);
    } else if (KEY("updates")) {
      struct swim_update u;
      uint32_t count = reader_array(&r);
      const uint8_t *start = r.p;
      for (uint32_t k = 0; k < count && !r.bad; k++) read_update(&r, &u);
      m.update_count = count;
      m.raw_updates = (struct slice){start, (size_t)(r.p - start)};
    } else {
      (void)reader_raw(&r, 1);
    }
  }
  if (r.bad || r.p != r.end || !m.me.bytes.n || seq != (type != MSG_SWIM_SYNC) || m.has_target != (type == MSG_SWIM_PING_REQ))
    return MACULA_BAD_FRAME;
  *ret_msg = m;
  return 0;
}

bool swim_update_next(struct swim_msg *m, struct swim_update *ret_update) {
  if (m->update_count == 0) return false;
  struct reader r = reader_of(m->raw_updates);
  read_update(&r, ret_update);
  m->update_count--;
  m->raw_updates = (struct slice){r.p, (size_t)(r.end - r.p)};
  return !r.bad;
}

static void write_key(struct writer *w, const char *key) { writer_bin(w, slice_str(key)); }

void swim_encode_begin(struct swim_encoder *e, uint8_t *buf, size_t cap, uint8_t type, const struct swim_msg *m) {
  *e = (struct swim_encoder){.w = {.p = buf, .cap = cap}};
  struct writer *w = &e->w;
  bool nack = type == MSG_SWIM_ACK && m->nack, sync = type == MSG_SWIM_SYNC;
  bool digest = sync && m->digest.n, want = sync && m->want.n;
  writer_map(w, 2 + !sync + (type == MSG_SWIM_PING_REQ) + nack + digest + want);
  if (!sync) {
    write_key(w, "seq");
    writer_uint(w, m->seq);
  }
  write_key(w, "me");
  writer_bin(w, m->me.bytes);
  if (type == MSG_SWIM_PING_REQ) {
    write_key(w, "target");
    writer_bin(w, slice_of(m->target.b, ID_LEN));
  }
  if (nack) {
    write_key(w, "nack");
    writer_bool(w, true);
  }
  if (digest) {
    write_key(w, "digest");
    writer_bin(w, m->digest);
  }
  if (want) {
    write_key(w, "want");
    writer_bin(w, m->want);
  }
  write_key(w, "updates");
  writer_raw(w, slice_of("\xdc\0", 3)); /* an array of a 16-bit count, known at the end */
  e->count_at = w->len - 2;
  e->elements = 32; /* generous for what stands before the updates */
}

bool swim_encode_update(struct swim_encoder *e, const struct swim_update *u) {
  struct writer w = e->w;
  bool record = u->record.bytes.n;
  uint32_t elements = e->elements + (record ? 3 : 4);
  if (elements > CURSOR_MAX_ELEMENTS) return false;
  writer_array(&w, record ? 2 : 3);
  writer_uint(&w, u->state);
  writer_bin(&w, record ? u->record.bytes : slice_of(u->id.b, ID_LEN));
  if (!record) writer_uint(&w, u->incarnation);
  if (w.len > w.cap) return false;
  e->w = w;
  e->elements = elements;
  e->count++;
  return true;
}

struct slice swim_encode_end(struct swim_encoder *e) {
  if (e->w.len > e->w.cap) return SLICE_NONE;
  e->w.p[e->count_at] = (uint8_t)(e->count >> 8);
  e->w.p[e->count_at + 1] = (uint8_t)e->count;
  return slice_of(e->w.p, e->w.len);
}
