#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "lib/lib.h"

void remote_free(struct remote *r) {
  if (!r) return;
  if (r->resolving) io_resolve_cancel(r->resolving);
  free(r->known_path);
  free(r->pass_path);
  free(r->ca_pem);
  free(r);
}

static void dial(struct remote *r, const struct addr *addrs, size_t count) {
  struct client_target t = {.count = count, .insecure = r->insecure, .ca_pem = r->ca_pem};
  struct id known;
  unsigned line = 0;
  char text[SERVER_WHY_LEN];
  memcpy(t.addrs, addrs, count * sizeof *addrs);
  if (r->server.pinned && !r->insecure) {
    t.expect = &r->server.pin;
    snprintf(text, sizeof text, "the node at %s is not the one that the address names", r->server.host_port);
    t.mismatch = text;
  } else if (!r->insecure && r->known_path) {
    int err = known_find(&r->loop->known, r->known_path, r->server.host_port, &known, &line, text);
    if (err) {
      client_dial_failed(r->client, err, text);
      return;
    }
    if (line) {
      known_mismatch_text(r->known_path, r->server.host_port, line, text);
      t.expect = &known;
      t.mismatch = text;
    }
  }
  client_dial(r->client, &t);
}

static void resolved(void *ctx, const struct addr *addrs, size_t count, const char *why) {
  struct remote *r = ctx;
  macula_loop *l = r->loop;
  loop_lock(l);
  r->resolving = NULL;
  if (count)
    dial(r, addrs, count < CLIENT_MAX_ADDRS ? count : CLIENT_MAX_ADDRS);
  else if (!client_dial_again(r->client)) /* where it led before: names are not always answered when all else works */
    client_dial_failed(r->client, MACULA_NOT_CONNECTED, why ? why : "the name has no address");
  loop_unlock_quietly(l);
}

/* Nodes refuse a client whose certificate has ended. */
static void warn_of_end(struct remote *r, uint64_t unix_s, nanotime now) {
  char text[QUIC_END_TEXT_LEN];
  const char *when = quic_end_text(r->cert_end, unix_s, text);
  if (!when || now < r->cert_say_at) return;
  r->cert_say_at = time_add(now, 86400 * NS_SEC);
  log_warn(&r->loop->log, "certificate_ends", "text=\"this client's certificate %s: renew it\"", when);
}

void remote_dial(void *ctx, struct client *c) {
  macula_loop *l = ctx;
  struct remote *r = client_owner(c);
  struct addr a;
  uint64_t unix_s = io_unix_ms() / 1000;
  nanotime now = io_now();
  char why[SERVER_WHY_LEN];
  quic_set_clock(hub_quic(l->hub), unix_s, now); /* it may have been set right since */
  warn_of_end(r, unix_s, now);
  pass_watch(r, unix_s, now);
  if (pass_check_time(r, unix_s, why)) { /* not for good: the clock may be set right, the pass renewed */
    client_dial_failed(c, MACULA_NOT_CONNECTED, why);
    return;
  }
  if (addr_parse(r->server.host_port, 0, &a) == 0) {
    dial(r, &a, 1);
    return;
  }
  char host_port[SERVER_TEXT_LEN];
  server_look_up(&r->server, host_port);
  int err = io_resolve_start(l->io, host_port, DEFAULT_PORT, CLIENT_MAX_ADDRS, resolved, r, &r->resolving);
  if (err) client_dial_failed(c, err, "the name could not be looked up");
}

void remote_remind(void *ctx, struct client *c) {
  struct remote *r = client_owner(c);
  uint64_t unix_s = io_unix_ms() / 1000;
  (void)ctx;
  warn_of_end(r, unix_s, io_now());
  pass_watch(r, unix_s, io_now());
}

/* As ssh does: whoever answered first is trusted from now on, which somebody should compare. */
static void say_trusted(struct remote *r, const struct id *node) {
  char hex[ID_HEX_LEN + 1];
  id_hex(node, hex);
  log_warn(
      &r->loop->log, "node_trusted",
      "text=\"first contact with %s: it is trusted from now on by its id %s, kept in %s; is that the one that maculad prints "
      "there?\"",
      r->server.host_port, hex, r->known_path);
}

int remote_connected(void *ctx, struct client *c, const struct id *node) {
  macula_loop *l = ctx;
  struct remote *r = client_owner(c);
  char why[SERVER_WHY_LEN];
  if (r->server.pinned || r->insecure || r->ca_pem || r->vouched || !r->known_path) return 0;
  struct id met;
  unsigned line;
  bool added;
  if (!known_find(&l->known, r->known_path, r->server.host_port, &met, &line, why) && line && id_eq(&met, node)) return 0;
  int err = known_add(r->known_path, r->server.host_port, node, &added, why);
  if (err == MACULA_IDENTITY_MISMATCH) return err;
  if (err)
    log_warn(&l->log, "known_nodes_not_written", "error=\"%s\"", why);
  else if (added)
    say_trusted(r, node);
  return 0;
}
