/* The door as a whole: its tables, the functions that the state machine calls, its turn. */
#include "node/doors/mqtt.h"

#include "base/check.h"
#include "base/err.h"
#include "base/utf8.h"
#include "node/doors/mqtt_headers.h"
#include "node/doors/mqtt_state.h"
#include "node/memory/lend.h"
#include "node/receive.h"
#include "node/session/parcel.h"
#include "node/session/session.h"
#include "node/session/tally.h"

extern const struct stream_owner mqtt_stream_owner, mqtt_web_owner;

struct mem *mqtt_mem(const struct node *n) {
  return (struct mem *)&n->rows.mem[ROW_MQTT];
}

void mqtt_dirty(struct mqtt_client *c) {
  if (list_empty(&c->dirty)) list_append(&c->n->mqtt->dirty_clients, &c->dirty);
}
void mqtt_link_dirty(struct mqtt_link *l) {
  if (list_empty(&l->dirty)) list_append(&l->n->mqtt->dirty_links, &l->dirty);
}

int mqtt_hand_in(struct mqtt_client *c, const struct msg *m) {
  struct parcel p;
  int err = parcel_encode(&p, mqtt_mem(c->n), m, SIZE_MAX);
  if (err) return err;
  c->window -= (int64_t)p.frame.n;
  receive_data(c->s, 0, p.frame, false);
  parcel_done(&p);
  return 0;
}

/* ---- of a connection -------------------------------------------------------------------------------------------------------
 */
static void on_send(void *conn, struct slice head, struct mqtt_message *m) {
  ((struct mqtt_link *)conn)->n->mqtt->sys.packets_out++;
  mqtt_link_send(conn, head, m ? mqtt_message_payload(m) : SLICE_NONE);
}

static bool on_full(void *conn) { return mqtt_link_unsent(conn) >= DOOR_UNSENT; }

static void on_close(void *conn, enum mqtt_reason reason, const char *why) {
  struct mqtt_link *l = conn;
  char at[ADDR_TEXT_LEN];
  if (l->web) mqtt_web_bye(l, reason, why ? why : mqtt_reason_text((uint8_t)reason));
  l->closing = true;
  mqtt_link_dirty(l);
  if (reason == MQTT_SUCCESS || reason == MQTT_TAKEN_OVER || reason == MQTT_SHUTTING_DOWN || !l->stream) return;
  l->n->mqtt->ended++;
  if (!bucket_take(&l->n->mqtt->lines, 2.0, 20.0, l->n->now)) return;
  addr_text(&l->stream->remote, at);
  log_warn(l->n->log, "mqtt_closed", "address=%s name=\"%s\" reason=0x%02x text=\"%s\"", at, l->client ? l->client->name : "",
           (unsigned)reason, why ? why : mqtt_reason_text((uint8_t)reason));
}

static const char *user_fault(const struct mqtt_packet *p) {
  char user[ACCESS_MAX_NAME + 1];
  struct slice name = p->connect.user;
  if (!p->connect.has_user) return p->connect.has_password ? "a password is judged with a user name only" : NULL;
  if (!name.n || name.n > ACCESS_MAX_NAME) return "a user name has 1 to 64 bytes here";
  return utf8_label(name, user, ACCESS_MAX_NAME) == name.n ? NULL : "a user name has no control characters here";
}

static void on_connect(void *conn, const struct mqtt_packet *p) {
  struct mqtt_link *l = conn;
  const char *why = NULL;
  char name[NAME_KEPT + 1];
  size_t len = utf8_label(p->connect.client_id, name, NAME_KEPT);
  enum mqtt_reason reason = MQTT_BAD_CLIENT_ID;
  if (p->connect.client_id.n > NAME_KEPT)
    why = "a client id has at most 64 bytes here";
  else if (len != p->connect.client_id.n)
    why = "a client id has no control characters here";
  else if (l->n->trust.access && (why = user_fault(p)))
    reason = MQTT_BAD_USER;
  if (!why && !(l->client = mqtt_client_new(l, p))) {
    reason = MQTT_QUOTA;
    why = "there is no memory for a session";
  }
  if (why) mqtt_refuse(l->conn, reason, why, l->n->now);
}

static bool is_in(const struct mqtt_client *c) { return c && c->s && c->s->state == SESSION_IN; }

