/* The table of sessions, and what ends them. */
#include <stddef.h>

#include "base/check.h"
#include "base/err.h"
#include "mqtt/state.h"

static bool client_eq(const struct hlink *entry, const void *key, size_t len) {
  const struct mqtt_session *s = container_of(entry, struct mqtt_session, h);
  return s->client_len == len && memcmp(s->client, key, len) == 0;
}

int mqtt_sessions_new(const struct mqtt_config *cfg, struct mqtt_sessions **ret_sessions) {
  struct mqtt_sessions *t = mem_calloc(cfg->sessions_mem, 1, sizeof *t);
  if (!t) return MACULA_ENOMEM;
  t->cfg = *cfg;
  htab_init(&t->tab, cfg->sessions_mem, cfg->rng, cfg->max_sessions, client_eq);
  heap_init(&t->due, cfg->sessions_mem, cfg->max_sessions);
  *ret_sessions = t;
  return 0;
}

static void release(struct mqtt_session *s) {
  struct mqtt_sessions *t = s->table;
  htab_remove(&t->tab, &s->h);
  heap_remove(&t->due, &s->due);
  mqtt_queue_clear(s);
  mqtt_window_done(&s->out);
  mqtt_inbound_done(&s->in);
  mqtt_message_unref(s->will);
  mem_free(t->cfg.sessions_mem, s);
}

void mqtt_sessions_free(struct mqtt_sessions *t) {
  if (!t) return;
  for (struct hlink *l; (l = htab_next(&t->tab, NULL)) != NULL;) release(container_of(l, struct mqtt_session, h));
  htab_done(&t->tab);
  heap_done(&t->due);
  mem_free(t->cfg.sessions_mem, t);
}

const struct mqtt_stats *mqtt_sessions_stats(const struct mqtt_sessions *t) { return &t->stats; }
uint32_t mqtt_sessions_count(const struct mqtt_sessions *t) { return t->tab.count; }
nanotime mqtt_sessions_deadline(const struct mqtt_sessions *t) { return heap_deadline(&t->due); }

void mqtt_sessions_set_config(struct mqtt_sessions *t, const struct mqtt_config *cfg) {
  t->cfg = *cfg;
  t->tab.max = t->due.max = cfg->max_sessions > t->tab.count ? cfg->max_sessions : t->tab.count;
}

struct mqtt_session *mqtt_session_find(const struct mqtt_sessions *t, struct slice client) {
  struct hlink *l = htab_find(&t->tab, client.p, client.n);
  return l ? container_of(l, struct mqtt_session, h) : NULL;
}
struct slice mqtt_session_client(const struct mqtt_session *s) {
  return slice_of(s->client, s->client_len);
}
void mqtt_session_set_user(struct mqtt_session *s, void *user) { s->user = user; }
void *mqtt_session_user(const struct mqtt_session *s) { return s->user; }
struct mqtt_conn *mqtt_session_conn(const struct mqtt_session *s) {
  return s->conn;
}

int mqtt_session_new(struct mqtt_sessions *t, struct slice client, const struct id *principal, struct mqtt_session **ret) {
  int err = MACULA_EFULL;
  struct mqtt_session *s = NULL;
  if (t->tab.count >= t->cfg.max_sessions) goto refused;
  err = MACULA_ENOMEM;
  if (!(s = mem_calloc(t->cfg.sessions_mem, 1, offsetof(struct mqtt_session, client) + client.n))) goto refused;
  memcpy(s->client, client.p, client.n);
  s->client_len = (uint16_t)client.n;
  s->table = t;
  s->principal = *principal;
  s->will_due = s->ends = TIME_NEVER;
  mqtt_window_init(&s->out, t->cfg.inflight_mem, t->cfg.max_inflight);
  mqtt_inbound_init(&s->in, t->cfg.inflight_mem, 0);
  list_init(&s->queue);
  if ((err = htab_insert(&t->tab, &s->h, s->client, s->client_len)) != 0) goto refused;
  *ret = s;
  return 0;
refused:
  mem_free(t->cfg.sessions_mem, s);
  t->stats.sessions_refused++;
  return err;
}

static void publish_will(struct mqtt_session *s, nanotime now) {
  struct mqtt_message *m = s->will;
  if (!m) return;
  s->will = NULL; /* [MQTT-3.1.2-10] */
  s->will_due = TIME_NEVER;
  m->expires = s->will_expires ? time_add(now, s->will_expiry * NS_SEC) : TIME_NEVER;
  s->table->stats.wills++;
  s->table->cfg.door->will(s->user, m, s->will_qos, s->will_retain);
  mqtt_message_unref(m);
}

void mqtt_session_finish(struct mqtt_session *s, enum mqtt_reason reason, bool with_will, nanotime now) {
  assert(!s->conn);
  if (with_will) publish_will(s, now);
  s->table->cfg.door->ended(s->user, reason);
  release(s);
}

