/* macula load: scenarios that apply load to real nodes and say whether the promises were kept. */
#include "load/command.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/err.h"
#include "io/io.h"
#include "lib/lib.h"
#include "load/drive/child.h"
#include "load/drive/engine.h"
#include "load/drive/nodes.h"
#include "load/drive/still.h"
#include "load/drive/turn.h"
#include "load/report/latency.h"
#include "load/report/report.h"
#include "load/scenarios/all.h"
#include "load/scenarios/callers.h"
#include "load/scenarios/clients.h"
#include "load/scenarios/mqtt.h"
#include "load/scenarios/pool.h"
#include "load/scenarios/services.h"
#include "load/scenarios/soak.h"
#include "load/scenarios/streams.h"

#define IDLE_S 3 /* idle timeout of nodes under load; more when so many clients would ping all day: load.idle_s */
#define PATIENCE_S 60

static const struct option_def options[] = {
    {"nodes", 0, OPTION_TEXT, offsetof(struct load_options, nodes)},
    {"scale", 0, OPTION_TEXT, offsetof(struct load_options, scale)},
    {"report", 0, OPTION_TEXT, offsetof(struct load_options, report)},
    {"partition", 0, OPTION_TEXT, offsetof(struct load_options, partition)},
    {"strict", 0, OPTION_FLAG, offsetof(struct load_options, strict)},
    {"duration", 'd', OPTION_TIME, offsetof(struct load_options, duration), 1},
    {"cycles", 0, OPTION_NUMBER, offsetof(struct load_options, cycles), 2, 100000},
    {"patience", 0, OPTION_NUMBER, offsetof(struct load_options, patience), 1, 3600},
    {"child", 0, OPTION_TEXT, offsetof(struct load_options, child), .hidden = true}, /* drive/child.c */
    {0},
};

static const struct {
  const char *name;
  int (*run)(struct load_task *t);
} scenarios[] = {
    {"pool", load_pool},       {"clients", load_clients}, {"services", load_services},
    {"streams", load_streams}, {"callers", load_callers}, {"mqtt", load_mqtt},
};

/* ---- preparing --------------------------------------------------------------------------------------------------------------
 */
static int read_scale(struct load *l) {
  char *end;
  l->scale = 1;
  if (!l->o.scale) return 0;
  l->scale = strtod(l->o.scale, &end);
  if (*end || end == l->o.scale || !(l->scale > 0) || l->scale > 100) {
    cli_error("invalid_argument", "--scale takes a factor above 0 and up to 100 such as 0.1 or 4, not '%.100s'", l->o.scale);
    return EXIT_USAGE;
  }
  return 0;
}

/* What a scenario would pass over without a word is refused. */
static int options_fit(const struct load *l) {
  const struct {
    const char *option, *scenarios;
    bool given;
  } v[] = {{"cycles", "streams and all", l->o.cycles > 0},
           {"duration", "soak", l->o.duration > 0},
           {"partition", "all", l->o.partition != NULL}};
  for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
    if (!v[i].given || strstr(v[i].scenarios, l->scenario)) continue;
    cli_error("invalid_argument", "--%s is an option of load %s, not of %.40s", v[i].option, v[i].scenarios, l->scenario);
    return EXIT_USAGE;
  }
  if (l->o.nodes && strcmp(l->scenario, "soak") == 0)
    return cli_invalid(MACULA_EINVAL, "soak needs its own mesh: leave --nodes away");
  if (l->o.nodes && strcmp(l->scenario, "pool") == 0)
    return cli_invalid(MACULA_EINVAL, "pool needs a node of its own, without upkeep: leave --nodes away");
  if (l->o.nodes && strcmp(l->scenario, "mqtt") == 0)
    return cli_invalid(MACULA_EINVAL, "mqtt needs a node of its own, whose limit it fills over TCP: leave --nodes away");
  if (l->o.partition && !l->o.nodes) return cli_invalid(MACULA_EINVAL, "--partition parts the nodes of --nodes");
  return 0;
}

/* Beside this program, else whatever PATH has. */
static void find_maculad(struct load *l) {
  ssize_t n = readlink("/proc/self/exe", l->self, sizeof l->self - 1);
  l->self[n > 0 ? n : 0] = 0;
  char *slash = strrchr(l->self, '/');
  snprintf(l->maculad, sizeof l->maculad, "%.*s/maculad", slash ? (int)(slash - l->self) : 0, l->self);
  if (access(l->maculad, X_OK) != 0) snprintf(l->maculad, sizeof l->maculad, "maculad");
}

