/* Figures of an endpoint. */
#ifndef QUIC_STATS_H
#define QUIC_STATS_H

#include <stddef.h>
#include <stdint.h>

struct quic_stats {
  uint32_t conns, half_open, total; /* total: lingering and failed ones too */
  uint32_t streams;                 /* of all connections, those of CONNECT too */
  size_t conn_pool;                 /* bytes of it in use */
  uint64_t refused_memory;          /* connections ended because they held, or asked for, too much of conn_pool */
  uint64_t refused_rate;            /* connections refused: their address has made too many that led to nothing */
  uint64_t later,
      later_dropped; /* datagrams of connections being made that were read after all others; for which there was no room */
  uint64_t limited;  /* datagrams dropped unread: their sender has sent too many that moved nothing */
  uint64_t accepted, refused_full, refused_half_open, retries_sent, retry_ok, handshakes_failed, resumed, stateless_resets_sent,
      version_negotiations, migrations, key_updates, icmp_checks, mtu_falls, datagrams_in, datagrams_out, bytes_in, bytes_out,
      dropped;
};

struct quic; /* endpoint */
void quic_stats(const struct quic *q, struct quic_stats *ret_stats);

/* What packets that move nothing may cost, in units a second (quic_conn_pays). */
#define QUIC_IDLE_UNITS 1000u

/* What each connection may hold whatever others do; an idle one holds 28 KiB. What they hold beyond it comes from conn_pool, of
 * which connections that are not admitted get a quarter. When seven eighths of it are used, the connection that holds the most
 * of it ends; when it is full, the one that asks for more. */
#define QUIC_CONN_MEMORY (32u << 10)
#define QUIC_CONN_OWN (4u << 10)      /* bytes for ids, ticket and last packet, which are not counted in it */
#define QUIC_LATER_BYTES (1u << 20)   /* of datagrams of connections that are being made, which wait to be read */
#define QUIC_SHARED_MEMORY (3u << 20) /* addresses known, packets without a connection */

#endif
