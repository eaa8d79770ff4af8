#include "node/doors/mqtt_sys.h"

#include <math.h>
#include <stdio.h>

#include "base/check.h"
#include "macula/macula.h"
#include "node/doors/mqtt_state.h"
#include "node/session/parcel.h"
#include "node/session/session.h"
#include "wire/mqtt_names.h"
#include "wire/pattern.h"

#define EVERY (10 * NS_SEC)
#define PREFIX "$SYS/broker/"

static struct mqtt_sys *sys_of(const struct node *n) { return &n->mqtt->sys; }
static struct mqtt_client *client_of(struct list *l) { return container_of(l, struct mqtt_client, sys.all); }

/* ---- figures ---------------------------------------------------------------------------------------------------------------
 */
struct figures {
  struct node *n;
  const struct node_stats *s;
  const struct mqtt_stats *mqtt;
  struct topic_index_stats topics;
  uint32_t offline, clients;
  size_t heap, heap_peak;
};

static struct figures figures_of(struct node *n) {
  struct mqtt_rooms *rooms = n->mqtt;
  struct figures f = {.n = n, .s = &n->stats, .mqtt = mqtt_sessions_stats(rooms->sessions)};
  topic_index_stats(n->messages.topics, &f.topics);
  list_for(it, &rooms->clients) {
    const struct mqtt_client *c = container_of(it, struct mqtt_client, all);
    f.offline += c->ms && !c->link;
  }
  f.clients = clients_total(&n->sessions.clients);
  if (f.offline > f.clients) f.offline = f.clients;
  if (f.clients - f.offline > rooms->sys.most_clients) rooms->sys.most_clients = f.clients - f.offline;
  f.heap = rows_accounted(n);
  for (int i = 0; i < ROW_COUNT; i++) f.heap_peak += n->rows.account[i]->peak;
  return f;
}

/* X(topic, value). Messages, bytes and sockets are those of MQTT; the rest is the whole node's. */
#define LOADS(X)                                                                                                               \
  X("messages/received", f->mqtt->packets_in)                                                                                  \
  X("messages/sent", sys_of(f->n)->packets_out)                                                                                \
  X("publish/received", f->s->published)                                                                                       \
  X("publish/sent", f->s->delivered)                                                                                           \
  X("publish/dropped", f->s->dropped + f->n->mqtt->lost)                                                                       \
  X("bytes/received", sys_of(f->n)->bytes_in)                                                                                  \
  X("bytes/sent", sys_of(f->n)->bytes_out)                                                                                     \
  X("connections", f->s->admitted)                                                                                             \
  X("sockets", sys_of(f->n)->connections)

#define VALUES(X)                                                                                                              \
  X("clients/total", f->clients)                                                                                               \
  X("clients/connected", f->clients - f->offline)                                                                              \
  X("clients/active", f->clients - f->offline)                                                                                 \
  X("clients/disconnected", f->offline)                                                                                        \
  X("clients/inactive", f->offline)                                                                                            \
  X("clients/maximum", sys_of(f->n)->most_clients)                                                                             \
  X("clients/expired", f->mqtt->sessions_expired)                                                                              \
  X("messages/received", f->mqtt->packets_in)                                                                                  \
  X("messages/sent", sys_of(f->n)->packets_out)                                                                                \
  X("messages/stored", retained_count(&f->n->messages.retained))                                                               \
  X("store/messages/count", retained_count(&f->n->messages.retained))                                                          \
  X("store/messages/bytes", f->n->messages.retained.bytes)                                                                     \
  X("retained messages/count", retained_count(&f->n->messages.retained))                                                       \
  X("publish/messages/received", f->s->published)                                                                              \
  X("publish/messages/sent", f->s->delivered)                                                                                  \
  X("publish/messages/dropped", f->s->dropped + f->n->mqtt->lost)                                                              \
  X("bytes/received", sys_of(f->n)->bytes_in)                                                                                  \
  X("bytes/sent", sys_of(f->n)->bytes_out)                                                                                     \
  X("subscriptions/count", f->topics.subscriptions)                                                                            \
  X("heap/current", f->heap)                                                                                                   \
  X("heap/maximum", f->heap_peak)

