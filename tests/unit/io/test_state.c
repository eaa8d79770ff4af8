/* Files of the state folder: locks, whole replacement, full disks, and two that create at once. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dirent.h>

#include <cmocka.h>

#include "base/err.h"
#include "io/io.h"

static char root[64];

static int setup(void **state) {
  (void)state;
  strcpy(root, "/tmp/macula-state-XXXXXX");
  return mkdtemp(root) ? 0 : -1;
}
static int teardown(void **state) {
  (void)state;
  char cmd[96];
  snprintf(cmd, sizeof cmd, "rm -r %s", root);
  return system(cmd);
}
static const char *in_root(const char *name) {
  static char path[2][160];
  static int i;
  i = !i;
  snprintf(path[i], sizeof path[i], "%s/%s", root, name);
  return path[i];
}
static unsigned files_in(const char *dir) {
  unsigned n = 0;
  DIR *d = opendir(dir);
  assert_non_null(d);
  while (readdir(d)) n++;
  closedir(d);
  return n - 2;
}
static void assert_content(const char *path, const char *want) {
  char *data, why[256];
  size_t len;
  assert_int_equal(io_file_read(path, 1 << 20, &data, &len, why), 0);
  assert_int_equal(len, strlen(want));
  assert_string_equal(data, want);
  free(data);
}

static void test_lock(void **state) {
  (void)state;
  char why[256] = "";
  int fd = -1, other = -1;
  const char *dir = in_root("deep/state");
  assert_int_equal(io_state_open(dir, &fd, why), 0);
  struct stat st;
  assert_int_equal(stat(dir, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0700);
  assert_int_equal(io_state_open(dir, &other, why), MACULA_EBUSY);
  assert_int_equal(other, -1);
  assert_non_null(strstr(why, "in use"));
  pid_t pid = fork();
  if (pid == 0) {
    int mine;
    _exit(io_state_open(dir, &mine, NULL) == MACULA_EBUSY ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  close(fd);
  assert_int_equal(io_state_open(dir, &fd, why), 0); /* whoever holds it and dies leaves it free */
  close(fd);
  assert_int_equal(io_file_write(in_root("plain"), slice_str("x"), 0600, why), 0);
  assert_int_not_equal(io_state_open(in_root("plain"), &fd, why), 0); /* a file is in the way */
  assert_int_not_equal(io_state_open(in_root("plain/below"), &fd, why), 0);
}

static void test_write(void **state) {
  (void)state;
  char why[256] = "";
  const char *path = in_root("f");
  assert_int_equal(io_file_write(path, slice_str("one"), 0600, why), 0);
  assert_int_equal(io_file_write(path, slice_str("two and more"), 0640, why), 0);
  assert_content(path, "two and more");
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0640);
  assert_int_equal(io_file_create(path, slice_str("three"), 0600, why), MACULA_EBUSY);
  assert_content(path, "two and more");
  assert_int_equal(files_in(root), 1); /* no temporary file stays */
  assert_int_not_equal(io_file_write(in_root("no/such"), slice_str("x"), 0600, why), 0);
  assert_true(strlen(why) > 0);
}

static void test_change(void **state) {
  (void)state;
  char why[256] = "", link[128];
  int fd = -1, other = -1;
  struct stat st;
  const char *path = in_root("real");
  snprintf(link, sizeof link, "%s/link", root);
  assert_int_equal(io_file_lock(path, false, &fd, why), MACULA_ENOTFOUND);
  assert_int_equal(io_file_change(path, slice_str("one"), 0640, why), 0);
  assert_int_equal(symlink(path, link), 0);
  assert_int_equal(geteuid() ? 0 : chown(path, 1, 2), 0);
  assert_int_equal(io_file_lock(link, false, &fd, why), 0);
  other = open(path, O_RDONLY | O_CLOEXEC);
  assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1); /* by the link or not: it is one file */
  close(other);
  assert_int_equal(io_file_change(link, slice_str("two"), 0600, why), 0);
  close(fd);
  assert_content(path, "two");
  assert_int_equal(lstat(link, &st), 0);
  assert_true(S_ISLNK(st.st_mode));
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0640);
  assert_true(geteuid() || (st.st_uid == 1 && st.st_gid == 2));
  assert_int_equal(io_file_lock(path, true, &fd, why), 0);
  close(fd);
  unlink(link);
}

static void test_no_regular_file(void **state) {
  (void)state;
  char why[256] = "", *data = NULL;
  size_t len = 0;
  const char *path = in_root("fifo");
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_int_equal(io_file_read(path, 100, &data, &len, why), MACULA_EIO); /* nobody will ever write */
  assert_non_null(strstr(why, "no regular file"));
  int writer = open(path, O_RDWR | O_CLOEXEC);
  assert_true(writer >= 0);
  assert_int_equal(io_file_read(path, 100, &data, &len, why), MACULA_EIO); /* nor when somebody could */
  close(writer);
  unlink(path);
  assert_int_equal(io_file_read("/dev/zero", 100, &data, &len, why), MACULA_EIO);
  assert_non_null(strstr(why, "no regular file"));
  assert_int_equal(io_file_read("/dev/null", 100, &data, &len, why), 0);
  assert_int_equal(len, 0);
  free(data);
}

static void test_read(void **state) {
  (void)state;
  char why[256] = "", *data = NULL;
  size_t len = 0;
  assert_int_equal(io_file_read(in_root("none"), 100, &data, &len, why), MACULA_ENOTFOUND);
  assert_int_equal(io_file_write(in_root("ten"), slice_str("0123456789"), 0600, why), 0);
  assert_int_equal(io_file_read(in_root("ten"), 9, &data, &len, why), MACULA_EIO);
  assert_null(data);
  assert_int_equal(io_file_read(in_root("ten"), 10, &data, &len, why), 0);
  assert_int_equal(len, 10);
  free(data);
  assert_int_equal(io_file_write(in_root("empty"), SLICE_NONE, 0600, why), 0);
  assert_content(in_root("empty"), "");
  assert_int_equal(io_file_read("/dev/zero", 5000, &data, &len, why), MACULA_EIO); /* without end */
  assert_int_equal(io_file_read(root, 100, &data, &len, why), MACULA_EIO);         /* a folder */
}

