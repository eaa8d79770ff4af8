/* Links: connections to other nodes, dialled by us or by them.
 *
 * Both ends of a link name the capability `node` in CONNECT and PONG and prove their ids in the handshake, so a link belongs to
 * exactly one peer. Two nodes that dial each other at once end up with one link: the connection dialled by the node with the
 * smaller id stays, the other one is refused as `duplicate`, and the node that was refused waits for the first. A CONNECT with
 * another instance comes from a new run of the node and replaces any link of the earlier run, which must be over.
 *
 * It may not be over: where a state folder was copied, two live nodes have one identity, and each replaces the other's links. A
 * run that was replaced connects again at once, so a node that sees a run come back after another one knows that both live.
 * From then on it accepts the run that started earlier (by their instances) and refuses the other one as `identity_in_use`. The
 * refused run tries again now and then, as the earlier one may have gone for good. */
#include "node/peers/link.h"

#include <assert.h>
#include <stdio.h>

#include "base/err.h"
#include "base/utf8.h"
#include "node/peers/events.h"
#include "node/peers/join.h"
#include "node/peers/peer.h"
#include "node/peers/revoked.h"
#include "node/peers/seal.h"
#include "node/peers/silent.h"
#include "node/session/session.h"
#include "node/trust/judge.h"

#define DIAL_TIMEOUT (5 * NS_SEC) /* until PONG */
#define BACKOFF_MIN (100 * NS_MS)
#define BACKOFF_MAX (10 * NS_SEC)
/* a link may use as much of connection_pool as 16 clients: a busy client holds 88 KiB, a busy link up to 1.3 MiB
 * (docs/memory.md) */
#define LINK_SHARES 16u
/* between two log lines about one identity; for all identities together the next two lines bound them, since anybody can make
 * identities */
#define TWICE_SAID (3600 * NS_SEC)
#define TWICE_RATE (1.0 / 60)
#define TWICE_BURST 10.0
#define LINK_CAPS                                                                                                              \
  (CAP_PUBSUB | CAP_RPC | CAP_ACK | CAP_CANCEL | CAP_NODE | CAP_ORIGIN | CAP_STREAMS | CAP_TOPICS | CAP_HEADERS | CAP_GROUPS)

/* The address in a field that another node sent; sa_family 0: none. A link-local address is ignored: its zone names an
 * interface of that node's machine and means nothing here.
 */
static struct addr told_addr(struct slice from) {
  char text[ADDR_TEXT_LEN];
  struct addr a;
  if (!from.n || from.n >= sizeof text || memchr(from.p, '%', from.n)) return (struct addr){0};
  memcpy(text, from.p, from.n);
  text[from.n] = 0;
  return addr_parse(text, 0, &a) || addr_is_link_local(&a) ? (struct addr){0} : a;
}

static void label(struct peer *p, struct slice name) { utf8_label(name, p->name, NAME_KEPT); }

/* ---- dialling --------------------------------------------------------------------------------------------------------------
 */
/* A socket on a loopback address reaches only loopback addresses, one on any other address only the others. */
static const struct addr *socket_for(const struct node *n, const struct addr *to) {
  const struct addr *best = NULL;
  for (size_t i = 0; i < n->mesh.socket_count; i++) {
    const struct addr *a = &n->mesh.sockets[i];
    if (a->sa.sa_family != to->sa.sa_family) continue;
    if (addr_is_any(a) || addr_is_loopback(a) == addr_is_loopback(to)) return a;
    if (!best) best = a;
  }
  return best;
}

static void back_off(struct peer *p) {
  struct node *n = p->node;
  uint64_t wait = BACKOFF_MIN << (p->failures < 7 ? p->failures : 7);
  if (wait > BACKOFF_MAX) wait = BACKOFF_MAX;
  p->failures++;
  p->dial_at = time_add(n->now, wait / 2 + rng_below(n->rng, wait / 2 + 1));
}

