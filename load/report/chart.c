#include "load/report/chart.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "cli/cli.h"

#define LEFT 64
#define WIDE 556
#define RIGHT 20
#define TOP 32 /* of the lines: events are named above */
#define HIGH 200
#define LETTER 6   /* about as wide */
#define STEPS 6    /* between ticks, at most */
#define LEAST 0.1  /* ms: the bottom of a logarithmic axis */
#define LEGEND 16  /* a line of it */
#define COLUMN 280 /* of two names beside each other */

const char *chart_color(size_t i) {
  static const char *const colors[CHART_COLORS] = {"#1f6fb2", "#c2452d", "#2e8540", "#8a5ab5",
                                                   "#b8860b", "#008b8b", "#555",    "#d6336c"};
  return colors[i % CHART_COLORS];
}

void chart_add(struct chart_line *line, size_t i, size_t count, double at, double value) {
  size_t each = (count + CHART_POINTS - 1) / CHART_POINTS;
  if (value > line->most) line->most = value;
  if (i % each == 0) line->points[line->count++] = (struct chart_point){at, value};
  struct chart_point *last = &line->points[line->count - 1];
  if (value > last->value) last->value = value;
}

void html_escaped(FILE *f, const char *s) {
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

/* ---- axes -------------------------------------------------------------------------------------------------------------------
 */
double chart_step(enum chart_unit unit, double top) {
  static const double ones[] = {1, 2, 5};
  double step = 1;
  if (unit == CHART_BYTES) {
    while (step * STEPS < top) step *= 2;
    return step;
  }
  for (double ten = 1;; ten *= 10)
    for (size_t i = 0; i < sizeof ones / sizeof ones[0]; i++)
      if ((step = ones[i] * ten) * STEPS >= top) return step;
}

double chart_step_seconds(double top) {
  static const double round[] = {0.1, 0.2, 0.5, 1,   2,   5,    10,   15,   20,    30,
                                 60,  120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600};
  size_t n = sizeof round / sizeof round[0];
  for (size_t i = 0; i < n; i++)
    if (round[i] * STEPS >= top) return round[i];
  return round[n - 1] * ceil(top / STEPS / round[n - 1]);
}

static const char *label(enum chart_unit unit, double v, char ret[32]) {
  static const char *const bytes[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t u = 0;
  switch (unit) {
  case CHART_COUNT:
    return text_number((uint64_t)v, ret);
  case CHART_BYTES:
    while (v >= 1024 && u < 4) v /= 1024, u++;
    snprintf(ret, 32, "%g %s", v, bytes[u]);
    break;
  case CHART_US:
  case CHART_MS_LOG:
    if (unit == CHART_US) v /= 1000;
    snprintf(ret, 32, v > 999.9 ? "%g s" : "%g ms", v > 999.9 ? v / 1000 : v);
    break;
  }
  return ret;
}

struct axis {
  enum chart_unit unit;
  double step, top; /* of CHART_MS_LOG: decades */
};

static struct axis axis_of(enum chart_unit unit, const struct chart_line *const *lines, size_t count) {
  double most = 1;
  for (size_t i = 0; i < count; i++) most = fmax(most, lines[i]->most);
  if (unit == CHART_MS_LOG) return (struct axis){unit, 1, fmax(1, ceil(log10(most / LEAST)))};
  double step = chart_step(unit, most);
  return (struct axis){unit, step, ceil(most / step) * step};
}

static double height(const struct axis *a, double v) {
  if (a->unit == CHART_MS_LOG) v = log10(fmax(v, LEAST) / LEAST);
  return HIGH - v / a->top * (HIGH - TOP);
}

static void levels(FILE *f, const struct axis *a) {
  char name[32];
  for (double v = 0; v <= a->top; v += a->step) {
    double y = HIGH - v / a->top * (HIGH - TOP);
    fprintf(f,
            "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" "
            "text-anchor=\"end\">%s</text>\n",
            LEFT, LEFT + WIDE, y, y, LEFT - 6, y + 4, label(a->unit, a->unit == CHART_MS_LOG ? LEAST * pow(10, v) : v, name));
  }
}

static void times(FILE *f, const struct chart *c) {
  double step = chart_step_seconds(c->seconds), unit = step < 60 ? 1 : step < 3600 ? 60 : 3600;
  for (double s = 0; s <= c->seconds; s += step)
    fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g %s</text>\n", LEFT + s / c->seconds * WIDE, HIGH + 16,
            s / unit,
            step < 60     ? "s"
            : step < 3600 ? "min"
                          : "h");
}

static void events(FILE *f, const struct chart *c) {
  double ends[2] = {0, 0}; /* of the two lines that names stand in */
  for (size_t i = 0; i < c->event_count; i++) {
    const struct load_event *e = &c->events[i];
    double x = LEFT + e->at / c->seconds * WIDE, wide = (double)strlen(e->what) * LETTER;
    bool left = x + 3 + wide > LEFT + WIDE + RIGHT; /* else it would be cut off */
    int line = (left ? x - 3 - wide : x) < ends[0];
    ends[line] = x + 3 + (left ? 0 : wide);
    fprintf(f,
            "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"#999\" stroke-dasharray=\"2 2\"/><text x=\"%.1f\" "
            "y=\"%d\" text-anchor=\"%s\">",
            x, x, 2 + 12 * line, HIGH, left ? x - 3 : x + 3, 10 + 12 * line, left ? "end" : "start");
    html_escaped(f, e->what);
    fputs("</text>\n", f);
  }
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------
 */
static void put_line(FILE *f, const struct chart *c, const struct axis *a, const struct chart_line *line) {
  fprintf(f, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.4\" stroke-dasharray=\"%s\" points=\"", line->color,
          line->dash);
  for (size_t i = 0; i < line->count; i++) {
    double x = LEFT + line->points[i].at / c->seconds * WIDE, y = height(a, line->points[i].value);
    if (line->count == 1) fprintf(f, "%.1f,%.1f ", x - 3, y); /* a line of one point would not be seen */
    fprintf(f, "%.1f,%.1f ", x, y);
  }
  fputs("\"/>\n", f);
}

static void legend(FILE *f, const struct chart_line *line, int x, int y) {
  fprintf(f,
          "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\"/><text "
          "x=\"%d\" y=\"%d\">",
          x, x + 24, y - 4, y - 4, line->color, line->dash, x + 30, y);
  html_escaped(f, line->name);
  fputs("</text>\n", f);
}

void chart_put(FILE *f, const struct chart *c, const struct chart_line *const *lines, size_t count) {
  int columns = 2;
  assert(count <= CHART_LINES);
  for (size_t i = 0; i < count; i++)
    if (strlen(lines[i]->name) * LETTER > COLUMN - 30) columns = 1;
  int rows = ((int)count + columns - 1) / columns, high = HIGH + 26 + LEGEND * rows;
  struct axis a = axis_of(c->unit, lines, count);
  fprintf(f,
          "<h4>%s</h4>\n<div><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
          "font-family=\"sans-serif\" font-size=\"11\" fill=\"#444\">\n",
          c->title, LEFT + WIDE + RIGHT, high, LEFT + WIDE + RIGHT);
  levels(f, &a);
  times(f, c);
  events(f, c);
  for (size_t i = 0; i < count; i++) put_line(f, c, &a, lines[i]);
  for (size_t i = 0; i < count; i++)
    legend(f, lines[i], LEFT + (int)i % columns * COLUMN, HIGH + 36 + LEGEND * ((int)i / columns));
  fputs("</svg></div>\n", f);
}
