/* Publishes by a stream of their own (capability `streams`): behind one that is held nothing else waits; what a goodbye waits
 * for; and what a client can do wrong with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/session/session.h"
#include "node_rig.h"

#define STREAMS (RIG_EXT | CAP_STREAMS)
#define SLOW 8

struct full { /* a node whose pool of send queues is full, so that publishers are held, for a second */
  struct rig rig;
  struct rig_client *slow[SLOW], *filler, *good, *pub, *caller;
};

static struct msg publish_of(const char *topic, const char *payload) {
  return (struct msg){.type = MSG_PUBLISH, .publish = {.topic = slice_str(topic), .payload = slice_str(payload)}};
}

static bool is_paused(void *ctx) {
  const struct full *f = ctx;
  return !list_empty(&f->rig.node->sessions.paused);
}

/* Publishes by the stream that a client with these caps uses. */
static void publish(struct rig_client *c, uint32_t caps, const struct msg *m) {
  if (caps & CAP_STREAMS)
    rig_send_by_one_way(c, m);
  else
    rig_send(c, m);
}

/* caps: of the publisher. */
static void fill(struct full *f, uint32_t caps) {
  struct rig_options o = {.node = {.limits = {.send_pool = 1 << 20}}};
  char text[900];
  *f = (struct full){0};
  rig_start(&f->rig, &o);
  f->filler = rig_join(&f->rig, 0, NULL, RIG_EXT);
  f->good = rig_join(&f->rig, 0, NULL, RIG_EXT);
  f->pub = rig_join(&f->rig, 0, NULL, caps);
  f->caller = rig_join(&f->rig, 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(f->good, "good"), 0);
  for (int i = 0; i < SLOW; i++) {
    f->slow[i] = rig_join(&f->rig, 0, NULL, RIG_EXT);
    assert_int_equal(rig_subscribe(f->slow[i], "slow"), 0);
    f->slow[i]->mute = true;
  }
  memset(text, 'x', sizeof text);
  text[sizeof text - 1] = 0;
  struct msg m = publish_of("slow", text);
  for (int i = 0; i < 1500; i++) rig_send(f->filler, &m);
  rig_until(&f->rig, NS_SEC, is_paused, f, "the pool is full");
}

/* So many that its windows do not take them all; "0", "1", ... */
static void flood(struct full *f, uint32_t caps, int count) {
  char text[256];
  for (int i = 0; i < count; i++) {
    memset(text, ' ', sizeof text);
    text[sizeof text - 1] = 0;
    text[snprintf(text, sizeof text, "%d", i)] = ' ';
    struct msg m = publish_of("good", text);
    publish(f->pub, caps, &m);
  }
  rig_run(&f->rig, 50 * NS_MS);
  assert_true(is_paused(f));
}

/* All came, in order, and once. */
static void all_came(struct full *f, int count) {
  for (int i = 0; i < count; i++) {
    struct slice p = rig_expect(f->good, MSG_PUBLISH).publish.payload;
    assert_int_equal(atoi((const char *)p.p), i);
  }
  assert_int_equal(f->good->counts[MSG_PUBLISH], count);
}

/* A client that serves calls while its publishes are held answers; and it hears answers, and PONG, as ever. */
static void test_calls_beside_held(void **state) {
  struct full f;
  (void)state;
  fill(&f, STREAMS);
  assert_int_equal(rig_register(f.pub, "echo"), 0);
  flood(&f, STREAMS, 1000);
  assert_true(quic_stream_unsent(f.pub->conn, f.pub->publishes) > 100000); /* 8 KiB of it were taken */
  uint64_t frames = f.rig.node->stats.published;
  for (int i = 0; i < 20; i++) {
    nanotime began = sim_net_now(f.rig.net);
    rig_call(f.caller, "echo", "{}", 100 + (uint64_t)i, 1000);
    rig_reply(f.pub, rig_expect(f.pub, MSG_CALL).call.call_id, "{}");
    assert_false(rig_expect(f.caller, MSG_REPLY).reply.is_error);
    assert_true(time_since(sim_net_now(f.rig.net), began) < 20 * NS_MS);
  }
  struct msg ping = {.type = MSG_PING, .ping = {7}};
  rig_send(f.pub, &ping);
  assert_int_equal(rig_expect(f.pub, MSG_PONG).pong.timestamp, 7);
  assert_true(is_paused(&f));
  assert_int_equal(f.rig.node->stats.published, frames);
  rig_run(&f.rig, 5 * NS_SEC);
  all_came(&f, 1000);
  rig_stop(&f.rig);
}

