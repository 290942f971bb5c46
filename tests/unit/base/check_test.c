/* SPDX-License-Identifier: Apache-2.0
 *
 * A CHECK that fails ends the process by SIGABRT and leaves its condition, place and a backtrace.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

#define WORDS_SIZE 16384

struct thing {
    uint32_t magic;
};

/* What a child said on stderr before it ended, and how it ended. */
static int words_of(void (*body)(void), char words[WORDS_SIZE]) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        body();
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t taken;
    while ((taken = read(ends[0], words + length, WORDS_SIZE - 1 - length)) > 0)
        length += (size_t)taken;
    words[length] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void check_something_false(void) {
    int answer = 41;
    CHECK(answer == 42);
}

static void check_something_true(void) {
    struct thing thing = {.magic = 7};
    CHECK_MAGIC(&thing, 7);
    CHECK(thing.magic == 7);
}

static void check_wrong_magic(void) {
    struct thing thing = {.magic = 7};
    CHECK_MAGIC(&thing, 8);
}

static void check_magic_of_nothing(void) {
    struct thing *thing = NULL;
    CHECK_MAGIC(thing, 8);
}

static void check_very_long(void) {
    char condition[8192];
    memset(condition, 'x', sizeof condition - 1);
    condition[sizeof condition - 1] = '\0';
    check_failed(condition, "file.c", 1, "f");
}

static void fails_with_evidence(void **state) {
    (void)state;
    char words[WORDS_SIZE];
    int status = words_of(check_something_false, words);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(words, "CHECK failed: answer == 42 at "));
    assert_non_null(strstr(words, "check_test.c:"));
    assert_non_null(strstr(words, "in check_something_false"));
    /* The line with the condition, then at least two frames. */
    int lines = 0;
    for (const char *at = words; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_true(lines >= 3);
}

static void passes_in_silence(void **state) {
    (void)state;
    char words[WORDS_SIZE];
    int status = words_of(check_something_true, words);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_string_equal(words, "");
}

static void magic_is_checked(void **state) {
    (void)state;
    char words[WORDS_SIZE];
    assert_true(WIFSIGNALED(words_of(check_wrong_magic, words)));
    assert_true(WIFSIGNALED(words_of(check_magic_of_nothing, words)));
}

static void long_words_are_cut(void **state) {
    (void)state;
    char words[WORDS_SIZE];
    int status = words_of(check_very_long, words);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(words, "CHECK failed: xxx"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fails_with_evidence),
        cmocka_unit_test(passes_in_silence),
        cmocka_unit_test(magic_is_checked),
        cmocka_unit_test(long_words_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
