/* Decoding: one pass over the payload's map, a dispatch on the key for each type, required fields checked at the end. */
#include "wire/msg.h"

#include "base/err.h"
#include "wire/cursor.h"

static const struct {
  uint32_t cap;
  const char *name;
} cap_names[] = {{CAP_PUBSUB, "pubsub"},   {CAP_RPC, "rpc"},           {CAP_ACK, "ack"},   {CAP_REGISTER, "register"},
                 {CAP_CANCEL, "cancel"},   {CAP_OPERATOR, "operator"}, {CAP_NODE, "node"}, {CAP_NOTICE, "notice"},
                 {CAP_ORIGIN, "origin"},   {CAP_STREAMS, "streams"},   {CAP_WAIT, "wait"}, {CAP_TOPICS, "topics"},
                 {CAP_HEADERS, "headers"}, {CAP_GROUPS, "groups"},     {CAP_WILL, "will"}};
#define CAP_COUNT (sizeof cap_names / sizeof cap_names[0])

static const char *const strategies[] = {"", "random", "first", "round_robin", "closest", "least_pending", ""};

enum strategy strategy_from_name(struct slice name) {
  for (int s = STRATEGY_RANDOM; s < STRATEGY_UNKNOWN; s++)
    if (slice_is(name, strategies[s])) return (enum strategy)s;
  return STRATEGY_UNKNOWN;
}
const char *strategy_name(enum strategy s) { return strategies[s]; }

const char *msg_type_name(uint8_t type) {
  switch ((enum msg_type)type) {
  case MSG_CONNECT:
    return "connect";
  case MSG_DISCONNECT:
    return "disconnect";
  case MSG_PING:
    return "ping";
  case MSG_PONG:
    return "pong";
  case MSG_ACK:
    return "ack";
  case MSG_RENEW:
    return "renew";
  case MSG_REVOKED:
    return "revoked";
  case MSG_PACE:
    return "pace";
  case MSG_NOTICE:
    return "notice";
  case MSG_ANNOUNCE:
    return "announce";
  case MSG_CLAIM:
    return "claim";
  case MSG_PUBLISH:
    return "publish";
  case MSG_SUBSCRIBE:
    return "subscribe";
  case MSG_UNSUBSCRIBE:
    return "unsubscribe";
  case MSG_PUBSUB_ROUTE:
    return "pubsub_route";
  case MSG_INTEREST:
    return "interest";
  case MSG_INTEREST_HAVE:
    return "interest_have";
  case MSG_RETAINED_GET:
    return "retained_get";
  case MSG_RETAINED_MOVED:
    return "retained_moved";
  case MSG_CALL:
    return "call";
  case MSG_REPLY:
    return "reply";
  case MSG_CAST:
    return "cast";
  case MSG_RPC_ROUTE:
    return "rpc_route";
  case MSG_REGISTER:
    return "register_procedure";
  case MSG_UNREGISTER:
    return "unregister_procedure";
  case MSG_CANCEL:
    return "cancel";
  case MSG_AGREE:
    return "agree";
  case MSG_NOT_ROUTED:
    return "not_routed";
  case MSG_SWIM_PING:
    return "swim_ping";
  case MSG_SWIM_ACK:
    return "swim_ack";
  case MSG_SWIM_PING_REQ:
    return "swim_ping_req";
  case MSG_SWIM_SYNC:
    return "swim_sync";
  case MSG_FIND_NODE:
    return "find_node";
  case MSG_FIND_NODE_REPLY:
    return "find_node_reply";
  case MSG_STORE:
    return "store";
  case MSG_FIND_VALUE:
    return "find_value";
  case MSG_FIND_VALUE_REPLY:
    return "find_value_reply";
  case MSG_STORE_REPLY:
    return "store_reply";
  }
  return "unknown";
}

static uint8_t retained_of(uint64_t number) {
  return number == 0 ? RETAINED_NEVER : number == 2 ? RETAINED_ALWAYS : RETAINED_IF_NEW;
}

