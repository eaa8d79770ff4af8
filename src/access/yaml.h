/* What is looked at before a text is loaded as YAML. */
#ifndef ACCESS_YAML_H
#define ACCESS_YAML_H

#include "base/slice.h"

#define YAML_WHY_LEN 512

/* Refuses what libyaml takes seconds to load (anchors, aliases, directives, deep nesting), a second document, and texts with a
 * NUL, where C would cut them. What is not YAML is left to whoever loads it. name: of the file. MACULA_EINVAL with ret_why,
 * which begins with name and line; MACULA_ENOMEM. */
int yaml_check_shape(const char *name, struct slice text, unsigned most_nesting, char ret_why[YAML_WHY_LEN]);

#endif
