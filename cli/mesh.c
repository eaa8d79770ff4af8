/* All nodes are asked at once, so that one that is silent costs the others nothing: callbacks keep what came, and the main
 * thread reads it, asks for the next page of a list, or once more where the price was too high. */
#include "mesh.h"

#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 8000     /* the node gives up another one after 5 s */
#define AGAIN (100 * CLI_MS) /* after rate_limited */
#define TRIES 100
#define UNDER_WAY 32 /* questions at once */

struct question {
  struct cli *cli;
  struct mesh_node *node;
  bool open, came; /* under the lock, as what follows */
  int err;
  char *data;
  size_t len;
  uint64_t at; /* not asked before */
  int tries;
  bool over;
};

/* ---- which nodes -----------------------------------------------------------------------------------------------------------
 */
static void add(struct mesh *m, const char *id, const char *name, bool own) {
  struct mesh_node *v = realloc(m->v, (m->count + 1) * sizeof *v);
  if (!v) return;
  m->v = v;
  v[m->count] = (struct mesh_node){.own = own};
  snprintf(v[m->count].id, sizeof v[m->count].id, "%s", id ? id : "");
  snprintf(v[m->count].name, sizeof v[m->count].name, "%s", name ? name : "");
  m->count++;
}

static const char *text_of(json_t *j, const char *key) { return json_string_value(json_object_get(j, key)); }

void mesh_of(struct mesh *ret, json_t *rows) {
  size_t i;
  json_t *row;
  *ret = (struct mesh){0};
  json_array_foreach(rows, i, row) add(ret, text_of(row, "id"), text_of(row, "name"), false);
}

/* A node that tells not whether the others are members is of an earlier version. */
static bool is_member(json_t *row) {
  const char *state = text_of(row, "state");
  json_t *member = json_object_get(row, "member");
  return (!member || json_is_true(member)) && !(state && strcmp(state, "dead") == 0);
}

int mesh_find(struct cli *cli, struct mesh *ret) {
  json_t *status, *rows, *row;
  size_t i;
  *ret = (struct mesh){0};
  int code = cli_node_call(cli->link.client, "status", json_object(), &status);
  if (code) return code;
  add(ret, text_of(status, "node_id"), text_of(status, "name"), true);
  json_decref(status);
  if ((code = cli_node_list(cli, "peers", &rows)) != 0) {
    mesh_done(ret);
    return code;
  }
  json_array_foreach(rows, i, row) if (is_member(row)) add(ret, text_of(row, "id"), text_of(row, "name"), false);
  json_decref(rows);
  return 0;
}

static void forget(struct mesh_node *n) {
  json_decref(n->answer);
  n->answer = NULL;
  n->err = 0;
  n->text[0] = 0;
  n->more = 0;
}

void mesh_done(struct mesh *m) {
  for (size_t i = 0; i < m->count; i++) forget(&m->v[i]);
  free(m->v);
  *m = (struct mesh){0};
}

/* ---- asking ----------------------------------------------------------------------------------------------------------------
 */
static void on_result(void *ctx, macula_client client, const macula_result *r) {
  struct question *q = ctx;
  (void)client;
  pthread_mutex_lock(&q->cli->lock);
  q->came = true;
  q->err = r->err;
  q->data = r->err ? NULL : strndup(r->data, r->len);
  q->len = r->len;
  snprintf(q->node->text, sizeof q->node->text, "%s", r->err ? r->text : "");
  pthread_mutex_unlock(&q->cli->lock);
  cli_wake(q->cli);
}

static void send(struct question *q, const char *what, json_t *args, const char *list) {
  char name[64], *text;
  json_t *j = json_copy(args);
  if (!q->node->own) json_object_set_new(j, "node", json_string(q->node->id));
  if (list) json_object_set_new(j, "offset", json_integer((json_int_t)json_array_size(q->node->answer)));
  macula_call_options how = {MACULA_INIT(macula_call_options), .timeout_ms = PATIENCE_MS};
  snprintf(name, sizeof name, "com.macula.node.%s", what);
  text = json_dumps(j, JSON_COMPACT);
  json_decref(j);
  pthread_mutex_lock(&q->cli->lock); /* it may be answered before it is known to be open */
  q->open = true;
  q->came = false;
  pthread_mutex_unlock(&q->cli->lock);
  int err = text ? macula_call(q->cli->link.client, name, text, strlen(text), &how, on_result, q, NULL) : MACULA_ENOMEM;
  free(text);
  if (!err) return;
  q->open = false;
  q->over = true;
  q->node->err = err;
}

static void take_rows(struct question *q, json_t *page, const char *list, size_t most) {
  struct mesh_node *n = q->node;
  json_t *rows = json_object_get(page, list);
  json_int_t total = json_integer_value(json_object_get(page, "total"));
  if (!n->answer) n->answer = json_array();
  json_array_extend(n->answer, rows);
  json_int_t got = (json_int_t)json_array_size(n->answer);
  q->over = !json_array_size(rows) || got >= total || (size_t)got >= most;
  n->more = q->over && total > got ? total - got : 0;
  json_decref(page);
}

