#include "mqtt/topic.h"

#include "base/err.h"

int mqtt_subscription_read(const struct mqtt_filter *f, uint32_t id, struct mqtt_subscription *ret, const char **ret_why) {
  static const char prefix[] = "$share/";
  struct slice filter = f->text;
  *ret = (struct mqtt_subscription){.filter = f->text,
                                    .id = id,
                                    .qos = f->qos,
                                    .retain_handling = f->retain_handling,
                                    .no_local = f->no_local,
                                    .retain_as_published = f->retain_as_published};
  if (filter.n >= sizeof prefix - 1 && !memcmp(filter.p, prefix, sizeof prefix - 1)) {
    struct slice rest = slice_of(filter.p + sizeof prefix - 1, filter.n - (sizeof prefix - 1));
    const uint8_t *slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
    size_t n = slash ? (size_t)(slash - rest.p) : rest.n;
    *ret_why = !n ? "a shared subscription has no group name"                                       /* [MQTT-4.8.2-1] */
               : memchr(rest.p, '+', n) || memchr(rest.p, '#', n) ? "a group name holds a wildcard" /* [MQTT-4.8.2-2] */
               : !slash || n + 1 == rest.n                        ? "a shared subscription has no filter"
                                                                  : NULL;
    if (*ret_why) return MACULA_INVALID_TOPIC;
    ret->share = slice_of(rest.p, n);
    filter = slice_of(slash + 1, rest.n - n - 1);
  }
  return name_from_mqtt_filter(filter, ret->pattern, &ret->pattern_len, ret_why);
}
