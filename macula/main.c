/* The program macula: the subcommands of cli/, which need no more than libmacula, load, which links the
 * whole node, and pass/, which needs no node. */
#include <stdio.h>

#include "cli/cli.h"
#include "daemon/environ.h"
#include "load/command.h"
#include "pass/command.h"

extern char **environ;

/* Also of maculad's variables, which macula does not read: who sets one for both is told by either. */
static void name_misspelt(void) {
  struct environ_unknown u;
  for (size_t at = 0; environ_next_unknown((const char *const *)environ, &at, &u);)
    if (u.misspelt) fprintf(stderr, "macula: warning: unknown variable %s; did you mean %s?\n", u.name, u.near);
}

static struct daemon_option daemon_option(size_t i) {
  struct daemon_option o = {0};
  o.key = environ_option(i, &o.arg);
  return o;
}

int main(int argc, char **argv) {
  static const struct command *const commands[] = {
      &command_pub,    &command_sub,       &command_call,    &command_serve,
      &command_status, &command_peers,     &command_clients, &command_services,
      &command_subs,   &command_dht,       &command_ping,    &command_top,
      &command_trace,  &command_dashboard, &command_demo,    &command_check,
      &command_doctor, &command_bench,     &command_load,    &command_context,
      &command_id,     &command_known,     &command_realm,   &command_pass,
      &command_token,  &command_user,      &command_access,  &command_completion,
      &command_help,   &command_cheat,     &command_version, NULL,
  };
  static const struct program program = {commands, name_misspelt, environ_distance, daemon_option};
  environ_open_standard();
  return cli_main(argc, argv, &program);
}
