/* Tables that are drawn again and again. */
#ifndef CLI_SCREEN_H
#define CLI_SCREEN_H

#include "cli.h"

/* From begin to end what is printed to stdout is kept; then it is drawn from the top of the terminal on, as much as has place,
 * or printed as it is where there is none. One that began is ended. */
struct screen {
  FILE *out;
  char *text;
  size_t len;
};
bool screen_begin(struct screen *s); /* false: no memory */
bool screen_end(struct screen *s);   /* false: nobody takes it */
unsigned screen_rows(void);          /* lines that have place; UINT_MAX: no terminal */

/* Waits for `ms` from *from on, and moves *from there. -1: go on; else the exit code: interrupted is 0. */
int screen_wait(struct cli *cli, uint64_t *from, uint64_t ms);

#endif
