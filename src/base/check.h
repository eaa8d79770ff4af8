/* Invariants that are walked. Each table has a function
 *
 *   const char *X_check(const struct X *x);
 *
 * which looks at all that the table holds, in time that grows with that alone, and returns the text of the first invariant that
 * does not hold; NULL: all do. It changes nothing and allocates nothing. The caller asserts: so a test can break an invariant
 * and see that it is noticed. What is cheap is also an assert() where the state changes, and stays in release builds. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#define CHECK(holds, text)                                                                                                     \
  do {                                                                                                                         \
    if (!(holds)) return (text);                                                                                               \
  } while (0)
/* The check of a part. */
#define CHECK_PART(check)                                                                                                      \
  do {                                                                                                                         \
    const char *broken_ = (check);                                                                                             \
    if (broken_) return broken_;                                                                                               \
  } while (0)

#endif
