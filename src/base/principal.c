#include "base/principal.h"

#include <assert.h>

#include "base/err.h"
#include "base/utf8.h"

static_assert(PRINCIPAL_USER_MAX >= ID_HEX_LEN, "a key's id fits as text");

size_t principal_write(const struct principal_name *p, uint8_t ret_bytes[PRINCIPAL_LEN_MAX]) {
  assert(p->name.n <= PRINCIPAL_USER_MAX);
  ret_bytes[0] = (uint8_t)p->kind;
  if (p->name.n) memcpy(ret_bytes + 1, p->name.p, p->name.n);
  return 1 + p->name.n;
}

static bool is_user(struct slice name) {
  if (!name.n || name.n > PRINCIPAL_USER_MAX) return false;
  for (size_t at = 0, len; at < name.n; at += len) {
    len = utf8_len(name.p + at, name.n - at);
    if (!len || utf8_is_control(name.p + at, len)) return false;
  }
  return true;
}

int principal_read(struct slice bytes, struct principal_name *ret) {
  if (!bytes.n) return MACULA_BAD_FRAME;
  struct slice name = slice_of(bytes.p + 1, bytes.n - 1);
  bool ok = true;
  enum principal_kind kind = bytes.p[0] <= PRINCIPAL_ANONYMOUS ? (enum principal_kind)bytes.p[0] : PRINCIPAL_UNKNOWN;
  switch (kind) {
  case PRINCIPAL_UNKNOWN:
    name = SLICE_NONE;
    break;
  case PRINCIPAL_KEY:
    ok = name.n == ID_LEN;
    break;
  case PRINCIPAL_USER:
    ok = is_user(name);
    break;
  case PRINCIPAL_ANONYMOUS:
    ok = !name.n;
    break;
  }
  if (!ok) return MACULA_BAD_FRAME;
  *ret = (struct principal_name){kind, name};
  return 0;
}

void principal_text(const struct principal_name *p, char ret_text[PRINCIPAL_TEXT_LEN]) {
  ret_text[0] = 0;
  if (p->kind == PRINCIPAL_KEY) {
    hex_encode(p->name.p, ID_LEN, ret_text);
  } else if (p->kind == PRINCIPAL_USER) {
    memcpy(ret_text, p->name.p, p->name.n);
    ret_text[p->name.n] = 0;
  }
}

const char *principal_kind_name(enum principal_kind kind) {
  static const char *const names[] = {"unknown", "key", "user", "anonymous"};
  return names[kind <= PRINCIPAL_ANONYMOUS ? kind : PRINCIPAL_UNKNOWN];
}
