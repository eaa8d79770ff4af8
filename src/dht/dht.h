/* The distributed hash table: Kademlia (Maymounkov and Mazieres 2002) with 256-bit ids, k = 20, alpha = 3; from S/Kademlia
 * (Baumgart and Mies 2007): ids that are hashes of keys, and signed records. A new contact never replaces a live one.
 *
 * A pure state machine. Frames (wire/kad.h) and time come in; requests and replies for other nodes, and results of lookups,
 * come out of bounded queues that the owner empties after each call. The publisher of a record is a node; one signature covers
 * a batch of records. */
#ifndef DHT_DHT_H
#define DHT_DHT_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/slice.h"
#include "base/time.h"
#include "base/turns.h"

struct dht;

#define DHT_K 20
#define DHT_ALPHA 3
#define DHT_MAX_TTL (3600 * NS_SEC)

enum dht_kind { DHT_SERVICE = 1, DHT_NODE = 2, DHT_SUBSCRIPTION = 3 };

struct dht_contact { /* how a node is reached */
  struct id id;
  struct addr addr;  /* sa_family 0: cannot be dialled */
  struct id gateway; /* if it cannot be dialled: the node that it stays connected to; all zero: none */
};

/* Signatures, supplied by the owner: src/quic in programs. */
struct dht_crypto {
  struct slice spki; /* our SubjectPublicKeyInfo, DER */
  /* Signs with the key of spki. ret_sig has room for 512 bytes. */
  int (*sign)(void *ctx, struct slice data, uint8_t *ret_sig, size_t *ret_len);
  /* 0 and the id that is SHA-256 of spki; MACULA_BAD_SIGNATURE (or any other negative) otherwise. */
  int (*verify)(void *ctx, struct slice spki, struct slice data, struct slice sig, struct id *ret_id);
  void *ctx;
};

struct dht_config {
  struct mem *records_mem, *table_mem, *lookups_mem; /* records_mem.limit bounds bytes */
  struct rng rng;
  const struct log *log; /* may be NULL */
  struct dht_contact self;
  struct slice realm; /* copied: batches of other realms are refused with MACULA_REALM_MISMATCH */
  struct dht_crypto crypto;
  const struct spent *spent;                      /* NULL, or: what has come due at once is done in slices */
  uint64_t unix_base_ms;                          /* wall clock in ms at time 0 of the monotonic clock */
  uint64_t last_seq;                              /* largest sequence that this identity ever used, from the state folder */
  uint32_t max_records, max_publisher;            /* 100,000; 25,000 of one publisher */
  uint32_t max_key_service, max_key_subscription; /* 32; 1,024 */
  uint32_t max_own;                               /* records that we publish: 20,000 */
  uint32_t max_lookups;                           /* at once: 1,024 */
  uint32_t max_tombstones;                        /* 20,000; the one nearest its end makes room */
  uint32_t per_address;                           /* contacts in the table with one IP address; loopback exempt: 8 */
  uint64_t query_timeout;                         /* ns; 0: 2 s */
  uint32_t find_rate, store_rate;                 /* FIND_* and STORE a second and peer; 0: 500; bursts are four times that */
};
/* MACULA_ENOMEM */
int dht_new(const struct dht_config *cfg, nanotime now, struct dht **ret_d);
void dht_free(struct dht *d); /* accepts NULL */

/* Our address or gateway changed: our records are signed anew and stored again. */
void dht_set_self(struct dht *d, const struct dht_contact *self, nanotime now);
/* Sets max_own. Published records stay even beyond it; withdrawn ones beyond it are forgotten at once. */
void dht_set_max_own(struct dht *d, uint32_t max);
uint64_t dht_last_seq(const struct dht *d); /* to be kept in the state folder */

/* ---- routing table --------------------------------------------------------------------------------------------------------
 */
/* A node proved its id over a connection, or a frame came from it; may be called for each. A full bucket pings its oldest
 * contact and keeps the new one in its replacement cache meanwhile. */
void dht_seen(struct dht *d, const struct dht_contact *c, nanotime now);
/* The node is known to be dead (from membership or a refused dial): it leaves the table, queries to it fail, and our records
 * there count as lost. For a node that was restarted: dht_gone, then dht_seen. */
void dht_gone(struct dht *d, const struct id *id, nanotime now);
/* Looks up our own id, so that we and our neighbours learn of each other; to be called after joining. Harmless when such a
 * lookup runs already. */
void dht_join(struct dht *d, nanotime now);
/* Up to max contacts nearest to target, nearest first; returns how many. */
size_t dht_closest(const struct dht *d, const struct id *target, size_t max, struct dht_contact *ret_contacts);

/* ---- publishing -----------------------------------------------------------------------------------------------------------
 */
