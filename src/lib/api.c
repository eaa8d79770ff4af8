/* The client's public functions: take the lock, let the core do it, say why not. The blocking ones wait for a callback. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "lib/lib.h"

#define PUBLISH_TIMEOUT (5 * NS_SEC)
#define MAX_CA (1u << 20)

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

static bool may_block(macula_client client) { return client.loop && !loop_in_callback(client.loop); }

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
static int find_known(const macula_options *o, struct remote *r) {
  if (o->insecure || r->server.pinned || o->base_only || (o->known_nodes && !o->known_nodes[0])) return 0;
  if (!o->known_nodes) return user_path("known_nodes", &r->known_path);
  return (r->known_path = strdup(o->known_nodes)) ? 0 : fail_plain(MACULA_ENOMEM);
}

int macula_connect(macula_loop *loop, const macula_options *opt, macula_client *ret_client) {
  static const macula_options plain = {0};
  macula_identity *own = NULL, *identity;
  char realm[NAME_MAX_LEN + 1], why[SERVER_WHY_LEN];
  size_t len;
  if (!opt) opt = &plain;
  if (!loop || !ret_client || opt->backoff_min_ms > UINT32_MAX || opt->backoff_max_ms > UINT32_MAX)
    return fail_plain(MACULA_EINVAL);
  const char *where = opt->server ? opt->server : getenv("MACULA_SERVER");
  if (!where || !where[0]) where = "127.0.0.1:9443";
  int err = name_realm(slice_str(opt->realm ? opt->realm : "default"), realm, &len);
  if (err) return fail_name(err, NAME_REALM, opt->realm);
  struct remote *r = calloc(1, sizeof *r);
  if (!r) return fail_plain(MACULA_ENOMEM);
  r->loop = loop;
  r->insecure = opt->insecure || opt->base_only;
  if ((err = server_parse(where, &r->server, why))) fail(err, "%s", why);
  if (!err) err = find_known(opt, r);
  if (!err && opt->ca_file && (err = io_text_read(opt->ca_file, MAX_CA, &r->ca_pem, &len, why))) fail(err, "%s", why);
  if (!err && !opt->identity && !opt->base_only) err = macula_identity_load(NULL, true, &own);
  if (err) {
    remote_free(r);
    return err;
  }
  identity = opt->identity ? opt->identity : own;
  struct client_options o = {.realm = realm,
                             .name = opt->name,
                             .token = opt->token,
                             .identity = identity && !opt->base_only ? identity->quic : NULL,
                             .no_reconnect = opt->no_reconnect,
                             .op = opt->op,
                             .base_only = opt->base_only,
                             .max_queue = opt->max_queue,
                             .max_calls = opt->max_calls,
                             .backoff_min = opt->backoff_min_ms * NS_MS,
                             .backoff_max = opt->backoff_max_ms * NS_MS,
                             .on_state = opt->on_state,
                             .ctx = opt->ctx,
                             .owner = r};
  r->cert_end = o.identity ? quic_identity_end(o.identity) : UINT64_MAX;
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
  if (!may_block(client)) return fail_plain(MACULA_EINVAL);
  nanotime deadline = time_add(io_now(), timeout_ms > UINT32_MAX ? TIME_NEVER : timeout_ms * NS_MS);
  const char *text;
  uint32_t failures;
  int err = begin(client, &c);
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

int macula_node_id(macula_client client, char ret_id[65]) {
  struct client *c;
  if (!ret_id) return fail_plain(MACULA_EINVAL);
  int err = lock_client(client, &c);
  if (err) return err;
  client_node_id(c, ret_id);
  loop_unlock_quietly(client.loop);
  return 0;
}

/* ---- waiting ---------------------------------------------------------------------------------------------------------------
 * What a blocking function waits on is shared with the callback that ends it; the last of both frees it. */
struct waiter {
  macula_loop *loop;
  unsigned refs; /* under the loop's lock */
  bool ended;
  int err;
  char text[512];
  char *data;
  size_t len;
};

static struct waiter *waiter_new(macula_loop *l) {
  struct waiter *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  w->loop = l;
  w->refs = 2;
  return w;
}

static void waiter_unref(struct waiter *w) {
  if (--w->refs) return;
  free(w->data);
  free(w);
}

/* On the loop's thread, without the lock. */
static void waiter_end(struct waiter *w, int err, const char *text) {
  macula_loop *l = w->loop;
  loop_lock(l);
  w->ended = true;
  w->err = err;
  snprintf(w->text, sizeof w->text, "%s", text);
  waiter_unref(w);
  pthread_cond_broadcast(&l->changed);
  loop_unlock_quietly(l);
}

