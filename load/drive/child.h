/* A process of clients that is to be killed. */
#ifndef LOAD_DRIVE_CHILD_H
#define LOAD_DRIVE_CHILD_H

#include "load/drive/engine.h"

struct load_child;
int load_child_start(struct load_task *t, struct load_node *n, size_t clients, const char *prefix, size_t streams,
                     struct load_child **ret_child);
/* The same for a process of another scenario: `macula load SCENARIO --child SPEC`. n: the node that it is to be given as
 * --nodes; NULL: none. */
int load_child_start_as(struct load_task *t, struct load_node *n, const char *scenario, const char *spec,
                        struct load_child **ret_child);
bool load_child_ready(void *child);
int load_child_error(const struct load_child *child);
void load_child_kill(struct load_child *child); /* SIGKILL; frees it */
/* be: what it does instead of being clients as load_child_start has them; NULL: that. */
int load_child_main(struct load *l, int (*be)(struct load_task *t));
void load_child_stay(struct load_task *t); /* of be: says that it is ready, and waits for its end */
void load_children_end(struct load *l);

#endif
