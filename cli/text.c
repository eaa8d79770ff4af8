/* Reading payloads, printing what came from others. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

/* Something else, as a terminal or what a service is started with, is not meant. */
static bool is_given_input(void) {
  struct stat st;
  return fstat(0, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode));
}

int text_read(const char *arg, const char *absent, char **ret_data, size_t *ret_len) {
  size_t len = 0;
  char *data;
  bool is_asked = arg && strcmp(arg, "-") == 0;
  if (!is_asked && (arg || !is_given_input())) {
    if (!arg) arg = absent;
    len = strlen(arg);
    if (len > MAX_PAYLOAD) return cli_invalid(MACULA_PAYLOAD_TOO_LARGE, NULL);
    if (!(data = strdup(arg))) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  } else {
    if (!(data = malloc(MAX_PAYLOAD + 1))) return cli_failed(MACULA_ENOMEM, NULL, NULL);
    len = fread(data, 1, MAX_PAYLOAD + 1, stdin);
    int code = ferror(stdin)       ? cli_invalid(MACULA_EIO, "standard input cannot be read")
               : len > MAX_PAYLOAD ? cli_invalid(MACULA_PAYLOAD_TOO_LARGE, NULL)
                                   : 0;
    if (code) {
      free(data);
      return code;
    }
    if (!len && !is_asked) memcpy(data, absent, (len = strlen(absent)));
  }
  *ret_data = data;
  *ret_len = len;
  return 0;
}

int text_check_json(const char *what, const char *data, size_t len) {
  int err = macula_check_json(data, len);
  if (!err) return 0;
  cli_error(macula_err_name(err), "%s is not valid JSON (%s)", what, macula_last_error());
  return EXIT_USAGE;
}

/* Bytes of the UTF-8 character at p, 0 if there is none (RFC 3629). */
static size_t utf8_len(const unsigned char *p, size_t n) {
  size_t len = p[0] < 0x80                   ? 1
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
               : (p[0] & 0xf0) == 0xe0       ? 3
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                             : 0;
  if (!len || len > n) return 0;
  for (size_t i = 1; i < len; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
      (p[0] == 0xf4 && p[1] > 0x8f))
    return 0;
  return len;
}

/* The code point of the character of n bytes at p. */
static unsigned code_of(const unsigned char *p, size_t n) {
  unsigned code = n == 1 ? p[0] : p[0] & (0x7fu >> n);
  for (size_t i = 1; i < n; i++) code = code << 6 | (p[i] & 0x3fu);
  return code;
}

/* Whether the character of n bytes at p, 0 for none, is one that drives a terminal or misleads its reader: the controls of
 * names (docs/protocol.md, section 11). */
static bool is_control(const unsigned char *p, size_t n) {
  static const unsigned ranges[][2] = {{0, 0x1f},        {0x7f, 0x9f},     {0x61c, 0x61c},   {0x200e, 0x200f},
                                       {0x2028, 0x202e}, {0x2066, 0x2069}, {0xfdd0, 0xfdef}, {0xfeff, 0xfeff}};
  unsigned code = n ? code_of(p, n) : 'a';
  for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
    if (code >= ranges[i][0] && code <= ranges[i][1]) return true;
  return (code & 0xfffe) == 0xfffe; /* the last two of each plane are no characters */
}

/* As JSON escapes it. */
static void put_code(FILE *f, unsigned code) {
  if (code >= 0x10000)
    fprintf(f, "\\u%04x\\u%04x", 0xd800 | (code - 0x10000) >> 10, 0xdc00 | ((code - 0x10000) & 0x3ff));
  else
    fprintf(f, "\\u%04x", code);
}

