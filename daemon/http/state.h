/* What the files of the HTTP server share. */
#ifndef DAEMON_HTTP_STATE_H
#define DAEMON_HTTP_STATE_H

#include <uv.h>

#include "base/rng.h"
#include "bounded/bucket.h"
#include "daemon/http/callers.h"
#include "daemon/http/http.h"
#include "daemon/http/request.h"

#define COST_HANDSHAKE 100    /* a TLS session, in rows: callers.h */
#define HANDSHAKES_AT_ONCE 32 /* of an address: a browser opens six connections, and each is for one request */

struct lookup; /* api.c */

struct place { /* an address with connections */
  struct addr at;
  unsigned have, stay; /* connections, and those of them that stay; have 0: it is free */
  size_t bodies;       /* bytes that are kept of what they send */
};

struct watch; /* visitors.c */

struct visitor { /* a connection */
  int fd;        /* 0: none */
  struct addr from;
  struct place *place;
  nanotime since;               /* it came, or last read some of what it is sent, if that takes long */
  bool asked;                   /* its request has come */
  bool stays;                   /* its answer may take long: http_stay */
  bool many;                    /* its query has more arguments than are read */
  bool gone;                    /* it was closed while it was suspended */
  struct watch *watch;          /* of its descriptor, for that; NULL: none yet */
  const char *origin;           /* of the page that asks, when it is one of http_origins */
  struct http_request *request; /* NULL: none now */
};

struct http {
  struct node *node;
  struct io_loop *loop;
  struct lookup *lookups; /* that are under way */
  const struct log *log;
  char *token, *cert, *key, *hosts, *origins; /* NULL: none */
  struct addr local;
  int fd; /* listens */
  struct MHD_Daemon *mhd;
  struct poller *poll;
  uv_poll_t listen;
  uv_timer_t timer, sweep, rest; /* rest: until it accepts again */
  bool resumed;                  /* some request goes on in the next turn */
  nanotime turn_end;             /* until then texts of streams are written in this turn; */
  bool served;                   /* one was; */
  unsigned first, put_off;       /* those that go first, as they were put off in the last one; those that were in this one */
  unsigned open_handles, again;  /* again: times that libmicrohttpd had more to do, and did nothing; up to AGAIN_MOST */
  struct visitor *visitors;
  struct place *places;
  unsigned most, count, stay; /* visitors and places that there may be; visitors that there are; those that stay */
  unsigned share;             /* most of one address that stay */
  bool closing;               /* all that is suspended was resumed, and nothing is suspended any more */
  /* What a cookie stands for; the second: it is an operator's, whatever the node says. NULL: cookies mean nothing. */
  bool (*cookie)(const struct http_request *r, struct http_login *ret_login, bool *ret_operator);
  struct callers callers;
  struct callers handshakes; /* of TLS: apart, so that a page's connections leave its requests what they may cost */
  struct callers guesses;    /* logins that failed */
  struct logins *logins;     /* NULL: nobody has asked for a link or logged in */
  struct rng rng;
  struct bucket lines; /* of the log about who was refused or ended, */
  struct bucket rests; /* and that none can be accepted */
  struct http_stats stats;
};

static inline struct visitor *visitor_of(struct MHD_Connection *c) {
  return MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* server.c: lets libmicrohttpd do what is ready. Not within one of its callbacks, nor within the node's turn. */
void http_run(struct http *h);
void http_say(struct http *h, const struct addr *who, const char *event, const char *text);

/* requests.c: the callbacks of libmicrohttpd for requests. */
enum MHD_Result http_handle(void *ctx, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                            const char *upload, size_t *upload_size, void **state);
/* The whole URI, before its arguments are parsed. */
void *http_begins(void *ctx, const char *uri, struct MHD_Connection *c);
/* Decodes %HH in place. A zero byte, which would cut the text off, becomes one that no name may have. */
size_t http_unescape(void *ctx, struct MHD_Connection *c, char *s);
void http_completed(void *ctx, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode code);

/* visitors.c: connections. */
void http_connection(void *ctx, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code);
void http_take(struct http *h, int fd, const struct addr *from); /* takes fd: a new connection, or refuses it */
void http_sweep(struct http *h);                                 /* ends whoever is too slow */
bool http_any_asked(const struct http *h);                       /* some connection's request has come */
void http_watch(struct visitor *v, struct http *h);              /* from now on it is seen that it was closed */
void http_count(struct http *h);                                 /* tells the node how many there are */

/* api.c: the node will not answer these any more. */
void http_forget_lookups(struct http *h);

/* probes.c, api.c: rows of the table in routes.c. */
enum MHD_Result http_health(struct http_request *r);
enum MHD_Result http_ready(struct http_request *r);
enum MHD_Result http_live(struct http_request *r);
enum MHD_Result http_metrics(struct http_request *r);
enum MHD_Result http_list(struct http_request *r);
enum MHD_Result http_lookup(struct http_request *r);
enum MHD_Result http_end_client(struct http_request *r);
/* door.c, events.c */
enum MHD_Result http_publish(struct http_request *r);
enum MHD_Result http_call(struct http_request *r);
enum MHD_Result http_subscribe(struct http_request *r);
enum MHD_Result http_last(struct http_request *r);

/* login.c */
struct logins *http_logins(struct http *h); /* made if there are none; NULL: no memory */
enum MHD_Result http_session(struct http_request *r);
enum MHD_Result http_log_in(struct http_request *r);
enum MHD_Result http_log_out(struct http_request *r);

/* page.c */
bool http_page_has(const char *path);
enum MHD_Result http_page(struct http_request *r);

#endif
