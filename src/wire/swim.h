/* Payloads of the SWIM frames (MSG_SWIM_*): one MessagePack map of
 *   seq      uint: pairs a PING or PING_REQ with its ACK; absent in SYNC
 *   me       the sender's record
 *   target   32 bytes: whom to probe; PING_REQ only
 *   nack     bool: the relay got no answer from the target (Lifeguard); ACK only
 *   digest   8 bytes for each of 8 to 256 (a power of two) buckets: send me your list of those where yours differs; SYNC only
 *   want     a bit for each of as many buckets, the lowest of a byte first: send me your list of these; SYNC only
 *   updates  array of [state, record], or hearsay: [state, id, incarnation]; written last
 *
 * A record is what a member says of itself, signed by it: bytes that are an array [key, incarnation, address, gateway, name,
 * left] and behind it the signature. The key is a SubjectPublicKeyInfo, whose hash is the member's id; an address is 6 bytes
 * (IPv4, port), 18 (IPv6, port) or none, a gateway 32 or none; further elements of an array are ignored. */
#ifndef WIRE_SWIM_H
#define WIRE_SWIM_H

#include "base/addr.h"
#include "wire/cursor.h"

#define SWIM_NAME_LEN 64 /* bytes of a name */
#define SWIM_KEY_MAX 91  /* bytes of a key: P-256; Ed25519 has 44 */
#define SWIM_SIGNATURE_LEN 64
#define SWIM_BODY_MAX 256 /* bytes that are signed: a key, 9, 20, 34 and 66 bytes, and the array's own */
#define SWIM_RECORD_MAX (SWIM_BODY_MAX + SWIM_SIGNATURE_LEN)
#define SWIM_TEXT_MAX (SWIM_BODY_MAX + 16 + 1 + 255)
#define SWIM_BUCKETS_MIN 8
#define SWIM_BUCKETS_MAX 256
#define SWIM_PAGE_LEN (16 * 1024) /* largest payload of SYNC */

enum swim_state {
  SWIM_ALIVE = 0,
  SWIM_SUSPECT = 1,
  SWIM_DEAD = 2,
  SWIM_LEFT = 3, /* it said itself that it leaves */
};

struct swim_record {
  struct slice bytes;           /* all of it; n == 0: there is none */
  struct slice body, signature; /* its two parts */
  struct slice key;
  uint64_t incarnation;
  struct addr addr;
  struct id gateway;
  struct slice name; /* at most SWIM_NAME_LEN bytes */
  bool left;         /* it leaves the mesh, for good */
};

struct swim_update {
  enum swim_state state;
  struct id id; /* of hearsay; of a record it is the hash of its key */
  uint64_t incarnation;
  struct swim_record record;
};

struct swim_msg {
  uint64_t seq;
  bool nack;
  bool has_target;
  struct id target;
  struct slice digest, want; /* SYNC; n == 0: absent */
  struct swim_record me;
  uint32_t update_count; /* decoded: left to take */
  struct slice raw_updates;
};

/* MACULA_BAD_FRAME: malformed, a field missing or of the wrong size, an unknown state; MACULA_UNKNOWN_TYPE: not a SWIM type. */
int swim_decode(uint8_t type, struct slice payload, struct swim_msg *ret_msg);
/* The next update of a decoded message; false at the end. */
bool swim_update_next(struct swim_msg *m, struct swim_update *ret_update);

/* MACULA_BAD_FRAME: malformed. Whether the signature is good is not looked at. */
int swim_record_decode(struct slice bytes, struct swim_record *ret_record);
/* The body of a record with these fields, and its bytes. */
size_t swim_body_encode(const struct swim_record *r, uint8_t ret_body[SWIM_BODY_MAX]);
/* What is signed for a body: "macula member 1" and its NUL, the realm's length (one byte) and the realm, the body. */
size_t swim_signed_text(struct slice realm, struct slice body, uint8_t ret_text[SWIM_TEXT_MAX]);

/* Encoding: begin, then as many updates as fit, then end. */
struct swim_encoder {
  struct writer w;
  size_t count_at; /* of the array's 16-bit count */
  uint32_t count, elements;
};
void swim_encode_begin(struct swim_encoder *e, uint8_t *buf, size_t cap, uint8_t type, const struct swim_msg *m);
/* false: does not fit, nothing was written. */
bool swim_encode_update(struct swim_encoder *e, const struct swim_update *u);
/* The payload, a view of buf; empty when even the fields before the updates did not fit. */
struct slice swim_encode_end(struct swim_encoder *e);

#endif
