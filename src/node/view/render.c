/* What people and scripts see of a node, as JSON: one renderer for HTTP and for com.macula.node.*. */
#include <jansson.h>
#include <stdlib.h>

#include "base/err.h"
#include "macula/macula.h"
#include "node/session/session.h"
#include "node/view/history.h"
#include "node/view/lost.h"
#include "node/view/recent.h"
#include "node/view/trace.h"
#include "wire/group.h"
#include "wire/names.h"

typedef json_int_t ji;

static json_t *hex(const uint8_t *p, size_t n) {
  char text[2 * ID_LEN + 1];
  hex_encode(p, n, text);
  return json_string(text);
}

static json_t *label(const char *name) { return json_string(name ? name : ""); }

static json_t *address(const struct addr *a) {
  char text[ADDR_TEXT_LEN];
  addr_text(a, text);
  return json_string(text);
}

static json_t *used(uint64_t count, uint64_t limit) { return json_pack("{s:I, s:I}", "count", (ji)count, "limit", (ji)limit); }

/* ---- status and memory -----------------------------------------------------------------------------------------------------
 */
static json_t *memory(struct node *n) {
  struct row_now r[ROWS_SHOWN];
  struct plan plan;
  json_t *rows = json_array();
  rows_now(n, r);
  node_plan(&n->limits, &plan);
  for (int i = 0; i < ROWS_SHOWN; i++) {
    struct plan_row p = i < ROW_COUNT ? plan_row_of(&n->limits, (enum row)i)
                                      : (struct plan_row){.what = "what the process has beside the rows", .keys = ""};
    json_array_append_new(rows,
                          json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", r[i].name, "what",
                                    p.what, "keys", p.keys, "entries", (ji)r[i].entries, "limit", (ji)r[i].limit, "bytes",
                                    (ji)r[i].bytes, "limit_bytes", (ji)r[i].limit_bytes, "entry_bytes",
                                    (ji)(r[i].entries ? r[i].bytes / r[i].entries : 0), "peak_bytes", (ji)r[i].peak, "refused",
                                    (ji)r[i].refused, "evicted", (ji)r[i].evicted, "expired", (ji)r[i].expired));
  }
  return json_pack("{s:I, s:I, s:I, s:I, s:o}", "rss_bytes", (ji)(rows_rss(n)), "accounted_bytes", (ji)rows_accounted(n),
                   "plan_bytes", (ji)plan.total, "memory_max_bytes", (ji)n->limits.memory_max, "rows", rows);
}

/* Null where the process does not measure them. */
static json_t *turns(const struct node *n) {
  const struct node_process *p = &n->rows.process;
  static const uint64_t bounds[TURN_BOUNDS] = TURN_BOUNDS_NS;
  const struct turns *t = p->turns ? p->turns(p->ctx) : NULL;
  uint64_t all = 0, late = 0;
  if (!t) return json_null();
  json_t *counts = json_array(), *bounds_us = json_array();
  for (int i = 0; i <= TURN_BOUNDS; i++) {
    all += t->count[i];
    if (i == TURN_BOUNDS || bounds[i] > 5 * NS_MS) late += t->count[i];
    json_array_append_new(counts, json_integer((ji)t->count[i]));
    if (i < TURN_BOUNDS) json_array_append_new(bounds_us, json_real((double)bounds[i] / NS_US));
  }
  return json_pack("{s:I, s:I, s:I, s:I, s:s, s:o, s:o}", "count", (ji)all, "over_5_ms", (ji)late, "longest_us",
                   (ji)(t->longest / NS_US), "longest_wall_us", (ji)(t->longest_wall / NS_US), "cause", t->cause, "bounds_us",
                   bounds_us, "counts", counts);
}

static json_t *microseconds(uint32_t us) { return us == UINT32_MAX ? json_null() : json_integer((ji)us); }

/* Since the start; null: none was answered. */
static json_t *calls_answered(const struct node *n) {
  static const struct latency none;
  const struct router_stats *s = router_stats(n->rpc.router);
  uint64_t failed = s->handler_errors + s->no_such_procedure + s->all_providers_failed + s->max_attempts_exceeded +
                    s->timeouts + s->too_many_calls + s->lost + s->unavailable + s->lookups_failed + s->lookups_refused;
  return json_pack("{s:I, s:I, s:o, s:o}", "calls", (ji)(s->calls + s->too_many_calls), "failed", (ji)failed, "p50_us",
                   microseconds(latency_part(&none, &s->took, 0.5)), "p99_us",
                   microseconds(latency_part(&none, &s->took, 0.99)));
}

