#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "io/io_priv.h"

#define MAX_ADDRS 16

struct io_resolve {
  struct list link;
  uv_getaddrinfo_t req;
  uv_async_t soon; /* for answers that need no lookup: the callback never comes before io_resolve_start has returned */
  size_t max, count;
  struct addr addrs[MAX_ADDRS];
  char host[256], port[8], why[320];
  void (*cb)(void *ctx, const struct addr *addrs, size_t count, const char *why);
  void *ctx;
};

static void free_async(uv_handle_t *h) { free(h->data); }

static void answer(struct io_resolve *r) {
  list_remove(&r->link);
  if (r->cb) r->cb(r->ctx, r->addrs, r->count, r->count ? NULL : r->why);
}

static void on_soon(uv_async_t *a) {
  answer(a->data);
  uv_close((uv_handle_t *)a, free_async);
}

static int start(uv_loop_t *uv, struct io_resolve *r);

/* A dot at the end says that no domain is to be tried behind the name; files of hosts know their names without it. */
static bool again_without_dot(struct io_resolve *r) {
  size_t n = strlen(r->host);
  if (!r->cb || n < 2 || r->host[n - 1] != '.') return false;
  r->host[n - 1] = 0;
  return start(r->req.loop, r) == 0;
}

/* A machine without a file of hosts has it all the same (RFC 6761, section 6.3). */
static bool again_as_loopback(struct io_resolve *r) {
  if (!r->cb || strcasecmp(r->host, "localhost") != 0) return false;
  r->host[0] = 0;
  return start(r->req.loop, r) == 0;
}

static void on_addrs(uv_getaddrinfo_t *req, int status, struct addrinfo *list) {
  struct io_resolve *r = req->data;
  if (status && (again_without_dot(r) || again_as_loopback(r))) return;
  for (struct addrinfo *a = status == 0 ? list : NULL; a && r->count < r->max; a = a->ai_next) {
    if (a->ai_addrlen > sizeof r->addrs[0]) continue;
    memset(&r->addrs[r->count], 0, sizeof r->addrs[0]);
    memcpy(&r->addrs[r->count], a->ai_addr, a->ai_addrlen);
    r->count += addr_can_be_node(&r->addrs[r->count]); /* and not 0.0.0.0, as filters of names answer */
  }
  if (r->count == 0) {
    size_t n = strlen(r->why); /* the host's name, from io_resolve_start */
    snprintf(r->why + n, sizeof r->why - n, ": %s",
             status ? uv_strerror(status)
             : list ? "its address leads nowhere"
                    : "the name has no address");
  }
  uv_freeaddrinfo(list);
  answer(r);
  free(r);
}

static int start(uv_loop_t *uv, struct io_resolve *r) {
  struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
  r->req.data = r;
  return uv_getaddrinfo(uv, &r->req, on_addrs, r->host[0] ? r->host : NULL, r->port, &hints) == 0 ? 0 : MACULA_EINVAL;
}

int io_resolve_start(struct io_loop *l, const char *host_port, uint16_t default_port, size_t max,
                     void (*cb)(void *, const struct addr *, size_t, const char *), void *ctx, struct io_resolve **ret_req) {
  struct io_resolve *r = calloc(1, sizeof *r);
  if (!r) return MACULA_ENOMEM;
  r->cb = cb;
  r->ctx = ctx;
  list_init(&r->link);
  r->max = max < MAX_ADDRS ? max : MAX_ADDRS;
  if (addr_parse(host_port, default_port, &r->addrs[0]) == 0) {
    r->count = 1;
    uv_async_init(&l->uv, &r->soon, on_soon);
    r->soon.data = r;
    list_append(&l->lookups, &r->link);
    uv_async_send(&r->soon);
    *ret_req = r;
    return 0;
  }
  const char *colon = strrchr(host_port, ':');
  size_t n = colon ? (size_t)(colon - host_port) : strlen(host_port);
  if (n == 0 || n >= sizeof r->host || host_port[0] == '[' || (colon && strspn(colon + 1, "0123456789") != strlen(colon + 1)) ||
      (colon && (strlen(colon + 1) == 0 || strlen(colon + 1) > 5 || atoi(colon + 1) > 65535)) || (!colon && !default_port)) {
    free(r);
    return MACULA_EINVAL;
  }
  memcpy(r->host, host_port, n); /* it was zeroed */
  if (colon)
    snprintf(r->port, sizeof r->port, "%s", colon + 1);
  else
    snprintf(r->port, sizeof r->port, "%u", default_port);
  snprintf(r->why, sizeof r->why, "cannot find the host %s", r->host);
  if (start(&l->uv, r)) {
    free(r);
    return MACULA_EINVAL;
  }
  list_append(&l->lookups, &r->link);
  *ret_req = r;
  return 0;
}

void io_resolve_cancel(struct io_resolve *r) {
  if (!r) return;
  r->cb = NULL; /* the lookup itself may be in the pool's hands: its end frees the request */
  if (r->req.data) uv_cancel((uv_req_t *)&r->req);
}

void io_resolve_drop_all(struct io_loop *l) {
  list_for_safe(it, &l->lookups) {
    struct io_resolve *r = container_of(it, struct io_resolve, link);
    io_resolve_cancel(r);
    list_remove(&r->link);
    if (!r->req.data) uv_close((uv_handle_t *)&r->soon, free_async);
  }
}
