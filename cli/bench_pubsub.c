/* bench pubsub and fanout. Publishers send from the loop's thread, when a subscriber's message tells that there is room: at
 * most `window` messages are between them, so that nothing is lost for want of room. Each payload begins with its number: a gap
 * is a loss. Once the kick has run, a flow's counters belong to the loop's thread; the main thread reads them.
 *
 * With --flat each publisher has a thread, which publishes and waits for nothing but room in its own queue, and their clients
 * have a loop of their own: as a program of its own would, they do not stop while a subscriber reads. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define QUEUE_ROOM ((uint64_t)512 << 10) /* half of a subscriber's queue in the node */
#define STALL (2 * CLI_SEC)
#define FLAT_STALL (5 * CLI_SEC) /* nobody will send it again */
#define PATIENCE 200             /* ms that a flat publisher waits for room before it looks whether it is to end */

struct flow { /* a publisher and its subscribers */
  struct run *run;
  macula_client publisher;
  char topic[96];
  _Atomic uint64_t sent;     /* messages */
  _Atomic uint64_t received; /* deliveries, lost ones too */
  _Atomic uint64_t lost;
  uint64_t goal, behind; /* subscribers that have not received up to the goal */
  pthread_t thread;
};

struct receiver {
  struct cli_done done; /* first: both callbacks of a subscription get one context */
  struct flow *flow;
  uint64_t next; /* number expected */
};

struct run {
  struct bench b;
  uint64_t per_flow, fan, window, size;
  unsigned flow_count;
  struct flow *flows;
  struct receiver *receivers;
  char *payload;
  atomic_bool stop, given_up;
  unsigned threads;         /* started */
  _Atomic unsigned running; /* of these */
};

/* Sends while there is room before the slowest subscriber, and sets the goal at which there will be room again: the average
 * would let one fall behind until the node drops its messages. */
static void pump(struct flow *f) {
  struct run *r = f->run;
  struct receiver *to = &r->receivers[(uint64_t)(f - r->flows) * r->fan];
  uint64_t sent = f->sent, got = sent;
  for (uint64_t i = 0; i < r->fan; i++)
    if (to[i].next < got) got = to[i].next;
  while (sent < r->per_flow && sent - got < r->window && !atomic_load_explicit(&r->stop, memory_order_relaxed)) {
    memcpy(r->payload, &sent, sizeof sent);
    int err = macula_publish(f->publisher, f->topic, r->payload, r->size, NULL, NULL, NULL);
    if (err == MACULA_EFULL && sent > got) break;
    if (err) {
      bench_failed(&r->b, err, macula_last_error());
      return;
    }
    sent++;
  }
  f->sent = sent;
  f->goal = sent - (sent - got) / 2;
  f->behind = 0;
  for (uint64_t i = 0; i < r->fan; i++) f->behind += to[i].next < f->goal;
}

static void on_message(void *ctx, macula_client client, const macula_message *m) {
  struct receiver *to = ctx;
  struct flow *f = to->flow;
  struct run *r = f->run;
  uint64_t number, from = to->next;
  (void)client;
  if (m->len < sizeof number || r->given_up) return;
  memcpy(&number, m->payload, sizeof number);
  if (number < from) return; /* given up as lost */
  to->next = number + 1;
  if (number > from) f->lost += number - from;
  uint64_t more = to->next - from, got = atomic_fetch_add(&f->received, more) + more, sent = f->sent;
  if (got == sent * r->fan && (sent == r->per_flow || r->stop))
    cli_wake(r->b.cli);
  else if (!r->b.o->flat && from < f->goal && to->next >= f->goal && --f->behind == 0)
    pump(f);
}

