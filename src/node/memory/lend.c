#include "node/memory/lend.h"

#include "base/check.h"
#include "node/state.h"

#define STEP (256u << 10)   /* bytes borrowed at a time */
#define UNUSED (768u << 10) /* of what is borrowed, from which on all but STEP goes back */

#define SLOT_FOR_MQTT ((uint64_t)PLAN_MQTT_CLIENT + PLAN_TCP_SLOT)

uint64_t lend_limit(const struct node *n, enum row row) {
  const struct lent *b = &n->rows.lent;
  uint64_t planned = plan_row_of(&n->limits, row).bytes, more = 0, less = 0;
  if (row == ROW_QUIC) less = b->slots * SLOT_FOR_MQTT + (uint64_t)b->secret * PLAN_TLS_MORE;
  if (row == ROW_TLS) more = (uint64_t)b->secret * PLAN_TLS_MORE;
  if (row == ROW_SEND) less = b->borrowed;
  if (row == ROW_MQTT) more = (uint64_t)b->slots * PLAN_MQTT_CLIENT + b->borrowed;
  if (!less) return planned + more;
  return planned + more > less ? planned + more - less : 1; /* 0 would be none */
}

static size_t room(const struct mem *m) { return m->limit > m->bytes ? m->limit - m->bytes : 0; }

static void borrow(struct node *n, size_t bytes) {
  n->rows.lent.borrowed += bytes;
  n->rows.account[ROW_SEND]->limit -= bytes;
  n->rows.account[ROW_MQTT]->limit += bytes;
}

static void give_back(struct node *n, size_t bytes) {
  n->rows.lent.borrowed -= bytes;
  n->rows.account[ROW_MQTT]->limit -= bytes;
  n->rows.account[ROW_SEND]->limit += bytes;
}

/* How much of `most` moves, so that extra bytes fit, which do not now; 0: they cannot. */
static size_t amount(const struct mem *m, size_t extra, size_t most) {
  size_t need = m->bytes > SIZE_MAX - extra ? SIZE_MAX : m->bytes + extra - m->limit, want = need > STEP ? need : STEP;
  return need > most ? 0 : want < most ? want : most;
}

static bool mqtt_more(struct mem *m, size_t extra, void *ctx) {
  struct node *n = ctx;
  uint64_t may = plan_mqtt_borrowed(&n->limits), has = n->rows.lent.borrowed;
  size_t left = may > has ? (size_t)(may - has) : 0, free = room(n->rows.account[ROW_SEND]);
  size_t bytes = amount(m, extra, left < free ? left : free);
  if (bytes) borrow(n, bytes);
  return bytes != 0;
}

static bool send_more(struct mem *m, size_t extra, void *ctx) {
  struct node *n = ctx;
  size_t has = n->rows.lent.borrowed, free = room(n->rows.account[ROW_MQTT]);
  size_t bytes = amount(m, extra, has < free ? has : free);
  if (bytes) give_back(n, bytes);
  return bytes != 0;
}

void lend_start(struct node *n) {
  n->rows.account[ROW_MQTT]->more = mqtt_more;
  n->rows.account[ROW_SEND]->more = send_more;
  n->rows.account[ROW_MQTT]->more_ctx = n->rows.account[ROW_SEND]->more_ctx = n;
}

/* Clients beyond those of before whose share of a slot fits out of `from`; while there are fewer than before: those whose share
 * of `to` is not needed any more. */
static uint32_t shift(const struct mem *from, const struct mem *to, uint32_t now, uint32_t wanted, uint64_t out, uint64_t in) {
  uint64_t able = wanted > now ? room(from) / out : room(to) / in;
  if (wanted > now) return wanted - now < able ? wanted : now + (uint32_t)able;
  return now - wanted < able ? wanted : now - (uint32_t)able;
}

void lend_step(struct node *n, uint32_t sessions, uint32_t secret) {
  struct lent *b = &n->rows.lent;
  struct mem *quic = n->rows.account[ROW_QUIC], *mqtt = n->rows.account[ROW_MQTT], *tls = n->rows.account[ROW_TLS];
  uint32_t was = b->slots;
  size_t spare = room(mqtt);
  if (b->borrowed && spare > UNUSED) give_back(n, spare - STEP < b->borrowed ? spare - STEP : b->borrowed);
  if (was == sessions && b->secret == secret) return;
  b->slots = shift(quic, mqtt, was, sessions, SLOT_FOR_MQTT, PLAN_MQTT_CLIENT);
  quic->limit += ((size_t)was - b->slots) * SLOT_FOR_MQTT;
  mqtt->limit += ((size_t)b->slots - was) * PLAN_MQTT_CLIENT;
  was = b->secret;
  b->secret = shift(quic, tls, was, secret, PLAN_TLS_MORE, PLAN_TLS_MORE);
  quic->limit += ((size_t)was - b->secret) * PLAN_TLS_MORE;
  tls->limit += ((size_t)b->secret - was) * PLAN_TLS_MORE;
}

const char *lend_check(const struct node *n) {
  static const enum row rows[] = {ROW_QUIC, ROW_TLS, ROW_SEND, ROW_MQTT};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0] && !n->rows.over; i++) {
    const struct mem *m = n->rows.account[rows[i]];
    CHECK(!m->limit || m->limit <= lend_limit(n, rows[i]), "rows: a limit is above what the plan and what is lent say");
    CHECK(!m->limit || m->limit >= lend_limit(n, rows[i]) || n->rows.lowered,
          "rows: a limit is below what the plan and what is lent say");
  }
  return NULL;
}
