/* Sessions behind doors: a door that is a test's memory proves that they need no QUIC; what waits goes by lanes; and the
 * verdict on CONNECT comes when it comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mesh_rig.h"
#include "node/check.h"
#include "node/receive.h"
#include "node/session/session.h"
#include "unit/broken.h"

/* ---- a door of memory ------------------------------------------------------------------------------------------------------
 * Its one way carries all lanes, as a byte stream's would. What is written stands in a buffer until the test reads it. */
#define PIPE (DOOR_UNSENT + 1024)

struct pipe {
  struct node *node;
  struct session *s; /* NULL: turned away, or over */
  struct addr addr;
  struct id id;
  uint8_t buf[PIPE];
  size_t len, most, held;
  uint32_t written;
  nanotime progress, close_at;
  bool more, closing, admitted;
  int err;
  struct mem mem;
  struct framer framer;
  struct rig_frame got[8192];
  size_t count;
};

static struct pipe *of(const struct door *d) { return d->conn; }

static int pipe_write(struct door *d, int64_t way, struct slice bytes) {
  struct pipe *p = of(d);
  assert_int_equal(way, 0);
  assert_true(p->len + bytes.n <= DOOR_UNSENT || !p->len); /* what a door is promised */
  assert_true(p->len + bytes.n <= sizeof p->buf);
  if (!p->len) p->progress = p->node->now;
  memcpy(p->buf + p->len, bytes.p, bytes.n);
  p->len += bytes.n;
  p->written += (uint32_t)bytes.n;
  if (p->len > p->most) p->most = p->len;
  return 0;
}
static int pipe_write_ref(struct door *d, int64_t way, struct shbuf *b) { return pipe_write(d, way, shbuf_view(b)); }
static void pipe_finish(struct door *d, int64_t way) { (void)d, (void)way; }
static size_t pipe_queued(const struct door *d, int64_t way) { return (void)way, of(d)->len; }
static nanotime pipe_progress(const struct door *d, int64_t way) { return (void)way, of(d)->progress; }
static uint32_t pipe_written(const struct door *d) { return of(d)->written; }
static void pipe_more(struct door *d, bool more) { of(d)->more = more; }
static void pipe_resume(struct door *d, int64_t way, size_t n) {
  (void)way;
  assert_true(of(d)->held >= n);
  of(d)->held -= n;
}
static void pipe_home(struct door *d, int64_t way) {
  d->home = way;
  for (int i = 0; i < LANES; i++) d->way[i] = way;
}
static void pipe_close(struct door *d, int err, const char *text, nanotime deadline) {
  (void)text;
  of(d)->closing = true;
  of(d)->close_at = deadline;
  of(d)->err = err;
}
static void pipe_owner(struct door *d, void *session) { of(d)->s = session; }
static bool pipe_is_owner(const struct door *d, const void *session) { return of(d)->s == session; }
static const struct addr *pipe_remote(const struct door *d) { return &of(d)->addr; }
static const struct id *pipe_id(const struct door *d) { return &of(d)->id; }
static bool pipe_is_short(const struct door *d) {
  (void)d;
  return true;
}
static uint64_t pipe_forever(const struct door *d) { return (void)d, UINT64_MAX; }
static const uint8_t *pipe_exporter(const struct door *d) { return (void)d, NULL; }
static uint64_t pipe_rtt(const struct door *d) { return (void)d, 0; }
static size_t pipe_held(const struct door *d, size_t *ret_peak) { return *ret_peak = sizeof *of(d); }
static void pipe_admit(struct door *d) { of(d)->admitted = true; }
static void pipe_pays(struct door *d, struct bucket *units) { (void)d, (void)units; }
static void pipe_brief(struct door *d) { (void)d; }
static void pipe_shares(struct door *d, uint32_t n) { (void)d, (void)n; }
static void pipe_keep_alive(struct door *d, uint64_t every) { (void)d, (void)every; }
static void pipe_ping(struct door *d) { (void)d; }
static void pipe_hold(struct door *d, bool on) { (void)d, (void)on; }
static void pipe_watch(struct door *d, bool on) { (void)d, (void)on; }
static uint64_t pipe_unheard(const struct door *d) { return (void)d, 0; }
static bool pipe_silent(const struct door *d) { return (void)d, false; }

