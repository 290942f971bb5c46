/* SPDX-License-Identifier: Apache-2.0
 *
 * model.h: random operations on a pool, compared with a model of what they mean.
 *
 * The model is plain bytes: a volume is an array, a snapshot is a copy of it. Each step does the
 * same to both and then compares what the driver answers, the lists, and the bytes.
 */
#ifndef TESTS_MODEL_H
#define TESTS_MODEL_H

#include "driver_host.h"
#include "tree.h"

/* Does `steps` operations on an empty pool and compares; leaves what they made. Fails the test at
 * the first difference. Prints how many of each it did. */
void model_run(struct host_pool *pool, struct rng *rng, uint32_t steps);

#endif
