/* SPDX-License-Identifier: Apache-2.0
 *
 * durable_test.c: what the posix driver has answered would survive a power cut.
 *
 * A process that is killed loses nothing that it wrote, so killing cannot show that something was
 * synced. Here the calls that write, name and sync are ours (the program's symbols come before the
 * C library's), and they keep what is dirty: files that were written and directories in which a
 * name was given or taken. Two things must hold:
 *
 *   when a record gets its name, no file is dirty: what it promises is there
 *   when a call is answered, nothing is dirty
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver_host.h"
#include "tree.h"

#define MIB (UINT64_C(1) << 20)
#define DIRTY_MAX 64 /* files and directories of one call */
#define OURS __attribute__((visibility("default")))

static struct host host;
static char directory[TREE_PATH];

/* ---- what is dirty ----------------------------------------------------------------------------
 */

struct dirty {
    dev_t device;
    ino_t inode;
    bool is_directory;
    char path[TREE_PATH];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct dirty dirty[DIRTY_MAX];
static size_t dirty_count;
static unsigned soiled, published;
static atomic_uint synced;
static char wrong[TREE_PATH + 128];

static void path_of(int fd, char ret[TREE_PATH]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, ret, TREE_PATH - 1);
    ret[length > 0 ? length : 0] = '\0';
}

static void soil(int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return;
    pthread_mutex_lock(&mutex);
    soiled++;
    size_t at = 0;
    while (at < dirty_count && (dirty[at].inode != st.st_ino || dirty[at].device != st.st_dev))
        at++;
    if (at == dirty_count && dirty_count < DIRTY_MAX) {
        dirty[dirty_count] = (struct dirty){st.st_dev, st.st_ino, S_ISDIR(st.st_mode), ""};
        path_of(fd, dirty[dirty_count++].path);
    }
    pthread_mutex_unlock(&mutex);
}

static void forget(const struct stat *st) {
    pthread_mutex_lock(&mutex);
    for (size_t at = 0; at < dirty_count; at++)
        if (dirty[at].inode == st->st_ino && dirty[at].device == st->st_dev)
            dirty[at--] = dirty[--dirty_count];
    pthread_mutex_unlock(&mutex);
}

static void clean(int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return;
    forget(&st);
    synced++;
}

static bool ends_in(const char *name, const char *end) {
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

static bool is_record(const char *name) {
    return ends_in(name, ".meta") || strcmp(name, "sluice.pool") == 0;
}

static void publishing(const char *name) {
    pthread_mutex_lock(&mutex);
    published++;
    for (size_t at = 0; at < dirty_count; at++)
        if (!dirty[at].is_directory && wrong[0] == '\0')
            snprintf(wrong, sizeof wrong, "%s got its name while %s was dirty", name,
                     dirty[at].path);
    pthread_mutex_unlock(&mutex);
}

/* ---- what the driver calls --------------------------------------------------------------------
 */

OURS int fsync(int fd) {
    int result = (int)syscall(SYS_fsync, fd);
    if (result == 0)
        clean(fd);
    return result;
}

OURS int fdatasync(int fd) {
    int result = (int)syscall(SYS_fdatasync, fd);
    if (result == 0)
        clean(fd);
    return result;
}

OURS ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    ssize_t result = syscall(SYS_pwrite64, fd, bytes, length, offset);
    soil(fd);
    return result;
}

OURS int ftruncate(int fd, off_t length) {
    int result = (int)syscall(SYS_ftruncate, fd, length);
    soil(fd);
    return result;
}

OURS ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset,
                             size_t length, unsigned flags) {
    ssize_t result = syscall(SYS_copy_file_range, in, in_offset, out, out_offset, length, flags);
    soil(out);
    return result;
}

OURS int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    if (is_record(new))
        publishing(new);
    int result = (int)syscall(SYS_renameat2, from, old, to, new, flags);
    if (result == 0) {
        soil(from);
        soil(to);
    }
    return result;
}

OURS int mkdirat(int parent, const char *name, mode_t mode) {
    int result = (int)syscall(SYS_mkdirat, parent, name, mode);
    if (result == 0)
        soil(parent);
    return result;
}

/* What is only swept away may come back; and nobody waits for the bytes of what is gone. */
OURS int unlinkat(int parent, const char *name, int flags) {
    struct stat st;
    bool known = fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    int result = (int)syscall(SYS_unlinkat, parent, name, flags);
    if (result == 0 && known)
        forget(&st);
    if (result == 0 && is_record(name))
        soil(parent);
    return result;
}

/* ---- the tests --------------------------------------------------------------------------------
 */

