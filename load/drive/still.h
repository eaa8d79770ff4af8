/* How long the load process and its nodes stood still. */
#ifndef LOAD_DRIVE_STILL_H
#define LOAD_DRIVE_STILL_H

#include "load/run.h"

void load_still_begin(struct load *l); /* before the first turn of the loop */
void load_still_turn(struct load *l, nanotime now);
void load_still_answered(struct load_node *n, nanotime now); /* before op_seen is renewed */
void load_still_note(struct load *l);                        /* when it was so long that others may have held them for dead */

#endif
