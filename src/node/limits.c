#include "node/limits.h"

#include "wire/frame.h"

void node_limits_default(struct node_limits *ret_limits) {
  *ret_limits = (struct node_limits){0};
  node_limits_fill(ret_limits);
}

void node_limits_fill(struct node_limits *l) {
#define LIMIT_FILL(id, key, field, kind, value, ...) l->field = l->field ? l->field : (value);
  NODE_LIMITS(LIMIT_FILL)
#undef LIMIT_FILL
  if (l->max_frame > FRAME_MAX_PAYLOAD) l->max_frame = FRAME_MAX_PAYLOAD; /* the codec's own bound */
}

void node_limits_reload(struct node_limits *l, const struct node_limits *wanted) {
#define LIMIT_TAKE(id, key, field, kind, value, least, most, scaled, reload, ...)                                              \
  if (reload == LIMIT_RELOADED) l->field = wanted->field;
  NODE_LIMITS(LIMIT_TAKE)
#undef LIMIT_TAKE
  l->memory_max = wanted->memory_max;
  node_limits_fill(l);
}

uint32_t limits_peer_records(const struct node_limits *l) {
  return l->max_members + l->max_peers + PEERS_BESIDES_MEMBERS + MAX_SEEDS;
}

uint32_t limits_links(const struct node_limits *l) { return l->max_peers + l->max_peers / 8 + DIALS_BESIDES_POOL; }

uint32_t limits_party_lookups(const struct node_limits *l) {
  uint32_t most = l->max_lookups > 16 ? l->max_lookups / 16 : 1;
  return l->client_lookups < most ? l->client_lookups : most;
}

uint32_t limits_connections(const struct node_limits *l) {
  return l->max_clients + l->max_operators + l->max_half_open + limits_links(l);
}

uint32_t limits_accounts(const struct node_limits *l) {
  uint64_t most = (uint64_t)limits_connections(l) + l->retained_count;
  return most < UINT32_MAX ? (uint32_t)most : UINT32_MAX;
}
