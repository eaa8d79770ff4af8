/* Access tokens, which are never sent: each end proves that it knows one, by an HMAC-SHA256 with it over data that only these
 * two ends share. So neither an eavesdropper nor a false node can use what it receives.
 *
 *   proof = HMAC-SHA256(token, label || 0 || id of the client || id of the node || exporter)
 *
 * label: "macula token client 1" from the side that dials, "macula token node 1" from the side that answers, so that a proof
 * cannot be sent back; ids of 32 bytes, zeros for a client without a certificate; exporter: 32 bytes of this TLS session (RFC
 * 5705). */
#ifndef TRUST_TOKEN_H
#define TRUST_TOKEN_H

#include "base/rng.h"
#include "base/slice.h"

/* bytes: a false node could find a shorter token by guessing, checking each guess against the client's proof */
#define TOKEN_MIN_LEN 16
#define TOKEN_MAX_LEN 512
#define TOKEN_NEW_LEN 64 /* hexadecimal digits of 256 bits */
#define TOKEN_EXPORTER_LEN 32
#define TOKEN_PROOF_LEN 32

enum token_side { TOKEN_OF_CLIENT, TOKEN_OF_NODE }; /* the side that proves: the one that dialled, or the one that answered */
struct token_session {
  struct id client, node; /* zero: none */
  uint8_t exporter[TOKEN_EXPORTER_LEN];
};

/* NULL: it can be used as a token; else why not, and what to do, in static text. */
const char *token_wrong(struct slice token);
void token_new(struct rng rng, char ret_token[TOKEN_NEW_LEN + 1]);
void token_prove(struct slice token, enum token_side side, const struct token_session *s, uint8_t ret_proof[TOKEN_PROOF_LEN]);
/* Which of these tokens the other side has proved; -1: none. Takes as long whichever it is. */
int token_find(const struct slice *tokens, size_t count, enum token_side side, const struct token_session *s,
               struct slice proof);

#endif
