/* A client: the door of its native session, how it is let in, and how both of its sessions end. */
#include <stdio.h>

#include "base/err.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "node/doors/inert.h"
#include "node/doors/mqtt.h"
#include "node/doors/mqtt_state.h"
#include "node/receive.h"
#include "node/session/session.h"

#define SERIALS (UINT64_C(1) << 62) /* those of QUIC are below */
#define WINDOW STREAM_WINDOW

static const struct id nobody;

static struct mqtt_client *of(const struct door *d) { return d->conn; }
static const struct id *principal_id(const struct mqtt_client *c) { return c->who ? &c->who->principal : &nobody; }

/* ---- the door --------------------------------------------------------------------------------------------------------------
 * What the stream has taken counts as sent; what the kernel has taken, as acknowledged: nobody says more. A message that waits
 * for an offline client is none of the node's any more. */
size_t mqtt_client_unsent(const struct mqtt_client *c) {
  if (c->flood) return 0;
  return c->waiting_bytes + (c->link ? mqtt_link_unsent(c->link) : 0);
}

static size_t queued_of(struct mqtt_client *c) {
  size_t queued = mqtt_client_unsent(c);
  if (c->link && c->link->stream) queued += stream_unsent(c->link->stream);
  if (queued < c->last_queued || (queued && !c->last_queued)) c->progress = c->n->now;
  c->last_queued = queued;
  uint64_t acked = c->written > queued ? c->written - queued : 0;
  if (acked > c->acked) c->acked = acked;
  return queued;
}

static int take(struct mqtt_client *c, struct slice frame, struct shbuf *shared) {
  (void)queued_of(c);
  c->written += frame.n;
  int err = mqtt_take_frame(c, frame, shared);
  (void)queued_of(c);
  return err;
}
static int write_copy(struct door *d, int64_t way, struct slice bytes) { return (void)way, take(of(d), bytes, NULL); }
static int write_ref(struct door *d, int64_t way, struct shbuf *b) { return (void)way, take(of(d), shbuf_view(b), b); }
/* At most DOOR_UNSENT of it at a time, as it is in the midst of a message to many. */
static bool overdue(struct door *d) {
  struct mqtt_client *c = of(d);
  if (!c->s || !c->ms || c->overdue) return false;
  size_t before = c->waiting_bytes + c->s->lanes.bytes;
  c->overdue = c->flood = true;
  mqtt_flush_waiting(c);
  session_drained(c->s);
  c->overdue = c->flood = false;
  return c->s && c->waiting_bytes + c->s->lanes.bytes < before;
}
/* Its session goes on as that of any client whose connection is lost: what is on its way to it waits there, up to the session's
 * bounds. Its connection ends in mqtt_client_step, as this is in the midst of a message to many, and its will is another one.
 */
static bool shed(struct door *d, int err, const char *text) {
  struct mqtt_client *c = of(d);
  if (!c->s || !c->ms || !c->link || c->closed || c->heir || !mqtt_session_view(c->ms).lasts) return false;
  c->shed_err = err;
  c->shed_why = text;
  mqtt_dirty(c);
  while (overdue(d)) continue;
  return true;
}

static uint32_t lost(const struct door *d) { return of(d) ? of(d)->lost : 0; }

static void part(struct mqtt_link *l) {
  mqtt_link_parted(l);
  l->client = NULL;
}

static void end_connection(struct mqtt_client *c) {
  struct mqtt_link *l = c->link;
  char why[MQTT_WHY_KEPT + 1];
  snprintf(why, sizeof why, "%s: %s", macula_err_name(c->shed_err), c->shed_why);
  c->shed_why = NULL;
  if (!l || !c->ms || c->closed) return;
  mqtt_conn_close(l->conn, mqtt_reason_of(c->shed_err), why, c->n->now);
  part(l);
  mqtt_client_offline(c);
}

