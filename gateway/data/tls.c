/* SPDX-License-Identifier: Apache-2.0
 *
 * tls.c: see tls.h.
 */
#include "data/tls.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"

/* Block I/O is worth a processor: the cheaper key length first, and the server chooses. */
#define RULES                                                                  \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA:"                \
    "-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD:" \
    "-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:"              \
    "-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:%SERVER_PRECEDENCE"
/* Of a call that comes back for another reason than the socket: what came was no data, but a new
 * key or a warning. More of these in a row is no client, but somebody who wastes our time. */
#define TRIES 8

struct tls_identity {
    gnutls_certificate_credentials_t credentials;
    uint32_t references;
};

struct tls {
    gnutls_session_t session;
    struct tls_identity *identity;
    int fd;
    bool secured;
    bool ended;
    bool dry;     /* the socket had nothing more */
    bool unread;  /* the last read ended before the socket was empty */
    bool more;    /* another record follows at once */
    bool pending; /* a record is made and not yet sent */
    uint8_t peer[DATA_DIGEST_SIZE];
    uint32_t start, end; /* of what is in the input */
    /* Not initialised: memory that an idle client never touches costs nothing. */
    uint8_t record[TLS_RECORD];
    uint8_t input[TLS_INPUT];
};

static gnutls_priority_t rules;

void tls_prepare(void) {
    if (rules == NULL && gnutls_priority_init(&rules, RULES, NULL) != GNUTLS_E_SUCCESS)
        rules = NULL;
}

/* ---- who we are ------------------------------------------------------------------------------ */

bool tls_identity_create(const void *certificate, size_t certificate_size, const void *key,
                         size_t key_size, struct tls_identity **ret, struct err *err) {
    CHECK(certificate_size <= DATA_PEM_MAX && key_size <= DATA_PEM_MAX);
    if (rules == NULL)
        return err_set(err, ERR_SYSTEM, "GnuTLS refuses the rules of TLS: %s", RULES);
    struct tls_identity *identity = calloc(1, sizeof *identity);
    if (identity == NULL ||
        gnutls_certificate_allocate_credentials(&identity->credentials) != GNUTLS_E_SUCCESS) {
        free(identity);
        return err_set(err, ERR_NO_MEMORY, "no memory for a certificate");
    }
    identity->references = 1;
    gnutls_datum_t chain = {(unsigned char *)(uintptr_t)certificate, (unsigned)certificate_size};
    gnutls_datum_t secret = {(unsigned char *)(uintptr_t)key, (unsigned)key_size};
    int code = gnutls_certificate_set_x509_key_mem(identity->credentials, &chain, &secret,
                                                   GNUTLS_X509_FMT_PEM);
    if (code < 0) {
        tls_identity_release(identity);
        return err_set(err, ERR_CONFIG, "the certificate and the key cannot be used: %s",
                       gnutls_strerror(code));
    }
    *ret = identity;
    return true;
}

void tls_identity_release(struct tls_identity *identity) {
    if (identity == NULL || --identity->references > 0)
        return;
    gnutls_certificate_free_credentials(identity->credentials);
    free(identity);
}

/* ---- the socket ------------------------------------------------------------------------------ */

static ssize_t pull(gnutls_transport_ptr_t owner, void *to, size_t length) {
    struct tls *tls = owner;
    if (tls->start == tls->end) {
        struct iovec part = {.iov_base = tls->input, .iov_len = sizeof tls->input};
        ssize_t got;
        do
            got = readv(tls->fd, &part, 1);
        while (got < 0 && errno == EINTR);
        tls->dry = got < 0 && errno == EAGAIN;
        if (got <= 0) {
            gnutls_transport_set_errno(tls->session, errno);
            return got;
        }
        tls->start = 0;
        tls->end = (uint32_t)got;
    }
    uint32_t there = tls->end - tls->start;
    uint32_t step = length < there ? (uint32_t)length : there;
    memcpy(to, tls->input + tls->start, step);
    tls->start += step;
    return step;
}

static ssize_t push(gnutls_transport_ptr_t owner, const giovec_t *parts, int count) {
    struct tls *tls = owner;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts,
                             .msg_iovlen = (size_t)count};
    ssize_t sent;
    do
        sent = sendmsg(tls->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT | (tls->more ? MSG_MORE : 0));
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        gnutls_transport_set_errno(tls->session, errno);
    return sent;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct tls *tls_create(struct tls_identity *identity, int fd) {
    struct tls *tls = malloc(sizeof *tls);
    if (tls == NULL)
        return NULL;
    memset(tls, 0, offsetof(struct tls, record));
    tls->fd = fd;
    if (gnutls_init(&tls->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
                                       GNUTLS_NO_TICKETS) != GNUTLS_E_SUCCESS) {
        free(tls);
        return NULL;
    }
    tls->identity = identity;
    identity->references++;
    if (gnutls_priority_set(tls->session, rules) != GNUTLS_E_SUCCESS ||
        gnutls_credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE, identity->credentials) !=
            GNUTLS_E_SUCCESS) {
        tls_destroy(tls);
        return NULL;
    }
    gnutls_certificate_server_set_request(tls->session, GNUTLS_CERT_REQUIRE);
    gnutls_handshake_set_max_packet_length(tls->session, TLS_HANDSHAKE_MAX);
    gnutls_transport_set_ptr(tls->session, tls);
    gnutls_transport_set_pull_function(tls->session, pull);
    gnutls_transport_set_vec_push_function(tls->session, push);
    return tls;
}

