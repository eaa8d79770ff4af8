#include "load/drive/lru.h"

#include <stdlib.h>

bool load_lru_init(struct load_lru *m, size_t peers, size_t max) {
  *m = (struct load_lru){.peers = peers, .max = max, .used = calloc(peers ? peers : 1, sizeof *m->used)};
  return m->used != NULL;
}

void load_lru_done(struct load_lru *m) {
  free(m->used);
  m->used = NULL;
}

static void evict(struct load_lru *m) {
  size_t oldest = m->peers;
  for (size_t i = 0; i < m->peers; i++)
    if (m->used[i] && (oldest == m->peers || m->used[i] < m->used[oldest])) oldest = i;
  if (oldest == m->peers) return;
  m->used[oldest] = 0;
  m->count--;
  m->evictions++;
}

bool load_lru_use(struct load_lru *m, size_t peer) {
  bool dial = !load_lru_has(m, peer);
  if (dial && m->count >= m->max) evict(m);
  if (dial) {
    m->count++;
    m->dials++;
  }
  m->used[peer] = ++m->clock;
  return dial;
}
