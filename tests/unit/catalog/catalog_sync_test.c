/* SPDX-License-Identifier: Apache-2.0
 *
 * catalog_sync_test.c: what the catalogue has called committed would survive a power cut.
 *
 * The store's calls that write and sync are ours (the program's symbols come before the C
 * library's): a descriptor that was written is dirty until it is synced, unless it was opened to be
 * synced with each write. Nothing may be dirty when a transaction's outcome is told.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "fixture.h"

#define OURS __attribute__((visibility("default")))
#define COMMITS 50

/* The writer's thread writes, ours looks: between an outcome and the next submission it is idle. */
static atomic_uint dirty, writes, syncs;

static void wrote(int fd) {
    int flags = fcntl(fd, F_GETFL);
    writes++;
    if ((flags & O_DSYNC) == 0)
        dirty++;
}

static void synced(void) {
    syncs++;
    dirty = 0;
}

OURS int fdatasync(int fd) {
    int result = (int)syscall(SYS_fdatasync, fd);
    if (result == 0)
        synced();
    return result;
}

OURS int fsync(int fd) {
    int result = (int)syscall(SYS_fsync, fd);
    if (result == 0)
        synced();
    return result;
}

OURS ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    ssize_t result = syscall(SYS_pwrite64, fd, bytes, length, offset);
    wrote(fd);
    return result;
}

OURS ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    return pwrite(fd, bytes, length, offset);
}

OURS ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    ssize_t result = syscall(SYS_pwritev, fd, parts, (long)count, offset, 0L);
    wrote(fd);
    return result;
}

OURS ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    return pwritev(fd, parts, count, offset);
}

static void on_told(void *arg, uint64_t revision, const struct err *err) {
    (void)revision;
    unsigned *told = arg;
    assert_int_equal(err->code, ERR_NONE);
    assert_int_equal(dirty, 0);
    assert_true(writes > 0);
    assert_true(syncs > 0);
    ++*told;
}

static void is_synced_before_it_is_told(void **state) {
    struct fixture *fixture = *state;
    unsigned told = 0;
    for (unsigned i = 0; i < COMMITS; i++) {
        struct catalog_txn *txn = catalog_begin(fixture->catalog);
        catalog_put(txn, "key", 3, &i, sizeof i);
        dirty = writes = syncs = 0;
        catalog_submit(txn, on_told, &told);
        uv_run(&fixture->loop, UV_RUN_DEFAULT);
        assert_int_equal(told, i + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(is_synced_before_it_is_told, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
