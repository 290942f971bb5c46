/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_test.c: data calls that do not wait: many at once, cut in the middle of a reply, a server
 * that is killed and comes again, one that hangs and one that is gone for a while: all of them end,
 * once, with the right bytes.
 */
#include "world.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy.h"
#include "stream.h"

#define PIECES 64
#define PIECE_BYTES (128 * 1024)
#define DEADLINE_MS 40000

static struct nfs_fs fs;
static struct sluice_call call;
static struct proxy proxy;
static struct stream *stream;
static struct image_file *file;
static char *bytes;

static struct piece pieces[PIECES];
static _Atomic uint32_t ended;
static _Atomic uint32_t failed;
static _Atomic int last_code;

static void on_done(struct piece *piece, int code, uint64_t verifier) {
    (void)piece;
    (void)verifier;
    if (code != 0) {
        atomic_store(&last_code, code);
        atomic_fetch_add(&failed, 1);
    }
    atomic_fetch_add(&ended, 1);
}

static int begin(void **state) {
    (void)state;
    proxy_start(&proxy, server.port);
    if (world_open(&fs, &call, "/export", proxy.port, 0) != SLUICE_OK ||
        fs.base.ops->open(&fs.base, &call, "f", SHARE_OPEN_CREATE | SHARE_OPEN_WRITE, &file) !=
            SLUICE_OK) {
        fail_msg("%s", call.text);
    }
    stream = stream_open(&fs, 2, on_done);
    bytes = malloc((size_t)PIECES * PIECE_BYTES);
    return stream != NULL && bytes != NULL ? 0 : -1;
}

static int finish(void **state) {
    (void)state;
    stream_close(stream);
    file->ops->close(file);
    int32_t status = fs.base.ops->remove(&fs.base, &call, "f");
    nfs_fs_close(&fs);
    proxy_stop(&proxy);
    free(bytes);
    return status == SLUICE_OK ? 0 : -1;
}

static void submit(enum piece_kind kind, uint32_t count) {
    atomic_store(&ended, 0);
    atomic_store(&failed, 0);
    for (uint32_t i = 0; i < count; i++) {
        pieces[i] = (struct piece){
            .kind = kind,
            .file = (struct nfs_file *)file,
            .offset = (uint64_t)i * PIECE_BYTES,
            .length = PIECE_BYTES,
            .bytes = bytes + (size_t)i * PIECE_BYTES,
            .next = i + 1 < count ? &pieces[i + 1] : NULL,
        };
    }
    stream_submit(stream, pieces);
}

static void all_end(uint32_t count) {
    uint64_t until_ms = server_now_ms() + DEADLINE_MS;
    while (atomic_load(&ended) < count && server_now_ms() < until_ms) {
        usleep(1000);
    }
    assert_int_equal(atomic_load(&ended), count);
    if (atomic_load(&failed) != 0) {
        fail_msg("%u failed, the last with %d", atomic_load(&failed), atomic_load(&last_code));
    }
}

static void fill(int seed) {
    for (size_t i = 0; i < (size_t)PIECES * PIECE_BYTES; i++) {
        bytes[i] = (char)((size_t)seed + i * 7 + (i >> 12));
    }
}

static void holds(int seed) {
    memset(bytes, 0, (size_t)PIECES * PIECE_BYTES);
    submit(PIECE_READ, PIECES);
    all_end(PIECES);
    for (size_t i = 0; i < (size_t)PIECES * PIECE_BYTES; i++) {
        if (bytes[i] != (char)((size_t)seed + i * 7 + (i >> 12))) {
            fail_msg("byte %zu is wrong", i);
        }
    }
}

static void many_at_once(void **state) {
    (void)state;
    fill(1);
    submit(PIECE_WRITE, PIECES);
    all_end(PIECES);
    submit(PIECE_COMMIT, 1);
    all_end(1);
    holds(1);
}

static void what_lies_beyond_the_end_reads_as_zeroes(void **state) {
    (void)state;
    assert_int_equal(file->ops->write(file, 10, "x", 1), SLUICE_OK);
    memset(bytes, 'z', PIECE_BYTES);
    submit(PIECE_READ, 1);
    all_end(1);
    for (uint32_t i = 0; i < PIECE_BYTES; i++) {
        assert_int_equal(bytes[i], i == 10 ? 'x' : 0);
    }
}

