/* What a run has shown. Nothing here waits for anything. */
#ifndef LOAD_REPORT_REPORT_H
#define LOAD_REPORT_REPORT_H

#include <stdio.h>

#include "load/run.h"

void load_row(struct load *l, const char *scenario, bool pass, const char *what, const char *expected, const char *seen, ...)
    __attribute__((format(printf, 6, 7)));
void load_row_is(struct load *l, const char *scenario, const char *what, uint64_t expected, uint64_t seen);
void load_row_most(struct load *l, const char *scenario, const char *what, uint64_t most, uint64_t seen);
/* Promises are told by scenario: row i is the first of its own; two rows are of the same. */
bool load_row_opens(const struct load *l, size_t i);
bool load_rows_same(const struct load *l, size_t i, size_t k);
void load_event(struct load *l, const char *what);
void load_note(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
json_t *load_report_json(struct load *l);
/* The last lines name what is broken, and where the report is. */
void load_report_print(FILE *f, const struct load *l, const char *folder /* of the report; NULL: none */);
/* Makes the folder; it must not hold anything yet. Prints its error, returns an exit code. */
int load_report_folder(const char *dir);
int load_report_write(struct load *l, json_t *report);

#endif
