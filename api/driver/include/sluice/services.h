/* SPDX-License-Identifier: Apache-2.0
 *
 * sluice/services.h: what the runner does for a driver.
 *
 * The runner hands this table over in start(); a driver links against nothing of Sluice, so it has
 * no undefined symbols and a test can hand over a table of its own. A driver compares `size` before
 * it uses a member that came after the version it was written against.
 *
 * The table lives until stop() has returned. Threads: every member may be called from any thread of
 * the driver; log, fail, progress and event may be called while a lock of the driver is held.
 */
#ifndef SLUICE_SERVICES_H
#define SLUICE_SERVICES_H

#include <sluice/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One control call, from the moment the driver's function is entered until it returns. */
struct sluice_call;

/* One data call, from the moment the driver's function is entered until complete(). */
struct sluice_io;

/* What a driver tells on its own. value and volume are zero where a row does not use them. */
enum sluice_event {
    SLUICE_EVENT_CAPACITY = 1,    /* stat would answer otherwise now; value: bytes free */
    SLUICE_EVENT_HEALTH = 2,      /* value: enum sluice_health */
    SLUICE_EVENT_ACCESS_LOST = 3, /* a grant was lost on the backend; volume: whose */
};

/* Descriptors that a driver may have watched at once: two connections for each of many volumes. */
#define SLUICE_WATCHES_MAX 1024

/* What a watched descriptor is ready for. */
enum sluice_ready {
    SLUICE_READY_READ = 1,
    SLUICE_READY_WRITE = 2,
    SLUICE_READY_HANGUP = 4, /* closed or failed; told whether it was asked for or not */
    SLUICE_READY_TIMEOUT = 8,
};

/* One watched descriptor, from watch() to unwatch(). */
struct sluice_watch;
typedef void sluice_on_ready(void *argument, uint32_t ready);

struct sluice_services {
    uint32_t size;    /* sizeof the table as the runner has it */
    uint32_t version; /* SLUICE_ABI of the runner */
    void *runner;     /* the runner's own; hand the table back, never this */

    /* One line for the operator; longer than SLUICE_TEXT_MAX is cut, floods are dropped and
     * counted. Never a secret. */
    void (*log)(const struct sluice_services *services, uint32_t level, const char *text);

    /* Says why a control call answers `status` (at most SLUICE_TEXT_MAX bytes, the first text wins)
     * and returns `status`: return services->fail(services, call, SLUICE_NO_SPACE, "..."). */
    int32_t (*fail)(const struct sluice_services *services, struct sluice_call *call,
                    int32_t status, const char *text);

    /* How far a control call that answers PENDING has come, in bytes; total 0: not known. */
    void (*progress)(const struct sluice_services *services, struct sluice_call *call,
                     uint64_t done, uint64_t total);

    /* A data call is finished: exactly once a call. `token` is the stability token of a write, trim
     * or zeroes, and the token that a flush covers; it is ignored for reads. After it returns the
     * driver must not touch `io` nor its buffers. */
    void (*complete)(const struct sluice_services *services, struct sluice_io *io, int32_t status,
                     uint64_t token);

    /* Something happened that nobody asked about. `volume` may be NULL. */
    void (*event)(const struct sluice_services *services, uint32_t event,
                  const struct sluice_uuid *volume, int64_t value, const char *text);

    /* Watches a descriptor of the driver, level-triggered. on_ready is called on the thread of the
     * runner that makes data calls (in the model LOOP: on the loop's), one call at a time, never
     * from within another member of this table; it must return at once. Data calls made by other
     * threads may overlap it: a driver guards what both touch. `timeout_ms` after the watch was
     * made, changed or last called, TIMEOUT is told; 0: never. So an idle connection costs nothing
     * and a silent peer is found. NULL: no memory, or beyond SLUICE_WATCHES_MAX. */
    struct sluice_watch *(*watch)(const struct sluice_services *services, int fd, uint32_t ready,
                                  uint32_t timeout_ms, sluice_on_ready *on_ready, void *argument);
    /* What to wait for from now on (0: only HANGUP and TIMEOUT), and for how long. Any thread. */
    void (*watch_change)(const struct sluice_services *services, struct sluice_watch *watch,
                         uint32_t ready, uint32_t timeout_ms);
    /* Ends it: afterwards on_ready is not running and is not called again (called from within
     * on_ready itself: not called again). Before the descriptor is closed. */
    void (*unwatch)(const struct sluice_services *services, struct sluice_watch *watch);
};

#ifdef __cplusplus
}
#endif
#endif
