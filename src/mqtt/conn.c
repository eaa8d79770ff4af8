/* A connection's life: bytes in, CONNECT, clock, end. What a client says once it is let in is in receive.c. */
#include <stdio.h>

#include "base/check.h"
#include "base/err.h"
#include "mqtt/state.h"

int mqtt_conn_new(struct mqtt_sessions *t, void *user, nanotime now, struct mqtt_conn **ret_conn) {
  struct mqtt_conn *c = mem_calloc(t->cfg.conns_mem, 1, sizeof *c);
  if (!c) return MACULA_ENOMEM;
  c->table = t;
  c->user = user;
  c->since = now;
  c->stood = c->stalled = TIME_NEVER;
  c->max_packet = UINT32_MAX;
  *ret_conn = c;
  return 0;
}

void mqtt_conn_free(struct mqtt_conn *c, nanotime now) {
  if (!c) return;
  assert(!c->running);
  mqtt_conn_lost(c, now);
  mem_free(c->table->cfg.input_mem, c->in);
  mem_free(c->table->cfg.input_mem, c->codes);
  mqtt_aliases_in_done(&c->aliases_in);
  mqtt_aliases_out_done(&c->aliases_out);
  mem_free(c->table->cfg.conns_mem, c);
}

struct mqtt_session *mqtt_conn_session(const struct mqtt_conn *c) {
  return c->session;
}
enum mqtt_level mqtt_conn_level(const struct mqtt_conn *c) { return (enum mqtt_level)c->level; }
bool mqtt_conn_is_held(const struct mqtt_conn *c) { return c->held_size != 0; }
uint32_t mqtt_conn_pings(const struct mqtt_conn *c) { return c->pings; }
size_t mqtt_conn_held(const struct mqtt_conn *c) { return c->in_cap; }

/* The keep-alive clock stands while we do not read. */
static void set_clock(struct mqtt_conn *c, nanotime now) {
  bool stands = c->paused || c->held_size;
  if (stands && c->stood == TIME_NEVER) c->stood = now;
  if (stands || c->stood == TIME_NEVER) return;
  c->since = time_min(now, time_add(c->since, time_since(now, c->stood)));
  c->stood = TIME_NEVER;
}

static void detach(struct mqtt_conn *c, bool with_will, nanotime now) {
  struct mqtt_session *s = c->session;
  c->stage = MQTT_OVER;
  c->session = NULL;
  c->held_size = 0;
  c->stalled = TIME_NEVER;
  if (s) mqtt_session_detach(s, with_will, now);
}

void mqtt_over(struct mqtt_conn *c, enum mqtt_reason reason, const char *why, bool tells, bool with_will, nanotime now) {
  if (c->stage == MQTT_OVER) return;
  if (tells && c->stage == MQTT_OPEN && c->level == MQTT_5) { /* [MQTT-3.14.0-1] */
    struct mqtt_packet p = {.type = MQTT_DISCONNECT};
    p.reason = mqtt_reason_fits((uint8_t)reason, MQTT_DISCONNECT, false) ? (uint8_t)reason : MQTT_IMPLEMENTATION;
    if (why) {
      p.props.has = MQTT_HAS(REASON_STRING);
      p.props.reason_string = slice_str(why);
    }
    mqtt_send(c, &p);
  }
  detach(c, with_will, now);
  c->table->cfg.door->close(c->user, reason, why ? why : mqtt_reason_text((uint8_t)reason));
}

void mqtt_conn_lost(struct mqtt_conn *c, nanotime now) {
  if (c->stage != MQTT_OVER) detach(c, true, now);
}

void mqtt_conn_close(struct mqtt_conn *c, enum mqtt_reason reason, const char *why, nanotime now) {
  if (c->stage == MQTT_JUDGED)
    mqtt_refuse(c, reason, why, now);
  else
    mqtt_over(c, reason, why, true, true, now);
}

/* ---- CONNECT ---- */