static size_t queued(const struct door *d, int64_t way) { return (void)way, queued_of(of(d)); }
static size_t unsent(const struct door *d, int64_t way) { return (void)way, mqtt_client_unsent(of(d)); }
static nanotime progress(const struct door *d, int64_t way) {
  (void)way, (void)queued_of(of(d));
  return of(d)->progress;
}
static uint32_t written(const struct door *d) { return (uint32_t)of(d)->written; }
static bool offsets(const struct door *d, int64_t way, struct door_offsets *ret) {
  (void)way, (void)queued_of(of(d));
  *ret = (struct door_offsets){of(d)->written, of(d)->acked, of(d)->acked};
  return true;
}
static void more(struct door *d, bool more) {
  if (more) mqtt_dirty(of(d));
}
static void resume(struct door *d, int64_t way, size_t n) {
  struct mqtt_client *c = of(d);
  (void)way;
  bool was = c->window <= 0;
  c->window += (int64_t)n;
  if (was && c->window > 0) {
    c->resumes = true;
    mqtt_dirty(c);
  }
}
static void close_door(struct door *d, int err, const char *text, nanotime deadline) {
  struct mqtt_client *c = of(d);
  (void)deadline;
  if (!c) return;
  c->closed = true;
  c->err = err;
  mem_free(mqtt_mem(c->n), c->why);
  c->why = text ? mem_dup(mqtt_mem(c->n), text, strnlen(text, MQTT_WHY_KEPT)) : NULL;
  mqtt_dirty(c);
}
static void owner(struct door *d, void *session) { of(d)->s = session; }
static bool is_owner(const struct door *d, const void *session) { return of(d) && of(d)->s == session; }
static const struct addr *remote(const struct door *d) { return &of(d)->remote; }
static const struct stream_key *key_of(const struct mqtt_client *c) { return c->who && c->who->has_key ? &c->who->key : NULL; }
static const struct id *id(const struct door *d) { return key_of(of(d)) ? &key_of(of(d))->id : NULL; }
static uint64_t id_end(const struct door *d) { return key_of(of(d)) ? key_of(of(d))->end : UINT64_MAX; }
static bool login(const struct door *d, struct slice *ret_user, struct slice *ret_password) {
  const struct mqtt_client *c = of(d);
  if (!c || !mqtt_user(c)) return false;
  *ret_user = slice_str(mqtt_user(c));
  *ret_password = c->who->password ? slice_of(c->who->password, c->who->password_len) : SLICE_NONE;
  return true;
}
static size_t held(const struct door *d, size_t *ret_peak) {
  const struct mqtt_client *c = of(d);
  size_t bytes = sizeof *c + c->waiting_bytes;
  if (c->ms) bytes += mqtt_session_view(c->ms).queued_bytes;
  return *ret_peak = bytes;
}
static void admit(struct door *d) {
  if (of(d)->link) mqtt_link_settled(of(d)->link, false);
}
static void brief(struct door *d) {
  if (of(d)) mqtt_arrival_in_vain(of(d)->n, &of(d)->remote);
}
static bool away(const struct door *d) { return of(d) && !of(d)->link; }
static void pays(struct door *d, struct bucket *units) {
  if (of(d)) of(d)->units = units;
}

static void view(const struct door *d, struct door_view *ret) {
  static const char *const doors[2][2] = {{"mqtt", "mqtts"}, {"ws", "wss"}};
  const struct mqtt_client *c = of(d);
  *ret = (struct door_view){.door = "mqtt", .protocol = "5.0"};
  if (!c) return;
  ret->door = doors[c->web][c->secret];
  if (c->level != MQTT_5) ret->protocol = "3.1.1";
  if (!c->ms) return;
  struct mqtt_view v = mqtt_session_view(c->ms);
  ret->inflight = v.inflight;
  ret->queued = v.queued;
  ret->queued_bytes = v.queued_bytes;
  ret->dropped = v.dropped;
}

