/* A model of flow: clients that publish, read, or do both, on one to four nodes, with loss and delay. Readers are fast or slow,
 * read in bursts or a byte now and then, stop, die and come back; links break while messages wait for them. Of each message it
 * is known who got it:
 *
 *   - a reader that reads at once, on paths without loss, gets all that is published, in order, at whichever node, while no
 * link breaks;
 *   - a reader that lived throughout has got what was acknowledged as whole, and has been told how many others it lost;
 *   - nobody gets a message twice, or in another order (of another node's clients: while no link breaks);
 *   - beside readers that read at once, a publisher waits for others only as long as accounts allow, and so do all
 * publishers for one of these others;
 *   - when all read again, each publisher's last message arrives in time. */
#include "mesh_rig.h"
#include "node/flow/budget.h"
#include "node/session/room.h"
#include "node/session/session.h"

#define ACTORS 14
#define TOPICS 4
#define MESSAGES 5000 /* of one publisher at most */
#define STEP (10 * NS_MS)
#define TROUBLE 800u /* steps */
#define RARELY 63    /* a node_check of long queues takes as long as a hundred turns */
#define UNSENT (512u << 10)
#define FIRST_REF 1000 /* of a publish; those of other requests are smaller */

enum reading { NOTHING, AT_ONCE, AT_ONCE_BASE, SLOWLY_BASE, SLOWLY, IN_BURSTS, BYTEWISE, NOT_AT_ALL, READINGS };

struct actor {
  struct model *m;
  unsigned index, node;
  struct rig_client *c; /* NULL: it is away */
  struct quic_identity *identity;
  bool ready, founder; /* founder: it has lived since the begin */
  nanotime dies, back;
  /* it publishes */
  bool publishes, waits, one_node; /* one_node: all who read it are at its own node */
  int qos;                         /* 2: one or the other */
  size_t size;
  double rate, due; /* bytes a second; 0: as fast as it can */
  unsigned most, sent, acked;
  uint8_t topic[MESSAGES], qos_of[MESSAGES], whole[MESSAGES];
  struct actor *waits_for;
  nanotime waited; /* while all beside who read at once sat with empty queues */
  bool last_sent;
  /* it reads */
  enum reading reading;
  unsigned topics; /* a mask */
  double bytes_a_second, credit;
  nanotime turn; /* of bursts, and of single bytes */
  bool in_burst;
  uint64_t told;
  uint8_t got[ACTORS][MESSAGES];
  int32_t latest[ACTORS];
  nanotime waited_for;
  bool waits_for_it, qos1_for_it;
};

struct model {
  struct mesh mesh;
  struct sim_net *net;
  struct rng_seeded seeded;
  bool lossy, broke;
  struct actor actor[ACTORS];
  unsigned actors, ring; /* ring: so many publish to each other; 0: no ring */
  struct rig_client *probe[MESH_NODES];
  unsigned ends, publishers; /* ends: last messages that a probe at their own node has got */
  uint32_t ended;
  nanotime began, seen;
  size_t send_pool;
  double blur; /* the node knows only by looks, and of some of the others, how long these were hungry */
};

static uint64_t dice(struct model *m, uint64_t n) { return rng_below(rng_seeded_view(&m->seeded), n); }
static nanotime time_of(const struct model *m) { return sim_net_now(m->net); }
static struct node *node_of(struct actor *a) { return a->m->mesh.rig[a->node].node; }
static bool is_base(const struct actor *a) { return a->reading == AT_ONCE_BASE || a->reading == SLOWLY_BASE; }
static bool reads_at_once(const struct actor *a) { return a->reading == AT_ONCE || a->reading == AT_ONCE_BASE; }

/* ---- what is heard ---------------------------------------------------------------------------------------------------------
 */
static void on_publish(struct actor *a, const struct msg_publish *p) {
  struct model *m = a->m;
  uint32_t from, n;
  assert_true(p->payload.n >= 8);
  memcpy(&from, p->payload.p, sizeof from);
  memcpy(&n, p->payload.p + 4, sizeof n);
  assert_true(from < m->actors && n < m->actor[from].sent);
  assert_true(from != a->index || is_base(a));
  struct actor *of = &m->actor[from];
  assert_true(a->topics & 1u << of->topic[n]);
  if (a->got[from][n]) fail_msg("actor %u got message %u of %u twice", a->index, n, from);
  a->got[from][n] = 1;
  if ((int32_t)n < a->latest[from] && !(m->broke && of->node != a->node))
    fail_msg("actor %u got message %u of %u after %d", a->index, n, from, a->latest[from]);
  a->latest[from] = (int32_t)n;
}

