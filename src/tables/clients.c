#include "tables/clients.h"

#include <assert.h>

#include "base/check.h"
#include "base/err.h"

#define KEY_LEN (ID_LEN + INSTANCE_LEN + 1)

static void key_of(bool verified, const struct id *id, const uint8_t *instance, uint8_t ret_key[KEY_LEN]) {
  memcpy(ret_key, id->b, ID_LEN);
  memcpy(ret_key + ID_LEN, instance, INSTANCE_LEN);
  ret_key[KEY_LEN - 1] = verified;
}

static bool key_eq(const struct hlink *h, const void *key, size_t len) {
  const struct clients_entry *e = container_of(h, struct clients_entry, h);
  uint8_t own[KEY_LEN];
  key_of(e->verified, &e->id, e->instance, own);
  return memcmp(own, key, len) == 0;
}

static bool session_eq(const struct hlink *h, const void *key, size_t len) {
  return memcmp(&container_of(h, struct clients_entry, of_session)->session, key, len) == 0;
}

void clients_init(struct clients *c, struct mem *mem, struct rng rng, uint32_t max, uint32_t max_ops) {
  *c = (struct clients){0};
  /* The two kinds of slots are counted here; the table itself also holds an old and a new entry during a replacement. */
  htab_init(&c->tab, mem, rng, UINT32_MAX, key_eq);
  htab_init(&c->by_session, mem, rng, UINT32_MAX, session_eq);
  list_init(&c->all);
  clients_set_max(c, max, max_ops);
}

void clients_done(struct clients *c) {
  list_for_safe(l, &c->all) {
    container_of(l, struct clients_entry, all)->in = false;
    list_remove(l);
  }
  htab_done(&c->tab);
  htab_done(&c->by_session);
  c->count = c->ops = 0;
}

void clients_set_max(struct clients *c, uint32_t max, uint32_t max_ops) {
  c->max = max;
  c->max_ops = max_ops;
}

struct clients_entry *clients_find(const struct clients *c, bool verified, const struct id *id,
                                   const uint8_t instance[INSTANCE_LEN]) {
  uint8_t key[KEY_LEN];
  key_of(verified, id, instance, key);
  struct hlink *h = htab_find(&c->tab, key, sizeof key);
  return h ? container_of(h, struct clients_entry, h) : NULL;
}

struct clients_entry *clients_of_session(const struct clients *c, uint64_t serial) {
  struct hlink *h = htab_find(&c->by_session, &serial, sizeof serial);
  return h ? container_of(h, struct clients_entry, of_session) : NULL;
}

int clients_add(struct clients *c, struct clients_entry *e, bool op, struct clients_entry **ret_replaced) {
  struct clients_entry *old = clients_find(c, e->verified, &e->id, e->instance);
  uint32_t count = c->count - (old && !old->op), ops = c->ops - (old && old->op);
  bool op_slot = op && ops < c->max_ops;
  /* A client that is in keeps its slot when it connects again, even if the limit was lowered since. */
  bool keeps = old && old->op == op_slot;
  if (!op_slot && !keeps && count >= c->max) {
    c->refused++;
    return MACULA_MAX_CLIENTS_REACHED;
  }
  uint8_t key[KEY_LEN];
  key_of(e->verified, &e->id, e->instance, key);
  int err = htab_insert(&c->tab, &e->h, key, sizeof key);
  if (err) return err;
  err = htab_insert(&c->by_session, &e->of_session, &e->session, sizeof e->session);
  if (err) {
    htab_remove(&c->tab, &e->h);
    return err;
  }
  if (old) {
    clients_remove(c, old);
    c->replaced++;
  }
  list_append(&c->all, &e->all);
  e->op = op_slot;
  e->in = true;
  *(op_slot ? &c->ops : &c->count) += 1;
  *ret_replaced = old;
  return 0;
}

void clients_remove(struct clients *c, struct clients_entry *e) {
  if (!e->in) return;
  htab_remove(&c->tab, &e->h);
  htab_remove(&c->by_session, &e->of_session);
  list_remove(&e->all);
  uint32_t *slots = e->op ? &c->ops : &c->count;
  assert(*slots > 0);
  --*slots;
  e->in = false;
}

size_t clients_owned(const struct clients *c) { return htab_owned(&c->tab) + htab_owned(&c->by_session); }

const char *clients_check(const struct clients *c) {
  uint32_t ops = 0;
  CHECK_PART(htab_check(&c->tab));
  CHECK_PART(htab_check(&c->by_session));
  CHECK(c->by_session.count == c->tab.count, "clients: the sessions are not as many as the entries");
  CHECK(c->tab.count == c->count + c->ops, "clients: the slots taken are not as many as the entries");
  CHECK(list_has(&c->all, c->tab.count), "clients: the list does not hold what the table holds");
  list_for(it, &c->all) {
    const struct clients_entry *e = container_of(it, const struct clients_entry, all);
    CHECK(e->in && clients_find(c, e->verified, &e->id, e->instance) == e, "clients: one that is in is not found");
    CHECK(clients_of_session(c, e->session) == e, "clients: one that is in is not found by its session");
    ops += e->op;
  }
  CHECK(ops == c->ops, "clients: the operator's slots are not as many as operators");
  return NULL;
}
