/* SPDX-License-Identifier: Apache-2.0
 *
 * What a command line becomes: a path, a body, or a refusal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/arguments.h"

#define ARGV_MAX 24

/* Parses the words of `line`, which stand between spaces; '_' stands for a space inside a word. */
static bool parse(struct arguments *arguments, const char *line, struct err *err) {
    static char words[2048];
    char *argv[ARGV_MAX + 1] = {"sluice"};
    int argc = 1;
    snprintf(words, sizeof words, "%s", line);
    for (char *at = words; *at != '\0' && argc < ARGV_MAX;) {
        argv[argc++] = at;
        for (; *at != ' ' && *at != '\0'; at++)
            if (*at == '_')
                *at = ' ';
        if (*at == ' ')
            *at++ = '\0';
    }
    *err = ERR_INIT;
    return arguments_parse(arguments, argc, argv, err);
}

static void expect(const char *line, const char *path, const char *body) {
    struct arguments arguments;
    struct err err;
    if (!parse(&arguments, line, &err))
        fail_msg("%s: %s", line, err.text);
    assert_string_equal(buf_text(&arguments.path), path);
    char *text = arguments.body != NULL ? json_dumps(arguments.body, JSON_COMPACT) : strdup("");
    assert_string_equal(text, body);
    free(text);
    arguments_release(&arguments);
}

static void refuse(const char *line, const char *word) {
    struct arguments arguments;
    struct err err;
    if (parse(&arguments, line, &err))
        fail_msg("%s was accepted", line);
    if (strstr(err.text, word) == NULL)
        fail_msg("%s: \"%s\" does not say \"%s\"", line, err.text, word);
    arguments_release(&arguments);
}

static void test_bodies(void **state) {
    (void)state;
    expect("volume create d1 --pool p --size 10G", "/v1/volumes",
           "{\"name\":\"d1\",\"pool\":\"p\",\"size_bytes\":10737418240}");
    expect("volume create --name=d1 --size=512 --label a=b --label c=d=e", "/v1/volumes",
           "{\"name\":\"d1\",\"size_bytes\":512,\"labels\":{\"a\":\"b\",\"c\":\"d=e\"}}");
    expect("volume clone p:d@s d2", "/v1/volumes",
           "{\"source_snapshot\":\"p:d@s\",\"name\":\"d2\"}");
    expect("volume copy p:d d2", "/v1/volumes", "{\"source_volume\":\"p:d\",\"name\":\"d2\"}");
    expect("volume attach p:d h1 --mode read-only", "/v1/attachments",
           "{\"volume\":\"p:d\",\"host\":\"h1\",\"mode\":\"read-only\"}");
    expect("volume resize p:d --size 2T --shrink", "/v1/volumes/p:d/resize",
           "{\"size_bytes\":2199023255552,\"shrink\":true}");
    expect("pool create fast --driver posix --set path=/srv/fast", "/v1/pools",
           "{\"name\":\"fast\",\"driver\":\"posix\",\"properties\":{\"path\":\"/srv/fast\"}}");
    expect("host create h --identity uid=107", "/v1/hosts",
           "{\"name\":\"h\",\"identities\":{\"uid\":\"107\"}}");
    expect("pool update fast", "/v1/pools/fast", "{}");
    expect("volume create -- --odd", "/v1/volumes", "{\"name\":\"--odd\"}");
}

static void test_paths(void **state) {
    (void)state;
    expect("volume show p:a_b/c%", "/v1/volumes/p:a%20b%2Fc%25", "");
    expect("driver start ram@0.1.0", "/v1/drivers/ram@0.1.0/start", "");
    expect("pool delete p --forget", "/v1/pools/p?forget=true", "");
    expect("volume list --pool p&q --label a=b --label c=d",
           "/v1/volumes?pool=p%26q&label=a%3Db&label=c%3Dd", "");
    expect("driver properties x@1 --lang de", "/v1/drivers/x@1/properties?lang=de", "");
    expect("gateway", "/v1/gateway", "");
}

static void test_pages(void **state) {
    (void)state;
    struct arguments arguments;
    struct err err;
    assert_true(parse(&arguments, "volume list --limit 7 --after t1", &err));
    assert_string_equal(buf_text(&arguments.path), "/v1/volumes");
    assert_int_equal(arguments.limit, 7);
    assert_string_equal(arguments.after, "t1");
    arguments_release(&arguments);
    assert_true(parse(&arguments, "events --after 12", &err));
    assert_string_equal(arguments.after, "12");
    assert_int_equal(arguments.limit, 0);
    arguments_release(&arguments);
}

static void test_refusals(void **state) {
    (void)state;
    refuse("volumes list", "no command \"volumes\"");
    refuse("volume burn", "no command \"volume burn\"");
    refuse("volume", "what about volume");
    refuse("volume create", "--name TEXT is missing");
    refuse("volume show", "VOLUME is missing");
    refuse("volume show a b", "one word too many");
    refuse("volume create a --size ten", "no size");
    refuse("volume create a --size 9223372036854775808", "not between");
    refuse("volume resize a --size 0", "not between");
    refuse("volume create a --format tar", "none of raw|qcow2|vhdx|native");
    refuse("volume create a --name b", "given twice");
    refuse("volume create a --label x", "takes NAME=VALUE");
    refuse("volume create a --label x=1 --label x=2", "given twice");
    refuse("volume create a --color red", "no option --color");
    refuse("--color volume list", "before a command");
    refuse("volume list --pool", "needs a value");
    refuse("pool delete p --forget=yes", "takes no value");
    refuse("volume list --limit 501", "not between 1 and 500");
    refuse("volume list --output xml", "none of table|json");
    refuse("volume list --wait soon", "number of seconds");
    refuse("volume list --follow", "for events");
    refuse("volume create \xff", "not UTF-8");
    refuse("volume list -x", "no option -x");
    refuse("operation wait", "OPERATION is missing");
    refuse("pool create p --driver d --set-file secret=/nonexistent/file", "/nonexistent/file");
}

static void test_globals_stand_anywhere(void **state) {
    (void)state;
    struct arguments arguments;
    struct err err;
    assert_true(parse(&arguments, "--output json volume --quiet list --wait 5", &err));
    assert_true(arguments.json);
    assert_true(arguments_has(&arguments, OPTION_QUIET));
    assert_int_equal(arguments.wait_s, 5);
    assert_string_equal(arguments.route->id, "listVolumes");
    arguments_release(&arguments);
    /* Who asks for help need not know what is required. */
    assert_true(parse(&arguments, "volume create -h", &err));
    arguments_release(&arguments);
    assert_true(parse(&arguments, "operation wait 01a20e31-efa8-7000-ab7b-250d9d76ce05", &err));
    assert_int_equal(arguments.builtin, BUILTIN_OPERATION_WAIT);
    arguments_release(&arguments);
}

static void test_secret_from_file(void **state) {
    (void)state;
    char path[] = "/tmp/sluice-cli-XXXXXX";
    char line[256];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "s3cret word\n", 12), 12);
    close(fd);
    snprintf(line, sizeof line, "pool create p --driver d --set-file password=%s", path);
    expect(line, "/v1/pools",
           "{\"name\":\"p\",\"driver\":\"d\",\"properties\":{\"password\":\"s3cret word\"}}");
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_globals_stand_anywhere),
        cmocka_unit_test(test_secret_from_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
