/* SPDX-License-Identifier: Apache-2.0
 *
 * pool_bag.h: a pool's property bag: validated, split into what is shown and what is sealed, and
 * put together again for its runner.
 */
#ifndef SLUICE_CORE_POOL_BAG_H
#define SLUICE_CORE_POOL_BAG_H

#include "core/driver.h"
#include "core/engine.h"

/* Fills record's properties and sealed_properties (bound to record->id). false: violations noted.
 */
bool pool_bag_set(struct op *op, const struct driver *driver, const struct text_pairs *properties,
                  struct pool_record *record, struct err *err);
/* The record's bag with changes (an empty value removes), validated against the driver. */
bool pool_bag_change(struct op *op, const struct driver *driver, const struct text_pairs *changes,
                     struct pool_record *record, struct err *err);
/* Everything, typed as the wire wants it, secrets opened; the caller releases the arena at once. */
bool pool_bag_open(struct core *core, const struct driver *driver, const struct pool_record *record,
                   struct arena *arena, struct text_pairs *ret, struct err *err);
/* Do both have the same properties? Sealed ones count as changed when they were sealed anew. */
bool pool_bag_same(const struct pool_record *a, const struct pool_record *b);

#endif