/* After a call: it wrote something, synced it, and nothing is dirty. */
static void answered(const char *what) {
    if (wrong[0] == '\0' && dirty_count > 0)
        snprintf(wrong, sizeof wrong, "%s is dirty after the answer", dirty[0].path);
    if (wrong[0] == '\0' && (soiled == 0 || synced == 0))
        snprintf(wrong, sizeof wrong, "%u changes and %u syncs were seen", soiled,
                 atomic_load(&synced));
    if (wrong[0] != '\0')
        fail_msg("%s: %s", what, wrong);
    soiled = 0;
    synced = 0;
}

static void nothing_is_dirty(void) {
    dirty_count = 0;
    soiled = published = 0;
    synced = 0;
    wrong[0] = '\0';
}

static int make(void **state) {
    (void)state;
    tree_make(directory);
    host_start(&host, DRIVER);
    nothing_is_dirty();
    return 0;
}

static int drop(void **state) {
    (void)state;
    host_stop(&host);
    tree_remove(directory);
    return 0;
}

static struct host_pool open_pool(void) {
    const struct host_property bag[] = {{"path", directory, 0}, {NULL, NULL, 0}};
    const struct sluice_uuid id = host_id(1);
    struct host_pool pool;
    assert_int_equal(host_open(&pool, &host, &id, SLUICE_POOL_CLAIM, bag), SLUICE_OK);
    answered("claiming the pool");
    return pool;
}

static void write_block(struct host_pool *pool, const struct sluice_uuid *volume) {
    static uint64_t epoch;
    static char block[65536] = "bytes";
    struct host_data data;
    assert_int_equal(host_data_open(&data, pool, volume, NULL, ++epoch, false), SLUICE_OK);
    assert_int_equal(host_write(&data, 0, block, sizeof block, 0), SLUICE_OK);
    assert_int_equal(host_flush(&data), SLUICE_OK);
    answered("a write and a flush");
    host_data_close(&data);
}

static void records_wait_for_what_they_promise(void **state) {
    (void)state;
    struct host_pool pool = open_pool();
    const struct sluice_uuid volume = host_id(10), snapshot = host_id(11), clone = host_id(12),
                             copy = host_id(13), operation = host_id(14);
    struct sluice_volume told;
    struct sluice_snapshot taken;
    int32_t status;
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    answered("create");
    write_block(&pool, &volume);
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_OK);
    answered("snapshot");
    assert_int_equal(host_clone(&pool, &clone, "c", MIB, &volume, &snapshot, &told), SLUICE_OK);
    answered("clone");
    assert_int_equal(host_copy(&pool, &copy, "d", 2 * MIB, &volume, &told), SLUICE_OK);
    answered("copy");
    assert_int_equal(host_revert(&pool, &volume, &snapshot, &operation, &told), SLUICE_OK);
    answered("revert");
    HOST_ASK(&pool, status,
             pool.table->volume_resize(pool.pool, &pool.call, &volume, 2 * MIB, &told));
    assert_int_equal(status, SLUICE_OK);
    answered("growing");
    HOST_ASK(&pool, status, pool.table->volume_resize(pool.pool, &pool.call, &volume, MIB, &told));
    assert_int_equal(status, SLUICE_OK);
    answered("shrinking");
    assert_true(published >= 6);
    host_close(&pool);
}

static void what_is_gone_stays_gone(void **state) {
    (void)state;
    struct host_pool pool = open_pool();
    const struct sluice_uuid volume = host_id(10), snapshot = host_id(11), adopted = host_id(12);
    struct sluice_volume told = {.size = sizeof told};
    struct sluice_snapshot taken;
    char reference[SLUICE_PATH_MAX];
    assert_int_equal(host_create(&pool, &volume, "v", MIB, &told), SLUICE_OK);
    assert_int_equal(host_snapshot(&pool, &volume, &snapshot, "s", &taken), SLUICE_OK);
    answered("create and snapshot");
    assert_int_equal(pool.table->volume_delete(pool.pool, HOST_CALL(&pool), &volume), SLUICE_OK);
    answered("delete");
    assert_int_equal(pool.table->snapshot_delete(pool.pool, HOST_CALL(&pool), &volume, &snapshot),
                     SLUICE_OK);
    answered("delete of the snapshot");
    assert_int_equal(host_create(&pool, &adopted, "a", MIB, &told), SLUICE_OK);
    answered("create");
    assert_int_equal(pool.table->volume_unmanage(pool.pool, HOST_CALL(&pool), &adopted, reference),
                     SLUICE_OK);
    answered("unmanage");
    assert_int_equal(
        pool.table->volume_adopt(pool.pool, HOST_CALL(&pool), &adopted, reference, "a", &told),
        SLUICE_OK);
    answered("adopt");
    assert_int_equal(pool.table->pool_release(pool.pool, HOST_CALL(&pool)), SLUICE_OK);
    answered("release");
    host_close(&pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_wait_for_what_they_promise, make, drop),
        cmocka_unit_test_setup_teardown(what_is_gone_stays_gone, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
