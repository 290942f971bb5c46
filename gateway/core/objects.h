/* SPDX-License-Identifier: Apache-2.0
 *
 * objects.h: what the kinds of operations have in common: finding what the request names, and
 * changing a record once.
 */
#ifndef SLUICE_CORE_OBJECTS_H
#define SLUICE_CORE_OBJECTS_H

#include "core/engine.h"
#include "core/store.h"

/* Reads what `reference` names into the operation's arena and makes it the operation's object. */
bool target_read(struct op *op, enum core_noun noun, const char *reference, void *ret_record,
                 uint64_t *ret_revision, struct err *err);
/* The same, without making it the object. */
bool object_read(struct op *op, enum core_noun noun, const char *reference, void *ret_record,
                 uint64_t *ret_revision, struct err *err);
/* STATE, with the way out, unless it is "available". */
bool object_available(enum core_noun noun, const char *name, const char *state, struct err *err);
/* The state that the object had is kept in the operation, for undone to put it back: it may have
 * been missing. */
bool op_keep_state(struct op *op, const char *state, struct err *err);
const char *op_kept_state(const struct op *op); /* "available" where none was kept */
/* The object as it is now, for finish and undone. */
bool object_again(struct op *op, enum core_noun noun, void *ret_record, uint64_t *ret_revision,
                  struct err *err);
void op_set_object(struct op *op, const struct sluice_uuid *id, const char *name);
/* The pool of the object: found, takes new work, locked shared, counted as work. */
bool op_set_pool(struct op *op, const struct sluice_uuid *pool, struct err *err);
/* The same after a restart. */
void op_recall_pool(struct op *op);
/* One more or one less attachment of a host, or snapshot or attachment of a volume. A volume that
 * is gone is nothing to change. */
bool count_change(struct op *op, struct catalog_txn *txn, enum core_noun noun,
                  const struct sluice_uuid *id, size_t member, int by, struct err *err);
/* Removes a volume, snapshot or attachment, and counts it no more where it was counted. */
bool object_remove(struct op *op, struct catalog_txn *txn, enum core_noun noun, const void *record,
                   uint64_t revision, struct err *err);
/* What a request changes of a name (in its scope) and of labels, into *name and *labels. */
bool object_relabel(struct op *op, enum core_noun noun, const struct sluice_uuid *scope,
                    const struct labels_update_params *params, const char **name,
                    struct text_pairs *labels, struct err *err);
/* Keeps the name free of others: EXISTS when it is taken. */
bool name_free(struct op *op, enum core_noun noun, const struct sluice_uuid *scope,
               const char *name, struct err *err);

#endif
