/* The options table: YAML, environment and flags, which wins, and what a mistake is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "config.h"

struct fixture {
  char path[64];
  struct config c;
  char why[CONFIG_WHY_LEN];
};

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  strcpy(f->path, "/tmp/macula-config-XXXXXX");
  int fd = mkstemp(f->path);
  if (fd < 0) return -1;
  close(fd);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  unlink(f->path);
  free(f);
  return 0;
}

/* Loads with this file (NULL: none), NULL-terminated environment and flags. The caller calls config_done. */
static int load(struct fixture *f, const char *yaml, const char *const *env, const char *const *flags) {
  static const char *const home[] = {"HOME=/home/x", NULL};
  const char *argv[20] = {"maculad"};
  int argc = 1;
  if (yaml) {
    FILE *file = fopen(f->path, "w");
    fputs(yaml, file);
    fclose(file);
    argv[argc++] = "-c";
    argv[argc++] = f->path;
  }
  for (; flags && *flags; flags++) argv[argc++] = *flags;
  return config_load(argc, argv, env ? env : home, &f->c, f->why);
}

static void assert_refused(struct fixture *f, const char *yaml, const char *const *env, const char *const *flags,
                           const char *text) {
  int err = load(f, yaml, env, flags);
  if (!err || !strstr(f->why, text)) fail_msg("err %d, said \"%s\", expected \"%s\"", err, f->why, text);
  assert_null(strchr(f->why, '\n'));
  config_done(&f->c);
}

static void test_defaults(void **state) {
  struct fixture *f = *state;
  char text[ADDR_TEXT_LEN];
  struct node_limits limits;
  node_limits_default(&limits);
  assert_int_equal(load(f, NULL, NULL, NULL), 0);
  assert_int_equal(f->c.mode, CONFIG_RUN);
  assert_int_equal(f->c.listen.count, 1);
  addr_text(&f->c.listen.at[0], text);
  assert_string_equal(text, "127.0.0.1:9443");
  addr_text(&f->c.http.at, text);
  assert_string_equal(text, "127.0.0.1:8080");
  assert_false(f->c.http.off);
  assert_false(config_is_set(&f->c, OPTION_HTTP));
  assert_string_equal(f->c.node.realm, "default");
  assert_null(f->c.access);
  assert_int_equal(f->c.node.idle_timeout, 30 * NS_SEC);
  assert_int_equal(f->c.node.keep_alive, 10 * NS_SEC);
  assert_int_equal(f->c.node.limits.max_clients, limits.max_clients);
  assert_int_equal(f->c.node.limits.drain_timeout, limits.drain_timeout);
  config_done(&f->c);
}

static void test_three_forms(void **state) {
  struct fixture *f = *state;
  const char *env[] = {"MACULA_MAX_CLIENTS=20", "MACULA_MAX_SERVICES=21", "MACULA_REALM=env", NULL};
  const char *flags[] = {"--max-clients", "30", "--log-format=json", NULL};
  assert_int_equal(load(f, "max_clients: 10\nmax_services: 11\nmax_calls: 12\nrealm: file\nstate: /s\n", env, flags), 0);
  assert_int_equal(f->c.node.limits.max_clients, 30);
  assert_int_equal(f->c.node.limits.max_services, 21);
  assert_int_equal(f->c.node.limits.max_calls, 12);
  assert_string_equal(f->c.node.realm, "env");
  assert_string_equal(f->c.state, "/s");
  assert_true(f->c.log_json);
  char where[CONFIG_WHY_LEN];
  config_where(&f->c, OPTION_MAX_CLIENTS, where);
  assert_string_equal(where, "--max-clients");
  config_where(&f->c, OPTION_MAX_SERVICES, where);
  assert_string_equal(where, "MACULA_MAX_SERVICES");
  config_where(&f->c, OPTION_MAX_CALLS, where);
  assert_non_null(strstr(where, ":3: max_calls"));
  config_done(&f->c);
}