/* At many places of the stream: in a header, in the payload, between replies. */
static void a_cut_in_the_middle_of_a_reply(void **state) {
    (void)state;
    fill(2);
    submit(PIECE_WRITE, PIECES);
    all_end(PIECES);
    for (int64_t after = 1; after < 2000000; after = after * 3 + 1) {
        uint32_t before = atomic_load(&proxy.cuts);
        proxy_spoil(&proxy, PROXY_CUT, after);
        holds(2);
        assert_int_equal(atomic_load(&proxy.cuts), before + 1);
    }
    for (int64_t after = 1; after < 5000; after = after * 3 + 1) {
        proxy_spoil(&proxy, PROXY_CUT, after);
        fill((int)after);
        submit(PIECE_WRITE, PIECES);
        all_end(PIECES);
        proxy_spoil(&proxy, PROXY_PASS, 0);
        holds((int)after);
    }
    assert_in_range(atomic_load(&proxy.connections), 1, 200);
}

static void a_server_that_is_killed(void **state) {
    (void)state;
    fill(3);
    submit(PIECE_WRITE, PIECES);
    nfs_server_kill(&server);
    nfs_server_restart(&server);
    all_end(PIECES);
    holds(3);
}

static void a_server_that_is_gone_for_a_while(void **state) {
    (void)state;
    uint32_t told = atomic_load(&events);
    nfs_server_kill(&server);
    fill(4);
    submit(PIECE_WRITE, PIECES);
    uint64_t until_ms = server_now_ms() + DEADLINE_MS;
    while (atomic_load(&events) == told && server_now_ms() < until_ms) {
        usleep(1000);
    }
    assert_int_equal(atomic_load(&events), told + 1);
    assert_int_equal(atomic_load(&last_event), SLUICE_HEALTH_DEGRADED);
    assert_int_equal(atomic_load(&ended), 0); /* they wait */
    nfs_server_restart(&server);
    all_end(PIECES);
    assert_int_equal(atomic_load(&events), told + 2);
    assert_int_equal(atomic_load(&last_event), SLUICE_HEALTH_OK);
    holds(4);
}

static void a_server_that_hangs(void **state) {
    (void)state;
    uint32_t told = atomic_load(&events);
    proxy_spoil(&proxy, PROXY_HANG, 0);
    fill(5);
    submit(PIECE_WRITE, PIECES);
    uint64_t until_ms = server_now_ms() + DEADLINE_MS;
    while (atomic_load(&events) == told && server_now_ms() < until_ms) {
        usleep(1000);
    }
    assert_int_equal(atomic_load(&events), told + 1);
    proxy_spoil(&proxy, PROXY_PASS, 0);
    all_end(PIECES);
    holds(5);
}

static void errors_are_what_the_server_says(void **state) {
    (void)state;
    const struct changes closed = {.mode = 0, .gid = NFS3_KEEP, .size = NFS3_KEEP_SIZE};
    struct ask ask = nfs_fs_ask(&fs);
    struct nfs_file *of_nobody = (struct nfs_file *)file;
    struct handle handle = file_handle(of_nobody);
    assert_int_equal(nfs3_set(&ask, &handle, &closed), 0);
    of_nobody->as = (struct identity){.uid = 4711, .gid = 4711};
    atomic_store(&ended, 0);
    submit(PIECE_WRITE, 1);
    while (atomic_load(&ended) == 0) {
        usleep(1000);
    }
    assert_int_equal(atomic_load(&last_code), NFS3ERR_ACCES);
}

int main(void) {
#define EACH(test) cmocka_unit_test_setup_teardown(test, begin, finish)
    const struct CMUnitTest tests[] = {
        EACH(many_at_once),
        EACH(what_lies_beyond_the_end_reads_as_zeroes),
        EACH(a_cut_in_the_middle_of_a_reply),
        EACH(a_server_that_is_killed),
        EACH(a_server_that_is_gone_for_a_while),
        EACH(a_server_that_hangs),
        EACH(errors_are_what_the_server_says),
    };
#undef EACH
    return cmocka_run_group_tests(tests, world_begin, world_end);
}
