/* Prometheus text: for every table its entries, its limit and what it refused; queues, calls and connections. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "node/state.h"

static void head(FILE *f, const char *name, const char *kind, const char *help) {
  fprintf(f, "# HELP macula_%s %s\n# TYPE macula_%s %s\n", name, help, name, kind);
}

static void one(FILE *f, const char *name, const char *kind, const char *help, uint64_t v) {
  head(f, name, kind, help);
  fprintf(f, "macula_%s %llu\n", name, (unsigned long long)v);
}
#define GAUGE(name, help, v) one(f, name, "gauge", help, v)
#define COUNTER(name, help, v) one(f, name "_total", "counter", help, v)

/* One family a column of the table of memory, one line a row. */
static void rows(struct node *n, FILE *f) {
  static const struct {
    const char *name, *kind, *help;
    size_t at;
  } columns[] = {
      {"table_entries", "gauge", "Entries of the table.", offsetof(struct row_now, entries)},
      {"table_limit", "gauge", "Most entries; 0: bounded in bytes alone.", offsetof(struct row_now, limit)},
      {"table_refused_total", "counter", "Entries and allocations refused at a limit.", offsetof(struct row_now, refused)},
      {"table_evicted_total", "counter", "Entries that made room for others.", offsetof(struct row_now, evicted)},
      {"table_expired_total", "counter", "Entries whose time was over.", offsetof(struct row_now, expired)},
      {"memory_bytes", "gauge", "Bytes in use.", offsetof(struct row_now, bytes)},
      {"memory_limit_bytes", "gauge", "Most bytes: the row's part of the plan.", offsetof(struct row_now, limit_bytes)},
      {"memory_peak_bytes", "gauge", "Most bytes ever in use.", offsetof(struct row_now, peak)}};
  struct row_now r[ROWS_SHOWN];
  rows_now(n, r);
  for (size_t k = 0; k < sizeof columns / sizeof columns[0]; k++) {
    head(f, columns[k].name, columns[k].kind, columns[k].help);
    for (int i = 0; i < ROWS_SHOWN; i++)
      fprintf(f, "macula_%s{table=\"%s\"} %llu\n", columns[k].name, r[i].name,
              (unsigned long long)*(const uint64_t *)((const char *)&r[i] + columns[k].at));
  }
  head(f, "memory_entry_bytes", "gauge", "Bytes in use an entry.");
  for (int i = 0; i < ROWS_SHOWN; i++)
    if (r[i].entries)
      fprintf(f, "macula_memory_entry_bytes{table=\"%s\"} %llu\n", r[i].name, (unsigned long long)(r[i].bytes / r[i].entries));
}

static void refusals(const struct node *n, FILE *f) {
  head(f, "connections_ended_total", "counter", "Client connections ended by the node or by goodbye, by code.");
  for (int i = 1; i < 128; i++)
    if (n->stats.refused[i])
      fprintf(f, "macula_connections_ended_total{code=\"%s\"} %llu\n", macula_err_name(-i),
              (unsigned long long)n->stats.refused[i]);
  head(f, "frames_left_out_total", "counter", "Frames of base-only clients that were refused, by code.");
  for (int i = 1; i < 128; i++)
    if (n->stats.left_out[i])
      fprintf(f, "macula_frames_left_out_total{code=\"%s\"} %llu\n", macula_err_name(-i),
              (unsigned long long)n->stats.left_out[i]);
}

