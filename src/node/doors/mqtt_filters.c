/* A client's filters: each is a native subscription, and says with which QoS, flag and identifiers a message goes on. */
#include <stdio.h>

#include "base/err.h"
#include "node/doors/mqtt_state.h"
#include "node/session/session.h"
#include "wire/group.h"

struct mqtt_filter_entry *mqtt_filter_find(const struct mqtt_client *c, struct slice pattern) {
  list_for(it, &c->filters) {
    struct mqtt_filter_entry *f = container_of(it, struct mqtt_filter_entry, all);
    if (slice_eq(slice_of(f->pattern, f->len), pattern)) return f;
  }
  return NULL;
}

static void set(struct mqtt_filter_entry *f, const struct mqtt_subscription *sub) {
  f->id = sub->id;
  f->qos = sub->qos;
  f->no_local = sub->no_local;
  f->as_published = sub->retain_as_published;
}

/* The native pattern, of a shared subscription with the group's name behind it. */
static int key_of(const struct mqtt_subscription *sub, char ret_key[NAME_MAX_LEN + 1], size_t *ret_len) {
  if (sub->share.n) return group_key(sub->share, slice_of(sub->pattern, sub->pattern_len), ret_key, ret_len);
  memcpy(ret_key, sub->pattern, sub->pattern_len + 1);
  *ret_len = sub->pattern_len;
  return 0;
}

struct mqtt_filter_entry *mqtt_filter_add(struct mqtt_client *c, const struct mqtt_subscription *sub, struct slice key) {
  struct mqtt_filter_entry *f = mem_alloc(mqtt_mem(c->n), sizeof *f + key.n + 1);
  if (!f) return NULL;
  *f = (struct mqtt_filter_entry){.len = (uint16_t)key.n};
  memcpy(f->pattern, key.p, key.n);
  f->pattern[key.n] = 0;
  set(f, sub);
  list_init(&f->all);
  list_append(&c->filters, &f->all);
  c->filter_count++;
  return f;
}

void mqtt_filter_drop(struct mqtt_client *c, struct mqtt_filter_entry *f) {
  if (c->request && c->request->entry == f) c->request->entry = NULL;
  list_remove(&f->all);
  c->filter_count--;
  mem_free(mqtt_mem(c->n), f);
}

static int ask(struct mqtt_client *c, enum msg_type type, const struct mqtt_filter_entry *f, uint8_t retained, uint64_t ref) {
  struct slice key = slice_of(f->pattern, f->len), pattern = group_pattern(key), group = SLICE_NONE;
  char name[NAME_MAX_LEN + 1];
  if (pattern.n < key.n) {
    name_segment_value(group_name(key), name, &group.n);
    group.p = (const uint8_t *)name;
  }
  struct msg m = {.type = type,
                  .subscribe = {.group = group,
                                .topics = {.count = 1, .items = &pattern},
                                .qos = f->qos ? 1 : 0,
                                .own = !f->no_local,
                                .retained = retained,
                                .ref = ref,
                                .has_ref = true}};
  return mqtt_hand_in(c, &m);
}

/* What a failed SUBSCRIBE has changed is as before. */
static void undo(struct mqtt_client *c) {
  struct mqtt_request *r = c->request;
  struct mqtt_filter_entry *f = r->entry;
  if (!f || !r->subscribes) return;
  if (r->is_new) {
    mqtt_filter_drop(c, f);
    return;
  }
  f->id = r->was.id;
  f->qos = r->was.qos;
  f->no_local = r->was.no_local;
  f->as_published = r->was.as_published;
  f->sys_new = r->was.sys_new;
}

/* The answer is there. */
static void settle(struct mqtt_client *c) {
  struct mqtt_request *r = c->request;
  if (r->err)
    undo(c);
  else if (!r->subscribes && r->entry)
    mqtt_filter_drop(c, r->entry);
  else if (r->entry)
    mqtt_sys_granted(c, r->entry);
  r->entry = NULL;
}

/* A filter of a resumed session: it may be refused now, as who connects again may have fewer rights. What its client asks of it
 * meanwhile decides. */
static void renewed(struct mqtt_client *c, uint64_t ref, int err, struct slice why) {
  list_for(it, &c->filters) {
    struct mqtt_filter_entry *f = container_of(it, struct mqtt_filter_entry, all);
    if (f->again != ref) continue;
    f->again = 0;
    if (!err) {
      mqtt_sys_granted(c, f);
      return;
    }
    log_warn(c->n->log, "mqtt_filter_lost", "name=\"%s\" filter=\"%.64s\" code=%s text=\"%.*s\"", c->name, f->pattern,
             macula_err_name(err), (int)why.n, (const char *)why.p);
    c->n->mqtt->filters_lost++;
    if (c->request && c->request->entry == f && c->request->subscribes)
      c->request->is_new = true;
    else
      mqtt_filter_drop(c, f);
    return;
  }
}

void mqtt_request_done(struct mqtt_client *c) {
  mem_free(mqtt_mem(c->n), c->request);
  c->request = NULL;
}

