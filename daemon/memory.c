#include "memory.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define LINE 4096

/* ---- what there is ---------------------------------------------------------------------------------------------------------
 */
/* The first number in a file; 0 when there is none ("max") or no such file. */
static uint64_t read_number(const char *path) {
  unsigned long long n = 0;
  FILE *f = fopen(path, "re");
  if (!f) return 0;
  if (fscanf(f, "%llu", &n) != 1) n = 0;
  fclose(f);
  return n;
}

static void lower(uint64_t *least, uint64_t n, const char **source, const char *name) {
  if (!n || (*least && n >= *least)) return;
  *least = n;
  *source = name;
}

/* A group's limit and those of the groups above it. In a container, the path may be the host's: then only the top exists. */
static void group_limits(const char *root, const char *mount, char *path, const char *file, uint64_t *least,
                         const char **source) {
  char name[2 * LINE];
  for (;;) {
    snprintf(name, sizeof name, "%s%s%s/%s", root, mount, strcmp(path, "/") != 0 ? path : "", file);
    uint64_t n = read_number(name);
    if (n < UINT64_C(1) << 60) lower(least, n, source, "control group"); /* version 1 says "none" with a huge number */
    char *slash = strrchr(path, '/');
    if (!slash || !path[1]) return;
    slash[slash == path] = 0;
  }
}

static void groups(const char *root, uint64_t *least, const char **source) {
  char name[LINE], line[LINE];
  snprintf(name, sizeof name, "%s/proc/self/cgroup", root);
  FILE *f = fopen(name, "re");
  while (f && fgets(line, sizeof line, f)) {
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path) continue;
    *path++ = 0;
    controllers++;
    if (!*controllers)
      group_limits(root, "/sys/fs/cgroup", path, "memory.max", least, source);
    else if (strstr(controllers, "memory"))
      group_limits(root, "/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", least, source);
  }
  if (f) fclose(f);
}

uint64_t memory_available(const char *root, const char **ret_source) {
  char name[LINE], line[256];
  uint64_t least = 0;
  unsigned long long kib;
  *ret_source = "machine";
  snprintf(name, sizeof name, "%s/proc/meminfo", root);
  FILE *f = fopen(name, "re");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "MemTotal: %llu kB", &kib) == 1) least = kib * 1024;
  if (f) fclose(f);
  groups(root, &least, ret_source);
  return least;
}

/* ---- text ------------------------------------------------------------------------------------------------------------------
 */
static const char *size_text(uint64_t n, char buf[32]) {
  if (n >= 10 << 20)
    snprintf(buf, 32, "%llu MiB", (unsigned long long)((n + (1 << 20) - 1) >> 20));
  else if (n >= 1 << 20)
    snprintf(buf, 32, "%.1f MiB", (double)n / (1 << 20));
  else if (n >= 10 << 10)
    snprintf(buf, 32, "%llu KiB", (unsigned long long)((n + 1023) >> 10));
  else
    snprintf(buf, 32, "%llu B", (unsigned long long)n);
  return buf;
}

static const char *count(uint64_t n, char buf[32]) {
  char plain[24];
  int len = snprintf(plain, sizeof plain, "%llu", (unsigned long long)n), at = 0;
  for (int i = 0; i < len; i++) {
    if (i && (len - i) % 3 == 0) buf[at++] = ',';
    buf[at++] = plain[i];
  }
  buf[at] = 0;
  return buf;
}

const char *memory_value(uint64_t n, bool is_bytes, char buf[32]) {
  if (is_bytes && n % (1 << 20) == 0)
    snprintf(buf, 32, "%lluMiB", (unsigned long long)(n >> 20));
  else if (is_bytes && n % 1024 == 0)
    snprintf(buf, 32, "%lluKiB", (unsigned long long)(n >> 10));
  else
    snprintf(buf, 32, "%llu", (unsigned long long)n);
  return buf;
}

void memory_print_plan(FILE *f, const struct memory_fit *m) {
  char a[32], b[32], c[32], d[32];
  fprintf(f, "%-14s %11s %10s %10s %10s  %s\n", "ROW", "ENTRIES", "EACH", "BESIDE", "AT MOST", "LOWERED BY");
  for (size_t i = 0; i < m->plan.count; i++) {
    const struct plan_row *r = &m->plan.rows[i];
    fprintf(f, "%-14s %11s %10s %10s %10s  %s\n", r->name, r->entries ? count(r->entries, a) : "-",
            r->entries && r->each ? size_text(r->each, b) : "-", r->beside ? size_text(r->beside, c) : "-",
            size_text(r->bytes, d), r->keys[0] ? r->keys : "-");
  }
  if (m->plan.kernel)
    fprintf(f, "%-14s %11s %10s %10s %10s  %s\n", "kernel", "-", "-", "-", size_text(m->plan.kernel, d),
            "max_clients max_half_open (beside the total: sockets of TCP clients)");
  if (m->plan.borrowed)
    fprintf(
        f,
        "mqtt takes up to %s of send_queues (mqtt_pool), and for each of its clients what QUIC does not need of connections\n",
        size_text(m->plan.borrowed, d));
  if (m->disk)
    fprintf(
        f, "on disk %llu MiB: retained messages, in the state folder; lowered by retained_disk retained_count retained_bytes\n",
        (unsigned long long)((m->disk + (1 << 20) - 1) >> 20));
  fprintf(f, "total %llu MiB\n", (unsigned long long)((m->plan.total + (1 << 20) - 1) >> 20));
}

