#include "daemon/http/login.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/utf8.h"
#include "daemon/http/answer.h"
#include "daemon/http/logins.h"
#include "daemon/http/state.h"
#include "macula/macula.h"
#include "trust/crypto.h"

/* Of each attempt that fails, as rows of callers.h: so one a second from an address, and two of all. */
#define COST_GUESS CALLERS_RATE
#define COOKIE_LEN 40

/* ---- cookies ---------------------------------------------------------------------------------------------------------------
 */
/* Cookies know no ports: two nodes of one machine have two names. Over TLS the prefix keeps others from setting it (RFC
 * 6265bis, 4.1.3.2). */
static const char *cookie_name(const struct http *h, char ret_name[COOKIE_LEN]) {
  snprintf(ret_name, COOKIE_LEN, "%smacula_%u", h->cert ? "__Host-" : "", addr_port(&h->local));
  return ret_name;
}

static struct slice cookie_of(const struct http_request *r) {
  char name[COOKIE_LEN];
  const char *word = MHD_lookup_connection_value(r->c, MHD_COOKIE_KIND, cookie_name(r->http, name));
  return slice_str(word ? word : "");
}

/* It has no end of its own: the browser drops it when it closes, and the node before. */
static void set_cookie(const struct http *h, struct MHD_Response *response, const char *word) {
  char name[COOKIE_LEN], text[COOKIE_LEN + LOGINS_WORD_LEN + 80];
  snprintf(text, sizeof text, "%s=%s; Path=/; HttpOnly; SameSite=Strict%s%s", cookie_name(h, name), word,
           h->cert ? "; Secure" : "", word[0] ? "" : "; Max-Age=0");
  MHD_add_response_header(response, MHD_HTTP_HEADER_SET_COOKIE, text);
}

/* Passes end and are revoked between two reloads: whom one of them brought here is judged at each use. */
static bool pass_counts(const struct http_request *r, const struct login *who) {
  return !who->pass.links || node_pass_counts(r->http->node, &who->pass);
}

static const struct login *session_of(const struct http_request *r) {
  struct slice word = cookie_of(r);
  const struct login *who = word.n && r->http->logins ? logins_find(r->http->logins, word, r->now) : NULL;
  if (!who || pass_counts(r, who)) return who;
  logins_close(r->http->logins, word);
  return NULL;
}

static void show(const struct login *who, struct http_login *ret) {
  ret->user = slice_str(who->user);
  ret->vouched = who->user[0] ? who->vouched : NULL;
  ret->grant = slice_str(who->user[0] ? "" : who->grant);
}

bool http_cookie_login(const struct http_request *r, struct http_login *ret_login, bool *ret_operator) {
  const struct login *who = session_of(r);
  if (!who) return false;
  show(who, ret_login);
  *ret_operator = who->by_link;
  return true;
}

/* ---- answers ---------------------------------------------------------------------------------------------------------------
 */
/* kind: "cookie" for a session, "open" where everybody on this machine is the operator. word: of a new cookie; NULL: none. */
static enum MHD_Result say_who(struct http_request *r, const char *role, struct slice user, const char *kind,
                               const char *word) {
  char id[ID_HEX_LEN + 1];
  id_hex(node_id(r->http->node), id);
  json_t *name = user.n ? json_stringn((const char *)user.p, user.n) : json_null();
  json_t *j = json_pack("{s:s, s:o, s:s, s:s, s:s, s:b}", "role", role, "user", name, "id", id, "node",
                        node_name(r->http->node), "version", MACULA_VERSION, kind, true);
  char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
  json_decref(j);
  struct MHD_Response *made = text ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY) : NULL;
  node_text_free(text);
  if (!made) return MHD_NO;
  if (word) set_cookie(r->http, made, word);
  MHD_add_response_header(made, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
  MHD_add_response_header(made, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
  return http_answer_response(r, MHD_HTTP_OK, made);
}

static enum MHD_Result give_session(struct http_request *r, const struct login *who, const char *role) {
  struct http *h = r->http;
  char word[LOGINS_WORD_LEN + 1], at[ADDR_TEXT_LEN];
  if (!http_logins(h)) return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "out_of_memory: http_pool is used up");
  logins_open(h->logins, who, h->rng, r->now, word);
  addr_text(&r->visitor->from, at);
  log_info(h->log, "http_login", "address=%s by=%s user=\"%s\" role=%s", at, who->user[0] ? "password" : "link", who->user,
           role);
  enum MHD_Result ok = say_who(r, role, slice_str(who->user), "cookie", word);
  crypto_wipe(word, sizeof word);
  return ok;
}