static const struct door_ops ops = {.view = view,
                                    .anonymous = true,
                                    .messages_only = true,
                                    .resumes = true,
                                    .tells_replays = true,
                                    .write = write_copy,
                                    .write_ref = write_ref,
                                    .overdue = overdue,
                                    .shed = shed,
                                    .lost = lost,
                                    .finish = inert_finish,
                                    .queued = queued,
                                    .unsent = unsent,
                                    .progress = progress,
                                    .written = written,
                                    .offsets = offsets,
                                    .away = away,
                                    .more = more,
                                    .resume = resume,
                                    .credit = resume,
                                    .home = inert_home,
                                    .close = close_door,
                                    .owner = owner,
                                    .is_owner = is_owner,
                                    .remote = remote,
                                    .is_short = inert_is_short,
                                    .id = id,
                                    .id_end = id_end,
                                    .login = login,
                                    .exporter = inert_exporter,
                                    .rtt = inert_rtt,
                                    .held = held,
                                    .admit = admit,
                                    .pays = pays,
                                    .brief = brief,
                                    .shares = inert_shares,
                                    .keep_alive = inert_keep_alive,
                                    .ping = inert_nothing,
                                    .hold = inert_on_off,
                                    .watch = inert_on_off,
                                    .silent = inert_silent,
                                    .unheard = inert_unheard};

/* ---- arrival ---------------------------------------------------------------------------------------------------------------
 */
static void say_connect(struct mqtt_client *c) {
  struct {
    struct id principal;
    char name[NAME_KEPT + 1];
  } key = {.principal = *principal_id(c)};
  uint8_t hash[SHA256_LEN];
  memcpy(key.name, c->name, strlen(c->name));
  sha256_of(slice_of(&key, sizeof key), hash);
  if (!c->name[0]) memcpy(hash, &c->serial, sizeof c->serial); /* the client id is made later */
  struct msg m = {.type = MSG_CONNECT,
                  .connect = {.version = slice_str("1.0"),
                              .node_id = slice_of((key_of(c) ? &key_of(c)->id : &nobody)->b, ID_LEN),
                              .realm_id = slice_str(c->n->realm),
                              .caps = CAP_PUBSUB | CAP_ACK | CAP_NOTICE | CAP_HEADERS | CAP_GROUPS,
                              .instance = slice_of(hash, INSTANCE_LEN),
                              .name = slice_str(c->name)}};
  int err = mqtt_hand_in(c, &m);
  if (err && c->s) session_close(c->s, err, NULL);
}

static void list_offline(struct mqtt_client *c, bool on) {
  struct mqtt_rooms *rooms = c->n->mqtt;
  if (on == !list_empty(&c->offline)) return;
  if (on)
    list_append(&rooms->offline, &c->offline);
  else
    list_remove(&c->offline);
  rooms->offline_count += on ? 1 : UINT32_MAX;
}

static void forget_password(struct mqtt_client *c) {
  struct mqtt_who *who = c->who;
  if (!who) return;
  if (who->password) explicit_bzero(who->password, who->password_len);
  mem_free(mqtt_mem(c->n), who->password);
  who->password = NULL;
}

static void forget_texts(struct mqtt_client *c) {
  forget_password(c);
  mem_free(mqtt_mem(c->n), c->name);
  if (c->who) mem_free(mqtt_mem(c->n), c->who->user);
  mem_free(mqtt_mem(c->n), c->who);
  mem_free(mqtt_mem(c->n), c->why);
}

static void later_done(struct mqtt_client *c, struct mqtt_later *l) {
  list_remove(&l->all);
  mem_free(mqtt_mem(c->n), l->why);
  mem_free(mqtt_mem(c->n), l);
}

/* Sessions are told apart by a hash of a user's name: it is somebody else than the key of the same client, or another user.
 * Where all is open, nobody looks at users. */
