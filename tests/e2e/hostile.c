/* Clients that mean harm, for tests/e2e/attack.py: hostile ADDR ATTACK COUNT [IDENTITY PASS]. Prints "ready" when it has done
 * its worst, and goes on until it is ended. It reaches into src/quic, so that it can hold back, repeat and reorder what honest
 * clients send. With IDENTITY and PASS, files of key and certificate and of a pass, those whose attack needs no identity of
 * their own have this one, and show the pass.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../unit/quic/forge.h"
#include "hostile.h"
#include "trust/crypto.h"
#include "trust/pass.h"
#include "wire/frame.h"
#include "wire/kad.h"
#include "wire/msg.h"
#include "wire/swim.h"

#define TURN NS_MS
#define MAX_ACTORS 20000u
#define HALF_STREAMS 100u

struct hostile h;
static uint8_t pass[PASS_MAX];
static size_t pass_len;

static void fail(const char *what) {
  fprintf(stderr, "hostile: %s\n", what);
  exit(1);
}

/* ---- frames ----------------------------------------------------------------------------------------------------------------
 */
static uint8_t frame[FRAME_HEADER_LEN + FRAME_MAX_PAYLOAD];

static void tell(struct actor *a, const struct msg *m) {
  ptrdiff_t n = msg_encode(m, frame, sizeof frame);
  if (n <= 0) fail("a message that cannot be encoded");
  (void)quic_stream_write(a->conn, a->stream, slice_of(frame, (size_t)n));
}

static void tell_raw(struct actor *a, uint8_t type, size_t n) { /* the payload is in `frame` */
  frame_header(frame, type, (uint32_t)n);
  (void)quic_stream_write(a->conn, a->stream, slice_of(frame, FRAME_HEADER_LEN + n));
}

static void say_connect(struct actor *a, uint32_t caps) {
  uint8_t instance[INSTANCE_LEN];
  if (quic_stream_open(a->conn, &a->stream)) return;
  rng_fill(h.rng, instance, sizeof instance);
  if (h.attack->in_turn) memset(instance, 1 + (int)(a->number / 2), sizeof instance);
  tell(a, &(struct msg){.type = MSG_CONNECT,
                        .connect = {.version = slice_str("1.0"),
                                    .node_id = slice_of(quic_identity_id(a->identity ? a->identity : h.identity)->b, ID_LEN),
                                    .realm_id = slice_str("default"),
                                    .caps = CAP_PUBSUB | CAP_RPC | CAP_ACK | CAP_REGISTER | CAP_CANCEL | caps,
                                    .endpoint = slice_str(caps & CAP_NODE ? "127.0.0.1:9" : NULL),
                                    .pass = a->identity ? SLICE_NONE : slice_of(pass, pass_len),
                                    .instance = slice_of(instance, sizeof instance)}});
}

static void publish(struct actor *a, const char *topic, size_t n, bool retain) {
  static uint8_t payload[FRAME_MAX_PAYLOAD];
  uint8_t id[CALL_ID_LEN];
  rng_fill(h.rng, id, sizeof id);
  tell(a, &(struct msg){.type = MSG_PUBLISH,
                        .publish = {.topic = slice_str(topic),
                                    .payload = slice_of(payload, n),
                                    .retain = retain,
                                    .message_id = slice_of(id, sizeof id)}});
}

static void subscribe(struct actor *a, const char *const *topics, uint32_t n) {
  struct slice items[64];
  for (uint32_t i = 0; i < n; i++) items[i] = slice_str(topics[i]);
  tell(a, &(struct msg){.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = n, .items = items}}});
}

static void serve(struct actor *a, const char *name, uint64_t ref) {
  tell(a, &(struct msg){.type = MSG_REGISTER, .reg = {.procedure = slice_str(name), .ttl = 3600, .ref = ref, .has_ref = true}});
}

bool told_all(const struct actor *a) { return quic_queued(a->conn) == 0; }
static bool room(const struct actor *a) { return quic_queued(a->conn) < 256u << 10; }

/* ---- certificates ----------------------------------------------------------------------------------------------------------
 */
