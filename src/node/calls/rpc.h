/* Between sessions and the router of calls. */
#ifndef NODE_CALLS_RPC_H
#define NODE_CALLS_RPC_H

#include "node/session/session.h"
#include "wire/names.h"

/* The connection is about to end: how far its calls have got is kept for the router, which is told next. */
void rpc_connection_ends(struct session *s);
/* As router_out.fate, of a call that was sent over this connection; s NULL: none stands. */
enum call_fate rpc_fate(const struct node *n, const struct session *s, const struct call_mark *mark);
/* Where the next call that is sent over this connection begins. large: of lane_is_large. */
struct call_mark rpc_mark(const struct session *s, bool large);
void rpc_cast(struct session *s, const struct msg_call *m);
void rpc_register(struct session *s, const struct msg_register *m);
void rpc_unregister(struct session *s, const struct msg_unregister *m);
struct router_out rpc_out(struct node *n);
struct rpc_request { /* what a CALL and a CAST have in common */
  char name[NAME_MAX_LEN + 1];
  struct slice procedure;   /* stored form, in name */
  struct shbuf *args;       /* by rpc_copy_args */
  struct principal *origin; /* who calls: the caller's reference; NULL: unknown */
  uint64_t age;             /* ns that it may have been on its way longer than usual */
  const char *text;         /* of an error; NULL: the code's own */
  char why[NAME_WHY_LEN];   /* what text shows, when it is about the name */
};
int rpc_request(const struct node *n, const struct msg_call *m, struct rpc_request *ret);
int rpc_copy_args(struct node *n, struct slice args, struct shbuf **ret_args);
void rpc_call(struct session *s, const struct msg_call *m, struct rpc_request *r);
/* Passes a party's call to the router, which takes over r->args. 0: the call is pending; else the errors of router_call. */
int rpc_start_call(struct node *n, struct rpc_party *caller, const struct msg_call *m, const struct rpc_request *r);
void rpc_start_cast(struct node *n, struct rpc_party *caller, const struct msg_call *m, const struct rpc_request *r);

#endif
