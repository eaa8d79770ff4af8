/* A client's life:
 *
 *   CONNECTING --dial, handshake, CONNECT, PONG--> CONNECTED --loss--> DISCONNECTED --back-off--> CONNECTING ...
 *        \--failure--> DISCONNECTED                     any --refusal for good, no_reconnect, client_close--> CLOSED
 *
 * One timer a client: the back-off's end, the answer to CONNECT, or a close that was asked for. */
#include "client/internal.h"
#include "wire/headers.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static char *dup_text(struct mem *m, const char *s) { return s ? mem_dup(m, s, strlen(s)) : NULL; }

static void drop_ticket(struct client *c) {
  if (c->ticket) explicit_bzero(c->ticket, c->ticket_len); /* it holds the session's secret */
  mem_free(c->hub->mem, c->ticket);
  c->ticket = NULL;
}

void client_keep_ticket(struct client *c) {
  uint8_t *ticket;
  size_t n = c->conn && c->opened && !c->closing ? quic_conn_ticket(c->conn, &ticket) : 0;
  if (!n) return;
  drop_ticket(c);
  c->ticket = mem_dup(c->hub->mem, ticket, n);
  c->ticket_len = n;
  explicit_bzero(ticket, n);
  free(ticket);
}

static uint64_t or_default(uint64_t v, uint64_t d) { return v ? v : d; }

static int take_will(struct client *c, const macula_will *w);

int client_new(struct hub *h, const struct client_options *o, struct client **ret_client) {
  struct client *c = mem_calloc(h->mem, 1, sizeof *c);
  if (!c) return MACULA_ENOMEM;
  c->hub = h;
  c->stream = c->publishes = -1;
  list_init(&c->in);
  for (int i = 0; i < ENTRY_KINDS; i++) list_init(&c->entries[i]);
  inlet_init(c, &c->home);
  inlet_init(c, &c->deliveries);
  c->realm = dup_text(h->mem, o->realm);
  c->name = dup_text(h->mem, o->name);
  c->token = dup_text(h->mem, o->token);
  if (o->identity) c->identity = quic_identity_ref(o->identity);
  c->no_reconnect = o->no_reconnect;
  c->op = o->op;
  c->base_only = o->base_only;
  c->max_queue = or_default(o->max_queue, 4u << 20);
  c->max_calls = (uint32_t)or_default(o->max_calls, 1024);
  c->backoff_min = or_default(o->backoff_min, 100 * NS_MS);
  c->backoff_max = or_default(o->backoff_max, 30 * NS_SEC);
  c->on_state = o->on_state;
  c->on_room = o->on_room;
  c->on_notice = o->on_notice;
  c->on_dropped = o->on_dropped;
  c->ctx = o->ctx;
  c->state = MACULA_CONNECTING;
  rng_fill(h->cfg.rng, c->instance, sizeof c->instance);
  rng_fill(h->cfg.rng, c->prefix, sizeof c->prefix);
  rng_fill(h->cfg.rng, (uint8_t *)&c->received[0], sizeof c->received[0]);
  serial_init(&c->messages, h->cfg.rng);
  if ((c->has_realm_key = o->realm_key != NULL)) c->realm_key = *o->realm_key;
  bool whole = c->realm && (!o->name || c->name) && (!o->token || c->token) && !client_set_pass(c, o->pass);
  uint64_t id = h->last_id + 1;
  int err = take_will(c, o->will);
  if (err) {
    client_free(c);
    return err;
  }
  if (!whole || heap_set(&h->client_due, &c->due, h->now) || htab_insert(&h->by_id, &c->h, &id, sizeof id)) {
    client_free(c);
    return MACULA_ENOMEM;
  }
  c->id = h->last_id = id;
  c->owner = o->owner;
  list_append(&h->clients, &c->in);
  *ret_client = c;
  return 0;
}

