/* Questions of operators that the node cannot answer at once: pings of other nodes, lookups. They are bounded in number and
 * time, and those of an operator end with its session. */
#include "node/view/ask.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/err.h"
#include "base/server.h"
#include "node/keys.h"
#include "node/peers/peer.h"
#include "node/session/session.h"
#include "node/view/asking.h"
#include "wire/names.h"

#define ASK_TIME (10 * NS_SEC)

static void end(struct node *n, struct ask *a) {
  assert(n->asks.count > 0);
  list_remove(&a->all);
  n->asks.count--;
  mem_free(&n->rows.mem[ROW_ASKS], a);
}

void ask_refuse(const struct asker *by, int err, const char *text) {
  if (by->s)
    session_error(by->s, slice_of(by->call_id, CALL_ID_LEN), err, text);
  else
    by->done(by->ctx, err, text ? text : macula_err_text(err));
}

void ask_answer(struct node *n, struct ask *a, struct slice json) {
  struct session *s = a->by.s;
  if (s) {
    struct msg m = {.type = MSG_REPLY, .reply = {.call_id = slice_of(a->call_id, CALL_ID_LEN), .result = json}};
    int err = session_send(s, &m, false);
    if (err && err != MACULA_ECLOSED) ask_refuse(&a->by, err, NULL);
  } else {
    a->by.done(a->by.ctx, 0, (const char *)json.p);
  }
  end(n, a);
}

void ask_fail(struct node *n, struct ask *a, int err, const char *text) {
  ask_refuse(&a->by, err, text);
  end(n, a);
}

/* Takes over the reference to j. */
static void answer(struct node *n, struct ask *a, json_t *j) {
  char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
  json_decref(j);
  if (text)
    ask_answer(n, a, slice_str(text));
  else
    ask_fail(n, a, MACULA_ENOMEM, NULL);
  node_text_free(text);
}

static struct ask *ask_of(struct list *l) { return container_of(l, struct ask, all); }

/* Nearly all have the same time, so that the place is at the end or near it. */
static void enlist(struct node *n, struct ask *a) {
  struct list *after = n->asks.all.prev;
  while (after != &n->asks.all && ask_of(after)->until > a->until) after = after->prev;
  list_append(after->next, &a->all);
}

struct ask *ask_begin(struct node *n, const struct asker *by, enum ask_kind kind, uint64_t time) {
  struct ask *a = n->asks.count < MAX_ASKS ? mem_calloc(&n->rows.mem[ROW_ASKS], 1, sizeof *a) : NULL;
  if (!a) {
    ask_refuse(by, n->asks.count < MAX_ASKS ? MACULA_ENOMEM : MACULA_TOO_MANY_CALLS, NULL);
    return NULL;
  }
  a->by = *by;
  a->number = ++n->asks.asked;
  a->kind = kind;
  a->since = n->now;
  a->until = time_add(n->now, time);
  if (by->s) {
    memcpy(a->call_id, by->call_id, CALL_ID_LEN);
    a->by.call_id = a->call_id;
  }
  assert(by->s ? by->call_id != NULL : by->done != NULL);
  enlist(n, a);
  n->asks.count++;
  return a;
}

struct ask *ask_find(struct node *n, uint64_t number) {
  list_for(it, &n->asks.all) if (ask_of(it)->number == number) return ask_of(it);
  return NULL;
}

static void ping(struct node *n, const struct asker *by, const char *node) {
  struct id id;
  struct addr at;
  char why[ADDR_WHY_LEN];
  const char *where = node ? strchr(node, '@') : NULL;
  if (where && addr_no_destination(where + 1, why)) {
    ask_refuse(by, MACULA_EINVAL, why);
    return;
  }
  if (!node || server_parse_node(node, &id, &at)) {
    ask_refuse(by, MACULA_EINVAL, "a node is given as macula://ID@ADDR:PORT, or by its id of 64 digits alone if it is known");
    return;
  }
  struct peer *p = addr_is_set(&at) ? peer_get(n, &id) : peer_find(n, &id);
  if (!p) {
    ask_refuse(by, id_eq(&id, &n->id) ? MACULA_EINVAL : MACULA_NO_ROUTE,
               id_eq(&id, &n->id) ? "that is this node itself" : NULL);
    return;
  }
  if (addr_is_set(&at)) peer_where(p, &at, NULL);
  struct ask *a = ask_begin(n, by, ASK_PING, ASK_TIME);
  if (!a) return;
  a->peer = id;
  a->dialled = !peer_is_up(p);
  struct msg ping = {.type = MSG_PING, .ping = {.timestamp = a->number}};
  int err = peer_post(p, &ping, WANT_USE, 0);
  if (err) ask_fail(n, a, err, NULL);
}

