/* Nodes under load: processes of maculad beside this program or in PATH, or given by --nodes. */
#ifndef LOAD_DRIVE_NODES_H
#define LOAD_DRIVE_NODES_H

#include "load/drive/engine.h"

#define LOAD_PORT 5001
#define LOAD_FILES 256 /* open files that any scenario needs */

/* Starts a maculad with these arguments (NULL at the end) beside the usual ones; its error is printed. Waits until it serves.
 * role: what it is there for, in the report. */
int load_node_start(struct load_task *t, const char *role, const char *const *args, struct load_node **ret_node);
struct load_start {
  const char *role;
  const char *const *args;
  const char *advertise; /* the address for others; NULL: its own */
};
void load_node_role(struct load_node *n, const char *role);
int load_node_start_with(struct load_task *t, const struct load_start *how, struct load_node **ret_node);
/* Seconds in which it notices at the latest that a client is gone: a given one's idle timeout is its own. */
unsigned load_idle_s(const struct load_node *n);
/* The nodes of --nodes; prints its error, returns an exit code. */
int load_nodes_given(struct load *l);
/* The first given node, or one started with these arguments. */
int load_node_take(struct load_task *t, const char *role, const char *const *args, struct load_node **ret_node);
void load_node_stop(struct load_node *n); /* one that was started: ended, its log kept for the report */
void load_nodes_look(struct load *l);     /* which have died */
void load_nodes_end(struct load *l);
/* UDP ports on 127.0.0.1 from LOAD_PORT on that nobody has; 0: there are none. */
uint16_t load_port(struct load *l);
/* File descriptors: raises the soft limit; false (said on stderr) if even the hard one is too low. */
bool load_need_files(uint64_t files);

#endif
