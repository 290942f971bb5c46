/* SPDX-License-Identifier: Apache-2.0
 *
 * sandbox.c: see sandbox.h (prctl(2), capabilities(7), landlock(7), seccomp_init(3)).
 */
#include "data/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"

#define CAPABILITY_NUMBERS 64 /* two 32-bit words a set */

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self 446
#endif
#define CREATE_RULESET_VERSION 1u
/* Rights of the first ABI, and what later ones brought: they are all refused. */
#define FS_RIGHTS_1 ((UINT64_C(1) << 13) - 1)
#define FS_REFER (UINT64_C(1) << 13)     /* 2 */
#define FS_TRUNCATE (UINT64_C(1) << 14)  /* 3 */
#define FS_IOCTL_DEV (UINT64_C(1) << 15) /* 5 */
#define NET_ALL UINT64_C(3)              /* 4 */
#define SCOPE_ALL UINT64_C(3)            /* 6 */

static const char *const allowed[] = {
#define ALLOWED(name, sentence) #name,
#include "data/allowed.def"
#undef ALLOWED
};

static void line(struct sandbox *sandbox, const char *facility, const char *text, int number) {
    CHECK(sandbox->count < SANDBOX_LINES);
    char *to = sandbox->texts[sandbox->count];
    if (number == 0)
        snprintf(to, SANDBOX_LINE_SIZE, "%s", text);
    else
        snprintf(to, SANDBOX_LINE_SIZE, "%s: %s", text, strerror(number));
    sandbox->lines[sandbox->count++] = (struct text_pair){.name = facility, .value = to};
}

static void enter_landlock(struct sandbox *sandbox) {
    int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    if (abi < 1) {
        line(sandbox, "landlock", "the kernel lacks it", errno);
        return;
    }
    struct {
        uint64_t fs, net, scoped;
    } refused = {.fs = FS_RIGHTS_1};
    refused.fs |= (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0);
    refused.fs |= abi >= 5 ? FS_IOCTL_DEV : 0;
    refused.net = abi >= 4 ? NET_ALL : 0;
    refused.scoped = abi >= 6 ? SCOPE_ALL : 0;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &refused, sizeof refused, 0);
    if (ruleset < 0 || syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        line(sandbox, "landlock", "it cannot be entered", errno);
    else
        line(sandbox, "landlock", "on", 0);
    if (ruleset >= 0)
        close(ruleset);
}

static void drop_privileges(struct sandbox *sandbox) {
    struct rlimit files;
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    /* As many clients as there may be. */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned long number = 0; number < CAPABILITY_NUMBERS; number++)
        prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2];
    memset(none, 0, sizeof none);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_capset, &header, none) != 0)
        line(sandbox, "privileges", "they cannot be dropped", errno);
    else
        line(sandbox, "privileges", "on", 0);
}

/* 0 or a negative errno. */
static int load_filter(void) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (filter == NULL)
        return -ENOMEM;
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    int wrong = 0;
    for (size_t i = 0; wrong == 0 && i < sizeof allowed / sizeof allowed[0]; i++) {
        int number = seccomp_syscall_resolve_name(allowed[i]);
        if (number >= 0)
            wrong = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
    }
    if (wrong == 0)
        wrong = seccomp_load(filter);
    seccomp_release(filter);
    return wrong;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

void sandbox_enter(struct sandbox *sandbox) {
    sandbox->count = 0;
    if (getuid() == 0)
        line(sandbox, "uid", "not of its own: it runs with uid 0", 0);
    else
        line(sandbox, "uid", "on", 0);
    drop_privileges(sandbox);
    enter_landlock(sandbox);
    if (SANITIZED) {
        line(sandbox, "seccomp", "off: a sanitizer makes calls of its own", 0);
        return;
    }
    int wrong = load_filter();
    if (wrong == 0)
        line(sandbox, "seccomp", "on", 0);
    else
        line(sandbox, "seccomp", "the kernel refuses", -wrong);
}
