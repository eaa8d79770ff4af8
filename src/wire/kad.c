#include "wire/kad.h"

#include "base/err.h"
#include "wire/cursor.h"
#include "wire/msg.h"

#define KEY(s) (key.n == sizeof(s) - 1 && memcmp(key.p, s, sizeof(s) - 1) == 0)
#define K(s) slice_of(s, sizeof(s) - 1)

/* An address: family 4 or 6, the IP address, the port, most significant byte first. */
#define ADDR_MAX 19

static size_t pack_addr(const struct addr *a, uint8_t ret[ADDR_MAX]) {
  bool v6 = a->sa.sa_family == AF_INET6;
  size_t n = v6 ? 16 : 4;
  ret[0] = v6 ? 6 : 4;
  memcpy(ret + 1, v6 ? (const void *)&a->v6.sin6_addr : (const void *)&a->v4.sin_addr, n);
  ret[1 + n] = (uint8_t)(addr_port(a) >> 8);
  ret[2 + n] = (uint8_t)addr_port(a);
  return n + 3;
}

/* false: malformed. An unknown family leaves sa_family 0. */
static bool unpack_addr(struct slice s, struct addr *ret) {
  memset(ret, 0, sizeof *ret);
  if (s.n == 0) return false;
  if (s.p[0] != 4 && s.p[0] != 6) return true;
  size_t n = s.p[0] == 4 ? 4 : 16;
  if (s.n != n + 3) return false;
  ret->sa.sa_family = n == 4 ? AF_INET : AF_INET6;
  memcpy(n == 4 ? (void *)&ret->v4.sin_addr : (void *)&ret->v6.sin6_addr, s.p + 1, n);
  addr_set_port(ret, (uint16_t)(s.p[1 + n] << 8 | s.p[2 + n]));
  return true;
}

static struct id read_id(struct reader *r) {
  struct id id = {{0}};
  struct slice s = reader_text(r);
  if (s.n != ID_LEN)
    r->bad = true;
  else
    memcpy(id.b, s.p, ID_LEN);
  return id;
}

static uint32_t read_u32(struct reader *r) {
  uint64_t v = reader_uint(r);
  if (v > UINT32_MAX) r->bad = true;
  return (uint32_t)v;
}

static struct slice read_text(struct reader *r, size_t max) {
  struct slice s = reader_text(r);
  if (s.n == 0 || s.n > max) r->bad = true;
  return s;
}

/* A contact: id, then an address, or family 0 and the gateway's id. */
static void read_contact(struct reader *r, struct kad_contact *c, bool *ret_known) {
  struct slice s = reader_text(r);
  memset(c, 0, sizeof *c);
  *ret_known = false;
  if (s.n <= ID_LEN) {
    r->bad = true;
    return;
  }
  memcpy(c->id.b, s.p, ID_LEN);
  struct slice rest = slice_of(s.p + ID_LEN, s.n - ID_LEN);
  if (rest.p[0] == 0) {
    if (rest.n != 1 + ID_LEN)
      r->bad = true;
    else
      memcpy(c->gateway.b, rest.p + 1, ID_LEN);
    *ret_known = true;
  } else if (!unpack_addr(rest, &c->addr)) {
    r->bad = true;
  } else {
    *ret_known = addr_is_set(&c->addr);
  }
}

static void read_signed(struct reader *r, struct kad_signed *s) {
  *s = (struct kad_signed){0};
  if (reader_array(r) != 4) r->bad = true;
  s->record = read_text(r, KAD_MAX_RECORD);
  s->signature = read_text(r, KAD_MAX_SIGNATURE);
  s->spki = read_text(r, KAD_MAX_SPKI);
  s->age = reader_uint(r);
}

static void read_nodes(struct reader *r, struct kad_msg *m) {
  uint32_t n = reader_array(r);
  const uint8_t *start = r->p;
  struct kad_contact c;
  bool known;
  for (uint32_t i = 0; i < n && !r->bad; i++) read_contact(r, &c, &known);
  m->node_count = n;
  m->raw_nodes = (struct slice){start, (size_t)(r->p - start)};
}