#define NAME(name, ...) PREFIX name,
static const char *const values[] = {VALUES(NAME)};
#undef NAME
#define NAME(name, ...) name,
static const char *const loads[] = {LOADS(NAME)};
#undef NAME
static const char *const others[] = {PREFIX "version", PREFIX "uptime"};
static const char *const minutes[MQTT_SYS_MINUTES] = {"1min", "5min", "15min"};
enum {
  VALUE_COUNT = sizeof values / sizeof values[0],
  OTHERS = sizeof others / sizeof others[0],
  LOADS_AT = VALUE_COUNT + OTHERS,
  TOPICS = LOADS_AT + MQTT_SYS_LOADS * MQTT_SYS_MINUTES
};
_Static_assert(sizeof loads / sizeof loads[0] == MQTT_SYS_LOADS && TOPICS <= MQTT_SYS_TOPICS, "a place for each");

static void topic_of(unsigned i, char ret[NAME_MAX_LEN + 1]) {
  if (i < VALUE_COUNT)
    snprintf(ret, NAME_MAX_LEN + 1, "%s", values[i]);
  else if (i < LOADS_AT)
    snprintf(ret, NAME_MAX_LEN + 1, "%s", others[i - VALUE_COUNT]);
  else
    snprintf(ret, NAME_MAX_LEN + 1, PREFIX "load/%s/%s", loads[(i - LOADS_AT) / MQTT_SYS_MINUTES],
             minutes[(i - LOADS_AT) % MQTT_SYS_MINUTES]);
}

/* ---- making them -----------------------------------------------------------------------------------------------------------
 */
static void set(struct mqtt_sys *s, unsigned i, const char *text) {
  if (!strcmp(s->value[i].text, text)) return;
  snprintf(s->value[i].text, sizeof s->value[i].text, "%s", text);
  s->value[i].round = s->round + 1;
}

/* As mosquitto's: what was counted since the last time, a minute, weighs the more the longer that was. */
static void average(struct mqtt_sys *s, unsigned load, uint64_t now, double seconds) {
  static const double span[MQTT_SYS_MINUTES] = {60, 300, 900};
  double rate = (double)(now - s->load[load].last) * 60 / seconds;
  char text[MQTT_SYS_TEXT_LEN];
  s->load[load].last = now;
  for (unsigned k = 0; k < MQTT_SYS_MINUTES; k++) {
    double *a = &s->load[load].average[k];
    *a = rate + exp(-seconds / span[k]) * (*a - rate);
    snprintf(text, sizeof text, "%.2f", *a);
    set(s, LOADS_AT + load * MQTT_SYS_MINUTES + k, text);
  }
}

static void make(struct node *n) {
  struct mqtt_sys *s = sys_of(n);
  struct figures now = figures_of(n), *f = &now;
  char text[MQTT_SYS_TEXT_LEN];
  double seconds = (double)time_since(n->now, s->made_at ? s->made_at : n->started) / (double)NS_SEC;
#define VALUE(name, value) (uint64_t)(value),
  const uint64_t of_values[] = {VALUES(VALUE)}, of_loads[] = {LOADS(VALUE)};
#undef VALUE
  for (unsigned i = 0; i < VALUE_COUNT; i++) {
    snprintf(text, sizeof text, "%llu", (unsigned long long)of_values[i]);
    set(s, i, text);
  }
  set(s, VALUE_COUNT, "macula version " MACULA_VERSION);
  snprintf(text, sizeof text, "%llu seconds", (unsigned long long)(time_since(n->now, n->started) / NS_SEC));
  set(s, VALUE_COUNT + 1, text);
  for (unsigned i = 0; i < MQTT_SYS_LOADS && seconds > 0; i++) average(s, i, of_loads[i], seconds);
  s->round++;
  s->made_at = n->now;
  s->at = time_add(n->now, EVERY);
}

/* ---- telling them ----------------------------------------------------------------------------------------------------------
 */
static bool is_sys(const struct mqtt_filter_entry *f) { return name_is_sys(slice_of(f->pattern, f->len)); }

static void say(struct mqtt_client *c, struct slice name, const char *text, bool replay) {
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = name, .payload = slice_str(text), .retain = true, .replay = replay}};
  struct parcel p;
  if (parcel_encode(&p, mqtt_mem(c->n), &m, SIZE_MAX)) return; /* no memory: it gets the next value */
  (void)mqtt_take_frame(c, p.frame, NULL);
  parcel_done(&p);
}

