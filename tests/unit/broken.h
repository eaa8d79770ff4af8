/* Breaks an invariant and sees that the check notices: for programs of tests/unit. */
#ifndef UNIT_BROKEN_H
#define UNIT_BROKEN_H

#define HOLDS(check)                                                                                                           \
  do {                                                                                                                         \
    const char *broken_ = (check);                                                                                             \
    if (broken_) fail_msg("%s", broken_);                                                                                      \
  } while (0)
/* `what`, which held, is `wrong` for a moment: the check says this text of it. */
#define BREAKS(what, wrong, check, text)                                                                                       \
  do {                                                                                                                         \
    HOLDS(check);                                                                                                              \
    __typeof__(what) was_ = (what);                                                                                            \
    (what) = (wrong);                                                                                                          \
    const char *said_ = (check);                                                                                               \
    (what) = was_;                                                                                                             \
    assert_non_null(said_);                                                                                                    \
    assert_string_equal(said_, text);                                                                                          \
    HOLDS(check);                                                                                                              \
  } while (0)

#endif
