/* QoS 1 messages that other nodes have not acknowledged yet: each with the nodes that are still to answer, its publisher, and
 * its deadline. A message is done when each node has acknowledged it.
 *
 * What is done is handed out in the order in which it came about; the owner empties that queue after each call. */
#ifndef PUBSUB_INFLIGHT_H
#define PUBSUB_INFLIGHT_H

#include "base/list.h"
#include "base/time.h"
#include "bounded/htab.h"

struct inflight_party { /* embedded in the owner's records of publishers and of nodes */
  struct list all;
  uint32_t count;
  void *user;
};

struct inflight {
  struct htab tab; /* by number */
  struct list due; /* oldest first: all wait equally long */
  struct list done;
  struct mem *mem;
  uint64_t timeout;
  uint64_t last; /* number given last */
  uint32_t parts, max_parts, max_publisher;
  uint64_t refused, timeouts, orphaned;
};

/* max_parts: (message, node) pairs in all; max_publisher: messages of one publisher. timeout: ns. */
void inflight_init(struct inflight *f, struct mem *mem, struct rng rng, uint32_t max_parts, uint32_t max_publisher,
                   uint64_t timeout);
void inflight_done(struct inflight *f); /* all of it; parties stay the owner's */
void inflight_party_init(struct inflight_party *p, void *user);

/* A message goes to these nodes: number is what they acknowledge. ref: the owner's, handed back. MACULA_EFULL, MACULA_ENOMEM.
 */
int inflight_begin(struct inflight *f, struct inflight_party *publisher, uint64_t ref, struct inflight_party *const *nodes,
                   uint32_t count, nanotime now, uint64_t *ret_number);
/* This node has answered: err 0, or what the publisher is to be told at once. Others' and late answers are ignored. */
void inflight_answer(struct inflight *f, uint64_t number, const struct inflight_party *node, int err);
/* The node is dead, or runs anew: nothing of it is waited for, and whoever waited is told err, as whether its clients had the
 * message is not known. */
void inflight_node_gone(struct inflight *f, struct inflight_party *node, int err);
/* Nobody waits for its messages any more. */
void inflight_publisher_gone(struct inflight *f, struct inflight_party *publisher);
nanotime inflight_deadline(const struct inflight *f);
void inflight_expire(struct inflight *f, nanotime now);
/* The next one that is done: 0 and everybody has it, MACULA_TIMEOUT, or a node's answer. False: none. */
bool inflight_next(struct inflight *f, void **ret_publisher, uint64_t *ret_ref, int *ret_err);

/* Lists of publishers and of nodes included. O(messages and nodes that are to answer). */
const char *inflight_check(const struct inflight *f);
size_t inflight_owned(const struct inflight *f); /* what of its account is its own */

#endif
