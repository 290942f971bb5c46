/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.yaml: all that may be there, and all that may not, each with its place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "lifecycle/document.h"
#include "lifecycle/manifest.h"
#include <sluice/driver.h>

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static struct arena arena;

static int setup(void **state) {
    (void)state;
    arena_init(&arena, MANIFEST_ARENA_MAX);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    arena_release(&arena);
    return 0;
}

static bool parse(const char *text, struct manifest *ret, struct err *err) {
    return manifest_parse(text, strlen(text), "driver.yaml", &arena, ret, err);
}

/* Lines 1 to 10; what a test is about begins in line 11. */
#define HEAD                \
    "schema: 1\n"           \
    "name: test\n"          \
    "version: 1.2.3\n"      \
    "category: storage\n"   \
    "abi: \"0.1\"\n"        \
    "vendor: Somebody\n"    \
    "license: MIT\n"        \
    "library: test.so\n"    \
    "label: driver.label\n" \
    "description: driver.description\n"

static void the_least(void **state) {
    (void)state;
    struct manifest manifest;
    struct err err = ERR_INIT;
    if (!parse(HEAD, &manifest, &err))
        fail_msg("%s", err.text);
    assert_string_equal(manifest.name, "test");
    assert_string_equal(manifest.version_text, "1.2.3");
    assert_int_equal(manifest.version.minor, 2);
    assert_int_equal(manifest.category, SLUICE_CATEGORY_STORAGE);
    assert_int_equal(manifest.abi, 1);
    assert_string_equal(manifest.vendor, "Somebody");
    assert_string_equal(manifest.license, "MIT");
    assert_string_equal(manifest.library, "test.so");
    assert_string_equal(manifest.label, "driver.label");
    assert_int_equal(manifest.reads.count, 1);
    assert_int_equal(manifest.reads.at[0], 1);
    assert_int_equal(manifest.writes.at[0], 1);
    assert_int_equal(manifest.memory_mib, MANIFEST_MEMORY_MIB_DEFAULT);
    assert_int_equal(manifest.open_files, MANIFEST_OPEN_FILES_DEFAULT);
    assert_false(manifest.network);
    assert_int_equal(manifest.path_count, 0);
    assert_int_equal(manifest.properties.count, 0);
    assert_int_equal(manifest.require_count, 0);
}

static const char everything[] = HEAD
    "requires:\n"
    "  - {name: base-net, version: \">=1.0 <2\"}\n"
    "formats: {reads: [3, 1, 2], writes: [2]}\n"
    "sandbox:\n"
    "  memory_mib: 512\n"
    "  open_files: 4096\n"
    "  paths:\n"
    "    - {path: \"{path}\", access: read-write}\n"
    "    - {path: \"/var/lib/x/{path}-{mode}/y\", access: read}\n"
    "    - {path: /etc/ssl, access: read}\n"
    "  network: true\n"
    "settings:\n"
    "  - {name: trace, type: boolean, default: false}\n"
    "properties:\n"
    "  - {name: path, label: path.label, description: path.description, type: string,\n"
    "     required: true, max_length: 100, secret: false}\n"
    "  - {name: level, type: number, minimum: -5, maximum: 5, default: 003, one_of: [1, 3, -2]}\n"
    "  - {name: key, type: string, secret: true}\n"
    "  - {name: until, type: date, default: 2026-01-31}\n"
    "  - {name: mode, type: string, one_of: [fast, \"safe one\"], default: fast}\n"
    "permissions:\n"
    "  - {name: test.poke, description: Poke it}\n"
    "metrics:\n"
    "  - {name: pokes, kind: counter, unit: \"1\", description: How often}\n"
    "  - {name: depth, kind: gauge, unit: \"\", description: How deep}\n";