#define KEY(s) (key.n == sizeof(s) - 1 && memcmp(key.p, s, sizeof(s) - 1) == 0)

/* A list of texts as a view of its elements; each must be a text. */
static void read_list(struct reader *r, struct msg_list *l) {
  uint32_t n = reader_array(r);
  const uint8_t *start = r->p;
  for (uint32_t i = 0; i < n && !r->bad; i++) (void)reader_text(r);
  *l = (struct msg_list){.count = n, .raw = {start, (size_t)(r->p - start)}};
}

bool msg_list_next(struct msg_list *l, struct slice *ret_item) {
  if (l->count == 0) return false;
  struct reader r = reader_of(l->raw);
  *ret_item = reader_text(&r);
  l->count--;
  l->raw = (struct slice){r.p, (size_t)(r.end - r.p)};
  return !r.bad;
}

static uint32_t read_caps(struct reader *r) {
  struct msg_list l;
  struct slice name;
  uint32_t caps = 0;
  read_list(r, &l);
  while (!r->bad && msg_list_next(&l, &name))
    for (size_t i = 0; i < CAP_COUNT; i++)
      if (slice_is(name, cap_names[i].name)) caps |= cap_names[i].cap;
  return caps;
}

static bool read_attempt(struct reader *r, struct msg_attempt *a) {
  *a = (struct msg_attempt){0};
  uint32_t n = reader_map(r);
  for (uint32_t i = 0; i < n && !r->bad; i++) {
    struct slice key = reader_text(r);
    if (r->bad) break;
    if (KEY("provider"))
      a->provider = reader_text(r);
    else if (KEY("code"))
      a->code = reader_text(r);
    else if (KEY("message"))
      a->message = reader_text(r);
    else if (KEY("may_have_run"))
      a->may_have_run = reader_bool(r);
    else
      (void)reader_raw(r, 4);
  }
  return !r->bad;
}

bool msg_attempt_next(struct msg_error *e, struct msg_attempt *ret_attempt) {
  if (e->attempt_count == 0) return false;
  struct reader r = reader_of(e->raw_attempts);
  if (!read_attempt(&r, ret_attempt)) return false;
  e->attempt_count--;
  e->raw_attempts = (struct slice){r.p, (size_t)(r.end - r.p)};
  return true;
}

static void read_error(struct reader *r, struct msg_error *e) {
  *e = (struct msg_error){0};
  uint32_t n = reader_map(r);
  for (uint32_t i = 0; i < n && !r->bad; i++) {
    struct slice key = reader_text(r);
    if (r->bad) break;
    if (KEY("code")) {
      e->code = reader_text(r);
    } else if (KEY("message")) {
      e->message = reader_text(r);
    } else if (KEY("may_have_run")) {
      e->may_have_run = reader_bool(r);
    } else if (KEY("may_repeat")) {
      e->may_repeat = reader_bool(r);
      e->has_extra = true;
    } else if (KEY("attempts")) {
      uint32_t count = reader_array(r);
      const uint8_t *start = r->p;
      struct msg_attempt a;
      for (uint32_t k = 0; k < count && !r->bad; k++) (void)read_attempt(r, &a);
      e->attempt_count = count;
      e->raw_attempts = (struct slice){start, (size_t)(r->p - start)};
      e->has_extra = true;
    } else {
      (void)reader_raw(r, 2);
    }
  }
}

static bool read_node(struct reader *r, struct msg_node_info *info) {
  *info = (struct msg_node_info){0};
  uint32_t n = reader_map(r);
  for (uint32_t i = 0; i < n && !r->bad; i++) {
    struct slice key = reader_text(r);
    if (r->bad) break;
    if (KEY("node_id"))
      info->node_id = reader_text(r);
    else if (KEY("address"))
      info->address = reader_text(r);
    else if (KEY("last_seen"))
      info->last_seen = reader_uint(r);
    else
      (void)reader_raw(r, 3);
  }
  return !r->bad && info->node_id.p;
}

