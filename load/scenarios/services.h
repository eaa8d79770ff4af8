/* load services: what is renewed stays and answers, what is not is gone at its TTL. */
#ifndef LOAD_SCENARIOS_SERVICES_H
#define LOAD_SCENARIOS_SERVICES_H

#include "load/drive/engine.h"

int load_services(struct load_task *t);

#endif