static json_t *choice_json(const struct memory_fit *m) {
  json_t *lowered = json_array();
  for (size_t i = 0; i < m->changed; i++)
    json_array_append_new(lowered, json_pack("{s:s, s:I, s:I}", "key", m->changes[i].key, "from",
                                             (json_int_t)m->changes[i].from, "to", (json_int_t)m->changes[i].to));
  return json_pack("{s:s, s:I, s:o}", "source", m->source, "available_bytes", (json_int_t)m->available, "lowered", lowered);
}

int memory_print_json(FILE *f, const struct memory_fit *m) {
  json_t *rows = json_array();
  for (size_t i = 0; i < m->plan.count; i++) {
    const struct plan_row *r = &m->plan.rows[i];
    json_array_append_new(rows, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "name", r->name, "what", r->what, "entries",
                                          (json_int_t)r->entries, "entry_bytes", (json_int_t)r->each, "beside_bytes",
                                          (json_int_t)r->beside, "bytes", (json_int_t)r->bytes, "keys", r->keys));
  }
  json_t *j = json_pack("{s:I, s:I, s:I, s:o, s:{s:I, s:s}}", "total_bytes", (json_int_t)m->plan.total, "kernel_bytes",
                        (json_int_t)m->plan.kernel, "memory_max_bytes", (json_int_t)m->max, "rows", rows, "disk", "bytes",
                        (json_int_t)m->disk, "keys", "retained_disk retained_count retained_bytes");
  if (j && m->source) json_object_set_new(j, "auto", choice_json(m));
  int err = !j ? MACULA_ENOMEM : json_dumpf(j, f, JSON_INDENT(2)) || fputc('\n', f) == EOF ? MACULA_EIO : 0;
  json_decref(j);
  return err;
}

void memory_print_choice(FILE *f, const struct memory_fit *m) {
  char a[32], b[32];
  if (!m->source) return;
  fprintf(f, "memory   auto: %s%s%s", size_text(m->max, a), m->given ? "" : " of the ", m->given ? "" : m->source);
  if (!m->given) fprintf(f, "'s %s", size_text(m->available, a));
  fprintf(f, "; the plan takes %s\n", size_text(m->plan.total, b));
  for (size_t i = 0; i < m->changed; i++) {
    const struct plan_change *c = &m->changes[i];
    fprintf(f, "         %-18s %s instead of %s\n", c->key, memory_value(c->to, c->is_size, a),
            memory_value(c->from, c->is_size, b));
  }
}

/* ---- fitting ---------------------------------------------------------------------------------------------------------------
 */
static bool has_word(const char *words, const char *word) {
  size_t n = strlen(word);
  for (const char *p = words; (p = strstr(p, word)); p += n)
    if ((p == words || p[-1] == ' ') && (!p[n] || p[n] == ' ')) return true;
  return false;
}

static const struct plan_row *row_named(const struct plan *p, const char *name) {
  for (size_t i = 0; i < p->count; i++)
    if (!strcmp(p->rows[i].name, name)) return &p->rows[i];
  return NULL;
}

/* A size that was given is for the process alone. */
static bool has_kernel(const struct memory_fit *m) { return m->source && !m->given; }
static uint64_t kernel_of(const struct memory_fit *m) { return has_kernel(m) ? m->plan.kernel : 0; }

/* The largest rows that must give way, with the first limits of each that would do. */
#define SHOWN_ROWS 3
#define SHOWN_KEYS 2
static void put_rows(FILE *f, const struct memory_fit *m, const struct plan *less, const struct plan_change *changes,
                     size_t n) {
  char a[32];
  unsigned found = 0;
  for (size_t i = 0; i < m->plan.count; i++) {
    const struct plan_row *r = &m->plan.rows[i], *to = row_named(less, r->name);
    unsigned keys = 0;
    if (!to || to->bytes >= r->bytes || !r->keys[0] || ++found > SHOWN_ROWS) continue;
    fprintf(f, "  %s, %s too much:", r->name, size_text(r->bytes - to->bytes, a));
    for (size_t k = 0; k < n && keys < SHOWN_KEYS; k++)
      if (has_word(r->keys, changes[k].key))
        fprintf(f, "%s %s %s", keys++ ? "," : "", changes[k].key, memory_value(changes[k].to, changes[k].is_size, a));
    fputc('\n', f);
  }
  if (found > SHOWN_ROWS) fprintf(f, "  and %u rows more\n", found - SHOWN_ROWS);
}

