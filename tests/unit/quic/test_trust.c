/* Identity, pins, certificates, resumption. */
#include "forge.h"
#include "pair.h"
#include "quic/internal.h"

static void test_identity_pem(void **st) {
  (void)st;
  struct quic_identity *i, *j;
  char *pem;
  const char *why = NULL;
  assert_int_equal(quic_identity_generate(&i), 0);
  assert_int_equal(quic_identity_pem(i, &pem), 0);
  struct slice both = slice_str(pem);
  assert_int_equal(quic_identity_parse(both, both, UNIX_BASE, &j, &why), 0);
  assert_true(id_eq(quic_identity_id(i), quic_identity_id(j)));
  quic_identity_unref(j);
  assert_int_equal(quic_identity_parse(both, SLICE_NONE, UNIX_BASE, &j, NULL), 0);
  quic_identity_unref(j);
  char *cert = strstr(pem, "-----BEGIN CERTIFICATE");
  assert_non_null(cert);
  assert_true(cert > pem);
  size_t n = strlen(pem) + 1;
  char *turned = malloc(n); /* the certificate before the key */
  assert_non_null(turned);
  snprintf(turned, n, "%s%.*s", cert, (int)(cert - pem), pem);
  assert_int_equal(quic_identity_parse(slice_str(turned), slice_str(turned), UNIX_BASE, &j, &why), 0);
  quic_identity_unref(j);
  free(turned);
  assert_int_equal(quic_identity_parse(slice_str("x"), slice_str("y"), UNIX_BASE, &j, &why), MACULA_CERTIFICATE_INVALID);
  assert_true(why && *why);
  assert_int_equal(quic_identity_parse(both, slice_str("y"), UNIX_BASE, &j, &why), MACULA_CERTIFICATE_INVALID);
  assert_int_equal(quic_identity_parse(SLICE_NONE, SLICE_NONE, UNIX_BASE, &j, &why), MACULA_CERTIFICATE_INVALID);
  struct quic_identity *other; /* a key of somebody else */
  char *other_pem;
  assert_int_equal(quic_identity_generate(&other), 0);
  assert_int_equal(quic_identity_pem(other, &other_pem), 0);
  assert_int_equal(quic_identity_parse(slice_str(other_pem), slice_str(cert), UNIX_BASE, &j, &why), MACULA_CERTIFICATE_INVALID);
  free(other_pem);
  free(pem);
  quic_identity_unref(other);
  quic_identity_unref(i);
}

static void test_pin(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 11, NULL);
  pair_start(&p);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){.expect = quic_identity_id(p.ib)}), 0);
  assert_true(sim_net_run(p.net, 10 * NS_SEC, pair_open_done, &p));
  pair_done(&p);

  pair_init(&p, 12, NULL);
  pair_start(&p);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){.expect = quic_identity_id(p.ia)}), 0);
  pair_run(&p, 5 * NS_SEC);
  assert_int_equal(p.a.opened, 0);
  assert_int_equal(p.a.closed, 1);
  assert_int_equal(p.a.why.err, MACULA_IDENTITY_MISMATCH);
  char a[ID_HEX_LEN + 1], b[ID_HEX_LEN + 1];
  id_hex(quic_identity_id(p.ia), a);
  id_hex(quic_identity_id(p.ib), b);
  assert_non_null(strstr(p.a.text, a));
  assert_non_null(strstr(p.a.text, b));
  assert_int_equal(p.b.opened, 0);
  pair_done(&p);
}

static void test_no_cert(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 13, NULL);
  pair_start(&p);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){.no_cert = true}), 0);
  assert_true(sim_net_run(p.net, 10 * NS_SEC, pair_open_done, &p));
  assert_false(p.b.peer_known);
  assert_null(quic_conn_peer_id(p.b.conn));
  pair_done(&p);

  pair_init(&p, 14, NULL); /* required */
  p.cb.require_cert = true;
  pair_start(&p);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){.no_cert = true}), 0);
  pair_run(&p, 5 * NS_SEC);
  assert_int_equal(p.b.opened, 0);
  assert_int_equal(p.a.closed, 1);
  assert_int_equal(p.a.why.err, MACULA_NOT_AUTHORIZED);
  pair_done(&p);
}

