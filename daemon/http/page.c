#include "daemon/http/page.h"

#include <string.h>

#include "daemon/http/answer.h"
#include "daemon/http/state.h"

/* Nothing is loaded from elsewhere, and nobody else frames it. Connections of its own are of this node alone. */
#define POLICY                                                                                                                 \
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "       \
  "form-action 'none'; frame-ancestors 'none'"

static const struct page_file *find(const char *path) {
  for (const struct page_file *f = page_files; f->path; f++)
    if (!strcmp(path, f->path)) return f;
  return NULL;
}

bool http_page_has(const char *path) { return find(path); }

/* RFC 9110, 13.1.2: a list of tags, or *. */
static bool has_tag(const char *list, const char *tag) { return list && (!strcmp(list, "*") || strstr(list, tag)); }

/* Off this machine only over TLS: what is typed into it, and what it is told, would be read on the way. */
enum MHD_Result http_page(struct http_request *r) {
  static const char *const headers[][2] = {{"Content-Security-Policy", POLICY},
                                           {"X-Content-Type-Options", "nosniff"},
                                           {"Referrer-Policy", "no-referrer"},
                                           {"Cross-Origin-Opener-Policy", "same-origin"},
                                           {"Cross-Origin-Resource-Policy", "same-origin"},
                                           {MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache"}};
  const struct page_file *f = find(r->path);
  if (!f) return http_answer(r, MHD_HTTP_NOT_FOUND, "Not found");
  if (!r->http->cert && !addr_is_loopback(&r->visitor->from))
    return http_refuse(r, MHD_HTTP_FORBIDDEN,
                       "From other machines the page is there over HTTPS alone: set http_tls or http_cert");
  bool same = has_tag(http_header(r, MHD_HTTP_HEADER_IF_NONE_MATCH), f->etag);
  struct MHD_Response *page = MHD_create_response_from_buffer(same ? 0 : f->len, (void *)f->bytes, MHD_RESPMEM_PERSISTENT);
  if (!page) return MHD_NO;
  for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) MHD_add_response_header(page, headers[i][0], headers[i][1]);
  MHD_add_response_header(page, MHD_HTTP_HEADER_CONTENT_TYPE, f->type);
  MHD_add_response_header(page, MHD_HTTP_HEADER_ETAG, f->etag);
  return http_answer_response(r, same ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, page);
}
