/* SPDX-License-Identifier: Apache-2.0
 *
 * What was acknowledged is there, whatever ended the process. Each gateway is a child of its own,
 * so that it can be killed and can have its own fault points.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fixture.h"

#define IN_FLIGHT 32
#define ROUNDS 5
#define ACKNOWLEDGED 300 /* a round, then the kill */
#define KEYS_A_STEP 3    /* all or none of them may be found */

struct storm {
    struct fixture *fixture;
    int acknowledge;
    uint64_t next;
};

struct step {
    struct storm *storm;
    uint64_t number;
};

static void step_begin(struct storm *storm, uint64_t number);

static void on_step(void *arg, uint64_t revision, const struct err *err) {
    struct step *step = arg;
    (void)revision;
    if (err->code != ERR_NONE ||
        write(step->storm->acknowledge, &step->number, sizeof step->number) != 8)
        _exit(1);
    step_begin(step->storm, step->storm->next++);
    free(step);
}

/* Key: number and part; the value tells the number again, with a length of its own. */
static size_t step_value(uint64_t number, unsigned part, uint8_t ret[2048]) {
    size_t length = 8 + (number * 37 + part * 501) % 2000;
    memset(ret, (int)(number & 0xff), length);
    memcpy(ret, &number, 8);
    return length;
}

static size_t step_key(uint64_t number, unsigned part, uint8_t ret[10]) {
    ret[0] = 's';
    memcpy(ret + 1, &number, 8);
    ret[9] = (uint8_t)part;
    return 10;
}

static void step_begin(struct storm *storm, uint64_t number) {
    struct step *step = malloc(sizeof *step);
    *step = (struct step){storm, number};
    struct catalog_txn *txn = catalog_begin(storm->fixture->catalog);
    for (unsigned part = 0; part < KEYS_A_STEP; part++) {
        uint8_t key[10], value[2048];
        size_t length = step_value(number, part, value);
        catalog_put(txn, key, step_key(number, part, key), value, length);
    }
    catalog_append(txn, "e/", 2, &number, sizeof number);
    catalog_submit(txn, on_step, step);
}

static void storm_run(struct fixture *fixture, int acknowledge, uint64_t first) {
    fixture_open(fixture);
    struct storm storm = {fixture, acknowledge, first};
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        step_begin(&storm, storm.next++);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    _exit(1); /* it never ends by itself */
}

static unsigned parts_there(struct fixture *fixture, uint64_t number) {
    unsigned there = 0;
    for (unsigned part = 0; part < KEYS_A_STEP; part++) {
        uint8_t key[10], wanted[2048];
        size_t length = step_value(number, part, wanted);
        struct catalog_value value;
        struct err err = ERR_INIT;
        if (catalog_get(fixture->catalog, key, step_key(number, part, key), &value, &err)) {
            assert_int_equal(value.length, length);
            assert_memory_equal(value.at, wanted, length);
            there++;
        }
        assert_int_equal(err.code, ERR_NONE);
    }
    return there;
}

static bool on_event(void *arg, const struct catalog_entry *entry) {
    (void)entry;
    ++*(unsigned *)arg;
    return true;
}

static uint64_t storm_and_kill(struct fixture *fixture, uint8_t *acknowledged, uint64_t first,
                               unsigned round) {
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(pipes[0]);
        storm_run(fixture, pipes[1], first);
    }
    close(pipes[1]);
    uint64_t number, last = first;
    unsigned count = 0;
    while (read(pipes[0], &number, sizeof number) == sizeof number) {
        assert_true(number < UINT16_MAX);
        acknowledged[number] = 1;
        last = number > last ? number : last;
        if (++count == ACKNOWLEDGED + round * 7)
            kill(child, SIGKILL);
    }
    close(pipes[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    return last + IN_FLIGHT + 1;
}

static void killed_in_a_storm(void **state) {
    (void)state;
    struct fixture fixture = {0};
    directory_make(fixture.directory);
    uint8_t *acknowledged = calloc(UINT16_MAX, 1);
    uint64_t next = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        next = storm_and_kill(&fixture, acknowledged, next, round);
        fixture_open(&fixture);
        unsigned promised = 0, whole = 0, events = 0;
        for (uint64_t number = 0; number < next; number++) {
            unsigned there = parts_there(&fixture, number);
            assert_true(there == 0 || there == KEYS_A_STEP);
            assert_true(there > 0 || !acknowledged[number]);
            promised += acknowledged[number];
            whole += there > 0;
        }
        assert_true(catalog_scan(fixture.catalog, "e/", 2, NULL, 0, false, on_event, &events,
                                 &(struct err){0}));
        print_message("round %u: %u acknowledged, %u there\n", round, promised, whole);
        assert_true(promised >= ACKNOWLEDGED * (round + 1));
        assert_int_equal(events, whole);
        fixture_close(&fixture);
    }
    free(acknowledged);
    directory_remove(fixture.directory);
}

