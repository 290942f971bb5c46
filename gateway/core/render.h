/* SPDX-License-Identifier: Apache-2.0
 *
 * render.h: records as the API shows them: the record's own members, and what is known of it now.
 */
#ifndef SLUICE_CORE_RENDER_H
#define SLUICE_CORE_RENDER_H

#include "core/core.h"
#include "core/records.h"

union record {
    struct pool_record pool;
    struct volume_record volume;
    struct snapshot_record snapshot;
    struct host_record host;
    struct attachment_record attachment;
    struct operation_record operation;
    struct token_record token;
};

/* The members that lists are filtered by; NULL where a noun has no such member. */
struct record_view {
    const char *name, *state, *kind;
    const struct text_pairs *labels;
    const struct sluice_uuid *pool, *volume, *host;
};
void record_view(enum core_noun noun, const union record *record, struct record_view *ret);

void render_object(struct core *core, enum core_noun noun, const union record *record,
                   struct buf *json);
struct runner;
void render_runner(const struct runner *runner, struct buf *json);
bool render_driver(struct core *core, const char *reference, struct buf *json, struct err *err);
bool render_drivers(struct core *core, const struct core_query *query, struct buf *json,
                    char ret_next[CORE_TOKEN_MAX], struct err *err);

#endif