static bool keep_login(struct mqtt_client *c, const struct mqtt_packet *p) {
  uint8_t buf[PRINCIPAL_LEN_MAX];
  const struct stream_key *key = c->link->stream->key;
  bool has_user = c->n->trust.access && p->connect.has_user;
  if (!key && !has_user) return true;
  struct mqtt_who *who = c->who = mem_calloc(mqtt_mem(c->n), 1, sizeof *who);
  if (!who) return false;
  if ((who->has_key = key != NULL)) {
    who->key = *key;
    who->principal = key->id;
  }
  if (!has_user) return true;
  char user[ACCESS_MAX_NAME + 1];
  (void)utf8_label(p->connect.user, user, sizeof user - 1);
  if (!(who->user = mem_dup(mqtt_mem(c->n), user, strlen(user)))) return false;
  struct principal_name name = {PRINCIPAL_USER, slice_str(who->user)};
  sha256_of(slice_of(buf, principal_write(&name, buf)), who->principal.b);
  if (!p->connect.has_password) return true;
  who->password_len = p->connect.password.n;
  return (who->password = mem_alloc(mqtt_mem(c->n), who->password_len + 1)) != NULL &&
         memcpy(who->password, p->connect.password.n ? (const char *)p->connect.password.p : "", who->password_len);
}

/* Bytes that its will takes, about; its account counts what it really does. */
static uint32_t will_size(const struct mqtt_packet *p) {
  const struct mqtt_connect *c = &p->connect;
  return c->has_will ? (uint32_t)(c->will_topic.n + c->will_payload.n + c->will.raw.n + 128) : 0;
}

struct mqtt_client *mqtt_client_new(struct mqtt_link *l, const struct mqtt_packet *p) {
  struct node *n = l->n;
  struct mqtt_rooms *rooms = n->mqtt;
  struct mqtt_client *c = mem_calloc(mqtt_mem(n), 1, sizeof *c);
  if (!c) return NULL;
  c->n = n;
  c->serial = SERIALS | ++rooms->last_serial;
  c->link = l;
  c->remote = l->stream->remote;
  c->level = (uint8_t)mqtt_conn_level(l->conn);
  c->web = l->web != NULL;
  c->secret = l->stream->secret;
  char name[NAME_KEPT + 1];
  (void)utf8_label(p->connect.client_id, name, NAME_KEPT);
  c->name = mem_dup(mqtt_mem(n), name, strlen(name));
  if (!c->name || !keep_login(c, p)) {
    forget_texts(c);
    mem_free(mqtt_mem(n), c);
    return NULL;
  }
  c->will_bytes = will_size(p);
  c->window = WINDOW;
  c->progress = n->now;
  list_init(&c->dirty);
  list_init(&c->offline);
  list_init(&c->filters);
  list_init(&c->waiting);
  list_init(&c->later);
  mqtt_sys_client_init(c);
  list_append(&rooms->clients, &c->all);
  rooms->client_count++;
  struct door d = {.ops = &ops, .conn = c, .serial = c->serial};
  inert_home(&d, -1);
  l->client = c;
  if (session_open(n, &d)) say_connect(c);
  return c;
}

void mqtt_client_free(struct mqtt_client *c) {
  struct mem *mem = mqtt_mem(c->n);
  list_for_safe(it, &c->filters) mqtt_filter_drop(c, container_of(it, struct mqtt_filter_entry, all));
  list_for_safe(it, &c->waiting) {
    struct mqtt_waiting *w = container_of(it, struct mqtt_waiting, all);
    list_remove(&w->all);
    shbuf_unref(w->frame);
    mem_free(mem, w);
  }
  list_for_safe(it, &c->later) later_done(c, container_of(it, struct mqtt_later, all));
  mqtt_request_done(c);
  forget_texts(c);
  if (c->link) part(c->link);
  mqtt_client_leaves(c);
  list_offline(c, false);
  list_remove(&c->all);
  list_remove(&c->dirty);
  mqtt_sys_client_done(c);
  c->n->mqtt->client_count--;
  mem_free(mem, c);
}

/* ---- letting in ------------------------------------------------------------------------------------------------------------
 */
static struct mqtt_client *client_of(struct mqtt_session *ms) { return mqtt_session_user(ms); }

static void end_session(struct mqtt_client *c) {
  struct session *s = c->s;
  struct door_end end = {.err = c->err, .by_peer = c->said_goodbye};
  c->s = NULL;
  if (s) session_closed(s, &end);
}

