/* libmacula as a program uses it: threads and embedded, blocking and not, against a node on real loopback. */
#include <dirent.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../ipv6.h"
#include "../trust/passes.h"
#include "client/internal.h"
#include "lib/lib.h"
#include "lib/testing.h"
#include "node.h"

#define WAIT_MS 120000 /* of what comes at once, unless the machine stands still */

static char folder[] = "/tmp/macula-lib-XXXXXX";

struct seen {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned messages, results, rooms, states[4];
  int err;
  macula_client client; /* the last one that a callback was given */
};
#define SEEN                                                                                                                   \
  { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER }

static void see(struct seen *s, macula_client client, unsigned *count, int err) {
  pthread_mutex_lock(&s->lock);
  (*count)++;
  s->err = err;
  s->client = client;
  pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->lock);
}
static bool wait_for(struct seen *s, unsigned *count, unsigned want) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += WAIT_MS / 1000;
  pthread_mutex_lock(&s->lock);
  while (*count < want && pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0) {
  }
  bool there = *count >= want;
  pthread_mutex_unlock(&s->lock);
  return there;
}
static void on_message(void *ctx, macula_client client, const macula_message *m) {
  struct seen *s = ctx;
  (void)m;
  see(s, client, &s->messages, 0);
}
static void on_result(void *ctx, macula_client client, const macula_result *r) {
  struct seen *s = ctx;
  see(s, client, &s->results, r->err);
}
static void on_state(void *ctx, macula_client client, macula_state state, int err, const char *text) {
  struct seen *s = ctx;
  (void)text;
  see(s, client, &s->states[state], err);
}
static void on_request(void *ctx, macula_client client, const macula_request *r) {
  (void)ctx;
  /* Blocking functions say no on the loop's thread, since they would wait for themselves. */
  char *data;
  size_t len;
  assert_int_equal(macula_call_sync(client, "a", "1", 1, NULL, WAIT_MS, &data, &len), MACULA_EINVAL);
  assert_int_equal(macula_publish_sync(client, "a", "1", 1, NULL, WAIT_MS), MACULA_EINVAL);
  assert_int_equal(macula_connect_wait(client, 1), MACULA_EINVAL);
  assert_int_equal(macula_reply(client, r->id, r->args, r->len), 0);
  assert_int_equal(macula_reply(client, r->id, r->args, r->len), MACULA_ENOTFOUND);
}

static macula_options options(const struct test_node *n, macula_identity *id) {
  return (macula_options){MACULA_INIT(macula_options), .server = n->at, .identity = id, .known_nodes = "",
                          .backoff_max_ms = 200};
}

static const macula_call_options patient = {MACULA_INIT(macula_call_options), .timeout_ms = WAIT_MS};

static int publish(macula_client c, const char *topic) { return macula_publish_sync(c, topic, "x", 1, NULL, WAIT_MS); }

static void round_trip(macula_client c, struct seen *s) {
  macula_subscribe_options own = {MACULA_INIT(macula_subscribe_options), .own = true};
  macula_sub sub;
  macula_service service;
  char *data;
  size_t len;
  assert_int_equal(macula_subscribe_sync(c, "t.**", &own, on_message, s, WAIT_MS, &sub), 0);
  assert_int_equal(macula_serve_sync(c, "echo", NULL, on_request, NULL, s, WAIT_MS, &service), 0);
  assert_int_equal(publish(c, "t.a"), 0);
  assert_int_equal(macula_call_sync(c, "echo", "[1]", 3, NULL, WAIT_MS, &data, &len), 0);
  assert_string_equal(data, "[1]");
  assert_int_equal(len, 3);
  macula_free(data);
  assert_int_equal(macula_call_sync(c, "none", "[1]", 3, NULL, WAIT_MS, &data, &len), MACULA_NO_SUCH_PROCEDURE);
  assert_non_null(strstr(macula_last_error(), "nobody serves"));
  assert_int_equal(macula_unserve(c, service), 0);
  assert_int_equal(macula_unserve(c, service), MACULA_ENOTFOUND);
  assert_int_equal(macula_unsubscribe(c, sub), 0);
}