static int take_will(struct client *c, const macula_will *w) {
  char name[NAME_MAX_LEN + 1];
  struct slice items[2 * HEADERS_MOST];
  size_t len;
  if (!w) return 0;
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.payload = slice_of(w->len ? w->payload : "", w->len),
                              .qos = w->qos > 0,
                              .exactly_once = w->qos == 2,
                              .retain = w->retain,
                              .expires_ms = w->expires_ms < EXPIRES_MOST ? w->expires_ms : EXPIRES_MOST}};
  int err = w->topic ? name_topic(slice_str(w->topic), name, &len) : MACULA_EINVAL;
  if (!err && (w->qos < 0 || w->qos > 2 || (w->len && !w->payload))) err = MACULA_EINVAL;
  if (!err) err = headers_of(w->headers, w->header_count, items, &m.publish.headers);
  if (err) return err;
  m.publish.topic = slice_of(name, len);
  size_t size = msg_size(&m);
  if (size - FRAME_HEADER_LEN > WILL_MOST) return MACULA_PAYLOAD_TOO_LARGE;
  uint8_t *frame = mem_alloc(c->hub->mem, size);
  if (!frame) return MACULA_ENOMEM;
  (void)msg_encode(&m, frame, size);
  memmove(frame, frame + FRAME_HEADER_LEN, size - FRAME_HEADER_LEN);
  c->will = slice_of(frame, size - FRAME_HEADER_LEN);
  return 0;
}

int client_set_pass(struct client *c, struct slice pass) {
  uint8_t *copy = pass.n ? mem_dup(c->hub->mem, pass.p, pass.n) : NULL;
  if (pass.n && !copy) return MACULA_ENOMEM;
  mem_free(c->hub->mem, (void *)c->pass.p);
  c->pass = slice_of(copy, pass.n);
  return 0;
}

void client_free(struct client *c) {
  struct hub *h = c->hub;
  if (c->conn) {
    quic_conn_set_user(c->conn, NULL);
    quic_conn_close(c->conn, 0, "");
  }
  for (int i = 0; i < ENTRY_KINDS; i++) list_for_safe(it, &c->entries[i]) entry_free(container_of(it, struct entry, in));
  heap_remove(&h->client_due, &c->due);
  if (c->id) htab_remove(&h->by_id, &c->h);
  list_remove(&c->in);
  inlet_done(c, &c->home);
  inlet_done(c, &c->deliveries);
  quic_identity_unref(c->identity);
  if (c->token) explicit_bzero(c->token, strlen(c->token));
  drop_ticket(c);
  client_forget_origins(c);
  client_forget_topics(c);
  mem_free(h->mem, c->realm);
  mem_free(h->mem, c->name);
  mem_free(h->mem, c->token);
  mem_free(h->mem, (void *)c->pass.p);
  mem_free(h->mem, (void *)c->will.p);
  mem_free(h->mem, c->mismatch);
  mem_free(h->mem, c->error_text);
  void *owner = c->owner;
  mem_free(h->mem, c);
  if (owner && h->cfg.freed) h->cfg.freed(h->cfg.ctx, owner);
}

void client_release(struct client *c) {
  assert(c->busy > 0);
  if (--c->busy || !c->sweep) return;
  c->sweep = false;
  for (int i = 0; i < ENTRY_KINDS; i++) list_for_safe(it, &c->entries[i]) {
      struct entry *e = container_of(it, struct entry, in);
      if (e->dead) entry_free(e);
    }
}

/* The client is in the heap all its life, so that moving its timer cannot fail. */
void client_due(struct client *c, nanotime at) { heap_set(&c->hub->client_due, &c->due, c->closing ? c->hub->now : at); }

static void set_state(struct client *c, macula_state state, int err, const char *text) {
  struct hub *h = c->hub;
  c->state = state;
  if (h->cfg.changed) h->cfg.changed(h->cfg.ctx, c);
  if (!c->on_state) return;
  char copy[512];
  snprintf(copy, sizeof copy, "%s", text);
  hub_leave(h);
  c->on_state(c->ctx, client_handle(c), state, err, copy);
  hub_enter(h);
}

/* Ends the requests that are under way; subscriptions, services and QoS 1 publishes stay for the next connection. */
static void drop_pending(struct client *c, int err, bool all) {
  client_hold(c);
  for (int kind = 0; kind < ENTRY_KINDS; kind++) {
    list_for(it, &c->entries[kind]) {
      struct entry *e = container_of(it, struct entry, in);
      if (e->dead) continue;
      switch (e->kind) {
      case ENTRY_SUB:
      case ENTRY_SERVICE:
        if (!all) break;
        entry_done(e, err, macula_err_text(err));
        entry_end(e);
        break;
      case ENTRY_CONFIRM:
        if (!all && e->confirm.resend && !e->scheduled) break;
        entry_done(e, e->scheduled ? e->result : err, macula_err_text(e->scheduled ? e->result : err));
        entry_end(e);
        break;
      case ENTRY_CALL:
        call_fail(e, e->scheduled ? e->result : err, true);
        break;
      case ENTRY_SERVED: {
        macula_cancel_fn fn = e->served.cast ? NULL : e->served.cancel;
        void *ctx = e->ctx;
        macula_request_id id = {e->id};
        entry_end(e);
        if (!fn) break;
        hub_leave(c->hub);
        fn(ctx, client_handle(c), id);
        hub_enter(c->hub);
        break;
      }
      }
    }
  }
  client_release(c);
}