/* Each time at most DOOR_UNSENT of it comes. */
static void take_over_lanes(struct mqtt_client *old) {
  for (size_t before = SIZE_MAX; old->s && old->s->lanes.bytes && old->s->lanes.bytes < before;) {
    before = old->s->lanes.bytes;
    session_drained(old->s);
  }
}

/* What was left of the client that had the MQTT session until now goes on with this one: its filters, what waits for it, and
 * what nobody will answer any more. */
static void adopt(struct mqtt_client *c, struct mqtt_client *old) {
  struct node *n = c->n;
  old->ms = NULL;
  old->heir = c;
  old->flood = true; /* all that waits in its lanes comes, through mqtt_take_frame, to the heir */
  struct list early; /* came for the new one, after all that waits for the old one */
  list_init(&early);
  list_move(&c->waiting, &early);
  list_move(&old->waiting, &c->waiting);
  c->waiting_bytes += old->waiting_bytes;
  old->waiting_bytes = 0;
  list_for_safe(it, &old->filters) {
    list_remove(it);
    list_append(&c->filters, it);
  }
  c->filter_count = old->filter_count;
  old->filter_count = 0;
  take_over_lanes(old);
  list_move(&early, &c->waiting);
  if (old->s && c->s) session_goes_on(old->s, c->s);
  if (old->closed) end_session(old); /* else its subscriptions would count beside those that are made below */
  while (!list_empty(&old->later)) {
    struct mqtt_later *l = container_of(old->later.next, struct mqtt_later, all);
    uint64_t ref = l->ref;
    later_done(old, l);
    if (c->ms)
      mqtt_publish_done(c->ms, ref, (uint8_t)mqtt_reason_of(MACULA_ECLOSED), "the connection ended before it was acknowledged",
                        n->now);
  }
  mqtt_dirty(old);
  mqtt_filters_again(c);
}

static void let_in(struct mqtt_client *c) {
  struct node *n = c->n;
  struct mqtt_link *l = c->link;
  struct mqtt_session *ms = *c->name ? mqtt_session_find(n->mqtt->sessions, slice_str(c->name)) : NULL, *got = NULL;
  struct mqtt_client *old = ms ? client_of(ms) : NULL;
  bool present = false;
  c->welcome = false;
  forget_password(c);
  if (old && !id_eq(principal_id(old), principal_id(c))) old = NULL;
  if (old) mqtt_session_set_user(ms, c); /* its will is published by this one */
  c->accepting = true;
  c->old_over = false;
  const char *full = mqtt_client_pays(c);
  if (full) mqtt_refuse(l->conn, MQTT_QUOTA, full, n->now);
  int err = full ? MACULA_EFULL : mqtt_accept(l->conn, principal_id(c), n->now, &got, &present);
  c->accepting = false;
  if (old && c->old_over) {
    old->ms = NULL;
    mqtt_dirty(old);
  }
  c->ms = !err ? got : old && !c->old_over ? ms : NULL;
  if (c->ms) mqtt_session_set_user(c->ms, c);
  if (!err && !*c->name) {
    struct slice name = mqtt_session_client(got);
    char *copy = mem_dup(mqtt_mem(n), name.p, name.n);
    if (copy) { /* else its lines in the log are without */
      mem_free(mqtt_mem(n), c->name);
      c->name = copy;
    }
  }
  if (old && !c->old_over && c->ms) {
    mqtt_will_adopt(c, old, err && mqtt_session_view(c->ms).has_will);
    adopt(c, old);
  }
  if (!err) {
    c->claim = ++n->mqtt->last_claim;
    c->claim_ms = node_unix_ms(n);
    list_remove(&c->all); /* in the order of their claims */
    list_append(&n->mqtt->clients, &c->all);
  }
  if (!err) mqtt_resume(l->conn, n->now);
  mqtt_link_dirty(l); /* likewise of what came with CONNECT */
  mqtt_dirty(c);
}

/* ---- claims ----------------------------------------------------------------------------------------------------------------
 */
