#include "wire/names.h"

#include <stdio.h>

#include "base/err.h"
#include "base/utf8.h"

/* What is wrong with a name; where: bytes count from 1, segments too; of how many bytes. */
enum rule {
  RULE_NONE,
  RULE_EMPTY,
  RULE_LONG,
  RULE_LONG_STORED,
  RULE_SEGMENTS,
  RULE_EMPTY_SEGMENT,
  RULE_REALM,    /* a character that realms do not have */
  RULE_WILDCARD, /* one of + # * that is no wildcard */
  RULE_CONTROL,  /* as it is; as is what follows */
  RULE_NOT_UTF8,
  RULE_PERCENT,  /* no escape */
  RULE_NEEDLESS, /* an escape of what stands for itself */
  RULE_SMALL,    /* an escape not in capitals */
  RULE_VARIABLE  /* a ${...} in a template that is none of its variables */
};
struct fault {
  enum rule rule;
  size_t at, len;
};
static const struct fault no_fault = {RULE_NONE, 0, 0};

static bool is_separator(uint8_t c) { return c == '.' || c == '/'; }
static bool is_wildcard(uint8_t c) { return c == '*' || c == '+' || c == '#'; }

/* Of ASCII. */
static bool is_plain(uint8_t c) { return c >= '0' ? c < 0x7f : c >= ' ' && c != '%' && !is_separator(c) && !is_wildcard(c); }

/* Whether a character of len bytes stands for itself in a segment. */
static bool stands(const uint8_t *p, size_t len) { return len == 1 ? is_plain(*p) : len && !utf8_is_control(p, len); }

