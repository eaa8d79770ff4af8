/* Every message: its type id, its fields, and its codec.
 *
 * Decoding is a pull parse of the payload into views: no object tree and no allocation; the views live as long as the payload.
 * `bin` and `str` are read alike, unknown keys are skipped, of duplicate keys the last wins, map order is free, an empty list
 * may come as an empty str. Absent optional fields are zeroed (slices with p == NULL). At most 4,096 elements outside `bin`
 * and depth 16, else MACULA_BAD_FRAME.
 * Encoding writes keys and texts as `bin`, integers in shortest form, floats never. */
#ifndef WIRE_MSG_H
#define WIRE_MSG_H

#include "base/slice.h"

enum msg_type {
  MSG_CONNECT = 0x01,
  MSG_DISCONNECT = 0x02,
  MSG_PING = 0x03,
  MSG_PONG = 0x04,
  MSG_ACK = 0x05,      /* extension `ack` */
  MSG_RENEW = 0x06,    /* extension `node`: the sender's new pass */
  MSG_REVOKED = 0x07,  /* extension `node`: the number of a realm's list of revoked passes, or the list */
  MSG_PACE = 0x08,     /* extension `node`: one publishing connection of the receiver is to wait, or to go on */
  MSG_NOTICE = 0x09,   /* extension `notice`: what happened to something that asked for no answer */
  MSG_CLAIM = 0x0B,    /* extension `node`: a client of MQTT has its session at the sender */
  MSG_ANNOUNCE = 0x0A, /* extensions `origin` and `topics`: what a number stands for from now on */
  MSG_PUBLISH = 0x10,
  MSG_SUBSCRIBE = 0x11,
  MSG_UNSUBSCRIBE = 0x12,
  MSG_PUBSUB_ROUTE = 0x13,
  MSG_INTEREST = 0x14, /* extension `node`, as all below that name no other: payloads in wire/interest.h */
  MSG_INTEREST_HAVE = 0x15,
  MSG_RETAINED_GET = 0x16,   /* retained messages that match a pattern, please */
  MSG_RETAINED_MOVED = 0x17, /* a newer retained message of this topic lives elsewhere */
  MSG_CALL = 0x20,
  MSG_REPLY = 0x21,
  MSG_CAST = 0x22,
  MSG_RPC_ROUTE = 0x23,
  MSG_REGISTER = 0x26,   /* register_procedure; extension `register` */
  MSG_UNREGISTER = 0x2C, /* extension `register` */
  MSG_CANCEL = 0x2D,     /* extension `cancel` */
  MSG_AGREE = 0x2E,      /* in envelopes only, as the next: keys for envelopes; payloads in wire/agree.h */
  MSG_NOT_ROUTED = 0x2F, /* an envelope could not be carried on */
  MSG_SWIM_PING = 0x30,
  MSG_SWIM_ACK = 0x31,
  MSG_SWIM_PING_REQ = 0x32,
  MSG_SWIM_SYNC = 0x33, /* a page of the member list; payloads of SWIM in wire/swim.h */
  MSG_FIND_NODE = 0x40,
  MSG_FIND_NODE_REPLY = 0x41,
  MSG_STORE = 0x42,
  MSG_FIND_VALUE = 0x43,
  MSG_FIND_VALUE_REPLY = 0x44,
  MSG_STORE_REPLY = 0x45, /* between nodes the payloads of 40 to 45 are those of wire/kad.h */
};

/* Frames that only nodes send each other and whose payload has a codec of its own: msg_decode leaves it in msg.raw. */
static inline bool msg_is_raw(int type) {
  return (type >= MSG_SWIM_PING && type <= MSG_SWIM_SYNC) || (type >= MSG_FIND_NODE && type <= MSG_STORE_REPLY) ||
         (type >= MSG_INTEREST && type <= MSG_RETAINED_MOVED) || type == MSG_AGREE || type == MSG_NOT_ROUTED;
}

/* Capabilities named in CONNECT and answered in PONG. The first two are the original's; a client that names only those is
 * base-only. "operator" asks for one of the operator's slots. */
