#include "config_value.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/time.h"

const char *const config_level_names[4] = {"error", "warn", "info", "debug"};

/* Large and small letters count as the same. The first of equal factors is printed, unless it is only read. */
struct unit {
  const char *name;
  uint64_t factor;
  bool only_read;
};
static const struct unit durations[] = {{"ms", NS_MS},
                                        {"s", NS_SEC},
                                        {"m", 60 * NS_SEC},
                                        {"h", 3600 * NS_SEC},
                                        {"", NS_SEC, true},
                                        {"min", 60 * NS_SEC, true},
                                        {"d", 24 * 3600 * NS_SEC, true},
                                        {NULL, 0}};
static const struct unit sizes[] = {{"GiB", UINT64_C(1) << 30},
                                    {"MiB", 1 << 20},
                                    {"KiB", 1 << 10},
                                    {"GB", 1000000000},
                                    {"MB", 1000000},
                                    {"kB", 1000},
                                    {"B", 1},
                                    {"", 1},
                                    {"G", UINT64_C(1) << 30, true},
                                    {"M", 1 << 20, true},
                                    {"K", 1 << 10, true},
                                    {NULL, 0}};
static const struct unit counts[] = {{"", 1}, {NULL, 0}};

static int parse_number(const char *text, const struct unit *units, uint64_t *ret) {
  char *end;
  if (!isdigit((unsigned char)text[0])) return MACULA_EINVAL;
  errno = 0;
  unsigned long long n = strtoull(text, &end, 10);
  if (errno) return MACULA_EINVAL;
  while (*end == ' ') end++;
  for (; units->name; units++) {
    if (strcasecmp(end, units->name) != 0) continue;
    if (n > UINT64_MAX / units->factor) return MACULA_EINVAL;
    *ret = n * units->factor;
    return 0;
  }
  return MACULA_EINVAL;
}

void config_print_number(uint64_t n, enum config_type type, char ret[32]) {
  const struct unit *best = NULL;
  for (const struct unit *u = type == DURATION ? durations : type == COUNT ? counts : sizes; u->name; u++)
    if (!u->only_read && n % u->factor == 0 && (!best || (n ? u->factor > best->factor : u->factor < best->factor))) best = u;
  snprintf(ret, 32, "%llu%s", (unsigned long long)(n / best->factor), best->factor == 1 ? "" : best->name);
}

static int parse_ranged(const struct config_row *r, const char *text, uint64_t *ret, char *why) {
  const struct unit *units = r->type == DURATION ? durations : r->type == COUNT ? counts : sizes;
  if (!parse_number(text, units, ret) && *ret >= r->least && *ret <= r->most) return 0;
  char least[32], most[32];
  config_print_number(r->least, r->type, least);
  config_print_number(r->most, r->type, most);
  snprintf(why, CONFIG_WHY_LEN, "'%.100s' is not a %s from %s to %s", text,
           r->type == DURATION ? "duration (500ms, 30, 30s, 2m, 1h)"
           : r->type == COUNT  ? "number"
                               : "size (65536, 64KiB, 512M, 2GiB)",
           least, most);
  return MACULA_EINVAL;
}

/* Calls fn for each piece between commas, without the blanks around it. */
static int each_item(const char *text, int (*fn)(const char *item, void *ctx), void *ctx) {
  char item[ID_HEX_LEN + 300];
  for (;;) {
    size_t n = strcspn(text, ",");
    const char *p = text;
    size_t len = n;
    while (len && *p == ' ') p++, len--;
    while (len && p[len - 1] == ' ') len--;
    if (len >= sizeof item) return MACULA_EINVAL;
    memcpy(item, p, len);
    item[len] = 0;
    int err = fn(item, ctx);
    if (err || !text[n]) return err;
    text += n + 1;
  }
}

struct item_list { /* and what is wrong with an item, when there is more to say than what the list should be */
  void *to;
  uint16_t port; /* where none is given */
  bool names;    /* localhost is taken */
  char why[SERVER_WHY_LEN];
};

/* "localhost" stands for 127.0.0.1 where it is asked for by name; other names are not looked up. */
static const char *numeric(const char *item, char *ret, size_t cap) {
  static const char name[] = "localhost";
  size_t n = sizeof name - 1;
  if (strncasecmp(item, name, n) != 0 || (item[n] && item[n] != ':')) return item;
  snprintf(ret, cap, "127.0.0.1%.*s", (int)(cap - sizeof "127.0.0.1"), item + n); /* what is longer is no port either */
  return ret;
}

