#include "mqtt/window.h"

#include "base/check.h"
#include "base/err.h"

void mqtt_window_init(struct mqtt_window *w, struct mem *mem, uint16_t max) {
  *w = (struct mqtt_window){.mem = mem, .max = max};
}

void mqtt_delivery_done(struct mem *mem, struct mqtt_delivery *d) {
  mqtt_message_unref(d->message);
  if (d->id_count > 1) mem_free(mem, d->ids.many);
  d->message = NULL;
  d->id_count = 0;
}

void mqtt_window_done(struct mqtt_window *w) {
  for (uint16_t id = w->first; id; id = w->slots[id - 1].next) mqtt_delivery_done(w->mem, &w->slots[id - 1].delivery);
  mem_free(w->mem, w->slots);
  mqtt_window_init(w, w->mem, w->max);
}

static void append_free(struct mqtt_window *w, uint16_t id) {
  w->slots[id - 1].next = 0;
  if (w->free_last)
    w->slots[w->free_last - 1].next = id;
  else
    w->free = id;
  w->free_last = id;
}

static int grow(struct mqtt_window *w) {
  if (w->cap == w->max) return MACULA_EFULL;
  uint32_t cap = w->cap ? 2u * w->cap : 4;
  if (cap > w->max) cap = w->max;
  struct mqtt_slot *slots = mem_realloc(w->mem, w->slots, cap * sizeof *slots);
  if (!slots) return MACULA_ENOMEM;
  w->slots = slots;
  memset(slots + w->cap, 0, (cap - w->cap) * sizeof *slots);
  for (uint32_t i = w->cap; i < cap; i++) append_free(w, (uint16_t)(i + 1));
  w->cap = (uint16_t)cap;
  return 0;
}

int mqtt_window_add(struct mqtt_window *w, const struct mqtt_delivery *d, uint16_t *ret_id) {
  int err = w->free ? 0 : grow(w);
  if (err) return err;
  uint16_t id = w->free;
  struct mqtt_slot *slot = &w->slots[id - 1];
  assert(d->qos && slot->state == MQTT_FREE);
  w->free = slot->next;
  if (!w->free) w->free_last = 0;
  *slot = (struct mqtt_slot){.delivery = *d, .prev = w->last, .state = d->qos == 1 ? MQTT_WAITS_PUBACK : MQTT_WAITS_PUBREC};
  if (w->last)
    w->slots[w->last - 1].next = id;
  else
    w->first = id;
  w->last = id;
  w->count++;
  w->bytes += mqtt_message_size(d->message);
  *ret_id = id;
  return 0;
}

struct mqtt_slot *mqtt_window_find(const struct mqtt_window *w, uint16_t id) {
  return id && id <= w->cap && w->slots[id - 1].state != MQTT_FREE ? &w->slots[id - 1] : NULL;
}

static void drop_message(struct mqtt_window *w, struct mqtt_slot *slot) {
  if (!slot->delivery.message) return;
  size_t size = mqtt_message_size(slot->delivery.message);
  assert(w->bytes >= size);
  w->bytes -= size;
  mqtt_delivery_done(w->mem, &slot->delivery);
}

void mqtt_window_received(struct mqtt_window *w, uint16_t id) {
  struct mqtt_slot *slot = mqtt_window_find(w, id);
  assert(slot && slot->state == MQTT_WAITS_PUBREC);
  drop_message(w, slot);
  slot->state = MQTT_WAITS_PUBCOMP;
}

void mqtt_window_remove(struct mqtt_window *w, uint16_t id) {
  struct mqtt_slot *slot = mqtt_window_find(w, id);
  assert(slot && w->count);
  drop_message(w, slot);
  if (slot->prev)
    w->slots[slot->prev - 1].next = slot->next;
  else
    w->first = slot->next;
  if (slot->next)
    w->slots[slot->next - 1].prev = slot->prev;
  else
    w->last = slot->prev;
  *slot = (struct mqtt_slot){.state = MQTT_FREE};
  append_free(w, id);
  w->count--;
}

