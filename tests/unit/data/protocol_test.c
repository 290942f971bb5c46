/* SPDX-License-Identifier: Apache-2.0
 *
 * The protocol over buffers: every way to cut a conversation, every flag of a request, garbage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "data/nbd_handshake.h"
#include "data/nbd_reply.h"
#include "data/nbd_request.h"
#include <sluice/types.h>

static const struct nbd_export disk = {
    .name = "disk",
    .size_bytes = 1 << 20,
    .flags = NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA | NBD_SEND_WRITE_ZEROES | NBD_SEND_DF,
    .block_min = 512,
    .block_preferred = 4096,
    .block_max = NBD_PAYLOAD_MAX,
};

static void put_64(struct buf *to, uint64_t value) {
    uint8_t bytes[8];
    nbd_store_64(bytes, value);
    buf_put(to, bytes, 8);
}

static void put_32(struct buf *to, uint32_t value) {
    uint8_t bytes[4];
    nbd_store_32(bytes, value);
    buf_put(to, bytes, 4);
}

static void option(struct buf *to, uint32_t number, const void *bytes, uint32_t length) {
    put_64(to, NBD_OPTION_MAGIC);
    put_32(to, number);
    put_32(to, length);
    buf_put(to, bytes, length);
}

static void contexts(struct buf *to, uint32_t number, const char *name, const char *query) {
    struct buf body;
    buf_init(&body, 4096);
    put_32(&body, (uint32_t)strlen(name));
    buf_put(&body, name, strlen(name));
    put_32(&body, query != NULL);
    if (query != NULL) {
        put_32(&body, (uint32_t)strlen(query));
        buf_put(&body, query, strlen(query));
    }
    option(to, number, body.at, (uint32_t)body.length);
    buf_release(&body);
}

static void go(struct buf *to, uint32_t number, const char *name) {
    struct buf body;
    buf_init(&body, 4096);
    put_32(&body, (uint32_t)strlen(name));
    buf_put(&body, name, strlen(name));
    buf_put(&body, "\0\0", 2);
    option(to, number, body.at, (uint32_t)body.length);
    buf_release(&body);
}

static void conversation(struct buf *to) {
    buf_init(to, 65536);
    put_32(to, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    option(to, NBD_OPT_STARTTLS, "", 0);
    option(to, 99, "what", 4);
    option(to, NBD_OPT_LIST, "", 0);
    option(to, NBD_OPT_STRUCTURED_REPLY, "", 0);
    contexts(to, NBD_OPT_LIST_META_CONTEXT, "", NULL);
    contexts(to, NBD_OPT_SET_META_CONTEXT, "disk", "base:allocation");
    go(to, NBD_OPT_INFO, "other");
    go(to, NBD_OPT_INFO, "disk");
    go(to, NBD_OPT_GO, "");
    buf_put(to, "rest", 4);
}

/* Feeds as a connection does: what was not taken comes again with more. */
static void talk(struct nbd_handshake *handshake, const struct buf *in, size_t step,
                 struct buf *out, size_t *ret_taken) {
    size_t taken = 0;
    size_t there = 0;
    nbd_handshake_start(handshake, &disk, out);
    while (there < in->length && handshake->step == NBD_STEP_MORE) {
        there = there + step < in->length ? there + step : in->length;
        /* In memory of exactly that size, so that a sanitizer sees any look beyond. */
        uint8_t *bytes = malloc(there - taken + 1);
        memcpy(bytes, in->at + taken, there - taken);
        taken += nbd_handshake_feed(handshake, bytes, there - taken, out);
        free(bytes);
    }
    *ret_taken = taken;
}

