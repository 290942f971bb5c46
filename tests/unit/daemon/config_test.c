/* SPDX-License-Identifier: Apache-2.0
 *
 * Options from the command line and from files, what is refused, and that what is printed from the
 * table is what lies in docs/ and conf/.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "daemon/config.h"

#define ARGUMENTS_MAX 16

static struct arena arena;
static struct config config;
static enum config_wish wish;
static struct err err;
static char path[] = "/tmp/sluice-config.XXXXXX";

static int set_up(void **state) {
    (void)state;
    arena_init(&arena, CONFIG_ARENA_MAX);
    memcpy(path, "/tmp/sluice-config.XXXXXX", sizeof path);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    arena_release(&arena);
    unlink(path);
    return 0;
}

static void write_file(const char *bytes, size_t length) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

/* The arguments end with NULL. */
static bool parse(const char *first, ...) {
    char *arguments[ARGUMENTS_MAX] = {(char *)"sluiced"};
    int count = 1;
    va_list list;
    va_start(list, first);
    for (const char *at = first; at != NULL; at = va_arg(list, const char *)) {
        assert_true(count < ARGUMENTS_MAX - 1);
        arguments[count++] = (char *)at;
    }
    va_end(list);
    err = ERR_INIT;
    bool worked = config_parse(count, arguments, &arena, &config, &wish, &err);
    assert_int_equal(worked, err.code == ERR_NONE);
    return worked;
}

static bool parse_text(const char *text) {
    write_file(text, strlen(text));
    return parse("--config", path, NULL);
}

static void test_defaults(void **state) {
    (void)state;
    assert_true(parse(NULL));
    assert_int_equal(wish, CONFIG_RUN);
    assert_string_equal(config.state_directory, "/var/lib/sluice");
    assert_int_equal(config.driver_directories.count, 1);
    assert_int_equal(config.hosts.count, 0);
    assert_int_equal(config.uids.low, 70000);
    assert_int_equal(config.uids.high, 70999);
    assert_int_equal(config.catalog_map, UINT64_C(16) << 30);
    assert_int_equal(config.log_level, LOG_LEVEL_INFO);
    assert_int_equal(config.socket_role, ROLE_VIEWER);
}

static void test_the_line_goes_before_the_file(void **state) {
    (void)state;
    const char text[] =
        "# comment\nstate-dir: /a\nlisten: \"\"\nsocket-role: none\ndriver-dir:\n  - /d\n"
        "  - /e\nhost: gateway.example\nretry-limit-ms: 5\n";
    write_file(text, sizeof text - 1);
    assert_true(parse("--state-dir", "/b", "--config", path, NULL));
    assert_string_equal(config.state_directory, "/b");
    assert_string_equal(config.listen, "");
    assert_int_equal(config.socket_role, ROLE_NONE);
    assert_int_equal(config.driver_directories.count, 2);
    assert_string_equal(config.driver_directories.at[1], "/e");
    assert_int_equal(config.hosts.count, 1);
    assert_int_equal(config.retry_limit_ms, 5);
    assert_true(parse("--config", path, "--driver-dir=/x", "--driver-dir", "/y", NULL));
    assert_int_equal(config.driver_directories.count, 2);
    assert_string_equal(config.driver_directories.at[0], "/x");
    assert_string_equal(config.driver_directories.at[1], "/y");
    assert_true(parse_text("# nothing but a comment\n"));
    assert_string_equal(config.state_directory, "/var/lib/sluice");
}

