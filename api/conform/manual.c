/* SPDX-License-Identifier: Apache-2.0
 *
 * manual.c: see manual.h.
 */
#include "conform/manual.h"

#include <stdio.h>
#include <string.h>

#include "conform/test.h"

static const char head[] =
    "<!-- Made by `sluice-conform --manual` from api/conform/{option,test,rule}.def; a test "
    "compares. "
    "-->\n"
    "# Conformance\n"
    "\n"
    "`sluice-conform` tells whether a storage driver keeps the contract of `<sluice/driver.h>`. A "
    "vendor\n"
    "runs it on a driver without a gateway and without root, as an unpacked archive or as a "
    "library:\n"
    "\n"
    "```\n"
    "sluice-conform notebook-0.1.0 directory=/srv/scratch\n"
    "sluice-conform --only data --only crash.kills --seed 7 notebook.so directory=/srv/scratch\n"
    "```\n"
    "\n"
    "What follows the driver are the properties of a pool; an archive's `driver.yaml` judges them "
    "as the\n"
    "gateway would. The place must be empty: the kit claims it, deletes after each test what that "
    "test\n"
    "made, and gives it back. It touches no volume that is not its own, and a run that was cut "
    "short is\n"
    "cleaned up by the next one in the same place.\n"
    "\n"
    "- Each test runs in a process of its own, and each call has a deadline. So a driver that "
    "crashes or\n"
    "  hangs fails one test; the report tells the signal and the last call.\n"
    "- Tests need capabilities that the pool states. What it does not state is skipped, with the "
    "reason.\n"
    "- The order is always the same, and what is random comes from a seed that the report tells.\n"
    "- The host is as strict as the runner: it keeps to the thread model that the driver declares, "
    "calls\n"
    "  are completed exactly once, an error comes with a text, a payload is not written to.\n"
    "- The report is TAP. Below a `not ok` stand what was seen, what the contract demands, where "
    "that is\n"
    "  written, and the last call.\n"
    "- The status is 0 when nothing failed, 1 when something did, and 2 when the kit could not "
    "begin.\n"
    "\n"
    "A driver that passes is not proven right. The kit cannot fill your backend, take it away, cut "
    "its\n"
    "power or put the driver into the sandbox: [the guide](../api/driver/GUIDE.md) says what else "
    "to try.\n"
    "\n"
    "## Options\n"
    "\n"
    "| option | |\n"
    "|---|---|\n";

static const struct {
    const char *name;
    const char *argument;
    const char *sentence;
} options[] = {
#define OPTION(letter, name, argument, sentence) {name, argument, sentence},
#include "conform/option.def"
#undef OPTION
};

static void print_options(void) {
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        printf("| `--%s%s%s` | %s |\n", options[i].name, options[i].argument != NULL ? " " : "",
               options[i].argument != NULL ? options[i].argument : "", options[i].sentence);
    }
}

static void print_needs(const struct test *test) {
#define SLUICE_CAP(name, bit, sentence) \
    if ((test->caps >> (bit)&1) != 0) { \
        printf("%s ", #name);           \
    }
#include <sluice/caps.def>
#undef SLUICE_CAP
    printf("%s%s", (test->needs & NEED_KEEPS) != 0 ? "a pool that outlives its process" : "",
           (test->needs & NEED_SECOND) != 0 ? "`--second`" : "");
}

void manual_print(void) {
    fputs(head, stdout);
    print_options();
    printf("\n## Tests\n\n| test | shows | needs |\n|---|---|---|\n");
    for (uint32_t i = 0; i < test_count; i++) {
        printf("| `%s.%s` | %s | ", tests[i].group, tests[i].name, tests[i].shows);
        print_needs(&tests[i]);
        printf(" |\n");
    }
    printf("\n## What is demanded\n\n| rule | stands in |\n|---|---|\n");
    for (uint32_t i = 0; i < RULES; i++) {
        printf("| %s | %s |\n", rule_sentence(i), rule_where(i));
    }
}
