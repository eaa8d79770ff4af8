/* What one value of the configuration may be, and how its text becomes the member that it sets. */
#ifndef DAEMON_CONFIG_VALUE_H
#define DAEMON_CONFIG_VALUE_H

#include "config.h"

enum config_type {
  ADDRS,
  SEEDS,
  HOSTS,
  ORIGINS,
  PLACE,
  REALM,
  TEXT,
  HTTP,
  ACCESS,
  BOOL,
  IDS,
  DURATION,
  LEVEL,
  FORMAT,
  COUNT,
  SIZE,
  SIZE32,
  MEMORY
};

struct config_row {
  const char *key;
  enum config_type type;
  size_t offset; /* of its member in struct config */
  uint64_t least, most;
  enum limit_reload reload;
  const char *arg, *help;
  const char *more; /* for the manual; NULL: no limit */
};

extern const char *const config_level_names[4]; /* of enum log_level */

/* Sets the row's member of c from text, which lives as long as c. Else MACULA_EINVAL or MACULA_INVALID_REALM, and why
 * (CONFIG_WHY_LEN bytes) says what is wrong, without the place. */
int config_parse_value(struct config *c, const struct config_row *r, const char *text, char *why);
/* A number with the largest unit that divides it. */
void config_print_number(uint64_t n, enum config_type type, char ret[32]);

#endif
