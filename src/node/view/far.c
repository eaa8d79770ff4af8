#include "node/view/far.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "node/peers/peer.h"
#include "node/peers/route.h"
#include "node/peers/seal.h"
#include "node/session/session.h"
#include "node/view/admin.h"
#include "node/view/asking.h"
#include "node/view/cost.h"
#include "wire/agree.h"
#include "wire/answer.h"

#define FAR_TIME (5 * NS_SEC)
#define FAR_MOST (256u << 10) /* bytes of an answer that is passed on: a page of a list has some 40,000 */
#define ARGS_MOST 4096u       /* of a question that names a node */
#define TEXT_MOST 256u        /* of an error that is passed on */
#define DIGITS_LEAST 8u       /* of an id that is not whole */

/* ---- which node ------------------------------------------------------------------------------------------------------------
 */
static bool begins(const struct id *id, struct slice digits) {
  for (size_t i = 0; i < digits.n; i++)
    if ((id->b[i / 2] >> (i % 2 ? 0 : 4) & 15) != hex_digit(digits.p[i])) return false;
  return true;
}

/* The one member, or this node itself, whose id begins so. O(members) unless the id is whole. */
static int find_node(const struct node *n, struct slice digits, struct id *ret, const char **ret_text) {
  const struct membership *all = n->mesh.membership;
  struct id whole;
  uint32_t found = 0;
  bool is_id = digits.n >= DIGITS_LEAST && digits.n <= ID_HEX_LEN;
  for (size_t i = 0; i < digits.n && is_id; i++) is_id = hex_digit(digits.p[i]) >= 0;
  *ret_text = "node takes a node's id: its 64 digits, or the first 8 or more that no other one begins with";
  if (!is_id) return MACULA_EINVAL;
  *ret_text = NULL;
  if (begins(&n->id, digits)) *ret = n->id, found++;
  if (digits.n == ID_HEX_LEN && !id_parse(digits, &whole)) {
    if (!found && all && membership_find(all, &whole)) *ret = whole, found++;
  } else {
    for (const struct member *m = NULL; all && (m = membership_each(all, m)) != NULL;)
      if (begins(&m->info.id, digits)) *ret = m->info.id, found++;
  }
  if (found > 1) *ret_text = "several nodes' ids begin so: give more digits";
  return found == 1 ? 0 : found ? MACULA_EINVAL : MACULA_UNKNOWN_NODE;
}

/* ---- the node that is asked ------------------------------------------------------------------------------------------------
 */
static void call_id_of(struct node *n, uint64_t number, uint8_t ret[CALL_ID_LEN]) {
  static const uint8_t none[sizeof n->asks.mark];
  while (!memcmp(n->asks.mark, none, sizeof none)) rng_fill(n->rng, n->asks.mark, sizeof n->asks.mark);
  memcpy(ret, n->asks.mark, sizeof n->asks.mark);
  for (int i = 0; i < 8; i++) ret[8 + i] = (uint8_t)(number >> (56 - 8 * i));
}

/* args: without `node`. timeout_ms 0: the usual. */
static void pass_on(struct node *n, const struct asker *by, const struct id *to, struct slice what, const char *args,
                    uint64_t timeout_ms) {
  char name[64];
  uint8_t call_id[CALL_ID_LEN];
  uint64_t time = timeout_ms && timeout_ms < FAR_TIME / NS_MS ? timeout_ms * NS_MS : FAR_TIME;
  struct peer *p = peer_get(n, to);
  int len = snprintf(name, sizeof name, "%s%.*s", ADMIN_NODE_PREFIX, (int)what.n, (const char *)what.p);
  if (!p || what.n > sizeof name || len >= (int)sizeof name) {
    ask_refuse(by, p ? MACULA_NO_SUCH_PROCEDURE : MACULA_ENOMEM, NULL);
    return;
  }
  struct ask *a = ask_begin(n, by, ASK_FAR, time);
  if (!a) return;
  a->peer = *to;
  n->asks.far++;
  call_id_of(n, a->number, call_id);
  struct msg m = {.type = MSG_CALL,
                  .call = {.procedure = slice_of(name, (size_t)len),
                           .args = slice_str(args),
                           .call_id = slice_of(call_id, sizeof call_id),
                           .timeout = time / NS_MS,
                           .idempotent = true}};
  int err = peer_post(p, &m, WANT_USE, 0);
  if (err) ask_fail(n, a, err, NULL);
}

