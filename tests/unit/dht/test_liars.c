/* Peers that lie, answer for others, answer late, or answer garbage. Node 0 is honest; all others are played by the test. */
#include "craft.h"
#include "wire/cursor.h"

static struct net t;
static struct crafted c, c2;

struct asked {
  struct dht_out o;
  uint8_t payload[KAD_MAX_STORE];
  struct kad_msg m;
};
static bool next(struct asked *a) {
  if (!dht_next(t.v[0].d, &a->o)) return false;
  memcpy(a->payload, a->o.payload.p, a->o.payload.n);
  assert_int_equal(kad_decode(a->o.type, slice_of(a->payload, a->o.payload.n), &a->m), 0);
  return true;
}
static int answer_as(const struct dht_contact *who, uint8_t type, const struct kad_msg *m) {
  static uint8_t buf[1 << 20];
  size_t n = kad_encode(type, m, buf, sizeof buf);
  assert_true(n <= sizeof buf);
  return dht_recv(t.v[0].d, who, type, slice_of(buf, n), t.now);
}
static void setup(uint32_t count, uint32_t known) {
  net_init(&t, 11, count);
  node_start(&t, 0, NULL);
  for (uint32_t i = 1; i <= known; i++) dht_seen(t.v[0].d, &t.v[i].self, t.now);
}
/* Lets time pass at node 0 alone, answering nothing. */
static void pass(uint64_t ns) {
  nanotime end = t.now + ns;
  struct dht_out o;
  for (nanotime d; (d = dht_deadline(t.v[0].d)) <= end;) {
    if (d > t.now) t.now = d;
    dht_tick(t.v[0].d, t.now);
    while (dht_next(t.v[0].d, &o)) {
    }
  }
  t.now = end;
}

static void test_foreign_and_late(void **st) {
  (void)st;
  setup(5, 1);
  struct id k = test_key("a");
  struct asked a;
  struct dht_result res;
  uint64_t id;
  assert_int_equal(dht_lookup(t.v[0].d, &k, DHT_SERVICE, 42, t.now, &id), 0);
  assert_true(next(&a));
  assert_true(id_eq(&a.o.to.id, &t.v[1].self.id));
  assert_int_equal(a.o.type, MSG_FIND_VALUE);
  craft(&t, 3, &k, DHT_SERVICE, 300, 5, &c);
  struct kad_msg m = {.query = a.o.query, .batches = &c.s, .batch_count = 1};
  assert_int_equal(answer_as(&t.v[2].self, MSG_FIND_VALUE_REPLY, &m), 0); /* it was not asked */
  m.query++;
  assert_int_equal(answer_as(&t.v[1].self, MSG_FIND_VALUE_REPLY, &m), 0); /* another question */
  m.query--;
  assert_int_equal(answer_as(&t.v[1].self, MSG_FIND_NODE_REPLY, &m), 0); /* another kind of answer */
  assert_int_equal(answer_as(&t.v[1].self, MSG_STORE_REPLY, &m), 0);
  assert_false(dht_next_result(t.v[0].d, &res));
  assert_int_equal(node_stats(&t, 0).dropped, 4);
  pass(3 * NS_SEC);
  assert_true(dht_next_result(t.v[0].d, &res));
  assert_int_equal(res.err, MACULA_DHT_TIMEOUT);
  assert_int_equal(res.user, 42);
  assert_int_equal(answer_as(&t.v[1].self, MSG_FIND_VALUE_REPLY, &m), 0); /* late */
  assert_false(dht_next_result(t.v[0].d, &res));
  net_done(&t);
}

static void test_answers_with_itself(void **st) {
  (void)st;
  setup(5, 1);
  struct id k = test_key("a");
  struct asked a;
  struct dht_result res;
  uint64_t id;
  assert_int_equal(dht_lookup(t.v[0].d, &k, DHT_SERVICE, 42, t.now, &id), 0);
  assert_true(next(&a));
  struct kad_contact nodes[DHT_K]; /* itself, and us, over and over */
  for (int i = 0; i < DHT_K; i++) nodes[i] = (struct kad_contact){t.v[i % 2].self.id, t.v[i % 2].self.addr, {{0}}};
  struct kad_msg m = {.query = a.o.query, .nodes = nodes, .node_count = DHT_K};
  assert_int_equal(answer_as(&t.v[1].self, MSG_FIND_VALUE_REPLY, &m), 0);
  assert_false(next(&a));
  assert_true(dht_next_result(t.v[0].d, &res));
  assert_int_equal(res.err, 0);
  assert_int_equal(res.provider_count, 0);
  assert_int_equal(res.queries, 1);
  net_done(&t);
}

