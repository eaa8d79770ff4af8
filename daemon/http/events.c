/* GET /sub/PATTERN: server-sent events, without an end. GET /last/PATTERN: a JSON list of retained messages. Both are written
 * as they are read, out of a stream of the door (node/doors/http.h); while there is nothing, the connection is suspended. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "daemon/http/answer.h"
#include "daemon/http/state.h"
#include "daemon/http/who.h"
#include "node/doors/http_text.h"

#define BLOCK 4096 /* bytes: libmicrohttpd reads at least so many at a time */

struct reader {
  struct http_request *r;
  struct http_stream *stream;
  bool last, opened;
  bool put_off; /* its turn was over; it is among the first of the next */
  int err;      /* of opening it, with */
  struct http_text code, text;
};

static const char *type_of(const struct reader *e) { return e->last ? "application/json" : "text/event-stream; charset=utf-8"; }

/* ---- of the door -----------------------------------------------------------------------------------------------------------
 */
static void on_opened(void *ctx, const struct http_result *result) {
  struct reader *e = ctx;
  e->opened = true;
  e->err = result->err;
  http_text_bytes(&e->code, result->code.p, result->code.n);
  http_text_bytes(&e->text, result->text.p, result->text.n);
  http_resume(e->r);
}

static void on_ready(void *ctx) { http_resume(((struct reader *)ctx)->r); }

static void reader_over(struct http_request *r) {
  struct reader *e = r->own;
  http_stream_free(e->stream, io_now());
  io_loop_wake(r->http->loop);
  http_text_done(&e->code);
  http_text_done(&e->text);
  mem_free(node_http_mem(r->http->node), e);
}

/* ---- of libmicrohttpd ------------------------------------------------------------------------------------------------------
 */
/* Writing text for many takes long: whoever comes when the time of this turn is used up is among the first of the next one, and
 * whoever was served meanwhile comes after these. One is served in each turn. */
static bool put_off(struct reader *e) {
  struct http *h = e->r->http;
  bool was = e->put_off;
  e->put_off = false;
  if (was && h->first) h->first--;
  if (h->closing || !h->served || (io_now() < h->turn_end && (was || !h->first))) {
    h->served = true;
    return false;
  }
  e->put_off = true;
  h->put_off++;
  (void)http_suspend(e->r);
  http_resume(e->r);
  return true;
}

static ssize_t on_read(void *ctx, uint64_t pos, char *buf, size_t max) {
  struct reader *e = ctx;
  struct http_request *r = e->r;
  bool over;
  (void)pos;
  if (http_is_gone(r)) return MHD_CONTENT_READER_END_WITH_ERROR;
  if (put_off(e)) return 0;
  size_t n = http_stream_read(e->stream, buf, max, io_now(), &over);
  r->visitor->since = io_now();
  io_loop_wake(r->http->loop); /* more may go on now */
  if (n) return (ssize_t)n;
  if (over && http_stream_is_cut(e->stream))
    return MHD_CONTENT_READER_END_WITH_ERROR; /* not by a last chunk, as if it were all */
  if (over || r->http->closing) return MHD_CONTENT_READER_END_OF_STREAM;
  (void)http_suspend(r);
  return 0;
}

/* It is opened all the same, so that whoever may not read it is told so. */
static enum MHD_Result answer_head(struct http_request *r) {
  struct MHD_Response *made = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
  if (made) MHD_add_response_header(made, MHD_HTTP_HEADER_CONTENT_TYPE, type_of(r->own));
  r->go_on = NULL;
  return http_answer_response(r, MHD_HTTP_OK, made);
}

static enum MHD_Result begin(struct http_request *r) {
  struct reader *e = r->own;
  if (!e->opened) return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "shutting_down: HTTP is being closed");
  if (e->err) {
    struct slice code = e->code.n ? slice_of(e->code.p, e->code.n) : slice_str(macula_err_name(e->err)),
                 text = e->text.n ? slice_of(e->text.p, e->text.n) : slice_str(macula_err_text(e->err));
    return http_error(r, http_status_of(e->err), code, text, "");
  }
  if (r->method == HTTP_HEAD) return answer_head(r);
  struct MHD_Response *made = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, on_read, e, NULL);
  if (!made) return MHD_NO;
  MHD_set_connection_option(r->c, MHD_CONNECTION_OPTION_TIMEOUT, 0u); /* http_sweep looks at who reads nothing */
  MHD_add_response_header(made, MHD_HTTP_HEADER_CONTENT_TYPE, type_of(e));
  MHD_add_response_header(made, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
  if (!e->last) MHD_add_response_header(made, "X-Accel-Buffering", "no"); /* a proxy passes each event on at once */
  r->go_on = NULL;
  return http_answer_response(r, MHD_HTTP_OK, made);
}

static int open_stream(struct http_request *r, struct reader *e, const struct http_stream_options *o,
                       const struct http_shown *s) {
  struct http_stream_owner owner = {.opened = on_opened, .ready = on_ready, .ctx = e};
  return http_stream_new(r->http->node, &s->login, o, &owner, io_now(), &e->stream);
}

static enum MHD_Result stream(struct http_request *r, bool last) {
  struct mem *mem = node_http_mem(r->http->node);
  struct http_stream_options o = {.pattern = slice_str(r->rest), .last = last, .gap = http_header(r, "Last-Event-ID") != NULL};
  struct http_shown s;
  struct http_refusal refusal;
  const char *full, *why = http_rest_fault(r);
  if (why) return http_refuse(r, MHD_HTTP_BAD_REQUEST, why);
  if (!http_shown_read(r, &s, &refusal)) return http_refuse(r, refusal.status, refusal.text);
  if (s.operator&& !s.cookie && !node_http_is_open(r->http->node)) {
    http_shown_done(&s);
    return http_refuse(r, MHD_HTTP_FORBIDDEN, HTTP_TOKEN_IS_FOR_API);
  }
  if ((full = http_stay(r))) {
    http_shown_done(&s);
    return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, full);
  }
  struct reader *e = mem_calloc(mem, 1, sizeof *e);
  if (e) *e = (struct reader){.r = r, .last = last, .code.mem = mem, .text.mem = mem};
  int err = e ? open_stream(r, e, &o, &s) : MACULA_ENOMEM;
  http_shown_done(&s);
  if (err) {
    mem_free(mem, e);
    return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "out_of_memory: there is no room for another session: http_pool");
  }
  r->own = e;
  r->over = reader_over;
  r->go_on = begin;
  io_loop_wake(r->http->loop);
  return e->opened ? begin(r) : http_suspend(r);
}

enum MHD_Result http_subscribe(struct http_request *r) { return stream(r, false); }
enum MHD_Result http_last(struct http_request *r) { return stream(r, true); }
