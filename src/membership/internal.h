/* What the files of this folder share.
 *
 *              alive j > i                 suspect j >= i, or our own probe failed
 *   (unknown) -----------> ALIVE --------------------------------------------> SUSPECT
 *                          ^   ^ <----------------- alive j > i ---------------   |
 *                          |   |                                                  | its time is up, or dead j >= i
 *                          |   +------- alive j > i (welcome back) ------ DEAD <--+
 *                          |                                               | keep_dead
 *                          +-------------------- (forgotten) <-------------+
 * i: the incarnation held, j: that of the update. A member's word of itself (`me` of a frame that came from it) is held to be
 * true even where its incarnation is lower than what others claimed, if the claim is implausibly high. */
#ifndef MEMBERSHIP_INTERNAL_H
#define MEMBERSHIP_INTERNAL_H

#include "bounded/heap.h"
#include "bounded/htab.h"
#include "membership/membership.h"
#include "wire/swim.h"

#define OUT_MAX 1024
#define RELAYS_MAX 64
#define INDIRECT_MAX 8
#define SESSIONS_MAX 64
#define GONE_MAX 1024 /* forgotten members whose event nobody has taken yet */
#define HEALTH_MAX 8  /* Lifeguard's S */
#define SENDS_MAX 72
#define FED_MOST 3    /* frames to one peer, a period, that count as told */
#define BUDDY_PINGS 4 /* to members that we accuse, a period */
#define INCARNATION_JUMP UINT64_C(1000000)
#define INCARNATION_MAX (UINT64_C(1) << 62)

#define SYNC_EVERY (30 * NS_SEC)
#define SYNC_SAME (10 * NS_SEC) /* between two lists to one peer */
#define SYNC_PAGE (20 * NS_MS)  /* between two pages */
#define PROBE_PARTS 4           /* the first is direct, the others indirect too */
#define DIAL_PERIODS 3          /* that a probe may last which has to dial */
#define ROTATE_PERIODS 10       /* one of the rotating set is replaced, one of the dead is tried again */

/* What the owner was told of a member last. */
enum told { TOLD_NOTHING, TOLD_ALIVE, TOLD_SUSPECT, TOLD_DEAD };

struct entry {
  struct hlink h;
  struct member m;
  struct list all;      /* in order of arrival */
  struct list gossip;   /* in queue[sends], unless retired */
  struct list event;    /* in events, or in gone */
  struct list group;    /* in accused (suspects by our own probe) or dead */
  struct heap_link due; /* the suspicion's end */
  uint32_t at;          /* in v */
  uint32_t ring;        /* 1-based place in the ring; 0: not probed */
  nanotime synced;      /* our digest went to it; 0: never */
  nanotime listed;      /* our list went to it; 0: never */
  uint8_t sends;        /* of the update, so far */
  uint8_t told;         /* enum told */
  uint8_t fed;          /* frames that it got in period fed_in */
  uint8_t fed_in;
  bool changed : 1; /* info, since the owner was told */
  bool tell : 1;    /* it does not know what is said of it: the next frame to it does */
  bool own : 1;     /* we heard it itself */
  bool left : 1;    /* dead by its own word */
  bool rotating : 1;
  bool digested : 1; /* counted in digest */
};

struct out {
  struct id to, target;
  uint64_t seq;
  uint8_t type;
  bool nack;
};

struct relay { /* a probe for somebody else */
  struct id requester, target;
  uint64_t seq, their_seq;
  nanotime end;
};

struct session { /* our list on its way to a peer */
  struct list of;
  struct id to;
  struct entry *cursor; /* next to send; NULL: the end */
  uint32_t buckets;     /* of the mask; 0: only our digest is sent */
  uint8_t mask[SWIM_BUCKETS_MAX / 8];
  bool want;   /* it shall send its own of the same buckets; with the first page */
  bool queued; /* a page waits in the out queue */
};

