/* The rows of the memory table as they are now: what /metrics, status and /api/memory show. */
#include "node/internal.h"

struct row_sources {
  const struct node *n;
  struct quic_stats quic;
  struct topic_index_stats topics;
  struct membership_stats members;
  struct interest_stats interest;
  struct dht_stats dht;
  const struct services *services;
  const struct calls *calls;
  const struct discovery *discovery;
  const struct router_stats *router;
};

/* A limit that was lowered throws nobody out: an account that holds as much keeps its old limit until it has shrunk. */
void rows_set_limits(struct node *n) {
  n->rows_over = false;
  for (int i = 0; i < ROW_COUNT; i++) {
    struct mem *m = n->row_mem[i];
    uint64_t most = plan_row_of(&n->limits, (enum row)i).bytes;
    bool over = m->limit > most && m->bytes > most / 8 * 7;
    n->rows_over |= over;
    if (!over) m->limit = most;
  }
}

size_t rows_accounted(const struct node *n) {
  size_t sum = 0;
  for (int i = 0; i < ROW_COUNT; i++) sum += n->row_mem[i]->bytes;
  return sum;
}

static struct row_now now_of(const struct mem *m, const char *name, uint64_t entries, uint64_t refused, uint64_t evicted,
                             uint64_t expired) {
  return (struct row_now){.name = name,
                          .entries = entries,
                          .bytes = m->bytes,
                          .limit_bytes = m->limit,
                          .peak = m->peak,
                          .refused = refused + m->refused,
                          .evicted = evicted,
                          .expired = expired};
}

void rows_now(struct node *n, struct row_now ret_rows[ROWS_SHOWN]) {
  struct row_sources sources = {.n = n,
                                .services = router_services(n->router),
                                .calls = router_calls(n->router),
                                .discovery = router_discovery(n->router),
                                .router = router_stats(n->router)},
                     *f = &sources;
  quic_stats(n->quic, &f->quic);
  topic_index_stats(n->topics, &f->topics);
  membership_stats(n->membership, &f->members);
  interest_stats(n->spread.interest, &f->interest);
  dht_stats(n->dht, &f->dht);
#define ROW_NOW(id, name, what, keys, most, each, beside, entries, refused, evicted, expired)                                  \
  ret_rows[ROW_##id] = now_of(n->row_mem[ROW_##id], name, entries, refused, evicted, expired);
  NODE_ROWS(ROW_NOW)
#undef ROW_NOW
  for (int i = 0; i < ROW_COUNT; i++) ret_rows[i].limit = plan_row_of(&n->limits, (enum row)i).entries;
  size_t accounted = rows_accounted(n), heap = n->heap_bytes ? n->heap_bytes(n->rss_ctx) : 0;
  ret_rows[ROW_COUNT] = (struct row_now){
      .name = "unaccounted", .bytes = heap > accounted ? heap - accounted : 0, .limit_bytes = PLAN_UNACCOUNTED};
  if (ret_rows[ROW_COUNT].bytes > n->unaccounted_peak) n->unaccounted_peak = ret_rows[ROW_COUNT].bytes;
  ret_rows[ROW_COUNT].peak = n->unaccounted_peak;
}
