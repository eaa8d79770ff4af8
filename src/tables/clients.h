/* The clients that were let in: one entry for each, keyed by (verified, id, instance), so that an unverified id never displaces
 * a verified client. Each session embeds an entry of its own, so that the end of an older session cannot remove the entry of a
 * newer one of the same client. */
#ifndef TABLES_CLIENTS_H
#define TABLES_CLIENTS_H

#include "base/list.h"
#include "base/slice.h"
#include "bounded/htab.h"

struct clients_entry {
  struct hlink h, of_session;
  struct list all; /* in order of arrival */
  uint64_t session;
  void *user;
  struct id id;
  uint8_t instance[INSTANCE_LEN];
  bool verified;
  bool op; /* holds one of the operator's slots */
  bool in; /* set by clients_add, cleared when removed or replaced */
};

struct clients {
  struct htab tab;
  struct htab by_session;
  struct list all;       /* clients_entry.all */
  uint32_t count, max;   /* ordinary slots */
  uint32_t ops, max_ops; /* operator's slots */
  uint64_t refused;      /* clients that the limit refused */
  uint64_t replaced;     /* sessions that a newer one of the same client replaced */
};

void clients_init(struct clients *c, struct mem *mem, struct rng rng, uint32_t max, uint32_t max_ops);
void clients_done(struct clients *c); /* entries stay the caller's */
/* Fill id, instance, verified, session and user of a zeroed entry first. op: the client asks for an operator's slot and may
 * have one; it gets an ordinary one when those are taken. If the client is in already, its older entry is removed and returned
 * in *ret_replaced, for the owner to close that session (NULL otherwise). MACULA_MAX_CLIENTS_REACHED, MACULA_ENOMEM: nothing
 * changed. */
int clients_add(struct clients *c, struct clients_entry *e, bool op, struct clients_entry **ret_replaced);
/* Harmless on an entry that is not in: never added, removed before, or replaced. */
void clients_remove(struct clients *c, struct clients_entry *e);
struct clients_entry *clients_find(const struct clients *c, bool verified, const struct id *id,
                                   const uint8_t instance[INSTANCE_LEN]);
/* The one whose session has this serial; NULL: it is not in any more. */
struct clients_entry *clients_of_session(const struct clients *c, uint64_t serial);
/* The limits apply to new clients; those that are in stay. */
void clients_set_max(struct clients *c, uint32_t max, uint32_t max_ops);
static inline uint32_t clients_total(const struct clients *c) { return c->count + c->ops; }

/* O(entries). */
size_t clients_owned(const struct clients *c);
const char *clients_check(const struct clients *c);

#endif
