/* The client's public functions: take the lock, let the core do it, say why not. The blocking ones wait for a callback. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "lib/lib.h"
#include "lib/testing.h"
#include "trust/token.h"

#define MAX_CA (1u << 20)

_Static_assert(MACULA_ID_LEN == ID_HEX_LEN && MACULA_MESSAGE_ID_LEN == CALL_ID_LEN,
               "the header's lengths are those of the wire");

/* Takes the lock of the client's loop; without the lock when it fails. */
static int lock_client(macula_client handle, struct client **ret_client) {
  if (!handle.loop) return fail_plain(MACULA_EINVAL);
  loop_lock(handle.loop);
  if ((*ret_client = client_find(handle.loop->hub, handle.id))) return 0;
  loop_unlock_quietly(handle.loop);
  return fail(MACULA_ECLOSED, "the client was disconnected");
}

/* And sets the clock. */
static int begin(macula_client handle, struct client **ret_client) {
  int err = lock_client(handle, ret_client);
  if (!err) hub_set_now(handle.loop->hub, io_now());
  return err;
}

static nanotime deadline_of(uint64_t timeout_ms) {
  return timeout_ms > UINT32_MAX ? TIME_NEVER : time_add(io_now(), timeout_ms * NS_MS);
}

/* Whether a function may block; *ret_deadline is when it has blocked long enough. */
static int may_block(macula_client client, uint64_t timeout_ms, nanotime *ret_deadline) {
  *ret_deadline = 0;
  if (!client.loop) return fail_plain(MACULA_EINVAL);
  if (loop_in_callback(client.loop)) return fail(MACULA_EINVAL, "a callback must not block: the loop would wait for itself");
  if (!timeout_ms) return fail(MACULA_EINVAL, "timeout_ms is 0; say how long to wait at most");
  *ret_deadline = deadline_of(timeout_ms);
  return 0;
}

/* In milliseconds, as far as a request can wait for its answer. */
static uint64_t time_left(nanotime deadline) {
  nanotime now = io_now(), left = deadline > now ? (deadline - now + NS_MS - 1) / NS_MS : 1;
  return left < UINT32_MAX ? left : UINT32_MAX;
}

static int end(macula_loop *l, int err) {
  loop_unlock(l);
  return fail_plain(err);
}

static int end_name(macula_loop *l, int err, enum name_form form, const char *name) {
  loop_unlock(l);
  return fail_name(err, form, name);
}

/* ---- connecting ------------------------------------------------------------------------------------------------------------
 */
/* An id in the address, a CA or `insecure` say whom to trust; else a realm that the client knows does, and at last the file of
 * known nodes. */
static int find_known(const macula_options *o, struct remote *r) {
  if (o->insecure || r->server.pinned || r->vouched || (o->known_nodes && !o->known_nodes[0])) return 0;
  if (!o->known_nodes) return user_path("known_nodes", &r->known_path);
  return (r->known_path = strdup(o->known_nodes)) ? 0 : fail_plain(MACULA_ENOMEM);
}

static int find_pass(const macula_options *o, struct remote *r, uint8_t bytes[PASS_MAX], size_t *ret_len) {
  char why[SERVER_WHY_LEN];
  *ret_len = 0;
  if (!o->pass_file) return 0;
  if (!(r->pass_path = strdup(o->pass_file))) return fail_plain(MACULA_ENOMEM);
  int err = pass_load(r, bytes, ret_len, why);
  if (!err) err = pass_check_time(r, io_unix_ms() / 1000, why);
  return err ? fail(err, "%s", why) : 0;
}

static int find_realm_key(const macula_options *o, struct remote *r, struct id *ret_key) {
  if (o->realm_key && id_parse(slice_str(o->realm_key), ret_key))
    return fail(MACULA_EINVAL,
                "'%.100s' is no id of a realm's key: it has 64 hexadecimal digits, as 'macula realm show' prints",
                o->realm_key);
  if (!o->realm_key) *ret_key = r->pass_realm;
  r->vouched = (o->realm_key || r->pass_path) && !o->insecure && !r->server.pinned && !o->ca_file;
  return 0;
}

static int check_token(const char *token) {
  const char *wrong = token ? token_wrong(slice_str(token)) : NULL;
  return wrong ? fail(MACULA_EINVAL, "%s", wrong) : 0;
}

