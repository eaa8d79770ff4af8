/* What the files of src/client share. */
#ifndef CLIENT_INTERNAL_H
#define CLIENT_INTERNAL_H

#include "base/delay.h"
#include "base/err.h"
#include "base/list.h"
#include "bounded/heap.h"
#include "bounded/htab.h"
#include "bounded/serial.h"
#include "client/client.h"
#include "trust/token.h"
#include "wire/frame.h"
#include "wire/msg.h"
#include "wire/names.h"

#define CONFIRM_TIMEOUT (5 * NS_SEC) /* of a publish or cast that asked for confirmation */
#define GOODBYE_TIMEOUT (1 * NS_SEC)
#define READ_TIMEOUT (6 * NS_SEC) /* of a node that has all, but must still read held publishes: it takes 5 s */
#define DEFAULT_TTL_S 300
#define REPLAY_RETRY (100 * NS_MS)
#define RENEW_RETRY (1 * NS_SEC)
#define ROOM_RETRY (100 * NS_MS)
#define REMIND_EVERY (86400 * NS_SEC)
#define CLIENT_WHY_LEN 640   /* bytes */
#define NUMBERED_MOST 1280u  /* bytes of a payload with which it pays to name a topic by a number */
#define MAX_ENTRIES 4000000u /* of a hub; memory is the tighter bound */

/* A subscription, service, pending publish or cast, call, or request served. Its id is unique within a hub for ever. So it
 * serves as handle, as `ref` on the wire and within call ids, and a stale id finds nothing. */
enum entry_kind { ENTRY_SUB, ENTRY_SERVICE, ENTRY_CONFIRM, ENTRY_CALL, ENTRY_SERVED };
struct entry {
  struct hlink h;
  struct list in; /* the client's list of this kind */
  struct heap_link due;
  struct client *c;
  uint64_t id;
  enum entry_kind kind;
  bool dead;      /* ended, to be freed when nobody walks the client's lists */
  bool unsent;    /* waits for its turn in the replay after a reconnect */
  bool scheduled; /* `result` is to be told at `due` */
  int result;
  macula_done_fn done; /* NULL once told */
  void *done_ctx, *ctx;
  union {
    struct {
      macula_message_fn fn;
      bool own;
      const char *group; /* in data, behind the pattern; NULL: none */
    } sub;
    struct {
      macula_request_fn fn;
      macula_cancel_fn cancel;
      uint64_t ttl_s;
      bool idempotent;
    } service;
    struct {
      void (*on_partly)(void *ctx, macula_client client, const macula_partly *partly);
      void *ctx;
      bool resend; /* data is the frame, sent again after a reconnect */
      bool renews; /* its time begins anew with each sign that publishes go on */
    } confirm;
    struct {
      macula_result_fn fn;
    } call;
    struct {
      macula_cancel_fn cancel;
      bool cast;
      uint8_t call_id[CALL_ID_LEN];
    } served;
  };
  uint32_t len;
  char data[]; /* name, or frame; NUL-terminated */
};
#define ENTRY_KINDS 5
#define WILL_MOST 32768u /* bytes of a will as it is sent */

/* Headers as a list, into `items`, which has room for 2 * HEADERS_MOST. MACULA_EINVAL, MACULA_PAYLOAD_TOO_LARGE. */
int headers_of(const macula_header *given, size_t count, struct slice *items, struct msg_list *ret_list);

struct hub {
  struct hub_config cfg;
  struct quic *quic;
  struct mem *mem;
  nanotime now;
  uint64_t last_id;
  uint64_t stood;             /* ns: what comes may have waited for so long, as this process stood still (base/endpoint.h) */
  struct htab entries, by_id; /* by_id: of clients */
  struct heap entry_due, client_due;
  struct list clients, grave;
};

struct inlet { /* of one stream from the node */
  int64_t id;  /* of a stream for deliveries; -1: none yet */
  struct framer framer;
  bool fin;
  uint8_t *kept; /* bytes that came and wait, from `at` on: inlet.c */
  size_t at, len, cap;
};

