#include "tables/calls.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"

#define NO_SLOT UINT32_MAX
#define MIN_SLOTS 16u

struct key {
  uint64_t session;
  uint8_t call_id[CALL_ID_LEN];
};

static struct key key_of(const struct call_party *caller, const uint8_t *call_id) {
  struct key k = {.session = caller->session};
  memcpy(k.call_id, call_id, CALL_ID_LEN);
  return k;
}

static bool key_eq(const struct hlink *h, const void *key, size_t len) {
  const struct call *c = container_of(h, struct call, h);
  const struct key *k = key;
  (void)len;
  return c->caller->session == k->session && memcmp(c->call_id, k->call_id, CALL_ID_LEN) == 0;
}

void calls_init(struct calls *c, struct mem *mem, struct rng rng, uint32_t max, uint32_t per_caller, size_t max_args_bytes) {
  *c = (struct calls){.mem = mem, .free_slot = NO_SLOT};
  htab_init(&c->tab, mem, rng, max, key_eq);
  heap_init(&c->due, mem, max);
  calls_set_max(c, max, per_caller, max_args_bytes);
}

void calls_set_max(struct calls *c, uint32_t max, uint32_t per_caller, size_t max_args_bytes) {
  c->max = c->tab.max = c->due.max = max;
  c->per_caller = per_caller;
  c->max_args_bytes = max_args_bytes;
}

void calls_done(struct calls *c) {
  while (c->due.count) calls_remove(c, container_of(c->due.v[0], struct call, due));
  htab_done(&c->tab);
  heap_done(&c->due);
  mem_free(c->mem, c->slots);
  c->slots = NULL;
  c->slot_cap = 0;
}

void call_party_init(struct call_party *p, uint64_t session) {
  *p = (struct call_party){.session = session};
  list_init(&p->made);
  list_init(&p->taken);
}

static int take_slot(struct calls *c, struct call *call) {
  if (c->free_slot == NO_SLOT && c->slot_used == c->slot_cap) {
    uint32_t cap = c->slot_cap ? c->slot_cap * 2 : MIN_SLOTS;
    struct calls_slot *more = mem_realloc(c->mem, c->slots, cap * sizeof *more);
    if (!more) return MACULA_ENOMEM;
    c->slots = more;
    c->slot_cap = cap;
  }
  if (c->free_slot != NO_SLOT) {
    call->slot = c->free_slot;
    c->free_slot = c->slots[call->slot].next_free;
  } else {
    call->slot = c->slot_used++;
  }
  c->slots[call->slot].call = call;
  return 0;
}

static void free_slot(struct calls *c, uint32_t slot) {
  assert(slot < c->slot_used && c->slots[slot].call);
  c->slots[slot].call = NULL;
  c->slots[slot].next_free = c->free_slot;
  c->free_slot = slot;
}

/* When no call is left no id refers to a slot: the array starts anew, and a large one is freed. */
static void reset_slots(struct calls *c) {
  c->slot_used = 0;
  c->free_slot = NO_SLOT;
  if (c->slot_cap <= MIN_SLOTS) return;
  mem_free(c->mem, c->slots);
  c->slots = NULL;
  c->slot_cap = 0;
}

static size_t args_len(const struct shbuf *args) { return args ? args->len : 0; }