int link_may_dial(const struct node *n, const struct addr *to, const struct peer *p, const struct seed *seed) {
  if ((seed && (seed->keep || seed->met)) || (p && addr_eq(to, &p->run_at))) return 0;
  return silent_may(n, to);
}

int link_dial(struct node *n, const struct addr *to, const struct id *expect, struct peer *p, struct seed *seed) {
  const struct addr *local = socket_for(n, to);
  if (!local) return MACULA_NOT_CONNECTED;
  int err = link_may_dial(n, to, p, seed);
  if (err) {
    n->silent.refused++;
    return err;
  }
  struct session *s = session_new(n, true);
  if (!s) return MACULA_ENOMEM;
  err = door_dial(n, local, to, expect, s, &s->door);
  if (err) {
    session_free(s);
    return err;
  }
  s->serial = s->door.serial;
  s->state = SESSION_DIALLING;
  s->dialled = true;
  s->native->dial_until = time_add(n->now, DIAL_TIMEOUT);
  list_append(&n->peers.dialling, &s->fresh);
  s->peer = p;
  s->native->seed = seed;
  if (p) p->dial = s;
  if (seed) seed->dial = s;
  silent_dialled(n, to);
  n->peers.dials++;
  return 0;
}

/* The handshake of our dial is complete, so the other node's id is known: checks that it is the expected one and not connected
 * already. */
void link_opened(struct session *s) {
  assert(s->dialled);
  struct node *n = s->node;
  const struct id *id = door_id(&s->door);
  char endpoint[ADDR_TEXT_LEN];
  int err = !id ? MACULA_NOT_AUTHORIZED : id_eq(id, &n->id) ? MACULA_EINVAL : 0;
  silent_answered(n, door_remote(&s->door));
  if (s->state != SESSION_DIALLING) return;
  bool configured = s->native->seed && s->native->seed->keep;
  if (!err && !s->peer && !(s->peer = configured ? peer_get_configured(n, id) : peer_get(n, id))) err = MACULA_ENOMEM;
  if (!err && s->peer->dial != s) { /* only now is its id known, and a connection to it exists or is being dialled */
    if (s->peer->link || s->peer->dial)
      err = MACULA_DUPLICATE;
    else if (configured ? pool_is_full(&n->peers.pool) && peer_evict_idle(n) : peer_pool_full(n, id))
      err = MACULA_MAX_PEERS_REACHED;
    else if (pool_add(&n->peers.pool, &s->peer->slot, n->now))
      err = MACULA_MAX_PEERS_REACHED;
    else
      s->peer->dial = s;
  }
  if (!err) err = door_open(&s->door);
  if (err) {
    if (s->peer && s->peer->dial != s) s->peer = NULL; /* the end of this session is not the end of the peer's link */
    session_cut(s, err);
    return;
  }
  struct msg m = {.type = MSG_CONNECT,
                  .connect = {.version = slice_str("1.0"),
                              .node_id = slice_of(n->id.b, ID_LEN),
                              .realm_id = slice_str(n->realm),
                              .caps = LINK_CAPS,
                              .instance = slice_of(n->instance, INSTANCE_LEN)}};
  if (addr_is_set(&n->mesh.self)) {
    addr_text(&n->mesh.self, endpoint);
    m.connect.endpoint = slice_str(endpoint);
  }
  uint8_t proof[TOKEN_PROOF_LEN];
  if (trust_prove(s, proof)) m.connect.proof = slice_of(proof, sizeof proof);
  if (n->trust.pass.n) m.connect.pass = n->trust.pass;
  if (n->name[0]) m.connect.name = slice_str(n->name);
  s->at = s->door.home; /* as the session is not IN, CONNECT is sent as an answer is: on the way of the handshake */
  session_tell(s, &m, true);
  s->at = -1;
}

/* ---- runs of a node --------------------------------------------------------------------------------------------------------
 */
