/* What a publish of macula pub has, once or a line. */
#ifndef CLI_PUB_H
#define CLI_PUB_H

#include "cli.h"

#define PUB_WINDOW 256 /* unconfirmed messages */

/* Messages that are not confirmed for all who listen, and at most for one of them; under the lock. */
struct pub_partly {
  struct cli *cli;
  uint64_t messages;
  macula_partly most;
};
void pub_say_partly(const struct pub_partly *p, uint64_t taken);
json_t *pub_partly_json(const struct pub_partly *p); /* NULL: there are none */

/* Publishes each line of standard input to `topic`, or, with --json, as the line says; topic is then that of lines without one,
 * and may be NULL. `how` has on_partly with `partly` set. Returns an exit code, its errors printed. */
int pub_lines(struct cli *cli, const char *topic, const macula_publish_options *how, const struct pub_partly *partly);

#endif
