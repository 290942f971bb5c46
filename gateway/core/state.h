/* SPDX-License-Identifier: Apache-2.0
 *
 * state.h: the core itself, for the core's own sources. Nothing outside this folder includes it.
 *
 * Who owns what: the core owns its parts and ends them in core_close, in reverse order of
 * core_open.
 */
#ifndef SLUICE_CORE_STATE_H
#define SLUICE_CORE_STATE_H

#include <sys/queue.h>
#include <uv.h>

#include "catalog/catalog.h"
#include "catalog/seal.h"
#include "core/core.h"
#include "core/prune.h"
#include "core/store.h"
#include "exports/exports.h"
#include "runners/runners.h"

struct engine;
struct expiring; /* expiry.c */
struct pools;
struct drivers;
struct events;

#define CORE_MAGIC 0x636f7265u

struct core {
    uint32_t magic;
    uv_loop_t *loop;
    struct core_options options;
    struct catalog *catalog;
    struct seal *seal;
    struct runners *runners;
    struct engine *engine;
    struct drivers *drivers;
    struct pools *pools;
    struct events *events;
    /* NULL before the runners are ready, when they are being stopped, and for good when no_exports
     * says why there are none. */
    struct exports *exports;
    struct err no_exports;
    struct sluice_uuid gateway; /* this gateway's id, in every pool's marker */
    uint64_t incarnation;
    uint64_t started_ms; /* wall clock */
    char nbd_directory[4096];
    bool ready;
    bool stopping;
    void (*on_ready)(void *owner);
    void (*on_fatal)(void *owner, const struct err *err);
    void (*on_closed)(void *owner);
    void *owner;
    LIST_HEAD(, expiring) expiring;
    uv_timer_t expiry_timer;
    uv_timer_t missing_timer;
    struct key missing_cursor; /* what was asked for last; length 0: from the beginning */
    uint32_t missing_asked;    /* questions that are under way */
    bool missing_came_back;
    uv_timer_t prune_timer;
    struct key prune_cursors[PRUNE_KINDS]; /* where each was left; length 0: at its end */
};

/* The account of sluice-data; no pool has it. */
uint32_t core_data_uid(const struct core *core);

/* references.c: what a text of the API names. */
bool core_resolve(struct core *core, enum core_noun noun, const char *reference,
                  struct sluice_uuid *ret, struct err *err);

#endif
