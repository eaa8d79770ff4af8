/* What the attacks share: hostile.c has the loop and the attacks in messages, streams and handshakes, hostile_frames.c those in
 * frames. */
#ifndef TEST_E2E_HOSTILE_H
#define TEST_E2E_HOSTILE_H

#include "io/io.h"
#include "quic/internal.h"

struct actor {
  struct quic_conn *conn;
  struct quic_identity *identity;
  int64_t stream;
  uint32_t number;
  bool in;    /* the node has answered CONNECT */
  bool raw;   /* the frames of its packets are exchanged */
  bool ended; /* once at least */
  uint64_t step;
  nanotime at;
  uint32_t round;
  uint64_t issued; /* sequence number of the newest connection id that the node has issued */
};

struct attack {
  const char *name;
  void (*connect)(struct actor *a);          /* NULL: an ordinary connection that says CONNECT */
  void (*in)(struct actor *a);               /* it was let in */
  bool (*turn)(struct actor *a);             /* each turn; true: this one has done its worst. NULL: when it is in */
  bool (*sends)(const uint8_t *p, size_t n); /* whether a datagram of ours goes out */
  bool (*hears)(void);                       /* whether one of the node's is heard */
  bool again;                                /* who was ended has its turns, too */
  bool honest;                               /* who is ended ends the program */
  bool in_turn;                              /* two and two are one client: each takes over from the other */
  /* Writes the frames of a packet into p, n bytes in all; the first `at` are an acknowledgement. Returns the end of what it
   * wrote. */
  size_t (*fill)(struct actor *a, uint8_t *p, size_t n, size_t at);
};

struct hostile {
  struct io_loop *loop;
  struct quic *quic;
  struct mem mem, send_mem;
  struct rng rng;
  struct addr node, at[4]; /* at: our sockets */
  struct quic_identity *identity;
  const struct attack *attack;
  struct actor *actors;
  uint32_t count, started, done, over;
  uint64_t sent, heard;
  nanotime now;
  bool ready;
  bool unsent; /* the last turn ended before all was sent */
};
extern struct hostile h;

/* hostile.c */
void connect_as(struct actor *a, struct quic_identity *i); /* NULL: h.identity */
bool told_all(const struct actor *a);                      /* the node has acknowledged all that it was told */
void in_reader(struct actor *a); /* subscribes to the flood, unless it is the first, the one that makes it */
bool turn_flood(struct actor *a);

/* hostile_frames.c */
extern const struct attack frame_attacks[];
extern const size_t frame_attack_count;

#endif
