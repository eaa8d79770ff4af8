/* What the files of this folder share.
 *
 *              alive                     suspect or dead j >= i, or our own probe failed
 *   (unknown) -----------> ALIVE --------------------------------------------> SUSPECT
 *                          ^   ^ <----------------- alive j > i ---------------   |
 *                          |   |                                                  | its time is up, and it does not answer
 *                          |   +------- alive j > i (welcome back) ------ DEAD <--+
 *                          |                                               | ^ left j > i, from any state
 *                          +-------------------- (forgotten) <-------------+
 * i: the incarnation held, j: that of the update. `alive` and `left` are records signed by their subject; i is that of the
 * newest, and rises by nothing else. */
#ifndef MEMBERSHIP_INTERNAL_H
#define MEMBERSHIP_INTERNAL_H

#include "bounded/bucket.h"
#include "bounded/heap.h"
#include "bounded/htab.h"
#include "membership/membership.h"
#include "wire/swim.h"

#define OUT_MAX 1024
#define RELAYS_MAX 64
#define INDIRECT_MAX 8
#define SESSIONS_MAX 64
#define GONE_MAX 1024 /* forgotten members whose event the owner has not taken yet */
#define HEALTH_MAX 8  /* Lifeguard's S */
#define SENDS_MAX 72
#define FED_MOST 3    /* frames to one peer in a period that count as sendings of their updates */
#define BUDDY_PINGS 4 /* pings in a period to members that we suspect ourselves */
#define INCARNATION_MAX (UINT64_C(1) << 62)

#define SYNC_EVERY (30 * NS_SEC)
#define SYNC_SAME (10 * NS_SEC) /* between two lists to one peer */
#define SYNC_PAGE (20 * NS_MS)  /* between two pages */
#define PAGE_UPDATES 12         /* in a page: less than the receiver verifies in a turn */
#define VERIFY_BURST 4          /* seconds' worth */
#define BAD_SIGNATURE_COST 20
#define DEAD_SAYERS 3    /* so many that say that a suspect is dead shorten our suspicion */
#define REFUTE_RATE 10.0 /* a second: each has to be signed */
#define REFUTE_BURST 20.0
#define PROBE_PARTS 4     /* the first is direct, the others indirect too */
#define DIAL_PERIODS 3    /* periods that a probe may last if its target must be dialled first */
#define ROTATE_PERIODS 10 /* periods until one of the rotating set is replaced, and one dead member is pinged */

/* The state of a member that the owner was told last. */
enum told { TOLD_NOTHING, TOLD_ALIVE, TOLD_SUSPECT, TOLD_DEAD };

struct entry {
  struct hlink h;
  struct member m;
  struct list all;              /* in order of arrival */
  struct list gossip;           /* in queue[sends], unless retired */
  struct list event;            /* in events, or in gone */
  struct list group;            /* in accused (suspects that we ask ourselves) or dead */
  struct heap_link due;         /* the suspicion's end */
  uint32_t at;                  /* in v */
  uint32_t ring;                /* 1-based place in the ring; 0: not probed */
  uint8_t *record;              /* signed by itself, as on the wire; NULL: we have only met it */
  uint16_t record_len;          /* bytes */
  struct bucket budget;         /* of signatures that are verified for it */
  nanotime heard;               /* when its last frame came */
  nanotime asked;               /* suspect: only a frame since then shows that it answers */
  nanotime synced;              /* when our digest was last sent to it; 0: never */
  nanotime listed;              /* when our list was last sent to it; 0: never */
  uint32_t sayers[DEAD_SAYERS]; /* suspect: of whom it was heard that it is dead, by their ids' first bytes */
  uint8_t sayer_count;
  uint8_t sends; /* how often its update was sent so far */
  uint8_t told;  /* enum told */
  uint8_t fed;   /* frames that were sent to it in period fed_in and counted */
  uint8_t fed_in;
  bool changed : 1; /* info has changed since the owner was told */
  bool tell : 1;    /* it may not know what others say of it: the next frame to it carries that */
  bool own : 1;     /* we had a frame from the member itself */
  bool left : 1;    /* its record says that it leaves */
  bool rotating : 1;
  bool digested : 1; /* counted in digest */
  bool told_all : 1; /* its list, as far as ours differed, has come */
};

