/* SPDX-License-Identifier: Apache-2.0
 *
 * certificates.c: see certificates.h.
 */
#include "certificates.h"

#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <string.h>
#include <time.h>

#include "base/check.h"

void certificate_make(struct certificate *ret, const char *name) {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t certificate;
    uint8_t der[CERTIFICATE_PEM_MAX];
    size_t der_size = sizeof der;
    uint8_t serial[] = {1, (uint8_t)name[0]};
    CHECK(gnutls_x509_privkey_init(&key) == 0 && gnutls_x509_crt_init(&certificate) == 0);
    CHECK(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                       GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0) == 0);
    CHECK(gnutls_x509_crt_set_version(certificate, 3) == 0 &&
          gnutls_x509_crt_set_serial(certificate, serial, sizeof serial) == 0 &&
          gnutls_x509_crt_set_activation_time(certificate, time(NULL) - 3600) == 0 &&
          gnutls_x509_crt_set_expiration_time(certificate, time(NULL) + 86400) == 0 &&
          gnutls_x509_crt_set_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                        (unsigned)strlen(name)) == 0 &&
          gnutls_x509_crt_set_key(certificate, key) == 0 &&
          gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA256, 0) == 0);
    ret->pem_size = sizeof ret->pem;
    ret->key_size = sizeof ret->key;
    CHECK(gnutls_x509_crt_export(certificate, GNUTLS_X509_FMT_PEM, ret->pem, &ret->pem_size) == 0 &&
          gnutls_x509_privkey_export(key, GNUTLS_X509_FMT_PEM, ret->key, &ret->key_size) == 0 &&
          gnutls_x509_crt_export(certificate, GNUTLS_X509_FMT_DER, der, &der_size) == 0 &&
          gnutls_hash_fast(GNUTLS_DIG_SHA256, der, der_size, ret->digest) == 0);
    gnutls_x509_crt_deinit(certificate);
    gnutls_x509_privkey_deinit(key);
}

void tls_client_init(struct tls_client *client, const struct certificate *own, const char *rules,
                     int fd) {
    CHECK(gnutls_init(&client->session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL) == 0 &&
          gnutls_certificate_allocate_credentials(&client->credentials) == 0 &&
          gnutls_priority_set_direct(client->session, rules, NULL) == 0);
    if (own != NULL) {
        gnutls_datum_t pem = {(unsigned char *)(uintptr_t)own->pem, (unsigned)own->pem_size};
        gnutls_datum_t key = {(unsigned char *)(uintptr_t)own->key, (unsigned)own->key_size};
        CHECK(gnutls_certificate_set_x509_key_mem(client->credentials, &pem, &key,
                                                  GNUTLS_X509_FMT_PEM) >= 0);
    }
    CHECK(gnutls_credentials_set(client->session, GNUTLS_CRD_CERTIFICATE, client->credentials) ==
          0);
    gnutls_transport_set_int(client->session, fd);
}

void tls_client_release(struct tls_client *client) {
    gnutls_deinit(client->session);
    gnutls_certificate_free_credentials(client->credentials);
}

bool tls_client_shake(struct tls_client *client) {
    int code;
    do
        code = gnutls_handshake(client->session);
    while (code < 0 && !gnutls_error_is_fatal(code));
    return code == 0;
}

bool tls_client_write(struct tls_client *client, const void *bytes, size_t length) {
    const uint8_t *at = bytes;
    while (length > 0) {
        ssize_t sent = gnutls_record_send(client->session, at, length);
        if (sent <= 0)
            return false;
        at += sent;
        length -= (size_t)sent;
    }
    return true;
}

bool tls_client_read(struct tls_client *client, void *bytes, size_t length) {
    uint8_t *at = bytes;
    while (length > 0) {
        ssize_t got = gnutls_record_recv(client->session, at, length);
        if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED)
            continue;
        if (got <= 0)
            return false;
        at += got;
        length -= (size_t)got;
    }
    return true;
}