static void read_batches(struct reader *r, struct kad_msg *m) {
  uint32_t n = reader_array(r);
  const uint8_t *start = r->p;
  struct kad_signed s;
  for (uint32_t i = 0; i < n && !r->bad; i++) read_signed(r, &s);
  m->batch_count = n;
  m->raw_batches = (struct slice){start, (size_t)(r->p - start)};
}

bool kad_node_next(struct kad_msg *m, struct kad_contact *ret_contact) {
  bool known = false;
  while (m->node_count && !known) {
    struct reader r = reader_of(m->raw_nodes);
    read_contact(&r, ret_contact, &known);
    m->node_count--;
    m->raw_nodes = (struct slice){r.p, (size_t)(r.end - r.p)};
    if (r.bad) return false;
  }
  return known;
}

bool kad_batch_next(struct kad_msg *m, struct kad_signed *ret_batch) {
  if (!m->batch_count) return false;
  struct reader r = reader_of(m->raw_batches);
  read_signed(&r, ret_batch);
  m->batch_count--;
  m->raw_batches = (struct slice){r.p, (size_t)(r.end - r.p)};
  return !r.bad;
}

enum { HAS_QUERY = 1, HAS_KEY = 2, HAS_NODES = 4, HAS_BATCH = 8, HAS_KIND = 16 };

static unsigned required(uint8_t type) {
  switch (type) {
  case MSG_FIND_NODE:
    return HAS_QUERY | HAS_KEY;
  case MSG_FIND_VALUE:
    return HAS_QUERY | HAS_KEY | HAS_KIND;
  case MSG_FIND_NODE_REPLY:
    return HAS_QUERY | HAS_NODES;
  case MSG_STORE:
    return HAS_QUERY | HAS_BATCH;
  default:
    return HAS_QUERY;
  }
}

static unsigned read_field(uint8_t type, struct slice key, struct reader *r, struct kad_msg *m) {
  bool find = type == MSG_FIND_NODE || type == MSG_FIND_VALUE;
  bool reply = type == MSG_FIND_NODE_REPLY || type == MSG_FIND_VALUE_REPLY;
  if (KEY("query")) {
    struct slice s = reader_text(r);
    if (s.n != sizeof m->query) r->bad = true;
    m->query = 0;
    for (size_t i = 0; i < sizeof m->query && !r->bad; i++) m->query = m->query << 8 | s.p[i];
    return HAS_QUERY;
  }
  if (find && ((KEY("target") && type == MSG_FIND_NODE) || (KEY("key") && type == MSG_FIND_VALUE))) {
    m->key = read_id(r);
    return HAS_KEY;
  }
  if (type == MSG_FIND_VALUE && KEY("kind")) {
    m->kind = read_u32(r);
    if (m->kind == 0 || m->kind > 255) r->bad = true;
    return HAS_KIND;
  }
  if (type == MSG_FIND_VALUE && KEY("page")) {
    m->page = read_u32(r);
    return 0;
  }
  if (reply && KEY("nodes")) {
    read_nodes(r, m);
    return HAS_NODES;
  }
  if (type == MSG_FIND_VALUE_REPLY && KEY("batches")) {
    read_batches(r, m);
    return 0;
  }
  if (type == MSG_FIND_VALUE_REPLY && KEY("more")) {
    m->more = reader_bool(r);
    return 0;
  }
  if (type == MSG_STORE && KEY("batch")) {
    read_signed(r, &m->batch);
    return HAS_BATCH;
  }
  if (type == MSG_STORE_REPLY && KEY("newer")) {
    read_signed(r, &m->batch);
    m->has_newer = true;
    return 0;
  }
  if (type == MSG_STORE_REPLY && KEY("code")) {
    m->code = read_text(r, 64);
    return 0;
  }
  (void)reader_raw(r, 1);
  return 0;
}

