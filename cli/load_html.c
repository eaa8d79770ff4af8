/* report.html: one file that needs no network. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"
#include "load.h"

#define WIDE 720
#define HIGH 180
#define LEFT 70
#define POINTS 360 /* a line at most: the rest is thinned, its peaks kept */

static const char *const colors[] = {"#1f6fb2", "#c2452d", "#2e8540", "#8a5ab5", "#b8860b", "#008b8b", "#555", "#d6336c"};

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

static void put_line(FILE *f, const struct line *k, double seconds, double top, const char *color) {
  size_t step = k->n->series_count / POINTS + 1;
  fprintf(f, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.3\" points=\"", color);
  for (size_t i = 0; i < k->n->series_count; i += step) {
    uint64_t v = 0;
    for (size_t j = i; j < i + step && j < k->n->series_count; j++)
      if (k->n->series[j].v[k->f] > v) v = k->n->series[j].v[k->f];
    fprintf(f, "%.1f,%.1f ", LEFT + k->n->series[i].at / seconds * WIDE, HIGH - (double)v / top * (HIGH - 10));
  }
  fputs("\"/>\n", f);
}

static void chart(FILE *f, struct load *l, const char *title, const enum load_figure *figures, size_t count, bool bytes) {
  double top = 1, seconds = load_seconds(l);
  char a[32];
  size_t used = 0;
  for (size_t i = 0; i < l->node_count; i++)
    for (size_t k = 0; k < count; k++)
      for (size_t s = 0; s < l->nodes[i]->series_count; s++)
        if ((double)l->nodes[i]->series[s].v[figures[k]] > top) top = (double)l->nodes[i]->series[s].v[figures[k]];
  fprintf(f, "<h3>%s</h3>\n<svg viewBox=\"0 0 %d %d\" width=\"%d\">\n", title, LEFT + WIDE + 10, HIGH + 24, LEFT + WIDE + 10);
  for (int i = 0; i <= 4; i++) {
    double y = HIGH - i * (HIGH - 10) / 4.0, v = top * i / 4;
    fprintf(f, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\">%s</text>\n", LEFT,
            LEFT + WIDE, y, y, LEFT - 6, y + 4, bytes ? text_bytes(v, a) : text_number((uint64_t)v, a));
    fprintf(f, "<text x=\"%.1f\" y=\"%d\">%.0f s</text>\n", LEFT + i * WIDE / 4.0 + 8, HIGH + 18, seconds * i / 4);
  }
  for (size_t i = 0; i < l->node_count; i++)
    for (size_t k = 0; k < count; k++) put_line(f, &(struct line){l->nodes[i], figures[k]}, seconds, top, colors[used++ % 8]);
  fputs("</svg>\n<p class=\"key\">", f);
  used = 0;
  for (size_t i = 0; i < l->node_count; i++)
    for (size_t k = 0; k < count; k++)
      fprintf(f, "<span style=\"color:%s\">&#9632;</span> %s %s &nbsp; ", colors[used++ % 8], l->nodes[i]->name,
              load_figure_name(figures[k]));
  fputs("</p>\n", f);
}

static void cell(FILE *f, const char *s) {
  fputs("<td>", f);
  put_escaped(f, s);
  fputs("</td>", f);
}

static void table(FILE *f, const struct load *l) {
  fputs("<table><tr><th></th><th>scenario</th><th>what</th><th>expected</th><th>seen</th></tr>\n", f);
  for (size_t i = 0; i < l->row_count; i++) {
    const struct load_row *r = &l->rows[i];
    fprintf(f, "<tr><td class=\"%s\">%s</td>", r->pass ? "pass" : "fail", r->pass ? "PASS" : "FAIL");
    cell(f, r->scenario);
    cell(f, r->what);
    cell(f, r->expected);
    cell(f, r->seen);
    fputs("</tr>\n", f);
  }
  fputs("</table>\n", f);
}

static void latencies(FILE *f, json_t *report) {
  json_t *row, *all = json_object_get(report, "latencies");
  size_t i;
  if (!json_array_size(all)) return;
  fputs("<h2>Latencies</h2>\n<table><tr><th>scenario</th><th>what</th><th>count</th><th>p50</th><th>p90</th><th>p99</th>"
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
  fputs("</table>\n", f);
}

static void preamble(FILE *f, const struct load *l, json_t *report) {
  char *machine = json_dumps(json_object_get(report, "machine"), JSON_COMPACT);
  fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>macula load</title>\n<style>"
        "body{font:15px/1.45 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}"
        "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left}"
        "td.pass{color:#2e8540;font-weight:bold}td.fail{color:#fff;background:#c2452d;font-weight:bold}"
        "svg text{font-size:11px;text-anchor:end;fill:#555}svg{max-width:100%}code{background:#f4f4f4;padding:.1em .3em}"
        ".key{font-size:12px;margin-top:0}pre{background:#f4f4f4;padding:.6em;overflow:auto}</style></head><body>\n",
        f);
  fprintf(f, "<h1>macula load %s: <span>%s</span></h1>\n<p><code>", l->scenario,
          json_is_true(json_object_get(report, "pass")) ? "PASS" : "FAIL");
  put_escaped(f, l->command);
  fprintf(f, "</code></p>\n<p>%zu promises kept, %zu broken, in %.0f s, at scale %g, macula %s%s.</p>\n<p>Machine: <code>",
          l->row_count - l->failures, l->failures, load_seconds(l), l->scale, macula_version(),
          l->interrupted ? "; interrupted, so this is a part of the run" : "");
  put_escaped(f, machine ? machine : "");
  fputs("</code></p>\n", f);
  free(machine);
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

int load_html_write(struct load *l, json_t *report, const char *path) {
  static const enum load_figure memory[] = {FIG_RSS, FIG_ACCOUNTED}, connections[] = {FIG_CONNECTIONS, FIG_CLIENTS, FIG_PEERS},
                                refusals[] = {FIG_CLIENTS_REFUSED, FIG_SERVICES_REFUSED, FIG_EVICTED},
                                entries[] = {FIG_SERVICES, FIG_SUBS, FIG_STREAMS, FIG_CALLS}, answers[] = {FIG_ANSWER_US};
  char *text = NULL, why[256];
  size_t len;
  FILE *f = open_memstream(&text, &len);
  if (!f) return MACULA_ENOMEM;
  preamble(f, l, report);
  table(f, l);
  latencies(f, report);
  fputs("<h2>Over time</h2>\n", f);
  chart(f, l, "Memory", memory, 2, true);
  chart(f, l, "Connections", connections, 3, false);
  chart(f, l, "Refusals and evictions, so far", refusals, 3, false);
  chart(f, l, "Services, subscriptions, streams and calls", entries, 4, false);
  chart(f, l, "Microseconds that a status took to come back", answers, 1, false);
  nodes(f, l, report);
  fputs("</body></html>\n", f);
  fclose(f);
  int err = text ? io_file_write(path, slice_of(text, len), 0644, why) : MACULA_ENOMEM;
  free(text);
  return err;
}
