/* macula realm: the key that signs passes. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "io/io.h"
#include "pass/command.h"
#include "pass/files.h"

static int put_id(const struct cli *cli, const struct crypto_key *key) {
  char hex[ID_HEX_LEN + 1];
  id_hex(crypto_key_id(key), hex);
  if (cli->json) return text_put_json(json_pack("{s:s}", "id", hex)) ? EXIT_DONE : EXIT_FAILED;
  puts(hex);
  return EXIT_DONE;
}

static int write_key(const struct crypto_key *key, const char *path) {
  char *pem = NULL, *text = NULL, why[256], hex[ID_HEX_LEN + 1];
  id_hex(crypto_key_id(key), hex);
  int err = crypto_key_pem(key, &pem);
  if (!err &&
      asprintf(&text, "# The key of the realm %s.\n# Whoever has it grants anything: keep it offline.\n%s", hex, pem) < 0) {
    text = NULL;
    err = MACULA_ENOMEM;
  }
  snprintf(why, sizeof why, "%s", macula_err_text(err));
  if (!err) err = io_file_create(path, slice_str(text), 0600, why);
  if (pem) crypto_wipe(pem, strlen(pem));
  if (text) crypto_wipe(text, strlen(text));
  free(pem);
  free(text);
  if (err == MACULA_EBUSY)
    snprintf(why, sizeof why, "%.180s is there already, and no key is overwritten: name another file", path);
  return err ? cli_invalid(err, why) : 0;
}

/* Hands a list of revoked passes to a node, from which the whole mesh has it. */
static int push(struct cli *cli, const char *path) {
  char *text, why[256];
  size_t len;
  json_t *j;
  int err = io_text_read(path, 2 * REVOKED_MAX_BYTES, &text, &len, why);
  if (err) return cli_invalid(err, why);
  json_t *args = json_pack("{s:s}", "list", text);
  free(text);
  if (!args) return cli_invalid(MACULA_EINVAL, "the file holds no list of revoked passes: 'macula pass revoke' makes one");
  int code = cli_connect(cli, true);
  if (code)
    json_decref(args);
  else
    code = cli_node_call(cli->link.client, "revoke", args, &j);
  if (code) return code;
  json_decref(j);
  if (cli->json) return text_put_json(json_pack("{s:b}", "pushed", true)) ? EXIT_DONE : EXIT_FAILED;
  puts("pushed: the node has it, and tells the others");
  return EXIT_DONE;
}

static int run(struct cli *cli, void *options) {
  struct crypto_key *key = NULL;
  (void)options;
  bool make = !strcmp(cli->argv[0], "new");
  if (!strcmp(cli->argv[0], "push")) return push(cli, cli->argv[1]);
  if (!make && strcmp(cli->argv[0], "show") != 0)
    return cli_invalid(MACULA_EINVAL, "it is `realm new FILE`, `realm show FILE` or `realm push LIST`");
  int err = make ? crypto_key_new(&key) : 0;
  int code = err ? cli_failed(err, NULL, NULL) : make ? write_key(key, cli->argv[1]) : files_key(cli->argv[1], &key);
  if (!code && !crypto_key_is_ed25519(key))
    code = cli_invalid(MACULA_CERTIFICATE_INVALID, "a realm's key is of Ed25519: 'macula realm new' makes one");
  if (!code) code = put_id(cli, key);
  crypto_key_free(key);
  return code;
}

const struct command command_realm = {
    "realm",
    "realm new|show|push FILE",
    "make the key that signs passes, revoke passes",
    "new writes a new key to FILE, which must not be there, readable to you alone,\n"
    "and prints the realm's public id; show prints it again. Nodes that are given\n"
    "this id (realm_keys) take the passes that the key signs. Keep the key offline.\n\n"
    "push hands FILE, a list that 'macula pass revoke' has signed, to a node:\n"
    "within a second all nodes of the mesh end the connections that use these\n"
    "passes. It needs the role operator, and a list whose number is higher than\n"
    "the node's.\n\n"
    "Example: macula realm new realm.key\n",
    NULL,
    0,
    2,
    2,
    run,
    "new show push",
};
