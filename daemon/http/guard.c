#include "daemon/http/guard.h"

#include <string.h>

#include "daemon/http/state.h"

/* Whether a list with commas has the name; with a port of its own or without, when any_port. */
static bool is_listed(const char *list, const char *name, bool any_port) {
  size_t whole = strlen(name), host = name[0] == '[' ? strcspn(name, "]") + 1 : strcspn(name, ":");
  for (const char *p = list; p && *p; p += *p == ',') {
    p += strspn(p, " ");
    size_t n = strcspn(p, ","), len = n;
    while (len && p[len - 1] == ' ') len--;
    if ((len == whole || (any_port && len == host)) && !strncasecmp(p, name, len)) return true;
    p += n;
  }
  return false;
}

/* A web page can reach us under a name that its author controls (DNS rebinding), but not under an address or the name
 * localhost, which browsers do not look up. */
static bool host_is_ours(const struct http *h, const char *host) {
  struct addr a;
  return !host || !addr_parse(host, 80, &a) || is_listed("localhost", host, true) || is_listed(h->hosts, host, true);
}

/* Whether the page that asks came from here itself: a browser says http(s)://HOST. */
static bool origin_is_ours(const struct http *h, const char *origin, const char *host) {
  const char *scheme = h->cert ? "https://" : "http://";
  size_t n = strlen(scheme);
  return host && !strncasecmp(origin, scheme, n) && !strcasecmp(origin + n, host);
}

/* A host in the absolute form of the request takes precedence over the header (RFC 9112, 3.2.2). A program that is no browser
 * sends neither Origin nor Sec-Fetch-Site. */
const char *http_judge_page(struct http_request *r, const char *named) {
  const struct http *h = r->http;
  const char *host = named[0] ? named : http_header(r, MHD_HTTP_HEADER_HOST), *origin = http_header(r, MHD_HTTP_HEADER_ORIGIN),
             *site = http_header(r, "Sec-Fetch-Site");
  if (!host_is_ours(h, host))
    return "This is no name of the node: use its address, or list the name with http_hosts (maculad.yaml)";
  if (origin && is_listed(h->origins, origin, false)) {
    r->visitor->origin = origin;
    return NULL;
  }
  if ((origin && !origin_is_ours(h, origin, host)) || (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0))
    return "Web pages of other origins may not ask: list their origin with http_origins (maculad.yaml)";
  return NULL;
}