/* PONG of another node to a PING of ours. */
void ask_ponged(struct peer *p, const struct msg_pong *m) {
  struct node *n = p->node;
  struct ask *a = ask_find(n, m->timestamp);
  if (!a || a->kind != ASK_PING || !id_eq(&a->peer, &p->id)) return;
  answer(n, a,
         json_pack("{s:I, s:b, s:b}", "rtt_us", (json_int_t)(time_since(n->now, a->since) / NS_US), "dialled", a->dialled,
                   "routed", p->link == NULL));
}

/* ---- the DHT ---------------------------------------------------------------------------------------------------------------
 */
static json_t *hex(const struct id *id) {
  char text[ID_HEX_LEN + 1];
  id_hex(id, text);
  return json_string(text);
}

static json_t *address(const struct addr *a) {
  char text[ADDR_TEXT_LEN];
  if (!addr_is_set(a)) return json_null();
  addr_text(a, text);
  return json_string(text);
}

static json_t *gateway(const struct dht_contact *c) { return id_is_zero(&c->gateway) ? json_null() : hex(&c->gateway); }

static void look_up(struct node *n, const struct asker *by, const char *text, bool nodes) {
  char name[NAME_MAX_LEN + 1], why[NAME_WHY_LEN], full[NAME_WHY_LEN + 64];
  struct id key;
  size_t len;
  int err = text ? id_parse(slice_str(text), &key) : MACULA_EINVAL, bad_name = 0;
  if (err && text && !nodes && !(bad_name = name_procedure(slice_str(text), name, &len))) {
    realm_key(n, DHT_SERVICE, slice_of(name, len), &key);
    err = 0;
  }
  if (err) {
    snprintf(full, sizeof full, "neither a key of 64 digits nor a procedure: %s",
             bad_name ? name_why(bad_name, NAME_PROCEDURE, slice_str(text), why) : "");
    ask_refuse(by, err,
               nodes      ? "give a node's id of 64 digits as {\"node\":ID}"
               : bad_name ? full
                          : "give a procedure or a key of 64 digits as {\"key\":KEY}");
    return;
  }
  struct ask *a = ask_begin(n, by, ASK_DHT, ASK_TIME);
  if (!a) return;
  a->peer = key;
  uint64_t lookup;
  if ((err = dht_lookup(n->records.dht, &key, nodes ? 0 : DHT_SERVICE,
                        (uint64_t)LOOKUP_FOR_ASKS << LOOKUP_FOR_SHIFT | a->number, n->now, &lookup)) != 0)
    ask_fail(n, a, err, NULL);
  n->mesh.due = true;
}

void ask_found(struct node *n, const struct dht_result *r) {
  struct ask *a = ask_find(n, r->user & ((UINT64_C(1) << LOOKUP_FOR_SHIFT) - 1));
  if (!a || a->kind != ASK_DHT) return;
  if (r->err) {
    ask_fail(n, a, r->err, NULL);
    return;
  }
  json_t *rows = json_array();
  for (size_t i = 0; i < r->provider_count; i++) {
    const struct dht_provider *p = &r->providers[i];
    json_array_append_new(rows, json_pack("{s:o, s:o, s:o, s:I, s:I}", "id", hex(&p->contact.id), "address",
                                          address(&p->contact.addr), "gateway", gateway(&p->contact), "sequence",
                                          (json_int_t)p->seq, "left_s", (json_int_t)(p->left / NS_SEC)));
  }
  for (size_t i = 0; i < r->node_count; i++)
    json_array_append_new(rows, json_pack("{s:o, s:o}", "id", hex(&r->nodes[i].id), "address", address(&r->nodes[i].addr)));
  answer(n, a,
         json_pack("{s:o, s:I, s:I, s:I, s:I, s:o}", "key", hex(&r->key), "hops", (json_int_t)r->hops, "queries",
                   (json_int_t)r->queries, "failed", (json_int_t)r->failed, "took_us", (json_int_t)(r->took / NS_US),
                   r->kind ? "records" : "nodes", rows));
}

