/* SPDX-License-Identifier: Apache-2.0
 *
 * Secrets: opened only with the right key, for the right object, whole; and a key file that only
 * its owner can read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "base/num.h"
#include "catalog/seal.h"
#include "fixture.h"

struct place {
    char directory[64];
    char path[96];
};

static int setup(void **state) {
    struct place *place = calloc(1, sizeof *place);
    directory_make(place->directory);
    snprintf(place->path, sizeof place->path, "%s/key", place->directory);
    unsetenv("CREDENTIALS_DIRECTORY");
    *state = place;
    return 0;
}

static int teardown(void **state) {
    struct place *place = *state;
    directory_remove(place->directory);
    free(place);
    return 0;
}

static struct seal *opened(const char *path) {
    struct seal *seal = NULL;
    struct err err = ERR_INIT;
    if (!seal_open(path, &seal, &err))
        print_error("%s\n", err.text);
    assert_non_null(seal);
    return seal;
}

static void refused(const char *path, const char *why) {
    struct seal *seal = NULL;
    struct err err = ERR_INIT;
    assert_false(seal_open(path, &seal, &err));
    assert_null(seal);
    assert_int_equal(err.code, ERR_CONFIG);
    if (strstr(err.text, why) == NULL)
        print_error("%s\n", err.text);
    assert_non_null(strstr(err.text, why));
}

static const struct sluice_uuid here = {{1, 2, 3}}, elsewhere = {{1, 2, 4}};

static void seals_and_opens(void **state) {
    struct place *place = *state;
    struct seal *seal = opened(place->path);
    static uint8_t secret[5000];
    for (size_t i = 0; i < sizeof secret; i++)
        secret[i] = (uint8_t)(i * 13);
    const size_t lengths[] = {0, 1, 16, 4096, sizeof secret};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct buf sealed, plain;
        struct err err = ERR_INIT;
        buf_init(&sealed, 8192);
        buf_init(&plain, 8192);
        buf_put(&sealed, "head", 4); /* appended to what is there */
        buf_put(&plain, "head", 4);
        assert_true(seal_encrypt(seal, &here, secret, lengths[i], &sealed, &err));
        assert_true(sealed.length > lengths[i] + 4);
        assert_true(seal_decrypt(seal, &here, sealed.at + 4, sealed.length - 4, &plain, &err));
        assert_int_equal(plain.length, lengths[i] + 4);
        assert_memory_equal(plain.at, "head", 4);
        assert_memory_equal(plain.at + 4, secret, lengths[i]);
        buf_release(&sealed);
        buf_release(&plain);
    }
    seal_close(seal);
}

