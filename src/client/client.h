/* The client's core without I/O: a hub is one QUIC client endpoint and the many clients that share it. A driver (src/lib, or a
 * simulator) gives it datagrams and time; nothing here blocks, reads a clock or opens a socket.
 *
 * Everything of a hub happens under one lock that the driver holds around each call. User callbacks run with the lock released
 * (hub_config.leave, .enter), so that a callback may take locks of its own. Other threads may then change the hub, just as the
 * callback itself may, and all code that calls back must allow for that. Callbacks run only in the endpoint's recv and tick, so
 * on the driver's thread; other functions schedule their callbacks. */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "macula/macula.h"
#include "quic/quic.h"

struct client;
struct hub;

#define CLIENT_MAX_ADDRS 16
struct client_target {
  struct addr addrs[CLIENT_MAX_ADDRS]; /* tried in this order */
  size_t count;
  const struct id *expect; /* NULL: any identity */
  bool insecure;
  const char *ca_pem;   /* NULL: none; must stay valid until the dial is over */
  const char *mismatch; /* text for people when the identity is another, copied; NULL: the code's own */
};
struct hub_config {
  struct mem *mem;
  struct rng rng;
  const struct log *log;
  uint64_t handshake_timeout, idle_timeout, keep_alive; /* ns; 0: 10 s, 30 s, 10 s */
  uint64_t goodbye_timeout;                             /* ns, for the node to acknowledge it; 0: 1 s */
  uint64_t unix_base_s;
  void *ctx;                /* for the functions below */
  void (*leave)(void *ctx); /* around a user's callback: release and take the lock; both NULL: there is none */
  void (*enter)(void *ctx);
  void (*dial)(void *ctx, struct client *c);                   /* wants client_dial or client_dial_failed, now or later */
  int (*local)(void *ctx, int family, struct addr *ret_local); /* where datagrams of this family leave from */
  void (*changed)(void *ctx, struct client *c);                /* state changed, or room in the queue; may be NULL */
  int (*connected)(void *ctx, struct client *c, const struct id *node); /* before CONNECTED is told; may be NULL */
  void (*remind)(void *ctx, struct client *c);                          /* at least once a day while connected; may be NULL */
  void (*freed)(void *ctx, void *owner);                                /* the client of this owner is gone; may be NULL */
};
int hub_new(const struct hub_config *cfg, nanotime now, struct hub **ret_hub);
/* Frees all clients without a goodbye and without callbacks. */
void hub_free(struct hub *h);
struct quic *hub_quic(struct hub *h);
void *hub_ctx(struct hub *h);
/* Moves the hub's clock for what follows; earlier times are ignored. */
void hub_set_now(struct hub *h, nanotime now);
/* Ends every client with a goodbye, in the next tick. */
void hub_close(struct hub *h);
/* No clients are left, and their goodbyes were acknowledged, or waited for long enough. */
bool hub_idle(const struct hub *h);
/* No clients are left, and of those that are gone a node has all, but has not read all yet. */
bool hub_is_awaiting(const struct hub *h);

/* For the driver, as long as the hub lives. */
struct endpoint hub_endpoint(struct hub *h);

/* ---- clients ---------------------------------------------------------------------------------------------------------------
 */
struct client_options {
  const char *realm, *name, *token; /* copied; name and token may be NULL */
  const macula_will *will;          /* copied; NULL: none */
  struct slice pass;                /* of this identity, shown to the node; copied; n 0: none */
  /* The node must show a pass of this realm, with role node and for its own key; NULL: it need not; copied. */
  const struct id *realm_key;
  struct quic_identity *identity; /* referenced; NULL with base_only */
  bool no_reconnect, op, base_only;
  size_t max_queue;                  /* 0: 4 MiB */
  uint32_t max_calls;                /* 0: 1,024 */
  uint64_t backoff_min, backoff_max; /* ns; 0: 100 ms, 30 s */
  void (*on_state)(void *ctx, macula_client client, macula_state state, int err, const char *text);
  void (*on_room)(void *ctx, macula_client client); /* as in macula_options, as are those below */
  void (*on_notice)(void *ctx, macula_client client, int err, uint64_t count, const char *text);
  void (*on_dropped)(void *ctx, macula_client client, uint64_t count);
  void *ctx;
  void *owner; /* the driver's */
};
/* Dials in the next tick. */
int client_new(struct hub *h, const struct client_options *o, struct client **ret_client);
/* From the next connection on. MACULA_ENOMEM. */
int client_set_pass(struct client *c, struct slice pass);
void client_dial(struct client *c, const struct client_target *t);
/* Dials the last target once more, when its name cannot be looked up now; false: there is none yet. */
bool client_dial_again(struct client *c);
void client_dial_failed(struct client *c, int err, const char *text);
/* In the next tick: all that is pending ends with MACULA_ECLOSED, on_state, and the client is freed. abrupt: without a
 * goodbye and without waiting for what is queued. */
void client_close(struct client *c, bool abrupt);
macula_client client_handle(const struct client *c);
/* NULL: it is gone, or to be closed. */
struct client *client_find(const struct hub *h, uint64_t id);
struct hub *client_hub(const struct client *c);
void *client_owner(const struct client *c);
macula_state client_state(const struct client *c);
/* Why the last attempt or connection ended, and how many attempts have failed since the last success. */
int client_error(const struct client *c, const char **ret_text, uint32_t *ret_failures);
void client_node_id(const struct client *c, char ret_hex[ID_HEX_LEN + 1]);

/* Deliveries wait from now on, or no longer; all else goes on. */
void client_hold_deliveries(struct client *c);
void client_resume_deliveries(struct client *c);

/* Requests: the functions of macula.h without their threads. Options are whole: their sizes are not looked at. */
int client_publish(struct client *c, const char *topic, struct slice payload, const macula_publish_options *opt,
                   macula_done_fn done, void *ctx);
int client_subscribe(struct client *c, const char *pattern, bool own, macula_message_fn fn, macula_done_fn done, void *done_ctx,
                     void *ctx, macula_sub *ret_sub);
/* The same as a member of a group; NULL: of none. */
int client_join(struct client *c, const char *pattern, bool own, const char *group, macula_message_fn fn, macula_done_fn done,
                void *done_ctx, void *ctx, macula_sub *ret_sub);
int client_unsubscribe(struct client *c, macula_sub sub);
int client_call(struct client *c, const char *procedure, struct slice args, const macula_call_options *opt, macula_result_fn fn,
                void *ctx, macula_call_id *ret_call);
int client_cancel(struct client *c, macula_call_id call);
int client_cast(struct client *c, const char *procedure, struct slice args, macula_done_fn done, void *ctx);
int client_serve(struct client *c, const char *procedure, const macula_serve_options *opt, macula_request_fn fn,
                 macula_cancel_fn cancel, macula_done_fn done, void *done_ctx, void *ctx, macula_service *ret_service);
int client_unserve(struct client *c, macula_service service);
int client_reply(struct client *c, macula_request_id request, struct slice result);
int client_reply_error(struct client *c, macula_request_id request, const char *code, const char *message);

/* What must hold of it, its clients and its endpoint (base/check.h). O(clients, entries, connections). Not within a callback.
 */
const char *hub_check(const struct hub *h);

#endif
