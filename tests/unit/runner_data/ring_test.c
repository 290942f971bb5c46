/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_test.c: a runner's data calls from outside: what was written is read, through ram (turns on
 * the loop) and posix (turns on a thread of their own); lies, second rings, death and successors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <ftw.h>

#include "ring_client.h"
#include <sluice/driver.h>

#define SIZE (UINT64_C(4) << 20)
#define VOLUME 0x11
#define STEPS 2000
#define DEPTH 64

static struct ring_client client;
static struct wire_data_opened opened;
static char folder[64];
static char path[80]; /* rw:folder */
static uint8_t model[SIZE];
static uint8_t bytes[RING_CALL_MAX];

static const char *build(void) {
    const char *at = getenv("SLUICE_BUILD");
    if (at == NULL)
        fail_msg("SLUICE_BUILD is not set");
    return at;
}

static void start(const char *driver) {
    char value[80];
    ring_client_start(&client, build(), driver, path);
    snprintf(value, sizeof value, "s:%s", folder);
    ring_client_pool(&client, strcmp(driver, "ram") == 0 ? "backing" : "path", value);
    assert_int_equal(ring_client_create(&client, VOLUME, SIZE), SLUICE_OK);
    ring_client_attach(&client);
}

static void open_epoch(uint64_t epoch) {
    assert_int_equal(ring_client_open(&client, VOLUME, epoch, &opened), SLUICE_OK);
    assert_int_equal(opened.size_bytes, SIZE);
}

static int setup(void **state) {
    (void)state;
    char absolute[64];
    snprintf(absolute, sizeof absolute, "/tmp/sluice-ring-XXXXXX");
    assert_non_null(mkdtemp(absolute));
    memcpy(folder, absolute, sizeof folder);
    snprintf(path, sizeof path, "rw:%s", folder);
    memset(model, 0, sizeof model);
    return 0;
}

static int remove_one(const char *at, const struct stat *stat, int type, struct FTW *ftw) {
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(at);
}

