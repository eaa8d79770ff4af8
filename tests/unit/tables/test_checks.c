/* What must hold of each table holds after each of many random steps, and is missed when it is broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "tables/calls.h"
#include "tables/clients.h"
#include "tables/discovery.h"
#include "tables/pool.h"
#include "tables/services.h"
#include "unit/broken.h"

#define STEPS 4000

static struct rng_seeded seeded;
static struct rng rng(void) {
  rng_seeded_init(&seeded, 31);
  return rng_seeded_view(&seeded);
}
static struct slice name_of(uint64_t n) {
  static char name[8];
  snprintf(name, sizeof name, "n%u", (unsigned)n);
  return slice_str(name);
}

/* ---- clients --------------------------------------------------------------------------------------------------------------
 */
static void clients(void **state) {
  (void)state;
  struct mem m = MEM_INIT("clients", 0);
  struct rng r = rng();
  struct clients c;
  static struct clients_entry e[60];
  clients_init(&c, &m, r, 20, 3);
  for (int step = 0; step < STEPS; step++) {
    struct clients_entry *x = &e[rng_below(r, 60)], *old;
    if (x->in) {
      clients_remove(&c, x);
    } else {
      *x = (struct clients_entry){.verified = rng_below(r, 2), .session = (uint64_t)step + 1};
      x->id.b[0] = (uint8_t)rng_below(r, 20);
      x->instance[0] = (uint8_t)rng_below(r, 2);
      (void)clients_add(&c, x, rng_below(r, 4) == 0, &old);
    }
    HOLDS(clients_check(&c));
  }
  assert_true(c.count > 2 && c.ops > 0);
  struct clients_entry *first = container_of(c.all.next, struct clients_entry, all);
  BREAKS(c.count, c.count + 1, clients_check(&c), "clients: the slots taken are not as many as the entries");
  BREAKS(first->in, false, clients_check(&c), "clients: one that is in is not found");
  BREAKS(first->instance[1], 1, clients_check(&c), "clients: one that is in is not found");
  BREAKS(first->session, first->session + STEPS, clients_check(&c), "clients: one that is in is not found by its session");
  BREAKS(c.by_session.count, c.by_session.count + 1, clients_check(&c), "htab: fewer entries than counted");
  BREAKS(first->op, !first->op, clients_check(&c), "clients: the operator's slots are not as many as operators");
  list_remove(&first->all);
  assert_string_equal(clients_check(&c), "clients: the list does not hold what the table holds");
  list_append(&c.all, &first->all);
  clients_done(&c);
}

/* ---- pool -----------------------------------------------------------------------------------------------------------------
 */
static void pool(void **state) {
  (void)state;
  struct mem m = MEM_INIT("pool", 0);
  struct rng r = rng();
  struct pool p;
  static struct pool_entry e[20];
  pool_init(&p, &m, r, 10);
  for (uint8_t i = 0; i < 20; i++) e[i] = (struct pool_entry){.id = {{i}}};
  for (int step = 0; step < STEPS; step++) {
    struct pool_entry *x = &e[rng_below(r, 20)];
    if (rng_below(r, 3) == 0)
      pool_remove(&p, x);
    else if (x->in)
      pool_use(&p, x, (nanotime)step);
    else
      (void)pool_add(&p, x, (nanotime)step);
    HOLDS(pool_check(&p));
  }
  assert_true(pool_count(&p) > 2);
  struct pool_entry *first = container_of(p.lru.order.next, struct pool_entry, l.age);
  BREAKS(first->in, false, pool_check(&p), "pool: one that is in is not found");
  BREAKS(first->id.b[9], 1, pool_check(&p), "pool: one that is in is not found");
  BREAKS(first->used, STEPS, pool_check(&p), "pool: the order is not that of use");
  BREAKS(p.lru.evicted, 1, pool_check(&p), "pool: the table has thrown somebody out by itself");
  pool_done(&p);
}

/* ---- services -------------------------------------------------------------------------------------------------------------
 */
