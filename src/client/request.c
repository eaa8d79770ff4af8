/* What a program asks for: each becomes an entry (client/internal.h) and a frame. */
#include <assert.h>
#include <stdio.h>

#include "client/internal.h"
#include "wire/group.h"
#include "wire/headers.h"

int entry_new(struct client *c, enum entry_kind kind, struct slice data, nanotime due, struct entry **ret_entry) {
  struct hub *h = c->hub;
  struct entry *e = mem_alloc(h->mem, sizeof *e + data.n + 1);
  if (!e) return MACULA_ENOMEM;
  memset(e, 0, sizeof *e);
  e->c = c;
  e->kind = kind;
  e->id = ++h->last_id;
  e->len = (uint32_t)data.n;
  if (data.n) memcpy(e->data, data.p, data.n);
  e->data[data.n] = 0;
  if (htab_insert(&h->entries, &e->h, &e->id, sizeof e->id)) goto fail_insert;
  if (heap_set(&h->entry_due, &e->due, due)) goto fail_heap;
  list_append(&c->entries[kind], &e->in);
  *ret_entry = e;
  return 0;
fail_heap:
  htab_remove(&h->entries, &e->h);
fail_insert:
  mem_free(h->mem, e);
  return MACULA_ENOMEM;
}

static void unlink_entry(struct entry *e) {
  struct client *c = e->c;
  if (e->dead) return;
  assert((e->kind != ENTRY_CALL || c->calls > 0) && (e->kind != ENTRY_SERVED || c->served > 0));
  assert(e->kind != ENTRY_CONFIRM || c->held >= e->len);
  e->dead = true;
  htab_remove(&c->hub->entries, &e->h);
  heap_remove(&c->hub->entry_due, &e->due);
  if (e->kind == ENTRY_CALL) c->calls--;
  if (e->kind == ENTRY_SERVED) c->served--;
  if (e->kind == ENTRY_CONFIRM) c->held -= e->len;
}

void entry_free(struct entry *e) {
  unlink_entry(e);
  list_remove(&e->in);
  mem_free(e->c->hub->mem, e);
}

void entry_end(struct entry *e) {
  unlink_entry(e);
  if (e->c->busy)
    e->c->sweep = true;
  else
    entry_free(e);
}

struct entry *entry_find(const struct hub *h, uint64_t id) {
  struct hlink *l = htab_find(&h->entries, &id, sizeof id);
  return l ? container_of(l, struct entry, h) : NULL;
}

static struct entry *find_own(struct client *c, uint64_t id, enum entry_kind kind) {
  struct entry *e = entry_find(c->hub, id);
  return e && e->c == c && e->kind == kind ? e : NULL;
}

void entry_done(struct entry *e, int err, const char *text) {
  macula_done_fn done = e->done;
  struct hub *h = e->c->hub;
  macula_client client = client_handle(e->c);
  void *ctx = e->done_ctx;
  e->done = NULL;
  if (!done) return;
  hub_leave(h);
  done(ctx, client, err, text);
  hub_enter(h);
}

/* Has the driver's thread tell the end, since the caller may be on another, or inside its own callback. */
static void finish_later(struct entry *e, int result) {
  e->scheduled = true;
  e->result = result;
  heap_set(&e->c->hub->entry_due, &e->due, e->c->hub->now);
}

static uint64_t renewal(const struct entry *e) {
  uint64_t ttl = e->service.ttl_s ? e->service.ttl_s : DEFAULT_TTL_S;
  return time_add(e->c->hub->now, ttl > TIME_NEVER / NS_SEC ? TIME_NEVER : ttl * NS_SEC / 3 * 2);
}

/* Whether a publish that was not confirmed in time has some more: others are, or the node gives credit for them. So one that is
 * held does not end in a timeout and is delivered after all. */