/* One that publishes on CONNECT's stream: what its answers are for does not wait in the bytes behind, all else does. */
static void test_read_ahead(void **state) {
  struct full f;
  (void)state;
  fill(&f, RIG_EXT);
  assert_int_equal(rig_register(f.pub, "echo"), 0);
  rig_call(f.caller, "echo", "{}", 100, 60000);
  struct msg_call call = rig_expect(f.pub, MSG_CALL).call;
  flood(&f, RIG_EXT, 100);
  struct msg ping = {.type = MSG_PING, .ping = {7}}, last = publish_of("good", "100");
  rig_send(f.pub, &ping);
  rig_reply(f.pub, call.call_id, "{}");
  rig_send(f.pub, &last);
  rig_call(f.pub, "echo", "{}", 5, 60000); /* waits, and so does its CANCEL */
  uint8_t id[CALL_ID_LEN] = {5};
  struct msg cancel = {.type = MSG_CANCEL, .cancel = {.call_id = slice_of(id, sizeof id), .reason = slice_str("cancelled")}};
  rig_send(f.pub, &cancel);
  assert_false(rig_expect(f.caller, MSG_REPLY).reply.is_error);
  assert_int_equal(rig_expect(f.pub, MSG_PONG).pong.timestamp, 7);
  assert_true(is_paused(&f));
  assert_int_equal(f.pub->counts[MSG_CALL], 1);
  rig_run(&f.rig, 5 * NS_SEC);
  assert_int_equal(f.pub->counts[MSG_PONG], 2); /* that to CONNECT, and this: each frame is handled once */
  assert_int_equal(f.caller->counts[MSG_REPLY], 1);
  assert_int_equal(f.pub->counts[MSG_CALL], 2);
  assert_int_equal(f.pub->counts[MSG_CANCEL], 1);
  all_came(&f, 101);
  rig_stop(&f.rig);
}

static void goodbye(struct full *f, bool finish) {
  struct msg bye = {.type = MSG_DISCONNECT, .disconnect = {slice_str("normal"), slice_str(""), {0}, 1}};
  if (finish) quic_stream_finish(f->pub->conn, f->pub->publishes);
  rig_send(f->pub, &bye);
}

/* A publisher that is held says goodbye: what it has published is delivered first. */
static void test_goodbye(void **state) {
  struct full f;
  (void)state;
  fill(&f, STREAMS);
  flood(&f, STREAMS, 500);
  goodbye(&f, true);
  rig_run(&f.rig, 100 * NS_MS);
  assert_false(f.pub->closed);
  assert_int_equal(rig_closed(f.pub), 0);
  rig_run(&f.rig, NS_SEC);
  all_came(&f, 500);
  assert_int_equal(rig_metric(&f.rig, "publishes_lost_total"), 0);
  rig_stop(&f.rig);
}

/* The goodbye comes before the stream that it names. */
static void test_goodbye_overtakes(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *p = rig_join(&r, 0, NULL, STREAMS), *good = rig_join(&r, 0, NULL, STREAMS);
  struct msg bye = {.type = MSG_DISCONNECT, .disconnect = {slice_str("normal"), slice_str(""), {0}, 1}};
  struct msg m = publish_of("good", "late");
  assert_int_equal(rig_subscribe(good, "good"), 0);
  rig_send(p, &bye);
  rig_run(&r, NS_SEC);
  rig_send_by_one_way(p, &m);
  quic_stream_finish(p->conn, p->publishes);
  assert_true(slice_is(rig_expect(good, MSG_PUBLISH).publish.payload, "late"));
  assert_int_equal(rig_closed(p), 0);
  assert_int_equal(good->by_one_way, 1);
  rig_stop(&r);
}

