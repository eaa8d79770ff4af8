/* Attacks in frames that no honest client writes. ngtcp2 makes the packets, with their numbers, keys and acknowledgements;
 * before it encrypts one its frames are exchanged for others of the same length, and of what it decrypts only acknowledgements
 * are left. The linker puts the three functions named __wrap_ here in the place of ngtcp2's (--wrap, tests/meson.build).
 */
#include "hostile.h"

#define MOST_HOLES 32000u /* of one byte each, between bytes: what a window of 64 KiB takes */
#define HOLES_EACH 4500u  /* of one stream: ngtcp2 ends a connection with 5,000 in one */
#define MOST_CRUMBS 11000u
#define MOST_STREAMS 99u
#define CARRIED 8800u /* bytes a turn, in full packets */
#define IN_FLIGHT (64u << 10)
#define SHARE_STREAMS 13u /* a byte of each, out of order, is a block of 8 KiB: what a busy client holds */
#define MODEST_STREAMS 2u

/* ---- frames ----------------------------------------------------------------------------------------------------------------
 */
static size_t put(uint8_t *p, uint64_t v) { /* a varint of 8 bytes */
  for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> (56 - 8 * i));
  p[0] |= 0xc0;
  return 8;
}

static size_t put4(uint8_t *p, uint32_t v) {
  for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
  p[0] |= 0x80;
  return 4;
}

/* 0: it does not fit. */
static size_t get(const uint8_t *p, size_t n, uint64_t *ret_v) {
  size_t len = n ? (size_t)1 << (p[0] >> 6) : 1;
  if (n < len) return 0;
  *ret_v = p[0] & 0x3f;
  for (size_t i = 1; i < len; i++) *ret_v = *ret_v << 8 | p[i];
  return len;
}

/* Bytes of the acknowledgement that a packet's frames begin with; 0: there is none. */
static size_t ack_len(const uint8_t *p, size_t n) {
  uint64_t v, more = 4, k;
  size_t at = 1, len;
  if (!n || (p[0] != 2 && p[0] != 3)) return 0;
  for (k = 0; k < more; k++, at += len) { /* largest, delay, count, first range; then pairs; then ECN */
    len = get(p + at, n - at, &v);
    if (!len) return 0;
    if (k == 2) more += 2 * v + (p[0] == 3 ? 3 : 0);
  }
  return at;
}

static uint64_t any(uint64_t below) {
  uint64_t v;
  rng_fill(h.rng, &v, sizeof v);
  return v % below;
}

/* ---- packets ---------------------------------------------------------------------------------------------------------------
 */
static struct actor *actor_of(const struct htab *t, const uint8_t *id, size_t len) {
  const struct cid *e = cid_find(t, id, len);
  return e ? quic_conn_user(e->conn) : NULL;
}

/* Who sends the packet with this header. */
static struct actor *sender(const uint8_t *p) {
  if (!(p[0] & 0x80)) return actor_of(&h.quic->dcids, p + 1, QUIC_CID_LEN);
  const uint8_t *scid = p + 6 + p[5];
  return (p[0] & 0x30) == 0 ? actor_of(&h.quic->cids, scid + 1, scid[0]) : NULL; /* Initial packets only */
}

/* Packets of this level, to be filled. */
static void carry_some(struct actor *a, ngtcp2_encryption_level level, size_t n) {
  static const uint8_t bytes[CARRIED];
  ngtcp2_conn_info info;
  if (!a->conn || !a->conn->nc) return;
  ngtcp2_conn_get_conn_info(a->conn->nc, &info);
  if (info.bytes_in_flight < IN_FLIGHT) (void)ngtcp2_conn_submit_crypto_data(a->conn->nc, level, bytes, n);
  conn_touch(a->conn);
}

static void carry(struct actor *a, ngtcp2_encryption_level level) { carry_some(a, level, CARRIED); }

int __real_ngtcp2_crypto_encrypt_cb(uint8_t *dest, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx,
                                    const uint8_t *plain, size_t n, const uint8_t *nonce, size_t nonce_len,
                                    const uint8_t *header, size_t header_len);
