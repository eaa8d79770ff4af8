#include "base/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

bool addr_eq(const struct addr *a, const struct addr *b) {
  if (a->sa.sa_family != b->sa.sa_family) return false;
  if (a->sa.sa_family == AF_INET) return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
  return a->v6.sin6_port == b->v6.sin6_port && memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, 16) == 0 &&
         a->v6.sin6_scope_id == b->v6.sin6_scope_id;
}

bool addr_same_host(const struct addr *a, const struct addr *b) {
  if (a->sa.sa_family != b->sa.sa_family) return false;
  if (a->sa.sa_family == AF_INET) return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
  bool mapped = IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr) || IN6_IS_ADDR_V4MAPPED(&b->v6.sin6_addr);
  return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, mapped ? 16 : 8) == 0;
}

bool addr_is_loopback(const struct addr *a) {
  if (a->sa.sa_family == AF_INET) return ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
  if (a->sa.sa_family != AF_INET6) return false;
  const struct in6_addr *v6 = &a->v6.sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
}

bool addr_is_private(const struct addr *a) {
  if (addr_is_loopback(a)) return true;
  if (a->sa.sa_family == AF_INET6) return addr_is_link_local(a) || (a->v6.sin6_addr.s6_addr[0] & 0xfe) == 0xfc;
  uint32_t ip = ntohl(a->v4.sin_addr.s_addr);
  return ip >> 24 == 10 || ip >> 20 == 0xac1 || ip >> 16 == 0xc0a8 || ip >> 22 == 0x191 || ip >> 16 == 0xa9fe;
}

bool addr_is_any(const struct addr *a) {
  if (a->sa.sa_family == AF_INET) return a->v4.sin_addr.s_addr == 0;
  return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
}

bool addr_is_link_local(const struct addr *a) { return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&a->v6.sin6_addr); }

bool addr_can_be_node(const struct addr *a) {
  if (addr_port(a) == 0 || addr_is_any(a) || (addr_is_link_local(a) && !a->v6.sin6_scope_id)) return false;
  if (a->sa.sa_family == AF_INET6) return !IN6_IS_ADDR_MULTICAST(&a->v6.sin6_addr);
  uint32_t net = ntohl(a->v4.sin_addr.s_addr) >> 24;
  return net != 0 && net < 224;
}

void addr_text(const struct addr *a, char ret_text[ADDR_TEXT_LEN]) {
  char host[INET6_ADDRSTRLEN] = "?", zone[IF_NAMESIZE];
  if (a->sa.sa_family == AF_INET) {
    inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof host);
    snprintf(ret_text, ADDR_TEXT_LEN, "%s:%u", host, addr_port(a));
  } else {
    inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof host);
    uint32_t scope = a->sa.sa_family == AF_INET6 ? a->v6.sin6_scope_id : 0;
    if (scope && !if_indextoname(scope, zone)) snprintf(zone, sizeof zone, "%u", scope);
    snprintf(ret_text, ADDR_TEXT_LEN, "[%s%s%s]:%u", host, scope ? "%" : "", scope ? zone : "", addr_port(a));
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

/* 0: there is no such interface. */
static uint32_t read_zone(const char *zone) {
  uint32_t index = if_nametoindex(zone);
  char *end;
  if (index || zone[0] < '1' || zone[0] > '9') return index;
  unsigned long n = strtoul(zone, &end, 10);
  return *end || n > INT32_MAX ? 0 : (uint32_t)n;
}

int addr_parse(const char *text, uint16_t default_port, struct addr *ret_addr) {
  char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
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
  char *zone = v6 ? strchr(host, '%') : NULL;
  if (zone) {
    *zone = 0;
    if (!(a.v6.sin6_scope_id = read_zone(zone + 1))) return MACULA_EINVAL;
  }
  if (inet_pton(a.sa.sa_family, host, v6 ? (void *)&a.v6.sin6_addr : (void *)&a.v4.sin_addr) != 1) return MACULA_EINVAL;
  addr_set_port(&a, p);
  *ret_addr = a;
  return 0;
}

const char *addr_bad_zone(const char *text, char ret_why[ADDR_WHY_LEN]) {
  struct addr a;
  char plain[ADDR_TEXT_LEN], at[ADDR_TEXT_LEN];
  const char *zone = strchr(text, '%');
  size_t n = zone ? strcspn(zone, "]") : 0;
  if (addr_parse(text, 1, &a)) { /* without its zone it may be good */
    if (!zone || snprintf(plain, sizeof plain, "%.*s%s", (int)(zone - text), text, zone + n) >= (int)sizeof plain) return NULL;
    if (addr_parse(plain, 1, &a)) return NULL;
    snprintf(ret_why, ADDR_WHY_LEN, "this machine has no network interface '%.*s'", (int)(n - 1 < 64 ? n - 1 : 64), zone + 1);
    return ret_why;
  }
  if (!addr_is_link_local(&a) || a.v6.sin6_scope_id) return NULL;
  addr_text(&a, at);
  snprintf(ret_why, ADDR_WHY_LEN, "%.*s is good on one link only: name this machine's interface to it, as in %.*s%%eth0",
           (int)strcspn(at + 1, "]"), at + 1, (int)strcspn(at + 1, "]"), at + 1);
  return ret_why;
}

const char *addr_no_destination(const char *text, char ret_why[ADDR_WHY_LEN]) {
  struct addr a;
  if (addr_bad_zone(text, ret_why)) return ret_why;
  if (addr_parse(text, 1, &a) || (!addr_is_any(&a) && (!addr_port(&a) || addr_can_be_node(&a)))) return NULL;
  if (addr_is_any(&a))
    snprintf(ret_why, ADDR_WHY_LEN,
             "%.80s stands for all addresses of a machine and leads to none: write %s for this machine, or the other's address",
             text, a.sa.sa_family == AF_INET ? "127.0.0.1" : "[::1]");
  else
    snprintf(ret_why, ADDR_WHY_LEN, "%.80s is a multicast, broadcast or reserved address: write that of one node", text);
  return ret_why;
}
