/* Options by table: the global ones anywhere, a command's own after it. getopt_long is not used since it takes the payload in
 * `pub a.b -5` for options. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

const struct option_def global_options[] = {
    {"server", 's', OPTION_TEXT, offsetof(struct cli, server)},
    {"realm", 'r', OPTION_TEXT, offsetof(struct cli, realm)},
    {"context", 0, OPTION_TEXT, offsetof(struct cli, context), .values = "context"},
    {"name", 0, OPTION_TEXT, offsetof(struct cli, name)},
    {"identity", 0, OPTION_TEXT, offsetof(struct cli, identity_path), .values = "file"},
    {"token-file", 0, OPTION_TEXT, offsetof(struct cli, token_file), .values = "file"},
    {"pass", 0, OPTION_TEXT, offsetof(struct cli, pass_file), .values = "file"},
    {"ca", 0, OPTION_TEXT, offsetof(struct cli, ca_file), .values = "file"},
    {"realm-key", 0, OPTION_TEXT, offsetof(struct cli, realm_key)},
    {"insecure", 0, OPTION_FLAG, offsetof(struct cli, insecure)},
    {"json", 0, OPTION_FLAG, offsetof(struct cli, json)},
    {"watch", 0, OPTION_FLAG, offsetof(struct cli, watch)},
    {"help", 'h', OPTION_FLAG, offsetof(struct cli, help)},
    {"version", 'V', OPTION_FLAG, offsetof(struct cli, version)},
    {0},
};

static bool parse_scaled(const char *text, const char *const *units, const double *factors, double *ret_value) {
  char *end;
  if (!isdigit((unsigned char)text[0]) && text[0] != '.') return false;
  double v = strtod(text, &end);
  if (!isfinite(v) || strpbrk(text, "xXpP")) return false;
  for (size_t i = 0; units[i]; i++)
    if (strcasecmp(end, units[i]) == 0) {
      *ret_value = v * factors[i];
      return true;
    }
  return false;
}

static bool parse_value(const struct option_def *d, const char *text, uint64_t *ret_value) {
  static const char *const times[] = {"", "ms", "s", "m", "min", "h", "d", NULL};
  static const double time_factors[] = {1e3, 1, 1e3, 6e4, 6e4, 36e5, 864e5};
  static const char *const sizes[] = {"", "b", "k", "kib", "m", "mib", "g", "gib", "kb", "mb", "gb", NULL};
  static const double size_factors[] = {1, 1, 1024, 1024, 1048576, 1048576, 1073741824, 1073741824, 1e3, 1e6, 1e9};
  static const char *const plain[] = {"", NULL};
  static const double one[] = {1};
  double v;
  uint64_t max = d->max ? d->max : UINT32_MAX;
  bool ok = d->kind == OPTION_TIME   ? parse_scaled(text, times, time_factors, &v)
            : d->kind == OPTION_SIZE ? parse_scaled(text, sizes, size_factors, &v)
                                     : parse_scaled(text, plain, one, &v);
  if (!ok || v < (double)d->min || v > (double)max || (d->kind == OPTION_NUMBER && v != floor(v))) return false;
  *ret_value = (uint64_t)ceil(v); /* half a millisecond is not 0, which would mean the default */
  return true;
}

static int bad_value(const struct cli *cli, const struct option_def *d, const char *text) {
  static const char *const want[] = {[OPTION_FLAG] = "nothing",
                                     [OPTION_TEXT] = "a text",
                                     [OPTION_LIST] = "a text, at most 64 times",
                                     [OPTION_NUMBER] = "a whole number",
                                     [OPTION_SIZE] = "a size such as 64, 4k or 1MiB",
                                     [OPTION_TIME] = "a time such as 2s, 1h or 30d"};
  char range[80] = "", list[160], near[NEAR_LEN];
  if (d->kind == OPTION_NUMBER || d->kind == OPTION_SIZE)
    snprintf(range, sizeof range, " from %llu to %llu", (unsigned long long)d->min,
             (unsigned long long)(d->max ? d->max : UINT32_MAX));
  if (d->kind == OPTION_TEXT && d->values) {
    near_put_list(d->values, list, sizeof list);
    bool is_near = near_find(cli, text, near_next_word, d->values, near);
    cli_error("invalid_argument", "--%s is %s, not '%s'%s%s%s", d->name, list, text, is_near ? "; did you mean '" : "",
              is_near ? near : "", is_near ? "'?" : "");
    return EXIT_USAGE;
  }
  bool above = d->kind == OPTION_TIME && d->min == 1;
  cli_error("invalid_argument", "--%s takes %s%s%s, not '%s'%s", d->name, above ? "a time above 0" : want[d->kind],
            above ? ", such as 2s, 1h or 30d" : "", range, text,
            above && strtod(text, NULL) == 0 && isdigit((unsigned char)text[0]) ? ": leave it out for the default" : "");
  return EXIT_USAGE;
}

