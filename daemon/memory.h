/* memory_max: the plan against what the node may use, and how both are shown. */
#ifndef DAEMON_MEMORY_H
#define DAEMON_MEMORY_H

#include <stdio.h>

#include "config.h"
#include "node/memory/plan.h"

/* The least of the machine's memory and the limits of the control groups that this process is in (version 2 and 1), bytes; 0:
 * unknown. root: "" (tests: a folder that stands for /). ret_source: static text. */
uint64_t memory_available(const char *root, const char **ret_source);

struct memory_fit {
  uint64_t disk;      /* bytes of the file with retained messages; 0: there is none */
  uint64_t max;       /* what the plan may take; 0: anything */
  uint64_t available; /* with auto: the limit found */
  const char *source; /* with auto: whose */
  bool given;         /* with auto: the size was given, for the process alone: what the kernel may hold is beside it */
  struct plan plan;   /* of the limits as they are then */
  struct plan_change changes[PLAN_MAX_CHANGES];
  size_t changed; /* limits that were lowered */
};

/* Applies memory_max to c->node.limits: with auto those that were not set are lowered until the plan fits. Unless it is set,
 * retained_disk is as large as the limits need it then. MACULA_ENOMEM: the plan does not fit; ret_text then says by how much, a
 * line for each row to lower, and what to do (malloc'ed, NULL without memory). MACULA_EINVAL: retained_disk is too small;
 * likewise. */
int memory_fit(struct config *c, const char *root, struct memory_fit *ret_fit, char **ret_text);

void memory_print_plan(FILE *f, const struct memory_fit *m); /* the last line is "total N MiB" */
int memory_print_json(FILE *f, const struct memory_fit *m);  /* MACULA_ENOMEM, MACULA_EIO */
/* memory_max, the limits that had to be lowered, or would have to be, and those that were set, as lines of a configuration
 * (memory_yaml.c). MACULA_EFULL: not even the least limits fit; nothing is printed then. */
int memory_print_yaml(FILE *f, const struct memory_fit *m, const struct config *c);
/* As it is written in a configuration: exact. */
const char *memory_value(uint64_t n, bool is_bytes, char buf[32]);
/* What auto chose; nothing when memory_max is not auto. */
void memory_print_choice(FILE *f, const struct memory_fit *m);

#endif