static void test_every_value_kind(void **state) {
  struct fixture *f = *state;
  char text[ADDR_TEXT_LEN];
  const char *yaml = "# a comment\n"
                     "listen: '127.0.0.1:1000, [::1]:2000'\n"
                     "http: off\n"
                     "access: /etc/access.yaml\n"
                     "allow_unverified: yes\n"
                     "idle_timeout: 2m\n"
                     "keep_alive: 1500ms\n"
                     "send_pool: 512MiB\n"
                     "retained_bytes: 16 MB\n"
                     "client_queue: 65536\n"
                     "log_level: debug\n"
                     "log_format: json\n";
  assert_int_equal(load(f, yaml, NULL, NULL), 0);
  assert_int_equal(f->c.listen.count, 2);
  addr_text(&f->c.listen.at[1], text);
  assert_string_equal(text, "[::1]:2000");
  assert_true(f->c.http.off);
  assert_string_equal(f->c.access, "/etc/access.yaml");
  assert_true(f->c.node.allow_unverified);
  assert_int_equal(f->c.node.idle_timeout, 120 * NS_SEC);
  assert_int_equal(f->c.node.keep_alive, 1500 * NS_MS);
  assert_int_equal(f->c.node.limits.send_pool, 512u << 20);
  assert_int_equal(f->c.node.limits.retained_bytes, 16000000);
  assert_int_equal(f->c.node.limits.client_queue, 65536);
  assert_int_equal(f->c.log_level, LOG_DEBUG);
  assert_true(f->c.log_json);
  config_done(&f->c);
  yaml = "realm_keys:\n"
         "  - 00000000000000000000000000000000000000000000000000000000000000aa\n"
         "  - 00000000000000000000000000000000000000000000000000000000000000bb\n";
  assert_int_equal(load(f, yaml, NULL, NULL), 0);
  assert_int_equal(f->c.realm_keys.count, 2);
  assert_int_equal(f->c.realm_keys.at[1].b[31], 0xbb);
  config_done(&f->c);
}

static void test_unknown_key_names_line_and_nearest(void **state) {
  struct fixture *f = *state;
  assert_refused(f, "# x\nrealm: a\n\nmax_client: 3\n", NULL, NULL,
                 ":4: unknown key 'max_client'; did you mean 'max_clients'?");
  assert_refused(f, "max-clients: 3\n", NULL, NULL, ":1: unknown key 'max-clients'; did you mean 'max_clients'?");
  assert_refused(f, "quite_something_else: 3\n", NULL, NULL, "'maculad --help' lists them");
  assert_refused(f, NULL, NULL, (const char *[]){"--max-clinets", "3", NULL},
                 "unknown option --max-clinets; did you mean --max-clients?");
  assert_refused(f, NULL, NULL, (const char *[]){"--jion", "1.2.3.4", NULL}, "unknown option --jion; did you mean --join?");
}

static void test_addresses_of_mqtt(void **state) {
  struct fixture *f = *state;
  char text[ADDR_TEXT_LEN];
  assert_int_equal(load(f, "mqtt: 127.0.0.1:1\n", NULL, (const char *[]){"--mqtt", "off", "--mqtt-ws", "localhost", NULL}), 0);
  assert_int_equal(f->c.mqtt.count, 0);
  assert_int_equal(f->c.mqtt_ws.count, 1);
  addr_text(&f->c.mqtt_ws.at[0], text);
  assert_string_equal(text, "127.0.0.1:8083");
  assert_true(f->c.node.limits.mqtt_pool > 0);
  config_done(&f->c);
  /* On loopback it is there unless something is said; off loopback, and where the port is asked for by another key, it is not.
   */
  assert_int_equal(load(f, NULL, NULL, NULL), 0);
  assert_int_equal(f->c.mqtt.count, 1);
  addr_text(&f->c.mqtt.at[0], text);
  assert_string_equal(text, "127.0.0.1:1883");
  assert_true(f->c.node.limits.mqtt_pool > 0);
  assert_true(config_close_mqtt(&f->c));
  assert_false(config_close_mqtt(&f->c));
  assert_true(!f->c.mqtt.count && !f->c.node.limits.mqtt_pool);
  config_done(&f->c);
  assert_int_equal(load(f, NULL, NULL, (const char *[]){"--mqtt", "127.0.0.1:1883", NULL}), 0);
  assert_false(config_close_mqtt(&f->c));
  config_done(&f->c);
  assert_int_equal(load(f, NULL, NULL, (const char *[]){"--http", "127.0.0.1:1883", NULL}), 0);
  assert_int_equal(f->c.mqtt.count, 0);
  config_done(&f->c);
  assert_int_equal(load(f, NULL, NULL, (const char *[]){"--listen", "127.0.0.1:1,0.0.0.0:2", "--access", "/x", NULL}), 0);
  assert_int_equal(f->c.mqtt.count, 0);
  config_done(&f->c);
  assert_refused(f, NULL, NULL, (const char *[]){"--mqtt", "here", NULL}, "neither off nor a list");
  assert_refused(f, NULL, NULL, (const char *[]){"--mqtt", "here", NULL}, "as 127.0.0.1:1883 or [::]:1883");
  assert_refused(f, NULL, NULL, (const char *[]){"--mqtt", "localhostess:1", NULL}, "neither off nor");
  assert_refused(f, NULL, NULL, (const char *[]){"--mqtt", "localhost", "--mqtt", "127.0.0.1", NULL}, "is given twice");
  assert_refused(f, NULL, NULL, (const char *[]){"--mqtt", "[::1]:5", "--mqtt-wss", "[::1]:5", NULL},
                 "--mqtt: [::1]:5 is that of --mqtt-wss, too");
  assert_refused(f, "http: 127.0.0.1:5\nmqtts: 127.0.0.1:5\n", NULL, NULL, ":2: mqtts: 127.0.0.1:5 is that of");
  assert_refused(f, NULL, NULL, (const char *[]){"--mqtt-ws", "0.0.0.0:1", NULL}, "can be reached by others");
  assert_refused(f, NULL, NULL, (const char *[]){"--mqtt-origins", "panel.example", NULL},
                 "http://HOST:PORT or https://HOST:PORT");
}

