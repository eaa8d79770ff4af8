/* The procedures that every node answers itself: com.macula.node.* and com.macula.diagnostics.*. */
#include "node/view/admin.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "macula/macula.h"
#include "node/peers/revoked.h"
#include "node/session/session.h"
#include "node/view/ask.h"
#include "node/view/cost.h"
#include "node/view/far.h"
#include "node/view/trace.h"
#include "trust/crypto.h"
#include "wire/names.h"

#define DIAGNOSTICS_PREFIX "com.macula.diagnostics."

#define ENDS_LISTED 4u /* ids that are named when several begin with the same digits */

bool admin_strip(struct slice *name, const char *prefix) {
  size_t n = strlen(prefix);
  if (name->n < n || memcmp(name->p, prefix, n) != 0) return false;
  *name = slice_of(name->p + n, name->n - n);
  return true;
}

/* A JSON string of a text that a peer sent. If the text is not UTF-8, all characters but plain ASCII are replaced. */
static json_t *text_json(struct slice s) {
  json_t *j = json_stringn((const char *)s.p, s.n);
  if (j) return j;
  char *plain = malloc(s.n);
  for (size_t i = 0; plain && i < s.n; i++) plain[i] = s.p[i] < 0x80 ? (char)s.p[i] : '?';
  j = plain ? json_stringn(plain, s.n) : NULL;
  free(plain);
  return j;
}

/* Arguments that are JSON go back byte for byte, as parsing and printing could change the numbers. */
static char *echo(struct slice args, json_int_t now_s) {
  size_t at;
  const char *why;
  json_malloc_t take; /* allocated like JSON texts, so that callers free both in one way */
  if (!args.n) args = slice_str("null");
  char *text = NULL;
  if (json_check(args, &at, &why)) {
    json_t *j = text_json(args);
    text = j ? json_dumps(j, JSON_ENCODE_ANY) : NULL;
    json_decref(j);
    args = slice_str(text);
  }
  json_get_alloc_funcs(&take, NULL);
  size_t cap = args.n + 64;
  char *answer = args.n ? take(cap) : NULL;
  if (answer) snprintf(answer, cap, "{\"echo\":%.*s,\"timestamp\":%lld}", (int)args.n, (const char *)args.p, (long long)now_s);
  node_text_free(text);
  return answer;
}

static json_t *about_node(const struct node *n) {
  return json_pack("{s:s, s:s, s:I, s:s}", "node", n->name, "realm", n->realm, "uptime_seconds",
                   (json_int_t)node_uptime_s(n, n->now), "version", MACULA_VERSION);
}

static json_t *diagnostics(struct node *n, struct slice what) {
  json_int_t now_s = (json_int_t)(node_wall_ms(n) / 1000);
  if (slice_is(what, "hello"))
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s}", "message", "Hello from Macula Gateway!", "gateway", n->name,
                     "realm", n->realm, "uptime_seconds", (json_int_t)node_uptime_s(n, n->now), "timestamp", now_s, "version",
                     MACULA_VERSION, "protocol", "QUIC");
  if (!slice_is(what, "info")) return NULL;
  size_t accounted = rows_accounted(n);
  return json_pack("{s:o, s:{s:I, s:I}, s:I}", "gateway", about_node(n), "system", "memory_bytes", (json_int_t)(rows_rss(n)),
                   "accounted_bytes", (json_int_t)accounted, "timestamp", now_s);
}

/* "offset" and "limit" of the arguments' object; anything else counts as absent. */
static void read_page(struct slice args, size_t *ret_offset, size_t *ret_limit) {
  json_t *j = args.n && args.n < 256 ? json_loadb((const char *)args.p, args.n, 0, NULL) : NULL;
  json_int_t offset = json_integer_value(json_object_get(j, "offset")), limit = json_integer_value(json_object_get(j, "limit"));
  *ret_offset = offset > 0 ? (size_t)offset : 0;
  *ret_limit = limit > 0 && limit < LIST_PAGE ? (size_t)limit : LIST_PAGE;
  json_decref(j);
}

/* Hands in a list of revoked passes in its text form. */
static int revoke(struct node *n, json_t *args, const char **ret_text) {
  uint8_t *list = malloc(REVOKED_MAX_BYTES);
  size_t len;
  *ret_text = n->trust.why;
  int err = list ? crypto_unarmor(REVOKED_LABEL, slice_str(json_string_value(json_object_get(args, "list"))), list,
                                  REVOKED_MAX_BYTES, &len)
                 : MACULA_ENOMEM;
  if (err == MACULA_EINVAL)
    snprintf(n->trust.why, sizeof n->trust.why,
             "what was handed in is no list of revoked passes: 'macula pass revoke' makes one");
  if (!err) err = revoked_push(n, slice_of(list, len));
  free(list);
  return err;
}

