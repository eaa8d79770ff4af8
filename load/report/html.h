/* report.html: one file that needs no network. */
#ifndef LOAD_REPORT_HTML_H
#define LOAD_REPORT_HTML_H

#include "load/run.h"

int load_html_write(struct load *l, json_t *report, const char *path, char ret_why[256]);

#endif
