/* Texts and secrets in files. What is in the file is looked at before who may read it: nobody is told to change the mode of a
 * file that was named by mistake. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "io/io_priv.h"

#define MAX_TOKEN 4096
#define BLANKS " \t\r\n"

static int refuse(int err, char *why, const char *path, const char *text) {
  if (why) snprintf(why, 256, "%.120s %s", path, text);
  return err;
}

static void drop(char *text, size_t len) {
  explicit_bzero(text, len);
  free(text);
}

/* NULL: a text. Of UTF-16, as PowerShell writes it, a mark at the beginning or the NUL bytes tell. */
static const char *no_text(const char *data, size_t len) {
  bool marked = len >= 2 && (!memcmp(data, "\xff\xfe", 2) || !memcmp(data, "\xfe\xff", 2));
  const char *nul = memchr(data, 0, len);
  bool wide = nul && len >= 4 && !(len & 1) && (!data[0] != !data[1]) && (!data[2] != !data[3]);
  if (marked || wide)
    return "is UTF-16: write it as UTF-8, in PowerShell with 'Set-Content -Encoding ascii', else with 'iconv -f UTF-16'";
  if (nul) return "holds NUL bytes, as after a power cut: write it again";
  if (len >= 3 && !memcmp(data, "\xef\xbb\xbf", 3))
    return "begins with a byte order mark: write it without, in PowerShell with 'Set-Content -Encoding ascii'";
  return NULL;
}

static int read_text(const char *path, size_t max, struct stat *ret_st, char **ret_text, size_t *ret_len, char *why) {
  char *data;
  size_t len;
  int err = file_read(path, max, ret_st, &data, &len, why);
  if (err) return err;
  const char *wrong = no_text(data, len);
  if (wrong) {
    drop(data, len);
    return refuse(MACULA_EINVAL, why, path, wrong);
  }
  *ret_text = data;
  *ret_len = len;
  return 0;
}

/* Whether a secret is one: only its owner reads it, who is root or we, or the group that root chose. */
static int check_private(const char *path, const struct stat *st, char *why) {
  uid_t us = geteuid();
  if (!S_ISREG(st->st_mode) || names_descriptor(path)) return 0;
  if (st->st_uid != us && st->st_uid != 0) {
    if (why)
      snprintf(why, 256, "%.120s belongs to user %u, who may change it: take a copy of your own, or run 'chown %u' on it", path,
               (unsigned)st->st_uid, (unsigned)us);
    return MACULA_NOT_AUTHORIZED;
  }
  if (!(st->st_mode & (st->st_uid == 0 ? 027 : 077))) return 0;
  if (st->st_uid == us) return refuse(MACULA_NOT_AUTHORIZED, why, path, "can be read by others: run 'chmod 600' on it");
  return refuse(MACULA_NOT_AUTHORIZED, why, path,
                "can be read by others: give it mode 0440 and a group of yours (Kubernetes: defaultMode and fsGroup)");
}

int io_private_check(const char *path, char *ret_why) {
  struct stat st;
  return stat(path, &st) ? refuse(MACULA_EIO, ret_why, path, "cannot be looked at") : check_private(path, &st, ret_why);
}

int io_text_read(const char *path, size_t max, char **ret_text, size_t *ret_len, char *ret_why) {
  struct stat st;
  return read_text(path, max, &st, ret_text, ret_len, ret_why);
}

int io_key_read(const char *path, size_t max, char **ret_text, size_t *ret_len, char *ret_why) {
  struct stat st;
  char *text;
  size_t len;
  int err = read_text(path, max, &st, &text, &len, ret_why);
  if (err) return err;
  if (!strstr(text, "PRIVATE KEY-----"))
    err = refuse(MACULA_CERTIFICATE_INVALID, ret_why, path, "holds no private key: a PEM file is wanted");
  else
    err = check_private(path, &st, ret_why);
  if (err) {
    drop(text, len);
    return err;
  }
  *ret_text = text;
  *ret_len = len;
  return 0;
}

int io_token_read(const char *path, char **ret_token, char *ret_why) {
  struct stat st;
  char *text;
  size_t len;
  int err = read_text(path, MAX_TOKEN, &st, &text, &len, ret_why);
  if (err) return err;
  size_t skip = strspn(text, BLANKS), end = len;
  while (end > skip && strchr(BLANKS, text[end - 1])) end--;
  if (end == skip)
    err = refuse(MACULA_EINVAL, ret_why, path, "holds no token: write one, as 'macula token new' makes");
  else if (skip + strcspn(text + skip, "\r\n") < end)
    err = refuse(MACULA_EINVAL, ret_why, path, "holds more than one line: a token is one line");
  else
    err = check_private(path, &st, ret_why);
  if (err) {
    drop(text, len);
    return err;
  }
  memmove(text, text + skip, end - skip);
  explicit_bzero(text + (end - skip), len - (end - skip));
  *ret_token = text;
  return 0;
}
