/* SPDX-License-Identifier: Apache-2.0
 *
 * certificates.h: certificates that a test makes when it needs them, and blocking TLS clients.
 */
#ifndef SLUICE_TESTS_DATA_CERTIFICATES_H
#define SLUICE_TESTS_DATA_CERTIFICATES_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CERTIFICATE_PEM_MAX 4096

struct certificate { /* signed by itself, valid for a day */
    char pem[CERTIFICATE_PEM_MAX], key[CERTIFICATE_PEM_MAX];
    size_t pem_size, key_size;
    uint8_t digest[32];
};
void certificate_make(struct certificate *ret, const char *name);

struct tls_client {
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session;
};
/* `own` NULL: it shows none. `rules`: of GnuTLS, as NORMAL:-VERS-ALL:+VERS-TLS1.2. */
void tls_client_init(struct tls_client *client, const struct certificate *own, const char *rules,
                     int fd);
void tls_client_release(struct tls_client *client);
/* false: refused. With TLS 1.3 that may come only when the first byte is read. */
bool tls_client_shake(struct tls_client *client);
bool tls_client_write(struct tls_client *client, const void *bytes, size_t length);
bool tls_client_read(struct tls_client *client, void *bytes, size_t length);

#endif
