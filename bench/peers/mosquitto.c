/* mosquitto through libmosquitto, with a thread a connection as mosquitto_loop_start makes it; connections that idle have none.
 * It has no calls. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mosquitto.h>

#include "drive.h"

#define MOST_UNSENT 20000 /* messages: the library's own queue has no bound */

struct connection {
  struct mosquitto *m;
  void *subscriber;
  atomic_bool in, subscribed;
  _Atomic uint64_t queued, sent; /* of QoS 0 */
  bool acknowledged;
  pthread_mutex_t lock;
  struct slot *order[65536]; /* of messages to be acknowledged: the server does so in their order */
  uint16_t first, end;
};

static bool alone;

static void check(const char *what, int err) {
  if (err) fail(what, mosquitto_strerror(err));
}

static const char *file(const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", tls_folder, name);
  return strdup(path);
}

static void pause_us(long us) { nanosleep(&(struct timespec){0, us * 1000}, NULL); }

void peer_start(enum use use) {
  alone = use == USE_CONNECTIONS;
  check("library", mosquitto_lib_init());
}

static void on_connect(struct mosquitto *m, void *ctx, int code) {
  struct connection *c = ctx;
  (void)m;
  if (code) fail("connect", mosquitto_connack_string(code));
  c->in = true;
}

static void on_subscribe(struct mosquitto *m, void *ctx, int mid, int count, const int *qos) {
  struct connection *c = ctx;
  (void)m;
  (void)mid;
  (void)count;
  (void)qos;
  c->subscribed = true;
}

static void on_message(struct mosquitto *m, void *ctx, const struct mosquitto_message *message) {
  struct connection *c = ctx;
  (void)m;
  (void)message;
  work_message(c->subscriber);
}

static void on_publish(struct mosquitto *m, void *ctx, int mid) {
  struct connection *c = ctx;
  (void)m;
  (void)mid;
  if (!c->acknowledged) {
    c->sent++;
    return;
  }
  pthread_mutex_lock(&c->lock);
  struct slot *s = c->order[c->first++];
  pthread_mutex_unlock(&c->lock);
  work_ended(s, NULL);
}

struct connection *peer_connect(const char *server, bool sends) {
  struct connection *c = calloc(1, sizeof *c);
  char host[256];
  (void)sends;
  snprintf(host, sizeof host, "%s", server);
  char *colon = strrchr(host, ':');
  *colon = 0;
  pthread_mutex_init(&c->lock, NULL);
  if (!(c->m = mosquitto_new(NULL, true, c))) fail("connect", "no memory");
  check("TLS", mosquitto_tls_set(c->m, file("ca.pem"), NULL, file("cert.pem"), file("key.pem"), NULL));
  check("options", mosquitto_int_option(c->m, MOSQ_OPT_TCP_NODELAY, 1));
  check("options", mosquitto_max_inflight_messages_set(c->m, 65535));
  mosquitto_connect_callback_set(c->m, on_connect);
  mosquitto_subscribe_callback_set(c->m, on_subscribe);
  mosquitto_message_callback_set(c->m, on_message);
  mosquitto_publish_callback_set(c->m, on_publish);
  check("connect", mosquitto_connect(c->m, host, atoi(colon + 1), 3600));
  if (!alone) check("thread", mosquitto_loop_start(c->m));
  while (!c->in)
    if (alone)
      check("connect", mosquitto_loop(c->m, 1000, 1));
    else
      pause_us(100);
  return c;
}

void peer_subscribe(struct connection *c, const char *topic, void *subscriber, int qos) {
  c->subscriber = subscriber;
  check("subscribe", mosquitto_subscribe(c->m, NULL, topic, qos));
  while (!c->subscribed) pause_us(100);
}

void peer_publish(struct connection *c, const char *topic, const void *data, size_t len) {
  while (c->queued - c->sent >= MOST_UNSENT) pause_us(20);
  c->queued++;
  check("publish", mosquitto_publish(c->m, NULL, topic, (int)len, data, 0, false));
}

void peer_prepare_acknowledged(struct connection *c, const char *topic) {
  (void)topic;
  while (c->sent < c->queued) pause_us(100);
  c->acknowledged = true;
}

void peer_publish_acknowledged(struct connection *c, const char *topic, const void *data, size_t len, struct slot *s) {
  pthread_mutex_lock(&c->lock);
  c->order[c->end++] = s;
  pthread_mutex_unlock(&c->lock);
  check("publish", mosquitto_publish(c->m, NULL, topic, (int)len, data, 1, false));
}

/* ---- what it has not --------------------------------------------------------------------------------------------------------
 */
#define NO_CALLS "mosquitto has no calls"
#include "no_calls.h"
