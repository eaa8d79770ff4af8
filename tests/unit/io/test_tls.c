/* TLS on streams, between our server's side and GnuTLS's client, over memory: what one writes the other gets in pieces of any
 * size. */
#include <errno.h>
#include <gnutls/gnutls.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "io/io.h"
#include "quic/identity.h"

struct pipe {
  uint8_t *p;
  size_t at, len;
};
static void put(struct pipe *q, const void *p, size_t n) {
  q->p = realloc(q->p, q->len + n + 1);
  memcpy(q->p + q->len, p, n);
  q->len += n;
}
static size_t left(const struct pipe *q) { return q->len - q->at; }

struct peer { /* a client, and the stream that carries it */
  struct byte_stream below;
  struct pipe to_server, to_client;
  gnutls_session_t session;
  gnutls_certificate_credentials_t cred;
  bool reading, closed, reset, shaken, asked;
  int failed;
  size_t room; /* the stream takes no more than so much unsent */
};

struct fake {
  struct io_loop *loop;
  struct io_tls *tls;
  struct mem mem;
  struct byte_stream *s; /* the last that was opened */
  unsigned opened, closed, rooms;
  int end_err, refuse;
  struct pipe got;
  char why[256];
  bool hold;
};

static size_t below_write(struct byte_stream *s, struct slice bytes) {
  struct peer *p = (struct peer *)s;
  size_t n = p->room > left(&p->to_client) ? p->room - left(&p->to_client) : 0;
  if (n > bytes.n) n = bytes.n;
  put(&p->to_client, bytes.p, n);
  return n;
}
static size_t below_unsent(const struct byte_stream *s) { return left(&((const struct peer *)s)->to_client); }
static void below_read(struct byte_stream *s, bool on) { ((struct peer *)s)->reading = on; }
static void below_close(struct byte_stream *s, bool reset) {
  ((struct peer *)s)->closed = true;
  ((struct peer *)s)->reset = reset;
}
static void below_fail(struct byte_stream *s, int err) { ((struct peer *)s)->failed = err; }
static void below_want_room(struct byte_stream *s) { ((struct peer *)s)->asked = true; }
static const struct stream_ops below_ops = {below_write, below_unsent, below_read, below_close, below_fail, below_want_room};

static int on_opened(void *ctx, struct byte_stream *s, nanotime now) {
  struct fake *f = ctx;
  (void)now;
  f->s = s;
  f->opened++;
  assert_true(s->secret);
  if (f->refuse) assert_int_equal(stream_write(s, slice_of("no", 2)), 2);
  return f->refuse;
}
static void on_data(void *ctx, struct byte_stream *s, uint8_t *bytes, size_t n, nanotime now) {
  struct fake *f = ctx;
  (void)now;
  put(&f->got, bytes, n);
  if (n >= 4 && !memcmp(bytes, "quit", 4)) stream_close(s, false);
}
static void on_room(void *ctx, struct byte_stream *s, nanotime now) {
  (void)s, (void)now;
  ((struct fake *)ctx)->rooms++;
}
static void on_closed(void *ctx, struct byte_stream *s, int err, nanotime now) {
  struct fake *f = ctx;
  (void)s, (void)now;
  f->closed++;
  f->end_err = err;
  f->s = NULL;
}
static void on_refused(void *ctx, const struct addr *remote, const char *why, nanotime now) {
  struct fake *f = ctx;
  (void)remote, (void)now;
  snprintf(f->why, sizeof f->why, "%s", why ? why : "it left");
}

static char *some_pem(struct id *ret_id) {
  struct quic_identity *i;
  char *pem;
  assert_int_equal(quic_identity_generate(&i), 0);
  assert_int_equal(quic_identity_pem(i, &pem), 0);
  if (ret_id) *ret_id = *quic_identity_id(i);
  quic_identity_unref(i);
  return pem;
}

static void fake_open(struct fake *f, uint32_t most_shaking) {
  char *pem = some_pem(NULL);
  *f = (struct fake){.mem = MEM_INIT("streams", 0)};
  struct io_tls_options o = {.key_pem = pem,
                             .cert_pem = pem,
                             .mem = &f->mem,
                             .owner = {f, on_opened, on_data, on_room, on_closed},
                             .most_shaking = most_shaking,
                             .refused = on_refused,
                             .ctx = f};
  assert_int_equal(io_loop_new(NULL, &f->loop), 0);
  assert_int_equal(io_tls_new(f->loop, &o, &f->tls), 0);
  free(pem);
}
static void fake_done(struct fake *f) {
  io_tls_free(f->tls);
  io_loop_free(f->loop);
  assert_int_equal(f->mem.bytes, 0);
  free(f->got.p);
}

