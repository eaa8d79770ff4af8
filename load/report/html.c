/* report.html: one file that needs no network. */
#include "load/report/html.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "io/io.h"
#include "load/report/chart.h"
#include "load/report/report.h"

#define MOST_FIGURES 4 /* of a chart */

static const char *const dashes[] = {"none", "5 3", "1.5 2.5", "9 3 1.5 3"}; /* of a node's figures */

/* ---- charts -----------------------------------------------------------------------------------------------------------------
 * Each shows at most six lines; what would not fit is behind it, on demand. */
struct lines {
  struct chart_line *v;
  size_t count, cap;
};

static struct chart_line *new_line(struct lines *s) {
  if (s->count == s->cap) {
    size_t cap = s->cap ? 2 * s->cap : 16;
    struct chart_line *more = realloc(s->v, cap * sizeof *more);
    if (!more) return NULL;
    s->v = more;
    s->cap = cap;
  }
  s->v[s->count] = (struct chart_line){.dash = dashes[0]};
  return &s->v[s->count++];
}

static int higher(const void *a, const void *b) {
  const struct chart_line *x = *(const struct chart_line *const *)a, *y = *(const struct chart_line *const *)b;
  return (x->most < y->most) - (x->most > y->most);
}

/* The highest six first; their order is that of the nodes where all are shown. */
static void sort(const struct chart_line **v, size_t count) {
  if (count > CHART_LINES) qsort(v, count, sizeof *v, higher);
}

static void more(FILE *f, const struct chart *c, const struct chart_line *const *v, size_t count) {
  for (size_t i = 0; i < count; i += CHART_LINES) chart_put(f, c, v + i, count - i < CHART_LINES ? count - i : CHART_LINES);
}

static struct chart chart_of(const struct load *l, const char *title, enum chart_unit unit) {
  return (struct chart){title, unit, load_seconds(l), l->events, l->event_count};
}

static void node_line(struct lines *s, const struct load *l, size_t node, enum load_figure figure, size_t dash, bool alone) {
  const struct load_node *n = l->nodes[node];
  uint64_t most = 0;
  for (size_t i = 0; i < n->series_count; i++)
    if (n->series[i].v[figure] > most) most = n->series[i].v[figure];
  struct chart_line *line = most ? new_line(s) : NULL;
  if (!line) return;
  line->color = chart_color(node);
  line->dash = dashes[dash % (sizeof dashes / sizeof dashes[0])];
  for (size_t i = 0; i < n->series_count; i++)
    chart_add(line, i, n->series_count, n->series[i].at, (double)n->series[i].v[figure]);
  snprintf(line->name, sizeof line->name, "%s: %s", n->name, alone && n->role[0] ? n->role : load_figure_name(figure));
}

/* All lines of these figures; ends: where those of each end. */
static void node_lines(struct lines *s, const struct load *l, const enum load_figure *wanted, size_t count, bool alone,
                       size_t ends[MOST_FIGURES]) {
  s->count = 0;
  for (size_t k = 0; k < count; k++) {
    for (size_t i = 0; i < l->node_count; i++) node_line(s, l, i, wanted[k], alone ? i / CHART_COLORS : k, alone);
    ends[k] = s->count;
  }
}

/* A chart a figure: the first that has lines is shown. */
static void by_figure(FILE *f, struct chart c, const struct chart_line **v, const enum load_figure *wanted, size_t count,
                      const size_t ends[MOST_FIGURES]) {
  const char *title = c.title;
  char name[128];
  size_t first = 0;
  while (!ends[first]) first++;
  size_t shown = ends[first] < CHART_LINES ? ends[first] : CHART_LINES;
  for (size_t k = first, from = 0; k < count; from = ends[k++]) {
    sort(v + from, ends[k] - from);
    snprintf(name, sizeof name, "%s: %s", title, load_figure_name(wanted[k]));
    c.title = name;
    if (k == first) {
      chart_put(f, &c, v, shown);
      const char *between = shown < ends[k] ? ", " : "";
      fprintf(f, "<details><summary>More: %s", shown < ends[k] ? "other nodes" : "");
      for (size_t i = k + 1; i < count; i++) {
        if (ends[i] == ends[i - 1]) continue;
        fprintf(f, "%s%s", between, load_figure_name(wanted[i]));
        between = ", ";
      }
      fputs("</summary>\n", f);
    }
    more(f, &c, v + from + (k == first ? shown : 0), ends[k] - from - (k == first ? shown : 0));
  }
  fputs("</details>\n", f);
}

/* The nodes' figures: all in a chart where they fit. */
static void figures(FILE *f, const struct load *l, const char *title, const enum load_figure *wanted, size_t count,
                    enum chart_unit unit) {
  const struct chart_line *v[LOAD_MAX_NODES * MOST_FIGURES];
  struct chart c = chart_of(l, title, unit);
  struct lines s = {0};
  size_t ends[MOST_FIGURES];
  node_lines(&s, l, wanted, count, count == 1, ends);
  if (s.count > CHART_LINES) node_lines(&s, l, wanted, count, true, ends);
  for (size_t i = 0; i < s.count; i++) v[i] = &s.v[i];
  if (!s.count)
    fprintf(f, "<h4>%s</h4>\n<p>None in the whole run.</p>\n", title);
  else if (s.count <= CHART_LINES)
    chart_put(f, &c, v, s.count);
  else
    by_figure(f, c, v, wanted, count, ends);
  free(s.v);
}