/* As text that a report can hold: names of files need not be UTF-8. */
static void keep_command(struct load *l) {
  char raw[sizeof l->command / 4]; /* each byte may take four */
  int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd >= 0 ? read(fd, raw, sizeof raw) : 0;
  FILE *f = fmemopen(l->command, sizeof l->command, "w");
  if (fd >= 0) close(fd);
  if (!f) return;
  while (n > 0 && !raw[n - 1]) n--;
  for (ssize_t i = 0; i < n; i++)
    if (!raw[i]) raw[i] = ' ';
  if (n > 0) text_put_escaped(f, raw, (size_t)n);
  fclose(f);
  char *slash = NULL; /* the program by its name alone */
  for (char *p = l->command; *p && *p != ' '; p++)
    if (*p == '/') slash = p;
  if (slash) memmove(l->command, slash + 1, strlen(slash));
}

/* Ten thousand clients that ping every second would be a load of their own, which says nothing about a limit. */
static unsigned idle_for(const struct load *l) {
  double clients = strcmp(l->scenario, "clients") == 0 ? 10000 * l->scale
                   : strcmp(l->scenario, "all") == 0   ? 1500 * l->scale
                                                       : 0;
  return clients > 10000 ? 30 : clients > 1000 ? (unsigned)(clients * IDLE_S / 1000) : IDLE_S;
}

