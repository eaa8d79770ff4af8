/* Frames for nodes that nobody can dial, through the gateway that they stay connected to: RPC_ROUTE, and PUBSUB_ROUTE for
 * publishes.
 *
 * An envelope names the nodes that it has passed (path), so that it never passes one twice, and passes at most 10. A CALL that
 * cannot be forwarded is answered with no_route or max_hops_exceeded, in the name of the node that it was for; any other frame
 * that cannot be forwarded is dropped and counted. */
#include "node/peers/route.h"

#include "base/err.h"
#include "node/peers/peer.h"
#include "node/session/session.h"
#include "wire/answer.h"
#include "wire/frame.h"

#define MAX_HOPS 10
#define ROOM 1024u /* bytes of an envelope beside its payload, at most */

struct envelope {
  struct id destination, source, path[MAX_HOPS];
  uint32_t path_len;
  uint64_t hops, max_hops;
};

/* ---- sending ---------------------------------------------------------------------------------------------------------------
 */
static int send_over(struct peer *hop, const struct envelope *e, uint8_t type, struct slice payload) {
  struct slice path[MAX_HOPS];
  for (uint32_t i = 0; i < e->path_len; i++) path[i] = slice_of(e->path[i].b, ID_LEN);
  struct msg m = {.type = type == MSG_PUBLISH ? MSG_PUBSUB_ROUTE : MSG_RPC_ROUTE,
                  .route = {.destination = slice_of(e->destination.b, ID_LEN),
                            .source = slice_of(e->source.b, ID_LEN),
                            .hop_count = e->hops,
                            .max_hops = e->max_hops,
                            .payload_type = slice_str(msg_type_name(type)),
                            .topic = slice_of("", 0),
                            .payload = payload,
                            .path = {.count = e->path_len, .items = path}}};
  if (payload.n + ROOM > FRAME_MAX_PAYLOAD) return MACULA_PAYLOAD_TOO_LARGE;
  return hop->link ? session_send(hop->link, &m, false) : MACULA_NOT_CONNECTED;
}

static int send_new(struct peer *via, struct peer *to, uint8_t type, struct slice payload) {
  struct node *n = to->node;
  struct envelope e = {.destination = to->id, .source = n->id, .path = {n->id}, .path_len = 1, .max_hops = MAX_HOPS};
  return send_over(via, &e, type, payload);
}

int route_through(struct peer *via, struct peer *to, const struct msg *m) {
  struct parcel p;
  int err = parcel_encode(&p, &to->node->rows.mem[ROW_SEND], m, SIZE_MAX);
  if (err) return err;
  err = send_new(via, to, (uint8_t)m->type, parcel_payload(&p));
  parcel_done(&p);
  return err;
}

int route_send(struct peer *p, const struct msg *m) { return p->via ? route_through(p->via, p, m) : MACULA_NO_ROUTE; }

int route_frame(struct peer *p, const struct parcel *frame) {
  return p->via ? send_new(p->via, p, frame->frame.p[1], parcel_payload(frame)) : MACULA_NO_ROUTE;
}

/* ---- receiving -------------------------------------------------------------------------------------------------------------
 */
/* from: the node over whose link the envelope came, which must be the last one of its path. */
static bool open_envelope(const struct peer *from, const struct msg_route *m, struct envelope *ret) {
  struct msg_list path = m->path;
  struct slice id;
  *ret = (struct envelope){.hops = m->hop_count, .max_hops = m->max_hops < MAX_HOPS ? m->max_hops : MAX_HOPS};
  if (m->destination.n != ID_LEN || m->source.n != ID_LEN || !path.count || path.count > MAX_HOPS) return false;
  memcpy(ret->destination.b, m->destination.p, ID_LEN);
  memcpy(ret->source.b, m->source.p, ID_LEN);
  while (msg_list_next(&path, &id)) {
    if (id.n != ID_LEN) return false;
    memcpy(ret->path[ret->path_len++].b, id.p, ID_LEN);
  }
  return ret->path_len && id_eq(&ret->path[ret->path_len - 1], &from->id);
}

static bool passed(const struct envelope *e, const struct id *id) {
  for (uint32_t i = 0; i < e->path_len; i++)
    if (id_eq(&e->path[i], id)) return true;
  return false;
}

