/* Macula client library.
 *
 * A macula_loop owns sockets and, unless it is embedded in a loop of your own, one thread. Any number of clients attach to it:
 * a thousand connections need neither a thousand threads nor a thousand sockets. Callbacks run on the loop's thread, one at a
 * time; they may call every function here except the blocking ones (named *_wait and *_sync, and macula_loop_free), which
 * return MACULA_EINVAL there. Unless said otherwise functions may be called from any thread, return 0 or a negative macula_err,
 * and copy what they are given. Texts are NUL-terminated UTF-8; durations are milliseconds; sizes are octets.
 *
 * Views (const void *, struct pointers) passed to a callback are valid until it returns. */
#ifndef MACULA_H
#define MACULA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "macula/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MACULA_VERSION "0.1.0"
MACULA_API const char *macula_version(void);

typedef struct macula_loop macula_loop;
typedef struct macula_identity macula_identity;
/* Handles, each kind a type of its own. They may outlive what they name, though not their loop: a stale client gives
 * MACULA_ECLOSED, a stale one of the others MACULA_ENOTFOUND; never is it another's object. All zero is none. */
typedef struct macula_client {
  macula_loop *loop;
  uint64_t id;
} macula_client;
typedef struct macula_sub {
  uint64_t id;
} macula_sub;
typedef struct macula_service {
  uint64_t id;
} macula_service;
typedef struct macula_call_id {
  uint64_t id;
} macula_call_id;
typedef struct macula_request_id {
  uint64_t id;
} macula_request_id;

/* ---- loop ------------------------------------------------------------------------------------------------------------------
 */
typedef struct macula_loop_options {
  bool embedded;                 /* no thread: you poll macula_loop_fd and call macula_loop_step */
  size_t max_memory;             /* most octets that this loop and its clients may use; 0: 256 MiB */
  uint64_t handshake_timeout_ms; /* 0: 10,000 */
  uint64_t idle_timeout_ms;      /* 0: 30,000 */
  uint64_t keep_alive_ms;        /* 0: 10,000; at most half the idle timeout is used */
  /* A line for a log; NULL: silent; must not call functions of this loop or its clients. level 0 error, 1 warning, 2 info, 3
   * debug. */
  void (*log)(void *ctx, int level, const char *line);
  void *log_ctx;
  int log_level;
} macula_loop_options;
/* opt NULL: defaults. The caller frees with macula_loop_free. */
MACULA_API int macula_loop_new(const macula_loop_options *opt, macula_loop **ret_loop);
/* Says goodbye on all connections, waits until that is acknowledged, at most 1 s, stops the thread, frees the loop and its
 * clients. NULL is fine. */
MACULA_API void macula_loop_free(macula_loop *loop);
/* Embedded loops: a descriptor to poll for reading, and one non-blocking turn. All functions of an embedded loop and its
 * clients must be called on one thread; blocking functions turn the loop themselves. */
MACULA_API int macula_loop_fd(macula_loop *loop);
MACULA_API int macula_loop_step(macula_loop *loop);

/* ---- identity --------------------------------------------------------------------------------------------------------------
 */
/* A certificate that ends within 30 days is told in the loop's log (certificate_ends), once a day and only while connecting. */
/* Reads key and certificate from a PEM file, made on first use (mode 0600) if create is set. path NULL: the user's own, under
 * $XDG_CONFIG_HOME/macula or ~/.config/macula. */
MACULA_API int macula_identity_load(const char *path, bool create, macula_identity **ret_identity);
/* From separate files: a user's own certificate chain and key. */
MACULA_API int macula_identity_load_pair(const char *cert_path, const char *key_path, macula_identity **ret_identity);
/* A new one that lives in memory only. */
MACULA_API int macula_identity_generate(macula_identity **ret_identity);
MACULA_API int macula_identity_save(const macula_identity *identity, const char *path);
/* 64 hexadecimal digits: SHA-256 of the public key. Valid while the identity lives. */
MACULA_API const char *macula_identity_id(const macula_identity *identity);
MACULA_API void macula_identity_free(macula_identity *identity);
/* The user's own folder, $XDG_CONFIG_HOME/macula or ~/.config/macula, made if it is missing; malloc'ed. MACULA_EIO where there
 * is none and none can be made: a program may go on there with macula_identity_generate and known_nodes "". */
MACULA_API int macula_user_folder(char **ret_path);
/* The access token in a file: one line, blanks around it left out; malloc'ed. /dev/stdin and other names of descriptors are
 * read to their end. MACULA_ENOTFOUND; MACULA_EINVAL: no token, more than one line, UTF-16; MACULA_NOT_AUTHORIZED: others can
 * read the file, or it is neither ours nor root's; MACULA_EIO. macula_last_error says what to do. */
MACULA_API int macula_token_read(const char *path, char **ret_token);
/* Text for people about the calling thread's last failed macula_ call; "" if there is nothing to add to macula_err_text. */
MACULA_API const char *macula_last_error(void);

/* ---- client ----------------------------------------------------------------------------------------------------------------
 */
