/* The HTTP door: what is asked over HTTP, whose bytes others carry (daemon/http). Like the MQTT door it translates: whoever
 * asks has a session of the node, to which the door speaks native frames, so that rights, quotas, queues and lists are the
 * same.
 *
 *   requests (publish, call) -- http_client -- struct session     one for all requests of one login from one address, for as
 *                                                                 long as they follow one another
 *   http_stream -- http_client -- struct session                  each stream of events has its own
 *
 * Functions that take `now` may be called between two turns of the node, and want the next one soon (base/endpoint.h). What is
 * called back is called within one of these functions, or within a turn; it may not call any of them. */
#ifndef NODE_DOORS_HTTP_H
#define NODE_DOORS_HTTP_H

#include "base/addr.h"
#include "base/list.h"
#include "node/node.h"
#include "wire/msg.h"

/* Who asks, as he shows it; views. */
struct http_login {
  struct addr from;
  bool secret;            /* over TLS */
  struct slice user;      /* n 0: he names none */
  struct slice password;  /* of the user; p NULL: */
  const uint8_t *vouched; /* node_vouch of the user, whose password was right before; NULL: it is to be checked */
  const uint8_t *token;   /* SHA-256 of a token that was sent, 32 bytes; NULL: none */
  struct slice grant;     /* an operator asked for him: the name of the grant; n 0: nobody did */
  struct slice client;    /* the name that he gives himself, as ${client} in patterns; n 0: none */
};

/* Opens the door. MACULA_ENOMEM. */
int node_http_open(struct node *n);
/* For what requests take: struct mem of the row `http`. Large things ask before whether they have room. */
struct mem *node_http_mem(struct node *n);
bool node_http_has_room(const struct node *n, size_t bytes);
size_t node_http_pool(const struct node *n);  /* the limit http_pool now */
bool node_http_is_open(const struct node *n); /* there is no access file: everybody may do everything */
/* What whoever carries the bytes counts: its connections, those that it refused and that made room. */
void node_http_count(struct node *n, uint64_t connections, uint64_t refused, uint64_t displaced);

/* ---- who asks --------------------------------------------------------------------------------------------------------------
 */
struct http_client;
enum http_standing { HTTP_COMING, HTTP_IN, HTTP_GONE };
/* A reference to the session of this login, which is made if there is none. MACULA_ENOMEM. */
int http_client_get(struct node *n, const struct http_login *l, nanotime now, struct http_client **ret_client);
void http_client_put(struct http_client *c);
enum http_standing http_client_standing(const struct http_client *c);
int http_client_error(const struct http_client *c, const char **ret_text); /* gone: why; the text is a view */
/* Once it is in: whether it may ask as an operator does; the user by whose password it came, n 0: none; its grant's name, n 0:
 * none, as all is open. Views. */
bool http_client_is_operator(const struct http_client *c);
struct slice http_client_user(const struct http_client *c);
struct slice http_client_grant(const struct http_client *c);

/* ---- requests --------------------------------------------------------------------------------------------------------------
 */
struct http_result { /* views */
  int err;           /* 0: done */
  struct slice code; /* of the error, as a provider may have its own */
  struct slice text;
  struct slice result;    /* of a call: JSON */
  bool may_have_run;      /* of a call that failed */
  struct msg_partly part; /* of a message with QoS 1: who is not sure to have it */
};
enum http_kind { HTTP_LOGIN, HTTP_PUBLISH, HTTP_CALL };
struct http_ask { /* the caller's; it may go as soon as `done` was called, or http_ask_drop */
  void (*done)(struct http_ask *a, const struct http_result *r);
  /* the door's: */
  struct list all; /* http_client.asks */
  struct http_client *client;
  enum http_kind kind;
  bool sent;
  uint64_t ref;
  uint8_t call_id[CALL_ID_LEN];
  struct msg m; /* until it is sent: views of the caller's, which must stay */
};
/* Each calls `done` once, at once or later. login: when it is in, or gone. publish: QoS 1 when it is acknowledged, QoS 0 when
 * the node has taken it: a publish that is held waits. call: timeout in ms, 0: the node's default. */
void http_ask_login(struct http_ask *a, struct http_client *c);
void http_ask_publish(struct http_ask *a, struct http_client *c, const struct msg_publish *m, nanotime now);
void http_ask_call(struct http_ask *a, struct http_client *c, struct slice procedure, struct slice args, uint64_t timeout,
                   nanotime now);
void http_ask_drop(struct http_ask *a, nanotime now); /* nobody waits any more: a call is cancelled. Harmless when it is done */

/* ---- streams ---------------------------------------------------------------------------------------------------------------
 * As text: server-sent events (HTML standard, 9.2), or with `last` a JSON list of retained messages, which then ends. What
 * finds no room in the session's queue, as it is read too slowly, is dropped, whatever its QoS, and the reader is told how
 * much. */
struct http_stream;
struct http_stream_owner {
  void (*opened)(void *ctx, const struct http_result *r); /* once: it is subscribed, or why not */
  void (*ready)(void *ctx);                               /* something can be read, after http_stream_read gave 0 */
  void *ctx;
};
#define HTTP_ALIVE (15 * NS_SEC) /* a comment, when nothing else has come for so long */
struct http_stream_options {
  struct slice pattern;
  bool last;
  bool gap; /* the reader had an earlier stream: it is told first that it may have missed something */
};
/* MACULA_ENOMEM. */
int http_stream_new(struct node *n, const struct http_login *l, const struct http_stream_options *o,
                    const struct http_stream_owner *owner, nanotime now, struct http_stream **ret_stream);
/* Bytes that were written to buf; 0: none now, or *ret_over. */
size_t http_stream_read(struct http_stream *st, char *buf, size_t cap, nanotime now, bool *ret_over);
bool http_stream_is_cut(const struct http_stream *st);       /* when it is over: it is a list that lacks some */
void http_stream_free(struct http_stream *st, nanotime now); /* its session ends; nothing is called any more */

/* ---- of the node -----------------------------------------------------------------------------------------------------------
 */
void http_door_step(struct node *n);
nanotime http_door_deadline(const struct node *n);
void http_door_free(struct node *n);
const char *http_door_check(const struct node *n); /* base/check.h; O(clients and what they hold) */
/* Bytes of the send queues' account that its waiting frames hold; of a shared frame, their part. */
double http_door_frames_owned(const struct node *n);

#endif
