/* What tests ask of libmacula beyond its public header. Not installed, not exported. */
#ifndef LIB_TESTING_H
#define LIB_TESTING_H

#include "macula/macula.h"

/* Ends the connection without a word, as a crash would; the client is freed. */
void macula_abort(macula_client client);

#endif
