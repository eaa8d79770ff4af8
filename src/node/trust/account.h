/* Who uses how much: each identity has one account for all its connections (a user's name; a key's id; for clients without
 * either, their IP address, of IPv6 the /64). An account lives as long as a session or a retained message is its, and a while
 * longer, so that nobody gets rid of it by reconnecting.
 *
 * Quotas are the grant's, and where it says nothing (QUOTA_NONE) those of account_quota. What goes beyond is refused with
 * MACULA_QUOTA_REACHED, but for messages: these are not refused but paced. A session whose account has no tokens is not read
 * (receive.c), so that QUIC holds its peer back and nothing is lost. The same holds for what one identity may do in one turn,
 * so that others have their turn in between. */
#ifndef NODE_TRUST_ACCOUNT_H
#define NODE_TRUST_ACCOUNT_H

#include "node/flow/budget.h"
#include "node/state.h"
#include "wire/frame.h"

#define ACCOUNT_KEPT (60 * NS_SEC) /* after its last session and retained message */

void account_init(struct node *n);
void account_done(struct node *n);

/* Finds or makes the account of a client that is let in; topics and rpc of the session count there from now on. MACULA_ENOMEM.
 */
int account_join(struct session *s);
/* Before the account of who asks to be let in is joined: 0, or MACULA_RATE_LIMITED with *ret_text, as it has made too many
 * connections that were over soon. Cheap, so that it may stand before all that is not. */
int account_may_come(struct session *s, const char **ret_text);
/* The session ends, and still has its grant: counts it if it was over soon. Keys that are known, by pass or access file, count
 * for themselves; others, of which anybody may make as many as they like, for their address. */
void account_ends(struct session *s);
/* Its packets are not read, as it has sent too many that moved nothing: logs it, and tells the client. */
void account_limited(struct session *s);
/* The session's end, after all that it had has been freed; harmless when repeated. */
void account_leave(struct session *s);

/* Whose retained messages they are, by the id that the owner had before a restart; NULL: nobody's, or there is no room. */
struct retained_owner *account_owner(struct node *n, struct slice id);

/* The quota that holds for a session; QUOTA_NONE: none. */
uint32_t account_quota(const struct session *s, enum quota q);
/* Whether one more fits: 0, or MACULA_QUOTA_REACHED with *ret_text (as long as no other function of this room is called), which
 * is counted and logged. Not for QUOTA_MESSAGES. beside: how many that are counted already are about to go. */
int account_has_room(struct session *s, enum quota q, uint32_t beside, const char **ret_text);
/* Counts and logs that the session's share of what is retained was refused. */
void account_full(struct session *s, const char **ret_text);

/* Whether a frame of this session must wait for tokens, or for the next turn; else it is paid. */
bool account_holds_back(struct session *s, const struct frame *f);
/* What a frame cost beyond what account_holds_back took, in tokens. */
void account_charge(struct session *s, double tokens);
/* The same, and whether the session must wait now. */
bool account_owes(struct session *s, double tokens);
/* Appends the session to those of its account that wait. MACULA_ENOMEM. */
int account_wait(struct session *s);
/* Whether it has tokens, and has not had its share of this turn. */
bool account_may_go_on(struct node *n, struct account *a);
/* An account whose time has come and whose sessions can be read on, once in each turn; NULL: none. It is to be handed to
 * account_waits after that. */
struct account *account_due(struct node *n);
void account_waits(struct node *n, struct account *a);
nanotime account_deadline(const struct node *n);

/* Seconds that this publisher may still wait for this reader while others go hungry (flow/budget.h); of a reader that is
 * another node the publisher's account alone decides, of a publisher at another node (from NULL) the reader's. Who has shown
 * no key has its waits for itself. kept: the reader is behind by a burst only. account_waited: it did, since then. */
struct own_flow *account_own(struct session *s); /* of its own, made at first use; NULL: no memory */
double account_may_wait(struct session *from, struct session *reader, enum budget_kind kind, bool kept);
void account_waited(struct session *from, struct session *reader, enum budget_kind kind, nanotime since);
void account_unpaid(struct session *s, const struct frame *f); /* gives back what account_holds_back took, as the frame waits */

void account_tick(struct node *n); /* each turn, at its begin */

/* O(accounts and sessions and retained messages). */
const char *account_check(const struct node *n);
size_t accounts_owned(const struct node *n);

#endif
