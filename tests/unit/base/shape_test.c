/* SPDX-License-Identifier: Apache-2.0
 *
 * The binary form of shapes: there and back, every cut, every flipped byte, older and newer
 * versions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "base/shape.h"

#define ALL_FIELDS(F, T)         \
    F(T, BOOL, on, 0, "")        \
    F(T, U32, small, 0, "")      \
    F(T, U64, large, 0, "")      \
    F(T, I64, signed_one, 0, "") \
    F(T, TIME, made, 0, "")      \
    F(T, UUID, id, 0, "")        \
    F(T, TEXT, name, 12, "")     \
    F(T, PAIRS, labels, 3, "")   \
    F(T, TEXTS, lines, 3, "")    \
    F(T, BYTES, secret, 8, "")
SHAPE_STRUCT(all, ALL_FIELDS)
SHAPE_DEFINE(all, 2, ALL_FIELDS)

/* The same thing as it was in version 1 and as it will be in version 3. */
#define OLD_FIELDS(F, T)    \
    F(T, U32, small, 0, "") \
    F(T, TEXT, name, 12, "")
SHAPE_STRUCT(old, OLD_FIELDS)
SHAPE_DEFINE(old, 1, OLD_FIELDS)
#define NOW_FIELDS(F, T)        \
    OLD_FIELDS(F, T)            \
    F(T, TEXT, comment, 20, "") \
    F(T, PAIRS, labels, 4, "")  \
    F(T, U64, size_bytes, 0, "")
SHAPE_STRUCT(now, NOW_FIELDS)
SHAPE_DEFINE(now, 2, NOW_FIELDS)

static struct text_pair some_pairs[] = {{"a", "1"}, {"b", ""}, {"c", "\xe2\x82\xac"}};
static const char *some_lines[] = {"one", "", "three"};

static struct all sample(void) {
    struct all all = {
        .on = true,
        .small = UINT32_MAX,
        .large = UINT64_MAX,
        .signed_one = INT64_MIN,
        .made = 951782400001,
        .id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
        .name = "Gr\xc3\xbc\xc3\x9f"
                "e 1234",
        .labels = {some_pairs, 3},
        .lines = {some_lines, 3},
        .secret = {(const uint8_t *)"\0\1\2\3\4\5\6\7", 8},
    };
    return all;
}

static void assert_is_sample(const struct all *all) {
    struct all expected = sample();
    assert_int_equal(all->on, true);
    assert_true(all->small == UINT32_MAX);
    assert_true(all->large == UINT64_MAX);
    assert_true(all->signed_one == INT64_MIN);
    assert_true(all->made == expected.made);
    assert_memory_equal(all->id.bytes, expected.id.bytes, 16);
    assert_string_equal(all->name, expected.name);
    assert_int_equal(all->labels.count, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(all->labels.at[i].name, some_pairs[i].name);
        assert_string_equal(all->labels.at[i].value, some_pairs[i].value);
    }
    assert_int_equal(all->lines.count, 3);
    for (int i = 0; i < 3; i++)
        assert_string_equal(all->lines.at[i], some_lines[i]);
    assert_int_equal(all->secret.length, 8);
    assert_memory_equal(all->secret.at, expected.secret.at, 8);
}

static void encode_sample(struct buf *buf) {
    struct all all = sample();
    buf_init(buf, 4096);
    shape_encode(&all_shape, &all, buf);
    assert_false(buf->overflow);
}

static void there_and_back(void **state) {
    (void)state;
    struct buf buf;
    struct arena arena;
    struct all all;
    struct err err = ERR_INIT;
    encode_sample(&buf);
    arena_init(&arena, 4096);
    assert_true(shape_decode(&all_shape, buf.at, buf.length, &arena, &all, &err));
    memset(buf.at, 0xee, buf.length); /* nothing may point there */
    assert_is_sample(&all);
    assert_int_equal(err.code, ERR_NONE);
    arena_release(&arena);
    buf_release(&buf);
}