static bool pipe_offsets(const struct door *d, int64_t way, struct door_offsets *ret) {
  (void)d, (void)way, (void)ret;
  return false;
}

static const struct door_ops pipe_ops = {.write = pipe_write,
                                         .write_ref = pipe_write_ref,
                                         .finish = pipe_finish,
                                         .queued = pipe_queued,
                                         .unsent = pipe_queued,
                                         .progress = pipe_progress,
                                         .written = pipe_written,
                                         .offsets = pipe_offsets,
                                         .more = pipe_more,
                                         .resume = pipe_resume,
                                         .home = pipe_home,
                                         .close = pipe_close,
                                         .owner = pipe_owner,
                                         .is_owner = pipe_is_owner,
                                         .remote = pipe_remote,
                                         .id = pipe_id,
                                         .is_short = pipe_is_short,
                                         .id_end = pipe_forever,
                                         .exporter = pipe_exporter,
                                         .rtt = pipe_rtt,
                                         .held = pipe_held,
                                         .admit = pipe_admit,
                                         .pays = pipe_pays,
                                         .brief = pipe_brief,
                                         .shares = pipe_shares,
                                         .ping = pipe_ping,
                                         .hold = pipe_hold,
                                         .watch = pipe_watch,
                                         .keep_alive = pipe_keep_alive,
                                         .unheard = pipe_unheard,
                                         .silent = pipe_silent};

static struct pipe *pipe_new(struct rig *r, uint8_t number) {
  struct pipe *p = calloc(1, sizeof *p);
  p->node = r->node;
  p->mem = MEM_INIT("pipe", 0);
  p->id.b[0] = number;
  assert_int_equal(addr_parse("10.9.9.9:99", 0, &p->addr), 0);
  framer_init(&p->framer, &p->mem, FRAME_MAX_PAYLOAD);
  struct door d = {.ops = &pipe_ops, .conn = p, .serial = (UINT64_C(1) << 61) + number};
  pipe_home(&d, -1);
  (void)session_open(r->node, &d);
  HOLDS(node_check(r->node));
  return p;
}

/* The connection is gone. */
static void pipe_end(struct pipe *p) {
  if (p->s) session_closed(p->s, &(struct door_end){.err = MACULA_NOT_CONNECTED});
  p->s = NULL;
  HOLDS(node_check(p->node));
}

static void pipe_free(struct pipe *p) {
  pipe_end(p);
  framer_done(&p->framer);
  for (size_t i = 0; i < p->count; i++) free(p->got[i].payload);
  free(p);
}

static void pipe_send(struct rig *r, struct pipe *p, const struct msg *m) {
  uint8_t buf[2048];
  ptrdiff_t n = msg_encode(m, buf, sizeof buf);
  assert_true(n > 0);
  p->held += (size_t)n;
  receive_data(p->s, 0, slice_of(buf, (size_t)n), false);
  HOLDS(node_check(p->node));
  rig_run(r, NS_MS);
}

/* Reads so many bytes, all that a small buffer holds at a time, and lets the node write on. */
static void pipe_read(struct pipe *p, size_t most) {
  struct frame f;
  while (p->len && most) {
    size_t n = p->len < most ? p->len : most;
    struct slice in = slice_of(p->buf, n);
    while (framer_next(&p->framer, &in, &f) > 0) {
      assert_true(p->count < sizeof p->got / sizeof p->got[0]);
      p->got[p->count] = (struct rig_frame){f.type, f.payload.n, malloc(f.payload.n + 1)};
      memcpy(p->got[p->count++].payload, f.payload.p, f.payload.n);
    }
    memmove(p->buf, p->buf + n, p->len - n);
    p->len -= n;
    p->progress = p->node->now;
    most -= n;
    if (p->more) session_drained(p->s);
    HOLDS(node_check(p->node));
  }
}