/* A stream that is never ended: five seconds, and no more. */
static void test_goodbye_takes_effect(void **state) {
  struct full f;
  (void)state;
  fill(&f, STREAMS);
  flood(&f, STREAMS, 10);
  goodbye(&f, false);
  rig_run(&f.rig, 4800 * NS_MS);
  assert_false(f.pub->closed);
  rig_run(&f.rig, 400 * NS_MS);
  assert_true(f.pub->closed);
  rig_stop(&f.rig);
}

/* What is lost with a held publisher's connection is counted. */
static void test_lost(void **state) {
  struct full f;
  (void)state;
  fill(&f, STREAMS);
  flood(&f, STREAMS, 10);
  quic_conn_close(f.pub->conn, 0, "");
  rig_run(&f.rig, 100 * NS_MS);
  assert_int_equal(rig_metric(&f.rig, "publishes_lost_total"), 10);
  rig_stop(&f.rig);
}

/* Deliveries come by a stream of their own to those who name the capability, to others by CONNECT's. */
static void test_deliveries(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *p = rig_join(&r, 0, NULL, STREAMS), *with = rig_join(&r, 0, NULL, STREAMS | CAP_ORIGIN),
                    *without = rig_join(&r, 0, NULL, RIG_EXT), *base = rig_join(&r, RIG_NO_CERT * 0, NULL, RIG_BASE);
  struct msg m = publish_of("t", "x");
  assert_int_equal(rig_subscribe(with, "t"), 0);
  assert_int_equal(rig_subscribe(without, "t"), 0);
  struct slice t = slice_str("t");
  struct msg sub = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &t}}};
  rig_send(base, &sub);
  rig_run(&r, 100 * NS_MS);
  for (int i = 0; i < 100; i++) rig_send_by_one_way(p, &m);
  rig_run(&r, NS_SEC);
  assert_int_equal(with->by_one_way, 101); /* with the announcement of who publishes */
  assert_int_equal(with->counts[MSG_PUBLISH], 100);
  assert_int_equal(without->counts[MSG_PUBLISH], 100);
  assert_int_equal(base->counts[MSG_PUBLISH], 100);
  assert_int_equal(without->by_one_way + base->by_one_way + p->by_one_way, 0);
  /* who speaks the capability may publish by CONNECT's stream all the same */
  assert_int_equal(rig_publish(p, "t", "y", 1, false, 1), 0);
  rig_stop(&r);
}

/* A client that does not read its deliveries is still answered; the node's last word comes behind what it has read. */
static void test_unread(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *p = rig_join(&r, 0, NULL, STREAMS), *s = rig_join(&r, 0, NULL, STREAMS);
  char text[1000];
  memset(text, 'x', sizeof text);
  text[sizeof text - 1] = 0;
  struct msg m = publish_of("t", text), ping = {.type = MSG_PING, .ping = {9}};
  assert_int_equal(rig_subscribe(s, "t"), 0);
  s->stopped = true; /* of all streams: what is owed is more than one stream's window */
  for (int i = 0; i < 600; i++) rig_send_by_one_way(p, &m);
  rig_run(&r, NS_SEC);
  assert_in_range(s->counts[MSG_PUBLISH], 200, 270);
  quic_consume_conn(s->conn, 64 << 10);
  rig_send(s, &ping);
  assert_int_equal(rig_expect(s, MSG_PONG).pong.timestamp, 9);
  rig_stop(&r);
}

static void ends_with(struct rig_client *c, int err) {
  if (rig_closed(c) != err) fail_msg("%d: %s", c->why.err, c->why_text);
}