static ssize_t client_push(gnutls_transport_ptr_t ctx, const void *data, size_t n) {
  put(&((struct peer *)ctx)->to_server, data, n);
  return (ssize_t)n;
}
static ssize_t client_pull(gnutls_transport_ptr_t ctx, void *data, size_t n) {
  struct peer *p = ctx;
  if (!left(&p->to_client)) {
    if (p->closed) return 0;
    gnutls_transport_set_errno(p->session, EAGAIN);
    return -1;
  }
  if (n > left(&p->to_client)) n = left(&p->to_client);
  memcpy(data, p->to_client.p + p->to_client.at, n);
  p->to_client.at += n;
  return (ssize_t)n;
}
static int client_wait(gnutls_transport_ptr_t ctx, unsigned ms) {
  (void)ms;
  return left(&((struct peer *)ctx)->to_client) > 0;
}

static int peer_open(struct fake *f, struct peer *p, const char *prio, const char *pem) {
  *p = (struct peer){.below = {.ops = &below_ops}, .reading = true, .room = 65536};
  assert_int_equal(gnutls_init(&p->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK), 0);
  assert_int_equal(gnutls_priority_set_direct(p->session, prio, NULL), 0);
  assert_int_equal(gnutls_certificate_allocate_credentials(&p->cred), 0);
  if (pem) {
    gnutls_datum_t d = {(unsigned char *)pem, (unsigned)strlen(pem)};
    assert_int_equal(gnutls_certificate_set_x509_key_mem(p->cred, &d, &d, GNUTLS_X509_FMT_PEM), 0);
    gnutls_certificate_set_flags(p->cred, GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH);
  }
  assert_int_equal(gnutls_credentials_set(p->session, GNUTLS_CRD_CERTIFICATE, p->cred), 0);
  gnutls_transport_set_ptr(p->session, p);
  gnutls_transport_set_push_function(p->session, client_push);
  gnutls_transport_set_pull_function(p->session, client_pull);
  gnutls_transport_set_pull_timeout_function(p->session, client_wait);
  struct stream_owner o = io_tls_owner(f->tls);
  return o.opened(o.ctx, &p->below, io_loop_now(f->loop));
}
static void peer_done(struct peer *p) {
  gnutls_deinit(p->session);
  gnutls_certificate_free_credentials(p->cred);
  free(p->to_server.p);
  free(p->to_client.p);
}

/* Hands on what the client has written, at most `piece` bytes at a time. */
static void deliver(struct fake *f, struct peer *p, size_t piece) {
  struct stream_owner o = io_tls_owner(f->tls);
  while (left(&p->to_server) && !p->closed && p->reading) {
    size_t n = left(&p->to_server) < piece ? left(&p->to_server) : piece;
    uint8_t *copy = malloc(n); /* as bytes may be changed, and must not be read beyond their end */
    memcpy(copy, p->to_server.p + p->to_server.at, n);
    p->to_server.at += n;
    o.data(o.ctx, &p->below, copy, n, io_loop_now(f->loop));
    free(copy);
  }
}

/* GNUTLS_E_SUCCESS, or what the client says of a handshake that failed. */
static int shake(struct fake *f, struct peer *p, size_t piece) {
  int r = GNUTLS_E_AGAIN;
  for (int i = 0; i < 100 && r == GNUTLS_E_AGAIN; i++) {
    r = gnutls_handshake(p->session);
    deliver(f, p, piece);
  }
  return r;
}

static void lost(struct fake *f, struct peer *p) {
  struct stream_owner o = io_tls_owner(f->tls);
  if (!p->closed) o.closed(o.ctx, &p->below, MACULA_ECLOSED, io_loop_now(f->loop));
}

#define TLS13 "NORMAL:-VERS-ALL:+VERS-TLS1.3"
#define TLS12 "NORMAL:-VERS-ALL:+VERS-TLS1.2"

static void test_both_versions(void **state) {
  (void)state;
  struct fake f;
  struct id id;
  char *pem = some_pem(&id);
  fake_open(&f, 0);
  size_t pieces[] = {1, 7, 100000};
  for (int v = 0; v < 6; v++) {
    struct peer p;
    uint8_t back[8];
    f.got.len = f.got.at = 0;
    assert_int_equal(peer_open(&f, &p, v % 2 ? TLS12 : TLS13, v < 2 ? NULL : pem), 0);
    assert_int_equal(shake(&f, &p, pieces[v / 2]), GNUTLS_E_SUCCESS);
    assert_int_equal(gnutls_record_send(p.session, "hello", 5), 5);
    deliver(&f, &p, pieces[v / 2]);
    assert_int_equal(f.opened, v + 1);
    assert_int_equal(f.got.len, 5);
    assert_memory_equal(f.got.p, "hello", 5);
    assert_int_equal(f.s->key != NULL, v >= 2);
    if (v >= 2) assert_true(id_eq(&f.s->key->id, &id));
    assert_int_equal(stream_write(f.s, slice_of("goodbye", 7)), 7);
    stream_close(f.s, false);
    assert_true(p.closed && !p.reset);
    ssize_t r;
    while ((r = gnutls_record_recv(p.session, back, sizeof back)) == GNUTLS_E_AGAIN) continue; /* tickets come first */
    assert_int_equal(r, 7);
    assert_int_equal(gnutls_record_recv(p.session, back, sizeof back), 0); /* and no cut end */
    peer_done(&p);
  }
  assert_int_equal(f.closed, 0);
  free(pem);
  fake_done(&f);
}

