/* What libwslay makes of the frames of a client. */
#ifndef FUZZ_WSLAY_H
#define FUZZ_WSLAY_H

#include <wslay/wslay.h>

struct wslay_reader {
  struct outcome *o;
  const uint8_t *p;
  size_t n;
  int is_data, text, half_code;
};

static ssize_t wslay_in(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *user) {
  struct wslay_reader *r = user;
  (void)flags;
  if (!r->n) {
    wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
    return -1;
  }
  if (len > r->n) len = r->n;
  memcpy(buf, r->p, len);
  r->p += len;
  r->n -= len;
  return (ssize_t)len;
}

static void wslay_begin(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_start_arg *a, void *user) {
  struct wslay_reader *r = user;
  (void)ctx;
  r->is_data = !(a->opcode & 8);
  r->text |= a->opcode == WSLAY_TEXT_FRAME;
}

static void wslay_chunk(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_chunk_arg *a, void *user) {
  struct wslay_reader *r = user;
  (void)ctx;
  if (r->is_data) r->o->digest = mix(r->o->digest, slice_of(a->data, a->data_length));
}

static void wslay_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *a, void *user) {
  struct wslay_reader *r = user;
  (void)ctx;
  if (!(a->opcode & 8)) return;
  int closes = a->opcode == WSLAY_CONNECTION_CLOSE;
  if ((r->half_code = closes && a->msg_length == 1)) return;
  size_t skip = closes && a->msg_length ? 2 : 0;
  r->o->controls = mix(r->o->controls * 31 + a->opcode +
                           (!closes         ? 0
                            : a->msg_length ? a->status_code
                                            : WS_NO_CODE),
                       slice_of(a->msg + skip, a->msg_length - skip));
}

/* Against what ours has made of them. Ours refuses text and half a close code, which wslay takes, and refuses a header by its
 * first two bytes, for all of which wslay waits; wslay refuses a length before it has the mask, and a close frame before it has
 * all of it; the close codes 1012 to 1014 are younger than wslay. */
static void ask_wslay(const uint8_t *in, size_t n, const struct outcome *ours) {
  static const struct wslay_event_callbacks cb = {.recv_callback = wslay_in,
                                                  .on_frame_recv_start_callback = wslay_begin,
                                                  .on_frame_recv_chunk_callback = wslay_chunk,
                                                  .on_msg_recv_callback = wslay_message};
  struct outcome theirs = {.digest = UINT64_C(14695981039346656037)};
  struct wslay_reader r = {.o = &theirs, .p = in, .n = n};
  wslay_event_context_ptr ctx;
  require(wslay_event_context_server_init(&ctx, &cb, &r) == 0);
  wslay_event_config_set_no_buffering(ctx, 1);
  wslay_event_config_set_max_recv_msg_length(ctx, INT64_MAX);
  int err = wslay_event_recv(ctx);
  int refused = err || (!wslay_event_get_read_enabled(ctx) && !wslay_event_get_close_received(ctx));
  int waits = !r.n && !refused;
  wslay_event_context_free(ctx);
  if (r.text || r.half_code || (ours->close >= 1012 && ours->close <= 1014)) return;
  require(ours->digest == theirs.digest && ours->controls == theirs.controls);
  require(ours->end < 0 ? refused || waits : !refused || ours->unfinished);
}

#endif