static void test_conversation(void **state) {
    (void)state;
    struct buf in, whole, parts;
    conversation(&in);
    buf_init(&whole, NBD_ANSWERS_MAX);
    struct nbd_handshake handshake;
    size_t taken;
    talk(&handshake, &in, in.length, &whole, &taken);
    assert_int_equal(handshake.step, NBD_STEP_TRANSMIT);
    assert_true(handshake.structured && handshake.allocation);
    assert_int_equal(in.length - taken, 4);
    /* The replies in their order. */
    static const uint32_t expected[] = {
        NBD_REP_ERR_POLICY, NBD_REP_ERR_UNSUP,    NBD_REP_SERVER, NBD_REP_ACK,
        NBD_REP_ACK,        NBD_REP_META_CONTEXT, NBD_REP_ACK,    NBD_REP_META_CONTEXT,
        NBD_REP_ACK,        NBD_REP_ERR_UNKNOWN,  NBD_REP_INFO,   NBD_REP_INFO,
        NBD_REP_ACK,        NBD_REP_INFO,         NBD_REP_INFO,   NBD_REP_ACK};
    size_t at = 18;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_true(at + 20 <= whole.length);
        assert_true(nbd_load_64(whole.at + at) == NBD_OPTION_REPLY_MAGIC);
        assert_int_equal(nbd_load_32(whole.at + at + 12), expected[i]);
        at += 20 + nbd_load_32(whole.at + at + 16);
    }
    assert_int_equal(at, whole.length);
    /* However it is cut, the same is said. */
    for (size_t step = 1; step < in.length; step++) {
        buf_init(&parts, NBD_ANSWERS_MAX);
        talk(&handshake, &in, step, &parts, &taken);
        assert_int_equal(handshake.step, NBD_STEP_TRANSMIT);
        assert_int_equal(parts.length, whole.length);
        assert_memory_equal(parts.at, whole.at, whole.length);
        buf_release(&parts);
    }
    buf_release(&in);
    buf_release(&whole);
}

/* Each beginning alone leaves the server waiting, not ended, not through. */
static void test_truncated(void **state) {
    (void)state;
    struct buf in;
    conversation(&in);
    size_t end = in.length - 4;
    for (size_t length = 0; length < end; length++) {
        struct buf out;
        buf_init(&out, NBD_ANSWERS_MAX);
        struct nbd_handshake handshake;
        size_t taken;
        in.length = length;
        talk(&handshake, &in, length + 1, &out, &taken);
        assert_int_equal(handshake.step, NBD_STEP_MORE);
        assert_true(taken <= length);
        buf_release(&out);
    }
    buf_release(&in);
}

static enum nbd_step say(struct buf *in, struct buf *out, struct nbd_handshake *ret) {
    size_t taken;
    buf_init(out, NBD_ANSWERS_MAX);
    talk(ret, in, in->length, out, &taken);
    return ret->step;
}

