/* How a node lets clients in, refuses them, and what is left of them afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "../unit/quic/forge.h"
#include "access_text.h"
#include "node_rig.h"

static json_int_t count_of(struct rig *r, const char *what) {
  char *text;
  json_int_t n = -1;
  assert_int_equal(node_render(r->node, "status", 0, 0, sim_net_now(r->net), &text), 0);
  json_t *j = json_loads(text, 0, NULL);
  assert_non_null(j);
  assert_int_equal(json_unpack(j, "{s:{s:I}}", what, "count", &n), 0);
  json_decref(j);
  free(text);
  return n;
}

static void test_connect(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *c = rig_join(&r, 0, NULL, 0);
  rig_connect(c, RIG_EXT, "test", NULL);
  struct msg m = rig_expect(c, MSG_PONG);
  assert_true(m.pong.has_caps);
  assert_int_equal(m.pong.caps, RIG_EXT);
  assert_true(slice_eq(m.pong.node_id, slice_of(node_id(r.node)->b, ID_LEN)));
  assert_true(slice_is(m.pong.name, "node"));
  assert_int_equal(count_of(&r, "clients"), 1);
  struct msg ping = {.type = MSG_PING, .ping = {.timestamp = 42}};
  rig_send(c, &ping);
  assert_int_equal(rig_expect(c, MSG_PONG).pong.timestamp, 42);
  static const uint64_t clocks[] = {4000000000000, 1000}; /* Unix ms: the wall clock is set */
  for (int i = 0; i < 2; i++) {
    node_set_clock(r.node, clocks[i], sim_net_now(r.net));
    rig_send(c, &ping);
    uint64_t told = rig_expect(c, MSG_PONG).pong.server_time;
    assert_true(told >= clocks[i] && told < clocks[i] + 60000);
  }
  struct msg bye = {.type = MSG_DISCONNECT, .disconnect = {.reason = slice_str("normal"), .message = slice_str("")}};
  rig_send(c, &bye);
  assert_int_equal(rig_closed(c), 0);
  assert_int_equal(count_of(&r, "clients"), 0);
  rig_stop(&r);
}

struct told {
  unsigned warned, failed;
  char fields[256];
};

static void tell(void *ctx, enum log_level level, const char *event, const char *fields) {
  struct told *t = ctx;
  if (strncmp(event, "certificate_end", 15) != 0) return;
  t->warned += level == LOG_WARN;
  t->failed += level == LOG_ERROR;
  snprintf(t->fields, sizeof t->fields, "%s", fields);
}

/* The same key in a certificate that ends at this time. */
static struct quic_identity *until(const struct quic_identity *i, uint64_t unix_s) {
  struct quic_identity *copy;
  char *pem;
  assert_int_equal(quic_identity_pem(i, &pem), 0);
  assert_int_equal(quic_identity_parse(slice_str(pem), slice_str(pem), 0, &copy, NULL), 0);
  free(pem);
  forge_times(copy, 0, (time_t)unix_s, NULL);
  return copy;
}

/* The wall clock as maculad hands it in, every few seconds; here every hour, of which the node sleeps all but a second: weeks
 * of its idle turns would take a minute. */
static void pass(struct rig *r, uint64_t *unix_s, uint64_t to) {
  while (*unix_s < to) {
    *unix_s += 3600;
    sim_net_stop(r->net, &r->addr, true);
    rig_run(r, 3599 * NS_SEC);
    sim_net_stop(r->net, &r->addr, false);
    rig_run(r, NS_SEC);
    node_set_clock(r->node, *unix_s * 1000, sim_net_now(r->net));
  }
}

