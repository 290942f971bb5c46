/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process in the sandbox can still do. Each attempt is made by a child, whose exit status is
 * 0 when it worked, else errno. A test whose facility this kernel lacks is skipped with the reason
 * from the report.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runner/build.h"
#include "runner/sandbox.h"

#define UPPER_BIT (UINT64_C(1) << 32) /* the kernel does not look at it, a filter might */
#define LACKING 250                   /* exit status: the facility is not there */
#define WRONG 251                     /* exit status: the attempt was not even made */

static char folder[64];
static char inside[128];   /* rw */
static char readable[128]; /* ro */
static char outside[128];
static pid_t victim;
static bool network;
static const char *facility;
static char lacking_file[128];

static void write_file(const char *path) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("x", file);
    fclose(file);
}

static void enter(struct sandbox *sandbox) {
    static char rw[160];
    static char ro[160];
    static char missing[160];
    snprintf(rw, sizeof rw, "rw:%s", inside);
    snprintf(ro, sizeof ro, "ro:%s", readable);
    snprintf(missing, sizeof missing, "rw:%s/nothing", folder);
    const char *paths[] = {rw, ro, missing};
    struct wire_load load = {
        .directory = "/usr/lib",
        .paths = {.at = paths, .count = 3},
        .memory_mib = 64,
        .open_files = 100,
        .network = network,
    };
    struct err err = ERR_INIT;
    if (!sandbox_init(sandbox, &load, &err))
        _exit(WRONG);
    sandbox_enter_files(sandbox);
    sandbox_close_door(sandbox);
}

static bool is_on(const struct sandbox *sandbox) {
    const char *said = sandbox_reported(&sandbox->report, facility);
    return said != NULL && (strncmp(said, "on", 2) == 0 || strncmp(said, "abi", 3) == 0 ||
                            strcmp(said, "allowed") == 0);
}

/* The attempt's errno, 0 when it worked; skips the test when `facility` is not on. */
static int in_sandbox(int (*attempt)(void)) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static struct sandbox sandbox;
        int why = open(lacking_file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        enter(&sandbox);
        if (!is_on(&sandbox)) {
            const char *said = sandbox_reported(&sandbox.report, facility);
            ssize_t written = write(why, said, strlen(said));
            _exit(written > 0 ? LACKING : WRONG);
        }
        _exit(attempt() == 0 ? 0 : errno);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == LACKING) {
        print_message("skipped, %s is not on\n", facility);
        skip();
    }
    assert_int_not_equal(WEXITSTATUS(status), WRONG);
    return WEXITSTATUS(status);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/sluice-sandbox-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(inside, sizeof inside, "%s/inside", folder);
    snprintf(readable, sizeof readable, "%s/readable", folder);
    snprintf(outside, sizeof outside, "%s/outside", folder);
    snprintf(lacking_file, sizeof lacking_file, "%s/lacking", folder);
    assert_int_equal(mkdir(inside, 0700), 0);
    assert_int_equal(mkdir(readable, 0700), 0);
    assert_int_equal(mkdir(outside, 0700), 0);
    char path[160];
    snprintf(path, sizeof path, "%s/secret", outside);
    write_file(path);
    snprintf(path, sizeof path, "%s/file", readable);
    write_file(path);
    network = false;
    facility = "seccomp";
    victim = fork();
    assert_true(victim >= 0);
    if (victim == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
    char command_path[160];
    static const char *const files[] = {"outside/secret", "outside/new", "readable/file",
                                        "readable/new",   "inside/new",  "inside/sub",
                                        "lacking"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(command_path, sizeof command_path, "%s/%s", folder, files[i]);
        remove(command_path);
    }
    rmdir(inside);
    rmdir(readable);
    rmdir(outside);
    return rmdir(folder);
}

static int open_in(const char *where, const char *name, int flags) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", where, name);
    int file = open(path, flags, 0600);
    return file < 0 ? -1 : close(file);
}

/* ---- files ---------------------------------------------------------------------------------- */