static enum mqtt_verdict on_publish(void *conn, const struct mqtt_arrival *a, struct mqtt_answer *ret) {
  struct mqtt_client *c = ((struct mqtt_link *)conn)->client;
  *ret = (struct mqtt_answer){.reason = MQTT_UNSPECIFIED, .why = "the session is over"};
  if (!is_in(c)) return MQTT_HOLD; /* its end is on its way */
  if (c->window <= 0) return MQTT_HOLD;
  struct mqtt_headers h;
  int err = mqtt_headers_from(a->props, &h, &ret->why);
  if (err) {
    ret->reason = (uint8_t)mqtt_reason_of(err);
    return MQTT_REFUSED;
  }
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = a->name,
                              .payload = a->payload,
                              .qos = a->qos ? 1 : 0,
                              .exactly_once = a->qos == 2,
                              .retain = a->retain,
                              .headers = h.list,
                              .expires_ms = mqtt_expires_ms(a->props),
                              .ref = a->ref,
                              .has_ref = a->ref != 0}};
  struct mqtt_later *later = a->ref ? mem_calloc(mqtt_mem(c->n), 1, sizeof *later) : NULL;
  if (a->ref && !later) {
    ret->reason = MQTT_QUOTA;
    ret->why = "there is no memory for messages that are not answered";
    return MQTT_REFUSED;
  }
  struct mqtt_rooms *rooms = c->n->mqtt;
  struct mqtt_handed now = {.client = c, .ref = a->ref, .before = rooms->handed};
  rooms->handed = &now;
  rooms->said[0] = 0;
  err = mqtt_hand_in(c, &m);
  rooms->handed = now.before;
  if (later && !err && !now.answered) {
    later->ref = a->ref;
    list_init(&later->all);
    list_append(&c->later, &later->all);
    return MQTT_LATER;
  }
  mem_free(mqtt_mem(c->n), later);
  if (!err) err = now.err;
  ret->reason = (uint8_t)mqtt_reason_of(err);
  ret->why = now.answered && *rooms->said ? rooms->said : err ? macula_err_text(err) : NULL;
  return err ? MQTT_REFUSED : MQTT_ACCEPTED;
}

static enum mqtt_verdict on_subscribe(void *conn, const struct mqtt_subscription *sub, struct mqtt_answer *ret) {
  struct mqtt_client *c = ((struct mqtt_link *)conn)->client;
  return is_in(c) ? mqtt_subscribe(c, sub, ret) : MQTT_HOLD;
}
static enum mqtt_verdict on_unsubscribe(void *conn, const struct mqtt_subscription *sub, struct mqtt_answer *ret) {
  struct mqtt_client *c = ((struct mqtt_link *)conn)->client;
  return is_in(c) ? mqtt_unsubscribe(c, sub, ret) : MQTT_HOLD;
}

static void on_refused(void *conn, struct slice topic, enum mqtt_reason reason, const char *why, bool told) {
  struct mqtt_link *l = conn;
  char text[65];
  (void)reason;
  l->n->mqtt->unnamed++;
  if (!bucket_take(&l->n->mqtt->lines, 2.0, 20.0, l->n->now)) return;
  (void)utf8_label(topic, text, sizeof text - 1);
  log_warn(l->n->log, "mqtt_topic_refused", "name=\"%s\" topic=\"%s\" told=%s text=\"%s\"", l->client ? l->client->name : "",
           text, told ? "yes" : "no", why);
}

/* ---- of a session ----------------------------------------------------------------------------------------------------------
 */
/* What made room, has expired, is larger than its client takes, or was refused by it. */
static void on_acked(void *session, uint64_t ref, uint8_t reason) {
  struct mqtt_client *c = session;
  if (ref && c->s) session_acked(c->s, ref); /* of a message that it got as a member of a group */
  if (!MQTT_REASON_IS_ERROR(reason)) {
    if (c->s) c->s->set_aside = false;
    return;
  }
  c->n->mqtt->lost++;
  c->lost += reason == MQTT_QUOTA; /* the oldest makes room for another */
  if (bucket_take(&c->n->mqtt->lines, 2.0, 20.0, c->n->now))
    log_warn(c->n->log, "mqtt_message_lost", "name=\"%s\" reason=0x%02x text=\"%s\"", c->name, reason,
             mqtt_reason_text(reason));
}
static void on_lost(void *session, struct slice topic, uint8_t reason) {
  const struct mqtt_client *c = session;
  char name[NAME_MAX_LEN + 1];
  const char *why;
  size_t len;
  if (!c || !c->s || name_from_mqtt_topic(topic, name, &len, &why)) return;
  tally_lost(c->s, slice_of(name, len),
             reason == MQTT_QUOTA       ? TALLY_QUEUE
             : reason == MQTT_TOO_LARGE ? TALLY_LARGE
                                        : TALLY_EXPIRED);
}
static void on_window_open(void *session) { mqtt_dirty(session); }