static void messages(const struct node *n, FILE *f) {
  const struct node_stats *s = &n->stats;
  COUNTER("frames_received", "Frames received.", s->frames);
  COUNTER("frames_unknown", "Frames of an unknown type, skipped.", s->unknown_frames);
  COUNTER("frames_ignored", "Frames that this node has no use for.", s->ignored_frames);
  COUNTER("messages_published", "Messages taken from publishers.", s->published);
  COUNTER("messages_delivered", "Messages queued for subscribers.", s->delivered);
  COUNTER("messages_dropped", "Messages that a subscriber's full queue or the full pool left out.", s->dropped);
  COUNTER("messages_expired", "Copies not sent since the time to live was over.", s->expired + n->mqtt_now.expired);
  COUNTER("group_messages_moved", "QoS 1 messages that went to another member, as theirs ended.", n->messages.groups.moved);
  COUNTER("group_messages_lost", "Those that found no other.", n->messages.groups.lost);
  COUNTER("group_messages_missed", "Messages of other nodes for a group without a member here.", n->messages.groups.missed);
  COUNTER("group_messages_unkept", "QoS 1 messages for which there was no room until they are acknowledged.",
          n->messages.groups.unkept);
  COUNTER("groups_left_out", "Groups beyond those that one message may reach.", n->messages.groups.left_out);
  COUNTER("messages_duplicate", "QoS 1 messages that came again.", n->messages.dedup.duplicates);
  COUNTER("messages_not_retained", "Messages that were to be retained and could not be.", s->retained_unstored);
  COUNTER("retained_disk_written_bytes", "Bytes of retained messages written to disk.", n->messages.log.written);
  COUNTER("retained_disk_rewrites", "Times that all retained messages were written anew.", n->messages.log.rewrites);
  COUNTER("retained_disk_failures", "Writes of retained messages that failed: a full disk.", n->messages.log.failures);
  COUNTER("retained_disk_left_out", "Retained messages that the file has no room for.", n->messages.log.left_out);
  GAUGE("retained_disk_waiting", "Retained messages and clearings that are not written yet; 1 more while a write is under way.",
        retained_log_unsaved(&n->messages.log) + (n->messages.log.busy || n->messages.log.rewriting));
  COUNTER("mqtt_messages_lost", "Messages that found no room in what is kept for a client of MQTT.", n->mqtt_now.lost);
  GAUGE("mqtt_connections", "Connections of MQTT that are open.", n->mqtt_now.connections);
  COUNTER("mqtt_connections_refused", "Connections of MQTT that were closed at once.", n->mqtt_now.refused);
  COUNTER("mqtt_connections_ended", "Connections of MQTT ended for what their client did.", n->mqtt_now.ended);
  COUNTER("mqtt_websocket_refused", "Handshakes of WebSocket refused, and connections ended by a wrong frame.",
          n->mqtt_now.web_refused);
  COUNTER("mqtt_tls_refused", "Handshakes of TLS that failed.", n->mqtt_now.tls_refused);
  COUNTER("mqtt_not_read", "Times that a connection of MQTT was not read as its pings came too fast.", n->mqtt_now.paused);
  GAUGE("mqtt_offline", "Sessions of MQTT whose clients are offline.", n->mqtt_now.offline);
  COUNTER("mqtt_evicted", "Of these, those that ended to make room.", n->mqtt_now.evicted);
  COUNTER("mqtt_filters_lost", "Filters of resumed sessions that were refused.", n->mqtt_now.filters_lost);
  COUNTER("mqtt_topics_refused", "Topics that MQTT or this node cannot say.", n->mqtt_now.unnamed);
  COUNTER("mqtt_sessions_claimed", "Sessions that ended as their client has connected to another node.", n->mqtt_now.claimed);
  COUNTER("mqtt_headers_left_out", "Headers that MQTT cannot say, of messages to its clients.", n->mqtt_now.unsaid);
  GAUGE("http_connections", "Connections of HTTP that are open.", n->http_now.connections);
  GAUGE("http_sessions", "Sessions of clients of HTTP, streams of events included.", n->http_now.clients);
  GAUGE("http_streams", "Streams of events and of retained messages that are read over HTTP.", n->http_now.streams);
  COUNTER("http_events", "Messages written to such streams.", n->http_now.events);
  COUNTER("http_events_lost", "Messages that such a stream has lost, as it was read too slowly or http_pool had no room.",
          n->http_now.lost);
  COUNTER("messages_too_costly", "Messages refused since their topic reached too many patterns.", s->matches_refused);
  COUNTER("slow_consumers", "Clients disconnected because they read too slowly.", s->slow_consumers);
  COUNTER("slow_consumers_shed", "Those of them that had stopped reading while the pool was full.", s->sheds);
  COUNTER("publisher_pauses", "Times that a publisher had to wait for the pool.", s->pauses);
  COUNTER("publishes_lost", "Publishes that were held when their client's connection ended.", s->publishes_lost);
  COUNTER("publishers_held", "Times that a publisher had to wait for a reader's queue.", n->flow.held);
  COUNTER("publishers_held_over", "Of these, those that ended as an account of waiting was empty.", n->flow.over);
  GAUGE("publishers_paced", "Publishers that readers at other nodes have no room for, as these say.", n->flow.paced.count);
  GAUGE("publishers_pacing", "Publishers at other nodes that readers here have no room for.", n->flow.pacing.tab.count);
  COUNTER("paces_said", "Times that another node was told that a publisher is to wait, or may go on.", n->flow.pacing.said);
  COUNTER("paces_heard", "Times that another node said so.", n->flow.paced.heard);
  COUNTER("paces_ignored", "Of these, those about publishers that were gone, or for which there was no room.",
          n->flow.paced.ignored);
  COUNTER("paces_displaced", "Publishers that wait no more for another node as this had more than its share of places.",
          n->flow.displaced);
  GAUGE("publishers_waiting", "Publishers that wait for a reader's queue.", n->flow.held_count);
  COUNTER("publishers_put_off", "Times that what somebody sent had to wait for the next turn.", s->put_off);
  COUNTER("messages_sliced", "Messages whose subscribers got their copies in more than one turn.", s->fanouts_sliced);
  GAUGE("send_queue_bytes", "Bytes of the node-wide pool of send queues in use.", n->rows.mem[ROW_SEND].bytes);
  GAUGE("send_queue_limit_bytes", "The pool's size.", n->limits.send_pool);
  GAUGE("receive_reserved_bytes", "Bytes reserved for unfinished frames.", n->receive.reserved);
  GAUGE("receive_windows_grown_bytes", "Bytes of receive windows beyond the initial ones.", n->receive.window_more);
  COUNTER("forbidden", "Requests that the client's grant does not allow.", n->trust.forbidden);
  COUNTER("passwords_wrong", "CONNECTs with the name or the password of a user that is wrong.", n->trust.passwords.wrong);
  COUNTER("passwords_busy", "CONNECTs refused, as too many passwords were being checked.", n->trust.passwords.busy);
  COUNTER("sessions_judged_out", "Connections that ended since what they were let in by no longer counts.", n->trust.ended);
  COUNTER("revocation_lists_refused", "Lists of revoked passes that were bad, or too many.", n->trust.lists_refused);
  COUNTER("identities_hasty", "Connections refused: their identity had made too many that were over soon.",
          n->trust.accounts.hasty);
  COUNTER("quota_reached", "Requests and connections that the quota of an identity refused.", n->trust.accounts.over);
  COUNTER("paced", "Times that an identity had to wait since it had sent more messages than its quota.",
          n->trust.accounts.paced);
  COUNTER("clients_admitted", "Clients let in.", s->admitted);
  COUNTER("clients_replaced", "Connections that a newer one of the same client replaced.", n->sessions.clients.replaced);
}

