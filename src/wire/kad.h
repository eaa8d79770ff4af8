/* Payloads of the DHT's frames between nodes (types 40 to 45): their codec.
 *
 * Decoding gives views into the payload and allocates nothing; unknown keys are skipped, of duplicate keys the last wins, and
 * what is wrong in type or size is MACULA_BAD_FRAME. Contacts and signed batches of a reply are counted when decoded and read
 * one by one afterwards, so that a reader takes as many as it wants. */
#ifndef WIRE_KAD_H
#define WIRE_KAD_H

#include "base/addr.h"
#include "base/slice.h"

#define KAD_MAX_ENTRIES 16  /* records in one signed batch */
#define KAD_MAX_RECORD 4096 /* bytes of a signed batch */
#define KAD_MAX_SIGNATURE 512
#define KAD_MAX_SPKI 1024
#define KAD_PAGE 16 /* signed batches in one FIND_VALUE_REPLY */
#define KAD_MAX_REALM 255
#define KAD_MAX_STORE (KAD_MAX_RECORD + KAD_MAX_SIGNATURE + KAD_MAX_SPKI + 128) /* largest STORE payload */

struct kad_contact {
  struct id id;
  struct addr addr;  /* sa_family 0: cannot be dialled */
  struct id gateway; /* then: the node that it stays connected to; all zero: none */
};

struct kad_entry { /* one record */
  struct id key;
  uint32_t kind; /* 1 to 255 */
  uint32_t ttl;  /* s; 0: withdrawn */
  uint32_t rest; /* s; of a withdrawn one: for how long someone may still hold the record; 0: not known */
};
struct kad_batch { /* what is signed */
  struct slice realm;
  uint64_t seq;
  struct addr addr;  /* the publisher's first endpoint; sa_family 0: none */
  struct id gateway; /* all zero: none */
  uint32_t count;
  struct kad_entry entries[KAD_MAX_ENTRIES];
};
struct kad_signed {
  struct slice record; /* the batch's bytes as signed */
  struct slice signature, spki;
  uint64_t age; /* ms since the sender first saw this sequence: the receiver counts it as passed of each TTL */
};

struct kad_msg {
  uint64_t query;                   /* of every message: the reply repeats its request's */
  struct id key;                    /* FIND_NODE (`target`), FIND_VALUE */
  uint32_t kind, page;              /* FIND_VALUE */
  uint32_t node_count;              /* replies of FIND_* */
  const struct kad_contact *nodes;  /* when encoding */
  struct slice raw_nodes;           /* when decoded: kad_node_next */
  uint32_t batch_count;             /* FIND_VALUE_REPLY */
  const struct kad_signed *batches; /* when encoding */
  struct slice raw_batches;         /* when decoded: kad_batch_next */
  bool more;                        /* FIND_VALUE_REPLY: there is another page */
  struct kad_signed batch;          /* STORE; STORE_REPLY: a newer batch of the holder, with has_newer */
  bool has_newer;                   /* STORE_REPLY */
  struct slice code;                /* STORE_REPLY: absent: all is stored; else a name of macula/error.h */
};

/* MACULA_BAD_FRAME */
int kad_decode(uint8_t type, struct slice payload, struct kad_msg *ret_msg);
/* The next contact or batch of a decoded reply; false at the end. Contacts of an unknown family are passed over. */
bool kad_node_next(struct kad_msg *m, struct kad_contact *ret_contact);
bool kad_batch_next(struct kad_msg *m, struct kad_signed *ret_batch);
/* Bytes of the payload; it is written if they fit cap. With buf NULL it only counts. */
size_t kad_encode(uint8_t type, const struct kad_msg *m, uint8_t *ret_buf, size_t cap);

/* What a record's bytes say. MACULA_BAD_FRAME: malformed, no entry or more than KAD_MAX_ENTRIES, too long. */
int kad_batch_decode(struct slice record, struct kad_batch *ret_batch);
size_t kad_batch_encode(const struct kad_batch *b, uint8_t *ret_buf, size_t cap);

#endif
