/* SPDX-License-Identifier: Apache-2.0
 *
 * loop_test.c: sluice-super as sluiced and runners see it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "play.h"

#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/num.h"

#define ACCOUNT (SUPER_UID_LOW + 7)
#define WORDS 5000

extern char **environ;

/* ---- in the role of a runner: does what one-letter packets say --------------------------------
 */

struct answer {
    pid_t pid, sid, child, grandchild;
    uid_t uid, euid;
    gid_t gid;
    int groups, variables, descriptors, no_new_privs;
    mode_t mask;
    rlim_t core;
    char folder[64];
};

static void describe_self(struct answer *answer) {
    struct rlimit core;
    answer->sid = getsid(0);
    answer->uid = getuid();
    answer->euid = geteuid();
    answer->gid = getgid();
    answer->groups = getgroups(0, NULL);
    answer->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    answer->mask = umask(077);
    if (getrlimit(RLIMIT_CORE, &core) == 0)
        answer->core = core.rlim_max;
    if (getcwd(answer->folder, sizeof answer->folder) == NULL)
        answer->folder[0] = '\0';
    for (char **variable = environ; *variable != NULL; variable++)
        answer->variables++;
    for (int fd = 0; fd < 1024; fd++)
        answer->descriptors += fcntl(fd, F_GETFD) >= 0;
}

/* A child in the session and a grandchild that left it. */
static void leave_somebody(struct answer *answer) {
    int line[2];
    if (pipe(line) < 0)
        _exit(8);
    answer->child = fork();
    if (answer->child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0) {
            setsid();
            grandchild = getpid();
            if (write(line[1], &grandchild, sizeof grandchild) != sizeof grandchild)
                _exit(8);
        }
        for (;;)
            pause();
    }
    if (read(line[0], &answer->grandchild, sizeof answer->grandchild) != sizeof answer->grandchild)
        _exit(8);
    close(line[0]);
    close(line[1]);
}

static int runner(void) {
    char command = 0;
    while (recv(SUPER_RUNNER_FD, &command, 1, 0) == 1) {
        struct answer answer = {.pid = getpid()};
        if (command == 'd')
            describe_self(&answer);
        if (command == 'f')
            leave_somebody(&answer);
        if (command == 'x') {
            fprintf(stderr, "said before the end\n");
            return 7;
        }
        if (command == 'w') {
            for (int i = 0; i < WORDS; i++)
                fputc("0123456789"[i % 10], stderr);
            return 0;
        }
        send(SUPER_RUNNER_FD, &answer, sizeof answer, 0);
    }
    return 6;
}

/* ---- in the role of the gateway ---------------------------------------------------------------
 */

static struct super_message spawn_request(uint8_t tag) {
    struct super_message message = {.kind = SUPER_SPAWN,
                                    .request = 1000u + tag,
                                    .program = SUPER_PROGRAM_RUNNER,
                                    .uid = ACCOUNT,
                                    .gid = ACCOUNT};
    memset(message.tag, tag, sizeof message.tag);
    return message;
}

static struct super_message spawn(const struct play *play, uint8_t tag, int *ret_fd) {
    struct super_message request = spawn_request(tag);
    play_send(play, &request);
    struct super_message spawned = play_expect(play, SUPER_SPAWNED, ret_fd);
    assert_int_equal(spawned.request, request.request);
    assert_memory_equal(spawned.tag, request.tag, sizeof request.tag);
    assert_true(*ret_fd >= 0);
    return spawned;
}

static struct answer ask(int fd, char command) {
    struct answer answer;
    int none;
    assert_int_equal(send(fd, &command, 1, MSG_NOSIGNAL), 1);
    assert_int_equal(play_receive_fd(fd, &answer, sizeof answer, &none), sizeof answer);
    return answer;
}

static void command(int fd, char letter) {
    assert_int_equal(send(fd, &letter, 1, MSG_NOSIGNAL), 1);
}

static void begin(struct play *play) {
    play_begin(play);
    struct super_message end = play_expect(play, SUPER_HELD_END, NULL);
    assert_int_equal(end.error, 0);
}

