/* The membership and the DHT of 1,000 nodes with 5 % loss, a fifth of them leaving and joining in an hour, for a minute and a
 * half. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sim/mesh_scale.h"

static void a_thousand_nodes(void **state) {
  (void)state;
  static struct mesh_figures f;
  struct mesh_config cfg;
  mesh_defaults(&cfg, 1000);
  const char *seed = getenv("MESH_SEED");
  if (seed) cfg.seed = strtoull(seed, NULL, 10);
  cfg.warm = 100 * NS_SEC;
  cfg.measure = 100 * NS_SEC;
  printf("seed %llu (MESH_SEED replays another)\n", (unsigned long long)cfg.seed);
  mesh_run(&cfg, &f);
  mesh_print_head(stdout);
  mesh_print(stdout, &f);
  assert_true(f.lookups > 500);
  assert_true(f.found * 1000 >= f.lookups * 999);
  assert_true((double)f.hops_sum / (double)f.found <= 5); /* log2(1000) / 2 */
  assert_int_equal(f.unaware, 0);                         /* of a death, a minute later */
  assert_int_equal(f.missing, 0);                         /* of a living one, a minute after its birth */
  assert_int_equal(f.false_deaths, 0);
  double frames = (double)(f.swim_frames + f.sync_frames + f.dht_frames) / f.node_seconds;
  assert_true(frames < 6); /* a node and second, at any number of nodes */
}

/* The same seed gives the same run, or a failure could not be replayed. */
static void one_seed_one_run(void **state) {
  (void)state;
  static struct mesh_figures f[2];
  struct mesh_config cfg;
  mesh_defaults(&cfg, 60);
  cfg.warm = 40 * NS_SEC;
  cfg.measure = 60 * NS_SEC;
  cfg.churn = 20;
  for (int i = 0; i < 2; i++) {
    mesh_run(&cfg, &f[i]);
    f[i].cpu = f[i].member_bytes = f[i].member_bytes_max = f[i].dht_bytes_held = f[i].dht_bytes_max = 0; /* the allocator's */
  }
  assert_true(f[0].leaves + f[0].crashes > 0 && f[0].lookups > 0);
  assert_memory_equal(&f[0], &f[1], sizeof f[0]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_seed_one_run), cmocka_unit_test(a_thousand_nodes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
