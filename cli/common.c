/* Errors, the connection, and waiting: the main thread sleeps in poll() on a signal descriptor and on one that callbacks (on
 * the loop's thread) wake. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define NAME_KEPT 64                 /* bytes of a client's name in the node's lists */
#define CONNECT_LIMIT (15 * CLI_SEC) /* the library gives up after 10 s an address */

/* ---- errors ----------------------------------------------------------------------------------------------------------------
 */
void cli_error(const char *code, const char *fmt, ...) {
  char text[2048];
  va_list ap;
  int n = snprintf(text, sizeof text, "macula: %.64s: ", code); /* a handler's code is its own */
  va_start(ap, fmt);
  vsnprintf(text + n, sizeof text - (size_t)n, fmt, ap);
  va_end(ap);
  flockfile(stderr);
  text_put_raw_line(stderr, text);
  funlockfile(stderr);
}

int cli_failed(int err, const char *code, const char *text) {
  cli_error(code && code[0] ? code : macula_err_name(err), "%s", text && text[0] ? text : macula_err_text(err));
  return err == MACULA_TIMEOUT ? EXIT_TIMED_OUT : err == MACULA_NOT_CONNECTED ? EXIT_NOT_CONNECTED : EXIT_FAILED;
}

int cli_invalid(int err, const char *detail) {
  if (detail && detail[0])
    cli_error(macula_err_name(err), "%s", detail);
  else
    cli_error(macula_err_name(err), "%s", macula_err_text(err));
  return EXIT_USAGE;
}

int cli_bad_name(int err, const char *name) {
  const char *why = macula_last_error();
  cli_error(macula_err_name(err), "'%.300s': %s", name, why[0] ? why : macula_err_text(err));
  return EXIT_USAGE;
}

int cli_interrupted(void) {
  cli_error(macula_err_name(MACULA_CANCELLED), "interrupted before it was done; run it again");
  return EXIT_FAILED;
}

int cli_unread(void) {
  cli_error(macula_err_name(MACULA_EIO), "nobody reads standard output any more, so what comes has no place");
  return EXIT_FAILED;
}

uint64_t cli_now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * CLI_SEC + (uint64_t)ts.tv_nsec;
}

/* ---- waiting ---------------------------------------------------------------------------------------------------------------
 */
void cli_wake(struct cli *cli) {
  uint64_t one = 1;
  if (write(cli->wake_fd, &one, sizeof one) < 0) return; /* full: it is awake */
}

void cli_take_wake(struct cli *cli) {
  uint64_t n;
  if (read(cli->wake_fd, &n, sizeof n) < 0) return; /* empty: nothing to take */
}

bool cli_take_signal(struct cli *cli) {
  struct signalfd_siginfo info;
  return read(cli->signal_fd, &info, sizeof info) == sizeof info;
}

enum cli_event cli_wait(struct cli *cli, uint64_t until) {
  pthread_mutex_lock(&cli->lock);
  short out = cli->is_full ? POLLOUT : 0;
  pthread_mutex_unlock(&cli->lock);
  struct pollfd fds[4] = {
      {cli->wake_fd, POLLIN, 0}, {cli->signal_fd, POLLIN, 0}, {cli->prints ? 1 : -1, out, 0}, {cli->reads ? 0 : -1, POLLIN, 0}};
  uint64_t now = cli_now(), left = until > now ? (until - now + CLI_MS - 1) / CLI_MS : 0;
  int n = poll(fds, 4, until == CLI_NEVER ? -1 : left > 3600000 ? 3600000 : (int)left);
  if (n > 0 && fds[1].revents && cli_take_signal(cli)) return CLI_SIGNALLED;
  if (n > 0 && fds[2].revents & ~POLLOUT) return CLI_UNREAD; /* POLLERR of a pipe, POLLHUP of a terminal */
  if (n > 0 && fds[0].revents) cli_take_wake(cli);
  if (n > 0 && fds[3].revents) return CLI_READABLE;
  return until != CLI_NEVER && cli_now() >= until ? CLI_TIMED_OUT : CLI_WOKEN;
}

