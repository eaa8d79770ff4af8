/* A running maculad: the node, the loop that drives it, and what signals do to them. */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include <uv.h>

#include "config.h"
#include "credentials.h"
#include "daemon/http/http.h"
#include "disk.h"
#include "hooks.h"
#include "logsink.h"
#include "memory.h"
#include "mesh.h"
#include "mqtt.h"
#include "passwords.h"
#include "reload.h"

/* RUNNING --SIGINT, SIGTERM--> DRAINING --node_drained--> DRAINED --one turn, which sends the goodbyes--> the loop stops.
 * A second signal ends the process at once. */
enum daemon_phase { DAEMON_RUNNING, DAEMON_DRAINING, DAEMON_DRAINED };

/* What a client that the access file does not know has to show. */
enum daemon_shown { SHOWN_NOTHING, SHOWN_TOKEN, SHOWN_PASS, SHOWN_KEY };

struct daemon {
  int argc;
  const char *const *argv;
  struct config cfg;
  struct hooks hooks;
  int statm;             /* /proc/self/statm, which is read for each MiB allocated; -1: it cannot be opened */
  struct mem access_mem; /* of access files */
  struct mem passwords_mem;
  struct passwords *passwords;
  bool closed;             /* access was not open once: it stays so until a restart */
  enum daemon_shown shown; /* as it was at the start */
  struct memory_fit memory;
  struct logsink sink;
  struct log log;
  enum log_level log_level; /* lines above it are not written; the node hears of them down to info */
  int lock_fd;              /* of the state folder, held until the process ends */
  struct io_loop *loop;
  struct io_udp *udp[CONFIG_MAX_LISTEN];
  struct io_udp *out[2]; /* with no_listen: dials leave from here, nothing is accepted */
  struct mqtt_ports mqtt;
  const char *mqtt_off; /* why the port for MQTT that nobody asked for stays closed; NULL: it does not */
  struct mesh *mesh;
  struct disk *disk;     /* NULL: retained messages are in memory only */
  struct addr advertise; /* sa_family 0: none */
  struct node *node;
  struct http *http; /* NULL: off */
  struct reload reload;
  enum daemon_phase phase;
  bool drain_asked;
  uv_signal_t signals[3];
  uv_timer_t upkeep, sample;
  uint64_t upkeep_ms;
};

/* Opens the state folder, makes or reads the identity, makes the node and opens its sockets. Failure: a macula_err, ret_why
 * says what to do; daemon_stop then frees what was made. */
int daemon_start(struct daemon *d, char ret_why[CONFIG_WHY_LEN]);
/* Until a signal ends it. */
int daemon_run(struct daemon *d);
void daemon_stop(struct daemon *d);

#endif