void mqtt_refuse(struct mqtt_conn *c, enum mqtt_reason reason, const char *why, nanotime now) {
  if (c->stage == MQTT_OVER || c->stage == MQTT_OPEN) return;
  struct mqtt_packet p = {.type = MQTT_CONNACK, .reason = MQTT_REASON_IS_ERROR(reason) ? (uint8_t)reason : MQTT_UNSPECIFIED};
  if (!mqtt_reason_fits(p.reason, MQTT_CONNACK, false)) p.reason = MQTT_IMPLEMENTATION;
  if (c->level) c->level = (c->level & 0x7f) < MQTT_5 ? MQTT_3_1_1 : MQTT_5; /* the highest bit is a bridge's of mosquitto */
  if (c->level == MQTT_5) {
    if (why) {
      p.props.has = MQTT_HAS(REASON_STRING);
      p.props.reason_string = slice_str(why);
    }
  } else {
    p.reason = mqtt_reason_3_1_1(p.reason);
  }
  /* 3.1.1 has no word for a CONNECT that is malformed: [MQTT-3.1.4-1] */
  bool silent = !c->level || (c->level < MQTT_5 && (reason == MQTT_MALFORMED || reason == MQTT_PROTOCOL_ERROR));
  if (!silent) mqtt_send(c, &p);
  mqtt_over(c, reason, why, false, false, now); /* [MQTT-3.2.2-7] */
}

/* What a CONNECT says of the connection; a text if it is refused for that. */
static const char *connect_fault(struct mqtt_conn *c, const struct mqtt_packet *p, enum mqtt_reason *ret_reason) {
  const struct mqtt_props *props = &p->props;
  c->problem_info = !(props->has & MQTT_HAS(REQUEST_PROBLEM)) || props->request_problem;
  if (props->has & MQTT_HAS(MAXIMUM_PACKET_SIZE)) c->max_packet = props->maximum_packet_size;
  *ret_reason = MQTT_BAD_AUTH_METHOD;
  if (props->has & MQTT_HAS(AUTH_METHOD)) return "no Authentication Method is supported"; /* [MQTT-4.12.0-1] */
  *ret_reason = MQTT_BAD_CLIENT_ID;
  if (p->connect.level == MQTT_3_1_1 && !p->connect.client_id.n && !p->connect.clean_start) /* 3.1.1, [MQTT-3.1.3-8] */
    return "an empty client id needs a clean session";
  return NULL;
}

static uint32_t expiry_of(const struct mqtt_config *cfg, const struct mqtt_packet *p) {
  uint32_t asked = p->props.has & MQTT_HAS(SESSION_EXPIRY) ? p->props.session_expiry : 0;
  if (p->connect.level == MQTT_3_1_1) asked = p->connect.clean_start ? 0 : UINT32_MAX;
  return asked < cfg->max_expiry ? asked : cfg->max_expiry;
}

/* The will, unless its topic cannot be a name here or memory is refused. */
static int will_of(const struct mqtt_conn *c, const struct mqtt_packet *p, struct mqtt_message **ret_will, const char **ret_why,
                   nanotime now) {
  char name[NAME_MAX_LEN + 1];
  size_t len;
  *ret_will = NULL;
  if (!p->connect.has_will) return 0;
  if (name_from_mqtt_topic(p->connect.will_topic, name, &len, ret_why)) return MACULA_INVALID_TOPIC;
  *ret_why = "there is no memory for the will";
  *ret_will =
      mqtt_message_new(c->table->cfg.sessions_mem, p->connect.will_topic, p->connect.will_payload, &p->connect.will, now);
  return *ret_will ? 0 : MACULA_ENOMEM;
}

static void set_will(struct mqtt_session *s, const struct mqtt_packet *p, struct mqtt_message *will) {
  const struct mqtt_props *props = &p->connect.will;
  mqtt_message_unref(s->will); /* of an earlier connection: [MQTT-3.1.3-9] */
  s->will = will;
  s->will_qos = p->connect.will_qos;
  s->will_retain = p->connect.will_retain;
  s->will_delay = props->has & MQTT_HAS(WILL_DELAY) ? props->will_delay : 0;
  s->will_expires = props->has & MQTT_HAS(MESSAGE_EXPIRY);
  s->will_expiry = props->message_expiry;
}

static uint16_t keep_alive_of(const struct mqtt_config *cfg, const struct mqtt_packet *p, bool *ret_told) {
  uint16_t asked = p->connect.keep_alive, most = cfg->max_keep_alive;
  *ret_told = p->connect.level == MQTT_5 && most && (!asked || asked > most); /* [MQTT-3.2.2-21] */
  return *ret_told ? most : asked;
}

