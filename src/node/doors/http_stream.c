/* A stream of events: what its session is sent waits as frames, and becomes text as it is read. */
#include <assert.h>
#include <stdio.h>

#include "base/err.h"
#include "base/principal.h"
#include "node/doors/http_state.h"
#include "node/session/session.h"
#include "wire/frame.h"
#include "wire/headers.h"

static struct mem *mem_of(const struct http_stream *st) { return node_http_mem(st->client->n); }

static void tell_ready(struct http_stream *st) {
  if (!st->hungry || !st->owner.ready) return;
  st->hungry = false;
  st->owner.ready(st->owner.ctx);
}

/* ---- publishers ------------------------------------------------------------------------------------------------------------
 */
static void announced(struct http_stream *st, const struct msg_announce *m) {
  struct mem *mem = mem_of(st);
  struct principal_name p;
  char name[PRINCIPAL_TEXT_LEN], node[ID_HEX_LEN + 1];
  struct http_text t = {.mem = mem};
  if (m->kind != ANNOUNCE_PUBLISHER || m->node.n != ID_LEN || principal_read(m->principal, &p)) return;
  if (!st->origins && !(st->origins = mem_calloc(mem, ANNOUNCE_SLOTS, sizeof *st->origins))) return;
  principal_text(&p, name);
  hex_encode(m->node.p, ID_LEN, node);
  http_text_put(&t, "{\"kind\":\"");
  http_text_put(&t, principal_kind_name(p.kind));
  http_text_put(&t, "\",\"name\":");
  http_text_string(&t, slice_str(name));
  http_text_put(&t, ",\"node\":\"");
  http_text_put(&t, node);
  http_text_put(&t, "\"}");
  struct http_origin **slot = &st->origins[m->number % ANNOUNCE_SLOTS], *o = NULL;
  if (!t.failed && (o = mem_alloc(mem, sizeof *o + t.n + 1))) {
    o->number = m->number;
    memcpy(o->json, t.p, t.n);
    o->json[t.n] = 0;
  }
  http_text_done(&t);
  mem_free(mem, *slot);
  *slot = o;
}

/* JSON; where it is not known who published: that. */
static const char *publisher_of(const struct http_stream *st, const struct msg_publish *m) {
  const struct http_origin *o = st->origins && m->origin.number ? st->origins[m->origin.number % ANNOUNCE_SLOTS] : NULL;
  return o && o->number == m->origin.number ? o->json : "{\"kind\":\"unknown\",\"name\":\"\",\"node\":\"\"}";
}

static void forget_origins(struct http_stream *st) {
  for (unsigned i = 0; st->origins && i < ANNOUNCE_SLOTS; i++) mem_free(mem_of(st), st->origins[i]);
  mem_free(mem_of(st), st->origins);
  st->origins = NULL;
}

/* ---- what comes ------------------------------------------------------------------------------------------------------------
 */
static void lost(struct http_stream *st) {
  st->lost++;
  st->dropped++;
  st->client->n->http_now.lost++;
  http_dirty(st->client);
}

/* A list of what is retained has nothing of what is published now. */
static bool is_wanted(const struct http_stream *st, struct slice frame) {
  struct msg m;
  if (!st->last || frame.p[1] != MSG_PUBLISH) return true;
  return !msg_decode(frame.p[1], slice_of(frame.p + FRAME_HEADER_LEN, frame.n - FRAME_HEADER_LEN), &m) && m.publish.replay;
}

/* What it says of publishers is kept, as the node does not say it again. */
static void drop(struct http_stream *st, struct slice frame) {
  struct msg m;
  if (frame.p[1] == MSG_PUBLISH)
    lost(st);
  else if (!msg_decode(frame.p[1], slice_of(frame.p + FRAME_HEADER_LEN, frame.n - FRAME_HEADER_LEN), &m))
    announced(st, &m.announce);
}

int http_stream_take(struct http_stream *st, uint8_t type, struct slice frame, struct shbuf *shared) {
  struct node *n = st->client->n;
  if (!is_wanted(st, frame)) return 0;
  if (st->sheds) {
    drop(st, frame);
    return 0;
  }
  if (!shared && !node_http_has_room(n, frame.n)) return MACULA_ENOMEM;
  struct http_waiting *w = mem_alloc(mem_of(st), sizeof *w);
  if (!w) return MACULA_ENOMEM;
  list_init(&w->all);
  w->since = n->now;
  w->frame = shared ? shbuf_ref(shared) : shbuf_dup(mem_of(st), frame);
  if (!w->frame) {
    mem_free(mem_of(st), w);
    return MACULA_ENOMEM;
  }
  list_append(&st->waiting, &w->all);
  st->waiting_bytes += frame.n;
  if (type == MSG_PUBLISH) st->heard = n->now;
  tell_ready(st);
  return 0;
}