static void everything_is_read(void **state) {
    (void)state;
    struct manifest manifest;
    struct err err = ERR_INIT;
    if (!parse(everything, &manifest, &err))
        fail_msg("%s", err.text);
    assert_int_equal(manifest.require_count, 1);
    assert_string_equal(manifest.requires[0].name, "base-net");
    assert_string_equal(manifest.requires[0].range_text, ">=1.0 <2");
    assert_int_equal(manifest.requires[0].range.count, 2);
    assert_int_equal(manifest.reads.count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(manifest.reads.at[i], i + 1);
    assert_int_equal(manifest.writes.at[0], 2);
    assert_int_equal(manifest.memory_mib, 512);
    assert_int_equal(manifest.open_files, 4096);
    assert_true(manifest.network);
    assert_int_equal(manifest.path_count, 3);
    assert_string_equal(manifest.paths[0].path, "{path}");
    assert_true(manifest.paths[0].write);
    assert_false(manifest.paths[1].write);
    assert_int_equal(manifest.settings.count, 1);
    assert_string_equal(manifest.settings.at[0].default_text, "false");
    assert_int_equal(manifest.properties.count, 5);
    const struct descriptor *path = &manifest.properties.at[0];
    assert_string_equal(path->label, "path.label");
    assert_int_equal(path->kind, SLUICE_PROPERTY_STRING);
    assert_true(path->required);
    assert_int_equal(path->max_length, 100);
    const struct descriptor *level = descriptor_find(&manifest.properties, "level");
    assert_int_equal(level->minimum, -5);
    assert_int_equal(level->maximum, 5);
    assert_string_equal(level->default_text, "3");
    assert_int_equal(level->choice_count, 3);
    assert_string_equal(level->choices[2], "-2");
    assert_string_equal(level->label, "");
    assert_true(manifest.properties.at[2].secret);
    assert_int_equal(manifest.properties.at[2].max_length, DESCRIPTOR_LENGTH_DEFAULT);
    assert_string_equal(manifest.properties.at[4].choices[1], "safe one");
    assert_null(descriptor_find(&manifest.properties, "trace"));
    assert_string_equal(manifest.permissions[0].name, "test.poke");
    assert_int_equal(manifest.metric_count, 2);
    assert_true(manifest.metrics[0].counter);
    assert_false(manifest.metrics[1].counter);
}

struct bad {
    const char *text;
    const char *place; /* line:column */
    const char *says;
};

static void refused(const struct bad *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct manifest manifest = {.name = "untouched"};
        struct err err = ERR_INIT;
        char begin[64];
        arena_reset(&arena);
        snprintf(begin, sizeof begin, "driver.yaml:%s: ", rows[i].place);
        if (parse(rows[i].text, &manifest, &err))
            fail_msg("taken:\n%s", rows[i].text);
        if (strstr(err.text, begin) != err.text || strstr(err.text, rows[i].says) == NULL)
            fail_msg("\n%s\n\"%s\" and not \"%s...%s\"", rows[i].text, err.text, begin,
                     rows[i].says);
        assert_int_equal(err.code, ERR_MANIFEST);
        assert_string_equal(manifest.name, "untouched");
    }
}

static void bad_yaml(void **state) {
    (void)state;
    static const struct bad rows[] = {
        {"", "1:1", "the file is empty"},
        {"# nothing\n", "1:1", "the file is empty"},
        {"a", "1:1", "must hold keys"},
        {"- a\n", "1:1", "must hold keys"},
        {"a: [", "2:1", "not YAML"},
        {"a: b\n c: d\n", "2:3", "not YAML"},
        {"a: b\nc: \"d\n", "3:1", "not YAML"},
        {"a: \tb\n\tc: d\n", "2:1", "not YAML"},
        {"a: @b\n", "1:4", "not YAML"},
        {"a: b\nc: \xff\n", "2:4", "not YAML"},
        {"a: \xc3\xa4\xff\n", "1:5", "not YAML"},
        {"a: \x01\n", "1:4", "not YAML"},
        {"\xff\xfe"
         "a:b",
         "1:1", "not YAML"},
        {"a: 1\nb: 2\na: 3\n", "3:1", "there already, in line 1"},
        {"a: &x 1\n", "1:4", "anchors"},
        {"a: &x [1]\n", "1:4", "anchors"},
        {"a: &x {b: 1}\n", "1:4", "anchors"},
        {"a: b\nc: *x\n", "2:4", "aliases"},
        {"<<: *x\n", "1:5", "aliases"},
        {"a: !!int 3\n", "1:4", "tags"},
        {"a: !x [3]\n", "1:4", "tags"},
        {"!x a: 3\n", "1:1", "tags"},
        {"%YAML 1.1\n---\na: 1\n", "1:1", "directives"},
        {"%TAG ! !x\n---\na: 1\n", "1:1", "directives"},
        {"a: 1\n---\na: 1\n", "2:1", "second document"},
        {"a: \"x\\0y\"\n", "1:4", "NUL"},
        {"{a: 1}: 2\n", "1:1", "a key must be text"},
        {"? [a]\n: 2\n", "1:3", "a key must be text"},
        {"a: [[[[[[[[1]]]]]]]]\n", "1:11", "deeper than 8"},
        {"a: [[[[[[[{b: 1}]]]]]]]\n", "1:11", "deeper than 8"},
    };
    refused(rows, COUNT(rows));
}

