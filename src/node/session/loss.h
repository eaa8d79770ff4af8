/* What a session lost of what others published: counted, told to it (NOTICE `dropped`) and logged, each at most once a second,
 * a second after the first at the latest. */
#ifndef NODE_SESSION_LOSS_H
#define NODE_SESSION_LOSS_H

#include "node/state.h"

/* One message was dropped for it, as it has not read those before. */
void loss_note(struct session *s);
/* Tells and logs what it has not been told yet; if its session is over it is only logged. */
void loss_say(struct session *s);

#endif
