/* macula doctor: why a node is not reached, or what is odd where it is. Each step is named, with what to do where it fails. */
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"

#define LARGE 32768 /* bytes: many packets of any size */
#define COLUMNS 80
#define INDENT 9        /* of lines that go on */
#define CLOCK_MAY_BE 30 /* seconds by which the clocks of two machines may differ */

enum step { NAME, UDP, CERTIFICATE, REALM, ACCESS, LARGE_MESSAGES, CLOCK, STEPS };
static const char *const step_names[STEPS] = {"name", "udp", "certificate", "realm", "access", "large messages", "clock"};

/* What to do where a step fails. */
static const char *const advice[STEPS] = {
    [NAME] = "is it spelt right, and does this machine's DNS know it? An address works without",
    [UDP] =
        "does maculad run there and listen on this address and port (its ready line says where), and do firewalls between let "
        "UDP through, both ways?",
    [CERTIFICATE] =
        "it is not the node that it was, another one, or the time of one of the two is wrong: compare `date` here and "
        "there, and the node's id with what maculad prints as it starts",
    [REALM] = "give the node's realm: --realm NAME",
    [ACCESS] =
        "the node wants a token (--token-file), a pass (--pass) or a key that its access file knows: `macula id` is yours",
    [LARGE_MESSAGES] =
        "packets of full size are lost on the way, as in a tunnel whose MTU is smaller than it says: lower the MTU of "
        "this interface and try again",
    [CLOCK] = "set the clock of the one that is wrong (`timedatectl`): certificates and passes count by it",
};

struct doctor {
  struct cli *cli;
  json_t *steps;
  bool failed;
};

/* From column `at` on; what does not fit goes on in lines below, which have room for an id. */
static void put_wrapped(const char *given, size_t at) {
  char text[1024];
  snprintf(text, sizeof text, "%s", given);
  for (char *p = text; *p; p++)
    if (*p == '\n') *p = ' ';
  text_clean(text);
  bool begun = false;
  for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
    size_t width = text_width(word);
    if (at + begun + width > COLUMNS && at > INDENT) {
      printf("\n%*s", INDENT, "");
      at = INDENT;
      begun = false;
    }
    printf("%s%s", begun ? " " : "", word);
    at += begun + width;
    begun = true;
  }
  putchar('\n');
}

/* good < 0: not looked at. */
static void tell(struct doctor *d, enum step step, int good, const char *text) {
  const char *word = good < 0 ? "skipped" : good ? "ok" : "failed";
  bool bad = good == 0;
  d->failed |= bad;
  if (d->cli->json) {
    json_array_append_new(d->steps, json_pack("{s:s,s:s,s:s,s:o*}", "step", step_names[step], "result", word, "text", text,
                                              "advice", bad ? json_string(advice[step]) : NULL));
    return;
  }
  printf("%-8s %-15s ", word, step_names[step]);
  put_wrapped(text[0] ? text : "-", 25);
  if (!bad) return;
  printf("%*s-> ", INDENT, "");
  put_wrapped(advice[step], INDENT + 3);
}

/* HOST of HOST, HOST:PORT, [ADDR]:PORT and macula://ID@... */
static void host_of(const char *server, char ret_host[256]) {
  const char *at = strrchr(server, '@'), *text = at ? at + 1 : strncmp(server, "macula://", 9) ? server : server + 9;
  const char *end = text[0] == '[' ? strchr(text, ']') : NULL, *colon = strchr(text, ':');
  if (end)
    snprintf(ret_host, 256, "%.*s", (int)(end - text - 1), text + 1);
  else if (colon && !strchr(colon + 1, ':'))
    snprintf(ret_host, 256, "%.*s", (int)(colon - text), text);
  else
    snprintf(ret_host, 256, "%s", text);
}

static bool look_up(struct doctor *d, const char *server) {
  char host[256], text[512] = "", one[NI_MAXHOST];
  struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *all = NULL;
  host_of(server, host);
  int err = getaddrinfo(host, NULL, &hints, &all);
  size_t n = (size_t)snprintf(text, sizeof text, "%.250s: %s", host, err ? gai_strerror(err) : "");
  for (struct addrinfo *a = all; a && n < sizeof text; a = a->ai_next)
    if (!getnameinfo(a->ai_addr, a->ai_addrlen, one, sizeof one, NULL, 0, NI_NUMERICHOST))
      n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", a == all ? "" : ", ", one);
  if (all) freeaddrinfo(all);
  tell(d, NAME, !err, text);
  return !err;
}

