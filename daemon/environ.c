#include "environ.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "options.h"

#define MAX_NAME 64

/* What each option of maculad takes. */
static const char *const args[] = {
#define OPTION_ARG(id, key, type, member, least, most, reload, arg, ...) arg,
#define LIMIT_ARG(...) LIMIT_OPTION(OPTION_ARG, __VA_ARGS__)
    OPTION_MAP(OPTION_ARG) NODE_LIMITS(LIMIT_ARG)
#undef LIMIT_ARG
#undef OPTION_ARG
};

/* Keys of the configuration, then what else is read: by maculad, by macula and its handlers, and by the container's entry
 * point. */
static const char *const names[] = {
#define OPTION_KEY_TEXT(id, key, ...) #key,
#define LIMIT_KEY_TEXT(...) LIMIT_OPTION(OPTION_KEY_TEXT, __VA_ARGS__)
    OPTION_MAP(OPTION_KEY_TEXT) NODE_LIMITS(LIMIT_KEY_TEXT)
#undef LIMIT_KEY_TEXT
#undef OPTION_KEY_TEXT
        "config",
    "context",
    "server",
    "token_file",
    "pass_file",
    "identity",
    "realm_key",
    "caller",
    "caller_kind",
    "caller_node",
    "procedure",
    "nodes",
    "test_unbounded"};
#define NAMES (sizeof names / sizeof names[0])

const char *environ_option(size_t i, const char **ret_arg) {
  if (i >= OPTION_COUNT) return NULL;
  *ret_arg = args[i];
  return names[i];
}

void environ_open_standard(void) {
  for (int fd = 0; fd < 3; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 1 ? O_RDONLY : O_RDWR) < 0) return;
}

static char folded(char c) { return c == '-' ? '_' : (char)tolower((unsigned char)c); }

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Two neighbours in each other's place count as one change, as they are typed so (Damerau and Levenshtein's distance, each
 * letter moved once at most). */
size_t environ_distance(const char *a, const char *b) {
  size_t rows[3][MAX_NAME + 1], n = strlen(b), i = 0;
  if (strlen(a) > MAX_NAME || n > MAX_NAME) return SIZE_MAX;
  for (size_t j = 0; j <= n; j++) rows[0][j] = j;
  while (a[i]) {
    i++;
    size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
    row[0] = i;
    for (size_t j = 1; j <= n; j++) {
      char x = folded(a[i - 1]), y = folded(b[j - 1]);
      row[j] = least(above[j - 1] + (x != y), least(above[j], row[j - 1]) + 1);
      if (i > 1 && j > 1 && x == folded(b[j - 2]) && folded(a[i - 2]) == y) row[j] = least(row[j], before[j - 2] + 1);
    }
  }
  return rows[i % 3][n];
}

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), k = strlen(end);
  return n >= k && !strcmp(text + n - k, end);
}

/* As MACULA_SERVICE_HOST, MACULA_PORT=udp://10.0.0.1:9443 and MACULA_PORT_9443_UDP_ADDR; also of MACULA_WEB_..., a service
 * named macula-web. A port with a name is in MACULA_SERVICE_PORT_QUIC. */
static bool is_of_service(const char *key, const char *value) {
  const char *port = strstr(key, "PORT_");
  if (strstr(key, "SERVICE_PORT_") || ends_with(key, "SERVICE_HOST") || ends_with(key, "SERVICE_PORT")) return true;
  return (port && isdigit((unsigned char)port[5])) || (ends_with(key, "PORT") && strstr(value, "://"));
}

static bool is_read(const char *key) {
  for (size_t i = 0; i < NAMES; i++) {
    size_t n = 0;
    while (key[n] && toupper((unsigned char)names[i][n]) == key[n]) n++;
    if (!key[n] && !names[i][n]) return true;
  }
  return false;
}

static void find_near(const char *key, struct environ_unknown *u) {
  size_t best = strlen(key) / 3 + 1, d;
  const char *found = NULL;
  for (size_t i = 0; i < NAMES; i++)
    if ((d = environ_distance(key, names[i])) <= best && (d < best || !found)) {
      best = d;
      found = names[i];
    }
  if (!found) return;
  /* Short names are two changes away from several others: MACULA_HOME is another program's, and not a misspelt MACULA_NAME. */
  u->misspelt = best <= (strlen(key) < 8 ? 1 : strlen(key) / 4);
  snprintf(u->near, sizeof u->near, "MACULA_%s", found);
  for (char *p = u->near; *p; p++) *p = (char)toupper((unsigned char)*p);
}

bool environ_next_unknown(const char *const *env, size_t *at, struct environ_unknown *ret_unknown) {
  static const char prefix[] = "MACULA_";
  for (; env && env[*at]; (*at)++) {
    const char *text = env[*at], *value = strchr(text, '=');
    size_t n = value ? (size_t)(value - text) : 0;
    struct environ_unknown u = {0};
    if (strncmp(text, prefix, sizeof prefix - 1) != 0 || n < sizeof prefix || !value[1]) continue; /* empty counts as absent */
    snprintf(u.name, sizeof u.name, "%.*s", (int)n, text);
    for (char *p = u.name; *p; p++) *p = isalnum((unsigned char)*p) || *p == '_' ? *p : '?'; /* it is printed */
    const char *key = u.name + sizeof prefix - 1;
    if (is_read(key) || is_of_service(key, value + 1)) continue;
    find_near(key, &u);
    (*at)++;
    *ret_unknown = u;
    return true;
  }
  return false;
}