static void on_will(void *session, struct mqtt_message *m, uint8_t qos, bool retain) {
  struct mqtt_client *c = session;
  char name[NAME_MAX_LEN + 1];
  const char *why;
  size_t len;
  struct mqtt_props props;
  struct mqtt_headers h;
  if (!c->accepting) mqtt_will_gone(c); /* then it is that of the connection before */
  if (!is_in(c) || name_from_mqtt_topic(mqtt_message_topic(m), name, &len, &why)) return;
  mqtt_message_read(m, &props);
  if (mqtt_headers_from(&props, &h, &why)) h.list.count = 0; /* as many may a publish have; the will itself is worth more */
  struct msg w = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_of(name, len),
                              .payload = mqtt_message_payload(m),
                              .qos = qos ? 1 : 0,
                              .exactly_once = qos == 2,
                              .retain = retain,
                              .headers = h.list,
                              .expires_ms = m->expires == TIME_NEVER ? 0 : parcel_ms_left(m->expires, c->n->now)}};
  (void)mqtt_hand_in(c, &w);
}

static void on_ended(void *session, enum mqtt_reason reason) {
  struct mqtt_client *c = session;
  (void)reason;
  if (c->accepting) {
    c->old_over = true;
    return;
  }
  c->ms = NULL;
  mqtt_dirty(c);
}

const struct mqtt_door mqtt_door_functions = {.send = on_send,
                                              .close = on_close,
                                              .connect = on_connect,
                                              .publish = on_publish,
                                              .subscribe = on_subscribe,
                                              .unsubscribe = on_unsubscribe,
                                              .refused = on_refused,
                                              .acked = on_acked,
                                              .lost = on_lost,
                                              .window_open = on_window_open,
                                              .will = on_will,
                                              .ended = on_ended,
                                              .full = on_full};

/* ---- life ------------------------------------------------------------------------------------------------------------------
 */
#define MAX_EXPIRY (7u * 86400u) /* s */
#define MAX_QUEUE 1000u          /* messages that wait for one client */
#define MAX_CONNECT (128u << 10) /* bytes, with its will */
#define BESIDE_PAYLOAD 1024u     /* bytes of a native PUBLISH beside its payload, with topic */

static struct mqtt_config config_of(struct node *n) {
  const struct node_limits *l = &n->limits;
  struct mem *mem = mqtt_mem(n);
  size_t pool = l->mqtt_pool;
  return (struct mqtt_config){
      .door = &mqtt_door_functions,
      .sessions_mem = mem,
      .inflight_mem = mem,
      .queue_mem = mem,
      .conns_mem = mem,
      .input_mem = mem,
      .rng = n->rng,
      .spent = &n->spent,
      .max_sessions = l->max_clients,
      .shared = true,
      .max_queue = MAX_QUEUE,
      .max_queue_bytes = pool / 16,
      .max_queued_bytes = pool / 2,
      .drops_oldest = n->mqtt_drops_oldest,
      .max_expiry = MAX_EXPIRY,
      .max_packet = (uint32_t)l->max_frame > 2 * BESIDE_PAYLOAD ? (uint32_t)l->max_frame - BESIDE_PAYLOAD : BESIDE_PAYLOAD,
      .max_connect = MAX_CONNECT,
      .max_inflight = MQTT_INFLIGHT_MAX,
      .max_inflight_bytes = pool / 16,
      .receive_maximum = MQTT_RECEIVE_MAX,
      .max_taken = MQTT_TAKEN_MAX,
      .max_aliases_in = 16,
      .max_aliases_out = 16,
      .connect_timeout = l->connect_timeout,
      .stall_timeout = 60 * NS_SEC};
}

