/* Requests and streams over HTTP, as the node's sessions that they are; libmicrohttpd's part is in tests/e2e/http_door.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "access_text.h"
#include "base/err.h"
#include "base/sha256.h"
#include "node/check.h"
#include "node/doors/http_state.h"
#include "node/session/session.h"
#include "node_rig.h"
#include "unit/broken.h"

#define HASH "$pbkdf2-sha256$1000$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define TOKEN "0123456789abcdef-http"
#define NATIVE "0123456789abcdef-native"
#define ACCESS                                                                                                                 \
  "grants:\n"                                                                                                                  \
  "  some: {pub: ['a.${user}.**'], sub: ['a.**'], call: ['**']}\n"                                                             \
  "  ops: {role: operator, sub: ['**']}\n"                                                                                     \
  "users: {alice: {password: '" HASH "', grant: some}}\n"                                                                      \
  "tokens: [{token: " TOKEN ", grant: ops, door: http}, {token: " NATIVE ", grant: ops}]\n"

/* ---- who asks --------------------------------------------------------------------------------------------------------------
 */
static nanotime now_of(struct rig *r) { return sim_net_now(r->net); }

static void begin(struct rig *r, const struct rig_options *o) {
  rig_start(r, o ? o : &(struct rig_options){0});
  assert_int_equal(node_http_open(r->node), 0);
}

static void settle(struct rig *r) {
  HOLDS(node_check(r->node));
  rig_run(r, NS_MS);
  HOLDS(node_check(r->node));
}

static struct http_login from(const char *at) {
  struct http_login l = {0};
  assert_int_equal(addr_parse(at, 1, &l.from), 0);
  return l;
}

struct asked {
  struct http_ask a;
  unsigned times;
  int err;
  char text[512], result[512];
};

static void on_done(struct http_ask *a, const struct http_result *r) {
  struct asked *k = container_of(a, struct asked, a);
  k->times++;
  k->err = r->err;
  snprintf(k->text, sizeof k->text, "%.*s: %.*s", (int)r->code.n, (const char *)r->code.p, (int)r->text.n,
           (const char *)r->text.p);
  snprintf(k->result, sizeof k->result, "%.*s", (int)r->result.n, (const char *)r->result.p);
}

static struct http_client *get(struct rig *r, const struct http_login *l) {
  struct http_client *c;
  struct asked k = {.a.done = on_done};
  assert_int_equal(http_client_get(r->node, l, now_of(r), &c), 0);
  http_ask_login(&k.a, c);
  settle(r);
  assert_int_equal(k.times, 1);
  return c;
}

static struct http_client *local(struct rig *r) {
  struct http_login l = from("127.0.0.1:1");
  struct http_client *c = get(r, &l);
  assert_int_equal(http_client_standing(c), HTTP_IN);
  return c;
}

static struct msg_publish message(const char *topic, const char *payload, int qos, bool retain) {
  return (struct msg_publish){.topic = slice_str(topic), .payload = slice_str(payload), .qos = (uint64_t)qos, .retain = retain};
}

static struct asked publish(struct rig *r, struct http_client *c, const char *topic, const char *payload, int qos,
                            bool retain) {
  struct asked k = {.a.done = on_done};
  struct msg_publish m = message(topic, payload, qos, retain);
  http_ask_publish(&k.a, c, &m, now_of(r));
  settle(r);
  assert_int_equal(k.times, 1);
  return k;
}

/* ---- streams ---------------------------------------------------------------------------------------------------------------
 */
struct reader {
  struct http_stream *st;
  unsigned opened, ready;
  int err;
  bool over;
  char text[65536];
  size_t len;
};

static void on_opened(void *ctx, const struct http_result *r) {
  struct reader *e = ctx;
  e->opened++;
  e->err = r->err;
}
static void on_ready(void *ctx) { ((struct reader *)ctx)->ready++; }

static void open_as(struct rig *r, struct reader *e, const struct http_login *l, const char *pattern, bool last, bool gap) {
  struct http_stream_options o = {.pattern = slice_str(pattern), .last = last, .gap = gap};
  struct http_stream_owner owner = {on_opened, on_ready, e};
  *e = (struct reader){0};
  assert_int_equal(http_stream_new(r->node, l, &o, &owner, now_of(r), &e->st), 0);
  settle(r);
  assert_int_equal(e->opened, 1);
}