/* The session of this client, new or its own of before; a connection that has it ends. */
static int find_session(struct mqtt_conn *c, const struct mqtt_packet *p, struct slice client, const struct id *principal,
                        nanotime now, struct mqtt_session **ret, bool *ret_present) {
  struct mqtt_sessions *t = c->table;
  struct mqtt_session *s = mqtt_session_find(t, client);
  if (s && !id_eq(&s->principal, principal)) return MACULA_NOT_AUTHORIZED;
  if (s && s->conn) { /* [MQTT-3.1.4-3] */
    t->stats.taken_over++;
    mqtt_over(s->conn, MQTT_TAKEN_OVER, "another connection has this client id", true, true, now);
    s = mqtt_session_find(t, client);
  }
  if (s && p->connect.clean_start) { /* [MQTT-3.1.2-4] */
    mqtt_session_finish(s, MQTT_SUCCESS, true, now);
    s = NULL;
  }
  *ret_present = s != NULL;
  if (!s) return mqtt_session_new(t, client, principal, ret);
  t->stats.resumed++;
  heap_remove(&t->due, &s->due);
  s->ends = s->will_due = TIME_NEVER;
  *ret = s;
  return 0;
}

static void open(struct mqtt_conn *c, struct mqtt_session *s, const struct mqtt_packet *p, nanotime now) {
  const struct mqtt_config *cfg = &c->table->cfg;
  const struct mqtt_props *props = &p->props;
  bool v5 = c->level == MQTT_5;
  uint16_t most = v5 && props->has & MQTT_HAS(RECEIVE_MAXIMUM) ? props->receive_maximum : UINT16_MAX;
  uint16_t names = v5 && props->has & MQTT_HAS(TOPIC_ALIAS_MAXIMUM) ? props->topic_alias_maximum : 0;
  s->conn = c;
  c->session = s;
  c->stage = MQTT_OPEN;
  c->since = now;
  c->no_expiry = !(props->has & MQTT_HAS(SESSION_EXPIRY)) || !props->session_expiry;
  c->receive_maximum = cfg->receive_maximum;
  c->first_serial = s->in.last_serial;
  /* Identifiers of an earlier connection that wait for PUBREL do not count against it: 4.9. */
  uint32_t room = 2u * cfg->receive_maximum;
  if (s->in.max < room) s->in.max = (uint16_t)(room < UINT16_MAX ? room : UINT16_MAX);
  if (s->out.max < cfg->max_inflight) s->out.max = cfg->max_inflight;
  c->quota = most < cfg->max_inflight ? most : cfg->max_inflight;
  mqtt_aliases_in_init(&c->aliases_in, cfg->conns_mem, v5 ? cfg->max_aliases_in : 0); /* [MQTT-3.3.2-7] */
  mqtt_aliases_out_init(&c->aliases_out, cfg->conns_mem, names < cfg->max_aliases_out ? names : cfg->max_aliases_out);
}

/* What we are narrower in than the standard is said: 3.2.2.3. */
static void send_connack(struct mqtt_conn *c, const struct mqtt_packet *connect, bool present, struct slice assigned,
                         bool keep_told) {
  const struct mqtt_config *cfg = &c->table->cfg;
  struct mqtt_packet p = {.type = MQTT_CONNACK, .session_present = present};
  uint32_t asked = connect->props.has & MQTT_HAS(SESSION_EXPIRY) ? connect->props.session_expiry : 0;
  if (cfg->receive_maximum < UINT16_MAX) p.props.has |= MQTT_HAS(RECEIVE_MAXIMUM);
  if (cfg->max_packet < MQTT_REMAINING_MAX) p.props.has |= MQTT_HAS(MAXIMUM_PACKET_SIZE);
  if (cfg->max_aliases_in) p.props.has |= MQTT_HAS(TOPIC_ALIAS_MAXIMUM);
  if (c->session->expiry != asked) p.props.has |= MQTT_HAS(SESSION_EXPIRY);
  if (assigned.n) p.props.has |= MQTT_HAS(ASSIGNED_CLIENT_ID);
  if (keep_told) p.props.has |= MQTT_HAS(SERVER_KEEP_ALIVE);
  if (!cfg->shared) p.props.has |= MQTT_HAS(SHARED_AVAILABLE); /* 0 */
  p.props.receive_maximum = cfg->receive_maximum;
  p.props.maximum_packet_size = cfg->max_packet;
  p.props.topic_alias_maximum = cfg->max_aliases_in;
  p.props.session_expiry = c->session->expiry;
  p.props.assigned_client_id = assigned;
  p.props.server_keep_alive = c->keep_alive;
  mqtt_send(c, &p);
}

