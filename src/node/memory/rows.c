/* The present figures of the memory table's rows, as /metrics, status and /api/memory show them; and the watch on resident
 * memory, which must stay below the plan. */
#include "node/memory/rows.h"

#include "node/memory/lend.h"
#include "node/state.h"

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

/* Lowering a limit disconnects nobody: an account that holds more than the new limit keeps the old one until it has shrunk. */
void rows_set_limits(struct node *n) {
  n->rows.over = false;
  for (int i = 0; i < ROW_COUNT; i++) {
    struct mem *m = n->rows.account[i];
    uint64_t most = lend_limit(n, (enum row)i);
    bool over = m->limit > most && m->bytes > most / 8 * 7;
    n->rows.over |= over;
    if (!over) m->limit = most;
  }
}

/* ---- resident memory -------------------------------------------------------------------------------------------------------
 * Rows bound the memory in use. A peer that chooses the sizes of blocks and the order in which they are freed can fragment the
 * heap, so that resident memory exceeds the rows plus the plan's share for fragmentation. So resident memory is read each time
 * that LOOK bytes were allocated, and when it comes near the plan, the least important rows are refused memory first (rank in
 * rows.h). */
#define LOOK (1u << 20)
#define BESIDE (6u << 20) /* what may be allocated between two looks and outside the accounts */

static const uint8_t ranks[ROW_COUNT] = {
#define ROW_RANK(id, rank, ...) rank,
    NODE_ROWS(ROW_RANK)
#undef ROW_RANK
};

uint64_t rows_rss(const struct node *n) {
  const struct node_process *p = &n->rows.process;
  return p->rss_bytes ? p->rss_bytes(p->ctx) : 0;
}

/* The lowest rank that is refused memory now; 0: none. */
static uint8_t gives_way(const struct node *n, uint64_t rss) {
  uint64_t limits = PLAN_UNACCOUNTED, unused[2] = {0};
  for (int i = 0; i < ROW_COUNT; i++) {
    const struct mem *m = n->rows.account[i];
    limits += m->limit;
    if (m->rank < 2 && m->limit > m->bytes) unused[m->rank] += m->limit - m->bytes;
  }
  uint64_t plan = limits + limits / PLAN_FRAGMENTED + PLAN_PROGRAM, room = plan > rss + BESIDE ? plan - rss - BESIDE : 0;
  return room < unused[0] ? 1 : room < unused[0] + unused[1] ? 2 : 0;
}

static void look(struct mem_gauge *g, void *ctx) {
  struct node *n = ctx;
  uint64_t rss = rows_rss(n);
  n->rows.given_back += g->closed ? LOOK / 16 : LOOK;
  g->closed = gives_way(n, rss);
  if (g->closed && n->rows.given_back > rss / 16) { /* giving heap back is slow: not at each look */
    n->rows.process.give_back(n->rows.process.ctx);
    n->rows.given_back = 0;
    g->closed = gives_way(n, rows_rss(n));
  }
  g->left = g->closed ? LOOK / 16 : LOOK;
  if (!g->closed || n->now < n->rows.short_at) return;
  n->rows.short_at = time_add(n->now, 60 * NS_SEC);
  log_warn(n->log, "memory_short", "rss_kib=%llu text=\"the heap is in pieces: rows that are not full refuse entries\"",
           (unsigned long long)rss / 1024);
}

void rows_watch(struct node *n) {
  if (!n->rows.process.give_back || !n->rows.process.rss_bytes) return;
  n->rows.given_back = UINT64_MAX / 2; /* so that the first look that needs it gives heap back at once */
  n->rows.gauge = (struct mem_gauge){.left = LOOK, .look = look, .ctx = n};
  for (int i = 0; i < ROW_COUNT; i++) {
    n->rows.account[i]->gauge = &n->rows.gauge;
    n->rows.account[i]->rank = ranks[i];
  }
}

void rows_unwatch(struct node *n) {
  for (int i = 0; i < ROW_COUNT; i++)
    if (n->rows.account[i]) n->rows.account[i]->gauge = NULL;
}

size_t rows_accounted(const struct node *n) {
  size_t sum = 0;
  for (int i = 0; i < ROW_COUNT; i++) sum += n->rows.account[i]->bytes;
  return sum;
}

static size_t mapped_bytes(const struct node *n) {
  size_t sum = 0;
  for (int i = 0; i < ROW_COUNT; i++) sum += n->rows.account[i]->mapped;
  return sum;
}

/* To measure the heap takes long when it is in pieces, so that the process says when it may be. */
static uint64_t unaccounted(struct node *n) {
  struct rows *r = &n->rows;
  uint64_t heap = r->process.heap_bytes ? r->process.heap_bytes(r->process.ctx) : 0, accounted = rows_accounted(n);
  if (!heap) return r->unaccounted;
  heap += mapped_bytes(n);
  r->unaccounted = heap > accounted ? heap - accounted : 0;
  if (r->unaccounted > r->unaccounted_peak) r->unaccounted_peak = r->unaccounted;
  return r->unaccounted;
}

uint64_t node_used_bytes(struct node *n) { return unaccounted(n) + rows_accounted(n); }

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
                                .services = router_services(n->rpc.router),
                                .calls = router_calls(n->rpc.router),
                                .discovery = router_discovery(n->rpc.router),
                                .router = router_stats(n->rpc.router)},
                     *f = &sources;
  quic_stats(n->quic, &f->quic);
  topic_index_stats(n->messages.topics, &f->topics);
  membership_stats(n->mesh.membership, &f->members);
  interest_stats(n->spread.interest, &f->interest);
  dht_stats(n->records.dht, &f->dht);
#define ROW_NOW(id, rank, name, what, keys, most, each, beside, entries, refused, evicted, expired)                            \
  ret_rows[ROW_##id] = now_of(n->rows.account[ROW_##id], name, entries, refused, evicted, expired);
  NODE_ROWS(ROW_NOW)
#undef ROW_NOW
  for (int i = 0; i < ROW_COUNT; i++) ret_rows[i].limit = plan_row_of(&n->limits, (enum row)i).entries;
  ret_rows[ROW_COUNT] = (struct row_now){.name = "unaccounted", .bytes = unaccounted(n), .limit_bytes = PLAN_UNACCOUNTED};
  ret_rows[ROW_COUNT].peak = n->rows.unaccounted_peak;
}