static void bad_head(void **state) {
    (void)state;
    static const struct bad rows[] = {
        {"schema: 2\nnew: 1\n", "1:9", "schema must be 1"},
        {"schema:\n", "1:8", "has no value"},
        {"schema: ~\n", "1:9", "has no value"},
        {"schema: [1]\n", "1:9", "must be a single value"},
        {"name: test\n", "1:1", "needs the key \"schema\""},
        {"schema: 1\nname: test\n", "1:1", "needs the key \"version\""},
        {"schema: 1\nnmae: test\n", "2:1", "did you mean \"name\"?"},
        {"schema: 1\nlicence: MIT\n", "2:1", "did you mean \"license\"?"},
        {"schema: 1\nzebra: 1\n", "2:1", "\"zebra\"; leave it out"},
        {"schema: 1\nname: Test\n", "2:7", "lower-case"},
        {"schema: 1\nname: 1test\n", "2:7", "lower-case"},
        {"schema: 1\nname: a_b\n", "2:7", "lower-case"},
        {"schema: 1\nname: abcdefghijklmnopqrstuvwxyz0123456\n", "2:7", "at most 32"},
        {"schema: 1\nname: \"\"\n", "2:7", "0 bytes"},
        {"schema: 1\nversion: 1.0\n", "2:10", "version: at character 4"},
        {"schema: 1\nversion: 1.0.0+5\n", "2:10", "build metadata"},
        {"schema: 1\ncategory: stroage\n", "2:11", "network, storage or hypervisor"},
        {"schema: 1\nabi: 1\n", "2:6", "two numbers"},
        {"schema: 1\nabi: \"0.1.2\"\n", "2:6", "two numbers"},
        {"schema: 1\nabi: \".1\"\n", "2:6", "two numbers"},
        {"schema: 1\nabi: \"65536.1\"\n", "2:6", "two numbers"},
        {"schema: 1\nabi: \"0.65536\"\n", "2:6", "two numbers"},
        {"schema: 1\nlibrary: ../x.so\n", "2:10", "name of a file"},
        {"schema: 1\nlibrary: ..\n", "2:10", "name of a file"},
        {"schema: 1\nlibrary: .x.so\n", "2:10", "name of a file"},
        {"schema: 1\nlibrary: a/x.so\n", "2:10", "name of a file"},
        {"schema: 1\nvendor: \"a\\nb\"\n", "2:9", "control character"},
        {"schema: 1\nvendor: \"a\\x7fb\"\n", "2:9", "control character"},
    };
    refused(rows, COUNT(rows));
}

