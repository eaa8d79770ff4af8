/* Keys on which two nodes agree for the envelopes between them, and the seals that these keys make.
 *
 * Envelopes go through nodes that may lie, so each carries a seal that only its source can make and that counts once. The keys
 * come of one signed exchange, which goes through the same nodes:
 *
 *   offer    source -> other   number, run, X25519 value; signed
 *   answer   other -> source   hash of the offer, run, X25519 value; signed
 *   confirm  source -> other   the first seal under the new key, on whatever is sent first
 *
 *            agree_begin                  the answer to it
 *   nothing ------------> OFFERED --------------------------+
 *      |                                                    v
 *      +-- an offer: answered, `next` --- first seal --> `now` -- a newer key --> `before`, still accepted until it is OVER
 *
 * What is signed: a label with its NUL, id of who signs, id of the other, run of who signs, then the offer's number (8 bytes,
 * the most significant first) or the hash of what the offer signed, the X25519 value, and the realm. From
 * HKDF-SHA256 (RFC 5869; salt: the hash of what the answer signed, key: the X25519 secret) come two keys, info "macula envelope
 * 1", NUL, id of the sender, id of the receiver; and the key's name, info "macula envelope name 1", NUL, of which 8 bytes.
 *
 * A replayed offer leads at most to an answer: its key is used by nobody who cannot confirm it. Offers of the run that was
 * heard last count in rising order. Whoever is sent a seal under a key that it does not know, as it has forgotten the key or
 * `next` was overwritten by a replayed offer, offers itself, and an answer to that cannot be replayed. If both offer at once
 * there are two keys, and both sides use that of the smaller id's offer as soon as each knows that the other has it. A key that
 * the other has forgotten, by its own word under a newer one (agree_told), is not sealed with any more. Nothing here reads a
 * clock or sends; `now` comes in. */
#ifndef TRUST_AGREE_H
#define TRUST_AGREE_H

#include "base/rng.h"
#include "base/time.h"
#include "trust/crypto.h"
#include "wire/agree.h"

#define AGREE_NAME_LEN 8
#define AGREE_MAC_LEN 16
#define AGREE_SEAL_LEN (AGREE_NAME_LEN + 8 + AGREE_MAC_LEN) /* a key's name, a number, a MAC */
#define AGREE_WINDOW 64                                     /* numbers that may come in another order */
/* Sequences of a key, which do not wait for each other, by the three highest bits of the number: what goes by one lane and one
 * way is in one of them. LARGE: of frames that others may overtake. */
enum agree_space { AGREE_CALLS = 0, AGREE_PUBLISHES = 2, AGREE_ANSWERS = 4, AGREE_LARGE_CALLS = 6, AGREE_LARGE_ANSWERS = 7 };
#define AGREE_SPACES 5
#define AGREE_PLACE_PUBLISHES 1                 /* of AGREE_PUBLISHES among these, in the order of their numbers */
#define AGREE_FRESH (3600 * NS_SEC)             /* then whoever offered offers again, while the key is used on */
#define AGREE_LATE (AGREE_FRESH + 300 * NS_SEC) /* then the other side does */
#define AGREE_OVER (2 * AGREE_FRESH)            /* then it is neither used nor accepted */
#define AGREE_TOGETHER (60 * NS_SEC)            /* of keys made closer than this that of the smaller id's offer is used */

struct agree_self {
  struct id id;
  struct slice realm, instance, spki;
  int (*sign)(void *ctx, struct slice data, uint8_t *ret_sig, size_t *ret_len);
  int (*verify)(struct slice spki, struct slice data, struct slice sig, struct id *ret_id); /* 0: by the key with this id */
  void *ctx;
};

struct agree_window {
  uint64_t top, seen; /* the highest number that came; of those before it, bit i: top - i came */
};

struct agree_key {
  bool set, ours; /* ours: we offered */
  bool proved;    /* the other has sealed with it */
  bool gone;      /* the other has forgotten it: it is not sealed with, and what was under way may still come */
  uint8_t name[AGREE_NAME_LEN], out[CRYPTO_HASH_LEN], in[CRYPTO_HASH_LEN];
  uint8_t instance[INSTANCE_LEN]; /* the other's run */
  nanotime made;
  uint64_t sent[AGREE_SPACES]; /* place_of */
  struct agree_window got[AGREE_SPACES];
};

/* What was opened under a key that was forgotten: nothing else ever will be. */
#define AGREE_PAST_LEN (AGREE_NAME_LEN + 16 * AGREE_SPACES) /* bytes as they are told */
struct agree_past {
  uint8_t name[AGREE_NAME_LEN];
  struct agree_window got[AGREE_SPACES];
};
#define AGREE_KEYS 4u /* that are kept of one node */

/* Which seal something was sent under. */
struct agree_mark {
  uint64_t key;    /* its name; 0: none */
  uint64_t number; /* with the bits of its sequence */
};

