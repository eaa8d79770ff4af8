/* Frames and messages: cuts, hostile lengths, both text forms, limits, failing memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "wire/cursor.h"
#include "wire/frame.h"
#include "wire/group.h"
#include "wire/headers.h"
#include "wire/msg.h"

#define S(lit) slice_of(lit, sizeof(lit) - 1)

static size_t sample(uint8_t *buf, size_t cap) {
  uint8_t id[CALL_ID_LEN] = {7};
  struct msg a = {.type = MSG_PING, .ping = {12345}};
  struct msg b = {.type = MSG_PUBLISH};
  b.publish = (struct msg_publish){.topic = S("a.b"), .payload = S("hello"), .qos = 1, .message_id = slice_of(id, sizeof id)};
  ptrdiff_t n = msg_encode(&a, buf, cap);
  assert_true(n > 0 && (size_t)n == msg_size(&a));
  ptrdiff_t k = msg_encode(&b, buf + n, cap - (size_t)n);
  assert_true(k > 0 && (size_t)k == msg_size(&b));
  return (size_t)(n + k);
}

static void test_cut_anywhere(void **state) {
  (void)state;
  uint8_t buf[256];
  size_t n = sample(buf, sizeof buf);
  for (size_t cut = 0; cut <= n; cut++) {
    struct mem mem = MEM_INIT("t", 0);
    struct framer f;
    struct frame fr;
    unsigned types = 0, count = 0;
    framer_init(&f, &mem, FRAME_MAX_PAYLOAD);
    struct slice parts[2] = {{buf, cut}, {buf + cut, n - cut}};
    for (int i = 0; i < 2; i++)
      while (framer_next(&f, &parts[i], &fr) == 1) {
        struct msg m;
        assert_int_equal(msg_decode(fr.type, fr.payload, &m), 0);
        types = types << 8 | fr.type;
        count++;
      }
    assert_int_equal(count, 2);
    assert_int_equal(types, MSG_PING << 8 | MSG_PUBLISH);
    framer_done(&f);
    assert_int_equal(mem.bytes, 0);
  }
}

static void test_frame_errors(void **state) {
  (void)state;
  struct mem mem = MEM_INIT("t", 0);
  struct framer f;
  struct frame fr;
  struct slice in = S("\x02\x03\0\0\0\0\0\x01\x80");
  framer_init(&f, &mem, FRAME_MAX_PAYLOAD);
  assert_int_equal(framer_next(&f, &in, &fr), MACULA_UNSUPPORTED_VERSION);
  in = S("\x01\x03\0\0\xff\xff\xff\xff\x80");
  framer_init(&f, &mem, FRAME_MAX_PAYLOAD);
  assert_int_equal(framer_next(&f, &in, &fr), MACULA_FRAME_TOO_LARGE);
  /* An announced 1 MiB costs no more than what has arrived. */
  in = S("\x01\x03\0\0\0\x10\0\0\x80");
  assert_int_equal(framer_next(&f, &in, &fr), 0);
  assert_true(mem.bytes < 2048);
  framer_done(&f);
  assert_int_equal(mem.bytes, 0);
}

static void test_framer_memory_fails(void **state) {
  (void)state;
  uint8_t buf[4096] = {FRAME_VERSION, MSG_PING, 0, 0, 0, 0, 0x0f, 0xf8};
  for (uint64_t nth = 1;; nth++) {
    struct mem_fail fail = {.countdown = nth};
    struct mem mem = {.name = "t", .fail = &fail};
    struct framer f;
    struct frame fr;
    int got = 0;
    framer_init(&f, &mem, FRAME_MAX_PAYLOAD);
    for (size_t i = 0; i < sizeof buf && got == 0; i++) {
      struct slice in = {buf + i, 1};
      got = framer_next(&f, &in, &fr);
    }
    framer_done(&f);
    assert_int_equal(mem.bytes, 0);
    if (got == 1) {
      assert_true(nth > 1);
      return;
    }
    assert_int_equal(got, MACULA_ENOMEM);
  }
}

