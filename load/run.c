#include "load/run.h"

#include <fcntl.h>
#include <stdio.h>

#include "io/io.h"

const char *load_figure_name(enum load_figure f) {
  static const char *const names[FIG_COUNT] = {
#define FIGURE(id, name, path) name,
      LOAD_FIGURES(FIGURE)
#undef FIGURE
  };
  return names[f];
}

double load_seconds(const struct load *l) { return (double)(io_now() - l->started) / 1e9; }

uint64_t load_scaled(const struct load *l, uint64_t n, uint64_t least) {
  uint64_t v = (uint64_t)((double)n * l->scale + 0.5);
  return v < least ? least : v;
}

int load_node_log(const struct load_node *n) {
  char path[PATH_MAX + 16];
  snprintf(path, sizeof path, "%s/log", n->folder);
  return n->folder[0] ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}
