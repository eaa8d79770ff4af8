/* The ports for clients of MQTT, over TCP and TLS. */
#ifndef DAEMON_MQTT_H
#define DAEMON_MQTT_H

#include "config.h"
#include "io/io.h"
#include "node/node.h"
#include "quic/identity.h"

struct mqtt_ports {
  struct io_tcp *tcp[CONFIG_MAX_LISTEN], *tls_tcp[CONFIG_MAX_LISTEN];
  struct io_tls *tls; /* NULL: none */
};

/* Opens those that the configuration names. Failure: a macula_err, and ret_why says what to do; what is open is closed by
 * io_loop_free, before node_free. */
int mqtt_ports_open(struct io_loop *l, struct node *n, const struct log *log, const struct config *c,
                    const struct quic_identity *identity, struct mqtt_ports *ret_ports, char ret_why[CONFIG_WHY_LEN]);
/* The certificate for who comes from now on. */
int mqtt_ports_set_identity(struct mqtt_ports *p, const struct quic_identity *identity);
/* Ends all streams, and TLS with them. */
void mqtt_ports_close(struct mqtt_ports *p);

#endif
