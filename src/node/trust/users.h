/* Users: the name and the password that a door has heard (door_ops.login) are judged by the access file's users. The file says
 * which grant is the user's; whether the password is right is found out elsewhere (node_process.password), as it takes tens of
 * milliseconds, so that the verdict on a CONNECT may come in a later turn. Where everything is open they are not looked at. */
#ifndef NODE_TRUST_USERS_H
#define NODE_TRUST_USERS_H

#include "node/state.h"

uint8_t *rights_proof(struct session *s); /* room for its proof, made at first use; NULL: no memory */
/* CONNECT is judged: notes whether a user is to be proved, and by which hash. */
void users_begin(struct session *s);
/* The grant of the user who is to be proved, or was: while the access file has it with the same hash as when CONNECT came. 0,
 * or MACULA_NOT_AUTHORIZED with trust.why. */
int users_grant(struct session *s, struct grant **ret_grant);
/* sessions.judge: asks whether the password is right. False: it names no user, or the password is known to be right. */
struct msg_connect;
bool users_judge(void *ctx, struct session *s, const struct msg_connect *m);
void users_tick(struct node *n); /* gives the verdicts of those whose passwords were checked */
#endif
