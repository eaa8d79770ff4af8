#include "node/view/recent.h"

#include <string.h>

#include "base/check.h"
#include "node/state.h"

static_assert(RECENT_TEXT < 512, "an event is small");

void node_note(struct node *n, enum log_level level, const char *event, const char *fields) {
  struct recent *r = &n->recent;
  size_t len = strnlen(event, UINT8_MAX), more = strlen(fields);
  if (level > LOG_INFO) return;
  if (!r->v && !(r->v = mem_calloc(&n->rows.mem[ROW_EVENTS], RECENT_MOST, sizeof *r->v))) return;
  struct recent_event *e = &r->v[r->count % RECENT_MOST];
  *e = (struct recent_event){.ms = node_wall_ms(n), .number = r->count, .level = (uint8_t)level, .name_len = (uint8_t)len};
  if (more > RECENT_TEXT - len) more = RECENT_TEXT - len;
  memcpy(e->text, event, len);
  memcpy(e->text + len + 1, fields, more);
  r->count++;
}

const struct recent_event *recent_at(const struct recent *r, size_t at) {
  return at < recent_kept(r) ? &r->v[(r->count - 1 - at) % RECENT_MOST] : NULL;
}

/* The text of a value as the log has it, with JSON's escapes. What was cut off within an escape or a character loses that. */
static json_t *value_json(const char *p, size_t len) {
  char text[RECENT_TEXT + 8];
  for (size_t cut = 0; cut < 8 && cut <= len; cut++) {
    size_t n = len - cut;
    text[0] = '"';
    memcpy(text + 1, p, n);
    memcpy(text + 1 + n, "\"", 2);
    json_t *j = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (j) return j;
  }
  return NULL;
}

/* key=value key="quoted value" */
static json_t *fields_json(const char *f) {
  json_t *all = json_object();
  char key[64];
  while (*f) {
    size_t n = strcspn(f, "= ");
    if (f[n] != '=' || n >= sizeof key) {
      f += n + (f[n] != 0);
      continue;
    }
    memcpy(key, f, n);
    key[n] = 0;
    const char *value = f + n + 1, *end;
    bool quoted = *value == '"';
    value += quoted;
    for (end = value; *end && *end != (quoted ? '"' : ' '); end++) end += *end == '\\' && end[1];
    json_t *j = value_json(value, (size_t)(end - value));
    if (j) json_object_set_new(all, key, j);
    f = end + (quoted && *end);
    while (*f == ' ') f++;
  }
  return all;
}

json_t *recent_json(const struct recent_event *e) {
  static const char *const levels[] = {"error", "warn", "info", "debug"};
  return json_pack("{s:I, s:I, s:s, s:s, s:o}", "n", (json_int_t)e->number, "ms", (json_int_t)e->ms, "level", levels[e->level],
                   "event", e->text, "fields", fields_json(e->text + e->name_len + 1));
}

void recent_done(struct node *n) {
  mem_free(&n->rows.mem[ROW_EVENTS], n->recent.v);
  n->recent = (struct recent){0};
}

size_t recent_owned(const struct node *n) { return n->recent.v ? mem_cost(n->recent.v) : 0; }

const char *recent_check(const struct node *n) {
  const struct recent *r = &n->recent;
  CHECK(!r->count || r->v, "recent: events are counted and not kept");
  for (size_t i = 0; i < recent_kept(r); i++) {
    const struct recent_event *e = recent_at(r, i);
    CHECK(e->number == r->count - 1 - i && e->level <= LOG_INFO, "recent: the events are not in order");
    CHECK(strlen(e->text) == e->name_len && !e->text[RECENT_TEXT + 1], "recent: an event has no end");
  }
  return NULL;
}
