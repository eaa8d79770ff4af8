/* Encoding: the same code counts and writes, so that a size can never disagree with what is written. */
#include "base/err.h"
#include "wire/cursor.h"
#include "wire/frame.h"
#include "wire/msg.h"

#define K(s) slice_of(s, sizeof(s) - 1)

static void text(struct writer *w, struct slice key, struct slice v) {
  writer_bin(w, key);
  writer_bin(w, v);
}
static void number(struct writer *w, struct slice key, uint64_t v) {
  writer_bin(w, key);
  writer_uint(w, v);
}
static void flag(struct writer *w, struct slice key, bool v) {
  writer_bin(w, key);
  writer_bool(w, v);
}

static void caps(struct writer *w, uint32_t set) {
  static const char *const names[] = {"pubsub", "rpc",     "ack",  "register", "cancel",  "operator", "node", "notice",
                                      "origin", "streams", "wait", "topics",   "headers", "groups",   "will"};
  static const unsigned count = sizeof names / sizeof names[0];
  writer_bin(w, K("capabilities"));
  writer_array(w, (uint32_t)__builtin_popcount(set & ((1u << count) - 1)));
  for (unsigned i = 0; i < count; i++)
    if (set & 1u << i) writer_bin(w, slice_str(names[i]));
}

static void list(struct writer *w, const struct msg_list *l) {
  writer_array(w, l->count);
  if (l->items)
    for (uint32_t i = 0; i < l->count; i++) writer_bin(w, l->items[i]);
  else
    writer_raw(w, l->raw);
}

static uint32_t origin_keys(const struct msg_origin *o) { return (uint32_t) !!o->number + !!o->in_full.p; }

static void origin(struct writer *w, const struct msg_origin *o) {
  if (o->number) number(w, K("by"), o->number);
  if (o->in_full.p) text(w, K("origin"), o->in_full);
}

static void error(struct writer *w, const struct msg_error *e) {
  writer_map(w, 2 + (e->has_extra ? 2u + e->may_repeat : 0));
  text(w, K("code"), e->code);
  text(w, K("message"), e->message);
  if (!e->has_extra) return;
  flag(w, K("may_have_run"), e->may_have_run);
  if (e->may_repeat) flag(w, K("may_repeat"), true);
  writer_bin(w, K("attempts"));
  writer_array(w, e->attempt_count);
  if (!e->attempts) {
    writer_raw(w, e->raw_attempts);
    return;
  }
  for (uint32_t i = 0; i < e->attempt_count; i++) {
    writer_map(w, e->attempts[i].may_have_run ? 4 : 3);
    text(w, K("provider"), e->attempts[i].provider);
    text(w, K("code"), e->attempts[i].code);
    text(w, K("message"), e->attempts[i].message);
    if (e->attempts[i].may_have_run) flag(w, K("may_have_run"), true);
  }
}

static void nodes(struct writer *w, const struct msg_find_reply *f) {
  writer_bin(w, K("nodes"));
  writer_array(w, f->node_count);
  if (!f->nodes) {
    writer_raw(w, f->raw_nodes);
    return;
  }
  for (uint32_t i = 0; i < f->node_count; i++) {
    writer_map(w, 3);
    text(w, K("node_id"), f->nodes[i].node_id);
    text(w, K("address"), f->nodes[i].address);
    number(w, K("last_seen"), f->nodes[i].last_seen);
  }
}

static void brief_text(struct writer *w, enum publish_key key, struct slice v) {
  if (!v.p) return;
  writer_uint(w, key);
  writer_bin(w, v);
}
static void brief_number(struct writer *w, enum publish_key key, uint64_t v) {
  if (!v) return;
  writer_uint(w, key);
  writer_uint(w, v);
}
static void brief_flag(struct writer *w, enum publish_key key, bool v) {
  if (!v) return;
  writer_uint(w, key);
  writer_bool(w, true);
}