/* A question that is about the nodes that it names, or about none. */
static bool has_own_node(struct slice what) {
  return slice_is(what, "ping") || slice_is(what, "dht_lookup") || slice_is(what, "dht_get") || slice_is(what, "revoke");
}

/* False: it is about this node. args: a reference that is taken over; may be NULL. */
static bool ask_other(struct node *n, const struct asker *by, struct slice what, struct slice node, json_t *args,
                      uint64_t timeout_ms) {
  struct id id;
  const char *text;
  int err = find_node(n, node, &id, &text);
  bool own = !err && id_eq(&id, &n->id);
  if (!err && !own) {
    if (args) json_object_del(args, "node");
    char *plain = args ? json_dumps(args, JSON_COMPACT) : NULL;
    pass_on(n, by, &id, what, plain ? plain : "{}", timeout_ms);
    node_text_free(plain);
  }
  if (err) ask_refuse(by, err, text);
  json_decref(args);
  return !own;
}

bool far_call(struct session *s, const struct msg_call *m, struct slice what) {
  struct asker by = {.s = s, .call_id = m->call_id.p};
  if (has_own_node(what) || !m->args.n || m->args.n > ARGS_MOST || !memmem(m->args.p, m->args.n, "\"node\"", 6)) return false;
  json_t *args = json_loadb((const char *)m->args.p, m->args.n, 0, NULL), *node = json_object_get(args, "node");
  struct slice digits = slice_str(json_string_value(node));
  if (!node) {
    json_decref(args);
    return false;
  }
  if (!s->trusted) {
    ask_refuse(&by, MACULA_NOT_AUTHORIZED, "other nodes are asked for operators only");
    json_decref(args);
    return true;
  }
  cost_charge(s->node, &s->native->asked, cost_kind(s), digits.n == ID_HEX_LEN ? COST_FAR : COST_FAR + COST_DHT);
  return ask_other(s->node, &by, what, digits, args, m->timeout);
}

void node_ask(struct node *n, const char *what, const char *node, const char *args, bool changes,
              void (*done)(void *ctx, int err, const char *json), void *ctx, nanotime now) {
  struct asker by = {.done = done, .ctx = ctx};
  const char *text = NULL;
  char *json = NULL;
  struct slice about = slice_str(what);
  bool names = node && node[0] && !has_own_node(about);
  if (now > n->now) n->now = now;
  if (!changes && admin_changes(about)) {
    ask_refuse(&by, MACULA_NO_SUCH_PROCEDURE, NULL);
    return;
  }
  if (names && ask_other(n, &by, about, slice_str(node), args ? json_loads(args, 0, NULL) : NULL, 0)) return;
  int err = admin_answer(n, NULL, ASKER_OPERATOR, about, slice_str(args), &text, &json);
  done(ctx, err, err ? (text ? text : macula_err_text(err)) : json);
  node_text_free(json);
}

/* ---- what the other node says ----------------------------------------------------------------------------------------------
 */
/* The question that this is the answer to; *ret_ours: it is one of ours, though it may have ended. */
static struct ask *find(struct peer *p, struct slice call_id, bool *ret_ours) {
  struct node *n = p->node;
  uint64_t number = 0;
  *ret_ours = n->asks.far && call_id.n == CALL_ID_LEN && !memcmp(call_id.p, n->asks.mark, sizeof n->asks.mark);
  for (int i = 0; *ret_ours && i < 8; i++) number = number << 8 | call_id.p[8 + i];
  struct ask *a = *ret_ours ? ask_find(n, number) : NULL;
  return a && a->kind == ASK_FAR && id_eq(&a->peer, &p->id) ? a : NULL;
}

/* The other node's error as our own, its text for people without what is no plain text. */
static void fail(struct node *n, struct ask *a, const struct msg_error *e) {
  char text[TEXT_MOST];
  size_t len = e->message.n < sizeof text ? e->message.n : sizeof text - 1;
  int err = err_from_name((const char *)e->code.p, e->code.n);
  for (size_t i = 0; i < len; i++) text[i] = e->message.p[i] < ' ' || e->message.p[i] > '~' ? '?' : (char)e->message.p[i];
  text[len] = 0;
  ask_fail(n, a, err ? err : MACULA_EINTERNAL, len ? text : NULL);
}

