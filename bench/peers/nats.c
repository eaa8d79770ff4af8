/* NATS through libnats. Lone requests are sent at once, else each waits for the library's flusher; of many it gathers what is
 * sent, which costs both sides less. A call that blocks is natsConnection_Request, any other a publish with a reply subject of
 * its own, which is the leanest way; so is a message to a JetStream stream in memory. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nats/nats.h>

#include "drive.h"

#define MAX_SLOTS 4096

struct connection {
  natsConnection *nc;
  pthread_mutex_t lock;
  char inbox[80]; /* "": not there yet */
  struct slot *slots[MAX_SLOTS];
};

static natsOptions *options; /* of all: each would read its certificates anew, and those of the system */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void check(const char *what, natsStatus s) {
  if (s != NATS_OK) fail(what, nats_GetLastError(&s) ? nats_GetLastError(&s) : natsStatus_GetText(s));
}

static const char *file(const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", tls_folder, name);
  return strdup(path);
}

void peer_start(enum use use) {
  check("library", nats_Open(-1));
  check("options", natsOptions_Create(&options));
  check("options", natsOptions_SetSecure(options, true));
  check("options", natsOptions_LoadCATrustedCertificates(options, file("ca.pem")));
  check("options", natsOptions_LoadCertificatesChain(options, file("cert.pem"), file("key.pem")));
  check("options", natsOptions_SetExpectedHostname(options, "localhost"));
  check("options", natsOptions_SetTimeout(options, 60000));
  check("options", natsOptions_SetAllowReconnect(options, false));
  check("options", natsOptions_SetSendAsap(options, use == USE_ONE_BY_ONE));
}

struct connection *peer_connect(const char *server, bool sends) {
  struct connection *c = calloc(1, sizeof *c);
  (void)sends;
  pthread_mutex_init(&c->lock, NULL);
  pthread_mutex_lock(&lock);
  check("options", natsOptions_SetURL(options, server));
  pthread_mutex_unlock(&lock);
  check("connect", natsConnection_Connect(&c->nc, options));
  return c;
}

/* ---- publish and subscribe --------------------------------------------------------------------------------------------------
 */
static void on_message(natsConnection *nc, natsSubscription *sub, natsMsg *m, void *ctx) {
  (void)nc;
  (void)sub;
  work_message(ctx);
  natsMsg_Destroy(m);
}

static void listen_to(struct connection *c, const char *subject, natsMsgHandler fn, void *ctx) {
  natsSubscription *sub;
  check("subscribe", natsConnection_Subscribe(&sub, c->nc, subject, fn, ctx));
  check("subscribe", natsSubscription_SetPendingLimits(sub, -1, -1));
  check("subscribe", natsConnection_Flush(c->nc));
}

void peer_subscribe(struct connection *c, const char *topic, void *subscriber, int qos) {
  (void)qos;
  listen_to(c, topic, on_message, subscriber);
}

void peer_publish(struct connection *c, const char *topic, const void *data, size_t len) {
  check("publish", natsConnection_Publish(c->nc, topic, data, (int)len));
}

/* ---- calls ------------------------------------------------------------------------------------------------------------------
 */
static void on_request(natsConnection *nc, natsSubscription *sub, natsMsg *m, void *ctx) {
  (void)sub;
  (void)ctx;
  check("reply", natsConnection_Publish(nc, natsMsg_GetReply(m), natsMsg_GetData(m), natsMsg_GetDataLength(m)));
  natsMsg_Destroy(m);
}

void peer_serve(struct connection *c, const char *procedure) { listen_to(c, procedure, on_request, NULL); }

static void on_reply(natsConnection *nc, natsSubscription *sub, natsMsg *m, void *ctx) {
  struct connection *c = ctx;
  (void)nc;
  (void)sub;
  unsigned number = (unsigned)atoi(natsMsg_GetSubject(m) + strlen(c->inbox) + 1);
  const char *data = natsMsg_GetData(m), *why = natsMsg_IsNoResponders(m) ? "no responders" : NULL;
  if (!why && data && strncmp(data, "{\"error\"", 8) == 0) why = data; /* JetStream's */
  work_ended(c->slots[number], why);
  natsMsg_Destroy(m);
}

static void find_inbox(struct connection *c) {
  char all[96];
  natsInbox *inbox;
  pthread_mutex_lock(&c->lock);
  if (!c->inbox[0]) {
    check("inbox", natsInbox_Create(&inbox));
    snprintf(c->inbox, sizeof c->inbox, "%s", inbox);
    natsInbox_Destroy(inbox);
    snprintf(all, sizeof all, "%s.*", c->inbox);
    listen_to(c, all, on_reply, c);
  }
  pthread_mutex_unlock(&c->lock);
}

void peer_call(struct connection *c, const char *procedure, const void *data, size_t len, struct slot *s) {
  char reply[112];
  if (!c->inbox[0]) find_inbox(c);
  if (s->number >= MAX_SLOTS) fail("call", "too many at once");
  c->slots[s->number] = s;
  snprintf(reply, sizeof reply, "%s.%u", c->inbox, s->number);
  check("call", natsConnection_PublishRequest(c->nc, procedure, reply, data, (int)len));
}

int peer_call_wait(struct connection *c, const char *procedure, const void *data, size_t len) {
  natsMsg *m;
  natsStatus s = natsConnection_Request(&m, c->nc, procedure, data, (int)len, 5000);
  if (s != NATS_OK) return -1;
  natsMsg_Destroy(m);
  return 0;
}

/* ---- acknowledged messages --------------------------------------------------------------------------------------------------
 */
void peer_prepare_acknowledged(struct connection *c, const char *topic) {
  jsCtx *js;
  jsStreamConfig cfg;
  const char *subjects[] = {topic};
  check("JetStream", natsConnection_JetStream(&js, c->nc, NULL));
  jsStreamConfig_Init(&cfg);
  cfg.Name = "bench";
  cfg.Subjects = subjects;
  cfg.SubjectsLen = 1;
  cfg.Storage = js_MemoryStorage;
  cfg.MaxMsgs = 100000;
  check("stream", js_AddStream(NULL, js, &cfg, NULL, NULL));
}

void peer_publish_acknowledged(struct connection *c, const char *topic, const void *data, size_t len, struct slot *s) {
  peer_call(c, topic, data, len, s);
}
