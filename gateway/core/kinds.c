/* SPDX-License-Identifier: Apache-2.0
 *
 * kinds.c: operation.def as the engine's table.
 */
#include <stddef.h>

#include "core/engine.h"
#include "core/kinds.h"

#define UNDO_OF_UNDO(id, step) id##_##step##_undo
#define UNDO_OF_NONE(id, step) NULL
#define UNDO_OF_FINAL(id, step) NULL

/* All steps in the order of the file; the steps of one kind are a slice. */
static const struct step_row steps[] = {
#define OPERATION(id, kind, noun, shape, sentence)
#define STEP(id, step, how, sentence) \
    {#step, id##_##step##_run, UNDO_OF_##how(id, step), STEP_##how},
#include "core/operation.def"
#undef OPERATION
#undef STEP
};

/* Which kind each step is of, so that the slices can be cut. */
static const enum core_kind step_kinds[] = {
#define OPERATION(id, kind, noun, shape, sentence)
#define STEP(id, step, how, sentence) KIND_##id,
#include "core/operation.def"
#undef OPERATION
#undef STEP
};

static struct kind_row kinds[] = {
#define OPERATION(id, kind, noun, shape, sentence) \
    {kind, id##_prepare, id##_finish, id##_undone, id##_recall, NULL, 0},
#define STEP(id, step, how, sentence)
#include "core/operation.def"
#undef OPERATION
#undef STEP
};

const struct kind_row *kind_row(enum core_kind kind) {
    struct kind_row *row = &kinds[kind];
    if (row->steps == NULL) {
        size_t first = 0;
        while (first < sizeof steps / sizeof steps[0] && step_kinds[first] != kind)
            first++;
        while (first + row->step_count < sizeof steps / sizeof steps[0] &&
               step_kinds[first + row->step_count] == kind)
            row->step_count++;
        row->steps = &steps[first < sizeof steps / sizeof steps[0] ? first : 0];
    }
    return row;
}