static void open_local(struct rig *r, struct reader *e, const char *pattern, bool last, bool gap) {
  struct http_login l = from("127.0.0.1:1");
  open_as(r, e, &l, pattern, last, gap);
  assert_int_equal(e->err, 0);
}

/* All that is there now; by pieces of so many bytes. */
static const char *read_all(struct rig *r, struct reader *e, size_t piece) {
  size_t n;
  e->len = 0;
  do {
    assert_true(e->len + piece < sizeof e->text);
    n = http_stream_read(e->st, e->text + e->len, piece, now_of(r), &e->over);
    e->len += n;
    settle(r);
  } while (n);
  e->text[e->len] = 0;
  return e->text;
}

static void shut(struct rig *r, struct reader *e) {
  http_stream_free(e->st, now_of(r));
  settle(r);
}

#define HAS(text, part) assert_non_null(strstr(text, part))

/* ---- tests -----------------------------------------------------------------------------------------------------------------
 */
static void test_publish_and_subscribe(void **state) {
  struct rig r;
  struct reader e;
  (void)state;
  begin(&r, NULL);
  struct rig_client *q = rig_join(&r, 0, NULL, RIG_EXT);
  struct http_client *c = local(&r);
  open_local(&r, &e, "plant.**", false, true);
  HAS(read_all(&r, &e, 7), "event: gap\ndata: {");
  assert_int_equal(publish(&r, c, "plant.a", "21.5", 0, false).err, 0);
  const char *text = read_all(&r, &e, 7);
  HAS(text, "event: message\nid: ");
  HAS(text, "{\"topic\":\"plant.a\",\"payload\":\"21.5\",\"qos\":0,\"retain\":false,\"publisher\":{\"kind\":\"anonymous\"");
  assert_int_equal(rig_publish(q, "plant/b", "\x01\"\\\n", 1, false, 7), 0);
  text = read_all(&r, &e, 4096);
  HAS(text, "\"payload_base64\":\"ASJcCg==\"");
  HAS(text, "\"publisher\":{\"kind\":\"key\"");
  assert_int_equal(rig_subscribe(q, "up.*"), 0);
  assert_int_equal(publish(&r, c, "up.x", "1", 1, false).err, 0);
  assert_true(slice_is(rig_expect(q, MSG_PUBLISH).publish.payload, "1"));
  struct asked bad = publish(&r, c, "a..b", "x", 0, false);
  assert_int_equal(bad.err, MACULA_INVALID_TOPIC);
  HAS(bad.text, "segment 2");
  char *json;
  assert_int_equal(node_render(r.node, "clients", 0, 0, now_of(&r), &json), 0);
  HAS(json, "\"door\":\"http\",\"protocol\":\"requests\"");
  HAS(json, "\"door\":\"http\",\"protocol\":\"events\"");
  node_text_free(json);
  http_client_put(c);
  shut(&r, &e);
  rig_run(&r, HTTP_LINGER + 2 * NS_SEC); /* nobody asks any more */
  assert_int_equal(r.node->http->count, 0);
  rig_stop(&r);
}

/* A session is shared by who shows the same from the same address, and by nobody else. */
static void test_shared(void **state) {
  struct rig r;
  (void)state;
  begin(&r, NULL);
  struct http_client *a = local(&r), *b = local(&r);
  struct http_login other = from("127.0.0.2:1"), named = from("127.0.0.1:1");
  named.client = slice_str("c1");
  struct http_client *c = get(&r, &other), *d = get(&r, &named);
  assert_ptr_equal(a, b);
  assert_true(a != c && a != d && c != d);
  http_client_put(a);
  http_client_put(b);
  http_client_put(c);
  http_client_put(d);
  rig_stop(&r);
}

