/* SPDX-License-Identifier: Apache-2.0
 *
 * index.h: which images there are and which lies below which, in memory; and who changes what.
 *
 * Built when the pool is opened and kept true by every change, so that no question about a chain
 * (who has this image as parent, how deep is it, does anybody need it) reads the share. The records
 * are the truth; the index holds nothing that they do not say.
 *
 * Locks. Before a call changes a volume's records or images it locks the volume `alone`; what must
 * only stay as it is (the images below) is locked `shared`. All locks of a call are taken at once,
 * so calls cannot wait for each other in a circle. Nobody has to hold a lock to look at the index,
 * which has a mutex of its own; what is found holds only as long as the volume is locked.
 *
 * An image is needed while a snapshot names it, it is active, or an image has it as parent. What
 * has become unneeded, or needed by one image alone, is put on the list of what is due, which
 * merge.h works on.
 *
 * Life cycle: index_init, ..., index_release. Ownership: all nodes are the index's; an image node
 * lives until index_remove, a volume node while it has an image, a record or a lock. Threads: any.
 */
#ifndef SHARE_INDEX_H
#define SHARE_INDEX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <sluice/types.h>

#include "image/image.h"

#define INDEX_BUCKETS                                                           \
    16384 /* 10,000 volumes find theirs at once; a million still do in 60 steps \
           */
#define INDEX_LOCKS_MAX (IMAGE_CHAIN_MAX + 2) /* a chain may lie in as many volumes */

struct index_volume;

struct index_image {
    struct index_volume *volume;
    uint64_t generation;
    uint32_t format;
    uint32_t children;
    bool active;
    bool named; /* by a snapshot */
    bool due;
    struct sluice_uuid snapshot; /* that names or named it */
    uint64_t merged;             /* how far pulling it into its child has come */
    uint64_t pushed;             /* how far pushing its child into it has come */
    uint64_t flattened;          /* how far pulling all that is below into it has come */
    struct index_image *parent;
    struct index_image *first_child;
    struct index_image *next_child; /* of the same parent */
    struct index_image *next;       /* of the same volume */
    struct index_image *next_due;
};

struct index_volume {
    struct sluice_uuid id;
    bool there;          /* its record has an active image */
    bool record;         /* there is a record, whole or damaged, or something that looks like one */
    bool damaged;        /* what there is cannot be understood */
    uint64_t size_bytes; /* of the volume, as its record said last; 0: it is not there */
    uint32_t grants; /* of the volume or its snapshots to hosts that open the files themselves */
    uint32_t shared;
    bool alone;
    struct index_image *images;
    struct index_volume *next; /* in the bucket */
};

struct index {
    pthread_mutex_t lock;
    pthread_cond_t unlocked;
    struct index_volume *buckets[INDEX_BUCKETS];
    struct index_image *due;
    struct index_image *due_last;
};

struct index_locks {
    uint32_t count;
    struct {
        struct index_volume *volume;
        bool alone;
    } at[INDEX_LOCKS_MAX];
};

void index_init(struct index *index);
void index_release(struct index *index);

/* ---- locks: of volumes that need not be there ----------------------------------------------- */

/* Each of the `alone` for oneself, `shared` (may be NULL) together with others. NO_MEMORY. */
int32_t index_lock(struct index *index, struct index_locks *locks, const struct sluice_uuid *alone,
                   uint32_t count, const struct sluice_uuid *shared);
/* `volume` alone, and whatever its image `generation` (0: the active one) has below it, shared. */
int32_t index_lock_chain(struct index *index, struct index_locks *locks,
                         const struct sluice_uuid *volume, uint64_t generation);
void index_unlock(struct index *index, struct index_locks *locks);

/* ---- under the mutex (index->lock), or while nobody else has the index --------------------- */

struct index_volume *index_find(const struct index *index, const struct sluice_uuid *volume);
/* Makes it where it is not; NULL: no memory. */
struct index_volume *index_get(struct index *index, const struct sluice_uuid *volume);
struct index_image *index_image(const struct index *index, const struct sluice_uuid *volume,
                                uint64_t generation);
struct index_image *index_active(const struct index *index, const struct sluice_uuid *volume);
/* NULL: no memory. */
struct index_image *index_add(struct index_volume *volume, uint64_t generation, uint32_t format,
                              struct index_image *parent);
void index_set_parent(struct index_image *image, struct index_image *parent);
/* An image that has no children. */
void index_remove(struct index *index, struct index_image *image);
/* Forgets the volume where there is nothing of it. */
void index_settle(struct index *index, struct index_volume *volume);
/* Images above each other, the image itself included. */
uint32_t index_depth(const struct index_image *image);
bool index_is_needed(const struct index_image *image);
/* Puts the image on the list of what is due, unless it is there. */
void index_make_due(struct index *index, struct index_image *image);
struct index_image *index_take_due(struct index *index); /* NULL: nothing */

#endif