/* What the client makes of the server's certificate, by its clock. */
static int judged(struct pair *p, uint64_t clock, bool insecure) {
  p->a.opened = p->a.closed = 0;
  p->a.why.err = 0;
  quic_set_clock(p->a.q, clock, sim_net_now(p->net));
  assert_int_equal(pair_connect_with(p, (struct quic_connect){.insecure = insecure}), 0);
  pair_run(p, 5 * NS_SEC);
  assert_int_equal(p->a.opened, !p->a.why.err);
  return p->a.why.err;
}

/* Its end is judged, and where a CA's word counts its beginning. A machine without a clock of its own starts in 1970: whom it
 * knows by the key it reaches. */
static void test_expired(void **st) {
  (void)st;
  for (int by_ca = 0; by_ca < 2; by_ca++) {
    struct pair p;
    char *pem;
    pair_init(&p, 15, NULL);
    forge_times(p.ib, UNIX_BASE - 1000, UNIX_BASE + 1000, NULL);
    assert_int_equal(quic_identity_pem(p.ib, &pem), 0);
    if (by_ca) p.ca.ca_pem = strstr(pem, "-----BEGIN CERT"); /* a self-signed certificate is its own CA */
    pair_start(&p);
    assert_int_equal(judged(&p, 1000, false), by_ca ? MACULA_CERTIFICATE_EXPIRED : 0);
    assert_int_equal(judged(&p, UNIX_BASE, false), 0); /* it is set right only now */
    assert_int_equal(judged(&p, UNIX_BASE + 2000, false), MACULA_CERTIFICATE_EXPIRED);
    assert_int_equal(judged(&p, UNIX_BASE + 2000, true), 0);
    assert_int_equal(judged(&p, 1000, true), 0);
    free(pem);
    pair_done(&p);
  }
}

/* One's own certificate, as it is read at a start. */
static void test_own_times(void **st) {
  struct quic_identity *i, *again = NULL;
  char *pem, text[QUIC_END_TEXT_LEN];
  const char *why;
  (void)st;
  assert_int_equal(quic_identity_generate(&i), 0);
  assert_int_equal(quic_identity_end(i), UINT64_MAX);
  assert_null(quic_end_text(UINT64_MAX, UNIX_BASE, text));
  forge_times(i, UNIX_BASE, UNIX_BASE + 100 * 86400, NULL);
  assert_int_equal(quic_identity_end(i), UNIX_BASE + 100 * 86400);
  assert_int_equal(quic_identity_pem(i, &pem), 0);
  static const struct {
    uint64_t now;
    int err;
  } t[] = {{5, 0}, {UNIX_BASE, 0}, {UNIX_BASE + 100 * 86400, 0}, {UNIX_BASE + 100 * 86400 + 1, MACULA_CERTIFICATE_EXPIRED}};
  for (size_t k = 0; k < sizeof t / sizeof t[0]; k++) {
    assert_int_equal(quic_identity_parse(slice_str(pem), slice_str(pem), t[k].now, &again, &why), t[k].err);
    if (!t[k].err) quic_identity_unref(again);
  }
  assert_string_equal(why, "the certificate's time is over");
  free(pem);
  quic_identity_unref(i);
  assert_null(quic_end_text(40 * 86400, 9 * 86400, text));
  assert_string_equal(quic_end_text(40 * 86400, 10 * 86400, text), "ends in 30 days");
  assert_string_equal(quic_end_text(40 * 86400, 39 * 86400, text), "ends in 24 hours");
  assert_string_equal(quic_end_text(1000, 1000, text), "ends in 0 seconds");
  assert_string_equal(quic_end_text(1000, 1060, text), "ended 60 seconds ago");
  assert_string_equal(quic_end_text(1000, 8200, text), "ended 2 hours ago");
}

