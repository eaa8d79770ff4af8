/* Retained messages on disk: a log in a file of a fixed size. No I/O here: whoever runs this writes the jobs that
 * retained_log_next makes, and hands in what it reads at the start.
 *
 *   0        4096      8192                 8192 + half
 *   | head 0 | head 1 | records of half 0    | records of half 1    |
 *
 * A half begins with a record of each message as it was when the half was begun, and goes on with what has changed since. When
 * it is full, all that there is is written into the other half, and then a head that names that half. So one half is whole at
 * any time, and what it says is never written over. A head counts when its digest is right; of two, the one with the higher
 * generation. A record counts when its digest is right and it has its half's epoch, a random number that no other filling of a
 * half has, so that what lies there of an earlier one is never taken for its own. Behind a record that is damaged the next one
 * that counts is looked for: the records' topics are independent of each other.
 *
 * After a restart, and after a write that failed, nothing is added to the half that was read: all is written into the other
 * one, with the first change.
 *
 *   retained_set ... -> unsaved, gone --next--> job --done, ok--> on disk
 *                          ^                     |
 *                          +--- all, from anew --+ not ok
 *
 * What waits is bounded: of messages it is the messages themselves, once each; of topics that were cleared RETAINED_GONE_MOST,
 * and if there are more, all is written anew instead. */
#ifndef PUBSUB_RETAINED_LOG_H
#define PUBSUB_RETAINED_LOG_H

#include "base/rng.h"
#include "pubsub/retained.h"
#include "wire/frame.h"
#include "wire/names.h"

#define RETAINED_SLOT 4096u /* bytes between the two heads, and behind them */
#define RETAINED_RECORDS_AT ((uint64_t)2 * RETAINED_SLOT)
#define RETAINED_HEAD_LEN 64u /* bytes */
#define RETAINED_FIXED 50u    /* bytes of a record beside its owner, origin, topic, headers and payload */
#define RETAINED_BESIDE (RETAINED_FIXED + RETAINED_OWNER_MAX + ID_LEN + PRINCIPAL_LEN_MAX) /* beside topic and payload */
#define RETAINED_RECORD_MAX (RETAINED_BESIDE + NAME_MAX_LEN + FRAME_MAX_PAYLOAD)
#define RETAINED_GONE_MOST 256u /* topics that were cleared, and are to be told so to the disk */
#define RETAINED_AT_ONCE 512u   /* records in one job */

/* ---- the format ------------------------------------------------------------------------------------------------------------
 */
struct retained_head {
  uint64_t generation; /* 0: there is none */
  uint64_t epoch;      /* of the records of its half */
  uint64_t size;       /* of the file, bytes */
  uint64_t sealed;     /* bytes of the half that were written before the head was: there at least */
  unsigned half;
};
void retained_head_write(const struct retained_head *h, uint8_t ret[RETAINED_HEAD_LEN]);
/* The head that counts of the two as they were read; generation 0: neither does. *ret_damaged: one holds something, and does
 * not count. */
struct retained_head retained_head_choose(const uint8_t first[RETAINED_HEAD_LEN], const uint8_t second[RETAINED_HEAD_LEN],
                                          bool *ret_damaged);
static inline uint64_t retained_half_len(uint64_t size) {
  return size > RETAINED_RECORDS_AT ? (size - RETAINED_RECORDS_AT) / 2 / RETAINED_SLOT * RETAINED_SLOT : 0;
}
static inline uint64_t retained_half_at(uint64_t size, unsigned half) {
  return RETAINED_RECORDS_AT + half * retained_half_len(size);
}
/* The size that always holds so many messages of so many bytes (topics and payloads): half as much again as they take. */
uint64_t retained_log_size(uint64_t count, uint64_t bytes);

struct retained_record {
  struct slice topic, payload; /* without payload: it was cleared */
  struct slice owner;          /* retained_owner.id; n 0: nobody */
  struct slice node, origin;   /* who published it, as the node vouches for; n 0: unknown */
  struct slice headers;        /* encoded, as many texts as header_count says */
  uint64_t ms;                 /* when its node accepted it, Unix milliseconds */
  uint64_t expires_ms;         /* when its time to live is over, likewise; 0: never */
  uint32_t slashes;
  uint16_t header_count;
  uint8_t qos; /* retained_qos */
};

