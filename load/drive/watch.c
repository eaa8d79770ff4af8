/* Watches each node from outside: its own figures by an operator's client, its resident memory by /proc/PID/statm. */
#include "load/drive/watch.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cli.h"
#include "io/io.h"
#include "load/drive/still.h"

#define EVERY (150 * NS_MS)
#define ASK_TRIES 300
#define ASK_AGAIN 0.05 /* s */
#define ANSWER_MS 10000
/* Without an answer. One that has answered may be busy with what it is given here; our own is known to live. */
#define ABSENT_AFTER (12 * NS_SEC)
#define LOST_AFTER (25 * NS_SEC)
#define OWN_LOST_AFTER (60 * NS_SEC)
#define MAX_SERIES 4096

static const char *const paths[FIG_COUNT] = {
#define FIGURE(id, name, path) path,
    LOAD_FIGURES(FIGURE)
#undef FIGURE
};

/* "a.b" of the status, or "row:NAME:KEY"; what a node does not tell is 0. */
static uint64_t figure_of(json_t *status, const char *path) {
  char name[64];
  json_t *j = status, *row;
  size_t i;
  if (strncmp(path, "row:", 4) == 0) {
    const char *key = strrchr(path, ':') + 1;
    snprintf(name, sizeof name, "%.*s", (int)(key - path - 5), path + 4);
    json_array_foreach(json_object_get(json_object_get(status, "memory"), "rows"), i, row) {
      const char *s = json_string_value(json_object_get(row, "name"));
      if (s && strcmp(s, name) == 0) return (uint64_t)json_integer_value(json_object_get(row, key));
    }
    return 0;
  }
  while (*path && j) {
    size_t n = strcspn(path, ".");
    snprintf(name, sizeof name, "%.*s", (int)n, path);
    j = json_object_get(j, name);
    path += n + (path[n] == '.');
  }
  return (uint64_t)json_integer_value(j);
}

