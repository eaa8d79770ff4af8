/* What must hold of a node between two calls of its functions. */
#ifndef NODE_CHECK_H
#define NODE_CHECK_H

struct node;

/* All rooms and all tables below (base/check.h): takes as long as everything that the node holds. Not within a callback. */
const char *node_check(const struct node *n);

#endif
