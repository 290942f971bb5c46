/* SPDX-License-Identifier: Apache-2.0
 *
 * privileges.c: no new privileges, no capabilities, limits (prctl(2), capabilities(7),
 * getrlimit(2)).
 */
#include "runner/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runner/build.h"

#define CAPABILITY_NUMBERS 64 /* two 32-bit words a set */

/* The owner of our parent's /proc folder is its uid, or root when it is not dumpable. */
static bool has_uid_of_its_own(void) {
    char path[32];
    struct stat parent;
    snprintf(path, sizeof path, "/proc/%d", (int)getppid());
    return getuid() != 0 && stat(path, &parent) == 0 && parent.st_uid != getuid();
}

static const char *drop_privileges(void) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return "no_new_privs";
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    /* Needs a capability itself; who has none cannot get any from the bounding set either. */
    for (unsigned long number = 0; number < CAPABILITY_NUMBERS; number++)
        prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2];
    memset(none, 0, sizeof none);
    if (syscall(SYS_capset, &header, none) != 0)
        return "capset";
    return NULL;
}

static bool limit(int resource, uint64_t value) {
    struct rlimit old;
    if (getrlimit(resource, &old) != 0)
        return false;
    /* A hard limit below ours stays: it cannot be raised, and it is stricter. */
    rlim_t hard = value < old.rlim_max ? value : old.rlim_max;
    return setrlimit(resource, &(struct rlimit){.rlim_cur = hard, .rlim_max = hard}) == 0;
}

static const char *set_limits(const struct sandbox *sandbox, bool own_uid) {
    if (!limit(RLIMIT_CORE, 0))
        return "core files";
    if (!limit(RLIMIT_NOFILE, (uint64_t)sandbox->open_files + SANDBOX_OPEN_FILES_OWN))
        return "open files";
    if (!BUILD_SANITIZED &&
        !limit(RLIMIT_DATA, ((uint64_t)sandbox->memory_mib + SANDBOX_MEMORY_MIB_OWN) << 20))
        return "memory";
    /* It counts all threads of the uid, so it can only be set for a uid that nobody shares. */
    if (own_uid && !limit(RLIMIT_NPROC, SANDBOX_THREADS))
        return "threads";
    return NULL;
}

void sandbox_privileges(struct sandbox *sandbox) {
    struct sandbox_report *report = &sandbox->report;
    bool own_uid = has_uid_of_its_own();
    if (own_uid)
        sandbox_report(report, "uid", "on");
    else
        sandbox_report(report, "uid", "not of its own: it runs with uid %u", (unsigned)getuid());

    const char *wrong = drop_privileges();
    int number = errno;
    if (wrong == NULL)
        sandbox_report(report, "privileges", "on");
    else
        sandbox_report(report, "privileges", "%s: %s", wrong, strerror(number));

    wrong = set_limits(sandbox, own_uid);
    number = errno;
    if (wrong != NULL)
        sandbox_report(report, "limits", "%s: %s", wrong, strerror(number));
    else if (BUILD_SANITIZED)
        sandbox_report(report, "limits", "on, but for memory: a sanitizer needs more");
    else if (!own_uid)
        sandbox_report(report, "limits", "on, but for threads: the uid is shared");
    else
        sandbox_report(report, "limits", "on");
}