static void spawned_clean_and_buried_with_words(void **state) {
    (void)state;
    struct play play;
    int fd;
    begin(&play);
    struct super_message spawned = spawn(&play, 1, &fd);
    struct answer answer = ask(fd, 'd');
    assert_int_equal(answer.pid, spawned.pid);
    assert_int_equal(answer.sid, spawned.pid);
    assert_int_equal(answer.variables, 0);
    assert_int_equal(answer.descriptors, 4);
    assert_int_equal(answer.no_new_privs, 1);
    assert_int_equal(answer.mask, 077);
    assert_int_equal(answer.core, 0);
    assert_string_equal(answer.folder, "/");
    if (geteuid() == 0) {
        assert_int_equal(answer.uid, ACCOUNT);
        assert_int_equal(answer.euid, ACCOUNT);
        assert_int_equal(answer.gid, ACCOUNT);
        assert_int_equal(answer.groups, 0);
    }
    command(fd, 'x');
    struct super_message exited = play_expect(&play, SUPER_EXITED, NULL);
    assert_int_equal(exited.slot, spawned.slot);
    assert_int_equal(exited.pid, spawned.pid);
    assert_memory_equal(exited.tag, spawned.tag, sizeof spawned.tag);
    assert_true(WIFEXITED(exited.status) && WEXITSTATUS(exited.status) == 7);
    assert_int_equal(exited.words_length, strlen("said before the end\n"));
    assert_memory_equal(exited.words, "said before the end\n", exited.words_length);
    close(fd);
    play_end(&play);
}

static void only_the_last_words_are_kept(void **state) {
    (void)state;
    struct play play;
    int fd;
    begin(&play);
    spawn(&play, 1, &fd);
    command(fd, 'w');
    struct super_message exited = play_expect(&play, SUPER_EXITED, NULL);
    assert_int_equal(exited.words_length, SUPER_WORDS_MAX);
    for (int i = 0; i < SUPER_WORDS_MAX; i++)
        assert_int_equal(exited.words[i], "0123456789"[(WORDS - SUPER_WORDS_MAX + i) % 10]);
    close(fd);
    play_end(&play);
}

static void runners_outlive_sluiced(void **state) {
    (void)state;
    struct play play;
    int fd, dead_fd;
    begin(&play);
    struct super_message kept = spawn(&play, 1, &fd);
    struct super_message dead = spawn(&play, 2, &dead_fd);
    struct answer before = ask(fd, 'd');
    ask(dead_fd, 'd');
    /* The socket lives on although both that we hold are closed. */
    assert_int_equal(kill(play.sluiced, SIGKILL), 0);
    command(dead_fd, 'x');
    close(fd);
    close(dead_fd);
    play_accept(&play);

    bool held_kept = false, ended = false;
    while (!ended) {
        struct super_message message = play_receive(&play, &fd);
        if (message.kind == SUPER_HELD_END) {
            assert_int_equal(message.error, 1);
            ended = true;
        } else {
            assert_int_equal(message.kind, SUPER_HELD);
            assert_true(fd >= 0);
            if (message.pid == kept.pid) {
                held_kept = true;
                assert_int_equal(message.slot, kept.slot);
                assert_int_equal(message.uid, ACCOUNT);
                assert_int_equal(message.gid, ACCOUNT);
                assert_memory_equal(message.tag, kept.tag, sizeof kept.tag);
                assert_int_equal(ask(fd, 'd').pid, before.pid);
            } else {
                assert_int_equal(message.pid, dead.pid);
            }
            close(fd);
        }
    }
    assert_true(held_kept);
    struct super_message exited = play_expect(&play, SUPER_EXITED, NULL);
    assert_int_equal(exited.pid, dead.pid);
    assert_int_equal(exited.words_length, strlen("said before the end\n"));
    play_end(&play);
}

static void expect_refusal(const struct play *play, const struct super_message *message,
                           int error) {
    play_send(play, message);
    struct super_message refused = play_expect(play, SUPER_REFUSED, NULL);
    assert_int_equal(refused.request, message->request);
    assert_int_equal(refused.error, error);
}

static void refuses_what_is_out_of_range(void **state) {
    (void)state;
    struct play play;
    int fd;
    begin(&play);
    struct super_message spawned = spawn(&play, 1, &fd);
    struct super_message good = {.kind = SUPER_KILL,
                                 .request = 5,
                                 .slot = spawned.slot,
                                 .pid = spawned.pid,
                                 .signal = SIGKILL};
    struct super_message bad = good;
    bad.pid++;
    expect_refusal(&play, &bad, ESRCH);
    bad = good;
    bad.slot = spawned.slot + 1;
    expect_refusal(&play, &bad, ESRCH);
    bad.slot = SUPER_CHILDREN_MAX;
    expect_refusal(&play, &bad, EINVAL);
    bad = good;
    bad.signal = SIGSTOP;
    expect_refusal(&play, &bad, EINVAL);
    bad = good;
    bad.words_length = 1;
    expect_refusal(&play, &bad, EINVAL);
    bad = (struct super_message){.kind = 99, .request = 6};
    expect_refusal(&play, &bad, EPROTO);
    bad = (struct super_message){.kind = SUPER_SPAWNED, .request = 6};
    expect_refusal(&play, &bad, EPROTO);
    bad = spawn_request(2);
    bad.program = 99;
    expect_refusal(&play, &bad, EINVAL);
    bad = spawn_request(2);
    bad.words[SUPER_WORDS_MAX - 1] = 1;
    expect_refusal(&play, &bad, EINVAL);

    assert_int_equal(send(play.fd, &good, sizeof good - 1, 0), sizeof good - 1);
    assert_int_equal(play_expect(&play, SUPER_REFUSED, NULL).error, EBADMSG);
    assert_int_equal(send(play.fd, "x", 1, 0), 1);
    assert_int_equal(play_expect(&play, SUPER_REFUSED, NULL).error, EBADMSG);
    assert_true(play_send_fd(play.fd, &good, sizeof good, play.line));
    assert_int_equal(play_expect(&play, SUPER_REFUSED, NULL).error, EBADMSG);

    assert_int_equal(ask(fd, 'd').pid, spawned.pid); /* nothing of that did anything */
    play_send(&play, &good);
    struct super_message exited = play_expect(&play, SUPER_EXITED, NULL);
    assert_true(WIFSIGNALED(exited.status) && WTERMSIG(exited.status) == SIGKILL);
    close(fd);
    play_end(&play);
}

