/* maculad's configuration: YAML file, MACULA_* environment and flags, read through one table of options. */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdio.h>

#include "base/addr.h"
#include "base/log.h"
#include "base/server.h"
#include "node/node.h"
#include "options.h"

#define CONFIG_MAX_LISTEN 8
#define CONFIG_MAX_REALMS ACCESS_MAX_REALMS
#define CONFIG_MAX_SEEDS 64
#define CONFIG_WHY_LEN 512

enum config_mode { CONFIG_RUN, CONFIG_CHECK, CONFIG_PLAN, CONFIG_HELP, CONFIG_VERSION, CONFIG_MAN, CONFIG_EXAMPLE };
enum config_source { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_ENV, CONFIG_FLAG }; /* the later wins */

struct config_value {
  char *text; /* as it was written; NULL: default */
  enum config_source source;
  unsigned line; /* in the file, from 1 */
};
struct config_addrs {
  struct addr at[CONFIG_MAX_LISTEN];
  size_t count;
};
struct config_seed {        /* a node to join by */
  char at[SERVER_TEXT_LEN]; /* HOST:PORT */
  struct id id;
  bool pinned; /* id was given */
};
struct config_seeds {
  struct config_seed at[CONFIG_MAX_SEEDS];
  size_t count;
};
struct config_ids {
  struct id at[CONFIG_MAX_REALMS];
  size_t count;
};
struct config_http {
  bool off;
  struct addr at;
};
struct config_memory {
  bool is_auto;
  uint64_t max; /* bytes; 0: no limit, or with is_auto what there is */
};

struct config { /* texts live as long as it does */
  struct node_config
      node; /* of which options set: name (NULL: none was given), realm, allow_unverified, times, limits, hidden */
  enum config_mode mode;
  char *file; /* NULL: none was named */
  struct config_addrs listen, mqtt, mqtts, mqtt_ws, mqtt_wss;
  const char *state; /* folder */
  struct config_http http;
  const char *http_token, *cert, *key, *ca; /* files; NULL: none */
  const char *http_cert, *http_key;         /* likewise */
  bool http_tls;                            /* with the node's own certificate, unless http_cert is there */
  const char *http_hosts, *http_origins;    /* separated by commas; NULL: none */
  const char *mqtt_origins;                 /* likewise */
  const char *access;                       /* a file; NULL: open */
  struct config_ids realm_keys;
  const char *pass; /* a file; NULL: none */
  struct config_seeds join;
  const char *advertise; /* HOST:PORT; NULL: none was given */
  enum log_level log_level;
  bool log_json;
  struct config_memory memory;
  bool json; /* the plan, or that the node is ready */
  bool yaml; /* the plan: limits that fit, as lines of a configuration */
  char *state_default;
  struct config_value values[OPTION_COUNT];
};

/* Reads flags, environment and file, and checks them. MACULA_EINVAL, MACULA_ENOTFOUND, MACULA_NOT_AUTHORIZED, MACULA_EIO (the
 * file), MACULA_INVALID_REALM, MACULA_ENOMEM; ret_why then says where and what to do. Freed by config_done, also on failure. */
int config_load(int argc, const char *const *argv, const char *const *env, struct config *ret_config,
                char ret_why[CONFIG_WHY_LEN]);
void config_done(struct config *c);

/* Where an option's value comes from, for messages: "FILE:LINE: key", "--flag", "MACULA_KEY" or "key". */
void config_where(const struct config *c, enum option o, char ret_text[CONFIG_WHY_LEN]);
static inline bool config_is_set(const struct config *c, enum option o) { return c->values[o].source != CONFIG_DEFAULT; }
/* Closes the port for MQTT that is open unless something is said about it. False: it was closed, or a key says so. */
bool config_close_mqtt(struct config *c);
bool config_key_is_set(const struct config *c, const char *key);
/* The options that differ and that a running node cannot change, separated by commas; their number. */
size_t config_fixed_changes(const struct config *running, const struct config *wanted, char ret_names[CONFIG_WHY_LEN]);
/* The list of limits as it stands in maculad.yaml(5) (CONFIG_MAN) or docs/maculad.example.yaml (CONFIG_EXAMPLE). */
void config_print_limits(enum config_mode form, FILE *to);
/* The text of --help, malloc'ed. */
char *config_help(void);

#endif