/* A copy with a NUL behind it, for who is called and not sent it. */
static void answer_process(struct node *n, struct ask *a, struct slice json) {
  json_malloc_t take;
  json_get_alloc_funcs(&take, NULL);
  char *text = take(json.n + 1);
  if (!text) {
    ask_fail(n, a, MACULA_ENOMEM, NULL);
    return;
  }
  memcpy(text, json.p, json.n);
  text[json.n] = 0;
  ask_answer(n, a, slice_of(text, json.n));
  node_text_free(text);
}

bool far_replied(struct peer *p, const struct msg_reply *m) {
  struct node *n = p->node;
  bool ours;
  size_t at;
  const char *why;
  struct ask *a = find(p, m->call_id, &ours);
  if (!a) return ours;
  struct session *s = a->by.s;
  if (s) cost_charge(n, &s->native->asked, cost_kind(s), (m->is_error ? 0 : m->result.n) / COST_BYTES);
  if (m->is_error)
    fail(n, a, &m->error);
  else if (m->result.n > FAR_MOST)
    ask_fail(n, a, MACULA_PAYLOAD_TOO_LARGE, "that node's answer is too long to be passed on: ask for fewer rows");
  else if (json_check(m->result, &at, &why))
    ask_fail(n, a, MACULA_INVALID_JSON, "that node's answer is no JSON; is it of another version?");
  else if (s)
    ask_answer(n, a, m->result);
  else
    answer_process(n, a, m->result);
  return true;
}

bool far_not_routed(struct peer *p, struct slice payload) {
  struct wire_not_routed r;
  bool ours;
  if (wire_not_routed_decode(payload, &r) || !r.call_id.n) return false;
  struct ask *a = find(p, r.call_id, &ours);
  if (a) ask_fail(p->node, a, MACULA_NO_ROUTE, NULL);
  return ours;
}

/* ---- the node that answers -------------------------------------------------------------------------------------------------
 */
/* By the way by which the question came, or by any; what has no room for it is lost, and the asker's time ends. */
static int reply(struct peer *p, const struct msg *m) {
  struct node *n = p->node;
  const struct id *way = &n->rpc.way;
  struct peer *back = p->link || id_is_zero(way) ? NULL : peer_find(n, way);
  if (back && back->link && seal_ready(p)) return route_through(back, p, m);
  return peer_post(p, m, WANT_USE, 0);
}

/* What changes something here leaves a trace here. */
static void say_end(struct peer *p, int err) {
  struct peer_text t = peer_text(p->name, &p->id, &p->addr);
  log_info(p->node->log, "end_asked", PEER_FIELDS " code=%s text=\"an operator of that node ends a client here\"",
           PEER_VALUES(t), macula_err_name(err));
}

bool far_asked(struct peer *p, const struct msg_call *m) {
  struct node *n = p->node;
  struct slice what = m->procedure;
  const char *text = NULL;
  char *json = NULL;
  if (!admin_strip(&what, ADMIN_NODE_PREFIX)) return false;
  int err = cost_affords(n, &p->asked, ASKER_NODE) ? 0 : MACULA_RATE_LIMITED;
  if (err) text = "what that node's operators ask of this one costs more than their share: ask less often, for fewer rows";
  cost_charge(n, &p->asked, ASKER_NODE, admin_cost(what));
  if (!err) err = admin_answer(n, NULL, ASKER_NODE, what, m->args, &text, &json);
  if (slice_is(what, "end")) say_end(p, err);
  struct msg a = {.type = MSG_REPLY, .reply = {.call_id = m->call_id, .result = slice_str(json)}};
  if (!err) {
    cost_charge(n, &p->asked, ASKER_NODE, strlen(json) / COST_BYTES);
    n->asks.for_nodes++;
    err = reply(p, &a);
  }
  if (err) {
    a = answer_error(m->call_id, err, text, true);
    (void)reply(p, &a);
  }
  node_text_free(json);
  return true;
}
