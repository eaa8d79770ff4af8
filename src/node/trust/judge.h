/* Who is let in, in which role, and what a session may do: every session has one compiled grant (trust/grant.h), by what it
 * proved: its key, a pass, a token, or nothing. Whenever what counts here changes (an access file, a list of revocations) all
 * sessions are judged anew, some in each turn, and when a pass or certificate ends, those that were let in by it. */
#ifndef NODE_TRUST_JUDGE_H
#define NODE_TRUST_JUDGE_H

#include "node/state.h"
#include "wire/msg.h"

void trust_init(struct node *n, const struct node_config *cfg);
void trust_done(struct node *n);

/* Whether the sender of CONNECT is let in, in the role that its capabilities ask for; s->rights then has what it may do. 0, or
 * NOT_AUTHORIZED, PASS_INVALID, PASS_EXPIRED, PASS_REVOKED, ENOMEM with *ret_text: what is missing, as long as no other
 * function of this room is called. */
int trust_judge(struct session *s, const struct msg_connect *m, const char **ret_text);
/* The same for the PONG of a node that we dialled: it must prove to be a node. */
int trust_judge_node(struct session *s, const struct msg_pong *m, const char **ret_text);
/* Our own proof for this session: for CONNECT that we know a token, for PONG that we know the token that was proved. False:
 * there is none to give. */
bool trust_prove(const struct session *s, uint8_t ret_proof[TOKEN_PROOF_LEN]);

/* Whether the session may do this; what: a stored topic, pattern (RIGHT_SUB) or procedure. 0, or MACULA_FORBIDDEN with
 * *ret_text, which names what is missing; it is counted and logged. */
int trust_allows(struct session *s, enum right right, struct slice what, const char **ret_text);

/* Whether what trust_allows has cost since trust.cost was set to 0 is within a request's share; MACULA_RATE_LIMITED else. */
bool trust_afford(struct node *n);

/* Our own pass from now on, of the account of the node itself; NULL: none. */
void trust_take_pass(struct node *n, uint8_t *pass, size_t len);
/* Another access file counts from now on (NULL: everything is open): all sessions are judged anew. */
void trust_set_access(struct node *n, struct access *a);
void trust_judge_all(struct node *n);
/* The other node of a link shows a renewed pass, which takes the place of the one that it showed. 0, or why it does not, with
 * trust.why: then all stays as it was. */
int trust_renew(struct session *s, struct slice pass);
void trust_let_in(struct session *s); /* the session is in: from now on the end of its pass or certificate ends it */
/* A session's end; harmless when repeated. */
void trust_session_end(struct session *s);
/* Judges the sessions whose turn it is. */
void trust_tick(struct node *n);
nanotime trust_deadline(const struct node *n);

/* O(sessions and passes). */
const char *trust_check(const struct node *n);
size_t trust_passes_owned(const struct node *n); /* bytes of the account of passes */

#endif