typedef enum macula_state {
  MACULA_CONNECTING,   /* the first attempt, or a new one after a loss */
  MACULA_CONNECTED,    /* let in; subscriptions and services are (again) in place or on their way */
  MACULA_DISCONNECTED, /* lost or refused; err says why; followed by CONNECTING if it will be tried again */
  MACULA_CLOSED,       /* for good: macula_disconnect, or a refusal that trying again cannot mend */
} macula_state;

typedef struct macula_options {
  const char *server;        /* "host:port", "host", "macula://ID@host:port"; NULL: $MACULA_SERVER, else 127.0.0.1:9443 */
  const char *realm;         /* NULL: "default" */
  const char *name;          /* a label for people in the node's lists; NULL: none */
  macula_identity *identity; /* referenced; NULL: the user's own, made on first use */
  const char *known_nodes;   /* file of ids by address; NULL: the user's own; "": none is kept */
  const char *ca_file;       /* PEM: the node's certificate must be issued by it */
  const char *token;         /* access token */
  bool insecure;             /* accept any node identity */
  bool no_reconnect;         /* the first loss or failed attempt closes */
  bool op;                   /* ask for an operator's slot (lists and status while the node is full) */
  bool base_only;            /* speak the original's protocol only: no certificate, no extensions; for tests */
  size_t max_queue;          /* octets of frames waiting or unacknowledged; 0: 4 MiB */
  uint32_t max_calls;        /* pending calls; 0: 1,024 */
  uint64_t backoff_min_ms;   /* 0: 100 */
  uint64_t backoff_max_ms;   /* 0: 30,000 */
  /* State changes; err and text say why for DISCONNECTED and CLOSED. May be NULL. */
  void (*on_state)(void *ctx, macula_client client, macula_state state, int err, const char *text);
  void *ctx;
} macula_options;
/* Starts connecting and returns at once. opt NULL: defaults. The client is freed by macula_disconnect or with its loop. */
MACULA_API int macula_connect(macula_loop *loop, const macula_options *opt, macula_client *ret_client);
/* Blocks until connected (0), closed or the first attempt failed (its error; text in macula_last_error), or timeout_ms passed
 * (MACULA_TIMEOUT). */
MACULA_API int macula_connect_wait(macula_client client, uint64_t timeout_ms);
/* Sends what is queued, says goodbye and frees the client; pending requests and calls end with MACULA_ECLOSED, and so does
 * whatever uses the handle afterwards. Its on_state is called with MACULA_CLOSED last. In a callback, too. */
MACULA_API void macula_disconnect(macula_client client);
/* Ends the connection without a word, as a crash would; the client is freed. For tests. */
MACULA_API void macula_abort(macula_client client);
/* 64 hexadecimal digits of the node connected to, "" before; copied into ret_id. */
MACULA_API int macula_node_id(macula_client client, char ret_id[65]);

/* A request's end: err 0 or why not, text for people (never NULL). */
typedef void (*macula_done_fn)(void *ctx, macula_client client, int err, const char *text);

/* ---- publish and subscribe -------------------------------------------------------------------------------------------------
 */
typedef struct macula_publish_options {
  int qos; /* 0, 1; 2 is refused with MACULA_UNSUPPORTED_QOS */
  bool retain;
  bool confirm; /* QoS 0: done is called when the node has taken the message, not when it is queued */
} macula_publish_options;
/* done may be NULL. Without confirm and with QoS 0, done is not called when the function returns 0. QoS 1 and confirm: done is
 * called once: 0, or the node's refusal, or MACULA_TIMEOUT after 5 s; QoS 1 is sent again with the same id after a reconnect
 * within that time. MACULA_EFULL: the queue is full (see macula_publish_sync); MACULA_NOT_CONNECTED. opt NULL: QoS 0. */
MACULA_API int macula_publish(macula_client client, const char *topic, const void *payload, size_t len,
                              const macula_publish_options *opt, macula_done_fn done, void *ctx);
/* As macula_publish, but waits for room in the queue and for the confirmation (always asked for). */
MACULA_API int macula_publish_sync(macula_client client, const char *topic, const void *payload, size_t len,
                                   const macula_publish_options *opt);

typedef struct macula_message {
  const char *topic;
  const void *payload;
  size_t len;
  int qos;
  bool retain;
  const uint8_t *message_id; /* 16 octets */
} macula_message;
typedef void (*macula_message_fn)(void *ctx, macula_client client, const macula_message *message);
typedef struct macula_subscribe_options {
  bool own; /* deliver this client's own messages, too */
} macula_subscribe_options;
/* Each message is delivered once a matching subscription. done (may be NULL) tells when the node has confirmed, the first time.
 * Replayed after each reconnect. A refusal ends the subscription. */
MACULA_API int macula_subscribe(macula_client client, const char *pattern, const macula_subscribe_options *opt,
                                macula_message_fn fn, macula_done_fn done, void *ctx, macula_sub *ret_sub);
MACULA_API int macula_subscribe_sync(macula_client client, const char *pattern, const macula_subscribe_options *opt,
                                     macula_message_fn fn, void *ctx, uint64_t timeout_ms, macula_sub *ret_sub);
