/* The file of known nodes: what is no entry is refused and never grows, what is added is there whole. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "io/io.h"
#include "lib/server.h"

#define AT "127.0.0.1:9443"
#define ID "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"

static bool added;
static char root[64], path[160], why[SERVER_WHY_LEN];
static struct id node;

static int setup(void **state) {
  (void)state;
  strcpy(root, "/tmp/macula-known-XXXXXX");
  if (!mkdtemp(root)) return -1;
  snprintf(path, sizeof path, "%s/known_nodes", root);
  return id_parse(slice_str(ID), &node);
}
static int teardown(void **state) {
  char cmd[96];
  (void)state;
  snprintf(cmd, sizeof cmd, "rm -r %s", root);
  return system(cmd);
}

static void put(const char *data, size_t len) { assert_int_equal(io_file_write(path, slice_of(data, len), 0600, why), 0); }

static void assert_content(const char *want, size_t want_len) {
  char *data;
  size_t len;
  assert_int_equal(io_file_read(path, 1 << 23, &data, &len, why), 0);
  assert_int_equal(len, want_len);
  assert_memory_equal(data, want, len);
  free(data);
}

static void refused(const char *data, size_t len, const char *hint) {
  struct id met;
  unsigned line = 7;
  put(data, len);
  assert_int_equal(known_find(NULL, path, AT, &met, &line, why), MACULA_EIO);
  assert_int_equal(line, 0);
  if (!strstr(why, hint) || !strstr(why, path)) fail_msg("no '%s' or no path in '%s'", hint, why);
  assert_int_equal(known_add(path, AT, &node, &added, why), MACULA_EIO);
  assert_non_null(strstr(why, hint));
  assert_content(data, len);
}
#define REFUSED(data, hint) refused(data, sizeof(data) - 1, hint)

static void test_garbage(void **state) {
  (void)state;
  REFUSED("\0\0\0\0\0\0\0\0", "line 1 of");
  REFUSED(AT " " ID "\n\0\0\0\0\0\0", "line 2 of");
  REFUSED("a:1 " ID "\n" AT " 3b6a27bc\0\0\0\0\n" AT " " ID "\n", "line 2 of");
  REFUSED("# a note\n\0" AT " " ID "\n", "NUL");
  REFUSED("# a note\0\n" AT " " ID "\n", "line 1 of");
  REFUSED(AT "\n", "line 1 of");
  REFUSED(AT " " ID " and more\n", "line 1 of");
  REFUSED("a:1 " ID "\n\nb:1 3b6a27bc\n", "line 3 of"); /* also that of another node: it is not what was written */
  REFUSED("\xff\xfe"
          "1\0",
          "line 1 of");
  REFUSED("\xef\xbb\xbf" AT " " ID "\n", "line 1 of"); /* a byte order mark, which no editor shows: the host's name has it */
}

static void test_entries(void **state) {
  struct id met;
  unsigned line;
  (void)state;
  assert_int_equal(known_find(NULL, path, AT, &met, &line, why), 0);
  assert_int_equal(line, 0);
  static const char text[] = "# mine\r\n\nb:1  " ID " \r\n   \n";
  put(text, sizeof text - 1);
  assert_int_equal(known_find(NULL, path, "b:1", &met, &line, why), 0);
  assert_int_equal(line, 3);
  assert_true(id_eq(&met, &node));
  assert_int_equal(known_find(NULL, path, AT, &met, &line, why), 0);
  assert_int_equal(line, 0);
  put("b:1 " ID, 68); /* without its end */
  assert_int_equal(known_add(path, AT, &node, &added, why), 0);
  assert_true(added);
  assert_int_equal(known_add(path, AT, &node, &added, why), 0); /* is there */
  assert_false(added);
  assert_content("b:1 " ID "\n" AT " " ID "\n", 69 + 80);
  node.b[0] ^= 1;
  assert_int_equal(known_add(path, AT, &node, &added, why), MACULA_IDENTITY_MISMATCH);
  assert_non_null(strstr(why, "delete line 2 of"));
}

/* Whole or not at all: neither a full disk nor a crash leaves half a line, since the file is replaced. */
static void test_replaced(void **state) {
  struct stat before, after;
  char link[200];
  (void)state;
  assert_int_equal(known_add(path, "a:1", &node, &added, why), 0);
  snprintf(link, sizeof link, "%s/link", root);
  assert_int_equal(symlink(path, link), 0);
  assert_int_equal(chmod(path, 0640), 0);
  int kept = open(path, O_RDONLY | O_CLOEXEC);
  assert_int_equal(fstat(kept, &before), 0);
  assert_int_equal(known_add(link, AT, &node, &added, why), 0);
  assert_int_equal(lstat(path, &after), 0);
  assert_true(S_ISREG(after.st_mode));
  assert_int_equal(after.st_mode & 0777, 0640);
  assert_int_not_equal(before.st_ino, after.st_ino);
  assert_int_equal(lstat(link, &after), 0);
  assert_true(S_ISLNK(after.st_mode));
  close(kept);
  pid_t pid = fork();
  if (pid == 0) {
    struct rlimit r = {100, 100};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &r);
    _exit(known_add(path, "c:1", &node, &added, why) == MACULA_EIO && strstr(why, "known_nodes") ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  assert_content("a:1 " ID "\n" AT " " ID "\n", 69 + 80);
}

/* Many at once: each replaces the file, and none loses another's line. */
static void *add_some(void *ctx) {
  char text[SERVER_WHY_LEN];
  bool was_added;
  for (int i = 0; i < 20; i++) {
    char at[32];
    snprintf(at, sizeof at, "h%d:%d", *(int *)ctx, i + 1);
    if (known_add(path, at, &node, &was_added, text)) return ctx;
  }
  return NULL;
}
static void test_at_once(void **state) {
  pthread_t t[4];
  int number[4];
  char at[32];
  struct id met;
  unsigned line;
  (void)state;
  for (int i = 0; i < 4; i++) {
    number[i] = i;
    assert_int_equal(pthread_create(&t[i], NULL, add_some, &number[i]), 0);
  }
  for (int i = 0; i < 4; i++) {
    void *failed;
    pthread_join(t[i], &failed);
    assert_null(failed);
  }
  for (int i = 0; i < 80; i++) {
    snprintf(at, sizeof at, "h%d:%d", i / 20, i % 20 + 1);
    assert_int_equal(known_find(NULL, path, at, &met, &line, why), 0);
    assert_int_not_equal(line, 0);
  }
}

static void test_full(void **state) {
  static char big[4 << 20];
  (void)state;
  memset(big, '#', sizeof big);
  for (size_t i = 100; i < sizeof big; i += 100) big[i] = '\n';
  put(big, sizeof big);
  assert_int_equal(known_add(path, AT, &node, &added, why), MACULA_EFULL);
  assert_non_null(strstr(why, "full"));
  assert_content(big, sizeof big);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
      cmocka_unit_test_setup_teardown(test_entries, setup, teardown),
      cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
      cmocka_unit_test_setup_teardown(test_at_once, setup, teardown),
      cmocka_unit_test_setup_teardown(test_full, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
