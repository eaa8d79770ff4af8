#include "load/drive/memory.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "load/drive/watch.h"
#include "load/report/report.h"

uint64_t load_memory_allowed(uint64_t start) {
  uint64_t tenth = start / 10, eight = (uint64_t)8 << 20;
  return start + (tenth > eight ? tenth : eight);
}

/* Time in which other programs had the processor does not count, but how fast the machine is does: judged with --strict. */
static void rows_turns(struct load_task *t, struct load_node *n) {
  char what[128];
  bool strict = t->l->o.strict;
  if (!n->now[FIG_TURN_US]) return;
  snprintf(what, sizeof what, "no turn of %s computes for more than 5 ms", n->name);
  load_row(t->l, t->name, !strict || n->now[FIG_TURN_US] <= 5000, what,
           strict ? "at most 5.0 ms" : "5.0 ms (judged with --strict)", "%.1f ms (%s)", (double)n->now[FIG_TURN_US] / 1000,
           n->turn_cause);
}

void load_rows_memory(struct load_task *t, struct load_node *n, bool returns) {
  char a[32], b[32], expected[96], what[128];
  struct load *l = t->l;
  double from = load_seconds(l);
  uint64_t most = load_memory_allowed(n->rss_start);
  if (!LOAD_JUDGES_MEMORY || (l->mesh && strcmp(t->name, l->scenario) != 0)) return; /* the rest comes once, at the end */
  if (returns) {
    load_phase(t, NULL, 0, "resting");
    load_figure_below(t, n, FIG_RSS, most, 60);
  } else {
    load_fresh(t, n);
  }
  if (l->stopping) return;
  load_watch_peak(n);
  rows_turns(t, n);
  if (n->now[FIG_PLAN]) {
    snprintf(expected, sizeof expected, "below %s", text_bytes((double)n->now[FIG_PLAN], a));
    snprintf(what, sizeof what, "resident memory of %s stays below its plan", n->name);
    load_row(l, t->name, n->rss_peak < n->now[FIG_PLAN], what, expected, "%s", text_bytes((double)n->rss_peak, b));
  }
  if (!returns) return;
  snprintf(expected, sizeof expected, "at most %s within 60 s", text_bytes((double)most, a));
  snprintf(what, sizeof what, "resident memory of %s returns to the start + 10 %% or 8 MiB", n->name);
  load_row(l, t->name, n->now[FIG_RSS] <= most, what, expected, "%s after %.0f s (start %s)",
           text_bytes((double)n->now[FIG_RSS], a), load_seconds(l) - from, text_bytes((double)n->rss_start, b));
}