bool msg_node_next(struct msg_find_reply *f, struct msg_node_info *ret_node) {
  if (f->node_count == 0) return false;
  struct reader r = reader_of(f->raw_nodes);
  if (!read_node(&r, ret_node)) return false;
  f->node_count--;
  f->raw_nodes = (struct slice){r.p, (size_t)(r.end - r.p)};
  return true;
}

static struct msg_partly read_partly(struct reader *r) {
  uint64_t counts[3] = {0};
  uint32_t n = reader_array(r);
  for (uint32_t i = 0; i < n && !r->bad; i++)
    if (i < 3)
      counts[i] = reader_uint(r);
    else
      (void)reader_raw(r, 2);
  return (struct msg_partly){counts[0], counts[1], counts[2]};
}

static bool read_origin(struct reader *r, struct slice key, struct msg_origin *o) {
  if (KEY("by")) return o->number = reader_uint(r), true;
  if (KEY("origin")) return o->in_full = reader_text(r), true;
  return false;
}

/* Names and values; one without the other is malformed. */
static void read_headers(struct reader *r, struct msg_list *l) {
  read_list(r, l);
  if (l->count % 2) r->bad = true;
}

/* The value of a short key; false: there is no such key. */
static bool read_brief_field(struct reader *r, uint64_t key, struct msg_publish *p) {
  switch (key) {
  case PUBLISH_NUMBER:
    return p->topic_number = reader_uint(r), true;
  case PUBLISH_TOPIC:
    return p->topic = reader_text(r), true;
  case PUBLISH_PAYLOAD:
    return p->payload = reader_text(r), true;
  case PUBLISH_BY:
    return p->origin.number = reader_uint(r), true;
  case PUBLISH_QOS:
    return p->qos = reader_uint(r), true;
  case PUBLISH_RETAIN:
    return p->retain = reader_bool(r), true;
  case PUBLISH_ID:
    return p->message_id = reader_text(r), true;
  case PUBLISH_REF:
    return p->ref = reader_uint(r), p->has_ref = true, true;
  case PUBLISH_OWN:
    return p->own = reader_bool(r), true;
  case PUBLISH_PUBLISHER:
    return p->publisher = reader_text(r), true;
  case PUBLISH_INSTANCE:
    return p->instance = reader_text(r), true;
  case PUBLISH_REPLAY:
    return p->replay = reader_uint(r), true;
  case PUBLISH_RETAINED_MS:
    return p->retained_ms = reader_uint(r), true;
  case PUBLISH_SLASHES:
    return p->slashes = (uint32_t)reader_uint(r), true;
  case PUBLISH_WAIT:
    return p->wait = reader_bool(r), true;
  case PUBLISH_CONNECTION:
    return p->connection = reader_uint(r), true;
  case PUBLISH_HEADERS:
    return read_headers(r, &p->headers), true;
  case PUBLISH_EXPIRES:
    return p->expires_ms = reader_uint(r), true;
  case PUBLISH_GROUPS:
    return read_list(r, &p->groups), true;
  case PUBLISH_EXACTLY_ONCE:
    return p->exactly_once = reader_bool(r), true;
  }
  return false;
}

static void read_brief(struct reader *r, uint32_t pairs, struct msg_publish *p) {
  p->brief = true;
  for (; pairs && !r->bad; pairs--) {
    bool is_short = reader_at_small(r);
    uint64_t key = is_short ? reader_uint(r) : 0;
    if (!is_short) (void)reader_raw(r, 1);
    if (!r->bad && !(is_short && read_brief_field(r, key, p))) (void)reader_raw(r, 1);
  }
}

