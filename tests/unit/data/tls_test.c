/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS over a socketpair that is soon full: who is let in, who is told to be who, and that all bytes
 * come as they were sent, however they are cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "certificates.h"
#include "data/tls.h"

#define BYTES (3u << 20)
#define NEW "NORMAL:-VERS-ALL:+VERS-TLS1.3"
#define OLD "NORMAL:-VERS-ALL:+VERS-TLS1.2"
#define DEADLINE_S 20

static struct certificate server, client, other;

struct peer { /* in a thread of its own: shakes hands, then sends back what it gets */
    const struct certificate *own;
    const char *rules;
    int fd;
    size_t echoes; /* bytes */
    sem_t *said;   /* posted when there is a new key and bytes under it; NULL: neither */
    sem_t full;    /* before it begins to echo: the socket was full once */
    bool shook, echoed;
};

static void *run_peer(void *argument) {
    struct peer *peer = argument;
    struct tls_client tls;
    tls_client_init(&tls, peer->own, peer->rules, peer->fd);
    peer->shook = tls_client_shake(&tls);
    peer->echoed = peer->shook;
    uint8_t *bytes = malloc(peer->echoes + 1);
    if (peer->shook && peer->said != NULL) {
        memset(bytes, 'k', peer->echoes);
        peer->echoed = gnutls_session_key_update(tls.session, GNUTLS_KU_PEER) == 0 &&
                       tls_client_write(&tls, bytes, peer->echoes);
        sem_post(peer->said);
        peer->echoed = peer->echoed && tls_client_read(&tls, bytes, peer->echoes);
    } else if (peer->shook && peer->echoes > 0) {
        sem_wait(&peer->full);
        peer->echoed = tls_client_read(&tls, bytes, peer->echoes) &&
                       tls_client_write(&tls, bytes, peer->echoes);
    } else if (peer->shook) {
        peer->echoed = tls_client_read(&tls, bytes, 1);
    }
    free(bytes);
    if (peer->shook)
        gnutls_bye(tls.session, GNUTLS_SHUT_WR);
    tls_client_release(&tls);
    shutdown(peer->fd, SHUT_RDWR);
    return NULL;
}

static void wait_for(int fd, short events) {
    struct pollfd one = {.fd = fd, .events = events};
    assert_int_equal(poll(&one, 1, DEADLINE_S * 1000), 1);
}