static int read_outside(void) {
    return open_in(outside, "secret", O_RDONLY);
}
static int create_outside(void) {
    return open_in(outside, "new", O_WRONLY | O_CREAT);
}
static int remove_outside(void) {
    char path[200];
    snprintf(path, sizeof path, "%s/secret", outside);
    return unlink(path);
}
static int truncate_outside(void) {
    char path[200];
    snprintf(path, sizeof path, "%s/secret", outside);
    return truncate(path, 0);
}
static int read_passwords(void) {
    return open_in("/etc", "shadow", O_RDONLY);
}
static int read_processes(void) {
    return open_in("/proc/1", "status", O_RDONLY);
}
static int list_root(void) {
    return open_in("/", "", O_RDONLY | O_DIRECTORY);
}
static int write_inside(void) {
    char path[200];
    snprintf(path, sizeof path, "%s/sub", inside);
    if (open_in(inside, "new", O_RDWR | O_CREAT | O_TRUNC) != 0 || mkdir(path, 0700) != 0)
        return -1;
    char from[200];
    snprintf(from, sizeof from, "%s/new", inside);
    snprintf(path, sizeof path, "%s/sub/new", inside);
    return rename(from, path) != 0 ? -1 : rename(path, from);
}
static int read_readable(void) {
    return open_in(readable, "file", O_RDONLY);
}
static int write_readable(void) {
    return open_in(readable, "file", O_WRONLY);
}
static int create_readable(void) {
    return open_in(readable, "new", O_WRONLY | O_CREAT);
}
static int load_a_library(void) {
    return open_in("/lib64", "", O_RDONLY | O_DIRECTORY);
}

static void only_the_named_paths_can_be_reached(void **state) {
    (void)state;
    facility = "landlock";
    assert_int_equal(in_sandbox(read_outside), EACCES);
    assert_int_equal(in_sandbox(create_outside), EACCES);
    assert_int_equal(in_sandbox(remove_outside), EACCES);
    assert_int_equal(in_sandbox(read_passwords), EACCES);
    assert_int_equal(in_sandbox(read_processes), EACCES);
    assert_int_equal(in_sandbox(list_root), EACCES);
    assert_int_equal(in_sandbox(read_readable), 0);
    assert_int_equal(in_sandbox(write_readable), EACCES);
    assert_int_equal(in_sandbox(create_readable), EACCES);
    assert_int_equal(in_sandbox(write_inside), 0);
    assert_int_equal(in_sandbox(load_a_library), 0);
}

static int truncate_is_handled(void) {
    int abi = (int)syscall(444 /* landlock_create_ruleset */, NULL, 0, 1);
    if (abi >= 3)
        return truncate_outside();
    errno = EACCES; /* an older kernel cannot forbid it */
    return -1;
}

static void nothing_outside_is_truncated(void **state) {
    (void)state;
    facility = "landlock";
    assert_int_equal(in_sandbox(truncate_is_handled), EACCES);
}

/* ---- other processes ------------------------------------------------------------------------ */

static int signal_victim(void) {
    return kill(victim, 0);
}
static int signal_victim_in_disguise(void) {
    return (int)syscall(SYS_kill, UPPER_BIT | (uint64_t)victim, 0);
}
static int signal_everybody(void) {
    return kill(-1, 0);
}
static int signal_group(void) {
    return kill(0, 0);
}
static int signal_thread_of_victim(void) {
    return (int)syscall(SYS_tgkill, victim, victim, 0);
}
static int signal_by_tkill(void) {
    return (int)syscall(SYS_tkill, victim, 0);
}
static int signal_self(void) {
    return kill(getpid(), 0) != 0 ? -1 : raise(SIGCONT);
}
static int trace_victim(void) {
    return (int)ptrace(PTRACE_ATTACH, victim, NULL, NULL);
}
static int limit_victim(void) {
    struct rlimit limit = {1, 1};
    return prlimit(victim, RLIMIT_NOFILE, &limit, NULL);
}

static void other_processes_are_out_of_reach(void **state) {
    (void)state;
    assert_int_equal(in_sandbox(signal_victim), EPERM);
    assert_int_equal(in_sandbox(signal_victim_in_disguise), EPERM);
    assert_int_equal(in_sandbox(signal_everybody), EPERM);
    assert_int_equal(in_sandbox(signal_group), EPERM);
    assert_int_equal(in_sandbox(signal_thread_of_victim), EPERM);
    assert_int_equal(in_sandbox(signal_by_tkill), EPERM);
    assert_int_equal(in_sandbox(trace_victim), EPERM);
    assert_int_equal(in_sandbox(limit_victim), EPERM);
    assert_int_equal(in_sandbox(signal_self), 0);
}

