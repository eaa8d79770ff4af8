/* Names of topics, procedures and realms, and topic patterns: dot-separated segments of A-Z a-z 0-9 _ -, none empty, at most
 * 255 bytes and 32 segments; patterns add the whole segments `*` (one) and `**` (zero or more; `#` is read as `**`). On input a
 * slash is accepted as separator and stored as a dot. Matching is case sensitive. */
#ifndef WIRE_NAMES_H
#define WIRE_NAMES_H

#include "base/slice.h"

#define NAME_MAX_LEN 255
#define NAME_MAX_SEGMENTS 32

/* Validates and writes the stored form (slashes to dots) to ret_name, NUL-terminated, its length to ret_len. Return
 * MACULA_INVALID_TOPIC, MACULA_INVALID_PROCEDURE, MACULA_INVALID_REALM; nothing is written then. */
int name_topic(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len);
int name_pattern(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len);
int name_procedure(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len);
int name_realm(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len);
/* For people: which rule a name breaks, and where, in ret_why, which is returned. NULL: none, or err is not about a name. */
enum name_form { NAME_TOPIC, NAME_PATTERN, NAME_PROCEDURE, NAME_REALM };
#define NAME_WHY_LEN 128
const char *name_why(int err, enum name_form form, struct slice in, char ret_why[NAME_WHY_LEN]);
/* com.macula.*: every node answers these itself, and nobody else serves them. */
bool name_is_reserved(struct slice procedure);
/* Whether a stored pattern matches a stored topic. The reference for the index; linear in segments, several `**` included. */
bool pattern_match(struct slice pattern, struct slice topic);
/* The same; adds to *steps what it took, segments compared: up to NAME_MAX_SEGMENTS squared, a quarter of that at worst. */
bool pattern_match_steps(struct slice pattern, struct slice topic, uint32_t *steps);
/* Whether a stored pattern holds a wildcard segment. */
bool pattern_is_wild(struct slice pattern);

#endif
