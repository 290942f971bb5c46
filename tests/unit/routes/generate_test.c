/* SPDX-License-Identifier: Apache-2.0
 *
 * The generator refuses what it does not know, with the line where it stands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define TEXT_MAX (1u << 20)

static char directory[] = "/tmp/sluice-generate-XXXXXX";
static char yaml_path[128], c_path[128], err_path[128];
static char description[TEXT_MAX], changed[TEXT_MAX], message[4096];

static void read_file(const char *path, char *text, size_t capacity) {
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t length = fread(text, 1, capacity - 1, file);
    text[length] = '\0';
    fclose(file);
}

/* The generator's exit, with what it says in `message`. */
static int generate(const char *text) {
    char program[512];
    const char *build = getenv("SLUICE_BUILD");
    assert_non_null(build);
    snprintf(program, sizeof program, "%s/tools/routes-generate", build);
    FILE *file = fopen(yaml_path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    unlink(c_path);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int fd = open(err_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        dup2(fd, 2);
        execl(program, program, yaml_path, c_path, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    read_file(err_path, message, sizeof message);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static size_t line_of(const char *text, const char *at) {
    size_t line = 1;
    for (; text < at; text++)
        line += *text == '\n';
    return line;
}

/* Our own description with one thing changed, at its first place after `where`, is refused on the
 * line of the change or within `slack` lines before it. */
static void refuse(const char *where, const char *from, const char *to, size_t slack,
                   const char *word) {
    const char *begin = strstr(description, where);
    assert_non_null(begin);
    const char *at = strstr(begin, from);
    if (at == NULL)
        fail_msg("the description has no \"%s\"", from);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - description), description, to,
             at + strlen(from));
    if (generate(changed) != 1)
        fail_msg("\"%s\" was accepted: %s", to, message);
    if (strstr(message, word) == NULL)
        fail_msg("\"%s\" is not in: %s", word, message);
    const char *colon = strchr(message, ':');
    assert_non_null(colon);
    size_t line = strtoul(colon + 1, NULL, 10);
    size_t wanted = line_of(description, at);
    if (line > wanted + 1 || line + slack < wanted)
        fail_msg("line %zu is not near %zu: %s", line, wanted, message);
    assert_int_not_equal(access(c_path, F_OK), 0);
}

static void test_ours(void **state) {
    (void)state;
    assert_int_equal(generate(description), 0);
    assert_string_equal(message, "");
    read_file(c_path, changed, sizeof changed);
    assert_non_null(strstr(changed, ".id = \"createVolume\""));
}

static void test_refusals(void **state) {
    (void)state;
    refuse("/v1/volumes:", "x-noun: volume", "x-nuon: volume", 0, "x-nuon");
    refuse("operationId: createVolume", "x-operation: volume.create", "description: x", 8,
           "x-operation");
    refuse("operationId: createVolume", "x-action: submit", "x-action: get", 8, "x-operation");
    refuse("operationId: createVolume", "x-permission: volume.write", "description: x", 8,
           "x-permission");
    refuse("VolumeCreate:\n", "{type: string, maxLength: 300, description",
           "{maxLength: 300, description", 0, "\"type\" is missing");
    refuse("VolumeCreate:\n", "{type: string, maxLength: 300, description",
           "{type: string, description", 0, "needs a maximum");
    refuse("VolumeCreate:\n", "{type: string, maxLength: 300,", "{type: null, maxLength: 300,", 0,
           "not supported");
    refuse("VolumeCreate:\n", "required: [name]", "required: [nome]", 0, "nome");
    refuse("VolumeCreate:\n", "maxLength: 300", "maxLength: many", 0, "no whole number");
    refuse("VolumeCreate:\n", "x-size: true", "x-size: yes", 0, "neither true nor false");
    refuse("VolumeCreate:\n", "x-size: true", "pattern: a", 0, "pattern");
    refuse("operationId: createVolume", "schemas/VolumeCreate", "schemas/VolumeMake", 8,
           "VolumeMake");
    refuse("operationId: createVolume", "positional: name", "positional: nome", 2, "nome");
    refuse("operationId: createVolume", "columns: \"name", "columns: \"nome", 2, "nome");
    refuse("operationId: createVolume", "words: volume clone", "words: volume create", 2, "twice");
    refuse("operationId: getVolume", "operationId: getVolume", "operationId: getPool", 2, "twice");
    refuse("operationId: getVolume", "parameters/Volume\"", "parameters/Pool\"", 2, "path");
    refuse("operationId: getVolume", "tags: [volumes]", "tags: [tomes]", 0, "tomes");
    refuse("/v1/volumes/{volume}:", "patch:", "put:", 0, "put");
    refuse("operationId: deleteVolume", "\"204\":", "\"205\":", 1, "205");
}

static void test_no_yaml(void **state) {
    (void)state;
    assert_int_equal(generate("a: [b"), 1);
    assert_int_equal(generate(""), 1);
    assert_int_equal(generate("- a"), 1);
    assert_int_equal(generate("a: 1\na: 2\n"), 1);
    assert_non_null(strstr(message, "twice"));
}

static int set_up(void **state) {
    (void)state;
    char path[512];
    const char *source = getenv("SLUICE_SOURCE");
    if (source == NULL || mkdtemp(directory) == NULL)
        return -1;
    snprintf(yaml_path, sizeof yaml_path, "%s/openapi.yaml", directory);
    snprintf(c_path, sizeof c_path, "%s/routes.c", directory);
    snprintf(err_path, sizeof err_path, "%s/err", directory);
    snprintf(path, sizeof path, "%s/api/http/openapi.yaml", source);
    read_file(path, description, sizeof description);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(yaml_path);
    unlink(c_path);
    unlink(err_path);
    return rmdir(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ours),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_yaml),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