static struct mqtt_client *in_list(struct list *l) { return container_of(l, struct mqtt_client, all); }

uint64_t mqtt_claim_last(const struct node *n) { return n->mqtt ? n->mqtt->last_claim : 0; }

static struct principal_name principal_of(const struct mqtt_client *c) {
  if (mqtt_user(c)) return (struct principal_name){PRINCIPAL_USER, slice_str(mqtt_user(c))};
  if (!c->who) return (struct principal_name){.kind = PRINCIPAL_ANONYMOUS};
  return (struct principal_name){PRINCIPAL_KEY, slice_of(c->who->principal.b, ID_LEN)};
}

/* From the end: mostly only the latest is new. */
void mqtt_claims_after(const struct node *n, uint64_t after, bool (*tell)(void *ctx, const struct mqtt_claim *c), void *ctx) {
  if (mqtt_claim_last(n) <= after) return;
  struct list *all = &n->mqtt->clients, *l = all->prev;
  while (l != all && (!in_list(l)->claim || in_list(l)->claim > after)) l = l->prev;
  for (l = l->next; l != all; l = l->next) {
    const struct mqtt_client *c = in_list(l);
    if (!c->claim || !c->ms) continue;
    if (!tell(ctx, &(struct mqtt_claim){principal_of(c), c->name, c->claim_ms, c->claim})) return;
  }
}

bool mqtt_claimed(struct node *n, const struct principal_name *principal, struct slice client, uint64_t ms) {
  struct mqtt_session *ms_here = n->mqtt ? mqtt_session_find(n->mqtt->sessions, client) : NULL;
  struct mqtt_client *c = ms_here ? client_of(ms_here) : NULL;
  struct principal_name its = c ? principal_of(c) : (struct principal_name){0};
  if (!c || its.kind != principal->kind || !slice_eq(its.name, principal->name)) return true;
  if (c->claim_ms >= ms) return false;
  n->mqtt->claimed++;
  log_info(n->log, "mqtt_session_claimed",
           "name=\"%s\" text=\"its client has connected to another node; what waited for it here is gone\"", c->name);
  mqtt_session_end(ms_here, MQTT_TAKEN_OVER, "the client has a session at another node", true, n->now);
  return true;
}

/* ---- ends ------------------------------------------------------------------------------------------------------------------
 */
void mqtt_client_offline(struct mqtt_client *c) {
  c->link = NULL;
  if (c->ms && !mqtt_session_view(c->ms).has_will) mqtt_will_gone(c); /* it has said goodbye */
  mqtt_request_abandoned(c);
  mqtt_dirty(c);
}

/* The node has ended its session, or refused it. */
static void over(struct mqtt_client *c) {
  struct node *n = c->n;
  char why[MQTT_WHY_KEPT + 65];
  const char *name = c->err ? macula_err_name(c->err) : "";
  enum mqtt_reason reason = !c->err                                           ? MQTT_ADMINISTRATIVE
                            : c->err == MACULA_MAX_CLIENTS_REACHED            ? MQTT_QUOTA
                            : c->err == MACULA_TIMEOUT                        ? MQTT_BUSY
                            : c->ms                                           ? mqtt_reason_of(c->err)
                            : c->err == MACULA_RATE_LIMITED                   ? MQTT_BUSY
                            : c->err == MACULA_NOT_AUTHORIZED && mqtt_user(c) ? MQTT_BAD_USER
                                                                              : mqtt_reason_of(c->err);
  snprintf(why, sizeof why, "%s%s%s", name, *name && c->why ? ": " : "", c->why ? c->why : "");
  if (c->link && c->link->client == c && !c->ms) {
    mqtt_refuse(c->link->conn, reason, why, n->now);
    part(c->link);
    mqtt_link_dirty(c->link);
    c->link = NULL;
  }
  struct mqtt_session *ms = c->ms;
  if (ms) mqtt_session_end(ms, reason, why, true, n->now);
  c->ms = NULL;
  if (c->link) {
    part(c->link);
    mqtt_link_dirty(c->link);
    c->link = NULL;
  }
  end_session(c);
  mqtt_client_free(c);
}