/* Names without end, as anybody may give himself, keep no places. */
static void test_many_names(void **state) {
  struct rig r;
  char name[16];
  (void)state;
  begin(&r, &(struct rig_options){.node = {.limits = {.http_connections = 8}}});
  for (int i = 0; i < 100; i++) {
    struct http_login l = from("127.0.0.1:1");
    snprintf(name, sizeof name, "n%d", i);
    l.client = slice_str(name);
    struct http_client *c = get(&r, &l);
    assert_int_equal(http_client_standing(c), HTTP_IN);
    http_client_put(c);
    assert_true(r.node->http->count <= 10);
  }
  rig_stop(&r);
}

static void test_calls(void **state) {
  struct rig r;
  (void)state;
  begin(&r, NULL);
  struct rig_client *q = rig_join(&r, 0, NULL, RIG_EXT);
  struct http_client *c = local(&r);
  struct asked k = {.a.done = on_done};
  assert_int_equal(rig_register(q, "math.add"), 0);
  http_ask_call(&k.a, c, slice_str("math.add"), slice_str("{\"a\":1}"), 5000, now_of(&r));
  struct msg call = rig_expect(q, MSG_CALL);
  assert_true(slice_is(call.call.args, "{\"a\":1}"));
  assert_int_equal(k.times, 0);
  rig_reply(q, call.call.call_id, "3");
  rig_run(&r, 100 * NS_MS);
  assert_int_equal(k.times, 1);
  assert_string_equal(k.result, "3");
  k = (struct asked){.a.done = on_done};
  http_ask_call(&k.a, c, slice_str("math.none"), slice_str("{}"), 5000, now_of(&r));
  settle(&r);
  assert_int_equal(k.err, MACULA_NO_SUCH_PROCEDURE);
  k = (struct asked){.a.done = on_done};
  http_ask_call(&k.a, c, slice_str("math.add"), slice_str("{}"), 60000, now_of(&r));
  call = rig_expect(q, MSG_CALL);
  http_ask_drop(&k.a, now_of(&r)); /* whoever asked has gone */
  rig_expect(q, MSG_CANCEL);
  assert_int_equal(k.times, 0);
  http_client_put(c);
  rig_stop(&r);
}

static void test_last(void **state) {
  struct rig r;
  struct reader e;
  (void)state;
  begin(&r, NULL);
  struct http_client *c = local(&r);
  open_local(&r, &e, "a.**", true, false);
  assert_string_equal(read_all(&r, &e, 100), "[]\n");
  assert_true(e.over);
  shut(&r, &e);
  for (int i = 0; i < 3; i++) {
    char topic[] = "a.0";
    topic[2] = (char)('0' + i);
    assert_int_equal(publish(&r, c, topic, topic, 1, true).err, 0);
  }
  open_local(&r, &e, "a.**", true, false);
  const char *text = read_all(&r, &e, 100);
  assert_true(e.over && text[0] == '[' && !strcmp(text + strlen(text) - 2, "]\n"));
  HAS(text, "[{\"topic\":\"a.");
  HAS(text, ",\n{\"topic\":\"a.");
  assert_null(strstr(text, "event:"));
  shut(&r, &e);
  http_client_put(c);
  rig_stop(&r);
}

/* Who does not read loses its own, with QoS 1 as well, and is told; nobody waits, and nothing grows. */
static void test_slow(void **state) {
  struct rig r;
  struct reader e;
  (void)state;
  begin(&r, &(struct rig_options){.node = {.limits = {.client_queue = 65536}}});
  struct http_client *c = local(&r);
  char payload[8193];
  memset(payload, 'x', sizeof payload - 1);
  payload[sizeof payload - 1] = 0;
  open_local(&r, &e, "a", false, false);
  for (int i = 0; i < 200; i++) {
    struct asked k = {.a.done = on_done};
    struct msg_publish m = message("a", payload, i & 1, false);
    http_ask_publish(&k.a, c, &m, now_of(&r));
    for (int t = 0; t < 50 && !k.times; t++) rig_run(&r, 100 * NS_MS);
    assert_int_equal(k.times, 1);
    assert_int_equal(k.err, 0);
    HOLDS(node_check(r.node));
    assert_true(e.st->waiting_bytes <= DOOR_UNSENT + 2 * sizeof payload);
  }
  size_t dropped = 0, came = 0;
  for (;;) {
    size_t n = http_stream_read(e.st, e.text, sizeof e.text - 1, now_of(&r), &e.over);
    if (!n) break;
    e.text[n] = 0;
    for (const char *p = e.text; (p = strstr(p, "event: message")); p++) came++;
    const char *told = strstr(e.text, "event: dropped\ndata: {\"count\":");
    if (told) dropped += strtoul(told + 30, NULL, 10);
    rig_run(&r, 2 * NS_SEC);
  }
  assert_true(came && dropped);
  assert_int_equal(came + dropped, 200); /* each came, or was told to have been dropped */
  assert_false(e.over);
  assert_int_equal(publish(&r, c, "a", "new", 1, false).err, 0); /* it goes on */
  HAS(read_all(&r, &e, 4096), "\"payload\":\"new\"");
  shut(&r, &e);
  http_client_put(c);
  rig_stop(&r);
}

