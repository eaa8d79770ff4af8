/* What maculad reads from files: its identity, the CA, the access token and the HTTP token. */
#ifndef DAEMON_CREDENTIALS_H
#define DAEMON_CREDENTIALS_H

#include "config.h"

struct credentials {
  struct quic_identity *identity;
  char *ca_pem;     /* NULL: none */
  char *token;      /* NULL: access is open */
  char *http_token; /* NULL: none */
};

/* Reads all that the configuration names. Without cert, the identity is identity.pem in the state folder; make: it is made
 * there if it is missing, otherwise it stays NULL then. On failure nothing is held and ret_why says what and where. */
int credentials_load(const struct config *c, bool make, struct credentials *ret_credentials, char ret_why[CONFIG_WHY_LEN]);
void credentials_done(struct credentials *c);

#endif
