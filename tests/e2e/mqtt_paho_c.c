/* paho for C against a node: mqtt_paho_c PORT VERSION (3 or 5). Prints "ok", or what went wrong. */
#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what, is, want)                                                                                                  \
  do {                                                                                                                         \
    long is_ = (long)(is);                                                                                                     \
    if (is_ != (long)(want)) {                                                                                                 \
      printf("%s: %ld instead of %ld (line %d)\n", what, is_, (long)(want), __LINE__);                                         \
      exit(1);                                                                                                                 \
    }                                                                                                                          \
  } while (0)
#define PATIENCE 60000L /* ms */
#define MANY 500

static int five;
static char url[64];

static MQTTClient client(const char *name, int clean, const char *will, int *ret_present) {
  MQTTClient c;
  MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
  MQTTClient_willOptions w = MQTTClient_willOptions_initializer;
  create.MQTTVersion = five ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
  CHECK("create", MQTTClient_createWithOptions(&c, url, name, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create), 0);
  MQTTClient_connectOptions o = MQTTClient_connectOptions_initializer;
  MQTTClient_connectOptions o5 = MQTTClient_connectOptions_initializer5;
  if (five) o = o5;
  o.keepAliveInterval = 20;
  o.reliable = 0;
  o.maxInflightMessages = 30;
  if (five)
    o.cleanstart = clean;
  else
    o.cleansession = clean;
  if (will) {
    w.topicName = will;
    w.message = "gone";
    w.qos = 1;
    o.will = &w;
  }
  if (five) {
    MQTTProperties props = MQTTProperties_initializer;
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, .value.integer4 = clean ? 0 : 600};
    MQTTProperties_add(&props, &expiry);
    MQTTResponse r = MQTTClient_connect5(c, &o, &props, NULL);
    CHECK("connect", r.reasonCode, 0);
    MQTTResponse_free(r);
    MQTTProperties_free(&props);
  } else {
    CHECK("connect", MQTTClient_connect(c, &o), 0);
  }
  if (ret_present) *ret_present = five ? -1 : o.returned.sessionPresent;
  return c;
}

static void subscribe(MQTTClient c, const char *filter, int qos) {
  if (five) {
    MQTTResponse r = MQTTClient_subscribe5(c, filter, qos, NULL, NULL);
    CHECK(filter, r.reasonCode, qos);
    MQTTResponse_free(r);
  } else {
    CHECK(filter, MQTTClient_subscribe(c, filter, qos), 0);
  }
}

static MQTTClient_deliveryToken publish(MQTTClient c, const char *topic, const char *payload, int qos, int retained) {
  MQTTClient_message m = MQTTClient_message_initializer;
  MQTTClient_deliveryToken token = 0;
  m.payload = (void *)payload;
  m.payloadlen = (int)strlen(payload);
  m.qos = qos;
  m.retained = retained;
  if (five) {
    MQTTResponse r = MQTTClient_publishMessage5(c, topic, &m, &token);
    CHECK(topic, r.reasonCode, 0);
    MQTTResponse_free(r);
  } else {
    CHECK(topic, MQTTClient_publishMessage(c, topic, &m, &token), 0);
  }
  return token;
}

static void expect(MQTTClient c, const char *topic, const char *payload, int qos, int retained) {
  MQTTClient_message *m = NULL;
  char *name = NULL;
  int len;
  CHECK("receive", MQTTClient_receive(c, &name, &len, &m, PATIENCE), 0);
  if (!m || strcmp(name, topic) || m->payloadlen != (int)strlen(payload) ||
      memcmp(m->payload, payload, (size_t)m->payloadlen) || m->qos != qos || !m->retained != !retained) {
    printf("%s=%.*s q%d instead of %s=%s q%d\n", name ? name : "nothing", m ? m->payloadlen : 0, m ? (char *)m->payload : "",
           m ? m->qos : 0, topic, payload, qos);
    exit(1);
  }
  MQTTClient_freeMessage(&m);
  MQTTClient_free(name);
}

static void leave(MQTTClient *c) {
  if (five)
    CHECK("disconnect", MQTTClient_disconnect5(*c, 1000, MQTTREASONCODE_SUCCESS, NULL), 0);
  else
    CHECK("disconnect", MQTTClient_disconnect(*c, 1000), 0);
  MQTTClient_destroy(c);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  five = argv[2][0] == '5';
  snprintf(url, sizeof url, "tcp://127.0.0.1:%s", argv[1]);
  MQTTClient a = client("paho-a", 1, NULL, NULL), b = client("paho-b", 1, NULL, NULL);
  char topic[32], text[32];
  subscribe(b, "c/#", 2);
  for (int qos = 0; qos <= 2; qos++) {
    snprintf(topic, sizeof topic, "c/%d", qos);
    MQTTClient_deliveryToken t = publish(a, topic, "hello", qos, 0);
    if (qos) CHECK("acknowledged", MQTTClient_waitForCompletion(a, t, PATIENCE), 0);
    expect(b, topic, "hello", qos, 0);
  }
  for (int qos = 1; qos <= 2; qos++) { /* one after the other, as this client hands out what has QoS 2 only at its PUBREL */
    for (int i = 0; i < MANY; i++) {
      snprintf(text, sizeof text, "%d", i);
      MQTTClient_deliveryToken t = publish(a, "c/many", text, qos, 0);
      if (i % 20 == 19) CHECK("acknowledged", MQTTClient_waitForCompletion(a, t, PATIENCE), 0);
    }
    for (int i = 0; i < MANY; i++) {
      snprintf(text, sizeof text, "%d", i);
      expect(b, "c/many", text, qos, 0);
    }
  }
  CHECK("acknowledged", MQTTClient_waitForCompletion(a, publish(a, "kept", "retained", 1, 1), PATIENCE), 0);
  subscribe(b, "kept", 0);
  expect(b, "kept", "retained", 0, 1);
  CHECK("acknowledged", MQTTClient_waitForCompletion(a, publish(a, "kept", "", 1, 1), PATIENCE), 0);
  expect(b, "kept", "", 0, 0);
  /* A session that goes on, and a will: its connection is dropped without DISCONNECT, as another takes it over. */
  int present = 0;
  MQTTClient d = client("paho-d", 0, "c/will", NULL);
  subscribe(d, "while/away", 1);
  MQTTClient d2 = client("paho-d", 0, NULL, &present);
  if (!five) CHECK("session present", present, 1);
  leave(&d2);
  CHECK("acknowledged", MQTTClient_waitForCompletion(a, publish(a, "while/away", "waited", 1, 0), PATIENCE), 0);
  d2 = client("paho-d", 0, NULL, &present);
  expect(d2, "while/away", "waited", 1, 0);
  leave(&d2);
  MQTTClient_destroy(&d);
  leave(&a);
  leave(&b);
  puts("ok");
  return 0;
}
