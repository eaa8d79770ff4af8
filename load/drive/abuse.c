/* What no well-behaved client does: for this it reaches into the client's core. */
#include "load/drive/abuse.h"

#include "client/internal.h"

void load_abuse_reset(struct load_client *k) {
  if (!k->c || !k->c->conn) return;
  k->leaving = true;
  quic_stream_reset(k->c->conn, k->c->stream, 0);
  load_wake(k->crowd->l);
}

/* Like a client whose address has changed and whose old connection just falls silent: the node notices only by the new one. */
void load_abuse_vanish(struct load_client *k) {
  struct quic_conn *conn = k->c ? k->c->conn : NULL;
  if (!conn) return;
  k->c->conn = NULL;
  quic_conn_set_user(conn, NULL);
  quic_conn_drop(conn);
  client_lost(k->c, MACULA_NOT_CONNECTED, slice_str("vanished for the test"));
  load_wake(k->crowd->l);
}

void load_abuse_stop_renewing(struct load_client *k) {
  if (!k->c) return;
  list_for(it, &k->c->entries[ENTRY_SERVICE]) {
    struct entry *e = container_of(it, struct entry, in);
    heap_set(&k->c->hub->entry_due, &e->due, TIME_NEVER);
  }
}

void load_abuse_stop_reading(struct load_client *k) {
  if (k->c) k->c->deaf = true;
}

int load_abuse_open_streams(struct load_client *k, size_t count) {
  static const uint8_t half_a_header[4] = {FRAME_VERSION, MSG_PUBLISH, 0, 0};
  int opened = 0;
  if (!k->c || !k->c->conn) return 0;
  for (size_t i = 0; i < count; i++) {
    int64_t id;
    if (quic_stream_open(k->c->conn, &id)) break;
    quic_stream_write(k->c->conn, id, slice_of(half_a_header, sizeof half_a_header));
    opened++;
  }
  load_wake(k->crowd->l);
  return opened;
}
