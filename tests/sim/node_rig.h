/* One node and any number of raw QUIC clients on the in-memory network, for tests of the node: a client here is a QUIC
 * connection and a codec, and does only what its test says. */
#ifndef SIM_NODE_RIG_H
#define SIM_NODE_RIG_H

#include "base/err.h"
#include "net.h"
#include "node/node.h"
#include "quic/quic.h"
#include "wire/frame.h"
#include "wire/msg.h"

#define RIG_EXT (CAP_PUBSUB | CAP_RPC | CAP_ACK | CAP_REGISTER | CAP_CANCEL)
#define RIG_BASE (CAP_PUBSUB | CAP_RPC)
#define RIG_CLIENTS 1200
#define RIG_KEPT 4096 /* frames kept of a client; all are counted */
#define RIG_CHEAP 100 /* a node with k times as many blocks of memory is checked after one turn in k + 1 */

struct rig_frame {
  uint8_t type;
  size_t len;
  uint8_t *payload;
};

struct rig_client {
  struct rig *rig;
  struct quic *quic;
  struct quic_conn *conn;
  struct quic_identity *identity;
  struct addr addr;
  struct mem mem, send_mem;
  int64_t stream;
  struct framer framer, one_way; /* one_way: of what comes by a unidirectional stream */
  int64_t publishes;             /* of rig_send_by_one_way; 0: none yet */
  uint64_t by_one_way;           /* frames that came so */
  bool open, closed, mute;       /* mute: takes bytes and gives no credit back */
  bool stopped;                  /* reads no more: credit is owed */
  size_t owed;
  bool holds; /* gives no credit for what comes by one way, as by macula_hold, but that of its connection */
  size_t owed_one_way;
  bool (*heard)(void *ctx, const struct frame *f); /* NULL: none. True: it is not kept */
  void *heard_ctx;
  struct quic_close why;
  char why_text[256];
  struct rig_frame kept[RIG_KEPT];
  size_t kept_count, read; /* read: the next that rig_expect looks at */
  uint64_t counts[256];    /* frames by type */
  uint8_t instance[INSTANCE_LEN];
};

struct rig {
  struct sim_net *net;
  struct node *node;
  struct quic_identity *identity;
  struct addr addr; /* of the node */
  struct rig_client *clients[RIG_CLIENTS];
  size_t client_count;
  uint64_t seed;
  bool shared; /* the network is another rig's */
  unsigned index;
  struct node_config config; /* its access is a reference of the rig's */
  uint64_t dice, checks;     /* node_check: whether it is its turn; how often it was */
  unsigned rarely;           /* so many of the checks that would be made are left out for each that is */
};

struct rig_options {
  struct node_config node;                        /* rng, identity and time are filled in; realm NULL: "test" */
  struct slice (*pass_of)(const struct id *node); /* makes the node's pass; NULL: it has none */
  const char *access;                             /* an access file's text; NULL: open */
  const struct sim_link *link;
  uint64_t seed; /* 0: 1 */
  /* One of several nodes: on this rig's network, at 10.0.0.(1 + index). That rig is stopped last. */
  struct rig *beside;
  unsigned index;
};

void rig_start(struct rig *r, const struct rig_options *o);
void rig_stop(struct rig *r);       /* checks that nothing of the node is left */
void rig_node_kill(struct rig *r);  /* as SIGKILL */
void rig_node_start(struct rig *r); /* again, with the same identity */
/* Runs until done says so, at most for_ns; fails the test otherwise, naming what. */
void rig_until(struct rig *r, nanotime for_ns, bool (*done)(void *ctx), void *ctx, const char *what);
uint64_t rig_metric(struct rig *r, const char *name); /* of the node's /metrics; name without macula_ */

enum { RIG_NO_CERT = 1, RIG_LOOPBACK = 2 };  /* the client's address is on loopback */
void rig_stop_reading(struct rig_client *c); /* what its window lets in still comes */
void rig_read_on(struct rig_client *c);
/* Starts a connection; identity NULL: a new one. */
struct rig_client *rig_client(struct rig *r, unsigned flags, struct quic_identity *identity);
/* rig_client, the handshake, and CONNECT with caps (0: none is sent). Fails the test unless PONG comes. */
struct rig_client *rig_join(struct rig *r, unsigned flags, struct quic_identity *identity, uint32_t caps);
void rig_connect(struct rig_client *c, uint32_t caps, const char *realm, const char *token);
void rig_show(struct rig_client *c, struct slice pass); /* CONNECT of a client with a pass */
/* Waits for the handshake's end. */
void rig_opened(struct rig_client *c);
void rig_kill(struct rig_client *c); /* as SIGKILL: nothing more from it, and no ICMP error for it */

void rig_send(struct rig_client *c, const struct msg *m);
void rig_send_raw(struct rig_client *c, struct slice bytes);
void rig_run(struct rig *r, nanotime for_ns);
/* Runs until a frame of this type comes (skipping others), at most 20 s; fails the test else. Views until the client ends. */
struct msg rig_expect(struct rig_client *c, uint8_t type);
/* Runs until the connection is closed; returns the code it was closed with. */
int rig_closed(struct rig_client *c);
/* Whether no frame of this type is unread after for_ns. */
bool rig_quiet(struct rig_client *c, uint8_t type, nanotime for_ns);

/* Requests with ref, and the ACK's code. */
int rig_subscribe(struct rig_client *c, const char *pattern);
int rig_register(struct rig_client *c, const char *procedure);
/* By a unidirectional stream, which is opened the first time. */
void rig_send_by_one_way(struct rig_client *c, const struct msg *m);
int rig_publish(struct rig_client *c, const char *topic, const char *payload, int qos, bool retain, uint64_t id);
void rig_publish_only(struct rig_client *c, const char *topic, struct slice payload, int qos); /* no ref */
void rig_call(struct rig_client *c, const char *procedure, const char *args, uint64_t id, uint64_t timeout_ms);
/* Calls and waits; result or code as text, valid until the client ends. */
struct msg_reply rig_ask(struct rig_client *c, const char *procedure, const char *args);
void rig_reply(struct rig_client *c, struct slice call_id, const char *result);

#endif
