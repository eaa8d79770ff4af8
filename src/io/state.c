/* Files of the state folder: read and replaced whole, so that a crash or a full disk never leaves half a file. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "io/io_priv.h"

#define PATH_LEN 4096
#define TEMP ".tmp-XXXXXX" /* of mkstemp */
#define TEMP_PATTERN ".tmp-??????"

static int explain(char *why, const char *what, const char *path) {
  int e = errno, err = MACULA_EIO;
  const char *hint = strerror(e);
  if (e == ENOSPC || e == EDQUOT) hint = "the disk is full: free some space";
  if (e == EACCES || e == EPERM || e == EROFS) {
    err = MACULA_NOT_AUTHORIZED;
    hint = e == EROFS ? "the file system is read-only" : "permission denied: check the owner and the mode";
  }
  if (e == ENOENT) err = MACULA_ENOTFOUND;
  if (why) snprintf(why, 256, "cannot %s %.160s: %s", what, path, hint);
  return err;
}

static int make_folders(const char *dir) {
  char path[PATH_LEN];
  if (snprintf(path, sizeof path, "%s", dir) >= (int)sizeof path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  for (char *p = path + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    if (mkdir(path, 0700) != 0 && errno != EEXIST) return -1;
    *p = '/';
  }
  return mkdir(path, 0700) != 0 && errno != EEXIST ? -1 : 0;
}

int io_state_open(const char *dir, int *ret_lock_fd, char *ret_why) {
  char path[PATH_LEN];
  if (make_folders(dir) != 0) return explain(ret_why, "create the state folder", dir);
  if (snprintf(path, sizeof path, "%s/lock", dir) >= (int)sizeof path) {
    errno = ENAMETOOLONG;
    return explain(ret_why, "use the state folder", dir);
  }
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return explain(ret_why, "write to the state folder: create", path);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    bool busy = errno == EWOULDBLOCK;
    int err = explain(ret_why, "lock", path);
    if (busy) {
      err = MACULA_EBUSY;
      if (ret_why)
        snprintf(ret_why, 256, "the state folder %.150s is in use by another maculad: give this one its own --state", dir);
    }
    close(fd);
    return err;
  }
  *ret_lock_fd = fd;
  return 0;
}

void io_state_sweep(const char *dir, const char *const *names) {
  char pattern[128];
  DIR *d = opendir(dir);
  for (struct dirent *e; d && (e = readdir(d));)
    for (size_t i = 0; names[i]; i++) {
      snprintf(pattern, sizeof pattern, "%s" TEMP_PATTERN, names[i]);
      if (!fnmatch(pattern, e->d_name, FNM_PERIOD)) (void)unlinkat(dirfd(d), e->d_name, 0);
    }
  if (d) closedir(d);
}

static int write_all(int fd, struct slice data) {
  while (data.n) {
    ssize_t k = write(fd, data.p, data.n);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return -1;
    data.p += k;
    data.n -= (size_t)k;
  }
  return fsync(fd);
}

