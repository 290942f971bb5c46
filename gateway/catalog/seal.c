/* SPDX-License-Identifier: Apache-2.0
 *
 * seal.c: sealed bytes are u8 version (1), 24 bytes nonce, the cipher text, 16 bytes tag. The
 * version and the object's id are authenticated with them.
 */
#include "catalog/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "base/check.h"

#define VERSION 1
#define KEY_SIZE crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_SIZE crypto_aead_xchacha20poly1305_ietf_ABYTES
#define HEAD_SIZE (1 + NONCE_SIZE)
#define BOUND_SIZE (1 + sizeof(struct sluice_uuid))
#define PLAIN_MAX (1u << 20) /* a secret is a password, a key or a certificate */
#define CREDENTIAL "sluice-key"

struct seal {
    uint8_t *key; /* sodium_malloc: locked, guarded, not dumped */
};

/* ---- the key file --------------------------------------------------------------------------- */

static bool key_read(int fd, const char *path, uint8_t *ret_key, struct err *err) {
    uint8_t *bytes = sodium_malloc(KEY_SIZE + 1); /* one more tells a file that is too long */
    if (bytes == NULL)
        return err_set(err, ERR_NO_MEMORY, "no locked memory for the key");
    size_t length = 0;
    ssize_t got = 1;
    while (got > 0 && length < KEY_SIZE + 1) {
        got = read(fd, bytes + length, KEY_SIZE + 1 - length);
        if (got > 0)
            length += (size_t)got;
    }
    int error = errno;
    bool ok = got >= 0 && length == KEY_SIZE;
    if (ok)
        memcpy(ret_key, bytes, KEY_SIZE);
    else if (got < 0)
        err_errno(err, ERR_CONFIG, error, "reading the key file %s", path);
    else
        err_set(err, ERR_CONFIG, "the key file %s must hold exactly %u bytes", path,
                (unsigned)KEY_SIZE);
    sodium_free(bytes);
    return ok;
}

static bool key_file_is_ours(int fd, const char *path, struct err *err) {
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return err_errno(err, ERR_SYSTEM, errno, "%s", path);
    if (!S_ISREG(stat.st_mode))
        return err_set(err, ERR_CONFIG, "the key file %s is no regular file", path);
    if (stat.st_uid != geteuid() && stat.st_uid != 0)
        return err_set(err, ERR_CONFIG, "the key file %s belongs to uid %u, who could change it",
                       path, stat.st_uid);
    if ((stat.st_mode & 077) != 0)
        return err_set(err, ERR_CONFIG,
                       "the key file %s has mode %04o: others can read it; it must be 0600", path,
                       stat.st_mode & 07777);
    return true;
}

/* systemd has checked the directory and its modes; with access lists in place the mode of a
 * credential does not say who may read it. */
static bool key_from_credential(const char *directory, uint8_t *ret_key, struct err *err) {
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/" CREDENTIAL, directory);
    if (length < 0 || (size_t)length >= sizeof path)
        return err_set(err, ERR_CONFIG, "CREDENTIALS_DIRECTORY is too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_CONFIG, errno, "the credential %s", path);
    bool ok = key_read(fd, path, ret_key, err);
    close(fd);
    return ok;
}

static bool directory_sync(const char *path, struct err *err) {
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int length = slash == NULL
                     ? snprintf(directory, sizeof directory, ".")
                     : snprintf(directory, sizeof directory, "%.*s/", (int)(slash - path), path);
    if (length < 0 || (size_t)length >= sizeof directory)
        return err_set(err, ERR_CONFIG, "the key file has too long a name");
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok)
        err_errno(err, ERR_SYSTEM, errno, "flushing %s", directory);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool key_write(const char *path, const uint8_t *key, struct err *err) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, ERR_CONFIG, errno, "making the key file %s", path);
    ssize_t wrote = write(fd, key, KEY_SIZE);
    bool ok = wrote == (ssize_t)KEY_SIZE && fchmod(fd, 0600) == 0 && fsync(fd) == 0;
    if (!ok)
        err_errno(err, ERR_SYSTEM, wrote < 0 || wrote == (ssize_t)KEY_SIZE ? errno : ENOSPC,
                  "writing the key file %s", path);
    close(fd);
    return ok;
}

/* Written under another name and linked when it is whole, so that no crash leaves half a key and no
 * key that is there is ever replaced. */
static bool key_make(const char *path, uint8_t *ret_key, struct err *err) {
    char fresh[PATH_MAX];
    int length = snprintf(fresh, sizeof fresh, "%s.new", path);
    if (length < 0 || (size_t)length >= sizeof fresh)
        return err_set(err, ERR_CONFIG, "the key file has too long a name");
    crypto_aead_xchacha20poly1305_ietf_keygen(ret_key);
    bool ok = key_write(fresh, ret_key, err);
    if (ok && link(fresh, path) != 0)
        ok = err_errno(err, ERR_CONFIG, errno, "making the key file %s", path);
    unlink(fresh);
    return ok && directory_sync(path, err);
}

