/* Macula client library.
 *
 * A macula_loop owns sockets and, unless it is embedded in a loop of your own, one thread. Any number of clients attach to it:
 * a thousand connections need neither a thousand threads nor a thousand sockets. Unless said otherwise functions may be called
 * from any thread, return 0 or a negative macula_err, and copy what they are given. Texts are NUL-terminated UTF-8; durations
 * are milliseconds; sizes are bytes. What the library hands out allocated is freed by macula_free, and by nothing else.
 *
 * Callbacks run on the loop's thread, one at a time. They may call every function here except the blocking ones, which return
 * MACULA_EINVAL there: those named *_wait and *_sync. These take timeout_ms, the longest time that they block: 0 is
 * MACULA_EINVAL, and a value above UINT32_MAX means no limit. (macula_loop_free blocks, too, for close_timeout_ms of its loop's
 * options, and does nothing in a callback.) What a callback is given by pointer is valid until it returns.
 *
 * How this interface grows: an options struct begins with its size, which tells the library which members the program was
 * compiled with; members that the program does not know are taken as 0, the default. In C, and in C++:
 *
 *   macula_publish_options o = {MACULA_INIT(macula_publish_options), .qos = 1};
 *   macula_publish_options o{}; o.qos = 1; // the size is set by itself
 *
 * A size of 0 is MACULA_EINVAL, and so are members that this library does not know and that are not 0. Structs that callbacks
 * are given (macula_message, macula_result, macula_request, macula_principal) also grow by members at their end, and only the
 * library creates them: a program neither allocates nor copies one. (A program built against a later header than that of its
 * library checks macula_version before it reads a member that was added later.) Enumerations grow as well: a switch should
 * ignore values that it does not know. */
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
/* The version of the library at run time; MACULA_VERSION is the version compiled against. Static text. */
MACULA_API const char *macula_version(void);

#define MACULA_INIT(type) .size = sizeof(type)
#ifdef __cplusplus
#define MACULA_SIZE(type) size_t size = sizeof(type)
#else
#define MACULA_SIZE(type) size_t size
#endif

#define MACULA_ID_LEN 64         /* digits of the id of a node or an identity as text, without the NUL */
#define MACULA_MESSAGE_ID_LEN 16 /* bytes */

/* Frees what the library handed out allocated (ret_path, ret_token, ret_data). NULL is fine. */
MACULA_API void macula_free(void *p);

typedef struct macula_loop macula_loop;
typedef struct macula_identity macula_identity;
/* Handles; each kind has its own type. A handle may be used after its object has ended, but not after its loop was freed: a
 * stale client handle gives MACULA_ECLOSED, any other stale handle MACULA_ENOTFOUND. A stale handle never names a different
 * object. A handle of all zeros names nothing. */
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
  MACULA_SIZE(macula_loop_options);
  bool embedded;                 /* no thread: you poll macula_loop_fd and call macula_loop_step */
  size_t max_memory;             /* most bytes that this loop and its clients may use; 0: 256 MiB */
  uint64_t handshake_timeout_ms; /* 0: 10,000 */
  uint64_t idle_timeout_ms;      /* 0: 30,000 */
  uint64_t keep_alive_ms;        /* 0: 10,000; at most half the idle timeout is used */
  /* A line for a log; NULL: silent; must not call functions of this loop or its clients. level 0 error, 1 warning, 2 info, 3
   * debug. */
  void (*log)(void *ctx, int level, const char *line);
  void *log_ctx;
  int log_level;
  uint64_t close_timeout_ms; /* of macula_loop_free; 0: 1,000; and 6,000 while a node answers but holds publishes back */
} macula_loop_options;
/* opt NULL: defaults. The caller frees with macula_loop_free. MACULA_EINVAL, MACULA_ENOMEM, MACULA_EIO. */
MACULA_API int macula_loop_new(const macula_loop_options *opt, macula_loop **ret_loop);
/* Says goodbye on all connections, waits at most close_timeout_ms until that is acknowledged (and a node that holds publishes
 * back has read them: it takes at most 5 s), stops the thread, and frees the loop and its clients. No callback runs after it
 * has returned. NULL is fine. Nothing else may use the loop meanwhile or later. */
MACULA_API void macula_loop_free(macula_loop *loop);
/* For embedded loops only; MACULA_EINVAL for any other. All functions of an embedded loop and its clients must be called on one
 * thread; blocking functions turn the loop themselves. */
