/* Devices: clients of MQTT over TCP, many of one node, counted. Each is a socket in the one epoll set of all; what it says and
 * hears is written and read by src/mqtt. Device number n has the client id "load-mqtt-n". */
#ifndef LOAD_DRIVE_DEVICES_H
#define LOAD_DRIVE_DEVICES_H

#include "load/drive/engine.h"
#include "mqtt/packet.h"

#define DEVICE_IN 1024  /* bytes of a packet to a device, at most */
#define DEVICE_OUT 1024 /* bytes that its socket has not taken, at most */
#define DEVICES_ALL "load/mqtt/all"
#define DEVICES_OWN "load/mqtt/own/"   /* and its number */
#define DEVICES_GONE "load/mqtt/gone/" /* and its number: the topic of its will */

struct load_device {
  struct load_devices *of;
  size_t number;
  enum mqtt_level level;
  int fd; /* -1: it has no connection */
  bool dials, in, present, leaving;
  uint8_t reason; /* of its last CONNACK */
  nanotime asked;
  uint16_t last_id;
  uint64_t own; /* messages to its own topic: the payload of the next one is this number */
  uint32_t in_len, out_len;
  uint8_t in_buf[DEVICE_IN], out_buf[DEVICE_OUT];
};

/* What those say who connect. */
struct load_connect {
  bool clean;        /* no session that was there */
  bool will;         /* to DEVICES_GONE, QoS 1 */
  bool subscribe;    /* to DEVICES_ALL and its own topic; counted when both are granted */
  bool hears_wills;  /* subscribe to all of DEVICES_GONE instead */
  uint32_t expiry_s; /* seconds, 5.0 only; 3.1.1: kept unless clean */
};

struct load_round { /* since the last load_devices_connect */
  size_t next, end;
  uint64_t asked, in, present, refused, failed; /* refused: CONNACK says that there is no room; failed: whatever else */
};

/* What one of them publishes with QoS 1, one after another, a few under way at a time. */
struct load_post {
  struct load_device *by;
  void (*compose)(void *ctx, uint64_t i, char ret_topic[64], char ret_payload[32]);
  void *ctx;
  uint64_t count, sent, taken, not_taken; /* taken: acknowledged without an error */
};

struct load_devices {
  struct load *l;
  struct addr at;
  int epoll;
  size_t count;
  struct load_device *v;
  struct load_connect how;
  struct load_round round;
  struct load_post post;
  uint64_t lost;            /* connections that ended and were not to */
  uint64_t all, own;        /* messages */
  uint64_t strange;         /* messages of another's topic, out of order, or there twice */
  uint64_t wills, repeated; /* of devices: first, and once more */
  uint8_t *gone;            /* by number: its will has come */
  size_t gone_count;
  char why[128];                   /* the last failure; "": none */
  struct histogram *connect_times; /* until CONNACK; NULL: nobody asks */
};

/* first: the number of the first. highest: of wills that are heard of. Its error is printed; an exit code. */
int load_devices_new(struct load *l, const struct addr *at, size_t first, size_t count, size_t highest,
                     struct load_devices **ret_devices);
/* Connects these, which have no connection, a number of them at a time; returns at once. Begins a round. */
void load_devices_connect(struct load_devices *d, size_t from, size_t count, const struct load_connect *how);
bool load_devices_decided(void *devices); /* for load_wait: all of the round are in, or refused, or failed */
void load_devices_publish(struct load_devices *d, const struct load_post *post); /* once the last one is done */
bool load_devices_published(void *devices);                                      /* for load_wait */
/* Says DISCONNECT; for_good: 5.0: its session ends with it. */
void load_device_leave(struct load_device *k, bool for_good);
void load_device_reset(struct load_device *k); /* breaks the connection without a word */
void load_devices_free(struct load_devices *d);

#endif
