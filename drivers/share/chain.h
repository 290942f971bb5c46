/* SPDX-License-Identifier: Apache-2.0
 *
 * chain.h: an image and all images below it, open.
 *
 * A host that was granted a volume for writing owns every byte of its image, so the name by which
 * an image calls its parent is believed only where it is of the form that layout_parent writes and
 * the manifests (the index) have that image below it; nothing else is ever opened. Life cycle:
 * chain_open, image calls on chain->images[0], chain_close. Ownership: the chain closes what it
 * opened and the file it was given. Threads: one at a time, as for images. Limits: IMAGE_CHAIN_MAX.
 */
#ifndef SHARE_CHAIN_H
#define SHARE_CHAIN_H

#include "share/state.h"

struct chain_link {
    struct sluice_uuid volume;
    uint64_t generation;
    uint32_t format;
};

struct chain {
    uint32_t count;
    struct image *images[IMAGE_CHAIN_MAX];
    struct image_file *files[IMAGE_CHAIN_MAX];
    struct chain_link links[IMAGE_CHAIN_MAX];
};

/* Opens from `top` down. `file`: the open file of the top image, taken over also on failure; NULL:
 * it is opened, for writing where `write`. All others are opened for reading. */
int32_t chain_open(struct share_pool *pool, struct sluice_call *call, const struct chain_link *top,
                   struct image_file *file, bool write, struct chain *ret_chain);
/* What an image's own head says, which counts only where its manifest is lost; a parent of
 * generation 0: it names none. Nothing else is opened, and no parent. */
int32_t chain_look(struct share_pool *pool, struct sluice_call *call, const struct chain_link *link,
                   uint64_t *ret_size, struct chain_link *ret_parent);
/* Opens what lies below the top image again, or the top too: the chain has become another one, with
 * the same bytes. On failure it stays as it was. Nobody uses the chain meanwhile. */
int32_t chain_reopen(struct share_pool *pool, struct sluice_call *call, bool top_too,
                     struct chain *chain);
/* The top image takes the one `drop` + 1 below it as parent (none: NULL), of which it has all that
 * it needs; what is between goes. Flushed. */
int32_t chain_cut(struct share_pool *pool, struct sluice_call *call, uint32_t drop,
                  struct chain *chain);
/* The top image takes `parent`, which shows what the one below it shows, in its place: what is
 * below is opened again. On failure the chain stays as it was. Flushed. */
int32_t chain_take_parent(struct share_pool *pool, struct sluice_call *call,
                          const struct chain_link *parent, struct chain *chain);
/* Accepts an empty one. */
void chain_close(struct chain *chain);

#endif
