/* What the files of the HTTP door share. Whatever may not be done where it is noticed is left for http_door_step: a client that
 * has some of it is among the dirty ones. */
#ifndef NODE_DOORS_HTTP_STATE_H
#define NODE_DOORS_HTTP_STATE_H

#include "node/doors/door.h"
#include "node/doors/http.h"
#include "node/doors/http_text.h"
#include "node/state.h"
#include "trust/password.h"

#define HTTP_KEY_LEN 32
#define HTTP_WHY_KEPT 255u        /* bytes kept of a text */
#define HTTP_LINGER (10 * NS_SEC) /* a session without requests lasts so long */
#define HTTP_QUIET (500 * NS_MS)  /* retained messages of other nodes: none has come for so long, */
#define HTTP_LAST (10 * NS_SEC)   /* or this is over */
#define HTTP_PIECE 1536u          /* bytes of a payload that become text at once; a multiple of 3, for base64 */

struct http_waiting { /* a frame that is not read yet */
  struct list all;    /* http_stream.waiting */
  struct shbuf *frame;
  nanotime since;
};

struct http_origin { /* a publisher that was announced; its JSON */
  uint64_t number;
  char json[];
};

struct http_stream {
  struct http_client *client;
  struct http_stream_owner owner;
  char pattern[NAME_MAX_LEN + 2]; /* as it came, if it is not too long for any */
  size_t pattern_len;
  bool last, gap;
  bool asked, told;    /* SUBSCRIBE was sent; the owner was told what became of it */
  bool hungry;         /* the owner found nothing: it is told when there is something */
  bool begun, comment; /* last: the bracket was written; a comment is due */
  bool settled, ended; /* last: all is there; what comes at the end was written */
  bool sheds;          /* what it is sent now is dropped */
  uint64_t dropped;    /* messages that it is yet to be told of, */
  uint64_t lost, said; /* those that the door has dropped, and of these those that are in the log */
  struct list waiting;
  size_t waiting_bytes;
  struct http_waiting *now;     /* is being written, NULL: none; of its payload, */
  struct slice left;            /* this is left, */
  bool is_text;                 /* and it is written as text */
  struct http_origin **origins; /* ANNOUNCE_SLOTS of them; NULL: none yet */
  struct http_text text;        /* being read, */
  size_t at;                    /* from here on; */
  struct http_text tail;        /* what follows the payload */
  nanotime alive_at;            /* a comment is due */
  nanotime heard;               /* last: when something came */
};

struct http_client {
  struct list all, dirty; /* of http_rooms */
  struct node *n;
  uint64_t serial;
  struct session *s;          /* NULL: turned away, or gone */
  struct http_stream *stream; /* NULL: it is for requests, */
  uint8_t key[HTTP_KEY_LEN];  /* of whoever shows the same again */
  uint32_t refs;
  nanotime idle; /* since when nobody refers to it */
  struct addr remote;
  bool secret, welcome, in, goodbye, closed, over;
  bool has_vouched, has_token;
  uint8_t vouched[PASSWORD_KEY_LEN], token[32];
  char *user, *grant, *name; /* NULL: none */
  uint8_t *password;         /* until it is judged; NULL: none */
  size_t password_len;
  int err;
  char why[HTTP_WHY_KEPT + 1];
  struct list asks;
  uint64_t next_ref;
  int64_t window; /* bytes that the node still takes */
  uint64_t written, acked;
  nanotime progress;
  size_t last_queued;
};

struct http_rooms {
  struct list clients, dirty;
  uint32_t count, streams;
  uint64_t last_serial;
  uint8_t secret[32]; /* of this run */
  nanotime sweep_at;
  struct bucket lines; /* of the log about readers that are too slow */
};

/* http_door.c */
void http_dirty(struct http_client *c);
int http_hand_in(struct http_client *c, const struct msg *m);
/* http_client.c */
struct http_client *http_client_new(struct node *n, const struct http_login *l, struct http_stream *st);
void http_client_step(struct http_client *c); /* may free it */
void http_client_free(struct http_client *c);
void http_client_key(const struct http_rooms *rooms, const struct http_login *l, uint8_t ret_key[HTTP_KEY_LEN]);
size_t http_client_unsent(const struct http_client *c);
struct http_result http_failure(int err, const char *text);
/* http_stream.c */
int http_stream_take(struct http_stream *st, uint8_t type, struct slice frame, struct shbuf *shared);
bool http_stream_shed(struct http_stream *st); /* drops the older half of what waits. False: nothing did */
void http_stream_acked(struct http_stream *st, const struct http_result *r);
void http_stream_step(struct http_stream *st);
void http_stream_gone(struct http_stream *st);   /* its client is */
void http_stream_forget(struct http_stream *st); /* frees it */
nanotime http_stream_deadline(const struct http_stream *st);

#endif
