/* macula access: what an access file says. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/utf8.h"
#include "io/io.h"
#include "pass/command.h"
#include "pass/files.h"

struct access_options {
  const char *access, *user, *id, *client, *grant;
  bool anonymous;
};
#define AT(member) offsetof(struct access_options, member)
static const struct option_def options[] = {
    {"access", 0, OPTION_TEXT, AT(access)},
    {"user", 0, OPTION_TEXT, AT(user), .words = "test"},
    {"id", 0, OPTION_TEXT, AT(id), .words = "test"},
    {"client", 0, OPTION_TEXT, AT(client), .words = "test"},
    {"grant", 0, OPTION_TEXT, AT(grant), .words = "test"},
    {"anonymous", 0, OPTION_FLAG, AT(anonymous), .words = "test"},
    {0},
};

static const struct grant *grant_of(const struct access *a, const struct access_options *o, const struct id *id) {
  const struct access_user *u = o->user ? access_user(a, slice_str(o->user)) : NULL;
  const struct grant *g = u ? u->grant : NULL;
  if (o->grant) g = access_grant(a, slice_str(o->grant));
  if (o->id && !(g = access_key(a, id))) g = access_default(a);
  if (o->anonymous) g = access_anonymous(a);
  return g;
}

static int put_nobody(const struct cli *cli, const struct access_options *o, const char *file) {
  char why[128], name[ACCESS_MAX_NAME + 1];
  if (o->user || o->grant) utf8_label(slice_str(o->user ? o->user : o->grant), name, ACCESS_MAX_NAME);
  if (o->user || o->grant)
    snprintf(why, sizeof why, "there is no %s '%s'", o->user ? "user" : "grant", name);
  else
    snprintf(why, sizeof why, "%s", o->id ? "neither keys nor default have a grant for this id" : "anonymous has no grant");
  if (cli->json)
    (void)text_put_json(json_pack("{s:b, s:s}", "allowed", false, "why", why));
  else
    printf("no: %s: %s\n", file, why);
  return EXIT_FAILED;
}

static int test(struct cli *cli, const struct access_options *o, const struct access *a, const char *file) {
  struct question q;
  struct id id = {{0}};
  char hex[ID_HEX_LEN + 1];
  if ((o->user != NULL) + (o->id != NULL) + (o->grant != NULL) + o->anonymous != 1)
    return cli_invalid(MACULA_EINVAL, "one of --user NAME, --id ID, --grant NAME and --anonymous says for whom");
  int code = o->id ? files_id("id", o->id, &id) : 0;
  if (!code) code = files_question(cli->argv[1], cli->argv[2], &q);
  if (code) return code;
  const struct grant *g = grant_of(a, o, &id);
  if (!g) return put_nobody(cli, o, file);
  id_hex(&id, hex); /* as nodes write it, however it was given */
  struct name_values who = {.user = slice_str(o->user), .client = slice_str(o->client), .id = slice_str(o->id ? hex : NULL)};
  return files_answer(cli, g, &who, &q, file);
}

static int run(struct cli *cli, void *values) {
  const struct access_options *o = values;
  const char *file = o->access ? o->access : "access.yaml";
  struct access *a;
  char why[256];
  int err;
  bool check = !strcmp(cli->argv[0], "check") && cli->argc == 1;
  if (!check && (strcmp(cli->argv[0], "test") != 0 || cli->argc != 3))
    return cli_invalid(
        MACULA_EINVAL,
        "it is `access test [--access FILE] --user NAME pub|sub|call|serve NAME` or `access check [--access FILE]`");
  int code = files_access(file, &a);
  if (code) return code;
  if (check && access_is_empty(a)) {
    cli_error(macula_err_name(MACULA_EINVAL), "%.255s: " ACCESS_EMPTY_WHY, file);
    code = EXIT_USAGE;
  } else if (check && access_has_secrets(a) && strcmp(file, "-") != 0 && (err = io_private_check(file, why))) {
    cli_error(macula_err_name(err), "%.255s, as tokens or passwords stand in it", why);
    code = EXIT_USAGE;
  } else if (!check)
    code = test(cli, o, a, file);
  else if (!cli->json)
    printf("%s: good\n", file);
  else if (!text_put_json(json_pack("{s:b}", "good", true)))
    code = EXIT_FAILED;
  access_unref(a);
  return code;
}

const struct command command_access = {
    "access",
    "access test pub|sub|call|serve NAME --user NAME | access check",
    "say what an access file allows to whom",
    "test says whether somebody may pub, sub, call or serve something, and which line\n"
    "of the file says so (exit code 1: no); check says what is wrong with the file.\n"
    "maculad --access reads it as it starts, and again on SIGHUP.\n\n"
    "  --access FILE   the file (access.yaml)\n"
    "  --user NAME     for this user; or\n"
    "  --id ID         for a client or node with this key, without another grant; or\n"
    "  --anonymous     for clients without a certificate; or\n"
    "  --grant NAME    whoever has this grant\n"
    "  --client NAME   what ${client} stands for\n\n"
    "Example: macula access test --user alice sub 'plant.**'\n",
    options,
    sizeof(struct access_options),
    1,
    3,
    run,
    "test check",
    .is_local = true,
};
