/* What src/mqtt makes of packets, for another implementation to compare (mqtt_oracle.js).
 *
 * mqtt-oracle again: reads lines "LEVEL SIDE HEX" and prints each packet decoded and encoded anew, in hexadecimal digits, or
 * "fault: 0xRR text". LEVEL: 4, 5; SIDE: c, s. mqtt-oracle make SEED COUNT: prints such lines, of random packets. */
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "mqtt/packet.h"

#define MOST 65536

static uint8_t out[MOST];

static void print_hex(size_t n) {
  for (size_t i = 0; i < n; i++) printf("%02x", out[i]);
  putchar('\n');
}

static int again(void) {
  static char line[2 * MOST + 16];
  static uint8_t in[MOST];
  while (fgets(line, sizeof line, stdin)) {
    size_t n = 0;
    struct mqtt_packet p;
    struct mqtt_fault fault;
    char text[MQTT_FAULT_LEN];
    enum mqtt_level level = line[0] == '5' ? MQTT_5 : MQTT_3_1_1;
    for (char *s = line + 4; hex_digit((uint8_t)s[0]) >= 0 && n < MOST; s += 2)
      in[n++] = (uint8_t)(hex_digit((uint8_t)s[0]) << 4 | hex_digit((uint8_t)s[1]));
    if (mqtt_decode(slice_of(in, n), level, line[2] == 's' ? MQTT_FROM_SERVER : MQTT_FROM_CLIENT, &p, &fault))
      printf("fault: 0x%02x %s\n", fault.reason, mqtt_fault_text(&fault, text));
    else
      print_hex(mqtt_encode(&p, level, out, sizeof out));
    fflush(stdout);
  }
  return 0;
}

static struct rng rng;
static unsigned below(unsigned n) { return (unsigned)rng_below(rng, n); }
static bool coin(void) { return below(2); }

static struct slice text(unsigned least) { /* static text of some length */
  static const char letters[] = "plant/press 7/Küche/$SYS/€/\xf0\x9f\x8c\xa1/temperature/a/b/c/d/e/f/g/h";
  static const unsigned ends[] = {0, 1, 5, 11, 15, 17, 22, 27, 36, sizeof letters - 1};
  return slice_of(letters, ends[least + below(sizeof ends / sizeof ends[0] - least)]);
}
static struct slice data(void) {
  static uint8_t bytes[300];
  rng_fill(rng, bytes, sizeof bytes);
  return slice_of(bytes, below(10) ? below(30) : below(300));
}

static void props(struct mqtt_props *p, uint64_t allowed, uint8_t *raw, size_t cap) {
  size_t len = 0;
  p->has = allowed & rng_u64(rng) & (coin() ? rng_u64(rng) : UINT64_MAX);
  p->message_expiry = (uint32_t)rng_u64(rng), p->session_expiry = (uint32_t)rng_u64(rng), p->will_delay = below(100);
  p->maximum_packet_size = 1 + below(UINT32_MAX), p->subscription_id = 1 + below(MQTT_REMAINING_MAX);
  p->server_keep_alive = (uint16_t)below(65536), p->receive_maximum = (uint16_t)(1 + below(65535));
  p->topic_alias_maximum = (uint16_t)below(65536), p->topic_alias = (uint16_t)(1 + below(65535));
  p->payload_format = coin(), p->request_problem = coin(), p->request_response = coin(), p->maximum_qos = coin();
  p->retain_available = coin(), p->wildcard_available = coin(), p->subscription_id_available = coin(),
  p->shared_available = coin();
  p->content_type = text(0), p->response_topic = text(1), p->correlation_data = data(), p->assigned_client_id = text(0);
  p->auth_method = text(1), p->auth_data = data(), p->response_information = text(0), p->server_reference = text(0);
  p->reason_string = text(0);
  if (!(p->has & MQTT_HAS(AUTH_METHOD))) p->has &= ~MQTT_HAS(AUTH_DATA);
  if (p->has & MQTT_HAS(USER_PROPERTY))
    for (unsigned n = 1 + below(4); n; n--) (void)mqtt_put_user(raw, cap, &len, text(0), text(0));
  p->raw = slice_of(raw, len);
}

#define ALL_REASONED (MQTT_HAS(REASON_STRING) | MQTT_HAS(USER_PROPERTY))
#define MESSAGE                                                                                                                \
  (MQTT_HAS(PAYLOAD_FORMAT) | MQTT_HAS(MESSAGE_EXPIRY) | MQTT_HAS(CONTENT_TYPE) | MQTT_HAS(RESPONSE_TOPIC) |                   \
   MQTT_HAS(CORRELATION_DATA) | MQTT_HAS(USER_PROPERTY))
#define AUTHS (MQTT_HAS(AUTH_METHOD) | MQTT_HAS(AUTH_DATA))
#define CONNECTS                                                                                                               \
  (MQTT_HAS(SESSION_EXPIRY) | MQTT_HAS(RECEIVE_MAXIMUM) | MQTT_HAS(MAXIMUM_PACKET_SIZE) | MQTT_HAS(TOPIC_ALIAS_MAXIMUM) |      \
   MQTT_HAS(USER_PROPERTY) | AUTHS)

static uint8_t reason(enum mqtt_type type, bool client) {
  for (;;) {
    uint8_t r = (uint8_t)below(256);
    if (mqtt_reason_fits(r, type, client) && (coin() || r == 0)) return r;
  }
}

