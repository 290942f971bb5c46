/* SPDX-License-Identifier: Apache-2.0
 *
 * nbd_fuzz.c: any bytes from an NBD client, cut anywhere.
 * fuzz: data
 *
 * The first byte says how the stream is cut, whether the export can only be read, and whether the
 * client comes by TCP: then what it says behind STARTTLS counts as said inside of TLS, and nothing
 * may have been granted before. What is told must not depend on the cut. After the handshake
 * requests are judged and their payload is skipped, as a connection does; what is accepted must
 * keep to the terms.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "data/nbd_handshake.h"
#include "data/nbd_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct nbd_export disk = {
    .name = "disk",
    .size_bytes = 1 << 20,
    .block_min = 512,
    .block_preferred = 4096,
    .block_max = NBD_PAYLOAD_MAX,
};

static const struct nbd_export *find(void *owner, const char *name, size_t length) {
    CHECK(owner == &disk);
    return length == strlen(disk.name) && memcmp(name, disk.name, length) == 0 ? &disk : NULL;
}

static void begin(bool tls, struct nbd_handshake *handshake, struct buf *out) {
    if (tls)
        nbd_handshake_start_tls(handshake, find, &disk, out);
    else
        nbd_handshake_start(handshake, &disk, out);
}

static void secure(struct nbd_handshake *handshake) {
    CHECK(handshake->security == NBD_TLS_REQUIRED && handshake->export == NULL &&
          !handshake->structured && !handshake->allocation);
    nbd_handshake_secured(handshake);
}

static size_t shake_hands(const uint8_t *bytes, size_t size, size_t step, bool tls,
                          struct nbd_handshake *handshake, struct buf *out) {
    size_t taken = 0;
    size_t there = 0;
    begin(tls, handshake, out);
    bool again = false; /* what lies behind STARTTLS is there already */
    while ((there < size || again) && handshake->step == NBD_STEP_MORE) {
        there = size - there < step ? size : there + step;
        /* In memory of exactly that size, so that a look beyond is seen. */
        uint8_t *part = malloc(there - taken + 1);
        CHECK(part != NULL);
        memcpy(part, bytes + taken, there - taken);
        uint8_t *exact = realloc(part, there > taken ? there - taken : 1);
        size_t more = nbd_handshake_feed(handshake, exact, there - taken, out);
        CHECK(more <= there - taken);
        taken += more;
        free(exact);
        again = handshake->step == NBD_STEP_TLS;
        if (again)
            secure(handshake);
    }
    return taken;
}

static void judge(const struct nbd_handshake *handshake, const uint8_t *bytes, size_t size) {
    struct nbd_terms terms = {.export = &disk,
                              .size_bytes = disk.size_bytes,
                              .structured = handshake->structured,
                              .allocation = handshake->allocation};
    while (size >= NBD_REQUEST_SIZE) {
        struct nbd_request request;
        if (!nbd_request_parse(bytes, &request))
            return;
        uint32_t payload = nbd_request_payload(&request);
        if (nbd_request_judge(&request, &terms) == 0) {
            CHECK(payload <= NBD_PAYLOAD_MAX);
            CHECK(request.type == NBD_FLUSH ||
                  (request.offset <= disk.size_bytes &&
                   request.length <= disk.size_bytes - request.offset && request.length > 0));
            CHECK((disk.flags & NBD_READ_ONLY) == 0 || payload == 0);
        }
        bytes += NBD_REQUEST_SIZE;
        size -= NBD_REQUEST_SIZE;
        size_t skipped = payload < size ? payload : size;
        bytes += skipped;
        size -= skipped;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size < 1)
        return 0;
    size_t step = 1 + (bytes[0] & 0x3f);
    bool tls = (bytes[0] & 0x40) != 0;
    disk.flags = NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA | NBD_SEND_DF;
    disk.flags |= (bytes[0] & 0x80) != 0 ? NBD_READ_ONLY : NBD_SEND_TRIM | NBD_SEND_WRITE_ZEROES;
    struct nbd_handshake cut, whole;
    struct buf cut_out, whole_out;
    buf_init(&cut_out, NBD_ANSWERS_MAX);
    buf_init(&whole_out, NBD_ANSWERS_MAX);
    size_t taken = shake_hands(bytes + 1, size - 1, step, tls, &cut, &cut_out);
    size_t taken_whole = shake_hands(bytes + 1, size - 1, size, tls, &whole, &whole_out);
    CHECK(cut.step == whole.step && cut_out.length == whole_out.length);
    CHECK(cut.step == NBD_STEP_END || taken == taken_whole);
    if (cut_out.length > 0)
        CHECK(memcmp(cut_out.at, whole_out.at, cut_out.length) == 0);
    if (cut.step == NBD_STEP_TRANSMIT)
        CHECK(!tls || cut.security == NBD_TLS_ON);
    if (cut.step == NBD_STEP_TRANSMIT)
        judge(&cut, bytes + 1 + taken, size - 1 - taken);
    buf_release(&cut_out);
    buf_release(&whole_out);
    return 0;
}