static void zeroes_and_back(void **state) {
    (void)state;
    struct buf buf;
    struct arena arena;
    struct all all = {0};
    struct all back;
    memset(&back, 0x5a, sizeof back);
    buf_init(&buf, 4096);
    shape_encode(&all_shape, &all, &buf);
    arena_init(&arena, 4096);
    assert_true(shape_decode(&all_shape, buf.at, buf.length, &arena, &back, NULL));
    assert_false(back.on);
    assert_string_equal(back.name, "");
    assert_int_equal(back.labels.count, 0);
    assert_int_equal(back.lines.count, 0);
    assert_int_equal(back.secret.length, 0);
    arena_release(&arena);
    buf_release(&buf);
}

/* A copy of exactly the size, so that a sanitizer sees any read behind it. Whatever comes out, the
 * target is either whole or untouched. */
static bool decode_copy(const uint8_t *bytes, size_t length, size_t arena_max) {
    uint8_t *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    struct all all;
    struct all before;
    memset(&all, 0x5a, sizeof all);
    memset(&before, 0x5a, sizeof before);
    struct arena arena;
    arena_init(&arena, arena_max);
    struct err err = ERR_INIT;
    bool good = shape_decode(&all_shape, copy, length, &arena, &all, &err);
    free(copy);
    if (good) {
        assert_true(text_is_utf8(all.name, strlen(all.name)));
        assert_true(strlen(all.name) <= 12);
        assert_true(all.labels.count <= 3 && all.lines.count <= 3 && all.secret.length <= 8);
    } else {
        assert_int_not_equal(err.code, ERR_NONE);
        assert_memory_equal(&all, &before, sizeof all);
    }
    arena_release(&arena);
    return good;
}

static void every_cut_is_refused(void **state) {
    (void)state;
    struct buf buf;
    encode_sample(&buf);
    assert_true(decode_copy(buf.at, buf.length, 4096));
    for (size_t cut = 0; cut < buf.length; cut++)
        assert_false(decode_copy(buf.at, cut, 4096));
    buf_put_u8(&buf, 0);
    assert_false(decode_copy(buf.at, buf.length, 4096));
    buf_release(&buf);
}

static void every_byte_may_be_anything(void **state) {
    (void)state;
    struct buf buf;
    encode_sample(&buf);
    size_t refused = 0;
    for (size_t i = 0; i < buf.length; i++) {
        uint8_t right = buf.at[i];
        for (unsigned value = 0; value < 256; value++) {
            buf.at[i] = (uint8_t)value;
            refused += !decode_copy(buf.at, buf.length, 4096);
        }
        buf.at[i] = right;
    }
    assert_true(refused > 1000); /* the lengths and counts alone */
    buf_release(&buf);
}

static void every_arena_size(void **state) {
    (void)state;
    struct buf buf;
    encode_sample(&buf);
    size_t max = 0;
    while (!decode_copy(buf.at, buf.length, max)) {
        max += 16;
        assert_true(max < 4096);
    }
    assert_true(max > sizeof(struct all));
    struct all all;
    struct arena arena;
    struct err err = ERR_INIT;
    arena_init(&arena, 16);
    assert_false(shape_decode(&all_shape, buf.at, buf.length, &arena, &all, &err));
    assert_int_equal(err.code, ERR_NO_MEMORY);
    arena_release(&arena);
    buf_release(&buf);
}

