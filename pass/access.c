/* macula access: what an access file says. */
#include <string.h>

#include "base/err.h"
#include "pass/command.h"
#include "pass/files.h"

struct access_options {
  const char *access, *user, *id, *client, *grant;
  bool anonymous;
};
#define AT(member) offsetof(struct access_options, member)
static const struct option_def options[] = {
    {"access", 0, OPTION_TEXT, AT(access)},
    {"user", 0, OPTION_TEXT, AT(user)},
    {"id", 0, OPTION_TEXT, AT(id)},
    {"client", 0, OPTION_TEXT, AT(client)},
    {"grant", 0, OPTION_TEXT, AT(grant)},
    {"anonymous", 0, OPTION_FLAG, AT(anonymous)},
    {0},
};

/* Whose grant; *who: what its variables stand for. NULL: nobody's, said why. */
static const struct grant *grant_of(const struct access *a, const struct access_options *o, const char *file,
                                    const struct id *id) {
  const struct access_user *u = o->user ? access_user(a, slice_str(o->user)) : NULL;
  const struct grant *g = u ? u->grant : NULL;
  if (o->grant) g = access_grant(a, slice_str(o->grant));
  if (o->id && !(g = access_key(a, id))) g = access_default(a);
  if (o->anonymous) g = access_anonymous(a);
  if (g) return g;
  if (o->user)
    printf("no: %s: there is no user '%s'\n", file, o->user);
  else if (o->grant)
    printf("no: %s: there is no grant '%s'\n", file, o->grant);
  else
    printf("no: %s: %s\n", file, o->id ? "neither keys nor default have a grant for this id" : "anonymous has no grant");
  return NULL;
}

static int test(struct cli *cli, const struct access_options *o, const struct access *a, const char *file) {
  struct question q;
  struct id id = {{0}};
  if ((o->user != NULL) + (o->id != NULL) + (o->grant != NULL) + o->anonymous != 1)
    return cli_invalid(MACULA_EINVAL, "one of --user NAME, --id ID, --grant NAME and --anonymous says for whom");
  int code = o->id ? files_id("id", o->id, &id) : 0;
  if (!code) code = files_question(cli->argv[1], cli->argv[2], &q);
  if (code) return code;
  const struct grant *g = grant_of(a, o, file, &id);
  if (!g) return EXIT_FAILED;
  struct name_values who = {.user = slice_str(o->user), .client = slice_str(o->client), .id = slice_str(o->id)};
  return files_answer(cli, g, &who, &q, file);
}

static int run(struct cli *cli, void *values) {
  const struct access_options *o = values;
  const char *file = o->access ? o->access : "access.yaml";
  struct access *a;
  bool check = !strcmp(cli->argv[0], "check") && cli->argc == 1;
  if (!check && (strcmp(cli->argv[0], "test") != 0 || cli->argc != 3))
    return cli_invalid(MACULA_EINVAL, "it is `access test --user NAME pub|sub|call|serve NAME` or `access check`");
  int code = files_access(file, &a);
  if (code) return code;
  if (!check)
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
    "access test|check [OPTION]...",
    "say what an access file allows to whom",
    "test says whether somebody may pub, sub, call or serve something, and which line\n"
    "of the file says so (exit code 1: no); check says what is wrong with the file.\n\n"
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
};
