/* What must hold of sessions: each is on the lists that its state says, and one that has ended owns nothing. */
#include "base/check.h"
#include "node/session/lane.h"
#include "node/session/session.h"

struct sums {
  uint32_t fresh, dialling, doomed, paused, watched, judged, leaving, noticed, clients;
};

static bool is_watched(const struct session *s) { return s->native && !list_empty(&s->native->watch); }

static const char *ended_check(const struct session *s) {
  CHECK(s->state == SESSION_OVER, "session: one that has ended is not over");
  CHECK(list_empty(&s->doomed) && list_empty(&s->paused) && !is_watched(s) && list_empty(&s->leaving.all),
        "session: one that has ended is in a list of the living");
  CHECK(list_empty(&s->streams) && list_empty(&s->replays) && s->window.size == STREAM_WINDOW,
        "session: one that has ended holds what it received, or is to be sent more");
  CHECK(!s->peer, "session: one that has ended is a peer's link");
  CHECK(list_empty(&s->noticed), "session: one that has ended is to be told more");
  if (!s->client.session) return NULL;
  CHECK(!s->client.in && !s->topics.count && !s->unacked.count && list_empty(&s->gets.all),
        "session: one that has ended is still a client");
  CHECK(!s->native || (list_empty(&s->native->rpc.calls.made) && list_empty(&s->native->rpc.calls.taken)),
        "session: one that has ended has calls under way");
  return NULL;
}

static const char *state_check(const struct session *s) {
  bool listed = !list_empty(&s->fresh);
  CHECK(list_empty(&s->judged.all) || (s->state == SESSION_JUDGING && !s->judged.given),
        "session: one waits for a verdict that has none to come");
  switch (s->state) {
  case SESSION_JUDGING:
    CHECK(listed && !list_empty(&s->judged.all) && s->judged.way >= 0, "session: one that is judged waits for nothing");
    CHECK(!s->client.session && !s->dialled && !s->peer, "session: one that is judged is let in");
    break;
  case SESSION_FRESH:
  case SESSION_DIALLING:
    CHECK(listed && (s->state == SESSION_DIALLING) == s->dialled, "session: one before CONNECT is in no list of those");
    CHECK(!s->client.session, "session: one before CONNECT is a client");
    break;
  case SESSION_IN:
    CHECK(!listed && s->door.home >= 0, "session: one that is in waits for CONNECT, or has no stream");
    CHECK((s->client.session != 0) == !s->peer, "session: one that is in is no client and no link, or both");
    CHECK(!s->client.session || (s->client.in && s->client.user == s && s->client.session == s->serial),
          "session: a client is not in the table of clients");
    CHECK(!s->peer || s->peer->link == s, "session: one that is in is not its peer's link");
    break;
  case SESSION_OVER:
    CHECK(!listed && s->ended == list_empty(&s->doomed), "session: one that is over ends never, or twice");
    break;
  }
  CHECK(s->state == SESSION_OVER || (!s->ended && list_empty(&s->doomed)), "session: one that lives is to end");
  CHECK(s->state == SESSION_OVER || s->watched == is_watched(s),
        "session: one that is watched is not among those, or another is");
  return NULL;
}

static const char *session_is(const struct node *n, const struct session *s, struct sums *sums) {
  CHECK(s->node == n && s->door.ops && s->door.ops->is_owner(&s->door, s) && s->door.serial == s->serial,
        "session: its connection is another's");
  CHECK(s->at < 0, "session: a frame is being handled between turns");
  CHECK(s->window.size >= STREAM_WINDOW, "session: a window is smaller than at the start");
  CHECK(list_holds(&s->streams) && list_holds(&s->replays), "session: a list is broken");
  CHECK(!s->peer || s->peer->link == s || s->peer->dial == s, "session: its peer does not know it");
  CHECK(!s->native || !s->native->seed || s->native->seed->dial == s,
        "session: the address that it was dialled for does not know it");
  CHECK_PART(state_check(s));
  CHECK(!s->judged.connect, "session: a CONNECT is being handled between turns");
  if (s->ended) CHECK_PART(ended_check(s));
  CHECK_PART(lanes_check(s));
  sums->fresh += s->state == SESSION_FRESH || s->state == SESSION_JUDGING;
  sums->dialling += s->state == SESSION_DIALLING;
  sums->doomed += !list_empty(&s->doomed);
  sums->paused += !list_empty(&s->paused);
  sums->judged += !list_empty(&s->judged.all);
  sums->leaving += !list_empty(&s->leaving.all);
  sums->noticed += !list_empty(&s->noticed);
  CHECK(!s->unnoticed || !list_empty(&s->noticed), "session: what was refused is never told");
  CHECK(!s->untold || s->state != SESSION_IN || !list_empty(&s->noticed), "session: what was dropped is never told");
  sums->watched += is_watched(s);
  sums->clients += s->client.in;
  return NULL;
}

/* Whether the list is ordered by age, the oldest session first. */
static bool in_order(const struct list *fresh) {
  nanotime last = 0;
  list_for(it, fresh) {
    const struct session *s = container_of(it, const struct session, fresh);
    if (s->since < last) return false;
    last = s->since;
  }
  return true;
}

const char *sessions_check(const struct node *n) {
  const struct sessions *ss = &n->sessions;
  struct sums sums = {0};
  CHECK(list_has(&ss->all, ss->count), "session: they are not as many as counted");
  list_for(it, &ss->all) CHECK_PART(session_is(n, container_of(it, const struct session, all), &sums));
  CHECK(list_has(&ss->fresh, sums.fresh), "session: those before CONNECT are not as many as say so");
  CHECK(list_has(&n->peers.dialling, sums.dialling), "session: those that are dialled are not as many as say so");
  CHECK(list_has(&ss->doomed, sums.doomed), "session: those that are to end are not as many as say so");
  for (int i = 0; i < LATERS; i++) {
    CHECK(list_holds(&n->receive.later[i]), "session: a list of those that wait is broken");
    sums.paused -= list_count(&n->receive.later[i]);
  }
  CHECK(list_has(&ss->paused, sums.paused), "session: the paused are not as many as say so");
  CHECK(list_has(&ss->watched, sums.watched), "session: the watched are not as many as say so");
  sums.judged -= list_count(&ss->verdicts);
  CHECK(list_has(&ss->judged, sums.judged), "session: those that are judged are not as many as say so");
  CHECK(list_has(&ss->leaving, sums.leaving), "session: those that leave are not as many as say so");
  CHECK_PART(filled_check(n));
  CHECK(list_has(&ss->noticed, sums.noticed), "session: those that had a NOTICE are not as many as say so");
  CHECK(in_order(&ss->fresh) && in_order(&n->peers.dialling), "session: those before CONNECT are not in order");
  CHECK_PART(clients_check(&ss->clients));
  CHECK(sums.clients == clients_total(&ss->clients), "session: a client has no session");
  return NULL;
}

size_t sessions_owned(const struct node *n) {
  size_t sum = 0;
  list_for(it, &n->sessions.all) {
    const struct session *s = container_of(it, const struct session, all);
    sum += mem_cost(s) + mem_cost(s->name) + mem_cost(s->unnoticed_text) + mem_cost(s->rights.last) + mem_cost(s->own) +
           mem_cost(s->lanes.lane) + mem_cost(s->rights.proof);
  }
  return sum;
}