struct out {
  struct id to, target;
  uint64_t seq;
  uint8_t type;
  bool nack;
};

struct relay { /* a probe that we do on behalf of another member */
  struct id requester, target;
  uint64_t seq, their_seq;
  nanotime end;
};

struct session { /* our list on its way to a peer */
  struct list of;
  struct id to;
  struct entry *cursor; /* next to send; NULL: the end */
  uint32_t buckets;     /* number of bits of the mask; 0: only our digest is sent */
  uint8_t mask[SWIM_BUCKETS_MAX / 8];
  bool want;   /* the first page asks the peer for its own members of the same buckets */
  bool queued; /* a page waits in the out queue */
};

struct probe {
  bool active;
  struct id target;
  uint64_t seq;
  nanotime next, end; /* next: when the ping is repeated; the first time relays are asked as well */
  uint64_t every;     /* ns between these */
  uint32_t relays, nacks;
  struct id relay[INDIRECT_MAX];
};

struct membership {
  struct membership_config cfg;
  struct mem *mem;
  struct entry self; /* in no table; gossiped as any other */
  bool leaving;
  bool unsigned_self; /* our record is not what we are; it is signed when it is sent next */
  struct htab tab;
  struct list all, events, gone, accused, dead;
  uint32_t gone_count;
  struct entry **v; /* members that are alive come first */
  struct entry **ring;
  uint32_t cap; /* of both */
  uint32_t count, alive, suspect, dead_count;
  uint32_t ring_count, ring_next;
  struct entry **rot; /* the rotating set, oldest first */
  uint32_t rot_count;
  struct heap due; /* suspicions */
  struct list queue[SENDS_MAX];
  uint32_t queued;
  struct out *out;
  uint32_t out_head, out_count, out_cap;
  struct relay *relays; /* oldest first, all of one duration */
  uint32_t relay_count;
  struct probe probes[2]; /* one of a connected member, and one of a member that must be dialled first, which takes longer */
  uint64_t seq;
  nanotime next_period, next_sync, next_page;
  uint32_t until_rotate; /* periods */
  uint8_t period_count;
  bool refuted;                      /* we refuted a claim in this period; lowers our health only once a period */
  uint64_t digest[SWIM_BUCKETS_MAX]; /* of the members that are not dead and ourselves, by the first byte of the id */
  struct list sessions;
  uint32_t session_count;
  uint8_t *frame;          /* cfg.datagram */
  uint8_t *page;           /* SWIM_PAGE_LEN while there are sessions */
  struct bucket strangers; /* as entry.budget, of all peers that have no entry */
  struct bucket verifying; /* of all */
  struct bucket refuting;
  nanotime turn; /* for which in_turn counts */
  uint32_t in_turn;
  struct membership_stats stats;
};

#define ENTRY(link, field) container_of(link, struct entry, field)

/* table.c */
struct entry *table_find(const struct membership *m, const struct id *id);
/* Adds a member as alive, with this incarnation. met: it connected to us itself, and may take the place of a member that we
 * only heard of. MACULA_EFULL, MACULA_ENOMEM.
 */
int table_add(struct membership *m, const struct member_info *info, uint64_t incarnation, bool met, nanotime now,
              struct entry **ret_entry);
