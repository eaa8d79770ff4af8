/* What a client's callbacks are told about who published and called; and a node that names what it never announced. */
#include "client_rig.h"
#include "wire/frame.h"
#include "wire/msg.h"

struct seen {
  int count;
  macula_principal_kind kind;
  char name[128], node[128];
};

static void see(struct seen *s, const macula_principal *p) {
  s->count++;
  s->kind = p->kind;
  snprintf(s->name, sizeof s->name, "%s", p->name);
  snprintf(s->node, sizeof s->node, "%s", p->node);
}
static void see_message(void *ctx, macula_client client, const macula_message *m) {
  (void)client;
  see(ctx, m->publisher);
}
static void see_request(void *ctx, macula_client client, const macula_request *r) {
  see(ctx, r->caller);
  if (!r->is_cast) assert_int_equal(client_reply(client_of(client), r->id, slice_str("1")), 0);
}

static void is_key(const struct seen *s, int count, const struct quic_identity *who, const struct quic_identity *node) {
  char hex[ID_HEX_LEN + 1];
  assert_int_equal(s->count, count);
  assert_int_equal(s->kind, MACULA_PRINCIPAL_KEY);
  id_hex(quic_identity_id(who), hex);
  assert_string_equal(s->name, hex);
  id_hex(quic_identity_id(node), hex);
  assert_string_equal(s->node, hex);
}

static void test_callbacks_are_told(void **state) {
  struct world w = {.cfg.allow_unverified = true};
  struct user a = {0}, b = {0}, nobody = {0};
  struct seen message = {0}, request = {0};
  struct tally got = {0};
  (void)state;
  world_init(&w, NULL);
  user_join(&w, 0, &a, (struct client_options){0});
  user_join(&w, 1, &b, (struct client_options){0});
  user_join(&w, 2, &nobody, (struct client_options){.base_only = true});
  assert_int_equal(client_subscribe(a.c, "t.*", false, see_message, NULL, NULL, &message, NULL), 0);
  assert_int_equal(client_serve(a.c, "p", NULL, see_request, NULL, NULL, NULL, &request, NULL), 0);
  world_run(&w, NS_SEC);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(publish_now(&w, &b, "t.x", "1", 1), 0);
    world_run(&w, NS_SEC);
    is_key(&message, 2 * i + 1, w.ids[1], w.node_id);
    assert_int_equal(publish_now(&w, &nobody, "t.x", "1", 0), 0);
    world_run(&w, NS_SEC);
    assert_int_equal(message.count, 2 * i + 2);
    assert_int_equal(message.kind, MACULA_PRINCIPAL_ANONYMOUS);
    assert_string_equal(message.name, "");
    assert_int_equal(strlen(message.node), MACULA_ID_LEN);
    world_now(&w);
    assert_int_equal(client_call(b.c, "p", slice_str("1"), NULL, on_result, &got, NULL), 0);
    world_run(&w, NS_SEC);
    is_key(&request, i + 1, w.ids[1], w.node_id);
  }
  /* A new connection starts with empty slots. */
  world_node_kill(&w);
  world_run(&w, 40 * NS_SEC);
  world_node(&w);
  b.states[MACULA_CONNECTED] = 0;
  assert_true(world_until(&w, &b.states[MACULA_CONNECTED], 120 * NS_SEC));
  world_run(&w, 60 * NS_SEC);
  assert_int_equal(publish_now(&w, &b, "t.x", "1", 1), 0);
  world_run(&w, NS_SEC);
  is_key(&message, 5, w.ids[1], w.node_id);
  world_done(&w);
}

/* ---- a node that lies ------------------------------------------------------------------------------------------------------
 */
struct speaker { /* answers CONNECT, and then says what it was given */
  struct quic *quic;
  struct mem mem;
  struct rng_seeded seeded;
  const struct msg *say;
  size_t count;
};

