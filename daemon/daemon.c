#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/sanitized.h"
#include "environ.h"
#include "heap.h"
#include "io/io.h"
#include "notify.h"
#include "quic/quic.h"

#define UPKEEP_MS 5000
#define DRAIN_LOOK_MS 20
#define SAMPLE_MS 1000

extern char **environ;

/* ---- memory ----------------------------------------------------------------------------------------------------------------
 */
static uint64_t rss_bytes(void *ctx) {
  const struct daemon *d = ctx;
  char text[128];
  unsigned long long size, resident;
  ssize_t n = pread(d->statm, text, sizeof text - 1, 0);
  if (n <= 0) return 0;
  text[n] = 0;
  return sscanf(text, "%llu %llu", &size, &resident) == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t heap_bytes(void *ctx) {
  (void)ctx;
  return heap_used();
}

static void trim(void *ctx) {
  (void)ctx;
  heap_give_back();
}

static bool spent(void *ctx) { return io_loop_spent(((struct daemon *)ctx)->loop); }
static void did(void *ctx, const char *what) { io_loop_did(((struct daemon *)ctx)->loop, what); }
static const struct turns *turns(void *ctx) { return io_loop_turns(((struct daemon *)ctx)->loop); }
static uint64_t longest_turn(void *ctx) { return io_loop_longest_turn(((struct daemon *)ctx)->loop); }
static int invite(void *ctx, struct slice user, struct slice grant, const struct pass_kept *pass, nanotime now,
                  char **ret_json) {
  struct daemon *d = ctx;
  return d->http ? http_invite(d->http, user, grant, pass, now, ret_json) : MACULA_ENOTFOUND;
}
static int check_password(void *ctx, struct slice hash, struct slice password, nanotime now, bool may_wait,
                          uint8_t ret_key[PASSWORD_KEY_LEN], bool *ret_known) {
  return passwords_check(((struct daemon *)ctx)->passwords, hash, password, now, may_wait, ret_key, ret_known);
}
static void on_password(void *ctx, const uint8_t key[PASSWORD_KEY_LEN], bool good) {
  struct daemon *d = ctx;
  node_password_checked(d->node, key, good);
  io_loop_wake(d->loop);
}
static bool busy(void *ctx) { return node_busy(ctx); }

/* Under a sanitizer resident memory tells nothing about the node. */
#if ADDRESS_SANITIZED || THREAD_SANITIZED
#define WATCHED false
#else
#define WATCHED true
#endif

static void on_log(void *ctx, enum log_level level, const char *event, const char *fields) {
  struct daemon *d = ctx;
  if (level <= d->log_level) logsink_write(&d->sink, level, event, fields);
  if (d->node) node_note(d->node, level, event, fields);
}

static void set_log_level(struct daemon *d, enum log_level level) {
  d->log_level = level;
  d->log.level = level > LOG_INFO ? level : LOG_INFO;
}

/* ---- timer and signals -----------------------------------------------------------------------------------------------------
 */
static void on_upkeep(uv_timer_t *t) {
  struct daemon *d = t->data;
  switch (d->phase) {
  case DAEMON_RUNNING:
    node_set_clock(d->node, io_unix_ms(), io_now());
    mesh_upkeep(d->mesh);
    if (io_loop_serves(d->loop, io_now()))
      notify_alive();
    else
      log_error(&d->log, "not_live",
                "text=\"no datagram moves though there are some: /live says no, and so hears the watchdog\"");
    break;
  case DAEMON_DRAINING:
    if (!d->drain_asked || !node_drained(d->node, io_now())) break;
    d->phase = DAEMON_DRAINED;
    io_loop_wake(d->loop);
    break;
  case DAEMON_DRAINED:
    io_loop_stop(d->loop);
    break;
  }
}

static void on_sample(uv_timer_t *t) {
  struct daemon *d = t->data;
  node_sample(d->node, io_now());
  io_loop_did(d->loop, "history");
}

/* Runs in a turn, so that what it queues is sent at its end. */
static void on_wake(void *ctx, nanotime now) {
  struct daemon *d = ctx;
  http_turn(d->http);
  if (d->phase != DAEMON_DRAINING || d->drain_asked) return;
  d->drain_asked = true;
  node_drain(d->node, now);
}

static struct http_options http_options(const struct config *c, const struct credentials *cred) {
  return (struct http_options){.token = cred->http_token,
                               .cert = cred->http_cert,
                               .key = cred->http_key,
                               .hosts = c->http_hosts,
                               .origins = c->http_origins,
                               .connections = c->node.limits.http_connections,
                               .share = c->node.limits.http_share};
}

/* Whether the running node can change to what was read. */
static int check_wanted(struct daemon *d, struct config *wanted, char ret_why[CONFIG_WHY_LEN]) {
  struct memory_fit fit;
  char *text = NULL, names[CONFIG_WHY_LEN];
  if (!d->cfg.mqtt.count) config_close_mqtt(wanted);
  struct node_limits l = d->cfg.node.limits; /* as those do that need one, in the plan, too */
  node_limits_reload(&l, &wanted->node.limits);
  wanted->node.limits = l;
  wanted->memory = d->cfg.memory; /* stays until a restart */
  int err = memory_fit(wanted, "", &fit, &text);
  if (err)
    snprintf(ret_why, CONFIG_WHY_LEN, "%.*s; maculad --plan shows more", text ? (int)strcspn(text, "\n") : 0, text ? text : "");
  free(text);
  if (!err && config_fixed_changes(&d->cfg, wanted, names)) {
    err = MACULA_EINVAL;
    snprintf(ret_why, CONFIG_WHY_LEN, "%.300s: changed, and a running node cannot change that: restart it, or take it back",
             names);
  }
  if (!err && d->closed && !wanted->access && !wanted->realm_keys.count) {
    err = MACULA_EINVAL;
    snprintf(ret_why, CONFIG_WHY_LEN, "access: a running node is not opened to everybody: restart it for that, or name a file");
  }
  return err;
}

static int change(struct daemon *d, const struct config *wanted, const struct credentials *cred, char ret_why[CONFIG_WHY_LEN]) {
  struct slice pass = slice_of(cred->pass, cred->pass_len);
  struct node_reload r = {.limits = &wanted->node.limits,
                          .access = cred->access,
                          .pass = &pass,
                          .identity = cred->identity,
                          .ca_pem = cred->ca_pem};
  int err = node_reload(d->node, &r);
  if (!err) mesh_read_revoked(d->mesh); /* of realms that are trusted since now */
  struct http_options h = http_options(wanted, cred);
  if (!err && d->http) err = http_set(d->http, &h);
  if (!err) err = mqtt_ports_set(&d->mqtt, wanted, cred->identity);
  if (err) snprintf(ret_why, CONFIG_WHY_LEN, "%s", macula_err_text(err));
  return err;
}

static void on_reload(void *ctx) {
  (void)ctx;
  notify_reloading(io_now());
}

static void on_reloaded(void *ctx, const struct reload_result *read) {
  struct daemon *d = ctx;
  struct config wanted = read->config;
  struct credentials cred = {0};
  struct access *access = read->access;
  char why[CONFIG_WHY_LEN];
  int err = d->phase == DAEMON_RUNNING ? read->err : MACULA_SHUTTING_DOWN;
  snprintf(why, sizeof why, "%s", read->err ? read->why : macula_err_text(err));
  if (!err) err = check_wanted(d, &wanted, why);
  if (!err) {
    err = credentials_load(&wanted, false, access, &cred, why);
    access = NULL;
  }
  if (!err) err = change(d, &wanted, &cred, why);
  if (err) {
    log_error(&d->log, "reload_failed", "code=%s text=\"%s\"", macula_err_name(err), why);
  } else {
    set_log_level(d, wanted.log_level);
    d->sink.json = wanted.log_json;
    d->closed |= wanted.access || wanted.realm_keys.count;
    log_info(&d->log, "reloaded", "file=\"%s\" access=\"%s\"", wanted.file ? wanted.file : "",
             wanted.access ? wanted.access : "");
  }
  access_unref(access);
  credentials_done(&cred);
  config_done(&wanted);
  if (d->phase == DAEMON_RUNNING) notify_ready(err ? "reload failed" : "reloaded");
}

static void on_signal(uv_signal_t *s, int number) {
  struct daemon *d = s->data;
  if (number == SIGHUP) {
    if (d->phase == DAEMON_RUNNING) reload_ask(&d->reload);
    io_loop_did(d->loop, "reload");
    return;
  }
  if (d->phase != DAEMON_RUNNING) {
    log_warn(&d->log, "killed", "text=\"second signal: clients were not waited for\"");
    _exit(128 + number);
  }
  d->phase = DAEMON_DRAINING;
  mesh_save(d->mesh); /* while they are there */
  notify_stopping();
  log_info(&d->log, "stopping", "signal=%s", number == SIGINT ? "SIGINT" : "SIGTERM");
  uv_timer_start(&d->upkeep, on_upkeep, 0, DRAIN_LOOK_MS);
  io_loop_wake(d->loop);
}

/* ---- start and stop --------------------------------------------------------------------------------------------------------
 */
/* Folders above the state folder, as mkdir -p. */
static void make_parents(const char *dir) {
  char path[PATH_MAX];
  if (strlen(dir) >= sizeof path) return;
  strcpy(path, dir);
  for (char *p = path + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    mkdir(path, 0755); /* what is wrong with the path is seen when the folder itself is opened */
    *p = '/';
  }
}

static int open_state(struct daemon *d, char *ret_why) {
  char why[256];
  make_parents(d->cfg.state);
  int err = io_state_open(d->cfg.state, &d->lock_fd, why);
  if (err == MACULA_EBUSY)
    snprintf(ret_why, CONFIG_WHY_LEN,
             "state folder %.300s is in use by another maculad: stop that one, or give another folder with --state DIR",
             d->cfg.state);
  else if (err)
    snprintf(ret_why, CONFIG_WHY_LEN, "%.255s; give another folder with --state DIR", why);
  else
    io_state_sweep(d->cfg.state, (const char *const[]){IDENTITY_FILE, MESH_FILES, NULL});
  return err;
}

static int open_http(struct daemon *d, const struct credentials *cred, char *ret_why) {
  char why[256];
  if (d->cfg.http.off) return 0;
  struct http_options o = http_options(&d->cfg, cred);
  int err = http_start(d->loop, d->node, &d->log, &d->cfg.http.at, &o, &d->http, why);
  if (err == MACULA_EBUSY && !config_is_set(&d->cfg, OPTION_HTTP)) {
    log_warn(&d->log, "http_off", "text=\"%s\"", why);
    return 0;
  }
  if (err) snprintf(ret_why, CONFIG_WHY_LEN, "%s", why);
  return err;
}

static void name_unknown(const struct daemon *d) {
  struct environ_unknown u;
  for (size_t at = 0; environ_next_unknown((const char *const *)environ, &at, &u);)
    log_warn(&d->log, "unknown_variable", "name=%s nearest=%s text=\"no option; it is not read\"", u.name,
             u.near[0] ? u.near : "none");
}

static enum daemon_shown shown_for(const struct access *a) {
  size_t tokens, realms;
  if (!a || access_default(a)) return SHOWN_NOTHING;
  (void)access_tokens(a, &tokens);
  (void)access_realms(a, &realms);
  return tokens ? SHOWN_TOKEN : realms ? SHOWN_PASS : SHOWN_KEY;
}

static int make_node(struct daemon *d, const struct credentials *cred, nanotime now) {
  char host[65] = "";
  gethostname(host, sizeof host - 1);
  struct node_config n = d->cfg.node;
  if (!n.name) n.name = host;
  n.rng = io_rng();
  n.log = &d->log;
  n.identity = cred->identity;
  n.ca_pem = cred->ca_pem;
  n.access = cred->access;
  n.pass = slice_of(cred->pass, cred->pass_len);
  n.access_mem = &d->access_mem;
  n.passwords_mem = &d->passwords_mem;
  d->closed = cred->access != NULL;
  d->shown = shown_for(cred->access);
  n.unix_base_ms = io_unix_ms() - now / NS_MS;
  n.advertise = d->advertise;
  n.last_seq = mesh_last_seq(&d->cfg, &d->log);
  d->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  n.process = (struct node_process){.ctx = d,
                                    .spent = spent,
                                    .did = did,
                                    .turns = turns,
                                    .longest_turn = longest_turn,
                                    .rss_bytes = rss_bytes,
                                    .heap_bytes = heap_bytes,
                                    .give_back = WATCHED ? trim : NULL,
                                    .password = check_password,
                                    .login = invite};
  n.tls_mem = &d->hooks.tls;
  n.json_mem = &d->hooks.json;
  int err = node_new(&n, now, &d->node);
#ifdef MACULA_TEST_UNBOUNDED
  const char *which = getenv("MACULA_TEST_UNBOUNDED");
  if (!err && which) node_unbound(d->node, (unsigned)atoi(which));
#endif
  return err;
}

/* A node that accepts no connections still dials, from any of its addresses. IPv6 may be missing. */
static void open_dial_only(struct daemon *d) {
  static const char *const any[2] = {"0.0.0.0:0", "[::]:0"};
  char why[256];
  for (int i = 0; d->cfg.node.hidden && i < 2; i++) {
    struct io_udp_options o = {.icmp_errors = true};
    if (addr_parse(any[i], 0, &o.bind) || io_udp_open(d->loop, &o, &d->out[i], why))
      log_warn(&d->log, "no_dial_socket", "address=%s text=\"%s\"", any[i], why);
    else
      quic_dial_only(node_quic(d->node), addr_port(io_udp_local(d->out[i])));
  }
}

static int open_udp(struct daemon *d, char *ret_why) {
  char why[256], at[ADDR_TEXT_LEN];
  for (size_t i = 0; i < d->cfg.listen.count; i++) {
    struct io_udp_options o = {.bind = d->cfg.listen.at[i], .icmp_errors = true};
    int err = io_udp_open(d->loop, &o, &d->udp[i], why);
    if (err == MACULA_EBUSY) {
      addr_text(&o.bind, at);
      snprintf(ret_why, CONFIG_WHY_LEN,
               "UDP port %s is in use: stop the program that has it, or give another with --listen ADDR:PORT", at);
    } else if (err) {
      snprintf(ret_why, CONFIG_WHY_LEN, "%.255s", why);
    }
    if (err) return err;
  }
  open_dial_only(d);
  struct addr sockets[CONFIG_MAX_LISTEN + 2];
  size_t count = 0;
  for (size_t i = 0; i < 2; i++)
    if (d->out[i]) sockets[count++] = *io_udp_local(d->out[i]);
  for (size_t i = 0; i < d->cfg.listen.count; i++) sockets[count++] = *io_udp_local(d->udp[i]);
  node_set_sockets(d->node, sockets, count);
  quic_set_large(node_quic(d->node), true);
  if (!io_udp_gso(d->loop)) quic_set_max_segments(node_quic(d->node), 1);
  return 0;
}

static void watch_signals(struct daemon *d) {
  static const int numbers[3] = {SIGINT, SIGTERM, SIGHUP};
  uv_loop_t *uv = io_loop_uv(d->loop);
  for (int i = 0; i < 3; i++) {
    uv_signal_init(uv, &d->signals[i]);
    d->signals[i].data = d;
    uv_signal_start(&d->signals[i], on_signal, numbers[i]);
  }
  d->reload = (struct reload){.uv = uv,
                              .argc = d->argc,
                              .argv = d->argv,
                              .env = (const char *const *)environ,
                              .access_mem = &d->access_mem,
                              .begin = on_reload,
                              .done = on_reloaded,
                              .ctx = d};
  uint64_t watchdog = notify_watchdog() / NS_MS / 2;
  d->upkeep_ms = watchdog && watchdog < UPKEEP_MS ? watchdog : UPKEEP_MS;
  uv_timer_init(uv, &d->upkeep);
  d->upkeep.data = d;
  uv_timer_start(&d->upkeep, on_upkeep, d->upkeep_ms, d->upkeep_ms);
  uv_timer_init(uv, &d->sample);
  d->sample.data = d;
}

int daemon_start(struct daemon *d, char ret_why[CONFIG_WHY_LEN]) {
  struct credentials cred = {0};
  struct access *access = NULL;
  d->lock_fd = -1;
  logsink_init(&d->sink, d->cfg.log_json);
  d->log = (struct log){.sink = on_log, .ctx = d};
  set_log_level(d, d->cfg.log_level);
  d->access_mem = MEM_INIT("access", d->cfg.node.limits.access_bytes);
  d->passwords_mem = MEM_INIT("passwords", 0);
  ret_why[0] = 0;
  name_unknown(d);
  if (d->mqtt_off) log_warn(&d->log, "mqtt_off", "text=\"%s\"", d->mqtt_off);
  int err = open_state(d, ret_why);
  if (!err) err = credentials_access(&d->cfg, &d->access_mem, &access, ret_why);
  if (!err) err = credentials_load(&d->cfg, true, access, &cred, ret_why);
  if (!err && d->cfg.advertise) err = mesh_advertise(d->cfg.advertise, &d->advertise, ret_why);
  if (!err) err = io_loop_new(&d->log, &d->loop);
  if (!err) {
    watch_signals(d);
    err = passwords_new(io_loop_uv(d->loop), &d->passwords_mem, io_rng(), on_password, d, &d->passwords);
  }
  if (!err) {
    err = make_node(d, &cred, io_now());
  }
  if (!err) err = disk_open(d->loop, d->node, &d->log, &d->cfg, &d->disk, ret_why);
  if (!err) {
    struct endpoint ep = node_endpoint(d->node);
    io_loop_set_endpoint(d->loop, &ep);
    io_loop_on_wake(d->loop, on_wake, d);
    io_loop_on_busy(d->loop, busy, d->node);
    err = open_udp(d, ret_why);
  }
  if (!err) err = mqtt_ports_open(d->loop, d->node, &d->log, &d->cfg, cred.identity, &d->mqtt, ret_why);
  if (!err) err = open_http(d, &cred, ret_why);
  if (!err) err = mesh_start(d->loop, d->node, &d->log, &d->cfg, &d->mesh);
  credentials_done(&cred);
  if (err && !ret_why[0]) snprintf(ret_why, CONFIG_WHY_LEN, "%s", macula_err_text(err));
  return err;
}

int daemon_run(struct daemon *d) {
  char hex[ID_HEX_LEN + 1];
  id_hex(node_id(d->node), hex);
  log_info(&d->log, "started", "node=%s realm=%s", hex, d->cfg.node.realm);
  notify_ready("serving");
  uv_timer_start(&d->sample, on_sample, 0, SAMPLE_MS);
  int err = io_loop_run(d->loop);
  if (!err) log_info(&d->log, "stopped", "uptime_s=%.0f", node_uptime_s(d->node, io_now()));
  return err;
}

void daemon_stop(struct daemon *d) {
  if (d->loop) {
    reload_stop(&d->reload);
    passwords_free(d->passwords);
    d->passwords = NULL;
    http_close(d->http);
    mqtt_ports_close(&d->mqtt);
    if (d->mesh) mesh_save(d->mesh);
    mesh_close(d->mesh);
    disk_close(d->disk);
    for (int i = 0; i < 3; i++) uv_close((uv_handle_t *)&d->signals[i], NULL);
    uv_close((uv_handle_t *)&d->upkeep, NULL);
    uv_close((uv_handle_t *)&d->sample, NULL);
    uv_run(io_loop_uv(d->loop), UV_RUN_NOWAIT); /* lets libuv forget these handles */
    io_loop_free(d->loop);
  }
  struct node *n = d->node;
  d->node = NULL; /* what is logged from now on is not kept */
  node_free(n);
  if (d->statm >= 0) close(d->statm);
  if (d->lock_fd >= 0) close(d->lock_fd);
}
