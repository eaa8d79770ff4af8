/* Keys for envelopes that were forgotten while the other side may still use them.
 *
 * A node forgets keys when it has none left to give (MAX_SEALED), or a peer was idle for long. What comes sealed with one
 * cannot be opened; so the two agree anew (seal.c), and then the one who has forgotten says, sealed under the new key, which
 * keys it has and what it opened under those that it had: the windows of their sequences, which it keeps of the last
 * MAX_FORGOTTEN. So the other one knows of each envelope whether it was opened: one that was not never will be, however often
 * it comes again, since the key is gone, and what was in it may be sent anew. Where the windows are not known any more, or the
 * other one runs anew, nothing can be proved, and what is pending has failed as if a link had broken. */
#ifndef NODE_PEERS_FORGOT_H
#define NODE_PEERS_FORGOT_H

#include "node/state.h"

/* Keys that `before` has and `after` (NULL: nothing) has not are forgotten from now on. Without memory nothing is kept of them.
 */
void forgot_keys(struct peer *p, const struct agree *before, const struct agree *after);
/* Fills a confirmation with what is to be said to this peer, if there is anything; ret_buf must stay until it is encoded. */
struct forgot_buf {
  uint8_t has[AGREE_KEYS * AGREE_NAME_LEN], past[AGREE_KEYS * AGREE_PAST_LEN];
};
bool forgot_say(struct peer *p, struct wire_agree *m, struct forgot_buf *ret_buf);
/* The peer's confirmation, which its seal has proved. */
void forgot_heard(struct peer *p, struct slice seal, struct slice payload);
size_t forgot_owned(const struct node *n);
void forgot_done(struct node *n);

#endif
