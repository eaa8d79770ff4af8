/* Frames for nodes that have no link to this one, through the gateway that they stay connected to or through a relay:
 * RPC_ROUTE, and PUBSUB_ROUTE for publishes.
 *
 * An envelope names the nodes that it has passed (path), so that it never passes one twice, and passes at most 10. Its seal
 * says who sent it (seal.h); whoever hands it over proves nothing. Three kinds of envelopes have no seal: offers and answers of
 * keys, which are signed, and NOT_ROUTED, by which a node says in its own name that it could not carry one on. That counts only
 * from the node to which the envelope was given, which could as well have dropped it. */
#include "node/peers/route.h"

#include "base/err.h"
#include "node/peers/forgot.h"
#include "node/peers/peer.h"
#include "node/peers/seal.h"
#include "node/session/lane.h"
#include "node/session/session.h"
#include "wire/agree.h"
#include "wire/frame.h"

#define MAX_HOPS 10

struct envelope {
  struct id destination, source, path[MAX_HOPS];
  uint32_t path_len;
  uint64_t hops, max_hops;
  struct slice seal;
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
                            .path = {.count = e->path_len, .items = path},
                            .seal = e->seal}};
  if (payload.n + ROUTE_BESIDE > FRAME_MAX_PAYLOAD) return MACULA_PAYLOAD_TOO_LARGE;
  return hop->link ? session_send(hop->link, &m, false) : MACULA_NOT_CONNECTED;
}

static struct envelope new_envelope(const struct node *n, const struct id *to) {
  return (struct envelope){.destination = *to, .source = n->id, .path = {n->id}, .path_len = 1, .max_hops = MAX_HOPS};
}

int route_bare(struct peer *hop, const struct id *to, uint8_t type, struct slice payload) {
  struct envelope e = new_envelope(hop->node, to);
  return send_over(hop, &e, type, payload);
}

static int send_sealed(struct peer *via, struct peer *to, enum agree_space space, uint8_t type, struct slice payload) {
  struct node *n = to->node;
  struct envelope e = new_envelope(n, &to->id);
  struct agree_envelope what = {.destination = to->id, .source = n->id, .type = type, .payload = payload};
  uint8_t seal[AGREE_SEAL_LEN];
  if (!via || !via->link || !seal_ready(to)) return MACULA_NOT_CONNECTED;
  seal_make(to, space, &what, seal);
  e.seal = slice_of(seal, sizeof seal);
  return send_over(via, &e, type, payload);
}

static enum agree_space space_of(const struct msg *m) {
  return m->type == MSG_PUBLISH ? AGREE_PUBLISHES : lane_is_large(m) ? AGREE_LARGE_CALLS : AGREE_CALLS;
}

int route_sealed(struct peer *p, uint8_t type, struct slice payload) {
  struct msg m = {.type = (enum msg_type)type};
  if (lane_may_be_large(type, payload.n)) (void)msg_decode(type, payload, &m);
  return send_sealed(p->via, p, space_of(&m), type, payload);
}

static int send_msg(struct peer *via, struct peer *to, enum agree_space space, const struct msg *m) {
  struct parcel p;
  int err = parcel_encode(&p, &to->node->rows.mem[ROW_SEND], m, SIZE_MAX);
  if (err) return err;
  err = send_sealed(via, to, space, (uint8_t)m->type, parcel_payload(&p));
  parcel_done(&p);
  return err;
}

int route_through(struct peer *via, struct peer *to, const struct msg *m) {
  return send_msg(via, to, lane_is_large(m) ? AGREE_LARGE_ANSWERS : AGREE_ANSWERS, m);
}

int route_send(struct peer *p, const struct msg *m) { return p->via ? send_msg(p->via, p, space_of(m), m) : MACULA_NO_ROUTE; }

int route_frame(struct peer *p, const struct parcel *frame) {
  return p->via ? route_sealed(p, frame->frame.p[1], parcel_payload(frame)) : MACULA_NO_ROUTE;
}

/* ---- receiving -------------------------------------------------------------------------------------------------------------
 */
/* from: the node over whose link the envelope came, which must be the last one of its path. */
static bool open_envelope(const struct peer *from, const struct msg_route *m, struct envelope *ret) {
  struct msg_list path = m->path;
  struct slice id;
  *ret = (struct envelope){.hops = m->hop_count, .max_hops = m->max_hops < MAX_HOPS ? m->max_hops : MAX_HOPS, .seal = m->seal};
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

/* The envelope cannot be forwarded: its source is told, over the link by which it came, if it held what is waited for. */
static void report(struct peer *from, const struct envelope *e, int type, struct slice payload, int err) {
  struct node *n = from->node;
  struct msg m;
  uint8_t buf[128];
  struct wire_not_routed r = {.destination = slice_of(e->destination.b, ID_LEN), .code = slice_str(macula_err_name(err))};
  n->stats.routes_failed++;
  if (type != MSG_CALL && type != MSG_PUBLISH && type != MSG_AGREE) return;
  if (type == MSG_CALL && msg_decode(MSG_CALL, payload, &m)) return;
  if (type == MSG_CALL) r.call_id = m.call.call_id;
  (void)route_bare(from, &e->source, MSG_NOT_ROUTED, slice_of(buf, wire_not_routed_encode(&r, buf, sizeof buf)));
}

static struct peer *not_routed(struct peer *from, struct slice payload) {
  struct wire_not_routed r;
  struct id id;
  if (wire_not_routed_decode(payload, &r)) return NULL;
  memcpy(id.b, r.destination.p, ID_LEN);
  struct peer *p = peer_find(from->node, &id);
  return p && seal_not_routed(from, p) ? p : NULL;
}

/* The envelope is for us: the peer that sent it; NULL: none is proved to have, or it was about keys. Frames of membership, the
 * DHT and interest (msg_is_raw) are taken only over a peer's own link while it has one, so that they stay in order. */
static struct peer *arrived(struct peer *from, const struct envelope *e, int type, struct slice payload) {
  struct node *n = from->node;
  struct agree_envelope what = {.destination = e->destination, .source = e->source, .type = (uint8_t)type, .payload = payload};
  struct peer *p = NULL;
  if (type == MSG_AGREE && !e->seal.n) {
    if (!id_eq(&e->source, &n->id)) seal_heard(from, &e->source, payload);
    return NULL;
  }
  if (type == MSG_NOT_ROUTED)
    p = not_routed(from, payload);
  else if (type >= 0 && type != MSG_RPC_ROUTE && type != MSG_PUBSUB_ROUTE)
    p = seal_open(from, &what, e->seal);
  if (p && type == MSG_AGREE) forgot_heard(p, e->seal, payload);
  if (p && p->link && msg_is_raw(type)) p = NULL;
  if (!p) n->stats.routes_failed++;
  if (p) n->stats.routes_delivered++;
  return type == MSG_AGREE ? NULL : p;
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
    return arrived(from, &e, type, m->route.payload);
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
