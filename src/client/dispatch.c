/* What the node sends: frames become callbacks, from views and without allocation but for requests served. */
#include <stdio.h>

#include "client/internal.h"
#include "wire/answer.h"
#include "wire/group.h"
#include "wire/headers.h"
#include "wire/pattern.h"

#define GIVEN_UP (10 * NS_SEC) /* a node takes no client for dead sooner */
#define TEXT_MAX 1024          /* of a message for people that is handed on */

static const char *copy_text(char ret_text[TEXT_MAX], struct slice s) {
  size_t n = s.n < TEXT_MAX - 1 ? s.n : TEXT_MAX - 1;
  if (n) memcpy(ret_text, s.p, n);
  ret_text[n] = 0;
  return ret_text;
}

static int code_of(struct slice code) {
  int err = err_from_name((const char *)code.p, code.n);
  return err ? err : MACULA_EINTERNAL;
}

/* The headers of a message, as callbacks get them. */
struct headers {
  macula_header all[HEADERS_MOST];
  char text[HEADERS_BYTES + 2 * HEADERS_MOST];
};

static char *copy_header(char **at, struct slice s) {
  char *to = *at;
  if (s.n) memcpy(to, s.p, s.n);
  to[s.n] = 0;
  *at += s.n + 1;
  return to;
}

/* How many there are; none of what no message should have. */
static size_t read_headers(struct headers *h, struct msg_list list) {
  struct slice name, value;
  const char *why;
  char *at = h->text;
  size_t n = 0;
  if (headers_check(list, &why)) return 0;
  for (; headers_next(&list, &name, &value); n++) {
    h->all[n].name = copy_header(&at, name);
    h->all[n].value = copy_header(&at, value);
    h->all[n].len = value.n;
  }
  return n;
}

static void deliver_to(struct client *c, const struct msg_publish *p, const macula_message *m);

static void deliver_with_headers(struct client *c, const struct msg_publish *p, macula_message *m) {
  struct headers h;
  m->header_count = read_headers(&h, p->headers);
  m->headers = h.all;
  deliver_to(c, p, m);
}

static void deliver(struct client *c, const struct msg_publish *p, const macula_principal *publisher) {
  char topic[NAME_MAX_LEN + 1];
  static const uint8_t no_id[CALL_ID_LEN];
  if (p->topic.n > NAME_MAX_LEN) return;
  memcpy(topic, p->topic.p, p->topic.n);
  topic[p->topic.n] = 0;
  bool has_id = p->message_id.n == CALL_ID_LEN;
  /* one that came without an id is given one here, so that the callbacks of several subscriptions see that it is one message */
  uint64_t made[2] = {c->received[0], ++c->received[1]};
  const uint8_t *id = has_id ? p->message_id.p : p->brief ? (const uint8_t *)made : no_id;
  int qos = p->qos && p->exactly_once ? 2 : (int)p->qos;
  macula_message m = {topic, p->payload.p, p->payload.n, qos, p->retain, id, publisher, NULL, 0, p->expires_ms};
  if (p->headers.count)
    deliver_with_headers(c, p, &m);
  else
    deliver_to(c, p, &m);
}

/* Whether the subscription is one of this group (wire/group.h). */
static bool is_member(const struct entry *e, struct slice group) {
  char key[NAME_MAX_LEN + 1];
  size_t len;
  return e->sub.group && !group_key(slice_str(e->sub.group), slice_of(e->data, e->len), key, &len) &&
         slice_eq(slice_of(key, len), group);
}

static void deliver_to(struct client *c, const struct msg_publish *p, const macula_message *m) {
  bool mine = p->own || serial_gave(&c->messages, p->message_id);
  struct msg_list groups = p->groups;
  struct slice group = SLICE_NONE;
  (void)msg_list_next(&groups, &group);
  uint64_t last = c->hub->last_id; /* what a callback subscribes to does not get this message */
  struct list *subs = &c->entries[ENTRY_SUB];
  list_for(it, subs) {
    struct entry *e = container_of(it, struct entry, in);
    if (e->dead || e->kind != ENTRY_SUB || e->id > last || (mine && !e->sub.own)) continue;
    if (group.n ? !is_member(e, group) : e->sub.group || !pattern_match(slice_of(e->data, e->len), p->topic)) continue;
    macula_message_fn fn = e->sub.fn;
    void *ctx = e->ctx;
    hub_leave(c->hub);
    fn(ctx, client_handle(c), m);
    hub_enter(c->hub);
    if (c->closing) return;
  }
}

static void refuse(struct client *c, struct slice call_id, int err) {
  struct msg m = answer_error(call_id, err, NULL, false);
  client_send(c, &m);
}

