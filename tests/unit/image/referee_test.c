/* SPDX-License-Identifier: Apache-2.0
 *
 * referee_test.c: what qemu-img says about images made here, and what is read here of images made
 * by qemu-img.
 *
 * SLUICE_SEED begins elsewhere, SLUICE_FULL=1 goes on longer. Without qemu-img all is skipped.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "image_file/real_file.h"
#include "image_file/walk.h"

#define ARGUMENTS_MAX 24
#define MIB (UINT64_C(1) << 20)

extern char **environ;

static char folder[] = "/tmp/sluice-image.XXXXXX";
static bool have_qemu;

static uint64_t number(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text == NULL || *text == '\0' ? otherwise : strtoull(text, NULL, 10);
}

static char *path_of(const char *name) {
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Runs a program in the folder's place; what it says goes to the file `said`. Its exit status, or
 * -1 where a signal ended it. */
static int run_list(char *const *arguments) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, path_of("said"), O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t pid;
    int error = posix_spawnp(&pid, arguments[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0)
        return 127;
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const char *said(void) {
    static char text[1 << 18];
    FILE *file = fopen(path_of("said"), "r");
    assert_non_null(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    text[length] = '\0';
    fclose(file);
    return text;
}

/* Words of a line become arguments; what follows an '@' is a file of the folder. */
static int run(const char *line) {
    static char words[1024];
    static char paths[ARGUMENTS_MAX][256];
    char *arguments[ARGUMENTS_MAX + 1];
    size_t count = 0;
    snprintf(words, sizeof words, "%s", line);
    char *rest = words;
    char *word;
    while ((word = strtok_r(rest, " ", &rest)) != NULL) {
        assert_true(count < ARGUMENTS_MAX);
        const char *name = strchr(word, '@');
        if (name != NULL)
            snprintf(paths[count], sizeof paths[count], "%.*s%s/%s", (int)(name - word), word,
                     folder, name + 1);
        arguments[count] = name != NULL ? paths[count] : word;
        count++;
    }
    arguments[count] = NULL;
    return run_list(arguments);
}

static void must(const char *line) {
    int status = run(line);
    if (status != 0)
        fail_msg("%s: %d: %s", line, status, said());
}

static void store(const char *name, const uint8_t *bytes, size_t length) {
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    fclose(file);
}

/* ---- extents --------------------------------------------------------------------------------- */

/* Each line of qemu-img's map says where a range is; image_extent has to say the same. */
static void compare_map(struct image *top, const char *name) {
    char line[128];
    snprintf(line, sizeof line, "qemu-img map --output=json @%s", name);
    must(line);
    uint64_t covered = 0;
    for (const char *at = said(); (at = strstr(at, "{ \"start\": ")) != NULL; at++) {
        uint64_t start;
        uint64_t length;
        unsigned depth;
        assert_int_equal(sscanf(at,
                                "{ \"start\": %" SCNu64 ", \"length\": %" SCNu64 ", \"depth\": %u",
                                &start, &length, &depth),
                         3);
        char entry[256];
        snprintf(entry, sizeof entry, "%.*s", (int)strcspn(at, "}"), at);
        bool zero = strstr(entry, "\"zero\": true") != NULL;
        const char *where = strstr(entry, "\"offset\": ");
        /* Zero and data at once is a cluster that is a hole of the file below. */
        if (zero && strstr(entry, "\"data\": true") != NULL && where != NULL)
            zero = false;
        uint64_t offset = where == NULL ? 0 : strtoull(where + 10, NULL, 10);
        assert_int_equal(start, covered);
        covered += length;
        for (uint64_t done = 0; done < length;) {
            struct image_run run_here;
            assert_int_equal(
                image_extent(top, start + done, length - done, IMAGE_CHAIN_MAX, &run_here),
                SLUICE_OK);
            uint32_t kind = zero ? IMAGE_RUN_ZERO : where == NULL ? IMAGE_RUN_SLOW : IMAGE_RUN_FILE;
            if (run_here.kind != kind || (!zero && run_here.depth != depth) ||
                (kind == IMAGE_RUN_FILE && run_here.file_offset != offset + done))
                fail_msg("at %" PRIu64 " kind %u depth %u offset %" PRIu64 ", and qemu says %s",
                         start + done, run_here.kind, run_here.depth, run_here.file_offset, entry);
            done += run_here.length;
        }
    }
    assert_int_equal(covered, image_size(top));
}

/* ---- made here ------------------------------------------------------------------------------- */

static void judge(struct walk *walk, uint64_t seed) {
    /* Closed and opened again: an open image keeps some space in reserve. */
    if (!walk_take(walk, WALK_REOPEN))
        fail_msg("seed %" PRIu64 ": %s", seed, walk->wrong);
    char line[256];
    for (uint32_t i = walk->format == IMAGE_FORMAT_RAW ? 1 : 0; i < walk->count; i++) {
        snprintf(line, sizeof line, "qemu-img check -q -f qcow2 @g%u.img", walk->at[i].generation);
        if (run(line) != 0)
            fail_msg("seed %" PRIu64 ", step %" PRIu64 " (%s): %s", seed, walk->step, walk->last,
                     said());
    }
    store("model.raw", walk->bytes, walk->size);
    uint32_t top = walk->at[walk->count - 1].generation;
    snprintf(line, sizeof line, "qemu-img compare -f %s -F raw @g%u.img @model.raw",
             image_format_name(image_format(walk_top(walk))), top);
    if (run(line) != 0)
        fail_msg("seed %" PRIu64 ", step %" PRIu64 " (%s): %s", seed, walk->step, walk->last,
                 said());
    if (image_format(walk_top(walk)) == IMAGE_FORMAT_QCOW2) {
        snprintf(line, sizeof line, "g%u.img", top);
        compare_map(walk_top(walk), line);
    }
}

static void walk_and_judge(struct walk *walk, uint64_t seed, uint32_t stages, uint32_t steps) {
    for (uint32_t stage = 0; stage < stages; stage++) {
        for (uint32_t i = 0; i < steps; i++)
            if (!walk_next(walk))
                fail_msg("seed %" PRIu64 ": %s", seed, walk->wrong);
        judge(walk, seed);
    }
}

static void qemu_agrees_with_walks(void **state) {
    (void)state;
    if (!have_qemu)
        skip();
    uint64_t walks = number("SLUICE_FULL", 0) == 1 ? 100 : 6;
    for (uint64_t i = 0; i < walks; i++) {
        uint64_t seed = number("SLUICE_SEED", 1) * 1000 + i;
        struct walk walk = {
            .steps = WALK_ALL, .folder = folder, .size_max = 4 * MIB, .cache_bytes = 1};
        assert_true(walk_start(&walk, seed));
        walk_and_judge(&walk, seed, 4, 25);
        walk_end(&walk);
    }
}

/* ---- made by qemu-img ------------------------------------------------------------------------ */

static uint8_t *disk; /* random bytes with holes */
static const uint64_t disk_size = 3 * MIB + 512;

static void make_disk(void) {
    disk = calloc(1, disk_size);
    assert_non_null(disk);
    struct walk dice = {.random = number("SLUICE_SEED", 1)};
    for (uint32_t i = 0; i < 20; i++) {
        uint64_t length = walk_random(&dice, 100000);
        uint64_t offset = walk_random(&dice, disk_size - length);
        bool noise = walk_random(&dice, 2) == 0;
        for (uint64_t k = 0; k < length; k++)
            disk[offset + k] = noise ? (uint8_t)walk_random(&dice, 256) : (uint8_t)(k / 1000);
    }
    store("disk.raw", disk, disk_size);
}

static void opens_what_qemu_makes(void **state) {
    (void)state;
    if (!have_qemu)
        skip();
    static const char *const makes[] = {
        "qemu-img convert -f raw -O qcow2 @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -c @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -c -o cluster_size=4096 @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -c -o compat=0.10 @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -o compat=0.10 @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -o lazy_refcounts=on @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -o cluster_size=512 @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -o cluster_size=2M @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -o refcount_bits=1 @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -o refcount_bits=4,cluster_size=1k @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -o refcount_bits=8 -c @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -o refcount_bits=64 @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -S 0 @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -o preallocation=metadata @disk.raw @g1.img",
        "qemu-img convert -f raw -O qcow2 -o preallocation=falloc @disk.raw @g1.img",
    };
    for (size_t i = 0; i < sizeof makes / sizeof makes[0]; i++) {
        must(makes[i]);
        uint64_t seed = number("SLUICE_SEED", 1) * 1000 + i;
        struct walk walk = {.steps = WALK_ALL,
                            .folder = folder,
                            .size_max = 8 * MIB,
                            .cache_bytes = 1,
                            .format = IMAGE_FORMAT_QCOW2};
        if (!walk_start_with(&walk, seed, disk, disk_size) || !walk_compare(&walk) ||
            !walk_take(&walk, WALK_CHECK))
            fail_msg("%s: %s", makes[i], walk.wrong);
        /* What version 2 cannot say is not walked; metadata ahead of bytes is a hole to qemu. */
        if (strstr(makes[i], "prealloc") == NULL)
            compare_map(walk_top(&walk), "g1.img");
        for (uint32_t step = 0; step < 30; step++)
            if (!walk_next(&walk))
                fail_msg("%s: %s", makes[i], walk.wrong);
        if (strstr(makes[i], "prealloc") == NULL)
            judge(&walk, seed);
        walk_end(&walk);
    }
}

static void opens_chains_and_sizes_of_qemu(void **state) {
    (void)state;
    if (!have_qemu)
        skip();
    must("qemu-img convert -f raw -O qcow2 @disk.raw @base.img");
    must("qemu-img create -q -f qcow2 -F qcow2 -b base.img @over.img");
    must("qemu-img resize -q -f qcow2 @over.img 8M");
    struct image_file *file[2] = {real_file_open(path_of("base.img")),
                                  real_file_open(path_of("over.img"))};
    struct image *image[2];
    struct image_error error = {""};
    for (int i = 0; i < 2; i++)
        assert_int_equal(image_open(file[i], 0, IMAGE_OPEN_CHECK, 0, &image[i], &error), 0);
    uint32_t format;
    assert_string_equal(image_parent_name(image[1], &format), "base.img");
    assert_int_equal(format, IMAGE_FORMAT_QCOW2);
    assert_int_equal(image_attach_parent(image[1], image[0], &error), SLUICE_OK);
    uint8_t *bytes = malloc(8 * MIB);
    assert_non_null(bytes);
    assert_int_equal(image_read(image[1], 0, bytes, 8 * MIB), SLUICE_OK);
    assert_memory_equal(bytes, disk, disk_size);
    for (uint64_t i = disk_size; i < 8 * MIB; i++)
        assert_int_equal(bytes[i], 0);
    compare_map(image[1], "over.img");
    /* Another parent, and qemu finds it; feature names gave way to it. */
    must("qemu-img convert -f raw -O raw @disk.raw @other.raw");
    assert_int_equal(image_set_parent(image[1], "other.raw", IMAGE_FORMAT_RAW, NULL, &error),
                     SLUICE_OK);
    uint8_t sector[512];
    assert_int_equal(file[1]->ops->read(file[1], 0, sector, sizeof sector), SLUICE_OK);
    assert_non_null(memmem(sector, sizeof sector, "other.raw", strlen("other.raw")));
    for (int i = 0; i < 2; i++) {
        image_close(image[i]);
        file[i]->ops->close(file[i]);
    }
    must("qemu-img check -q -f qcow2 @over.img");
    must("qemu-img compare -f qcow2 -F raw @over.img @disk.raw");
    must("qemu-img info --output=json @over.img");
    assert_non_null(strstr(said(), "\"backing-filename\": \"other.raw\""));
    assert_non_null(strstr(said(), "\"backing-filename-format\": \"raw\""));
    free(bytes);
}

/* ---- what is left in the middle, and what is refused -------------------------------------------
 */

static void repairs_what_was_left_dirty(void **state) {
    (void)state;
    if (!have_qemu)
        skip();
    must("qemu-img create -q -f qcow2 -o lazy_refcounts=on @dirty.img 8M");
    char *arguments[] = {"qemu-io", "-f",    "qcow2", "-c",    "write -P 7 1M 2M",
                         "-c",      "flush", "-c",    "abort", path_of("dirty.img"),
                         NULL};
    assert_int_equal(run_list(arguments), -1);
    struct image_file *file = real_file_open(path_of("dirty.img"));
    struct image_error error = {""};
    struct image_report report;
    struct image *image;
    assert_int_equal(image_open(file, 0, 0, 0, &image, &error), SLUICE_OK);
    assert_int_equal(image_write(image, 0, "x", 1), SLUICE_READ_ONLY);
    assert_int_equal(image_check(image, false, &report, &error), SLUICE_OK);
    assert_true(report.broken_clusters > 0);
    assert_int_equal(image_check(image, true, &report, &error), SLUICE_OK);
    assert_true(report.repaired > 0);
    assert_int_equal(image_check(image, false, &report, &error), SLUICE_OK);
    assert_int_equal(report.broken_clusters + report.leaked_clusters, 0);
    assert_int_equal(image_write(image, 0, "x", 1), SLUICE_OK);
    assert_int_equal(image_flush(image), SLUICE_OK);
    image_close(image);
    file->ops->close(file);
    must("qemu-img check -q -f qcow2 @dirty.img");
}

static void refuses_with_the_way_out(void **state) {
    (void)state;
    if (!have_qemu)
        skip();
    static const struct {
        const char *make;
        const char *text;
    } refused[] = {
        {"qemu-img create -q -f qcow2 -o extended_l2=on @no.img 8M", "extended_l2"},
        {"qemu-img create -q -f qcow2 -o compression_type=zstd @no.img 8M", "zstd"},
        {"qemu-img create -q -f qcow2 -o data_file=@x.data @no.img 8M", "data_file"},
        {"qemu-img create -q -f qcow2 --object secret,id=s,data=x -o "
         "encrypt.format=luks,encrypt.key-secret=s @no.img 8M",
         "encrypted"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        int status = run(refused[i].make);
        if (status != 0)
            continue; /* this qemu cannot make it either */
        struct image_file *file = real_file_open(path_of("no.img"));
        struct image *image = NULL;
        struct image_error error = {""};
        assert_int_equal(image_open(file, 0, 0, 0, &image, &error), SLUICE_UNSUPPORTED);
        assert_non_null(strstr(error.text, refused[i].text));
        file->ops->close(file);
    }
    must("qemu-img create -q -f qcow2 @no.img 8M");
    must("qemu-img snapshot -c one @no.img");
    struct image_file *file = real_file_open(path_of("no.img"));
    struct image *image = NULL;
    struct image_error error = {""};
    assert_int_equal(image_open(file, 0, 0, 0, &image, &error), SLUICE_UNSUPPORTED);
    assert_non_null(strstr(error.text, "snapshot"));
    file->ops->close(file);
}

static int begin(void **state) {
    (void)state;
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    if (mkdtemp(folder) == NULL)
        return -1;
    have_qemu = run("qemu-img --version") == 0;
    make_disk();
    return 0;
}

static int end(void **state) {
    (void)state;
    free(disk);
    char *arguments[] = {"rm", "-rf", folder, NULL};
    pid_t pid;
    int status;
    return posix_spawnp(&pid, "rm", NULL, NULL, arguments, environ) == 0 &&
                   waitpid(pid, &status, 0) == pid
               ? 0
               : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qemu_agrees_with_walks),
        cmocka_unit_test(opens_what_qemu_makes),
        cmocka_unit_test(opens_chains_and_sizes_of_qemu),
        cmocka_unit_test(repairs_what_was_left_dirty),
        cmocka_unit_test(refuses_with_the_way_out),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