static size_t assign_client_id(struct mqtt_sessions *t, char ret_client[32]) {
  do snprintf(ret_client, 32, "auto-%016llx", (unsigned long long)rng_u64(t->cfg.rng));
  while (mqtt_session_find(t, slice_str(ret_client))); /* [MQTT-3.2.2-16] */
  return strlen(ret_client);
}

static int refuse_as(struct mqtt_conn *c, int err, const char *why, nanotime now) {
  if (err == MACULA_NOT_AUTHORIZED)
    mqtt_refuse(c, MQTT_BAD_CLIENT_ID, "this client id belongs to another principal", now);
  else if (err == MACULA_INVALID_TOPIC)
    mqtt_refuse(c, MQTT_BAD_TOPIC, why, now);
  else
    mqtt_refuse(c, MQTT_QUOTA, err == MACULA_EFULL ? "the limit of sessions is reached" : "there is no memory for a session",
                now);
  return err;
}

int mqtt_accept(struct mqtt_conn *c, const struct id *principal, nanotime now, struct mqtt_session **ret_session,
                bool *ret_present) {
  struct mqtt_packet p;
  struct mqtt_fault fault;
  struct mqtt_message *will;
  const char *why = NULL;
  char assigned[32] = "";
  bool present, keep_told;
  assert(c->stage == MQTT_JUDGED);
  int err = mqtt_decode(c->current, MQTT_5, MQTT_FROM_CLIENT, &p, &fault);
  assert(!err); /* it was decoded before */
  if ((err = will_of(c, &p, &will, &why, now)) != 0) return refuse_as(c, err, why, now);
  struct slice client = p.connect.client_id;
  if (!client.n) client = slice_of(assigned, assign_client_id(c->table, assigned)); /* [MQTT-3.1.3-6] */
  struct mqtt_session *s;
  if ((err = find_session(c, &p, client, principal, now, &s, &present)) != 0) {
    mqtt_message_unref(will);
    return refuse_as(c, err, why, now);
  }
  set_will(s, &p, will);
  s->expiry = expiry_of(&c->table->cfg, &p);
  open(c, s, &p, now);
  c->keep_alive = keep_alive_of(&c->table->cfg, &p, &keep_told);
  send_connack(c, &p, present, slice_str(assigned), keep_told);
  mqtt_start_sending(c);
  *ret_session = s;
  *ret_present = present;
  c->accepted = !c->running;
  mqtt_drain(s, now);
  return 0;
}

/* ---- bytes ---- */

/* A CONNECT: it is judged by the door. False: held. */
static bool connect(struct mqtt_conn *c, const struct mqtt_packet *p, nanotime now) {
  enum mqtt_reason reason;
  const char *why = connect_fault(c, p, &reason);
  c->stage = MQTT_JUDGED;
  if (why) {
    mqtt_refuse(c, reason, why, now);
    return true;
  }
  c->table->cfg.door->connect(c->user, p);
  return c->stage != MQTT_JUDGED;
}

static const char *looks_like(struct slice in, const char *otherwise) {
  static const char *const methods[] = {"GET ", "POST", "HEAD", "PUT ", "OPTI", "CONN"};
  if (in.n >= 2 && in.p[0] == 0x16 && in.p[1] == 3) return "this looks like TLS, and the port is for MQTT without it";
  for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
    if (in.n >= 4 && !memcmp(in.p, methods[i], 4)) return "this looks like HTTP, and the port is for MQTT";
  return otherwise;
}

