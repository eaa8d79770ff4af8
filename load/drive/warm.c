#include "load/drive/warm.h"

#include <stdio.h>

#include "load/drive/abuse.h"
#include "load/drive/crowd.h"

/* One cycle of clients with services come and go at a node, after which its memory counts: tables have grown to what they keep,
 * and the DHT holds the tombstones of what was withdrawn. */
int load_warm(struct load_task *t, struct load_node *n, size_t clients, size_t services, uint64_t until_ended) {
  struct load *l = t->l;
  struct load_crowd *c;
  char name[128];
  int code = load_crowd_new(l, n, clients, &c);
  if (code) return code;
  load_phase(t, &c->was_in, clients, "%s warms up", n->name);
  load_crowd_connect(c, 0, clients, 48);
  load_wait(t, load_crowd_decided, c, 120);
  for (size_t i = 0; i < clients; i++) {
    snprintf(name, sizeof name, "load.warm.%s.c%zu", n->name, i);
    load_client_subscribe(&c->v[i], name);
    for (size_t k = 0; k < services / clients; k++) {
      snprintf(name, sizeof name, "load.warm.%s.c%zu.s%zu", n->name, i, k);
      load_client_serve(&c->v[i], name, 300000);
    }
  }
  load_wake(l);
  load_reach(t, &c->confirmed, clients * (1 + services / clients), 120);
  for (size_t i = 0; i < clients && until_ended; i++) load_abuse_open_streams(&c->v[i], 2);
  load_sleep(t, 2); /* the records travel */
  load_reach(t, &l->tasks_ended, until_ended, 60);
  load_crowd_leave(c, 0, clients);
  load_figure_is(t, n, FIG_CLIENTS, 0, 30);
  load_crowd_free(t, c);
  return 0;
}
