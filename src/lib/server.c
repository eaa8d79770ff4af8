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

int server_parse(const char *text, struct server *ret_server) {
  static const char scheme[] = "macula://";
  struct server s = {0};
  if (strncmp(text, scheme, sizeof scheme - 1) == 0) {
    text += sizeof scheme - 1;
    const char *at = strchr(text, '@');
    if (at) {
      if (id_parse(slice_of(text, (size_t)(at - text)), &s.pin)) return MACULA_EINVAL;
      s.pinned = true;
      text = at + 1;
    }
  }
  size_t len = strlen(text);
  if (len && text[len - 1] == '/') len--;
  if (!len || len > 253 + 8) return MACULA_EINVAL;
  char copy[SERVER_TEXT_LEN];
  memcpy(copy, text, len);
  copy[len] = 0;
  struct addr a;
  if (addr_parse(copy, DEFAULT_PORT, &a) == 0) {
    if (!addr_port(&a)) return MACULA_EINVAL;
    addr_text(&a, s.host_port);
    *ret_server = s;
    return 0;
  }
  if (strpbrk(copy, "[]/@ \t\r\n#")) return MACULA_EINVAL;
  char *colon = strchr(copy, ':');
  unsigned long port = DEFAULT_PORT;
  if (colon) {
    char *end;
    if (colon[1] < '0' || colon[1] > '9') return MACULA_EINVAL;
    port = strtoul(colon + 1, &end, 10);
    if (*end || port == 0 || port > 65535) return MACULA_EINVAL;
    *colon = 0;
  }
  if (!copy[0] || strlen(copy) > 253) return MACULA_EINVAL;
  snprintf(s.host_port, sizeof s.host_port, "%.253s:%lu", copy, port);
  *ret_server = s;
  return 0;
}

static void scan(const char *text, const char *host_port, struct id *ret_id, unsigned *ret_line) {
  size_t key = strlen(host_port);
  unsigned line = 0;
  *ret_line = 0;
  for (const char *p = text; *p;) {
    const char *end = strchrnul(p, '\n');
    line++;
    if (*p != '#' && (size_t)(end - p) > key && memcmp(p, host_port, key) == 0 && p[key] == ' ') {
      const char *id = p + key, *stop = end;
      while (*id == ' ') id++;
      while (stop > id && (stop[-1] == '\r' || stop[-1] == ' ')) stop--;
      if (id_parse(slice_of(id, (size_t)(stop - id)), ret_id) == 0) *ret_line = line;
    }
    p = *end ? end + 1 : end;
  }
}

void known_cache_done(struct known_cache *k) {
  free(k->path);
  k->path = NULL;
}

static bool same_file(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
         a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int known_find(struct known_cache *k, const char *path, const char *host_port, struct id *ret_id, unsigned *ret_line,
               char ret_why[SERVER_WHY_LEN]) {
  struct stat st;
  char *text;
  size_t len;
  *ret_line = 0;
  bool is_there = stat(path, &st) == 0; /* before reading: what changes in between is read again next time */
  if (k && k->path && is_there && same_file(&st, &k->file) && !strcmp(k->path, path) && !strcmp(k->host_port, host_port)) {
    *ret_id = k->id;
    *ret_line = k->line;
    return 0;
  }
  int err = io_file_read(path, KNOWN_MAX, &text, &len, ret_why);
  if (err == MACULA_ENOTFOUND) return 0;
  if (err) return err;
  scan(text, host_port, ret_id, ret_line);
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
  snprintf(
      ret_text, SERVER_WHY_LEN,
      "the node at %.200s has another identity than before; if that is expected, delete line %u of %.300s, else someone may "
      "be in between",
      host_port, line, path);
}

static int write_all(int fd, const char *p, size_t n) {
  while (n) {
    ssize_t w = write(fd, p, n);
    if (w < 0 && errno == EINTR) continue;
    if (w <= 0) return MACULA_EIO;
    p += w;
    n -= (size_t)w;
  }
  return 0;
}

int known_add(const char *path, const char *host_port, const struct id *id, char ret_why[SERVER_WHY_LEN]) {
  struct id met;
  unsigned line;
  int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600), err;
  if (fd < 0 || flock(fd, LOCK_EX)) {
    snprintf(ret_why, SERVER_WHY_LEN, "%.300s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    return MACULA_EIO;
  }
  err = known_find(NULL, path, host_port, &met, &line, ret_why);
  if (!err && line) {
    if (!id_eq(&met, id)) {
      known_mismatch_text(path, host_port, line, ret_why);
      err = MACULA_IDENTITY_MISMATCH;
    }
  } else if (!err) {
    char text[SERVER_TEXT_LEN + ID_HEX_LEN + 4], hex[ID_HEX_LEN + 1], last;
    id_hex(id, hex);
    off_t end = lseek(fd, 0, SEEK_END);
    bool torn = end > 0 && pread(fd, &last, 1, end - 1) == 1 && last != '\n';
    int n = snprintf(text, sizeof text, "%s%s %s\n", torn ? "\n" : "", host_port, hex);
    if ((err = write_all(fd, text, (size_t)n))) snprintf(ret_why, SERVER_WHY_LEN, "%.300s: %s", path, strerror(errno));
  }
  close(fd);
  return err;
}
