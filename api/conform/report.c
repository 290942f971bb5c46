/* SPDX-License-Identifier: Apache-2.0
 *
 * report.c: see report.h.
 */
#include "conform/report.h"

#include <string.h>

static const char *thread_model_name(uint32_t model) {
    static const char *const names[] = {"?", "SERIAL", "PER_VOLUME", "PARALLEL", "LOOP"};
    return names[model <= SLUICE_THREADS_LOOP ? model : 0];
}

/* A text in single quotes of YAML, on one line. */
static void put_quoted(const char *key, const char *text) {
    printf("  %s: '", key);
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            fputs("''", stdout);
        } else {
            putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
        }
    }
    puts("'");
}

static void put_xml(FILE *to, const char *text) {
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", to);
            break;
        case '<':
            fputs("&lt;", to);
            break;
        case '>':
            fputs("&gt;", to);
            break;
        case '"':
            fputs("&quot;", to);
            break;
        default:
            fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, to);
        }
    }
}

static void put_cap(const char *name) {
    for (; *name != '\0'; name++) {
        putchar(*name);
    }
    putchar(' ');
}

static void put_look(const struct look *look, uint64_t seed) {
    printf("# driver %s %s, threads %s, seed %llu\n", look->name, look->version,
           thread_model_name(look->threads), (unsigned long long)seed);
    printf("# capabilities: ");
#define SLUICE_CAP(name, bit, sentence)        \
    if ((look->limits.caps >> (bit)&1) != 0) { \
        put_cap(#name);                        \
    }
#include <sluice/caps.def>
#undef SLUICE_CAP
    printf("\n");
    if (!look->keeps) {
        printf(
            "# the pool lives and dies with its process: what outlives a process is not tested\n");
    }
}

bool report_begin(struct report *report, const char *junit, uint32_t planned,
                  const struct look *look, uint64_t seed) {
    *report = (struct report){.junit = NULL};
    if (junit != NULL) {
        report->junit = fopen(junit, "we");
        if (report->junit == NULL) {
            return false;
        }
        fprintf(report->junit,
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"sluice-conform\">\n"
                "<properties><property name=\"seed\" value=\"%llu\"/>"
                "<property name=\"driver\" value=\"",
                (unsigned long long)seed);
        put_xml(report->junit, look != NULL ? look->name : "");
        fprintf(report->junit, "\"/></properties>\n");
    }
    printf("TAP version 13\n1..%u\n", planned);
    if (look != NULL) {
        put_look(look, seed);
    }
    fflush(stdout);
    return true;
}

static void put_failure(const struct outcome *outcome) {
    printf("  ---\n");
    put_quoted("seen", outcome->text);
    put_quoted("demanded", rule_sentence(outcome->rule));
    put_quoted("where", rule_where(outcome->rule));
    put_quoted("last_call", outcome->call);
    printf("  ...\n");
}

static void junit_test(FILE *to, const struct test *test, const struct outcome *outcome) {
    fprintf(to, "<testcase classname=\"%s\" name=\"%s\" time=\"%.3f\">", test->group, test->name,
            outcome->seconds);
    if (outcome->verdict == VERDICT_FAILED) {
        fprintf(to, "<failure message=\"");
        put_xml(to, outcome->text);
        fprintf(to, "\">");
        put_xml(to, rule_where(outcome->rule));
        fprintf(to, ": ");
        put_xml(to, rule_sentence(outcome->rule));
        fprintf(to, "</failure>");
    } else if (outcome->verdict == VERDICT_SKIPPED) {
        fprintf(to, "<skipped message=\"");
        put_xml(to, outcome->text);
        fprintf(to, "\"/>");
    }
    fprintf(to, "</testcase>\n");
}

void report_test(struct report *report, const struct test *test, const struct outcome *outcome) {
    bool failed = outcome->verdict == VERDICT_FAILED;
    report->count++;
    printf("%s %u - %s.%s: %s", failed ? "not ok" : "ok", report->count, test->group, test->name,
           test->shows);
    if (outcome->verdict == VERDICT_SKIPPED) {
        printf(" # SKIP %s", outcome->text);
    }
    putchar('\n');
    if (failed) {
        put_failure(outcome);
    }
    if (outcome->note[0] != '\0') {
        printf("# %s\n", outcome->note);
    }
    if (report->junit != NULL) {
        junit_test(report->junit, test, outcome);
    }
    report->passed += outcome->verdict == VERDICT_OK;
    report->skipped += outcome->verdict == VERDICT_SKIPPED;
    report->failed += failed;
    fflush(stdout);
}

void report_bail(struct report *report, const char *why) {
    (void)report;
    printf("Bail out! %s\n", why);
}

bool report_end(struct report *report) {
    printf("# %u passed, %u failed, %u skipped\n", report->passed, report->failed, report->skipped);
    if (report->junit == NULL) {
        return true;
    }
    fprintf(report->junit, "</testsuite>\n");
    return fclose(report->junit) == 0;
}
