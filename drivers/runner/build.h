/* SPDX-License-Identifier: Apache-2.0
 *
 * build.h: what kind of build this is, where the runner must behave otherwise for it.
 */
#ifndef SLUICE_RUNNER_BUILD_H
#define SLUICE_RUNNER_BUILD_H

/* A sanitizer maps terabytes of shadow memory and handles fatal signals itself. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BUILD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define BUILD_SANITIZED 1
#endif
#endif
#ifndef BUILD_SANITIZED
#define BUILD_SANITIZED 0
#endif

#define BUILD_VERSION "0.1.0"

#endif
