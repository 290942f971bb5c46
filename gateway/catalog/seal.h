/* SPDX-License-Identifier: Apache-2.0
 *
 * seal.h: secrets at rest, encrypted with a key file.
 *
 * XChaCha20-Poly1305 (libsodium) with a random nonce; `bound_to` (the id of the object it belongs
 * to) is authenticated, so that a sealed secret cannot be moved to another object. The key is read
 * from $CREDENTIALS_DIRECTORY/sluice-key when that is set, else from `path`, which is made at the
 * first start (mode 0600, fsynced) and refused when others may read it. The key lies in locked
 * memory that is left out of core dumps. Loop thread.
 */
#ifndef SLUICE_CATALOG_SEAL_H
#define SLUICE_CATALOG_SEAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include <sluice/types.h>

struct seal;

bool seal_open(const char *path, struct seal **ret, struct err *err);
void seal_close(struct seal *seal);
/* Appends the sealed bytes to *ret. */
bool seal_encrypt(struct seal *seal, const struct sluice_uuid *bound_to, const void *plain,
                  size_t length, struct buf *ret, struct err *err);
/* Appends the plain bytes; CORRUPT when the key, the object or a byte is not the right one. Clear
 * *ret with sodium_memzero when done. */
bool seal_decrypt(struct seal *seal, const struct sluice_uuid *bound_to, const void *sealed,
                  size_t length, struct buf *ret, struct err *err);

/* SHA-256, for hashes of tokens and requests. */
void seal_sha256(const void *bytes, size_t length, unsigned char ret[32]);
/* Same bytes? In constant time. */
bool seal_same(const void *a, const void *b, size_t length);

#endif
