/* macula demo: what a mesh looks like that is used. Each device, service and user is a client of its own, all of one loop; this
 * thread says when each has something to say.
 *
 * A device: AWAY --connects--> HERE --says its last word (QoS 1)--> LEAVING --confirmed--> AWAY. Only those that roam leave. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"

#include "cli.h"

#define STEP_MS 50
#define CONNECT_AT_ONCE 10            /* clients that begin in a step */
#define KEPT_MS (10u * 60 * 1000)     /* retained messages end by themselves after that, should this be killed */
#define STAYS_S 25                    /* a device that roams is there for so long, and up to as long again; */
#define AWAY_S 8                      /* and away for so long, and up to as long again */
#define SLOW_MS 800                   /* the slow service takes so long, and up to three times as long */
#define SLOW_MOST 32                  /* calls that it works on at once */
#define WITHDRAW_LIMIT (10 * CLI_SEC) /* for the node to confirm that nothing is retained any more */
#define TOPIC_LEN 256

/* Who listens and calls. */
static const struct user_kind {
  const char *name, *pattern, *group, *calls;
  uint32_t every_ms, timeout_ms;
} user_kinds[] = {
    {"plant.scada", "plant.**", NULL, "report.make", 2000, 2500}, {"plant.mes", "plant.*.strokes", NULL, "math.add", 200, 1000},
    {"home.hub", "home.**", NULL, "weather.now", 1000, 1000},     {"fleet.office", "fleet.**", NULL, "math.add", 700, 1000},
    {"billing.1", "solar.*.power", "billing", NULL, 0, 0},        {"billing.2", "solar.*.power", "billing", NULL, 0, 0},
    {"archive", "weather.**", NULL, "weather.now", 5000, 1000},
};
#define USERS (sizeof user_kinds / sizeof user_kinds[0])

static void on_add(void *ctx, macula_client client, const macula_request *r);
static void on_weather(void *ctx, macula_client client, const macula_request *r);
static void on_report(void *ctx, macula_client client, const macula_request *r);

static const struct service_kind {
  const char *name, *procedure, *description; /* JSON Schema of its arguments */
  macula_request_fn answer;
} service_kinds[] = {
    {"calculator", "math.add",
     "{\"title\":\"Adds two "
     "numbers\",\"type\":\"object\",\"required\":[\"a\",\"b\"],\"properties\":{\"a\":{\"type\":\"number\"},"
     "\"b\":{\"type\":\"number\"}}}",
     on_add},
    {"forecast", "weather.now",
     "{\"title\":\"The weather of a city\",\"type\":\"object\",\"required\":[\"city\"],\"properties\":{\"city\":{\"type\":"
     "\"string\",\"enum\":[\"Bern\",\"Genoa\",\"Oslo\",\"Porto\"]}}}",
     on_weather},
    {"reports", "report.make",
     "{\"title\":\"A report, after a second or two; one in twenty fails\",\"type\":\"object\",\"properties\":{\"of\":{\"type\":"
     "\"string\"}}}",
     on_report},
};
#define SERVICES (sizeof service_kinds / sizeof service_kinds[0])

enum presence { DEMO_AWAY, DEMO_HERE, DEMO_LEAVING };

struct demo;
/* A client of its own. */
struct part {
  struct demo *demo;
  macula_client client; /* loop NULL: it has none */
  atomic_bool up;       /* it is connected */
};

struct device {
  struct part part; /* first: callbacks are given it */
  struct demo_device is;
  enum presence presence;
  atomic_bool said_last; /* while LEAVING: the node has confirmed */
  uint64_t due[DEMO_SIGNALS], change_at;
};

struct user {
  struct part part;
  const struct user_kind *kind;
  uint64_t due;
};

struct service {
  struct part part;
  const struct service_kind *kind;
};

struct slow_call { /* of the slow service */
  macula_client client;
  macula_request_id id;
  uint64_t due; /* 0: this place is free */
  bool fails;
};