static void bad_parts(void **state) {
    (void)state;
    static const struct bad rows[] = {
        {HEAD "requires: x\n", "11:11", "must be a list"},
        {HEAD "requires: [x]\n", "11:12", "must be a map"},
        {HEAD "requires: [{name: x}]\n", "11:12", "needs the key \"version\""},
        {HEAD "requires: [{name: x, version: 1.x}]\n", "11:31", "version: at character 3"},
        {HEAD "requires: [{name: x, version: \"*\"}, {name: x, version: \"*\"}]\n", "11:37",
         "required already"},
        {HEAD "requires: [{name: x, versions: \"*\"}]\n", "11:22", "did you mean \"version\"?"},
        {HEAD "formats: {reads: [1]}\n", "11:10", "needs the key \"writes\""},
        {HEAD "formats: {reads: [1], writes: [2]}\n", "11:31", "does not read it"},
        {HEAD "formats: {reads: [], writes: [1]}\n", "11:18", "is empty"},
        {HEAD "formats: {reads: [1, 2, 1], writes: [1]}\n", "11:18", "names 1 twice"},
        {HEAD "formats: {reads: [0], writes: [1]}\n", "11:19", "from 1 to 4294967295"},
        {HEAD "formats: {reads: [x], writes: [1]}\n", "11:19", "whole number"},
        {HEAD "sandbox: []\n", "11:10", "must be a map"},
        {HEAD "sandbox: {memory_mib: 65537}\n", "11:23", "from 16 to 65536"},
        {HEAD "sandbox: {memory_mb: 64}\n", "11:11", "did you mean \"memory_mib\"?"},
        {HEAD "sandbox: {open_files: -1}\n", "11:23", "from 16 to 65536"},
        {HEAD "sandbox: {network: yes}\n", "11:20", "true or false"},
        {HEAD "sandbox: {paths: [{path: /x}]}\n", "11:19", "needs the key \"access\""},
        {HEAD "sandbox: {paths: [{path: /x, access: write}]}\n", "11:38", "read or read-write"},
        {HEAD "sandbox: {paths: [{path: x, access: read}]}\n", "11:26", "absolute"},
        {HEAD "sandbox: {paths: [{path: /, access: read}]}\n", "11:26", "root"},
        {HEAD "sandbox: {paths: [{path: /a/../b, access: read}]}\n", "11:26",
         "must not hold . or .."},
        {HEAD "sandbox: {paths: [{path: /a/., access: read}]}\n", "11:26", "must not hold . or .."},
        {HEAD "sandbox: {paths: [{path: /a//b, access: read}]}\n", "11:26", "empty part"},
        {HEAD "sandbox: {paths: [{path: /a/, access: read}]}\n", "11:26", "empty part"},
        {HEAD "sandbox: {paths: [{path: \"/{a\", access: read}]}\n", "11:26", "brace"},
        {HEAD "sandbox: {paths: [{path: \"/a}\", access: read}]}\n", "11:26", "brace"},
        {HEAD "sandbox: {paths: [{path: \"/{}\", access: read}]}\n", "11:26", "brace"},
        {HEAD "sandbox: {paths: [{path: \"/{{a}}\", access: read}]}\n", "11:26", "brace"},
        {HEAD "sandbox: {paths: [{path: \"{a}\", access: read}]}\n", "11:26",
         "no entry \"a\" in properties"},
        {HEAD "settings: [{name: a, type: string}]\n"
              "sandbox: {paths: [{path: \"{a}\", access: read}]}\n",
         "12:26", "no entry \"a\" in properties"},
        {HEAD "properties: [{name: a, type: number}]\n"
              "sandbox: {paths: [{path: \"{a}\", access: read}]}\n",
         "12:26", "must be a string and no secret"},
        {HEAD "properties: [{name: a, type: string, secret: true}]\n"
              "sandbox: {paths: [{path: \"/x/{a}\", access: read}]}\n",
         "12:26", "must be a string and no secret"},
        {HEAD "permissions: [{name: X, description: y}]\n", "11:22", "lower-case"},
        {HEAD "metrics: [{name: x, kind: timer, unit: s, description: y}]\n", "11:27",
         "gauge or counter"},
    };
    refused(rows, COUNT(rows));
}