/* Short keys, rising. */
static void brief(struct writer *w, const struct msg_publish *p) {
  writer_map(w, 2u + !!p->origin.number + !!p->qos + p->retain + !!p->message_id.p + p->has_ref + p->own + !!p->publisher.p +
                    !!p->instance.p + !!p->replay + !!p->retained_ms + !!p->slashes + p->wait + !!p->connection +
                    !!p->headers.count + !!p->expires_ms + !!p->groups.count + p->exactly_once);
  brief_number(w, PUBLISH_NUMBER, p->topic_number);
  if (!p->topic_number) brief_text(w, PUBLISH_TOPIC, p->topic);
  brief_text(w, PUBLISH_PAYLOAD, p->payload.p ? p->payload : slice_str(""));
  brief_number(w, PUBLISH_BY, p->origin.number);
  brief_number(w, PUBLISH_QOS, p->qos);
  brief_flag(w, PUBLISH_RETAIN, p->retain);
  brief_text(w, PUBLISH_ID, p->message_id);
  if (p->has_ref) {
    writer_uint(w, PUBLISH_REF);
    writer_uint(w, p->ref);
  }
  brief_flag(w, PUBLISH_OWN, p->own);
  brief_text(w, PUBLISH_PUBLISHER, p->publisher);
  brief_text(w, PUBLISH_INSTANCE, p->instance);
  brief_number(w, PUBLISH_REPLAY, p->replay);
  brief_number(w, PUBLISH_RETAINED_MS, p->retained_ms);
  brief_number(w, PUBLISH_SLASHES, p->slashes);
  brief_flag(w, PUBLISH_WAIT, p->wait);
  brief_number(w, PUBLISH_CONNECTION, p->connection);
  if (p->headers.count) {
    writer_uint(w, PUBLISH_HEADERS);
    list(w, &p->headers);
  }
  brief_number(w, PUBLISH_EXPIRES, p->expires_ms);
  if (p->groups.count) {
    writer_uint(w, PUBLISH_GROUPS);
    list(w, &p->groups);
  }
  brief_flag(w, PUBLISH_EXACTLY_ONCE, p->exactly_once);
}

