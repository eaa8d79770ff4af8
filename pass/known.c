/* macula known: the nodes that this user, or a node, remembers. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "io/io.h"
#include "pass/command.h"

#define KNOWN_MOST ((size_t)4 << 20) /* bytes: of the library's file; a node's is smaller */
#define SCHEME "macula://"
#define LEAST_DIGITS 8 /* of an id that is named by its beginning */

struct known_options {
  const char *state;
};
static const struct option_def options[] = {{"state", 0, OPTION_TEXT, offsetof(struct known_options, state), .values = "file"},
                                            {0}};

struct entry {
  char address[300], id[MACULA_ID_LEN + 1];
};

static int path_of(const char *state, char **ret_path) {
  char *folder = NULL;
  if (!state && macula_user_folder(&folder)) return cli_invalid(MACULA_EIO, macula_last_error());
  int n = state ? asprintf(ret_path, "%s/peers", state) : asprintf(ret_path, "%s/known_nodes", folder);
  macula_free(folder);
  return n < 0 ? cli_failed(MACULA_ENOMEM, NULL, NULL) : 0;
}

/* "HOST:PORT ID", or of a node "macula://ID@HOST:PORT". */
static bool parse(const char *line, struct entry *ret) {
  char more[2];
  int n = strncmp(line, SCHEME, strlen(SCHEME)) == 0
              ? sscanf(line, SCHEME "%64[0-9a-fA-F]@%299s %1s", ret->id, ret->address, more)
              : sscanf(line, "%299s %64[0-9a-fA-F] %1s", ret->address, ret->id, more);
  return n == 2 && strlen(ret->id) == MACULA_ID_LEN;
}

static bool is_meant(const struct entry *e, const char *what) {
  size_t n = strlen(what);
  if (!strcasecmp(e->address, what) || (!strncasecmp(e->address, what, n) && !strcmp(e->address + n, ":9443"))) return true;
  return cli_is_id(what) && n >= LEAST_DIGITS && !strncasecmp(e->id, what, n);
}

static int put(const struct cli *cli, json_t *rows, const struct entry *e, const char *before) {
  if (cli->json) return json_array_append_new(rows, json_pack("{s:s,s:s}", "id", e->id, "address", e->address));
  return printf("%s%s  %s\n", before, e->id, e->address) < 0;
}

/* Prints those that are meant, or all, and leaves the others in `rest`, which is as long as text. */
static int go_through(const struct cli *cli, const char *path, char *text, const char *what, char *rest, unsigned *ret_found) {
  json_t *rows = json_array();
  unsigned number = 0, bad = 0;
  struct entry e;
  for (char *line = text, *end; *line; line = end) {
    end = line + strcspn(line, "\n");
    char was = *end;
    *end = 0;
    number++;
    bool is_entry = line[0] && line[0] != '#' && parse(line, &e);
    bool meant = is_entry && (!what || is_meant(&e, what));
    if (line[0] && line[0] != '#' && !is_entry && !bad) bad = number;
    if (meant) {
      text_clean(e.address);
      put(cli, rows, &e, what ? "forgotten  " : "");
      ++*ret_found;
    }
    if (!meant || !what) rest = stpcpy(rest, line);
    if (!meant || !what) *rest++ = '\n';
    if (was) end++;
  }
  *rest = 0;
  if (bad) fprintf(stderr, "macula: warning: line %u of %s names no node\n", bad, path);
  if (cli->json) return text_put_json(rows) ? 0 : EXIT_FAILED;
  json_decref(rows);
  return 0;
}

/* The lines of the file, without those that are forgotten. */
static int change(const struct cli *cli, const char *path, char *text, const char *what) {
  char *rest = malloc(strlen(text) + 2), why[256];
  unsigned found = 0;
  if (!rest) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  int code = go_through(cli, path, text, what, rest, &found);
  if (!code && what && !found) {
    cli_error("not_found", "'%s' is not among them; `macula known` lists ids and addresses", what);
    code = EXIT_FAILED;
  } else if (!code && what) {
    int err = io_file_change(path, slice_str(rest), 0600, why);
    if (err) code = cli_failed(err, NULL, why);
  } else if (!code && !found) {
    fprintf(stderr, "no node is known: %s has none\n", path);
  }
  free(rest);
  return code;
}

static int work(const struct cli *cli, const char *path, const char *what) {
  char nothing[] = "", *text = nothing, why[256];
  size_t len;
  int fd = -1, code, err = what ? io_file_lock(path, false, &fd, why) : 0; /* libmacula adds to it under the same lock */
  if (!err) err = io_text_read(path, KNOWN_MOST, &text, &len, why);
  code = err && err != MACULA_ENOTFOUND ? cli_failed(err, NULL, why) : change(cli, path, text, what);
  if (text != nothing) free(text);
  if (fd >= 0) close(fd);
  return code;
}

static int run(struct cli *cli, void *options_set) {
  const struct known_options *o = options_set;
  const char *what = cli->argc > 1 ? cli->argv[1] : NULL;
  char *path;
  if (cli->argc && (strcmp(cli->argv[0], "forget") != 0 || !what || !what[0]))
    return cli_invalid(MACULA_EINVAL, "it is `known` or `known forget ADDR|ID`");
  int code = path_of(o->state, &path);
  if (code) return code;
  code = work(cli, path, what);
  free(path);
  return code;
}

const struct command command_known = {
    "known",
    "known [forget ADDR|ID] [--state FOLDER]",
    "show or forget the nodes that are remembered",
    "Lists id and address of each node that this user has met and trusts since\n"
    "(known_nodes). forget takes out those at ADDR, or with this ID or its first 8\n"
    "digits or more: whoever answers there next is trusted anew.\n\n"
    "  --state FOLDER   those that the node with this state folder remembers, and\n"
    "                   looks for when it starts. Stop that node before you forget\n"
    "                   one: it keeps what it knows when it ends\n\n"
    "Example: macula known\n",
    options,
    sizeof(struct known_options),
    0,
    2,
    run,
    "forget",
    .is_local = true,
};
