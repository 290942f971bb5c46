/* SPDX-License-Identifier: Apache-2.0
 *
 * children.h: the table of runners, and what each wrote last.
 *
 * A slot is FREE, LIVE from its spawn to the moment its process was reaped, and DEAD until sluiced
 * was told. What a child writes to stdout and stderr comes through a pipe: the last SUPER_WORDS_MAX
 * bytes are kept, and whole lines go to sluice-super's own log. A child that writes too much is not
 * read for the rest of the second, so it waits and nobody else does.
 *
 * Static memory only. One thread.
 */
#ifndef SLUICE_SUPER_CHILDREN_H
#define SLUICE_SUPER_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "super/message.h"

#define SUPER_LINE_MAX 512          /* longer lines of a child are cut in the log */
#define SUPER_WORDS_PER_S 65536     /* bytes read of one child: the size of a pipe */
#define SUPER_LINES_PER_S 20        /* lines of one child that are logged */
#define SUPER_WORDS_AT_DEATH 131072 /* bytes read after death; a pipe holds half of it */

enum super_child_state { SUPER_CHILD_FREE, SUPER_CHILD_LIVE, SUPER_CHILD_DEAD };

struct super_child {
    enum super_child_state state;
    pid_t pid;
    int pidfd;      /* LIVE only */
    int gateway_fd; /* LIVE only: the gateway's end of its socket */
    int words_fd;   /* LIVE only; -1: it closed its end */
    uint32_t uid, gid;
    uint8_t tag[SUPER_TAG_SIZE];
    int status;         /* DEAD only */
    uint32_t words_end; /* in the ring: where the next byte goes */
    uint32_t words_length;
    uint8_t words[SUPER_WORDS_MAX];
    uint64_t second_ms; /* the second that the two budgets are for began then */
    uint32_t second_bytes;
    uint32_t second_lines;
    uint32_t line_length;
    char line[SUPER_LINE_MAX + 1];
};

struct super_children { /* zeroed at first */
    struct super_child at[SUPER_CHILDREN_MAX];
};

/* A FREE slot, cleared, its descriptors -1; NULL: there is none. It is still FREE. */
struct super_child *super_children_room(struct super_children *children);
uint32_t super_children_slot(const struct super_children *children,
                             const struct super_child *child);
/* The LIVE child of that pid; NULL: no child of ours. */
struct super_child *super_children_find(struct super_children *children, pid_t pid);
bool super_children_any(const struct super_children *children, enum super_child_state state);
/* Another LIVE child has that account. */
bool super_children_share_uid(const struct super_children *children,
                              const struct super_child *child);

/* Its pipe may be read in this second. */
bool super_child_may_speak(struct super_child *child, uint64_t now_ms);
/* Reads what is there, some of it. */
void super_child_listen(struct super_child *child);
/* LIVE to DEAD, after it was reaped: reads its last words and closes what was held for it. */
void super_child_bury(struct super_child *child, int status);
/* The last words in order. Returns their length. */
uint32_t super_child_words(const struct super_child *child, uint8_t ret[SUPER_WORDS_MAX]);

#endif