/* A descriptor to poll for reading; it is the loop's. */
MACULA_API int macula_loop_fd(macula_loop *loop);
/* One turn, without blocking: receives what has arrived, runs the callbacks that are due and sends what is queued.
 * MACULA_EINVAL in a callback. */
MACULA_API int macula_loop_step(macula_loop *loop);

/* ---- identity --------------------------------------------------------------------------------------------------------------
 * A key and its certificate, by which nodes know a client. Freed by macula_identity_free; clients that use it may live on. */
/* Reads key and certificate from a PEM file, made on first use (mode 0600) if create is set. path NULL: the user's own, under
 * $XDG_CONFIG_HOME/macula or ~/.config/macula. MACULA_ENOTFOUND; MACULA_NOT_AUTHORIZED: others can read the file, or it is
 * neither ours nor root's; MACULA_CERTIFICATE_INVALID, MACULA_CERTIFICATE_EXPIRED; MACULA_EIO. */
MACULA_API int macula_identity_load(const char *path, bool create, macula_identity **ret_identity);
/* Reads a user's own certificate chain and key from separate files. Errors: those of macula_identity_load. */
MACULA_API int macula_identity_load_pair(const char *cert_path, const char *key_path, macula_identity **ret_identity);
/* Makes a new identity, which exists in memory only. */
MACULA_API int macula_identity_generate(macula_identity **ret_identity);
/* Writes it to a PEM file of mode 0600, which is replaced whole. MACULA_EIO: the old file stays. */
MACULA_API int macula_identity_save(const macula_identity *identity, const char *path);
/* MACULA_ID_LEN hexadecimal digits: SHA-256 of the public key. Valid while the identity lives; "" for NULL. */
MACULA_API const char *macula_identity_id(const macula_identity *identity);
/* NULL is fine. */
MACULA_API void macula_identity_free(macula_identity *identity);
/* The user's own folder, $XDG_CONFIG_HOME/macula or ~/.config/macula, made if it is missing; for macula_free. MACULA_EIO where
 * there is none and none can be made: a program may go on there with macula_identity_generate and known_nodes "". */
MACULA_API int macula_user_folder(char **ret_path);
/* The access token in a file: one line, blanks around it left out; for macula_free. /dev/stdin and other names of descriptors
 * are read to their end. MACULA_ENOTFOUND; MACULA_EINVAL: no token, one of less than 16 bytes, more than one line, UTF-16;
 * MACULA_NOT_AUTHORIZED: others can read the file, or it is neither ours nor root's; MACULA_EIO. macula_last_error says what to
 * do. */
MACULA_API int macula_token_read(const char *path, char **ret_token);
/* Text for people about the calling thread's last failed macula_ call; "" if there is nothing to add to macula_err_text. Valid
 * until that thread's next call. */
MACULA_API const char *macula_last_error(void);

/* ---- client ----------------------------------------------------------------------------------------------------------------
 */
typedef enum macula_state {
  MACULA_CONNECTING,   /* the first attempt, or a new one after a loss */
  MACULA_CONNECTED,    /* let in; subscriptions and services are (again) in place or on their way */
  MACULA_DISCONNECTED, /* lost or refused; err says why; followed by CONNECTING if it will be tried again */
  MACULA_CLOSED,       /* for good: macula_disconnect, or a refusal that trying again cannot mend */
} macula_state;

/* What stands beside the payload of a message: at most 64 names and values, of 16,384 bytes together, delivered in their order;
 * a name may come more than once. Those whose name begins with "macula." have a meaning here and in MQTT:
 * macula.content-type, macula.reply-to (the topic of an answer), macula.correlation, macula.utf8 ("1": the payload is text). */
typedef struct macula_header {
  const char *name; /* UTF-8 */
  const void *value;
  size_t len;
} macula_header;

/* A message that the node publishes in the client's name when the client ends without saying goodbye: it died, or its
 * connection was lost, or the node ended it. Each connection has one, of each loss comes one, also where the library connects
 * again. It is judged when it is published. At most 32 KiB with its topic and headers. */
typedef struct macula_will {
  MACULA_SIZE(macula_will);
  const char *topic;
  const void *payload;
  size_t len;
  int qos; /* 0, 1, 2: as of a publish */
  bool retain;
  const macula_header *headers; /* header_count of them */
  size_t header_count;
  uint64_t expires_ms; /* from when it is published; 0: it does not end */
} macula_will;

