/* What a node does as a member of the mesh: its own address, who else is there, and where things are. */
#include "base/err.h"
#include "node/internal.h"

/* Where we can be dialled: the user's word, else the address that we listen on, else the one that peers see, with our port. */
void mesh_observed(struct node *n, const struct addr *seen, const struct addr *local) {
  struct addr self = {0};
  if (n->hidden) return;
  if (n->advertise.sa.sa_family)
    self = n->advertise;
  else if (n->socket_count && !addr_is_any(&n->sockets[0]))
    self = n->sockets[0];
  else if (seen && local && local->sa.sa_family == seen->sa.sa_family) {
    self = *seen;
    addr_set_port(&self, addr_port(local));
  }
  if (self.sa.sa_family && !addr_eq(&self, &n->self)) n->self = self;
}

void mesh_link_up(struct peer *p) { (void)p; }
void mesh_link_down(struct peer *p, bool dead) { (void)p, (void)dead; }

void mesh_frame(struct peer *p, uint8_t type, struct slice payload) {
  (void)type, (void)payload;
  p->node->stats.ignored_frames++;
}

void mesh_unsent(struct peer *p, uint64_t query) { (void)p, (void)query; }