/* More than the stream below takes: `write` takes a part, and says when it goes on. */
static void test_room(void **state) {
  (void)state;
  struct fake f;
  struct peer p;
  fake_open(&f, 0);
  assert_int_equal(peer_open(&f, &p, TLS13, NULL), 0);
  assert_int_equal(shake(&f, &p, 100000), GNUTLS_E_SUCCESS);
  size_t all = 1 << 20, at = 0, read = 0;
  uint8_t *out = malloc(all), *in = malloc(all);
  for (size_t i = 0; i < all; i++) out[i] = (uint8_t)(i * 7 + i / 253);
  struct stream_owner o = io_tls_owner(f.tls);
  while (read < all) {
    unsigned rooms = f.rooms;
    size_t n = stream_write(f.s, slice_of(out + at, all - at));
    at += n;
    assert_true(left(&p.to_client) <= 65536);
    for (ssize_t r; (r = gnutls_record_recv(p.session, in + read, all - read)) > 0;) read += (size_t)r;
    if (at < all) {
      assert_true(p.asked);
      p.asked = false;
      o.room(o.ctx, &p.below, 0);
      assert_int_equal(f.rooms, rooms + 1);
    }
  }
  assert_memory_equal(in, out, all);
  p.room = 0; /* the stream below has no memory: it fails, and nothing is written after a part of a record */
  assert_int_equal(stream_write(f.s, slice_of(out, 100)), 100);
  assert_int_equal(p.failed, 0);
  io_loop_step(f.loop);
  assert_int_equal(p.failed, MACULA_ENOMEM);
  lost(&f, &p);
  assert_int_equal(f.closed, 1);
  free(out);
  free(in);
  peer_done(&p);
  fake_done(&f);
}

/* What is written in a turn goes out at its end, in one record, as it was written; a refused allocation makes more of them. */
static void test_records(void **state) {
  (void)state;
  struct fake f;
  struct peer p;
  uint8_t back[8192];
  char expected[4096] = "";
  fake_open(&f, 0);
  assert_int_equal(peer_open(&f, &p, TLS13, NULL), 0);
  assert_int_equal(shake(&f, &p, 100000), GNUTLS_E_SUCCESS);
  while (left(&p.to_client)) (void)gnutls_record_recv(p.session, back, sizeof back); /* tickets */
  for (int round = 0; round < 2; round++) {
    struct mem_fail fail = {.countdown = 2}; /* of the first 1,024 bytes; of more */
    size_t before = p.to_client.len, at = 0, records = 0;
    if (round) f.mem.fail = &fail;
    for (int i = 0; i < 300; i++) {
      char text[16];
      int n = snprintf(text, sizeof text, "%d.", i);
      memcpy(expected + at, text, (size_t)n);
      at += (size_t)n;
      assert_int_equal(stream_write(f.s, slice_of(text, (size_t)n)), n);
    }
    if (!round) assert_int_equal(p.to_client.len, before);
    assert_true(stream_unsent(f.s) >= at);
    io_loop_step(f.loop);
    f.mem.fail = NULL;
    size_t read = 0;
    for (ssize_t r; (r = gnutls_record_recv(p.session, back + read, sizeof back - read)) > 0; records++) read += (size_t)r;
    assert_int_equal(read, at);
    assert_memory_equal(back, expected, at);
    if (!round) assert_int_equal(records, 1);
  }
  assert_int_equal(stream_write(f.s, slice_of("lost", 4)), 4);
  lost(&f, &p);
  peer_done(&p);
  fake_done(&f);
}

