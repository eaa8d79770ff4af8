#include "mesh.h"

#include <dirent.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "trust/crypto.h"

#define SEQ_MARGIN 65536 /* what a run may use between two writes: one a millisecond */
#define KNOWN_MAX (64u << 10)
#define SAVE_EVERY (60 * NS_SEC)
#define LOOK_UP_MIN (10 * NS_SEC)
#define LOOK_UP_MAX (60 * NS_SEC) /* while there are others */
#define LOOK_UP_OWN (30 * NS_SEC) /* the name to advertise */
#define MAX_ADDRS 16

struct lookup {
  struct mesh *mesh;
  const struct config_seed *seed;
  struct io_resolve *running;
  bool is_name; /* and not an address, which leads nowhere else */
  bool said;    /* that the name is unknown */
  bool full;    /* it was said that there is no room for it */
  unsigned tries;
  nanotime at;
  size_t count;
  struct addr addrs[MAX_ADDRS]; /* where it led last */
};

struct kept { /* a list that is in its file */
  struct id realm;
  uint64_t number;
};

struct mesh {
  struct io_loop *loop;
  struct node *node;
  const struct log *log;
  char path[4200], seq_path[4200];
  const char *state;
  struct kept kept[ACCESS_MAX_REALMS];
  uint64_t seq; /* written */
  char *saved;  /* what the file holds; NULL: nothing that we know */
  nanotime save_at;
  const char *advertise; /* a name; NULL: none to look up */
  struct io_resolve *advertising;
  nanotime advertise_at;
  size_t count;
  struct lookup lookups[CONFIG_MAX_SEEDS];
};

static bool leads_to(const struct lookup *l, const struct addr *a) {
  for (size_t i = 0; i < l->count; i++)
    if (addr_eq(&l->addrs[i], a)) return true;
  return false;
}

static bool is_given(const struct mesh *m, const struct addr *a) {
  for (size_t i = 0; i < m->count; i++)
    if (leads_to(&m->lookups[i], a)) return true;
  return false;
}

static bool is_joined(const struct lookup *l) {
  for (size_t i = 0; i < l->count; i++)
    if (!node_joined(l->mesh->node, &l->addrs[i])) return false;
  return l->count > 0;
}

static void join_all(struct lookup *l) {
  struct mesh *m = l->mesh;
  bool was_full = l->full;
  l->full = false;
  for (size_t i = 0; i < l->count; i++) {
    int err = node_join(m->node, &l->addrs[i], l->seed->pinned ? &l->seed->id : NULL, true, io_now());
    if (err && !l->full && !was_full)
      log_warn(m->log, "join_left_out", "name=%s code=%s text=\"there is no room for more addresses to join by\"", l->seed->at,
               macula_err_name(err));
    l->full |= err != 0;
  }
}

/* Takes the addresses that the name has now; those that no name has any more are dropped, since they would fill the node's
 * table. */
static void follow(struct lookup *l, const struct addr *addrs, size_t count) {
  struct mesh *m = l->mesh;
  struct lookup was = *l;
  bool moved = false;
  memcpy(l->addrs, addrs, count * sizeof *addrs);
  l->count = count;
  for (size_t i = 0; i < was.count; i++) {
    moved |= !leads_to(l, &was.addrs[i]);
    if (!is_given(m, &was.addrs[i])) node_unjoin(m->node, &was.addrs[i]);
  }
  for (size_t i = 0; i < count; i++) moved |= !leads_to(&was, &addrs[i]);
  if (was.count && moved) log_info(m->log, "join_moved", "name=%s text=\"it leads to other addresses\"", l->seed->at);
  join_all(l);
}

static void later(struct lookup *l) {
  nanotime wait = LOOK_UP_MIN << (l->tries < 3 ? l->tries : 3);
  l->tries++;
  l->at = io_now() + (node_is_alone(l->mesh->node) ? LOOK_UP_MIN : time_min(wait, LOOK_UP_MAX));
}

