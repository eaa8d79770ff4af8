#include "node/peers/revoked.h"

#include <stdio.h>

#include "base/err.h"
#include "node/peers/peer.h"
#include "node/session/session.h"
#include "node/trust/judge.h"

#define ANNOUNCE_EVERY (60 * NS_SEC)
/* Lists and renewed passes of one peer that are verified, as a bad signature costs as much as a good one; and lists that it is
 * sent as it lacks them. */
#define HEARD_A_SECOND 1.0
#define HEARD_AT_ONCE (2.0 * ACCESS_MAX_REALMS)
#define ALL_HEARD_A_SECOND 20.0 /* of all peers together: some 1 % of the time */
#define ALL_HEARD_AT_ONCE 100.0

static struct revoked **find(struct node *n, const struct id *realm) {
  for (size_t i = 0; i < ACCESS_MAX_REALMS; i++)
    if (n->trust.revoked[i] && id_eq(revoked_realm(n->trust.revoked[i]), realm)) return &n->trust.revoked[i];
  return NULL;
}

static struct revoked **place_for(struct node *n, const struct id *realm) {
  struct revoked **at = find(n, realm);
  for (size_t i = 0; !at && i < ACCESS_MAX_REALMS; i++)
    if (!n->trust.revoked[i]) at = &n->trust.revoked[i];
  return at; /* there are as many places as realms that can be trusted */
}

static bool is_trusted(const struct node *n, const struct id *realm) {
  size_t count = 0;
  const struct id *realms = n->trust.access ? access_realms(n->trust.access, &count) : NULL;
  for (size_t i = 0; i < count; i++)
    if (id_eq(&realms[i], realm)) return true;
  return false;
}

static void tell(struct peer *p, const struct id *realm, const struct revoked *list, bool whole) {
  struct msg m = {.type = MSG_REVOKED,
                  .revoked = {.realm = slice_of(realm->b, ID_LEN), .number = list ? revoked_number(list) : 0}};
  if (whole) m.revoked.list = revoked_bytes(list);
  if (p->link) (void)session_send(p->link, &m, false); /* without room: the next announcement comes in a minute */
}

static void announce(struct peer *p) {
  struct node *n = p->node;
  size_t count = 0;
  const struct id *realms = n->trust.access ? access_realms(n->trust.access, &count) : NULL;
  for (size_t i = 0; i < count; i++) {
    struct revoked **at = find(n, &realms[i]);
    tell(p, &realms[i], at ? *at : NULL, false);
  }
}

static void announce_all(struct node *n) { list_for(it, &n->peers.all) announce(container_of(it, struct peer, all)); }

/* What was known already is no news; what differs, and does not replace it, would be lost in silence. */
static int behind(struct node *n, const struct revoked *list, const struct revoked *known) {
  if (!known || slice_eq(revoked_bytes(list), revoked_bytes(known))) return 0;
  snprintf(n->trust.why, sizeof n->trust.why,
           "the node has list number %llu of this realm, and this is another, number %llu: push what its own list, "
           "revoked-REALM in its state folder, becomes by 'macula pass revoke'",
           (unsigned long long)revoked_number(known), (unsigned long long)revoked_number(list));
  return MACULA_EBUSY;
}

static int take(struct node *n, struct slice bytes, const struct peer *from) {
  size_t count = 0;
  const struct id *realms = n->trust.access ? access_realms(n->trust.access, &count) : NULL;
  struct revoked *list;
  char hex[ID_HEX_LEN + 1];
  int err = revoked_parse(&n->rows.mem[ROW_REVOKED], bytes, realms, count, &list, n->trust.why);
  if (err) return err;
  struct revoked **at = place_for(n, revoked_realm(list));
  if (!at || !revoked_replaces(list, *at)) {
    err = behind(n, list, at ? *at : NULL);
    revoked_unref(list);
    return err;
  }
  revoked_unref(*at);
  *at = list;
  n->trust.lists++;
  id_hex(revoked_realm(list), hex);
  log_info(n->log, "revoked", "realm=%s number=%llu passes=%zu", hex, (unsigned long long)revoked_number(list),
           revoked_count(list));
  trust_judge_all(n);
  list_for(it, &n->peers.all) {
    struct peer *p = container_of(it, struct peer, all);
    if (p != from) tell(p, revoked_realm(list), list, true);
  }
  return 0;
}

int revoked_push(struct node *n, struct slice list) { return take(n, list, NULL); }

int revoked_take(struct node *n, struct slice list) {
  int err = take(n, list, NULL);
  return err == MACULA_EBUSY ? 0 : err;
}

static void say_refused(const struct peer *p, int err) {
  struct node *n = p->node;
  struct peer_text t = peer_text(p->name, &p->id, &p->run_at);
  if (bucket_take(&n->trust.lists_lines, 1.0, 10.0, n->now))
    log_warn(n->log, "revoked_refused", PEER_FIELDS " code=%s text=\"%s\"", PEER_VALUES(t), macula_err_name(err), n->trust.why);
}

bool revoked_may_verify(struct peer *p) {
  struct node *n = p->node;
  return bucket_level(&p->lists, HEARD_A_SECOND, HEARD_AT_ONCE, n->now) >= 1 &&
         bucket_take(&n->trust.lists_heard, ALL_HEARD_A_SECOND, ALL_HEARD_AT_ONCE, n->now) &&
         bucket_take(&p->lists, HEARD_A_SECOND, HEARD_AT_ONCE, n->now);
}

void revoked_heard(struct peer *p, const struct msg_revoked *m) {
  struct node *n = p->node;
  struct id realm;
  if (m->realm.n != ID_LEN) return;
  memcpy(realm.b, m->realm.p, ID_LEN);
  if (!is_trusted(n, &realm)) return; /* another mesh may trust it */
  struct revoked **at = find(n, &realm);
  uint64_t ours = at ? revoked_number(*at) : 0;
  if (m->number < ours) { /* a few bytes ask for 96 KiB */
    if (bucket_take(&p->told, HEARD_A_SECOND, HEARD_AT_ONCE, n->now)) tell(p, &realm, *at, true);
    return;
  }
  if (m->number == ours || !m->list.n) return; /* who has a newer one sends it when it hears our number */
  bool looked_at = revoked_may_verify(p);
  int err = looked_at ? take(n, m->list, p) : MACULA_RATE_LIMITED;
  if (!err) return;
  n->trust.lists_refused++;
  if (looked_at) say_refused(p, err);
}

void revoked_link_up(struct peer *p) { announce(p); }

void revoked_realms_changed(struct node *n) {
  for (size_t i = 0; i < ACCESS_MAX_REALMS; i++) {
    if (!n->trust.revoked[i] || is_trusted(n, revoked_realm(n->trust.revoked[i]))) continue;
    revoked_unref(n->trust.revoked[i]);
    n->trust.revoked[i] = NULL;
  }
  announce_all(n);
}

void revoked_sweep(struct node *n) {
  if (n->now < n->trust.announce_at) return;
  n->trust.announce_at = time_add(n->now, ANNOUNCE_EVERY);
  announce_all(n);
}

size_t revoked_owned(const struct node *n) {
  size_t sum = 0;
  for (size_t i = 0; i < ACCESS_MAX_REALMS; i++) sum += mem_cost(n->trust.revoked[i]);
  return sum;
}
