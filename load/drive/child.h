/* A process of clients that is to be killed. */
#ifndef LOAD_DRIVE_CHILD_H
#define LOAD_DRIVE_CHILD_H

#include "load/drive/engine.h"

struct load_child;
int load_child_start(struct load_task *t, struct load_node *n, size_t clients, const char *prefix, size_t streams,
                     struct load_child **ret_child);
bool load_child_ready(void *child);
int load_child_error(const struct load_child *child);
void load_child_kill(struct load_child *child); /* SIGKILL; frees it */
int load_child_main(struct load *l);
void load_children_end(struct load *l);

#endif