/* One of a user's own CA: that it has not begun is told. */
static void test_not_begun(void **st) {
  struct quic_identity *ca, *i, *again;
  char *pem;
  const char *why;
  (void)st;
  assert_int_equal(quic_identity_generate(&ca), 0);
  assert_int_equal(quic_identity_generate(&i), 0);
  forge_times(i, UNIX_BASE - 1000, UNIX_BASE + 1000, ca);
  assert_int_equal(quic_identity_pem(i, &pem), 0);
  assert_int_equal(quic_identity_parse(slice_str(pem), slice_str(pem), 5, &again, &why), MACULA_CERTIFICATE_EXPIRED);
  assert_string_equal(why, "the certificate's time has not begun: is the clock right?");
  assert_int_equal(quic_identity_parse(slice_str(pem), slice_str(pem), UNIX_BASE, &again, &why), 0);
  free(pem);
  quic_identity_unref(again);
  quic_identity_unref(i);
  quic_identity_unref(ca);
}

static void test_ca(void **st) {
  (void)st;
  struct pair p;
  char *pem_a, *pem_b;
  for (int wrong = 0; wrong < 2; wrong++) { /* a self-signed certificate is its own CA */
    pair_init(&p, 16, NULL);
    assert_int_equal(quic_identity_pem(p.ia, &pem_a), 0);
    assert_int_equal(quic_identity_pem(p.ib, &pem_b), 0);
    p.ca.ca_pem = strstr(wrong ? pem_a : pem_b, "-----BEGIN CERT");
    pair_start(&p);
    assert_int_equal(pair_connect_with(&p, (struct quic_connect){0}), 0);
    pair_run(&p, 5 * NS_SEC);
    assert_int_equal(p.a.opened, !wrong);
    if (wrong) assert_int_equal(p.a.why.err, MACULA_CERTIFICATE_INVALID);
    free(pem_a);
    free(pem_b);
    pair_done(&p);
  }
}

static size_t ticket_of(struct pair *p, uint8_t **ret) {
  pair_connect(p);
  pair_run(p, NS_SEC);
  size_t n = quic_conn_ticket(p->a.conn, ret);
  assert_true(n > 100);
  quic_conn_close(p->a.conn, 0, "bye");
  pair_run(p, 5 * NS_SEC);
  p->a.opened = p->b.opened = p->a.closed = p->b.closed = 0;
  p->a.peer_known = p->b.peer_known = false;
  memset(&p->a.peer, 0, sizeof p->a.peer);
  memset(&p->b.peer, 0, sizeof p->b.peer);
  return n;
}

static void test_resumption(void **st) {
  (void)st;
  struct pair p;
  uint8_t *t;
  pair_init(&p, 17, NULL);
  pair_start(&p);
  size_t n = ticket_of(&p, &t);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){.ticket = {t, n}}), 0);
  assert_true(sim_net_run(p.net, sim_net_now(p.net) + 10 * NS_SEC, pair_open_done, &p));
  assert_true(p.a.resumed && p.b.resumed);
  assert_true(p.a.peer_known && id_eq(&p.a.peer, quic_identity_id(p.ib)));
  assert_true(p.b.peer_known && id_eq(&p.b.peer, quic_identity_id(p.ia)));
  pair_run(&p, NS_SEC);
  uint8_t *t2;
  assert_true(quic_conn_ticket(p.a.conn, &t2) > 100); /* a new one each time */
  free(t2);
  /* the pin holds for a resumed session, too */
  p.a.opened = 0;
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){.ticket = {t, n}, .expect = quic_identity_id(p.ia)}), 0);
  pair_run(&p, 5 * NS_SEC);
  assert_int_equal(p.a.opened, 0);
  assert_int_equal(p.a.why.err, MACULA_IDENTITY_MISMATCH);
  /* damaged tickets mean a full handshake */
  for (size_t k = 0; k < 3; k++) {
    p.a.opened = p.b.opened = 0;
    size_t cut = k == 0 ? 1 : k == 1 ? 40 : n - 20;
    assert_int_equal(pair_connect_with(&p, (struct quic_connect){.ticket = {t, cut}}), 0);
    assert_true(sim_net_run(p.net, sim_net_now(p.net) + 10 * NS_SEC, pair_open_done, &p));
  }
  free(t);
  pair_done(&p);
}