static void detach(struct client *c) {
  if (c->conn) quic_conn_set_user(c->conn, NULL);
  c->conn = NULL;
  c->stream = c->publishes = -1;
  c->opened = c->has_node = false;
  c->delays = (struct delays){0};
  client_forget_origins(c);
  client_forget_topics(c);
  inlet_done(c, &c->home);
  inlet_done(c, &c->deliveries);
  inlet_init(c, &c->home);
  inlet_init(c, &c->deliveries);
}

static bool is_final(int err) {
  return err == MACULA_REALM_MISMATCH || err == MACULA_IDENTITY_MISMATCH || err == MACULA_NOT_AUTHORIZED ||
         err == MACULA_FORBIDDEN || err == MACULA_PASS_INVALID || err == MACULA_PASS_EXPIRED || err == MACULA_PASS_REVOKED ||
         err == MACULA_UNSUPPORTED_VERSION || err == MACULA_CERTIFICATE_INVALID || err == MACULA_CERTIFICATE_EXPIRED;
}

static void dial_next(struct client *c);

static void keep_error(struct client *c, int err, struct slice text) {
  char *copy = err == MACULA_IDENTITY_MISMATCH && c->mismatch ? dup_text(c->hub->mem, c->mismatch)
               : text.n                                       ? mem_dup(c->hub->mem, text.p, text.n < 400 ? text.n : 400)
                                                              : dup_text(c->hub->mem, macula_err_text(err));
  mem_free(c->hub->mem, c->error_text);
  c->error_text = copy;
  c->error = err;
}

void client_lost(struct client *c, int err, struct slice text) {
  if (c->state == MACULA_CLOSED || c->closing) {
    detach(c);
    return;
  }
  client_hold(c);
  keep_error(c, err, text);
  client_keep_ticket(c);
  bool was_in = c->state == MACULA_CONNECTED;
  /* Another process with our key and instance has connected, perhaps a clone of this one: with a new instance neither replaces
   * the other. */
  if (err == MACULA_REPLACED) rng_fill(c->hub->cfg.rng, c->instance, sizeof c->instance);
  if (c->conn) quic_conn_close_after(c->conn, 0, "", time_add(c->hub->now, c->hub->cfg.goodbye_timeout));
  detach(c);
  c->dialing = false;
  /* A refusal that is final at one address need not be at the others, as there may be another node at each address of a
   * name. */
  c->can_mend |= !is_final(err);
  if (!was_in && c->addr_at + 1u < c->target.count) {
    c->addr_at++;
    client_due(c, TIME_NEVER); /* of the attempt before */
    dial_next(c);
    client_release(c);
    return;
  }
  c->failures++;
  bool final = c->no_reconnect || !(was_in ? !is_final(err) : c->can_mend);
  uint64_t wait = c->backoff_min;
  for (uint32_t i = was_in ? 0 : 1; i < c->failures && wait < c->backoff_max; i++) wait *= 2;
  if (wait > c->backoff_max) wait = c->backoff_max;
  wait = wait / 2 + rng_below(c->hub->cfg.rng, wait / 2 + 1);
  client_due(c, final ? TIME_NEVER : time_add(c->hub->now, wait));
  c->state = final ? MACULA_CLOSED : MACULA_DISCONNECTED;
  drop_pending(c, final ? MACULA_ECLOSED : MACULA_NOT_CONNECTED, final);
  set_state(c, c->state, c->error, c->error_text ? c->error_text : macula_err_text(c->error));
  client_release(c);
}

