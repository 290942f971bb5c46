/* SPDX-License-Identifier: Apache-2.0
 *
 * fs_test.c: an export as a share: every operation, what is refused and how it is said, links,
 * fences, a server that was killed, handles that are of no use any more.
 */
#include "world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fence.h"
#include "file.h"

#define OPS(fs) ((fs)->base.ops)
#define POOL_UID 812

static struct nfs_fs fs;
static struct sluice_call call;

static void open_export(const char *export, uint32_t uid) {
    int32_t status = world_open(&fs, &call, export, 0, uid);
    if (status != SLUICE_OK) {
        fail_msg("%s", call.text);
    }
}

static int begin(void **state) {
    (void)state;
    world_give("export", 0, 0755);
    open_export("/export", 0);
    return 0;
}

static struct sluice_call *fresh(void) {
    memset(&call, 0, sizeof call);
    return &call;
}

struct names {
    char names[4000][64];
    bool directories[4000];
    uint32_t count;
};

static bool note_name(void *argument, const char *name, bool directory) {
    struct names *names = argument;
    snprintf(names->names[names->count], sizeof names->names[0], "%s", name);
    names->directories[names->count++] = directory;
    return true;
}

/* Through the server, which remembers what it has seen. */
static void remove_all(const char *path) {
    struct names *names = calloc(1, sizeof *names);
    OPS(&fs)->list(&fs.base, fresh(), path, note_name, names);
    for (uint32_t i = 0; i < names->count; i++) {
        char below[200];
        snprintf(below, sizeof below, "%s%s%s", path, path[0] != '\0' ? "/" : "", names->names[i]);
        if (names->directories[i]) {
            remove_all(below);
            OPS(&fs)->remove_directory(&fs.base, fresh(), below);
        } else {
            OPS(&fs)->remove(&fs.base, fresh(), below);
        }
    }
    free(names);
}

static int finish(void **state) {
    (void)state;
    remove_all("");
    nfs_fs_close(&fs);
    return 0;
}

static void good(int32_t status) {
    if (status != SLUICE_OK) {
        fail_msg("status %d: %s", status, call.text);
    }
}

static struct image_file *make(const char *path) {
    struct image_file *file = NULL;
    good(OPS(&fs)->open(&fs.base, fresh(), path, SHARE_OPEN_CREATE | SHARE_OPEN_WRITE, &file));
    return file;
}

static void says(int32_t status, int32_t wanted, const char *words) {
    assert_int_equal(status, wanted);
    if (strstr(call.text, words) == NULL) {
        fail_msg("'%s' does not say '%s'", call.text, words);
    }
}

/* ---- names ---------------------------------------------------------------------------------- */

static bool count_names(void *argument, const char *name, bool directory) {
    uint32_t *counts = argument;
    (void)name;
    counts[directory]++;
    return true;
}

static void names_are_made_moved_and_removed(void **state) {
    (void)state;
    struct share_stat seen;
    good(OPS(&fs)->make_directory(&fs.base, fresh(), "volumes"));
    good(OPS(&fs)->make_directory(&fs.base, fresh(), "volumes"));
    good(OPS(&fs)->make_directory(&fs.base, fresh(), "volumes/a"));
    struct image_file *file = make("volumes/a/g1");
    file->ops->close(file);
    assert_int_equal(OPS(&fs)->open(&fs.base, fresh(), "volumes/a/g1", SHARE_OPEN_CREATE, &file),
                     SLUICE_EXISTS);
    good(OPS(&fs)->stat(&fs.base, fresh(), "volumes/a/g1", &seen));
    assert_false(seen.directory);
    assert_int_equal(seen.size_bytes, 0);
    assert_int_equal(OPS(&fs)->stat(&fs.base, fresh(), "volumes/b/g1", &seen), SLUICE_NOT_FOUND);
    assert_int_equal(OPS(&fs)->remove_directory(&fs.base, fresh(), "volumes/a"), SLUICE_BUSY);
    good(OPS(&fs)->rename(&fs.base, fresh(), "volumes/a", "volumes/b"));
    assert_int_equal(OPS(&fs)->stat(&fs.base, fresh(), "volumes/a/g1", &seen), SLUICE_NOT_FOUND);
    good(OPS(&fs)->stat(&fs.base, fresh(), "volumes/b/g1", &seen));
    good(OPS(&fs)->make_directory(&fs.base, fresh(), "volumes/a"));
    assert_int_equal(OPS(&fs)->rename(&fs.base, fresh(), "volumes/b", "volumes/a"), SLUICE_EXISTS);
    uint32_t counts[2] = {0, 0};
    good(OPS(&fs)->list(&fs.base, fresh(), "volumes", count_names, counts));
    assert_int_equal(counts[true], 2);
    good(OPS(&fs)->remove(&fs.base, fresh(), "volumes/b/g1"));
    assert_int_equal(OPS(&fs)->remove(&fs.base, fresh(), "volumes/b/g1"), SLUICE_NOT_FOUND);
    good(OPS(&fs)->remove_directory(&fs.base, fresh(), "volumes/b"));
}

