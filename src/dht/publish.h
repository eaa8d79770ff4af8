/* Our own records: which there are, how they are signed together, and where they are stored.
 *
 * Records that share enough leading bits have the same k closest nodes, so those of one region (publish_region) are signed in
 * batches of at most 16 and found their holders by one lookup. A batch is never changed: when one of its records changes, or
 * 2/3 of its TTL has passed, all of it is dissolved, and its records are signed anew together with whatever else is due.
 *
 *   dirty --signed--> ready --region lookup--> storing --all answered--> stored
 *     ^                 ^------ retry, a newcomer near its keys -----------|
 *     '------ a record changed, 2/3 of the TTL, mesh grew beyond the region '
 */
#ifndef DHT_PUBLISH_H
#define DHT_PUBLISH_H

#include "bounded/bucket.h"
#include "bounded/heap.h"
#include "bounded/htab.h"
#include "bounded/slab.h"
#include "dht/dht.h"
#include "wire/kad.h"

#define PUBLISH_HOLDERS 32  /* remembered of one batch: the k closest, and some that were so a little earlier */
#define PUBLISH_TARGETS 64  /* most nodes that one batch is sent to */
#define PUBLISH_NODES 16384 /* different holders that are remembered */

struct query;
struct lookup;

struct publish_holder { /* a node that holds something of ours; shared by all batches that it holds */
  struct hlink h;
  struct dht_contact c;
  uint32_t refs;
};
struct publish_former { /* who held a batch when one of its records was withdrawn: they are told of it */
  uint32_t refs, count;
  struct publish_holder *v[PUBLISH_HOLDERS];
};

struct publish_own { /* one record of ours */
  struct hlink h;
  struct {
    struct id key;
    uint32_t kind;
  } k;
  uint32_t ttl;                  /* s */
  struct list in;                /* dirty, or its batch's records */
  struct list gone;              /* withdrawn ones, the first first */
  struct publish_batch *batch;   /* NULL: dirty */
  struct publish_former *former; /* withdrawn: who had it */
  bool withdrawn, was_sent;      /* was_sent: another node may have it */
  nanotime gone_at;              /* withdrawn: when no holder can have the record any more */
};

struct publish_placement { /* holders to be, shared by the batches of a region */
  uint32_t refs, count;
  struct dht_contact c[]; /* at most PUBLISH_TARGETS */
};

struct publish_batch {
  struct list all;
  struct list queue; /* ready, a lookup's batches, or storing */
  struct list records;
  struct list waiting;          /* queries */
  struct heap_link due;         /* to be signed anew */
  struct heap_link work;        /* to be placed again */
  struct publish_placement *at; /* while storing, and while those that did not answer are to be asked again */
  nanotime signed_at;
  uint64_t every;  /* ns from signing to due */
  uint64_t todo;   /* bits: holders to be that have not been sent it */
  uint64_t missed; /* bits: those that did not answer */
  uint32_t in_flight;
  struct id key;    /* of its first record */
  struct id center; /* to which its holders are the closest: the start of its region */
  uint16_t bits;    /* that all its records share */
  uint16_t record_len, signature_len;
  uint8_t holder_count, tries;
  uint8_t region; /* bits, when its holders were looked for; 0: it was sent to everybody known */
  struct publish_holder *holders[PUBLISH_HOLDERS]; /* that confirmed it */
  bool withdraws;                                  /* some of its records are withdrawn */
  bool failed;                                     /* a holder did not answer, or none was found */
  bool again;                                      /* a newcomer came while it was being stored */
  uint8_t octets[];                                /* record, signature */
};

#define PUBLISH_SIZES SLAB_COUNT(sizeof(struct publish_batch) + KAD_MAX_RECORD + KAD_MAX_SIGNATURE)

struct publish {
  struct htab own, holders;
  struct slab_room room; /* an eighth of the account, for batches */
  struct slab own_slab, former_slab,
      batch_slabs[PUBLISH_SIZES]; /* what is withdrawn outlives who served it: it is not in the heap */
  struct list dirty, gone, batches, ready, storing;
  struct heap due, work;
  nanotime flush_at;
  uint64_t last_seq;
  uint32_t live, dirty_count, in_flight, placing; /* placing: region lookups that run */
  struct bucket signing;                          /* batches */
  bool busy;                                      /* it was empty when the last batch was signed */
  bool sorted;                                    /* dirty is in the order of keys */
  uint64_t dropped, refused;                      /* withdrawn ones that made room; batches that a holder refused */
};

struct dht;
void publish_init(struct dht *d);
void publish_done(struct dht *d);
void publish_tick(struct dht *d, nanotime now);
nanotime publish_deadline(const struct dht *d);
struct kad_signed publish_batch_view(const struct publish_batch *b, const struct dht *d);
/* All of ours are placed anew: who is closest to them was not known before. */
void publish_again(struct dht *d, nanotime now);
/* A contact entered the routing table: batches that belong to it are stored there. */
void publish_newcomer(struct dht *d, const struct dht_contact *c, nanotime now);
void publish_placed(struct dht *d, struct lookup *l, nanotime now);
void publish_reply(struct dht *d, struct query *q, const struct kad_msg *m, nanotime now);
void publish_failed(struct dht *d, struct query *q, nanotime now);
uint32_t publish_unstored(const struct dht *d);

/* place.c */
void place_ready(struct dht *d, nanotime now);             /* finds holders for the batches that need some */
void place_pump(struct dht *d, nanotime now);              /* sends STOREs, as many at once as there may be */
void place_again(struct dht *d, struct publish_batch *b);  /* its work is due */
void place_detach(struct dht *d, struct publish_batch *b); /* takes it out of everything that stores it */

/* holders.c: who holds our batches */
void holders_init(struct dht *d);
void holders_done(struct dht *d);
void holders_add(struct dht *d, struct publish_batch *b, const struct dht_contact *c);
void holders_forget(struct dht *d, const struct id *id); /* it died: what it held is lost */
void holders_clear(struct dht *d, struct publish_batch *b);
bool holders_has(const struct publish_batch *b, const struct id *id);
/* Whether this node, neither a holder nor about to be one, is one of the k closest as far as we know. */
bool holders_wants(const struct dht *d, const struct publish_batch *b, const struct id *id);
void former_keep(struct dht *d, struct publish_batch *b); /* for its withdrawn records, before it is dissolved */
void former_drop(struct dht *d, struct publish_own *o);
unsigned place_region(const struct dht *d); /* bits that records must share to have the same holders */
void publish_dissolve(struct dht *d, struct publish_batch *b);

#endif
