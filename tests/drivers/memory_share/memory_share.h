/* SPDX-License-Identifier: Apache-2.0
 *
 * memory_share.h: a share in memory whose calls can be counted and made to fail.
 *
 * Every call of the share and of its open files counts, but for close. A fault is one call that
 * fails, or a cut: that call and all after it, as for who dies or loses the share there. A write
 * that fails has written its first half; a store or rename that fails has happened where
 * `after_the_fact` is set, as when only the answer is lost.
 *
 * Life cycle: memory_share_init, a pool on `fs`, memory_share_release when it is closed. Threads:
 * any (one lock). Out of memory ends the program: these are tests.
 */
#ifndef TESTS_MEMORY_SHARE_H
#define TESTS_MEMORY_SHARE_H

#include <pthread.h>

#include "share/fs.h"

#define MEMORY_ENTRIES_MAX 65536
#define MEMORY_LIST 65536

struct memory_entry;

struct memory_share {
    struct share_fs fs; /* first */
    struct sluice_services services;
    pthread_mutex_t lock;
    struct memory_entry *entries[MEMORY_ENTRIES_MAX];
    uint32_t count;
    uint64_t next_inode;
    uint64_t ticks;
    uint64_t calls;
    uint64_t fault_at; /* the call of this number fails; 0: none */
    int32_t fault_status;
    bool cut;
    bool after_the_fact;
    bool faulted; /* it came to that */
};

/* The services know it by this name: why a call failed, the first text. */
struct sluice_call {
    char text[SLUICE_TEXT_MAX];
};

void memory_share_init(struct memory_share *share);
void memory_share_release(struct memory_share *share);
/* The Nth call from now on; 0: no fault. */
void memory_share_fault(struct memory_share *share, uint64_t nth, int32_t status, bool cut,
                        bool after_the_fact);
uint64_t memory_share_calls(struct memory_share *share);
/* All paths, sorted, one a line, digits of generations as #. */
void memory_share_list(struct memory_share *share, char ret_text[MEMORY_LIST]);

#endif
