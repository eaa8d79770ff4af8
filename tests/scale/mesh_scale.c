/* build/tests/mesh-scale: the simulator at scale, as a program. Prints a table; --json FILE appends a line a run for
 * tools/scale_plots.py. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "sim/mesh_scale.h"

static const char usage[] =
    "usage: mesh-scale [OPTION]... NODES...\n"
    "Runs the real membership and DHT of NODES nodes on a virtual clock and prints a row for each number.\n"
    "  --seed N        the whole run follows from it (1)\n"
    "  --loss P        of a packet (0.05)\n"
    "  --churn P       part of the nodes that leave, and join, in an hour (0.2)\n"
    "  --warm S        seconds before measuring (300)\n"
    "  --measure S     seconds measured (600)\n"
    "  --lookups R     a node and second (1/60)\n"
    "  --only PART     swim or dht (both)\n"
    "  --links N       SWIM's connections a node (64)\n"
    "  --json FILE     append all figures, a line a run\n"
    "  --quiet         no progress on stderr\n";

int main(int argc, char **argv) {
  static const struct option options[] = {{"seed", 1, NULL, 's'},  {"loss", 1, NULL, 'l'},    {"churn", 1, NULL, 'c'},
                                          {"warm", 1, NULL, 'w'},  {"measure", 1, NULL, 'm'}, {"lookups", 1, NULL, 'r'},
                                          {"only", 1, NULL, 'o'},  {"links", 1, NULL, 'k'},   {"json", 1, NULL, 'j'},
                                          {"quiet", 0, NULL, 'q'}, {"help", 0, NULL, 'h'},    {NULL, 0, NULL, 0}};
  struct mesh_config cfg;
  const char *json = NULL;
  mesh_defaults(&cfg, 0);
  cfg.progress = true;
  for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    switch (c) {
    case 's':
      cfg.seed = strtoull(optarg, NULL, 10);
      break;
    case 'l':
      cfg.loss = strtod(optarg, NULL);
      break;
    case 'c':
      cfg.churn = strtod(optarg, NULL);
      break;
    case 'w':
      cfg.warm = (nanotime)(strtod(optarg, NULL) * (double)NS_SEC);
      break;
    case 'm':
      cfg.measure = (nanotime)(strtod(optarg, NULL) * (double)NS_SEC);
      break;
    case 'r':
      cfg.lookups = strtod(optarg, NULL);
      break;
    case 'o':
      cfg.dht = strcmp(optarg, "swim") != 0;
      cfg.membership = strcmp(optarg, "dht") != 0;
      break;
    case 'k':
      cfg.links = (uint32_t)strtoul(optarg, NULL, 10);
      break;
    case 'j':
      json = optarg;
      break;
    case 'q':
      cfg.progress = false;
      break;
    case 'h':
      fputs(usage, stdout);
      return 0;
    default:
      fputs(usage, stderr);
      return 2;
    }
  }
  if (optind == argc || cfg.links == 0) {
    fputs(usage, stderr);
    return 2;
  }
  printf("seed %llu, loss %g, churn %g an hour, %g s measured\n", (unsigned long long)cfg.seed, cfg.loss, cfg.churn,
         (double)cfg.measure / (double)NS_SEC);
  mesh_print_head(stdout);
  for (int i = optind; i < argc; i++) {
    struct mesh_figures *f = malloc(sizeof *f);
    cfg.nodes = (uint32_t)strtoul(argv[i], NULL, 10);
    if (!f || cfg.nodes < 2 || cfg.nodes > 100000) return 2;
    mesh_run(&cfg, f);
    mesh_print(stdout, f);
    FILE *out = json ? fopen(json, "a") : NULL;
    if (out) {
      mesh_print_json(out, &cfg, f);
      fclose(out);
    }
    free(f);
  }
  return 0;
}
