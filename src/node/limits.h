/* The limits of a node, and those that are fixed. */
#ifndef NODE_LIMITS_H
#define NODE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#define NODE_MAX_SOCKETS 16
#define MAX_ASKS 1024u              /* operators' questions that take a while */
#define PEERS_BESIDES_MEMBERS 1024u /* records of nodes that are not members (yet) */
#define MAX_SEEDS 64u               /* addresses to join by; their nodes' records find room beyond those of all others */
#define DIALS_BESIDES_POOL 64u      /* dials to addresses whose node is not known, and links that linger */

struct node_limits {             /* DESIGN's table; 0 is replaced by the default of node_limits_default */
  uint32_t max_clients;          /* 10,000 */
  uint32_t max_operators;        /* 8 */
  uint32_t max_services;         /* 10,000 */
  uint32_t client_streams;       /* 100 */
  uint32_t client_subscriptions; /* 1,000 */
  uint32_t client_services;      /* 256 */
  uint32_t client_calls;         /* 1,024 */
  uint32_t client_lookups;       /* 64: a second, in the DHT, that a client's calls may begin; bursts of four times as many */
  uint32_t peer_calls;           /* 16,384: pending calls of another node */
  uint32_t max_calls;            /* 65,536 */
  uint32_t max_discovered;       /* 1,000: procedures whose providers at other nodes are remembered or looked up */
  uint32_t max_subscriptions;    /* 1,000,000 */
  size_t client_queue;           /* 1 MiB */
  size_t send_pool;              /* 256 MiB */
  size_t receive_pool;           /* 192 MiB */
  uint32_t max_frame;            /* 1 MiB, payload */
  uint32_t max_half_open;        /* 1,024 */
  size_t connection_pool;        /* 64 MiB: what connections hold beyond QUIC_CONN_MEMORY each */
  size_t subscription_bytes;     /* 128 MiB */
  uint32_t max_replays;          /* 32,768: subscriptions to which retained messages are still being sent */
  size_t call_bytes;             /* 64 MiB: arguments of pending calls */
  size_t admin_bytes;            /* 16 MiB: answers to HTTP and macula status */
  uint32_t max_peers;            /* mesh connections: 1,000 */
  uint32_t max_members;          /* other nodes known: 10,000 */
  size_t peer_queue;             /* send queue of a mesh connection: 8 MiB */
  uint32_t max_records;          /* of the DHT: 100,000 */
  size_t record_bytes;           /* 64 MiB */
  uint32_t max_lookups;          /* in the DHT, at once: 1,024 */
  size_t held_pool;              /* frames that wait for a mesh connection: 16 MiB */
  uint32_t max_interested;       /* other nodes that subscriptions are exchanged with: 255, the most */
  size_t interest_bytes;         /* what they subscribe to: 64 MiB */
  uint32_t max_inflight;         /* QoS 1 messages between nodes, each counted once a node: 65,536 */
  uint32_t max_gets;             /* new subscriptions that other nodes' retained messages are wanted for: 10,000 */
  uint32_t retained_count;       /* 10,000 */
  size_t retained_bytes;         /* 16 MiB */
  uint32_t dedup_ids;            /* 65,536 */
  uint64_t dedup_ns;             /* 60 s */
  uint64_t service_ttl;          /* ns: 300 s */
  uint64_t connect_timeout;      /* ns: 10 s */
  uint64_t drain_timeout;        /* ns: 5 s */
  uint64_t memory_max;           /* octets that the plan may take, for display; 0: unlimited */
};

void node_limits_default(struct node_limits *ret_limits);
void node_limits_fill(struct node_limits *l); /* defaults for what is 0 */

/* Records of other nodes, and connections that may have a session, at most. */
uint32_t limits_peer_records(const struct node_limits *l);
uint32_t limits_connections(const struct node_limits *l);

#endif