/* Whoever leads on with ever nearer nodes that do not exist comes to an end. */
static void test_led_on(void **st) {
  (void)st;
  setup(5, 1);
  struct id k = test_key("a");
  struct asked a;
  struct dht_result res;
  uint64_t id, asked = 0;
  size_t most = 0;
  assert_int_equal(dht_lookup(t.v[0].d, &k, 0, 42, t.now, &id), 0);
  bool done = false;
  for (int round = 0; round < 5000 && !done; round++) {
    while (next(&a)) {
      struct kad_contact nodes[1000];
      asked++;
      for (int i = 0; i < 1000; i++) {
        nodes[i].id = k;
        unsigned bit = asked < 200 ? (unsigned)asked : 200; /* each answer nearer than all before */
        rng_fill(t.rng, nodes[i].id.b + bit / 8 + 1, 6);
        nodes[i].id.b[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
        nodes[i].addr = test_addr((unsigned)rng_below(t.rng, 1000000));
      }
      struct kad_msg m = {.query = a.o.query, .nodes = nodes, .node_count = 1000};
      assert_int_equal(answer_as(&a.o.to, MSG_FIND_NODE_REPLY, &m), 0);
      if (t.v[0].lookups.bytes > most) most = t.v[0].lookups.bytes;
    }
    done = dht_next_result(t.v[0].d, &res);
    pass(NS_MS);
  }
  assert_true(done);
  print_message("asked %llu, most bytes of lookups %zu\n", (unsigned long long)asked, most);
  assert_true(asked > 26 && asked <= 513);
  assert_true(most < 65536);
  /* 10,000 nodes in one answer are no MessagePack that we read. */
  assert_int_equal(dht_lookup(t.v[0].d, &k, 0, 42, t.now, &id), 0);
  while (next(&a)) {
    static struct kad_contact many[10000];
    for (int i = 0; i < 10000; i++) {
      rng_fill(t.rng, &many[i].id, ID_LEN);
      many[i].addr = test_addr((unsigned)i);
    }
    struct kad_msg m = {.query = a.o.query, .nodes = many, .node_count = 10000};
    assert_int_equal(answer_as(&a.o.to, MSG_FIND_NODE_REPLY, &m), MACULA_BAD_FRAME);
  }
  net_done(&t);
}

static void test_false_records(void **st) {
  (void)st;
  setup(8, 1);
  struct id k = test_key("a"), other = test_key("b");
  struct asked a;
  struct dht_result res;
  struct crafted v[6];
  struct kad_signed s[6];
  uint64_t id;
  assert_int_equal(dht_lookup(t.v[0].d, &k, DHT_SERVICE, 42, t.now, &id), 0);
  assert_true(next(&a));
  craft(&t, 2, &k, DHT_SERVICE, 300, 5, &v[0]);
  v[0].signature[0] ^= 1;
  craft(&t, 3, &k, DHT_SERVICE, 300, 5, &v[1]);
  v[1].b.realm = slice_str("org.other");
  craft_sign(&t, 3, &v[1]);
  craft(&t, 4, &other, DHT_SERVICE, 300, 5, &v[2]);
  craft(&t, 5, &k, DHT_SUBSCRIPTION, 300, 5, &v[3]);
  craft(&t, 6, &k, DHT_SERVICE, 300, 5, &v[4]);
  craft(&t, 7, &k, DHT_SERVICE, UINT32_MAX, 5, &v[5]); /* true, but for the ten years */
  for (int i = 0; i < 6; i++) s[i] = v[i].s;
  s[4].age = 300000; /* its time has passed */
  struct kad_msg m = {.query = a.o.query, .batches = s, .batch_count = 6};
  assert_int_equal(answer_as(&t.v[1].self, MSG_FIND_VALUE_REPLY, &m), 0);
  assert_true(dht_next_result(t.v[0].d, &res));
  assert_int_equal(res.provider_count, 1);
  assert_true(id_eq(&res.providers[0].contact.id, &t.v[7].self.id));
  assert_true(res.providers[0].left <= DHT_MAX_TTL);
  assert_int_equal(node_stats(&t, 0).refused_bad, 2);
  net_done(&t);
}

/* Two holders, one of which missed the withdrawal: the higher sequence decides. */
static void test_withdrawn_wins(void **st) {
  (void)st;
  for (int order = 0; order < 2; order++) {
    setup(5, 2);
    struct id k = test_key("a");
    struct asked a, b;
    struct dht_result res;
    uint64_t id;
    assert_int_equal(dht_lookup(t.v[0].d, &k, DHT_SERVICE, 42, t.now, &id), 0);
    assert_true(next(&a));
    assert_true(next(&b));
    craft(&t, 3, &k, DHT_SERVICE, 300, 5, &c);
    craft(&t, 3, &k, DHT_SERVICE, 0, 6, &c2);
    struct kad_msg old = {.query = a.o.query, .batches = &c.s, .batch_count = 1};
    struct kad_msg gone = {.query = b.o.query, .batches = &c2.s, .batch_count = 1};
    if (order) assert_int_equal(answer_as(&b.o.to, MSG_FIND_VALUE_REPLY, &gone), 0);
    assert_int_equal(answer_as(&a.o.to, MSG_FIND_VALUE_REPLY, &old), 0);
    if (!order) assert_int_equal(answer_as(&b.o.to, MSG_FIND_VALUE_REPLY, &gone), 0);
    assert_true(dht_next_result(t.v[0].d, &res));
    assert_int_equal(res.provider_count, 0);
    assert_int_equal(res.err, 0);
    net_done(&t);
  }
}

/* A node near the key tells of itself at once: the lookup goes on until others have spoken, who know who else serves. */
static void test_one_near_the_key(void **st) {
  (void)st;
  for (uint32_t others = 1; others <= 6; others++) {
    setup(20, 8);
    struct id k = test_key("a");
    struct asked a;
    struct dht_result res;
    uint64_t id, asked = 0;
    bool own = false, foreign = false;
    assert_int_equal(dht_lookup(t.v[0].d, &k, DHT_SERVICE, 42, t.now, &id), 0);
    while (next(&a)) { /* the first two asked know of themselves alone; of the rest only the last ones know more */
      bool lies = asked < 2, knows = asked >= 8 - others;
      craft(&t, lies ? (uint32_t)node_index(&t, &a.o.to.id) : 15, &k, DHT_SERVICE, 300, 5, &c);
      struct kad_msg m = {.query = a.o.query, .batches = &c.s, .batch_count = lies || knows};
      assert_int_equal(answer_as(&a.o.to, MSG_FIND_VALUE_REPLY, &m), 0);
      asked++;
    }
    assert_true(dht_next_result(t.v[0].d, &res));
    for (size_t i = 0; i < res.provider_count; i++) {
      foreign |= id_eq(&res.providers[i].contact.id, &t.v[15].self.id);
      own |= !id_eq(&res.providers[i].contact.id, &t.v[15].self.id);
    }
    assert_true(own && foreign);
    net_done(&t);
  }
}

/* One found, those who are silent are not waited for to the end. */
static void test_silent_ones_when_found(void **st) {
  (void)st;
  setup(20, 3);
  struct id k = test_key("a");
  struct asked a[3];
  struct dht_result res;
  uint64_t id;
  assert_int_equal(dht_lookup(t.v[0].d, &k, DHT_SERVICE, 42, t.now, &id), 0);
  for (int i = 0; i < 3; i++) assert_true(next(&a[i]));
  craft(&t, 15, &k, DHT_SERVICE, 300, 5, &c);
  struct kad_msg m = {.query = a[0].o.query, .batches = &c.s, .batch_count = 1};
  assert_int_equal(answer_as(&a[0].o.to, MSG_FIND_VALUE_REPLY, &m), 0);
  assert_false(dht_next_result(t.v[0].d, &res));
  pass(NS_SEC); /* a quarter of the timeout, and not all of it */
  assert_true(dht_next_result(t.v[0].d, &res));
  assert_int_equal(res.provider_count, 1);
  net_done(&t);
}

/* More providers than one page holds, read page by page; at most 32. */
static void test_pages_are_read(void **st) {
  (void)st;
  setup(60, 1);
  struct id k = test_key("topic");
  static struct crafted v[60];
  static struct kad_signed s[60];
  struct asked a;
  struct dht_result res;
  uint64_t id;
  unsigned pages = 0;
  for (uint32_t i = 2; i < 60; i++) {
    craft(&t, i, &k, DHT_SUBSCRIPTION, 300, 5 + i, &v[i]);
    s[i] = v[i].s;
  }
  assert_int_equal(dht_lookup(t.v[0].d, &k, DHT_SUBSCRIPTION, 42, t.now, &id), 0);
  while (next(&a)) {
    assert_int_equal(a.m.page, pages);
    struct kad_msg m = {.query = a.o.query, .batches = s + 2 + 12 * pages, .batch_count = 12, .more = true};
    assert_int_equal(answer_as(&a.o.to, MSG_FIND_VALUE_REPLY, &m), 0);
    pages++;
  }
  assert_int_equal(pages, 3);
  assert_true(dht_next_result(t.v[0].d, &res));
  assert_int_equal(res.provider_count, 32);
  for (unsigned i = 1; i < 32; i++) assert_true(res.providers[i].seq < res.providers[i - 1].seq);
  assert_int_equal(dht_lookup(t.v[0].d, &k, DHT_SUBSCRIPTION, 43, t.now, &id), 0); /* empty pages without end */
  pages = 0;
  while (next(&a)) {
    struct kad_msg m = {.query = a.o.query, .more = true};
    assert_int_equal(answer_as(&a.o.to, MSG_FIND_VALUE_REPLY, &m), 0);
    pages++;
  }
  assert_true(pages <= 4);
  net_done(&t);
}

static void test_bad_contacts(void **st) {
  (void)st;
  setup(5, 1);
  struct id k = test_key("a");
  struct asked a;
  uint64_t id;
  const char *bad[] = {"0.0.0.0:5000", "10.0.0.9:0", "224.0.0.1:5000", "255.255.255.255:5000",
                       "127.0.0.1:22", "[::]:5000",  "[ff02::1]:5000", "[::1]:5000"};
  struct kad_contact nodes[9];
  memset(nodes, 0, sizeof nodes);
  for (unsigned i = 0; i < 8; i++) {
    rng_fill(t.rng, &nodes[i].id, ID_LEN);
    struct addr at;
    if (i == 1) {
      at = test_addr(9);
      addr_set_port(&at, 0);
    } else {
      assert_int_equal(addr_parse(bad[i], 0, &at), 0);
    }
    nodes[i].addr = at;
  }
  rng_fill(t.rng, &nodes[8].id, ID_LEN); /* behind no gateway */
  assert_int_equal(dht_lookup(t.v[0].d, &k, 0, 42, t.now, &id), 0);
  assert_true(next(&a));
  struct kad_msg m = {.query = a.o.query, .nodes = nodes, .node_count = 9};
  assert_int_equal(answer_as(&t.v[1].self, MSG_FIND_NODE_REPLY, &m), 0);
  assert_false(next(&a)); /* none of them is dialled */
  net_done(&t);
}

/* Random bytes and valid frames with a few bytes changed, as requests and as answers to what was asked. */
static void test_garbage(void **st) {
  (void)st;
  uint64_t seed = 4711;
  print_message("seed %llu\n", (unsigned long long)seed);
  setup(30, 5);
  rng_seeded_init(&t.seeded, seed);
  struct id k = test_key("a");
  static uint8_t buf[65536];
  for (int round = 0; round < 20000; round++) {
    uint64_t id;
    struct dht_result res;
    struct asked a = {.o = {.query = 1, .to = t.v[1].self}};
    if (round % 4 == 0) (void)dht_lookup(t.v[0].d, &k, round % 8 ? DHT_SERVICE : 0, 1, t.now, &id);
    if (round % 16 == 0) (void)dht_publish(t.v[0].d, &k, DHT_SERVICE, 30 * NS_SEC, t.now);
    (void)next(&a);
    uint8_t type = (uint8_t)(MSG_FIND_NODE + rng_below(t.rng, 6));
    size_t n = rng_below(t.rng, 200);
    if (rng_below(t.rng, 4)) {
      struct kad_contact nodes[4];
      for (int i = 0; i < 4; i++) nodes[i] = (struct kad_contact){t.v[rng_below(t.rng, 30)].self.id, test_addr(i), {{0}}};
      craft(&t, (uint32_t)rng_below(t.rng, 30), &k, (unsigned)rng_below(t.rng, 4), (uint32_t)rng_below(t.rng, 400),
            rng_below(t.rng, 1000), &c);
      struct kad_msg m = {.query = a.o.query,
                          .key = k,
                          .kind = 1,
                          .nodes = nodes,
                          .node_count = 4,
                          .batches = &c.s,
                          .batch_count = 1,
                          .batch = c.s,
                          .has_newer = true};
      n = kad_encode(type, &m, buf, sizeof buf);
      for (uint64_t flips = rng_below(t.rng, 4); flips; flips--) buf[rng_below(t.rng, n)] = (uint8_t)rng_u64(t.rng);
      if (rng_below(t.rng, 8) == 0) n = rng_below(t.rng, n);
    } else {
      rng_fill(t.rng, buf, n);
    }
    int err =
        dht_recv(t.v[0].d, rng_below(t.rng, 2) ? &a.o.to : &t.v[1 + rng_below(t.rng, 29)].self, type, slice_of(buf, n), t.now);
    assert_true(err == 0 || err == MACULA_BAD_FRAME || err == MACULA_RATE_LIMITED);
    while (dht_next_result(t.v[0].d, &res)) {
    }
    pass(rng_below(t.rng, 20) * NS_MS);
  }
  net_done(&t);
}

static void test_cancel(void **st) {
  (void)st;
  setup(5, 3);
  struct id k = test_key("a");
  struct asked a[3];
  struct dht_result res;
  uint64_t id;
  assert_int_equal(dht_lookup(t.v[0].d, &k, DHT_SERVICE, 42, t.now, &id), 0);
  for (int i = 0; i < 3; i++) assert_true(next(&a[i]));
  dht_cancel(t.v[0].d, id);
  dht_cancel(t.v[0].d, id);
  dht_cancel(t.v[0].d, 12345);
  assert_int_equal(node_stats(&t, 0).lookups, 0);
  struct kad_msg m = {.query = a[0].o.query};
  assert_int_equal(answer_as(&a[0].o.to, MSG_FIND_VALUE_REPLY, &m), 0); /* finds nobody who waits */
  pass(5 * NS_SEC);
  assert_false(dht_next_result(t.v[0].d, &res));
  net_done(&t);
}

/* What could not be sent, and whoever is known to be dead, is not waited for. */
static void test_unsent_and_gone(void **st) {
  (void)st;
  setup(5, 3);
  struct id k = test_key("a");
  struct asked a[3];
  struct dht_result res;
  uint64_t id;
  assert_int_equal(dht_lookup(t.v[0].d, &k, DHT_SERVICE, 42, t.now, &id), 0);
  for (int i = 0; i < 3; i++) assert_true(next(&a[i]));
  dht_unsent(t.v[0].d, &a[1].o.to.id, a[0].o.query, t.now); /* not that one's */
  assert_int_equal(node_stats(&t, 0).queries_failed, 0);
  dht_unsent(t.v[0].d, &a[0].o.to.id, a[0].o.query, t.now);
  dht_unsent(t.v[0].d, &a[0].o.to.id, a[0].o.query, t.now); /* harmless */
  dht_gone(t.v[0].d, &a[1].o.to.id, t.now);
  assert_false(dht_next_result(t.v[0].d, &res));
  dht_gone(t.v[0].d, &a[2].o.to.id, t.now);
  assert_true(dht_next_result(t.v[0].d, &res));
  assert_int_equal(res.err, MACULA_DHT_TIMEOUT);
  assert_int_equal(res.failed, 3);
  assert_int_equal(node_stats(&t, 0).contacts, 1); /* unsent once is no death */
  net_done(&t);
}

static void test_too_many_lookups(void **st) {
  (void)st;
  net_init(&t, 11, 3);
  struct dht_config cfg = node_config(&t, &t.v[0]);
  cfg.max_lookups = 10;
  node_start(&t, 0, &cfg);
  dht_seen(t.v[0].d, &t.v[1].self, t.now);
  struct id k = test_key("a");
  struct dht_result res;
  uint64_t id;
  for (int i = 0; i < 10; i++) assert_int_equal(dht_lookup(t.v[0].d, &k, 1, 1, t.now, &id), 0);
  assert_int_equal(dht_lookup(t.v[0].d, &k, 1, 1, t.now, &id), MACULA_EFULL);
  pass(3 * NS_SEC);
  int n = 0;
  while (dht_next_result(t.v[0].d, &res)) n++;
  assert_int_equal(n, 10);
  assert_int_equal(dht_lookup(t.v[0].d, &k, 1, 1, t.now, &id), 0);
  net_done(&t);
}

/* Answers full of records that nobody signed, to one lookup after the other: few of them cost a verification. */
static void test_costly_answers(void **st) {
  (void)st;
  setup(5, 1);
  static struct crafted many[KAD_PAGE];
  struct kad_signed batches[KAD_PAGE];
  struct asked a;
  struct dht_result res;
  uint64_t id, seq = 1, answers = 0;
  for (int round = 0; round < 500; round++) {
    char name[16];
    snprintf(name, sizeof name, "n%d", round);
    struct id k = test_key(name);
    assert_int_equal(dht_lookup(t.v[0].d, &k, DHT_SERVICE, 42, t.now, &id), 0);
    for (bool done = false; !done; done = dht_next_result(t.v[0].d, &res))
      while (next(&a)) {
        for (int i = 0; i < KAD_PAGE; i++) {
          craft(&t, 3, &k, DHT_SERVICE, 300, seq++, &many[i]);
          many[i].signature[0] ^= 1;
          batches[i] = many[i].s;
        }
        struct kad_msg m = {.query = a.o.query, .batches = batches, .batch_count = KAD_PAGE, .more = true};
        assert_int_equal(answer_as(&t.v[1].self, MSG_FIND_VALUE_REPLY, &m), 0);
        answers++;
      }
    assert_int_equal(res.provider_count, 0);
  }
  uint64_t verified = node_stats(&t, 0).signatures_verified;
  print_message("%llu answers, %llu signatures verified\n", (unsigned long long)answers, (unsigned long long)verified);
  assert_true(verified > 0 && verified <= 100);
  /* Another's answers count all the same. */
  struct id k = test_key("honest");
  dht_seen(t.v[0].d, &t.v[2].self, t.now);
  assert_int_equal(dht_lookup(t.v[0].d, &k, DHT_SERVICE, 42, t.now, &id), 0);
  craft(&t, 3, &k, DHT_SERVICE, 300, seq, &c);
  for (bool done = false; !done; done = dht_next_result(t.v[0].d, &res))
    while (next(&a)) {
      struct kad_msg m = {.query = a.o.query, .batches = &c.s, .batch_count = id_eq(&a.o.to.id, &t.v[2].self.id)};
      assert_int_equal(answer_as(&a.o.to, MSG_FIND_VALUE_REPLY, &m), 0);
    }
  assert_int_equal(res.provider_count, 1);
  net_done(&t);
}

/* Keys as long as those of P-521, which take four times as long: of one peer a quarter as many are verified. */
static void test_costly_keys(void **st) {
  (void)st;
  static const char domain[] = "macula dht record 1";
  static const uint8_t spki[158] = {4, 5, 6};
  uint8_t bytes[sizeof domain + KAD_MAX_RECORD];
  struct reply r;
  setup(5, 1);
  for (int k = 0; k < 3000; k++) {
    struct id key = test_key("a");
    craft(&t, 3, &key, DHT_SERVICE, 300, (uint64_t)k + 1, &c);
    memcpy(bytes, domain, sizeof domain);
    memcpy(bytes + sizeof domain, c.s.record.p, c.s.record.n);
    c.s.spki = slice_of(spki, sizeof spki);
    test_signature(c.s.spki, slice_of(bytes, sizeof domain + c.s.record.n), c.signature);
    struct kad_msg m = {.query = 9, .batch = c.s};
    ask(&t, 0, 1, MSG_STORE, &m, &r);
    assert_true(r.err == 0 || r.err == MACULA_RATE_LIMITED);
  }
  uint64_t verified = node_stats(&t, 0).signatures_verified;
  assert_true(verified >= 400 && verified <= 500);
  net_done(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_foreign_and_late),
      cmocka_unit_test(test_answers_with_itself),
      cmocka_unit_test(test_led_on),
      cmocka_unit_test(test_false_records),
      cmocka_unit_test(test_withdrawn_wins),
      cmocka_unit_test(test_one_near_the_key),
      cmocka_unit_test(test_silent_ones_when_found),
      cmocka_unit_test(test_pages_are_read),
      cmocka_unit_test(test_bad_contacts),
      cmocka_unit_test(test_garbage),
      cmocka_unit_test(test_cancel),
      cmocka_unit_test(test_unsent_and_gone),
      cmocka_unit_test(test_too_many_lookups),
      cmocka_unit_test(test_costly_answers),
      cmocka_unit_test(test_costly_keys),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
