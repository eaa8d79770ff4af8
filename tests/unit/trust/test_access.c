/* Access files: what they give to whom, and what is said of those that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "access/access.h"
#include "base/err.h"

#define ID_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define ID_B "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HASH "$7$101$AAECAwQFBgcICQoL$Xr99N9ym9ys8TWxis5ajETJq6EVYzmc6nb8t3pUYnPBbCAbICS4xejTltonXWCtJNBvA+By+TXUqU6qCblO00w=="

static struct mem mem = MEM_INIT("access", 0);

static const char whole[] = "grants:\n"
                            "  sensors:\n"
                            "    role: client\n"
                            "    pub: ['plant.${id}.**', 'log/+']\n"
                            "    sub:\n"
                            "      - 'cmd.**'\n"
                            "      - 'plant.#'\n"
                            "    call: ['math.*']\n"
                            "    quotas: {connections: 4, messages: 0}\n"
                            "  all: {role: operator, pub: ['**'], sub: ['**'], call: ['**'], serve: ['**']}\n"
                            "  nothing:\n"
                            "tokens:\n"
                            "  - {token: 'a token of 18 bytes', grant: sensors}\n"
                            "  - {file: /token, grant: all, role: node}\n"
                            "users:\n"
                            "  bob: {password: '" HASH "', grant: all, role: client}\n"
                            "  alice: {password: '" HASH "', grant: sensors}\n"
                            "keys:\n"
                            "  " ID_B ": sensors\n"
                            "  " ID_A ": {grant: all, role: node}\n"
                            "realm_keys: [" ID_A "]\n"
                            "anonymous: nothing\n"
                            "default: sensors\n";

static int read_token(void *ctx, const char *path, char **ret_token, char why[256]) {
  (void)ctx;
  if (strcmp(path, "/token") != 0) return snprintf(why, 256, "%s cannot be read", path), MACULA_EIO;
  *ret_token = strdup("another token of 26 bytes.");
  return 0;
}
static const struct access_files files = {read_token, NULL};

static struct access *parse(const char *text) {
  char why[ACCESS_WHY_LEN];
  struct access *a;
  if (access_parse(&mem, "access.yaml", slice_str(text), &files, &a, why)) fail_msg("%s", why);
  assert_string_equal(why, "");
  return a;
}

static void everybody_gets_the_grant_that_is_named(void **state) {
  (void)state;
  struct access *a = parse(whole);
  struct grant_rule by;
  struct id id;
  const struct access_user *alice = access_user(a, slice_str("alice")), *bob = access_user(a, slice_str("bob"));
  assert_true(grant_allows(alice->grant, RIGHT_SUB, &(struct name_values){0}, slice_str("plant.*.temp"), &by));
  assert_int_equal(by.line, 7);
  assert_true(slice_is(by.pattern, "plant.**"));
  assert_true(grant_allows(alice->grant, RIGHT_PUB, &(struct name_values){0}, slice_str("log.x"), &by));
  assert_int_equal(by.line, 4);
  assert_int_equal(grant_quota(alice->grant, QUOTA_MESSAGES), 0);
  assert_int_equal(grant_quota(alice->grant, QUOTA_SERVICES), QUOTA_NONE);
  assert_int_equal(grant_role(bob->grant), ROLE_CLIENT); /* another than the grant's own */
  assert_true(slice_is(grant_name(bob->grant), "all"));
  assert_true(slice_is(bob->hash, HASH));
  assert_null(access_user(a, slice_str("carol")));
  assert_null(access_user(a, SLICE_NONE));
  assert_int_equal(id_parse(slice_str(ID_A), &id), 0);
  assert_int_equal(grant_role(access_key(a, &id)), ROLE_NODE);
  id.b[5] ^= 1;
  assert_null(access_key(a, &id));
  size_t realms;
  assert_non_null(access_realms(a, &realms));
  assert_int_equal(realms, 1);
  assert_int_equal(grant_count(access_anonymous(a)), 0);
  assert_ptr_equal(access_default(a), access_grant(a, slice_str("sensors")));
  assert_null(access_grant(a, slice_str("sensor")));
  access_unref(a);
  assert_int_equal(mem.bytes, 0);
}

static void tokens_are_proved(void **state) {
  (void)state;
  struct access *a = parse(whole);
  struct token_session s = {.exporter = {1}};
  uint8_t proof[TOKEN_PROOF_LEN];
  unsigned line = 0;
  size_t count;
  const struct slice *tokens = access_tokens(a, &count);
  assert_int_equal(count, 2);
  assert_true(slice_is(tokens[1], "another token of 26 bytes."));
  token_prove(tokens[1], TOKEN_OF_CLIENT, &s, proof);
  assert_int_equal(grant_role(access_token(a, TOKEN_OF_CLIENT, &s, slice_of(proof, sizeof proof), &line)), ROLE_NODE);
  assert_int_equal(line, 14);
  assert_null(access_token(a, TOKEN_OF_NODE, &s, slice_of(proof, sizeof proof), NULL));
  access_unref(a);
}

static void an_empty_file_grants_nothing(void **state) {
  (void)state;
  const char *empty[] = {"", "# nothing\n", "grants:\n", "grants: {}\nusers:\ntokens: []\nanonymous:\n"};
  for (size_t i = 0; i < 4; i++) {
    struct access *a = parse(empty[i]);
    assert_null(access_anonymous(a));
    assert_null(access_default(a));
    assert_null(access_user(a, slice_str("x")));
    assert_null(access_key(a, &(struct id){{1}}));
    access_unref(a);
  }
  assert_int_equal(mem.bytes, 0);
}

