/* Payloads by which nodes tell each other what their clients subscribe to and where retained messages lie. As in msg.h:
 * decoding gives views and allocates nothing, unknown keys are skipped, keys and texts are written as `bin`. */
#ifndef WIRE_INTEREST_H
#define WIRE_INTEREST_H

#include "wire/msg.h"

#define WIRE_INTEREST_MAX_PATTERNS 4000 /* adds and removes of one page; cursor.h allows 4,096 elements */

/* INTEREST: a page of changes. `adds` and `removes` hold patterns in stored form (wire/names.h). */
struct wire_interest {
  uint64_t epoch;         /* of the sender's run, never 0 */
  uint64_t from, version; /* leads from this version to that; from is 0 with reset */
  bool reset;             /* the first page of a complete list: patterns that no page up to the last one names are removed */
  bool more;              /* the next page follows; else total and digest count */
  uint64_t retained;      /* retained messages that the sender holds */
  uint64_t total, digest; /* of all the sender's patterns at `version` */
  struct msg_list adds, removes;
};
/* INTEREST_HAVE: what its sender holds of the receiver's; all 0: nothing, send everything. */
struct wire_have {
  uint64_t epoch, version, digest;
};
/* RETAINED_GET: retained messages that match, each as PUBLISH with retain and replay = number. */
struct wire_retained_get {
  uint64_t number; /* not 0 */
  struct slice pattern;
  uint64_t room; /* bytes of payloads and topics that may be sent before more is given; the last message may pass it */
  bool more;     /* only gives room to what was asked for by this number before */
};
/* RETAINED_MOVED: the sender accepted or cleared a retained message of this topic at this time; older ones are obsolete. With
 * an empty topic the frame only tells the sender's clock. */
struct wire_retained_moved {
  struct slice topic;
  uint64_t ms;  /* Unix milliseconds */
  uint64_t now; /* likewise, of the sender's clock; 0: not told */
};

/* MACULA_BAD_FRAME: malformed, a field missing, a pattern or topic that is not in stored form, versions that run backwards. */
int wire_interest_decode(struct slice payload, struct wire_interest *ret);
int wire_have_decode(struct slice payload, struct wire_have *ret);
int wire_retained_get_decode(struct slice payload, struct wire_retained_get *ret);
int wire_retained_moved_decode(struct slice payload, struct wire_retained_moved *ret);
/* Bytes of the payload; more than cap: nothing useful was written. buf NULL: only counts. */
size_t wire_interest_encode(const struct wire_interest *m, uint8_t *buf, size_t cap);
size_t wire_have_encode(const struct wire_have *m, uint8_t *buf, size_t cap);
size_t wire_retained_get_encode(const struct wire_retained_get *m, uint8_t *buf, size_t cap);
size_t wire_retained_moved_encode(const struct wire_retained_moved *m, uint8_t *buf, size_t cap);

#endif
