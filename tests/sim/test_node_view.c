/* What operators see of a node beyond its lists: its last events, how calls went, what was lost or refused and which key raises
 * that limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/state.h"
#include "node_rig.h"

static json_t *shown(struct rig *r, const char *what, size_t offset, size_t limit) {
  char *text;
  assert_int_equal(node_render(r->node, what, offset, limit, sim_net_now(r->net), &text), 0);
  json_t *j = json_loads(text, 0, NULL);
  assert_non_null(j);
  node_text_free(text);
  return j;
}

static const char *field(const json_t *event, const char *name) {
  return json_string_value(json_object_get(json_object_get(event, "fields"), name));
}

/* The newest first, page by page; the oldest made room, which the row of memory counts. */
static void test_events(void **state) {
  struct rig r;
  char fields[64];
  (void)state;
  rig_start(&r, NULL);
  json_t *j = shown(&r, "events", 0, 0);
  assert_int_equal(json_integer_value(json_object_get(j, "total")), 0);
  json_decref(j);
  unsigned all = RECENT_MOST + 44;
  for (unsigned i = 0; i < all; i++) {
    snprintf(fields, sizeof fields, "number=%u text=\"the %u. one\"", i, i);
    node_note(r.node, i % 2 ? LOG_INFO : LOG_WARN, "some_event", fields);
  }
  node_note(r.node, LOG_DEBUG, "not_kept", "");
  rig_run(&r, NS_SEC); /* node_check */
  for (size_t at = 0; at < RECENT_MOST; at += 64) {
    j = shown(&r, "events", at, 64);
    assert_int_equal(json_integer_value(json_object_get(j, "total")), RECENT_MOST);
    json_t *list = json_object_get(j, "events");
    assert_int_equal(json_array_size(list), 64);
    for (size_t i = 0; i < 64; i++) {
      const json_t *e = json_array_get(list, i);
      unsigned n = all - 1 - (unsigned)(at + i);
      assert_int_equal(json_integer_value(json_object_get(e, "n")), n);
      assert_string_equal(json_string_value(json_object_get(e, "level")), n % 2 ? "info" : "warn");
      snprintf(fields, sizeof fields, "the %u. one", n);
      assert_string_equal(field(e, "text"), fields);
    }
    json_decref(j);
  }
  j = shown(&r, "events", RECENT_MOST, 64);
  assert_int_equal(json_array_size(json_object_get(j, "events")), 0);
  json_decref(j);
  rig_stop(&r);
}

/* Names are whatever somebody chose, and long ones are cut off, within an escape too. */
static void test_events_of_hostile_names(void **state) {
  struct rig r;
  char fields[2 * RECENT_TEXT];
  (void)state;
  rig_start(&r, NULL);
  node_note(r.node, LOG_WARN, "forbidden", "name=\"<b>\\\"a\\\" \\u0007=x\" id=ab text=\"y = z\"");
  json_t *j = shown(&r, "events", 0, 1);
  const json_t *e = json_array_get(json_object_get(j, "events"), 0);
  assert_string_equal(field(e, "name"), "<b>\"a\" \a=x");
  assert_string_equal(field(e, "id"), "ab");
  assert_string_equal(field(e, "text"), "y = z");
  json_decref(j);
  /* each way in which the last character, of which there are such of one to four bytes and escapes, can be cut in two */
  for (size_t shift = 0; shift < 16; shift++) {
    size_t at = (size_t)sprintf(fields, "who=me text=\"%.*s", (int)shift, "................");
    while (at < RECENT_TEXT + 40) at += (size_t)sprintf(fields + at, "\\u0007\xc3\xa4\xf0\x9f\x90\x9d\\\\");
    sprintf(fields + at, "\"");
    node_note(r.node, LOG_WARN, "long", fields);
    j = shown(&r, "events", 0, 1);
    e = json_array_get(json_object_get(j, "events"), 0);
    assert_string_equal(field(e, "who"), "me");
    assert_true(strlen(field(e, "text")) > RECENT_TEXT / 2);
    json_decref(j);
  }
  const char *const odd[] = {"",       " ",      "=", "\"", "a", "a=", "a=\"", "a=\\", "a=\"\\", "= = =", "a=\"x\"b=\"y\"",
                             "a=\x80", "  a=b  "};
  for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
    node_note(r.node, LOG_INFO, "odd", odd[i]);
    json_decref(shown(&r, "events", 0, 1));
  }
  rig_stop(&r);
}

