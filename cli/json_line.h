/* Members of a JSON object as they came: numbers of any length, and texts, byte by byte. */
#ifndef CLI_JSON_LINE_H
#define CLI_JSON_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* The value of `key` in text, which is a JSON object by macula_check_json: a view of it; of several the last. False: there is
 * none, or text is no object. Keys that are written with escapes are not found. */
bool json_line_member(const char *text, size_t len, const char *key, const char **ret_value, size_t *ret_len);
/* Without the blanks between values, so that it stands on one line. */
void json_line_compact(FILE *f, const char *text, size_t len);
/* Bytes of base64 (RFC 4648) with its padding, in place. False: it is none. */
bool json_line_unbase64(char *text, size_t *len);

#endif