struct demo_options {
  const char *under;
  uint64_t duration;
};

struct demo {
  struct cli *cli;
  const struct demo_options *o;
  bool shared; /* all have the user's own identity, as the node knows no other */
  uint64_t start, random;
  struct device devices[DEMO_DEVICES];
  struct user users[USERS];
  struct service services[SERVICES];
  struct slow_call slow[SLOW_MOST]; /* under cli->lock */
  uint64_t slow_random;             /* of the loop's thread */
  atomic_ullong published, received, calls, answered, failed;
  atomic_bool warns;          /* of what a client is refused, once */
  unsigned withdrawing, kept; /* under cli->lock: retained messages that are being withdrawn; that could not be */
};

static const struct option_def options[] = {
    {"duration", 0, OPTION_TIME, offsetof(struct demo_options, duration), 1},
    {"under", 0, OPTION_TEXT, offsetof(struct demo_options, under)},
    {0},
};

/* ---- clients ---------------------------------------------------------------------------------------------------------------
 */
/* Fifty would say the same. */
static void warn_once(struct demo *d, int err, const char *text) {
  if (!d->warns || !atomic_exchange(&d->warns, false)) return;
  fprintf(stderr, "macula: warning: %s: ", macula_err_name(err));
  text_put_raw_line(stderr, text);
}

static void on_state(void *ctx, macula_client client, macula_state state, int err, const char *text) {
  struct part *p = ctx;
  (void)client;
  p->up = state == MACULA_CONNECTED;
  if (state == MACULA_CLOSED && err) warn_once(p->demo, err, text);
}

static void on_notice(void *ctx, macula_client client, int err, uint64_t count, const char *text) {
  (void)client, (void)count;
  warn_once(((struct part *)ctx)->demo, err, text);
}

static int start(struct demo *d, struct part *p, const char *name) {
  macula_options o = cli_client_options(d->cli);
  macula_identity *own = NULL;
  p->demo = d;
  if (!d->shared && !macula_identity_generate(&own)) o.identity = own;
  o.name = name;
  o.on_state = on_state;
  o.on_notice = on_notice;
  o.ctx = p;
  int err = macula_connect(d->cli->loop, &o, &p->client);
  macula_identity_free(own);
  return err;
}

/* A name below that of --under. */
static const char *below(const struct demo *d, const char *name, char ret[TOPIC_LEN]) {
  snprintf(ret, TOPIC_LEN, "%s%s%s", d->o->under ? d->o->under : "", d->o->under ? "." : "", name);
  return ret;
}

/* ---- services --------------------------------------------------------------------------------------------------------------
 */
