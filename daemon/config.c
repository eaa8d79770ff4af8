#include "config.h"

#include <ctype.h>
#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <yaml.h>

#include "access/yaml.h"
#include "base/err.h"
#include "base/time.h"
#include "config_value.h"
#include "environ.h"
#include "io/io.h"

static const struct config_row rows[OPTION_COUNT] = {
#define OPTION_ROW(id, key, type, member, least, most, reload, arg, ...)                                                       \
  {#key, type, offsetof(struct config, member), least, most, reload, arg, __VA_ARGS__},
#define LIMIT_ROW(...) LIMIT_OPTION(OPTION_ROW, __VA_ARGS__)
    OPTION_MAP(OPTION_ROW) NODE_LIMITS(LIMIT_ROW)
#undef LIMIT_ROW
#undef OPTION_ROW
};

#define MQTT_POOL (64u << 20) /* bytes, where the door is open and nothing else is said */
#define MQTT_AT "127.0.0.1:1883"
#define MAX_FILE (1 << 20)
#define MAX_SUGGEST 64
#define MAX_NESTING 8 /* a list in a mapping is 2 */

/* In the file a list or a text with commas, elsewhere with commas. */
static bool is_list(enum config_type t) { return t == ADDRS || t == IDS || t == SEEDS || t == HOSTS || t == ORIGINS; }

/* ---- names ----------------------------------------------------------------------------------------------------------------
 */
static char as_flag(char c) { return c == '_' ? '-' : (char)tolower((unsigned char)c); }

static int find_option(const char *key) {
  for (int i = 0; i < OPTION_COUNT; i++)
    if (!strcmp(rows[i].key, key)) return i;
  return -1;
}

/* How what a former option did is done now; NULL: it was none. */
static const char *instead_of(const char *key) {
  if (!strcmp(key, "admin_keys"))
    return "operators stand in the access file now: 'grants: {ops: {role: operator}}' and 'keys: {ID: ops}'";
  if (!strcmp(key, "token") || !strcmp(key, "token_file"))
    return "tokens stand in the access file now: 'tokens: [{file: PATH, grant: NAME}]'; --access FILE names it";
  return NULL;
}

/* The nearest key, -1 when none is near. */
static int suggest(const char *key) {
  size_t best = strlen(key) / 3 + 1, d;
  int found = -1;
  for (int i = 0; i < OPTION_COUNT; i++)
    if ((d = environ_distance(key, rows[i].key)) <= best && (d < best || found < 0)) {
      best = d;
      found = i;
    }
  return found;
}

/* The nearest option that is no key, NULL when none is near. */
static const char *suggest_word(const char *given) {
  static const char *const words[] = {"config", "check", "plan", "help", "version"};
  const char *found = NULL;
  size_t best = strlen(given) / 3 + 1, d;
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if ((d = environ_distance(given, words[i])) <= best && (d < best || !found)) {
      best = d;
      found = words[i];
    }
  return found;
}

static void flag_name(const char *key, char ret[MAX_SUGGEST]) {
  snprintf(ret, MAX_SUGGEST, "--%s", key);
  for (char *p = ret + 2; *p; p++) *p = as_flag(*p);
}

static void env_name(const char *key, char ret[MAX_SUGGEST]) {
  snprintf(ret, MAX_SUGGEST, "MACULA_%s", key);
  for (char *p = ret; *p; p++) *p = (char)toupper((unsigned char)*p);
}

void config_where(const struct config *c, enum option o, char ret_text[CONFIG_WHY_LEN]) {
  char name[MAX_SUGGEST];
  switch (c->values[o].source) {
  case CONFIG_DEFAULT:
    snprintf(ret_text, CONFIG_WHY_LEN, "%s", rows[o].key);
    break;
  case CONFIG_FILE:
    snprintf(ret_text, CONFIG_WHY_LEN, "%.400s:%u: %s", c->file, c->values[o].line, rows[o].key);
    break;
  case CONFIG_ENV:
    env_name(rows[o].key, name);
    snprintf(ret_text, CONFIG_WHY_LEN, "%s", name);
    break;
  case CONFIG_FLAG:
    flag_name(rows[o].key, name);
    snprintf(ret_text, CONFIG_WHY_LEN, "%s", name);
    break;
  }
}

/* Keeps a copy of text unless a stronger source has spoken. A list's flag may be given several times. */
static int set_text(struct config *c, int o, const char *text, enum config_source source, unsigned line) {
  struct config_value *v = &c->values[o];
  if (v->source > source) return 0;
  char *copy;
  bool more = v->text && v->source == source && source == CONFIG_FLAG && is_list(rows[o].type);
  if (asprintf(&copy, "%s%s%s", more ? v->text : "", more ? "," : "", text) < 0) return MACULA_ENOMEM;
  free(v->text);
  *v = (struct config_value){.text = copy, .source = source, .line = line};
  return 0;
}

/* ---- file -----------------------------------------------------------------------------------------------------------------
 */
struct file_value { /* what libcyaml fills in for one option: a text, or a list's items */
  char *text;
  char **items;
  uint32_t count;
};
struct file_values {
  struct file_value at[OPTION_COUNT];
};
struct file_place { /* where an option stands */
  unsigned line;    /* 0: nowhere */
  bool is_sequence; /* its value */
};
struct file_log { /* libcyaml's first complaint, and the innermost field that it names */
  char what[160], field[MAX_SUGGEST];
};

static void file_log(cyaml_log_t level, void *ctx, const char *fmt, va_list args) {
  struct file_log *l = ctx;
  char line[256], *quote;
  if (level < CYAML_LOG_ERROR) return;
  vsnprintf(line, sizeof line, fmt, args);
  line[strcspn(line, "\n")] = 0;
  if (!l->what[0])
    snprintf(l->what, sizeof l->what, "%.150s",
             strstr(line, "Expecting STRING") ? "one value is expected here, not a list or a mapping"
             : strncmp(line, "Load: ", 6)     ? line
                                              : line + 6);
  else if (!l->field[0] && (quote = strstr(line, "mapping field '")))
    snprintf(l->field, sizeof l->field, "%.*s", (int)strcspn(quote + 15, "'"), quote + 15);
}

/* libcyaml tells the line of the value before a wrong one, so the lines and the keys are checked on libyaml's document first.
 */
static int file_places(const struct config *c, const char *data, size_t len, struct file_place *ret_places, char *ret_why) {
  yaml_parser_t parser;
  yaml_document_t doc;
  int err = 0;
  if (!yaml_parser_initialize(&parser)) return MACULA_ENOMEM;
  yaml_parser_set_input_string(&parser, (const unsigned char *)data, len);
  if (!yaml_parser_load(&parser, &doc)) {
    snprintf(ret_why, CONFIG_WHY_LEN, "%.300s:%zu: not YAML: %s", c->file, parser.problem_mark.line + 1,
             parser.problem ? parser.problem : "cannot be read");
    yaml_parser_delete(&parser);
    return MACULA_EINVAL;
  }
  yaml_node_t *root = yaml_document_get_root_node(&doc);
  if (root && root->type != YAML_MAPPING_NODE) {
    snprintf(ret_why, CONFIG_WHY_LEN, "%.300s:%zu: 'key: value' lines are expected here", c->file, root->start_mark.line + 1);
    err = MACULA_EINVAL;
  }
  for (yaml_node_pair_t *p = root && !err ? root->data.mapping.pairs.start : NULL; p && p < root->data.mapping.pairs.top; p++) {
    yaml_node_t *k = yaml_document_get_node(&doc, p->key), *value = yaml_document_get_node(&doc, p->value);
    const char *key = k->type == YAML_SCALAR_NODE ? (const char *)k->data.scalar.value : "";
    unsigned line = (unsigned)k->start_mark.line + 1;
    int o = find_option(key);
    if (o < 0 && instead_of(key)) {
      snprintf(ret_why, CONFIG_WHY_LEN, "%.250s:%u: %s: %s", c->file, line, key, instead_of(key));
    } else if (o < 0) {
      int near = suggest(key);
      snprintf(ret_why, CONFIG_WHY_LEN, "%.250s:%u: unknown key '%.64s'; %s%s%s", c->file, line, key,
               near < 0 ? "'maculad --help' lists them" : "did you mean '", near < 0 ? "" : rows[near].key,
               near < 0 ? "" : "'?");
    } else if (ret_places[o].line) {
      snprintf(ret_why, CONFIG_WHY_LEN, "%.300s:%u: %s: stands in line %u already", c->file, line, key, ret_places[o].line);
    } else {
      ret_places[o] = (struct file_place){line, value && value->type == YAML_SEQUENCE_NODE};
      continue;
    }
    err = MACULA_EINVAL;
    break;
  }
  yaml_document_delete(&doc);
  yaml_parser_delete(&parser);
  return err;
}

static int file_take(struct config *c, const struct file_values *v, const struct file_place *places) {
  for (int o = 0; o < OPTION_COUNT; o++) {
    const struct file_value *f = &v->at[o];
    char *joined = NULL;
    int err = 0;
    for (uint32_t i = 0; i < f->count && !err; i++) {
      char *more;
      err = asprintf(&more, "%s%s%s", joined ? joined : "", joined ? "," : "", f->items[i]) < 0 ? MACULA_ENOMEM : 0;
      free(joined);
      joined = err ? NULL : more;
    }
    if (!err && (joined || f->text)) err = set_text(c, o, joined ? joined : f->text, CONFIG_FILE, places[o].line);
    free(joined);
    if (err) return err;
  }
  return 0;
}

static void file_fields(const struct file_place *places, cyaml_schema_field_t ret_fields[OPTION_COUNT + 1]) {
  static const cyaml_schema_value_t item = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, 4096)};
  cyaml_schema_field_t *fields = ret_fields;
  for (int o = 0; o < OPTION_COUNT; o++) {
    uint32_t at = (uint32_t)(offsetof(struct file_values, at) + sizeof(struct file_value) * (size_t)o);
    fields[o].key = rows[o].key;
    fields[o].value.flags = (enum cyaml_flag)(CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER);
    if (is_list(rows[o].type) && places[o].is_sequence) {
      fields[o].data_offset = at + (uint32_t)offsetof(struct file_value, items);
      fields[o].count_offset = at + (uint32_t)offsetof(struct file_value, count);
      fields[o].count_size = sizeof(uint32_t);
      fields[o].value.type = CYAML_SEQUENCE;
      fields[o].value.data_size = sizeof(char *);
      fields[o].value.sequence.entry = &item;
      fields[o].value.sequence.max = CONFIG_MAX_REALMS;
    } else {
      fields[o].data_offset = at + (uint32_t)offsetof(struct file_value, text);
      fields[o].value.type = CYAML_STRING;
      fields[o].value.data_size = sizeof(char);
      fields[o].value.string.max = 4096;
    }
  }
}

