/* GnuTLS 3.7 calls its allocator variables for sessions, credentials, certificates and packet keys. Not through them go
 * libgmp's numbers, libtasn1's trees, p11-kit and some of GnuTLS's own start-up: they are in the row `unaccounted`. */
#include "hooks.h"

#include <gnutls/gnutls.h>
#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* The one place where a library gives no context of ours: the accounts are the thread's. */
static _Thread_local struct hooks *current;

/* GnuTLS would start before main, with blocks that no account knows. */
__attribute__((visibility("default"))) int _gnutls_global_init_skip(void);
int _gnutls_global_init_skip(void) { return 1; }

static void *tls_malloc(size_t n) { return current ? mem_alloc(&current->tls, n ? n : 1) : malloc(n); }

static void *tls_calloc(size_t n, size_t size) {
  if (!current) return calloc(n, size);
  return n && size ? mem_calloc(&current->tls, n, size) : mem_calloc(&current->tls, 1, 1);
}

static void tls_free(void *p) {
  if (current)
    mem_free(&current->tls, p);
  else
    free(p);
}

static void *tls_realloc(void *p, size_t n) {
  if (!current) return realloc(p, n);
  if (n) return mem_realloc(&current->tls, p, n);
  tls_free(p);
  return NULL;
}

static char *tls_strdup(const char *s) { return current ? mem_dup(&current->tls, s, strlen(s)) : strdup(s); }

static void *json_malloc(size_t n) { return current ? mem_alloc(&current->json, n) : malloc(n); }

static void json_release(void *p) {
  if (current)
    mem_free(&current->json, p);
  else
    free(p);
}

void hooks_install(struct hooks *h) {
  *h = (struct hooks){.tls = MEM_INIT("tls", 0), .json = MEM_INIT("admin", 0)};
  current = h;
  gnutls_malloc = tls_malloc;
  gnutls_calloc = tls_calloc;
  gnutls_realloc = tls_realloc;
  gnutls_free = tls_free;
  gnutls_strdup = tls_strdup;
  json_set_alloc_funcs(json_malloc, json_release);
  gnutls_global_init();
}
