/* A door: what a session speaks to, whatever carries its bytes. QUIC is one kind (doors/quic.c), a test's memory another.
 *
 * Bytes come and go by *ways*: ordered sequences of bytes, each with a number >= 0. QUIC: a stream, by its id; a connection
 * that has only one: 0. Home is the way on which CONNECT came. What a node sends of its own accord goes by lanes, so that calls
 * never wait behind publishes: each lane has its own queue in front of the door (session/lane.h), and the door says which way a
 * lane uses. Several lanes may share a way; the bytes then go in the order in which they were handed to the door. An answer to
 * a frame that came by a way without lanes goes back by that way and passes no lane.
 *
 * A one-way way carries bytes in one direction only: QUIC's unidirectional stream. Where both sides have the capability
 * `streams`, lanes have such ways of their own, which are opened at their first use (door_open_way).
 *
 *   sending: accepted bytes count as queued until the peer has acknowledged them, and as unsent until they were sent for the
 *     first time. On a way that carries lanes, a session hands over more bytes only while at most DOOR_UNSENT are unsent. After
 *     the session has said that it has more (door_more), the door calls session_drained whenever it could send more than it
 *     holds, within the same turn;
 *   receiving: all bytes that a door hands in (receive_data) are held, and the peer sends no more than a window of those, until
 *     door_resume gives them back as credit. On a one-way way the credit of the way alone is withheld (door_credit), never the
 *     connection's, so that all else goes on.
 *
 * The implementation of a door calls session_open with a new one, then receive_data, receive_closed, session_drained and
 * session_silent and session_heard, and at the end session_closed, which frees the session. None of the functions below calls
 * any of these. */
#ifndef NODE_DOORS_DOOR_H
#define NODE_DOORS_DOOR_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/slice.h"
#include "base/time.h"

/* In the order in which they are sent. LANE_LARGE is for large arguments and results of calls, where it has a way of its own.
 */
enum lane { LANE_CONTROL, LANE_CALLS, LANE_PUBLISHES, LANE_LARGE, LANES };

#define DOOR_UNSENT (64u << 10) /* bytes of a way; a frame larger than that is accepted when nothing is unsent */
#define DOOR_ALL (-1)           /* instead of a way, for figures and credit: all of them */
#define DOOR_TO_OPEN (-2)       /* instead of a way of a lane: one of its own, not opened yet */