/* Of the node's own certificate: the log once a day from 30 days before, the time left, and whether it is ready. */
static void test_certificate_ends(void **state) {
  enum { DAY = 86400 };
  struct rig r;
  struct told told = {0};
  struct log log = {LOG_DEBUG, tell, &told};
  struct rig_options o = {.node = {.log = &log}};
  char note[NODE_WHY_LEN];
  (void)state;
  rig_start(&r, &o);
  assert_true(node_ready(r.node, sim_net_now(r.net), note) && !note[0]);
  uint64_t unix_s = 1790000000, end = unix_s + 33 * DAY;
  struct quic_identity *ends = until(r.identity, end), *renewed = until(r.identity, end + 90 * DAY);
  struct node_reload old = {.identity = ends}, renewal = {.identity = renewed};
  assert_int_equal(node_reload(r.node, &old), 0);
  pass(&r, &unix_s, end - 30 * DAY - 3600);
  assert_int_equal(told.warned, 0);
  assert_true(node_ready(r.node, sim_net_now(r.net), note) && !note[0]);
  pass(&r, &unix_s, end - 28 * DAY + 3600);
  assert_int_equal(told.warned, 3);
  assert_string_equal(told.fields, "text=\"this node's certificate ends in 28 days: renew it and send SIGHUP\"");
  assert_true(node_ready(r.node, sim_net_now(r.net), note));
  assert_non_null(strstr(note, "ends in 27 days"));
  int64_t left = (int64_t)rig_metric(&r, "certificate_remaining_seconds");
  assert_true(left > 27 * DAY && left < 28 * DAY);
  assert_int_equal(rig_metric(&r, "gateway_ready"), 1);
  pass(&r, &unix_s, end + DAY / 2);
  assert_true(told.warned >= 30 && told.warned <= 31);
  assert_int_equal(told.failed, 1); /* at once when it is over */
  assert_false(node_ready(r.node, sim_net_now(r.net), note));
  assert_non_null(strstr(note, "certificate ended"));
  assert_int_equal(rig_metric(&r, "gateway_ready"), 0);
  assert_true((int64_t)rig_metric(&r, "certificate_remaining_seconds") < 0);
  assert_int_equal(node_reload(r.node, &renewal), 0);
  assert_true(node_ready(r.node, sim_net_now(r.net), note) && !note[0]);
  pass(&r, &unix_s, end + 3 * DAY);
  assert_int_equal(told.failed, 1);
  assert_true((int64_t)rig_metric(&r, "certificate_remaining_seconds") > 86 * DAY);
  assert_int_equal(node_reload(r.node, &old), 0); /* as a clock that was set ahead would do: told anew */
  assert_int_equal(told.failed, 2);
  quic_identity_unref(ends);
  quic_identity_unref(renewed);
  rig_stop(&r);
}

/* What a refused client reads: the frame, and the number of the close alone. */
static void refused(struct rig_client *c, int code) {
  struct msg m = rig_expect(c, MSG_DISCONNECT);
  assert_true(slice_is(m.disconnect.code, macula_err_name(code)));
  assert_true(m.disconnect.message.n > 0);
  assert_int_equal(rig_closed(c), code);
}

static void test_refusals(void **state) {
  struct rig r;
  struct rig_options o = {.access = ACCESS_BY_TOKEN(ACCESS_TOKEN)};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *c = rig_join(&r, 0, NULL, 0);
  rig_connect(c, RIG_EXT, "other", ACCESS_TOKEN);
  refused(c, MACULA_REALM_MISMATCH);
  c = rig_join(&r, 0, NULL, 0);
  rig_connect(c, RIG_EXT, "test", "0123456789abcdeg");
  refused(c, MACULA_NOT_AUTHORIZED);
  c = rig_join(&r, 0, NULL, 0);
  rig_connect(c, RIG_EXT, "test", NULL);
  refused(c, MACULA_NOT_AUTHORIZED);
  c = rig_join(&r, 0, NULL, 0);
  struct msg m = {.type = MSG_PING, .ping = {1}};
  rig_send(c, &m);
  refused(c, MACULA_CONNECT_REQUIRED);
  c = rig_join(&r, 0, NULL, 0);
  m = (struct msg){
      .type = MSG_CONNECT,
      .connect = {.version = slice_str("1.0"), .node_id = slice_of(node_id(r.node)->b, ID_LEN), .realm_id = slice_str("test")}};
  rig_send(c, &m);
  refused(c, MACULA_IDENTITY_MISMATCH);
  c = rig_join(&r, 0, NULL, 0);
  rig_connect(c, RIG_EXT, "test", ACCESS_TOKEN);
  (void)rig_expect(c, MSG_PONG);
  rig_connect(c, RIG_EXT, "test", ACCESS_TOKEN);
  refused(c, MACULA_CONNECT_REQUIRED);
  assert_int_equal(count_of(&r, "clients"), 0);
  rig_stop(&r);
}

/* ---- what an operator sees of it --------------------------------------------------------------------------------------------
 */
struct lines {
  char last[1200];
  unsigned refused;
  unsigned long long left_out;
};

static void keep(void *ctx, enum log_level level, const char *event, const char *fields) {
  struct lines *l = ctx;
  unsigned long long left_out;
  if (strcmp(event, "client_refused") != 0 && strcmp(event, "client_ended") != 0) return;
  assert_int_equal(level, LOG_WARN);
  snprintf(l->last, sizeof l->last, "%s %s", event, fields);
  assert_int_equal(sscanf(strstr(fields, " left_out="), " left_out=%llu", &left_out), 1);
  l->left_out += left_out;
  l->refused++;
}

