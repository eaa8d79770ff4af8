#include "base/err.h"

#include <string.h>

static const struct {
  int err;
  const char *name;
  const char *text;
} list[] = {
#define ROW(name, num, str, text) {-(num), str, text},
    MACULA_ERROR_MAP(ROW)
#undef ROW
};

#define COUNT (sizeof list / sizeof list[0])

const char *macula_err_name(int err) {
  if (err == 0) return "ok";
  for (size_t i = 0; i < COUNT; i++)
    if (list[i].err == err) return list[i].name;
  return "unknown_error";
}

const char *macula_err_text(int err) {
  if (err == 0) return "done";
  for (size_t i = 0; i < COUNT; i++)
    if (list[i].err == err) return list[i].text;
  return "an error that this version does not know";
}

int err_from_name(const char *name, size_t len) {
  for (size_t i = 0; i < COUNT; i++)
    if (strlen(list[i].name) == len && memcmp(list[i].name, name, len) == 0) return list[i].err;
  return 0;
}

int err_from_app(unsigned long long app_error) {
  for (size_t i = 0; i < COUNT; i++)
    if ((unsigned long long)-list[i].err == app_error) return list[i].err;
  return 0;
}
