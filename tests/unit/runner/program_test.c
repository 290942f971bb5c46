/* SPDX-License-Identifier: Apache-2.0
 *
 * sluice-runner as a process, started as sluice-super does, with real drivers and with one that
 * means harm. SLUICE_BUILD says where they are.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner/build.h"
#include "runner/session.h"
#include <sluice/driver.h>

#define SOCKET_FD 3
#define RESIDENT_MAX (8u << 20) /* of an idle runner */

static struct peer peer;
static pid_t child;
static int words;
static char folder[64];
static bool sandboxed; /* the last LOADED said that files and calls are guarded */

static const char *build(void) {
    const char *at = getenv("SLUICE_BUILD");
    if (at == NULL)
        fail_msg("SLUICE_BUILD is not set");
    return at;
}

/* In the child: descriptors 0 to 3 and nothing else, an empty environment. */
static _Noreturn void become_runner(int socket, int words_end) {
    char program[1024];
    snprintf(program, sizeof program, "%s/bin/sluice-runner", build());
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int high_socket = fcntl(socket, F_DUPFD_CLOEXEC, 10);
    int high_words = fcntl(words_end, F_DUPFD_CLOEXEC, 10);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(nothing, 0);
    dup2(high_words, 1);
    dup2(high_words, 2);
    dup2(high_socket, SOCKET_FD);
    char *arguments[] = {program, NULL};
    execve(program, arguments, arguments + 1);
    _exit(127);
}

static int setup(void **state) {
    (void)state;
    int sockets[2];
    int pipe_ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
    snprintf(folder, sizeof folder, "/tmp/sluice-runner-XXXXXX");
    assert_non_null(mkdtemp(folder));
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        become_runner(sockets[1], pipe_ends[1]);
    close(sockets[1]);
    close(pipe_ends[1]);
    words = pipe_ends[0];
    peer_init(&peer, sockets[0]);
    const struct wire_hello *hello = peer_wait(&peer, WIRE_HELLO);
    assert_non_null(hello);
    assert_int_equal(hello->pid, child);
    assert_int_equal(hello->abi, SLUICE_ABI);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        child = 0;
    }
    peer_release(&peer);
    close(words);
    char path[128];
    snprintf(path, sizeof path, "%s/pool", folder);
    rmdir(path);
    snprintf(path, sizeof path, "%s/away", folder);
    rmdir(path);
    return rmdir(folder);
}

/* Waits for the end of the process and returns its status; what it said last is in ret_words. */
static int ends(char ret_words[4096]) {
    size_t length = 0;
    struct pollfd end = {.fd = words, .events = POLLIN};
    while (length < 4095) {
        if (poll(&end, 1, DEADLINE_MS) != 1)
            fail_msg("the runner does not end");
        ssize_t got = read(words, ret_words + length, 4095 - length);
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    ret_words[length] = '\0';
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    child = 0;
    return status;
}

static void exits_with(int expected, const char *word) {
    char said[4096];
    int status = ends(said);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != expected || strstr(said, word) == NULL)
        fail_msg("status %x, words: %s", (unsigned)status, said);
}

static void send_load(const char *archives, const char *name, const char *path) {
    char directory[1024];
    char library[80];
    snprintf(directory, sizeof directory, "%s/%s/%s-0.1.0", build(), archives, name);
    snprintf(library, sizeof library, "%s.so", name);
    const char *paths[] = {path};
    struct wire_load load = {
        .directory = directory,
        .library = library,
        .name = name,
        .version = "0.1.0",
        .category = SLUICE_CATEGORY_STORAGE,
        .paths = {.at = paths, .count = path != NULL},
        .memory_mib = 128,
        .open_files = 64,
    };
    peer_send(&peer, WIRE_LOAD, 0, &load);
}

static void load(const char *archives, const char *name, const char *path) {
    send_load(archives, name, path);
    const struct wire_loaded *loaded = peer_wait(&peer, WIRE_LOADED);
    assert_non_null(loaded);
    const char *calls = pairs_get(&loaded->sandbox, "seccomp");
    const char *files = pairs_get(&loaded->sandbox, "landlock");
    assert_non_null(calls);
    assert_non_null(files);
    sandboxed = strcmp(calls, "on") == 0 && strncmp(files, "abi", 3) == 0;
}

static void stop_well(void) {
    struct wire_stop stop = {0};
    peer_send(&peer, WIRE_STOP, 0, &stop);
    assert_non_null(peer_wait(&peer, WIRE_BYE));
    exits_with(0, "");
}

