/* SPDX-License-Identifier: Apache-2.0
 *
 * kinds.h: the functions that operation.def names, one source a noun (of_pool.c, of_volume.c, ...).
 *
 * Kinds without steps are done by their first commit; NO_STEPS(id) gives them the functions that
 * are never called.
 */
#ifndef SLUICE_CORE_KINDS_H
#define SLUICE_CORE_KINDS_H

#include "core/engine.h"

#define OPERATION(id, kind, noun, shape, sentence)                              \
    bool id##_prepare(struct op *op, struct catalog_txn *txn, struct err *err); \
    bool id##_finish(struct op *op, struct catalog_txn *txn, struct err *err);  \
    bool id##_undone(struct op *op, struct catalog_txn *txn, struct err *err);  \
    void id##_recall(struct op *op);
#define STEP(id, step, how, sentence)      \
    void id##_##step##_run(struct op *op); \
    void id##_##step##_undo(struct op *op);
#include "core/operation.def"
#undef OPERATION
#undef STEP

#define NO_STEPS(id)                                                            \
    bool id##_finish(struct op *op, struct catalog_txn *txn, struct err *err) { \
        (void)op, (void)txn;                                                    \
        return err_set(err, ERR_INTERNAL, "%s has no steps", #id);              \
    }                                                                           \
    bool id##_undone(struct op *op, struct catalog_txn *txn, struct err *err) { \
        return id##_finish(op, txn, err);                                       \
    }                                                                           \
    void id##_recall(struct op *op) {                                           \
        (void)op;                                                               \
    }

#endif