static void test_events_without_memory(void **state) {
  struct rig r;
  (void)state;
  struct mem_fail fail = {0};
  rig_start(&r, &(struct rig_options){.node.fail = &fail});
  fail.countdown = 1;
  node_note(r.node, LOG_WARN, "lost", "a=b");
  fail.countdown = 0;
  node_note(r.node, LOG_WARN, "kept", "a=b");
  json_t *j = shown(&r, "events", 0, 0);
  assert_int_equal(json_array_size(json_object_get(j, "events")), 1);
  json_decref(j);
  rig_stop(&r);
}

static json_t *row_of(json_t *list, const char *key, const char *value) {
  size_t i;
  json_t *each;
  json_array_foreach(list, i, each) {
    if (!strcmp(json_string_value(json_object_get(each, key)), value)) return each;
  }
  return NULL;
}

static void test_calls(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, NULL);
  struct rig_client *p = rig_join(&r, RIG_LOOPBACK, NULL, RIG_EXT), *c = rig_join(&r, RIG_LOOPBACK, NULL, RIG_EXT);
  assert_int_equal(rig_register(p, "p.q"), 0);
  for (uint8_t i = 1; i <= 3; i++) {
    rig_call(c, "p.q", "{}", i, 5000);
    struct msg call = rig_expect(p, MSG_CALL);
    rig_run(&r, 20 * NS_MS);
    struct msg reply = {.type = MSG_REPLY, .reply = {.call_id = call.call.call_id, .result = slice_str("1")}};
    if (i == 3)
      reply = (struct msg){.type = MSG_REPLY,
                           .reply = {.call_id = call.call.call_id,
                                     .is_error = true,
                                     .error = {.code = slice_str("handler_error"), .message = slice_str("no")}}};
    rig_send(p, &reply);
    rig_expect(c, MSG_REPLY);
  }
  json_t *j = shown(&r, "services", 0, 0), *row = json_array_get(json_object_get(j, "services"), 0);
  assert_int_equal(json_integer_value(json_object_get(row, "calls")), 3);
  assert_int_equal(json_integer_value(json_object_get(row, "failed")), 1);
  assert_true(json_integer_value(json_object_get(row, "mean_us")) >= 20000);
  assert_true(json_integer_value(json_object_get(row, "longest_us")) >= json_integer_value(json_object_get(row, "mean_us")));
  json_decref(j);
  j = shown(&r, "status", 0, 0);
  json_t *calls = json_object_get(j, "calls");
  assert_int_equal(json_integer_value(json_object_get(calls, "calls")), 3);
  assert_int_equal(json_integer_value(json_object_get(calls, "failed")), 1);
  assert_true(json_integer_value(json_object_get(calls, "p50_us")) >= 20000);
  assert_true(json_integer_value(json_object_get(calls, "p99_us")) >= json_integer_value(json_object_get(calls, "p50_us")));
  json_decref(j);
  rig_stop(&r);
}

/* Each row of memory says what it is and by which keys it is lowered or raised; what was refused is listed with its key. */
static void test_lost(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r, &(struct rig_options){.node.limits.max_services = 1});
  struct rig_client *c = rig_join(&r, RIG_LOOPBACK, NULL, RIG_EXT);
  json_t *j = shown(&r, "status", 0, 0);
  assert_int_equal(json_array_size(json_object_get(j, "lost")), 0);
  json_t *row = row_of(json_object_get(json_object_get(j, "memory"), "rows"), "name", "services");
  assert_string_equal(json_string_value(json_object_get(row, "keys")), "max_services");
  assert_non_null(json_string_value(json_object_get(row, "what")));
  json_decref(j);
  assert_int_equal(rig_register(c, "p.q"), 0);
  assert_int_equal(rig_register(c, "p.r"), MACULA_MAX_SERVICES_REACHED);
  j = shown(&r, "status", 0, 0);
  row = row_of(json_object_get(j, "lost"), "name", "services_refused");
  assert_non_null(row);
  assert_int_equal(json_integer_value(json_object_get(row, "count")), 1);
  assert_string_equal(json_string_value(json_object_get(row, "key")), "max_services");
  json_decref(j);
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_events), cmocka_unit_test(test_events_of_hostile_names),
                                     cmocka_unit_test(test_events_without_memory), cmocka_unit_test(test_calls),
                                     cmocka_unit_test(test_lost)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