static void broken(struct mqtt_conn *c, const struct mqtt_fault *fault, nanotime now) {
  char text[MQTT_FAULT_LEN];
  mqtt_fault_text(fault, text);
  if (c->stage == MQTT_OPEN) { /* [MQTT-4.13.1-1] */
    MQTT_END(c, fault->reason, text, now);
    return;
  }
  mqtt_refuse(c, fault->reason, looks_like(c->current, text), now);
}

/* Whether it is refused, as the first packet is another: [MQTT-3.1.0-1]. */
static bool not_connect(struct mqtt_conn *c, struct slice packet, nanotime now) {
  if (c->stage != MQTT_CONNECTING || packet.p[0] == MQTT_CONNECT << 4) return false;
  mqtt_refuse(c, MQTT_PROTOCOL_ERROR, looks_like(packet, "the first packet is not CONNECT"), now);
  return true;
}

/* One whole packet. False: it is held. */
static bool handle(struct mqtt_conn *c, struct slice packet, nanotime now) {
  struct mqtt_packet p;
  struct mqtt_fault fault;
  c->current = packet;
  c->table->stats.packets_in++;
  if (not_connect(c, packet, now)) return true;
  enum mqtt_level level = c->level ? (enum mqtt_level)c->level : MQTT_5;
  int err = mqtt_decode(packet, level, MQTT_FROM_CLIENT, &p, &fault);
  if (c->stage == MQTT_CONNECTING) c->level = (uint8_t)p.connect.level;
  if (err) {
    broken(c, &fault, now);
    return true;
  }
  return p.type == MQTT_CONNECT && c->stage == MQTT_CONNECTING ? connect(c, &p, now) : mqtt_receive(c, &p, now);
}

/* Bytes of a packet that was handled before its turn: its type is 0, its length stands. */
static size_t done_before(const uint8_t *p) {
  size_t n = 0, header = 1;
  for (unsigned shift = 0;; shift += 7) {
    n |= (size_t)(p[header] & 0x7f) << shift;
    if (!(p[header++] & 0x80)) return header + n;
  }
}

static uint32_t most_of(const struct mqtt_conn *c) {
  return c->stage == MQTT_CONNECTING ? c->table->cfg.max_connect : c->table->cfg.max_packet;
}

/* Handles packets until one is held or is not there as a whole. Returns the bytes that are done. scanned: see there. */
static size_t run(struct mqtt_conn *c, struct slice in, size_t scanned, nanotime now) {
  size_t at = 0, size;
  struct mqtt_fault fault;
  c->running = true;
  while (c->stage != MQTT_OVER && at < in.n) {
    if (at < scanned && !in.p[at]) {
      at += done_before(in.p + at);
      continue;
    }
    c->current = slice_of(in.p + at, in.n - at);
    int whole = mqtt_frame(c->current, most_of(c), &size, &fault);
    if (whole < 0) {
      broken(c, &fault, now);
      break;
    }
    if (!whole) { /* four bytes tell what it is instead */
      if (c->current.n >= 4) (void)not_connect(c, c->current, now);
      break;
    }
    c->since = now;
    c->full = false;
    if (!handle(c, slice_of(in.p + at, size), now)) {
      if (c->stage != MQTT_OVER) c->held_size = (uint32_t)size;
      break;
    }
    c->stalled = TIME_NEVER;
    at += size;
    if ((c->yielded = at < in.n && is_spent(c->table->cfg.spent))) break;
  }
  c->running = false;
  return at;
}

static bool keep(struct mqtt_conn *c, struct slice in) {
  struct mem *mem = c->table->cfg.input_mem;
  if (!in.n) return true;
  size_t need = c->in_len + in.n;
  if (need > UINT32_MAX / 2) return false;
  if (need > c->in_cap) {
    size_t cap = c->in_cap ? c->in_cap : 64;
    while (cap < need) cap *= 2;
    uint8_t *p = mem_realloc(mem, c->in, cap);
    if (!p) return false;
    c->in = p;
    c->in_cap = (uint32_t)cap;
  }
  memcpy(c->in + c->in_len, in.p, in.n);
  c->in_len += (uint32_t)in.n;
  return true;
}