static bool goes_on(struct entry *e) {
  struct client *c = e->c;
  if (e->scheduled || !e->confirm.renews || c->state != MACULA_CONNECTED) return false;
  nanotime last = c->publish_acked, now = c->hub->now;
  if (c->publishes >= 0 && c->publishes != c->stream) {
    nanotime credited = quic_stream_credited(c->conn, c->publishes), acked = quic_stream_progress(c->conn, c->publishes);
    if (last < credited) last = credited;
    if (last < acked) last = acked;
  }
  if (time_add(last, CONFIRM_TIMEOUT) <= now) return false;
  heap_set(&c->hub->entry_due, &e->due, time_add(last, CONFIRM_TIMEOUT));
  return true;
}

void entry_timer(struct entry *e) {
  struct client *c = e->c;
  heap_set(&c->hub->entry_due, &e->due, TIME_NEVER); /* into the place just left: from here on moving it cannot fail */
  client_hold(c);
  switch (e->kind) {
  case ENTRY_SUB: /* base-only: nobody will confirm */
    e->scheduled = false;
    entry_done(e, e->result, macula_err_text(e->result));
    break;
  case ENTRY_CONFIRM: {
    if (goes_on(e)) break;
    int err = e->scheduled ? e->result : MACULA_TIMEOUT;
    entry_done(e, err, macula_err_text(err));
    if (!e->dead) entry_end(e);
    client_room(c);
    break;
  }
  case ENTRY_SERVICE:
    heap_set(&c->hub->entry_due, &e->due, renewal(e));
    if (e->scheduled) {
      e->scheduled = false;
      entry_done(e, e->result, macula_err_text(e->result));
    } else if (c->state == MACULA_CONNECTED && entry_announce(e)) {
      heap_set(&c->hub->entry_due, &e->due, time_add(c->hub->now, RENEW_RETRY));
    }
    break;
  case ENTRY_CALL:
    call_fail(e, e->scheduled ? e->result : MACULA_TIMEOUT, true);
    break;
  case ENTRY_SERVED:
    entry_end(e);
    break;
  }
  client_release(c);
}

static bool is_same_group(const char *a, const char *b) { return !a || !b ? a == b : strcmp(a, b) == 0; }

/* Whether any of our subscriptions to this pattern wants own messages: the node keeps only one for each pattern, which must
 * serve all of ours. */
static bool wants_own(const struct entry *e) {
  if (e->sub.own) return true;
  list_for(it, &e->c->entries[ENTRY_SUB]) {
    const struct entry *o = container_of(it, struct entry, in);
    if (!o->dead && o->kind == ENTRY_SUB && o->sub.own && o->len == e->len && memcmp(o->data, e->data, e->len) == 0 &&
        is_same_group(o->sub.group, e->sub.group))
      return true;
  }
  return false;
}

int entry_announce(struct entry *e) {
  struct client *c = e->c;
  bool ack = c->caps & CAP_ACK;
  struct slice name = slice_of(e->data, e->len);
  struct msg m = {.type = MSG_SUBSCRIBE};
  if (e->kind == ENTRY_SUB)
    m.subscribe = (struct msg_subscribe){.topics = {.count = 1, .items = &name},
                                         .qos = 1,
                                         .own = ack && wants_own(e),
                                         .group = slice_str(e->sub.group),
                                         .ref = e->id,
                                         .has_ref = ack};
  else {
    m.type = MSG_REGISTER;
    m.reg = (struct msg_register){.procedure = name,
                                  .ttl = ack ? e->service.ttl_s : 0,
                                  .idempotent = ack && e->service.idempotent,
                                  .ref = e->id,
                                  .has_ref = ack};
    heap_set(&c->hub->entry_due, &e->due, renewal(e));
  }
  int err = client_send(c, &m);
  if (!err && !ack && e->done) finish_later(e, 0);
  return err;
}

