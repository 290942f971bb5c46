/* SPDX-License-Identifier: Apache-2.0
 *
 * fault.c: the list in SLUICE_FAULTS, read once, counted by passage.
 */
#include "base/fault.h"

#ifdef SLUICE_WITH_FAULTS

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/num.h"

#define RULES_MAX 16 /* a test plants one or two */
#define TEXT_MAX 2048

enum action { ACTION_KILL, ACTION_STOP, ACTION_FAIL };

static const char *const action_names[] = {
    [ACTION_KILL] = "kill", [ACTION_STOP] = "stop", [ACTION_FAIL] = "fail"};

struct rule {
    const char *name;
    size_t length; /* of the name, without a '*' */
    bool prefix;
    enum action action;
    uint64_t nth;
    atomic_uint_fast64_t passed;
};

static pthread_once_t rules_once = PTHREAD_ONCE_INIT;
static char rules_text[TEXT_MAX];
static struct rule rules[RULES_MAX];
static size_t rules_count;

/* A list that does not parse would make a test that tests nothing; so it is a CHECK. */
static void rule_add(char *text) {
    CHECK(rules_count < RULES_MAX);
    struct rule *rule = &rules[rules_count];
    char *equals = strchr(text, '=');
    CHECK(equals != NULL && equals != text);
    *equals = '\0';
    rule->name = text;
    rule->length = strlen(text);
    rule->prefix = text[rule->length - 1] == '*';
    if (rule->prefix)
        rule->length--;
    rule->nth = 1;
    char *at = strchr(equals + 1, '@');
    if (at != NULL) {
        *at = '\0';
        CHECK(num_parse_u64(at + 1, &rule->nth) && rule->nth > 0);
    }
    size_t action = 0;
    while (action < sizeof action_names / sizeof action_names[0] &&
           strcmp(action_names[action], equals + 1) != 0)
        action++;
    CHECK(action < sizeof action_names / sizeof action_names[0]);
    rule->action = (enum action)action;
    rules_count++;
}

static void rules_read(void) {
    const char *text = getenv("SLUICE_FAULTS");
    if (text == NULL || *text == '\0')
        return;
    CHECK(strlen(text) < sizeof rules_text);
    memcpy(rules_text, text, strlen(text) + 1);
    char *next = rules_text;
    while (next != NULL) {
        char *rule = strsep(&next, ",");
        if (*rule != '\0')
            rule_add(rule);
    }
}

static bool rule_matches(const struct rule *rule, const char *name) {
    if (strncmp(rule->name, name, rule->length) != 0)
        return false;
    return rule->prefix || name[rule->length] == '\0';
}

bool fault_point(const char *name) {
    CHECK(pthread_once(&rules_once, rules_read) == 0);
    bool failed = false;
    for (size_t i = 0; i < rules_count; i++) {
        struct rule *rule = &rules[i];
        if (!rule_matches(rule, name) || atomic_fetch_add(&rule->passed, 1) + 1 != rule->nth)
            continue;
        switch (rule->action) {
        case ACTION_KILL:
            kill(getpid(), SIGKILL);
            pause(); /* the signal may take a moment; nothing after this line may happen */
            break;
        case ACTION_STOP:
            kill(getpid(), SIGSTOP);
            break;
        case ACTION_FAIL:
            failed = true; /* the other rules count this passage too */
            break;
        }
    }
    return failed;
}

#else

/* ISO C wants something in each translation unit. */
typedef int fault_is_compiled_out;

#endif
