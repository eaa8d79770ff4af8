/* A frame on its way out, to one or to many: one encoding, one policy for queues. */
#ifndef NODE_SESSION_PARCEL_H
#define NODE_SESSION_PARCEL_H

#include "node/state.h"
#include "wire/frame.h"
#include "wire/msg.h"
#include "wire/names.h"

#define SMALL_FRAME 1280  /* bytes: up to here a frame is copied into a queue, above it is shared; */
#define SHARED_FRAME 1024 /* above this only into the first receiver's, so that many do not take the pool */

struct parcel {
  struct slice frame;
  struct shbuf *shared; /* the frame, if it is large or is small and has to wait somewhere; else NULL */
  struct mem *mem;      /* of shared */
  uint8_t qos;          /* of a publish: this and */
  bool retain;
  const struct principal *by; /* whom the frame names by number, so that it is announced before; NULL: nobody */
  nanotime expires;           /* of a publish: when nobody is to get it any more; TIME_NEVER */
  bool waits;                 /* it stands in a lane: the next one that it waits in refers to it */
  uint8_t small[SMALL_FRAME];
};

/* Encodes m. MACULA_EFULL: the frame has more than `most` bytes; MACULA_FRAME_TOO_LARGE, MACULA_ENOMEM. After an error no
 * parcel_done is needed. */
int parcel_encode(struct parcel *p, struct mem *mem, const struct msg *m, size_t most);
int parcel_raw(struct parcel *p, struct mem *mem, uint8_t type, struct slice payload); /* its payload is encoded already */
void parcel_of(struct parcel *p, struct shbuf *frame);                                 /* the whole frame is encoded already */
void parcel_done(struct parcel *p);
/* The frame as shared bytes, of which a reference can be taken; for a small frame they are made at the first call. NULL: no
 * memory. */
struct shbuf *parcel_share(struct parcel *p);
static inline struct slice parcel_payload(const struct parcel *p) {
  return slice_of(p->frame.p + FRAME_HEADER_LEN, p->frame.n - FRAME_HEADER_LEN);
}

/* A message to one or to many: encoded once for all receivers that are told it in the same form, when the first one wants it.
 */
enum form {
  FORM_PLAIN,
  FORM_BY,      /* with the publisher's number */
  FORM_SLASHES, /* as the publisher spelled the topic */
  FORM_SHORT,   /* with short keys, and the publisher's number; from here on */
  FORM_NUMBER,  /* likewise, and with the topic's number */
  FORM_OWN,     /* as FORM_SHORT, for the publisher itself */
  FORMS         /* each once without, and behind those once with what the capability `headers` allows */
};
struct fanout {
  struct node *n;
  const struct msg_publish *m;
  const struct principal *by; /* its publisher; NULL: unknown */
  uint64_t own;               /* serial of the session that published it, for whoever inits it to set; 0: none of this node */
  uint64_t number;            /* ours of the topic; 0: it has none */
  struct slice topic;         /* if it has one */
  uint8_t id[CALL_ID_LEN];    /* for receivers that expect one, if it came without and */
  bool has_id;                /* it was made */
  nanotime expires;           /* TIME_NEVER: its time does not end */
  bool made[2 * FORMS];
  struct parcel form[2 * FORMS];
  struct msg_publish kept; /* what m points to when it was kept */
};
void fanout_init(struct fanout *f, struct node *n, const struct msg_publish *m, const struct principal *by);
/* The message's id, for whoever does not know short keys and expects one, as the original's subscribers do: made if it came
 * without. */
struct slice fanout_id(struct fanout *f);
bool fanout_has_form(const struct fanout *f); /* somebody may have a copy */
/* The message as this receiver is sent it. MACULA_PAYLOAD_TOO_LARGE, MACULA_ENOMEM. */
int fanout_for(struct fanout *f, struct session *to, struct parcel **ret);
void fanout_done(struct fanout *f);
/* Moves it to `ret`, so that m need not stay. False: no memory, and f is as it was. */
bool fanout_keep(struct fanout *f, struct fanout *ret);
void fanout_kept_done(struct fanout *f);

uint64_t parcel_ms_left(nanotime expires, nanotime now);     /* ms that are left of a time to live; at least 1 */
bool parcel_fits(struct session *s, const struct parcel *p); /* room_for */
int parcel_write(struct session *s, struct parcel *p);       /* the errors of lanes_write */
/* Sends a publish to a client. False: there was no room (or the frame could not be made: p NULL), and it was counted as
 * dropped. */
bool parcel_deliver(struct node *n, struct session *s, struct parcel *p);

#endif
