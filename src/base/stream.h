/* Byte streams that others open (TCP, TLS on it): the interface between who carries them (src/io, the simulator) and who speaks
 * by them (a door of the node). All on the driver's thread. */
#ifndef BASE_STREAM_H
#define BASE_STREAM_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/slice.h"
#include "base/time.h"

struct byte_stream;
struct stream_ops {
  /* Takes a copy of as many of the bytes as it has room for, and returns how many. When these are fewer than given, `room` of
   * the owner comes later. Nothing is sent before the turn's end. */
  size_t (*write)(struct byte_stream *s, struct slice bytes);
  size_t (*unsent)(const struct byte_stream *s); /* bytes taken, and not by the kernel yet */
  /* Whether more is read: at first it is. What the kernel has room for still comes in, as far as the peer is concerned. */
  void (*read)(struct byte_stream *s, bool on);
  /* The owner has done with it: it hears no more of it, and must not name it again. What was written is sent within a second;
   * reset: it is not, and the peer sees that the connection broke. */
  void (*close)(struct byte_stream *s, bool reset);
  /* It is of no use any more: the owner hears that it closed, with this error, by the turn's end. */
  void (*break_off)(struct byte_stream *s, int err);
  /* `room` of the owner comes when what is unsent now is sent, as after a short write. NULL: no owner asks for it. */
  void (*want_room)(struct byte_stream *s);
};

struct stream_key { /* a key that the peer has proved */
  struct id id;     /* SHA-256 of its SubjectPublicKeyInfo */
  uint64_t end;     /* when the certificate with it ends, Unix seconds */
};

struct byte_stream {
  const struct stream_ops *ops;
  void *user; /* the owner's */
  struct addr remote;
  bool secret;                  /* nobody reads it on its way */
  const struct stream_key *key; /* as long as the stream; NULL: the peer has proved none */
};

/* None of these is called from within a function above. */
struct stream_owner {
  void *ctx;
  /* A new one: what is in it stands for good, but for user. Not 0: the owner has no room, and it is closed; write and close may
   * be called before. */
  int (*opened)(void *ctx, struct byte_stream *s, nanotime now);
  /* Bytes came, all of which the owner takes, also after `read` was switched off within this call. They may be changed. */
  void (*data)(void *ctx, struct byte_stream *s, uint8_t *bytes, size_t n, nanotime now);
  void (*room)(void *ctx, struct byte_stream *s, nanotime now); /* `write` takes bytes again */
  /* The peer ended it (err 0), or it broke (MACULA_ECLOSED, MACULA_ENOMEM). It is gone. */
  void (*closed)(void *ctx, struct byte_stream *s, int err, nanotime now);
};

static inline size_t stream_write(struct byte_stream *s, struct slice bytes) { return s->ops->write(s, bytes); }
static inline size_t stream_unsent(const struct byte_stream *s) { return s->ops->unsent(s); }
static inline void stream_read(struct byte_stream *s, bool on) { s->ops->read(s, on); }
static inline void stream_close(struct byte_stream *s, bool reset) { s->ops->close(s, reset); }
static inline void stream_break(struct byte_stream *s, int err) { s->ops->break_off(s, err); }
static inline void stream_want_room(struct byte_stream *s) { s->ops->want_room(s); }

#endif