int __wrap_ngtcp2_crypto_encrypt_cb(uint8_t *dest, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx,
                                    const uint8_t *plain, size_t n, const uint8_t *nonce, size_t nonce_len,
                                    const uint8_t *header, size_t header_len);
int __wrap_ngtcp2_crypto_encrypt_cb(uint8_t *dest, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx,
                                    const uint8_t *plain, size_t n, const uint8_t *nonce, size_t nonce_len,
                                    const uint8_t *header, size_t header_len) {
  static uint8_t other[65536];
  struct actor *a = h.attack->fill && n <= sizeof other ? sender(header) : NULL;
  if (a && a->raw) {
    size_t at = ack_len(plain, n);
    memcpy(other, plain, at);
    memset(other + at, 0, n - at); /* PADDING */
    size_t end = h.attack->fill(a, other, n, at);
    if (end == at && at < n) other[at] = 1; /* PING */
    a->step++;
    plain = other;
  }
  return __real_ngtcp2_crypto_encrypt_cb(dest, aead, ctx, plain, n, nonce, nonce_len, header, header_len);
}

/* The connection ids that the node issues: NEW_CONNECTION_ID looks like nothing else as long as their numbers follow each
 * other. */
static void learn(struct actor *a, const uint8_t *p, size_t n) {
  for (size_t i = 0; i + 20 < n; i++) {
    uint64_t seq;
    size_t len = p[i] == 0x18 ? get(p + i + 1, n - i - 1, &seq) : 0;
    if (len && p[i + 1 + len] == 0 && p[i + 2 + len] == QUIC_CID_LEN && seq > a->issued && seq < a->issued + 8) a->issued = seq;
  }
}

int __real_ngtcp2_crypto_decrypt_cb(uint8_t *dest, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx,
                                    const uint8_t *cipher, size_t n, const uint8_t *nonce, size_t nonce_len,
                                    const uint8_t *header, size_t header_len);
int __wrap_ngtcp2_crypto_decrypt_cb(uint8_t *dest, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx,
                                    const uint8_t *cipher, size_t n, const uint8_t *nonce, size_t nonce_len,
                                    const uint8_t *header, size_t header_len);
int __wrap_ngtcp2_crypto_decrypt_cb(uint8_t *dest, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx,
                                    const uint8_t *cipher, size_t n, const uint8_t *nonce, size_t nonce_len,
                                    const uint8_t *header, size_t header_len) {
  int rv = __real_ngtcp2_crypto_decrypt_cb(dest, aead, ctx, cipher, n, nonce, nonce_len, header, header_len);
  struct actor *a = rv || !h.attack->fill || header[0] & 0x80 ? NULL : actor_of(&h.quic->cids, header + 1, QUIC_CID_LEN);
  if (!a || n <= aead->max_overhead) return rv;
  n -= aead->max_overhead;
  learn(a, dest, n);
  if (!a->raw || !a->in) return 0;
  size_t at = 0;
  while (at + 9 < n && dest[at] == 0x1b) at += 9; /* PATH_RESPONSE comes before an acknowledgement */
  size_t ack = ack_len(dest + at, n - at);
  if (at + ack < n && (dest[at + ack] & 0xfe) == 0x1c) return 0; /* CONNECTION_CLOSE */
  memmove(dest, dest + at, ack);
  memset(dest + ack, 0, n - ack);
  if (ack < n) dest[ack] = 1; /* PING: what the node sends is acknowledged */
  return 0;
}

int __real_ngtcp2_conn_client_new_versioned(ngtcp2_conn **ret, const ngtcp2_cid *dcid, const ngtcp2_cid *scid,
                                            const ngtcp2_path *path, uint32_t version, int cv, const ngtcp2_callbacks *cb,
                                            int sv, const ngtcp2_settings *set, int pv, const ngtcp2_transport_params *params,
                                            const ngtcp2_mem *mem, void *user);
int __wrap_ngtcp2_conn_client_new_versioned(ngtcp2_conn **ret, const ngtcp2_cid *dcid, const ngtcp2_cid *scid,
                                            const ngtcp2_path *path, uint32_t version, int cv, const ngtcp2_callbacks *cb,
                                            int sv, const ngtcp2_settings *set, int pv, const ngtcp2_transport_params *params,
                                            const ngtcp2_mem *mem, void *user);
