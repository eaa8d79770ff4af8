/* One request over HTTP, from its headers to the end of its answer, and the table that says who handles it.
 *
 *   headers -- guard (name, origin, method, cost) --> [body, up to the route's most] --> handle --+-- answered
 *                                                                                                 +-- http_suspend, ...
 *                                                                     go_on <-- http_resume <---- +
 *
 * A new path is a row of the table in routes.c and a handler in a file of its own. */
#ifndef DAEMON_HTTP_REQUEST_H
#define DAEMON_HTTP_REQUEST_H

#include <microhttpd.h>

#include "base/slice.h"
#include "base/time.h"

struct http;
struct http_request;
struct visitor;

enum { HTTP_GET = 1, HTTP_HEAD = 2, HTTP_POST = 4, HTTP_OPTIONS = 8 };

/* Answers, or suspends. MHD_NO closes the connection. */
typedef enum MHD_Result (*http_handler)(struct http_request *r);

struct http_route {
  const char *path; /* whole, or with a slash at its end all that begins with it; the first row that matches counts */
  unsigned methods; /* bits of the above */
  bool free;        /* whoever asks too often is answered all the same: of little cost, as probes are */
  size_t body;      /* most bytes of a body; 0: none is read */
  http_handler handle;
};
const struct http_route *http_route_of(const char *path); /* NULL: there is nothing */
const char *http_allowed(unsigned methods, char ret_list[64]);

struct http_request {
  struct http *http;
  struct MHD_Connection *c;
  struct visitor *visitor;
  const struct http_route *route; /* NULL: it was refused before one was looked for */
  const char *path, *rest;        /* decoded; rest: behind the path of the route */
  unsigned method;                /* one bit; 0: another */
  nanotime now;                   /* when its headers had come */
  char *body;                     /* NULL: empty; else body_len bytes and a NUL */
  size_t body_len;
  bool too_large; /* its body is */
  bool handled;
  bool suspended;
  /* The handler's own: */
  void *own;
  http_handler go_on; /* called after http_resume */
  void (*over)(
      struct http_request *r); /* the request has ended, answered or cut off: frees own. NULL: there is nothing to do */
};

/* An argument of the query, decoded; NULL: it is not there. */
const char *http_argument(const struct http_request *r, const char *name);
/* The same as a number: 0 if there is none, at most `most`. */
size_t http_number(const struct http_request *r, const char *name, size_t most);
const char *http_header(const struct http_request *r, const char *name); /* NULL: it is not there */

/* Its answer takes a while: it waits for http_resume, which calls go_on soon, in a turn of the loop. Neither may be called
 * within a callback of the node's turn without io_loop_wake; http_resume does that itself. */
enum MHD_Result http_suspend(struct http_request *r);
void http_resume(struct http_request *r); /* harmless when it does not wait */

#endif