int calls_add(struct calls *c, struct call_party *caller, const uint8_t call_id[CALL_ID_LEN], struct slice procedure,
              struct shbuf *args, nanotime deadline, struct call **ret_call) {
  if (procedure.n == 0 || procedure.n > UINT8_MAX) return MACULA_EINVAL;
  struct key key = key_of(caller, call_id);
  if (htab_find(&c->tab, &key, sizeof key)) return MACULA_EBUSY;
  if (c->tab.count >= c->max || caller->made_count >= (caller->max ? caller->max : c->per_caller) ||
      c->args_bytes + args_len(args) > c->max_args_bytes) {
    c->refused++;
    return MACULA_TOO_MANY_CALLS;
  }
  struct call *call = mem_calloc(c->mem, 1, sizeof *call + procedure.n + 1);
  if (!call) return MACULA_ENOMEM;
  int err = take_slot(c, call);
  if (err) goto free_call;
  call->caller = caller;
  memcpy(call->call_id, call_id, CALL_ID_LEN);
  err = heap_set(&c->due, &call->due, deadline);
  if (err) goto free_slot;
  err = htab_insert(&c->tab, &call->h, &key, sizeof key);
  if (err) goto leave_heap;
  call->deadline = deadline;
  call->len = (uint8_t)procedure.n;
  memcpy(call->procedure, procedure.p, procedure.n);
  call->args = args ? shbuf_ref(args) : NULL;
  c->args_bytes += args_len(args);
  list_append(&caller->made, &call->of_caller);
  caller->made_count++;
  if (caller->shared) ++*caller->shared;
  list_init(&call->of_provider);
  list_init(&call->of_wait);
  *ret_call = call;
  return 0;

leave_heap:
  heap_remove(&c->due, &call->due);
free_slot:
  free_slot(c, call->slot);
free_call:
  mem_free(c->mem, call);
  return err;
}

void calls_remove(struct calls *c, struct call *call) {
  assert(c->slots[call->slot].call == call);
  assert(call->caller->made_count > 0 && c->args_bytes >= args_len(call->args));
  htab_remove(&c->tab, &call->h);
  heap_remove(&c->due, &call->due);
  free_slot(c, call->slot);
  if (c->tab.count == 0) reset_slots(c);
  list_remove(&call->of_caller);
  list_remove(&call->of_provider);
  list_remove(&call->of_wait);
  call->caller->made_count--;
  if (call->caller->shared) --*call->caller->shared;
  c->args_bytes -= args_len(call->args);
  shbuf_unref(call->args);
  principal_unref(call->origin);
  mem_free(c->mem, call);
}

struct call *calls_find(const struct calls *c, const struct call_party *caller, const uint8_t call_id[CALL_ID_LEN]) {
  struct key key = key_of(caller, call_id);
  struct hlink *h = htab_find(&c->tab, &key, sizeof key);
  return h ? container_of(h, struct call, h) : NULL;
}

/* The secret part of an id. Slot and generation make an id unique; a keyed hash of them cannot be guessed, and costs no random
 * bytes from the system. */
static uint64_t secret_of(const struct calls *c, const void *place) { return siphash13(c->tab.seed, place, 8); }

static bool secret_holds(const struct calls *c, const struct call *call) {
  uint64_t secret = secret_of(c, call->sent_id);
  return memcmp(call->sent_id + 8, &secret, sizeof secret) == 0;
}

void calls_assign(struct calls *c, struct call *call, struct call_party *provider, nanotime due) {
  calls_unassign(call);
  struct {
    uint32_t slot, generation;
  } place = {call->slot, c->generation++};
  uint64_t secret = secret_of(c, &place);
  memcpy(call->sent_id, &place, sizeof place);
  memcpy(call->sent_id + sizeof place, &secret, sizeof secret);
  call->provider = provider;
  list_append(&provider->taken, &call->of_provider);
  calls_set_due(c, call, due);
}

void calls_set_due(struct calls *c, struct call *call, nanotime due) {
  assert(call->due.pos);
  (void)heap_set(&c->due, &call->due, due); /* it is in the heap already: moving never fails */
}

void calls_unassign(struct call *call) {
  list_remove(&call->of_provider);
  call->provider = NULL;
  call->lost = false;
}

struct call *calls_find_sent(const struct calls *c, const struct call_party *provider, const uint8_t *sent_id, size_t len) {
  uint32_t slot;
  if (len != CALL_ID_LEN) return NULL;
  memcpy(&slot, sent_id, sizeof slot);
  if (slot >= c->slot_used) return NULL;
  struct call *call = c->slots[slot].call;
  return call && call->provider == provider && memcmp(call->sent_id, sent_id, CALL_ID_LEN) == 0 ? call : NULL;
}

nanotime calls_deadline(const struct calls *c) { return heap_deadline(&c->due); }

