/* report.html: one file that needs no network. */
#include "load/report/html.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "io/io.h"

#define WIDE 720
#define HIGH 200
#define LEFT 70
#define TOP 32     /* of the lines: events are named above */
#define LETTER 6   /* about as wide */
#define POINTS 360 /* a line at most: the rest is thinned, its peaks kept */

static const char *const colors[] = {"#1f6fb2", "#c2452d", "#2e8540", "#8a5ab5", "#b8860b", "#008b8b", "#555", "#d6336c"};
static const char *const dashes[] = {"none", "5 3", "1.5 2.5", "9 3 1.5 3"}; /* of a node's figures */

static void put_escaped(FILE *f, const char *s) {
  for (; *s; s++) switch (*s) {
    case '<':
      fputs("&lt;", f);
      break;
    case '>':
      fputs("&gt;", f);
      break;
    case '&':
      fputs("&amp;", f);
      break;
    case '"':
      fputs("&quot;", f);
      break;
    default:
      fputc(*s, f);
    }
}

struct line {
  const struct load_node *n;
  enum load_figure f;
};

static void put_line(FILE *f, const struct line *k, double seconds, double top, const char *style) {
  size_t step = k->n->series_count / POINTS + 1;
  fprintf(f, "<polyline fill=\"none\" %s points=\"", style);
  for (size_t i = 0; i < k->n->series_count; i += step) {
    uint64_t v = 0;
    for (size_t j = i; j < i + step && j < k->n->series_count; j++)
      if (k->n->series[j].v[k->f] > v) v = k->n->series[j].v[k->f];
    fprintf(f, "%.1f,%.1f ", LEFT + k->n->series[i].at / seconds * WIDE, HIGH - (double)v / top * (HIGH - TOP));
  }
  fputs("\"/>\n", f);
}

static void begin(FILE *f, const char *title, int high) {
  fprintf(f,
          "<h3>%s</h3>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
          "font-family=\"sans-serif\" font-size=\"11\" fill=\"#444\">\n",
          title, LEFT + WIDE + 20, high, LEFT + WIDE + 20);
}

static void level(FILE *f, double y, const char *name) {
  fprintf(f,
          "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" "
          "text-anchor=\"end\">%s</text>\n",
          LEFT, LEFT + WIDE, y, y, LEFT - 6, y + 4, name);
}

static void seconds_and_events(FILE *f, const struct load *l, double seconds) {
  for (int i = 0; i <= 4; i++)
    fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f s</text>\n", LEFT + i * WIDE / 4.0, HIGH + 16,
            seconds * i / 4);
  double ends[2] = {0, 0}; /* of the two lines that names stand in */
  for (size_t i = 0; i < l->event_count; i++) {
    double x = LEFT + l->events[i].at / seconds * WIDE;
    int line = x < ends[0];
    ends[line] = x + 3 + (double)strlen(l->events[i].what) * LETTER;
    fprintf(f,
            "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"#999\" stroke-dasharray=\"2 2\"/><text x=\"%.1f\" "
            "y=\"%d\">%s</text>\n",
            x, x, 2 + 12 * line, HIGH, x + 3, 10 + 12 * line, l->events[i].what);
  }
}

