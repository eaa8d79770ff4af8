/* The records that this node holds for the mesh: (key, kind) -> publisher -> record.
 *
 * The records of one signed batch share its bytes. A record's TTL begins when its sequence is first seen here (less the age
 * that the sender reports), and the same sequence does not start it again; a lower sequence changes nothing. A withdrawn record
 * leaves a tombstone as long as another node may still hold the record, so that an old STORE cannot bring it back. */
#ifndef DHT_STORE_H
#define DHT_STORE_H

#include "base/turns.h"
#include "bounded/heap.h"
#include "bounded/htab.h"
#include "bounded/slab.h"
#include "dht/dht.h"
#include "wire/kad.h"

struct store_publisher {
  struct hlink h;
  struct id id;
  uint32_t batches, records, tombstones;
  size_t bytes; /* of its batches */
};
struct store_batch { /* exists as long as one of its records */
  uint32_t refs;
  uint16_t record_len, signature_len, spki_len;
  struct store_publisher *publisher;
  uint64_t seq;
  int64_t seen; /* ns: when its TTLs began; may lie before time 0 */
  struct dht_contact contact;
  uint8_t data[]; /* record, signature, spki */
};
struct store_key {
  struct hlink h;
  struct {
    struct id key;
    uint32_t kind;
  } k;
  uint32_t live_count, dead_count;
  struct list live, dead; /* newest first; oldest first */
};
struct store_record {
  struct list of_key;
  struct heap_link due;
  struct store_key *key;
  struct store_batch *batch;
  bool tombstone;
};

#define STORE_SIZES SLAB_COUNT(sizeof(struct store_batch) + KAD_MAX_RECORD + KAD_MAX_SIGNATURE + KAD_MAX_SPKI)
#define STORE_SLABS (STORE_SIZES + 2)

struct store {
  struct mem *mem;
  struct slab_room room; /* an eighth of the account: bounds what chunks with only a few batches waste */
  /* outside the heap, since records stay long after their publishers have gone */
  struct slab key_slab, record_slab, batch_slabs[STORE_SIZES];
  uint32_t max_records, max_publisher, max_key_service, max_key_subscription, max_tombstones;
  size_t max_publisher_bytes; /* a quarter of the account's limit; 0: none */
  struct htab keys, publishers;
  struct heap live, dead; /* by the end of their time */
  const struct spent *spent;
  uint64_t refused_full, refused_old, expired, dropped_tombstones;
};

void store_init(struct store *s, const struct dht_config *cfg);
void store_done(struct store *s);

struct store_put {
  uint32_t refused, old;           /* records */
  const struct store_batch *newer; /* if a record was old: a batch that is newer */
};
/* Takes the records of a verified batch. 0 or MACULA_RECORDS_FULL (some did not fit; those that did are kept), MACULA_ENOMEM.
 */
int store_put(struct store *s, const struct kad_signed *encoded, const struct kad_batch *b, const struct id *publisher,
              nanotime now, struct store_put *ret_put);
/* Removes a record of ours that was never sent to another node. */
void store_drop(struct store *s, const struct id *key, uint32_t kind, const struct id *publisher);
struct store_key *store_find(const struct store *s, const struct id *key, uint32_t kind);
void store_expire(struct store *s, nanotime now);
nanotime store_deadline(const struct store *s);

struct kad_signed store_batch_view(const struct store_batch *b, nanotime now);
/* What is left of a record's TTL, ns. */
static inline uint64_t store_left(const struct store_record *r, nanotime now) { return time_since(r->due.at, now); }

/* O(records, keys, publishers and free blocks). */
const char *store_check(const struct store *s);
size_t store_owned(const struct store *s); /* bytes of the account that the store holds */

#endif
