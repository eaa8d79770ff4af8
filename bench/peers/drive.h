/* The work that bench/peers.py compares, and what each system's library is to do for it. A driver is work.c with one of
 * macula.c, nats.c, mosquitto.c and mqtt.c, or mixed.c with two of them. Whatever fails ends the program with its reason. */
#ifndef DRIVE_H
#define DRIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct connection;

struct slot { /* a call, or a message to be acknowledged, that is on its way */
  uint64_t began;
  unsigned number;
};

enum use { USE_MANY, USE_ONE_BY_ONE, USE_CONNECTIONS }; /* for libraries that have settings for each */

extern const char *tls_folder; /* ca.pem, cert.pem, key.pem; NULL: without TLS */
extern int tested_qos;         /* of messages that are acknowledged: 1, or 2 with MQTT */

#ifdef PEER /* a system beside another one in mixed.c: its functions have names of their own */
#define peer_start PEER(peer_start)
#define peer_connect PEER(peer_connect)
#define peer_subscribe PEER(peer_subscribe)
#define peer_publish PEER(peer_publish)
#define peer_prepare_acknowledged PEER(peer_prepare_acknowledged)
#define peer_publish_acknowledged PEER(peer_publish_acknowledged)
#define peer_serve PEER(peer_serve)
#define peer_call PEER(peer_call)
#define peer_call_wait PEER(peer_call_wait)
#endif

/* Prints why, and ends the program. */
_Noreturn void fail(const char *what, const char *why);

/* By the library. All but peer_start may be called from any thread, and those that do not block from callbacks. */
void peer_start(enum use use);
/* Blocks until the server has taken it, both sides proved by certificates. sends: it publishes or calls; the others receive. */
struct connection *peer_connect(const char *server, bool sends);
void peer_subscribe(struct connection *c, const char *topic, void *subscriber, int qos);
void peer_publish(struct connection *c, const char *topic, const void *data, size_t len); /* blocks while there is no room */
void peer_prepare_acknowledged(struct connection *c, const char *topic);
void peer_publish_acknowledged(struct connection *c, const char *topic, const void *data, size_t len, struct slot *s);
void peer_serve(struct connection *c, const char *procedure); /* answers with what it was given */
void peer_call(struct connection *c, const char *procedure, const void *data, size_t len, struct slot *s);
int peer_call_wait(struct connection *c, const char *procedure, const void *data, size_t len); /* blocks; 0, or it failed */

/* By work.c, from any thread. */
void work_message(void *subscriber);
void work_ended(struct slot *s, const char *failure); /* failure: NULL, or why a call or a publish failed */

#endif