static void unknown(struct lookup *l, const char *why) {
  if (!l->said) log_warn(l->mesh->log, "join_unknown", "name=%s text=\"%s; it is looked up again\"", l->seed->at, why);
  l->said = true;
}

static void resolved(void *ctx, const struct addr *addrs, size_t count, const char *why) {
  struct lookup *l = ctx;
  l->running = NULL;
  later(l);
  if (!count) {
    unknown(l, why ? why : "no address"); /* where it led before is tried on */
    return;
  }
  l->said = false;
  follow(l, addrs, count);
  io_loop_wake(l->mesh->loop);
}

static void look_up(struct lookup *l) {
  if (io_resolve_start(l->mesh->loop, l->seed->at, DEFAULT_PORT, MAX_ADDRS, resolved, l, &l->running) == 0) return;
  unknown(l, "the name cannot be looked up");
  later(l);
}

/* A name is looked up again as long as the node at one of its addresses is not connected, even if there are other links: that
 * node may have been replaced by one at another address. */
static void look_up_again(struct lookup *l, nanotime now) {
  if (!l->is_name || l->running || now < l->at) return;
  if (!is_joined(l)) {
    look_up(l);
    return;
  }
  l->tries = 0;
  l->at = now + LOOK_UP_MIN;
}

static void advertised(void *ctx, const struct addr *addrs, size_t count, const char *why) {
  struct mesh *m = ctx;
  struct addr good[MAX_ADDRS];
  char at[ADDR_TEXT_LEN];
  size_t n = 0;
  (void)why; /* what was found before stays */
  m->advertising = NULL;
  for (size_t i = 0; i < count; i++)
    if (!addr_is_link_local(&addrs[i])) good[n++] = addrs[i];
  if (!node_set_advertise(m->node, good, n)) return;
  addr_text(&good[0], at);
  log_info(m->log, "advertise_moved", "name=%s address=%s", m->advertise, at);
  io_loop_wake(m->loop);
}

static void look_up_advertised(struct mesh *m, nanotime now) {
  if (!m->advertise || m->advertising || now < m->advertise_at) return;
  m->advertise_at = now + LOOK_UP_OWN;
  (void)io_resolve_start(m->loop, m->advertise, DEFAULT_PORT, MAX_ADDRS, advertised, m, &m->advertising);
}

/* False: not a line of ours. */
static bool join_known(struct mesh *m, const char *line) {
  struct addr at;
  struct id id;
  if (server_parse_node(line, &id, &at) || !addr_is_set(&at)) return false;
  (void)node_join(m->node, &at, &id, false, io_now());
  return true;
}

/* Number of nodes that the last run knew. */
static unsigned load(struct mesh *m) {
  char *text, *save, why[256];
  size_t len;
  unsigned good = 0, bad = 0;
  int err = io_text_read(m->path, KNOWN_MAX, &text, &len, why);
  if (err == MACULA_ENOTFOUND) return 0;
  if (err) {
    log_warn(m->log, "peers_not_read", "text=\"%s\"", why);
    return 0;
  }
  for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
    if (join_known(m, line))
      good++;
    else
      bad++;
  if (bad)
    log_warn(m->log, "peers_not_read", "text=\"%s: %u lines are no macula://ID@HOST:PORT; the others are used\"", m->path, bad);
  free(text);
  return good;
}

static void await_others(struct mesh *m, unsigned remembered) {
  char more[300] = "";
  if (!m->count && !remembered) return;
  node_will_join(m->node);
  if (remembered)
    snprintf(more, sizeof more, "; `macula known --state %.200s` lists and forgets those of the last run", m->state);
  log_info(m->log, "joining",
           "remembered=%u configured=%zu text=\"clients' messages and calls wait up to %u s for these nodes%s\"", remembered,
           m->count, (unsigned)(NODE_START_TIME / NS_SEC), more);
}