void connect_as(struct actor *a, struct quic_identity *i) {
  struct quic_connect o = {.local = h.at[0], .remote = h.node, .insecure = true, .identity = i ? i : h.identity, .user = a};
  if (quic_connect(h.quic, &o, h.now, &a->conn)) a->conn = NULL;
}

#define FORGED(name, fill, bytes, n)                                                                                           \
  static void connect_##name(struct actor *a) {                                                                                \
    static struct quic_identity *i;                                                                                            \
    if (!i) i = forge(fill, bytes, n);                                                                                         \
    a->identity = i;                                                                                                           \
    connect_as(a, i);                                                                                                          \
  }
FORGED(names, FILL_NAMES, 10400, 1)
FORGED(alternatives, FILL_ALTERNATIVES, 10400, 1)
FORGED(chain, FILL_BYTES, 2300, 4)

/* A key of 3,500 bytes whose exponent is as long: verifying one signature takes seconds. */
static void connect_key(struct actor *a) {
  static struct quic_identity *i;
  if (!i) i = forge_key(3500, 3500);
  a->identity = i;
  connect_as(a, i);
}

/* ---- handshakes ------------------------------------------------------------------------------------------------------------
 */
static size_t varint(const uint8_t *p, size_t *at) {
  size_t n = (size_t)1 << (p[*at] >> 6), v = p[(*at)++] & 0x3f;
  while (--n) v = v << 8 | p[(*at)++];
  return v;
}
/* Bytes of the Initial packet that the datagram begins with; 0: it begins with another. */
static size_t initial_len(const uint8_t *p) {
  size_t at = 5;
  if ((p[0] & 0xf0) != 0xc0) return 0;
  at += 1 + p[at];
  at += 1 + p[at];
  size_t token = varint(p, &at);
  at += token;
  size_t len = varint(p, &at);
  return at + len;
}
/* Nothing that follows the first flight. */
static bool sends_initials(const uint8_t *p, size_t n) { return n >= 1200 && initial_len(p) == n; }
/* All of the second flight but its end: the node holds the certificate and waits. */
static bool sends_full(const uint8_t *p, size_t n) {
  (void)p;
  return n >= 1200;
}
static bool turn_started(struct actor *a) { return a->step++ > 1000; }
static void in_nothing(struct actor *a) { (void)a; }

/* A handshake after the other; a client that was turned away comes again. */
static bool turn_again(struct actor *a) {
  if (!a->conn) {
    a->step++;
    h.attack->connect(a);
  }
  return a->step >= 5 || a->in;
}

/* ---- streams ---------------------------------------------------------------------------------------------------------------
 */
static void in_half_streams(struct actor *a) {
  static const uint8_t half[] = {FRAME_VERSION, MSG_PUBLISH, 0, 0, 0, 0x10, 0, 0, 0x80};
  int64_t id;
  for (unsigned i = 0; i < HALF_STREAMS && !quic_stream_open(a->conn, &id); i++)
    (void)quic_stream_write(a->conn, id, slice_of(half, sizeof half));
}

/* Bytes at the end of what the window takes, on each of many streams: the first datagram of each stream stays away. */
static bool turn_gaps(struct actor *a) {
  static const uint8_t bytes[1100];
  int64_t id;
  if (!a->in || a->step >= HALF_STREAMS) return a->in;
  if (quic_queued(a->conn) > 8192) return false;
  a->step++;
  if (quic_stream_open(a->conn, &id)) return a->step = HALF_STREAMS, true;
  (void)quic_stream_write(a->conn, id, slice_of(bytes, sizeof bytes));
  return false;
}
static bool sends_odd(const uint8_t *p, size_t n) {
  if (p[0] & 0x80 || n < 600) return true;
  return h.sent & 1;
}

static bool turn_churn(struct actor *a) {
  static const uint8_t half[] = {FRAME_VERSION, MSG_PUBLISH, 0, 0, 0, 0x10, 0, 0, 0x80};
  int64_t id[16];
  int n = 0;
  if (!a->in) return false;
  while (n < 16 && !quic_stream_open(a->conn, &id[n])) (void)quic_stream_write(a->conn, id[n++], slice_of(half, sizeof half));
  while (n) quic_stream_reset(a->conn, id[--n], 1);
  return a->step++ > 1000;
}

/* ---- packets ---------------------------------------------------------------------------------------------------------------
 */
