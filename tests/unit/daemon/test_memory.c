/* memory_max: what auto finds, what it lowers, what a refusal says; and that each limit can be set. */
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
#include "memory.h"

#define MIB (UINT64_C(1) << 20)

struct fixture {
  char root[64]; /* stands for / */
  struct config c;
  struct memory_fit fit;
  char why[CONFIG_WHY_LEN], *text;
};

static void put(struct fixture *f, const char *path, const char *text) {
  char name[512];
  snprintf(name, sizeof name, "%s%s", f->root, path);
  for (char *p = name + strlen(f->root) + 1; *p; p++)
    if (*p == '/') {
      *p = 0;
      mkdir(name, 0700);
      *p = '/';
    }
  FILE *file = fopen(name, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  strcpy(f->root, "/tmp/macula-memory-XXXXXX");
  *state = f;
  return mkdtemp(f->root) ? 0 : -1;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", f->root);
  int r = system(command);
  config_done(&f->c);
  free(f->text);
  free(f);
  return r;
}

static void load(struct fixture *f, const char *a, const char *b) {
  static const char *const env[] = {"HOME=/home/x", NULL};
  const char *argv[] = {"maculad", a, b};
  int err = config_load(b ? 3 : a ? 2 : 1, argv, env, &f->c, f->why);
  if (err) fail_msg("%s", f->why);
}

static void test_sources(void **state) {
  struct fixture *f = *state;
  const char *source;
  assert_int_equal(memory_available(f->root, &source), 0);
  put(f, "/proc/meminfo", "MemFree: 5 kB\nMemTotal:  1048576 kB\n");
  assert_int_equal(memory_available(f->root, &source), 1024 * MIB);
  assert_string_equal(source, "machine");
  put(f, "/proc/self/cgroup", "0::/system.slice/maculad.service\n");
  put(f, "/sys/fs/cgroup/system.slice/maculad.service/memory.max", "max\n");
  assert_int_equal(memory_available(f->root, &source), 1024 * MIB);
  put(f, "/sys/fs/cgroup/system.slice/memory.max", "536870912\n"); /* the group above counts, too */
  assert_int_equal(memory_available(f->root, &source), 512 * MIB);
  assert_string_equal(source, "control group");
  put(f, "/sys/fs/cgroup/system.slice/maculad.service/memory.max", "268435456\n");
  assert_int_equal(memory_available(f->root, &source), 256 * MIB);
  put(f, "/sys/fs/cgroup/memory.max", "134217728\n"); /* as in a container */
  assert_int_equal(memory_available(f->root, &source), 128 * MIB);
  put(f, "/proc/self/cgroup", "12:cpu,cpuacct:/a\n7:memory:/docker/abc\n0::/\n");
  put(f, "/sys/fs/cgroup/memory.max", "max\n");
  put(f, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"); /* version 1 for none */
  assert_int_equal(memory_available(f->root, &source), 1024 * MIB);
  put(f, "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "67108864\n");
  assert_int_equal(memory_available(f->root, &source), 64 * MIB);
}

static void test_auto(void **state) {
  struct fixture *f = *state;
  put(f, "/proc/meminfo", "MemTotal:  524288 kB\n");
  load(f, "--memory-max=auto", "--max-services=4321");
  assert_true(f->c.memory.is_auto);
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), 0);
  assert_int_equal(f->fit.max, 384 * MIB);
  assert_true(f->fit.plan.total <= f->fit.max && f->fit.changed > 0);
  assert_true(f->c.node.limits.max_clients < 10000);
  assert_int_equal(f->c.node.limits.max_services, 4321); /* was asked for */
  char *out = NULL;
  size_t len;
  FILE *file = open_memstream(&out, &len);
  memory_print_choice(file, &f->fit);
  fclose(file);
  assert_non_null(strstr(out, "auto: 384 MiB of the machine's 512 MiB"));
  assert_non_null(strstr(out, "max_clients"));
  free(out);
  file = open_memstream(&out, &len);
  assert_int_equal(memory_print_json(file, &f->fit), 0);
  fclose(file);
  assert_non_null(strstr(out, "\"source\": \"machine\""));
  assert_non_null(strstr(out, "\"key\": \"max_clients\""));
  free(out);
}

static char *yaml(struct fixture *f, int expected) {
  char *out = NULL;
  size_t len;
  FILE *file = open_memstream(&out, &len);
  assert_int_equal(memory_print_yaml(file, &f->fit, &f->c), expected);
  fclose(file);
  return out;
}

/* What was printed, as a file of its own: it fits, and says the same again. */
static void check_pasted(struct fixture *f, const char *text) {
  char path[128], again[160];
  put(f, "/maculad.yaml", text);
  snprintf(path, sizeof path, "%s/maculad.yaml", f->root);
  snprintf(again, sizeof again, "--config=%s", path);
  config_done(&f->c);
  load(f, again, "--plan");
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), 0);
  assert_true(f->fit.plan.total <= f->fit.max);
  assert_int_equal(f->fit.changed, 0);
}