static void test_comments_and_end(void **state) {
  struct rig r;
  struct reader e;
  (void)state;
  begin(&r, NULL);
  open_local(&r, &e, "a", false, false);
  assert_string_equal(read_all(&r, &e, 100), ":\n\n"); /* it begins */
  assert_string_equal(read_all(&r, &e, 100), "");
  rig_run(&r, HTTP_ALIVE + 2 * NS_SEC);
  assert_int_equal(e.ready, 1);
  assert_string_equal(read_all(&r, &e, 100), ":\n\n");
  node_drain(r.node, now_of(&r));
  rig_run(&r, 3 * NS_SEC);
  HAS(read_all(&r, &e, 4096), "event: end\ndata: {\"code\":\"shutting_down\"");
  assert_true(e.over);
  shut(&r, &e);
  rig_stop(&r);
}

/* It is let in, and the node goes away, in the same turn: nothing is asked of a session that has ended. */
static void test_end_in_the_turn_of_the_welcome(void **state) {
  (void)state;
  for (int way = 0; way < 3; way++) {
    struct rig r;
    struct reader e = {0};
    struct http_login l = from("127.0.0.1:1");
    struct http_stream_options o = {.pattern = slice_str("a")};
    struct http_stream_owner owner = {on_opened, on_ready, &e};
    begin(&r, NULL);
    assert_int_equal(http_stream_new(r.node, &l, &o, &owner, now_of(&r), &e.st), 0);
    struct http_client *c = e.st->client;
    assert_true(c->s && !c->in);
    if (way == 0) node_drain(r.node, now_of(&r));
    if (way == 1) session_close(c->s, MACULA_NOT_AUTHORIZED, "the access file has changed");
    if (way == 2) session_close(c->s, MACULA_ECLOSED, "an operator ended it");
    c->welcome = true; /* its PONG has come, too */
    if (way == 0) session_close(c->s, MACULA_SHUTTING_DOWN, NULL);
    rig_run(&r, 3 * NS_SEC);
    HOLDS(node_check(r.node));
    assert_int_equal(e.opened, 1);
    assert_int_not_equal(e.err, 0);
    assert_int_equal(http_client_standing(c), HTTP_GONE);
    http_dirty(c); /* and later neither */
    settle(&r);
    HAS(read_all(&r, &e, 4096), "event: end");
    shut(&r, &e);
    rig_stop(&r);
  }
}

/* ---- large messages --------------------------------------------------------------------------------------------------------
 */
#define LARGE 300000u
/* Until a large frame waits for the reader: those come when it has asked. */
static void await(struct rig *r, struct reader *e) {
  for (int i = 0; i < 1000 && e->st->waiting_bytes < LARGE; i++) {
    assert_int_equal(http_stream_read(e->st, e->text, 1, now_of(r), &e->over), 0);
    settle(r);
  }
  assert_true(e->st->waiting_bytes >= LARGE);
}

