/* SPDX-License-Identifier: Apache-2.0
 *
 * Fault points: each rule acts at its passage and only there. The list is read once a process, so
 * every case is a child of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"

#ifdef SLUICE_WITH_FAULTS

/* A child passes core.a, core.b, core.a; its exit status has a bit for each that failed. */
static pid_t child_start(const char *faults) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        if (faults != NULL)
            setenv("SLUICE_FAULTS", faults, 1);
        else
            unsetenv("SLUICE_FAULTS");
        int failed = 0;
        failed |= FAULT("core.a") ? 1 : 0;
        failed |= FAULT("core.b") ? 2 : 0;
        failed |= FAULT("core.a") ? 4 : 0;
        _exit(failed);
    }
    return child;
}

static int end_of(const char *faults) {
    int status;
    pid_t child = child_start(faults);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void fails_where_told(void **state) {
    (void)state;
    static const struct {
        const char *faults;
        int failed;
    } rows[] = {
        {NULL, 0},
        {"", 0},
        {"core.a=fail", 1},
        {"core.a=fail@2", 4},
        {"core.a=fail@3", 0},
        {"core.b=fail,core.a=fail@2", 6},
        {"core.*=fail@2", 2},
        {"*=fail@3", 4},
        {"core=fail", 0},
        {"core.ab=fail", 0},
        {"core.a=fail,core.a=fail@2", 5},
        {",core.b=fail,", 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int status = end_of(rows[i].faults);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), rows[i].failed);
    }
}

static void kills_where_told(void **state) {
    (void)state;
    int status = end_of("core.a=kill@2");
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_true(WIFEXITED(end_of("core.a=kill@3")));
}

static void stops_where_told(void **state) {
    (void)state;
    pid_t child = child_start("core.b=stop");
    int status;
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    kill(child, SIGCONT);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* A list with a slip of the pen must not make a test that tests nothing. */
static void wrong_lists_abort(void **state) {
    (void)state;
    static const char *const wrong[] = {"core.a",         "core.a=",       "core.a=explode",
                                        "=fail",          "core.a=fail@0", "core.a=fail@x",
                                        "core.a=fail@-1", "core.a=fail@"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int status = end_of(wrong[i]);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fails_where_told),
        cmocka_unit_test(kills_where_told),
        cmocka_unit_test(stops_where_told),
        cmocka_unit_test(wrong_lists_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* In the release build a fault point does nothing, whatever the environment says. */
static void compiled_out(void **state) {
    (void)state;
    setenv("SLUICE_FAULTS", "core.a=kill", 1);
    assert_false(FAULT("core.a"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(compiled_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
