/* Other nodes: their records, the pool of connections to them, and what waits for one.
 *
 * A peer is another node, by its id. Its record exists as long as it is a member, or has a link, calls or frames that wait. It
 * has at most one link at a time. Calls between the two nodes and frames that wait for a link belong to the peer and not to the
 * link, so that they survive when one link replaces another. A peer that nobody can dial, or that our dials do not reach, is
 * reached over the link of its gateway or of a relay (peer.via), in sealed envelopes (seal.h). */
#ifndef NODE_PEERS_PEER_H
#define NODE_PEERS_PEER_H

#include "base/err.h"
#include "node/state.h"

/* A peer in a log line. Each value is a %s of its own, so that it is escaped by itself: log_info(log, event, PEER_FIELDS,
 * PEER_VALUES(t)). */
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
/* As peer_get, for a node that answered at an address that the user gave; room for such records is kept free. */
struct peer *peer_get_configured(struct node *n, const struct id *id);
/* As peer_get, for a node that other nodes tell of, as a member or otherwise. Of the records for nodes that are not members
 * half are kept free for nodes that connect themselves. */
struct peer *peer_told(struct node *n, const struct id *id, bool member);
void peers_behind(struct peer *p, void (*each)(struct peer *q)); /* those that are reached through it */
/* Sets the peer's address and its gateway; NULL leaves either as it is. A gateway that is zero or this node itself is
 * ignored. */
void peer_where(struct peer *p, const struct addr *addr, const struct id *gateway);
/* Closes what is idle beyond max_peers, frees records that are no members and with which nothing is going on. */
void peers_sweep(struct node *n);
void peers_set_limits(struct node *n);
enum want { WANT_UPKEEP, WANT_USE };
/* 0: frames can be sent to it now. MACULA_EBUSY: a link is on its way. MACULA_NOT_CONNECTED (no address, backing off),
 * MACULA_MAX_PEERS_REACHED, MACULA_ENOMEM. Use renews its age in the pool and may evict another. */
int peer_want(struct peer *p, enum want want);
/* Sends at once, over its link or through its gateway. The errors of session_send; MACULA_EBUSY and MACULA_NOT_CONNECTED as
 * peer_want. */
int peer_send(struct peer *p, const struct msg *m, enum want want);
/* As peer_send, but while a link is on its way the frame waits for it. query: the dht's, which hears when it cannot be sent.
 * MACULA_EFULL: too much waits already. */
int peer_post(struct peer *p, const struct msg *m, enum want want, uint64_t query);
bool peer_has_calls(const struct peer *p); /* the peer itself, or a node behind it */
bool peer_is_busy(const struct peer *p);
/* As peer_send; and as peer_post for an encoded payload. For frames of membership, of the DHT and of interest, which do not
 * make a link busy: if it is closed, they are sent anew over the next one. */
int peer_upkeep(struct peer *p, const struct msg *m);
int peer_upkeep_raw(struct peer *p, uint8_t type, struct slice payload, uint64_t query);
/* Closes its link, or gives up the dial to it, to make room for another. Operators' pings of it and of the nodes behind it end.
 * The caller must end its calls and frames (peer_down); an idle peer has none. */
void peer_evict(struct peer *p);
/* Whether the pool has no slot for it. Some slots are kept free for configured nodes, so that a peer with any number of
 * identities cannot keep these out. */
bool peer_pool_full(struct node *n, const struct id *id);
/* Frees the slot of an idle link, else that of a dial for upkeep, never that of a configured node. MACULA_MAX_PEERS_REACHED. */
int peer_evict_idle(struct node *n);
bool peer_is_up(const struct peer *p); /* it has a link, or keys for envelopes and a node with a link that they go by */
struct session *peer_path(const struct peer *p); /* its link, or that which envelopes for it go by; NULL: it is not up */
/* Round trip on that path, ns; of an envelope's a guess, as the farther half is not measured. */
uint64_t peer_path_rtt(const struct peer *p, const struct session *path);
void peer_through(struct peer *p, struct peer *via); /* it is reached through that node from now on; NULL: no more */
void peer_agreed(struct peer *p);                    /* it has come up, as there are keys for envelopes now */
int peer_dial(struct peer *p); /* peer_want for a link of its own, whether it is reached through another node or not */
/* peer_up: its link (or its gateway's) is up. peer_down: that is gone or could not be set up, so that calls and frames that
 * waited fail. */
void peer_up(struct peer *p);
void peer_down(struct peer *p);
void peers_step(struct node *n); /* once a turn: gives free slots of the pool to peers that wait for one */
/* Records, the pool, frames that wait and gateways (base/check.h). O(peers and frames). */
const char *peers_check(const struct node *n);
size_t peers_owned(const struct node *n); /* bytes of the account that records and frames take, addresses to join by included */
size_t held_owned(const struct node *n);

#endif
