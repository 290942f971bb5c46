/* SPDX-License-Identifier: Apache-2.0
 *
 * push.h: merging an image with its only child by pushing down what the child holds.
 *
 * The other direction of merge.h, for a child that takes less than the image it lies on: what the
 * child holds itself, and its size, go into the image, in slices; then the image takes the child's
 * place in the record, by one store, and below the child's own child; then the child goes. Whatever
 * the image shows meanwhile is masked by the child, so what is read stays the same at every moment,
 * and a crash leaves a valid chain in which the push is begun again.
 *
 * Who has the image in an open chain may go on reading it while it is written: only clusters that
 * the child masks whole are touched, and what he knows of the others stays true. So an image is
 * only pushed into where its clusters are no larger than the child's.
 *
 * Both images are of one volume: an image never moves to another directory. The child has at most
 * one child, and neither is the top of a disk that is open: until it is closed nothing is done.
 *
 * Threads: any; the volumes of the image and of its child's child are locked alone.
 */
#ifndef SHARE_PUSH_H
#define SHARE_PUSH_H

#include "share/chain.h"

/* Under the index's mutex: the image and its only child could be merged this way. */
bool push_is_possible(const struct index_image *image);
/* Such an image takes more than its child, or a push was begun. */
bool push_is_better(struct share_pool *pool, const struct chain_link *image,
                    const struct chain_link *child);
/* A slice. PENDING: more is to do. OK: it is done, or nothing can be done now. *ret_pull: it cannot
 * be merged this way, or only what follows a change of parents is left to do: pull. */
int32_t push_slice(struct share_pool *pool, struct sluice_call *call,
                   const struct chain_link *image, uint64_t slice_ns, bool *ret_pull);
/* The image may be written from now on, so what was pushed of it is not what it holds. */
void push_forget(struct share_pool *pool, const struct sluice_uuid *volume, uint64_t generation);

#endif
