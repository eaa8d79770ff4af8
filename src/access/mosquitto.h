/* Mosquitto's password and ACL files as an access file (access/access.h). Hashes keep their form; %u and %c become ${user} and
 * ${client}, `read` is sub, `write` is pub; topics before the first user are the anonymous clients'. */
#ifndef ACCESS_MOSQUITTO_H
#define ACCESS_MOSQUITTO_H

#include "base/slice.h"

#define MOSQUITTO_WHY_LEN 256

/* A file of its own: its name for messages, and its text. */
struct mosquitto_file {
  const char *name; /* NULL: there is none */
  struct slice text;
};
/* The text of the access file, malloc'ed and NUL-terminated. Without an ACL file every user may publish and subscribe to
 * everything, as with mosquitto. MACULA_EINVAL: what cannot be said here, with file and line in ret_why; MACULA_ENOMEM. */
int mosquitto_import(const struct mosquitto_file *passwords, const struct mosquitto_file *acl, char **ret_yaml,
                     char ret_why[MOSQUITTO_WHY_LEN]);

#endif