static void test_threaded(void **state) {
  struct test_node n;
  struct seen s = SEEN;
  macula_loop *loop;
  macula_identity *id;
  macula_client c;
  char node[MACULA_ID_LEN + 1];
  (void)state;
  test_node_start(&n, "127.0.0.1:0", (struct node_config){0});
  assert_int_equal(macula_loop_new(NULL, &loop), 0);
  assert_int_equal(macula_loop_fd(loop), MACULA_EINVAL);
  assert_int_equal(macula_loop_step(loop), MACULA_EINVAL);
  assert_int_equal(macula_identity_generate(&id), 0);
  macula_options o = options(&n, id);
  o.on_state = on_state;
  o.ctx = &s;
  assert_int_equal(macula_connect(loop, &o, &c), 0);
  assert_int_equal(macula_connect_wait(c, WAIT_MS), 0);
  assert_int_equal(macula_node_id(c, node), 0);
  assert_string_equal(node, n.id);
  round_trip(c, &s);
  assert_true(wait_for(&s, &s.messages, 1));
  macula_disconnect(c);
  assert_true(wait_for(&s, &s.states[MACULA_CLOSED], 1));
  macula_loop_free(loop);
  macula_identity_free(id);
  test_node_stop(&n);
}

/* A program with a loop of its own: one descriptor, one step. */
static bool turn_until(macula_loop *loop, struct seen *s, unsigned *count, unsigned want) {
  struct pollfd p = {.fd = macula_loop_fd(loop), .events = POLLIN};
  nanotime until = io_now() + WAIT_MS * NS_MS;
  (void)s;
  while (*count < want && io_now() < until) {
    poll(&p, 1, 1000);
    assert_int_equal(macula_loop_step(loop), 0);
  }
  return *count >= want;
}

static void test_embedded(void **state) {
  struct test_node n;
  struct seen s = SEEN;
  macula_loop *loop;
  macula_identity *id;
  macula_client c;
  macula_subscribe_options own = {MACULA_INIT(macula_subscribe_options), .own = true};
  (void)state;
  test_node_start(&n, "127.0.0.1:0", (struct node_config){0});
  macula_loop_options lo = {MACULA_INIT(macula_loop_options), .embedded = true};
  assert_int_equal(macula_loop_new(&lo, &loop), 0);
  assert_true(macula_loop_fd(loop) >= 0);
  assert_int_equal(macula_identity_generate(&id), 0);
  macula_options o = options(&n, id);
  o.on_state = on_state;
  o.ctx = &s;
  assert_int_equal(macula_connect(loop, &o, &c), 0);
  assert_true(turn_until(loop, &s, &s.states[MACULA_CONNECTED], 1));
  assert_int_equal(macula_subscribe(c, "t.*", &own, on_message, NULL, &s, NULL), 0);
  assert_int_equal(macula_serve(c, "p", NULL, on_request, NULL, NULL, &s, NULL), 0);
  assert_int_equal(macula_publish(c, "t.a", "1", 1, NULL, NULL, NULL), 0);
  assert_true(turn_until(loop, &s, &s.messages, 1));
  assert_true(s.client.loop == loop && s.client.id == c.id);
  s.client = (macula_client){0};
  assert_int_equal(macula_call(c, "p", "1", 1, &patient, on_result, &s, NULL), 0);
  assert_true(turn_until(loop, &s, &s.results, 1));
  assert_true(s.client.loop == loop && s.client.id == c.id);
  assert_int_equal(s.err, 0);
  round_trip(c, &s); /* blocking functions turn the loop themselves */
  macula_disconnect(c);
  assert_true(turn_until(loop, &s, &s.states[MACULA_CLOSED], 1));
  macula_loop_free(loop);
  macula_identity_free(id);
  test_node_stop(&n);
}

static unsigned entries(const char *path) {
  unsigned count = 0;
  DIR *d = opendir(path);
  assert_non_null(d);
  while (readdir(d)) count++;
  closedir(d);
  return count;
}

