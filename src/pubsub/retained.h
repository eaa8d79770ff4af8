/* Retained messages: the last message with `retain` of each topic. When full, new topics are refused; a message stays until it
 * is replaced or cleared. */
#ifndef PUBSUB_RETAINED_H
#define PUBSUB_RETAINED_H

#include "base/buf.h"
#include "base/list.h"
#include "bounded/htab.h"
#include "tables/principals.h"

struct retained_entry {
  struct hlink h;
  struct list all;
  struct shbuf *payload;
  struct principal *origin; /* who published it: a reference; NULL: unknown */
  uint64_t seq;             /* numbers the messages in the order of `all` */
  /* when its node accepted the message, Unix milliseconds: the newest message of a topic counts in the whole mesh */
  uint64_t ms;
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
  uint64_t removed; /* number of entries removed so far: if it has changed, a pointer into `all` that was kept may be stale */
  uint64_t refused;
};

void retained_init(struct retained *r, struct mem *mem, struct rng rng, uint32_t max, size_t max_bytes);
void retained_done(struct retained *r);
/* Keeps a reference to payload, replacing what the topic had; an empty or absent payload clears it. topic: stored form. ms:
 * when its node accepted the message. MACULA_RETAIN_FULL, MACULA_ENOMEM: nothing changed. */
int retained_set(struct retained *r, struct slice topic, struct shbuf *payload, uint8_t qos, uint64_t ms);
/* Who published the topic's message; does nothing when it has none. p is referenced; NULL: unknown. */
void retained_set_origin(struct retained *r, struct slice topic, struct principal *p);
const struct retained_entry *retained_find(const struct retained *r, struct slice topic);
/* Whether an entry of `all` matches a stored pattern; adds the steps of the match to *steps, as pattern_match_steps does. */
bool retained_matches(const struct retained_entry *e, struct slice pattern, uint32_t *steps);
static inline uint32_t retained_count(const struct retained *r) { return r->tab.count; }
void retained_set_max(struct retained *r, uint32_t max, size_t max_bytes);

uint64_t retained_origins(const struct retained *r); /* messages with an origin; O(messages) */
/* O(messages). */
const char *retained_check(const struct retained *r);
size_t retained_owned(const struct retained *r); /* bytes of the account that it holds, without payloads */

#endif