/* A hostile driver that does `mode` at volume_create. */
static void load_hostile(const char *name, const char *mode, const char *target_path,
                         const char *target_pid) {
    load("test-drivers", name, NULL);
    char mode_value[64];
    char path_value[256];
    char pid_value[32];
    snprintf(mode_value, sizeof mode_value, "s:%s", mode);
    snprintf(path_value, sizeof path_value, "s:%s", target_path);
    snprintf(pid_value, sizeof pid_value, "n:%s", target_pid);
    struct text_pair pairs[] = {{"mode", mode_value},
                                {"target_path", path_value},
                                {"target_pid", pid_value},
                                {"when", "s:volume_create"}};
    assert_int_equal(peer_open(&peer, pairs, 4, NULL), SLUICE_OK);
}

/* ---- well-behaved drivers ------------------------------------------------------------------- */

static void ram_is_served_from_load_to_bye(void **state) {
    (void)state;
    load("drivers", "ram", NULL);
    struct wire_pool pool;
    assert_int_equal(peer_open(&peer, NULL, 0, &pool), SLUICE_OK);
    assert_string_equal(pool.formats, "raw");
    struct wire_volume volume;
    assert_int_equal(peer_create(&peer, 1, &volume)->status, SLUICE_OK);
    assert_string_equal(volume.name, "v");
    assert_int_equal(peer_create(&peer, 2, &volume)->status, SLUICE_OK);
    struct wire_list list = {.capacity = 10};
    struct wire_page page;
    assert_int_equal(peer_call(&peer, WIRE_VOLUME_LIST, &list, &page)->status, SLUICE_OK);
    assert_int_equal(page.count, 2);
    assert_int_equal(peer_ask(&peer, WIRE_NOTHING), SLUICE_OK);
    stop_well();
}

static void an_idle_runner_with_posix_is_small(void **state) {
    (void)state;
    char path[128];
    char property[160];
    snprintf(path, sizeof path, "%s/pool", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(property, sizeof property, "rw:%s", path);
    load("drivers", "posix", property);
    uint64_t resident = peer_ping(&peer, 1)->resident;
    print_message("resident: %llu KiB\n", (unsigned long long)resident / 1024);
    if (!BUILD_SANITIZED)
        assert_in_range(resident, 1, RESIDENT_MAX);
    stop_well();
}

static void what_cannot_be_loaded_is_refused(void **state) {
    (void)state;
    send_load("drivers", "nonesuch", NULL);
    assert_int_equal(peer_next(&peer, DEADLINE_MS), 1);
    assert_int_equal(peer.packet.number, WIRE_REFUSED);
    const struct wire_refused *refused = peer.packet.body;
    assert_int_equal(refused->status, ERR_ABI);
    assert_non_null(strstr(refused->text, "nonesuch.so"));
    exits_with(SESSION_REFUSED, "refused");
}

/* ---- a gateway that is none ----------------------------------------------------------------- */

static void the_end_of_the_gateways_socket_ends_the_runner(void **state) {
    (void)state;
    load("drivers", "ram", NULL);
    close(peer.socket);
    peer.socket = -1;
    exits_with(SESSION_ABANDONED, "");
}

static void garbage_ends_the_runner(void **state) {
    (void)state;
    assert_int_equal(send(peer.socket, "garbage that is no packet", 25, 0), 25);
    exits_with(SESSION_BREACH, "broke the protocol");
}

static void a_message_out_of_turn_ends_the_runner(void **state) {
    (void)state;
    struct wire_nothing nothing = {0};
    peer_call_start(&peer, WIRE_POOL_STAT, &nothing);
    exits_with(SESSION_BREACH, "POOL_STAT is not permitted in state ready");
}

static void descriptors_end_the_runner(void **state) {
    (void)state;
    struct wire_ping ping = {.number = 1};
    struct buf buf;
    buf_init(&buf, WIRE_PACKET_MAX);
    wire_encode(WIRE_PING, 0, &ping, &buf);
    struct iovec part = {.iov_base = buf.at, .iov_len = buf.length};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.space};
    control.header = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(&control.header), &words, sizeof words);
    assert_int_equal(sendmsg(peer.socket, &message, 0), buf.length);
    buf_release(&buf);
    exits_with(SESSION_BREACH, "carries descriptors");
}

/* ---- hostile drivers ------------------------------------------------------------------------ */

static void dies_of(const char *mode, int number, const char *word) {
    load_hostile("hostile", mode, "", "0");
    assert_null(peer_create(&peer, 1, NULL));
    char said[4096];
    int status = ends(said);
    if (BUILD_SANITIZED) {
        assert_int_not_equal(status, 0); /* the sanitizer's own report, or abort */
        return;
    }
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), number);
    if (strstr(said, word) == NULL || strstr(said, "in call VOLUME_CREATE 0x10000000") == NULL)
        fail_msg("last words: %s", said);
}

