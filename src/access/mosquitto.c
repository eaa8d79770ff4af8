#include "access/mosquitto.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "access/access.h"
#include "base/err.h"
#include "base/utf8.h"
#include "trust/password.h"

enum { READ = 1, WRITE = 2 };
enum { EVERYBODY = -1, ANONYMOUS = -2 }; /* whose a rule is, else the index of a user */

struct rule {
  int whose;
  unsigned access;
  char pattern[NAME_MAX_LEN + 1];
};
struct user {
  struct slice name, hash; /* hash.p == NULL: the ACL alone names it */
};

struct import {
  const struct mosquitto_file *file; /* that is read */
  unsigned line;
  struct user *users;
  struct rule *rules;
  size_t user_count, rule_count;
  int whose; /* the next topics */
  bool has_anonymous;
  char *why;
};

static int fail(struct import *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(struct import *m, const char *fmt, ...) {
  va_list ap;
  int n = snprintf(m->why, MOSQUITTO_WHY_LEN, "%.100s:%u: ", m->file->name, m->line);
  va_start(ap, fmt);
  vsnprintf(m->why + n, MOSQUITTO_WHY_LEN - (size_t)n, fmt, ap);
  va_end(ap);
  return MACULA_EINVAL;
}

/* Room for one more in an array of count, which doubles. */
static int grow(void **array, size_t count, size_t size) {
  if (count & (count - 1)) return 0; /* grown at 0, 1, 2, 4 ... */
  void *more = realloc(*array, (count ? 2 * count : 1) * size);
  if (!more) return MACULA_ENOMEM;
  *array = more;
  return 0;
}

static int find_user(const struct import *m, struct slice name) {
  for (size_t i = 0; i < m->user_count; i++)
    if (slice_eq(m->users[i].name, name)) return (int)i;
  return -1;
}

/* A name that stands in one line of YAML between quotes. */
static bool is_name(struct slice s) {
  if (!s.n || s.n > ACCESS_MAX_NAME) return false;
  for (size_t i = 0, n; i < s.n; i += n)
    if (!(n = utf8_len(s.p + i, s.n - i)) || utf8_is_control(s.p + i, n)) return false;
  return true;
}

static int add_user(struct import *m, struct slice name, struct slice hash) {
  if (!is_name(name)) return fail(m, "a user's name is text of 1 to %d bytes", ACCESS_MAX_NAME);
  if (m->user_count == ACCESS_MAX_USERS) return fail(m, "more than %d users", ACCESS_MAX_USERS);
  if (grow((void **)&m->users, m->user_count, sizeof *m->users)) return MACULA_ENOMEM;
  m->users[m->user_count++] = (struct user){name, hash};
  return 0;
}

static int password_line(struct import *m, struct slice line) {
  const uint8_t *colon = memchr(line.p, ':', line.n);
  if (!colon) return fail(m, "'USER:HASH' is expected, as mosquitto_passwd writes it");
  struct slice name = slice_of(line.p, (size_t)(colon - line.p)), hash = slice_of(colon + 1, line.n - name.n - 1);
  if (hash.n && hash.p[0] != '$')
    return fail(m, "the password is not hashed: run 'mosquitto_passwd -U %.60s' first", m->file->name);
  const char *wrong = password_hash_wrong(hash);
  if (wrong) return fail(m, "%s", wrong);
  if (find_user(m, name) >= 0) return fail(m, "the user stands in this file twice");
  return add_user(m, name, hash);
}

/* ---- the ACL --------------------------------------------------------------------------------------------------------------
 */
static int put_level(struct import *m, struct slice level, bool is_pattern, char out[NAME_MAX_LEN + 1], size_t *ret_len) {
  struct slice put = level;
  if (is_pattern && slice_is(level, "%u"))
    put = slice_str("${user}");
  else if (is_pattern && slice_is(level, "%c"))
    put = slice_str("${client}");
  else if (is_pattern && (memmem(level.p, level.n, "%u", 2) || memmem(level.p, level.n, "%c", 2)))
    return fail(m, "%%u and %%c stand for whole levels here, not for a part of '%.*s'", (int)level.n, (const char *)level.p);
  else if (slice_is(level, "+"))
    put = slice_str("*");
  else if (slice_is(level, "#"))
    put = slice_str("**");
  else if (name_segment_from(level, out, ret_len))
    return fail(m, "the level '%.*s' cannot be a segment of a name here", (int)level.n, (const char *)level.p);
  else
    return 0;
  memcpy(out, put.p, put.n);
  *ret_len = put.n;
  return 0;
}

static int put_topic(struct import *m, struct slice topic, bool is_pattern, char ret[NAME_MAX_LEN + 1]) {
  char all[NAME_MAX_LEN + 1], level[NAME_MAX_LEN + 1];
  size_t n = 0, len;
  for (size_t first = 0, end; first <= topic.n; first = end + 1) {
    for (end = first; end < topic.n && topic.p[end] != '/';) end++;
    int err = put_level(m, slice_of(topic.p + first, end - first), is_pattern, level, &len);
    if (err) return err;
    if (n + 1 + len > NAME_MAX_LEN) return fail(m, "the topic is longer than a name here, %d bytes", NAME_MAX_LEN);
    if (first) all[n++] = '.';
    memcpy(all + n, level, len);
    n += len;
  }
  if (name_template(slice_of(all, n), ret, &len))
    return fail(m, "the topic is no pattern here: at most %d levels", NAME_MAX_SEGMENTS);
  return 0;
}

/* The word that s begins with; s goes on behind the blanks after it. */
static struct slice next_word(struct slice *s) {
  size_t n = 0, skip;
  while (n < s->n && s->p[n] != ' ' && s->p[n] != '\t') n++;
  for (skip = n; skip < s->n && (s->p[skip] == ' ' || s->p[skip] == '\t');) skip++;
  struct slice word = slice_of(s->p, n);
  *s = slice_of(s->p + skip, s->n - skip);
  return word;
}

static int topic_line(struct import *m, struct slice rest, bool is_pattern) {
  struct slice topic = rest, word = next_word(&rest);
  unsigned access = READ | WRITE;
  if (slice_is(word, "deny")) return fail(m, "deny: grants only allow; leave the line out, and allow less instead");
  if (slice_is(word, "read") || slice_is(word, "write") || slice_is(word, "readwrite")) {
    access = slice_is(word, "read") ? READ : slice_is(word, "write") ? WRITE : READ | WRITE;
    topic = rest;
  } else if (rest.n) { /* refused by mosquitto, too: as a topic a slip would grant everything */
    return fail(m, "'%.*s' is none of read, write and readwrite, as stand before a topic", (int)word.n, (const char *)word.p);
  }
  if (!topic.n) return fail(m, "a topic is missing");
  if (grow((void **)&m->rules, m->rule_count, sizeof *m->rules)) return MACULA_ENOMEM;
  struct rule *r = &m->rules[m->rule_count];
  *r = (struct rule){.whose = is_pattern ? EVERYBODY : m->whose, .access = access};
  int err = put_topic(m, topic, is_pattern, r->pattern);
  if (err) return err;
  m->has_anonymous |= r->whose == ANONYMOUS;
  m->rule_count++;
  return 0;
}

static int acl_line(struct import *m, struct slice line) {
  struct slice rest = line, word = next_word(&rest);
  if (slice_is(word, "topic")) return topic_line(m, rest, false);
  if (slice_is(word, "pattern")) return topic_line(m, rest, true);
  if (!slice_is(word, "user")) return fail(m, "'user', 'topic' or 'pattern' is expected here");
  m->whose = find_user(m, rest);
  if (m->whose >= 0) return 0;
  int err = add_user(m, rest, SLICE_NONE);
  if (!err) m->whose = (int)m->user_count - 1;
  return err;
}

static int each_line(struct import *m, const struct mosquitto_file *file, int (*take)(struct import *m, struct slice line)) {
  struct slice rest = file->text;
  m->file = file;
  for (m->line = 1; rest.n; m->line++) {
    const uint8_t *end = memchr(rest.p, '\n', rest.n);
    size_t n = end ? (size_t)(end - rest.p) : rest.n;
    struct slice line = slice_of(rest.p, n);
    rest = slice_of(rest.p + n + (end != NULL), rest.n - n - (end != NULL));
    while (line.n && strchr(" \t\r", line.p[line.n - 1])) line.n--;
    while (line.n && strchr(" \t", line.p[0])) line = slice_of(line.p + 1, line.n - 1);
    if (!line.n || line.p[0] == '#') continue;
    int err = take(m, line);
    if (err) return err;
  }
  return 0;
}

/* ---- what is written ------------------------------------------------------------------------------------------------------
 */
static void put_quoted(FILE *f, struct slice s) {
  putc('\'', f);
  for (size_t i = 0; i < s.n; i++) {
    if (s.p[i] == '\'') putc('\'', f);
    putc(s.p[i], f);
  }
  putc('\'', f);
}

static void put_list(FILE *f, const struct import *m, int whose, unsigned access, const char *key) {
  bool any = false;
  for (size_t i = 0; i < m->rule_count; i++) {
    const struct rule *r = &m->rules[i];
    if (!(r->access & access) || (r->whose != whose && r->whose != EVERYBODY)) continue;
    fprintf(f, any ? ", " : "    %s: [", key);
    put_quoted(f, slice_str(r->pattern));
    any = true;
  }
  if (any) fputs("]\n", f);
}

static void put_grant(FILE *f, const struct import *m, int whose, struct slice name) {
  fputs("  ", f);
  put_quoted(f, name);
  fputs(":\n    role: client\n", f);
  put_list(f, m, whose, WRITE, "pub");
  put_list(f, m, whose, READ, "sub");
}

static void put_all(FILE *f, const struct import *m, bool has_acl) {
  fputs("grants:\n", f);
  if (!has_acl) fputs("  everything: {role: client, pub: ['**'], sub: ['**']}\n", f);
  if (m->has_anonymous) put_grant(f, m, ANONYMOUS, slice_str("anonymous"));
  for (size_t i = 0; i < m->user_count && has_acl; i++)
    if (m->users[i].hash.p) put_grant(f, m, (int)i, m->users[i].name);
  fputs("users:\n", f);
  for (size_t i = 0; i < m->user_count; i++) {
    const struct user *u = &m->users[i];
    if (!u->hash.p) continue;
    fputs("  ", f);
    put_quoted(f, u->name);
    fputs(": {password: ", f);
    put_quoted(f, u->hash);
    fputs(", grant: ", f);
    put_quoted(f, has_acl ? u->name : slice_str("everything"));
    fputs("}\n", f);
  }
  for (size_t i = 0; i < m->user_count; i++)
    if (!m->users[i].hash.p)
      fprintf(f, "# The ACL names %.*s, who has no password.\n", (int)m->users[i].name.n, (const char *)m->users[i].name.p);
  if (m->has_anonymous) fputs("anonymous: anonymous\n", f);
}

static int write_yaml(const struct import *m, bool has_acl, char **ret_yaml) {
  char *text = NULL;
  size_t n;
  FILE *f = open_memstream(&text, &n);
  if (!f) return MACULA_ENOMEM;
  put_all(f, m, has_acl);
  bool bad = ferror(f);
  if (fclose(f) || bad) {
    free(text);
    return MACULA_ENOMEM;
  }
  *ret_yaml = text;
  return 0;
}

int mosquitto_import(const struct mosquitto_file *passwords, const struct mosquitto_file *acl, char **ret_yaml,
                     char ret_why[MOSQUITTO_WHY_LEN]) {
  struct import m = {.whose = ANONYMOUS, .why = ret_why};
  snprintf(ret_why, MOSQUITTO_WHY_LEN, "%s", macula_err_text(MACULA_ENOMEM));
  int err = each_line(&m, passwords, password_line);
  if (!err && acl->name) err = each_line(&m, acl, acl_line);
  if (!err && m.has_anonymous && find_user(&m, slice_str("anonymous")) >= 0)
    err = fail(&m, "a user is called anonymous, as the grant of anonymous clients here: call it otherwise");
  if (!err) err = write_yaml(&m, acl->name, ret_yaml);
  free(m.users);
  free(m.rules);
  return err;
}