/* An address but for its port, which is a number. */
static bool has_bad_port(const char *text, char *ret_why) {
  const char *colon = strrchr(text, ':');
  char host[128];
  struct addr a;
  if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1)) return false;
  snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
  if (addr_parse(host, 1, &a)) return false;
  snprintf(ret_why, SERVER_WHY_LEN, "'%.100s': a port is 0 to 65535", text);
  return true;
}

static int add_addr(const char *item, void *ctx) {
  struct item_list *list = ctx;
  struct config_addrs *a = list->to;
  char text[128];
  if (a->count == CONFIG_MAX_LISTEN || addr_bad_zone(item, list->why)) return MACULA_EINVAL;
  const char *numbers = list->names ? numeric(item, text, sizeof text) : item;
  int err = addr_parse(numbers, list->port, &a->at[a->count]);
  if (err && has_bad_port(numbers, list->why)) return err;
  for (size_t i = 0; i < a->count && !err; i++)
    if (addr_port(&a->at[i]) && addr_eq(&a->at[i], &a->at[a->count])) {
      snprintf(list->why, sizeof list->why, "'%.100s' is given twice", item);
      err = MACULA_EINVAL;
    }
  if (!err) a->count++;
  return err;
}

/* HOST, HOST:PORT or macula://ID@HOST:PORT. */
static int add_seed(const char *item, void *ctx) {
  struct item_list *list = ctx;
  struct config_seeds *l = list->to;
  struct server s;
  if (l->count == CONFIG_MAX_SEEDS) return MACULA_EINVAL;
  int err = server_parse(item, &s, list->why);
  if (err) return err;
  struct config_seed *d = &l->at[l->count++];
  *d = (struct config_seed){.id = s.pin, .pinned = s.pinned};
  server_look_up(&s, d->at);
  return 0;
}

/* Where others are to look for this node. */
static int check_place(const char *text, char *why) {
  char wrong[SERVER_WHY_LEN];
  struct server s;
  struct addr at;
  if (server_parse(text, &s, wrong)) return snprintf(why, CONFIG_WHY_LEN, "%.400s", wrong), MACULA_EINVAL;
  if (addr_parse(s.host_port, DEFAULT_PORT, &at) || !addr_is_link_local(&at)) return 0;
  snprintf(why, CONFIG_WHY_LEN, "%.200s leads nowhere from beyond its link: give an address that others reach, or none", text);
  return MACULA_EINVAL;
}

static int add_id(const char *item, void *ctx) {
  struct config_ids *l = ctx;
  if (l->count == CONFIG_MAX_REALMS) return MACULA_EINVAL;
  int err = id_parse(slice_str(item), &l->at[l->count]);
  if (!err) l->count++;
  return err;
}

/* HOST or HOST:PORT, as a browser writes it in Host. */
static int check_host(const char *item, void *ctx) {
  (void)ctx;
  return !*item || strspn(item, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]") != strlen(item)
             ? MACULA_EINVAL
             : 0;
}

static int check_origin(const char *item, void *ctx) {
  const char *host = !strncmp(item, "http://", 7) ? item + 7 : !strncmp(item, "https://", 8) ? item + 8 : "";
  return check_host(host, ctx);
}

static int find_word(const char *text, const char *const *words, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!strcasecmp(text, words[i])) return (int)i;
  return -1;
}