#define EVICTED "its client is offline, and the room was needed: mqtt_offline and max_clients say how much there is"

bool mqtt_must_evict(const struct node *n) {
  const struct node_limits *l = &n->limits;
  uint32_t offline = n->mqtt->offline_count, free = l->max_clients > 64 ? l->max_clients / 64 : 1;
  return offline && (offline > l->mqtt_offline || n->sessions.clients.count + free > l->max_clients);
}

void mqtt_evict(struct node *n) {
  struct mqtt_rooms *rooms = n->mqtt;
  struct mqtt_client *c = container_of(rooms->offline.next, struct mqtt_client, offline);
  struct mqtt_view v = mqtt_session_view(c->ms);
  rooms->evicted++;
  if (bucket_take(&rooms->lines, 2.0, 20.0, n->now))
    log_warn(n->log, "mqtt_session_evicted", "name=\"%s\" user=\"%s\" queued=%u text=\"" EVICTED "\"", c->name,
             mqtt_user(c) ? mqtt_user(c) : "", v.queued);
  list_offline(c, false);
  mqtt_session_end(c->ms, MQTT_QUOTA, EVICTED, true, n->now);
}

/* Its MQTT session is over, or was never made: the native one ends when all is read that it was given. False: it is gone. */
static bool say_goodbye(struct mqtt_client *c) {
  if (c->ms || c->link || c->said_goodbye) return true;
  c->said_goodbye = true;
  if (c->s && c->s->state == SESSION_IN) {
    struct msg m = {.type = MSG_DISCONNECT, .disconnect = {.reason = slice_str("normal")}};
    if (!mqtt_hand_in(c, &m)) return true;
  }
  if (c->s && c->s->state != SESSION_OVER) session_close(c->s, 0, NULL);
  c->closed = true;
  return true;
}

static void tell_later(struct mqtt_client *c) {
  list_for_safe(it, &c->later) {
    struct mqtt_later *l = container_of(it, struct mqtt_later, all);
    if (!l->answered) continue;
    list_remove(&l->all);
    if (c->ms)
      mqtt_publish_done(c->ms, l->ref, (uint8_t)mqtt_reason_of(l->err), l->why || !l->err ? l->why : macula_err_text(l->err),
                        c->n->now);
    later_done(c, l);
    if (c->link) mqtt_link_dirty(c->link); /* what is behind it goes on, and more may be read */
  }
}

/* A native frame is larger than what it becomes, so that the stream may take all that the node hands over at once: then it has
 * nothing to say later, and who has more comes again at once. */
static void drain(struct mqtt_client *c) {
  if (!c->s || c->heir || !c->s->lanes.bytes || mqtt_client_unsent(c) >= DOOR_UNSENT) return;
  session_drained(c->s);
  if (c->s && c->s->lanes.bytes && !mqtt_client_unsent(c)) mqtt_dirty(c);
}

void mqtt_client_step(struct mqtt_client *c) {
  if (c->link && (c->link->closing || !c->link->stream)) {
    struct mqtt_link *l = c->link;
    part(l);
    mqtt_link_dirty(l);
    mqtt_client_offline(c);
  }
  if (c->shed_why) end_connection(c);
  tell_later(c);
  if (c->welcome && c->link && !c->ms && !c->closed) let_in(c);
  (void)say_goodbye(c);
  mqtt_flush_waiting(c);
  drain(c);
  if (c->closed && c->err == MACULA_REPLACED && !c->put_off) { /* whoever replaces it may go on with its MQTT session */
    c->put_off = true;
    mqtt_dirty(c);
    return;
  }
  if (c->closed) {
    over(c);
    return;
  }
  list_offline(c, c->ms && !c->link);
  if (c->resumes && c->link) {
    c->resumes = false;
    mqtt_resume(c->link->conn, c->n->now);
    mqtt_link_dirty(c->link);
  }
}
