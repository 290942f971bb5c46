/* SPDX-License-Identifier: Apache-2.0
 *
 * manifest.h: META-INF/driver.yaml, what a driver's archive says about itself.
 *
 * The text is hostile: it is read within the limits below, aliases, anchors, tags, duplicate and
 * unknown keys are refused, and every error names file, line and column (from 1) and says what to
 * do. The format, with every key there is, is described in docs/LIFECYCLE.md.
 *
 * Life cycle: manifest_load fills a struct manifest; all it points to lives in the arena given, as
 * long as that does. Not changed afterwards; any thread may read it.
 *
 * Errors: MANIFEST (the text, or the archive's files), NOT_FOUND (there is no driver.yaml), ABI
 * (manifest_verify), NO_MEMORY (the arena is full), SYSTEM (the file cannot be read).
 */
#ifndef SLUICE_LIFECYCLE_MANIFEST_H
#define SLUICE_LIFECYCLE_MANIFEST_H

#include "lifecycle/descriptor.h"
#include "lifecycle/version.h"

#define MANIFEST_SCHEMA 1
#define MANIFEST_PATH "META-INF/driver.yaml"
#define MANIFEST_BYTES_MAX (256 * 1024) /* of driver.yaml; real ones have 2 KiB */
#define MANIFEST_ARENA_MAX                                                         \
    (2 * 1024 * 1024)         /* more than any driver.yaml within its limits needs \
                               */
#define MANIFEST_NAME_MAX 32  /* bytes: [a-z][a-z0-9-]{0,31} */
#define MANIFEST_TEXT_MAX 255 /* bytes of vendor, license, descriptions */
#define MANIFEST_REQUIRES_MAX 16
#define MANIFEST_FORMATS_MAX 16
#define MANIFEST_PATHS_MAX 16
#define MANIFEST_PERMISSIONS_MAX 64
#define MANIFEST_METRICS_MAX 64
#define MANIFEST_MEMORY_MIB_DEFAULT 256
#define MANIFEST_MEMORY_MIB_MAX 65536
#define MANIFEST_OPEN_FILES_DEFAULT 256
#define MANIFEST_OPEN_FILES_MAX 65536

struct manifest_requirement { /* of another driver of the same category */
    const char *name;
    const char *range_text;
    struct version_range range;
};

struct manifest_path {
    const char *path; /* with {property} of the pool's bag in it */
    bool write;
};

struct manifest_formats { /* of the driver's own state on the backend, ascending */
    uint32_t at[MANIFEST_FORMATS_MAX];
    uint32_t count;
};

struct manifest_permission {
    const char *name;
    const char *description;
};

struct manifest_metric {
    const char *name;
    bool counter; /* else a gauge */
    const char *unit;
    const char *description;
};

struct manifest {
    const char *name;
    const char *version_text;
    struct version version;
    enum sluice_category category;
    uint32_t abi; /* major << 16 | minor, as SLUICE_ABI */
    const char *vendor;
    const char *license;
    const char *library; /* a file name in driver/ */
    const char *label;   /* keys of messages.h */
    const char *description;
    const struct manifest_requirement *requires;
    uint32_t require_count;
    struct manifest_formats reads, writes;
    uint32_t memory_mib;
    uint32_t open_files;
    bool network;
    const struct manifest_path *paths;
    uint32_t path_count;
    struct descriptors settings;   /* of the driver's own bag */
    struct descriptors properties; /* of a pool's bag */
    const struct manifest_permission *permissions;
    uint32_t permission_count;
    const struct manifest_metric *metrics;
    uint32_t metric_count;
};

/* "network", "storage", "hypervisor"; also the order of start. */
const char *category_name(enum sluice_category category);
bool category_parse(const char *name, enum sluice_category *ret);

/* Reads the text; `file` names it in errors. Touches no file. Never crashes on any input. */
bool manifest_parse(const void *bytes, size_t length, const char *file, struct arena *arena,
                    struct manifest *ret, struct err *err);
/* Reads <directory>/META-INF/driver.yaml, which must lie inside the directory. */
bool manifest_load(const char *directory, struct arena *arena, struct manifest *ret,
                   struct err *err);
/* What takes a manifest from discovered to verified: it is for our ABI, and its library is there, a
 * regular file inside the archive, and nobody but its owner may change it. */
bool manifest_verify(const struct manifest *manifest, const char *directory, struct err *err);

#endif