/* Becomes text as it is read, by pieces that do not grow with it; nothing of it is lost, nobody's stream is ended. */
static void test_large(void **state) {
  static const char *const units[] = {"\n", "x", "\xC3\xA9", "\x01", "\xFF", "\x7F"};
  static const char *const written[] = {"\\n", "x", "\xC3\xA9", NULL, NULL, "\\u007f"};
  struct rig r;
  struct reader e;
  char *payload = malloc(LARGE), *text = malloc(8 * LARGE);
  (void)state;
  assert_non_null(payload);
  assert_non_null(text);
  begin(&r, &(struct rig_options){.node = {.limits = {.client_queue = 1 << 20}}});
  struct http_client *c = local(&r);
  open_local(&r, &e, "a", false, false);
  (void)read_all(&r, &e, 100);
  for (size_t k = 0; k < sizeof units / sizeof units[0]; k++) {
    size_t unit = strlen(units[k]), len = 0, most = 0, n;
    for (size_t i = 0; i < LARGE; i++) payload[i] = units[k][i % unit];
    struct asked a = {.a.done = on_done};
    struct msg_publish m = message("a", "", 1, false);
    m.payload = slice_of(payload, LARGE);
    http_ask_publish(&a.a, c, &m, now_of(&r));
    settle(&r);
    assert_int_equal(a.times, 1);
    assert_int_equal(a.err, 0);
    await(&r, &e);
    while ((n = http_stream_read(e.st, text + len, 4096, now_of(&r), &e.over))) {
      len += n;
      if (e.st->text.cap + e.st->tail.cap > most) most = e.st->text.cap + e.st->tail.cap;
      if (len == 4096) assert_true(e.st->now && e.st->left.n > LARGE - 3 * 4096);
      assert_true(len < 8 * LARGE - 4096);
      settle(&r);
    }
    assert_true(most < 4 * HTTP_TEXT_ESCAPED * HTTP_PIECE);
    text[len] = 0;
    const char *at = strstr(text, written[k] ? "\"payload\":\"" : "\"payload_base64\":\"");
    assert_non_null(at);
    at = strchr(strchr(at, ':'), '"') + 1;
    size_t each = written[k] ? strlen(written[k]) : 0, times = LARGE / unit;
    for (size_t i = 0; each && i < times; i++) assert_memory_equal(at + i * each, written[k], each);
    at += each ? each * times : LARGE / 3 * 4;
    assert_memory_equal(at, "\",\"qos\":1,", 10);
    assert_string_equal(text + len - 3, "}\n\n");
    assert_int_equal(e.st->lost, 0);
  }
  shut(&r, &e);
  http_client_put(c);
  rig_stop(&r);
  free(payload);
  free(text);
}

static size_t list_of(struct rig *r, struct reader *e, char *text, size_t cap) {
  size_t len = 0;
  for (int i = 0; i < 1000 && !e->over; i++) {
    len += http_stream_read(e->st, text + len, cap - len - 1, now_of(r), &e->over);
    settle(r);
  }
  text[len] = 0;
  return len;
}

/* A list has its end when all of it came, however large it is written and whatever is published meanwhile; else it has none. */
static void test_last_is_whole_or_has_no_end(void **state) {
  enum { TEXT = 4 * LARGE * 6 };
  struct rig r;
  struct reader e;
  char *payload = malloc(LARGE), *text = malloc(TEXT);
  (void)state;
  assert_non_null(payload);
  assert_non_null(text);
  memset(payload, '\n', LARGE);
  begin(&r, &(struct rig_options){.node = {.limits = {.client_queue = 400 << 10}}});
  struct http_client *c = local(&r);
  for (int i = 0; i < 3; i++) {
    struct asked a = {.a.done = on_done};
    char topic[] = "a.0";
    topic[2] = (char)('0' + i);
    struct msg_publish m = message(topic, "", 1, true);
    m.payload = slice_of(payload, LARGE);
    http_ask_publish(&a.a, c, &m, now_of(&r));
    settle(&r);
    assert_int_equal(a.err, 0);
  }
  open_local(&r, &e, "a.*", true, false);
  for (int i = 0; i < 50; i++) assert_int_equal(publish(&r, c, "a.new", "later", i & 1, false).err, 0);
  size_t len = list_of(&r, &e, text, TEXT);
  assert_true(e.over && !http_stream_is_cut(e.st) && text[0] == '[');
  assert_string_equal(text + len - 3, "}]\n");
  assert_true(len > 6u * LARGE && !strstr(text, "later"));
  HAS(text, "\"topic\":\"a.0\"");
  HAS(text, "\"topic\":\"a.1\"");
  HAS(text, "\"topic\":\"a.2\"");
  shut(&r, &e);

  open_local(&r, &e, "a.*", true, false);
  await(&r, &e);
  uint64_t pool = r.node->limits.http_pool; /* there is no room for the first, */
  r.node->limits.http_pool = 0;
  len = http_stream_read(e.st, text, 1, now_of(&r), &e.over);
  r.node->limits.http_pool = pool;
  len += list_of(&r, &e, text + len, TEXT - len);
  assert_true(e.over && http_stream_is_cut(e.st));
  assert_true(!len || (text[0] == '[' && text[len - 1] != '\n')); /* what comes begins as a list, but does not end as one */
  shut(&r, &e);
  http_client_put(c);
  rig_stop(&r);
  free(payload);
  free(text);
}

