/* Publish and subscribe within the node: one encoding a message, one copy or reference a subscriber, one policy for queues. */
#include "node/messages/publish.h"

#include "base/err.h"
#include "node/messages/deliver.h"
#include "node/messages/disk.h"
#include "node/messages/gather.h"
#include "node/messages/groups.h"
#include "node/messages/hold.h"
#include "node/messages/pace.h"
#include "node/messages/recall.h"
#include "node/messages/replay.h"
#include "node/messages/spread.h"
#include "node/session/origin.h"
#include "node/session/session.h"
#include "node/session/tally.h"
#include "node/session/topics.h"
#include "node/trust/account.h"
#include "node/trust/judge.h"
#include "wire/headers.h"
#include "wire/names.h"

/* ---- publish ---------------------------------------------------------------------------------------------------------------
 */
int publish_local(struct node *n, struct peer *from, const struct msg_publish *m, const struct principal *by,
                  uint64_t *ret_cut) {
  struct topic_subscriber *hit;
  struct msg_publish local = *m;
  bool more;
  if (name_is_sys(m->topic)) return MACULA_FORBIDDEN;
  local.retained_ms = local.connection = 0;
  int err = deliver_match_first(n, NULL, m->topic, &hit, &more);
  if (!err && more) return gather_local(n, from, hit, m->connection, &local, by, ret_cut);
  if (!err && from) pace_publish(from, m, hit);
  return err || !hit ? err : deliver_begin(n, NULL, hit, &local, by, ret_cut, NULL);
}

struct receivers {              /* of a client's publish */
  struct topic_subscriber *hit; /* here: these, or */
  struct delivery *d;           /* these, if they are very many; or both are the same */
  struct listeners to;
  struct group_picks picks;
};

/* Who gets it, here and at other nodes; of one that is sent again those here have it already. False: it is to be read again, as
 * not all were found, or it waits for one of these. */
static bool find(struct session *s, const struct msg_publish *m, bool again, struct receivers *r, int *ret_err) {
  struct node *n = s->node;
  bool more = false, ready = !again && gather_is_for(s, m);
  int err = again ? 0 : deliver_match_first(n, s, m->topic, &r->hit, &more);
  struct topic_group *ours = again ? NULL : topic_index_groups(n->messages.topics);
  if (!err) err = spread_find(s, m, ours, again, &r->to, &r->picks);
  *ret_err = err;
  if (err) return true;
  if (ready) {
    r->hit = NULL;
    r->d = gather_take(n);
  } else if (more) {
    switch (gather_begin(s, m, &r->to, &r->picks, &r->hit, &r->d)) {
    case GATHERED_LATER:
      return false;
    case GATHERED_NOT:
    case GATHERED:
      break;
    }
  }
  bool waits = r->d ? gather_holds(r->d, &r->to, &r->picks) : hold_publish(s, m, r->hit, &r->to, &r->picks);
  if (waits) gather_free(n, r->d);
  return !waits;
}

static int deliver(struct session *s, struct receivers *r, const struct msg_publish *m, const struct principal *by,
                   struct msg_partly *partly) {
  struct node *n = s->node;
  struct delivery *d = r->d;
  r->d = NULL;
  if (r->picks.count) groups_deliver(s, m, &r->picks, by, &partly->cut);
  if (d && gather_was_sliced(d)) return deliver_list(n, s, d, m, by, &partly->cut);
  if (r->hit) return deliver_begin(n, s, r->hit, m, by, &partly->cut, d);
  gather_free(n, d);
  return 0;
}

