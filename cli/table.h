/* Rows of JSON as a table for people: 80 columns, or as wide as they are. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "cli.h"

#define TABLE_CELL 512   /* bytes of a cell's text, NUL included */
#define TABLE_COLUMNS 24 /* at most */
#define TABLE_ID 16      /* digits of an id: as many as commands that take ids need in practice; --wide shows all 64 */

/* Without --wide a cell of more than `most` characters is cut, and ends in `~`, unless other columns leave room for it. The sum
 * of all `most` and of two blanks between columns is 80 at most. */
struct table_column {
  const char *head, *key; /* key: of the row */
  int most;               /* characters; 0: the column is there with --wide only */
  bool number;            /* to the right */
  void (*text)(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]); /* NULL: the value of key */
};

/* columns: up to the one without a head. */
void table_put(FILE *f, json_t *rows, const struct table_column *columns, bool wide);

/* For table_column.text. */
void table_id(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]); /* "id"; if it is all zeros, "instance" */
void table_size(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]);
void table_count(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]);
void table_seconds(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]);
void table_micros(json_t *row, const char *key, bool wide, char buf[TABLE_CELL]);

#endif