void cli_on_done(void *ctx, macula_client client, int err, const char *text) {
  struct cli_done *d = ctx;
  (void)client;
  pthread_mutex_lock(&d->cli->lock);
  d->ended = true;
  d->err = err;
  snprintf(d->text, sizeof d->text, "%s", text);
  pthread_mutex_unlock(&d->cli->lock);
  cli_wake(d->cli);
}

/* Of the library's warnings these are shown to people: that a node cannot be remembered, and so not recognised the next time;
 * that one was met for the first time; and that the certificate or the pass ends soon, after which nodes refuse this client. */
static void on_log(void *ctx, int level, const char *line) {
  struct cli *cli = ctx;
  const char *error = strstr(line, "error="), *ends = strstr(line, "text=\"");
  (void)level;
  if (!strncmp(line, "known_nodes_not_written", 23) && error && !cli->warned) {
    cli->warned = true;
    fputs("macula: warning: the node's identity was not kept, so whoever answers there is trusted again: ", stderr);
    text_put_raw_line(stderr, error + strlen("error="));
  }
  bool shown = !strncmp(line, "certificate_ends ", 17) || !strncmp(line, "pass_ends ", 10) ||
               !strncmp(line, "pass_not_read ", 14) || !strncmp(line, "node_trusted ", 13);
  if (shown && ends) fprintf(stderr, "macula: warning: %.*s\n", (int)strcspn(ends + 6, "\""), ends + 6);
}

int cli_wait_done(struct cli_done *d, uint64_t until) {
  for (;;) {
    pthread_mutex_lock(&d->cli->lock);
    bool ended = d->ended;
    pthread_mutex_unlock(&d->cli->lock);
    if (ended) return d->err ? cli_failed(d->err, NULL, d->text) : 0;
    switch (cli_wait(d->cli, until)) {
    case CLI_WOKEN:
      break;
    case CLI_TIMED_OUT:
      return cli_failed(MACULA_TIMEOUT, NULL, "the node did not confirm in time; is it overloaded?");
    case CLI_SIGNALLED:
      return cli_interrupted();
    case CLI_UNREAD:
      return cli_unread();
    case CLI_READABLE:
      break;
    }
  }
}

/* ---- the connection --------------------------------------------------------------------------------------------------------
 */
/* An error about a setting, with who gave it. */
static int bad_setting(const struct cli *cli, int err, const char *value, const char *text) {
  char source[CONTEXT_SOURCE_LEN];
  cli_error(macula_err_name(err), "%s%s", text && text[0] ? text : macula_err_text(err), context_source(cli, value, source));
  return EXIT_USAGE;
}

/* The setting that an error of connecting is about; NULL: it tells none. */
static const char *setting_of(const struct cli *cli, int err) {
  switch (err) {
  case MACULA_REALM_MISMATCH:
  case MACULA_INVALID_REALM:
    return cli->realm;
  case MACULA_PASS_INVALID:
  case MACULA_PASS_EXPIRED:
  case MACULA_PASS_REVOKED:
    return cli->pass_file;
  case MACULA_NOT_AUTHORIZED:
  case MACULA_FORBIDDEN:
    return cli->token_file;
  default:
    return cli->server;
  }
}

int cli_read_token(struct cli *cli) {
  int err = macula_token_read(cli->token_file, &cli->token);
  return err ? bad_setting(cli, err, cli->token_file, macula_last_error()) : 0;
}

static bool is_readable(const char *folder, const char *name) {
  char *path;
  if (asprintf(&path, "%s/%s", folder, name) < 0) return true;
  bool ok = access(path, R_OK) == 0;
  free(path);
  return ok;
}