/* What is too much, and what to do. */
static char *complaint(const struct memory_fit *m, const struct node_limits *wanted) {
  struct plan_change changes[PLAN_MAX_CHANGES];
  struct node_limits l = *wanted;
  struct plan less;
  size_t n, len;
  char a[32], b[32], *text = NULL;
  int err = plan_fit(&l, m->max, has_kernel(m), NULL, NULL, changes, &n);
  FILE *f = open_memstream(&text, &len);
  if (!f) return NULL;
  node_plan(&l, &less);
  fprintf(f, "the plan is %s, memory_max %s", size_text(m->plan.total, a), size_text(m->max, b));
  if (has_kernel(m)) fprintf(f, " (auto, of the %s's %s)", m->source, size_text(m->available, a));
  fprintf(f, ": %s too much\n", size_text(m->plan.total + kernel_of(m) - m->max, a));
  if (kernel_of(m))
    fprintf(f, "  sockets of TCP clients, of it %s in the kernel: lower max_clients\n", size_text(m->plan.kernel, a));
  put_rows(f, m, &less, changes, n);
  if (err)
    fprintf(f, "the least that a node can do with is %s: raise memory_max\n", size_text(less.total, a));
  else if (m->source)
    fputs("auto lowers only limits that are not set; --plan --yaml prints all that would fit\n", f);
  else
    fprintf(f, "--memory-max auto:%s lowers limits to fit; --plan --yaml shows to what\n", memory_value(m->max, true, a));
  if (fclose(f)) {
    free(text);
    return NULL;
  }
  return text;
}

static bool is_set(void *ctx, const char *key) { return config_key_is_set(ctx, key); }

/* The size of the file with retained messages, where none is given; else whether it is enough. */
static int fit_disk(struct config *c, char **ret_text) {
  struct node_limits l = c->node.limits;
  char a[32], b[32], d[32], e[32];
  node_limits_fill(&l);
  uint64_t need = plan_retained_disk(&l);
  if (!config_is_set(c, OPTION_RETAINED_DISK)) c->node.limits.retained_disk = need;
  if (!c->node.limits.retained_disk || c->node.limits.retained_disk >= need) return 0;
  if (asprintf(ret_text, "retained_disk is %s, and retained_count %s with retained_bytes %s need %s: raise it, or lower them\n",
               memory_value(l.retained_disk, true, a), count(l.retained_count, b), memory_value(l.retained_bytes, true, d),
               memory_value((need + (1 << 20) - 1) >> 20 << 20, true, e)) < 0)
    *ret_text = NULL;
  return MACULA_EINVAL;
}

/* With auto: what was given, or a part of what there is; false: that is not known. */
static bool find_room(struct memory_fit *m, const char *root) {
  if (m->max) {
    m->given = true;
    m->available = m->max;
    m->source = "given";
    return true;
  }
  if (!(m->available = memory_available(root, &m->source))) return false;
  /* The kernel's part: buffers of sockets count against a control group; a machine has other programs, too. */
  m->max = !strcmp(m->source, "machine") ? m->available / 4 * 3 : m->available / 8 * 7;
  return true;
}

int memory_fit(struct config *c, const char *root, struct memory_fit *ret_fit, char **ret_text) {
  struct memory_fit *m = ret_fit;
  int err = c->memory.is_auto && config_is_set(c, OPTION_RETAINED_DISK) ? 0 : fit_disk(c, ret_text);
  *m = (struct memory_fit){.max = c->memory.max};
  if (err) return err;
  if (c->memory.is_auto && find_room(m, root)) {
    struct node_limits wanted = c->node.limits;
    err = plan_fit(&c->node.limits, m->max, has_kernel(m), is_set, c, m->changes, &m->changed);
    if (err) { /* nothing was chosen */
      c->node.limits = wanted;
      m->changed = 0;
    }
  }
  if (c->memory.is_auto && (err = fit_disk(c, ret_text)) != 0) return err;
  m->disk = c->node.limits.retained_disk;
  node_plan(&c->node.limits, &m->plan);
  c->node.limits.memory_max = m->max;
  if (!m->max || m->plan.total + kernel_of(m) <= m->max) return 0;
  *ret_text = complaint(m, &c->node.limits);
  return MACULA_ENOMEM;
}
