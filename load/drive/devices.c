/* Clients of MQTT over TCP, many of one node, counted. */
#include "load/drive/devices.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/histogram.h"
#include "io/io.h"

#define AT_ONCE 64   /* connections that are made at a time */
#define UNDER_WAY 16 /* messages that are not acknowledged */
#define EVENTS 256
#define PER_ADDRESS 16384 /* connections from one address of loopback: it has some 28,000 ports for all */

static void connect_next(struct load_devices *d);
static void post_next(struct load_devices *d);

/* ---- connections ------------------------------------------------------------------------------------------------------------
 */
static void watch(struct load_device *k) {
  struct epoll_event e = {.events = EPOLLIN | (k->dials || k->out_len ? EPOLLOUT : 0), .data.ptr = k};
  (void)epoll_ctl(k->of->epoll, EPOLL_CTL_MOD, k->fd, &e);
}

static void drop(struct load_device *k, bool reset) {
  struct linger none = {1, 0};
  if (k->fd < 0) return;
  if (reset) (void)setsockopt(k->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  close(k->fd); /* the set forgets it */
  k->fd = -1;
  k->dials = k->in = false;
  k->in_len = k->out_len = 0;
}

static bool is_of_round(const struct load_device *k) {
  return !k->in && !k->leaving && (size_t)(k - k->of->v) < k->of->round.next;
}

/* It had a connection, or was to have one, and has none. */
static void broke(struct load_device *k, const char *why) {
  struct load_devices *d = k->of;
  bool was_in = k->in, counts = is_of_round(k);
  if (k->fd < 0) return;
  drop(k, false);
  if (!k->leaving) snprintf(d->why, sizeof d->why, "device %zu: %.90s", k->number, why);
  if (was_in && !k->leaving) d->lost++;
  if (!counts) return;
  d->round.failed++;
  connect_next(d);
}

static void put(struct load_device *k, const uint8_t *p, size_t n) {
  size_t sent = 0;
  if (k->fd < 0) return;
  if (!k->out_len) {
    ssize_t r = send(k->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (r < 0 && errno != EAGAIN && errno != EINTR) {
      broke(k, strerror(errno));
      return;
    }
    sent = r > 0 ? (size_t)r : 0;
  }
  if (sent == n) return;
  if (n - sent > DEVICE_OUT - k->out_len) {
    broke(k, "the node does not read");
    return;
  }
  memcpy(k->out_buf + k->out_len, p + sent, n - sent);
  k->out_len += (uint32_t)(n - sent);
  watch(k);
}

static void say(struct load_device *k, const struct mqtt_packet *p) {
  uint8_t buf[512];
  size_t n = mqtt_encode(p, k->level, buf, sizeof buf);
  if (n && n <= sizeof buf)
    put(k, buf, n);
  else
    broke(k, "a packet that cannot be said");
}

static uint16_t next_id(struct load_device *k) {
  if (!++k->last_id) k->last_id = 1;
  return k->last_id;
}

static void say_connect(struct load_device *k) {
  const struct load_connect *how = &k->of->how;
  char id[32], topic[64];
  struct mqtt_packet p = {.type = MQTT_CONNECT};
  snprintf(id, sizeof id, "load-mqtt-%zu", k->number);
  snprintf(topic, sizeof topic, DEVICES_GONE "%zu", k->number);
  p.connect = (struct mqtt_connect){.level = k->level, .clean_start = how->clean, .client_id = slice_str(id)};
  if (how->will) {
    p.connect.has_will = true;
    p.connect.will_qos = 1;
    p.connect.will_topic = slice_str(topic);
    p.connect.will_payload = slice_str("gone");
  }
  if (how->expiry_s) {
    p.props.has = MQTT_HAS(SESSION_EXPIRY);
    p.props.session_expiry = how->expiry_s;
  }
  say(k, &p);
}

static void say_subscribe(struct load_device *k) {
  uint8_t list[256];
  char own[64];
  size_t n = 0;
  struct mqtt_packet p = {.type = MQTT_SUBSCRIBE, .id = next_id(k)};
  struct mqtt_filter f = {.text = slice_str(DEVICES_GONE "+"), .qos = 1};
  if (k->of->how.hears_wills) {
    (void)mqtt_put_filter(list, sizeof list, &n, MQTT_SUBSCRIBE, &f);
  } else {
    snprintf(own, sizeof own, DEVICES_OWN "%zu", k->number);
    f.text = slice_str(own);
    (void)mqtt_put_filter(list, sizeof list, &n, MQTT_SUBSCRIBE, &f);
    f.text = slice_str(DEVICES_ALL);
    (void)mqtt_put_filter(list, sizeof list, &n, MQTT_SUBSCRIBE, &f);
  }
  p.list.raw = slice_of(list, n);
  say(k, &p);
}

/* False: there is no socket, which the round counts. */
static bool dial(struct load_device *k) {
  struct load_devices *d = k->of;
  struct sockaddr_in from = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(k->number / PER_ADDRESS))};
  int on = 1;
  drop(k, false); /* it may be leaving yet */
  k->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = k};
  k->leaving = k->present = false;
  k->asked = io_now();
  k->dials = true;
  if (k->fd >= 0) {
    (void)setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(k->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on); /* the port with its peer, not before */
    if (bind(k->fd, (struct sockaddr *)&from, sizeof from) == 0 && epoll_ctl(d->epoll, EPOLL_CTL_ADD, k->fd, &e) == 0 &&
        (connect(k->fd, &d->at.sa, addr_len(&d->at)) == 0 || errno == EINPROGRESS))
      return true;
  }
  snprintf(d->why, sizeof d->why, "device %zu: %.90s", k->number, strerror(errno));
  drop(k, true);
  d->round.failed++;
  return false;
}

