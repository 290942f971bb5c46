/* SPDX-License-Identifier: Apache-2.0
 *
 * The real loop with clients on sockets and a runner on the ring: what is written is read, errors
 * are told, and bad clients, bad requests and bad runners harm nobody else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "data/export.h"
#include "play.h"
#include <sluice/types.h>

#define SIZE (UINT64_C(64) << 20)
#define BIG (32u << 20)

static const struct data_export plain = {.name = "disk",
                                         .io_max = RING_CALL_MAX,
                                         .io_align = 1,
                                         .trims = true,
                                         .zeroes_fast = true,
                                         .extents = true,
                                         .token_constant = true};

static void begin(struct play *play, const struct data_export *wanted) {
    play_start(play, SIZE, wanted != NULL && !wanted->token_constant);
    struct data_export mine = wanted != NULL ? *wanted : plain;
    mine.uid = getuid();
    play_export(play, &mine);
    play_run(play, NULL);
}

static uint8_t *pattern(uint32_t length, uint32_t seed) {
    uint8_t *bytes = malloc(length);
    assert_non_null(bytes);
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 4096 * 7 + seed);
    return bytes;
}

static void check_range(struct play_client *client, uint64_t offset, uint32_t length) {
    uint8_t *out = pattern(length, (uint32_t)offset);
    uint8_t *in = calloc(1, length);
    assert_int_equal(client_do(client, NBD_WRITE, 0, offset, length, out), 0);
    assert_int_equal(client_do(client, NBD_READ, 0, offset, length, in), 0);
    assert_memory_equal(in, out, length);
    free(in);
    free(out);
}

static void test_ranges(void **state) {
    (void)state;
    struct play play;
    /* Small calls that are no multiple of a page, too. */
    struct data_export small = plain;
    small.io_max = 70000;
    const struct data_export *exports[] = {&plain, &small};
    for (int i = 0; i < 4; i++) {
        begin(&play, exports[i % 2]);
        struct play_client client;
        client_connect(&play, &client, i < 2);
        assert_int_equal(client.size_bytes, SIZE);
        static const uint32_t lengths[] = {1, 511, 4096, 4097, 32768, 100000, (1 << 20) + 3, BIG};
        for (size_t at = 0; at < sizeof lengths / sizeof lengths[0]; at++)
            check_range(&client, 12345 * at, lengths[at]);
        uint8_t block[8192];
        memset(block, 1, sizeof block);
        assert_int_equal(client_do(&client, NBD_WRITE_ZEROES, NBD_FAST_ZERO, 4096, 4096, NULL), 0);
        assert_int_equal(client_do(&client, NBD_TRIM, 0, 8192, 4096, NULL), 0);
        assert_int_equal(client_do(&client, NBD_READ, 0, 4096, 8192, block), 0);
        for (size_t at = 0; at < sizeof block; at++)
            assert_int_equal(block[at], 0);
        assert_int_equal(client_do(&client, NBD_FLUSH, 0, 0, 0, NULL), 0);
        client_close(&client);
        play_stop(&play);
    }
}

