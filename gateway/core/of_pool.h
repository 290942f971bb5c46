/* SPDX-License-Identifier: Apache-2.0
 *
 * of_pool.h: what of_pool.c, of_pool_create.c and of_pool_end.c share. All answer or read for an
 * operation whose object is a pool.
 */
#ifndef SLUICE_CORE_OF_POOL_H
#define SLUICE_CORE_OF_POOL_H

#include "core/objects.h"
#include "core/pool.h"

/* The pool that the request names, read, locked alone, and made the operation's object. */
bool pool_target(struct op *op, const char *reference, struct pool_record *ret,
                 uint64_t *ret_revision, struct err *err);
/* Keeps the record as it was in the operation, and puts it back. */
bool pool_keep_before(struct op *op, const struct pool_record *before, struct err *err);
bool pool_put_before(struct op *op, struct catalog_txn *txn, struct err *err);
/* The record's state; the pool in memory follows once it is durable. */
bool pool_set_state(struct op *op, struct catalog_txn *txn, const char *state, struct err *err);
void pool_catch_up(struct op *op);
/* The same, and its runner runs or not as the record says. */
void pool_after_undo(struct op *op);
void pool_recall(struct op *op);
/* The pool of the operation. NULL: it is not there, and the step has been answered so. */
struct pool *pool_own(struct op *op);
/* Ends the step when the pool serves, does not, or the operation is cancelled; when its runner is
 * gone. */
void pool_until_serving(struct op *op, struct pool *pool);
void pool_until_stopped(struct op *op, struct pool *pool);

#endif
