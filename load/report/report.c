/* What a run has shown: promises with what was expected and what was seen, as a table, as JSON and in a folder. */
#include "load/report/report.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/histogram.h"
#include "io/io.h"
#include "load/report/html.h"
#include "load/report/latency.h"

#define LOG_KEPT 2000 /* bytes of a node's log, of its beginning and of its end */

/* ---- rows -------------------------------------------------------------------------------------------------------------------
 */
void load_row(struct load *l, const char *scenario, bool pass, const char *what, const char *expected, const char *seen, ...) {
  va_list ap;
  if (l->row_count == l->row_cap) {
    size_t cap = l->row_cap ? l->row_cap * 2 : 32;
    struct load_row *more = realloc(l->rows, cap * sizeof *more);
    if (!more) {
      l->failures++; /* a promise that cannot be written down is not kept */
      return;
    }
    l->rows = more;
    l->row_cap = cap;
  }
  struct load_row *r = &l->rows[l->row_count++];
  snprintf(r->scenario, sizeof r->scenario, "%s", scenario);
  snprintf(r->what, sizeof r->what, "%s", what);
  snprintf(r->expected, sizeof r->expected, "%s", expected);
  va_start(ap, seen);
  vsnprintf(r->seen, sizeof r->seen, seen, ap);
  va_end(ap);
  text_clean(r->what);
  text_clean(r->expected);
  text_clean(r->seen);
  r->pass = pass;
  if (!pass) l->failures++;
}

void load_row_is(struct load *l, const char *scenario, const char *what, uint64_t expected, uint64_t seen) {
  char a[32], b[32];
  load_row(l, scenario, expected == seen, what, text_number(expected, a), "%s", text_number(seen, b));
}

void load_row_most(struct load *l, const char *scenario, const char *what, uint64_t most, uint64_t seen) {
  char a[32], b[32], expected[64];
  snprintf(expected, sizeof expected, "at most %s", text_number(most, a));
  load_row(l, scenario, seen <= most, what, expected, "%s", text_number(seen, b));
}

bool load_rows_same(const struct load *l, size_t i, size_t k) { return strcmp(l->rows[i].scenario, l->rows[k].scenario) == 0; }

bool load_row_opens(const struct load *l, size_t i) {
  size_t k = 0;
  while (k < i && !load_rows_same(l, i, k)) k++;
  return k == i;
}

void load_event(struct load *l, const char *what) {
  if (l->event_count == sizeof l->events / sizeof l->events[0]) return;
  struct load_event *e = &l->events[l->event_count++];
  e->at = (float)load_seconds(l);
  snprintf(e->what, sizeof e->what, "%s", what);
  text_clean(e->what);
}

void load_note(struct load *l, const char *fmt, ...) {
  va_list ap;
  if (l->note_count == sizeof l->notes / sizeof l->notes[0]) return;
  va_start(ap, fmt);
  vsnprintf(l->notes[l->note_count], sizeof l->notes[0], fmt, ap);
  va_end(ap);
  text_clean(l->notes[l->note_count]);
  if (!l->cli->json) {
    if (isatty(2)) fputs("\r\033[K", stderr);
    fprintf(stderr, "%s\n", l->notes[l->note_count]);
  }
  l->note_count++;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------------------
 */
static json_t *machine(void) {
  struct utsname u;
  char cpu[128] = "", line[256];
  FILE *f = fopen("/proc/cpuinfo", "re");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "model name : %127[^\n]", cpu) == 1) break;
  if (f) fclose(f);
  uname(&u);
  return json_pack("{s:s, s:s, s:s, s:I, s:I}", "system", u.sysname, "release", u.release, "processor",
                   cpu[0] ? cpu : u.machine, "cores", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "memory_bytes",
                   (json_int_t)sysconf(_SC_PHYS_PAGES) * (json_int_t)sysconf(_SC_PAGESIZE));
}

static json_t *rows_json(const struct load *l) {
  json_t *rows = json_array();
  for (size_t i = 0; i < l->row_count; i++) {
    const struct load_row *r = &l->rows[i];
    json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s, s:b}", "scenario", r->scenario, "what", r->what, "expected",
                                          r->expected, "seen", r->seen, "pass", r->pass));
  }
  return rows;
}

static json_t *series_json(const struct load_node *n) {
  json_t *at = json_array(), *series = json_object();
  for (size_t i = 0; i < n->series_count; i++) json_array_append_new(at, json_real(n->series[i].at));
  json_object_set_new(series, "seconds", at);
  for (int f = 0; f < FIG_COUNT; f++) {
    json_t *v = json_array();
    for (size_t i = 0; i < n->series_count; i++) json_array_append_new(v, json_integer((json_int_t)n->series[i].v[f]));
    json_object_set_new(series, load_figure_name((enum load_figure)f), v);
  }
  return series;
}

static json_t *nodes_json(const struct load *l) {
  json_t *nodes = json_array();
  for (size_t i = 0; i < l->node_count; i++) {
    const struct load_node *n = l->nodes[i];
    json_t *j = json_pack("{s:s, s:s, s:s, s:b, s:b, s:f, s:f, s:o}", "name", n->name, "role", n->role, "address", n->text,
                          "given", n->given, "lost", n->lost, "silent_seconds", (double)n->silent / 1e9, "silent_until_seconds",
                          n->silent_at, "series", series_json(n));
    if (n->memory) json_object_set(j, "memory_at_the_end", n->memory);
    if (n->lost) json_object_set_new(j, "why", json_string(n->why));
    int log = load_node_log(n);
    char *text = log >= 0 ? text_ends(log, LOG_KEPT) : NULL;
    if (log >= 0) close(log);
    if (text && text[0]) json_object_set_new(j, "log", json_string(text));
    free(text);
    json_array_append_new(nodes, j);
  }
  return nodes;
}

