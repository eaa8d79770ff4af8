#include "lib/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/err.h"
#include "io/io.h"

#define KNOWN_MAX (4u << 20)

/* Finds the last entry for host_port. A line that is not an entry is an error, since the file is then not one that we wrote:
 * ignoring the line might make a node that was met before look like a new one. */
static unsigned scan(const char *text, const char *host_port, struct id *ret_id, unsigned *ret_line) {
  size_t key = strlen(host_port);
  unsigned line = 0;
  *ret_line = 0;
  for (const char *p = text; *p;) {
    const char *end = strchrnul(p, '\n'), *stop = end;
    struct id id;
    line++;
    while (stop > p && (stop[-1] == '\r' || stop[-1] == ' ')) stop--;
    if (*p != '#' && stop > p) {
      const char *gap = memchr(p, ' ', (size_t)(stop - p)), *from = gap;
      while (from && *from == ' ') from++;
      if (!from || gap == p || !strncmp(p, "\xef\xbb\xbf", 3) || id_parse(slice_of(from, (size_t)(stop - from)), &id))
        return line;
      if ((size_t)(gap - p) == key && strncasecmp(p, host_port, key) == 0) {
        *ret_id = id;
        *ret_line = line;
      }
    }
    p = *end ? end + 1 : end;
  }
  return 0;
}

/* *ret_text: the whole file, "" when there is none; to be freed. */
static int read_known(const char *path, const char *host_port, struct id *ret_id, unsigned *ret_line, char **ret_text,
                      char *ret_why) {
  char *text;
  size_t len;
  *ret_line = 0;
  int err = io_file_read(path, KNOWN_MAX, &text, &len, ret_why);
  if (err == MACULA_ENOTFOUND) return (*ret_text = strdup("")) ? 0 : MACULA_ENOMEM;
  if (err) return err;
  const char *nul = memchr(text, 0, len);
  unsigned bad = scan(text, host_port, ret_id, ret_line);
  if (nul && !bad) {
    bad = 1;
    for (const char *p = text; p < nul; p++) bad += *p == '\n';
  }
  if (bad) {
    snprintf(ret_why, SERVER_WHY_LEN,
             "line %u of %.300s is no 'HOST:PORT ID'%s: who the nodes are cannot be checked; delete that line, or the file to "
             "trust them anew",
             bad, path, nul ? " (it holds NUL bytes, as after a power cut)" : "");
    free(text);
    *ret_line = 0;
    return MACULA_EIO;
  }
  *ret_text = text;
  return 0;
}

void known_cache_done(struct known_cache *k) {
  free(k->path);
  k->path = NULL;
}

bool same_file(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
         a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int known_find(struct known_cache *k, const char *path, const char *host_port, struct id *ret_id, unsigned *ret_line,
               char ret_why[SERVER_WHY_LEN]) {
  struct stat st;
  char *text;
  *ret_line = 0;
  bool is_there = stat(path, &st) == 0; /* before reading: what changes in between is read again next time */
  if (k && k->path && is_there && same_file(&st, &k->file) && !strcmp(k->path, path) && !strcasecmp(k->host_port, host_port)) {
    *ret_id = k->id;
    *ret_line = k->line;
    return 0;
  }
  int err = read_known(path, host_port, ret_id, ret_line, &text, ret_why);
  if (err) return err;
  free(text);
  if (!k || !is_there || !*ret_line) return 0;
  known_cache_done(k);
  if (!(k->path = strdup(path))) return 0;
  snprintf(k->host_port, sizeof k->host_port, "%s", host_port);
  k->file = st;
  k->id = *ret_id;
  k->line = *ret_line;
  return 0;
}

void known_mismatch_text(const char *path, const char *host_port, unsigned line, char ret_text[SERVER_WHY_LEN]) {
  snprintf(ret_text, SERVER_WHY_LEN,
           "the node at %.160s has another identity than before; if that is expected, delete line %u of %.300s (`macula known "
           "forget "
           "%.160s`), else someone may be in between",
           host_port, line, path, host_port);
}

static int append(const char *path, const char *old, const char *host_port, const struct id *id, char *ret_why) {
  char hex[ID_HEX_LEN + 1], *text, why[256] = "";
  size_t len = strlen(old);
  id_hex(id, hex);
  int n = asprintf(&text, "%s%s%s %s\n", old, len && old[len - 1] != '\n' ? "\n" : "", host_port, hex);
  if (n < 0) return MACULA_ENOMEM;
  int err = 0;
  if ((size_t)n > KNOWN_MAX) {
    snprintf(why, sizeof why, "%.150s is full: delete lines of nodes that are no more", path);
    err = MACULA_EFULL;
  } else {
    err = io_file_change(path, slice_of(text, (size_t)n), 0600, why);
  }
  if (err) snprintf(ret_why, SERVER_WHY_LEN, "%.255s", why);
  free(text);
  return err;
}

int known_add(const char *path, const char *host_port, const struct id *id, bool *ret_added, char ret_why[SERVER_WHY_LEN]) {
  struct id met;
  unsigned line;
  char *text = NULL;
  int fd, err = io_file_lock(path, true, &fd, ret_why);
  if (err) return err;
  err = read_known(path, host_port, &met, &line, &text, ret_why);
  if (!err && line && !id_eq(&met, id)) {
    known_mismatch_text(path, host_port, line, ret_why);
    err = MACULA_IDENTITY_MISMATCH;
  } else if (!err && !line) {
    err = append(path, text, host_port, id, ret_why);
  }
  *ret_added = !err && !line;
  free(text);
  close(fd);
  return err;
}