static void test_auto_of_a_size(void **state) {
  struct fixture *f = *state;
  put(f, "/proc/meminfo", "MemTotal:  33554432 kB\n");
  load(f, "--memory-max=auto:256MiB", "--mqtt=127.0.0.1:1883");
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), 0);
  assert_int_equal(f->fit.max, 256 * MIB);
  assert_int_equal(f->c.node.limits.memory_max, 256 * MIB);
  assert_true(f->fit.plan.total <= f->fit.max && f->fit.changed > 0); /* the kernel's part is beside it */
  assert_true(f->fit.plan.total > f->fit.max / 8 * 7);
  char *out = NULL;
  size_t len;
  FILE *file = open_memstream(&out, &len);
  memory_print_choice(file, &f->fit);
  fclose(file);
  assert_non_null(strstr(out, "auto: 256 MiB; the plan takes"));
  free(out);
  out = yaml(f, 0);
  assert_non_null(strstr(out, "\nmemory_max: 256MiB\nmax_clients: "));
  check_pasted(f, out);
  free(out);
}

/* Of an explicit size the lines are those that would fit; of one that is too small there are none; without one it is the
 * plan's. */
static void test_yaml(void **state) {
  struct fixture *f = *state;
  load(f, "--memory-max=300MiB", "--plan");
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), MACULA_ENOMEM);
  assert_non_null(strstr(f->text, "--plan --yaml"));
  char *out = yaml(f, 0);
  assert_non_null(strstr(out, "\nmemory_max: 300MiB\nmax_clients: "));
  check_pasted(f, out);
  free(out);
  config_done(&f->c);
  free(f->text);
  load(f, "--memory-max=20MiB", "--plan");
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), MACULA_ENOMEM);
  out = yaml(f, MACULA_EFULL);
  assert_string_equal(out, "");
  free(out);
  config_done(&f->c);
  load(f, "--plan", "--yaml");
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), 0);
  out = yaml(f, 0);
  check_pasted(f, out);
  free(out);
  /* what options have said is there, too, or the plan would be another one */
  config_done(&f->c);
  load(f, "--memory-max=auto:1GiB", "--max-clients=100");
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), 0);
  uint64_t total = f->fit.plan.total;
  out = yaml(f, 0);
  assert_non_null(strstr(out, "\nmax_clients: 100\n"));
  check_pasted(f, out);
  assert_int_equal(f->fit.plan.total, total);
  free(out);
}

/* What was asked for is too much: the advice is not to give auto. */
static void test_auto_refuses(void **state) {
  struct fixture *f = *state;
  put(f, "/proc/meminfo", "MemTotal:  524288 kB\n");
  load(f, "--memory-max=auto", "--max-clients=100000");
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), MACULA_ENOMEM);
  assert_non_null(strstr(f->text, "memory_max 384 MiB (auto, of the machine's 512 MiB)"));
  assert_non_null(strstr(f->text, "auto lowers only limits that are not set"));
  assert_null(strstr(f->text, "--memory-max auto"));
  assert_int_equal(f->fit.changed, 0);
  assert_int_equal(f->c.node.limits.max_services, 10000);
}

/* What is found may be nothing: then auto limits nothing. A large machine changes nothing. */
static void test_auto_changes_nothing(void **state) {
  struct fixture *f = *state;
  struct node_limits before;
  load(f, "--memory-max=auto", NULL);
  before = f->c.node.limits;
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), 0);
  assert_int_equal(f->fit.max, 0);
  put(f, "/proc/meminfo", "MemTotal:  33554432 kB\n");
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), 0);
  assert_int_equal(f->fit.changed, 0);
  assert_int_equal(f->c.node.limits.max_clients, before.max_clients);
}

static void test_small_machine_starts(void **state) {
  struct fixture *f = *state;
  put(f, "/proc/meminfo", "MemTotal:  131072 kB\n");
  load(f, "--memory-max=auto", NULL);
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), 0);
  assert_true(f->fit.plan.total <= 96 * MIB);
  assert_true(f->c.node.limits.max_clients >= 16);
}