/* A thousand clients of one loop: one thread, one socket. */
static void test_many(void **state) {
  enum { MANY = 1000 };
  static macula_client c[MANY];
  struct test_node n;
  struct seen s = SEEN;
  macula_loop *loop;
  macula_identity *id;
  (void)state;
  test_node_start(&n, "127.0.0.1:0", (struct node_config){0});
  assert_int_equal(macula_loop_new(NULL, &loop), 0);
  assert_int_equal(macula_identity_generate(&id), 0);
  macula_options o = options(&n, id);
  o.on_state = on_state;
  o.ctx = &s;
  assert_int_equal(macula_connect(loop, &o, &c[0]), 0);
  assert_true(wait_for(&s, &s.states[MACULA_CONNECTED], 1));
  unsigned threads = entries("/proc/self/task"), files = entries("/proc/self/fd");
  for (int i = 1; i < MANY; i++) {
    assert_int_equal(macula_connect(loop, &o, &c[i]), 0);
    if (i % 100 == 99) assert_true(wait_for(&s, &s.states[MACULA_CONNECTED], (unsigned)i + 1));
  }
  assert_true(wait_for(&s, &s.states[MACULA_CONNECTED], MANY));
  assert_int_equal(entries("/proc/self/task"), threads);
  assert_int_equal(entries("/proc/self/fd"), files);
  for (int i = 0; i < MANY; i++) assert_int_equal(macula_subscribe(c[i], "all", NULL, on_message, NULL, &s, NULL), 0);
  assert_int_equal(publish(c[0], "probe"), 0);
  for (int i = 0; i < MANY; i += 100) macula_abort(c[i]);
  macula_loop_free(loop);
  assert_int_equal(s.states[MACULA_CLOSED], MANY);
  macula_identity_free(id);
  test_node_stop(&n);
}

/* 16 threads share a client. */
struct worker {
  macula_client c;
  atomic_int failed;
};
static void *work(void *ctx) {
  struct worker *w = ctx;
  for (int i = 0; i < 50; i++) {
    char *data;
    size_t len;
    if (macula_call_sync(w->c, "echo", "[7]", 3, NULL, WAIT_MS, &data, &len) || strcmp(data, "[7]") != 0)
      w->failed++;
    else
      macula_free(data);
    if (publish(w->c, "t.x")) w->failed++;
  }
  return NULL;
}

static void test_threads_share(void **state) {
  struct test_node n;
  struct seen s = SEEN;
  struct worker w = {0};
  macula_loop *loop;
  macula_identity *id;
  pthread_t t[16];
  macula_subscribe_options own = {MACULA_INIT(macula_subscribe_options), .own = true};
  (void)state;
  test_node_start(&n, "127.0.0.1:0", (struct node_config){0});
  assert_int_equal(macula_loop_new(NULL, &loop), 0);
  assert_int_equal(macula_identity_generate(&id), 0);
  macula_options o = options(&n, id);
  assert_int_equal(macula_connect(loop, &o, &w.c), 0);
  assert_int_equal(macula_connect_wait(w.c, WAIT_MS), 0);
  assert_int_equal(macula_serve_sync(w.c, "echo", NULL, on_request, NULL, &s, WAIT_MS, NULL), 0);
  assert_int_equal(macula_subscribe_sync(w.c, "t.*", &own, on_message, &s, WAIT_MS, NULL), 0);
  for (int i = 0; i < 16; i++) assert_int_equal(pthread_create(&t[i], NULL, work, &w), 0);
  for (int i = 0; i < 16; i++) pthread_join(t[i], NULL);
  assert_int_equal(w.failed, 0);
  assert_true(wait_for(&s, &s.messages, 16 * 50));
  macula_loop_free(loop);
  macula_identity_free(id);
  test_node_stop(&n);
}

/* ---- a full queue -----------------------------------------------------------------------------------------------------------
 */
enum { ROOM = 64 << 10, PIECES = 400, PIECE = 8 << 10 };
static const char piece[PIECE];
static const macula_publish_options waits = {MACULA_INIT(macula_publish_options), .wait_ms = UINT64_MAX};

static void on_room(void *ctx, macula_client client) {
  struct seen *s = ctx;
  see(s, client, &s->rooms, 0);
}

static int fill(macula_client c, unsigned pieces) {
  int err = 0;
  for (unsigned i = 0; !err && i < pieces; i++) err = macula_publish(c, "t.x", piece, PIECE, &waits, NULL, NULL);
  return err;
}

/* A callback must not block, though it says that it waits. */
static void on_message_fill(void *ctx, macula_client client, const macula_message *m) {
  struct seen *s = ctx;
  (void)m;
  see(s, client, &s->messages, fill(client, PIECES));
}

static bool saw(macula_loop *loop, bool embedded, struct seen *s, unsigned *count, unsigned want) {
  return embedded ? turn_until(loop, s, count, want) : wait_for(s, count, want);
}

