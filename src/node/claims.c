#include "node/claims.h"

#include "base/err.h"
#include "node/doors/mqtt.h"
#include "node/messages/recall.h"
#include "node/messages/spread.h"
#include "node/peers/peer.h"
#include "node/session/session.h"

#define QUEUED (64u << 10)       /* bytes in a link's queue; while there are more, claims wait */
#define A_TURN 64u               /* claims that a node is told of */
#define MAX_AHEAD (24 * 3600000) /* ms: a time that is further ahead is not believed */

struct teller {
  struct peer *p;
  uint32_t told;
};

static bool tell(void *ctx, const struct mqtt_claim *c) {
  struct teller *t = ctx;
  uint8_t buf[PRINCIPAL_LEN_MAX];
  size_t len = principal_write(&c->principal, buf);
  struct msg m = {.type = MSG_CLAIM, .claim = {.principal = slice_of(buf, len), .client = slice_str(c->client), .ms = c->ms}};
  if (t->told++ == A_TURN || spread_queued(t->p) > QUEUED || peer_upkeep(t->p, &m)) return false;
  t->p->spread.claims_told = c->number;
  return true;
}

void claims_step(struct node *n) {
  uint64_t last = mqtt_claim_last(n);
  list_for(it, &n->spread.peers) {
    struct teller t = {.p = container_of(it, struct peer, spread.of_node)};
    if (t.p->spread.path && t.p->spread.claims_told != last) mqtt_claims_after(n, t.p->spread.claims_told, tell, &t);
  }
}

void claims_heard(struct peer *p, const struct msg_claim *m) {
  struct node *n = p->node;
  struct principal_name who;
  uint64_t ms = recall_to_ours(p, m->ms);
  bool bad = principal_read(m->principal, &who) || ms > node_unix_ms(n) + MAX_AHEAD;
  if (bad || who.kind == PRINCIPAL_UNKNOWN) {
    n->stats.ignored_frames++;
    return;
  }
  if (!mqtt_claimed(n, &who, m->client, ms)) p->spread.claims_told = 0; /* it has not heard of ours */
}