static void calls(const struct node *n, FILE *f) {
  const struct router_stats *r = router_stats(n->rpc.router);
  COUNTER("calls", "Calls accepted.", r->calls);
  COUNTER("casts", "Casts accepted.", r->casts);
  COUNTER("call_replies", "Results passed on.", r->replies);
  COUNTER("call_handler_errors", "Errors of providers passed on.", r->handler_errors);
  COUNTER("call_timeouts", "Calls that ended with timeout.", r->timeouts);
  COUNTER("call_no_such_procedure", "Calls for which there was no provider.", r->no_such_procedure);
  COUNTER("call_all_providers_failed", "Calls that all providers failed.", r->all_providers_failed);
  COUNTER("call_provider_lost", "Calls whose provider was lost when it may have begun.", r->lost);
  COUNTER("call_unavailable", "Calls of other nodes that no provider here could take at that moment.", r->unavailable);
  COUNTER("call_max_attempts_exceeded", "Calls that used up their attempts.", r->max_attempts_exceeded);
  COUNTER("call_failovers", "Attempts after the first.", r->failovers);
  COUNTER("call_cancelled", "Calls cancelled by their caller or by its end.", r->cancelled);
  COUNTER("call_refused", "Calls refused at a limit.", r->too_many_calls);
  COUNTER("call_late_replies", "Replies that came too late or from nowhere.", r->late);
  COUNTER("calls_sent_to_nodes", "Attempts at providers of other nodes.", r->sent_to_nodes);
  COUNTER("discovery_lookups", "Lookups of who serves a procedure.", r->lookups);
  COUNTER("discovery_lookups_failed", "Calls for which the lookup failed.", r->lookups_failed);
  COUNTER("calls_resent", "Attempts sent once more, as the node had forgotten the key and never had them.", r->resent);
  COUNTER("discovery_lookups_refused", "Calls whose client had begun too many lookups.", r->lookups_refused);
  COUNTER("discovery_hits", "Calls whose providers at other nodes were known.", router_discovery(n->rpc.router)->hits);
  COUNTER("discovery_misses", "Questions that the discovery cache could not answer.", router_discovery(n->rpc.router)->misses);
  COUNTER("routes_forwarded", "Envelopes carried on for others.", n->stats.routes_forwarded);
  COUNTER("routes_delivered", "Envelopes for this node.", n->stats.routes_delivered);
  COUNTER("routes_failed", "Envelopes that could not be carried on.", n->stats.routes_failed);
  COUNTER("services_expired", "Services that were not renewed in time.", router_services(n->rpc.router)->expired);
}

