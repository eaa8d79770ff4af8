#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "lib/lib.h"

static _Thread_local char last_error[SERVER_WHY_LEN];

int fail(int err, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(last_error, sizeof last_error, fmt, ap);
  va_end(ap);
  return err;
}

int fail_plain(int err) {
  if (err) last_error[0] = 0;
  return err;
}

int fail_name(int err, enum name_form form, const char *name) {
  char why[NAME_WHY_LEN];
  const char *text = name_why(err, form, slice_str(name), why);
  return text ? fail(err, "%s", text) : fail_plain(err);
}

void macula_free(void *p) { free(p); }

const char *macula_last_error(void) { return last_error; }

const char *macula_version(void) { return MACULA_VERSION; }

static int check(int (*name)(struct slice, char *, size_t *), enum name_form form, const char *text) {
  char stored[NAME_MAX_LEN + 1];
  size_t len;
  return text ? fail_name(name(slice_str(text), stored, &len), form, text) : fail_plain(MACULA_EINVAL);
}

int macula_check_topic(const char *topic) { return check(name_topic, NAME_TOPIC, topic); }
int macula_check_pattern(const char *pattern) { return check(name_pattern, NAME_PATTERN, pattern); }
int macula_check_procedure(const char *procedure) { return check(name_procedure, NAME_PROCEDURE, procedure); }
int macula_check_realm(const char *realm) { return check(name_realm, NAME_REALM, realm); }

int macula_check_json(const void *data, size_t len) {
  const uint8_t *p = data;
  size_t at, line = 1, column = 1;
  const char *why;
  if (len && !data) return fail_plain(MACULA_EINVAL);
  if (!json_check(slice_of(p, len), &at, &why)) return fail_plain(0);
  for (size_t i = 0; i < at; i++) {
    column = p[i] == '\n' ? 1 : column + 1;
    line += p[i] == '\n';
  }
  return fail(MACULA_INVALID_JSON, "line %zu, byte %zu: %s", line, column, why);
}