static bool take_uint(struct slice *in, uint64_t *ret) {
  static const uint8_t sizes[4] = {1, 2, 4, 8};
  if (!in->n) return false;
  uint8_t c = *in->p++;
  size_t n = c >= 0xcc && c <= 0xcf ? sizes[c - 0xcc] : 0;
  if (--in->n < n || (c > 0x7f && !n)) return false;
  uint64_t v = n ? 0 : c;
  for (size_t i = 0; i < n; i++) v = v << 8 | in->p[i];
  *in = slice_of(in->p + n, in->n - n);
  *ret = v;
  return true;
}

static bool take_bin(struct slice *in, struct slice *ret) {
  size_t head = !in->n ? 0 : *in->p == 0xc4 ? 2 : *in->p == 0xc5 ? 3 : 0;
  if (!head || in->n < head) return false;
  size_t n = head == 2 ? in->p[1] : (size_t)in->p[1] << 8 | in->p[2];
  if (in->n - head < n) return false;
  *ret = slice_of(in->p + head, n);
  *in = slice_of(in->p + head + n, in->n - head - n);
  return true;
}

/* Nearly all frames that come are publishes of a payload to a topic that has a number: these in one go. False: it is another
 * one, or malformed, and nothing was written. */
static bool read_usual(struct slice in, struct msg *ret_msg) {
  struct {
    uint64_t number, by, connection;
    struct slice payload;
  } got = {0};
  if (!in.n || (*in.p & 0xf0) != 0x80) return false;
  unsigned pairs = *in.p & 15;
  in = slice_of(in.p + 1, in.n - 1);
  while (pairs--) {
    if (!in.n) return false;
    uint8_t key = *in.p;
    in = slice_of(in.p + 1, in.n - 1);
    if (key == PUBLISH_PAYLOAD      ? !take_bin(&in, &got.payload)
        : key == PUBLISH_NUMBER     ? !take_uint(&in, &got.number)
        : key == PUBLISH_BY         ? !take_uint(&in, &got.by)
        : key == PUBLISH_CONNECTION ? !take_uint(&in, &got.connection)
                                    : true)
      return false;
  }
  if (in.n || !got.number || !got.payload.p) return false;
  *ret_msg = (struct msg){.type = MSG_PUBLISH,
                          .publish = {.brief = true,
                                      .topic_number = got.number,
                                      .payload = got.payload,
                                      .origin = {.number = got.by},
                                      .connection = got.connection}};
  return true;
}

