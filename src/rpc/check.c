/* Invariants of calls and of the lookups that they wait for. */
#include "base/check.h"
#include "rpc/internal.h"

/* A call has a provider (PENDING, REACHING), or waits for a lookup (WAITING), or waits a moment before it asks for a second
 * lookup. */
static const char *call_check(const struct router *r, const struct call *c) {
  bool waits = !list_empty(&c->of_wait);
  CHECK(!(waits && c->provider), "router: a call that has a provider waits for a lookup");
  CHECK(waits || c->provider || c->again || c->lost, "router: a call waits for nothing");
  CHECK(!c->provider || c->attempt_count < CALL_MAX_ATTEMPTS, "router: a call has more attempts than are made");
  CHECK(!c->provider || !c->attempts[c->attempt_count].err, "router: a call's attempt has failed and goes on");
  CHECK(!c->provider || party_of(c->provider)->node || party_of(c->provider)->owner.silent || c->sent,
        "router: a call to a client of ours is not sent");
  CHECK(!(c->cast && c->sent && c->provider), "router: a cast that was sent is still there");
  if (!waits) return NULL;
  const struct discovery_entry *e = discovery_find(&r->discovery, name_of(c));
  CHECK(c->looked && e && e->looking, "router: a call waits for a lookup that is over");
  return NULL;
}

/* Checks a provider; called with the first of its calls, so once for each. */
static const char *provider_check(const struct rpc_party *p) {
  CHECK(list_has(&p->calls.taken, p->owner.inflight), "router: a provider's calls are not as many as are in flight");
  return NULL;
}

static const char *waiting_check(const struct discovery_entry *e, uint32_t *waiting) {
  list_for(it, &e->waiting) {
    const struct call *c = container_of(it, const struct call, of_wait);
    CHECK(slice_eq(name_of(c), slice_of(e->name, e->len)), "router: a call waits for the lookup of another procedure");
    ++*waiting;
  }
  return NULL;
}

static const char *idle_check(const struct service *s) {
  for (uint32_t i = 0; i < s->count; i++) {
    const struct rpc_party *p = container_of(s->v[i]->owner, const struct rpc_party, owner);
    CHECK(!list_empty(&p->calls.taken) || !p->owner.inflight, "router: a provider without calls has some in flight");
  }
  return NULL;
}

const char *router_check(const struct router *r) {
  uint32_t wait = 0, waiting = 0;
  CHECK_PART(services_check(&r->services));
  CHECK_PART(calls_check(&r->calls));
  CHECK_PART(discovery_check(&r->discovery));
  for (struct hlink *h = NULL; (h = htab_next(&r->calls.tab, h));) {
    const struct call *c = container_of(h, const struct call, h);
    CHECK_PART(call_check(r, c));
    wait += !list_empty(&c->of_wait);
    if (c->provider && c->of_provider.prev == &c->provider->taken) CHECK_PART(provider_check(party_of(c->provider)));
  }
  for (struct hlink *h = NULL; (h = htab_next(&r->discovery.tab, h));)
    CHECK_PART(waiting_check(container_of(h, const struct discovery_entry, h), &waiting));
  CHECK(wait == waiting, "router: a call that waits is in no lookup's list");
  list_for(it, &r->services.all) CHECK_PART(idle_check(container_of(it, const struct service, all)));
  return NULL;
}

size_t router_owned(const struct router *r) { return mem_cost(r) + calls_owned(&r->calls); }
