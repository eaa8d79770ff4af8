/* Lines over time as an SVG that stands for itself, so that it can be cut out of the report. */
#ifndef LOAD_REPORT_CHART_H
#define LOAD_REPORT_CHART_H

#include <stdio.h>

#include "load/run.h"

#define CHART_LINES 6 /* of one chart: more cannot be told apart */
#define CHART_COLORS 8
#define CHART_POINTS 360 /* of a line at most: the rest is thinned, its peaks kept */

enum chart_unit { CHART_COUNT, CHART_BYTES, CHART_US, CHART_MS_LOG };

struct chart_point {
  double at, value; /* at: seconds since the start */
};

struct chart_line {
  char name[128];
  const char *color, *dash; /* of the SVG */
  struct chart_point points[CHART_POINTS];
  size_t count;
  double most;
};

struct chart {
  const char *title;
  enum chart_unit unit;
  double seconds; /* of the whole run */
  const struct load_event *events;
  size_t event_count;
};

void html_escaped(FILE *f, const char *s);
const char *chart_color(size_t i);
/* Adds the i-th of `count` points: those that become one are the highest of them. */
void chart_add(struct chart_line *line, size_t i, size_t count, double at, double value);
/* A round distance between the ticks of an axis that reaches to `top`: 1, 2 or 5 of a power of ten, powers of two for bytes,
 * whole parts of a minute or an hour for seconds. At most six of them fit. */
double chart_step(enum chart_unit unit, double top);
double chart_step_seconds(double top);
/* At most CHART_LINES. */
void chart_put(FILE *f, const struct chart *c, const struct chart_line *const *lines, size_t count);

#endif
