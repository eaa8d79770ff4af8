/* A path whose MTU falls. ngtcp2 finds out once how large a datagram may be (RFC 9000, 14.3) and never checks again. If a
 * router's MTU falls later and no ICMP message about it arrives, every full datagram is lost, its data is repeated in another
 * full one, and the connection stands still. So one full datagram with stream data is watched at a time: when its data is not
 * acknowledged in time, datagrams have 1,200 bytes from then on, and the full size is tried again later (RFC 8899, 4.3):
 *
 *   FULL --not acknowledged in 0.5 to 1.5 s--> SMALL --60 s, doubled each time, at most 10 min--> TRIED --acknowledged--> FULL
 *                                                ^                                                  |
 *                                                +------------- not acknowledged in 3 PTO ----------+
 *
 * A peer that paused for a while looks the same; the price is a sixth of the data that a datagram carries.
 *
 * On loopback, and in networks with jumbo frames, datagrams may be larger than Ethernet's. What a packet costs beside its bytes
 * is then shared by more messages. ngtcp2 asks for a packet of that size after those for usual ones, but a receiver keeps a
 * buffer of the largest packet that ever came, and an idle client shall take no more memory: so ngtcp2 gets no room for it, and
 * waits, until there is enough to send. */
#include "quic/internal.h"

/* A connection with large datagrams has its buffer for them beyond QUIC_CONN_MEMORY. As many connections are told that they may
 * send such as half of the pool has room for, so that all of max_clients fit in, whatever they send. */
#define LARGE_MORE (8u << 10)
#define LARGE_PART 2u

#define WAIT_LEAST (500 * NS_MS)
#define WAIT_MOST (1500 * NS_MS)
#define BUSY (16u << 10) /* bytes that are queued */
#define RAISE (60 * NS_SEC)
#define RAISE_MOST (600 * NS_SEC)

static bool in_flight(const struct stream *s) { return s->queued > s->unsent; }

static void watch(struct quic_conn *c, struct stream *s) {
  c->large = s;
  c->large_left = s->queued - s->unsent;
  c->large_at = c->q->now;
}

/* The first four are ngtcp2's own. */
void mtu_settings(const struct quic *q, ngtcp2_settings *s) {
  static const uint16_t probes[] = {1406, 1342, 1232, 1444, QUIC_LARGE_DATAGRAM};
  s->max_tx_udp_payload_size = QUIC_MAX_DATAGRAM;
  if (!q->large) return;
  s->max_tx_udp_payload_size = QUIC_LARGE_DATAGRAM;
  s->pmtud_probes = probes;
  s->pmtud_probeslen = sizeof probes / sizeof probes[0];
}

void mtu_taken(const struct quic *q, ngtcp2_transport_params *p) {
  bool room = !q->cfg.conn_pool || (uint64_t)q->total * LARGE_MORE <= q->cfg.conn_pool / LARGE_PART;
  p->max_udp_payload_size = room ? QUIC_LARGE_DATAGRAM : QUIC_MAX_DATAGRAM;
}

size_t mtu_cap(struct quic_conn *c, size_t cap) {
  if (c->raise_at && c->q->now >= c->raise_at) c->raise_at = 0;
  if (c->q->large && c->queued >= BUSY) c->large_tried = true;
  size_t most = c->raise_at ? NGTCP2_MAX_UDP_PAYLOAD_SIZE : c->large_tried ? QUIC_LARGE_DATAGRAM : QUIC_MAX_DATAGRAM;
  return cap < most ? cap : most;
}

void mtu_sent(struct quic_conn *c, struct stream *s, size_t n) {
  if (n > NGTCP2_MAX_UDP_PAYLOAD_SIZE && s && !c->large && in_flight(s)) watch(c, s);
}

/* Watches another stream with data in flight: other full datagrams may have been lost as well, and no new one is sent until
 * their data is repeated. */
static void watch_next(struct quic_conn *c, struct stream *s) {
  c->large = NULL;
  if (in_flight(s)) {
    watch(c, s);
    return;
  }
  if (!c->queued) return;
  list_for(it, &c->streams) {
    struct stream *other = container_of(it, struct stream, link);
    if (!in_flight(other)) continue;
    watch(c, other);
    return;
  }
}

void mtu_acked(struct stream *s, size_t n) {
  struct quic_conn *c = s->conn;
  if (c->mtu_fell) { /* data that was repeated in small datagrams has arrived */
    c->mtu_fell = false;
    c->q->stats.mtu_falls++;
    if (log_on(c->q->cfg.log, LOG_INFO)) {
      char at[ADDR_TEXT_LEN];
      addr_text(&c->remote, at);
      log_line(c->q->cfg.log, LOG_INFO, "path_mtu_fell",
               "conn=%llu remote=%s text=\"full datagrams were lost, those of %d bytes arrive\"", (unsigned long long)c->serial,
               at, NGTCP2_MAX_UDP_PAYLOAD_SIZE);
    }
  }
  if (c->large != s) return;
  c->large_left -= n < c->large_left ? n : c->large_left;
  if (c->large_left) return;
  if (!c->raise_at) c->raises = 0;
  watch_next(c, s);
}

void mtu_forget(struct stream *s) {
  if (s->conn->large == s) watch_next(s->conn, s); /* lost data of other streams is still repeated in full datagrams */
}

nanotime mtu_at(const struct quic_conn *c) {
  if (!c->large || c->raise_at) return TIME_NEVER;
  uint64_t wait = conn_three_ptos(c);
  if (wait < WAIT_LEAST && !c->raises) wait = WAIT_LEAST;
  return time_add(c->large_at, wait < WAIT_MOST ? wait : WAIT_MOST);
}

void mtu_tick(struct quic_conn *c) {
  if (mtu_at(c) > c->q->now) return;
  uint64_t wait = RAISE << (c->raises < 4 ? c->raises++ : 4);
  c->raise_at = time_add(c->q->now, wait < RAISE_MOST ? wait : RAISE_MOST);
  c->large = NULL;
  c->mtu_fell = true;
}