/* ---- from frames and time --------------------------------------------------------------------------------------------------
 */
bool ask_call(struct session *s, const struct msg_call *m, struct slice what) {
  struct node *n = s->node;
  struct asker by = {.s = s, .call_id = m->call_id.p};
  bool get = slice_is(what, "dht_get"), nodes = slice_is(what, "dht_lookup");
  if (!slice_is(what, "ping") && !get && !nodes) return false;
  if (!s->trusted) {
    ask_refuse(&by, MACULA_NOT_AUTHORIZED, "for operators only: on loopback, or with an admin key");
    return true;
  }
  json_t *args = m->args.n && m->args.n < 4096 ? json_loadb((const char *)m->args.p, m->args.n, 0, NULL) : NULL;
  const char *arg = json_string_value(json_object_get(args, get ? "key" : "node"));
  if (get || nodes)
    look_up(n, &by, arg, nodes);
  else
    ping(n, &by, arg);
  json_decref(args);
  return true;
}

void node_dht(struct node *n, const char *what, const char *arg, void (*done)(void *ctx, int err, const char *json), void *ctx,
              nanotime now) {
  struct asker by = {.done = done, .ctx = ctx};
  if (now > n->now) n->now = now;
  look_up(n, &by, arg, !strcmp(what, "lookup"));
}

void ask_peer_down(struct peer *p, int err) {
  list_for_safe(it, &p->node->asks.all) {
    struct ask *a = ask_of(it);
    if (a->kind != ASK_DHT && id_eq(&a->peer, &p->id)) ask_fail(p->node, a, err, NULL);
  }
}

void ask_session_ended(struct session *s) {
  list_for_safe(it, &s->node->asks.all) {
    struct ask *a = ask_of(it);
    if (a->by.s == s) end(s->node, a);
  }
}

void ask_done(struct node *n) {
  while (n->asks.all.next && !list_empty(&n->asks.all)) end(n, ask_of(n->asks.all.next));
}

nanotime ask_deadline(const struct node *n) { return list_empty(&n->asks.all) ? TIME_NEVER : ask_of(n->asks.all.next)->until; }

void ask_tick(struct node *n) {
  while (!list_empty(&n->asks.all)) {
    struct ask *a = ask_of(n->asks.all.next);
    if (n->now < a->until) break;
    n->asks.far_mute += a->kind == ASK_FAR;
    ask_fail(n, a, MACULA_TIMEOUT, a->kind == ASK_FAR ? "that node did not answer in time" : NULL);
  }
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
const char *ask_check(const struct node *n) {
  nanotime last = 0;
  CHECK(list_has(&n->asks.all, n->asks.count) && n->asks.count <= MAX_ASKS,
        "ask: the questions are not as many as counted, or too many");
  list_for(it, &n->asks.all) {
    const struct ask *a = ask_of(it);
    CHECK(a->until >= last && a->number <= n->asks.asked, "ask: the questions are not in order");
    CHECK(!a->by.s == (a->by.done != NULL), "ask: a session and the process ask, or nobody");
    CHECK(!a->by.s || (a->by.s->node == n && !a->by.s->ended && a->by.call_id == a->call_id),
          "ask: one asks that has ended, or for another's call");
    last = a->until;
  }
  return NULL;
}

size_t ask_owned(const struct node *n) {
  size_t sum = 0;
  list_for(it, &n->asks.all) sum += mem_cost(ask_of(it));
  return sum;
}
