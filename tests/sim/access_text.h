/* An access file for a simulated node, from its text. */
#ifndef TESTS_ACCESS_TEXT_H
#define TESTS_ACCESS_TEXT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "access/access.h"

/* For everybody who knows this token everything but being a node. */
#define ACCESS_TOKEN "0123456789abcdef"
#define ACCESS_ALL "pub: ['**'], sub: ['**'], call: ['**'], serve: ['**']"
#define ACCESS_BY_TOKEN(token) "grants: {all: {" ACCESS_ALL "}}\ntokens: [{token: " token ", grant: all}]\n"

static inline struct access *access_text(const char *yaml) {
  static struct mem mem = MEM_INIT("access", 0);
  char why[ACCESS_WHY_LEN] = "";
  struct access *a = NULL;
  if (access_parse(&mem, "access.yaml", slice_str(yaml), NULL, &a, why)) fail_msg("%s", why);
  return a;
}

#endif
