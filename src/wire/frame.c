#include "wire/frame.h"

#include "base/err.h"

void framer_init(struct framer *f, struct mem *mem, uint32_t max_payload) {
  *f = (struct framer){.mem = mem, .max_payload = max_payload};
}

void framer_done(struct framer *f) {
  mem_free(f->mem, f->buf);
  f->buf = NULL;
  f->have = f->need = f->cap = 0;
}

static int check(const struct framer *f, const uint8_t *h) {
  if (h[0] != FRAME_VERSION) return MACULA_UNSUPPORTED_VERSION;
  if (frame_payload_len(h) > f->max_payload) return MACULA_FRAME_TOO_LARGE;
  return 0;
}

static int gather(struct framer *f, const uint8_t *p, uint32_t n) {
  if (f->have + n > f->cap) {
    uint32_t cap = f->cap ? f->cap : 512;
    while (cap < f->have + n) cap *= 2;
    if (cap > f->need) cap = f->need;
    uint8_t *buf = mem_realloc(f->mem, f->buf, cap);
    if (!buf) return MACULA_ENOMEM;
    f->buf = buf;
    f->cap = cap;
  }
  memcpy(f->buf + f->have, p, n);
  f->have += n;
  return 0;
}

bool framer_skip(struct framer *f, struct slice *in, uint32_t most) {
  const uint8_t *header = f->have ? f->hdr : in->p;
  if (frame_payload_len(header) > most) return false;
  f->skip = frame_payload_len(header);
  if (!f->have) {
    in->p += FRAME_HEADER_LEN;
    in->n -= FRAME_HEADER_LEN;
  }
  f->have = 0;
  return true;
}

static void skip(struct framer *f, struct slice *in) {
  uint32_t n = f->skip < in->n ? f->skip : (uint32_t)in->n;
  f->skip -= n;
  in->p += n;
  in->n -= n;
}

int framer_next(struct framer *f, struct slice *in, struct frame *ret_frame) {
  int err;
  if (f->skip) skip(f, in);
  if (f->need && f->have == f->need) framer_done(f); /* the frame that the last call returned */
  if (f->have == 0 && in->n >= FRAME_HEADER_LEN) {
    if ((err = check(f, in->p)) != 0) return err;
    size_t whole = FRAME_HEADER_LEN + (size_t)frame_payload_len(in->p);
    if (in->n >= whole) {
      *ret_frame = (struct frame){in->p[1], {in->p + FRAME_HEADER_LEN, whole - FRAME_HEADER_LEN}};
      in->p += whole;
      in->n -= whole;
      return 1;
    }
  }
  if (in->n == 0) return 0;
  if (f->need == 0) { /* the header first, into its own place: an announced length costs nothing */
    uint32_t n = FRAME_HEADER_LEN - f->have;
    if (n > in->n) n = (uint32_t)in->n;
    memcpy(f->hdr + f->have, in->p, n);
    f->have += n;
    in->p += n;
    in->n -= n;
    if (f->have < FRAME_HEADER_LEN) return f->hdr[0] == FRAME_VERSION ? 0 : MACULA_UNSUPPORTED_VERSION;
    if ((err = check(f, f->hdr)) != 0) return err;
    f->need = FRAME_HEADER_LEN + frame_payload_len(f->hdr);
    f->have = 0;
    if ((err = gather(f, f->hdr, FRAME_HEADER_LEN)) != 0) return err;
  }
  uint32_t n = f->need - f->have;
  if (n > in->n) n = (uint32_t)in->n;
  if (n && (err = gather(f, in->p, n)) != 0) return err;
  in->p += n;
  in->n -= n;
  if (f->have < f->need) return 0;
  *ret_frame = (struct frame){f->buf[1], {f->buf + FRAME_HEADER_LEN, f->need - FRAME_HEADER_LEN}};
  return 1;
}