static void connect_next(struct load_devices *d) {
  struct load_round *r = &d->round;
  while (r->next < r->end) {
    struct load_device *k = &d->v[r->next++];
    if (dial(k)) return;
  }
}

/* ---- what the node says -----------------------------------------------------------------------------------------------------
 */
static void is_in(struct load_device *k) {
  struct load_devices *d = k->of;
  k->in = true;
  d->round.in++;
  d->round.present += k->present;
  connect_next(d);
}

static void on_connack(struct load_device *k, const struct mqtt_packet *p) {
  struct load_devices *d = k->of;
  k->reason = p->reason;
  k->present = p->session_present;
  if (d->connect_times) histogram_add(d->connect_times, io_now() - k->asked);
  if (p->reason == (k->level == MQTT_5 ? MQTT_QUOTA : mqtt_reason_3_1_1(MQTT_QUOTA))) {
    drop(k, false);
    d->round.refused++;
    connect_next(d);
  } else if (p->reason) {
    broke(k, "refused");
  } else if (d->how.subscribe) {
    say_subscribe(k);
  } else {
    is_in(k);
  }
}

static void on_suback(struct load_device *k, const struct mqtt_packet *p) {
  for (size_t i = 0; i < p->list.raw.n; i++)
    if (MQTT_REASON_IS_ERROR(p->list.raw.p[i])) {
      broke(k, "a subscription was refused");
      return;
    }
  is_in(k);
}

/* The number behind a prefix; false: the topic does not begin with it. */
static bool number_of(struct slice topic, const char *prefix, size_t *ret_number) {
  size_t n = strlen(prefix), number = 0;
  if (topic.n <= n || topic.n > n + 9 || memcmp(topic.p, prefix, n) != 0) return false;
  for (size_t i = n; i < topic.n; i++) {
    if (topic.p[i] < '0' || topic.p[i] > '9') return false;
    number = number * 10 + topic.p[i] - '0';
  }
  *ret_number = number;
  return true;
}

