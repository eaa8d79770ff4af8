/* The client's public functions: take the lock, let the core do it, say why not. The blocking ones wait for a callback. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "lib/lib.h"

#define PUBLISH_TIMEOUT (5 * NS_SEC)
#define MAX_CA (1u << 20)

static macula_loop *begin(macula_client *c) {
  macula_loop *l = loop_of(c);
  loop_lock(l);
  hub_set_now(client_hub(c), io_now());
  return l;
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
static int find_known(const macula_options *o, struct remote *r) {
  if (o->insecure || r->server.pinned || o->base_only || (o->known_nodes && !o->known_nodes[0])) return 0;
  if (!o->known_nodes) return user_path("known_nodes", &r->known_path);
  return (r->known_path = strdup(o->known_nodes)) ? 0 : fail_plain(MACULA_ENOMEM);
}

int macula_connect(macula_loop *loop, const macula_options *opt, macula_client **ret_client) {
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
  if (!err) *ret_client = r->client;
  loop_unlock(loop);
  macula_identity_free(own);
  if (err) remote_free(r);
  return fail_plain(err);
}

int macula_connect_wait(macula_client *client, uint64_t timeout_ms) {
  if (!client || loop_in_callback(loop_of(client))) return fail_plain(MACULA_EINVAL);
  macula_loop *l = begin(client);
  nanotime deadline = time_add(io_now(), timeout_ms > UINT32_MAX ? TIME_NEVER : timeout_ms * NS_MS);
  const char *text;
  uint32_t failures;
  int err;
  for (;;) {
    err = client_error(client, &text, &failures);
    if (client_state(client) == MACULA_CONNECTED) {
      err = 0;
      break;
    }
    if (client_state(client) == MACULA_CLOSED || failures) {
      fail(err ? err : MACULA_ECLOSED, "%s", text);
      if (!err) err = MACULA_ECLOSED;
      break;
    }
    if (!loop_wait(l, deadline)) {
      err = fail(MACULA_TIMEOUT, "no answer while connecting");
      break;
    }
  }
  loop_unlock_quietly(l);
  return err;
}

void macula_disconnect(macula_client *client) {
  if (!client) return;
  macula_loop *l = begin(client);
  client_close(client, false);
  loop_unlock(l);
}

void macula_abort(macula_client *client) {
  if (!client) return;
  macula_loop *l = begin(client);
  client_close(client, true);
  loop_unlock(l);
}

int macula_node_id(macula_client *client, char ret_id[65]) {
  if (!client || !ret_id) return fail_plain(MACULA_EINVAL);
  macula_loop *l = loop_of(client);
  loop_lock(l);
  client_node_id(client, ret_id);
  loop_unlock_quietly(l);
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

static void on_done(void *ctx, int err, const char *text) { waiter_end(ctx, err, text); }

static void on_result(void *ctx, const macula_result *r) {
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
int macula_publish(macula_client *client, const char *topic, const void *payload, size_t len, const macula_publish_options *opt,
                   macula_done_fn done, void *ctx) {
  if (!client || !topic || (len && !payload)) return fail_plain(MACULA_EINVAL);
  macula_loop *l = loop_of(client);
  loop_lock(l);
  if (opt && (opt->qos || opt->confirm)) hub_set_now(client_hub(client), io_now());
  return end_name(l, client_publish(client, topic, slice_of(payload, len), opt, done, ctx), NAME_TOPIC, topic);
}

int macula_publish_sync(macula_client *client, const char *topic, const void *payload, size_t len,
                        const macula_publish_options *opt) {
  if (!client || !topic || (len && !payload) || loop_in_callback(loop_of(client))) return fail_plain(MACULA_EINVAL);
  macula_publish_options o = opt ? *opt : (macula_publish_options){0};
  struct waiter *w = waiter_new(loop_of(client));
  if (!w) return fail_plain(MACULA_ENOMEM);
  o.confirm = true;
  macula_loop *l = begin(client);
  nanotime room = io_now() + PUBLISH_TIMEOUT;
  int err;
  while ((err = client_publish(client, topic, slice_of(payload, len), &o, on_done, w)) == MACULA_EFULL && loop_wait(l, room))
    hub_set_now(client_hub(client), io_now());
  if (err) {
    w->refs--;
    fail_name(err, NAME_TOPIC, topic);
  } else {
    wait_end(l, w, TIME_NEVER); /* the core ends it after 5 s at the latest */
    err = waiter_result(w);
  }
  waiter_unref(w);
  loop_unlock_quietly(l);
  return err;
}

int macula_subscribe(macula_client *client, const char *pattern, const macula_subscribe_options *opt, macula_message_fn fn,
                     macula_done_fn done, void *ctx, macula_sub *ret_sub) {
  if (!client || !pattern || !fn) return fail_plain(MACULA_EINVAL);
  macula_loop *l = begin(client);
  return end_name(l, client_subscribe(client, pattern, opt && opt->own, fn, done, ctx, ctx, ret_sub), NAME_PATTERN, pattern);
}

/* The end of both: take back what was not confirmed in time. */
static int wait_confirmed(macula_client *c, macula_loop *l, struct waiter *w, int err, enum name_form form, const char *name,
                          uint64_t timeout_ms, uint64_t handle, int (*take_back)(macula_client *, uint64_t),
                          uint64_t *ret_handle) {
  nanotime deadline = time_add(io_now(), timeout_ms > UINT32_MAX ? TIME_NEVER : timeout_ms * NS_MS);
  if (err) {
    w->refs--;
    fail_name(err, form, name);
  } else if (!wait_end(l, w, deadline)) {
    hub_set_now(client_hub(c), io_now());
    take_back(c, handle);
    err = fail(MACULA_TIMEOUT, "the node did not confirm in time");
  } else if (!(err = waiter_result(w)) && ret_handle) {
    *ret_handle = handle;
  }
  waiter_unref(w);
  loop_unlock(l);
  return err;
}

