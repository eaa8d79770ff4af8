#include "node/view/history.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/err.h"
#include "quic/stats.h"
#include "rpc/router.h"

#define SLACK (500 * NS_MS) /* a sample of 10 s is taken up to so much earlier, as those of 1 s come a little early or late */
#define NUMBER_LEN 18       /* characters of a number with its comma at most: a rate has up to 15 digits and a dot */

static const uint64_t steps[HISTORY_SPANS] = {NS_SEC, 10 * NS_SEC};
static const uint32_t places[HISTORY_SPANS] = {HISTORY_MINUTE, HISTORY_HOUR};

static const char *const names[HISTORY_SERIES] = {
#define NAME(id, name, ...) [HISTORY_##id] = name,
    HISTORY_RATES(NAME) HISTORY_LEVELS(NAME)
#undef NAME
#define ROW_NAME(id, rank, name, ...) [HISTORY_ROWS + ROW_##id] = "memory." name,
        NODE_ROWS(ROW_NAME)
#undef ROW_NAME
};

struct history_sources {
  struct node *n;
  struct quic_stats quic;
  struct topic_index_stats topics;
  const struct router_stats *router;
  uint64_t denied, hasty, refused, no_memory, turn_ns, native; /* refused: by rows, as /api/memory has it */
  uint32_t p50, p99;
};

/* ---- sampling --------------------------------------------------------------------------------------------------------------
 */
static bool is_bytes(int i) { return i == HISTORY_RSS || i == HISTORY_ACCOUNTED || i >= HISTORY_ROWS; }

static uint64_t ended_for(const struct node *n, const int *codes, size_t count) {
  uint64_t sum = 0;
  for (size_t i = 0; i < count; i++) sum += n->stats.refused[-codes[i]];
  return sum;
}

static void look(struct node *n, struct history_sources *f) {
  static const int denied[] = {MACULA_NOT_AUTHORIZED, MACULA_PASS_INVALID,        MACULA_PASS_EXPIRED,
                               MACULA_PASS_REVOKED,   MACULA_CERTIFICATE_EXPIRED, MACULA_CERTIFICATE_INVALID,
                               MACULA_REALM_MISMATCH, MACULA_IDENTITY_MISMATCH};
  struct row_now rows[ROWS_SHOWN];
  *f = (struct history_sources){.n = n, .router = router_stats(n->rpc.router), .p50 = HISTORY_NONE, .p99 = HISTORY_NONE};
  quic_stats(n->quic, &f->quic);
  topic_index_stats(n->messages.topics, &f->topics);
  f->denied = n->trust.forbidden + ended_for(n, denied, sizeof denied / sizeof denied[0]);
  f->hasty = n->stats.refused[-MACULA_RATE_LIMITED] + f->quic.refused_rate + n->asks.refused + n->trust.passwords.busy;
  uint64_t others = n->mqtt_now.sessions + n->http_now.clients, all = clients_total(&n->sessions.clients);
  f->native = all > others ? all - others : 0;
  rows_now(n, rows);
  for (int i = 0; i < ROW_COUNT; i++) {
    f->no_memory += n->rows.account[i]->refused;
    f->refused += rows[i].refused;
  }
  f->turn_ns = n->rows.process.longest_turn ? n->rows.process.longest_turn(n->rows.process.ctx) : 0;
}

static void count(const struct history_sources *f, uint64_t ret[HISTORY_RATE_COUNT]) {
#define COUNT(id, name, value) ret[HISTORY_##id] = value;
  HISTORY_RATES(COUNT)
#undef COUNT
}

static uint32_t kept(uint64_t v) { return v < HISTORY_NONE ? (uint32_t)v : HISTORY_NONE - 1; }

static void levels(const struct history_sources *f, uint32_t v[HISTORY_SERIES]) {
  uint64_t now[HISTORY_SERIES];
#define LEVEL(id, name, value) now[HISTORY_##id] = value;
  HISTORY_LEVELS(LEVEL)
#undef LEVEL
  for (int i = 0; i < ROW_COUNT; i++) now[HISTORY_ROWS + i] = f->n->rows.account[i]->bytes;
  for (int i = HISTORY_RATE_COUNT; i < HISTORY_SERIES; i++) v[i] = kept(is_bytes(i) ? now[i] >> 10 : now[i]);
  v[HISTORY_P50] = f->p50;
  v[HISTORY_P99] = f->p99;
}

static void begin(struct history_span *s, const struct history_sources *f, nanotime now) {
  s->at = now;
  s->took = f->router->took;
  count(f, s->counted);
  memset(s->most, 0, sizeof s->most);
}