static bool realm_char(uint8_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

/* The bytes that the escapes at p stand for, at most 4; returns how many. */
static size_t unescape(const uint8_t *p, size_t n, uint8_t ret[4]) {
  size_t k = 0;
  for (; k < 4 && n >= 3 && p[0] == '%' && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0; p += 3, n -= 3)
    ret[k++] = (uint8_t)(hex_digit(p[1]) << 4 | hex_digit(p[2]));
  return k;
}

static char *put_escape(char *out, uint8_t c) {
  static const char digits[] = "0123456789ABCDEF";
  *out++ = '%';
  *out++ = digits[c >> 4];
  *out++ = digits[c & 15];
  return out;
}

/* The rule that the escape at p breaks; *ret_len: its bytes, of all of a character where they stand for one. */
static enum rule escape_rule(const uint8_t *p, size_t n, size_t *ret_len) {
  uint8_t bytes[4];
  size_t count = unescape(p, n, bytes), len = count ? utf8_len(bytes, count) : 0;
  *ret_len = !count ? 1 : len ? 3 * len : 3;
  if (!count) return RULE_PERCENT;
  if (stands(bytes, len)) return RULE_NEEDLESS;
  for (size_t i = 0; i < *ret_len; i++)
    if (p[i] >= 'a') return RULE_SMALL;
  return RULE_NONE;
}

static enum rule char_rule(const uint8_t *p, size_t n, size_t *ret_len) {
  if (*p == '%') return escape_rule(p, n, ret_len);
  size_t len = utf8_len(p, n);
  *ret_len = len ? len : 1;
  if (stands(p, len)) return RULE_NONE;
  return !len ? RULE_NOT_UTF8 : is_wildcard(*p) ? RULE_WILDCARD : RULE_CONTROL;
}

static bool is_variable(struct slice seg) {
  return slice_is(seg, "${id}") || slice_is(seg, "${user}") || slice_is(seg, "${client}");
}

/* seg: of what was given, where it begins at `first`; the number-th. */
static struct fault segment_fault(struct slice seg, enum name_form form, unsigned number, size_t first) {
  if (seg.n == 0) return (struct fault){RULE_EMPTY_SEGMENT, number, 0};
  for (size_t i = 0, len = 1; i < seg.n; i += len, len = 1) {
    enum rule rule = RULE_NONE;
    if (form == NAME_REALM)
      rule = realm_char(seg.p[i]) ? RULE_NONE : RULE_REALM;
    else if (!is_plain(seg.p[i]))
      rule = char_rule(seg.p + i, seg.n - i, &len);
    if (rule) return (struct fault){rule, first + i + 1, len};
  }
  if (form == NAME_TEMPLATE && memmem(seg.p, seg.n, "${", 2) && !is_variable(seg))
    return (struct fault){RULE_VARIABLE, number, 0};
  return no_fault;
}

/* As it is stored; NULL: a segment that is none. */
static const char *wildcard_of(struct slice seg) {
  if (slice_is(seg, "*") || slice_is(seg, "+")) return "*";
  return slice_is(seg, "**") || slice_is(seg, "#") ? "**" : NULL; /* as MQTT writes it */
}

/* A run of wildcards means the same in any order and with any number of `**`. It is stored in one form only, first all `*`,
 * then one `**`, so that a match visits few nodes whatever patterns clients make up. *at: where the segment before this one
 * begins, if it is `**`. */
static size_t settle_wildcard(char *out, size_t start, size_t n, size_t *at) {
  bool is_star = out[start] == '*', before = *at != SIZE_MAX;
  if (is_star && before && n - start == 2) return start - 1;
  if (is_star && before) {
    memcpy(out + *at, "*.**", 4);
    *at += 2;
  } else {
    *at = is_star && n - start == 2 ? start : SIZE_MAX;
  }
  return n;
}

static struct fault judge(struct slice in, enum name_form form, char out[NAME_MAX_LEN + 1], size_t *ret_len) {
  size_t n = 0, dstar = SIZE_MAX;
  unsigned segments = 0;
  bool is_pattern = form == NAME_PATTERN || form == NAME_TEMPLATE;
  if (in.n == 0) return (struct fault){RULE_EMPTY, 0, 0};
  if (in.n > NAME_MAX_LEN) return (struct fault){RULE_LONG, in.n, 0};
  for (size_t first = 0, end; first <= in.n; first = end + 1) {
    for (end = first; end < in.n && !is_separator(in.p[end]);) end++;
    struct slice seg = slice_of(in.p + first, end - first);
    const char *wild = is_pattern ? wildcard_of(seg) : NULL;
    struct fault f = wild ? no_fault : segment_fault(seg, form, segments + 1, first);
    if (f.rule) return f;
    if (++segments > NAME_MAX_SEGMENTS) return (struct fault){RULE_SEGMENTS, 0, 0};
    if (wild) seg = slice_str(wild);
    if (n + (first > 0) + seg.n > NAME_MAX_LEN) return (struct fault){RULE_LONG_STORED, 0, 0};
    if (first) out[n++] = '.';
    memcpy(out + n, seg.p, seg.n);
    n = is_pattern ? settle_wildcard(out, n, n + seg.n, &dstar) : n + seg.n;
  }
  out[n] = 0;
  *ret_len = n;
  return no_fault;
}

static int normalize(struct slice in, enum name_form form, int err, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  char out[NAME_MAX_LEN + 1];
  size_t n;
  if (judge(in, form, out, &n).rule) return err;
  memcpy(ret_name, out, n + 1);
  *ret_len = n;
  return 0;
}

int name_topic(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, NAME_TOPIC, MACULA_INVALID_TOPIC, ret_name, ret_len);
}
int name_pattern(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, NAME_PATTERN, MACULA_INVALID_TOPIC, ret_name, ret_len);
}
int name_procedure(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, NAME_PROCEDURE, MACULA_INVALID_PROCEDURE, ret_name, ret_len);
}
int name_realm(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, NAME_REALM, MACULA_INVALID_REALM, ret_name, ret_len);
}
int name_template(struct slice in, char ret_name[NAME_MAX_LEN + 1], size_t *ret_len) {
  return normalize(in, NAME_TEMPLATE, MACULA_INVALID_TOPIC, ret_name, ret_len);
}

static unsigned count_segments(struct slice in) {
  unsigned n = 1;
  for (size_t i = 0; i < in.n; i++) n += is_separator(in.p[i]);
  return n;
}

