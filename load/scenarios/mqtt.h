/* load mqtt: clients of MQTT over TCP at the node's limit, their sessions, wills and ends. */
#ifndef LOAD_SCENARIOS_MQTT_H
#define LOAD_SCENARIOS_MQTT_H

#include "load/drive/engine.h"

int load_mqtt(struct load_task *t);
bool load_mqtt_fits(const struct load *l); /* files; if not, its error is printed and nothing else should begin */
int load_mqtt_child(struct load_task *t);  /* those who are killed */

#endif