static void count_message(struct load_device *k, const struct mqtt_publish *m) {
  struct load_devices *d = k->of;
  size_t number;
  char text[32];
  if (slice_is(m->topic, DEVICES_ALL)) {
    d->all++;
  } else if (number_of(m->topic, DEVICES_GONE, &number) && number < d->gone_count) {
    if (d->gone[number])
      d->repeated++;
    else
      d->wills++;
    d->gone[number] = 1;
  } else {
    snprintf(text, sizeof text, "%llu", (unsigned long long)k->own);
    if (!number_of(m->topic, DEVICES_OWN, &number) || number != k->number || !slice_is(m->payload, text)) {
      d->strange++;
      return;
    }
    k->own++;
    d->own++;
  }
}

static void on_publish(struct load_device *k, const struct mqtt_packet *p) {
  struct mqtt_packet ack = {.type = MQTT_PUBACK, .id = p->id};
  count_message(k, &p->publish);
  if (p->publish.qos) say(k, &ack);
}

static void on_packet(struct load_device *k, const struct mqtt_packet *p) {
  struct load_devices *d = k->of;
  switch (p->type) {
  case MQTT_CONNACK:
    on_connack(k, p);
    break;
  case MQTT_SUBACK:
    on_suback(k, p);
    break;
  case MQTT_PUBLISH:
    on_publish(k, p);
    break;
  case MQTT_PUBACK:
    if (d->post.by != k) break;
    *(MQTT_REASON_IS_ERROR(p->reason) ? &d->post.not_taken : &d->post.taken) += 1;
    post_next(d);
    break;
  case MQTT_DISCONNECT:
    broke(k, mqtt_reason_text(p->reason));
    break;
  case MQTT_CONNECT:
  case MQTT_PUBREC:
  case MQTT_PUBREL:
  case MQTT_PUBCOMP:
  case MQTT_SUBSCRIBE:
  case MQTT_UNSUBSCRIBE:
  case MQTT_UNSUBACK:
  case MQTT_PINGREQ:
  case MQTT_PINGRESP:
  case MQTT_AUTH:
    broke(k, mqtt_type_name(p->type)); /* which nobody has asked for */
    break;
  }
}

static void hear(struct load_device *k) {
  size_t at = 0, size;
  struct mqtt_fault fault;
  struct mqtt_packet p;
  ssize_t n = recv(k->fd, k->in_buf + k->in_len, DEVICE_IN - k->in_len, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    broke(k, n ? strerror(errno) : "the node has closed the connection");
    return;
  }
  if (k->leaving) return; /* as if it had not come */
  k->in_len += (uint32_t)n;
  while (at < k->in_len) {
    struct slice left = slice_of(k->in_buf + at, k->in_len - at);
    int whole = mqtt_frame(left, DEVICE_IN, &size, &fault);
    if (!whole) break;
    if (whole < 0 || mqtt_decode(slice_of(left.p, size), k->level, MQTT_FROM_SERVER, &p, &fault)) {
      broke(k, fault.text);
      return;
    }
    at += size;
    on_packet(k, &p);
    if (k->fd < 0) return;
  }
  memmove(k->in_buf, k->in_buf + at, k->in_len - at);
  k->in_len -= (uint32_t)at;
}

/* ---- the loop's turn --------------------------------------------------------------------------------------------------------
 */
static void writable(struct load_device *k) {
  int err = 0;
  socklen_t len = sizeof err;
  if (k->dials) {
    if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err) {
      broke(k, strerror(err ? err : errno));
      return;
    }
    k->dials = false;
    say_connect(k);
  } else if (k->out_len) {
    ssize_t n = send(k->fd, k->out_buf, k->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
      broke(k, strerror(errno));
      return;
    }
    if (n > 0) {
      memmove(k->out_buf, k->out_buf + n, k->out_len - (size_t)n);
      k->out_len -= (uint32_t)n;
    }
  }
  if (k->fd < 0) return;
  watch(k);
  if (k == k->of->post.by) post_next(k->of);
}