static void test_room(void **state) {
  struct test_node n;
  macula_identity *id;
  (void)state;
  test_node_start(&n, "127.0.0.1:0", (struct node_config){0});
  assert_int_equal(macula_identity_generate(&id), 0);
  for (int embedded = 0; embedded < 2; embedded++) {
    struct seen s = SEEN, filled = SEEN, got = SEEN;
    macula_loop *loop;
    macula_client c;
    macula_loop_options lo = {MACULA_INIT(macula_loop_options), .embedded = embedded};
    macula_subscribe_options own = {MACULA_INIT(macula_subscribe_options), .own = true};
    macula_options o = options(&n, id);
    o.max_queue = ROOM;
    o.on_room = on_room;
    o.ctx = &s;
    assert_int_equal(macula_loop_new(&lo, &loop), 0);
    assert_int_equal(macula_connect(loop, &o, &c), 0);
    assert_int_equal(macula_connect_wait(c, WAIT_MS), 0);
    assert_int_equal(macula_subscribe_sync(c, "t.fill", &own, on_message_fill, &filled, WAIT_MS, NULL), 0);
    assert_int_equal(macula_subscribe_sync(c, "t.got", &own, on_message, &got, WAIT_MS, NULL), 0);
    assert_int_equal(fill(c, PIECES), embedded ? MACULA_EFULL : 0); /* many times more than there is room for */
    assert_int_equal(embedded ? s.rooms : 0, 0);
    assert_true(saw(loop, embedded, &s, &s.rooms, 1));
    assert_int_equal(macula_publish_sync(c, "t.fill", "1", 1, NULL, WAIT_MS), 0);
    assert_true(saw(loop, embedded, &filled, &filled.messages, 1));
    assert_int_equal(filled.err, MACULA_EFULL);
    assert_true(saw(loop, embedded, &s, &s.rooms, 2));
    for (int i = 0; i < 20; i++) assert_int_equal(macula_publish_sync(c, "t.got", piece, PIECE, NULL, WAIT_MS), 0);
    assert_true(saw(loop, embedded, &got, &got.messages, 20));
    macula_loop_free(loop);
  }
  macula_identity_free(id);
  test_node_stop(&n);
}

/* The node dies and comes back: told, connected again, subscribed again. */
static void test_reconnects(void **state) {
  struct test_node n;
  struct seen s = SEEN;
  macula_loop *loop;
  macula_identity *id;
  macula_client c;
  char at[ADDR_TEXT_LEN];
  macula_subscribe_options own = {MACULA_INIT(macula_subscribe_options), .own = true};
  (void)state;
  test_node_start(&n, "127.0.0.1:0", (struct node_config){0});
  macula_loop_options lo = {MACULA_INIT(macula_loop_options), .idle_timeout_ms = 2000, .keep_alive_ms = 200};
  assert_int_equal(macula_loop_new(&lo, &loop), 0);
  assert_int_equal(macula_identity_generate(&id), 0);
  macula_options o = options(&n, id);
  o.on_state = on_state;
  o.ctx = &s;
  assert_int_equal(macula_connect(loop, &o, &c), 0);
  assert_int_equal(macula_connect_wait(c, WAIT_MS), 0);
  assert_int_equal(macula_subscribe_sync(c, "t.*", &own, on_message, &s, WAIT_MS, NULL), 0);
  snprintf(at, sizeof at, "%s", n.at);
  unsigned lost = s.states[MACULA_DISCONNECTED]; /* more than none where this machine stood still for its idle timeout */
  struct node_config again = {.identity = quic_identity_ref(n.identity)};
  test_node_stop(&n);
  assert_true(wait_for(&s, &s.states[MACULA_DISCONNECTED], lost + 1));
  assert_int_equal(macula_publish_sync(c, "t.a", "1", 1, NULL, WAIT_MS), MACULA_NOT_CONNECTED);
  test_node_start(&n, at, again);
  assert_true(wait_for(&s, &s.states[MACULA_CONNECTED], lost + 2));
  assert_int_equal(publish(c, "t.a"), 0);
  assert_true(wait_for(&s, &s.messages, 1));
  macula_loop_free(loop);
  macula_identity_free(id);
  test_node_stop(&n);
  quic_identity_unref(again.identity);
}

/* Who the node is: pinned, remembered at first contact, changed, IPv6, or vouched for by an authority. */
static int reach(macula_loop *loop, macula_options o) {
  macula_client c;
  o.no_reconnect = true;
  int err = macula_connect(loop, &o, &c);
  if (err) return err;
  err = macula_connect_wait(c, WAIT_MS);
  macula_disconnect(c);
  return err;
}

