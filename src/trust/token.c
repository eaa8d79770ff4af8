#include "trust/token.h"

#include "base/utf8.h"
#include "trust/crypto.h"

static const char client_label[] = "macula token client 1", node_label[] = "macula token node 1"; /* with their NUL */

const char *token_wrong(struct slice token) {
  if (token.n < TOKEN_MIN_LEN)
    return "a token has at least 16 bytes: from the proof of a shorter one whoever answers could guess it; 'macula token new' "
           "makes one";
  if (token.n > TOKEN_MAX_LEN) return "a token has at most 512 bytes; 'macula token new' makes one";
  for (size_t i = 0, n; i < token.n; i += n)
    if (!(n = utf8_len(token.p + i, token.n - i)) || utf8_is_control(token.p + i, n))
      return "a token is one line of text; 'macula token new' makes one";
  return NULL;
}

void token_new(struct rng rng, char ret_token[TOKEN_NEW_LEN + 1]) {
  uint8_t bits[TOKEN_NEW_LEN / 2];
  rng_fill(rng, bits, sizeof bits);
  hex_encode(bits, sizeof bits, ret_token);
  crypto_wipe(bits, sizeof bits);
}

void token_prove(struct slice token, enum token_side side, const struct token_session *s, uint8_t ret_proof[TOKEN_PROOF_LEN]) {
  struct slice label =
      side == TOKEN_OF_CLIENT ? slice_of(client_label, sizeof client_label) : slice_of(node_label, sizeof node_label);
  uint8_t data[sizeof client_label + 2 * ID_LEN + TOKEN_EXPORTER_LEN], *to = data;
  memcpy(to, label.p, label.n), to += label.n;
  memcpy(to, s->client.b, ID_LEN), to += ID_LEN;
  memcpy(to, s->node.b, ID_LEN), to += ID_LEN;
  memcpy(to, s->exporter, TOKEN_EXPORTER_LEN), to += TOKEN_EXPORTER_LEN;
  crypto_hmac_sha256(token, slice_of(data, (size_t)(to - data)), ret_proof);
  crypto_wipe(data, sizeof data);
}

int token_find(const struct slice *tokens, size_t count, enum token_side side, const struct token_session *s,
               struct slice proof) {
  uint8_t want[TOKEN_PROOF_LEN];
  int found = -1;
  if (proof.n != TOKEN_PROOF_LEN) return -1;
  for (size_t i = 0; i < count; i++) {
    token_prove(tokens[i], side, s, want);
    if (crypto_equal(want, proof.p, sizeof want)) found = (int)i;
  }
  crypto_wipe(want, sizeof want);
  return found;
}
