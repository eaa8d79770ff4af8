/* Patterns of topics in stored form (wire/names.h): what they match, and which is within which. Matching is case sensitive,
 * byte by byte. */
#ifndef WIRE_PATTERN_H
#define WIRE_PATTERN_H

#include "base/slice.h"

/* Whether a stored pattern matches a stored topic. The reference for the index; linear in segments, several `**` included. */
bool pattern_match(struct slice pattern, struct slice topic);
/* The same; adds to *steps what it took, segments compared: up to NAME_MAX_SEGMENTS squared, a quarter of that at worst. */
bool pattern_match_steps(struct slice pattern, struct slice topic, uint32_t *steps);
/* Whether a stored pattern holds a wildcard segment. */
bool pattern_is_wild(struct slice pattern);
/* Whether `outer` matches every topic that `inner` matches. Exact for topics of any length. As topics have at most 32 segments,
 * the answer is false for a few pairs that are contained only because of that limit. Compares at most NAME_MAX_SEGMENTS squared
 * segments. */
bool name_pattern_contains(struct slice outer, struct slice inner);

#endif
