#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/err.h"
#include "node/memory/plan.h"
#include "pubsub/retained_log.h"

#define NEW_FILE DISK_FILE ".new" /* until all is in it that was in the file before */
#define WRITE_MS 100
#define SYNC_MS 1000
#define AGAIN_MS 10000
#define JOB_LEN PLAN_DISK_JOB
#define READ_LEN (2 * (size_t)RETAINED_RECORD_MAX)
#define PATH_LEN 4200

struct disk {
  struct node *n;
  struct retained_log *rlog;
  const struct log *log;
  uv_loop_t *uv;
  char path[PATH_LEN], new_path[PATH_LEN], folder[PATH_LEN];
  int fd;        /* -1: not open */
  bool renamed;  /* it stands under its name */
  bool failing;  /* the last write failed */
  bool unsynced; /* something was written since the last sync */
  bool stopped;
  uint64_t synced_at; /* uv_now */
  uv_timer_t timer;
  struct { /* what the thread has */
    uv_work_t work;
    bool under_way, sync;
    uint8_t *buf;
    struct retained_job job;
    bool has_job;
    int error; /* of errno */
    const char *what;
  } t;
};

/* ---- on the pool's thread --------------------------------------------------------------------------------------------------
 */
static int write_all(int fd, const uint8_t *p, size_t n, uint64_t at) {
  while (n) {
    ssize_t k = pwrite(fd, p, n, (off_t)at);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return k < 0 ? errno : EIO;
    p += k;
    n -= (size_t)k;
    at += (uint64_t)k;
  }
  return 0;
}

static int failed(struct disk *d, const char *what, int error) {
  d->t.what = what;
  return error;
}