static bool takes(const struct option_def *d, const char *text) {
  bool any = !d->values || strcmp(d->values, "file") == 0 || strcmp(d->values, "context") == 0;
  return any || near_has(d->values, text);
}

static const struct option_def *find(const struct option_def *defs, const char *name, size_t len, char letter) {
  for (; defs && defs->name; defs++)
    if (letter ? defs->letter == letter : strlen(defs->name) == len && memcmp(defs->name, name, len) == 0) return defs;
  return NULL;
}

static int store(const struct cli *cli, const struct option_def *d, void *values, const char *text) {
  void *to = (char *)values + d->offset;
  if (d->kind == OPTION_FLAG)
    *(bool *)to = true;
  else if (d->kind == OPTION_TEXT && !takes(d, text))
    return bad_value(cli, d, text);
  else if (d->kind == OPTION_TEXT)
    *(const char **)to = text;
  else if (d->kind == OPTION_LIST) {
    struct option_list *list = to;
    if (list->count == OPTION_LIST_MAX) return bad_value(cli, d, text);
    list->at[list->count++] = text;
  } else if (!parse_value(d, text, to))
    return bad_value(cli, d, text);
  return 0;
}

/* The i-th of the command's own options and the global ones that are for people. */
static bool next_option(const void *own, size_t i, char ret[NEAR_LEN]) {
  const struct option_def *const tables[] = {own, global_options};
  for (int t = 0; t < 2; t++)
    for (const struct option_def *d = tables[t]; d && d->name; d++) {
      if (d->hidden || i--) continue;
      snprintf(ret, NEAR_LEN, "%s", d->name);
      return true;
    }
  return false;
}

/* Names the command that knows the option, if it is one alone; else the option that may be meant. */
static int unknown(const struct cli *cli, const struct option_def *own, const char *given, const char *name, size_t len,
                   char letter) {
  const struct command *of = NULL;
  unsigned count = 0;
  char word[NEAR_LEN], near[NEAR_LEN];
  snprintf(word, sizeof word, "%.*s", (int)len, name);
  for (const struct command *const *c = cli->program->commands; *c; c++)
    if (find((*c)->options, name, len, letter)) of = *c, count++;
  if (count == 1)
    cli_error("invalid_argument", "unknown option %s here: it is one of `macula %s`", given, of->name);
  else if (!letter && near_find(cli, word, next_option, own, near))
    cli_error("invalid_argument", "unknown option %s; did you mean --%s?", given, near);
  else
    cli_error("invalid_argument", "unknown option %s; --help lists what there is", given);
  return EXIT_USAGE;
}

int options_belong(const struct cli *cli, const struct command *c) {
  char words[64];
  for (const struct option_def *d = c->options; d && d->name; d++) {
    bool given = cli->given >> (d - c->options) & 1;
    if (!given || !d->words || !cli->argc || !c->words || !near_has(c->words, cli->argv[0])) continue;
    if (near_has(d->words, cli->argv[0])) continue;
    snprintf(words, sizeof words, "%s", d->words);
    for (char *p = words; *p; p++)
      if (*p == ' ') *p = '|';
    cli_error("invalid_argument", "--%s goes with `macula %s %s`, not with `macula %s %s`", d->name, c->name, words, c->name,
              cli->argv[0]);
    return EXIT_USAGE;
  }
  return 0;
}

int options_parse(struct cli *cli, int argc, char **argv, bool until_command, const struct option_def *own, void *values,
                  int *ret_used) {
  int i = 0;
  for (bool only_args = false; i < argc; i++) {
    const char *a = argv[i];
    bool is_option = !only_args && a[0] == '-' && a[1] && !isdigit((unsigned char)a[1]) && a[1] != '.';
    if (!is_option) {
      if (until_command) break;
      cli->argv[cli->argc++] = a;
      continue;
    }
    if (strcmp(a, "--") == 0) {
      only_args = true;
      continue;
    }
    bool is_long = a[1] == '-';
    const char *name = is_long ? a + 2 : a + 1, *value = NULL;
    size_t len = is_long ? strcspn(name, "=") : 1;
    void *into = values;
    const struct option_def *d = find(own, name, len, is_long ? 0 : a[1]);
    if (!d) {
      d = find(global_options, name, len, is_long ? 0 : a[1]);
      into = cli;
    }
    if (name[len]) value = name + len + (is_long ? 1 : 0);
    if (!d) return unknown(cli, own, a, name, len, is_long ? 0 : a[1]);
    if (d->kind == OPTION_FLAG && value) {
      cli_error("invalid_argument", "%s takes no value; --help shows an example", a);
      return EXIT_USAGE;
    }
    if (d->kind != OPTION_FLAG && !value) {
      if (++i == argc) {
        cli_error("invalid_argument", "%s needs a value; --help shows an example", a);
        return EXIT_USAGE;
      }
      value = argv[i];
    }
    int code = store(cli, d, into, value);
    if (code) return code;
    if (into == values) cli->given |= 1ull << (d - own);
  }
  if (ret_used) *ret_used = i;
  return 0;
}