static int open_rooms(struct node *n) {
  if (n->mqtt) return 0;
  struct mqtt_rooms *rooms = mem_calloc(mqtt_mem(n), 1, sizeof *rooms);
  if (!rooms) return MACULA_ENOMEM;
  struct mqtt_config cfg = config_of(n);
  int err = mqtt_sessions_new(&cfg, &rooms->sessions);
  if (err) {
    mem_free(mqtt_mem(n), rooms);
    return err;
  }
  list_init(&rooms->clients);
  list_init(&rooms->links);
  list_init(&rooms->dirty_clients);
  list_init(&rooms->dirty_links);
  list_init(&rooms->offline);
  mqtt_sys_init(&rooms->sys);
  rooms->sweep_at = TIME_NEVER;
  n->mqtt = rooms;
  mqtt_addresses_init(n);
  return 0;
}

int node_mqtt_open(struct node *n, bool web, struct stream_owner *ret_owner) {
  int err = open_rooms(n);
  if (err) return err;
  *ret_owner = web ? mqtt_web_owner : mqtt_stream_owner;
  ret_owner->ctx = n;
  return 0;
}

static int set_text(struct node *n, char **at, const char *text) {
  char *copy = text ? mem_dup(mqtt_mem(n), text, strlen(text) + 1) : NULL;
  if (text && !copy) return MACULA_ENOMEM;
  mem_free(mqtt_mem(n), *at);
  *at = copy;
  return 0;
}

int node_mqtt_set_web(struct node *n, const char *hosts, const char *origins) {
  if (!n->mqtt) return 0;
  int err = set_text(n, &n->mqtt->hosts, hosts);
  return err ? err : set_text(n, &n->mqtt->origins, origins);
}

void node_mqtt_tls_refused(struct node *n, const struct addr *remote, const char *why, nanotime now) {
  if (now > n->now) n->now = now;
  mqtt_arrival_in_vain(n, remote);
  if (!why) return;
  n->mqtt->tls_refused++;
  mqtt_say(n, remote, "mqtt_tls_refused", why);
}

struct mem *node_mqtt_mem(struct node *n) {
  return mqtt_mem(n);
}

void mqtt_door_set_limits(struct node *n) {
  if (!n->mqtt) return;
  struct mqtt_config cfg = config_of(n);
  mqtt_sessions_set_config(n->mqtt->sessions, &cfg);
}

void mqtt_door_free(struct node *n) {
  struct mqtt_rooms *rooms = n->mqtt;
  if (!rooms) return;
  list_for(it, &rooms->clients) {
    struct mqtt_client *c = container_of(it, struct mqtt_client, all);
    if (c->s) c->s->state = SESSION_OVER;
    if (c->s) c->s->door.conn = NULL;
    c->s = NULL;
  }
  list_for_safe(it, &rooms->links) {
    struct mqtt_link *l = container_of(it, struct mqtt_link, all);
    if (l->stream) stream_close(l->stream, true);
    l->stream = NULL;
    mqtt_link_free(l);
  }
  mqtt_sessions_free(rooms->sessions);
  list_for_safe(it, &rooms->clients) mqtt_client_free(container_of(it, struct mqtt_client, all));
  mqtt_forget_last(rooms);
  mqtt_addresses_done(n);
  mem_free(mqtt_mem(n), rooms->hosts);
  mem_free(mqtt_mem(n), rooms->origins);
  n->mqtt = NULL;
  mem_free(mqtt_mem(n), rooms);
}

/* ---- turns -----------------------------------------------------------------------------------------------------------------
 */
static void sweep(struct node *n) {
  struct mqtt_rooms *rooms = n->mqtt;
  if (rooms->sweep_at > n->now) return;
  list_for(it, &rooms->links) mqtt_link_tick(container_of(it, struct mqtt_link, all));
  rooms->sweep_at = list_empty(&rooms->links) ? TIME_NEVER : time_add(n->now, NS_SEC);
}