static void test_decode_forms(void **state) {
  (void)state;
  struct msg m;
  /* str keys, an unknown key with a nested value, a key that is no text, a duplicate key of which the last wins */
  assert_int_equal(
      msg_decode(MSG_PING, S("\x84\xa9timestamp\x01\xa1x\x92\xc0\x81\x01\x02\x05\x06\xc4\x09timestamp\xcc\xff"), &m), 0);
  assert_int_equal(m.ping.timestamp, 255);
  /* an empty list as an empty str */
  assert_int_equal(msg_decode(MSG_SUBSCRIBE, S("\x81\xa6topics\xa0"), &m), 0);
  assert_int_equal(m.subscribe.topics.count, 0);
  /* counts of an ACK: those of a later version are passed over, missing ones are 0 */
  assert_int_equal(msg_decode(MSG_ACK, S("\x81\xa6partly\x95\x01\xcc\xc8\x03\x92\x04\x05\xc0"), &m), 0);
  assert_true(m.ack.partly.cut == 1 && m.ack.partly.silent == 200 && m.ack.partly.unknown == 3);
  assert_int_equal(msg_decode(MSG_ACK, S("\x81\xa6partly\x91\x07"), &m), 0);
  assert_true(m.ack.partly.cut == 7 && !m.ack.partly.silent && !m.ack.partly.unknown);
  assert_int_equal(msg_decode(MSG_ACK, S("\x81\xa6partly\x91\xa1x"), &m), MACULA_BAD_FRAME);
  assert_int_equal(msg_decode(MSG_ACK, S("\x81\xa3ref\x01"), &m), 0);
  assert_false(msg_is_partly(&m.ack.partly));
  assert_int_equal(msg_decode(0x0f, S("\x80"), &m), MACULA_UNKNOWN_TYPE);
  assert_int_equal(msg_decode(MSG_PING, S(""), &m), MACULA_BAD_FRAME);
  assert_int_equal(msg_decode(MSG_PING, S("\x80\x80"), &m), MACULA_BAD_FRAME);             /* trailing byte */
  assert_int_equal(msg_decode(MSG_PING, S("\xdf\xff\xff\xff\xff"), &m), MACULA_BAD_FRAME); /* lying map */
  assert_int_equal(msg_decode(MSG_PING, S("\x81\xc6\xff\xff\xff\xff"), &m), MACULA_BAD_FRAME);
  assert_int_equal(msg_decode(MSG_PING, S("\x81\xa9timestamp\xa1x"), &m), MACULA_BAD_FRAME); /* wrong type */
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x80"), &m), MACULA_BAD_FRAME);                /* required fields */
}

static void test_limits(void **state) {
  (void)state;
  struct msg m;
  /* {"x": [[...[]...]]}: the map is level 1, so 15 arrays fit */
  for (unsigned arrays = 14; arrays <= 17; arrays++) {
    uint8_t b[64] = {0x81, 0xa1, 'x'};
    for (unsigned i = 0; i < arrays; i++) b[3 + i] = i + 1 < arrays ? 0x91 : 0x90;
    assert_int_equal(msg_decode(MSG_PING, slice_of(b, 3 + arrays), &m), arrays <= 15 ? 0 : MACULA_BAD_FRAME);
  }
  static uint8_t many[8192] = {0x81, 0xa1, 'x', 0xdc};
  for (unsigned n = CURSOR_MAX_ELEMENTS - 4; n <= CURSOR_MAX_ELEMENTS; n++) {
    many[4] = (uint8_t)(n >> 8);
    many[5] = (uint8_t)n;
    /* map, key and array count too */
    assert_int_equal(msg_decode(MSG_PING, slice_of(many, 6 + n), &m), n + 3 <= CURSOR_MAX_ELEMENTS ? 0 : MACULA_BAD_FRAME);
  }
}