static bool heard(void *ctx, const struct frame *f) {
  struct actor *a = ctx;
  struct msg m;
  if (f->type != MSG_PUBLISH && f->type != MSG_NOTICE && f->type != MSG_ACK) return false;
  assert_int_equal(msg_decode(f->type, f->payload, &m), 0);
  if (f->type == MSG_PUBLISH) on_publish(a, &m.publish);
  if (f->type == MSG_NOTICE && slice_is(m.notice.code, "dropped")) a->told += m.notice.count;
  if (f->type != MSG_ACK) return true;
  if (m.ack.ref < FIRST_REF) return false;
  unsigned n = (unsigned)m.ack.ref - FIRST_REF;
  assert_true(n < a->sent && a->qos_of[n]);
  a->acked++;
  a->whole[n] = !m.ack.code.n && !msg_is_partly(&m.ack.partly);
  return true;
}

static bool probed(void *ctx, const struct frame *f) {
  struct model *m = ctx;
  struct msg p;
  uint32_t from;
  if (f->type != MSG_PUBLISH) return false;
  assert_int_equal(msg_decode(f->type, f->payload, &p), 0);
  memcpy(&from, p.publish.payload.p, sizeof from);
  assert_true(!(m->ended & 1u << from));
  m->ended |= 1u << from;
  m->ends++;
  return true;
}

/* ---- clients ---------------------------------------------------------------------------------------------------------------
 */
static void subscribe(struct actor *a, bool base) {
  char name[8];
  for (unsigned t = 0; t < TOPICS; t++) {
    if (!(a->topics & 1u << t)) continue;
    snprintf(name, sizeof name, "t%u", t);
    struct slice topic = slice_str(name);
    struct msg s = {.type = MSG_SUBSCRIBE, .subscribe = {.topics = {.count = 1, .items = &topic}, .qos = !base}};
    if (base)
      rig_send(a->c, &s);
    else
      assert_int_equal(rig_subscribe(a->c, name), 0);
  }
}

static void join(struct actor *a) {
  bool base = is_base(a);
  uint32_t caps = base ? RIG_BASE : RIG_EXT | CAP_STREAMS | CAP_NOTICE | CAP_WAIT;
  for (unsigned i = 0; i < a->m->actors; i++) a->latest[i] = -1;
  a->c = rig_client(&a->m->mesh.rig[a->node], 0, a->identity);
  a->c->heard = heard;
  a->c->heard_ctx = a;
  a->c->holds = a->reading >= SLOWLY;
  a->c->stopped = false;
  a->credit = 0;
  rig_opened(a->c);
  rig_connect(a->c, caps, "test", NULL);
  (void)rig_expect(a->c, MSG_PONG);
  subscribe(a, base);
  a->c->stopped = a->reading == SLOWLY_BASE;
}

static void send_one(struct actor *a, const char *topic, uint32_t n, int qos, size_t size, bool base) {
  static uint8_t payload[65536];
  uint8_t id[CALL_ID_LEN] = {0};
  uint32_t head[2] = {a->index, n};
  memcpy(payload, head, sizeof head);
  memcpy(id, head, sizeof head);
  struct msg m = {.type = MSG_PUBLISH,
                  .publish = {.topic = slice_str(topic),
                              .payload = slice_of(payload, size),
                              .qos = (uint64_t)qos,
                              .message_id = slice_of(id, sizeof id),
                              .wait = a->waits && !qos,
                              .ref = FIRST_REF + n,
                              .has_ref = qos > 0}};
  if (base)
    rig_send(a->c, &m);
  else
    rig_send_by_one_way(a->c, &m);
}