/* A count of four thousand million entries must not make an array before the bytes are there. */
static void counts_are_bounded(void **state) {
    (void)state;
    static const struct shape_field fields[] = {{"lines", "", SHAPE_TEXTS, 0, UINT32_MAX}};
    static const struct shape wide = {"wide", 1, 1, sizeof(struct text_list), fields};
    static const uint8_t bytes[] = {1, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0};
    struct text_list list;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct err err = ERR_INIT;
    assert_false(shape_decode(&wide, bytes, sizeof bytes, &arena, &list, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_true(arena.held < 4096);
    arena_release(&arena);
}

/* What encodes by a wider shape is refused by a narrower one at the first byte that is too many. */
static void refuses_beyond(enum shape_kind kind, uint32_t held, uint32_t max, const void *value,
                           size_t size) {
    const struct shape_field wide_fields[] = {{"field", "", kind, 0, 100}};
    const struct shape_field fields[] = {{"field", "", kind, 0, max}};
    const struct shape wide = {"wide", 1, 1, size, wide_fields};
    const struct shape narrow = {"narrow", 1, 1, size, fields};
    union {
        const char *text;
        struct blob blob;
        struct text_list list;
        struct text_pairs pairs;
    } decoded;
    struct err err = ERR_INIT;
    struct arena arena;
    struct buf buf;
    buf_init(&buf, 4096);
    arena_init(&arena, 4096);
    shape_encode(&wide, value, &buf);
    assert_true(shape_decode(&wide, buf.at, buf.length, &arena, &decoded, NULL));
    bool fits = shape_decode(&narrow, buf.at, buf.length, &arena, &decoded, &err);
    assert_int_equal(fits, held <= max);
    assert_int_equal(err.code, fits ? ERR_NONE : ERR_CORRUPT);
    arena_release(&arena);
    buf_release(&buf);
}

static void lengths_are_bounded(void **state) {
    (void)state;
    static const uint8_t bytes[4] = {1, 2, 3, 4};
    const char *text = "four";
    const struct blob blob = {bytes, 4};
    const struct text_list list = {some_lines, 3};
    const struct text_pairs pairs = {some_pairs, 3};
    for (uint32_t max = 1; max <= 5; max++) {
        refuses_beyond(SHAPE_TEXT, 4, max, &text, sizeof text);
        refuses_beyond(SHAPE_BYTES, 4, max, &blob, sizeof blob);
        refuses_beyond(SHAPE_TEXTS, 3, max, &list, sizeof list);
        refuses_beyond(SHAPE_PAIRS, 3, max, &pairs, sizeof pairs);
    }
}

static void pairs_must_ascend(void **state) {
    (void)state;
    struct arena arena;
    struct now now = {0};
    struct buf buf;
    struct text_pair pairs[] = {{"a", "1"}, {"b", "2"}};
    now.labels = (struct text_pairs){pairs, 2};
    buf_init(&buf, 4096);
    shape_encode(&now_shape, &now, &buf);
    arena_init(&arena, 4096);
    assert_true(shape_decode(&now_shape, buf.at, buf.length, &arena, &now, NULL));
    for (size_t i = 0; i < buf.length; i++)
        if (buf.at[i] == 'b')
            buf.at[i] = 'a'; /* twice the same */
    assert_false(shape_decode(&now_shape, buf.at, buf.length, &arena, &now, NULL));
    arena_release(&arena);
    buf_release(&buf);
}

static void an_older_record(void **state) {
    (void)state;
    struct old old = {.small = 9, .name = "vol"};
    struct now now;
    memset(&now, 0x5a, sizeof now);
    struct buf buf;
    buf_init(&buf, 4096);
    shape_encode(&old_shape, &old, &buf);
    struct arena arena;
    arena_init(&arena, 4096);
    assert_true(shape_decode(&now_shape, buf.at, buf.length, &arena, &now, NULL));
    assert_int_equal(now.small, 9);
    assert_string_equal(now.name, "vol");
    assert_string_equal(now.comment, "");
    assert_int_equal(now.labels.count, 0);
    assert_true(now.size_bytes == 0);
    buf_put_u8(&buf, 0); /* an older record has nothing behind its fields */
    assert_false(shape_decode(&now_shape, buf.at, buf.length, &arena, &now, NULL));
    arena_release(&arena);
    buf_release(&buf);
}

static void a_newer_record(void **state) {
    (void)state;
    struct now now = {.small = 9, .name = "vol", .comment = "new", .size_bytes = 5};
    struct old old;
    struct buf buf;
    buf_init(&buf, 4096);
    shape_encode(&now_shape, &now, &buf);
    struct arena arena;
    arena_init(&arena, 4096);
    assert_true(shape_decode(&old_shape, buf.at, buf.length, &arena, &old, NULL));
    assert_int_equal(old.small, 9);
    assert_string_equal(old.name, "vol");
    arena_release(&arena);
    buf_release(&buf);
}

static void version_and_count_agree(void **state) {
    (void)state;
    static const struct {
        uint16_t version, count;
        bool good;
    } rows[] = {{2, 5, true},  {2, 4, false}, {2, 6, false}, {1, 5, true},
                {1, 6, false}, {3, 4, false}, {3, 5, true},  {3, 6, true}};
    struct now now = {.name = "vol"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf buf;
        struct now back;
        buf_init(&buf, 4096);
        shape_encode(&now_shape, &now, &buf);
        buf.at[0] = (uint8_t)rows[i].version;
        buf.at[2] = (uint8_t)rows[i].count;
        struct arena arena;
        arena_init(&arena, 4096);
        assert_int_equal(shape_decode(&now_shape, buf.at, buf.length, &arena, &back, NULL),
                         rows[i].good);
        arena_release(&arena);
        buf_release(&buf);
    }
}

static void copies_stand_alone(void **state) {
    (void)state;
    struct buf buf;
    struct arena first, second;
    struct all all, copy;
    encode_sample(&buf);
    arena_init(&first, 4096);
    arena_init(&second, 4096);
    assert_true(shape_decode(&all_shape, buf.at, buf.length, &first, &all, NULL));
    assert_true(shape_copy(&all_shape, &all, &second, &copy));
    arena_release(&first);
    assert_is_sample(&copy);
    struct all null_texts = {0};
    assert_true(shape_copy(&all_shape, &null_texts, &second, &copy));
    assert_string_equal(copy.name, "");
    struct all whole = sample();
    struct all untouched;
    for (size_t max = 0; max < 1200; max += 16) {
        arena_init(&first, max);
        memset(&copy, 0x5a, sizeof copy);
        memset(&untouched, 0x5a, sizeof untouched);
        if (shape_copy(&all_shape, &whole, &first, &copy))
            assert_is_sample(&copy);
        else
            assert_memory_equal(&copy, &untouched, sizeof copy);
        arena_release(&first);
    }
    arena_release(&second);
    buf_release(&buf);
}

static void maps(void **state) {
    (void)state;
    struct text_pair at[] = {{"b", "2"}, {"a", "1"}, {"\xc3\xa4", "4"}, {"c", "3"}};
    struct text_pairs pairs = {at, 4};
    assert_true(pairs_sort(&pairs));
    assert_string_equal(at[0].name, "a");
    assert_string_equal(at[3].name, "\xc3\xa4");
    assert_string_equal(pairs_get(&pairs, "a"), "1");
    assert_string_equal(pairs_get(&pairs, "b"), "2");
    assert_string_equal(pairs_get(&pairs, "c"), "3");
    assert_string_equal(pairs_get(&pairs, "\xc3\xa4"), "4");
    assert_null(pairs_get(&pairs, "bb"));
    assert_null(pairs_get(&pairs, ""));
    struct text_pair twice[] = {{"b", "2"}, {"a", "1"}, {"b", "3"}};
    pairs = (struct text_pairs){twice, 3};
    assert_false(pairs_sort(&pairs));
    struct text_pairs none = {NULL, 0};
    assert_true(pairs_sort(&none));
    assert_null(pairs_get(&none, "a"));
}

/* Beyond its maximum is our own bug: the process ends, nothing wrong is written. */
static void too_long_is_a_bug(void **state) {
    (void)state;
    for (int wrong = 0; wrong < 5; wrong++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct rlimit no_core = {0, 0};
            setrlimit(RLIMIT_CORE, &no_core);
            signal(SIGABRT, SIG_DFL);
            close(STDERR_FILENO);
            struct all all = sample();
            struct text_pair unsorted[] = {{"b", ""}, {"a", ""}};
            if (wrong == 0)
                all.name = "thirteen char";
            if (wrong == 1)
                all.labels.count = 4;
            if (wrong == 2)
                all.lines.count = 4;
            if (wrong == 3)
                all.secret.length = 9;
            if (wrong == 4)
                all.labels = (struct text_pairs){unsorted, 2};
            struct buf buf;
            buf_init(&buf, 4096);
            shape_encode(&all_shape, &all, &buf);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),       cmocka_unit_test(zeroes_and_back),
        cmocka_unit_test(every_cut_is_refused), cmocka_unit_test(every_byte_may_be_anything),
        cmocka_unit_test(every_arena_size),     cmocka_unit_test(counts_are_bounded),
        cmocka_unit_test(pairs_must_ascend),    cmocka_unit_test(an_older_record),
        cmocka_unit_test(a_newer_record),       cmocka_unit_test(version_and_count_agree),
        cmocka_unit_test(copies_stand_alone),   cmocka_unit_test(maps),
        cmocka_unit_test(too_long_is_a_bug),    cmocka_unit_test(lengths_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