static void test_how_often_a_call_may_run(void **state) {
  (void)state;
  uint8_t buf[512], id[CALL_ID_LEN] = {1};
  struct msg m = {.type = MSG_CALL, .call = {.procedure = S("p"), .args = S("1"), .call_id = slice_of(id, sizeof id)}}, d;
  for (int i = 0; i < 8; i++) {
    m.call.idempotent = i & 1;
    m.call.once = i & 2;
    m.call.waits = i & 4;
    m.call.at = (uint64_t)i * 1000;
    ptrdiff_t n = msg_encode(&m, buf, sizeof buf);
    assert_int_equal(n, msg_size(&m));
    assert_int_equal(msg_decode(MSG_CALL, slice_of(buf + 8, (size_t)n - 8), &d), 0);
    assert_true(d.call.idempotent == m.call.idempotent && d.call.once == m.call.once && d.call.waits == m.call.waits &&
                d.call.at == m.call.at);
  }
  m = (struct msg){.type = MSG_REGISTER, .reg = {.procedure = S("p"), .idempotent = true}};
  ptrdiff_t n = msg_encode(&m, buf, sizeof buf);
  assert_int_equal(msg_decode(MSG_REGISTER, slice_of(buf + 8, (size_t)n - 8), &d), 0);
  assert_true(d.reg.idempotent);
  m = (struct msg){.type = MSG_REPLY, .reply = {.call_id = slice_of(id, sizeof id), .is_error = true}};
  m.reply.error = (struct msg_error){.code = S("timeout"), .message = S("m"), .may_have_run = true, .has_extra = true};
  for (int i = 0; i < 2; i++) {
    m.reply.error.may_repeat = i;
    n = msg_encode(&m, buf, sizeof buf);
    assert_int_equal(msg_decode(MSG_REPLY, slice_of(buf + 8, (size_t)n - 8), &d), 0);
    assert_true(d.reply.error.may_repeat == i && d.reply.error.may_have_run);
  }
}

static void test_every_cut_is_refused(void **state) {
  (void)state;
  uint8_t buf[512], id[CALL_ID_LEN] = {1};
  struct msg_attempt at[2] = {{S("p"), S("timeout"), S("slow"), true}, {S(""), S("no_handler"), S("gone")}};
  struct msg m = {.type = MSG_REPLY}, d;
  m.reply = (struct msg_reply){.call_id = slice_of(id, sizeof id), .is_error = true};
  m.reply.error = (struct msg_error){S("all_providers_failed"), S("m"), true, true, 2, at, SLICE_NONE};
  ptrdiff_t n = msg_encode(&m, buf, sizeof buf);
  assert_true(n > 0);
  for (size_t k = FRAME_HEADER_LEN; k < (size_t)n; k++)
    assert_int_equal(msg_decode(MSG_REPLY, slice_of(buf + 8, k - 8), &d), MACULA_BAD_FRAME);
  assert_int_equal(msg_decode(MSG_REPLY, slice_of(buf + 8, (size_t)n - 8), &d), 0);
  struct msg_attempt a;
  assert_true(d.reply.error.may_have_run && msg_attempt_next(&d.reply.error, &a) && slice_is(a.code, "timeout") &&
              a.may_have_run);
  assert_true(msg_attempt_next(&d.reply.error, &a) && slice_is(a.message, "gone") && !a.may_have_run);
  assert_false(msg_attempt_next(&d.reply.error, &a));
  for (size_t cap = 0; cap < (size_t)n; cap++) assert_int_equal(msg_encode(&m, buf, cap), MACULA_EINVAL);
}

static void round_trip(const struct msg *m, struct msg *ret, uint8_t *buf, size_t cap) {
  ptrdiff_t n = msg_encode(m, buf, cap);
  assert_int_equal(n, msg_size(m));
  assert_int_equal(msg_decode(buf[1], slice_of(buf + FRAME_HEADER_LEN, (size_t)n - FRAME_HEADER_LEN), ret), 0);
}