static void publish(struct actor *a, double seconds) {
  struct model *m = a->m;
  bool base = is_base(a);
  char topic[8];
  if (!a->c || a->c->closed) return;
  a->due += a->rate * seconds;
  while (a->sent < a->most && (a->rate > 0 ? a->due > 0 : quic_queued(a->c->conn) < UNSENT)) {
    size_t size = 8 + dice(m, a->size);
    unsigned n = a->sent++, first = a->index % TOPICS;
    if (a->due > 0) a->due -= (double)size;
    a->topic[n] = (uint8_t)(m->ring || dice(m, 8) ? first : (first + 1) % TOPICS);
    a->qos_of[n] = base ? 0 : (uint8_t)(a->qos < 2 ? (uint64_t)a->qos : dice(m, 2));
    snprintf(topic, sizeof topic, "t%u", a->topic[n]);
    send_one(a, topic, n, a->qos_of[n], size, base);
  }
}

static void give(struct actor *a, size_t n) {
  struct rig_client *c = a->c;
  size_t *owed = is_base(a) ? &c->owed : &c->owed_one_way;
  if (n > *owed) n = *owed;
  if (!n || !c->conn) return;
  if (is_base(a)) quic_consume_conn(c->conn, n);
  quic_consume_stream(c->conn, is_base(a) ? c->stream : 3, n);
  *owed -= n;
}

static void read_some(struct actor *a, double seconds) {
  if (!a->c || a->c->closed) return;
  nanotime now = time_of(a->m);
  double owed = (double)(is_base(a) ? a->c->owed : a->c->owed_one_way);
  switch (a->reading) {
  case SLOWLY_BASE:
  case SLOWLY:
    a->credit += a->bytes_a_second * seconds;
    if (a->credit > owed) a->credit = owed;
    give(a, (size_t)a->credit);
    a->credit -= (double)(size_t)a->credit;
    break;
  case IN_BURSTS:
    if (now >= a->turn) {
      a->in_burst = !a->in_burst;
      a->turn = time_add(now, dice(a->m, a->in_burst ? NS_SEC : 2 * NS_SEC));
    }
    if (a->in_burst) give(a, SIZE_MAX);
    break;
  case BYTEWISE:
    if (now < a->turn) break;
    give(a, 1);
    a->turn = time_add(now, 199 * NS_MS);
    break;
  default:
    break;
  }
}

static void live(struct actor *a) {
  nanotime now = time_of(a->m);
  if (a->c && a->c->closed) { /* it was cut */
    if (a->c->quic) rig_kill(a->c);
    a->c = NULL;
    a->founder = false;
    a->back = time_add(now, dice(a->m, 2 * NS_SEC));
  }
  if (a->c && a->dies && now >= a->dies) {
    rig_kill(a->c);
    a->c = NULL;
    a->founder = false;
    a->back = time_add(now, dice(a->m, 2 * NS_SEC));
    a->dies = 0;
  }
  if (a->c || a->publishes || now < a->back) return;
  join(a);
  if (dice(a->m, 2)) a->dies = time_add(time_of(a->m), NS_SEC + dice(a->m, 4 * NS_SEC));
}

/* ---- what must hold at all times -------------------------------------------------------------------------------------------
 */
static struct session *session_of(struct actor *a) {
  struct node *n = node_of(a);
  if (!a->c) return NULL;
  list_for(it, &n->sessions.all) {
    struct session *s = container_of(it, struct session, all);
    if (s->state == SESSION_IN && id_eq(&s->client.id, quic_identity_id(a->identity))) return s;
  }
  return NULL;
}

static struct actor *actor_of(struct model *m, const struct session *s) {
  for (unsigned i = 0; i < m->actors; i++)
    if (id_eq(&s->client.id, quic_identity_id(m->actor[i].identity))) return &m->actor[i];
  return NULL;
}

/* Whether there are readers beside that read at once, and all of them sit with empty queues. */
static bool all_hungry(struct actor *a, struct session *session[ACTORS]) {
  struct model *m = a->m;
  bool any = false;
  for (unsigned i = 0; i < m->actors; i++) {
    struct actor *o = &m->actor[i];
    if (o == a || o->node != a->node || !reads_at_once(o) || !(o->topics & 1u << a->index % TOPICS)) continue;
    if (!session[i] || room_deliveries(session[i])) return false;
    any = true;
  }
  return any;
}

