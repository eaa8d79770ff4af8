/* What the files of the MQTT door share.
 *
 *   stream -- mqtt_link -- struct mqtt_conn          one connection
 *                |              |
 *           mqtt_client -- struct mqtt_session       one session of MQTT; goes on while its client is offline
 *                |
 *          struct session (struct door)              the node's session, to which it speaks native frames
 *
 * Whatever may not be done where it is noticed (mqtt/door.h, doors/door.h) is left for mqtt_door_step: a client or link that
 * has some of it is among the dirty ones. */
#ifndef NODE_DOORS_MQTT_STATE_H
#define NODE_DOORS_MQTT_STATE_H

#include "base/stream.h"
#include "bounded/htab.h"
#include "mqtt/conn.h"
#include "node/doors/door.h"
#include "node/doors/mqtt_sys.h"
#include "node/state.h"
#include "wire/msg.h"
#include "wire/names.h"

#define MQTT_INFLIGHT_MAX 32u            /* messages with QoS 1 and 2 to one client that are not acknowledged */
#define MQTT_TAKEN_MAX 32u               /* those of one client that the node has not answered: no more are read */
#define MQTT_RECEIVE_MAX 1024u           /* and those that are not completed, as it is told; of QoS 2 an id each */
#define MQTT_WHY_KEPT 199u               /* bytes kept of a text */
#define MQTT_MOST_IDS 16u                /* Subscription Identifiers with one message */
#define MQTT_OWN_REF (UINT64_C(1) << 62) /* refs of SUBSCRIBE and UNSUBSCRIBE; those of PUBLISH are below */

struct mqtt_filter_entry {
  struct list all; /* mqtt_client.filters */
  uint32_t id;     /* Subscription Identifier; 0: none */
  uint64_t again;  /* ref of the SUBSCRIBE by which a resumed session has it again, until that is answered; 0: none */
  uint8_t qos;
  bool no_local, as_published;
  bool sys_new; /* of $SYS: what is there is yet to be sent */
  uint16_t len;
  char pattern[]; /* native, stored form; of a shared subscription with its group's name (wire/group.h) */
};

struct mqtt_waiting { /* a frame that the state machine does not take now */
  struct list all;    /* mqtt_client.waiting */
  struct shbuf *frame;
  nanotime since;
};

struct mqtt_later { /* a PUBLISH whose end is not known */
  struct list all;  /* mqtt_client.later */
  uint64_t ref;
  int err;
  bool answered;
  char *why; /* NULL: the code's own text, or no memory */
};

struct mqtt_handed { /* a PUBLISH while it is handed over */
  const struct mqtt_client *client;
  uint64_t ref;
  bool answered;
  int err;
  struct mqtt_handed *before; /* within which this one was handed over; NULL: none */
};

enum mqtt_asking { MQTT_SENT, MQTT_ANSWERED, MQTT_STALE }; /* STALE: its connection has ended meanwhile */
struct mqtt_request {                                      /* the SUBSCRIBE or UNSUBSCRIBE of one filter */
  enum mqtt_asking state;
  uint64_t ref;
  int err;
  bool subscribes, is_new;
  struct mqtt_filter_entry *entry; /* that it is about */
  struct mqtt_filter_entry was;    /* what it was before, unless it is new */
  char why[MQTT_WHY_KEPT + 1];
};

struct mqtt_link;

struct mqtt_who {
  struct id principal; /* hash of the user's name, or the key's id: sessions are told apart by it */
  struct stream_key key;
  bool has_key;
  char *user;        /* as it says; NULL: it names none */
  uint8_t *password; /* until it is judged; NULL: none */
  size_t password_len;
};

struct mqtt_client {
  struct list all, dirty; /* of mqtt_rooms */
  struct list offline;    /* of mqtt_rooms, while its session waits for it */
  struct node *n;
  uint64_t serial;
  struct session *s;       /* NULL: turned away, or gone */
  struct bucket *units;    /* who pays for its pings; NULL: nobody */
  struct mqtt_session *ms; /* NULL: not let in yet, or over */
  struct mqtt_link *link;  /* NULL: offline */
  struct addr remote;
  struct mqtt_who *who;     /* NULL: it has proved nothing, and named no user */
  bool web, secret;         /* it came by WebSocket; over TLS */
  uint8_t level;            /* enum mqtt_level */
  bool welcome;             /* PONG has come, and is to be acted on */
  bool accepting, old_over; /* within mqtt_accept: what ends then is the session that was there */
  bool said_goodbye, resumes, flood;
  bool overdue;         /* what waits for it goes to the queue of its MQTT session */
  bool put_off;         /* it was replaced: who replaces it comes first */
  const char *shed_why; /* its connection is to end for this reason, and its session to go on; NULL: it is not */
  int shed_err;
  bool closed; /* by the node: */
  int err;
  char *why;                /* NULL: nothing, or no memory */
  char *name;               /* client id */
  uint64_t claim, claim_ms; /* while it has an MQTT session: its number, and when it connected */
  struct mqtt_client *heir; /* another native session goes on with this one's MQTT session */
  struct list filters;
  uint32_t filter_count;
  struct mqtt_sys_client sys;
  struct list waiting;
  size_t waiting_bytes;
  struct list later;            /* at most MQTT_TAKEN_MAX */
  struct mqtt_request *request; /* NULL: none */
  uint64_t next_ref;
  int64_t window; /* bytes that the node still takes */
  uint64_t written, acked;
  nanotime progress;
  size_t last_queued;
  struct mqtt_address *payer; /* whose share of mqtt_pool it uses, from the time that it is let in; NULL: its connection's */
  uint32_t will_bytes;        /* that its will holds of that */
  uint32_t lost;              /* messages that were published with QoS 1 or 2, as there was no room for them; door.h: lost */
};