static json_t *mesh(const struct node *n) {
  struct membership_stats m;
  struct dht_stats d;
  membership_stats(n->mesh.membership, &m);
  dht_stats(n->records.dht, &d);
  return json_pack("{s:o, s:o, s:{s:I, s:I, s:I, s:I}, s:o, s:I, s:I}", "address",
                   addr_is_set(&n->mesh.self) ? address(&n->mesh.self) : json_null(), "gateway",
                   n->mesh.gateway ? hex(n->mesh.gateway->id.b, ID_LEN) : json_null(), "members", "alive", (ji)m.alive,
                   "suspect", (ji)m.suspect, "dead", (ji)m.dead, "limit", (ji)m.max, "records", used(d.records, d.max_records),
                   "own_records", (ji)d.own, "contacts", (ji)d.contacts);
}

/* Below zero once it has ended; null: it never ends. */
static json_t *certificate(const struct node *n, nanotime now) {
  ji unix_s = (ji)((n->wall_base_ms + now / NS_MS) / 1000);
  return json_pack("{s:o}", "remaining_s", n->cert_end == UINT64_MAX ? json_null() : json_integer((ji)n->cert_end - unix_s));
}

static json_t *status(struct node *n, nanotime now) {
  struct topic_index_stats topics;
  const struct services *services = router_services(n->rpc.router);
  const struct calls *calls = router_calls(n->rpc.router);
  struct quic_stats quic;
  char note[NODE_WHY_LEN];
  bool ready = node_ready(n, now, note);
  topic_index_stats(n->messages.topics, &topics);
  quic_stats(n->quic, &quic);
  return json_pack(
      "{s:o, s:{s:I}, s:o, s:o, s:s, s:s, s:I, s:b, s:s?, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:I, s:I, s:I, s:I}, s:o, s:o, "
      "s:o, s:o, s:o}",
      "mesh", mesh(n), "streams", "count", (ji)quic.streams, "node_id", hex(n->id.b, ID_LEN), "name", label(n->name), "realm",
      n->realm, "version", MACULA_VERSION, "uptime_s", (ji)node_uptime_s(n, now), "ready", ready, "note", note[0] ? note : NULL,
      "clients", used(n->sessions.clients.count, n->sessions.clients.max), "operators",
      used(n->sessions.clients.ops, n->sessions.clients.max_ops), "peers", used(pool_count(&n->peers.pool), n->peers.pool.max),
      "services", used(router_registered(n->rpc.router), services->max), "subscriptions",
      used(topics.subscriptions, topics.max), "pending_calls", used(calls_count(calls), calls->max), "retained",
      used(retained_count(&n->messages.retained), n->limits.retained_count), "messages", "published", (ji)n->stats.published,
      "delivered", (ji)n->stats.delivered, "dropped", (ji)n->stats.dropped, "slow_consumers", (ji)n->stats.slow_consumers,
      "turns", turns(n), "memory", memory(n), "certificate", certificate(n, now), "calls", calls_answered(n), "lost",
      lost_json(n));
}

/* ---- lists -----------------------------------------------------------------------------------------------------------------
 */
struct page {
  size_t offset, limit, seen;
  json_t *rows;
};

/* Whether the next row is on the page. */
static bool page_wants(struct page *p) {
  size_t at = p->seen++;
  return at >= p->offset && at - p->offset < p->limit;
}

/* The name of its grant; null where all is open. */
static json_t *grant_label(const struct session *s) {
  struct slice name = s->rights.grant ? grant_name(s->rights.grant) : SLICE_NONE;
  return name.p ? json_stringn((const char *)name.p, name.n) : json_null();
}

/* By whose password it was let in; null: by none. */
static json_t *user_label(const struct session *s) {
  struct slice user = session_user(s);
  return user.n ? json_stringn((const char *)user.p, user.n) : json_null();
}