static void test_refused(void **state) {
    (void)state;
    struct nbd_handshake handshake;
    struct buf in, out;
    /* Unknown client flags. */
    buf_init(&in, 65536);
    put_32(&in, 4);
    assert_int_equal(say(&in, &out, &handshake), NBD_STEP_END);
    buf_release(&out);
    /* A wrong option magic. */
    buf_clear(&in);
    put_32(&in, NBD_FIXED_NEWSTYLE);
    put_64(&in, NBD_OPTION_MAGIC + 1);
    put_64(&in, 0);
    assert_int_equal(say(&in, &out, &handshake), NBD_STEP_END);
    buf_release(&out);
    /* Data longer than any option: skipped, and the next one is understood. */
    buf_clear(&in);
    put_32(&in, NBD_FIXED_NEWSTYLE);
    static const uint8_t much[NBD_OPTION_MAX + 1];
    option(&in, NBD_OPT_LIST, much, sizeof much);
    option(&in, NBD_OPT_ABORT, "", 0);
    assert_int_equal(say(&in, &out, &handshake), NBD_STEP_END);
    assert_int_equal(nbd_load_32(out.at + 18 + 12), NBD_REP_ERR_TOO_BIG);
    assert_int_equal(nbd_load_32(out.at + out.length - 8), NBD_REP_ACK);
    buf_release(&out);
    /* A name that is not there has no other answer. */
    buf_clear(&in);
    put_32(&in, NBD_FIXED_NEWSTYLE);
    option(&in, NBD_OPT_EXPORT_NAME, "none", 4);
    assert_int_equal(say(&in, &out, &handshake), NBD_STEP_END);
    assert_int_equal(out.length, 18);
    buf_release(&out);
    /* The old way in, with its zeroes. */
    buf_clear(&in);
    put_32(&in, NBD_FIXED_NEWSTYLE);
    option(&in, NBD_OPT_EXPORT_NAME, "disk", 4);
    assert_int_equal(say(&in, &out, &handshake), NBD_STEP_TRANSMIT);
    assert_int_equal(out.length, 18 + 10 + 124);
    buf_release(&out);
    /* Lengths inside that point beyond; contexts before structured replies. */
    buf_clear(&in);
    put_32(&in, NBD_FIXED_NEWSTYLE);
    option(&in, NBD_OPT_GO, "\xff\xff\xff\xff\0\0", 6);
    option(&in, NBD_OPT_SET_META_CONTEXT, "\0\0\0\0\xff\xff\xff\xff", 8);
    contexts(&in, NBD_OPT_SET_META_CONTEXT, "", "base:allocation");
    assert_int_equal(say(&in, &out, &handshake), NBD_STEP_MORE);
    assert_false(handshake.allocation);
    assert_int_equal(nbd_load_32(out.at + 18 + 12), NBD_REP_ERR_INVALID);
    buf_release(&out);
    /* Options without end. */
    buf_clear(&in);
    put_32(&in, NBD_FIXED_NEWSTYLE);
    for (int i = 0; i <= NBD_OPTIONS_MAX; i++)
        option(&in, 99, "", 0);
    assert_int_equal(say(&in, &out, &handshake), NBD_STEP_END);
    buf_release(&out);
    buf_release(&in);
}

