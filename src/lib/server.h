/* The file of known nodes. */
#ifndef LIB_SERVER_H
#define LIB_SERVER_H

#include <sys/stat.h>

#include "base/server.h"

/* The answer of the last known_find, good while the file stays as it is: ten thousand clients of one node read it once. */
struct known_cache {
  char *path;
  char host_port[SERVER_TEXT_LEN];
  struct stat file;
  struct id id;
  unsigned line;
};
void known_cache_done(struct known_cache *k);
bool same_file(const struct stat *a, const struct stat *b); /* neither replaced nor written since */

/* Looks up the id of the node that was met at host_port. The file has lines "host:port id", blank lines and # comments; the
 * last of several entries counts. *ret_line is 0 when there is no entry or no file. MACULA_EIO and the like, with a line for
 * people in ret_why, also when any line is something else. */
int known_find(struct known_cache *k /* may be NULL */, const char *path, const char *host_port, struct id *ret_id,
               unsigned *ret_line, char ret_why[SERVER_WHY_LEN]);
/* Adds a line under the file's lock: the file is replaced whole, and on the disk when this returns. If another process was
 * faster: 0 and *ret_added false when it met the same node, else MACULA_IDENTITY_MISMATCH. */
int known_add(const char *path, const char *host_port, const struct id *id, bool *ret_added, char ret_why[SERVER_WHY_LEN]);
/* What to do when the node shows another id than that of the file's line. */
void known_mismatch_text(const char *path, const char *host_port, unsigned line, char ret_text[SERVER_WHY_LEN]);

#endif