int mesh_start(struct io_loop *loop, struct node *node, const struct log *log, const struct config *cfg,
               struct mesh **ret_mesh) {
  struct mesh *m = calloc(1, sizeof *m);
  struct addr a;
  if (!m) return MACULA_ENOMEM;
  m->loop = loop;
  m->node = node;
  m->log = log;
  m->state = cfg->state;
  m->save_at = io_now() + SAVE_EVERY;
  snprintf(m->path, sizeof m->path, "%.4000s/" KNOWN_FILE, cfg->state);
  snprintf(m->seq_path, sizeof m->seq_path, "%.4000s/" SEQ_FILE, cfg->state);
  for (; m->count < cfg->join.count; m->count++) {
    const struct config_seed *seed = &cfg->join.at[m->count];
    m->lookups[m->count] = (struct lookup){.mesh = m, .seed = seed, .is_name = addr_parse(seed->at, DEFAULT_PORT, &a) != 0};
  }
  m->advertise = cfg->advertise && addr_parse(cfg->advertise, DEFAULT_PORT, &a) ? cfg->advertise : NULL;
  m->advertise_at = io_now() + LOOK_UP_OWN; /* it was looked up just now */
  await_others(m, load(m));
  mesh_read_revoked(m);
  for (size_t i = 0; i < m->count; i++) look_up(&m->lookups[i]);
  *ret_mesh = m;
  return 0;
}

static void save_seq(struct mesh *m) {
  char text[32], why[256];
  uint64_t seq = node_last_seq(m->node);
  if (seq == m->seq) return;
  snprintf(text, sizeof text, "%llu\n", (unsigned long long)seq);
  if (io_file_write(m->seq_path, slice_str(text), 0600, why))
    log_warn(m->log, "sequence_not_written", "text=\"%s\"", why);
  else
    m->seq = seq;
}

/* ---- lists of revoked passes: one file a realm -----------------------------------------------------------------------------
 */
static void save_revoked(struct mesh *m) {
  const struct revoked *r;
  for (size_t i = 0; (r = node_revoked(m->node, i)); i++) {
    char path[4300], hex[ID_HEX_LEN + 1], why[256], *text;
    struct kept *k = NULL;
    for (size_t j = 0; j < ACCESS_MAX_REALMS && !k; j++)
      if (!m->kept[j].number || id_eq(&m->kept[j].realm, revoked_realm(r))) k = &m->kept[j];
    if (!k) k = &m->kept[0]; /* realms came and went: it is written once too often */
    if (id_eq(&k->realm, revoked_realm(r)) && k->number == revoked_number(r)) continue;
    id_hex(revoked_realm(r), hex);
    snprintf(path, sizeof path, "%.4000s/" REVOKED_PREFIX "%s", m->state, hex);
    if (crypto_armor(REVOKED_LABEL, revoked_bytes(r), &text)) return;
    int err = io_file_write(path, slice_str(text), 0600, why);
    free(text);
    if (err) {
      log_warn(m->log, "revoked_not_written", "text=\"%s\"", why);
      continue;
    }
    *k = (struct kept){*revoked_realm(r), revoked_number(r)};
  }
}

static void read_revoked(struct mesh *m, const char *path) {
  char *text, why[PASS_WHY_LEN] = "no memory";
  uint8_t *list = malloc(REVOKED_MAX_BYTES);
  size_t n, len;
  int err = list ? io_text_read(path, 2 * REVOKED_MAX_BYTES, &text, &n, why) : MACULA_ENOMEM;
  if (!err) {
    err = crypto_unarmor(REVOKED_LABEL, slice_of(text, n), list, REVOKED_MAX_BYTES, &len);
    snprintf(why, sizeof why, "it holds no list");
    free(text);
    if (!err) err = node_revoke(m->node, slice_of(list, len), io_now(), why);
  }
  free(list);
  if (err && err != MACULA_NOT_AUTHORIZED) /* a realm that is not trusted any more */
    log_warn(m->log, "revoked_not_read", "file=%s text=\"%s; the other nodes tell what it held\"", path, why);
}

void mesh_read_revoked(struct mesh *m) {
  char path[4400];
  DIR *d = opendir(m->state);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (strncmp(e->d_name, REVOKED_PREFIX, strlen(REVOKED_PREFIX)) != 0 ||
        strlen(e->d_name) != strlen(REVOKED_PREFIX) + ID_HEX_LEN)
      continue;
    snprintf(path, sizeof path, "%.4000s/%.300s", m->state, e->d_name);
    read_revoked(m, path);
  }
  if (d) closedir(d);
}

