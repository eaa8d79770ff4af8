#include "metrics.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static void counter(FILE *f, const char *name, const char *help, uint64_t v) {
  fprintf(f, "# HELP macula_%s %s\n# TYPE macula_%s counter\nmacula_%s %llu\n", name, help, name, name, (unsigned long long)v);
}

static void sockets(FILE *f, const struct io_stats *s) {
  fprintf(f, "# HELP macula_udp_dropped_total Datagrams that this machine refused to send, by reason.\n"
             "# TYPE macula_udp_dropped_total counter\n");
  for (enum io_drop why = 0; why < IO_DROPS; why++)
    fprintf(f, "macula_udp_dropped_total{reason=\"%s\"} %llu\n", io_drop_name(why), (unsigned long long)s->tx_dropped[why]);
  counter(f, "udp_blocked_total", "Times that a socket was full and waited to be writable.", s->tx_blocked);
  counter(f, "udp_receive_errors_total", "Reads of a socket that failed, ICMP errors among them.", s->rx_errors);
  counter(f, "udp_icmp_errors_total", "ICMP errors received.", s->icmp_errors);
}

static void turns(FILE *f, const struct turns *t) {
  static const uint64_t bounds[TURN_BOUNDS] = TURN_BOUNDS_NS;
  uint64_t sum = 0;
  fprintf(f, "# HELP macula_loop_turn_seconds How long the loop computed from one poll to the next.\n"
             "# TYPE macula_loop_turn_seconds histogram\n");
  for (int i = 0; i < TURN_BOUNDS; i++)
    fprintf(f, "macula_loop_turn_seconds_bucket{le=\"%g\"} %llu\n", (double)bounds[i] / 1e9,
            (unsigned long long)(sum += t->count[i]));
  sum += t->count[TURN_BOUNDS];
  fprintf(f, "macula_loop_turn_seconds_bucket{le=\"+Inf\"} %llu\nmacula_loop_turn_seconds_sum %.6f\n", (unsigned long long)sum,
          (double)t->computed / 1e9);
  fprintf(f, "macula_loop_turn_seconds_count %llu\n", (unsigned long long)sum);
  fprintf(f,
          "# HELP macula_loop_turn_longest_seconds The longest turn so far, and what took most of it.\n"
          "# TYPE macula_loop_turn_longest_seconds gauge\nmacula_loop_turn_longest_seconds{cause=\"%s\"} %.6f\n",
          t->cause, (double)t->longest / 1e9);
  fprintf(f,
          "# HELP macula_loop_turn_longest_wall_seconds That turn with the time in which other programs had the processor.\n"
          "# TYPE macula_loop_turn_longest_wall_seconds gauge\nmacula_loop_turn_longest_wall_seconds %.6f\n",
          (double)t->longest_wall / 1e9);
}

/* Memory of the same account as JSON texts: one way to free them. */
int metrics_text(struct node *node, const struct io_loop *loop, const struct http_stats *http, nanotime now, char **ret_text) {
  char *of_node, *text = NULL;
  size_t len = 0;
  struct io_stats s;
  json_malloc_t take;
  json_free_t give;
  json_get_alloc_funcs(&take, &give);
  int err = node_metrics(node, now, &of_node);
  if (err) return err;
  FILE *f = open_memstream(&text, &len);
  if (f) {
    io_loop_stats(loop, &s);
    fputs(of_node, f);
    sockets(f, &s);
    turns(f, io_loop_turns(loop));
    counter(f, "http_requests_total", "HTTP requests.", http->requests);
    counter(f, "http_refused_total", "HTTP requests and connections refused.", http->refused);
    counter(f, "http_displaced_total", "HTTP connections that made room for others.", http->displaced);
    counter(f, "http_too_slow_total", "HTTP connections ended since the request or the reading took too long.", http->slow);
  }
  give(of_node);
  bool whole = f && fclose(f) == 0 && (*ret_text = take(len + 1));
  if (whole) memcpy(*ret_text, text, len + 1);
  free(text);
  return whole ? 0 : MACULA_ENOMEM;
}
