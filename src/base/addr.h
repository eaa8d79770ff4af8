/* An IP address and UDP port, as the kernel writes it, in a fixed size. */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>

#include "base/slice.h"

struct addr {
  union {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  };
};

#define ADDR_TEXT_LEN 80

static inline socklen_t addr_len(const struct addr *a) {
  return a->sa.sa_family == AF_INET6 ? sizeof a->v6 : a->sa.sa_family == AF_INET ? sizeof a->v4 : 0;
}
/* Whether there is an address: one that is all zero is none. */
static inline bool addr_is_set(const struct addr *a) { return a->sa.sa_family != AF_UNSPEC; }
bool addr_eq(const struct addr *a, const struct addr *b);
/* The same machine, as far as an address tells: the same v4 address, or the same v6 network of 64 bits. */
bool addr_same_host(const struct addr *a, const struct addr *b);
/* 127.0.0.0/8, ::1, or a v4 loopback address mapped into v6. */
bool addr_is_loopback(const struct addr *a);
/* Good within one machine, link or organisation only: loopback, link-local, RFC 1918, RFC 6598, RFC 4193. */
bool addr_is_private(const struct addr *a);
/* 0.0.0.0 or ::, whatever the port. */
bool addr_is_any(const struct addr *a);
/* fe80::/10: good on one link only, which its scope id names, here alone. */
bool addr_is_link_local(const struct addr *a);
/* Not this network, multicast, reserved, broadcast, link-local of an unknown link, nor port 0. */
bool addr_can_be_node(const struct addr *a);
/* "127.0.0.1:9443", "[::1]:9443" or "[fe80::1%eth0]:9443", NUL-terminated. */
void addr_text(const struct addr *a, char ret_text[ADDR_TEXT_LEN]);
/* Reads a numeric "1.2.3.4:5", "[::1]:5", "[fe80::1%eth0]:5" (an interface of this machine, or its number); with default_port
 * != 0 the port may be absent. MACULA_EINVAL otherwise. */
int addr_parse(const char *text, uint16_t default_port, struct addr *ret_addr);
/* For people: what is wrong with the zone of a numeric address; NULL: nothing, or it is no such address. */
#define ADDR_WHY_LEN 256
const char *addr_bad_zone(const char *text, char ret_why[ADDR_WHY_LEN]);
/* Likewise, why a numeric address leads to no node, and what to write instead. */
const char *addr_no_destination(const char *text, char ret_why[ADDR_WHY_LEN]);
uint16_t addr_port(const struct addr *a);
void addr_set_port(struct addr *a, uint16_t port);

#endif