/* fn is not called after this has returned on the loop's thread; from another thread, one call may still be running. */
MACULA_API int macula_unsubscribe(macula_client client, macula_sub sub);

/* ---- calls -----------------------------------------------------------------------------------------------------------------
 */
typedef struct macula_call_options {
  uint64_t timeout_ms;  /* of the whole call, all attempts; 0: 5,000 */
  const char *strategy; /* "random", "first", "round_robin", "closest", "least_pending"; NULL: the node's choice */
  bool idempotent;      /* may be tried again after a bare timeout */
} macula_call_options;
typedef struct macula_result {
  int err;          /* 0: `data` is the result; else the code */
  const char *code; /* its name as it came: also codes this version does not know */
  const char *text; /* for people, never NULL */
  const void *data; /* JSON text */
  size_t len;
  bool may_have_run;    /* a handler may have run although there is no result */
  const char *attempts; /* one line an attempt that failed: "PROVIDER CODE TEXT\n"; "" if none */
} macula_result;
typedef void (*macula_result_fn)(void *ctx, macula_client client, const macula_result *result);
/* args: JSON text. fn is called exactly once if 0 is returned. MACULA_TOO_MANY_CALLS, MACULA_EFULL, MACULA_NOT_CONNECTED. */
MACULA_API int macula_call(macula_client client, const char *procedure, const void *args, size_t len,
                           const macula_call_options *opt, macula_result_fn fn, void *ctx, macula_call_id *ret_call);
/* Blocks. On success *ret_data is malloc'ed (free it) and NUL-terminated. On failure macula_last_error holds the text. */
MACULA_API int macula_call_sync(macula_client client, const char *procedure, const void *args, size_t len,
                                const macula_call_options *opt, char **ret_data, size_t *ret_len);
/* fn is called with MACULA_CANCELLED, and the provider is told. */
MACULA_API int macula_cancel(macula_client client, macula_call_id call);
/* A call without an answer. */
MACULA_API int macula_cast(macula_client client, const char *procedure, const void *args, size_t len, macula_done_fn done,
                           void *ctx);

/* ---- services --------------------------------------------------------------------------------------------------------------
 */
/* A request to answer: reply with macula_reply or macula_reply_error exactly once, from any thread, any time before timeout_ms;
 * a later answer is dropped. A cast has no answer: replying to it does nothing. */
typedef struct macula_request {
  macula_request_id id;
  const char *procedure;
  const void *args; /* JSON text */
  size_t len;
  uint64_t timeout_ms; /* left at arrival */
  bool is_cast;
} macula_request;
typedef void (*macula_request_fn)(void *ctx, macula_client client, const macula_request *request);
/* The caller is gone or gave up: work on the request may stop; its answer would be dropped. */
typedef void (*macula_cancel_fn)(void *ctx, macula_client client, macula_request_id request);
/* ttl_ms 0: the node's 300 s. Renewed by the library while the client lives, replayed after each reconnect. cancel may be NULL.
 */
MACULA_API int macula_serve(macula_client client, const char *procedure, uint64_t ttl_ms, macula_request_fn fn,
                            macula_cancel_fn cancel, macula_done_fn done, void *ctx, macula_service *ret_service);
MACULA_API int macula_serve_sync(macula_client client, const char *procedure, uint64_t ttl_ms, macula_request_fn fn,
                                 macula_cancel_fn cancel, void *ctx, uint64_t timeout_ms, macula_service *ret_service);
MACULA_API int macula_unserve(macula_client client, macula_service service);
/* result: JSON text. MACULA_ENOTFOUND when the request is over. */
MACULA_API int macula_reply(macula_client client, macula_request_id request, const void *result, size_t len);
/* code: a name of error.h, NULL: handler_error. */
MACULA_API int macula_reply_error(macula_client client, macula_request_id request, const char *code, const char *message);

/* ---- names -----------------------------------------------------------------------------------------------------------------
 */
/* Topics and procedures: 1 to 32 segments of UTF-8 with dots between them (a slash is read as a dot), 255 bytes. What a segment
 * cannot hold, . / % + # * and controls, is written %HH, in capitals, and nothing else is; the empty segment is %00. Patterns
 * add * (one segment; + is read as it) and ** (any number; #). Realms: A-Z a-z 0-9 _ -. docs/protocol.md, section 11.
 *
 * 0, or MACULA_INVALID_TOPIC (INVALID_PROCEDURE, INVALID_REALM), and macula_last_error says what is wrong and what to write:
 * checked locally by the functions above, too. */
MACULA_API int macula_check_topic(const char *topic);
MACULA_API int macula_check_pattern(const char *pattern);
MACULA_API int macula_check_procedure(const char *procedure);
MACULA_API int macula_check_realm(const char *realm);
/* 0, or MACULA_INVALID_JSON, and macula_last_error says where and why. By the grammar of RFC 8259 alone, up to 2,048 levels of
 * arrays and objects: 18446744073709551615, 1e400 and a key that stands twice are JSON. Arguments and results are sent
 * unchecked. */
MACULA_API int macula_check_json(const void *data, size_t len);

#ifdef __cplusplus
}
#endif
#endif
