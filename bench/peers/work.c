/* A driver's work, and its figures: WORK KEY=VALUE..., see the table at the end. Prints an object of JSON. The servers' CPU
 * time is that of the processes in pids, over what is measured alone. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "drive.h"

#define SEC 1000000000ull
#define STALL (3 * SEC) /* what has not come by then is lost */

struct subscriber {
  _Alignas(64) _Atomic uint64_t got;
};

static struct {
  const char *work, *at, *to, *pids;
  uint64_t count, size, fan, outstanding, window, threads, most, qos; /* most: seconds */
} o = {.count = 1, .size = 64, .fan = 1, .outstanding = 1, .threads = 1, .most = 120, .qos = 1};
const char *tls_folder;
int tested_qos;

static char *payload;
static struct subscriber *subscribers;
static struct connection *here;
static _Atomic uint64_t begun, ended;
static uint64_t *times; /* of each that ended */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool measured; /* else it is known whether one call is answered */
static const char *failure;

_Noreturn void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why ? why : "failed");
  _exit(1); /* not through what other threads use */
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * SEC + (uint64_t)t.tv_nsec;
}

static void pause_us(long us) { nanosleep(&(struct timespec){0, us * 1000}, NULL); }

static void in_threads(void *(*fn)(void *), void *ctx) {
  pthread_t *t = calloc(o.threads, sizeof *t);
  for (uint64_t i = 0; i < o.threads; i++)
    if (pthread_create(&t[i], NULL, fn, ctx)) fail("threads", "they cannot be started");
  for (uint64_t i = 0; i < o.threads; i++) pthread_join(t[i], NULL);
  free(t);
}

/* ---- the servers ------------------------------------------------------------------------------------------------------------
 */
static double of_each(double (*what)(const char *pid)) {
  double sum = 0;
  char *all = strdup(o.pids ? o.pids : ""), *rest = all;
  for (char *pid; (pid = strsep(&rest, ","));)
    if (*pid) sum += what(pid);
  free(all);
  return sum;
}

