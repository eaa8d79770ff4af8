/* macula token: access tokens. */
#include <string.h>

#include "io/io.h"
#include "pass/command.h"
#include "trust/crypto.h"
#include "trust/token.h"

static int run(struct cli *cli, void *options) {
  char token[TOKEN_NEW_LEN + 1];
  (void)options;
  if (strcmp(cli->argv[0], "new") != 0) return cli_invalid(MACULA_EINVAL, "it is `token new`");
  token_new(io_rng(), token);
  int code = EXIT_DONE;
  if (!cli->json)
    puts(token);
  else if (!text_put_json(json_pack("{s:s}", "token", token)))
    code = EXIT_FAILED;
  crypto_wipe(token, sizeof token);
  return code;
}

const struct command command_token = {
    "token",
    "token new",
    "make an access token",
    "Prints a new token of 256 random bits. A file with it is for you alone: run\n"
    "'umask 077' before.\n\n"
    "Example: (umask 077; macula token new > token)\n",
    NULL,
    0,
    1,
    1,
    run,
    "new",
    .is_local = true,
};
