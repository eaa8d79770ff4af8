/* A stream cut anywhere gives the same frames as the stream in one piece. Input: the size of the pieces, then the stream. */
#include <stdlib.h>

#include "wire/frame.h"

#define FUZZ_MAX_PAYLOAD 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t digest(uint64_t h, const struct frame *f) {
  h = (h ^ f->type) * UINT64_C(1099511628211);
  for (size_t i = 0; i < f->payload.n; i++) h = (h ^ f->payload.p[i]) * UINT64_C(1099511628211);
  return (h ^ f->payload.n) * UINT64_C(1099511628211);
}

/* The digest of all frames of the stream read in pieces; *ret_end is 0 or the error that ended it. */
static uint64_t run(const uint8_t *p, size_t n, size_t piece, int *ret_end) {
  struct mem mem = MEM_INIT("fuzz", 0);
  struct framer f;
  struct frame frame;
  uint64_t h = UINT64_C(14695981039346656037);
  int got = 0;
  framer_init(&f, &mem, FUZZ_MAX_PAYLOAD);
  while (n && got >= 0) {
    struct slice in = {p, piece < n ? piece : n};
    p += in.n;
    n -= in.n;
    while ((got = framer_next(&f, &in, &frame)) == 1) h = digest(h, &frame);
  }
  framer_done(&f);
  if (mem.bytes) abort();
  *ret_end = got;
  return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  int whole_end, cut_end;
  uint64_t whole = run(data + 1, size - 1, size - 1, &whole_end);
  uint64_t cut = run(data + 1, size - 1, (size_t)data[0] + 1, &cut_end);
  /* A wrong version shows in the first byte when the header is incomplete, but in a whole header only when it is complete. */
  if (whole != cut || (whole_end != cut_end && whole_end != 0 && cut_end != 0)) abort();
  return 0;
}