/* The last frame read, which is of this type. */
static struct msg last(struct pipe *p, uint8_t type) {
  struct msg m;
  pipe_read(p, SIZE_MAX);
  assert_true(p->count > 0);
  struct rig_frame *f = &p->got[p->count - 1];
  assert_int_equal(f->type, type);
  assert_int_equal(msg_decode(f->type, slice_of(f->payload, f->len), &m), 0);
  return m;
}

static void pipe_connect(struct rig *r, struct pipe *p) {
  struct msg m = {
      .type = MSG_CONNECT,
      .connect = {
          .version = slice_str("1.0"), .node_id = slice_of(p->id.b, ID_LEN), .realm_id = slice_str("test"), .caps = RIG_EXT}};
  pipe_send(r, p, &m);
}

static void pipe_subscribe(struct rig *r, struct pipe *p, const char *pattern) {
  struct slice topic = slice_str(pattern);
  struct msg m = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &topic}, .ref = 5, .has_ref = true}};
  pipe_send(r, p, &m);
  assert_int_equal(last(p, MSG_ACK).ack.ref, 5);
}

static void pipe_call(struct rig *r, struct pipe *p, const char *procedure) {
  static const uint8_t id[CALL_ID_LEN] = {42};
  struct msg m = {
      .type = MSG_CALL,
      .call = {
          .procedure = slice_str(procedure), .args = slice_str("{}"), .call_id = slice_of(id, sizeof id), .timeout = 60000}};
  pipe_send(r, p, &m);
}

/* Where the first frame of a type stands among those read from `at` on. */
static size_t place_of(const struct pipe *p, size_t at, uint8_t type) {
  for (size_t i = at; i < p->count; i++)
    if (p->got[i].type == type) return i - at;
  fail_msg("no %s", msg_type_name(type));
  return 0;
}

/* ---- lanes -----------------------------------------------------------------------------------------------------------------
 */
#define SIZE 500

static void flood(struct rig *r, struct rig_client *by, unsigned count, int qos) {
  char payload[SIZE];
  memset(payload, 'x', sizeof payload);
  for (unsigned i = 0; i < count; i++) {
    rig_publish_only(by, "t", slice_of(payload, sizeof payload), qos);
    if (i % 50 == 49) rig_run(r, 2 * NS_MS);
  }
  rig_run(r, 50 * NS_MS);
  HOLDS(node_check(r->node));
}

static void test_another_door(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT);
  struct pipe *p = pipe_new(&r, 1);
  pipe_connect(&r, p);
  assert_true(last(p, MSG_PONG).pong.has_caps && p->admitted);
  pipe_subscribe(&r, p, "t");
  assert_int_equal(rig_publish(a, "t", "hello", 1, false, 1), 0);
  assert_true(slice_is(last(p, MSG_PUBLISH).publish.payload, "hello"));
  /* The other way round. */
  assert_int_equal(rig_subscribe(a, "u"), 0);
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str("u"), .payload = slice_str("1"), .ref = 9, .has_ref = true}};
  pipe_send(&r, p, &m);
  assert_int_equal(last(p, MSG_ACK).ack.ref, 9);
  assert_true(slice_is(rig_expect(a, MSG_PUBLISH).publish.payload, "1"));
  /* It calls, and is called. */
  assert_int_equal(rig_register(a, "a.serves"), 0);
  pipe_call(&r, p, "a.serves");
  rig_reply(a, rig_expect(a, MSG_CALL).call.call_id, "yes");
  rig_run(&r, NS_MS);
  assert_true(slice_is(last(p, MSG_REPLY).reply.result, "yes"));
  m = (struct msg){.type = MSG_REGISTER, .reg = {.procedure = slice_str("pipe.serves"), .ref = 3, .has_ref = true}};
  pipe_send(&r, p, &m);
  assert_int_equal(last(p, MSG_ACK).ack.code.n, 0);
  rig_call(a, "pipe.serves", "{}", 7, 5000);
  rig_run(&r, NS_MS);
  uint8_t call_id[CALL_ID_LEN];
  memcpy(call_id, last(p, MSG_CALL).call.call_id.p, CALL_ID_LEN);
  m = (struct msg){.type = MSG_REPLY, .reply = {.call_id = slice_of(call_id, CALL_ID_LEN), .result = slice_str("ja")}};
  pipe_send(&r, p, &m);
  assert_true(slice_is(rig_expect(a, MSG_REPLY).reply.result, "ja"));
  assert_int_equal(p->held, 0); /* all credit was given back */
  /* A call that it owes an answer ends with it. */
  rig_call(a, "pipe.serves", "{}", 8, 60000);
  rig_run(&r, NS_MS);
  pipe_end(p);
  assert_true(rig_expect(a, MSG_REPLY).reply.is_error);
  pipe_free(p);
  rig_stop(&r);
}

