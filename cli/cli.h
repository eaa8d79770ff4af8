/* What the files of cli/ share: options, errors, the connection, printing. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>

#include "macula/macula.h"

/* Exit codes, as macula(1) lists them. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NOT_CONNECTED = 3, EXIT_TIMED_OUT = 4, EXIT_DROPPED = 5 };

#define MAX_PAYLOAD ((size_t)1 << 20) /* a frame's limit: what is larger cannot be sent, so it is not read either */
#define CONTEXT_SETTINGS 8
#define CLI_MS 1000000ull
#define CLI_SEC 1000000000ull
#define CLI_NEVER UINT64_MAX

struct cli;

enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_NUMBER, OPTION_SIZE, OPTION_TIME, OPTION_LIST };
/* An option and where its value goes: a bool, const char *, uint64_t or struct option_list at `offset`. Times are kept in
 * milliseconds. */
/* What an option that may be given several times was given. */
#define OPTION_LIST_MAX 64
struct option_list {
  const char *at[OPTION_LIST_MAX];
  unsigned count;
};
struct option_def {
  const char *name; /* without the dashes */
  char letter;      /* 0: none */
  enum option_kind kind;
  size_t offset;
  uint64_t min, max;  /* of OPTION_NUMBER and OPTION_SIZE; max 0: no limit */
  bool hidden;        /* not for people: not completed */
  const char *values; /* what it takes, separated by blanks; "file", "context": completed as such; NULL: anything */
  const char *words;  /* first arguments of the command that it goes with, separated by blanks; NULL: any */
};

struct command {
  const char *name, *usage, *summary, *help;
  const struct option_def *options; /* up to the one without a name; NULL: none of its own */
  size_t options_size;              /* of the struct that they fill */
  unsigned min_args, max_args;
  int (*run)(struct cli *cli, void *options);             /* returns the exit code, its error printed */
  const char *words;                                      /* that may be its first argument, for completion; NULL: any */
  int wrong_usage;                                        /* its exit code for that; 0: EXIT_USAGE */
  void (*say_wrong)(struct cli *cli, const char *errors); /* says it on standard output, too; NULL: that is not needed */
  bool is_local;                                          /* it asks no node: neither variables nor a context count */
};

/* An option of the other program, for completion. */
struct daemon_option {
  const char *key; /* as in its file: with underscores; NULL: there are no more */
  const char *arg; /* what it takes, as "open|FILE"; NULL: nothing */
};
/* The program: what its main function gives. */
struct program {
  const struct command *const *commands;            /* up to NULL */
  void (*begin)(void);                              /* called before a command does its work */
  size_t (*distance)(const char *a, const char *b); /* changes that make one name of the other; SIZE_MAX: too long to tell */
  struct daemon_option (*daemon_option)(size_t i);
};
int cli_main(int argc, char **argv, const struct program *program);

/* The first connection, as its callbacks saw it. */
struct link {
  struct cli *cli;
  macula_client client;
  macula_state state;
  bool lost, noted;
  int err;
  char text[512];
  uint64_t dropped; /* messages, as the node says */
  bool cut;         /* the node has ended a connection, since it was read too slowly */
};

struct cli {
  const struct program *program;
  const char *server, *realm, *name, *identity_path, *token_file; /* name: NULL: "macula" */
  const char *pass_file, *realm_key, *ca_file;
  const char *context;                     /* of --context */
  json_t *chosen;                          /* the context that is used, with the texts that are taken from it; NULL: none */
  char chosen_name[80];                    /* of it */
  const char *variables[CONTEXT_SETTINGS]; /* which gave a setting, by its place in context.c; NULL: none did */
  const macula_will *will;                 /* of the connection; NULL: none */
  bool insecure, json, help, version, watch;
  bool prints;             /* what it has to say is for standard output: without a reader it ends */
  bool reads;              /* it waits for standard input */
  bool is_full;            /* standard output takes nothing now: cli_wait ends when it does (under the lock) */
  bool warned;             /* that nothing is remembered */
  const char *known_nodes; /* NULL: the library's own file */
  uint64_t given;          /* of the command's own options, by their place in its table */
  unsigned argc;           /* what is left when the options are taken out */
  const char **argv;
  size_t max_memory; /* of the loop; 0: the library's default */
  macula_loop *loop;
  macula_identity *identity;
  char *token;
  pthread_mutex_t lock; /* of link and of whatever a command shares with its callbacks */
  int wake_fd, signal_fd;
  struct link link;
};

