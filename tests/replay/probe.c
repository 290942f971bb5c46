/* SPDX-License-Identifier: Apache-2.0
 *
 * probe: one NBD client with one request at a time, which notices every gap.
 *
 *     probe SOCKET SECONDS FIRST_MIB MIB
 *
 * Writes 4 KiB blocks of its part of the export one after another, each with a number that was
 * never used before, and reads back one that it wrote earlier; what it reads has to be what was
 * acknowledged last. Prints
 *
 *     requests N errors N wrong N p50 US p99 US longest US
 *
 * and exits with 1 when a request failed or a block was wrong, 2 when the server could not be
 * spoken to. An error is not tried again.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u
#define BLOCKS_MAX 65536u    /* 256 MiB */
#define SAMPLES_MAX 4000000u /* a minute at 60,000 a second */
#define REPLIES_MAX 16       /* to the option GO */
#define REPLY_BYTES_MAX 4096

#define OPTION_GO 7u
#define INFO_ACK 1u
#define CMD_READ 0u
#define CMD_WRITE 1u

static int fd;
static uint32_t samples_us[SAMPLES_MAX];
static uint64_t numbers[BLOCKS_MAX]; /* what each block holds; 0: not written */

_Noreturn __attribute__((format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void take(void *into, size_t length) {
    uint8_t *at = into;
    while (length > 0) {
        ssize_t got = recv(fd, at, length, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            fail("the server went away: %s", got == 0 ? "end" : strerror(errno));
        at += got;
        length -= (size_t)got;
    }
}

static void give(const void *from, size_t length) {
    const uint8_t *at = from;
    while (length > 0) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            fail("the server went away: %s", strerror(errno));
        at += sent;
        length -= (size_t)sent;
    }
}

static void connect_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        fail("%s is too long", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        fail("%s: %s", path, strerror(errno));
}

static void shake_hands(void) {
    uint8_t hello[18];
    struct __attribute__((packed)) {
        uint32_t flags;
        uint64_t magic;
        uint32_t option, length, name_length;
        uint16_t infos;
    } go = {htobe32(1), htobe64(0x49484156454f5054), htobe32(OPTION_GO), htobe32(6), 0, 0};
    take(hello, sizeof hello);
    if (memcmp(hello, "NBDMAGICIHAVEOPT", 16) != 0)
        fail("this is no NBD server");
    give(&go, sizeof go);
    for (int i = 0; i < REPLIES_MAX; i++) {
        struct __attribute__((packed)) {
            uint64_t magic;
            uint32_t option, type, length;
        } reply;
        uint8_t payload[REPLY_BYTES_MAX];
        take(&reply, sizeof reply);
        if (be32toh(reply.length) > sizeof payload)
            fail("a reply of %u bytes", be32toh(reply.length));
        take(payload, be32toh(reply.length));
        if (be32toh(reply.type) == INFO_ACK)
            return;
        if ((be32toh(reply.type) & 0x80000000u) != 0)
            fail("refused: %#x", be32toh(reply.type));
    }
    fail("too many replies");
}

/* The error of the reply; *ret_us is what it took. */
static uint32_t ask(uint16_t type, uint64_t block, uint64_t offset, void *bytes, uint32_t *ret_us) {
    struct __attribute__((packed)) {
        uint32_t magic;
        uint16_t flags, type;
        uint64_t cookie, offset;
        uint32_t length;
    } request = {htobe32(0x25609513), 0, htobe16(type), block, htobe64(offset), htobe32(BLOCK)};
    struct __attribute__((packed)) {
        uint32_t magic, error;
        uint64_t cookie;
    } reply;
    uint64_t began_ns = now_ns();
    give(&request, sizeof request);
    if (type == CMD_WRITE)
        give(bytes, BLOCK);
    take(&reply, sizeof reply);
    if (be32toh(reply.magic) != 0x67446698 || reply.cookie != block)
        fail("a reply to something else");
    if (type == CMD_READ && reply.error == 0)
        take(bytes, BLOCK);
    *ret_us = (uint32_t)((now_ns() - began_ns) / 1000);
    return be32toh(reply.error);
}

static void fill(uint64_t *block, uint64_t number) {
    for (uint32_t i = 0; i < BLOCK / sizeof *block; i++)
        block[i] = number * 0x9e3779b97f4a7c15u + i;
}

static int by_size(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

int main(int count, char **arguments) {
    if (count != 5)
        fail("probe SOCKET SECONDS FIRST_MIB MIB");
    uint64_t first = strtoull(arguments[3], NULL, 10) << 20;
    uint64_t blocks = (strtoull(arguments[4], NULL, 10) << 20) / BLOCK;
    if (blocks == 0 || blocks > BLOCKS_MAX)
        fail("1 to 256 MiB");
    connect_to(arguments[1]);
    shake_hands();
    uint64_t until_ns = now_ns() + strtoull(arguments[2], NULL, 10) * 1000000000u;
    uint64_t dice = 1, number = 0, errors = 0, wrong = 0, samples = 0;
    static uint64_t written[BLOCK / 8], read[BLOCK / 8];
    while (now_ns() < until_ns && samples + 2 <= SAMPLES_MAX) {
        uint64_t block = number++ % blocks;
        fill(written, number);
        if (ask(CMD_WRITE, block, first + block * BLOCK, written, &samples_us[samples++]) != 0)
            errors++;
        else
            numbers[block] = number;
        dice = dice * 6364136223846793005u + 1442695040888963407u;
        block = (dice >> 33) % (number < blocks ? number : blocks);
        if (ask(CMD_READ, block, first + block * BLOCK, read, &samples_us[samples++]) != 0) {
            errors++;
            continue;
        }
        fill(written, numbers[block]);
        if (numbers[block] != 0 && memcmp(written, read, BLOCK) != 0)
            wrong++;
    }
    qsort(samples_us, samples, sizeof samples_us[0], by_size);
    printf("requests %" PRIu64 " errors %" PRIu64 " wrong %" PRIu64 " p50 %u p99 %u longest %u\n",
           samples, errors, wrong, samples_us[samples / 2], samples_us[samples * 99 / 100],
           samples_us[samples - 1]);
    return errors + wrong != 0;
}
