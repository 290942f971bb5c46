/* SPDX-License-Identifier: Apache-2.0
 *
 * merge.h: making chains shorter: images that one other alone needs are merged into it, chains
 * that have become long are flattened, and what nobody needs is removed.
 *
 * A merge pulls into the child what it lacks, in slices; then the child takes the grandparent as
 * parent by one write, its manifest follows, and the merged image goes. Where the child takes less
 * than the image it is pushed down instead (push.h). Whatever is read stays the same at every
 * moment, and a crash leaves a valid chain. Who asks for a snapshot's deletion works
 * on its merge while he asks; what is left the pool's maintenance thread does, a slice at a time,
 * with pauses that leave most of the machine to others. It sleeps while nothing is due.
 *
 * Not merged for now is what a host has in a chain that it opens by itself: its files must not
 * change below it. It becomes due again when the host is detached.
 *
 * Life cycle: merger_init, merger_start, merger_wake..., merger_stop. Threads: any; a slice locks
 * the volumes of both images alone.
 */
#ifndef SHARE_MERGE_H
#define SHARE_MERGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <sluice/driver.h>

#define MERGE_RETRY_MS 200 /* after which a chain that was too long may be shorter */

struct chain_link;
struct index_image;
struct share_pool;

struct merger {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t thread;
    bool started;
    bool stopping;
    bool woken;
};

void merger_init(struct merger *merger);
/* Where no thread can be started, who deletes snapshots merges and the rest waits for the next
 * opening. */
void merger_start(struct share_pool *pool);
void merger_stop(struct merger *merger);
/* There is something due. */
void merger_wake(struct merger *merger);

/* Under the index's mutex: whether the image is to be removed, merged or flattened. */
bool merge_is_due(const struct share_pool *pool, const struct index_image *image);
/* Under the index's mutex: a host opens something above the image by itself, so nothing below that
 * is changed. */
bool merge_is_blocked(const struct index_image *image);
/* Puts what has become due on the list, of an image and those below it, or of all. */
void merge_look_all(struct share_pool *pool);
void merge_look(struct share_pool *pool, const struct sluice_uuid *volume, uint64_t generation);

/* A slice of whatever this image is due for, `slice_ns` long. PENDING: more is to do. OK: nothing
 * is, or nothing can be done now. */
int32_t merge_slice(struct share_pool *pool, struct sluice_call *call,
                    const struct sluice_uuid *volume, uint64_t generation, uint64_t slice_ns);
/* Pulls everything below into the image, in slices; the caller has locked its chain. PENDING until
 * it has no parent. */
int32_t merge_flatten(struct share_pool *pool, struct sluice_call *call,
                      const struct sluice_uuid *volume, uint64_t generation);

/* The manifest of an image that has got another parent, or none (NULL). */
int32_t merge_note_parent(struct share_pool *pool, struct sluice_call *call,
                          const struct chain_link *image, const struct chain_link *parent);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t merge_now_ns(void);

#endif