struct probe {
  bool active;
  struct id target;
  uint64_t seq;
  nanotime next, end; /* next: when it is sent again, and the first time through others too */
  uint64_t every;     /* ns between these */
  uint32_t relays, nacks;
  struct id relay[INDIRECT_MAX];
};

struct membership {
  struct membership_config cfg;
  struct mem *mem;
  struct entry self; /* in no table; gossiped as any other */
  bool leaving;
  struct htab tab;
  struct list all, events, gone, accused, dead;
  uint32_t gone_count;
  struct entry **v; /* the alive first */
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
  struct probe probes[2]; /* of one that is connected, and of one that has to be dialled first: that takes longer */
  uint64_t seq;
  nanotime next_period, next_sync, next_page;
  uint32_t until_rotate; /* periods */
  uint8_t period_count;
  bool refuted;                      /* in this period: costs health once */
  uint64_t digest[SWIM_BUCKETS_MAX]; /* of those not dead, self included, by the first octet of the id */
  struct list sessions;
  uint32_t session_count;
  uint8_t *frame; /* cfg.datagram */
  uint8_t *page;  /* SWIM_PAGE_LEN while there are sessions */
  struct membership_stats stats;
};

#define ENTRY(link, field) container_of(link, struct entry, field)

/* table.c */
struct entry *table_find(const struct membership *m, const struct id *id);
/* Alive, with incarnation. MACULA_EFULL, MACULA_ENOMEM. met: it came itself, and takes the place of one that was only heard of.
 */
int table_add(struct membership *m, const struct member_info *info, uint64_t incarnation, bool met, nanotime now,
              struct entry **ret_entry);
/* Out of the table: the entry waits in `gone` for its event, or is freed. */
void table_remove(struct membership *m, struct entry *e);
void table_free(struct membership *m, struct entry *e); /* out of `gone` */
/* Sets state, counts and place; nothing else. */
void table_state(struct membership *m, struct entry *e, enum member_state state, nanotime now);
void ring_update(struct membership *m, struct entry *e); /* in or out, as state, connected and rotating say */
void ring_rotate(struct membership *m, bool replace);
void ring_shuffle(struct membership *m);
/* A random connected member that is alive, not `but`; NULL if a few tries find none. */
struct entry *ring_random(struct membership *m, const struct id *but);
void event_raise(struct membership *m, struct entry *e);

/* merge.c */
void info_clean(struct member_info *info); /* one form for each address and name, so that they compare */
bool info_eq(const struct member_info *a, const struct member_info *b);
void merge(struct membership *m, const struct swim_update *u, bool sync, nanotime now);
/* What a peer says of itself. */
void merge_own(struct membership *m, const struct id *from, const struct swim_update *me, nanotime now);
void accuse(struct membership *m, struct entry *e, bool near,
            nanotime now); /* our own probe failed; near: we can ask it again */
void set_dead(struct membership *m, struct entry *e, uint64_t incarnation, bool left, nanotime now);
void self_renew(struct membership *m, uint64_t above); /* incarnation above + 1, gossiped */

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
void sync_open(struct membership *m, struct entry *e, nanotime now); /* compares with it */
void sync_recv(struct membership *m, struct entry *e, const struct swim_msg *msg, nanotime now);
/* Around each change of e's state or incarnation. */
void digest_out(struct membership *m, struct entry *e);
void digest_in(struct membership *m, struct entry *e);
bool digest_holds(const struct membership *m); /* it is that of all that are in it */
void sync_step(struct membership *m, nanotime now);
nanotime sync_deadline(const struct membership *m);
struct slice sync_page(struct membership *m, const struct id *to); /* empty: no session any more */
void sync_dropped(struct membership *m, const struct id *to);
void sync_gone(struct membership *m, struct entry *e); /* cursors move on */
void sync_done(struct membership *m);
void update_of(const struct entry *e, bool with_info, struct swim_update *ret_update);

#endif