static void bad_properties(void **state) {
    (void)state;
    static const struct bad rows[] = {
        {HEAD "properties: {}\n", "11:13", "must be a list"},
        {HEAD "properties: [{type: string}]\n", "11:14", "needs the key \"name\""},
        {HEAD "properties: [{name: a}]\n", "11:14", "needs the key \"type\""},
        {HEAD "properties: [{name: a-b, type: string}]\n", "11:21", "lower-case"},
        {HEAD "properties: [{name: a, type: text}]\n", "11:30", "string, number, boolean or date"},
        {HEAD "properties: [{name: a, type: string, requird: true}]\n", "11:38",
         "did you mean \"required\"?"},
        {HEAD "properties: [{name: a, type: string}, {name: a, type: date}]\n", "11:39",
         "\"a\" already"},
        {HEAD "properties: [{name: a, type: string, minimum: 1}]\n", "11:38", "is for numbers"},
        {HEAD "properties: [{name: a, maximum: 1, type: date}]\n", "11:24", "is for numbers"},
        {HEAD "properties: [{name: a, type: number, minimum: 2, maximum: 1}]\n", "11:50",
         "below the minimum"},
        {HEAD "properties: [{name: a, type: number, minimum: 1.5}]\n", "11:47", "64 bits"},
        {HEAD "properties: [{name: a, type: number, maximum: 9223372036854775808}]\n", "11:47",
         "64 bits"},
        {HEAD "properties: [{name: a, type: number, max_length: 3}]\n", "11:38", "is for strings"},
        {HEAD "properties: [{name: a, type: string, max_length: 8192}]\n", "11:50",
         "from 1 to 8191"},
        {HEAD "properties: [{name: a, type: boolean, one_of: [true]}]\n", "11:39",
         "not for booleans"},
        {HEAD "properties: [{name: a, type: string, one_of: []}]\n", "11:46", "is empty"},
        {HEAD "properties: [{name: a, type: number, one_of: [1, b]}]\n", "11:50",
         "one_of must be a whole number"},
        {HEAD "properties: [{name: a, type: number, maximum: 3, one_of: [1, 4]}]\n", "11:62",
         "at most 3"},
        {HEAD "properties: [{name: a, type: number, default: x}]\n", "11:47",
         "default must be a whole number"},
        {HEAD "properties: [{name: a, type: number, maximum: 5, default: 6}]\n", "11:59",
         "default must be a whole number of at most 5"},
        {HEAD "properties: [{name: a, type: boolean, default: yes}]\n", "11:48",
         "default must be true or false"},
        {HEAD "properties: [{name: a, type: date, default: soon}]\n", "11:45",
         "default must be a date"},
        {HEAD "properties: [{name: a, type: string, max_length: 2, default: abc}]\n", "11:62",
         "default must have at most 2 bytes"},
        {HEAD "properties: [{name: a, type: string, one_of: [x, y], default: z}]\n", "11:63",
         "default must be one of: x, y"},
        {HEAD "properties: [{name: a, type: string, default: ~}]\n", "11:47", "has no value"},
        {HEAD "properties: [{name: a, type: string, secret: true, default: x}]\n", "11:52",
         "known to everybody"},
        {HEAD "properties: [{name: a, type: string, required: true, default: x}]\n", "11:54",
         "never used"},
    };
    refused(rows, COUNT(rows));
}

/* Repeats `piece` and says whether the whole is taken. */
static bool many(const char *begin, const char *piece, int count, const char *end,
                 struct err *err) {
    struct buf text;
    struct manifest manifest;
    buf_init(&text, 1 << 20);
    buf_printf(&text, "%s%s", HEAD, begin);
    for (int i = 0; i < count; i++) {
        buf_printf(&text, "%s", i > 0 ? ", " : "");
        for (const char *at = piece; *at != '\0'; at++) /* '#' is its number */
            if (*at == '#')
                buf_printf(&text, "%d", i);
            else
                buf_put_u8(&text, (uint8_t)*at);
    }
    buf_printf(&text, "%s", end);
    assert_false(text.overflow);
    arena_reset(&arena);
    bool good = manifest_parse(text.at, text.length, "driver.yaml", &arena, &manifest, err);
    buf_release(&text);
    return good;
}

static void counts_are_limited(void **state) {
    (void)state;
    static const struct {
        const char *begin, *piece, *end;
        int max;
    } rows[] = {
        {"properties: [", "{name: a#, type: string}", "]\n", DESCRIPTORS_MAX},
        {"settings: [", "{name: a#, type: string}", "]\n", DESCRIPTORS_MAX},
        {"requires: [", "{name: a#, version: '*'}", "]\n", MANIFEST_REQUIRES_MAX},
        {"sandbox: {paths: [", "{path: /a#, access: read}", "]}\n", MANIFEST_PATHS_MAX},
        {"permissions: [", "{name: a#, description: x}", "]\n", MANIFEST_PERMISSIONS_MAX},
        {"metrics: [", "{name: a#, kind: gauge, unit: s, description: x}", "]\n",
         MANIFEST_METRICS_MAX},
        {"properties: [{name: a, type: number, one_of: [", "#", "]}]\n", DESCRIPTOR_CHOICES_MAX},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err err = ERR_INIT;
        if (!many(rows[i].begin, rows[i].piece, rows[i].max, rows[i].end, &err))
            fail_msg("%s", err.text);
        assert_false(many(rows[i].begin, rows[i].piece, rows[i].max + 1, rows[i].end, &err));
        assert_non_null(strstr(err.text, "at most"));
    }
    struct err err = ERR_INIT;
    assert_false(many("x: [", "#", DOCUMENT_NODES_MAX, "]\n", &err));
    assert_non_null(strstr(err.text, "more than 4096 values"));
}