int kad_decode(uint8_t type, struct slice payload, struct kad_msg *ret_msg) {
  struct reader r = reader_of(payload);
  struct kad_msg m = {0};
  unsigned have = 0;
  if (type < MSG_FIND_NODE || type > MSG_STORE_REPLY) return MACULA_BAD_FRAME;
  uint32_t pairs = reader_map(&r);
  for (uint32_t i = 0; i < pairs && !r.bad; i++) {
    struct slice key = reader_text(&r);
    if (!r.bad) have |= read_field(type, key, &r, &m);
  }
  unsigned need = required(type);
  if (r.bad || r.p != r.end || (have & need) != need) return MACULA_BAD_FRAME;
  *ret_msg = m;
  return 0;
}

/* ---- encoding -------------------------------------------------------------------------------------------------------------
 */
static void write_signed(struct writer *w, const struct kad_signed *s) {
  writer_array(w, 4);
  writer_bin(w, s->record);
  writer_bin(w, s->signature);
  writer_bin(w, s->spki);
  writer_uint(w, s->age);
}

static void write_contact(struct writer *w, const struct kad_contact *c) {
  uint8_t b[ID_LEN + 1 + ID_LEN];
  size_t n = ID_LEN;
  memcpy(b, c->id.b, ID_LEN);
  if (addr_is_set(&c->addr)) {
    n += pack_addr(&c->addr, b + n);
  } else {
    b[n++] = 0;
    memcpy(b + n, c->gateway.b, ID_LEN);
    n += ID_LEN;
  }
  writer_bin(w, slice_of(b, n));
}

static void write_nodes(struct writer *w, const struct kad_msg *m) {
  writer_bin(w, K("nodes"));
  writer_array(w, m->node_count);
  if (m->nodes)
    for (uint32_t i = 0; i < m->node_count; i++) write_contact(w, &m->nodes[i]);
  else
    writer_raw(w, m->raw_nodes);
}

static void write_batches(struct writer *w, const struct kad_msg *m) {
  writer_bin(w, K("batches"));
  writer_array(w, m->batch_count);
  if (m->batches)
    for (uint32_t i = 0; i < m->batch_count; i++) write_signed(w, &m->batches[i]);
  else
    writer_raw(w, m->raw_batches);
}

size_t kad_encode(uint8_t type, const struct kad_msg *m, uint8_t *ret_buf, size_t cap) {
  struct writer w = {ret_buf, cap, 0};
  uint8_t query[8];
  for (int i = 0; i < 8; i++) query[i] = (uint8_t)(m->query >> 8 * (7 - i));
  uint32_t pairs = 1;
  switch (type) {
  case MSG_FIND_NODE:
  case MSG_FIND_NODE_REPLY:
  case MSG_STORE:
    pairs = 2;
    break;
  case MSG_FIND_VALUE:
  case MSG_FIND_VALUE_REPLY:
    pairs = 4;
    break;
  case MSG_STORE_REPLY:
    pairs = 1 + (m->has_newer ? 1 : 0) + (m->code.p ? 1 : 0);
    break;
  }
  writer_map(&w, pairs);
  writer_bin(&w, K("query"));
  writer_bin(&w, slice_of(query, sizeof query));
  switch (type) {
  case MSG_FIND_NODE:
    writer_bin(&w, K("target"));
    writer_bin(&w, slice_of(m->key.b, ID_LEN));
    break;
  case MSG_FIND_VALUE:
    writer_bin(&w, K("key"));
    writer_bin(&w, slice_of(m->key.b, ID_LEN));
    writer_bin(&w, K("kind"));
    writer_uint(&w, m->kind);
    writer_bin(&w, K("page"));
    writer_uint(&w, m->page);
    break;
  case MSG_FIND_NODE_REPLY:
    write_nodes(&w, m);
    break;
  case MSG_FIND_VALUE_REPLY:
    write_nodes(&w, m);
    write_batches(&w, m);
    writer_bin(&w, K("more"));
    writer_bool(&w, m->more);
    break;
  case MSG_STORE:
    writer_bin(&w, K("batch"));
    write_signed(&w, &m->batch);
    break;
  case MSG_STORE_REPLY:
    if (m->code.p) {
      writer_bin(&w, K("code"));
      writer_bin(&w, m->code);
    }
    if (m->has_newer) {
      writer_bin(&w, K("newer"));
      write_signed(&w, &m->batch);
    }
    break;
  }
  return w.len;
}

