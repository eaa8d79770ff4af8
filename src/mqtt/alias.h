/* Topic aliases of one connection (MQTT 5.0, 3.3.2.3.4), both ways. Nothing is allocated before the first one. */
#ifndef MQTT_ALIAS_H
#define MQTT_ALIAS_H

#include "base/mem.h"
#include "base/slice.h"

/* What a client has named. A topic that cannot be a name here (wire/mqtt_names.h) is kept as such, whatever its length. */
struct mqtt_aliases_in {
  struct mem *mem;
  struct mqtt_alias_in {
    uint8_t *topic; /* NULL: never set, or unusable */
    uint16_t len;
    bool unusable;
  } * v;        /* [alias - 1] */
  uint16_t max; /* Topic Alias Maximum that the client was told */
};
void mqtt_aliases_in_init(struct mqtt_aliases_in *a, struct mem *mem, uint16_t max);
void mqtt_aliases_in_done(struct mqtt_aliases_in *a);
/* alias: 1 to max. topic.p NULL: one that is unusable. MACULA_ENOMEM. */
int mqtt_aliases_in_set(struct mqtt_aliases_in *a, uint16_t alias, struct slice topic);
/* The topic; p NULL with *ret_unusable: it cannot be a name; p NULL without: the alias was never set. */
struct slice mqtt_aliases_in_get(const struct mqtt_aliases_in *a, uint16_t alias, bool *ret_unusable);

/* What we have named to a client: the topics that were sent last; one that was not used for MQTT_ALIAS_IDLE messages makes room
 * for another, so that many topics do not take each other's place for nothing. */
#define MQTT_ALIAS_IDLE 64u
struct mqtt_aliases_out {
  struct mem *mem;
  struct mqtt_alias_out {
    uint8_t *topic;
    uint16_t len;
    uint32_t used;     /* value of `sent` at its last use */
  } * v;               /* [alias - 1] */
  uint16_t count, max; /* max: what the client allows, and we */
  uint32_t sent;
};
void mqtt_aliases_out_init(struct mqtt_aliases_out *a, struct mem *mem, uint16_t max);
void mqtt_aliases_out_done(struct mqtt_aliases_out *a);
/* The alias for a topic that is being sent; 0: none. *ret_known: the client knows it, so that the topic can be left out. Looks
 * at up to max topics. */
uint16_t mqtt_aliases_out_use(struct mqtt_aliases_out *a, struct slice topic, bool *ret_known);

#endif