/* Keeps a record of ours in the mesh until withdrawn: signed in batches, stored on the k closest nodes to its key (ourselves
 * included), again after 2/3 of the TTL with jitter. ttl: ns, at most DHT_MAX_TTL, at least 1 s. Publishing a record that is
 * there already changes only its TTL. Stored within 50 ms: records published at about the same time are signed together.
 * MACULA_EFULL, MACULA_ENOMEM, MACULA_EINVAL. */
int dht_publish(struct dht *d, const struct id *key, enum dht_kind kind, uint64_t ttl, nanotime now);
/* Withdraws a record: its holders get a tombstone. MACULA_ENOTFOUND. */
int dht_withdraw(struct dht *d, const struct id *key, enum dht_kind kind, nanotime now);
/* Withdraws all our records, in few frames; for a node that leaves. All holders have been told when stats.unstored is 0. */
void dht_withdraw_all(struct dht *d, nanotime now);

/* ---- lookups --------------------------------------------------------------------------------------------------------------
 */
/* Starts an iterative lookup of a key's records of this kind; kind 0: of the k nodes closest to the key. A lookup of records
 * ends with the first holder that has some, once the queries in flight at that moment are done. Records that we hold ourselves
 * count; they end it at once if, as far as we know, we are one of the k nodes closest to the key, and our first contact was 3 s
 * ago or earlier. user is returned with the result. MACULA_EFULL (too many lookups), MACULA_ENOMEM, MACULA_EINVAL. The result
 * may be ready at once. */
int dht_lookup(struct dht *d, const struct id *key, unsigned kind, uint64_t user, nanotime now, uint64_t *ret_lookup);
void dht_cancel(struct dht *d, uint64_t lookup); /* harmless when it is over */

struct dht_provider { /* a record found, checked */
  struct dht_contact contact;
  uint64_t seq;
  uint64_t left; /* what is left of its TTL, ns */
};
struct dht_result {
  uint64_t lookup, user;
  int err; /* 0; MACULA_DHT_TIMEOUT: nobody answered. No record found is no error */
  unsigned kind;
  struct id key;
  const struct dht_provider *providers; /* kind != 0; at most 32, newest first; views until the next call on d */
  size_t provider_count;
  const struct dht_contact *nodes; /* kind 0: at most k, nearest first */
  size_t node_count;
  uint32_t hops, queries, failed;
  uint64_t took; /* ns */
};
bool dht_next_result(struct dht *d, struct dht_result *ret_result);

/* ---- frames and time ------------------------------------------------------------------------------------------------------
 */
/* A FIND_*, STORE or their replies, from a peer that proved its id. Replies count only for a query that was sent to this very
 * peer. MACULA_BAD_FRAME (malformed); MACULA_RATE_LIMITED (too many requests of this peer: not answered). */
int dht_recv(struct dht *d, const struct dht_contact *from, uint8_t type, struct slice payload, nanotime now);
/* What dht_next handed out could not be sent: the query has failed. Harmless for a reply (query 0). */
void dht_unsent(struct dht *d, const struct id *to, uint64_t query, nanotime now);
struct dht_out {
  struct dht_contact to;
  uint8_t type;         /* MSG_FIND_*, MSG_STORE, MSG_STORE_REPLY */
  uint64_t query;       /* of a request; 0: a reply */
  struct slice payload; /* MessagePack map; a view until the next call on d */
};
bool dht_next(struct dht *d, struct dht_out *ret_out);
nanotime dht_deadline(const struct dht *d);
void dht_tick(struct dht *d, nanotime now);

/* ---- to look at -----------------------------------------------------------------------------------------------------------
 */
struct dht_record_info {
  struct id key, publisher;
  unsigned kind;
  uint64_t seq, left; /* ns */
  bool tombstone;
  struct dht_contact contact;
};
/* Records held here under key, one after another: at 0 the first; false at the end. */
bool dht_held(const struct dht *d, const struct id *key, size_t at, struct dht_record_info *ret_info);
struct dht_stats {
  uint32_t contacts, records, tombstones, own, lookups, max_records, max_own, max_lookups, max_tombstones;
  uint32_t unstored; /* how much of our records is still under way to their holders; 0: nothing */
  size_t record_bytes;
  uint64_t lookups_done, lookups_failed, hops, took_ns; /* sums over those done */
  uint64_t queries, queries_failed, served, refused_full, refused_bad, refused_old, refused_rate, expired, evicted_contacts,
      refused_contacts, dropped, refused_by_holders, signatures_verified, signatures_known;
};
void dht_stats(const struct dht *d, struct dht_stats *ret_stats);

/* Checks everything that the DHT keeps. O(contacts x k, records, batches, holders, queries, lookups and their candidates). */
const char *dht_check(const struct dht *d);
struct dht_owned { /* bytes of each account that the DHT holds */
  size_t records, table, lookups;
};
struct dht_owned dht_owned(const struct dht *d);

#endif