/* ms: when this node accepted the message, Unix time. */
static int retain(struct session *s, const struct msg_publish *m, struct principal *by, uint64_t ms, const char **ret_text) {
  struct node *n = s->node;
  struct shbuf *payload = NULL, *headers = NULL;
  const struct retained_entry *had = retained_find(&n->messages.retained, m->topic);
  bool more = m->payload.n && !(had && s->account && had->owner == &s->account->retained);
  int err = more ? account_has_room(s, QUOTA_RETAINED, 0, ret_text) : 0;
  if (err) return err;
  if (m->payload.n && !(payload = shbuf_dup(&n->rows.mem[ROW_RETAINED], m->payload))) return MACULA_RETAIN_FULL;
  if (payload && m->headers.count && !(headers = shbuf_dup(&n->rows.mem[ROW_RETAINED], m->headers.raw))) {
    shbuf_unref(payload);
    return MACULA_RETAIN_FULL;
  }
  uint64_t left = m->expires_ms < EXPIRES_MOST ? m->expires_ms : EXPIRES_MOST;
  err = retained_set(&n->messages.retained,
                     &(struct retained_message){.topic = m->topic,
                                                .payload = payload,
                                                .headers = headers,
                                                .header_count = m->headers.count,
                                                .expires = left ? time_add(disk_time(n, UINT64_MAX), left * NS_MS) : 0,
                                                .owner = s->account ? &s->account->retained : NULL,
                                                .ms = ms,
                                                .now = disk_time(n, UINT64_MAX),
                                                .slashes = m->slashes,
                                                .qos = retained_qos(m->qos != 0, m->exactly_once)});
  shbuf_unref(payload);
  shbuf_unref(headers);
  if (!err) retained_set_origin(&n->messages.retained, m->topic, by);
  if (err == MACULA_QUOTA_REACHED) account_full(s, ret_text);
  if (!err) recall_published(n, m->topic, ms, !m->payload.n);
  return err;
}

int publish_retain(struct session *s, const struct msg_publish *m, struct principal *by, uint64_t ms) {
  const char *text;
  return retain(s, m, by, ms, &text);
}

int publish_may(struct session *s, struct slice topic, const char **ret_text) {
  if (!name_is_reserved(topic)) return trust_allows(s, RIGHT_PUB, topic, ret_text);
  *ret_text = "topics under com.macula are published by nodes only";
  return MACULA_NOT_AUTHORIZED;
}

/* The key by which a message that is sent again is recognised. Base-only clients have none, since they count their ids from 1
 * in each run. */
static bool dedup_key(const struct session *s, const struct msg_publish *m, struct dedup_key *ret_key) {
  if (m->qos != 1 || s->base || m->message_id.n != CALL_ID_LEN) return false;
  ret_key->node = s->node->id;
  ret_key->publisher = s->client.id;
  memcpy(ret_key->instance, s->client.instance, INSTANCE_LEN);
  memcpy(ret_key->message_id, m->message_id.p, CALL_ID_LEN);
  return true;
}

/* Finds the topic of *m, by its number or its name, and whether the client may publish to it. buf: room for the name.
 * *ret_text: why not. MACULA_BAD_FRAME: the session is being closed. */
static int find_topic(struct session *s, struct msg_publish *m, char buf[NAME_MAX_LEN + 1], char why[NAME_WHY_LEN],
                      const char **ret_text) {
  struct topic_slot *slot = NULL;
  struct slice given = m->topic;
  size_t len = 0;
  *ret_text = NULL;
  if (!given.p && !(slot = topics_by_number(s, m->topic_number))) return MACULA_BAD_FRAME;
  int err = m->qos > 1 ? MACULA_UNSUPPORTED_QOS : slot ? 0 : name_topic(given, buf, &len);
  *ret_text = name_why(err, NAME_TOPIC, given, why);
  m->topic = slot ? slice_of(slot->topic->name, slot->topic->len) : slice_of(buf, len);
  m->topic_number = slot ? slot->topic->number : 0;
  m->slashes = slot ? slot->slashes : err ? 0 : name_slashes(given);
  if (!err && name_is_sys(m->topic)) {
    *ret_text = "topics under $SYS are the node's own: nobody publishes them";
    err = MACULA_FORBIDDEN;
    s->node->trust.forbidden++;
  }
  if (!err && m->headers.count) err = headers_check(m->headers, ret_text);
  if (!err && m->brief && !msg_publish_fits(m)) err = MACULA_PAYLOAD_TOO_LARGE;
  if (err || (slot && slot->allowed == s->rights.changes)) return err;
  err = publish_may(s, m->topic, ret_text);
  if (!err && slot) slot->allowed = s->rights.changes;
  return err;
}

