/* SPDX-License-Identifier: Apache-2.0
 *
 * discover.h: finds unpacked driver archives in directories.
 *
 * An archive is a subdirectory that holds META-INF/driver.yaml; others are passed over. A broken
 * archive is an entry with its error and hides no other; so is a configured directory that cannot
 * be read. Entries come in the order of the directories, inside one sorted by name (by byte), and
 * an archive that is reached twice is there once.
 *
 * Refused: links that lead out of the directory, and directories and files that others than their
 * owner may write, since the gateway runs what lies there.
 *
 * Reads the disk: from the loop thread only where a scan of some directories may take its time.
 */
#ifndef SLUICE_LIFECYCLE_DISCOVER_H
#define SLUICE_LIFECYCLE_DISCOVER_H

#include "lifecycle/manifest.h"

#define DISCOVER_MAX 512                      /* entries of all directories: ORDER_DRIVERS_MAX */
#define DISCOVER_LOOK_MAX 4096                /* names in one directory that are looked at */
#define DISCOVER_ARENA_MAX (64 * 1024 * 1024) /* 512 manifests as real ones are need 4 MiB */

struct discovery_entry {
    const char *directory;           /* absolute, links resolved; as configured when that failed */
    const struct manifest *manifest; /* NULL: it could not be read, and err says why */
    struct err err;                  /* code NONE: the archive passed manifest_verify too */
};

struct discovery {
    const struct discovery_entry *at;
    uint32_t count;
    uint32_t left_out; /* archives beyond DISCOVER_MAX: counted and not read */
};

/* false: NO_MEMORY. Everything returned lives in the arena. */
bool discover(const char *const *directories, uint32_t count, struct arena *arena,
              struct discovery *ret, struct err *err);

#endif
