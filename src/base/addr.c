#include "base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

bool addr_eq(const struct addr *a, const struct addr *b) {
  if (a->sa.sa_family != b->sa.sa_family) return false;
  if (a->sa.sa_family == AF_INET) return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
  return a->v6.sin6_port == b->v6.sin6_port && memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, 16) == 0 &&
         a->v6.sin6_scope_id == b->v6.sin6_scope_id;
}

bool addr_is_loopback(const struct addr *a) {
  if (a->sa.sa_family == AF_INET) return ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
  if (a->sa.sa_family != AF_INET6) return false;
  const struct in6_addr *v6 = &a->v6.sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
}

bool addr_is_any(const struct addr *a) {
  if (a->sa.sa_family == AF_INET) return a->v4.sin_addr.s_addr == 0;
  return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
}

bool addr_can_be_node(const struct addr *a) {
  if (addr_port(a) == 0 || addr_is_any(a)) return false;
  if (a->sa.sa_family == AF_INET6) return !IN6_IS_ADDR_MULTICAST(&a->v6.sin6_addr);
  uint32_t net = ntohl(a->v4.sin_addr.s_addr) >> 24;
  return net != 0 && net < 224;
}

void addr_text(const struct addr *a, char ret_text[ADDR_TEXT_LEN]) {
  char host[INET6_ADDRSTRLEN] = "?";
  if (a->sa.sa_family == AF_INET) {
    inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof host);
    snprintf(ret_text, ADDR_TEXT_LEN, "%s:%u", host, addr_port(a));
  } else {
    inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof host);
    snprintf(ret_text, ADDR_TEXT_LEN, "[%s]:%u", host, addr_port(a));
  }
}

uint16_t addr_port(const struct addr *a) { return ntohs(a->sa.sa_family == AF_INET6 ? a->v6.sin6_port : a->v4.sin_port); }

void addr_set_port(struct addr *a, uint16_t port) {
  if (a->sa.sa_family == AF_INET6)
    a->v6.sin6_port = htons(port);
  else
    a->v4.sin_port = htons(port);
}

static int parse_port(const char *s, uint16_t *ret_port) {
  unsigned long v = 0;
  if (!*s) return MACULA_EINVAL;
  for (; *s; s++) {
    if (*s < '0' || *s > '9' || (v = v * 10 + (unsigned long)(*s - '0')) > 65535) return MACULA_EINVAL;
  }
  *ret_port = (uint16_t)v;
  return 0;
}

int addr_parse(const char *text, uint16_t default_port, struct addr *ret_addr) {
  char host[INET6_ADDRSTRLEN + 1];
  const char *port = NULL, *end;
  bool v6 = text[0] == '[';
  if (v6) {
    text++;
    if (!(end = strchr(text, ']'))) return MACULA_EINVAL;
    if (end[1] == ':')
      port = end + 2;
    else if (end[1])
      return MACULA_EINVAL;
  } else if ((end = strrchr(text, ':')) && strchr(text, ':') == end) {
    port = end + 1;
  } else if (end) { /* several colons and no bracket: a bare v6 address */
    v6 = true;
    end = text + strlen(text);
  } else {
    end = text + strlen(text);
  }
  if ((size_t)(end - text) >= sizeof host) return MACULA_EINVAL;
  memcpy(host, text, (size_t)(end - text));
  host[end - text] = 0;
  uint16_t p = default_port;
  if (port ? parse_port(port, &p) != 0 : default_port == 0) return MACULA_EINVAL;
  struct addr a;
  memset(&a, 0, sizeof a);
  a.sa.sa_family = v6 ? AF_INET6 : AF_INET;
  if (inet_pton(a.sa.sa_family, host, v6 ? (void *)&a.v6.sin6_addr : (void *)&a.v4.sin_addr) != 1) return MACULA_EINVAL;
  addr_set_port(&a, p);
  *ret_addr = a;
  return 0;
}