static void test_origin(void **state) {
  uint8_t buf[512], id[CALL_ID_LEN] = {1}, node[ID_LEN] = {2};
  struct msg d;
  (void)state;
  struct msg a = {.type = MSG_ANNOUNCE,
                  .announce = {ANNOUNCE_CALLER, UINT64_C(1) << 39, S("\2joe"), slice_of(node, sizeof node)}};
  round_trip(&a, &d, buf, sizeof buf);
  assert_true(d.announce.kind == ANNOUNCE_CALLER && d.announce.number == UINT64_C(1) << 39);
  assert_true(slice_eq(d.announce.principal, a.announce.principal) && slice_eq(d.announce.node, a.announce.node));
  a.announce.principal = a.announce.node = SLICE_NONE; /* a kind of a later version may have other fields */
  round_trip(&a, &d, buf, sizeof buf);
  assert_int_equal(msg_decode(MSG_ANNOUNCE, S("\x81\xa4kind\x01"), &d), MACULA_BAD_FRAME);
  assert_int_equal(msg_decode(MSG_ANNOUNCE, S("\x81\xa6number\x01"), &d), MACULA_BAD_FRAME);
  struct msg p = {.type = MSG_PUBLISH, .publish = {.topic = S("t"), .payload = S("1")}};
  size_t without = msg_size(&p);
  p.publish.origin.number = 5;
  round_trip(&p, &d, buf, sizeof buf);
  assert_int_equal(d.publish.origin.number, 5);
  assert_null(d.publish.origin.in_full.p);
  assert_int_equal(msg_size(&p) - without, 5);
  struct msg c = {.type = MSG_CALL, .call = {.procedure = S("p"), .args = S("1"), .call_id = slice_of(id, sizeof id)}};
  c.call.origin.in_full = S("\3");
  round_trip(&c, &d, buf, sizeof buf);
  assert_int_equal(d.call.origin.number, 0);
  assert_true(slice_eq(d.call.origin.in_full, S("\3")));
  struct msg o = {.type = MSG_PONG, .pong = {.has_caps = true, .caps = CAP_PUBSUB | CAP_NODE | CAP_ORIGIN}};
  round_trip(&o, &d, buf, sizeof buf);
  assert_int_equal(d.pong.caps, CAP_PUBSUB | CAP_NODE | CAP_ORIGIN);
}

static void test_wait(void **state) {
  uint8_t buf[128];
  struct msg d;
  (void)state;
  struct msg p = {.type = MSG_PUBLISH, .publish = {.topic = S("t"), .payload = S("1")}};
  size_t without = msg_size(&p);
  round_trip(&p, &d, buf, sizeof buf);
  assert_false(d.publish.wait);
  p.publish.wait = true;
  round_trip(&p, &d, buf, sizeof buf);
  assert_true(d.publish.wait);
  assert_int_equal(msg_size(&p) - without, 7);
  struct msg o = {.type = MSG_PONG, .pong = {.has_caps = true, .caps = CAP_STREAMS | CAP_WAIT}};
  round_trip(&o, &d, buf, sizeof buf);
  assert_int_equal(d.pong.caps, CAP_STREAMS | CAP_WAIT);
}

static void test_pace(void **state) {
  uint8_t buf[128];
  struct msg d;
  (void)state;
  struct msg p = {.type = MSG_PACE, .pace = {.connection = 300, .ms = PACE_LONGEST}};
  round_trip(&p, &d, buf, sizeof buf);
  assert_true(d.pace.connection == 300 && d.pace.ms == PACE_LONGEST);
  assert_true(!d.pace.room && !d.pace.moves && !d.pace.beside && !d.pace.lately);
  p.pace = (struct msg_pace){.connection = UINT64_MAX, .ms = 0, .room = 70000, .moves = true, .beside = true, .lately = true};
  round_trip(&p, &d, buf, sizeof buf);
  assert_true(d.pace.room == 70000);
  assert_true(d.pace.connection == UINT64_MAX && !d.pace.ms && d.pace.moves && d.pace.beside && d.pace.lately);
  assert_int_equal(msg_decode(MSG_PACE, S("\x80"), &d), MACULA_BAD_FRAME);
  assert_int_equal(msg_decode(MSG_PACE, S("\x81\xa2ms\x01"), &d), MACULA_BAD_FRAME);
  assert_int_equal(msg_decode(MSG_PACE,
                              S("\x81\xaa"
                                "connection\x00"),
                              &d),
                   MACULA_BAD_FRAME);
  assert_int_equal(msg_decode(MSG_PACE,
                              S("\x81\xaa"
                                "connection\xff"),
                              &d),
                   MACULA_BAD_FRAME);
  /* the connection that it names, in PUBLISH */
  struct msg m = {.type = MSG_PUBLISH, .publish = {.topic = S("t"), .payload = S("1"), .connection = 70000}};
  round_trip(&m, &d, buf, sizeof buf);
  assert_int_equal(d.publish.connection, 70000);
  m.publish.brief = true;
  round_trip(&m, &d, buf, sizeof buf);
  assert_int_equal(d.publish.connection, 70000);
}