static double cpu_of(const char *pid) {
  char path[64];
  unsigned long long user = 0, system = 0;
  snprintf(path, sizeof path, "/proc/%s/stat", pid);
  FILE *f = fopen(path, "r");
  if (!f || fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2)
    fail(path, "no CPU time in it; has the server ended?");
  fclose(f);
  return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double resident_of(const char *pid) {
  char path[64];
  double pages = 0;
  snprintf(path, sizeof path, "/proc/%s/statm", pid);
  FILE *f = fopen(path, "r");
  if (!f || fscanf(f, "%*f %lf", &pages) != 1) fail(path, "no memory in it; has the server ended?");
  fclose(f);
  return pages * (double)sysconf(_SC_PAGESIZE);
}

/* ---- figures ----------------------------------------------------------------------------------------------------------------
 */
static uint64_t start_ns;
static double start_cpu, start_own;

static double own_cpu(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void begin(void) {
  start_cpu = of_each(cpu_of);
  start_own = own_cpu();
  start_ns = now();
}

static int later(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void print(uint64_t operations, uint64_t lost, uint64_t end, double bytes) {
  double s = (double)(end - start_ns) / 1e9, cpu = of_each(cpu_of) - start_cpu, own = own_cpu() - start_own;
  printf("{\"operations\": %llu, \"lost\": %llu, \"seconds\": %.6f, \"rate\": %.1f, \"cpu_us\": %.4f, \"own_cpu_us\": %.4f",
         (unsigned long long)operations, (unsigned long long)lost, s, (double)operations / s,
         operations ? cpu * 1e6 / (double)operations : 0, operations ? own * 1e6 / (double)operations : 0);
  if (times) {
    qsort(times, o.count, sizeof *times, later);
    printf(", \"p50_us\": %.1f, \"p99_us\": %.1f", (double)times[o.count / 2] / 1e3, (double)times[o.count * 99 / 100] / 1e3);
  }
  if (bytes > 0) printf(", \"bytes\": %.0f", bytes);
  printf("}\n");
  fflush(stdout);
}

/* ---- publish and subscribe --------------------------------------------------------------------------------------------------
 */
void work_message(void *subscriber) {
  struct subscriber *s = subscriber;
  atomic_fetch_add_explicit(&s->got, 1, memory_order_relaxed);
}

static uint64_t all_got(void) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < o.fan; i++) sum += subscribers[i].got;
  return sum;
}

static uint64_t least_got(void) {
  uint64_t least = UINT64_MAX;
  for (uint64_t i = 0; i < o.fan; i++)
    if (subscribers[i].got < least) least = subscribers[i].got;
  return least;
}

static void *subscriber(void *qos) {
  for (uint64_t i; (i = atomic_fetch_add(&begun, 1)) < o.fan;)
    peer_subscribe(peer_connect(o.to, false), "bench.flow", &subscribers[i], *(int *)qos);
  return NULL;
}

static void subscribe(int qos) {
  subscribers = aligned_alloc(64, o.fan * sizeof *subscribers);
  memset(subscribers, 0, o.fan * sizeof *subscribers);
  in_threads(subscriber, &qos);
  here = peer_connect(o.at, true);
  for (uint64_t since = now(), at = 0; !least_got(); pause_us(20000)) { /* until the other node knows of them */
    if (now() - since > 20 * SEC) fail("subscribe", "nothing has come in 20 s");
    if (now() - at < SEC / 2) continue;
    at = now();
    peer_publish(here, "bench.flow", payload, o.size);
  }
  for (uint64_t seen = 0; seen != all_got(); pause_us(200000)) seen = all_got();
  for (uint64_t i = 0; i < o.fan; i++) subscribers[i].got = 0;
}

/* When all have come, or nothing comes any more. */
static void print_got(void) {
  uint64_t got = 0, at = now(), most = o.count * o.fan;
  for (uint64_t n; got < most && now() - at < STALL; pause_us(200))
    if ((n = all_got()) != got) got = n, at = now();
  print(got < most ? got : most, got < most ? most - got : 0, at, 0);
}

static void publish(void) {
  subscribe(0);
  begin();
  for (uint64_t sent = 0; sent < o.count; sent++) {
    if (o.window && sent >= o.window && sent % (o.window / 2) == 0) { /* half of it at a time */
      uint64_t stalled = now() + STALL;
      while (least_got() + o.window / 2 < sent && now() < stalled) pause_us(20);
    }
    peer_publish(here, "bench.flow", payload, o.size);
  }
  print_got();
}

/* ---- calls, and messages that are acknowledged: each that ends begins the next ----------------------------------------------
 */
static void next(struct slot *s) {
  s->began = now();
  if (strcmp(o.work, "acknowledged") == 0)
    peer_publish_acknowledged(here, "bench.flow", payload, o.size, s);
  else
    peer_call(here, "bench.echo", payload, o.size, s);
}

void work_ended(struct slot *s, const char *why) {
  if (measured && why) fail(o.work, why);
  if (measured) {
    uint64_t n = atomic_fetch_add(&ended, 1);
    times[n] = now() - s->began;
    if (atomic_fetch_add(&begun, 1) < o.count) {
      next(s);
      return;
    }
    if (n + 1 < o.count) return;
  }
  pthread_mutex_lock(&lock);
  failure = why ? strdup(why) : "";
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
}

static void wait_ended(void) {
  pthread_mutex_lock(&lock);
  while (!failure) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

static void pipelined(void) {
  struct slot *slots = calloc(o.outstanding, sizeof *slots);
  for (unsigned i = 0; i < o.outstanding; i++) slots[i].number = i;
  for (uint64_t since = now();; pause_us(20000)) { /* until the other node knows of the service */
    failure = NULL;
    next(&slots[0]);
    wait_ended();
    if (!*failure) break;
    if (now() - since > 20 * SEC) fail(o.work, failure);
  }
  failure = NULL;
  if (subscribers) pause_us(200000); /* what the first one sent is there, too */
  for (uint64_t i = 0; subscribers && i < o.fan; i++) subscribers[i].got = 0;
  measured = true;
  begun = o.outstanding;
  begin();
  for (unsigned i = 0; i < o.outstanding; i++) next(&slots[i]);
  wait_ended();
}

static void serve(void) {
  peer_serve(peer_connect(o.to, false), "bench.echo");
  here = peer_connect(o.at, true);
}

static void call(void) {
  serve();
  pipelined();
  print(o.count, 0, now(), 0);
}

static void acknowledged(void) {
  subscribe(tested_qos);
  peer_prepare_acknowledged(here, "bench.flow");
  pipelined();
  print_got();
}

static void *caller(void *ctx) {
  (void)ctx;
  while (atomic_fetch_add(&begun, 1) < o.count) {
    uint64_t at = now();
    if (peer_call_wait(here, "bench.echo", payload, o.size)) fail("call", "it failed");
    times[atomic_fetch_add(&ended, 1)] = now() - at;
  }
  return NULL;
}

static void blocking(void) {
  serve();
  for (uint64_t since = now(); peer_call_wait(here, "bench.echo", payload, o.size); pause_us(20000))
    if (now() - since > 20 * SEC) fail("call", "nobody has answered in 20 s");
  begin();
  in_threads(caller, NULL);
  print(o.count, 0, now(), 0);
}

/* ---- connections ------------------------------------------------------------------------------------------------------------
 */
static void *connecter(void *ctx) {
  (void)ctx;
  while (atomic_fetch_add(&begun, 1) < o.count) {
    uint64_t at = now();
    peer_connect(o.at, true);
    times[atomic_fetch_add(&ended, 1)] = now() - at;
  }
  return NULL;
}

static void setup(void) {
  peer_connect(o.at, true);
  begin();
  in_threads(connecter, NULL);
  print(o.count, 0, now(), 0);
}

static void idle(void) {
  for (int i = 0; i < 50; i++) peer_connect(o.at, true); /* what is made once */
  pause_us(500000);
  double before = of_each(resident_of);
  begin();
  in_threads(connecter, NULL);
  uint64_t end = now();
  sleep(2);
  print(o.count, 0, end, (of_each(resident_of) - before) / (double)o.count);
}

/* ---- main -------------------------------------------------------------------------------------------------------------------
 */
static void *limit(void *ctx) {
  (void)ctx;
  sleep((unsigned)o.most);
  fail(o.work, "it took too long");
}

static void option(const char *text) {
  const struct {
    const char *key, **value;
  } texts[] = {{"at=", &o.at}, {"to=", &o.to}, {"pids=", &o.pids}, {"tls=", &tls_folder}};
  const struct {
    const char *key;
    uint64_t *value;
  } numbers[] = {{"count=", &o.count},   {"size=", &o.size},       {"fan=", &o.fan},   {"outstanding=", &o.outstanding},
                 {"window=", &o.window}, {"threads=", &o.threads}, {"most=", &o.most}, {"qos=", &o.qos}};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (strncmp(text, texts[i].key, strlen(texts[i].key)) == 0) *texts[i].value = text + strlen(texts[i].key);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (strncmp(text, numbers[i].key, strlen(numbers[i].key)) == 0)
      *numbers[i].value = strtoull(text + strlen(numbers[i].key), NULL, 10);
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(void);
    bool timed;
    enum use use;
  } works[] = {
      {"publish", publish, false, USE_MANY},        {"call", call, true, USE_ONE_BY_ONE},
      {"blocking", blocking, true, USE_ONE_BY_ONE}, {"acknowledged", acknowledged, true, USE_ONE_BY_ONE},
      {"setup", setup, true, USE_CONNECTIONS},      {"idle", idle, true, USE_CONNECTIONS},
  };
  pthread_t t;
  o.work = argc > 1 ? argv[1] : "";
  for (int i = 2; i < argc; i++) option(argv[i]);
  if (!o.to) o.to = o.at;
  tested_qos = (int)o.qos;
  payload = malloc(o.size + 1);
  memset(payload, '7', o.size); /* a number is JSON, too */
  pthread_create(&t, NULL, limit, NULL);
  for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
    if (strcmp(works[i].name, o.work) != 0) continue;
    if (works[i].timed) times = calloc(o.count + 1, sizeof *times);
    peer_start(works[i].use == USE_ONE_BY_ONE && o.outstanding * o.threads > 1 ? USE_MANY : works[i].use);
    works[i].run();
    _exit(0); /* thousands of goodbyes are no part of it */
  }
  fail(o.work, "no such work");
}