/* What is wrong with a character, or with an escape, and what to write instead. */
static void write_char_why(struct fault f, const uint8_t *p, char ret_why[NAME_WHY_LEN]) {
  uint8_t bytes[4];
  char escapes[16], *end = escapes;
  size_t count = unescape(p, f.len, bytes);
  int shown = (int)f.len, meant = (int)count;
  if (!count) memcpy(bytes, p, count = f.len);
  for (size_t i = 0; i < count; i++) end = put_escape(end, bytes[i]);
  *end = 0;
  if (f.rule == RULE_NOT_UTF8)
    snprintf(ret_why, NAME_WHY_LEN, "byte %zu, 0x%02x, is no UTF-8; if it is meant, write %s", f.at, *p, escapes);
  else if (f.rule == RULE_CONTROL)
    snprintf(ret_why, NAME_WHY_LEN, "the control U+%04X at byte %zu cannot stand in a name; write %s", utf8_code(p, f.len),
             f.at, escapes);
  else if (f.rule == RULE_PERCENT)
    snprintf(ret_why, NAME_WHY_LEN, "'%%' at byte %zu begins no escape; for the character itself write %s", f.at, escapes);
  else if (f.rule == RULE_NEEDLESS)
    snprintf(ret_why, NAME_WHY_LEN, "%.*s at byte %zu escapes what needs no escape; write '%.*s'", shown, (const char *)p, f.at,
             meant, (const char *)bytes);
  else
    snprintf(ret_why, NAME_WHY_LEN, "%.*s at byte %zu is not in capitals; write %s", shown, (const char *)p, f.at, escapes);
}

/* Patterns whose every `#` counts twice are the only ones that are longer as they are stored. */
static void write_why(struct fault f, enum name_form form, struct slice in, char ret_why[NAME_WHY_LEN]) {
  const uint8_t *p = f.at && f.at <= in.n ? in.p + f.at - 1 : (const uint8_t *)"";
  char shown[16];
  snprintf(shown, sizeof shown, *p > ' ' && *p < 0x7f ? "'%c'" : *p == ' ' ? "the blank" : "0x%02x", *p);
  switch (f.rule) {
  case RULE_NONE:
    break;
  case RULE_EMPTY:
    snprintf(ret_why, NAME_WHY_LEN, "it is empty");
    break;
  case RULE_LONG:
    snprintf(ret_why, NAME_WHY_LEN, "it has %zu bytes, at most %d are allowed", f.at, NAME_MAX_LEN);
    break;
  case RULE_LONG_STORED:
    snprintf(ret_why, NAME_WHY_LEN, "it has more than %d bytes, with each # kept as **", NAME_MAX_LEN);
    break;
  case RULE_SEGMENTS:
    snprintf(ret_why, NAME_WHY_LEN, "it has %u segments, at most %d are allowed", count_segments(in), NAME_MAX_SEGMENTS);
    break;
  case RULE_EMPTY_SEGMENT:
    snprintf(ret_why, NAME_WHY_LEN, "segment %zu of %u is empty%s", f.at, count_segments(in),
             form == NAME_REALM ? "" : "; if that is meant, write %00");
    break;
  case RULE_REALM:
    snprintf(ret_why, NAME_WHY_LEN, "%s at byte %zu is none of A-Z a-z 0-9 _ - and the dots between segments", shown, f.at);
    break;
  case RULE_WILDCARD:
    snprintf(ret_why, NAME_WHY_LEN,
             form == NAME_TOPIC || form == NAME_PROCEDURE
                 ? "'%c' at byte %zu: wildcards are for patterns of subscriptions only; for the character itself write %%%02X"
                 : "'%c' at byte %zu is not a whole segment, as the wildcards must be; for the character itself write %%%02X",
             *p, f.at, *p);
    break;
  case RULE_VARIABLE:
    snprintf(ret_why, NAME_WHY_LEN, "segment %zu holds ${, but is none of ${id}, ${user} and ${client}", f.at);
    break;
  case RULE_CONTROL:
  case RULE_NOT_UTF8:
  case RULE_PERCENT:
  case RULE_NEEDLESS:
  case RULE_SMALL:
    write_char_why(f, p, ret_why);
    break;
  }
}

const char *name_why(int err, enum name_form form, struct slice in, char ret_why[NAME_WHY_LEN]) {
  char out[NAME_MAX_LEN + 1];
  size_t n;
  if (err != MACULA_INVALID_TOPIC && err != MACULA_INVALID_PROCEDURE && err != MACULA_INVALID_REALM) return NULL;
  struct fault f = judge(in, form, out, &n);
  if (!f.rule) return NULL;
  write_why(f, form, in, ret_why);
  return ret_why;
}