/* ---- the signed batch -----------------------------------------------------------------------------------------------------
 */
static void read_endpoints(struct reader *r, struct kad_batch *b) {
  uint32_t n = reader_array(r);
  b->addr.sa.sa_family = 0;
  for (uint32_t i = 0; i < n && !r->bad; i++) {
    struct addr a;
    if (!unpack_addr(reader_text(r), &a)) r->bad = true;
    if (!addr_is_set(&b->addr) && !r->bad) b->addr = a;
  }
}

/* Larger values are cut to UINT32_MAX; nodes that store the record lower its TTL further. */
static uint32_t read_seconds(struct reader *r) {
  uint64_t v = reader_uint(r);
  return v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static void read_entries(struct reader *r, struct kad_batch *b) {
  b->count = reader_array(r);
  if (b->count == 0 || b->count > KAD_MAX_ENTRIES) r->bad = true;
  for (uint32_t i = 0; i < b->count && !r->bad; i++) {
    struct kad_entry *e = &b->entries[i];
    uint32_t parts = reader_array(r);
    if (parts != 3 && parts != 4) r->bad = true;
    e->key = read_id(r);
    e->kind = read_u32(r);
    e->ttl = read_seconds(r);
    e->rest = parts == 4 ? read_seconds(r) : 0;
    if (e->kind == 0 || e->kind > 255) r->bad = true;
  }
}

int kad_batch_decode(struct slice record, struct kad_batch *ret_batch) {
  struct reader r = reader_of(record);
  bool has_seq = false, has_realm = false;
  struct kad_batch *b = ret_batch;
  memset(b, 0, sizeof *b);
  if (record.n > KAD_MAX_RECORD) return MACULA_BAD_FRAME;
  uint32_t pairs = reader_map(&r);
  for (uint32_t i = 0; i < pairs && !r.bad; i++) {
    struct slice key = reader_text(&r);
    if (r.bad) break;
    if (KEY("realm")) {
      b->realm = read_text(&r, KAD_MAX_REALM);
      has_realm = true;
    } else if (KEY("seq")) {
      b->seq = reader_uint(&r);
      has_seq = true;
    } else if (KEY("endpoints")) {
      read_endpoints(&r, b);
    } else if (KEY("gateway")) {
      b->gateway = read_id(&r);
    } else if (KEY("entries")) {
      read_entries(&r, b);
    } else {
      (void)reader_raw(&r, 1);
    }
  }
  return r.bad || r.p != r.end || !has_seq || !has_realm || b->count == 0 ? MACULA_BAD_FRAME : 0;
}

size_t kad_batch_encode(const struct kad_batch *b, uint8_t *ret_buf, size_t cap) {
  struct writer w = {ret_buf, cap, 0};
  bool gateway = !id_is_zero(&b->gateway);
  writer_map(&w, 3 + (addr_is_set(&b->addr) ? 1 : 0) + (gateway ? 1 : 0));
  writer_bin(&w, K("realm"));
  writer_bin(&w, b->realm);
  writer_bin(&w, K("seq"));
  writer_uint(&w, b->seq);
  if (addr_is_set(&b->addr)) {
    uint8_t a[ADDR_MAX];
    writer_bin(&w, K("endpoints"));
    writer_array(&w, 1);
    writer_bin(&w, slice_of(a, pack_addr(&b->addr, a)));
  }
  if (gateway) {
    writer_bin(&w, K("gateway"));
    writer_bin(&w, slice_of(b->gateway.b, ID_LEN));
  }
  writer_bin(&w, K("entries"));
  writer_array(&w, b->count);
  for (uint32_t i = 0; i < b->count; i++) {
    const struct kad_entry *e = &b->entries[i];
    writer_array(&w, e->rest ? 4 : 3);
    writer_bin(&w, slice_of(e->key.b, ID_LEN));
    writer_uint(&w, e->kind);
    writer_uint(&w, e->ttl);
    if (e->rest) writer_uint(&w, e->rest);
  }
  return w.len;
}