/* Who waits for whom from now on, while others are hungry. */
static void look(struct model *m) {
  struct session *session[ACTORS];
  for (unsigned i = 0; i < m->actors; i++) session[i] = session_of(&m->actor[i]);
  for (unsigned i = 0; i < m->actors; i++) {
    struct actor *a = &m->actor[i], *o;
    struct flow_held *h = session[i] ? session[i]->held : NULL;
    a->waits_for = NULL;
    if (!h || !h->awaited || !all_hungry(a, session)) continue;
    if (!(o = actor_of(m, h->awaited->s)) || reads_at_once(o)) continue;
    a->waits_for = o;
    o->waits_for_it |= a->waits;
    o->qos1_for_it |= a->qos > 0;
  }
}

static void add_waits(struct model *m, nanotime passed) {
  bool added[ACTORS] = {0};
  for (unsigned i = 0; i < m->actors; i++) {
    struct actor *a = &m->actor[i], *o = a->waits_for;
    if (!o) continue;
    a->waited += passed;
    if (!added[o->index]) o->waited_for += passed;
    added[o->index] = true;
  }
}

static bool tick(void *ctx) {
  struct model *m = ctx;
  nanotime now = time_of(m);
  for (unsigned i = 0; i < m->mesh.count; i++) assert_true(m->mesh.rig[i].node->rows.mem[ROW_SEND].bytes <= m->send_pool);
  if (now != m->seen) add_waits(m, time_since(now, m->seen));
  look(m);
  m->seen = now;
  return false;
}

static void run(struct model *m, nanotime t) {
  m->seen = time_of(m);
  look(m); /* it went on while some joined, by no more than a few round trips */
  (void)sim_net_run(m->net, time_add(time_of(m), t), tick, m);
  (void)tick(m);
}

static double allowed(const struct model *m, bool waits, bool qos1) {
  double seconds = (double)time_since(time_of(m), m->began) / (double)NS_SEC;
  double most = seconds * (waits ? 0.5 : 0.1) + (waits || qos1 ? BUDGET_QOS1 : BUDGET_QOS0) + (waits ? 5 : 1) * BUDGET_KEPT;
  return most * m->blur + 0.2;
}

static void check_waits(struct model *m) {
  for (unsigned i = 0; i < m->actors; i++) {
    struct actor *a = &m->actor[i];
    double own = (double)a->waited / (double)NS_SEC, its = (double)a->waited_for / (double)NS_SEC;
    if (own > allowed(m, a->waits, a->qos > 0)) fail_msg("publisher %u waited %.3f s", i, own);
    if (its > allowed(m, a->waits_for_it, a->qos1_for_it)) fail_msg("publishers waited %.3f s for reader %u", its, i);
  }
}

/* ---- what must hold at the end ---------------------------------------------------------------------------------------------
 */
static uint64_t lost_by_links(struct model *m, unsigned at) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < m->mesh.count; i++) {
    struct peer *p = i == at ? NULL : mesh_peer(&m->mesh, i, at);
    if (p && p->link) sum += p->link->dropped;
  }
  return sum;
}

/* A publisher whose connection ended has not handed over all. */
static bool anybody_got(const struct model *m, unsigned from, unsigned n) {
  for (unsigned i = 0; i < m->actors; i++)
    if (m->actor[i].got[from][n]) return true;
  return false;
}

static unsigned topics_of(const struct actor *p) {
  unsigned first = p->index % TOPICS;
  return 1u << first | (p->m->ring ? 0 : 1u << (first + 1) % TOPICS);
}

/* Whether it must not lose a message of this publisher. Left out are base-only clients
 *   that read what they publish: it fills their queue, and nobody is held for its own;
 *   and beside other nodes: their queue does not grow, and is smaller here than what may come from there in a round trip;
 * and what comes from another node to a small queue. PACE promises that a far queue says so "while it can still take two round
 * trips", and of a link's queue up to 128 KiB, or two windows of congestion control, come in spite of it (session/room.c). A
 * queue of less than four times that (the default is eight times) may be filled by them before anybody is told, and how far
 * it may grow beyond depends on what others hold of the pool. */