static void test_trust(void **state) {
  struct test_node n;
  macula_loop *loop;
  macula_identity *id;
  char known[300], at[ADDR_TEXT_LEN], server[300];
  (void)state;
  snprintf(known, sizeof known, "%s/known_nodes", folder);
  test_node_start(&n, ipv6_here() ? "[::1]:0" : "127.0.0.1:0", (struct node_config){0});
  assert_int_equal(macula_loop_new(NULL, &loop), 0);
  assert_int_equal(macula_identity_generate(&id), 0);
  macula_options o = options(&n, id);
  o.known_nodes = known;
  assert_int_equal(reach(loop, o), 0);
  assert_int_equal(reach(loop, o), 0);
  snprintf(server, sizeof server, "macula://%s@%s", n.id, n.at);
  o.server = server;
  assert_int_equal(reach(loop, o), 0);
  snprintf(at, sizeof at, "%s", n.at);
  test_node_stop(&n);
  test_node_start(&n, at, (struct node_config){0}); /* another identity at the same address */
  assert_int_equal(reach(loop, o), MACULA_IDENTITY_MISMATCH);
  o.server = n.at;
  assert_int_equal(reach(loop, o), MACULA_IDENTITY_MISMATCH);
  assert_non_null(strstr(macula_last_error(), "delete line 1 of"));
  o.insecure = true;
  assert_int_equal(reach(loop, o), 0);
  o.insecure = false;
  unlink(known);
  assert_int_equal(reach(loop, o), 0);
  o.server = "no such address";
  assert_int_equal(reach(loop, o), MACULA_EINVAL);
  o.server = n.at;
  o.realm = "a..b";
  assert_int_equal(reach(loop, o), MACULA_INVALID_REALM);
  assert_string_equal(macula_last_error(), "segment 2 of 3 is empty");
  o.realm = "other";
  assert_int_equal(reach(loop, o), MACULA_REALM_MISMATCH);
  o.realm = NULL;
  o.ca_file = "/nonexistent";
  assert_int_equal(reach(loop, o), MACULA_ENOTFOUND);
  macula_loop_free(loop);
  macula_identity_free(id);
  test_node_stop(&n);
}

/* ---- passes ----------------------------------------------------------------------------------------------------------------
 */
struct said { /* what a loop logged */
  int trusted, ends;
  char last[1200];
};
static void on_log(void *ctx, int level, const char *line) {
  struct said *s = ctx;
  (void)level;
  s->trusted += !strncmp(line, "node_trusted ", 13);
  s->ends += !strncmp(line, "pass_ends ", 10);
  snprintf(s->last, sizeof s->last, "%s", line);
}

/* A pass from now - 60 s for so many seconds; its bytes, and in the file. */
static struct slice issue(const struct crypto_key *realm, const char *holder, enum role role, int64_t from, int64_t seconds,
                          const char *path, uint8_t bytes[PASS_MAX]) {
  struct id id;
  char why_not[PASS_WHY_LEN], *text;
  size_t n;
  assert_int_equal(id_parse(slice_str(holder), &id), 0);
  struct pass_claims c = claims_for(&id, 1);
  c.role = role;
  c.not_before = io_unix_ms() / 1000 - 60 + (uint64_t)from;
  c.not_after = c.not_before + (uint64_t)seconds;
  claims_add(&c, RIGHT_SUB, "t.**");
  assert_int_equal(pass_issue(realm, &c, bytes, &n, why_not), 0);
  if (!path) return slice_of(bytes, n);
  assert_int_equal(crypto_armor(PASS_LABEL, slice_of(bytes, n), &text), 0);
  assert_int_equal(io_file_write(path, slice_str(text), 0644, why_not), 0);
  free(text);
  return slice_of(bytes, n);
}

#define DAY 86400

