/* Certificate chains, as a CA makes them and as nobody may take them: times, purpose, who may issue, how strong. */
#include "forge.h"
#include "pair.h"

#define YEAR (365 * 86400)
#define FROM (UNIX_BASE - YEAR)
#define TO (UNIX_BASE + YEAR)

struct issued {
  int64_t from, to;                 /* Unix seconds beside UNIX_BASE; 0: a year before and after it */
  bool is_leaf;                     /* no CA by its basic constraints */
  int depth;                        /* of CAs below it; 0: no limit, -1: none */
  unsigned usage;                   /* 0: none is named */
  const char *purpose;              /* NULL: none is named */
  gnutls_digest_algorithm_t digest; /* of the issuer's signature; 0: SHA-256 */
  unsigned bits;                    /* of an RSA key; 0: an EC key */
};

struct held {
  gnutls_x509_privkey_t key;
  gnutls_x509_crt_t crt;
};

static void issue(const struct issued *o, const char *name, const struct held *issuer, struct held *ret) {
  static uint8_t serial = 1;
  serial++;
  assert_int_equal(gnutls_x509_privkey_init(&ret->key), 0);
  assert_int_equal(gnutls_x509_privkey_generate(ret->key, o->bits ? GNUTLS_PK_RSA : GNUTLS_PK_ECDSA,
                                                o->bits ? o->bits : GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                   0);
  assert_int_equal(gnutls_x509_crt_init(&ret->crt), 0);
  assert_int_equal(gnutls_x509_crt_set_version(ret->crt, 3), 0);
  assert_int_equal(gnutls_x509_crt_set_serial(ret->crt, &serial, 1), 0);
  assert_int_equal(gnutls_x509_crt_set_dn_by_oid(ret->crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name)), 0);
  assert_int_equal(gnutls_x509_crt_set_activation_time(ret->crt, o->from ? UNIX_BASE + o->from : FROM), 0);
  assert_int_equal(gnutls_x509_crt_set_expiration_time(ret->crt, o->to ? UNIX_BASE + o->to : TO), 0);
  assert_int_equal(gnutls_x509_crt_set_key(ret->crt, ret->key), 0);
  assert_int_equal(gnutls_x509_crt_set_basic_constraints(ret->crt, !o->is_leaf,
                                                         o->depth > 0   ? o->depth
                                                         : o->depth < 0 ? 0
                                                                        : -1),
                   0);
  if (o->usage) assert_int_equal(gnutls_x509_crt_set_key_usage(ret->crt, o->usage), 0);
  if (o->purpose) assert_int_equal(gnutls_x509_crt_set_key_purpose_oid(ret->crt, o->purpose, 0), 0);
  assert_int_equal(gnutls_x509_crt_sign2(ret->crt, issuer ? issuer->crt : ret->crt, issuer ? issuer->key : ret->key,
                                         o->digest ? o->digest : GNUTLS_DIG_SHA256, 0),
                   0);
}

static void give_back(struct held *h) {
  gnutls_x509_crt_deinit(h->crt);
  gnutls_x509_privkey_deinit(h->key);
}

static struct slice pem_of(const struct held *h, bool with_key, char buf[16384]) {
  size_t n = 16384, m = 0;
  if (with_key) {
    m = n;
    assert_int_equal(gnutls_x509_privkey_export_pkcs8(h->key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, buf, &m), 0);
  }
  n -= m;
  assert_int_equal(gnutls_x509_crt_export(h->crt, GNUTLS_X509_FMT_PEM, buf + m, &n), 0);
  buf[m + n] = 0;
  return slice_of(buf, m + n);
}

/* A root, one that it issued, and a leaf that shows both. */
struct chain {
  struct issued root, middle, leaf;
};

static uint64_t last_end; /* of what was judged last, if it was good */

/* What one side makes of the other's chain by its clock: 0, or the error and the text that it told. */
static int judged(const struct chain *c, bool server, int64_t clock, char ret_text[512]) {
  static char key[16384], more[16384], ca[16384], all[32768];
  struct issued leaf = c->leaf;
  struct held root, middle, end;
  struct quic_identity *i;
  struct pair p;
  const char *why = "";
  leaf.is_leaf = true;
  issue(&c->root, "root", NULL, &root);
  issue(&c->middle, "middle", &root, &middle);
  issue(&leaf, "leaf", &middle, &end);
  struct slice own = pem_of(&end, true, key);
  pem_of(&middle, false, more);
  pem_of(&root, false, ca);
  snprintf(all, sizeof all, "%s%s", strstr(key, "-----BEGIN CERT"), more);
  pair_init(&p, 60, NULL);
  assert_int_equal(quic_identity_parse(own, slice_str(all), UNIX_BASE, &i, &why), 0);
  if (server) { /* the client is judged */
    p.ca.identity = i;
    p.cb.ca_pem = ca;
    p.cb.require_cert = true;
  } else {
    p.cb.identity = i;
    p.ca.ca_pem = ca;
  }
  pair_start(&p);
  quic_set_clock((server ? &p.b : &p.a)->q, (uint64_t)(UNIX_BASE + clock), sim_net_now(p.net));
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
  pair_run(&p, 5 * NS_SEC);
  int err = server ? p.a.why.err : p.a.opened ? 0 : p.a.why.err;
  if (!err) {
    assert_true(p.b.opened);
    last_end = quic_conn_peer_expiry(server ? p.b.conn : p.a.conn);
  }
  if (err) assert_false(p.b.opened);
  snprintf(ret_text, 512, "%s", p.a.text);
  pair_done(&p);
  quic_identity_unref(i);
  give_back(&root);
  give_back(&middle);
  give_back(&end);
  return err;
}

