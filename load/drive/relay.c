/* A UDP relay before each node: the nodes advertise its ports, so that a partition is a flag here. Who a datagram is from is
 * told by the port that its sender listens on; for each of them the relay has a socket towards its node. On a thread of its
 * own. */
#include "load/drive/relay.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/err.h"
#include "cli/cli.h"

#define MAX_RELAYS 8
#define FLOWS 16 /* other nodes that have dialled one */
#define BURST 128

struct flow {
  int fd; /* towards the node */
  struct sockaddr_in from;
};

struct relay {
  int fd;
  uint16_t target;
  struct flow flows[FLOWS];
  size_t count;
};

struct load_relays {
  pthread_t thread;
  pthread_mutex_t lock; /* of the relays while they are added to */
  struct relay v[MAX_RELAYS];
  size_t count;
  atomic_size_t first; /* of the first half; 0: no cut */
  atomic_bool stop;
  atomic_uint_least64_t dropped;
  bool said;        /* that there was none; of the lock of the load */
  atomic_int error; /* errno of the first flow that got no socket: nodes wait for each other in vain */
};

static int local_socket(uint16_t *ret_port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof a;
  int size = 4 << 20, fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || getsockname(fd, (struct sockaddr *)&a, &n) != 0) {
    int why = errno;
    close(fd);
    errno = why;
    return -1;
  }
  *ret_port = ntohs(a.sin_port);
  return fd;
}

static bool is_cut(const struct load_relays *r, size_t node, uint16_t port) {
  size_t first = r->first, from = 0;
  while (from < r->count && r->v[from].target != port) from++;
  return first && from < r->count && (node < first) != (from < first);
}

static struct flow *flow_of(struct load_relays *r, struct relay *v, const struct sockaddr_in *from) {
  uint16_t port;
  for (size_t i = 0; i < v->count; i++)
    if (v->flows[i].from.sin_port == from->sin_port && v->flows[i].from.sin_addr.s_addr == from->sin_addr.s_addr)
      return &v->flows[i];
  if (v->count == FLOWS || !v->target) return NULL;
  int fd = local_socket(&port);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(v->target), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (fd < 0) {
    if (!r->error) r->error = errno;
    return NULL;
  }
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
    close(fd);
    return NULL;
  }
  v->flows[v->count] = (struct flow){fd, *from};
  return &v->flows[v->count++];
}

static void carry_in(struct load_relays *r, size_t node) {
  uint8_t buf[65536];
  for (int i = 0; i < BURST; i++) {
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    ssize_t n = recvfrom(r->v[node].fd, buf, sizeof buf, 0, (struct sockaddr *)&from, &len);
    if (n < 0 && errno == ECONNREFUSED) continue;
    if (n < 0) return;
    struct flow *f = is_cut(r, node, ntohs(from.sin_port)) ? NULL : flow_of(r, &r->v[node], &from);
    if (!f || send(f->fd, buf, (size_t)n, 0) < 0) r->dropped++;
  }
}

static void carry_out(struct load_relays *r, size_t node, const struct flow *f) {
  uint8_t buf[65536];
  for (int i = 0; i < BURST; i++) {
    ssize_t n = recv(f->fd, buf, sizeof buf, 0);
    if (n < 0 && errno == ECONNREFUSED) continue;
    if (n < 0) return;
    if (is_cut(r, node, ntohs(f->from.sin_port)) ||
        sendto(r->v[node].fd, buf, (size_t)n, 0, (const struct sockaddr *)&f->from, sizeof f->from) < 0)
      r->dropped++;
  }
}

static void *run(void *ctx) {
  struct load_relays *r = ctx;
  while (!r->stop) {
    struct pollfd p[MAX_RELAYS * (FLOWS + 1)];
    size_t n = 0;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->count; i++) {
      p[n++] = (struct pollfd){r->v[i].fd, POLLIN, 0};
      for (size_t k = 0; k < r->v[i].count; k++) p[n++] = (struct pollfd){r->v[i].flows[k].fd, POLLIN, 0};
    }
    pthread_mutex_unlock(&r->lock);
    if (poll(p, n, 50) <= 0) continue;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->count; i++) {
      carry_in(r, i);
      for (size_t k = 0; k < r->v[i].count; k++) carry_out(r, i, &r->v[i].flows[k]);
    }
    pthread_mutex_unlock(&r->lock);
  }
  return NULL;
}

int load_relays_new(struct load_relays **ret_relays) {
  struct load_relays *r = calloc(1, sizeof *r);
  if (!r) return MACULA_ENOMEM;
  pthread_mutex_init(&r->lock, NULL);
  if (pthread_create(&r->thread, NULL, run, r) != 0) {
    pthread_mutex_destroy(&r->lock);
    free(r);
    return MACULA_ENOMEM;
  }
  *ret_relays = r;
  return 0;
}

void load_relays_free(struct load_relays *r) {
  if (!r) return;
  r->stop = true;
  pthread_join(r->thread, NULL);
  for (size_t i = 0; i < r->count; i++) {
    close(r->v[i].fd);
    for (size_t k = 0; k < r->v[i].count; k++) close(r->v[i].flows[k].fd);
  }
  pthread_mutex_destroy(&r->lock);
  free(r);
}

static int no_socket(struct load_relays *r, int error) {
  if (r->said) return EXIT_FAILED;
  r->said = true;
  if (error == EADDRINUSE || error == EAGAIN)
    return cli_failed(MACULA_EFULL, NULL,
                      "no UDP port is free for the relays before the nodes: end what holds them, or widen the range that the "
                      "system gives from (sysctl net.ipv4.ip_local_port_range)");
  cli_error(macula_err_name(MACULA_EIO), "no socket for the relays before the nodes: %s", strerror(error));
  return EXIT_FAILED;
}

void load_relays_look(struct load *l) {
  struct load_relays *r = l->relays;
  if (!r || !r->error || l->stopping) return;
  no_socket(r, r->error);
  l->failed = l->stopping = true;
}

int load_relay_add(struct load_relays *r, uint16_t *ret_port) {
  int fd = r->count < MAX_RELAYS ? local_socket(ret_port) : -1;
  if (fd < 0) return no_socket(r, r->count < MAX_RELAYS ? errno : ENOBUFS);
  pthread_mutex_lock(&r->lock);
  r->v[r->count++] = (struct relay){.fd = fd};
  pthread_mutex_unlock(&r->lock);
  return 0;
}

void load_relay_aim(struct load_relays *r, size_t relay, uint16_t target) {
  pthread_mutex_lock(&r->lock);
  r->v[relay].target = target;
  pthread_mutex_unlock(&r->lock);
}

void load_relays_cut(struct load_relays *r, size_t first, bool on) { r->first = on ? first : 0; }
uint64_t load_relays_dropped(struct load_relays *r) { return r->dropped; }
