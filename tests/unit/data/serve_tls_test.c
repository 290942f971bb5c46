/* SPDX-License-Identifier: Apache-2.0
 *
 * The real loop, and the program with its sandbox, with clients over TLS: who gets in, who is kept
 * out, that those who only connect harm nobody, and what becomes of the listening socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "certificates.h"
#include "data/connection.h"
#include "data/export.h"
#include "data/tls.h"
#include "play.h"

#define SIZE (UINT64_C(64) << 20)
#define RULES "NORMAL:-VERS-ALL:+VERS-TLS1.3"
#define DEADLINE_S 20

static struct certificate server, owner, next, foreign;

static const struct data_export plain = {.name = "disk",
                                         .io_max = RING_CALL_MAX,
                                         .io_align = 1,
                                         .extents = true,
                                         .token_constant = true,
                                         .uid = PLAY_TLS_ONLY};

/* Opens for the owner's certificate and the one that comes after it. */
static uint16_t begin(struct play *play, const char *program) {
    uint8_t digests[2 * DATA_DIGEST_SIZE];
    memcpy(digests, owner.digest, DATA_DIGEST_SIZE);
    memcpy(digests + DATA_DIGEST_SIZE, next.digest, DATA_DIGEST_SIZE);
    struct data_export wanted = plain;
    wanted.certificates = (struct blob){digests, sizeof digests};
    tls_prepare();
    if (program != NULL)
        play_start_program(play, program, SIZE, false);
    else
        play_start(play, SIZE, false);
    uint16_t port = play_listen(play, server.pem, server.pem_size, server.key, server.key_size);
    play_export(play, &wanted);
    play_run(play, NULL);
    play_ping(play);
    return port;
}

/* ---- a client -------------------------------------------------------------------------------- */

struct guest {
    int fd;
    bool is_tls;
    struct tls_client tls;
};

