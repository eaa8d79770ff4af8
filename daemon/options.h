/* maculad's options, once: each row is a YAML key, a --flag (dashes for underscores) and a MACULA_KEY environment variable. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include "node/limits.h"

/* X(ID, key, type, member of struct config, least, most, reload, argument, help)
 * A text option's most is its length; that of addresses is the port where none is given, and their least is how many they are.
 * Defaults stand in config_defaults. The limits follow: node/limits.h. */
#define OPTION_MAP(X)                                                                                                          \
  X(LISTEN, listen, ADDRS, listen, 1, 9443, LIMIT_FIXED, "ADDR:PORT",                                                          \
    "UDP addresses to serve, separated by commas (127.0.0.1:9443)")                                                            \
  X(MQTT, mqtt, ADDRS, mqtt, 0, 1883, LIMIT_FIXED, "ADDR:PORT|off",                                                            \
    "TCP addresses to serve clients of MQTT at, separated by commas (127.0.0.1:1883 where listen is loopback)")                \
  X(MQTTS, mqtts, ADDRS, mqtts, 0, 8883, LIMIT_FIXED, "ADDR:PORT|off", "the same over TLS, with the node's certificate (off)") \
  X(MQTT_WS, mqtt_ws, ADDRS, mqtt_ws, 0, 8083, LIMIT_FIXED, "ADDR:PORT|off", "the same over WebSocket, at /mqtt (off)")        \
  X(MQTT_WSS, mqtt_wss, ADDRS, mqtt_wss, 0, 8084, LIMIT_FIXED, "ADDR:PORT|off", "the same over WebSocket and TLS (off)")       \
  X(MQTT_ORIGINS, mqtt_origins, ORIGINS, mqtt_origins, 0, 4000, LIMIT_RELOADED, "URL,URL...",                                  \
    "other origins whose web pages may come by WebSocket, as https://HOST:PORT")                                               \
  X(MQTT_DROP_OLDEST, mqtt_drop_oldest, BOOL, node.mqtt_drops_oldest, 0, 1, LIMIT_FIXED, NULL,                                 \
    "of a full queue of an MQTT session the oldest messages go (the newest are refused)")                                      \
  X(JOIN, join, SEEDS, join, 0, 9443, LIMIT_FIXED, "ADDR,ADDR...",                                                             \
    "nodes of the mesh to join: HOST, HOST:PORT or macula://ID@HOST:PORT")                                                     \
  X(ADVERTISE, advertise, PLACE, advertise, 0, 9443, LIMIT_FIXED, "HOST:PORT",                                                 \
    "where other nodes reach this one (its own address, or the one that they see)")                                            \
  X(NO_LISTEN, no_listen, BOOL, node.hidden, 0, 1, LIMIT_FIXED, NULL,                                                          \
    "no other node can reach this one (NAT): it is served through the nodes that it joins")                                    \
  X(REALM, realm, REALM, node.realm, 1, 255, LIMIT_FIXED, "NAME", "the realm served (default)")                                \
  X(NAME, name, TEXT, node.name, 0, 64, LIMIT_FIXED, "NAME", "a label for people (the host's name)")                           \
  X(STATE, state, TEXT, state, 1, 4000, LIMIT_FIXED, "DIR", "state folder, made if it is missing")                             \
  X(HTTP, http, HTTP, http, 0, 8080, LIMIT_FIXED, "ADDR:PORT|off", "health, metrics and /api (127.0.0.1:8080)")                \
  X(HTTP_TOKEN, http_token, TEXT, http_token, 1, 4000, LIMIT_RELOADED, "FILE", "file with the token that /api asks for")       \
  X(HTTP_TLS, http_tls, BOOL, http_tls, 0, 1, LIMIT_RELOADED, NULL, "HTTPS, with the node's certificate")                      \
  X(HTTP_CERT, http_cert, TEXT, http_cert, 1, 4000, LIMIT_RELOADED, "FILE", "HTTPS, with this certificate chain, PEM")         \
  X(HTTP_KEY, http_key, TEXT, http_key, 1, 4000, LIMIT_RELOADED, "FILE", "its private key, PEM (the http_cert file's)")        \
  X(HTTP_HOSTS, http_hosts, HOSTS, http_hosts, 0, 4000, LIMIT_RELOADED, "HOST,HOST...",                                        \
    "names by which HTTP and WebSocket are reached, beside addresses and localhost")                                           \
  X(HTTP_ORIGINS, http_origins, ORIGINS, http_origins, 0, 4000, LIMIT_RELOADED, "URL,URL...",                                  \
    "other origins whose web pages may ask, as https://HOST:PORT")                                                             \
  X(ACCESS, access, ACCESS, access, 1, 4000, LIMIT_RELOADED, "open|FILE",                                                      \
    "who may do what: a file of grants, tokens, users and keys; needed off loopback (open)")                                   \
  X(REALM_KEYS, realm_keys, IDS, realm_keys, 0, 0, LIMIT_RELOADED, "ID,ID...",                                                 \
    "instead of a file: whoever shows a pass that one of these realm keys signed")                                             \
  X(PASS, pass, TEXT, pass, 1, 4000, LIMIT_RELOADED, "FILE", "this node's own pass, shown to clients and other nodes")         \
  X(ALLOW_UNVERIFIED, allow_unverified, BOOL, node.allow_unverified, 0, 1, LIMIT_FIXED, NULL,                                  \
    "with open access: let clients without certificate in")                                                                    \
  X(CERT, cert, TEXT, cert, 1, 4000, LIMIT_RELOADED, "FILE", "certificate chain, PEM (one is made in the state folder)")       \
  X(KEY, key, TEXT, key, 1, 4000, LIMIT_RELOADED, "FILE", "its private key, PEM (the cert file's)")                            \
  X(CA, ca, TEXT, ca, 1, 4000, LIMIT_RELOADED, "FILE", "clients' certificates must be issued by one of these, PEM")            \
  X(IDLE_TIMEOUT, idle_timeout, DURATION, node.idle_timeout, NS_SEC, 24 * 3600 * NS_SEC, LIMIT_FIXED, "T",                     \
    "a silent connection ends after this long")                                                                                \
  X(KEEP_ALIVE, keep_alive, DURATION, node.keep_alive, NS_SEC, 24 * 3600 * NS_SEC, LIMIT_FIXED, "T",                           \
    "ping clients that cannot keep a connection alive themselves")                                                             \
  X(LOG_LEVEL, log_level, LEVEL, log_level, 0, 0, LIMIT_RELOADED, "error|warn|info|debug", "what is logged")                   \
  X(LOG_FORMAT, log_format, FORMAT, log_json, 0, 0, LIMIT_RELOADED, "text|json", "key=value lines, or a JSON object a line")   \
  X(MEMORY_MAX, memory_max, MEMORY, memory, 1 << 20, UINT64_C(1) << 50, LIMIT_FIXED, "SIZE|auto|auto:SIZE",                    \
    "refuse limits that could use more memory; auto: lower them to what the machine has, or to SIZE")

/* A limit's row as an option's. */
#define LIMIT_OPTION(X, id, key, field, kind, value, least, most, scaled, reload, arg, help, more)                             \
  X(id, key, kind, node.limits.field, least, most, reload, arg, help, more)

enum option {
#define OPTION_ENUM(id, ...) OPTION_##id,
#define OPTION_OF_LIMIT(...) LIMIT_OPTION(OPTION_ENUM, __VA_ARGS__)
  OPTION_MAP(OPTION_ENUM) NODE_LIMITS(OPTION_OF_LIMIT)
#undef OPTION_OF_LIMIT
#undef OPTION_ENUM
      OPTION_COUNT
};

#endif