/* ---- trust -----------------------------------------------------------------------------------------------------------------
 */
static struct {
  uint8_t key[PASSWORD_KEY_LEN];
  bool good, asked;
} checker;

static int check(void *ctx, struct slice hash, struct slice password, nanotime now, bool may_wait,
                 uint8_t ret_key[PASSWORD_KEY_LEN], bool *ret_known) {
  uint8_t digest[SHA256_LEN];
  (void)ctx, (void)now, (void)may_wait, (void)hash;
  sha256_of(password, digest);
  memcpy(checker.key, digest, PASSWORD_KEY_LEN);
  memcpy(ret_key, digest, PASSWORD_KEY_LEN);
  checker.good = slice_is(password, "secret");
  checker.asked = true;
  *ret_known = false;
  return 0;
}

static struct http_login alice(const char *password) {
  struct http_login l = from("192.0.2.1:1");
  l.user = slice_str("alice");
  l.password = slice_str(password);
  return l;
}

static struct http_client *try_in(struct rig *r, const struct http_login *l, struct asked *k) {
  struct http_client *c;
  *k = (struct asked){.a.done = on_done};
  checker.asked = false;
  assert_int_equal(http_client_get(r->node, l, now_of(r), &c), 0);
  http_ask_login(&k->a, c);
  settle(r);
  if (checker.asked) assert_int_equal(k->times, 0);
  if (checker.asked) node_password_checked(r->node, checker.key, checker.good);
  settle(r);
  assert_int_equal(k->times, 1);
  return c;
}