static void sync_folder(const char *path) {
  char dir[PATH_LEN];
  snprintf(dir, sizeof dir, "%s", path);
  char *slash = strrchr(dir, '/');
  if (slash) *slash = 0;
  int fd = open(slash ? (dir[0] ? dir : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    (void)fsync(fd);
    close(fd);
  }
}

/* Owner and group of a file that takes the place of one, where ours would be others. */
static int keep_owner(int fd, const struct stat *was) {
  struct stat now;
  if (!was || fstat(fd, &now) != 0) return was ? -1 : 0;
  return now.st_uid == was->st_uid && now.st_gid == was->st_gid ? 0 : fchown(fd, was->st_uid, was->st_gid);
}

/* was: whose owner it keeps; NULL: none. */
static int put(const char *path, struct slice data, unsigned mode, bool create, const struct stat *was, char *why) {
  char temp[PATH_LEN];
  if (snprintf(temp, sizeof temp, "%s" TEMP, path) >= (int)sizeof temp) {
    errno = ENAMETOOLONG;
    return explain(why, "write", path);
  }
  int fd = mkstemp(temp), err = 0;
  if (fd < 0) return explain(why, "write", path);
  if (keep_owner(fd, was) != 0 || fchmod(fd, (mode_t)mode) != 0 || write_all(fd, data) != 0) err = explain(why, "write", path);
  close(fd);
  if (!err && create && link(temp, path) != 0) {
    bool exists = errno == EEXIST;
    err = explain(why, "create", path);
    if (exists) err = MACULA_EBUSY;
  }
  if (!err && !create && rename(temp, path) != 0) err = explain(why, "replace", path);
  if (err || create) unlink(temp);
  if (!err) sync_folder(path);
  return err;
}

int io_file_write(const char *path, struct slice data, unsigned mode, char *ret_why) {
  return put(path, data, mode, false, NULL, ret_why);
}
int io_file_create(const char *path, struct slice data, unsigned mode, char *ret_why) {
  return put(path, data, mode, true, NULL, ret_why);
}

int io_file_change(const char *path, struct slice data, unsigned mode, char *ret_why) {
  struct stat st;
  char *real = realpath(path, NULL); /* a link stays one */
  bool there = real && stat(real, &st) == 0;
  int err = there ? put(real, data, st.st_mode & 0777, false, &st, ret_why) : put(path, data, mode, false, NULL, ret_why);
  free(real);
  return err;
}

/* The file is replaced, not written to, so its lock counts only while it is still the one at the path. */
int io_file_lock(const char *path, bool create, int *ret_fd, char *ret_why) {
  for (;;) {
    struct stat held, there;
    int fd = open(path, O_CLOEXEC | (create ? O_RDWR | O_CREAT : O_RDONLY | O_NONBLOCK), 0600);
    if (fd < 0) return explain(ret_why, "lock", path);
    while (flock(fd, LOCK_EX) != 0)
      if (errno != EINTR) {
        int err = explain(ret_why, "lock", path);
        close(fd);
        return err;
      }
    *ret_fd = fd;
    if (!fstat(fd, &held) && !stat(path, &there) && there.st_dev == held.st_dev && there.st_ino == held.st_ino) return 0;
    close(fd); /* another process replaced it meanwhile */
  }
}

/* Names of descriptors, as a shell gives for <(COMMAND), are waited for: whoever writes is there already. */
bool names_descriptor(const char *path) {
  static const char *const begins[] = {"/dev/stdin", "/dev/fd/", "/dev/null", "/proc/self/fd/"};
  for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++)
    if (!strncmp(path, begins[i], strlen(begins[i]))) return true;
  return false;
}

int file_read(const char *path, size_t max, struct stat *ret_st, char **ret_data, size_t *ret_len, char *ret_why) {
  bool waits = names_descriptor(path);
  struct stat st;
  size_t len = 0, cap = 4096;
  char *buf = NULL;
  int err = 0;
  /* A FIFO that nobody writes to would hold up the start for ever. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | (waits ? 0 : O_NONBLOCK));
  if (fd < 0 && errno != ENXIO) return explain(ret_why, "read", path);
  if (fd < 0 || fstat(fd, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !waits)) {
    if (fd >= 0) close(fd);
    if (ret_why)
      snprintf(ret_why, 256, "cannot read %.140s: it is no regular file: put a file there, or name /dev/stdin", path);
    return MACULA_EIO;
  }
  if (S_ISREG(st.st_mode) && st.st_size > 0) cap = (size_t)st.st_size + 1;
  if (cap > max + 1) cap = max + 1;
  if (!(buf = malloc(cap + 1))) err = MACULA_ENOMEM;
  while (!err) {
    ssize_t k = read(fd, buf + len, cap - len);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) err = explain(ret_why, "read", path);
    if (k <= 0) break;
    len += (size_t)k;
    if (len > max) {
      errno = EFBIG;
      err = explain(ret_why, "read", path);
    } else if (len == cap) {
      size_t more = cap * 2 > max + 1 ? max + 1 : cap * 2;
      char *p = realloc(buf, more + 1);
      if (!p) err = MACULA_ENOMEM;
      if (p) buf = p, cap = more;
    }
  }
  close(fd);
  if (err) {
    free(buf);
    return err;
  }
  buf[len] = 0;
  *ret_st = st;
  *ret_data = buf;
  *ret_len = len;
  return 0;
}

int io_file_read(const char *path, size_t max, char **ret_data, size_t *ret_len, char *ret_why) {
  struct stat st;
  return file_read(path, max, &st, ret_data, ret_len, ret_why);
}