/* Longer than what room a message leaves at the end of what a door takes. */
static void reply_long(struct rig_client *by) {
  char text[901];
  memset(text, 'y', 900);
  text[900] = 0;
  rig_reply(by, rig_expect(by, MSG_CALL).call.call_id, text);
}

#define PINGS 30

/* Its lane fills: publishes are dropped and counted, the door never holds more than it is promised, and an answer and a word
 * of control go before all that waits. */
static void test_slow(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.client_queue = 256 << 10}}};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(a, "a.serves"), 0);
  struct pipe *p = pipe_new(&r, 1);
  pipe_connect(&r, p);
  pipe_subscribe(&r, p, "t");
  size_t from = p->count;
  flood(&r, a, 2000, 0);
  rig_run(&r, NS_SEC); /* then it is known not to keep up, and the publisher waits for it no more */
  const struct lanes *lanes = &p->s->lanes;
  assert_in_range(p->most, DOOR_UNSENT - 1024, DOOR_UNSENT);
  assert_true(lanes->lane[LANE_PUBLISHES].bytes > 128 << 10 && session_queued(p->s) <= 256 << 10);
  assert_int_equal(rig_metric(&r, "messages_dropped_total"), p->s->dropped);
  assert_true(p->s->dropped > 1000);
  pipe_read(p, 4000); /* room for an answer */
  pipe_call(&r, p, "a.serves");
  reply_long(a);
  rig_run(&r, NS_MS);
  for (int i = 0; i < PINGS; i++) pipe_send(&r, p, &(struct msg){.type = MSG_PING, .ping = {.timestamp = 1}});
  assert_true(lanes->lane[LANE_CALLS].bytes > 0 && lanes->lane[LANE_CONTROL].bytes > 0);
  uint64_t dropped = p->s->dropped;
  pipe_read(p, SIZE_MAX);
  assert_int_equal(lanes->bytes, 0);
  assert_false(p->more);
  size_t reply = place_of(p, from, MSG_REPLY);
  assert_in_range(reply, PINGS, DOOR_UNSENT / SIZE + PINGS);
  assert_int_equal(p->got[from + reply - 1].type, MSG_PONG);
  assert_int_equal(p->count - from - PINGS - 1, 2000 - dropped); /* and nothing else is lost */
  assert_int_equal(p->held, 0);
  pipe_free(p);
  rig_stop(&r);
}

/* What is queued goes out before the last words, or with a cut not at all. */
static void test_ends(void **state) {
  struct rig r;
  (void)state;
  for (int cut = 0; cut < 2; cut++) {
    rig_start(&r, NULL);
    struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT);
    struct pipe *p = pipe_new(&r, 1);
    pipe_connect(&r, p);
    pipe_subscribe(&r, p, "t");
    size_t from = p->count;
    flood(&r, a, 1000, 0);
    assert_true(p->s->lanes.bytes > 0 && !p->s->dropped);
    if (cut)
      session_cut(p->s, MACULA_SLOW_CONSUMER);
    else
      node_drain(r.node, sim_net_now(r.net));
    HOLDS(node_check(r.node));
    assert_true(p->closing && (p->close_at == 0) == cut);
    assert_int_equal(p->err, cut ? MACULA_SLOW_CONSUMER : MACULA_SHUTTING_DOWN);
    rig_run(&r, NS_MS);
    pipe_read(p, SIZE_MAX);
    if (cut) {
      assert_true(p->count - from < DOOR_UNSENT / SIZE);
    } else {
      assert_int_equal(place_of(p, from, MSG_DISCONNECT), 1000);
      assert_int_equal(p->count - from, 1001);
    }
    pipe_end(p);
    assert_int_equal(rig_metric(&r, "send_queue_bytes"), 0);
    pipe_free(p);
    rig_stop(&r);
  }
}

