#include "node/view/lost.h"

#include <stdio.h>

#include "node/state.h"

struct lost {
  const char *name, *what, *key;
  uint64_t count;
};

static void add(json_t *list, const struct lost *l) {
  if (l->count)
    json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:s}", "name", l->name, "what", l->what, "count",
                                          (json_int_t)l->count, "key", l->key));
}

/* What the rows of memory refused, or let go to make room. */
static void add_rows(struct node *n, json_t *list) {
  struct row_now r[ROWS_SHOWN];
  char name[64], what[160];
  rows_now(n, r);
  for (int i = 0; i < ROW_COUNT; i++) {
    if (i == ROW_SEND || !(r[i].refused + r[i].evicted)) continue; /* its messages are below */
    struct plan_row p = plan_row_of(&n->limits, (enum row)i);
    snprintf(name, sizeof name, "%s_refused", p.name);
    snprintf(what, sizeof what, "refused, as it was full: %s", p.what);
    add(list, &(struct lost){name, what, p.keys, r[i].refused});
    snprintf(name, sizeof name, "%s_evicted", p.name);
    snprintf(what, sizeof what, "made room for newer: %s", p.what);
    add(list, &(struct lost){name, what, p.keys, r[i].evicted});
  }
}

static void add_messages(const struct node *n, json_t *list) {
  const struct node_stats *s = &n->stats;
  const struct lost all[] = {
      {"messages_dropped", "messages that a subscriber read too slowly for", "send_pool", s->dropped},
      {"slow_consumers", "clients ended, as they read too slowly", "send_pool", s->slow_consumers},
      {"publishes_lost", "publishes that waited when their client ended", "", s->publishes_lost},
      {"messages_too_costly", "messages whose topic reached too many patterns", "", s->matches_refused},
      {"messages_not_retained", "messages that could not be retained", "retained_count retained_bytes", s->retained_unstored},
      {"group_messages_lost", "messages of groups that found no other member", "", n->messages.groups.lost},
      {"groups_left_out", "groups beyond those that one message reaches", "", n->messages.groups.left_out},
      {"mqtt_messages_lost", "messages for clients of MQTT that found no room", "mqtt_pool", n->mqtt_now.lost},
      {"mqtt_evicted", "sessions of offline clients of MQTT that made room", "mqtt_offline", n->mqtt_now.evicted},
      {"mesh_messages_dropped", "copies for other nodes that found no room or no way", "held_pool", n->spread.dropped},
      {"mesh_frames_dropped", "frames for other nodes that found no connection in time", "held_pool", n->peers.held_dropped}};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) add(list, &all[i]);
}

static void add_requests(const struct node *n, json_t *list) {
  const struct router_stats *r = router_stats(n->rpc.router);
  struct quic_stats q;
  quic_stats(n->quic, &q);
  const struct lost all[] = {
      {"forbidden", "requests that the client's grant does not allow", "access", n->trust.forbidden},
      {"passwords_wrong", "connections with a wrong user or password", "access", n->trust.passwords.wrong},
      {"quota_reached", "requests beyond the quota of an identity", "access", n->trust.accounts.over},
      {"identities_hasty", "connections of identities that made too many", "", n->trust.accounts.hasty},
      {"sessions_judged_out", "clients ended, as their right to be here ended", "access", n->trust.ended},
      {"calls_too_many", "calls beyond the limit", "max_calls call_bytes", r->too_many_calls},
      {"call_timeouts", "calls without an answer in time", "", r->timeouts},
      {"call_provider_lost", "calls whose provider was lost", "", r->lost},
      {"questions_refused", "questions that cost more than the asker's share", "", n->asks.refused},
      {"quic_refused_half_open", "connections beyond those in handshakes", "max_half_open", q.refused_half_open},
      {"quic_refused_rate", "connections of addresses that made too many", "", q.refused_rate},
      {"quic_refused_memory", "connections that held too much of their pool", "connection_pool", q.refused_memory},
      {"interest_nodes_left_out", "nodes without a place in the exchange of subscriptions", "max_interested",
       n->spread.left_out},
      {"mesh_records_left_out", "nodes that were told of and found no place", "max_members max_peers", n->peers.left_out},
      {"mqtt_connections_refused", "connections of MQTT that were closed at once", "max_clients", n->mqtt_now.refused}};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) add(list, &all[i]);
}

json_t *lost_json(struct node *n) {
  json_t *list = json_array();
  add_messages(n, list);
  add_requests(n, list);
  add_rows(n, list);
  return list;
}