static void test_units(void **state) {
  struct fixture *f = *state;
  static const struct {
    const char *yaml;
    uint64_t wanted;
  } durations[] = {{"idle_timeout: 30\n", 30},
                   {"idle_timeout: 30s\n", 30},
                   {"idle_timeout: 5m\n", 300},
                   {"idle_timeout: 5min\n", 300},
                   {"idle_timeout: 1d\n", 86400}},
    sizes[] = {{"send_pool: 512M\n", 512 << 20},
               {"send_pool: 512MiB\n", 512 << 20},
               {"send_pool: 512mib\n", 512 << 20},
               {"send_pool: 300MB\n", 300000000},
               {"send_pool: 1g\n", 1 << 30}};
  for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
    assert_int_equal(load(f, durations[i].yaml, NULL, NULL), 0);
    assert_int_equal(f->c.node.idle_timeout, durations[i].wanted * NS_SEC);
    config_done(&f->c);
  }
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    assert_int_equal(load(f, sizes[i].yaml, NULL, NULL), 0);
    assert_int_equal(f->c.node.limits.send_pool, sizes[i].wanted);
    config_done(&f->c);
  }
}

static void test_lists_are_texts_too(void **state) {
  struct fixture *f = *state;
  static const char *const listens[] = {"listen: '127.0.0.1:1000, [::1]:2000'\n", "listen: ['127.0.0.1:1000', '[::1]:2000']\n"};
  static const char *const joins[] = {"join: '127.0.0.1:1000, 127.0.0.1:2000'\n",
                                      "join:\n  - 127.0.0.1:1000\n  - 127.0.0.1:2000\n"};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(load(f, listens[i], NULL, NULL), 0);
    assert_int_equal(f->c.listen.count, 2);
    config_done(&f->c);
    assert_int_equal(load(f, joins[i], NULL, NULL), 0);
    assert_int_equal(f->c.join.count, 2);
    config_done(&f->c);
  }
}