int config_parse_value(struct config *c, const struct config_row *r, const char *text, char *why) {
  static const char *const bools[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
  static const char *const formats[] = {"text", "json"};
  char wrong[NODE_WHY_LEN];
  void *to = (char *)c + r->offset;
  struct item_list list = {.to = to, .port = (uint16_t)r->most, .names = !r->least};
  uint64_t n;
  int i;
  switch (r->type) {
  case TEXT:
    if (strlen(text) < r->least || strlen(text) > r->most)
      return snprintf(why, CONFIG_WHY_LEN, "needs %llu to %llu characters", (unsigned long long)r->least,
                      (unsigned long long)r->most),
             MACULA_EINVAL;
    *(const char **)to = text;
    return 0;
  case PLACE:
    if (check_place(text, why)) return MACULA_EINVAL;
    *(const char **)to = text;
    return 0;
  case REALM:
    if (node_check_realm(text, wrong))
      return snprintf(why, CONFIG_WHY_LEN, "'%.100s' is not a realm: %s", text, wrong), MACULA_INVALID_REALM;
    *(const char **)to = text;
    return 0;
  case BOOL:
    if ((i = find_word(text, bools, 8)) < 0)
      return snprintf(why, CONFIG_WHY_LEN, "'%.100s' is neither true nor false", text), MACULA_EINVAL;
    *(bool *)to = i & 1;
    return 0;
  case LEVEL:
    if ((i = find_word(text, config_level_names, 4)) < 0)
      return snprintf(why, CONFIG_WHY_LEN, "'%.100s' is none of error, warn, info, debug", text), MACULA_EINVAL;
    *(enum log_level *)to = (enum log_level)i;
    return 0;
  case FORMAT:
    if ((i = find_word(text, formats, 2)) < 0)
      return snprintf(why, CONFIG_WHY_LEN, "'%.100s' is neither text nor json", text), MACULA_EINVAL;
    *(bool *)to = i == 1;
    return 0;
  case ADDRS:
    ((struct config_addrs *)to)->count = 0;
    if (!r->least && !strcasecmp(text, "off")) return 0;
    if (each_item(text, add_addr, &list)) {
      if (!list.why[0])
        snprintf(list.why, sizeof list.why, "'%.100s' is %sa list of at most %d numeric ADDR:PORT, as 127.0.0.1:%u or [::]:%u",
                 text, r->least ? "not " : "neither off nor ", CONFIG_MAX_LISTEN, list.port, list.port);
      return snprintf(why, CONFIG_WHY_LEN, "%.500s", list.why), MACULA_EINVAL;
    }
    return 0;
  case SEEDS:
    ((struct config_seeds *)to)->count = 0;
    if (*text && each_item(text, add_seed, &list)) {
      if (!list.why[0])
        snprintf(list.why, sizeof list.why, "'%.100s' is not a list of at most %d HOST, HOST:PORT or macula://ID@HOST:PORT",
                 text, CONFIG_MAX_SEEDS);
      return snprintf(why, CONFIG_WHY_LEN, "%.500s", list.why), MACULA_EINVAL;
    }
    return 0;
  case IDS:
    ((struct config_ids *)to)->count = 0;
    if (*text && each_item(text, add_id, to))
      return snprintf(why, CONFIG_WHY_LEN,
                      "needs at most %d ids of realm keys, 64 hexadecimal digits each ('macula realm new' prints it)",
                      CONFIG_MAX_REALMS),
             MACULA_EINVAL;
    return 0;
  case HOSTS:
  case ORIGINS:
    if (*text && each_item(text, r->type == HOSTS ? check_host : check_origin, NULL))
      return snprintf(why, CONFIG_WHY_LEN,
                      r->type == HOSTS ? "'%.100s' is not a list of HOST or HOST:PORT, without http://"
                                       : "'%.100s' is not a list of http://HOST:PORT or https://HOST:PORT",
                      text),
             MACULA_EINVAL;
    *(const char **)to = text;
    return 0;
  case HTTP: {
    struct config_http *h = to;
    h->off = !strcasecmp(text, "off");
    if (!h->off &&
        (addr_bad_zone(text, list.why) || (addr_parse(text, (uint16_t)r->most, &h->at) && has_bad_port(text, list.why))))
      return snprintf(why, CONFIG_WHY_LEN, "%.500s", list.why), MACULA_EINVAL;
    if (!h->off && addr_parse(text, (uint16_t)r->most, &h->at))
      return snprintf(why, CONFIG_WHY_LEN, "'%.100s' is neither off nor a numeric ADDR:PORT, as 127.0.0.1:8080", text),
             MACULA_EINVAL;
    return 0;
  }
  case ACCESS:
    if (!strncmp(text, "token:", 6))
      return snprintf(why, CONFIG_WHY_LEN,
                      "token:FILE is no more: name an access file that says 'tokens: [{file: %.100s, grant: NAME}]' "
                      "(maculad.yaml(5))",
                      text + 6),
             MACULA_EINVAL;
    *(const char **)to = strcmp(text, "open") ? text : NULL;
    return 0;
  case DURATION:
    if (parse_ranged(r, text, &n, why)) return MACULA_EINVAL;
    *(uint64_t *)to = n;
    return 0;
  case SIZE:
    if (!r->least && !strcasecmp(text, "off")) return *(size_t *)to = 0;
    if (parse_ranged(r, text, &n, why)) return MACULA_EINVAL;
    *(size_t *)to = (size_t)n;
    return 0;
  case MEMORY: {
    struct config_memory *m = to;
    bool into = !strncasecmp(text, "auto:", 5);
    *m = (struct config_memory){.is_auto = into || !strcasecmp(text, "auto")};
    return m->is_auto && !into ? 0 : parse_ranged(r, into ? text + 5 : text, &m->max, why);
  }
  case COUNT:
  case SIZE32:
    if (parse_ranged(r, text, &n, why)) return MACULA_EINVAL;
    *(uint32_t *)to = (uint32_t)n;
    return 0;
  }
  return MACULA_EINTERNAL;
}