void mqtt_request_answered(struct mqtt_client *c, uint64_t ref, int err, struct slice why) {
  struct mqtt_request *r = c->request;
  if (!r || r->ref != ref || r->state == MQTT_ANSWERED) {
    renewed(c, ref, err, why);
    return;
  }
  r->err = err;
  snprintf(r->why, sizeof r->why, "%.*s", (int)why.n, (const char *)why.p);
  settle(c);
  if (r->state == MQTT_STALE)
    mqtt_request_done(c);
  else
    r->state = MQTT_ANSWERED;
  c->resumes = true;
  mqtt_dirty(c);
}

void mqtt_request_abandoned(struct mqtt_client *c) {
  if (c->request && c->request->state == MQTT_SENT)
    c->request->state = MQTT_STALE;
  else if (c->request && c->request->state == MQTT_ANSWERED)
    mqtt_request_done(c);
}

static enum mqtt_verdict outcome(struct mqtt_client *c, struct mqtt_answer *ret, uint8_t good) {
  struct mqtt_request *r = c->request;
  char *said = c->n->mqtt->said;
  if (r->state != MQTT_ANSWERED) return MQTT_HOLD;
  int err = r->err;
  memcpy(said, r->why, sizeof r->why);
  mqtt_request_done(c);
  ret->reason = err ? (uint8_t)mqtt_reason_of(err) : good;
  ret->why = err ? (*said ? said : macula_err_text(err)) : NULL;
  return err ? MQTT_REFUSED : MQTT_ACCEPTED;
}

static struct mqtt_request *request_new(struct mqtt_client *c) {
  struct mqtt_request *r = c->request = mem_calloc(mqtt_mem(c->n), 1, sizeof *r);
  if (!r) return NULL;
  r->ref = MQTT_OWN_REF | ++c->next_ref;
  r->state = MQTT_SENT;
  return r;
}

static enum mqtt_verdict no_memory(struct mqtt_answer *ret) {
  ret->reason = MQTT_QUOTA;
  ret->why = "there is no memory for a filter";
  return MQTT_REFUSED;
}

enum mqtt_verdict mqtt_subscribe(struct mqtt_client *c, const struct mqtt_subscription *sub, struct mqtt_answer *ret) {
  static const uint8_t retained[] = {RETAINED_ALWAYS, RETAINED_IF_NEW, RETAINED_NEVER};
  char key[NAME_MAX_LEN + 1];
  size_t len;
  if (c->request) return outcome(c, ret, sub->qos);
  if (key_of(sub, key, &len)) {
    ret->reason = MQTT_BAD_FILTER;
    ret->why = "a group's name has with its filter at most 253 bytes and 31 levels here";
    return MQTT_REFUSED;
  }
  struct mqtt_filter_entry *f = mqtt_filter_find(c, slice_of(key, len));
  struct mqtt_request *r = request_new(c);
  if (!r) return no_memory(ret);
  r->is_new = f == NULL;
  if (f) r->was = *f;
  if (f) {
    set(f, sub);
  } else if (!(f = mqtt_filter_add(c, sub, slice_of(key, len)))) {
    mqtt_request_done(c);
    return no_memory(ret);
  }
  mqtt_sys_asks(f, sub->retain_handling == 0 || (sub->retain_handling == 1 && r->is_new));
  r->entry = f;
  r->subscribes = true;
  int err = ask(c, MSG_SUBSCRIBE, f, retained[sub->retain_handling % 3], r->ref);
  if (err) mqtt_request_answered(c, r->ref, err, SLICE_NONE);
  return outcome(c, ret, sub->qos);
}

enum mqtt_verdict mqtt_unsubscribe(struct mqtt_client *c, const struct mqtt_subscription *sub, struct mqtt_answer *ret) {
  if (c->request) return outcome(c, ret, MQTT_SUCCESS);
  char key[NAME_MAX_LEN + 1];
  size_t len;
  struct mqtt_filter_entry *f = key_of(sub, key, &len) ? NULL : mqtt_filter_find(c, slice_of(key, len));
  if (!f) {
    ret->reason = MQTT_NO_SUBSCRIPTION;
    return MQTT_ACCEPTED;
  }
  struct mqtt_request *r = request_new(c);
  if (!r) return no_memory(ret);
  r->entry = f;
  int err = ask(c, MSG_UNSUBSCRIBE, f, 0, r->ref);
  if (err) mqtt_request_answered(c, r->ref, err, SLICE_NONE);
  return outcome(c, ret, MQTT_SUCCESS);
}

/* All in one turn: no message comes between the end of the old session's subscriptions and these. */
void mqtt_filters_again(struct mqtt_client *c) {
  list_for(it, &c->filters) container_of(it, struct mqtt_filter_entry, all)->again = MQTT_OWN_REF | ++c->next_ref;
  list_for_safe(it, &c->filters) {
    struct mqtt_filter_entry *f = container_of(it, struct mqtt_filter_entry, all);
    if (!c->s || c->s->state != SESSION_IN) return;
    uint64_t ref = f->again;
    int err = ask(c, MSG_SUBSCRIBE, f, RETAINED_NEVER, ref);
    if (err) renewed(c, ref, err, slice_str(macula_err_text(err)));
  }
}
