/* The subcommands that need no node: keys of realms, passes, tokens, users, access files; which nodes are known. */
#ifndef PASS_COMMAND_H
#define PASS_COMMAND_H

#include "cli/cli.h"

extern const struct command command_realm, command_pass, command_token, command_user, command_access, command_known;

#endif