void publish_message(struct session *s, struct msg_publish *m) {
  struct node *n = s->node;
  struct dedup_key key;
  uint8_t made_id[CALL_ID_LEN];
  char topic[NAME_MAX_LEN + 1], why[NAME_WHY_LEN], buf[SPREAD_TEXT_LEN];
  const char *text;
  struct msg_partly partly = {0};
  struct receivers r; /* most of it is set as it is used */
  r.hit = NULL;
  r.d = NULL;
  bool has_ref = m->has_ref, can_tell = has_ref && (s->caps & CAP_ACK);
  int err = find_topic(s, m, topic, why, &text);
  if (s->state == SESSION_OVER) return;
  bool keyed = !err && dedup_key(s, m, &key);
  bool again = keyed && dedup_seen(&n->messages.dedup, &key, n->now), waits = false;
  m->has_ref = false;
  m->connection = 0;
  m->groups = (struct msg_list){0};
  if (!err && gather_is_on(n) && !gather_is_for(s, m)) s->holds = true; /* one on another stream of its */
  if (s->holds || (!err && !find(s, m, again, &r, &err))) return;
  if (!err) groups_took(&r.picks);
  m->wait = false;
  struct principal *by = err ? NULL : origin_of(s);
  if (!err) {
    if (!m->message_id.p && m->qos) m->message_id = serial_next(&n->messages.made, made_id);
    if (m->retain) m->retained_ms = recall_stamp(n, m->topic);
    if (m->retain && !again && (err = retain(s, m, by, m->retained_ms, &text)) != 0) n->stats.retained_unstored++;
    /* the publisher cannot be told that the message is not retained: it is delivered all the same */
    if (err && !can_tell) err = 0;
  }
  if (err) gather_free(n, r.d); /* it could not be retained */
  if (!err && !again) {
    uint64_t ms = m->retained_ms;
    m->retained_ms = 0; /* for other nodes */
    err = deliver(s, &r, m, by, &partly);
    m->retained_ms = ms;
    n->stats.published += !err;
    if (!err) tally_published(n, m->topic, m->payload.n);
    if (!err && keyed) (void)dedup_add(&n->messages.dedup, &key, n->now);
  }
  /* A message that the publisher sends again, because not all nodes answered in time, goes to all nodes again: those that have
   * it already recognise it. */
  if (!err) err = spread_publish(s, m, &r.to, &r.picks, keyed ? &key : NULL, can_tell, m->ref, &waits, &partly);
  if (err) tally_refused(s, m->topic, err);
  if (err && !can_tell) session_notice(s, err, text);
  if (err && s->base) session_left_out(s, err, text);
  if (!waits && has_ref && !deliver_tell(n, s->serial, NULL, m->ref, err, &partly))
    session_ack_partly(s, m->ref, err, text ? text : spread_text(err, &partly, buf), &partly);
  spread_results(n);
}

void publish_delivered(struct node *n, const struct delivery *d) {
  struct clients_entry *e = clients_of_session(&n->sessions.clients, d->end.session);
  struct session *s = e ? e->user : NULL;
  char buf[SPREAD_TEXT_LEN];
  if (s && s->state == SESSION_IN)
    session_ack_partly(s, d->end.ref, d->end.err, spread_text(d->end.err, &d->end.partly, buf), &d->end.partly);
}

/* MACULA_EFULL: its queue has no room now. */
static int send_one(struct session *s, const struct msg_publish *m, const struct principal *by, bool must_fit) {
  struct node *n = s->node;
  struct fanout f;
  struct parcel *p;
  fanout_init(&f, n, m, by);
  int err = fanout_for(&f, s, &p);
  bool fits =
      err || !must_fit || (parcel_fits(s, p) && session_queued(s) <= n->limits.client_queue); /* what was retained can wait */
  if (!err && !fits) err = MACULA_EFULL;
  if (!err) (void)parcel_deliver(n, s, p);
  fanout_done(&f);
  return err;
}

void publish_recalled(struct session *s, const struct msg_publish *m, const struct principal *by) {
  struct node *n = s->node;
  uint8_t id[CALL_ID_LEN];
  if (name_is_sys(m->topic)) return;
  struct msg_publish out = {.topic = m->topic,
                            .payload = m->payload,
                            .qos = m->qos,
                            .retain = true,
                            .replay = s->door.ops->tells_replays,
                            .slashes = m->slashes,
                            .headers = m->headers,
                            .expires_ms = m->expires_ms,
                            .exactly_once = m->exactly_once,
                            .message_id = serial_next(&n->messages.made, id)};
  if (send_one(s, &out, by, false)) n->stats.dropped++;
}

