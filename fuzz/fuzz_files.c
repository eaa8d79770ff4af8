/* What the client keeps in files: whatever stands in known_nodes or in an identity is read, or refused with a text that says
 * why; what is read is written again and read as the same. Input: a byte (even: known_nodes, odd: an identity), then the file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "lib/server.h"
#include "quic/quic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok) {
  if (!ok) abort();
}

static void write_file(const char *path, struct slice text) {
  FILE *f = fopen(path, "wb");
  require(f != NULL);
  require(fwrite(text.p, 1, text.n, f) == text.n);
  require(fclose(f) == 0);
}

static void known_nodes(struct slice text) {
  bool added;
  static char path[64];
  static const struct id id = {{1, 2, 3}};
  char why[SERVER_WHY_LEN] = "";
  struct id met;
  unsigned line;
  if (!path[0]) snprintf(path, sizeof path, "/tmp/macula-fuzz-%ld.known", (long)getpid());
  write_file(path, text);
  int err = known_find(NULL, path, "there:9443", &met, &line, why);
  require(err ? why[0] != 0 && strlen(why) < sizeof why : 1);
  if (!err && !line) {
    require(known_add(path, "there:9443", &id, &added, why) == 0);
    require(known_find(NULL, path, "there:9443", &met, &line, why) == 0 && line && id_eq(&met, &id));
  } else if (err) {
    require(known_add(path, "there:9443", &id, &added, why) != 0); /* nothing is added to a file that cannot be read */
  }
  unlink(path);
}

static void identity(struct slice pem) {
  struct quic_identity *i, *again;
  const char *why = NULL;
  char *text;
  if (quic_identity_parse(pem, pem, 1790000000, &i, &why)) return;
  require(quic_identity_pem(i, &text) == 0);
  require(quic_identity_parse(slice_str(text), slice_str(text), 1790000000, &again, &why) == 0);
  require(id_eq(quic_identity_id(i), quic_identity_id(again)));
  free(text);
  quic_identity_unref(i);
  quic_identity_unref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1 || size > 65536) return 0;
  struct slice file = slice_of(data + 1, size - 1);
  if (data[0] % 2)
    identity(file);
  else
    known_nodes(file);
  return 0;
}
