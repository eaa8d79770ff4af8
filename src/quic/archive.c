/* With ngtcp2 linked as archives (static_ngtcp2 of Meson): what these take for libc's stderr. They write to it only before they
 * abort. */
#ifdef MACULA_STATIC_NGTCP2
#include <stdio.h>

FILE *macula_archive_stderr;

__attribute__((constructor)) static void set(void) { macula_archive_stderr = stderr; }
#endif