/* The last line is about this client. */
static void told(struct lines *l, const struct rig_client *c, const char *event, int code, const char *text) {
  char at[ADDR_TEXT_LEN], id[ID_HEX_LEN + 1], want[600];
  addr_text(&c->addr, at);
  id_hex(quic_identity_id(c->identity), id);
  snprintf(want, sizeof want, "%s address=%s id=%s code=%s text=\"%s\" left_out=0", event, at, id, macula_err_name(code), text);
  assert_string_equal(l->last, want);
  l->last[0] = 0;
}

static void test_refusals_are_told(void **state) {
  struct rig r;
  struct lines l = {0};
  struct log log = {.level = LOG_INFO, .sink = keep, .ctx = &l};
  struct rig_options o = {.access = ACCESS_BY_TOKEN(ACCESS_TOKEN), .node = {.log = &log, .limits = {.max_clients = 1}}};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *c = rig_join(&r, 0, NULL, 0);
  rig_connect(c, RIG_EXT, "test", "0123456789abcdeg");
  refused(c, MACULA_NOT_AUTHORIZED);
  told(&l, c, "client_refused", MACULA_NOT_AUTHORIZED, "the access token is wrong");
  c = rig_join(&r, 0, NULL, 0);
  rig_connect(c, RIG_EXT, "other", ACCESS_TOKEN);
  refused(c, MACULA_REALM_MISMATCH);
  told(&l, c, "client_refused", MACULA_REALM_MISMATCH, macula_err_text(MACULA_REALM_MISMATCH));
  c = rig_join(&r, 0, NULL, 0);
  assert_int_equal(rig_closed(c), MACULA_CONNECT_REQUIRED);
  told(&l, c, "client_refused", MACULA_CONNECT_REQUIRED, macula_err_text(MACULA_CONNECT_REQUIRED));
  c = rig_client(&r, RIG_NO_CERT, NULL);
  rig_opened(c);
  rig_connect(c, CAP_PUBSUB, "test", NULL);
  assert_int_equal(rig_closed(c), MACULA_NOT_AUTHORIZED);
  assert_non_null(strstr(l.last, " id=none code=not_authorized text=\"an access token is needed here"));
  struct rig_client *in = rig_join(&r, 0, NULL, 0);
  rig_connect(in, RIG_EXT, "test", ACCESS_TOKEN);
  (void)rig_expect(in, MSG_PONG);
  c = rig_join(&r, 0, NULL, 0);
  rig_connect(c, RIG_EXT, "test", ACCESS_TOKEN);
  refused(c, MACULA_MAX_CLIENTS_REACHED);
  told(&l, c, "client_refused", MACULA_MAX_CLIENTS_REACHED, macula_err_text(MACULA_MAX_CLIENTS_REACHED));
  rig_send_raw(in, slice_of("\x09\x01\0\0\0\0\0\x01", 8));
  refused(in, MACULA_UNSUPPORTED_VERSION);
  told(&l, in, "client_ended", MACULA_UNSUPPORTED_VERSION, macula_err_text(MACULA_UNSUPPORTED_VERSION));
  assert_int_equal(l.refused, 6);
  in = rig_join(&r, 0, NULL, 0); /* a goodbye is none */
  rig_connect(in, RIG_EXT, "test", ACCESS_TOKEN);
  (void)rig_expect(in, MSG_PONG);
  struct msg bye = {.type = MSG_DISCONNECT, .disconnect = {.reason = slice_str("normal"), .message = slice_str("")}};
  rig_send(in, &bye);
  assert_int_equal(rig_closed(in), 0);
  assert_int_equal(l.refused, 6);
  rig_stop(&r);
}

/* A flood costs 20 lines and 2 a second; what they leave out is in the next. */
static void test_refusals_flood(void **state) {
  struct rig r;
  struct lines l = {0};
  struct log log = {.level = LOG_INFO, .sink = keep, .ctx = &l};
  struct rig_options o = {.access = ACCESS_BY_TOKEN(ACCESS_TOKEN), .node = {.log = &log}};
  (void)state;
  rig_start(&r, &o);
  nanotime start = sim_net_now(r.net);
  for (int i = 0; i < 200; i++) {
    struct rig_client *c = rig_join(&r, 0, NULL, 0);
    rig_connect(c, RIG_EXT, "test", "wrong");
    refused(c, MACULA_NOT_AUTHORIZED);
  }
  double seconds = (double)(sim_net_now(r.net) - start) / (double)NS_SEC;
  assert_true(l.refused >= 20 && l.refused <= 21 + 2 * seconds);
  rig_run(&r, NS_SEC);
  struct rig_client *c = rig_join(&r, 0, NULL, 0);
  rig_connect(c, RIG_EXT, "test", "wrong");
  refused(c, MACULA_NOT_AUTHORIZED);
  assert_int_equal(l.refused + l.left_out, 201);
  assert_int_equal(rig_metric(&r, "connections_ended_total{code=\"not_authorized\"}"), 201);
  rig_stop(&r);
}

