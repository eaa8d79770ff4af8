/* Whom a node links with: what it dials learns nothing but CONNECT until it has proved that it is a node, too. */
#include "impostor.h"

struct lines { /* what the node logged about nodes that it refused */
  int refused;
  char last[1024];
};

static void on_line(void *ctx, enum log_level level, const char *event, const char *fields) {
  struct lines *l = ctx;
  (void)level;
  if (strcmp(event, "node_refused") != 0) return;
  l->refused++;
  snprintf(l->last, sizeof l->last, "%s", fields);
}

struct mesh { /* the world's node, and an address that it dials */
  struct world w;
  struct lines lines;
  struct log log;
  struct addr there;
  struct quic_identity *id;
};

#define NODES_BY_TOKEN(token) "grants: {node: {role: node}}\ntokens: [{token: " token ", grant: node}]\n"

static void mesh_start(struct mesh *m, const char *access) {
  m->log = (struct log){LOG_INFO, on_line, &m->lines};
  m->w.access = access;
  m->w.cfg.log = &m->log;
  world_init(&m->w, NULL);
  assert_int_equal(quic_identity_generate(&m->id), 0);
  assert_int_equal(addr_parse("10.0.0.9:9443", 0, &m->there), 0);
  node_set_sockets(m->w.node, &m->w.node_at, 1);
}

static void mesh_stop(struct mesh *m) {
  quic_identity_unref(m->id);
  world_done(&m->w);
}

static void dial(struct mesh *m) {
  assert_int_equal(node_join(m->w.node, &m->there, NULL, true, sim_net_now(m->w.net)), 0);
  world_run(&m->w, 30 * NS_SEC);
}

static void test_impostor(void **state) {
  static const struct {
    enum answer answer;
    const char *why; /* NULL: it is let in */
  } all[] = {{NO_PROOF, "nothing proves"},
             {REFLECTED, "proved no token"},
             {OLD_PROOF, "proved no token"},
             {GUESSED, "proved no token"},
             {PROVED, NULL}};
  (void)state;
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    struct mesh m = {0};
    struct impostor v;
    const char *why = all[i].why;
    bool linked = !why;
    mesh_start(&m, NODES_BY_TOKEN(TOKEN));
    impostor_start(&v, &m.w, &m.there, m.id);
    v.answer = all[i].answer;
    dial(&m);
    assert_int_equal(node_joined(m.w.node, &m.there), linked);
    assert_true(linked ? v.others > 0 : v.connects >= 3 && v.others == 0); /* again and again */
    assert_int_equal(m.lines.refused, !linked);                            /* and said once */
    char hex[ID_HEX_LEN + 1];
    id_hex(quic_identity_id(m.id), hex);
    if (!linked) assert_true(strstr(m.lines.last, hex) && strstr(m.lines.last, why));
    impostor_stop(&v);
    mesh_stop(&m);
  }
}

/* Two nodes of one token link, whatever else differs; with two tokens, or where only one has any, they do not. */
static void test_nodes(void **state) {
  static const struct {
    const char *here, *there;
    bool linked;
  } all[] = {{NODES_BY_TOKEN(TOKEN), NODES_BY_TOKEN(TOKEN), true},
             {NODES_BY_TOKEN(TOKEN), NODES_BY_TOKEN("another-token-as-long"), false},
             {NODES_BY_TOKEN(TOKEN), NULL, false},
             {NODES_BY_TOKEN(TOKEN), ACCESS_BY_TOKEN(TOKEN), false}, /* one of clients */
             {NULL, NULL, true}};
  (void)state;
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    struct mesh m = {0};
    struct node *other;
    mesh_start(&m, all[i].here);
    struct node_config cfg = m.w.cfg;
    cfg.identity = m.id;
    cfg.access = all[i].there ? access_text(all[i].there) : NULL;
    cfg.log = NULL;
    assert_int_equal(node_new(&cfg, sim_net_now(m.w.net), &other), 0);
    access_unref(cfg.access);
    struct endpoint ep = node_endpoint(other);
    sim_net_attach(m.w.net, &m.there, &ep);
    dial(&m);
    assert_int_equal(node_joined(m.w.node, &m.there), all[i].linked);
    sim_net_detach(m.w.net, &m.there);
    node_free(other);
    mesh_stop(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_impostor),
      cmocka_unit_test(test_nodes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
