/* What must hold of calls holds after each of many random steps, and is missed when it is broken. */
#include "router_rig.h"

static const char *const codes[] = {"handler_error",        "no_handler", "not_connected",
                                    "all_providers_failed", "timeout",    "rate_limited"};

static void step(struct world *w, struct rng r, nanotime now, uint8_t id) {
  int p = (int)rng_below(r, PARTIES), client = (int)rng_below(r, NODES);
  const uint8_t call_id[CALL_ID_LEN] = {(uint8_t)rng_below(r, 256)};
  static const char *const ids[] = {"", "3", "345", "7", "34567"};
  switch (rng_below(r, 20)) {
  case 0:
    if (p >= NODES || rng_below(r, 2))
      router_session_ended(w->r, &w->p[p], now);
    else
      router_session_lost(w->r, &w->p[p], now);
    break;
  case 1:
    if (rng_below(r, 2))
      router_session_silent(w->r, &w->p[p], now);
    else
      router_party_heard(w->r, &w->p[p], now);
    break;
  case 2:
    (void)router_register(w->r, &w->p[client], slice_str("x.y"), 30 * NS_SEC, rng_below(r, 2), now);
    break;
  case 3:
    (void)services_unregister(router_services(w->r), &w->p[client].owner, slice_str("x.y"));
    break;
  case 4:
    w->dialling[p] = p >= NODES && rng_below(r, 2);
    if (!w->dialling[p]) router_party_ready(w->r, &w->p[p], now);
    break;
  case 5:
    w->unreachable[p] = rng_below(r, 3) ? 0 : rng_below(r, 2) ? MACULA_NO_ROUTE : MACULA_EFULL;
    w->unsendable[p] = rng_below(r, 4) ? 0 : MACULA_NOT_CONNECTED;
    w->undiscoverable = rng_below(r, 4) ? 0 : MACULA_EFULL;
    break;
  case 6:
  case 7:
    found(w, ids[rng_below(r, 5)], now);
    break;
  case 8:
    not_found(w, rng_below(r, 2) ? MACULA_DHT_TIMEOUT : 0, now);
    break;
  case 9:
    router_tick(w->r, now);
    break;
  case 10:
    (void)router_cancel(w->r, &w->p[client], slice_of(call_id, CALL_ID_LEN));
    break;
  case 11:
    router_forget_node(w->r, &w->p[p].owner.id, now);
    break;
  case 12:
    (void)cast(w, now);
    break;
  case 13:
  case 14:
    (void)reply(w, p, now);
    break;
  case 15:
    (void)reply_error(w, p, codes[rng_below(r, 6)], rng_below(r, 2), now);
    break;
  default:
    (void)call_with(w, p, id, now,
                    (struct opt){.timeout_ms = rng_below(r, 3000),
                                 .idempotent = rng_below(r, 2),
                                 .once = rng_below(r, 2),
                                 .waits = rng_below(r, 2),
                                 .age = rng_below(r, 4) ? 0 : rng_below(r, 3 * NS_SEC),
                                 .args = rng_below(r, 300)});
  }
}

static void any_history_holds(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 60; seed++) {
    struct world w;
    struct rng_seeded seeded;
    rng_seeded_init(&seeded, seed);
    struct rng r = rng_seeded_view(&seeded);
    open_world(&w);
    w.r->look_again = 300 * NS_MS;
    w.r->party_lookups = seed % 2 ? 2 : 0;
    nanotime now = NS_SEC;
    for (int k = 0; k < 1000; k++) {
      now += rng_below(r, 500 * NS_MS);
      w.log[0] = 0;
      w.fate = (enum call_fate)rng_below(r, 3);
      step(&w, r, now, (uint8_t)k);
      check(&w);
    }
    w.log[0] = 0;
    close_world(&w);
  }
}

static void broken_ones_are_noticed(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  serve(&w, 1);
  call(&w, 0, 1, 0); /* to 1, of ours */
  static const uint8_t first[CALL_ID_LEN] = {1}, second[CALL_ID_LEN] = {2};
  struct call *c = calls_find(&w.r->calls, &w.p[0].calls, first);
  struct rpc_party *one = &w.p[1];
  BREAKS(one->owner.inflight, 2, router_check(w.r), "router: a provider's calls are not as many as are in flight");
  BREAKS(c->attempt_count, CALL_MAX_ATTEMPTS, router_check(w.r), "router: a call has more attempts than are made");
  BREAKS(c->attempts[0].err, MACULA_TIMEOUT, router_check(w.r), "router: a call's attempt has failed and goes on");
  BREAKS(c->sent, false, router_check(w.r), "router: a call to a client of ours is not sent");
  BREAKS(c->cast, true, router_check(w.r), "router: a cast that was sent is still there");
  BREAKS(w.r->services.count, 2, router_check(w.r), "services: the registrations are not as many as counted");
  BREAKS(w.r->calls.args_bytes, 1, router_check(w.r), "calls: the arguments held are not as many bytes as counted");
  BREAKS(w.r->discovery.looking, 1, router_check(w.r), "discovery: the lookups are not as many as counted");
  reply(&w, 1, 0);
  BREAKS(one->owner.inflight, 1, router_check(w.r), "router: a provider without calls has some in flight");
  services_drop(&w.r->services, &one->owner);
  call(&w, 0, 2, 0); /* waits for a lookup */
  c = calls_find(&w.r->calls, &w.p[0].calls, second);
  struct discovery_entry *e = discovery_find(&w.r->discovery, slice_str("x.y"));
  BREAKS(c->looked, false, router_check(w.r), "router: a call waits for a lookup that is over");
  list_remove(&c->of_wait);
  assert_string_equal(router_check(w.r), "router: a call waits for nothing");
  struct list elsewhere;
  list_init(&elsewhere);
  list_append(&elsewhere, &c->of_wait);
  assert_string_equal(router_check(w.r), "router: a call that waits is in no lookup's list");
  list_remove(&c->of_wait);
  struct discovery_entry *other;
  assert_int_equal(discovery_look(&w.r->discovery, slice_str("z"), 0, &other), 0);
  list_append(&other->waiting, &c->of_wait);
  assert_string_equal(router_check(w.r), "router: a call waits for the lookup of another procedure");
  list_remove(&c->of_wait);
  discovery_failed(&w.r->discovery, other);
  list_append(&e->waiting, &c->of_wait);
  check(&w);
  calls_assign(&w.r->calls, c, &one->calls, c->deadline);
  one->owner.inflight++;
  assert_string_equal(router_check(w.r), "router: a call that has a provider waits for a lookup");
  call_release(c);
  check(&w);
  close_world(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(any_history_holds), cmocka_unit_test(broken_ones_are_noticed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