static void accounts_are_in_the_range(void **state) {
    (void)state;
    if (geteuid() != 0)
        skip();
    struct play play;
    begin(&play);
    static const uint32_t bad[] = {0, 1, SUPER_UID_LOW - 1, SUPER_UID_HIGH + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct super_message request = spawn_request(1);
        request.uid = bad[i];
        expect_refusal(&play, &request, EPERM);
        request = spawn_request(1);
        request.gid = bad[i];
        expect_refusal(&play, &request, EPERM);
    }
    play_end(&play);
}

static void a_table_that_is_full_says_so(void **state) {
    (void)state;
    struct play play;
    int fd;
    begin(&play);
    for (int i = 0; i < SUPER_CHILDREN_MAX; i++) {
        spawn(&play, (uint8_t)i, &fd);
        close(fd);
    }
    struct super_message request = spawn_request(1);
    expect_refusal(&play, &request, EAGAIN);
    /* All of them are handed over, although that is more than the socket takes at once. */
    assert_int_equal(kill(play.sluiced, SIGKILL), 0);
    play_accept(&play);
    for (int i = 0; i < SUPER_CHILDREN_MAX; i++) {
        assert_int_equal(play_expect(&play, SUPER_HELD, &fd).slot, i);
        close(fd);
    }
    play_expect(&play, SUPER_HELD_END, NULL);
    play_end(&play);
}

/* A sluiced that asks and does not listen fills its own socket and nothing else. */
static void answers_wait_in_nobodys_memory(void **state) {
    (void)state;
    struct play play;
    begin(&play);
    struct super_message bad = {.kind = 99, .request = 1};
    uint32_t sent = 0;
    struct pollfd out = {.fd = play.fd, .events = POLLOUT};
    while (poll(&out, 1, 300) == 1 &&
           send(play.fd, &bad, sizeof bad, MSG_DONTWAIT) == (ssize_t)sizeof bad)
        bad.request = ++sent + 1;
    assert_true(sent > 10);
    for (uint32_t i = 0; i < sent; i++)
        assert_int_equal(play_expect(&play, SUPER_REFUSED, NULL).request, i + 1);
    play_end(&play);
}

static void nobody_is_left_behind(void **state) {
    (void)state;
    struct play play;
    int fd, other_fd;
    begin(&play);
    struct super_message spawned = spawn(&play, 1, &fd);
    struct super_message other = spawn_request(2);
    other.uid = other.gid = ACCOUNT + 1;
    play_send(&play, &other);
    struct super_message other_spawned = play_expect(&play, SUPER_SPAWNED, &other_fd);
    struct answer answer = ask(fd, 'f');
    assert_true(answer.child > 0 && answer.grandchild > 0);
    struct super_message request = {
        .kind = SUPER_KILL, .slot = spawned.slot, .pid = spawned.pid, .signal = SIGKILL};
    play_send(&play, &request);
    assert_int_equal(play_expect(&play, SUPER_EXITED, NULL).pid, spawned.pid);
    assert_true(play_ends(answer.child));
    if (geteuid() == 0)
        assert_true(play_ends(answer.grandchild));
    else
        kill(answer.grandchild, SIGKILL);
    assert_int_equal(ask(other_fd, 'd').pid, other_spawned.pid);
    close(fd);
    close(other_fd);
    play_end(&play);
}

