#include "mqtt.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "io/io.h"
#include "node/memory/plan.h"

/* Bytes of socket buffers beyond the first ones, of all listeners together: the kernel's, beside the plan. */
#define MOST_BUFFERS PLAN_TCP_MORE

const char *const mqtt_kind_names[MQTT_KINDS] = {"mqtt", "mqtts", "mqtt_ws", "mqtt_wss"};

const struct config_addrs *mqtt_addrs(const struct config *c, enum mqtt_kind kind) {
  const struct config_addrs *const at[MQTT_KINDS] = {&c->mqtt, &c->mqtts, &c->mqtt_ws, &c->mqtt_wss};
  return at[kind];
}

static bool is_secret(enum mqtt_kind kind) { return kind == MQTT_TLS || kind == MQTT_WSS; }

static bool may_come(void *node, const struct addr *remote, nanotime now) { return node_mqtt_may_come(node, remote, now); }
static void on_refused(void *node, const struct addr *remote, const char *why, nanotime now) {
  node_mqtt_tls_refused(node, remote, why, now);
}

_Static_assert(PLAN_TCP == 4 * IO_TCP_FIRST, "two buffers, which the kernel doubles");

static int open_all(struct io_loop *l, struct node *n, const struct config_addrs *at, size_t share, enum mqtt_kind kind,
                    const struct stream_owner *owner, struct io_tcp **ret_tcp, char *ret_why) {
  char why[256], text[ADDR_TEXT_LEN];
  for (size_t i = 0; i < at->count; i++) {
    struct io_tcp_options o = {
        .bind = at->at[i], .owner = *owner, .mem = node_mqtt_mem(n), .most_buffers = MOST_BUFFERS / share};
    int err = io_tcp_open(l, &o, &ret_tcp[i], why);
    addr_text(&at->at[i], text);
    if (err == MACULA_EBUSY)
      snprintf(ret_why, CONFIG_WHY_LEN, "%s: TCP port %s is in use: stop the program that has it, or give another ADDR:PORT",
               mqtt_kind_names[kind], text);
    else if (err)
      snprintf(ret_why, CONFIG_WHY_LEN, "%.255s", why);
    if (err) return err;
  }
  return 0;
}

static void forget(char *pem) {
  explicit_bzero(pem, strlen(pem));
  free(pem);
}

static int open_tls(struct io_loop *l, struct node *n, const struct quic_identity *identity, const struct stream_owner *owner,
                    struct io_tls **ret_tls) {
  char *pem;
  int err = quic_identity_pem(identity, &pem);
  if (err) return err;
  struct io_tls_options o = {.key_pem = pem,
                             .cert_pem = pem,
                             .owner = *owner,
                             .mem = node_mqtt_mem(n),
                             .may_come = may_come,
                             .refused = on_refused,
                             .ctx = n};
  err = io_tls_new(l, &o, ret_tls);
  forget(pem);
  return err;
}

int mqtt_ports_open(struct io_loop *l, struct node *n, const struct config *c, const struct quic_identity *identity,
                    struct mqtt_ports *p, char ret_why[CONFIG_WHY_LEN]) {
  struct stream_owner owner;
  int err = 0;
  size_t share = c->mqtt.count + c->mqtts.count + c->mqtt_ws.count + c->mqtt_wss.count;
  p->node = n;
  for (enum mqtt_kind kind = 0; kind < MQTT_KINDS && !err; kind++) {
    const struct config_addrs *at = mqtt_addrs(c, kind);
    if (!at->count) continue;
    err = node_mqtt_open(n, kind >= MQTT_WS, &owner);
    if (!err && is_secret(kind) && !(err = open_tls(l, n, identity, &owner, &p->of[kind].tls)))
      owner = io_tls_owner(p->of[kind].tls);
    if (!err) err = open_all(l, n, at, share, kind, &owner, p->of[kind].tcp, ret_why);
  }
  return err ? err : mqtt_ports_set(p, c, NULL);
}

int mqtt_ports_set(struct mqtt_ports *p, const struct config *c, const struct quic_identity *identity) {
  char *pem;
  int err = node_mqtt_set_web(p->node, c->http_hosts, c->mqtt_origins);
  if (err || !identity || (!p->of[MQTT_TLS].tls && !p->of[MQTT_WSS].tls)) return err;
  if ((err = quic_identity_pem(identity, &pem)) != 0) return err;
  for (enum mqtt_kind kind = 0; kind < MQTT_KINDS && !err; kind++)
    if (p->of[kind].tls) err = io_tls_set_cert(p->of[kind].tls, pem, pem);
  forget(pem);
  return err;
}

void mqtt_ports_close(struct mqtt_ports *p) {
  for (enum mqtt_kind kind = 0; kind < MQTT_KINDS; kind++) {
    for (size_t i = 0; i < CONFIG_MAX_LISTEN; i++) io_tcp_close(p->of[kind].tcp[i]);
    io_tls_free(p->of[kind].tls);
  }
  *p = (struct mqtt_ports){.node = p->node};
}