/* What is wrong with a pass is said before anybody is asked. */
static void test_pass_is_checked(void **state) {
  macula_loop *loop;
  macula_identity *id, *other;
  struct crypto_key *realm;
  char path[300], bad_key[] = "12ab";
  uint8_t bytes[PASS_MAX];
  (void)state;
  snprintf(path, sizeof path, "%s/pass", folder);
  assert_int_equal(macula_loop_new(NULL, &loop), 0);
  assert_int_equal(macula_identity_generate(&id), 0);
  assert_int_equal(macula_identity_generate(&other), 0);
  assert_int_equal(crypto_key_new(&realm), 0);
  macula_options o = {MACULA_INIT(macula_options), .server = "127.0.0.1:1", .identity = id, .pass_file = path};
  assert_int_equal(reach(loop, o), MACULA_ENOTFOUND);
  (void)issue(realm, macula_identity_id(other), ROLE_CLIENT, 0, DAY, path, bytes);
  assert_int_equal(reach(loop, o), MACULA_PASS_INVALID);
  assert_non_null(strstr(macula_last_error(), macula_identity_id(id)));
  assert_non_null(strstr(macula_last_error(), macula_identity_id(other)));
  (void)issue(realm, macula_identity_id(id), ROLE_CLIENT, -DAY, DAY, path, bytes);
  assert_int_equal(reach(loop, o), MACULA_PASS_EXPIRED);
  assert_non_null(strstr(macula_last_error(), "ask for another"));
  (void)issue(realm, macula_identity_id(id), ROLE_CLIENT, DAY, DAY, path, bytes);
  assert_int_equal(reach(loop, o), MACULA_PASS_INVALID);
  assert_non_null(strstr(macula_last_error(), "is the clock right"));
  assert_int_equal(macula_identity_save(id, path), 0);
  assert_int_equal(reach(loop, o), MACULA_EINVAL);
  assert_non_null(strstr(macula_last_error(), "holds no pass"));
  o.pass_file = NULL;
  o.realm_key = bad_key;
  assert_int_equal(reach(loop, o), MACULA_EINVAL);
  assert_non_null(strstr(macula_last_error(), "macula realm show"));
  o.realm_key = NULL;
  o.token = "fifteen bytes..";
  assert_int_equal(reach(loop, o), MACULA_EINVAL);
  assert_non_null(strstr(macula_last_error(), "at least 16 bytes"));
  macula_loop_free(loop);
  macula_identity_free(id);
  macula_identity_free(other);
  crypto_key_free(realm);
  unlink(path);
}

/* Who knows the realm keeps no ids of its nodes; who does not is told whom it trusted. */
static void test_realm_vouches(void **state) {
  struct test_node plain, vouched;
  struct said said = {0};
  macula_loop_options lo = {MACULA_INIT(macula_loop_options), .log = on_log, .log_ctx = &said, .log_level = 1};
  macula_loop *loop;
  macula_identity *id;
  struct crypto_key *realm;
  struct quic_identity *node;
  char path[300], known[300], hex[ID_HEX_LEN + 1], server[300];
  uint8_t bytes[PASS_MAX], of_node[PASS_MAX];
  struct stat st;
  (void)state;
  snprintf(path, sizeof path, "%s/pass", folder);
  snprintf(known, sizeof known, "%s/met", folder);
  assert_int_equal(macula_loop_new(&lo, &loop), 0);
  assert_int_equal(macula_identity_generate(&id), 0);
  assert_int_equal(quic_identity_generate(&node), 0);
  assert_int_equal(crypto_key_new(&realm), 0);
  id_hex(quic_identity_id(node), hex);
  struct node_config cfg = {.identity = node, .pass = issue(realm, hex, ROLE_NODE, 0, DAY, NULL, of_node)};
  test_node_start(&vouched, "127.0.0.1:0", cfg);
  test_node_start(&plain, "127.0.0.1:0", (struct node_config){0});
  (void)issue(realm, macula_identity_id(id), ROLE_CLIENT, 0, 80 * DAY, path, bytes);
  macula_options o = options(&vouched, id);
  o.known_nodes = known;
  o.pass_file = path;
  assert_int_equal(reach(loop, o), 0);
  o.server = plain.at;
  assert_int_equal(reach(loop, o), MACULA_PASS_INVALID);
  id_hex(crypto_key_id(realm), hex);
  assert_true(strstr(macula_last_error(), "shows no pass") && strstr(macula_last_error(), hex));
  snprintf(server, sizeof server, "macula://%s@%s", plain.id, plain.at); /* somebody else vouches for it */
  o.server = server;
  assert_int_equal(reach(loop, o), 0);
  o.pass_file = NULL;
  o.realm_key = hex;
  o.server = vouched.at;
  assert_int_equal(reach(loop, o), 0);
  assert_int_equal(said.ends + said.trusted, 0);
  assert_int_equal(stat(known, &st), -1);

  o.realm_key = NULL;
  assert_int_equal(reach(loop, o), 0);
  assert_int_equal(said.trusted, 1);
  assert_true(strstr(said.last, vouched.id) && strstr(said.last, vouched.at) && strstr(said.last, known));
  assert_int_equal(reach(loop, o), 0);
  assert_int_equal(said.trusted, 1); /* it is known now */
  macula_loop_free(loop);
  macula_identity_free(id);
  quic_identity_unref(node);
  crypto_key_free(realm);
  test_node_stop(&plain);
  test_node_stop(&vouched);
  unlink(path);
  unlink(known);
}