/* The largest texts that the limits let through fit the arena; one byte more is refused. */
static void sizes_are_limited(void **state) {
    (void)state;
    struct buf text;
    struct manifest manifest;
    struct err err = ERR_INIT;
    buf_init(&text, MANIFEST_BYTES_MAX + 1);
    buf_printf(&text, "%sproperties:\n", HEAD);
    for (int property = 0; property < 39; property++) {
        buf_printf(&text, " - {name: a%d, type: string, max_length: 8191, default: \"", property);
        for (int i = 0; i < 3270; i++) /* two bytes that become three */
            buf_printf(&text, "%s", i % 2 == 0 ? "\\L" : "ab");
        buf_printf(&text, "\"}\n");
    }
    while (text.length < MANIFEST_BYTES_MAX)
        buf_put_u8(&text, '\n');
    assert_false(text.overflow);
    if (!manifest_parse(text.at, text.length, "driver.yaml", &arena, &manifest, &err))
        fail_msg("%s", err.text);
    assert_int_equal(manifest.properties.count, 39);
    buf_put_u8(&text, '\n');
    assert_false(manifest_parse(text.at, text.length, "driver.yaml", &arena, &manifest, &err));
    assert_int_equal(err.code, ERR_MANIFEST);
    buf_release(&text);
}

/* With any amount of memory it is taken whole or refused for want of memory. */
static void little_memory(void **state) {
    (void)state;
    bool taken = false;
    for (size_t max = 0; max < 65536 && !taken; max += 64) {
        struct arena small;
        struct manifest manifest;
        struct err err = ERR_INIT;
        arena_init(&small, max);
        taken =
            manifest_parse(everything, strlen(everything), "driver.yaml", &small, &manifest, &err);
        if (!taken)
            assert_int_equal(err.code, ERR_NO_MEMORY);
        arena_release(&small);
    }
    assert_true(taken);
}

/* Every beginning of a good text is taken or refused with a place, and nothing worse. */
static void every_beginning(void **state) {
    (void)state;
    for (size_t length = 0; length < strlen(everything); length++) {
        struct manifest manifest;
        struct err err = ERR_INIT;
        char *exact = malloc(length + 1); /* so that a sanitizer sees a look beyond */
        assert_non_null(exact);
        memcpy(exact, everything, length);
        arena_reset(&arena);
        if (!manifest_parse(exact, length, "driver.yaml", &arena, &manifest, &err)) {
            assert_int_equal(err.code, ERR_MANIFEST);
            assert_ptr_equal(strstr(err.text, "driver.yaml:"), err.text);
        }
        free(exact);
    }
}

/* What the house itself delivers. */
static void our_own(void **state) {
    (void)state;
    const char *tree = getenv("SLUICE_SOURCE");
    static const char *const paths[] = {"api/driver/example/driver.yaml",
                                        "drivers/posix/driver.yaml"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        char path[4096];
        static char text[65536];
        struct manifest manifest;
        struct err err = ERR_INIT;
        snprintf(path, sizeof path, "%s/%s", tree != NULL ? tree : ".", paths[i]);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            fail_msg("%s cannot be read", path);
        size_t length = fread(text, 1, sizeof text, file);
        fclose(file);
        if (!manifest_parse(text, length, paths[i], &arena, &manifest, &err))
            fail_msg("%s", err.text);
        assert_int_equal(manifest.abi, SLUICE_ABI);
    }
}

static void categories(void **state) {
    (void)state;
    for (int i = SLUICE_CATEGORY_NETWORK; i <= SLUICE_CATEGORY_HYPERVISOR; i++) {
        enum sluice_category category;
        assert_true(category_parse(category_name((enum sluice_category)i), &category));
        assert_int_equal(category, i);
    }
    enum sluice_category category = SLUICE_CATEGORY_STORAGE;
    assert_false(category_parse("unknown", &category));
    assert_int_equal(category, SLUICE_CATEGORY_STORAGE);
    assert_string_equal(category_name((enum sluice_category)77), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least),
        cmocka_unit_test(everything_is_read),
        cmocka_unit_test(bad_yaml),
        cmocka_unit_test(bad_head),
        cmocka_unit_test(bad_parts),
        cmocka_unit_test(bad_properties),
        cmocka_unit_test(counts_are_limited),
        cmocka_unit_test(sizes_are_limited),
        cmocka_unit_test(little_memory),
        cmocka_unit_test(every_beginning),
        cmocka_unit_test(our_own),
        cmocka_unit_test(categories),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