static void test_never_connects(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *c = rig_join(&r, 0, NULL, 0);
  nanotime start = sim_net_now(r.net);
  assert_int_equal(rig_closed(c), MACULA_CONNECT_REQUIRED);
  assert_in_range(sim_net_now(r.net) - start, 9900 * NS_MS, 12 * NS_SEC);
  rig_stop(&r);
}

static void test_bad_frames(void **state) {
  static const uint8_t version[8] = {9, 1, 0, 0, 0, 0, 0, 1}, large[8] = {1, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff},
                       garbage[10] = {1, 0x10, 0, 0, 0, 0, 0, 2, 0xc1, 0xc1}, unknown[9] = {1, 0xEE, 0, 0, 0, 0, 0, 1, 0x80},
                       asking[] = {1, 0xEE, 0, 0, 0, 0, 0, 10, 0x82, 0x07, 0x91, 0xc0, 0xa3, 'r', 'e', 'f', 0xcc, 200};
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *good = rig_join(&r, 0, NULL, RIG_EXT), *c = rig_join(&r, 0, NULL, RIG_EXT);
  rig_send_raw(c, slice_of(version, 8));
  refused(c, MACULA_UNSUPPORTED_VERSION);
  c = rig_join(&r, 0, NULL, RIG_EXT);
  rig_send_raw(c, slice_of(large, 8));
  refused(c, MACULA_FRAME_TOO_LARGE);
  c = rig_join(&r, 0, NULL, RIG_EXT);
  rig_send_raw(c, slice_of(garbage, 10));
  refused(c, MACULA_BAD_FRAME);
  rig_send_raw(good, slice_of(unknown, 9)); /* skipped */
  rig_send_raw(good, slice_of(asking, sizeof asking));
  struct msg m = rig_expect(good, MSG_ACK);
  assert_int_equal(m.ack.ref, 200);
  assert_true(slice_is(m.ack.code, "unknown_type"));
  assert_int_equal(rig_subscribe(good, "a.b"), 0);
  rig_stop(&r);
}

static void test_half_frame(void **state) {
  static const uint8_t half[20] = {1, 0x10, 0, 0, 0, 0, 4, 0, 0x85};
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *c = rig_join(&r, 0, NULL, RIG_EXT);
  rig_send_raw(c, slice_of(half, sizeof half));
  nanotime start = sim_net_now(r.net);
  assert_int_equal(rig_closed(c), MACULA_TIMEOUT);
  assert_in_range(sim_net_now(r.net) - start, 59 * NS_SEC, 63 * NS_SEC);
  rig_stop(&r);
}

/* CONNECT, SUBSCRIBE and PUBLISH in one piece, then everything again byte by byte. */
static void test_glued_and_cut(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.allow_unverified = true}};
  uint8_t buf[1024];
  size_t n = 0;
  struct slice topic = slice_str("go.*");
  struct msg m[3] = {{.type = MSG_CONNECT,
                      .connect = {.version = slice_str("1.0"),
                                  .node_id = slice_str("some label"),
                                  .realm_id = slice_str("test"),
                                  .caps = RIG_BASE}},
                     {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &topic}}},
                     {.type = MSG_PUBLISH, .publish = {.topic = slice_str("go.x"), .payload = slice_str("hello")}}};
  (void)state;
  rig_start(&r, &o);
  for (int i = 0; i < 3; i++) n += (size_t)msg_encode(&m[i], buf + n, sizeof buf - n);
  for (int cut = 0; cut < 2; cut++) {
    struct rig_client *c = rig_join(&r, RIG_NO_CERT, NULL, 0);
    for (size_t i = 0; i < n; i += cut ? 1 : n) {
      rig_send_raw(c, slice_of(buf + i, cut ? 1 : n));
      if (cut) rig_run(&r, NS_MS);
    }
    assert_false(rig_expect(c, MSG_PONG).pong.has_caps);
    struct msg got = rig_expect(c, MSG_PUBLISH);
    assert_true(slice_is(got.publish.payload, "hello"));
    assert_int_equal(got.publish.message_id.n, CALL_ID_LEN);
    assert_int_equal(c->counts[MSG_PUBLISH], 1 + cut * 0);
    rig_kill(c);
    rig_run(&r, 40 * NS_SEC);
  }
  rig_stop(&r);
}

