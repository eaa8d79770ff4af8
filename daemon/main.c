/* maculad: a Macula node. Options in options.h, the start and the end of the node in daemon.c. */
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "daemon.h"
#include "environ.h"
#include "macula/macula.h"

extern char **environ;

static int fail(int exit_code, int err, const char *text) {
  fprintf(stderr, "maculad: %s: %s\n", macula_err_name(err), text);
  return exit_code;
}

/* How a user here calls the program beside this one: build/macula, or macula when it is not in this folder. */
static void client_program(char ret[PATH_MAX + 32]) {
  char exe[PATH_MAX], here[PATH_MAX];
  strcpy(ret, "macula");
  ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
  if (n <= 0) return;
  exe[n] = 0;
  char *slash = strrchr(exe, '/');
  if (!slash) return;
  strcpy(slash + 1, "");
  char full[PATH_MAX + 16];
  snprintf(full, sizeof full, "%smacula", exe);
  if (access(full, X_OK) != 0) return;
  size_t len = getcwd(here, sizeof here) ? strlen(here) : 0;
  bool below = len > 1 && !strncmp(full, here, len) && full[len] == '/';
  snprintf(ret, PATH_MAX + 32, "%s%s", below && !strchr(full + len + 1, '/') ? "./" : "", below ? full + len + 1 : full);
}

static void print_examples(const struct daemon *d) {
  static const char *const shown[] = {"", " --token-file FILE", " --pass FILE", ""};
  static const char *const conditions[] = {
      ", as far as the access file allows it",
      ", with a token of the access file, as far as its grant allows it",
      ", with a pass ('macula pass new' makes one), as far as it allows it",
      ", once the access file has your key ('macula id' prints it)",
  };
  char at[ADDR_TEXT_LEN], program[PATH_MAX + 32], options[PATH_MAX + 512] = "";
  size_t used = 0;
  /* Reached on every address: here, on this one. */
  struct addr first = *io_udp_local(d->udp[0]);
  if (first.sa.sa_family == AF_INET && first.v4.sin_addr.s_addr == htonl(INADDR_ANY))
    first.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (first.sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&first.v6.sin6_addr)) first.v6.sin6_addr = in6addr_loopback;
  addr_text(&first, at);
  if (strcmp(at, "127.0.0.1:9443") != 0) used += (size_t)snprintf(options + used, sizeof options - used, " -s %s", at);
  if (strcmp(d->cfg.node.realm, "default") != 0)
    used += (size_t)snprintf(options + used, sizeof options - used, " -r %s", d->cfg.node.realm);
  snprintf(options + used, sizeof options - used, "%s", shown[d->shown]);
  client_program(program);
  printf("\nTry in another terminal%s:\n  %s%s sub 'sensor.**'\n  %s%s pub sensor.kitchen.temp 21.5\n  %s%s status\n\n",
         d->closed ? conditions[d->shown] : "", program, options, program, options, program, options);
}

/* Why the port for MQTT that nobody asked for is closed; empty: it is open, or is to be closed. */
static const char *mqtt_off(const struct daemon *d) { return d->mqtt_off ? d->mqtt_off : d->mqtt.off; }

static void print_banner(const struct daemon *d) {
  char hex[ID_HEX_LEN + 1], at[ADDR_TEXT_LEN];
  id_hex(node_id(d->node), hex);
  printf("node id  %s\n", hex);
  for (size_t i = 0; i < d->cfg.listen.count; i++) {
    addr_text(io_udp_local(d->udp[i]), at);
    printf("listen   %s\n", at);
  }
  for (enum mqtt_kind kind = 0; kind < MQTT_KINDS; kind++)
    for (size_t i = 0; i < mqtt_addrs(&d->cfg, kind)->count && d->mqtt.of[kind].tcp[i]; i++) {
      addr_text(io_tcp_local(d->mqtt.of[kind].tcp[i]), at);
      printf("%-8s %s\n", mqtt_kind_names[kind], at);
    }
  if (!d->mqtt.of[MQTT_TCP].tcp[0]) printf("mqtt     off%s%s\n", *mqtt_off(d) ? ": " : "", mqtt_off(d));
  if (d->http) {
    addr_text(http_local(d->http), at);
    printf("http     http%s://%s/health\n", http_is_tls(d->http) ? "s" : "", at);
  } else {
    printf("http     off\n");
  }
  printf("state    %s\n", d->cfg.state);
  memory_print_choice(stdout, &d->memory);

  print_examples(d);
  fflush(stdout);
}