static void warn_unkept(const struct cli *cli, bool meets, const char *why) {
  fprintf(
      stderr, "macula: warning: %s; going on%s%s%s\n", why,
      cli->identity_path ? "" : " with an identity that ends with this command (--identity FILE names one that stays)",
      cli->identity_path || !meets ? "" : " and",
      meets ? " without remembering nodes: whoever answers where none is known is trusted (-s macula://ID@HOST:PORT names one)"
            : "");
}

int cli_load_identity(struct cli *cli, bool meets) {
  char *folder = NULL, why[512];
  int gone = macula_user_folder(&folder), err = gone;
  if (gone) {
    snprintf(why, sizeof why, "%s", macula_last_error());
    cli->known_nodes = "";
  }
  if (!gone || cli->identity_path) err = macula_identity_load(cli->identity_path, true, &cli->identity);
  bool passing = err && !cli->identity_path && (gone || !is_readable(folder, "identity.pem"));
  if (!gone && passing) {
    snprintf(why, sizeof why, "%s", macula_last_error());
    meets = meets && access(folder, W_OK) != 0;
  }
  macula_free(folder);
  if (err && !passing) return bad_setting(cli, err, cli->identity_path, macula_last_error());
  if (passing && (err = macula_identity_generate(&cli->identity))) return cli_failed(err, NULL, macula_last_error());
  if (passing || (gone && meets)) {
    warn_unkept(cli, meets, why);
    cli->warned = meets;
  }
  return 0;
}

/* Loop, identity and token. */
static int prepare(struct cli *cli) {
  int err;
  sigset_t set;
  if (cli->realm && (err = macula_check_realm(cli->realm))) {
    char why[512];
    snprintf(why, sizeof why, "'%.300s': %.200s", cli->realm, macula_last_error());
    return bad_setting(cli, err, cli->realm, why);
  }
  if (cli->name && (!cli->name[0] || strlen(cli->name) > NAME_KEPT))
    return bad_setting(cli, MACULA_EINVAL, cli->name, "--name takes a text of 1 to 64 bytes, which is what a node keeps of it");
  if (cli->token_file && (err = cli_read_token(cli))) return err;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  cli->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  sigaddset(&set, SIGCHLD);               /* serve --exec has a descriptor for it */
  pthread_sigmask(SIG_BLOCK, &set, NULL); /* before the loop's thread begins, so that it inherits this */
  signal(SIGPIPE, SIG_IGN);
  if (getpid() == 1) signal(SIGCHLD, SIG_IGN); /* in a container: orphans of others leave no zombies */
  cli->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (cli->signal_fd < 0 || cli->wake_fd < 0) return cli_failed(MACULA_EIO, NULL, strerror(errno));
  bool named = cli->insecure || cli->pass_file || cli->realm_key || cli->ca_file ||
               (cli->server && strchr(cli->server, '@')); /* then known_nodes is not asked */
  if ((err = cli_load_identity(cli, !named))) return err;
  macula_loop_options o = {MACULA_INIT(macula_loop_options), .max_memory = cli->max_memory, .log = on_log, .log_ctx = cli,
                           .log_level = 1};
  if ((err = macula_loop_new(&o, &cli->loop))) return cli_failed(err, NULL, macula_last_error());
  return 0;
}

macula_options cli_client_options(const struct cli *cli) {
  return (macula_options){MACULA_INIT(macula_options), .server = cli->server,
                          .realm = cli->realm,         .name = cli->name ? cli->name : "macula",
                          .identity = cli->identity,   .known_nodes = cli->known_nodes,
                          .token = cli->token,         .insecure = cli->insecure,
                          .ca_file = cli->ca_file,     .pass_file = cli->pass_file,
                          .realm_key = cli->realm_key};
}