static void dial_next(struct client *c) {
  struct hub *h = c->hub;
  struct quic_connect o = {.remote = c->target.addrs[c->addr_at],
                           .expect = c->target.expect,
                           .insecure = c->target.insecure,
                           .no_cert = c->base_only,
                           .identity = c->identity,
                           .ca_pem = c->target.ca_pem,
                           .ticket = c->ticket ? slice_of(c->ticket, c->ticket_len) : SLICE_NONE,
                           .user = c};
  int err = h->cfg.local(h->cfg.ctx, o.remote.sa.sa_family, &o.local);
  if (!err) err = quic_connect(h->quic, &o, h->now, &c->conn);
  drop_ticket(c); /* for one use, so that sessions cannot be linked */
  if (err) client_lost(c, err, SLICE_NONE);
}

void client_dial(struct client *c, const struct client_target *t) {
  if (!c->dialing || c->closing) return;
  c->dialing = false;
  c->target = *t;
  if (t->expect) {
    c->expect = *t->expect;
    c->target.expect = &c->expect;
  }
  mem_free(c->hub->mem, c->mismatch);
  c->mismatch = dup_text(c->hub->mem, t->mismatch);
  c->target.mismatch = c->mismatch;
  c->addr_at = 0;
  c->can_mend = false;
  dial_next(c);
}

bool client_dial_again(struct client *c) {
  if (!c->dialing || c->closing || !c->target.count) return false;
  c->dialing = false;
  c->addr_at = 0;
  c->can_mend = false;
  dial_next(c);
  return true;
}

void client_dial_failed(struct client *c, int err, const char *text) {
  if (!c->dialing || c->closing) return;
  c->addr_at = 0;
  c->target.count = 0;
  c->can_mend = false;
  client_lost(c, err, slice_str(text));
}

void client_opened(struct client *c) {
  const struct id *peer = quic_conn_peer_id(c->conn);
  c->opened = true;
  c->has_node = peer != NULL;
  if (peer) c->node = *peer;
  int err = quic_stream_open(c->conn, &c->stream);
  uint8_t own[ID_LEN], proof[TOKEN_PROOF_LEN];
  rng_fill(c->hub->cfg.rng, own, sizeof own);
  struct msg m = {
      .type = MSG_CONNECT,
      .connect = {.version = slice_str("1.0"),
                  .node_id = c->identity ? slice_of(quic_identity_id(c->identity)->b, ID_LEN) : slice_of(own, ID_LEN),
                  .realm_id = slice_str(c->realm),
                  .caps = CAP_PUBSUB | CAP_RPC}};
  if (!c->base_only) {
    m.connect.caps |= CAP_ACK | CAP_REGISTER | CAP_CANCEL | CAP_NOTICE | CAP_ORIGIN | CAP_STREAMS | CAP_WAIT | CAP_TOPICS |
                      CAP_HEADERS | CAP_GROUPS | CAP_WILL;
    if (c->op) m.connect.caps |= CAP_OPERATOR;
    m.connect.instance = slice_of(c->instance, sizeof c->instance);
    client_prove(c, &m.connect, proof);
    if (c->name) m.connect.name = slice_str(c->name);
    if (c->will.n) m.connect.will = c->will;
  }
  if (!err) err = client_send(c, &m);
  if (err)
    client_lost(c, err, SLICE_NONE);
  else
    client_due(c, time_add(c->hub->now, c->hub->cfg.handshake_timeout));
}

void client_let_in(struct client *c, const struct msg_pong *p) {
  struct hub *h = c->hub;
  char why[CLIENT_WHY_LEN];
  int err = client_judge(c, p, why);
  if (err) {
    client_lost(c, err, slice_str(why));
    return;
  }
  c->caps = p->has_caps && !c->base_only ? p->caps : CAP_PUBSUB | CAP_RPC;
  c->remind_at = time_add(h->now, REMIND_EVERY);
  client_due(c, c->remind_at);
  if (h->cfg.connected && c->has_node && (c->error = h->cfg.connected(h->cfg.ctx, c, &c->node))) {
    client_lost(c, c->error, SLICE_NONE);
    return;
  }
  c->failures = 0;
  c->state = MACULA_CONNECTED;
  client_hold(c);
  for (int kind = ENTRY_SUB; kind <= ENTRY_CONFIRM; kind++)
    list_for(it, &c->entries[kind]) container_of(it, struct entry, in)->unsent = true;
  c->replaying = true;
  client_replay(c);
  set_state(c, MACULA_CONNECTED, 0, "");
  client_room(c);
  client_read_on(c);
  client_release(c);
}

