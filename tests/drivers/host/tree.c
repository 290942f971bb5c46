/* SPDX-License-Identifier: Apache-2.0
 *
 * tree.c: see tree.h.
 */
#include "tree.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define NAMES_MAX 1024
#define DESCRIPTORS 16

void tree_make_in(const char *parent, char *ret_path) {
    int length = snprintf(ret_path, TREE_PATH, "%s/sluice-test.XXXXXX", parent);
    assert_in_range(length, 1, TREE_PATH - 1);
    assert_non_null(mkdtemp(ret_path));
}

void tree_make(char *ret_path) {
    const char *parent = getenv("SLUICE_TEST_DIR");
    tree_make_in(parent != NULL ? parent : SLUICE_TEST_DEFAULT_DIR, ret_path);
}

static int remove_one(const char *path, const struct stat *seen, int kind, struct FTW *where) {
    (void)seen;
    (void)kind;
    (void)where;
    return remove(path);
}

void tree_remove(const char *path) {
    assert_int_equal(nftw(path, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT), 0);
}

/* nftw hands over no argument, so one list is made at a time. */
static struct {
    size_t skip;
    size_t count;
    char *names[NAMES_MAX];
} listed;

static int list_one(const char *path, const struct stat *seen, int kind, struct FTW *where) {
    (void)seen;
    if (where->level > 0) {
        const char *slash = kind == FTW_D ? "/" : "";
        assert_true(listed.count < NAMES_MAX);
        assert_true(asprintf(&listed.names[listed.count++], "%s%s\n", path + listed.skip, slash) >
                    0);
    }
    return 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void tree_list(const char *path, char *ret_text) {
    size_t length = 0;
    listed.skip = strlen(path) + 1;
    listed.count = 0;
    assert_int_equal(nftw(path, list_one, DESCRIPTORS, FTW_PHYS), 0);
    qsort(listed.names, listed.count, sizeof(char *), by_name);
    ret_text[0] = '\0';
    for (size_t i = 0; i < listed.count; i++) {
        size_t more = strlen(listed.names[i]);
        assert_true(length + more < TREE_LIST);
        memcpy(ret_text + length, listed.names[i], more + 1);
        length += more;
        free(listed.names[i]);
    }
}

void tree_write(const char *directory, const char *name, const void *bytes, size_t length) {
    char path[2 * TREE_PATH];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), (ssize_t)length);
    assert_int_equal(close(fd), 0);
}

bool tree_exists(const char *directory, const char *name) {
    char path[2 * TREE_PATH];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return access(path, F_OK) == 0;
}

struct rng rng_of_environment(void) {
    const char *given = getenv("SLUICE_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)now.tv_nsec;
    print_message("seed %llu (SLUICE_SEED repeats this run)\n", (unsigned long long)seed);
    return rng_of_seed(seed);
}