/* A publish that was promised does not fit: the subscriber is let go. And one that goes while its lanes are filled. */
static void test_slow_qos1(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.client_queue = 128 << 10}}};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT);
  struct pipe *p = pipe_new(&r, 1), *gone = pipe_new(&r, 2);
  pipe_connect(&r, p);
  pipe_connect(&r, gone);
  pipe_subscribe(&r, p, "t");
  pipe_subscribe(&r, gone, "t");
  flood(&r, a, 180, 0);
  assert_true(gone->s->lanes.bytes > 0);
  pipe_end(gone);
  flood(&r, a, 200, 1);
  rig_run(&r, 6 * NS_SEC); /* alone it has time as long as it moves */
  assert_true(p->closing && p->err == MACULA_SLOW_CONSUMER && p->close_at == 0);
  pipe_free(p);
  pipe_free(gone);
  assert_int_equal(rig_metric(&r, "send_queue_bytes"), 0);
  rig_stop(&r);
}

/* Over QUIC: a client that stops reading, and reads on. */
static struct session *session_of(const struct rig *r, const struct rig_client *c) {
  list_for(it, &r->node->sessions.all) {
    struct session *s = container_of(it, struct session, all);
    if (door_id(&s->door) && id_eq(door_id(&s->door), quic_identity_id(c->identity))) return s;
  }
  return NULL;
}

static void test_slow_quic(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *slow = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(a, "a.serves"), 0);
  assert_int_equal(rig_subscribe(slow, "t"), 0);
  const struct session *s = session_of(&r, slow);
  rig_stop_reading(slow);
  size_t most = 0;
  for (int i = 0; i < 30; i++) {
    flood(&r, a, 50, 0);
    size_t unsent = quic_stream_unsent(s->door.conn, s->door.home);
    if (unsent > most) most = unsent;
  }
  assert_in_range(most, DOOR_UNSENT - 1024, DOOR_UNSENT);
  size_t waiting = s->lanes.lane[LANE_PUBLISHES].bytes;
  assert_true(waiting > 256 << 10);
  rig_call(slow, "a.serves", "{}", 1, 60000);
  reply_long(a);
  rig_run(&r, 10 * NS_MS);
  assert_true(s->lanes.lane[LANE_CALLS].bytes > 0);
  rig_read_on(slow);
  nanotime began = sim_net_now(r.net);
  while (s->lanes.bytes) {
    rig_run(&r, 100 * NS_US);
    assert_true(sim_net_now(r.net) - began < 5 * NS_SEC);
    HOLDS(node_check(r.node));
  }
  (void)rig_expect(slow, MSG_REPLY);
  size_t before = 0;
  for (size_t i = 0; i < slow->read; i++) before += slow->kept[i].type == MSG_PUBLISH;
  rig_run(&r, NS_SEC);
  assert_int_equal(slow->counts[MSG_PUBLISH], 1500);
  assert_int_equal(s->dropped, 0);
  assert_true(before <= 1500 - waiting / (SIZE + 100)); /* it has overtaken all that waited */
  rig_stop(&r);
}

/* While messages wait, the pool is full to the last byte: what has no room is dropped and counted, and all that waited arrives,
 * although nothing can be copied. */