static void payload(struct writer *w, const struct msg *m) {
  switch (m->type) {
  case MSG_CONNECT: {
    const struct msg_connect *c = &m->connect;
    writer_map(w, 4u + !!c->endpoint.p + !!c->instance.p + !!c->proof.p + !!c->pass.p + !!c->name.p + !!c->will.p);
    text(w, K("version"), c->version);
    text(w, K("node_id"), c->node_id);
    text(w, K("realm_id"), c->realm_id);
    caps(w, c->caps);
    if (c->endpoint.p) text(w, K("endpoint"), c->endpoint);
    if (c->instance.p) text(w, K("instance"), c->instance);
    if (c->proof.p) text(w, K("proof"), c->proof);
    if (c->pass.p) text(w, K("pass"), c->pass);
    if (c->name.p) text(w, K("name"), c->name);
    if (c->will.p) {
      writer_bin(w, K("will"));
      writer_raw(w, c->will);
    }
    break;
  }
  case MSG_DISCONNECT:
    writer_map(w, 2u + !!m->disconnect.code.p + !!m->disconnect.streams);
    text(w, K("reason"), m->disconnect.reason);
    text(w, K("message"), m->disconnect.message);
    if (m->disconnect.code.p) text(w, K("code"), m->disconnect.code);
    if (m->disconnect.streams) number(w, K("streams"), m->disconnect.streams);
    break;
  case MSG_PING:
    writer_map(w, 1);
    number(w, K("timestamp"), m->ping.timestamp);
    break;
  case MSG_PONG:
    writer_map(w, 2u + m->pong.has_caps + !!m->pong.node_id.p + !!m->pong.name.p + !!m->pong.instance.p + !!m->pong.endpoint.p +
                      !!m->pong.observed.p + !!m->pong.proof.p + !!m->pong.pass.p);
    number(w, K("timestamp"), m->pong.timestamp);
    number(w, K("server_time"), m->pong.server_time);
    if (m->pong.has_caps) caps(w, m->pong.caps);
    if (m->pong.node_id.p) text(w, K("node_id"), m->pong.node_id);
    if (m->pong.name.p) text(w, K("name"), m->pong.name);
    if (m->pong.instance.p) text(w, K("instance"), m->pong.instance);
    if (m->pong.endpoint.p) text(w, K("endpoint"), m->pong.endpoint);
    if (m->pong.observed.p) text(w, K("observed"), m->pong.observed);
    if (m->pong.proof.p) text(w, K("proof"), m->pong.proof);
    if (m->pong.pass.p) text(w, K("pass"), m->pong.pass);
    break;
  case MSG_ACK:
    writer_map(w, 1u + !!m->ack.code.p + !!m->ack.message.p + msg_is_partly(&m->ack.partly));
    number(w, K("ref"), m->ack.ref);
    if (m->ack.code.p) text(w, K("code"), m->ack.code);
    if (m->ack.message.p) text(w, K("message"), m->ack.message);
    if (msg_is_partly(&m->ack.partly)) {
      writer_bin(w, K("partly"));
      writer_array(w, 3);
      writer_uint(w, m->ack.partly.cut);
      writer_uint(w, m->ack.partly.silent);
      writer_uint(w, m->ack.partly.unknown);
    }
    break;
  case MSG_RENEW:
    writer_map(w, 1);
    text(w, K("pass"), m->renew.pass);
    break;
  case MSG_REVOKED:
    writer_map(w, 2u + !!m->revoked.list.p);
    text(w, K("realm"), m->revoked.realm);
    number(w, K("number"), m->revoked.number);
    if (m->revoked.list.p) text(w, K("list"), m->revoked.list);
    break;
  case MSG_PACE:
    writer_map(w, 2u + !!m->pace.room + m->pace.moves + m->pace.beside + m->pace.lately);
    number(w, K("connection"), m->pace.connection);
    number(w, K("ms"), m->pace.ms);
    if (m->pace.room) number(w, K("room"), m->pace.room);
    if (m->pace.moves) flag(w, K("moves"), true);
    if (m->pace.beside) flag(w, K("beside"), true);
    if (m->pace.lately) flag(w, K("lately"), true);
    break;
  case MSG_NOTICE:
    writer_map(w, 3);
    text(w, K("code"), m->notice.code);
    text(w, K("message"), m->notice.message);
    number(w, K("count"), m->notice.count);
    break;
  case MSG_CLAIM:
    writer_map(w, 3);
    text(w, K("principal"), m->claim.principal);
    text(w, K("client"), m->claim.client);
    number(w, K("ms"), m->claim.ms);
    break;
  case MSG_ANNOUNCE:
    writer_map(w, 2u + !!m->announce.topic.p + !!m->announce.principal.p + !!m->announce.node.p);
    number(w, K("kind"), m->announce.kind);
    number(w, K("number"), m->announce.number);
    if (m->announce.topic.p) text(w, K("topic"), m->announce.topic);
    if (m->announce.principal.p) text(w, K("principal"), m->announce.principal);
    if (m->announce.node.p) text(w, K("node"), m->announce.node);
    break;
  case MSG_PUBLISH: {
    const struct msg_publish *p = &m->publish;
    if (p->brief) {
      brief(w, p);
      break;
    }
    writer_map(w, 4u + !!p->message_id.p + p->wait + p->has_ref + !!p->publisher.p + !!p->instance.p + !!p->replay +
                      !!p->retained_ms + !!p->slashes + !!p->connection + !!p->headers.count + !!p->expires_ms +
                      origin_keys(&p->origin) + !!p->groups.count + p->exactly_once);
    text(w, K("topic"), p->topic);
    text(w, K("payload"), p->payload);
    number(w, K("qos"), p->qos);
    flag(w, K("retain"), p->retain);
    if (p->message_id.p) text(w, K("message_id"), p->message_id);
    if (p->wait) flag(w, K("wait"), true);
    if (p->has_ref) number(w, K("ref"), p->ref);
    if (p->publisher.p) text(w, K("publisher"), p->publisher);
    if (p->instance.p) text(w, K("instance"), p->instance);
    if (p->replay) number(w, K("replay"), p->replay);
    if (p->retained_ms) number(w, K("retained_ms"), p->retained_ms);
    if (p->slashes) number(w, K("slashes"), p->slashes);
    if (p->connection) number(w, K("connection"), p->connection);
    if (p->headers.count) {
      writer_bin(w, K("headers"));
      list(w, &p->headers);
    }
    if (p->expires_ms) number(w, K("expires_ms"), p->expires_ms);
    if (p->groups.count) {
      writer_bin(w, K("groups"));
      list(w, &p->groups);
    }
    if (p->exactly_once) flag(w, K("exactly_once"), true);
    origin(w, &p->origin);
    break;
  }
  case MSG_SUBSCRIBE:
  case MSG_UNSUBSCRIBE: {
    const struct msg_subscribe *s = &m->subscribe;
    bool sub = m->type == MSG_SUBSCRIBE;
    writer_map(w, 1u + sub + (sub && s->own) + (sub && s->retained) + !!s->group.p + s->has_ref);
    writer_bin(w, K("topics"));
    list(w, &s->topics);
    if (sub) number(w, K("qos"), s->qos);
    if (sub && s->own) flag(w, K("own"), true);
    if (sub && s->retained) number(w, K("retained"), s->retained == RETAINED_NEVER ? 0 : 2);
    if (s->group.p) text(w, K("group"), s->group);
    if (s->has_ref) number(w, K("ref"), s->ref);
    break;
  }
  case MSG_CALL:
  case MSG_CAST: {
    const struct msg_call *c = &m->call;
    bool named = c->strategy > STRATEGY_DEFAULT && c->strategy < STRATEGY_UNKNOWN;
    writer_map(w, 2u + !!c->call_id.p + !!c->realm.p + !!c->timeout + !!c->at + named + c->idempotent + c->once + c->waits +
                      c->has_ref + origin_keys(&c->origin));
    text(w, K("procedure"), c->procedure);
    text(w, K("args"), c->args);
    if (c->call_id.p) text(w, K("call_id"), c->call_id);
    if (c->realm.p) text(w, K("realm"), c->realm);
    if (c->timeout) number(w, K("timeout"), c->timeout);
    if (c->at) number(w, K("at"), c->at);
    if (named) text(w, K("strategy"), slice_str(strategy_name(c->strategy)));
    if (c->idempotent) flag(w, K("idempotent"), true);
    if (c->once) flag(w, K("once"), true);
    if (c->waits) flag(w, K("waits"), true);
    if (c->has_ref) number(w, K("ref"), c->ref);
    origin(w, &c->origin);
    break;
  }
  case MSG_REPLY:
    writer_map(w, 2);
    text(w, K("call_id"), m->reply.call_id);
    if (m->reply.is_error) {
      writer_bin(w, K("error"));
      error(w, &m->reply.error);
    } else {
      text(w, K("result"), m->reply.result);
    }
    break;
  case MSG_RPC_ROUTE:
  case MSG_PUBSUB_ROUTE: {
    const struct msg_route *o = &m->route;
    writer_map(w, 6u + !!o->path.count + !!o->seal.n);
    text(w, K("destination_node_id"), o->destination);
    text(w, K("source_node_id"), o->source);
    number(w, K("hop_count"), o->hop_count);
    number(w, K("max_hops"), o->max_hops);
    if (m->type == MSG_RPC_ROUTE)
      text(w, K("payload_type"), o->payload_type);
    else
      text(w, K("topic"), o->topic);
    writer_bin(w, K("payload"));
    writer_raw(w, o->payload);
    if (o->path.count) {
      writer_bin(w, K("path"));
      list(w, &o->path);
    }
    if (o->seal.n) text(w, K("seal"), o->seal);
    break;
  }
  case MSG_REGISTER:
    writer_map(w, 1u + !!m->reg.ttl + m->reg.idempotent + m->reg.has_ref);
    text(w, K("procedure"), m->reg.procedure);
    if (m->reg.ttl) number(w, K("ttl"), m->reg.ttl);
    if (m->reg.idempotent) flag(w, K("idempotent"), true);
    if (m->reg.has_ref) number(w, K("ref"), m->reg.ref);
    break;
  case MSG_UNREGISTER:
    writer_map(w, 1u + m->unreg.has_ref);
    text(w, K("procedure"), m->unreg.procedure);
    if (m->unreg.has_ref) number(w, K("ref"), m->unreg.ref);
    break;
  case MSG_CANCEL:
    writer_map(w, 1u + !!m->cancel.reason.p);
    text(w, K("call_id"), m->cancel.call_id);
    if (m->cancel.reason.p) text(w, K("reason"), m->cancel.reason);
    break;
  case MSG_FIND_NODE:
    writer_map(w, 2);
    text(w, K("type"), K("find_node"));
    text(w, K("target"), m->find.key);
    break;
  case MSG_FIND_VALUE:
    writer_map(w, 2);
    text(w, K("type"), K("find_value"));
    text(w, K("key"), m->find.key);
    break;
  case MSG_FIND_NODE_REPLY:
    writer_map(w, 2);
    text(w, K("type"), K("find_node_reply"));
    nodes(w, &m->found);
    break;
  case MSG_FIND_VALUE_REPLY:
    writer_map(w, 3);
    text(w, K("type"), K("find_value_reply"));
    text(w, K("result"), m->found.is_value ? K("value") : K("nodes"));
    if (m->found.is_value) {
      writer_bin(w, K("value"));
      writer_raw(w, m->found.value);
    } else {
      nodes(w, &m->found);
    }
    break;
  case MSG_STORE:
    writer_map(w, m->store.result.p ? 2 : 3);
    text(w, K("type"), m->store.result.p ? K("store_reply") : K("store"));
    if (m->store.result.p) {
      text(w, K("result"), m->store.result);
      break;
    }
    text(w, K("key"), m->store.key);
    writer_bin(w, K("value"));
    writer_raw(w, m->store.value);
    break;
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
    writer_raw(w, m->raw);
    break;
  }
}