static json_t *addresses(struct io_tcp *const *tcp) {
  char at[ADDR_TEXT_LEN];
  json_t *list = json_array();
  for (size_t i = 0; i < CONFIG_MAX_LISTEN && tcp[i]; i++) {
    addr_text(io_tcp_local(tcp[i]), at);
    json_array_append_new(list, json_string(at));
  }
  return list;
}

/* What the banner says, for programs that start a node: one line, once it serves. */
static int print_ready(const struct daemon *d) {
  char hex[ID_HEX_LEN + 1], at[ADDR_TEXT_LEN];
  json_t *listen = json_array();
  id_hex(node_id(d->node), hex);
  for (size_t i = 0; i < d->cfg.listen.count; i++) {
    addr_text(io_udp_local(d->udp[i]), at);
    json_array_append_new(listen, json_string(at));
  }
  if (d->http) addr_text(http_local(d->http), at);
  json_t *j = json_pack("{s:s, s:s, s:o, s:s?, s:s}", "event", "ready", "id", hex, "listen", listen, "http",
                        d->http ? at : NULL, "state", d->cfg.state);
  for (enum mqtt_kind kind = 0; j && kind < MQTT_KINDS; kind++)
    if (d->mqtt.of[kind].tcp[0]) json_object_set_new(j, mqtt_kind_names[kind], addresses(d->mqtt.of[kind].tcp));
  if (j && !d->mqtt.of[MQTT_TCP].tcp[0]) json_object_set_new(j, mqtt_kind_names[MQTT_TCP], json_null());
  if (j && *mqtt_off(d)) json_object_set_new(j, "mqtt_off", json_string(mqtt_off(d)));
  int err = !j                                                                                    ? MACULA_ENOMEM
            : json_dumpf(j, stdout, JSON_COMPACT) || fputc('\n', stdout) == EOF || fflush(stdout) ? MACULA_EIO
                                                                                                  : 0;
  json_decref(j);
  return err;
}

#define FILES_BESIDE 128u /* sockets of UDP and HTTP, its own files */

/* Whether each client may have the descriptor that TCP needs; the port for which nobody asked stays closed for it. */
static int check_files(struct daemon *d) {
  struct config *c = &d->cfg;
  struct rlimit files;
  const struct node_limits *l = &c->node.limits;
  uint64_t need = (uint64_t)l->max_clients + l->max_half_open + 2 * (uint64_t)l->http_connections + FILES_BESIDE;
  if (!(c->mqtt.count + c->mqtts.count + c->mqtt_ws.count + c->mqtt_wss.count) || getrlimit(RLIMIT_NOFILE, &files) ||
      files.rlim_cur >= need)
    return 0;
  if (config_close_mqtt(c)) {
    d->mqtt_off = "too few file descriptors for max_clients over TCP: raise them (ulimit -n, LimitNOFILE=), or say mqtt: off";
    return check_files(d);
  }
  fprintf(
      stderr,
      "maculad: %s: too few file descriptors: %u clients over TCP need %llu, and this process may have %llu: raise them with "
      "'ulimit -n %llu' (as root, or with systemd LimitNOFILE=%llu, with docker --ulimit nofile=%llu), or lower max_clients\n",
      macula_err_name(MACULA_EINVAL), l->max_clients, (unsigned long long)need, (unsigned long long)files.rlim_cur,
      (unsigned long long)need, (unsigned long long)need, (unsigned long long)need);
  return 2;
}

static void prepare_process(void) {
  struct rlimit files;
  signal(SIGPIPE, SIG_IGN);
  if (getpid() == 1) signal(SIGCHLD, SIG_IGN); /* in a container: orphans leave no zombies; it starts nothing itself */
  if (!getrlimit(RLIMIT_NOFILE, &files)) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
}

/* The plan against memory_max; 0, or 2 when a line a row says what to lower. The port for MQTT that nobody asked for makes room
 * first. */
