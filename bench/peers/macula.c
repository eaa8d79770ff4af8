/* Macula through its library. Who sends has another loop than who receives, as if they were two programs. */
#include <stdlib.h>

#include <macula/macula.h>

#include "drive.h"

struct connection {
  macula_client client;
};

static macula_loop *receiving, *sending;
static macula_identity *identity;

static void check(const char *what, int err) {
  if (err) fail(what, macula_last_error());
}

void peer_start(enum use use) {
  macula_loop_options o = {MACULA_INIT(macula_loop_options), .max_memory = (size_t)4 << 30};
  (void)use;
  check("loop", macula_loop_new(&o, &receiving));
  check("loop", macula_loop_new(&o, &sending));
  check("identity", macula_identity_load(NULL, true, &identity));
}

struct connection *peer_connect(const char *server, bool sends) {
  macula_options o = {MACULA_INIT(macula_options), .server = server, .identity = identity, .no_reconnect = true};
  struct connection *c = calloc(1, sizeof *c);
  check("connect", macula_connect(sends ? sending : receiving, &o, &c->client));
  check("connect", macula_connect_wait(c->client, 60000));
  return c;
}

/* ---- publish and subscribe --------------------------------------------------------------------------------------------------
 */
static void on_message(void *ctx, macula_client client, const macula_message *m) {
  (void)client;
  (void)m;
  work_message(ctx);
}

void peer_subscribe(struct connection *c, const char *topic, void *subscriber, int qos) {
  (void)qos; /* the publisher's counts */
  check("subscribe", macula_subscribe_sync(c->client, topic, NULL, on_message, subscriber, 30000, NULL));
}

void peer_publish(struct connection *c, const char *topic, const void *data, size_t len) {
  static const macula_publish_options o = {MACULA_INIT(macula_publish_options), .wait_ms = UINT64_MAX};
  check("publish", macula_publish(c->client, topic, data, len, &o, NULL, NULL));
}

void peer_prepare_acknowledged(struct connection *c, const char *topic) {
  (void)c;
  (void)topic;
}

static void on_done(void *ctx, macula_client client, int err, const char *text) {
  (void)client;
  work_ended(ctx, err ? text : NULL);
}

void peer_publish_acknowledged(struct connection *c, const char *topic, const void *data, size_t len, struct slot *s) {
  static const macula_publish_options o = {MACULA_INIT(macula_publish_options), .qos = 1, .timeout_ms = 30000};
  check("publish", macula_publish(c->client, topic, data, len, &o, on_done, s));
}

/* ---- calls ------------------------------------------------------------------------------------------------------------------
 */
static void on_request(void *ctx, macula_client client, const macula_request *r) {
  (void)ctx;
  check("reply", macula_reply(client, r->id, r->args, r->len));
}

void peer_serve(struct connection *c, const char *procedure) {
  check("serve", macula_serve_sync(c->client, procedure, NULL, on_request, NULL, NULL, 30000, NULL));
}

static void on_result(void *ctx, macula_client client, const macula_result *r) {
  (void)client;
  work_ended(ctx, r->err ? r->text : NULL);
}

void peer_call(struct connection *c, const char *procedure, const void *data, size_t len, struct slot *s) {
  check("call", macula_call(c->client, procedure, data, len, NULL, on_result, s, NULL));
}

int peer_call_wait(struct connection *c, const char *procedure, const void *data, size_t len) {
  return macula_call_sync(c->client, procedure, data, len, NULL, 5000, NULL, NULL);
}