static void test_misuse(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct msg ping = {.type = MSG_PING, .ping = {7}}, m = publish_of("t", "x");
  struct rig_client *other = rig_join(&r, 0, NULL, STREAMS); /* another frame on it */
  rig_send_by_one_way(other, &ping);
  ends_with(other, MACULA_BAD_FRAME);
  struct rig_client *early = rig_client(&r, 0, NULL); /* before CONNECT */
  rig_opened(early);
  rig_send_by_one_way(early, &m);
  ends_with(early, MACULA_CONNECT_REQUIRED);
  struct rig_client *unsaid = rig_join(&r, 0, NULL, RIG_EXT); /* without the capability */
  rig_send_by_one_way(unsaid, &m);
  ends_with(unsaid, MACULA_BAD_FRAME);
  struct rig_client *two = rig_join(&r, 0, NULL, STREAMS); /* a second one is not granted */
  int64_t id;
  rig_send_by_one_way(two, &m);
  rig_run(&r, 100 * NS_MS);
  assert_int_equal(quic_stream_open_one_way(two->conn, &id), MACULA_EFULL);
  struct rig_client *reset = rig_join(&r, 0, NULL, STREAMS);
  rig_send_by_one_way(reset, &m);
  rig_run(&r, 100 * NS_MS);
  quic_stream_reset(reset->conn, reset->publishes, 0);
  ends_with(reset, MACULA_BAD_FRAME);
  struct rig_client *at_once = rig_join(&r, 0, NULL, STREAMS); /* reset before anything is sent on it */
  assert_int_equal(quic_stream_open_one_way(at_once->conn, &id), 0);
  quic_stream_reset(at_once->conn, id, 0);
  ends_with(at_once, MACULA_BAD_FRAME);
  struct rig_client *cut = rig_join(&r, 0, NULL, STREAMS); /* ended within a frame */
  assert_int_equal(quic_stream_open_one_way(cut->conn, &id), 0);
  assert_int_equal(quic_stream_write(cut->conn, id, slice_of((const uint8_t[8]){1, 0x10, 0, 0, 0, 0, 1, 0}, 8)), 0);
  quic_stream_finish(cut->conn, id);
  ends_with(cut, MACULA_BAD_FRAME);
  struct rig_client *refuses = rig_join(&r, 0, NULL, STREAMS); /* STOP_SENDING of its deliveries */
  assert_int_equal(rig_subscribe(refuses, "t"), 0);
  rig_send_by_one_way(two, &m);
  (void)rig_expect(refuses, MSG_PUBLISH);
  quic_stream_reset(refuses->conn, 3, 0);
  ends_with(refuses, MACULA_BAD_FRAME);
  assert_false(two->closed);
  rig_stop(&r);
}

/* Held publishers by the hundred, each with all that its window takes and some with large frames: their memory stays within the
 * pool, and none ends for it. */
static void test_windows(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.send_pool = 1 << 20, .receive_pool = 4 << 20, .max_clients = 220}}};
  struct rig_client *c[200];
  char *text = malloc(60001);
  (void)state;
  memset(text, 'x', 60000);
  text[60000] = 0;
  rig_start(&r, &o);
  for (int i = 0; i < 200; i++) c[i] = rig_join(&r, 0, NULL, STREAMS);
  for (int k = 0; k < 3; k++) {
    struct rig_client *slow = rig_join(&r, 0, NULL, RIG_EXT);
    assert_int_equal(rig_subscribe(slow, "slow"), 0);
    slow->mute = true;
  }
  struct msg small = publish_of("slow", text + 59000), large = publish_of("slow", text);
  for (int k = 0; k < 20; k++) {
    for (int i = 0; i < 200; i++) {
      if (!c[i]->conn) continue;
      for (int m = 0; m < 10; m++) rig_send_by_one_way(c[i], m % 10 == i % 10 ? &large : &small);
    }
    rig_run(&r, 20 * NS_MS);
  }
  rig_run(&r, NS_SEC);
  for (int i = 0; i < 200; i++) assert_false(c[i]->closed);
  assert_in_range(rig_metric(&r, "memory_peak_bytes{table=\"receive\"}"), 1 << 20, 4 << 20);
  assert_true(rig_metric(&r, "publisher_pauses_total") > 0);
  free(text);
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_calls_beside_held),
      cmocka_unit_test(test_read_ahead),
      cmocka_unit_test(test_goodbye),
      cmocka_unit_test(test_goodbye_overtakes),
      cmocka_unit_test(test_goodbye_takes_effect),
      cmocka_unit_test(test_lost),
      cmocka_unit_test(test_deliveries),
      cmocka_unit_test(test_unread),
      cmocka_unit_test(test_misuse),
      cmocka_unit_test(test_windows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
