/* How long things took. */
#ifndef LOAD_REPORT_LATENCY_H
#define LOAD_REPORT_LATENCY_H

#include "load/run.h"

/* A histogram that the report shows; most_ms: of its 99th percentile, judged with --strict alone. */
struct histogram *load_latency(struct load *l, const char *scenario, const char *what, unsigned most_ms);
/* What ended in the last second is a point of its line; all: whatever there is. */
void load_latency_step(struct load *l, nanotime now, bool all);
void load_rows_latency(struct load *l);
json_t *load_latencies_json(const struct load *l);
void load_latencies_free(struct load *l);

#endif
