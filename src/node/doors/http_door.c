/* The door as a whole: its clients, requests, its turn. */
#include <assert.h>

#include "base/check.h"
#include "base/err.h"
#include "node/doors/http_state.h"
#include "node/receive.h"
#include "node/session/parcel.h"
#include "node/session/session.h"

#define SWEEP (1 * NS_SEC)

struct mem *node_http_mem(struct node *n) {
  return &n->rows.mem[ROW_HTTP];
}

/* What is beyond http_pool is for connections, of which each has its part. */
bool node_http_has_room(const struct node *n, size_t bytes) {
  const struct mem *m = &n->rows.mem[ROW_HTTP];
  size_t apart = (size_t)n->http_now.connections * PLAN_HTTP, used = m->bytes > apart ? m->bytes - apart : 0;
  return used + bytes <= n->limits.http_pool;
}

size_t node_http_pool(const struct node *n) { return n->limits.http_pool; }

bool node_http_is_open(const struct node *n) { return !n->trust.access; }

void node_http_count(struct node *n, uint64_t connections, uint64_t refused, uint64_t displaced) {
  n->http_now.connections = connections;
  n->http_now.refused = refused;
  n->http_now.displaced = displaced;
}

void http_dirty(struct http_client *c) {
  if (list_empty(&c->dirty)) list_append(&c->n->http->dirty, &c->dirty);
}

int http_hand_in(struct http_client *c, const struct msg *m) {
  struct parcel p;
  if (!c->s) return MACULA_ECLOSED;
  int err = parcel_encode(&p, node_http_mem(c->n), m, SIZE_MAX);
  if (err) return err;
  c->window -= (int64_t)p.frame.n;
  receive_data(c->s, 0, p.frame, false);
  parcel_done(&p);
  return 0;
}

static void set_now(struct node *n, nanotime now) {
  if (now > n->now) n->now = now;
}

/* ---- who asks --------------------------------------------------------------------------------------------------------------
 */
/* As many as there are connections may linger: the one that was asked by least lately goes. */
static void linger_fewer(struct node *n) {
  struct http_client *oldest = NULL;
  uint32_t idle = 0;
  list_for(it, &n->http->clients) {
    struct http_client *c = container_of(it, struct http_client, all);
    if (c->stream || c->refs || c->goodbye || c->over || !c->idle) continue;
    idle++;
    if (!oldest || c->idle < oldest->idle) oldest = c;
  }
  if (idle < n->limits.http_connections) return;
  oldest->idle = 0;
  http_dirty(oldest);
}

int http_client_get(struct node *n, const struct http_login *l, nanotime now, struct http_client **ret_client) {
  uint8_t key[HTTP_KEY_LEN];
  set_now(n, now);
  http_client_key(n->http, l, key);
  list_for(it, &n->http->clients) {
    struct http_client *c = container_of(it, struct http_client, all);
    if (c->stream || c->over || c->closed || c->goodbye || memcmp(c->key, key, sizeof key) != 0) continue;
    c->refs++;
    *ret_client = c;
    return 0;
  }
  linger_fewer(n);
  return (*ret_client = http_client_new(n, l, NULL)) ? 0 : MACULA_ENOMEM;
}

void http_client_put(struct http_client *c) {
  assert(c->refs > 0);
  c->refs--;
  c->idle = c->n->now;
  if (!c->refs) http_dirty(c);
}

enum http_standing http_client_standing(const struct http_client *c) {
  return c->over || c->closed || c->goodbye ? HTTP_GONE : c->in && c->s ? HTTP_IN : HTTP_COMING;
}

int http_client_error(const struct http_client *c, const char **ret_text) {
  int err = c->err ? c->err : MACULA_ECLOSED;
  *ret_text = c->why[0] ? c->why : macula_err_text(err);
  return err;
}

bool http_client_is_operator(const struct http_client *c) { return c->s && c->s->trusted; }
struct slice http_client_user(const struct http_client *c) {
  return c->s ? session_user(c->s) : SLICE_NONE;
}
struct slice http_client_grant(const struct http_client *c) {
  return c->s && c->s->rights.grant ? grant_name(c->s->rights.grant) : SLICE_NONE;
}

/* ---- requests --------------------------------------------------------------------------------------------------------------
 */
static void begin(struct http_ask *a, struct http_client *c, enum http_kind kind) {
  list_init(&a->all);
  a->client = c;
  a->kind = kind;
  a->sent = false;
  list_append(&c->asks, &a->all);
  http_dirty(c);
}

/* True: it was answered, as its client is gone. */
static bool in_vain(struct http_ask *a, struct http_client *c) {
  const char *text;
  if (http_client_standing(c) != HTTP_GONE) return false;
  int err = http_client_error(c, &text);
  struct http_result r = http_failure(err, text);
  list_init(&a->all);
  a->client = NULL;
  a->done(a, &r);
  return true;
}

void http_ask_login(struct http_ask *a, struct http_client *c) {
  struct http_result r = {0};
  if (in_vain(a, c)) return;
  begin(a, c, HTTP_LOGIN);
  if (http_client_standing(c) != HTTP_IN) return;
  list_remove(&a->all);
  a->client = NULL;
  a->done(a, &r);
}

void http_ask_publish(struct http_ask *a, struct http_client *c, const struct msg_publish *m, nanotime now) {
  set_now(c->n, now);
  if (in_vain(a, c)) return;
  a->ref = ++c->next_ref;
  a->m = (struct msg){.type = MSG_PUBLISH, .publish = *m};
  a->m.publish.ref = a->ref;
  a->m.publish.has_ref = true;
  begin(a, c, HTTP_PUBLISH);
}

