/* The parts of one dht, shared by the files of this folder only. */
#ifndef DHT_INTERNAL_H
#define DHT_INTERNAL_H

#include "bounded/bucket.h"
#include "bounded/lru.h"
#include "dht/publish.h"
#include "dht/routing.h"
#include "dht/store.h"
#include "dht/verify.h"
#include "wire/kad.h"

/* ---- queries: requests that wait for their reply (query.c) ----------------------------------------------------------------
 */
enum query_use { QUERY_PING, QUERY_LOOKUP, QUERY_STORE };
struct query {
  struct hlink h;
  uint64_t id;          /* random; on the wire */
  struct heap_link due; /* when it counts as slow; after that, when it has failed */
  struct list out;      /* waits to be sent */
  struct list of_user;  /* of its lookup or batch */
  struct dht_contact to;
  enum query_use use;
  uint8_t type;
  bool slow;
  uint8_t page;                /* of FIND_VALUE */
  uint8_t target;              /* of STORE: index in its batch's placement */
  struct lookup *lookup;       /* NULL: no lookup waits for it any more */
  struct publish_batch *batch; /* likewise */
};
struct answer { /* a reply of ours that waits to be sent */
  struct list out;
  struct dht_contact to;
  uint8_t type;
  size_t len;
  uint8_t payload[];
};

#define QUERY_MAX_PINGS 256
#define ANSWER_MAX 1024      /* replies that wait */
#define ANSWER_BYTES 4194304 /* bytes of these together */

struct dht_peer { /* budget of the requests that a peer may send */
  struct lru_link l;
  struct id id;
  struct bucket find, store;
};
#define PEERS_MAX 1024

/* For so long after its first contact a node may not have been sent all records that it should hold. */
#define DHT_SETTLE (3 * NS_SEC)

/* ---- lookups (lookup.c) ---------------------------------------------------------------------------------------------------
 */
#define LOOKUP_WIDTH 64 /* the nearest candidates that a lookup keeps */
/* candidates that a lookup considers in all, so that a node that invents ever nearer ones cannot keep it going for ever */
#define LOOKUP_CANDIDATES 512
#define LOOKUP_PAGES 4 /* pages that a lookup reads from one holder */
#define LOOKUP_PROVIDERS 32
#define LOOKUP_HOLDERS 3   /* machines that must have told of records of others before a lookup ends early */
#define LOOKUP_INTERNAL 16 /* internal lookups at once, in addition to max_lookups */

enum lookup_use { LOOKUP_USER, LOOKUP_JOIN, LOOKUP_REFRESH, LOOKUP_PLACE };
enum candidate_state { CANDIDATE_NEW, CANDIDATE_ASKED, CANDIDATE_ANSWERED, CANDIDATE_FAILED };
struct candidate {
  struct dht_contact c;
  uint8_t state, depth; /* hops from us */
};
struct hidden { /* a record that its publisher withdrew with this sequence */
  struct id publisher;
  uint64_t seq;
};
struct found {
  uint32_t count, hidden_count;
  struct dht_provider providers[LOOKUP_PROVIDERS];
  struct hidden hidden[LOOKUP_PROVIDERS];
};
struct lookup {
  struct list link; /* in active or done */
  struct hlink h;   /* LOOKUP_USER: by id */
  uint64_t id, user;
  struct id target;
  uint32_t kind;
  enum lookup_use use;
  nanotime started, ended;
  bool ending; /* enough has been found: no more candidates are asked */
  struct addr holders[LOOKUP_HOLDERS];
  uint32_t holder_count;
  uint32_t in_flight; /* queries that count against alpha: those that are not slow */
  uint32_t count, considered, answered, queries, failed, hops;
  int err;
  struct list waiting;              /* queries */
  struct list batches;              /* LOOKUP_PLACE: batches that will be stored on the nodes that it finds */
  uint32_t region;                  /* LOOKUP_PLACE: how many leading bits all its batches share with the target */
  struct found *found;              /* NULL with kind 0; allocated with the lookup */
  struct candidate v[LOOKUP_WIDTH]; /* nearest first */
};

