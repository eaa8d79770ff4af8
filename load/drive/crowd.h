/* Many clients of one node, counted. */
#ifndef LOAD_DRIVE_CROWD_H
#define LOAD_DRIVE_CROWD_H

#include "load/drive/engine.h"

struct load_client {
  struct load_crowd *crowd;
  struct client *c;
  bool in, was_in, leaving;
  int err; /* the last: of a refusal or a loss */
  nanotime asked;
  uint64_t got, served, cancelled, pending, answered, failed;
  uint64_t replies; /* for the scenario */
  void *user;
};

struct load_crowd {
  struct load *l;
  struct load_node *node;
  struct load_client *v;
  size_t count, next, end;
  uint64_t in, was_in, refused, lost, left, ended; /* refused: max_clients_reached; lost: anything else, unasked */
  uint64_t confirmed;                              /* subscriptions and services */
  uint64_t got, served, cancelled, answered, failed;
  uint64_t taken, not_taken; /* messages that the operator published to all, as the node said */
  uint64_t other_err;        /* the last that was neither */
  bool reconnect;
  struct quic_identity *identity;                                     /* NULL: the run's */
  void (*on_request)(struct load_client *c, const macula_request *r); /* NULL: answered at once with its arguments */
  void *user;
  struct histogram *connect_times, *call_times;
};
int load_crowd_new(struct load *l, struct load_node *n, size_t count, struct load_crowd **ret_crowd);
/* Connects those from `from` on, `at_once` attempts at a time; returns at once. */
void load_crowd_connect(struct load_crowd *c, size_t from, size_t count, size_t at_once);
bool load_crowd_decided(void *crowd); /* for load_wait: all that were asked for are in or refused or lost */
void load_client_subscribe(struct load_client *c, const char *pattern);
void load_client_serve(struct load_client *c, const char *procedure, uint64_t ttl_ms);
/* Counted in answered or failed of client and crowd. */
int load_client_call(struct load_client *c, const char *procedure, const char *args, uint64_t timeout_ms);
void load_client_leave(struct load_client *c); /* says goodbye */
void load_crowd_leave(struct load_crowd *c, size_t from, size_t count);
/* Ends what is left, without a word (but to a given node), and frees it when the hub has forgotten the clients. */
void load_crowd_free(struct load_task *t, struct load_crowd *c);

#endif
