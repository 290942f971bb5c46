/* SPDX-License-Identifier: Apache-2.0
 *
 * Archives on a real file system: found, judged, and refused for what they should not be; and the
 * texts that lie in them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "lifecycle/archive.h"
#include "lifecycle/discover.h"
#include "lifecycle/messages.h"

static char root[PATH_MAX];  /* the test's own */
static char where[PATH_MAX]; /* the driver directory */
static struct arena arena;

static const char *path_of(const char *name) {
    static char paths[8][PATH_MAX + 1024];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", where, name);
    return path;
}

static void make_folder(const char *name) {
    assert_int_equal(mkdir(path_of(name), 0755), 0);
}

static void make_file(const char *name, const char *text) {
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path_of(name), 0644), 0);
}

static void make_archive(const char *name, const char *abi) {
    char path[512], text[1024];
    make_folder(name);
    snprintf(path, sizeof path, "%s/META-INF", name);
    make_folder(path);
    snprintf(path, sizeof path, "%s/driver", name);
    make_folder(path);
    snprintf(path, sizeof path, "%s/driver/x.so", name);
    make_file(path, "library");
    snprintf(path, sizeof path, "%s/META-INF/driver.yaml", name);
    snprintf(text, sizeof text,
             "schema: 1\nname: %s\nversion: 1.0.0\ncategory: storage\nabi: \"%s\"\nvendor: V\n"
             "license: L\nlibrary: x.so\nlabel: l\ndescription: d\n",
             name, abi);
    make_file(path, text);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw) {
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int setup(void **state) {
    (void)state;
    const char *temporary = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/lifecycle-XXXXXX", temporary != NULL ? temporary : "/tmp");
    char resolved[PATH_MAX];
    if (mkdtemp(root) == NULL || realpath(root, resolved) == NULL)
        return -1;
    memcpy(root, resolved, sizeof root);
    snprintf(where, sizeof where, "%.4000s/drivers", root);
    arena_init(&arena, DISCOVER_ARENA_MAX);
    umask(022);
    return mkdir(where, 0755);
}

static int teardown(void **state) {
    (void)state;
    arena_release(&arena);
    return nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static struct discovery found(void) {
    const char *const directories[] = {where};
    struct discovery discovery;
    struct err err = ERR_INIT;
    if (!discover(directories, 1, &arena, &discovery, &err))
        fail_msg("%s", err.text);
    return discovery;
}

static void sorted_and_whole(void **state) {
    (void)state;
    make_archive("zeta", "0.1");
    make_archive("alpha", "0.1");
    make_archive("beta", "0.1");
    make_folder("empty");
    make_folder(".hidden");
    make_file("readme", "nothing");
    struct discovery discovery = found();
    assert_int_equal(discovery.count, 3);
    static const char *const names[] = {"alpha", "beta", "zeta"};
    for (uint32_t i = 0; i < 3; i++) {
        const struct discovery_entry *entry = &discovery.at[i];
        assert_string_equal(entry->directory, path_of(names[i]));
        assert_non_null(entry->manifest);
        assert_string_equal(entry->manifest->name, names[i]);
        assert_int_equal(entry->err.code, ERR_NONE);
    }
}

/* Each broken in its own way between two good ones. */
static void broken_ones_hide_nobody(void **state) {
    (void)state;
    make_archive("a", "0.1");
    make_archive("b", "0.2");
    make_archive("c", "0.1");
    assert_int_equal(unlink(path_of("c/driver/x.so")), 0);
    make_archive("d", "0.1");
    make_file("d/META-INF/driver.yaml", "schema: 1\nname: [\n");
    make_archive("e", "0.1");
    assert_int_equal(unlink(path_of("e/driver/x.so")), 0);
    make_folder("e/driver/x.so");
    make_archive("f", "0.1");
    assert_int_equal(unlink(path_of("f/driver/x.so")), 0);
    assert_int_equal(mkfifo(path_of("f/driver/x.so"), 0644), 0);
    make_archive("g", "0.1");
    assert_int_equal(unlink(path_of("g/META-INF/driver.yaml")), 0);
    assert_int_equal(mkfifo(path_of("g/META-INF/driver.yaml"), 0644), 0);
    make_archive("z", "0.1");
    struct discovery discovery = found();
    static const struct {
        const char *name;
        bool read;
        enum err_code code;
        const char *says;
    } rows[] = {
        {"a", true, ERR_NONE, ""},
        {"b", true, ERR_ABI, "b 1.0.0 is built for ABI 0.2 and this gateway has 0.1"},
        {"c", true, ERR_MANIFEST, "it is not there"},
        {"d", false, ERR_MANIFEST, "driver.yaml:3:1: this is not YAML"},
        {"e", true, ERR_MANIFEST, "must be a regular file"},
        {"f", true, ERR_MANIFEST, "must be a regular file"},
        {"g", false, ERR_MANIFEST, "must be a regular file"},
        {"z", true, ERR_NONE, ""},
    };
    assert_int_equal(discovery.count, 8);
    for (uint32_t i = 0; i < 8; i++) {
        const struct discovery_entry *entry = &discovery.at[i];
        assert_string_equal(entry->directory, path_of(rows[i].name));
        assert_int_equal(entry->manifest != NULL, rows[i].read);
        if (entry->err.code != rows[i].code || strstr(entry->err.text, rows[i].says) == NULL)
            fail_msg("%s: %d %s", rows[i].name, entry->err.code, entry->err.text);
    }
}

static void links(void **state) {
    (void)state;
    char outside[PATH_MAX];
    make_archive("a", "0.1");
    snprintf(outside, sizeof outside, "%.4000s/outside", root);
    make_archive("b", "0.1");
    assert_int_equal(rename(path_of("b"), outside), 0);
    assert_int_equal(symlink(outside, path_of("b")), 0);
    assert_int_equal(symlink("a", path_of("c")), 0); /* another name for a */
    assert_int_equal(symlink("nowhere", path_of("d")), 0);
    make_archive("e", "0.1"); /* its library is a link inside: that is good */
    assert_int_equal(rename(path_of("e/driver/x.so"), path_of("e/driver/x.so.1")), 0);
    assert_int_equal(symlink("x.so.1", path_of("e/driver/x.so")), 0);
    make_archive("f", "0.1"); /* and here one to the outside */
    assert_int_equal(unlink(path_of("f/driver/x.so")), 0);
    assert_int_equal(symlink("../../a/driver/x.so", path_of("f/driver/x.so")), 0);
    make_archive("g", "0.1");
    assert_int_equal(unlink(path_of("g/META-INF/driver.yaml")), 0);
    assert_int_equal(symlink("../../a/META-INF/driver.yaml", path_of("g/META-INF/driver.yaml")), 0);
    struct discovery discovery = found();
    assert_int_equal(discovery.count, 5);
    assert_int_equal(discovery.at[0].err.code, ERR_NONE);
    assert_non_null(strstr(discovery.at[1].err.text, "leads out of the driver directory"));
    assert_null(discovery.at[1].manifest);
    assert_string_equal(discovery.at[2].manifest->name, "e");
    assert_int_equal(discovery.at[2].err.code, ERR_NONE);
    assert_non_null(strstr(discovery.at[3].err.text, "leads out of the archive"));
    assert_non_null(strstr(discovery.at[4].err.text, "leads out of the archive"));
    assert_null(discovery.at[4].manifest);
}

static void only_the_owner_may_write(void **state) {
    (void)state;
    static const char *const parts[] = {"a", "a/META-INF", "a/META-INF/driver.yaml", "a/driver",
                                        "a/driver/x.so"};
    make_archive("a", "0.1");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        for (int bit = 0; bit < 2; bit++) {
            struct stat status;
            assert_int_equal(stat(path_of(parts[i]), &status), 0);
            mode_t mode = status.st_mode & 07777;
            assert_int_equal(chmod(path_of(parts[i]), mode | (bit ? 0002 : 0020)), 0);
            struct discovery discovery = found();
            assert_int_equal(discovery.count, 1);
            if (discovery.at[0].err.code != ERR_MANIFEST ||
                strstr(discovery.at[0].err.text, "chmod go-w") == NULL)
                fail_msg("%s: %s", parts[i], discovery.at[0].err.text);
            assert_int_equal(chmod(path_of(parts[i]), mode), 0);
            assert_int_equal(found().at[0].err.code, ERR_NONE);
        }
    for (size_t i = 0; getuid() == 0 && i < sizeof parts / sizeof parts[0]; i++) {
        assert_int_equal(chown(path_of(parts[i]), 12345, (gid_t)-1), 0);
        struct discovery discovery = found();
        assert_int_equal(discovery.at[0].err.code, ERR_MANIFEST);
        assert_non_null(strstr(discovery.at[0].err.text, "it belongs to uid 12345"));
        assert_non_null(strstr(discovery.at[0].err.text, "chown -R root"));
        assert_int_equal(chown(path_of(parts[i]), 0, (gid_t)-1), 0);
    }
    assert_int_equal(chmod(where, 0777), 0);
    struct discovery discovery = found();
    assert_int_equal(discovery.count, 1);
    assert_string_equal(discovery.at[0].directory, where);
    assert_null(discovery.at[0].manifest);
    assert_non_null(strstr(discovery.at[0].err.text, "chmod go-w"));
}

static void several_directories(void **state) {
    (void)state;
    char other[PATH_MAX], link[PATH_MAX], missing[PATH_MAX];
    make_archive("b", "0.1");
    snprintf(other, sizeof other, "%.4000s/drivers/b/driver", root); /* holds no archive */
    snprintf(link, sizeof link, "%.4000s/link", root);
    snprintf(missing, sizeof missing, "%.4000s/missing", root);
    assert_int_equal(symlink(where, link), 0);
    const char *const directories[] = {missing, where, other, link};
    struct discovery discovery;
    struct err err = ERR_INIT;
    assert_true(discover(directories, 4, &arena, &discovery, &err));
    assert_int_equal(discovery.count, 2);
    assert_string_equal(discovery.at[0].directory, missing);
    assert_int_equal(discovery.at[0].err.code, ERR_NOT_FOUND);
    assert_string_equal(discovery.at[1].directory, path_of("b"));
    assert_true(discover(directories, 0, &arena, &discovery, &err));
    assert_int_equal(discovery.count, 0);
}

static void names_are_utf8(void **state) {
    (void)state;
    make_folder("a\xff");
    make_archive("b", "0.1");
    struct discovery discovery = found();
    assert_int_equal(discovery.count, 2);
    assert_string_equal(discovery.at[0].directory, where);
    assert_non_null(strstr(discovery.at[0].err.text, "not UTF-8"));
    assert_string_equal(discovery.at[1].manifest->name, "b");
}

static void too_many(void **state) {
    (void)state;
    for (int i = 0; i < DISCOVER_MAX + 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%04d", i);
        make_folder(name);
        snprintf(name, sizeof name, "d%04d/META-INF", i);
        make_folder(name);
        snprintf(name, sizeof name, "d%04d/META-INF/driver.yaml", i);
        make_file(name, "x");
    }
    struct discovery discovery = found();
    assert_int_equal(discovery.count, DISCOVER_MAX);
    assert_int_equal(discovery.left_out, 3);
    assert_string_equal(discovery.at[DISCOVER_MAX - 1].directory, path_of("d0511"));
}

static void little_memory(void **state) {
    (void)state;
    make_archive("a", "0.1");
    const char *const directories[] = {where};
    bool good = false;
    for (size_t max = 0; max < ((size_t)1 << 20) && !good; max += 20000) {
        struct arena small;
        struct discovery discovery;
        struct err err = ERR_INIT;
        arena_init(&small, max);
        good = discover(directories, 1, &small, &discovery, &err);
        if (!good)
            assert_int_equal(err.code, ERR_NO_MEMORY);
        else
            assert_int_equal(discovery.at[0].err.code, ERR_NONE);
        arena_release(&small);
    }
    assert_true(good);
}

static void reading_an_archive(void **state) {
    (void)state;
    make_archive("a", "0.1");
    make_file("a/text", "0123456789");
    struct buf buf;
    struct err err = ERR_INIT;
    buf_init(&buf, 100);
    assert_true(archive_read(path_of("a"), "text", 10, &buf, &err));
    assert_string_equal(buf_text(&buf), "0123456789");
    assert_false(archive_read(path_of("a"), "text", 9, &buf, &err));
    assert_int_equal(err.code, ERR_MANIFEST);
    assert_non_null(strstr(err.text, "more than 9 bytes"));
    err = ERR_INIT;
    assert_false(archive_read(path_of("a"), "nothing", 9, &buf, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    err = ERR_INIT;
    assert_false(archive_read(path_of("nothing"), "text", 9, &buf, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    err = ERR_INIT;
    assert_false(archive_check_file(path_of("a"), "../a/text/..", &err));
    err = ERR_INIT;
    make_archive("ab", "0.1");
    assert_false(archive_check_file(path_of("a"), "../ab/driver/x.so", &err));
    assert_non_null(strstr(err.text, "leads out of the archive"));
    buf_release(&buf);
    assert_true(archive_is_inside("/a", "/a/b"));
    assert_false(archive_is_inside("/a", "/ab"));
    assert_false(archive_is_inside("/a", "/a"));
    assert_true(archive_is_inside("/", "/a"));
    assert_false(archive_is_inside("/", "/"));
}

static void messages(void **state) {
    (void)state;
    make_archive("a", "0.1");
    struct messages texts;
    struct err err = ERR_INIT;
    assert_true(messages_load(path_of("a"), "en", &arena, &texts, &err));
    assert_int_equal(texts.texts.count, 0);
    make_folder("a/resources");
    make_file("a/resources/messages.en.yaml", "z.label: Path\na.label: \"Level: high\"\n");
    make_file("a/resources/messages.de.yaml", "z.label: Pfad\n");
    make_file("a/resources/messages.fr.yaml", "z.label: [Chemin]\n");
    static const struct {
        const char *language, *text;
    } rows[] = {{"en", "Path"},    {"de", "Pfad"}, {"de-AT", "Pfad"},
                {"en-US", "Path"}, {"it", "Path"}, {"DE", "Path"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!messages_load(path_of("a"), rows[i].language, &arena, &texts, &err))
            fail_msg("%s", err.text);
        assert_string_equal(messages_get(&texts, "z.label"), rows[i].text);
    }
    assert_string_equal(messages_get(&texts, "a.label"), "Level: high");
    assert_string_equal(messages_get(&texts, "b.label"), "b.label");
    assert_string_equal(messages_get(NULL, "b.label"), "b.label");
    assert_false(messages_load(path_of("a"), "fr", &arena, &texts, &err));
    assert_int_equal(err.code, ERR_MANIFEST);
    assert_non_null(strstr(err.text, "messages.fr.yaml:1:10: a text must be a single value"));
    static const char *const not_languages[] = {"",    "../x", "e/n",
                                                "-en", "en.x", "a-language-too-l"};
    for (size_t i = 0; i < sizeof not_languages / sizeof not_languages[0]; i++) {
        err = ERR_INIT;
        assert_false(messages_load(path_of("a"), not_languages[i], &arena, &texts, &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
}

static void messages_are_bounded(void **state) {
    (void)state;
    struct messages texts;
    struct buf buf;
    buf_init(&buf, MESSAGES_BYTES_MAX * 2);
    for (int i = 0; i <= MESSAGES_MAX; i++) {
        struct err err = ERR_INIT;
        if (i == MESSAGES_MAX)
            assert_true(messages_parse(buf.at, buf.length, "m", &arena, &texts, &err));
        buf_printf(&buf, "k%d: text\n", i);
    }
    struct err err = ERR_INIT;
    assert_false(messages_parse(buf.at, buf.length, "m", &arena, &texts, &err));
    assert_non_null(strstr(err.text, "at most 1024"));
    assert_int_equal(texts.texts.count, MESSAGES_MAX);
    assert_string_equal(messages_get(&texts, "k1023"), "text");
    for (int over = 0; over < 2; over++) {
        buf_clear(&buf);
        buf_printf(&buf, "k: ");
        for (int i = 0; i < MESSAGES_TEXT_MAX + over; i++)
            buf_put_u8(&buf, 'x');
        err = ERR_INIT;
        assert_int_equal(messages_parse(buf.at, buf.length, "m", &arena, &texts, &err), !over);
    }
    buf_clear(&buf);
    while (buf.length <= MESSAGES_BYTES_MAX)
        buf_put_u8(&buf, '\n');
    err = ERR_INIT;
    assert_false(messages_parse(buf.at, buf.length, "m", &arena, &texts, &err));
    assert_non_null(strstr(err.text, "more than"));
    buf_release(&buf);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(sorted_and_whole),
        TEST(broken_ones_hide_nobody),
        TEST(links),
        TEST(only_the_owner_may_write),
        TEST(several_directories),
        TEST(names_are_utf8),
        TEST(too_many),
        TEST(little_memory),
        TEST(reading_an_archive),
        TEST(messages),
        TEST(messages_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
