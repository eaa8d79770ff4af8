/* macula serve: answers calls with a fixed text, the arguments, or a program's output. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define DESCRIPTION_MOST ((size_t)64 << 10) /* bytes */

struct serve_options {
  const char *exec, *reply, *describe;
  bool echo, idempotent, raw;
  uint64_t ttl, concurrency;
};

static const struct option_def options[] = {
    {"exec", 'e', OPTION_TEXT, offsetof(struct serve_options, exec)},
    {"echo", 0, OPTION_FLAG, offsetof(struct serve_options, echo)},
    {"reply", 0, OPTION_TEXT, offsetof(struct serve_options, reply)},
    {"describe", 0, OPTION_TEXT, offsetof(struct serve_options, describe), .values = "file"},
    {"raw", 0, OPTION_FLAG, offsetof(struct serve_options, raw)},
    {"ttl", 0, OPTION_TIME, offsetof(struct serve_options, ttl), 1},
    {"idempotent", 0, OPTION_FLAG, offsetof(struct serve_options, idempotent)},
    {"concurrency", 0, OPTION_NUMBER, offsetof(struct serve_options, concurrency), 1, 256},
    {0},
};

struct fixed {
  struct cli_done done; /* first: it is what macula_serve's done callback is given */
  const char *reply;    /* NULL: echo */
};

static void on_fixed(void *ctx, macula_client client, const macula_request *r) {
  const struct fixed *f = ctx;
  const char *text = f->reply ? f->reply : r->args;
  int err = r->is_cast ? 0 : macula_reply(client, r->id, text, f->reply ? strlen(f->reply) : r->len);
  if (err && err != MACULA_ENOTFOUND) macula_reply_error(client, r->id, macula_err_name(err), macula_err_text(err));
}

static int wait_until_ended(struct cli *cli) {
  for (;;) {
    int code = cli_check_link(cli);
    if (code >= 0) return code;
    if (cli_wait(cli, CLI_NEVER) == CLI_SIGNALLED) return 0;
  }
}

/* The description in a file, for free. Returns an exit code, its error printed. */
static int read_description(const char *path, char **ret_text) {
  char *text = calloc(1, DESCRIPTION_MOST + 2);
  FILE *f = text ? fopen(path, "re") : NULL;
  size_t n = f ? fread(text, 1, DESCRIPTION_MOST + 1, f) : 0;
  int code = 0;
  if (!text) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  if (!f || ferror(f)) {
    cli_error(macula_err_name(MACULA_EIO), "cannot read %s: %s", path, strerror(errno));
    code = EXIT_USAGE;
  } else if (n > DESCRIPTION_MOST) {
    code = cli_invalid(MACULA_PAYLOAD_TOO_LARGE, "--describe takes a file of at most 64 KiB");
  } else {
    code = text_check_json("--describe", text, n);
  }
  if (f) fclose(f);
  if (code)
    free(text);
  else
    *ret_text = text;
  return code;
}

/* Beside the procedure, one that says what it is. Returns an exit code, its error printed. */
static int serve_description(struct cli *cli, const struct serve_options *o, struct fixed *f) {
  char *name;
  if (asprintf(&name, "%s" CLI_DESCRIBES, cli->argv[0]) < 0) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  macula_serve_options how = {MACULA_INIT(macula_serve_options), .ttl_ms = o->ttl, .idempotent = true};
  int err = macula_serve(cli->link.client, name, &how, on_fixed, NULL, cli_on_done, f, NULL);
  free(name);
  return err ? cli_failed(err, NULL, macula_last_error()) : cli_wait_done(&f->done, cli_now() + 10 * CLI_SEC);
}

static int run(struct cli *cli, void *options_set) {
  const struct serve_options *o = options_set;
  struct fixed described = {.done.cli = cli};
  char *description = NULL;
  int err = macula_check_procedure(cli->argv[0]), code;
  struct fixed fixed = {.done.cli = cli, .reply = o->reply};
  struct exec_server *server = NULL;
  if (err) return cli_bad_name(err, cli->argv[0]);
  if (!!o->exec + o->echo + !!o->reply != 1)
    return cli_invalid(MACULA_EINVAL, "say how to answer: one of --exec CMD, --echo and --reply JSON");
  if (o->concurrency && !o->exec) return cli_invalid(MACULA_EINVAL, "--concurrency goes with --exec");
  if (o->reply && !o->raw && (code = text_check_json("--reply", o->reply, strlen(o->reply)))) return code;
  if (o->describe && (code = read_description(o->describe, &description))) return code;
  described.reply = description;
  code = cli_connect(cli, false);
  if (!code && description) code = serve_description(cli, o, &described);
  if (!code && o->exec) code = exec_server_new(cli, o->exec, o->concurrency ? (unsigned)o->concurrency : 4, o->raw, &server);
  if (!code) {
    void *ctx = server ? exec_server_done(server) : &fixed.done;
    macula_serve_options how = {MACULA_INIT(macula_serve_options), .ttl_ms = o->ttl, .idempotent = o->idempotent};
    err = macula_serve(cli->link.client, cli->argv[0], &how, server ? exec_server_request : on_fixed,
                       server ? exec_server_cancel : NULL, cli_on_done, ctx, NULL);
    code = err ? cli_failed(err, NULL, macula_last_error()) : cli_wait_done(ctx, cli_now() + 10 * CLI_SEC);
  }
  if (!code) {
    if (server)
      fprintf(stderr,
              "a handler prints %s of at most 1 MiB, and is killed with what it started at its call's deadline, or when its "
              "caller is gone\n",
              o->raw ? "its result" : "JSON");
    fprintf(stderr, "serving %s\n", cli->argv[0]);
    code = server ? exec_server_run(server) : wait_until_ended(cli);
  }
  cli_end(cli, code); /* ends the callbacks that use fixed and server */
  exec_server_free(server);
  free(description);
  return code;
}

const struct command command_serve = {
    "serve",
    "serve PROC (--exec CMD | --echo | --reply JSON) [OPTION]...",
    "answer calls",
    "Serves PROC until interrupted. Prints `serving PROC` to standard error when the\n"
    "node has confirmed.\n\n"
    "  --exec CMD        run by /bin/sh -c for each call: JSON arguments on its\n"
    "                    stdin, JSON result on its stdout; a non-zero exit is a\n"
    "                    handler_error with the last line of its stderr, which is\n"
    "                    also printed here. MACULA_PROCEDURE says what is called;\n"
    "                    MACULA_CALLER_KIND, MACULA_CALLER and MACULA_CALLER_NODE\n"
    "                    say by whom: key, user or anonymous; its id or name; the id\n"
    "                    of the node where that was proved\n"
    "  --describe FILE   JSON (Schema, say), shown by `macula services --describe`;\n"
    "                    PROC.describe answers with it\n"
    "  --raw             any bytes, instead of JSON\n"
    "  --echo            answer with the arguments\n"
    "  --reply JSON      answer with JSON\n"
    "  --idempotent      a call may run more than once: another provider is tried\n"
    "                    when this one falls silent or is lost\n"
    "  --ttl T           the node forgets the service after T without renewal\n"
    "                    (default: the node's, 300s)\n"
    "  --concurrency N   handlers at a time, 1 to 256 (default 4); 1,024 calls may\n"
    "                    wait\n\n"
    "A handler that still runs at its call's deadline, or whose caller is gone, is\n"
    "killed with all it started. What it leaves in the background is killed when it\n"
    "ends, unless that left its process group (setsid).\n\n"
    "Example: macula serve time.now --exec 'date +%s'\n",
    options,
    sizeof(struct serve_options),
    1,
    1,
    run,
};