#define FAR_LEAST (512u << 10)
static bool must_get(const struct actor *a, const struct actor *p) {
  struct model *m = a->m;
  if (a->node != p->node && node_of((struct actor *)a)->limits.client_queue < FAR_LEAST) return false;
  if (m->lossy || !reads_at_once(a) || (a->node != p->node && m->broke)) return false;
  return a->reading != AT_ONCE_BASE || (m->mesh.count == 1 && !(a->publishes && a->topics & topics_of(a)));
}

static void check_reader(struct actor *a) {
  struct model *m = a->m;
  uint64_t missing = 0, far = 0, unknown = 0;
  if (!a->topics || !a->founder) return;
  for (unsigned i = 0; i < m->actors; i++) {
    struct actor *p = &m->actor[i];
    if (p == a || !p->publishes) continue;
    for (unsigned n = 0; n < p->sent; n++) {
      if (a->got[i][n] || !(a->topics & 1u << p->topic[n])) continue;
      if (p->whole[n]) fail_msg("message %u of %u was acknowledged, and %u has not got it", n, i, a->index);
      if (!p->last_sent && !anybody_got(m, i, n)) {
        unknown++;
        continue;
      }
      *(p->node == a->node ? &missing : &far) += 1;
      if (must_get(a, p))
        fail_msg("reader %u at node %u keeps up, and has lost message %u of %u at node %u: frames up to %zu bytes, "
                 "client_queue %zu, "
                 "peer_queue %zu, send_pool %zu",
                 a->index, a->node, n, i, p->node, p->size, node_of(a)->limits.client_queue, node_of(a)->limits.peer_queue,
                 node_of(a)->limits.send_pool);
    }
  }
  if (is_base(a)) return; /* it cannot be told */
  bool close = m->broke || a->told <= missing + far + unknown;
  if (!close)
    fail_msg("reader %u lost %llu, and was told %llu", a->index, (unsigned long long)(missing + far),
             (unsigned long long)a->told);
  if (!m->broke && missing + far > a->told + lost_by_links(m, a->node))
    fail_msg("reader %u lost %llu here and %llu of others, and was told %llu; links lost %llu", a->index,
             (unsigned long long)missing, (unsigned long long)far, (unsigned long long)a->told,
             (unsigned long long)lost_by_links(m, a->node));
}

/* ---- the model -------------------------------------------------------------------------------------------------------------
 */
static void be_somebody(struct model *m, struct actor *a) {
  static const double rates[] = {0, 50e3, 300e3, 1e6, 2e6}, speeds[] = {10e3, 50e3, 200e3, 800e3, 3e6};
  static const size_t sizes[] = {60, 300, 1000, 4000, 30000};
  a->node = (unsigned)dice(m, m->mesh.count);
  a->founder = true;
  a->publishes = a->index < 2 || dice(m, 3) == 0;
  if (a->index >= 2 || dice(m, 4) == 0) a->reading = (enum reading)dice(m, READINGS);
  if (!a->publishes && !a->reading) a->reading = AT_ONCE;
  if (a->publishes && a->reading > AT_ONCE_BASE && dice(m, 2)) a->reading = AT_ONCE;
  a->topics = a->reading ? 1u << dice(m, TOPICS) | 1u << dice(m, TOPICS) : 0;
  a->bytes_a_second = speeds[dice(m, 5)];
  a->size = sizes[dice(m, 5)];
  a->rate = rates[dice(m, 5)];
  a->qos = dice(m, 2) ? 0 : (int)dice(m, 3);
  a->waits = dice(m, 6) == 0;
  a->most = 1000 + (unsigned)dice(m, MESSAGES - 1000);
  if (a->size * a->most > 8u << 20) a->most = (unsigned)((8u << 20) / a->size);
  if (!a->publishes && dice(m, 3) == 0) a->dies = time_of(m) + dice(m, 10 * NS_SEC);
}

/* All publish to the next one's topic, and some read slowly: those of all nodes in a ring, or two to each other. */
static void be_in_ring(struct model *m, struct actor *a) {
  a->node = a->index % m->mesh.count;
  a->publishes = true;
  a->reading = dice(m, 2) ? AT_ONCE : SLOWLY;
  a->topics = 1u << (a->index + m->ring - 1) % m->ring;
  a->rate = dice(m, 2) ? 0 : 2e6;
  a->dies = 0;
}