struct client_origins;
struct client_topics;
struct client_heard;
struct client {
  struct hub *hub;
  struct hlink h;
  uint64_t id;    /* never given twice in a hub, as those of entries; 0: not in by_id */
  struct list in; /* hub->clients or hub->grave */
  struct heap_link due;
  macula_state state;
  struct quic_conn *conn;    /* NULL: none */
  int64_t stream, publishes; /* of CONNECT; the one that publishes go by, -1: none yet */
  struct inlet home, deliveries;
  nanotime publish_acked; /* when one was last confirmed */
  nanotime remind_at;
  uint32_t caps;
  uint32_t failures, busy;
  bool wants_room; /* a request found the queue full: on_room is owed */
  bool sweep, replaying, dialing, opened, closing, abrupt, no_reconnect, op, base_only;
  bool holds, resumed; /* macula_hold is in force; it was, and what is kept is to be handled */
  bool deaf;           /* gives no credit back: macula load's reader that does not read */
  uint8_t addr_at;
  bool can_mend;               /* at one of the addresses tried in this round the failure may pass */
  struct client_target target; /* mismatch and expect point into this struct */
  struct id expect, node;
  bool has_node;
  char *mismatch, *error_text;
  int error;
  char *realm, *name, *token;
  struct slice pass;   /* owned; n 0: none */
  struct slice will;   /* owned: the payload of a PUBLISH; n 0: none */
  struct id realm_key; /* its holder vouches for nodes */
  bool has_realm_key;
  struct quic_identity *identity;
  size_t max_queue, held; /* held: bytes of frames kept for sending again */
  uint32_t max_calls, calls, served;
  uint64_t backoff_min, backoff_max;
  uint8_t *ticket; /* of the last connection, for the next one; NULL: none */
  size_t ticket_len;
  struct delays delays;              /* of this connection: of calls */
  struct client_origins *origins[2]; /* of this connection: [0] callers, [1] publishers; NULL: none was announced */
  bool origins_short;                /* there was no memory for one of them */
  struct client_topics *topics;      /* of this connection: topics that have numbers of ours; NULL: none was published to */
  struct client_heard *heard;        /* and of the node; NULL: none was announced */
  uint8_t instance[INSTANCE_LEN];
  uint8_t prefix[8]; /* of call ids, which only the node and this client see */
  struct serial messages;
  uint64_t received[2]; /* ids of messages that came without: random, and counted */
  struct list entries[ENTRY_KINDS];
  void (*on_state)(void *ctx, macula_client client, macula_state state, int err, const char *text);
  void (*on_room)(void *ctx, macula_client client);
  void (*on_notice)(void *ctx, macula_client client, int err, uint64_t count, const char *text);
  void (*on_dropped)(void *ctx, macula_client client, uint64_t count);
  void *ctx, *owner;
};

/* client.c */
static inline void hub_leave(struct hub *h) {
  if (h->cfg.leave) h->cfg.leave(h->cfg.ctx);
}
static inline void hub_enter(struct hub *h) {
  if (h->cfg.enter) h->cfg.enter(h->cfg.ctx);
}
/* Between client_hold and its release neither the client nor any of its entries is freed. */
static inline void client_hold(struct client *c) { c->busy++; }
void client_release(struct client *c);
void client_due(struct client *c, nanotime at);
void client_timer(struct client *c);
void client_opened(struct client *c);
void client_lost(struct client *c, int err, struct slice text);
/* Keeps what makes the next handshake cheaper, before the connection goes. */
void client_keep_ticket(struct client *c);
void client_let_in(struct client *c, const struct msg_pong *p);
/* Sends what the replay still owes, as far as the queue takes it. */
void client_replay(struct client *c);
void client_free(struct client *c);
/* Called with the result of a user's request: after MACULA_EFULL on_room is owed. Returns err. */
int client_short(struct client *c, int err);
/* Calls on_room if it is owed and there is room. */
void client_room(struct client *c);
/* Encodes into the stream. MACULA_NOT_CONNECTED, MACULA_EFULL (more than the queue's bound waits), MACULA_PAYLOAD_TOO_LARGE. */
int client_send(struct client *c, const struct msg *m);
int client_send_raw(struct client *c, struct slice frame);

/* prove.c */
/* proof: room for it as long as the message is needed. */
void client_prove(const struct client *c, struct msg_connect *m, uint8_t proof[TOKEN_PROOF_LEN]);
/* Whether the node that answers with this PONG is one to talk to: 0, or a code and why. */
int client_judge(const struct client *c, const struct msg_pong *m, char ret_why[CLIENT_WHY_LEN]);

/* request.c */
int entry_new(struct client *c, enum entry_kind kind, struct slice data, nanotime due, struct entry **ret_entry);
void entry_end(struct entry *e); /* frees it, or marks it when the client is held */
void entry_free(struct entry *e);
struct entry *entry_find(const struct hub *h, uint64_t id);
void entry_done(struct entry *e, int err, const char *text); /* tells `done`, once */
void entry_timer(struct entry *e);
int entry_announce(struct entry *e); /* sends SUBSCRIBE or REGISTER */
/* Tells a call's end and ends the entry. */
void call_finish(struct entry *e, const macula_result *r);
void call_fail(struct entry *e, int err, bool may_have_run);

/* origin.c */
/* ANNOUNCE. False: it is none, and the connection is over. */
bool client_announced(struct client *c, const struct msg_announce *m);
/* Whom a message or call names; views until the next ANNOUNCE. False: a number that was not announced, and the connection is
 * over. */
bool client_origin(struct client *c, bool publisher, const struct msg_origin *m, macula_principal *ret_principal);
void client_forget_origins(struct client *c);

/* topics.c */
/* The number by which a publish may name its topic; announces it if it came before and has none. 0: it is to be spelled. */
uint64_t client_topic_number(struct client *c, struct slice topic);
/* ANNOUNCE of a topic, or that one of ours is known. False: it is none, and the connection is over. */
bool client_topic_announced(struct client *c, const struct msg_announce *m);
/* Gives the message its topic if it has only a number. False: it was not announced, and the connection is over. */
bool client_topic_named(struct client *c, struct msg_publish *m);
void client_forget_topics(struct client *c);

/* inlet.c */
void inlet_init(struct client *c, struct inlet *in);
void inlet_done(struct client *c, struct inlet *in);
/* Bytes from the node. */
void client_data(struct client *c, int64_t stream, struct slice data, bool fin);
void client_stream_closed(struct client *c, int64_t stream, uint64_t app_error);
/* Handles what is kept, as far as it need not wait. */
void client_read_on(struct client *c);

/* dispatch.c */
/* A frame from the node; false: the connection is over. */
bool client_frame(struct client *c, const struct frame *f);

#endif