int publish_retained(struct session *s, const struct retained_entry *e) {
  struct node *n = s->node;
  uint8_t id[CALL_ID_LEN];
  struct msg_publish m = {.topic = slice_of(e->topic, e->len),
                          .payload = shbuf_view(e->payload),
                          .retain = true,
                          .replay = s->door.ops->tells_replays,
                          .slashes = e->slashes,
                          .message_id = serial_next(&n->messages.made, id)};
  if (retained_is_over(e, disk_time(n, UINT64_MAX))) return 0;
  recall_put_rest(n, e, &m);
  int err = send_one(s, &m, e->origin, true);
  return err == MACULA_ENOMEM ? MACULA_EFULL : err;
}

/* ---- subscribe -------------------------------------------------------------------------------------------------------------
 */
#define MOST_NAMES 4096 /* cursor.h: a frame has no more elements */
#define IS_NEW 0x80u    /* beside flags: the client did not hold the pattern */

static const char group_text[] = "a group's name is not empty, and has with the pattern at most 253 bytes and 31 segments";

/* The pattern as it stands in the index: its stored form, with the group's name. */
static int stored(const struct msg_subscribe *m, struct slice name, char ret_key[NAME_MAX_LEN + 1], size_t *ret_len) {
  char pattern[NAME_MAX_LEN + 1];
  if (!m->group.p) return name_pattern(name, ret_key, ret_len);
  int err = name_pattern(name, pattern, ret_len);
  return err ? err : group_key(m->group, slice_of(pattern, *ret_len), ret_key, ret_len);
}

/* 0 if all names are patterns, else what is wrong with *ret_bad, and *ret_text if that does not say it. */
static int check_patterns(const struct session *s, const struct msg_subscribe *m, struct slice *ret_bad,
                          const char **ret_text) {
  struct msg_list names = m->topics;
  char key[NAME_MAX_LEN + 1];
  size_t len;
  int err = m->group.p && !(s->caps & CAP_GROUPS) ? MACULA_EINVAL : 0;
  *ret_text = err ? "a group needs the capabilities `groups` and `headers`" : NULL;
  while (!err && msg_list_next(&names, ret_bad)) {
    err = stored(m, *ret_bad, key, &len);
    if (err && m->group.p && !name_pattern(*ret_bad, key, &len)) *ret_text = group_text;
  }
  return err;
}

/* *ret_was: the flags of the pattern before, or IS_NEW. *ret_text: set when a quota is reached. */
static int take_pattern(struct session *s, struct slice pattern, uint32_t flags, uint8_t *ret_was, const char **ret_text) {
  struct topic_index *topics = s->node->messages.topics;
  bool added = false;
  uint32_t was = topic_index_flags(topics, &s->topics, pattern);
  bool grouped = group_name(pattern).n;
  if (grouped && s->group_count >= GROUPS_A_CLIENT && !topic_index_has(topics, &s->topics, pattern)) {
    *ret_text = "a client is a member of at most 64 groups";
    return MACULA_MAX_SUBSCRIPTIONS_REACHED;
  }
  int err = topic_index_subscribe(topics, &s->topics, pattern, flags, &added);
  if (!err && added) s->group_count += grouped;
  if (!err && added) err = account_has_room(s, QUOTA_SUBSCRIPTIONS, 1, ret_text);
  if (!err && added) err = spread_subscribe(s->node, pattern);
  if (!err && added && !grouped) gather_subscribed(s, pattern);
  if (err && added) (void)topic_index_unsubscribe(topics, &s->topics, pattern);
  if (err && added) s->group_count -= grouped;
  if (!err) *ret_was = added ? IS_NEW : (uint8_t)was;
  return err;
}

static bool drop_pattern(struct session *s, struct slice pattern) {
  if (topic_index_unsubscribe(s->node->messages.topics, &s->topics, pattern)) return false;
  s->group_count -= group_name(pattern).n != 0;
  spread_unsubscribe(s->node, pattern);
  return true;
}

/* A request fails whose first patterns were taken: each is what it was before. (One that is named twice had these very flags
 * the second time.) */
