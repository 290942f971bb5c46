/* SPDX-License-Identifier: Apache-2.0
 *
 * tls.h: TLS on a client's socket that does not block; the server's side, by GnuTLS.
 *
 * An identity is who we are: the server's certificate and key. It is counted: connections that were
 * begun with one keep it when another takes its place. A client has to have a certificate of its
 * own, and to prove by the handshake that it has the key to it. Who signed it and until when it is
 * valid are not asked: what it may open is bound to the certificate itself, by tls_peer.
 *
 * TLS 1.3 or 1.2, only with forward secrecy and authenticated encryption; no resumption, no
 * renegotiation, no early data: every connection shows its certificate.
 *
 *   tls_create -> tls_handshake until TLS_DONE -> tls_read and tls_write -> tls_destroy
 *
 * Life: the descriptor stays the caller's. One thread. tls_prepare comes first, and before a
 * sandbox: GnuTLS reads the machine's own rules from a file. Afterwards no file is opened.
 *
 * Copies: what is sent is encrypted from where it lies, in records of up to TLS_RECORD bytes;
 * pieces that are smaller are put together before, so that small replies share a record. What is
 * received is read from the socket TLS_INPUT bytes at a time and decrypted to where it belongs.
 */
#ifndef SLUICE_DATA_TLS_H
#define SLUICE_DATA_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"
#include "wire/data.h"

#define TLS_RECORD 16384u       /* the most that the protocol has */
#define TLS_INPUT 32768u        /* two records by one read */
#define TLS_WRITE_MAX 262144u   /* of one tls_write: others wait while it encrypts */
#define TLS_READ_MAX 262144u    /* of one tls_read, and a record: likewise */
#define TLS_HANDSHAKE_MAX 32768 /* bytes of one message of it: a client's certificates */

struct tls_identity;
struct tls;

/* Without it identities are not made. May be called again. */
void tls_prepare(void);

/* PEM, as read from files; not needed any more afterwards. One reference is the caller's. */
bool tls_identity_create(const void *certificate, size_t certificate_size, const void *key,
                         size_t key_size, struct tls_identity **ret, struct err *err);
/* The last reference wipes the key. NULL is fine. */
void tls_identity_release(struct tls_identity *identity);

/* NULL: no memory. */
struct tls *tls_create(struct tls_identity *identity, int fd);
/* Says goodbye if the socket takes it at once. NULL is fine. */
void tls_destroy(struct tls *tls);

enum tls_step { TLS_DONE, TLS_WANTS_BYTES, TLS_WANTS_SPACE, TLS_FAILED };
/* FAILED: the client has been told why, if it listens. */
enum tls_step tls_handshake(struct tls *tls);
/* SHA-256 of the client's certificate, DATA_DIGEST_SIZE bytes. After TLS_DONE. */
const uint8_t *tls_peer(const struct tls *tls);

/* As readv(2). Less than there was room for: no more has come, or there is more to be read
 * (tls_unread), or it was the end (tls_ended). */
ssize_t tls_read(struct tls *tls, const struct iovec *parts, int count);
bool tls_unread(const struct tls *tls);
bool tls_ended(const struct tls *tls);
/* As writev(2), up to TLS_WRITE_MAX bytes. After EAGAIN the same bytes have to come first again. */
ssize_t tls_write(struct tls *tls, const struct iovec *parts, size_t count);

#endif
