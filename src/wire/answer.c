#include "wire/answer.h"

#include "base/err.h"

struct msg answer_ack(uint64_t ref, int err, const char *text) {
  struct msg m = {.type = MSG_ACK, .ack = {.ref = ref}};
  if (err) {
    m.ack.code = slice_str(macula_err_name(err));
    m.ack.message = slice_str(text ? text : macula_err_text(err));
  }
  return m;
}

struct msg answer_error(struct slice call_id, int err, const char *text, bool extra) {
  return (struct msg){.type = MSG_REPLY,
                      .reply = {.call_id = call_id,
                                .is_error = true,
                                .error = {.code = slice_str(macula_err_name(err)),
                                          .message = slice_str(text ? text : macula_err_text(err)),
                                          .has_extra = extra}}};
}