static void connections(const struct node *n, FILE *f) {
  struct quic_stats q;
  quic_stats(n->quic, &q);
  GAUGE("quic_connections", "QUIC connections.", q.conns);
  GAUGE("quic_half_open", "Of them, those that have not been let in.", q.half_open);
  COUNTER("quic_accepted", "Connections accepted.", q.accepted);
  COUNTER("quic_refused_full", "Connections refused: too many.", q.refused_full);
  COUNTER("quic_refused_half_open", "Connections refused: too many half-open.", q.refused_half_open);
  COUNTER("quic_refused_rate", "Connections refused: too many of their address had led to nothing.", q.refused_rate);
  COUNTER("quic_later", "Datagrams of connections being made, read after all others.", q.later);
  COUNTER("quic_later_dropped", "Datagrams of connections being made for which there was no room: they are sent again.",
          q.later_dropped);
  COUNTER("quic_limited", "Datagrams dropped unread: their sender had sent too many that moved nothing.", q.limited);
  GAUGE("quic_connection_pool_bytes", "Bytes of the pool that connections share beyond what each has.", q.conn_pool);
  COUNTER("quic_refused_memory", "Connections that ended for what they held of this pool, or asked of it.", q.refused_memory);
  COUNTER("quic_retries_sent", "Retry packets sent.", q.retries_sent);
  COUNTER("quic_retry_ok", "Connections with a valid token.", q.retry_ok);
  COUNTER("quic_handshakes_failed", "Handshakes that failed.", q.handshakes_failed);
  COUNTER("quic_resumed", "Handshakes resumed by ticket.", q.resumed);
  COUNTER("quic_stateless_resets_sent", "Stateless resets sent.", q.stateless_resets_sent);
  COUNTER("quic_version_negotiations", "Version negotiations sent.", q.version_negotiations);
  COUNTER("quic_migrations", "Clients that changed their address.", q.migrations);
  COUNTER("quic_key_updates", "Key updates.", q.key_updates);
  COUNTER("quic_icmp_checks", "Connections probed after an ICMP error.", q.icmp_checks);
  COUNTER("quic_path_mtu_falls", "Times that full datagrams of a connection were lost and those of 1,200 bytes arrived.",
          q.mtu_falls);
  COUNTER("quic_datagrams_received", "Datagrams received.", q.datagrams_in);
  COUNTER("quic_datagrams_sent", "Datagrams sent.", q.datagrams_out);
  COUNTER("quic_received_bytes", "Bytes received.", q.bytes_in);
  COUNTER("quic_sent_bytes", "Bytes sent.", q.bytes_out);
  COUNTER("quic_dropped", "Datagrams dropped.", q.dropped);
}

