#include "node/doors/quic.h"

#include "node/state.h"
#include "quic/quic.h"

static int write_copy(struct door *d, int64_t way, struct slice bytes) { return quic_stream_write(d->conn, way, bytes); }
static int write_ref(struct door *d, int64_t way, struct shbuf *b) { return quic_stream_write_ref(d->conn, way, b); }
static void finish(struct door *d, int64_t way) { quic_stream_finish(d->conn, way); }
static size_t queued(const struct door *d, int64_t way) {
  return way == DOOR_ALL ? quic_queued(d->conn) : quic_stream_queued(d->conn, way);
}
static size_t unsent(const struct door *d, int64_t way) { return quic_stream_unsent(d->conn, way); }
static nanotime progress(const struct door *d, int64_t way) {
  return way == DOOR_ALL ? quic_queue_progress(d->conn) : quic_stream_progress(d->conn, way);
}
static uint32_t written(const struct door *d) { return quic_written(d->conn); }
static bool offsets(const struct door *d, int64_t way, struct door_offsets *ret) {
  struct quic_offsets at;
  if (!quic_stream_offsets(d->conn, way, &at)) return false;
  *ret = (struct door_offsets){at.written, at.sent, at.acked};
  return true;
}
static void more(struct door *d, bool more) { quic_conn_more(d->conn, more); }
static void resume(struct door *d, int64_t way, size_t n) { quic_consume(d->conn, way, n); }
static void credit(struct door *d, int64_t way, size_t n) {
  if (way == DOOR_ALL)
    quic_consume_conn(d->conn, n);
  else
    quic_consume_stream(d->conn, way, n);
}
static bool is_ours(const struct door *d, int64_t way) { return quic_stream_is_ours(d->conn, way); }
static int open_way(struct door *d, int64_t *ret_way) { return quic_stream_open_one_way(d->conn, ret_way); }
static uint64_t ways_left(const struct door *d) { return quic_one_way_left(d->conn); }
static void grant_ways(struct door *d, uint32_t n) { quic_conn_grant_streams(d->conn, n); }

static void home(struct door *d, int64_t way) {
  d->home = way;
  for (int i = 0; i < LANES; i++) d->way[i] = way;
}

static int open_home(struct door *d) {
  int64_t way;
  int err = quic_stream_open(d->conn, &way);
  if (!err) home(d, way);
  return err;
}

static void close_door(struct door *d, int err, const char *text, nanotime deadline) {
  if (deadline)
    quic_conn_close_after(d->conn, err, text, deadline);
  else
    quic_conn_close(d->conn, err, text);
}

static void owner(struct door *d, void *session) { quic_conn_set_user(d->conn, session); }
static bool is_owner(const struct door *d, const void *session) {
  return d->conn && quic_conn_user(d->conn) == session && quic_conn_serial(d->conn) == d->serial;
}
static const struct addr *remote(const struct door *d) { return quic_conn_remote(d->conn); }
static const struct id *id(const struct door *d) { return quic_conn_peer_id(d->conn); }
static bool is_short(const struct door *d) { return quic_conn_peer_is_short(d->conn); }
static uint64_t id_end(const struct door *d) { return quic_conn_peer_expiry(d->conn); }
static const uint8_t *exporter(const struct door *d) { return quic_conn_exporter(d->conn); }
static uint64_t rtt(const struct door *d) { return quic_conn_rtt(d->conn); }
static size_t allowed(const struct door *d) { return quic_conn_allowed(d->conn); }
static size_t held(const struct door *d, size_t *ret_peak) { return quic_conn_held(d->conn, ret_peak); }
static void admit(struct door *d) { quic_conn_admit(d->conn); }
static void pays(struct door *d, struct bucket *units) {
  if (d->conn) quic_conn_pays(d->conn, units);
}
static void brief(struct door *d) {
  if (d->conn) quic_conn_brief(d->conn);
}
static void shares(struct door *d, uint32_t n) { quic_conn_shares(d->conn, n); }
static void keep_alive(struct door *d, uint64_t every) { quic_conn_keep_alive(d->conn, every); }
static void ping(struct door *d) { quic_conn_ping(d->conn); }
static void hold(struct door *d, bool on) { quic_conn_hold_streams(d->conn, on); }
static void watch(struct door *d, bool on) { quic_conn_watch(d->conn, on); }
static uint64_t unheard(const struct door *d) { return quic_conn_unheard(d->conn); }
static bool silent(const struct door *d) { return quic_conn_silent(d->conn); }

static const struct door_ops ops = {.write = write_copy,
                                    .write_ref = write_ref,
                                    .finish = finish,
                                    .queued = queued,
                                    .unsent = unsent,
                                    .progress = progress,
                                    .written = written,
                                    .offsets = offsets,
                                    .more = more,
                                    .resume = resume,
                                    .credit = credit,
                                    .is_one_way = quic_stream_is_one_way,
                                    .is_ours = is_ours,
                                    .open_way = open_way,
                                    .ways_left = ways_left,
                                    .grant_ways = grant_ways,
                                    .home = home,
                                    .open = open_home,
                                    .close = close_door,
                                    .owner = owner,
                                    .is_owner = is_owner,
                                    .remote = remote,
                                    .id = id,
                                    .is_short = is_short,
                                    .id_end = id_end,
                                    .exporter = exporter,
                                    .rtt = rtt,
                                    .allowed = allowed,
                                    .held = held,
                                    .admit = admit,
                                    .pays = pays,
                                    .brief = brief,
                                    .shares = shares,
                                    .keep_alive = keep_alive,
                                    .ping = ping,
                                    .hold = hold,
                                    .watch = watch,
                                    .unheard = unheard,
                                    .silent = silent};

struct door door_quic(struct quic_conn *c) {
  struct door d = {.ops = &ops, .conn = c, .serial = quic_conn_serial(c)};
  home(&d, -1);
  return d;
}

int door_dial(struct node *n, const struct addr *local, const struct addr *to, const struct id *expect, void *session,
              struct door *ret_door) {
  struct quic_connect o = {.local = *local, .remote = *to, .expect = expect, .user = session};
  struct quic_conn *c;
  int err = quic_connect(n->quic, &o, n->now, &c);
  if (!err) *ret_door = door_quic(c);
  return err;
}

const char *door_quic_check(const struct node *n) { return quic_check(n->quic); }
double door_quic_owned(const struct node *n) { return quic_send_owned(n->quic); }
