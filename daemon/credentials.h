/* What maculad reads from files: its identity and pass, the CA, who may do what, and the HTTP token. */
#ifndef DAEMON_CREDENTIALS_H
#define DAEMON_CREDENTIALS_H

#include "access/access.h"
#include "config.h"
#include "trust/pass.h"

#define IDENTITY_FILE "identity.pem" /* in the state folder */

struct credentials {
  struct quic_identity *identity;
  char *ca_pem;          /* NULL: none */
  struct access *access; /* NULL: open */
  uint8_t pass[PASS_MAX];
  size_t pass_len;            /* 0: none */
  uint64_t pass_end;          /* Unix seconds */
  char *http_token;           /* NULL: none */
  char *http_cert, *http_key; /* PEM; NULL: no HTTPS */
};

/* Reads the access file, or makes what realm_keys stands for; NULL: open. It is of mem. Takes long for a large file; any
 * thread, as it asks nothing of GnuTLS. On failure ret_why says what and where. */
int credentials_access(const struct config *c, struct mem *mem, struct access **ret_access, char ret_why[CONFIG_WHY_LEN]);
/* Reads all else that the configuration names; access: taken, also on failure. Without cert, the identity is identity.pem in
 * the state folder; make: it is made there if it is missing, otherwise it stays NULL then. On failure nothing is held and
 * ret_why says what and where. */
int credentials_load(const struct config *c, bool make, struct access *access, struct credentials *ret_credentials,
                     char ret_why[CONFIG_WHY_LEN]);
void credentials_done(struct credentials *c);

#endif
