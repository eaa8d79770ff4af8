#include "credentials.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "io/io.h"
#include "trust/crypto.h"

#define MAX_PEM (256 * 1024)

static int named(const struct config *c, enum option o, int err, const char *why, char *ret_why) {
  char where[CONFIG_WHY_LEN];
  if (!err) return 0;
  config_where(c, o, where);
  snprintf(ret_why, CONFIG_WHY_LEN, "%.200s: %.255s", where, why);
  return err;
}

static int read_text(const struct config *c, enum option o, const char *path, char **ret, size_t *ret_len, char *ret_why) {
  char why[256] = "";
  return named(c, o, io_text_read(path, MAX_PEM, ret, ret_len, why), why, ret_why);
}

static int read_key(const struct config *c, enum option o, const char *path, char **ret, size_t *ret_len, char *ret_why) {
  char why[256] = "";
  return named(c, o, io_key_read(path, MAX_PEM, ret, ret_len, why), why, ret_why);
}

static int read_token(const struct config *c, enum option o, const char *path, char **ret_token, char *ret_why) {
  char why[256] = "";
  return named(c, o, io_token_read(path, ret_token, why), why, ret_why);
}

static int load_own(const struct config *c, struct quic_identity **ret_identity, char *ret_why) {
  char *cert = NULL, *key = NULL, where[CONFIG_WHY_LEN];
  const char *text = NULL;
  size_t cert_len = 0, key_len = 0;
  int err = (c->key ? read_text : read_key)(c, OPTION_CERT, c->cert, &cert, &cert_len, ret_why);
  if (!err && c->key) err = read_key(c, OPTION_KEY, c->key, &key, &key_len, ret_why);
  if (!err) {
    struct slice chain = slice_of(cert, cert_len);
    err = quic_identity_parse(key ? slice_of(key, key_len) : chain, chain, io_unix_ms() / 1000, ret_identity, &text);
    if (err) {
      config_where(c, OPTION_CERT, where);
      snprintf(ret_why, CONFIG_WHY_LEN, "%.100s: %.100s: %.300s", where, c->cert, text ? text : macula_err_text(err));
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
  if (asprintf(&path, "%s/" IDENTITY_FILE, c->state) < 0) return MACULA_ENOMEM;
  int err = io_key_read(path, MAX_PEM, &pem, &len, why);
  if (err == MACULA_ENOTFOUND) {
    err = make ? make_identity(path, &ret->identity, ret_why) : 0;
  } else if (err) {
    bool broken = err == MACULA_EINVAL || err == MACULA_CERTIFICATE_INVALID;
    snprintf(ret_why, CONFIG_WHY_LEN, "%.255s%s", why, broken ? "; restore it, or move it away to get a new identity" : "");
  } else {
    err = quic_identity_parse(slice_of(pem, len), slice_of(pem, len), io_unix_ms() / 1000, &ret->identity, &text);
    if (err)
      snprintf(ret_why, CONFIG_WHY_LEN, "%.120s: %.300s; restore it, or move it away to get a new identity", path,
               text ? text : macula_err_text(err));
    explicit_bzero(pem, len);
    free(pem);
  }
  free(path);
  return err;
}

static int read_token_of(void *ctx, const char *path, char **ret_token, char ret_why[256]) {
  (void)ctx;
  return io_token_read(path, ret_token, ret_why);
}

static int load_access_file(const struct config *c, struct mem *mem, struct access **ret_access, char *ret_why) {
  static const struct access_files files = {read_token_of, NULL};
  char *text, why[256] = "";
  size_t len;
  int err = named(c, OPTION_ACCESS, io_text_read(c->access, ACCESS_MAX_FILE, &text, &len, why), why, ret_why);
  if (err) return err;
  err = access_parse(mem, c->access, slice_of(text, len), &files, ret_access, ret_why);
  explicit_bzero(text, len);
  free(text);
  if (err == MACULA_ENOMEM)
    snprintf(ret_why, CONFIG_WHY_LEN, "%.300s: no memory for what it says: raise access_bytes", c->access);
  if (!err && access_is_empty(*ret_access)) {
    access_unref(*ret_access);
    *ret_access = NULL;
    snprintf(ret_why, CONFIG_WHY_LEN, "%.255s: " ACCESS_EMPTY_WHY, c->access);
    return MACULA_EINVAL;
  }
  if (!err && access_has_secrets(*ret_access) && (err = io_private_check(c->access, why))) {
    access_unref(*ret_access);
    *ret_access = NULL;
    snprintf(ret_why, CONFIG_WHY_LEN, "%.255s, as tokens or passwords stand in it", why);
  }
  return err;
}

/* The access file that realm_keys stands for. */
static int access_of_realms(const struct config *c, struct mem *mem, struct access **ret_access, char *ret_why) {
  char text[32 + CONFIG_MAX_REALMS * (ID_HEX_LEN + 2)];
  size_t n = (size_t)snprintf(text, sizeof text, "realm_keys: [");
  for (size_t i = 0; i < c->realm_keys.count; i++) {
    char hex[ID_HEX_LEN + 1];
    id_hex(&c->realm_keys.at[i], hex);
    n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? ", " : "", hex);
  }
  n += (size_t)snprintf(text + n, sizeof text - n, "]");
  return access_parse(mem, "realm_keys", slice_of(text, n), NULL, ret_access, ret_why);
}

static int load_pass(const struct config *c, struct credentials *ret, char *ret_why) {
  char *text, why[PASS_WHY_LEN] = "", where[CONFIG_WHY_LEN], holder[ID_HEX_LEN + 1], own[ID_HEX_LEN + 1];
  size_t len;
  struct pass p;
  enum pass_verdict v = PASS_GOOD;
  int err = read_text(c, OPTION_PASS, c->pass, &text, &len, ret_why);
  if (err) return err;
  err = crypto_unarmor(PASS_LABEL, slice_of(text, len), ret->pass, sizeof ret->pass, &ret->pass_len);
  free(text);
  struct pass_trust t = {.now = io_unix_ms() / 1000, .holder = ret->identity ? quic_identity_id(ret->identity) : NULL};
  if (err)
    snprintf(why, sizeof why, "holds no pass: 'macula pass new' makes one");
  else if (pass_decode(slice_of(ret->pass, ret->pass_len), &p, why) || (v = pass_now(&p, &t, why)))
    err = MACULA_PASS_INVALID;
  else if (pass_effective(&p)->role != ROLE_NODE)
    err = MACULA_PASS_INVALID,
    snprintf(why, sizeof why, "is for the role %s: a node's is made with --role node", role_name(pass_effective(&p)->role));
  else
    ret->pass_end = pass_effective(&p)->not_after;
  config_where(c, OPTION_PASS, where);
  if (v == PASS_OTHERS) {
    id_hex(&pass_effective(&p)->holder, holder);
    id_hex(t.holder, own);
    snprintf(why, sizeof why, "is for the key %s, and this node's is %s: 'macula pass new --id' takes that", holder, own);
  }
  if (err) snprintf(ret_why, CONFIG_WHY_LEN, "%.150s: %.100s: %.250s", where, c->pass, why);
  return err;
}

/* Those of HTTPS: the given ones, or the node's. */
static int load_https(const struct config *c, struct credentials *r, char *ret_why) {
  struct quic_identity *i;
  const char *text = NULL;
  char where[CONFIG_WHY_LEN];
  size_t cert_len, key_len = 0;
  if (!c->http_cert) {
    int err = c->http_tls && r->identity ? quic_identity_pem(r->identity, &r->http_cert) : 0;
    if (!err && r->http_cert && !(r->http_key = strdup(r->http_cert))) err = MACULA_ENOMEM;
    return err;
  }
  int err = (c->http_key ? read_text : read_key)(c, OPTION_HTTP_CERT, c->http_cert, &r->http_cert, &cert_len, ret_why);
  if (!err && c->http_key) err = read_key(c, OPTION_HTTP_KEY, c->http_key, &r->http_key, &key_len, ret_why);
  if (!err && !r->http_key && !(r->http_key = strdup(r->http_cert))) err = MACULA_ENOMEM;
  if (err) return err;
  err = quic_identity_parse(slice_str(r->http_key), slice_str(r->http_cert), io_unix_ms() / 1000, &i, &text);
  if (!err) {
    quic_identity_unref(i);
    return 0;
  }
  config_where(c, OPTION_HTTP_CERT, where);
  snprintf(ret_why, CONFIG_WHY_LEN, "%.100s: %.100s: %.300s", where, c->http_cert, text ? text : macula_err_text(err));
  return err;
}

int credentials_access(const struct config *c, struct mem *mem, struct access **ret_access, char ret_why[CONFIG_WHY_LEN]) {
  *ret_access = NULL;
  return c->access             ? load_access_file(c, mem, ret_access, ret_why)
         : c->realm_keys.count ? access_of_realms(c, mem, ret_access, ret_why)
                               : 0;
}

int credentials_load(const struct config *c, bool make, struct access *access, struct credentials *ret_credentials,
                     char ret_why[CONFIG_WHY_LEN]) {
  struct credentials r = {.access = access};
  size_t len;
  int err = 0;
  ret_why[0] = 0;
  if (c->ca) err = read_text(c, OPTION_CA, c->ca, &r.ca_pem, &len, ret_why);
  if (!err && c->http_token) err = read_token(c, OPTION_HTTP_TOKEN, c->http_token, &r.http_token, ret_why);
  if (!err) err = c->cert ? load_own(c, &r.identity, ret_why) : load_kept(c, make, &r, ret_why);
  if (!err && c->pass) err = load_pass(c, &r, ret_why);
  if (!err) err = load_https(c, &r, ret_why);
  const char *text;
  if (!err && r.identity && (err = node_check_identity(r.identity, &text)) != 0) {
    char where[CONFIG_WHY_LEN];
    snprintf(where, sizeof where, "%.230s/" IDENTITY_FILE, c->state);
    if (c->cert) config_where(c, OPTION_CERT, where);
    snprintf(ret_why, CONFIG_WHY_LEN, "%.250s: %.250s", where, text);
  }
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
  access_unref(c->access);
  if (c->http_token) explicit_bzero(c->http_token, strlen(c->http_token));
  if (c->http_cert) explicit_bzero(c->http_cert, strlen(c->http_cert));
  if (c->http_key) explicit_bzero(c->http_key, strlen(c->http_key));
  free(c->http_cert);
  free(c->http_key);
  free(c->ca_pem);
  free(c->http_token);
  *c = (struct credentials){0};
}
