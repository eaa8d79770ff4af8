/* Error codes, shared with the public header. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

#include "macula/error.h"

/* The code whose wire name this is, 0 if none. */
int err_from_name(const char *name, size_t len);
/* The code of a QUIC application error number, 0 if it is not one of ours. */
int err_from_app(unsigned long long app_error);

#endif