void mqtt_door_step(struct node *n) {
  struct mqtt_rooms *rooms = n->mqtt;
  if (!rooms) return;
  sweep(n);
  if (mqtt_must_evict(n)) mqtt_evict(n); /* one a step, as its native session ends in the course of this turn */
  if (mqtt_sessions_deadline(rooms->sessions) <= n->now) mqtt_sessions_tick(rooms->sessions, n->now);
  mqtt_sys_step(n);
  while (!list_empty(&rooms->dirty_clients) || !list_empty(&rooms->dirty_links)) {
    if (!list_empty(&rooms->dirty_clients)) {
      struct mqtt_client *c = container_of(rooms->dirty_clients.next, struct mqtt_client, dirty);
      list_remove(&c->dirty);
      mqtt_client_step(c);
    } else {
      struct mqtt_link *l = container_of(rooms->dirty_links.next, struct mqtt_link, dirty);
      list_remove(&l->dirty);
      mqtt_link_step(l);
    }
    if (node_spent(n)) break;
  }
  mqtt_forget_last(rooms);
  uint32_t sessions = mqtt_sessions_count(rooms->sessions);
  lend_step(n, sessions, rooms->secret_count < sessions ? rooms->secret_count : sessions);
  n->mqtt_now = (struct mqtt_now){mqtt_sessions_count(rooms->sessions),
                                  rooms->link_count,
                                  rooms->refused,
                                  rooms->unnamed,
                                  rooms->lost,
                                  rooms->web_refused,
                                  rooms->tls_refused,
                                  rooms->paused,
                                  rooms->ended,
                                  rooms->filters_lost,
                                  rooms->offline_count,
                                  rooms->evicted,
                                  rooms->unsaid,
                                  mqtt_sessions_stats(rooms->sessions)->expired,
                                  rooms->claimed};
  memcpy(n->mqtt_now.by_door, rooms->by_door, sizeof rooms->by_door);
}

nanotime mqtt_door_deadline(const struct node *n) {
  const struct mqtt_rooms *rooms = n->mqtt;
  if (!rooms) return TIME_NEVER;
  if (!list_empty(&rooms->dirty_clients) || !list_empty(&rooms->dirty_links) || mqtt_must_evict(n)) return n->now;
  return time_min(mqtt_sys_deadline(n), time_min(rooms->sweep_at, mqtt_sessions_deadline(rooms->sessions)));
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
static const char *client_check(const struct mqtt_client *c) {
  size_t bytes = 0;
  list_for(it, &c->waiting) bytes += container_of(it, struct mqtt_waiting, all)->frame->len;
  CHECK(bytes == c->waiting_bytes, "mqtt: the bytes that wait are not as many as counted");
  CHECK(list_has(&c->filters, c->filter_count), "mqtt: the filters are not as many as counted");
  CHECK(!c->link || c->link->client == c, "mqtt: a client's connection is another's");
  CHECK(!c->ms || mqtt_session_user(c->ms) == c, "mqtt: a session is of another client");
  CHECK(!c->s || c->s->door.conn == c, "mqtt: a session of the node is of another client");
  return NULL;
}

double mqtt_door_frames_owned(const struct node *n) {
  double sum = 0;
  if (!n->mqtt) return 0;
  list_for(c, &n->mqtt->clients) list_for(it, &container_of(c, const struct mqtt_client, all)->waiting) sum +=
      shbuf_part(container_of(it, const struct mqtt_waiting, all)->frame, &n->rows.mem[ROW_SEND]);
  return sum;
}

const char *mqtt_door_check(const struct node *n) {
  const struct mqtt_rooms *rooms = n->mqtt;
  if (!rooms) return NULL;
  CHECK(list_has(&rooms->clients, rooms->client_count), "mqtt: the clients are not as many as counted");
  CHECK(list_has(&rooms->offline, rooms->offline_count), "mqtt: those that are offline are not as many as counted");
  CHECK(list_has(&rooms->links, rooms->link_count), "mqtt: the connections are not as many as counted");
  uint32_t by_door = 0;
  for (int i = 0; i < MQTT_KINDS; i++) by_door += rooms->by_door[i];
  CHECK(by_door == rooms->link_count, "mqtt: the connections by door are not as many as all");
  CHECK_PART(mqtt_addresses_check(n));
  list_for(it, &rooms->clients) CHECK_PART(client_check(container_of(it, const struct mqtt_client, all)));
  list_for(it, &rooms->links) CHECK_PART(mqtt_conn_check(container_of(it, const struct mqtt_link, all)->conn));
  CHECK_PART(mqtt_sys_check(n));
  return mqtt_sessions_check(rooms->sessions);
}
