#include "node/messages/own.h"

#include "base/check.h"
#include "base/err.h"
#include "node/messages/deliver.h"
#include "node/messages/gather.h"
#include "node/messages/publish.h"
#include "node/messages/recall.h"
#include "node/messages/spread.h"
#include "node/session/origin.h"
#include "node/session/session.h"
#include "node/trust/judge.h"
#include "wire/headers.h"
#include "wire/names.h"

struct own { /* waits to be published */
  struct list all;
  struct shbuf *payload; /* of a PUBLISH with long keys */
  struct principal *by;  /* a reference; NULL: the node itself */
};

static struct mem *mem_of(struct node *n) { return &n->rows.mem[ROW_OWN]; }

void own_init(struct node *n) { list_init(&n->messages.own.all); }

static void own_free(struct node *n, struct own *o) {
  list_remove(&o->all);
  shbuf_unref(o->payload);
  principal_unref(o->by);
  mem_free(mem_of(n), o);
  assert(n->messages.own.count > 0);
  n->messages.own.count--;
}

void own_done(struct node *n) {
  if (!n->messages.own.all.next) return;
  list_for_safe(it, &n->messages.own.all) own_free(n, container_of(it, struct own, all));
}

/* ---- queue -----------------------------------------------------------------------------------------------------------------
 */
static void lost(struct node *n, struct slice topic) {
  n->messages.own.lost++;
  if (bucket_take(&n->messages.own.lines, 2.0, 20.0, n->now))
    log_warn(n->log, "own_message_lost", "topic=\"%.*s\" text=\"too many wills and events wait, or there is no memory\"",
             (int)topic.n, (const char *)topic.p);
}

void own_publish(struct node *n, const struct msg_publish *m, const struct principal *by) {
  struct msg msg = {.type = MSG_PUBLISH, .publish = *m};
  struct parcel p;
  uint8_t id[CALL_ID_LEN];
  msg.publish.brief = msg.publish.has_ref = false;
  if (!msg.publish.message_id.p) msg.publish.message_id = serial_next(&n->messages.made, id);
  struct own *o = n->messages.own.count < OWN_MOST ? mem_calloc(mem_of(n), 1, sizeof *o) : NULL;
  int err = o ? parcel_encode(&p, mem_of(n), &msg, SIZE_MAX) : MACULA_ENOMEM;
  if (!err) o->payload = shbuf_dup(mem_of(n), parcel_payload(&p));
  if (!err) parcel_done(&p);
  if (!o || !o->payload) {
    mem_free(mem_of(n), o);
    lost(n, m->topic);
    return;
  }
  o->by = principal_ref((struct principal *)by);
  list_init(&o->all);
  list_append(&n->messages.own.all, &o->all);
  n->messages.own.count++;
}

bool own_is_due(const struct node *n) { return !list_empty(&n->messages.own.all); }

static void publish(struct node *n, const struct own *o) {
  struct msg m;
  if (msg_decode(MSG_PUBLISH, shbuf_view(o->payload), &m)) return;
  (void)spread_own(n, &m.publish, o->by);
  m.publish.retained_ms = 0;
  uint64_t cut = 0;
  (void)publish_local(n, NULL, &m.publish, o->by, &cut);
}

void own_step(struct node *n) {
  while (own_is_due(n) && !n->messages.rest) {
    struct own *o = container_of(n->messages.own.all.next, struct own, all);
    publish(n, o);
    own_free(n, o);
    if (node_spent(n)) return;
  }
}

bool own_is_heard(struct node *n, const char *topic) {
  struct topic_subscriber *hit = NULL;
  uint32_t left = 1000;
  if (gather_is_on(n)) return true; /* another match would end that */
  if (deliver_match(n, NULL, slice_str(topic), &hit)) return false;
  for (; hit; hit = hit->next_hit)
    if (hit->flags & TOPIC_OF_NODE) return true;
  if (topic_index_groups(n->messages.topics)) return true;
  return !list_empty(&n->spread.peers) && interest_match(n->spread.interest, slice_str(topic), &left);
}

/* ---- wills -----------------------------------------------------------------------------------------------------------------
 */
int own_take_will(struct session *s, struct slice will, const char **ret_text) {
  struct node *n = s->node;
  struct msg m;
  char name[NAME_MAX_LEN + 1];
  size_t len;
  *ret_text = "the will is no PUBLISH with long keys";
  if (!will.p) return 0;
  if (msg_decode(MSG_PUBLISH, will, &m) || m.publish.brief) return MACULA_EINVAL;
  *ret_text = "the will has a topic that is none, or QoS 2";
  if (m.publish.qos > 1) return MACULA_UNSUPPORTED_QOS;
  if (name_topic(m.publish.topic, name, &len)) return MACULA_INVALID_TOPIC;
  int err = headers_check(m.publish.headers, ret_text);
  if (err) return err;
  *ret_text = "a will has at most 32,768 bytes";
  if (will.n > WILL_MOST) return MACULA_PAYLOAD_TOO_LARGE;
  *ret_text = "the node has no room for another will";
  return (s->will = shbuf_dup(mem_of(n), will)) ? 0 : MACULA_QUOTA_REACHED;
}

static void will_is_due(struct session *s) {
  struct node *n = s->node;
  struct msg m;
  char name[NAME_MAX_LEN + 1];
  const char *text;
  size_t len;
  if (msg_decode(MSG_PUBLISH, shbuf_view(s->will), &m) || name_topic(m.publish.topic, name, &len)) return;
  struct msg_publish p = {.topic = slice_of(name, len),
                          .payload = m.publish.payload,
                          .qos = m.publish.qos,
                          .retain = m.publish.retain,
                          .headers = m.publish.headers,
                          .expires_ms = m.publish.expires_ms,
                          .exactly_once = m.publish.exactly_once,
                          .slashes = name_slashes(m.publish.topic)};
  int err = publish_may(s, p.topic, &text); /* logged and counted, if not */
  if (err) return;
  struct principal *by = origin_of(s);
  if (p.retain) p.retained_ms = recall_stamp(n, p.topic);
  if (p.retain && publish_retain(s, &p, by, p.retained_ms)) n->stats.retained_unstored++;
  n->messages.own.wills++;
  own_publish(n, &p, by);
}

void own_session_end(struct session *s) {
  if (!s->will) return;
  if (!s->node->draining) will_is_due(s);
  shbuf_unref(s->will);
  s->will = NULL;
}

/* ---- invariants ------------------------------------------------------------------------------------------------------------
 */
uint64_t own_origins(const struct node *n) {
  uint64_t count = 0;
  list_for(it, &n->messages.own.all) count += container_of(it, const struct own, all)->by != NULL;
  return count;
}

const char *own_check(const struct node *n) {
  CHECK(list_has(&n->messages.own.all, n->messages.own.count) && n->messages.own.count <= OWN_MOST,
        "own: what waits is not as much as counted, or too much");
  return NULL;
}

size_t own_owned(const struct node *n) {
  size_t sum = 0;
  list_for(it, &n->messages.own.all) {
    const struct own *o = container_of(it, const struct own, all);
    sum += mem_cost(o) + mem_cost(o->payload);
  }
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, const struct session, all);
    if (s->will) sum += mem_cost(s->will);
  }
  return sum;
}