/* Short keys: every field comes as it went, a publish of 64 bytes with a number takes 80. */
static void test_short_keys(void **state) {
  uint8_t buf[512], id[CALL_ID_LEN] = {1}, who[ID_LEN] = {2};
  char payload[64] = {0};
  struct msg d;
  (void)state;
  struct msg p = {
      .type = MSG_PUBLISH,
      .publish = {.brief = true, .topic_number = 1, .payload = slice_of(payload, sizeof payload), .origin = {.number = 1}}};
  assert_int_equal(msg_size(&p), 80);
  round_trip(&p, &d, buf, sizeof buf);
  assert_true(d.publish.brief && !d.publish.topic.p && d.publish.topic_number == 1 && d.publish.origin.number == 1);
  assert_true(!d.publish.qos && !d.publish.retain && !d.publish.message_id.p && !d.publish.has_ref && !d.publish.own);
  p.publish = (struct msg_publish){.brief = true,
                                   .topic = S("a.b"),
                                   .payload = S(""),
                                   .qos = 1,
                                   .retain = true,
                                   .wait = true,
                                   .own = true,
                                   .message_id = slice_of(id, sizeof id),
                                   .ref = 0,
                                   .has_ref = true,
                                   .publisher = slice_of(who, sizeof who),
                                   .instance = slice_of(id, sizeof id),
                                   .replay = UINT64_MAX,
                                   .retained_ms = UINT64_C(1) << 41,
                                   .slashes = 1,
                                   .origin = {.number = UINT64_C(1) << 39}};
  round_trip(&p, &d, buf, sizeof buf);
  const struct msg_publish *a = &p.publish, *b = &d.publish;
  assert_true(slice_eq(b->topic, a->topic) && !b->topic_number && b->payload.p && !b->payload.n);
  assert_true(b->qos == 1 && b->retain && b->wait && b->own && b->has_ref && !b->ref && b->slashes == 1);
  assert_true(slice_eq(b->message_id, a->message_id) && slice_eq(b->publisher, a->publisher));
  assert_true(slice_eq(b->instance, a->instance) && b->replay == UINT64_MAX && b->retained_ms == UINT64_C(1) << 41);
  assert_true(b->origin.number == UINT64_C(1) << 39 && !b->origin.in_full.p);
}

/* The usual publish is read and written in one go: with each length of numbers and payload it is as any other is. */
static void test_usual(void **state) {
  static const uint64_t numbers[] = {1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX};
  static const size_t lengths[] = {0, 1, 255, 256, 60000, 65535, 65536, 70000};
  static uint8_t buf[80000], other[80000], text[70000];
  struct msg d, e;
  (void)state;
  for (size_t i = 0; i < 10; i++) {
    for (size_t k = 0; k < 4 * sizeof lengths / sizeof lengths[0]; k++) {
      size_t n = lengths[k / 4];
      struct msg m = {.type = MSG_PUBLISH,
                      .publish = {.brief = true,
                                  .topic_number = numbers[i],
                                  .payload = slice_of(text, n),
                                  .origin = {.number = k & 1 ? numbers[9 - i] : 0},
                                  .connection = k & 2 ? numbers[i] : 0}};
      round_trip(&m, &d, buf, sizeof buf);
      size_t size = msg_size(&m) - FRAME_HEADER_LEN;
      assert_true(d.publish.brief && d.publish.topic_number == numbers[i] && d.publish.payload.n == n);
      assert_true(d.publish.origin.number == m.publish.origin.number && d.publish.connection == m.publish.connection);
      memcpy(other, buf + FRAME_HEADER_LEN, size); /* and with a key that is skipped */
      other[0]++;
      other[size] = 0x7f;
      other[size + 1] = 0xc0;
      assert_int_equal(msg_decode(MSG_PUBLISH, slice_of(other, size + 2), &e), 0);
      assert_true(e.publish.brief && e.publish.topic_number == numbers[i] && slice_eq(e.publish.payload, d.publish.payload));
      assert_true(e.publish.origin.number == d.publish.origin.number && e.publish.connection == d.publish.connection);
      for (size_t cut = 1; cut < 12 && cut < size; cut++)
        assert_int_equal(msg_decode(MSG_PUBLISH, slice_of(buf + FRAME_HEADER_LEN, size - cut), &e), MACULA_BAD_FRAME);
      assert_int_equal(msg_encode(&m, other, size + FRAME_HEADER_LEN - 1), MACULA_EINVAL);
    }
  }
}