/* Reads the value of one key; false: not a key of this type. */
static bool read_field(struct reader *r, struct slice key, struct msg *m) {
  switch (m->type) {
  case MSG_CONNECT: {
    struct msg_connect *c = &m->connect;
    if (KEY("version")) return c->version = reader_text(r), true;
    if (KEY("node_id")) return c->node_id = reader_text(r), true;
    if (KEY("realm_id")) return c->realm_id = reader_text(r), true;
    if (KEY("capabilities")) return c->caps = read_caps(r), true;
    if (KEY("endpoint")) return c->endpoint = reader_text(r), true;
    if (KEY("instance")) return c->instance = reader_text(r), true;
    if (KEY("proof")) return c->proof = reader_text(r), true;
    if (KEY("pass")) return c->pass = reader_text(r), true;
    if (KEY("name")) return c->name = reader_text(r), true;
    if (KEY("will")) return c->will = reader_raw(r, 1), true;
    return false;
  }
  case MSG_DISCONNECT:
    if (KEY("reason")) return m->disconnect.reason = reader_text(r), true;
    if (KEY("message")) return m->disconnect.message = reader_text(r), true;
    if (KEY("code")) return m->disconnect.code = reader_text(r), true;
    if (KEY("streams")) return m->disconnect.streams = reader_uint(r), true;
    return false;
  case MSG_PING:
    if (KEY("timestamp")) return m->ping.timestamp = reader_uint(r), true;
    return false;
  case MSG_PONG:
    if (KEY("timestamp")) return m->pong.timestamp = reader_uint(r), true;
    if (KEY("server_time")) return m->pong.server_time = reader_uint(r), true;
    if (KEY("capabilities")) return m->pong.caps = read_caps(r), m->pong.has_caps = true, true;
    if (KEY("node_id")) return m->pong.node_id = reader_text(r), true;
    if (KEY("name")) return m->pong.name = reader_text(r), true;
    if (KEY("instance")) return m->pong.instance = reader_text(r), true;
    if (KEY("endpoint")) return m->pong.endpoint = reader_text(r), true;
    if (KEY("observed")) return m->pong.observed = reader_text(r), true;
    if (KEY("proof")) return m->pong.proof = reader_text(r), true;
    if (KEY("pass")) return m->pong.pass = reader_text(r), true;
    return false;
  case MSG_ACK:
    if (KEY("ref")) return m->ack.ref = reader_uint(r), true;
    if (KEY("code")) return m->ack.code = reader_text(r), true;
    if (KEY("message")) return m->ack.message = reader_text(r), true;
    if (KEY("partly")) return m->ack.partly = read_partly(r), true;
    return false;
  case MSG_RENEW:
    if (KEY("pass")) return m->renew.pass = reader_text(r), true;
    return false;
  case MSG_REVOKED:
    if (KEY("realm")) return m->revoked.realm = reader_text(r), true;
    if (KEY("number")) return m->revoked.number = reader_uint(r), true;
    if (KEY("list")) return m->revoked.list = reader_text(r), true;
    return false;
  case MSG_PACE:
    if (KEY("connection")) return m->pace.connection = reader_uint(r), true;
    if (KEY("ms")) return m->pace.ms = reader_uint(r), true;
    if (KEY("room")) return m->pace.room = reader_uint(r), true;
    if (KEY("moves")) return m->pace.moves = reader_bool(r), true;
    if (KEY("beside")) return m->pace.beside = reader_bool(r), true;
    if (KEY("lately")) return m->pace.lately = reader_bool(r), true;
    return false;
  case MSG_NOTICE:
    if (KEY("code")) return m->notice.code = reader_text(r), true;
    if (KEY("message")) return m->notice.message = reader_text(r), true;
    if (KEY("count")) return m->notice.count = reader_uint(r), true;
    return false;
  case MSG_CLAIM:
    if (KEY("principal")) return m->claim.principal = reader_text(r), true;
    if (KEY("client")) return m->claim.client = reader_text(r), true;
    if (KEY("ms")) return m->claim.ms = reader_uint(r), true;
    return false;
  case MSG_ANNOUNCE:
    if (KEY("kind")) return m->announce.kind = reader_uint(r), true;
    if (KEY("number")) return m->announce.number = reader_uint(r), true;
    if (KEY("topic")) return m->announce.topic = reader_text(r), true;
    if (KEY("principal")) return m->announce.principal = reader_text(r), true;
    if (KEY("node")) return m->announce.node = reader_text(r), true;
    return false;
  case MSG_PUBLISH: {
    struct msg_publish *p = &m->publish;
    if (KEY("topic")) return p->topic = reader_text(r), true;
    if (KEY("payload")) return p->payload = reader_text(r), true;
    if (KEY("qos")) return p->qos = reader_uint(r), true;
    if (KEY("retain")) return p->retain = reader_bool(r), true;
    if (KEY("message_id")) return p->message_id = reader_text(r), true;
    if (KEY("wait")) return p->wait = reader_bool(r), true;
    if (KEY("ref")) return p->ref = reader_uint(r), p->has_ref = true, true;
    if (KEY("publisher")) return p->publisher = reader_text(r), true;
    if (KEY("instance")) return p->instance = reader_text(r), true;
    if (KEY("replay")) return p->replay = reader_uint(r), true;
    if (KEY("retained_ms")) return p->retained_ms = reader_uint(r), true;
    if (KEY("connection")) return p->connection = reader_uint(r), true;
    if (KEY("slashes")) return p->slashes = (uint32_t)reader_uint(r), true;
    if (KEY("headers")) return read_headers(r, &p->headers), true;
    if (KEY("expires_ms")) return p->expires_ms = reader_uint(r), true;
    if (KEY("groups")) return read_list(r, &p->groups), true;
    if (KEY("exactly_once")) return p->exactly_once = reader_bool(r), true;
    return read_origin(r, key, &p->origin);
  }
  case MSG_SUBSCRIBE:
  case MSG_UNSUBSCRIBE: {
    struct msg_subscribe *s = &m->subscribe;
    if (KEY("topics")) return read_list(r, &s->topics), true;
    if (KEY("qos")) return s->qos = reader_uint(r), true;
    if (KEY("own")) return s->own = reader_bool(r), true;
    if (KEY("retained")) return s->retained = retained_of(reader_uint(r)), true;
    if (KEY("group")) return s->group = reader_text(r), true;
    if (KEY("ref")) return s->ref = reader_uint(r), s->has_ref = true, true;
    return false;
  }
  case MSG_CALL:
  case MSG_CAST: {
    struct msg_call *c = &m->call;
    if (KEY("procedure")) return c->procedure = reader_text(r), true;
    if (KEY("args")) return c->args = reader_text(r), true;
    if (KEY("call_id")) return c->call_id = reader_text(r), true;
    if (KEY("realm")) return c->realm = reader_text(r), true;
    if (KEY("timeout")) return c->timeout = reader_uint(r), true;
    if (KEY("at")) return c->at = reader_uint(r), true;
    if (KEY("strategy")) return c->strategy = strategy_from_name(reader_text(r)), true;
    if (KEY("idempotent")) return c->idempotent = reader_bool(r), true;
    if (KEY("once")) return c->once = reader_bool(r), true;
    if (KEY("waits")) return c->waits = reader_bool(r), true;
    if (KEY("ref")) return c->ref = reader_uint(r), c->has_ref = true, true;
    return read_origin(r, key, &c->origin);
  }
  case MSG_REPLY:
    if (KEY("call_id")) return m->reply.call_id = reader_text(r), true;
    if (KEY("result")) return m->reply.result = reader_text(r), true;
    if (KEY("error")) return read_error(r, &m->reply.error), m->reply.is_error = true, true;
    return false;
  case MSG_RPC_ROUTE:
  case MSG_PUBSUB_ROUTE: {
    struct msg_route *o = &m->route;
    if (KEY("destination_node_id")) return o->destination = reader_text(r), true;
    if (KEY("source_node_id")) return o->source = reader_text(r), true;
    if (KEY("hop_count")) return o->hop_count = reader_uint(r), true;
    if (KEY("max_hops")) return o->max_hops = reader_uint(r), true;
    if (KEY("payload_type")) return o->payload_type = reader_text(r), true;
    if (KEY("topic")) return o->topic = reader_text(r), true;
    if (KEY("payload")) return o->payload = reader_raw(r, 1), true;
    if (KEY("path")) return read_list(r, &o->path), true;
    if (KEY("seal")) return o->seal = reader_text(r), true;
    return false;
  }
  case MSG_REGISTER:
    if (KEY("procedure")) return m->reg.procedure = reader_text(r), true;
    if (KEY("ttl")) return m->reg.ttl = reader_uint(r), true;
    if (KEY("idempotent")) return m->reg.idempotent = reader_bool(r), true;
    if (KEY("ref")) return m->reg.ref = reader_uint(r), m->reg.has_ref = true, true;
    return false;
  case MSG_UNREGISTER:
    if (KEY("procedure")) return m->unreg.procedure = reader_text(r), true;
    if (KEY("ref")) return m->unreg.ref = reader_uint(r), m->unreg.has_ref = true, true;
    return false;
  case MSG_CANCEL:
    if (KEY("call_id")) return m->cancel.call_id = reader_text(r), true;
    if (KEY("reason")) return m->cancel.reason = reader_text(r), true;
    return false;
  case MSG_FIND_NODE:
    if (KEY("target")) return m->find.key = reader_text(r), true;
    return false;
  case MSG_FIND_VALUE:
    if (KEY("key")) return m->find.key = reader_text(r), true;
    return false;
  case MSG_FIND_NODE_REPLY:
  case MSG_FIND_VALUE_REPLY:
    if (KEY("result")) return m->found.is_value = slice_is(reader_text(r), "value"), true;
    if (KEY("value")) return m->found.value = reader_raw(r, 1), true;
    if (KEY("nodes")) {
      uint32_t n = reader_array(r);
      const uint8_t *start = r->p;
      struct msg_node_info info;
      for (uint32_t i = 0; i < n && !r->bad; i++)
        if (!read_node(r, &info)) r->bad = true;
      m->found.node_count = n;
      m->found.raw_nodes = (struct slice){start, (size_t)(r->p - start)};
      return true;
    }
    return false;
  case MSG_STORE:
    if (KEY("key")) return m->store.key = reader_text(r), true;
    if (KEY("value")) return m->store.value = reader_raw(r, 1), true;
    if (KEY("result")) return m->store.result = reader_text(r), true;
    return false;
  case MSG_SWIM_PING:
  case MSG_SWIM_ACK:
  case MSG_SWIM_PING_REQ:
  case MSG_SWIM_SYNC:
  case MSG_INTEREST:
  case MSG_INTEREST_HAVE:
  case MSG_RETAINED_GET:
  case MSG_RETAINED_MOVED:
  case MSG_STORE_REPLY:
  case MSG_AGREE:
  case MSG_NOT_ROUTED:
    return false;
  }
  return false;
}

