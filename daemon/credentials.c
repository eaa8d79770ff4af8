#include "credentials.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "io/io.h"

#define MAX_PEM (256 * 1024)
#define MAX_TOKEN 4096

static int read_named(const struct config *c, enum option o, const char *path, size_t max, char **ret, size_t *ret_len,
                      char *ret_why) {
  char why[256], where[CONFIG_WHY_LEN];
  int err = io_file_read(path, max, ret, ret_len, why);
  if (!err) return 0;
  config_where(c, o, where);
  snprintf(ret_why, CONFIG_WHY_LEN, "%.200s: %.255s", where, why);
  return err;
}

/* A token is the file's text without the line's end and blanks around it. */
static int read_token(const struct config *c, enum option o, const char *path, char **ret_token, char *ret_why) {
  char *text, where[CONFIG_WHY_LEN];
  size_t len;
  int err = read_named(c, o, path, MAX_TOKEN, &text, &len, ret_why);
  if (err) return err;
  size_t skip = strspn(text, " \t\r\n"), end = strlen(text);
  while (end > skip && strchr(" \t\r\n", text[end - 1])) end--;
  if (end == skip) {
    config_where(c, o, where);
    snprintf(ret_why, CONFIG_WHY_LEN, "%.200s: %.200s holds no token: write one, as 'openssl rand -hex 32' makes", where, path);
    free(text);
    return MACULA_EINVAL;
  }
  memmove(text, text + skip, end - skip);
  text[end - skip] = 0;
  *ret_token = text;
  return 0;
}

static int load_own(const struct config *c, struct quic_identity **ret_identity, char *ret_why) {
  char *cert = NULL, *key = NULL, where[CONFIG_WHY_LEN];
  const char *text = NULL;
  size_t cert_len = 0, key_len = 0;
  int err = read_named(c, OPTION_CERT, c->cert, MAX_PEM, &cert, &cert_len, ret_why);
  if (!err && c->key) err = read_named(c, OPTION_KEY, c->key, MAX_PEM, &key, &key_len, ret_why);
  if (!err) {
    struct slice chain = slice_of(cert, cert_len);
    err = quic_identity_parse(key ? slice_of(key, key_len) : chain, chain, io_unix_ms() / 1000, ret_identity, &text);
    if (err) {
      config_where(c, OPTION_CERT, where);
      snprintf(ret_why, CONFIG_WHY_LEN, "%.200s: %.150s: %.100s", where, c->cert, text ? text : macula_err_text(err));
    }
  }
  if (key) explicit_bzero(key, key_len);
  if (cert) explicit_bzero(cert, cert_len);
  free(key);
  free(cert);
  return err;
}

static int make_identity(const char *path, struct quic_identity **ret_identity, char *ret_why) {
  struct quic_identity *i;
  char *pem, why[256];
  int err = quic_identity_generate(&i);
  if (!err && (err = quic_identity_pem(i, &pem))) quic_identity_unref(i);
  if (err) return snprintf(ret_why, CONFIG_WHY_LEN, "no identity could be made: %s", macula_err_text(err)), err;
  err = io_file_create(path, slice_str(pem), 0600, why);
  explicit_bzero(pem, strlen(pem));
  free(pem);
  if (err) {
    snprintf(ret_why, CONFIG_WHY_LEN, "%.255s", why);
    quic_identity_unref(i);
    return err;
  }
  *ret_identity = i;
  return 0;
}

static int load_kept(const struct config *c, bool make, struct credentials *ret, char *ret_why) {
  char *path, *pem, why[256];
  const char *text = NULL;
  size_t len;
  struct stat st;
  if (asprintf(&path, "%s/identity.pem", c->state) < 0) return MACULA_ENOMEM;
  int err = io_file_read(path, MAX_PEM, &pem, &len, why);
  if (err == MACULA_ENOTFOUND) {
    err = make ? make_identity(path, &ret->identity, ret_why) : 0;
  } else if (err) {
    snprintf(ret_why, CONFIG_WHY_LEN, "%.255s", why);
  } else {
    if (!stat(path, &st) && (st.st_mode & 077)) {
      snprintf(ret_why, CONFIG_WHY_LEN, "%.300s can be read by others: run 'chmod 600' on it", path);
      err = MACULA_NOT_AUTHORIZED;
    } else if ((err =
                    quic_identity_parse(slice_of(pem, len), slice_of(pem, len), io_unix_ms() / 1000, &ret->identity, &text))) {
      snprintf(ret_why, CONFIG_WHY_LEN, "%.300s: %.100s; restore it, or move it away to get a new identity", path,
               text ? text : macula_err_text(err));
    }
    explicit_bzero(pem, len);
    free(pem);
  }
  free(path);
  return err;
}

int credentials_load(const struct config *c, bool make, struct credentials *ret_credentials, char ret_why[CONFIG_WHY_LEN]) {
  struct credentials r = {0};
  size_t len;
  int err = 0;
  ret_why[0] = 0;
  if (c->ca) err = read_named(c, OPTION_CA, c->ca, MAX_PEM, &r.ca_pem, &len, ret_why);
  if (!err && c->access.mode == NODE_ACCESS_TOKEN) err = read_token(c, OPTION_ACCESS, c->access.token_file, &r.token, ret_why);
  if (!err && c->http_token) err = read_token(c, OPTION_HTTP_TOKEN, c->http_token, &r.http_token, ret_why);
  if (!err) err = c->cert ? load_own(c, &r.identity, ret_why) : load_kept(c, make, &r, ret_why);
  if (err) {
    if (!ret_why[0]) snprintf(ret_why, CONFIG_WHY_LEN, "%s", macula_err_text(err));
    credentials_done(&r);
    return err;
  }
  *ret_credentials = r;
  return 0;
}

void credentials_done(struct credentials *c) {
  quic_identity_unref(c->identity);
  if (c->token) explicit_bzero(c->token, strlen(c->token));
  if (c->http_token) explicit_bzero(c->http_token, strlen(c->http_token));
  free(c->ca_pem);
  free(c->token);
  free(c->http_token);
  *c = (struct credentials){0};
}