struct dht {
  struct dht_config cfg;
  uint8_t realm[KAD_MAX_REALM];
  struct routing table;
  struct store store;
  struct verifier verifier;
  struct publish publish;
  struct lru peers;
  struct bucket stores, found; /* budgets of all peers together, since verifying signatures takes time */

  struct htab queries;
  struct heap query_due;
  struct list query_out; /* queries to be sent */
  struct list answers;   /* replies to be sent, before queries */
  uint32_t answer_count, pings;
  size_t answer_bytes;
  struct answer *handed; /* the reply that dht_next handed out last */

  struct htab lookups; /* the user's, running and done */
  struct list active, done;
  uint32_t internal; /* lookups of our own that run */
  uint64_t next_lookup;
  struct lookup *shown; /* the lookup whose result dht_next_result returned last */
  struct dht_contact shown_nodes[DHT_K];

  bool join_wanted; /* dht_join was called: tried until somebody answers */
  uint32_t join_tries;
  nanotime refresh_at; /* when buckets without lookups are refreshed next */
  nanotime settled_at; /* until then the records held here may be incomplete */
  nanotime now;        /* of the last call */
  bool joining, joined;
  uint64_t lookups_done, lookups_failed, hops, took_ns, query_count, query_failed, served, refused_rate, refused_bad, dropped;
  uint8_t scratch[KAD_MAX_STORE]; /* payload of the request that dht_next handed out last */
};

/* query.c */
struct query *query_new(struct dht *d, const struct dht_contact *to, uint8_t type, enum query_use use);
void query_free(struct dht *d, struct query *q);
struct query *query_find(const struct dht *d, uint64_t id);
void query_tick(struct dht *d, nanotime now);
void query_failed(struct dht *d, struct query *q, nanotime now); /* frees it */
void dht_ping(struct dht *d, const struct dht_contact *c);
/* Queues a reply; without room it is dropped and counted. */
void answer_push(struct dht *d, const struct dht_contact *to, uint8_t type, const struct kad_msg *m);

/* lookup.c */
int lookup_start(struct dht *d, const struct id *target, uint32_t kind, enum lookup_use use, nanotime now,
                 struct lookup **ret_lookup);
/* Asks the next candidates; ends the lookup when there is nothing left to wait for. It may be gone afterwards. */
void lookup_step(struct dht *d, struct lookup *l, nanotime now);
void lookup_reply(struct dht *d, struct query *q, const struct dht_contact *from, struct kad_msg *m, nanotime now);
void lookup_failed(struct dht *d, struct query *q, nanotime now);
void lookup_slow(struct dht *d, struct query *q, nanotime now);
void lookup_free(struct dht *d, struct lookup *l);
/* the nodes that answered, nearest first */
size_t lookup_nodes(const struct lookup *l, size_t max, struct dht_contact *ret_nodes);
void lookup_maintain(struct dht *d, nanotime now); /* refreshes quiet buckets */

/* found.c: the records that a lookup has seen, the newest of each publisher */
bool found_merge(struct found *f, const struct kad_batch *b, const struct id *publisher, const struct id *key, uint32_t kind,
                 uint64_t age_ms);
void found_local(struct found *f, const struct store *s, const struct id *key, uint32_t kind, nanotime now);
void found_sort(struct found *f);

/* receive.c */
void dht_table_ping(struct dht *d, const struct dht_contact *ping, bool want);
/* Verifies a batch from a peer's answer, at the expense of that peer's budget. MACULA_RATE_LIMITED, or the errors of
 * verify_batch. */
int dht_verify_found(struct dht *d, const struct id *from, const struct kad_signed *s, struct kad_batch *ret_batch,
                     struct id *ret_publisher, nanotime now);
bool dht_contact_ok(const struct kad_contact *c, const struct dht_contact *told_by);

static inline struct dht_contact contact_in(const struct kad_contact *c) {
  return (struct dht_contact){c->id, c->addr, c->gateway};
}
static inline struct kad_contact contact_out(const struct dht_contact *c) {
  return (struct kad_contact){c->id, c->addr, c->gateway};
}

#endif