enum msg_cap {
  CAP_PUBSUB = 1 << 0,   /* "pubsub" */
  CAP_RPC = 1 << 1,      /* "rpc" */
  CAP_ACK = 1 << 2,      /* "ack" */
  CAP_REGISTER = 1 << 3, /* "register" */
  CAP_CANCEL = 1 << 4,   /* "cancel" */
  CAP_OPERATOR = 1 << 5, /* "operator" */
  CAP_NODE = 1 << 6,     /* "node": the peer is a node of the mesh */
  CAP_NOTICE = 1 << 7,   /* "notice" */
  CAP_ORIGIN = 1 << 8,   /* "origin": it is told who published and called */
  CAP_STREAMS = 1 << 9,  /* "streams": publishes, and between nodes calls, go by streams of their own */
  CAP_WAIT = 1 << 10,    /* "wait": a QoS 0 publish may rather be held for slow readers than be lost to them */
  CAP_TOPICS = 1 << 11,  /* "topics": PUBLISH has short keys, and names its topic by a number */
  CAP_HEADERS = 1 << 12, /* "headers": PUBLISH may have headers, a time to live, and exactly_once */
  CAP_WILL = 1 << 14,    /* "will": CONNECT may have a message that is published when the client ends without goodbye */
  CAP_GROUPS = 1 << 13,  /* "groups": SUBSCRIBE may name a group, of whose members each message goes to one */
};
#define CAP_EXTENSIONS                                                                                                         \
  (CAP_ACK | CAP_REGISTER | CAP_CANCEL | CAP_OPERATOR | CAP_NODE | CAP_NOTICE | CAP_ORIGIN | CAP_STREAMS | CAP_WAIT |          \
   CAP_TOPICS | CAP_HEADERS | CAP_GROUPS | CAP_WILL)

enum strategy {
  STRATEGY_DEFAULT = 0, /* field absent: the node's choice, random */
  STRATEGY_RANDOM,
  STRATEGY_FIRST,
  STRATEGY_ROUND_ROBIN,
  STRATEGY_CLOSEST,
  STRATEGY_LEAST_PENDING,
  STRATEGY_UNKNOWN, /* a name that this version does not know */
};
enum strategy strategy_from_name(struct slice name);
const char *strategy_name(enum strategy s); /* "" for default and unknown */

/* A list of texts: `items` when encoding, `raw` (the elements' MessagePack) when decoded. */
struct msg_list {
  uint32_t count;
  const struct slice *items;
  struct slice raw;
};
/* Takes the next text of a decoded list; false at the end. Elements that are not text were refused by msg_decode. */
bool msg_list_next(struct msg_list *l, struct slice *ret_item);