static void members(const struct node *n, FILE *f) {
  struct membership_stats s;
  membership_stats(n->mesh.membership, &s);
  GAUGE("members_alive", "Other members held to be alive.", s.alive);
  GAUGE("members_suspect", "Other members that may be dead.", s.suspect);
  GAUGE("members_dead", "Other members that died lately.", s.dead);
  GAUGE("swim_health", "Lifeguard's local health multiplier; 0: healthy.", s.health);
  COUNTER("swim_pings", "Probes sent.", s.pings);
  COUNTER("swim_acks", "Answers to probes received.", s.acks);
  COUNTER("swim_ping_reqs", "Indirect probes asked for.", s.ping_reqs);
  COUNTER("swim_syncs", "Exchanges of the whole list.", s.syncs);
  COUNTER("swim_probes_failed", "Probes without an answer.", s.probes_failed);
  COUNTER("swim_suspicions", "Members that came to be suspect.", s.suspicions);
  COUNTER("swim_refutations", "Suspicions that were refuted.", s.refutations);
  COUNTER("swim_deaths", "Members that were declared dead.", s.deaths);
  COUNTER("swim_accused", "Times that this node was accused and refuted it.", s.accused);
  COUNTER("swim_implausible", "Claims that were not believed.", s.implausible);
  COUNTER("swim_verified", "Records of members whose signatures were verified.", s.verified);
  COUNTER("swim_bad_signatures", "Records of members whose signatures are bad.", s.bad_signatures);
  COUNTER("swim_unverified", "Records that were not believed, as verifying has a budget; they come again.", s.unverified);
  COUNTER("swim_bad_frames", "Malformed frames of the membership.", s.bad_frames);
  struct dht_stats d;
  dht_stats(n->records.dht, &d);
  GAUGE("dht_contacts", "Nodes in the routing table.", d.contacts);
  GAUGE("dht_records", "Records held.", d.records);
  GAUGE("dht_tombstones", "Withdrawn records remembered.", d.tombstones);
  GAUGE("dht_own_records", "Records that this node publishes.", d.own);
  GAUGE("dht_unstored", "Own records on their way to their holders.", d.unstored);
  GAUGE("dht_lookups_running", "Lookups running.", d.lookups);
  COUNTER("dht_lookups", "Lookups done.", d.lookups_done);
  COUNTER("dht_lookups_failed", "Lookups that nobody answered.", d.lookups_failed);
  COUNTER("dht_lookup_hops", "Hops of the lookups done.", d.hops);
  head(f, "dht_lookup_seconds_total", "counter", "Duration of the lookups done.");
  fprintf(f, "macula_dht_lookup_seconds_total %.6f\n", (double)d.took_ns / NS_SEC);
  COUNTER("dht_queries", "Requests sent.", d.queries);
  COUNTER("dht_queries_failed", "Requests without an answer.", d.queries_failed);
  COUNTER("dht_served", "Requests answered.", d.served);
  COUNTER("dht_refused_full", "Records refused: full.", d.refused_full);
  COUNTER("dht_refused_bad", "Records refused: malformed, wrongly signed or of another realm.", d.refused_bad);
  COUNTER("dht_refused_old", "Records refused: an older sequence.", d.refused_old);
  COUNTER("dht_refused_rate", "Requests refused: too many.", d.refused_rate);
  COUNTER("dht_expired", "Records that were not renewed.", d.expired);
  COUNTER("dht_refused_by_holders", "Own records that holders refused.", d.refused_by_holders);
}

