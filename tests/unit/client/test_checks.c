/* What must hold of a hub is missed when it is broken; that it holds is seen here after random steps without a node, and after
 * each turn of the client's tests in tests/sim. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/internal.h"
#include "unit/broken.h"

static struct mem mem;
static struct rng_seeded seeded;
static struct hub *hub;
static struct client *c;

static void dial(void *ctx, struct client *x) { (void)ctx, (void)x; }
static int local(void *ctx, int family, struct addr *ret_local) {
  (void)ctx, (void)family, (void)ret_local;
  return MACULA_NOT_CONNECTED;
}
static void on_message(void *ctx, macula_client client, const macula_message *m) { (void)ctx, (void)client, (void)m; }
static void on_request(void *ctx, macula_client x, const macula_request *r) { (void)ctx, (void)x, (void)r; }
static void on_result(void *ctx, macula_client client, const macula_result *r) { (void)ctx, (void)client, (void)r; }
static void on_done(void *ctx, macula_client client, int err, const char *text) {
  (void)ctx, (void)client, (void)err, (void)text;
}

static void setup(void) {
  mem = MEM_INIT("hub", 0);
  rng_seeded_init(&seeded, 61);
  struct hub_config cfg = {.mem = &mem, .rng = rng_seeded_view(&seeded), .dial = dial, .local = local};
  assert_int_equal(hub_new(&cfg, NS_SEC, &hub), 0);
  assert_int_equal(client_new(hub, &(struct client_options){.realm = "test", .base_only = true}, &c), 0);
  hub_endpoint(hub).tick(hub, NS_SEC);
}
static void teardown(void) {
  HOLDS(hub_check(hub));
  hub_free(hub);
  assert_int_equal(mem.bytes, 0);
}

/* As client_call makes it, which wants a connection. */
static struct entry *call(void) {
  struct entry *e;
  assert_int_equal(entry_new(c, ENTRY_CALL, SLICE_NONE, time_add(hub->now, 5 * NS_SEC), &e), 0);
  c->calls++;
  e->call.fn = on_result;
  return e;
}

static void any_history_holds(void **state) {
  (void)state;
  setup();
  struct rng r = rng_seeded_view(&seeded);
  uint64_t ids[16] = {0};
  for (int step = 0; step < 4000; step++) {
    uint64_t *id = &ids[rng_below(r, 16)];
    char name[8];
    snprintf(name, sizeof name, "n%u", (unsigned)rng_below(r, 6));
    switch (rng_below(r, 8)) {
    case 0:
      (void)client_subscribe(c, name, rng_below(r, 2), on_message, rng_below(r, 2) ? on_done : NULL, NULL, NULL,
                             (macula_sub *)id);
      break;
    case 1:
      (void)client_unsubscribe(c, (macula_sub){*id});
      break;
    case 2:
      (void)client_serve(c, name, &(macula_serve_options){.ttl_ms = 1000}, on_request, NULL, rng_below(r, 2) ? on_done : NULL,
                         NULL, NULL, (macula_service *)id);
      break;
    case 3:
      (void)client_unserve(c, (macula_service){*id});
      break;
    case 4:
      *id = call()->id;
      break;
    case 5:
      (void)client_cancel(c, (macula_call_id){*id});
      break;
    case 6:
      hub_endpoint(hub).tick(hub, hub->now + rng_below(r, NS_SEC));
      break;
    default:
      if (rng_below(r, 50)) break;
      client_close(c, rng_below(r, 2));
      HOLDS(hub_check(hub));
      assert_int_equal(client_new(hub, &(struct client_options){.realm = "test", .base_only = true}, &c), 0);
      hub_endpoint(hub).tick(hub, hub->now);
    }
    HOLDS(hub_check(hub));
  }
  teardown();
}

#define SEES(what, wrong, text) BREAKS(what, wrong, hub_check(hub), text)

static void broken_ones_are_noticed(void **state) {
  (void)state;
  setup();
  macula_sub sub;
  struct entry *e = call(), *s;
  assert_int_equal(client_subscribe(c, "a.b", false, on_message, on_done, NULL, NULL, &sub), 0);
  s = entry_find(hub, sub.id);
  SEES(e->id, e->id + 7, "client: an entry is not found by its number");
  SEES(c->id, c->id + 7, "client: one is not found by its number");
  SEES(hub->by_id.count, 2, "htab: fewer entries than counted");
  SEES(e->kind, ENTRY_SUB, "client: an entry is in the list of another kind");
  SEES(e->dead, true, "client: an entry that has ended is never freed");
  SEES(e->due.pos, 0, "heap: an entry does not know its place");
  SEES(c->calls, 0, "client: calls and requests are not as many as counted");
  SEES(c->served, 1, "client: calls and requests are not as many as counted");
  SEES(c->held, 1, "client: the bytes kept are not as many as counted");
  SEES(s->kind, ENTRY_CONFIRM, "client: the bytes kept are not as many as counted");
  SEES(c->hub, NULL, "client: one of another hub");
  SEES(c->due.pos, 0, "heap: an entry does not know its place");
  SEES(c->stream, 0, "client: a stream or a node without a connection");
  SEES(c->state, MACULA_CONNECTED, "client: connected without a connection");
  SEES(hub->last_id, 0, "client: an entry is not found by its number");
  struct list elsewhere;
  list_init(&elsewhere);
  list_remove(&e->in);
  c->calls--;
  assert_string_equal(hub_check(hub), "client: an entry is in no client's list");
  c->calls++;
  list_append(&c->entries[ENTRY_CALL], &e->in);
  list_remove(&c->in);
  assert_string_equal(hub_check(hub), "client: the timers are not as many as the clients");
  list_append(&hub->grave, &c->in);
  assert_string_equal(hub_check(hub), "client: one has no timer, or one that has ended has");
  list_remove(&c->in);
  list_append(&hub->clients, &c->in);
  teardown();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(any_history_holds), cmocka_unit_test(broken_ones_are_noticed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