/* Both ends have the same bytes, which no other connection has, resumed or not, and keep them when the TLS session is gone. */
static void test_exporter(void **st) {
  (void)st;
  struct pair p;
  uint8_t *t, before[QUIC_EXPORTER_LEN] = {0};
  pair_init(&p, 20, NULL);
  pair_start(&p);
  size_t n = ticket_of(&p, &t);
  for (int resumed = 0; resumed < 2; resumed++) {
    p.a.opened = p.b.opened = 0;
    assert_int_equal(pair_connect_with(&p, (struct quic_connect){.ticket = {t, resumed ? n : 0}}), 0);
    assert_null(quic_conn_exporter(p.a.conn));
    assert_true(sim_net_run(p.net, sim_net_now(p.net) + 10 * NS_SEC, pair_open_done, &p));
    assert_int_equal(p.a.resumed, resumed);
    assert_int_equal(p.b.resumed, resumed);
    uint8_t ours[QUIC_EXPORTER_LEN];
    memcpy(ours, quic_conn_exporter(p.a.conn), sizeof ours);
    assert_memory_equal(ours, quic_conn_exporter(p.b.conn), sizeof ours);
    assert_memory_not_equal(ours, before, sizeof ours);
    memcpy(before, ours, sizeof ours);
    pair_run(&p, NS_SEC);
    assert_true(!p.a.conn->tls && !p.b.conn->tls);
    assert_memory_equal(ours, quic_conn_exporter(p.a.conn), sizeof ours);
    assert_memory_equal(ours, quic_conn_exporter(p.b.conn), sizeof ours);
    quic_conn_close(p.a.conn, 0, "bye");
    pair_run(&p, 5 * NS_SEC);
  }
  free(t);
  pair_done(&p);
}

static void test_ticket_key_rotates(void **st) {
  (void)st;
  struct pair p;
  uint8_t *t;
  pair_init(&p, 18, NULL);
  pair_start(&p);
  size_t n = ticket_of(&p, &t);
  pair_run(&p, 25 * 3600 * NS_SEC);
  assert_int_equal(pair_connect_with(&p, (struct quic_connect){.ticket = {t, n}}), 0);
  assert_true(sim_net_run(p.net, sim_net_now(p.net) + 10 * NS_SEC, pair_open_done, &p));
  assert_false(p.b.resumed);
  assert_true(p.b.peer_known);
  free(t);
  pair_done(&p);
}

static void test_new_identity(void **st) {
  (void)st;
  struct pair p;
  pair_init(&p, 19, NULL);
  pair_start(&p);
  pair_connect(&p);
  assert_int_equal(quic_set_identity(p.b.q, p.ia, NULL), 0);
  assert_int_equal(quic_set_identity(p.b.q, p.ia, "no pem"), MACULA_CERTIFICATE_INVALID);
  pair_connect_again(&p);
  assert_true(id_eq(&p.a.peer, quic_identity_id(p.ia)));
  pair_done(&p);
}

/* One side has the forged identity, and as much time as it wants. */
static void shake_hands_as(struct pair *p, struct quic_identity *forged, bool server) {
  if (server)
    p->cb.identity = forged;
  else
    p->ca.identity = forged;
  pair_start(p);
  assert_int_equal(pair_connect_with(p, (struct quic_connect){0}), 0);
  pair_run(p, 5 * NS_SEC);
}

/* A certificate that costs megabytes to read is refused before it is read, on both sides; one that is only large is not. */
static void test_costly_certificate(void **st) {
  static const struct {
    enum fill fill;
    size_t bytes;
    unsigned chain;
    bool fits;
  } cases[] = {{FILL_NAMES, 200, 1, true},        {FILL_NAMES, 10000, 1, false},       {FILL_NAMES, 2200, 4, false},
               {FILL_ALTERNATIVES, 900, 1, true}, {FILL_ALTERNATIVES, 9000, 1, false}, {FILL_BYTES, 2300, 4, true}};
  (void)st;
  for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
    struct pair p;
    pair_init(&p, 30 + i, NULL);
    struct quic_identity *forged = forge(cases[i / 2].fill, cases[i / 2].bytes, cases[i / 2].chain);
    shake_hands_as(&p, forged, i % 2);
    assert_int_equal(p.a.opened && p.b.opened, cases[i / 2].fits);
    if (!cases[i / 2].fits) assert_int_equal(p.a.why.err, MACULA_CERTIFICATE_INVALID);
    pair_done(&p);
    quic_identity_unref(forged);
  }
}

