/* load clients: the limit of clients, and what those who are in notice of it. */
#ifndef LOAD_SCENARIOS_CLIENTS_H
#define LOAD_SCENARIOS_CLIENTS_H

#include "load/drive/engine.h"

int load_clients(struct load_task *t);

#endif
