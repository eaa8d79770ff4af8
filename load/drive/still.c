/* How long the load process and its nodes stood still: a process that gets no processor for as long as an idle timeout is dead
 * to the others, and promises broken then may be the machine's fault. This is only reported and judges nothing, since long work
 * of a process's own looks the same. */
#include "load/drive/still.h"

#include "io/io.h"
#include "load/report/report.h"

void load_still_begin(struct load *l) { l->turned = io_now(); }

void load_still_turn(struct load *l, nanotime now) {
  uint64_t gap = time_since(now, l->turned);
  l->turned = now;
  if (gap <= l->still) return;
  l->still = gap;
  l->still_at = load_seconds(l);
}

void load_still_answered(struct load_node *n, nanotime now) {
  uint64_t gap = time_since(now, n->op_seen);
  if (gap <= n->silent) return;
  n->silent = gap;
  n->silent_at = load_seconds(n->l);
}

void load_still_note(struct load *l) {
  uint64_t much = l->idle_s * NS_SEC / 2;
  size_t silent = 0;
  const struct load_node *worst = NULL;
  for (size_t i = 0; i < l->node_count; i++) {
    const struct load_node *n = l->nodes[i];
    if (n->lost || n->silent < much) continue;
    silent++;
    if (!worst || n->silent > worst->silent) worst = n;
  }
  if (l->still >= much)
    load_note(
        l,
        "this program stood still for %.1f s until %.0f s (idle timeout: %u s): what broke then may be the machine's fault; "
        "try again with nothing beside it",
        (double)l->still / 1e9, l->still_at, l->idle_s);
  if (worst)
    load_note(
        l,
        "%s told nothing for %.1f s until %.0f s%s (idle timeout: %u s): it was busy or stood still, and what broke then may "
        "be the machine's fault",
        worst->name, (double)worst->silent / 1e9, worst->silent_at, silent > 1 ? ", others less long" : "", l->idle_s);
}
