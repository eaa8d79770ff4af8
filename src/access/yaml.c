#include "access/yaml.h"

#include <stdio.h>
#include <yaml.h>

#include "base/err.h"

#define NAME_SHOWN 200

static const char *wrong_scalar(const yaml_event_t *e) {
  return memchr(e->data.scalar.value, 0, e->data.scalar.length) ? "a text with a NUL (\\0) in it: remove it" : NULL;
}

static bool has_anchor(const yaml_event_t *e) {
  return (e->type == YAML_SCALAR_EVENT && e->data.scalar.anchor) ||
         (e->type == YAML_SEQUENCE_START_EVENT && e->data.sequence_start.anchor) ||
         (e->type == YAML_MAPPING_START_EVENT && e->data.mapping_start.anchor);
}

struct shape {
  unsigned depth, most, documents;
  bool ended; /* the first document */
};

/* What is wrong with the next event; NULL: nothing. */
static const char *look_at(struct shape *s, const yaml_event_t *e) {
  s->depth += e->type == YAML_SEQUENCE_START_EVENT || e->type == YAML_MAPPING_START_EVENT;
  s->depth -= e->type == YAML_SEQUENCE_END_EVENT || e->type == YAML_MAPPING_END_EVENT;
  s->ended |= e->type == YAML_DOCUMENT_END_EVENT;
  if (e->type == YAML_DOCUMENT_START_EVENT && s->documents++)
    return "a second document begins here: put all keys into one, and remove this line";
  if (s->depth > s->most) return "nested too deeply: 'key: value' lines and lists of values are expected";
  if (e->type == YAML_ALIAS_EVENT) return "an alias (*NAME): write out what it stands for, or put patterns in quotes: '*'";
  if (has_anchor(e)) return "an anchor (&NAME): leave it out, or put what begins with & in quotes";
  return e->type == YAML_SCALAR_EVENT ? wrong_scalar(e) : NULL;
}

int yaml_check_shape(const char *name, struct slice text, unsigned most_nesting, char ret_why[YAML_WHY_LEN]) {
  struct shape s = {.most = most_nesting};
  yaml_parser_t parser;
  yaml_event_t e;
  const char *wrong = NULL;
  size_t line = 1;
  if (text.n && (text.p[0] == '%' || memmem(text.p, text.n, "\n%", 2)))
    wrong = "a line that begins with % (a directive of YAML): leave it out";
  if (!yaml_parser_initialize(&parser)) return MACULA_ENOMEM;
  yaml_parser_set_input_string(&parser, text.p, text.n);
  for (bool more = true; more && !wrong;) {
    if (!yaml_parser_parse(&parser, &e)) {
      if (s.ended)
        wrong = "nothing may follow the document's end: put all keys before it"; /* of the first, its loader says it */
      line = parser.problem_mark.line + 1;
      break;
    }
    more = e.type != YAML_NO_EVENT && e.type != YAML_STREAM_END_EVENT;
    wrong = look_at(&s, &e);
    line = e.start_mark.line + 1;
    yaml_event_delete(&e);
  }
  yaml_parser_delete(&parser);
  if (wrong) snprintf(ret_why, YAML_WHY_LEN, "%.*s:%zu: %s", NAME_SHOWN, name, line, wrong);
  return wrong ? MACULA_EINVAL : 0;
}
