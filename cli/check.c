/* macula check: one line and an exit code for Nagios and what speaks like it. Figures stand behind the bar as
 * 'name'=value[unit];warning;critical;least;most. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli.h"

enum level { LEVEL_OK, LEVEL_WARNING, LEVEL_CRITICAL, LEVEL_UNKNOWN }; /* the exit codes, too */

struct check_options {
  const char *warning, *critical;
  uint64_t timeout, members;
  bool probe;
};

static const struct option_def options[] = {
    {"warning", 'w', OPTION_TEXT, offsetof(struct check_options, warning)},
    {"critical", 'c', OPTION_TEXT, offsetof(struct check_options, critical)},
    {"timeout", 't', OPTION_TIME, offsetof(struct check_options, timeout), 1},
    {"members", 0, OPTION_NUMBER, offsetof(struct check_options, members), 1, .words = "mesh"},
    {"probe", 0, OPTION_FLAG, offsetof(struct check_options, probe), .words = "topic"},
    {0},
};

/* What a check has found so far: the worst level, why, and the figures of the line. */
struct finding {
  struct cli *cli;
  const struct check_options *given;
  double warning, critical; /* of the figure that is judged, in its own unit */
  uint64_t timeout;         /* ms */
  enum level level;
  char text[512], figures[1024];
};

/* ---- what is said ----------------------------------------------------------------------------------------------------------
 */
__attribute__((format(printf, 3, 4))) static void find(struct finding *f, enum level level, const char *fmt, ...) {
  size_t used = strlen(f->text);
  va_list ap;
  if (level > f->level) f->level = level;
  if (used && used + 3 < sizeof f->text) used += (size_t)snprintf(f->text + used, sizeof f->text - used, ", ");
  va_start(ap, fmt);
  vsnprintf(f->text + used, sizeof f->text - used, fmt, ap);
  va_end(ap);
}

/* NAN or INFINITY: there is none. */
static void figure(struct finding *f, const char *name, double value, const char *unit, double warning, double critical,
                   double most) {
  const double bounds[] = {warning, critical, 0, most};
  size_t used = strlen(f->figures), size = sizeof f->figures;
  int n = snprintf(f->figures + used, size - used, " %s=%.10g%s", name, value, unit);
  for (int i = 0; i < 4 && n > 0 && used + (size_t)n < size; i++) {
    used += (size_t)n;
    n = !isfinite(bounds[i]) ? snprintf(f->figures + used, size - used, ";")
                             : snprintf(f->figures + used, size - used, ";%.10g", bounds[i]);
  }
}
static void plain_figure(struct finding *f, const char *name, double value, const char *unit) {
  figure(f, name, value, unit, NAN, NAN, NAN);
}

/* The worst that a value is, by the two limits. */
static enum level above(const struct finding *f, double value) {
  return value >= f->critical ? LEVEL_CRITICAL : value >= f->warning ? LEVEL_WARNING : LEVEL_OK;
}
static enum level below(const struct finding *f, double value) {
  return value <= f->critical ? LEVEL_CRITICAL : value <= f->warning ? LEVEL_WARNING : LEVEL_OK;
}

static int put(const struct finding *f, const char *what) {
  static const char *const names[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};
  if (f->cli->json) {
    json_t *j = json_pack("{s:s, s:s, s:s, s:s}", "check", what, "state", names[f->level], "text", f->text, "figures",
                          f->figures[0] ? f->figures + 1 : "");
    return text_put_json(j) ? (int)f->level : LEVEL_UNKNOWN;
  }
  char line[2048], capitals[16];
  for (size_t i = 0; i <= strlen(what) && i < sizeof capitals; i++) capitals[i] = (char)toupper((unsigned char)what[i]);
  snprintf(line, sizeof line, "MACULA %s %s - %s", capitals, names[f->level], f->text);
  for (char *p = line; *p; p++)
    if (*p == '|') *p = '/'; /* figures follow it */
  text_clean(line);
  printf("%s%s%s\n", line, f->figures[0] ? " |" : "", f->figures);
  return fflush(stdout) ? LEVEL_UNKNOWN : (int)f->level;
}