static void test_refusals(void **state) {
    (void)state;
    struct play play;
    struct data_export strict = plain;
    strict.io_align = 512;
    strict.trims = false;
    begin(&play, &strict);
    struct play_client client;
    client_connect(&play, &client, true);
    assert_int_equal(client.block_min, 512);
    uint8_t *bytes = calloc(1, BIG + 4096);
    assert_int_equal(client_do(&client, NBD_WRITE, 0, 1, 512, bytes), NBD_EINVAL);
    assert_int_equal(client_do(&client, NBD_WRITE, 0, 0, BIG + 512, bytes), NBD_EINVAL);
    assert_int_equal(client_do(&client, NBD_WRITE, 0, SIZE - 512, 1024, bytes), NBD_ENOSPC);
    assert_int_equal(client_do(&client, NBD_READ, 0, SIZE, 512, bytes), NBD_EINVAL);
    assert_int_equal(client_do(&client, NBD_TRIM, 0, 0, 512, NULL), NBD_EINVAL);
    assert_int_equal(client_do(&client, 77, 0xffff, 0, 512, NULL), NBD_EINVAL);
    check_range(&client, 512, 1024); /* the framing was never lost */
    assert_int_equal(client_do(&client, NBD_READ, NBD_DF, 512, 65536, bytes), 0);
    client_ask(&client, NBD_DISC, 0, 1, 0, 0, NULL);
    assert_int_equal(recv(client.fd, bytes, 1, 0), 0);
    client_close(&client);
    free(bytes);
    play_unexport(&play);
    struct data_export reader = plain;
    reader.read_only = true;
    reader.uid = getuid();
    play_export(&play, &reader);
    play_open(&play, NULL);
    client_connect(&play, &client, false);
    assert_true((client.flags & NBD_READ_ONLY) != 0);
    uint8_t block[512];
    assert_int_equal(client_do(&client, NBD_WRITE, 0, 0, 512, block), NBD_EPERM);
    assert_int_equal(client_do(&client, NBD_READ, 0, 512, 512, block), 0);
    client_close(&client);
    play_stop(&play);
}

static void test_block_status(void **state) {
    (void)state;
    struct play play;
    begin(&play, NULL);
    struct play_client client;
    client_connect(&play, &client, true);
    check_range(&client, 8192, 4096);
    uint8_t told[4096] = {0};
    assert_int_equal(client_do(&client, NBD_BLOCK_STATUS, 0, 0, 65536, told), 0);
    static const uint32_t expected[] = {NBD_META_ALLOCATION, 8192, 3, 4096, 0, 65536 - 12288, 3};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_int_equal(nbd_load_32(told + 4 * i), expected[i]);
    memset(told, 0, sizeof told);
    assert_int_equal(client_do(&client, NBD_BLOCK_STATUS, NBD_REQ_ONE, 0, 65536, told), 0);
    assert_int_equal(nbd_load_32(told + 4), 8192);
    assert_int_equal(nbd_load_32(told + 12), 0);
    client_close(&client);
    play_stop(&play);
}

static void test_errors(void **state) {
    (void)state;
    struct play play;
    begin(&play, NULL);
    struct play_client client;
    uint8_t *bytes = calloc(1, 4 << 20);
    for (int structured = 0; structured < 2; structured++) {
        play_open(&play, &(struct play_script){.die_at = UINT64_MAX,
                                               .fail_at = 2 << 20,
                                               .fail_status = SLUICE_NO_SPACE});
        client_connect(&play, &client, structured);
        assert_int_equal(client_do(&client, NBD_WRITE, 0, 2 << 20, 4096, bytes), NBD_ENOSPC);
        assert_int_equal(client_do(&client, NBD_READ, 0, 2 << 20, 4096, bytes), NBD_ENOSPC);
        assert_int_equal(client_do(&client, NBD_WRITE, 0, 0, 4 << 20, bytes), NBD_ENOSPC);
        assert_int_equal(client_do(&client, NBD_READ, 0, 0, 4096, bytes), 0);
        if (structured)
            assert_int_equal(client_do(&client, NBD_READ, 0, 0, 4 << 20, bytes), NBD_ENOSPC);
        client_close(&client);
    }
    /* What a simple reply has begun cannot be taken back: the connection ends. */
    client_connect(&play, &client, false);
    client_ask(&client, NBD_READ, 0, 1, 0, 4 << 20, NULL);
    assert_false(play_read_all(client.fd, bytes, 4 << 20));
    client_close(&client);
    free(bytes);
    play_stop(&play);
}