/* Takes what is done out of the buffer, and the buffer back when it is empty. */
static void shift(struct mqtt_conn *c) {
  c->scanned -= c->scanned < c->at ? c->scanned : c->at;
  c->in_len -= c->at;
  if (c->in_len && c->at) memmove(c->in, c->in + c->at, c->in_len);
  c->at = 0;
  if (c->in_len) return;
  mem_free(c->table->cfg.input_mem, c->in);
  c->in = NULL;
  c->in_cap = 0;
}

static bool goes_before(uint8_t first) {
  return ((1u << MQTT_PUBACK | 1u << MQTT_PUBREC | 1u << MQTT_PUBREL | 1u << MQTT_PUBCOMP | 1u << MQTT_PINGREQ) >>
          (first >> 4)) &
         1;
}

/* Handles acknowledgements and pings behind the packet that is held, once each. What is wrong there is found in its turn. */
static void scan(struct mqtt_conn *c, nanotime now) {
  struct mqtt_packet p;
  struct mqtt_fault fault;
  size_t size;
  uint32_t at = c->scanned > c->at + c->held_size ? c->scanned : c->at + c->held_size;
  c->running = true;
  while (c->stage == MQTT_OPEN && at < c->in_len) {
    struct slice rest = slice_of(c->in + at, c->in_len - at);
    if (mqtt_frame(rest, most_of(c), &size, &fault) != 1) break;
    if (goes_before(rest.p[0])) {
      if (mqtt_decode(slice_of(rest.p, size), (enum mqtt_level)c->level, MQTT_FROM_CLIENT, &p, &fault)) break;
      (void)mqtt_receive(c, &p, now);
      c->in[at] = 0;
    }
    at += (uint32_t)size;
    c->scanned = at;
    if (at < c->in_len && is_spent(c->table->cfg.spent)) {
      c->yielded = true;
      break;
    }
  }
  c->running = false;
}

static void ended(struct mqtt_conn *c, nanotime now) {
  if (c->eof && !c->held_size && !c->yielded)
    mqtt_over(c, MQTT_UNSPECIFIED, "the connection ended without DISCONNECT", false, true, now);
}

/* Works on the buffer, from a packet that is not held any more. */
static void work(struct mqtt_conn *c, nanotime now) {
  c->held_size = 0;
  if (!c->in) return;
  size_t done = run(c, slice_of(c->in + c->at, c->in_len - c->at), c->scanned > c->at ? c->scanned - c->at : 0, now);
  c->at += (uint32_t)done;
  shift(c);
  if (c->held_size) {
    c->current = slice_of(c->in, c->held_size);
    scan(c, now);
  }
}

/* Room has come for a client's message that waited for it. */
static bool may_retry(const struct mqtt_conn *c) { return c->full && c->held_size && c->session && mqtt_may_take(c); }

/* It waits for PUBREL, for all that it may send, and as much is there behind that as is read. */
static bool is_stuck(const struct mqtt_conn *c) {
  return c->full && c->held_size && c->session && !c->session->in.taken && !mqtt_may_take(c) && !c->yielded &&
         c->in_len - c->at - c->held_size >= MQTT_BEHIND;
}

static void settle(struct mqtt_conn *c, nanotime now) {
  while (may_retry(c) && !c->yielded) work(c, now);
  if (is_stuck(c)) MQTT_END(c, MQTT_RECEIVE_MAXIMUM_EXCEEDED, "more messages than Receive Maximum are not completed", now);
  ended(c, now);
  set_clock(c, now);
}

void mqtt_conn_recv(struct mqtt_conn *c, struct slice in, nanotime now) {
  if (c->stage == MQTT_OVER || !in.n) return;
  assert(!c->running);
  bool waits = c->in_len != 0;
  if (!waits) {
    size_t done = run(c, in, 0, now);
    in = slice_of(in.p + done, in.n - done);
    if (c->stage == MQTT_OVER) return;
  }
  if (!keep(c, in)) {
    c->current = SLICE_NONE;
    if (c->stage == MQTT_OPEN)
      MQTT_END(c, MQTT_QUOTA, "there is no memory for what is sent", now);
    else
      mqtt_refuse(c, MQTT_QUOTA, "there is no memory for what is sent", now);
    return;
  }
  if (c->held_size) {
    c->current = slice_of(c->in + c->at, c->held_size);
    scan(c, now);
  } else if (waits) {
    work(c, now);
  }
  settle(c, now);
}

