/* What must hold of an endpoint is missed when it is broken; that it holds is seen after each datagram of all tests of this
 * folder (pair.h). */
#include "pair.h"
#include "quic/internal.h"

static struct pair p;
#define SEES(what, wrong, text) BREAKS(what, wrong, quic_check(q), text)

static void endpoint(void **state) {
  (void)state;
  pair_init(&p, 51, NULL);
  pair_start(&p);
  pair_connect(&p);
  struct quic *q = p.b.q;
  struct quic_conn *c = p.b.conn;
  SEES(q->total, 2, "quic: the connections are not as many as counted");
  SEES(q->stats.conns, 2, "quic: the established are not as many as counted");
  SEES(q->stats.half_open, 0, "quic: the half-open are not as many as counted");
  SEES(q->stats.streams, 9, "quic: the streams are not as many as counted");
  SEES(q->raw_count, 1, "quic: the datagrams that wait are not as many as counted");
  uint8_t none[1];
  SEES(q->stash, none, "quic: a datagram that is put aside is empty");
  SEES(q->pool_used, q->pool_used + 1, "quic: the pool is not charged what connections hold of it");
  SEES(c->state, CONN_LINGER, "quic: a connection's state is not that of what it has");
  SEES(c->half_open, false, "quic: a half-open one is not among those, or another is");
  SEES(c->held, 0, "quic: a connection holds less than its streams, or more without any");
  SEES(c->scids->conn, NULL, "quic: an id does not lead to its connection");
  SEES(c->scids->id[0], (uint8_t)~c->scids->id[0], "quic: an id does not lead to its connection");
  SEES(c->scids, c->scids->next, "quic: an id is in no connection's list");
  SEES(c->timer.pos, 0, "heap: an entry does not know its place");
  struct list elsewhere;
  list_init(&elsewhere);
  assert_true(list_empty(&c->event) && list_empty(&c->dirty));
  list_append(&elsewhere, &c->event);
  assert_string_equal(quic_check(q), "quic: those that are to be told of are not as many as say so");
  list_remove(&c->event);
  list_append(&elsewhere, &c->dirty);
  assert_string_equal(quic_check(q), "quic: those that are to send are not as many as say so");
  list_remove(&c->dirty);
  quic_conn_close(c, MACULA_SHUTTING_DOWN, "");
  HOLDS(quic_check(q));
  list_remove(&c->event);
  assert_string_equal(quic_check(q), "quic: the end of one is never told");
  list_append(&q->events, &c->event);
  pair_run(&p, 20 * NS_MS);
  assert_int_equal(c->state, CONN_LINGER);
  struct list *at = c->dirty.next;
  list_remove(&c->dirty);
  assert_string_equal(quic_check(q), "quic: one that lingers is not among those");
  list_append(&elsewhere, &c->dirty);
  assert_string_equal(quic_check(q), "quic: those that linger are not as many as say so");
  list_remove(&c->dirty);
  list_insert(at, &c->dirty);
  SEES(c->state, CONN_GONE, "quic: one that is gone can still be found");
  SEES(c->held, 1, "quic: a connection holds less than its streams, or more without any");
  pair_run(&p, 20 * NS_SEC);
  pair_done(&p);
}

static void streams(void **state) {
  (void)state;
  static uint8_t data[100000];
  int64_t id, other;
  pair_init(&p, 52, NULL);
  pair_start(&p);
  pair_connect(&p);
  struct quic *q = p.a.q;
  struct quic_conn *c = p.a.conn;
  assert_int_equal(quic_stream_open(c, &id), 0);
  assert_int_equal(quic_stream_open(c, &other), 0);
  p.b.hold = true;
  assert_int_equal(quic_stream_write(c, id, slice_of(data, sizeof data)), 0);
  HOLDS(quic_check(q));
  struct stream *s = stream_find(c, id);
  SEES(s->queued, s->queued + 1, "quic: the bytes queued are not as many as counted");
  SEES(s->unsent, s->unsent + 1, "quic: the bytes to be sent are not as many as counted");
  SEES(s->tail, s->head, "quic: a send queue does not end where it says");
  SEES(s->head->len, s->head->cap + 1, "quic: a chunk is empty, or holds more than it has room for");
  SEES(s->head->len, 0, "quic: a chunk is empty, or holds more than it has room for");
  SEES(s->next_off, s->next->len, "quic: the first byte to be sent is behind its chunk");
  SEES(s->blocked, true, "quic: a stream that has something to send is not ready, or the reverse");
  SEES(s->conn, NULL, "quic: a stream is of another connection");
  SEES(c->queued, c->queued + 1, "quic: a connection's bytes are not as many as its streams'");
  struct stream none;
  SEES(c->hot, &none, "quic: the stream found last is no more");
  struct list elsewhere;
  list_init(&elsewhere);
  list_remove(&s->ready);
  list_append(&elsewhere, &s->ready);
  assert_string_equal(quic_check(q), "quic: the streams that are ready are not as many as say so");
  list_remove(&s->ready);
  list_append(&c->ready, &s->ready);
  pair_run(&p, NS_SEC); /* the window is full: a part is acknowledged, a part waits */
  assert_true(s->unsent > 0 && s->queued < sizeof data);
  SEES(s->queued, 0, "quic: the bytes queued are not as many as counted");
  quic_stream_reset(c, id, 1);
  HOLDS(quic_check(q));
  pair_run(&p, NS_SEC);
  pair_done(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(endpoint), cmocka_unit_test(streams)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
