/* What HTTP requests cost, by the address that they come from: each has a share, and all have one. The unit is a row of a list
 * (node/view/state.h). Of what all have, a few addresses could take everything: a reserve beside it is for those that have
 * asked for little lately, so that who floods keeps out nobody else. */
#ifndef DAEMON_HTTP_CALLERS_H
#define DAEMON_HTTP_CALLERS_H

#include "base/addr.h"
#include "bounded/bucket.h"

#define CALLERS_MAX 64 /* addresses that are remembered; the one that has asked least lately makes room */
/* Rows a second of an address and of all, and at once. */
#define CALLERS_RATE 5000
#define CALLERS_ALL_RATE 10000
#define CALLERS_BURST 256
/* An address that has asked for less than this in 10 s may take of the reserve, which fills at such a rate. */
#define CALLERS_LITTLE 5000
#define CALLERS_RESERVE_RATE 2500
#define CALLERS_DEBT_S 10 /* on credit for no longer than so many seconds */

struct caller {
  struct addr at;
  struct bucket cost, little; /* little: what it may ask for and still take of the reserve */
  nanotime used;
};
struct callers { /* zeroed: nobody has asked */
  struct caller v[CALLERS_MAX];
  struct bucket all, reserve;
  double burst; /* 0: CALLERS_BURST */
};

/* Whether somebody at this address may ask now. What the answer costs is then charged, on credit if need be. */
bool callers_afford(struct callers *c, const struct addr *at, nanotime now);
void callers_charge(struct callers *c, const struct addr *at, size_t cost);
/* The same for what was begun before it was known to cost anything: whoever owes by then owes more, and the others do not, so
 * that many at once from one address cost all no more than one. */
void callers_charge_late(struct callers *c, const struct addr *at, size_t cost);

#endif