static int load_file(struct config *c, char *ret_why) {
  cyaml_schema_field_t fields[OPTION_COUNT + 1] = {0};
  cyaml_schema_value_t top = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct file_values, fields)};
  struct file_log log = {0};
  cyaml_config_t options = {
      .log_fn = file_log, .log_ctx = &log, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR, .flags = CYAML_CFG_NO_ALIAS};
  char *data, why[256];
  size_t len;
  struct file_place places[OPTION_COUNT] = {0};
  struct file_values *values = NULL;

  _Static_assert(CONFIG_WHY_LEN >= YAML_WHY_LEN, "a text fits");
  int err = io_file_read(c->file, MAX_FILE, &data, &len, why);
  if (err) return snprintf(ret_why, CONFIG_WHY_LEN, "%.255s", why), err;
  err = yaml_check_shape(c->file, slice_of(data, len), MAX_NESTING, ret_why);
  if (!err) err = file_places(c, data, len, places, ret_why);
  if (!err && len) {
    file_fields(places, fields);
    cyaml_err_t e = cyaml_load_data((const uint8_t *)data, len, &options, &top, (cyaml_data_t **)&values, NULL);
    int o = log.field[0] ? find_option(log.field) : -1;
    if (e != CYAML_OK) {
      snprintf(ret_why, CONFIG_WHY_LEN, "%.200s:%u: %s: %s", c->file, o < 0 ? 1 : places[o].line, o < 0 ? "file" : rows[o].key,
               log.what[0] && strcmp(log.what, "Backtrace:") != 0 ? log.what : cyaml_strerror(e));
      err = e == CYAML_ERR_OOM ? MACULA_ENOMEM : MACULA_EINVAL;
    } else if (values) {
      err = file_take(c, values, places);
      cyaml_free(&options, &top, values, 0);
    }
  }
  free(data);
  return err;
}

