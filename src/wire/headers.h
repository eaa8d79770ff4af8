/* Headers of a message: names and values beside the payload, in their order; a name may come more than once. As a struct
 * msg_list of an even number of texts: name, value, name, value. */
#ifndef WIRE_HEADERS_H
#define WIRE_HEADERS_H

#include "wire/msg.h"

#define HEADERS_MOST 64u    /* of a message */
#define HEADERS_BYTES 16384 /* names and values of a message together */
/* The longest time to live, in ms: 2^32 s, as in MQTT; a longer one is taken for this. */
#define EXPIRES_MOST (UINT64_C(4294967295) * 1000)

/* Takes the next header of a decoded list, or of one with items. False: none is left. */
bool headers_next(struct msg_list *h, struct slice *ret_name, struct slice *ret_value);
/* Whether a message may have them. MACULA_PAYLOAD_TOO_LARGE: too many, or too long; MACULA_EINVAL: a name that is no UTF-8 or
 * holds a zero byte. *ret_text: why, for people. */
int headers_check(struct msg_list h, const char **ret_text);
/* Bytes of the names and values. */
size_t headers_size(struct msg_list h);
/* Whether well-formed UTF-8 without a zero byte, so that it can be a name, or a text elsewhere. */
bool headers_is_text(struct slice s);

#endif
