/* POST /pub/TOPIC and POST /call/NAME: through the session of whoever asks (node/doors/http.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "daemon/http/answer.h"
#include "daemon/http/query.h"
#include "daemon/http/state.h"
#include "node/doors/http_text.h"
#include "wire/headers.h"

#define CALL_TIME 5000u           /* ms, as of macula call */
#define CALL_TIME_MOST 300000u    /* ms */
#define CHECKED_MOST (128u << 10) /* bytes of arguments that are looked through: some 3 ms */
#define HEADER_PREFIX "Macula-Header-"

/* A request that the node has: what it answered is kept until libmicrohttpd takes it. */
struct job {
  struct mem *mem;
  struct http_result result; /* with views of: */
  struct http_text code, text, data;
  struct slice items[2 * HEADERS_MOST]; /* headers of a publish */
  char names[HEADERS_BYTES / 4];        /* those of them that are written otherwise */
  size_t used;
  uint32_t count;
  const char *why; /* a header cannot be taken; NULL: all can */
};

static void job_over(struct http_request *r) {
  struct job *j = r->own;
  http_text_done(&j->code);
  http_text_done(&j->text);
  http_text_done(&j->data);
  mem_free(j->mem, j);
}

static struct slice kept(struct http_text *t, struct slice s) {
  http_text_bytes(t, s.p, s.n);
  return slice_of(t->p, t->n);
}

static void on_done(struct http_ask *a, const struct http_result *result) {
  struct http_request *r = container_of(a, struct http_request, ask);
  struct job *j = r->own;
  j->result = *result;
  j->result.code = kept(&j->code, result->code);
  j->result.text = kept(&j->text, result->text);
  j->result.result = kept(&j->data, result->result);
  if (j->code.failed || j->text.failed || j->data.failed) /* a call that has a result ran */
    j->result = (struct http_result){.err = MACULA_ENOMEM,
                                     .may_have_run = a->kind == HTTP_CALL && (!result->err || result->may_have_run)};
  r->answered = true;
  http_resume(r);
}

static struct job *job_new(struct http_request *r) {
  struct mem *mem = node_http_mem(r->http->node);
  struct job *j = mem_calloc(mem, 1, sizeof *j);
  if (!j) return NULL;
  j->mem = j->code.mem = j->text.mem = j->data.mem = mem;
  r->own = j;
  r->over = job_over;
  r->ask.done = on_done;
  return j;
}

/* Who waits that cannot be told why not any more: HTTP is being closed. */
static enum MHD_Result answer_failure(struct http_request *r) {
  const struct http_result *f = &((struct job *)r->own)->result;
  char more[160];
  struct slice code = f->code.n ? f->code : slice_str(macula_err_name(f->err)),
               text = f->text.n ? f->text : slice_str(macula_err_text(f->err));
  snprintf(more, sizeof more, "%s", f->may_have_run ? ",\"may_have_run\":true" : "");
  if (msg_is_partly(&f->part))
    snprintf(more, sizeof more, ",\"partly\":{\"cut\":%llu,\"silent\":%llu,\"unknown\":%llu}", (unsigned long long)f->part.cut,
             (unsigned long long)f->part.silent, (unsigned long long)f->part.unknown);
  return http_error(r, http_status_of(f->err), code, text, more);
}

static enum MHD_Result wait_or(struct http_request *r, http_handler then) {
  r->go_on = then;
  io_loop_wake(r->http->loop);
  return r->answered ? then(r) : http_suspend(r);
}

static enum MHD_Result closing(struct http_request *r) {
  return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "shutting_down: HTTP is being closed; it may have been done");
}

static enum MHD_Result bad(struct http_request *r, const char *why) { return http_refuse(r, MHD_HTTP_BAD_REQUEST, why); }

/* ---- publish ---------------------------------------------------------------------------------------------------------------
 */