/* The base's peers die of PING, ACK and whatever else they do not know. */
static void test_base_only_hears_no_extension(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.allow_unverified = true}};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *c = rig_join(&r, RIG_NO_CERT, NULL, RIG_BASE);
  struct slice bad = slice_str("te*mp");
  struct msg m = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &bad}, .ref = 1, .has_ref = true}};
  rig_send(c, &m);
  rig_publish_only(c, "a..b", slice_str("x"), 0);
  rig_publish_only(c, "a.b", slice_str("x"), 2);
  rig_run(&r, 40 * NS_SEC); /* beyond the idle timeout: the node keeps it alive */
  assert_false(c->closed);
  for (int t = 0; t < 256; t++)
    if (t != MSG_PONG) assert_int_equal(c->counts[t], 0);
  struct msg_reply a = rig_ask(c, "com.macula.diagnostics.echo", "{\"a\":1}");
  assert_false(a.is_error);
  assert_non_null(strstr((const char *)a.result.p, "{\"a\":1}"));
  a = rig_ask(c, "no.such", "{}");
  assert_true(a.is_error && slice_is(a.error.code, "no_such_procedure"));
  assert_false(a.error.has_extra);
  rig_stop(&r);
}

static void test_limit(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.max_clients = 2, .max_operators = 1}}};
  (void)state;
  rig_start(&r, &o);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(b, "x.**"), 0);
  struct rig_client *c = rig_join(&r, 0, NULL, 0);
  rig_connect(c, RIG_EXT, "test", NULL);
  refused(c, MACULA_MAX_CLIENTS_REACHED);
  assert_int_equal(count_of(&r, "clients"), 2);
  /* Others did not notice. */
  assert_int_equal(rig_publish(a, "x.y", "1", 1, false, 1), 0);
  (void)rig_expect(b, MSG_PUBLISH);
  /* One that is in may come again, and replaces itself. */
  struct rig_client *a2 = rig_client(&r, 0, a->identity);
  memcpy(a2->instance, a->instance, sizeof a->instance);
  rig_opened(a2);
  rig_connect(a2, RIG_EXT, "test", NULL);
  (void)rig_expect(a2, MSG_PONG);
  refused(a, MACULA_REPLACED);
  assert_int_equal(count_of(&r, "clients"), 2);
  /* An operator: on loopback only, and for looking only. */
  c = rig_join(&r, 0, NULL, 0);
  rig_connect(c, RIG_EXT | CAP_OPERATOR, "test", NULL);
  refused(c, MACULA_MAX_CLIENTS_REACHED);
  struct rig_client *op = rig_join(&r, RIG_LOOPBACK, NULL, RIG_EXT | CAP_OPERATOR);
  assert_false(rig_ask(op, "com.macula.node.clients", "{}").is_error);
  assert_true(slice_is(rig_ask(op, "some.thing", "{}").error.code, "not_authorized"));
  assert_int_equal(rig_subscribe(op, "x"), MACULA_NOT_AUTHORIZED);
  assert_int_equal(count_of(&r, "operators"), 1);
  /* Lists are not for everybody. */
  assert_true(slice_is(rig_ask(b, "com.macula.node.clients", "{}").error.code, "not_authorized"));
  assert_false(rig_ask(b, "com.macula.node.status", "{}").is_error);
  rig_stop(&r);
}

/* The older connection's end takes nothing from the newer one. */
static void test_takeover(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *p = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_subscribe(a, "t"), 0);
  assert_int_equal(rig_register(a, "p.q"), 0);
  sim_net_cut(r.net, &a->addr, NULL, true); /* its old connection dies without a word */
  struct rig_client *b = rig_client(&r, 0, a->identity);
  memcpy(b->instance, a->instance, sizeof a->instance);
  rig_opened(b);
  rig_connect(b, RIG_EXT, "test", NULL);
  (void)rig_expect(b, MSG_PONG);
  assert_int_equal(count_of(&r, "subscriptions"), 0);
  assert_int_equal(count_of(&r, "services"), 0);
  assert_int_equal(rig_subscribe(b, "t"), 0);
  assert_int_equal(rig_register(b, "p.q"), 0);
  rig_run(&r, 60 * NS_SEC);
  assert_int_equal(count_of(&r, "clients"), 2);
  assert_int_equal(count_of(&r, "subscriptions"), 1);
  assert_int_equal(count_of(&r, "services"), 1);
  assert_int_equal(rig_publish(p, "t", "1", 1, false, 1), 0);
  (void)rig_expect(b, MSG_PUBLISH);
  rig_stop(&r);
}