static void long_directories_are_listed_whole(void **state) {
    (void)state;
    char path[512], name[600];
    good(OPS(&fs)->make_directory(&fs.base, fresh(), "many"));
    nfs_server_path(&server, "export/many", path);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "%s/a-name-that-is-rather-long-%08d", path, i);
        close(open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    }
    uint32_t counts[2] = {0, 0};
    good(OPS(&fs)->list(&fs.base, fresh(), "many", count_names, counts));
    assert_int_equal(counts[false], 3000);
}

static void records_are_whole_or_not_there(void **state) {
    (void)state;
    char text[64];
    size_t length;
    good(OPS(&fs)->store(&fs.base, fresh(), "r.meta", "one", 3, false));
    assert_int_equal(OPS(&fs)->store(&fs.base, fresh(), "r.meta", "two", 3, false), SLUICE_EXISTS);
    good(OPS(&fs)->store(&fs.base, fresh(), "r.meta", "three", 5, true));
    good(OPS(&fs)->load(&fs.base, fresh(), "r.meta", text, sizeof text, &length));
    assert_int_equal(length, 5);
    assert_memory_equal(text, "three", 5);
    assert_int_equal(OPS(&fs)->load(&fs.base, fresh(), "r.meta", text, 4, &length), SLUICE_LIMIT);
    uint32_t counts[2] = {0, 0};
    good(OPS(&fs)->list(&fs.base, fresh(), "", count_names, counts));
    assert_int_equal(counts[false], 1); /* nothing half made is left */
}