static void answer(macula_client client, const macula_request *r, json_t *result, const char *wrong) {
  char *text = result ? json_dumps(result, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
  json_decref(result);
  if (text)
    macula_reply(client, r->id, text, strlen(text));
  else
    macula_reply_error(client, r->id, "invalid_argument", wrong);
  free(text);
}

static json_t *arguments(const macula_request *r) { return json_loadb(r->args, r->len, 0, NULL); }

static void on_add(void *ctx, macula_client client, const macula_request *r) {
  (void)ctx;
  json_t *args = arguments(r), *a = json_object_get(args, "a"), *b = json_object_get(args, "b"), *sum = NULL;
  double v = json_number_value(a) + json_number_value(b);
  if (json_is_number(a) && json_is_number(b))
    sum = fabs(v) < 1e15 && floor(v) == v ? json_integer((json_int_t)v) : json_real(v);
  answer(client, r, sum, "give two numbers, as {\"a\":2,\"b\":3}");
  json_decref(args);
}

static void on_weather(void *ctx, macula_client client, const macula_request *r) {
  static const char *const skies[] = {"clear", "cloudy", "rain", "fog"};
  json_t *args = arguments(r), *city = json_object_get(args, "city"), *result = NULL;
  unsigned h = 0;
  (void)ctx;
  for (const char *c = json_string_value(city); c && *c; c++) h = h * 31 + (unsigned char)*c;
  if (json_is_string(city))
    result = json_pack("{s:O,s:f,s:s}", "city", city, "temp", (double)(h % 250) / 10, "sky", skies[h % 4]);
  answer(client, r, result, "give a city, as {\"city\":\"Bern\"}");
  json_decref(args);
}

/* Answered later, by answer_slow. */
static void on_report(void *ctx, macula_client client, const macula_request *r) {
  struct demo *d = ((struct part *)ctx)->demo;
  struct slow_call *free_place = NULL;
  if (r->is_cast) return;
  uint64_t due = cli_now() + (uint64_t)((1 + 2 * demo_random(&d->slow_random)) * SLOW_MS) * CLI_MS;
  pthread_mutex_lock(&d->cli->lock);
  for (size_t i = 0; i < SLOW_MOST && !free_place; i++)
    if (!d->slow[i].due) free_place = &d->slow[i];
  if (free_place) *free_place = (struct slow_call){client, r->id, due, demo_random(&d->slow_random) < 0.05};
  pthread_mutex_unlock(&d->cli->lock);
  if (!free_place) macula_reply_error(client, r->id, "too_many_calls", "32 reports are being made: ask later");
}

static void answer_slow(struct demo *d, uint64_t now) {
  static const char report[] = "{\"report\":\"all presses run\",\"pages\":3}";
  for (size_t i = 0; i < SLOW_MOST; i++) {
    pthread_mutex_lock(&d->cli->lock);
    struct slow_call c = d->slow[i];
    bool due = c.due && now >= c.due;
    if (due) d->slow[i].due = 0;
    pthread_mutex_unlock(&d->cli->lock);
    if (due && c.fails)
      macula_reply_error(c.client, c.id, "paper_is_out", "the printer has no paper");
    else if (due)
      macula_reply(c.client, c.id, report, sizeof report - 1);
  }
}

static void on_described(void *ctx, macula_client client, const macula_request *r) {
  const struct service *s = ctx;
  macula_reply(client, r->id, s->kind->description, strlen(s->kind->description));
}

static int start_service(struct demo *d, size_t i) {
  struct service *s = &d->services[i];
  char name[TOPIC_LEN], describes[TOPIC_LEN + sizeof CLI_DESCRIBES];
  macula_serve_options idempotent = {MACULA_INIT(macula_serve_options), .idempotent = true};
  s->kind = &service_kinds[i];
  int err = start(d, &s->part, s->kind->name);
  if (err) return err;
  snprintf(describes, sizeof describes, "%s" CLI_DESCRIBES, below(d, s->kind->procedure, name));
  err = macula_serve(s->part.client, name, NULL, s->kind->answer, NULL, NULL, s, NULL);
  return err ? err : macula_serve(s->part.client, describes, &idempotent, on_described, NULL, NULL, s, NULL);
}

/* ---- users -----------------------------------------------------------------------------------------------------------------
 */
static void on_message(void *ctx, macula_client client, const macula_message *m) {
  struct part *p = ctx;
  (void)client, (void)m;
  p->demo->received++;
}

static void on_result(void *ctx, macula_client client, const macula_result *r) {
  struct part *p = ctx;
  (void)client;
  if (r->err)
    p->demo->failed++;
  else
    p->demo->answered++;
}

static int start_user(struct demo *d, size_t i) {
  struct user *u = &d->users[i];
  char pattern[TOPIC_LEN];
  u->kind = &user_kinds[i];
  u->due = cli_now() + CLI_SEC;
  macula_subscribe_options how = {MACULA_INIT(macula_subscribe_options), .group = u->kind->group};
  int err = start(d, &u->part, u->kind->name);
  return err ? err : macula_subscribe(u->part.client, below(d, u->kind->pattern, pattern), &how, on_message, NULL, u, NULL);
}

static void step_user(struct demo *d, struct user *u, uint64_t now) {
  static const char *const cities[] = {"Bern", "Genoa", "Oslo", "Porto"};
  char name[TOPIC_LEN], args[64];
  if (!u->kind || !u->kind->calls || !u->part.up || now < u->due) return;
  u->due = now + u->kind->every_ms * CLI_MS;
  macula_call_options how = {MACULA_INIT(macula_call_options), .timeout_ms = u->kind->timeout_ms};
  if (!strcmp(u->kind->calls, "weather.now"))
    snprintf(args, sizeof args, "{\"city\":\"%s\"}", cities[(size_t)(4 * demo_random(&d->random))]);
  else
    snprintf(args, sizeof args, "{\"a\":%d,\"b\":%d}", (int)(100 * demo_random(&d->random)),
             (int)(100 * demo_random(&d->random)));
  if (!macula_call(u->part.client, below(d, u->kind->calls, name), args, strlen(args), &how, on_result, u, NULL)) d->calls++;
}

/* ---- devices ---------------------------------------------------------------------------------------------------------------
 */
static const char *topic_of(const struct demo *d, const struct device *v, const struct demo_signal *s, char ret[TOPIC_LEN]) {
  char name[TOPIC_LEN];
  snprintf(name, sizeof name, "%s.%s", v->is.name, s->name);
  return below(d, name, ret);
}

static void on_last(void *ctx, macula_client client, int err, const char *text) {
  struct device *v = ctx;
  (void)client, (void)err, (void)text;
  v->said_last = true;
}

static int publish(struct demo *d, struct device *v, const struct demo_signal *s, const char *text, macula_done_fn done) {
  char topic[TOPIC_LEN];
  macula_publish_options o = {MACULA_INIT(macula_publish_options), .qos = s->qos, .retain = s->retain,
                              .expires_ms = s->retain ? KEPT_MS : 0};
  int err = macula_publish(v->part.client, topic_of(d, v, s, topic), text, strlen(text), &o, done, v);
  if (!err) d->published++;
  return err;
}

static void leave(struct demo *d, struct device *v, uint64_t now) {
  for (const struct demo_signal *s = v->is.signals; s < v->is.signals + DEMO_SIGNALS && s->name; s++)
    if (s->shape == DEMO_WORD) {
      v->said_last = false;
      if (publish(d, v, s, "away", on_last)) return; /* at the next step */
    }
  v->presence = DEMO_LEAVING;
  v->change_at = now;
}

static void step_away(struct demo *d, struct device *v, uint64_t now, unsigned *starts) {
  if (now < v->change_at || !*starts) return;
  --*starts;
  if (start(d, &v->part, v->is.name)) return;
  v->presence = DEMO_HERE;
  v->change_at = now + (uint64_t)(STAYS_S * (1 + demo_random(&d->random)) * 1e9);
  for (int i = 0; i < DEMO_SIGNALS; i++) v->due[i] = now + (uint64_t)(demo_random(&d->random) * 1e9);
}

static void step_device(struct demo *d, struct device *v, uint64_t now, unsigned *starts) {
  char text[DEMO_PAYLOAD];
  if (v->presence == DEMO_AWAY) {
    step_away(d, v, now, starts);
    return;
  }
  if (v->presence == DEMO_LEAVING) {
    if (!v->said_last) return;
    macula_disconnect(v->part.client);
    v->part.client = (macula_client){0};
    v->part.up = false;
    v->presence = DEMO_AWAY;
    v->change_at = now + (uint64_t)(AWAY_S * (1 + demo_random(&d->random)) * 1e9);
    return;
  }
  if (!v->part.up) return;
  for (int i = 0; i < DEMO_SIGNALS && v->is.signals[i].name; i++) {
    const struct demo_signal *s = &v->is.signals[i];
    if (now < v->due[i]) continue;
    v->due[i] = now + s->every_ms * CLI_MS;
    demo_say(&v->is, s, (double)(now - d->start) / 1e9, &d->random, text);
    publish(d, v, s, text, NULL);
  }
  if (v->is.roams && now >= v->change_at) leave(d, v, now);
}

/* ---- nothing is left -------------------------------------------------------------------------------------------------------
 */
static void on_withdrawn(void *ctx, macula_client client, int err, const char *text) {
  struct demo *d = ctx;
  (void)client, (void)text;
  pthread_mutex_lock(&d->cli->lock);
  d->withdrawing--;
  d->kept += err != 0;
  pthread_mutex_unlock(&d->cli->lock);
  cli_wake(d->cli);
}

/* By the device itself, if it is there, so that this comes behind what it said last. */
static void withdraw_one(struct demo *d, struct device *v, const struct demo_signal *s) {
  char topic[TOPIC_LEN];
  macula_publish_options o = {MACULA_INIT(macula_publish_options), .qos = 1, .retain = true};
  pthread_mutex_lock(&d->cli->lock);
  d->withdrawing++;
  pthread_mutex_unlock(&d->cli->lock);
  int err =
      macula_publish(v->part.up ? v->part.client : d->cli->link.client, topic_of(d, v, s, topic), "", 0, &o, on_withdrawn, d);
  if (err) on_withdrawn(d, d->cli->link.client, err, "");
}

/* Returns how many are left. */
static unsigned withdraw(struct demo *d) {
  for (size_t i = 0; i < DEMO_DEVICES; i++)
    for (int k = 0; k < DEMO_SIGNALS && d->devices[i].is.signals[k].name; k++)
      if (d->devices[i].is.signals[k].retain) withdraw_one(d, &d->devices[i], &d->devices[i].is.signals[k]);
  uint64_t until = cli_now() + WITHDRAW_LIMIT;
  for (bool waits = true; waits;) {
    pthread_mutex_lock(&d->cli->lock);
    waits = d->withdrawing;
    pthread_mutex_unlock(&d->cli->lock);
    if (!waits) break;
    enum cli_event e = cli_wait(d->cli, until);
    waits = e != CLI_TIMED_OUT && e != CLI_SIGNALLED;
  }
  pthread_mutex_lock(&d->cli->lock);
  unsigned kept = d->kept + d->withdrawing;
  pthread_mutex_unlock(&d->cli->lock);
  return kept;
}

/* ---- running ---------------------------------------------------------------------------------------------------------------
 */
/* Identities of their own if the node lets them in, as they look better in its lists. Returns an exit code, its error printed.
 */
static int try_identities(struct demo *d) {
  d->shared = d->cli->pass_file || d->cli->identity_path;
  int err = start_service(d, 0);
  if (!err && !d->shared) err = macula_connect_wait(d->services[0].part.client, 10000);
  if (!err || d->shared) return err ? cli_failed(err, NULL, macula_last_error()) : 0;
  macula_disconnect(d->services[0].part.client);
  d->services[0].part.up = false;
  d->shared = true;
  err = start_service(d, 0);
  return err ? cli_failed(err, NULL, macula_last_error()) : 0;
}

static int start_all(struct demo *d) {
  struct demo_device all[DEMO_DEVICES];
  demo_devices(all);
  for (size_t i = 0; i < DEMO_DEVICES; i++) d->devices[i].is = all[i];
  int code = try_identities(d), err = 0;
  d->warns = true;
  for (size_t i = 1; !code && !err && i < SERVICES; i++) err = start_service(d, i);
  for (size_t i = 0; !code && !err && i < USERS; i++) err = start_user(d, i);
  return err ? cli_failed(err, NULL, macula_last_error()) : code;
}

static void put_hints(const struct demo *d) {
  char all[TOPIC_LEN + 16], add[TOPIC_LEN + 32], name[TOPIC_LEN];
  snprintf(all, sizeof all, "macula sub '%s'", below(d, "plant.**", name));
  snprintf(add, sizeof add, "macula call %s '{\"a\":2,\"b\":3}'", below(d, "math.add", name));
  const char *const hints[][2] = {{"macula dashboard", "a link to the node's page"},  {"macula top", "the node, live"},
                                  {all, "what presses, ovens and robots say"},        {add, "prints 5"},
                                  {"macula services --describe", "who answers what"}, {"macula clients", "who is there"}};
  puts("50 devices, 3 services and their callers run until Ctrl-C, and leave nothing.\nIn another terminal:");
  for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++) printf("  %-38s  %s\n", hints[i][0], hints[i][1]);
  fflush(stdout);
}

