/* SPDX-License-Identifier: Apache-2.0
 *
 * message.h: the fixed messages between sluice-super and sluiced.
 *
 * One SOCK_SEQPACKET socket, inherited by sluiced as descriptor SUPER_FD. Every message is one
 * struct super_message, whole; descriptors travel by SCM_RIGHTS where a line says so. sluice-super
 * trusts sluiced's intent, never its bytes: a message of another size or with a value out of range
 * is answered by SUPER_REFUSED and changes nothing. Members that a line does not name are zero.
 * SUPER_KILL has no answer but the refusal; it names the pid too, because a slot may have a new
 * child by the time it arrives.
 *
 * sluice-super holds, for every live child, the pid, a pidfd, the gateway's end of its socket and
 * the last SUPER_WORDS_MAX bytes it wrote to stderr. When sluiced ends without having asked for it,
 * it is started again and finds its children by HELD messages.
 */
#ifndef SLUICE_SUPER_MESSAGE_H
#define SLUICE_SUPER_MESSAGE_H

#include <stdint.h>

#define SUPER_FD 3
#define SUPER_RUNNER_FD 3 /* in a runner: its end of the socket */
#define SUPER_CHILDREN_MAX 512
#define SUPER_WORDS_MAX 2048
#define SUPER_TAG_SIZE 16
/* Accounts of runners when nothing else is configured: between those that distributions hand out
 * and the first subordinate ids. */
#define SUPER_UID_LOW 70000
#define SUPER_UID_HIGH 70999

enum super_kind {
    SUPER_SPAWN =
        1,          /* to super: request, tag, uid, gid, program; uid and gid count for root only */
    SUPER_KILL = 2, /* to super: request, slot, pid, signal (SIGTERM, SIGABRT or SIGKILL) */
    SUPER_QUIT = 3, /* to super: sluiced ends on purpose; kill what is left and exit */
    SUPER_SPAWNED = 4,  /* to sluiced: request, slot, pid; descriptor: the gateway's end */
    SUPER_REFUSED = 5,  /* to sluiced: request, error (errno) */
    SUPER_EXITED = 6,   /* to sluiced: slot, tag, pid, status, words */
    SUPER_HELD = 7,     /* to sluiced at its start, one a live child: slot, tag, pid, uid, gid;
                           descriptor: the gateway's end */
    SUPER_HELD_END = 8, /* to sluiced: that was all; error is the number of sluiced's restarts */
};

enum super_program {
    SUPER_PROGRAM_RUNNER = 1,
    SUPER_PROGRAM_DATA = 2, /* sluice-data: begins, is held and ends as a runner does */
};

struct super_message {
    uint32_t kind;    /* enum super_kind */
    uint32_t request; /* chosen by sluiced, comes back in the answer */
    uint32_t slot;    /* of the child: 0 to SUPER_CHILDREN_MAX - 1 */
    uint32_t program; /* enum super_program */
    int32_t pid;
    uint32_t uid;
    uint32_t gid;
    int32_t signal;
    int32_t status; /* as waitpid gives it */
    int32_t error;
    uint8_t tag[SUPER_TAG_SIZE]; /* sluiced's own: the pool or driver it is for */
    uint32_t words_length;
    uint8_t words[SUPER_WORDS_MAX];
};
_Static_assert(sizeof(struct super_message) == 40 + SUPER_TAG_SIZE + 4 + SUPER_WORDS_MAX,
               "struct super_message has no padding");

#endif
