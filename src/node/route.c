/* Frames for nodes that nobody can dial, through the gateway that they stay connected to. */
#include "base/err.h"
#include "node/internal.h"

int route_send(struct peer *p, const struct msg *m) {
  (void)p, (void)m;
  return MACULA_NO_ROUTE;
}

int route_frame(struct peer *p, const struct shbuf *frame) {
  (void)p, (void)frame;
  return MACULA_NO_ROUTE;
}