/* Publishes and casts that want an answer: the frame is made once, kept when it may have to go out again. opt NULL: a cast. */
static int send_confirmed(struct client *c, struct msg *m, uint64_t *ref, bool *has_ref, const macula_publish_options *opt,
                          macula_done_fn done, void *ctx) {
  bool resend = opt && opt->qos > 0;
  uint64_t timeout = opt ? opt->timeout_ms * NS_MS : 0;
  struct hub *h = c->hub;
  struct entry *e;
  *has_ref = c->caps & CAP_ACK;
  *ref = h->last_id + 1;
  struct slice kept = SLICE_NONE;
  uint8_t *frame = NULL;
  if (resend) {
    bool brief = m->publish.brief;
    m->publish.brief = false; /* the next connection has no numbers yet */
    size_t size = msg_size(m);
    if (c->held && c->held + size > c->max_queue) return MACULA_EFULL;
    if (size > FRAME_MAX_PAYLOAD + FRAME_HEADER_LEN) return MACULA_PAYLOAD_TOO_LARGE;
    if (!(frame = mem_alloc(h->mem, size))) return MACULA_ENOMEM;
    ptrdiff_t n = msg_encode(m, frame, size);
    m->publish.brief = brief;
    if (n < 0) {
      mem_free(h->mem, frame);
      return (int)n;
    }
    kept = slice_of(frame, (size_t)n);
  }
  int err = entry_new(c, ENTRY_CONFIRM, kept, time_add(h->now, timeout ? timeout : CONFIRM_TIMEOUT), &e);
  mem_free(h->mem, frame);
  if (err) return err;
  c->held += e->len;
  err = resend && !m->publish.brief ? client_send_raw(c, slice_of(e->data, e->len)) : client_send(c, m);
  if (err) {
    entry_end(e);
    return err;
  }
  e->confirm.resend = resend;
  e->confirm.renews = opt && !timeout;
  e->confirm.on_partly = opt ? opt->on_partly : NULL;
  e->confirm.ctx = opt ? opt->partly_ctx : NULL;
  e->done = done;
  e->done_ctx = ctx;
  if (!*has_ref) finish_later(e, 0);
  return 0;
}

int headers_of(const macula_header *given, size_t count, struct slice *items, struct msg_list *ret_list) {
  const char *text;
  if (count && !given) return MACULA_EINVAL;
  if (count > HEADERS_MOST) return MACULA_PAYLOAD_TOO_LARGE;
  for (size_t i = 0; i < count; i++) {
    const macula_header *h = &given[i];
    if (!h->name || (h->len && !h->value)) return MACULA_EINVAL;
    items[2 * i] = slice_str(h->name);
    items[2 * i + 1] = slice_of(h->len ? h->value : "", h->len);
  }
  *ret_list = (struct msg_list){.count = (uint32_t)(2 * count), .items = items};
  return headers_check(*ret_list, &text);
}

static int put_headers(struct client *c, const macula_publish_options *opt, struct slice *items, struct msg_publish *m) {
  if (!opt->header_count && !opt->expires_ms) return 0;
  int err = headers_of(opt->headers, opt->header_count, items, &m->headers);
  m->expires_ms = opt->expires_ms < EXPIRES_MOST ? opt->expires_ms : EXPIRES_MOST;
  return !err && !(c->caps & CAP_HEADERS) ? MACULA_UNSUPPORTED_VERSION : err;
}

int client_publish(struct client *c, const char *topic, struct slice payload, const macula_publish_options *opt,
                   macula_done_fn done, void *ctx) {
  static const macula_publish_options plain = {0};
  char name[NAME_MAX_LEN + 1];
  size_t len;
  uint8_t id[CALL_ID_LEN];
  struct slice headers[2 * HEADERS_MOST];
  if (!opt) opt = &plain;
  if (opt->qos < 0 || opt->qos > 2 || opt->timeout_ms > UINT32_MAX) return MACULA_EINVAL;
  if (opt->qos && opt->wait_for_readers) return MACULA_EINVAL;
  int err = name_topic(slice_str(topic), name, &len);
  if (err) return err;
  if (c->state != MACULA_CONNECTED || c->closing) return MACULA_NOT_CONNECTED;
  if (opt->qos == 2 && !(c->caps & CAP_HEADERS)) return MACULA_UNSUPPORTED_QOS;
  bool brief = c->caps & CAP_TOPICS;
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_of(name, len),
                              .payload = payload,
                              .qos = opt->qos > 0,
                              .exactly_once = opt->qos == 2,
                              .retain = opt->retain,
                              .wait = opt->wait_for_readers && (c->caps & CAP_WAIT),
                              .brief = brief}};
  if ((err = put_headers(c, opt, headers, &m.publish)) != 0) return err;
  if (opt->qos || !brief) m.publish.message_id = serial_next(&c->messages, id);
  if (brief && payload.n < NUMBERED_MOST) m.publish.topic_number = client_topic_number(c, m.publish.topic);
  if (brief && !msg_publish_fits(&m.publish)) return MACULA_PAYLOAD_TOO_LARGE;
  err =
      opt->qos || opt->confirm ? send_confirmed(c, &m, &m.publish.ref, &m.publish.has_ref, opt, done, ctx) : client_send(c, &m);
  return client_short(c, err);
}