static void start(struct model *m, uint64_t seed) {
  static const uint64_t delays[] = {100 * NS_US, NS_MS, 10 * NS_MS, 40 * NS_MS};
  rng_seeded_init(&m->seeded, seed);
  m->blur = 1.3;
  m->lossy = dice(m, 2);
  m->send_pool = (size_t)4 << (20 + dice(m, 4));
  struct sim_link link = {.delay = delays[dice(m, 4)], .loss = m->lossy ? 0.005 : 0};
  link.jitter = m->lossy ? link.delay / 2 : 0;
  struct rig_options o = {.seed = seed, .link = &link};
  o.node.limits = (struct node_limits){.client_queue = (size_t)64 << (10 + dice(m, 5)),
                                       .peer_queue = (size_t)256 << (10 + dice(m, 5)),
                                       .send_pool = m->send_pool};
  mesh_start_joined(&m->mesh, 1 + (unsigned)dice(m, 4), &o);
  m->net = m->mesh.rig[0].net;
  for (unsigned i = 0; i < m->mesh.count; i++) m->mesh.rig[i].rarely = RARELY;
  mesh_settle(&m->mesh);
  m->actors = 4 + (unsigned)dice(m, ACTORS - 3);
  if (dice(m, 4) == 0) m->ring = dice(m, 2) ? 2 : TOPICS;
  if (m->ring) m->actors = m->ring;
  for (unsigned i = 0; i < m->actors; i++) {
    struct actor *a = &m->actor[i];
    a->m = m;
    a->index = i;
    be_somebody(m, a);
    if (m->ring) be_in_ring(m, a);
    m->publishers += a->publishes;
    assert_int_equal(quic_identity_generate(&a->identity), 0);
    join(a);
  }
  for (unsigned i = 0; i < m->mesh.count; i++) {
    char name[8];
    snprintf(name, sizeof name, "end%u", i);
    m->probe[i] = rig_join(&m->mesh.rig[i], 0, NULL, RIG_EXT | CAP_STREAMS | CAP_NOTICE);
    assert_int_equal(rig_subscribe(m->probe[i], name), 0);
    m->probe[i]->heard = probed;
    m->probe[i]->heard_ctx = m;
  }
  mesh_settle(&m->mesh);
  m->began = time_of(m);
}

static void cut(struct model *m, bool on) {
  unsigned a = (unsigned)dice(m, m->mesh.count), b = (unsigned)dice(m, m->mesh.count);
  if (a == b) return;
  mesh_cut(&m->mesh, a, b, on);
  m->broke |= on;
}

static void heal(struct model *m) {
  for (unsigned a = 0; a < m->mesh.count; a++)
    for (unsigned b = 0; b < a; b++) mesh_cut(&m->mesh, a, b, false);
  for (unsigned i = 0; i < m->actors; i++) {
    struct actor *a = &m->actor[i];
    char name[8];
    a->dies = 0;
    if (a->c && (a->c->holds || a->c->stopped)) {
      a->c->holds = a->c->stopped = false;
      give(a, SIZE_MAX);
    }
    if (!a->publishes || !a->c || a->c->closed) continue;
    snprintf(name, sizeof name, "end%u", a->node);
    a->waits = false;
    send_one(a, name, 0, 0, 8, is_base(a));
    a->last_sent = true;
  }
}

static bool all_over(struct model *m) {
  for (unsigned i = 0; i < m->actors; i++) {
    struct actor *a = &m->actor[i];
    unsigned asked = 0;
    if (!a->last_sent || !a->c || a->c->closed) continue;
    for (unsigned n = 0; n < a->sent; n++) asked += a->qos_of[n];
    if (!(m->ended & 1u << i) || a->acked < asked) return false;
  }
  return true;
}

static void finish(struct model *m) {
  for (unsigned i = 0; i < m->actors; i++) quic_identity_unref(m->actor[i].identity);
  mesh_stop(&m->mesh);
  free(m);
}

