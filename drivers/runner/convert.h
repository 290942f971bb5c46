/* SPDX-License-Identifier: Apache-2.0
 *
 * convert.h: the structs of the ABI to and from the shapes of the wire, and the checks of what a
 * driver answered.
 *
 * Towards the driver nothing can be wrong but a property's text, which the gateway wrote (INVALID).
 * From the driver everything can be: each convert_ that takes an answer refuses it with INTERNAL
 * and a text that says what the driver did, to follow "the driver ". Results point into the struct
 * that they came from.
 */
#ifndef SLUICE_RUNNER_CONVERT_H
#define SLUICE_RUNNER_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "wire/message.h"
#include <sluice/driver.h>

/* A typed bag ("s:text", "n:42", "b:1", "d:2026-01-31") in the arena. */
bool convert_properties(const struct text_pairs *pairs, struct arena *arena,
                        struct sluice_properties *ret, struct err *err);

/* NUL-terminated within `size` bytes and UTF-8? `what` is for the text. */
bool convert_text(const char *text, size_t size, const char *what, struct err *err);

bool convert_health(const struct sluice_health_report *from, struct wire_health *ret,
                    struct err *err);
/* Unknown capabilities are masked out: the gateway would not know what to do with them. */
bool convert_pool(const struct sluice_pool *from, struct wire_pool *ret, struct err *err);
void convert_capacity(const struct sluice_capacity *from, struct wire_capacity *ret);
/* `size_max`: the pool's volume_size_max, 0 for none; `asked`: the id it must have. */
bool convert_volume(const struct sluice_volume *from, uint64_t size_max,
                    const struct sluice_uuid *asked, struct wire_volume *ret, struct err *err);
bool convert_snapshot(const struct sluice_snapshot *from, uint64_t size_max,
                      const struct sluice_uuid *asked, const struct sluice_uuid *volume,
                      struct wire_snapshot *ret, struct err *err);
bool convert_connection(const struct sluice_connection *from, struct wire_connection *ret,
                        struct err *err);
/* Pages: ids must ascend from `after`, no more entries than asked for. Of *list only `count` and
 * what `entries` points to may come from the driver. The encoding of the entries is put into
 * `entries`, to which *ret points. */
bool convert_volumes(const struct sluice_list *list, uint64_t size_max, struct buf *entries,
                     struct wire_page *ret, struct err *err);
bool convert_snapshots(const struct sluice_list *list, uint64_t size_max, struct buf *entries,
                       struct wire_page *ret, struct err *err);

#endif
