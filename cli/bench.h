/* What the benchmarks share: many clients on one loop, driven from its thread; the node's CPU and memory; printing. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <stdatomic.h>

#include "cli.h"
#include "histogram.h"

struct bench_options {
  uint64_t clients, messages, size, outstanding, subscribers, duration, hold;
  const char *to; /* node of subscribers and providers; NULL: the same */
  bool flat;
};

struct bench_client {
  struct bench *bench;
  macula_client client;
  uint64_t started;
  bool in, far; /* far: at o->to */
};

struct bench {
  struct cli *cli;
  const struct bench_options *o;
  char server[384]; /* with the node's id pinned: connecting reads no file */
  char topic[64];   /* of this run alone */
  struct bench_client *clients;
  macula_loop *sending; /* of the first `senders` clients; NULL: cli's, as of all others */
  uint64_t senders;
  uint64_t wanted, at_once;  /* clients; connection attempts in flight */
  uint64_t asked, connected; /* under cli->lock, as are err, text and ending */
  int err;
  char text[512];
  bool ending;
  atomic_bool *stop; /* set when a signal asks to end while there is something to keep; NULL: there is not */
  bool interrupted;  /* that was so: what is printed is of a part */
  long node_pid;     /* 0: not found yet */
  struct histogram connect_times;
};

/* The node's own figures; negative: not told. */
struct bench_node {
  double cpu_s, rss;
};
int bench_prepare(struct bench *b); /* loop, identity, the node's id; returns an exit code, its error printed */
int bench_send_apart(struct bench *b, uint64_t senders); /* gives these a loop of their own; an exit code as above */
int bench_look(struct bench *b, struct bench_node *ret_node);
double bench_node_cpu(struct bench *b); /* seconds; negative: the node is not on this machine, or another user's */
/* far: how many of them connect to o->to, from which on. */
int bench_connect(struct bench *b, uint64_t count, uint64_t at_once, uint64_t far, uint64_t far_from);
void bench_failed(struct bench *b, int err, const char *text); /* on any thread: the run ends with this */
/* Sleeps until woken or `until`; an exit code if the run failed, or was interrupted with nothing to keep, else -1. */
int bench_wait(struct bench *b, uint64_t until);
void bench_progress(const char *what, uint64_t done, uint64_t total); /* on a terminal only */
void bench_end(struct bench *b, int code);
/* Prints, and returns the exit code: a JSON object is given as is, else one line a member. Takes json. */
int bench_print(struct bench *b, json_t *json);
void bench_add_cpu(json_t *json, const struct bench_node *before, const struct bench_node *after, double operations);
void bench_add_latency(json_t *json, const struct histogram *h);

int bench_pubsub(struct cli *cli, const struct bench_options *o, bool fanout);
int bench_rpc(struct cli *cli, const struct bench_options *o);
int bench_connections(struct cli *cli, const struct bench_options *o, bool idle);

#endif