static uint64_t resident(pid_t pid) {
  char path[64];
  unsigned long long size, pages = 0;
  snprintf(path, sizeof path, "/proc/%ld/statm", (long)pid);
  FILE *f = fopen(path, "re");
  if (!f) return 0;
  if (fscanf(f, "%llu %llu", &size, &pages) != 2) pages = 0;
  fclose(f);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void load_watch_peak(struct load_node *n) {
  char path[64], line[128];
  unsigned long long kib = 0;
  snprintf(path, sizeof path, "/proc/%ld/status", (long)n->pid);
  FILE *f = n->pid ? fopen(path, "re") : NULL;
  while (f && !kib && fgets(line, sizeof line, f))
    if (sscanf(line, "VmHWM: %llu kB", &kib) != 1) kib = 0;
  if (f) fclose(f);
  if (kib * 1024 > n->rss_peak) n->rss_peak = kib * 1024;
}

/* Every n-th sample is kept; when the series is full, every other one goes and n doubles. */
static void keep(struct load_node *n) {
  if (!n->series && !(n->series = calloc(MAX_SERIES, sizeof *n->series))) return;
  if (n->series_skipped < n->series_skip) {
    n->series_skipped++;
    return;
  }
  n->series_skipped = 0;
  if (n->series_count == MAX_SERIES) {
    for (size_t i = 0; i < MAX_SERIES / 2; i++) n->series[i] = n->series[2 * i];
    n->series_count = MAX_SERIES / 2;
    n->series_skip = n->series_skip * 2 + 1;
  }
  struct load_sample *s = &n->series[n->series_count++];
  s->at = (float)load_seconds(n->l);
  memcpy(s->v, n->now, sizeof s->v);
}

static void take(struct load_node *n, json_t *status) {
  for (int i = 0; i < FIG_COUNT; i++)
    if (paths[i][0]) n->now[i] = figure_of(status, paths[i]);
  json_decref(n->memory);
  n->memory = json_incref(json_object_get(status, "memory"));
  const char *cause = json_string_value(json_object_get(json_object_get(status, "turns"), "cause"));
  snprintf(n->turn_cause, sizeof n->turn_cause, "%s", cause ? cause : "");
  uint64_t outside = n->pid ? resident(n->pid) : 0;
  if (outside) n->now[FIG_RSS] = outside;
  n->now[FIG_ANSWER_US] = time_since(io_now(), n->asked_at) / NS_US;
  for (int i = 0; i < FIG_COUNT; i++)
    if (n->now[i] > n->most[i]) n->most[i] = n->now[i];
  if (n->now[FIG_RSS] > n->rss_peak) n->rss_peak = n->now[FIG_RSS];
  if (!n->has_sample) n->rss_start = n->now[FIG_RSS];
  n->has_sample = true;
  n->samples_taken++;
  if (n->on_sample) n->on_sample(n->sample_ctx, n);
  keep(n);
}

static void on_status(void *ctx, macula_client client, const macula_result *r) {
  struct load_node *n = ctx;
  (void)client;
  json_t *j = r->err ? NULL : json_loadb(r->data, r->len, 0, NULL);
  n->asked = false;
  n->next_ask = io_now() + EVERY;
  if (!j) return;
  load_still_answered(n, io_now());
  n->op_seen = io_now();
  take(n, j);
  json_decref(j);
}

static void on_state(void *ctx, macula_client c, macula_state state, int err, const char *text) {
  struct load_node *n = ctx;
  (void)c, (void)err, (void)text;
  n->op_in = state == MACULA_CONNECTED;
  if (!n->op_in) n->asked = false;
  if (state == MACULA_CLOSED) n->op = NULL;
}

int load_watch_start(struct load_node *n) {
  struct load *l = n->l;
  struct client_options o = {.realm = l->cli->realm ? l->cli->realm : "default",
                             .name = l->cli->name ? l->cli->name : "load operator",
                             .token = n->pid ? NULL : l->cli->token, /* those that load starts are open */
                             .identity = l->identity,
                             .op = true,
                             .backoff_max = NS_SEC,
                             .on_state = on_state,
                             .ctx = n,
                             .owner = n};
  char why[256];
  int err = load_socket(l, &n->udp, why);
  if (err) return cli_failed(err, NULL, why);
  n->op_seen = io_now();
  hub_set_now(l->engine->hub, io_now());
  return (err = client_new(l->engine->hub, &o, &n->op)) ? cli_failed(err, NULL, NULL) : 0;
}

void load_watch_end(struct load_node *n) {
  if (n->op) client_close(n->op, true);
  n->op = NULL;
  n->op_in = false;
}

static void lose(struct load_node *n, nanotime now) {
  const char *text = "";
  uint32_t failures = 0;
  int err = n->op ? client_error(n->op, &text, &failures) : 0;
  if (!n->has_sample) {
    snprintf(n->why, sizeof n->why, "no answer at all, given up after %.1f s%s%s%s", (double)(now - n->l->started) / 1e9,
             err ? " (" : ": is it up, and reached at this address?", err ? text : "", err ? ")" : "");
    n->lost = n->l->stopping = true;
    return;
  }
  snprintf(n->why, sizeof n->why,
           "no answer since %.1f s, given up after %.1f s%s%s%s; last seen: %llu clients, %llu services, %llu bytes resident",
           (double)(n->op_seen - n->l->started) / 1e9, (double)(now - n->l->started) / 1e9, err ? " (" : "", err ? text : "",
           err ? ")" : "", (unsigned long long)n->now[FIG_CLIENTS], (unsigned long long)n->now[FIG_SERVICES],
           (unsigned long long)n->now[FIG_RSS]);
  text_make_utf8(n->why);
  n->lost = true;
  n->l->stopping = true;
}

static bool is_lost(const struct load_node *n, nanotime now) {
  nanotime after = n->pid ? OWN_LOST_AFTER : n->has_sample ? LOST_AFTER : ABSENT_AFTER;
  return (n->given || n->pid) && n->op_seen && !n->lost && now > n->op_seen + after; /* op_seen 0: it is being started */
}

void load_watch_step(struct load *l, nanotime now) {
  for (size_t i = 0; i < l->node_count; i++) {
    struct load_node *n = l->nodes[i];
    if (n->op && n->op_in && !n->asked && now >= n->next_ask) {
      macula_call_options o = {.timeout_ms = ANSWER_MS};
      n->asked_at = now;
      n->asked = client_call(n->op, "com.macula.node.status", slice_str("{}"), &o, on_status, n, NULL) == 0;
      if (!n->asked) n->next_ask = now + EVERY;
      io_loop_wake(l->engine->io);
    }
    if (is_lost(n, now)) lose(n, now);
  }
}

void load_node_mark(struct load_node *n) {
  memcpy(n->most, n->now, sizeof n->most);
  n->rss_start = n->now[FIG_RSS];
}

/* ---- one call and its answer ------------------------------------------------------------------------------------------------
 */
struct ask {
  bool over, abandoned; /* abandoned: nobody waits, its answer frees it */
  int err;
  json_t *answer;
};

static void on_answer(void *ctx, macula_client client, const macula_result *r) {
  struct ask *a = ctx;
  (void)client;
  a->over = true;
  a->err = r->err;
  if (a->abandoned)
    free(a);
  else if (!r->err)
    a->answer = json_loadb(r->data, r->len, JSON_DECODE_ANY, NULL);
}

static bool is_over(void *ctx) { return ((struct ask *)ctx)->over; }
static bool op_is_in(void *ctx) { return ((struct load_node *)ctx)->op_in; }

static json_t *ask_once(struct load_task *t, struct load_node *n, const char *procedure, const char *text, int *ret_err) {
  struct ask *a = calloc(1, sizeof *a);
  macula_call_options o = {.timeout_ms = ANSWER_MS};
  json_t *answer = NULL;
  *ret_err = !a ? MACULA_ENOMEM
             : !load_wait(t, op_is_in, n, 15) || !n->op
                 ? MACULA_NOT_CONNECTED
                 : client_call(n->op, procedure, slice_str(text), &o, on_answer, a, NULL);
  if (!*ret_err && load_wait(t, is_over, a, 15)) {
    *ret_err = a->err;
    answer = a->answer;
  } else if (!*ret_err) {
    *ret_err = MACULA_TIMEOUT;
    a->abandoned = true;
    return NULL;
  }
  free(a);
  return answer;
}

/* Whoever asks more than its share of the node is told to ask less often. */
json_t *load_ask(struct load_task *t, struct load_node *n, const char *procedure, json_t *args, int *ret_err) {
  char *text = json_dumps(args, JSON_COMPACT);
  json_t *answer = NULL;
  json_decref(args);
  *ret_err = text ? MACULA_RATE_LIMITED : MACULA_ENOMEM;
  for (int tries = 0; *ret_err == MACULA_RATE_LIMITED && tries < ASK_TRIES && (!tries || load_sleep(t, ASK_AGAIN)); tries++)
    answer = ask_once(t, n, procedure, text, ret_err);
  free(text);
  return answer;
}