typedef struct macula_options {
  MACULA_SIZE(macula_options);
  const char *server;        /* "host:port", "host", "macula://ID@host:port"; NULL: $MACULA_SERVER, else 127.0.0.1:9443 */
  const char *realm;         /* NULL: "default" */
  const char *name;          /* a label for people in the node's list of clients, which keeps 64 bytes of it; NULL: none */
  macula_identity *identity; /* referenced; NULL: the user's own, made on first use. A certificate that ends within 30 days is
                              * told in the loop's log (certificate_ends), at most once a day */
  const char *known_nodes;   /* file of ids by address; NULL: the user's own; "": none is kept. A node that is met for the first
                              * time is trusted, and the loop's log told whom (node_trusted) */
  const char *ca_file;       /* PEM: the node's certificate must be issued by it */
  const char *token;         /* access token, of at least 16 bytes. It is never sent: client and node prove to each other that
                              * they know it, and a node that does not is refused with MACULA_NOT_AUTHORIZED */
  bool insecure;             /* accept any node identity */
  bool no_reconnect;         /* the first loss or failed attempt closes */
  bool op;                   /* ask for an operator's slot (lists and status while the node is full) */
  size_t max_queue;          /* bytes of frames waiting or unacknowledged; 0: 4 MiB */
  uint32_t max_calls;        /* pending calls, and requests being served; 0: 1,024 each */
  uint64_t backoff_min_ms;   /* 0: 100 */
  uint64_t backoff_max_ms;   /* 0: 30,000 */
  /* State changes; err and text say why for DISCONNECTED and CLOSED. May be NULL. */
  void (*on_state)(void *ctx, macula_client client, macula_state state, int err, const char *text);
  /* The queue has room again, after a function found it full and returned MACULA_EFULL, or a macula_publish had to wait for
   * room (wait_ms). Called once for all such functions when the queue is at most half full, also after a reconnect. May be
   * NULL. */
  void (*on_room)(void *ctx, macula_client client);
  void *ctx; /* of on_state, on_room and on_notice */
  /* The node tells what became of messages for which no answer was asked, as that they are forbidden; at most once a second,
   * count: how many since the last time. Also when it refuses, after a reconnect, a subscription or service that it had taken
   * before: that one has ended then. May be NULL. */
  void (*on_notice)(void *ctx, macula_client client, int err, uint64_t count, const char *text);
  /* File with a pass for this identity, as `macula pass new` makes it; NULL: none. It is read again before each connection, so
   * that a renewed one counts; when it ends within 7 days that is told in the loop's log (pass_ends), at most once a day. */
  const char *pass_file;
  /* Id of a realm's key, MACULA_ID_LEN digits; NULL: that of the pass, if there is one. Who knows it needs no known_nodes: a
   * node must show a pass of this realm, with the role node and for its own key, else it is refused with MACULA_PASS_INVALID.
   * An id in `server`, ca_file and insecure come first: then the node need not show any. */
  const char *realm_key;
  /* The node dropped messages for this client's subscriptions, since they were read too slowly; at most once a second, count:
   * how many since the last time. NULL: on_notice is told, with MACULA_DROPPED. ctx is that of on_state. */
  void (*on_dropped)(void *ctx, macula_client client, uint64_t count);
  const macula_will *will; /* copied; NULL: none. A node of an earlier version does not know it, and publishes none */
} macula_options;
/* Starts connecting and returns at once. opt NULL: defaults. The client is freed by macula_disconnect or with its loop. Errors
 * in the options and the files that they name: MACULA_EINVAL, MACULA_INVALID_REALM, those of macula_identity_load, and of a
 * pass MACULA_PASS_INVALID (it is for another identity, or has not begun) and MACULA_PASS_EXPIRED;
 * else MACULA_ENOMEM. */
MACULA_API int macula_connect(macula_loop *loop, const macula_options *opt, macula_client *ret_client);
/* Blocks until connected (0), closed or the first attempt failed (its error; text in macula_last_error), or timeout_ms passed
 * (MACULA_TIMEOUT; the attempt goes on). */
MACULA_API int macula_connect_wait(macula_client client, uint64_t timeout_ms);
/* Sends what is queued, says goodbye and frees the client; pending requests and calls end with MACULA_ECLOSED, and so does
 * whatever uses the handle afterwards. Its on_state is called with MACULA_CLOSED last. In a callback, too. */