static bool is_run(const uint8_t *a, const uint8_t *b) { return memcmp(a, b, INSTANCE_LEN) == 0; }

static void say_twice(struct peer *p, const struct addr *at) {
  struct node *n = p->node;
  struct peer_text t = peer_text(p->name, &p->id, &p->run_at);
  char other[ADDR_TEXT_LEN];
  if (n->now < p->twice_at || !bucket_take(&n->peers.twice_lines, TWICE_RATE, TWICE_BURST, n->now)) return;
  p->twice_at = time_add(n->now, TWICE_SAID);
  addr_text(at, other);
  log_error(n->log, "identity_twice",
            PEER_FIELDS
            " other=%s text=\"two nodes with this identity run at these addresses, as when a state folder was copied: the one "
            "that started later is kept out; stop it, or give it a state folder of its own\"",
            PEER_VALUES(t), other);
}

/* 0: this run of the node may have the link; MACULA_IDENTITY_IN_USE: an earlier run with the same identity lives. */
static int judge_run(struct peer *p, const uint8_t *instance, const struct addr *at) {
  if (is_run(p->instance, instance) || !is_run(p->other, instance)) return 0;
  say_twice(p, at);
  if (memcmp(instance, p->instance, INSTANCE_LEN) < 0) return 0;
  p->node->peers.twice++;
  return MACULA_IDENTITY_IN_USE;
}

/* This peer says that an earlier run with our identity lives. Only this peer is not dialled for a while; all others are, since
 * it may be wrong or lie. */
static void set_in_use(struct peer *p, const struct addr *at) {
  struct node *n = p->node;
  struct peer_text t = peer_text(p->name, &p->id, at);
  char own[ID_HEX_LEN + 1];
  p->in_use_until = p->dial_at = time_add(n->now, IN_USE_AGAIN / 2 + rng_below(n->rng, IN_USE_AGAIN / 2));
  if (n->peers.in_use) return;
  n->peers.in_use = true;
  id_hex(&n->id, own);
  log_error(n->log, "identity_in_use",
            "own=%s " PEER_FIELDS
            " text=\"another node with the identity of this one is in the mesh, so this one is kept out, as that peer "
            "says: stop one of the two, or give this one a state folder of its own\"",
            own, PEER_VALUES(t));
}

/* ---- a link stands ---------------------------------------------------------------------------------------------------------
 */
static void say(const struct session *s, const struct peer *p, const char *event, const char *more) {
  struct peer_text t = peer_text(p->name, &p->id, &p->run_at);
  log_info(p->node->log, event, PEER_FIELDS " conn=%llu %s", PEER_VALUES(t), (unsigned long long)s->serial, more);
}

static void say_end(const struct session *s, const struct peer *p, const char *event, int err) {
  char code[48];
  snprintf(code, sizeof code, "code=%s", macula_err_name(err));
  say(s, p, event, code);
}

static void up(struct session *s, const uint8_t *instance) {
  struct node *n = s->node;
  struct peer *p = s->peer;
  assert(p && !p->link && s->state != SESSION_OVER);
  list_remove(&s->fresh);
  s->state = SESSION_IN;
  s->since = s->window.since = p->since = n->now;
  if (p->dial == s) p->dial = NULL;
  p->link = s;
  p->upkeep_len = 0;
  p->failures = 0;
  p->dial_at = p->expect = 0;
  list_remove(&p->waits);
  if (!is_run(p->instance, instance)) {
    memcpy(p->other, p->instance, INSTANCE_LEN);
    memcpy(p->instance, instance, INSTANCE_LEN);
    peer_runs_anew(p);
  }
  p->run_at = *door_remote(&s->door);
  silent_answered(n, &p->run_at);
  door_keep_alive(&s->door, s->dialled ? n->keep_alive : 0);
  door_shares(&s->door, LINK_SHARES);
  session_own_ways(s);
  trust_let_in(s);
}

