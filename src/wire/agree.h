/* Payloads that travel in envelopes only: by which two nodes agree on keys (trust/agree.h), and by which a node says that it
 * could not carry an envelope on. As in msg.h: decoding gives views and allocates nothing, unknown keys are skipped. */
#ifndef WIRE_AGREE_H
#define WIRE_AGREE_H

#include "wire/msg.h"

#define WIRE_AGREE_KEY_LEN 32 /* bytes of an X25519 value, and of a SHA-256 hash */
#define WIRE_AGREE_MAX 1024   /* bytes of a payload */
#define WIRE_AGREE_NAME_LEN 8
#define WIRE_AGREE_PAST_LEN 88 /* a name, and the highest number and those before it of five sequences */
#define WIRE_AGREE_PASTS 4     /* at most */

enum wire_agree_step { AGREE_OFFER = 1, AGREE_ANSWER = 2, AGREE_CONFIRM = 3, AGREE_LACKS = 4 };
struct wire_agree {
  uint64_t step;          /* enum wire_agree_step */
  uint64_t number;        /* AGREE_OFFER: rises within a run */
  struct slice instance;  /* INSTANCE_LEN bytes: the sender's run */
  struct slice key;       /* SubjectPublicKeyInfo of the sender */
  struct slice value;     /* WIRE_AGREE_KEY_LEN bytes: X25519 */
  struct slice of;        /* AGREE_ANSWER: WIRE_AGREE_KEY_LEN bytes, the hash of what it answers */
  struct slice signature; /* by the sender's key */
  /* AGREE_CONFIRM: has.n 0: nothing is said. The names of the keys that the sender has, and what it opened under those that it
   * has forgotten (trust/agree.h); views of WIRE_AGREE_NAME_LEN and WIRE_AGREE_PAST_LEN bytes each. */
  struct slice has, past;
  struct slice lacks; /* AGREE_LACKS: the name of a key that the sender does not have. Nothing else, and nobody signs it */
};
struct wire_not_routed {
  struct slice destination; /* ID_LEN bytes: for whom the envelope was */
  struct slice call_id;     /* CALL_ID_LEN bytes if it held a CALL, else empty */
  struct slice code;        /* the name of no_route or max_hops_exceeded */
};

/* MACULA_BAD_FRAME: malformed, a field missing or of another length. */
int wire_agree_decode(struct slice payload, struct wire_agree *ret);
int wire_not_routed_decode(struct slice payload, struct wire_not_routed *ret);
/* Bytes of the payload; more than cap: nothing useful was written. buf NULL: only counts. */
size_t wire_agree_encode(const struct wire_agree *m, uint8_t *buf, size_t cap);
size_t wire_not_routed_encode(const struct wire_not_routed *m, uint8_t *buf, size_t cap);

#endif
