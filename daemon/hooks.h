/* Accounts of the libraries that let a program replace their allocator: GnuTLS and jansson. In maculad only: libmacula lives in
 * processes whose other parts may use the same libraries. */
#ifndef DAEMON_HOOKS_H
#define DAEMON_HOOKS_H

#include "base/mem.h"

struct hooks {
  struct mem tls, json; /* what this thread's calls into the libraries allocate */
};

/* Accounts h from now on, on the calling thread, and starts GnuTLS. Before anything of GnuTLS is used; h stays valid until
 * the process ends. What other threads allocate is not accounted. */
void hooks_install(struct hooks *h);

#endif
