#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "lib/lib.h"
#include "trust/token.h"

#define MAX_PEM (256 * 1024)

static int make_folders(char *path) {
  for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
    *p = 0;
    int err = mkdir(path, 0700) && errno != EEXIST && errno != EROFS ? errno : 0;
    *p = '/';
    if (err) return err;
  }
  return 0;
}

int user_path(const char *name, char **ret_path) {
  const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
  char buf[4096], *path;
  int n;
  if (base && base[0] == '/') {
    n = asprintf(&path, "%s/macula/%s", base, name);
  } else {
    struct passwd pw, *found = NULL;
    if (!home || !home[0]) {
      if (getpwuid_r(getuid(), &pw, buf, sizeof buf, &found) || !found)
        return fail(MACULA_EIO, "HOME is not set and the user is unknown: name a file for the identity");
      home = pw.pw_dir;
    }
    n = asprintf(&path, "%s/.config/macula/%s", home, name);
  }
  if (n < 0) return fail_plain(MACULA_ENOMEM);
  int e = make_folders(path);
  if (e) {
    fail(MACULA_EIO, "the folder %.*s cannot be made: %s", (int)(strrchr(path, '/') - path), path, strerror(e));
    free(path);
    return MACULA_EIO;
  }
  *ret_path = path;
  return 0;
}

int macula_user_folder(char **ret_path) {
  char *path;
  if (!ret_path) return fail_plain(MACULA_EINVAL);
  int err = user_path("", &path);
  if (err) return err;
  path[strlen(path) - 1] = 0; /* the slash */
  if (access(path, X_OK)) {
    fail(MACULA_EIO, "%s cannot be used: %s", path, strerror(errno));
    free(path);
    return MACULA_EIO;
  }
  *ret_path = path;
  return 0;
}

/* Takes the reference, even on error. */
static int wrap(struct quic_identity *q, macula_identity **ret_identity) {
  macula_identity *i = calloc(1, sizeof *i);
  if (!i) {
    quic_identity_unref(q);
    return fail_plain(MACULA_ENOMEM);
  }
  i->quic = q;
  id_hex(quic_identity_id(q), i->id);
  *ret_identity = i;
  return 0;
}

int macula_identity_generate(macula_identity **ret_identity) {
  struct quic_identity *q;
  if (!ret_identity) return fail_plain(MACULA_EINVAL);
  int err = quic_identity_generate(&q);
  return err ? fail_plain(err) : wrap(q, ret_identity);
}

static int write_pem(const struct quic_identity *q, const char *path, bool replace) {
  char *pem, why[256];
  int err = quic_identity_pem(q, &pem);
  if (err) return fail_plain(err);
  struct slice data = slice_str(pem);
  err = replace ? io_file_write(path, data, 0600, why) : io_file_create(path, data, 0600, why);
  explicit_bzero(pem, data.n);
  free(pem);
  return err ? fail(err, "%s", why) : 0;
}

int macula_identity_save(const macula_identity *identity, const char *path) {
  if (!identity || !path) return fail_plain(MACULA_EINVAL);
  return write_pem(identity->quic, path, true);
}

static int read_pair(const char *cert_path, const char *key_path, struct quic_identity **ret) {
  char *cert, *key = NULL, why[256];
  const char *text = NULL;
  size_t cert_len, key_len = 0;
  int err = (key_path ? io_text_read : io_key_read)(cert_path, MAX_PEM, &cert, &cert_len, why);
  if (err) return fail(err, "%s", why);
  if (key_path && (err = io_key_read(key_path, MAX_PEM, &key, &key_len, why))) {
    fail(err, "%s", why);
  } else {
    struct slice chain = slice_of(cert, cert_len);
    err = quic_identity_parse(key ? slice_of(key, key_len) : chain, chain, io_unix_ms() / 1000, ret, &text);
    if (err) fail(err, "%s: %s", cert_path, text ? text : macula_err_text(err));
  }
  if (key) explicit_bzero(key, key_len);
  explicit_bzero(cert, cert_len);
  free(key);
  free(cert);
  return err;
}

static int create_file(const char *path) {
  struct quic_identity *q;
  int err = quic_identity_generate(&q);
  if (err) return fail_plain(err);
  err = write_pem(q, path, false);
  quic_identity_unref(q);
  return err == MACULA_EBUSY ? 0 : err; /* another process was faster: its identity is read then */
}

int macula_identity_load(const char *path, bool create, macula_identity **ret_identity) {
  char *own = NULL;
  struct quic_identity *q;
  struct stat st;
  if (!ret_identity) return fail_plain(MACULA_EINVAL);
  int err = path ? 0 : user_path("identity.pem", &own);
  if (err) return err;
  if (!path) path = own;
  if (create && stat(path, &st) && errno == ENOENT) err = create_file(path);
  if (!err) err = read_pair(path, NULL, &q);
  if (!err) err = wrap(q, ret_identity);
  free(own);
  return err;
}

int macula_identity_load_pair(const char *cert_path, const char *key_path, macula_identity **ret_identity) {
  struct quic_identity *q;
  if (!cert_path || !key_path || !ret_identity) return fail_plain(MACULA_EINVAL);
  int err = read_pair(cert_path, key_path, &q);
  return err ? err : wrap(q, ret_identity);
}

int macula_token_read(const char *path, char **ret_token) {
  char why[256] = "", *token;
  if (!path || !ret_token) return fail_plain(MACULA_EINVAL);
  int err = io_token_read(path, &token, why);
  if (err) return fail(err, "%s", why);
  const char *wrong = token_wrong(slice_str(token));
  if (!wrong) {
    *ret_token = token;
    return 0;
  }
  explicit_bzero(token, strlen(token));
  free(token);
  return fail(MACULA_EINVAL, "%s: %s", path, wrong);
}

const char *macula_identity_id(const macula_identity *identity) { return identity ? identity->id : ""; }

void macula_identity_free(macula_identity *identity) {
  if (!identity) return;
  quic_identity_unref(identity->quic);
  free(identity);
}