/* ---- flags and environment ------------------------------------------------------------------------------------------------
 */
static int set_file(struct config *c, const char *path) {
  free(c->file);
  return (c->file = strdup(path)) ? 0 : MACULA_ENOMEM;
}

static int load_flags(struct config *c, int argc, const char *const *argv, char *ret_why) {
  for (int i = 1; i < argc; i++) {
    const char *arg = argv[i], *value = strchr(arg, '=');
    char name[MAX_SUGGEST];
    int err = 0;
    snprintf(name, sizeof name, "%.*s", value ? (int)(value - arg) : (int)strlen(arg), arg);
    if (value) value++;
    bool file = !strcmp(name, "-c") || !strcmp(name, "--config");
    if (!strcmp(arg, "--check") || !strcmp(arg, "--plan")) {
      enum config_mode mode = !strcmp(arg, "--plan") ? CONFIG_PLAN : CONFIG_CHECK;
      if (c->mode != CONFIG_RUN && c->mode != mode) {
        snprintf(ret_why, CONFIG_WHY_LEN, "--check and --plan are two answers: ask for one at a time");
        return MACULA_EINVAL;
      }
      c->mode = mode;
    } else if (!strcmp(arg, "--json")) {
      c->json = true;
    } else if (!strcmp(arg, "--yaml")) {
      c->yaml = true;
    } else if (!strcmp(arg, "--no-upkeep")) { /* for tests of the pool: not told to users */
      c->node.no_upkeep = true;
    } else if (!strcmp(arg, "--print-man") || !strcmp(arg, "--print-example")) { /* for tools/check_limits.sh */
      c->mode = arg[8] == 'm' ? CONFIG_MAN : CONFIG_EXAMPLE;
      return 0;
    } else if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
      c->mode = CONFIG_HELP;
      return 0;
    } else if (!strcmp(arg, "--version") || !strcmp(arg, "-V")) {
      c->mode = CONFIG_VERSION;
      return 0;
    } else if (file || !strncmp(name, "--", 2)) {
      char key[MAX_SUGGEST];
      snprintf(key, sizeof key, "%s", file ? "config" : name + 2);
      for (char *p = key; *p; p++)
        if (*p == '-') *p = '_';
      int o = find_option(key);
      if (o < 0 && !file) {
        char near[MAX_SUGGEST] = "maculad --help";
        if (instead_of(key)) return snprintf(ret_why, CONFIG_WHY_LEN, "%s: %s", name, instead_of(key)), MACULA_EINVAL;
        int s = suggest(key);
        const char *word = s >= 0 ? NULL : suggest_word(key);
        if (s >= 0 || word) flag_name(s >= 0 ? rows[s].key : word, near);
        snprintf(ret_why, CONFIG_WHY_LEN,
                 s >= 0 || word ? "unknown option %s; did you mean %s?" : "unknown option %s; '%s' lists them", name, near);
        return MACULA_EINVAL;
      }
      if (!value && !file && rows[o].type == BOOL) value = "true";
      if (!value && i + 1 < argc) value = argv[++i];
      if (!value)
        return snprintf(ret_why, CONFIG_WHY_LEN, "%s needs a value: %s", name, file ? "FILE" : rows[o].arg), MACULA_EINVAL;
      err = file ? set_file(c, value) : set_text(c, o, value, CONFIG_FLAG, 0);
    } else {
      snprintf(ret_why, CONFIG_WHY_LEN, "'%.100s' is not an option; 'maculad --help' lists them", arg);
      err = MACULA_EINVAL;
    }
    if (err) return err;
  }
  if (c->json && c->mode == CONFIG_CHECK)
    return snprintf(ret_why, CONFIG_WHY_LEN, "--json goes with --plan, or with a node that runs"), MACULA_EINVAL;
  if (c->yaml && (c->mode != CONFIG_PLAN || c->json))
    return snprintf(ret_why, CONFIG_WHY_LEN, "--yaml goes with --plan, and not with --json"), MACULA_EINVAL;
  return 0;
}

