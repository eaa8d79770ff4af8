/* The file with retained messages as it is read at the start. Input: a head of 64 bytes, and a half of the file. Whatever is
 * there, what is found is the same in one piece as in several, lies within the bytes, and no read goes beyond them; records
 * whose digests are put right are found all. */
#include <stdlib.h>
#include <string.h>

#include "pubsub/retained_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok) {
  if (!ok) abort();
}

static void within(struct slice whole, struct slice part) {
  require(!part.n || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n));
}

struct sum {
  uint64_t records, bytes, damaged;
};

/* In pieces of so many bytes, or more where a record is larger. */
static struct sum scan(const struct retained_head *h, struct slice half, size_t piece) {
  struct retained_scan s;
  struct retained_record m;
  struct sum sum = {0};
  size_t window = piece;
  retained_scan_init(&s, h);
  for (bool last = false; !last;) {
    size_t at = (size_t)s.at, n = half.n - at < window ? half.n - at : window;
    uint8_t *copy = malloc(n + 1); /* so that a sanitizer sees what reads beyond it */
    require(copy != NULL);
    if (n) memcpy(copy, half.p + at, n);
    struct slice bytes = slice_of(copy, n);
    last = at + n == half.n;
    while (retained_scan_next(&s, slice_of(copy + (s.at - at), n - (size_t)(s.at - at)), last, &m)) {
      within(bytes, m.topic), within(bytes, m.payload), within(bytes, m.owner), within(bytes, m.origin), within(bytes, m.node),
          within(bytes, m.headers);
      require(m.topic.n && m.topic.n <= NAME_MAX_LEN && m.owner.n <= RETAINED_OWNER_MAX && m.origin.n <= PRINCIPAL_LEN_MAX);
      sum.records++;
      sum.bytes += m.topic.n + m.payload.n;
    }
    require(s.at >= at && s.at <= half.n && s.end <= s.at);
    window = s.at == at ? window + piece : piece;
    free(copy);
  }
  require(s.at == half.n);
  sum.damaged = retained_scan_damaged(&s);
  return sum;
}

static void same(const struct retained_head *h, struct slice half) {
  struct sum a = scan(h, half, half.n + 1), b = scan(h, half, 50), c = scan(h, half, 333);
  require(!memcmp(&a, &b, sizeof a) && !memcmp(&a, &c, sizeof a));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const uint8_t none[RETAINED_HEAD_LEN];
  struct retained_head h;
  bool damaged;
  if (size < RETAINED_HEAD_LEN || size > 8192) return 0;
  h = retained_head_choose(none, data, &damaged);
  if (h.generation) {
    uint8_t again[RETAINED_HEAD_LEN];
    retained_head_write(&h, again);
    require(!memcmp(again, data, 56)); /* behind it are zeros, which the digest covers */
  } else {
    h = (struct retained_head){.generation = 1, .sealed = data[0]};
    for (int i = 0; i < 8; i++) h.epoch = h.epoch << 8 | data[8 + i];
  }
  struct slice half = slice_of(data + RETAINED_HEAD_LEN, size - RETAINED_HEAD_LEN);
  same(&h, half);
  /* As many records as fit, with lengths of the input's choice and digests that are right. */
  uint8_t *made = malloc(half.n + 1);
  require(made != NULL);
  size_t used = 0;
  memset(made, 0, half.n);
  for (size_t i = 0; i + 1 < half.n; i += 2) {
    size_t topic = 1 + half.p[i] % 40, n = RETAINED_FIXED + topic + half.p[i + 1] % 60;
    if (used + n > half.n) break;
    uint8_t *p = made + used;
    for (int k = 0; k < 8; k++) p[8 + k] = (uint8_t)(h.epoch >> (56 - 8 * k));
    p[18] = (uint8_t)(n >> 8), p[19] = (uint8_t)n;
    p[33] = (uint8_t)topic;
    memset(p + RETAINED_FIXED, 'a', n - RETAINED_FIXED);
    used += n;
  }
  retained_log_seal(made, &(struct retained_job){.len = used});
  h.sealed = used;
  require(scan(&h, slice_of(made, half.n), half.n + 1).damaged == 0);
  require(retained_scan_damaged(&(struct retained_scan){.sealed = used}) == (used > 0));
  same(&h, slice_of(made, half.n));
  free(made);
  return 0;
}