struct bucket;
struct door;
struct door_offsets { /* accepted; sent for the first time; acknowledged, with all before them */
  uint64_t written, sent, acked;
};
struct door_view {      /* for lists */
  const char *door;     /* "quic", "mqtt", "mqtts", "ws", "wss": by which it came */
  const char *protocol; /* "3.1.1", "5.0"; NULL: native */
  uint32_t inflight;    /* messages that it was sent with QoS 1 or 2, and has not acknowledged */
  uint32_t queued;      /* messages that the door keeps for it, */
  size_t queued_bytes;  /* of so many bytes */
  uint64_t dropped;     /* messages that the door has lost */
};
/* What a client has shown instead of a key, and that has no proof of its own. */
struct door_shown {
  const uint8_t *token; /* SHA-256 of one that was sent (access_bearer), 32 bytes; NULL: none */
  const uint8_t
      *vouched; /* node_vouch of the user of `login`, whose password was right before, 16 bytes; NULL: it is to be checked */
  struct slice grant; /* an operator asked for it on behalf of this one: the name of that operator's grant; n 0: nobody did */
};
struct door_ops {
  void (*view)(const struct door *d, struct door_view *ret); /* NULL: it is QUIC, which keeps nothing */
  bool anonymous;                                            /* where all is open, clients need no certificate */
  bool messages_only; /* its clients publish and subscribe, and nothing else (session/state.h: struct native) */
  bool resumes;       /* a session that replaces another goes on with its subscriptions: it gets what is on its way to that */
  bool tells_replays; /* retained messages that are sent again are marked (msg_publish.replay) */
  /* Accepts a copy, or a reference. MACULA_ENOMEM, MACULA_ENOTFOUND (no such way, any more), MACULA_ECLOSED. */
  int (*write)(struct door *d, int64_t way, struct slice bytes);
  int (*write_ref)(struct door *d, int64_t way, struct shbuf *b);
  /* A message with QoS 1 has no room in the session's queue: the door takes some of what waits there into a queue of its own,
   * which is bounded. NULL, or false: it cannot, and the session is cut. */
  bool (*overdue)(struct door *d);
  /* The peer takes too little: its connection ends within the turn, it is told why (text is static), and what waits for it, in
   * the session's lanes too, is kept elsewhere, bounded, until it comes back. Or, where nobody comes back, it is dropped, and
   * the peer told of it, and its connection goes on. NULL, or false: nothing is kept for it, and it is cut. */
  bool (*shed)(struct door *d, int err, const char *text);
  /* Messages with QoS 1 that it has lost as it had no room for them; modulo 2^32. NULL: it loses none, as the session is cut
   * instead. */
  uint32_t (*lost)(const struct door *d);
  void (*finish)(struct door *d, int64_t way); /* nothing follows what is queued */
  size_t (*queued)(const struct door *d, int64_t way);
  size_t (*unsent)(const struct door *d, int64_t way); /* of one way */
  /* When the peer last acknowledged something, or when the queue last went from empty to filled, whichever is later. */
  nanotime (*progress)(const struct door *d, int64_t way);
  uint32_t (*written)(const struct door *d); /* bytes ever accepted, modulo 2^32 */
  /* How far a way has got, in bytes from its beginning; also once the connection has ended, until session_closed has returned.
   * False: it is not known. */
  bool (*offsets)(const struct door *d, int64_t way, struct door_offsets *ret);
  bool (*away)(const struct door *d); /* NULL, or: what it is sent waits, as nobody is connected */
  void (*more)(struct door *d, bool more);
  /* Gives the peer credit to send n more bytes: n received bytes were handled, or the window grows by n. The way may be gone
   * already. */
  void (*resume)(struct door *d, int64_t way, size_t n);
  void (*credit)(struct door *d, int64_t way, size_t n); /* the same for the way alone; DOOR_ALL: for the connection alone */
  bool (*is_one_way)(int64_t way);                       /* NULL, as the next four: this kind has none */
  bool (*is_ours)(const struct door *d, int64_t way);    /* a one-way way: by which we send */
  int (*open_way)(struct door *d, int64_t *ret_way);     /* opens a one-way way; MACULA_EFULL: the peer grants none now */
  uint64_t (*ways_left)(const struct door *d);           /* how many the peer grants now */
  void (*grant_ways)(struct door *d, uint32_t n);        /* n more to the peer, and from now on a new one for each that ended */
  void (*home)(struct door *d, int64_t way);             /* CONNECT came by this way: sets home and the ways of the lanes */
  int (*open)(struct door *d);                           /* the same for a connection that we dialled: opens a way for them */
  /* Says goodbye at once, or (deadline > 0) when all that is queued has arrived, lanes included, or at the deadline. */
  void (*close)(struct door *d, int err, const char *text, nanotime deadline);
  void (*owner)(struct door *d, void *session); /* the session that the door's events are for; NULL: none */
  bool (*is_owner)(const struct door *d, const void *session);
  const struct addr *(*remote)(const struct door *d);
  bool (*is_short)(const struct door *d);       /* its key is of a kind that a node may have */
  const struct id *(*id)(const struct door *d); /* the peer's id, proved by its certificate; NULL: none */
  uint64_t (*id_end)(const struct door *d);     /* when that certificate ends, Unix seconds; UINT64_MAX: never */
  /* The user's name and password that CONNECT came with; the password (p NULL: there was none) until the session is let in or
   * refused. False, or NULL: there is no user. */
  bool (*login)(const struct door *d, struct slice *ret_user, struct slice *ret_password);
  bool (*shown)(const struct door *d, struct door_shown *ret); /* false, or NULL: none of that */
  /* 32 bytes that only the two ends know, once a connection is open (RFC 5705); NULL: this kind has none. */
  const uint8_t *(*exporter)(const struct door *d);
  uint64_t (*rtt)(const struct door *d);                  /* ns; 0: unknown */
  size_t (*allowed)(const struct door *d);                /* bytes that congestion control lets be in flight; 0: unknown */
  size_t (*held)(const struct door *d, size_t *ret_peak); /* bytes of memory that the connection uses besides its queue */
  void (*admit)(struct door *d); /* the session was let in: its connection is no longer evicted to make room */
  /* Who pays for what the peer sends and moves nothing (quic.h: quic_conn_pays); NULL: nobody any more. */
  void (*pays)(struct door *d, struct bucket *units);
  void (*brief)(struct door *d);              /* the session is over after so short a time that its arrival was for nothing */
  void (*shares)(struct door *d, uint32_t n); /* of the memory that all doors share it may use as much as n ordinary ones */
  void (*keep_alive)(struct door *d, uint64_t every); /* interval in ns; 0: the peer does it */
  void (*ping)(struct door *d);              /* makes the peer acknowledge something, to find out whether it is still there */
  void (*hold)(struct door *d, bool on);     /* while on, the peer gets no new way for one that it has closed */
  void (*watch)(struct door *d, bool on);    /* while on, the peer's silence is noticed (session_silent) */
  bool (*silent)(const struct door *d);      /* silence was noticed, and nothing has come since (session_heard) */
  uint64_t (*unheard)(const struct door *d); /* how long that silence lasts, ns; 0: there is none */
};

