/* A provider and a caller for tests/e2e/calls_once.py, on libmacula as any other program: they print what happens to each call,
 * with the time on the monotonic clock.
 *
 * caller serve ADDR PROC               prints `serving`, and `run ID TIME` as a handler begins
 * caller call ADDR PROC N MS [once]    keeps N calls outstanding, each with a timeout of MS; prints `end ID CODE RAN TIME`
 */
#include <macula/macula.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_WITHIN 300000 /* ms */

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void checked(int err) {
  if (!err) return;
  fprintf(stderr, "caller: %s: %s\n", macula_err_name(err), macula_last_error());
  exit(1);
}

static macula_client connected(macula_loop **ret_loop, const char *address) {
  macula_options o = {MACULA_INIT(macula_options), .server = address, .known_nodes = "", .insecure = true};
  macula_client client;
  checked(macula_identity_generate(&o.identity));
  checked(macula_loop_new(NULL, ret_loop));
  checked(macula_connect(*ret_loop, &o, &client));
  checked(macula_connect_wait(client, CONNECT_WITHIN));
  return client;
}

static void on_request(void *ctx, macula_client client, const macula_request *r) {
  (void)ctx;
  printf("run %.*s %.6f\n", (int)r->len, (const char *)r->args, seconds());
  (void)macula_reply(client, r->id, r->args, r->len);
}

static void serve(const char *address, const char *procedure) {
  macula_loop *loop;
  macula_client client = connected(&loop, address);
  checked(macula_serve_sync(client, procedure, NULL, on_request, NULL, NULL, CONNECT_WITHIN, NULL));
  puts("serving");
  for (;;) pause();
}

static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned left; /* how many more may be outstanding */
} room = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void on_result(void *id, macula_client client, const macula_result *r) {
  (void)client;
  printf("end %s %s %d %.6f\n", (char *)id, r->code, r->may_have_run, seconds());
  free(id);
  pthread_mutex_lock(&room.lock);
  room.left++;
  pthread_cond_signal(&room.changed);
  pthread_mutex_unlock(&room.lock);
}

static void call(const char *address, const char *procedure, const macula_call_options *opt) {
  macula_loop *loop;
  macula_client client = connected(&loop, address);
  for (unsigned count = 1;; count++) {
    char *id = malloc(32);
    pthread_mutex_lock(&room.lock);
    while (!room.left) pthread_cond_wait(&room.changed, &room.lock);
    room.left--;
    pthread_mutex_unlock(&room.lock);
    if (!id) abort();
    snprintf(id, 32, "%d%07u", (int)getpid(), count); /* a number, since arguments are JSON */
    checked(macula_call(client, procedure, id, strlen(id), opt, on_result, id, NULL));
  }
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc == 4 && !strcmp(argv[1], "serve")) serve(argv[2], argv[3]);
  if (argc < 6 || strcmp(argv[1], "call") != 0) {
    fputs("usage: caller serve ADDR PROC | caller call ADDR PROC N MS [once]\n", stderr);
    return 2;
  }
  macula_call_options opt = {MACULA_INIT(macula_call_options), .timeout_ms = strtoull(argv[5], NULL, 10), .once = argc > 6};
  room.left = (unsigned)strtoul(argv[4], NULL, 10);
  call(argv[2], argv[3], &opt);
}