/* A request that ends every runner is answered once with EIO; its neighbours live. */
static void test_poison(void **state) {
    (void)state;
    struct play play;
    begin(&play, NULL);
    struct play_client client;
    client_connect(&play, &client, true);
    play_kill(&play);
    uint8_t *block = pattern(4096, 3);
    for (uint32_t i = 0; i < 40; i++)
        client_ask(&client, NBD_WRITE, 0, i, i * 4096, 4096, block);
    struct play_script deadly = {.die_at = 17 * 4096, .fail_at = UINT64_MAX};
    for (int i = 0; i < 3; i++) {
        play_run(&play, &deadly);
        struct pollfd dead = {.fd = play.dead_fd, .events = POLLIN};
        assert_int_equal(poll(&dead, 1, 10000), 1);
        play_kill(&play);
    }
    play_run(&play, &deadly);
    for (uint32_t i = 0; i < 40; i++) {
        uint8_t reply[NBD_SIMPLE_SIZE];
        assert_true(play_read_all(client.fd, reply, sizeof reply));
        uint64_t cookie = nbd_load_64(reply + 8);
        assert_int_equal(nbd_load_32(reply + 4), cookie == 17 ? NBD_EIO : 0);
    }
    check_range(&client, 18 * 4096, 4096);
    free(block);
    client_close(&client);
    play_stop(&play);
}

/* The backend restarts by itself and loses: nothing acknowledged is missing afterwards. */
static void test_token_changes(void **state) {
    (void)state;
    struct play play;
    struct data_export losing = plain;
    losing.token_constant = false;
    begin(&play, &losing);
    play_open(&play,
              &(struct play_script){
                  .seed = 5, .die_at = UINT64_MAX, .fail_at = UINT64_MAX, .token_every = 131});
    struct play_client client;
    client_connect(&play, &client, true);
    uint8_t block[4096];
    for (uint32_t i = 0; i < 300; i++) {
        memset(block, (int)(i * 7 + 1), sizeof block);
        assert_int_equal(client_do(&client, NBD_WRITE, 0, i % 200 * 4096, 4096, block), 0);
        if (i % 50 == 49)
            assert_int_equal(client_do(&client, NBD_FLUSH, 0, 0, 0, NULL), 0);
    }
    assert_int_equal(client_do(&client, NBD_FLUSH, 0, 0, 0, NULL), 0);
    play_kill(&play);
    play_run(&play, NULL);
    for (uint32_t i = 100; i < 300; i++) {
        assert_int_equal(client_do(&client, NBD_READ, 0, i % 200 * 4096, 4096, block), 0);
        assert_int_equal(block[0], (uint8_t)(i * 7 + 1));
        assert_int_equal(block[4095], (uint8_t)(i * 7 + 1));
    }
    play_ping(&play);
    assert_true(play.pong_replayed > 0);
    client_close(&client);
    play_stop(&play);
}

/* More than may be kept: the loop flushes by itself. */
static void test_bound_of_kept(void **state) {
    (void)state;
    struct play play;
    struct data_export losing = plain;
    losing.token_constant = false;
    begin(&play, &losing);
    struct play_client client;
    client_connect(&play, &client, true);
    uint8_t *bytes = pattern(1 << 20, 9);
    for (uint32_t i = 0; i < 200; i++)
        assert_int_equal(client_do(&client, NBD_WRITE, 0, i % 60 << 20, 1 << 20, bytes), 0);
    for (uint32_t i = 0; i < 5000; i++)
        assert_int_equal(client_do(&client, NBD_WRITE, 0, i * 4096, 512, bytes), 0);
    play_kill(&play);
    play_run(&play, NULL);
    for (uint32_t i = 0; i < 5000; i++) {
        uint8_t block[512];
        assert_int_equal(client_do(&client, NBD_READ, 0, i * 4096, 512, block), 0);
        assert_memory_equal(block, bytes, 512);
    }
    free(bytes);
    client_close(&client);
    play_unexport(&play); /* settles what is kept */
    play_stop(&play);
}