static struct http_waiting *take_out(struct http_stream *st) {
  struct http_waiting *w = container_of(st->waiting.next, struct http_waiting, all);
  list_remove(&w->all);
  st->waiting_bytes -= w->frame->len;
  return w;
}

static void free_waiting(struct http_stream *st, struct http_waiting *w) {
  if (!w) return;
  shbuf_unref(w->frame);
  mem_free(mem_of(st), w);
}

static void drop_first(struct http_stream *st) { free_waiting(st, take_out(st)); }

bool http_stream_shed(struct http_stream *st) {
  size_t enough = st->waiting_bytes / 2;
  if (list_empty(&st->waiting)) return false;
  for (; st->waiting_bytes > enough || (!enough && !list_empty(&st->waiting)); drop_first(st))
    drop(st, shbuf_view(container_of(st->waiting.next, struct http_waiting, all)->frame));
  return true;
}

static void tell_opened(struct http_stream *st, const struct http_result *r) {
  if (st->told) return;
  st->told = true;
  if (st->owner.opened) st->owner.opened(st->owner.ctx, r);
}

void http_stream_acked(struct http_stream *st, const struct http_result *r) {
  st->heard = st->client->n->now;
  tell_opened(st, r);
  http_dirty(st->client);
}

void http_stream_gone(struct http_stream *st) {
  struct http_client *c = st->client;
  const char *text;
  int err = http_client_error(c, &text);
  struct http_result r = http_failure(err, text);
  tell_opened(st, &r);
  tell_ready(st);
}

/* ---- text ------------------------------------------------------------------------------------------------------------------
 */
static void put_headers(struct http_text *t, struct msg_list headers) {
  struct slice name, value;
  for (bool first = true; headers_next(&headers, &name, &value); first = false) {
    http_text_put(t, first ? ",\"headers\":[{\"name\":" : ",{\"name\":");
    http_text_string(t, name);
    http_text_put(t, ",");
    http_text_value(t, "value", value);
    http_text_put(t, "}");
  }
}

/* What stands before its payload, and what behind. waited: ms since it came. */
static void put_around(struct http_stream *st, const struct msg_publish *m, uint64_t waited) {
  struct http_text *t = &st->text;
  char id[2 * CALL_ID_LEN + 1] = "";
  if (m->message_id.n == CALL_ID_LEN) hex_encode(m->message_id.p, CALL_ID_LEN, id);
  if (!st->last) http_text_put(t, "event: message\n");
  if (!st->last && *id) {
    http_text_put(t, "id: ");
    http_text_put(t, id);
    http_text_put(t, "\n");
  }
  http_text_put(t, !st->last ? "data: {\"topic\":" : st->begun ? ",\n{\"topic\":" : "[{\"topic\":");
  http_text_string(t, m->topic);
  http_text_put(t, st->is_text ? ",\"payload\":\"" : ",\"payload_base64\":\"");
  t = &st->tail;
  http_text_put(t, m->qos ? "\",\"qos\":1" : "\",\"qos\":0");
  http_text_put(t, m->retain ? ",\"retain\":true,\"publisher\":" : ",\"retain\":false,\"publisher\":");
  http_text_put(t, publisher_of(st, m));
  http_text_put(t, ",\"id\":\"");
  http_text_put(t, id);
  http_text_put(t, "\"");
  if (m->headers.count) put_headers(t, m->headers), http_text_put(t, "]");
  if (m->expires_ms) http_text_put(t, ",\"expires_ms\":"), http_text_number(t, m->expires_ms - waited);
  http_text_put(t, st->last ? "}" : "}\n\n");
}

/* All the memory that it needs is there before any of it is read: none that was begun is cut off. False: there is none. */
static bool begin_message(struct http_stream *st, const struct msg_publish *m, size_t frame_len, uint64_t waited) {
  size_t piece = HTTP_TEXT_ESCAPED * (m->payload.n < HTTP_PIECE ? m->payload.n : HTTP_PIECE);
  if (!node_http_has_room(st->client->n, 2 * (frame_len - m->payload.n) + piece)) return false;
  st->is_text = http_text_is(m->payload);
  put_around(st, m, waited);
  if (http_text_reserve(&st->text, piece) && !st->tail.failed) {
    st->left = m->payload;
    st->begun = true;
    return true;
  }
  http_text_done(&st->text);
  http_text_done(&st->tail);
  return false;
}