/* ---- limits ----------------------------------------------------------------------------------------------------------------
 */
struct unit {
  const char *name;
  double factor;
};
static const struct unit percents[] = {{"", 1}, {"%", 1}, {NULL, 0}};
static const struct unit numbers[] = {{"", 1}, {NULL, 0}};
static const struct unit seconds[] = {{"", 1},     {"ms", 1e-3}, {"s", 1},     {"m", 60},
                                      {"min", 60}, {"h", 3600},  {"d", 86400}, {NULL, 0}};

static bool parse(const char *text, const struct unit *units, double *ret_value) {
  char *end;
  if (!isdigit((unsigned char)text[0]) && text[0] != '.') return false;
  double v = strtod(text, &end);
  for (; units->name && isfinite(v); units++)
    if (strcasecmp(end, units->name) == 0) {
      *ret_value = v * units->factor;
      return true;
    }
  return false;
}

/* Of one check, with its defaults. */
static int take_limits(struct finding *f, const struct unit *units, double warning, double critical) {
  const struct check_options *o = f->given;
  f->warning = warning;
  f->critical = critical;
  if ((o->warning && !parse(o->warning, units, &f->warning)) || (o->critical && !parse(o->critical, units, &f->critical)))
    return cli_invalid(MACULA_EINVAL, units == seconds    ? "--warning and --critical are times here, such as 500ms or 14d"
                                      : units == percents ? "--warning and --critical are percent here, such as 80"
                                                          : "--warning and --critical are numbers here");
  return 0;
}

static double elapsed(uint64_t since) { return (double)(cli_now() - since) / (double)CLI_SEC; }

/* ---- the checks ------------------------------------------------------------------------------------------------------------
 */
static double number_at(json_t *j, const char *key, const char *inner) {
  j = json_object_get(j, key);
  return json_number_value(inner ? json_object_get(j, inner) : j);
}

static int status_of(struct finding *f, json_t **ret_status) {
  return cli_node_call(f->cli->link.client, "status", json_object(), ret_status);
}

/* How much of a limit is used, judged in percent. */
static void judge_used(struct finding *f, json_t *status, const char *key) {
  double count = number_at(status, key, "count"), limit = number_at(status, key, "limit");
  double part = limit > 0 ? 100 * count / limit : 0;
  enum level level = above(f, part);
  if (level) find(f, level, "%.0f of %.0f %s", count, limit, key);
  figure(f, key, count, "", f->warning * limit / 100, f->critical * limit / 100, limit);
}

static int check_node(struct finding *f) {
  char uptime[32];
  uint64_t began = cli_now();
  json_t *j;
  int code = status_of(f, &j);
  if (code) return code;
  find(f, LEVEL_OK, "up for %s", text_duration(json_number_value(json_object_get(j, "uptime_s")), uptime));
  const char *note = json_string_value(json_object_get(j, "note"));
  if (!json_is_true(json_object_get(j, "ready")))
    find(f, LEVEL_CRITICAL, "not ready: %s", note ? note : "it ends, and takes no new clients");
  plain_figure(f, "answer", elapsed(began), "s");
  judge_used(f, j, "clients");
  judge_used(f, j, "subscriptions");
  judge_used(f, j, "services");
  judge_used(f, j, "pending_calls");
  judge_used(f, j, "retained");
  plain_figure(f, "published", number_at(j, "messages", "published"), "c");
  plain_figure(f, "delivered", number_at(j, "messages", "delivered"), "c");
  plain_figure(f, "dropped", number_at(j, "messages", "dropped"), "c");
  json_decref(j);
  return 0;
}

