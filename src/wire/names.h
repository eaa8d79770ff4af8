/* Names of topics, procedures and realms, and patterns of topics: docs/protocol.md, section 11.
 *
 * A name is 1 to 32 segments with dots between them, at most 255 bytes. A segment stands for a value, which may be any bytes,
 * or empty. UTF-8 characters stand for themselves; controls (utf8_is_control), the characters . / % + # * and bytes that are
 * not UTF-8 are written as %HH for each byte, in capitals. A value that is empty or consists of zero bytes (NUL) only has one
 * more %00 than it has bytes. So each value has exactly one spelling, and two names are equal when their bytes are. Realms have
 * no escapes: only A-Z a-z 0-9 _ -.
 *
 * Patterns add the whole segments `*` (one segment; `+` is read as `*`) and `**` (zero or more; `#` is read as `**`). On input
 * a slash is accepted as separator and stored as a dot. */
#ifndef WIRE_NAMES_H
#define WIRE_NAMES_H

#include "base/slice.h"

#define NAME_MAX_LEN 255
#define NAME_MAX_SEGMENTS 32

/* Whether a name in stored form is $SYS or below it, where only a node says something, to its own clients of MQTT. */
static inline bool name_is_sys(struct slice name) {
  return name.n >= 4 && memcmp(name.p, "$SYS", 4) == 0 && (name.n == 4 || name.p[4] == '.');
}

/* Which separators of a valid topic are slashes: bit 0 is the first one. */
uint32_t name_slashes(struct slice in);
/* The other way, of the stored form. */
void name_respell(char *name, size_t len, uint32_t slashes);
/* Validates and writes the stored form (slashes to dots) to ret_name, NUL-terminated, its length to ret_len. Return
 * MACULA_INVALID_TOPIC, MACULA_INVALID_PROCEDURE, MACULA_INVALID_REALM; nothing is written then. */
int name_topic(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len);
int name_pattern(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len);
int name_procedure(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len);
int name_realm(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len);
/* For people: which rule a name breaks, where, and what to write instead, in ret_why, which is returned. NULL: none, or err is
 * not about a name. */
enum name_form { NAME_TOPIC, NAME_PATTERN, NAME_PROCEDURE, NAME_REALM, NAME_TEMPLATE };
#define NAME_WHY_LEN 128
const char *name_why(int err, enum name_form form, struct slice in, char ret_why[NAME_WHY_LEN]);
/* com.macula.*: each node answers these procedures itself, and no client can serve them. */
bool name_is_reserved(struct slice procedure);
/* The one segment that stands for this value, whatever it holds; never empty, never a wildcard. MACULA_INVALID_TOPIC: it is
 * longer than a name. */
int name_segment_from(struct slice value, char ret_segment[NAME_MAX_LEN + 1], size_t *ret_len);
/* The value that a segment of a stored name stands for; it may hold zero bytes. */
void name_segment_value(struct slice segment, char ret_value[NAME_MAX_LEN + 1], size_t *ret_len);
/* The first segment of a name, without its dot; moves *name behind it. name->p == NULL: none is left. */
struct slice name_next_segment(struct slice *name);

/* Templates: patterns that differ for each client. The whole segments ${id}, ${user} and ${client} stand for values of the
 * client; other segments with ${ are refused. */
struct name_values {
  struct slice id, user, client; /* p == NULL: the client has none */
};
/* As name_pattern. */
int name_template(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len);
/* Makes a stored pattern from a stored template: each variable becomes one segment for the client's value, which matches only
 * itself. MACULA_ENOTFOUND: the client does not have a value that the template uses. MACULA_INVALID_TOPIC: the pattern would be
 * longer than 255 bytes. */
int name_template_fill(struct slice stored, const struct name_values *values, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len);

#endif