static void a_crash_leaves_last_words(void **state) {
    (void)state;
    dies_of("crash", SIGSEGV, "SIGSEGV at address 0x0 ");
}

static void an_abort_leaves_last_words(void **state) {
    (void)state;
    dies_of("abort", SIGABRT, "SIGABRT");
}

static void an_exit_is_an_exit(void **state) {
    (void)state;
    load_hostile("hostile", "exit", "", "0");
    assert_null(peer_create(&peer, 1, NULL));
    exits_with(3, "");
}

static void a_call_that_hangs_does_not_stop_the_heartbeat(void **state) {
    (void)state;
    static const char *const modes[] = {"hang", "spin"};
    for (size_t i = 0; i < 2; i++) {
        if (i > 0)
            setup(state);
        load_hostile("hostile", modes[i], "", "0");
        struct wire_volume_create create = {.volume = id_of(1), .name = "v", .format = "raw"};
        peer_call_start(&peer, WIRE_VOLUME_CREATE, &create);
        uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
        const struct wire_pong *pong;
        do {
            pong = peer_ping(&peer, 7);
            assert_true(clock_mono_ms() < deadline_ms);
        } while (pong->running != 1 || pong->oldest_ms < 20);
        assert_int_equal(peer_ask(&peer, WIRE_POOL_STAT), SLUICE_OK);
        if (i == 0)
            teardown(state);
    }
}

static void a_loop_that_is_blocked_has_no_heartbeat(void **state) {
    (void)state;
    load_hostile("hostile-loop", "hang", "", "0");
    struct wire_volume_create create = {.volume = id_of(1), .name = "v", .format = "raw"};
    peer_call_start(&peer, WIRE_VOLUME_CREATE, &create);
    struct wire_ping ping = {.number = 1};
    peer_send(&peer, WIRE_PING, 0, &ping);
    assert_int_equal(peer_next(&peer, 300), -1);
}

static void lies_are_named(void **state) {
    (void)state;
    static const char *const modes[] = {"lie-size", "lie-name", "lie-status"};
    static const char *const lies[] = {"size", "name that does not end", "status 4711"};
    for (size_t i = 0; i < 3; i++) {
        if (i > 0)
            setup(state);
        load_hostile("hostile", modes[i], "", "0");
        const struct wire_reply *reply = peer_create(&peer, 1, NULL);
        assert_non_null(reply);
        assert_int_equal(reply->status, SLUICE_INTERNAL);
        if (strstr(reply->text, lies[i]) == NULL)
            fail_msg("%s: %s", modes[i], reply->text);
        stop_well();
        if (i < 2)
            teardown(state);
    }
}

static void a_flood_is_bounded(void **state) {
    (void)state;
    load_hostile("hostile", "flood", "", "0");
    assert_int_equal(peer_create(&peer, 1, NULL)->status, SLUICE_OK);
    assert_int_not_equal(peer.logs, 0);
    assert_true(peer.logs + peer.events < 5000);
    assert_int_not_equal(peer_ping(&peer, 1)->dropped_logs, 0);
    stop_well();
}

static void pending_for_ever_is_pending(void **state) {
    (void)state;
    load_hostile("hostile", "pending-forever", "", "0");
    for (int i = 0; i < 3; i++)
        assert_int_equal(peer_create(&peer, 1, NULL)->status, SLUICE_PENDING);
    stop_well();
}

/* What a driver writes on the socket itself reaches the gateway, whose matter it then is; here it
 * is seen that the driver for those tests does what it says. */
static void a_driver_can_forge_packets(void **state) {
    load_hostile("hostile", "wrong-reply", "", "0");
    struct wire_volume_create create = {.volume = id_of(1), .name = "v", .format = "raw"};
    peer_call_start(&peer, WIRE_VOLUME_CREATE, &create);
    for (unsigned forged = 0; forged < 3 * 32 + 1 + 1; forged++)
        assert_non_null(peer_wait(&peer, WIRE_REPLY));
    stop_well();
    teardown(state);
    setup(state);
    load_hostile("hostile", "garbage", "", "0");
    peer_call_start(&peer, WIRE_VOLUME_CREATE, &create);
    struct pollfd socket = {.fd = peer.socket, .events = POLLIN};
    assert_int_equal(poll(&socket, 1, DEADLINE_MS), 1);
    ssize_t length = recv(peer.socket, peer.bytes, sizeof peer.bytes, 0);
    assert_true(length > 0);
    struct err err = ERR_INIT;
    assert_false(wire_decode(peer.bytes, (size_t)length, WIRE_RUNNER, S_ANY, &peer.arena,
                             &peer.packet, &err));
}