static void add_header(struct job *j, struct slice name, const char *value) {
  if (j->count + 2 > 2 * HEADERS_MOST || j->used + name.n > sizeof j->names) {
    j->why = "payload_too_large: a message has at most 64 headers";
    return;
  }
  char *at = j->names + j->used;
  for (size_t i = 0; i < name.n; i++)
    at[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] - 'A' + 'a') : (char)name.p[i];
  j->used += name.n;
  j->items[j->count++] = slice_of(at, name.n);
  j->items[j->count++] = slice_str(value);
}

/* Names of HTTP's headers know no upper and lower case: a native one is in lower case. What curl -d says of itself is none of
 * the message's. */
static enum MHD_Result on_header(void *ctx, enum MHD_ValueKind kind, const char *name, const char *value) {
  static const size_t n = sizeof HEADER_PREFIX - 1;
  struct job *j = ctx;
  (void)kind;
  if (!value) return MHD_YES;
  if (!strcasecmp(name, MHD_HTTP_HEADER_CONTENT_TYPE) && strcasecmp(value, "application/x-www-form-urlencoded") != 0)
    add_header(j, slice_str("macula.content-type"), value);
  if (!strncasecmp(name, HEADER_PREFIX, n) && name[n]) add_header(j, slice_str(name + n), value);
  return MHD_YES;
}

static enum MHD_Result published(struct http_request *r) {
  const struct job *j = r->own;
  if (!r->answered) return closing(r);
  if (j->result.err) return answer_failure(r);
  return http_answer_with(r, MHD_HTTP_OK, "application/json", (char *)"{}\n", false);
}

enum MHD_Result http_publish(struct http_request *r) {
  struct msg_publish m = {.topic = slice_str(r->rest), .payload = slice_of(r->body ? r->body : "", r->body_len)};
  const char *why;
  unsigned qos;
  struct job *j = job_new(r);
  if (!j) return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "out_of_memory: http_pool is used up");
  if ((why = http_rest_fault(r))) return bad(r, why);
  if (!http_query_qos(r, &qos, &why) || !http_query_flag(r, "retain", &m.retain, &why) ||
      !http_query_time(r, "expires", 0, EXPIRES_MOST, &m.expires_ms, &why))
    return bad(r, why);
  m.qos = qos ? 1 : 0;
  m.exactly_once = qos == 2;
  MHD_get_connection_values(r->c, MHD_HEADER_KIND, on_header, j);
  if (j->why) return bad(r, j->why);
  m.headers = (struct msg_list){.count = j->count, .items = j->items};
  r->asked = true;
  http_ask_publish(&r->ask, r->client, &m, io_now());
  return wait_or(r, published);
}

/* ---- call ------------------------------------------------------------------------------------------------------------------
 */
static enum MHD_Result called(struct http_request *r) {
  const struct job *j = r->own;
  if (!r->answered) return closing(r);
  if (j->result.err) return answer_failure(r);
  struct slice result = j->result.result;
  struct MHD_Response *made = MHD_create_response_from_buffer(result.n, (void *)result.p, MHD_RESPMEM_MUST_COPY);
  if (made) MHD_add_response_header(made, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
  return http_answer_response(r, MHD_HTTP_OK, made);
}

enum MHD_Result http_call(struct http_request *r) {
  const char *why, *fault;
  char text[160];
  size_t at;
  uint64_t timeout;
  if (!job_new(r)) return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "out_of_memory: http_pool is used up");
  if ((why = http_rest_fault(r))) return bad(r, why);
  if (!http_query_time(r, "timeout", CALL_TIME, CALL_TIME_MOST, &timeout, &why)) return bad(r, why);
  if (!timeout) return bad(r, "timeout: more than 0 is expected");
  if (r->body_len && r->body_len <= CHECKED_MOST && json_check(slice_of(r->body, r->body_len), &at, &fault)) {
    snprintf(text, sizeof text, "invalid_argument: the body is no JSON: byte %zu: %s", at + 1, fault);
    return bad(r, text);
  }
  r->asked = true;
  http_ask_call(&r->ask, r->client, slice_str(r->rest), r->body_len ? slice_of(r->body, r->body_len) : slice_str("{}"), timeout,
                io_now());
  return wait_or(r, called);
}