/* The next piece of the message that is being written. */
static void go_on(struct http_stream *st) {
  size_t n = st->left.n < HTTP_PIECE ? st->left.n : HTTP_PIECE;
  if (!n) {
    http_text_done(&st->text);
    st->text = st->tail;
    st->tail = (struct http_text){.mem = st->text.mem};
    free_waiting(st, st->now);
    st->now = NULL;
    return;
  }
  st->text.n = 0;
  if (st->is_text) {
    while (n < st->left.n && (st->left.p[n] & 0xC0) == 0x80) n--; /* whole characters */
    http_text_escaped(&st->text, slice_of(st->left.p, n));
  } else {
    http_text_base64(&st->text, slice_of(st->left.p, n));
  }
  st->left = slice_of(st->left.p + n, st->left.n - n);
}

/* The first frame that waits. */
static void take_first(struct http_stream *st) {
  struct node *n = st->client->n;
  struct http_waiting *w = take_out(st);
  struct slice frame = shbuf_view(w->frame);
  uint64_t waited = time_since(n->now, w->since) / NS_MS;
  struct msg m;
  if (!msg_decode(frame.p[1], slice_of(frame.p + FRAME_HEADER_LEN, frame.n - FRAME_HEADER_LEN), &m)) {
    const struct msg_publish *p = &m.publish;
    if (m.type == MSG_ANNOUNCE) {
      announced(st, &m.announce);
    } else if (p->expires_ms && p->expires_ms <= waited) {
      n->stats.expired++;
    } else if (begin_message(st, p, frame.n, waited)) {
      n->http_now.events++;
      st->now = w;
      return;
    } else {
      lost(st);
    }
  }
  free_waiting(st, w);
}

static void put_event(struct http_text *t, const char *event, const char *code, const char *text) {
  http_text_put(t, "event: ");
  http_text_put(t, event);
  http_text_put(t, "\ndata: {\"code\":\"");
  http_text_put(t, code);
  http_text_put(t, "\",\"text\":");
  http_text_string(t, slice_str(text));
  http_text_put(t, "}\n\n");
}

static void put_dropped(struct http_stream *st) {
  http_text_put(&st->text, "event: dropped\ndata: {\"count\":");
  http_text_number(&st->text, st->dropped);
  http_text_put(&st->text, ",\"text\":\"messages were dropped as they were read too slowly\"}\n\n");
  st->dropped = 0;
}

bool http_stream_is_cut(const struct http_stream *st) { return st->last && (!st->settled || st->lost); }

static void put_end(struct http_stream *st) {
  const char *text;
  int err = http_client_error(st->client, &text);
  st->ended = true;
  if (!st->last)
    put_event(&st->text, "end", macula_err_name(err), text);
  else if (!http_stream_is_cut(st)) /* else whoever reads sees by the list's lacking end that it is not all */
    http_text_put(&st->text, st->begun ? "]\n" : "[]\n");
}

/* Makes the next piece of text. False: there is none now. */
static bool next_text(struct http_stream *st) {
  st->at = 0;
  if (st->now) {
    go_on(st);
    return true;
  }
  http_text_done(&st->text);
  bool over = st->settled || st->client->over;
  if (st->gap) {
    put_event(&st->text, "gap", "gap", "what was published since that event is not kept, and may be missing here");
    st->gap = false;
  } else if (st->dropped && !st->last) {
    put_dropped(st);
  } else if (!list_empty(&st->waiting)) {
    take_first(st);
  } else if (over && !st->ended) {
    put_end(st);
  } else if (st->comment) {
    http_text_put(&st->text, st->last ? " " : ":\n\n");
    st->comment = false;
  } else {
    return false;
  }
  if (st->text.failed) http_text_done(&st->text);
  return true;
}