static void model_of_flow(uint64_t seed) {
  struct model *m = calloc(1, sizeof *m);
  assert_non_null(m);
  start(m, seed);
  bool cuts = dice(m, 3) == 0;
  for (unsigned step = 0; step < TROUBLE; step++) {
    for (unsigned i = 0; i < m->actors; i++) {
      struct actor *a = &m->actor[i];
      live(a);
      if (a->publishes) publish(a, 0.01);
      read_some(a, 0.01);
    }
    if (cuts && step % 50 == 0) cut(m, dice(m, 3) == 0);
    run(m, STEP);
    if (step % 100 == 0) check_waits(m);
  }
  check_waits(m);
  heal(m);
  for (unsigned i = 0; i < 6000 && !all_over(m); i++) run(m, STEP);
  if (!all_over(m)) fail_msg("a publisher is stuck");
  run(m, 5 * NS_SEC);
  for (unsigned i = 0; i < m->actors; i++) {
    struct actor *a = &m->actor[i];
    if (a->c && a->c->closed) a->founder = false;
    check_reader(a);
  }
  uint64_t sent = 0, lost = 0, held = 0;
  for (unsigned i = 0; i < m->actors; i++) sent += m->actor[i].sent;
  for (unsigned i = 0; i < m->mesh.count; i++) {
    lost += rig_metric(&m->mesh.rig[i], "messages_dropped_total");
    held += rig_metric(&m->mesh.rig[i], "publishers_held_total");
  }
  printf("nodes %u, clients %u%s, messages %llu, lost %llu, held %llu times\n", m->mesh.count, m->actors,
         m->ring ? " in a ring" : "", (unsigned long long)sent, (unsigned long long)lost, (unsigned long long)held);
  finish(m);
}

/* One publisher, a reader that reads at once, and one that reads nearly as fast as is published. */
static void beside(double speed) {
  struct model *m = calloc(1, sizeof *m);
  assert_non_null(m);
  rng_seeded_init(&m->seeded, 1);
  struct rig_options o = {.seed = 1, .link = &(struct sim_link){.delay = 100 * NS_US}};
  m->blur = 1;
  m->send_pool = (size_t)256 << 20;
  mesh_start_joined(&m->mesh, 1, &o);
  m->net = m->mesh.rig[0].net;
  m->mesh.rig[0].rarely = RARELY;
  m->actors = 3;
  for (unsigned i = 0; i < 3; i++) {
    struct actor *a = &m->actor[i];
    *a = (struct actor){.m = m, .index = i, .founder = true, .publishes = !i, .size = 16000, .rate = 8e6, .most = MESSAGES};
    a->reading = i ? i == 1 ? AT_ONCE : SLOWLY : NOTHING;
    a->topics = i ? 3 : 0;
    a->bytes_a_second = speed;
    assert_int_equal(quic_identity_generate(&a->identity), 0);
    join(a);
  }
  m->began = time_of(m);
  for (unsigned step = 0; step < 2500; step++) {
    publish(&m->actor[0], 0.002);
    read_some(&m->actor[2], 0.002);
    run(m, STEP / 5);
  }
  printf("beside one of %.1f MB/s: waited %.3f s, held %llu times, %.3f s by the node's count, lost %llu\n", speed / 1e6,
         (double)m->actor[0].waited / 1e9, (unsigned long long)m->mesh.rig[0].node->flow.held, m->mesh.rig[0].node->flow.waited,
         (unsigned long long)rig_metric(&m->mesh.rig[0], "messages_dropped_total"));
  fflush(stdout);
  check_waits(m);
  finish(m);
}

static void test_beside(void **state) {
  (void)state;
  static const double speeds[] = {0.5e6, 2e6, 4e6, 6e6};
  for (unsigned i = 0; i < 4; i++) beside(speeds[i]);
}

static void test_model(void **state) {
  (void)state;
  const char *seed = getenv("SIM_SEED"), *runs = getenv("SIM_RUNS");
  uint64_t first = seed ? strtoull(seed, NULL, 0) : 1, count = runs ? strtoull(runs, NULL, 0) : seed ? 1 : 4;
  for (uint64_t s = first; s < first + count; s++) {
    printf("seed %llu\n", (unsigned long long)s);
    fflush(stdout);
    model_of_flow(s);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_beside), cmocka_unit_test(test_model)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
