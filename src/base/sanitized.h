/* Whether a sanitizer keeps memory of its own in this build: gcc says so by macros, clang by features. */
#ifndef BASE_SANITIZED_H
#define BASE_SANITIZED_H

#ifndef __has_feature
#define __has_feature(x) 0
#define SANITIZED_NO_FEATURES
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define ADDRESS_SANITIZED 1
#else
#define ADDRESS_SANITIZED 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#else
#define THREAD_SANITIZED 0
#endif

#ifdef SANITIZED_NO_FEATURES
#undef __has_feature
#undef SANITIZED_NO_FEATURES
#endif

#endif