static bool complete(const struct msg *m) {
  switch (m->type) {
  case MSG_CLAIM:
    return m->claim.principal.p && m->claim.client.p && m->claim.ms;
  case MSG_ANNOUNCE:
    return m->announce.kind && m->announce.number;
  case MSG_CONNECT:
    return m->connect.node_id.p && m->connect.realm_id.p;
  case MSG_PUBLISH:
    return (m->publish.topic.p || m->publish.topic_number) && m->publish.payload.p;
  case MSG_SUBSCRIBE:
  case MSG_UNSUBSCRIBE:
    return m->subscribe.topics.raw.p != NULL;
  case MSG_CALL:
    return m->call.procedure.p && m->call.args.p && m->call.call_id.n == CALL_ID_LEN;
  case MSG_CAST:
    return m->call.procedure.p && m->call.args.p;
  case MSG_REPLY:
    return m->reply.call_id.p && (m->reply.is_error || m->reply.result.p);
  case MSG_RPC_ROUTE:
    return m->route.destination.p && m->route.source.p && m->route.payload_type.p && m->route.payload.p;
  case MSG_PUBSUB_ROUTE:
    return m->route.destination.p && m->route.source.p && m->route.payload.p;
  case MSG_REGISTER:
    return m->reg.procedure.p != NULL;
  case MSG_UNREGISTER:
    return m->unreg.procedure.p != NULL;
  case MSG_CANCEL:
    return m->cancel.call_id.n == CALL_ID_LEN;
  case MSG_FIND_NODE:
  case MSG_FIND_VALUE:
    return m->find.key.p != NULL;
  case MSG_FIND_VALUE_REPLY:
    return m->found.is_value ? m->found.value.p != NULL : true;
  case MSG_STORE:
    return (m->store.key.p && m->store.value.p) || m->store.result.p;
  case MSG_PACE:
    return m->pace.connection > 0;
  case MSG_RENEW:
    return m->renew.pass.n > 0;
  case MSG_REVOKED:
    return m->revoked.realm.n == ID_LEN;
  case MSG_DISCONNECT:
  case MSG_PING:
  case MSG_PONG:
  case MSG_ACK:
  case MSG_NOTICE:
  case MSG_FIND_NODE_REPLY:
  case MSG_SWIM_PING:
  case MSG_SWIM_ACK:
  case MSG_SWIM_PING_REQ:
  case MSG_SWIM_SYNC:
  case MSG_INTEREST:
  case MSG_INTEREST_HAVE:
  case MSG_RETAINED_GET:
  case MSG_RETAINED_MOVED:
  case MSG_STORE_REPLY:
  case MSG_AGREE:
  case MSG_NOT_ROUTED:
    return true;
  }
  return false;
}

