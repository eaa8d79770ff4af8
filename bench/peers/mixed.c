/* Two systems in one program: who has a macula:// address is a client of libmacula, everyone else one of MQTT. Of each only
 * what publishers and subscribers need. */
#include <stdlib.h>
#include <string.h>

#include "drive.h"

#define BOTH(system)                                                                                                           \
  void system##_peer_start(enum use use);                                                                                      \
  struct connection *system##_peer_connect(const char *server, bool sends);                                                    \
  void system##_peer_subscribe(struct connection *c, const char *topic, void *subscriber, int qos);                            \
  void system##_peer_publish(struct connection *c, const char *topic, const void *data, size_t len);                           \
  void system##_peer_prepare_acknowledged(struct connection *c, const char *topic);                                            \
  void system##_peer_publish_acknowledged(struct connection *c, const char *topic, const void *data, size_t len,               \
                                          struct slot *s);
BOTH(native)
BOTH(mqtt)

struct connection { /* of: what its system calls one */
  bool native;
  struct connection *of;
};

void peer_start(enum use use) {
  native_peer_start(use);
  mqtt_peer_start(use);
}

struct connection *peer_connect(const char *server, bool sends) {
  struct connection *c = calloc(1, sizeof *c);
  c->native = strncmp(server, "macula://", 9) == 0;
  c->of = c->native ? native_peer_connect(server, sends) : mqtt_peer_connect(server, sends);
  return c;
}

void peer_subscribe(struct connection *c, const char *topic, void *subscriber, int qos) {
  (c->native ? native_peer_subscribe : mqtt_peer_subscribe)(c->of, topic, subscriber, qos);
}

void peer_publish(struct connection *c, const char *topic, const void *data, size_t len) {
  (c->native ? native_peer_publish : mqtt_peer_publish)(c->of, topic, data, len);
}

void peer_prepare_acknowledged(struct connection *c, const char *topic) {
  (c->native ? native_peer_prepare_acknowledged : mqtt_peer_prepare_acknowledged)(c->of, topic);
}

void peer_publish_acknowledged(struct connection *c, const char *topic, const void *data, size_t len, struct slot *s) {
  (c->native ? native_peer_publish_acknowledged : mqtt_peer_publish_acknowledged)(c->of, topic, data, len, s);
}

#define NO_CALLS "nobody calls here"
#include "no_calls.h"