int macula_connect(macula_loop *loop, const macula_options *opt, macula_client *ret_client) {
  macula_options asked;
  macula_identity *own = NULL, *identity;
  char realm[NAME_MAX_LEN + 1], why[SERVER_WHY_LEN];
  uint8_t pass[PASS_MAX];
  struct id realm_key;
  size_t len, pass_len = 0;
  if (!loop || !ret_client) return fail_plain(MACULA_EINVAL);
  int err = OPTIONS_TAKE(macula_options, opt, &asked);
  if (err) return err;
  opt = &asked;
  if (opt->backoff_min_ms > UINT32_MAX || opt->backoff_max_ms > UINT32_MAX)
    return fail(MACULA_EINVAL, "a time is more than %u ms", UINT32_MAX);
  const char *where = opt->server, *of_all = getenv("MACULA_SERVER");
  if (!where) where = of_all && of_all[0] ? of_all : "127.0.0.1:9443";
  err = name_realm(slice_str(opt->realm ? opt->realm : "default"), realm, &len);
  if (err) return fail_name(err, NAME_REALM, opt->realm);
  macula_will will;
  struct remote *r = calloc(1, sizeof *r);
  if (!r) return fail_plain(MACULA_ENOMEM);
  r->loop = loop;
  r->insecure = opt->insecure;
  if ((err = server_parse(where, &r->server, why))) fail(err, "%s", why);
  if (!err) err = check_token(opt->token);
  if (!err && opt->ca_file && (err = io_text_read(opt->ca_file, MAX_CA, &r->ca_pem, &len, why))) fail(err, "%s", why);
  if (!err && !opt->identity) err = macula_identity_load(NULL, true, &own);
  identity = opt->identity ? opt->identity : own;
  if (identity) r->own = *quic_identity_id(identity->quic);
  if (!err) err = find_pass(opt, r, pass, &pass_len);
  if (!err) err = find_realm_key(opt, r, &realm_key);
  if (!err) err = find_known(opt, r);
  if (!err && opt->will) err = OPTIONS_TAKE(macula_will, opt->will, &will);
  if (err) {
    macula_identity_free(own);
    remote_free(r);
    return err;
  }
  struct client_options o = {.realm = realm,
                             .will = opt->will ? &will : NULL,
                             .name = opt->name,
                             .token = opt->token,
                             .pass = slice_of(pass, pass_len),
                             .realm_key = r->vouched ? &realm_key : NULL,
                             .identity = identity->quic,
                             .no_reconnect = opt->no_reconnect,
                             .op = opt->op,
                             .max_queue = opt->max_queue,
                             .max_calls = opt->max_calls,
                             .backoff_min = opt->backoff_min_ms * NS_MS,
                             .backoff_max = opt->backoff_max_ms * NS_MS,
                             .on_state = opt->on_state,
                             .on_room = opt->on_room,
                             .on_notice = opt->on_notice,
                             .on_dropped = opt->on_dropped,
                             .ctx = opt->ctx,
                             .owner = r};
  r->cert_end = quic_identity_end(o.identity);
  loop_lock(loop);
  hub_set_now(loop->hub, io_now());
  err = client_new(loop->hub, &o, &r->client);
  if (!err) *ret_client = client_handle(r->client);
  loop_unlock(loop);
  macula_identity_free(own);
  if (err) remote_free(r);
  return fail_plain(err);
}

int macula_connect_wait(macula_client client, uint64_t timeout_ms) {
  struct client *c;
  nanotime deadline;
  const char *text;
  uint32_t failures;
  int err = may_block(client, timeout_ms, &deadline);
  if (!err) err = begin(client, &c);
  if (err) return err;
  for (; c; c = client_find(client.loop->hub, client.id)) {
    err = client_error(c, &text, &failures);
    if (client_state(c) == MACULA_CONNECTED) {
      err = 0;
      break;
    }
    if (client_state(c) == MACULA_CLOSED || failures) {
      fail(err ? err : MACULA_ECLOSED, "%s", text);
      if (!err) err = MACULA_ECLOSED;
      break;
    }
    if (!loop_wait(client.loop, deadline)) {
      err = fail(MACULA_TIMEOUT, "no answer while connecting");
      break;
    }
  }
  if (!c) err = fail(MACULA_ECLOSED, "the client was disconnected");
  loop_unlock_quietly(client.loop);
  return err;
}