static enum MHD_Result wrong(struct http_request *r, const char *why) {
  callers_charge_late(&r->http->guesses, &r->visitor->from, COST_GUESS);
  return http_refuse(r, MHD_HTTP_UNAUTHORIZED, why);
}

/* ---- who a session of the node says that it is -----------------------------------------------------------------------------
 */
static void on_known(struct http_ask *a, const struct http_result *result) {
  struct http_request *r = container_of(a, struct http_request, ask);
  (void)result; /* go_on looks at the session */
  r->answered = true;
  http_resume(r);
}

static enum MHD_Result ask_node(struct http_request *r, struct http_login *login, http_handler then) {
  const char *full = http_stay(r);
  login->from = r->visitor->from;
  login->secret = r->http->cert != NULL;
  if (full) return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, full);
  if (http_client_get(r->http->node, login, io_now(), &r->client))
    return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "out_of_memory: there is no room for another session: http_pool");
  r->answered = false;
  r->asked = true;
  r->ask.done = on_known;
  r->go_on = then;
  http_ask_login(&r->ask, r->client);
  io_loop_wake(r->http->loop);
  return r->answered ? then(r) : http_suspend(r);
}

/* False: *ret_answer. */
static bool is_in(struct http_request *r, bool guess, enum MHD_Result *ret_answer) {
  const char *text = "HTTP is being closed";
  int err = !r->answered                                 ? MACULA_SHUTTING_DOWN
            : http_client_standing(r->client) == HTTP_IN ? 0
                                                         : http_client_error(r->client, &text);
  r->asked = !r->answered;
  if (!err) return true;
  if (guess && err == MACULA_NOT_AUTHORIZED) callers_charge_late(&r->http->guesses, &r->visitor->from, COST_GUESS);
  *ret_answer = http_refuse_with(r, http_status_of(err), macula_err_name(err), text);
  return false;
}

static const char *role_of(const struct http_request *r) { return http_client_is_operator(r->client) ? "operator" : "client"; }

/* ---- logging in ------------------------------------------------------------------------------------------------------------
 */
static enum MHD_Result by_password(struct http_request *r) {
  enum MHD_Result answer;
  struct login who = {0};
  if (!is_in(r, true, &answer)) return answer;
  struct slice user = http_client_user(r->client);
  if (!user.n || user.n >= sizeof who.user || !node_vouch(r->http->node, user, who.vouched))
    return wrong(r, "not_authorized: the name or the password is wrong");
  memcpy(who.user, user.p, user.n);
  return give_session(r, &who, role_of(r));
}

static bool is_name(struct slice s) {
  char text[ACCESS_MAX_NAME + 1];
  return s.n && s.n <= ACCESS_MAX_NAME && utf8_label(s, text, ACCESS_MAX_NAME) == s.n;
}

static enum MHD_Result log_in(struct http_request *r, const char *link, const char *user, const char *password) {
  struct http *h = r->http;
  struct login who;
  if (link) {
    if (!h->logins || !logins_redeem(h->logins, slice_str(link), r->now, &who) || !pass_counts(r, &who))
      return http_refuse(r, MHD_HTTP_UNAUTHORIZED, /* nobody guesses 256 bits, so that keeps no password waiting */
                         "not_authorized: this link was used, or its minute is over: macula dashboard makes another");
    return give_session(r, &who, "operator");
  }
  if (!callers_afford(&h->guesses, &r->visitor->from, r->now)) /* who has a link comes in whoever guesses */
    return http_refuse(r, MHD_HTTP_TOO_MANY_REQUESTS, "rate_limited: too many logins have failed: try again in a second");
  if (node_http_is_open(h->node))
    return wrong(r, "not_authorized: this node has no users, as it has no access file: macula dashboard makes a link");
  struct http_login login = {.user = slice_str(user), .password = slice_str(password)};
  if (!is_name(login.user) || login.password.n > PASSWORD_MAX_LEN)
    return wrong(r, "not_authorized: the name or the password is wrong");
  return ask_node(r, &login, by_password);
}

