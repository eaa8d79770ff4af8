#include "mqtt/reason.h"

#include "base/err.h"

struct row {
  uint8_t code;
  const char *text;
  uint32_t packets;
};

static const struct row rows[] = {
#define ROW(name, code, text, packets) {code, text, packets},
    MQTT_REASON_MAP(ROW)
#undef ROW
};

static const struct row *row_of(uint8_t reason) {
  for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++)
    if (rows[i].code == reason) return &rows[i];
  return NULL;
}

const char *mqtt_reason_text(uint8_t reason) {
  const struct row *row = row_of(reason);
  return row ? row->text : "unknown reason";
}

bool mqtt_reason_fits(uint8_t reason, unsigned type, bool from_client) {
  const struct row *row = row_of(reason);
  if (!row || !(row->packets >> type & 1)) return false;
  uint32_t only = row->packets & (MQTT_R_CLIENT | MQTT_R_SERVER);
  bool both = !(1u << type & (MQTT_R_DISCONNECT | MQTT_R_AUTH)) || !only;
  /* AUTH: Success is the server's to say (3.15.2.1). */
  if (type == 15 && reason == MQTT_SUCCESS) return !from_client;
  return both || only == (from_client ? MQTT_R_CLIENT : MQTT_R_SERVER);
}

uint8_t mqtt_reason_3_1_1(uint8_t reason) {
  if (reason < 0x80) return 0;
  switch (reason) {
  case MQTT_BAD_VERSION:
    return 1;
  case MQTT_BAD_CLIENT_ID:
    return 2;
  case MQTT_BAD_USER:
    return 4;
  case MQTT_NOT_AUTHORIZED:
  case MQTT_BANNED:
  case MQTT_BAD_AUTH_METHOD:
  case MQTT_BAD_TOPIC:
    return 5;
  default:
    return 3; /* server unavailable */
  }
}

enum mqtt_reason mqtt_reason_of(int err) {
  switch (err) {
  case 0:
    return MQTT_SUCCESS;
  case MACULA_NOT_AUTHORIZED:
  case MACULA_FORBIDDEN:
  case MACULA_PASS_INVALID:
  case MACULA_PASS_EXPIRED:
  case MACULA_PASS_REVOKED:
    return MQTT_NOT_AUTHORIZED;
  case MACULA_INVALID_TOPIC:
    return MQTT_BAD_TOPIC;
  case MACULA_ENOMEM:
  case MACULA_EFULL:
  case MACULA_RETAIN_FULL:
  case MACULA_MAX_SUBSCRIPTIONS_REACHED:
  case MACULA_MAX_CLIENTS_REACHED:
  case MACULA_QUOTA_REACHED:
  case MACULA_RATE_LIMITED:
  case MACULA_SLOW_CONSUMER:
    return MQTT_QUOTA;
  case MACULA_PAYLOAD_TOO_LARGE:
  case MACULA_FRAME_TOO_LARGE:
    return MQTT_TOO_LARGE;
  case MACULA_SHUTTING_DOWN:
    return MQTT_SHUTTING_DOWN;
  case MACULA_REPLACED:
    return MQTT_TAKEN_OVER;
  default:
    return MQTT_UNSPECIFIED;
  }
}
