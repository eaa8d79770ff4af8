#include "node/memory/plan.h"

#include <stdlib.h>

#include "base/err.h"
#include "node/state.h"

static uint64_t connections(const struct node_limits *l) { return (uint64_t)limits_connections(l) + l->max_half_open; }

#define BORROWED 4u /* of send_pool, that part */
uint64_t plan_mqtt_own(const struct node_limits *l) {
  uint64_t pool = l->mqtt_pool, most = l->send_pool / BORROWED, least = pool < PLAN_MQTT_OWN ? pool : PLAN_MQTT_OWN;
  return pool > most + least ? pool - most : least;
}
uint64_t plan_mqtt_borrowed(const struct node_limits *l) { return l->mqtt_pool - plan_mqtt_own(l); }

#define TCP_MORE_EACH (4u << 10)
uint64_t plan_tcp_more(const struct node_limits *l) {
  uint64_t more = (uint64_t)l->max_clients * TCP_MORE_EACH;
  return more < 2u << 20 ? 2u << 20 : more > 32u << 20 ? 32u << 20 : more;
}

_Static_assert(PLAN_MQTT_CLIENT + PLAN_TLS_MORE + PLAN_TCP_SLOT <= QUIC_CONN_MEMORY + QUIC_CONN_OWN,
               "a slot is planned at its dearest door");

static int larger(const void *a, const void *b) {
  uint64_t x = ((const struct plan_row *)a)->bytes, y = ((const struct plan_row *)b)->bytes;
  return x < y ? 1 : x > y ? -1 : 0;
}

static void add(struct plan *p, struct plan_row r) {
  r.bytes = r.entries * r.each + r.beside;
  p->rows[p->count++] = r;
  p->total += r.bytes;
}

_Static_assert(ROW_COUNT + 3 <= PLAN_MAX_ROWS, "the plan has a place for each row");

static void accounts(const struct node_limits *l, struct plan *p) {
#define PLAN_ROW(id, rank, name, what, keys, entries, each, beside, ...)                                                       \
  add(p, (struct plan_row){name, what, keys, entries, each, beside, 0});
  NODE_ROWS(PLAN_ROW)
#undef PLAN_ROW
}

void node_plan(const struct node_limits *given, struct plan *ret_plan) {
  struct node_limits l = *given;
  struct plan *p = ret_plan;
  node_limits_fill(&l);
  *p = (struct plan){0};
  accounts(&l, p);
  add(p, (struct plan_row){"unaccounted", "heap that no hook reaches", "", 0, 0, PLAN_UNACCOUNTED, 0});
  add(p, (struct plan_row){"fragmentation", "heap between blocks in use", "", 0, 0, p->total / PLAN_FRAGMENTED, 0});
  add(p, (struct plan_row){"program", "code, libraries, stacks", "", 0, 0, PLAN_PROGRAM, 0});
  p->borrowed = plan_mqtt_borrowed(&l);
  if (l.mqtt_pool)
    p->kernel = (uint64_t)l.max_half_open * PLAN_TCP + (uint64_t)l.max_clients * (PLAN_TCP - PLAN_TCP_SLOT) + plan_tcp_more(&l);
  qsort(p->rows, p->count, sizeof p->rows[0], larger);
}

struct plan_row plan_row_of(const struct node_limits *l, enum row row) {
  struct plan p = {0};
  accounts(l, &p);
  return p.rows[row];
}

uint64_t plan_retained_disk(const struct node_limits *l) { return retained_log_size(l->retained_count, l->retained_bytes); }

/* ---- fitting ---------------------------------------------------------------------------------------------------------------
 */
enum { FINEST = 4096 };

static uint64_t even(uint64_t v, bool is_size) { /* down to a figure that people can read */
  uint64_t step = is_size ? v >= 16 << 20 ? 1 << 20 : 64 << 10 : v >= 1000 ? 100 : v >= 100 ? 10 : 1;
  return v / step * step;
}

static uint64_t scale(uint64_t v, uint64_t least, uint64_t part, bool is_size) {
  if (v <= least) return v;
  uint64_t r = even((uint64_t)((double)v * (double)part / FINEST), is_size);
  return r < least ? least : r;
}

static struct node_limits scaled(const struct node_limits *l, uint64_t part, bool (*keep)(void *, const char *), void *ctx) {
  struct node_limits s = *l;
#define SCALE(id, key, field, kind, value, low, high, scaled, ...)                                                             \
  if ((scaled) != 0 && (!keep || !keep(ctx, #key)))                                                                            \
    s.field = (__typeof__(s.field))scale(l->field, scaled, part, sizeof(s.field) == sizeof(size_t));
  NODE_LIMITS(SCALE)
#undef SCALE
  return s;
}

static uint64_t total_of(const struct node_limits *l, bool kernel) {
  struct plan p;
  node_plan(l, &p);
  return p.total + (kernel ? p.kernel : 0);
}

int plan_fit(struct node_limits *l, uint64_t max, bool kernel, bool (*keep)(void *ctx, const char *key), void *ctx,
             struct plan_change ret_changes[PLAN_MAX_CHANGES], size_t *ret_count) {
  struct node_limits from = *l;
  node_limits_fill(&from);
  uint64_t low = 0, high = FINEST; /* low fits, or is 0, the smallest limits */
  if (total_of(&from, kernel) <= max) low = high;
  while (high - low > 1) {
    uint64_t mid = (low + high) / 2;
    struct node_limits s = scaled(&from, mid, keep, ctx);
    if (total_of(&s, kernel) <= max)
      low = mid;
    else
      high = mid;
  }
  *l = low == FINEST ? from : scaled(&from, low, keep, ctx);
  *ret_count = 0;
#define CHANGE(id, key, field, ...)                                                                                            \
  if (l->field != from.field)                                                                                                  \
    ret_changes[(*ret_count)++] = (struct plan_change){#key, from.field, l->field, sizeof(l->field) == sizeof(size_t)};
  NODE_LIMITS(CHANGE)
#undef CHANGE
  return total_of(l, kernel) <= max ? 0 : MACULA_EFULL;
}
