#include "screen.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool screen_begin(struct screen *s) {
  *s = (struct screen){.out = stdout};
  FILE *f = open_memstream(&s->text, &s->len);
  if (f) stdout = f;
  return f;
}

static struct winsize size(void) {
  struct winsize w = {0};
  if (!isatty(1) || ioctl(1, TIOCGWINSZ, &w) != 0 || w.ws_row < 2 || w.ws_col < 2)
    w = (struct winsize){.ws_row = 24, .ws_col = 80};
  return w;
}

unsigned screen_rows(void) { return isatty(1) ? size().ws_row : UINT_MAX; }

/* Bytes of the first `most` characters of UTF-8. */
static size_t cut(const char *line, size_t len, size_t most) {
  size_t i = 0;
  for (size_t seen = 0; i < len; i++)
    if ((line[i] & 0xc0) != 0x80 && seen++ == most) break;
  return i;
}

static void draw(const char *text) {
  struct winsize w = size();
  fputs("\033[H", stdout);
  for (unsigned row = 1; *text && row < w.ws_row; row++) {
    size_t n = strcspn(text, "\n");
    fwrite(text, 1, cut(text, n, w.ws_col), stdout);
    fputs("\033[K\n", stdout);
    text += n + (text[n] == '\n');
  }
  fputs("\033[J", stdout);
}

bool screen_end(struct screen *s) {
  bool ok = fclose(stdout) == 0;
  stdout = s->out;
  if (ok && isatty(1))
    draw(s->text);
  else if (ok)
    fputs(s->text, stdout);
  free(s->text);
  return ok && fflush(stdout) == 0 && !ferror(stdout);
}

int screen_wait(struct cli *cli, uint64_t *from, uint64_t ms) {
  uint64_t until = *from + ms * CLI_MS;
  for (;;) {
    int code = cli_check_link(cli);
    if (code >= 0) return code;
    switch (cli_wait(cli, until)) {
    case CLI_WOKEN:
    case CLI_READABLE:
      break;
    case CLI_SIGNALLED:
    case CLI_UNREAD:
      return 0;
    case CLI_TIMED_OUT:
      *from = until;
      return -1;
    }
  }
}
