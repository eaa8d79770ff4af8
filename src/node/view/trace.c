#include "node/view/trace.h"

#include "base/err.h"
#include "node/peers/peer.h"
#include "node/session/session.h"
#include "node/session/tally.h"
#include "wire/group.h"
#include "wire/names.h"

typedef json_int_t ji;

#define MATCH_STEPS 8000u /* pairs of node and position that each of two matches may visit: a millisecond */
#define NODES_MOST 256u   /* as many as interest is exchanged with */
#define DROPS_SHOWN 32u
#define GROUPS_SHOWN 64u

static json_t *hex(const struct id *id) {
  char text[ID_HEX_LEN + 1];
  id_hex(id, text);
  return json_string(text);
}

static json_t *text_json(struct slice s) { return json_stringn((const char *)s.p, s.n); }
static ji ms_since(const struct node *n, nanotime at) { return (ji)(time_since(n->now, at) / NS_MS); }

/* ---- the topics of which most is published ---------------------------------------------------------------------------------
 */
static json_t *counts(const struct node *n, const struct heavy_entry *e) {
  return json_pack("{s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:I}", "topic", text_json(slice_of(e->name, e->len)),
                   "messages", (ji)e->count[HEAVY_MESSAGES], "bytes", (ji)e->count[HEAVY_BYTES], "dropped",
                   (ji)e->count[HEAVY_DROPPED], "refused", (ji)e->count[HEAVY_REFUSED], "per_s",
                   heavy_per_s(e, HEAVY_MESSAGES, n->now), "bytes_per_s", heavy_per_s(e, HEAVY_BYTES, n->now), "dropped_per_s",
                   heavy_per_s(e, HEAVY_DROPPED, n->now), "refused_per_s", heavy_per_s(e, HEAVY_REFUSED, n->now), "age_s",
                   (ji)(time_since(n->now, e->since) / NS_SEC));
}

json_t *trace_topics(const struct node *n, size_t offset, size_t limit, size_t *ret_total) {
  const struct heavy *h = &n->tally.topics;
  json_t *rows = json_array();
  *ret_total = h->tab.count;
  for (size_t i = offset; rows && i < h->tab.count && i - offset < limit; i++) json_array_append_new(rows, counts(n, h->at[i]));
  return rows;
}

/* ---- who would hear it -----------------------------------------------------------------------------------------------------
 */
static json_t *listener(const struct session *s, bool qos1) {
  struct door_view v = door_view(&s->door);
  struct id id = s->client.id;
  if (id_is_zero(&id)) memcpy(id.b, s->client.instance, INSTANCE_LEN);
  return json_pack("{s:o, s:s, s:s, s:b, s:i, s:I, s:I}", "id", hex(&id), "name", s->name ? s->name : "", "door", v.door,
                   "connected", !door_is_away(&s->door), "qos", qos1 ? 1 : 0, "queued_bytes",
                   (ji)(session_queued(s) + v.queued_bytes), "dropped", (ji)(s->dropped + v.dropped));
}

/* Clients of this node, and names of groups of which one member gets it. */
static int put_clients(struct node *n, struct slice topic, size_t offset, size_t limit, json_t *ret) {
  if (n->messages.rest && n->messages.rest->g) return MACULA_RATE_LIMITED; /* another match would end that one (gather.h) */
  uint32_t left = MATCH_STEPS;
  json_t *rows = json_array(), *groups = json_array();
  char key[NAME_MAX_LEN + 1];
  size_t total = 0;
  bool of_node = name_is_reserved(topic);
  struct topic_subscriber *hit = topic_index_match_within(n->messages.topics, topic, &left);
  for (; hit; hit = hit->next_hit) {
    const struct session *s = hit->user;
    if (s->state != SESSION_IN || (of_node && !(hit->flags & TOPIC_OF_NODE))) continue;
    if (total >= offset && total - offset < limit) json_array_append_new(rows, listener(s, hit->flags & TOPIC_QOS1));
    total++;
  }
  for (const struct topic_group *g = topic_index_groups(n->messages.topics); g && json_array_size(groups) < GROUPS_SHOWN;
       g = topic_group_next(g))
    json_array_append_new(groups, text_json(group_name(slice_of(key, topic_group_key(g, key)))));
  json_object_set_new(ret, "total", json_integer((ji)total));
  json_object_set_new(ret, "clients", rows);
  json_object_set_new(ret, "groups", groups);
  return left ? 0 : MACULA_RATE_LIMITED;
}

/* By which way what is for the node goes. */
static const char *way_of(const struct peer *p) {
  return p->link ? "link" : !peer_is_up(p) ? "none" : p->unreachable ? "relay" : "gateway";
}

static json_t *node_row(const struct node *n, const struct peer *p, const char *why) {
  const struct session *path = peer_path(p);
  return json_pack("{s:o, s:s, s:s, s:s, s:o?, s:o?, s:I, s:b}", "id", hex(&p->id), "name", p->name, "why", why, "way",
                   way_of(p), "via", !p->link && p->via ? hex(&p->via->id) : NULL, "rtt_us",
                   path ? json_integer((ji)(peer_path_rtt(p, path) / NS_US)) : NULL, "queued_bytes",
                   (ji)(path ? session_queued(path) : 0), "silent", p->spread.silent || n->now < p->spread.silent_until);
}

