/* What HTTP requests cost, by the address that they come from: each has a share, and all have one. The unit is a row of a list
 * (node/view/state.h). */
#ifndef DAEMON_HTTP_CALLERS_H
#define DAEMON_HTTP_CALLERS_H

#include "base/addr.h"
#include "bounded/bucket.h"

#define CALLERS_MAX 64 /* addresses that are remembered; the one that has asked least lately makes room */
/* Rows a second of an address and of all, and at once. */
#define CALLERS_RATE 5000
#define CALLERS_ALL_RATE 10000
#define CALLERS_BURST 256

struct caller {
  struct addr at;
  struct bucket cost;
  nanotime used;
};
struct callers { /* zeroed: nobody has asked */
  struct caller v[CALLERS_MAX];
  struct bucket all;
};

/* Whether somebody at this address may ask now. What the answer costs is then charged, on credit if need be. */
bool callers_afford(struct callers *c, const struct addr *at, nanotime now);
void callers_charge(struct callers *c, const struct addr *at, size_t cost);

#endif
