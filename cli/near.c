/* What is meant by a word that is none: the nearest of those that are. */
#include <string.h>

#include "cli.h"

bool near_has(const char *words, const char *word) {
  size_t n = strlen(word);
  for (const char *at = words; n && at && (at = strstr(at, word)); at += n)
    if ((at == words || at[-1] == ' ') && (!at[n] || at[n] == ' ')) return true;
  return false;
}

bool near_find(const struct cli *cli, const char *word, near_next *next, const void *ctx, char ret_near[NEAR_LEN]) {
  char one[NEAR_LEN];
  size_t len = strlen(word), best = len / 3 + 1 < len / 2 ? len / 3 + 1 : len / 2; /* half of it may be another word */
  bool found = false;
  for (size_t i = 0; next(ctx, i, one); i++) {
    size_t d = len > 2 && strncmp(one, word, len) == 0 ? 0 : cli->program->distance(word, one);
    if (d > best || (d == best && found)) continue;
    best = d;
    found = true;
    memcpy(ret_near, one, NEAR_LEN);
  }
  return found;
}

bool near_next_word(const void *words, size_t i, char ret[NEAR_LEN]) {
  const char *p = words;
  for (; i && p; i--) p = (p = strchr(p, ' ')) ? p + 1 : NULL;
  if (!p || !*p) return false;
  snprintf(ret, NEAR_LEN, "%.*s", (int)strcspn(p, " "), p);
  return true;
}

void near_put_list(const char *words, char *ret_text, size_t size) {
  size_t n = 0;
  char one[NEAR_LEN], more[NEAR_LEN];
  for (size_t i = 0; near_next_word(words, i, one) && n < size; i++)
    n += (size_t)snprintf(ret_text + n, size - n, "%s%s", !i ? "" : near_next_word(words, i + 1, more) ? ", " : " or ", one);
}
