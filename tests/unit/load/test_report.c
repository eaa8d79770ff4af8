/* The report of `macula load`: told by scenario, with what each node is for, in charts that can be read, and what is broken
 * last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "io/io.h"
#include "load/report/chart.h"
#include "load/report/html.h"
#include "load/report/report.h"

static struct cli cli = {.json = true}; /* notes are not printed */

static struct load *make(size_t nodes, bool broken) {
  struct load *l = calloc(1, sizeof *l);
  static struct load_options o;
  l->cli = &cli;
  l->o = o;
  l->scenario = "all";
  l->scale = 1;
  l->started = io_now() - 47 * NS_SEC;
  for (size_t i = 0; i < nodes; i++) {
    struct load_node *n = l->nodes[l->node_count++] = calloc(1, sizeof *n);
    snprintf(n->name, sizeof n->name, "n%u", (unsigned)i % 100 + 1);
    snprintf(n->role, sizeof n->role, "role <%zu>", i + 1);
    n->series = calloc(1000, sizeof *n->series);
    n->series_count = 1000;
    for (size_t s = 0; s < 1000; s++) {
      n->series[s].at = (float)s * 0.047f;
      for (int f = 0; f < FIG_COUNT; f++) n->series[s].v[f] = 1000 * (i + 1) + s;
    }
  }
  load_row_is(l, "callers", "the first of callers", 1, 1);
  load_row_is(l, "pool", "the first of pool", 1, broken ? 2 : 1);
  load_row_is(l, "callers", "the second of callers", 3, broken ? 4 : 3);
  load_row_is(l, "pool", "the second of pool", 1, 1);
  load_event(l, "partition");
  return l;
}

static void end(struct load *l) {
  for (size_t i = 0; i < l->node_count; i++) {
    free(l->nodes[i]->series);
    free(l->nodes[i]);
  }
  free(l->rows);
  free(l);
}

static char *printed(const struct load *l, const char *folder) {
  char *text = calloc(1, 64 << 10);
  FILE *f = fmemopen(text, 64 << 10, "w");
  load_report_print(f, l, folder);
  fclose(f);
  return text;
}

static char *html_of(struct load *l) {
  char path[] = "/tmp/macula-report.XXXXXX", why[256];
  json_t *report = load_report_json(l);
  int fd = mkstemp(path);
  assert_int_equal(load_html_write(l, report, path, why), 0);
  close(fd);
  json_decref(report);
  FILE *f = fopen(path, "r");
  char *text = calloc(1, 4 << 20);
  assert_true(fread(text, 1, (4 << 20) - 1, f) > 0);
  fclose(f);
  unlink(path);
  return text;
}

static size_t count(const char *text, const char *what, const char *until) {
  size_t n = 0;
  for (const char *at = text; (at = strstr(at, what)) && (!until || at < until); at += strlen(what)) n++;
  return n;
}

static bool follow(const char *text, const char *const *parts) {
  for (; *parts && text; parts++) text = strstr(text, *parts);
  return text != NULL;
}

static void the_last_lines_name_what_is_broken(void **state) {
  (void)state;
  struct load *l = make(2, true);
  char *text = printed(l, "out");
  const char *last = strstr(text, "2 kept, 2 broken");
  assert_non_null(last);
  assert_string_equal(strchr(last, '\n') + 1, "broken: pool: the first of pool\n  expected 1, seen 2\n"
                                              "broken: callers: the second of callers\n  expected 3, seen 4\n"
                                              "report: out/report.html\n");
  free(text);
  end(l);
  l = make(2, false);
  text = printed(l, NULL);
  assert_null(strstr(text, "report:"));
  assert_null(strstr(text, "broken: "));
  free(text);
  end(l);
}