int __wrap_ngtcp2_conn_client_new_versioned(ngtcp2_conn **ret, const ngtcp2_cid *dcid, const ngtcp2_cid *scid,
                                            const ngtcp2_path *path, uint32_t version, int cv, const ngtcp2_callbacks *cb,
                                            int sv, const ngtcp2_settings *set, int pv, const ngtcp2_transport_params *params,
                                            const ngtcp2_mem *mem, void *user) {
  ngtcp2_transport_params mine = *params;
  if (h.attack->fill) mine.active_connection_id_limit = 8;    /* as many ids as the node will give */
  if (h.attack->in_turn) mine.max_ack_delay = NGTCP2_SECONDS; /* the node is to remember each for 3 s */
  return __real_ngtcp2_conn_client_new_versioned(ret, dcid, scid, path, version, cv, cb, sv, set, pv, &mine, mem, user);
}

/* ---- handshakes ------------------------------------------------------------------------------------------------------------
 */
static void connect_raw(struct actor *a) {
  struct quic_connect o = {.local = h.at[a->number % 4], .remote = h.node, .insecure = true, .identity = h.identity, .user = a};
  a->raw = true;
  if (quic_connect(h.quic, &o, h.now, &a->conn)) a->conn = NULL;
}

/* As deep as each actor's number says: some ask for more than there is, and the others hold what there is. */
static uint32_t depth(const struct actor *a, uint32_t most) { return (uint32_t)((uint64_t)most * (a->number + 1) / h.count); }

static size_t crypto(uint8_t *p, size_t n, uint32_t offset, size_t len) {
  if (n < 6 + len) return 0;
  p[0] = 6;
  size_t at = 1 + put4(p + 1, offset);
  p[at++] = (uint8_t)len;
  memset(p + at, 'c', len);
  return at + len;
}

static size_t stream(uint8_t *p, size_t n, uint32_t number, uint32_t offset) {
  if (n < 12) return 0;
  p[0] = 0x0e; /* with offset and length */
  size_t at = 1 + put4(p + 1, 4 * number);
  at += put4(p + at, offset);
  p[at++] = 1;
  p[at++] = 's';
  return at;
}

/* Every second byte, from the second on; then again what was there, and some of what lies between. */
static size_t holes(struct actor *a, uint8_t *p, size_t n, size_t at, bool in_crypto) {
  uint32_t most = depth(a, in_crypto ? HOLES_EACH : MOST_HOLES);
  for (size_t len;; at += len) {
    bool again = a->round >= most;
    uint32_t k = again ? (uint32_t)any(most) : a->round;
    if (in_crypto)
      len = crypto(p + at, n - at, 2 * k + 1, again && k % 64 == 0 ? 5 : 1);
    else
      len = stream(p + at, n - at, 1 + k / HOLES_EACH, 2 * (k % HOLES_EACH) + 1);
    if (!len) return at;
    if (!again) a->round++;
  }
}

/* The beginning of a ClientHello of 12,000 bytes, a byte a frame, in order. */
static size_t crumbs(struct actor *a, uint8_t *p, size_t n, size_t at) {
  static const uint8_t head[] = {1, 0, 0x2e, 0xe0, 3, 3};
  uint32_t most = depth(a, MOST_CRUMBS);
  for (size_t len; a->round < most; at += len, a->round++) {
    len = crypto(p + at, n - at, a->round, 1);
    if (!len) break;
    p[at + len - 1] = a->round < sizeof head ? head[a->round] : 0;
  }
  return at;
}

static size_t fill_initial(struct actor *a, uint8_t *p, size_t n, size_t at) {
  return a->number % 2 ? holes(a, p, n, at, true) : crumbs(a, p, n, at);
}

static bool turn_initial(struct actor *a) {
  uint32_t most = depth(a, a->number % 2 ? HOLES_EACH : MOST_CRUMBS);
  if (!a->conn || a->round >= most) return true;
  carry(a, NGTCP2_ENCRYPTION_LEVEL_INITIAL);
  return false;
}

/* ---- an open connection ----------------------------------------------------------------------------------------------------
 */
