/* One frame: whose business it is. */
#ifndef NODE_DISPATCH_H
#define NODE_DISPATCH_H

#include "node/state.h"
#include "wire/frame.h"

void dispatch_frame(struct session *s, const struct frame *f);
/* A message of another node, over its link or through its gateway. */
void dispatch_message(struct peer *p, const struct msg *m);

#endif
