/* Two nodes of one mesh in the simulator, an ordinary client of the first and one that says it is a node, both of which send
 * frames of any bytes, while time passes, connections end and datagrams of any bytes come: after each turn all that must hold
 * of both nodes is looked at (node/check.h, by the rig), and an honest client is still served at the end. Input: steps, each a
 * byte (what), two bytes (a length, at most 4,095, or a time), then as many bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "node/check.h"
#include "sim/node_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_STEPS 200

enum step { STEP_CLIENT, STEP_NODE, STEP_OTHER, STEP_RAW, STEP_TIME, STEP_DATAGRAM, STEP_RESET, STEP_CUT, STEP_COUNT };

struct scene {
  struct rig rig[2];
  struct rig_client *client, *node, *other; /* other: a client of the second node */
  uint64_t cuts;
};

static struct scene scene;

static void require(int ok) {
  if (!ok) abort();
}

static struct quic_identity *identity_of(int i) { /* the same in all runs of a process: keys take time */
  static struct quic_identity *all[3];
  if (!all[i]) require(quic_identity_generate(&all[i]) == 0);
  return all[i];
}

static void connect_as_node(struct rig_client *c) {
  struct msg m = {.type = MSG_CONNECT,
                  .connect = {.version = slice_str("1.0"),
                              .node_id = slice_of(quic_identity_id(c->identity)->b, ID_LEN),
                              .realm_id = slice_str("test"),
                              .caps = RIG_EXT | CAP_NODE | CAP_ORIGIN | CAP_TOPICS,
                              .instance = slice_of(c->instance, sizeof c->instance)}};
  rig_send(c, &m);
}

static void begin(struct scene *x) {
  struct rig_options o = {.node = {.limits = {.max_members = 64}}}, beside = {.beside = &x->rig[0], .index = 1};
  rig_start(&x->rig[0], &o);
  rig_start(&x->rig[1], &beside);
  require(node_join(x->rig[1].node, &x->rig[0].addr, NULL, true, sim_net_now(x->rig[0].net)) == 0);
  x->client = rig_join(&x->rig[0], 0, identity_of(0), RIG_EXT | CAP_ORIGIN | CAP_TOPICS);
  x->other = rig_join(&x->rig[1], 0, identity_of(1), RIG_EXT | CAP_ORIGIN | CAP_TOPICS);
  x->node = rig_client(&x->rig[0], 0, identity_of(2));
  rig_opened(x->node);
  connect_as_node(x->node);
  rig_run(&x->rig[0], NS_SEC);
}

static void write_to(struct rig_client *c, struct slice bytes) {
  if (c->conn && c->open) (void)quic_stream_write(c->conn, c->stream, bytes);
}

/* A frame whose header is right. */
static void frame(struct rig_client *c, struct slice body) {
  uint8_t buf[FRAME_HEADER_LEN + 4096];
  if (!body.n) return;
  frame_header(buf, body.p[0], (uint32_t)(body.n - 1));
  memcpy(buf + FRAME_HEADER_LEN, body.p + 1, body.n - 1);
  write_to(c, slice_of(buf, FRAME_HEADER_LEN + body.n - 1));
}

static void reset(struct rig_client *c) {
  if (c->conn) quic_conn_close(c->conn, 0, "");
}

static void step(struct scene *x, enum step what, unsigned number, struct slice bytes) {
  struct rig_client *who = number % 2 ? x->node : x->client;
  switch (what) {
  case STEP_CLIENT:
    frame(x->client, bytes);
    break;
  case STEP_NODE:
    frame(x->node, bytes);
    break;
  case STEP_OTHER:
    frame(x->other, bytes);
    break;
  case STEP_RAW:
    write_to(who, bytes);
    break;
  case STEP_TIME:
    rig_run(&x->rig[0], (nanotime)number * 5 * NS_MS);
    break;
  case STEP_DATAGRAM:
    sim_net_inject(x->rig[0].net, &who->addr, &x->rig[0].addr, bytes);
    break;
  case STEP_RESET:
    reset(who);
    break;
  case STEP_CUT:
    sim_net_cut(x->rig[0].net, &x->rig[0].addr, &x->rig[1].addr, x->cuts++ % 2 == 0);
    break;
  case STEP_COUNT:
    break;
  }
}

static void steps(struct scene *x, struct slice in) {
  for (unsigned k = 0; k < MOST_STEPS && in.n >= 3; k++) {
    enum step what = in.p[0] % STEP_COUNT;
    unsigned number = (unsigned)(in.p[1] << 8 | in.p[2]) & 4095;
    bool has_bytes = what <= STEP_RAW || what == STEP_DATAGRAM;
    in = slice_of(in.p + 3, in.n - 3);
    size_t n = !has_bytes ? 0 : number < in.n ? number : in.n;
    step(x, what, number, slice_of(in.p, n));
    in = slice_of(in.p + n, in.n - n);
    rig_run(&x->rig[0], NS_MS);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct scene *x = &scene;
  if (size > 65536) return 0;
  memset(x, 0, sizeof *x);
  begin(x);
  steps(x, slice_of(data, size));
  for (int i = 0; i < 2; i++) {
    const char *broken = node_check(x->rig[i].node);
    if (broken) {
      fprintf(stderr, "node %d: %s\n", i, broken);
      abort();
    }
    /* A client that means well is served. */
    struct rig_client *c = rig_join(&x->rig[i], 0, identity_of(i), RIG_EXT);
    require(rig_subscribe(c, "honest.*") == 0);
  }
  rig_stop(&x->rig[1]);
  rig_stop(&x->rig[0]);
  return 0;
}