/* Each names the line, and says what to write instead. */
static void what_is_wrong_is_named_with_its_line(void **state) {
  (void)state;
  static const struct {
    const char *text, *why;
  } v[] = {
      {"grant:\n  a: {}\n", "access.yaml:1: unknown key 'grant': here stand grants, tokens, users, keys"},
      {"grants:\n  a:\n    publish: ['x']\n",
       "access.yaml:3: unknown key 'publish': here stand role, pub, sub, call, serve, quotas"},
      {"grants:\n  a:\n    pub: x\n", "access.yaml:3: pub: a list is expected here, as [a, b]"},
      {"grants:\n  a:\n    pub:\n      - 'x'\n      - 'a.b*'\n", "access.yaml:5: pub: 'a.b*' is no pattern: "},
      {"grants:\n  a: {pub: ['x.${name}']}\n", "access.yaml:2: pub: 'x.${name}' is no pattern: "},
      {"grants:\n  a: {role: admin}\n", "access.yaml:2: role: it is client, node or operator, not 'admin'"},
      {"grants:\n  a:\n    role: client\n    role: node\n", "access.yaml:4: role: stands already, with its value in line 3"},
      {"grants:\n  a: {}\n  a: {}\n", "access.yaml:3: a second grant 'a'"},
      {"grants:\n  a: {quotas: {messages: many}}\n", "access.yaml:2: messages: a number from 0 to 4294967294 is expected"},
      {"grants:\n  a: {quotas: {messages: 4294967295}}\n", "access.yaml:2: messages: a number from 0"},
      {"grants:\n  a: {quotas: {message: 1}}\n", "unknown key 'message': here stand connections, subscriptions, services"},
      {"grants: [a]\n", "access.yaml:1: grants: a mapping is expected"},
      {"grants:\n  a: {}\nanonymous: b\n", "access.yaml:3: there is no grant 'b': one of the names under grants"},
      {"tokens:\n  - {token: short, grant: a}\n", "access.yaml:2: a token has at least 16 bytes"},
      {"tokens:\n  - {grant: a}\n", "access.yaml:2: a token has either 'file: PATH' or 'token: TEXT'"},
      {"tokens:\n  - {file: /x, grant: a}\n", "access.yaml:2: /x cannot be read"},
      {"grants: {a: }\ntokens:\n  - {token: 0123456789abcdef, grant: a}\n  - {token: 0123456789abcdef, grant: a}\n",
       "access.yaml:4: the same token stands in line 3"},
      {"tokens:\n  - {token: 0123456789abcdef}\n", "access.yaml:2: a grant is missing: 'grant: NAME'"},
      {"users:\n  alice: {password: secret, grant: a}\n", "access.yaml:2: password: no hash of a password: 'macula user add'"},
      {"users:\n  alice: {grant: a}\n", "access.yaml:2: user alice: 'password: HASH' is missing"},
      {"users:\n  alice: a\n", "access.yaml:2: alice: 'key: value' lines are expected here"},
      {"grants: {a: }\nusers:\n  x: {password: '" HASH "', grant: a}\n  x: {password: '" HASH "', grant: a}\n",
       "users: 'x' stands in lines "},
      {"keys:\n  abc: a\n", "access.yaml:2: keys: an id of 64 hexadecimal digits is expected, as 'macula id' prints it"},
      {"grants: {a: }\nkeys:\n  " ID_A ": a\n  " ID_A ": a\n", "keys: " ID_A " stands twice"},
      {"realm_keys: [x]\n",
       "access.yaml:1: realm_keys: an id of 64 hexadecimal digits is expected, as 'macula realm new' prints it"},
      {"grants:\n  a: {pub: [*x]}\n", "access.yaml:2: "},
      {"grants:\nusers: *x\n", "access.yaml:2: an alias (*NAME)"},
      {"grants: &x\n  a: {}\n", "access.yaml:1: an anchor (&NAME)"},
      {"grants:\n  &a a: {}\n", "access.yaml:2: an anchor (&NAME)"},
      {"grants:\n  a: {pub: &x [a]}\n", "access.yaml:2: an anchor (&NAME)"},
      {"%TAG !a! b\n---\ngrants:\n", "a directive of YAML"},
      {"a: [[[[[[[[[[\n", "nested too deeply"},
      {"grants:\n---\nusers:\n", "a second document begins here"},
      {"grants: \"a\\0b\"\n", "a text with a NUL"},
      {"grants: {\n", "not YAML"},
      {"just a text\n", "access.yaml:1: the file: 'key: value' lines are expected here"},
  };
  for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
    char why[ACCESS_WHY_LEN];
    struct access *a;
    int err = access_parse(&mem, "access.yaml", slice_str(v[i].text), &files, &a, why);
    if (!err) fail_msg("taken: %s", v[i].text);
    if (!strstr(why, v[i].why)) fail_msg("'%s' is not '%s'", why, v[i].why);
    assert_int_equal(mem.bytes, 0);
  }
}

static void without_memory_nothing_is_kept(void **state) {
  (void)state;
  struct mem_fail nth = {0};
  struct mem short_mem = MEM_INIT("access", 0);
  char why[ACCESS_WHY_LEN];
  struct access *a;
  short_mem.fail = &nth;
  for (uint64_t n = 1;; n++) {
    nth = (struct mem_fail){.countdown = n};
    int err = access_parse(&short_mem, "access.yaml", slice_str(whole), &files, &a, why);
    if (!err) break;
    assert_int_equal(err, MACULA_ENOMEM);
    assert_int_equal(short_mem.bytes, 0);
  }
  access_unref(a);
  assert_int_equal(short_mem.bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everybody_gets_the_grant_that_is_named), cmocka_unit_test(tokens_are_proved),
      cmocka_unit_test(an_empty_file_grants_nothing),           cmocka_unit_test(what_is_wrong_is_named_with_its_line),
      cmocka_unit_test(without_memory_nothing_is_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