static void turn(void *ctx) {
  struct load_devices *d = ctx;
  struct epoll_event events[EVENTS];
  int n = epoll_wait(d->epoll, events, EVENTS, 0);
  for (int i = 0; i < n; i++) {
    struct load_device *k = events[i].data.ptr;
    int fd = k->fd;
    if (fd >= 0 && events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP) && (k->dials || k->out_len)) writable(k);
    if (k->fd == fd && fd >= 0 && !k->dials && events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) hear(k);
  }
}

/* ---- what scenarios ask for -------------------------------------------------------------------------------------------------
 */
int load_devices_new(struct load *l, const struct addr *at, size_t first, size_t count, size_t highest,
                     struct load_devices **ret_devices) {
  struct load_devices *d = calloc(1, sizeof *d);
  if (d) {
    d->v = calloc(count ? count : 1, sizeof *d->v);
    d->gone = calloc(highest + 1, 1);
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
  }
  if (!d || !d->v || !d->gone || d->epoll < 0) {
    load_devices_free(d);
    return cli_failed(MACULA_ENOMEM, NULL, "no memory or file descriptor for clients of MQTT");
  }
  d->l = l;
  d->at = *at;
  d->count = count;
  d->gone_count = highest + 1;
  for (size_t i = 0; i < count; i++) d->v[i] = (struct load_device){.of = d, .number = first + i, .level = MQTT_5, .fd = -1};
  load_engine_also(l, d->epoll, turn, d);
  *ret_devices = d;
  return 0;
}

void load_devices_connect(struct load_devices *d, size_t from, size_t count, const struct load_connect *how) {
  d->how = *how;
  d->round = (struct load_round){.next = from, .end = from + count, .asked = count};
  for (int i = 0; i < AT_ONCE; i++) connect_next(d);
  load_wake(d->l);
}

bool load_devices_decided(void *devices) {
  const struct load_round *r = &((struct load_devices *)devices)->round;
  return r->in + r->refused + r->failed >= r->asked;
}

static void post_next(struct load_devices *d) {
  struct load_post *o = &d->post;
  char topic[64], payload[32];
  while (o->by && o->by->in && !o->by->out_len && o->sent < o->count && o->sent - o->taken - o->not_taken < UNDER_WAY) {
    o->compose(o->ctx, o->sent++, topic, payload);
    struct mqtt_packet p = {.type = MQTT_PUBLISH, .id = next_id(o->by)};
    p.publish = (struct mqtt_publish){.topic = slice_str(topic), .payload = slice_str(payload), .qos = 1};
    say(o->by, &p);
  }
}

void load_devices_publish(struct load_devices *d, const struct load_post *post) {
  d->post = *post;
  post_next(d);
  load_wake(d->l);
}

bool load_devices_published(void *devices) {
  const struct load_post *o = &((struct load_devices *)devices)->post;
  return o->taken + o->not_taken >= o->count;
}

void load_device_leave(struct load_device *k, bool for_good) {
  struct mqtt_packet p = {.type = MQTT_DISCONNECT};
  if (k->fd < 0) return;
  if (for_good && k->level == MQTT_5) {
    p.props.has = MQTT_HAS(SESSION_EXPIRY);
    p.props.session_expiry = 0;
  }
  k->leaving = true;
  k->in = false;
  say(k, &p); /* the node closes the connection then */
}

void load_device_reset(struct load_device *k) {
  k->leaving = true;
  drop(k, true);
}

void load_devices_free(struct load_devices *d) {
  if (!d) return;
  if (d->l) load_engine_also(d->l, -1, NULL, NULL);
  for (size_t i = 0; d->v && i < d->count; i++) load_device_reset(&d->v[i]);
  if (d->epoll >= 0) close(d->epoll);
  free(d->gone);
  free(d->v);
  free(d);
}
