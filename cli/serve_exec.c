/* Handlers of `serve --exec`. The loop's thread only queues requests; processes and their pipes belong to the main thread,
 * which sleeps in one poll() on all of them. A handler leads its own process group, which ends with the call: what it left in
 * the background goes, too. As process 1 of a container this one is given orphans, and reaps them. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

#define MAX_WAITING 1024
#define MAX_WAITING_BYTES ((size_t)64 << 20)
#define FDS 3               /* of the server itself */
#define CALL_VARS 4         /* of the environment */
#define LOGGED 10           /* failures a second */
#define CAST_LIMIT_MS 60000 /* a cast has no deadline of its own */

struct job {
  struct job *next;
  macula_request_id id;
  uint64_t deadline;
  macula_client client;
  bool is_cast, answered;
  bool cancelled;         /* under the lock: set by the loop's thread */
  char *about[CALL_VARS]; /* variables of the environment that say who calls what */
  char *args;
  size_t args_len, args_sent;
  pid_t pid;
  int in, out, err, pidfd; /* -1: closed */
  char *output;
  size_t output_len, output_cap;
  char complaint[512]; /* how its stderr ends */
  size_t complaint_len;
};

struct exec_server {
  struct cli_done done; /* first: callbacks of macula_serve share one context */
  struct cli *cli;
  const char *command;
  bool raw;                  /* what a handler prints is not looked at */
  uint64_t logged_at;        /* a second of cli_now in which failures were logged; under cli->lock, as is: */
  uint64_t logged, unlogged; /* failures in it; those that were left out before */
  unsigned concurrency, running_count;
  unsigned waiting_count; /* under cli->lock, as are both lists: the loop's thread appends and marks, only this one removes */
  size_t waiting_bytes;
  struct job *waiting, **waiting_end, *running;
  struct pollfd *fds;
  int child_fd; /* SIGCHLD */
};

extern char **environ;

int exec_server_new(struct cli *cli, const char *shell_command, unsigned concurrency, bool raw,
                    struct exec_server **ret_server) {
  struct exec_server *s = calloc(1, sizeof *s);
  sigset_t child;
  if (!s || !(s->fds = calloc(FDS + 4 * (size_t)concurrency, sizeof *s->fds))) {
    free(s);
    return cli_failed(MACULA_ENOMEM, NULL, NULL);
  }
  signal(SIGCHLD, SIG_DFL); /* the statuses of handlers are wanted */
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  s->child_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  if (s->child_fd < 0) {
    free(s->fds);
    free(s);
    return cli_failed(MACULA_EIO, NULL, strerror(errno));
  }
  s->done.cli = s->cli = cli;
  s->command = shell_command;
  s->raw = raw;
  s->concurrency = concurrency;
  s->waiting_end = &s->waiting;
  *ret_server = s;
  return 0;
}

struct cli_done *exec_server_done(struct exec_server *s) {
  return &s->done;
}

static struct job *job_new(void) {
  struct job *j = calloc(1, sizeof *j);
  if (j) j->in = j->out = j->err = j->pidfd = -1;
  return j;
}

