#include "mesh.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define KNOWN_FILE "peers"
#define SEQ_FILE "sequence"
#define SEQ_MARGIN 65536 /* what a run may use between two writes: one a millisecond */
#define KNOWN_MAX (64u << 10)
#define SAVE_EVERY (60 * NS_SEC)
#define LOOK_UP_EVERY (10 * NS_SEC) /* while alone */
#define MAX_ADDRS 16

struct lookup {
  struct mesh *mesh;
  const struct config_seed *seed;
  struct io_resolve *running;
  bool said; /* that the name is unknown */
};

struct mesh {
  struct io_loop *loop;
  struct node *node;
  const struct log *log;
  char path[4200], seq_path[4200];
  uint64_t seq; /* written */
  char *saved;  /* what the file holds; NULL: nothing that we know */
  nanotime save_at, look_up_at;
  size_t count;
  struct lookup lookups[CONFIG_MAX_SEEDS];
};

static void resolved(void *ctx, const struct addr *addrs, size_t count, const char *why) {
  struct lookup *l = ctx;
  struct mesh *m = l->mesh;
  l->running = NULL;
  if (!count && !l->said)
    log_warn(m->log, "join_unknown", "name=%s text=\"%s; it is looked up again\"", l->seed->at, why ? why : "no address");
  l->said = !count;
  for (size_t i = 0; i < count; i++) (void)node_join(m->node, &addrs[i], l->seed->pinned ? &l->seed->id : NULL, true, io_now());
  io_loop_wake(m->loop);
}

static void look_up(struct mesh *m) {
  for (size_t i = 0; i < m->count; i++) {
    struct lookup *l = &m->lookups[i];
    if (l->running) continue;
    if (io_resolve_start(m->loop, l->seed->at, 9443, MAX_ADDRS, resolved, l, &l->running))
      log_warn(m->log, "join_unknown", "name=%s text=\"the name cannot be looked up\"", l->seed->at);
  }
  m->look_up_at = io_now() + LOOK_UP_EVERY;
}

/* False: not a line of ours. */
static bool join_known(struct mesh *m, char *line) {
  struct addr at;
  struct id id;
  char *host = strchr(line, '@');
  if (strncmp(line, "macula://", 9) != 0 || !host) return false;
  *host++ = 0;
  if (id_parse(slice_str(line + 9), &id) || addr_parse(host, 0, &at)) return false;
  (void)node_join(m->node, &at, &id, false, io_now());
  return true;
}

static void load(struct mesh *m) {
  char *text, *save, why[256];
  size_t len;
  unsigned bad = 0;
  int err = io_text_read(m->path, KNOWN_MAX, &text, &len, why);
  if (err == MACULA_ENOTFOUND) return;
  if (err) {
    log_warn(m->log, "peers_not_read", "text=\"%s\"", why);
    return;
  }
  for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) bad += !join_known(m, line);
  if (bad)
    log_warn(m->log, "peers_not_read", "text=\"%s: %u lines are no macula://ID@HOST:PORT; the others are used\"", m->path, bad);
  free(text);
}

int mesh_start(struct io_loop *loop, struct node *node, const struct log *log, const struct config *cfg,
               struct mesh **ret_mesh) {
  struct mesh *m = calloc(1, sizeof *m);
  if (!m) return MACULA_ENOMEM;
  m->loop = loop;
  m->node = node;
  m->log = log;
  m->save_at = io_now() + SAVE_EVERY;
  snprintf(m->path, sizeof m->path, "%.4000s/" KNOWN_FILE, cfg->state);
  snprintf(m->seq_path, sizeof m->seq_path, "%.4000s/" SEQ_FILE, cfg->state);
  for (; m->count < cfg->join.count; m->count++)
    m->lookups[m->count] = (struct lookup){.mesh = m, .seed = &cfg->join.at[m->count]};
  load(m);
  look_up(m);
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
  if (m->count && node_is_alone(m->node) && now >= m->look_up_at) look_up(m);
  if (!m->saved || now >= m->save_at) mesh_save(m);
}

void mesh_close(struct mesh *m) {
  if (!m) return;
  for (size_t i = 0; i < m->count; i++) io_resolve_cancel(m->lookups[i].running);
  free(m->saved);
  free(m);
}

int mesh_advertise(const char *host_port, struct addr *ret_addr, char ret_why[CONFIG_WHY_LEN]) {
  char host[256];
  const char *colon = strrchr(host_port, ':');
  struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *list = NULL;
  if (addr_parse(host_port, 9443, ret_addr) == 0) {
    if (!addr_is_any(ret_addr)) return 0;
    snprintf(ret_why, CONFIG_WHY_LEN, "advertise: %.200s is no address that anybody could reach", host_port);
    return MACULA_EINVAL;
  }
  snprintf(host, sizeof host, "%.*s", colon ? (int)(colon - host_port) : (int)strlen(host_port), host_port);
  int r = getaddrinfo(host, colon ? colon + 1 : "9443", &hints, &list);
  bool ok = r == 0 && list && list->ai_addrlen <= sizeof *ret_addr;
  if (ok) {
    memset(ret_addr, 0, sizeof *ret_addr);
    memcpy(ret_addr, list->ai_addr, list->ai_addrlen);
  } else {
    snprintf(ret_why, CONFIG_WHY_LEN, "advertise: cannot find the host %.200s: %s", host, r ? gai_strerror(r) : "no address");
  }
  if (list) freeaddrinfo(list);
  return ok ? 0 : MACULA_EINVAL;
}