static void peers(const struct node *n, FILE *f) {
  const struct peers *p = &n->peers;
  GAUGE("mesh_links", "Mesh connections, those being dialled included.", pool_count(&p->pool));
  GAUGE("mesh_links_limit", "Most mesh connections.", p->pool.max);
  COUNTER("mesh_dials", "Mesh connections dialled.", p->dials);
  COUNTER("mesh_dial_failures", "Dials that failed.", p->dial_failures);
  COUNTER("mesh_accepted", "Mesh connections that other nodes dialled.", p->accepted);
  COUNTER("mesh_duplicates", "Second connections between the same two nodes that gave way.", p->duplicates);
  GAUGE("mesh_unreachable", "Members that are alive, as others say, and that this node cannot reach.", p->unreachable);
  COUNTER("mesh_unreachable_found", "Times that a member became unreachable in that way.", p->found_unreachable);
  uint32_t relayed = 0;
  list_for(it, &p->all) {
    const struct peer *q = container_of(it, const struct peer, all);
    relayed += q->via && !q->link && addr_is_set(&q->addr);
  }
  GAUGE("mesh_relayed", "Of nodes that can be dialled, those that are reached through another one.", relayed);
  COUNTER("mesh_relays", "Ways found to such a node through another one.", p->seals.relays);
  GAUGE("envelope_keys", "Nodes with which keys for envelopes are kept.", p->seals.count);
  COUNTER("agreements", "Keys for envelopes agreed on.", p->seals.agreed);
  COUNTER("agreements_failed", "Exchanges for keys that led nowhere.", p->seals.failed);
  COUNTER("agreements_limited", "Offers and answers of keys beyond the rate.", p->seals.limited);
  COUNTER("envelopes_forged", "Envelopes, offers and answers that were not made by whom they named.", p->seals.forged);
  COUNTER("envelopes_replayed", "Envelopes, offers and answers that came again.", p->seals.replayed);
  COUNTER("envelopes_lost", "Envelopes that the other node could not open, as it had forgotten the key.", p->seals.lost);
  COUNTER("envelopes_unknown", "Envelopes under a key that is not known, or none.", p->seals.unknown);
  COUNTER("mesh_identity_twice", "Connections refused, of a second node with the identity of one that is there.", p->twice);
  COUNTER("mesh_records_left_out", "Nodes that others told of and that there was no room for.", p->left_out);
  COUNTER("mesh_evictions", "Mesh connections closed to make room for another.", p->pool.evicted);
  COUNTER("mesh_frames_dropped", "Frames for other nodes that found no connection in time.", p->held_dropped);
}

