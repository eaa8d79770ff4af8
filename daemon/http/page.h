/* The page: the files of web/, which lie in the program (tools/embed.py). */
#ifndef DAEMON_HTTP_PAGE_H
#define DAEMON_HTTP_PAGE_H

#include <stddef.h>

struct page_file {
  const char *path; /* of the request */
  const char *type, *etag;
  const unsigned char *bytes;
  size_t len;
};
extern const struct page_file page_files[]; /* up to the one without a path */

#endif