static bool hears_half(void) { return h.now / (3 * NS_MS) & 1 || h.heard & 1; }

/* A reader of all that never acknowledges; the first actor is the one that it could read. */
void in_reader(struct actor *a) {
  static const char *const all[] = {"hostile.**"};
  if (a->number) subscribe(a, all, 1);
}
bool turn_flood(struct actor *a) {
  if (!a->in) return false;
  if (a->number) return true;
  for (int i = 0; i < 16 && room(a) && h.started == h.count; i++, a->step++)
    publish(a, "hostile.flood", 100 + a->step % 900, false);
  return a->step > 8000;
}
static bool sends_no_ack(const uint8_t *p, size_t n) {
  (void)n;
  if (p[0] & 0x80) return true;
  return h.done < h.count - 1 || (h.sent & 3); /* the flood goes on; readers' words are lost now and then */
}

static bool turn_keys(struct actor *a) {
  if (a->in) quic_conn_key_update(a->conn);
  return a->in && a->step++ > 1000;
}

/* To another of our sockets, again and again: new ids, paths to be challenged. */
static bool turn_migrate(struct actor *a) {
  if (!a->in || !a->conn->nc) return false;
  struct addr *to = &h.at[1 + a->step % 3];
  a->conn->local = *to;
  ngtcp2_path path = {.local = {(ngtcp2_sockaddr *)&to->sa, addr_len(to)},
                      .remote = {(ngtcp2_sockaddr *)&h.node.sa, addr_len(&h.node)}};
  if (ngtcp2_conn_initiate_immediate_migration(a->conn->nc, &path, h.now) == 0) a->step++;
  conn_touch(a->conn);
  return a->step > 15;
}

/* ---- tables ----------------------------------------------------------------------------------------------------------------
 */
static void topic_of(char *p, uint64_t n) { /* 32 segments that no other has, in at most 255 bytes, awkward to print */
  p += sprintf(p, "h");
  for (unsigned i = 0; i < 31; i++) p += sprintf(p, ".%c%llx", "\"\\ !$&'(),:;<=>?@[]^`{|}~-_ABCD"[i], (unsigned long long)n);
}

static bool turn_subscribe(struct actor *a) {
  char topic[400];
  const char *const at[] = {topic};
  for (int i = 0; a->in && i < 20 && room(a) && a->step < 1000; i++, a->step++) {
    topic_of(topic, a->number * 4096ull + a->step);
    subscribe(a, at, 1);
  }
  return a->step >= 1000 && told_all(a);
}

/* Patterns that one topic reaches all of, and then that topic. */
static bool turn_wildcards(struct actor *a) {
  char text[128] = "a";
  const char *const at[] = {text};
  for (int i = 0; a->in && i < 20 && room(a) && a->step < 1000; i++, a->step++) {
    strcpy(text, "a");
    for (unsigned bit = 0; bit < 15; bit++) strcat(text, (a->number * 1000 + a->step) >> bit & 1 ? ".**.a" : ".a");
    subscribe(a, at, 1);
  }
  if (a->step < 1000 || !told_all(a)) return false;
  for (int i = 1; i < 32; i++) strcat(text, ".a");
  text[63] = 0;
  for (; a->step < 1100; a->step++) publish(a, text, 1, false);
  return true;
}

/* Rounds that fill the row with retained messages of one size and then clear all but every third, or second: what stays is in
 * the way of the next round's, which are larger than the holes. Holes smaller than a page cannot be given back to the system.
 * Each attacker is another identity, as one alone may not fill the row. */
#define RETAINED_EACH (5u << 20) /* bytes that one attacker fills */
static bool turn_retained(struct actor *a) {
  static const uint32_t sizes[] = {500, 1450, 3200}, keep[] = {3, 2, 1};
  char topic[64];
  if (!a->in) return false;
  for (int i = 0; i < 64 && room(a) && a->round < 3; i++, a->step++) {
    uint32_t size = sizes[a->round], count = RETAINED_EACH / (size + 12);
    bool goes = a->step >= count;
    uint64_t k = goes ? a->step - count : a->step;
    if (goes && (k >= count || a->round == 2)) {
      a->step = 0;
      a->round++;
    } else if (!goes || k % keep[a->round]) {
      sprintf(topic, "r.%u.%u.%06llu", a->number, a->round, (unsigned long long)k);
      publish(a, topic, goes ? 0 : size, true);
    }
  }
  return a->round >= 3 && told_all(a);
}