static int dial(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    struct timeval deadline = {.tv_sec = DEADLINE_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool put(struct guest *guest, const void *bytes, size_t length) {
    return guest->is_tls ? tls_client_write(&guest->tls, bytes, length)
                         : play_write_all(guest->fd, bytes, length);
}

static bool get(struct guest *guest, void *bytes, size_t length) {
    return guest->is_tls ? tls_client_read(&guest->tls, bytes, length)
                         : play_read_all(guest->fd, bytes, length);
}

static bool option(struct guest *guest, uint32_t number, const void *bytes, uint32_t length) {
    uint8_t header[16];
    nbd_store_64(header, NBD_OPTION_MAGIC);
    nbd_store_32(header + 8, number);
    nbd_store_32(header + 12, length);
    return put(guest, header, sizeof header) && put(guest, bytes, length);
}

/* The type of one reply; 0: the connection has ended. */
static uint32_t answer(struct guest *guest) {
    uint8_t header[20], rest[4096];
    if (!get(guest, header, sizeof header))
        return 0;
    uint32_t length = nbd_load_32(header + 16);
    assert_true(length <= sizeof rest);
    return get(guest, rest, length) ? nbd_load_32(header + 12) : 0;
}

static bool greet(struct guest *guest) {
    uint8_t bytes[18];
    if (!play_read_all(guest->fd, bytes, sizeof bytes))
        return false;
    nbd_store_32(bytes, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    return play_write_all(guest->fd, bytes, 4);
}

/* Up to the end of TLS's handshake. */
static bool secure(struct guest *guest, uint16_t port, const struct certificate *own) {
    *guest = (struct guest){.fd = dial(port)};
    assert_true(guest->fd >= 0 && greet(guest));
    assert_true(option(guest, NBD_OPT_STARTTLS, "", 0));
    assert_int_equal(answer(guest), NBD_REP_ACK);
    tls_client_init(&guest->tls, own, RULES, guest->fd);
    guest->is_tls = true;
    return tls_client_shake(&guest->tls);
}

static uint32_t go(struct guest *guest, const struct sluice_uuid *attachment) {
    uint8_t body[4 + UUID_TEXT_SIZE - 1 + 2] = {0};
    char name[UUID_TEXT_SIZE];
    nbd_store_32(body, UUID_TEXT_SIZE - 1);
    memcpy(body + 4, uuid_format(attachment, name), UUID_TEXT_SIZE - 1);
    if (!option(guest, NBD_OPT_GO, body, sizeof body))
        return 0;
    uint32_t type;
    do
        type = answer(guest);
    while (type == NBD_REP_INFO);
    return type;
}

static void leave(struct guest *guest) {
    if (guest->is_tls)
        tls_client_release(&guest->tls);
    close(guest->fd);
}

static void request(struct guest *guest, uint16_t type, uint64_t offset, uint32_t length) {
    uint8_t header[NBD_REQUEST_SIZE] = {0};
    nbd_store_32(header, NBD_REQUEST_MAGIC);
    nbd_store_16(header + 6, type);
    nbd_store_64(header + 8, 4711);
    nbd_store_64(header + 16, offset);
    nbd_store_32(header + 24, length);
    assert_true(put(guest, header, sizeof header));
}

static void replied(struct guest *guest) {
    uint8_t reply[NBD_SIMPLE_SIZE];
    assert_true(get(guest, reply, sizeof reply));
    assert_int_equal(nbd_load_32(reply), NBD_SIMPLE_MAGIC);
    assert_int_equal(nbd_load_32(reply + 4), 0);
}

static void check_range(struct guest *guest, uint64_t offset, uint32_t length) {
    uint8_t *out = malloc(length), *in = calloc(1, length);
    for (uint32_t i = 0; i < length; i++)
        out[i] = (uint8_t)(i * 31 + i / 4096 * 7 + offset);
    request(guest, NBD_WRITE, offset, length);
    assert_true(put(guest, out, length));
    replied(guest);
    request(guest, NBD_READ, offset, length);
    replied(guest);
    assert_true(get(guest, in, length));
    assert_memory_equal(in, out, length);
    free(in);
    free(out);
}

static bool is_served(uint16_t port, const struct play *play, const struct certificate *own) {
    struct guest guest;
    bool served = secure(&guest, port, own) && go(&guest, &play->attachment) == NBD_REP_ACK;
    if (served)
        check_range(&guest, 4096, 4096);
    leave(&guest);
    return served;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void converse(const char *program) {
    static const uint32_t lengths[] = {1, 511, 4096, 16384, 100000, (1 << 20) + 3, 32u << 20};
    struct play play;
    struct guest guest, another;
    uint16_t port = begin(&play, program);
    assert_true(secure(&guest, port, &owner));
    assert_int_equal(go(&guest, &play.attachment), NBD_REP_ACK);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        check_range(&guest, 12345 * i, lengths[i]);
    /* Many replies that wait for a slow reader, and a runner that dies meanwhile. */
    for (int i = 0; i < 100; i++)
        request(&guest, NBD_READ, 0, 100000);
    play_kill(&play);
    play_run(&play, NULL);
    uint8_t *bytes = malloc(100000);
    for (int i = 0; i < 100; i++) {
        replied(&guest);
        assert_true(get(&guest, bytes, 100000));
    }
    free(bytes);
    /* The next certificate of the host opens it too, at the same time. */
    assert_true(secure(&another, port, &next));
    assert_int_equal(go(&another, &play.attachment), NBD_REP_ACK);
    check_range(&another, 0, 4096);
    /* Taking it back ends both. */
    play_unexport(&play);
    uint8_t byte;
    assert_false(get(&guest, &byte, 1));
    assert_false(get(&another, &byte, 1));
    leave(&guest);
    leave(&another);
    play_stop(&play);
}

static void test_loop(void **state) {
    (void)state;
    converse(NULL);
}

static void test_program(void **state) {
    (void)state;
    char path[4096];
    const char *build = getenv("SLUICE_BUILD");
    if (build == NULL)
        skip();
    snprintf(path, sizeof path, "%s/bin/sluice-data", build);
    converse(path);
}

static void test_who_may_not(void **state) {
    (void)state;
    struct play play;
    struct guest guest;
    uint16_t port = begin(&play, NULL);
    struct sluice_uuid unknown = uuid_new();
    /* Another's, and one that is not there: one answer, and the connection goes on. */
    assert_true(secure(&guest, port, &foreign));
    assert_int_equal(go(&guest, &play.attachment), NBD_REP_ERR_UNKNOWN);
    assert_int_equal(go(&guest, &unknown), NBD_REP_ERR_UNKNOWN);
    assert_int_equal(go(&guest, &play.volume), NBD_REP_ERR_UNKNOWN);
    leave(&guest);
    /* Without a certificate nothing is answered. */
    bool shook = secure(&guest, port, NULL);
    assert_int_equal(shook ? go(&guest, &play.attachment) : 0, 0);
    leave(&guest);
    /* What came before TLS does not count inside of it. */
    guest = (struct guest){.fd = dial(port)};
    assert_true(greet(&guest));
    uint8_t both[32];
    for (int i = 0; i < 2; i++) {
        nbd_store_64(both + 16 * i, NBD_OPTION_MAGIC);
        nbd_store_32(both + 16 * i + 8, i == 0 ? NBD_OPT_STARTTLS : NBD_OPT_LIST);
        nbd_store_32(both + 16 * i + 12, 0);
    }
    assert_true(play_write_all(guest.fd, both, sizeof both));
    assert_true(answer(&guest) == NBD_REP_ACK && answer(&guest) == 0);
    leave(&guest);
    assert_true(is_served(port, &play, &owner));
    play_ping(&play);
    assert_int_equal(play.pong_connections, 0);
    assert_int_equal(play.pong_names_refused, 3);
    assert_int_equal(play.pong_tls_failed, 1);
    assert_int_equal(play.pong_strangers_ended, 0);
    play_stop(&play);
}

/* More strangers as there may be: the oldest go, and a good client is served. */
static void test_strangers(void **state) {
    (void)state;
    struct play play;
    int fds[CONNECTION_STRANGERS_MAX + 32];
    uint16_t port = begin(&play, NULL);
    for (uint32_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        struct guest guest = {.fd = dial(port)};
        assert_true(guest.fd >= 0 && greet(&guest));
        if (i % 2 == 0)
            assert_true(option(&guest, NBD_OPT_STARTTLS, "", 0) && answer(&guest) == NBD_REP_ACK);
        fds[i] = guest.fd;
    }
    uint8_t byte;
    for (uint32_t i = 0; i < 32; i++)
        assert_true(recv(fds[i], &byte, 1, 0) <= 0);
    play_ping(&play);
    assert_int_equal(play.pong_connections, CONNECTION_STRANGERS_MAX);
    assert_true(is_served(port, &play, &owner));
    /* Who says a byte of the handshake now and then is ended all the same. */
    uint64_t deadline_ns = clock_mono_ns() + 2 * CONNECTION_STRANGER_NS;
    int slow = fds[sizeof fds / sizeof fds[0] - 2];
    struct timeval often = {.tv_usec = 200000};
    setsockopt(slow, SOL_SOCKET, SO_RCVTIMEO, &often, sizeof often);
    assert_true(play_write_all(slow, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 9));
    while (recv(slow, &byte, 1, 0) < 0 && errno == EAGAIN) {
        assert_true(clock_mono_ns() < deadline_ns);
        if (send(slow, "\x03", 1, MSG_NOSIGNAL) != 1)
            break;
    }
    do {
        play_ping(&play);
        assert_true(clock_mono_ns() < deadline_ns);
    } while (play.pong_connections > 0);
    assert_int_equal(play.pong_strangers_ended, sizeof fds / sizeof fds[0]);
    for (uint32_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        close(fds[i]);
    play_stop(&play);
}

static void test_listener(void **state) {
    (void)state;
    struct play play;
    struct guest guest;
    uint16_t port = begin(&play, NULL);
    assert_true(secure(&guest, port, &owner));
    assert_int_equal(go(&guest, &play.attachment), NBD_REP_ACK);
    /* The next gateway gets the same socket back. */
    assert_int_equal(play_sync(&play), port);
    /* Another socket and another certificate: the former is closed, who is there stays. */
    uint16_t other =
        play_listen(&play, foreign.pem, foreign.pem_size, foreign.key, foreign.key_size);
    play_ping(&play);
    assert_true(is_served(other, &play, &owner));
    assert_true(dial(port) < 0);
    check_range(&guest, 0, 100000);
    play_unlisten(&play);
    play_ping(&play);
    assert_true(dial(other) < 0);
    check_range(&guest, 0, 100000);
    leave(&guest);
    play_stop(&play);
}

int main(void) {
    certificate_make(&server, "server");
    certificate_make(&owner, "owner");
    certificate_make(&next, "next");
    certificate_make(&foreign, "foreign");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop),        cmocka_unit_test(test_program),
        cmocka_unit_test(test_who_may_not), cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