static void on_done(void *ctx, macula_client client, int err, const char *text) {
  (void)client;
  waiter_end(ctx, err, text);
}

static void on_result(void *ctx, macula_client client, const macula_result *r) {
  struct waiter *w = ctx;
  char *copy = NULL;
  (void)client;
  if (!r->err && (copy = malloc(r->len + 1))) {
    if (r->len) memcpy(copy, r->data, r->len);
    copy[r->len] = 0;
  }
  w->data = copy;
  w->len = r->len;
  char text[512];
  snprintf(text, sizeof text, "%s%s%s", r->text, r->attempts[0] ? "\n" : "", r->attempts);
  waiter_end(w, !r->err && !copy ? MACULA_ENOMEM : r->err, text);
}

/* Wakes the loop while the lock is held on: what was queued must leave although this thread goes to sleep. */
static bool wait_end(macula_loop *l, struct waiter *w, nanotime deadline) {
  loop_unlock(l);
  loop_lock(l);
  while (!w->ended)
    if (!loop_wait(l, deadline)) return false;
  return true;
}

static int waiter_result(struct waiter *w) { return w->err ? fail(w->err, "%s", w->text) : 0; }

/* ---- publish and subscribe -------------------------------------------------------------------------------------------------
 */
int macula_publish(macula_client client, const char *topic, const void *payload, size_t len, const macula_publish_options *opt,
                   macula_done_fn done, void *ctx) {
  struct client *c;
  if (!topic || (len && !payload)) return fail_plain(MACULA_EINVAL);
  int err = lock_client(client, &c);
  if (err) return err;
  if (opt && (opt->qos || opt->confirm)) hub_set_now(client.loop->hub, io_now());
  return end_name(client.loop, client_publish(c, topic, slice_of(payload, len), opt, done, ctx), NAME_TOPIC, topic);
}

int macula_publish_sync(macula_client client, const char *topic, const void *payload, size_t len,
                        const macula_publish_options *opt) {
  struct client *c;
  if (!topic || (len && !payload) || !may_block(client)) return fail_plain(MACULA_EINVAL);
  macula_publish_options o = opt ? *opt : (macula_publish_options){0};
  struct waiter *w = waiter_new(client.loop);
  if (!w) return fail_plain(MACULA_ENOMEM);
  o.confirm = true;
  int err = begin(client, &c);
  if (err) {
    free(w);
    return err;
  }
  nanotime room = io_now() + PUBLISH_TIMEOUT;
  while ((err = c ? client_publish(c, topic, slice_of(payload, len), &o, on_done, w) : MACULA_ECLOSED) == MACULA_EFULL &&
         loop_wait(client.loop, room)) {
    c = client_find(client.loop->hub, client.id);
    hub_set_now(client.loop->hub, io_now());
  }
  if (err) {
    w->refs--;
    fail_name(err, NAME_TOPIC, topic);
  } else {
    wait_end(client.loop, w, TIME_NEVER); /* the core ends it after 5 s at the latest */
    err = waiter_result(w);
  }
  waiter_unref(w);
  loop_unlock_quietly(client.loop);
  return err;
}

int macula_subscribe(macula_client client, const char *pattern, const macula_subscribe_options *opt, macula_message_fn fn,
                     macula_done_fn done, void *ctx, macula_sub *ret_sub) {
  struct client *c;
  if (!pattern || !fn) return fail_plain(MACULA_EINVAL);
  int err = begin(client, &c);
  if (err) return err;
  return end_name(client.loop, client_subscribe(c, pattern, opt && opt->own, fn, done, ctx, ctx, ret_sub), NAME_PATTERN,
                  pattern);
}

/* err: of the request itself. After MACULA_TIMEOUT the caller takes back what was not confirmed. */
static int wait_confirmed(macula_loop *l, struct waiter *w, int err, enum name_form form, const char *name,
                          uint64_t timeout_ms) {
  nanotime deadline = time_add(io_now(), timeout_ms > UINT32_MAX ? TIME_NEVER : timeout_ms * NS_MS);
  if (err) {
    w->refs--;
    fail_name(err, form, name);
  } else if (!wait_end(l, w, deadline)) {
    err = fail(MACULA_TIMEOUT, "the node did not confirm in time");
    hub_set_now(l->hub, io_now());
  } else {
    err = waiter_result(w);
  }
  waiter_unref(w);
  return err;
}

