/* SPDX-License-Identifier: Apache-2.0
 *
 * vhdx_referee_test.c: what other programs say about VHDX made here, and what is read here of VHDX
 * made by others.
 *
 * qemu-img judges fixed and dynamic disks; it knows no overlays. libvhdi reads those, and judges
 * nothing: byte by byte it has to read what the model says. SLUICE_SEED begins elsewhere,
 * SLUICE_FULL=1 goes on longer. Without a program its part is skipped.
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "image/crc32c.h"
#include "image/vhdx_layout.h"
#include "image_file/real_file.h"
#include "image_file/walk.h"

#define ARGUMENTS_MAX 24
#define MIB (UINT64_C(1) << 20)

extern char **environ;

static char folder[] = "/tmp/sluice-vhdx.XXXXXX";
static bool have_qemu;
static bool have_vhdi;

/* Opens the files named, the first above the others, and says whether they read as the last one. */
static const char vhdi_compare[] =
    "import sys, pyvhdi\n"
    "opened = []\n"
    "for name in sys.argv[1:-1]:\n"
    "    opened.append(pyvhdi.file())\n"
    "    opened[-1].open(name)\n"
    "for child, parent in zip(opened, opened[1:]):\n"
    "    assert child.parent_identifier is not None, 'names no parent'\n"
    "for i in range(len(opened) - 2, -1, -1):\n"
    "    opened[i].set_parent(opened[i + 1])\n"
    "model = open(sys.argv[-1], 'rb').read()\n"
    "assert opened[0].media_size == len(model), 'other size'\n"
    "at = 0\n"
    "while at < len(model):\n"
    "    got = opened[0].read_buffer_at_offset(65536, at)\n"
    "    assert got == model[at:at + len(got)] and got, 'other bytes at %d' % at\n"
    "    at += len(got)\n";

static uint64_t number(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text == NULL || *text == '\0' ? otherwise : strtoull(text, NULL, 10);
}