static void make_connect(struct mqtt_packet *p, enum mqtt_level level, uint8_t *raw) {
  struct mqtt_connect *c = &p->connect;
  *c = (struct mqtt_connect){.level = level, .clean_start = coin(), .has_will = coin(), .has_user = coin()};
  c->has_password = (level == MQTT_5 || c->has_user) && coin();
  c->keep_alive = (uint16_t)below(65536);
  c->client_id = text(1);
  c->user = text(1);
  c->password = data();
  if (!c->password.n) c->password = slice_str("x");
  if (c->has_will) {
    c->will_retain = coin();
    c->will_qos = (uint8_t)below(3);
    c->will_topic = text(1);
    c->will_payload = slice_str("gone");
    props(&c->will, MESSAGE | MQTT_HAS(WILL_DELAY), raw + 1024, 1024);
  }
  props(&p->props, CONNECTS | MQTT_HAS(REQUEST_PROBLEM) | MQTT_HAS(REQUEST_RESPONSE), raw, 1024);
}

static void make_list(struct mqtt_packet *p, enum mqtt_level level, uint8_t *raw) {
  size_t len = 0;
  for (unsigned n = 1 + below(5); n; n--) {
    struct mqtt_filter f = {.text = text(1), .qos = (uint8_t)below(3)};
    if (level == MQTT_5) f.no_local = coin(), f.retain_as_published = coin(), f.retain_handling = (uint8_t)below(3);
    if (p->type == MQTT_SUBSCRIBE || p->type == MQTT_UNSUBSCRIBE)
      (void)mqtt_put_filter(raw + 1024, 1024, &len, p->type, &f);
    else
      raw[1024 + len++] = level == MQTT_5 ? reason(p->type, false) : below(4) == 3 ? 0x80 : (uint8_t)below(3);
  }
  p->list.raw = slice_of(raw + 1024, len);
  props(&p->props,
        p->type == MQTT_SUBSCRIBE     ? MQTT_HAS(SUBSCRIPTION_ID) | MQTT_HAS(USER_PROPERTY)
        : p->type == MQTT_UNSUBSCRIBE ? MQTT_HAS(USER_PROPERTY)
                                      : ALL_REASONED,
        raw, 1024);
}

static void make_one(struct mqtt_packet *p, enum mqtt_level level, bool client) {
  static uint8_t raw[2048];
  bool v5 = level == MQTT_5;
  p->id = (uint16_t)(1 + below(65535));
  switch (p->type) {
  case MQTT_CONNECT:
    make_connect(p, level, raw);
    break;
  case MQTT_CONNACK:
    p->reason = v5 ? reason(p->type, false) : (uint8_t)below(6);
    p->session_present = !p->reason && coin();
    props(&p->props, CONNECTS | ALL_REASONED | UINT64_C(0x7f014140000) | MQTT_HAS(SERVER_KEEP_ALIVE), raw, 1024);
    break;
  case MQTT_PUBLISH:
    p->publish = (struct mqtt_publish){.topic = text(1), .payload = data(), .qos = (uint8_t)below(3), .retain = coin()};
    p->publish.dup = p->publish.qos && coin();
    props(&p->props, MESSAGE | MQTT_HAS(TOPIC_ALIAS) | (client ? 0 : MQTT_HAS(SUBSCRIPTION_ID)), raw, 1024);
    size_t len = p->props.raw.n;
    if (p->props.has & MQTT_HAS(SUBSCRIPTION_ID))
      for (unsigned n = 1 + below(3); n; n--) (void)mqtt_put_subscription_id(raw, 1024, &len, 1 + below(MQTT_REMAINING_MAX));
    p->props.raw = slice_of(raw, len);
    break;
  case MQTT_PUBACK:
  case MQTT_PUBREC:
  case MQTT_PUBREL:
  case MQTT_PUBCOMP:
    p->reason = v5 ? reason(p->type, client) : 0;
    props(&p->props, ALL_REASONED, raw, 1024);
    break;
  case MQTT_SUBSCRIBE:
  case MQTT_UNSUBSCRIBE:
  case MQTT_SUBACK:
  case MQTT_UNSUBACK:
    make_list(p, level, raw);
    break;
  case MQTT_DISCONNECT:
    p->reason = v5 ? reason(p->type, client) : 0;
    props(&p->props, ALL_REASONED | (client ? MQTT_HAS(SESSION_EXPIRY) : MQTT_HAS(SERVER_REFERENCE)), raw, 1024);
    break;
  case MQTT_AUTH:
    p->reason = client ? 0x18 + below(2) : 0x18 * below(2);
    props(&p->props, ALL_REASONED | AUTHS, raw, 1024);
    p->props.has |= MQTT_HAS(AUTH_METHOD);
    break;
  case MQTT_PINGREQ:
  case MQTT_PINGRESP:
    break;
  }
}

static int make(uint64_t seed, unsigned count) {
  struct rng_seeded seeded;
  rng_seeded_init(&seeded, seed);
  rng = rng_seeded_view(&seeded);
  while (count) {
    struct mqtt_packet p = {.type = (enum mqtt_type)(1 + below(15))}, back;
    struct mqtt_fault fault;
    enum mqtt_level level = coin() ? MQTT_5 : MQTT_3_1_1;
    bool client = coin();
    if (p.type == MQTT_AUTH && level != MQTT_5) continue;
    make_one(&p, level, client);
    size_t n = mqtt_encode(&p, level, out, sizeof out);
    if (!n || mqtt_decode(slice_of(out, n), level, client ? MQTT_FROM_CLIENT : MQTT_FROM_SERVER, &back, &fault)) continue;
    printf("%d %c ", (int)level, client ? 'c' : 's');
    print_hex(n);
    count--;
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "again")) return again();
  if (argc == 4 && !strcmp(argv[1], "make")) return make(strtoull(argv[2], NULL, 10), (unsigned)atoi(argv[3]));
  fputs("mqtt-oracle again | make SEED COUNT\n", stderr);
  return 2;
}