/* Removes an entry from the table. It then waits in `gone` until its event was taken, or is freed. */
void table_remove(struct membership *m, struct entry *e);
void table_free(struct membership *m, struct entry *e); /* frees an entry that is in `gone` */
/* Sets the state, the counts and the place in v; nothing else. */
void table_state(struct membership *m, struct entry *e, enum member_state state, nanotime now);
/* puts it into the ring or takes it out, depending on state, connected and rotating */
void ring_update(struct membership *m, struct entry *e);
void ring_rotate(struct membership *m, bool replace);
void ring_shuffle(struct membership *m);
/* A random connected member that is alive, other than `but`; NULL if a few tries find none. */
struct entry *ring_random(struct membership *m, const struct id *but);
void event_raise(struct membership *m, struct entry *e);

/* merge.c */
void info_clean(struct member_info *info); /* brings addresses and names into one form, so that they can be compared */
bool info_eq(const struct member_info *a, const struct member_info *b);
void merge(struct membership *m, const struct id *from, const struct swim_update *u, bool sync, nanotime now);
/* What a peer says of itself. MACULA_BAD_SIGNATURE: it has not signed that. */
int merge_own(struct membership *m, const struct id *from, const struct swim_record *me, nanotime now);
void accuse(struct membership *m, struct entry *e, bool near,
            nanotime now); /* our own probe of the member failed; near: we are connected to it */
/* A suspicion's time is up. */
void expire(struct membership *m, struct entry *e, nanotime now);
void self_renew(struct membership *m, uint64_t above); /* incarnation above + 1, gossiped */

/* verify.c */
struct slice record_of(const struct entry *e); /* n == 0: there is none */
/* 0: the record is signed by its subject, and that is `subject`. At the expense of the budget of `from`: MACULA_RATE_LIMITED,
 * it is not looked at; MACULA_BAD_SIGNATURE. */
int record_verify(struct membership *m, const struct id *from, const struct id *subject, const struct swim_record *r,
                  nanotime now);
/* Takes the record and its incarnation for those of e. MACULA_ENOMEM: nothing has changed. */
int record_keep(struct membership *m, struct entry *e, const struct swim_record *r);
int self_sign(struct membership *m); /* if our record is not what we are */

/* gossip.c */
uint32_t gossip_limit(const struct membership *m); /* lambda log n */
void gossip_add(struct membership *m, struct entry *e, bool urgent);
void gossip_remove(struct membership *m, struct entry *e);
/* Queues a frame; full: the oldest goes. target and seq as the type needs. */
void out_push(struct membership *m, const struct id *to, uint8_t type, uint64_t seq, const struct id *target, bool nack);

/* probe.c */
void health_add(struct membership *m, int delta);
void probe_period(struct membership *m, nanotime now); /* ends the last probe, starts the next */
void probe_step(struct membership *m, nanotime now);
nanotime probe_deadline(const struct membership *m);
void probe_ack(struct membership *m, const struct id *from, const struct swim_msg *msg);
void probe_request(struct membership *m, const struct id *from, const struct swim_msg *msg, nanotime now);
void probe_cancel(struct membership *m, const struct id *target);

/* sync.c */
void sync_open(struct membership *m, struct entry *e, nanotime now); /* begins to compare the member lists with this peer */
/* updates: how many the frame carried. */
void sync_recv(struct membership *m, struct entry *e, const struct swim_msg *msg, uint32_t updates, nanotime now);
/* digest_out before and digest_in after each change of e's state or incarnation. */
void digest_out(struct membership *m, struct entry *e);
void digest_in(struct membership *m, struct entry *e);
bool digest_holds(const struct membership *m); /* whether the digest is right */
void sync_step(struct membership *m, nanotime now);
nanotime sync_deadline(const struct membership *m);
struct slice sync_page(struct membership *m, const struct id *to); /* empty: the session has ended */
void sync_dropped(struct membership *m, const struct id *to);
void sync_gone(struct membership *m, struct entry *e); /* moves cursors that point at e on */
void sync_done(struct membership *m);
void update_of(const struct entry *e, bool with_record, struct swim_update *ret_update);

#endif
