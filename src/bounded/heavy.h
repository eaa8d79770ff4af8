/* The names of which there is most to count, within fixed memory: Space-Saving (Metwally, Agrawal and El Abbadi, "Efficient
 * computation of frequent and top-k elements in data streams", 2005). A name that is new takes the place of the one with the
 * lowest rank, and its rank with it: so whatever makes more than one event in HEAVY_MAX of all is among them. Ranks are halved
 * each HEAVY_HALF, so that what was much long ago makes room. What an entry counts is its own, since it took its place. */
#ifndef BOUNDED_HEAVY_H
#define BOUNDED_HEAVY_H

#include "base/slice.h"
#include "base/time.h"
#include "bounded/htab.h"

#define HEAVY_MAX 256u
#define HEAVY_NAME 255u /* bytes, at most */
#define HEAVY_HALF (60 * NS_SEC)

enum heavy_count { HEAVY_MESSAGES, HEAVY_BYTES, HEAVY_DROPPED, HEAVY_REFUSED, HEAVY_COUNTS };

struct heavy_rate { /* over the last 5 s and a part of the 5 s before */
  nanotime since;
  double now, last;
};

struct heavy_entry {
  struct hlink h;
  uint32_t place;
  double rank;
  nanotime since; /* when it took its place */
  uint64_t count[HEAVY_COUNTS];
  struct heavy_rate rate[HEAVY_COUNTS];
  uint8_t len;
  char name[HEAVY_NAME];
};

struct heavy {
  struct mem *mem;
  struct htab tab;
  struct heavy_entry *at[HEAVY_MAX]; /* by place: of these the first tab.count are there */
  nanotime halve_at;
  uint64_t replaced;
};

/* Allocates nothing yet; an entry at a time, up to HEAVY_MAX. */
void heavy_init(struct heavy *h, struct mem *mem, struct rng rng);
void heavy_done(struct heavy *h);
/* The entry of this name, which is to count so many events more. NULL: no memory. O(1), and O(HEAVY_MAX) for a name that is
 * new when all places are taken. */
struct heavy_entry *heavy_find(struct heavy *h, struct slice name, double events, nanotime now);
const struct heavy_entry *heavy_has(const struct heavy *h, struct slice name); /* NULL: it has no place */
void heavy_add(struct heavy_entry *e, enum heavy_count what, uint64_t count, nanotime now);
double heavy_per_s(const struct heavy_entry *e, enum heavy_count what, nanotime now);
const char *heavy_check(const struct heavy *h); /* base/check.h; O(entries) */
size_t heavy_owned(const struct heavy *h);

#endif