/* Closed from within its own data, refused, ended by the peer, cut off by it. */
static void test_ends(void **state) {
  (void)state;
  struct fake f;
  struct peer p;
  uint8_t back[8];
  fake_open(&f, 0);
  assert_int_equal(peer_open(&f, &p, TLS13, NULL), 0);
  assert_int_equal(shake(&f, &p, 100000), GNUTLS_E_SUCCESS);
  assert_int_equal(gnutls_record_send(p.session, "quit", 4), 4);
  assert_int_equal(gnutls_record_send(p.session, "more", 4), 4);
  deliver(&f, &p, 100000);
  assert_true(p.closed);
  assert_int_equal(f.got.len, 4); /* nothing is heard of it any more */
  peer_done(&p);

  f.refuse = MACULA_EFULL;
  assert_int_equal(peer_open(&f, &p, TLS13, NULL), 0);
  assert_int_equal(shake(&f, &p, 100000), GNUTLS_E_SUCCESS);
  assert_true(p.closed);
  ssize_t r;
  while ((r = gnutls_record_recv(p.session, back, sizeof back)) == GNUTLS_E_AGAIN) continue;
  assert_int_equal(r, 2);
  f.refuse = 0;
  peer_done(&p);

  for (int cut = 0; cut < 2; cut++) {
    f.closed = 0;
    assert_int_equal(peer_open(&f, &p, TLS13, NULL), 0);
    assert_int_equal(shake(&f, &p, 100000), GNUTLS_E_SUCCESS);
    if (cut)
      lost(&f, &p);
    else
      gnutls_bye(p.session, GNUTLS_SHUT_WR);
    deliver(&f, &p, 100000);
    assert_int_equal(f.closed, 1);
    assert_int_equal(f.end_err, cut ? MACULA_ECLOSED : 0);
    peer_done(&p);
  }
  fake_done(&f);
}

static void test_bad_handshakes(void **state) {
  (void)state;
  struct fake f;
  struct peer p;
  struct io_tls_stats st;
  static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n", mqtt[] = "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00";
  struct slice bad[] = {slice_of(http, sizeof http - 1), slice_of(mqtt, sizeof mqtt - 1)};
  fake_open(&f, 2);
  for (int i = 0; i < 2; i++) {
    f.why[0] = 0;
    assert_int_equal(peer_open(&f, &p, TLS13, NULL), 0);
    put(&p.to_server, bad[i].p, bad[i].n);
    deliver(&f, &p, 100000);
    assert_true(p.closed);
    assert_string_not_equal(f.why, "");
    peer_done(&p);
  }
  assert_int_equal(peer_open(&f, &p, "NORMAL:-VERS-ALL:+VERS-TLS1.1:%VERIFY_ALLOW_BROKEN", NULL), 0);
  assert_int_not_equal(shake(&f, &p, 100000), GNUTLS_E_SUCCESS);
  assert_true(p.closed);
  peer_done(&p);

  struct peer many[3]; /* the oldest makes room */
  for (int i = 0; i < 3; i++) {
    assert_int_equal(peer_open(&f, &many[i], TLS13, NULL), 0);
    (void)gnutls_handshake(many[i].session);
    assert_int_equal(many[0].closed, i == 2);
  }
  assert_string_equal(f.why, "too many handshakes are under way");
  io_tls_stats(f.tls, &st);
  assert_int_equal(st.shaking, 2);
  assert_int_equal(st.failed, 4);
  for (int i = 0; i < 3; i++) {
    lost(&f, &many[i]);
    peer_done(&many[i]);
  }
  assert_int_equal(f.opened, 0);

  struct mem_fail fail = {.countdown = 1};
  f.mem.fail = &fail;
  assert_int_equal(peer_open(&f, &p, TLS13, NULL), MACULA_ENOMEM);
  peer_done(&p);
  fake_done(&f);
}

static void test_certificates(void **state) {
  (void)state;
  struct fake f;
  struct peer before, after;
  char *pem = some_pem(NULL);
  fake_open(&f, 0);
  assert_int_equal(peer_open(&f, &before, TLS13, NULL), 0); /* it keeps that with which it began */
  assert_int_equal(io_tls_set_cert(f.tls, "nonsense", pem), MACULA_CERTIFICATE_INVALID);
  assert_int_equal(io_tls_set_cert(f.tls, pem, pem), 0);
  assert_int_equal(peer_open(&f, &after, TLS13, NULL), 0);
  unsigned n;
  assert_int_equal(shake(&f, &before, 100000), GNUTLS_E_SUCCESS);
  assert_int_equal(shake(&f, &after, 100000), GNUTLS_E_SUCCESS);
  const gnutls_datum_t *a = gnutls_certificate_get_peers(before.session, &n);
  const gnutls_datum_t *b = gnutls_certificate_get_peers(after.session, &n);
  assert_true(a->size != b->size || memcmp(a->data, b->data, a->size) != 0);
  lost(&f, &before);
  lost(&f, &after);
  peer_done(&before);
  peer_done(&after);
  free(pem);
  fake_done(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_both_versions), cmocka_unit_test(test_room),           cmocka_unit_test(test_records),
      cmocka_unit_test(test_ends),          cmocka_unit_test(test_bad_handshakes), cmocka_unit_test(test_certificates),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