/* The step that an end of the first attempt belongs to. */
static enum step step_of(int err) {
  switch (err) {
  case MACULA_CERTIFICATE_INVALID:
  case MACULA_CERTIFICATE_EXPIRED:
  case MACULA_IDENTITY_MISMATCH:
    return CERTIFICATE;
  case MACULA_REALM_MISMATCH:
  case MACULA_INVALID_REALM:
    return REALM;
  case MACULA_NOT_AUTHORIZED:
  case MACULA_FORBIDDEN:
  case MACULA_PASS_INVALID:
  case MACULA_PASS_EXPIRED:
  case MACULA_PASS_REVOKED:
  case MACULA_MAX_CLIENTS_REACHED:
  case MACULA_RATE_LIMITED:
    return ACCESS;
  default:
    return UDP;
  }
}

/* Connects; what that says on standard error is the step's text. Returns an exit code. */
static int reach(struct doctor *d) {
  char *said = NULL, id[MACULA_ID_LEN + 1] = "", text[256];
  size_t len;
  FILE *to = stderr, *kept = open_memstream(&said, &len);
  if (!kept) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  stderr = kept;
  int code = cli_connect(d->cli, false);
  stderr = to;
  fclose(kept);
  const char *why = strncmp(said, "macula: ", 8) ? said : said + 8;
  if (code && !d->cli->link.err && code == EXIT_USAGE) { /* an option is wrong: nobody was asked */
    fputs(said, stderr);
    free(said);
    return code;
  }
  enum step bad = code ? step_of(d->cli->link.err) : STEPS;
  for (enum step s = UDP; s <= ACCESS; s++) {
    if (s == CERTIFICATE && bad == STEPS) {
      macula_node_id(d->cli->link.client, id);
      snprintf(text, sizeof text, "the node's id is %s", id);
    } else {
      snprintf(text, sizeof text, "%s", s == UDP && bad != UDP ? "it answers" : "");
    }
    tell(d, s, s < bad ? 1 : s == bad ? 0 : -1, s == bad ? why : text);
  }
  if (!code) fputs(said, stderr); /* warnings */
  free(said);
  return code ? EXIT_FAILED : 0;
}

static void send_large(struct doctor *d) {
  char *args = malloc(LARGE + 1), *answer = NULL, text[512];
  size_t len = 0;
  if (!args) return;
  memset(args, 'x', LARGE);
  args[0] = args[LARGE - 1] = '"';
  int err = macula_call_sync(d->cli->link.client, "com.macula.diagnostics.echo", args, LARGE, NULL, 5000, &answer, &len);
  snprintf(text, sizeof text, "%s", err ? macula_last_error() : "32 KiB went there and back");
  tell(d, LARGE_MESSAGES, err == 0 && len > LARGE, text);
  macula_free(answer);
  free(args);
}

static void compare_clocks(struct doctor *d) {
  char *answer = NULL, text[160] = "the node does not say its time";
  size_t len = 0;
  int err = macula_call_sync(d->cli->link.client, "com.macula.diagnostics.echo", "0", 1, NULL, 5000, &answer, &len);
  json_t *j = err ? NULL : json_loadb(answer, len, 0, NULL), *stamp = json_object_get(j, "timestamp");
  double off = json_number_value(stamp) - (double)time(NULL);
  if (json_is_number(stamp)) snprintf(text, sizeof text, "the node's is %+.0f s from this machine's", off);
  tell(d, CLOCK, json_is_number(stamp) ? off <= CLOCK_MAY_BE && off >= -CLOCK_MAY_BE : -1, text);
  json_decref(j);
  macula_free(answer);
}

static int run(struct cli *cli, void *options) {
  struct doctor d = {.cli = cli, .steps = json_array()};
  (void)options;
  if (cli->argc) cli->server = cli->argv[0];
  if (!cli->server) cli->server = "127.0.0.1:9443";
  int code = look_up(&d, cli->server) ? reach(&d) : EXIT_FAILED;
  if (!code) {
    send_large(&d);
    compare_clocks(&d);
  }
  if (code == EXIT_USAGE) return json_decref(d.steps), code;
  if (!cli->json)
    json_decref(d.steps);
  else if (!text_put_json(json_pack("{s:b,s:o}", "good", !d.failed, "steps", d.steps)))
    return EXIT_FAILED;
  return d.failed ? EXIT_FAILED : 0;
}

const struct command command_doctor = {
    "doctor",
    "doctor [ADDR]",
    "find out why a node is not reached",
    "Looks up the name, sends packets, looks at certificate, realm and access, sends\n"
    "a large message, and compares the clocks: each with what to do where it fails.\n"
    "The exit code is 1 where something does.\n\n"
    "Example: macula doctor\n",
    NULL,
    0,
    0,
    1,
    run,
};