struct nodes {
  const struct peer *at[NODES_MOST];
  size_t count;
};

static bool add_node(struct nodes *all, const struct peer *p) {
  for (size_t i = 0; i < all->count; i++)
    if (all->at[i] == p) return false;
  if (all->count == NODES_MOST) return false;
  all->at[all->count++] = p;
  return true;
}

/* Other nodes: those with subscribers, those of whose groups a member may get it, and those that have not said yet. */
static int put_nodes(struct node *n, struct slice topic, json_t *ret) {
  uint32_t left = MATCH_STEPS;
  struct nodes all = {.count = 0};
  json_t *rows = json_array();
  struct topic_subscriber *hit = list_empty(&n->spread.peers) ? NULL : interest_match(n->spread.interest, topic, &left);
  for (; hit; hit = hit->next_hit)
    if (add_node(&all, hit->user)) json_array_append_new(rows, node_row(n, hit->user, "listens"));
  const struct topic_group *g = list_empty(&n->spread.peers) ? NULL : interest_groups(n->spread.interest);
  for (; g; g = topic_group_next(g))
    for (struct topic_sub *m = NULL; (m = topic_group_member(g, m)) != NULL;) {
      const struct peer *p = topic_sub_subscriber(m)->user;
      if (add_node(&all, p)) json_array_append_new(rows, node_row(n, p, "group"));
    }
  list_for(it, &n->spread.peers) {
    const struct peer *p = container_of(it, const struct peer, spread.of_node);
    if (!p->spread.interest.whole && !p->spread.dead && add_node(&all, p))
      json_array_append_new(rows, node_row(n, p, "unknown"));
  }
  json_object_set_new(ret, "nodes", rows);
  return left ? 0 : MACULA_RATE_LIMITED;
}

/* ---- what was lost ---------------------------------------------------------------------------------------------------------
 */
static json_t *drop_row(const struct node *n, const struct drop *d) {
  static const char *const who[] = {[DROP_READER] = "reader", [DROP_PUBLISHER] = "publisher", [DROP_NODE] = "node"};
  return json_pack("{s:s, s:s, s:o, s:s, s:I, s:I, s:I}", "reason", d->reason, "who", who[d->who], "id", hex(&d->id), "name",
                   d->name, "count", (ji)d->count, "first_ms", ms_since(n, d->first), "last_ms", ms_since(n, d->last));
}

/* The latest first. */
static json_t *drops(const struct node *n, struct slice topic) {
  json_t *rows = json_array();
  for (const struct drop *d = NULL; (d = tally_next(n, d)) != NULL;) {
    if (!slice_eq(slice_of(d->topic, d->len), topic)) continue;
    json_array_insert_new(rows, 0, drop_row(n, d));
    if (json_array_size(rows) > DROPS_SHOWN) json_array_remove(rows, DROPS_SHOWN);
  }
  return rows;
}

static const char *page_of(json_t *j, size_t *ret_offset, size_t *ret_limit) {
  ji offset = json_integer_value(json_object_get(j, "offset")), limit = json_integer_value(json_object_get(j, "limit"));
  *ret_offset = offset > 0 ? (size_t)offset : 0;
  *ret_limit = limit > 0 && limit < (ji)LIST_PAGE ? (size_t)limit : LIST_PAGE;
  return json_string_value(json_object_get(j, "topic"));
}

int trace_topic(struct node *n, struct slice args, const char **ret_text, char **ret_json) {
  char topic[NAME_MAX_LEN + 1];
  size_t len, offset, limit;
  json_t *j = args.n && args.n < 4096 ? json_loadb((const char *)args.p, args.n, 0, NULL) : NULL;
  const char *given = page_of(j, &offset, &limit);
  int err = given ? name_topic(slice_str(given), topic, &len) : MACULA_INVALID_TOPIC;
  json_decref(j);
  if (err) {
    *ret_text = "trace takes a topic, without wildcards, as {\"topic\":TOPIC}";
    return err;
  }
  struct slice name = slice_of(topic, len);
  uint64_t refused = n->rows.account[ROW_ADMIN]->refused;
  const struct heavy_entry *e = heavy_has(&n->tally.topics, name);
  json_t *a = json_pack("{s:s, s:o, s:s, s:b, s:o, s:o?}", "topic", topic, "node", hex(&n->id), "name", n->name, "retained",
                        retained_find(&n->messages.retained, name) != NULL, "drops", drops(n, name), "counted",
                        e ? counts(n, e) : NULL);
  if (!a) return MACULA_ENOMEM;
  err = put_clients(n, name, offset, limit, a);
  if (!err) err = put_nodes(n, name, a);
  if (err) *ret_text = "the topic reaches too many patterns to be looked at";
  char *text = err ? NULL : json_dumps(a, JSON_COMPACT);
  json_decref(a);
  if (err) return err;
  if (!text || n->rows.account[ROW_ADMIN]->refused != refused) {
    node_text_free(text);
    return MACULA_ENOMEM;
  }
  *ret_json = text;
  return 0;
}
