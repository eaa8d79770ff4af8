/* What is looked at in each turn of the loop. */
#ifndef LOAD_DRIVE_TURN_H
#define LOAD_DRIVE_TURN_H

#include "load/run.h"

void load_turn(struct load *l, nanotime now);

#endif
