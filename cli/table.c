#include "table.h"

#include <stdlib.h>
#include <string.h>

#define LINE 80
#define BETWEEN 2

static void value(json_t *v, char buf[TABLE_CELL]) {
  char *dumped = NULL;
  switch (v ? json_typeof(v) : JSON_NULL) {
  case JSON_STRING:
    snprintf(buf, TABLE_CELL, "%s", json_string_value(v));
    break;
  case JSON_INTEGER:
    snprintf(buf, TABLE_CELL, "%lld", (long long)json_integer_value(v));
    break;
  case JSON_REAL:
    snprintf(buf, TABLE_CELL, "%.1f", json_real_value(v));
    break;
  case JSON_TRUE:
    snprintf(buf, TABLE_CELL, "yes");
    break;
  case JSON_FALSE:
    snprintf(buf, TABLE_CELL, "no");
    break;
  case JSON_NULL:
    buf[0] = 0;
    break;
  case JSON_ARRAY:
  case JSON_OBJECT:
    dumped = json_dumps(v, JSON_COMPACT);
    snprintf(buf, TABLE_CELL, "%s", dumped ? dumped : "?");
    free(dumped);
  }
  text_clean(buf); /* it may have been cut within a character */
}

static void cell(json_t *row, const struct table_column *c, bool wide, char buf[TABLE_CELL]) {
  if (c->text)
    c->text(row, c->key, wide, buf);
  else
    value(json_object_get(row, c->key), buf);
  if (!buf[0]) snprintf(buf, TABLE_CELL, "-");
}

static void cut(char *text, int most) {
  char *p = text;
  if ((int)text_width(text) <= most) return;
  for (int left = most - 1; left; p++) left -= (p[1] & 0xc0) != 0x80; /* whole characters of UTF-8 */
  strcpy(p, "~");
}

/* Each column gets what it needs up to its most, then in their order what the line has left. */
static void fit(const struct table_column *const *columns, int *widths, size_t count) {
  int left = LINE + BETWEEN;
  int most[TABLE_COLUMNS];
  for (size_t c = 0; c < count; c++) {
    most[c] = widths[c] < columns[c]->most ? widths[c] : columns[c]->most;
    left -= most[c] + BETWEEN;
  }
  for (size_t c = 0; c < count; c++) {
    int more = widths[c] - most[c] < left ? widths[c] - most[c] : left > 0 ? left : 0;
    widths[c] = most[c] + more;
    left -= more;
  }
}

/* printf would pad to bytes, not to characters. */
static void put_cell(FILE *f, const char *text, int width, bool number, bool last) {
  int pad = width - (int)text_width(text);
  if (pad < 0) pad = 0;
  if (number)
    fprintf(f, "%*s%s", pad, "", text);
  else
    fprintf(f, "%s%*s", text, last ? 0 : pad, "");
  fprintf(f, "%*s", last ? 0 : BETWEEN, "");
  if (last) putc('\n', f);
}

void table_put(FILE *f, json_t *rows, const struct table_column *columns, bool wide) {
  const struct table_column *shown[TABLE_COLUMNS];
  int widths[TABLE_COLUMNS];
  char buf[TABLE_CELL];
  size_t count = 0, i;
  json_t *row;
  for (const struct table_column *c = columns; c->head && count < TABLE_COLUMNS; c++)
    if (c->most || wide) shown[count++] = c;
  for (size_t c = 0; c < count; c++) {
    widths[c] = (int)strlen(shown[c]->head);
    json_array_foreach(rows, i, row) {
      cell(row, shown[c], wide, buf);
      if ((int)text_width(buf) > widths[c]) widths[c] = (int)text_width(buf);
    }
  }
  if (!wide) fit(shown, widths, count);
  for (size_t c = 0; c < count; c++) put_cell(f, shown[c]->head, widths[c], shown[c]->number, c + 1 == count);
  json_array_foreach(rows, i, row) {
    for (size_t c = 0; c < count; c++) {
      cell(row, shown[c], wide, buf);
      cut(buf, widths[c]);
      put_cell(f, buf, widths[c], shown[c]->number, c + 1 == count);
    }
  }
}

/* ---- cells -----------------------------------------------------------------------------------------------------------------
 */
void table_id(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]) {
  const char *id = json_string_value(json_object_get(row, key));
  bool keyless = id && strspn(id, "0") == strlen(id) && json_object_get(row, "instance");
  value(json_object_get(row, keyless ? "instance" : key), buf);
  if (!wide && strlen(buf) > TABLE_ID) buf[TABLE_ID] = 0;
}

static double number_of(json_t *row, const char *key) { return json_number_value(json_object_get(row, key)); }

/* At most five characters, as long as it is below 1e15. */
static void scaled(double n, double by, char buf[TABLE_CELL]) {
  static const char *const units[] = {"", "K", "M", "G", "T"};
  size_t i = 0;
  while (n >= (i ? 999.5 : by == 1024 ? 1000 : 99999.5) && i < 4) n /= by, i++;
  snprintf(buf, TABLE_CELL, i && n < 9.95 ? "%.1f%s" : "%.0f%s", n, units[i]);
}

void table_size(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]) {
  wide ? value(json_object_get(row, key), buf) : scaled(number_of(row, key), 1024, buf);
}

void table_count(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]) {
  wide ? value(json_object_get(row, key), buf) : scaled(number_of(row, key), 1000, buf);
}

void table_seconds(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]) {
  double s = number_of(row, key);
  const char *format = s < 100 ? "%.0fs" : s < 6000 ? "%.0fm" : s < 360000 ? "%.0fh" : "%.0fd";
  (void)wide;
  value(json_object_get(row, key), buf);
  if (!buf[0]) return;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  snprintf(buf, TABLE_CELL, format, s < 100 ? s : s < 6000 ? s / 60 : s < 360000 ? s / 3600 : s / 86400);
#pragma GCC diagnostic pop
}

void table_micros(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]) {
  double us = number_of(row, key);
  (void)wide;
  value(json_object_get(row, key), buf);
  if (!buf[0]) return;
  if (us < 10000)
    snprintf(buf, TABLE_CELL, "%.1fms", us / 1000);
  else if (us < 1e6)
    snprintf(buf, TABLE_CELL, "%.0fms", us / 1000);
  else
    snprintf(buf, TABLE_CELL, "%.1fs", us / 1e6);
}
