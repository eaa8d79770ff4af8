/* Groups of subscribers: of those who subscribe to one pattern as members of one group each message goes to one. In the index
 * of patterns, and between nodes, a group is its pattern with one more segment, `#` and its name: `a.*.#NAME`. No topic has
 * such a segment, and no pattern of a client. */
#ifndef WIRE_GROUP_H
#define WIRE_GROUP_H

#include "wire/names.h"

/* name: any bytes, not empty; pattern: stored form. MACULA_INVALID_TOPIC: there is no name, or both together have more than 255
 * bytes or 32 segments. */
int group_key(struct slice name, struct slice pattern, char ret_key[NAME_MAX_LEN + 1], size_t *ret_len);
/* Whether it is what group_key makes. */
bool group_is_key(struct slice key);
/* The pattern of a key; of what is none, all of it. */
struct slice group_pattern(struct slice key);
/* The name of a key, as a segment; n = 0: it is none. */
struct slice group_name(struct slice key);

#endif