/* --warning and --critical: how many members that are suspect or dead are so many. */
static int check_mesh(struct finding *f) {
  json_t *j;
  int code = status_of(f, &j);
  if (code) return code;
  json_t *mesh = json_object_get(j, "mesh");
  double alive = number_at(mesh, "members", "alive"), suspect = number_at(mesh, "members", "suspect");
  double dead = number_at(mesh, "members", "dead"), wanted = (double)f->given->members;
  find(f, above(f, suspect + dead), "%.0f other nodes alive, %.0f suspect, %.0f dead", alive, suspect, dead);
  if (alive + 1 < wanted) find(f, LEVEL_CRITICAL, "%.0f nodes with this one, not %.0f", alive + 1, wanted);
  figure(f, "alive", alive, "", NAN, wanted ? wanted - 1 : NAN, number_at(mesh, "members", "limit"));
  figure(f, "suspect_or_dead", suspect + dead, "", f->warning, f->critical, NAN);
  plain_figure(f, "links", number_at(j, "peers", "count"), "");
  json_decref(j);
  return 0;
}

static int check_call(struct finding *f) {
  char *data = NULL, *args;
  size_t len = 0, args_len;
  int code = text_read(f->cli->argc > 2 ? f->cli->argv[2] : "{}", "{}", &args, &args_len);
  if (code) return code;
  macula_call_options how = {MACULA_INIT(macula_call_options), .timeout_ms = f->timeout};
  uint64_t began = cli_now();
  code = text_check_json("the argument", args, args_len);
  int err =
      code ? 0 : macula_call_sync(f->cli->link.client, f->cli->argv[1], args, args_len, &how, f->timeout + 1000, &data, &len);
  double took = elapsed(began);
  free(args);
  macula_free(data);
  if (code) return code;
  if (err)
    find(f, LEVEL_CRITICAL, "%s: %s: %s", f->cli->argv[1], macula_err_name(err), macula_last_error());
  else
    find(f, above(f, took), "%s answered in %.3f s", f->cli->argv[1], took);
  figure(f, "time", took, "s", f->warning, f->critical, (double)f->timeout / 1000);
  return 0;
}

struct listener {
  struct cli *cli;
  bool heard; /* under the lock */
};

static void on_message(void *ctx, macula_client client, const macula_message *m) {
  struct listener *l = ctx;
  (void)client, (void)m;
  pthread_mutex_lock(&l->cli->lock);
  l->heard = true;
  pthread_mutex_unlock(&l->cli->lock);
  cli_wake(l->cli);
}

/* Whether one came in time; -1: the check was interrupted. */
static int hear(struct listener *l, uint64_t until) {
  for (;;) {
    pthread_mutex_lock(&l->cli->lock);
    bool heard = l->heard;
    pthread_mutex_unlock(&l->cli->lock);
    if (heard) return 1;
    enum cli_event e = cli_wait(l->cli, until);
    if (e == CLI_TIMED_OUT) return 0;
    if (e != CLI_WOKEN) return -1;
  }
}

static int check_topic(struct finding *f) {
  static struct listener l; /* static: callbacks may still come until the loop ends */
  const char *topic = f->cli->argv[1];
  macula_client client = f->cli->link.client;
  macula_subscribe_options how = {MACULA_INIT(macula_subscribe_options), .own = f->given->probe};
  macula_publish_options send = {MACULA_INIT(macula_publish_options), .confirm = true};
  l = (struct listener){.cli = f->cli};
  uint64_t began = cli_now();
  int err = macula_subscribe_sync(client, topic, &how, on_message, &l, f->timeout, NULL);
  if (!err && f->given->probe) {
    began = cli_now();
    err = macula_publish_sync(client, topic, "", 0, &send, f->timeout);
  }
  if (err) {
    find(f, LEVEL_CRITICAL, "%s: %s: %s", topic, macula_err_name(err), macula_last_error());
    return 0;
  }
  int heard = hear(&l, began + f->timeout * CLI_MS);
  double took = elapsed(began);
  if (heard < 0) return cli_interrupted();
  if (heard)
    find(f, above(f, took), "%s: a message after %.3f s", topic, took);
  else
    find(f, LEVEL_CRITICAL, "%s: no message in %.1f s", topic, took);
  figure(f, "time", took, "s", f->warning, f->critical, (double)f->timeout / 1000);
  return 0;
}