/* The id of a client or another node; of a client that has shown no key its instance, with zeros behind it. */
static bool id_of(const struct session *s, struct id *ret) {
  if (s->state != SESSION_IN || (!s->client.in && !s->peer)) return false;
  *ret = s->client.in ? s->client.id : s->peer->id;
  if (id_is_zero(ret)) memcpy(ret->b, s->client.instance, INSTANCE_LEN);
  return true;
}

static bool begins(const struct id *id, struct slice digits) {
  for (size_t i = 0; i < digits.n; i++)
    if ((id->b[i / 2] >> (i % 2 ? 0 : 4) & 15) != hex_digit(digits.p[i])) return false;
  return true;
}

/* Finds the one id that begins with these digits, among those that are connected; else says which do. */
static int find_id(struct node *n, const struct session *by, struct slice digits, struct id *ret_id, const char **ret_text) {
  struct id found[ENDS_LISTED];
  size_t count = 0, used = 0;
  char hex[ID_HEX_LEN + 1];
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, const struct session, all);
    struct id its;
    bool known = s == by || !id_of(s, &its) || !begins(&its, digits);
    for (size_t i = 0; i < count && !known; i++) known = id_eq(&found[i], &its);
    if (!known) found[count++] = its;
    if (count == ENDS_LISTED) break;
  }
  if (count == 1) return *ret_id = found[0], 0;
  if (!count) return *ret_text = "nobody else with this id is connected to this node", MACULA_ENOTFOUND;
  used = (size_t)snprintf(n->trust.why, sizeof n->trust.why, "several ids begin so, give more digits:");
  for (size_t i = 0; i < count; i++) {
    id_hex(&found[i], hex);
    used += (size_t)snprintf(n->trust.why + used, sizeof n->trust.why - used, " %s", hex);
  }
  return *ret_text = n->trust.why, MACULA_EINVAL;
}

/* Ends the sessions of a client, or the link to a node, by its id or the first digits of it; not the one that asks. */
static int end_of(struct node *n, const struct session *by, json_t *args, const char **ret_text, json_int_t *ret_count) {
  struct slice digits = slice_str(json_string_value(json_object_get(args, "id")));
  struct id id, its;
  bool good = digits.n > 0 && digits.n <= ID_HEX_LEN;
  for (size_t i = 0; i < digits.n && good; i++) good = hex_digit(digits.p[i]) >= 0;
  if (!good)
    return *ret_text = "an id is hexadecimal digits, 64 of them or the first ones, as 'macula clients' prints them",
           MACULA_EINVAL;
  int err = find_id(n, by, digits, &id, ret_text);
  if (err) return err;
  list_for_safe(it, &n->sessions.all) {
    struct session *s = container_of(it, struct session, all);
    if (s == by || !id_of(s, &its) || !id_eq(&its, &id)) continue;
    session_close(s, MACULA_NOT_AUTHORIZED, "an operator ended this connection");
    ++*ret_count;
  }
  return 0;
}

size_t admin_cost(struct slice what) { return slice_is(what, "trace") ? COST_TRACE : COST_QUESTION; }
bool admin_changes(struct slice what) { return slice_is(what, "end") || slice_is(what, "revoke") || slice_is(what, "login"); }

/* Whether it was let in because somebody had logged in before: at the page, by a link or a password. */
static bool is_by_cookie(const struct session *s) {
  struct door_shown shown = door_shown(&s->door);
  return shown.grant.n || shown.vouched;
}

/* A link for whoever has a connection of its own, not for a node or a page that asks; nor for a cookie, which would never end
 * so. */
static int invite(const struct node *n, const struct session *by, const char **ret_text, char **ret_json) {
  const struct node_process *p = &n->rows.process;
  struct slice grant = by && by->rights.grant ? grant_name(by->rights.grant) : SLICE_NONE;
  const struct pass_kept *pass = by && by->rights.pass ? &by->rights.pass->kept : NULL;
  bool own = by && !is_by_cookie(by);
  int err = !own       ? MACULA_NOT_AUTHORIZED
            : p->login ? p->login(p->ctx, session_user(by), grant, pass, n->now, ret_json)
                       : MACULA_ENOTFOUND;
  if (!own)
    *ret_text = "a link is for who shows a key, a pass, a token or a password, not for the page: macula dashboard makes it";
  if (err == MACULA_ENOTFOUND) *ret_text = "this node has no page, as HTTP is off: set http";
  return err;
}