/* In a child process: a limit on files' size stands for a disk that fills. */
static void test_no_room(void **state) {
  (void)state;
  char why[256] = "";
  const char *path = in_root("kept");
  assert_int_equal(io_file_write(path, slice_str("old"), 0600, why), 0);
  pid_t pid = fork();
  if (pid == 0) {
    struct rlimit r = {4096, 4096};
    static char big[10000];
    memset(big, 'x', sizeof big);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &r);
    int err = io_file_write(path, slice_of(big, sizeof big), 0600, why);
    _exit(err == MACULA_EIO && why[0] ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  assert_content(path, "old");
  assert_int_equal(files_in(root), 1);
}

static void test_disk_full(void **state) {
  (void)state;
  const char *dir = in_root("small");
  assert_int_equal(mkdir(dir, 0700), 0);
  assert_int_equal(mount("none", dir, "tmpfs", 0, "size=16k"), 0); /* see may_mount */
  char path[200], why[256] = "";
  static char big[100000];
  snprintf(path, sizeof path, "%s/f", dir);
  int first = io_file_write(path, slice_str("old"), 0600, why);
  int full = io_file_write(path, slice_of(big, sizeof big), 0600, why);
  int created = io_file_create(in_root("small/g"), slice_of(big, sizeof big), 0600, NULL);
  char *data = NULL;
  size_t len = 0;
  int again = io_file_read(path, 100, &data, &len, NULL);
  unsigned n = files_in(dir);
  umount(dir);
  assert_int_equal(first, 0);
  assert_int_equal(full, MACULA_EIO);
  assert_int_equal(created, MACULA_EIO);
  assert_non_null(strstr(why, "disk is full"));
  assert_int_equal(again, 0);
  assert_string_equal(data, "old");
  assert_int_equal(n, 1);
  free(data);
}

struct racer {
  const char *path;
  char text[32];
  int err;
};
static void *race(void *arg) {
  struct racer *r = arg;
  r->err = io_file_create(r->path, slice_str(r->text), 0600, NULL);
  return NULL;
}
static void test_create_race(void **state) {
  (void)state;
  for (int round = 0; round < 20; round++) {
    char name[32];
    snprintf(name, sizeof name, "race%d", round);
    char path[160];
    snprintf(path, sizeof path, "%s", in_root(name));
    struct racer r[4];
    pthread_t t[4];
    for (int i = 0; i < 4; i++) {
      r[i].path = path;
      snprintf(r[i].text, sizeof r[i].text, "racer %d", i);
      pthread_create(&t[i], NULL, race, &r[i]);
    }
    int winner = -1;
    for (int i = 0; i < 4; i++) {
      pthread_join(t[i], NULL);
      if (r[i].err == 0) {
        assert_int_equal(winner, -1);
        winner = i;
      } else {
        assert_int_equal(r[i].err, MACULA_EBUSY);
      }
    }
    assert_int_not_equal(winner, -1);
    assert_content(path, r[winner].text);
  }
  assert_int_equal(files_in(root), 20);
}

static void tell(const char *path, const char *text) {
  int fd = open(path, O_WRONLY);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) perror(path); /* then the mount fails */
  if (fd >= 0) close(fd);
}

/* Whoever is not root is root of a namespace of its own, in which it may mount. */
static void may_mount(void) {
  char users[32], groups[32];
  snprintf(users, sizeof users, "0 %u 1", geteuid());
  snprintf(groups, sizeof groups, "0 %u 1", getegid());
  if (!geteuid() || unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return;
  tell("/proc/self/uid_map", users);
  tell("/proc/self/setgroups", "deny"); /* else no group may be mapped */
  tell("/proc/self/gid_map", groups);
}

/* What a killed process left half written goes; nothing else does. */
static void test_sweep(void **state) {
  static const char *const left[] = {"peers.tmp-a1B2c3", "list-0011.tmp-zzzzzz"};
  static const char *const kept[] = {"peers", "list-0011", "peers.backup", "other.tmp-a1B2c3", "peers.tmp-a1B2c3.old"};
  static const char *const names[] = {"peers", "list-*", NULL};
  char path[200], why[256];
  (void)state;
  assert_int_equal(mkdir(in_root("swept"), 0700), 0);
  for (size_t i = 0; i < 7; i++) {
    snprintf(path, sizeof path, "%s/%s", in_root("swept"), i < 2 ? left[i] : kept[i - 2]);
    assert_int_equal(io_file_write(path, slice_str("x"), 0600, why), 0);
  }
  io_state_sweep(in_root("swept"), names);
  io_state_sweep(in_root("nothing"), names);
  assert_int_equal(files_in(in_root("swept")), 5);
  for (size_t i = 0; i < 5; i++) {
    snprintf(path, sizeof path, "%s/%s", in_root("swept"), kept[i]);
    assert_content(path, "x");
  }
}

int main(void) {
  may_mount();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
      cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
      cmocka_unit_test_setup_teardown(test_write, setup, teardown),
      cmocka_unit_test_setup_teardown(test_change, setup, teardown),
      cmocka_unit_test_setup_teardown(test_no_regular_file, setup, teardown),
      cmocka_unit_test_setup_teardown(test_read, setup, teardown),
      cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
      cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
      cmocka_unit_test_setup_teardown(test_create_race, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