static void spread(const struct node *n, FILE *f) {
  const struct spread *s = &n->spread;
  struct interest_stats i;
  interest_stats(s->interest, &i);
  GAUGE("interest_nodes", "Other nodes that subscriptions are exchanged with.", s->count);
  GAUGE("interest_nodes_limit", "Most of them.", n->limits.max_interested);
  COUNTER("interest_nodes_left_out", "Nodes that found no place among them.", s->left_out);
  GAUGE("interest_nodes_outside", "Nodes that have no place among them now: QoS 1 is answered listeners_unknown.", s->outside);
  GAUGE("mesh_silent", "Nodes that acknowledge no messages, and are not waited for.", s->silent);
  COUNTER("mesh_silent_found", "Times that a node was found to be so.", s->silenced);
  GAUGE("interest_patterns", "Different patterns of this node's clients.", i.own);
  COUNTER("interest_pages_sent", "Pages of patterns sent to other nodes.", i.sent);
  COUNTER("interest_pages_received", "Pages of patterns received from other nodes.", i.received);
  COUNTER("interest_resets", "Times that a node was told all patterns anew.", i.resets);
  COUNTER("interest_repairs", "Times that what a node had told did not add up and was asked for.", i.repairs);
  COUNTER("mesh_messages_sent", "Copies of messages sent to other nodes.", s->sent);
  COUNTER("mesh_messages_received", "Messages received from other nodes.", s->received);
  COUNTER("mesh_messages_duplicate", "QoS 1 messages of other nodes that came again.", s->duplicates);
  COUNTER("mesh_messages_dropped", "Copies for other nodes that found no room or no way.", s->dropped);
  COUNTER("retained_recalled", "Retained messages of other nodes given to new subscriptions.", s->recalled);
  COUNTER("retained_unasked", "Retained messages of other nodes ignored: not asked for, or of the far future.", s->unasked);
  COUNTER("retained_moved", "Retained messages dropped because another node took a newer one.", s->moved);
}

/* Below zero once it has ended. */
static void certificate(const struct node *n, nanotime now, FILE *f) {
  int64_t unix_s = (int64_t)((n->wall_base_ms + now / NS_MS) / 1000);
  head(f, "certificate_remaining_seconds", "gauge", "Time until the node's certificate ends.");
  if (n->cert_end == UINT64_MAX)
    fputs("macula_certificate_remaining_seconds +Inf\n", f);
  else
    fprintf(f, "macula_certificate_remaining_seconds %lld\n", (long long)n->cert_end - unix_s);
}

int node_metrics(struct node *n, nanotime now, char **ret_text) {
  char *text = NULL;
  size_t len;
  FILE *f = open_memstream(&text, &len);
  if (!f) return MACULA_ENOMEM;
  struct topic_index_stats topics;
  uint64_t accounted = rows_accounted(n);
  char note[NODE_WHY_LEN];
  topic_index_stats(n->messages.topics, &topics);
  GAUGE("gateway_uptime_seconds", "Seconds since the start.", (uint64_t)node_uptime_s(n, now));
  GAUGE("gateway_ready", "1 while new clients are taken.", node_ready(n, now, note));
  certificate(n, now, f);
  GAUGE("gateway_clients", "Clients connected.", clients_total(&n->sessions.clients));
  GAUGE("gateway_memory_bytes", "Resident memory of the process.", rows_rss(n));
  GAUGE("gateway_process_memory_bytes", "Bytes accounted to the rows of the memory table.", accounted);
  GAUGE("gateway_processes", "Processes of this node.", 1);
  GAUGE("gateway_diagnostics_available", "1: com.macula.diagnostics.* answers.", 1);
  COUNTER("questions_refused", "Calls of com.macula.* that cost more than the caller's share.", n->asks.refused);
  COUNTER("questions_passed_on", "Questions of operators about another node, which were passed on to it.", n->asks.far);
  COUNTER("questions_unanswered", "Of these, those that the other node did not answer in time.", n->asks.far_mute);
  COUNTER("questions_of_nodes", "Questions of other nodes' operators that were answered.", n->asks.for_nodes);
  GAUGE("gateway_subscriptions", "Subscriptions.", topics.subscriptions);
  GAUGE("gateway_registrations", "Services registered.", router_registered(n->rpc.router));
  rows(n, f);
  messages(n, f);
  calls(n, f);
  connections(n, f);
  peers(n, f);
  members(n, f);
  spread(n, f);
  refusals(n, f);
  if (fclose(f)) {
    free(text);
    return MACULA_ENOMEM;
  }
  json_malloc_t take; /* allocated like JSON texts, so that callers free both in one way */
  json_get_alloc_funcs(&take, NULL);
  if ((*ret_text = take(len + 1))) memcpy(*ret_text, text, len + 1);
  free(text);
  return *ret_text ? 0 : MACULA_ENOMEM;
}
