/* What a client or node may do: a role, patterns for each right, quotas. A grant is compiled once and immutable, and sessions
 * share it by reference; the values of ${id}, ${user} and ${client} are passed to each judgement.
 *
 * Publish, call and serve are judged by match. Subscribe is judged by containment: one pattern of the grant must match every
 * topic that the subscription matches, so that `**` needs a grant of `**`. */
#ifndef TRUST_GRANT_H
#define TRUST_GRANT_H

#include "base/mem.h"
#include "base/slice.h"
#include "wire/names.h"

#define GRANT_MAX_RULES 256 /* patterns of all rights together */
#define GRANT_MAX_NAME 64   /* bytes */

/* X(ENUM, "name") */
#define GRANT_ROLES(X) X(CLIENT, "client") X(NODE, "node") X(OPERATOR, "operator")
#define GRANT_RIGHTS(X) X(PUB, "pub") X(SUB, "sub") X(CALL, "call") X(SERVE, "serve")
#define GRANT_QUOTAS(X)                                                                                                        \
  X(CONNECTIONS, "connections")                                                                                                \
  X(SUBSCRIPTIONS, "subscriptions")                                                                                            \
  X(SERVICES, "services")                                                                                                      \
  X(CALLS, "calls")       /* pending */                                                                                        \
  X(RETAINED, "retained") /* messages */                                                                                       \
  X(MESSAGES, "messages") /* a second */

enum role {
#define GRANT_ENUM(id, name) ROLE_##id,
  GRANT_ROLES(GRANT_ENUM)
#undef GRANT_ENUM
      ROLES
};
enum right {
#define GRANT_ENUM(id, name) RIGHT_##id,
  GRANT_RIGHTS(GRANT_ENUM)
#undef GRANT_ENUM
      RIGHTS
};
enum quota {
#define GRANT_ENUM(id, name) QUOTA_##id,
  GRANT_QUOTAS(GRANT_ENUM)
#undef GRANT_ENUM
      QUOTAS
};
#define QUOTA_NONE UINT32_MAX /* the grant sets no quota: only the node's limits hold */

const char *role_name(enum role r);
const char *right_name(enum right r);
const char *quota_name(enum quota q);
/* -1: none has this name. */
int role_find(struct slice name);
int right_find(struct slice name);
int quota_find(struct slice name);
/* Whether a holder of role `outer` may pass on role `inner`: its own role, or client. An operator may not pass on node, nor a
 * node operator. */
bool role_covers(enum role outer, enum role inner);

struct grant_rule {
  enum right right;
  unsigned line;        /* where it stands in a file; 0: in none */
  struct slice pattern; /* stored form of name_template */
};

/* What a grant is made of. */
struct grant_spec {
  struct slice name; /* at most GRANT_MAX_NAME bytes; may be empty */
  enum role role;
  uint32_t quotas[QUOTAS];
  const struct grant_rule *rules; /* in the order in which they are tried */
  size_t count;
};

struct grant;
/* MACULA_EINVAL: too many rules, or a longer name; MACULA_INVALID_TOPIC: a pattern that is not stored form; MACULA_ENOMEM. */
int grant_new(struct mem *mem, const struct grant_spec *spec, struct grant **ret_grant);
/* The same in another role. */
int grant_as(struct grant *g, enum role role, struct grant **ret_grant);
struct grant *grant_ref(struct grant *g);
void grant_unref(struct grant *g); /* accepts NULL */
/* It is of another account from now on: access_move counts it there. */
void grant_move(struct grant *g, struct mem *to);

enum role grant_role(const struct grant *g);
uint32_t grant_quota(const struct grant *g, enum quota q);
struct slice grant_name(const struct grant *g);
size_t grant_count(const struct grant *g);
/* The i-th rule, ordered by right; a view as long as the grant. */
struct grant_rule grant_rule_at(const struct grant *g, size_t i);

/* Whether the grant allows `what`, a stored topic, pattern (RIGHT_SUB) or procedure, to the client with the values `who`;
 * *ret_rule (optional): the first rule that allows it. */
bool grant_allows(const struct grant *g, enum right right, const struct name_values *who, struct slice what,
                  struct grant_rule *ret_rule);
/* The same; *cost rises by what it took beyond comparing the beginnings, in units of some 2 ns. */
bool grant_allows_for(const struct grant *g, enum right right, const struct name_values *who, struct slice what,
                      struct grant_rule *ret_rule, uint32_t *cost);

#endif
