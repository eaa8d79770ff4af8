/* The limits of a node, and those that are fixed. */
#ifndef NODE_LIMITS_H
#define NODE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#include "base/time.h"

#define NODE_MAX_SOCKETS 16
#define MAX_ASKS 1024u              /* operators' questions that take a while */
#define PEERS_BESIDES_MEMBERS 1024u /* records of nodes that are not members (yet) */
#define MAX_SEEDS 64u               /* addresses to join by; records of the nodes there have room of their own */
#define DIALS_BESIDES_POOL 64u      /* dials to addresses where any node may answer, and links that are closing */

/* One row for each limit. It generates struct node_limits, its defaults, which limits `memory_max: auto` scales, and maculad's
 * options, environment variables, YAML keys, help and manual.
 *
 * X(ID, key, field, kind, default, least, most, scaled, reload, argument, help, more) kind: COUNT (uint32_t), SIZE (size_t,
 * bytes), SIZE32 (uint32_t, bytes) or DURATION (uint64_t, ns). scaled: the lowest value that auto gives it; 0: auto leaves it
 * as it is. reload: whether SIGHUP changes it. more: what the manual says after help. */
enum limit_reload { LIMIT_FIXED, LIMIT_RELOADED };
#define NODE_LIMITS(X)                                                                                                         \
  X(MAX_CLIENTS, max_clients, max_clients, COUNT, 10000, 1, 1000000, 16, LIMIT_RELOADED, "N", "clients",                       \
    "; one more is refused with max_clients_reached")                                                                          \
  X(MAX_OPERATORS, max_operators, max_operators, COUNT, 8, 1, 1000, 0, LIMIT_RELOADED, "N",                                    \
    "slots beyond max_clients for an operator", "")                                                                            \
  X(MAX_SERVICES, max_services, max_services, COUNT, 10000, 1, 10000000, 256, LIMIT_RELOADED, "N", "services",                 \
    "; one more is refused with max_services_reached")                                                                         \
  X(MAX_SUBSCRIPTIONS, max_subscriptions, max_subscriptions, COUNT, 1000000, 1, 100000000, 1000, LIMIT_RELOADED, "N",          \
    "subscriptions", " of all clients")                                                                                        \
  X(MAX_CALLS, max_calls, max_calls, COUNT, 65536, 1, 10000000, 256, LIMIT_RELOADED, "N", "pending calls",                     \
    "; one more is refused with too_many_calls")                                                                               \
  X(MAX_DISCOVERED, max_discovered, max_discovered, COUNT, 1000, 1, 10000000, 64, LIMIT_RELOADED, "N",                         \
    "procedures whose providers at other nodes are remembered",                                                                \
    ", for 60 s, or being looked up; the least recently used makes room")                                                      \
  X(MAX_HALF_OPEN, max_half_open, max_half_open, COUNT, 1024, 1, 1000000, 16, LIMIT_RELOADED, "N",                             \
    "connections that have not said CONNECT", "")                                                                              \
  X(MAX_REPLAYS, max_replays, max_replays, COUNT, 24576, 1, 100000000, 256, LIMIT_RELOADED, "N",                               \
    "subscriptions to which retained messages are still being sent", "; one more gets the new messages only")                  \
  X(MAX_PEERS, max_peers, max_peers, COUNT, 1000, 1, 100000, 8, LIMIT_RELOADED, "N", "connections to other nodes",             \
    "; the least recently used makes room, last those given with join")                                                        \
  X(MAX_MEMBERS, max_members, max_members, COUNT, 10000, 1, 1000000, 64, LIMIT_FIXED, "N", "other nodes known", "")            \
  X(PEER_QUEUE, peer_queue, peer_queue, SIZE, 8 << 20, 65536, UINT64_C(1) << 40, 0, LIMIT_RELOADED, "SIZE",                    \
    "send queue of a connection to another node", "")                                                                          \
  X(MAX_RECORDS, max_records, max_records, COUNT, 100000, 64, 10000000, 1000, LIMIT_FIXED, "N", "records of the DHT held",     \
    " for the mesh; at most a quarter of one publisher")                                                                       \
  X(RECORD_BYTES, record_bytes, record_bytes, SIZE, 64 << 20, 65536, UINT64_C(1) << 40, 512 << 10, LIMIT_FIXED, "SIZE",        \
    "records of the DHT held, bytes", "")                                                                                      \
  X(MAX_LOOKUPS, max_lookups, max_lookups, COUNT, 1024, 4, 100000, 16, LIMIT_FIXED, "N", "lookups in the DHT at once", "")     \
  X(HELD_POOL, held_pool, held_pool, SIZE, 12 << 20, 65536, UINT64_C(1) << 40, 1 << 20, LIMIT_RELOADED, "SIZE",                \
    "frames that wait for a connection to another node", "")                                                                   \
  X(MAX_INTERESTED, max_interested, max_interested, COUNT, 255, 1, 255, 0, LIMIT_RELOADED, "N",                                \
    "other nodes that subscriptions are exchanged with",                                                                       \
    ", at most 255; a publish does not reach the clients of further ones")                                                     \
  X(INTEREST_BYTES, interest_bytes, interest_bytes, SIZE, 56 << 20, 1 << 18, UINT64_C(1) << 40, 512 << 10, LIMIT_RELOADED,     \
    "SIZE", "subscriptions of other nodes' clients, bytes", "; what is beyond is not taken, and counted")                      \
  X(MAX_INFLIGHT, max_inflight, max_inflight, COUNT, 65536, 1, 10000000, 1024, LIMIT_RELOADED, "N",                            \
    "QoS 1 messages that other nodes have not acknowledged",                                                                   \
    ", each counted once a node; one more is refused with rate_limited")                                                       \
  X(MAX_GETS, max_gets, max_gets, COUNT, 10000, 1, 10000000, 256, LIMIT_RELOADED, "N",                                         \
    "new subscriptions that other nodes' retained messages are asked for", "; the oldest makes room")                          \
  X(MAX_FRAME, max_frame, max_frame, SIZE32, FRAME_MAX_PAYLOAD, 4096, 1 << 20, 0, LIMIT_RELOADED, "SIZE", "a frame's payload", \
    ", at most 1MiB")                                                                                                          \
  X(CLIENT_STREAMS, client_streams, client_streams, COUNT, 100, 1, 10000, 0, LIMIT_RELOADED, "N", "streams of a client",       \
    ". A changed value is for connections that come")                                                                          \
  X(CLIENT_SUBSCRIPTIONS, client_subscriptions, client_subscriptions, COUNT, 1000, 1, 10000000, 0, LIMIT_RELOADED, "N",        \
    "subscriptions of a client", "")                                                                                           \
  X(CLIENT_SERVICES, client_services, client_services, COUNT, 256, 1, 10000000, 0, LIMIT_RELOADED, "N",                        \
    "services of a client", "")                                                                                                \
  X(CLIENT_CALLS, client_calls, client_calls, COUNT, 1024, 1, 10000000, 0, LIMIT_RELOADED, "N", "pending calls of a client",   \
    "")                                                                                                                        \
  X(CLIENT_LOOKUPS, client_lookups, client_lookups, COUNT, 64, 1, 100000, 0, LIMIT_RELOADED, "N",                              \
    "lookups in the DHT a second for one client's calls",                                                                      \
    ", in bursts of four times as many, and never more than a sixteenth of max_lookups; a call that needs one more is "        \
    "refused with rate_limited. The first bursts of all connections come from one pool of four bursts, renewed in four "       \
    "seconds. What is known of a procedure's providers needs none for a minute")                                               \
  X(PEER_CALLS, peer_calls, peer_calls, COUNT, 16384, 1, 10000000, 0, LIMIT_RELOADED, "N", "pending calls of another node",    \
    "")                                                                                                                        \
  X(CLIENT_QUEUE, client_queue, client_queue, SIZE, 1 << 20, 65536, UINT64_C(1) << 40, 0, LIMIT_RELOADED, "SIZE",              \
    "send queue of a client", ": beyond, QoS 0 is dropped for it, and QoS 1 disconnects it as slow_consumer")                  \
  X(SEND_POOL, send_pool, send_pool, SIZE, 256 << 20, 1 << 20, UINT64_C(1) << 40, 2 << 20, LIMIT_RELOADED, "SIZE",             \
    "send queues of all clients together", "")                                                                                 \
  X(MQTT_POOL, mqtt_pool, mqtt_pool, SIZE, 0, 0, UINT64_C(1) << 40, 6 << 20, LIMIT_RELOADED, "SIZE",                           \
    "clients of MQTT, and what waits for them",                                                                                \
    ": 64 MiB where a door for them is open, else nothing. Half of it is for messages to clients that are offline, a "         \
    "sixteenth for those to one of them, which are at most 1,000")                                                             \
  X(MQTT_OFFLINE, mqtt_offline, mqtt_offline, COUNT, 5000, 1, 1000000, 8, LIMIT_RELOADED, "N",                                 \
    "sessions of MQTT whose clients are offline",                                                                              \
    "; one more ends the one that has been so for longest, with its queue; its will is published. They count in "              \
    "max_clients, too, of which they leave a 64th free for those who come")                                                    \
  X(HTTP_CONNECTIONS, http_connections, http_connections, COUNT, 64, 8, 1000, 16, LIMIT_FIXED, "N", "connections of HTTP",     \
    ": a quarter is for requests that are answered at once, as probes are; the others may wait for something, as event "       \
    "streams do")                                                                                                              \
  X(HTTP_SHARE, http_share, http_share, COUNT, 16, 1, 1000, 0, LIMIT_RELOADED, "N",                                            \
    "of these, those that wait and come from one address", "; of IPv6 a /64; one more is refused with 503")                    \
  X(HTTP_POOL, http_pool, http_pool, SIZE, 8 << 20, 64 << 10, UINT64_C(1) << 40, 1 << 20, LIMIT_RELOADED, "SIZE",              \
    "bodies of requests over HTTP, answers, and events on their way", "; without room a request is refused with 503")          \
  X(RECEIVE_POOL, receive_pool, receive_pool, SIZE, 192 << 20, 1 << 20, UINT64_C(1) << 40, 2 << 20, LIMIT_RELOADED, "SIZE",    \
    "receive windows and reassembly together", "")                                                                             \
  X(CONNECTION_POOL, connection_pool, connection_pool, SIZE, 64 << 20, 1 << 20, UINT64_C(1) << 40, 1 << 20, LIMIT_RELOADED,    \
    "SIZE", "what connections hold beyond 32 KiB each",                                                                        \
    ": packets on their way, bytes out of order, streams. Connections that are not admitted yet share a quarter of it. One "   \
    "connection takes at most an eighth. From seven eighths on the one that holds the most ends; a mesh link counts as 16 "    \
    "clients")                                                                                                                 \
  X(SUBSCRIPTION_BYTES, subscription_bytes, subscription_bytes, SIZE, 128 << 20, 1 << 16, UINT64_C(1) << 40, 512 << 10,        \
    LIMIT_RELOADED, "SIZE", "subscriptions, bytes", "; one more is refused with max_subscriptions_reached")                    \
  X(CALL_BYTES, call_bytes, call_bytes, SIZE, 64 << 20, 1 << 20, UINT64_C(1) << 40, 2 << 20, LIMIT_RELOADED, "SIZE",           \
    "arguments of pending calls, bytes", "; one more is refused with too_many_calls")                                          \
  X(ADMIN_BYTES, admin_bytes, admin_bytes, SIZE, 8 << 20, 1 << 20, UINT64_C(1) << 40, 4 << 20, LIMIT_RELOADED, "SIZE",         \
    "answers to HTTP and macula status, bytes", " while they are made and sent")                                               \
  X(RETAINED_COUNT, retained_count, retained_count, COUNT, 10000, 1, 100000000, 256, LIMIT_RELOADED, "N", "retained messages", \
    "")                                                                                                                        \
  X(RETAINED_BYTES, retained_bytes, retained_bytes, SIZE, 16 << 20, 1, UINT64_C(1) << 40, 512 << 10, LIMIT_RELOADED, "SIZE",   \
    "retained messages, bytes",                                                                                                \
    ". One identity holds at most as much of both as is left for the others, else its message is refused with "                \
    "quota_reached")                                                                                                           \
  X(RETAINED_DISK, retained_disk, retained_disk, SIZE, 0, 0, UINT64_C(1) << 40, 0, LIMIT_FIXED, "SIZE",                        \
    "file in the state folder that keeps retained messages over a restart",                                                    \
    ": as large as retained_count and retained_bytes need it unless it is given; off: there is none. It is made, and all of "  \
    "its room taken, with the first retained message")                                                                         \
  X(RETAINED_TTL, retained_ttl, retained_ttl, DURATION, 365 * 24 * 3600 * NS_SEC, NS_SEC, 3650 * 24 * 3600 * NS_SEC, 0,        \
    LIMIT_RELOADED, "T", "a retained message that is not published again ends after this long", "")                            \
  X(ACCESS_BYTES, access_bytes, access_bytes, SIZE, 8 << 20, 64 << 10, UINT64_C(1) << 40, 512 << 10, LIMIT_RELOADED, "SIZE",   \
    "the access file as it is kept, bytes", "; while it is read again the old one and the new one")                            \
  X(PASS_BYTES, pass_bytes, pass_bytes, SIZE, 8 << 20, 64 << 10, UINT64_C(1) << 40, 128 << 10, LIMIT_RELOADED, "SIZE",         \
    "passes that were verified, bytes", ": those of clients that are gone make room; when none is, one more is refused")       \
  X(ORIGIN_BYTES, origin_bytes, origin_bytes, SIZE, 16 << 20, 64 << 10, UINT64_C(1) << 40, 256 << 10, LIMIT_RELOADED, "SIZE",  \
    "who published and called, bytes",                                                                                         \
    ", and numbers of topics: those who are gone make room; without room messages come without it, and topics are spelled")    \
  X(DEDUP_IDS, dedup_ids, dedup_ids, COUNT, 65536, 1, 100000000, 1024, LIMIT_RELOADED, "N", "QoS 1 message ids remembered",    \
    ", to deliver once")                                                                                                       \
  X(DEDUP_TIME, dedup_time, dedup_ns, DURATION, 60 * NS_SEC, NS_SEC, 24 * 3600 * NS_SEC, 0, LIMIT_RELOADED, "T",               \
    "how long they are remembered", "")                                                                                        \
  X(SERVICE_TTL, service_ttl, service_ttl, DURATION, 300 * NS_SEC, NS_SEC, 24 * 3600 * NS_SEC, 0, LIMIT_RELOADED, "T",         \
    "a service that is not renewed ends after this long", "")                                                                  \
  X(CONNECT_TIMEOUT, connect_timeout, connect_timeout, DURATION, 10 * NS_SEC, NS_MS, 3600 * NS_SEC, 0, LIMIT_RELOADED, "T",    \
    "time for a connection to say CONNECT", "")                                                                                \
  X(DRAIN_TIMEOUT, drain_timeout, drain_timeout, DURATION, 5 * NS_SEC, NS_MS, 5 * NS_SEC, 0, LIMIT_RELOADED, "T",              \
    "time for calls and QoS 1 messages under way at the end",                                                                  \
    " (SIGTERM, SIGINT): calls of its clients and to them, those from and to other nodes included, and QoS 1 messages that "   \
    "other nodes have not acknowledged; at most 5s. New calls are answered shutting_down, so that other nodes try other "      \
    "providers. When nothing is left, or the time is over, it tells the other nodes that it leaves, and ends")