static void say(struct quic_conn *c, int64_t stream, const struct msg *m) {
  uint8_t buf[1024];
  ptrdiff_t n = msg_encode(m, buf, sizeof buf);
  assert_true(n > 0);
  assert_int_equal(quic_stream_write(c, stream, slice_of(buf, (size_t)n)), 0);
}
static void s_open(void *ctx, struct quic_conn *c) {
  (void)ctx;
  quic_conn_admit(c);
}
static void s_closed(void *ctx, struct quic_conn *c, const struct quic_close *why) { (void)ctx, (void)c, (void)why; }
static void s_stream_closed(void *ctx, struct quic_conn *c, int64_t stream, uint64_t e) {
  (void)ctx, (void)c, (void)stream, (void)e;
}
static void s_data(void *ctx, struct quic_conn *c, int64_t stream, struct slice data, bool fin) {
  struct speaker *s = ctx;
  (void)fin;
  quic_consume(c, stream, data.n);
  if (data.n < FRAME_HEADER_LEN || data.p[1] != MSG_CONNECT) return;
  struct msg pong = {.type = MSG_PONG, .pong = {.has_caps = true, .caps = CAP_PUBSUB | CAP_RPC | CAP_ORIGIN}};
  say(c, stream, &pong);
  for (size_t i = 0; i < s->count; i++) say(c, stream, &s->say[i]);
}
static void s_recv(void *ctx, const struct addr *l, const struct addr *r, struct slice d, uint8_t ecn, nanotime now) {
  quic_recv(((struct speaker *)ctx)->quic, l, r, d, ecn, now);
}
static nanotime s_deadline(void *ctx) { return quic_deadline(((struct speaker *)ctx)->quic); }
static void s_tick(void *ctx, nanotime now) {
  quic_tick(((struct speaker *)ctx)->quic, now);
  quic_flush_events(((struct speaker *)ctx)->quic, now);
}
static size_t s_send(void *ctx, uint8_t *buf, size_t cap, struct burst *o, nanotime now) {
  return quic_send(((struct speaker *)ctx)->quic, buf, cap, o, now);
}

static void speaker_start(struct speaker *s, struct world *w, const struct msg *what, size_t count) {
  *s = (struct speaker){.mem = MEM_INIT("speaker", 0), .say = what, .count = count};
  rng_seeded_init(&s->seeded, 1);
  struct quic_config cfg = {.mem = &s->mem,
                            .send_mem = &s->mem,
                            .rng = rng_seeded_view(&s->seeded),
                            .handler = {s_open, s_closed, s_data, s_stream_closed, NULL, NULL},
                            .ctx = s,
                            .identity = w->node_id,
                            .server = true,
                            .max_conns = 10,
                            .max_half_open = 10,
                            .stream_window = 1 << 20,
                            .conn_window = 1 << 20,
                            .max_streams = 10,
                            .unix_base_s = UNIX_BASE};
  assert_int_equal(quic_new(&cfg, sim_net_now(w->net), &s->quic), 0);
  sim_net_attach(w->net, &w->node_at, &(struct endpoint){s_recv, NULL, s_deadline, s_tick, s_send, s});
}

/* Connects to a node that says these; *ret_seen: the last that the callbacks were told. The error with which it was lost. */
static int hear(const struct msg *what, size_t count, struct seen *ret_seen, char text[512]) {
  struct world w = {0};
  struct speaker s;
  struct user u = {0};
  *ret_seen = (struct seen){0};
  world_init(&w, NULL);
  world_node_kill(&w);
  speaker_start(&s, &w, what, count);
  assert_int_equal(user_start(&w, 0, &u, (struct client_options){.no_reconnect = true}), 0);
  assert_int_equal(client_subscribe(u.c, "t.*", true, see_message, NULL, NULL, ret_seen, NULL), 0);
  assert_int_equal(client_serve(u.c, "p", NULL, see_request, NULL, NULL, NULL, ret_seen, NULL), 0);
  world_run(&w, 5 * NS_SEC);
  sim_net_detach(w.net, &w.node_at);
  quic_free(s.quic);
  world_done(&w);
  snprintf(text, 512, "%s", u.text);
  return u.err;
}

static struct msg announce(uint64_t kind, uint64_t number, const char *principal) {
  static const uint8_t node[ID_LEN] = {0xaa};
  return (struct msg){.type = MSG_ANNOUNCE, .announce = {kind, number, slice_str(principal), slice_of(node, sizeof node)}};
}
static struct msg publish(uint64_t number) {
  return (struct msg){.type = MSG_PUBLISH,
                      .publish = {.topic = slice_str("t.x"), .payload = slice_str("1"), .origin = {.number = number}}};
}
static struct msg cast(uint64_t number) {
  return (struct msg){.type = MSG_CAST,
                      .call = {.procedure = slice_str("p"), .args = slice_str("1"), .origin = {.number = number}}};
}

