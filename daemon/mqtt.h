/* The ports for clients of MQTT: over TCP and TLS, with WebSocket and without. */
#ifndef DAEMON_MQTT_H
#define DAEMON_MQTT_H

#include "config.h"
#include "io/io.h"
#include "node/node.h"
#include "quic/identity.h"

enum mqtt_kind { MQTT_TCP, MQTT_TLS, MQTT_WS, MQTT_WSS, MQTT_KINDS };
struct mqtt_ports {
  struct node *node;
  struct {
    struct io_tcp *tcp[CONFIG_MAX_LISTEN];
    struct io_tls *tls; /* NULL: none */
  } of[MQTT_KINDS];
  char off[CONFIG_WHY_LEN]; /* why the port that nobody asked for is closed; empty: it is not, or need not be open */
};
extern const char *const mqtt_kind_names[MQTT_KINDS]; /* as in the configuration */
const struct config_addrs *mqtt_addrs(const struct config *c, enum mqtt_kind kind);

/* Opens those that the configuration names; one that nobody named and that cannot be opened is a warning (`mqtt_off`), stays
 * NULL, and ret_ports says why. Failure: a macula_err, and ret_why says what to do; what is open is closed by io_loop_free,
 * before node_free. */
int mqtt_ports_open(struct io_loop *l, struct node *n, const struct log *log, const struct config *c,
                    const struct quic_identity *identity, struct mqtt_ports *ret_ports, char ret_why[CONFIG_WHY_LEN]);
/* For who comes from now on: the certificate (NULL: as before), and whose pages may come by WebSocket. MACULA_ENOMEM,
 * MACULA_CERTIFICATE_INVALID. */
int mqtt_ports_set(struct mqtt_ports *p, const struct config *c, const struct quic_identity *identity);
/* Ends all streams, and TLS with them. */
void mqtt_ports_close(struct mqtt_ports *p);

#endif
