/* Answers that are made in many places. Their texts are views of the arguments, or static. */
#ifndef WIRE_ANSWER_H
#define WIRE_ANSWER_H

#include "wire/msg.h"

/* err 0: it is done. text NULL: the code's own. */
struct msg answer_ack(uint64_t ref, int err, const char *text);
/* extra: the receiver understands more fields than code and message. */
struct msg answer_error(struct slice call_id, int err, const char *text, bool extra);

#endif