struct msg_connect {
  struct slice version;  /* "1.0" */
  struct slice node_id;  /* any length from base-only clients, 32 bytes otherwise */
  struct slice realm_id; /* the realm's name */
  uint32_t caps;         /* enum msg_cap; unknown names are ignored */
  struct slice endpoint; /* optional */
  struct slice instance; /* extension: 16 bytes */
  struct slice proof;    /* extension: 32 bytes, that the sender knows an access token (trust/token.h) */
  struct slice pass;     /* extension: the sender's pass (trust/pass.h) */
  struct slice name;     /* extension: a label for people, at most 64 bytes are kept */
  struct slice will;     /* extension `will`: raw MessagePack map, of a PUBLISH: msg_decode(MSG_PUBLISH, ...) */
};
struct msg_disconnect {
  struct slice reason;  /* "normal", "error", "timeout" */
  struct slice message; /* for people */
  struct slice code;    /* optional: a name of macula/error.h */
  uint64_t streams;     /* extension `streams`: unidirectional streams that the sender has opened, all of which it ends */
};
struct msg_ping {
  uint64_t timestamp; /* ms */
};
struct msg_pong {
  uint64_t timestamp;   /* ms, echo */
  uint64_t server_time; /* ms */
  uint32_t caps;        /* extension: in answer to a CONNECT that named extensions: what both sides speak */
  bool has_caps;
  struct slice node_id;  /* extension, with caps: the node's id */
  struct slice name;     /* extension, with caps: the node's name */
  struct slice instance; /* extension `node`: 16 bytes, of the answering node's run */
  struct slice endpoint; /* extension `node`: where the answering node can be dialled; absent: nowhere */
  struct slice observed; /* extension `node`: the address that the answering node sees */
  struct slice proof;    /* extension: 32 bytes, in answer to CONNECT's */
  struct slice pass;     /* extension: the answering node's pass */
};
struct msg_partly { /* extension: why not all who listen are sure to have a QoS 1 message; all zero: absent */
  uint64_t cut;     /* subscribers that were cut because of it, or (MQTT) have lost it or an older one */
  uint64_t silent;  /* nodes that have not acknowledged it */
  uint64_t unknown; /* nodes of which it is not known what their clients listen to */
};
struct msg_ack {
  uint64_t ref;
  struct slice code;    /* absent: done */
  struct slice message; /* with code */
  struct msg_partly partly;
};
static inline bool msg_is_partly(const struct msg_partly *p) { return p->cut || p->silent || p->unknown; }
struct msg_renew {
  struct slice pass; /* trust/pass.h */
};
struct msg_revoked {
  struct slice realm; /* id of the realm key */
  uint64_t number;    /* of the sender's list; 0: it has none */
  struct slice list;  /* optional: trust/revoked.h */
};
/* A reader at the sender has no room for more of what one of the receiver's connections publishes, or has again. */
#define PACE_LONGEST 1000u /* ms */
struct msg_pace {
  uint64_t connection; /* its number in PUBLISH */
  uint64_t ms;         /* for how long it is to wait, at most PACE_LONGEST; 0: it may go on */
  uint64_t room;       /* bytes that it may send in the next round trip if it goes on, a fourth more in the one after; 0: any */
  bool moves;          /* the reader does not keep up, and takes something still: only QoS 1 is to wait */
  bool beside;         /* another reader there goes hungry by it */
  bool lately;         /* the reader's queue was empty a moment ago */
};
struct msg_notice {
  struct slice code, message;
  uint64_t count; /* how often it happened since the last notice of this code */
};
struct msg_claim {        /* all required */
  struct slice principal; /* base/principal.h */
  struct slice client;    /* its client id */
  uint64_t ms;            /* when it connected last, Unix ms */
};
/* What the numbers of a connection stand for. Each kind has numbers and 256 slots (number mod 256) of its own, so that an
 * announcement and what it is for go by the same lane; kinds that are not known are ignored. */