static void test_hostile_runner(void **state) {
    (void)state;
    struct play play;
    begin(&play, NULL);
    struct play_client client;
    client_connect(&play, &client, true);
    check_range(&client, 0, 4096);
    play_open(&play,
              &(struct play_script){.die_at = UINT64_MAX, .fail_at = UINT64_MAX, .hostile = true});
    uint8_t *block = pattern(4096, 8);
    client_ask(&client, NBD_WRITE, 0, 4711, 4096, 4096, block);
    for (int i = 0; !play.heard_broken && i < 1000; i++) {
        play_ping(&play);
        usleep(1000);
    }
    assert_true(play.heard_broken);
    play_kill(&play);
    play_run(&play, NULL);
    uint8_t reply[NBD_SIMPLE_SIZE];
    assert_true(play_read_all(client.fd, reply, sizeof reply));
    assert_int_equal(nbd_load_32(reply + 4), 0);
    check_range(&client, 4096, 4096);
    free(block);
    client_close(&client);
    play_stop(&play);
}

/* One that never reads, a thousand that say nothing, and garbage: another one is served. */
static void test_bad_clients(void **state) {
    (void)state;
    struct play play;
    begin(&play, NULL);
    struct play_client greedy, good;
    client_connect(&play, &greedy, true);
    client_connect(&play, &good, true);
    uint8_t header[NBD_REQUEST_SIZE] = {0};
    nbd_store_32(header, NBD_REQUEST_MAGIC);
    nbd_store_32(header + 24, 1 << 20);
    size_t sent = 0;
    while (send(greedy.fd, header, sizeof header, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        sent++;
    assert_true(sent > 256); /* the socket's buffer took them; the server does not */
    static int idle[1000];
    for (int i = 0; i < 1000; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, play.path, strlen(play.path) + 1);
        idle[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(connect(idle[i], (struct sockaddr *)&address, sizeof address), 0);
        if (i % 4 == 0)
            send(idle[i], "\0\0\0\3IHAVEOPTgarbage and more than that", 38, MSG_NOSIGNAL);
    }
    uint64_t begun_ms = clock_mono_ms();
    for (uint32_t i = 0; i < 100; i++)
        check_range(&good, i << 18, 1 << 18);
    assert_true(clock_mono_ms() - begun_ms < 15000);
    play_ping(&play);
    assert_in_range(play.pong_connections, 700, 1002);
    for (int i = 0; i < 1000; i++)
        close(idle[i]);
    client_close(&greedy);
    check_range(&good, 5, 1 << 20);
    client_close(&good);
    play_stop(&play);
}

static void test_limits(void **state) {
    (void)state;
    struct play play;
    struct data_export slow = plain;
    slow.iops_max = 200;
    begin(&play, &slow);
    struct play_client client;
    client_connect(&play, &client, true);
    uint8_t block[512];
    uint64_t begun_ms = clock_mono_ms();
    for (int i = 0; i < 120; i++)
        assert_int_equal(client_do(&client, NBD_READ, 0, 0, 512, block), 0);
    assert_true(clock_mono_ms() - begun_ms >= 450); /* 20 at once, 100 by 200 a second */
    client_close(&client);
    play_stop(&play);
}

/* What comes while no runner is there waits, up to a bound; then the socket is not read. */
/* Bytes that come while a connection waits for time, or for room: it waits once, and goes on. */
static void test_bytes_while_limited(void **state) {
    (void)state;
    struct play play;
    struct data_export slow = plain;
    slow.iops_max = 200;
    begin(&play, &slow);
    struct play_client clients[2];
    client_connect(&play, &clients[0], false);
    client_connect(&play, &clients[1], false);
    uint8_t *block = calloc(1, 65536);
    for (uint64_t i = 0; i < 60; i++) {
        for (int who = 0; who < 2; who++) {
            uint8_t request[NBD_REQUEST_SIZE] = {0};
            nbd_store_32(request, NBD_REQUEST_MAGIC);
            nbd_store_16(request + 6, NBD_WRITE);
            nbd_store_64(request + 16, i * 65536);
            nbd_store_32(request + 24, 65536);
            /* Each part is an event of its own. */
            assert_true(play_write_all(clients[who].fd, request, sizeof request));
            assert_true(play_write_all(clients[who].fd, block, 1000));
            assert_true(play_write_all(clients[who].fd, block + 1000, 64536));
        }
        for (int who = 0; who < 2; who++) {
            uint8_t reply[NBD_SIMPLE_SIZE];
            assert_true(play_read_all(clients[who].fd, reply, sizeof reply));
            assert_int_equal(nbd_load_32(reply + 4), 0);
        }
    }
    free(block);
    client_close(&clients[0]);
    client_close(&clients[1]);
    play_stop(&play);
}

#define MIXED 60
struct mixed { /* requests of one client, by cookie */
    uint8_t *to[MIXED];
    uint64_t offsets[MIXED];
    uint32_t lengths[MIXED];
};

static uint8_t *find_mixed(void *who, uint64_t cookie, uint64_t *ret_offset, uint32_t *ret_length) {
    struct mixed *mixed = who;
    assert_true(cookie < MIXED);
    *ret_offset = mixed->offsets[cookie];
    *ret_length = mixed->lengths[cookie];
    return mixed->to[cookie];
}

/* Reads of several calls, and much else that ends meanwhile: the bytes of a simple reply come
 * together, also of one that is larger than there are pages for. */
static void test_simple_replies(void **state) {
    (void)state;
    static const uint32_t lengths[] = {4096, 300000, (3 << 20) + 1, 300000, 70000, BIG};
    struct data_export small = plain;
    small.io_max = 70000;
    struct play play;
    begin(&play, &small);
    struct play_client client;
    client_connect(&play, &client, false);
    uint8_t *whole = pattern(BIG, 5);
    assert_int_equal(client_do(&client, NBD_WRITE, 0, 0, BIG, whole), 0);
    play_open(&play,
              &(struct play_script){.seed = 11, .die_at = UINT64_MAX, .fail_at = UINT64_MAX});
    struct mixed mixed = {0};
    for (uint32_t i = 0; i < MIXED; i++) {
        bool reads = i % 5 < 3;
        uint32_t length = lengths[i % (sizeof lengths / sizeof lengths[0])];
        mixed.lengths[i] = i == MIXED / 2 || length < BIG ? length : 5000;
        mixed.offsets[i] = i * UINT64_C(400000) % (BIG - mixed.lengths[i] + 1);
        mixed.to[i] = reads ? malloc(mixed.lengths[i]) : NULL;
        if (reads)
            client_ask(&client, NBD_READ, 0, i, mixed.offsets[i], mixed.lengths[i], NULL);
        else /* the second is refused at once */
            client_ask(&client, i % 5 == 3 ? NBD_FLUSH : NBD_READ, 0, i, i % 5 == 3 ? 0 : SIZE,
                       i % 5 == 3 ? 0 : 512, NULL);
    }
    for (uint32_t i = 0; i < MIXED; i++) {
        struct play_reply reply;
        assert_true(client_reply(&client, find_mixed, &mixed, &reply));
        uint32_t at = (uint32_t)reply.cookie;
        assert_int_equal(reply.error, at % 5 == 4 ? NBD_EINVAL : 0);
        if (mixed.to[at] != NULL)
            assert_memory_equal(mixed.to[at], whole + mixed.offsets[at], mixed.lengths[at]);
        free(mixed.to[at]);
    }
    free(whole);
    client_close(&client);
    play_stop(&play);
}

static void test_back_pressure(void **state) {
    (void)state;
    struct play play;
    begin(&play, NULL);
    struct play_client client;
    client_connect(&play, &client, true);
    play_kill(&play);
    uint8_t header[NBD_REQUEST_SIZE] = {0};
    nbd_store_32(header, NBD_REQUEST_MAGIC);
    nbd_store_16(header + 6, NBD_FLUSH);
    uint32_t sent = 0;
    while (send(client.fd, header, sizeof header, MSG_DONTWAIT | MSG_NOSIGNAL) > 0 ||
           sent < REQUESTS_OF_ONE)
        sent++;
    assert_true(sent < 20000);
    play_run(&play, NULL);
    for (uint32_t i = 0; i < sent; i++) {
        uint8_t reply[NBD_SIMPLE_SIZE];
        assert_true(play_read_all(client.fd, reply, sizeof reply));
        assert_int_equal(nbd_load_32(reply + 4), 0);
    }
    client_close(&client);
    play_stop(&play);
}

/* UNEXPORT lets what is under way end, and gives up what cannot. */
/* Calls are in the ring and nothing moves: said soon, then now and then, and not without a reason.
 */
static void test_still(void **state) {
    (void)state;
    struct play play;
    begin(&play, NULL);
    struct play_client client;
    client_connect(&play, &client, true);
    check_range(&client, 0, 4096);
    play_ping(&play);
    assert_int_equal(play.heard_still, 0);
    uint64_t begun_ms = clock_mono_ms();
    play_open(&play, &(struct play_script){
                         .die_at = UINT64_MAX, .fail_at = UINT64_MAX, .delay_us = 1500000});
    check_range(&client, 4096, 4096); /* two calls of 1.5 s: no more than two words for each */
    play_ping(&play);
    assert_in_range(clock_mono_ms() - begun_ms, 3000, 20000);
    assert_in_range(play.heard_still, 2, 4);
    assert_in_range(play.heard_still_ms, 150, 1500);
    play_open(&play, NULL);
    check_range(&client, 8192, 4096);
    uint32_t heard = play.heard_still;
    play_ping(&play);
    assert_int_equal(play.heard_still, heard);
    client_close(&client);
    play_stop(&play);
}

static void test_unexport(void **state) {
    (void)state;
    struct play play;
    begin(&play, NULL);
    struct play_client idle, busy;
    client_connect(&play, &idle, true);
    client_connect(&play, &busy, true);
    play_open(&play, &(struct play_script){
                         .die_at = UINT64_MAX, .fail_at = UINT64_MAX, .delay_us = 300000});
    uint8_t block[4096] = {1};
    client_ask(&busy, NBD_WRITE, 0, 4711, 0, 4096, block);
    play_ping(&play);
    uint64_t begun_ms = clock_mono_ms();
    play_unexport(&play);
    assert_true(clock_mono_ms() - begun_ms < 4000);
    uint8_t reply[NBD_SIMPLE_SIZE];
    assert_int_equal(recv(idle.fd, reply, 1, 0), 0);
    assert_true(play_read_all(busy.fd, reply, sizeof reply));
    assert_int_equal(nbd_load_32(reply + 4), 0);
    assert_int_equal(recv(busy.fd, reply, 1, 0), 0);
    client_close(&idle);
    client_close(&busy);
    play_unexport(&play); /* once more: it is gone already */
    /* Without a runner the call would wait for ever. */
    play_kill(&play);
    play_export(&play, NULL);
    client_connect(&play, &busy, true);
    client_ask(&busy, NBD_FLUSH, 0, 4711, 0, 0, NULL);
    play_ping(&play);
    clock_t spent = clock();
    play_unexport(&play);
    assert_true((clock() - spent) / (CLOCKS_PER_SEC / 10) < 10); /* and waiting costs nothing */
    client_close(&busy);
    play_stop(&play);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_block_status),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_poison),
        cmocka_unit_test(test_token_changes),
        cmocka_unit_test(test_bound_of_kept),
        cmocka_unit_test(test_hostile_runner),
        cmocka_unit_test(test_bad_clients),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_bytes_while_limited),
        cmocka_unit_test(test_simple_replies),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_unexport),
        cmocka_unit_test(test_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
