#include "mqtt.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define MOST_BUFFERS (32u << 20) /* bytes of socket buffers beyond the first ones: the kernel's, not in the plan */

static void on_tls_refused(void *ctx, const struct addr *remote, const char *why) {
  char at[ADDR_TEXT_LEN];
  addr_text(remote, at);
  log_debug(ctx, "mqtts_refused", "address=%s text=\"%s\"", at, why);
}

static int open_all(struct io_loop *l, struct node *n, const struct config_addrs *at, const char *option,
                    const struct stream_owner *owner, struct io_tcp **ret_tcp, char *ret_why) {
  char why[256], text[ADDR_TEXT_LEN];
  for (size_t i = 0; i < at->count; i++) {
    struct io_tcp_options o = {.bind = at->at[i], .owner = *owner, .mem = node_mqtt_mem(n), .most_buffers = MOST_BUFFERS};
    int err = io_tcp_open(l, &o, &ret_tcp[i], why);
    addr_text(&at->at[i], text);
    if (err == MACULA_EBUSY)
      snprintf(ret_why, CONFIG_WHY_LEN,
               "TCP port %s is in use: stop the program that has it, or give another with --%s ADDR:PORT", text, option);
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

static int open_tls(struct io_loop *l, struct node *n, const struct log *log, const struct quic_identity *identity,
                    const struct stream_owner *owner, struct io_tls **ret_tls) {
  char *pem;
  int err = quic_identity_pem(identity, &pem);
  if (err) return err;
  struct io_tls_options o = {.key_pem = pem,
                             .cert_pem = pem,
                             .owner = *owner,
                             .mem = node_mqtt_mem(n),
                             .refused = on_tls_refused,
                             .refused_ctx = (void *)log};
  err = io_tls_new(l, &o, ret_tls);
  forget(pem);
  return err;
}

int mqtt_ports_open(struct io_loop *l, struct node *n, const struct log *log, const struct config *c,
                    const struct quic_identity *identity, struct mqtt_ports *p, char ret_why[CONFIG_WHY_LEN]) {
  struct stream_owner owner, secret;
  if (!c->mqtt.count && !c->mqtts.count) return 0;
  int err = node_mqtt_open(n, &owner);
  if (!err) err = open_all(l, n, &c->mqtt, "mqtt", &owner, p->tcp, ret_why);
  if (err || !c->mqtts.count) return err;
  if ((err = open_tls(l, n, log, identity, &owner, &p->tls)) != 0) return err;
  secret = io_tls_owner(p->tls);
  return open_all(l, n, &c->mqtts, "mqtts", &secret, p->tls_tcp, ret_why);
}

int mqtt_ports_set_identity(struct mqtt_ports *p, const struct quic_identity *identity) {
  char *pem;
  if (!p->tls || !identity) return 0;
  int err = quic_identity_pem(identity, &pem);
  if (err) return err;
  err = io_tls_set_cert(p->tls, pem, pem);
  forget(pem);
  return err;
}

void mqtt_ports_close(struct mqtt_ports *p) {
  for (size_t i = 0; i < CONFIG_MAX_LISTEN; i++) {
    if (p->tcp[i]) io_tcp_close(p->tcp[i]);
    if (p->tls_tcp[i]) io_tcp_close(p->tls_tcp[i]);
  }
  if (p->tls) io_tls_free(p->tls);
  *p = (struct mqtt_ports){0};
}