bool msg_publish_fits(const struct msg_publish *p) {
  static const uint8_t id[CALL_ID_LEN];
  if (p->payload.n < FRAME_MAX_PAYLOAD / 2) return true;
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = p->topic,
                              .payload = p->payload,
                              .qos = p->qos,
                              .message_id = slice_of(id, sizeof id),
                              .headers = p->headers,
                              .expires_ms = p->expires_ms,
                              .exactly_once = p->exactly_once}};
  return msg_size(&m) <= FRAME_MAX_PAYLOAD + FRAME_HEADER_LEN;
}

size_t msg_size(const struct msg *m) {
  struct writer w = {0};
  payload(&w, m);
  return FRAME_HEADER_LEN + w.len;
}

static uint8_t *put_key(uint8_t *at, enum publish_key key, uint64_t v) {
  unsigned n = v < 0x80 ? 0 : v <= UINT8_MAX ? 1 : v <= UINT16_MAX ? 2 : v <= UINT32_MAX ? 4 : 8;
  *at++ = (uint8_t)key;
  *at++ = !n ? (uint8_t)v : n == 1 ? 0xcc : n == 2 ? 0xcd : n == 4 ? 0xce : 0xcf;
  while (n) *at++ = (uint8_t)(v >> 8 * --n);
  return at;
}