static void test_refusal(void **state) {
  struct fixture *f = *state;
  load(f, "--memory-max=512MiB", NULL);
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), MACULA_ENOMEM);
  assert_non_null(strstr(f->text, "memory_max 512 MiB"));
  assert_non_null(strstr(f->text, "\n  connections, "));
  assert_non_null(strstr(f->text, "\n  send_queues, "));
  assert_int_equal(f->c.node.limits.max_clients, 10000); /* nothing was changed */
  /* What is to be done stands in a few lines, and does fit. */
  unsigned lines = 0;
  for (const char *p = f->text; (p = strchr(p, '\n')); p++) lines++;
  assert_in_range(lines, 3, 6);
  assert_non_null(strstr(f->text, "\n--memory-max auto:512MiB lowers limits to fit"));
  config_done(&f->c);
  free(f->text);
  f->text = NULL;
  load(f, "--memory-max=auto:512MiB", NULL);
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), 0);
}

static void test_print(void **state) {
  struct fixture *f = *state;
  char *out = NULL, expected[64];
  size_t len;
  load(f, "--plan", "--max-clients=100");
  assert_int_equal(f->c.mode, CONFIG_PLAN);
  assert_int_equal(memory_fit(&f->c, f->root, &f->fit, &f->text), 0);
  FILE *file = open_memstream(&out, &len);
  memory_print_plan(file, &f->fit);
  fclose(file);
  snprintf(expected, sizeof expected, "\ntotal %llu MiB\n", (unsigned long long)((f->fit.plan.total + MIB - 1) / MIB));
  assert_string_equal(out + len - strlen(expected), expected);
  free(out);
}

static uint64_t set_limit(struct fixture *f, const char *key, uint64_t value, const char *unit, const void *member,
                          size_t size) {
  const char *argv[] = {"maculad", NULL},
             *env[] = {"HOME=/nowhere", "MACULA_MQTT=off", NULL}; /* with a door mqtt_pool is not 0 */
  char flag[128], why[CONFIG_WHY_LEN];
  snprintf(flag, sizeof flag, "--%s=%llu%s", key, (unsigned long long)value, unit);
  argv[1] = flag;
  config_done(&f->c);
  assert_int_equal(config_load(2, argv, env, &f->c, why), 0);
  uint64_t wide = 0;
  uint32_t narrow = 0;
  memcpy(size == 4 ? (void *)&narrow : &wide, member, size);
  return size == 4 ? narrow : wide;
}

/* Each limit can be set to the least that its row allows. */
static void test_every_limit_can_be_set(void **state) {
  struct fixture *f = *state;
#define UNIT_COUNT(v) (v), ""
#define UNIT_SIZE(v) (v), ""
#define UNIT_SIZE32(v) (v), ""
#define UNIT_DURATION(v) (v) / NS_MS, "ms"
#define SET(id, key, field, kind, value, least, ...)                                                                           \
  assert_int_equal(set_limit(f, #key, UNIT_##kind(least), &f->c.node.limits.field, sizeof f->c.node.limits.field), least);
  NODE_LIMITS(SET)
#undef SET
}

/* What the plan says lowers a row is an option. */
static void test_keys_are_options(void **state) {
  struct fixture *f = *state;
  load(f, NULL, NULL);
  node_plan(&f->c.node.limits, &f->fit.plan);
  for (size_t i = 0; i < f->fit.plan.count; i++) {
    char keys[256], *save = NULL;
    snprintf(keys, sizeof keys, "%s", f->fit.plan.rows[i].keys);
    for (char *key = strtok_r(keys, " ", &save); key; key = strtok_r(NULL, " ", &save)) {
      bool known = false;
#define IS_KEY(id, name, ...) known |= !strcmp(key, #name);
#define IS_LIMIT(...) LIMIT_OPTION(IS_KEY, __VA_ARGS__)
      OPTION_MAP(IS_KEY)
      NODE_LIMITS(IS_LIMIT)
#undef IS_LIMIT
#undef IS_KEY
      if (!known) fail_msg("row %s names %s, which is no option", f->fit.plan.rows[i].name, key);
    }
  }
}

int main(void) {
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
  const struct CMUnitTest tests[] = {
      CASE(test_sources),
      CASE(test_auto),
      CASE(test_auto_of_a_size),
      CASE(test_yaml),
      CASE(test_auto_refuses),
      CASE(test_auto_changes_nothing),
      CASE(test_small_machine_starts),
      CASE(test_refusal),
      CASE(test_print),
      CASE(test_every_limit_can_be_set),
      CASE(test_keys_are_options),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