/* ---- commits that fail ---------------------------------------------------------------------- */

/* Runs `body` in a child with those fault points; returns its wait status. */
static int in_child(struct fixture *fixture, const char *faults, int (*body)(struct fixture *)) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("SLUICE_FAULTS", faults, 1);
        _exit(body(fixture));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

#ifdef SLUICE_WITH_FAULTS

static int three_puts(struct fixture *fixture) {
    fixture_open(fixture);
    enum err_code codes[] = {put(fixture, "a", "1").code, put(fixture, "b", "2").code,
                             put(fixture, "c", "3").code};
    bool right = codes[0] == ERR_NONE && codes[1] == ERR_CATALOG && codes[2] == ERR_NONE &&
                 get(fixture, "a", NULL) != NULL && get(fixture, "b", NULL) == NULL &&
                 get(fixture, "c", NULL) != NULL;
    fixture_close(fixture);
    return right ? 0 : 1;
}

static void a_commit_fails(void **state) {
    (void)state;
    struct fixture fixture = {0};
    directory_make(fixture.directory);
    assert_int_equal(in_child(&fixture, "catalog.commit.before=fail@2", three_puts), 0);
    directory_remove(fixture.directory);
}

static void killed_around_a_commit(void **state) {
    (void)state;
    static const struct {
        const char *faults;
        bool a, b;
    } rows[] = {
        {"catalog.commit.before=kill@1", false, false},
        {"catalog.commit.after=kill@1", true, false},
        {"catalog.commit.before=kill@2", true, false},
        {"catalog.commit.after=kill@2", true, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture fixture = {0};
        directory_make(fixture.directory);
        int status = in_child(&fixture, rows[i].faults, three_puts);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        fixture_open(&fixture);
        assert_true((get(&fixture, "a", NULL) != NULL) == rows[i].a);
        assert_true((get(&fixture, "b", NULL) != NULL) == rows[i].b);
        fixture_close(&fixture);
        directory_remove(fixture.directory);
    }
}

#endif

/* ---- a full disk ---------------------------------------------------------------------------- */

#define EXIT_SKIPPED 77

static bool small_disk(const char *directory) {
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("small", directory, "tmpfs", 0, "size=2m,mode=0700") == 0;
}

static bool ballast(const struct fixture *fixture, off_t bytes) {
    char path[128];
    snprintf(path, sizeof path, "%s/ballast", fixture->directory);
    if (bytes == 0)
        return unlink(path) == 0;
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    bool ok = fd >= 0 && posix_fallocate(fd, 0, bytes) == 0;
    close(fd);
    return ok;
}

static struct outcome put_large(struct fixture *fixture, uint32_t number) {
    static const uint8_t value[50000];
    struct catalog_txn *txn = catalog_begin(fixture->catalog);
    catalog_put(txn, &number, sizeof number, value, sizeof value);
    return commit(fixture, txn);
}

static int fill_the_disk(struct fixture *fixture) {
    if (!small_disk(fixture->directory))
        return EXIT_SKIPPED;
    if (!ballast(fixture, 1 << 20))
        return 1;
    fixture_open(fixture);
    uint32_t number = 0;
    struct outcome outcome;
    while ((outcome = put_large(fixture, number)).code == ERR_NONE && number < 100)
        number++;
    if (outcome.code != ERR_CATALOG_FULL || number == 0)
        return 2;
    if (put_large(fixture, number).code != ERR_CATALOG_FULL)
        return 3;
    /* Room comes back, and so does the catalogue; nothing that was promised is lost. */
    if (!ballast(fixture, 0) || put_large(fixture, number).code != ERR_NONE)
        return 4;
    fixture_close(fixture);
    fixture_open(fixture);
    for (uint32_t i = 0; i <= number; i++) {
        struct catalog_value value;
        if (!catalog_get(fixture->catalog, &i, sizeof i, &value, &(struct err){0}) ||
            value.length != 50000)
            return 5;
    }
    fixture_close(fixture);
    return 0;
}

static void a_disk_fills_up(void **state) {
    (void)state;
    struct fixture fixture = {0};
    directory_make(fixture.directory);
    int status = in_child(&fixture, "", fill_the_disk);
    directory_remove(fixture.directory);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == EXIT_SKIPPED) {
        print_message("no right to mount a small file system here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_in_a_storm),
#ifdef SLUICE_WITH_FAULTS
        cmocka_unit_test(a_commit_fails),
        cmocka_unit_test(killed_around_a_commit),
#endif
        cmocka_unit_test(a_disk_fills_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