static void on_state(void *ctx, macula_client client, macula_state state, int err, const char *text) {
  struct link *k = ctx;
  (void)client;
  pthread_mutex_lock(&k->cli->lock);
  k->state = state;
  if (state == MACULA_DISCONNECTED || state == MACULA_CLOSED) {
    k->lost = true;
    k->cut |= err == MACULA_SLOW_CONSUMER;
    k->err = err;
    snprintf(k->text, sizeof k->text, "%s", text);
  }
  pthread_mutex_unlock(&k->cli->lock);
  cli_wake(k->cli);
}

static void on_room(void *ctx, macula_client client) {
  struct link *k = ctx;
  (void)client;
  cli_wake(k->cli);
}

static void on_notice(void *ctx, macula_client client, int err, uint64_t count, const char *text) {
  (void)ctx, (void)client;
  fprintf(stderr, "macula: %llu messages: %s: ", (unsigned long long)count, macula_err_name(err));
  text_put_raw_line(stderr, text);
}

static void on_dropped(void *ctx, macula_client client, uint64_t count) {
  struct link *k = ctx;
  (void)client;
  pthread_mutex_lock(&k->cli->lock);
  k->dropped += count;
  pthread_mutex_unlock(&k->cli->lock);
  cli_wake(k->cli);
}

static int not_let_in(struct cli *cli, int err, const char *text) {
  char source[CONTEXT_SOURCE_LEN];
  const char *server = cli->server;
  const char *what = macula_err_text(err ? err : MACULA_NOT_CONNECTED);
  /* What the node says of a refusal is enough; why nothing answers is a guess that needs the hint. */
  bool same = !text[0] || (err && err != MACULA_NOT_CONNECTED) || strstr(text, what);
  cli_error(macula_err_name(err ? err : MACULA_NOT_CONNECTED), "%s: %s%s%s%s", server && server[0] ? server : "127.0.0.1:9443",
            text[0] ? text : what, same ? "" : "; ", same ? "" : what, context_source(cli, setting_of(cli, err), source));
  return EXIT_NOT_CONNECTED;
}

/* The setting that is wrong is the one that the text quotes. */
static int not_begun(const struct cli *cli, int err, const char *text) {
  const char *const all[] = {cli->server, cli->pass_file, cli->ca_file, cli->realm_key}, *wrong = NULL;
  for (size_t i = 0; i < sizeof all / sizeof all[0] && !wrong; i++)
    if (all[i] && all[i][0] && strstr(text, all[i])) wrong = all[i];
  return bad_setting(cli, err, wrong, text);
}

int cli_connect(struct cli *cli, bool op) {
  int code = cli->loop ? 0 : prepare(cli);
  if (cli->loop && cli->link.client.loop) return 0;
  if (code) return code;
  macula_options o = cli_client_options(cli);
  struct link *k = &cli->link;
  k->cli = cli;
  o.op = op;
  o.on_state = on_state;
  o.on_room = on_room;
  o.on_notice = on_notice;
  o.on_dropped = on_dropped;
  o.ctx = k;
  o.will = cli->will;
  int err = macula_connect(cli->loop, &o, &k->client);
  if (err) return not_begun(cli, err, macula_last_error());
  for (uint64_t until = cli_now() + CONNECT_LIMIT;;) {
    pthread_mutex_lock(&cli->lock);
    bool in = k->state == MACULA_CONNECTED, lost = k->lost;
    struct link seen = *k;
    pthread_mutex_unlock(&cli->lock);
    if (in) return 0;
    if (lost) return not_let_in(cli, seen.err, seen.text);
    switch (cli_wait(cli, until)) {
    case CLI_WOKEN:
      break;
    case CLI_TIMED_OUT:
      return not_let_in(cli, MACULA_NOT_CONNECTED, "no answer while connecting");
    case CLI_SIGNALLED:
      return cli_interrupted();
    case CLI_UNREAD:
      return cli_unread();
    case CLI_READABLE:
      break;
    }
  }
}

