/* Whether this machine has IPv6: where it is off, tests say so and use IPv4 alone. */
#ifndef TEST_IPV6_H
#define TEST_IPV6_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static inline bool ipv6_here(void) {
  struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  bool here = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
  if (fd >= 0) close(fd);
  if (!here) printf("IPv6 is off on this machine: IPv4 alone is tested\n");
  return here;
}

#endif