/* Reads the records of one half, as pieces of it come in. */
struct retained_scan {
  uint64_t epoch, sealed;
  uint64_t at;      /* bytes of the half that are done with */
  uint64_t end;     /* of these, up to the end of the last record */
  uint64_t records; /* that counted */
  uint64_t damaged; /* gaps between records */
};
void retained_scan_init(struct retained_scan *s, const struct retained_head *h);
/* bytes: of the half, from s->at on; last: there are no more behind these. Returns whether *ret_record is one, which views
 * them. Else more bytes are wanted, from the new s->at on; a window of RETAINED_RECORD_MAX is enough for any. With `last` it is
 * over when it returns false. */
bool retained_scan_next(struct retained_scan *s, struct slice bytes, bool last, struct retained_record *ret_record);
/* Whether nothing more is to be expected: far behind the last record and all that was sealed. */
bool retained_scan_over(const struct retained_scan *s);
/* In the end: places without a record where there was one. What was being written at a crash is none. */
uint64_t retained_scan_damaged(const struct retained_scan *s);

/* ---- writing ---------------------------------------------------------------------------------------------------------------
 */
struct retained_log {
  struct retained *r;
  struct mem *mem; /* what waits; jobs' bytes are the caller's */
  struct rng rng;
  uint64_t size;             /* of the file; 0: there is none, and the log does nothing */
  struct retained_head head; /* the one on disk */
  bool whole;                /* all is to be written into the other half */
  bool rewriting;            /* that is under way: up to `mark` in the table's list, then the head is written */
  bool busy;                 /* a job is */
  bool changed;              /* something waits */
  bool more;                 /* the last job left something for the next one, which is to come at once */
  unsigned half;             /* which is written to */
  uint64_t epoch, at;        /* of it; where the next record goes */
  uint32_t round;            /* numbers the fillings of halves: retained_entry.round, of what it has a record */
  struct list mark;
  struct list gone; /* topics that were cleared */
  uint32_t gone_count;
  struct retained_head next; /* of the job under way: its head, */
  size_t job_len;            /* its bytes, */
  struct shbuf *large;       /* and what it refers to; NULL: nothing */
  void (*wake)(void *ctx);   /* something waits, and nothing did before; may be NULL */
  void *ctx;
  uint64_t written, rewrites, failures; /* bytes; times */
  uint64_t left_out;                    /* messages for which the file has no room: they are in memory only */
};

struct retained_job {
  uint64_t at;          /* in the file, */
  size_t len;           /* of the caller's buffer; may be 0; */
  struct slice payload; /* and what comes behind them: it stays as it is until the job is done */
  bool switches;
  uint64_t head_at; /* when it switches: written once the bytes are on disk */
  uint8_t head[RETAINED_HEAD_LEN];
};

/* size 0: it does nothing. Messages that the table has already are to be written. */
void retained_log_init(struct retained_log *l, struct retained *r, struct mem *mem, struct rng rng, uint64_t size);
void retained_log_done(struct retained_log *l); /* before the table is */
/* What the table holds now was read from a file of this size, with this head (generation 0: the file is new). */
void retained_log_restored(struct retained_log *l, const struct retained_head *head);
static inline bool retained_log_waits(const struct retained_log *l) { return l->changed && !l->busy; }
#define RETAINED_JOB_LEAST 2048u /* bytes of the buffer for a job; 64 KiB are better */
/* Makes the next job; false: nothing is to be written. Its records have no digests yet (retained_log_seal). A payload of more
 * than a quarter of the buffer is not copied but referred to. */
bool retained_log_next(struct retained_log *l, uint8_t *buf, size_t cap, struct retained_job *ret_job);
/* Puts in the digests; may be called on another thread. */
void retained_log_seal(uint8_t *buf, const struct retained_job *job);
/* The job was done: the bytes are in the file, and of one that switches on disk, and its head, too. Not ok: what is in the half
 * is unknown. */
void retained_log_written(struct retained_log *l, bool ok);
/* What was written may be lost, as the disk says later: all is to be written anew. Not while a job is under way. */
void retained_log_again(struct retained_log *l);
uint32_t retained_log_unsaved(const struct retained_log *l); /* messages and clearings that wait */

/* O(messages). */
const char *retained_log_check(const struct retained_log *l);
size_t retained_log_owned(const struct retained_log *l);

#endif