void client_replay(struct client *c) {
  if (!c->replaying || c->state != MACULA_CONNECTED || c->closing) return;
  for (int kind = ENTRY_SUB; kind <= ENTRY_CONFIRM; kind++) list_for(it, &c->entries[kind]) {
      struct entry *e = container_of(it, struct entry, in);
      if (e->dead || e->scheduled || !e->unsent) continue;
      int err = e->kind == ENTRY_CONFIRM ? client_send_raw(c, slice_of(e->data, e->len)) : entry_announce(e);
      if (err) { /* the queue is full: acknowledgements make room, time may bring memory */
        client_due(c, time_add(c->hub->now, REPLAY_RETRY));
        return;
      }
      e->unsent = false;
    }
  c->replaying = false;
}

/* Only when the queue is half empty, so that a program that fills it is not called back for each single message. */
static bool has_room(const struct client *c) {
  size_t publishes = c->publishes < 0 ? 0 : quic_stream_queued(c->conn, c->publishes);
  return quic_stream_queued(c->conn, c->stream) <= c->max_queue / 2 && publishes <= c->max_queue / 2 &&
         c->held <= c->max_queue / 2;
}

int client_short(struct client *c, int err) {
  if (err != MACULA_EFULL || c->state != MACULA_CONNECTED || c->closing) return err;
  /* The queue has room, but there is no memory, or not enough room for this message: on_room is called after a while, however
   * often the program tries meanwhile. */
  if (!c->wants_room && !c->replaying && has_room(c)) client_due(c, time_add(c->hub->now, ROOM_RETRY));
  c->wants_room = true;
  return err;
}

void client_room(struct client *c) {
  struct hub *h = c->hub;
  if (!c->wants_room || c->state != MACULA_CONNECTED || c->closing || !has_room(c)) return;
  c->wants_room = false;
  if (h->cfg.changed) h->cfg.changed(h->cfg.ctx, c);
  if (!c->on_room) return;
  client_hold(c);
  hub_leave(h);
  c->on_room(c->ctx, client_handle(c));
  hub_enter(h);
  client_release(c);
}

static void say_goodbye(struct client *c) {
  if (!c->conn) return;
  struct msg m = {.type = MSG_DISCONNECT, .disconnect = {.reason = slice_str("normal"), .message = slice_str("")}};
  bool published = c->publishes >= 0 && c->publishes != c->stream;
  m.disconnect.streams = published;
  if (published && !c->abrupt) quic_stream_finish(c->conn, c->publishes);
  if (c->opened && !c->abrupt) client_send(c, &m);
  if (c->abrupt)
    quic_conn_drop(c->conn);
  else if (!c->opened)
    quic_conn_close(c->conn, 0, "");
  else
    quic_conn_close_after(c->conn, 0, "", time_add(c->hub->now, c->hub->cfg.goodbye_timeout));
  if (published && !c->abrupt) quic_conn_await_close(c->conn, time_add(c->hub->now, READ_TIMEOUT));
}

void client_timer(struct client *c) {
  struct hub *h = c->hub;
  heap_set(&h->client_due, &c->due, TIME_NEVER);
  if (c->closing) {
    bool told = c->state == MACULA_CLOSED;
    say_goodbye(c);
    if (c->abrupt) c->conn = NULL;
    detach(c);
    c->state = MACULA_CLOSED;
    drop_pending(c, MACULA_ECLOSED, true);
    if (!told) set_state(c, MACULA_CLOSED, 0, "");
    heap_remove(&h->client_due, &c->due);
    list_remove(&c->in);
    list_append(&h->grave, &c->in);
    return;
  }
  if (c->state == MACULA_CONNECTED) {
    bool remind = h->now >= c->remind_at;
    if (remind) c->remind_at = time_add(h->now, REMIND_EVERY);
    client_due(c, c->remind_at);
    if (remind && h->cfg.remind) h->cfg.remind(h->cfg.ctx, c);
    client_hold(c);
    client_replay(c);
    client_room(c);
    if (c->resumed) {
      c->resumed = false;
      client_read_on(c);
    }
    client_release(c);
    return;
  }
  if (c->conn) {
    client_lost(c, MACULA_TIMEOUT, slice_str("the node did not answer CONNECT"));
    return;
  }
  if (c->dialing || c->state == MACULA_CLOSED) return;
  client_hold(c);
  set_state(c, MACULA_CONNECTING, 0, "");
  client_release(c);
  if (c->closing) return;
  c->dialing = true;
  h->cfg.dial(h->cfg.ctx, c);
}