static bool turn_services(struct actor *a) {
  char name[256];
  for (int i = 0; a->in && i < 32 && room(a) && a->step < 256; i++, a->step++) {
    int n = sprintf(name, "h%u.s%llu.", a->number, (unsigned long long)a->step);
    memset(name + n, '"', sizeof name - 1 - (size_t)n); /* twice as long in JSON */
    name[20 + (a->step * 37 + a->number * 101) % 230] = 0;
    serve(a, name, a->step + 1);
  }
  if (a->step == 256 && a->number % 2) {
    quic_conn_close(a->conn, 0, "checkers");
    a->step++;
  }
  return a->step >= 256 && told_all(a);
}

/* Procedures that are served for a moment only, each of another name. */
static bool turn_services_churn(struct actor *a) {
  char name[64];
  if (!a->in || quic_queued(a->conn) > 4096 || h.now < a->at) return a->step > 20000;
  a->at = h.now + 40 * NS_MS;
  for (int i = 0; i < 250; i++) {
    if (a->step >= 250) {
      sprintf(name, "churn%u.s%llu", a->number, (unsigned long long)(a->step - 250));
      tell(a, &(struct msg){.type = MSG_UNREGISTER, .unreg = {.procedure = slice_str(name)}});
    }
    sprintf(name, "churn%u.s%llu", a->number, (unsigned long long)a->step++);
    serve(a, name, a->step);
  }
  return a->step > 20000;
}

/* Calls with large arguments to a service that never answers, twice what the table holds and on: some are refused while the
 * service is slower to read than they come. */
#define CALLS_EACH 2000u
static void in_calls(struct actor *a) {
  if (a->number == 0) serve(a, "hostile.hole", 1);
}
static void call(struct actor *a, const char *name, size_t n) {
  static uint8_t args[4000] = "1";
  uint8_t id[CALL_ID_LEN];
  memset(args + 1, ' ', sizeof args - 1);
  rng_fill(h.rng, id, sizeof id);
  tell(a, &(struct msg){.type = MSG_CALL,
                        .call = {.procedure = slice_str(name),
                                 .args = slice_of(args, n),
                                 .call_id = slice_of(id, sizeof id),
                                 .timeout = 60000}});
}
static bool turn_calls(struct actor *a) {
  if (!a->conn) {
    a->in = false;
    connect_as(a, NULL);
  }
  if (!a->in || !h.actors[0].in || a->number == 0) return a->in;
  for (int i = 0; i < 4 && room(a); i++, a->step++) call(a, "hostile.hole", 100 + a->step * 7919 % 3900);
  return a->step >= CALLS_EACH;
}

/* One client from two sockets in turn, again and again, with as much of its own as it may have each time. */
#define TAKEOVERS_EACH 50u
static void in_takeover(struct actor *a) {
  char names[50][32], topic[32];
  const char *at[50];
  for (unsigned i = 0; i < 50; i++)
    sprintf(names[i], "t%u.s%llu.n%u.*", a->number, (unsigned long long)a->step, i), at[i] = names[i];
  subscribe(a, at, 50);
  for (unsigned i = 0; i < 10; i++) {
    sprintf(topic, "t%u.p%u", a->number / 2, i);
    serve(a, topic, i);
    call(a, topic, 100);
  }
}
static bool turn_takeover(struct actor *a) {
  if (!a->conn) {
    a->in = false;
    a->step++;
    connect_as(a, NULL);
  }
  return a->step > TAKEOVERS_EACH;
}

/* ---- a node ----------------------------------------------------------------------------------------------------------------
 */
static void connect_own(struct actor *a) { /* with an identity of its own */
  if (!a->identity && quic_identity_generate(&a->identity)) fail("no identity");
  connect_as(a, a->identity);
}

static void connect_node(struct actor *a) { connect_own(a); }