/* A colour a node, a dash a figure; the svg stands for itself, so that it can be cut out. */
static void chart(FILE *f, struct load *l, const char *title, const enum load_figure *figures, size_t count, bool bytes) {
  double top = 1, seconds = load_seconds(l);
  char style[160], a[32];
  for (size_t i = 0; i < l->node_count; i++)
    for (size_t k = 0; k < count; k++)
      for (size_t s = 0; s < l->nodes[i]->series_count; s++)
        if ((double)l->nodes[i]->series[s].v[figures[k]] > top) top = (double)l->nodes[i]->series[s].v[figures[k]];
  begin(f, title, HIGH + 58);
  for (int i = 0; i <= 4; i++)
    level(f, HIGH - i * (HIGH - TOP) / 4.0, bytes ? text_bytes(top * i / 4, a) : text_number((uint64_t)(top * i / 4), a));
  seconds_and_events(f, l, seconds);
  for (size_t i = 0; i < l->node_count; i++)
    for (size_t k = 0; k < count; k++) {
      snprintf(style, sizeof style, "stroke=\"%s\" stroke-width=\"1.4\" stroke-dasharray=\"%s\"", colors[i % 8], dashes[k % 4]);
      put_line(f, &(struct line){l->nodes[i], figures[k]}, seconds, top, style);
    }
  for (size_t k = 0; k < count; k++) {
    int x = LEFT + (int)k * 180;
    fprintf(f,
            "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" stroke=\"#444\" stroke-width=\"1.4\" "
            "stroke-dasharray=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n",
            x, x + 28, HIGH + 30, HIGH + 30, dashes[k % 4], x + 34, HIGH + 34, load_figure_name(figures[k]));
  }
  for (size_t i = 0; i < l->node_count && i < 16; i++)
    fprintf(f, "<text x=\"%d\" y=\"%d\" fill=\"%s\" font-weight=\"bold\">%s</text>\n", LEFT + (int)i * 42, HIGH + 50,
            colors[i % 8], l->nodes[i]->name);
  fputs("</svg>\n", f);
}

/* Of what takes a tenth of a millisecond and what takes seconds: each line of the grid is ten times the one below. */
static void latency_chart(FILE *f, const struct load *l) {
  static const double least = 0.1;
  double seconds = load_seconds(l), decades = 1;
  char a[32], name[96];
  int shown = 0;
  for (size_t i = 0; i < l->latency_count; i++) {
    shown += l->latencies[i].series_count > 0;
    for (size_t k = 0; k < l->latencies[i].series_count; k++)
      decades = fmax(decades, ceil(log10(fmax(l->latencies[i].series[k].p99_ms, least) / least)));
  }
  if (!shown) return;
  begin(f, "Latencies of each second: p99, and p50 dashed", HIGH + 28 + 16 * shown);
  for (int i = 0; i <= (int)decades; i++) {
    snprintf(a, sizeof a, "%g ms", least * pow(10, i));
    level(f, HIGH - i * (HIGH - TOP) / decades, a);
  }
  seconds_and_events(f, l, seconds);
  shown = 0;
  for (size_t i = 0; i < l->latency_count; i++) {
    const struct load_latency *e = &l->latencies[i];
    const char *color = colors[shown % 8];
    if (!e->series_count) continue;
    for (int middle = 0; middle < 2; middle++) {
      size_t step = e->series_count / POINTS + 1;
      fprintf(f, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.4\" stroke-dasharray=\"%s\" points=\"", color,
              dashes[middle]);
      for (size_t k = 0; k < e->series_count; k += step) {
        double v = least;
        for (size_t j = k; j < k + step && j < e->series_count; j++)
          v = fmax(v, middle ? e->series[j].p50_ms : e->series[j].p99_ms);
        double x = LEFT + e->series[k].at / seconds * WIDE, y = HIGH - log10(v / least) / decades * (HIGH - TOP);
        if (e->series_count == 1) fprintf(f, "%.1f,%.1f ", x - 3, y); /* a line of one point would not be seen */
        fprintf(f, "%.1f,%.1f ", x, y);
      }
      fputs("\"/>\n", f);
    }
    snprintf(name, sizeof name, "%s: %s", e->scenario, e->what);
    fprintf(f, "<text x=\"%d\" y=\"%d\" fill=\"%s\" font-weight=\"bold\">%s</text>\n", LEFT, HIGH + 34 + 16 * shown, color,
            name);
    shown++;
  }
  fputs("</svg>\n", f);
}

static void cell(FILE *f, const char *s) {
  fputs("<td>", f);
  put_escaped(f, s);
  fputs("</td>", f);
}