/* The first key says which keys count; all others are skipped, whatever they hold. */
static void test_short_keys_or_long_ones(void **state) {
  struct msg d;
  (void)state;
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x84\x00\x05\x02\xa1x\xa5topic\x07\x7f\xc0"), &d), 0);
  assert_true(d.publish.brief && d.publish.topic_number == 5 && !d.publish.topic.p && slice_is(d.publish.payload, "x"));
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x83\xa5topic\xa1t\x02\x07\xa7payload\xa1y"), &d), 0);
  assert_true(!d.publish.brief && slice_is(d.publish.topic, "t") && slice_is(d.publish.payload, "y"));
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x82\x01\xa1t\x02\xa1x"), &d), 0);
  assert_true(d.publish.brief && slice_is(d.publish.topic, "t"));
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x81\x02\xa1x"), &d), MACULA_BAD_FRAME);         /* no topic */
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x82\x00\x00\x02\xa1x"), &d), MACULA_BAD_FRAME); /* no number */
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x81\x00\x05"), &d), MACULA_BAD_FRAME);          /* no payload */
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x82\x00\xa1t\x02\xa1x"), &d), MACULA_BAD_FRAME);
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x82\x00\xff\x02\xa1x"), &d), MACULA_BAD_FRAME);
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x82\x00\x05\x02\xa1x\x01"), &d), MACULA_BAD_FRAME);
}

static void test_topics(void **state) {
  uint8_t buf[512];
  struct msg d;
  (void)state;
  struct msg a = {.type = MSG_ANNOUNCE, .announce = {.kind = ANNOUNCE_TOPIC, .number = 300, .topic = S("a.b")}};
  round_trip(&a, &d, buf, sizeof buf);
  assert_true(d.announce.kind == ANNOUNCE_TOPIC && d.announce.number == 300 && slice_is(d.announce.topic, "a.b"));
  /* as in docs/protocol.md, section 13 */
  struct msg p = {.type = MSG_PUBLISH,
                  .publish = {.brief = true, .topic_number = 9, .payload = S("hi"), .origin = {.number = 1}}};
  a.announce.number = 5;
  assert_int_equal(msg_encode(&a, buf, sizeof buf), 37);
  assert_memory_equal(buf,
                      "\x01\x0a\0\0\0\0\0\x1d\x83\xc4\x04kind\x03\xc4\x06number\x05\xc4\x05topic\xc4\x03"
                      "a.b",
                      37);
  assert_int_equal(msg_encode(&p, buf, sizeof buf), 18);
  assert_memory_equal(buf, "\x01\x10\0\0\0\0\0\x0a\x83\0\x09\x02\xc4\x02hi\x03\x01", 18);
  struct msg o = {.type = MSG_PONG, .pong = {.has_caps = true, .caps = CAP_WAIT | CAP_TOPICS}};
  round_trip(&o, &d, buf, sizeof buf);
  assert_int_equal(d.pong.caps, CAP_WAIT | CAP_TOPICS);
}

static void test_exactly_once(void **state) {
  uint8_t buf[128];
  struct msg d;
  (void)state;
  for (int i = 0; i < 4; i++) {
    bool brief = i & 1, once = i & 2;
    struct msg p = {.type = MSG_PUBLISH,
                    .publish = {.brief = brief, .topic = S("t"), .payload = S("x"), .qos = 1, .exactly_once = once}};
    round_trip(&p, &d, buf, sizeof buf);
    assert_true(d.publish.qos == 1 && d.publish.exactly_once == once && d.publish.brief == brief);
  }
  struct msg m = {.type = MSG_PUBLISH, /* as in docs/protocol.md, section 13 */
                  .publish = {.brief = true, .topic_number = 9, .payload = S("hi"), .qos = 1, .exactly_once = true}};
  assert_int_equal(msg_encode(&m, buf, sizeof buf), 20);
  assert_memory_equal(buf, "\x01\x10\0\0\0\0\0\x0c\x84\0\x09\x02\xc4\x02hi\x04\x01\x13\xc3", 20);
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x84\x01\xa1t\x02\xa1x\x04\x01\x13\xc3"), &d), 0);
  assert_true(d.publish.exactly_once);
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x83\x01\xa1t\x02\xa1x\x13\x01"), &d), MACULA_BAD_FRAME);
}

