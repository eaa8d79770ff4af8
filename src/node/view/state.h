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
#define COST_BYTES 256u /* bytes of an answer for the price of a row */
#define ECHO_MAX 65536u /* bytes that are echoed */

struct asks {
  struct bucket cost[2]; /* of all that clients ask, and operators */
  uint64_t refused;      /* questions, for their cost */
  struct list all;       /* ask.all */
  uint32_t count;
  uint64_t asked;
};

#endif
