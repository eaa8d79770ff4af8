/* maculad --plan --yaml: limits that fit, to be pasted into a configuration. */
#include <string.h>

#include "base/err.h"
#include "memory.h"

#define IN_PLAN_COUNT true
#define IN_PLAN_SIZE true
#define IN_PLAN_SIZE32 true
#define IN_PLAN_DURATION false

static bool has_key(const struct plan_change *changes, size_t n, const char *key) {
  while (n && strcmp(changes[n - 1].key, key) != 0) n--;
  return n;
}

int memory_print_yaml(FILE *f, const struct memory_fit *m, const struct config *c) {
  struct plan_change more[PLAN_MAX_CHANGES];
  const struct plan_change *changes = m->changes;
  struct node_limits l = c->node.limits;
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
  /* What was given by an option or a variable is a part of the plan, too. */
#define LINE(id, key, field, kind, ...)                                                                                        \
  if (IN_PLAN_##kind && (has_key(changes, n, #key) || config_key_is_set(c, #key)))                                             \
    fprintf(f, #key ": %s\n", memory_value(l.field, sizeof l.field == sizeof(size_t), text));
  NODE_LIMITS(LINE)
#undef LINE
  return 0;
}
