/* SPDX-License-Identifier: Apache-2.0
 *
 * seccomp.c: system calls by libseccomp: denied.def, and what depends on arguments.
 *
 * Arguments are compared as 64 bits although the kernel may look at 32 of them. Every rule is
 * written so that set upper bits lead to the denial, or masks them away.
 */
#include "runner/sandbox.h"

#include <errno.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define DENY SCMP_ACT_ERRNO(EPERM)
#define LOW_HALF UINT64_C(0xffffffff)

static const char *const denied[] = {
#define DENIED(name, sentence) #name,
#include "runner/denied.def"
#undef DENIED
};

/* Calls that name a process first: only our own. */
static const char *const to_a_process[] = {"kill", "tgkill", "rt_sigqueueinfo",
                                           "rt_tgsigqueueinfo"};

static const uint64_t namespaces[] = {
    CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
    CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET,
};

/* Address families of a driver that may use the network; netlink tells getaddrinfo(3) what
 * addresses the machine has. */
static const unsigned families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
#define FAMILY_LAST AF_NETLINK

/* libseccomp's own macros leave the last member to chance in the eyes of a strict compiler. */
static struct scmp_arg_cmp argument(unsigned number, enum scmp_compare how, uint64_t value,
                                    uint64_t masked) {
    return (struct scmp_arg_cmp){.arg = number, .op = how, .datum_a = value, .datum_b = masked};
}

static int number_of(const char *name) {
    return seccomp_syscall_resolve_name(name);
}

/* Each returns 0 or a negative errno, as libseccomp does. */
static int deny_calls(scmp_filter_ctx filter) {
    int wrong = 0;
    for (size_t i = 0; wrong == 0 && i < sizeof denied / sizeof denied[0]; i++) {
        int number = number_of(denied[i]);
        if (number >= 0)
            wrong = seccomp_rule_add(filter, DENY, number, 0);
    }
    return wrong;
}

static int deny_signals(scmp_filter_ctx filter) {
    int wrong = 0;
    for (size_t i = 0; wrong == 0 && i < sizeof to_a_process / sizeof to_a_process[0]; i++)
        wrong = seccomp_rule_add(filter, DENY, number_of(to_a_process[i]), 1,
                                 argument(0, SCMP_CMP_NE, (uint64_t)getpid(), 0));
    /* Limits of others with the same uid; 0 is oneself. */
    if (wrong == 0)
        wrong =
            seccomp_rule_add(filter, DENY, SCMP_SYS(prlimit64), 1, argument(0, SCMP_CMP_NE, 0, 0));
    return wrong;
}

static int deny_processes(scmp_filter_ctx filter) {
    int clone_number = SCMP_SYS(clone);
    int wrong = seccomp_rule_add(filter, DENY, clone_number, 1,
                                 argument(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    for (size_t i = 0; wrong == 0 && i < sizeof namespaces / sizeof namespaces[0]; i++)
        wrong = seccomp_rule_add(filter, DENY, clone_number, 1,
                                 argument(0, SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
    /* Its flags are in memory, where a filter cannot look. The C library then uses clone. */
    int clone3_number = number_of("clone3");
    if (wrong == 0 && clone3_number >= 0)
        wrong = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), clone3_number, 0);
    return wrong;
}

static int deny_sockets(scmp_filter_ctx filter, bool network) {
    int number = SCMP_SYS(socket);
    if (!network)
        return seccomp_rule_add(filter, DENY, number, 1, argument(0, SCMP_CMP_NE, AF_UNIX, 0));
    int wrong = seccomp_rule_add(filter, DENY, number, 1, argument(0, SCMP_CMP_GT, FAMILY_LAST, 0));
    for (unsigned family = 0; wrong == 0 && family <= FAMILY_LAST; family++) {
        bool allowed = false;
        for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
            allowed = allowed || families[i] == family;
        if (!allowed)
            wrong = seccomp_rule_add(filter, DENY, number, 1, argument(0, SCMP_CMP_EQ, family, 0));
    }
    return wrong;
}

/* Typing into the terminal from which the gateway was started. */
static int deny_terminals(scmp_filter_ctx filter) {
    int wrong = seccomp_rule_add(filter, DENY, SCMP_SYS(ioctl), 1,
                                 argument(1, SCMP_CMP_MASKED_EQ, LOW_HALF, TIOCSTI));
    if (wrong == 0)
        wrong = seccomp_rule_add(filter, DENY, SCMP_SYS(ioctl), 1,
                                 argument(1, SCMP_CMP_MASKED_EQ, LOW_HALF, TIOCLINUX));
    return wrong;
}

static int load_filter(bool network) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter == NULL)
        return -ENOMEM;
    /* For all threads: the driver may have started some of its own. */
    int wrong = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    /* A tree instead of a chain of comparisons, for kernels that do not remember what is always
     * allowed. An older libseccomp has no such thing. */
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (wrong == 0)
        wrong = deny_calls(filter);
    if (wrong == 0)
        wrong = deny_signals(filter);
    if (wrong == 0)
        wrong = deny_processes(filter);
    if (wrong == 0)
        wrong = deny_sockets(filter, network);
    if (wrong == 0)
        wrong = deny_terminals(filter);
    if (wrong == 0)
        wrong = seccomp_load(filter);
    seccomp_release(filter);
    return wrong;
}

void sandbox_seccomp(struct sandbox *sandbox) {
    int wrong = load_filter(sandbox->network);
    if (wrong == 0) {
        sandbox_report(&sandbox->report, "seccomp", "on");
        sandbox_report(&sandbox->report, "network", sandbox->network ? "allowed" : "on");
    } else {
        sandbox_report(&sandbox->report, "seccomp", "the kernel refuses: %s", strerror(-wrong));
        sandbox_report(&sandbox->report, "network", "not enforced without seccomp");
    }
}
