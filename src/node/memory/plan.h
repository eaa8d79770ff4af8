/* The plan: the most memory that a node with these limits can ever use, row by row. A pure function of the limits.
 *
 * The most bytes that one entry takes were measured (docs/memory.md names the command). Each account's limit is the figure of
 * its row, so accounted memory cannot exceed the plan whatever peers do. */
#ifndef NODE_PLAN_H
#define NODE_PLAN_H

#include "node/node.h"

/* The most bytes that one of these takes: */
#define PLAN_KEYS (7u << 10)       /* connection: its packet keys in GnuTLS */
#define PLAN_HANDSHAKE (48u << 10) /* TLS session; it lasts as long as the handshake */
#define PLAN_HTTP (40u << 10)      /* connection of HTTP: buffers, and what libmicrohttpd keeps; set aside at the start */
/* What the allocator takes for a block at most: it has four sizes a doubling. */
#define PLAN_BLOCK(size) ((size) + (size) / 4 + 16)
#define PLAN_SLOT 32u             /* entry of a hash table: its slots, also while they grow */
#define PLAN_PASSWORD 96u         /* a password that was right */
#define PLAN_PASSWORD_CHECK 1664u /* one that is checked */
#define PLAN_ACCOUNT 352u         /* what an identity uses */
#define PLAN_FANOUT (24u << 10)   /* a message that many get: its encoded forms, if they are small, and what finds those */
#define PLAN_FLOW 20u             /* client: what is kept of readers with long queues, and of publishers that wait for them; */
#define PLAN_FLOWS (8u << 10)     /* and for few clients */
#define PLAN_PACE 160u            /* connection that waits for a reader at another node, or at one for a reader here */
#define PLAN_REPLAY 352u          /* subscription to which retained messages are still being sent */
#define PLAN_SERVICE 560u         /* service with a name of 255 bytes and a provider of its own */
#define PLAN_CALL 848u            /* pending call of such a procedure, without its arguments */
#define PLAN_DISCOVERED 4608u     /* such a procedure with 32 nodes that provide it, being looked up again */
#define PLAN_RETAINED 320u        /* retained message beside its topic and payload */
#define PLAN_GONE 320u            /* topic that was cleared, and stands in the file yet */
#define PLAN_DISK_JOB (64u << 10) /* what is being written to it */
#define PLAN_WILL 64u             /* a client's will, with its share of those that wait */
#define PLAN_DEDUP 184u           /* message id */
#define PLAN_INFLIGHT 256u        /* QoS 1 message that another node has not acknowledged */
#define PLAN_GET 832u             /* new subscription, and what other nodes told it */
/* For the whole node, or for one entry of its DHT and membership: */
#define PLAN_RECORD 160u            /* record or tombstone of the DHT beside its signed bytes */
#define PLAN_STORE (1u << 20)       /* chunks of the store that are not full: one for each block size */
#define PLAN_VERIFIED (640u << 10)  /* signed batches that were verified, remembered */
#define PLAN_CONTACT 192u           /* node in the routing table */
#define PLAN_LOOKUP (15u << 10)     /* running lookup */
#define PLAN_OWN 512u               /* record of the node's own, with its part of a signed batch; withdrawn ones make room */
#define PLAN_HOLDERS (2u << 20)     /* which nodes hold its records, and to which nodes records are under way */
#define PLAN_MEMBER 816u            /* member, with its signed record */
#define PLAN_GOSSIP (2u << 20)      /* frames of the membership that wait to be sent */
#define PLAN_SEEDS (64u << 10)      /* addresses to join by, and of lost nodes */
#define PLAN_SILENT 160u            /* address that was dialled and did not answer */
#define PLAN_TABLE 1024u            /* table that has few entries */
#define PLAN_TLS_SHARED (2u << 20)  /* priorities, own certificate, CA list */
#define PLAN_UNACCOUNTED (6u << 20) /* heap without an account: sockets' buffers, HTTP connections, libraries' own */
#define PLAN_PROGRAM (8u << 20)     /* programs, libraries and stacks in memory */
/* Clients of MQTT. One has a slot of max_clients, which is planned as one of QUIC: what that does not need for it goes to these
 * (lend.h). */
#define PLAN_MQTT_CLIENT (4u << 10) /* connection and session, */
#define PLAN_TLS_MORE (8u << 10)    /* over TLS what GnuTLS has beyond the keys of a connection of QUIC, */
#define PLAN_TCP_SLOT (24u << 10)   /* and a part of what the kernel has of its socket: */
#define PLAN_TCP (44u << 10)        /* buffers as they are at first, 40 KiB, and what it keeps of a socket beside */
#define PLAN_MQTT_OWN (1u << 20)    /* tables, and what nobody else can have taken */
#define PLAN_FRAGMENTED 8u          /* an eighth of all heap may lie idle between blocks in use */

struct plan_row {
  const char *name, *what, *keys; /* keys: options that lower it, separated by blanks; "": none */
  uint64_t entries, each, beside; /* entries 0: bounded in bytes alone */
  uint64_t bytes;                 /* entries x each + beside */
};

#define PLAN_MAX_ROWS 64
struct plan {
  struct plan_row rows[PLAN_MAX_ROWS]; /* largest first */
  size_t count;
  uint64_t total;
  /* Bytes that the kernel may hold of sockets of TCP clients beyond what their slots have for it: beside the total, as it is
   * not the process's. */
  uint64_t kernel;
  uint64_t borrowed; /* of send_queues, bytes that clients of MQTT may take */
};

/* l: as given to node_new; 0 counts as the default. */
void node_plan(const struct node_limits *l, struct plan *ret_plan);

/* mqtt_pool: what of it is planned for itself, and what may be taken of send_pool; both 0: no door for MQTT is open. */
uint64_t plan_mqtt_own(const struct node_limits *l);
uint64_t plan_mqtt_borrowed(const struct node_limits *l);
/* What the kernel's buffers of clients of MQTT may grow by, together, bytes. l: limits without 0. */
uint64_t plan_tcp_more(const struct node_limits *l);

/* The bytes that the file with retained messages needs, so that all of them always fit. l: limits without 0. */
uint64_t plan_retained_disk(const struct node_limits *l);

struct plan_change {
  const char *key;
  uint64_t from, to;
  bool is_size; /* else a number of entries */
};
#define PLAN_MAX_CHANGES 32

/* Lowers the limits that depend on the number of clients, all by one factor, until the plan, and what the kernel may hold if
 * `kernel` is set, is at most max bytes. keep (may be NULL): keys that must stay as they are. MACULA_EFULL: not even the
 * smallest limits fit; *l then holds those. */
int plan_fit(struct node_limits *l, uint64_t max, bool kernel, bool (*keep)(void *ctx, const char *key), void *ctx,
             struct plan_change ret_changes[PLAN_MAX_CHANGES], size_t *ret_count);

#endif