int macula_subscribe_sync(macula_client *client, const char *pattern, const macula_subscribe_options *opt, macula_message_fn fn,
                          void *ctx, uint64_t timeout_ms, macula_sub *ret_sub) {
  if (!client || !pattern || !fn || loop_in_callback(loop_of(client))) return fail_plain(MACULA_EINVAL);
  struct waiter *w = waiter_new(loop_of(client));
  if (!w) return fail_plain(MACULA_ENOMEM);
  macula_loop *l = begin(client);
  macula_sub sub = 0;
  int err = client_subscribe(client, pattern, opt && opt->own, fn, on_done, w, ctx, &sub);
  return wait_confirmed(client, l, w, err, NAME_PATTERN, pattern, timeout_ms, sub, client_unsubscribe, ret_sub);
}

int macula_unsubscribe(macula_client *client, macula_sub sub) {
  if (!client) return fail_plain(MACULA_EINVAL);
  macula_loop *l = begin(client);
  return end(l, client_unsubscribe(client, sub));
}

/* ---- calls -----------------------------------------------------------------------------------------------------------------
 */
int macula_call(macula_client *client, const char *procedure, const void *args, size_t len, const macula_call_options *opt,
                macula_result_fn fn, void *ctx, macula_call_id *ret_call) {
  if (!client || !procedure || !fn || (len && !args)) return fail_plain(MACULA_EINVAL);
  macula_loop *l = begin(client);
  return end_name(l, client_call(client, procedure, slice_of(args, len), opt, fn, ctx, ret_call), NAME_PROCEDURE, procedure);
}

int macula_call_sync(macula_client *client, const char *procedure, const void *args, size_t len, const macula_call_options *opt,
                     char **ret_data, size_t *ret_len) {
  if (!client || !procedure || (len && !args) || loop_in_callback(loop_of(client))) return fail_plain(MACULA_EINVAL);
  struct waiter *w = waiter_new(loop_of(client));
  if (!w) return fail_plain(MACULA_ENOMEM);
  macula_loop *l = begin(client);
  int err = client_call(client, procedure, slice_of(args, len), opt, on_result, w, NULL);
  if (err) {
    w->refs--;
    fail_name(err, NAME_PROCEDURE, procedure);
  } else {
    wait_end(l, w, TIME_NEVER); /* the core ends it at the call's deadline */
    if (!(err = waiter_result(w))) {
      if (ret_len) *ret_len = w->len;
      if (ret_data) {
        *ret_data = w->data;
        w->data = NULL;
      }
    }
  }
  waiter_unref(w);
  loop_unlock_quietly(l);
  return err;
}

int macula_cancel(macula_client *client, macula_call_id call) {
  if (!client) return fail_plain(MACULA_EINVAL);
  macula_loop *l = begin(client);
  return end(l, client_cancel(client, call));
}

int macula_cast(macula_client *client, const char *procedure, const void *args, size_t len, macula_done_fn done, void *ctx) {
  if (!client || !procedure || (len && !args)) return fail_plain(MACULA_EINVAL);
  macula_loop *l = begin(client);
  return end_name(l, client_cast(client, procedure, slice_of(args, len), done, ctx), NAME_PROCEDURE, procedure);
}

/* ---- services --------------------------------------------------------------------------------------------------------------
 */
int macula_advertise(macula_client *client, const char *procedure, uint64_t ttl_ms, macula_request_fn fn,
                     macula_cancel_fn cancel, macula_done_fn done, void *ctx, macula_service *ret_service) {
  if (!client || !procedure || !fn) return fail_plain(MACULA_EINVAL);
  macula_loop *l = begin(client);
  return end_name(l, client_advertise(client, procedure, ttl_ms, fn, cancel, done, ctx, ctx, ret_service), NAME_PROCEDURE,
                  procedure);
}

int macula_advertise_sync(macula_client *client, const char *procedure, uint64_t ttl_ms, macula_request_fn fn,
                          macula_cancel_fn cancel, void *ctx, uint64_t timeout_ms, macula_service *ret_service) {
  if (!client || !procedure || !fn || loop_in_callback(loop_of(client))) return fail_plain(MACULA_EINVAL);
  struct waiter *w = waiter_new(loop_of(client));
  if (!w) return fail_plain(MACULA_ENOMEM);
  macula_loop *l = begin(client);
  macula_service service = 0;
  int err = client_advertise(client, procedure, ttl_ms, fn, cancel, on_done, w, ctx, &service);
  return wait_confirmed(client, l, w, err, NAME_PROCEDURE, procedure, timeout_ms, service, client_unadvertise, ret_service);
}

int macula_unadvertise(macula_client *client, macula_service service) {
  if (!client) return fail_plain(MACULA_EINVAL);
  macula_loop *l = begin(client);
  return end(l, client_unadvertise(client, service));
}

int macula_reply(macula_client *client, uint64_t request_id, const void *result, size_t len) {
  if (!client || (len && !result)) return fail_plain(MACULA_EINVAL);
  macula_loop *l = loop_of(client);
  loop_lock(l);
  return end(l, client_reply(client, request_id, slice_of(result, len)));
}

int macula_reply_error(macula_client *client, uint64_t request_id, const char *code, const char *message) {
  if (!client) return fail_plain(MACULA_EINVAL);
  macula_loop *l = loop_of(client);
  loop_lock(l);
  return end(l, client_reply_error(client, request_id, code, message));
}
