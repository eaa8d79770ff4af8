/* A maculad's part in a mesh beyond its node: names of nodes to join by, and the nodes known, kept in the state folder. */
#ifndef DAEMON_MESH_H
#define DAEMON_MESH_H

#include "config.h"
#include "io/io.h"

/* Files of the state folder; MESH_FILES: all of them, as shell patterns. */
#define KNOWN_FILE "peers"
#define SEQ_FILE "sequence"
#define REVOKED_PREFIX "revoked-"
#define MESH_FILES KNOWN_FILE, SEQ_FILE, REVOKED_PREFIX "*"

struct mesh;

/* Looks the names up and has the node join; reads the nodes known from the state folder. MACULA_ENOMEM. */
int mesh_start(struct io_loop *loop, struct node *node, const struct log *log, const struct config *cfg,
               struct mesh **ret_mesh);
/* From time to time: looks names up again whose node is not connected (pods change their addresses), and writes what is new. */
void mesh_upkeep(struct mesh *m);
void mesh_save(struct mesh *m);  /* the nodes known, and the sequence */
void mesh_close(struct mesh *m); /* accepts NULL */
/* Hands the node the lists of revoked passes in the state folder; those that it hears of are written there. */
void mesh_read_revoked(struct mesh *m);
/* The largest sequence of DHT records that was used from this state folder; 0: none. */
uint64_t mesh_last_seq(const struct config *cfg, const struct log *log);
/* The address to advertise: numeric, or looked up now; mesh_upkeep follows the name. MACULA_EINVAL; ret_why says what is wrong.
 */
int mesh_advertise(const char *host_port, struct addr *ret_addr, char ret_why[CONFIG_WHY_LEN]);

#endif
