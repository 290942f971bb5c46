/* SPDX-License-Identifier: Apache-2.0
 *
 * sluice/types.h: the plain types that cross the driver boundary.
 *
 * Everything here has a fixed width and one layout on every 64-bit little-endian Linux. Sizes are
 * bytes and offsets are bytes from the start of the volume unless a name says otherwise. Text is
 * UTF-8 with a terminating NUL. No function is declared here.
 */
#ifndef SLUICE_TYPES_H
#define SLUICE_TYPES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Names, messages and paths: the longest text including its NUL. */
#define SLUICE_NAME_MAX 256
#define SLUICE_TEXT_MAX 512
#define SLUICE_PATH_MAX 1024

/* 16 bytes in network order. Ids are chosen by the gateway before the driver is called. */
struct sluice_uuid {
    uint8_t bytes[16];
};

/* What a call came to. Rows: sluice/status.def (name, number, advice, sentence). */
enum sluice_status {
#define SLUICE_STATUS(name, number, advice, sentence) SLUICE_##name = number,
#include <sluice/status.def>
#undef SLUICE_STATUS
};

/* What a driver can do. Rows: sluice/caps.def (name, bit, sentence). */
enum sluice_cap {
#define SLUICE_CAP(name, bit, sentence) SLUICE_CAP_##name = bit,
#include <sluice/caps.def>
#undef SLUICE_CAP
};
#define SLUICE_CAP_MASK(name) (UINT64_C(1) << SLUICE_CAP_##name)

/* Which calls may run at the same time; the runner enforces it.
 *   SERIAL      one call at a time, on one thread that is not the loop's
 *   PER_VOLUME  calls on one volume never overlap; calls on different volumes may
 *   PARALLEL    data calls may overlap freely; control calls on one volume never overlap
 *   LOOP        every call is made on the runner's loop thread and must return at once
 */
enum sluice_thread_model {
    SLUICE_THREADS_SERIAL = 1,
    SLUICE_THREADS_PER_VOLUME = 2,
    SLUICE_THREADS_PARALLEL = 3,
    SLUICE_THREADS_LOOP = 4,
};

enum sluice_category {
    SLUICE_CATEGORY_NETWORK = 1,
    SLUICE_CATEGORY_STORAGE = 2,
    SLUICE_CATEGORY_HYPERVISOR = 3,
};

enum sluice_health {
    SLUICE_HEALTH_OK = 1,
    SLUICE_HEALTH_DEGRADED = 2, /* works, but somebody should look: text says at what */
    SLUICE_HEALTH_DOWN = 3,     /* does not work: text says why */
};

enum sluice_log_level {
    SLUICE_LOG_ERROR = 1,
    SLUICE_LOG_WARNING = 2,
    SLUICE_LOG_INFO = 3,
    SLUICE_LOG_DEBUG = 4,
};

/* One property of a pool's or a driver's bag, already validated against driver.yaml; one that is
 * not set and has no default is not in the bag. kind tells which member holds the value. Secrets
 * arrive like any other value and must never be logged or put into a message. */
enum sluice_property_kind {
    SLUICE_PROPERTY_STRING = 1,  /* text */
    SLUICE_PROPERTY_NUMBER = 2,  /* integer */
    SLUICE_PROPERTY_BOOLEAN = 3, /* integer: 0 or 1 */
    SLUICE_PROPERTY_DATE = 4,    /* integer: seconds since 1970-01-01T00:00:00Z; text as given */
};

struct sluice_property {
    const char *name;
    const char *text;
    int64_t integer;
    uint32_t kind;
    uint32_t reserved;
};

struct sluice_properties {
    const struct sluice_property *at;
    uint64_t count;
};

#ifdef __cplusplus
}
#endif
#endif