static json_t *client_row(const struct session *s, nanotime now) {
  size_t peak, held = door_held(&s->door, &peak);
  struct door_view v = door_view(&s->door);
  return json_pack(
      "{s:o, s:o, s:o, s:o, s:s, s:s, s:b, s:s, s:o, s:o, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
      "id", hex(s->client.id.b, ID_LEN), "instance", hex(s->client.instance, INSTANCE_LEN), "name", label(s->name), "address",
      address(door_remote(&s->door)), "door", v.door, "protocol", session_protocol(s), "connected", !door_is_away(&s->door),
      "role", role_name(s->rights.role), "grant", grant_label(s), "user", user_label(s), "verified", s->client.verified,
      "operator", s->client.op, "since_s", (ji)(time_since(now, s->since) / NS_SEC), "subscriptions", (ji)s->topics.count,
      "services", s->native ? (ji)s->native->rpc.owner.count : 0, "pending_calls",
      s->native ? (ji)s->native->rpc.calls.made_count : 0, "inflight", (ji)v.inflight + s->unacked.count, "queued_messages",
      (ji)v.queued, "queued_bytes", (ji)(session_queued(s) + v.queued_bytes), "dropped", (ji)(s->dropped + v.dropped),
      "refused", (ji)s->refused, "memory_bytes", (ji)held, "memory_peak_bytes", (ji)peak);
}

static void clients_rows(struct node *n, struct page *p, nanotime now) {
  list_for(it, &n->sessions.clients.all) {
    const struct session *s = container_of(it, struct clients_entry, all)->user;
    if (page_wants(p)) json_array_append_new(p->rows, client_row(s, now));
  }
}

static uint64_t service_mean_us(const struct service *v) {
  return v->calls > v->failed ? v->took / (v->calls - v->failed) / NS_US : 0;
}

static void services_rows(struct node *n, struct page *p, nanotime now) {
  list_for(it, &router_services(n->rpc.router)->all) {
    const struct service *v = container_of(it, struct service, all);
    for (uint32_t i = 0; i < v->count; i++) {
      const struct provider *o = v->v[i];
      const struct session *s = o->owner->user;
      if (!s || !page_wants(p)) continue; /* NULL: its provider was lost, and is waited for */
      json_array_append_new(p->rows,
                            json_pack("{s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "procedure", v->name,
                                      "id", hex(o->owner->id.b, ID_LEN), "instance", hex(s->client.instance, INSTANCE_LEN),
                                      "name", label(s->name), "age_s", (ji)(time_since(now, o->registered_at) / NS_SEC),
                                      "ttl_s", (ji)(o->ttl / NS_SEC), "expires_s", (ji)(time_since(o->due.at, now) / NS_SEC),
                                      "pending_calls", (ji)o->owner->inflight, "calls", (ji)v->calls, "failed", (ji)v->failed,
                                      "mean_us", (ji)service_mean_us(v), "longest_us", (ji)(v->longest / NS_US)));
    }
  }
}

static void subs_rows(struct node *n, struct page *p) {
  char pattern[NAME_MAX_LEN + 1];
  list_for(it, &n->sessions.clients.all) {
    const struct session *s = container_of(it, struct clients_entry, all)->user;
    if (p->seen + s->topics.count <= p->offset || p->seen >= p->offset + p->limit) {
      p->seen += s->topics.count;
      continue;
    }
    for (const struct topic_sub *t = topic_sub_next(&s->topics, NULL); t; t = topic_sub_next(&s->topics, t)) {
      if (!page_wants(p)) continue;
      struct slice key = slice_of(pattern, topic_sub_pattern(t, pattern)), group = group_name(key);
      json_t *name = group.n ? json_stringn((const char *)group.p, group.n) : NULL;
      pattern[group_pattern(key).n] = 0;
      json_array_append_new(p->rows, json_pack("{s:s, s:o*, s:o, s:o, s:o, s:i, s:b}", "pattern", pattern, "group", name, "id",
                                               hex(s->client.id.b, ID_LEN), "instance", hex(s->client.instance, INSTANCE_LEN),
                                               "name", label(s->name), "qos", topic_sub_flags(t) & TOPIC_QOS1 ? 1 : 0, "own",
                                               (topic_sub_flags(t) & TOPIC_OWN) != 0));
    }
  }
}