/* All of its room is taken at once: a disk that is filled by others later does no harm. */
static int make_file(struct disk *d) {
  int fd = open(d->new_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return failed(d, "make", errno);
  int e;
  while ((e = posix_fallocate(fd, 0, (off_t)d->rlog->size)) == EINTR) {
  }
  if (e) {
    close(fd);
    unlink(d->new_path); /* what was taken of the disk is given back */
    return failed(d, "make", e);
  }
  d->fd = fd;
  return 0;
}

static int name_file(struct disk *d) {
  if (rename(d->new_path, d->path)) return failed(d, "rename", errno);
  int fd = open(d->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int e = fd < 0 || fsync(fd) ? errno : 0;
  if (fd >= 0) close(fd);
  d->renamed = !e;
  return e ? failed(d, "rename", e) : 0;
}

static int do_job(struct disk *d) {
  const struct retained_job *j = &d->t.job;
  int e = d->fd < 0 ? make_file(d) : 0;
  if (e) return e;
  if (d->t.has_job) {
    retained_log_seal(d->t.buf, j);
    e = write_all(d->fd, d->t.buf, j->len, j->at);
    if (!e) e = write_all(d->fd, j->payload.p, j->payload.n, j->at + j->len);
    if (e) return failed(d, "write", e);
  }
  if ((d->t.sync || j->switches) && fdatasync(d->fd)) return failed(d, "sync", errno);
  if (!j->switches) return 0;
  if ((e = write_all(d->fd, j->head, sizeof j->head, j->head_at))) return failed(d, "write", e);
  if (fdatasync(d->fd)) return failed(d, "sync", errno);
  return d->renamed ? 0 : name_file(d);
}

static void work(uv_work_t *w) {
  struct disk *d = w->data;
  d->t.error = do_job(d);
}

/* ---- on the loop -----------------------------------------------------------------------------------------------------------
 */
static void on_timer(uv_timer_t *t);

static void plan(struct disk *d) {
  uint64_t in, now = uv_now(d->uv);
  if (d->t.under_way || d->stopped || uv_is_active((uv_handle_t *)&d->timer)) return;
  if (d->failing)
    in = AGAIN_MS;
  else if (retained_log_waits(d->rlog))
    in = d->rlog->more ? 0 : WRITE_MS;
  else if (d->unsynced)
    in = d->synced_at + SYNC_MS > now ? d->synced_at + SYNC_MS - now : 0;
  else
    return;
  uv_timer_start(&d->timer, on_timer, in, 0);
}

static void on_wake(void *ctx) { plan(ctx); }

static void say_failed(struct disk *d, int error) {
  const char *hint = error == ENOSPC || error == EDQUOT  ? "the disk is full: free some space, or lower retained_disk"
                     : error == EACCES || error == EPERM ? "permission denied: check the owner and the mode"
                                                         : strerror(error);
  if (!d->failing)
    log_warn(
        d->log, "retained_not_written",
        "file=\"%s\" bytes=%llu text=\"cannot %s it: %s; retained messages go on in memory, and would not outlive a restart\"",
        d->path, (unsigned long long)d->rlog->size, d->t.what, hint);
  d->failing = true;
}

/* Takes what the thread has done. */
static void finish(struct disk *d) {
  bool ok = !d->t.error;
  uint64_t left_out = d->rlog->left_out;
  mem_free(node_retained_mem(d->n), d->t.buf);
  d->t.buf = NULL;
  if (ok && d->failing)
    log_info(d->log, "retained_written", "file=\"%s\" text=\"all retained messages are on disk again\"", d->path);
  if (!ok) say_failed(d, d->t.error);
  if (ok) d->failing = false;
  d->unsynced = ok && !(d->t.sync || d->t.job.switches);
  if (!d->unsynced) d->synced_at = uv_now(d->uv);
  if (!ok && !d->renamed && d->fd >= 0) { /* begun anew with the next try */
    close(d->fd);
    d->fd = -1;
  }
  if (d->t.has_job) {
    retained_log_written(d->rlog, ok);
  } else if (!ok) { /* what was written before may be lost */
    retained_log_again(d->rlog);
  }
  if (d->rlog->left_out != left_out)
    log_warn(
        d->log, "retained_disk_full",
        "file=\"%s\" left_out=%llu text=\"some retained messages are in memory only: restart with a larger retained_disk\"",
        d->path, (unsigned long long)d->rlog->left_out);
}

/* False: there is nothing to do. */
static bool prepare(struct disk *d, bool sync) {
  struct mem *mem = node_retained_mem(d->n);
  d->t.has_job = false;
  d->t.job = (struct retained_job){0};
  d->t.buf = retained_log_waits(d->rlog) ? mem_alloc(mem, JOB_LEN) : NULL;
  if (d->t.buf) d->t.has_job = retained_log_next(d->rlog, d->t.buf, JOB_LEN, &d->t.job);
  if (!d->t.has_job) {
    mem_free(mem, d->t.buf);
    d->t.buf = NULL;
  }
  d->t.sync = sync || uv_now(d->uv) >= d->synced_at + SYNC_MS;
  return d->t.has_job || (d->unsynced && d->t.sync);
}

static void on_done(uv_work_t *w, int status) {
  struct disk *d = w->data;
  (void)status; /* it is never cancelled */
  d->t.under_way = false;
  finish(d);
  plan(d);
}

static void on_timer(uv_timer_t *t) {
  struct disk *d = t->data;
  if (d->t.under_way || d->stopped) return;
  d->t.under_way = prepare(d, false);
  if (d->t.under_way)
    (void)uv_queue_work(d->uv, &d->t.work, work, on_done); /* fails without a function only */
  else
    plan(d);
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------
 */
struct reading {
  uint64_t restored, refused;
  struct retained_scan scan;
  bool head_damaged;
};

/* Reads up to n bytes; fewer at the file's end. -1: errno. */
static ssize_t read_some(int fd, uint8_t *p, size_t n, uint64_t at) {
  size_t got = 0;
  while (got < n) {
    ssize_t k = pread(fd, p + got, n - got, (off_t)(at + got));
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return -1;
    if (k == 0) break;
    got += (size_t)k;
  }
  return (ssize_t)got;
}

static int read_half(struct disk *d, int fd, const struct retained_head *h, uint8_t *buf, struct reading *r) {
  uint64_t from = retained_half_at(h->size, h->half), len = retained_half_len(h->size);
  struct retained_record m;
  bool last = false;
  retained_scan_init(&r->scan, h);
  while (!last && !retained_scan_over(&r->scan)) {
    uint64_t at = r->scan.at, left = len - at;
    ssize_t n = read_some(fd, buf, left < READ_LEN ? (size_t)left : READ_LEN, from + at);
    if (n < 0) return errno;
    last = (uint64_t)n == left || (size_t)n < READ_LEN;
    while (retained_scan_next(&r->scan, slice_of(buf + (r->scan.at - at), (size_t)n - (size_t)(r->scan.at - at)), last, &m)) {
      int err = node_retained_restore(d->n, &m);
      r->refused += err != 0;
    }
  }
  return 0;
}

static int read_file(struct disk *d, int fd, struct retained_head *ret_head, struct reading *r) {
  uint8_t heads[2 * RETAINED_SLOT] = {0}, *buf = malloc(READ_LEN); /* before there are clients, so inside the plan */
  int e = !buf ? ENOMEM : read_some(fd, heads, sizeof heads, 0) < 0 ? errno : 0;
  if (!e) {
    *ret_head = retained_head_choose(heads, heads + RETAINED_SLOT, &r->head_damaged);
    if (ret_head->generation) e = read_half(d, fd, ret_head, buf, r);
  }
  free(buf);
  return e;
}

static int recover(struct disk *d, char *ret_why) {
  struct retained_head head = {0};
  struct reading r = {0};
  int fd = open(d->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), e = fd < 0 ? errno : 0;
  struct stat st = {0};
  if (!e && fstat(fd, &st)) e = errno;
  if (!e && !S_ISREG(st.st_mode)) e = EINVAL;
  if (!e) e = read_file(d, fd, &head, &r);
  if (e && e != ENOENT) {
    if (fd >= 0) close(fd);
    snprintf(ret_why, CONFIG_WHY_LEN, "cannot read %.300s: %s: mend that, or move the file away, or give --retained-disk off",
             d->path, e == EINVAL ? "it is no regular file" : strerror(e));
    return e == EACCES || e == EPERM ? MACULA_NOT_AUTHORIZED : MACULA_EIO;
  }
  uint64_t damaged = retained_scan_damaged(&r.scan) + r.head_damaged;
  if (!e && (damaged || r.refused))
    log_warn(d->log, "retained_damaged",
             "file=\"%s\" places=%llu refused=%llu text=\"some retained messages could not be restored: places are damaged, or "
             "retained_count and retained_bytes are lower than before\"",
             d->path, (unsigned long long)damaged, (unsigned long long)r.refused);
  if (!e && head.generation)
    log_info(d->log, "retained_restored", "file=\"%s\" records=%llu", d->path, (unsigned long long)r.scan.records);
  d->renamed = !e && (uint64_t)st.st_size == d->rlog->size && (!head.generation || head.size == d->rlog->size);
  if (d->renamed) {
    d->fd = fd;
  } else { /* there is none, or it is of another size */
    if (fd >= 0) close(fd);
    head = (struct retained_head){0};
  }
  node_retained_restored(d->n, &head);
  return 0;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------
 */
int disk_open(struct io_loop *l, struct node *n, const struct log *log, const struct config *c, struct disk **ret_disk,
              char ret_why[CONFIG_WHY_LEN]) {
  struct disk *d = calloc(1, sizeof *d);
  if (!d) return MACULA_ENOMEM;
  *d = (struct disk){.n = n, .rlog = node_retained_log(n), .log = log, .uv = io_loop_uv(l), .fd = -1};
  snprintf(d->folder, sizeof d->folder, "%.4000s", c->state);
  snprintf(d->path, sizeof d->path, "%.4000s/" DISK_FILE, c->state);
  snprintf(d->new_path, sizeof d->new_path, "%.4000s/" NEW_FILE, c->state);
  (void)unlink(d->new_path); /* of a process that ended before all was in it */
  if (!d->rlog->size) {
    if (!access(d->path, F_OK))
      log_warn(log, "retained_not_read", "file=\"%s\" text=\"retained_disk is off: what was retained earlier is not restored\"",
               d->path);
    free(d);
    return 0;
  }
  int err = recover(d, ret_why);
  if (err) {
    free(d);
    return err;
  }
  d->t.work.data = d;
  d->timer.data = d;
  uv_timer_init(d->uv, &d->timer);
  d->rlog->wake = on_wake;
  d->rlog->ctx = d;
  plan(d);
  *ret_disk = d;
  return 0;
}

static void on_closed(uv_handle_t *h) { free(h->data); }

void disk_close(struct disk *d) {
  if (!d) return;
  d->stopped = true;
  while (d->t.under_way) uv_run(d->uv, UV_RUN_ONCE);
  while (prepare(d, true)) {
    work(&d->t.work);
    finish(d);
    if (d->failing) break;
  }
  d->rlog->wake = NULL;
  if (d->fd >= 0) close(d->fd);
  if (!d->renamed) (void)unlink(d->new_path);
  uv_close((uv_handle_t *)&d->timer, on_closed);
}
