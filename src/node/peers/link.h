/* Links: connections to other nodes, dialled by us or by them. */
#ifndef NODE_PEERS_LINK_H
#define NODE_PEERS_LINK_H

#include "node/state.h"

#define LINK_KEY_WHY "a node's key must be Ed25519 or P-256"
/* a peer that says our identity is in use is not dialled for half of this time to all of it */
#define IN_USE_AGAIN (60 * NS_SEC)
/* Dials `to`. expect: the id that the node there must prove; NULL: any. p: the node's record; seed: the address to join by that
 * wanted the dial; both may be NULL. The errors of link_may_dial. */
int link_dial(struct node *n, const struct addr *to, const struct id *expect, struct peer *p, struct seed *seed);
/* 0: an address that a dial for this peer or address to join by may go to. Those that the user gave, and where nodes have
 * answered, always are; MACULA_RATE_LIMITED: too much was sent there already and nothing has answered (silent.h). */
int link_may_dial(const struct node *n, const struct addr *to, const struct peer *p, const struct seed *seed);
void link_opened(struct session *s); /* our dial's handshake is complete */
/* CONNECT of a node came; access was checked. ret_text: what is said to it of an error; NULL: the error's own text. */
int link_connect(struct session *s, const struct msg_connect *m, const char **ret_text);
void link_closed(struct session *s, const struct door_end *why); /* the session's connection is gone */
void link_end(struct session *s);                                /* part of session_end */
void link_welcomed(struct session *s, const struct msg_pong *m); /* PONG in answer to our CONNECT */
void links_show_pass(struct node *n);                            /* ours was renewed: to all that have a link */
void link_renewed(struct session *s, struct slice pass);         /* the other node's was */
void link_goodbye(struct session *s, const struct msg_disconnect *m);
/* Cuts its link and frees its slot at once. What is pending with it is the caller's business (peer_down). */
void link_close(struct peer *p, int err);
void link_give_up(struct peer *p, int err); /* likewise, and a dial to it as well */
nanotime link_deadline(const struct node *n);
void link_tick(struct node *n);

#endif