void text_put_escaped(FILE *f, const void *data, size_t len) {
  const unsigned char *p = data;
  for (size_t i = 0, n; i < len; i += n) {
    for (n = 0; i + n < len && p[i + n] >= 0x20 && p[i + n] < 0x7f && p[i + n] != '\\'; n++) {
    }
    if (n) {
      fwrite_unlocked(p + i, 1, n, f);
      continue;
    }
    n = utf8_len(p + i, len - i);
    if (n > 1 && !is_control(p + i, n))
      fwrite_unlocked(p + i, 1, n, f);
    else {
      n = 1;
      switch (p[i]) {
      case '\n':
        fputs("\\n", f);
        break;
      case '\r':
        fputs("\\r", f);
        break;
      case '\t':
        fputs("\\t", f);
        break;
      case '\\':
        fputs("\\\\", f);
        break;
      default:
        fprintf(f, "\\x%02x", p[i]);
      }
    }
  }
}

void text_put_word(FILE *f, const char *text) {
  for (size_t n; *text; text += n) {
    n = strcspn(text, " ");
    text_put_escaped(f, text, n);
    for (; text[n] == ' '; n++) fputs("\\x20", f);
  }
}

size_t text_width(const char *text) {
  size_t width = 0;
  for (; *text; text++) width += (*text & 0xc0) != 0x80;
  return width;
}

void text_put_payload(FILE *f, const void *data, size_t len) {
  const unsigned char *p = data;
  bool plain = !isatty(fileno(f) < 0 ? 1 : fileno(f));
  for (size_t i = 0, n; i < len; i += n) {
    n = plain ? len : utf8_len(p + i, len - i);
    if (!n)
      fprintf(f, "\\x%02x", p[i]), n = 1;
    else if (!plain && is_control(p + i, n) && p[i] != '\n' && p[i] != '\t')
      put_code(f, code_of(p + i, n));
    else
      fwrite_unlocked(p + i, 1, n, f);
  }
}

void text_clean(char *text) {
  char *out = text;
  size_t len = strlen(text);
  for (size_t i = 0, n; i < len; i += n ? n : 1) {
    n = utf8_len((const unsigned char *)text + i, len - i);
    if (!n || is_control((const unsigned char *)text + i, n))
      *out++ = '?';
    else
      memmove(out, text + i, n), out += n;
  }
  *out = 0;
}

void text_clean_json(json_t *j) {
  const char *key;
  json_t *v;
  size_t i;
  json_object_foreach(j, key, v) text_clean_json(v);
  json_array_foreach(j, i, v) text_clean_json(v);
  char *text = json_is_string(j) ? strdup(json_string_value(j)) : NULL;
  if (text) {
    text_clean(text);
    json_string_set(j, text);
  }
  free(text);
}

void text_make_utf8(char *text) {
  size_t len = strlen(text);
  for (size_t i = 0, n; i < len; i += n)
    if (!(n = utf8_len((const unsigned char *)text + i, len - i))) text[i] = '?', n = 1;
}

/* Up to len bytes of fd from `at` on. */
static size_t read_at(int fd, char *buf, size_t len, off_t at) {
  size_t done = 0;
  for (ssize_t k; done < len && (k = pread(fd, buf + done, len - done, at + (off_t)done)) > 0;) done += (size_t)k;
  return done;
}

char *text_ends(int fd, size_t each) {
  enum { SAID = 64 };
  off_t size = lseek(fd, 0, SEEK_END);
  bool whole = size <= (off_t)(2 * each);
  char *text = malloc(2 * each + SAID + 1), count[32];
  if (!text) return NULL;
  size_t n = read_at(fd, text, whole ? 2 * each : each, 0);
  if (!whole) {
    char *line = memrchr(text, '\n', n), *tail = text + each + SAID;
    size_t len = read_at(fd, tail, each, size - (off_t)each);
    if (line) n = (size_t)(line + 1 - text);
    if (len && (line = memchr(tail, '\n', len - 1))) {
      len -= (size_t)(line + 1 - tail);
      tail = line + 1;
    }
    n += (size_t)snprintf(text + n, SAID, "%s... %s bytes left out ...\n", n && text[n - 1] != '\n' ? "\n" : "",
                          text_number((uint64_t)size - n - len, count));
    memmove(text + n, tail, len);
    n += len;
  }
  text[n] = 0;
  text_make_utf8(text);
  return text;
}

