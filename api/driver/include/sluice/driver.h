/* SPDX-License-Identifier: Apache-2.0
 *
 * sluice/driver.h: the whole contract between Sluice and a driver.
 *
 * A driver is one shared object that exports one function:
 *
 *     const struct sluice_driver *sluice_driver(void);
 *
 * Rules that hold everywhere:
 *   - `size` and `abi` come first in a table. Members are only appended; a member that lies beyond
 *     a table's `size`, or is NULL, is one that the driver does not have.
 *   - Argument and result structs lead with their `size`, set by the gateway. They live until the
 *     call returns; what a driver wants to keep it copies.
 *   - Control calls return an enum sluice_status and are idempotent: ids are chosen by the caller,
 *     and the same call twice gives the same result. After any crash the gateway asks again.
 *   - PENDING means: begun, not finished. The gateway asks again with the same ids, at once or
 * after `retry_after_ms`, until the answer is another one; where a call has no result to say it in,
 *     after about 200 ms. Work in slices of about 50 ms so that the runner stays answerable. To
 *     cancel, the gateway stops asking and deletes what it asked for: delete must work on what is
 *     half made, and an adoption that is half made loses nothing by it.
 *   - A result is filled only with OK; with PENDING only its `retry_after_ms` counts.
 *   - NOT_FOUND is believed only from a backend that proves to be the right one: every call looks
 * for the pool's marker first and answers VANISHED or FOREIGN where it is not there or not ours.
 *   - Data calls return nothing and end by services->complete(), exactly once, from any thread.
 *   - Which calls may overlap is the thread model's matter (sluice/types.h), enforced by the
 * runner. In every model control calls that name the same volume never overlap.
 */
#ifndef SLUICE_DRIVER_H
#define SLUICE_DRIVER_H

#include <sluice/services.h>
#include <sluice/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 0.x: may still change between minor numbers. From 1.0 on it is kept. */
#define SLUICE_ABI_MAJOR 0
#define SLUICE_ABI_MINOR 1
#define SLUICE_ABI ((uint32_t)SLUICE_ABI_MAJOR << 16 | SLUICE_ABI_MINOR)

/* ---- the base table: every category ------------------------------------------------------- */

struct sluice_health_report {
    uint32_t size;
    uint32_t health; /* enum sluice_health */
    char text[SLUICE_TEXT_MAX];
};

struct sluice_driver {
    uint32_t size;
    uint32_t abi;        /* SLUICE_ABI that the driver was written against */
    uint32_t category;   /* enum sluice_category */
    uint32_t threads;    /* enum sluice_thread_model */
    const char *name;    /* as in driver.yaml */
    const char *version; /* as in driver.yaml */

    /* Required. Once, before any other call. `settings` is the driver's own bag. What it returns in
     * *ret_driver is handed to every other call of this table and to pool_open. */
    int32_t (*start)(const struct sluice_services *services, struct sluice_call *call,
                     const struct sluice_properties *settings, void **ret_driver);
    /* Required. Once, after every pool is closed; nothing is called afterwards. */
    void (*stop)(void *driver);
    /* Optional. New settings while running; refuse with a reason what needs a restart. */
    int32_t (*configure)(void *driver, struct sluice_call *call,
                         const struct sluice_properties *settings);
    /* Optional; a driver without it counts as healthy. */
    int32_t (*health)(void *driver, struct sluice_call *call, struct sluice_health_report *ret);
    /* Required for storage drivers. The category's table of that name ("storage") whose version is
     * `version`, or NULL. */
    const void *(*table)(const char *name, uint32_t version);
};

/* ---- storage ------------------------------------------------------------------------------ */

enum sluice_pool_open_flag {
    SLUICE_POOL_CLAIM = 1,     /* no marker yet: write ours. Without it, no marker is VANISHED */
    SLUICE_POOL_TAKE_OVER = 2, /* replace a marker of another pool or gateway by ours */
};

struct sluice_pool_open {
    uint32_t size;
    uint32_t flags; /* enum sluice_pool_open_flag */
    struct sluice_uuid pool;
    struct sluice_uuid gateway;
    const char *name; /* for messages only */
    const struct sluice_properties *properties;
};

/* Everything that the gateway must know of an open pool. 0 in a limit: none. */
struct sluice_pool {
    uint32_t size;
    uint32_t reserved;
    uint64_t caps;             /* SLUICE_CAP_MASK(...) */
    uint64_t volume_size_min;  /* bytes */
    uint64_t volume_size_max;  /* bytes */
    uint64_t volume_size_step; /* sizes are rounded up to a multiple of it */
    uint64_t volumes_max;
    uint64_t snapshots_max; /* a volume */
    uint32_t name_max;      /* bytes of a volume's name */
    uint32_t chain_max;     /* overlays above each other */
    uint32_t io_align;      /* bytes: offsets and lengths of data calls */
    uint32_t io_max;        /* bytes of one data call */
    uint32_t in_flight_max; /* data calls at once */
    uint32_t lanes_max;
    char formats[64];   /* space-separated: raw qcow2 vhdx native */
    char protocols[64]; /* space-separated: what access_grant gives: local nfs smb iscsi */
};

