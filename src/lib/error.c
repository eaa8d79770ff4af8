#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "lib/lib.h"
#include "wire/names.h"

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

const char *macula_last_error(void) { return last_error; }

const char *macula_version(void) { return MACULA_VERSION; }

static int check(int (*name)(struct slice, char *, size_t *), const char *text) {
  char stored[NAME_MAX_LEN + 1];
  size_t len;
  return fail_plain(text ? name(slice_str(text), stored, &len) : MACULA_EINVAL);
}

int macula_check_topic(const char *topic) { return check(name_topic, topic); }
int macula_check_pattern(const char *pattern) { return check(name_pattern, pattern); }
int macula_check_procedure(const char *procedure) { return check(name_procedure, procedure); }
int macula_check_realm(const char *realm) { return check(name_realm, realm); }
