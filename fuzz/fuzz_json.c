/* The JSON checker and jansson, a decoder, agree but where they must not: a decoder also refuses numbers that it has no room
 * for and halves of surrogate pairs, and has no limit of ours. */
#include <jansson.h>
#include <stdlib.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has(const char *text, const char *what) { return strstr(text, what) != NULL; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  size_t at = SIZE_MAX;
  const char *why = NULL;
  json_error_t e;
  int err = json_check(slice_of(data, size), &at, &why);
  json_t *j = json_loadb((const char *)data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
  if (err && (at > size || !why)) abort();
  if (j && err && !memchr(data, 0, size)) abort(); /* jansson takes a NUL for the end */
  if (!j && !err && !has(e.text, "integer") && !has(e.text, "number") && !has(e.text, "Unicode")) abort();
  json_decref(j);
  return 0;
}
