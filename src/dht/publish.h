/* Our own records: what they are, how they are grouped and signed, and where they are stored.
 *
 * Records whose keys share enough leading bits have the same k closest nodes. So the records of such a region (place_region)
 * are signed in batches of at most 16, and one lookup finds the holders of all of them. A batch is never changed: when one of
 * its records changes, or 2/3 of its TTL has passed, it is dissolved, and its records are signed anew together with all others
 * that are due.
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

#define PUBLISH_HOLDERS 32  /* holders remembered for one batch: the k closest, and some that were among them earlier */
#define PUBLISH_TARGETS 64  /* most nodes that one batch is sent to */
#define PUBLISH_NODES 16384 /* holders remembered in all */

struct query;
struct lookup;

struct publish_holder { /* a node that holds something of ours; shared by all batches that it holds */
  struct hlink h;
  struct dht_contact c;
  uint32_t refs;
};
struct publish_former { /* nodes that held a batch when one of its records was withdrawn, and must be told of that */
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
  struct list in;                /* publish.dirty, or publish_batch.records */
  struct list gone;              /* publish.gone while withdrawn, the earliest first */
  struct publish_batch *batch;   /* NULL: dirty */
  struct publish_former *former; /* withdrawn: the nodes that had it */
  bool withdrawn, was_sent;      /* was_sent: another node may have it */
  nanotime gone_at;              /* withdrawn: when no holder can have the record any more */
};

struct publish_placement { /* the nodes on which batches are to be stored; shared by the batches of a region */
  uint32_t refs, count;
  struct dht_contact c[]; /* at most PUBLISH_TARGETS */
};

struct publish_batch {
  struct list all;
  struct list queue; /* in publish.ready, lookup.batches or publish.storing */
  struct list records;
  struct list waiting;          /* queries */
  struct heap_link due;         /* when it is signed anew */
  struct heap_link work;        /* when it is placed again */
  struct publish_placement *at; /* while it is being stored, and until nodes that did not answer are asked again */
  nanotime signed_at;
  uint64_t every;  /* ns from signing to due */
  uint64_t todo;   /* one bit for each node of the placement that was not sent the batch yet */
  uint64_t missed; /* one bit for each node of the placement that did not answer */
  uint32_t in_flight;
  struct id key;    /* of its first record */
  struct id center; /* the start of its region: it is stored on the nodes closest to this id */
  uint16_t bits;    /* number of leading bits that the keys of all its records share */
  uint16_t record_len, signature_len;
  uint8_t holder_count, tries;
  uint8_t region; /* bits of the region when its holders were looked up; 0: it was sent to all known nodes */
  struct publish_holder *holders[PUBLISH_HOLDERS]; /* that confirmed it */
  bool withdraws;                                  /* some of its records are withdrawn */
  bool failed;                                     /* a holder did not answer, or none was found */
  bool again;                                      /* a newcomer came while it was being stored */
  uint8_t data[];                                  /* record, signature */
};

#define PUBLISH_SIZES SLAB_COUNT(sizeof(struct publish_batch) + KAD_MAX_RECORD + KAD_MAX_SIGNATURE)

struct publish {
  struct htab own, holders;
  struct slab_room room; /* an eighth of the account, for batches */
  struct slab own_slab, former_slab,
      batch_slabs[PUBLISH_SIZES]; /* outside the heap, since withdrawn records stay long after the clients that served them */
  struct list dirty, gone, batches, ready, storing;
  struct heap due, work;
  nanotime flush_at;
  uint64_t last_seq;
  uint32_t live, dirty_count, in_flight, placing; /* placing: region lookups that run */
  struct bucket signing;                          /* batches */
  bool busy;                                      /* `signing` was empty when the last batch was signed */
  bool sorted;                                    /* dirty is in the order of keys */
  uint64_t dropped, refused; /* withdrawn records that were dropped to make room; batches that a holder refused */
};

struct dht;
void publish_init(struct dht *d);
void publish_done(struct dht *d);
void publish_tick(struct dht *d, nanotime now);
nanotime publish_deadline(const struct dht *d);
struct kad_signed publish_batch_view(const struct publish_batch *b, const struct dht *d);
/* Places all our batches anew, as the nodes closest to them were not known before. */
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
void place_again(struct dht *d, struct publish_batch *b);  /* the batch is due in `work` */
void place_detach(struct dht *d, struct publish_batch *b); /* removes it from all queues and queries that store it */

/* holders.c: who holds our batches */
void holders_init(struct dht *d);
void holders_done(struct dht *d);
void holders_add(struct dht *d, struct publish_batch *b, const struct dht_contact *c);
void holders_forget(struct dht *d, const struct id *id); /* the node died: what it held is lost */
void holders_clear(struct dht *d, struct publish_batch *b);
bool holders_has(const struct publish_batch *b, const struct id *id);
/* Whether this node should get the batch: it is one of the k closest as far as we know, and neither holds the batch nor is
 * about to. */
bool holders_wants(const struct dht *d, const struct publish_batch *b, const struct id *id);
void former_keep(struct dht *d, struct publish_batch *b); /* for its withdrawn records, before it is dissolved */
void former_drop(struct dht *d, struct publish_own *o);
unsigned place_region(const struct dht *d); /* bits that records must share to have the same holders */
void publish_dissolve(struct dht *d, struct publish_batch *b);

#endif