struct mqtt_web; /* mqtt_web.c */

struct mqtt_link {
  struct list all, dirty; /* of mqtt_rooms */
  struct list fresh;      /* of mqtt_rooms, until its session is let in; oldest first */
  size_t held;            /* bytes of what it has sent in part: mqtt_arrive.c */
  struct mqtt_address *address;
  struct mqtt_web *web; /* NULL: its stream is MQTT's without WebSocket */
  struct node *n;
  struct byte_stream *stream; /* NULL: it has ended */
  struct mqtt_conn *conn;
  struct mqtt_client *client; /* NULL: no CONNECT yet, or over */
  struct bucket idle;         /* pings that it may send whatever its account has */
  uint32_t pings;             /* of MQTT and WebSocket, up to the last look */
  bool paused : 1;            /* not read for the sake of its pings */
  bool closing : 1, broken : 1, secret : 1;
  uint8_t *out; /* what the stream had no room for */
  size_t out_at, out_len, out_cap;
};

#define MQTT_ADDRESS_KEY 9

struct mqtt_rooms {
  struct list clients, links, dirty_clients, dirty_links;
  struct list offline; /* mqtt_client.offline: who is so for longest first */
  uint32_t offline_count;
  uint64_t evicted; /* sessions of these, for room */
  struct mqtt_sessions *sessions;
  struct mqtt_message *last;  /* the message delivered last, for its other receivers, */
  struct shbuf *last_headers; /* its headers; NULL: it has none */
  uint64_t last_expires_ms;
  uint16_t last_topic_len;
  char last_topic[NAME_MAX_LEN]; /* with its native name */
  uint64_t last_serial, last_claim;
  nanotime sweep_at;
  uint32_t client_count, link_count;
  uint32_t secret_count;             /* of links: over TLS */
  uint32_t by_door[MQTT_KINDS];      /* links */
  uint64_t refused, unnamed, lost;   /* connections; topics that MQTT cannot say; messages that a full queue lost */
  uint64_t ended, paused;            /* connections, for what their clients did; not read for a while, for their pings */
  uint64_t web_refused, tls_refused; /* handshakes of WebSocket, and frames that ended a connection; handshakes of TLS */
  uint64_t filters_lost;             /* of resumed sessions, as they were refused */
  uint64_t unsaid;                   /* headers that MQTT cannot say */
  uint64_t claimed;                  /* sessions that other nodes have */
  struct bucket lines;
  struct mqtt_handed *handed;   /* the innermost; NULL: none */
  char said[MQTT_WHY_KEPT + 1]; /* the text of the answer that is being given */
  struct mqtt_sys sys;
  struct htab addresses; /* mqtt_address.h: of connections, and of those that were some time ago */
  struct list idle_addresses, fresh;
  uint32_t idle_count, fresh_count;
  size_t fresh_bytes, held; /* what fresh connections hold; what all do, and wills */
  struct bucket vain;       /* of all addresses */
  char *hosts, *origins;    /* lists with commas, of WebSocket; NULL: empty */
};

extern const struct mqtt_door mqtt_door_functions;

/* mqtt_door.c */
void mqtt_dirty(struct mqtt_client *c);
void mqtt_link_dirty(struct mqtt_link *l);
struct mem *mqtt_mem(const struct node *n);
/* Hands a frame to the client's native session. MACULA_ENOMEM, MACULA_FRAME_TOO_LARGE. */
int mqtt_hand_in(struct mqtt_client *c, const struct msg *m);