void client_close(struct client *c, bool abrupt) {
  if (c->closing) return;
  c->closing = true;
  c->abrupt = abrupt;
  client_due(c, c->hub->now);
}

macula_client client_handle(const struct client *c) { return (macula_client){c->hub->cfg.ctx, c->id}; }

struct client *client_find(const struct hub *h, uint64_t id) {
  struct hlink *l = htab_find(&h->by_id, &id, sizeof id);
  struct client *c = l ? container_of(l, struct client, h) : NULL;
  return c && !c->closing ? c : NULL;
}

struct hub *client_hub(const struct client *c) {
  return c->hub;
}
void *client_owner(const struct client *c) { return c->owner; }
macula_state client_state(const struct client *c) { return c->state; }

int client_error(const struct client *c, const char **ret_text, uint32_t *ret_failures) {
  *ret_text = c->error_text ? c->error_text : c->error ? macula_err_text(c->error) : "";
  *ret_failures = c->failures;
  return c->error;
}

void client_node_id(const struct client *c, char ret_hex[ID_HEX_LEN + 1]) {
  ret_hex[0] = 0;
  if (c->has_node && c->state == MACULA_CONNECTED) id_hex(&c->node, ret_hex);
}

/* Publishes have a stream of their own where the node grants one: behind one that is held nothing else waits. */
static int64_t stream_for(struct client *c, uint8_t type) {
  if ((type != MSG_PUBLISH && type != MSG_ANNOUNCE) || !(c->caps & CAP_STREAMS)) return c->stream;
  if (c->publishes < 0 && quic_stream_open_one_way(c->conn, &c->publishes)) c->publishes = c->stream;
  return c->publishes;
}

static int write_frame(struct client *c, struct slice frame) {
  int err = quic_stream_write(c->conn, stream_for(c, frame.p[1]), frame);
  return err == MACULA_ENOMEM ? MACULA_EFULL : err == MACULA_ENOTFOUND || err == MACULA_ECLOSED ? MACULA_NOT_CONNECTED : err;
}

/* Frames that end a subscription, service or call are sent even if the queue is full, since the node would otherwise keep it.
 * There are never more of them than of the frames that began these. */
static bool takes_back(const struct msg *m) {
  return m->type == MSG_UNSUBSCRIBE || m->type == MSG_UNREGISTER || m->type == MSG_CANCEL || m->type == MSG_DISCONNECT;
}

int client_send_raw(struct client *c, struct slice frame) {
  assert(c->state == MACULA_CONNECTED || frame.p[1] == MSG_CONNECT);
  if (!c->conn || c->stream < 0) return MACULA_NOT_CONNECTED;
  size_t queued = quic_stream_queued(c->conn, stream_for(c, frame.p[1]));
  if (queued && queued + frame.n > c->max_queue) return MACULA_EFULL;
  return write_frame(c, frame);
}

int client_send(struct client *c, const struct msg *m) {
  uint8_t small[2048];
  bool judged = c->state == MACULA_CONNECTED; /* before that a goodbye would go to whoever answered */
  if (!c->conn || c->stream < 0 || (!judged && m->type != MSG_CONNECT)) return MACULA_NOT_CONNECTED;
  ptrdiff_t n = msg_encode(m, small, sizeof small);
  if (n > 0 && takes_back(m)) return write_frame(c, slice_of(small, (size_t)n));
  if (n > 0) return client_send_raw(c, slice_of(small, (size_t)n));
  if (n == MACULA_FRAME_TOO_LARGE) return MACULA_PAYLOAD_TOO_LARGE;
  size_t size = msg_size(m);
  uint8_t *large = mem_alloc(c->hub->mem, size);
  if (!large) return MACULA_ENOMEM;
  n = msg_encode(m, large, size);
  int err = n > 0                         ? client_send_raw(c, slice_of(large, (size_t)n))
            : n == MACULA_FRAME_TOO_LARGE ? MACULA_PAYLOAD_TOO_LARGE
                                          : (int)n;
  mem_free(c->hub->mem, large);
  return err;
}
