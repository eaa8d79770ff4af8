/* Nodes under load: processes of maculad beside this program or in PATH, or given by --nodes. */
#include "load/drive/nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cli.h"
#include "io/io.h"
#include "lib/server.h"
#include "load/drive/watch.h"
#include "load/report/report.h"

#define START_MS 20000
#define MAX_ARGS 40
#define GIVEN_IDLE_S 90
#define PORT_TRIES 50 /* other programs take ports, too */
#define PORT_LEAP 100 /* another load takes one after the other as we do: past it */

/* ---- ports and descriptors --------------------------------------------------------------------------------------------------
 */
static bool port_is_free(uint16_t port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
  if (fd >= 0) close(fd);
  return ok;
}

uint16_t load_port(struct load *l) {
  if (!l->next_port) l->next_port = LOAD_PORT;
  for (; l->next_port && l->next_port < 65535; l->next_port++) {
    if (port_is_free(l->next_port)) return l->next_port++;
    if (!l->said_port) load_note(l, "UDP port %u is in use by another program: others are taken", l->next_port);
    l->said_port = true;
  }
  return 0;
}

bool load_need_files(uint64_t files) {
  struct rlimit r;
  char a[32], b[32];
  if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= files) return true;
  if (r.rlim_max >= files) {
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) == 0) return true;
  }
  cli_error(macula_err_name(MACULA_EFULL),
            "%s needs %s open files and the limit is %s: raise it with ulimit -n %llu (hard limit: LimitNOFILE or "
            "/etc/security/limits.conf)%s",
            files > LOAD_FILES ? "this scale" : "a load of any size", text_number(files, a), text_number(r.rlim_max, b),
            (unsigned long long)files, files > LOAD_FILES ? ", or ask for less with --scale" : "");
  return false;
}

/* ---- processes --------------------------------------------------------------------------------------------------------------
 */
struct spawn {
  struct load *l;
  struct load_node *n;
  const char *argv[MAX_ARGS];
  int out, err; /* files of the child */
};

/* On the main thread: PR_SET_PDEATHSIG follows the thread that forked. A group of its own, so that Ctrl-C reaches us alone. */
static int spawn(void *ctx) {
  struct spawn *s = ctx;
  sigset_t none;
  pid_t pid = fork();
  if (pid < 0) return MACULA_ENOMEM;
  if (pid == 0) {
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(null, 0);
    dup2(s->out, 1);
    dup2(s->err, 2);
    unsetenv("NOTIFY_SOCKET");
    execvp(s->argv[0], (char *const *)s->argv);
    dprintf(2, "cannot run %s: %s%s\n", s->argv[0], strerror(errno),
            strchr(s->argv[0], '/') ? "" : " (it is neither beside macula nor in PATH)");
    _exit(127);
  }
  s->n->pid = pid;
  return 0;
}

static void last_lines(const struct load_node *n, char *ret, size_t cap) {
  int fd = load_node_log(n);
  ret[0] = 0;
  if (fd < 0) return;
  off_t size = lseek(fd, 0, SEEK_END), from = size > (off_t)cap - 1 ? size - ((off_t)cap - 1) : 0;
  ssize_t k = pread(fd, ret, cap - 1, from);
  ret[k > 0 ? k : 0] = 0;
  close(fd);
  for (char *p = ret; *p; p++)
    if (*p == '\n') *p = p[1] ? '|' : 0;
}

static bool is_stopping(struct load *l) {
  pthread_mutex_lock(&l->lock);
  bool stopping = l->stopping;
  pthread_mutex_unlock(&l->lock);
  return stopping;
}

/* The banner is read until it names the id and is whole; its last line shows `macula status`. Without the lock: a node that is
 * slow to start would hold up the loop, and that would pass for a machine that stood still. */
static int read_banner(struct load_node *n, int fd) {
  char text[4096];
  size_t used = 0;
  nanotime until = io_now() + START_MS * NS_MS;
  text[0] = 0;
  while (!strstr(text, " status\n") && used < sizeof text - 1) {
    struct pollfd p = {fd, POLLIN, 0};
    int ready = poll(&p, 1, 100);
    if (ready <= 0 && is_stopping(n->l)) return MACULA_CANCELLED;
    if (ready == 0 && io_now() < until) continue;
    if (ready <= 0 || io_now() >= until) break;
    ssize_t k = read(fd, text + used, sizeof text - 1 - used);
    if (k <= 0) break;
    used += (size_t)k;
    text[used] = 0;
  }
  char *id = strstr(text, "node id  "), *at = strstr(text, "\nlisten   "), *mqtt = strstr(text, "\nmqtt     ");
  if (!id || !at || !strstr(text, " status\n") || id_parse(slice_of(id + 9, ID_HEX_LEN), &n->id)) return MACULA_EIO;
  if (mqtt) {
    mqtt += 10;
    mqtt[strcspn(mqtt, "\r\n")] = 0;
    if (strncmp(mqtt, "off", 3) != 0 && addr_parse(mqtt, 0, &n->mqtt)) return MACULA_EIO;
  }
  at += 10;
  at[strcspn(at, "\r\n")] = 0;
  id[9 + ID_HEX_LEN] = 0;
  snprintf(n->text, sizeof n->text, "macula://%s@%s", id + 9, at);
  return addr_parse(at, 0, &n->addr);
}

