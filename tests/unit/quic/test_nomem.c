/* The n-th allocation fails, for every n: nothing crashes, nothing leaks, and the connection works or ends. */
#include "pair.h"

static void scenario(struct pair *p, bool fail_client, struct mem_fail *fail) {
  pair_init(p, 71, NULL);
  struct side *f = fail_client ? &p->a : &p->b;
  f->mem = MEM_INIT("quic", 0);
  f->send_mem = MEM_INIT("send", 0);
  f->mem.fail = f->send_mem.fail = fail;
  p->b.echo = true;
  side_start(fail_client ? &p->b : &p->a, p->net, fail_client ? "10.0.0.2:9443" : "10.0.0.1:1000",
             fail_client ? &p->cb : &p->ca);
  f->net = p->net;
  assert_int_equal(addr_parse(fail_client ? "10.0.0.1:1000" : "10.0.0.2:9443", 0, &f->at), 0);
  if (quic_new(fail_client ? &p->ca : &p->cb, sim_net_now(p->net), &f->q)) {
    f->q = NULL;
    return;
  }
  sim_net_attach(p->net, &f->at, &(struct endpoint){ep_recv, ep_icmp, ep_deadline, ep_tick, ep_send, f->q});
  if (pair_connect_with(p, (struct quic_connect){0})) return;
  int64_t s = -1;
  for (int i = 0; i < 40; i++) {
    pair_run(p, 50 * NS_MS);
    if (p->a.conn && p->a.opened && (s >= 0 || quic_stream_open(p->a.conn, &s) == 0)) {
      uint8_t data[3000] = {0};
      (void)quic_stream_write(p->a.conn, s, slice_of(data, sizeof data));
    }
    if (i == 30 && p->a.conn) quic_conn_close(p->a.conn, 0, "bye");
  }
  pair_run(p, 3 * NS_SEC);
}

static void every(bool fail_client) {
  struct pair p;
  struct mem_fail fail = {0};
  scenario(&p, fail_client, &fail);
  assert_true(p.a.in_len > 0);
  uint64_t n = fail.seen;
  pair_done(&p);
  assert_true(n > 50);
  for (uint64_t k = 1; k <= n; k += k < 150 ? 1 : 7) {
    fail = (struct mem_fail){.countdown = k};
    scenario(&p, fail_client, &fail);
    pair_done(&p); /* checks that both accounts are empty */
  }
}

static void test_client(void **st) {
  (void)st;
  every(true);
}
static void test_server(void **st) {
  (void)st;
  every(false);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_client), cmocka_unit_test(test_server)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