struct call *calls_due(const struct calls *c, nanotime now) {
  return c->due.count && heap_deadline(&c->due) <= now ? container_of(c->due.v[0], struct call, due) : NULL;
}

/* Checks a caller or a provider; called with the first of its calls, so once for each. */
static const char *made_check(const struct call_party *p, uint32_t *made) {
  CHECK(list_has(&p->made, p->made_count), "calls: a caller's calls are not as many as it counts");
  list_for(it, &p->made)
      CHECK(container_of(it, const struct call, of_caller)->caller == p, "calls: a call is in another caller's list");
  *made += p->made_count;
  return NULL;
}

static const char *taken_check(const struct call_party *p, uint32_t *taken) {
  CHECK(list_holds(&p->taken), "calls: the list of a provider's calls is broken");
  list_for(it, &p->taken) {
    CHECK(container_of(it, const struct call, of_provider)->provider == p, "calls: a call is in another provider's list");
    ++*taken;
  }
  return NULL;
}

static const char *call_check(const struct calls *c, const struct call *call) {
  CHECK(calls_find(c, call->caller, call->call_id) == call, "calls: a call is not found by its caller's id");
  CHECK(heap_has(&c->due, &call->due) && call->due.at <= call->deadline, "calls: a call is due after its deadline, or never");
  CHECK(call->slot < c->slot_used && c->slots[call->slot].call == call, "calls: a call is not in its slot");
  CHECK(list_empty(&call->of_provider) == (!call->provider && !call->lost) && !(call->provider && call->lost),
        "calls: a provider's call is not in its list");
  CHECK(!call->provider || (calls_find_sent(c, call->provider, call->sent_id, CALL_ID_LEN) == call && secret_holds(c, call)),
        "calls: a call is not found by the id that its provider has");
  CHECK(list_holds(&call->of_wait), "calls: a list of those who wait is broken");
  CHECK(call->attempt_count <= CALL_MAX_ATTEMPTS, "calls: more attempts than are made");
  return NULL;
}

const char *calls_check(const struct calls *c) {
  uint32_t made = 0, taken = 0, given = 0, free = 0;
  size_t args = 0;
  CHECK_PART(htab_check(&c->tab));
  CHECK_PART(heap_check(&c->due));
  CHECK(c->due.count == c->tab.count, "calls: the deadlines are not as many as the calls");
  for (struct hlink *h = NULL; (h = htab_next(&c->tab, h));) {
    const struct call *call = container_of(h, const struct call, h);
    CHECK_PART(call_check(c, call));
    args += args_len(call->args);
    given += call->provider != NULL;
    if (call->of_caller.prev == &call->caller->made) CHECK_PART(made_check(call->caller, &made));
    if (call->provider && call->of_provider.prev == &call->provider->taken) CHECK_PART(taken_check(call->provider, &taken));
  }
  CHECK(args == c->args_bytes, "calls: the arguments held are not as many bytes as counted");
  CHECK(made == c->tab.count, "calls: a call is in no caller's list");
  CHECK(taken == given, "calls: a call is in no provider's list");
  for (uint32_t i = c->free_slot; i != NO_SLOT; i = c->slots[i].next_free)
    CHECK(i < c->slot_used && !c->slots[i].call && free++ < c->slot_used, "calls: a free slot is not free");
  CHECK(free + c->tab.count == c->slot_used && c->slot_used <= c->slot_cap, "calls: a slot is neither free nor a call's");
  return NULL;
}

size_t calls_owned(const struct calls *c) {
  size_t sum = htab_owned(&c->tab) + heap_owned(&c->due) + mem_cost(c->slots);
  for (struct hlink *h = NULL; (h = htab_next(&c->tab, h));) sum += mem_cost(container_of(h, const struct call, h));
  return sum;
}

uint64_t calls_origins(const struct calls *c) {
  uint64_t count = 0;
  for (struct hlink *h = NULL; (h = htab_next(&c->tab, h));) count += container_of(h, const struct call, h)->origin != NULL;
  return count;
}