static void services(void **state) {
  (void)state;
  enum { OWNERS = 6 };
  struct mem m = MEM_INIT("services", 0);
  struct rng r = rng();
  struct services s;
  static struct service_owner o[OWNERS];
  services_init(&s, &m, r, 30, 8);
  for (uint8_t i = 0; i < OWNERS; i++) service_owner_init(&o[i], i, &(struct id){{i}}, NULL);
  for (int step = 0; step < STEPS; step++) {
    struct service_owner *x = &o[rng_below(r, OWNERS)];
    switch (rng_below(r, 12)) {
    case 0:
      (void)services_drop(&s, x);
      break;
    case 1:
      (void)services_expire(&s, (nanotime)step);
      break;
    case 2:
    case 3:
      (void)services_unregister(&s, x, name_of(rng_below(r, 12)));
      break;
    default:
      (void)services_register(&s, x, name_of(rng_below(r, 12)), 1 + rng_below(r, 100), (nanotime)step);
    }
    HOLDS(services_check(&s));
    assert_int_equal(services_owned(&s), m.bytes);
  }
  (void)services_register(&s, &o[0], name_of(0), 1, STEPS);
  (void)services_register(&s, &o[1], name_of(0), 1, STEPS);
  (void)services_register(&s, &o[1], name_of(1), 1, STEPS);
  struct service *v = services_find(&s, name_of(0));
  struct provider *p = v->v[0];
  BREAKS(s.count, s.count + 1, services_check(&s), "services: the registrations are not as many as counted");
  BREAKS(v->name[0], 'x', services_check(&s), "services: a procedure is not found by its name");
  BREAKS(v->count, 0, services_check(&s), "services: a procedure without providers, or with more than have room");
  BREAKS(v->cap, 0, services_check(&s), "services: a procedure without providers, or with more than have room");
  BREAKS(p->service, NULL, services_check(&s), "services: a provider of another procedure");
  BREAKS(p->seq, v->v[1]->seq, services_check(&s), "services: the providers are not in order of registration");
  BREAKS(p->due.pos, 0, services_check(&s), "heap: an entry does not know its place");
  BREAKS(p->owner->count, 100, services_check(&s), "services: an owner's registrations are not as many as it counts");
  struct provider *last = container_of(p->owner->own.prev, struct provider, of_owner);
  BREAKS(last->owner, &o[5], services_check(&s), "services: a registration is in another owner's list");
  struct list *at = p->of_owner.next;
  list_remove(&p->of_owner);
  p->owner->count--;
  assert_string_equal(services_check(&s), "services: a registration is in no owner's list");
  list_insert(at, &p->of_owner);
  p->owner->count++;
  list_remove(&v->all);
  assert_string_equal(services_check(&s), "services: the list does not hold what the table holds");
  list_append(&s.all, &v->all);
  HOLDS(services_check(&s));
  services_done(&s);
  assert_int_equal(m.bytes, 0);
}

/* ---- calls ----------------------------------------------------------------------------------------------------------------
 */
static void calls(void **state) {
  (void)state;
  enum { PARTIES = 5, MANY = 40 };
  struct mem m = MEM_INIT("calls", 0), payloads = MEM_INIT("payloads", 0);
  struct rng r = rng();
  struct calls c;
  struct call_party p[PARTIES];
  struct call *v[MANY] = {0};
  struct shbuf *args = shbuf_new(&payloads, 100);
  calls_init(&c, &m, r, MANY / 2, 9, 1000);
  for (uint64_t i = 0; i < PARTIES; i++) call_party_init(&p[i], i);
  for (uint32_t step = 0; step < STEPS; step++) {
    struct call **x = &v[rng_below(r, MANY)];
    uint8_t id[CALL_ID_LEN] = {0};
    memcpy(id, &step, sizeof step);
    if (!*x) {
      if (calls_add(&c, &p[rng_below(r, PARTIES)], id, slice_str("x.y"), rng_below(r, 2) ? args : NULL, 100 + rng_below(r, 100),
                    x))
        *x = NULL;
    } else if (rng_below(r, 4) == 0) {
      calls_remove(&c, *x);
      *x = NULL;
    } else if (rng_below(r, 4) == 0) {
      calls_unassign(*x);
    } else {
      calls_assign(&c, *x, &p[rng_below(r, PARTIES)], 50 + rng_below(r, 50));
    }
    HOLDS(calls_check(&c));
    assert_int_equal(calls_owned(&c), m.bytes);
  }
  struct call *x = NULL, *y = NULL, **gone = v;
  while (!*gone) gone++;
  calls_remove(&c, *gone);
  *gone = NULL;
  for (int i = 0; i < MANY; i++) {
    if (v[i] && v[i]->provider && v[i]->caller->made_count > 1) x = v[i];
    if (v[i] && !v[i]->provider) y = v[i];
  }
  assert_true(x && y && c.free_slot != UINT32_MAX);
  BREAKS(x->call_id[15], 1, calls_check(&c), "calls: a call is not found by its caller's id");
  BREAKS(x->deadline, 1, calls_check(&c), "calls: a call is due after its deadline, or never");
  BREAKS(x->slot, x->slot + 1, calls_check(&c), "calls: a call is not in its slot");
  BREAKS(x->provider, NULL, calls_check(&c), "calls: a provider's call is not in its list");
  BREAKS(y->provider, &p[0], calls_check(&c), "calls: a provider's call is not in its list");
  BREAKS(x->sent_id[0], (uint8_t)(x->sent_id[0] + 1), calls_check(&c),
         "calls: a call is not found by the id that its provider has");
  BREAKS(x->sent_id[9], (uint8_t)(x->sent_id[9] + 1), calls_check(&c),
         "calls: a call is not found by the id that its provider has");
  BREAKS(x->of_wait.next, &y->of_wait, calls_check(&c), "calls: a list of those who wait is broken");
  BREAKS(x->attempt_count, CALL_MAX_ATTEMPTS + 1, calls_check(&c), "calls: more attempts than are made");
  BREAKS(x->caller->made_count, 0, calls_check(&c), "calls: a caller's calls are not as many as it counts");
  BREAKS(c.args_bytes, c.args_bytes + 1, calls_check(&c), "calls: the arguments held are not as many bytes as counted");
  BREAKS(c.slot_used, c.slot_used + 1, calls_check(&c), "calls: a slot is neither free nor a call's");
  BREAKS(c.slots[c.free_slot].call, x, calls_check(&c), "calls: a free slot is not free");
  BREAKS(c.due.count, c.due.count - 1, calls_check(&c), "calls: the deadlines are not as many as the calls");
  struct list *at = x->of_caller.next;
  list_remove(&x->of_caller);
  x->caller->made_count--;
  assert_string_equal(calls_check(&c), "calls: a call is in no caller's list");
  x->caller->made_count++;
  list_insert(at, &x->of_caller);
  struct call_party *to = x->provider; /* in a list of somebody else's */
  list_remove(&x->of_provider);
  list_prepend(&p[(to - p + 1) % PARTIES].taken, &x->of_provider);
  assert_non_null(calls_check(&c));
  list_remove(&x->of_provider);
  list_append(&to->taken, &x->of_provider);
  HOLDS(calls_check(&c));
  calls_done(&c);
  shbuf_unref(args);
  assert_int_equal(m.bytes + payloads.bytes, 0);
}