static void take(struct history_span *s, struct history_sample *to, struct history_sources *f, nanotime now) {
  uint64_t counted[HISTORY_RATE_COUNT];
  f->p50 = latency_part(&s->took, &f->router->took, 0.5);
  f->p99 = latency_part(&s->took, &f->router->took, 0.99);
  to->at = now;
  to->ms = kept((now - s->at) / NS_MS);
  count(f, counted);
  for (int i = 0; i < HISTORY_RATE_COUNT; i++) to->v[i] = counted[i] > s->counted[i] ? kept(counted[i] - s->counted[i]) : 0;
  levels(f, to->v);
  for (int i = HISTORY_RATE_COUNT; i < HISTORY_SERIES; i++)
    if (i != HISTORY_P50 && i != HISTORY_P99 && s->most[i] > to->v[i]) to->v[i] = s->most[i];
  s->taken++;
  begin(s, f, now);
}

void node_sample(struct node *n, nanotime now) {
  struct history_sources f;
  uint32_t v[HISTORY_SERIES];
  struct history *h = n->history;
  bool first = !h;
  look(n, &f);
  if (first) h = n->history = mem_calloc(&n->rows.mem[ROW_HISTORY], 1, sizeof *h);
  if (!h) return; /* at the next one */
  levels(&f, v);
  for (int k = 0; k < HISTORY_SPANS; k++) {
    struct history_span *s = &h->spans[k];
    struct history_sample *ring = k ? h->hour : h->minute;
    if (first) begin(s, &f, now);
    if (now <= s->at) continue;
    if (time_since(now, s->at) + SLACK >= steps[k]) {
      take(s, &ring[s->taken % places[k]], &f, now);
      continue;
    }
    for (int i = HISTORY_RATE_COUNT; i < HISTORY_SERIES; i++)
      if (v[i] > s->most[i]) s->most[i] = v[i];
  }
}

/* ---- showing ---------------------------------------------------------------------------------------------------------------
 * Some 25,000 numbers: they are written without printf and without a JSON value each, which would take longer than a turn may.
 */
struct text {
  char *at;
};

static void put(struct text *t, const char *s) {
  size_t n = strlen(s);
  memcpy(t->at, s, n);
  t->at += n;
}

static void put_number(struct text *t, uint64_t v) {
  char digits[20];
  int n = 0;
  do digits[n++] = (char)('0' + v % 10);
  while (v /= 10);
  while (n) *t->at++ = digits[--n];
}

static void put_value(struct text *t, const struct history_sample *s, int i) {
  uint64_t v = s->v[i];
  if (v == HISTORY_NONE) {
    put(t, "null");
  } else if (i >= HISTORY_RATE_COUNT) {
    put_number(t, is_bytes(i) ? v << 10 : v);
  } else { /* tenths */
    v = s->ms ? v * 10000 / s->ms : 0;
    put_number(t, v / 10);
    if (v % 10) {
      *t->at++ = '.';
      *t->at++ = (char)('0' + v % 10);
    }
  }
}

/* The i-th of the oldest `count` samples. */
static const struct history_sample *sample_at(const struct history *h, bool hour, uint64_t i, uint64_t count) {
  return (hour ? h->hour : h->minute) + (h->spans[hour].taken - count + i) % places[hour];
}

int history_render(const struct node *n, bool hour, char **ret_json) {
  const struct history *h = n->history;
  uint64_t count = h ? h->spans[hour].taken : 0;
  json_malloc_t alloc; /* as JSON texts, so that callers free both in one way */
  json_get_alloc_funcs(&alloc, NULL);
  if (count > places[hour]) count = places[hour];
  struct text t = {alloc(256 + HISTORY_SERIES * 64 + (size_t)count * (HISTORY_SERIES + 1) * NUMBER_LEN)};
  char *text = t.at;
  if (!text) return MACULA_ENOMEM;
  put(&t, hour ? "{\"step_s\":10,\"times\":[" : "{\"step_s\":1,\"times\":[");
  for (uint64_t i = 0; i < count; i++) {
    if (i) *t.at++ = ',';
    put_number(&t, (n->wall_base_ms + sample_at(h, hour, i, count)->at / NS_MS) / 1000);
  }
  put(&t, "],\"series\":{");
  for (int k = 0; k < HISTORY_SERIES; k++) {
    put(&t, k ? ",\"" : "\"");
    put(&t, names[k]);
    put(&t, "\":[");
    for (uint64_t i = 0; i < count; i++) {
      if (i) *t.at++ = ',';
      put_value(&t, sample_at(h, hour, i, count), k);
    }
    *t.at++ = ']';
  }
  put(&t, "}}");
  *t.at = 0;
  *ret_json = text;
  return 0;
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *history_check(const struct history *h) {
  if (!h) return NULL;
  for (int k = 0; k < HISTORY_SPANS; k++) {
    const struct history_span *s = &h->spans[k];
    if (!s->taken) continue;
    const struct history_sample *ring = k ? h->hour : h->minute, *last = &ring[(s->taken - 1) % places[k]];
    CHECK(last->at == s->at, "history: the last sample was not taken when the next one began");
    CHECK(s->taken < 2 || ring[(s->taken - 2) % places[k]].at < last->at, "history: two samples are not in order");
  }
  return NULL;
}