static void test_no_memory(void **state) {
  struct rig r;
  (void)state;
  for (size_t spare = 0; spare < 2000; spare += 1000) {
    rig_start(&r, NULL);
    struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *slow = rig_join(&r, 0, NULL, RIG_EXT);
    struct mem *pool = &r.node->rows.mem[ROW_SEND];
    size_t limit = pool->limit;
    assert_int_equal(rig_subscribe(slow, "t"), 0);
    const struct session *s = session_of(&r, slow);
    rig_stop_reading(slow);
    flood(&r, a, 1200, 0);
    assert_true(s->lanes.bytes > 128 << 10 && !s->dropped);
    pool->limit = pool->bytes + spare;
    r.node->rows.lowered = true;
    flood(&r, a, 10, 0);
    rig_read_on(slow);
    rig_run(&r, 5 * NS_SEC);
    HOLDS(node_check(r.node));
    assert_int_equal(s->lanes.bytes, 0);
    assert_true(pool->refused > 0 && s->dropped > 0);
    assert_int_equal(slow->counts[MSG_PUBLISH] + s->dropped, 1210);
    assert_int_equal(rig_metric(&r, "messages_dropped_total"), s->dropped);
    pool->limit = limit;
    rig_stop(&r);
  }
}

/* A long queue of small frames is freed over several turns, or with the node. */
static void test_cleared(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.client_queue = 6 << 20}}};
  (void)state;
  for (int with_node = 0; with_node < 2; with_node++) {
    rig_start(&r, &o);
    struct pipe *p = pipe_new(&r, 1);
    pipe_connect(&r, p);
    pipe_subscribe(&r, p, "t");
    struct msg_publish m = {.topic = slice_str("t"), .payload = slice_str("1")};
    unsigned items = 0;
    for (bool fits = true; fits; items += fits) {
      struct fanout f;
      struct parcel *small;
      fanout_init(&f, r.node, &m, NULL);
      assert_int_equal(fanout_for(&f, p->s, &small), 0);
      small->waits = true; /* as when another reader has it in its lane: each of these is a block of its own */
      fits = parcel_deliver(r.node, p->s, small);
      fanout_done(&f);
    }
    assert_true(items > 60000);
    const struct mem *pool = &r.node->rows.mem[ROW_SEND];
    uint64_t before = pool->blocks;
    session_cut(p->s, MACULA_SLOW_CONSUMER);
    assert_in_range(before - pool->blocks, 10000, 25000);
    HOLDS(node_check(r.node));
    if (!with_node) {
      rig_run(&r, NS_MS);
      assert_int_equal(rig_metric(&r, "send_queue_bytes"), 0);
    }
    pipe_end(p);
    pipe_free(p);
    rig_stop(&r);
  }
}

/* A client that wants no more of the stream, or gives it up, while its lanes are filled. */
static void test_stream_goes(void **state) {
  struct rig r;
  (void)state;
  for (int qos = 0; qos < 2; qos++) {
    rig_start(&r, NULL);
    struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *slow = rig_join(&r, 0, NULL, RIG_EXT);
    assert_int_equal(rig_subscribe(slow, "t"), 0);
    const struct session *s = session_of(&r, slow);
    rig_stop_reading(slow);
    flood(&r, a, 1200, qos);
    assert_true(s->lanes.bytes > 128 << 10);
    quic_stream_reset(slow->conn, slow->stream, 0);
    rig_run(&r, 50 * NS_MS);
    HOLDS(node_check(r.node));
    flood(&r, a, 10, qos);
    rig_run(&r, 5 * NS_SEC);
    HOLDS(node_check(r.node));
    assert_int_equal(rig_metric(&r, "send_queue_bytes"), 0);
    assert_null(session_of(&r, slow));
    rig_stop(&r);
  }
}

/* ---- the verdict on CONNECT ------------------------------------------------------------------------------------------------
 */
struct judge {
  uint64_t serial[8];
  unsigned count;
};

static bool later(void *ctx, struct session *s, const struct msg_connect *m) {
  struct judge *j = ctx;
  assert_int_equal(m->version.n, 3);
  assert_true(j->count < 8);
  j->serial[j->count++] = s->serial;
  return true;
}

static struct judge *judged(struct rig *r, struct judge *j) {
  *j = (struct judge){0};
  r->node->sessions.judge = later;
  r->node->sessions.judge_ctx = j;
  return j;
}

static void verdict(struct rig *r, const struct judge *j, unsigned i, int err) {
  assert_true(i < j->count);
  session_verdict(r->node, j->serial[i], err, NULL);
  HOLDS(node_check(r->node));
  rig_run(r, 10 * NS_MS);
}

