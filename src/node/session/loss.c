#include "node/session/loss.h"

#include "base/err.h"
#include "node/session/session.h"

#define LINES_A_SECOND 2.0 /* about all sessions */
#define LINES_AT_ONCE 20.0

void loss_note(struct session *s) {
  struct node *n = s->node;
  s->dropped++;
  s->untold++;
  if (!s->peer) n->stats.dropped++;
  if (!list_empty(&s->noticed) || s->state != SESSION_IN) return;
  s->notice_at = time_add(n->now, NS_SEC);
  list_append(&n->sessions.noticed, &s->noticed);
}

static void log_it(struct session *s, uint64_t count) {
  struct node *n = s->node;
  char at[ADDR_TEXT_LEN], who[ID_HEX_LEN + 1] = "none";
  if (!s->door.conn) return; /* the node itself ends */
  if (!bucket_take(&n->sessions.losses, LINES_A_SECOND, LINES_AT_ONCE, n->now)) {
    n->sessions.losses_left_out++;
    return;
  }
  addr_text(door_remote(&s->door), at);
  if (door_id(&s->door)) id_hex(door_id(&s->door), who);
  log_warn(n->log, "messages_dropped",
           "name=\"%s\" id=%s address=%s count=%llu all=%llu left_out=%llu text=\"read too slowly\"", s->name ? s->name : "",
           who, at, (unsigned long long)count, (unsigned long long)s->dropped, (unsigned long long)n->sessions.losses_left_out);
  n->sessions.losses_left_out = 0;
}

void loss_say(struct session *s) {
  uint64_t count = s->untold;
  if (!count) return;
  s->untold = 0;
  log_it(s, count);
  if (s->state != SESSION_IN || !(s->caps & CAP_NOTICE)) return;
  struct msg m = {.type = MSG_NOTICE,
                  .notice = {.code = slice_str(macula_err_name(MACULA_DROPPED)),
                             .message = slice_str("messages were dropped as they were read too slowly"),
                             .count = count}};
  session_tell(s, &m, false);
}
