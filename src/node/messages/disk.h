/* Retained messages on disk: what the node has to say to whoever writes them (pubsub/retained_log.h). Public functions:
 * node.h. */
#ifndef NODE_MESSAGES_DISK_H
#define NODE_MESSAGES_DISK_H

#include "node/state.h"

void disk_init(struct node *n); /* after the table of retained messages */
void disk_done(struct node *n); /* before it goes */
/* When the next retained message is too old. */
nanotime disk_deadline(const struct node *n);
/* The time of a retained message that its node accepted so many milliseconds after 1970: nanoseconds on the scale that
 * retained_entry.at has here. */
nanotime disk_time(const struct node *n, uint64_t ms);

#endif
