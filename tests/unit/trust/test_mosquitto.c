/* Mosquitto's files, imported: what they allow is allowed, and what cannot be said is refused with its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "access/access.h"
#include "access/mosquitto.h"
#include "base/err.h"
#include "trust/password.h"

#define HASH7 "$7$101$AAECAwQFBgcICQoL$Xr99N9ym9ys8TWxis5ajETJq6EVYzmc6nb8t3pUYnPBbCAbICS4xejTltonXWCtJNBvA+By+TXUqU6qCblO00w=="
#define HASH6 "$6$AAECAwQFBgcICQoL$JqsxEv/ucyxjA5DKsQ+Y8CDWaQDNQI9FpAkmfwAqWfwZLk/JEGgM0EpylrJHAZKKyFQjJeZ3nFaHjPzOzPPmPw=="

static const char passwords[] = "# users\nalice:" HASH7 "\n\nbob:" HASH6 "\n";
static struct mem mem = MEM_INIT("access", 0);

static int import(const char *passwords_text, const char *acl_text, char **ret_yaml, char *why) {
  struct mosquitto_file p = {"passwd", slice_str(passwords_text)}, a = {acl_text ? "acl" : NULL, slice_str(acl_text)};
  return mosquitto_import(&p, &a, ret_yaml, why);
}

static struct access *imported(const char *acl) {
  char *yaml, why[MOSQUITTO_WHY_LEN], wrong[ACCESS_WHY_LEN];
  struct access *a;
  if (import(passwords, acl, &yaml, why)) fail_msg("%s", why);
  if (access_parse(&mem, "imported", slice_str(yaml), NULL, &a, wrong)) fail_msg("%s\n%s", wrong, yaml);
  free(yaml);
  return a;
}

static bool may(const struct access *a, const char *user, enum right right, const char *what) {
  struct name_values who = {.user = slice_str(user), .client = slice_str("c1")};
  const struct access_user *u = access_user(a, slice_str(user));
  return grant_allows(user ? u->grant : access_anonymous(a), right, &who, slice_str(what), NULL);
}

static void users_keep_their_passwords(void **state) {
  (void)state;
  struct access *a = imported(NULL);
  assert_true(password_check(access_user(a, slice_str("alice"))->hash, slice_str("secret")));
  assert_true(password_check(access_user(a, slice_str("bob"))->hash, slice_str("secret")));
  assert_true(may(a, "alice", RIGHT_SUB, "**") && may(a, "bob", RIGHT_PUB, "x.y"));
  assert_null(access_anonymous(a));
  access_unref(a);
}

static void topics_become_patterns(void **state) {
  (void)state;
  struct access *a = imported("topic read public/#\n"
                              "user alice\n"
                              "topic read sensors/+/temp\n"
                              "topic write cmd/a\n"
                              "topic both/x\n"
                              "user carol\n"
                              "topic never\n"
                              "pattern readwrite own/%u/%c/#\n");
  assert_true(may(a, "alice", RIGHT_SUB, "sensors.*.temp") && may(a, "alice", RIGHT_SUB, "sensors.a.temp"));
  assert_false(may(a, "alice", RIGHT_SUB, "sensors.**") || may(a, "alice", RIGHT_PUB, "sensors.a.temp"));
  assert_true(may(a, "alice", RIGHT_PUB, "cmd.a") && may(a, "alice", RIGHT_PUB, "both.x") &&
              may(a, "alice", RIGHT_SUB, "both.x"));
  assert_false(may(a, "bob", RIGHT_PUB, "cmd.a") || may(a, "alice", RIGHT_SUB, "public.x") ||
               may(a, "alice", RIGHT_PUB, "never"));
  assert_true(may(a, "bob", RIGHT_PUB, "own.bob.c1.x") && may(a, "alice", RIGHT_SUB, "own.alice.c1.**"));
  assert_false(may(a, "bob", RIGHT_PUB, "own.alice.c1.x") || may(a, "bob", RIGHT_PUB, "own.bob.c2.x"));
  assert_true(may(a, NULL, RIGHT_SUB, "public.**"));
  assert_false(may(a, NULL, RIGHT_PUB, "public.x"));
  assert_null(access_user(a, slice_str("carol")));
  access_unref(a);
  assert_int_equal(mem.bytes, 0);
}

static void what_cannot_be_said_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *passwords, *acl, *why;
  } v[] = {
      {"alice:secret\n", NULL, "passwd:1: the password is not hashed: run 'mosquitto_passwd -U passwd' first"},
      {"alice\n", NULL, "passwd:1: 'USER:HASH' is expected"},
      {"alice:$2b$x\n", NULL, "passwd:1: no hash of a password"},
      {"a:" HASH7 "\na:" HASH7 "\n", NULL, "passwd:2: the user stands in this file twice"},
      {":" HASH7 "\n", NULL, "passwd:1: a user's name is text"},
      {passwords, "user alice\ntopic deny x/#\n", "acl:2: deny: grants only allow"},
      {passwords, "topic reda x\n", "acl:1: 'reda' is none of read, write and readwrite"},
      {passwords, "topic\n", "acl:1: a topic is missing"},
      {passwords, "allow x\n", "acl:1: 'user', 'topic' or 'pattern' is expected"},
      {passwords, "pattern dev-%u/x\n", "acl:1: %u and %c stand for whole levels here, not for a part of 'dev-%u'"},
      {passwords, "topic a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/5/6/7\n",
       "acl:1: the topic is no pattern here"},
  };
  for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
    char *yaml, why[MOSQUITTO_WHY_LEN];
    assert_int_equal(import(v[i].passwords, v[i].acl, &yaml, why), MACULA_EINVAL);
    if (strncmp(why, v[i].why, strlen(v[i].why)) != 0) fail_msg("'%s' is not '%s'", why, v[i].why);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(users_keep_their_passwords),
      cmocka_unit_test(topics_become_patterns),
      cmocka_unit_test(what_cannot_be_said_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
