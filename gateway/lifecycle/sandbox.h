/* SPDX-License-Identifier: Apache-2.0
 *
 * sandbox.h: what a pool's runner may reach on the file system.
 *
 * driver.yaml names paths, in which "{name}" stands for the value of a property. Values come from
 * users, so what a path becomes is judged after they are put in.
 */
#ifndef SLUICE_LIFECYCLE_SANDBOX_H
#define SLUICE_LIFECYCLE_SANDBOX_H

#include "lifecycle/bag.h"
#include "lifecycle/manifest.h"

/* The paths of the manifest's sandbox with the properties of the bag put in, as "ro:/path" or
 * "rw:/path", each once, without a slash at the end. A path whose property is not set is left out.
 * VALIDATION: a path would be relative, hold an empty part, "." or "..", be "/", or be too long for
 * SLUICE_PATH_MAX; the text names the property and not its value. */
bool sandbox_paths(const struct manifest *manifest, const struct bag *bag, struct arena *arena,
                   struct text_list *ret, struct err *err);

/* A piece of a path of driver.yaml: text as it is, or the name between braces. */
struct sandbox_piece {
    const char *at;
    size_t length;
    bool property;
};
/* Takes the next piece; false at the end, or with *ret_wrong set: a brace without its other. */
bool sandbox_piece_next(const char **at, struct sandbox_piece *ret, bool *ret_wrong);
/* Why an absolute path is not acceptable ("must not hold .."), or NULL. */
const char *sandbox_judge(const char *path);

#endif
