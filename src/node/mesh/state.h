/* What the node is as a member of the mesh, and its part in the DHT. */
#ifndef NODE_MESH_STATE_H
#define NODE_MESH_STATE_H

#include "base/addr.h"
#include "dht/dht.h"
#include "membership/membership.h"
#include "node/limits.h"

struct peer;

struct mesh_self {
  struct membership *membership;
  struct addr sockets[NODE_MAX_SOCKETS];
  size_t socket_count;
  struct addr advertise; /* the configured address; sa_family 0: none */
  struct addr self;      /* where other nodes can dial us, as far as we know; sa_family 0: nowhere */
  bool hidden;           /* nobody can dial us */
  struct peer *gateway;  /* hidden: through whom others reach us */
  bool no_upkeep;        /* links only for calls and messages */
  bool starting;         /* start.h: the other nodes are not heard yet */
  bool due;              /* frames came: what the state machines put out because of them is to be taken */
};

struct records {
  struct dht *dht;
  bool found_us; /* our neighbourhood was looked up */
};

#endif
