/* One message on its way to many: one encoding, one policy for queues. */
#ifndef NODE_MESSAGES_PARCEL_H
#define NODE_MESSAGES_PARCEL_H

#include "node/session/session.h"

/* A message on its way out: small ones are copied into each queue, larger ones are shared by all. */
struct parcel {
  struct slice frame;
  struct shbuf *shared;
  uint64_t qos;
  uint8_t small[SMALL_FRAME];
};
int parcel_init(struct node *n, const struct msg_publish *p, struct parcel *ret); /* PAYLOAD_TOO_LARGE, ENOMEM */
void parcel_done(struct parcel *p);
bool parcel_fits(const struct node *n, const struct session *s, const struct parcel *p);
int parcel_write(struct session *s, const struct parcel *p);
/* To a client. False: it did not fit, and was counted as dropped. */
bool parcel_deliver(struct node *n, struct session *s, const struct parcel *p);

#endif