int client_cast(struct client *c, const char *procedure, struct slice args, macula_done_fn done, void *ctx) {
  char name[NAME_MAX_LEN + 1];
  size_t len;
  int err = name_procedure(slice_str(procedure), name, &len);
  if (err) return err;
  if (c->state != MACULA_CONNECTED || c->closing) return MACULA_NOT_CONNECTED;
  struct msg m = {.type = MSG_CAST, .call = {.procedure = slice_of(name, len), .args = args}};
  return client_short(c, done ? send_confirmed(c, &m, &m.call.ref, &m.call.has_ref, NULL, done, ctx) : client_send(c, &m));
}

static struct entry *same_name(struct client *c, enum entry_kind kind, struct slice name, const char *group) {
  list_for(it, &c->entries[kind]) {
    struct entry *e = container_of(it, struct entry, in);
    if (e->dead || e->kind != kind || !slice_eq(slice_of(e->data, e->len), name)) continue;
    if (kind != ENTRY_SUB || is_same_group(e->sub.group, group)) return e;
  }
  return NULL;
}

/* A subscription or service is in place once asked for; without a connection it goes out with the next. */
static int announce_first(struct entry *e) {
  struct client *c = e->c;
  int err = c->state == MACULA_CONNECTED ? entry_announce(e) : 0;
  if (err && err != MACULA_NOT_CONNECTED) {
    e->done = NULL;
    entry_end(e);
    return client_short(c, err);
  }
  return 0;
}

int client_subscribe(struct client *c, const char *pattern, bool own, macula_message_fn fn, macula_done_fn done, void *done_ctx,
                     void *ctx, macula_sub *ret_sub) {
  return client_join(c, pattern, own, NULL, fn, done, done_ctx, ctx, ret_sub);
}

int client_join(struct client *c, const char *pattern, bool own, const char *group, macula_message_fn fn, macula_done_fn done,
                void *done_ctx, void *ctx, macula_sub *ret_sub) {
  char name[2 * (NAME_MAX_LEN + 1)], key[NAME_MAX_LEN + 1];
  size_t len;
  struct entry *e;
  int err = name_pattern(slice_str(pattern), name, &len);
  if (err) return err;
  if (!fn) return MACULA_EINVAL;
  size_t key_len, size = len;
  if (group && (err = group_key(slice_str(group), slice_of(name, len), key, &key_len)) != 0) return err;
  if (group) { /* no longer than a name, or there would be no key */
    size_t n = strlen(group);
    memcpy(name + len + 1, group, n + 1);
    size = len + 1 + n;
  }
  if (c->state == MACULA_CLOSED || c->closing) return MACULA_ECLOSED;
  if (group && c->state == MACULA_CONNECTED && !(c->caps & CAP_GROUPS)) return MACULA_UNSUPPORTED_VERSION;
  if ((err = entry_new(c, ENTRY_SUB, slice_of(name, size), TIME_NEVER, &e))) return err;
  e->len = (uint32_t)len;
  e->sub.group = group ? e->data + len + 1 : NULL;
  e->sub.fn = fn;
  e->sub.own = own;
  e->done = done;
  e->done_ctx = done_ctx;
  e->ctx = ctx;
  uint64_t id = e->id;
  if ((err = announce_first(e))) return err;
  if (ret_sub) *ret_sub = (macula_sub){id};
  return 0;
}

