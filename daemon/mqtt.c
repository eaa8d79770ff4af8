#include "mqtt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "io/io.h"
#include "node/memory/plan.h"

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

_Static_assert(PLAN_TCP == IO_TCP_FIRST + (4 << 10), "the kernel's part of a client is planned as its buffers are at first");

static int open_all(struct io_loop *l, struct node *n, const struct config_addrs *at, size_t more, enum mqtt_kind kind,
                    const struct stream_owner *owner, struct io_tcp **ret_tcp, char *ret_why) {
  char why[256], text[ADDR_TEXT_LEN];
  for (size_t i = 0; i < at->count; i++) {
    struct io_tcp_options o = {.bind = at->at[i], .owner = *owner, .mem = node_mqtt_mem(n), .most_buffers = more};
    int err = io_tcp_open(l, &o, &ret_tcp[i], why);
    addr_text(&at->at[i], text);
    if (err == MACULA_EBUSY)
      snprintf(ret_why, CONFIG_WHY_LEN,
               "%s: TCP port %s is in use: stop the program that has it, or give another ADDR:PORT, or off",
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

/* Nobody asked for this port: the node serves without it. */
static int give_up(const struct config *c, enum mqtt_kind kind, const struct log *log, int err, char *ret_why, char *ret_off) {
  if (!err || kind != MQTT_TCP || config_is_set(c, OPTION_MQTT)) return err;
  snprintf(ret_off, CONFIG_WHY_LEN, "%s", *ret_why ? ret_why : macula_err_text(err));
  log_warn(log, "mqtt_off", "text=\"%s\"", ret_off);
  *ret_why = 0;
  return 0;
}

int mqtt_ports_open(struct io_loop *l, struct node *n, const struct log *log, const struct config *c,
                    const struct quic_identity *identity, struct mqtt_ports *p, char ret_why[CONFIG_WHY_LEN]) {
  struct stream_owner owner;
  int err = 0;
  size_t count = c->mqtt.count + c->mqtts.count + c->mqtt_ws.count + c->mqtt_wss.count;
  size_t more = count ? plan_tcp_more(&c->node.limits) / count : 0; /* bytes of buffers beyond the first ones */
  p->node = n;
  for (enum mqtt_kind kind = 0; kind < MQTT_KINDS && !err; kind++) {
    const struct config_addrs *at = mqtt_addrs(c, kind);
    if (!at->count) continue;
    err = node_mqtt_open(n, kind >= MQTT_WS, &owner);
    if (!err && is_secret(kind) && !(err = open_tls(l, n, identity, &owner, &p->of[kind].tls)))
      owner = io_tls_owner(p->of[kind].tls);
    if (!err) err = give_up(c, kind, log, open_all(l, n, at, more, kind, &owner, p->of[kind].tcp, ret_why), ret_why, p->off);
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
