/* QoS 1 messages that other nodes have not acknowledged yet: each with the nodes whose answer is missing, its publisher and its
 * deadline. A message is done when each node has acknowledged it, unless there are nodes whose listeners are unknown.
 *
 * Messages that are done are handed out in the order in which they became so; the owner empties that queue after each call. */
#ifndef PUBSUB_INFLIGHT_H
#define PUBSUB_INFLIGHT_H

#include "base/list.h"
#include "base/time.h"
#include "base/turns.h"
#include "bounded/htab.h"

struct inflight_party { /* embedded in the owner's records of publishers and of nodes */
  struct list all;
  uint32_t count;
  uint32_t unanswered; /* of a node: messages in a row whose deadline passed without its answer */
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
  const struct spent *spent; /* NULL, unless set after inflight_init: then what expires does so in slices */
};

/* max_parts: (message, node) pairs in all; max_publisher: messages of one publisher. timeout: ns. */
void inflight_init(struct inflight *f, struct mem *mem, struct rng rng, uint32_t max_parts, uint32_t max_publisher,
                   uint64_t timeout);
void inflight_done(struct inflight *f); /* all of it; parties stay the owner's */
void inflight_party_init(struct inflight_party *p, void *user);

struct inflight_to {
  struct inflight_party *const *nodes;
  uint32_t count;           /* all of these are to acknowledge the message */
  uint32_t known;           /* the first so many are known to listen; of the others it is unknown */
  uint32_t silent, unknown; /* further nodes, which are not waited for: see inflight_result */
};
/* A message is sent to these nodes, which acknowledge it by *ret_number. ref: the owner's, returned with the result.
 * MACULA_EFULL, MACULA_ENOMEM.
 */
int inflight_begin(struct inflight *f, struct inflight_party *publisher, uint64_t ref, const struct inflight_to *to,
                   nanotime now, uint64_t *ret_number);
uint64_t inflight_number(struct inflight *f); /* for a message whose answers are not waited for */
/* A node has answered: err 0, or the code that the publisher is told at once. Answers that are late or come from other nodes
 * are ignored. */
void inflight_answer(struct inflight *f, uint64_t number, struct inflight_party *node, int err);
/* So many subscribers were cut because of this message: at that node, if its answer is still missing, or (NULL) at this one, if
 * the result was not handed out yet. Added up in the result. */
void inflight_cut(struct inflight *f, uint64_t number, const struct inflight_party *node, uint64_t count);
/* The node is dead or was restarted: its answers are no longer awaited, and the publishers that waited for one are told err, as
 * it is not known whether the node's clients got the message. */
void inflight_node_gone(struct inflight *f, struct inflight_party *node, int err);
/* The node answers nothing: it is not waited for, and counted in the results. */
void inflight_node_silent(struct inflight *f, struct inflight_party *node);
/* The publisher has gone: forgets its messages. */
void inflight_publisher_gone(struct inflight *f, struct inflight_party *publisher);
nanotime inflight_deadline(const struct inflight *f);
void inflight_expire(struct inflight *f, nanotime now);
struct inflight_result {
  void *publisher;
  uint64_t ref;
  /* 0: all nodes have it, but the silent ones. MACULA_LISTENERS_UNKNOWN: some may have listeners or none, and have not
   * answered. MACULA_TIMEOUT, or the code from a node's answer. */
  int err;
  uint32_t silent, unknown; /* nodes that have not answered: known to listen; their listeners unknown */
  uint64_t cut;             /* subscribers that were cut because of it, or lost something */
};
/* The next message that is done. False: none. */
bool inflight_next(struct inflight *f, struct inflight_result *ret);

/* Lists of publishers and of nodes included. O(messages and nodes that are to answer). */
const char *inflight_check(const struct inflight *f);
size_t inflight_owned(const struct inflight *f); /* bytes of the account that messages in flight hold */

#endif