int macula_subscribe_sync(macula_client client, const char *pattern, const macula_subscribe_options *opt, macula_message_fn fn,
                          void *ctx, uint64_t timeout_ms, macula_sub *ret_sub) {
  struct client *c;
  macula_sub sub = {0};
  if (!pattern || !fn || !may_block(client)) return fail_plain(MACULA_EINVAL);
  struct waiter *w = waiter_new(client.loop);
  if (!w) return fail_plain(MACULA_ENOMEM);
  int err = begin(client, &c);
  if (err) {
    free(w);
    return err;
  }
  err = client_subscribe(c, pattern, opt && opt->own, fn, on_done, w, ctx, &sub);
  err = wait_confirmed(client.loop, w, err, NAME_PATTERN, pattern, timeout_ms);
  if (err == MACULA_TIMEOUT && (c = client_find(client.loop->hub, client.id))) client_unsubscribe(c, sub);
  if (!err && ret_sub) *ret_sub = sub;
  loop_unlock(client.loop);
  return err;
}

int macula_unsubscribe(macula_client client, macula_sub sub) {
  struct client *c;
  int err = begin(client, &c);
  return err ? err : end(client.loop, client_unsubscribe(c, sub));
}

/* ---- calls -----------------------------------------------------------------------------------------------------------------
 */
int macula_call(macula_client client, const char *procedure, const void *args, size_t len, const macula_call_options *opt,
                macula_result_fn fn, void *ctx, macula_call_id *ret_call) {
  struct client *c;
  if (!procedure || !fn || (len && !args)) return fail_plain(MACULA_EINVAL);
  int err = begin(client, &c);
  if (err) return err;
  return end_name(client.loop, client_call(c, procedure, slice_of(args, len), opt, fn, ctx, ret_call), NAME_PROCEDURE,
                  procedure);
}

int macula_call_sync(macula_client client, const char *procedure, const void *args, size_t len, const macula_call_options *opt,
                     char **ret_data, size_t *ret_len) {
  struct client *c;
  if (!procedure || (len && !args) || !may_block(client)) return fail_plain(MACULA_EINVAL);
  struct waiter *w = waiter_new(client.loop);
  if (!w) return fail_plain(MACULA_ENOMEM);
  int err = begin(client, &c);
  if (err) {
    free(w);
    return err;
  }
  err = client_call(c, procedure, slice_of(args, len), opt, on_result, w, NULL);
  if (err) {
    w->refs--;
    fail_name(err, NAME_PROCEDURE, procedure);
  } else {
    wait_end(client.loop, w, TIME_NEVER); /* the core ends it at the call's deadline */
    if (!(err = waiter_result(w))) {
      if (ret_len) *ret_len = w->len;
      if (ret_data) {
        *ret_data = w->data;
        w->data = NULL;
      }
    }
  }
  waiter_unref(w);
  loop_unlock_quietly(client.loop);
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
int macula_serve(macula_client client, const char *procedure, uint64_t ttl_ms, macula_request_fn fn, macula_cancel_fn cancel,
                 macula_done_fn done, void *ctx, macula_service *ret_service) {
  struct client *c;
  if (!procedure || !fn) return fail_plain(MACULA_EINVAL);
  int err = begin(client, &c);
  if (err) return err;
  return end_name(client.loop, client_serve(c, procedure, ttl_ms, fn, cancel, done, ctx, ctx, ret_service), NAME_PROCEDURE,
                  procedure);
}

int macula_serve_sync(macula_client client, const char *procedure, uint64_t ttl_ms, macula_request_fn fn,
                      macula_cancel_fn cancel, void *ctx, uint64_t timeout_ms, macula_service *ret_service) {
  struct client *c;
  macula_service service = {0};
  if (!procedure || !fn || !may_block(client)) return fail_plain(MACULA_EINVAL);
  struct waiter *w = waiter_new(client.loop);
  if (!w) return fail_plain(MACULA_ENOMEM);
  int err = begin(client, &c);
  if (err) {
    free(w);
    return err;
  }
  err = client_serve(c, procedure, ttl_ms, fn, cancel, on_done, w, ctx, &service);
  err = wait_confirmed(client.loop, w, err, NAME_PROCEDURE, procedure, timeout_ms);
  if (err == MACULA_TIMEOUT && (c = client_find(client.loop->hub, client.id))) client_unserve(c, service);
  if (!err && ret_service) *ret_service = service;
  loop_unlock(client.loop);
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