enum announce_kind {
  ANNOUNCE_PUBLISHER = 1,
  ANNOUNCE_CALLER = 2,
  ANNOUNCE_TOPIC = 3,
  ANNOUNCE_TAKEN = 4 /* by a node: the receiver's number of a topic is known now, and may be used */
};
#define ANNOUNCE_SLOTS 256u
#define ANNOUNCE_LAST ((UINT64_C(1) << 40) - 1) /* the last number */
struct msg_announce {
  uint64_t kind, number;
  struct slice principal; /* base/principal.h */
  struct slice node;      /* to clients: the node that vouches for it, 32 bytes; between nodes the sender does */
  struct slice topic;     /* ANNOUNCE_TOPIC: from nodes in stored form */
};
struct msg_origin {     /* extension `origin`: who published or called, as the sender vouches */
  uint64_t number;      /* that was announced on this connection; 0: none */
  struct slice in_full; /* between nodes, where there is no link to announce it on: the principal */
};
struct msg_publish {
  bool brief;            /* extension `topics`: it has short keys */
  struct slice topic;    /* decoded: may be absent where there is a number */
  uint64_t topic_number; /* extension `topics`: announced before on this connection; written instead of the topic if brief */
  bool own;              /* extension `topics`: from a node: the receiver published it; written if brief */
  struct slice payload;
  uint64_t qos;
  bool retain;
  struct slice message_id; /* 16 bytes; optional on receipt */
  bool wait;               /* extension `wait`: its publisher would rather be held than have a slow reader lose it; QoS 0 */
  uint64_t ref;            /* extension; with has_ref */
  bool has_ref;
  struct slice publisher;  /* extension `node`: the client whose message it is, 32 bytes, with `instance`: for de-duplication */
  struct slice instance;   /* extension `node`: 16 bytes */
  uint64_t replay;         /* extension `node`: retained, in answer to RETAINED_GET with this number; 0: not */
  uint64_t retained_ms;    /* extension `node`: with retain, when its publisher's node took it; 0: absent */
  uint32_t slashes;        /* extension `node`: which separators of the topic its publisher wrote as slashes (names.h) */
  uint64_t connection;     /* extension `node`: the sender's number of the publishing connection, for PACE; 0: absent */
  struct msg_list headers; /* extension `headers`: name, value, name, value (wire/headers.h); count 0: none */
  uint64_t expires_ms;     /* extension `headers`: ms that are left of its time to live; 0: it does not end */
  bool exactly_once;       /* extension `headers`: with qos 1, its publisher used QoS 2 of MQTT */
  struct msg_list groups;  /* extension `groups`: keys (wire/group.h); to a client: of the group as whose member it gets it;
                              between nodes: those of which one member here is to get it; count 0: none */
  struct msg_origin origin;
};
/* Which retained messages a SUBSCRIBE is answered with; on the wire: absent or another number, 0, 2. */
enum msg_retained { RETAINED_IF_NEW, RETAINED_NEVER, RETAINED_ALWAYS };
struct msg_subscribe { /* and UNSUBSCRIBE */
  struct msg_list topics;
  uint64_t qos;       /* not written for UNSUBSCRIBE */
  bool own;           /* extension: deliver the subscriber's own messages too */
  uint8_t retained;   /* extension: enum msg_retained */
  struct slice group; /* extension `groups`: its name; p == NULL: none */
  uint64_t ref;
  bool has_ref;
};
struct msg_call { /* and CAST, without call_id */
  struct slice procedure;
  struct slice args;      /* JSON text */
  struct slice call_id;   /* 16 bytes */
  struct slice realm;     /* optional */
  uint64_t timeout;       /* ms; 0: absent */
  uint64_t at;            /* extension: when it was sent, ms by the sender's clock (base/delay.h); 0: absent */
  enum strategy strategy; /* extension */
  bool idempotent;        /* extension */
  bool once;              /* extension: not tried elsewhere though nothing of it was acknowledged */
  bool waits;             /* extension `node`: the sender knows no other node to try */
  uint64_t ref;           /* extension: CAST only */
  bool has_ref;
  struct msg_origin origin;
};
struct msg_attempt {     /* extension: one failed attempt of a call, for people and logs */
  struct slice provider; /* id, 32 bytes, or empty */
  struct slice code;
  struct slice message;
  bool may_have_run; /* written only if true */
};
struct msg_error {
  struct slice code;
  struct slice message;
  bool may_have_run; /* extension: a handler may have run; written only when has_extra */
  bool has_extra;
  uint32_t attempt_count;             /* extension; written only when has_extra */
  const struct msg_attempt *attempts; /* when encoding */
  struct slice raw_attempts;          /* when decoded: msg_attempt_next */
  bool may_repeat; /* extension `node`: the call is idempotent, or the service whose handler may have run; as may_have_run */
};
bool msg_attempt_next(struct msg_error *e, struct msg_attempt *ret_attempt);
struct msg_reply {
  struct slice call_id;
  struct slice result; /* JSON text; with is_error false */
  bool is_error;
  struct msg_error error;
};
struct msg_route {                  /* RPC_ROUTE and PUBSUB_ROUTE */
  struct slice destination, source; /* node ids */
  uint64_t hop_count, max_hops;
  struct slice payload_type; /* "call" or "reply", between nodes any msg_type_name; RPC_ROUTE only */
  struct slice topic;        /* PUBSUB_ROUTE only */
  struct slice payload;      /* raw MessagePack map: decode with msg_decode(MSG_CALL | MSG_REPLY | MSG_PUBLISH, ...) */
  struct msg_list path;      /* extension `node`: ids of the nodes that it passed, the source first; count 0: absent */
  struct slice seal;         /* extension `node`: key, number and MAC (trust/agree.h); absent with what is signed itself */
};
struct msg_register {
  struct slice procedure;
  uint64_t ttl;    /* extension: seconds; 0: the node's default */
  bool idempotent; /* extension: its calls may run more than once */
  uint64_t ref;
  bool has_ref;
};
struct msg_unregister {
  struct slice procedure;
  uint64_t ref;
  bool has_ref;
};
struct msg_cancel {
  struct slice call_id;
  struct slice reason; /* a code */
  bool large;          /* not on the wire: what it cancels has large arguments, and it must not overtake that */
};
struct msg_find { /* FIND_NODE (key is `target` on the wire) and FIND_VALUE */
  struct slice key;
};
struct msg_node_info {
  struct slice node_id;
  struct slice address; /* text */
  uint64_t last_seen;   /* ms */
};
struct msg_find_reply { /* FIND_NODE_REPLY and FIND_VALUE_REPLY */
  bool is_value;        /* result = "value" */
  struct slice value;   /* raw MessagePack: a map or an array of maps */
  uint32_t node_count;
  const struct msg_node_info *nodes; /* when encoding */
  struct slice raw_nodes;            /* when decoded: msg_node_next */
};
bool msg_node_next(struct msg_find_reply *r, struct msg_node_info *ret_node);
struct msg_record { /* the value of a STORE in the original's form */
  struct slice node_id, endpoint;
  struct slice metadata; /* raw map or absent */
  uint64_t ttl;          /* seconds */
  uint64_t advertised_at;
  bool has_advertised_at;
};
struct msg_store {
  struct slice key;
  struct slice value;  /* raw map: msg_record_decode */
  struct slice result; /* the original's local "store_reply" form, unused */
};

