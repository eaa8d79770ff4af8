/* How long the turns of a loop took, from poll to poll: time that its thread computed, waiting left out. */
#ifndef BASE_TURNS_H
#define BASE_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TURN_BOUNDS 6 /* ns; and a bucket for longer ones */
#define TURN_BOUNDS_NS                                                                                                         \
  { 500000, 1000000, 2000000, 5000000, 10000000, 100000000 }

struct turns {
  uint64_t count[TURN_BOUNDS + 1]; /* of turns that took at most so long, and longer than the bound before */
  uint64_t computed;               /* ns, of all */
  uint64_t longest;                /* ns */
  uint64_t longest_wall;           /* of that one: with the time in which other programs had the processor */
  const char *cause;               /* what took the longest part of it; "": there was none yet */
};

/* Whether the present turn has had its time. Whoever has much to do that has come due at once asks after each part, and leaves
 * the rest for the next turn. NULL: it never has. */
struct spent {
  bool (*fn)(void *ctx);
  void *ctx;
};
static inline bool is_spent(const struct spent *s) { return s && s->fn(s->ctx); }

#endif
