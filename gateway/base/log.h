/* SPDX-License-Identifier: Apache-2.0
 *
 * log.h: one line an event on stderr, for the programs; libraries return errors and do not log.
 *
 * A line is: time level program: message key=value key="quoted value". Control characters and line
 * ends in values are escaped, so that no value forges a line. Any thread; one write(2) a line.
 * Never hand it a secret.
 */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include <stdarg.h>

enum log_level { LOG_LEVEL_ERROR = 1, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Once, before the first line. Lines above `level` are dropped. */
void log_start(const char *program, enum log_level level);
/* `keys` is a NULL-terminated list of key, value pairs (both const char *). */
void log_line(enum log_level level, const char *message, ...) __attribute__((sentinel));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__, (char *)0)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__, (char *)0)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__, (char *)0)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__, (char *)0)

#endif