static void test_wrong_values_name_their_place(void **state) {
  struct fixture *f = *state;
  assert_refused(f, "realm: a\nmax_clients: many\n", NULL, NULL, ":2: max_clients: 'many' is not a number from 1 to 1000000");
  assert_refused(f, "max_clients: 0\n", NULL, NULL, ":1: max_clients:");
  assert_refused(f, "idle_timeout: 30x\n", NULL, NULL, "is not a duration (500ms, 30, 30s, 2m, 1h) from 1s to 24h");
  assert_refused(f, "send_pool: 12 parsecs\n", NULL, NULL, "is not a size");
  assert_refused(f, "realm: a..b\n", NULL, NULL, ":1: realm: 'a..b' is not a realm: segment 2 of 3 is empty");
  assert_refused(f, "realm: a b\n", NULL, NULL, "the blank at byte 2");
  assert_refused(f, "log_level: loud\n", NULL, NULL, "none of error, warn, info, debug");
  assert_refused(f, "access: token:/etc/token\n", NULL, NULL, "tokens: [{file: /etc/token");
  assert_refused(f, "listen: localhost:9443\n", NULL, NULL, "numeric ADDR:PORT");
  assert_refused(f, NULL, NULL, (const char *[]){"--join", "a b", NULL}, "--join: 'a b' is no address: write host, host:port");
  assert_refused(f, NULL, NULL, (const char *[]){"--join", "macula://12@a:1", NULL}, "'macula://12@a:1' is no address");
  assert_refused(f, NULL, NULL, (const char *[]){"--join", "host:99999", NULL},
                 "--join: 'host:99999' is no address: a port is");
  assert_refused(f, NULL, NULL, (const char *[]){"--listen", "127.0.0.1:99999", NULL},
                 "'127.0.0.1:99999': a port is 0 to 65535");
  assert_refused(f, NULL, NULL, (const char *[]){"--mqtt", "[::1]:70000", NULL}, "'[::1]:70000': a port is 0 to 65535");
  assert_refused(f, NULL, NULL, (const char *[]){"--http", "127.0.0.1:99999", NULL}, "'127.0.0.1:99999': a port is 0 to 65535");
  assert_refused(f, NULL, NULL, (const char *[]){"--join", "a,0.0.0.0:1", NULL}, "--join: 0.0.0.0:1 stands for all addresses");
  assert_refused(f, NULL, NULL, (const char *[]){"--advertise", "0.0.0.0:1", NULL},
                 "--advertise: 0.0.0.0:1 stands for all addresses");
  assert_refused(f, NULL, NULL, (const char *[]){"--advertise", "a:0", NULL}, "--advertise: 'a:0' is no address");
  assert_refused(f, NULL, NULL, (const char *[]){"--advertise", "fe80::a%lo", NULL}, "leads nowhere from beyond its link");
  assert_refused(f, NULL, NULL, (const char *[]){"--join", "fe80::1%nosuch0", NULL}, "no network interface 'nosuch0'");
  assert_refused(f, NULL, NULL, (const char *[]){"--listen", "[fe80::1]:1", NULL}, "as in fe80::1%eth0");
  assert_refused(f, NULL, NULL, (const char *[]){"--http", "[fe80::1%nosuch0]:1", NULL}, "no network interface 'nosuch0'");
  assert_refused(f, "join: [ok, 'host:x']\n", NULL, NULL, ":1: join:");
  assert_refused(f, "realm: a\nname: &x b\n", NULL, NULL,
                 ":2: an anchor (&NAME)"); /* libyaml looks through all of them for each */
  assert_refused(f, "%TAG ! tag:x:\n---\nrealm: a\n", NULL, NULL, ":1: a line that begins with %");
  assert_refused(f, "realm: *x\n", NULL, NULL, ":1: an alias");
  assert_refused(f, NULL, NULL, (const char *[]){"--admin-keys", "x", NULL},
                 "--admin-keys: operators stand in the access file");
  assert_refused(f, "admin_keys: [x]\n", NULL, NULL, ":1: admin_keys: operators stand in the access file");
  assert_refused(f, "token: x\n", NULL, NULL, ":1: token: tokens stand in the access file");
  assert_refused(f, "realm_keys: [abc]\n", NULL, NULL, "64 hexadecimal digits");
  assert_refused(f, NULL, (const char *[]){"HOME=/", "MACULA_HTTP=8080", NULL}, NULL, "MACULA_HTTP: '8080'");
  assert_refused(f, NULL, NULL, (const char *[]){"--keep-alive=20s", NULL},
                 "--keep-alive: must be at most half of idle_timeout");
  assert_refused(f, NULL, NULL, (const char *[]){"--max-frame", "2MiB", NULL}, "--max-frame:");
}

static void test_not_yaml(void **state) {
  struct fixture *f = *state;
  assert_refused(f, "realm: a\nname: [x\n", NULL, NULL, "not YAML");
  assert_refused(f, "realm: a\n\tname: x\n", NULL, NULL, ":2: not YAML");
  assert_refused(f, "- realm\n", NULL, NULL, ":1: 'key: value' lines are expected");
  assert_refused(f, "name: x\nrealm:\n  name: a\n", NULL, NULL, ":2: realm: one value is expected");
  assert_refused(f, "name: x\nrealm_keys: abc\n", NULL, NULL, ":2: realm_keys: needs at most");
  assert_refused(f, "name: x\nrealm_keys: {a: b}\n", NULL, NULL, ":2: realm_keys: one value is expected");
  assert_refused(f, "realm: a\nrealm: b\n", NULL, NULL, ":2: realm: stands in line 1 already");
  assert_refused(f, "realm: &x a\nname: *x\n", NULL, NULL, "anchor");
  assert_refused(f, NULL, NULL, (const char *[]){"-c", "/nowhere/at/all.yaml", NULL}, "/nowhere/at/all.yaml");
}