/* A client that has sent CONNECT, and a subscription and a publish behind it. */
static struct rig_client *eager(struct rig *r) {
  struct rig_client *c = rig_join(r, 0, NULL, 0);
  struct slice topic = slice_str("t");
  struct msg m = {.type = MSG_SUBSCRIBE,
                  .subscribe = {.topics = {.count = 1, .items = &topic}, .own = true, .ref = 1, .has_ref = true}};
  rig_connect(c, RIG_EXT, "test", NULL);
  rig_send(c, &m);
  rig_publish_only(c, "t", slice_str("1"), 0);
  rig_run(r, 100 * NS_MS);
  return c;
}

static void test_verdict_later(void **state) {
  struct rig r;
  struct judge j;
  (void)state;
  rig_start(&r, NULL);
  judged(&r, &j);
  struct rig_client *c = eager(&r);
  assert_int_equal(j.count, 1);
  assert_int_equal(c->kept_count, 0);
  assert_int_equal(session_of(&r, c)->state, SESSION_JUDGING);
  uint64_t frames = rig_metric(&r, "frames_received_total");
  verdict(&r, &j, 0, 0);
  assert_int_equal(c->kept[0].type, MSG_PONG);
  assert_int_equal(c->kept[1].type, MSG_ACK);
  assert_int_equal(c->kept[2].type, MSG_PUBLISH);
  assert_int_equal(rig_metric(&r, "frames_received_total"), frames + 3);
  assert_int_equal(rig_metric(&r, "memory_bytes{table=\"receive\"}"), receive_owned(r.node));
  verdict(&r, &j, 0, MACULA_NOT_AUTHORIZED); /* a second one finds nobody */
  assert_false(c->closed);
  /* Another is refused. */
  c = eager(&r);
  verdict(&r, &j, 1, MACULA_NOT_AUTHORIZED);
  assert_true(slice_is(rig_expect(c, MSG_DISCONNECT).disconnect.code, "not_authorized"));
  assert_int_equal(rig_closed(c), MACULA_NOT_AUTHORIZED);
  assert_int_equal(c->kept_count, 1);
  rig_stop(&r);
}

/* Streams beside that of CONNECT wait as well, and what breaks a rule is refused without asking. */
static void test_verdict_streams(void **state) {
  struct rig r;
  struct judge j;
  int64_t side;
  uint8_t buf[256];
  (void)state;
  rig_start(&r, NULL);
  judged(&r, &j);
  struct rig_client *c = rig_join(&r, 0, NULL, 0), *wrong = rig_join(&r, 0, NULL, 0);
  rig_connect(wrong, RIG_EXT, "another.realm", NULL);
  assert_int_equal(rig_closed(wrong), MACULA_REALM_MISMATCH);
  assert_int_equal(j.count, 0);
  rig_connect(c, RIG_EXT, "test", NULL);
  rig_run(&r, 10 * NS_MS);
  while (quic_stream_open(c->conn, &side) != 0) rig_run(&r, 10 * NS_MS);
  struct msg m = {.type = MSG_REGISTER, .reg = {.procedure = slice_str("p"), .ref = 1, .has_ref = true}};
  ptrdiff_t n = msg_encode(&m, buf, sizeof buf);
  assert_int_equal(quic_stream_write(c->conn, side, slice_of(buf, (size_t)n)), 0);
  rig_run(&r, 100 * NS_MS);
  assert_int_equal(router_services(r.node->rpc.router)->count, 0);
  verdict(&r, &j, 0, 0);
  assert_int_equal(router_services(r.node->rpc.router)->count, 1);
  assert_int_equal(c->counts[MSG_PONG], 1);
  rig_stop(&r);
}

