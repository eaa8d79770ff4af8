/* What must hold of the members is missed when it is broken; that it holds is seen in all tests of this folder (rig.h). */
#include "membership/internal.h"

#include "rig.h"

static struct rig r;
static struct membership *m;
#define SEES(what, wrong, text) BREAKS(what, wrong, membership_check(m), text)

static struct entry *entry(uint32_t n) {
  struct id id = rig_id(n);
  return table_find(m, &id);
}

/* 1 to 4 are connected and alive, 5 and 6 suspects (6 by our own word), 7 dead, 8 to 20 heard of. */
static void setup(void) {
  rig_init(&r);
  m = r.m;
  for (uint32_t i = 1; i <= 7; i++) rig_met(&r, i);
  for (uint32_t i = 8; i <= 20; i++) rig_say(&r, SWIM_ALIVE, i, 1);
  for (uint32_t i = 1; i <= 7; i++) rig_say(&r, SWIM_ALIVE, i, 0);
  rig_say(&r, SWIM_SUSPECT, 5, 0);
  rig_say(&r, SWIM_LEFT, 7, 1);
  rig_drain(&r, -1, 0);
  accuse(m, entry(6), true, r.now);
  rig_answering(&r, 2 * SEC, 4);
  HOLDS(membership_check(m));
  assert_int_equal(entry(6)->m.state, MEMBER_SUSPECT);
}

static void members(void **state) {
  (void)state;
  setup();
  struct entry *alive = entry(1), *suspect = entry(5), *accused = entry(6), *dead = entry(7), *heard = entry(20);
  SEES(m->alive, m->alive - 1, "membership: the alive are not in front");
  SEES(m->suspect, m->suspect + 1, "membership: the members of a state are not as many as counted");
  SEES(m->dead_count, 0, "membership: the members of a state are not as many as counted");
  SEES(m->count, m->count - 1, "membership: the members are not as many as counted");
  SEES(m->cfg.max_members, 10, "membership: more members than may be");
  SEES(m->self.m.info.id, alive->m.info.id, "membership: we are among the others");
  SEES(alive->m.info.id.b[31], 1, "membership: a member is not found");
  SEES(alive->at, dead->at, "membership: a member is not at its place");
  SEES(suspect->due.pos, 0, "heap: an entry does not know its place");
  SEES(alive->due.pos, 1, "membership: a suspicion has no end, or an end no suspicion");
  SEES(alive->ring, 0, "membership: one that is to be probed is not, or the reverse");
  SEES(alive->ring, alive->ring + 1, "membership: a member is not at its place in the ring");
  SEES(m->ring_next, m->ring_count + 1, "membership: the ring is not as long as counted");
  SEES(m->rot_count, m->rot_count - 1, "membership: those that rotate are not as many as counted");
  SEES(alive->m.incarnation, alive->m.incarnation + 1, "membership: the digest is not that of the members");
  SEES(heard->m.incarnation, UINT64_MAX, "membership: an incarnation that nobody can have");
  alive->rotating = true;
  assert_string_equal(membership_check(m), "membership: one rotates that need not");
  alive->rotating = false;
  alive->digested = false;
  assert_string_equal(membership_check(m), "membership: a member is not in the digest, or a dead one is");
  alive->digested = true;
  SEES(alive->record_len, 0, "membership: a record without a length, or the reverse");
  SEES(alive->record, NULL, "membership: a member is not in the digest, or a dead one is");
  SEES(dead->record, NULL, "membership: a record without a length, or the reverse");
  list_remove(&dead->group);
  assert_string_equal(membership_check(m), "membership: a dead member is not among the dead, or one alive is accused");
  list_append(&m->accused, &dead->group);
  assert_string_equal(membership_check(m), "membership: the list of the dead is another");
  list_remove(&dead->group);
  list_append(&m->dead, &dead->group);
  list_remove(&accused->group);
  struct list elsewhere;
  list_init(&elsewhere);
  list_append(&elsewhere, &accused->group);
  assert_string_equal(membership_check(m), "membership: the list of the accused is another");
  list_remove(&accused->group);
  list_append(&m->accused, &accused->group);
  rig_done(&r);
}

static void what_is_on_its_way(void **state) {
  (void)state;
  setup();
  uint8_t digest[64] = {1};
  assert_int_equal(rig_send(&r, 2, 0, MSG_SWIM_SYNC, (struct swim_msg){.digest = slice_of(digest, sizeof digest)}, NULL, 0), 0);
  struct session *s = container_of(m->sessions.next, struct session, of);
  struct entry *told = entry(1);
  gossip_add(m, told, true);
  rig_drain_events(&r);
  SEES(m->session_count, 2, "membership: the lists on their way are not as many as counted");
  SEES(m->page, NULL, "membership: no page for the lists on their way");
  SEES(s->to.b[30], 1, "membership: a list is on its way to nobody");
  SEES(s->cursor, &m->self, "membership: a list goes on with nobody");
  SEES(m->out_count, 0, "membership: a page of a list is said to be queued and is not");
  SEES(m->queued, m->queued + 1, "membership: the updates are not as many as counted");
  SEES(told->sends, 5, "membership: an update is in the queue of another number of sends");
  SEES(m->gone_count, 1, "membership: the forgotten are not as many as counted");
  SEES(m->probes[0].nacks, INDIRECT_MAX, "membership: more relays of a probe, or answers, than there are");
  SEES(m->relay_count, RELAYS_MAX + 1, "membership: more probes for others than may be");
  SEES(m->stats.health, HEALTH_MAX + 1, "membership: worse than the worst health");
  SEES(m->out_head, m->out_cap, "membership: more frames wait than have room");
  struct probe was = m->probes[1];
  m->probes[1] = (struct probe){.active = true, .target = rig_id(99)};
  assert_string_equal(membership_check(m), "membership: nobody is probed");
  m->probes[1] = was;
  assert_int_equal(m->relay_count, 0);
  m->relays[0].end = 2;
  m->relays[1].end = 1;
  SEES(m->relay_count, 2, "membership: the probes for others are not in order");
  struct list elsewhere;
  list_init(&elsewhere);
  list_append(&elsewhere, &told->event);
  assert_string_equal(membership_check(m), "membership: the list of events is another");
  list_remove(&told->event);
  event_raise(m, told);
  table_remove(m, told);
  HOLDS(membership_check(m));
  struct entry *gone = ENTRY(m->gone.next, event);
  SEES(gone->told, TOLD_NOTHING, "membership: one is forgotten of whom nobody was told");
  rig_done(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(members), cmocka_unit_test(what_is_on_its_way)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