static bool put_sums(struct demo *d) {
  unsigned long long published = d->published, received = d->received, calls = d->calls, answered = d->answered,
                     failed = d->failed;
  char a[32], b[32], c[32], e[32];
  if (d->cli->json)
    return text_put_json(json_pack("{s:I,s:I,s:I,s:I,s:I}", "published", (json_int_t)published, "received",
                                   (json_int_t)received, "calls", (json_int_t)calls, "answered", (json_int_t)answered, "failed",
                                   (json_int_t)failed));
  printf("%s messages published, %s received; %s calls answered, %s failed\n", text_number(published, a),
         text_number(received, b), text_number(answered, c), text_number(failed, e));
  return fflush(stdout) == 0;
}

static int go_on(struct demo *d, uint64_t until) {
  for (;;) {
    uint64_t now = cli_now();
    unsigned starts = CONNECT_AT_ONCE;
    int code = cli_check_link(d->cli);
    if (code >= 0 || now >= until) return code >= 0 ? code : 0;
    for (size_t i = 0; i < DEMO_DEVICES; i++) step_device(d, &d->devices[i], now, &starts);
    for (size_t i = 0; i < USERS; i++) step_user(d, &d->users[i], now);
    answer_slow(d, now);
    uint64_t next = now + STEP_MS * CLI_MS;
    enum cli_event e = cli_wait(d->cli, next < until ? next : until);
    if (e == CLI_SIGNALLED || e == CLI_UNREAD) return 0;
  }
}