/* The client goes, in each way that there is, or waits too long: the verdict finds nobody. */
static void test_verdict_too_late(void **state) {
  struct rig r;
  struct judge j;
  (void)state;
  rig_start(&r, NULL);
  judged(&r, &j);
  struct rig_client *c[4];
  for (unsigned i = 0; i < 4; i++) c[i] = eager(&r);
  quic_conn_close(c[0]->conn, 0, "bye");
  quic_stream_reset(c[1]->conn, c[1]->stream, 0);
  quic_stream_finish(c[2]->conn, c[2]->stream);
  rig_run(&r, 100 * NS_MS);
  HOLDS(node_check(r.node));
  assert_null(session_of(&r, c[0]));
  assert_int_equal(rig_closed(c[1]), 0);
  verdict(&r, &j, 0, 0);
  verdict(&r, &j, 1, 0);
  verdict(&r, &j, 2, 0); /* it said all that it had to say, and is heard */
  assert_int_equal(c[2]->counts[MSG_PUBLISH], 1);
  assert_int_equal(rig_closed(c[2]), 0);
  assert_int_equal(rig_closed(c[3]), MACULA_TIMEOUT);
  verdict(&r, &j, 3, 0);
  assert_int_equal(r.node->sessions.clients.count, 0);
  assert_int_equal(rig_metric(&r, "memory_bytes{table=\"receive\"}"), 0);
  rig_stop(&r);
}

/* Limits hold when the verdict comes, and what comes meanwhile is bounded by the window. */
static void test_verdict_limits(void **state) {
  struct rig r;
  struct judge j;
  struct rig_options o = {.node = {.limits = {.max_clients = 1}}};
  static const uint8_t payload[900];
  (void)state;
  rig_start(&r, &o);
  judged(&r, &j);
  struct rig_client *c[3];
  for (unsigned i = 0; i < 3; i++) c[i] = eager(&r);
  for (int i = 0; i < 300; i++) rig_publish_only(c[2], "t", slice_of(payload, sizeof payload), 0);
  rig_run(&r, NS_SEC);
  assert_in_range(rig_metric(&r, "memory_bytes{table=\"receive\"}"), 64 << 10, 144 << 10);
  verdict(&r, &j, 1, 0);
  verdict(&r, &j, 0, 0);
  assert_int_equal(rig_closed(c[0]), MACULA_MAX_CLIENTS_REACHED);
  assert_false(c[1]->closed);
  quic_conn_close(c[1]->conn, 0, "bye");
  rig_run(&r, 10 * NS_MS);
  verdict(&r, &j, 2, 0);
  rig_run(&r, NS_SEC);
  assert_int_equal(c[2]->counts[MSG_PUBLISH], 301);
  /* A node that leaves waits for no verdict. */
  quic_conn_close(c[2]->conn, 0, "bye");
  rig_run(&r, 10 * NS_MS);
  struct rig_client *d = eager(&r);
  node_drain(r.node, sim_net_now(r.net));
  assert_int_equal(rig_closed(d), MACULA_SHUTTING_DOWN);
  verdict(&r, &j, 3, 0);
  rig_stop(&r);
}

/* A node's CONNECT is judged as well. */
static void test_verdict_link(void **state) {
  struct mesh m;
  struct judge j;
  (void)state;
  mesh_start(&m, 2, NULL);
  judged(&m.rig[0], &j);
  mesh_join(&m, 1, 0);
  rig_run(&m.rig[0], NS_SEC);
  assert_int_equal(j.count, 1);
  assert_null(mesh_peer(&m, 1, 0)->link);
  verdict(&m.rig[0], &j, 0, 0);
  rig_run(&m.rig[0], NS_SEC);
  assert_non_null(mesh_peer(&m, 1, 0)->link);
  assert_non_null(mesh_peer(&m, 0, 1)->link);
  mesh_stop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_another_door),     cmocka_unit_test(test_slow),           cmocka_unit_test(test_ends),
      cmocka_unit_test(test_slow_qos1),        cmocka_unit_test(test_slow_quic),      cmocka_unit_test(test_verdict_later),
      cmocka_unit_test(test_verdict_streams),  cmocka_unit_test(test_verdict_limits), cmocka_unit_test(test_verdict_link),
      cmocka_unit_test(test_verdict_too_late), cmocka_unit_test(test_no_memory),      cmocka_unit_test(test_cleared),
      cmocka_unit_test(test_stream_goes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