static void links_are_not_followed(void **state) {
    (void)state;
    char path[512];
    struct share_stat seen;
    struct image_file *file;
    nfs_server_path(&server, "export/link", path);
    assert_int_equal(symlink("/etc", path), 0);
    says(OPS(&fs)->stat(&fs.base, fresh(), "link/passwd", &seen), SLUICE_ACCESS, "symbolic link");
    says(OPS(&fs)->open(&fs.base, fresh(), "link", 0, &file), SLUICE_ACCESS, "symbolic link");
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static void files_hold_what_is_written(void **state) {
    (void)state;
    enum { LENGTH = 3 * NFS3_IO_MAX + 77 };
    char *written = malloc(LENGTH), *read = malloc(LENGTH);
    uint64_t size;
    struct image_file *file = make("f");
    for (int i = 0; i < LENGTH; i++) {
        written[i] = (char)(i * 31 >> 3);
    }
    good(file->ops->write(file, 5, written, LENGTH));
    good(file->ops->read(file, 5, read, LENGTH));
    assert_memory_equal(read, written, LENGTH);
    good(file->ops->size(file, &size));
    assert_int_equal(size, LENGTH + 5);
    good(file->ops->flush(file));
    assert_int_equal(((struct nfs_file *)file)->kept_count, 0);
    good(file->ops->resize(file, 1 << 20));
    memset(written, 0, LENGTH);
    good(file->ops->read(file, 1 << 20, read, 4096));
    assert_memory_equal(read, written, 4096);
    file->ops->close(file);
    free(written);
    free(read);
}

/* What is superseded is not written again; the rest is. */
static void what_another_call_overwrote_is_not_repeated(void **state) {
    (void)state;
    char bytes[64], read[64];
    struct image_file *base = make("f");
    struct nfs_file *file = (struct nfs_file *)base;
    memset(bytes, 'a', sizeof bytes);
    good(base->ops->write(base, 0, bytes, 64));
    good(base->ops->write(base, 100, bytes, 10));
    file_supersede(file, 16, 16);
    file_supersede(file, 90, 15);
    file_supersede(file, 200, 5);
    assert_int_equal(file->kept_count, 3);
    assert_int_equal(file->kept_bytes, 16 + 32 + 5);
    /* The server has lost everything: as if it had been another life of it. */
    for (int i = 0; i < 3; i++) {
        file_supersede(file, 1000, 1);
    }
    char path[512];
    nfs_server_path(&server, "export/f", path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    memset(read, '.', sizeof read);
    assert_int_equal(pwrite(fd, read, 64, 0), 64);
    nfs_server_kill(&server);
    nfs_server_restart(&server);
    good(base->ops->flush(base));
    assert_int_equal(file->kept_count, 0);
    assert_int_equal(pread(fd, read, 64, 0), 64);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(read[i], i < 16 || i >= 32 ? 'a' : '.');
    }
    close(fd);
    base->ops->close(base);
}

/* ---- the server ----------------------------------------------------------------------------- */

static void calls_outlive_the_server(void **state) {
    (void)state;
    struct share_stat seen;
    good(OPS(&fs)->make_directory(&fs.base, fresh(), "d"));
    nfs_server_kill(&server);
    nfs_server_restart(&server);
    good(OPS(&fs)->check(&fs.base, fresh()));
    good(OPS(&fs)->stat(&fs.base, fresh(), "d", &seen));
}

static void a_server_that_is_gone_is_said_to_be(void **state) {
    (void)state;
    nfs_server_kill(&server);
    says(OPS(&fs)->check(&fs.base, fresh()), SLUICE_UNREACHABLE, "is not reached at port");
    nfs_server_restart(&server);
    good(OPS(&fs)->check(&fs.base, fresh()));
}

static void what_was_replaced_is_looked_up_again(void **state) {
    (void)state;
    static struct nfs_fs other; /* another client, which ours knows nothing of */
    struct share_stat seen;
    struct image_file *file;
    good(OPS(&fs)->make_directory(&fs.base, fresh(), "d"));
    file = make("d/f");
    good(world_open(&other, fresh(), "/export", 0, 0));
    good(OPS(&other)->remove(&other.base, fresh(), "d/f"));
    good(OPS(&other)->remove_directory(&other.base, fresh(), "d"));
    good(OPS(&other)->make_directory(&other.base, fresh(), "d"));
    /* So that the file system of the server does not give the number away again. */
    good(OPS(&other)->store(&other.base, fresh(), "d/e", "", 0, false));
    good(OPS(&other)->store(&other.base, fresh(), "d/f", "hi\n", 3, false));
    nfs_fs_close(&other);
    good(OPS(&fs)->stat(&fs.base, fresh(), "d/f", &seen));
    assert_int_equal(seen.size_bytes, 3);
    char byte;
    assert_int_equal(file->ops->read(file, 0, &byte, 1), SLUICE_VANISHED); /* another file */
    file->ops->close(file);
}

static void wrong_exports_are_named(void **state) {
    (void)state;
    static struct nfs_fs other;
    /* This server does not tell what it has not from what it does not give. */
    says(world_open(&other, &call, "/nothing", 0, 0), SLUICE_ACCESS, "such an export");
    good(world_open(&other, &call, "/ro", 0, 0));
    says(OPS(&other)->make_directory(&other.base, &call, "d"), SLUICE_READ_ONLY, "read-only");
    nfs_fs_close(&other);
    good(world_open(&other, &call, "/squash", 0, 0));
    world_give("squash", 0, 0755);
    says(OPS(&other)->make_directory(&other.base, &call, "d"), SLUICE_ACCESS,
         "who owns the exported directory");
    nfs_fs_close(&other);
    memset(&other, 0, sizeof other);
    other.base.services = &services;
    snprintf(other.control.server.host, sizeof other.control.server.host, "no-such-host.invalid");
    says(nfs_fs_open(&other, fresh()), SLUICE_UNREACHABLE, "not known");
}

/* ---- fences --------------------------------------------------------------------------------- */

static void late_writers_are_refused(void **state) {
    const struct {
        const char *export, *folder;
        uint32_t uid;
        bool fences;
    } rows[] = {
        {"/export", "export", 0, true},
        {"/export", "export", POOL_UID, true},
        {"/squash", "squash", POOL_UID, true},
        {"/all", "all", 65534, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char why[SLUICE_TEXT_MAX];
        nfs_fs_close(&fs);
        world_give(rows[i].folder, rows[i].uid, 0755);
        open_export(rows[i].export, rows[i].uid);
        fence_try(&fs, why);
        assert_int_equal(fs.fences, rows[i].fences);
        assert_int_equal(why[0] != '\0', !rows[i].fences);
        struct image_file *file = make("v"), *first, *second;
        file->ops->close(file);
        good(OPS(&fs)->open_fenced(&fs.base, fresh(), "v", 7, false, &first));
        good(first->ops->write(first, 0, "first", 5));
        good(OPS(&fs)->open_fenced(&fs.base, fresh(), "v", 8, false, &second));
        assert_int_equal(first->ops->write(first, 0, "late!", 5),
                         rows[i].fences ? SLUICE_STALE : SLUICE_OK);
        good(second->ops->write(second, 0, "next!", 5));
        good(second->ops->flush(second));
        first->ops->close(first);
        second->ops->close(second);
        /* Taken back by the pool itself, from the epoch that has it. */
        char text[5];
        good(OPS(&fs)->open(&fs.base, fresh(), "v", SHARE_OPEN_WRITE, &file));
        good(file->ops->read(file, 0, text, 5));
        assert_memory_equal(text, "next!", 5);
        good(file->ops->write(file, 0, "again", 5));
        file->ops->close(file);
        good(OPS(&fs)->remove(&fs.base, fresh(), "v"));
    }
}

static void rights_are_groups(void **state) {
    (void)state;
    char path[512];
    struct stat seen;
    struct image_file *file = make("f");
    file->ops->close(file);
    nfs_server_path(&server, "export/f", path);
    const struct share_right one = {.identity = 4711, .write = true};
    const struct share_right two[] = {{4711, false}, {4712, false}};
    const struct share_right three[] = {{4711, true}, {4712, false}};
    good(OPS(&fs)->let(&fs.base, fresh(), "f", &one, 1));
    assert_int_equal(stat(path, &seen), 0);
    assert_int_equal(seen.st_gid, 4711);
    assert_int_equal(seen.st_mode & 07777, 0660);
    good(OPS(&fs)->let(&fs.base, fresh(), "f", two, 2));
    assert_int_equal(stat(path, &seen), 0);
    assert_int_equal(seen.st_mode & 07777, 0644);
    says(OPS(&fs)->let(&fs.base, fresh(), "f", three, 2), SLUICE_UNSUPPORTED, "common gid");
    good(OPS(&fs)->let(&fs.base, fresh(), "f", NULL, 0));
    assert_int_equal(stat(path, &seen), 0);
    assert_int_equal(seen.st_gid, 0);
    assert_int_equal(seen.st_mode & 07777, 0600);
}

int main(void) {
#define EACH(test) cmocka_unit_test_setup_teardown(test, begin, finish)
    const struct CMUnitTest tests[] = {
        EACH(names_are_made_moved_and_removed),
        EACH(long_directories_are_listed_whole),
        EACH(records_are_whole_or_not_there),
        EACH(links_are_not_followed),
        EACH(files_hold_what_is_written),
        EACH(what_another_call_overwrote_is_not_repeated),
        EACH(calls_outlive_the_server),
        EACH(a_server_that_is_gone_is_said_to_be),
        EACH(what_was_replaced_is_looked_up_again),
        EACH(wrong_exports_are_named),
        EACH(late_writers_are_refused),
        EACH(rights_are_groups),
    };
#undef EACH
    return cmocka_run_group_tests(tests, world_begin, world_end);
}
