/* Prometheus text: for every table its entries, its limit and what it refused; queues, calls and connections. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/internal.h"

static void head(FILE *f, const char *name, const char *kind, const char *help) {
  fprintf(f, "# HELP macula_%s %s\n# TYPE macula_%s %s\n", name, help, name, kind);
}

static void one(FILE *f, const char *name, const char *kind, const char *help, uint64_t v) {
  head(f, name, kind, help);
  fprintf(f, "macula_%s %llu\n", name, (unsigned long long)v);
}
#define GAUGE(name, help, v) one(f, name, "gauge", help, v)
#define COUNTER(name, help, v) one(f, name "_total", "counter", help, v)

static void tables(const struct node *n, FILE *f) {
  const struct services *services = router_services(n->router);
  const struct calls *calls = router_calls(n->router);
  struct topic_index_stats topics;
  topic_index_stats(n->topics, &topics);
  const struct {
    const char *name;
    uint64_t entries, limit, refused;
  } t[] = {{"clients", n->clients.count, n->clients.max, n->clients.refused},
           {"operators", n->clients.ops, n->clients.max_ops, 0},
           {"peers", 0, 1000, 0},
           {"services", services->count, services->max, services->refused},
           {"subscriptions", topics.subscriptions, topics.max, topics.refused},
           {"pending_calls", calls_count(calls), calls->max, calls->refused},
           {"retained", retained_count(&n->retained), n->limits.retained_count, n->retained.refused},
           {"retained_bytes", n->retained.bytes, n->retained.max_bytes, 0},
           {"dedup_ids", dedup_count(&n->dedup), n->limits.dedup_ids, 0}};
  static const char *const help[3] = {"Entries of the table.", "Most entries of the table.", "Entries refused at the limit."};
  static const char *const name[3] = {"table_entries", "table_limit", "table_refused_total"};
  for (int k = 0; k < 3; k++) {
    head(f, name[k], k == 2 ? "counter" : "gauge", help[k]);
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
      fprintf(f, "macula_%s{table=\"%s\"} %llu\n", name[k], t[i].name,
              (unsigned long long)(k == 0   ? t[i].entries
                                   : k == 1 ? t[i].limit
                                            : t[i].refused));
  }
}

static void memory(const struct node *n, FILE *f) {
  static const char *const help[4] = {"Octets in use.", "Most octets allowed; 0: bounded by entries.",
                                      "Most octets ever in use.", "Allocations refused."};
  static const char *const name[4] = {"memory_bytes", "memory_limit_bytes", "memory_peak_bytes", "memory_refused_total"};
  for (int k = 0; k < 4; k++) {
    head(f, name[k], k == 3 ? "counter" : "gauge", help[k]);
    for (int i = 0; i < ROW_COUNT; i++) {
      const struct mem *m = &n->mem[i];
      uint64_t v = k == 0 ? m->bytes : k == 1 ? m->limit : k == 2 ? m->peak : m->refused;
      fprintf(f, "macula_%s{row=\"%s\"} %llu\n", name[k], m->name, (unsigned long long)v);
    }
  }
}

static void refusals(const struct node *n, FILE *f) {
  head(f, "connections_ended_total", "counter", "Client connections ended by the node or by goodbye, by code.");
  for (int i = 1; i < 128; i++)
    if (n->stats.refused[i])
      fprintf(f, "macula_connections_ended_total{code=\"%s\"} %llu\n", macula_err_name(-i),
              (unsigned long long)n->stats.refused[i]);
}

static void messages(const struct node *n, FILE *f) {
  const struct node_stats *s = &n->stats;
  COUNTER("frames_received", "Frames received.", s->frames);
  COUNTER("frames_unknown", "Frames of an unknown type, skipped.", s->unknown_frames);
  COUNTER("frames_ignored", "Frames that this node has no use for.", s->ignored_frames);
  COUNTER("messages_published", "Messages taken from publishers.", s->published);
  COUNTER("messages_delivered", "Messages queued for subscribers.", s->delivered);
  COUNTER("messages_dropped", "Messages that a subscriber's full queue or the full pool left out.", s->dropped);
  COUNTER("messages_duplicate", "QoS 1 messages that came again.", n->dedup.duplicates);
  COUNTER("messages_not_retained", "Messages that were to be retained and could not be.", s->retained_unstored);
  COUNTER("slow_consumers", "Clients disconnected because they read too slowly.", s->slow_consumers);
  COUNTER("slow_consumers_shed", "Those of them that had stopped reading while the pool was full.", s->sheds);
  COUNTER("publisher_pauses", "Times that a publisher had to wait for the pool.", s->pauses);
  GAUGE("send_queue_bytes", "Octets of the node-wide pool of send queues in use.", n->mem[ROW_SEND].bytes);
  GAUGE("send_queue_limit_bytes", "The pool's size.", n->limits.send_pool);
  GAUGE("receive_reserved_bytes", "Octets reserved for unfinished frames.", n->reserved);
  GAUGE("receive_windows_grown_bytes", "Octets of receive windows beyond the initial ones.", n->window_more);
  COUNTER("clients_admitted", "Clients let in.", s->admitted);
  COUNTER("clients_replaced", "Connections that a newer one of the same client replaced.", n->clients.replaced);
}

static void calls(const struct node *n, FILE *f) {
  const struct router_stats *r = router_stats(n->router);
  COUNTER("calls", "Calls accepted.", r->calls);
  COUNTER("casts", "Casts accepted.", r->casts);
  COUNTER("call_replies", "Results passed on.", r->replies);
  COUNTER("call_handler_errors", "Errors of providers passed on.", r->handler_errors);
  COUNTER("call_timeouts", "Calls that ended with timeout.", r->timeouts);
  COUNTER("call_no_such_procedure", "Calls for which there was no provider.", r->no_such_procedure);
  COUNTER("call_all_providers_failed", "Calls that all providers failed.", r->all_providers_failed);
  COUNTER("call_max_attempts_exceeded", "Calls that used up their attempts.", r->max_attempts_exceeded);
  COUNTER("call_failovers", "Attempts after the first.", r->failovers);
  COUNTER("call_cancelled", "Calls cancelled by their caller or by its end.", r->cancelled);
  COUNTER("call_refused", "Calls refused at a limit.", r->too_many_calls);
  COUNTER("call_late_replies", "Replies that came too late or from nowhere.", r->late);
  COUNTER("services_expired", "Services that were not renewed in time.", router_services(n->router)->expired);
}

static void connections(const struct node *n, FILE *f) {
  struct quic_stats q;
  quic_stats(n->quic, &q);
  GAUGE("quic_connections", "QUIC connections.", q.conns);
  GAUGE("quic_half_open", "Of them, those that have not been let in.", q.half_open);
  COUNTER("quic_accepted", "Connections accepted.", q.accepted);
  COUNTER("quic_refused_full", "Connections refused: too many.", q.refused_full);
  COUNTER("quic_refused_half_open", "Connections refused: too many half-open.", q.refused_half_open);
  COUNTER("quic_retries_sent", "Retry packets sent.", q.retries_sent);
  COUNTER("quic_retry_ok", "Connections with a valid token.", q.retry_ok);
  COUNTER("quic_handshakes_failed", "Handshakes that failed.", q.handshakes_failed);
  COUNTER("quic_resumed", "Handshakes resumed by ticket.", q.resumed);
  COUNTER("quic_stateless_resets_sent", "Stateless resets sent.", q.stateless_resets_sent);
  COUNTER("quic_version_negotiations", "Version negotiations sent.", q.version_negotiations);
  COUNTER("quic_migrations", "Clients that changed their address.", q.migrations);
  COUNTER("quic_key_updates", "Key updates.", q.key_updates);
  COUNTER("quic_icmp_checks", "Connections probed after an ICMP error.", q.icmp_checks);
  COUNTER("quic_datagrams_received", "Datagrams received.", q.datagrams_in);
  COUNTER("quic_datagrams_sent", "Datagrams sent.", q.datagrams_out);
  COUNTER("quic_octets_received", "Octets received.", q.octets_in);
  COUNTER("quic_octets_sent", "Octets sent.", q.octets_out);
  COUNTER("quic_dropped", "Datagrams dropped.", q.dropped);
}

int node_metrics(struct node *n, nanotime now, char **ret_text) {
  char *text = NULL;
  size_t len;
  FILE *f = open_memstream(&text, &len);
  if (!f) return MACULA_ENOMEM;
  struct topic_index_stats topics;
  uint64_t accounted = 0;
  for (int i = 0; i < ROW_COUNT; i++) accounted += n->mem[i].bytes;
  topic_index_stats(n->topics, &topics);
  GAUGE("gateway_uptime_seconds", "Seconds since the start.", (uint64_t)node_uptime_s(n, now));
  GAUGE("gateway_ready", "1 while new clients are taken.", !n->draining);
  GAUGE("gateway_clients_total", "Clients connected.", clients_total(&n->clients));
  GAUGE("gateway_memory_bytes", "Resident memory of the process.", n->rss_bytes ? n->rss_bytes(n->rss_ctx) : 0);
  GAUGE("gateway_process_memory_bytes", "Octets accounted to the rows of the memory table.", accounted);
  GAUGE("gateway_process_count", "Processes of this node.", 1);
  GAUGE("gateway_diagnostics_available", "1: com.macula.diagnostics.* answers.", 1);
  GAUGE("gateway_subscriptions_total", "Subscriptions.", topics.subscriptions);
  GAUGE("gateway_registrations_total", "Services registered.", router_services(n->router)->count);
  tables(n, f);
  memory(n, f);
  messages(n, f);
  calls(n, f);
  connections(n, f);
  refusals(n, f);
  if (fclose(f)) {
    free(text);
    return MACULA_ENOMEM;
  }
  *ret_text = text;
  return 0;
}