int cli_check_link(struct cli *cli) {
  struct link *k = &cli->link;
  pthread_mutex_lock(&cli->lock);
  struct link seen = *k;
  bool back = k->noted && k->state == MACULA_CONNECTED;
  bool gone = k->lost && !k->noted && !back;
  if (gone) k->noted = true;
  if (back) k->noted = false;
  if (k->state == MACULA_CONNECTED) k->lost = false;
  pthread_mutex_unlock(&cli->lock);
  if (seen.state == MACULA_CLOSED) {
    cli_failed(seen.err ? seen.err : MACULA_ECLOSED, NULL, seen.text);
    switch (seen.err) {
    case MACULA_MAX_CLIENTS_REACHED:
    case MACULA_REALM_MISMATCH:
    case MACULA_NOT_AUTHORIZED:
    case MACULA_FORBIDDEN:
    case MACULA_PASS_INVALID:
    case MACULA_PASS_EXPIRED:
    case MACULA_PASS_REVOKED:
    case MACULA_IDENTITY_MISMATCH:
    case MACULA_NOT_CONNECTED:
      return EXIT_NOT_CONNECTED;
    default:
      return EXIT_FAILED;
    }
  }
  if (gone && seen.state != MACULA_CONNECTED) {
    fputs("disconnected, trying again: ", stderr);
    text_put_raw_line(stderr, seen.text[0] ? seen.text : macula_err_text(seen.err));
  }
  if (back || (gone && seen.state == MACULA_CONNECTED)) fputs("connected again\n", stderr);
  return -1;
}

static volatile sig_atomic_t end_code; /* for the signal handler below, which is given no context */
static void give_up(int sig) {
  (void)sig;
  _exit(end_code);
}

void cli_end(struct cli *cli, int code) {
  if (!cli->loop) return;
  end_code = code; /* a callback may hang in a write to a pipe that nobody reads; a node may hold publishes back for 6 s */
  signal(SIGALRM, give_up);
  alarm(8);
  macula_loop_free(cli->loop);
  alarm(0);
  cli->loop = NULL;
  cli->link.client = (macula_client){0};
}

/* ---- the node's own procedures ---------------------------------------------------------------------------------------------
 */
int cli_node_call(macula_client client, const char *what, json_t *args, json_t **ret_json) {
  char name[64], *text = json_dumps(args, JSON_COMPACT), *data = NULL;
  size_t len = 0;
  json_decref(args);
  if (!text) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  snprintf(name, sizeof name, "com.macula.node.%s", what);
  int err, left = 100; /* a long list costs more than one's share of a second */
  while ((err = macula_call_sync(client, name, text, strlen(text), NULL, 10000, &data, &len)) == MACULA_RATE_LIMITED && left--)
    usleep(100000);
  free(text);
  if (err) return cli_failed(err, NULL, macula_last_error());
  json_t *j = json_loadb(data, len, JSON_DECODE_ANY, NULL);
  macula_free(data);
  if (!j) return cli_failed(MACULA_INVALID_JSON, NULL, "the node's answer is not JSON");
  text_clean_json(j);
  *ret_json = j;
  return 0;
}

bool cli_is_id(const char *text) {
  size_t n = strspn(text, "0123456789abcdefABCDEF");
  return n && !text[n] && n <= MACULA_ID_LEN;
}

int cli_node_list(struct cli *cli, const char *what, json_t **ret_rows) {
  json_t *rows = json_array(), *page;
  for (;;) {
    int code = cli_node_call(cli->link.client, what, json_pack("{s:I}", "offset", (json_int_t)json_array_size(rows)), &page);
    if (code) return json_decref(rows), code;
    json_t *more = json_object_get(page, what);
    size_t total = (size_t)json_integer_value(json_object_get(page, "total"));
    bool last = !json_array_size(more) || json_array_size(rows) + json_array_size(more) >= total;
    json_array_extend(rows, more);
    json_decref(page);
    if (!last) continue;
    *ret_rows = rows;
    return 0;
  }
}