/* What an operator has the node do. False: it is none of these. */
static bool command(struct node *n, const struct session *by, enum asker_kind kind, struct slice what, struct slice args,
                    int *ret_err, const char **ret_text, char **ret_json) {
  json_int_t count = 0;
  bool is_end = slice_is(what, "end");
  if (slice_is(what, "login") && kind != ASKER_NODE) {
    *ret_err = invite(n, by, ret_text, ret_json);
    return true;
  }
  if (!admin_changes(what) || (!is_end && kind == ASKER_NODE)) return false;
  json_t *j = args.n ? json_loadb((const char *)args.p, args.n, 0, NULL) : NULL;
  *ret_err = is_end ? end_of(n, by, j, ret_text, &count) : revoke(n, j, ret_text);
  json_decref(j);
  if (!*ret_err && (j = is_end ? json_pack("{s:I}", "ended", count) : json_object())) {
    *ret_json = json_dumps(j, JSON_COMPACT);
    json_decref(j);
  }
  if (!*ret_err && !*ret_json) *ret_err = MACULA_ENOMEM;
  return true;
}

int admin_answer(struct node *n, const struct session *by, enum asker_kind kind, struct slice what, struct slice args,
                 const char **ret_text, char **ret_json) {
  char name[32];
  size_t offset, limit;
  int err;
  if (command(n, by, kind, what, args, &err, ret_text, ret_json)) return err;
  if (slice_is(what, "trace")) return trace_topic(n, args, ret_text, ret_json);
  if (what.n >= sizeof name) return MACULA_NO_SUCH_PROCEDURE;
  memcpy(name, what.p, what.n);
  name[what.n] = 0;
  read_page(args, &offset, &limit);
  err = node_render(n, name, offset, limit, n->now, ret_json);
  return err == MACULA_ENOTFOUND ? MACULA_NO_SUCH_PROCEDURE : err;
}

static int answer_node(struct session *s, struct slice what, struct slice args, const char **ret_text, char **ret_json) {
  /* Where all is open, everybody may see how the node is. */
  bool is_figure =
      slice_is(what, "status") || slice_is(what, "memory") || slice_is(what, "history") || slice_is(what, "history_minute");
  if (!s->trusted && (s->node->trust.access || !is_figure)) return MACULA_NOT_AUTHORIZED;
  return admin_answer(s->node, s, cost_kind(s), what, args, ret_text, ret_json);
}

static int answer_diagnostics(struct node *n, struct slice what, struct slice args, char **ret_json) {
  if (slice_is(what, "echo")) {
    if (args.n > ECHO_MAX) return MACULA_EINVAL;
    *ret_json = echo(args, (json_int_t)(node_wall_ms(n) / 1000));
    return *ret_json ? 0 : MACULA_ENOMEM;
  }
  json_t *j = diagnostics(n, what);
  if (!j) return MACULA_NO_SUCH_PROCEDURE;
  *ret_json = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
  json_decref(j);
  return *ret_json ? 0 : MACULA_ENOMEM;
}

/* What can be answered at once. */
static void answer_now(struct session *s, const struct msg_call *m, bool of_node, struct slice what) {
  char *json = NULL;
  const char *text = NULL;
  int err = of_node                                  ? answer_node(s, what, m->args, &text, &json)
            : admin_strip(&what, DIAGNOSTICS_PREFIX) ? answer_diagnostics(s->node, what, m->args, &json)
                                                     : MACULA_NO_SUCH_PROCEDURE;
  if (!err) {
    cost_charge(s->node, &s->native->asked, cost_kind(s), strlen(json) / COST_BYTES);
    struct msg reply = {.type = MSG_REPLY, .reply = {.call_id = m->call_id, .result = slice_str(json)}};
    err = session_send(s, &reply, true);
  }
  if (err && err != MACULA_ECLOSED)
    session_error(s, m->call_id, err,
                  text ? text
                  : err == MACULA_NOT_AUTHORIZED
                      ? "this needs the role operator: a grant of the access file, or a pass, gives it"
                  : err == MACULA_EINVAL ? "echo takes at most 65536 bytes: send less"
                                         : NULL);
  node_text_free(json);
}

void admin_call(struct session *s, const struct msg_call *m, struct slice procedure) {
  struct slice what = procedure;
  enum asker_kind kind = cost_kind(s);
  if (!cost_affords(s->node, &s->native->asked, kind)) {
    session_error(s, m->call_id, MACULA_RATE_LIMITED,
                  "what you ask costs more than your share: ask less often, for fewer rows");
    return;
  }
  bool of_node = admin_strip(&what, ADMIN_NODE_PREFIX);
  cost_charge(s->node, &s->native->asked, kind, admin_cost(what));
  if (of_node && ask_call(s, m, what)) {
    if (!slice_is(what, "ping")) cost_charge(s->node, &s->native->asked, kind, COST_DHT);
    return;
  }
  if (!of_node || !far_call(s, m, what)) answer_now(s, m, of_node, what);
}