static json_t *peer_row(const struct peer *p, nanotime now) {
  static const char *const states[] = {"alive", "suspect", "dead"};
  const struct session *s = p->link;
  const struct member *m = membership_find(p->node->mesh.membership, &p->id);
  const char *state = s && p->spread.silent                   ? "connected, acknowledges nothing"
                      : s && (!m || m->state == MEMBER_ALIVE) ? "connected"
                      : p->unreachable                        ? "alive, not reachable directly"
                      : m                                     ? states[m->state]
                      : s                                     ? "connected"
                      : p->dial                               ? "dialling"
                                                              : "known";
  size_t peak = 0, held = s ? door_held(&s->door, &peak) : 0;
  return json_pack("{s:o, s:o, s:o, s:s, s:b, s:b, s:b, s:b, s:o?, s:o?, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "id",
                   hex(p->id.b, ID_LEN), "name", label(p->name), "address",
                   addr_is_set(&p->addr) ? address(&p->addr)
                   : s                   ? address(door_remote(&s->door))
                                         : json_string(""),
                   "state", state, "member", p->member, "in_pool", p->slot.in, "dialled", s && s->dialled, "dialable",
                   addr_is_set(&p->addr), "rtt_us", s ? json_integer((ji)(door_rtt(&s->door) / NS_US)) : json_null(), "gateway",
                   p->via ? hex(p->via->id.b, ID_LEN) : json_null(), "age_s", (ji)(s ? time_since(now, p->since) / NS_SEC : 0),
                   "queued_bytes", (ji)(s ? session_queued(s) : 0), "patterns", (ji)p->spread.interest.topics.count, "retained",
                   (ji)p->spread.interest.retained, "memory_bytes", (ji)held, "memory_peak_bytes", (ji)peak, "paced",
                   (ji)p->paced, "pacing", (ji)p->pacing);
}

/* Of each node, the publishers here that wait for its readers, and its publishers that wait for ours. */
static void count_paced(struct node *n) {
  list_for(it, &n->peers.all) {
    struct peer *q = container_of(it, struct peer, all);
    q->paced = q->pacing = 0;
  }
  list_for(it, &n->flow.paced.all) container_of(it, struct flow_paced, all)->peer->paced++;
  list_for(it, &n->flow.pacing.all) container_of(it, struct flow_pacing, all)->peer->pacing++;
}

static void peers_rows(struct node *n, struct page *p, nanotime now) {
  count_paced(n);
  list_for(it, &n->peers.all) {
    const struct peer *q = container_of(it, struct peer, all);
    if (page_wants(p)) json_array_append_new(p->rows, peer_row(q, now));
  }
}

/* The newest first. */
static void events_rows(const struct node *n, struct page *p) {
  for (size_t i = 0; i < p->limit; i++) {
    const struct recent_event *e = recent_at(&n->recent, p->offset + i);
    if (e) json_array_append_new(p->rows, recent_json(e));
  }
  p->seen = recent_kept(&n->recent);
}

int node_render(struct node *n, const char *what, size_t offset, size_t limit, nanotime now, char **ret_json) {
  struct page p = {.offset = offset, .limit = limit && limit < LIST_PAGE ? limit : LIST_PAGE};
  uint64_t refused = n->rows.account[ROW_ADMIN]->refused;
  json_t *j;
  if (!strcmp(what, "history")) return history_render(n, true, ret_json);
  if (!strcmp(what, "history_minute")) return history_render(n, false, ret_json);
  if (p.offset > SIZE_MAX / 4) p.offset = SIZE_MAX / 4;
  bool is_clients = !strcmp(what, "clients"), is_services = !strcmp(what, "services"), is_subs = !strcmp(what, "subs"),
       is_peers = !strcmp(what, "peers"), is_topics = !strcmp(what, "topics"), is_events = !strcmp(what, "events");
  if (is_clients || is_services || is_subs || is_peers || is_topics || is_events) {
    p.rows = is_topics ? trace_topics(n, p.offset, p.limit, &p.seen) : json_array();
    if (is_clients) clients_rows(n, &p, now);
    if (is_services) services_rows(n, &p, now);
    if (is_subs) subs_rows(n, &p);
    if (is_peers) peers_rows(n, &p, now);
    if (is_events) events_rows(n, &p);
    j = json_pack("{s:I, s:I, s:o}", "total", (ji)p.seen, "offset", (ji)offset, what, p.rows);
  } else if (!strcmp(what, "status")) {
    j = status(n, now);
  } else if (!strcmp(what, "memory")) {
    j = memory(n);
  } else {
    return MACULA_ENOTFOUND;
  }
  char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
  json_decref(j);
  /* memory was refused on the way: part of the answer may be missing */
  if (!text || n->rows.account[ROW_ADMIN]->refused != refused) {
    node_text_free(text);
    return MACULA_ENOMEM;
  }
  *ret_json = text;
  return 0;
}

void node_text_free(char *text) {
  json_free_t release;
  json_get_alloc_funcs(NULL, &release);
  if (text) release(text);
}