static void make_pair(int ret[2]) {
    int small = 8192;
    struct timeval deadline = {.tv_sec = DEADLINE_S};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ret), 0);
    assert_int_equal(fcntl(ret[0], F_SETFL, O_NONBLOCK), 0);
    setsockopt(ret[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    setsockopt(ret[1], SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
}

static struct tls_identity *identity_of(const struct certificate *certificate) {
    struct tls_identity *identity = NULL;
    struct err err = ERR_INIT;
    tls_prepare();
    assert_true(tls_identity_create(certificate->pem, certificate->pem_size, certificate->key,
                                    certificate->key_size, &identity, &err));
    return identity;
}

/* Up to the end of the handshake, by hand as the loop does. */
static enum tls_step shake(struct tls *tls, int fd) {
    for (;;) {
        enum tls_step step = tls_handshake(tls);
        if (step == TLS_DONE || step == TLS_FAILED)
            return step;
        wait_for(fd, step == TLS_WANTS_BYTES ? POLLIN : POLLOUT);
    }
}

/* Cuts `bytes` into parts of all sizes, some of them empty. */
static size_t cut(uint8_t *bytes, size_t length, struct iovec *parts, size_t most, unsigned *dice) {
    static const size_t sizes[] = {16, 0, 4096, 28, 100000, 1, 16384, 70000};
    size_t count = 0;
    while (length > 0 && count < most) {
        size_t size = sizes[(*dice)++ % 8];
        if (size > length)
            size = length;
        parts[count++] = (struct iovec){.iov_base = bytes, .iov_len = size};
        bytes += size;
        length -= size;
    }
    return count;
}

/* The peer does not read before the socket was full. */
static void send_all(struct tls *tls, int fd, uint8_t *bytes, sem_t *full) {
    size_t sent = 0;
    while (sent < BYTES) {
        struct iovec parts[12];
        unsigned dice = (unsigned)sent % 8; /* the same cut when the same comes again */
        size_t count = cut(bytes + sent, BYTES - sent, parts, 12, &dice);
        ssize_t step = tls_write(tls, parts, count);
        if (step < 0) {
            assert_int_equal(errno, EAGAIN);
            sem_post(full);
            wait_for(fd, POLLOUT);
        } else {
            assert_true(step > 0 && (size_t)step <= TLS_WRITE_MAX);
            sent += (size_t)step;
        }
    }
}

static void receive_all(struct tls *tls, int fd, uint8_t *bytes) {
    size_t got = 0;
    unsigned dice = 3;
    while (got < BYTES) {
        struct iovec parts[2];
        int count = (int)cut(bytes + got, BYTES - got, parts, 2, &dice);
        size_t room = 0;
        for (int i = 0; i < count; i++)
            room += parts[i].iov_len;
        ssize_t step = room > 0 ? tls_read(tls, parts, count) : 0;
        if (step < 0) {
            assert_int_equal(errno, EAGAIN);
            wait_for(fd, POLLIN);
        } else {
            assert_false(tls_ended(tls) && got + (size_t)step < BYTES);
            got += (size_t)step;
        }
    }
}

static void converse(const char *rules) {
    int pair[2];
    struct tls_identity *identity = identity_of(&server);
    make_pair(pair);
    struct peer peer = {.own = &client, .rules = rules, .fd = pair[1], .echoes = BYTES};
    pthread_t thread;
    assert_int_equal(sem_init(&peer.full, 0, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_peer, &peer), 0);
    struct tls *tls = tls_create(identity, pair[0]);
    tls_identity_release(identity); /* the connection has it still */
    assert_int_equal(shake(tls, pair[0]), TLS_DONE);
    assert_memory_equal(tls_peer(tls), client.digest, DATA_DIGEST_SIZE);
    assert_memory_not_equal(tls_peer(tls), other.digest, DATA_DIGEST_SIZE);
    uint8_t *out = malloc(BYTES), *in = calloc(1, BYTES);
    for (uint32_t i = 0; i < BYTES; i++)
        out[i] = (uint8_t)(i * 31 + i / 4096);
    send_all(tls, pair[0], out, &peer.full);
    receive_all(tls, pair[0], in);
    assert_memory_equal(in, out, BYTES);
    /* Its goodbye is an end, and stays one. */
    struct iovec part = {.iov_base = in, .iov_len = 1};
    ssize_t got;
    while ((got = tls_read(tls, &part, 1)) < 0)
        wait_for(pair[0], POLLIN);
    assert_int_equal(got, 0);
    assert_true(tls_ended(tls));
    assert_int_equal(tls_read(tls, &part, 1), 0);
    pthread_join(thread, NULL);
    assert_true(peer.shook && peer.echoed);
    sem_destroy(&peer.full);
    tls_destroy(tls);
    close(pair[0]);
    close(pair[1]);
    free(in);
    free(out);
}

static void test_bytes(void **state) {
    (void)state;
    converse(NEW);
    converse(OLD);
}

/* All of it lies in the socket when it is read, so nothing will wake a reader who stops early. */
static void test_key_update(void **state) {
    (void)state;
    int pair[2];
    sem_t said;
    uint8_t bytes[100];
    struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct tls_identity *identity = identity_of(&server);
    make_pair(pair);
    assert_int_equal(sem_init(&said, 0, 0), 0);
    struct peer peer = {
        .own = &client, .rules = NEW, .fd = pair[1], .echoes = sizeof bytes, .said = &said};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_peer, &peer), 0);
    struct tls *tls = tls_create(identity, pair[0]);
    assert_int_equal(shake(tls, pair[0]), TLS_DONE);
    sem_wait(&said);
    assert_int_equal(tls_read(tls, &part, 1), sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        assert_int_equal(bytes[i], 'k');
    assert_int_equal(tls_write(tls, &part, 1), sizeof bytes);
    pthread_join(thread, NULL);
    assert_true(peer.echoed);
    tls_destroy(tls);
    tls_identity_release(identity);
    sem_destroy(&said);
    close(pair[0]);
    close(pair[1]);
}

static void refuse(const struct certificate *own, const char *rules) {
    int pair[2];
    struct tls_identity *identity = identity_of(&server);
    make_pair(pair);
    struct peer peer = {.own = own, .rules = rules, .fd = pair[1]};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_peer, &peer), 0);
    struct tls *tls = tls_create(identity, pair[0]);
    assert_int_equal(shake(tls, pair[0]), TLS_FAILED);
    tls_destroy(tls);
    tls_identity_release(identity);
    close(pair[0]);
    pthread_join(thread, NULL);
    close(pair[1]);
    assert_false(peer.shook && peer.echoed);
}

static void test_refused(void **state) {
    (void)state;
    refuse(NULL, NEW); /* without a certificate */
    refuse(NULL, OLD);
    refuse(&client, "NORMAL:-VERS-ALL:+VERS-TLS1.1:+SHA1");
    refuse(&client, "NORMAL:-VERS-ALL:+VERS-TLS1.2:-AEAD");
}

static void test_garbage(void **state) {
    (void)state;
    static const char text[] = "GET / HTTP/1.0\r\n\r\n";
    int pair[2];
    struct tls_identity *identity = identity_of(&server);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    struct tls *tls = tls_create(identity, pair[0]);
    assert_int_equal(tls_handshake(tls), TLS_WANTS_BYTES);
    assert_int_equal(write(pair[1], text, sizeof text), sizeof text);
    assert_int_equal(tls_handshake(tls), TLS_FAILED);
    tls_destroy(tls);
    /* And one that leaves in the middle. */
    tls = tls_create(identity, pair[0]);
    close(pair[1]);
    assert_int_equal(shake(tls, pair[0]), TLS_FAILED);
    tls_destroy(tls);
    tls_identity_release(identity);
    close(pair[0]);
}

static void test_identities(void **state) {
    (void)state;
    struct tls_identity *identity = NULL;
    struct err err = ERR_INIT;
    tls_prepare();
    assert_false(tls_identity_create(server.pem, server.pem_size, other.key, other.key_size,
                                     &identity, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    err = (struct err)ERR_INIT;
    assert_false(tls_identity_create(server.key, server.key_size, server.key, server.key_size,
                                     &identity, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_null(identity);
    tls_identity_release(NULL);
    tls_destroy(NULL);
}

int main(void) {
    certificate_make(&server, "server");
    certificate_make(&client, "client");
    certificate_make(&other, "other");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),      cmocka_unit_test(test_key_update),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_identities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