static void disconnect(macula_client client, bool abrupt) {
  struct client *c;
  if (begin(client, &c)) return;
  client_close(c, abrupt);
  loop_unlock(client.loop);
}

void macula_disconnect(macula_client client) { disconnect(client, false); }

void macula_abort(macula_client client) { disconnect(client, true); }

int macula_node_id(macula_client client, char ret_id[MACULA_ID_LEN + 1]) {
  struct client *c;
  if (!ret_id) return fail_plain(MACULA_EINVAL);
  int err = lock_client(client, &c);
  if (err) return err;
  client_node_id(c, ret_id);
  loop_unlock_quietly(client.loop);
  return 0;
}

/* ---- waiting ---------------------------------------------------------------------------------------------------------------
 */
/* As begin, with what its callback will end. */
static int begin_waiting(macula_client handle, bool timed, struct client **ret_client, struct waiter **ret_waiter) {
  struct waiter *w = waiter_new(timed || handle.loop->embedded);
  if (!w) return fail_plain(MACULA_ENOMEM);
  int err = begin(handle, ret_client);
  if (err) {
    w->refs--;
    waiter_unref(w);
  } else {
    *ret_waiter = w;
  }
  return err;
}

static void on_done(void *ctx, macula_client client, int err, const char *text) {
  waiter_end(ctx, &client.loop->waiting, err, text);
}

static void on_result(void *ctx, macula_client client, const macula_result *r) {
  struct waiter *w = ctx;
  char *copy = NULL;
  if (!r->err && (copy = malloc(r->len + 1))) {
    if (r->len) memcpy(copy, r->data, r->len);
    copy[r->len] = 0;
  }
  w->data = copy;
  w->len = r->len;
  char text[512];
  snprintf(text, sizeof text, "%s%s%s", r->text, r->attempts[0] ? "\n" : "", r->attempts);
  waiter_end(w, &client.loop->waiting, !r->err && !copy ? MACULA_ENOMEM : r->err, text);
}

/* Gives up the lock. False: the deadline has passed. */
static bool wait_end(macula_loop *l, struct waiter *w, nanotime deadline) {
  bool ended, wake;
  loop_unlock(l);
  if (l->embedded) {
    while (!(ended = sem_trywait(&w->awake) == 0) && loop_wait(l, deadline)) {
    }
    return ended;
  }
  ended = waiter_wait(w, &l->waiting, deadline, &wake);
  if (wake) io_loop_wake(l->io);
  return ended;
}

/* Gives up the lock. err: of the request itself. After MACULA_TIMEOUT the caller takes back what was not confirmed. */
static int wait_result(macula_loop *l, struct waiter *w, int err, enum name_form form, const char *name, nanotime deadline) {
  if (err) {
    loop_unlock_quietly(l);
    w->refs--;
    return fail_name(err, form, name);
  }
  if (!wait_end(l, w, deadline)) return fail(MACULA_TIMEOUT, "the node did not confirm in time");
  return w->err ? fail(w->err, "%s", w->text) : 0;
}

/* Whatever has become of the client. */
static struct client *lock_again(macula_client handle) {
  loop_lock(handle.loop);
  hub_set_now(handle.loop->hub, io_now());
  return client_find(handle.loop->hub, handle.id);
}

/* ---- publish and subscribe -------------------------------------------------------------------------------------------------
 */
/* Until the queue may have room: 0. At the deadline MACULA_EFULL. */
static int wait_for_room(macula_client client, struct client **c, nanotime deadline) {
  loop_wake(client.loop);
  if (!loop_wait(client.loop, deadline)) return MACULA_EFULL;
  *c = client_find(client.loop->hub, client.id);
  hub_set_now(client.loop->hub, io_now());
  return *c ? 0 : MACULA_ECLOSED;
}

int macula_publish(macula_client client, const char *topic, const void *payload, size_t len, const macula_publish_options *opt,
                   macula_done_fn done, void *ctx) {
  struct client *c;
  macula_publish_options o;
  if (!topic || (len && !payload)) return fail_plain(MACULA_EINVAL);
  int err = OPTIONS_TAKE(macula_publish_options, opt, &o);
  if (!err) err = lock_client(client, &c);
  if (err) return err;
  bool wait = o.wait_ms && !client.loop->embedded && !loop_in_callback(client.loop);
  nanotime deadline = wait ? deadline_of(o.wait_ms) : 0;
  if (o.qos || o.confirm) hub_set_now(client.loop->hub, io_now());
  do err = client_publish(c, topic, slice_of(payload, len), &o, done, ctx);
  while (err == MACULA_EFULL && wait && !(err = wait_for_room(client, &c, deadline)));
  return end_name(client.loop, err, NAME_TOPIC, topic);
}