struct sluice_capacity {
    uint32_t size;
    uint32_t reserved;
    uint64_t total;       /* bytes of the backend that this pool may use */
    uint64_t used;        /* of total, by anybody */
    uint64_t provisioned; /* sum of the sizes of the pool's volumes and snapshots */
};

struct sluice_volume_create {
    uint32_t size;
    uint32_t source_kind; /* enum sluice_source */
    struct sluice_uuid volume;
    struct sluice_uuid source;        /* snapshot or volume, by source_kind */
    struct sluice_uuid source_volume; /* the volume of a source snapshot */
    uint64_t size_bytes;
    const char *name;
    const char *format;
};

enum sluice_source {
    SLUICE_SOURCE_NONE = 0,
    SLUICE_SOURCE_SNAPSHOT = 1,
    SLUICE_SOURCE_VOLUME = 2, /* a copy of a detached volume */
};

struct sluice_volume {
    uint32_t size;
    uint32_t retry_after_ms; /* with PENDING; 0: at once */
    struct sluice_uuid volume;
    uint64_t size_bytes;
    uint64_t used_bytes; /* on the backend; UINT64_MAX: not known */
    char name[SLUICE_NAME_MAX];
    char format[16];
};

struct sluice_snapshot {
    uint32_t size;
    uint32_t retry_after_ms; /* with PENDING; 0: at once */
    struct sluice_uuid snapshot;
    struct sluice_uuid volume;
    uint64_t size_bytes;
    uint64_t used_bytes;
    char name[SLUICE_NAME_MAX];
};

/* Lists come in pages: `after` is the last id of the page before (zero at first); the driver fills
 * at most `capacity` entries in ascending order of id and sets `count`; fewer than `capacity` means
 * the end. Volumes: `volume` is ignored. Snapshots: of that volume, or of all when it is zero. */
struct sluice_list {
    uint32_t size;
    uint32_t capacity;
    struct sluice_uuid after;
    struct sluice_uuid volume;
    void *entries; /* struct sluice_volume or struct sluice_snapshot, each `size` set */
    uint32_t count;
    uint32_t reserved;
};

enum sluice_access_mode {
    SLUICE_ACCESS_READ_ONLY = 1,
    SLUICE_ACCESS_READ_WRITE = 2,
};

struct sluice_access_grant {
    uint32_t size;
    uint32_t mode; /* enum sluice_access_mode */
    struct sluice_uuid attachment;
    struct sluice_uuid volume;                  /* or a snapshot, read-only */
    struct sluice_uuid snapshot;                /* zero: the volume itself */
    const char *host;                           /* for messages only */
    const struct sluice_properties *identities; /* the host's: user, uid, sid, iqn, ... */
};

/* How the host opens what it was granted: name=value lines, UTF-8, for instance
 * "path=/srv/p/volumes/..". Never a secret. `note` says what the protocol cannot enforce. */
struct sluice_connection {
    uint32_t size;
    uint32_t retry_after_ms;
    char protocol[16];
    char lines[2 * SLUICE_PATH_MAX];
    char note[SLUICE_TEXT_MAX];
};

struct sluice_data_open {
    uint32_t size;
    uint32_t read_only;
    struct sluice_uuid volume;
    struct sluice_uuid snapshot; /* zero: the volume itself */
    uint64_t epoch;
};

struct sluice_data_opened {
    uint32_t size;
    uint32_t io_align; /* bytes */
    uint64_t size_bytes;
    uint64_t token; /* the stability token as it is now */
    void *handle;
};

enum sluice_io_flag {
    SLUICE_IO_FUA = 1,       /* stable before it is completed */
    SLUICE_IO_FAST_ZERO = 2, /* UNSUPPORTED rather than slowly */
    SLUICE_IO_NO_HOLE = 4,   /* zeroes must be allocated */
};

enum sluice_extent_flag {
    SLUICE_EXTENT_HOLE = 1, /* not allocated */
    SLUICE_EXTENT_ZERO = 2, /* reads as zeroes */
};

struct sluice_extent {
    uint64_t offset;
    uint64_t length;
    uint32_t flags; /* enum sluice_extent_flag */
    uint32_t reserved;
};

/* One data call. The runner owns it; the driver reads it and may use `driver` as it likes. */
struct sluice_io {
    uint32_t size;
    uint32_t flags; /* enum sluice_io_flag */
    uint64_t offset;
    uint64_t length;
    void *buffer;                  /* read: to be filled; write: the payload; else NULL */
    struct sluice_extent *extents; /* extents: to be filled, contiguous from `offset` */
    uint32_t extents_capacity;
    uint32_t extents_count; /* set by the driver before complete() */
    void *driver;
};

#define SLUICE_STORAGE_VERSION 1

/* The table "storage", version 1. A line says required or the capability that it goes with. */
struct sluice_storage {
    uint32_t size;
    uint32_t version; /* SLUICE_STORAGE_VERSION */