/* The node that we dialled is none of ours, or does not show it, or has an identity that another has. text NULL: the code's
 * own. */
static void refuse_node(struct session *s, int err, const char *text) {
  struct node *n = s->node;
  struct slice why = slice_str(text ? text : macula_err_text(err));
  s->end_err = err;
  if (s->native->seed ? !s->native->seed->said : !s->peer->failures) /* the first time: it is dialled again and again */
    session_say_ended(n, "node_refused", door_remote(&s->door), door_id(&s->door), err, why);
  if (s->native->seed) join_failed(n, s, err, why);
  session_close(s, err, text);
}

/* PONG in answer to our CONNECT. */
void link_welcomed(struct session *s, const struct msg_pong *m) {
  struct node *n = s->node;
  struct peer *p = s->peer;
  if (!m->has_caps || !(m->caps & CAP_NODE) || m->instance.n != INSTANCE_LEN) {
    session_close(s, MACULA_UNSUPPORTED_VERSION, "the peer is no node of a mesh");
    return;
  }
  if (!door_is_short(&s->door)) {
    session_close(s, MACULA_CERTIFICATE_INVALID, LINK_KEY_WHY);
    return;
  }
  struct addr at = told_addr(m->endpoint), seen = told_addr(m->observed);
  const char *text = NULL;
  int err = trust_judge_node(s, m, &text);
  if (!err) {
    text = NULL;
    err = judge_run(p, m->instance.p, door_remote(&s->door));
  }
  if (err) {
    refuse_node(s, err, text);
    return;
  }
  if (addr_is_set(&at) || !addr_is_set(&p->addr)) peer_where(p, addr_is_set(&at) ? &at : door_remote(&s->door), NULL);
  label(p, m->name);
  s->caps = m->caps & LINK_CAPS;
  if (!(s->caps & CAP_ORIGIN)) s->caps &= ~(uint32_t)CAP_TOPICS;
  up(s, m->instance.p);
  if (s->native->seed) join_met(n, s);
  const struct addr *remote = door_remote(&s->door);
  p->seen = (struct addr){0};
  if (addr_is_set(&seen)) link_observed(p, &seen, socket_for(n, remote));
  say(s, p, "link_up", "dialled=yes");
  link_is_up(p);
  peer_up(p);
}

/* Decides on a CONNECT from a node with which there is a connection already, or a dial of ours. 0: the new connection stays and
 * the old one is closed; else the code to refuse the new one with. */
static int settle_duel(struct session *s, struct peer *p, const uint8_t *instance) {
  struct node *n = s->node;
  struct session *old = p->link ? p->link : p->dial;
  if (!old || old == s) return 0;
  bool same_run = !p->link || is_run(p->instance, instance);
  if (same_run && old->dialled && memcmp(n->id.b, p->id.b, ID_LEN) < 0) {
    if (p->link) door_ping(&p->link->door); /* finds out whether the link that stays still works */
    n->peers.duplicates++;
    return MACULA_DUPLICATE;
  }
  bool was_up = p->link == old;
  if (was_up) link_is_over(old);
  if (was_up) p->link = NULL;
  if (p->dial == old) p->dial = NULL;
  if (was_up && !same_run) {
    p->expect = time_add(n->now, DIAL_TIMEOUT); /* keeps calls that are tried again from dialling it: up() follows */
    link_is_down(p, false);
    peer_down(p); /* the calls of the earlier run have failed */
  }
  n->peers.duplicates++;
  old->peer = NULL; /* the old session says goodbye; its end is not the end of the peer's link */
  session_close(old, same_run ? MACULA_DUPLICATE : is_run(p->other, instance) ? MACULA_IDENTITY_IN_USE : MACULA_REPLACED, NULL);
  return 0;
}