static int failed_to_start(struct load_node *n, const char *program) {
  char tail[600];
  struct statvfs fs;
  last_lines(n, tail, sizeof tail);
  bool full = statvfs(n->l->folder, &fs) == 0 && !fs.f_bavail;
  if (full && !tail[0]) /* it could not even say so */
    cli_error(macula_err_name(MACULA_EIO), "%s did not start: no space is left for its state in %s: free some, or set TMPDIR",
              program, n->l->folder);
  else
    cli_error(macula_err_name(MACULA_EIO), "%s did not start: %s", program, tail[0] ? tail : "it said nothing");
  return EXIT_FAILED;
}

static struct load_node *add_node(struct load *l) {
  struct load_node *n = l->node_count < LOAD_MAX_NODES ? calloc(1, sizeof *n) : NULL;
  if (!n) return NULL;
  n->l = l;
  l->nodes[l->node_count++] = n;
  snprintf(n->name, sizeof n->name, "n%zu", l->node_count);
  return n;
}

/* Runs it on this port. MACULA_EBUSY: another program was faster to take it. */
static int start_at(struct load_task *t, const struct load_start *how, struct load_node *n, uint16_t port) {
  struct load *l = t->l;
  int pipe_fd[2], argc = 0;
  char state[PATH_MAX + 16], listen[64], log[PATH_MAX + 16], idle[16], tail[600];
  snprintf(state, sizeof state, "%s/state", n->folder);
  snprintf(log, sizeof log, "%s/log", n->folder);
  snprintf(listen, sizeof listen, "127.0.0.1:%u", port);
  snprintf(idle, sizeof idle, "%us", l->idle_s * LOAD_SLOWER);
  struct spawn s = {.l = l, .n = n};
  /* Records of the DHT live as long as a service: a short TTL, so that those which nobody withdrew are gone after a minute of
   * rest.
   */
  const char *const usual[] = {l->maculad, "--listen",      listen,   "--http",  "off",
                               "--state",  state,           "--name", n->name,   "--idle-timeout",
                               idle,       "--service-ttl", "30s",    "--realm", l->cli->realm ? l->cli->realm : "default"};
  for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) s.argv[argc++] = usual[i];
  if (how->advertise) {
    s.argv[argc++] = "--advertise";
    s.argv[argc++] = how->advertise;
  }
  bool mqtt = false;
  for (const char *const *a = how->args; a && *a && argc < MAX_ARGS - 3; a++) {
    mqtt |= !strcmp(*a, "--mqtt");
    s.argv[argc++] = *a;
  }
  if (!mqtt) { /* each but the first would say that the port is taken */
    s.argv[argc++] = "--mqtt";
    s.argv[argc++] = "off";
  }
  s.err = open(log, O_WRONLY | O_CREAT | O_CLOEXEC | O_TRUNC, 0600);
  if (s.err < 0 || pipe2(pipe_fd, O_CLOEXEC) != 0) {
    if (s.err >= 0) close(s.err);
    return MACULA_EIO;
  }
  s.out = pipe_fd[1];
  int err = load_on_main(t, spawn, &s);
  close(pipe_fd[1]);
  close(s.err);
  if (!err) {
    pthread_mutex_unlock(&l->lock);
    err = read_banner(n, pipe_fd[0]);
    pthread_mutex_lock(&l->lock);
  }
  close(pipe_fd[0]);
  if (err != MACULA_EIO) return err;
  kill(n->pid, SIGKILL);
  while (waitpid(n->pid, NULL, 0) < 0 && errno == EINTR) continue;
  n->pid = 0;
  last_lines(n, tail, sizeof tail);
  return strstr(tail, "maculad: busy: UDP port") ? MACULA_EBUSY : err;
}

void load_node_role(struct load_node *n, const char *role) { snprintf(n->role, sizeof n->role, "%s", role); }

int load_node_start_with(struct load_task *t, const struct load_start *how, struct load_node **ret_node) {
  struct load *l = t->l;
  struct load_node *n = add_node(l);
  int err = MACULA_EBUSY;
  if (!n) return cli_failed(MACULA_EFULL, NULL, "too many nodes");
  snprintf(n->folder, sizeof n->folder, "%.4000s/%s", l->folder, n->name);
  mkdir(n->folder, 0700);
  load_node_role(n, how->role);
  for (int i = 0; i < PORT_TRIES && err == MACULA_EBUSY; i++) {
    if (i && l->next_port < 60000) l->next_port += PORT_LEAP;
    uint16_t port = load_port(l);
    if (!port) return cli_failed(MACULA_EFULL, NULL, "no UDP port from 5001 on is free: end what holds them, or lower --scale");
    err = start_at(t, how, n, port);
  }
  if (err == MACULA_CANCELLED) return EXIT_FAILED;
  if (err) return failed_to_start(n, l->maculad);
  if ((err = load_watch_start(n))) return err;
  load_fresh(t, n);
  *ret_node = n;
  return 0;
}