struct agree { /* with one node */
  struct agree_key next, now, before[2];
  /* our offer under way */
  bool offering;
  uint64_t number;
  uint8_t secret[CRYPTO_X25519_LEN], offered[CRYPTO_HASH_LEN]; /* offered: the hash of what it signs */
  /* the other's last offer, for which `next` was made or which an answer of the other's has outdated */
  bool heard;
  uint8_t heard_instance[INSTANCE_LEN];
  uint64_t heard_number;
  uint8_t heard_hash[CRYPTO_HASH_LEN], answer_value[CRYPTO_X25519_LEN];
};

/* What is sealed. */
struct agree_envelope {
  struct id destination, source;
  uint8_t type; /* of the frame inside */
  struct slice payload;
};

void agree_done(struct agree *a); /* wipes it */
/* Begins an exchange, or begins it anew. number: rises with each offer of this run. */
void agree_begin(struct agree *a, const struct agree_self *me, const struct id *peer, uint64_t number, struct rng rng);
void agree_give_up(struct agree *a); /* ends our offer */
/* Writes the offer that is under way: the same each time, but for the signature. The signer's error, or MACULA_EINVAL. */
int agree_offer(const struct agree *a, const struct agree_self *me, const struct id *peer, uint8_t ret_buf[WIRE_AGREE_MAX],
                size_t *ret_len);

enum agree_heard {
  AGREE_NOTHING, /* replayed, an answer to no question, or nothing to do */
  AGREE_FORGED,  /* not signed by that node for us */
  AGREE_REPLY,   /* ret_buf is the answer to send */
  AGREE_MADE,    /* our offer was answered: a confirm is to be sent */
};
/* An offer or answer of this node. ret_new_run (with AGREE_MADE): its run is not that of the keys before, which are gone. */
enum agree_heard agree_receive(struct agree *a, const struct agree_self *me, const struct id *peer, const struct wire_agree *m,
                               struct rng rng, nanotime now, uint8_t ret_buf[WIRE_AGREE_MAX], size_t *ret_len,
                               bool *ret_new_run);
/* Whether agree_receive would verify or make a signature: what it costs is to be bounded before. */
bool agree_costs(const struct agree *a, const struct wire_agree *m);

bool agree_can_seal(const struct agree *a, nanotime now);
bool agree_seals_with(const struct agree *a, struct slice name); /* whether the key in use has that name */
bool agree_is_due(const struct agree *a, nanotime now);          /* a new exchange is to begin while the key is used on */
/* agree_can_seal must hold. */
void agree_seal(struct agree *a, enum agree_space space, const struct agree_envelope *e, uint8_t ret_seal[AGREE_SEAL_LEN]);
/* Whether a seal says that its envelope is one that others may overtake. Anybody can say so. */
bool agree_is_large(struct slice seal);
enum agree_verdict {
  AGREE_GOOD,
  AGREE_CONFIRMED, /* good, and the first under its key */
  AGREE_NEW_RUN,   /* likewise, and the node runs anew: its keys of before are gone */
  AGREE_UNKNOWN,   /* under a key that is not known, or over */
  AGREE_ALTERED,   /* the MAC is wrong */
  AGREE_REPLAYED,  /* it came before, or is older than the window */
};
enum agree_verdict agree_open(struct agree *a, const struct agree_envelope *e, struct slice seal, nanotime now);
/* The last seal in that sequence. */
struct agree_mark agree_last(const struct agree *a, enum agree_space space);
/* Keys that `before` has and `after` has not (NULL: has none), the newest first; how many. */
size_t agree_forgotten(const struct agree *before, const struct agree *after, struct agree_past ret[AGREE_KEYS]);
size_t agree_names(const struct agree *a, uint8_t ret[AGREE_KEYS * AGREE_NAME_LEN]); /* of the keys that it has; bytes */
void agree_past_write(const struct agree_past *p, uint8_t ret[AGREE_PAST_LEN]);
void agree_past_read(const uint8_t from[AGREE_PAST_LEN], struct agree_past *ret);
/* What the other node says of its keys. `under` is the one that it said so under; those that were made later are not judged. */
struct agree_told {
  struct slice under; /* a name */
  struct slice has;   /* the names of all that it has */
  struct slice past;  /* what it opened under those that it remembers to have forgotten; AGREE_PAST_LEN bytes each */
};
/* Marks the keys that it has forgotten. ret_lost: how many of the seals of each sequence it has never opened, as far as it
 * says. */
void agree_heard_told(struct agree *a, const struct agree_told *t, uint64_t ret_lost[AGREE_SPACES]);
enum agree_lost {
  AGREE_NOT_LOST,   /* it was opened, or may be */
  AGREE_NEVER,      /* it was not opened, and never will be */
  AGREE_MAYBE_LOST, /* it will not be opened any more, and it is not known whether it was */
};
/* What has become of what was sent under that seal. */
enum agree_lost agree_fate(const struct agree *a, const struct agree_told *t, const struct agree_mark *mark);
const char *agree_check(const struct agree *a); /* base/check.h */

#endif