int link_connect(struct session *s, const struct msg_connect *m, const char **ret_text) {
  struct node *n = s->node;
  const struct id *id = door_id(&s->door);
  char endpoint[ADDR_TEXT_LEN], seen[ADDR_TEXT_LEN];
  uint8_t proof[TOKEN_PROOF_LEN];
  struct addr at;
  if (!id || m->instance.n != INSTANCE_LEN) return MACULA_NOT_AUTHORIZED;
  if (id_eq(id, &n->id)) return MACULA_EINVAL;
  if (!door_is_short(&s->door)) {
    *ret_text = LINK_KEY_WHY;
    return MACULA_CERTIFICATE_INVALID;
  }
  struct peer *p = peer_get(n, id);
  if (!p) return MACULA_ENOMEM;
  int err = judge_run(p, m->instance.p, door_remote(&s->door));
  if (!err) err = settle_duel(s, p, m->instance.p);
  if (err) return err;
  if (!p->slot.in) {
    if (peer_pool_full(n, id) && (err = peer_evict_idle(n)) != 0) return err;
    if ((err = pool_add(&n->peers.pool, &p->slot, n->now)) != 0) return err;
  }
  at = told_addr(m->endpoint);
  peer_where(p, &at, addr_is_set(&at) ? NULL : &n->id);
  label(p, m->name);
  s->peer = p;
  s->caps = m->caps & LINK_CAPS;
  if (!(s->caps & CAP_ORIGIN)) s->caps &= ~(uint32_t)CAP_TOPICS;
  if (!door_has_ways(&s->door)) s->caps &= ~(uint32_t)CAP_STREAMS;
  door_home(&s->door, s->at);
  up(s, m->instance.p);
  door_admit(&s->door);
  n->peers.accepted++;
  uint64_t ms = node_wall_ms(n);
  struct msg pong = {.type = MSG_PONG,
                     .pong = {.timestamp = ms,
                              .server_time = ms,
                              .has_caps = true,
                              .caps = s->caps,
                              .node_id = slice_of(n->id.b, ID_LEN),
                              .instance = slice_of(n->instance, INSTANCE_LEN)}};
  if (n->name[0]) pong.pong.name = slice_str(n->name);
  if (trust_prove(s, proof)) pong.pong.proof = slice_of(proof, sizeof proof);
  if (n->trust.pass.n) pong.pong.pass = n->trust.pass;
  if (addr_is_set(&n->mesh.self)) {
    addr_text(&n->mesh.self, endpoint);
    pong.pong.endpoint = slice_str(endpoint);
  }
  addr_text(door_remote(&s->door), seen);
  pong.pong.observed = slice_str(seen);
  session_tell(s, &pong, true);
  say(s, p, "link_up", "dialled=no");
  link_is_up(p);
  peer_up(p);
  return 0;
}

/* ---- a pass that was renewed ------------------------------------------------------------------------------------------------
 */
void links_show_pass(struct node *n) {
  struct msg m = {.type = MSG_RENEW, .renew = {.pass = n->trust.pass}};
  list_for(it, &n->peers.all) {
    struct peer *p = container_of(it, struct peer, all);
    if (p->link && n->trust.pass.n) session_tell(p->link, &m, false);
  }
}

void link_renewed(struct session *s, struct slice pass) {
  struct peer *p = s->peer;
  struct node *n = s->node;
  struct peer_text t = peer_text(p->name, &p->id, &p->run_at);
  int err = revoked_may_verify(p) ? trust_renew(s, pass) : MACULA_RATE_LIMITED;
  if (err && bucket_take(&n->trust.lists_lines, 1.0, 10.0, n->now))
    log_warn(n->log, "pass_not_renewed", PEER_FIELDS " code=%s text=\"%s; the one before counts on\"", PEER_VALUES(t),
             macula_err_name(err), err == MACULA_RATE_LIMITED ? macula_err_text(err) : n->trust.why);
}

/* ---- a link's end ----------------------------------------------------------------------------------------------------------
 */