/* Headers in their order, a name twice, any bytes as value; by long keys and short ones. */
static void test_headers(void **state) {
  static const struct slice items[] = {{(const uint8_t *)"b", 1},      {(const uint8_t *)"1", 1}, {(const uint8_t *)"a", 1},
                                       {(const uint8_t *)"\0\xff", 2}, {(const uint8_t *)"b", 1}, {(const uint8_t *)"", 0}};
  uint8_t buf[512];
  struct msg d;
  const char *text;
  (void)state;
  for (int brief = 0; brief < 2; brief++) {
    struct slice name, value;
    struct msg p = {.type = MSG_PUBLISH,
                    .publish = {.brief = brief,
                                .topic = S("t"),
                                .payload = S("x"),
                                .headers = {.count = 6, .items = items},
                                .expires_ms = UINT64_C(1) << 40}};
    round_trip(&p, &d, buf, sizeof buf);
    assert_int_equal(d.publish.expires_ms, UINT64_C(1) << 40);
    assert_int_equal(headers_size(d.publish.headers), 6);
    assert_int_equal(headers_check(d.publish.headers, &text), 0);
    struct msg_list l = d.publish.headers;
    for (int i = 0; i < 3; i++) {
      assert_true(headers_next(&l, &name, &value));
      assert_true(slice_eq(name, items[2 * i]) && slice_eq(value, items[2 * i + 1]));
    }
    assert_false(headers_next(&l, &name, &value));
  }
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x83\x01\xa1t\x02\xa1x\x10\x91\xa1n"), &d), MACULA_BAD_FRAME); /* no value */
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x83\x01\xa1t\x02\xa1x\x10\x01"), &d), MACULA_BAD_FRAME);
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x83\x01\xa1t\x02\xa1x\x10\x92\xa1\xff\xa1v"), &d), 0);
  assert_int_equal(headers_check(d.publish.headers, &text), MACULA_EINVAL);
  assert_int_equal(msg_decode(MSG_PUBLISH, S("\x83\x01\xa1t\x02\xa1x\x10\x92\xa1\x00\xa1v"), &d), 0);
  assert_int_equal(headers_check(d.publish.headers, &text), MACULA_EINVAL);
  static uint8_t much[HEADERS_BYTES];
  struct slice many[2 * HEADERS_MOST + 2];
  for (size_t i = 0; i < sizeof many / sizeof *many; i++) many[i] = S("x");
  assert_int_equal(headers_check((struct msg_list){.count = 2 * HEADERS_MOST, .items = many}, &text), 0);
  assert_int_equal(headers_check((struct msg_list){.count = 2 * HEADERS_MOST + 2, .items = many}, &text),
                   MACULA_PAYLOAD_TOO_LARGE);
  many[1] = slice_of(much, HEADERS_BYTES - 1);
  assert_int_equal(headers_check((struct msg_list){.count = 2, .items = many}, &text), 0);
  many[1].n++;
  assert_int_equal(headers_check((struct msg_list){.count = 2, .items = many}, &text), MACULA_PAYLOAD_TOO_LARGE);
}

