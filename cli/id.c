/* macula id: this user's identity. */
#include <string.h>
#include <unistd.h>

#include "cli.h"

static int run(struct cli *cli, void *options) {
  bool make = cli->argc && strcmp(cli->argv[0], "new") == 0;
  (void)options;
  if (cli->argc && !make && strcmp(cli->argv[0], "show") != 0) return cli_invalid(MACULA_EINVAL, "it is `id new` or `id show`");
  if (!make) {
    int code = cli_load_identity(cli, false);
    if (code) return code;
  } else {
    int err = macula_identity_load(cli->identity_path, false, &cli->identity);
    if (!err)
      return cli_invalid(MACULA_EBUSY,
                         "there is an identity already, which `macula id` shows; remove its file, or name another "
                         "with --identity");
    if (err == MACULA_ENOTFOUND) err = macula_identity_load(cli->identity_path, true, &cli->identity);
    if (err) return cli_invalid(err, macula_last_error());
  }
  const char *id = macula_identity_id(cli->identity);
  if (cli->json) return text_put_json(json_pack("{s:s}", "id", id)) ? 0 : EXIT_FAILED;
  puts(id);
  return 0;
}

const struct command command_id = {
    "id",
    "id [new|show]",
    "show or make this user's identity",
    "Prints the id: SHA-256 of the public key. show makes an identity if there is\n"
    "none; new fails if there is one. It is kept in $XDG_CONFIG_HOME/macula (or\n"
    "~/.config/macula) unless --identity names a file.\n\n"
    "Example: macula id new --identity device7.pem\n",
    NULL,
    0,
    0,
    1,
    run,
    "new show",
};
