/* SPDX-License-Identifier: Apache-2.0 */
#include "measure.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"

#define SECONDS_DEFAULT 2.0

void measure_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

static double percentile_of(const char *metric) {
    return strcmp(metric, "p50") == 0 ? 0.50 : strcmp(metric, "p99") == 0 ? 0.99 : 0;
}

void measure_begin(struct measure *measure, const char *metric) {
    if (strcmp(metric, "rate") != 0 && percentile_of(metric) == 0)
        measure_fail("no metric %s; rate, p50 and p99 are", metric);
    uint64_t ns = (uint64_t)(measure_seconds() * 1e9), now = clock_mono_ns();
    *measure =
        (struct measure){.metric = metric, .begin_ns = now + ns / 10, .end_ns = now + ns / 10 + ns};
    measure->samples_us = malloc(MEASURE_SAMPLES_MAX * sizeof *measure->samples_us);
    if (measure->samples_us == NULL)
        measure_fail("no memory for samples");
}

void measure_one(struct measure *measure, uint64_t began_ns) {
    uint64_t now = clock_mono_ns();
    if (now < measure->begin_ns || now > measure->end_ns)
        return;
    if (measure->count < MEASURE_SAMPLES_MAX)
        measure->samples_us[measure->count] = (float)(now - began_ns) / 1e3f;
    measure->count++;
}

bool measure_over(const struct measure *measure) {
    return clock_mono_ns() > measure->end_ns;
}

static int compare(const void *a, const void *b) {
    float left = *(const float *)a, right = *(const float *)b;
    return (left > right) - (left < right);
}

void measure_print(struct measure *measure) {
    if (measure->count == 0)
        measure_fail("nothing ended in %g s", measure_seconds());
    double value = (double)measure->count / ((double)(measure->end_ns - measure->begin_ns) / 1e9);
    double share = percentile_of(measure->metric);
    if (share > 0) {
        size_t count = measure->count < MEASURE_SAMPLES_MAX ? measure->count : MEASURE_SAMPLES_MAX;
        qsort(measure->samples_us, count, sizeof *measure->samples_us, compare);
        value = (double)measure->samples_us[(size_t)((double)count * share)];
    }
    printf("%.2f\n", value);
    free(measure->samples_us);
}

const char *measure_directory(void) {
    const char *directory = getenv("BENCH_DIR");
    return directory != NULL ? directory : ".";
}

double measure_seconds(void) {
    const char *text = getenv("BENCH_SECONDS");
    double seconds = text != NULL ? strtod(text, NULL) : SECONDS_DEFAULT;
    if (!(seconds > 0 && seconds <= 600))
        measure_fail("BENCH_SECONDS must be above 0 and at most 600");
    return seconds;
}

void measure_pin(unsigned processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        measure_fail("processor %u is not there", processor);
}

uint64_t measure_number(const char *text) {
    uint64_t number;
    if (!num_parse_u64(text, &number))
        measure_fail("%s is no number", text);
    return number;
}
