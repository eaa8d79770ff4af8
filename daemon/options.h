/* maculad's options, once: each row is a YAML key, a --flag (dashes for underscores) and a MACULA_KEY environment variable. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

/* What may change on SIGHUP. */
enum option_reload { OPTION_FIXED, OPTION_RELOADED };

/* X(ID, key, type, member of struct config, least, most, reload, argument, help)
 * A text option's most is its length. Defaults stand in config_defaults and, for limits, in the node. */
#define OPTION_MAP(X)                                                                                                          \
  X(LISTEN, listen, ADDRS, listen, 0, 9443, OPTION_FIXED, "ADDR:PORT",                                                         \
    "UDP addresses to serve, separated by commas (127.0.0.1:9443)")                                                            \
  X(JOIN, join, SEEDS, join, 0, 9443, OPTION_FIXED, "ADDR,ADDR...",                                                            \
    "nodes of the mesh to join: HOST, HOST:PORT or macula://ID@HOST:PORT")                                                     \
  X(ADVERTISE, advertise, TEXT, advertise, 1, 255, OPTION_FIXED, "HOST:PORT",                                                  \
    "where other nodes reach this one (its own address, or the one that they see)")                                            \
  X(NO_LISTEN, no_listen, BOOL, no_listen, 0, 1, OPTION_FIXED, NULL,                                                           \
    "no other node can reach this one (NAT): it is served through the nodes that it joins")                                    \
  X(REALM, realm, REALM, realm, 1, 255, OPTION_FIXED, "NAME", "the realm served (default)")                                    \
  X(NAME, name, TEXT, name, 0, 64, OPTION_FIXED, "NAME", "a label for people (the host's name)")                               \
  X(STATE, state, TEXT, state, 1, 4000, OPTION_FIXED, "DIR", "state folder, made if it is missing")                            \
  X(HTTP, http, HTTP, http, 0, 8080, OPTION_FIXED, "ADDR:PORT|off", "health, metrics and /api (127.0.0.1:8080)")               \
  X(HTTP_TOKEN, http_token, TEXT, http_token, 1, 4000, OPTION_RELOADED, "FILE", "file with the token that /api asks for")      \
  X(ACCESS, access, ACCESS, access, 1, 4000, OPTION_RELOADED, "open|token:FILE",                                               \
    "who may connect; must be said off loopback (open)")                                                                       \
  X(ALLOW_UNVERIFIED, allow_unverified, BOOL, allow_unverified, 0, 1, OPTION_FIXED, NULL,                                      \
    "let clients without certificate in, base-only ones included")                                                             \
  X(ADMIN_KEYS, admin_keys, IDS, admin_keys, 0, 0, OPTION_FIXED, "ID,ID...", "client ids with an operator's rights")           \
  X(CERT, cert, TEXT, cert, 1, 4000, OPTION_RELOADED, "FILE", "certificate chain, PEM (one is made in the state folder)")      \
  X(KEY, key, TEXT, key, 1, 4000, OPTION_RELOADED, "FILE", "its private key, PEM (the cert file's)")                           \
  X(CA, ca, TEXT, ca, 1, 4000, OPTION_RELOADED, "FILE", "clients' certificates must be issued by one of these, PEM")           \
  X(IDLE_TIMEOUT, idle_timeout, DURATION, idle_timeout, NS_SEC, 24 * 3600 * NS_SEC, OPTION_FIXED, "T",                         \
    "a silent connection ends after this long")                                                                                \
  X(KEEP_ALIVE, keep_alive, DURATION, keep_alive, NS_SEC, 24 * 3600 * NS_SEC, OPTION_FIXED, "T",                               \
    "ping clients that cannot keep a connection alive themselves")                                                             \
  X(LOG_LEVEL, log_level, LEVEL, log_level, 0, 0, OPTION_RELOADED, "LEVEL", "error, warn, info or debug")                      \
  X(LOG_FORMAT, log_format, FORMAT, log_json, 0, 0, OPTION_RELOADED, "text|json", "key=value lines, or a JSON object a line")  \
  X(MEMORY_MAX, memory_max, MEMORY, memory, 1 << 20, UINT64_C(1) << 50, OPTION_FIXED, "SIZE|auto",                             \
    "refuse limits that could use more memory; auto: lower them to what the machine has")                                      \
  X(MAX_CLIENTS, max_clients, COUNT, limits.max_clients, 1, 1000000, OPTION_RELOADED, "N", "clients")                          \
  X(MAX_OPERATORS, max_operators, COUNT, limits.max_operators, 1, 1000, OPTION_RELOADED, "N",                                  \
    "slots beyond max_clients for an operator")                                                                                \
  X(MAX_SERVICES, max_services, COUNT, limits.max_services, 1, 10000000, OPTION_RELOADED, "N", "services")                     \
  X(MAX_SUBSCRIPTIONS, max_subscriptions, COUNT, limits.max_subscriptions, 1, 100000000, OPTION_RELOADED, "N",                 \
    "subscriptions")                                                                                                           \
  X(MAX_CALLS, max_calls, COUNT, limits.max_calls, 1, 10000000, OPTION_RELOADED, "N", "pending calls")                         \
  X(MAX_DISCOVERED, max_discovered, COUNT, limits.max_discovered, 1, 10000000, OPTION_RELOADED, "N",                           \
    "procedures whose providers at other nodes are remembered")                                                                \
  X(MAX_HALF_OPEN, max_half_open, COUNT, limits.max_half_open, 1, 1000000, OPTION_RELOADED, "N",                               \
    "connections that have not said CONNECT")                                                                                  \
  X(MAX_REPLAYS, max_replays, COUNT, limits.max_replays, 1, 100000000, OPTION_RELOADED, "N",                                   \
    "subscriptions to which retained messages are still being sent")                                                           \
  X(MAX_PEERS, max_peers, COUNT, limits.max_peers, 1, 100000, OPTION_RELOADED, "N", "connections to other nodes")              \
  X(MAX_MEMBERS, max_members, COUNT, limits.max_members, 1, 1000000, OPTION_FIXED, "N", "other nodes known")                   \
  X(PEER_QUEUE, peer_queue, SIZE, limits.peer_queue, 65536, UINT64_C(1) << 40, OPTION_RELOADED, "SIZE",                        \
    "send queue of a connection to another node")                                                                              \
  X(MAX_RECORDS, max_records, COUNT, limits.max_records, 64, 10000000, OPTION_FIXED, "N", "records of the DHT held")           \
  X(RECORD_BYTES, record_bytes, SIZE, limits.record_bytes, 65536, UINT64_C(1) << 40, OPTION_FIXED, "SIZE",                     \
    "records of the DHT held, octets")                                                                                         \
  X(MAX_LOOKUPS, max_lookups, COUNT, limits.max_lookups, 4, 100000, OPTION_FIXED, "N", "lookups in the DHT at once")           \
  X(HELD_POOL, held_pool, SIZE, limits.held_pool, 65536, UINT64_C(1) << 40, OPTION_RELOADED, "SIZE",                           \
    "frames that wait for a connection to another node")                                                                       \
  X(MAX_INTERESTED, max_interested, COUNT, limits.max_interested, 1, 255, OPTION_RELOADED, "N",                                \
    "other nodes that subscriptions are exchanged with")                                                                       \
  X(INTEREST_BYTES, interest_bytes, SIZE, limits.interest_bytes, 1 << 18, UINT64_C(1) << 40, OPTION_RELOADED, "SIZE",          \
    "subscriptions of other nodes' clients, octets")                                                                           \
  X(MAX_INFLIGHT, max_inflight, COUNT, limits.max_inflight, 1, 10000000, OPTION_RELOADED, "N",                                 \
    "QoS 1 messages that other nodes have not acknowledged")                                                                   \
  X(MAX_GETS, max_gets, COUNT, limits.max_gets, 1, 10000000, OPTION_RELOADED, "N",                                             \
    "new subscriptions that other nodes' retained messages are asked for")                                                     \
  X(MAX_FRAME, max_frame, SIZE32, limits.max_frame, 4096, 1 << 20, OPTION_RELOADED, "SIZE", "a frame's payload")               \
  X(CLIENT_STREAMS, client_streams, COUNT, limits.client_streams, 1, 10000, OPTION_RELOADED, "N", "streams of a client")       \
  X(CLIENT_SUBSCRIPTIONS, client_subscriptions, COUNT, limits.client_subscriptions, 1, 10000000, OPTION_RELOADED, "N",         \
    "subscriptions of a client")                                                                                               \
  X(CLIENT_SERVICES, client_services, COUNT, limits.client_services, 1, 10000000, OPTION_RELOADED, "N",                        \
    "services of a client")                                                                                                    \
  X(CLIENT_CALLS, client_calls, COUNT, limits.client_calls, 1, 10000000, OPTION_RELOADED, "N", "pending calls of a client")    \
  X(CLIENT_LOOKUPS, client_lookups, COUNT, limits.client_lookups, 1, 100000, OPTION_RELOADED, "N",                             \
    "lookups in the DHT a second for one client's calls")                                                                      \
  X(PEER_CALLS, peer_calls, COUNT, limits.peer_calls, 1, 10000000, OPTION_RELOADED, "N", "pending calls of another node")      \
  X(CLIENT_QUEUE, client_queue, SIZE, limits.client_queue, 65536, UINT64_C(1) << 40, OPTION_RELOADED, "SIZE",                  \
    "send queue of a client")                                                                                                  \
  X(SEND_POOL, send_pool, SIZE, limits.send_pool, 1 << 20, UINT64_C(1) << 40, OPTION_RELOADED, "SIZE",                         \
    "send queues of all clients together")                                                                                     \
  X(RECEIVE_POOL, receive_pool, SIZE, limits.receive_pool, 1 << 20, UINT64_C(1) << 40, OPTION_RELOADED, "SIZE",                \
    "receive windows and reassembly together")                                                                                 \
  X(CONNECTION_POOL, connection_pool, SIZE, limits.connection_pool, 1 << 20, UINT64_C(1) << 40, OPTION_RELOADED, "SIZE",       \
    "what connections hold beyond 32 KiB each")                                                                                \
  X(SUBSCRIPTION_BYTES, subscription_bytes, SIZE, limits.subscription_bytes, 1 << 16, UINT64_C(1) << 40, OPTION_RELOADED,      \
    "SIZE", "subscriptions, octets")                                                                                           \
  X(CALL_BYTES, call_bytes, SIZE, limits.call_bytes, 1 << 20, UINT64_C(1) << 40, OPTION_RELOADED, "SIZE",                      \
    "arguments of pending calls, octets")                                                                                      \
  X(ADMIN_BYTES, admin_bytes, SIZE, limits.admin_bytes, 1 << 20, UINT64_C(1) << 40, OPTION_RELOADED, "SIZE",                   \
    "answers to HTTP and macula status, octets")                                                                               \
  X(RETAINED_COUNT, retained_count, COUNT, limits.retained_count, 1, 100000000, OPTION_RELOADED, "N", "retained messages")     \
  X(RETAINED_BYTES, retained_bytes, SIZE, limits.retained_bytes, 1, UINT64_C(1) << 40, OPTION_RELOADED, "SIZE",                \
    "retained messages, octets")                                                                                               \
  X(DEDUP_IDS, dedup_ids, COUNT, limits.dedup_ids, 1, 100000000, OPTION_RELOADED, "N", "QoS 1 message ids remembered")         \
  X(DEDUP_TIME, dedup_time, DURATION, limits.dedup_ns, NS_SEC, 24 * 3600 * NS_SEC, OPTION_RELOADED, "T",                       \
    "how long they are remembered")                                                                                            \
  X(SERVICE_TTL, service_ttl, DURATION, limits.service_ttl, NS_SEC, 24 * 3600 * NS_SEC, OPTION_RELOADED, "T",                  \
    "a service that is not renewed ends after this long")                                                                      \
  X(CONNECT_TIMEOUT, connect_timeout, DURATION, limits.connect_timeout, NS_MS, 3600 * NS_SEC, OPTION_RELOADED, "T",            \
    "time for a connection to say CONNECT")                                                                                    \
  X(DRAIN_TIMEOUT, drain_timeout, DURATION, limits.drain_timeout, NS_MS, 5 * NS_SEC, OPTION_RELOADED, "T",                     \
    "time for calls and QoS 1 messages under way at the end")

enum option {
#define OPTION_ENUM(id, ...) OPTION_##id,
  OPTION_MAP(OPTION_ENUM)
#undef OPTION_ENUM
      OPTION_COUNT
};

#endif
