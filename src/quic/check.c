/* What must hold of an endpoint: of its connections and their streams, ids and timers. */
#include "base/check.h"
#include "quic/internal.h"

struct sums {
  uint32_t later, conns, half_open, total, streams, events, dirty, lingering, scids, dcids, tokens;
};

static const char *stream_check(const struct stream *s) {
  size_t queued = 0, unsent = 0;
  const struct chunk *last = NULL;
  bool behind = false; /* set once s->next is passed: chunks from there on are not sent */
  for (const struct chunk *k = s->head; k; last = k, k = k->next) {
    CHECK(k->len && k->len <= k->cap, "quic: a chunk is empty, or holds more than it has room for");
    if (k == s->next) {
      behind = true;
      CHECK(s->next_off < k->len, "quic: the first byte to be sent is behind its chunk");
      unsent -= s->next_off;
    }
    queued += k->len;
    if (behind) unsent += k->len;
  }
  CHECK(last == s->tail && behind == (s->next != NULL), "quic: a send queue does not end where it says");
  CHECK(unsent == s->unsent, "quic: the bytes to be sent are not as many as counted");
  CHECK(s->shut ? !s->queued : queued - s->head_acked == s->queued, "quic: the bytes queued are not as many as counted");
  bool something = !s->shut && !s->blocked && (s->next || (s->fin && !s->fin_sent));
  CHECK(something != list_empty(&s->ready), "quic: a stream that has something to send is not ready, or the reverse");
  return NULL;
}

static const char *streams_check(const struct quic_conn *c, struct sums *sums) {
  size_t queued = 0, held = 0;
  uint32_t ready = 0, count = 0;
  bool hot = !c->hot;
  CHECK(list_holds(&c->streams), "quic: a list of streams is broken");
  list_for(it, &c->streams) {
    const struct stream *s = container_of(it, const struct stream, link);
    CHECK(s->conn == c, "quic: a stream is of another connection");
    CHECK_PART(stream_check(s));
    queued += s->queued;
    held += mem_cost(s);
    ready += !list_empty(&s->ready);
    hot |= s == c->hot;
    count++;
  }
  CHECK(hot, "quic: the stream found last is no more");
  CHECK(list_has(&c->ready, ready), "quic: the streams that are ready are not as many as say so");
  CHECK(queued == c->queued, "quic: a connection's bytes are not as many as its streams'");
  CHECK(c->nc ? c->held > held : c->held == held, "quic: a connection holds less than its streams, or more without any");
  sums->streams += count;
  return NULL;
}

static const char *ids_check(const struct quic_conn *c, const struct htab *t, const struct cid *list, uint32_t *sum) {
  for (const struct cid *e = list; e; e = e->next) {
    CHECK(e->conn == c && htab_has(t, &e->h, e->id, e->len), "quic: an id does not lead to its connection");
    CHECK(++*sum <= t->count, "quic: more ids than counted");
  }
  return NULL;
}

/* A connection has ngtcp2's object in HANDSHAKE, OPEN and CLOSING, only its ids in LINGER, and nothing in GONE, where it waits
 * for conn_closed and is freed then. */
static const char *state_check(const struct quic_conn *c) {
  CHECK((c->nc != NULL) == (c->state <= CONN_CLOSING), "quic: a connection's state is not that of what it has");
  CHECK(c->nc || (!c->tls && list_empty(&c->streams) && !c->dcids && !c->tokens),
        "quic: one that has ended has streams or ids");
  CHECK(c->state != CONN_GONE || !c->scids, "quic: one that is gone can still be found");
  CHECK(c->state != CONN_LINGER || !list_empty(&c->dirty), "quic: one that lingers is not among those");
  CHECK(c->state != CONN_GONE || list_empty(&c->dirty), "quic: one that is gone is to send something");
  CHECK(c->state < CONN_CLOSING || c->told || !list_empty(&c->event), "quic: the end of one is never told");
  CHECK(c->state != CONN_GONE || !list_empty(&c->event), "quic: one that is gone is never freed");
  CHECK(c->half_open != list_empty(&c->fresh), "quic: a half-open one is not among those, or another is");
  return NULL;
}

static const char *conn_check(const struct quic *q, const struct quic_conn *c, struct sums *sums) {
  CHECK(c->q == q && heap_has(&q->timers, &c->timer), "quic: a connection has no timer");
  CHECK_PART(state_check(c));
  CHECK_PART(streams_check(c, sums));
  CHECK_PART(ids_check(c, &q->cids, c->scids, &sums->scids));
  CHECK_PART(ids_check(c, &q->dcids, c->dcids, &sums->dcids));
  CHECK_PART(ids_check(c, &q->tokens, c->tokens, &sums->tokens));
  CHECK(list_has(&c->later, c->later_count) && (c->nc || !c->later_count),
        "quic: the datagrams that wait of a connection are not as many as counted");
  sums->later += c->later_count;
  sums->total++;
  sums->conns += c->established;
  sums->half_open += c->half_open;
  sums->events += !list_empty(&c->event);
  sums->dirty += c->nc && !list_empty(&c->dirty);
  sums->lingering += c->state == CONN_LINGER;
  return NULL;
}

const char *quic_check(const struct quic *q) {
  struct sums sums = {0};
  CHECK_PART(htab_check(&q->cids));
  CHECK_PART(htab_check(&q->dcids));
  CHECK_PART(htab_check(&q->tokens));
  CHECK_PART(heap_check(&q->timers));
  CHECK_PART(lru_check(&q->addrs));
  CHECK(list_has(&q->conns, q->total) && q->timers.count == q->total, "quic: the connections are not as many as counted");
  list_for(it, &q->conns) CHECK_PART(conn_check(q, container_of(it, const struct quic_conn, all), &sums));
  CHECK(sums.conns == q->stats.conns, "quic: the established are not as many as counted");
  CHECK(sums.half_open == q->stats.half_open && list_has(&q->fresh, sums.half_open),
        "quic: the half-open are not as many as counted");
  CHECK(sums.streams == q->stats.streams, "quic: the streams are not as many as counted");
  CHECK(sums.scids == q->cids.count && sums.dcids == q->dcids.count && sums.tokens == q->tokens.count,
        "quic: an id is in no connection's list");
  CHECK(list_has(&q->events, sums.events), "quic: those that are to be told of are not as many as say so");
  CHECK(list_has(&q->dirty, sums.dirty), "quic: those that are to send are not as many as say so");
  CHECK(list_holds(&q->lingering[0]) && list_has(&q->lingering[1], sums.lingering - list_count(&q->lingering[0])),
        "quic: those that linger are not as many as say so");
  CHECK(list_has(&q->raw, q->raw_count) && q->raw_count <= QUIC_MAX_RAW,
        "quic: the datagrams that wait are not as many as counted");
  CHECK(list_has(&q->later, q->later_count) && sums.later == q->later_count && q->later_bytes <= QUIC_LATER_BYTES,
        "quic: the datagrams of half-open ones are not as many as counted");
  CHECK(!q->stash || q->stash_out.len, "quic: a datagram that is put aside is empty");
  return share_check(q);
}

double quic_send_owned(const struct quic *q) {
  double sum = 0;
  list_for(c, &q->conns) list_for(it, &container_of(c, const struct quic_conn, all)->streams) {
    for (const struct chunk *k = container_of(it, const struct stream, link)->head; k; k = k->next)
      sum += (double)mem_cost(k) + (k->ref ? shbuf_part(k->ref, q->cfg.send_mem) : 0);
  }
  return sum;
}
