/* Nonsense: frames of all types, drawn at random, to whatever reads them. */
#include "base/principal.h"
#include "mesh_hostile_rig.h"
#include "wire/interest.h"
#include "wire/kad.h"

static const uint8_t node_types[] = {MSG_PING,          MSG_PONG,           MSG_ACK,        MSG_PUBLISH,
                                     MSG_PUBSUB_ROUTE,  MSG_CALL,           MSG_REPLY,      MSG_CAST,
                                     MSG_RPC_ROUTE,     MSG_CANCEL,         MSG_SWIM_PING,  MSG_SWIM_ACK,
                                     MSG_SWIM_PING_REQ, MSG_SWIM_SYNC,      MSG_INTEREST,   MSG_INTEREST_HAVE,
                                     MSG_RETAINED_GET,  MSG_RETAINED_MOVED, MSG_FIND_NODE,  MSG_FIND_NODE_REPLY,
                                     MSG_STORE,         MSG_STORE_REPLY,    MSG_FIND_VALUE, MSG_FIND_VALUE_REPLY,
                                     MSG_ANNOUNCE};

/* A well-formed frame of the type, as far as that can be drawn at random. */
static size_t some_frame(struct honest *h, const struct rig_client *c, struct rng rng, uint8_t type, uint8_t *buf, size_t cap) {
  struct id ids[4] = {*id_of(c), *quic_identity_id(h->m.rig[0].identity), *quic_identity_id(h->m.rig[1].identity),
                      invented(rng_below(rng, 30))};
  struct swim_record me = {.incarnation = rng_below(rng, 10), .gateway = ids[rng_below(rng, 4)], .name = slice_str("x")};
  struct swim_update u[3];
  uint8_t id[CALL_ID_LEN] = {(uint8_t)rng_below(rng, 4)};
  struct slice topic = slice_str(rng_below(rng, 2) ? "honest.x" : "other.y"), items[2] = {slice_str("a.*"), slice_str("**")};
  struct slice path[2] = {slice_of(ids[rng_below(rng, 4)].b, ID_LEN), slice_of(ids[rng_below(rng, 2)].b, ID_LEN)};
  struct kad_contact near[2] = {{.id = invented(3), .gateway = ids[0]}, {.id = invented(4), .gateway = ids[3]}};
  struct kad_msg kad = {.query = rng_below(rng, 9), .key = ids[rng_below(rng, 4)], .kind = 1, .nodes = near, .node_count = 2};
  kad.batch = (struct kad_signed){slice_of(ids[0].b, 32), slice_of(ids[1].b, 32), slice_of(ids[2].b, 32), 0};
  struct wire_interest page = {.epoch = 1 + rng_below(rng, 2), .from = rng_below(rng, 3), .reset = rng_below(rng, 2)};
  page.version = page.from + rng_below(rng, 3) + 1;
  if (page.reset) page.from = 0;
  page.more = rng_below(rng, 2);
  page.retained = rng_below(rng, 2);
  *(rng_below(rng, 2) ? &page.adds : &page.removes) = (struct msg_list){.count = 2, .items = items};
  struct wire_have have = {rng_below(rng, 2), rng_below(rng, 4), rng_below(rng, 2)};
  struct wire_retained_get get = {1 + rng_below(rng, 5), slice_str("**"), rng_below(rng, 1000), rng_below(rng, 2)};
  struct wire_retained_moved moved = {topic, rng_below(rng, 2) * UINT64_C(1790000005000),
                                      rng_below(rng, 2) * UINT64_C(1790000005000)};
  static const enum swim_state states[] = {SWIM_ALIVE, SWIM_SUSPECT, SWIM_DEAD, SWIM_LEFT};
  for (int i = 0; i < 3; i++) {
    u[i] = (struct swim_update){.id = ids[rng_below(rng, 4)], .incarnation = rng_below(rng, 20)};
    if (rng_below(rng, 2))
      u[i] = says(rng_below(rng, 20), (struct swim_record){.incarnation = rng_below(rng, 20),
                                                           .gateway = ids[rng_below(rng, 4)],
                                                           .name = slice_str("y"),
                                                           .left = rng_below(rng, 4) == 0});
    u[i].state = states[rng_below(rng, 4)];
  }
  static const uint8_t in_full[] = {PRINCIPAL_USER, 'j', 'o', 'e', ' ', '2', '\n', 'x'};
  struct msg m = {.type = (enum msg_type)type};
  uint8_t raw[8192];
  if (type >= MSG_SWIM_PING && type <= MSG_SWIM_SYNC)
    m.raw = slice_of(raw, swim_payload(raw, sizeof raw, type, rng_below(rng, 5), c->identity, &me, u, rng_below(rng, 4)));
  else if (type >= MSG_FIND_NODE && type <= MSG_STORE_REPLY)
    m.raw = slice_of(raw, kad_encode(type, &kad, raw, sizeof raw));
  else if (type == MSG_INTEREST)
    m.raw = slice_of(raw, wire_interest_encode(&page, raw, sizeof raw));
  else if (type == MSG_INTEREST_HAVE)
    m.raw = slice_of(raw, wire_have_encode(&have, raw, sizeof raw));
  else if (type == MSG_RETAINED_GET)
    m.raw = slice_of(raw, wire_retained_get_encode(&get, raw, sizeof raw));
  else if (type == MSG_RETAINED_MOVED)
    m.raw = slice_of(raw, wire_retained_moved_encode(&moved, raw, sizeof raw));
  if (m.raw.n) {
    frame_header(buf, type, (uint32_t)m.raw.n);
    memcpy(buf + FRAME_HEADER_LEN, m.raw.p, m.raw.n);
    return FRAME_HEADER_LEN + m.raw.n;
  }
  switch (type) {
  case MSG_PUBLISH:
    m.publish = (struct msg_publish){.topic = topic,
                                     .payload = slice_str("lie"),
                                     .qos = rng_below(rng, 2),
                                     .retain = rng_below(rng, 2),
                                     .message_id = slice_of(id, sizeof id),
                                     .publisher = slice_of(ids[3].b, ID_LEN),
                                     .instance = slice_of(ids[3].b, INSTANCE_LEN),
                                     .ref = 1,
                                     .has_ref = rng_below(rng, 2),
                                     .replay = rng_below(rng, 3),
                                     .origin.number = rng_below(rng, 8) ? 0 : 1 + rng_below(rng, 3),
                                     .origin.in_full = slice_of(in_full, rng_below(rng, 8))};
    break;
  case MSG_CALL:
  case MSG_CAST:
    m.call = (struct msg_call){
        .procedure = slice_str("honest.service"), .args = slice_str("1"), .call_id = slice_of(id, sizeof id), .timeout = 50};
    break;
  case MSG_REPLY:
    m.reply = (struct msg_reply){.call_id = slice_of(id, sizeof id), .result = slice_str("1")};
    break;
  case MSG_CANCEL:
    m.cancel = (struct msg_cancel){.call_id = slice_of(id, sizeof id)};
    break;
  case MSG_RPC_ROUTE:
  case MSG_PUBSUB_ROUTE:
    m.route = (struct msg_route){.destination = slice_of(ids[rng_below(rng, 4)].b, ID_LEN),
                                 .source = slice_of(ids[rng_below(rng, 4)].b, ID_LEN),
                                 .hop_count = rng_below(rng, 12),
                                 .max_hops = 10,
                                 .payload_type = slice_str(msg_type_name(node_types[rng_below(rng, sizeof node_types)])),
                                 .topic = slice_of("", 0),
                                 .path = {.count = 1 + (uint32_t)rng_below(rng, 2), .items = path}};
    size_t inner = some_frame(h, c, rng, MSG_SWIM_PING, raw, sizeof raw);
    m.route.payload = slice_of(raw + FRAME_HEADER_LEN, inner - FRAME_HEADER_LEN);
    break;
  case MSG_ANNOUNCE:
    m.announce = (struct msg_announce){rng_below(rng, 4), 1 + rng_below(rng, 3), slice_of(in_full, 2 + rng_below(rng, 4)),
                                       slice_of(ids[1].b, ID_LEN)};
    break;
  default:
    m.ack.ref = rng_below(rng, 5);
  }
  ptrdiff_t n = msg_encode(&m, buf, cap);
  return n > 0 ? (size_t)n : 0;
}