static void table(FILE *f, const struct load *l, bool broken_alone) {
  fputs("<div><table><tr><th></th><th>scenario</th><th>what</th><th>expected</th><th>seen</th></tr>\n", f);
  for (size_t i = 0; i < l->row_count; i++) {
    const struct load_row *r = &l->rows[i];
    if (broken_alone && r->pass) continue;
    fprintf(f, "<tr><td class=\"%s\">%s</td>", r->pass ? "pass" : "fail", r->pass ? "PASS" : "FAIL");
    cell(f, r->scenario);
    cell(f, r->what);
    cell(f, r->expected);
    cell(f, r->seen);
    fputs("</tr>\n", f);
  }
  fputs("</table></div>\n", f);
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
        "svg{max-width:100%;height:auto}code{background:#f4f4f4;padding:.1em .3em;overflow-wrap:anywhere}"
        "div{overflow-x:auto}td:first-child{white-space:nowrap}"
        "pre{background:#f4f4f4;padding:.6em;overflow:auto}</style></head><body>\n",
        f);
  fprintf(f, "<h1>macula load %s: <span>%s</span></h1>\n<p><code>", l->scenario,
          json_is_true(json_object_get(report, "pass")) ? "PASS" : "FAIL");
  put_escaped(f, l->command);
  fprintf(f, "</code></p>\n<p>%zu promises kept, %zu broken, in %.0f s, at scale %g, macula %s%s.</p>\n<p>Machine: ",
          l->row_count - l->failures, l->failures, load_seconds(l), l->scale, macula_version(),
          l->interrupted ? "; interrupted, so this is a part of the run"
          : l->failed    ? "; something could not be done, so this is a part of the run"
                         : "");
  put_escaped(f, processor);
  fprintf(f, ", %lld cores, %s of memory, ", (long long)cores, text_bytes((double)memory, a));
  put_escaped(f, system);
  fputc(' ', f);
  put_escaped(f, release);
  fputs(".</p>\n", f);
  for (size_t i = 0; i < l->note_count; i++) {
    fputs("<p>Note: ", f);
    put_escaped(f, l->notes[i]);
    fputs("</p>\n", f);
  }
}

static void nodes(FILE *f, const struct load *l, json_t *report) {
  json_t *node;
  size_t i;
  fputs("<h2>Nodes</h2>\n", f);
  json_array_foreach(json_object_get(report, "nodes"), i, node) {
    const char *log = json_string_value(json_object_get(node, "log"));
    fputs("<p>", f);
    put_escaped(f, l->nodes[i]->name);
    fputs(" <code>", f);
    put_escaped(f, l->nodes[i]->text);
    fputs("</code>", f);
    if (l->nodes[i]->lost) {
      fputs(" <b>", f);
      put_escaped(f, l->nodes[i]->why);
      fputs("</b>", f);
    }
    fputs("</p>\n", f);
    if (!log) continue;
    fputs("<pre>", f);
    put_escaped(f, log);
    fputs("</pre>\n", f);
  }
}

int load_html_write(struct load *l, json_t *report, const char *path, char ret_why[256]) {
  static const enum load_figure memory[] = {FIG_RSS, FIG_ACCOUNTED}, connections[] = {FIG_CONNECTIONS, FIG_CLIENTS, FIG_PEERS},
                                refusals[] = {FIG_CLIENTS_REFUSED, FIG_SERVICES_REFUSED, FIG_EVICTED},
                                entries[] = {FIG_SERVICES, FIG_SUBS, FIG_STREAMS, FIG_CALLS}, answers[] = {FIG_ANSWER_US};
  char *text = NULL;
  size_t len;
  FILE *f = open_memstream(&text, &len);
  if (!f) return MACULA_ENOMEM;
  preamble(f, l, report);
  if (l->failures) {
    fputs("<h2>Broken</h2>\n", f);
    table(f, l, true);
  }
  fputs("<h2>Over time</h2>\n", f);
  chart(f, l, "Memory", memory, 2, true);
  chart(f, l, "Connections", connections, 3, false);
  chart(f, l, "Refusals and evictions, so far", refusals, 3, false);
  chart(f, l, "Services, subscriptions, streams and calls", entries, 4, false);
  latency_chart(f, l);
  chart(f, l, "Microseconds that a status took to come back", answers, 1, false);
  latencies(f, report);
  fputs("<h2>All promises</h2>\n", f);
  table(f, l, false);
  nodes(f, l, report);
  fputs("</body></html>\n", f);
  fclose(f);
  int err = text ? io_file_write(path, slice_of(text, len), 0644, ret_why) : MACULA_ENOMEM;
  free(text);
  return err;
}
