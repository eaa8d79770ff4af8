/* A node on real loopback in a thread of its own, for the tests of libmacula. */
#ifndef TEST_LIB_NODE_H
#define TEST_LIB_NODE_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/io.h"
#include "node/node.h"

struct test_node {
  struct io_loop *loop;
  struct io_udp *udp;
  struct node *node;
  struct quic_identity *identity;
  pthread_t thread;
  char at[ADDR_TEXT_LEN], id[ID_HEX_LEN + 1];
};

static inline void *tn_run(void *loop) {
  io_loop_run(loop);
  return NULL;
}

/* bind: "127.0.0.1:0", or the address of an earlier one; NULL identity: a new one. */
static inline void test_node_start(struct test_node *t, const char *bind, struct node_config cfg) {
  struct io_udp_options o = {.icmp_errors = true};
  memset(t, 0, sizeof *t);
  t->identity = cfg.identity ? quic_identity_ref(cfg.identity) : NULL;
  if (!t->identity) assert_int_equal(quic_identity_generate(&t->identity), 0);
  assert_int_equal(io_loop_new(NULL, &t->loop), 0);
  nanotime now = io_now();
  cfg.rng = io_rng();
  cfg.identity = t->identity;
  cfg.unix_base_ms = io_unix_ms() - now / NS_MS;
  assert_int_equal(node_new(&cfg, now, &t->node), 0);
  struct endpoint ep = node_endpoint(t->node);
  io_loop_set_endpoint(t->loop, &ep);
  assert_int_equal(addr_parse(bind, 0, &o.bind), 0);
  assert_int_equal(io_udp_open(t->loop, &o, &t->udp, NULL), 0);
  addr_text(io_udp_local(t->udp), t->at);
  id_hex(node_id(t->node), t->id);
  assert_int_equal(pthread_create(&t->thread, NULL, tn_run, t->loop), 0);
}

/* As SIGKILL: nobody is told. */
static inline void test_node_stop(struct test_node *t) {
  io_loop_stop(t->loop);
  pthread_join(t->thread, NULL);
  io_loop_free(t->loop);
  node_free(t->node);
  quic_identity_unref(t->identity);
}

#endif
