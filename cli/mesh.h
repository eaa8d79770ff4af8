/* Questions to every node of the mesh at once, through the one that is connected. */
#ifndef CLI_MESH_H
#define CLI_MESH_H

#include "cli.h"

struct mesh_node {
  char id[MACULA_ID_LEN + 1], name[80];
  bool own;        /* the one that is connected */
  json_t *answer;  /* of the last question: an object, or all rows of a list; NULL: there was none */
  int err;         /* then why, */
  char text[256];  /* and more about it */
  json_int_t more; /* rows of the list that were not asked for */
};
struct mesh {
  struct mesh_node *v;
  size_t count;
};

/* The nodes that are known to be in the mesh, the one that is connected first. Returns an exit code, its error printed. */
int mesh_find(struct cli *cli, struct mesh *ret);
/* Those of which rows tell: an array of objects with "id" and "name". */
void mesh_of(struct mesh *ret, json_t *rows);
void mesh_done(struct mesh *m);

/* Asks all of them com.macula.node.<what>, each with its answer or error in the end. args: an object, taken over; list: the key
 * of the rows, NULL: the answer is no list; most: rows of each node at most. Returns an exit code, its error printed: that some
 * did not answer is none. */
int mesh_ask(struct cli *cli, struct mesh *m, const char *what, json_t *args, const char *list, size_t most);
/* All rows of the last list, each with "node" and "node_name"; to be freed. */
json_t *mesh_rows(const struct mesh *m);
/* {"id", "name"} of each, and "error", "message" of those that did not answer; to be freed. */
json_t *mesh_nodes_json(const struct mesh *m);
/* Names those that did not answer on stderr; whether all did. */
bool mesh_say_missing(const struct mesh *m);

#endif
