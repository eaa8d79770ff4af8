#include "node/messages/disk.h"

#include "base/err.h"
#include "node/trust/account.h"
#include "wire/headers.h"

#define NS(ms) ((ms) < UINT64_MAX / NS_MS ? (ms)*NS_MS : TIME_NEVER)

nanotime disk_time(const struct node *n, uint64_t ms) {
  uint64_t now = node_unix_ms(n);
  return NS(ms < now ? ms : now); /* what is of the future, as a clock was wrong, is of now */
}

/* Retained messages have wall time, as it was at the start, since their age goes on while no node runs. */
nanotime disk_deadline(const struct node *n) {
  nanotime at = retained_deadline(&n->messages.retained, n->limits.retained_ttl), base = NS(n->unix_base_ms);
  return at == TIME_NEVER ? TIME_NEVER : at > base ? at - base : 0;
}

void disk_init(struct node *n) {
  retained_log_init(&n->messages.log, &n->messages.retained, &n->rows.mem[ROW_DISK], n->rng, n->limits.retained_disk);
}

void disk_done(struct node *n) { retained_log_done(&n->messages.log); }

/* ---- node.h ----------------------------------------------------------------------------------------------------------------
 */
struct retained_log *node_retained_log(struct node *n) {
  return &n->messages.log;
}
struct mem *node_retained_mem(struct node *n) {
  return &n->rows.mem[ROW_DISK];
}

int node_retained_restore(struct node *n, const struct retained_record *r) {
  struct retained *t = &n->messages.retained;
  struct principal_name name;
  struct shbuf *payload = NULL, *headers = NULL;
  const char *why;
  bool has_headers = r->headers.n && !headers_check((struct msg_list){.count = r->header_count, .raw = r->headers}, &why);
  struct id by;
  if (r->payload.n && !(payload = shbuf_dup(&n->rows.mem[ROW_RETAINED], r->payload))) return MACULA_RETAIN_FULL;
  if (has_headers && !(headers = shbuf_dup(&n->rows.mem[ROW_RETAINED], r->headers))) {
    shbuf_unref(payload);
    return MACULA_RETAIN_FULL;
  }
  int err = retained_set(t, &(struct retained_message){.topic = r->topic,
                                                       .payload = payload,
                                                       .headers = headers,
                                                       .header_count = has_headers ? r->header_count : 0,
                                                       .expires = r->expires_ms ? NS(r->expires_ms) : 0,
                                                       .owner = r->payload.n ? account_owner(n, r->owner) : NULL,
                                                       .ms = r->ms,
                                                       .now = disk_time(n, r->ms),
                                                       .slashes = r->slashes,
                                                       .qos = retained_qos(r->qos != 0, r->qos == RETAINED_EXACTLY_ONCE),
                                                       .restored = true});
  shbuf_unref(payload);
  shbuf_unref(headers);
  if (err || !payload || !r->origin.n || principal_read(r->origin, &name)) return err;
  memcpy(by.b, r->node.p, ID_LEN);
  struct principal *p = principals_get(&n->sessions.principals, &name, &by);
  retained_set_origin(t, r->topic, p);
  principal_unref(p);
  return 0;
}

void node_retained_restored(struct node *n, const struct retained_head *head) {
  retained_sort(&n->messages.retained);
  retained_log_restored(&n->messages.log, head);
  interest_set_retained(n->spread.interest, retained_count(&n->messages.retained));
}
