#include "daemon/http/who.h"

#include <stdio.h>
#include <string.h>

#include "access/access.h"
#include "base/err.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "daemon/http/answer.h"
#include "daemon/http/state.h"
#include "trust/crypto.h"
#include "trust/password.h"

/* ---- what is shown ---------------------------------------------------------------------------------------------------------
 */
#define NO_TOKEN                                                                                                               \
  "that is no token: one of 16 to 512 bytes is sent as 'Authorization: Bearer TOKEN'; a pass is not taken, as it proves "      \
  "nothing without its key"

static bool refused(struct http_refusal *ret, unsigned status, const char *text) {
  *ret = (struct http_refusal){status, text};
  return false;
}

/* Compares in a time that depends only on the token's length. */
static bool is_http_token(const struct http *h, const char *given) {
  size_t n = h->token ? strlen(h->token) : 0;
  return n && strlen(given) == n && crypto_equal(given, h->token, n);
}

static bool is_name(struct slice s, size_t most) {
  char text[ACCESS_MAX_NAME + 1];
  return s.n && s.n <= most && utf8_label(s, text, most) == s.n;
}

static bool read_basic(const struct http_request *r, struct http_shown *s, struct http_refusal *ret_why) {
  s->user = MHD_basic_auth_get_username_password(r->c, &s->password);
  struct slice user = slice_str(s->user);
  if (!s->user || !s->password || !is_name(user, ACCESS_MAX_NAME) || strlen(s->password) > PASSWORD_MAX_LEN)
    return refused(ret_why, MHD_HTTP_UNAUTHORIZED,
                   "Basic: a user name of 1 to 64 bytes without controls, a colon and the password are expected, in base64");
  s->login.user = user;
  s->login.password = slice_str(s->password);
  return true;
}

static bool read_bearer(const struct http_request *r, const char *token, struct http_shown *s, struct http_refusal *ret_why) {
  s->operator= is_http_token(r->http, token);
  if (s->operator) return true;
  if (node_http_is_open(r->http->node) && r->http->token)
    return refused(ret_why, MHD_HTTP_UNAUTHORIZED, "Send 'Authorization: Bearer TOKEN'");
  if (token_wrong(slice_str(token))) return refused(ret_why, MHD_HTTP_UNAUTHORIZED, NO_TOKEN);
  sha256_of(slice_str(token), s->digest);
  s->login.token = s->digest;
  return true;
}

static bool read_authorization(const struct http_request *r, const char *given, struct http_shown *s,
                               struct http_refusal *ret_why) {
  if (!strncasecmp(given, "Bearer ", 7)) return read_bearer(r, given + 7, s, ret_why);
  if (!strncasecmp(given, "Basic ", 6)) return read_basic(r, s, ret_why);
  return refused(ret_why, MHD_HTTP_UNAUTHORIZED,
                 "Authorization: Basic (a user of the access file) or Bearer (one of its tokens with door: http) are known");
}

bool http_shown_read(const struct http_request *r, struct http_shown *ret, struct http_refusal *ret_why) {
  struct http *h = r->http;
  const char *given = http_header(r, MHD_HTTP_HEADER_AUTHORIZATION), *client = http_argument(r, "client");
  *ret = (struct http_shown){.login = {.from = r->visitor->from, .secret = h->cert != NULL}};
  bool good = true;
  if (client && !is_name(slice_str(client), ACCESS_MAX_NAME))
    return refused(ret_why, MHD_HTTP_BAD_REQUEST, "client: a name has 1 to 64 bytes without controls");
  if (given)
    good = read_authorization(r, given, ret, ret_why);
  else if (h->cookie && h->cookie(r, &ret->login, &ret->operator))
    ret->cookie = true;
  else if (node_http_is_open(h->node) && h->token)
    good = refused(ret_why, MHD_HTTP_UNAUTHORIZED, "Send 'Authorization: Bearer TOKEN'");
  else if (node_http_is_open(h->node) && !addr_is_loopback(&r->visitor->from))
    good = refused(ret_why, MHD_HTTP_FORBIDDEN, "From other machines /api needs a token: set http_token");
  if (good && ret->cookie && r->method == HTTP_POST && !http_header(r, MHD_HTTP_HEADER_ORIGIN))
    good = refused(ret_why, MHD_HTTP_FORBIDDEN,
                   "With a cookie alone only a page of the node's own changes something: Origin is missing");
  else if (good && ret->cookie && r->method == HTTP_POST && r->visitor->origin)
    good = refused(ret_why, MHD_HTTP_FORBIDDEN,
                   "With a cookie alone only a page of the node's own changes something, not one of http_origins");
  if (client) ret->login.client = slice_str(client);
  if (!good) http_shown_done(ret);
  return good;
}