static void serve(struct client *c, const struct msg_call *call, bool cast, const macula_principal *caller) {
  char procedure[NAME_MAX_LEN + 1];
  struct entry *service = NULL, *e;
  if (!cast && call->call_id.n != CALL_ID_LEN) return;
  list_for(it, &c->entries[ENTRY_SERVICE]) {
    struct entry *s = container_of(it, struct entry, in);
    if (s->dead || s->kind != ENTRY_SERVICE || !slice_eq(slice_of(s->data, s->len), call->procedure)) continue;
    service = s;
    break;
  }
  uint64_t timeout = call->timeout && call->timeout <= UINT32_MAX ? call->timeout : 5000, age = c->hub->stood;
  uint64_t late = call->at ? delay_beyond(&c->delays, call->at, c->hub->now) : 0;
  if (late > age) age = late;
  /* A call that came while this process stood still, or whose sender did, was given up since if its time has passed, or if it
   * took so long that the node may have taken us for dead, and have given it to another provider. */
  bool given_up = age && (age / NS_MS >= timeout || age >= GIVEN_UP);
  timeout -= given_up ? 0 : age / NS_MS;
  int err = !service                    ? MACULA_NO_HANDLER
            : given_up                  ? MACULA_NOT_CONNECTED
            : c->served >= c->max_calls ? MACULA_TOO_MANY_CALLS
                                        : entry_new(c, ENTRY_SERVED, SLICE_NONE, time_add(c->hub->now, timeout * NS_MS), &e);
  if (err) {
    if (!cast) refuse(c, call->call_id, err);
    return;
  }
  c->served++;
  e->served.cast = cast;
  e->served.cancel = service->service.cancel;
  e->ctx = service->ctx;
  if (!cast) memcpy(e->served.call_id, call->call_id.p, CALL_ID_LEN);
  memcpy(procedure, service->data, service->len + 1);
  macula_request r = {{e->id}, procedure, call->args.p, call->args.n, timeout, cast, caller};
  macula_request_fn fn = service->service.fn;
  void *ctx = service->ctx;
  hub_leave(c->hub);
  fn(ctx, client_handle(c), &r);
  hub_enter(c->hub);
  if (cast && !e->dead) entry_end(e); /* nobody waits for an answer: it takes no place */
}

static void cancelled(struct client *c, const struct msg_cancel *m) {
  if (m->call_id.n != CALL_ID_LEN) return;
  list_for(it, &c->entries[ENTRY_SERVED]) {
    struct entry *e = container_of(it, struct entry, in);
    if (e->dead || e->served.cast || memcmp(e->served.call_id, m->call_id.p, CALL_ID_LEN) != 0) continue;
    macula_cancel_fn fn = e->served.cancel;
    void *ctx = e->ctx;
    macula_request_id id = {e->id};
    entry_end(e);
    if (!fn) return;
    hub_leave(c->hub);
    fn(ctx, client_handle(c), id);
    hub_enter(c->hub);
    return;
  }
}

/* "PROVIDER CODE TEXT\n" for each; what does not fit is left out whole. */
static void list_attempts(struct msg_error error, char *ret_text, size_t cap) {
  struct msg_attempt a;
  size_t at = 0;
  ret_text[0] = 0;
  while (msg_attempt_next(&error, &a)) {
    char who[ID_HEX_LEN + 1] = "-";
    if (a.provider.n == ID_LEN) hex_encode(a.provider.p, ID_LEN, who);
    int n = snprintf(ret_text + at, cap - at, "%s %.*s %.*s%s\n", who, (int)(a.code.n < 64 ? a.code.n : 64),
                     (const char *)a.code.p, (int)(a.message.n < 512 ? a.message.n : 512), (const char *)a.message.p,
                     a.may_have_run ? "; its handler may have run" : "");
    if (n < 0 || (size_t)n >= cap - at) {
      ret_text[at] = 0;
      return;
    }
    at += (size_t)n;
  }
}

static void replied(struct client *c, const struct msg_reply *m) {
  uint64_t id;
  if (m->call_id.n != CALL_ID_LEN || memcmp(m->call_id.p, c->prefix, sizeof c->prefix) != 0) return;
  memcpy(&id, m->call_id.p + 8, 8);
  struct entry *e = entry_find(c->hub, id);
  if (!e || e->c != c || e->kind != ENTRY_CALL || e->scheduled) return;
  if (!m->is_error) {
    macula_result r = {
        .code = "ok", .text = "", .data = m->result.p ? (const void *)m->result.p : "", .len = m->result.n, .attempts = ""};
    call_finish(e, &r);
    return;
  }
  char code[65], text[TEXT_MAX], attempts[4096];
  size_t n = m->error.code.n < sizeof code - 1 ? m->error.code.n : sizeof code - 1;
  if (n) memcpy(code, m->error.code.p, n);
  code[n] = 0;
  list_attempts(m->error, attempts, sizeof attempts);
  int err = code_of(m->error.code);
  copy_text(text, m->error.message);
  macula_result r = {.err = err,
                     .code = code,
                     .text = text[0] ? text : macula_err_text(err),
                     .data = "",
                     .may_have_run = m->error.has_extra ? m->error.may_have_run : err == MACULA_TIMEOUT,
                     .attempts = attempts};
  call_finish(e, &r);
}