/* 200,000 levels took libyaml 8 s; the first few are enough to refuse them. */
static void test_nested_deeply(void **state) {
  struct fixture *f = *state;
  enum { LEVELS = 200000 };
  static char text[32 + 2 * LEVELS];
  assert_refused(f, "realm: a\nname: {a: {a: {a: {a: {a: {a: {a: {a: b}}}}}}}}\n", NULL, NULL, ":2: nested too deeply");
  strcpy(text, "realm: a\nname: ");
  size_t n = strlen(text);
  memset(text + n, '[', LEVELS);
  assert_refused(f, text, NULL, NULL, ":2: nested too deeply");
  for (size_t i = 0; i < LEVELS; i++) memcpy(text + n + 2 * i, "- ", 2);
  text[n - 1] = '\n';
  assert_refused(f, text, NULL, NULL, ":3: nested too deeply");
}

static void test_nul_in_a_text(void **state) {
  struct fixture *f = *state;
  assert_refused(f, "realm: a\nname: \"a\\0b\"\n", NULL, NULL, ":2: a text with a NUL");
  assert_refused(f, "\"realm\\x00x\": a\n", NULL, NULL, ":1: a text with a NUL");
  assert_refused(f, "join:\n  - a\n  - \"b\\u0000c\"\n", NULL, NULL, ":3: a text with a NUL");
}

static void test_fifo(void **state) {
  struct fixture *f = *state;
  char path[80];
  snprintf(path, sizeof path, "%s.fifo", f->path);
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_refused(f, NULL, NULL, (const char *[]){"-c", path, NULL}, "no regular file");
  unlink(path);
}

/* As a shell does for maculad -c <(COMMAND). */
static void test_from_a_descriptor(void **state) {
  struct fixture *f = *state;
  char path[32];
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(write(ends[1], "max_clients: 7\n", 15), 15);
  close(ends[1]);
  snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
  assert_int_equal(load(f, NULL, NULL, (const char *[]){"-c", path, NULL}), 0);
  assert_int_equal(f->c.node.limits.max_clients, 7);
  config_done(&f->c);
  close(ends[0]);
}

static void test_empty_file_is_fine(void **state) {
  struct fixture *f = *state;
  assert_int_equal(load(f, "", NULL, NULL), 0);
  config_done(&f->c);
  assert_int_equal(load(f, "# nothing\n", NULL, NULL), 0);
  config_done(&f->c);
}

static void test_off_loopback_demands_access(void **state) {
  struct fixture *f = *state;
  assert_refused(f, "listen: 0.0.0.0:9443\n", NULL, NULL, "--access FILE");
  assert_refused(f, NULL, NULL, (const char *[]){"--listen", "127.0.0.1:1,[::]:2", NULL}, "[::]:2 can be reached by others");
  assert_refused(f, "listen: 0.0.0.0:9443\naccess: open\n", NULL, NULL, "--access FILE");
  assert_int_equal(load(f, "listen: 0.0.0.0:9443\naccess: a.yaml\n", NULL, NULL), 0);
  config_done(&f->c);
}

static void test_flags(void **state) {
  struct fixture *f = *state;
  assert_int_equal(load(f, NULL, NULL, (const char *[]){"--check", "--allow-unverified", "--name", "n", NULL}), 0);
  assert_int_equal(f->c.mode, CONFIG_CHECK);
  assert_true(f->c.node.allow_unverified);
  assert_string_equal(f->c.node.name, "n");
  config_done(&f->c);
  assert_int_equal(load(f, "allow_unverified: true\n", NULL, (const char *[]){"--allow-unverified=false", NULL}), 0);
  assert_false(f->c.node.allow_unverified);
  config_done(&f->c);
  assert_int_equal(load(f, NULL, NULL, (const char *[]){"--listen", "127.0.0.1:1", "--listen", "127.0.0.1:2", NULL}), 0);
  assert_int_equal(f->c.listen.count, 2);
  config_done(&f->c);
  assert_refused(f, NULL, NULL, (const char *[]){"--plan", "--check", NULL}, "ask for one at a time");
  assert_refused(f, NULL, NULL, (const char *[]){"--name", NULL}, "--name needs a value: NAME");
  assert_refused(f, NULL, NULL, (const char *[]){"start", NULL}, "'start' is not an option");
  assert_refused(f, NULL, NULL, (const char *[]){"--key", "/k", NULL}, "give --cert FILE too");
}

