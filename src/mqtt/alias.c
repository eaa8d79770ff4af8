#include "mqtt/alias.h"

#include <assert.h>

#include "base/err.h"

void mqtt_aliases_in_init(struct mqtt_aliases_in *a, struct mem *mem, uint16_t max) {
  *a = (struct mqtt_aliases_in){.mem = mem, .max = max};
}

void mqtt_aliases_in_done(struct mqtt_aliases_in *a) {
  for (unsigned i = 0; a->v && i < a->max; i++) mem_free(a->mem, a->v[i].topic);
  mem_free(a->mem, a->v);
  a->v = NULL;
}

int mqtt_aliases_in_set(struct mqtt_aliases_in *a, uint16_t alias, struct slice topic) {
  assert(alias && alias <= a->max);
  if (!a->v && !(a->v = mem_calloc(a->mem, a->max, sizeof *a->v))) return MACULA_ENOMEM;
  struct mqtt_alias_in *e = &a->v[alias - 1];
  if (topic.p && e->topic && slice_eq(topic, slice_of(e->topic, e->len))) return 0;
  uint8_t *copy = topic.p ? mem_dup(a->mem, topic.p, topic.n) : NULL;
  if (topic.p && !copy) return MACULA_ENOMEM;
  mem_free(a->mem, e->topic);
  *e = (struct mqtt_alias_in){copy, (uint16_t)topic.n, !topic.p};
  return 0;
}

struct slice mqtt_aliases_in_get(const struct mqtt_aliases_in *a, uint16_t alias, bool *ret_unusable) {
  assert(alias && alias <= a->max);
  *ret_unusable = a->v && a->v[alias - 1].unusable;
  return a->v && a->v[alias - 1].topic ? slice_of(a->v[alias - 1].topic, a->v[alias - 1].len) : SLICE_NONE;
}

void mqtt_aliases_out_init(struct mqtt_aliases_out *a, struct mem *mem, uint16_t max) {
  *a = (struct mqtt_aliases_out){.mem = mem, .max = max};
}

void mqtt_aliases_out_done(struct mqtt_aliases_out *a) {
  for (unsigned i = 0; i < a->count; i++) mem_free(a->mem, a->v[i].topic);
  mem_free(a->mem, a->v);
  a->v = NULL;
  a->count = 0;
}

uint16_t mqtt_aliases_out_use(struct mqtt_aliases_out *a, struct slice topic, bool *ret_known) {
  unsigned oldest = 0;
  *ret_known = false;
  if (!a->max || (!a->v && !(a->v = mem_calloc(a->mem, a->max, sizeof *a->v)))) return 0;
  a->sent++;
  for (unsigned i = 0; i < a->count; i++) {
    struct mqtt_alias_out *e = &a->v[i];
    if (slice_eq(topic, slice_of(e->topic, e->len))) {
      e->used = a->sent;
      *ret_known = true;
      return (uint16_t)(i + 1);
    }
    if (a->sent - e->used > a->sent - a->v[oldest].used) oldest = i;
  }
  if (a->count == a->max && a->sent - a->v[oldest].used <= MQTT_ALIAS_IDLE) return 0;
  uint8_t *copy = mem_dup(a->mem, topic.p, topic.n);
  if (!copy) return 0;
  unsigned at = a->count < a->max ? a->count++ : oldest;
  mem_free(a->mem, a->v[at].topic);
  a->v[at] = (struct mqtt_alias_out){copy, (uint16_t)topic.n, a->sent};
  return (uint16_t)(at + 1);
}
