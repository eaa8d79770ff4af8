/* Frames: the 8-byte header, and their reassembly from a stream that may be cut anywhere. */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include "base/mem.h"
#include "base/slice.h"

#define FRAME_VERSION 0x01
#define FRAME_HEADER_LEN 8
#define FRAME_MAX_PAYLOAD (1024u * 1024u) /* default limit of the payload in bytes; a frame is header + payload */

struct frame {
  uint8_t type;
  struct slice payload; /* one MessagePack map */
};

/* Bytes of payload that a header announces. */
static inline uint32_t frame_payload_len(const uint8_t header[FRAME_HEADER_LEN]) {
  return (uint32_t)header[4] << 24 | (uint32_t)header[5] << 16 | (uint32_t)header[6] << 8 | header[7];
}

/* Writes the header of a frame with n bytes of payload. */
static inline void frame_header(uint8_t ret_header[FRAME_HEADER_LEN], uint8_t type, uint32_t n) {
  const uint8_t header[FRAME_HEADER_LEN] = {FRAME_VERSION,     type,      0, 0, (uint8_t)(n >> 24), (uint8_t)(n >> 16),
                                            (uint8_t)(n >> 8), (uint8_t)n};
  memcpy(ret_header, header, sizeof header);
}

/* Reassembles one stream. Holds nothing while frames arrive whole: a frame that lies complete in the input is returned as a
 * view of the input. A frame in parts is gathered in a buffer that grows with what has arrived (never with what was
 * announced), so a lying length costs nothing. */
struct framer {
  struct mem *mem;
  uint32_t max_payload;
  uint32_t have; /* bytes of the frame gathered so far, header included */
  uint32_t need; /* bytes of the whole frame, 0 while the header is incomplete */
  uint32_t cap;
  uint32_t skip; /* bytes of a frame that is left out, still to come */
  uint8_t hdr[FRAME_HEADER_LEN];
  uint8_t *buf;
};

void framer_init(struct framer *f, struct mem *mem, uint32_t max_payload);
void framer_done(struct framer *f);
/* Takes bytes from *in (advancing it). Returns 1 and *ret_frame when a frame is complete: the view is valid until the next
 * call on f or until the input goes away; 0 when the input is used up; or MACULA_UNSUPPORTED_VERSION, MACULA_FRAME_TOO_LARGE,
 * MACULA_ENOMEM, after which the stream cannot be read any further. The gather buffer of a returned frame is freed by the
 * next call or by framer_done. */
int framer_next(struct framer *f, struct slice *in, struct frame *ret_frame);
/* After MACULA_FRAME_TOO_LARGE, with the same input: leaves that frame out, if its payload has at most so many bytes, and
 * reading goes on behind it. Nothing of it is held. */
bool framer_skip(struct framer *f, struct slice *in, uint32_t most);
/* Bytes of an incomplete frame held at the moment. */
static inline size_t framer_held(const struct framer *f) { return f->have; }

#endif
