/* SPDX-License-Identifier: Apache-2.0
 *
 * Log lines: one an event whatever the values hold, never two from one call, whole under threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/num.h"

#define TAKEN_SIZE (1 << 20)
#define THREADS 4
#define LINES_A_THREAD 200

static int kept_stderr;
static FILE *taken_file;
static char taken[TAKEN_SIZE];

static void take_start(void) {
    taken_file = tmpfile();
    assert_non_null(taken_file);
    kept_stderr = dup(STDERR_FILENO);
    assert_true(kept_stderr >= 0);
    assert_true(dup2(fileno(taken_file), STDERR_FILENO) >= 0);
}

static const char *take_end(void) {
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    rewind(taken_file);
    size_t length = fread(taken, 1, sizeof taken - 1, taken_file);
    taken[length] = '\0';
    fclose(taken_file);
    return taken;
}

static size_t count_lines(const char *text) {
    size_t lines = 0;
    for (; *text != '\0'; text++)
        lines += *text == '\n';
    return lines;
}

static void one_line(void **state) {
    (void)state;
    log_start("sluiced", LOG_LEVEL_INFO);
    take_start();
    log_warning("pool is stalled", "pool", "p-1", "since", "12 s", "why", "");
    log_info("ready");
    log_debug("not shown");
    const char *text = take_end();
    assert_int_equal(count_lines(text), 2);
    assert_non_null(
        strstr(text, "Z warning sluiced: pool is stalled pool=p-1 since=\"12 s\" why=\"\"\n"));
    assert_non_null(strstr(text, "Z info sluiced: ready\n"));
    assert_int_equal(text[4], '-');
}

static void level_is_kept(void **state) {
    (void)state;
    log_start("p", LOG_LEVEL_ERROR);
    take_start();
    log_warning("no");
    log_error("yes");
    assert_int_equal(count_lines(take_end()), 1);
    log_start("p", LOG_LEVEL_DEBUG);
    take_start();
    errno = EBADF;
    log_debug("yes");
    assert_int_equal(errno, EBADF);
    assert_int_equal(count_lines(take_end()), 1);
}

/* Each of these, printed as it is, would end the line or dress up as another one. */
static void nothing_forges_a_line(void **state) {
    (void)state;
    static const char *const forgeries[] = {
        "x\n2026-01-01T00:00:00.000Z error sluiced: forged",
        "x\r\nforged",
        "x\rforged",
        "x\x0b\x0c"
        "forged",
        "x\x1b[2Jforged",
        "x\x7f"
        "forged",
        "x\xc2\x85"
        "forged", /* NEL */
        "x\xe2\x80\xa8"
        "forged", /* LINE SEPARATOR */
        "x\xe2\x80\xa9"
        "forged", /* PARAGRAPH SEPARATOR */
        "x\xff\xfe"
        "forged",
        "x\" forged=\"1",
        "x\\",
    };
    log_start("sluiced", LOG_LEVEL_INFO);
    for (size_t i = 0; i < sizeof forgeries / sizeof forgeries[0]; i++) {
        take_start();
        log_info("looked up", "name", forgeries[i], "after", "1");
        log_info(forgeries[i], "after", "1");
        const char *text = take_end();
        assert_int_equal(count_lines(text), 2);
        assert_true(text_is_utf8(text, strlen(text)));
        for (const char *at = text; *at != '\0'; at++)
            assert_true(*at == '\n' || (unsigned char)*at >= 0x20);
        assert_null(strstr(text, "\x7f"));
        assert_null(strstr(text, "\xc2\x85"));
        assert_null(strstr(text, "\xe2\x80\xa8"));
        /* The value is closed by a quote that is not escaped. */
        assert_non_null(strstr(text, "\" after=1\n"));
    }
    take_start();
    log_info("m", "name", "x\" forged=\"1", "after", "1");
    assert_non_null(strstr(take_end(), ": m name=\"x\\\" forged=\\\"1\" after=1\n"));
    take_start();
    log_info("m", "name", "x\\\" y\n\xff");
    assert_non_null(strstr(take_end(), "name=\"x\\\\\\\" y\\n\\xff\"\n"));
}

static void long_lines_are_cut_at_a_character(void **state) {
    (void)state;
    log_start("sluiced", LOG_LEVEL_INFO);
    char *value = malloc(30001);
    assert_non_null(value);
    for (size_t shift = 0; shift < 3; shift++) {
        memset(value, 'a', shift);
        for (size_t i = shift; i + 3 <= 30000; i += 3)
            memcpy(value + i, "\xe2\x82\xac", 3);
        value[29990] = '\0';
        take_start();
        log_info("m", "name", value, "next", "lost");
        log_info(value);
        const char *text = take_end();
        assert_int_equal(count_lines(text), 2);
        assert_true(text_is_utf8(text, strchr(text, '\n') - text));
        assert_true(strlen(text) <= 2 * 4096);
        assert_non_null(strstr(text, "...\"\n"));
        assert_non_null(strstr(text, "...\n"));
    }
    free(value);
}

static void *write_lines(void *arg) {
    const char *letter = arg;
    char value[1500];
    memset(value, *letter, sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (int i = 0; i < LINES_A_THREAD; i++)
        log_info("m", "v", value);
    return NULL;
}

static void *drain(void *arg) {
    int from = *(int *)arg;
    size_t length = 0;
    ssize_t count;
    char *all = malloc(TAKEN_SIZE * 2);
    if (all == NULL)
        return NULL;
    while ((count = read(from, all + length, (size_t)TAKEN_SIZE * 2 - 1 - length)) > 0)
        length += (size_t)count;
    all[length] = '\0';
    return all;
}

/* Through a pipe, which keeps only writes of up to PIPE_BUF together. */
static void lines_of_threads_do_not_mix(void **state) {
    (void)state;
    log_start("p", LOG_LEVEL_INFO);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    int kept = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    pthread_t reader, writers[THREADS];
    assert_int_equal(pthread_create(&reader, NULL, drain, &ends[0]), 0);
    char letters[THREADS] = {'a', 'b', 'c', 'd'};
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&writers[i], NULL, write_lines, &letters[i]), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(writers[i], NULL);
    dup2(kept, STDERR_FILENO);
    close(kept);
    void *text = NULL;
    pthread_join(reader, &text);
    close(ends[0]);
    assert_non_null(text);
    size_t lines = 0;
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, lines++) {
        char *value = strstr(line, " v=");
        assert_true(value != NULL && value < end);
        value += 3;
        assert_int_equal(end - value, 1499);
        for (const char *c = value; c < end; c++)
            assert_int_equal(*c, *value);
    }
    assert_int_equal(lines, THREADS * LINES_A_THREAD);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line),
        cmocka_unit_test(level_is_kept),
        cmocka_unit_test(nothing_forges_a_line),
        cmocka_unit_test(long_lines_are_cut_at_a_character),
        cmocka_unit_test(lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
