/* SPDX-License-Identifier: Apache-2.0
 *
 * model_parts.h: what model.c and model_compare.c share; nobody else includes it.
 */
#ifndef SLUICE_CONFORM_MODEL_PARTS_H
#define SLUICE_CONFORM_MODEL_PARTS_H

#include "conform/model.h"

/* What a step that was cut short may have left behind. */
enum model_effect {
    EFFECT_VOLUME,   /* a new volume, or none */
    EFFECT_SNAPSHOT, /* a new snapshot, or none */
    EFFECT_GONE,     /* it is gone, or it is not */
    EFFECT_REVERT,   /* all of the old bytes, or all of the new ones */
    EFFECT_RESIZE,   /* the old size, or the new one */
    EFFECT_DATA,     /* each byte by what was acknowledged */
};

/* How many bytes of a volume of that size are compared. */
uint64_t model_window(uint64_t size);

/* The bytes of the volume that a step on data wrote, as they may be; takes over what is read.
 * `certain`: whatever was acknowledged is there, since the driver has not died. */
void model_settle(struct model *model, struct host_pool *pool, bool certain);

/* Looks at what a killed step left. true: the step was cancelled, and is as if never asked. */
bool model_look(struct model *model, struct host_pool *pool, enum model_effect effect);

/* The extents of an open volume: contiguous to its end, and zero where they say so. */
void model_compare_extents(struct host_data *data, uint64_t size);

#endif
