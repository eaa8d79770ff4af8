/* One request over HTTP, from its headers to the end of its answer, and the table that says who handles it.
 *
 *   headers -- guard (name, origin, method, cost) --> who asks --> [body, up to the route's most] --> handle --+-- answered
 *                                                                                                              +-- http_suspend
 *                                                                                   go_on <-- http_resume <----+
 *
 * A new path is a row of the table in routes.c and a handler in a file of its own. */
#ifndef DAEMON_HTTP_REQUEST_H
#define DAEMON_HTTP_REQUEST_H

#include <microhttpd.h>

#include "base/slice.h"
#include "base/time.h"
#include "node/doors/http.h"

struct http;
struct http_request;
struct visitor;

enum { HTTP_GET = 1, HTTP_HEAD = 2, HTTP_POST = 4, HTTP_OPTIONS = 8 };

/* In which role somebody asks. A client has a session of the node (request.client); an operator may have none, where the
 * machine or http_token says that it is one. */
enum http_role { HTTP_NOBODY, HTTP_CLIENT, HTTP_OPERATOR };

/* Answers, or suspends. MHD_NO closes the connection. */
typedef enum MHD_Result (*http_handler)(struct http_request *r);

struct http_route {
  const char *path;    /* whole, or with a slash at its end all that begins with it; the first row that matches counts */
  unsigned methods;    /* bits of the above */
  enum http_role role; /* that it needs: who asks is found out before it is handled */
  bool free;           /* whoever asks too often is answered all the same: of little cost, as probes are */
  bool json;           /* refusals are JSON: {"error": NAME, "message": TEXT} */
  size_t body;         /* most bytes of a body; 0: none is read */
  http_handler handle;
};
const struct http_route *http_route_of(const char *path); /* NULL: there is nothing */
const char *http_allowed(unsigned methods, char ret_list[64]);

enum http_stage { HTTP_JUDGED, HTTP_BODY, HTTP_HANDLED }; /* who asks is found out; its body comes; its handler has it */
struct http_request {
  struct http *http;
  struct MHD_Connection *c;
  struct visitor *visitor;
  const struct http_route *route; /* NULL: there is none */
  const char *path, *rest;        /* decoded; rest: behind the path of the route */
  unsigned method;                /* one bit; 0: another */
  nanotime now;                   /* when its headers had come */
  enum http_stage stage;
  enum http_role role;        /* of whoever asks, once the handler has it */
  struct http_client *client; /* his session; NULL: he has none, or needs none */
  char *body;                 /* NULL: empty; else body_len bytes and a NUL */
  size_t body_len, body_room;
  bool too_large, no_room, no_share; /* its body is, there was none for it, or its address has as much as it may */
  bool suspended;
  struct http_ask ask;  /* who.c's until it is handled, then the handler's */
  bool asked, answered; /* ask: it was begun; it is done */
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

/* Why the name behind the route's path cannot be one, as %00 is in it; NULL: it may be. Static text. */
const char *http_rest_fault(const struct http_request *r);
/* It may take long. NULL: its connection has a place among those that do, from now on; else why not, for a refusal with 503. */
const char *http_stay(struct http_request *r);
/* Its answer takes a while: it waits for http_resume, which calls go_on soon, in a turn of the loop. */
enum MHD_Result http_suspend(struct http_request *r);
void http_resume(struct http_request *r);        /* harmless when it does not wait */
bool http_is_gone(const struct http_request *r); /* whoever asked has closed the connection */

#endif