void mqtt_resume(struct mqtt_conn *c, nanotime now) {
  if (!c->held_size || c->stage != MQTT_OPEN || c->running) return;
  if (c->accepted) c->at += c->held_size; /* the CONNECT */
  c->accepted = false;
  work(c, now);
  settle(c, now);
}

size_t mqtt_wants(const struct mqtt_conn *c) {
  if (c->stage == MQTT_OVER || c->paused || c->eof) return 0;
  if (!c->held_size && !c->yielded) return SIZE_MAX;
  size_t behind = c->in_len - c->at - c->held_size;
  return behind < MQTT_BEHIND ? MQTT_BEHIND - behind : 0;
}

void mqtt_conn_room(struct mqtt_conn *c, nanotime now) {
  if (c->session) mqtt_drain(c->session, now);
}

void mqtt_conn_eof(struct mqtt_conn *c, nanotime now) {
  c->eof = true;
  ended(c, now);
}

void mqtt_conn_pause(struct mqtt_conn *c, bool paused, nanotime now) {
  c->paused = paused;
  set_clock(c, now);
}

nanotime mqtt_conn_deadline(const struct mqtt_conn *c) {
  const struct mqtt_config *cfg = &c->table->cfg;
  if (c->yielded && c->stage != MQTT_OVER) return 0; /* at once */
  if (c->stage == MQTT_CONNECTING) return time_add(c->since, cfg->connect_timeout);
  if (c->stage != MQTT_OPEN) return TIME_NEVER;
  if (c->stalled != TIME_NEVER) return time_add(c->stalled, cfg->stall_timeout);
  if (!c->keep_alive || c->stood != TIME_NEVER) return TIME_NEVER;
  return time_add(c->since, c->keep_alive * NS_SEC * 3 / 2); /* [MQTT-3.1.2-22] */
}

void mqtt_conn_tick(struct mqtt_conn *c, nanotime now) {
  if (c->yielded && c->stage != MQTT_OVER) {
    c->yielded = false;
    if (c->held_size)
      mqtt_resume(c, now);
    else
      work(c, now);
    settle(c, now);
    return;
  }
  if (mqtt_conn_deadline(c) > now) return;
  if (c->stage == MQTT_CONNECTING)
    mqtt_over(c, MQTT_PROTOCOL_ERROR, "no CONNECT came in time", false, false, now);
  else if (c->stalled != TIME_NEVER)
    MQTT_END(c, MQTT_RECEIVE_MAXIMUM_EXCEEDED, "PUBREL is missing for too many messages", now);
  else
    MQTT_END(c, MQTT_KEEP_ALIVE_TIMEOUT, "nothing was heard for one and a half times the keep alive", now);
}

const char *mqtt_conn_check(const struct mqtt_conn *c) {
  CHECK(c->at <= c->in_len && c->in_len <= c->in_cap, "a connection's buffer is shorter than what is in it");
  CHECK(c->scanned <= c->in_len, "a connection has looked behind its bytes");
  CHECK(!c->held_size || c->at + c->held_size <= c->in_len, "the packet that is held is not there");
  CHECK((c->session != NULL) == (c->stage == MQTT_OPEN), "a connection has a session at the wrong time");
  CHECK(c->held_size == 0 || c->stage == MQTT_JUDGED || c->stage == MQTT_OPEN, "a connection that is over holds a packet");
  if (!c->session) return NULL;
  unsigned ours = 0, counted = 0;
  const struct mqtt_session *s = c->session;
  for (unsigned i = 0; i < s->in.count; i++) ours += s->in.v[i].serial > c->first_serial;
  CHECK(ours == c->receiving && c->receiving <= c->receive_maximum, "the count of a client's messages is wrong");
  for (uint16_t id = s->out.first; id; id = s->out.slots[id - 1].next) counted += s->out.slots[id - 1].counts;
  CHECK(counted + c->quota <= s->out.max, "a client is sent more than it allows");
  CHECK(!c->resend || mqtt_window_find(&s->out, c->resend), "what is to be sent again is not there");
  return NULL;
}