/* A subscription or service that ends before it was confirmed still owes its `done`: the entry stays in its list, as a request
 * that waits for confirmation. */
static void take_back(struct entry *e) {
  if (!e->done) {
    entry_end(e);
    return;
  }
  e->kind = ENTRY_CONFIRM;
  e->confirm.resend = e->confirm.renews = false;
  e->confirm.on_partly = NULL;
  e->c->held += e->len;
  finish_later(e, MACULA_CANCELLED);
}

int client_unsubscribe(struct client *c, macula_sub sub) {
  struct entry *e = find_own(c, sub.id, ENTRY_SUB);
  if (!e) return MACULA_ENOTFOUND;
  char name[NAME_MAX_LEN + 1], group[NAME_MAX_LEN + 1];
  struct slice pattern = slice_of(name, e->len);
  bool grouped = e->sub.group != NULL;
  memcpy(name, e->data, e->len);
  if (grouped) memcpy(group, e->sub.group, strlen(e->sub.group) + 1);
  take_back(e);
  struct entry *other = same_name(c, ENTRY_SUB, pattern, grouped ? group : NULL);
  struct msg m = {.type = MSG_UNSUBSCRIBE,
                  .subscribe = {.topics = {.count = 1, .items = &pattern}, .group = slice_str(grouped ? group : NULL)}};
  if (c->state == MACULA_CONNECTED && !other) client_send(c, &m);
  return 0;
}

int client_call(struct client *c, const char *procedure, struct slice args, const macula_call_options *opt, macula_result_fn fn,
                void *ctx, macula_call_id *ret_call) {
  static const macula_call_options plain = {0};
  char name[NAME_MAX_LEN + 1];
  uint8_t id[CALL_ID_LEN];
  size_t len;
  struct entry *e;
  if (!opt) opt = &plain;
  enum strategy strategy = opt->strategy ? strategy_from_name(slice_str(opt->strategy)) : STRATEGY_DEFAULT;
  uint64_t timeout = opt->timeout_ms ? opt->timeout_ms : 5000;
  int err = name_procedure(slice_str(procedure), name, &len);
  if (err) return err;
  if (!fn || strategy == STRATEGY_UNKNOWN || timeout > UINT32_MAX || (opt->idempotent && opt->once)) return MACULA_EINVAL;
  if (c->state != MACULA_CONNECTED || c->closing) return MACULA_NOT_CONNECTED;
  if (c->calls >= c->max_calls) return MACULA_TOO_MANY_CALLS;
  /* The node answers at the deadline with what it knows about the attempts: it is given a moment to do so. */
  if ((err = entry_new(c, ENTRY_CALL, SLICE_NONE, time_add(c->hub->now, timeout * NS_MS + 100 * NS_MS), &e))) return err;
  c->calls++;
  memcpy(id, c->prefix, 8);
  memcpy(id + 8, &e->id, 8);
  bool ext = c->caps & CAP_ACK;
  struct msg m = {.type = MSG_CALL,
                  .call = {.procedure = slice_of(name, len),
                           .args = args,
                           .call_id = slice_of(id, sizeof id),
                           .timeout = timeout,
                           .strategy = ext ? strategy : STRATEGY_DEFAULT,
                           .idempotent = ext && opt->idempotent,
                           .once = ext && opt->once}};
  if ((err = client_send(c, &m))) {
    entry_end(e);
    return client_short(c, err);
  }
  e->call.fn = fn;
  e->ctx = ctx;
  if (ret_call) *ret_call = (macula_call_id){e->id};
  return 0;
}

void call_finish(struct entry *e, const macula_result *r) {
  struct hub *h = e->c->hub;
  macula_client client = client_handle(e->c);
  macula_result_fn fn = e->call.fn;
  void *ctx = e->ctx;
  if (e->dead) return;
  entry_end(e);
  hub_leave(h);
  fn(ctx, client, r);
  hub_enter(h);
}