static void in_raw(struct actor *a) { a->raw = true; }

static bool turn_carry(struct actor *a, uint64_t packets) {
  if (!a->in || a->step >= packets) return a->in;
  carry(a, NGTCP2_ENCRYPTION_LEVEL_1RTT);
  return false;
}

/* In what TLS says, in streams, or a byte in each stream that there may be. */
static size_t fill_holes(struct actor *a, uint8_t *p, size_t n, size_t at) {
  if (a->number % 3) return holes(a, p, n, at, a->number % 3 == 1);
  for (size_t len; (len = stream(p + at, n - at, 1 + a->round % MOST_STREAMS, 1)); at += len) a->round++;
  return at;
}
static bool turn_holes(struct actor *a) {
  uint32_t most = a->number % 3 == 0 ? MOST_STREAMS : depth(a, a->number % 3 == 1 ? HOLES_EACH : MOST_HOLES);
  return turn_carry(a, a->round < most ? UINT64_MAX : 0);
}

/* Many who each hold what a busy client does, and no more; who was ended comes again. */
static size_t fill_shares(struct actor *a, uint8_t *p, size_t n, size_t at) {
  for (size_t len; a->round < SHARE_STREAMS && (len = stream(p + at, n - at, 1 + a->round, 1)); at += len) a->round++;
  return at;
}
static bool turn_shares(struct actor *a) {
  if (!a->conn) {
    a->in = a->raw = false;
    a->round = 0;
    connect_as(a, NULL);
  } else if (a->in && a->round < SHARE_STREAMS) {
    carry_some(a, NGTCP2_ENCRYPTION_LEVEL_1RTT, 1100);
  }
  return a->round == SHARE_STREAMS || a->ended;
}

/* Asks for some blocks at each turn, and gives them back. */
static size_t fill_modest(struct actor *a, uint8_t *p, size_t n, size_t at) {
  at += stream(p + at, n - at, 1 + a->round, 1);
  for (uint32_t k = MODEST_STREAMS; k < MODEST_STREAMS + 4 && k <= a->round && at + 12 <= n; k++) { /* some are lost */
    p[at++] = 0x04;                                                                                 /* RESET_STREAM */
    at += put4(p + at, 4 * (1 + a->round - k));
    at += put4(p + at, 1);
    p[at++] = 2;
  }
  a->round++;
  return at;
}
static bool turn_modest(struct actor *a) {
  ngtcp2_conn_info info;
  if (!a->in || !a->conn->nc) return false;
  ngtcp2_conn_get_conn_info(a->conn->nc, &info);
  if (!info.bytes_in_flight) carry_some(a, NGTCP2_ENCRYPTION_LEVEL_1RTT, 1000); /* the node has had the last one */
  return a->round > 100;
}

static size_t fill_pings(struct actor *a, uint8_t *p, size_t n, size_t at) {
  (void)a, (void)p, (void)n;
  return at;
}
static bool sends_some(const uint8_t *p, size_t n) { /* two of three of each */
  struct actor *a = p[0] & 0x80 || n < 100 ? NULL : sender(p);
  return !a || !a->raw || ++a->round % 3;
}
static bool turn_packets(struct actor *a) { return turn_carry(a, 300); }

/* All ids that it was given, so that the node issues others; between them one that is long gone, again and again. */
static size_t fill_retire(struct actor *a, uint8_t *p, size_t n, size_t at) {
  for (bool old = true; at + 9 <= n && (old || a->round < a->issued); old = false) {
    p[at++] = 0x19;
    at += put(p + at, old && a->round ? 1 : ++a->round);
  }
  return at;
}
/* Packets beyond its budget are dropped unread, and what they retired is never retired. */
static bool turn_retire(struct actor *a) { return turn_carry(a, a->issued < 100 ? 2000 : 0); }

/* Ids that the node has to take in the place of those that it has. */
static size_t fill_ids(struct actor *a, uint8_t *p, size_t n, size_t at) {
  unsigned per = 1 + a->number % 8; /* more at once than a node has to tell to be retired end a connection */
  for (unsigned k = 0; at + 42 <= n && k < per; k++) {
    uint64_t seq = 8 + a->round++; /* some are the client's own */
    p[at++] = 0x18;
    at += put(p + at, seq);
    at += put(p + at, a->number % 2 ? seq : seq > 1 ? seq - 1 : 0);
    p[at++] = QUIC_CID_LEN;
    rng_fill(h.rng, p + at, QUIC_CID_LEN + 16);
    at += QUIC_CID_LEN + 16;
  }
  return at;
}