/* SIGKILL: with the idle timeout everything goes. */
static void test_killed(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *b = rig_join(&r, 0, NULL, RIG_EXT);
  for (int i = 0; i < 50; i++) {
    char name[32];
    snprintf(name, sizeof name, "s.%d", i);
    assert_int_equal(rig_subscribe(a, name), 0);
    assert_int_equal(rig_register(a, name), 0);
  }
  assert_int_equal(count_of(&r, "subscriptions"), 50);
  assert_int_equal(count_of(&r, "services"), 50);
  rig_kill(a);
  rig_run(&r, 35 * NS_SEC);
  assert_int_equal(count_of(&r, "clients"), 1);
  assert_int_equal(count_of(&r, "subscriptions"), 0);
  assert_int_equal(count_of(&r, "services"), 0);
  assert_false(b->closed);
  rig_stop(&r);
}

static void test_drain(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *a = rig_join(&r, 0, NULL, RIG_EXT), *p = rig_join(&r, 0, NULL, RIG_EXT),
                    *idle = rig_join(&r, 0, NULL, RIG_EXT);
  assert_int_equal(rig_register(p, "slow"), 0);
  rig_call(a, "slow", "{}", 5, 0);
  struct msg call = rig_expect(p, MSG_CALL);
  node_drain(r.node, sim_net_now(r.net));
  refused(idle, MACULA_SHUTTING_DOWN);
  assert_false(a->closed || p->closed);
  assert_false(node_drained(r.node, sim_net_now(r.net)));
  rig_call(a, "slow", "{}", 6, 0);
  assert_true(slice_is(rig_expect(a, MSG_REPLY).reply.error.code, "shutting_down"));
  rig_reply(p, call.call.call_id, "7");
  assert_true(slice_is(rig_expect(a, MSG_REPLY).reply.result, "7"));
  refused(a, MACULA_SHUTTING_DOWN);
  refused(p, MACULA_SHUTTING_DOWN);
  assert_true(node_drained(r.node, sim_net_now(r.net)));
  rig_stop(&r);
}

/* Frames of every type, made of random values and of valid ones with bytes changed: whatever comes, the node stays. */
static void test_hostile(void **state) {
  struct rng_seeded seeded;
  uint8_t buf[600];
  (void)state;
  rng_seeded_init(&seeded, 99);
  struct rng rng = rng_seeded_view(&seeded);
  for (int round = 0; round < 12; round++) {
    struct rig r;
    struct rig_options o = {.seed = (uint64_t)round + 1, .node = {.limits = {.max_clients = 4}}};
    rig_start(&r, &o);
    struct rig_client *good = rig_join(&r, 0, NULL, RIG_EXT);
    assert_int_equal(rig_subscribe(good, "**"), 0);
    for (int k = 0; k < 30; k++) {
      struct rig_client *c = rig_join(&r, 0, NULL, k % 4 ? RIG_EXT : 0);
      struct slice topic = slice_str("a.*");
      struct msg m[6] = {
          {.type = MSG_PUBLISH, .publish = {.topic = slice_str("a.b"), .payload = slice_str("xyz"), .qos = 1, .retain = true}},
          {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &topic}, .ref = 1, .has_ref = true}},
          {.type = MSG_CALL, .call = {.procedure = slice_str("p"), .args = slice_str("{}"), .call_id = slice_of(buf, 16)}},
          {.type = MSG_REGISTER, .reg = {.procedure = slice_str("p"), .ttl = 1}},
          {.type = MSG_REPLY, .reply = {.call_id = slice_of(buf, 16), .result = slice_str("1")}},
          {.type = MSG_CANCEL, .cancel = {.call_id = slice_of(buf, 16)}}};
      for (int f = 0; f < 20 && c->conn; f++) {
        rng_fill(rng, buf, sizeof buf);
        size_t n = FRAME_HEADER_LEN + rng_below(rng, 400);
        if (rng_below(rng, 4)) {
          n = (size_t)msg_encode(&m[rng_below(rng, 6)], buf + 32, sizeof buf - 32);
          memmove(buf, buf + 32, n);
          if (rng_below(rng, 2)) buf[rng_below(rng, n)] = (uint8_t)rng_below(rng, 256);
        } else {
          memcpy(buf, (uint8_t[8]){1, (uint8_t)rng_below(rng, 0x50), 0, 0, 0, 0, (uint8_t)((n - 8) >> 8), (uint8_t)(n - 8)}, 8);
          buf[8] = (uint8_t)(0x80 | rng_below(rng, 4));
        }
        rig_send_raw(c, slice_of(buf, n));
        if (rng_below(rng, 2)) rig_run(&r, NS_MS);
      }
      rig_run(&r, 5 * NS_MS);
      if (k % 2 && c->conn) quic_conn_close(c->conn, 0, "");
      rig_run(&r, 2 * NS_SEC);
      if (c->conn) rig_kill(c);
      rig_run(&r, k % 3 ? NS_MS : 31 * NS_SEC);
      if (count_of(&r, "clients") >= 3) rig_run(&r, 31 * NS_SEC);
    }
    assert_int_equal(rig_subscribe(good, "x"), 0);
    rig_run(&r, 40 * NS_SEC);
    assert_int_equal(count_of(&r, "clients"), 1);
    assert_int_equal(count_of(&r, "services"), 0);
    assert_int_equal(count_of(&r, "subscriptions"), 2);
    assert_int_equal(count_of(&r, "pending_calls"), 0);
    rig_stop(&r);
  }
}

