#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/delay.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/server.h"
#include "base/time.h"
#include "base/utf8.h"

static void errors_have_names_and_texts(void **state) {
  (void)state;
#define CHECK(name, num, str, text)                                                                                            \
  assert_int_equal(MACULA_##name, -(num));                                                                                     \
  assert_string_equal(macula_err_name(MACULA_##name), str);                                                                    \
  assert_string_equal(macula_err_text(MACULA_##name), text);                                                                   \
  assert_int_equal(err_from_name(str, sizeof(str) - 1), MACULA_##name);                                                        \
  assert_int_equal(err_from_app(num), MACULA_##name);
  MACULA_ERROR_MAP(CHECK)
#undef CHECK
  assert_string_equal(macula_err_name(0), "ok");
  assert_string_equal(macula_err_name(-9999), "unknown_error");
  assert_int_equal(err_from_name("timeou", 6), 0);
  assert_int_equal(err_from_app(1u << 30), 0);
}

static void memory_is_accounted_and_bounded(void **state) {
  (void)state;
  struct mem m = MEM_INIT("test", 4096);
  char *a = mem_alloc(&m, 1000);
  assert_non_null(a);
  assert_true(m.bytes >= 1000 && m.blocks == 1);
  assert_null(mem_alloc(&m, 4000));
  assert_int_equal(m.refused, 1);
  assert_null(mem_realloc(&m, a, 8000)); /* the old block stays */
  a = mem_realloc(&m, a, 2000);
  assert_non_null(a);
  assert_null(mem_alloc(&m, 0));
  assert_null(mem_calloc(&m, SIZE_MAX, 2));
  char *d = mem_dup(&m, "abc", 3);
  assert_string_equal(d, "abc");
  mem_free(&m, d);
  mem_free(&m, a);
  mem_free(&m, NULL);
  assert_int_equal(m.bytes, 0);
  assert_int_equal(m.blocks, 0);
  assert_true(m.peak >= 2000);
}

/* The allocator rounds up; the account counts what it gives, and that stays within the limit. */
static void an_account_never_passes_its_limit(void **state) {
  (void)state;
  for (size_t limit = 1000; limit < 1100; limit++) {
    struct mem m = MEM_INIT("test", limit);
    void *p[200], *grows = NULL;
    size_t n = 0;
    while (n < 200 && (p[n] = mem_alloc(&m, 1 + (n + limit) % 60))) n++;
    while (n) mem_free(&m, p[--n]);
    for (size_t size = 1; size < 2000; size += 7) {
      void *q = mem_realloc(&m, grows, size);
      if (q) grows = q;
    }
    mem_free(&m, grows);
    assert_true(m.peak <= limit && m.peak > limit - 200);
    assert_int_equal(m.bytes, 0);
  }
  struct mem large = MEM_INIT("test", (1 << 20) + 5000);
  void *p = mem_alloc(&large, 600 << 10);
  for (size_t size = 700 << 10; size < 2 << 20; size += 1000) {
    void *q = mem_realloc(&large, p, size);
    if (q) p = q;
  }
  mem_free(&large, p);
  assert_true(large.peak <= large.limit);
}

static void shut(struct mem_gauge *g, void *ctx) {
  ++*(int *)ctx;
  g->left = 1000;
  g->closed = 2;
}

static void a_gauge_refuses_the_lesser_ranks(void **state) {
  (void)state;
  int looks = 0;
  struct mem_gauge g = {.left = 100, .look = shut, .ctx = &looks};
  struct mem first = MEM_INIT("first", 0), last = MEM_INIT("last", 0);
  first.gauge = last.gauge = &g;
  first.rank = 1;
  last.rank = 2;
  void *a = mem_alloc(&last, 60);
  assert_non_null(a);
  assert_int_equal(looks, 0);
  assert_null(mem_alloc(&last, 60)); /* more than was left: looked at */
  assert_int_equal(looks, 1);
  assert_int_equal(last.refused, 1);
  void *b = mem_alloc(&first, 60);
  assert_non_null(b);
  assert_null(mem_realloc(&last, a, 500)); /* the old block stays */
  mem_free(&last, a);
  mem_free(&first, b);
  g.closed = 0;
  assert_non_null(a = mem_alloc(&last, 60));
  mem_free(&last, a);
}

static void nth_allocation_fails_once(void **state) {
  (void)state;
  struct mem_fail f = {.countdown = 2};
  struct mem m = {.name = "test", .fail = &f};
  void *a = mem_alloc(&m, 8), *b = mem_alloc(&m, 8), *c = mem_alloc(&m, 8);
  assert_true(a && !b && c);
  assert_int_equal(f.seen, 3);
  mem_free(&m, a);
  mem_free(&m, c);
}

static void shared_bytes_live_as_long_as_a_reference(void **state) {
  (void)state;
  struct mem m = MEM_INIT("test", 0);
  struct shbuf *b = shbuf_dup(&m, slice_str("payload"));
  assert_true(slice_is(shbuf_view(b), "payload"));
  shbuf_ref(b);
  shbuf_unref(b);
  assert_int_equal(m.blocks, 1);
  shbuf_unref(b);
  shbuf_unref(NULL);
  assert_int_equal(m.bytes, 0);
  m.limit = 16;
  assert_null(shbuf_new(&m, 1000));
}

/* fe80::1 alone leads nowhere: which link is part of the address, here only. */
static void addresses_with_a_zone(void **state) {
  static const char one[] = "[fe80::1%lo]:9443", no_interface[] = "this machine has no network interface 'nosuch0'";
  static const char *const bad[] = {"[fe80::1%nosuch0]:1", "[fe80::1%]:1", "[fe80::1%-1]:1", "127.0.0.1%lo:1",
                                    "[fe80::1%99999999999]:1"};
  struct addr a, b;
  char text[ADDR_TEXT_LEN], why[ADDR_WHY_LEN];
  (void)state;
  assert_int_equal(addr_parse(one, 0, &a), 0);
  assert_int_not_equal(a.v6.sin6_scope_id, 0);
  addr_text(&a, text);
  assert_string_equal(text, one);
  assert_int_equal(addr_parse("fe80::1%lo", 9443, &b), 0);
  assert_true(addr_eq(&a, &b));
  snprintf(text, sizeof text, "[fe80::1%%%u]:9443", a.v6.sin6_scope_id);
  assert_int_equal(addr_parse(text, 0, &b), 0);
  assert_true(addr_eq(&a, &b));
  assert_true(addr_is_link_local(&a) && addr_can_be_node(&a));
  b.v6.sin6_scope_id += 7;
  assert_false(addr_eq(&a, &b));
  b.v6.sin6_scope_id = 2147483647; /* an interface that is gone */
  addr_text(&b, text);
  assert_string_equal(text, "[fe80::1%2147483647]:9443");
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_int_equal(addr_parse(bad[i], 0, &a), MACULA_EINVAL);
  assert_int_equal(addr_parse("[fe80::1]:1", 0, &a), 0);
  assert_false(addr_can_be_node(&a));
  assert_string_equal(addr_bad_zone("[fe80::1%nosuch0]:1", why), no_interface);
  assert_string_equal(addr_bad_zone("fe80::1%nosuch0", why), no_interface);
  assert_string_equal(addr_bad_zone("fe80::1", why),
                      "fe80::1 is good on one link only: name this machine's interface to it, as in fe80::1%eth0");
  static const char *const fine[] = {one, "[::1]:1", "10.0.0.1", "0.0.0.0:0", "host%x:1", "a.b", ""};
  for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) assert_null(addr_bad_zone(fine[i], why));
}

#define ID "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
static void nodes_are_read(void **state) {
  static const char *const bad[] = {"", "macula://", ID "@host:1", ID "@127.0.0.1", ID "0", "12@127.0.0.1:1"};
  struct id id, want;
  struct addr at;
  (void)state;
  assert_int_equal(id_parse(slice_str(ID), &want), 0);
  for (int scheme = 0; scheme < 2; scheme++) {
    assert_int_equal(server_parse_node(scheme ? "macula://" ID : ID, &id, &at), 0);
    assert_true(id_eq(&id, &want) && !addr_is_set(&at));
    assert_int_equal(server_parse_node(scheme ? "macula://" ID "@[::1]:7" : ID "@[::1]:7", &id, &at), 0);
    assert_true(id_eq(&id, &want) && addr_port(&at) == 7 && !id_is_zero(&id));
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_int_equal(server_parse_node(bad[i], &id, &at), MACULA_EINVAL);
  id = (struct id){0};
  assert_true(id_is_zero(&id));
}

/* What no node can be at says what to write instead. */
static void servers_are_read(void **state) {
  static const struct {
    const char *text, *why;
  } bad[] = {
      {"0.0.0.0:9443",
       "0.0.0.0:9443 stands for all addresses of a machine and leads to none: write 127.0.0.1 for this machine, or the other's "
       "address"},
      {"[::]:1",
       "[::]:1 stands for all addresses of a machine and leads to none: write [::1] for this machine, or the other's address"},
      {"0.0.0.0", "write 127.0.0.1"},
      {"macula://0.0.0.0:1", "write 127.0.0.1"},
      {"224.0.0.1:1", "multicast"},
      {"255.255.255.255:1", "broadcast"},
      {"fe80::1", "as in fe80::1%eth0"},
      {"[fe80::1%nosuch0]:1", "no network interface 'nosuch0'"},
      {"127.0.0.1:0", "write host, host:port"},
      {"host:99999", "'host:99999' is no address: a port is 1 to 65535"},
      {"127.0.0.1:99999", "a port is 1 to 65535"},
      {"host..:1", "write host, host:port"},
      {".", "write host, host:port"},
      {"a%b:1", "write host, host:port"}};
  static const struct {
    const char *text, *host_port, *look_up;
  } good[] = {{"host", "host:9443", "host:9443"},
              {"host.example.:4433", "host.example:4433", "host.example.:4433"},
              {"macula://host.example./", "host.example:9443", "host.example.:9443"},
              {"fe80::1%lo", "[fe80::1%lo]:9443", "[fe80::1%lo]:9443"},
              {"[fe80::1%lo]:7", "[fe80::1%lo]:7", "[fe80::1%lo]:7"}};
  struct server s;
  char why[SERVER_WHY_LEN], text[SERVER_TEXT_LEN];
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    assert_int_equal(server_parse(bad[i].text, &s, why), MACULA_EINVAL);
    if (!strstr(why, bad[i].why)) fail_msg("%s: %s", bad[i].text, why);
  }
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_int_equal(server_parse(good[i].text, &s, why), 0);
    assert_string_equal(s.host_port, good[i].host_port);
    server_look_up(&s, text);
    assert_string_equal(text, good[i].look_up);
  }
}

/* A socket on [::] hears IPv4 as mapped addresses: these are as many hosts. */
static void test_same_host(void **state) {
  static const struct {
    const char *a, *b;
    bool same;
  } all[] = {
      {"10.0.0.1:1", "10.0.0.1:2", true},
      {"10.0.0.1:1", "10.0.0.2:1", false},
      {"[2001:db8::1]:1", "[2001:db8::2]:1", true},
      {"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
      {"[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.1]:2", true},
      {"[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.2]:1", false},
      {"[::1]:1", "[::ffff:10.0.0.2]:1", false},
  };
  struct addr a, b;
  (void)state;
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    assert_int_equal(addr_parse(all[i].a, 0, &a), 0);
    assert_int_equal(addr_parse(all[i].b, 0, &b), 0);
    assert_int_equal(addr_same_host(&a, &b), all[i].same);
    assert_int_equal(addr_same_host(&b, &a), all[i].same);
  }
}

static void addresses_read_and_write(void **state) {
  (void)state;
  static const char *const good[] = {"127.0.0.1:9443", "[::1]:9443", "192.0.2.7:1"};
  char text[ADDR_TEXT_LEN];
  struct addr a, b;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_int_equal(addr_parse(good[i], 0, &a), 0);
    addr_text(&a, text);
    assert_string_equal(text, good[i]);
  }
  static const char *const bad[] = {"",     ":",   "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
                                    "[::1", "x:1", "1.2.3:4"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_int_equal(addr_parse(bad[i], 0, &a), MACULA_EINVAL);
  assert_int_equal(addr_parse("127.0.0.1", 77, &a), 0);
  assert_int_equal(addr_port(&a), 77);
  b = a;
  assert_true(addr_eq(&a, &b));
  addr_set_port(&b, 78);
  assert_false(addr_eq(&a, &b));
  assert_true(addr_is_loopback(&a));
  assert_int_equal(addr_parse("[::ffff:127.0.0.1]:1", 0, &a), 0);
  assert_true(addr_is_loopback(&a));
  assert_int_equal(addr_parse("192.0.2.7:1", 0, &a), 0);
  assert_false(addr_is_loopback(&a));
}

static void ids_read_and_write(void **state) {
  (void)state;
  struct id id, back;
  for (int i = 0; i < ID_LEN; i++) id.b[i] = (uint8_t)(i * 9);
  char hex[ID_HEX_LEN + 1];
  id_hex(&id, hex);
  assert_int_equal(strlen(hex), ID_HEX_LEN);
  assert_int_equal(id_parse(slice_str(hex), &back), 0);
  assert_true(id_eq(&id, &back));
  assert_int_equal(id_parse(slice_of(hex, 63), &back), MACULA_EINVAL);
  hex[5] = 'g';
  assert_int_equal(id_parse(slice_str(hex), &back), MACULA_EINVAL);
}

struct item {
  int n;
  struct list link;
};

static void lists_keep_order(void **state) {
  (void)state;
  struct list head;
  list_init(&head);
  struct item v[3] = {{.n = 1}, {.n = 2}, {.n = 3}};
  list_append(&head, &v[1].link);
  list_append(&head, &v[2].link);
  list_prepend(&head, &v[0].link);
  int n = 0;
  list_for(l, &head) assert_int_equal(container_of(l, struct item, link)->n, ++n);
  assert_int_equal(n, 3);
  list_remove(&v[1].link);
  list_remove(&v[1].link); /* harmless */
  list_for_safe(l, &head) list_remove(l);
  assert_true(list_empty(&head));
}

static void seeded_numbers_repeat(void **state) {
  (void)state;
  struct rng_seeded a, b;
  rng_seeded_init(&a, 7);
  rng_seeded_init(&b, 7);
  for (int i = 0; i < 100; i++) assert_true(rng_u64(rng_seeded_view(&a)) == rng_u64(rng_seeded_view(&b)));
  uint32_t seen = 0;
  for (int i = 0; i < 1000; i++) {
    uint64_t n = rng_below(rng_seeded_view(&a), 10);
    assert_true(n < 10);
    seen |= 1u << n;
  }
  assert_int_equal(seen, 0x3ff);
}

static void time_saturates(void **state) {
  (void)state;
  assert_true(time_add(TIME_NEVER - 1, 5) == TIME_NEVER);
  assert_true(time_since(3, 5) == 0);
  assert_true(time_since(5, 3) == 2);
}

static void keep_line(void *ctx, enum log_level level, const char *event, const char *fields) {
  snprintf(ctx, 1200, "%d %s %s", (int)level, event, fields);
}

static void a_log_line_cannot_be_forged(void **state) {
  (void)state;
  char line[1200] = "";
  struct log l = {.level = LOG_INFO, .sink = keep_line, .ctx = line};
  log_debug(&l, "hidden", "a=%d", 1);
  assert_string_equal(line, "");
  log_warn(&l, "event", "name=%s b=%d", "x\nlevel=error \"y\"", -1);
  assert_string_equal(line, "1 event name=x\\u000alevel=error\\u0020\\\"y\\\" b=-1");
  log_warn(&l, "event", "peer=\"%s\" conn=%llu", "x\" level=error event=disk_full text=\"...", 18446744073709551615ull);
  assert_string_equal(line, "1 event peer=\"x\\\" level=error event=disk_full text=\\\"...\" conn=18446744073709551615");
  log_warn(&l, "event", "a=\"%.*s; again\" b=%zu c=%.0f d=%u", 3, "\\\"xyz", (size_t)7, 2.5, 4294967295u);
  assert_string_equal(line, "1 event a=\"\\\\\\\"x; again\" b=7 c=2 d=4294967295");
  log_warn(&l, "event", "a=\"%s\"", "\x1b[31m\a\x7f\xc2\x9b\xff\u20ac");
  assert_string_equal(line, "1 event a=\"\\u001b[31m\\u0007\\u007f\\u009b?\u20ac\"");
  log_warn(&l, "event", "a=%s", "\xe2\x80\xae\xe2\x80\xa8\xf0\x9f\xbf\xbf\xf0\x9f\x98\x80");
  assert_string_equal(line, "1 event a=\\u202e\\u2028\\ud83f\\udfff\xf0\x9f\x98\x80");
  log_error((const struct log *)NULL, "nowhere", "a=%d", 1);
}

static void a_long_value_hides_nothing(void **state) {
  (void)state;
  char line[1200] = "", text[3000];
  struct log l = {.level = LOG_INFO, .sink = keep_line, .ctx = line};
  memset(text, '"', sizeof text - 1);
  text[sizeof text - 1] = 0;
  log_warn(&l, "e", "a=\"%s\" b=%d", text, 1);
  assert_int_equal(strlen(line), strlen("1 e a=\"\" b=1") + 400);
  assert_string_equal(line + strlen(line) - 7, "\\\"\" b=1");
}

static void labels_are_clean(void **state) {
  static const char *const v[][2] = {{"", ""},
                                     {"plain \u20ac \"x\"", "plain \u20ac \"x\""},
                                     {"\x1b[31mred\a\r\n\t\x7f", "[31mred"},
                                     {"\xc2\x9b"
                                      "31m\xc2\xa0",
                                      "31m\u00a0"},
                                     {"\xff\xfe\xed\xa0\x80x\xc2", "x"},
                                     {"\n\n", ""},
                                     {"a\xe2\x80\xae\xef\xbb\xbf"
                                      "b",
                                      "ab"},
                                     {"0123456789abcde\u20ac", "0123456789abcde"}}; /* not half a character */
  (void)state;
  for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
    char label[32], same[32];
    assert_int_equal(utf8_label(slice_str(v[i][0]), label, 16), strlen(v[i][1]));
    assert_string_equal(label, v[i][1]);
    snprintf(same, sizeof same, "%s", v[i][0]);
    utf8_label(slice_str(same), same, 16);
    assert_string_equal(same, v[i][1]);
  }
}

static void test_delays(void **state) {
  (void)state;
  struct delays d = {0};
  nanotime now = 7 * NS_SEC;
  assert_int_equal(delay_beyond(&d, 1000000, now), 0); /* the clocks' difference is unknown: this is taken for it */
  assert_int_equal(delay_beyond(&d, 1000050, now + 149 * NS_MS), 0);
  assert_int_equal(delay_beyond(&d, 1000050, now + 150 * NS_MS), 100 * NS_MS);
  assert_int_equal(delay_beyond(&d, 1000200, now + 100 * NS_MS), 0); /* it came sooner: 100 ms less are usual */
  assert_int_equal(delay_beyond(&d, 1001000, now + 2900 * NS_MS), 2000 * NS_MS);
  now += DELAY_WINDOW;
  assert_int_equal(delay_beyond(&d, 1060000, now + NS_SEC),
                   1100 * NS_MS);                                   /* a delayed one begins a window: the last one counts */
  assert_int_equal(delay_beyond(&d, 1, now + 3 * DELAY_WINDOW), 0); /* that was too long ago */
  assert_int_equal(delay_beyond(&d, UINT64_MAX, now + 3 * DELAY_WINDOW), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_delays),
                                     cmocka_unit_test(errors_have_names_and_texts),
                                     cmocka_unit_test(memory_is_accounted_and_bounded),
                                     cmocka_unit_test(an_account_never_passes_its_limit),
                                     cmocka_unit_test(a_gauge_refuses_the_lesser_ranks),
                                     cmocka_unit_test(nth_allocation_fails_once),
                                     cmocka_unit_test(shared_bytes_live_as_long_as_a_reference),
                                     cmocka_unit_test(addresses_read_and_write),
                                     cmocka_unit_test(addresses_with_a_zone),
                                     cmocka_unit_test(nodes_are_read),
                                     cmocka_unit_test(servers_are_read),
                                     cmocka_unit_test(ids_read_and_write),
                                     cmocka_unit_test(lists_keep_order),
                                     cmocka_unit_test(seeded_numbers_repeat),
                                     cmocka_unit_test(time_saturates),
                                     cmocka_unit_test(a_log_line_cannot_be_forged),
                                     cmocka_unit_test(a_long_value_hides_nothing),
                                     cmocka_unit_test(labels_are_clean),
                                     cmocka_unit_test(test_same_host)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