static void restore_pattern(struct session *s, struct slice pattern, uint32_t flags, uint8_t was) {
  bool added;
  if (was == IS_NEW)
    (void)drop_pattern(s, pattern);
  else if (was != flags)
    (void)topic_index_subscribe(s->node->messages.topics, &s->topics, pattern, was, &added); /* it is there: cannot fail */
}

/* What nodes tell of themselves is for operators. */
static int may_subscribe(struct session *s, struct slice key, const char **ret_text) {
  if (!name_is_reserved(key)) return trust_allows(s, RIGHT_SUB, group_pattern(key), ret_text);
  if (s->trusted) return 0;
  *ret_text = "topics under com.macula are for operators";
  return MACULA_NOT_AUTHORIZED;
}

void publish_subscribe(struct session *s, struct msg_subscribe m) {
  uint8_t was[MOST_NAMES];
  uint32_t flags = (m.own || s->base ? TOPIC_OWN : 0) | (m.qos ? TOPIC_QOS1 : 0), i = 0, done;
  char pattern[NAME_MAX_LEN + 1], why[NAME_WHY_LEN];
  struct msg_list l = m.topics;
  struct slice topic = SLICE_NONE;
  const char *forbidden = NULL, *text = NULL;
  size_t len;
  int err = m.qos > 1 ? MACULA_UNSUPPORTED_QOS : check_patterns(s, &m, &topic, &text);
  if (!text) text = name_why(err, NAME_PATTERN, topic, why);
  if (m.group.p) m.retained = RETAINED_NEVER;
  s->node->trust.cost = 0;
  for (; !err && msg_list_next(&l, &topic); i += !err) {
    s->slashes |= s->base && name_slashes(topic);
    if ((err = stored(&m, topic, pattern, &len)) == 0) err = may_subscribe(s, slice_of(pattern, len), &forbidden);
    if (!err && !trust_afford(s->node)) err = MACULA_RATE_LIMITED;
    uint32_t own = name_is_reserved(slice_of(pattern, len)) ? TOPIC_OF_NODE : 0;
    if (!err) err = take_pattern(s, slice_of(pattern, len), flags | own, &was[i], &forbidden);
  }
  if (forbidden) text = forbidden;
  done = i;
  if (err == MACULA_ENOMEM) err = MACULA_MAX_SUBSCRIPTIONS_REACHED; /* no room left in subscription_bytes */
  if (!err) session_ack(s, m.has_ref, m.ref, 0, NULL);
  for (i = 0, l = m.topics; i < done && msg_list_next(&l, &topic); i++) {
    if (stored(&m, topic, pattern, &len)) continue;
    if (err) {
      restore_pattern(s, slice_of(pattern, len), flags | (name_is_reserved(slice_of(pattern, len)) ? TOPIC_OF_NODE : 0),
                      was[i]);
    } else if (m.retained == RETAINED_ALWAYS || (was[i] == IS_NEW && m.retained != RETAINED_NEVER)) {
      if (was[i] != IS_NEW) { /* all of it once again, and once only */
        replay_stop(s, slice_of(pattern, len));
        recall_unsubscribe(s, slice_of(pattern, len));
      }
      replay_start(s, slice_of(pattern, len));
      recall_subscribe(s, slice_of(pattern, len));
    }
  }
  if (err) session_ack(s, m.has_ref, m.ref, err, text);
}

/* Ends all that are named, or none if one is no pattern. A client that cannot be told so cannot hold that one: the others go.
 */
void publish_unsubscribe(struct session *s, struct msg_subscribe m) {
  char pattern[NAME_MAX_LEN + 1], why[NAME_WHY_LEN];
  struct slice topic = SLICE_NONE;
  size_t len;
  const char *text;
  int err = check_patterns(s, &m, &topic, &text);
  if (!text) text = name_why(err, NAME_PATTERN, topic, why);
  bool can_tell = m.has_ref && (s->caps & CAP_ACK);
  while ((!err || !can_tell) && msg_list_next(&m.topics, &topic)) {
    if (stored(&m, topic, pattern, &len) || !drop_pattern(s, slice_of(pattern, len)))
      continue; /* not held: idempotent, as in the original */
    replay_stop(s, slice_of(pattern, len));
    recall_unsubscribe(s, slice_of(pattern, len));
  }
  session_ack(s, m.has_ref, m.ref, err, text);
}