static void latency_lines(struct lines *s, const struct load *l, bool middle) {
  for (size_t i = 0; i < l->latency_count; i++) {
    const struct load_latency *e = &l->latencies[i];
    struct chart_line *line = e->series_count ? new_line(s) : NULL;
    if (!line) continue;
    line->color = chart_color(s->count - 1);
    line->dash = dashes[middle];
    snprintf(line->name, sizeof line->name, "%s: %s", e->scenario, e->what);
    for (size_t k = 0; k < e->series_count; k++)
      chart_add(line, k, e->series_count, e->series[k].at, middle ? e->series[k].p50_ms : e->series[k].p99_ms);
  }
}

/* Of what takes a tenth of a millisecond and what takes seconds: each line of the grid is ten times the one below. */
static void latency_charts(FILE *f, const struct load *l) {
  const struct chart_line *v[2][sizeof l->latencies / sizeof l->latencies[0]];
  struct lines p99 = {0}, p50 = {0};
  struct chart c = chart_of(l, "Latencies: 99 of 100 of each second within", CHART_MS_LOG);
  latency_lines(&p99, l, false);
  latency_lines(&p50, l, true);
  for (size_t i = 0; i < p99.count; i++) v[0][i] = &p99.v[i];
  for (size_t i = 0; i < p50.count; i++) v[1][i] = &p50.v[i];
  size_t shown = p99.count < CHART_LINES ? p99.count : CHART_LINES;
  if (shown) {
    sort(v[0], p99.count);
    chart_put(f, &c, v[0], shown);
    fprintf(f, "<details><summary>More: %sthe median</summary>\n", shown < p99.count ? "others, " : "");
    more(f, &c, v[0] + shown, p99.count - shown);
    c.title = "Latencies: half of each second within";
    more(f, &c, v[1], p50.count);
    fputs("</details>\n", f);
  }
  free(p99.v);
  free(p50.v);
}

/* ---- tables -----------------------------------------------------------------------------------------------------------------
 */
static void cell(FILE *f, const char *s) {
  fputs("<td>", f);
  html_escaped(f, s);
  fputs("</td>", f);
}

static void put_row(FILE *f, const struct load_row *r, bool scenario) {
  fprintf(f, "<tr><td class=\"%s\">%s</td>", r->pass ? "pass" : "fail", r->pass ? "PASS" : "FAIL");
  if (scenario) cell(f, r->scenario);
  cell(f, r->what);
  cell(f, r->expected);
  cell(f, r->seen);
  fputs("</tr>\n", f);
}

static void broken(FILE *f, const struct load *l) {
  fputs("<h2>Broken</h2>\n<div><table><tr><th></th><th>scenario</th><th>what</th><th>expected</th><th>seen</th></tr>\n", f);
  for (size_t i = 0; i < l->row_count; i++)
    if (!l->rows[i].pass) put_row(f, &l->rows[i], true);
  fputs("</table></div>\n", f);
}

static void promises(FILE *f, const struct load *l) {
  fputs("<h2>All promises</h2>\n", f);
  for (size_t i = 0; i < l->row_count; i++) {
    size_t rows = 0, kept = 0;
    if (!load_row_opens(l, i)) continue;
    for (size_t k = i; k < l->row_count; k++)
      if (load_rows_same(l, i, k)) rows++, kept += l->rows[k].pass;
    fprintf(f, "<h3>%s: %zu kept, %zu broken</h3>\n", l->rows[i].scenario, kept, rows - kept);
    fputs("<div><table><tr><th></th><th>what</th><th>expected</th><th>seen</th></tr>\n", f);
    for (size_t k = i; k < l->row_count; k++)
      if (load_rows_same(l, i, k)) put_row(f, &l->rows[k], false);
    fputs("</table></div>\n", f);
  }
}

static void latencies(FILE *f, json_t *report) {
  json_t *row, *all = json_object_get(report, "latencies");
  size_t i;
  if (!json_array_size(all)) return;
  fputs("<h2>Latencies</h2>\n<div><table><tr><th>scenario</th><th>what</th><th>count</th><th>p50</th><th>p90</th><th>p99</th>"
        "<th>max</th></tr>\n",
        f);
  json_array_foreach(all, i, row) {
    static const char *const keys[] = {"p50_ms", "p90_ms", "p99_ms", "max_ms"};
    fputs("<tr>", f);
    cell(f, json_string_value(json_object_get(row, "scenario")));
    cell(f, json_string_value(json_object_get(row, "what")));
    fprintf(f, "<td>%lld</td>", (long long)json_integer_value(json_object_get(row, "count")));
    for (int k = 0; k < 4; k++) fprintf(f, "<td>%.2f ms</td>", json_number_value(json_object_get(row, keys[k])));
    fputs("</tr>\n", f);
  }
  fputs("</table></div>\n", f);
}