static int run(struct cli *cli, void *options_set) {
  const struct demo_options *o = options_set;
  struct demo *d;
  int err;
  if (o->under && ((err = macula_check_topic(o->under)) || (strlen(o->under) > 64 && (err = MACULA_INVALID_TOPIC))))
    return cli_bad_name(err, o->under);
  if (!(d = calloc(1, sizeof *d))) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  d->cli = cli;
  d->o = o;
  d->start = cli_now();
  d->random = d->slow_random = d->start | 1;
  unsigned left = 0;
  int code = cli_connect(cli, false);
  if (!code) {
    code = start_all(d);
    if (!code && !cli->json) put_hints(d);
    if (!code) code = go_on(d, o->duration ? cli_now() + o->duration * CLI_MS : CLI_NEVER);
    left = withdraw(d);
  }
  cli_end(cli, code); /* ends the callbacks that use d */
  if (left) cli_error("timeout", "%u retained messages could not be withdrawn: they end by themselves within 10 minutes", left);
  if (!code && (left || !put_sums(d))) code = EXIT_FAILED;
  free(d);
  return code;
}

const struct command command_demo = {
    "demo",
    "demo [--duration T] [--under NAME]",
    "fifty devices, services and callers to look at",
    "Runs fifty simulated devices (presses, ovens, robots, rooms, cars, inverters),\n"
    "three services and their callers at a node, until interrupted, so that there is\n"
    "something to see: macula top, macula sub 'plant.**', macula services. Some come\n"
    "and go, some messages are retained, one service is slow and sometimes fails.\n"
    "It uses topics below plant, home, fleet, solar and weather, and serves math.add,\n"
    "weather.now and report.make. At its end nothing stays: what is retained is\n"
    "withdrawn; if it is killed, that ends by itself within 10 minutes.\n\n"
    "  --duration T   ends after T\n"
    "  --under NAME   all topics and procedures below NAME, where these are in use\n\n"
    "Example: macula demo --duration 2s\n",
    options,
    sizeof(struct demo_options),
    0,
    0,
    run,
};