static void store(struct actor *a) {
  static const char domain[] = "macula dht record 1";
  struct quic_identity *i;
  uint8_t record[sizeof domain + KAD_MAX_RECORD], signature[QUIC_SIGNATURE_MAX];
  size_t signature_len;
  struct kad_batch b = {.realm = slice_str("default"), .seq = 1 + a->step, .addr = h.at[0], .count = KAD_MAX_ENTRIES};
  if (quic_identity_generate(&i)) fail("no identity");
  for (int k = 0; k < KAD_MAX_ENTRIES; k++) {
    rng_fill(h.rng, b.entries[k].key.b, ID_LEN);
    b.entries[k].kind = 1;
    b.entries[k].ttl = a->step % 4 ? 3600 : 0;
  }
  memcpy(record, domain, sizeof domain);
  size_t n = kad_batch_encode(&b, record + sizeof domain, KAD_MAX_RECORD);
  if (quic_identity_sign(i, slice_of(record, sizeof domain + n), signature, &signature_len)) fail("no signature");
  struct kad_msg m = {
      .query = 1 + a->step,
      .batch = {slice_of(record + sizeof domain, n), slice_of(signature, signature_len), quic_identity_spki(i), 0}};
  tell_raw(a, MSG_STORE, kad_encode(MSG_STORE, &m, frame + FRAME_HEADER_LEN, FRAME_MAX_PAYLOAD));
  quic_identity_unref(i);
}

/* What the key says of itself, where nobody listens; the signature is good. */
static struct swim_record says(const struct crypto_key *k, struct slice name, uint8_t ret[SWIM_RECORD_MAX]) {
  uint8_t text[SWIM_TEXT_MAX];
  struct swim_record r = {.key = crypto_key_spki(k), .incarnation = 7, .addr = h.at[0], .name = name};
  addr_set_port(&r.addr, 9); /* discard */
  size_t n = swim_body_encode(&r, ret);
  struct slice t = slice_of(text, swim_signed_text(slice_str("default"), slice_of(ret, n), text));
  if (crypto_sign(k, t, ret + n) || swim_record_decode(slice_of(ret, n + SWIM_SIGNATURE_LEN), &r)) fail("no record");
  return r;
}

/* Its own word, and that of members whom nobody ever saw, half of them accused at once. */
static void gossip(struct actor *a) {
  struct swim_encoder e;
  struct swim_record own = {.key = quic_identity_spki(a->identity), .incarnation = 1, .addr = h.at[0], .name = slice_str("h")};
  uint8_t bytes[SWIM_RECORD_MAX], invented[SWIM_RECORD_MAX], text[SWIM_TEXT_MAX], signature[QUIC_SIGNATURE_MAX];
  size_t n = swim_body_encode(&own, bytes), signature_len;
  struct slice t = slice_of(text, swim_signed_text(slice_str("default"), slice_of(bytes, n), text));
  char name[SWIM_NAME_LEN];
  memset(name, 'n', sizeof name);
  if (quic_identity_sign(a->identity, t, signature, &signature_len)) fail("no signature");
  memcpy(bytes + n, signature, SWIM_SIGNATURE_LEN);
  struct swim_msg m = {.me = {.bytes = slice_of(bytes, n + SWIM_SIGNATURE_LEN)}};
  swim_encode_begin(&e, frame + FRAME_HEADER_LEN, SWIM_PAGE_LEN, MSG_SWIM_SYNC, &m);
  for (int i = 0; i < 16; i++) {
    struct crypto_key *k;
    if (crypto_key_new(&k)) fail("no key");
    struct swim_update u = {.state = i % 2 ? SWIM_ALIVE : SWIM_SUSPECT,
                            .record = says(k, slice_of(name, sizeof name), invented)};
    bool fits = swim_encode_update(&e, &u);
    crypto_key_free(k);
    if (!fits) break;
  }
  tell_raw(a, MSG_SWIM_SYNC, swim_encode_end(&e).n);
}

/* Contacts that nobody asked for, and answers to no question. */
static void junk(struct actor *a) {
  struct kad_contact c[16];
  struct kad_msg m = {.query = a->step, .node_count = 16, .nodes = c};
  for (int i = 0; i < 16; i++) {
    c[i] = (struct kad_contact){.addr = h.at[0]};
    addr_set_port(&c[i].addr, 9);
    rng_fill(h.rng, c[i].id.b, ID_LEN);
  }
  tell_raw(a, MSG_FIND_NODE_REPLY, kad_encode(MSG_FIND_NODE_REPLY, &m, frame + FRAME_HEADER_LEN, FRAME_MAX_PAYLOAD));
}

