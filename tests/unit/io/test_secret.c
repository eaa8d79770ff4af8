/* Secrets in files: what is none, who may read it, and that a file named by mistake is not to be changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "io/io.h"

static char root[64], path[160], why[256];

static int setup(void **state) {
  (void)state;
  strcpy(root, "/tmp/macula-secret-XXXXXX");
  if (!mkdtemp(root)) return -1;
  snprintf(path, sizeof path, "%s/token", root);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  unlink(path);
  return rmdir(root);
}

static void put(const void *data, size_t len, unsigned mode) {
  assert_int_equal(io_file_write(path, slice_of(data, len), mode, why), 0);
}

static void takes(const char *text, const char *want) {
  char *token;
  put(text, strlen(text), 0600);
  assert_int_equal(io_token_read(path, &token, why), 0);
  assert_string_equal(token, want);
  free(token);
}

static void refuses(const void *data, size_t len, unsigned mode, int want, const char *hint) {
  char *token = NULL;
  put(data, len, mode);
  assert_int_equal(io_token_read(path, &token, why), want);
  assert_null(token);
  if (!strstr(why, hint) || !strstr(why, path)) fail_msg("no '%s' or no path in '%s'", hint, why);
}

static void test_blanks(void **state) {
  (void)state;
  takes("sesame", "sesame");
  takes("  open sesame\t\r\n\n", "open sesame");
  takes("\n\xc3\xbc\n", "\xc3\xbc");
}

#define REFUSES(text, hint) refuses(text, sizeof(text) - 1, 0600, MACULA_EINVAL, hint)

static void test_no_token(void **state) {
  (void)state;
  REFUSES("\xff\xfes\0e\0s\0", "UTF-16");
  REFUSES("\xfe\xff\0s\0e\0s", "UTF-16");
  REFUSES("s\0e\0s\0a\0m\0e\0\r\0\n\0", "UTF-16");
  REFUSES("\0s\0e\0s\0a", "UTF-16");
  REFUSES("\xff\xfes", "UTF-16");
  REFUSES("sesame\0", "NUL");
  REFUSES("\0\0\0\0\0\0\0\0", "NUL");
  REFUSES("\xef\xbb\xbfsesame\n", "byte order mark");
  REFUSES("one\ntwo\n", "more than one line");
  REFUSES("one\rtwo", "more than one line");
  REFUSES(" \r\n\t", "macula token new");
  REFUSES("", "macula token new");
  static char big[5000];
  memset(big, 'x', sizeof big);
  refuses(big, sizeof big, 0600, MACULA_EIO, "large");
}

static int read_as(uid_t uid) {
  char *token;
  assert_int_equal(seteuid(uid), 0);
  int err = io_token_read(path, &token, why);
  assert_int_equal(seteuid(0), 0);
  if (!err) free(token);
  return err;
}

static void test_who_may_read(void **state) {
  (void)state;
  const unsigned open[] = {0644, 0604, 0620, 0602, 0666, 0777, 0640 & (geteuid() ? 0777 : 0600)};
  for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
    if (open[i] != 0600) refuses("sesame", 6, open[i], MACULA_NOT_AUTHORIZED, "chmod 600");
  takes("sesame", "sesame");
  assert_int_equal(chmod(path, 0400), 0);
  char *token;
  assert_int_equal(io_token_read(path, &token, why), 0);
  free(token);
  if (geteuid()) return; /* only root has files of others */
  assert_int_equal(chmod(root, 0755), 0);
  assert_int_equal(chmod(path, 0440), 0);
  assert_int_equal(chown(path, 0, getegid()), 0);
  assert_int_equal(read_as(0), 0);
  assert_int_equal(read_as(1000), 0); /* our group is root's here, as a cluster hands secrets to a pod's group */
  assert_int_equal(chmod(path, 0444), 0);
  assert_int_equal(read_as(1000), MACULA_NOT_AUTHORIZED);
  assert_non_null(strstr(why, "defaultMode"));
  assert_int_equal(chown(path, 1000, 1000), 0);
  assert_int_equal(chmod(path, 0600), 0);
  assert_int_equal(read_as(1000), 0);
  assert_int_equal(read_as(0), MACULA_NOT_AUTHORIZED);
  assert_non_null(strstr(why, "user 1000"));
  assert_int_equal(chmod(path, 0640), 0);
  assert_int_equal(read_as(1000), MACULA_NOT_AUTHORIZED); /* its group was nobody's choice */
}

static void test_descriptors(void **state) {
  char *token, name[32];
  int ends[2];
  (void)state;
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(write(ends[1], " sesame\n", 8), 8);
  close(ends[1]);
  snprintf(name, sizeof name, "/dev/fd/%d", ends[0]);
  assert_int_equal(io_token_read(name, &token, why), 0);
  assert_string_equal(token, "sesame");
  free(token);
  close(ends[0]);
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_int_equal(io_token_read(path, &token, why), MACULA_EIO); /* at once */
  unlink(path);
  assert_int_equal(io_token_read("/dev/zero", &token, why), MACULA_EIO);
  assert_int_equal(io_token_read(path, &token, why), MACULA_ENOTFOUND);
}

static void test_keys(void **state) {
  static const char pem[] = "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n";
  static const char plain[] = "root:x:0:0:root:/root:/bin/bash\n";
  char *text;
  size_t len;
  (void)state;
  put(pem, sizeof pem - 1, 0600);
  assert_int_equal(io_key_read(path, 1 << 20, &text, &len, why), 0);
  assert_string_equal(text, pem);
  assert_int_equal(len, sizeof pem - 1);
  free(text);
  put(pem, sizeof pem - 1, 0644);
  assert_int_equal(io_key_read(path, 1 << 20, &text, &len, why), MACULA_NOT_AUTHORIZED);
  assert_non_null(strstr(why, "chmod 600"));
  put(plain, sizeof plain - 1, 0644); /* as /etc/passwd: its mode is none of our business */
  assert_int_equal(io_key_read(path, 1 << 20, &text, &len, why), MACULA_CERTIFICATE_INVALID);
  assert_non_null(strstr(why, "no private key"));
  assert_null(strstr(why, "chmod"));
  put("-\0-\0-\0", 6, 0600);
  assert_int_equal(io_key_read(path, 1 << 20, &text, &len, why), MACULA_EINVAL);
  assert_non_null(strstr(why, "UTF-16"));
  put("a\0b", 3, 0644);
  assert_int_equal(io_text_read(path, 1 << 20, &text, &len, why), MACULA_EINVAL); /* a CA file would be cut short */
  put(plain, sizeof plain - 1, 0644);
  assert_int_equal(io_text_read(path, 1 << 20, &text, &len, why), 0);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_blanks, setup, teardown),
      cmocka_unit_test_setup_teardown(test_no_token, setup, teardown),
      cmocka_unit_test_setup_teardown(test_who_may_read, setup, teardown),
      cmocka_unit_test_setup_teardown(test_descriptors, setup, teardown),
      cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