/* Unfinished frames of many fill the pool: the oldest go, and a client with work to do is served. */
static void test_half_frames_flood(void **state) {
  struct rig r;
  struct rig_options o = {.node = {.limits = {.receive_pool = 512 << 10}}};
  uint8_t *half = calloc(1, 60000);
  (void)state;
  memcpy(half, (uint8_t[8]){1, 0x10, 0, 0, 0, 0x0f, 0, 0}, 8); /* 983,040 bytes are announced */
  rig_start(&r, &o);
  struct rig_client *good = rig_join(&r, 0, NULL, RIG_EXT);
  for (int i = 0; i < 30; i++) {
    struct rig_client *c = rig_join(&r, 0, NULL, RIG_EXT);
    rig_send_raw(c, slice_of(half, 60000));
    rig_run(&r, 500 * NS_MS);
    assert_int_equal(rig_subscribe(good, "x"), 0);
  }
  char *big = malloc(50001);
  memset(big, 'x', 50000);
  big[50000] = 0;
  assert_int_equal(rig_publish(good, "y", big, 1, false, 1), 0);
  assert_false(good->closed);
  rig_run(&r, 65 * NS_SEC);
  assert_int_equal(count_of(&r, "clients"), 1);
  free(big);
  free(half);
  rig_stop(&r);
}

/* Allocation failure at every n: no crash, nothing left, and the node goes on. */
static void test_no_memory(void **state) {
  (void)state;
  for (uint64_t n = 1; n < 40; n++) {
    struct mem_fail fail = {.countdown = n};
    struct quic_identity *id;
    struct node *node;
    struct rng_seeded seeded;
    rng_seeded_init(&seeded, n);
    assert_int_equal(quic_identity_generate(&id), 0);
    struct node_config cfg = {.rng = rng_seeded_view(&seeded), .identity = id, .name = "n", .realm = "r", .fail = &fail};
    int err = node_new(&cfg, 1, &node);
    assert_true(err == 0 || err == MACULA_ENOMEM);
    if (!err) node_free(node);
    quic_identity_unref(id);
  }
  for (uint64_t n = 1; n < 120; n++) {
    struct rig r;
    struct mem_fail fail = {0};
    struct rig_options o = {.node = {.fail = &fail}};
    rig_start(&r, &o);
    fail.countdown = n;
    struct rig_client *c = rig_client(&r, 0, NULL);
    rig_run(&r, NS_SEC);
    if (c->open && !c->closed) {
      rig_connect(c, RIG_EXT, "test", NULL);
      rig_run(&r, 100 * NS_MS);
    }
    if (c->open && !c->closed) {
      struct slice t = slice_str("a.b.c");
      struct msg m = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &t}, .own = true}};
      rig_send(c, &m);
      m = (struct msg){.type = MSG_REGISTER, .reg = {.procedure = slice_str("p")}};
      rig_send(c, &m);
      rig_publish_only(c, "a.b.c", slice_str("hello"), 1);
      rig_call(c, "p", "{}", 1, 100);
      rig_run(&r, NS_SEC);
    }
    fail.countdown = 0;
    struct rig_client *d = rig_join(&r, 0, NULL, RIG_EXT);
    assert_int_equal(rig_subscribe(d, "x"), 0);
    rig_stop(&r);
  }
}