static void give_back(char **text) {
  if (*text) crypto_wipe(*text, strlen(*text));
  if (*text) MHD_free(*text);
  *text = NULL;
}

void http_shown_done(struct http_shown *s) {
  give_back(&s->user);
  give_back(&s->password);
  crypto_wipe(s->digest, sizeof s->digest);
}

/* ---- who it is -------------------------------------------------------------------------------------------------------------
 */
static void on_known(struct http_ask *a, const struct http_result *result) {
  struct http_request *r = container_of(a, struct http_request, ask);
  (void)result; /* http_who_end looks at the session */
  r->answered = true;
  http_resume(r);
}

/* Where all is open whoever is let in may ask as an operator does, as on loopback by any door. */
static bool needs_no_session(const struct http_request *r, const struct http_shown *s) {
  return r->route->role == HTTP_OPERATOR && (s->operator|| node_http_is_open(r->http->node));
}

enum MHD_Result http_who_begin(struct http_request *r, bool *ret_refused) {
  struct http *h = r->http;
  struct http_shown s;
  struct http_refusal why;
  *ret_refused = true;
  if (!http_shown_read(r, &s, &why)) return http_refuse(r, why.status, why.text);
  if (needs_no_session(r, &s)) {
    *ret_refused = false;
    r->answered = true;
    r->role = HTTP_OPERATOR;
    http_shown_done(&s);
    return MHD_YES;
  }
  if (s.operator&& !s.cookie && !node_http_is_open(h->node)) {
    http_shown_done(&s);
    return http_refuse(r, MHD_HTTP_FORBIDDEN, HTTP_TOKEN_IS_FOR_API);
  }
  const char *full = http_stay(r);
  int err = full ? 0 : http_client_get(h->node, &s.login, io_now(), &r->client);
  http_shown_done(&s);
  if (full) return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, full);
  if (err)
    return http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "out_of_memory: there is no room for another session: http_pool");
  *ret_refused = false;
  r->asked = true;
  r->ask.done = on_known;
  http_ask_login(&r->ask, r->client);
  io_loop_wake(h->loop);
  return r->answered ? MHD_YES : http_suspend(r);
}

static enum MHD_Result refuse_login(struct http_request *r) {
  const char *text;
  int err = http_client_error(r->client, &text);
  return http_refuse_with(r, http_status_of(err), macula_err_name(err), text);
}

bool http_who_end(struct http_request *r, enum MHD_Result *ret_answer) {
  if (!r->client) return true;
  if (!r->answered) { /* HTTP ends meanwhile */
    *ret_answer = http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "shutting_down: HTTP is being closed");
    return false;
  }
  if (http_client_standing(r->client) != HTTP_IN) {
    *ret_answer = refuse_login(r);
    return false;
  }
  r->role = http_client_is_operator(r->client) ? HTTP_OPERATOR : HTTP_CLIENT;
  r->asked = r->answered = false;
  if (r->role >= r->route->role) return true;
  *ret_answer = http_refuse(r, MHD_HTTP_FORBIDDEN, "/api is for operators: the grant has another role");
  return false;
}

void http_who_over(struct http_request *r) {
  if (r->asked) http_ask_drop(&r->ask, io_now());
  if (r->client) http_client_put(r->client);
  if (r->client) io_loop_wake(r->http->loop);
  r->client = NULL;
}
