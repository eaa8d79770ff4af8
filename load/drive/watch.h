/* Watches each node from outside: its own figures by an operator's client, its resident memory by the kernel's. */
#ifndef LOAD_DRIVE_WATCH_H
#define LOAD_DRIVE_WATCH_H

#include "load/drive/engine.h"

int load_watch_start(struct load_node *n); /* says what failed; an exit code */
void load_watch_end(struct load_node *n);
void load_watch_step(struct load *l, nanotime now);
void load_watch_peak(struct load_node *n); /* of its resident memory, as the kernel knows it also between samples */
void load_node_mark(struct load_node *n);  /* memory and the most of all figures count from here */
/* Calls a procedure at a node by its operator's client and waits; NULL if there was no answer. *ret_err: why. */
json_t *load_ask(struct load_task *t, struct load_node *n, const char *procedure, json_t *args, int *ret_err);

#endif
