#include "sim/mesh_scale.h"

double mesh_quantile(const uint64_t *bins, uint32_t n, double q) {
  uint64_t sum = 0, seen = 0;
  for (uint32_t i = 0; i < n; i++) sum += bins[i];
  for (uint32_t i = 0; i < n; i++) {
    seen += bins[i];
    if (seen && (double)seen >= q * (double)sum) return i;
  }
  return 0;
}

void mesh_print_head(FILE *out) {
  fprintf(out, "%6s | %8s %6s %6s %7s %7s | %7s %7s %7s | %6s %6s %7s %7s %6s %6s %6s | %9s %9s | %6s\n", "nodes", "lookups",
          "found", "hops", "p50 ms", "p99 ms", "SWIM/s", "DHT/s", "bytes/s", "deaths", "p50 s", "all p50", "all p99", "unaw.",
          "false?", "false!", "SWIM kB", "DHT kB", "cpu s");
}

void mesh_print(FILE *out, const struct mesh_figures *f) {
  double found = f->lookups ? (double)f->found / (double)f->lookups : 0;
  fprintf(
      out,
      "%6u | %8llu %5.2f%% %6.2f %7.0f %7.0f | %7.2f %7.2f %7.0f | %6llu %6.1f %7.1f %7.1f %6llu %6llu %6llu | %9.1f %9.1f | "
      "%6.0f\n",
      f->nodes, (unsigned long long)f->lookups, 100 * found, f->found ? (double)f->hops_sum / (double)f->found : 0,
      10 * mesh_quantile(f->took, MESH_BINS, 0.5), 10 * mesh_quantile(f->took, MESH_BINS, 0.99),
      (double)(f->swim_frames + f->sync_frames) / f->node_seconds, (double)f->dht_frames / f->node_seconds,
      (double)(f->swim_bytes + f->sync_bytes + f->dht_bytes) / f->node_seconds, (unsigned long long)f->crashes_judged,
      mesh_quantile(f->known, MESH_BINS, 0.5) / 10, mesh_quantile(f->known_to_all, MESH_BINS, 0.5) / 10,
      mesh_quantile(f->known_to_all, MESH_BINS, 0.99) / 10, (unsigned long long)f->unaware, (unsigned long long)f->refuted,
      (unsigned long long)f->false_deaths, f->member_bytes / 1000, f->dht_bytes_held / 1000, f->cpu);
  fflush(out);
}

static void list(FILE *out, const char *name, const uint64_t *v, uint32_t n) {
  while (n > 1 && v[n - 1] == 0) n--;
  fprintf(out, ",\"%s\":[", name);
  for (uint32_t i = 0; i < n; i++) fprintf(out, "%s%llu", i ? "," : "", (unsigned long long)v[i]);
  fprintf(out, "]");
}

void mesh_print_json(FILE *out, const struct mesh_config *cfg, const struct mesh_figures *f) {
#define NUMBER(field) fprintf(out, ",\"" #field "\":%.10g", (double)f->field)
  fprintf(out, "{\"nodes\":%u,\"seed\":%llu,\"membership\":%d,\"dht\":%d,\"loss\":%g,\"churn\":%g", f->nodes,
          (unsigned long long)cfg->seed, cfg->membership, cfg->dht, cfg->loss, cfg->churn);
  NUMBER(seconds), NUMBER(node_seconds), NUMBER(cpu), NUMBER(swim_frames), NUMBER(swim_bytes), NUMBER(sync_frames);
  NUMBER(sync_bytes), NUMBER(dht_frames), NUMBER(dht_bytes), NUMBER(lookups), NUMBER(found), NUMBER(queries), NUMBER(hops_sum);
  NUMBER(crashes), NUMBER(leaves), NUMBER(joins), NUMBER(crashes_judged), NUMBER(unaware), NUMBER(missing), NUMBER(refuted);
  NUMBER(false_deaths), NUMBER(false_death_pairs), NUMBER(member_bytes), NUMBER(member_bytes_max), NUMBER(dht_bytes_held);
  NUMBER(dht_bytes_max), NUMBER(contacts), NUMBER(records), NUMBER(living);
#undef NUMBER
  list(out, "hops", f->hops, MESH_HOPS);
  list(out, "dht_types", f->dht_types, 8);
  list(out, "took", f->took, MESH_BINS);
  list(out, "known_to_all", f->known_to_all, MESH_BINS);
  list(out, "known", f->known, MESH_BINS);
  fprintf(out, "}\n");
  fflush(out);
}
