/* Other nodes: their records, the pool of connections to them, and what waits for one.
 *
 * A peer is another node, known by its id as long as it is a member or something is going on with it. It has at most one link
 * at a time; calls between the two nodes and frames that wait for a link belong to the peer, so that they outlive a link that
 * gives way to another. A peer that nobody can dial is reached through its gateway's link (peer.via). */
#ifndef NODE_PEERS_PEER_H
#define NODE_PEERS_PEER_H

#include "base/err.h"
#include "node/state.h"

/* A peer in a log line, a %s each, so that each is escaped on its own: log_info(log, event, PEER_FIELDS, PEER_VALUES(t)). */
#define PEER_FIELDS "peer=\"%s\" id=%s address=%s"
#define PEER_VALUES(t) (t).name, (t).id, (t).address
struct peer_text {
  const char *name;
  char id[ID_HEX_LEN + 1], address[ADDR_TEXT_LEN];
};
struct peer_text peer_text(const char *name, const struct id *id, const struct addr *at); /* name is borrowed; at may be NULL */
void peers_init(struct node *n);
void peers_done(struct node *n);
struct peer *peer_find(const struct node *n, const struct id *id);
/* The record of a node, made if it is not there; NULL: no memory, no room, or our own id. */
struct peer *peer_get(struct node *n, const struct id *id);
/* As peer_get, for one that answered at an address that the user gave: there is room for that. */
struct peer *peer_get_configured(struct node *n, const struct id *id);
/* As peer_get, for a node that others tell of (as a member, or besides): half of the records besides members stay free for
 * those who come themselves. */
struct peer *peer_told(struct node *n, const struct id *id, bool member);
void peers_behind(struct peer *p, void (*each)(struct peer *q)); /* those that are reached through it */
/* What is known of where it is: addr and gateway may be NULL (nothing is said about it). Ours and zero gateways are ignored. */
void peer_where(struct peer *p, const struct addr *addr, const struct id *gateway);
/* Closes what is idle beyond max_peers, frees records that are no members and with which nothing is going on. */
void peers_sweep(struct node *n);
void peers_set_limits(struct node *n);
enum want { WANT_UPKEEP, WANT_USE };
/* 0: frames can be sent to it now. MACULA_EBUSY: a link is on its way. MACULA_NOT_CONNECTED (no address, backing off),
 * MACULA_MAX_PEERS_REACHED, MACULA_ENOMEM. Use renews its age in the pool and may evict another. */
int peer_want(struct peer *p, enum want want);
/* Now, over its link or through its gateway: the errors of session_send; MACULA_EBUSY, MACULA_NOT_CONNECTED as peer_want. */
int peer_send(struct peer *p, const struct msg *m, enum want want);
/* As peer_send, but while a link is on its way the frame waits for it. query: the dht's, which hears when it cannot be sent.
 * MACULA_EFULL: too much waits already. */
int peer_post(struct peer *p, const struct msg *m, enum want want, uint64_t query);
bool peer_has_calls(const struct peer *p); /* it, or those behind it */
bool peer_is_busy(const struct peer *p);
/* As peer_send and peer_post (a frame that is encoded already), for what makes nobody busy, as another link tells it anew if
 * this one goes: of membership, of the DHT, of interest. */
int peer_upkeep(struct peer *p, const struct msg *m);
int peer_upkeep_raw(struct peer *p, uint8_t type, struct slice payload, uint64_t query);
/* Its link, or the dial to it, makes room for another. Operators' pings of it and of those behind it end; its calls and frames
 * are the caller's business (peer_down): an idle one has none. */
void peer_evict(struct peer *p);
/* Whether the pool has no slot for it. Some are kept free for those that the user named, so that whoever comes in any number
 * of identities never keeps them out. */
bool peer_pool_full(struct node *n, const struct id *id);
/* Gives the slot of one that is idle away, else that of one that is dialled for upkeep only; never that of one that the user
 * named. MACULA_MAX_PEERS_REACHED. */
int peer_evict_idle(struct node *n);
static inline bool peer_is_up(const struct peer *p) { return p->link || (!addr_is_set(&p->addr) && p->via && p->via->link); }
/* Its link (or its gateway's) came up; is gone, or could not be had: calls and frames that waited fail. */
void peer_up(struct peer *p);
void peer_down(struct peer *p);
void peers_step(struct node *n); /* once a turn: slots of the pool for those who wait */
/* Records, the pool, frames that wait and gateways (base/check.h). O(peers and frames). */
const char *peers_check(const struct node *n);
size_t peers_owned(const struct node *n); /* what of its account is its own, addresses to join by included */
size_t held_owned(const struct node *n);

#endif