MACULA_API void macula_disconnect(macula_client client);
/* The id of the node connected to as MACULA_ID_LEN hexadecimal digits, "" before; copied into ret_id. */
MACULA_API int macula_node_id(macula_client client, char ret_id[MACULA_ID_LEN + 1]);

/* A request's end: err 0 or why not, text for people (never NULL). */
typedef void (*macula_done_fn)(void *ctx, macula_client client, int err, const char *text);

/* ---- publish and subscribe -------------------------------------------------------------------------------------------------
 */
/* Why a QoS 1 message is not confirmed for all who listen. All 0: it is. */
typedef struct macula_partly {
  uint64_t cut;     /* subscribers that read too slowly: disconnected, or (MQTT) without this message or an older one */
  uint64_t silent;  /* nodes with subscribers that were sent it and did not acknowledge it */
  uint64_t unknown; /* nodes of which it is not known what their clients listen to */
} macula_partly;
typedef struct macula_publish_options {
  MACULA_SIZE(macula_publish_options);
  /* 0, 1, 2. 2 is 1, with a mark that subscribers by MQTT get the message with QoS 2 for: with 1 already what the library
   * repeats counts once (by its id, for 60 s), on its way to the node and between nodes, and a native subscriber is sent
   * nothing twice. Only a group may give a message to a second member, whose first one ended. MACULA_UNSUPPORTED_QOS: 2, and
   * the node is of an earlier version, or the original's. */
  int qos;
  bool retain;
  bool confirm;        /* QoS 0: done is called when the node has taken the message, not when it is queued */
  uint64_t timeout_ms; /* from being queued to the confirmation; 0: 5,000 without any publish confirmed, or credit for more */
  uint64_t wait_ms; /* most time to block until the queue has room, never for a confirmation; 0: none, more than UINT32_MAX: no
                     * limit. On an embedded loop and in a callback it does not block: see on_room of macula_options */
  /* Called just before done when the confirmation, or the refusal, says that not all who listen are sure to have the message.
   */
  void (*on_partly)(void *ctx, macula_client client, const macula_partly *partly);
  void *partly_ctx; /* of on_partly */
  /* QoS 0: rather have this client's publishes held, for up to half of the time, than let a slow subscriber lose the message;
   * without it they are held for a tenth of the time. The queue fills meanwhile: see wait_ms. A node of an earlier version does
   * not know it, and holds nobody for long. MACULA_EINVAL with QoS 1, which has rules of its own. */
  bool wait_for_readers;
  const macula_header *headers; /* header_count of them, copied; NULL: none */
  size_t header_count;
  /* The message is worth nothing after this time, which begins when the node takes it: who has not been sent it then does not
   * get it, and what is retained ends. 0: it does not end. Headers and times are for nodes and subscribers that know them: a
   * node of an earlier version gives MACULA_UNSUPPORTED_VERSION, a subscriber of one does not see them. */
  uint64_t expires_ms;
} macula_publish_options;
/* done may be NULL. Without confirm and with QoS 0, done is not called when the function returns 0. QoS 1 and confirm: done is
 * called once: 0, or the node's refusal, or MACULA_TIMEOUT after timeout_ms; QoS 1 is sent again with the same id after a
 * reconnect within that time. MACULA_LISTENERS_UNKNOWN: what the clients of some nodes listen to is not known, and whoever is
 * known to listen has it. MACULA_EFULL: the queue is full, after wait_ms, too; MACULA_NOT_CONNECTED; MACULA_INVALID_TOPIC;
 * MACULA_PAYLOAD_TOO_LARGE, for headers, too. opt NULL: QoS 0. */
MACULA_API int macula_publish(macula_client client, const char *topic, const void *payload, size_t len,
                              const macula_publish_options *opt, macula_done_fn done, void *ctx);
/* As macula_publish, but blocks until there is room in the queue and the node has confirmed (always asked for). MACULA_EFULL:
 * no room within timeout_ms; MACULA_TIMEOUT: no confirmation, and the message may have been delivered. opt's own times do not
 * count. */
MACULA_API int macula_publish_sync(macula_client client, const char *topic, const void *payload, size_t len,
                                   const macula_publish_options *opt, uint64_t timeout_ms);

/* Who published or called: what was proved at the node that the message or call entered the mesh by. Two are the same when kind
 * and name are; the node that vouches for it is told, and not compared. */