/* Where accounts are shared, the session has to be enough, and nobody else may be hit. */
static void a_shared_account_is_not_swept(void **state) {
    (void)state;
    struct play play;
    int fd, other_fd;
    begin(&play);
    struct super_message spawned = spawn(&play, 1, &fd);
    struct super_message other = spawn(&play, 2, &other_fd);
    struct answer answer = ask(fd, 'f');
    struct super_message request = {
        .kind = SUPER_KILL, .slot = spawned.slot, .pid = spawned.pid, .signal = SIGKILL};
    play_send(&play, &request);
    assert_int_equal(play_expect(&play, SUPER_EXITED, NULL).pid, spawned.pid);
    assert_true(play_ends(answer.child));
    assert_int_equal(ask(other_fd, 'd').pid, other.pid);
    kill(answer.grandchild, SIGKILL);
    close(fd);
    close(other_fd);
    play_end(&play);
}

static void runners_die_with_super(void **state) {
    (void)state;
    struct play play;
    int fd;
    begin(&play);
    struct super_message spawned = spawn(&play, 1, &fd);
    ask(fd, 'd'); /* it is past its exec */
    assert_int_equal(kill(play.super, SIGKILL), 0);
    assert_true(play_ends(spawned.pid));
    play_wait_super(&play);
    close(fd);
    play_end(&play); /* closes the line, which ends the one who plays sluiced */
}

static void quits_with_the_status_of_sluiced(void **state) {
    (void)state;
    struct play play;
    int fd, status = 5;
    begin(&play);
    struct super_message spawned = spawn(&play, 1, &fd);
    struct super_message quit = {.kind = SUPER_QUIT};
    play_send(&play, &quit);
    assert_int_equal(play_expect(&play, SUPER_EXITED, NULL).pid, spawned.pid);
    struct super_message late = spawn_request(2);
    expect_refusal(&play, &late, ESHUTDOWN);
    assert_int_equal(send(play.line, &status, sizeof status, 0), sizeof status);
    status = play_wait_super(&play);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 5);
    close(fd);
    play_end(&play);
}

static void a_quit_that_was_the_last_word_counts(void **state) {
    (void)state;
    struct play play;
    int status = 0;
    begin(&play);
    struct super_message bad = {.kind = 99, .request = 1};
    struct super_message quit = {.kind = SUPER_QUIT};
    struct pollfd in = {.fd = play.fd, .events = POLLIN};
    play_send(&play, &bad);
    assert_int_equal(poll(&in, 1, PLAY_DEADLINE_MS), 1);
    assert_int_equal(kill(play.super, SIGSTOP), 0); /* so that all of this arrives together */
    play_send(&play, &quit);
    assert_int_equal(send(play.line, &status, sizeof status, 0), sizeof status);
    assert_true(play_ends(play.sluiced));
    close(play.fd); /* the answer to `bad` is unread, which resets the socket */
    play.fd = -1;
    assert_int_equal(kill(play.super, SIGCONT), 0);
    status = play_wait_super(&play);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    play_end(&play);
}

static void signals_are_passed_on(void **state) {
    (void)state;
    struct play play;
    int fd, number = 0, none;
    begin(&play);
    struct super_message spawned = spawn(&play, 1, &fd);
    assert_int_equal(kill(play.super, SIGHUP), 0);
    assert_int_equal(play_receive_fd(play.line, &number, sizeof number, &none), sizeof number);
    assert_int_equal(number, SIGHUP);
    assert_int_equal(kill(play.super, SIGTERM), 0);
    int status = play_wait_super(&play);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(play_ends(spawned.pid));
    close(fd);
    play_end(&play);
}

static void a_sluiced_that_hangs_up_is_replaced(void **state) {
    (void)state;
    struct play play;
    begin(&play);
    pid_t before = play.sluiced;
    shutdown(play.fd, SHUT_RDWR);
    assert_true(play_ends(before));
    play_accept(&play);
    assert_int_equal(play_expect(&play, SUPER_HELD_END, NULL).error, 1);
    assert_int_not_equal(play.sluiced, before);
    play_end(&play);
}

int main(int argc, char **argv) {
    play_roles(argc, argv, runner);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spawned_clean_and_buried_with_words),
        cmocka_unit_test(only_the_last_words_are_kept),
        cmocka_unit_test(runners_outlive_sluiced),
        cmocka_unit_test(refuses_what_is_out_of_range),
        cmocka_unit_test(accounts_are_in_the_range),
        cmocka_unit_test(a_table_that_is_full_says_so),
        cmocka_unit_test(answers_wait_in_nobodys_memory),
        cmocka_unit_test(nobody_is_left_behind),
        cmocka_unit_test(a_shared_account_is_not_swept),
        cmocka_unit_test(runners_die_with_super),
        cmocka_unit_test(quits_with_the_status_of_sluiced),
        cmocka_unit_test(a_quit_that_was_the_last_word_counts),
        cmocka_unit_test(signals_are_passed_on),
        cmocka_unit_test(a_sluiced_that_hangs_up_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
