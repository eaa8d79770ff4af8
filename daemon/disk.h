/* The file with retained messages in the state folder (pubsub/retained_log.h): read at the start, written on a thread of
 * libuv's pool, one write at a time.
 *
 *   IDLE --something changed--> WAITING --100 ms--> WRITING --done, some left for the next job--> WRITING
 *                                  ^                   |------done, none--> IDLE, or UNSYNCED for the rest of a second
 *                                  +---- 10 s ---------+ failed
 *
 * What has changed is in the file some 100 ms later, so that it outlives the process, and on the disk after another second, so
 * that it outlives the machine. Neither is waited for by a publisher. When a write fails, all goes on in memory, and all of it
 * is written anew every 10 s until that succeeds. */
#ifndef DAEMON_DISK_H
#define DAEMON_DISK_H

#include "config.h"
#include "io/io.h"
#include "node/node.h"

#define DISK_FILE "retained"

struct disk;

/* Reads what is there into the node, and keeps the file from now on. With retained_disk off it only says that a file is there.
 * A file that cannot be read is an error (so that it is not written over), as of daemon_start; one that is damaged is not: what
 * is right in it counts, and the rest is logged. *ret_disk NULL: off. */
int disk_open(struct io_loop *l, struct node *n, const struct log *log, const struct config *c, struct disk **ret_disk,
              char ret_why[CONFIG_WHY_LEN]);
/* Writes what waits, tried once, and forgets the file. Accepts NULL. */
void disk_close(struct disk *d);

#endif
