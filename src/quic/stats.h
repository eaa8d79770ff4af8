/* Figures of an endpoint. */
#ifndef QUIC_STATS_H
#define QUIC_STATS_H

#include <stddef.h>
#include <stdint.h>

struct quic_stats {
  uint32_t conns, half_open, total; /* total: lingering and failed ones too */
  uint32_t streams;                 /* of all connections, those of CONNECT too */
  size_t conn_pool;                 /* octets of it in use */
  uint64_t refused_memory;          /* connections ended for what they held of conn_pool, or asked of it */
  uint64_t accepted, refused_full, refused_half_open, retries_sent, retry_ok, handshakes_failed, resumed, stateless_resets_sent,
      version_negotiations, migrations, key_updates, icmp_checks, mtu_falls, datagrams_in, datagrams_out, octets_in, octets_out,
      dropped;
};

struct quic; /* endpoint */
void quic_stats(const struct quic *q, struct quic_stats *ret_stats);

/* What each connection may hold whatever others do; an idle one holds 28 KiB. Beyond it, conn_pool is shared, a quarter of it
 * by those that are not admitted: from seven eighths on the connection that holds the most of it ends, and full, the one that
 * asks for more. */
#define QUIC_CONN_MEMORY (32u << 10)
#define QUIC_CONN_OWN (4u << 10)      /* ids, ticket, last packet: beside it */
#define QUIC_SHARED_MEMORY (3u << 20) /* addresses known, packets without a connection */

#endif