/* A key with which one signature takes seconds to verify is refused before it is used, on both sides: what it signed means
 * nothing, and would be refused for another reason. */
static void test_costly_key(void **st) {
  static const size_t keys[][2] = {{3500, 3500}, {500, 500}, {1200, 3}};
  (void)st;
  for (size_t i = 0; i < 2 * sizeof keys / sizeof keys[0]; i++) {
    struct pair p;
    pair_init(&p, 50 + i, NULL);
    struct quic_identity *forged = forge_key(keys[i / 2][0], keys[i / 2][1]);
    shake_hands_as(&p, forged, i % 2);
    assert_false(p.a.opened && p.b.opened);
    assert_int_equal(p.a.why.err, MACULA_CERTIFICATE_INVALID);
    pair_done(&p);
    quic_identity_unref(forged);
  }
}

static void test_key_fits(void **st) {
  static const struct {
    size_t modulus, exponent;
    bool fits;
  } cases[] = {{128, 128, false}, {256, 3, true}, {512, 8, true}, {512, 10, false}, {1025, 9, true}, {1026, 3, false}};
  static const uint8_t small[44] = {0x30, 42};
  static struct forged spki;
  (void)st;
  assert_true(der_key_fits(slice_of(small, sizeof small))); /* GnuTLS will say what it is */
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    forge_rsa(cases[i].modulus, cases[i].exponent, &spki);
    assert_int_equal(der_key_fits(slice_of(spki.p, spki.n)), cases[i].fits);
    for (size_t n = 201; n < spki.n; n++) { /* nothing behind the end is read */
      uint8_t *cut = malloc(n);
      assert_non_null(cut);
      memcpy(cut, spki.p, n);
      assert_false(der_key_fits(slice_of(cut, n)));
      free(cut);
    }
  }
  struct id who;
  forge_rsa(490, 500, &spki);
  assert_int_equal(quic_verify(slice_of(spki.p, spki.n), slice_str("r"), slice_of(spki.p, 490), &who), MACULA_BAD_SIGNATURE);
}

static void test_elements(void **st) {
  static const uint8_t nested[] = {0x30, 4, 0x31, 0, 0x31, 0}, string[] = {4, 4, 0x30, 2, 5, 0}, endless[] = {0x30, 0x80, 0, 0},
                       cut[] = {0x30, 5, 2, 4, 1};
  (void)st;
  assert_int_equal(der_elements(slice_of(nested, sizeof nested), 10), 3);
  assert_int_equal(der_elements(slice_of(nested, sizeof nested), 2), 2);
  assert_int_equal(der_elements(slice_of(string, sizeof string), 10), 3);
  assert_int_equal(der_elements(slice_of(endless, sizeof endless), 10), 10);
  assert_int_equal(der_elements(slice_of(cut, sizeof cut), 10), 10);
  assert_int_equal(der_elements(slice_of(cut, 0), 10), 0);
  for (size_t n = 0; n < 12; n++) { /* nothing behind the end of a message is read */
    uint8_t *m = calloc(1, n ? n : 1);
    assert_non_null(m);
    if (n > 6) m[6] = 9;
    bool keys_fit;
    assert_in_range(der_certificates(slice_of(m, n), 10, &keys_fit), 0, 10);
    free(m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_identity_pem), cmocka_unit_test(test_pin),
      cmocka_unit_test(test_no_cert),      cmocka_unit_test(test_expired),
      cmocka_unit_test(test_own_times),    cmocka_unit_test(test_not_begun),
      cmocka_unit_test(test_ca),           cmocka_unit_test(test_resumption),
      cmocka_unit_test(test_exporter),     cmocka_unit_test(test_ticket_key_rotates),
      cmocka_unit_test(test_new_identity), cmocka_unit_test(test_costly_certificate),
      cmocka_unit_test(test_costly_key),   cmocka_unit_test(test_key_fits),
      cmocka_unit_test(test_elements),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