static void test_arguments_that_are_refused(void **state) {
    static const char *const rows[][2] = {
        {"--no-such", "x"},
        {"--state-dir", NULL},
        {"state-dir", "x"},
        {"--uid-range", "7"},
        {"--uid-range", "9-3"},
        {"--uid-range", "1-x"},
        {"--uid-range", "1-4294967296"},
        {"--log-level", "loud"},
        {"--socket-role", "root"},
        {"--catalog-map", "16Q"},
        {"--request-deadline-ms", "-1"},
        {"--config", "/no/such/file"},
        {"--state", "x"},
        {"--", NULL},
        {"--keep-events-s", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_false(parse(rows[i][0], rows[i][1], NULL));
        assert_int_equal(err.code, ERR_CONFIG);
    }
}

static void test_files_that_are_refused(void **state) {
    static const struct {
        const char *text, *said;
    } rows[] = {
        {"state-dir: /a\nno-such: 1\n", "line 2, column 1: there is no such option"},
        {"state-dir: /a\nstate-dir: /b\n", "line 2, column 1: the option is there twice"},
        {"- state-dir\n", "not a mapping"},
        {"state-dir:\n  a: b\n", "line 2, column 3"},
        {"state-dir: [a]\n", "takes one value"},
        {"driver-dir: [[a]]\n", "line 1, column 14"},
        {"state-dir: &x /a\n", "anchors"},
        {"state-dir: !!str /a\n", "tags"},
        {"state-dir: *x\n", "line 1"},
        {"state-dir: /a\n---\nlisten: b\n", "more than one document"},
        {"state-dir: \"a\\0b\"\n", "NUL"},
        {"log-level: loud\n", "line 1, column 12: log-level does not take this value"},
        {"state-dir: [\n", "line"},
        {"\xff\n", "line"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_false(parse_text(rows[i].text));
        assert_int_equal(err.code, ERR_CONFIG);
        if (strstr(err.text, rows[i].said) == NULL)
            fail_msg("row %zu: %s", i, err.text);
    }
    static char large[CONFIG_FILE_MAX + 1];
    memset(large, '#', sizeof large);
    write_file(large, sizeof large - 1);
    assert_false(parse("--config", path, NULL));
}

static void test_lists_have_a_limit(void **state) {
    char text[2048] = "host:\n";
    size_t length = strlen(text);
    (void)state;
    for (int i = 0; i <= CONFIG_TEXTS_MAX; i++) {
        length += (size_t)snprintf(text + length, sizeof text - length, "  - h\n");
        assert_int_equal(parse_text(text), i < CONFIG_TEXTS_MAX);
    }
}

static void test_flags(void **state) {
    (void)state;
    assert_true(parse("--help", NULL));
    assert_int_equal(wish, CONFIG_HELP);
    assert_true(parse("--state-dir", "/a", "--fault-points", NULL));
    assert_int_equal(wish, CONFIG_FAULT_POINTS);
}

static void read_whole(FILE *file, char *ret, size_t capacity) {
    assert_non_null(file);
    rewind(file);
    size_t length = fread(ret, 1, capacity - 1, file);
    ret[length] = '\0';
    fclose(file);
}

static void compare(const char *name, void (*print)(FILE *to)) {
    static char found[65536], wanted[65536];
    char whole[512];
    const char *source = getenv("SLUICE_SOURCE");
    snprintf(whole, sizeof whole, "%s/%s", source != NULL ? source : ".", name);
    read_whole(fopen(whole, "r"), found, sizeof found);
    FILE *to = tmpfile();
    print(to);
    read_whole(to, wanted, sizeof wanted);
    assert_string_equal(found, wanted);
}

static void test_what_is_printed_is_what_lies_there(void **state) {
    (void)state;
    compare("docs/CONFIGURATION.md", config_manual);
    compare("conf/sluice.yaml", config_example);
}

/* The example shows the defaults: without its comment signs it is a file that changes nothing. */
static void test_the_example_is_a_configuration(void **state) {
    static char text[65536], bare[65536];
    (void)state;
    FILE *to = tmpfile();
    config_example(to);
    read_whole(to, text, sizeof text);
    size_t length = 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL)
        if (line[0] == '#' && (line[1] != ' ' || strncmp(line, "#  - ", 5) == 0))
            length += (size_t)snprintf(bare + length, sizeof bare - length, "%s\n", line + 1);
    assert_true(parse_text(bare));
    struct config from_file = config;
    assert_true(parse(NULL));
    assert_string_equal(from_file.state_directory, config.state_directory);
    assert_string_equal(from_file.driver_directories.at[0], config.driver_directories.at[0]);
    assert_string_equal(from_file.listen, config.listen);
    assert_int_equal(from_file.catalog_map, config.catalog_map);
    assert_int_equal(from_file.keep_events_s, config.keep_events_s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_line_goes_before_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_arguments_that_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files_that_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lists_have_a_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flags, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_printed_is_what_lies_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_example_is_a_configuration, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