const char *mqtt_window_check(const struct mqtt_window *w) {
  uint32_t used = 0, unused = 0;
  size_t bytes = 0;
  uint16_t before = 0;
  CHECK(w->cap <= w->max && w->count <= w->cap, "a window has more slots than it may");
  for (uint16_t id = w->first; id; before = id, id = w->slots[id - 1].next) {
    const struct mqtt_slot *slot = &w->slots[id - 1];
    CHECK(id <= w->cap && used++ < w->cap, "a window's order does not end");
    CHECK(slot->state != MQTT_FREE && slot->prev == before, "a window's order has another slot before it");
    CHECK((slot->state == MQTT_WAITS_PUBCOMP) == !slot->delivery.message, "a slot has a message in the wrong state");
    CHECK(slot->delivery.message || !slot->delivery.id_count, "a slot has identifiers without a message");
    if (slot->delivery.message) bytes += mqtt_message_size(slot->delivery.message);
  }
  CHECK(w->last == before && used == w->count, "a window's count is not that of its order");
  before = 0;
  for (uint16_t id = w->free; id; before = id, id = w->slots[id - 1].next) {
    CHECK(id <= w->cap && unused++ < w->cap, "a window's free slots do not end");
    CHECK(w->slots[id - 1].state == MQTT_FREE, "a free slot is in use");
  }
  CHECK(w->free_last == before && used + unused == w->cap, "a slot is neither free nor in use");
  CHECK(bytes == w->bytes, "a window's bytes are not those of its messages");
  return NULL;
}

void mqtt_inbound_init(struct mqtt_inbound *in, struct mem *mem, uint16_t max) {
  *in = (struct mqtt_inbound){.mem = mem, .max = max};
}

void mqtt_inbound_done(struct mqtt_inbound *in) {
  mem_free(in->mem, in->v);
  mqtt_inbound_init(in, in->mem, in->max);
}

/* Where the identifier is, or would be. */
static uint16_t place(const struct mqtt_inbound *in, uint16_t id) {
  uint32_t low = 0, high = in->count;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (in->v[middle].id < id)
      low = middle + 1;
    else
      high = middle;
  }
  return (uint16_t)low;
}

struct mqtt_inbound_entry *mqtt_inbound_find(const struct mqtt_inbound *in, uint16_t id) {
  uint16_t at = place(in, id);
  return at < in->count && in->v[at].id == id ? &in->v[at] : NULL;
}

static bool is_taken(uint8_t state) { return state != MQTT_RECEIVED; }

int mqtt_inbound_add(struct mqtt_inbound *in, uint16_t id, enum mqtt_inbound_state state, struct mqtt_inbound_entry **ret) {
  if (in->count == in->max) return MACULA_EFULL;
  if (in->count == in->cap) {
    uint32_t cap = in->cap ? 2u * in->cap : 4;
    if (cap > in->max) cap = in->max;
    struct mqtt_inbound_entry *v = mem_realloc(in->mem, in->v, cap * sizeof *v);
    if (!v) return MACULA_ENOMEM;
    in->v = v;
    in->cap = (uint16_t)cap;
  }
  uint16_t at = place(in, id);
  assert(at == in->count || in->v[at].id != id);
  memmove(in->v + at + 1, in->v + at, (size_t)(in->count - at) * sizeof *in->v);
  in->v[at] = (struct mqtt_inbound_entry){++in->last_serial, id, (uint8_t)state, true};
  in->count++;
  in->taken = (uint16_t)(in->taken + is_taken(state));
  *ret = &in->v[at];
  return 0;
}

void mqtt_inbound_set(struct mqtt_inbound *in, struct mqtt_inbound_entry *e, enum mqtt_inbound_state state) {
  in->taken = (uint16_t)(in->taken - is_taken(e->state) + is_taken(state));
  e->state = (uint8_t)state;
}

void mqtt_inbound_remove(struct mqtt_inbound *in, struct mqtt_inbound_entry *e) {
  size_t at = (size_t)(e - in->v);
  assert(at < in->count);
  in->taken = (uint16_t)(in->taken - is_taken(e->state));
  memmove(e, e + 1, (in->count - at - 1) * sizeof *e);
  in->count--;
}

void mqtt_inbound_new_conn(struct mqtt_inbound *in) {
  uint16_t kept = 0;
  for (uint16_t i = 0; i < in->count; i++) {
    in->v[i].heard = false;
    if (in->v[i].state == MQTT_TAKEN_1)
      in->taken--;
    else
      in->v[kept++] = in->v[i];
  }
  in->count = kept;
}

const char *mqtt_inbound_check(const struct mqtt_inbound *in) {
  unsigned taken = 0;
  CHECK(in->count <= in->cap && in->cap <= in->max, "a client has more identifiers in use than it may");
  for (unsigned i = 0; i < in->count; i++) {
    CHECK(!i || in->v[i - 1].id < in->v[i].id, "identifiers of a client are not in order");
    taken += is_taken(in->v[i].state);
  }
  CHECK(taken == in->taken, "the count of unanswered messages is wrong");
  return NULL;
}
