/* How long things took: histograms of the whole run, and lines of what ended second by second. */
#include "load/report/latency.h"

#include <stdlib.h>
#include <string.h>

#include "cli/histogram.h"
#include "load/report/report.h"

#define MAX_POINTS 4096

struct histogram *load_latency(struct load *l, const char *scenario, const char *what, unsigned most_ms) {
  if (l->latency_count == sizeof l->latencies / sizeof l->latencies[0]) return NULL;
  struct load_latency *e = &l->latencies[l->latency_count];
  if (!(e->times = calloc(1, sizeof *e->times))) return NULL;
  snprintf(e->scenario, sizeof e->scenario, "%s", scenario);
  snprintf(e->what, sizeof e->what, "%s", what);
  e->most_ms = most_ms;
  e->every = NS_SEC;
  l->latency_count++;
  return e->times;
}

/* When the line is full, each two points become one and points come half as often. */
static void thin(struct load_latency *e) {
  for (size_t i = 0; i < MAX_POINTS / 2; i++) {
    const struct load_times *a = &e->series[2 * i], *b = a + 1;
    e->series[i] = (struct load_times){b->at, a->p50_ms > b->p50_ms ? a->p50_ms : b->p50_ms,
                                       a->p99_ms > b->p99_ms ? a->p99_ms : b->p99_ms};
  }
  e->series_count = MAX_POINTS / 2;
  e->every *= 2;
}

static void add_point(struct load *l, struct load_latency *e) {
  struct histogram now = *e->times;
  if (!e->before) e->before = calloc(1, sizeof *e->before);
  if (!e->series) e->series = calloc(MAX_POINTS, sizeof *e->series);
  if (!e->before || !e->series || now.count == e->before->count) return;
  if (e->series_count == MAX_POINTS) thin(e);
  for (size_t i = 0; i < sizeof now.buckets / sizeof now.buckets[0]; i++) now.buckets[i] -= e->before->buckets[i];
  now.count -= e->before->count;
  e->series[e->series_count++] = (struct load_times){(float)load_seconds(l), (float)histogram_at(&now, 0.5) / 1e6f,
                                                     (float)histogram_at(&now, 0.99) / 1e6f};
  *e->before = *e->times;
}

void load_latency_step(struct load *l, nanotime now, bool all) {
  for (size_t i = 0; i < l->latency_count; i++) {
    struct load_latency *e = &l->latencies[i];
    if (now < e->next && !all) continue;
    add_point(l, e);
    e->next = now + e->every;
  }
}

void load_rows_latency(struct load *l) {
  for (size_t i = 0; i < l->latency_count; i++) {
    const struct load_latency *e = &l->latencies[i];
    uint64_t p99 = histogram_at(e->times, 0.99);
    char what[96], expected[64];
    if (!e->times->count) continue;
    snprintf(what, sizeof what, "%s: 99 of 100 within", e->what);
    snprintf(expected, sizeof expected, "%u ms", e->most_ms);
    load_row(l, e->scenario, p99 <= (uint64_t)e->most_ms * NS_MS, what, expected, "%.1f ms", (double)p99 / 1e6);
  }
}

static json_t *series_json(const struct load_latency *e) {
  json_t *at = json_array(), *p50 = json_array(), *p99 = json_array();
  for (size_t i = 0; i < e->series_count; i++) {
    json_array_append_new(at, json_real(e->series[i].at));
    json_array_append_new(p50, json_real(e->series[i].p50_ms));
    json_array_append_new(p99, json_real(e->series[i].p99_ms));
  }
  return json_pack("{s:o, s:o, s:o}", "seconds", at, "p50_ms", p50, "p99_ms", p99);
}

json_t *load_latencies_json(const struct load *l) {
  json_t *all = json_array();
  for (size_t i = 0; i < l->latency_count; i++) {
    const struct load_latency *e = &l->latencies[i];
    const struct histogram *h = e->times;
    if (!h->count) continue;
    json_array_append_new(all, json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:o}", "scenario", e->scenario, "what", e->what,
                                         "count", (json_int_t)h->count, "p50_ms", (double)histogram_at(h, 0.5) / 1e6, "p90_ms",
                                         (double)histogram_at(h, 0.9) / 1e6, "p99_ms", (double)histogram_at(h, 0.99) / 1e6,
                                         "max_ms", (double)h->max / 1e6, "series", series_json(e)));
  }
  return all;
}

void load_latencies_free(struct load *l) {
  for (size_t i = 0; i < l->latency_count; i++) {
    free(l->latencies[i].times);
    free(l->latencies[i].before);
    free(l->latencies[i].series);
  }
}
