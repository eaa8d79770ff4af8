/* Who published and called, as the node says: it announces what a number stands for before it uses it. A connection has 256
 * slots for publishers and as many for callers; an announcement replaces what its slot (number mod 256) held. */
#include "base/principal.h"
#include "client/internal.h"

struct known { /* a principal as the user is given it */
  uint64_t number;
  macula_principal_kind kind;
  char node[ID_HEX_LEN + 1], name[]; /* NUL-terminated */
};
struct client_origins {
  struct known *slot[ANNOUNCE_SLOTS]; /* NULL: nothing was announced */
};

static const macula_principal unknown = {MACULA_PRINCIPAL_UNKNOWN, "", ""};

static struct known *known_new(struct mem *mem, const struct msg_announce *m, const struct principal_name *p) {
  char name[PRINCIPAL_TEXT_LEN];
  principal_text(p, name);
  size_t len = strlen(name);
  struct known *k = mem_alloc(mem, sizeof *k + len + 1);
  if (!k) return NULL;
  k->number = m->number;
  k->kind = (macula_principal_kind)p->kind;
  hex_encode(m->node.p, ID_LEN, k->node);
  memcpy(k->name, name, len + 1);
  return k;
}

bool client_announced(struct client *c, const struct msg_announce *m) {
  struct mem *mem = c->hub->mem;
  struct principal_name p;
  if (m->kind != ANNOUNCE_PUBLISHER && m->kind != ANNOUNCE_CALLER) return true; /* of a later version */
  if (m->node.n != ID_LEN || principal_read(m->principal, &p)) {
    client_lost(c, MACULA_BAD_FRAME, slice_str("the node announced a publisher or caller without a name that can be"));
    return false;
  }
  struct client_origins **o = &c->origins[m->kind == ANNOUNCE_PUBLISHER];
  if (!*o) *o = mem_calloc(mem, 1, sizeof **o);
  struct known **slot = *o ? &(*o)->slot[m->number % ANNOUNCE_SLOTS] : NULL, *k = slot ? known_new(mem, m, &p) : NULL;
  if (slot) mem_free(mem, *slot);
  if (slot) *slot = k;
  if (!k) c->origins_short = true; /* what was announced since is not known */
  return true;
}

bool client_origin(struct client *c, bool publisher, const struct msg_origin *m, macula_principal *ret_principal) {
  const struct client_origins *o = c->origins[publisher];
  const struct known *k = o && m->number ? o->slot[m->number % ANNOUNCE_SLOTS] : NULL;
  *ret_principal = unknown;
  if (!m->number) return true;
  if (k && k->number == m->number) {
    if (k->kind) *ret_principal = (macula_principal){k->kind, k->name, k->node};
    return true;
  }
  if (c->origins_short) return true;
  client_lost(c, MACULA_BAD_FRAME,
              slice_str(publisher ? "the node named a publisher by a number that it had not announced"
                                  : "the node named a caller by a number that it had not announced"));
  return false;
}

void client_forget_origins(struct client *c) {
  for (int i = 0; i < 2; i++) {
    for (unsigned k = 0; c->origins[i] && k < ANNOUNCE_SLOTS; k++) mem_free(c->hub->mem, c->origins[i]->slot[k]);
    mem_free(c->hub->mem, c->origins[i]);
    c->origins[i] = NULL;
  }
  c->origins_short = false;
}