struct node_limits { /* 0 is replaced by the default */
#define LIMIT_COUNT(field) uint32_t field;
#define LIMIT_SIZE(field) size_t field;
#define LIMIT_SIZE32(field) uint32_t field;
#define LIMIT_DURATION(field) uint64_t field;
#define LIMIT_FIELD(id, key, field, kind, ...) LIMIT_##kind(field)
  NODE_LIMITS(LIMIT_FIELD)
#undef LIMIT_COUNT
#undef LIMIT_SIZE
#undef LIMIT_SIZE32
#undef LIMIT_DURATION
#undef LIMIT_FIELD
  uint64_t memory_max; /* bytes that the plan may take, for display; 0: unlimited */
};

void node_limits_default(struct node_limits *ret_limits);
void node_limits_fill(struct node_limits *l); /* defaults for what is 0 */
/* Takes those of `wanted` that can change while the node runs. */
void node_limits_reload(struct node_limits *l, const struct node_limits *wanted);

/* The most records of other nodes; the most links to them; the most connections that may have a session. */
uint32_t limits_peer_records(const struct node_limits *l);
uint32_t limits_links(const struct node_limits *l);
uint32_t limits_connections(const struct node_limits *l);
/* The rate of lookups for one client: capped so that a client that starts lookups at this rate, each lasting as long as a
 * lookup can, leaves most of max_lookups to others. */
uint32_t limits_party_lookups(const struct node_limits *l);
/* the most accounts of identities: one for each connection and each retained message */
uint32_t limits_accounts(const struct node_limits *l);

#endif
