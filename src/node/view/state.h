/* What the node keeps of questions of operators. */
#ifndef NODE_VIEW_STATE_H
#define NODE_VIEW_STATE_H

#include "base/list.h"
#include "bounded/bucket.h"

#define LIST_PAGE 64u /* most rows of a list */

/* What a question costs, in rows of a list; one takes some 10 us to make. Whoever asks draws on a bucket of such rows, the last
 * answer on credit. */
#define COST_QUESTION 1u
#define COST_DHT 10u    /* a lookup */
#define COST_FAR 4u     /* passed on to another node */
#define COST_BYTES 256u /* bytes of an answer for the price of a row */
#define ECHO_MAX 65536u /* bytes that are echoed */

enum asker_kind { ASKER_CLIENT, ASKER_OPERATOR, ASKER_NODE, ASKER_KINDS };

struct asks {
  struct bucket cost[ASKER_KINDS]; /* of all that each kind asks */
  uint64_t refused;                /* questions, for their cost */
  struct list all;                 /* ask.all, the one whose time ends first in front */
  uint32_t count;
  uint64_t asked;
  uint8_t mark[8];        /* ids of calls to other nodes begin so, and end in the question's number; all zeros: none was made */
  uint64_t far, far_mute; /* questions passed on to other nodes; those that they did not answer */
  uint64_t for_nodes;     /* questions of other nodes that were answered */
};

#endif