static void shut(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static void job_free(struct job *j) {
  shut(&j->in);
  shut(&j->out);
  shut(&j->err);
  shut(&j->pidfd);
  for (int i = 0; i < CALL_VARS; i++) free(j->about[i]);
  free(j->args);
  free(j->output);
  free(j);
}

void exec_server_free(struct exec_server *s) {
  if (!s) return;
  for (struct job *j = s->waiting, *next; j; j = next) {
    next = j->next;
    job_free(j);
  }
  for (struct job *j = s->running, *next; j; j = next) {
    next = j->next;
    kill(-j->pid, SIGKILL);
    job_free(j);
  }
  shut(&s->child_fd);
  free(s->fds);
  free(s);
}

/* ---- on the loop's thread ---------------------------------------------------------------------------------------------------
 */
static const char *const about_names[CALL_VARS] = {
    "MACULA_CALLER_KIND=", "MACULA_CALLER=", "MACULA_CALLER_NODE=", "MACULA_PROCEDURE="};

static bool set_about(struct job *j, const macula_request *r) {
  const macula_principal *p = r->caller;
  const char *const values[CALL_VARS] = {text_principal_kind(p->kind), p->name, p->node, r->procedure};
  for (int i = 0; i < CALL_VARS; i++) {
    if (asprintf(&j->about[i], "%s%s", about_names[i], values[i]) >= 0) continue;
    j->about[i] = NULL;
    return false;
  }
  return true;
}

/* A line of the log about a call that failed here, unless there were many within this second. */
static void log_failure(struct exec_server *s, const char *const about[CALL_VARS], int err, const char *text) {
  const char *values[CALL_VARS];
  char more[64] = "", count[32];
  uint64_t now = cli_now() / CLI_SEC;
  for (int i = 0; i < CALL_VARS; i++) values[i] = about[i] ? strchr(about[i], '=') + 1 : "";
  pthread_mutex_lock(&s->cli->lock);
  if (now != s->logged_at) s->logged = 0;
  s->logged_at = now;
  bool is_shown = s->logged < LOGGED;
  if (is_shown && s->unlogged)
    snprintf(more, sizeof more, " (and %s before that were not shown)", text_number(s->unlogged, count));
  s->unlogged = is_shown ? 0 : s->unlogged + 1;
  s->logged += is_shown;
  pthread_mutex_unlock(&s->cli->lock);
  if (is_shown)
    cli_error(macula_err_name(err), "%s, called by %s %s: %s%s", values[3], values[0], values[1][0] ? values[1] : "-", text,
              more);
}

void exec_server_request(void *ctx, macula_client client, const macula_request *r) {
  struct exec_server *s = ctx;
  struct job *j = job_new();
  char *args = malloc(r->len + 1);
  uint64_t ms = r->is_cast || !r->timeout_ms ? CAST_LIMIT_MS : r->timeout_ms;
  if (j && args && set_about(j, r)) {
    memcpy(args, r->len ? r->args : "", r->len);
    j->id = r->id;
    j->deadline = cli_now() + (ms > UINT32_MAX ? UINT32_MAX : ms) * CLI_MS;
    j->client = client;
    j->is_cast = r->is_cast;
    j->args = args;
    j->args_len = r->len;
    args = NULL;
    pthread_mutex_lock(&s->cli->lock);
    if (s->waiting_count < MAX_WAITING && s->waiting_bytes + r->len <= MAX_WAITING_BYTES) {
      s->waiting_count++;
      s->waiting_bytes += r->len;
      *s->waiting_end = j;
      s->waiting_end = &j->next;
      j = NULL;
    }
    pthread_mutex_unlock(&s->cli->lock);
    if (!j) cli_wake(s->cli);
  }
  free(args);
  if (j) {
    static const char full[] = "the provider's queue of waiting calls is full";
    if (!r->is_cast) macula_reply_error(client, r->id, macula_err_name(MACULA_TOO_MANY_CALLS), full);
    log_failure(s, (const char *const *)j->about, MACULA_TOO_MANY_CALLS, full);
    job_free(j);
  }
}

void exec_server_cancel(void *ctx, macula_client client, macula_request_id request) {
  struct exec_server *s = ctx;
  (void)client;
  pthread_mutex_lock(&s->cli->lock);
  for (struct job *j = s->waiting; j; j = j->next)
    if (j->id.id == request.id) j->cancelled = true;
  for (struct job *j = s->running; j; j = j->next)
    if (j->id.id == request.id) j->cancelled = true;
  pthread_mutex_unlock(&s->cli->lock);
  cli_wake(s->cli);
}

/* ---- on the main thread -----------------------------------------------------------------------------------------------------
 */
static void answer_error(struct exec_server *s, struct job *j, int err, const char *text) {
  if (!j->answered && !j->is_cast) macula_reply_error(j->client, j->id, macula_err_name(err), text);
  if (!j->answered && err != MACULA_CANCELLED) log_failure(s, (const char *const *)j->about, err, text);
  j->answered = true;
}

static bool is_about(const char *var) {
  for (int i = 0; i < CALL_VARS; i++)
    if (strncmp(var, about_names[i], strlen(about_names[i])) == 0) return true;
  return false;
}

/* Our own environment, and who calls what; for free. NULL: no memory. */
static char **environment(const struct job *j) {
  size_t n = 0, count = 0;
  while (environ[n]) n++;
  char **env = calloc(n + CALL_VARS + 1, sizeof *env);
  for (size_t i = 0; env && i < n; i++)
    if (!is_about(environ[i])) env[count++] = environ[i];
  for (int i = 0; env && i < CALL_VARS; i++) env[count++] = j->about[i];
  return env;
}

static int spawn(struct exec_server *s, struct job *j) {
  int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1}, rc = 0;
  char **env = environment(j);
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attr;
  sigset_t none, defaults;
  char sh[] = "sh", dash_c[] = "-c", *argv[] = {sh, dash_c, (char *)s->command, NULL};
  if (!env) rc = ENOMEM;
  if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) rc = errno;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attr);
  if (!rc) {
    posix_spawn_file_actions_adddup2(&files, in[0], 0);
    posix_spawn_file_actions_adddup2(&files, out[1], 1);
    posix_spawn_file_actions_adddup2(&files, err[1], 2);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    rc = posix_spawn(&j->pid, "/bin/sh", &files, &attr, argv, env);
  }
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attr);
  free(env);
  shut(&in[0]);
  shut(&out[1]);
  shut(&err[1]);
  j->in = in[1];
  j->out = out[0];
  j->err = err[0];
  if (rc) return rc;
  fcntl(j->in, F_SETFL, O_NONBLOCK);
  fcntl(j->out, F_SETFL, O_NONBLOCK);
  fcntl(j->err, F_SETFL, O_NONBLOCK);
  j->pidfd = pidfd_open(j->pid, 0);
  if (j->pidfd >= 0) return 0;
  rc = errno;
  kill(-j->pid, SIGKILL);
  waitpid(j->pid, NULL, 0);
  return rc;
}

