/* SPDX-License-Identifier: Apache-2.0
 *
 * landlock.c: the file system, TCP and signals by Landlock (landlock(7)).
 *
 * What the kernel's headers may lack is defined here after the kernel's documentation
 * (Documentation/userspace-api/landlock.rst); the ABI version that the kernel reports decides what
 * is used.
 */
#include "runner/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH 1

/* File rights by bit, with the ABI that brought them. */
#define FS_EXECUTE (UINT64_C(1) << 0)
#define FS_WRITE_FILE (UINT64_C(1) << 1)
#define FS_READ_FILE (UINT64_C(1) << 2)
#define FS_READ_DIR (UINT64_C(1) << 3)
#define FS_REMOVE_DIR (UINT64_C(1) << 4)
#define FS_REMOVE_FILE (UINT64_C(1) << 5)
#define FS_MAKE_CHAR (UINT64_C(1) << 6)
#define FS_MAKE_DIR (UINT64_C(1) << 7)
#define FS_MAKE_REG (UINT64_C(1) << 8)
#define FS_MAKE_SOCK (UINT64_C(1) << 9)
#define FS_MAKE_FIFO (UINT64_C(1) << 10)
#define FS_MAKE_BLOCK (UINT64_C(1) << 11)
#define FS_MAKE_SYM (UINT64_C(1) << 12)
#define FS_ALL_1 ((UINT64_C(1) << 13) - 1)
#define FS_REFER (UINT64_C(1) << 13)     /* 2 */
#define FS_TRUNCATE (UINT64_C(1) << 14)  /* 3 */
#define FS_IOCTL_DEV (UINT64_C(1) << 15) /* 5 */
#define NET_ALL UINT64_C(3)              /* 4: bind and connect TCP */
#define SCOPE_ALL UINT64_C(3)            /* 6: abstract Unix sockets, signals */

#define READ (FS_READ_FILE | FS_READ_DIR)
#define WRITE                                                                            \
    (READ | FS_WRITE_FILE | FS_TRUNCATE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | \
     FS_MAKE_REG | FS_MAKE_SOCK | FS_MAKE_FIFO | FS_MAKE_SYM | FS_REFER | FS_IOCTL_DEV)
/* What a rule for something that is no directory may hold. */
#define OF_FILES (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

/* Kernel's layout: struct landlock_ruleset_attr. Older kernels take a longer one when the rest is
 * zero. */
struct ruleset {
    uint64_t fs;
    uint64_t net;
    uint64_t scoped;
};

/* Kernel's layout: struct landlock_path_beneath_attr. */
struct rule {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

/* What every driver may read, and what one with a network needs to find its server. Nothing here
 * is secret on any system. */
static const struct {
    const char *path;
    uint64_t rights;
    bool network;
} common[] = {
    {"/lib", READ, false},
    {"/lib64", READ, false},
    {"/usr/lib", READ, false},
    {"/usr/lib64", READ, false},
    {"/usr/local/lib", READ, false},
    {"/usr/share/zoneinfo", READ, false},
    {"/etc/ld.so.cache", READ, false},
    {"/etc/localtime", READ, false},
    {"/dev/null", READ | FS_WRITE_FILE, false},
    {"/dev/zero", READ, false},
    {"/dev/random", READ, false},
    {"/dev/urandom", READ, false},
    {"/etc/nsswitch.conf", READ, true},
    {"/etc/hosts", READ, true},
    {"/etc/resolv.conf", READ, true},
    {"/etc/host.conf", READ, true},
    {"/etc/gai.conf", READ, true},
    {"/etc/services", READ, true},
    {"/etc/protocols", READ, true},
    {"/etc/ssl", READ, true},
    {"/usr/share/ca-certificates", READ, true},
};

static int landlock_abi(void) {
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
}

static struct ruleset handled_by(int abi, bool network) {
    struct ruleset handled = {.fs = FS_ALL_1};
    if (abi >= 2)
        handled.fs |= FS_REFER;
    if (abi >= 3)
        handled.fs |= FS_TRUNCATE;
    if (abi >= 4 && !network)
        handled.net = NET_ALL;
    if (abi >= 5)
        handled.fs |= FS_IOCTL_DEV;
    if (abi >= 6)
        handled.scoped = SCOPE_ALL;
    return handled;
}

/* false: errno says why. */
static bool allow(int ruleset, uint64_t handled, const char *path, uint64_t rights) {
    int at = open(path, O_PATH | O_CLOEXEC);
    if (at < 0)
        return false;
    struct stat found;
    bool good = fstat(at, &found) == 0;
    if (good) {
        if (!S_ISDIR(found.st_mode))
            rights &= OF_FILES;
        struct rule rule = {.allowed = rights & handled, .parent = at};
        good = syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) == 0;
    }
    int number = errno;
    close(at);
    errno = number;
    return good;
}

/* The paths that could not be allowed, in the report: the driver will find out itself that they
 * are not there. */
static void allow_paths(struct sandbox *sandbox, int ruleset, uint64_t handled) {
    uint32_t lost = 0;
    for (uint32_t i = 0; i < sandbox->path_count; i++) {
        const struct sandbox_path *path = &sandbox->paths[i];
        if (allow(ruleset, handled, path->path, path->writable ? WRITE : READ))
            continue;
        if (lost++ == 0)
            sandbox_report(&sandbox->report, "paths", "%s: %s", path->path, strerror(errno));
    }
    if (lost == 0)
        sandbox_report(&sandbox->report, "paths", "on");
    if (lost > 1)
        sandbox_report(&sandbox->report, "paths", "%u of %u cannot be opened", lost,
                       sandbox->path_count);
}

static void allow_common(const struct sandbox *sandbox, int ruleset, uint64_t handled) {
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
        if (!common[i].network || sandbox->network)
            allow(ruleset, handled, common[i].path, common[i].rights); /* not all are everywhere */
}

void sandbox_landlock(struct sandbox *sandbox) {
    struct sandbox_report *report = &sandbox->report;
    int abi = landlock_abi();
    if (abi < 1) {
        sandbox_report(report, "landlock", "the kernel lacks it: %s", strerror(errno));
        sandbox_report(report, "paths", "not enforced without landlock");
        return;
    }
    struct ruleset handled = handled_by(abi, sandbox->network);
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    if (ruleset < 0) {
        sandbox_report(report, "landlock", "no rule set: %s", strerror(errno));
        sandbox_report(report, "paths", "not enforced without landlock");
        return;
    }
    allow_common(sandbox, ruleset, handled.fs);
    allow_paths(sandbox, ruleset, handled.fs);
    if (!allow(ruleset, handled.fs, sandbox->directory, READ))
        sandbox_report(report, "archive", "%s: %s", sandbox->directory, strerror(errno));
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) == 0)
        sandbox_report(report, "landlock", "abi %d", abi);
    else
        sandbox_report(report, "landlock", "it cannot be entered: %s", strerror(errno));
    close(ruleset);
}