/* ---- discovery ------------------------------------------------------------------------------------------------------------
 */
static void discovery(void **state) {
  (void)state;
  struct mem m = MEM_INIT("discovery", 0);
  struct rng r = rng();
  struct discovery d;
  struct list waits;
  discovery_init(&d, &m, r, 10, 60, 5);
  list_init(&waits);
  for (int step = 0; step < STEPS; step++) {
    struct remote_node v[3] = {{.id = {{(uint8_t)rng_below(r, 5)}}}, {.id = {{5}}}, {.id = {{6}}}};
    struct discovery_entry *e = discovery_find(&d, name_of(rng_below(r, 15)));
    switch (rng_below(r, 6)) {
    case 0:
      (void)discovery_prune(&d, (nanotime)step);
      break;
    case 1:
      (void)discovery_remove_node(&d, &v[rng_below(r, 3)].id, (nanotime)step);
      break;
    case 2:
      if (e) (void)discovery_found(&d, e, v, rng_below(r, 4), (nanotime)step);
      break;
    case 3:
      if (e) discovery_failed(&d, e);
      break;
    case 4:
      discovery_set_max(&d, 8 + (uint32_t)rng_below(r, 4));
      break;
    default:
      (void)discovery_look(&d, name_of(rng_below(r, 15)), (nanotime)step, &e);
    }
    HOLDS(discovery_check(&d));
    assert_int_equal(discovery_owned(&d), m.bytes);
  }
  struct discovery_entry *known, *looked;
  (void)discovery_prune(&d, 2 * STEPS);
  assert_int_equal(discovery_look(&d, slice_str("a"), 2 * STEPS, &known), 0);
  assert_int_equal(discovery_found(&d, known, &(struct remote_node){.seq = 1}, 1, 2 * STEPS), 0);
  assert_int_equal(discovery_look(&d, slice_str("b"), 2 * STEPS, &looked), 0);
  BREAKS(known->name[0], 'x', discovery_check(&d), "discovery: a procedure is not found by its name");
  BREAKS(known->looking, true, discovery_check(&d), "discovery: what is looked up could be evicted, or what is not could not");
  BREAKS(looked->looking, false, discovery_check(&d),
         "discovery: what is looked up could be evicted, or what is not could not");
  BREAKS(known->count, 0, discovery_check(&d), "discovery: an entry holds other nodes than it counts");
  BREAKS(known->known, false, discovery_check(&d), "discovery: a faded entry holds nodes");
  BREAKS(d.looking, 0, discovery_check(&d), "discovery: the lookups are not as many as counted");
  BREAKS(d.due.count, d.due.count - 1, discovery_check(&d), "discovery: the ends are not as many as the entries");
  list_append(&known->waiting, &waits);
  assert_string_equal(discovery_check(&d), "discovery: somebody waits for a lookup that is over");
  list_remove(&waits);
  list_append(&d.order, &waits);
  assert_string_equal(discovery_check(&d), "discovery: the order does not hold what may be evicted");
  list_remove(&waits);
  HOLDS(discovery_check(&d));
  discovery_done(&d);
  assert_int_equal(m.bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(clients), cmocka_unit_test(pool), cmocka_unit_test(services),
                                     cmocka_unit_test(calls), cmocka_unit_test(discovery)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