void tls_destroy(struct tls *tls) {
    if (tls == NULL)
        return;
    tls->more = false;
    /* Behind half a record nothing would be understood. */
    if (tls->secured && !tls->pending)
        gnutls_bye(tls->session, GNUTLS_SHUT_WR);
    gnutls_deinit(tls->session);
    tls_identity_release(tls->identity);
    free(tls);
}

/* ---- the handshake --------------------------------------------------------------------------- */

static bool note_peer(struct tls *tls) {
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(tls->session, &count);
    return chain != NULL && count > 0 &&
           gnutls_hash_fast(GNUTLS_DIG_SHA256, chain[0].data, chain[0].size, tls->peer) ==
               GNUTLS_E_SUCCESS;
}

enum tls_step tls_handshake(struct tls *tls) {
    for (int i = 0; i < TRIES; i++) {
        int code = gnutls_handshake(tls->session);
        if (code == GNUTLS_E_SUCCESS) {
            tls->secured = true;
            return note_peer(tls) ? TLS_DONE : TLS_FAILED;
        }
        if (code == GNUTLS_E_AGAIN)
            return gnutls_record_get_direction(tls->session) == 0 ? TLS_WANTS_BYTES
                                                                  : TLS_WANTS_SPACE;
        if (gnutls_error_is_fatal(code)) {
            gnutls_alert_send_appropriate(tls->session, code);
            return TLS_FAILED;
        }
    }
    return TLS_FAILED; /* it sends warnings only */
}

const uint8_t *tls_peer(const struct tls *tls) {
    CHECK(tls->secured);
    return tls->peer;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Bytes; 0: nothing has come; ended is set at the end, good or bad. */
static size_t read_one(struct tls *tls, void *to, size_t length) {
    tls->dry = false;
    for (int i = 0; i < TRIES; i++) {
        ssize_t got = gnutls_record_recv(tls->session, to, length);
        if (got > 0)
            return (size_t)got;
        if (got == GNUTLS_E_AGAIN && tls->dry)
            return 0;
        if (got != GNUTLS_E_AGAIN && got != GNUTLS_E_INTERRUPTED)
            break;
    }
    tls->ended = true;
    return 0;
}

ssize_t tls_read(struct tls *tls, const struct iovec *parts, int count) {
    size_t done = 0;
    tls->unread = false;
    for (int i = 0; i < count; i++) {
        size_t of_part = 0;
        while (of_part < parts[i].iov_len) {
            tls->unread = done >= TLS_READ_MAX;
            if (tls->unread)
                return (ssize_t)done;
            uint8_t *to = (uint8_t *)parts[i].iov_base + of_part;
            size_t got = tls->ended ? 0 : read_one(tls, to, parts[i].iov_len - of_part);
            if (got == 0 && done == 0 && !tls->ended)
                errno = EAGAIN;
            if (got == 0)
                return done > 0 || tls->ended ? (ssize_t)done : -1;
            of_part += got;
            done += got;
        }
    }
    return (ssize_t)done;
}

bool tls_unread(const struct tls *tls) {
    return tls->unread;
}

bool tls_ended(const struct tls *tls) {
    return tls->ended;
}

/* The next record's bytes: as they lie, or put together from several parts. */
static const uint8_t *next_record(struct tls *tls, const struct iovec *parts, size_t count,
                                  size_t skip, size_t limit, size_t *ret_length) {
    size_t length = 0;
    while (count > 0 && skip >= parts->iov_len) {
        skip -= parts->iov_len;
        parts++;
        count--;
    }
    if (limit > TLS_RECORD)
        limit = TLS_RECORD;
    if (parts->iov_len - skip >= limit) {
        *ret_length = limit;
        return (const uint8_t *)parts->iov_base + skip;
    }
    for (; count > 0 && length < limit; parts++, count--, skip = 0) {
        size_t step = parts->iov_len - skip;
        if (step > limit - length)
            step = limit - length;
        memcpy(tls->record + length, (const uint8_t *)parts->iov_base + skip, step);
        length += step;
    }
    *ret_length = length;
    return tls->record;
}

ssize_t tls_write(struct tls *tls, const struct iovec *parts, size_t count) {
    size_t total = 0;
    size_t done = 0;
    for (size_t i = 0; i < count; i++)
        total += parts[i].iov_len;
    if (total > TLS_WRITE_MAX)
        total = TLS_WRITE_MAX;
    while (done < total) {
        size_t length = 0;
        const uint8_t *bytes = NULL; /* what is pending is with GnuTLS already */
        if (!tls->pending)
            bytes = next_record(tls, parts, count, done, total - done, &length);
        tls->more = !tls->pending && done + length < total;
        ssize_t sent = gnutls_record_send(tls->session, bytes, length);
        tls->pending = sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED;
        if (sent <= 0) {
            errno = tls->pending ? EAGAIN : EPIPE;
            return done > 0 && tls->pending ? (ssize_t)done : -1;
        }
        done += (size_t)sent;
    }
    return (ssize_t)done;
}
