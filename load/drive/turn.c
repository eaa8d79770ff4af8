#include "load/drive/turn.h"

#include "load/drive/nodes.h"
#include "load/drive/relay.h"
#include "load/drive/still.h"
#include "load/drive/watch.h"
#include "load/report/latency.h"

void load_turn(struct load *l, nanotime now) {
  load_still_turn(l, now);
  load_nodes_look(l);
  load_relays_look(l);
  load_watch_step(l, now);
  load_latency_step(l, now, false);
}
