/* What a program was started with: descriptors and MACULA_* variables. Used by both programs; knows nothing but options.h. */
#ifndef DAEMON_ENVIRON_H
#define DAEMON_ENVIRON_H

#include <stdbool.h>
#include <stddef.h>

#define ENVIRON_NAME_LEN 72

/* Opens /dev/null in place of each of descriptors 0 to 2 that is closed, so that nothing else gets its number. Standard output
 * is then not writable: what is printed there is an error, not lost. */
void environ_open_standard(void);

/* Dashes and underscores, small and large letters count as the same. SIZE_MAX: too long to tell. */
size_t environ_distance(const char *a, const char *b);

/* The key of maculad's i-th option, and what it takes, as "open|FILE" (NULL: true or false). NULL: there are no more. */
const char *environ_option(size_t i, const char **ret_arg);

/* A MACULA_* variable that neither program reads. */
struct environ_unknown {
  char name[ENVIRON_NAME_LEN], near[ENVIRON_NAME_LEN]; /* near: the nearest that is read; "" when none is near */
  bool misspelt;                                       /* so near that it is meant */
};
/* The next one from env[*at] on; false behind the last. Variables that Kubernetes and Docker make of a service named macula are
 * none of them. Begin with *at 0. */
bool environ_next_unknown(const char *const *env, size_t *at, struct environ_unknown *ret_unknown);

#endif
