/* Options and arguments of libmacula: each function takes a struct of its kind, and says whether it was understood. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "macula/macula.h"

#define WAIT_MS 120000 /* of what comes at once, unless the machine stands still */

static void on_message(void *ctx, macula_client client, const macula_message *m) { (void)ctx, (void)client, (void)m; }
static void on_result(void *ctx, macula_client client, const macula_result *r) { (void)ctx, (void)client, (void)r; }
static void on_request(void *ctx, macula_client client, const macula_request *r) { (void)ctx, (void)client, (void)r; }

struct asker {
  macula_loop *loop;
  macula_client c;
};
static bool take_loop(struct asker *a, const void *o) {
  macula_loop *loop;
  (void)a;
  if (macula_loop_new(o, &loop)) return false;
  macula_loop_free(loop);
  return true;
}
static bool take_client(struct asker *a, const void *o) {
  macula_client c;
  if (macula_connect(a->loop, o, &c)) return false;
  macula_disconnect(c);
  return true;
}
static bool take_publish(struct asker *a, const void *o) {
  return macula_publish(a->c, "a", "", 0, o, NULL, NULL) == MACULA_NOT_CONNECTED;
}
static bool take_publish_sync(struct asker *a, const void *o) {
  return macula_publish_sync(a->c, "a", "", 0, o, WAIT_MS) == MACULA_NOT_CONNECTED;
}
static bool take_subscribe(struct asker *a, const void *o) {
  macula_sub sub;
  return !macula_subscribe(a->c, "a", o, on_message, NULL, NULL, &sub) && !macula_unsubscribe(a->c, sub);
}
static bool take_subscribe_sync(struct asker *a, const void *o) {
  return macula_subscribe_sync(a->c, "a", o, on_message, NULL, 1, NULL) == MACULA_TIMEOUT;
}
static bool take_call(struct asker *a, const void *o) {
  return macula_call(a->c, "a", "1", 1, o, on_result, NULL, NULL) == MACULA_NOT_CONNECTED;
}
static bool take_call_sync(struct asker *a, const void *o) {
  return macula_call_sync(a->c, "a", "1", 1, o, WAIT_MS, NULL, NULL) == MACULA_NOT_CONNECTED;
}
static bool take_serve(struct asker *a, const void *o) {
  macula_service service;
  return !macula_serve(a->c, "a", o, on_request, NULL, NULL, NULL, &service) && !macula_unserve(a->c, service);
}
static bool take_serve_sync(struct asker *a, const void *o) {
  return macula_serve_sync(a->c, "a", o, on_request, NULL, NULL, 1, NULL) == MACULA_TIMEOUT;
}

/* Programs of an earlier version know less of a struct, those of a later one more; what they do not know is not read. */
static void test_options(void **state) {
  static const struct {
    const char *name;
    size_t size;
    bool (*take)(struct asker *a, const void *o);
  } all[] = {{"macula_loop_options", sizeof(macula_loop_options), take_loop},
             {"macula_options", sizeof(macula_options), take_client},
             {"macula_publish_options", sizeof(macula_publish_options), take_publish},
             {"macula_publish_options", sizeof(macula_publish_options), take_publish_sync},
             {"macula_subscribe_options", sizeof(macula_subscribe_options), take_subscribe},
             {"macula_subscribe_options", sizeof(macula_subscribe_options), take_subscribe_sync},
             {"macula_call_options", sizeof(macula_call_options), take_call},
             {"macula_call_options", sizeof(macula_call_options), take_call_sync},
             {"macula_serve_options", sizeof(macula_serve_options), take_serve},
             {"macula_serve_options", sizeof(macula_serve_options), take_serve_sync}};
  struct asker a;
  (void)state;
  setenv("MACULA_SERVER", "127.0.0.1:1", 1);
  assert_int_equal(macula_loop_new(NULL, &a.loop), 0);
  assert_int_equal(macula_connect(a.loop, NULL, &a.c), 0);
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    const size_t bad[] = {0, sizeof(size_t) - 1, 1 << 20, SIZE_MAX};
    union {
      size_t size;
      uint8_t bytes[400];
    } o;
    memset(&o, 0xff, sizeof o);
    o.size = sizeof o.size; /* of what follows nothing is known */
    assert_true(all[i].take(&a, &o));
    memset(&o, 0, sizeof o);
    for (size_t size = sizeof o.size; size <= sizeof o; size++) {
      o.size = size;
      assert_true(all[i].take(&a, &o));
    }
    o.bytes[all[i].size + 7] = 1;
    o.size = all[i].size + 7;
    assert_true(all[i].take(&a, &o));
    o.size = all[i].size + 8;
    assert_false(all[i].take(&a, &o));
    assert_non_null(strstr(macula_last_error(), all[i].name));
    assert_non_null(strstr(macula_last_error(), "update the library"));
    for (size_t j = 0; j < sizeof bad / sizeof bad[0]; j++) {
      o.size = bad[j];
      assert_false(all[i].take(&a, &o));
      assert_non_null(strstr(macula_last_error(), all[i].name));
    }
  }
  macula_loop_free(a.loop);
  unsetenv("MACULA_SERVER");
}

/* A caller's mistakes are told by the call itself. */
static void test_arguments(void **state) {
  macula_loop *loop;
  macula_client c = {0};
  macula_loop_options lo = {MACULA_INIT(macula_loop_options), .idle_timeout_ms = UINT64_MAX};
  (void)state;
  assert_int_equal(macula_loop_new(&lo, &loop), MACULA_EINVAL);
  assert_int_equal(macula_loop_new(NULL, NULL), MACULA_EINVAL);
  assert_int_equal(macula_connect(NULL, NULL, &c), MACULA_EINVAL);
  assert_int_equal(macula_check_json(NULL, 1), MACULA_EINVAL);
  assert_int_equal(macula_publish(c, "a", "", 0, NULL, NULL, NULL), MACULA_EINVAL);
  assert_int_equal(macula_connect_wait(c, WAIT_MS), MACULA_EINVAL);
  assert_int_equal(macula_unsubscribe(c, (macula_sub){1}), MACULA_EINVAL);
  assert_int_equal(macula_check_topic("a.b"), 0);
  assert_int_equal(macula_check_topic("a.*"), MACULA_INVALID_TOPIC);
  assert_string_equal(macula_last_error(),
                      "'*' at byte 3: wildcards are for patterns of subscriptions only; for the character itself write %2A");
  assert_int_equal(macula_check_pattern("a.**.b"), 0);
  assert_int_equal(macula_check_procedure("Büro 2.Licht an"), 0);
  assert_int_equal(macula_check_procedure("a\tb"), MACULA_INVALID_PROCEDURE);
  assert_int_equal(macula_check_realm(""), MACULA_INVALID_REALM);
  assert_string_equal(macula_version(), MACULA_VERSION);
  macula_free(NULL);
  macula_loop_free(NULL);
  macula_identity_free(NULL);
  macula_disconnect(c);
}

int main(void) {
  static char folder[] = "/tmp/macula-lib-XXXXXX";
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_options), cmocka_unit_test(test_arguments)};
  if (!mkdtemp(folder)) return 1;
  setenv("XDG_CONFIG_HOME", folder, 1);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  char command[320];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command) || failed;
}