bool name_is_reserved(struct slice procedure) {
  static const char prefix[] = "com.macula.";
  size_t len = sizeof prefix - 1;
  return procedure.n >= len && memcmp(procedure.p, prefix, len) == 0;
}

int name_segment_from(struct slice value, char ret_segment[NAME_MAX_LEN + 1], size_t *ret_len) {
  char out[NAME_MAX_LEN + 1], *end = out;
  bool zeros = true;
  for (size_t i = 0, len; i < value.n; i += len) {
    const uint8_t *p = value.p + i;
    len = utf8_len(p, value.n - i);
    bool as_is = stands(p, len);
    if (!len) len = 1;
    if ((size_t)(end - out) + (as_is ? len : 3 * len) > NAME_MAX_LEN) return MACULA_INVALID_TOPIC;
    if (as_is) end = (char *)memcpy(end, p, len) + len;
    for (size_t k = 0; !as_is && k < len; k++) end = put_escape(end, p[k]);
    zeros &= *p == 0;
  }
  if (zeros && end - out + 3 > NAME_MAX_LEN) return MACULA_INVALID_TOPIC;
  if (zeros) end = put_escape(end, 0);
  *ret_len = (size_t)(end - out);
  memcpy(ret_segment, out, *ret_len);
  ret_segment[*ret_len] = 0;
  return 0;
}

void name_segment_value(struct slice segment, char ret_value[NAME_MAX_LEN + 1], size_t *ret_len) {
  size_t n = 0;
  bool zeros = true;
  for (size_t i = 0; i < segment.n && n < NAME_MAX_LEN; n++) {
    uint8_t byte[4] = {segment.p[i]};
    i += unescape(segment.p + i, segment.n - i < 3 ? segment.n - i : 3, byte) ? 3 : 1;
    ret_value[n] = (char)*byte;
    zeros &= *byte == 0;
  }
  if (zeros && n) n--;
  ret_value[n] = 0;
  *ret_len = n;
}

struct slice name_next_segment(struct slice *name) {
  const uint8_t *dot = name->n ? memchr(name->p, '.', name->n) : NULL;
  struct slice seg = {name->p, dot ? (size_t)(dot - name->p) : name->n};
  *name = dot ? (struct slice){dot + 1, name->n - seg.n - 1} : SLICE_NONE;
  return seg;
}

int name_template_fill(struct slice stored, const struct name_values *values, char ret_name[NAME_MAX_LEN + 1],
                       size_t *ret_len) {
  char out[NAME_MAX_LEN + 1], put[NAME_MAX_LEN + 1];
  size_t n = 0, len;
  for (bool first = true; stored.p; first = false) {
    struct slice seg = name_next_segment(&stored);
    if (is_variable(seg)) {
      struct slice value = seg.p[2] == 'i' ? values->id : seg.p[2] == 'u' ? values->user : values->client;
      if (!value.p) return MACULA_ENOTFOUND;
      if (name_segment_from(value, put, &len)) return MACULA_INVALID_TOPIC;
      seg = slice_of(put, len);
    }
    if (n + !first + seg.n > NAME_MAX_LEN) return MACULA_INVALID_TOPIC;
    if (!first) out[n++] = '.';
    memcpy(out + n, seg.p, seg.n);
    n += seg.n;
  }
  memcpy(ret_name, out, n);
  ret_name[n] = 0;
  *ret_len = n;
  return 0;
}

uint32_t name_slashes(struct slice in) {
  uint32_t slashes = 0, bit = 1;
  for (size_t i = 0; i < in.n; i++) {
    if (!is_separator(in.p[i])) continue;
    if (in.p[i] == '/') slashes |= bit;
    bit <<= 1;
  }
  return slashes;
}

void name_respell(char *name, size_t len, uint32_t slashes) {
  for (size_t i = 0; i < len; i++) {
    if (name[i] != '.') continue;
    if (slashes & 1) name[i] = '/';
    slashes >>= 1;
  }
}
