/* Macula: error codes.
 *
 * One list holds every code: its enumerator, its number, the name that travels on the wire and that scripts see, and the
 * text a person reads. The number is also the QUIC application error code (RFC 9000, section 20.2) of a connection that
 * is closed for that reason. Numbers never change; new ones are appended. */
#ifndef MACULA_ERROR_H
#define MACULA_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/* X(ENUM, number, "wire_name", "text") */
#define MACULA_ERROR_MAP(X)                                                                                                    \
  X(EINVAL, 1, "invalid_argument", "an argument is missing or out of range")                                                   \
  X(ENOMEM, 2, "out_of_memory", "the memory limit is reached; lower the load or raise the limit")                              \
  X(EINTERNAL, 3, "internal_error", "an unexpected failure; please report it with the log around it")                          \
  X(EIO, 4, "io_error", "reading or writing a file or socket failed")                                                          \
  X(ENOTFOUND, 5, "not_found", "no such subscription, service, call or entry; it may have ended already")                      \
  X(EFULL, 6, "queue_full", "the local send queue is full; wait for earlier messages to leave or raise max_queue")             \
  X(ECLOSED, 7, "closed", "the object was closed")                                                                             \
  X(EBUSY, 8, "busy", "in use by another process or call")                                                                     \
  X(NO_SUCH_PROCEDURE, 16, "no_such_procedure", "nobody serves this procedure; check its name, or start a provider")           \
  X(NO_HANDLER, 17, "no_handler", "the provider no longer serves this procedure")                                              \
  X(HANDLER_ERROR, 18, "handler_error", "the handler failed; its message follows")                                             \
  X(TIMEOUT, 19, "timeout", "no answer in time; raise --timeout or check the other side")                                      \
  X(CANCELLED, 20, "cancelled", "the call was cancelled")                                                                      \
  X(NO_PROVIDERS, 21, "no_providers", "no provider is left to try")                                                            \
  X(ALL_PROVIDERS_FAILED, 22, "all_providers_failed", "every provider was tried and failed")                                   \
  X(MAX_ATTEMPTS_EXCEEDED, 23, "max_attempts_exceeded", "the allowed number of attempts failed")                               \
  X(MAX_HOPS_EXCEEDED, 24, "max_hops_exceeded", "the message passed too many nodes")                                           \
  X(NO_ROUTE, 25, "no_route", "no path to that node is known")                                                                 \
  X(NOT_CONNECTED, 26, "not_connected", "no connection to the node; check its address and that it runs")                       \
  X(DHT_TIMEOUT, 27, "dht_timeout", "the lookup found no answer in time")                                                      \
  X(REALM_MISMATCH, 28, "realm_mismatch", "the node serves another realm; give its name with --realm")                         \
  X(NOT_AUTHORIZED, 29, "not_authorized", "not allowed; check the token, the certificate or the node's access settings")       \
  X(IDENTITY_MISMATCH, 30, "identity_mismatch", "the peer's identity is not the expected one")                                 \
  X(CONNECT_REQUIRED, 31, "connect_required", "CONNECT must be the first frame, once, within 10 seconds")                      \
  X(MAX_CLIENTS_REACHED, 32, "max_clients_reached", "the node is full; try another node or raise max_clients")                 \
  X(MAX_SERVICES_REACHED, 33, "max_services_reached", "the limit of services is reached; end some or raise it")                \
  X(MAX_SUBSCRIPTIONS_REACHED, 34, "max_subscriptions_reached", "the limit of subscriptions is reached; use a wildcard")       \
  X(TOO_MANY_CALLS, 35, "too_many_calls", "too many calls are pending; wait for answers first")                                \
  X(RATE_LIMITED, 36, "rate_limited", "too many requests; slow down and try again")                                            \
  X(SLOW_CONSUMER, 37, "slow_consumer", "messages were read too slowly and the send queue is full")                            \
  X(FRAME_TOO_LARGE, 38, "frame_too_large", "a frame is at most 1 MiB; send less or split it")                                 \
  X(BAD_FRAME, 39, "bad_frame", "the frame is malformed")                                                                      \
  X(UNSUPPORTED_VERSION, 40, "unsupported_version", "this protocol version is not spoken; update the older side")              \
  X(INVALID_TOPIC, 41, "invalid_topic", "up to 32 segments, 255 bytes; . / % + # * and controls as %HH; * is for patterns")    \
  X(INVALID_PROCEDURE, 42, "invalid_procedure", "up to 32 segments, 255 bytes; . / % + # * and controls as %HH")               \
  X(INVALID_REALM, 43, "invalid_realm", "up to 32 segments of A-Z a-z 0-9 _ -, 255 bytes")                                     \
  X(UNSUPPORTED_QOS, 44, "unsupported_qos", "QoS 2 is not known here: with QoS 1 a message that is repeated counts once")      \
  X(RETAIN_FULL, 45, "retain_full", "the node holds its limit of retained messages; clear some or raise it")                   \
  X(SHUTTING_DOWN, 46, "shutting_down", "the node is shutting down; connect to another or wait")                               \
  X(INVALID_JSON, 47, "invalid_json", "the text is not valid JSON")                                                            \
  X(PAYLOAD_TOO_LARGE, 48, "payload_too_large", "the message does not fit a frame of 1 MiB")                                   \
  X(UNKNOWN_TYPE, 49, "unknown_type", "the node does not know this kind of frame")                                             \
  X(CERTIFICATE_EXPIRED, 50, "certificate_expired", "the certificate's time is over or has not begun; renew it, check clocks") \
  X(CERTIFICATE_INVALID, 51, "certificate_invalid", "the certificate cannot be used or verified")                              \
  X(REPLACED, 52, "replaced", "a newer connection of the same client took over")                                               \
  X(BAD_SIGNATURE, 53, "bad_signature", "a record's signature does not belong to its publisher")                               \
  X(EVICTED, 54, "evicted", "the mesh connection made room for another one")                                                   \
  X(DUPLICATE, 55, "duplicate", "another connection between these two nodes stands already")                                   \
  X(MAX_PEERS_REACHED, 56, "max_peers_reached", "all mesh connections of the node are busy; raise max_peers")                  \
  X(RECORDS_FULL, 57, "records_full", "the node holds its limit of DHT records; of all, of this publisher, or of this key")    \
  X(IDENTITY_IN_USE, 58, "identity_in_use", "an earlier run of a node with this identity is there; give each its own state")   \
  X(FORBIDDEN, 59, "forbidden", "the grant does not allow this; the message says which permission is missing")                 \
  X(PASS_INVALID, 60, "pass_invalid", "the pass does not count here, or not for this key; its message says why")               \
  X(PASS_EXPIRED, 61, "pass_expired", "the pass has ended; ask who signed it for another")                                     \
  X(PASS_REVOKED, 62, "pass_revoked", "the pass was revoked; ask who signed it for another")                                   \
  X(QUOTA_REACHED, 63, "quota_reached", "the quota of this identity is used up; the message says which")                       \
  X(LISTENERS_UNKNOWN, 64, "listeners_unknown", "what the clients of some nodes listen to is not known; the others have it")   \
  X(PROVIDER_LOST, 65, "provider_lost",                                                                                        \
    "its provider was lost before it answered, and may have begun; see before trying again")                                   \
  X(DROPPED, 66, "dropped", "messages were not delivered, since they were read too slowly")                                    \
  X(UNKNOWN_NODE, 67, "unknown_node", "no node of the mesh has this id; `macula peers` lists those that are known")

typedef enum macula_err {
  MACULA_OK = 0,
#define MACULA_ERR_ENUM(name, num, str, text) MACULA_##name = -(num),
  MACULA_ERROR_MAP(MACULA_ERR_ENUM)
#undef MACULA_ERR_ENUM
} macula_err;

#if defined(__GNUC__) && !defined(MACULA_API)
#define MACULA_API __attribute__((visibility("default")))
#elif !defined(MACULA_API)
#define MACULA_API
#endif

/* The wire name of a code ("timeout"), "ok" for 0, "unknown_error" for a number that is not in the list. Static text. */
MACULA_API const char *macula_err_name(int err);
/* What to do about it, in one line. Static text. */
MACULA_API const char *macula_err_text(int err);

#ifdef __cplusplus
}
#endif
#endif