static void preamble(FILE *f, const struct load *l, json_t *report) {
  const json_t *machine = json_object_get(report, "machine");
  const char *system = "", *release = "", *processor = "";
  json_int_t cores = 0, memory = 0;
  char a[32];
  json_unpack((json_t *)machine, "{s:s, s:s, s:s, s:I, s:I}", "system", &system, "release", &release, "processor", &processor,
              "cores", &cores, "memory_bytes", &memory);
  fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>macula load</title>\n"
        "<meta name=\"viewport\" content=\"width=device-width\">\n<style>"
        "body{font:15px/1.45 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}"
        "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left}"
        "td.pass{color:#2e8540;font-weight:bold}td.fail{color:#fff;background:#c2452d;font-weight:bold}"
        "svg{width:100%;max-width:800px;min-width:500px;height:auto}h4{margin:1.5em 0 .3em}"
        "summary{cursor:pointer;color:#1f6fb2}"
        "code{background:#f4f4f4;padding:.1em .3em;overflow-wrap:anywhere}"
        "div{overflow-x:auto}td:first-child{white-space:nowrap}"
        "pre{background:#f4f4f4;padding:.6em;overflow:auto}</style></head><body>\n",
        f);
  fprintf(f, "<h1>macula load %s: <span>%s</span></h1>\n<p><code>", l->scenario,
          json_is_true(json_object_get(report, "pass")) ? "PASS" : "FAIL");
  html_escaped(f, l->command);
  fprintf(f, "</code></p>\n<p>%zu promises kept, %zu broken, in %.0f s, at scale %g, macula %s%s.</p>\n<p>Machine: ",
          l->row_count - l->failures, l->failures, load_seconds(l), l->scale, macula_version(),
          l->interrupted ? "; interrupted, so this is a part of the run"
          : l->failed    ? "; something could not be done, so this is a part of the run"
                         : "");
  html_escaped(f, processor);
  fprintf(f, ", %lld cores, %s of memory, ", (long long)cores, text_bytes((double)memory, a));
  html_escaped(f, system);
  fputc(' ', f);
  html_escaped(f, release);
  fputs(".</p>\n", f);
  for (size_t i = 0; i < l->note_count; i++) {
    fputs("<p>Note: ", f);
    html_escaped(f, l->notes[i]);
    fputs("</p>\n", f);
  }
}

static void nodes(FILE *f, const struct load *l) {
  fputs("<h2>Nodes</h2>\n", f);
  for (size_t i = 0; i < l->node_count; i++) {
    const struct load_node *n = l->nodes[i];
    fprintf(f, "<p><b style=\"color:%s\">%s</b> ", chart_color(i), n->name);
    html_escaped(f, n->role);
    fputs("<br><code>", f);
    html_escaped(f, n->text);
    fputs("</code>", f);
    if (n->lost) {
      fputs("<br><b>", f);
      html_escaped(f, n->why);
      fputs("</b>", f);
    }
    fputs("</p>\n", f);
  }
}

static void logs(FILE *f, const struct load *l, json_t *report) {
  json_t *node;
  size_t i;
  json_array_foreach(json_object_get(report, "nodes"), i, node) {
    const char *log = json_string_value(json_object_get(node, "log"));
    if (!log) continue;
    fprintf(f, "<details><summary>Log of %s</summary>\n<pre>", l->nodes[i]->name);
    html_escaped(f, log);
    fputs("</pre></details>\n", f);
  }
}

int load_html_write(struct load *l, json_t *report, const char *path, char ret_why[256]) {
  static const enum load_figure memory[] = {FIG_RSS, FIG_ACCOUNTED}, connections[] = {FIG_CONNECTIONS, FIG_CLIENTS, FIG_PEERS},
                                refusals[] = {FIG_CLIENTS_REFUSED, FIG_SERVICES_REFUSED, FIG_EVICTED},
                                entries[] = {FIG_SERVICES, FIG_SUBS, FIG_STREAMS, FIG_CALLS, FIG_MQTT},
                                answers[] = {FIG_ANSWER_US};
  char *text = NULL;
  size_t len;
  FILE *f = open_memstream(&text, &len);
  if (!f) return MACULA_ENOMEM;
  preamble(f, l, report);
  nodes(f, l);
  if (l->failures) broken(f, l);
  fputs("<h2>Over time</h2>\n", f);
  figures(f, l, "Memory", memory, 2, CHART_BYTES);
  figures(f, l, "Connections", connections, 3, CHART_COUNT);
  figures(f, l, "Refusals and evictions, so far", refusals, 3, CHART_COUNT);
  figures(f, l, "Services, subscriptions, streams and calls", entries, 4, CHART_COUNT);
  latency_charts(f, l);
  figures(f, l, "How long a status took to come back", answers, 1, CHART_US);
  latencies(f, report);
  promises(f, l);
  fputs("<h2>Logs</h2>\n", f);
  logs(f, l, report);
  fputs("</body></html>\n", f);
  fclose(f);
  int err = text ? io_file_write(path, slice_of(text, len), 0644, ret_why) : MACULA_ENOMEM;
  free(text);
  return err;
}