static void test_requests(void **state) {
    (void)state;
    struct nbd_terms terms = {.export = &disk, .size_bytes = disk.size_bytes, .structured = true};
    static const struct {
        uint16_t type, flags;
        uint64_t offset;
        uint32_t length, error;
    } cases[] = {
        {NBD_READ, 0, 0, 4096, 0},
        {NBD_READ, NBD_DF, 0, 65536, 0},
        {NBD_READ, NBD_DF, 0, 65536 + 512, NBD_EOVERFLOW},
        {NBD_READ, NBD_NO_HOLE, 0, 4096, NBD_EINVAL},
        {NBD_READ, 0, 1, 4096, NBD_EINVAL},
        {NBD_READ, 0, 0, 4095, NBD_EINVAL},
        {NBD_READ, 0, 0, 0, NBD_EINVAL},
        {NBD_READ, 0, 1 << 20, 512, NBD_EINVAL},
        {NBD_READ, 0, UINT64_MAX - 511, 512, NBD_EINVAL},
        {NBD_WRITE, 0, (1 << 20) - 512, 1024, NBD_ENOSPC},
        {NBD_WRITE, NBD_FUA, 0, 512, 0},
        {NBD_WRITE, 0, 0, UINT32_MAX, NBD_ENOSPC},
        {NBD_FLUSH, 0, 0, 0, 0},
        {NBD_FLUSH, 0, 77, 77, 0},
        {NBD_TRIM, 0, 0, 512, NBD_EINVAL}, /* not offered */
        {NBD_WRITE_ZEROES, NBD_FUA | NBD_NO_HOLE, 0, 512, 0},
        {NBD_WRITE_ZEROES, NBD_FAST_ZERO, 0, 512, NBD_EINVAL}, /* not offered */
        {NBD_BLOCK_STATUS, 0, 0, 512, NBD_EINVAL},             /* not agreed on */
        {5, 0, 0, 512, NBD_EINVAL},
        {99, 0xffff, 0, 512, NBD_EINVAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct nbd_request request = {.type = cases[i].type,
                                      .flags = cases[i].flags,
                                      .offset = cases[i].offset,
                                      .length = cases[i].length};
        if (nbd_request_judge(&request, &terms) != cases[i].error)
            fail_msg("case %zu: %u", i, nbd_request_judge(&request, &terms));
    }
    struct nbd_export reader = disk;
    reader.flags |= NBD_READ_ONLY;
    terms.export = &reader;
    struct nbd_request write = {.type = NBD_WRITE, .length = 512};
    assert_int_equal(nbd_request_judge(&write, &terms), NBD_EPERM);
    assert_int_equal(nbd_request_payload(&write), 512);
    struct nbd_request unknown = {.type = 99, .length = 512};
    assert_int_equal(nbd_request_payload(&unknown), 0);
    uint8_t bytes[NBD_REQUEST_SIZE] = {0};
    assert_false(nbd_request_parse(bytes, &write));
}

static void test_errors(void **state) {
    (void)state;
    assert_int_equal(nbd_error_of(SLUICE_OK), 0);
    assert_int_equal(nbd_error_of(SLUICE_QUOTA), NBD_ENOSPC);
    assert_int_equal(nbd_error_of(SLUICE_READ_ONLY), NBD_EPERM);
    assert_int_equal(nbd_error_of(SLUICE_STALE), NBD_ESHUTDOWN);
    assert_int_equal(nbd_error_of(SLUICE_UNSUPPORTED), NBD_ENOTSUP);
    assert_int_equal(nbd_error_of(SLUICE_CORRUPT), NBD_EIO);
    assert_int_equal(nbd_error_of(-5), NBD_EIO);
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static const struct nbd_export second = {.name = "second", .size_bytes = 4096};

/* Two exports, by names that are not theirs; how often it was asked is counted. */
static const struct nbd_export *find(void *owner, const char *name, size_t length) {
    ++*(int *)owner;
    if (length == 5 && memcmp(name, "first", 5) == 0)
        return &disk;
    return length == 6 && memcmp(name, "second", 6) == 0 ? &second : NULL;
}

/* Types of the option replies in `out` from `at` on, compared. */
static void replies_are(const struct buf *out, size_t at, const uint32_t *expected, size_t count) {
    for (size_t i = 0; i < count; i++) {
        assert_true(at + 20 <= out->length);
        assert_int_equal(nbd_load_32(out->at + at + 12), expected[i]);
        at += 20 + nbd_load_32(out->at + at + 16);
    }
    assert_int_equal(at, out->length);
}

static void test_before_tls(void **state) {
    (void)state;
    struct nbd_handshake handshake;
    struct buf in, out;
    int asked = 0;
    buf_init(&in, 65536);
    buf_init(&out, NBD_ANSWERS_MAX);
    put_32(&in, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    option(&in, NBD_OPT_LIST, "", 0);
    go(&in, NBD_OPT_GO, "first");
    contexts(&in, NBD_OPT_SET_META_CONTEXT, "first", "base:allocation");
    option(&in, NBD_OPT_STRUCTURED_REPLY, "", 0);
    option(&in, 99, "what", 4);
    option(&in, NBD_OPT_STARTTLS, "now", 3);
    option(&in, NBD_OPT_STARTTLS, "", 0);
    size_t clear = in.length;
    option(&in, NBD_OPT_ABORT, "", 0);
    nbd_handshake_start_tls(&handshake, find, &asked, &out);
    size_t taken = nbd_handshake_feed(&handshake, in.at, in.length, &out);
    static const uint32_t expected[] = {
        NBD_REP_ERR_TLS_REQD, NBD_REP_ERR_TLS_REQD, NBD_REP_ERR_TLS_REQD, NBD_REP_ERR_TLS_REQD,
        NBD_REP_ERR_TLS_REQD, NBD_REP_ERR_INVALID,  NBD_REP_ACK};
    replies_are(&out, 18, expected, 7);
    /* What lies behind it is not taken: it was said in the clear. */
    assert_int_equal(handshake.step, NBD_STEP_TLS);
    assert_int_equal(taken, clear);
    assert_int_equal(nbd_handshake_feed(&handshake, in.at + taken, 16, &out), 0);
    assert_false(handshake.structured);
    assert_int_equal(asked, 0);
    /* The old way in has no answer but the end; leaving is always permitted. */
    static const uint32_t ends[] = {NBD_OPT_EXPORT_NAME, NBD_OPT_ABORT};
    for (size_t i = 0; i < 2; i++) {
        buf_clear(&in);
        buf_clear(&out);
        put_32(&in, NBD_FIXED_NEWSTYLE);
        option(&in, ends[i], "first", 5);
        nbd_handshake_start_tls(&handshake, find, &asked, &out);
        nbd_handshake_feed(&handshake, in.at, in.length, &out);
        assert_int_equal(handshake.step, NBD_STEP_END);
        assert_int_equal(out.length, i == 0 ? 18 : 38);
    }
    assert_int_equal(asked, 0);
    buf_release(&in);
    buf_release(&out);
}

static void begin_inside(struct nbd_handshake *handshake, int *asked, struct buf *out) {
    struct buf in;
    buf_init(&in, 256);
    put_32(&in, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    option(&in, NBD_OPT_STARTTLS, "", 0);
    nbd_handshake_start_tls(handshake, find, asked, out);
    assert_int_equal(nbd_handshake_feed(handshake, in.at, in.length, out), in.length);
    nbd_handshake_secured(handshake);
    buf_clear(out);
    buf_release(&in);
}

static void test_inside_tls(void **state) {
    (void)state;
    struct nbd_handshake handshake;
    struct buf in, out;
    int asked = 0;
    buf_init(&in, 65536);
    buf_init(&out, NBD_ANSWERS_MAX);
    begin_inside(&handshake, &asked, &out);
    option(&in, NBD_OPT_STARTTLS, "", 0);
    option(&in, NBD_OPT_LIST, "", 0);
    option(&in, NBD_OPT_STRUCTURED_REPLY, "", 0);
    go(&in, NBD_OPT_GO, "disk"); /* what it is called is no name to ask for */
    go(&in, NBD_OPT_GO, "");
    contexts(&in, NBD_OPT_SET_META_CONTEXT, "third", "base:allocation");
    contexts(&in, NBD_OPT_SET_META_CONTEXT, "first", "base:allocation");
    go(&in, NBD_OPT_INFO, "second");
    go(&in, NBD_OPT_GO, "first");
    nbd_handshake_feed(&handshake, in.at, in.length, &out);
    static const uint32_t expected[] = {
        NBD_REP_ERR_INVALID, NBD_REP_ERR_POLICY,  NBD_REP_ACK,          NBD_REP_ERR_UNKNOWN,
        NBD_REP_ERR_UNKNOWN, NBD_REP_ERR_UNKNOWN, NBD_REP_META_CONTEXT, NBD_REP_ACK,
        NBD_REP_INFO,        NBD_REP_INFO,        NBD_REP_ACK,          NBD_REP_INFO,
        NBD_REP_INFO,        NBD_REP_ACK};
    replies_are(&out, 0, expected, 14);
    assert_int_equal(handshake.step, NBD_STEP_TRANSMIT);
    assert_ptr_equal(handshake.export, &disk);
    assert_true(handshake.allocation);
    /* A context that was chosen for another export does not count. */
    buf_clear(&in);
    begin_inside(&handshake, &asked, &out);
    option(&in, NBD_OPT_STRUCTURED_REPLY, "", 0);
    contexts(&in, NBD_OPT_SET_META_CONTEXT, "first", "base:allocation");
    option(&in, NBD_OPT_EXPORT_NAME, "second", 6);
    nbd_handshake_feed(&handshake, in.at, in.length, &out);
    assert_int_equal(handshake.step, NBD_STEP_TRANSMIT);
    assert_ptr_equal(handshake.export, &second);
    assert_false(handshake.allocation);
    buf_release(&in);
    buf_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversation), cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_requests),
        cmocka_unit_test(test_errors),       cmocka_unit_test(test_before_tls),
        cmocka_unit_test(test_inside_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