void http_ask_call(struct http_ask *a, struct http_client *c, struct slice procedure, struct slice args, uint64_t timeout,
                   nanotime now) {
  set_now(c->n, now);
  if (in_vain(a, c)) return;
  rng_fill(c->n->rng, a->call_id, sizeof a->call_id);
  a->m = (struct msg){
      .type = MSG_CALL,
      .call = {.procedure = procedure, .args = args, .call_id = slice_of(a->call_id, CALL_ID_LEN), .timeout = timeout}};
  begin(a, c, HTTP_CALL);
}

void http_ask_drop(struct http_ask *a, nanotime now) {
  struct http_client *c = a->client;
  if (!c) return;
  set_now(c->n, now);
  list_remove(&a->all);
  a->client = NULL;
  http_dirty(c);
  if (!a->sent || a->kind != HTTP_CALL || !c->s || c->s->state != SESSION_IN) return;
  struct msg m = {.type = MSG_CANCEL,
                  .cancel = {.call_id = slice_of(a->call_id, CALL_ID_LEN), .reason = slice_str("cancelled")}};
  (void)http_hand_in(c, &m);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------
 */
int node_http_open(struct node *n) {
  if (n->http) return 0;
  struct http_rooms *rooms = mem_calloc(node_http_mem(n), 1, sizeof *rooms);
  if (!rooms) return MACULA_ENOMEM;
  list_init(&rooms->clients);
  list_init(&rooms->dirty);
  rng_fill(n->rng, rooms->secret, sizeof rooms->secret);
  rooms->sweep_at = n->now;
  n->http = rooms;
  return 0;
}

/* Whoever had streams and requests has let them go. */
void http_door_free(struct node *n) {
  struct http_rooms *rooms = n->http;
  if (!rooms) return;
  list_for_safe(it, &rooms->clients) {
    struct http_client *c = container_of(it, struct http_client, all);
    if (c->s) c->s->state = SESSION_OVER;
    if (c->s) c->s->door.conn = NULL;
    list_for_safe(a, &c->asks) list_remove(a);
    http_client_free(c);
  }
  n->http = NULL;
  mem_free(node_http_mem(n), rooms);
}

/* ---- turns -----------------------------------------------------------------------------------------------------------------
 */
static void sweep(struct node *n) {
  struct http_rooms *rooms = n->http;
  if (n->now < rooms->sweep_at) return;
  list_for(it, &rooms->clients) {
    struct http_client *c = container_of(it, struct http_client, all);
    if (!c->refs || (c->stream && http_stream_deadline(c->stream) <= n->now)) http_dirty(c);
  }
  rooms->sweep_at = time_add(n->now, SWEEP);
}

void http_door_step(struct node *n) {
  struct http_rooms *rooms = n->http;
  if (!rooms) return;
  sweep(n);
  for (uint32_t left = rooms->count; left && !list_empty(&rooms->dirty); left--) {
    struct http_client *c = container_of(rooms->dirty.next, struct http_client, dirty);
    list_remove(&c->dirty);
    http_client_step(c);
    if (node_spent(n)) break;
  }
  n->http_now.clients = rooms->count;
  n->http_now.streams = rooms->streams;
}

nanotime http_door_deadline(const struct node *n) {
  const struct http_rooms *rooms = n->http;
  if (!rooms || list_empty(&rooms->clients)) return TIME_NEVER;
  return list_empty(&rooms->dirty) ? rooms->sweep_at : n->now;
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
double http_door_frames_owned(const struct node *n) {
  double sum = 0;
  if (!n->http) return 0;
  list_for(it, &n->http->clients) {
    const struct http_client *c = container_of(it, const struct http_client, all);
    if (!c->stream) continue;
    list_for(w, &c->stream->waiting) sum +=
        shbuf_part(container_of(w, const struct http_waiting, all)->frame, &n->rows.mem[ROW_SEND]);
    if (c->stream->now) sum += shbuf_part(c->stream->now->frame, &n->rows.mem[ROW_SEND]);
  }
  return sum;
}

static const char *client_check(const struct http_client *c) {
  size_t bytes = 0;
  CHECK(!c->s || c->s->door.conn == c, "http: a session of the node is of another client");
  CHECK(list_holds(&c->asks) && (!c->over || list_empty(&c->asks)), "http: requests wait for a client that is gone");
  list_for(it, &c->asks)
      CHECK(container_of(it, const struct http_ask, all)->client == c, "http: a request is another client's");
  if (!c->stream) return NULL;
  CHECK(c->stream->client == c, "http: a stream is another client's");
  list_for(it, &c->stream->waiting) bytes += container_of(it, const struct http_waiting, all)->frame->len;
  CHECK(bytes == c->stream->waiting_bytes, "http: the bytes that wait are not as many as counted");
  return NULL;
}

const char *http_door_check(const struct node *n) {
  const struct http_rooms *rooms = n->http;
  uint32_t streams = 0;
  if (!rooms) return NULL;
  CHECK(list_has(&rooms->clients, rooms->count), "http: the clients are not as many as counted");
  CHECK(list_holds(&rooms->dirty), "http: the list of what is left to do is broken");
  list_for(it, &rooms->clients) {
    const struct http_client *c = container_of(it, const struct http_client, all);
    streams += c->stream != NULL;
    CHECK_PART(client_check(c));
  }
  CHECK(streams == rooms->streams, "http: the streams are not as many as counted");
  return NULL;
}
