/* The pass that a client shows. Its file is read again before each connection, so that a pass that was renewed counts without a
 * restart. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "lib/lib.h"
#include "trust/pass.h"

#define MAX_TEXT (4u * PASS_MAX)
#define END_SOON (7 * 86400u) /* seconds */

static int read_file(const char *path, uint8_t ret_bytes[PASS_MAX], size_t *ret_len, char *ret_why) {
  char *text, why[256];
  size_t n;
  int err = io_text_read(path, MAX_TEXT, &text, &n, why);
  if (err) {
    snprintf(ret_why, SERVER_WHY_LEN, "%.255s", why);
    return err;
  }
  err = crypto_unarmor(PASS_LABEL, slice_of(text, n), ret_bytes, PASS_MAX, ret_len);
  free(text);
  if (err)
    snprintf(ret_why, SERVER_WHY_LEN,
             "%.200s holds no pass: it begins with -----BEGIN " PASS_LABEL "-----, and 'macula pass new' makes one", path);
  return err ? MACULA_EINVAL : 0;
}

/* Whether it is a pass for this identity. When it counts is another question: times change. */
static int judge(struct remote *r, struct slice bytes, struct pass *ret_pass, char *ret_why) {
  char why[PASS_WHY_LEN], hex[ID_HEX_LEN + 1], own[ID_HEX_LEN + 1];
  enum pass_verdict v = pass_decode(bytes, ret_pass, why);
  if (!v && !id_eq(&pass_effective(ret_pass)->holder, &r->own)) {
    id_hex(&pass_effective(ret_pass)->holder, hex);
    id_hex(&r->own, own);
    snprintf(
        ret_why, SERVER_WHY_LEN,
        "the pass in %.200s is for the identity %s, and this client's is %s: use the identity that it was made for, or ask "
        "for a pass for this one",
        r->pass_path, hex, own);
    return MACULA_PASS_INVALID;
  }
  struct pass_trust trust = {.realms = &ret_pass->realm, .realm_count = 1, .now = pass_effective(ret_pass)->not_after};
  if (!v) v = pass_verify(bytes, &trust, ret_pass, why);
  if (v) snprintf(ret_why, SERVER_WHY_LEN, "%.200s: %.400s", r->pass_path, why);
  return v == PASS_NO_MEMORY ? MACULA_ENOMEM : v ? MACULA_PASS_INVALID : 0;
}

int pass_load(struct remote *r, uint8_t ret_bytes[PASS_MAX], size_t *ret_len, char ret_why[SERVER_WHY_LEN]) {
  struct pass pass;
  struct stat st;
  bool is_there = stat(r->pass_path, &st) == 0; /* before reading: what changes in between is read again next time */
  int err = read_file(r->pass_path, ret_bytes, ret_len, ret_why);
  if (!err) err = judge(r, slice_of(ret_bytes, *ret_len), &pass, ret_why);
  if (err) return err;
  r->pass_file = is_there ? st : (struct stat){0};
  r->pass_realm = pass.realm;
  r->pass_from = pass_effective(&pass)->not_before;
  r->pass_end = pass_effective(&pass)->not_after;
  return 0;
}

int pass_check_time(const struct remote *r, uint64_t unix_s, char ret_why[SERVER_WHY_LEN]) {
  if (!r->pass_path || (unix_s >= r->pass_from && unix_s <= r->pass_end)) return 0;
  bool early = unix_s < r->pass_from;
  if (early)
    snprintf(ret_why, SERVER_WHY_LEN, "the pass in %.200s begins in %llu s: is the clock right?", r->pass_path,
             (unsigned long long)(r->pass_from - unix_s));
  else
    snprintf(ret_why, SERVER_WHY_LEN, "the pass in %.200s ended %llu s ago: ask for another", r->pass_path,
             (unsigned long long)(unix_s - r->pass_end));
  return early ? MACULA_PASS_INVALID : MACULA_PASS_EXPIRED;
}

/* A file that is unreadable, or not whole yet, leaves the pass that there was. */
static void renew(struct remote *r) {
  uint8_t bytes[PASS_MAX];
  char why[SERVER_WHY_LEN];
  struct stat st;
  size_t n;
  if (stat(r->pass_path, &st) || same_file(&st, &r->pass_file)) return;
  int err = pass_load(r, bytes, &n, why);
  if (!err) err = client_set_pass(r->client, slice_of(bytes, n));
  if (err) log_warn(&r->loop->log, "pass_not_read", "code=%s text=\"%s\"", macula_err_name(err), why);
}

void pass_watch(struct remote *r, uint64_t unix_s, nanotime now) {
  char text[QUIC_END_TEXT_LEN];
  if (!r->pass_path) return;
  renew(r);
  if (unix_s > r->pass_end || r->pass_end - unix_s > END_SOON || now < r->pass_say_at) return;
  r->pass_say_at = time_add(now, 86400 * NS_SEC);
  log_warn(&r->loop->log, "pass_ends", "text=\"the pass in %s %s: ask for another\"", r->pass_path,
           quic_end_text(r->pass_end, unix_s, text));
}