static int teardown(void **state) {
    (void)state;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int32_t io(uint16_t verb, uint16_t flags, uint64_t offset, uint64_t length) {
    return ring_client_io(&client, verb, flags, opened.handle, offset, bytes, length).status;
}

static void random_bytes(uint64_t length) {
    for (uint64_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)random();
}

/* The extents cover what was asked from its start, and what they call zero is zero. */
static void check_extents(uint64_t offset, uint64_t length) {
    struct ring_extent extents[RING_EXTENTS_MAX];
    struct ring_completion completion =
        ring_client_io(&client, RING_EXTENTS, 0, opened.handle, offset, extents, length);
    assert_int_equal(completion.status, SLUICE_OK);
    assert_in_range(completion.count, 1, RING_EXTENTS_MAX);
    for (uint32_t i = 0; i < completion.count; i++) {
        assert_in_range(extents[i].length, 1, length);
        if ((extents[i].flags & SLUICE_EXTENT_ZERO) != 0)
            for (uint64_t k = 0; k < extents[i].length; k++)
                assert_int_equal(model[offset + k], 0);
        offset += extents[i].length;
        length -= extents[i].length;
    }
}

static void step(void) {
    uint64_t length = 1 + (uint64_t)random() % (random() % 8 == 0 ? RING_CALL_MAX : 16384);
    uint64_t offset = (uint64_t)random() % (SIZE - length);
    uint16_t fua = random() % 8 == 0 ? SLUICE_IO_FUA : 0;
    switch (random() % 8) {
    case 0:
    case 1:
    case 2:
        random_bytes(length);
        assert_int_equal(io(RING_WRITE, fua, offset, length), SLUICE_OK);
        memcpy(model + offset, bytes, length);
        break;
    case 3:
        assert_int_equal(io(RING_WRITE_ZEROES, fua, offset, length), SLUICE_OK);
        memset(model + offset, 0, length);
        break;
    case 4:
        assert_int_equal(io(RING_FLUSH, 0, 0, 0), SLUICE_OK);
        break;
    case 5:
        check_extents(offset, length);
        break;
    default:
        assert_int_equal(io(RING_READ, 0, offset, length), SLUICE_OK);
        assert_memory_equal(bytes, model + offset, length);
    }
}

static void compare_all(void) {
    for (uint64_t at = 0; at < SIZE; at += RING_CALL_MAX) {
        assert_int_equal(io(RING_READ, 0, at, RING_CALL_MAX), SLUICE_OK);
        assert_memory_equal(bytes, model + at, RING_CALL_MAX);
    }
}

static void reads_what_was_written(void **state) {
    start(*state);
    open_epoch(1);
    for (int i = 0; i < STEPS; i++)
        step();
    compare_all();
    assert_int_equal(ring_client_ping(&client).running, 0);
    assert_int_equal(ring_client_stop(&client), 0);
}

/* Writes of one block each, DEPTH at a time; every tag comes back once. */
static void many_at_once(void **state) {
    start(*state);
    open_epoch(1);
    bool under_way[DEPTH] = {false};
    uint32_t begun = 0;
    for (uint32_t ended = 0; ended < 20 * DEPTH; ended++) {
        while (begun < 20 * DEPTH && begun - ended < DEPTH) {
            uint32_t slot = 0;
            while (under_way[slot])
                slot++;
            under_way[slot] = true;
            memset(ring_payload(&client.ring, slot, RING_PAGE), (int)(begun % 251), RING_PAGE);
            memset(model + (uint64_t)slot * RING_PAGE, (int)(begun % 251), RING_PAGE);
            ring_client_submit(&client, &(struct ring_submission){
                                            .tag = slot,
                                            .verb = RING_WRITE,
                                            .handle = opened.handle,
                                            .flags = begun % 16 == 0 ? SLUICE_IO_FUA : 0,
                                            .offset = (uint64_t)slot * RING_PAGE,
                                            .length = RING_PAGE,
                                            .page = slot,
                                        });
            begun++;
        }
        struct ring_completion completion = ring_client_wait(&client);
        assert_in_range(completion.tag, 0, DEPTH - 1);
        assert_true(under_way[completion.tag]);
        assert_int_equal(completion.status, SLUICE_OK);
        under_way[completion.tag] = false;
    }
    compare_all();
    assert_int_equal(ring_client_stop(&client), 0);
}

static int32_t raw(struct ring_submission submission) {
    submission.tag = 99;
    ring_client_submit(&client, &submission);
    struct ring_completion completion = ring_client_wait(&client);
    assert_int_equal(completion.tag, 99);
    return completion.status;
}

static void what_makes_no_sense_is_refused(void **state) {
    start(*state);
    open_epoch(1);
    const struct ring_submission good = {
        .verb = RING_READ, .handle = opened.handle, .length = RING_PAGE};
    struct ring_submission bad = good;
    assert_int_equal(raw(good), SLUICE_OK);
    bad.verb = 0;
    assert_int_equal(raw(bad), SLUICE_INVALID);
    bad.verb = 77;
    assert_int_equal(raw(bad), SLUICE_INVALID);
    bad = good;
    bad.flags = 0x8000;
    assert_int_equal(raw(bad), SLUICE_INVALID);
    bad = good;
    bad.page = RING_PAGES;
    assert_int_equal(raw(bad), SLUICE_INVALID);
    bad.page = RING_PAGES - 1;
    bad.length = RING_PAGE + 1;
    assert_int_equal(raw(bad), SLUICE_INVALID);
    bad = good;
    bad.length = RING_CALL_MAX + 1;
    assert_int_equal(raw(bad), SLUICE_INVALID);
    bad = good;
    bad.offset = SIZE;
    assert_int_equal(raw(bad), SLUICE_INVALID);
    bad.offset = UINT64_MAX;
    assert_int_equal(raw(bad), SLUICE_INVALID);
    bad = good;
    bad.handle = opened.handle + 1;
    assert_int_equal(raw(bad), SLUICE_NOT_FOUND);
    bad.handle = UINT32_MAX;
    assert_int_equal(raw(bad), SLUICE_NOT_FOUND);
    bad = good;
    bad.length = 0;
    assert_int_equal(raw(bad), SLUICE_OK);
    struct wire_data_close close = {.handle = opened.handle};
    assert_int_equal(ring_client_call(&client, WIRE_DATA_CLOSE, &close, NULL), SLUICE_OK);
    assert_int_equal(raw(good), SLUICE_NOT_FOUND);
    assert_int_equal(ring_client_call(&client, WIRE_DATA_CLOSE, &close, NULL), SLUICE_OK);
    assert_int_equal(ring_client_stop(&client), 0);
}

/* All of the shared memory at random, again and again: the runner goes on answering. */
static void a_scribbled_ring_harms_nobody(void **state) {
    start(*state);
    open_epoch(1);
    for (int round = 0; round < 20; round++) {
        uint32_t *word = (void *)client.ring.shared;
        size_t words = offsetof(struct ring_shared, pages) / sizeof *word;
        for (size_t i = 0; i < words; i++)
            word[i] = (uint32_t)random();
        uint64_t one = 1;
        assert_int_equal(write(client.ring.to_runner, &one, sizeof one), sizeof one);
        ring_client_ping(&client);
        ring_client_attach(&client);
    }
    ring_client_attach(&client);
    random_bytes(RING_PAGE);
    memcpy(model, bytes, RING_PAGE);
    assert_int_equal(io(RING_WRITE, 0, 0, RING_PAGE), SLUICE_OK);
    assert_int_equal(io(RING_READ, 0, 0, RING_PAGE), SLUICE_OK);
    assert_memory_equal(bytes, model, RING_PAGE);
    assert_int_equal(ring_client_stop(&client), 0);
}

static void a_second_ring_takes_over(void **state) {
    start(*state);
    open_epoch(1);
    uint32_t handle = opened.handle;
    random_bytes(RING_PAGE);
    memcpy(model, bytes, RING_PAGE);
    assert_int_equal(io(RING_WRITE, 0, 0, RING_PAGE), SLUICE_OK);
    for (uint32_t i = 0; i < DEPTH; i++) /* nobody will take their completions */
        ring_client_submit(
            &client,
            &(struct ring_submission){
                .tag = i, .verb = RING_READ, .handle = handle, .length = RING_PAGE, .page = i});
    ring_client_attach(&client);
    /* The same open again: the same handle; a newer epoch: another one, and the old one is gone. */
    open_epoch(1);
    assert_int_equal(opened.handle, handle);
    compare_all();
    open_epoch(2);
    assert_int_not_equal(opened.handle, handle);
    assert_int_equal(
        raw((struct ring_submission){.verb = RING_READ, .handle = handle, .length = RING_PAGE}),
        SLUICE_NOT_FOUND);
    compare_all();
    struct wire_data_opened none;
    assert_int_equal(ring_client_open(&client, VOLUME, 1, &none), SLUICE_STALE);
    assert_int_equal(ring_client_stop(&client), 0);
}

/* What was flushed is there for the successor; what was not, is there exactly when the token of
 * its acknowledgement is still valid. */
static void a_successor_serves_what_was_promised(void **state) {
    start(*state);
    open_epoch(1);
    random_bytes(RING_PAGE);
    memcpy(model, bytes, RING_PAGE);
    assert_int_equal(io(RING_WRITE, 0, 0, RING_PAGE), SLUICE_OK);
    struct ring_completion flush =
        ring_client_io(&client, RING_FLUSH, 0, opened.handle, 0, NULL, 0);
    assert_int_equal(flush.status, SLUICE_OK);
    assert_int_equal(flush.token, opened.token);
    memset(bytes, 0x5a, RING_PAGE);
    struct ring_completion unflushed =
        ring_client_io(&client, RING_WRITE, 0, opened.handle, RING_PAGE, bytes, RING_PAGE);
    assert_int_equal(unflushed.status, SLUICE_OK);
    assert_int_equal(unflushed.token, opened.token);
    ring_client_kill(&client);

    start(*state);
    open_epoch(UINT64_C(1) << 32);
    if (opened.token == unflushed.token)
        memset(model + RING_PAGE, 0x5a, RING_PAGE);
    else
        assert_string_equal(*state, "ram");
    compare_all();
    assert_int_equal(ring_client_stop(&client), 0);
}

static void descriptors_come_with_a_ring_alone(void **state) {
    start(*state);
    int fds[4] = {0, 1, 2, 0};
    struct wire_ring_attach attach = {.generation = 5};
    ring_client_send(&client, WIRE_RING_ATTACH, &attach, fds, 2);
    int status;
    assert_int_equal(waitpid(client.child, &status, 0), client.child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 66);
}

#define WITH(test, driver) \
    { #test " (" driver ")", test, setup, teardown, (void *)(uintptr_t)driver }

int main(void) {
    srandom(7);
    const struct CMUnitTest tests[] = {
        WITH(reads_what_was_written, "ram"),
        WITH(reads_what_was_written, "posix"),
        WITH(many_at_once, "ram"),
        WITH(many_at_once, "posix"),
        WITH(what_makes_no_sense_is_refused, "ram"),
        WITH(what_makes_no_sense_is_refused, "posix"),
        WITH(a_scribbled_ring_harms_nobody, "ram"),
        WITH(a_scribbled_ring_harms_nobody, "posix"),
        WITH(a_second_ring_takes_over, "ram"),
        WITH(a_second_ring_takes_over, "posix"),
        WITH(a_successor_serves_what_was_promised, "ram"),
        WITH(a_successor_serves_what_was_promised, "posix"),
        WITH(descriptors_come_with_a_ring_alone, "ram"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