    /* Required. Opens the backend and proves by its marker that it is the right one. */
    int32_t (*pool_open)(void *driver, struct sluice_call *call,
                         const struct sluice_pool_open *args, struct sluice_pool *ret,
                         void **ret_pool);
    /* Required. Ends what is running in the pool and lets go; cannot fail. */
    void (*pool_close)(void *pool);
    /* Required. */
    int32_t (*pool_stat)(void *pool, struct sluice_call *call, struct sluice_capacity *ret);
    /* Required. Really writes, reads back and removes something. */
    int32_t (*pool_probe)(void *pool, struct sluice_call *call);
    /* Required. Removes our marker: the pool is no longer ours. The volumes stay. A pool without
     * our marker: OK. */
    int32_t (*pool_release)(void *pool, struct sluice_call *call);

    /* Required. An id that exists with the same parameters: OK and the same answer. A copy or clone
     * may be larger than its source, the rest reads as zeroes; smaller: INVALID. */
    int32_t (*volume_create)(void *pool, struct sluice_call *call,
                             const struct sluice_volume_create *args, struct sluice_volume *ret);
    /* Required. Deleting what is not there: OK. Snapshots of the volume stay. */
    int32_t (*volume_delete)(void *pool, struct sluice_call *call,
                             const struct sluice_uuid *volume);
    /* Required. */
    int32_t (*volume_get)(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                          struct sluice_volume *ret);
    /* Required. */
    int32_t (*volume_list)(void *pool, struct sluice_call *call, struct sluice_list *list);
    /* GROW, SHRINK. */
    int32_t (*volume_resize)(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                             uint64_t size_bytes, struct sluice_volume *ret);
    /* REVERT. `operation` tells one revert from the next: asked again with the same one, the
     * answer is the same and what was written since is kept. */
    int32_t (*volume_revert)(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                             const struct sluice_uuid *snapshot,
                             const struct sluice_uuid *operation, struct sluice_volume *ret);
    /* ADOPT. `reference` is what the driver calls it: a file below the pool, a LUN. From then on it
     * is the volume `volume`. */
    int32_t (*volume_adopt)(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                            const char *reference, const char *name, struct sluice_volume *ret);
    /* ADOPT. The driver forgets the volume and leaves its bytes; `ret_reference` (SLUICE_PATH_MAX
     * bytes) says where. */
    int32_t (*volume_unmanage)(void *pool, struct sluice_call *call,
                               const struct sluice_uuid *volume, char *ret_reference);

    /* SNAPSHOT. */
    int32_t (*snapshot_create)(void *pool, struct sluice_call *call,
                               const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                               const char *name, struct sluice_snapshot *ret);
    int32_t (*snapshot_delete)(void *pool, struct sluice_call *call,
                               const struct sluice_uuid *volume,
                               const struct sluice_uuid *snapshot);
    int32_t (*snapshot_get)(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                            const struct sluice_uuid *snapshot, struct sluice_snapshot *ret);
    int32_t (*snapshot_list)(void *pool, struct sluice_call *call, struct sluice_list *list);

    /* GRANT. */
    int32_t (*access_grant)(void *pool, struct sluice_call *call,
                            const struct sluice_access_grant *args, struct sluice_connection *ret);
    /* GRANT. PENDING until nobody that was granted has it open any more. Revoking what is not
     * granted: OK. */
    int32_t (*access_revoke)(void *pool, struct sluice_call *call,
                             const struct sluice_uuid *attachment,
                             const struct sluice_uuid *volume);

    /* DATA. Once it succeeds no call of a lower epoch can take effect, not even from a predecessor
     * that only hangs; an epoch lower than one seen before: STALE. Where the predecessor must let
     * go first: BUSY. Each success is a handle of its own. A snapshot is opened read-only. */
    int32_t (*data_open)(void *pool, struct sluice_call *call, const struct sluice_data_open *args,
                         struct sluice_data_opened *ret);
    /* DATA. No data call of the handle is under way. */
    void (*data_close)(void *handle);
    void (*data_read)(void *handle, struct sluice_io *io);
    void (*data_write)(void *handle, struct sluice_io *io);
    void (*data_flush)(void *handle, struct sluice_io *io);
    void (*data_write_zeroes)(void *handle, struct sluice_io *io);
    void (*data_trim)(void *handle, struct sluice_io *io);
    /* EXTENTS. */
    void (*data_extents)(void *handle, struct sluice_io *io);
    /* Optional. The call `io` is no longer wanted; it is still completed exactly once. */
    void (*data_cancel)(void *handle, struct sluice_io *io);
};

/* The one exported symbol of a driver, also where all others are hidden. The table that it returns
 * lives as long as the library is loaded. */
#define SLUICE_EXPORT __attribute__((visibility("default")))
SLUICE_EXPORT const struct sluice_driver *sluice_driver(void);
typedef const struct sluice_driver *sluice_driver_fn(void);
#define SLUICE_DRIVER_SYMBOL "sluice_driver"

#ifdef __cplusplus
}
#endif
#endif