static void test_users_and_tokens(void **state) {
  struct rig r;
  struct reader e;
  struct asked k;
  uint8_t digest[SHA256_LEN];
  (void)state;
  begin(&r, &(struct rig_options){.access = ACCESS, .node = {.process = {.password = check}}});
  struct http_login l = alice("secret");
  struct http_client *a = try_in(&r, &l, &k);
  assert_int_equal(http_client_standing(a), HTTP_IN);
  assert_true(slice_is(http_client_user(a), "alice") && !http_client_is_operator(a));
  assert_int_equal(publish(&r, a, "a.alice.1", "x", 0, false).err, 0);
  struct asked no = publish(&r, a, "a.bob.1", "x", 0, false);
  assert_int_equal(no.err, MACULA_FORBIDDEN);
  HAS(no.text, "pub 'a.bob.1' is not allowed");
  assert_ptr_equal(try_in(&r, &l, &k), a); /* and is not checked again */
  assert_false(checker.asked);
  http_client_put(a);

  l = alice("wrong");
  struct http_client *b = try_in(&r, &l, &k);
  assert_int_equal(k.err, MACULA_NOT_AUTHORIZED);
  HAS(k.text, "the password of the user 'alice' is wrong");
  assert_int_equal(http_client_standing(b), HTTP_GONE);
  http_client_put(b);

  uint8_t vouched[PASSWORD_KEY_LEN]; /* as by a cookie */
  assert_true(node_vouch(r.node, slice_str("alice"), vouched) && !node_vouch(r.node, slice_str("bob"), vouched));
  l = alice("");
  l.password = SLICE_NONE;
  l.vouched = vouched;
  b = try_in(&r, &l, &k);
  assert_true(k.err == 0 && !checker.asked && slice_is(http_client_user(b), "alice"));
  http_client_put(b);
  vouched[0] ^= 1; /* of another password */
  b = try_in(&r, &l, &k);
  assert_int_equal(k.err, MACULA_NOT_AUTHORIZED);
  http_client_put(b);

  l = from("192.0.2.1:1");
  l.token = digest;
  sha256_of(slice_str(TOKEN), digest);
  b = try_in(&r, &l, &k);
  assert_true(k.err == 0 && http_client_is_operator(b));
  http_client_put(b);
  sha256_of(slice_str(NATIVE), digest);
  b = try_in(&r, &l, &k);
  assert_int_equal(k.err, MACULA_NOT_AUTHORIZED);
  HAS(k.text, "never sent");
  http_client_put(b);

  l = from("192.0.2.1:1"); /* nothing is shown */
  open_as(&r, &e, &l, "a.**", false, false);
  assert_int_equal(e.err, MACULA_NOT_AUTHORIZED);
  shut(&r, &e);
  l.grant = slice_str("some"); /* an operator asked for it */
  open_as(&r, &e, &l, "a.**", false, false);
  assert_int_equal(e.err, 0);
  shut(&r, &e);
  open_as(&r, &e, &l, "b.**", false, false);
  assert_int_equal(e.err, MACULA_FORBIDDEN);
  shut(&r, &e);

  struct access *other = access_text("grants: {none: {}}\nanonymous: none\n");
  assert_int_equal(node_reload(r.node, &(struct node_reload){.access = other}), 0);
  access_unref(other);
  rig_run(&r, 2 * NS_SEC);
  assert_int_equal(http_client_standing(a), HTTP_GONE); /* the user is gone */
  http_client_put(a);
  rig_stop(&r);
}

/* Whatever allocation fails: whoever asks is told, and nothing is left. */
static void test_no_memory(void **state) {
  struct rig r;
  (void)state;
  struct mem_fail fail = {0};
  begin(&r, &(struct rig_options){.node = {.fail = &fail}});
  for (uint64_t n = 1; n < 60; n++) {
    struct http_login l = from("127.0.0.1:1");
    struct http_client *c = NULL;
    struct reader e = {0};
    struct asked k = {.a.done = on_done};
    struct msg_publish m = message("a", "x", 1, false);
    struct http_stream_owner owner = {on_opened, on_ready, &e};
    fail = (struct mem_fail){.countdown = n};
    if (http_stream_new(r.node, &l, &(struct http_stream_options){.pattern = slice_str("a")}, &owner, now_of(&r), &e.st))
      e.st = NULL;
    if (!http_client_get(r.node, &l, now_of(&r), &c)) http_ask_publish(&k.a, c, &m, now_of(&r));
    settle(&r);
    bool over;
    char buf[512];
    while (e.st && http_stream_read(e.st, buf, sizeof buf, now_of(&r), &over)) settle(&r);
    fail = (struct mem_fail){0};
    rig_run(&r, NS_SEC);
    assert_true(!c || k.times == 1);
    if (e.st) shut(&r, &e);
    if (c) http_client_put(c);
    rig_run(&r, HTTP_LINGER + 2 * NS_SEC);
    assert_int_equal(r.node->http->count, 0);
    HOLDS(node_check(r.node));
  }
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_publish_and_subscribe),
      cmocka_unit_test(test_shared),
      cmocka_unit_test(test_many_names),
      cmocka_unit_test(test_calls),
      cmocka_unit_test(test_last),
      cmocka_unit_test(test_slow),
      cmocka_unit_test(test_comments_and_end),
      cmocka_unit_test(test_end_in_the_turn_of_the_welcome),
      cmocka_unit_test(test_large),
      cmocka_unit_test(test_last_is_whole_or_has_no_end),
      cmocka_unit_test(test_users_and_tokens),
      cmocka_unit_test(test_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