static void test_idle_timeout_brings_keep_alive_down(void **state) {
  struct fixture *f = *state;
  assert_int_equal(load(f, NULL, NULL, (const char *[]){"--idle-timeout", "3s", NULL}), 0);
  assert_int_equal(f->c.node.keep_alive, NS_SEC);
  config_done(&f->c);
}

static void test_state_folder(void **state) {
  struct fixture *f = *state;
  assert_int_equal(load(f, NULL, (const char *[]){"HOME=/h", "STATE_DIRECTORY=/var/lib/a:/var/lib/b", NULL}, NULL), 0);
  assert_string_equal(f->c.state, "/var/lib/a");
  config_done(&f->c);
  assert_int_equal(load(f, NULL, (const char *[]){"HOME=/h", "XDG_STATE_HOME=/x", NULL}, NULL), 0);
  assert_string_equal(f->c.state, geteuid() ? "/x/macula" : "/var/lib/macula");
  config_done(&f->c);
  assert_int_equal(load(f, NULL, NULL, (const char *[]){"--state", "/elsewhere", NULL}), 0);
  assert_string_equal(f->c.state, "/elsewhere");
  config_done(&f->c);
}

static void test_what_a_reload_cannot_change(void **state) {
  struct fixture *f = *state;
  char names[CONFIG_WHY_LEN];
  assert_int_equal(load(f, "realm: a\nmax_clients: 5\naccess: /x\nca: /ca\n", NULL, NULL), 0);
  struct config before = f->c;
  assert_int_equal(load(f, "realm: b\nmax_clients: 6\naccess: /y\nca: /ca2\nlog_level: debug\n", NULL, NULL), 0);
  assert_int_equal(config_fixed_changes(&before, &f->c, names), 1);
  assert_string_equal(names, "realm");
  config_done(&f->c);
  assert_int_equal(load(f, "realm: a\naccess: open\nlisten: 127.0.0.1:1\n", NULL, NULL), 0);
  assert_int_equal(config_fixed_changes(&before, &f->c, names), 2);
  assert_string_equal(names, "listen,ca");
  config_done(&f->c);
  config_done(&before);
}

static void test_help_lists_every_option(void **state) {
  (void)state;
  char *help = config_help();
  assert_non_null(help);
  assert_non_null(strstr(help, "--drain-timeout T"));
  assert_non_null(strstr(help, "(10000)"));
  assert_non_null(strstr(help, "(256MiB)"));
  assert_non_null(strstr(help, "(30s)"));
  for (char *line = help, *end; (end = strchr(line, '\n')); line = end + 1) {
    *end = 0;
    if (end - line > 80) fail_msg("wider than a terminal: %s", line);
  }
  free(help);
}

/* A pool that a single client of MQTT could fill is refused, with what it takes. */
static void mqtt_pool(void **state) {
  (void)state;
  struct config c;
  char why[CONFIG_WHY_LEN];
  static const char *const env[] = {NULL};
  const char *few[] = {"maculad", "--mqtt", "127.0.0.1:0", "--mqtt-pool", "2MiB", "--state", "x"},
             *enough[] = {"maculad", "--mqtt", "127.0.0.1:0", "--mqtt-pool", "2MiB", "--max-frame", "64KiB", "--state", "x"};
  assert_int_equal(config_load(7, few, env, &c, why), MACULA_EINVAL);
  assert_non_null(strstr(why, "takes up to 4352 KiB"));
  config_done(&c);
  assert_int_equal(config_load(9, enough, env, &c, why), 0);
  config_done(&c);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      CASE(test_defaults),
      CASE(test_three_forms),
      CASE(test_every_value_kind),
      CASE(test_unknown_key_names_line_and_nearest),
      CASE(test_addresses_of_mqtt),
      CASE(test_units),
      CASE(test_lists_are_texts_too),
      CASE(test_wrong_values_name_their_place),
      CASE(test_not_yaml),
      CASE(test_nested_deeply),
      CASE(test_nul_in_a_text),
      CASE(test_fifo),
      CASE(test_from_a_descriptor),
      CASE(test_empty_file_is_fine),
      CASE(test_off_loopback_demands_access),
      CASE(test_flags),
      CASE(test_idle_timeout_brings_keep_alive_down),
      CASE(test_state_folder),
      CASE(test_what_a_reload_cannot_change),
      CASE(test_help_lists_every_option),
      CASE(mqtt_pool),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