static void *publish_flat(void *ctx) {
  static const macula_publish_options wait = {MACULA_INIT(macula_publish_options), .wait_ms = PATIENCE};
  struct flow *f = ctx;
  struct run *r = f->run;
  char *payload = calloc(1, r->size);
  int err = payload ? 0 : MACULA_ENOMEM;
  for (uint64_t n = 0; n < r->per_flow && !r->stop && !err;) {
    memcpy(payload, &n, sizeof n);
    err = macula_publish(f->publisher, f->topic, payload, r->size, &wait, NULL, NULL);
    if (!err) f->sent = ++n;
    if (err == MACULA_EFULL) err = 0;
  }
  if (err) bench_failed(&r->b, err, payload ? macula_last_error() : macula_err_text(err));
  free(payload);
  r->running--;
  cli_wake(r->b.cli);
  return NULL;
}

static int start_flat(struct run *r) {
  for (unsigned i = 0; i < r->flow_count; i++) {
    r->running++;
    if (pthread_create(&r->flows[i].thread, NULL, publish_flat, &r->flows[i])) {
      r->running--;
      return cli_failed(MACULA_ENOMEM, NULL, NULL);
    }
    r->threads++;
  }
  return 0;
}

static void end_flat(struct run *r) {
  r->stop = true;
  for (unsigned i = 0; i < r->threads; i++) pthread_join(r->flows[i].thread, NULL);
  r->threads = 0;
}

/* What has not come for so long is lost. */
static void give_up(struct run *r) {
  r->given_up = true;
  for (unsigned i = 0; i < r->flow_count; i++) {
    struct flow *f = &r->flows[i];
    uint64_t missing = f->sent * r->fan - f->received;
    f->lost += missing;
    f->received += missing;
  }
}

/* On the loop's thread: starts a flow, or goes on after a stall, when what is missing is lost. */
static void kick(void *ctx, macula_client client, int err, const char *text) {
  struct flow *f = ctx;
  struct run *r = f->run;
  (void)client;
  if (err) {
    bench_failed(&r->b, err, text);
    return;
  }
  uint64_t missing = f->sent * r->fan - f->received;
  f->lost += missing;
  f->received += missing;
  for (uint64_t i = 0; i < r->fan; i++) r->receivers[(uint64_t)(f - r->flows) * r->fan + i].next = f->sent;
  pump(f);
  cli_wake(r->b.cli);
}

static int kick_all(struct run *r) {
  static const macula_publish_options confirm = {MACULA_INIT(macula_publish_options), .confirm = true, .wait_ms = 5000};
  for (unsigned i = 0; i < r->flow_count; i++) {
    struct flow *f = &r->flows[i];
    if (f->sent && f->received == f->sent * r->fan && f->sent == r->per_flow) continue;
    int err = macula_publish(f->publisher, "bench.kick", "", 0, &confirm, kick, f);
    if (err) return cli_failed(err, NULL, macula_last_error());
  }
  return 0;
}

static int set_up(struct run *r) {
  uint64_t subscribers = r->flow_count * r->fan;
  int code = bench_connect(&r->b, r->flow_count + subscribers, 32, subscribers, r->flow_count);
  for (uint64_t i = 0; !code && i < subscribers; i++) {
    struct receiver *to = &r->receivers[i];
    *to = (struct receiver){.done.cli = r->b.cli, .flow = &r->flows[i / r->fan]};
    int err =
        macula_subscribe(r->b.clients[r->flow_count + i].client, to->flow->topic, NULL, on_message, cli_on_done, to, NULL);
    if (err) code = cli_failed(err, NULL, macula_last_error());
  }
  for (uint64_t i = 0; !code && i < subscribers; i++) code = cli_wait_done(&r->receivers[i].done, cli_now() + 10 * CLI_SEC);
  return code;
}

static void sum(const struct run *r, uint64_t *ret_sent, uint64_t *ret_received, uint64_t *ret_lost) {
  *ret_sent = *ret_received = *ret_lost = 0;
  for (unsigned i = 0; i < r->flow_count; i++) {
    *ret_sent += r->flows[i].sent;
    *ret_received += r->flows[i].received;
    *ret_lost += r->flows[i].lost;
  }
}

