/* What the files of src/lib share: the loop, and where a client connects to. */
#ifndef LIB_LIB_H
#define LIB_LIB_H

#include <pthread.h>

#include "base/list.h"
#include "client/client.h"
#include "io/io.h"
#include "lib/server.h"
#include "lib/wait.h"
#include "trust/pass.h"
#include "wire/names.h"

struct macula_identity {
  struct quic_identity *quic;
  char id[ID_HEX_LEN + 1];
};

struct macula_loop {
  pthread_mutex_t lock; /* of everything below and of the hub; not taken by embedded loops, which have one thread */
  pthread_cond_t changed;
  pthread_t thread;
  bool embedded, turning, woken, started, closing;
  unsigned waiters;       /* threads that wait for `changed` */
  struct waiters waiting; /* threads that wait for their own end */
  struct io_loop *io;
  struct io_udp *udp4, *udp6; /* opened with the first connection of their family */
  struct hub *hub;
  struct endpoint ep; /* the hub's */
  struct known_cache known;
  struct mem mem;
  uint64_t close_timeout; /* ns */
  struct log log;
  void (*sink)(void *ctx, int level, const char *line);
  void *sink_ctx;
};

/* A client's owner: its server, and how that is found and trusted. */
struct remote {
  macula_loop *loop;
  struct client *client;
  struct server server;
  bool insecure;
  uint64_t cert_end;    /* of the client's certificate, as quic_identity_end */
  nanotime cert_say_at; /* when the log is told again that it ends */
  char *known_path;     /* NULL: none is kept */
  char *ca_pem;
  bool vouched; /* nodes show a pass of the realm: known_path is not asked */
  struct id own;
  char *pass_path; /* NULL: none */
  struct stat pass_file;
  struct id pass_realm;
  uint64_t pass_from, pass_end; /* Unix seconds */
  nanotime pass_say_at;         /* as cert_say_at */
  struct io_resolve *resolving;
};
void remote_free(struct remote *r);
void remote_dial(void *ctx, struct client *c);
int remote_connected(void *ctx, struct client *c, const struct id *node);
void remote_remind(void *ctx, struct client *c);

/* pass.c: reads the pass of r->pass_path, which must be for r->own. MACULA_EINVAL, MACULA_PASS_INVALID, or as
 * io_text_read, with a line for people. */
int pass_load(struct remote *r, uint8_t ret_bytes[PASS_MAX], size_t *ret_len, char ret_why[SERVER_WHY_LEN]);
/* MACULA_PASS_EXPIRED, or MACULA_PASS_INVALID: it has not begun. With a line for people. */
int pass_check_time(const struct remote *r, uint64_t unix_s, char ret_why[SERVER_WHY_LEN]);
/* Reads the file again if it has changed, and has the log told when the pass ends soon. */
void pass_watch(struct remote *r, uint64_t unix_s, nanotime now);

void loop_lock(macula_loop *l);
void loop_unlock(macula_loop *l); /* and wakes the loop's thread if it has to send */
void loop_unlock_quietly(macula_loop *l);
/* Wakes the loop's thread while the lock is held on: what was queued must leave although this thread goes to sleep. */
void loop_wake(macula_loop *l);
bool loop_in_callback(const macula_loop *l);
/* Lets the loop run until something has changed, or the deadline; the lock is held before and after. False: the deadline has
 * passed. */
bool loop_wait(macula_loop *l, nanotime deadline);

/* Keeps the text for macula_last_error; returns err. */
int fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As fail_plain, or with the rule that the name breaks. */
int fail_name(int err, enum name_form form, const char *name);
int fail_plain(int err); /* clears the text when err is not 0 */

/* options.c: copies a program's struct of options, which begins with its size; members beyond that size are 0, and so are all
 * if from is NULL. MACULA_EINVAL, with a text: the size is 0, or a member is set that this library does not know. */
int options_take(const char *name, const void *from, void *ret, size_t known);
#define OPTIONS_TAKE(type, from, ret) options_take(#type, from, ret, sizeof(type))

/* identity.c: the user's own file `name` below $XDG_CONFIG_HOME/macula, malloc'ed; makes the folder. */
int user_path(const char *name, char **ret_path);

#endif
