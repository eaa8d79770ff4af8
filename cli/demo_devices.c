#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "demo.h"

#define TURN 6.283185307179586 /* radians */

/* Devices of one make; `names` are separated by blanks, or numbers from 1 to `count` if there are none. */
static const struct kind {
  const char *of, *names;
  unsigned count;
  bool roams;
  struct demo_signal signals[DEMO_SIGNALS];
} kinds[] = {
    {"plant.press",
     NULL,
     8,
     false,
     {{"temp", 1000, 0, true, DEMO_WAVE, 61, 6, 120, 0.8, 1},
      {"pressure", 500, 0, false, DEMO_WAVE, 182, 20, 8, 3, 1},
      {"strokes", 2000, 1, false, DEMO_COUNT}}},
    {"plant.oven",
     NULL,
     4,
     false,
     {{"temp", 2000, 0, true, DEMO_WAVE, 843, 12, 300, 2, 0},
      {"door", 7000, 1, true, DEMO_WORD, .words = "closed closed closed open"}}},
    {"plant.robot",
     NULL,
     6,
     false,
     {{"load", 200, 0, false, DEMO_WAVE, 40, 35, 5, 4, 1},
      {"state", 3000, 1, true, DEMO_WORD, .words = "moving gripping placing idle"}}},
    {"plant.line",
     NULL,
     4,
     false,
     {{"speed", 1000, 0, true, DEMO_WAVE, 1.2, 0.1, 60, 0.04, 2}, {"parts", 1500, 1, false, DEMO_COUNT}}},
    {"home.",
     "kitchen living bath bedroom office garden",
     6,
     false,
     {{"temp", 5000, 0, true, DEMO_WAVE, 20.5, 2, 900, 0.3, 1}, {"humidity", 5000, 0, true, DEMO_WAVE, 48, 9, 700, 2, 0}}},
    {"home.meter",
     NULL,
     2,
     false,
     {{"power", 1000, 0, true, DEMO_WAVE, 640, 410, 45, 60, 0}, {"energy", 10000, 1, true, DEMO_COUNT}}},
    {"fleet.car",
     NULL,
     8,
     true,
     {{"position", 1000, 0, false, DEMO_PLACE, 46.95, 0.02, 240, 7.44},
      {"battery", 5000, 0, false, DEMO_WAVE, 62, 25, 600, 1, 0},
      {"status", 15000, 1, true, DEMO_WORD, .words = "driving driving driving charging"}}},
    {"solar.inverter",
     NULL,
     6,
     false,
     {{"power", 1000, 0, true, DEMO_WAVE, 3100, 1400, 180, 90, 0}, {"voltage", 2000, 0, false, DEMO_WAVE, 231, 2, 30, 0.6, 1}}},
    {"weather.station",
     NULL,
     6,
     false,
     {{"temp", 10000, 0, true, DEMO_WAVE, 11, 6, 1200, 0.4, 1}, {"wind", 3000, 0, false, DEMO_WAVE, 4, 3, 40, 1.5, 1}}},
};

double demo_random(uint64_t *state) { /* xorshift64* */
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return (double)((*state * UINT64_C(0x2545f4914f6cdd1d)) >> 11) / 9007199254740992.0;
}

/* The i-th of words with blanks between them, from 0; goes round. */
static size_t word_at(const char *words, unsigned i, const char **ret_word) {
  const char *p = words;
  while (i--) {
    p += strcspn(p, " ");
    p = *p ? p + 1 : words;
  }
  *ret_word = p;
  return strcspn(p, " ");
}

void demo_devices(struct demo_device ret_devices[DEMO_DEVICES]) {
  size_t n = 0;
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
    for (unsigned i = 0; i < kinds[k].count; i++) {
      assert(n < DEMO_DEVICES);
      struct demo_device *d = &ret_devices[n++];
      const char *word = "";
      int len = kinds[k].names ? (int)word_at(kinds[k].names, i, &word) : 0;
      *d = (struct demo_device){.signals = kinds[k].signals, .roams = kinds[k].roams, .number = i + 1};
      if (len)
        snprintf(d->name, sizeof d->name, "%s%.*s", kinds[k].of, len, word);
      else
        snprintf(d->name, sizeof d->name, "%s%u", kinds[k].of, i + 1);
    }
  assert(n == DEMO_DEVICES);
}

/* Each device is elsewhere in its wave. */
static double angle(const struct demo_device *d, double seconds, double period_s) {
  return TURN * (seconds / period_s + d->number * 0.37);
}

size_t demo_say(struct demo_device *d, const struct demo_signal *s, double seconds, uint64_t *random,
                char ret_text[DEMO_PAYLOAD]) {
  int n = 0;
  switch (s->shape) {
  case DEMO_WAVE: {
    double v = s->base + s->swing * sin(angle(d, seconds, s->period_s)) + s->noise * (demo_random(random) - 0.5);
    n = snprintf(ret_text, DEMO_PAYLOAD, "%.*f", (int)s->decimals, v);
    break;
  }
  case DEMO_COUNT:
    d->count += 1 + (uint64_t)(3 * demo_random(random));
    n = snprintf(ret_text, DEMO_PAYLOAD, "%llu", (unsigned long long)d->count);
    break;
  case DEMO_WORD: {
    const char *word;
    int len = (int)word_at(s->words, (unsigned)(8 * demo_random(random)), &word);
    n = snprintf(ret_text, DEMO_PAYLOAD, "%.*s", len, word);
    break;
  }
  case DEMO_PLACE: {
    double a = angle(d, seconds, s->period_s);
    n = snprintf(ret_text, DEMO_PAYLOAD, "{\"lat\":%.5f,\"lon\":%.5f,\"speed\":%.0f}", s->base + s->swing * sin(a),
                 s->noise + s->swing * cos(a), 35 + 15 * demo_random(random));
    break;
  }
  }
  return (size_t)n;
}