int load_node_start(struct load_task *t, const char *role, const char *const *args, struct load_node **ret_node) {
  struct load_start how = {.role = role, .args = args};
  return load_node_start_with(t, &how, ret_node);
}

unsigned load_idle_s(const struct load_node *n) { return n->given ? GIVEN_IDLE_S : n->l->idle_s * LOAD_SLOWER; }

int load_node_take(struct load_task *t, const char *role, const char *const *args, struct load_node **ret_node) {
  if (!t->l->o.nodes) return load_node_start(t, role, args, ret_node);
  *ret_node = t->l->nodes[0];
  load_node_role(*ret_node, role);
  return load_fresh(t, *ret_node) ? 0 : EXIT_FAILED;
}

static int resolve(const char *host_port, struct addr *ret_addr) {
  char host[256];
  const char *colon = strrchr(host_port, ':');
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM}, *list = NULL;
  snprintf(host, sizeof host, "%.*s", (int)(colon - host_port), host_port);
  if (getaddrinfo(host, colon + 1, &hints, &list) != 0 || !list) return MACULA_ENOTFOUND;
  memset(ret_addr, 0, sizeof *ret_addr);
  memcpy(&ret_addr->v4, list->ai_addr, sizeof ret_addr->v4);
  freeaddrinfo(list);
  return 0;
}

int load_nodes_given(struct load *l) {
  char *copy = strdup(l->o.nodes), *save = NULL;
  int code = 0;
  for (char *at = copy ? strtok_r(copy, ",", &save) : NULL; at && !code; at = strtok_r(NULL, ",", &save)) {
    struct server server;
    char why[SERVER_WHY_LEN];
    struct load_node *n = add_node(l);
    if (!n) code = cli_failed(MACULA_EFULL, NULL, "at most 64 nodes can be given");
    if (!code && server_parse(at, &server, why)) {
      cli_error("invalid_argument", "--nodes: %s", why);
      code = EXIT_USAGE;
    }
    if (!code && resolve(server.host_port, &n->addr)) {
      cli_error("invalid_argument", "--nodes: cannot find an IPv4 address of '%.200s'", server.host_port);
      code = EXIT_USAGE;
    }
    if (code) break;
    if (server.pinned) n->id = server.pin;
    n->given = true;
    load_node_role(n, "only watched");
    snprintf(n->text, sizeof n->text, "%.350s", at); /* whole: a child dials it */
    code = load_watch_start(n);
  }
  free(copy);
  if (!code && !l->node_count) {
    cli_error("invalid_argument", "--nodes names no node: write ADDR,ADDR...");
    code = EXIT_USAGE;
  }
  return code;
}

/* ---- ends -------------------------------------------------------------------------------------------------------------------
 */
void load_nodes_look(struct load *l) {
  for (size_t i = 0; i < l->node_count; i++) {
    struct load_node *n = l->nodes[i];
    int status;
    char tail[320], how[64];
    if (!n->pid || (!n->op && !n->has_sample)) continue; /* still being started: load_node_start watches it */
    if (waitpid(n->pid, &status, WNOHANG) != n->pid) continue;
    n->pid = 0;
    if (WIFSIGNALED(status))
      snprintf(how, sizeof how, "killed by signal %d", WTERMSIG(status));
    else
      snprintf(how, sizeof how, "ended with exit code %d", WEXITSTATUS(status));
    last_lines(n, tail, sizeof tail);
    snprintf(n->why, sizeof n->why,
             "%s after %.1f s; last seen: %llu clients, %llu services, %llu bytes resident; its log: %.300s", how,
             load_seconds(l), (unsigned long long)n->now[FIG_CLIENTS], (unsigned long long)n->now[FIG_SERVICES],
             (unsigned long long)n->now[FIG_RSS], tail);
    text_make_utf8(n->why);
    n->lost = true;
    l->stopping = true;
  }
}

void load_node_stop(struct load_node *n) {
  load_watch_end(n);
  if (!n->pid) return;
  kill(n->pid, SIGKILL); /* nobody is left to say goodbye to, and its state folder goes with the run */
  while (waitpid(n->pid, NULL, 0) < 0 && errno == EINTR) continue;
  n->pid = 0;
}

void load_nodes_end(struct load *l) {
  for (size_t i = 0; i < l->node_count; i++) load_node_stop(l->nodes[i]);
}
