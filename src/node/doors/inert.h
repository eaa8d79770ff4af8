/* What doors without streams have in common (MQTT, HTTP): one way for all lanes, and nothing to do where QUIC has something. */
#ifndef NODE_DOORS_INERT_H
#define NODE_DOORS_INERT_H

#include "node/doors/door.h"

static inline void inert_finish(struct door *d, int64_t way) { (void)d, (void)way; }
static inline void inert_home(struct door *d, int64_t way) {
  d->home = way;
  for (int i = 0; i < LANES; i++) d->way[i] = way;
}
static inline bool inert_is_short(const struct door *d) { return (void)d, false; }
static inline const uint8_t *inert_exporter(const struct door *d) { return (void)d, NULL; }
static inline uint64_t inert_rtt(const struct door *d) { return (void)d, 0; }
static inline void inert_shares(struct door *d, uint32_t n) { (void)d, (void)n; }
static inline void inert_keep_alive(struct door *d, uint64_t every) { (void)d, (void)every; }
static inline void inert_nothing(struct door *d) { (void)d; }
static inline void inert_on_off(struct door *d, bool on) { (void)d, (void)on; }
static inline bool inert_silent(const struct door *d) { return (void)d, false; }
static inline uint64_t inert_unheard(const struct door *d) { return (void)d, 0; }

#endif
