/* Retained messages: the last message with `retain` of each topic. When full, new topics are refused; a message stays until it
 * is replaced or cleared, or has got too old, or its time to live is over.
 *
 * Each message has an owner, who published it last. An owner may hold at most as much, by number and by bytes, as is still free
 * (what it has just added not counted to what it holds). So one alone fills half, n of them leave 1/(n + 1), and whoever holds
 * little finds room whatever the others do. */
#ifndef PUBSUB_RETAINED_H
#define PUBSUB_RETAINED_H

#include "base/buf.h"
#include "base/list.h"
#include "base/time.h"
#include "bounded/heap.h"
#include "bounded/htab.h"
#include "tables/principals.h"

#define RETAINED_OWNER_MAX 40u /* bytes of an owner's id */

/* The QoS that is kept of a message, here and in the file: 0, 1, or 1 whose publisher used QoS 2 of MQTT. */
#define RETAINED_EXACTLY_ONCE 2u
static inline uint8_t retained_qos(bool acknowledged, bool exactly_once) {
  return !acknowledged ? 0 : exactly_once ? RETAINED_EXACTLY_ONCE : 1;
}

struct retained_owner { /* embedded in the owner's record, which must stay while it has messages */
  uint32_t count;
  size_t bytes;    /* topics, payloads and headers */
  struct slice id; /* by which it is found again after a restart; n 0: it is not */
};

struct retained_entry {
  struct hlink h;
  struct list all, age;         /* retained.all, retained.age */
  struct list disk;             /* retained.saved or retained.unsaved */
  struct retained_owner *owner; /* NULL: nobody */
  struct shbuf *payload;
  struct shbuf *headers;    /* NULL: it has none */
  struct heap_link ends;    /* retained.ends; not in it: it does not end by itself */
  struct principal *origin; /* who published it: a reference; NULL: unknown */
  nanotime at;              /* when it was published here, by the clock that retained_message.now is of */
  uint64_t seq;             /* numbers the messages in the order of `all` */
  /* when its node accepted the message, Unix milliseconds: the newest message of a topic counts in the whole mesh */
  uint64_t ms;
  uint32_t slashes; /* of the topic as it was published */
  uint32_t round;   /* the filling of a half of the file that has a record of it; 0: none */
  uint32_t kept;    /* retained.keeping while it is in `saved` */
  uint32_t header_count;
  uint8_t qos; /* retained_qos */
  uint8_t len;
  char topic[]; /* NUL-terminated */
};

/* Who is told of changes: pubsub/retained_log.h. */
struct retained_watch {
  void (*changed)(void *ctx);                                  /* an entry was made or replaced: it is in `unsaved` */
  void (*gone)(void *ctx, const struct retained_entry *entry); /* before it goes */
  void *ctx;
};

/* Its bytes, of which owners have a share. */
static inline size_t retained_size(const struct retained_entry *e) {
  return (size_t)e->len + e->payload->len + (e->headers ? e->headers->len : 0);
}

struct retained {
  struct htab tab;
  struct list all; /* retained_entry.all, oldest first */
  struct list age; /* retained_entry.age: longest not published first */
  /* retained_entry.disk: what the file has as it is now, and what it does not. Each entry is in one of them. */
  struct list saved, unsaved;
  uint32_t unsaved_count;
  uint32_t keeping; /* changes whenever all that is saved is to be written again */
  struct retained_watch watch;
  struct heap ends; /* retained_entry.ends: those with a time to live */
  struct mem *mem;
  size_t bytes, max_bytes; /* topics, payloads and headers */
  uint64_t last_seq;
  uint64_t removed; /* number of entries removed so far: if it has changed, a pointer into `all` that was kept may be stale */
  uint64_t refused, expired;
  uint64_t refused_share; /* of the refused: there was room, but not for this owner */
};

void retained_init(struct retained *r, struct mem *mem, struct rng rng, uint32_t max, size_t max_bytes);
void retained_done(struct retained *r);
struct retained_message {
  struct slice topic;    /* stored form */
  struct shbuf *payload; /* referenced */
  struct shbuf *headers; /* referenced; NULL: none. Encoded, as many texts as header_count says */
  uint32_t header_count;
  nanotime expires;             /* 0 or TIME_NEVER: it does not end by itself */
  struct retained_owner *owner; /* NULL: nobody, who may fill all */
  uint64_t ms;                  /* when its node accepted the message */
  nanotime now;
  uint32_t slashes; /* of the topic as it was published (wire/names.h) */
  uint8_t qos;      /* retained_qos */
  bool restored;    /* it was retained before the restart: the owner's share is not looked at */
};
/* Replaces what the topic had; an empty or absent payload clears it. MACULA_RETAIN_FULL, MACULA_QUOTA_REACHED (the owner's
 * share), MACULA_ENOMEM: nothing changed. */
int retained_set(struct retained *r, const struct retained_message *m);
/* Moves an entry to `saved`; and all of them to the end of `unsaved`. */
void retained_save(struct retained *r, struct retained_entry *e);
void retained_unsave(struct retained *r);
/* After messages were restored in any order: those that were published longest ago are the first that end. */
void retained_sort(struct retained *r);
/* Who published the topic's message; does nothing when it has none. p is referenced; NULL: unknown. */
void retained_set_origin(struct retained *r, struct slice topic, struct principal *p);
/* A message whose time to live is over, or the one that was published longest ago, if it is `ttl` old; NULL: none is. */
const struct retained_entry *retained_due(const struct retained *r, uint64_t ttl, nanotime now);
nanotime retained_deadline(const struct retained *r, uint64_t ttl); /* when one will be; TIME_NEVER: there is none */
const struct retained_entry *retained_find(const struct retained *r, struct slice topic);
/* Whether an entry of `all` matches a stored pattern; adds the steps of the match to *steps, as pattern_match_steps does. */
bool retained_matches(const struct retained_entry *e, struct slice pattern, uint32_t *steps);
/* Whether its time to live is over; it is not to be sent any more. */
static inline bool retained_is_over(const struct retained_entry *e, nanotime now) { return e->ends.pos && e->ends.at <= now; }
static inline uint32_t retained_count(const struct retained *r) { return r->tab.count; }
void retained_set_max(struct retained *r, uint32_t max, size_t max_bytes);

uint64_t retained_origins(const struct retained *r); /* messages with an origin; O(messages) */
/* O(messages). */
const char *retained_check(const struct retained *r);
size_t retained_owned(const struct retained *r); /* bytes of the account that it holds, without payloads */

#endif
