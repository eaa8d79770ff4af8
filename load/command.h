/* macula load, the subcommand. */
#ifndef LOAD_COMMAND_H
#define LOAD_COMMAND_H

#include "cli/cli.h"

extern const struct command command_load;

#endif
