/* $SYS: figures of the node as topics, spelled as mosquitto spells them, for what was written to watch that. They are made for
 * clients of MQTT that subscribe to them, at their own node, and never travel: nobody publishes to $SYS (name_is_sys), and
 * native clients have com.macula.node.*.
 *
 * Every 10 s, while anybody subscribes, the values are made anew. What has changed since a client was last told goes to it, one
 * client after the other as far as the turn comes; one that has still to read something, or is away, is told of the latest
 * value later. A new filter gets all values that match, as retained messages. */
#ifndef NODE_DOORS_MQTT_SYS_H
#define NODE_DOORS_MQTT_SYS_H

#include "base/list.h"
#include "node/node.h"

struct mqtt_client;
struct mqtt_filter_entry;
struct mqtt_rooms;

#define MQTT_SYS_LOADS 9     /* figures of which there is an average, */
#define MQTT_SYS_MINUTES 3   /* over 1, 5 and 15 minutes */
#define MQTT_SYS_VALUES 32   /* other topics, at most */
#define MQTT_SYS_TEXT_LEN 40 /* bytes of a value */
#define MQTT_SYS_TOPICS (MQTT_SYS_LOADS * MQTT_SYS_MINUTES + MQTT_SYS_VALUES)

struct mqtt_sys_client { /* of mqtt_client */
  struct list all;       /* mqtt_sys.told or mqtt_sys.behind, while it has such a filter */
  uint64_t seen;         /* mqtt_sys.round up to which it was told of changes */
};

struct mqtt_sys {
  struct list told, behind; /* mqtt_sys_client.all: behind: those that are yet to be looked at in this round */
  nanotime at;              /* when the values are made anew */
  nanotime made_at;         /* when they were last; 0: never */
  uint64_t round;           /* rises with each change */
  uint64_t bytes_in, bytes_out, packets_out, connections; /* of the door: counted where they come and go */
  uint32_t most_clients;
  struct {
    uint64_t last;                    /* what was counted when the values were last made */
    double average[MQTT_SYS_MINUTES]; /* a minute */
  } load[MQTT_SYS_LOADS];
  struct {
    char text[MQTT_SYS_TEXT_LEN];
    uint64_t round; /* in which it has changed */
  } value[MQTT_SYS_TOPICS];
};

void mqtt_sys_init(struct mqtt_sys *s);
void mqtt_sys_client_init(struct mqtt_client *c);
void mqtt_sys_client_done(struct mqtt_client *c);
/* Before a filter is asked for: whether its answer is to be followed by what is there. */
void mqtt_sys_asks(struct mqtt_filter_entry *f, bool with_retained);
/* A filter was granted, or has come with a session that is resumed. */
void mqtt_sys_granted(struct mqtt_client *c, struct mqtt_filter_entry *f);
void mqtt_sys_step(struct node *n);
nanotime mqtt_sys_deadline(const struct node *n);
const char *mqtt_sys_check(const struct node *n);

#endif
