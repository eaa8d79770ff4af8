/* Clients in a process of their own, to be ended by SIGKILL: `macula load streams --nodes ADDR --child COUNT,STREAMS,PREFIX`,
 * or another scenario's with a spec of its own. It says "ready" on its standard output when they are all in and have what they
 * asked for, and goes when its standard input ends, so that none is left over whatever becomes of its parent. */
#include "load/drive/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cli.h"
#include "io/io.h"
#include "load/drive/abuse.h"
#include "load/drive/crowd.h"
#include "load/drive/nodes.h"
#include "load/drive/watch.h"

#define AT_ONCE 32

struct load_child {
  struct list all; /* load.children */
  pid_t pid;
  int in, out;
  char said[64];
  size_t said_len;
  bool ready;
  int err;
};

/* ---- the parent's side ------------------------------------------------------------------------------------------------------
 */
struct spawn {
  struct load *l;
  struct load_child *child;
  const char *scenario, *spec;
  char nodes[360]; /* empty: none */
  bool given;      /* the node is: those that load starts itself know no token */
  int in, out;
};

static int spawn(void *ctx) { /* on the main thread, which PR_SET_PDEATHSIG follows */
  struct spawn *s = ctx;
  sigset_t none;
  const struct cli *cli = s->l->cli;
  const char *realm = cli->realm ? cli->realm : "default";
  const char *argv[20] = {s->l->self, "load", s->scenario, "--child", s->spec, "-r", realm};
  size_t argc = 7;
  if (s->nodes[0]) argv[argc++] = "--nodes", argv[argc++] = s->nodes;
  if (cli->token_file && s->given) argv[argc++] = "--token-file", argv[argc++] = cli->token_file;
  if (cli->identity_path) argv[argc++] = "--identity", argv[argc++] = cli->identity_path;
  if (cli->name) argv[argc++] = "--name", argv[argc++] = cli->name;
  if (cli->insecure) argv[argc++] = "--insecure";
  pid_t pid = fork();
  if (pid < 0) return MACULA_ENOMEM;
  if (pid == 0) {
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(s->in, 0);
    dup2(s->out, 1);
    execv(argv[0], (char *const *)argv);
    _exit(127);
  }
  s->child->pid = pid;
  list_append(&s->l->children, &s->child->all);
  return 0;
}

int load_child_start(struct load_task *t, struct load_node *n, size_t clients, const char *prefix, size_t streams,
                     struct load_child **ret_child) {
  char spec[200];
  snprintf(spec, sizeof spec, "%zu,%zu,%s", clients, streams, prefix);
  return load_child_start_as(t, n, "streams", spec, ret_child);
}

int load_child_start_as(struct load_task *t, struct load_node *n, const char *scenario, const char *spec,
                        struct load_child **ret_child) {
  int in[2], out[2];
  struct load_child *c = calloc(1, sizeof *c);
  if (!c) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  list_init(&c->all);
  struct spawn s = {.l = t->l, .child = c, .scenario = scenario, .spec = spec, .given = n && n->given};
  if (n) snprintf(s.nodes, sizeof s.nodes, "%s", n->text);
  bool first = pipe2(in, O_CLOEXEC) == 0;
  if (!first || pipe2(out, O_CLOEXEC | O_NONBLOCK) != 0) {
    int code = cli_failed(MACULA_EIO, NULL, strerror(errno));
    if (first) close(in[0]), close(in[1]);
    free(c);
    return code;
  }
  s.in = in[0];
  s.out = out[1];
  int err = load_on_main(t, spawn, &s);
  close(in[0]);
  close(out[1]);
  c->in = in[1];
  c->out = out[0];
  if (err) {
    close(c->in);
    close(c->out);
    free(c);
    return EXIT_FAILED;
  }
  *ret_child = c;
  return 0;
}

bool load_child_ready(void *child) {
  struct load_child *c = child;
  ssize_t k = read(c->out, c->said + c->said_len, sizeof c->said - 1 - c->said_len);
  if (k > 0) c->said_len += (size_t)k;
  if (k == 0) c->err = MACULA_ECLOSED;
  c->said[c->said_len] = 0;
  if (strstr(c->said, "ready\n")) c->ready = true;
  return c->ready || c->err;
}

int load_child_error(const struct load_child *c) { return c->ready ? 0 : c->err ? c->err : MACULA_TIMEOUT; }

void load_child_kill(struct load_child *c) {
  kill(c->pid, SIGKILL);
  while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) continue;
  close(c->in);
  close(c->out);
  list_remove(&c->all);
  free(c);
}

void load_children_end(struct load *l) {
  list_for_safe(it, &l->children) load_child_kill(container_of(it, struct load_child, all));
}

/* ---- the child's side -------------------------------------------------------------------------------------------------------
 */
static bool parent_is_gone(void *ctx) {
  struct pollfd p = {0, POLLIN, 0};
  (void)ctx;
  return poll(&p, 1, 0) > 0;
}

static int be_clients(struct load_task *t) {
  struct load *l = t->l;
  struct load_crowd *c;
  size_t clients, streams;
  char prefix[100], name[128];
  if (sscanf(l->o.child, "%zu,%zu,%99s", &clients, &streams, prefix) != 3) return EXIT_USAGE;
  int code = load_crowd_new(l, l->nodes[0], clients, &c);
  if (code) return code;
  load_watch_end(l->nodes[0]);
  load_crowd_connect(c, 0, clients, AT_ONCE);
  load_wait(t, load_crowd_decided, c, l->patience);
  for (size_t i = 0; i < clients; i++) {
    snprintf(name, sizeof name, "%s.c%zu", prefix, i);
    load_client_subscribe(&c->v[i], name);
    load_client_serve(&c->v[i], name, 300000);
    load_abuse_open_streams(&c->v[i], streams);
  }
  load_wake(l);
  if (load_reach(t, &c->confirmed, 2 * clients, l->patience)) load_child_stay(t);
  load_crowd_free(t, c);
  return 0;
}

void load_child_stay(struct load_task *t) {
  if (write(1, "ready\n", 6) == 6) load_wait(t, parent_is_gone, NULL, 600);
}

int load_child_main(struct load *l, int (*be)(struct load_task *t)) {
  struct load_task task = {.l = l, .name = "child", .run = be ? be : be_clients};
  int code = l->o.nodes ? load_nodes_given(l) : be ? 0 : EXIT_USAGE;
  if (code) return code;
  if (l->node_count) l->nodes[0]->given = false; /* it is the parent who watches it */
  load_engine_run(l, &task, 1);
  return task.code;
}
