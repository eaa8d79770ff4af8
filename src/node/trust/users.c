#include "node/trust/users.h"

#include <stdio.h>

#include "base/err.h"
#include "base/sha256.h"
#include "node/session/session.h"

/* rights.proof: the beginning of the hash's SHA-256, and the key of the check. */
_Static_assert(TOKEN_PROOF_LEN == 2 * PASSWORD_KEY_LEN, "both fit");

#define WHY(...) snprintf(n->trust.why, sizeof n->trust.why, __VA_ARGS__)

static bool login(const struct session *s, struct slice *ret_user, struct slice *ret_password) {
  *ret_user = *ret_password = SLICE_NONE;
  return s->door.ops->login && s->door.ops->login(&s->door, ret_user, ret_password);
}

static void digest_of(struct slice hash, uint8_t ret_digest[SHA256_LEN]) { sha256_of(hash, ret_digest); }

uint8_t *rights_proof(struct session *s) {
  if (!s->rights.proof) s->rights.proof = mem_calloc(&s->node->rows.mem[ROW_SESSIONS], 1, TOKEN_PROOF_LEN);
  return s->rights.proof;
}

void users_begin(struct session *s) {
  const struct access *a = s->node->trust.access;
  struct rights *r = &s->rights;
  struct slice user, password;
  uint8_t digest[SHA256_LEN] = {0};
  r->by_user = a && login(s, &user, &password);
  if (!r->by_user) return;
  const struct access_user *u = access_user(a, user);
  const uint8_t *vouched = door_shown(&s->door).vouched;
  if (u) digest_of(u->hash, digest);
  if (!rights_proof(s)) return; /* users_grant refuses it */
  memset(r->proof, 0, TOKEN_PROOF_LEN);
  memcpy(r->proof, vouched ? vouched : digest, PASSWORD_KEY_LEN);
}

bool node_vouch(const struct node *n, struct slice user, uint8_t ret_vouched[PASSWORD_KEY_LEN]) {
  const struct access_user *u = n->trust.access ? access_user(n->trust.access, user) : NULL;
  uint8_t digest[SHA256_LEN];
  if (!u) return false;
  digest_of(u->hash, digest);
  memcpy(ret_vouched, digest, PASSWORD_KEY_LEN);
  return true;
}

static int refuse(struct session *s) {
  struct node *n = s->node;
  struct slice user = session_user(s);
  n->trust.passwords.wrong++;
  WHY("the name or the password of the user '%.*s' is wrong", (int)user.n, (const char *)user.p);
  return MACULA_NOT_AUTHORIZED;
}

int users_grant(struct session *s, struct grant **ret_grant) {
  struct node *n = s->node;
  struct slice user = session_user(s);
  const struct access_user *u = access_user(n->trust.access, user);
  uint8_t digest[SHA256_LEN];
  if (!u && s->state == SESSION_FRESH) return refuse(s);
  if (u) digest_of(u->hash, digest);
  if (!u || !s->rights.proof || memcmp(digest, s->rights.proof, PASSWORD_KEY_LEN) != 0)
    return WHY("the user '%.*s' is not in the access file any more, or has another password", (int)user.n,
               (const char *)user.p),
           MACULA_NOT_AUTHORIZED;
  *ret_grant = u->grant;
  return 0;
}

/* As for accounts: of IPv6 the /64. */
static void address_of(const struct session *s, uint8_t ret_address[16]) {
  const struct addr *a = door_remote(&s->door);
  bool four = a->sa.sa_family == AF_INET;
  memset(ret_address, 0, 16);
  memcpy(ret_address, four ? (const void *)&a->v4.sin_addr : (const void *)&a->v6.sin6_addr, four ? 4 : 8);
}

/* Passwords that are being checked for this address. */
static uint32_t asked_by(const struct node *n, const uint8_t address[16]) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < n->trust.passwords.asked_count; i++)
    count += memcmp(n->trust.passwords.asked[i].address, address, 16) == 0;
  return count;
}

static struct password_asked *asked_find(struct node *n, const uint8_t key[PASSWORD_KEY_LEN]) {
  for (uint32_t i = 0; i < n->trust.passwords.asked_count; i++)
    if (!memcmp(n->trust.passwords.asked[i].key, key, PASSWORD_KEY_LEN)) return &n->trust.passwords.asked[i];
  return NULL;
}

static void asked_add(struct node *n, const uint8_t key[PASSWORD_KEY_LEN], const uint8_t address[16]) {
  if (asked_find(n, key) || n->trust.passwords.asked_count == PASSWORDS_WAITING) return;
  struct password_asked *a = &n->trust.passwords.asked[n->trust.passwords.asked_count++];
  memcpy(a->key, key, PASSWORD_KEY_LEN);
  memcpy(a->address, address, 16);
}

/* 0: *ret_known, or the verdict comes later. */
static int ask(struct session *s, const char **ret_text, bool *ret_known) {
  struct node *n = s->node;
  const struct node_process *p = &n->rows.process;
  struct slice user, password;
  (void)login(s, &user, &password);
  const struct access_user *u = access_user(n->trust.access, user);
  *ret_text = n->trust.why;
  if (!u || !password.p) return refuse(s);
  if (!p->password) return WHY("passwords are not checked here"), MACULA_NOT_AUTHORIZED;
  if (!s->rights.proof) return MACULA_ENOMEM;
  uint8_t address[16], *key = s->rights.proof + PASSWORD_KEY_LEN;
  address_of(s, address);
  bool may_wait = asked_by(n, address) < PASSWORDS_OF_ONE;
  int err = p->password(p->ctx, u->hash, password, n->now, may_wait, key, ret_known);
  if (!err && !*ret_known) asked_add(n, key, address);
  if (err == MACULA_EINVAL) return refuse(s); /* it is longer than any */
  if (err == MACULA_RATE_LIMITED) {
    n->trust.passwords.busy++;
    WHY("too many passwords are being checked: try again in a second");
  } else if (err) {
    *ret_text = NULL;
  }
  return err;
}

bool users_judge(void *ctx, struct session *s, const struct msg_connect *m) {
  const char *text;
  bool known = false;
  (void)ctx, (void)m;
  if (!s->rights.by_user || door_shown(&s->door).vouched) return false;
  int err = ask(s, &text, &known);
  if (err) session_settle(s, err, text);
  return !known;
}

void node_password_checked(struct node *n, const uint8_t key[PASSWORD_KEY_LEN], bool good) {
  struct password_asked *a = asked_find(n, key);
  if (a) *a = n->trust.passwords.asked[--n->trust.passwords.asked_count];
  list_for_safe(it, &n->sessions.judged) {
    struct session *s = container_of(it, struct session, judged.all);
    if (!s->rights.by_user || !s->rights.proof || memcmp(s->rights.proof + PASSWORD_KEY_LEN, key, PASSWORD_KEY_LEN) != 0)
      continue;
    s->judged.err = good ? 0 : MACULA_NOT_AUTHORIZED;
    list_remove(&s->judged.all);
    list_append(&n->sessions.verdicts, &s->judged.all);
  }
}

void users_tick(struct node *n) {
  while (!list_empty(&n->sessions.verdicts)) {
    struct session *s = container_of(n->sessions.verdicts.next, struct session, judged.all);
    struct grant *g;
    int err = s->judged.err ? refuse(s) : users_grant(s, &g); /* the file may be another one by now */
    session_settle(s, err, n->trust.why);
    if (node_spent(n)) return;
  }
}