/* That it ends is said a week before; a new one in the file's place is taken, and one that is no pass is not. */
static void test_pass_is_renewed(void **state) {
  struct said said = {0};
  macula_loop_options lo = {MACULA_INIT(macula_loop_options), .log = on_log, .log_ctx = &said, .log_level = 1,
                            .embedded = true};
  macula_loop *loop;
  macula_identity *id;
  macula_client handle;
  struct crypto_key *realm;
  char path[300], why_not[256];
  uint8_t bytes[PASS_MAX];
  uint64_t now = io_unix_ms() / 1000;
  (void)state;
  snprintf(path, sizeof path, "%s/pass", folder);
  assert_int_equal(macula_loop_new(&lo, &loop), 0);
  assert_int_equal(macula_identity_generate(&id), 0);
  assert_int_equal(crypto_key_new(&realm), 0);
  struct slice first = issue(realm, macula_identity_id(id), ROLE_CLIENT, 0, 8 * DAY, path, bytes);
  macula_options o = {MACULA_INIT(macula_options), .server = "127.0.0.1:1", .identity = id, .pass_file = path};
  assert_int_equal(macula_connect(loop, &o, &handle), 0);
  struct client *c = client_find(loop->hub, handle.id);
  assert_non_null(c);
  assert_true(slice_eq(c->pass, first));
  remote_remind(loop, c);
  assert_int_equal(said.ends, 0);
  pass_watch(client_owner(c), now + 2 * DAY, io_now());
  assert_int_equal(said.ends, 1);
  assert_non_null(strstr(said.last, "ends in 5 days"));
  pass_watch(client_owner(c), now + 2 * DAY + 3600, io_now() + 3600 * NS_SEC);
  assert_int_equal(said.ends, 1);
  pass_watch(client_owner(c), now + 3 * DAY + 3600, io_now() + 90000 * NS_SEC);
  assert_int_equal(said.ends, 2);

  assert_int_equal(io_file_write(path, slice_str("half of it"), 0644, why_not), 0);
  remote_remind(loop, c);
  assert_non_null(strstr(said.last, "pass_not_read"));
  assert_true(slice_eq(c->pass, first));
  uint8_t again[PASS_MAX];
  struct slice second = issue(realm, macula_identity_id(id), ROLE_CLIENT, 0, 60 * DAY, path, again);
  remote_remind(loop, c);
  assert_true(slice_eq(c->pass, second));
  pass_watch(client_owner(c), now + 8 * DAY, io_now() + 400000 * NS_SEC);
  assert_int_equal(said.ends, 2);
  macula_loop_free(loop);
  macula_identity_free(id);
  crypto_key_free(realm);
  unlink(path);
}

static void test_identity(void **state) {
  macula_identity *a, *b;
  char path[300];
  struct stat st;
  (void)state;
  snprintf(path, sizeof path, "%s/id.pem", folder);
  assert_int_equal(macula_identity_load(path, false, &a), MACULA_ENOTFOUND);
  assert_int_equal(macula_identity_load(path, true, &a), 0);
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(macula_identity_load_pair(path, path, &b), 0);
  assert_string_equal(macula_identity_id(a), macula_identity_id(b));
  macula_identity_free(b);
  assert_int_equal(chmod(path, 0644), 0);
  assert_int_equal(macula_identity_load(path, true, &b), MACULA_NOT_AUTHORIZED);
  assert_non_null(strstr(macula_last_error(), "chmod 600"));
  assert_int_equal(macula_identity_save(a, path), 0);
  assert_int_equal(macula_identity_load(path, true, &b), 0);
  macula_identity_free(a);
  macula_identity_free(b);
  assert_int_equal(macula_identity_generate(NULL), MACULA_EINVAL);
}

#define DIFFER(a, b) _Static_assert(!__builtin_types_compatible_p(a, b), "handles of two kinds have two types")
DIFFER(macula_sub, macula_service);
DIFFER(macula_sub, macula_call_id);
DIFFER(macula_service, macula_call_id);
DIFFER(macula_service, macula_request_id);
DIFFER(macula_call_id, macula_request_id);