/* ---- options.c ---- */
extern const struct option_def global_options[];
/* Takes options out of argv and leaves the rest in cli->argv, which holds at least argc entries. With `until_command`, stops at
 * the first argument that is no option; *ret_used is where. Returns an exit code. */
int options_parse(struct cli *cli, int argc, char **argv, bool until_command, const struct option_def *own, void *values,
                  int *ret_used);

/* Whether those that were given go with the command's first argument. Returns an exit code. */
int options_belong(const struct cli *cli, const struct command *c);

/* ---- near.c ---- */
#define NEAR_LEN 96
bool near_has(const char *words, const char *word); /* among words with blanks between them */
/* The i-th candidate; false after the last. */
typedef bool near_next(const void *ctx, size_t i, char ret[NEAR_LEN]);
/* The candidate that is meant by `word`. False: none is near. */
bool near_find(const struct cli *cli, const char *word, near_next *next, const void *ctx, char ret_near[NEAR_LEN]);
near_next near_next_word; /* ctx: words with blanks between them */
/* "a, b or c" of words with blanks between them, as far as there is room. */
void near_put_list(const char *words, char *ret_text, size_t size);

/* ---- context.c ---- */
/* What no option gave is taken from MACULA_* variables, and what these do not give from the context in use. Returns an exit
 * code, its error printed. */
int context_apply(struct cli *cli);
/* For the end of an error about a setting: " (realm of the variable MACULA_REALM)"; "" if an option, or nobody, gave it. */
#define CONTEXT_SOURCE_LEN 200
const char *context_source(const struct cli *cli, const char *value, char ret_text[CONTEXT_SOURCE_LEN]);