/* replays: of new filters all that match; else what has changed. */
static void send_all(struct mqtt_client *c, bool replays) {
  struct mqtt_sys *s = sys_of(c->n);
  char topic[NAME_MAX_LEN + 1], name[NAME_MAX_LEN + 1];
  const char *why;
  size_t len;
  for (unsigned i = 0; i < TOPICS; i++) {
    bool wanted = false;
    topic_of(i, topic);
    if (!*s->value[i].text || name_from_mqtt_topic(slice_str(topic), name, &len, &why)) continue;
    if (!replays && s->value[i].round <= c->sys.seen) continue;
    list_for(it, &c->filters) {
      const struct mqtt_filter_entry *f = container_of(it, const struct mqtt_filter_entry, all);
      wanted |= (!replays || f->sys_new) && is_sys(f) && pattern_match(slice_of(f->pattern, f->len), slice_of(name, len));
    }
    if (wanted) say(c, slice_of(name, len), s->value[i].text, replays);
  }
}

static void tell(struct mqtt_client *c) {
  bool any = false, fresh = false;
  list_for(it, &c->filters) {
    const struct mqtt_filter_entry *f = container_of(it, const struct mqtt_filter_entry, all);
    any |= is_sys(f);
    fresh |= f->sys_new;
  }
  if (!any) list_remove(&c->sys.all);
  if (!any || !c->ms || !c->link || mqtt_client_unsent(c)) return;
  if (c->sys.seen < sys_of(c->n)->round) send_all(c, false);
  c->sys.seen = sys_of(c->n)->round;
  if (!fresh) return;
  send_all(c, true);
  list_for(it, &c->filters) container_of(it, struct mqtt_filter_entry, all)->sys_new = false;
}

static bool anybody(const struct mqtt_sys *s) { return !list_empty(&s->told) || !list_empty(&s->behind); }

void mqtt_sys_step(struct node *n) {
  struct mqtt_sys *s = sys_of(n);
  if (!anybody(s)) return;
  if (n->now >= s->at) {
    make(n);
    list_move(&s->told, &s->behind);
  }
  while (!list_empty(&s->behind)) {
    struct mqtt_client *c = client_of(s->behind.next);
    list_remove(&c->sys.all);
    list_append(&s->told, &c->sys.all);
    tell(c);
    if (node_spent(n)) return;
  }
}

nanotime mqtt_sys_deadline(const struct node *n) {
  const struct mqtt_sys *s = sys_of(n);
  return !anybody(s) ? TIME_NEVER : !list_empty(&s->behind) ? n->now : s->at;
}

/* ---- filters and clients ---------------------------------------------------------------------------------------------------
 */
void mqtt_sys_init(struct mqtt_sys *s) {
  list_init(&s->told);
  list_init(&s->behind);
}

void mqtt_sys_client_init(struct mqtt_client *c) {
  list_init(&c->sys.all);
  sys_of(c->n)->connections++;
}

void mqtt_sys_client_done(struct mqtt_client *c) { list_remove(&c->sys.all); }

void mqtt_sys_asks(struct mqtt_filter_entry *f, bool with_retained) { f->sys_new = with_retained && is_sys(f); }

void mqtt_sys_granted(struct mqtt_client *c, struct mqtt_filter_entry *f) {
  struct mqtt_sys *s = sys_of(c->n);
  if (!is_sys(f)) return;
  if (!anybody(s) && c->n->now >= s->at) make(c->n); /* nobody had them made */
  if (list_empty(&c->sys.all)) c->sys.seen = s->round;
  list_remove(&c->sys.all);
  list_append(&s->behind, &c->sys.all); /* its SUBACK comes first */
}

const char *mqtt_sys_check(const struct node *n) {
  const struct mqtt_sys *s = sys_of(n);
  CHECK(list_holds(&s->told) && list_holds(&s->behind), "mqtt: a list of those that read $SYS is broken");
  list_for(it, &n->mqtt->clients) {
    const struct mqtt_client *c = container_of(it, const struct mqtt_client, all);
    CHECK(c->sys.seen <= s->round, "mqtt: a client was told of $SYS what is not there yet");
  }
  return NULL;
}