/* p NULL: a key that is no text, skipped. */
static struct slice read_key(struct reader *r) {
  if (r->p < r->end && ((*r->p & 0xe0) == 0xa0 || (*r->p >= 0xc4 && *r->p <= 0xc6) || (*r->p >= 0xd9 && *r->p <= 0xdb)))
    return reader_text(r);
  (void)reader_raw(r, 1);
  return SLICE_NONE;
}

int msg_decode(uint8_t type, struct slice payload, struct msg *ret_msg) {
  if (type == MSG_PUBLISH && read_usual(payload, ret_msg)) return 0;
  struct msg m = {.type = (enum msg_type)type};
  if (msg_type_name(type)[0] == 'u' && type != MSG_UNSUBSCRIBE && type != MSG_UNREGISTER) return MACULA_UNKNOWN_TYPE;
  struct reader r = reader_of(payload);
  uint32_t pairs = reader_map(&r);
  if (type == MSG_PUBLISH && pairs && reader_at_small(&r)) {
    read_brief(&r, pairs, &m.publish);
    pairs = 0;
  }
  for (uint32_t i = 0; i < pairs && !r.bad; i++) {
    struct slice key = read_key(&r);
    if (!r.bad && (!key.p || !read_field(&r, key, &m))) (void)reader_raw(&r, 1);
  }
  if (r.bad || r.p != r.end) return MACULA_BAD_FRAME;
  if ((type >= MSG_SWIM_PING && type <= MSG_SWIM_SYNC) || (type >= MSG_INTEREST && type <= MSG_RETAINED_MOVED) ||
      type == MSG_STORE_REPLY || type == MSG_AGREE || type == MSG_NOT_ROUTED)
    m.raw = payload;
  if (!complete(&m)) return MACULA_BAD_FRAME;
  *ret_msg = m;
  return 0;
}