void text_put_raw_line(FILE *f, const char *text) {
  size_t len = strlen(text);
  while (len && isspace((unsigned char)text[len - 1])) len--;
  for (size_t i = 0, n; i < len; i += n ? n : 1) {
    n = utf8_len((const unsigned char *)text + i, len - i);
    if (text[i] == '\n')
      fputs("; ", f);
    else if (!n || is_control((const unsigned char *)text + i, n))
      putc(' ', f);
    else
      fwrite(text + i, 1, n, f);
  }
  putc('\n', f);
}

static char *base64(const unsigned char *p, size_t len) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  char *out = malloc((len + 2) / 3 * 4 + 1), *o = out;
  if (!out) return NULL;
  for (size_t i = 0; i < len; i += 3) {
    size_t have = len - i < 3 ? len - i : 3;
    unsigned v = (unsigned)p[i] << 16 | (have > 1 ? (unsigned)p[i + 1] << 8 : 0) | (have > 2 ? p[i + 2] : 0u);
    *o++ = digits[v >> 18];
    *o++ = digits[v >> 12 & 63];
    *o++ = have > 1 ? digits[v >> 6 & 63] : '=';
    *o++ = have > 2 ? digits[v & 63] : '=';
  }
  *o = 0;
  return out;
}

json_t *text_json_payload(const void *data, size_t len, const char **ret_key) {
  json_t *j = json_stringn(len ? data : "", len);
  *ret_key = "payload";
  if (j) return j;
  char *text = base64(data, len);
  *ret_key = "payload_base64";
  j = text ? json_string(text) : NULL;
  free(text);
  return j;
}

const char *text_principal_kind(macula_principal_kind kind) {
  switch (kind) {
  case MACULA_PRINCIPAL_KEY:
    return "key";
  case MACULA_PRINCIPAL_USER:
    return "user";
  case MACULA_PRINCIPAL_ANONYMOUS:
    return "anonymous";
  case MACULA_PRINCIPAL_UNKNOWN:
    break;
  }
  return "unknown";
}

json_t *text_json_principal(const macula_principal *p) {
  return json_pack("{s:s,s:s,s:s}", "kind", text_principal_kind(p->kind), "name", p->name, "node", p->node);
}

bool text_put_json_to(FILE *f, json_t *json) {
  char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)) : NULL;
  json_decref(json);
  if (!text) return false;
  text_put_payload(f, text, strlen(text)); /* jansson leaves DEL and C1 as they are */
  free(text);
  return putc('\n', f) != EOF && fflush(f) == 0 && !ferror(f);
}

bool text_put_json(json_t *json) { return text_put_json_to(stdout, json); }

const char *text_bytes(double bytes, char buf[32]) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t i = 0;
  while (bytes >= 1024 && i < 4) bytes /= 1024, i++;
  snprintf(buf, 32, i ? "%.1f %s" : "%.0f %s", bytes, units[i]);
  return buf;
}

const char *text_duration(double seconds, char buf[32]) {
  unsigned long long s = (unsigned long long)seconds;
  if (s >= 86400)
    snprintf(buf, 32, "%llud %lluh %llum", s / 86400, s / 3600 % 24, s / 60 % 60);
  else if (s >= 3600)
    snprintf(buf, 32, "%lluh %llum %llus", s / 3600, s / 60 % 60, s % 60);
  else if (s >= 60)
    snprintf(buf, 32, "%llum %llus", s / 60, s % 60);
  else
    snprintf(buf, 32, "%.1fs", seconds);
  return buf;
}

const char *text_number(uint64_t n, char buf[32]) {
  char plain[24];
  int len = snprintf(plain, sizeof plain, "%llu", (unsigned long long)n), o = 0;
  for (int i = 0; i < len; i++) {
    if (i && (len - i) % 3 == 0) buf[o++] = ',';
    buf[o++] = plain[i];
  }
  buf[o] = 0;
  return buf;
}