static bool turn_node(struct actor *a) {
  for (int i = 0; a->in && i < 4 && room(a); i++, a->step++) {
    store(a);
    if (a->step % 8 == 0) gossip(a);
    if (a->step % 8 == 1) junk(a);
  }
  return a->step >= 100;
}

/* ---- the list --------------------------------------------------------------------------------------------------------------
 */
static const struct attack attacks[] = {
    {"half-open", .in = in_nothing, .turn = turn_started, .sends = sends_initials},
    {"half-certificate", .connect = connect_chain, .in = in_nothing, .turn = turn_started, .sends = sends_full},
    {"certificate-names", .connect = connect_names, .in = in_nothing, .turn = turn_again, .again = true},
    {"certificate-alternatives", .connect = connect_alternatives, .in = in_nothing, .turn = turn_again, .again = true},
    {"certificate-key", .connect = connect_key, .in = in_nothing, .turn = turn_again, .again = true},
    {"certificate-chain", .connect = connect_chain},
    {"half-frames", .in = in_half_streams},
    {"gaps", .in = in_nothing, .turn = turn_gaps, .sends = sends_odd},
    {"churn", .in = in_nothing, .turn = turn_churn},
    {"no-ack", .in = in_reader, .turn = turn_flood, .sends = sends_no_ack},
    {"ack-holes", .in = in_reader, .turn = turn_flood, .hears = hears_half},
    {"keys", .in = in_nothing, .turn = turn_keys},
    {"migrate", .in = in_nothing, .turn = turn_migrate},
    {"subscribe", .in = in_nothing, .turn = turn_subscribe},
    {"wildcards", .in = in_nothing, .turn = turn_wildcards},
    {"retained", .connect = connect_own, .in = in_nothing, .turn = turn_retained},
    {"services", .in = in_nothing, .turn = turn_services},
    {"services-churn", .in = in_nothing, .turn = turn_services_churn},
    {"calls", .in = in_calls, .turn = turn_calls, .again = true},
    {"takeover", .in = in_takeover, .turn = turn_takeover, .again = true, .in_turn = true},
    {"node", .connect = connect_node, .in = in_nothing, .turn = turn_node},
};

/* ---- events ----------------------------------------------------------------------------------------------------------------
 */
static void on_open(void *ctx, struct quic_conn *c) {
  struct actor *a = quic_conn_user(c);
  (void)ctx;
  say_connect(a, h.attack->connect == connect_node ? CAP_NODE : 0);
}

static void on_closed(void *ctx, struct quic_conn *c, const struct quic_close *why) {
  struct actor *a = quic_conn_user(c);
  (void)ctx;
  if (h.over++ < 3)
    fprintf(stderr, "closed %u: %s: %.*s\n", a->number, macula_err_name(why->err), (int)why->text.n,
            why->text.n ? (const char *)why->text.p : "");
  a->conn = NULL;
  a->ended = true;
  if (h.attack->honest) fail("an honest one was ended");
}

static void on_data(void *ctx, struct quic_conn *c, int64_t stream, struct slice data, bool fin) {
  struct actor *a = quic_conn_user(c);
  (void)ctx, (void)fin;
  bool let_in = !a->in && data.n > 1 && data.p[1] == MSG_PONG;
  quic_consume(c, stream, data.n);
  if (!let_in) return;
  a->in = true;
  if (h.attack->in) h.attack->in(a);
}

static void on_stream_closed(void *ctx, struct quic_conn *c, int64_t stream, uint64_t app_error) {
  (void)ctx, (void)c, (void)stream, (void)app_error;
}

static void ep_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  (void)ctx;
  h.now = now;
  h.heard++;
  if (!h.attack->hears || h.attack->hears()) quic_recv(h.quic, l, r, d, ecn, now);
}

static nanotime ep_deadline(void *ctx) {
  (void)ctx;
  return time_min(quic_deadline(h.quic), time_add(h.now, TURN));
}

