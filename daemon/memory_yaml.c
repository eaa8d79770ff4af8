/* maculad --plan --yaml: limits that fit, to be pasted into a configuration. */
#include <string.h>

#include "base/err.h"
#include "memory.h"

int memory_print_yaml(FILE *f, const struct memory_fit *m, const struct node_limits *limits) {
  struct plan_change more[PLAN_MAX_CHANGES];
  const struct plan_change *changes = m->changes;
  struct node_limits l = *limits;
  size_t n = m->changed;
  char text[32];
  /* An explicit size lowers nothing by itself. */
  if (m->max && m->plan.total > m->max) {
    if (plan_fit(&l, m->max, false, NULL, NULL, more, &n)) return MACULA_EFULL;
    changes = more;
  }
  struct plan plan;
  node_plan(&l, &plan);
  uint64_t most = m->max && (!m->source || m->given) ? m->max : (plan.total + (1 << 20) - 1) >> 20 << 20;
  fprintf(f, "# Limits whose plan is %llu MiB at most. They take the place of lines with the same keys.\n",
          (unsigned long long)((plan.total + (1 << 20) - 1) >> 20));
  fprintf(f, "memory_max: %s\n", memory_value(most, true, text));
  for (size_t i = 0; i < n; i++) fprintf(f, "%s: %s\n", changes[i].key, memory_value(changes[i].to, changes[i].octets, text));
  return 0;
}
