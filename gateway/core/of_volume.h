/* SPDX-License-Identifier: Apache-2.0
 *
 * of_volume.h: what of_volume.c and of_volume_create.c share.
 */
#ifndef SLUICE_CORE_OF_VOLUME_H
#define SLUICE_CORE_OF_VOLUME_H

#include "core/engine.h"

/* Rounds a size up to what the pool can make; a violation when it cannot. */
bool volume_size_fits(struct op *op, uint64_t *size, struct err *err);
/* Name and labels of a volume that is to be. */
bool volume_fresh_name(struct op *op, const struct sluice_uuid *pool, const char *name,
                       const struct text_pairs *labels, struct err *err);
/* The locks of an operation whose object is a volume, after a restart. */
void volume_recall(struct op *op);
/* Ends the step with what the driver says the volume is (wire_volume). */
void volume_keep(struct op *op, const void *result);
/* The last change of the operations after which the volume is available, as the driver said. */
bool volume_becomes_available(struct op *op, struct catalog_txn *txn, struct err *err);
bool volume_goes(struct op *op, struct catalog_txn *txn, struct err *err);

#endif