int macula_publish_sync(macula_client client, const char *topic, const void *payload, size_t len,
                        const macula_publish_options *opt, uint64_t timeout_ms) {
  struct client *c;
  struct waiter *w;
  macula_publish_options o;
  nanotime deadline;
  if (!topic || (len && !payload)) return fail_plain(MACULA_EINVAL);
  int err = OPTIONS_TAKE(macula_publish_options, opt, &o);
  if (!err) err = may_block(client, timeout_ms, &deadline);
  if (!err) err = begin_waiting(client, false, &c, &w);
  if (err) return err;
  o.confirm = true;
  do {
    o.timeout_ms = time_left(deadline);
    err = client_publish(c, topic, slice_of(payload, len), &o, on_done, w);
  } while (err == MACULA_EFULL && !(err = wait_for_room(client, &c, deadline)));
  err = wait_result(client.loop, w, err, NAME_TOPIC, topic, TIME_NEVER); /* the core ends it at the deadline */
  waiter_unref(w);
  return err;
}

int macula_subscribe(macula_client client, const char *pattern, const macula_subscribe_options *opt, macula_message_fn fn,
                     macula_done_fn done, void *ctx, macula_sub *ret_sub) {
  struct client *c;
  macula_subscribe_options o;
  if (!pattern || !fn) return fail_plain(MACULA_EINVAL);
  int err = OPTIONS_TAKE(macula_subscribe_options, opt, &o);
  if (!err) err = begin(client, &c);
  if (err) return err;
  return end_name(client.loop, client_join(c, pattern, o.own, o.group, fn, done, ctx, ctx, ret_sub), NAME_PATTERN, pattern);
}

int macula_subscribe_sync(macula_client client, const char *pattern, const macula_subscribe_options *opt, macula_message_fn fn,
                          void *ctx, uint64_t timeout_ms, macula_sub *ret_sub) {
  struct client *c;
  struct waiter *w;
  macula_subscribe_options o;
  macula_sub sub = {0};
  nanotime deadline;
  if (!pattern || !fn) return fail_plain(MACULA_EINVAL);
  int err = OPTIONS_TAKE(macula_subscribe_options, opt, &o);
  if (!err) err = may_block(client, timeout_ms, &deadline);
  if (!err) err = begin_waiting(client, true, &c, &w);
  if (err) return err;
  err = client_join(c, pattern, o.own, o.group, fn, on_done, w, ctx, &sub);
  err = wait_result(client.loop, w, err, NAME_PATTERN, pattern, deadline);
  waiter_unref(w);
  if (err == MACULA_TIMEOUT) {
    if ((c = lock_again(client))) client_unsubscribe(c, sub);
    loop_unlock(client.loop);
  }
  if (!err && ret_sub) *ret_sub = sub;
  return err;
}

int macula_unsubscribe(macula_client client, macula_sub sub) {
  struct client *c;
  int err = begin(client, &c);
  return err ? err : end(client.loop, client_unsubscribe(c, sub));
}

static int hold(macula_client client, void (*how)(struct client *c)) {
  struct client *c;
  int err = begin(client, &c);
  if (err) return err;
  how(c);
  return end(client.loop, 0);
}

int macula_hold(macula_client client) { return hold(client, client_hold_deliveries); }
int macula_resume(macula_client client) { return hold(client, client_resume_deliveries); }

/* ---- calls -----------------------------------------------------------------------------------------------------------------
 */
int macula_call(macula_client client, const char *procedure, const void *args, size_t len, const macula_call_options *opt,
                macula_result_fn fn, void *ctx, macula_call_id *ret_call) {
  struct client *c;
  macula_call_options o;
  if (!procedure || !fn || (len && !args)) return fail_plain(MACULA_EINVAL);
  int err = OPTIONS_TAKE(macula_call_options, opt, &o);
  if (!err) err = begin(client, &c);
  if (err) return err;
  return end_name(client.loop, client_call(c, procedure, slice_of(args, len), &o, fn, ctx, ret_call), NAME_PROCEDURE,
                  procedure);
}