/* Whether a row that is nearly full says something: not the node itself, nor what keeps the newest and is full when all is
 * well. */
static bool is_judged(const json_t *row) {
  static const char *const rings[] = {"history", "events", "drops", "tally"};
  const char *name = json_string_value(json_object_get(row, "name"));
  for (size_t i = 0; name && i < sizeof rings / sizeof rings[0]; i++)
    if (!strcmp(name, rings[i])) return false;
  return number_at(row, "limit", NULL) != 1;
}

static int check_memory(struct finding *f) {
  json_t *j, *row;
  size_t i;
  char a[32], b[32];
  int code = status_of(f, &j);
  if (code) return code;
  json_t *m = json_object_get(j, "memory");
  double rss = number_at(m, "rss_bytes", NULL), plan = number_at(m, "plan_bytes", NULL), refused = 0;
  find(f, above(f, plan > 0 ? 100 * rss / plan : 0), "%s resident of %s planned", text_bytes(rss, a), text_bytes(plan, b));
  figure(f, "resident", rss, "B", f->warning * plan / 100, f->critical * plan / 100, plan);
  plain_figure(f, "accounted", number_at(m, "accounted_bytes", NULL), "B");
  json_array_foreach(json_object_get(m, "rows"), i, row) {
    double bytes = number_at(row, "bytes", NULL), limit = number_at(row, "limit_bytes", NULL);
    enum level level = limit > 0 && is_judged(row) ? above(f, 100 * bytes / limit) : LEVEL_OK;
    if (level) find(f, level, "%s: %.0f %% of its bytes", json_string_value(json_object_get(row, "name")), 100 * bytes / limit);
    refused += number_at(row, "refused", NULL);
  }
  plain_figure(f, "refused", refused, "c");
  json_decref(j);
  return 0;
}

static int check_cert(struct finding *f) {
  char left_text[32];
  json_t *j;
  int code = status_of(f, &j);
  if (code) return code;
  json_t *left = json_object_get(json_object_get(j, "certificate"), "remaining_s");
  double s = json_number_value(left);
  if (!left)
    find(f, LEVEL_UNKNOWN, "this node does not say when its certificate ends");
  else if (!json_is_number(left))
    find(f, LEVEL_OK, "the certificate has no end");
  else
    find(f, below(f, s), s > 0 ? "the certificate ends in %s" : "the certificate ended %s ago",
         text_duration(fabs(s), left_text));
  if (json_is_number(left)) figure(f, "remaining", s, "s", f->warning, f->critical, NAN);
  json_decref(j);
  return 0;
}

/* ---- the command -----------------------------------------------------------------------------------------------------------
 */
static const struct check {
  const char *name;
  unsigned args; /* at least, with the name, and at most */
  unsigned most;
  const struct unit *units;
  double warning, critical;
  int (*check)(struct finding *f); /* 0, or an exit code, its error printed */
} checks[] = {
    {"node", 1, 1, percents, 80, 95, check_node},     {"mesh", 1, 1, numbers, 1, INFINITY, check_mesh},
    {"call", 2, 3, seconds, 1, 5, check_call},        {"topic", 2, 2, seconds, INFINITY, INFINITY, check_topic},
    {"memory", 1, 1, percents, 80, 95, check_memory}, {"cert", 1, 1, seconds, 14 * 86400.0, 3 * 86400.0, check_cert},
};

static const struct check *check_named(const char *name) {
  for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
    if (strcmp(checks[i].name, name) == 0) return &checks[i];
  return NULL;
}