/* A client that was disconnected is an error for whoever still uses it, and nobody else's handle. */
static void test_stale(void **state) {
  macula_loop *loop;
  macula_identity *id;
  macula_client c, other;
  macula_sub sub;
  macula_service service;
  char node[MACULA_ID_LEN + 1], *data;
  size_t len;
  (void)state;
  assert_int_equal(macula_identity_generate(&id), 0);
  for (int embedded = 0; embedded < 2; embedded++) {
    struct seen s = SEEN;
    macula_loop_options lo = {MACULA_INIT(macula_loop_options), .embedded = embedded};
    macula_options o = {MACULA_INIT(macula_options), .server = "127.0.0.1:1", .identity = id,
                        .known_nodes = "",           .on_state = on_state,    .ctx = &s};
    assert_int_equal(macula_loop_new(&lo, &loop), 0);
    assert_int_equal(macula_connect(loop, &o, &c), 0);
    assert_int_equal(macula_subscribe(c, "a", NULL, on_message, NULL, &s, &sub), 0);
    assert_int_equal(macula_serve(c, "p", NULL, on_request, NULL, NULL, &s, &service), 0);
    assert_int_equal(macula_connect_wait(c, 0), MACULA_EINVAL);
    assert_non_null(strstr(macula_last_error(), "timeout_ms"));
    macula_disconnect(c);
    for (int freed = 0; freed < 2; freed++) {
      macula_disconnect(c);
      assert_int_equal(macula_connect_wait(c, WAIT_MS), MACULA_ECLOSED);
      assert_int_equal(macula_node_id(c, node), MACULA_ECLOSED);
      assert_int_equal(macula_publish(c, "a", "1", 1, NULL, NULL, NULL), MACULA_ECLOSED);
      assert_int_equal(macula_publish_sync(c, "a", "1", 1, NULL, WAIT_MS), MACULA_ECLOSED);
      assert_int_equal(macula_subscribe(c, "a", NULL, on_message, NULL, &s, NULL), MACULA_ECLOSED);
      assert_int_equal(macula_subscribe_sync(c, "a", NULL, on_message, &s, WAIT_MS, NULL), MACULA_ECLOSED);
      assert_int_equal(macula_unsubscribe(c, sub), MACULA_ECLOSED);
      assert_int_equal(macula_call(c, "p", "1", 1, NULL, on_result, &s, NULL), MACULA_ECLOSED);
      assert_int_equal(macula_call_sync(c, "p", "1", 1, NULL, WAIT_MS, &data, &len), MACULA_ECLOSED);
      assert_int_equal(macula_cancel(c, (macula_call_id){1}), MACULA_ECLOSED);
      assert_int_equal(macula_cast(c, "p", "1", 1, NULL, NULL), MACULA_ECLOSED);
      assert_int_equal(macula_serve(c, "p", NULL, on_request, NULL, NULL, &s, NULL), MACULA_ECLOSED);
      assert_int_equal(macula_serve_sync(c, "p", NULL, on_request, NULL, &s, WAIT_MS, NULL), MACULA_ECLOSED);
      assert_int_equal(macula_unserve(c, service), MACULA_ECLOSED);
      assert_int_equal(macula_reply(c, (macula_request_id){1}, "1", 1), MACULA_ECLOSED);
      assert_int_equal(macula_reply_error(c, (macula_request_id){1}, NULL, NULL), MACULA_ECLOSED);
      if (!freed)
        assert_true(embedded ? turn_until(loop, &s, &s.states[MACULA_CLOSED], 1) : wait_for(&s, &s.states[MACULA_CLOSED], 1));
      if (!freed) assert_int_equal(macula_connect(loop, &o, &other), 0);
    }
    assert_int_equal(macula_unsubscribe(other, sub), MACULA_ENOTFOUND);
    macula_loop_free(loop);
  }
  macula_identity_free(id);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_threaded),        cmocka_unit_test(test_embedded),      cmocka_unit_test(test_many),
      cmocka_unit_test(test_threads_share),   cmocka_unit_test(test_reconnects),    cmocka_unit_test(test_trust),
      cmocka_unit_test(test_identity),        cmocka_unit_test(test_stale),         cmocka_unit_test(test_room),
      cmocka_unit_test(test_pass_is_checked), cmocka_unit_test(test_realm_vouches), cmocka_unit_test(test_pass_is_renewed)};
  if (!mkdtemp(folder)) return 1;
  setenv("XDG_CONFIG_HOME", folder, 1);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  char command[320];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command) || failed;
}