static char *path_of(const char *name) {
    static char paths[ARGUMENTS_MAX][256];
    static unsigned next;
    char *path = paths[next++ % ARGUMENTS_MAX];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

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
    static char text[1 << 14];
    FILE *file = fopen(path_of("said"), "r");
    assert_non_null(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    text[length] = '\0';
    fclose(file);
    return text;
}

/* Words of a line become arguments; one that begins with '@' is a file of the folder. */
static int run(const char *line) {
    static char words[1024];
    char *arguments[ARGUMENTS_MAX + 1];
    size_t count = 0;
    snprintf(words, sizeof words, "%s", line);
    char *rest = words;
    char *word;
    while ((word = strtok_r(rest, " ", &rest)) != NULL) {
        assert_true(count < ARGUMENTS_MAX);
        arguments[count++] = word[0] == '@' ? path_of(word + 1) : word;
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

/* ---- made here ------------------------------------------------------------------------------- */

static void judge_qemu(const struct walk *walk, uint64_t seed) {
    char line[256];
    snprintf(line, sizeof line, "qemu-img check -q -f vhdx @g%u.img", walk->at[0].generation);
    if (run(line) != 0)
        fail_msg("seed %" PRIu64 ", step %" PRIu64 " (%s): %s", seed, walk->step, walk->last,
                 said());
    snprintf(line, sizeof line, "qemu-img compare -f vhdx -F raw @g%u.img @model.raw",
             walk->at[0].generation);
    if (run(line) != 0)
        fail_msg("seed %" PRIu64 ", step %" PRIu64 " (%s): %s", seed, walk->step, walk->last,
                 said());
}

static void judge_vhdi(const struct walk *walk, uint64_t seed) {
    char *arguments[WALK_IMAGES_MAX + 6] = {"/usr/bin/python3", "-c", (char *)vhdi_compare};
    uint32_t count = 3;
    for (uint32_t i = walk->count; i-- > 0;) {
        char name[32];
        snprintf(name, sizeof name, "g%u.img", walk->at[i].generation);
        arguments[count++] = path_of(name);
    }
    arguments[count] = path_of("model.raw");
    if (run_list(arguments) != 0)
        fail_msg("seed %" PRIu64 ", step %" PRIu64 " (%s), %u images: %s", seed, walk->step,
                 walk->last, walk->count, said());
}

static void walk_and_judge(struct walk *walk, uint64_t seed, uint32_t stages, uint32_t steps) {
    for (uint32_t stage = 0; stage < stages; stage++) {
        for (uint32_t i = 0; i < steps; i++)
            if (!walk_next(walk))
                fail_msg("seed %" PRIu64 ": %s", seed, walk->wrong);
        /* Closed, so that the log is empty: libvhdi does not look at it. */
        if (!walk_take(walk, WALK_REOPEN))
            fail_msg("seed %" PRIu64 ": %s", seed, walk->wrong);
        store("model.raw", walk->bytes, walk->size);
        if (have_qemu && walk->count == 1)
            judge_qemu(walk, seed);
        if (have_vhdi)
            judge_vhdi(walk, seed);
    }
}

static void others_agree_with_disks(void **state) {
    (void)state;
    if (!have_qemu)
        skip();
    uint64_t walks = number("SLUICE_FULL", 0) == 1 ? 60 : 4;
    for (uint64_t i = 0; i < walks; i++) {
        uint64_t seed = number("SLUICE_SEED", 1) * 1000 + i;
        struct walk walk = {.steps = WALK_ALL & ~(uint32_t)WALK_SNAPSHOT,
                            .folder = folder,
                            .format = IMAGE_FORMAT_VHDX,
                            .fixed = i % 2 == 1,
                            .size_max = 8 * MIB,
                            .cache_bytes = 1};
        assert_true(walk_start(&walk, seed));
        walk_and_judge(&walk, seed, 3, 20);
        walk_end(&walk);
    }
}

/* libvhdi 20210425 is not right everywhere: it asks the parent of a block that says it is zero, and
 * reads the file's head for a block that is not there in a chunk that has no bitmap (both against
 * 2.5.1 of the specification), and does not read parents that are shorter. So nothing is zeroed or
 * resized here, and each overlay gets its first bitmap at once. */
static void others_agree_with_chains(void **state) {
    (void)state;
    if (!have_vhdi)
        skip();
    uint64_t walks = number("SLUICE_FULL", 0) == 1 ? 60 : 4;
    for (uint64_t i = 0; i < walks; i++) {
        uint64_t seed = number("SLUICE_SEED", 1) * 1000 + i;
        struct walk walk = {
            .steps = WALK_ALL & ~(uint32_t)(WALK_ZERO | WALK_TRIM | WALK_RESIZE | WALK_SNAPSHOT),
            .folder = folder,
            .format = IMAGE_FORMAT_VHDX,
            .size_max = 8 * MIB,
            .cache_bytes = 1};
        assert_true(walk_start(&walk, seed));
        for (uint32_t k = 0; k < 3; k++) {
            walk_and_judge(&walk, seed, 1, 15);
            assert_true(walk_snapshot(&walk));
            assert_int_equal(image_write(walk_top(&walk), 0, walk.bytes, 1), SLUICE_OK);
            walk_and_judge(&walk, seed, 1, 15);
        }
        walk_end(&walk);
    }
}

/* ---- made by qemu ---------------------------------------------------------------------------- */

static void opens_what_qemu_makes(void **state) {
    (void)state;
    if (!have_qemu)
        skip();
    static const char *const makes[] = {
        "qemu-img convert -f raw -O vhdx @disk.raw @g1.img",
        "qemu-img convert -f raw -O vhdx -o subformat=fixed @disk.raw @g1.img",
        "qemu-img convert -f raw -O vhdx -o block_size=1M @disk.raw @g1.img",
        "qemu-img convert -f raw -O vhdx -o block_size=2M,log_size=3M @disk.raw @g1.img",
        "qemu-img convert -f raw -O vhdx -o block_state_zero=off @disk.raw @g1.img",
    };
    struct walk dice = {.random = number("SLUICE_SEED", 1)};
    uint64_t size = 5 * MIB + 512;
    uint8_t *disk = calloc(1, size);
    assert_non_null(disk);
    for (uint64_t i = 0; i < 200000; i++)
        disk[walk_random(&dice, size / 3)] = (uint8_t)i;
    store("disk.raw", disk, size);
    for (size_t i = 0; i < sizeof makes / sizeof makes[0]; i++) {
        must(makes[i]);
        uint64_t seed = number("SLUICE_SEED", 1) * 1000 + i;
        struct walk walk = {.steps = WALK_ALL & ~(uint32_t)WALK_SNAPSHOT,
                            .folder = folder,
                            .size_max = 40 * MIB,
                            .cache_bytes = 1,
                            .format = IMAGE_FORMAT_VHDX};
        if (!walk_start_with(&walk, seed, disk, size) || !walk_compare(&walk) ||
            !walk_take(&walk, WALK_CHECK))
            fail_msg("%s: %s", makes[i], walk.wrong);
        walk_and_judge(&walk, seed, 1, 30);
        walk_end(&walk);
    }
    free(disk);
}

static void seal_headers(struct image_file *file, const uint8_t *log_guid) {
    for (uint64_t at = VHDX_AT_HEADER_FIRST; at <= VHDX_AT_HEADER_SECOND;
         at += VHDX_AT_HEADER_FIRST) {
        uint8_t header[VHDX_HEADER_BYTES];
        assert_int_equal(file->ops->read(file, at, header, sizeof header), SLUICE_OK);
        memcpy(header + VHDX_HEADER_LOG_GUID, log_guid, VHDX_GUID_BYTES);
        memset(header + VHDX_HEADER_CHECKSUM, 0, 4);
        vhdx_store32(header + VHDX_HEADER_CHECKSUM, crc32c(0, header, sizeof header));
        assert_int_equal(file->ops->write(file, at, header, sizeof header), SLUICE_OK);
    }
}

/* qemu empties its log after each write, and leaves the entries where they were. Named again, they
 * have to bring back a BAT that is lost. */
static void replays_entries_of_qemu(void **state) {
    (void)state;
    if (!have_qemu)
        skip();
    must("qemu-img create -q -f vhdx -o block_size=1M @left.img 8M");
    char *arguments[] = {"qemu-io",           "-f", "vhdx", "-c", "write -P 7 1M 1M",
                         path_of("left.img"), NULL};
    assert_int_equal(run_list(arguments), 0);
    struct image_file *file = real_file_open(path_of("left.img"));
    uint8_t header[VHDX_HEADER_BYTES];
    uint8_t entry[VHDX_PAGE_BYTES];
    uint8_t descriptor[VHDX_DESCRIPTOR_BYTES];
    assert_int_equal(file->ops->read(file, VHDX_AT_HEADER_FIRST, header, sizeof header), SLUICE_OK);
    uint64_t log = vhdx_load64(header + VHDX_HEADER_LOG_OFFSET);
    assert_int_equal(file->ops->read(file, log, entry, sizeof entry), SLUICE_OK);
    assert_memory_equal(entry, VHDX_MARK_ENTRY, 4);
    memcpy(descriptor, entry + VHDX_ENTRY_HEAD_BYTES, sizeof descriptor);
    uint64_t page = vhdx_load64(descriptor + VHDX_DESCRIPTOR_OFFSET);
    memset(header, 0xff, sizeof header);
    assert_int_equal(file->ops->write(file, page, header, sizeof header), SLUICE_OK);
    struct image_error error = {""};
    struct image *image;
    assert_int_equal(image_open(file, IMAGE_FORMAT_VHDX, 0, 0, &image, &error), SLUICE_CORRUPT);
    seal_headers(file, entry + VHDX_ENTRY_LOG_GUID);
    assert_int_equal(image_open(file, IMAGE_FORMAT_VHDX, IMAGE_OPEN_READ_ONLY, 0, &image, &error),
                     SLUICE_READ_ONLY);
    assert_non_null(strstr(error.text, "open it for writing once"));
    assert_int_equal(image_open(file, IMAGE_FORMAT_VHDX, 0, 0, &image, &error), SLUICE_OK);
    uint8_t bytes[3];
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(image_read(image, (i + 1) * MIB - 1, bytes + i, 1), SLUICE_OK);
    assert_memory_equal(bytes, "\0\7\0", 3);
    image_close(image);
    file->ops->close(file);
    must("qemu-img check -q -f vhdx @left.img");
}

/* And the other way round: what a walk leaves without being closed, qemu replays. */
static void qemu_replays_what_is_left(void **state) {
    (void)state;
    if (!have_qemu)
        skip();
    struct memory_file *memory = memory_file_create();
    struct image_error error = {""};
    struct image *image;
    struct image_create args = {
        .format = IMAGE_FORMAT_VHDX, .cluster_bytes = 1u << 20, .size_bytes = 8 * MIB};
    assert_int_equal(image_create(memory_file_open(memory), &args, &error), SLUICE_OK);
    assert_int_equal(image_open(memory_file_open(memory), 0, 0, 0, &image, &error), SLUICE_OK);
    uint8_t *model = calloc(1, 8 * MIB);
    assert_non_null(model);
    for (uint64_t i = 0; i < 5; i++) {
        model[i * MIB + 5] = (uint8_t)(i + 1);
        assert_int_equal(image_write(image, i * MIB + 5, model + i * MIB + 5, 1), SLUICE_OK);
        assert_int_equal(image_commit(image), SLUICE_OK);
    }
    memory_file_record(memory);
    model[6 * MIB] = 9;
    assert_int_equal(image_write(image, 6 * MIB, model + 6 * MIB, 1), SLUICE_OK);
    assert_int_equal(image_commit(image), SLUICE_OK);
    /* All but what was put in its place last: the log alone has it. */
    struct memory_file *left = memory_file_cut(memory, memory_file_events(memory) - 1, 0);
    store("left.img", memory_file_bytes(left), memory_file_size(left));
    store("model.raw", model, 8 * MIB);
    must("qemu-img check -q -r all -f vhdx @left.img");
    must("qemu-img compare -f vhdx -F raw @left.img @model.raw");
    image_close(image);
    memory_file_destroy(left);
    memory_file_destroy(memory);
    free(model);
}

static int make_folder(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    char *python[] = {"/usr/bin/python3", "-c", "import pyvhdi", NULL};
    have_qemu = run("qemu-img --version") == 0;
    have_vhdi = run_list(python) == 0;
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const names[] = {"said", "model.raw", "disk.raw", "left.img"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(path_of(names[i]));
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_agree_with_disks),   cmocka_unit_test(others_agree_with_chains),
        cmocka_unit_test(opens_what_qemu_makes),     cmocka_unit_test(replays_entries_of_qemu),
        cmocka_unit_test(qemu_replays_what_is_left),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
