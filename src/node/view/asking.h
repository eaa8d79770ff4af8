/* What the files about questions that take a while share: ask.c, far.c. */
#ifndef NODE_VIEW_ASKING_H
#define NODE_VIEW_ASKING_H

#include "node/state.h"

struct asker {       /* who asked: a CALL of a session, or a function of the process */
  struct session *s; /* NULL: done is called */
  const uint8_t *call_id;
  void (*done)(void *ctx, int err, const char *json);
  void *ctx;
};

enum ask_kind { ASK_PING, ASK_DHT, ASK_FAR };

struct ask {
  struct list all; /* asks.all */
  struct asker by;
  uint64_t number;
  nanotime since, until;
  struct id peer; /* or key */
  enum ask_kind kind;
  bool dialled;
  uint8_t call_id[CALL_ID_LEN];
};

/* Refuses a question that was not begun. text NULL: the code's own. */
void ask_refuse(const struct asker *by, int err, const char *text);
/* time: ns until it is answered with MACULA_TIMEOUT. NULL: there is no room, and it was refused. */
struct ask *ask_begin(struct node *n, const struct asker *by, enum ask_kind kind, uint64_t time);
/* Answers, and ends it. ask_answer: json is NUL-terminated beyond its n bytes. */
void ask_answer(struct node *n, struct ask *a, struct slice json);
void ask_fail(struct node *n, struct ask *a, int err, const char *text);
struct ask *ask_find(struct node *n, uint64_t number); /* NULL: it has ended */

#endif