void link_close(struct peer *p, int err) {
  struct session *s = p->link;
  if (!p->dial) pool_remove(&p->node->peers.pool, &p->slot); /* with a dial under way the slot is the dial's */
  list_remove(&p->leaving);
  if (s) link_is_over(s);
  p->link = NULL;
  if (!s) return;
  say_end(s, p, "link_closed", err);
  link_is_down(p, false);
  s->peer = NULL; /* whose record may end before the session */
  session_cut(s, err);
}

void link_give_up(struct peer *p, int err) {
  struct session *dial = p->dial;
  p->dial = NULL;
  link_close(p, err);
  if (!dial) return;
  dial->peer = NULL;
  session_cut(dial, err);
}

void link_end(struct session *s) {
  struct peer *p = s->peer;
  if (!p) return;
  struct node *n = s->node;
  bool was_up = p->link == s, was_dial = p->dial == s;
  assert(s->state == SESSION_OVER && !(was_up && was_dial));
  s->peer = NULL; /* whose record may end before the session */
  if (was_up) p->link = NULL;
  if (was_dial) p->dial = NULL;
  if (!was_up && !was_dial) return;
  pool_remove(&n->peers.pool, &p->slot);
  list_remove(&p->leaving);
  if (was_up) {
    say_end(s, p, "link_down", s->end_err);
    link_is_down(p, s->end_err == MACULA_NOT_CONNECTED);
    peer_down(p);
    if (s->end_err == MACULA_IDENTITY_IN_USE) set_in_use(p, &p->run_at);
    /* The peer closed the link in favour of another run with our identity, but we live: dial it again. If the link lasted less
     * than a second, wait for mesh_sweep, so that two such runs do not replace each other without pause. */
    if (s->end_err == MACULA_REPLACED && time_since(n->now, p->since) >= NS_SEC) (void)peer_want(p, WANT_UPKEEP);
    return;
  }
  n->peers.dial_failures++;
  if (s->end_err == MACULA_DUPLICATE) {
    p->expect = time_add(n->now, DIAL_TIMEOUT); /* the connection that the peer dialled is on its way */
    return;
  }
  back_off(p);
  if (s->end_err == MACULA_IDENTITY_IN_USE) set_in_use(p, &p->addr);
  /* home >= 0: the handshake was complete, so the node is there and refused */
  link_not_had(p, s->door.home >= 0, s->end_err == MACULA_NOT_CONNECTED);
  if (!peer_is_up(p) && !seal_busy(p)) peer_down(p);
}

void link_closed(struct session *s, const struct door_end *why) {
  struct node *n = s->node;
  if (why && !s->end_err) s->end_err = why->err;
  if (why && why->by_peer && s->state == SESSION_DIALLING) s->end_err = why->err;
  if (s->native && s->native->seed)
    join_failed(n, s, s->end_err ? s->end_err : MACULA_NOT_CONNECTED, why ? why->text : SLICE_NONE);
}

/* ---- frames and time -------------------------------------------------------------------------------------------------------
 */
void link_goodbye(struct session *s, const struct msg_disconnect *m) {
  int code = err_from_name((const char *)m->code.p, m->code.n);
  s->end_err = code ? code : MACULA_ECLOSED;
  if (s->native->seed) join_failed(s->node, s, s->end_err, m->message);
  session_close(s, 0, NULL);
}

nanotime link_deadline(const struct node *n) {
  return list_empty(&n->peers.dialling) ? TIME_NEVER
                                        : container_of(n->peers.dialling.next, struct session, fresh)->native->dial_until;
}

void link_tick(struct node *n) {
  while (!list_empty(&n->peers.dialling)) {
    struct session *s = container_of(n->peers.dialling.next, struct session, fresh);
    if (n->now < s->native->dial_until) break;
    s->end_err = MACULA_NOT_CONNECTED;
    session_cut(s, MACULA_TIMEOUT);
  }
}