/* A group's key is what no topic and no pattern of a client is, and gives back what it was made of. */
static void test_groups(void **state) {
  static const struct {
    const char *name, *pattern, *key;
  } good[] = {{"g", "a", "a.#g"}, {"g", "**", "**.#g"}, {"a/b.#", "a.*", "a.*.#a%2Fb%2E%23"}, {"*", "a", "a.#%2A"}};
  static const char *const bad[] = {"a",    "#g",    ".#g",    "a.#",    "a.#g.b",      "a.g#", "a.#a#",
                                    "a.#*", "a..#g", "a.+.#g", "a.#%41", "a.*.**.*.#g", ""};
  char key[NAME_MAX_LEN + 1];
  uint8_t buf[512];
  size_t len;
  struct msg d;
  (void)state;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    assert_int_equal(group_key(slice_str(good[i].name), slice_str(good[i].pattern), key, &len), 0);
    assert_string_equal(key, good[i].key);
    assert_true(group_is_key(slice_of(key, len)) && slice_is(group_pattern(slice_of(key, len)), good[i].pattern));
    assert_true(name_pattern(slice_of(key, len), key, &len) != 0);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (group_is_key(slice_str(bad[i]))) fail_msg("%s", bad[i]);
  assert_int_equal(group_key(slice_str(""), S("a"), key, &len), MACULA_INVALID_TOPIC);
  struct slice keys[] = {S("a.#g"), S("a.#h")};
  for (int brief = 0; brief < 2; brief++) {
    struct msg p = {.type = MSG_PUBLISH,
                    .publish = {.brief = brief, .topic = S("a"), .payload = S("x"), .groups = {.count = 2, .items = keys}}};
    struct slice got;
    round_trip(&p, &d, buf, sizeof buf);
    assert_true(msg_list_next(&d.publish.groups, &got) && slice_eq(got, keys[0]));
    assert_true(msg_list_next(&d.publish.groups, &got) && slice_eq(got, keys[1]) && !msg_list_next(&d.publish.groups, &got));
  }
  struct msg s = {.type = MSG_UNSUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = keys}, .group = S("g")}};
  round_trip(&s, &d, buf, sizeof buf);
  assert_true(slice_is(d.subscribe.group, "g"));
}

static void test_will_and_claim(void **state) {
  uint8_t buf[512];
  struct msg d;
  (void)state;
  struct msg c = {.type = MSG_CONNECT,
                  .connect = {.version = S("1.0"),
                              .node_id = S("x"),
                              .realm_id = S("r"),
                              .caps = CAP_WILL | CAP_GROUPS,
                              .will = S("\x81\xc4\x01t\x05")}};
  round_trip(&c, &d, buf, sizeof buf);
  assert_true(slice_eq(d.connect.will, c.connect.will) && d.connect.caps == (CAP_WILL | CAP_GROUPS));
  struct msg m = {.type = MSG_CLAIM, .claim = {.principal = S("\x03"), .client = S("me"), .ms = UINT64_C(1) << 41}};
  round_trip(&m, &d, buf, sizeof buf);
  assert_true(slice_is(d.claim.client, "me") && d.claim.ms == UINT64_C(1) << 41 && slice_is(d.claim.principal, "\x03"));
  assert_int_equal(msg_decode(MSG_CLAIM, S("\x80"), &d), MACULA_BAD_FRAME);
}

/* What comes with short keys must fit into a frame with long ones, for those that know no others. */
static void test_the_largest(void **state) {
  static uint8_t payload[FRAME_MAX_PAYLOAD];
  (void)state;
  struct msg p = {.type = MSG_PUBLISH,
                  .publish = {.brief = true, .topic = S("a.b"), .payload = slice_of(payload, sizeof payload)}};
  assert_false(msg_publish_fits(&p.publish));
  while (!msg_publish_fits(&p.publish)) p.publish.payload.n--;
  static const uint8_t id[CALL_ID_LEN];
  struct msg l = p;
  l.publish.brief = false;
  l.publish.message_id = slice_of(id, sizeof id);
  assert_int_equal(msg_size(&l), FRAME_MAX_PAYLOAD + FRAME_HEADER_LEN);
  assert_true(msg_size(&p) < msg_size(&l));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cut_anywhere),
                                     cmocka_unit_test(test_frame_errors),
                                     cmocka_unit_test(test_framer_memory_fails),
                                     cmocka_unit_test(test_decode_forms),
                                     cmocka_unit_test(test_exactly_once),
                                     cmocka_unit_test(test_headers),
                                     cmocka_unit_test(test_groups),
                                     cmocka_unit_test(test_will_and_claim),
                                     cmocka_unit_test(test_limits),
                                     cmocka_unit_test(test_how_often_a_call_may_run),
                                     cmocka_unit_test(test_every_cut_is_refused),
                                     cmocka_unit_test(test_origin),
                                     cmocka_unit_test(test_wait),
                                     cmocka_unit_test(test_pace),
                                     cmocka_unit_test(test_short_keys),
                                     cmocka_unit_test(test_short_keys_or_long_ones),
                                     cmocka_unit_test(test_usual),
                                     cmocka_unit_test(test_topics),
                                     cmocka_unit_test(test_the_largest)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