static int execute(void) {
    char *arguments[] = {"true", NULL};
    return execve("/bin/true", arguments, arguments + 1);
}
static int make_a_process(void) {
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    return child < 0 ? -1 : 0;
}
static int make_a_namespace(void) {
    return (int)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0) < 0 ? -1 : 0;
}
static void *nothing(void *argument) {
    return argument;
}
static int make_a_thread(void) {
    pthread_t thread;
    int wrong = pthread_create(&thread, NULL, nothing, NULL);
    if (wrong == 0)
        wrong = pthread_join(thread, NULL);
    errno = wrong;
    return wrong == 0 ? 0 : -1;
}

static void threads_are_all_that_can_be_made(void **state) {
    (void)state;
    assert_int_equal(in_sandbox(execute), EPERM);
    assert_int_equal(in_sandbox(make_a_process), EPERM);
    assert_int_equal(in_sandbox(make_a_namespace), EPERM);
    assert_int_equal(in_sandbox(make_a_thread), 0);
}

/* Every row of denied.def; the first that does not answer EPERM is named. */
static int try_all_denied(void) {
    static const char *const names[] = {
#define DENIED(name, sentence) #name,
#include "runner/denied.def"
#undef DENIED
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int number = seccomp_syscall_resolve_name(names[i]);
        if (number < 0)
            continue;
        long result = syscall(number, 0, 0, 0, 0, 0, 0);
        if (result != -1 || errno != EPERM) {
            fprintf(stderr, "%s: %ld, %s\n", names[i], result, strerror(errno));
            errno = EEXIST;
            return -1;
        }
    }
    errno = EPERM;
    return -1;
}

static void every_denied_call_is_denied(void **state) {
    (void)state;
    assert_int_equal(in_sandbox(try_all_denied), EPERM);
}

/* ---- network -------------------------------------------------------------------------------- */

static int open_socket(uint64_t family) {
    int opened = (int)syscall(SYS_socket, family, SOCK_STREAM, 0);
    return opened < 0 ? -1 : close(opened);
}
static int open_inet(void) {
    return open_socket(AF_INET);
}
static int open_inet6(void) {
    return open_socket(AF_INET6);
}
static int open_inet_in_disguise(void) {
    return open_socket(UPPER_BIT | AF_INET);
}
static int open_unix(void) {
    return open_socket(AF_UNIX);
}
static int open_alg(void) {
    return open_socket(AF_ALG);
}
static int open_vsock(void) {
    return open_socket(AF_VSOCK);
}
static int open_packet(void) {
    return open_socket(AF_PACKET);
}
static int open_packet_in_disguise(void) {
    return open_socket(UPPER_BIT | AF_PACKET);
}

static void without_a_network_there_are_unix_sockets_only(void **state) {
    (void)state;
    facility = "network";
    assert_int_equal(in_sandbox(open_inet), EPERM);
    assert_int_equal(in_sandbox(open_inet6), EPERM);
    assert_int_equal(in_sandbox(open_inet_in_disguise), EPERM);
    assert_int_equal(in_sandbox(open_alg), EPERM);
    assert_int_equal(in_sandbox(open_unix), 0);
}

static void with_a_network_there_is_ip_and_no_more(void **state) {
    (void)state;
    facility = "network";
    network = true;
    assert_int_equal(in_sandbox(open_inet), 0);
    assert_int_equal(in_sandbox(open_unix), 0);
    assert_int_equal(in_sandbox(open_alg), EPERM);
    assert_int_equal(in_sandbox(open_vsock), EPERM);
    assert_int_equal(in_sandbox(open_packet), EPERM);
    assert_int_equal(in_sandbox(open_packet_in_disguise), EPERM);
}

/* ---- privileges and limits ------------------------------------------------------------------ */

static int has_no_privileges(void) {
    errno = EINVAL;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return -1;
    for (unsigned long capability = 0; capability <= 31; capability++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) == 1)
            return -1;
    /* What only a privileged process may do, and no filter forbids. By the kernel alone: the C
     * library would want it done to a sanitizer's thread too, which is older than the sandbox. */
    if (syscall(SYS_setgroups, 0, NULL) == 0)
        return -1;
    return errno == EPERM ? 0 : -1;
}

