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

#define MEMBER_NAME_LEN 64 /* bytes */

enum member_state { MEMBER_ALIVE, MEMBER_SUSPECT, MEMBER_DEAD };

/* What it says is believed if its subject has signed it: a member's address, gateway and name, that it is alive, and that it
 * has left. That one is dead, others may only suspect; this node judges by itself whether it answers. */
struct member_info { /* what a member has said about itself: signed, or by its link */
  struct id id;
  struct addr addr;  /* where it can be dialled; sa_family 0: nowhere (NAT), then it is reached through its gateway */
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

struct membership_crypto {
  struct slice key; /* our SubjectPublicKeyInfo, at most 91 bytes; outlives the membership, as the realm does */
  int (*sign)(void *ctx, struct slice text, uint8_t ret_signature[64]);
  /* 0, and the id of the key. */
  int (*verify)(void *ctx, struct slice key, struct slice text, struct slice signature, struct id *ret_id);
  void (*id_of)(void *ctx, struct slice key, struct id *ret_id);
  void *ctx;
};

struct membership_config {
  struct mem *mem;
  struct rng rng;
  const struct log *log;   /* may be NULL */
  struct member_info self; /* copied */
  struct membership_crypto crypto;
  struct slice realm;   /* at most 255 bytes; records of other realms are not believed */
  uint64_t incarnation; /* our first: higher than any of an earlier run, as the wall clock is */
  /* 10,000, self not counted; when full, the member that died first is forgotten, else the new one is refused */
  uint32_t max_members;
  uint64_t
      period; /* ns; 0: 1 s. A probe's direct part ends after a quarter of it; one that has to dial lasts three times as long */
  uint64_t
      suspicion; /* ns; 0: 5 s, of a peer that we are connected to; longer for others, with the logarithm of their number */
  uint64_t keep_dead;   /* ns; 0: 60 s */
  uint32_t indirect;    /* 0: 3 */
  uint32_t rotating;    /* how many members are probed without a connection, in a slowly changing set; 0: 32 */
  uint32_t datagram;    /* 0: 1,200, at least 768; largest payload of PING, ACK and PING_REQ, updates included */
  uint32_t verify_turn; /* signatures verified in one turn, that is with one value of `now`; 0: 16 */
  /* signatures verified a second for one peer, 0: 250, and four times that in all, with bursts of four seconds' worth. One that
   * is bad counts as 20 more. What is beyond that is not believed; gossip and SYNC bring it again. */
  uint32_t verify_rate;
};

/* MACULA_ENOMEM, and the errors of crypto.sign. */
int membership_new(const struct membership_config *cfg, nanotime now, struct membership **ret_m);
void membership_free(struct membership *m); /* accepts NULL */

/* Our address, gateway or name has changed: announces it with a new incarnation. */
void membership_set_self(struct membership *m, const struct member_info *self);
/* A peer proved its id over a connection and described itself. It becomes a member that is alive, of which nobody else is told
 * before its record has come, and the full lists are exchanged with it (SWIM_SYNC). If it is held to be dead or suspect, or has
 * another address, it is pinged first, and its new state counts a round trip later, with the incarnation of its answer.
 * MACULA_EFULL: no room among the members, not even that of one that we only heard of; MACULA_EINVAL: our own id.
 */
int membership_met(struct membership *m, const struct member_info *info, nanotime now);
/* The peer was started again: it knows nothing of what its last run was told, and may ask for the list at once. */
void membership_anew(struct membership *m, const struct id *id);
/* Tells whether there is a mesh connection to the member. Connected members are probed in turn, of the others only the rotating
 * set. */
void membership_connected(struct membership *m, const struct id *id, bool connected);
/* The transport noticed that it may be dead (reset, silence, refused dial): it is suspected at once, as after a failed
 * probe. */
void membership_unreachable(struct membership *m, const struct id *id, nanotime now);
/* A frame to it could not be sent for a reason on our side (no room in the pool): a probe of it that is under way does not
 * count.
 */
void membership_unsent(struct membership *m, const struct id *id);
/* A SWIM frame of this peer (PING, ACK, PING_REQ, SYNC). MACULA_BAD_FRAME: malformed; MACULA_BAD_SIGNATURE: what it says of
 * itself is not signed by it; nothing changed. */
int membership_recv(struct membership *m, const struct id *from, uint8_t type, struct slice payload, nanotime now);
/* We leave for good: says so to as many members as an update is sent to, and sends nothing afterwards. */
void membership_leave(struct membership *m);

nanotime membership_deadline(const struct membership *m);
void membership_tick(struct membership *m, nanotime now);

struct membership_out {
  struct id to;
  uint8_t type;         /* MSG_SWIM_* */
  struct slice payload; /* MessagePack map; a view until the next call on m */
};
/* The next frame to send; false: none. The owner may drop a frame that it cannot send, as if it was lost on the way. When the
 * queue is full (1,024), the oldest frame is dropped and counted. */
bool membership_next(struct membership *m, struct membership_out *ret_out);

enum membership_event_type {
  MEMBER_EV_UP,       /* a new member, or one that was dead and is alive again */
  MEMBER_EV_CHANGED,  /* address, gateway or name */
  MEMBER_EV_SUSPECT,  /* may be dead */
  MEMBER_EV_REFUTED,  /* was suspect, is alive */
  MEMBER_EV_DEAD,     /* will be forgotten after keep_dead unless it comes back */
  MEMBER_EV_FORGOTTEN /* the entry is gone and only info is valid; also from other states, when it had to make room */
};
struct membership_event {
  enum membership_event_type type;
  struct member_info info;
};
/* The next event; false: none. No change of state is lost: what waits for each member is one event, made from its present
 * state. */
bool membership_next_event(struct membership *m, struct membership_event *ret_event);
uint32_t membership_forgotten(const struct membership *m); /* members whose MEMBER_EV_FORGOTTEN waits; O(these) */

/* Whether the peer has told all members that it knows, in an exchange of lists since it was met. */
bool membership_has_list(const struct membership *m, const struct id *id);

const struct member *membership_find(const struct membership *m, const struct id *id);
/* In order of arrival, self not included; the first after NULL. Nothing may change meanwhile. */
const struct member *membership_each(const struct membership *m, const struct member *prev);
uint64_t membership_incarnation(const struct membership *m);

struct membership_stats {
  uint32_t alive, suspect, dead, max; /* self not counted */
  uint32_t health;                    /* Lifeguard's local health multiplier, 0: healthy */
  uint64_t pings, acks, ping_reqs, syncs, indirect_acks, probes_failed, suspicions, refutations, deaths, refused, dropped,
      bad_frames;
  uint64_t accused;     /* how often we were said to be suspect or dead and refuted it */
  uint64_t implausible; /* claims that were ignored because nobody can have their incarnation */
  uint64_t verified, bad_signatures;
  uint64_t unverified; /* records that were not believed as there was no budget to verify them */
  uint64_t wakes;      /* how often time had jumped by more than a period, so that nobody was accused */
};
void membership_stats(const struct membership *m, struct membership_stats *ret_stats);

/* O(members, lists on their way and frames that wait). */
const char *membership_check(const struct membership *m);
size_t membership_owned(const struct membership *m); /* bytes of the account that membership holds */

#endif