/* mqtt_client.c: the native side */
static inline const char *mqtt_user(const struct mqtt_client *c) { return c->who ? c->who->user : NULL; } /* NULL: none */
struct mqtt_client *mqtt_client_new(struct mqtt_link *l, const struct mqtt_packet *p);
void mqtt_client_free(struct mqtt_client *c);
/* All that was left; may free it. */
void mqtt_client_step(struct mqtt_client *c);
void mqtt_client_offline(struct mqtt_client *c);
/* Whether sessions of clients that are offline must make room; ends one of them. */
bool mqtt_must_evict(const struct node *n);
void mqtt_evict(struct node *n);
size_t mqtt_client_unsent(const struct mqtt_client *c);

/* mqtt_filters.c */
struct mqtt_filter_entry *mqtt_filter_find(const struct mqtt_client *c, struct slice pattern);
struct mqtt_filter_entry *mqtt_filter_add(struct mqtt_client *c, const struct mqtt_subscription *sub, struct slice key);
void mqtt_filter_drop(struct mqtt_client *c, struct mqtt_filter_entry *f);
enum mqtt_verdict mqtt_subscribe(struct mqtt_client *c, const struct mqtt_subscription *sub, struct mqtt_answer *ret);
enum mqtt_verdict mqtt_unsubscribe(struct mqtt_client *c, const struct mqtt_subscription *sub, struct mqtt_answer *ret);
void mqtt_request_answered(struct mqtt_client *c, uint64_t ref, int err, struct slice why);
void mqtt_request_abandoned(struct mqtt_client *c); /* its connection has ended */
void mqtt_request_done(struct mqtt_client *c);
/* Subscribes natively to all filters again, without retained messages. */
void mqtt_filters_again(struct mqtt_client *c);

/* mqtt_out.c: what the node sends */
/* One whole frame. MACULA_ENOMEM. */
int mqtt_take_frame(struct mqtt_client *c, struct slice frame, struct shbuf *shared);
/* Hands over what waits, as far as the state machine takes it. */
void mqtt_flush_waiting(struct mqtt_client *c);
int mqtt_wait(struct mqtt_client *c, struct slice frame, struct shbuf *shared);
void mqtt_forget_last(struct mqtt_rooms *rooms);

/* mqtt_link.c */
void mqtt_link_step(struct mqtt_link *l); /* may free it */
/* A packet in two parts, of which the second may be empty. */
void mqtt_link_send(struct mqtt_link *l, struct slice head, struct slice rest);
void mqtt_link_put(struct mqtt_link *l, struct slice bytes); /* as they are */
/* A line about a stream, at warning; of all of them so many a second. */
void mqtt_say(struct node *n, const struct addr *remote, const char *event, const char *text);
size_t mqtt_link_unsent(const struct mqtt_link *l); /* beyond what its stream takes */
void mqtt_link_free(struct mqtt_link *l);
void mqtt_link_tick(struct mqtt_link *l); /* now and then */

/* mqtt_web.c: WebSocket */
bool mqtt_web_new(struct mqtt_link *l); /* false: there is no memory */
void mqtt_web_free(struct mqtt_link *l);
void mqtt_web_data(struct mqtt_link *l, uint8_t *bytes, size_t n);
void mqtt_web_head(struct mqtt_link *l, unsigned opcode, size_t payload); /* enum ws_opcode; of a frame that follows */
/* The connection ends: says so, once. */
void mqtt_web_bye(struct mqtt_link *l, enum mqtt_reason reason, const char *why);
size_t mqtt_web_held(const struct mqtt_link *l);    /* bytes of half a handshake */
uint32_t mqtt_web_pings(const struct mqtt_link *l); /* control frames so far, modulo 2^32 */

/* mqtt_arrive.c: who may connect */
void mqtt_addresses_init(struct node *n);
void mqtt_addresses_done(struct node *n);
/* NULL: it may come, and is fresh now; else why not. */
const char *mqtt_link_arrives(struct mqtt_link *l);
/* It is not fresh any more; harmless when repeated. in_vain: it was not let in. */
void mqtt_link_settled(struct mqtt_link *l, bool in_vain);
void mqtt_link_leaves(struct mqtt_link *l);
void mqtt_link_weigh(struct mqtt_link *l);  /* bytes have come */
void mqtt_link_parted(struct mqtt_link *l); /* before it and its client part */
/* The session is let in: who pays for it from now on, and for its will. NULL, or why it may not be: too much is held. */
const char *mqtt_client_pays(struct mqtt_client *c);
void mqtt_will_gone(struct mqtt_client *c); /* there is none any more */
/* c goes on with the session of `old`. is_there: its will is still that one's. */
void mqtt_will_adopt(struct mqtt_client *c, struct mqtt_client *old, bool is_there);
void mqtt_client_leaves(struct mqtt_client *c);
/* A connection of this address has led to nothing. */
void mqtt_arrival_in_vain(struct node *n, const struct addr *remote);
const char *mqtt_addresses_check(const struct node *n);

#endif