/* ---- common.c ---- */
/* Prints `macula: CODE: text` on one line of stderr. */
void cli_error(const char *code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The procedure that answers with what another one takes and gives, in JSON Schema: its name with this end. */
#define CLI_DESCRIBES ".describe"

/* The end of an operation that the other side refused or that failed underway: prints, returns the exit code. text "" or NULL:
 * macula_err_text. code NULL: macula_err_name. */
int cli_failed(int err, const char *code, const char *text);
/* A check on this side failed. */
int cli_invalid(int err, const char *detail);
int cli_bad_name(int err, const char *name); /* a topic, pattern, procedure or realm; EXIT_USAGE */
int cli_interrupted(void);
int cli_unread(void);   /* nobody reads standard output */
uint64_t cli_now(void); /* ns */

/* cli->identity: of --identity, the user's own, or one that ends with this command where none can be kept. meets: the command
 * meets nodes that known_nodes would tell of. What cannot be kept is said once. Returns an exit code, its error printed. */
int cli_load_identity(struct cli *cli, bool meets);
/* From cli->token_file into cli->token. Returns an exit code, its error printed. */
int cli_read_token(struct cli *cli);
/* Makes the loop and the first connection, unless there is one already; op asks for an operator's slot. Returns an exit code,
 * its error printed. */
int cli_connect(struct cli *cli, bool op);
/* Says goodbye and ends all callbacks; what they used may be freed then. code: of the process if that hangs. */
void cli_end(struct cli *cli, int code);
macula_options cli_client_options(const struct cli *cli);

enum cli_event { CLI_WOKEN, CLI_TIMED_OUT, CLI_SIGNALLED, CLI_UNREAD, CLI_READABLE };
/* Sleeps until a callback has called cli_wake, a signal asks to end, the time (of cli_now) has come, standard output takes
 * something again after cli->is_full, or, if cli->prints, nobody reads standard output any more; or, if cli->reads, standard
 * input can be read. */
enum cli_event cli_wait(struct cli *cli, uint64_t until);
void cli_wake(struct cli *cli);
bool cli_take_signal(struct cli *cli); /* true: SIGINT or SIGTERM came */
void cli_take_wake(struct cli *cli);
/* For commands that stay: notes a loss and a reconnection on stderr. Exit code -1: go on; else the connection is closed for
 * good. */
int cli_check_link(struct cli *cli);

/* A request's end, for commands that wait for one. */
struct cli_done {
  struct cli *cli;
  bool ended;
  int err;
  char text[512];
};
void cli_on_done(void *ctx, macula_client client, int err, const char *text);
/* Returns an exit code, its error printed. */
int cli_wait_done(struct cli_done *done, uint64_t until);
/* Calls com.macula.node.<what> and parses its answer. Returns an exit code, its error printed. */
int cli_node_call(macula_client client, const char *what, json_t *args, json_t **ret_json);
/* All pages of a list of the node, as one array, for json_decref. Returns an exit code, its error printed. */
int cli_node_list(struct cli *cli, const char *what, json_t **ret_rows);
/* Whether these are the first digits of an id, or all 64. */
bool cli_is_id(const char *text);

/* ---- text.c ---- */
/* Payload from an argument, "-" (stdin) or nothing, which is stdin if that is a pipe or a file with something in it, else
 * `absent`: malloc'ed. Returns an exit code, its error printed. */
int text_read(const char *arg, const char *absent, char **ret_data, size_t *ret_len);
/* Checks JSON text; prints invalid_json with where it broke, in terms of `what`. */
int text_check_json(const char *what, const char *data, size_t len);
/* Newlines, control characters, backslashes and what is no UTF-8 become \n, \\, \xHH. */
void text_put_escaped(FILE *f, const void *data, size_t len);
/* The same, and blanks become \x20: what follows on the line is no part of it. */
void text_put_word(FILE *f, const char *text);
size_t text_width(const char *text); /* characters of UTF-8 */
/* Writes the text as it is. Only on a terminal (a file in memory is for standard output), controls, those that turn the
 * direction of text included, become \u001b and the like, as in JSON, and bytes that are not UTF-8 become \xHH; newlines and
 * tabs stay. */
void text_put_payload(FILE *f, const void *data, size_t len);
void text_clean(char *text);     /* controls, and what is no UTF-8, become '?': it is a label, or a word on a line */
void text_clean_json(json_t *j); /* so with every string in it */
/* Bytes that are not UTF-8, as of a character that was cut, become '?', since JSON must be UTF-8. */
void text_make_utf8(char *text);
/* The beginning and the end of a file, up to `each` bytes of each cut at ends of lines, with a line between them that says how
 * much was left out; the whole if it is no more than both. For json_string; to be freed, NULL: no memory. */
char *text_ends(int fd, size_t each);
void text_put_raw_line(FILE *f, const char *text); /* control characters become spaces */
json_t *text_json_payload(const void *data, size_t len, const char **ret_key);
const char *text_principal_kind(macula_principal_kind kind); /* "key"; "unknown" for what this program does not know, too */
json_t *text_json_principal(const macula_principal *p);
/* Prints and frees; false: stdout is gone, or the file has no room. */
bool text_put_json_to(FILE *f, json_t *json);
bool text_put_json(json_t *json);
const char *text_bytes(double bytes, char buf[32]);
const char *text_duration(double seconds, char buf[32]);
const char *text_number(uint64_t n, char buf[32]); /* with thousands separated */

/* ---- the commands ---- */
extern const struct command command_pub, command_sub, command_call, command_serve, command_status, command_peers,
    command_clients, command_services, command_subs, command_dht, command_bench, command_id, command_context, command_ping,
    command_top, command_trace, command_dashboard, command_demo, command_check, command_doctor, command_completion,
    command_help, command_cheat, command_version;

/* serve_exec.c: runs handlers until told to end. Returns an exit code, its error printed. */
struct exec_server;
int exec_server_new(struct cli *cli, const char *shell_command, unsigned concurrency, bool raw,
                    struct exec_server **ret_server);
struct cli_done *exec_server_done(struct exec_server *s); /* the context for its callbacks: this is its first member */
void exec_server_free(struct exec_server *s);             /* kills what still runs */
void exec_server_request(void *ctx, macula_client client, const macula_request *request);
void exec_server_cancel(void *ctx, macula_client client, macula_request_id request);
int exec_server_run(struct exec_server *s);

#endif
