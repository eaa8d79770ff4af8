/* Retained messages: the last one of each topic that asked for it. Full: refused; leaves when replaced or cleared. */
#ifndef PUBSUB_RETAINED_H
#define PUBSUB_RETAINED_H

#include "base/buf.h"
#include "base/list.h"
#include "bounded/htab.h"

struct retained_entry {
  struct hlink h;
  struct list all;
  struct shbuf *payload;
  uint64_t seq; /* of the topic's arrival: grows along `all` */
  uint64_t ms;  /* when the message was taken, Unix milliseconds: the newest of a topic counts in the whole mesh */
  uint8_t qos;
  uint8_t len;
  char topic[]; /* NUL-terminated */
};

struct retained {
  struct htab tab;
  struct list all; /* retained_entry.all, oldest first */
  struct mem *mem;
  size_t bytes, max_bytes; /* topics and payloads */
  uint64_t last_seq;
  uint64_t removed; /* entries that are no more: whoever kept a place in `all` looks whether it is still there */
  uint64_t refused;
};

void retained_init(struct retained *r, struct mem *mem, struct rng rng, uint32_t max, size_t max_bytes);
void retained_done(struct retained *r);
/* Keeps a reference to payload, replacing what the topic had; an empty or absent payload clears it. topic: stored form. ms:
 * when the message was taken. MACULA_RETAIN_FULL, MACULA_ENOMEM: nothing changed. */
int retained_set(struct retained *r, struct slice topic, struct shbuf *payload, uint8_t qos, uint64_t ms);
const struct retained_entry *retained_find(const struct retained *r, struct slice topic);
/* Whether an entry of `all` matches a stored pattern; adds what it took to *steps, as pattern_match_steps does. */
bool retained_matches(const struct retained_entry *e, struct slice pattern, uint32_t *steps);
static inline uint32_t retained_count(const struct retained *r) { return r->tab.count; }
void retained_set_max(struct retained *r, uint32_t max, size_t max_bytes);

/* O(messages). */
const char *retained_check(const struct retained *r);
size_t retained_owned(const struct retained *r); /* what of its account is its own, without payloads */

#endif
