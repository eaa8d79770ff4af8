/* WebSocket, the server's side (RFC 6455), as MQTT uses it (MQTT 5.0, 6): a handshake, then binary frames whose bytes are one
 * stream. Without allocation: a handshake is read in the caller's buffer, frames are unmasked where they lie, and what is kept
 * between two reads is the decoder. There are no extensions. */
#ifndef MQTT_WEBSOCKET_H
#define MQTT_WEBSOCKET_H

#include "base/slice.h"

#define WS_REQUEST_MAX 8192u /* bytes of a handshake; more is answered with 431 */
#define WS_ANSWER_MAX 512u   /* bytes of an answer */
#define WS_CONTROL_MAX 125u  /* bytes of a control frame's payload: 5.5 */
#define WS_HEADER_MAX 10u    /* bytes of a header that we send: 5.2 */

/* Who may connect. */
struct ws_policy {
  const char *path; /* that is answered: "/mqtt" */
  /* Lists with commas; NULL: empty. origins: "https://panel.example", whose pages may connect beside our own (its host and port
   * are those of Host); "*": each. hosts: names by which we are reached, with a port of their own or without, beside addresses
   * and localhost: any other Host may be a name that the page's author controls (DNS rebinding). */
  const char *origins, *hosts;
};

struct ws_handshake {
  int status;                /* 101, or with which it is refused */
  const char *why;           /* of a refusal; static text */
  size_t size;               /* bytes of the request; what follows are frames */
  struct slice host, origin; /* as they came, for the log; n = 0: none */
  char answer[WS_ANSWER_MAX];
  size_t answer_len; /* bytes to send; after a refusal the connection is closed */
};

/* Reads a handshake (4.2). seen: bytes of `in` that were there at the last call, so that none is looked at twice. 0: more bytes
 * are needed; 1: *ret is complete; MACULA_BAD_FRAME: refused, *ret says how to answer. A request is refused as soon as it
 * cannot become one. */
int ws_handshake_read(struct slice in, size_t seen, const struct ws_policy *policy, struct ws_handshake *ret);
/* What is answered to one that has not come whole: *ret as after a refusal. */
void ws_handshake_refuse(struct ws_handshake *ret, int status, const char *why);
/* Sec-WebSocket-Accept for a key (4.2.2), NUL-terminated. */
#define WS_ACCEPT_LEN 28
void ws_accept(struct slice key, char ret_accept[WS_ACCEPT_LEN + 1]);

enum ws_opcode { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };
enum ws_code { /* 7.4.1 */
               WS_NORMAL = 1000,
               WS_GOING_AWAY = 1001,
               WS_PROTOCOL_ERROR = 1002,
               WS_UNSUPPORTED_DATA = 1003,
               WS_NO_CODE = 1005, /* never sent: a close frame without one */
               WS_BAD_TEXT = 1007,
               WS_POLICY = 1008,
               WS_TOO_LARGE = 1009
};

/* What is between two reads. Zeroed: the connection has just been opened. */
struct ws_decoder {
  uint64_t left; /* bytes of the frame's payload that are missing */
  uint8_t header[14];
  uint8_t header_len; /* of these are there */
  uint8_t opcode;
  uint8_t turn; /* of the mask */
  bool in_payload, in_message, closed;
  uint8_t control[WS_CONTROL_MAX]; /* payload of a control frame so far */
  uint8_t control_len;
};
struct ws_event {
  enum ws_opcode opcode; /* WS_BINARY: bytes of the stream; WS_PING: answer with a PONG of the same bytes; WS_PONG; WS_CLOSE:
                            answer with WS_CLOSE of the same code, then close */
  struct slice data;     /* of WS_CLOSE: the reason. Valid until the next call, or until the caller's buffer goes */
  uint16_t code;         /* of WS_CLOSE, and of a refusal */
  const char *why;       /* of a refusal; static text */
};
/* The next event in the *n bytes at *p, which are changed; moves both behind it. 1: *ret_event; 0: all bytes are used up;
 * MACULA_BAD_FRAME: close with ret_event->code (nothing is read any more). After WS_CLOSE nothing is read either. */
int ws_next(struct ws_decoder *d, uint8_t **p, size_t *n, struct ws_event *ret_event);

/* The header of a frame with this payload, which follows. Returns its length in bytes. */
size_t ws_header(enum ws_opcode opcode, uint64_t payload, uint8_t ret_header[WS_HEADER_MAX]);
/* A whole close frame; the reason is cut to what fits. code WS_NO_CODE: without one. Returns its length in bytes. */
size_t ws_close(uint16_t code, const char *reason, uint8_t ret_frame[2 + WS_CONTROL_MAX]);

#endif