struct msg {
  enum msg_type type;
  union {
    struct msg_connect connect;
    struct msg_disconnect disconnect;
    struct msg_ping ping;
    struct msg_pong pong;
    struct msg_ack ack;
    struct msg_renew renew;
    struct msg_revoked revoked;
    struct msg_pace pace;
    struct msg_notice notice;
    struct msg_claim claim;
    struct msg_announce announce;
    struct msg_publish publish;
    struct msg_subscribe subscribe; /* and unsubscribe */
    struct msg_call call;           /* and cast */
    struct msg_reply reply;
    struct msg_route route;
    struct msg_register reg;
    struct msg_unregister unreg;
    struct msg_cancel cancel;
    struct msg_find find;
    struct msg_find_reply found;
    struct msg_store store;
    struct slice raw; /* SWIM, INTEREST and RETAINED: the whole payload, which has its own codec */
  };
};

/* Every key of PUBLISH but `origin` has a number, too. A payload whose first key is a number has short keys: of those, all
 * others are skipped. */
enum publish_key {
  PUBLISH_NUMBER,
  PUBLISH_TOPIC,
  PUBLISH_PAYLOAD,
  PUBLISH_BY,
  PUBLISH_QOS,
  PUBLISH_RETAIN,
  PUBLISH_ID,
  PUBLISH_REF,
  PUBLISH_OWN,
  PUBLISH_PUBLISHER,
  PUBLISH_INSTANCE,
  PUBLISH_REPLAY,
  PUBLISH_RETAINED_MS,
  PUBLISH_SLASHES,
  PUBLISH_WAIT,
  PUBLISH_CONNECTION,
  PUBLISH_HEADERS,
  PUBLISH_EXPIRES,
  PUBLISH_GROUPS,
  PUBLISH_EXACTLY_ONCE
};

/* Decodes a frame's payload. MACULA_BAD_FRAME (malformed, a required field missing or of the wrong type, trailing bytes,
 * limits), MACULA_UNKNOWN_TYPE. */
int msg_decode(uint8_t type, struct slice payload, struct msg *ret_msg);
/* The `ref` of a payload of any type, known or not. False: malformed, or there is none. */
bool msg_find_ref(struct slice payload, uint64_t *ret_ref);
int msg_record_decode(struct slice raw, struct msg_record *ret_record);

/* Whether a PUBLISH with short keys could also be sent, with an id, to whoever knows only long ones. */
bool msg_publish_fits(const struct msg_publish *p);
/* Bytes that msg_encode will write, header included. */
size_t msg_size(const struct msg *m);
/* Writes header and payload; returns the bytes written, or MACULA_FRAME_TOO_LARGE when the payload passes FRAME_MAX_PAYLOAD,
 * MACULA_EINVAL when cap is too small. */
ptrdiff_t msg_encode(const struct msg *m, uint8_t *ret_buf, size_t cap);
ptrdiff_t msg_record_encode(const struct msg_record *r, uint8_t *ret_buf, size_t cap); /* the map alone */

const char *msg_type_name(uint8_t type); /* "publish"; "unknown" */

#endif