static int type_of(const struct msg_route *m, bool publish) {
  if (publish) return MSG_PUBLISH;
  for (int t = 0; t < 256; t++)
    if (slice_is(m->payload_type, msg_type_name((uint8_t)t))) return t;
  return -1;
}

/* The envelope cannot be forwarded. If it carries a CALL, an error reply goes back over the link by which it came. */
static void report(struct peer *from, const struct envelope *e, int type, struct slice payload, int err) {
  struct node *n = from->node;
  struct msg m;
  n->stats.routes_failed++;
  if (type != MSG_CALL || msg_decode(MSG_CALL, payload, &m)) return;
  struct msg reply = answer_error(m.call.call_id, err, NULL, true);
  struct envelope back = {
      .destination = e->source, .source = e->destination, .path = {n->id}, .path_len = 1, .max_hops = MAX_HOPS};
  struct parcel p;
  if (parcel_encode(&p, &n->rows.mem[ROW_SEND], &reply, SIZE_MAX)) return;
  (void)send_over(from, &back, MSG_REPLY, parcel_payload(&p));
  parcel_done(&p);
}

/* Whether a frame in p's name may come through `from`. Envelopes are not signed, so only the gateway of a node that cannot be
 * dialled may forward in its name; if we are such a node ourselves, any node may forward to us. REPLY and CANCEL may come from
 * anybody, as they name a call id that nobody else can know. Frames of membership, the DHT and interest (msg_is_raw) are taken
 * only over p's own link while it has one. */
static bool may_speak_for(const struct peer *from, const struct peer *p, int type) {
  if (msg_is_raw(type) && p->link) return false;
  if (type == MSG_REPLY || type == MSG_CANCEL || from->node->mesh.hidden) return true;
  return !p->link && !addr_is_set(&p->addr) && (!p->via || p->via == from);
}

/* The envelope is for us: the peer in whose name it speaks; NULL: `from` may not speak for that one. */
static struct peer *arrived(struct peer *from, const struct envelope *e, int type) {
  struct node *n = from->node;
  struct peer *p = type < 0 || type == MSG_RPC_ROUTE || type == MSG_PUBSUB_ROUTE ? NULL : peer_told(n, &e->source, false);
  if (!p || !may_speak_for(from, p, type)) {
    n->stats.routes_failed++;
    return NULL;
  }
  n->stats.routes_delivered++;
  p->back = from->id;
  if (!p->link && !addr_is_set(&p->addr) && !p->via) peer_where(p, NULL, &from->id);
  return p;
}

/* The next node on the way to the destination: the destination itself if it has a link, else its gateway. */
static struct peer *next_hop(const struct node *n, const struct envelope *e) {
  struct peer *p = peer_find(n, &e->destination);
  if (p && !p->link) p = p->via;
  return p && p->link && !passed(e, &p->id) ? p : NULL;
}

struct peer *route_received(struct peer *from, const struct msg *m, uint8_t *ret_type) {
  struct node *n = from->node;
  struct envelope e;
  int type = type_of(&m->route, m->type == MSG_PUBSUB_ROUTE);
  if (!open_envelope(from, &m->route, &e) || passed(&e, &n->id)) {
    n->stats.routes_failed++;
    return NULL;
  }
  if (id_eq(&e.destination, &n->id)) {
    *ret_type = (uint8_t)type;
    return arrived(from, &e, type);
  }
  struct peer *hop = next_hop(n, &e);
  int err = type < 0                                             ? MACULA_BAD_FRAME
            : e.hops + 1 >= e.max_hops || e.path_len >= MAX_HOPS ? MACULA_MAX_HOPS_EXCEEDED
            : !hop                                               ? MACULA_NO_ROUTE
                                                                 : 0;
  if (!err) {
    e.hops++;
    e.path[e.path_len++] = n->id;
    err = send_over(hop, &e, (uint8_t)type, m->route.payload);
  }
  if (!err)
    n->stats.routes_forwarded++;
  else
    report(from, &e, type, m->route.payload, err == MACULA_MAX_HOPS_EXCEEDED ? err : MACULA_NO_ROUTE);
  return NULL;
}