static int measure(struct run *r, uint64_t *ret_ns) {
  uint64_t start = cli_now(), end = start, sent, received, lost, seen = 0, seen_at = start;
  uint64_t until = r->b.o->duration ? start + r->b.o->duration * CLI_MS : CLI_NEVER;
  int code = r->b.o->flat ? start_flat(r) : kick_all(r);
  r->b.stop = &r->stop;
  while (!code) {
    uint64_t now = cli_now(), next = now + 200 * CLI_MS;
    if (now >= until) r->stop = true;
    sum(r, &sent, &received, &lost);
    if (received != seen && !r->given_up) end = seen_at = now, seen = received;
    if (sent && received >= sent * r->fan && !r->running && (r->stop || sent == r->per_flow * r->flow_count)) break;
    if (r->b.o->flat) {
      if (now - seen_at > FLAT_STALL && !r->running) give_up(r);
    } else if (now - seen_at > STALL) {
      seen_at = now;
      code = kick_all(r);
    }
    bench_progress("delivered", received, r->per_flow == UINT64_MAX ? received : r->per_flow * r->flow_count * r->fan);
    int ended = code ? code : bench_wait(&r->b, !r->stop && until < next ? until : next);
    if (ended >= 0) code = ended;
  }
  end_flat(r);
  *ret_ns = end - start ? end - start : 1;
  return code;
}

int bench_pubsub(struct cli *cli, const struct bench_options *o, bool fanout) {
  struct run r = {.b = {.cli = cli, .o = o}, .size = o->size ? o->size : 64};
  struct bench_node before, after;
  uint64_t room = QUEUE_ROOM / (r.size + 100), ns, sent, received, lost;
  r.flow_count = fanout ? 1 : o->clients ? (unsigned)o->clients : 1;
  r.fan = !fanout ? 1 : o->subscribers ? o->subscribers : 100;
  r.per_flow = o->messages   ? (o->messages + r.flow_count - 1) / r.flow_count
               : o->duration ? UINT64_MAX
               : fanout      ? 20000
                             : (500000 + r.flow_count - 1) / r.flow_count;
  r.window = o->outstanding ? o->outstanding : room < 1 ? 1 : room < 4096 ? room : 4096;
  r.flows = calloc(r.flow_count, sizeof *r.flows);
  r.receivers = calloc(r.flow_count * r.fan, sizeof *r.receivers);
  r.payload = calloc(1, r.size);
  int code = r.flows && r.receivers && r.payload ? bench_prepare(&r.b) : cli_failed(MACULA_ENOMEM, NULL, NULL);
  if (!code && o->flat) code = bench_send_apart(&r.b, r.flow_count);
  for (unsigned i = 0; !code && i < r.flow_count; i++) {
    r.flows[i].run = &r;
    snprintf(r.flows[i].topic, sizeof r.flows[i].topic, "%s.%u", r.b.topic, i);
  }
  if (!code) code = set_up(&r);
  for (unsigned i = 0; !code && i < r.flow_count; i++) r.flows[i].publisher = r.b.clients[i].client;
  if (!code) code = bench_look(&r.b, &before);
  if (!code) code = measure(&r, &ns);
  if (!code) code = bench_look(&r.b, &after);
  if (!code) {
    sum(&r, &sent, &received, &lost);
    received -= lost;
    double s = (double)ns / 1e9;
    const char *kind = fanout ? (o->flat ? "fanout flat" : "fanout") : o->flat ? "pubsub flat" : "pubsub";
    json_t *j =
        json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f}", "bench", kind, "size", (json_int_t)r.size,
                  fanout ? "subscribers" : "clients", (json_int_t)(fanout ? r.fan : r.flow_count), "outstanding",
                  (json_int_t)r.window, "messages", (json_int_t)sent, fanout ? "deliveries" : "received", (json_int_t)received,
                  "lost", (json_int_t)lost, "seconds", s, fanout ? "deliveries_per_s" : "messages_per_s", (double)received / s);
    if (o->flat) json_object_del(j, "outstanding");
    bench_add_cpu(j, &before, &after, (double)received);
    code = bench_print(&r.b, j);
  }
  bench_end(&r.b, code);
  free(r.flows);
  free(r.receivers);
  free(r.payload);
  return code;
}