static size_t fill_challenges(struct actor *a, uint8_t *p, size_t n, size_t at) {
  (void)a;
  for (; at + 9 <= n; at += 9) {
    p[at] = 0x1a;
    rng_fill(h.rng, p + at + 1, 8);
  }
  return at;
}

/* Limits, complaints about limits, and ends of streams that were never used. */
static size_t fill_noise(struct actor *a, uint8_t *p, size_t n, size_t at) {
  while (at + 32 <= n) {
    uint32_t stream = 4 * (uint32_t)(1 + any(90));
    a->round++;
    p[at++] = 0x10; /* MAX_DATA */
    at += put(p + at, 1u << 20 | a->round);
    p[at++] = a->round % 4 ? 0x11 : 0x05; /* MAX_STREAM_DATA, STOP_SENDING */
    at += put4(p + at, stream);
    at += put4(p + at, a->round & 0xfffffff);
    p[at++] = a->round % 2 ? 0x14 : 0x12; /* DATA_BLOCKED, MAX_STREAMS */
    at += put4(p + at, a->round & 0xfffffff);
    if (a->round % 8 || at + 10 > n) continue;
    p[at++] = 0x04; /* RESET_STREAM */
    at += put4(p + at, stream);
    at += put4(p + at, 1);
    p[at++] = 0;
  }
  return at;
}

/* Acknowledgements of every second packet, of all that the node ever sent, of the newest alone, and of one that it never sent.
 */
static size_t fill_acks(struct actor *a, uint8_t *p, size_t n, size_t at) {
  uint64_t largest;
  if (!at || !get(p + 1, at - 1, &largest) || n < 64) return at;
  unsigned how = a->number % 8 == 7 && a->step > 200 ? 3 : a->number % 3;
  uint64_t blocks = how == 0 && largest ? (largest - 1) / 2 : 0;
  if (blocks > (n - 40) / 2) blocks = (n - 40) / 2;
  memset(p, 0, n);
  p[0] = 2;
  at = 1 + put(p + 1, largest + (how == 3 ? 1000 : 0));
  p[at++] = 0;
  at += put4(p + at, (uint32_t)blocks);
  at += put(p + at, how == 1 ? largest : 0);
  at += 2 * blocks; /* gaps and ranges of one */
  p[at++] = 0x10;   /* MAX_DATA: the flood goes on */
  at += put(p + at, (uint64_t)1 << 40);
  return at;
}

static bool turn_acks(struct actor *a) {
  if (a->number && a->in && !a->raw) a->raw = told_all(a); /* it has subscribed */
  if (a->raw) carry(a, NGTCP2_ENCRYPTION_LEVEL_1RTT);
  return a->raw || turn_flood(a);
}

const struct attack frame_attacks[] = {
    {"initial-holes", .connect = connect_raw, .turn = turn_initial, .fill = fill_initial},
    {"holes", .in = in_raw, .turn = turn_holes, .fill = fill_holes},
    {"shares", .in = in_raw, .turn = turn_shares, .fill = fill_shares, .again = true},
    {"modest", .in = in_raw, .turn = turn_modest, .fill = fill_modest, .honest = true},
    {"pings", .in = in_raw, .turn = turn_packets, .sends = sends_some, .fill = fill_pings},
    {"acks", .in = in_reader, .turn = turn_acks, .fill = fill_acks},
    {"retire-ids", .in = in_raw, .turn = turn_retire, .fill = fill_retire},
    {"new-ids", .in = in_raw, .turn = turn_packets, .fill = fill_ids},
    {"challenges", .in = in_raw, .turn = turn_packets, .fill = fill_challenges},
    {"noise", .in = in_raw, .turn = turn_packets, .fill = fill_noise},
};
const size_t frame_attack_count = sizeof frame_attacks / sizeof frame_attacks[0];