int macula_call_sync(macula_client client, const char *procedure, const void *args, size_t len, const macula_call_options *opt,
                     uint64_t timeout_ms, char **ret_data, size_t *ret_len) {
  struct client *c;
  struct waiter *w;
  macula_call_options o;
  nanotime deadline;
  if (!procedure || (len && !args)) return fail_plain(MACULA_EINVAL);
  int err = OPTIONS_TAKE(macula_call_options, opt, &o);
  if (!err) err = may_block(client, timeout_ms, &deadline);
  if (!err) err = begin_waiting(client, false, &c, &w);
  if (err) return err;
  o.timeout_ms = time_left(deadline);
  err = client_call(c, procedure, slice_of(args, len), &o, on_result, w, NULL);
  err = wait_result(client.loop, w, err, NAME_PROCEDURE, procedure, TIME_NEVER); /* the core ends it at the call's deadline */
  if (!err && ret_len) *ret_len = w->len;
  if (!err && ret_data) {
    *ret_data = w->data;
    w->data = NULL;
  }
  waiter_unref(w);
  return err;
}

int macula_cancel(macula_client client, macula_call_id call) {
  struct client *c;
  int err = begin(client, &c);
  return err ? err : end(client.loop, client_cancel(c, call));
}

int macula_cast(macula_client client, const char *procedure, const void *args, size_t len, macula_done_fn done, void *ctx) {
  struct client *c;
  if (!procedure || (len && !args)) return fail_plain(MACULA_EINVAL);
  int err = begin(client, &c);
  if (err) return err;
  return end_name(client.loop, client_cast(c, procedure, slice_of(args, len), done, ctx), NAME_PROCEDURE, procedure);
}

/* ---- services --------------------------------------------------------------------------------------------------------------
 */
int macula_serve(macula_client client, const char *procedure, const macula_serve_options *opt, macula_request_fn fn,
                 macula_cancel_fn cancel, macula_done_fn done, void *ctx, macula_service *ret_service) {
  struct client *c;
  macula_serve_options o;
  if (!procedure || !fn) return fail_plain(MACULA_EINVAL);
  int err = OPTIONS_TAKE(macula_serve_options, opt, &o);
  if (!err) err = begin(client, &c);
  if (err) return err;
  return end_name(client.loop, client_serve(c, procedure, &o, fn, cancel, done, ctx, ctx, ret_service), NAME_PROCEDURE,
                  procedure);
}

int macula_serve_sync(macula_client client, const char *procedure, const macula_serve_options *opt, macula_request_fn fn,
                      macula_cancel_fn cancel, void *ctx, uint64_t timeout_ms, macula_service *ret_service) {
  struct client *c;
  struct waiter *w;
  macula_serve_options o;
  macula_service service = {0};
  nanotime deadline;
  if (!procedure || !fn) return fail_plain(MACULA_EINVAL);
  int err = OPTIONS_TAKE(macula_serve_options, opt, &o);
  if (!err) err = may_block(client, timeout_ms, &deadline);
  if (!err) err = begin_waiting(client, true, &c, &w);
  if (err) return err;
  err = client_serve(c, procedure, &o, fn, cancel, on_done, w, ctx, &service);
  err = wait_result(client.loop, w, err, NAME_PROCEDURE, procedure, deadline);
  waiter_unref(w);
  if (err == MACULA_TIMEOUT) {
    if ((c = lock_again(client))) client_unserve(c, service);
    loop_unlock(client.loop);
  }
  if (!err && ret_service) *ret_service = service;
  return err;
}

int macula_unserve(macula_client client, macula_service service) {
  struct client *c;
  int err = begin(client, &c);
  return err ? err : end(client.loop, client_unserve(c, service));
}

int macula_reply(macula_client client, macula_request_id request, const void *result, size_t len) {
  struct client *c;
  if (len && !result) return fail_plain(MACULA_EINVAL);
  int err = lock_client(client, &c);
  return err ? err : end(client.loop, client_reply(c, request, slice_of(result, len)));
}

int macula_reply_error(macula_client client, macula_request_id request, const char *code, const char *message) {
  struct client *c;
  int err = lock_client(client, &c);
  return err ? err : end(client.loop, client_reply_error(c, request, code, message));
}