static void privileges_are_gone(void **state) {
    (void)state;
    facility = "privileges";
    assert_int_equal(in_sandbox(has_no_privileges), 0);
}

static int has_limits(void) {
    struct rlimit core;
    struct rlimit files;
    struct rlimit memory;
    getrlimit(RLIMIT_CORE, &core);
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_DATA, &memory);
    errno = EINVAL;
    if (core.rlim_max != 0 || files.rlim_max > 100 + SANDBOX_OPEN_FILES_OWN)
        return -1;
    if (BUILD_SANITIZED)
        return 0;
    if (memory.rlim_max != (uint64_t)(64 + SANDBOX_MEMORY_MIB_OWN) << 20)
        return -1;
    char *volatile much = malloc((size_t)256 << 20);
    return much == NULL ? 0 : -1;
}

static void limits_are_set(void **state) {
    (void)state;
    facility = "limits";
    assert_int_equal(in_sandbox(has_limits), 0);
}

/* ---- the report and the paths --------------------------------------------------------------- */

static void what_is_no_path_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"", "/x", "rw:x", "ro:", "wo:/x"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *paths[] = {wrong[i]};
        struct wire_load load = {.directory = "/usr/lib", .paths = {.at = paths, .count = 1}};
        static struct sandbox sandbox;
        struct err err = ERR_INIT;
        assert_false(sandbox_init(&sandbox, &load, &err));
        assert_int_equal(err.code, ERR_BAD_REQUEST);
    }
}

static int report_is_whole(void) {
    static struct sandbox sandbox; /* a second one inside the first is stricter, which is fine */
    enter(&sandbox);
    static const char *const facilities[] = {"uid",   "privileges", "limits", "landlock",
                                             "paths", "seccomp",    "network"};
    for (size_t i = 0; i < sizeof facilities / sizeof facilities[0]; i++) {
        const char *said = sandbox_reported(&sandbox.report, facilities[i]);
        if (said == NULL || said[0] == '\0') {
            errno = EINVAL;
            return -1;
        }
    }
    errno = EINVAL;
    /* The path that is not there is named, and nothing else was lost by it. */
    return strstr(sandbox_reported(&sandbox.report, "paths"), "nothing") != NULL ? 0 : -1;
}

static void every_facility_is_reported(void **state) {
    (void)state;
    facility = "landlock";
    assert_int_equal(in_sandbox(report_is_whole), 0);
}

static void a_replaced_path_is_noticed(void **state) {
    (void)state;
    static struct sandbox sandbox;
    char path[160];
    snprintf(path, sizeof path, "rw:%s", inside);
    const char *paths[] = {path};
    struct wire_load load = {.directory = "/usr/lib", .paths = {.at = paths, .count = 1}};
    int to_child[2];
    int from_child[2];
    assert_int_equal(pipe(to_child), 0);
    assert_int_equal(pipe(from_child), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err err = ERR_INIT;
        char byte = 0;
        sandbox_init(&sandbox, &load, &err);
        sandbox_enter_files(&sandbox);
        if (sandbox_paths_changed(&sandbox) != NULL || write(from_child[1], "x", 1) != 1 ||
            read(to_child[0], &byte, 1) != 1)
            _exit(1);
        const char *changed = sandbox_paths_changed(&sandbox);
        _exit(changed != NULL && strcmp(changed, path + 3) == 0 ? 0 : 2);
    }
    char byte;
    assert_int_equal(read(from_child[0], &byte, 1), 1);
    char away[160];
    snprintf(away, sizeof away, "%s/lacking", folder);
    assert_int_equal(rename(inside, away), 0);
    assert_int_equal(mkdir(inside, 0700), 0);
    assert_int_equal(write(to_child[1], "x", 1), 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(to_child[0]);
    close(to_child[1]);
    close(from_child[0]);
    close(from_child[1]);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(only_the_named_paths_can_be_reached),
        TEST(nothing_outside_is_truncated),
        TEST(other_processes_are_out_of_reach),
        TEST(threads_are_all_that_can_be_made),
        TEST(every_denied_call_is_denied),
        TEST(without_a_network_there_are_unix_sockets_only),
        TEST(with_a_network_there_is_ip_and_no_more),
        TEST(privileges_are_gone),
        TEST(limits_are_set),
        TEST(what_is_no_path_is_refused),
        TEST(every_facility_is_reported),
        TEST(a_replaced_path_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