void call_fail(struct entry *e, int err, bool may_have_run) {
  macula_result r = {.err = err,
                     .code = macula_err_name(err),
                     .text = macula_err_text(err),
                     .data = "",
                     .may_have_run = may_have_run,
                     .attempts = ""};
  call_finish(e, &r);
}

int client_cancel(struct client *c, macula_call_id call) {
  struct entry *e = find_own(c, call.id, ENTRY_CALL);
  if (!e || e->scheduled) return MACULA_ENOTFOUND;
  uint8_t id[CALL_ID_LEN];
  memcpy(id, c->prefix, 8);
  memcpy(id + 8, &e->id, 8);
  struct msg m = {.type = MSG_CANCEL, .cancel = {.call_id = slice_of(id, sizeof id), .reason = slice_str("cancelled")}};
  if (c->caps & CAP_CANCEL) client_send(c, &m);
  finish_later(e, MACULA_CANCELLED);
  return 0;
}

int client_serve(struct client *c, const char *procedure, const macula_serve_options *opt, macula_request_fn fn,
                 macula_cancel_fn cancel, macula_done_fn done, void *done_ctx, void *ctx, macula_service *ret_service) {
  static const macula_serve_options plain = {0};
  char name[NAME_MAX_LEN + 1];
  size_t len;
  struct entry *e;
  int err = name_procedure(slice_str(procedure), name, &len);
  if (err) return err;
  if (!fn) return MACULA_EINVAL;
  if (c->state == MACULA_CLOSED || c->closing) return MACULA_ECLOSED;
  if (same_name(c, ENTRY_SERVICE, slice_of(name, len), NULL)) return MACULA_EBUSY;
  if ((err = entry_new(c, ENTRY_SERVICE, slice_of(name, len), TIME_NEVER, &e))) return err;
  e->service.fn = fn;
  e->service.cancel = cancel;
  if (!opt) opt = &plain;
  e->service.ttl_s = opt->ttl_ms / 1000 + (opt->ttl_ms % 1000 != 0);
  e->service.idempotent = opt->idempotent;
  e->done = done;
  e->done_ctx = done_ctx;
  e->ctx = ctx;
  uint64_t id = e->id;
  if ((err = announce_first(e))) return err;
  if (ret_service) *ret_service = (macula_service){id};
  return 0;
}

int client_unserve(struct client *c, macula_service service) {
  struct entry *e = find_own(c, service.id, ENTRY_SERVICE);
  if (!e) return MACULA_ENOTFOUND;
  struct msg m = {.type = MSG_UNREGISTER, .unreg = {.procedure = slice_of(e->data, e->len)}};
  if (c->state == MACULA_CONNECTED && (c->caps & CAP_REGISTER)) client_send(c, &m);
  take_back(e);
  return 0;
}

/* An answer that the queue has no room for leaves the request open, so that it can be tried again. */
static int answer(struct client *c, struct entry *e, struct msg_reply r) {
  struct msg m = {.type = MSG_REPLY, .reply = r};
  m.reply.call_id = slice_of(e->served.call_id, CALL_ID_LEN);
  int err = e->served.cast ? 0 : client_send(c, &m);
  if (err != MACULA_EFULL && err != MACULA_ENOMEM && err != MACULA_PAYLOAD_TOO_LARGE) entry_end(e);
  return client_short(c, err);
}

int client_reply(struct client *c, macula_request_id request, struct slice result) {
  struct entry *e = find_own(c, request.id, ENTRY_SERVED);
  return e ? answer(c, e, (struct msg_reply){.result = result}) : MACULA_ENOTFOUND;
}

int client_reply_error(struct client *c, macula_request_id request, const char *code, const char *message) {
  struct entry *e = find_own(c, request.id, ENTRY_SERVED);
  if (!e) return MACULA_ENOTFOUND;
  struct msg_error error = {.code = slice_str(code ? code : "handler_error"), .message = slice_str(message ? message : "")};
  return answer(c, e, (struct msg_reply){.is_error = true, .error = error});
}