json_t *load_report_json(struct load *l) {
  json_t *notes = json_array(), *events = json_array();
  for (size_t i = 0; i < l->event_count; i++)
    json_array_append_new(events, json_pack("{s:f, s:s}", "seconds", (double)l->events[i].at, "what", l->events[i].what));
  for (size_t i = 0; i < l->note_count; i++) json_array_append_new(notes, json_string(l->notes[i]));
  return json_pack("{s:s, s:s, s:f, s:b, s:b, s:f, s:f, s:f, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "load", l->scenario,
                   "command", l->command, "scale", l->scale, "pass", !l->failures && !l->stopping && !l->failed, "interrupted",
                   l->interrupted, "seconds", load_seconds(l), "still_seconds", (double)l->still / 1e9, "still_until_seconds",
                   l->still_at, "version", macula_version(), "machine", machine(), "table", rows_json(l), "latencies",
                   load_latencies_json(l), "notes", notes, "events", events, "nodes", nodes_json(l));
}

/* ---- printing ---------------------------------------------------------------------------------------------------------------
 */
static void print_row(FILE *f, const struct load_row *r, const int width[3]) {
  fprintf(f, "%-4s  %-*s  %-*s  %-*s  %s\n", r->pass ? "PASS" : "FAIL", width[0], r->scenario, width[1], r->what, width[2],
          r->expected, r->seen);
}

static void print_rows(FILE *f, const struct load *l) {
  int width[] = {8, 4, 8};
  for (size_t i = 0; i < l->row_count; i++) {
    const struct load_row *r = &l->rows[i];
    if ((int)strlen(r->scenario) > width[0]) width[0] = (int)strlen(r->scenario);
    if ((int)strlen(r->what) > width[1]) width[1] = (int)strlen(r->what);
    if ((int)strlen(r->expected) > width[2]) width[2] = (int)strlen(r->expected);
  }
  fprintf(f, "%-4s  %-*s  %-*s  %-*s  %s\n", "", width[0], "SCENARIO", width[1], "WHAT", width[2], "EXPECTED", "SEEN");
  for (size_t i = 0; i < l->row_count; i++)
    for (size_t k = i; k < l->row_count && load_row_opens(l, i); k++)
      if (load_rows_same(l, i, k)) print_row(f, &l->rows[k], width);
}

void load_report_print(FILE *f, const struct load *l, const char *folder) {
  print_rows(f, l);
  for (size_t i = 0; i < l->latency_count; i++) {
    const struct histogram *h = l->latencies[i].times;
    char count[32];
    if (h->count)
      fprintf(f, "      %-8s  %s: p50 %.1f ms, p99 %.1f ms, max %.1f ms of %s\n", l->latencies[i].scenario,
              l->latencies[i].what, (double)histogram_at(h, 0.5) / 1e6, (double)histogram_at(h, 0.99) / 1e6,
              (double)h->max / 1e6, text_number(h->count, count));
  }
  for (size_t i = 0; i < l->node_count; i++) fprintf(f, "      %-8s  %s\n", l->nodes[i]->name, l->nodes[i]->role);
  fprintf(f, "%zu kept, %zu broken, %.0f s%s\n", l->row_count - l->failures, l->failures, load_seconds(l),
          l->interrupted ? "; interrupted"
          : l->failed    ? "; not done"
                         : "");
  for (size_t i = 0; i < l->row_count; i++) {
    const struct load_row *r = &l->rows[i];
    if (!r->pass) fprintf(f, "broken: %s: %s\n  expected %s, seen %s\n", r->scenario, r->what, r->expected, r->seen);
  }
  if (!folder) return;
  fputs("report: ", f);
  text_put_escaped(f, folder, strlen(folder));
  fputs("/report.html\n", f);
}

/* ---- folder -----------------------------------------------------------------------------------------------------------------
 */
int load_report_folder(const char *dir) {
  size_t entries = 0;
  if (mkdir(dir, 0777) == 0) return 0;
  if (errno != EEXIST) {
    cli_error("io_error", "--report: cannot make the folder %.300s: %s", dir, strerror(errno));
    return EXIT_USAGE;
  }
  DIR *d = opendir(dir);
  bool is_folder = d || errno != ENOTDIR;
  for (struct dirent *e; d && (e = readdir(d));) entries += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
  if (d) closedir(d);
  if (entries || !is_folder) {
    cli_error("busy", "--report: %.300s %s: name another folder, or remove it first", dir,
              entries ? "holds something already, and an old report is not overwritten" : "is no folder");
    return EXIT_USAGE;
  }
  if (access(dir, R_OK | W_OK | X_OK) == 0) return 0; /* not found out at the end of a long run */
  cli_error("io_error", "--report: cannot write into %.300s: %s: name another folder", dir, strerror(errno));
  return EXIT_USAGE;
}

int load_report_write(struct load *l, json_t *report) {
  char path[PATH_MAX], why[256] = "";
  char *text = json_dumps(report, JSON_INDENT(1));
  snprintf(path, sizeof path, "%.4000s/report.json", l->o.report);
  int err = text ? io_file_write(path, slice_str(text), 0644, why) : MACULA_ENOMEM;
  free(text);
  snprintf(path, sizeof path, "%.4000s/report.html", l->o.report);
  if (!err) err = load_html_write(l, report, path, why);
  if (err) return cli_failed(err, NULL, why[0] ? why : "the report could not be made");
  return 0;
}
