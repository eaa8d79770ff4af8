/* Frames made by hand, as a stranger who read docs/protocol.md would. */
#ifndef TEST_DHT_CRAFT_H
#define TEST_DHT_CRAFT_H

#include "net.h"

struct crafted { /* a signed batch and its bytes */
  struct kad_batch b;
  struct kad_signed s;
  uint8_t record[KAD_MAX_RECORD], signature[8];
};

static inline void craft_sign(struct net *t, uint32_t by, struct crafted *c) {
  static const char domain[] = "macula dht record 1";
  uint8_t bytes[sizeof domain + KAD_MAX_RECORD];
  size_t n = kad_batch_encode(&c->b, c->record, sizeof c->record);
  assert_true(n <= sizeof c->record);
  memcpy(bytes, domain, sizeof domain);
  memcpy(bytes + sizeof domain, c->record, n);
  struct slice spki = slice_of(t->v[by].spki, sizeof t->v[by].spki);
  test_signature(spki, slice_of(bytes, sizeof domain + n), c->signature);
  c->s = (struct kad_signed){slice_of(c->record, n), slice_of(c->signature, 8), spki, 0};
}
/* One record of node `by`. */
static inline void craft(struct net *t, uint32_t by, const struct id *key, unsigned kind, uint32_t ttl, uint64_t seq,
                         struct crafted *ret) {
  ret->b = (struct kad_batch){.realm = slice_str("org.test"), .seq = seq, .addr = t->v[by].self.addr, .count = 1};
  ret->b.entries[0] = (struct kad_entry){*key, kind, ttl};
  craft_sign(t, by, ret);
}

/* The node's answer to one frame, decoded into views of `buf`. Other frames that it wants to send are dropped. */
struct reply {
  int err;
  uint8_t type;
  struct kad_msg m;
  uint8_t buf[131072];
};
static inline void ask(struct net *t, uint32_t node, uint32_t from, uint8_t type, const struct kad_msg *m, struct reply *ret) {
  static uint8_t payload[131072];
  struct dht_out o;
  size_t n = kad_encode(type, m, payload, sizeof payload);
  assert_true(n <= sizeof payload);
  ret->type = 0;
  ret->err = dht_recv(t->v[node].d, &t->v[from].self, type, slice_of(payload, n), t->now);
  while (dht_next(t->v[node].d, &o)) {
    if (o.query) continue;
    assert_true(o.payload.n <= sizeof ret->buf);
    memcpy(ret->buf, o.payload.p, o.payload.n);
    ret->type = o.type;
    assert_int_equal(kad_decode(o.type, slice_of(ret->buf, o.payload.n), &ret->m), 0);
  }
}
/* STORE; the code of the answer, "" when stored. */
static inline const char *store(struct net *t, uint32_t node, uint32_t from, const struct crafted *c, struct reply *ret) {
  static char code[64];
  struct kad_msg m = {.query = 9, .batch = c->s};
  ask(t, node, from, MSG_STORE, &m, ret);
  assert_int_equal(ret->err, 0);
  assert_int_equal(ret->type, MSG_STORE_REPLY);
  assert_int_equal(ret->m.query, 9);
  snprintf(code, sizeof code, "%.*s", (int)ret->m.code.n, ret->m.code.n ? (const char *)ret->m.code.p : "");
  return code;
}

#endif
