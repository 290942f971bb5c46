/* SPDX-License-Identifier: Apache-2.0
 *
 * layout.h: names and paths below the pool's directory, and ids as text. README.md draws the
 * layout.
 *
 * Every name has one spelling: what is parsed is spelled again and compared, so that two names
 * never mean one thing. Threads: no state.
 */
#ifndef SHARE_LAYOUT_H
#define SHARE_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/types.h>

#include "share/fs.h"

#define LAYOUT_MARKER "sluice.pool"
#define LAYOUT_VOLUMES "volumes"
#define LAYOUT_UNMANAGED "unmanaged"
#define LAYOUT_VOLUME_META "volume.meta"
#define LAYOUT_ACCESS_META "access.meta"
#define LAYOUT_NEW_SUFFIX ".new" /* of what a store has not finished */

#define UUID_TEXT 37   /* bytes with the NUL */
#define LAYOUT_NAME 64 /* g<20 digits>.qcow2, and unfinished ones */

void uuid_text(const struct sluice_uuid *uuid, char *ret_text);
bool uuid_parse(const char *text, struct sluice_uuid *ret_uuid); /* all of text, lower case */
int uuid_compare(const struct sluice_uuid *a, const struct sluice_uuid *b);
bool uuid_is_zero(const struct sluice_uuid *uuid);

/* Paths of SHARE_PATH_MAX bytes: "volumes/<volume>", "volumes/<volume>/<name>". */
void layout_volume(const struct sluice_uuid *volume, char *ret_path);
void layout_file(const struct sluice_uuid *volume, const char *name, char *ret_path);
void layout_image(const struct sluice_uuid *volume, uint64_t generation, uint32_t format,
                  char *ret_path);
void layout_manifest(const struct sluice_uuid *volume, uint64_t generation, char *ret_path);
/* "unmanaged/<volume>.<format>" */
void layout_unmanaged(const struct sluice_uuid *volume, uint32_t format, char *ret_path);

/* Names inside a volume's directory: "g000007.qcow2", "g000007.meta". */
bool layout_is_image(const char *name, uint64_t *ret_generation, uint32_t *ret_format);
bool layout_is_manifest(const char *name, uint64_t *ret_generation);

/* A file that a store has not finished; short enough for LAYOUT_NAME. */
bool layout_is_unfinished(const char *name);

/* The name by which an image of the volume `of` calls its parent (LAYOUT_PARENT bytes): relative,
 * so that others find it too: "g000006.raw" or "../<volume>/g000006.raw". */
#define LAYOUT_PARENT (UUID_TEXT + LAYOUT_NAME + 4)
void layout_parent(const struct sluice_uuid *of, const struct sluice_uuid *volume,
                   uint64_t generation, uint32_t format, char *ret_name);
bool layout_is_parent(const struct sluice_uuid *of, const char *name,
                      struct sluice_uuid *ret_volume, uint64_t *ret_generation,
                      uint32_t *ret_format);

#endif
