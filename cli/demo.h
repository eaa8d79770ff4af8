/* What `macula demo` simulates: fifty devices, what each says and how often. Without a connection. */
#ifndef CLI_DEMO_H
#define CLI_DEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEMO_DEVICES 50
#define DEMO_SIGNALS 3    /* of a device, at most */
#define DEMO_PAYLOAD 160  /* bytes of a payload at most, with its NUL */
#define DEMO_LABEL_LEN 32 /* bytes of a device's name at most, with its NUL */

enum demo_shape {
  DEMO_WAVE,  /* a number that swings about a base, with noise */
  DEMO_COUNT, /* a number that rises */
  DEMO_WORD,  /* one of a few words */
  DEMO_PLACE, /* JSON: where it is on its way, and how fast */
};

/* One topic of a device. */
struct demo_signal {
  const char *name; /* of its topic, behind the device's; NULL: there is none */
  uint32_t every_ms;
  int qos;
  bool retain;
  enum demo_shape shape;
  double base, swing, period_s, noise; /* of DEMO_WAVE; of DEMO_PLACE latitude, radius, period, longitude */
  unsigned decimals;
  const char *words; /* of DEMO_WORD: separated by blanks */
};

struct demo_device {
  char name[DEMO_LABEL_LEN];
  const struct demo_signal *signals; /* DEMO_SIGNALS, those without a name left out */
  bool roams;                        /* it comes and goes */
  unsigned number;                   /* among those of its kind, from 1 */
  uint64_t count;                    /* of DEMO_COUNT */
};

/* A random number below 1, by a state that is not 0. */
double demo_random(uint64_t *state);
void demo_devices(struct demo_device ret_devices[DEMO_DEVICES]);
/* What the device says there `seconds` after the start: text; returns its length. */
size_t demo_say(struct demo_device *d, const struct demo_signal *s, double seconds, uint64_t *random,
                char ret_text[DEMO_PAYLOAD]);

#endif