#define USUAL_BESIDE (FRAME_HEADER_LEN + 1 + 3 * 10 + 4) /* bytes beside the payload at most */

/* Has a payload, and beside it numbers alone. */
static bool is_usual(const struct msg *m) {
  const struct msg_publish *p = &m->publish;
  if (m->type != MSG_PUBLISH || !p->brief || !p->topic_number || !p->payload.p) return false;
  return !(p->message_id.p || p->publisher.p || p->instance.p || p->headers.count || p->groups.count || p->qos || p->replay ||
           p->retained_ms || p->slashes || p->expires_ms || p->retain || p->has_ref || p->own || p->wait || p->exactly_once);
}

/* What brief() writes of it, in one go: most frames are such. */
static size_t put_usual(const struct msg_publish *p, uint8_t *buf) {
  uint8_t *at = buf + FRAME_HEADER_LEN;
  size_t n = p->payload.n;
  *at++ = (uint8_t)(0x82 + !!p->origin.number + !!p->connection);
  at = put_key(at, PUBLISH_NUMBER, p->topic_number);
  *at++ = PUBLISH_PAYLOAD;
  *at++ = n < 256 ? 0xc4 : 0xc5;
  if (n >= 256) *at++ = (uint8_t)(n >> 8);
  *at++ = (uint8_t)n;
  memcpy(at, p->payload.p, n);
  at += n;
  if (p->origin.number) at = put_key(at, PUBLISH_BY, p->origin.number);
  if (p->connection) at = put_key(at, PUBLISH_CONNECTION, p->connection);
  frame_header(buf, MSG_PUBLISH, (uint32_t)(at - buf - FRAME_HEADER_LEN));
  return (size_t)(at - buf);
}

ptrdiff_t msg_encode(const struct msg *m, uint8_t *ret_buf, size_t cap) {
  if (cap < FRAME_HEADER_LEN) return MACULA_EINVAL;
  if (is_usual(m) && m->publish.payload.n <= UINT16_MAX && m->publish.payload.n + USUAL_BESIDE <= cap)
    return (ptrdiff_t)put_usual(&m->publish, ret_buf);
  struct writer w = {ret_buf + FRAME_HEADER_LEN, cap - FRAME_HEADER_LEN, 0};
  payload(&w, m);
  if (w.len > FRAME_MAX_PAYLOAD) return MACULA_FRAME_TOO_LARGE;
  if (w.len > w.cap) return MACULA_EINVAL;
  frame_header(ret_buf, (uint8_t)m->type, (uint32_t)w.len);
  return (ptrdiff_t)(FRAME_HEADER_LEN + w.len);
}

ptrdiff_t msg_record_encode(const struct msg_record *r, uint8_t *ret_buf, size_t cap) {
  struct writer w = {ret_buf, cap, 0};
  writer_map(&w, 3u + !!r->metadata.p + r->has_advertised_at);
  text(&w, K("node_id"), r->node_id);
  text(&w, K("endpoint"), r->endpoint);
  if (r->metadata.p) {
    writer_bin(&w, K("metadata"));
    writer_raw(&w, r->metadata);
  }
  number(&w, K("ttl"), r->ttl);
  if (r->has_advertised_at) number(&w, K("advertised_at"), r->advertised_at);
  return w.len > cap ? MACULA_EINVAL : (ptrdiff_t)w.len;
}
