/* SHA-256. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include "base/slice.h"

#define SHA256_LEN 32 /* bytes */

/* Allocates nothing and never fails. */
void sha256_of(struct slice data, uint8_t ret_hash[SHA256_LEN]);
void sha256_of_two(struct slice first, struct slice second, uint8_t ret_hash[SHA256_LEN]); /* one after the other */

#endif
