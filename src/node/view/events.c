#include "node/view/events.h"

#include <jansson.h>
#include <stdlib.h>

#include "node/session/session.h"

static json_t *hex(const uint8_t *p, size_t n) {
  char text[2 * ID_LEN + 1];
  hex_encode(p, n, text);
  return json_string(text);
}

char *events_of_client(const struct session *s, const char *reason) {
  char at[ADDR_TEXT_LEN];
  addr_text(door_remote(&s->door), at);
  struct door_view v = door_view(&s->door);
  json_t *j = json_pack("{s:o, s:o, s:s, s:s, s:s, s:s, s:o, s:I, s:s*}", "id", hex(s->client.id.b, ID_LEN), "instance",
                        hex(s->client.instance, INSTANCE_LEN), "name", s->name ? s->name : "", "address", at, "door", v.door,
                        "protocol", session_protocol(s), "node", hex(s->node->id.b, ID_LEN), "ms",
                        (json_int_t)node_wall_ms(s->node), "reason", reason);
  char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
  json_decref(j);
  return text;
}

void events_free(char *json) {
  void (*give)(void *) = free;
  json_get_alloc_funcs(NULL, &give);
  if (json) give(json);
}