/* Off this machine what is typed, and the cookie, go over TLS or not at all. */
enum MHD_Result http_log_in(struct http_request *r) {
  struct http *h = r->http;
  if (!h->cert && !addr_is_loopback(&r->visitor->from))
    return http_refuse(r, MHD_HTTP_FORBIDDEN, "forbidden: from other machines logins are taken over HTTPS alone: set http_tls");
  json_t *j = r->body_len ? json_loadb(r->body, r->body_len, 0, NULL) : NULL;
  const char *link = json_string_value(json_object_get(j, "link")), *user = json_string_value(json_object_get(j, "user")),
             *password = json_string_value(json_object_get(j, "password"));
  enum MHD_Result ok =
      link || (user && password)
          ? log_in(r, link, user, password)
          : http_refuse(r, MHD_HTTP_BAD_REQUEST,
                        "invalid_argument: {\"link\": WORD} or {\"user\": NAME, \"password\": TEXT} is expected");
  if (password) crypto_wipe((void *)password, strlen(password));
  json_decref(j);
  if (r->body_len) crypto_wipe(r->body, r->body_len);
  return ok;
}

enum MHD_Result http_log_out(struct http_request *r) {
  struct slice word = cookie_of(r);
  if (word.n && r->http->logins) logins_close(r->http->logins, word);
  struct MHD_Response *made = MHD_create_response_from_buffer(2, (void *)"{}", MHD_RESPMEM_PERSISTENT);
  if (!made) return MHD_NO;
  set_cookie(r->http, made, "");
  MHD_add_response_header(made, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
  return http_answer_response(r, MHD_HTTP_OK, made);
}

static enum MHD_Result said(struct http_request *r) {
  enum MHD_Result answer;
  return is_in(r, false, &answer) ? say_who(r, role_of(r), http_client_user(r->client), "cookie", NULL) : answer;
}

enum MHD_Result http_session(struct http_request *r) {
  struct http *h = r->http;
  const struct login *who = session_of(r);
  if (who && who->by_link) return say_who(r, "operator", SLICE_NONE, "cookie", NULL);
  if (who) {
    struct http_login login = {0};
    show(who, &login);
    return ask_node(r, &login, said);
  }
  if (node_http_is_open(h->node) && !h->token && addr_is_loopback(&r->visitor->from))
    return say_who(r, "operator", SLICE_NONE, "open", NULL);
  return http_error(r, MHD_HTTP_UNAUTHORIZED, slice_str("not_authorized"),
                    slice_str("nobody is logged in: macula dashboard makes a link"), "");
}

/* ---- links, and what a reload ends -----------------------------------------------------------------------------------------
 */
struct logins *http_logins(struct http *h) {
  if (!h->logins) h->logins = mem_calloc(node_http_mem(h->node), 1, sizeof *h->logins);
  return h->logins;
}

static void take_text(char *to, size_t size, struct slice from) {
  if (from.n && from.n < size) memcpy(to, from.p, from.n);
}

int http_invite(struct http *h, struct slice user, struct slice grant, const struct pass_kept *pass, nanotime now,
                char **ret_json) {
  struct login who = {.by_link = true};
  char word[LOGINS_WORD_LEN + 1], at[ADDR_TEXT_LEN];
  take_text(who.grant, sizeof who.grant, grant);
  if (pass) who.pass = *pass;
  if (!http_logins(h)) return MACULA_ENOMEM;
  logins_invite(h->logins, &who, h->rng, now, word);
  addr_text(&h->local, at);
  log_info(h->log, "http_link", "user=\"%.*s\" grant=\"%s\"", (int)user.n, (const char *)user.p, who.grant);
  json_t *j = json_pack("{s:s, s:s, s:b, s:i}", "login", word, "address", at, "tls", h->cert != NULL, "expires_s",
                        (int)(LOGINS_LINK_TIME / NS_SEC));
  *ret_json = j ? json_dumps(j, JSON_COMPACT) : NULL;
  json_decref(j);
  crypto_wipe(word, sizeof word);
  return *ret_json ? 0 : MACULA_ENOMEM;
}

/* Whoever came by a link logs in again, as what its operator may do is not looked up. */
static bool counts(void *ctx, const struct login *who) {
  const struct http *h = ctx;
  uint8_t vouched[PASSWORD_KEY_LEN];
  if (who->by_link) return node_http_is_open(h->node);
  return node_vouch(h->node, slice_str(who->user), vouched) && !memcmp(vouched, who->vouched, sizeof vouched);
}

void http_judge_logins(struct http *h) {
  if (h->logins) logins_judge(h->logins, counts, h);
}