static void promises_are_told_by_scenario(void **state) {
  (void)state;
  struct load *l = make(2, false);
  static const char *const order[] = {"first of callers", "second of callers", "first of pool", "second of pool", NULL},
                           *const html_order[] = {"<h3>callers: 2 kept, 0 broken</h3>",
                                                  "first of callers",
                                                  "second of callers",
                                                  "<h3>pool: 2 kept, 0 broken</h3>",
                                                  "first of pool",
                                                  "second of pool",
                                                  NULL};
  char *text = printed(l, NULL);
  assert_true(follow(text, order));
  assert_int_equal(count(text, "first of callers", NULL), 1);
  free(text);
  text = html_of(l);
  assert_true(follow(text, html_order));
  assert_int_equal(count(text, "<h3>callers", NULL), 1);
  free(text);
  end(l);
}

static void nodes_say_what_they_are_for(void **state) {
  (void)state;
  struct load *l = make(2, false);
  char *text = printed(l, NULL);
  assert_non_null(strstr(text, "n2        role <2>"));
  free(text);
  text = html_of(l);
  assert_non_null(strstr(text, ">n2</b> role &lt;2&gt;"));
  assert_null(strstr(text, "<2>"));
  free(text);
  end(l);
}

/* Of any number of nodes: no chart has more than six lines, one is shown, and the rest is there. */
static void a_chart_has_at_most_six_lines(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 2, 5, 6, 7, 20, LOAD_MAX_NODES};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    struct load *l = make(sizes[i], false);
    char *text = html_of(l);
    size_t lines = 0, charts = 0, shown = 0, depth = 0;
    for (const char *at = strchr(text, '<'); at; at = strchr(at + 1, '<')) {
      depth += strncmp(at, "<details", 8) == 0;
      depth -= strncmp(at, "</details", 9) == 0;
      if (strncmp(at, "<svg", 4) != 0) continue;
      const char *until = strstr(at, "</svg>");
      assert_in_range(count(at, "<polyline", until), 1, 6);
      lines += count(at, "<polyline", until);
      charts++;
      shown += !depth;
    }
    assert_int_equal(lines, 13 * sizes[i]); /* figures */
    assert_int_equal(shown, 5);
    assert_true(charts >= 5);
    free(text);
    end(l);
  }
}

static void ticks_are_round(void **state) {
  (void)state;
  assert_float_equal(chart_step(CHART_COUNT, 1), 1, 0);
  assert_float_equal(chart_step(CHART_COUNT, 10300), 2000, 0);
  assert_float_equal(chart_step(CHART_COUNT, 61), 20, 0);
  assert_float_equal(chart_step(CHART_US, 287123), 50000, 0);
  assert_float_equal(chart_step(CHART_BYTES, 67 << 20), (16 << 20), 0);
  assert_float_equal(chart_step_seconds(47), 10, 0);
  assert_float_equal(chart_step_seconds(1441), 300, 0);
  assert_float_equal(chart_step_seconds(0.4), 0.1, 0);
  assert_float_equal(chart_step_seconds(86400 * 7), 108000, 0); /* 30 h */
  struct load *l = make(1, false);
  char *text = html_of(l);
  static const char *const ticks[] = {">Memory</h4>", ">0 B<", ">512 B<", ">1 KiB<", ">0 s<", ">10 s<", ">40 s<", NULL};
  assert_true(follow(text, ticks));
  free(text);
  end(l);
}

static void thinning_keeps_peaks(void **state) {
  (void)state;
  struct chart_line *line = calloc(1, sizeof *line);
  for (size_t i = 0; i < 4096; i++) chart_add(line, i, 4096, (double)i, i == 2001 ? 99 : 1);
  size_t peaks = 0;
  for (size_t i = 0; i < line->count; i++) peaks += line->points[i].value == 99;
  assert_in_range(line->count, CHART_POINTS / 2, CHART_POINTS);
  assert_int_equal(peaks, 1);
  assert_float_equal(line->most, 99, 0);
  free(line);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_last_lines_name_what_is_broken),
      cmocka_unit_test(promises_are_told_by_scenario),
      cmocka_unit_test(nodes_say_what_they_are_for),
      cmocka_unit_test(a_chart_has_at_most_six_lines),
      cmocka_unit_test(ticks_are_round),
      cmocka_unit_test(thinning_keeps_peaks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
