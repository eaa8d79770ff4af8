#include "wire/group.h"

#include "base/err.h"

int group_key(struct slice name, struct slice pattern, char ret_key[NAME_MAX_LEN + 1], size_t *ret_len) {
  char segment[NAME_MAX_LEN + 1];
  size_t len, segments = 2;
  if (!name.n || name_segment_from(name, segment, &len)) return MACULA_INVALID_TOPIC;
  for (size_t i = 0; i < pattern.n; i++) segments += pattern.p[i] == '.';
  if (segments > NAME_MAX_SEGMENTS || pattern.n + 2 + len > NAME_MAX_LEN) return MACULA_INVALID_TOPIC;
  memcpy(ret_key, pattern.p, pattern.n);
  memcpy(ret_key + pattern.n, ".#", 2);
  memcpy(ret_key + pattern.n + 2, segment, len + 1);
  *ret_len = pattern.n + 2 + len;
  return 0;
}

/* Where the last segment begins, if it is a group's; else 0. */
static size_t mark(struct slice key) {
  size_t at = key.n;
  while (at && key.p[at - 1] != '.') at--;
  return at > 1 && at + 1 < key.n && key.p[at] == '#' ? at : 0;
}

struct slice group_pattern(struct slice key) {
  size_t at = mark(key);
  return at ? slice_of(key.p, at - 1) : key;
}

struct slice group_name(struct slice key) {
  size_t at = mark(key);
  return at ? slice_of(key.p + at + 1, key.n - at - 1) : SLICE_NONE;
}

bool group_is_key(struct slice key) {
  struct slice name = group_name(key), pattern = group_pattern(key);
  char value[NAME_MAX_LEN + 1], made[NAME_MAX_LEN + 1], stored[NAME_MAX_LEN + 1];
  size_t len, stored_len;
  if (!name.n || key.n > NAME_MAX_LEN) return false;
  if (name_pattern(pattern, stored, &stored_len) || !slice_eq(pattern, slice_of(stored, stored_len))) return false;
  if (name_topic(name, stored, &stored_len) || !slice_eq(name, slice_of(stored, stored_len))) return false;
  name_segment_value(name, value, &len);
  return !group_key(slice_of(value, len), pattern, made, &len) && slice_eq(key, slice_of(made, len));
}