typedef enum macula_principal_kind {
  MACULA_PRINCIPAL_UNKNOWN,   /* the node did not tell; name and node are "" */
  MACULA_PRINCIPAL_KEY,       /* name: its id, MACULA_ID_LEN hexadecimal digits */
  MACULA_PRINCIPAL_USER,      /* name: of the user */
  MACULA_PRINCIPAL_ANONYMOUS, /* it proved nothing; name: "" */
} macula_principal_kind;
typedef struct macula_principal {
  macula_principal_kind kind;
  const char *name; /* never NULL */
  const char *node; /* id of the node that vouches for it, MACULA_ID_LEN hexadecimal digits */
} macula_principal;

typedef struct macula_message {
  const char *topic;
  const void *payload;
  size_t len;
  int qos; /* 0, 1, 2: with which it was published; 2 comes as 1 from a node of an earlier version */
  bool retain;
  /* MACULA_MESSAGE_ID_LEN bytes, the same in all callbacks of this message. With QoS 1 it is the publisher's, which may come
   * again. With QoS 0 most come without one, and the library makes it here: another subscriber sees another one. All 0: none.
   */
  const uint8_t *message_id;
  const macula_principal *publisher; /* never NULL */
  const macula_header *headers;      /* header_count of them; a value is followed by a NUL that does not count */
  size_t header_count;
  uint64_t expires_ms; /* what was left of its time when the node sent it; 0: it does not end */
} macula_message;
typedef void (*macula_message_fn)(void *ctx, macula_client client, const macula_message *message);
typedef struct macula_subscribe_options {
  MACULA_SIZE(macula_subscribe_options);
  bool own; /* deliver this client's own messages, too */
  /* As a member of the group of this name: each message goes to one of all, at any node, who subscribe to the same pattern in
   * the same group. A message with QoS 1 that a member has not acknowledged when it ends goes to another one. Retained messages
   * are not sent. NULL: no member of any. MACULA_INVALID_TOPIC: it is empty, or has with the pattern more than 253 bytes. */
  const char *group;
} macula_subscribe_options;
/* Each message is delivered once a matching subscription. done (may be NULL) tells when the node has confirmed, the first time.
 * Replayed after each reconnect. A refusal ends the subscription. ret_sub may be NULL. MACULA_INVALID_TOPIC, MACULA_EFULL,
 * MACULA_ECLOSED. opt NULL: defaults. */
MACULA_API int macula_subscribe(macula_client client, const char *pattern, const macula_subscribe_options *opt,
                                macula_message_fn fn, macula_done_fn done, void *ctx, macula_sub *ret_sub);
/* As macula_subscribe, but blocks until the node has confirmed. MACULA_TIMEOUT: it has not, and the subscription is ended. */
MACULA_API int macula_subscribe_sync(macula_client client, const char *pattern, const macula_subscribe_options *opt,
                                     macula_message_fn fn, void *ctx, uint64_t timeout_ms, macula_sub *ret_sub);
/* fn is not called after this has returned on the loop's thread; from another thread, one call may still be running. */
MACULA_API int macula_unsubscribe(macula_client client, macula_sub sub);
/* macula_hold: no message is delivered to this client's subscriptions until macula_resume, and the node is told by flow control
 * to send no more: at most 1 MiB that has come meanwhile is kept. Answers, confirmations, requests and notices go on. (Of a
 * node of version 0.1 before `streams`, all that it sends waits.) For whoever cannot take a message now, as its pipe is full;
 * from any thread, and from within a callback, after which no further one of a message comes; called from another thread, one
 * may still be running. They do not count: one macula_resume ends any number of holds. It holds on over a reconnect; what was
 * kept is lost with its connection. How long the node waits for a reader, and what becomes of its messages, is the node's: a
 * slow one may lose QoS 0 messages (on_dropped tells how many), and be ended as slow_consumer. MACULA_ECLOSED. */
MACULA_API int macula_hold(macula_client client);
MACULA_API int macula_resume(macula_client client);

/* ---- calls -----------------------------------------------------------------------------------------------------------------
 */
