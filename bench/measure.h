/* SPDX-License-Identifier: Apache-2.0
 *
 * measure.h: what the programs of bench/ have in common.
 *
 * Each program prints one number on stdout, the metric that it was asked for, and exits with 0; all
 * else goes to stderr. It reads from the environment: BENCH_SECONDS, how long to measure (default
 * 2), and BENCH_DIR, a directory on the disk that is measured (default: the current one). The first
 * tenth of the time is warming up and does not count.
 */
#ifndef SLUICE_BENCH_MEASURE_H
#define SLUICE_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ends the program with the text on stderr: a benchmark that goes on after a failure lies. */
_Noreturn void measure_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct measure {
    const char *metric; /* "rate": a second; "p50", "p99": microseconds */
    uint64_t begin_ns;  /* of the counted time */
    uint64_t end_ns;
    uint64_t count;    /* what ended in the counted time */
    float *samples_us; /* of the first MEASURE_SAMPLES_MAX of them */
};

#define MEASURE_SAMPLES_MAX 4000000 /* 16 MB; the fastest here make a million a second */

/* The clock starts now. An unknown metric fails. */
void measure_begin(struct measure *measure, const char *metric);
/* One more has ended, which began at that time. */
void measure_one(struct measure *measure, uint64_t began_ns);
/* Is it time to end? */
bool measure_over(const struct measure *measure);
void measure_print(struct measure *measure);

const char *measure_directory(void);
double measure_seconds(void);
/* This process runs on that processor only. */
void measure_pin(unsigned processor);
uint64_t measure_number(const char *text);

#endif
