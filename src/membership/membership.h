/* Who is in the mesh: SWIM (Das, Gupta, Motivala 2002) with suspicion and infection-style dissemination, and Lifeguard's local
 * health (Dadgar et al. 2018), so that a slow node does not accuse the healthy.
 *
 * A pure state machine. Payloads of SWIM frames (wire/swim.h) and time come in; frames for other nodes and events come out of
 * two bounded queues that the owner empties after each call. */
#ifndef MEMBERSHIP_MEMBERSHIP_H
#define MEMBERSHIP_MEMBERSHIP_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/slice.h"
#include "base/time.h"

struct membership;

#define MEMBER_NAME_LEN 64 /* octets */

enum member_state { MEMBER_ALIVE, MEMBER_SUSPECT, MEMBER_DEAD };

struct member_info { /* what is told of a member; its own word counts */
  struct id id;
  struct addr addr;  /* where it can be dialled; sa_family 0: nowhere (NAT), then through its gateway */
  struct id gateway; /* the node that it stays connected to; all zero: none */
  char name[MEMBER_NAME_LEN + 1];
};

struct member {
  struct member_info info;
  enum member_state state;
  uint64_t incarnation;
  nanotime since;  /* of this state */
  nanotime joined; /* first heard of */
  bool connected;  /* membership_connected */
};

struct membership_config {
  struct mem *mem;
  struct rng rng;
  const struct log *log;   /* may be NULL */
  struct member_info self; /* copied */
  uint32_t max_members;    /* 10,000, self not counted; full: the oldest dead makes room, else the newcomer is refused */
  uint64_t
      period; /* ns; 0: 1 s. A probe's direct part ends after a quarter of it; one that has to dial lasts three times as long */
  uint64_t
      suspicion; /* ns; 0: 5 s, of a peer that we are connected to; longer for others, with the logarithm of their number */
  uint64_t keep_dead; /* ns; 0: 60 s */
  uint32_t indirect;  /* 0: 3 */
  uint32_t rotating;  /* 0: 32; probed though not connected: a slowly rotating set of this many */
  uint32_t datagram;  /* 0: 1,200; largest payload of PING, ACK and PING_REQ, updates included */
};

/* MACULA_ENOMEM */
int membership_new(const struct membership_config *cfg, nanotime now, struct membership **ret_m);
void membership_free(struct membership *m); /* accepts NULL */

/* Our own address, gateway or name changed: told under a new incarnation. */
void membership_set_self(struct membership *m, const struct member_info *self);
/* A peer proved its id and told of itself over a connection: alive, and the full lists are exchanged with it (SWIM_SYNC). One
 * that is held to be dead or suspect, or elsewhere, is asked first and follows a round trip later, under the incarnation of its
 * answer. MACULA_EFULL: no room among the members (it may take that of one that was only heard of); MACULA_EINVAL: our own id.
 */
int membership_met(struct membership *m, const struct member_info *info, nanotime now);
/* Whether a mesh connection to it stands: those are probed in turn; of the others only a rotating few. */
void membership_connected(struct membership *m, const struct id *id, bool connected);
/* The transport heard of its death (reset, silence, refused dial): as a probe that failed, suspect at once. */
void membership_unreachable(struct membership *m, const struct id *id, nanotime now);
/* A frame to it could not be sent for want of something of ours (no room in the pool): a probe of it under way proves nothing.
 */
void membership_unsent(struct membership *m, const struct id *id);
/* A SWIM frame of this peer (PING, ACK, PING_REQ, SYNC). MACULA_BAD_FRAME: malformed, nothing changed. */
int membership_recv(struct membership *m, const struct id *from, uint8_t type, struct slice payload, nanotime now);
/* We leave for good: told to as many as an update is told to. Nothing else is sent afterwards. */
void membership_leave(struct membership *m);

nanotime membership_deadline(const struct membership *m);
void membership_tick(struct membership *m, nanotime now);

struct membership_out {
  struct id to;
  uint8_t type;         /* MSG_SWIM_* */
  struct slice payload; /* MessagePack map; a view until the next call on m */
};
/* The next frame to send; false: none. A frame that cannot be sent may be dropped: it counts as lost. Full queue (1,024): the
 * oldest is dropped and counted. */
bool membership_next(struct membership *m, struct membership_out *ret_out);

enum membership_event_type {
  MEMBER_EV_UP,       /* new, or back from the dead */
  MEMBER_EV_CHANGED,  /* address, gateway or name */
  MEMBER_EV_SUSPECT,  /* may be dead */
  MEMBER_EV_REFUTED,  /* was suspect, is alive */
  MEMBER_EV_DEAD,     /* will be forgotten after keep_dead unless it comes back */
  MEMBER_EV_FORGOTTEN /* the entry is gone: only info is valid; from any state, where it had to make room */
};
struct membership_event {
  enum membership_event_type type;
  struct member_info info;
};
/* Events are never lost: each member has at most one waiting, the newest that matters. */
bool membership_next_event(struct membership *m, struct membership_event *ret_event);
uint32_t membership_forgotten(const struct membership *m); /* members whose MEMBER_EV_FORGOTTEN waits; O(these) */

const struct member *membership_find(const struct membership *m, const struct id *id);
/* In order of arrival, self not included; the first after NULL. Nothing may change meanwhile. */
const struct member *membership_each(const struct membership *m, const struct member *prev);
uint64_t membership_incarnation(const struct membership *m);

struct membership_stats {
  uint32_t alive, suspect, dead, max; /* self not counted */
  uint32_t health;                    /* Lifeguard's local health multiplier, 0: healthy */
  uint64_t pings, acks, ping_reqs, syncs, indirect_acks, probes_failed, suspicions, refutations, deaths, refused, dropped,
      bad_frames;
  uint64_t accused;     /* times that we were said to be suspect or dead, and refuted it */
  uint64_t implausible; /* claims whose incarnation was too far above what is known, not believed */
  uint64_t wakes;       /* times that the clock had jumped by more than a period: nobody is accused for that */
};
void membership_stats(const struct membership *m, struct membership_stats *ret_stats);

/* O(members, lists on their way and frames that wait). */
const char *membership_check(const struct membership *m);
size_t membership_owned(const struct membership *m); /* what of its account is its own */

#endif