typedef struct macula_call_options {
  MACULA_SIZE(macula_call_options);
  uint64_t timeout_ms;  /* of the whole call, all attempts; 0: 5,000 */
  const char *strategy; /* "random", "first", "round_robin", "closest", "least_pending"; NULL: the node's choice */
  bool idempotent;      /* it may run more than once: tried elsewhere after silence, a loss, or its share of the time */
  /* It must not run twice even in the rarest case. Without this a call is tried elsewhere when its provider died, or its node,
   * and had not acknowledged a single byte of it: a handler that was started within the last 25 ms or so before that death runs
   * again then. Also for services that are idempotent. Not with `idempotent`: MACULA_EINVAL. */
  bool once;
} macula_call_options;
typedef struct macula_result {
  int err;          /* 0: `data` is the result; else the code */
  const char *code; /* its name as it came: also codes this version does not know */
  const char *text; /* for people, never NULL */
  const void *data; /* JSON text */
  size_t len;
  /* A handler may have run, or may still run, although there is no result; false: none has, and the call may be made again. (Of
   * a call without `once`, what its options say of that may be the case all the same.) */
  bool may_have_run;
  const char *attempts; /* one line an attempt that failed: "PROVIDER CODE TEXT\n"; "" if none */
} macula_result;
typedef void (*macula_result_fn)(void *ctx, macula_client client, const macula_result *result);
/* args: JSON text. fn is called exactly once if 0 is returned. ret_call may be NULL. MACULA_INVALID_PROCEDURE,
 * MACULA_TOO_MANY_CALLS, MACULA_EFULL, MACULA_NOT_CONNECTED, MACULA_PAYLOAD_TOO_LARGE. opt NULL: defaults. */
MACULA_API int macula_call(macula_client client, const char *procedure, const void *args, size_t len,
                           const macula_call_options *opt, macula_result_fn fn, void *ctx, macula_call_id *ret_call);
/* As macula_call, but blocks until the call has ended: timeout_ms is the call's, whatever opt says, and at most UINT32_MAX; the
 * node is given 100 ms more to say what became of it. On success *ret_data is the result, for macula_free, NUL-terminated;
 * ret_data and ret_len may be NULL. On failure the result's code, and macula_last_error holds text and attempts. */
MACULA_API int macula_call_sync(macula_client client, const char *procedure, const void *args, size_t len,
                                const macula_call_options *opt, uint64_t timeout_ms, char **ret_data, size_t *ret_len);
/* fn is called with MACULA_CANCELLED, and the provider is told. MACULA_ENOTFOUND: the call is over. */
MACULA_API int macula_cancel(macula_client client, macula_call_id call);
/* A call without an answer. done (may be NULL) tells within 5 s whether the node has passed it on. Errors as of macula_call. */
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
  const macula_principal *caller; /* never NULL */
} macula_request;
typedef void (*macula_request_fn)(void *ctx, macula_client client, const macula_request *request);
/* The caller is gone or gave up: work on the request may stop; its answer would be dropped. */
typedef void (*macula_cancel_fn)(void *ctx, macula_client client, macula_request_id request);
typedef struct macula_serve_options {
  MACULA_SIZE(macula_serve_options);
  uint64_t ttl_ms; /* the node forgets the service so long after its last renewal, in whole seconds; 0: 300,000 */
  bool idempotent; /* a call may run more than once, here and elsewhere, unless it says `once` */
} macula_serve_options;
/* Serves a procedure: fn is called for each request. Renewed by the library while the client lives, replayed after each
 * reconnect. done (may be NULL) tells when the node has confirmed, the first time; a refusal ends the service. cancel and
 * ret_service may be NULL. MACULA_INVALID_PROCEDURE; MACULA_EBUSY: this client serves it already; MACULA_EFULL, MACULA_ECLOSED.
 * opt NULL: defaults. */
MACULA_API int macula_serve(macula_client client, const char *procedure, const macula_serve_options *opt, macula_request_fn fn,
                            macula_cancel_fn cancel, macula_done_fn done, void *ctx, macula_service *ret_service);
/* As macula_serve, but blocks until the node has confirmed. MACULA_TIMEOUT: it has not, and the service is ended. */
MACULA_API int macula_serve_sync(macula_client client, const char *procedure, const macula_serve_options *opt,
                                 macula_request_fn fn, macula_cancel_fn cancel, void *ctx, uint64_t timeout_ms,
                                 macula_service *ret_service);
/* Requests that have come already may be answered still. */
MACULA_API int macula_unserve(macula_client client, macula_service service);
/* result: JSON text. MACULA_ENOTFOUND: the request is over. MACULA_EFULL, MACULA_ENOMEM, MACULA_PAYLOAD_TOO_LARGE: it is open
 * still, and may be answered again. */
MACULA_API int macula_reply(macula_client client, macula_request_id request, const void *result, size_t len);
/* code: a name of error.h, or one of your own; NULL: handler_error. message NULL: "". Errors as of macula_reply. */
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