static bool key_from_file(const char *path, uint8_t *ret_key, struct err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return key_make(path, ret_key, err);
    if (fd < 0)
        return err_errno(err, ERR_CONFIG, errno, "the key file %s", path);
    bool ok = key_file_is_ours(fd, path, err) && key_read(fd, path, ret_key, err);
    close(fd);
    return ok;
}

bool seal_open(const char *path, struct seal **ret, struct err *err) {
    if (sodium_init() < 0)
        return err_set(err, ERR_SYSTEM, "libsodium finds no source of random numbers");
    struct seal *seal = calloc(1, sizeof *seal);
    if (seal != NULL)
        seal->key = sodium_malloc(KEY_SIZE);
    if (seal == NULL || seal->key == NULL) {
        free(seal);
        return err_set(err, ERR_NO_MEMORY, "no locked memory for the key");
    }
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    bool ok = credentials != NULL && *credentials != '\0'
                  ? key_from_credential(credentials, seal->key, err)
                  : key_from_file(path, seal->key, err);
    if (!ok) {
        seal_close(seal);
        return false;
    }
    sodium_mprotect_readonly(seal->key);
    *ret = seal;
    return true;
}

void seal_close(struct seal *seal) {
    if (seal == NULL)
        return;
    sodium_free(seal->key); /* zeroes it */
    free(seal);
}

/* ---- sealing -------------------------------------------------------------------------------- */

static void bound_bytes(const struct sluice_uuid *bound_to, uint8_t ret[BOUND_SIZE]) {
    ret[0] = VERSION;
    memcpy(ret + 1, bound_to->bytes, sizeof bound_to->bytes);
}

bool seal_encrypt(struct seal *seal, const struct sluice_uuid *bound_to, const void *plain,
                  size_t length, struct buf *ret, struct err *err) {
    if (length > PLAIN_MAX)
        return err_set(err, ERR_LIMIT, "a secret of %zu bytes; at most %u are possible", length,
                       PLAIN_MAX);
    uint8_t bound[BOUND_SIZE], nonce[NONCE_SIZE];
    bound_bytes(bound_to, bound);
    randombytes_buf(nonce, sizeof nonce);
    uint8_t *sealed = malloc(length + TAG_SIZE);
    if (sealed == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for a secret");
    unsigned long long sealed_length;
    crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, &sealed_length, plain, length, bound,
                                               sizeof bound, NULL, nonce, seal->key);
    bool fits = ret->max - ret->length >= HEAD_SIZE + sealed_length;
    if (fits) {
        buf_put_u8(ret, VERSION);
        buf_put(ret, nonce, sizeof nonce);
        buf_put(ret, sealed, (size_t)sealed_length);
    }
    free(sealed);
    if (!fits)
        return err_set(err, ERR_LIMIT, "a sealed secret does not fit where it belongs");
    return !ret->overflow || err_set(err, ERR_NO_MEMORY, "no memory for a secret");
}

bool seal_decrypt(struct seal *seal, const struct sluice_uuid *bound_to, const void *sealed,
                  size_t length, struct buf *ret, struct err *err) {
    const uint8_t *bytes = sealed;
    if (length < HEAD_SIZE + TAG_SIZE || length > HEAD_SIZE + PLAIN_MAX + TAG_SIZE ||
        bytes[0] != VERSION)
        return err_set(err, ERR_CORRUPT, "a sealed secret is damaged");
    size_t plain_length = length - HEAD_SIZE - TAG_SIZE;
    if (ret->max - ret->length < plain_length)
        return err_set(err, ERR_LIMIT, "a secret does not fit where it belongs");
    uint8_t bound[BOUND_SIZE];
    bound_bytes(bound_to, bound);
    uint8_t *plain = malloc(plain_length + 1); /* no malloc(0) */
    if (plain == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for a secret");
    unsigned long long got;
    bool ok = crypto_aead_xchacha20poly1305_ietf_decrypt(plain, &got, NULL, bytes + HEAD_SIZE,
                                                         length - HEAD_SIZE, bound, sizeof bound,
                                                         bytes + 1, seal->key) == 0;
    if (ok)
        buf_put(ret, plain, plain_length);
    sodium_memzero(plain, plain_length);
    free(plain);
    if (!ok)
        return err_set(
            err, ERR_CORRUPT,
            "a sealed secret cannot be opened: another key file, another object or damage");
    return !ret->overflow || err_set(err, ERR_NO_MEMORY, "no memory for a secret");
}

void seal_sha256(const void *bytes, size_t length, unsigned char ret[32]) {
    _Static_assert(crypto_hash_sha256_BYTES == 32, "as the header says");
    crypto_hash_sha256(ret, bytes, length);
}

bool seal_same(const void *a, const void *b, size_t length) {
    return sodium_memcmp(a, b, length) == 0;
}