static void test_nonsense(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 6; seed++) {
    struct honest h;
    struct rig_options o = {.seed = seed, .node = {.limits = {.max_members = FEW_MEMBERS, .max_peers = 40}}};
    static uint8_t buf[16384];
    honest_start(&h, &o);
    struct rng rng = sim_net_rng(h.m.rig[0].net);
    for (int k = 0; k < 30; k++) {
      struct rig_client *c = liar(&h.m.rig[rng_below(rng, 2)], rng_below(rng, 2) ? "10.8.8.8:1" : NULL);
      for (int f = 0; f < 60 && c->conn; f++) {
        size_t n = some_frame(&h, c, rng, node_types[rng_below(rng, sizeof node_types)], buf, sizeof buf);
        if (n && rng_below(rng, 4) == 0) buf[rng_below(rng, n)] = (uint8_t)rng_below(rng, 256);
        if (n && rng_below(rng, 40) == 0) n = rng_below(rng, n) + 1; /* what follows belongs to this one now */
        if (n) (void)quic_stream_write(c->conn, c->stream, slice_of(buf, n));
        if (rng_below(rng, 3) == 0) go(&h, rng_below(rng, 200) * NS_MS);
      }
      if (k % 2 && c->conn) quic_conn_close(c->conn, 0, "");
      if (!(k % 2) && c->conn) rig_kill(c);
      go(&h, NS_MS);
      within(&h);
    }
    mesh_settle(&h.m);
    h.sub->read = h.sub->kept_count; /* what liars published */
    recovers(&h, 600 * NS_SEC);
    honest_stop(&h);
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_nonsense),
  };
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
