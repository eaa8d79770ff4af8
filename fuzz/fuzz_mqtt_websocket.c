/* WebSocket: a handshake and frames that are cut anywhere give what they give in one piece, and what libwslay makes of them.
 * Input: the size of the pieces, then the stream; without a handshake where the first byte's highest bit is set. */
#include <stdlib.h>

#include "base/err.h"
#include "mqtt/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok) {
  if (!ok) abort();
}

struct outcome {
  uint64_t digest; /* of the stream */
  uint64_t controls;
  int end, code, close; /* close: the code that the peer gave */
  int unfinished;       /* it ends within a header, or a control frame */
};

static uint64_t mix(uint64_t h, struct slice s) {
  for (size_t i = 0; i < s.n; i++) h = (h ^ s.p[i]) * UINT64_C(1099511628211);
  return h;
}

#ifdef HAVE_WSLAY
#include "wslay.h"
#endif

static void frames(const uint8_t *in, size_t n, size_t piece, struct outcome *o) {
  struct ws_decoder d = {0};
  struct ws_event e;
  for (size_t at = 0; at < n && o->end >= 0; at += piece) {
    size_t left = n - at < piece ? n - at : piece;
    uint8_t *copy = malloc(left), *p = copy;
    require(copy != NULL);
    memcpy(copy, in + at, left);
    while ((o->end = ws_next(&d, &p, &left, &e)) == 1) {
      require(e.opcode == WS_BINARY || e.opcode == WS_PING || e.opcode == WS_PONG || e.opcode == WS_CLOSE);
      if (e.opcode == WS_BINARY)
        o->digest = mix(o->digest, e.data);
      else
        o->controls = mix(o->controls * 31 + e.opcode + e.code, e.data);
      if (e.opcode == WS_CLOSE) o->close = e.code;
    }
    if (o->end < 0) {
      require(e.why && e.code >= 1000);
      o->code = e.code;
    } else {
      require(left == 0);
    }
    free(copy);
  }
  o->unfinished = d.in_payload ? d.opcode & 8 : d.header_len > 0;
}

static struct outcome run(const uint8_t *in, size_t n, size_t piece, int shakes_hands) {
  static const struct ws_policy policy = {"/mqtt", "https://panel.example", "n"};
  struct outcome o = {.digest = UINT64_C(14695981039346656037)};
  static struct ws_handshake h;
  size_t seen = 0;
  int got = 0;
  if (shakes_hands) {
    while (got == 0 && seen < n) {
      size_t have = n - seen < piece ? n : seen + piece;
      got = ws_handshake_read(slice_of(in, have), seen, &policy, &h);
      seen = have;
    }
    o.code = got ? h.status : 0;
    require(got == 0 || (h.answer_len > 0 && h.answer_len < WS_ANSWER_MAX && h.size <= n));
    if (got <= 0) return o;
    in += h.size;
    n -= h.size;
  }
  frames(in, n, piece, &o);
#ifdef HAVE_WSLAY
  ask_wslay(in, n, &o);
#endif
  return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  int shakes_hands = !(data[0] & 0x80);
  struct outcome whole = run(data + 1, size - 1, size - 1, shakes_hands);
  struct outcome cut = run(data + 1, size - 1, (size_t)(data[0] & 0x7f) + 1, shakes_hands);
  /* What is too long is refused when so much is there, which may be before or after its end. */
  if (whole.code == 431 || cut.code == 431) return 0;
  require(whole.digest == cut.digest && whole.controls == cut.controls && whole.code == cut.code && whole.end == cut.end);
  return 0;
}
