/* What a client and the node that it dialled show each other: the client first, in CONNECT. Nothing else is sent until the
 * node's answer was judged. */
#include <stdio.h>

#include "client/internal.h"
#include "trust/pass.h"

static void ends_of(const struct client *c, struct token_session *ret_ends) {
  *ret_ends = (struct token_session){.node = c->node};
  if (c->identity) ret_ends->client = *quic_identity_id(c->identity);
  memcpy(ret_ends->exporter, quic_conn_exporter(c->conn), sizeof ret_ends->exporter);
}

void client_prove(const struct client *c, struct msg_connect *m, uint8_t proof[TOKEN_PROOF_LEN]) {
  struct token_session ends;
  m->pass = c->pass;
  if (!c->token) return;
  ends_of(c, &ends);
  token_prove(slice_str(c->token), TOKEN_OF_CLIENT, &ends, proof);
  m->proof = slice_of(proof, TOKEN_PROOF_LEN);
}

/* A node that we share a token with proves it, too. */
static int judge_proof(const struct client *c, struct slice proof, char *ret_why) {
  struct token_session ends;
  if (!c->token) return 0;
  struct slice token = slice_str(c->token);
  ends_of(c, &ends);
  if (token_find(&token, 1, TOKEN_OF_NODE, &ends, proof) >= 0) return 0;
  snprintf(ret_why, CLIENT_WHY_LEN,
           "the node let this client in without proving that it knows the access token: it may be an impostor, or is open to "
           "everybody and needs no token; the token was not disclosed");
  return MACULA_NOT_AUTHORIZED;
}

/* Where the realm vouches for its nodes, each shows a pass for its own key. */
static int judge_pass(const struct client *c, struct slice shown, char *ret_why) {
  char hex[ID_HEX_LEN + 1], why[PASS_WHY_LEN];
  struct pass pass;
  struct pass_trust trust = {.realms = &c->realm_key, .realm_count = 1, .holder = &c->node, .now = quic_unix(c->hub->quic)};
  if (!c->has_realm_key) return 0;
  id_hex(&c->realm_key, hex);
  if (!shown.n) {
    snprintf(
        ret_why, CLIENT_WHY_LEN,
        "the node shows no pass of the realm key %s, so it may be an impostor: start it with one of role node, or name it: "
        "macula://ID@HOST:PORT",
        hex);
    return MACULA_PASS_INVALID;
  }
  enum pass_verdict v = pass_verify(shown, &trust, &pass, why);
  if (!v && pass_effective(&pass)->role != ROLE_NODE) {
    snprintf(why, sizeof why, "it is of role %s", role_name(pass_effective(&pass)->role));
    v = PASS_FOREIGN;
  }
  if (!v) return 0;
  snprintf(ret_why, CLIENT_WHY_LEN, "the node's pass does not count, so it may be an impostor: %s", why);
  return v == PASS_NO_MEMORY ? MACULA_ENOMEM : v == PASS_EXPIRED ? MACULA_PASS_EXPIRED : MACULA_PASS_INVALID;
}

int client_judge(const struct client *c, const struct msg_pong *m, char ret_why[CLIENT_WHY_LEN]) {
  if (c->base_only) return 0;
  int err = judge_proof(c, m->proof, ret_why);
  return err ? err : judge_pass(c, m->pass, ret_why);
}