bool msg_find_ref(struct slice payload, uint64_t *ret_ref) {
  struct reader r = reader_of(payload);
  uint64_t ref = 0;
  bool found = false;
  for (uint32_t pairs = reader_map(&r); pairs && !r.bad; pairs--) {
    struct slice key = read_key(&r);
    if (slice_is(key, "ref"))
      ref = reader_uint(&r), found = true;
    else if (!r.bad)
      (void)reader_raw(&r, 1);
  }
  if (!found || r.bad || r.p != r.end) return false;
  *ret_ref = ref;
  return true;
}

int msg_record_decode(struct slice raw, struct msg_record *ret_record) {
  struct msg_record rec = {0};
  struct reader rd = reader_of(raw), *r = &rd;
  uint32_t n = reader_map(r);
  for (uint32_t i = 0; i < n && !r->bad; i++) {
    struct slice key = reader_text(r);
    if (r->bad) break;
    if (KEY("node_id"))
      rec.node_id = reader_text(r);
    else if (KEY("endpoint"))
      rec.endpoint = reader_text(r);
    else if (KEY("metadata"))
      rec.metadata = reader_raw(r, 2);
    else if (KEY("ttl"))
      rec.ttl = reader_uint(r);
    else if (KEY("advertised_at"))
      rec.advertised_at = reader_uint(r), rec.has_advertised_at = true;
    else
      (void)reader_raw(r, 2);
  }
  if (r->bad || r->p != r->end || !rec.node_id.p) return MACULA_BAD_FRAME;
  *ret_record = rec;
  return 0;
}
