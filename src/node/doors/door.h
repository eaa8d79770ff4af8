/* A door: what a session speaks to, whatever carries its bytes. QUIC is one kind (doors/quic.c), a test's memory another.
 *
 * Bytes come and go by *ways*: ordered sequences of bytes, each with a number >= 0. QUIC: a stream, by its id; a connection
 * that has only one: 0. Home is the way on which CONNECT came. What a node sends of its own accord goes by lanes, so that calls
 * never stand behind publishes: in front of the door each lane is a queue of its own (session/lane.h), and the door says by
 * which way a lane goes. Several may share one; then what was handed to the door goes in that order. An answer to a frame of
 * another way goes by that one, beside the lanes.
 *
 *   sending: what was accepted is queued until the peer has it (acknowledged), and unsent until it was handed on. Of a way that
 *     carries lanes a session hands over more only while at most DOOR_UNSENT are unsent. When it has more (door_more), the door
 *     says so (session_drained) whenever it could send more than it has, within the same turn;
 *   receiving: all bytes that a door hands in (receive_data) are held, and the peer sends no more than a window of those, until
 *     door_resume gives them back as credit.
 *
 * A kind of door calls session_open with one, then receive_data, receive_closed, session_drained, session_silent, and at the
 * end session_closed, after which it may not be used. No function here calls any of these. */
#ifndef NODE_DOORS_DOOR_H
#define NODE_DOORS_DOOR_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/time.h"

enum lane { LANE_CONTROL, LANE_CALLS, LANE_PUBLISHES, LANES }; /* first what goes first */

#define DOOR_UNSENT (64u << 10) /* bytes of a way; a larger frame is taken when nothing is unsent */
#define DOOR_ALL (-1)           /* instead of a way, for figures: all of them */

struct door;
struct door_ops {
  /* Accepts a copy, or a reference. MACULA_ENOMEM, MACULA_ENOTFOUND (no such way, any more), MACULA_ECLOSED. */
  int (*write)(struct door *d, int64_t way, struct slice bytes);
  int (*write_ref)(struct door *d, int64_t way, struct shbuf *b);
  void (*finish)(struct door *d, int64_t way); /* nothing follows what is queued */
  size_t (*queued)(const struct door *d, int64_t way);
  size_t (*unsent)(const struct door *d, int64_t way); /* of one way */
  /* When the peer last acknowledged something, or when the queue last went from empty to filled, whichever is later. */
  nanotime (*progress)(const struct door *d, int64_t way);
  uint32_t (*written)(const struct door *d); /* bytes ever accepted, modulo 2^32 */
  void (*more)(struct door *d, bool more);
  /* n bytes that were handed in, or room for n more than the window at the start. The way may be gone already. */
  void (*resume)(struct door *d, int64_t way, size_t n);
  void (*home)(struct door *d, int64_t way); /* CONNECT came by this one: sets home and the lanes' ways */
  int (*open)(struct door *d);               /* the same, by a way of its own: we are the one who dialled */
  /* Says goodbye at once, or (deadline > 0) when all that is queued has arrived, lanes included, or at the deadline. */
  void (*close)(struct door *d, int err, const char *text, nanotime deadline);
  void (*owner)(struct door *d, void *session); /* whom it calls for; NULL: nobody */
  bool (*is_owner)(const struct door *d, const void *session);
  const struct addr *(*remote)(const struct door *d);
  const struct id *(*id)(const struct door *d);           /* of the peer, proved; NULL: none */
  uint64_t (*id_end)(const struct door *d);               /* Unix seconds until which that is proved; UINT64_MAX: for ever */
  uint64_t (*rtt)(const struct door *d);                  /* ns; 0: unknown */
  size_t (*held)(const struct door *d, size_t *ret_peak); /* bytes of memory, beside what is queued */
  void (*admit)(struct door *d);                          /* it was let in: no longer one of those that make room */
  void (*shares)(struct door *d, uint32_t n);             /* of memory that doors share: as many as n others */
  void (*keep_alive)(struct door *d, uint64_t every);     /* ns; 0: the peer does */
  void (*ping)(struct door *d);                           /* is it really there? */
  void (*watch)(struct door *d, bool on);                 /* while on, the peer's silence is noticed (session_silent) */
  bool (*silent)(const struct door *d);                   /* it is noticed, and the peer has said nothing since */
};

struct door {
  const struct door_ops *ops; /* NULL: none yet */
  void *conn;                 /* the kind's own */
  uint64_t serial;            /* unique among all doors in the node's life, never 0 */
  int64_t home, way[LANES];   /* -1: none yet, or no more */
};

/* Why a connection is gone: err, the peer's word when it was the peer. text is a view. */
struct door_end {
  int err;
  bool by_peer;
  struct slice text;
};

/* By QUIC, as all links go, to a node at `remote`, which is to be `expect` unless that is NULL. MACULA_ENOMEM, MACULA_EFULL. */
struct node;
int door_dial(struct node *n, const struct addr *local, const struct addr *remote, const struct id *expect, void *session,
              struct door *ret_door);

static inline size_t door_queued(const struct door *d, int64_t way) { return d->ops->queued(d, way); }
static inline nanotime door_progress(const struct door *d, int64_t way) { return d->ops->progress(d, way); }
static inline uint32_t door_written(const struct door *d) { return d->ops->written(d); }
static inline void door_finish(struct door *d, int64_t way) { d->ops->finish(d, way); }
static inline void door_more(struct door *d, bool more) { d->ops->more(d, more); }
static inline void door_resume(struct door *d, int64_t way, size_t n) { d->ops->resume(d, way, n); }
static inline void door_home(struct door *d, int64_t way) { d->ops->home(d, way); }
static inline int door_open(struct door *d) { return d->ops->open(d); }
static inline void door_close(struct door *d, int err, const char *text, nanotime deadline) {
  d->ops->close(d, err, text, deadline);
}
static inline const struct addr *door_remote(const struct door *d) { return d->ops->remote(d); }
static inline const struct id *door_id(const struct door *d) { return d->ops->id(d); }
static inline uint64_t door_id_end(const struct door *d) { return d->ops->id_end(d); }
static inline uint64_t door_rtt(const struct door *d) { return d->ops->rtt(d); }
static inline size_t door_held(const struct door *d, size_t *ret_peak) { return d->ops->held(d, ret_peak); }
static inline void door_admit(struct door *d) { d->ops->admit(d); }
static inline void door_shares(struct door *d, uint32_t n) { d->ops->shares(d, n); }
static inline void door_keep_alive(struct door *d, uint64_t every) { d->ops->keep_alive(d, every); }
static inline void door_ping(struct door *d) { d->ops->ping(d); }
static inline void door_watch(struct door *d, bool on) { d->ops->watch(d, on); }
static inline bool door_silent(const struct door *d) { return d->ops->silent(d); }

#endif
