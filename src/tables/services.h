/* Local services: procedure -> providers, each with its age. Bounded in total and per owner. A registration ends at its
 * deadline (age >= TTL without renewal), by unregister, or with its owner, in time that depends only on the number of that
 * owner's registrations. */
#ifndef TABLES_SERVICES_H
#define TABLES_SERVICES_H

#include "base/list.h"
#include "base/slice.h"
#include "base/turns.h"
#include "bounded/heap.h"
#include "bounded/htab.h"

/* An owner of registrations: embedded in its session; must stay until services_drop. */
struct service_owner {
  uint64_t session;
  void *user;
  struct id id;
  struct list own; /* provider.of_owner */
  uint32_t count;
  uint32_t *shared;  /* counted along with `count`, for several owners together; NULL: nowhere */
  uint32_t inflight; /* calls that it has not answered yet; counted by the code that sends them */
  bool silent;       /* it acknowledges nothing now; set by the code that sends calls */
};

struct provider {
  struct list of_owner;
  struct heap_link due;
  struct service *service;
  struct service_owner *owner;
  uint64_t seq;           /* order of registration */
  nanotime registered_at; /* first registration; renewals leave it */
  uint64_t ttl;           /* ns */
  bool idempotent;        /* its calls may run more than once; set by the code that registers it */
};

struct service {
  struct hlink h;
  struct list all;      /* in order of first registration */
  struct provider **v;  /* in order of registration */
  uint32_t count, cap;  /* of v; count > 0 */
  uint64_t round_robin; /* counter of that strategy */
  /* By the code that sends calls: of those answered since the first registration, whoever answered. took: ns, of all that did
   * not fail, and of the longest of them. */
  uint64_t calls, failed, took, longest;
  uint8_t len;
  char name[]; /* NUL-terminated */
};

struct services {
  struct htab tab; /* service.h */
  struct heap due; /* provider.due */
  struct list all; /* service.all */
  struct mem *mem;
  uint32_t count, max; /* registrations */
  uint32_t per_owner;
  uint64_t next_seq;
  uint64_t refused, expired;
  const struct spent *spent; /* NULL, unless set after services_init: then what expires does so in slices */
  /* A procedure has got its first provider (served), or lost its last one. Called while the table is being changed, so it must
   * not use the table. */
  void (*changed)(void *ctx, struct slice name, bool served);
  void *ctx;
};

void services_init(struct services *s, struct mem *mem, struct rng rng, uint32_t max, uint32_t per_owner);
void services_done(struct services *s); /* owners' lists are emptied */
void services_watch(struct services *s, void (*changed)(void *ctx, struct slice name, bool served), void *ctx);
void service_owner_init(struct service_owner *o, uint64_t session, const struct id *id, void *user);

/* name: stored form (wire/names.h), 1 to 255 bytes. ttl: ns. A registration that is there already is renewed.
 * MACULA_MAX_SERVICES_REACHED, MACULA_ENOMEM: nothing changed. MACULA_EINVAL: length. */
int services_register(struct services *s, struct service_owner *o, struct slice name, uint64_t ttl, nanotime now);
/* MACULA_ENOTFOUND */
int services_unregister(struct services *s, struct service_owner *o, struct slice name);
/* Ends all registrations of an owner; harmless when repeated. Returns how many there were. */
uint32_t services_drop(struct services *s, struct service_owner *o);
/* Hands the registrations of `from` to `to`, but only those without any other provider, until now + ttl at the latest. Nothing
 * is allocated or refused. */
void services_hand_over(struct services *s, struct service_owner *from, struct service_owner *to, uint64_t ttl, nanotime now);
/* The registration of this procedure by this owner; NULL: there is none. */
struct provider *services_get(const struct services *s, const struct service_owner *o, struct slice name);
struct service *services_find(const struct services *s, struct slice name);
nanotime services_deadline(const struct services *s);
/* Removes registrations that are due. Returns how many. */
uint32_t services_expire(struct services *s, nanotime now);
void services_set_max(struct services *s, uint32_t max, uint32_t per_owner);

/* Owners' lists included. O(registrations). */
const char *services_check(const struct services *s);
size_t services_owned(const struct services *s); /* bytes of the account that registrations hold */

#endif