static void test_users_and_later_kinds(void **state) {
  struct msg user[] = {announce(ANNOUNCE_PUBLISHER, 700, "\2j\xc3\xb6rg"), announce(ANNOUNCE_CALLER, 700, "\3"), publish(700)};
  struct msg later[] = {announce(9, 1, "?"), announce(ANNOUNCE_CALLER, 1, "\x63what"), cast(1)};
  struct msg none[] = {publish(0)};
  struct seen seen;
  char text[512];
  (void)state;
  assert_int_equal(hear(user, 3, &seen, text), 0);
  assert_int_equal(seen.count, 1);
  assert_int_equal(seen.kind, MACULA_PRINCIPAL_USER);
  assert_string_equal(seen.name, "j\xc3\xb6rg");
  assert_memory_equal(seen.node, "aa0000", 6);
  assert_int_equal(hear(later, 3, &seen, text), 0);
  assert_true(seen.count == 1 && seen.kind == MACULA_PRINCIPAL_UNKNOWN && !seen.name[0] && !seen.node[0]);
  assert_int_equal(hear(none, 1, &seen, text), 0);
  assert_true(seen.count == 1 && seen.kind == MACULA_PRINCIPAL_UNKNOWN);
}

static void test_numbers_never_announced(void **state) {
  struct msg good = announce(ANNOUNCE_PUBLISHER, 7, "\2joe");
  struct msg short_node = good;
  short_node.announce.node.n = 5;
  const struct msg cases[][3] = {
      {good, publish(7), publish(8)},                                 /* never announced */
      {good, announce(ANNOUNCE_PUBLISHER, 263, "\2ann"), publish(7)}, /* not any more */
      {good, announce(ANNOUNCE_CALLER, 8, "\2joe"), cast(7)},         /* not for calls */
      {good, good, publish(UINT64_MAX)},                              /* no number */
      {good, good, announce(ANNOUNCE_PUBLISHER, 8, "\1short")},       /* no key */
      {good, good, announce(ANNOUNCE_PUBLISHER, 8, "\2\x1b[31m")},    /* what would drive a terminal */
      {good, good, short_node},                                       /* no node */
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct seen seen;
    char text[512];
    assert_int_equal(hear(cases[i], 3, &seen, text), MACULA_BAD_FRAME);
    if (!strstr(text, "announced")) fail_msg("case %zu: %s", i, text);
    assert_true(seen.count <= 1);
  }
}

static struct msg topic(uint64_t number, const char *name) {
  return (struct msg){.type = MSG_ANNOUNCE, .announce = {.kind = ANNOUNCE_TOPIC, .number = number, .topic = slice_str(name)}};
}
static struct msg by_number(uint64_t number) {
  return (struct msg){.type = MSG_PUBLISH, .publish = {.brief = true, .topic_number = number, .payload = slice_str("1")}};
}

static void test_topics_never_announced(void **state) {
  static char longest[NAME_MAX_LEN + 2];
  memset(longest, 'x', sizeof longest - 1);
  struct msg taken = {.type = MSG_ANNOUNCE, .announce = {.kind = ANNOUNCE_TAKEN, .number = 7}}; /* of what was not asked */
  struct msg nameless = topic(8, "t.x");
  nameless.announce.topic = SLICE_NONE;
  const struct msg cases[][3] = {
      {topic(7, "t.x"), by_number(7), by_number(8)},                   /* never announced */
      {topic(7, "t.x"), topic(263, "t.y"), by_number(7)},              /* not any more */
      {taken, announce(ANNOUNCE_PUBLISHER, 7, "\2joe"), by_number(7)}, /* not as a topic */
      {taken, topic(7, "t.x"), by_number(UINT64_MAX)},                 /* no number */
      {taken, taken, topic(UINT64_MAX, "t.x")},                        /* no number */
      {taken, taken, nameless},                                        /* no topic */
      {taken, taken, topic(8, "")},                                    /* no topic */
      {taken, taken, topic(8, longest)},                               /* longer than one can be */
  };
  struct seen seen;
  char text[512];
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(hear(cases[i], 3, &seen, text), MACULA_BAD_FRAME);
    if (!strstr(text, "announced")) fail_msg("case %zu: %s", i, text);
    assert_true(seen.count <= 1);
  }
  const struct msg good[] = {topic(7, "t.x"), topic(263, "t.y"), by_number(263)};
  assert_int_equal(hear(good, 3, &seen, text), 0);
  assert_int_equal(seen.count, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_callbacks_are_told),
      cmocka_unit_test(test_users_and_later_kinds),
      cmocka_unit_test(test_numbers_never_announced),
      cmocka_unit_test(test_topics_never_announced),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