static int check_usage(const struct cli *cli, const struct check *c) {
  if (!c) return cli_invalid(MACULA_EINVAL, "it is check node, mesh, call, topic, memory or cert");
  if (cli->argc < c->args || cli->argc > c->most) {
    cli_error("invalid_argument", "%s arguments for check %s; macula check --help shows them",
              cli->argc < c->args ? "missing" : "too many", c->name);
    return EXIT_USAGE;
  }
  int err = strcmp(c->name, "call") == 0    ? macula_check_procedure(cli->argv[1])
            : strcmp(c->name, "topic") == 0 ? macula_check_topic(cli->argv[1])
                                            : 0;
  return err ? cli_bad_name(err, cli->argv[1]) : 0;
}

/* What went wrong before the check could judge stands on the line, too, as it is all that Nagios shows. errors: what was
 * printed to standard error meanwhile. */
static void find_error(struct finding *f, int code, const char *errors) {
  const char *last = errors;
  for (const char *p = errors; *p; p++)
    if (*p == '\n' && p[1]) last = p + 1;
  if (strncmp(last, "macula: ", 8) == 0) last += 8;
  find(f, code == EXIT_USAGE ? LEVEL_UNKNOWN : LEVEL_CRITICAL, "%.*s", (int)strcspn(last, "\n"), last);
}

static int run(struct cli *cli, void *options_set) {
  struct finding f = {.cli = cli, .given = options_set, .timeout = 10000};
  const struct check *c = check_named(cli->argv[0]);
  char *errors = NULL;
  size_t len;
  FILE *to = stderr, *kept = open_memstream(&errors, &len);
  if (f.given->timeout) f.timeout = f.given->timeout;
  if (kept) stderr = kept;
  int code = check_usage(cli, c);
  if (!code) code = take_limits(&f, c->units, c->warning, c->critical);
  if (!code)
    code = cli_connect(cli, c->units != seconds || c->args == 1); /* what the node itself answers has slots of its own */
  if (!code) code = c->check(&f);
  cli_end(cli, code); /* ends the callbacks */
  stderr = to;
  if (kept) fclose(kept);
  if (code) find_error(&f, code, errors ? errors : "");
  if (errors) fputs(errors, stderr);
  free(errors);
  return put(&f, c ? c->name : "check");
}

/* What is wrong with the words before there is a check. */
static void say_wrong(struct cli *cli, const char *errors) {
  struct finding f = {.cli = cli};
  find_error(&f, EXIT_USAGE, errors);
  put(&f, cli->argc && check_named(cli->argv[0]) ? cli->argv[0] : "check");
}

const struct command command_check = {
    "check",
    "check WHAT [PROC [JSON|-]|TOPIC] [OPTION]...",
    "check a node, for Nagios and its like",
    "Prints one line with figures; the exit code is 0 (ok), 1 (warning), 2 (critical)\n"
    "or 3 (unknown, as after a wrong option). No answer is critical.\n\n"
    "  node            it takes clients; how full its tables are, in percent\n"
    "  mesh            how many other nodes are suspect or dead (1, never)\n"
    "  call PROC       how long a call takes (1s, 5s)\n"
    "  topic TOPIC     how long it takes until a message comes\n"
    "  memory          its memory and that of its tables, in percent of the plan\n"
    "  cert            how long its certificate is valid (14d, 3d)\n\n"
    "  --warning N     from where on it is a warning (80 percent)\n"
    "  --critical N    from where on it is critical (95 percent)\n"
    "  --timeout T     of a call, or for a message to come (10s)\n"
    "  --members N     mesh: fewer nodes than this are critical\n"
    "  --probe         topic: publishes an empty message there itself\n\n"
    "Example: macula check cert --warning 30d\n",
    options,
    sizeof(struct check_options),
    1,
    3,
    run,
    .words = "node mesh call topic memory cert",
    .wrong_usage = LEVEL_UNKNOWN,
    .say_wrong = say_wrong,
};