static void test_render(void **state) {
  struct rig r;
  char *text;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *c = rig_join(&r, RIG_LOOPBACK, NULL, RIG_EXT);
  for (int i = 0; i < 5; i++) {
    char name[32];
    snprintf(name, sizeof name, "s.%d.*", i);
    assert_int_equal(rig_subscribe(c, name), 0);
  }
  assert_int_equal(rig_register(c, "p.q"), 0);
  static const char *const lists[] = {"clients", "services", "subs", "peers", "memory", "status"};
  for (size_t i = 0; i < 6; i++) {
    assert_int_equal(node_render(r.node, lists[i], 0, 0, sim_net_now(r.net), &text), 0);
    json_t *j = json_loads(text, 0, NULL);
    assert_non_null(j);
    if (i < 4) assert_true(json_is_array(json_object_get(j, lists[i])));
    json_decref(j);
    free(text);
  }
  assert_int_equal(node_render(r.node, "subs", 3, 1, sim_net_now(r.net), &text), 0);
  json_t *j = json_loads(text, 0, NULL);
  assert_int_equal(json_integer_value(json_object_get(j, "total")), 5);
  assert_int_equal(json_array_size(json_object_get(j, "subs")), 1);
  assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(j, "subs"), 0), "pattern")), "s.3.*");
  json_decref(j);
  free(text);
  assert_int_equal(node_render(r.node, "nonsense", 0, 0, sim_net_now(r.net), &text), MACULA_ENOTFOUND);
  assert_int_equal(node_metrics(r.node, sim_net_now(r.net), &text), 0);
  assert_non_null(strstr(text, "macula_table_entries{table=\"clients\"} 1\n"));
  free(text);
  rig_stop(&r);
}

static void shown_as(struct rig *r, const char *list, const char *name) {
  char *text;
  assert_int_equal(node_render(r->node, list, 0, 0, sim_net_now(r->net), &text), 0);
  json_t *j = json_loads(text, 0, NULL);
  assert_non_null(j);
  assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(j, list), 0), "name")), name);
  json_decref(j);
  free(text);
}

/* Names are what clients and nodes choose: controls and what is no UTF-8 are not kept, and of a long one whole characters. */
static void test_labels(void **state) {
  static const char *const names[][2] = {{"\x1b]0;x\a\xc2\x9b"
                                          "2J\xff\x7f"
                                          "caf\u00e9\r\n",
                                          "]0;x2Jcaf\u00e9"},
                                         {"", ""},
                                         {"\xc2\x85\n", ""},
                                         {"0123456789012345678901234567890123456789012345678901234567890123456789",
                                          "0123456789012345678901234567890123456789012345678901234567890123"},
                                         {"012345678901234567890123456789012345678901234567890123456789012\u20ac",
                                          "012345678901234567890123456789012345678901234567890123456789012"}};
  (void)state;
  for (size_t i = 0; i < 2 * sizeof names / sizeof names[0]; i++) {
    struct rig r;
    bool is_node = i % 2;
    rig_start(&r, NULL);
    struct rig_client *c = rig_join(&r, 0, NULL, 0);
    struct msg m = {.type = MSG_CONNECT,
                    .connect = {.version = slice_str("1.0"),
                                .node_id = slice_of(quic_identity_id(c->identity)->b, ID_LEN),
                                .realm_id = slice_str("test"),
                                .caps = is_node ? RIG_EXT | CAP_NODE : RIG_EXT,
                                .instance = slice_of(c->instance, sizeof c->instance),
                                .name = slice_str(names[i / 2][0])}};
    rig_send(c, &m);
    (void)rig_expect(c, MSG_PONG);
    shown_as(&r, is_node ? "peers" : "clients", names[i / 2][1]);
    rig_stop(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_connect),        cmocka_unit_test(test_certificate_ends),
      cmocka_unit_test(test_refusals),       cmocka_unit_test(test_refusals_are_told),
      cmocka_unit_test(test_refusals_flood), cmocka_unit_test(test_never_connects),
      cmocka_unit_test(test_bad_frames),     cmocka_unit_test(test_half_frame),
      cmocka_unit_test(test_glued_and_cut),  cmocka_unit_test(test_base_only_hears_no_extension),
      cmocka_unit_test(test_limit),          cmocka_unit_test(test_takeover),
      cmocka_unit_test(test_killed),         cmocka_unit_test(test_drain),
      cmocka_unit_test(test_hostile),        cmocka_unit_test(test_half_frames_flood),
      cmocka_unit_test(test_no_memory),      cmocka_unit_test(test_render),
      cmocka_unit_test(test_labels),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