uint64_t mesh_last_seq(const struct config *cfg, const struct log *log) {
  char path[4200], *text, *end, why[256];
  size_t len;
  snprintf(path, sizeof path, "%.4000s/" SEQ_FILE, cfg->state);
  int err = io_text_read(path, 64, &text, &len, why);
  if (err && err != MACULA_ENOTFOUND) log_warn(log, "sequence_not_read", "text=\"%s; the clock is relied on\"", why);
  if (err) return 0;
  unsigned long long seq = strtoull(text, &end, 10);
  bool is_number = end > text && strspn(end, "\r\n") == strlen(end) && seq < UINT64_MAX / 2;
  if (!is_number) log_warn(log, "sequence_not_read", "text=\"%s holds no number; the clock is relied on\"", path);
  free(text);
  return is_number && seq ? seq + SEQ_MARGIN : 0;
}

/* An empty list never replaces what is known: a node that is alone now wants to find the others again. */
void mesh_save(struct mesh *m) {
  char *text, why[256];
  m->save_at = io_now() + SAVE_EVERY;
  save_seq(m);
  save_revoked(m);
  if (node_known_peers(m->node, &text)) return;
  bool is_new = text[0] && (!m->saved || strcmp(text, m->saved) != 0);
  if (is_new && io_file_write(m->path, slice_str(text), 0600, why) != 0) {
    log_warn(m->log, "peers_not_written", "text=\"%s; the old list stays\"", why);
    is_new = false;
  }
  if (is_new) {
    free(m->saved);
    m->saved = text;
  } else {
    free(text);
  }
}

void mesh_upkeep(struct mesh *m) {
  nanotime now = io_now();
  for (size_t i = 0; i < m->count; i++) look_up_again(&m->lookups[i], now);
  look_up_advertised(m, now);
  save_revoked(m);
  if (!m->saved || now >= m->save_at) mesh_save(m);
}

void mesh_close(struct mesh *m) {
  if (!m) return;
  for (size_t i = 0; i < m->count; i++) io_resolve_cancel(m->lookups[i].running);
  io_resolve_cancel(m->advertising);
  free(m->saved);
  free(m);
}

static int find_host(const char *host, const char *port, struct addr *ret_addr) {
  struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *list = NULL;
  struct addr a;
  int r = getaddrinfo(host, port, &hints, &list);
  bool found = false;
  for (struct addrinfo *i = r ? NULL : list; i && !found; i = i->ai_next) {
    if (i->ai_addrlen > sizeof a) continue;
    memset(&a, 0, sizeof a);
    memcpy(&a, i->ai_addr, i->ai_addrlen);
    found = addr_can_be_node(&a) && !addr_is_link_local(&a);
  }
  if (list) freeaddrinfo(list);
  if (found) *ret_addr = a;
  return found ? 0 : r ? r : EAI_NONAME;
}

int mesh_advertise(const char *host_port, struct addr *ret_addr, char ret_why[CONFIG_WHY_LEN]) {
  struct server s;
  char why[SERVER_WHY_LEN], host[SERVER_TEXT_LEN];
  int err = server_parse(host_port, &s, why), r;
  if (err) return err; /* config.c has said so */
  if (addr_parse(s.host_port, DEFAULT_PORT, ret_addr) == 0) return 0;
  server_look_up(&s, host);
  char *colon = strrchr(host, ':'); /* a name has no other */
  *colon = 0;
  r = find_host(host, colon + 1, ret_addr);
  if (r && s.rooted) { /* files of hosts know it without the dot */
    colon[-1] = 0;
    r = find_host(host, colon + 1, ret_addr);
  }
  if (!r) return 0;
  snprintf(ret_why, CONFIG_WHY_LEN, "advertise: cannot find the host %.200s: %s", host, gai_strerror(r));
  return MACULA_EINVAL;
}