void mqtt_session_detach(struct mqtt_session *s, bool with_will, nanotime now) {
  s->conn = NULL;
  s->waits = false;
  mqtt_inbound_new_conn(&s->in);
  if (s->ending) return;
  if (!with_will) { /* [MQTT-3.14.4-3] */
    mqtt_message_unref(s->will);
    s->will = NULL;
  }
  if (s->will && !s->will_delay) publish_will(s, now); /* [MQTT-3.1.2-8] */
  s->will_due = s->will ? time_add(now, s->will_delay * NS_SEC) : TIME_NEVER;
  s->ends = s->expiry == UINT32_MAX ? TIME_NEVER : time_add(now, s->expiry * NS_SEC);
  nanotime due = time_min(s->will_due, s->ends);
  if (!s->expiry || (due != TIME_NEVER && heap_set(&s->table->due, &s->due, due) != 0)) /* [MQTT-4.1.0-2] */
    mqtt_session_finish(s, s->expiry ? MQTT_QUOTA : MQTT_SUCCESS, true, now);
}

void mqtt_session_end(struct mqtt_session *s, enum mqtt_reason reason, const char *why, bool with_will, nanotime now) {
  if (!with_will) {
    mqtt_message_unref(s->will);
    s->will = NULL;
  }
  s->ending = true;
  if (s->conn) mqtt_over(s->conn, reason, why, true, true, now);
  mqtt_session_finish(s, reason, with_will, now);
}

void mqtt_sessions_tick(struct mqtt_sessions *t, nanotime now) {
  struct heap_link *l;
  do {
    l = heap_pop_due(&t->due, now);
    if (!l) return;
    struct mqtt_session *s = container_of(l, struct mqtt_session, due);
    if (s->ends <= now) {
      t->stats.sessions_expired++;
      mqtt_session_finish(s, MQTT_SUCCESS, true, now);
    } else {
      publish_will(s, now);
      if (s->ends != TIME_NEVER && heap_set(&t->due, &s->due, s->ends) != 0) mqtt_session_finish(s, MQTT_QUOTA, true, now);
    }
  } while (!is_spent(t->cfg.spent));
}

struct mqtt_session *mqtt_session_next(const struct mqtt_sessions *t, const struct mqtt_session *prev) {
  struct hlink *l = htab_next(&t->tab, prev ? &prev->h : NULL);
  return l ? container_of(l, struct mqtt_session, h) : NULL;
}

struct mqtt_view mqtt_session_view(const struct mqtt_session *s) {
  return (struct mqtt_view){.inflight = s->out.count,
                            .queued = s->queued,
                            .receiving = s->in.count,
                            .queued_bytes = s->queued_bytes,
                            .dropped = s->dropped,
                            .connected = s->conn != NULL,
                            .has_will = s->will != NULL,
                            .lasts = s->expiry > 0,
                            .ends = s->ends};
}

static const char *check_session(const struct mqtt_session *s, size_t *bytes) {
  size_t own = 0;
  CHECK(list_has(&s->queue, s->queued), "a queue's count is not that of its messages");
  list_for(l, &s->queue) own += mqtt_message_size(container_of(l, struct mqtt_queued, all)->delivery.message);
  CHECK(own == s->queued_bytes, "a queue's bytes are not those of its messages");
  *bytes += own;
  CHECK_PART(mqtt_window_check(&s->out));
  CHECK_PART(mqtt_inbound_check(&s->in));
  CHECK(htab_has(&s->table->tab, &s->h, s->client, s->client_len), "a session is not found by its client id");
  if (s->conn) {
    CHECK(s->conn->session == s && s->conn->stage == MQTT_OPEN, "a session's connection is not its own");
    CHECK(s->ends == TIME_NEVER && s->will_due == TIME_NEVER && !s->due.pos, "a session that is connected has an end");
    return mqtt_conn_check(s->conn);
  }
  nanotime due = time_min(s->will_due, s->ends);
  CHECK(!s->waits, "an offline session waits for a window");
  CHECK(s->expiry > 0, "a session is kept that was not to be");
  CHECK((s->will != NULL) == (s->will_due != TIME_NEVER), "an offline session has a will without its time");
  CHECK(due == TIME_NEVER ? !s->due.pos : heap_has(&s->table->due, &s->due) && s->due.at == due,
        "a session's end is not awaited");
  return NULL;
}

const char *mqtt_sessions_check(const struct mqtt_sessions *t) {
  size_t bytes = 0;
  CHECK_PART(htab_check(&t->tab));
  CHECK_PART(heap_check(&t->due));
  for (struct hlink *l = NULL; (l = htab_next(&t->tab, l)) != NULL;)
    CHECK_PART(check_session(container_of(l, struct mqtt_session, h), &bytes));
  CHECK(bytes == t->queued_bytes, "the bytes of all queues are not their sum");
  return NULL;
}