size_t http_stream_read(struct http_stream *st, char *buf, size_t cap, nanotime now, bool *ret_over) {
  struct http_client *c = st->client;
  size_t len = 0;
  if (now > c->n->now) c->n->now = now;
  *ret_over = false;
  do {
    size_t n = st->text.n - st->at < cap - len ? st->text.n - st->at : cap - len;
    if (n) memcpy(buf + len, st->text.p + st->at, n);
    st->at += n;
    len += n;
  } while (len < cap && next_text(st));
  st->hungry = !len;
  *ret_over = !len && st->ended;
  if (len) st->alive_at = time_add(c->n->now, HTTP_ALIVE);
  if (len) c->progress = c->n->now;
  if (len && c->s) c->s->set_aside = false;
  http_dirty(c); /* more may come, and a publisher may wait for that */
  return len;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------
 */
int http_stream_new(struct node *n, const struct http_login *l, const struct http_stream_options *o,
                    const struct http_stream_owner *owner, nanotime now, struct http_stream **ret_stream) {
  struct mem *mem = node_http_mem(n);
  if (now > n->now) n->now = now;
  struct http_stream *st = mem_calloc(mem, 1, sizeof *st);
  if (!st) return MACULA_ENOMEM;
  st->text.mem = st->tail.mem = mem;
  st->owner = *owner;
  st->pattern_len = o->pattern.n < sizeof st->pattern ? o->pattern.n : sizeof st->pattern;
  memcpy(st->pattern, o->pattern.p, st->pattern_len);
  st->last = o->last;
  st->gap = o->gap && !o->last;
  st->comment = !o->last; /* whoever waits for the beginning is to see it */
  list_init(&st->waiting);
  st->alive_at = time_add(n->now, HTTP_ALIVE);
  n->http->streams++;
  st->client = http_client_new(n, l, st);
  if (!st->client) {
    n->http->streams--;
    mem_free(mem, st);
    return MACULA_ENOMEM;
  }
  *ret_stream = st;
  return 0;
}

void http_stream_free(struct http_stream *st, nanotime now) {
  struct http_client *c = st->client;
  st->owner = (struct http_stream_owner){0};
  if (now > c->n->now) c->n->now = now;
  http_client_put(c);
}

void http_stream_forget(struct http_stream *st) {
  struct node *n = st->client->n;
  while (!list_empty(&st->waiting)) drop_first(st);
  free_waiting(st, st->now);
  forget_origins(st);
  http_text_done(&st->text);
  http_text_done(&st->tail);
  n->http->streams--;
  st->client->stream = NULL;
  mem_free(node_http_mem(n), st);
}

/* ---- steps -----------------------------------------------------------------------------------------------------------------
 */
static void subscribe(struct http_stream *st) {
  struct http_client *c = st->client;
  struct slice item = slice_of(st->pattern, st->pattern_len);
  struct msg m = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &item}, .ref = 1, .has_ref = true}};
  st->asked = true;
  int err = http_hand_in(c, &m);
  struct http_result r = http_failure(err, NULL);
  if (err) tell_opened(st, &r);
}

/* Whether another node may have retained messages that have not come. */
static bool others_may_have_some(const struct http_stream *st) {
  const struct node *n = st->client->n;
  nanotime end = time_min(time_add(st->heard, HTTP_QUIET), time_add(st->client->s->since, HTTP_LAST));
  if (n->now >= end) return false;
  list_for(it, &n->spread.peers) {
    const struct peer *p = container_of(it, const struct peer, spread.of_node);
    if (p->spread.interest.retained && !p->spread.dead) return true;
  }
  return false;
}

static void settle(struct http_stream *st) {
  const struct session *s = st->client->s;
  if (!st->last || st->settled || !st->told || !s || s->state != SESSION_IN) return;
  if (s->lanes.bytes || !list_empty(&s->replays) || others_may_have_some(st)) return;
  st->settled = true;
  tell_ready(st);
}

nanotime http_stream_deadline(const struct http_stream *st) {
  return st->last && !st->settled ? time_min(st->alive_at, time_add(st->heard, HTTP_QUIET)) : st->alive_at;
}

static void say_lost(struct http_stream *st) {
  struct http_client *c = st->client;
  char at[ADDR_TEXT_LEN];
  if (st->said == st->lost || !bucket_take(&c->n->http->lines, 2.0, 20.0, c->n->now)) return;
  addr_text(&c->remote, at);
  log_warn(c->n->log, "http_events_dropped", "address=%s user=\"%s\" name=\"%s\" count=%llu text=\"read too slowly\"", at,
           c->user ? c->user : "", c->name ? c->name : "", (unsigned long long)(st->lost - st->said));
  st->said = st->lost;
}

void http_stream_step(struct http_stream *st) {
  struct http_client *c = st->client;
  say_lost(st);
  if (c->in && !st->asked && !c->closed) subscribe(st);
  settle(st);
  if (st->told && c->n->now >= st->alive_at && list_empty(&st->waiting) && !st->now) {
    st->comment = true;
    st->alive_at = time_add(c->n->now, HTTP_ALIVE);
    tell_ready(st);
  }
  if (st->dropped) tell_ready(st);
}
