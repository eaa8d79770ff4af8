#include <string.h>

#include "lib/lib.h"

#define OPTIONS_MOST 4096 /* bytes; larger than any struct of options */

int options_take(const char *name, const void *from, void *ret, size_t known) {
  const uint8_t *p = from;
  size_t size = known;
  if (p) memcpy(&size, p, sizeof size);
  if (size < sizeof size || size > OPTIONS_MOST)
    return fail(MACULA_EINVAL, "%s: its size is %zu; begin it with MACULA_INIT(%s)", name, size, name);
  for (size_t i = known; i < size; i++)
    if (p[i])
      return fail(MACULA_EINVAL, "%s: it asks for what libmacula %s does not know; update the library", name, MACULA_VERSION);
  memset(ret, 0, known);
  if (p) memcpy(ret, p, size < known ? size : known);
  memcpy(ret, &known, sizeof known);
  return 0;
}
