#include "wire/cursor.h"

static uint64_t be(const uint8_t *p, unsigned n) {
  uint64_t v = 0;
  for (unsigned i = 0; i < n; i++) v = v << 8 | p[i];
  return v;
}

/* One value's head: what it is and how much follows. */
enum kind { K_UINT, K_NEG, K_FLOAT, K_NIL, K_BOOL, K_STR, K_BIN, K_EXT, K_ARRAY, K_MAP };
struct head {
  enum kind kind;
  uint64_t value; /* integer, boolean, bytes or elements */
};

static bool take(struct reader *r, struct head *h) {
  if (r->bad || r->p >= r->end || ++r->elements > CURSOR_MAX_ELEMENTS) goto bad;
  uint8_t c = *r->p++;
  unsigned n = 0; /* bytes of the number that follows */
  size_t extra = 0;
  if (c < 0x80) {
    *h = (struct head){K_UINT, c};
  } else if (c < 0x90) {
    *h = (struct head){K_MAP, c & 15};
  } else if (c < 0xa0) {
    *h = (struct head){K_ARRAY, c & 15};
  } else if (c < 0xc0) {
    *h = (struct head){K_STR, c & 31};
  } else if (c >= 0xe0) {
    *h = (struct head){K_NEG, 0};
  } else {
    static const uint8_t kinds[32] = {K_NIL,   0,      K_BOOL, K_BOOL, K_BIN,  K_BIN, K_BIN,   K_EXT,   K_EXT, K_EXT, K_FLOAT,
                                      K_FLOAT, K_UINT, K_UINT, K_UINT, K_UINT, K_NEG, K_NEG,   K_NEG,   K_NEG, K_EXT, K_EXT,
                                      K_EXT,   K_EXT,  K_EXT,  K_STR,  K_STR,  K_STR, K_ARRAY, K_ARRAY, K_MAP, K_MAP};
    static const uint8_t sizes[32] = {0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8,
                                      1, 2, 4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
    if (c == 0xc1) goto bad;
    n = sizes[c - 0xc0];
    if ((size_t)(r->end - r->p) < n) goto bad;
    h->kind = (enum kind)kinds[c - 0xc0];
    h->value = h->kind == K_FLOAT ? 0 : be(r->p, n);
    if (h->kind == K_NEG && !(r->p[0] & 0x80)) h->kind = K_UINT; /* a positive number in a signed form */
    if (h->kind == K_BOOL) h->value = c & 1;
    if (c >= 0xd4 && c <= 0xd8) h->value = 1u << (c - 0xd4);
    if (h->kind == K_EXT) extra = 1;
    r->p += n;
  }
  size_t left = (size_t)(r->end - r->p);
  if ((h->kind == K_STR || h->kind == K_BIN || h->kind == K_EXT) && (left < extra || h->value > left - extra)) goto bad;
  if ((h->kind == K_ARRAY && h->value > left) || (h->kind == K_MAP && h->value > left / 2)) goto bad; /* a length that lies */
  return true;
bad:
  r->bad = true;
  return false;
}

uint32_t reader_map(struct reader *r) {
  struct head h;
  if (take(r, &h) && h.kind == K_MAP) return (uint32_t)h.value;
  r->bad = true;
  return 0;
}

uint32_t reader_array(struct reader *r) {
  struct head h;
  if (take(r, &h)) {
    if (h.kind == K_ARRAY) return (uint32_t)h.value;
    if ((h.kind == K_STR || h.kind == K_BIN) && h.value == 0) return 0;
  }
  r->bad = true;
  return 0;
}

struct slice reader_text(struct reader *r) {
  struct head h;
  if (take(r, &h) && (h.kind == K_STR || h.kind == K_BIN)) {
    struct slice s = {r->p, (size_t)h.value};
    r->p += h.value;
    return s;
  }
  r->bad = true;
  return SLICE_NONE;
}

uint64_t reader_uint(struct reader *r) {
  struct head h;
  if (take(r, &h) && h.kind == K_UINT) return h.value;
  r->bad = true;
  return 0;
}

bool reader_bool(struct reader *r) {
  struct head h;
  if (take(r, &h) && (h.kind == K_BOOL || h.kind == K_NIL)) return h.kind == K_BOOL && h.value;
  r->bad = true;
  return false;
}

bool reader_at_nil(const struct reader *r) { return r->p < r->end && *r->p == 0xc0; }

struct slice reader_raw(struct reader *r, uint8_t depth) {
  uint64_t left[CURSOR_MAX_DEPTH + 1]; /* values still to come on each open level */
  const uint8_t *start = r->p;
  unsigned level = 0;
  left[0] = 1;
  for (;;) {
    while (left[level] == 0) {
      if (level == 0) return (struct slice){start, (size_t)(r->p - start)};
      level--;
    }
    left[level]--;
    struct head h;
    if (!take(r, &h)) return SLICE_NONE;
    switch (h.kind) {
    case K_STR:
    case K_BIN:
      r->p += h.value;
      break;
    case K_EXT:
      r->p += h.value + 1;
      break;
    case K_ARRAY:
    case K_MAP:
      if (depth + level + 1 > CURSOR_MAX_DEPTH) {
        r->bad = true;
        return SLICE_NONE;
      }
      left[++level] = h.kind == K_MAP ? 2 * h.value : h.value;
      break;
    case K_UINT:
    case K_NEG:
    case K_FLOAT:
    case K_NIL:
    case K_BOOL:
      break;
    }
  }
}

static void put(struct writer *w, const void *p, size_t n) {
  if (w->p && w->len + n <= w->cap && n) memcpy(w->p + w->len, p, n);
  w->len += n;
}

static void head(struct writer *w, uint8_t code, uint64_t v, unsigned n) {
  uint8_t b[9] = {code};
  for (unsigned i = 0; i < n; i++) b[1 + i] = (uint8_t)(v >> 8 * (n - 1 - i));
  put(w, b, 1 + n);
}

void writer_map(struct writer *w, uint32_t n) {
  if (n < 16)
    head(w, (uint8_t)(0x80 | n), 0, 0);
  else if (n < 65536)
    head(w, 0xde, n, 2);
  else
    head(w, 0xdf, n, 4);
}

void writer_array(struct writer *w, uint32_t n) {
  if (n < 16)
    head(w, (uint8_t)(0x90 | n), 0, 0);
  else if (n < 65536)
    head(w, 0xdc, n, 2);
  else
    head(w, 0xdd, n, 4);
}

void writer_bin(struct writer *w, struct slice s) {
  if (s.n < 256)
    head(w, 0xc4, s.n, 1);
  else if (s.n < 65536)
    head(w, 0xc5, s.n, 2);
  else
    head(w, 0xc6, s.n, 4);
  put(w, s.p, s.n);
}

void writer_uint(struct writer *w, uint64_t v) {
  if (v < 128)
    head(w, (uint8_t)v, 0, 0);
  else if (v < 256)
    head(w, 0xcc, v, 1);
  else if (v < 65536)
    head(w, 0xcd, v, 2);
  else if (v <= UINT32_MAX)
    head(w, 0xce, v, 4);
  else
    head(w, 0xcf, v, 8);
}

void writer_bool(struct writer *w, bool v) { head(w, v ? 0xc3 : 0xc2, 0, 0); }

void writer_raw(struct writer *w, struct slice s) { put(w, s.p, s.n); }