static void every_byte_counts(void **state) {
    struct place *place = *state;
    struct seal *seal = opened(place->path);
    struct buf sealed, again, plain;
    struct err err = ERR_INIT;
    buf_init(&sealed, 256);
    buf_init(&again, 256);
    buf_init(&plain, 256);
    assert_true(seal_encrypt(seal, &here, "hunter2", 7, &sealed, &err));
    assert_true(seal_encrypt(seal, &here, "hunter2", 7, &again, &err));
    assert_memory_not_equal(sealed.at, again.at, sealed.length); /* a nonce of its own */
    for (size_t i = 0; i < sealed.length; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            err = ERR_INIT;
            sealed.at[i] ^= (uint8_t)(1u << bit);
            assert_false(seal_decrypt(seal, &here, sealed.at, sealed.length, &plain, &err));
            assert_int_equal(err.code, ERR_CORRUPT);
            sealed.at[i] ^= (uint8_t)(1u << bit);
        }
    for (size_t length = 0; length < sealed.length; length++) {
        err = ERR_INIT;
        assert_false(seal_decrypt(seal, &here, sealed.at, length, &plain, &err));
        assert_int_equal(err.code, ERR_CORRUPT);
    }
    err = ERR_INIT;
    assert_false(seal_decrypt(seal, &elsewhere, sealed.at, sealed.length, &plain, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_int_equal(plain.length, 0);
    err = ERR_INIT;
    assert_true(seal_decrypt(seal, &here, sealed.at, sealed.length, &plain, &err));
    seal_close(seal);
    buf_release(&sealed);
    buf_release(&again);
    buf_release(&plain);
}

static void does_not_fit(void **state) {
    struct place *place = *state;
    struct seal *seal = opened(place->path);
    struct buf small, sealed;
    struct err err = ERR_INIT;
    buf_init(&small, 47);
    buf_init(&sealed, 256);
    assert_false(seal_encrypt(seal, &here, "hunter2", 7, &small, &err)); /* 1 + 24 + 7 + 16 = 48 */
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(small.length, 0);
    err = ERR_INIT;
    assert_true(seal_encrypt(seal, &here, "hunter2", 7, &sealed, &err));
    small.max = 6;
    assert_false(seal_decrypt(seal, &here, sealed.at, sealed.length, &small, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_release(&small);
    buf_release(&sealed);
    seal_close(seal);
}

static void key_file_lives_on(void **state) {
    struct place *place = *state;
    struct err err = ERR_INIT;
    struct buf sealed, plain;
    buf_init(&sealed, 256);
    buf_init(&plain, 256);
    umask(0);
    struct seal *seal = opened(place->path);
    struct stat stat_of_key;
    assert_int_equal(stat(place->path, &stat_of_key), 0);
    assert_int_equal(stat_of_key.st_mode & 07777, 0600);
    assert_int_equal(stat_of_key.st_size, 32);
    assert_true(seal_encrypt(seal, &here, "hunter2", 7, &sealed, &err));
    seal_close(seal);
    seal = opened(place->path);
    assert_true(seal_decrypt(seal, &here, sealed.at, sealed.length, &plain, &err));
    seal_close(seal);
    unlink(place->path);
    seal = opened(place->path); /* another key */
    assert_false(seal_decrypt(seal, &here, sealed.at, sealed.length, &plain, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    seal_close(seal);
    seal_close(NULL);
    buf_release(&sealed);
    buf_release(&plain);
}

static void key_files_are_judged(void **state) {
    struct place *place = *state;
    seal_close(opened(place->path));
    const mode_t modes[] = {0640, 0604, 0660, 0601};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        chmod(place->path, modes[i]);
        refused(place->path, "others can read it");
    }
    chmod(place->path, 0400);
    seal_close(opened(place->path));
    chmod(place->path, 0600);
    if (geteuid() == 0) {
        assert_int_equal(chown(place->path, 4711, 0), 0);
        refused(place->path, "4711");
        assert_int_equal(chown(place->path, 0, 0), 0);
    }
    assert_int_equal(truncate(place->path, 31), 0);
    refused(place->path, "exactly 32 bytes");
    assert_int_equal(truncate(place->path, 33), 0);
    refused(place->path, "exactly 32 bytes");
    unlink(place->path);
    assert_int_equal(mkdir(place->path, 0700), 0);
    refused(place->path, "no regular file");
    rmdir(place->path);
    assert_int_equal(symlink("elsewhere", place->path), 0);
    refused(place->path, "symbolic");
    unlink(place->path);
    char lost[128];
    snprintf(lost, sizeof lost, "%s/none/key", place->directory);
    refused(lost, "making the key file");
}

static void credential_comes_first(void **state) {
    struct place *place = *state;
    struct seal *seal = opened(place->path);
    struct buf sealed, plain;
    struct err err = ERR_INIT;
    buf_init(&sealed, 256);
    buf_init(&plain, 256);
    assert_true(seal_encrypt(seal, &here, "hunter2", 7, &sealed, &err));
    seal_close(seal);
    char credential[128], other[128];
    snprintf(credential, sizeof credential, "%s/sluice-key", place->directory);
    snprintf(other, sizeof other, "%s/other", place->directory);
    setenv("CREDENTIALS_DIRECTORY", place->directory, 1);
    refused(other, "the credential"); /* it was promised: no new key is made up */
    assert_int_equal(access(other, F_OK), -1);
    assert_int_equal(rename(place->path, credential), 0);
    seal = opened(other);
    assert_true(seal_decrypt(seal, &here, sealed.at, sealed.length, &plain, &err));
    assert_int_equal(access(other, F_OK), -1);
    seal_close(seal);
    unsetenv("CREDENTIALS_DIRECTORY");
    buf_release(&sealed);
    buf_release(&plain);
}

static void hashes(void **state) {
    (void)state;
    /* FIPS 180-2, appendix B.1 */
    unsigned char hash[32];
    char text[65];
    seal_sha256("abc", 3, hash);
    text_hex(hash, sizeof hash, text);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(seal_same("abcd", "abcd", 4));
    assert_false(seal_same("abcd", "abce", 4));
    assert_true(seal_same("abcd", "abce", 3));
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(seals_and_opens),    CASE(every_byte_counts),    CASE(does_not_fit),
        CASE(key_file_lives_on),  CASE(key_files_are_judged), CASE(credential_comes_first),
        cmocka_unit_test(hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