/* An empty variable counts as absent. */
static const char *env_get(const char *const *env, const char *name) {
  size_t n = strlen(name);
  for (; env && *env; env++)
    if (!strncmp(*env, name, n) && (*env)[n] == '=' && (*env)[n + 1]) return *env + n + 1;
  return NULL;
}

/* Refuses misspelt MACULA_* variables, so that a limit that was meant to be set does not silently keep its default. */
static int check_env(const char *const *env, char *ret_why) {
  struct environ_unknown u;
  for (size_t at = 0; environ_next_unknown(env, &at, &u);)
    if (u.misspelt) {
      snprintf(ret_why, CONFIG_WHY_LEN, "unknown variable %s; did you mean %s?", u.name, u.near);
      return MACULA_EINVAL;
    }
  return 0;
}

static int load_env(struct config *c, const char *const *env) {
  const char *value = env_get(env, "MACULA_CONFIG");
  int err = value && !c->file ? set_file(c, value) : 0;
  for (int o = 0; o < OPTION_COUNT && !err; o++) {
    char name[MAX_SUGGEST];
    env_name(rows[o].key, name);
    if ((value = env_get(env, name))) err = set_text(c, o, value, CONFIG_ENV, 0);
  }
  return err;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------
 */
static void defaults(struct config *c) {
  *c = (struct config){.node = {.realm = "default", .idle_timeout = 30 * NS_SEC, .keep_alive = 10 * NS_SEC},
                       .log_level = LOG_INFO};
  addr_parse("127.0.0.1:9443", 0, &c->listen.at[0]);
  c->listen.count = 1;
  addr_parse("127.0.0.1:8080", 0, &c->http.at);
  node_limits_default(&c->node.limits);
}

static int default_state(struct config *c, const char *const *env, char *ret_why) {
  const char *dir = env_get(env, "STATE_DIRECTORY"), *xdg = env_get(env, "XDG_STATE_HOME"), *home = env_get(env, "HOME");
  int n = -1;
  if (dir) /* systemd: several folders are separated by colons */
    n = asprintf(&c->state_default, "%.*s", (int)strcspn(dir, ":"), dir);
  else if (geteuid() == 0)
    n = asprintf(&c->state_default, "/var/lib/macula");
  else if (xdg)
    n = asprintf(&c->state_default, "%s/macula", xdg);
  else if (home)
    n = asprintf(&c->state_default, "%s/.local/state/macula", home);
  else
    return snprintf(ret_why, CONFIG_WHY_LEN, "no HOME is set: say where the state folder is, with --state DIR"), MACULA_EINVAL;
  if (n < 0) {
    c->state_default = NULL;
    return MACULA_ENOMEM;
  }
  c->state = c->state_default;
  return 0;
}

/* Whether who can reach these addresses is judged. */
static int check_reached(const struct config *c, const struct config_addrs *l, enum option o, char *ret_why) {
  char where[CONFIG_WHY_LEN], at[ADDR_TEXT_LEN];
  for (size_t i = 0; i < l->count; i++)
    if (!addr_is_loopback(&l->at[i]) && !c->access && !c->realm_keys.count) {
      config_where(c, o, where);
      addr_text(&l->at[i], at);
      snprintf(ret_why, CONFIG_WHY_LEN,
               "%.200s: %s can be reached by others, to whom access is never open: say who may do what, with --access FILE "
               "(maculad.yaml(5) shows one) or --realm-keys ID",
               where, at);
      return MACULA_EINVAL;
    }
  return 0;
}

/* No TCP port is asked for twice, which bind would blame another program for. */
static int check_ports(const struct config *c, char *ret_why) {
  static const enum option options[] = {OPTION_MQTT, OPTION_MQTTS, OPTION_MQTT_WS, OPTION_MQTT_WSS, OPTION_HTTP};
  const struct config_addrs http = {.at = {c->http.at}, .count = !c->http.off};
  const struct config_addrs *const at[] = {&c->mqtt, &c->mqtts, &c->mqtt_ws, &c->mqtt_wss, &http};
  char first[CONFIG_WHY_LEN], second[CONFIG_WHY_LEN], text[ADDR_TEXT_LEN];
  for (size_t i = 0; i < sizeof at / sizeof at[0]; i++)
    for (size_t j = 0; j < i; j++)
      for (size_t k = 0; k < at[i]->count * at[j]->count; k++) {
        const struct addr *a = &at[i]->at[k % at[i]->count], *b = &at[j]->at[k / at[i]->count];
        if (!addr_port(a) || !addr_eq(a, b)) continue;
        config_where(c, options[j], first);
        config_where(c, options[i], second);
        addr_text(a, text);
        snprintf(ret_why, CONFIG_WHY_LEN, "%.150s: %s is that of %.150s, too: give each a port of its own", first, text,
                 second);
        return MACULA_EINVAL;
      }
  return 0;
}

/* Where only this machine reaches the node, its clients of MQTT find it without being told to. */
static void open_mqtt(struct config *c) {
  const struct config_addrs http = {.at = {c->http.at}, .count = !c->http.off};
  const struct config_addrs *const others[] = {&c->mqtts, &c->mqtt_ws, &c->mqtt_wss, &http};
  struct addr at;
  if (config_is_set(c, OPTION_MQTT)) return;
  for (size_t i = 0; i < c->listen.count; i++)
    if (!addr_is_loopback(&c->listen.at[i])) return;
  addr_parse(MQTT_AT, 0, &at);
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
    for (size_t k = 0; k < others[i]->count; k++)
      if (addr_eq(&others[i]->at[k], &at)) return;
  c->mqtt = (struct config_addrs){.at = {at}, .count = 1};
}

static bool has_mqtt(const struct config *c) {
  return c->mqtt.count || c->mqtts.count || c->mqtt_ws.count || c->mqtt_wss.count;
}

bool config_close_mqtt(struct config *c) {
  if (config_is_set(c, OPTION_MQTT) || !c->mqtt.count) return false;
  c->mqtt.count = 0;
  if (!has_mqtt(c) && !config_is_set(c, OPTION_MQTT_POOL)) c->node.limits.mqtt_pool = 0;
  return true;
}

/* A client sends and gets messages as large as any: a buffer of up to twice a frame each way. */
static int check_pool(const struct config *c, char *ret_why) {
  struct node_limits l = c->node.limits;
  char where[CONFIG_WHY_LEN];
  if (!has_mqtt(c)) return 0;
  node_limits_fill(&l);
  size_t least = 4 * (size_t)l.max_frame + (256u << 10);
  if (l.mqtt_pool >= least) return 0;
  config_where(c, OPTION_MQTT_POOL, where);
  snprintf(
      ret_why, CONFIG_WHY_LEN,
      "%.200s: too small for a single client: with messages of max_frame, %u bytes, it takes up to %zu KiB: give that much, or "
      "lower max_frame",
      where, (unsigned)l.max_frame, (least + 1023) / 1024);
  return MACULA_EINVAL;
}

/* Checks that concern several options. */
static int check_together(const struct config *c, char *ret_why) {
  char where[CONFIG_WHY_LEN];
  int err = check_reached(c, &c->listen, OPTION_LISTEN, ret_why);
  if (!err) err = check_reached(c, &c->mqtt, OPTION_MQTT, ret_why);
  if (!err) err = check_reached(c, &c->mqtts, OPTION_MQTTS, ret_why);
  if (!err) err = check_reached(c, &c->mqtt_ws, OPTION_MQTT_WS, ret_why);
  if (!err) err = check_reached(c, &c->mqtt_wss, OPTION_MQTT_WSS, ret_why);
  if (!err) err = check_ports(c, ret_why);
  if (err) return err;
  if (c->realm_keys.count && c->access) {
    config_where(c, OPTION_REALM_KEYS, where);
    snprintf(ret_why, CONFIG_WHY_LEN, "%.200s: an access file is given too: its realm_keys is where they stand then", where);
    return MACULA_EINVAL;
  }
  if (c->key && !c->cert) {
    config_where(c, OPTION_KEY, where);
    snprintf(ret_why, CONFIG_WHY_LEN, "%.300s: a key needs its certificate: give --cert FILE too", where);
    return MACULA_EINVAL;
  }
  if (c->http_key && !c->http_cert) {
    config_where(c, OPTION_HTTP_KEY, where);
    snprintf(ret_why, CONFIG_WHY_LEN, "%.300s: a key needs its certificate: give --http-cert FILE too", where);
    return MACULA_EINVAL;
  }
  if (c->node.keep_alive * 2 > c->node.idle_timeout) {
    config_where(c, OPTION_KEEP_ALIVE, where); /* unset it follows idle_timeout */
    snprintf(ret_why, CONFIG_WHY_LEN, "%.300s: must be at most half of idle_timeout: change one of them", where);
    return MACULA_EINVAL;
  }
  return check_pool(c, ret_why);
}

int config_load(int argc, const char *const *argv, const char *const *env, struct config *ret_config,
                char ret_why[CONFIG_WHY_LEN]) {
  struct config *c = ret_config;
  char where[CONFIG_WHY_LEN], why[CONFIG_WHY_LEN];
  defaults(c);
  ret_why[0] = 0;
  int err = load_flags(c, argc, argv, ret_why);
  if (err || c->mode >= CONFIG_HELP) return err;
  err = check_env(env, ret_why);
  if (!err) err = load_env(c, env);
  if (!err && c->file) err = load_file(c, ret_why);
  for (int o = 0; o < OPTION_COUNT && !err; o++) {
    if (!c->values[o].text || !(err = config_parse_value(c, &rows[o], c->values[o].text, why))) continue;
    config_where(c, (enum option)o, where);
    snprintf(ret_why, CONFIG_WHY_LEN, "%.200s: %.300s", where, why);
  }
  if (!err && !c->state) err = default_state(c, env, ret_why);
  /* The idle timeout alone may be lowered: the pings follow. */
  if (!err && !config_is_set(c, OPTION_KEEP_ALIVE) && c->node.keep_alive > c->node.idle_timeout / 3)
    c->node.keep_alive = c->node.idle_timeout / 3;
  if (!err) open_mqtt(c);
  if (has_mqtt(c) && !c->node.limits.mqtt_pool) c->node.limits.mqtt_pool = MQTT_POOL;
  if (!err) err = check_together(c, ret_why);
  if (err && !ret_why[0]) snprintf(ret_why, CONFIG_WHY_LEN, "%s", macula_err_text(err));
  return err;
}

void config_done(struct config *c) {
  for (int o = 0; o < OPTION_COUNT; o++) free(c->values[o].text);
  free(c->file);
  free(c->state_default);
  *c = (struct config){0};
}

bool config_key_is_set(const struct config *c, const char *key) {
  int o = find_option(key);
  return o >= 0 && config_is_set(c, (enum option)o);
}

size_t config_fixed_changes(const struct config *running, const struct config *wanted, char ret_names[CONFIG_WHY_LEN]) {
  size_t count = 0, used = 0;
  ret_names[0] = 0;
  for (int o = 0; o < OPTION_COUNT; o++) {
    const char *a = running->values[o].text, *b = wanted->values[o].text;
    bool changed = a && b ? strcmp(a, b) != 0 : a != b;
    /* A reload may set another CA but not remove it. */
    if (o == OPTION_CA) changed = running->ca && !wanted->ca;
    if (!changed || (rows[o].reload == LIMIT_RELOADED && o != OPTION_CA)) continue;
    int n = snprintf(ret_names + used, CONFIG_WHY_LEN - used, "%s%s", count++ ? "," : "", rows[o].key);
    used = used + (size_t)n < CONFIG_WHY_LEN ? used + (size_t)n : CONFIG_WHY_LEN - 1;
  }
  return count;
}

static bool default_of(const struct config *c, const struct config_row *r, char ret[32]) {
  const void *at = (const char *)c + r->offset;
  if (r->type != COUNT && r->type != SIZE32 && r->type != SIZE && r->type != DURATION) return false;
  config_print_number(r->type == SIZE       ? *(const size_t *)at
                      : r->type == DURATION ? *(const uint64_t *)at
                                            : *(const uint32_t *)at,
                      r->type, ret);
  return true;
}

/* What is 0 until other options are known: a line with 0 in a file would turn it off. */
static bool is_computed(const struct config_row *r) { return r == &rows[OPTION_MQTT_POOL] || r == &rows[OPTION_RETAINED_DISK]; }

void config_print_limits(enum config_mode form, FILE *to) {
  struct config c;
  char value[32];
  defaults(&c);
  for (const struct config_row *r = rows; r < rows + OPTION_COUNT; r++) {
    const char *reloaded = r->reload == LIMIT_RELOADED ? "*" : "";
    if (!r->more || !default_of(&c, r, value)) continue;
    if (is_computed(r)) snprintf(value, sizeof value, "%s", form == CONFIG_MAN ? "as needed" : "SIZE");
    if (form == CONFIG_MAN)
      fprintf(to, ".TP\n.BR %s \": \\fI%s\\fR (%s)\"\n%c%s%s.%s%s\n", r->key, r->arg, value, toupper((unsigned char)r->help[0]),
              r->help + 1, r->more, *reloaded ? " " : "", reloaded);
    else
      fprintf(to, "%s%s: %-*s # %s%s%s%s\n", is_computed(r) ? "#" : "", r->key, (int)(29 - strlen(r->key) - is_computed(r)),
              value, reloaded, *reloaded ? " " : "", r->help, is_computed(r) ? "; as needed unless it is said" : "");
  }
}

#define HELP_LEFT 33 /* columns before what an option does */
#define HELP_COLUMNS 80

/* An option and what it does, within a terminal's columns. */
static void put_help(FILE *f, const char *left, const char *text) {
  int column = fprintf(f, "  %s", left);
  if (column >= HELP_LEFT) fputc('\n', f), column = 0;
  for (const char *p = text; *p;) {
    size_t n = strcspn(p, " ");
    if (column + 1 + (int)n > HELP_COLUMNS && column > HELP_LEFT) fputc('\n', f), column = 0;
    column += fprintf(f, "%*s%.*s", column < HELP_LEFT ? HELP_LEFT - column + 1 : 1, "", (int)n, p);
    p += n + (p[n] == ' ');
  }
  fputc('\n', f);
}

static void put_option(FILE *f, const struct config *c, const struct config_row *r) {
  char flag[MAX_SUGGEST], left[2 * MAX_SUGGEST], number[32], text[512];
  const char *value = is_computed(r)             ? "as needed"
                      : default_of(c, r, number) ? number
                      : r->type == LEVEL         ? config_level_names[c->log_level]
                                                 : NULL;
  flag_name(r->key, flag);
  snprintf(left, sizeof left, "    %s%s%s", flag, r->arg ? " " : "", r->arg ? r->arg : "");
  snprintf(text, sizeof text, "%s%s%s%s", r->help, value ? " (" : "", value ? value : "", value ? ")" : "");
  put_help(f, left, text);
}

char *config_help(void) {
  static const char *const first[][2] = {
      {"-c, --config FILE", "YAML file with the keys below, underscores for dashes (maculad.yaml(5))"},
      {"    --check", "say what is wrong with the configuration, or ok, and end"},
      {"    --plan [--json]", "print the most memory that this configuration can use, row by row, and end"},
      {"    --plan --yaml", "print the limits that fit memory_max, as lines of that file, and end"},
      {"    --json", "say in one line of JSON where the node listens, instead of in words"},
      {"-h, --help", "show this"},
      {"-V, --version", "show the version"},
  };
  struct config c;
  char *text = NULL;
  size_t len;
  FILE *f = open_memstream(&text, &len);
  if (!f) return NULL;
  defaults(&c);
  fputs("Usage: maculad [-c FILE] [OPTION]...\nA node of the Macula mesh. Ctrl-C ends it.\n\n", f);
  for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) put_help(f, first[i][0], first[i][1]);
  for (int o = 0; o < OPTION_COUNT; o++) put_option(f, &c, &rows[o]);
  fputs("\nEach option is also a variable, MACULA_MAX_CLIENTS for --max-clients. A flag\nwins over a variable, a variable over "
        "the file. SIGHUP reads the file again.\nExit codes: 0 done, 1 could not run, 2 wrong options or configuration.\n",
        f);
  if (fclose(f)) {
    free(text);
    return NULL;
  }
  return text;
}
