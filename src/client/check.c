/* What must hold of a hub: of its clients and their entries. */
#include "base/check.h"
#include "client/internal.h"

struct sums {
  uint32_t live, clients, all;
};

static const char *entry_check(const struct client *c, const struct entry *e, enum entry_kind of, size_t *held) {
  const struct hub *h = c->hub;
  CHECK(e->c == c && e->id && e->id <= h->last_id && entry_find(h, e->id) == e, "client: an entry is not found by its number");
  CHECK(heap_has(&h->entry_due, &e->due), "client: an entry has no time");
  /* A subscription or service that was ended stays in its list until `done` was called, as a request that waits for
   * confirmation. */
  CHECK(e->kind == of || (e->kind == ENTRY_CONFIRM && (of == ENTRY_SUB || of == ENTRY_SERVICE)),
        "client: an entry is in the list of another kind");
  if (e->kind == ENTRY_CONFIRM) *held += e->len;
  return NULL;
}

static const char *entries_check(const struct client *c, struct sums *sums) {
  uint32_t live[ENTRY_KINDS] = {0};
  size_t held = 0;
  for (int kind = 0; kind < ENTRY_KINDS; kind++) {
    CHECK(list_holds(&c->entries[kind]), "client: a list of entries is broken");
    list_for(it, &c->entries[kind]) {
      const struct entry *e = container_of(it, const struct entry, in);
      CHECK(!e->dead || c->busy || c->sweep, "client: an entry that has ended is never freed");
      if (e->dead) continue;
      CHECK_PART(entry_check(c, e, (enum entry_kind)kind, &held));
      live[e->kind]++;
      sums->live++;
    }
  }
  CHECK(live[ENTRY_CALL] == c->calls && live[ENTRY_SERVED] == c->served,
        "client: calls and requests are not as many as counted");
  CHECK(held == c->held, "client: the bytes kept are not as many as counted");
  return NULL;
}

static const char *client_check(const struct hub *h, const struct client *c, bool grave, struct sums *sums) {
  CHECK(c->hub == h, "client: one of another hub");
  CHECK(htab_has(&h->by_id, &c->h, &c->id, sizeof c->id), "client: one is not found by its number");
  CHECK(grave ? !c->due.pos : heap_has(&h->client_due, &c->due), "client: one has no timer, or one that has ended has");
  CHECK(!c->conn || quic_conn_user(c->conn) == c, "client: its connection is another's");
  CHECK(c->conn || (c->stream < 0 && !c->opened && !c->has_node), "client: a stream or a node without a connection");
  CHECK(c->state != MACULA_CONNECTED || c->closing || (c->conn && c->opened), "client: connected without a connection");
  CHECK(c->state != MACULA_DISCONNECTED || !c->conn, "client: disconnected with a connection");
  CHECK(!c->dialing || !c->conn, "client: it looks for an address and has a connection");
  CHECK(!grave || (c->state == MACULA_CLOSED && c->closing), "client: one that has ended is not closed");
  sums->clients += !grave;
  sums->all++;
  return entries_check(c, sums);
}

const char *hub_check(const struct hub *h) {
  struct sums sums = {0};
  CHECK_PART(htab_check(&h->entries));
  CHECK_PART(htab_check(&h->by_id));
  CHECK_PART(heap_check(&h->entry_due));
  CHECK_PART(heap_check(&h->client_due));
  CHECK(list_holds(&h->clients) && list_holds(&h->grave), "client: a list of clients is broken");
  list_for(it, &h->clients) CHECK_PART(client_check(h, container_of(it, const struct client, in), false, &sums));
  list_for(it, &h->grave) CHECK_PART(client_check(h, container_of(it, const struct client, in), true, &sums));
  CHECK(sums.clients == h->client_due.count, "client: the timers are not as many as the clients");
  CHECK(sums.all == h->by_id.count, "client: a number leads to one that is gone");
  CHECK(sums.live == h->entries.count && sums.live == h->entry_due.count, "client: an entry is in no client's list");
  return quic_check(h->quic);
}