/* What the sandbox forbids. */
static void is_denied(const char *mode, const char *path, const char *pid) {
    load_hostile("hostile", mode, path, pid);
    if (!sandboxed) {
        print_message("skipped, the sandbox is not on\n");
        skip();
    }
    const struct wire_reply *reply = peer_create(&peer, 1, NULL);
    assert_non_null(reply);
    if (reply->status != SLUICE_ACCESS)
        fail_msg("%s: status %u, %s", mode, reply->status, reply->text);
}

static void another_pools_files_are_out_of_reach(void **state) {
    char path[128];
    snprintf(path, sizeof path, "%s/other", folder);
    int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    assert_true(file >= 0);
    is_denied("read-other", path, "0");
    unlink(path); /* before teardown wants the folder empty */
    teardown(state);
    setup(state);
    is_denied("write-other", path, "0");
    assert_int_equal(access(path, F_OK), -1);
    close(file);
}

static void a_sibling_cannot_be_signalled(void **state) {
    (void)state;
    pid_t sibling = fork();
    assert_true(sibling >= 0);
    if (sibling == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)sibling);
    is_denied("signal-sibling", "", pid);
    int status;
    assert_int_equal(waitpid(sibling, &status, WNOHANG), 0);
    kill(sibling, SIGKILL);
    assert_int_equal(waitpid(sibling, &status, 0), sibling);
}

static void no_program_is_executed(void **state) {
    (void)state;
    is_denied("exec", "", "0");
}

static void a_bomb_does_not_go_off(void **state) {
    (void)state;
    if (BUILD_SANITIZED) {
        print_message("skipped: without a limit of memory its threads are not limited\n");
        skip();
    }
    is_denied("fork-bomb", "", "0");
}

static void eaten_memory_is_the_drivers_own(void **state) {
    (void)state;
    if (BUILD_SANITIZED) {
        print_message("skipped: a sanitizer's build has no limit of memory\n");
        skip();
    }
    load_hostile("hostile", "eat-memory", "", "0");
    assert_int_equal(peer_create(&peer, 1, NULL)->status, SLUICE_NO_MEMORY);
    peer_ping(&peer, 1);
}

/* ---- a file system that goes away ----------------------------------------------------------- */

static void a_path_that_is_another_one_now_ends_the_runner(void **state) {
    (void)state;
    char path[128];
    char away[128];
    char property[160];
    char value[160];
    snprintf(path, sizeof path, "%s/pool", folder);
    snprintf(away, sizeof away, "%s/away", folder);
    snprintf(property, sizeof property, "rw:%s", path);
    snprintf(value, sizeof value, "s:%s", path);
    assert_int_equal(mkdir(path, 0700), 0);
    load("drivers", "posix", property);
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    struct text_pair pairs[] = {{"path", value}};
    struct wire_pool_open open = {
        .pool = id_of(POOL_BYTE), .name = "p", .properties = {.at = pairs, .count = 1}};
    peer_call_start(&peer, WIRE_POOL_OPEN, &open);
    exits_with(SESSION_PATHS, "is not what it was");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(ram_is_served_from_load_to_bye),
        TEST(an_idle_runner_with_posix_is_small),
        TEST(what_cannot_be_loaded_is_refused),
        TEST(the_end_of_the_gateways_socket_ends_the_runner),
        TEST(garbage_ends_the_runner),
        TEST(a_message_out_of_turn_ends_the_runner),
        TEST(descriptors_end_the_runner),
        TEST(a_crash_leaves_last_words),
        TEST(an_abort_leaves_last_words),
        TEST(an_exit_is_an_exit),
        TEST(a_call_that_hangs_does_not_stop_the_heartbeat),
        TEST(a_loop_that_is_blocked_has_no_heartbeat),
        TEST(lies_are_named),
        TEST(a_flood_is_bounded),
        TEST(pending_for_ever_is_pending),
        TEST(a_driver_can_forge_packets),
        TEST(another_pools_files_are_out_of_reach),
        TEST(a_sibling_cannot_be_signalled),
        TEST(no_program_is_executed),
        TEST(a_bomb_does_not_go_off),
        TEST(eaten_memory_is_the_drivers_own),
        TEST(a_path_that_is_another_one_now_ends_the_runner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