static void check(const struct chain *c, bool server, int64_t clock, int want, const char *said) {
  char text[512];
  int err = judged(c, server, clock, text);
  if (err != want || !strstr(text, said)) fail_msg("%s: %d instead of %d: '%s'", server ? "client" : "server", err, want, text);
}

static void both(const struct chain *c, int want, const char *said) {
  for (int server = 0; server < 2; server++) check(c, server, 0, want, said);
}

#define CA_USE (GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)

/* As CAs make them. */
static void test_good(void **st) {
  (void)st;
  both(&(struct chain){{0}}, 0, "");
  both(&(struct chain){.root = {.usage = CA_USE, .depth = 1},
                       .middle = {.usage = CA_USE, .depth = -1},
                       .leaf = {.usage = GNUTLS_KEY_DIGITAL_SIGNATURE}},
       0, "");
  both(&(struct chain){.leaf = {.purpose = GNUTLS_KP_ANY}}, 0, "");
  both(&(struct chain){.root = {.bits = 2048}, .middle = {.bits = 2048}, .leaf = {.bits = 2048}}, 0, "");
  check(&(struct chain){.leaf = {.purpose = GNUTLS_KP_TLS_WWW_SERVER}}, false, 0, 0, "");
  check(&(struct chain){.leaf = {.purpose = GNUTLS_KP_TLS_WWW_CLIENT}}, true, 0, 0, "");
}

/* Each certificate's time is judged, by our own clock. */
static void test_times(void **st) {
  (void)st;
  struct chain c[3] = {
      {.leaf = {.from = -100, .to = 100}}, {.middle = {.from = -100, .to = 100}}, {.root = {.from = -100, .to = 100}}};
  for (int k = 0; k < 3; k++)
    for (int server = 0; server < 2; server++) {
      check(&c[k], server, 0, 0, "");
      assert_int_equal(last_end, UNIX_BASE + 100); /* which ends the connection, whichever it is */
      check(&c[k], server, -200, MACULA_CERTIFICATE_EXPIRED, "outside its time, or a clock is wrong");
      check(&c[k], server, 200, MACULA_CERTIFICATE_EXPIRED, "outside its time, or a clock is wrong");
    }
}

/* A certificate for something else is none. */
static void test_purpose(void **st) {
  (void)st;
  both(&(struct chain){.leaf = {.purpose = GNUTLS_KP_CODE_SIGNING}}, MACULA_CERTIFICATE_INVALID, "extended key usage");
  both(&(struct chain){.middle = {.purpose = GNUTLS_KP_CODE_SIGNING}}, MACULA_CERTIFICATE_INVALID, "extended key usage");
  check(&(struct chain){.leaf = {.purpose = GNUTLS_KP_TLS_WWW_SERVER}}, true, 0, MACULA_CERTIFICATE_INVALID, "clientAuth");
  check(&(struct chain){.leaf = {.purpose = GNUTLS_KP_TLS_WWW_CLIENT}}, false, 0, MACULA_CERTIFICATE_INVALID, "serverAuth");
}

/* Whoever holds a certificate is not therefore a CA. */
static void test_issuers(void **st) {
  (void)st;
  both(&(struct chain){.middle = {.is_leaf = true}}, MACULA_CERTIFICATE_INVALID, "may not issue");
  both(&(struct chain){.middle = {.usage = GNUTLS_KEY_DIGITAL_SIGNATURE}}, MACULA_CERTIFICATE_INVALID, "may not issue");
  both(&(struct chain){.root = {.depth = -1}}, MACULA_CERTIFICATE_INVALID, "may not issue");
}

static void test_weak(void **st) {
  (void)st;
  both(&(struct chain){.leaf = {.digest = GNUTLS_DIG_SHA1}}, MACULA_CERTIFICATE_INVALID, "too weak");
  both(&(struct chain){.middle = {.digest = GNUTLS_DIG_SHA1}}, MACULA_CERTIFICATE_INVALID, "too weak");
  both(&(struct chain){.middle = {.bits = 1024}}, MACULA_CERTIFICATE_INVALID, "too weak");
  both(&(struct chain){.leaf = {.bits = 1024}}, MACULA_CERTIFICATE_INVALID, "too weak");
}

/* One's own chain is read whole, too: nobody else would take it. */
static void test_own(void **st) {
  static const struct {
    int64_t clock;
    int err;
  } t[] = {{-200, MACULA_CERTIFICATE_EXPIRED}, {0, 0}, {200, MACULA_CERTIFICATE_EXPIRED}};
  static char key[16384], more[16384], all[32768];
  struct held root, middle, end;
  struct quic_identity *i;
  const char *why;
  (void)st;
  issue(&(struct issued){0}, "root", NULL, &root);
  issue(&(struct issued){.from = -100, .to = 100}, "middle", &root, &middle);
  issue(&(struct issued){.is_leaf = true}, "leaf", &middle, &end);
  struct slice own = pem_of(&end, true, key);
  pem_of(&middle, false, more);
  snprintf(all, sizeof all, "%s%s", strstr(key, "-----BEGIN CERT"), more);
  for (size_t k = 0; k < sizeof t / sizeof t[0]; k++) {
    assert_int_equal(quic_identity_parse(own, slice_str(all), (uint64_t)(UNIX_BASE + t[k].clock), &i, &why), t[k].err);
    if (t[k].clock < -100) assert_non_null(strstr(why, "is the clock right?"));
    if (t[k].err) continue;
    assert_int_equal(quic_identity_end(i), UNIX_BASE + 100);
    quic_identity_unref(i);
  }
  give_back(&root);
  give_back(&middle);
  give_back(&end);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_good),    cmocka_unit_test(test_times), cmocka_unit_test(test_purpose),
      cmocka_unit_test(test_issuers), cmocka_unit_test(test_weak),  cmocka_unit_test(test_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