static bool is_ignored(int signal) {
  struct sigaction now;
  return sigaction(signal, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

static int prepare(struct load *l) {
  sigset_t set;
  struct cli *cli = l->cli;
  const char *tmp = getenv("TMPDIR");
  int err;
  if (cli->realm && (err = macula_check_realm(cli->realm))) return cli_bad_name(err, cli->realm);
  if (cli->token_file && (err = cli_read_token(cli))) return err;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (!is_ignored(SIGHUP)) sigaddset(&set, SIGHUP); /* the terminal is closed; nohup ignores it */
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  signal(SIGPIPE, SIG_IGN);
  l->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  find_maculad(l);
  keep_command(l);
  snprintf(l->folder, sizeof l->folder, "%.3000s/macula-load.XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
  if (l->o.child) { /* starts no nodes */
    l->folder[0] = 0;
  } else if (!mkdtemp(l->folder)) {
    cli_error("io_error", "cannot make a folder for the nodes' state in %.300s: %s", l->folder, strerror(errno));
    l->folder[0] = 0;
    return EXIT_FAILED;
  }
  l->idle_s = idle_for(l);
  l->patience = l->o.patience ? (unsigned)l->o.patience : PATIENCE_S;
  if (l->o.nodes || cli->identity_path) { /* given nodes may know the user's identity: an operator's, perhaps */
    if ((err = cli_load_identity(cli, false))) return err;
    l->identity = quic_identity_ref(cli->identity->quic);
  } else if ((err = quic_identity_generate(&l->identity))) {
    return cli_failed(err, NULL, NULL);
  }
  if (!load_need_files(LOAD_FILES)) return EXIT_FAILED;
  return load_engine_new(l, load_turn);
}

static int remove_entry(const char *path, const struct stat *s, int kind, struct FTW *at) {
  (void)s, (void)kind, (void)at;
  return remove(path);
}

static void done(struct load *l) {
  load_children_end(l);
  load_nodes_end(l);
  load_engine_free(l);
  if (l->folder[0]) nftw(l->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
  for (size_t i = 0; i < l->node_count; i++) {
    json_decref(l->nodes[i]->memory);
    free(l->nodes[i]->series);
    free(l->nodes[i]);
  }
  load_latencies_free(l);
  quic_identity_unref(l->identity);
  if (l->signal_fd >= 0) close(l->signal_fd);
  free(l->rows);
}

/* ---- running ----------------------------------------------------------------------------------------------------------------
 */
static void say_what_stopped_it(struct load *l) {
  for (size_t i = 0; i < l->node_count; i++)
    if (l->nodes[i]->lost && !l->interrupted)
      load_row(l, l->scenario, false, "the nodes live as long as the run", "they do", "%s: %.180s", l->nodes[i]->name,
               l->nodes[i]->why);
}

static int conclude(struct load *l, int code) {
  say_what_stopped_it(l);
  if (!l->row_count && code) return code; /* it did not begin */
  l->failed |= code != 0;
  if (l->o.strict) load_rows_latency(l);
  load_still_note(l);
  json_t *report = load_report_json(l);
  int written = l->o.report ? load_report_write(l, report) : 0;
  if (!code) code = written;
  for (size_t i = 0; i < l->node_count && !l->interrupted; i++)
    if (l->nodes[i]->lost)
      cli_error("not_connected", "%s (%s) is gone: %s", l->nodes[i]->name, l->nodes[i]->text, l->nodes[i]->why);
  if (l->cli->json)
    text_put_json(json_incref(report));
  else
    load_report_print(stdout, l, l->o.report && !written ? l->o.report : NULL);
  json_decref(report);
  if (l->interrupted) return cli_interrupted();
  return code ? code : l->failures || l->stopping ? EXIT_FAILED : 0;
}

static int run_scenario(struct load *l, int (*run)(struct load_task *t)) {
  struct load_task task = {.l = l, .name = l->scenario, .run = run};
  int code = l->o.nodes ? load_nodes_given(l) : 0;
  if (code) return code;
  if (run && run != load_callers && l->node_count > 1)
    load_note(l, "%s loads one node, %s; the others are watched", l->scenario, l->nodes[0]->text);
  if (run) {
    load_engine_run(l, &task, 1);
    code = task.code;
  } else {
    code = strcmp(l->scenario, "all") == 0 ? load_all(l) : load_soak(l);
  }
  return l->stopping ? conclude(l, 0) : conclude(l, code);
}

static int run(struct cli *cli, void *options_set) {
  struct load *l = calloc(1, sizeof *l);
  int (*found)(struct load_task *) = NULL;
  if (!l) return cli_failed(MACULA_ENOMEM, NULL, NULL);
  l->cli = cli;
  l->o = *(const struct load_options *)options_set;
  l->scenario = cli->argv[0];
  l->signal_fd = -1;
  l->started = io_now();
  list_init(&l->children);
  pthread_mutex_init(&l->lock, NULL);
  for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
    if (strcmp(l->scenario, scenarios[i].name) == 0) found = scenarios[i].run;
  int code = found || l->o.child || strcmp(l->scenario, "all") == 0 || strcmp(l->scenario, "soak") == 0
                 ? read_scale(l)
                 : cli_invalid(MACULA_EINVAL, "scenarios are pool, clients, services, streams, callers, mqtt, all and soak");
  if (!code && !l->o.child) code = options_fit(l);
  if (!code && l->o.report && !l->o.child) code = load_report_folder(l->o.report);
  if (!code) code = prepare(l);
  if (!code) code = l->o.child ? load_child_main(l, found == load_mqtt ? load_mqtt_child : NULL) : run_scenario(l, found);
  done(l);
  pthread_mutex_destroy(&l->lock);
  free(l);
  return code;
}

const struct command command_load = {
    "load",
    "load SCENARIO [OPTION]...",
    "load nodes and show that the promises are kept",
    "Starts nodes of its own (maculad beside this program, else in PATH), loads them\n"
    "over QUIC (mqtt: TCP), watches their figures and their memory from outside, and\n"
    "prints what was expected and what was seen. Exit code 1 when a promise is\n"
    "broken.\n\n"
    "  pool      a node with a pool of 1,000 dials 1,500 peers, then makes 100,000\n"
    "            requests to them\n"
    "  clients   10,000 clients at their limit, and 2,000 more; 100, and 50 more\n"
    "  services  10,000 services with a TTL of 5 s, half of them renewed; 2,400 in a\n"
    "            simulated day\n"
    "  streams   clients that leave by goodbye, by reset and by SIGKILL\n"
    "  callers   1,000 calls a second to slow providers, callers that die meanwhile\n"
    "  mqtt      10,000 clients of MQTT over TCP, at their limit, and 100 more: their\n"
    "            sessions kept and expired; a third is killed, and has wills\n"
    "  all       the six at once on 4 nodes, with slow subscribers and a partition\n"
    "  soak      as all, for --duration\n\n"
    "  --nodes ADDR,...  load these running nodes instead (not pool, mqtt and\n"
    "                    soak); all: the four of a mesh\n"
    "  --partition CMD   all, with --nodes: 'CMD cut' parts the first two from the\n"
    "                    others, 'CMD heal' ends it\n"
    "  --scale N         multiply all sizes, fractions too (1)\n"
    "  --report DIR      write report.html and report.json into a new folder\n"
    "  --strict          judge latencies and the time of turns, too\n"
    "  --duration T      of soak (24m)\n"
    "  --cycles N        of streams, alone or in all (5)\n"
    "  --patience N      seconds to wait for what should come at once (60)\n\n"
    "Example: macula load clients --scale 0.1\n",
    options,
    sizeof(struct load_options),
    1,
    1,
    run,
    "pool clients services streams callers mqtt all soak",
    .is_local = true,
};