static void ep_tick(void *ctx, nanotime now) {
  (void)ctx;
  uint32_t done = 0;
  h.now = now;
  quic_tick(h.quic, now);
  for (int i = 0; i < 20 && h.started < h.count; i++) {
    struct actor *a = &h.actors[h.started];
    a->number = h.started++;
    if (h.attack->connect)
      h.attack->connect(a);
    else
      connect_as(a, NULL);
  }
  if (h.unsent) return; /* a turn sends only so much: first what there is */
  for (uint32_t i = 0; i < h.started; i++) {
    struct actor *a = &h.actors[i];
    done += !a->conn && !h.attack->again ? 1 : h.attack->turn ? h.attack->turn(a) : a->in;
  }
  h.done = done;
  if (h.ready || h.started < h.count || done < h.count) return;
  h.ready = true;
  puts("ready");
  fflush(stdout);
}

static size_t ep_send(void *ctx, uint8_t *buf, size_t cap, struct burst *o, nanotime now) {
  (void)ctx;
  for (;;) {
    size_t n = quic_send(h.quic, buf, cap, o, now);
    h.unsent = n > 0;
    if (!n) return 0;
    h.sent++;
    if (h.attack->sends && !h.attack->sends(buf, n)) continue;
    return n;
  }
}

static struct slice text_of(const char *path) {
  static char text[2][65536];
  static int i;
  FILE *f = fopen(path, "r");
  size_t n = f ? fread(text[i], 1, sizeof text[i], f) : 0;
  if (f) fclose(f);
  if (!n) fail(path);
  return slice_of(text[i++], n);
}

static void load(const char *identity, const char *pass_path) {
  struct slice pem = text_of(identity);
  const char *why = "";
  if (quic_identity_parse(pem, pem, io_unix_ms() / 1000, &h.identity, &why)) fail(why);
  if (crypto_unarmor(PASS_LABEL, text_of(pass_path), pass, sizeof pass, &pass_len)) fail("no pass");
}

static void start(void) {
  char why[256];
  h.rng = io_rng();
  h.mem = MEM_INIT("quic", 0);
  h.send_mem = MEM_INIT("send", 0);
  if ((!h.identity && quic_identity_generate(&h.identity)) || io_loop_new(NULL, &h.loop)) fail("cannot start");
  struct quic_config cfg = {.mem = &h.mem,
                            .send_mem = &h.send_mem,
                            .rng = h.rng,
                            .handler = {on_open, on_closed, on_data, on_stream_closed, NULL, NULL},
                            .identity = h.identity,
                            .loop_id = 1,
                            .max_conns = MAX_ACTORS,
                            .keep_alive = NS_SEC / 2,
                            .stream_window = 1 << 20,
                            .conn_window = 1 << 20,
                            .max_streams = 100,
                            .unix_base_s = io_unix_ms() / 1000};
  h.now = io_now();
  if (quic_new(&cfg, h.now, &h.quic)) fail("no endpoint");
  quic_set_max_segments(h.quic, 1);
  io_loop_set_endpoint(h.loop, &(struct endpoint){ep_recv, NULL, ep_deadline, ep_tick, ep_send, NULL});
  for (int i = 0; i < 4; i++) {
    struct io_udp_options o = {0};
    struct io_udp *u;
    if (addr_parse("127.0.0.2:0", 0, &o.bind) || io_udp_open(h.loop, &o, &u, why)) fail(why);
    h.at[i] = *io_udp_local(u);
  }
}

int main(int argc, char **argv) {
  if ((argc != 4 && argc != 6) || addr_parse(argv[1], 0, &h.node)) fail("hostile ADDR:PORT ATTACK COUNT [IDENTITY PASS]");
  for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++)
    if (!strcmp(attacks[i].name, argv[2])) h.attack = &attacks[i];
  for (size_t i = 0; i < frame_attack_count; i++)
    if (!strcmp(frame_attacks[i].name, argv[2])) h.attack = &frame_attacks[i];
  h.count = (uint32_t)atoi(argv[3]);
  if (!h.attack || !h.count || h.count > MAX_ACTORS) fail("no such attack");
  h.actors = calloc(h.count, sizeof *h.actors);
  if (argc == 6) load(argv[4], argv[5]);
  start();
  return io_loop_run(h.loop) ? 1 : 0;
}
