/* SPDX-License-Identifier: Apache-2.0
 *
 * run.c: see run.h.
 */
#include "conform/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conform/report.h"
#include "conform/sweep.h"

#define BLOCK_LEAST 4096
#define BLOCKS 64 /* of a test's volume */

static bool is_wanted(const struct options *options, const struct test *test) {
    bool wanted = options->only_count == 0;
    for (uint32_t i = 0; i < options->only_count; i++) {
        wanted = wanted || test_matches(test, options->only[i]);
    }
    return wanted;
}

static uint32_t count_wanted(const struct options *options) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < test_count; i++) {
        count += is_wanted(options, &tests[i]);
    }
    return count;
}

/* Each --only has to mean something. */
static bool only_is_known(const struct options *options) {
    for (uint32_t i = 0; i < options->only_count; i++) {
        bool known = false;
        for (uint32_t k = 0; k < test_count; k++) {
            known = known || test_matches(&tests[k], options->only[i]);
        }
        if (!known) {
            fprintf(stderr, "sluice-conform: no test or group %s; --list shows them\n",
                    options->only[i]);
            return false;
        }
    }
    return true;
}

static void list(const struct options *options) {
    for (uint32_t i = 0; i < test_count; i++) {
        if (is_wanted(options, &tests[i])) {
            printf("%s.%s: %s\n", tests[i].group, tests[i].name, tests[i].shows);
        }
    }
}

/* Loads, opens, and finds out whether the pool keeps anything. false: *ret says why not. */
static bool look(struct kit *kit, struct outcome *ret) {
    static kit_fn *const steps[] = {sweep_look, sweep_look_again, sweep_look_marker};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        stage_run(kit, steps[i], NEED_ALONE, 0, ret);
        if (ret->verdict != VERDICT_OK) {
            return false;
        }
    }
    const struct sluice_pool *limits = &kit->shared->look.limits;
    kit->block = limits->io_align > BLOCK_LEAST ? limits->io_align : BLOCK_LEAST;
    kit->size = kit_round(kit, BLOCKS * kit->block);
    return true;
}

static bool skip(struct outcome *ret, const char *why, const char *which) {
    memset(ret, 0, sizeof *ret);
    ret->verdict = VERDICT_SKIPPED;
    snprintf(ret->text, sizeof ret->text, "%s%s", why, which);
    return true;
}

/* What a test needs and is not there. */
static bool is_skipped(const struct kit *kit, const struct test *test, struct outcome *ret) {
    const struct look *seen = &kit->shared->look;
#define SLUICE_CAP(name, bit, sentence)                                        \
    if ((test->caps >> (bit)&1) != 0 && (seen->limits.caps >> (bit)&1) == 0) { \
        return skip(ret, "the pool does not state ", #name);                   \
    }
#include <sluice/caps.def>
#undef SLUICE_CAP
    if ((test->needs & NEED_KEEPS) != 0 && !seen->keeps) {
        return skip(ret, "the pool lives and dies with its process", "");
    }
    if ((test->needs & NEED_SECOND) != 0 && !kit->subject->has_second) {
        return skip(ret, "no --second", "");
    }
    return false;
}

/* The first cleaning that failed; test_leaks_nothing_left tells it. */
static struct outcome left;

void test_leaks_nothing_left(struct kit *kit) {
    if (left.verdict == VERDICT_FAILED) {
        expect_failed(left.rule, "%s", left.text);
    }
    sweep_release(kit);
}

/* true: go on. */
static bool run_one(struct kit *kit, const struct options *options, uint32_t which,
                    struct report *report) {
    const struct test *test = &tests[which];
    struct outcome outcome;
    struct outcome cleaned;
    if (is_skipped(kit, test, &outcome)) {
        report_test(report, test, &outcome);
        return true;
    }
    stage_run(kit, test->run, test->needs, (which + 1) * KIT_IDS, &outcome);
    report_test(report, test, &outcome);
    if (options->keep && outcome.verdict == VERDICT_FAILED) {
        report_bail(report, "--keep: what the test made is left");
        return false;
    }
    if (test->run != test_leaks_nothing_left && kit->shared->look.keeps) {
        stage_clean(kit, &cleaned);
        if (cleaned.verdict == VERDICT_FAILED && left.verdict == VERDICT_NONE) {
            left = cleaned;
            snprintf(left.text, sizeof left.text, "cleaning up after %s.%s: %.900s", test->group,
                     test->name, cleaned.text);
        }
    }
    return true;
}

/* A pool that does not open is most likely a property that is wrong, or a place that is not empty;
 * anything else is the driver's. */
static int give_up(const struct options *options, const struct outcome *outcome) {
    static const struct test begins = {
        .group = "kit",
        .name = "begins",
        .shows = "the library loads, the pool opens, a volume is made, found and deleted",
    };
    struct report report;
    if (outcome->rule == RULE_OPEN) {
        fprintf(stderr, "sluice-conform: the driver cannot be tested here: %s\n", outcome->text);
        return 2;
    }
    if (!report_begin(&report, options->junit, 1, NULL, options->seed)) {
        fprintf(stderr, "sluice-conform: %s: %s\n", options->junit, strerror(errno));
        return 2;
    }
    report_test(&report, &begins, outcome);
    report_bail(&report, "without that nothing else can be tested");
    report_end(&report);
    return 1;
}

/* Gives the place back where the last test was not asked for. */
static bool release(struct kit *kit) {
    struct outcome outcome;
    stage_run(kit, sweep_release, NEED_ALONE, 0, &outcome);
    if (outcome.verdict == VERDICT_FAILED) {
        printf("# the pool could not be given back: %s\n", outcome.text);
    }
    return outcome.verdict != VERDICT_FAILED;
}

int run_tests(const struct options *options) {
    static struct subject subject;
    static struct kit kit;
    struct report report;
    char why[SUBJECT_WHY_MAX];
    if (!only_is_known(options)) {
        return 2;
    }
    if (options->list) {
        list(options);
        return 0;
    }
    subject.seed = options->seed;
    subject.steps = options->steps;
    subject.deadline_s = options->deadline_s;
    subject.size_bytes = options->size_bytes;
    if (!subject_load(&subject, &options->words, why)) {
        fprintf(stderr, "sluice-conform: %s\n", why);
        return 2;
    }
    if (!stage_open(&kit, &subject)) {
        fprintf(stderr, "sluice-conform: there is no memory: %s\n", strerror(errno));
        return 2;
    }
    struct outcome outcome;
    if (!look(&kit, &outcome)) {
        return give_up(options, &outcome);
    }
    if (!report_begin(&report, options->junit, count_wanted(options), &kit.shared->look,
                      subject.seed)) {
        fprintf(stderr, "sluice-conform: %s: %s\n", options->junit, strerror(errno));
        return 2;
    }
    bool on = true;
    for (uint32_t i = 0; on && i < test_count; i++) {
        on = !is_wanted(options, &tests[i]) || run_one(&kit, options, i, &report);
    }
    bool back = !on || is_wanted(options, &tests[test_count - 1]) || release(&kit);
    if (!report_end(&report)) {
        fprintf(stderr, "sluice-conform: %s: it could not be written\n", options->junit);
        return 2;
    }
    return report.failed > 0 || !back ? 1 : 0;
}
