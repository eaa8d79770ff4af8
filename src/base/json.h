/* Whether a text is JSON: the grammar of RFC 8259 and nothing else. How large numbers are read, or which of two equal keys
 * counts, is up to the reader of the text. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/slice.h"

#define JSON_MAX_DEPTH 2048 /* arrays and objects within one another */

/* 0 or MACULA_INVALID_JSON: then *ret_at is the offset of what is wrong and *ret_why static text. Linear; no memory, no
 * recursion.
 */
int json_check(struct slice text, size_t *ret_at, const char **ret_why);

#endif
