/* What the node keeps of questions of operators. */
#ifndef NODE_VIEW_STATE_H
#define NODE_VIEW_STATE_H

#include "base/list.h"

#define LIST_PAGE 1000 /* rows of a list, unless asked for fewer */

struct asks {
  struct list all; /* ask.all */
  uint32_t count;
  uint64_t asked;
};

#endif
