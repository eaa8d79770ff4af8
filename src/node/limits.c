#include "node/limits.h"

#include "base/time.h"
#include "wire/frame.h"

void node_limits_default(struct node_limits *ret_limits) {
  *ret_limits = (struct node_limits){.max_clients = 10000,
                                     .max_operators = 8,
                                     .max_services = 10000,
                                     .client_streams = 100,
                                     .client_subscriptions = 1000,
                                     .client_services = 256,
                                     .client_calls = 1024,
                                     .client_lookups = 64,
                                     .peer_calls = 16384,
                                     .max_calls = 65536,
                                     .max_discovered = 1000,
                                     .max_subscriptions = 1000000,
                                     .client_queue = 1 << 20,
                                     .send_pool = 256 << 20,
                                     .receive_pool = 192 << 20,
                                     .max_frame = FRAME_MAX_PAYLOAD,
                                     .max_half_open = 1024,
                                     .max_peers = 1000,
                                     .max_members = 10000,
                                     .peer_queue = 8 << 20,
                                     .held_pool = 16 << 20,
                                     .max_interested = 255,
                                     .interest_bytes = 64 << 20,
                                     .max_inflight = 65536,
                                     .max_gets = 10000,
                                     .max_records = 100000,
                                     .record_bytes = 64 << 20,
                                     .max_lookups = 1024,
                                     .connection_pool = 64 << 20,
                                     .subscription_bytes = 128 << 20,
                                     .max_replays = 32768,
                                     .call_bytes = 64 << 20,
                                     .admin_bytes = 16 << 20,
                                     .retained_count = 10000,
                                     .retained_bytes = 16 << 20,
                                     .dedup_ids = 65536,
                                     .dedup_ns = 60 * NS_SEC,
                                     .service_ttl = 300 * NS_SEC,
                                     .connect_timeout = 10 * NS_SEC,
                                     .drain_timeout = 5 * NS_SEC};
}

void node_limits_fill(struct node_limits *l) {
  struct node_limits d;
  node_limits_default(&d);
#define FILL(field) l->field = l->field ? l->field : d.field
  FILL(max_clients), FILL(max_operators), FILL(max_services), FILL(client_streams), FILL(client_subscriptions);
  FILL(client_services), FILL(client_calls), FILL(client_lookups), FILL(max_calls), FILL(max_subscriptions), FILL(client_queue),
      FILL(send_pool);
  FILL(receive_pool), FILL(max_frame), FILL(max_half_open), FILL(retained_count), FILL(retained_bytes), FILL(dedup_ids),
      FILL(max_discovered), FILL(peer_calls);
  FILL(dedup_ns), FILL(service_ttl), FILL(connect_timeout), FILL(drain_timeout), FILL(connection_pool);
  FILL(subscription_bytes), FILL(max_replays), FILL(call_bytes), FILL(admin_bytes), FILL(max_peers), FILL(max_members);
  FILL(peer_queue), FILL(held_pool), FILL(max_interested), FILL(interest_bytes), FILL(max_inflight), FILL(max_gets);
  FILL(max_records), FILL(record_bytes), FILL(max_lookups);
#undef FILL
  if (l->max_frame > FRAME_MAX_PAYLOAD) l->max_frame = FRAME_MAX_PAYLOAD; /* the codec's own bound */
}

uint32_t limits_peer_records(const struct node_limits *l) {
  return l->max_members + l->max_peers + PEERS_BESIDES_MEMBERS + MAX_SEEDS;
}

uint32_t limits_connections(const struct node_limits *l) {
  return l->max_clients + l->max_operators + l->max_half_open + l->max_peers + l->max_peers / 8 + DIALS_BESIDES_POOL;
}