static void feed(struct job *j) {
  while (j->in >= 0) {
    ssize_t n = j->args_sent < j->args_len ? write(j->in, j->args + j->args_sent, j->args_len - j->args_sent) : 0;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0 && errno == EINTR) continue;
    if (n > 0) j->args_sent += (size_t)n;
    if (n < 0 || j->args_sent == j->args_len) shut(&j->in); /* EPIPE: it does not want to read, which is its right */
  }
}

static void kill_job(struct job *j) { kill(-j->pid, SIGKILL); }

static void drain_output(struct exec_server *s, struct job *j) {
  while (j->out >= 0) {
    if (j->output_len == j->output_cap) {
      size_t cap = j->output_cap ? 2 * j->output_cap : 4096;
      char *more = j->output_len > MAX_PAYLOAD ? NULL : realloc(j->output, cap);
      if (!more) {
        answer_error(s, j, MACULA_HANDLER_ERROR, "the handler printed more than 1 MiB");
        kill_job(j);
        shut(&j->out);
        return;
      }
      j->output = more;
      j->output_cap = cap;
    }
    ssize_t n = read(j->out, j->output + j->output_len, j->output_cap - j->output_len);
    if (n > 0)
      j->output_len += (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
      shut(&j->out);
    else if (errno == EAGAIN)
      return;
  }
}

/* Keeps the end: what made a program give up is what it says last. */
static void keep_end(struct job *j, const char *text, size_t n) {
  const size_t most = sizeof j->complaint - 1;
  if (n > most) text += n - most, n = most;
  size_t old = j->complaint_len + n > most ? most - n : j->complaint_len;
  memmove(j->complaint, j->complaint + j->complaint_len - old, old);
  memcpy(j->complaint + old, text, n);
  j->complaint_len = old + n;
}

static void drain_complaint(struct job *j) {
  char text[4096];
  /* Twice what a pipe holds: a limit, so that a process in a session of its own that writes as fast as we read holds up
   * nobody. */
  for (int i = 0; i < 32 && j->err >= 0; i++) {
    ssize_t n = read(j->err, text, sizeof text);
    if (n > 0)
      keep_end(j, text, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
      shut(&j->err);
    else if (errno == EAGAIN)
      return;
  }
}

/* The last line of what the handler said that is not blank; "": it said nothing. */
static const char *last_line(struct job *j) {
  char *text = j->complaint, *end = text + j->complaint_len;
  *end = 0;
  while (end > text && strchr(" \t\r\n", end[-1])) *--end = 0;
  char *line = memrchr(text, '\n', (size_t)(end - text));
  return line ? line + 1 : text;
}

static void answer_result(struct exec_server *s, struct job *j) {
  size_t from = 0, to = j->output_len;
  while (!s->raw && from < to && isspace((unsigned char)j->output[from])) from++;
  while (!s->raw && to > from && isspace((unsigned char)j->output[to - 1])) to--;
  if (from == to && !s->raw) {
    answer_error(s, j, MACULA_HANDLER_ERROR, "the handler printed nothing; it must print its result as JSON");
    return;
  }
  if (!s->raw && macula_check_json(j->output + from, to - from)) {
    char text[300];
    snprintf(text, sizeof text, "the handler printed no JSON (%s)", macula_last_error());
    answer_error(s, j, MACULA_HANDLER_ERROR, text);
    return;
  }
  int err = j->is_cast || j->answered ? 0 : macula_reply(j->client, j->id, to ? j->output + from : "", to - from);
  if (err && err != MACULA_ENOTFOUND) answer_error(s, j, err, macula_err_text(err));
  j->answered = true;
}

static void job_ended(struct exec_server *s, struct job *j) {
  int status = 0;
  char text[64];
  kill_job(j); /* what is left of its group; until it is waited for nobody else is given its id */
  waitpid(j->pid, &status, 0);
  drain_output(s, j);
  drain_complaint(j);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    answer_result(s, j);
    return;
  }
  const char *line = last_line(j);
  if (WIFEXITED(status))
    snprintf(text, sizeof text, "the handler ended with exit code %d", WEXITSTATUS(status));
  else
    snprintf(text, sizeof text, "the handler was killed by signal %d", WTERMSIG(status));
  answer_error(s, j, MACULA_HANDLER_ERROR, line[0] ? line : text);
}

/* Takes what need not run any more out of the queue and starts what may. */
static void start_jobs(struct exec_server *s, uint64_t now) {
  for (;;) {
    struct job *j = NULL, **at = &s->waiting;
    pthread_mutex_lock(&s->cli->lock);
    while (*at && !(*at)->cancelled && (*at)->deadline > now && s->running_count >= s->concurrency) at = &(*at)->next;
    if ((j = *at)) {
      if (!(*at = j->next)) s->waiting_end = at;
      s->waiting_count--;
      s->waiting_bytes -= j->args_len;
    }
    bool over = j && (j->cancelled || j->deadline <= now);
    if (j && !over) { /* at once among the running: a cancel that comes while it is started must find it */
      j->next = s->running;
      s->running = j;
      s->running_count++;
    }
    pthread_mutex_unlock(&s->cli->lock);
    if (!j) return;
    if (over) {
      answer_error(s, j, j->cancelled ? MACULA_CANCELLED : MACULA_TIMEOUT,
                   "the call waited for a free handler until its deadline; raise --concurrency");
      job_free(j);
      continue;
    }
    int why = spawn(s, j);
    if (why) {
      char text[128];
      snprintf(text, sizeof text, "the handler could not be started: %s", strerror(why));
      answer_error(s, j, MACULA_HANDLER_ERROR, text);
      pthread_mutex_lock(&s->cli->lock);
      s->running = j->next;
      s->running_count--;
      pthread_mutex_unlock(&s->cli->lock);
      job_free(j);
      continue;
    }
    feed(j);
  }
}

/* Kills what ran out of time or interest; returns when to look again. */
static uint64_t kill_late(struct exec_server *s, uint64_t now) {
  uint64_t next = CLI_NEVER;
  pthread_mutex_lock(&s->cli->lock);
  for (struct job *j = s->waiting; j; j = j->next)
    if (j->deadline < next) next = j->deadline;
  pthread_mutex_unlock(&s->cli->lock);
  for (struct job *j = s->running; j; j = j->next) {
    pthread_mutex_lock(&s->cli->lock);
    bool cancelled = j->cancelled;
    pthread_mutex_unlock(&s->cli->lock);
    if (j->answered) continue; /* killed already */
    if (cancelled || j->deadline <= now) {
      answer_error(s, j, cancelled ? MACULA_CANCELLED : MACULA_TIMEOUT, "the handler did not end in time and was killed");
      kill_job(j);
    } else if (j->deadline < next) {
      next = j->deadline;
    }
  }
  return next;
}

static size_t collect(struct exec_server *s) {
  size_t n = FDS;
  s->fds[0] = (struct pollfd){s->cli->wake_fd, POLLIN, 0};
  s->fds[1] = (struct pollfd){s->cli->signal_fd, POLLIN, 0};
  s->fds[2] = (struct pollfd){s->child_fd, POLLIN, 0};
  for (struct job *j = s->running; j; j = j->next) {
    s->fds[n++] = (struct pollfd){j->pidfd, POLLIN, 0};
    s->fds[n++] = (struct pollfd){j->in, POLLOUT, 0}; /* poll skips what is -1 */
    s->fds[n++] = (struct pollfd){j->out, POLLIN, 0};
    s->fds[n++] = (struct pollfd){j->err, POLLIN, 0};
  }
  return n;
}

static void serve_pipes(struct exec_server *s) {
  const struct pollfd *f = s->fds + FDS;
  struct job **at = &s->running;
  for (struct job *j; (j = *at); f += 4) {
    if (f[1].revents) feed(j);
    if (f[2].revents) drain_output(s, j);
    if (f[3].revents) drain_complaint(j);
    if (!f[0].revents) {
      at = &j->next;
      continue;
    }
    pthread_mutex_lock(&s->cli->lock);
    *at = j->next;
    s->running_count--;
    pthread_mutex_unlock(&s->cli->lock);
    job_ended(s, j);
    job_free(j);
  }
}

static bool is_handler(const struct exec_server *s, pid_t pid) {
  for (const struct job *j = s->running; j; j = j->next)
    if (j->pid == pid) return true;
  return false;
}

/* Reaps children that are not handlers: orphans, whose status nobody needs. A handler that has ended wakes us by its own
 * descriptor, and orphans are looked for again then. */
static void reap_orphans(struct exec_server *s) {
  struct signalfd_siginfo info[16];
  siginfo_t ended = {0};
  while (read(s->child_fd, info, sizeof info) > 0) continue;
  while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid && !is_handler(s, ended.si_pid)) {
    waitpid(ended.si_pid, NULL, 0);
    ended.si_pid = 0;
  }
}

int exec_server_run(struct exec_server *s) {
  for (;;) {
    int code = cli_check_link(s->cli);
    if (code >= 0) return code;
    uint64_t now = cli_now();
    start_jobs(s, now);
    uint64_t next = kill_late(s, now), left = next > now ? (next - now + CLI_MS - 1) / CLI_MS : 0;
    size_t n = collect(s);
    if (poll(s->fds, n, next == CLI_NEVER ? -1 : left > 3600000 ? 3600000 : (int)left) < 0) continue;
    if (s->fds[1].revents && cli_take_signal(s->cli)) return 0;
    if (s->fds[0].revents) cli_take_wake(s->cli);
    serve_pipes(s);
    reap_orphans(s);
  }
}