static int fit(struct daemon *d) {
  char *text = NULL;
  int err = memory_fit(&d->cfg, "", &d->memory, &text);
  if (err == MACULA_ENOMEM && config_close_mqtt(&d->cfg)) {
    d->mqtt_off = "memory_max leaves no room for clients of MQTT: raise it, or say mqtt: off";
    free(text);
    text = NULL;
    err = memory_fit(&d->cfg, "", &d->memory, &text);
  }
  if (!err) return 0;
  if (text) fprintf(stderr, "maculad: %s: %s", macula_err_name(err), text);
  free(text);
  return text ? 2 : fail(2, err, macula_err_text(err));
}

static int plan(struct daemon *d) {
  int err = 0, code = fit(d);
  if (d->cfg.json)
    err = memory_print_json(stdout, &d->memory);
  else if (d->cfg.yaml)
    err = memory_print_yaml(stdout, &d->memory, &d->cfg);
  else
    memory_print_plan(stdout, &d->memory);
  if (code && err == MACULA_EFULL) return code; /* fit has said why no limits fit */
  if (!code) memory_print_choice(stderr, &d->memory);
  if (err == MACULA_EIO) return fail(1, err, "not all of the output could be written");
  return err ? fail(1, err, macula_err_text(err)) : code;
}

static int check(const struct config *c) {
  struct mem mem = MEM_INIT("access", c->node.limits.access_bytes);
  struct credentials cred;
  char why[CONFIG_WHY_LEN];
  struct access *access;
  int err = credentials_access(c, &mem, &access, why);
  if (!err) err = credentials_load(c, false, access, &cred, why);
  if (err) return fail(2, err, why);
  credentials_done(&cred);
  puts("ok");
  return 0;
}

/* Names unknown MACULA_* variables that are no misspelt options, as they may belong to other programs; in the log when the node
 * runs. */
static void name_unknown(void) {
  struct environ_unknown u;
  for (size_t at = 0; environ_next_unknown((const char *const *)environ, &at, &u);)
    fprintf(stderr, "maculad: warning: the variable %s is no option%s%s; it is not read\n", u.name,
            u.near[0] ? ", nearest is " : "", u.near);
}

static int run(struct daemon *d) {
  char why[CONFIG_WHY_LEN];
  int err = daemon_start(d, why);
  int code = err ? fail(1, err, why) : 0;
  if (!err) {
    if (d->cfg.json)
      err = print_ready(d);
    else
      print_banner(d);
    if (err || (err = daemon_run(d))) code = fail(1, err, macula_err_text(err));
  }
  daemon_stop(d);
  return code;
}

int main(int argc, char **argv) {
  struct daemon d = {.argc = argc, .argv = (const char *const *)argv, .lock_fd = -1, .statm = -1};
  char why[CONFIG_WHY_LEN];
  char *help;
  int code = 0;
  environ_open_standard();
  prepare_process();
  hooks_install(&d.hooks);
  int err = config_load(argc, d.argv, (const char *const *)environ, &d.cfg, why);
  if (!err && (d.cfg.mode == CONFIG_CHECK || d.cfg.mode == CONFIG_PLAN)) name_unknown();
  if (err)
    code = fail(2, err, why);
  else
    switch (d.cfg.mode) {
    case CONFIG_RUN:
      if (!(code = fit(&d)) && !(code = check_files(&d))) code = run(&d);
      break;
    case CONFIG_CHECK:
      if (!(code = fit(&d))) code = check(&d.cfg);
      break;
    case CONFIG_PLAN:
      code = plan(&d);
      break;
    case CONFIG_HELP:
      if (!(help = config_help())) return fail(1, MACULA_ENOMEM, macula_err_text(MACULA_ENOMEM));
      fputs(help, stdout);
      free(help);
      break;
    case CONFIG_VERSION:
      puts("maculad " MACULA_VERSION);
      break;
    case CONFIG_MAN:
    case CONFIG_EXAMPLE:
      config_print_limits(d.cfg.mode, stdout);
      break;
    }
  if (!code && d.cfg.mode != CONFIG_RUN && (fflush(stdout) || ferror(stdout)))
    code = fail(1, MACULA_EIO, "not all of the output could be written");
  config_done(&d.cfg);
  return code;
}
