/* Many clients of one node, counted. */
#include "load/drive/crowd.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/histogram.h"
#include "io/io.h"

int load_crowd_new(struct load *l, struct load_node *n, size_t count, struct load_crowd **ret_crowd) {
  struct load_crowd *c = calloc(1, sizeof *c);
  if (!c || !(c->v = calloc(count ? count : 1, sizeof *c->v))) {
    free(c);
    return cli_failed(MACULA_ENOMEM, NULL, NULL);
  }
  c->l = l;
  c->node = n;
  c->count = count;
  for (size_t i = 0; i < count; i++) c->v[i] = (struct load_client){.crowd = c};
  *ret_crowd = c;
  return 0;
}

static void connect_next(struct load_crowd *c);

static void on_state(void *ctx, macula_client client, macula_state state, int err, const char *text) {
  struct load_client *k = ctx;
  struct load_crowd *c = k->crowd;
  (void)client, (void)text;
  switch (state) {
  case MACULA_CONNECTING:
    break;
  case MACULA_CONNECTED:
    if (!k->in) c->in++;
    if (!k->was_in) {
      c->was_in++;
      if (c->connect_times) histogram_add(c->connect_times, io_now() - k->asked);
      connect_next(c);
    }
    k->in = k->was_in = true;
    break;
  case MACULA_DISCONNECTED:
  case MACULA_CLOSED:
    if (k->in) c->in--;
    if (err == MACULA_MAX_CLIENTS_REACHED && !k->leaving)
      c->refused++;
    else if (k->leaving)
      c->left += k->in;
    else if (state == MACULA_CLOSED || k->in)
      c->lost++;
    if (!k->leaving && err != MACULA_MAX_CLIENTS_REACHED && err) c->other_err = (uint64_t)-err;
    if (!k->was_in && !k->leaving && state == MACULA_CLOSED) connect_next(c);
    k->in = false;
    k->err = err;
    if (state == MACULA_CLOSED) {
      c->ended++;
      if (!k->leaving && k->c) client_close(k->c, true); /* frees what a refusal left */
      k->leaving = true;
      k->c = NULL;
    }
    break;
  }
}

static void connect_next(struct load_crowd *c) {
  if (c->next >= c->end) return;
  struct load_client *k = &c->v[c->next++];
  struct load *l = c->l;
  struct client_options o = {.realm = l->cli->realm ? l->cli->realm : "default",
                             .name = l->cli->name ? l->cli->name : "load",
                             .token = c->node->pid ? NULL : l->cli->token,
                             .identity = c->identity ? c->identity : l->identity,
                             .no_reconnect = !c->reconnect,
                             .backoff_max = NS_SEC,
                             .max_calls = 1000000,
                             .on_state = on_state,
                             .ctx = k,
                             .owner = c->node};
  k->asked = io_now();
  if (client_new(l->engine->hub, &o, &k->c)) {
    c->lost++;
    k->leaving = true;
  }
}

void load_crowd_connect(struct load_crowd *c, size_t from, size_t count, size_t at_once) {
  c->next = from;
  c->end = from + count;
  hub_set_now(c->l->engine->hub, io_now());
  for (size_t i = 0; i < at_once && i < count; i++) connect_next(c);
  load_wake(c->l);
}

bool load_crowd_decided(void *crowd) {
  const struct load_crowd *c = crowd;
  return c->next == c->end && c->was_in + c->refused + c->lost >= c->end;
}

/* ---- requests ---------------------------------------------------------------------------------------------------------------
 */
static void on_done(void *ctx, macula_client client, int err, const char *text) {
  struct load_client *k = ctx;
  (void)client, (void)text;
  if (!err) k->crowd->confirmed++;
}

static void on_message(void *ctx, macula_client client, const macula_message *m) {
  struct load_client *k = ctx;
  (void)client, (void)m;
  k->got++;
  k->crowd->got++;
}

static void on_request(void *ctx, macula_client client, const macula_request *r) {
  struct load_client *k = ctx;
  (void)client;
  k->served++;
  k->crowd->served++;
  if (k->crowd->on_request)
    k->crowd->on_request(k, r);
  else
    client_reply(k->c, r->id, slice_of(r->args, r->len));
}

static void on_cancel(void *ctx, macula_client client, macula_request_id request) {
  struct load_client *k = ctx;
  (void)client, (void)request;
  k->cancelled++;
  k->crowd->cancelled++;
}

void load_client_subscribe(struct load_client *k, const char *pattern) {
  if (k->c) (void)client_subscribe(k->c, pattern, false, on_message, on_done, k, k, NULL);
}

void load_client_serve(struct load_client *k, const char *procedure, uint64_t ttl_ms) {
  macula_serve_options o = {MACULA_INIT(macula_serve_options), .ttl_ms = ttl_ms};
  if (k->c) (void)client_serve(k->c, procedure, &o, on_request, on_cancel, on_done, k, k, NULL);
}

struct call {
  struct load_client *k;
  nanotime at;
};

static void on_result(void *ctx, macula_client client, const macula_result *r) {
  struct call *call = ctx;
  struct load_client *k = call->k;
  struct load_crowd *c = k->crowd;
  (void)client;
  k->pending--;
  if (r->err) {
    k->failed++;
    c->failed++;
    c->other_err = (uint64_t)-r->err;
  } else {
    k->answered++;
    c->answered++;
    if (c->call_times) histogram_add(c->call_times, io_now() - call->at);
  }
  free(call);
}

int load_client_call(struct load_client *k, const char *procedure, const char *args, uint64_t timeout_ms) {
  macula_call_options o = {.timeout_ms = timeout_ms};
  struct call *call = malloc(sizeof *call);
  if (!call) return MACULA_ENOMEM;
  *call = (struct call){k, io_now()};
  int err = k->c ? client_call(k->c, procedure, slice_str(args), &o, on_result, call, NULL) : MACULA_ECLOSED;
  if (err)
    free(call);
  else
    k->pending++;
  return err;
}

/* ---- ends -------------------------------------------------------------------------------------------------------------------
 */
void load_client_leave(struct load_client *k) {
  if (!k->c || k->leaving) return;
  k->leaving = true;
  client_close(k->c, false);
}

void load_crowd_leave(struct load_crowd *c, size_t from, size_t count) {
  for (size_t i = from; i < from + count && i < c->count; i++) load_client_leave(&c->v[i]);
  load_wake(c->l);
}

static bool all_ended(void *ctx) {
  const struct load_crowd *c = ctx;
  for (size_t i = 0; i < c->count; i++)
    if (c->v[i].c) return false;
  return true;
}

void load_crowd_free(struct load_task *t, struct load_crowd *c) {
  if (!c) return;
  c->end = c->next;
  if (c->node->given && !c->l->stopping) { /* the next run shall not count them for its idle timeout */
    load_crowd_leave(c, 0, c->count);
    load_wait(t, all_ended, c, t->l->patience);
  }
  for (size_t i = 0; i < c->count; i++) {
    if (!c->v[i].c) continue;
    c->v[i].leaving = true;
    client_close(c->v[i].c, true);
  }
  if (!load_wait(t, all_ended, c, t->l->patience) && !all_ended(c)) return; /* the hub still points here */
  free(c->v);
  free(c);
}
