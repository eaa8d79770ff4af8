#include "wire/interest.h"

#include "base/err.h"
#include "wire/cursor.h"
#include "wire/group.h"
#include "wire/names.h"

static bool is_pattern(struct slice s) {
  if (group_name(s).n) return group_is_key(s);
  char stored[NAME_MAX_LEN + 1];
  size_t len;
  return name_pattern(s, stored, &len) == 0 && slice_eq(s, slice_of(stored, len));
}

static bool is_topic(struct slice s) {
  char stored[NAME_MAX_LEN + 1];
  size_t len;
  return name_topic(s, stored, &len) == 0 && slice_eq(s, slice_of(stored, len));
}

static struct msg_list read_patterns(struct reader *r) {
  uint32_t n = reader_array(r);
  const uint8_t *start = r->p;
  for (uint32_t i = 0; i < n && !r->bad; i++)
    if (!is_pattern(reader_text(r))) r->bad = true;
  return (struct msg_list){.count = n, .raw = {start, (size_t)(r->p - start)}};
}

static void write_list(struct writer *w, const struct msg_list *l) {
  writer_array(w, l->count);
  for (uint32_t i = 0; l->items && i < l->count; i++) writer_bin(w, l->items[i]);
  if (!l->items) writer_raw(w, l->raw);
}

#define KEY(s) slice_is(key, s)
#define PUT(name) writer_bin(&w, slice_str(name))
/* Runs `field` for each key of the map; what it does not take is skipped. */
#define FOR_FIELDS(payload, field)                                                                                             \
  struct reader rd = reader_of(payload), *r = &rd;                                                                             \
  for (uint32_t left = reader_map(r); left && !r->bad; left--) {                                                               \
    struct slice key = reader_text(r);                                                                                         \
    if (r->bad) break;                                                                                                         \
    field;                                                                                                                     \
  }                                                                                                                            \
  bool bad = r->bad || r->p != r->end

int wire_interest_decode(struct slice payload, struct wire_interest *ret) {
  struct wire_interest m = {0};
  FOR_FIELDS(payload, {
    if (KEY("epoch"))
      m.epoch = reader_uint(r);
    else if (KEY("from"))
      m.from = reader_uint(r);
    else if (KEY("version"))
      m.version = reader_uint(r);
    else if (KEY("reset"))
      m.reset = reader_bool(r);
    else if (KEY("more"))
      m.more = reader_bool(r);
    else if (KEY("retained"))
      m.retained = reader_uint(r);
    else if (KEY("total"))
      m.total = reader_uint(r);
    else if (KEY("digest"))
      m.digest = reader_uint(r);
    else if (KEY("adds"))
      m.adds = read_patterns(r);
    else if (KEY("removes"))
      m.removes = read_patterns(r);
    else
      (void)reader_raw(r, 1);
  });
  if (bad || !m.epoch || m.version < m.from || (m.reset && m.from)) return MACULA_BAD_FRAME;
  *ret = m;
  return 0;
}

int wire_have_decode(struct slice payload, struct wire_have *ret) {
  struct wire_have m = {0};
  FOR_FIELDS(payload, {
    if (KEY("epoch"))
      m.epoch = reader_uint(r);
    else if (KEY("version"))
      m.version = reader_uint(r);
    else if (KEY("digest"))
      m.digest = reader_uint(r);
    else
      (void)reader_raw(r, 1);
  });
  if (bad) return MACULA_BAD_FRAME;
  *ret = m;
  return 0;
}

int wire_retained_get_decode(struct slice payload, struct wire_retained_get *ret) {
  struct wire_retained_get m = {0};
  FOR_FIELDS(payload, {
    if (KEY("number"))
      m.number = reader_uint(r);
    else if (KEY("pattern"))
      m.pattern = reader_text(r);
    else if (KEY("room"))
      m.room = reader_uint(r);
    else if (KEY("more"))
      m.more = reader_bool(r);
    else
      (void)reader_raw(r, 1);
  });
  if (bad || !m.number || !is_pattern(m.pattern)) return MACULA_BAD_FRAME;
  *ret = m;
  return 0;
}

int wire_retained_moved_decode(struct slice payload, struct wire_retained_moved *ret) {
  struct wire_retained_moved m = {0};
  FOR_FIELDS(payload, {
    if (KEY("topic"))
      m.topic = reader_text(r);
    else if (KEY("ms"))
      m.ms = reader_uint(r);
    else if (KEY("now"))
      m.now = reader_uint(r);
    else
      (void)reader_raw(r, 1);
  });
  if (bad || (m.topic.n && !is_topic(m.topic)) || !m.topic.p) return MACULA_BAD_FRAME;
  *ret = m;
  return 0;
}

size_t wire_interest_encode(const struct wire_interest *m, uint8_t *buf, size_t cap) {
  struct writer w = {buf, cap, 0};
  writer_map(&w, 10);
  PUT("epoch"), writer_uint(&w, m->epoch);
  PUT("from"), writer_uint(&w, m->from);
  PUT("version"), writer_uint(&w, m->version);
  PUT("reset"), writer_bool(&w, m->reset);
  PUT("more"), writer_bool(&w, m->more);
  PUT("retained"), writer_uint(&w, m->retained);
  PUT("total"), writer_uint(&w, m->total);
  PUT("digest"), writer_uint(&w, m->digest);
  PUT("adds"), write_list(&w, &m->adds);
  PUT("removes"), write_list(&w, &m->removes);
  return w.len;
}

size_t wire_have_encode(const struct wire_have *m, uint8_t *buf, size_t cap) {
  struct writer w = {buf, cap, 0};
  writer_map(&w, 3);
  PUT("epoch"), writer_uint(&w, m->epoch);
  PUT("version"), writer_uint(&w, m->version);
  PUT("digest"), writer_uint(&w, m->digest);
  return w.len;
}

size_t wire_retained_get_encode(const struct wire_retained_get *m, uint8_t *buf, size_t cap) {
  struct writer w = {buf, cap, 0};
  writer_map(&w, 4);
  PUT("number"), writer_uint(&w, m->number);
  PUT("pattern"), writer_bin(&w, m->pattern);
  PUT("room"), writer_uint(&w, m->room);
  PUT("more"), writer_bool(&w, m->more);
  return w.len;
}

size_t wire_retained_moved_encode(const struct wire_retained_moved *m, uint8_t *buf, size_t cap) {
  struct writer w = {buf, cap, 0};
  writer_map(&w, 3);
  PUT("topic"), writer_bin(&w, m->topic);
  PUT("ms"), writer_uint(&w, m->ms);
  PUT("now"), writer_uint(&w, m->now);
  return w.len;
}