struct door {
  const struct door_ops *ops; /* NULL: none yet */
  void *conn;                 /* the kind's own */
  uint64_t serial;            /* unique among all doors in the node's life, never 0 */
  int64_t home, way[LANES];   /* -1: none yet, or no more */
};

/* Why a connection is gone: err is the peer's code if the peer closed it. text is a view. */
struct door_end {
  int err;
  bool by_peer;
  struct slice text;
};

/* Dials, by QUIC as for all links, the node at `remote`, whose id must be `expect` unless that is NULL. MACULA_ENOMEM,
 * MACULA_EFULL. */
struct node;
int door_dial(struct node *n, const struct addr *local, const struct addr *remote, const struct id *expect, void *session,
              struct door *ret_door);

static inline struct door_view door_view(const struct door *d) {
  struct door_view v = {.door = "quic"};
  if (d->ops->view) d->ops->view(d, &v);
  return v;
}
static inline bool door_shed(struct door *d, int err, const char *text) { return d->ops->shed && d->ops->shed(d, err, text); }
static inline uint32_t door_lost(const struct door *d) { return d->ops->lost ? d->ops->lost(d) : 0; }
static inline bool door_is_away(const struct door *d) { return d->ops->away && d->ops->away(d); }
static inline size_t door_queued(const struct door *d, int64_t way) { return d->ops->queued(d, way); }
static inline nanotime door_progress(const struct door *d, int64_t way) { return d->ops->progress(d, way); }
static inline uint32_t door_written(const struct door *d) { return d->ops->written(d); }
static inline bool door_offsets(const struct door *d, int64_t way, struct door_offsets *ret) {
  return d->ops->offsets(d, way, ret);
}
static inline void door_finish(struct door *d, int64_t way) { d->ops->finish(d, way); }
static inline void door_more(struct door *d, bool more) { d->ops->more(d, more); }
static inline void door_resume(struct door *d, int64_t way, size_t n) { d->ops->resume(d, way, n); }
static inline void door_credit(struct door *d, int64_t way, size_t n) { d->ops->credit(d, way, n); }
static inline bool door_is_one_way(const struct door *d, int64_t way) { return d->ops->is_one_way && d->ops->is_one_way(way); }
static inline int door_open_way(struct door *d, int64_t *ret_way) { return d->ops->open_way(d, ret_way); }
static inline bool door_has_ways(const struct door *d) { return d->ops->ways_left && d->ops->ways_left(d); }
static inline void door_grant_ways(struct door *d, uint32_t n) { d->ops->grant_ways(d, n); }
static inline void door_home(struct door *d, int64_t way) { d->ops->home(d, way); }
static inline int door_open(struct door *d) { return d->ops->open(d); }
static inline void door_close(struct door *d, int err, const char *text, nanotime deadline) {
  d->ops->close(d, err, text, deadline);
}
static inline const struct addr *door_remote(const struct door *d) { return d->ops->remote(d); }
static inline bool door_is_short(const struct door *d) { return d->ops->is_short(d); }
static inline const struct id *door_id(const struct door *d) { return d->ops->id(d); }
static inline uint64_t door_id_end(const struct door *d) { return d->ops->id_end(d); }
static inline const uint8_t *door_exporter(const struct door *d) { return d->ops->exporter(d); }
static inline struct door_shown door_shown(const struct door *d) {
  struct door_shown v = {0};
  if (d->ops->shown) (void)d->ops->shown(d, &v);
  return v;
}
static inline uint64_t door_rtt(const struct door *d) { return d->ops->rtt(d); }
static inline size_t door_allowed(const struct door *d) { return d->ops->allowed ? d->ops->allowed(d) : 0; }
static inline size_t door_held(const struct door *d, size_t *ret_peak) { return d->ops->held(d, ret_peak); }
static inline void door_admit(struct door *d) { d->ops->admit(d); }
static inline void door_pays(struct door *d, struct bucket *units) { d->ops->pays(d, units); }
static inline void door_brief(struct door *d) { d->ops->brief(d); }
static inline void door_shares(struct door *d, uint32_t n) { d->ops->shares(d, n); }
static inline void door_keep_alive(struct door *d, uint64_t every) { d->ops->keep_alive(d, every); }
static inline void door_ping(struct door *d) { d->ops->ping(d); }
static inline void door_hold(struct door *d, bool on) { d->ops->hold(d, on); }
static inline void door_watch(struct door *d, bool on) { d->ops->watch(d, on); }
static inline uint64_t door_unheard(const struct door *d) { return d->ops->unheard(d); }
static inline bool door_silent(const struct door *d) { return d->ops->silent(d); }

#endif