/* What has come for a question. */
static void take(struct question *q, const char *list, size_t most) {
  struct mesh_node *n = q->node;
  q->open = q->came = false;
  if (q->err == MACULA_RATE_LIMITED && q->tries++ < TRIES) {
    q->at = cli_now() + AGAIN;
    return;
  }
  json_t *j = q->err || !q->data ? NULL : json_loadb(q->data, q->len, 0, NULL);
  free(q->data);
  q->data = NULL;
  text_clean_json(j);
  text_clean(n->text);
  if (j && list) {
    take_rows(q, j, list, most);
    return;
  }
  q->over = true;
  n->answer = j;
  n->err = j ? 0 : q->err ? q->err : MACULA_INVALID_JSON;
  if (!j && !n->text[0]) snprintf(n->text, sizeof n->text, "%s", macula_err_text(n->err));
}

/* Takes what has come and asks what can be asked. Returns whether something is left; *ret_at: when it can be asked. */
static bool step(struct question *q, size_t count, const char *what, json_t *args, const char *list, size_t most,
                 uint64_t *ret_at) {
  size_t open = 0, left = 0;
  *ret_at = CLI_NEVER;
  for (size_t i = 0; i < count; i++) {
    pthread_mutex_lock(&q[i].cli->lock);
    bool came = q[i].came;
    pthread_mutex_unlock(&q[i].cli->lock);
    if (came) take(&q[i], list, most);
    open += q[i].open;
  }
  for (size_t i = 0; i < count; i++) {
    if (!q[i].over && !q[i].open && open < UNDER_WAY && cli_now() >= q[i].at) {
      send(&q[i], what, args, list);
      open += q[i].open;
    }
    if (!q[i].over && !q[i].open && q[i].at < *ret_at) *ret_at = q[i].at > cli_now() ? q[i].at : cli_now() + AGAIN;
    left += !q[i].over;
  }
  return left;
}

/* Callbacks that are to come write into the questions: each call ends by itself, and soon. */
static void await(struct cli *cli, struct question *q, size_t count) {
  for (size_t i = 0; i < count; i++)
    for (;;) {
      pthread_mutex_lock(&cli->lock);
      bool waits = q[i].open && !q[i].came;
      pthread_mutex_unlock(&cli->lock);
      if (!waits) break;
      (void)cli_wait(cli, cli_now() + AGAIN);
    }
}

int mesh_ask(struct cli *cli, struct mesh *m, const char *what, json_t *args, const char *list, size_t most) {
  struct question *q = calloc(m->count + 1, sizeof *q);
  uint64_t at;
  int code = q && args ? 0 : cli_failed(MACULA_ENOMEM, NULL, NULL);
  for (size_t i = 0; !code && i < m->count; i++) {
    forget(&m->v[i]);
    q[i] = (struct question){.cli = cli, .node = &m->v[i]};
  }
  while (!code && step(q, m->count, what, args, list, most, &at)) {
    switch (cli_wait(cli, at)) {
    case CLI_SIGNALLED:
      code = cli_interrupted();
      break;
    case CLI_UNREAD:
      code = cli_unread();
      break;
    case CLI_WOKEN:
    case CLI_TIMED_OUT:
    case CLI_READABLE:
      break;
    }
  }
  if (code && q) await(cli, q, m->count);
  for (size_t i = 0; q && i < m->count; i++) free(q[i].data);
  free(q);
  json_decref(args);
  return code;
}

/* ---- what came -------------------------------------------------------------------------------------------------------------
 */
json_t *mesh_rows(const struct mesh *m) {
  json_t *all = json_array(), *row;
  size_t k;
  for (size_t i = 0; i < m->count; i++) {
    json_array_foreach(m->v[i].answer, k, row) {
      json_object_set_new(row, "node", json_string(m->v[i].id));
      json_object_set_new(row, "node_name", json_string(m->v[i].name));
      json_array_append(all, row);
    }
  }
  return all;
}

json_t *mesh_nodes_json(const struct mesh *m) {
  json_t *all = json_array();
  for (size_t i = 0; i < m->count; i++) {
    const struct mesh_node *n = &m->v[i];
    json_t *j = json_pack("{s:s,s:s}", "id", n->id, "name", n->name);
    if (n->err) json_object_set_new(j, "error", json_string(macula_err_name(n->err)));
    if (n->err) json_object_set_new(j, "message", json_string(n->text));
    json_array_append_new(all, j);
  }
  return all;
}

bool mesh_say_missing(const struct mesh *m) {
  size_t missing = 0;
  for (size_t i = 0; i < m->count; i++) {
    const struct mesh_node *n = &m->v[i];
    if (!n->err) continue;
    missing++;
    cli_error(macula_err_name(n->err), "node %.16s%s%s did not answer: %s", n->id, n->name[0] ? " " : "", n->name, n->text);
  }
  if (missing) fprintf(stderr, "macula: %zu of %zu nodes are missing from the answer\n", missing, m->count);
  return !missing;
}