static void tell_partly(struct entry *e, const struct msg_partly *m) {
  struct hub *h = e->c->hub;
  macula_partly partly = {m->cut, m->silent, m->unknown};
  if (e->kind != ENTRY_CONFIRM || !e->confirm.on_partly || !msg_is_partly(m)) return;
  hub_leave(h);
  e->confirm.on_partly(e->confirm.ctx, client_handle(e->c), &partly);
  hub_enter(h);
}

static void notice(struct client *c, int err, uint64_t count, const char *text) {
  if (!c->on_notice) return;
  hub_leave(c->hub);
  c->on_notice(c->ctx, client_handle(c), err, count, text);
  hub_enter(c->hub);
}

static void noticed(struct client *c, const struct msg_notice *m) {
  char text[TEXT_MAX];
  if (c->on_dropped && code_of(m->code) == MACULA_DROPPED) {
    hub_leave(c->hub);
    c->on_dropped(c->ctx, client_handle(c), m->count);
    hub_enter(c->hub);
    return;
  }
  notice(c, code_of(m->code), m->count, copy_text(text, m->message));
}

static void acknowledged(struct client *c, const struct msg_ack *a) {
  char text[TEXT_MAX];
  struct entry *e = entry_find(c->hub, a->ref);
  if (!e || e->c != c || e->kind == ENTRY_CALL || e->kind == ENTRY_SERVED || e->scheduled) return;
  int err = a->code.n ? code_of(a->code) : 0;
  copy_text(text, a->message);
  const char *why = err && !text[0] ? macula_err_text(err) : text;
  if (e->kind == ENTRY_CONFIRM) c->publish_acked = c->hub->now;
  bool told = e->done != NULL; /* else it is a subscription or service that was made anew after a loss */
  tell_partly(e, &a->partly);
  entry_done(e, err, why);
  if (err && !told && (e->kind == ENTRY_SUB || e->kind == ENTRY_SERVICE) && !e->dead) notice(c, err, 1, why);
  if ((err || e->kind == ENTRY_CONFIRM) && !e->dead) entry_end(e);
  client_room(c);
}

bool client_frame(struct client *c, const struct frame *f) {
  struct msg m;
  macula_principal who;
  int err = msg_decode(f->type, f->payload, &m);
  if (err == MACULA_UNKNOWN_TYPE) return true;
  if (err) {
    client_lost(c, err, slice_str("the node sent a malformed frame"));
    return false;
  }
  if (m.type == MSG_DISCONNECT) {
    int code = m.disconnect.code.n ? err_from_name((const char *)m.disconnect.code.p, m.disconnect.code.n) : 0;
    client_lost(c, code ? code : MACULA_NOT_CONNECTED, m.disconnect.message);
    return false;
  }
  if (m.type == MSG_PONG) {
    if (c->state == MACULA_CONNECTING) client_let_in(c, &m.pong);
    return true;
  }
  if (c->state != MACULA_CONNECTED) return true;
  if (m.type == MSG_ANNOUNCE) return client_announced(c, &m.announce) && client_topic_announced(c, &m.announce);
  if (m.type == MSG_PUBLISH) {
    if (!client_topic_named(c, &m.publish) || !client_origin(c, true, &m.publish.origin, &who)) return false;
    deliver(c, &m.publish, &who);
  } else if (m.type == MSG_CALL || m.type == MSG_CAST) {
    if (!client_origin(c, false, &m.call.origin, &who)) return false;
    serve(c, &m.call, m.type == MSG_CAST, &who);
  } else if (m.type == MSG_REPLY) {
    replied(c, &m.reply);
  } else if (m.type == MSG_ACK) {
    acknowledged(c, &m.ack);
  } else if (m.type == MSG_NOTICE) {
    noticed(c, &m.notice);
  } else if (m.type == MSG_CANCEL) {
    cancelled(c, &m.cancel);
  } else if (m.type == MSG_PING) {
    struct msg pong = {.type = MSG_PONG, .pong = {.timestamp = m.ping.timestamp, .server_time = m.ping.timestamp}};
    client_send(c, &pong);
  }
  return true;
}
